"""The server's end of a connection: replies out, commands in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _grammar
from ._body import ChunkReader, DataReader
from ._commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Helo,
    Lhlo,
    Mail,
    MalformedCommand,
    MessageData,
    Rcpt,
    StartTLS,
    UnknownCommand,
)
from ._connection import CLOSED, NEED_DATA, NO_FEATURES, OVER, PAUSED, Connection, Signal, name, refusal
from ._envelope import read_envelope
from ._errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from ._extension_commands import Burl, XClient
from ._limits import DEFAULT_LIMITS, Limits, Timer
from ._readers import Fatal, is_last_in_group, read_auth_response, read_command, weigh
from ._replies import Hello, Reply
from ._rules import RULES, SPECIAL_ANSWERS, check_answer, check_mail, check_rcpt
from ._state import OPENING, TABLE, State
from ._text import LineEnds
from ._writers import write_reply


class ServerConnection(Connection):
    """The server's end of an SMTP or LMTP connection.

        conn = ServerConnection()
        conn.send(Greeting(domain="mx.example"))
        conn.receive_data(b"EHLO client.example\\r\\n")
        conn.next_event()                         # Ehlo
        conn.send(Hello(domain="mx.example", features=Features({"PIPELINING": ()})))

    What the last `Hello` offered is what clients may use.

    `tls`: TLS was there from the start. `line_ends`: what becomes of a message with bare CR or LF.
    `accept_bare_lf`: take LF alone for the end of a command, as many servers do; a relay in front that does
    not is then open to smuggling.
    """

    __slots__ = (
        "_accept_bare_lf",
        "_answering",
        "_chunk",
        "_errors",
        "_line",
        "_line_ends",
        "_must_refuse",
        "_reader",
        "_recipients",
        "_refused",
        "_skip",
        "_verdicts",
    )

    def __init__(
        self,
        *,
        lmtp: bool = False,
        tls: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        line_ends: LineEnds = LineEnds.STRICT,
        accept_bare_lf: bool = False,
    ) -> None:
        super().__init__(lmtp=lmtp, tls=tls, limits=limits)
        self._line_ends = line_ends
        self._accept_bare_lf = accept_bare_lf
        self._answering: Command | None = OPENING
        self._must_refuse = False
        self._line = b""  # that is being answered
        self._reader: DataReader | ChunkReader = _NO_BODY
        self._chunk: Bdat | Burl | None = None
        self._recipients = 0
        self._verdicts = 0
        self._skip = 0  # so many octets, or the rest of a line
        self._refused: MalformedCommand | None = None  # waits for the end of the octets that are skipped
        self._errors = 0

    @property
    def timer(self) -> Timer:
        """The timer of RFC 5321 4.5.3.2 that runs now."""
        in_body = self._machine.state in _IN_BODY
        return _DATA_BLOCK if in_body and self._answering is None else _SERVER

    def next_event(self) -> Command | Signal:
        """The next thing that the client says; or a `Signal`.

        `PAUSED` until the command before it is answered. Raises `RemoteProtocolError`, with the reply to
        send, when the client breaks the protocol beyond repair, and on its end of file in the middle
        of something; `LocalProtocolError` after `fail()`.
        """
        state = self._machine.state
        if self._error is not None or self._answering is not None or state in _NOT_READING:
            return self._pause()
        try:
            if state in _IN_BODY:
                return self._next_of_body()
            if not self._buffer.octets and not self._eof:  # as whenever all that came was answered
                return NEED_DATA
            return self._next_command(state)
        except LocalProtocolError as exc:
            raise self._fault(exc) from exc

    def _pause(self) -> Signal:
        self._check_readable()
        if self._machine.state is State.CLOSED:
            return CLOSED
        if self._machine.state is State.TLS or isinstance(self._answering, StartTLS):
            self._refuse_input("behind STARTTLS")
        return PAUSED

    def _next_of_body(self) -> Command | Signal:
        reader = self._reader
        data = reader.read(self._buffer)
        if data:
            return MessageData(data=data)
        if not reader.ended:
            return self._need_data("in the middle of a message")
        if reader.refusal is not None:
            self._must_refuse = True
        if not reader.last:
            self._answering = self._chunk
            return PAUSED
        end = EndOfMessage(refusal=reader.refusal, long_lines=reader.long_lines, nul=reader.nul)
        self._answering = end
        if self.lmtp:
            self._verdicts = self._recipients
        return end

    def _next_command(self, state: State) -> Command | Signal:
        if self._skip:
            return self._next_after_refused(state)
        try:
            found = None if state is _AUTH else read_envelope(self._buffer, self.limits)
            if found is None:
                command = self._read_line(state)
            else:
                self._line, command = found
        except LocalProtocolError as exc:
            return self._malformed(weigh(self._line, exc))
        if command is None:
            return self._need_data("in the middle of a command")
        kind = type(command)
        rule = _RULES[state].get(kind, _out_of_order)
        try:
            if rule is not None:
                rule(self, command)
        except LocalProtocolError as exc:
            if isinstance(command, Bdat):
                self._check_skip(command.size)
                self._skip = command.size
            return self._malformed(exc)
        if kind in _CHUNKS:
            self._begin_chunk(command)
        else:
            self._answering = command
        return command

    def _next_after_refused(self, state: State) -> Command | Signal:
        """Drop what belongs to a refused command, and hand it out or go on."""
        if self._skip > 0:
            self._skip -= len(self._buffer.take(self._skip))
        elif self._buffer.skip_line(bare_lf=self._accept_bare_lf):
            self._skip = 0
        if self._skip:
            return self._need_data("in the middle of what is refused")
        if self._refused is not None:
            self._answering, self._refused = self._refused, None
            return self._answering
        return self._next_command(state)

    def _read_line(self, state: State) -> Command | None:
        """Any other command. The line of one with credentials may be longer (RFC 4954 4)."""
        octets = self._buffer.octets
        is_auth = state is _AUTH or octets[:5].upper() == b"AUTH "
        limit = self.limits.auth_line if is_auth else self.limits.command_line
        try:
            line = self._buffer.read_line(limit, bare_lf=self._accept_bare_lf)
        except LocalProtocolError:
            self._skip = _REST_OF_LINE
            self._line = b"" if state is _AUTH else bytes(octets[:limit])
            raise
        if line is None:
            return None
        self._line = b"" if state is _AUTH else line
        return read_auth_response(line) if state is _AUTH else read_command(line, self.limits)

    def _check_mail(self, command: Mail) -> None:
        check_mail(self, command)
        limit = self.limits.message_size
        if limit is not None and command._parameters.get("SIZE", 0) > limit:
            text = f"messages of more than {limit} octets are not taken"
            raise LocalProtocolError(text, code=552, enhanced="5.3.4")

    def _check_rcpt(self, command: Rcpt) -> None:
        check_rcpt(self, command)
        if self._recipients >= self.limits.recipients:
            text = f"more than {self.limits.recipients} recipients"
            raise LocalProtocolError(text, code=452, enhanced="4.5.3")

    def _check_unknown(self, command: UnknownCommand) -> None:
        if _grammar.FOREIGN.fullmatch(self._line):
            raise Fatal("this is SMTP, and in the clear", code=554, enhanced="5.5.1")
        self._count_error()

    def _begin_chunk(self, command: Any) -> None:
        reader = self._reader
        if not isinstance(reader, ChunkReader):
            self._reader = reader = ChunkReader(self.limits)
        self._machine.said(type(command))
        limit = self.limits.message_size
        if limit is not None and reader.size + command.size > limit:
            self._check_skip(command.size)
            text = f"message of more than {limit} octets"
            reader.refuse(Reply(code=552, enhanced="5.3.4", text=text), reader.size)
        reader.begin(command.size, command.last)
        command._refusal = reader.refusal
        self._chunk = command

    def _check_skip(self, size: int) -> None:
        if size > self.limits.refused_octets:
            raise Fatal(f"a chunk of {size} octets", code=552, enhanced="5.3.4")

    def _malformed(self, exc: LocalProtocolError) -> Command | Signal:
        if isinstance(exc, Fatal):
            raise exc
        self._count_error()
        line = self._line[:4] if self._line[:4].upper() == b"AUTH" else self._line
        command = MalformedCommand(line=line, reply=refusal(exc))
        if self._skip < 0:
            self._line = b""  # what waits behind it is its rest
        self._must_refuse = True
        if self._skip > 0:  # RFC 3030 2: a refused chunk is discarded before it is answered
            self._refused = command
            return self._next_after_refused(self._machine.state)
        self._answering = command
        return command

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors > self.limits.errors:
            raise Fatal("too many bad commands", code=421, enhanced="4.7.0")

    def _need_data(self, where: str) -> Signal:
        if self._machine.state not in _IN_BODY and self._buffer.octets[:1] == _grammar.TLS_HANDSHAKE:
            raise Fatal("this is SMTP, and in the clear", code=554, enhanced="5.5.1")
        if not self._eof:
            return NEED_DATA
        if self._buffer or self._skip or self._machine.state in _WITH_BODY:
            raise Fatal(f"connection closed by the client {where}", code=421, enhanced="4.4.2")
        self._machine.closed()
        return CLOSED

    def send(self, reply: Reply) -> None:
        """Answer the command that waits for it, or say 421 at any time.

        Raises `LocalProtocolError`, and changes nothing, if nothing waits, or this is no answer to it: a
        greeting is a `Greeting`, 2yz to EHLO a `Hello`, 334 an `AuthChallenge`; 3yz stands where the
        protocol knows it; what was malformed is refused.
        """
        command = self._answering
        if command is None:
            self._send_unasked(reply)
            return
        kind = type(command)
        code = reply._code
        if self._must_refuse and code < 400:
            raise LocalProtocolError(f"{name(command)} must be refused, not answered {code}")
        if type(reply) is not Reply or kind in SPECIAL_ANSWERS:
            check_answer(kind, reply)
        if 300 <= code < 400 and not (
            self._machine.names(kind, code) and (code != 353 or self._may_announce(reply))
        ):
            raise LocalProtocolError(f"{code} is no answer to {name(command)}")
        self._out.append(reply._octets or write_reply(reply))
        if kind is EndOfMessage and (self._verdicts or code == 353) and self._is_one_of_several(code):
            return
        self._answering = None
        self._machine.answered(kind, code)
        settle = _SETTLE.get(kind)
        if settle is not None:
            settle(self, command, reply)
        if code >= 400:
            self._must_refuse = False
            if self._buffer and is_last_in_group(self._line):
                self._fault(ProtocolError("input behind a refused command", code=554, enhanced="5.5.1"))
        self._line = b""

    def fail(self) -> None:
        super().fail()
        self._answering = None

    def _fault(self, cause: ProtocolError, command: Command | None = None) -> RemoteProtocolError:
        self._answering = None  # what follows is the refusal of the fault
        return super()._fault(cause, command)

    def _send_unasked(self, reply: Reply) -> None:
        """Say 421, or, after an error of the client's, refuse whatever it was."""
        if self._machine.state in OVER:
            raise LocalProtocolError(f"the connection is {self._machine.state.value}")
        if self._error is None and reply.code != 421:
            raise LocalProtocolError(f"nothing waits for {reply}")
        if reply.code < 400:
            raise LocalProtocolError(f"only a refusal may follow an error of the client, not {reply}")
        self._out.append(write_reply(reply))
        self._machine.closed()

    def _may_announce(self, reply: Reply) -> bool:
        """Whether verdicts for each recipient may be announced (draft-hall-prdr 4.5): PRDR was asked for, and
        they were not; in one line.
        """
        mail = self._mail if type(self._answering) is EndOfMessage else None
        is_asked = mail is not None and "PRDR" in mail._parameters
        return is_asked and not self._verdicts and len(reply.lines) == 1

    def _is_one_of_several(self, code: int) -> bool:
        """Whether more verdicts follow."""
        if code == 353:
            self._verdicts = self._recipients + 1
        else:
            self._verdicts -= 1
        return self._verdicts > 0 and code != 421

    def _settle_mail(self, command: Mail, reply: Reply) -> None:
        """Here a transaction begins: nothing of one before is left."""
        self._mail = command
        self._reader = _NO_BODY
        self._recipients = 0

    def _settle_rcpt(self, command: Rcpt, reply: Reply) -> None:
        self._recipients += reply._code < 300

    def _settle_data(self, command: Command, reply: Reply) -> None:
        if reply._code == 354:
            self._reader = DataReader(self._line_ends, self.limits)

    def _settle_hello(self, command: Command, reply: Reply) -> None:
        if reply.is_positive:
            self._learn_features(reply.features if isinstance(reply, Hello) else NO_FEATURES)

    def _settle_auth(self, command: Command, reply: Reply) -> None:
        self.authenticated: bool = reply.code == 235


