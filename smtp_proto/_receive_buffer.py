"""Octets received and not yet understood. The only place, with the bodies, that searches octets.

A search goes on where the last one stopped, and what is read is cut off the front, which for a
`bytearray` costs nothing: time is linear in the octets received, however they were cut.
"""

from __future__ import annotations

from ._errors import LocalProtocolError


class ReceiveBuffer:
    """A queue of octets with reads that either succeed whole or leave it as it was."""

    __slots__ = ("_searched", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self._searched = 0

    def __len__(self) -> int:
        return len(self.octets)

    def append(self, data: bytes) -> None:
        """Store what came from the network."""
        self.octets += data

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
        line = self.take(at + len(end))
        return line[: -2 if line[-2:] == b"\r\n" else -1]

    def skip_line(self) -> bool:
        """Drop everything up to the next CRLF; whether it was there."""
        at = self.octets.find(b"\r\n")
        if at >= 0:
            self.take(at + 2)
            return True
        keep = 1 if self.octets[-1:] == b"\r" else 0
        self.take(len(self.octets) - keep)
        return False

    def take(self, count: int) -> bytes:
        """Cut off the first `count` octets, or all if there are fewer."""
        taken = bytes(self.octets[:count])
        del self.octets[:count]
        self._searched = 0
        return taken
