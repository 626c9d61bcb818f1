"""The body of a message on its way: where it ends, and what its lines end with.

This is the file that SMTP smuggling would have to get past. Its rules:

* The message ends at the five octets CRLF "." CRLF, or "." CRLF at its very start, and nowhere else: no
  policy, no limit and no cut of the stream ever takes another sequence for the end (RFC 5321 4.1.1.4).
* The end is looked for first. Only what lies before it is judged for bare CR and LF.
* What is sent holds no bare CR or LF (2.3.8), and a dot more at each line that begins with one (4.5.2):
  made regular first, stuffed afterwards.
* Both directions keep their place in the line across pieces: one object serves one body.

Bodies are worked on with `find`, `count` and `replace`, never line by line: a loop over lines is a
hundred times slower, and on lines of two characters a thousand times.
"""

from __future__ import annotations

from enum import Enum

from ._errors import LocalProtocolError
from ._limits import Limits
from ._receive_buffer import ReceiveBuffer
from ._replies import Reply


class LineEnds(Enum):
    """What becomes of a bare CR or bare LF in a message sent or received with DATA."""

    NORMALIZE = "normalize"
    """Each becomes CRLF. The default for sending."""
    STRICT = "strict"
    """Sending: raise. Receiving: refuse the message after its end. The default for receiving."""
    PRESERVE = "preserve"
    """Receiving only: hand the octets on as they are. Whoever sends such a message on must make its
    line ends regular, or it smuggles."""


def has_bare_line_ends(data: bytes) -> bool:
    """Whether there is a CR without LF or a LF without CR."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs


def normalize_line_ends(data: bytes) -> bytes:
    """CR, LF and CRLF all become CRLF."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _measure(data: bytes, carried: int, limit: int) -> int:
    """The length of the unfinished last line, or of the first line that is longer than `limit`.

    `carried` is how much of the first line came earlier. Looks at one LF in a thousand octets: the
    last one within reach of each line's start.
    """
    start = -carried
    while (lf := data.rfind(b"\n", max(start, 0), start + limit + 2)) >= 0:
        start = lf + 1
    return len(data) - start


class DataWriter:
    """A body on its way out after DATA: regular line ends, stuffed dots, and the end."""

    __slots__ = ("_allow_nul", "_at_line_start", "_held_cr", "_line", "_line_limit", "_strict")

    def __init__(self, line_ends: LineEnds, line_limit: int | None, *, allow_nul: bool) -> None:
        self._strict = line_ends is not LineEnds.NORMALIZE
        self._line_limit = line_limit
        self._allow_nul = allow_nul
        self._at_line_start = True
        self._held_cr = False  # a CR at the end of a piece waits for what follows
        self._line = 0

    def write(self, data: bytes) -> bytes:
        """The next piece as it goes on the wire. Raises, and changes nothing, if it must not."""
        if self._held_cr:
            data = b"\r" + data
        held_cr = data.endswith(b"\r")
        if held_cr:
            data = data[:-1]
        if has_bare_line_ends(data):
            if self._strict:
                raise LocalProtocolError("bare CR or LF in the message (RFC 5321 2.3.8)")
            data = normalize_line_ends(data)
        line = self._judge(data)
        self._held_cr = held_cr
        if not data:
            return b""
        self._line = line
        wire = data.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and data.startswith(b"."):
            wire = b"." + wire
        self._at_line_start = data.endswith(b"\n")
        return wire

    def end(self) -> bytes:
        """The end of the body, with the last line's CRLF where it is missing."""
        if self._held_cr and self._strict:
            raise LocalProtocolError("bare CR at the end of the message (RFC 5321 2.3.8)")
        return b".\r\n" if self._at_line_start and not self._held_cr else b"\r\n.\r\n"

    def _judge(self, data: bytes) -> int:
        if not self._allow_nul and b"\0" in data:
            raise LocalProtocolError("NUL in the message (RFC 5321 4.5.2, RFC 2045 2.7)")
        if self._line_limit is None:
            return 0
        line = _measure(data, self._line, self._line_limit)
        if line > self._line_limit:
            raise LocalProtocolError(
                f"a line of the message is longer than {self._line_limit} octets (RFC 5321 4.5.3.1.6)"
            )
        return line


