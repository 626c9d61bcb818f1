"""The client's end of a connection: commands out, replies in."""

from __future__ import annotations

from collections import deque
from typing import Literal

from . import _rules
from ._addresses import Path
from ._body import ChunkWriter, DataWriter, LineEnds
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
from ._connection import CLOSED, NEED_DATA, NO_FEATURES, OVER, PAUSED, Connection, Signal, name
from ._errors import LocalProtocolError, ProtocolError
from ._limits import DEFAULT_LIMITS, Limits, Timer
from ._message import assign
from ._readers import ReplyReader, read_reply
from ._replies import AuthChallenge, Hello, Reply
from ._state import OPENING, Machine, Opening, State
from ._writers import write_command

# RFC 2920 3.1: these must come last in a group, because what follows depends on their answer.
# RFC 3207 4, RFC 4954 4 say so of STARTTLS and AUTH; of a stranger's command one cannot know.
_LAST_IN_GROUP = frozenset(
    (
        Opening, Ehlo, Helo, Lhlo, StartTLS, Auth, AuthResponse,
        Data, Vrfy, Expn, Help, Noop, Quit, UnknownCommand,
    )
)  # fmt: skip

_TIMERS: dict[type[Command], Timer] = {
    Opening: Timer.GREETING,
    Mail: Timer.MAIL,
    Rcpt: Timer.RCPT,
    Data: Timer.DATA_INIT,
    Bdat: Timer.DATA_DONE,
    EndOfMessage: Timer.DATA_DONE,
}


