"""The client's end of a connection: commands out, replies in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from ._body import ChunkWriter, DataWriter, LineEnds, TextWriter
from ._commands import (
    Auth,
    AuthResponse,
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
    StartTLS,
    UnknownCommand,
    Vrfy,
)
from ._connection import CLOSED, NEED_DATA, NO_FEATURES, PAUSED, Connection, Signal, name
from ._errors import LocalProtocolError, ProtocolError
from ._extension_commands import Burl, Etrn, XClient
from ._features import Features
from ._limits import DEFAULT_LIMITS, Limits, Timer
from ._readers import ReplyReader
from ._replies import Hello, Reply
from ._rules import RULES
from ._state import OPENING, TABLE, Machine, Opening, State
from ._verdicts import Verdicts
from ._writers import WRITERS

# RFC 2920 3.1: these must come last in a group, because what follows depends on their answer.
# RFC 3207 4, RFC 4954 4 say so of STARTTLS and AUTH; of a stranger's command one cannot know.
_LAST_IN_GROUP = frozenset(
    (
        Opening, Ehlo, Helo, Lhlo, StartTLS, Auth, AuthResponse,
        Data, Vrfy, Expn, Help, Noop, Quit, Etrn, XClient, UnknownCommand,
    )
)  # fmt: skip

_TIMERS: dict[type[Command], Timer] = {
    Opening: Timer.GREETING,
    Mail: Timer.MAIL,
    Rcpt: Timer.RCPT,
    Data: Timer.DATA_INIT,
    Bdat: Timer.DATA_DONE,
    Burl: Timer.DATA_DONE,
    EndOfMessage: Timer.DATA_DONE,
}


class ClientConnection(Connection):
    """The client's end of an SMTP or LMTP connection.

        conn = ClientConnection()
        conn.receive_data(b"220 mx.example ESMTP\\r\\n")
        conn.next_event()                         # Greeting
        conn.send(Ehlo(domain="client.example"))
        conn.data_to_send()                       # b"EHLO client.example\\r\\n"

    `features`: somebody else has read the greeting and the answer to EHLO, which offered these; the
    connection begins `READY`. `tls`: TLS was there from the start. `line_ends`: what becomes of bare CR
    and LF in a message. `allow_nul`: send NUL in a message, which RFC 5321 forbids. `strict_replies`:
    take no bare LF for the end of a reply's line, as most clients do.
    """

    __slots__ = (
        "_allow_nul",
        "_body",
        "_challenges",
        "_data_writer",
        "_last_chunks",
        "_learn",
        "_line_ends",
        "_mispredicted",
        "_pending",
        "_predicted",
        "_replies",
        "_verdicts",
    )

    def __init__(
        self,
        *,
        lmtp: bool = False,
        tls: bool = False,
        features: Features | None = None,
        limits: Limits = DEFAULT_LIMITS,
        line_ends: Literal[LineEnds.NORMALIZE, LineEnds.STRICT] = LineEnds.NORMALIZE,
        allow_nul: bool = False,
        strict_replies: bool = False,
    ) -> None:
        state = State.GREETING if features is None else State.READY
        super().__init__(lmtp=lmtp, tls=tls, limits=limits, state=state, features=features or NO_FEATURES)
        self._line_ends = line_ends
        self._allow_nul = allow_nul
        self._predicted = Machine(state)
        self._mispredicted = False
        # Everything said and not answered yet, and where in the stream its answer begins at the earliest.
        # A last chunk stands in it too, before the EndOfMessage that its reply answers.
        self._pending: deque[tuple[Command, int]] = deque()
        if features is None:
            self._pending.append((OPENING, 0))
        self._replies = ReplyReader(limits, bare_lf=not strict_replies)
        self._data_writer = DataWriter(line_ends, limits.text_line, allow_nul)
        self._body: DataWriter | ChunkWriter | None = None
        self._verdicts = Verdicts(lmtp=lmtp)
        self._challenges = 0
        self._last_chunks = 0  # of those that are pending
        self._learn = _LEARN_RECIPIENTS if lmtp else _LEARN

    @property
    def state(self) -> State:
        """What may be said now depends on this: the state if all that is outstanding succeeds."""
        if isinstance(self._body, ChunkWriter):
            return State.CHUNK
        if self._mispredicted:
            self._predict()
        return self._predicted.state

    @property
    def outstanding(self) -> int:
        """How many commands wait for an answer. In LMTP an `EndOfMessage` waits for all of its own."""
        return len(self._pending) - self._last_chunks

    @property
    def timer(self) -> Timer:
        """The timer of RFC 5321 4.5.3.2 that runs now."""
        if self._body is not None:
            return Timer.DATA_BLOCK
        kind = type(self._pending[0][0]) if self._pending else Command
        return _TIMERS.get(kind, Timer.COMMAND)

    def check_body(self, body: bytes) -> None:
        """Raise what `send` would raise if `body`, a whole message, were sent with DATA."""
        if self._data_writer.takes_anything:
            return
        writer = self.text_writer()
        writer.write(body)
        writer.end()

    def text_writer(self) -> TextWriter:
        """Makes of a message of text what DATA would make of it, for chunks, which are sent as they are."""
        return TextWriter(self._line_ends, self.limits.text_line, self._allow_nul)

    def send(self, command: Command) -> None:
        """Queue what `command` is on the wire.

        Raises `LocalProtocolError`, and changes nothing, if it may not be said now: out of order, in the
        middle of a body, behind a command that must be the last of its group, with an extension that
        the server does not offer.
        """
        kind = type(command)
        if self._body is not None:
            self._send_body(self._body, command)
            return
        if self._mispredicted:
            self._predict()
        predicted = self._predicted
        if kind not in TABLE[predicted.state] or kind is MalformedCommand:
            raise LocalProtocolError(f"{name(command)} in state {predicted.state.value}", code=503)
        pending = self._pending
        if pending and ("PIPELINING" not in self.features or type(pending[-1][0]) in _LAST_IN_GROUP):
            raise LocalProtocolError(f"{name(command)} must wait for the answer to {name(pending[-1][0])}")
        rule = RULES.get(kind)
        if rule is not None:
            rule(self, command)
        self._out.append(WRITERS[kind](command))
        pending.append((command, self._buffer.end))
        begin = _BEGIN.get(kind)
        if begin is None:
            predicted.succeed(kind)
        else:
            begin(self, command)

    def fail(self) -> None:
        super().fail()
        self._predicted.fail()
        self._mispredicted = False
        self._body = None

    def _predict(self) -> None:
        self._predicted.predict(self._machine, (command for command, _ in self._pending))
        self._mispredicted = False

    def tls_started(self) -> None:
        super().tls_started()
        self._predicted.tls_started()
        self._mispredicted = False

    def _send_body(self, body: DataWriter | ChunkWriter, command: Command) -> None:
        if type(command) is MessageData:
            wire = body.write(command._data)
        elif type(command) is EndOfMessage and body.last:
            wire = body.end()
            self._body = None
            self._pending.append((command, self._buffer.end))
            self._predicted.succeed(EndOfMessage)
        else:
            raise LocalProtocolError(f"{name(command)} in the middle of a body")
        if type(body) is ChunkWriter:
            self._end_chunk(body)
        if wire:
            self._out.append(wire)

    def _begin_mail(self, command: Mail) -> None:
        self._predicted.succeed(Mail)
        self._mail = command
        if "PRDR" in command._parameters:
            self._learn = _LEARN_RECIPIENTS

    def _begin_auth(self, command: Auth) -> None:
        self._predicted.succeed(Auth)
        self._challenges = 0

    def _begin_chunk(self, command: Bdat | Burl) -> None:
        self._predicted.said(type(command))
        self._last_chunks += command.last
        self._body = ChunkWriter(command.size, command.last)
        self._end_chunk(self._body)

    def _end_chunk(self, body: ChunkWriter) -> None:
        self._pending[-1] = (self._pending[-1][0], self._buffer.end)
        if not body.missing and not body.last:
            self._body = None
            self._predicted.succeed(Bdat)

    def next_event(self) -> Reply | Signal:
        """The next reply, with the command that it answers in `reply.to`; or a `Signal`.

        Raises `RemoteProtocolError` when the server breaks the protocol, and on its end of file while
        replies are due; `LocalProtocolError` after `fail()`.
        """
        if self._error is not None or self._machine.state in _NOT_READING:
            return self._pause()
        if not self._buffer.octets and not self._eof:
            return NEED_DATA
        pending = self._pending
        to, since = pending[0] if pending else _NOTHING
        try:
            reply = self._replies.read(self._buffer, to)
            if reply is None:
                return self._need_data(to)
            # Of a body under way, DATA has nothing pending and a chunk its own BDAT: neither is due.
            if to is None or self._replies.began < since or (self._body is not None and len(pending) == 1):
                return self._interrupted(reply)
            kind = type(to)
            if kind in _CHUNKS:
                to = self._answer_chunk(to)
                kind = type(to)
            machine = self._machine
            code = reply._code
            if 300 <= code < 400 and not machine.names(kind, code):
                raise LocalProtocolError(f"{code} is no answer to {name(to)}")
            reply._to = to
            if (
                kind is EndOfMessage
                and (self._verdicts.for_each or code == 353)
                and self._is_one_of_several(reply)
            ):
                return reply
            pending.popleft()
            machine.answered(kind, code)
            learn = self._learn.get(kind)
            if learn is not None:
                learn(self, to, reply)
        except ProtocolError as exc:
            raise self._fault(exc, to) from exc
        state = machine.state
        if state is _CLOSED:
            self._close()
        elif code >= 400 or (not pending and state is not self._predicted.state):
            self._mispredicted = True
        return reply

    def _need_data(self, to: Command | None) -> Signal:
        if not self._eof:
            return NEED_DATA
        if to is None and not self._buffer and not self._replies.is_inside and self._body is None:
            self._close()
            return CLOSED
        waiting = f"; the answer to {name(to)} is due" if to else ""
        raise ProtocolError(f"connection closed by the server{waiting}")

    def _pause(self) -> Signal:
        self._check_readable()
        if self._machine.state is State.CLOSED:
            return CLOSED
        self._refuse_input("behind the 220 to STARTTLS")
        return PAUSED

    def _answer_chunk(self, to: Any) -> Any:
        """What the reply to a chunk is the answer to: the last one's is the verdict on the message."""
        self._machine.said(type(to))
        if not to.last:
            return to
        self._pending.popleft()
        self._last_chunks -= 1
        return self._pending[0][0]

    def _interrupted(self, reply: Reply) -> Reply:
        """A reply that none is due for, or that began before it was. 421 may always come; so may a refusal
        before a body is complete, after which nobody knows whether the rest is still wanted. Anything
        else is made up.
        """
        in_body = self._body is not None or type(next(iter(self._pending), (None,))[0]) in _ENDS_OF_BODY
        if reply.code != 421 and not (in_body and reply.code >= 400):
            raise LocalProtocolError(f"a reply that nothing asked for: {reply.code} {reply.lines[0]!r}")
        self._close()
        return reply

    def _is_one_of_several(self, reply: Reply) -> bool:
        """Whether more verdicts follow. A late one, on what nobody was to send, stands alone."""
        in_body = self._machine.state in (State.DATA, State.CHUNK)
        return (in_body or reply._code == 353) and self._verdicts.are_there_more_than(reply)

    def _learn_greeting(self, to: Command, reply: Reply) -> None:
        reply._to = None

    def _learn_hello(self, to: Command, reply: Reply) -> None:
        if reply.is_positive:
            self._learn_features(reply.features if isinstance(reply, Hello) else NO_FEATURES)

    def _learn_auth(self, to: Command, reply: Reply) -> None:
        self.authenticated = reply.code == 235
        self._challenges += reply.code == 334
        if self._challenges > self.limits.auth_challenges:
            raise LocalProtocolError(f"more than {self.limits.auth_challenges} challenges")

    def _learn_mail(self, to: Mail, reply: Reply) -> None:
        self._verdicts.begin(prdr=reply.is_positive and "PRDR" in to._parameters)

    def _learn_rcpt(self, to: Rcpt, reply: Reply) -> None:
        if reply.is_positive:
            self._verdicts.accept(to._forward_path)

    def _learn_data(self, to: Command, reply: Reply) -> None:
        if reply._code == 354:
            self._body = self._data_writer
            self._data_writer.begin()

    def _close(self) -> None:
        self._machine.closed()
        self._predicted.closed()
        self._mispredicted = False
        self._pending.clear()
        self._out.clear()  # nobody is there to hear it
        self._last_chunks = 0
        self._body = None


