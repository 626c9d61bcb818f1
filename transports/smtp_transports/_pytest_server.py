"""The servers behind the fixtures of `pytest_plugin`: real ones, in threads, that keep what came, do what a
test has planned, and write down what was said.

A plan is carried out where commands come in, in the connection, and not in the handler: so it works for every
command, also for those about which a handler is never asked.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path as FilePath
from typing import Any

from smtp_proto import (
    Auth,
    AuthChallenge,
    AuthResponse,
    Bdat,
    Burl,
    Command,
    ConnectionLost,
    EndOfMessage,
    Features,
    Greeting,
    Limits,
    MalformedCommand,
    MessageData,
    Rcpt,
    Reply,
    ServerConnection,
    Signal,
    UnknownCommand,
)
from smtp_proto.ops import DEFAULT_OFFER, Session

from .auth import AuthSettings
from .blocking import serve
from .handlers import Collector, Message, printable
from .pytest_plugin import Certificates, Options, ReceivedMessage

_DOMAIN = "mx.example"
_HIDDEN = "<hidden>"
_TLS = "-- TLS begins"
# The least that SCRAM allows: the passwords of tests are no secrets worth the work.
_ITERATIONS = 4096


@dataclass
class _Plan:
    """What is to happen to a command. `reply` is None for hanging up, `left` for always."""

    verb: str
    reply: Reply | None
    left: int | None
    recipient: str | None

    def check(self) -> None:
        """Raises `ValueError` for what cannot happen."""
        verbs = _verbs() | {"CONNECT", "."} | ({"BODY"} if self.reply is None else set())
        if self.verb not in verbs:
            raise ValueError(f"{self.verb!r} is none of {', '.join(sorted(verbs))}")
        if self.reply is not None and self.reply.code < 400:
            raise ValueError(f"{self.reply.code} is no refusal: 400 to 599")
        if self.left is not None and self.left < 1:
            raise ValueError("times is 1 or more, or None for always")
        if self.recipient is not None and self.verb not in ("RCPT", "."):
            raise ValueError(f"{self.verb} has no recipient")

    def __str__(self) -> str:
        what = "hang up" if self.reply is None else self.reply.code
        whom = f" for {self.recipient}" if self.recipient else ""
        return f"{self.verb}{whom}: {what}, {self.left} more"


@cache
def _verbs() -> frozenset[str]:
    """All but BURL: nothing is fetched here."""
    found, kinds = set(), [Command]
    while kinds:
        kind = kinds.pop()
        found.add(kind.verb)
        kinds += kind.__subclasses__()
    return frozenset(found - {"", Burl.verb})


class Plans:
    """What is to happen, in the order of planning."""

    def __init__(self) -> None:
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()

    def add(self, verb: str, times: int | None, reply: Reply | None, recipient: str | None = None) -> None:
        """Plan a refusal, or to hang up. Raises `ValueError` for what cannot happen."""
        plan = _Plan(verb.upper(), reply, times, recipient)
        plan.check()
        with self._lock:
            self._plans.append(plan)

    def take(self, verb: str, recipient: str | None = None) -> _Plan | None:
        """The first plan for this command; it has happened once more."""
        with self._lock:
            for plan in self._plans:
                if plan.verb == verb and plan.recipient in (None, recipient) and plan.left != 0:
                    plan.left = plan.left and plan.left - 1
                    return plan
        return None

    def unmet(self) -> list[str]:
        """What should have happened, and has not."""
        return [str(plan) for plan in self._plans if plan.left]


class _Connection(ServerConnection):
    """A connection that writes down what is said, and hears of commands what was planned for them."""

    __slots__ = ("_body_octets", "_hides", "_in_chunks", "_lines", "_plans", "_received")

    def __init__(self, plans: Plans, lines: list[str], **options: Any) -> None:
        super().__init__(**options)
        self._plans = plans
        self._lines = lines
        if self.tls:
            lines.append(_TLS)
        self._received = bytearray()  # and not read yet
        self._body_octets = 0
        self._in_chunks = False
        self._hides = False

    def receive_data(self, data: bytes) -> None:
        super().receive_data(data)
        self._received += data

    def next_event(self) -> Command | Signal:
        event = super().next_event()
        if isinstance(event, Signal):
            return event
        self._hear(event)
        return self._as_planned(event)

    def send(self, reply: Reply) -> None:
        if isinstance(reply, Greeting):
            plan = self._plans.take("CONNECT")
            reply = reply if plan is None else self._refusal_of(plan)
        super().send(reply)
        self._end_body()
        self._lines.extend(f"S: {line}" for line in _lines_of(reply))

    def tls_started(self) -> None:
        super().tls_started()
        self._lines.append(_TLS)

    def _as_planned(self, event: Command) -> Command:
        """What the server is to hear: `event`, or something that it will refuse as planned."""
        verb = _VERBS.get(type(event), event.verb)
        plan = self._plans.take(verb, getattr(event, "forward_path", None))
        if plan is None:
            return event
        reply = self._refusal_of(plan)
        if isinstance(event, Bdat):
            return Bdat(size=event.size, last=event.last, refusal=reply)
        if isinstance(event, EndOfMessage):
            return EndOfMessage(refusal=reply)
        return MalformedCommand(line=b"", reply=reply)

    def _refusal_of(self, plan: _Plan) -> Reply:
        """What to say. Raises `ConnectionLost`, which ends the session, for hanging up."""
        if plan.reply is None:
            self._end_body()
            self._lines.append("-- the server hangs up")
            raise ConnectionLost("planned by the test")
        return plan.reply

    def _hear(self, event: Command) -> None:
        """Write down what the client says."""
        line = self._take_line()
        if isinstance(event, MessageData):
            self._body_octets += len(event.data)
            return
        self._end_body()
        text = "." if isinstance(event, EndOfMessage) else self._text_of(event, line)
        if not (self._in_chunks and text == "."):
            self._lines.append(f"C: {text}")
        self._in_chunks = isinstance(event, Bdat)

    def _take_line(self) -> bytes:
        """The line that was read last. What was skipped in front of it is dropped."""
        end = len(self._received) - len(self.trailing_data)
        lines = bytes(self._received[:end]).splitlines()
        del self._received[:end]
        return lines[-1] if lines else b""

    def _text_of(self, event: Command, line: bytes) -> str:
        if isinstance(event, Auth):
            self._hides = True
            return f"AUTH {event.mechanism}" + f" {_HIDDEN}" * (event.initial_response is not None)
        # Who does not look at the refusal of AUTH goes on with the password.
        is_strange = isinstance(event, UnknownCommand | MalformedCommand) and not self.authenticated
        if isinstance(event, AuthResponse) or (is_strange and self._hides):
            return _HIDDEN
        octets = event.line if isinstance(event, MalformedCommand) else line
        self._hides = octets[:4].upper() == b"AUTH"
        return _shown(octets)

    def _end_body(self) -> None:
        if self._body_octets:
            self._lines.append(f"C: ({self._body_octets} octets of a message)")
        self._body_octets = 0


# An answer to a challenge is no AUTH command.
_VERBS: dict[type[Command], str] = {AuthResponse: "", MessageData: "BODY", EndOfMessage: "."}


def _lines_of(reply: Reply) -> list[str]:
    if isinstance(reply, AuthChallenge):
        return [str(reply)]
    *first, last = map(_shown, reply.raw_text.split(b"\n"))
    return [f"{reply.code}-{line}" for line in first] + [f"{reply.code} {last}"]


def _shown(octets: bytes) -> str:
    return printable(octets.decode("utf-8", "backslashreplace"))


class Inbox(Collector):
    """Keeps the messages, wakes those who wait for them, and knows the users."""

    def __init__(self, users: Mapping[str, str], plans: Plans) -> None:
        self._users = users
        self._plans = plans
        self._messages: list[ReceivedMessage] = []
        self._arrived = threading.Condition()
        self._watchers: list[tuple[int, Callable[[], object]]] = []

    @property
    def messages(self) -> list[ReceivedMessage]:
        """Those that were taken so far."""
        return list(self._messages)

    def deliver(self, session: Session, message: Message) -> Sequence[Reply | None] | None:
        """Keep it for those who do not refuse it."""
        plans: list[_Plan | None] = [None] * len(message.recipients)
        if session.per_recipient:
            plans = [self._plans.take(".", recipient) for recipient in message.recipients]
        taken = [rcpt for rcpt, plan in zip(session.recipients, plans, strict=True) if plan is None]
        if taken:
            self._keep(_received(session, message, taken))
        return [plan.reply if plan else None for plan in plans] if session.per_recipient else None

    def _keep(self, message: ReceivedMessage) -> None:
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify_all()
            for count, wake in self._watchers:
                if len(self._messages) >= count:
                    wake()

    def wait(self, count: int, timeout: float) -> None:
        """Block until there are so many messages, or the seconds are over."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._messages) >= count, timeout)

    async def wait_async(self, count: int, timeout: float) -> None:
        """The same without blocking, in asyncio and trio."""
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_task():
            await self._wait_in_trio(count, timeout)
        else:
            await self._wait_in_asyncio(count, timeout)

    async def _wait_in_asyncio(self, count: int, timeout: float) -> None:
        import asyncio

        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        wake = partial(loop.call_soon_threadsafe, arrived.set)
        with self._watched(count, wake), suppress(TimeoutError):
            await asyncio.wait_for(arrived.wait(), timeout)

    async def _wait_in_trio(self, count: int, timeout: float) -> None:
        import trio

        token, arrived = trio.lowlevel.current_trio_token(), trio.Event()
        with self._watched(count, partial(token.run_sync_soon, arrived.set)), trio.move_on_after(timeout):
            await arrived.wait()

    @contextmanager
    def _watched(self, count: int, wake: Callable[[], object]) -> Iterator[None]:
        """Have `wake` called, by any thread, when there are so many messages."""
        watcher = (count, wake)
        with self._arrived:
            self._watchers.append(watcher)
            if len(self._messages) >= count:
                wake()
        try:
            yield
        finally:
            with self._arrived:  # from here on nobody wakes a loop that may be closed
                self._watchers.remove(watcher)

    def authenticate(self, session: Session, question: Any) -> object:
        """Compare passwords and tokens, or say what they are."""
        from smtp_proto.sasl import CheckPassword, CheckToken, LookUp, LookUpSecret, StoredKeys

        secret = self._users.get(getattr(question, "user", ""))
        if secret is None:
            return None
        if isinstance(question, CheckPassword):
            return question.password == secret
        if isinstance(question, CheckToken):
            return question.token == secret
        if isinstance(question, LookUp):
            return StoredKeys.derive(secret, b"salt for a test.", _ITERATIONS, question.mechanism)
        return secret if isinstance(question, LookUpSecret) else None


