"""Authenticating the clients of a server (RFC 4954): one exchange, and what the application is asked."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._commands import Auth, MalformedCommand
from .._connection import Signal
from .._replies import AuthChallenge, Reply
from .._server_connection import ServerConnection
from ._wants import Decide, Op, Want

if TYPE_CHECKING:
    from ..sasl import Context, Identity, Mechanism


_FAILED = Reply(code=535, enhanced="5.7.8", text="authentication failed")


class Authenticator(NamedTuple):
    """How a server authenticates its clients.

    `mechanisms`: as offered in EHLO, each by its name or one of your own. `make_context`: a new context for
    each exchange, with a new nonce, and the channel bindings of this connection. `allow_plaintext`: offer
    also without TLS what sends the secret itself.
    """

    mechanisms: Sequence["str | Mechanism"]
    make_context: Callable[[], "Context"]
    allow_plaintext: bool = False

    def offered(self, *, tls: bool) -> tuple["Mechanism", ...]:
        """The mechanisms that can be had now. Those that need a channel binding can where there is one."""
        from ..sasl import find_mechanism

        bindings = self.make_context().bindings
        found = (find_mechanism(name) for name in self.mechanisms)
        return tuple(
            mechanism
            for mechanism in found
            if mechanism is not None
            and (tls or self.allow_plaintext or not mechanism.sends_secret)
            and (bindings or not mechanism.needs_binding)
        )


def authenticate_client(
    conn: ServerConnection, command: Auth, authenticator: Authenticator
) -> "Op[Identity | Reply | None]":
    """One exchange: who the client is; or the refusal to say; or None if the client is gone.

    The application answers `Decide("authenticate", question)` for each `Question` of a mechanism, and
    `Decide("authorize", identity)` with a bool where somebody wants to act as another. What it leaves open is
    a no; so is a `Reply`, which is said: 432 where a password has to be changed, 534 for a mechanism that is
    too weak for this user, 538 for one that is not for the clear. Raises `TypeError` for what is no answer.
    """
    from ..sasl import AuthFailed, Question, SASLError

    offered = {mechanism.name: mechanism for mechanism in authenticator.offered(tls=conn.tls)}
    mechanism = offered.get(command.mechanism)
    if mechanism is None:
        return Reply(code=504, enhanced="5.5.4", text="mechanism not supported")
    context = authenticator.make_context().offering(tuple(offered))
    exchange = mechanism.server(context, command.initial_response)
    answer: Any = None
    try:
        while True:
            wish = exchange.send(answer)
            if isinstance(wish, Question):
                answer = yield from _ask("authenticate", wish)
                if isinstance(answer, Reply):
                    return answer
                continue
            conn.send(AuthChallenge(data=wish))
            event = yield Want.EVENT
            if isinstance(event, Signal):
                return None
            if isinstance(event, MalformedCommand):
                return event.reply
            answer = event.data
            if answer is None:
                return Reply(code=501, enhanced="5.7.0", text="authentication cancelled")
    except StopIteration as done:
        identity: Identity = done.value
    except AuthFailed:
        return _FAILED
    except SASLError as exc:
        return Reply(code=501, enhanced="5.5.2", text=f"{mechanism.name}: {exc}")
    if identity.authorize_as not in ("", identity.user):
        answer = yield from _ask("authorize", identity)
        if not isinstance(answer, bool | Reply):
            raise TypeError(f"not an answer to authorize: {type(answer).__name__}")
        if answer is not True:
            return _FAILED if answer is False else answer
    return identity


def _ask(hook: str, question: Any) -> Op[Any]:
    """What the application says; silence is a no, of the type that is wanted."""
    from ..sasl import CheckPassword, CheckToken, Identity

    answer = yield Decide(hook, question)
    if isinstance(answer, Reply) and answer.code < 400:
        raise TypeError(f"{hook} can only refuse with a reply, not say {answer.code}")
    return False if answer is None and isinstance(question, CheckPassword | CheckToken | Identity) else answer
