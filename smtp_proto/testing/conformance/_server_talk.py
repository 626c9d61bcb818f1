"""One connection to a server: octets out, replies in. What is said is written down; every wait and every
amount is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .._script import Role, Script
from ._server_options import ServerOptions, Stream
from ._server_replies import Answer, is_last, read

_READ = 65536
# Of one reply: far more than any server says. A clock bounds the time; these, the rest.
_REPLY_OCTETS = 65536
_REPLY_READS = 5000


class Silence(Exception):
    """Nothing came in time."""


class HungUp(Exception):
    """The server has closed the connection, or the network has."""


class Talk:
    """One connection, in the words of both sides."""

    def __init__(self, stream: Stream, options: ServerOptions) -> None:
        self._stream = stream
        self._patience = options.patience
        self._clock: Callable[[], float] = options.clock or (lambda: 0.0)
        self._said: list[tuple[Role | None, bytes]] = []
        self._came = bytearray()
        self._is_over = False

    @property
    def dialogue(self) -> str:
        """What was said so far, as the text of a `Script`."""
        return str(Script.from_octets(self._said))

    @property
    def has_more(self) -> bool:
        """Whether octets came that nobody has asked for."""
        return bool(self._came)

    def say(self, *pieces: bytes) -> None:
        """Send this, piece by piece. Where the server has hung up, its last words can still be heard."""
        for piece in filter(None, pieces):
            self._said.append(("client", piece))
            with suppress(OSError):
                self._stream.send_all(piece, self._patience)

    def hear(self) -> Answer:
        """The next reply. Raises `Silence` or `HungUp` where there is none."""
        lines: list[bytes] = []
        deadline = self._clock() + self._patience
        reads = _REPLY_READS
        while not lines or not is_last(lines[-1]):
            end = self._came.find(b"\n") + 1
            if end:
                lines.append(bytes(self._came[:end]))
                del self._came[:end]
            elif sum(map(len, lines)) + len(self._came) > _REPLY_OCTETS or not reads:
                # No end of it: this much is judged.
                lines.append(bytes(self._came))
                self._came.clear()
                break
            else:
                reads -= 1
                self._receive(deadline)
            if len(lines) > _REPLY_READS:
                break
        return read(lines)

    def start_tls(self) -> None:
        """The handshake. Raises `OSError` where it fails."""
        self._stream.start_tls(self._patience)
        self._said.append((None, b""))

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._stream.close()

    def _receive(self, deadline: float) -> None:
        left = deadline - self._clock()
        if left <= 0:
            raise Silence
        try:
            data = b"" if self._is_over else self._stream.receive_some(_READ, left)
        except TimeoutError:
            raise Silence from None
        except OSError:
            data = b""
        if not data:
            if not self._is_over:
                self._said.append(("server", b""))
            self._is_over = True
            raise HungUp
        self._said.append(("server", data))
        self._came += data
