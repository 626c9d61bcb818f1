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

from collections.abc import Callable, Sequence
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
from .._errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, SMTPError, TimedOut
from .._extension_commands import Burl, Etrn, XClient, XForward
from .._features import Features
from .._replies import Greeting, Hello, Reply
from .._server_connection import ServerConnection
from .._state import State
from ._serve_auth import Authenticator, authenticate_client
from ._session import Session
from ._wants import Decide, Op, Stopping, Want

DEFAULT_OFFER = Features(
    {"PIPELINING": (), "8BITMIME": (), "SMTPUTF8": (), "ENHANCEDSTATUSCODES": (), "CHUNKING": ()}
)
"""What `serve` can do without its application's help."""


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
    dialogue = _Dialogue(conn, session, domain, offer, starttls, require_tls, authenticator, require_auth)
    try:
        yield from dialogue.run()
    except RemoteProtocolError as exc:
        if exc.reply is not None:
            conn.send(exc.reply)
    except ConnectionLost as exc:
        if isinstance(exc, TimedOut) and conn.state is not State.TLS:
            text = f"{domain} waited for {exc.seconds:g} seconds"
            conn.send(Reply(code=421, enhanced="4.4.2", text=text))
    except Stopping:
        conn.send(Reply(code=421, enhanced="4.3.2", text=f"{domain} stops"))
    yield from dialogue.close()


def turn_away(conn: ServerConnection, *, domain: str) -> Op[None]:
    """Greet a client with a refusal: it has too many sessions already (RFC 5321 3.1)."""
    conn.send(Reply(code=421, enhanced="4.7.0", text=f"{domain}: too many connections from you"))
    yield Want.FLUSH


