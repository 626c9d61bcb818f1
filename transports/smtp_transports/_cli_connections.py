"""The connections of a check: no password goes out in the clear, no wait is too long, none is left open."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from smtp_proto import ConnectionLost

from ._cli_place import Place
from ._sockets import SocketStream
from ._stream import Stream

# Who was silent so often is waited for no more than this part of the time.
_SILENCES, _REST = 3, 0.1


class Connections:
    """Makes connections to a server, and closes those that nobody has closed.

    `secrets` are not said in the clear. `seconds`: how long a handshake may take, and the first greeting.
    """

    def __init__(self, place: Place, seconds: float, secrets: Sequence[str]) -> None:
        self._place = place
        self._seconds = seconds
        self._secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets]
        self._open: list[_Careful] = []
        self._has_spoken = False
        self._silences = 0

    def __call__(self) -> Stream:
        """A new one, as far as TLS from the start. Raises `OSError`, and `ValueError` as `start_tls`."""
        self._open = [stream for stream in self._open if not stream.is_closed]
        stream = _Careful(self._place.open(self._seconds), self)
        self._open.append(stream)
        if self._place.tls:
            stream.start_tls(self._seconds)
        return stream

    def close(self) -> None:
        """Close all of them."""
        for stream in self._open:
            stream.close()

    def has_secret(self, data: bytes) -> bool:
        """Whether this says what is not to be said in the clear."""
        return any(secret in data for secret in self._secrets)

    def patience(self, timeout: float | None) -> float | None:
        """How long to wait instead."""
        return timeout if timeout is None or self._silences < _SILENCES else timeout * _REST

    def heard(self) -> None:
        """The server said something."""
        self._has_spoken = True

    def silent(self) -> None:
        """The server said nothing in time. Raises `ConnectionLost` if it never did: nobody can be checked."""
        if not self._has_spoken:
            # No `TimedOut`, which is an `OSError`: that would be held against the server.
            raise ConnectionLost(f"nothing came within {self._seconds:g} seconds")
        self._silences += 1


class _Careful:
    """A stream of a check. What goes wrong on our side is raised: it is not held against the server."""

    def __init__(self, stream: SocketStream, connections: Connections) -> None:
        self._stream = stream
        self._connections = connections

    @property
    def is_closed(self) -> bool:
        return bool(self._stream.sock.fileno() < 0)

    def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`. Raises `ValueError` where it has a secret, and there is no TLS."""
        if self._stream.ssl_object is None and self._connections.has_secret(data):
            raise ValueError("without TLS the password would be said in the clear: is STARTTLS offered?")
        self._stream.send_all(data, timeout)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets. Raises `ConnectionLost` where the server has never said any."""
        try:
            data = self._stream.receive_some(max_octets, self._connections.patience(timeout))
        except TimeoutError:
            self._connections.silent()
            raise
        self._connections.heard()
        return data

    def start_tls(self, timeout: float | None) -> None:
        """Do the handshake. Raises `ValueError` for a certificate that is not trusted."""
        try:
            self._stream.start_tls(timeout)
        except ssl.SSLCertVerificationError as exc:
            raise ValueError(f"the certificate is not trusted: {exc.verify_message}") from exc

    def close(self) -> None:
        """Close it."""
        self._stream.close()
