"""What a text is, before it is sent or when it has come: its line ends, how long its lines are, its pieces.

Looked at as a whole, never line by line: a loop over lines is a hundred times slower, and on lines of two
characters a thousand times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from io import IncrementalNewlineDecoder as _Decoder


class LineEnds(Enum):
    """What becomes of a bare CR or bare LF in a message sent or received with DATA."""

    NORMALIZE = "normalize"
    """Each becomes CRLF. The default for sending."""
    STRICT = "strict"
    """Sending: raise. Receiving: refuse the message after its end. The default for receiving."""
    PRESERVE = "preserve"
    """Receiving only: hand the octets on as they are. Whoever sends such a message on must make its
    line ends regular, or it smuggles."""


PIECE = 262144
"""So many octets of a message are judged, and sent, at once."""

# The line ends of a regular text, as they are reported by what looks at those of text files: nothing else in
# the standard library tells so much in one pass.
_REGULAR = (None, "\r\n")

# Says where the first one is, and is ten times slower: only for what is known to hold one. (What few programs
# need is compiled when it is needed.)
BARE_LINE_END = rb"\r(?!\n)|(?<!\r)\n"


def is_regular(data: bytes) -> bool:
    """Whether `data` holds no bare CR, no bare LF and no NUL."""
    decoder = _Decoder(None, False)
    decoder.decode(data.decode("latin-1"), True)
    return 0 not in data and decoder.newlines in _REGULAR


def is_regular_text(message: bytes, limit: int | None) -> bool:
    """Whether a whole message can go out as it is: regular, its lines complete, none longer than `limit`."""
    return (
        message[-2:] == b"\r\n"
        and is_regular(message)
        and (limit is None or measure(message, 0, limit) <= limit)
    )


def normalize_line_ends(data: bytes) -> bytes:
    """`data` with CR, LF and CRLF all made CRLF."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def measure(data: bytes, carried: int, limit: int) -> int:
    """The length of the unfinished last line, or of the first line that is longer than `limit`.

    `carried` is how much of the first line came earlier. Looks at one line end in a thousand octets:
    the last one within reach of each line's start.
    """
    start, reach = 0, limit - carried
    size = len(data)
    while size > reach:
        end = data.rfind(b"\r\n", start, reach + 2)
        if end < 0:
            return size - reach + limit
        start = end + 2
        reach = start + limit
    # What is left fits: only the last line end matters.
    end = data.rfind(b"\r\n", start)
    return size - reach + limit if end < 0 else size - end - 2


def pieces_of(text: bytes) -> Iterator[bytes]:
    """`text` in pieces of at most `PIECE` octets, at line ends: but for a line that is longer."""
    at = 0
    while len(text) - at > PIECE:
        end = text.rfind(b"\n", at, at + PIECE) + 1 or at + PIECE
        yield text[at:end]
        at = end
    yield text[at:]


# Two line ends, the first of which may end the header's last line, or the message begins with one.
_END_OF_HEADER = rb"(?>\r\n|\r|\n){2}|\A[\r\n]"


def has_utf8_header(message: bytes) -> bool:
    """Whether the header of `message` is beyond ASCII, and UTF-8: one that needs SMTPUTF8 (RFC 6532)."""
    end = re.search(_END_OF_HEADER, message)
    header = message[: end.start()] if end else message
    try:
        return not header.isascii() and bool(header.decode("utf-8"))
    except UnicodeDecodeError:
        return False