class ChunkWriter:
    """The octets of one chunk on their way out: as they are, counted (RFC 3030)."""

    __slots__ = ("last", "missing")

    def __init__(self, size: int, last: bool) -> None:
        self.missing = size
        self.last = last

    def write(self, data: bytes) -> bytes:
        """The octets as they are."""
        if len(data) > self.missing:
            raise LocalProtocolError(f"{len(data)} octets where the chunk lacks {self.missing}")
        self.missing -= len(data)
        return data

    def end(self) -> bytes:
        """Nothing: the end was announced."""
        if self.missing:
            raise LocalProtocolError(f"the chunk lacks {self.missing} octets")
        return b""


class BodyReader:
    """What both ways of receiving a body have in common: counting, and eating what is refused."""

    __slots__ = ("_refused", "_refused_limit", "long_lines", "nul", "refusal", "size")

    def __init__(self, limits: Limits) -> None:
        self.size = 0
        self.refusal: Reply | None = None
        self.long_lines = False
        self.nul = False
        self._refused = 0
        self._refused_limit = limits.refused_octets

    def refuse(self, reply: Reply) -> None:
        """The message cannot be accepted any more; the first reason stands."""
        self.refusal = self.refusal or reply

    def eat(self, count: int) -> None:
        """Count octets of a body that is refused already."""
        self._refused += count
        if self._refused > self._refused_limit:
            raise LocalProtocolError(
                f"{self._refused_limit} octets read of a message that is refused",
                code=421,
                enhanced="4.3.4",
            )


# What the end of a piece may be the beginning of, longest first.
_UNDECIDED = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class DataReader(BodyReader):
    """A body on its way in after DATA.

    Every piece that is handed out stops before a CR that might begin the end of the message, so each
    holds whole line ends, and the dot behind a line end is in the same piece.
    """

    __slots__ = ("_at_start", "_line", "_line_ends", "_line_limit", "_size_limit", "ended")

    def __init__(self, line_ends: LineEnds, limits: Limits) -> None:
        super().__init__(limits)
        self.ended = False
        self._line_ends = line_ends
        self._size_limit = limits.message_size
        self._line_limit = limits.text_line
        self._at_start = True
        self._line = 0

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """The next piece of content; `b""` if the end came, or nothing can be decided yet."""
        raw = self._cut(buffer)
        if not raw:
            return b""
        if self._line_ends is not LineEnds.PRESERVE and has_bare_line_ends(raw):
            if self._line_ends is LineEnds.NORMALIZE:
                content = normalize_line_ends(raw.replace(b"\r\n.", b"\r\n"))
            else:
                content = b""
                self.refuse(Reply(code=550, enhanced="5.5.2", text="bare CR or LF (RFC 5321 2.3.8)"))
        else:
            content = raw.replace(b"\r\n.", b"\r\n")
        self.size += len(content)
        if self._size_limit is not None and self.size > self._size_limit:
            self.refuse(
                Reply(
                    code=552,
                    enhanced="5.3.4",
                    text=f"message of more than {self._size_limit} octets",
                )
            )
        if self.refusal is not None:
            self.eat(len(raw))
            return b""
        self._look_at(content)
        return content

    def _cut(self, buffer: ReceiveBuffer) -> bytes:
        """Take all that is certain off the buffer, and the end if it is there."""
        octets = buffer.octets
        if self._at_start:
            head = bytes(octets[:3])
            if b".\r\n".startswith(head):
                self.ended = head == b".\r\n"
                return buffer.take(3)[:0] if self.ended else b""
            self._at_start = False
            if head.startswith(b"."):
                buffer.take(1)
        end = octets.find(b"\r\n.\r\n")
        if end >= 0:
            self.ended = True
            return buffer.take(end + 5)[:-3]
        for undecided in _UNDECIDED:
            if octets.endswith(undecided):
                return buffer.take(len(octets) - len(undecided))
        return buffer.take(len(octets))

    def _look_at(self, content: bytes) -> None:
        self.nul = self.nul or b"\0" in content
        if self._line_limit is not None and not self.long_lines:
            self._line = _measure(content, self._line, self._line_limit)
            self.long_lines = self._line > self._line_limit


class ChunkReader(BodyReader):
    """The chunks of one message on their way in (RFC 3030): `begin` each, then `read` it."""

    __slots__ = ("last", "missing")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.missing = 0
        self.last = False

    def begin(self, size: int, last: bool) -> None:
        """A chunk of `size` octets follows."""
        self.missing = size
        self.last = last

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """The next octets of the chunk; `b""` if none are there, or they are refused."""
        data = buffer.take(self.missing)
        self.missing -= len(data)
        if self.refusal is not None:
            self.eat(len(data))
            return b""
        self.size += len(data)
        return data
