"""The body of a message on its way: where it ends, and what its lines end with.

This is the file that SMTP smuggling would have to get past. Its rules:

* The message ends at the five octets CRLF "." CRLF, or "." CRLF at its very start, and nowhere else: no
  policy, no limit and no cut of the stream ever takes another sequence for the end (RFC 5321 4.1.1.4).
* The end is looked for first. Only what lies before it is judged for bare CR and LF.
* What is sent holds no bare CR or LF (2.3.8), and a dot more at each line that begins with one (4.5.2):
  made regular first, stuffed afterwards.
* Both directions keep their place in the line across pieces.

Bodies are worked on with `find`, `count` and `replace`, never line by line (see `_text.py`).
"""

from __future__ import annotations

import re

from ._errors import LocalProtocolError
from ._limits import Limits
from ._receive_buffer import ReceiveBuffer
from ._replies import Reply
from ._text import BARE_LINE_END, LineEnds, is_regular, measure, normalize_line_ends

_NORMALIZE = LineEnds.NORMALIZE  # an Enum member is slow to look up before Python 3.12
_NO_LIMIT = 1 << 62


class TextWriter:
    """A message of text on its way out: regular line ends, and a last line that is complete.

    `line_ends`: what becomes of bare CR and LF. `line_limit`: the longest line in octets, without its
    CRLF; None for no limit. `allow_nul`: let NUL pass.
    """

    __slots__ = ("_allow_nul", "_held_cr", "_line", "_line_limit", "_strict")

    def __init__(
        self,
        line_ends: LineEnds = LineEnds.NORMALIZE,
        line_limit: int | None = 998,
        allow_nul: bool = False,
    ) -> None:
        self._strict = line_ends is not _NORMALIZE
        self._line_limit = _NO_LIMIT if line_limit is None else line_limit
        self._allow_nul = allow_nul
        self.begin()

    def begin(self) -> None:
        """Another body begins."""
        self._held_cr = False  # a CR at the end of a piece waits for what follows
        self._line = 0  # octets of the last line, which is not complete

    def write(self, data: bytes) -> bytes:
        """The next piece as it is sent. A CR at its end is held back until it is known what follows.

        Raises `LocalProtocolError`, and changes nothing, if it must not be sent.
        """
        held_cr = data[-1:] == b"\r"
        if held_cr or self._held_cr:
            if not data:  # what follows the CR is still not known
                return data
            data = (b"\r" if self._held_cr else b"") + (data[:-1] if held_cr else data)
        if not is_regular(data):
            data = self._regular(data)
        limit = self._line_limit
        line = measure(data, self._line, limit)
        if line > limit:
            raise LocalProtocolError(
                f"a line of the message is longer than {limit} octets (RFC 5321 4.5.3.1.6)"
            )
        self._line = line
        self._held_cr = held_cr
        return data

    def _regular(self, data: bytes) -> bytes:
        if not self._allow_nul and b"\0" in data:
            raise LocalProtocolError("NUL in the message (RFC 5321 4.5.2, RFC 2045 2.7)")
        if self._strict and re.search(BARE_LINE_END, data):
            raise LocalProtocolError("bare CR or LF in the message (RFC 5321 2.3.8)")
        return normalize_line_ends(data)

    def end(self) -> bytes:
        """The last line's CRLF, where it is missing."""
        if self._held_cr and self._strict:
            raise LocalProtocolError("bare CR at the end of the message (RFC 5321 2.3.8)")
        return b"\r\n" if self._line or self._held_cr else b""


# This guard is twice as fast as `find` and the search in `replace`, and most messages have no such line.
_DOT_AT_LINE_START = re.compile(rb"\r\n\.").search


def _stuffed(text: bytes) -> bytes:
    """A dot more at each line behind the first that begins with one (RFC 5321 4.5.2)."""
    return text.replace(b"\r\n.", b"\r\n..") if _DOT_AT_LINE_START(text) else text