class _Dialogue:
    """The answers to one client."""

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
        self._offer = offer
        self._starttls = starttls
        self._require_tls = require_tls
        self._authenticator = authenticator
        self._require_auth = require_auth
        self._failures = 0
        # Why the message under way will be refused when it is complete.
        self._refusal: Reply | None = None
        self._chunk: Bdat | Burl | None = None

    def run(self) -> Op[None]:
        protocol = "LMTP" if self._conn.lmtp else "ESMTP"
        refused = yield from self._veto("connect")
        self._conn.send(refused or Greeting(domain=self._domain, text=protocol))
        while True:
            event = yield Want.EVENT
            if event is CLOSED:
                return
            if isinstance(event, Signal):  # paused: a chunk that is not the last is complete
                self._conn.send(self._refusal or Reply(code=250, enhanced="2.0.0", text="go on"))
            else:
                yield from _ANSWERS[type(event)](self, event)

    def close(self) -> Op[None]:
        yield from self._reset()
        yield from self._ask("close")

    def _ask(self, hook: str, *arguments: object, count: int = 1) -> Op[Sequence[Reply | None]]:
        """What the application says, `count` times; 451 if it fails."""
        try:
            answer = yield Decide(hook, *arguments)
            answers: Sequence[Any] = answer if isinstance(answer, Sequence) else [answer] * count
            if len(answers) != count or not all(map(_is_answer, answers)):
                raise LocalProtocolError(f"{hook} answered {answer!r}")
            return answers
        except Exception as exc:
            yield Decide("error", exc)
            return [Reply(code=451, enhanced="4.3.0", text="internal error")] * count

    def _veto(self, hook: str, *arguments: object) -> Op[Reply | None]:
        (reply,) = yield from self._ask(hook, *arguments)
        return None if reply is None or reply.is_positive else reply

    def _answer(self, hook: str, default: Reply, *arguments: object) -> Op[Reply]:
        (reply,) = yield from self._ask(hook, *arguments)
        self._conn.send(reply or default)
        return reply or default

    def _hello(self, command: Ehlo | Helo | Lhlo) -> Op[None]:
        reply = yield from self._veto("hello", command.domain)
        if reply is None:
            yield from self._reset()
            self._session.domain = command.domain
            if isinstance(command, Helo):
                reply = Reply(code=250, text=self._domain)
            else:
                reply = Hello(domain=self._domain, features=self._features())
        self._conn.send(reply)

    def _features(self) -> Features:
        offered = dict(self._offer)
        if not self._conn.tls:
            offered.pop("REQUIRETLS", None)  # RFC 8689 2: it is a matter of sessions under TLS
        offered["SIZE"] = (str(self._conn.limits.message_size or 0),)
        if self._starttls and not self._conn.tls:
            offered["STARTTLS"] = ()
        if self._authenticator is not None:
            mechanisms = self._authenticator.offered(tls=self._conn.tls)
            if mechanisms:
                offered["AUTH"] = tuple(mechanism.name for mechanism in mechanisms)
        return Features(offered)

    def _start_tls(self, command: StartTLS) -> Op[None]:
        self._conn.next_event()  # raises if anything stands behind STARTTLS
        self._conn.send(Reply(code=220, enhanced="2.0.0", text="go ahead"))
        yield Want.TLS
        self._conn.tls_started()
        self._session.domain = self._session.user = None

    def _mail(self, command: Mail) -> Op[None]:
        if self._require_tls and not self._conn.tls:
            self._conn.send(Reply(code=530, enhanced="5.7.0", text="say STARTTLS first"))
            return
        if self._require_auth and not self._conn.authenticated:
            self._conn.send(Reply(code=530, enhanced="5.7.0", text="authenticate first"))
            return
        ok = Reply(code=250, enhanced="2.1.0", text="sender ok")
        if (yield from self._answer("mail", ok, command)).is_positive:
            self._session.mail = command

    def _rcpt(self, command: Rcpt) -> Op[None]:
        ok = Reply(code=250, enhanced="2.1.5", text="recipient ok")
        if (yield from self._answer("rcpt", ok, command)).is_positive:
            self._session.recipients.append(command)

    def _data(self, command: Data) -> Op[None]:
        refused = yield from self._veto("data")
        self._conn.send(refused or Reply(code=354, text="end with <CRLF>.<CRLF>"))

    def _bdat(self, command: Bdat) -> Op[None]:
        if self._chunk is None:
            self._refusal = yield from self._veto("data")
        self._chunk = command
        self._refusal = self._refusal or command.refusal

    def _burl(self, command: Burl) -> Op[None]:
        self._chunk = command
        no = Reply(code=554, enhanced="5.6.6", text="nothing is fetched here")
        self._refusal = self._refusal or command.refusal or no
        yield from ()

    def _message_data(self, command: MessageData) -> Op[None]:
        if self._refusal is None:
            self._refusal = yield from self._veto("chunk", command.data)

    def _end_of_message(self, command: EndOfMessage) -> Op[None]:
        session, conn = self._session, self._conn
        count = len(session.recipients) if session.per_recipient else 1
        refusal = command.refusal or self._refusal
        if refusal is not None:
            replies = [refusal] * count
            yield from self._reset()
        else:
            answers = yield from self._ask("message", count=count)
            replies = [reply or _ACCEPTED for reply in answers]
            self._forget()
        if not conn.lmtp and len(set(replies)) == 1:
            replies = replies[:1]
        elif not conn.lmtp:  # draft-hall-prdr 4.5
            conn.send(Reply(code=353, text="one by one"))
            replies.append(_verdict(replies))
        for reply in replies:
            if conn.is_usable:  # 421 for one recipient is the last word
                conn.send(reply)

    def _rset(self, command: Rset) -> Op[None]:
        yield from self._reset()
        self._conn.send(Reply(code=250, enhanced="2.0.0", text="reset"))

    def _reset(self) -> Op[None]:
        if self._session.mail is not None:
            yield from self._ask("reset")
        self._forget()

    def _forget(self) -> None:
        self._session.mail = None
        self._session.recipients = []
        self._refusal = None
        self._chunk = None

    def _vrfy(self, command: Vrfy) -> Op[None]:
        # RFC 5321 3.5.3: the answer that tells nobody whom to write to.
        unsure = Reply(code=252, enhanced="2.5.0", text="send some mail, and see")
        yield from self._answer("verify", unsure, command.argument)

    def _expn(self, command: Expn) -> Op[None]:
        no = Reply(code=502, enhanced="5.5.1", text="EXPN is not implemented")
        yield from self._answer("expand", no, command.argument)

    def _help(self, command: Help) -> Op[None]:
        text = Reply(code=214, enhanced="2.0.0", text="see RFC 5321")
        yield from self._answer("help", text, command.argument)

    def _etrn(self, command: Etrn) -> Op[None]:
        no = Reply(code=458, enhanced="4.5.0", text="nothing waits here")
        yield from self._answer("etrn", no, command.node)

    def _xclient(self, command: XClient) -> Op[None]:
        if (yield from self._is_trusted("xclient", command)):
            self._session.domain = None
            self._conn.send(Greeting(domain=self._domain, text="ESMTP"))

    def _xforward(self, command: XForward) -> Op[None]:
        if (yield from self._is_trusted("xforward", command)):
            self._conn.send(Reply(code=250, enhanced="2.0.0", text="ok"))

    def _is_trusted(self, hook: str, command: XClient | XForward) -> Op[bool]:
        """Whether the application says so, in as many words; if not, the refusal is said."""
        (reply,) = yield from self._ask(hook, command.attributes)
        if reply is None or not reply.is_positive:
            self._conn.send(reply or Reply(code=550, enhanced="5.7.0", text="not for you"))
            return False
        self._session.forwarded.update(command.attributes)
        return True

    def _noop(self, command: Noop) -> Op[None]:
        self._conn.send(Reply(code=250, enhanced="2.0.0", text="ok"))
        yield from ()

    def _quit(self, command: Quit) -> Op[None]:
        self._conn.send(Reply(code=221, enhanced="2.0.0", text=f"{self._domain} closing"))
        yield from ()

    def _malformed(self, command: MalformedCommand) -> Op[None]:
        self._conn.send(command.reply)
        yield from ()

    def _unknown(self, command: UnknownCommand) -> Op[None]:
        self._conn.send(Reply(code=500, enhanced="5.5.1", text="unknown command"))
        yield from ()

    def _auth(self, command: Auth) -> Op[None]:
        if self._authenticator is None:
            self._conn.send(Reply(code=504, enhanced="5.5.4", text="mechanism not supported"))
            return
        try:
            result = yield from authenticate_client(self._conn, command, self._authenticator)
        except SMTPError:
            raise
        except Exception as exc:
            yield Decide("error", exc)
            result = Reply(code=454, enhanced="4.7.0", text="temporary authentication failure")
        if result is None:
            return
        if isinstance(result, Reply):
            self._failures += result.is_permanent and result.code not in _NO_FAILURE
            if self._failures > self._conn.limits.auth_failures:
                result = Reply(code=421, enhanced="4.7.0", text="too many failures")
            self._conn.send(result)
        else:
            self._session.user = result.authorize_as or result.user
            self._conn.send(Reply(code=235, enhanced="2.7.0", text="authenticated"))