# What else a client learns from the answers to these; the recipients, if a verdict for each may come.
_LEARN: dict[type[Command], Callable[[ClientConnection, Any, Reply], None]] = {
    Opening: ClientConnection._learn_greeting,
    Ehlo: ClientConnection._learn_hello,
    Lhlo: ClientConnection._learn_hello,
    Helo: ClientConnection._learn_hello,
    Auth: ClientConnection._learn_auth,
    AuthResponse: ClientConnection._learn_auth,
    Data: ClientConnection._learn_data,
    XClient: ClientConnection._begin_afresh,
}
_LEARN_RECIPIENTS: dict[type[Command], Callable[[ClientConnection, Any, Reply], None]] = {
    **_LEARN,
    Mail: ClientConnection._learn_mail,
    Rcpt: ClientConnection._learn_rcpt,
}

# What is begun by saying these.
_BEGIN: dict[type[Command], Callable[[ClientConnection, Any], None]] = {
    Auth: ClientConnection._begin_auth,
    Mail: ClientConnection._begin_mail,
    Bdat: ClientConnection._begin_chunk,
    Burl: ClientConnection._begin_chunk,
}

_NOTHING = (None, 0)  # is pending
_CHUNKS: frozenset[type[Command | None]] = frozenset((Bdat, Burl))
_ENDS_OF_BODY = _CHUNKS | {EndOfMessage}
_CLOSED = State.CLOSED  # an Enum member is slow to look up before Python 3.12
_NOT_READING = frozenset((State.CLOSED, State.FAILED, State.TLS))
