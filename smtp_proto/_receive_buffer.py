"""Octets received and not yet understood. The only place, with the bodies, that searches octets.

A search goes on where the last one stopped, and what is read is cut off the front, which for a
`bytearray` costs nothing: time is linear in the octets received, however they were cut.
"""

from __future__ import annotations

import re
from typing import Any

from ._errors import LocalProtocolError


class ReceiveBuffer:
    """A queue of octets with reads that either succeed whole or leave it as it was."""

    __slots__ = ("_searched", "end", "octets", "taken")

    def __init__(self) -> None:
        self.octets = bytearray()
        self.taken = 0  # octets cut off so far: where in the stream the buffer begins
        self.end = 0  # where in the stream the buffer ends
        self._searched = 0

    def __len__(self) -> int:
        return len(self.octets)

    def append(self, data: bytes) -> None:
        """Store what came from the network."""
        self.octets += data
        self.end += len(data)

    def read_line(self, limit: int, *, bare_lf: bool) -> bytes | None:
        """The next line without its end, or None if it is not complete.

        The line end is CRLF; with `bare_lf` also a LF alone. A line of more than `limit` octets, line
        end included, raises and stays where it is: the decision needs the first `limit` octets only,
        so it does not depend on how many have come.
        """
        end = b"\n" if bare_lf else b"\r\n"
        at = self.octets.find(end, self._searched, limit)
        if at < 0:
            if len(self.octets) >= limit:
                raise LocalProtocolError(f"line of more than {limit} octets", code=500)
            self._searched = max(0, len(self.octets) - len(end) + 1)
            return None
        line = bytes(self.octets[:at])
        del self.octets[: at + len(end)]
        self.taken += at + len(end)
        self._searched = 0
        return line[:-1] if bare_lf and line.endswith(b"\r") else line

    def match_line(self, pattern: re.Pattern[bytes], limit: int) -> tuple[Any, ...] | None:
        """The groups of `pattern`, which matches a whole line and its end; None if it does not.

        Only tried when the line is new: what comes octet by octet is not looked at again and again.
        """
        if self._searched:
            return None
        match = pattern.match(self.octets)
        if match is None or (end := match.end()) > limit:
            return None
        groups = match.groups()
        del self.octets[:end]
        self.taken += end
        return groups

    def skip_line(self, *, bare_lf: bool) -> bool:
        """Drop everything up to the end of the line; whether it was there."""
        end = b"\n" if bare_lf else b"\r\n"
        at = self.octets.find(end)
        if at >= 0:
            self.take(at + len(end))
            return True
        keep = 1 if self.octets[-1:] == b"\r" else 0
        self.take(len(self.octets) - keep)
        return False

    def take(self, count: int) -> bytes:
        """Cut off the first `count` octets, or all if there are fewer."""
        if count >= len(self.octets):
            taken = bytes(self.octets)
            self.octets.clear()
        else:
            taken = bytes(memoryview(self.octets)[:count])
            del self.octets[:count]
        self.taken += len(taken)
        self._searched = 0
        return taken