def _out_of_order(conn: ServerConnection, command: Command) -> None:
    raise LocalProtocolError(f"{name(command)} in state {conn.state.value}", code=503, enhanced="5.5.1")


_NO_BODY = DataReader(LineEnds.STRICT, DEFAULT_LIMITS)  # which nobody asks
_REST_OF_LINE = -1
_IN_BODY = frozenset((State.DATA, State.CHUNK))
_WITH_BODY = _IN_BODY | {State.BDAT, State.BDAT_FAILED}
_CHUNKS = frozenset((Bdat, Burl))
# An Enum member is slow to look up before Python 3.12.
_AUTH, _DATA_BLOCK, _SERVER = State.AUTH, Timer.DATA_BLOCK, Timer.SERVER
_NOT_READING = frozenset((State.CLOSED, State.FAILED, State.TLS))

# What else changes with the answers to these.
_SETTLE: dict[type[Command], Callable[[ServerConnection, Any, Reply], None]] = {
    Ehlo: ServerConnection._settle_hello,
    Lhlo: ServerConnection._settle_hello,
    Helo: ServerConnection._settle_hello,
    Auth: ServerConnection._settle_auth,
    AuthResponse: ServerConnection._settle_auth,
    Mail: ServerConnection._settle_mail,
    Rcpt: ServerConnection._settle_rcpt,
    Data: ServerConnection._settle_data,
    XClient: ServerConnection._begin_afresh,
}

# What a server asks before it hands these out; and for each state what may be said in it, with that or None.
_OWN_RULES: dict[type[Command], Callable[[ServerConnection, Any], None]] = {
    **RULES,
    Mail: ServerConnection._check_mail,
    Rcpt: ServerConnection._check_rcpt,
    UnknownCommand: ServerConnection._check_unknown,
}
_RULES = {state: {kind: _OWN_RULES.get(kind) for kind in row} for state, row in TABLE.items()}