class DataWriter(TextWriter):
    """A message of text after DATA: as `TextWriter`, with stuffed dots, and the end (RFC 5321 4.5.2).

        writer = DataWriter()
        writer.write(b".a\\n") + writer.end()     # b"..a\\r\\n.\\r\\n"

    Every `ClientConnection` has one of its own; this is for those who write DATA by hand. `line_ends`,
    `line_limit`, `allow_nul`: as for `TextWriter`.
    """

    __slots__ = ("known",)

    last = True
    """As with the last of several chunks, an end must be said."""

    known: bytes | None
    """A whole message that has been made regular already: these very octets are not judged again."""

    def __init__(
        self,
        line_ends: LineEnds = LineEnds.NORMALIZE,
        line_limit: int | None = 998,
        allow_nul: bool = False,
    ) -> None:
        super().__init__(line_ends, line_limit, allow_nul)
        self.known = None

    def write(self, data: bytes) -> bytes:
        """The next piece as it goes on the wire. Raises as `TextWriter.write`."""
        in_line = self._line or self._held_cr
        # Lines that are complete, and known: the next one begins where the first of these did.
        text = data if data is self.known and not in_line else super().write(data)
        self.known = None
        wire = _stuffed(text)
        return wire if in_line or text[:1] != b"." else b"." + wire

    def write_whole(self, message: bytes) -> bytes:
        """A whole message, or the rest of one, as it goes on the wire, its end included."""
        if message is not self.known or self._line or self._held_cr:
            return self.write(message) + self.end()
        self.known = None
        wire = _stuffed(message)
        return b".%b.\r\n" % wire if wire[:1] == b"." else wire + b".\r\n"

    def end(self) -> bytes:
        """The end of the body, with the last line's CRLF where it is missing."""
        return super().end() + b".\r\n"


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
    """What both ways of receiving a body have in common: counting, and eating what is refused.

    `size` counts the octets of the content, refused ones included. A message is refused from one of
    its octets on, and not from a piece on: so the cuts of the stream decide nothing.
    """

    __slots__ = ("_limits", "_refused_at", "long_lines", "nul", "refusal", "size")

    def __init__(self, limits: Limits) -> None:
        self.size = 0
        self.refusal: Reply | None = None
        self.long_lines = False
        self.nul = False
        self._refused_at = 0
        self._limits = limits

    def refuse(self, reply: Reply, at: int) -> None:
        """The message cannot be accepted from its octet `at` on; the reason that comes first stands."""
        if self.refusal is None or at < self._refused_at:
            self.refusal = reply
            self._refused_at = at

    def _take(self, content: bytes) -> bytes:
        """Count `content`; what of it is not refused, which is handed out before the limit is judged."""
        start = self.size
        self.size += len(content)
        if self.refusal is None:
            return content
        content = content[: max(0, self._refused_at - start)]
        limit = self._limits.refused_octets
        if not content and self.size - self._refused_at > limit:
            raise LocalProtocolError(
                f"more than {limit} octets of a message that is refused",
                code=421,
                enhanced="4.3.4",
            )
        return content


# What the end of a piece may be the beginning of, longest first.
_UNDECIDED = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


def _certain(octets: bytearray) -> int:
    """How many octets are before that."""
    for undecided in _UNDECIDED:
        if octets.endswith(undecided):
            return len(octets) - len(undecided)
    return len(octets)


_BARE = Reply(code=550, enhanced="5.5.2", text="bare CR or LF (RFC 5321 2.3.8)")


class DataReader(BodyReader):
    """A body on its way in after DATA.

    Every piece that is handed out stops before a CR that might begin the end of the message, so each
    holds whole line ends, and the dot behind a line end is in the same piece.
    """

    __slots__ = ("_at_start", "_line", "_line_ends", "ended")

    last = True
    """As with the last of several chunks, the message ends with it."""

    def __init__(self, line_ends: LineEnds, limits: Limits) -> None:
        super().__init__(limits)
        self.ended = False
        self._line_ends = line_ends
        self._at_start = True
        self._line = 0

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """The next piece of content; `b""` if the end came, or nothing can be decided yet."""
        content = self._cut(buffer) if buffer.octets and not self.ended else b""
        if not content:
            return content if self.refusal is None else self._take(content)
        regular = is_regular(content)
        if not regular:
            content = self._irregular(content)
        size = self.size + len(content)
        limit = self._limits.message_size
        if limit is not None and size > limit >= self.size:
            text = f"message of more than {limit} octets"
            self.refuse(Reply(code=552, enhanced="5.3.4", text=text), limit)
        if self.refusal is None:
            self.size = size
        else:
            content = self._take(content)
        if not regular and b"\0" in content:
            self.nul = True
        limit = self._limits.text_line
        if limit is not None and content and not self.long_lines:
            self._line = measure(content, self._line, limit)
            self.long_lines = self._line > limit
        return content

    def _irregular(self, content: bytes) -> bytes:
        if self._line_ends is LineEnds.NORMALIZE:
            return normalize_line_ends(content)
        if self._line_ends is LineEnds.STRICT and self.refusal is None:
            before, *rest = re.split(BARE_LINE_END, content, maxsplit=1)
            if rest:
                self.refuse(_BARE, self.size + len(before))
        return content

    def _cut(self, buffer: ReceiveBuffer) -> bytes:
        """Take all that is certain off the buffer, and the end if it is there; leave out the stuffed dots."""
        octets = buffer.octets
        if self._at_start:
            if octets[:1] in b".":
                head = bytes(octets[:3])
                if b".\r\n".startswith(head):
                    self.ended = head == b".\r\n"
                    return buffer.take(3)[:0] if self.ended else b""
                buffer.take(1)
            self._at_start = False
        dot = _DOT_AT_LINE_START(octets)
        if dot is None:
            return buffer.take(_certain(octets))
        first = dot.start()
        end = octets.find(b"\r\n.\r\n", first)
        if end < 0:
            text = buffer.take(_certain(octets))
        else:
            self.ended = True
            text = buffer.take(end + 5)[:-3]
        return text if end == first else text.replace(b"\r\n.", b"\r\n")


class ChunkReader(BodyReader):
    """The chunks of one message on their way in (RFC 3030): `begin` each, then `read` it."""

    __slots__ = ("last", "missing")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.missing = 0
        self.last = False

    @property
    def ended(self) -> bool:
        """Whether the chunk is complete."""
        return not self.missing

    def begin(self, size: int, last: bool) -> None:
        """A chunk of `size` octets follows."""
        self.missing = size
        self.last = last

    def read(self, buffer: ReceiveBuffer) -> bytes:
        """The next octets of the chunk; `b""` if none are there, or they are refused."""
        data = buffer.take(self.missing)
        self.missing -= len(data)
        return self._take(data)
