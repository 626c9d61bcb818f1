"""Replies without a conversation: for a client that says what it likes, line by line, and only wants to be
answered.

`ClientConnection` knows what was asked, and so which answers make sense. Here nothing is known, and nothing
is judged but the size: whatever a server writes is a reply with a code, or one without.
"""

from typing import NamedTuple

from . import _grammar
from ._connection import CLOSED, NEED_DATA, Signal, fault
from ._errors import LocalProtocolError, RemoteProtocolError
from ._limits import DEFAULT_LIMITS, Limits
from ._receive_buffer import ReceiveBuffer


class RawReply(NamedTuple):
    """A reply as it came: nothing in it has been judged."""

    code: int | None
    """That of the last line; None if this does not begin with three digits."""
    lines: tuple[bytes, ...]
    """The lines, codes included and line ends not."""
    texts: tuple[bytes, ...]
    """What stands behind the code and the octet after it."""


class ReplyStream:
    """Octets in, replies out.

        replies = ReplyStream()
        replies.receive_data(b"250-a\\r\\n250 b\\r\\n")
        replies.next_event()                      # RawReply(code=250, ..., texts=(b"a", b"b"))

    A line ends with CRLF or LF; "-" behind its code says that more follow (RFC 5321 4.2.1). A line without
    a code ends the reply. `limits`: `reply_line`, `reply_lines` and `reply_octets` hold.
    """

    __slots__ = ("_buffer", "_eof", "_error", "_limits", "_lines", "_octets", "_texts")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = ReceiveBuffer()
        self._eof = False
        self._error: RemoteProtocolError | None = None
        self._lines: list[bytes] = []
        self._texts: list[bytes] = []
        self._octets = 0

    @property
    def trailing_data(self) -> bytes:
        """The octets that were received and are in no reply yet, but for the first lines of one."""
        return bytes(self._buffer.octets)

    def receive_data(self, data: bytes) -> None:
        """Store octets from the network; `b""` says that the server will send no more."""
        self._eof = not data
        self._buffer.append(data)

    def next_event(self) -> RawReply | Signal:
        """The next reply; `NEED_DATA`; `CLOSED` after the end, where a reply that is cut off is none.

        Raises `RemoteProtocolError`, now and ever after, for a reply over a limit; its code is 500 if it
        is a line that is too long.
        """
        if self._error is not None:
            raise self._error
        limits = self._limits
        try:
            while (line := self._buffer.read_line(limits.reply_line, bare_lf=True)) is not None:
                reply = self._add(line)
                if reply is not None:
                    return reply
        except LocalProtocolError as exc:
            self._error = fault(exc)
            raise self._error from exc
        return CLOSED if self._eof else NEED_DATA

    def _add(self, line: bytes) -> RawReply | None:
        """The reply that this line completes, if it does."""
        match = _grammar.LOOSE_REPLY_LINE.fullmatch(line)
        self._lines.append(line)
        self._texts.append(line[4:] if match is None else match[3])
        self._octets += len(line) + 2
        if len(self._lines) > self._limits.reply_lines:
            raise LocalProtocolError(f"a reply of more than {self._limits.reply_lines} lines")
        if self._octets > self._limits.reply_octets:
            raise LocalProtocolError(f"a reply of more than {self._limits.reply_octets} octets")
        if match is not None and match[2]:
            return None
        code = None if match is None else _grammar.number(match[1])
        reply = RawReply(code, tuple(self._lines), tuple(self._texts))
        self._lines.clear()
        self._texts.clear()
        self._octets = 0
        return reply
