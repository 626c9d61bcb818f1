"""What the judging server says: its answers become pieces, and it is counted what the client has read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from ._client_session import Answer, Behaviour, Said, Session

_CRLF = b"\r\n"

# An endless reply is four times as long as the longest that a client of this library takes.
_FLOOD = 262_144
_BLOCK = 4096

_UNKNOWN = b"500 no such command\r\n"
USUAL: Mapping[str, bytes] = {
    "greeting": b"220 mx.example ESMTP\r\n",
    "HELO": b"250 mx.example\r\n",
    "STARTTLS": b"220 go ahead\r\n",
    "AUTH": b"235 welcome\r\n",
    "response": b"235 welcome\r\n",
    "MAIL": b"250 ok\r\n",
    "RCPT": b"250 ok\r\n",
    "DATA": b"354 go ahead\r\n",
    "BDAT": b"250 ok\r\n",
    "text": b"250 taken\r\n",
    "RSET": b"250 ok\r\n",
    "NOOP": b"250 ok\r\n",
    "VRFY": b"252 perhaps\r\n",
    "QUIT": b"221 bye\r\n",
}
"""What a good server says at each moment; to all else that it does not know the command."""


class Voice:
    """One side of a connection: what was said and not read yet."""

    def __init__(self, session: Session) -> None:
        behaviour: Behaviour = session.behaviour
        self._session = session
        self._answers = behaviour.answers
        self._counts: dict[str, int] = {}
        self._sizes = cycle(behaviour.pieces) if behaviour.pieces else None
        self._out = bytearray()
        self._held = 0  # octets at the end of `_out` that come together with what stands before them
        self._said = 0
        self._endless = b""
        self.read = 0
        """How many octets the client has read."""
        self.has_closed = False
        """Whether nothing more is said."""

    @property
    def is_silent(self) -> bool:
        """Whether the client has read all that was said."""
        return not self._out

    @property
    def is_at_limit(self) -> bool:
        """Whether all of an endless reply was said that is to be said."""
        return bool(self._endless) and self._said >= _FLOOD and not self._out

    def answer_for(self, moment: str, usual: bytes | None = None) -> Answer:
        """What is planned for this moment, or else the usual."""
        count = self._counts[moment] = self._counts.get(moment, 0) + 1
        planned = self._answers.get(moment, ())
        if count <= len(planned):
            return planned[count - 1]
        return Answer(usual if usual is not None else USUAL.get(moment, _UNKNOWN))

    def say(self, answer: Answer) -> Said:
        """Say it. A 421 is the end, and so is an answer that says so."""
        code, flaw = answer.judged
        size = _FLOOD if answer.endless else len(answer.octets)
        said = self._put(
            Said(octets=answer.octets, start=self._said, end=self._said + size, code=code, flaw=flaw)
        )
        if answer.endless:
            self._endless = answer.octets
        if answer.behind:
            self._held = len(answer.behind)
            end = self._said + self._held
            self._put(Said(octets=answer.behind, start=self._said, end=end, code=None, unasked=True))
        if answer.closes or code == 421:
            self.close()
        return said

    def close(self) -> None:
        """Say nothing more."""
        if not self._out and not self.has_closed:
            self._session.log.append(("server", b""))
        self.has_closed = True
        self._endless = b""

    def next_piece(self, at_most: int | None) -> bytes:
        """What the client reads next; `b""` if there is nothing."""
        if not self._out and self._endless:
            self._go_on_for_ever()
        size = self._next_size()
        piece = bytes(self._out[: size if at_most is None else min(size, at_most)])
        del self._out[: len(piece)]
        self.read += len(piece)
        if piece:
            # Of an endless reply one block is enough to see.
            if self._said <= _BLOCK or not self._endless:
                self._session.log.append(("server", piece))
            if self.has_closed and not self._out:
                self._session.log.append(("server", b""))
        return piece

    def _put(self, said: Said) -> Said:
        self._session.said.append(said)
        self._out += said.octets
        self._said += len(said.octets)
        return said

    def _next_size(self) -> int:
        if self._endless:
            size = len(self._out)
        elif self._sizes is not None:
            size = next(self._sizes)
        else:
            end = self._out.find(_CRLF)
            size = len(self._out) if end < 0 else end + len(_CRLF)
        if self._held and len(self._out) - self._held <= size:
            size, self._held = len(self._out), 0
        return size

    def _go_on_for_ever(self) -> None:
        if self.is_at_limit:
            self._session.was_flooded = True
            self.close()
            return
        block = self._endless * (_BLOCK // len(self._endless) + 1)
        self._out += block
        self._said += len(block)