def _received(session: Session, message: Message, taken: list[Rcpt]) -> ReceivedMessage:
    return ReceivedMessage(
        sender=message.sender,
        recipients=tuple(rcpt.forward_path for rcpt in taken),
        data=message.data,
        domain=session.domain,
        user=session.user,
        tls=session.tls,
        mail_parameters=session.mail.parameters if session.mail else {},
        rcpt_parameters=tuple(rcpt.parameters for rcpt in taken),
    )


class Running:
    """A server that runs, and all that belongs to it."""

    def __init__(self, options: Options, certificates: Callable[[], Certificates]) -> None:
        options.check()
        offer, auth = _offer(options), _auth(options)
        self.plans = Plans()
        self.inbox = Inbox(options.users or {}, self.plans)
        self.has_tls = options.tls or options.starttls
        self._sessions: list[list[str]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="smtp-") if options.unix else None
        self._server = serve(
            self.inbox,
            unix=FilePath(self._folder.name, "socket") if self._folder else None,
            tls=options.tls,
            context=certificates().server if self.has_tls else None,
            require_tls=options.require_tls,
            domain=_DOMAIN,
            offer=offer,
            auth=auth,
        )
        # Nobody knows the address yet, so the first session has a connection of this kind already.
        make = partial(self._connection, lmtp=options.lmtp, tls=options.tls, limits=_limits(options))
        self._server._settings = self._server._settings._replace(make_connection=make)

    @property
    def address(self) -> Any:
        """What `getsockname()` says."""
        return self._server.address

    @property
    def transcript(self) -> str:
        """What was said so far, one session after the other."""
        sessions = ["\n".join(lines) for lines in self._sessions]
        if len(sessions) > 1:
            sessions = [f"-- session {number}\n{text}" for number, text in enumerate(sessions, 1)]
        return "\n".join(sessions)

    def close(self) -> None:
        """Stop at once, whoever is connected."""
        self._server.close(0)
        if self._folder is not None:
            self._folder.cleanup()

    def _connection(self, **options: Any) -> ServerConnection:
        lines: list[str] = []
        self._sessions.append(lines)
        return _Connection(self.plans, lines, **options)


def _offer(options: Options) -> Features:
    if options.offer is None:
        return DEFAULT_OFFER
    return Features(options.offer if isinstance(options.offer, Mapping) else dict.fromkeys(options.offer, ()))


def _auth(options: Options) -> AuthSettings | None:
    if options.users is None:
        return None
    in_the_clear = not (options.tls or options.starttls)
    return AuthSettings(options.mechanisms, options.require_auth, in_the_clear, iterations=_ITERATIONS)


def _limits(options: Options) -> Limits:
    return Limits() if options.max_size is None else Limits(message_size=options.max_size)
