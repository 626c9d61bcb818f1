"""Octets received and not yet understood. The only place, with the bodies, that searches octets.

A search goes on where the last one stopped, and what is read is cut off the front, which for a
`bytearray` costs nothing: time is linear in the octets received, however they were cut.
"""

from __future__ import annotations

from ._errors import LocalProtocolError


class ReceiveBuffer:
    """A queue of octets with reads that either succeed whole or leave it as it was."""

    __slots__ = ("end", "octets", "searched")

    def __init__(self) -> None:
        self.octets = bytearray()
        self.end = 0  # where in the stream the buffer ends
        self.searched = 0  # so many octets hold no line end

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
        octets = self.octets
        end = b"\n" if bare_lf else b"\r\n"
        at = octets.find(end, self.searched, limit)
        if at < 0:
            if len(octets) >= limit:
                raise LocalProtocolError(f"line of more than {limit} octets", code=500)
            self.searched = max(0, len(octets) - len(end) + 1)
            return None
        line = bytes(octets[:at])
        del octets[: at + len(end)]
        self.searched = 0
        return line[:-1] if bare_lf and line[-1:] == b"\r" else line

    def skip_line(self, *, bare_lf: bool) -> bool:
        """Drop everything up to the end of the line; whether it was there."""
        octets = self.octets
        end = b"\n" if bare_lf else b"\r\n"
        at = octets.find(end)
        self.searched = 0
        if at >= 0:
            del octets[: at + len(end)]
            return True
        del octets[: -1 if octets[-1:] == b"\r" else None]
        return False

    def line_before(self, end: int) -> int:
        """Where the line begins that ends at `end`."""
        return self.octets.rfind(b"\n", 0, end - 1) + 1

    def take(self, count: int) -> bytes:
        """Cut off the first `count` octets, or all if there are fewer."""
        if count >= len(self.octets):
            taken = bytes(self.octets)
            self.octets.clear()
        else:
            taken = bytes(memoryview(self.octets)[:count])
            del self.octets[:count]
        self.searched = 0
        return taken
