"""A client's end of a connection, first half: commands out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from ._body import ChunkWriter, DataWriter, TextWriter
from ._commands import (
    Auth,
    Bdat,
    Command,
    Data,
    EndOfMessage,
    Mail,
    MalformedCommand,
    MessageData,
    Rcpt,
    Rset,
)
from ._connection import NO_FEATURES, Connection, name
from ._envelope import Envelope
from ._errors import LocalProtocolError
from ._extension_commands import Burl
from ._features import Features
from ._limits import DEFAULT_LIMITS, Limits, Timer
from ._readers import ReplyReader
from ._rules import RULES
from ._state import OPENING, TABLE, Machine, Opening, State
from ._text import LineEnds, is_regular_text, pieces_of
from ._verdicts import Verdicts
from ._writers import WRITERS, write_plain_envelope

# RFC 2920 3.1: these must come last in a group, because what follows depends on their answer.
_LAST_IN_GROUP: frozenset[type] = frozenset(
    (Envelope, *(kind for row in TABLE.values() for kind in row if kind.ends_group))
)

_TIMERS: dict[type, Timer] = {
    Envelope: Timer.MAIL,
    Opening: Timer.GREETING,
    Mail: Timer.MAIL,
    Rcpt: Timer.RCPT,
    Data: Timer.DATA_INIT,
    Bdat: Timer.DATA_DONE,
    Burl: Timer.DATA_DONE,
    EndOfMessage: Timer.DATA_DONE,
}


class ClientSending(Connection):
    """What a client says. `ClientConnection` is this, and what it hears."""

    __slots__ = (
        "_allow_nul",
        "_body",
        "_challenges",
        "_data_writer",
        "_envelope",
        "_group",
        "_hears_each",
        "_last_chunks",
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
        state = _GREETING if features is None else _READY
        super().__init__(lmtp=lmtp, tls=tls, limits=limits, state=state, features=features or NO_FEATURES)
        self._line_ends = line_ends
        self._allow_nul = allow_nul
        self._predicted = Machine(state)
        self._mispredicted = False
        # Everything said and not answered yet, and where in the stream its answer begins at the earliest.
        # A last chunk stands in it too, before the EndOfMessage that its reply answers.
        # An envelope that was said as one stands there as one.
        self._pending: deque[tuple[Any, int]] = deque()
        if features is None:
            self._pending.append((OPENING, 0))
        self._replies = ReplyReader(limits, bare_lf=not strict_replies)
        self._data_writer = DataWriter(line_ends, limits.text_line, allow_nul)
        self._body: DataWriter | ChunkWriter | None = None
        self._verdicts = Verdicts(lmtp=lmtp)
        self._challenges = 0
        self._last_chunks = 0  # of those that are pending
        self._group: Sequence[Command] | None = None  # said, and not answered yet
        self._envelope: Envelope | None = None  # of which the MAIL is
        self._hears_each = lmtp  # verdicts for each recipient may come

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
        pending = self._pending
        folded = len(pending[0][0]) - 1 if pending and type(pending[0][0]) is Envelope else 0
        return len(pending) + folded - self._last_chunks

    @property
    def mail(self) -> Mail | None:
        envelope = self._envelope
        if envelope is not None:
            self._mail = envelope.mail
            self._envelope = None
        return super().mail

    @property
    def is_idle(self) -> bool:
        """Whether a mail transaction may begin now, and nothing that was received waits to be read."""
        return (
            self._machine.state is _READY
            and not self._pending
            and not self._buffer.octets
            and self._error is None
        )

    @property
    def timer(self) -> Timer:
        """The timer of RFC 5321 4.5.3.2 that runs now."""
        if self._body is not None:
            return _DATA_BLOCK
        kind = type(self._pending[0][0]) if self._pending else Command
        return _TIMERS.get(kind, _COMMAND)

    def text_of(self, message: bytes) -> bytes:
        """A whole message as the server gets it: with regular line ends, and a last line that is complete.

        What comes back is sent without being judged again. Raises what `send` would raise of `message` after
        DATA.
        """
        if not is_regular_text(message, self.limits.text_line):
            writer = self.text_writer()
            message = writer.write(message) + writer.end()
        self._data_writer.known = message
        return message

    def size_of(self, message: bytes) -> int:
        """The octets of a whole message as the server gets it (RFC 1870 5). Raises as `text_of`."""
        writer = self.text_writer()
        return sum(len(writer.write(piece)) for piece in pieces_of(message)) + len(writer.end())

    def pieces_of(self, text: bytes) -> Iterator[bytes]:
        """Pieces of a whole message that the server gets as it is: `size_of` told its length.

        Each is sent as `MessageData` without being judged again, if that comes before the next.
        """
        for piece in pieces_of(text):
            if piece[-1:] == b"\n":
                self._data_writer.known = piece
            yield piece

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
        plan = _PLANS[predicted.state].get(kind)
        if plan is None:
            raise LocalProtocolError(f"{name(command)} in state {predicted.state.value}", code=503)
        pending = self._pending
        if pending and (type(pending[-1][0]) in _LAST_IN_GROUP or "PIPELINING" not in self.features):
            raise LocalProtocolError(f"{name(command)} must wait for the answer to {name(pending[-1][0])}")
        rule, write, begin = plan
        if rule is not None:
            rule(self, command)
        self._out.append(write(command))
        pending.append((command, self._buffer.end))
        if begin is None:
            predicted.succeed(kind)
        else:
            begin(self, command)

    def send_group(self, commands: Sequence[Command]) -> None:
        """Queue commands that go out together (RFC 2920 3.1), each as `send` does.

        If the answers to all of them come together, and are successes that say nothing else (as to MAIL,
        RCPT, DATA and RSET), one event tells it, `Successes`; else replies do, one by one. Raises as `send`,
        for the first that may not be said: those before it are queued.
        """
        busy = self._pending or self._body is not None or self._mispredicted
        if busy or "PIPELINING" not in self.features:
            for command in commands:
                self.send(command)
        else:
            self._send_together(commands)
        if commands and not self._hears_each and _NOTHING_TO_LEARN.issuperset(map(type, commands)):
            self._group = commands

    def _send_envelope(self, envelope: Envelope, chunk: bytes = b"") -> None:
        """What `send_group` does for the commands of an envelope, faster for a plain one; and behind one that
        does not ask for data, the message as its only `chunk`.
        """
        predicted, features = self._predicted, self.features
        if (
            envelope._commands is not None
            or predicted.state is not _READY
            or self._pending
            or self._mispredicted
            or "PIPELINING" not in features
            or self._hears_each
            or self.quota.limits
            or (envelope.size is not None and "SIZE" not in features)
            or (not envelope.asks_for_data and "CHUNKING" not in features)
        ):
            self.send_group(envelope[:])
            if not envelope.asks_for_data:
                self.send_last_chunk(chunk)
            return
        # No rule has anything else to say to it.
        since = self._buffer.end
        self._group = self._envelope = envelope
        self._out.append(write_plain_envelope(envelope, len(chunk)))
        if envelope.asks_for_data:
            self._pending.append((envelope, since))
            predicted.succeed_with_envelope(asks_for_data=True)
        else:
            self._out.append(chunk)
            self._pending += ((envelope, since), (Bdat(size=len(chunk), last=True), since), (_END, since))
            self._last_chunks = 1

    def _send_together(self, commands: Sequence[Command]) -> None:
        """What `send` does for each of them, where it has nothing else to look at."""
        predicted, pending, out, since = self._predicted, self._pending, self._out, self._buffer.end
        is_last = False
        for command in commands:
            kind = type(command)
            plan = _PLANS[predicted.state].get(kind)
            if plan is None or is_last:
                self.send(command)  # which raises, and says why
            else:
                rule, write, begin = plan
                if rule is not None:
                    rule(self, command)
                out.append(write(command))
                pending.append((command, since))
                if begin is None:
                    predicted.succeed(kind)
                else:
                    begin(self, command)
                is_last = kind in _LAST_IN_GROUP

    def _predict(self) -> None:
        self._predicted.predict(self._machine, (command for command, _ in self._pending))
        self._mispredicted = False

    def send_text(self, message: bytes) -> None:
        """Queue a whole message behind DATA, and its end: what `MessageData` and `EndOfMessage` would.

        Raises `LocalProtocolError`, and changes nothing, if none is due now, or if it must not be sent.
        """
        body = self._body
        if type(body) is not DataWriter:
            raise LocalProtocolError("a message, and no 354 to DATA")
        self._out.append(body.write_whole(message))
        self._body = None
        self._pending.append((_END, self._buffer.end))
        self._predicted.succeed(EndOfMessage)

    def send_last_chunk(self, chunk: bytes) -> None:
        """Queue a whole message behind its recipients, as one chunk (RFC 3030 2): what `Bdat`, `MessageData`
        and `EndOfMessage` would. Raises as `send` does for the first of them, and changes nothing then.
        """
        self.send(Bdat(size=len(chunk), last=True))
        if chunk:
            self.send(MessageData(data=chunk))
        self.send(_END)

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
        self._envelope = None
        if "PRDR" in command._parameters:
            self._hears_each = True

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


# Commands of which a success tells nothing else; 354 to DATA is seen by its code.
_NOTHING_TO_LEARN = frozenset((Mail, Rcpt, Data, Rset))

_END = EndOfMessage()
# An Enum member is slow to look up before Python 3.12.
_GREETING, _READY = State.GREETING, State.READY
_COMMAND, _DATA_BLOCK = Timer.COMMAND, Timer.DATA_BLOCK

# What is begun by saying these.
_BEGIN: dict[type[Command], Callable[[ClientSending, Any], None]] = {
    Auth: ClientSending._begin_auth,
    Mail: ClientSending._begin_mail,
    Bdat: ClientSending._begin_chunk,
    Burl: ClientSending._begin_chunk,
}

# For each state what may be said in it: the rule that judges it, what writes it, what it begins. (Of a body
# only the first command stands here: something is always pending then.)
_PLANS: dict[State, dict[type[Command], tuple[Any, Any, Any]]] = {
    state: {
        kind: (RULES.get(kind), WRITERS.get(kind), _BEGIN.get(kind))
        for kind in row
        if kind is not MalformedCommand
    }
    for state, row in TABLE.items()
}