# These judge the words, or the mechanism; all else judges the credentials.
_NO_FAILURE = (500, 501, 504, 538)

_ACCEPTED = Reply(code=250, enhanced="2.6.0", text="message accepted")


def _verdict(replies: Sequence[Reply]) -> Reply:
    """That on the whole message, behind those for each recipient: refused only if it is for all of them, and
    for now only if some of them may be tried again."""
    if any(reply.is_positive for reply in replies):
        return Reply(code=250, enhanced="2.6.0", text="message accepted for some")
    return next((reply for reply in replies if reply.is_transient), replies[0])


def _is_answer(reply: object) -> bool:
    return reply is None or (type(reply) is Reply and not 300 <= reply.code < 400)


_ANSWERS: dict[type[Command], Callable[[_Dialogue, Any], Op[None]]] = {
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
    Etrn: _Dialogue._etrn,
    XClient: _Dialogue._xclient,
    XForward: _Dialogue._xforward,
    MessageData: _Dialogue._message_data,
    EndOfMessage: _Dialogue._end_of_message,
    Rset: _Dialogue._rset,
    Vrfy: _Dialogue._vrfy,
    Expn: _Dialogue._expn,
    Help: _Dialogue._help,
    Noop: _Dialogue._noop,
    Quit: _Dialogue._quit,
    MalformedCommand: _Dialogue._malformed,
    UnknownCommand: _Dialogue._unknown,
}
