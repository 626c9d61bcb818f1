"""The judging server as a stream in memory, for clients that bring no I/O of their own."""

from __future__ import annotations

from ._client_server import ReactiveServer

# So often a client may wait in vain, or talk to nobody: a working one gives up at the first time.
_PATIENCE = 100


class ClientStopped(BaseException):
    """Raised in a client under test that would go on for ever. `check_client` catches it."""


class ServerStream:
    """A connection to the judging server: what `smtp_transports.streams.Stream` is. Nothing ever waits.

    `server`: for whoever moves the octets in another way.
    """

    def __init__(self, server: ReactiveServer) -> None:
        self.server = server
        self._idle = 0

    def send_all(self, data: bytes, timeout: float | None = None) -> None:
        """Say it. Raises `BrokenPipeError` if the server has hung up and the client knows."""
        server = self.server
        if server.has_closed:
            self._count()
        if server.is_over:
            raise BrokenPipeError("the server has hung up")
        if data:
            server.receive_data(bytes(data))

    def receive_some(self, max_octets: int = 65536, timeout: float | None = None) -> bytes:
        """The next piece of what the server says, of `max_octets` at most; `b""` at the end. Raises
        `TimeoutError` if the server says nothing.
        """
        server = self.server
        piece = server.data_to_send(max_octets)
        if piece:
            return piece
        self._count()
        server.give_up()
        if server.session.is_stuck:
            raise TimeoutError("the server says nothing")
        server.is_over = True
        return b""

    def start_tls(self, timeout: float | None = None) -> None:
        """The handshake. Raises `ConnectionAbortedError` if the server is not ready for one."""
        if not self.server.wants_tls:
            # What a handshake begins with, unless our own octets would have broken it before.
            if not self.server.tls_due:
                self.server.receive_data(b"\x16\x03\x01")
            raise ConnectionAbortedError("octets in the clear in the place of the TLS handshake")
        self.server.tls_started()

    def close(self) -> None:
        """Hang up."""
        self.server.receive_data(b"")

    def _count(self) -> None:
        self._idle += 1
        if self._idle > _PATIENCE:
            raise ClientStopped
