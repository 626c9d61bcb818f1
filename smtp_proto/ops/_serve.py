"""Serving one session: from the greeting to the end, asking the application at each step.

The connection has judged each command already; here it is answered. For every command the application
is asked first (`Decide`) and may refuse; if it says nothing, the default is said. The hooks and what
they are given, always behind the `Session`:

    connect()            may refuse the session
    hello(domain)        EHLO, HELO or LHLO
    mail(command)        `Mail`
    rcpt(command)        `Rcpt`
    data()               a message is about to come
    chunk(data)          a piece of it
    message()            it is complete: accept it, or refuse; in LMTP for each recipient
    reset()              the transaction is over without a message
    verify(argument), expand(argument), help(topic), etrn(node)
    xclient(attributes)  a proxy speaks for another client; nobody may unless a hook answers 2yz
    xforward(attributes) likewise, for the log
    authenticate(question), authorize(identity)
                         see `Authenticator`; they are answered with what a mechanism asks for, and a bool, or
                         with a refusal to say
    error(exception)     a hook raised; the client is told 451
    close()              the session is over

A hook answers with a `Reply`, or None for the default. `connect`, `hello`, `data` and `chunk` can only
refuse: if they answer 2yz, the default is said. `message` may answer with a list, one `Reply` or None for
each recipient, in LMTP and where the client asked for it (`session.per_recipient`). What is no answer counts
as an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTLS,
    UnknownCommand,
    Vrfy,
)
from .._connection import CLOSED, Signal
from .._errors import ConnectionLost, RemoteProtocolError, SMTPError, TimedOut
from .._extension_commands import Burl, Etrn, XClient, XForward
from .._features import Features
from .._replies import Reply
from .._server_connection import ServerConnection
from .._state import State
from . import _serve_defaults as default
from ._serve_answers import answers_to, veto
from ._serve_auth import Authenticator, authenticate_client
from ._serve_defaults import DEFAULT_OFFER
from ._session import Session
from ._wants import Decide, Op, Stopping, Want

_EVENT = Want.EVENT  # an Enum member is slow to look up before Python 3.12


def serve(
    conn: ServerConnection,
    session: Session,
    *,
    domain: str,
    offer: Features = DEFAULT_OFFER,
    starttls: bool = False,
    require_tls: bool = False,
    authenticator: Authenticator | None = None,
    require_auth: bool = False,
) -> Op[None]:
    """Serve one session on the new connection `conn`; `session` is what the application hears of it.

    `domain`: the server's name. `offer`: the extensions offered, besides SIZE, which is
    `conn.limits.message_size`. `starttls`: whether TLS can be had. `require_tls`: take no mail without it.
    `authenticator`: how clients are authenticated, with AUTH. `require_auth`: take no mail without that.
    """
    return _Dialogue(conn, session, domain, offer, starttls, require_tls, authenticator, require_auth).run()


def turn_away(conn: ServerConnection, *, domain: str) -> Op[None]:
    """Greet a client with a refusal: it has too many sessions already (RFC 5321 3.1)."""
    conn.send(Reply(code=421, enhanced="4.7.0", text=f"{domain}: too many connections from you"))
    yield Want.FLUSH


class _Dialogue:
    """The answers to one client."""

    __slots__ = (
        "_authenticator",
        "_chunk",
        "_conn",
        "_domain",
        "_failures",
        "_offer",
        "_refusal",
        "_require_auth",
        "_require_tls",
        "_session",
        "_starttls",
    )

    def __init__(
        self,
        conn: ServerConnection,
        session: Session,
        domain: str,
        offer: Features,
        starttls: bool,
        require_tls: bool,
        authenticator: Authenticator | None,
        require_auth: bool,
    ) -> None:
        self._conn = conn
        self._session = session
        self._domain = domain
        # A plain mapping will do; but answers are kept by what they offer, and it can change.
        self._offer = offer if isinstance(offer, Features) else Features(offer)
        self._starttls = starttls
        self._require_tls = require_tls
        self._authenticator = authenticator
        self._require_auth = require_auth
        self._failures = 0
        # Why the message under way will be refused when it is complete.
        self._refusal: Reply | None = None
        self._chunk: Bdat | Burl | None = None

    def run(self) -> Op[None]:
        """The whole session."""
        conn, domain = self._conn, self._domain
        try:
            refused = yield from self._veto("connect")
            conn.send(refused or default.greeting(domain, conn.lmtp))
            while (event := (yield _EVENT)) is not CLOSED:
                # One frame for what happens again and again: each further one costs at every resumption.
                step = _ANSWERS[type(event)](self, event)
                if isinstance(step, Decide):
                    try:
                        reply = yield step
                        if reply is not None:
                            (reply,) = answers_to(step.hook, reply)
                    except Exception as exc:
                        yield Decide("error", exc)
                        reply = default.HOOK_FAILED
                    _SETTLE[type(event)](self, event, reply)
                elif step is not None:
                    yield from step
                del step  # a client that is silent keeps no more than it needs
        except RemoteProtocolError as exc:
            if exc.reply is not None:
                conn.send(exc.reply)
        except ConnectionLost as exc:
            if isinstance(exc, TimedOut) and conn.state is not State.TLS:
                text = f"{domain} waited for {exc.seconds:g} seconds"
                conn.send(Reply(code=421, enhanced="4.4.2", text=text))
        except Stopping:
            conn.send(Reply(code=421, enhanced="4.3.2", text=f"{domain} stops"))
        if self._session.mail is not None:
            yield from self._reset()
        yield from self._veto("close")

    def _veto(self, hook: str, *arguments: object) -> Op[Reply | None]:
        """What the application has against it; 451 if it fails."""
        try:
            (reply,) = answers_to(hook, (yield Decide(hook, *arguments)))
            return veto(reply)
        except Exception as exc:
            yield Decide("error", exc)
            return default.HOOK_FAILED

    # What takes one question at most: the question comes back, if there is one, and its answer is settled.

    def _pause(self, signal: Signal) -> None:
        """A chunk that is not the last is complete."""
        self._conn.send(self._refusal or default.GO_ON)

    def _mail(self, command: Mail) -> Decide | None:
        if self._require_tls and not self._conn.tls:
            self._conn.send(default.TLS_FIRST)
        elif self._require_auth and not self._conn.authenticated:
            self._conn.send(default.AUTH_FIRST)
        else:
            return Decide("mail", command)
        return None

    def _settle_mail(self, command: Mail, reply: Reply | None) -> None:
        self._conn.send(reply or default.SENDER_OK)
        if reply is None or reply.is_positive:
            self._session.mail = command

    def _rcpt(self, command: Rcpt) -> Decide:
        return Decide("rcpt", command)

    def _settle_rcpt(self, command: Rcpt, reply: Reply | None) -> None:
        self._conn.send(reply or default.RECIPIENT_OK)
        if reply is None or reply.is_positive:
            self._session.recipients.append(command)

    def _data(self, command: Data) -> Decide:
        return Decide("data")

    def _settle_data(self, command: Data, reply: Reply | None) -> None:
        self._conn.send(veto(reply) or default.START_DATA)

    def _message_data(self, command: MessageData) -> Decide | None:
        return Decide("chunk", command.data) if self._refusal is None else None

    def _settle_message_data(self, command: MessageData, reply: Reply | None) -> None:
        self._refusal = veto(reply)

    def _burl(self, command: Burl) -> None:
        self._chunk = command
        self._refusal = self._refusal or command.refusal or default.NO_BURL

    def _attributes(self, command: XClient | XForward) -> Decide:
        return Decide(command.verb.lower(), command.attributes)

    def _settle_attributes(self, command: XClient | XForward, reply: Reply | None) -> None:
        """They count if the application says so, in as many words."""
        if reply is None or not reply.is_positive:
            self._conn.send(reply or default.NOT_TRUSTED)
            return
        self._session.forwarded.update(command.attributes)
        if isinstance(command, XClient):
            self._session.domain = None
            self._conn.send(default.greeting(self._domain, False))
        else:
            self._conn.send(default.OK)

    def _noop(self, command: Noop) -> None:
        self._conn.send(default.OK)

    def _quit(self, command: Quit) -> None:
        self._conn.send(default.closing(self._domain))

    def _malformed(self, command: MalformedCommand) -> None:
        self._conn.send(command.reply)

    def _unknown(self, command: UnknownCommand) -> None:
        self._conn.send(default.UNKNOWN_COMMAND)

    # What takes more than that is an operation of its own.

    def _hello(self, command: Ehlo | Helo | Lhlo) -> Op[None]:
        reply = yield from self._veto("hello", command.domain)
        if reply is None:
            if self._session.mail is not None:
                yield from self._reset()
            self._session.domain = command.domain
            reply = default.introduction(self._domain) if isinstance(command, Helo) else self._offered()
        self._conn.send(reply)

    def _offered(self) -> Reply:
        conn = self._conn
        mechanisms: tuple[str, ...] = ()
        if self._authenticator is not None:
            offered = self._authenticator.offered(tls=conn.tls)
            mechanisms = tuple(mechanism.name for mechanism in offered)
        size = conn.limits.message_size
        return default.hello(self._domain, self._offer, size, conn.tls, self._starttls, mechanisms)

    def _start_tls(self, command: StartTLS) -> Op[None]:
        self._conn.next_event()  # raises if anything stands behind STARTTLS
        self._conn.send(default.START_TLS)
        yield Want.TLS
        self._conn.tls_started()
        self._session.domain = self._session.user = None

    def _bdat(self, command: Bdat) -> Op[None]:
        if self._chunk is None:
            self._refusal = yield from self._veto("data")
        self._chunk = command
        self._refusal = self._refusal or command.refusal

    def _end_of_message(self, command: EndOfMessage) -> Op[None]:
        session, conn = self._session, self._conn
        count = len(session.recipients) if session.per_recipient else 1
        refusal = command.refusal or self._refusal
        if refusal is not None:
            replies = [refusal] * count
            yield from self._reset()
        else:
            try:
                answers = answers_to("message", (yield Decide("message")), count)
                replies = [reply or default.ACCEPTED for reply in answers]
            except Exception as exc:
                yield Decide("error", exc)
                replies = [default.HOOK_FAILED] * count
            self._forget()
        if not conn.lmtp and replies.count(replies[0]) == count:
            del replies[1:]
        elif not conn.lmtp:  # draft-hall-prdr 4.5
            conn.send(default.ONE_BY_ONE)
            replies.append(default.verdict(replies))
        for reply in replies:
            if conn.is_usable:  # 421 for one recipient is the last word
                conn.send(reply)

    def _rset(self, command: Rset) -> Op[None]:
        yield from self._reset()
        self._conn.send(default.RESET)

    def _reset(self) -> Op[None]:
        if self._session.mail is not None:
            yield from self._veto("reset")
        self._forget()

    def _forget(self) -> None:
        self._session.mail = None
        self._session.recipients = []
        self._refusal = None
        self._chunk = None

    def _auth(self, command: Auth) -> Op[None]:
        if self._authenticator is None:
            self._conn.send(default.NO_MECHANISM)
            return
        try:
            result = yield from authenticate_client(self._conn, command, self._authenticator)
        except SMTPError:
            raise
        except Exception as exc:
            yield Decide("error", exc)
            result = default.AUTH_FAILED_FOR_NOW
        if result is None:
            return
        if isinstance(result, Reply):
            self._failures += result.is_permanent and result.code not in _NO_FAILURE
            if self._failures > self._conn.limits.auth_failures:
                result = default.TOO_MANY_FAILURES
            self._conn.send(result)
        else:
            self._session.user = result.authorize_as or result.user
            self._conn.send(default.AUTHENTICATED)


# These judge the words, or the mechanism; all else judges the credentials.
_NO_FAILURE = (500, 501, 504, 538)


_ANSWERS: dict[type[Command | Signal], Callable[[_Dialogue, Any], Decide | Op[None] | None]] = {
    Signal: _Dialogue._pause,
    Ehlo: _Dialogue._hello,
    Helo: _Dialogue._hello,
    Lhlo: _Dialogue._hello,
    StartTLS: _Dialogue._start_tls,
    Auth: _Dialogue._auth,
    Mail: _Dialogue._mail,
    Rcpt: _Dialogue._rcpt,
    Data: _Dialogue._data,
    Bdat: _Dialogue._bdat,
    Burl: _Dialogue._burl,
    Etrn: lambda dialogue, command: Decide("etrn", command.node),
    XClient: _Dialogue._attributes,
    XForward: _Dialogue._attributes,
    MessageData: _Dialogue._message_data,
    EndOfMessage: _Dialogue._end_of_message,
    Rset: _Dialogue._rset,
    Vrfy: lambda dialogue, command: Decide("verify", command.argument),
    Expn: lambda dialogue, command: Decide("expand", command.argument),
    Help: lambda dialogue, command: Decide("help", command.argument),
    Noop: _Dialogue._noop,
    Quit: _Dialogue._quit,
    MalformedCommand: _Dialogue._malformed,
    UnknownCommand: _Dialogue._unknown,
}


def _or_say(ordinary: Reply) -> Callable[[_Dialogue, Any, Reply | None], None]:
    return lambda dialogue, command, reply: dialogue._conn.send(reply or ordinary)


# What becomes of the answers to the questions that come back.
_SETTLE: dict[type[Command], Callable[[_Dialogue, Any, Reply | None], None]] = {
    Mail: _Dialogue._settle_mail,
    Rcpt: _Dialogue._settle_rcpt,
    Data: _Dialogue._settle_data,
    MessageData: _Dialogue._settle_message_data,
    Etrn: _or_say(default.NOTHING_WAITS),
    XClient: _Dialogue._settle_attributes,
    XForward: _Dialogue._settle_attributes,
    Vrfy: _or_say(default.UNSURE),
    Expn: _or_say(default.NO_EXPN),
    Help: _or_say(default.SEE_RFC),
}
