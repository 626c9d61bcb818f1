"""The server's end of a connection: replies out, commands in."""

from __future__ import annotations

from . import _grammar, _rules
from ._body import ChunkReader, DataReader, LineEnds
from ._commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
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
from ._connection import (
    CLOSED,
    NEED_DATA,
    NO_FEATURES,
    PAUSED,
    Connection,
    Signal,
    name,
    refusal,
)
from ._errors import LocalProtocolError, ProtocolError
from ._limits import DEFAULT_LIMITS, Limits, Timer
from ._readers import read_auth_response, read_command
from ._replies import AuthChallenge, Greeting, Hello, Reply
from ._state import OPENING, Opening, State
from ._writers import write_reply

_IN_TRANSACTION = (
    State.MAIL,
    State.RCPT,
    State.DATA,
    State.CHUNK,
    State.BDAT,
    State.BDAT_FAILED,
)


class _Fatal(LocalProtocolError):
    """A fault of the client after which its octets cannot be told from commands any more."""


class ServerConnection(Connection):
    """The server's end of an SMTP or LMTP connection.

        conn = ServerConnection()
        conn.send(Greeting(domain="mx.example"))
        conn.receive_data(b"EHLO client.example\r\n")
        conn.next_event()                         # Ehlo
        conn.send(Hello(domain="mx.example", features=Features({"PIPELINING": ()})))

    What the last `Hello` offered is what clients may use. `line_ends`: what becomes of a message with
    bare CR or LF. `accept_bare_lf`: take LF alone for the end of a command, as many servers do; a
    relay in front that does not is then open to smuggling.
    """

    __slots__ = (
        "_accept_bare_lf",
        "_answering",
        "_chunk",
        "_errors",
        "_last_in_group",
        "_line_ends",
        "_must_refuse",
        "_reader",
        "_recipients",
        "_skip_line",
        "_skip_octets",
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
        # The answer to this command must be read before more is sent; what is there already is a
        # body whose DATA was refused, or another attempt to make us run what is not a command.
        self._last_in_group = False
        self._reader: DataReader | ChunkReader | None = None
        self._chunk: Bdat | None = None
        self._recipients = 0
        self._verdicts = 0
        self._skip_line = False
        self._skip_octets = 0
        self._errors = 0

    @property
    def state(self) -> State:
        """Where the session is."""
        return self._machine.state

    @property
    def timer(self) -> Timer:
        """The timer of RFC 5321 4.5.3.2 that runs now."""
        in_body = self._machine.state in (State.DATA, State.CHUNK)
        return Timer.DATA_BLOCK if in_body and self._answering is None else Timer.SERVER

    def next_event(self) -> Command | Signal:
        """The next thing that the client says; or a `Signal`.

        `PAUSED` until the command before it is answered. Raises `RemoteProtocolError`, with the reply to
        send, when the client breaks the protocol beyond repair, and on its end of file in the middle
        of something; `LocalProtocolError` after `fail()`.
        """
        self._check_readable()
        state = self._machine.state
        if state is State.CLOSED:
            return CLOSED
        if state is State.TLS or isinstance(self._answering, StartTLS):
            self._refuse_input("behind STARTTLS")
            return PAUSED
        if self._answering is not None:
            return PAUSED
        try:
            if self._reader is not None and state in (State.DATA, State.CHUNK):
                return self._next_of_body(self._reader)
            return self._next_command(state)
        except LocalProtocolError as exc:
            raise self._fault(exc) from exc

    def _next_of_body(self, reader: DataReader | ChunkReader) -> Command | Signal:
        if isinstance(reader, DataReader):
            data = b"" if reader.ended else reader.read(self._buffer)
            ended = reader.ended
        else:
            data = reader.read(self._buffer)
            ended = not reader.missing
        if data:
            return MessageData(data=data)
        if not ended:
            return self._need_data("in the middle of a message")
        if isinstance(reader, ChunkReader) and not reader.last:
            self._answering = self._chunk
            self._must_refuse = reader.refusal is not None
            return PAUSED
        end = EndOfMessage(refusal=reader.refusal, long_lines=reader.long_lines, nul=reader.nul)
        self._answering = end
        self._must_refuse = reader.refusal is not None
        self._verdicts = self._recipients if self.lmtp else 1
        return end

    def _next_command(self, state: State) -> Command | Signal:
        buffer = self._buffer
        if self._skip_octets:
            self._skip_octets -= len(buffer.take(self._skip_octets))
        if self._skip_line:
            self._skip_line = not buffer.skip_line()
        if self._skip_octets or self._skip_line:
            return self._need_data("in the middle of what is refused")
        if buffer.octets[:1] == _grammar.TLS_HANDSHAKE:
            raise LocalProtocolError("a TLS handshake in the clear", code=554, enhanced="5.5.1")
        is_auth = state is State.AUTH or buffer.octets[:5].upper() == b"AUTH "
        limit = self.limits.auth_line if is_auth else self.limits.command_line
        try:
            line = buffer.read_line(limit, bare_lf=self._accept_bare_lf)
        except LocalProtocolError as exc:
            self._skip_line = True
            return self._malformed(bytes(buffer.octets[:limit]), exc)
        if line is None:
            return self._need_data("in the middle of a command")
        try:
            command = read_auth_response(line) if state is State.AUTH else self._read(line)
        except LocalProtocolError as exc:
            return self._malformed(b"" if state is State.AUTH else line, exc)
        if isinstance(command, UnknownCommand):
            self._count_error()
        self._machine.said(command)
        if isinstance(command, Bdat):
            return self._begin_chunk(command)
        self._answering = command
        return command

    def _read(self, line: bytes) -> Command:
        """The command on this line, if it may be said now."""
        self._last_in_group = line[:4].upper() == b"DATA" or b"\r" in line or b"\n" in line
        if _grammar.FOREIGN.fullmatch(line):
            raise _Fatal("this is SMTP", code=554, enhanced="5.5.1")
        try:
            command = read_command(line, self.limits)
        except LocalProtocolError as exc:
            if line[:4].upper() == b"BDAT":
                # Nobody knows how many octets follow, nor whether they are a chunk or commands.
                raise _Fatal(str(exc), code=exc.code, enhanced=exc.enhanced) from exc
            raise
        try:
            if not self._machine.allows(command):
                raise LocalProtocolError(
                    f"{name(command)} in state {self._machine.state.value}",
                    code=503,
                    enhanced="5.5.1",
                )
            _rules.check(self, command)
            self._check_limits(command)
        except LocalProtocolError:
            if isinstance(command, Bdat):
                self._check_skip(command.size)
                self._skip_octets = command.size
            raise
        return command

    def _check_limits(self, command: Command) -> None:
        limit = self.limits.message_size
        if isinstance(command, Mail) and limit is not None:
            if command.parameters.get("SIZE", 0) > limit:
                raise LocalProtocolError(
                    f"messages of more than {limit} octets are not taken",
                    code=552,
                    enhanced="5.3.4",
                )
        elif isinstance(command, Rcpt) and self._recipients >= self.limits.recipients:
            raise LocalProtocolError(
                f"more than {self.limits.recipients} recipients", code=452, enhanced="4.5.3"
            )

    def _begin_chunk(self, command: Bdat) -> Bdat:
        reader = self._reader
        if not isinstance(reader, ChunkReader):
            self._reader = reader = ChunkReader(self.limits)
        limit = self.limits.message_size
        if limit is not None and reader.size + command.size > limit:
            self._check_skip(command.size)
            reader.refuse(Reply(code=552, enhanced="5.3.4", text=f"message of more than {limit} octets"))
        reader.begin(command.size, command.last)
        self._chunk = command = Bdat(size=command.size, last=command.last, refusal=reader.refusal)
        return command

    def _check_skip(self, size: int) -> None:
        if size > self.limits.refused_octets:
            raise _Fatal(f"a chunk of {size} octets", code=552, enhanced="5.3.4")

    def _malformed(self, line: bytes, exc: LocalProtocolError) -> MalformedCommand:
        if isinstance(exc, _Fatal):
            raise exc
        self._count_error()
        if line[:5].upper() == b"AUTH ":
            line = b" ".join(line.split(b" ")[:2])
        command = MalformedCommand(line=line, reply=refusal(exc))
        self._answering = command
        self._must_refuse = True
        return command

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors > self.limits.errors:
            raise _Fatal("too many bad commands", code=421, enhanced="4.7.0")

    def _need_data(self, where: str) -> Signal:
        if not self._eof:
            return NEED_DATA
        if self._buffer or self._reader is not None or self._skip_octets or self._skip_line:
            raise LocalProtocolError(f"connection closed by the client {where}", code=421)
        self._machine.closed()
        return CLOSED

    def send(self, reply: Reply) -> None:
        """Answer the command that waits for it, or say 421 at any time.

        Raises `LocalProtocolError`, and changes nothing, if nothing waits, or this is no answer to it: a
        greeting is a `Greeting`, 2yz to EHLO a `Hello`, 334 an `AuthChallenge`; 3yz stands where the
        protocol knows it; what was malformed is refused.
        """
        self._check_alive()
        command = self._answering
        if command is not None:
            self._check_answer(command, reply)
        elif reply.code != 421 and (self._error is None or reply.code < 400):
            raise LocalProtocolError(f"nothing waits for {reply}")
        self._out.append(write_reply(reply))
        if self._error is not None or reply.code == 421:
            self._machine.closed()
        elif command is not None:
            self._settle(command, reply)

    def _check_answer(self, command: Command, reply: Reply) -> None:
        code = reply.code
        if self._must_refuse and code < 400:
            raise LocalProtocolError(f"{name(command)} must be refused, not answered {code}")
        expected: type[Reply] = Reply
        if code == 220 and isinstance(command, Opening):
            expected = Greeting
        elif code < 300 and isinstance(command, Ehlo | Lhlo):
            expected = Hello
        elif code == 334 and isinstance(command, Auth | AuthResponse):
            expected = AuthChallenge
        if type(reply) is not expected or (300 <= code < 400 and not self._machine.names(command, code)):
            raise LocalProtocolError(f"{reply!r} is no answer to {name(command)}")

    def _settle(self, command: Command, reply: Reply) -> None:
        if isinstance(command, EndOfMessage):
            self._verdicts -= 1
            if self._verdicts > 0:
                return
        self._answering = None
        self._must_refuse = False
        self._machine.answered(command, reply.code)
        if isinstance(reply, Hello):
            self.features = reply.features
        elif reply.code == 354:
            self._reader = DataReader(self._line_ends, self.limits)
        elif reply.code == 235 and isinstance(command, Auth | AuthResponse):
            self.authenticated = True
        elif reply.is_positive:
            if isinstance(command, Rcpt):
                self._recipients += 1
            elif isinstance(command, Mail):
                self.mail = command
            elif isinstance(command, Helo):
                self.features = NO_FEATURES
        if self._machine.state not in _IN_TRANSACTION:
            self._reset()
        if self._last_in_group and reply.code >= 400:
            self._refuse_late_input()
        self._last_in_group = False

    def _reset(self) -> None:
        """Forget all that belongs to a transaction; every way out of one leads through here."""
        self.mail = None
        self._reader = None
        self._recipients = 0

    def _refuse_late_input(self) -> None:
        if self._buffer:
            self._fault(ProtocolError("input behind a refused command", code=554, enhanced="5.5.1"))