class ClientConnection(Connection):
    """The client's end of an SMTP or LMTP connection.

        conn = ClientConnection()
        conn.receive_data(b"220 mx.example ESMTP\\r\\n")
        conn.next_event()                         # Greeting
        conn.send(Ehlo(domain="client.example"))
        conn.data_to_send()                       # b"EHLO client.example\\r\\n"

    `tls`: TLS was there from the start. `line_ends`: what becomes of bare CR and LF in a message.
    `allow_nul`: send NUL in a message, which RFC 5321 forbids. `strict_replies`: take no bare LF for
    the end of a reply's line, as most clients do.
    """

    __slots__ = (
        "_accepted",
        "_allow_nul",
        "_body",
        "_challenges",
        "_line_ends",
        "_mispredicted",
        "_pending",
        "_predicted",
        "_replies",
        "_unasked",
        "_verdicts",
    )

    def __init__(
        self,
        *,
        lmtp: bool = False,
        tls: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        line_ends: Literal[LineEnds.NORMALIZE, LineEnds.STRICT] = LineEnds.NORMALIZE,
        allow_nul: bool = False,
        strict_replies: bool = False,
    ) -> None:
        super().__init__(lmtp=lmtp, tls=tls, limits=limits)
        self._line_ends = line_ends
        self._allow_nul = allow_nul
        self._predicted = Machine()
        self._mispredicted = False
        # Everything said and not answered yet. A last chunk stands in it too, before the EndOfMessage
        # that its reply answers.
        self._pending: deque[Command] = deque((OPENING,))
        self._unasked = False
        self._replies = ReplyReader(limits, bare_lf=not strict_replies)
        self._body: DataWriter | ChunkWriter | None = None
        self._accepted: list[Path] = []
        self._verdicts = 0
        self._challenges = 0

    @property
    def state(self) -> State:
        """What may be said now depends on this: the state if all that is outstanding succeeds."""
        return self._machine.state if self._machine.state in OVER else self._predicted.state

    @property
    def outstanding(self) -> int:
        """How many replies are still to come."""
        return len(self._pending)

    @property
    def timer(self) -> Timer:
        """The timer of RFC 5321 4.5.3.2 that runs now."""
        if self._body is not None:
            return Timer.DATA_BLOCK
        kind = type(self._pending[0]) if self._pending else Command
        return _TIMERS.get(kind, Timer.COMMAND)

    def send(self, command: Command) -> None:
        """Queue what `command` is on the wire.

        Raises `LocalProtocolError`, and changes nothing, if it may not be said now: out of order, in the
        middle of a body, behind a command that must be the last of its group, with an extension that
        the server does not offer.
        """
        self._check_alive()
        if self._body is not None:
            self._send_body(self._body, command)
            return
        if isinstance(command, MalformedCommand):
            raise LocalProtocolError("a malformed command is never sent")
        if self._mispredicted:
            self._predicted.predict(self._machine, self._pending)
            self._mispredicted = False
        if not self._predicted.allows(command):
            raise LocalProtocolError(f"{name(command)} in state {self.state.value}", code=503)
        if self._pending and ("PIPELINING" not in self.features or type(self._pending[-1]) in _LAST_IN_GROUP):
            raise LocalProtocolError(f"{name(command)} must wait for the answer to {name(self._pending[-1])}")
        _rules.check(self, command)
        self._out.append(write_command(command))
        self._say(command)
        if isinstance(command, Bdat):
            self._body = ChunkWriter(command.size, command.last)
            self._end_chunk(self._body)
        else:
            self._predicted.succeed(command)
        if isinstance(command, Mail):
            self.mail = command
        elif isinstance(command, Auth):
            self._challenges = 0

    def _say(self, command: Command) -> None:
        # Replies answer commands. What came before there was one to answer was made up.
        if not self._pending and self._buffer:
            self._unasked = True
        self._pending.append(command)
        self._predicted.said(command)

    def _send_body(self, body: DataWriter | ChunkWriter, command: Command) -> None:
        if isinstance(command, MessageData):
            wire = body.write(command.data)
            if isinstance(body, ChunkWriter):
                self._end_chunk(body)
        elif isinstance(command, EndOfMessage) and getattr(body, "last", True):
            wire = body.end()
            self._body = None
            self._say(command)
            self._predicted.succeed(command)
        else:
            raise LocalProtocolError(f"{name(command)} in the middle of a body")
        if wire:
            self._out.append(wire)

    def _end_chunk(self, body: ChunkWriter) -> None:
        if not body.missing and not body.last:
            self._body = None
            self._predicted.succeed(self._pending[-1])

    def next_event(self) -> Reply | Signal:
        """The next reply, with the command that it answers in `reply.to`; or a `Signal`.

        Raises `RemoteProtocolError` when the server breaks the protocol, and on its end of file while
        replies are due; `LocalProtocolError` after `fail()`.
        """
        self._check_readable()
        if self._machine.state is State.CLOSED:
            return CLOSED
        if self._machine.state is State.TLS:
            self._refuse_input("behind the 220 to STARTTLS")
            return PAUSED
        to = self._pending[0] if self._pending else None
        try:
            parsed = self._replies.read(self._buffer)
            if parsed is not None:
                return self._answer(*parsed)
        except LocalProtocolError as exc:
            raise self._fault(exc, to) from exc
        if not self._eof:
            return NEED_DATA
        if to is None and not self._buffer and not self._replies.is_inside and self._body is None:
            self._close()
            return CLOSED
        waiting = f"; the answer to {name(to)} is due" if to else ""
        raise self._fault(ProtocolError(f"connection closed by the server{waiting}"), to)

    def _answer(self, code: int, lines: tuple[str, ...]) -> Reply:
        # Of a body under way, DATA has nothing pending and a chunk its own BDAT: neither is due.
        due = len(self._pending) - (isinstance(self._body, ChunkWriter))
        if self._unasked or due <= 0:
            return self._interrupted(code, lines)
        to = self._pending[0]
        if isinstance(to, Bdat):
            self._machine.said(to)
            if to.last:
                self._pending.popleft()
                to = self._pending[0]
        if 300 <= code < 400 and not self._machine.names(to, code):
            raise LocalProtocolError(f"{code} is no answer to {name(to)}")
        reply = read_reply(code, lines, to)
        if self._is_one_of_several(to, reply):
            return reply
        self._pending.popleft()
        self._machine.answered(to, code)
        self._learn(to, reply)
        if self._machine.state is State.CLOSED:
            self._close()
        elif not self._pending:
            self._predicted.predict(self._machine, ())
        elif code >= 400:
            self._mispredicted = True
        return reply

    def _interrupted(self, code: int, lines: tuple[str, ...]) -> Reply:
        """A reply while none is due. 421 may always come; so may a refusal before a body is complete,
        after which nobody knows whether the rest is still wanted. Anything else is made up.
        """
        in_body = self._body is not None or EndOfMessage() in self._pending
        if code != 421 and not (in_body and code >= 400):
            raise LocalProtocolError(f"a reply that nothing asked for: {code} {lines[0]!r}")
        self._close()
        return read_reply(code, lines, None)

    def _is_one_of_several(self, to: Command, reply: Reply) -> bool:
        """In LMTP, put the recipient to the verdict; whether there are more verdicts to come."""
        if not self.lmtp or type(to) is not EndOfMessage or not self._accepted:
            return False
        if self._machine.state not in (State.DATA, State.CHUNK):
            return False
        assign(reply, "recipient", self._accepted[self._verdicts])
        self._verdicts += 1
        return self._verdicts < len(self._accepted) and reply.code != 421

    def _learn(self, to: Command, reply: Reply) -> None:
        if isinstance(reply, Hello):
            self.features = reply.features
        elif isinstance(reply, AuthChallenge):
            self._challenges += 1
            if self._challenges > self.limits.auth_challenges:
                raise LocalProtocolError(f"more than {self.limits.auth_challenges} challenges")
        elif reply.code == 354:
            self._body = DataWriter(self._line_ends, self.limits.text_line, allow_nul=self._allow_nul)
        elif reply.code == 235 and isinstance(to, Auth | AuthResponse):
            self.authenticated = True
        elif reply.is_positive:
            if isinstance(to, Rcpt):
                self._accepted.append(to.forward_path)
            elif isinstance(to, Mail):
                self._accepted = []
                self._verdicts = 0
            elif isinstance(to, Helo):
                self.features = NO_FEATURES

    def _close(self) -> None:
        self._machine.closed()
        self._pending.clear()
        self._body = None
