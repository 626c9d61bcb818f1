"""For `smtp_proto.testing.conformance`: a client that brings sockets of its own is checked over TCP.

    verdicts = check_client(over_tcp(send))

Here `send` is called with the address of a listener, instead of a stream.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from smtp_proto.testing.conformance import Letter, ReactiveServer, Send, ServerStream

__all__ = ["over_tcp"]

Address: TypeAlias = tuple[str, int]

_READ = 65536


def over_tcp(
    send: Callable[[Address, Letter], Iterable[str] | None],
    *,
    ssl_context: ssl.SSLContext | None = None,
    patience: float = 0.001,
    timeout: float = 2.0,
) -> Send:
    """What `check_client` needs, of a function that sends a letter to an address.

    `send` connects to the address, a host and a port on the loopback interface, sends the letter in one
    session, and hangs up. `ssl_context`: for the handshake behind STARTTLS; without one call `check_client`
    with `tls=False`. `patience`: for so many seconds the server listens before it says the next line; a
    client that speaks out of its turn has to be as quick. `timeout`: after so many seconds of silence it
    gives up.
    """

    def send_over_tcp(stream: ServerStream, letter: Letter) -> Iterable[str] | None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(timeout)
            session = _Session(stream.server, ssl_context, patience, timeout)
            with session.played(listener) as address:
                accepted = send(address, letter)
                # What is made of pieces is made while there is a server.
                return None if accepted is None else tuple(accepted)

    return send_over_tcp


class _Session:
    """One connection, and the server that it is played with, in a thread."""

    def __init__(
        self, server: ReactiveServer, context: ssl.SSLContext | None, patience: float, timeout: float
    ) -> None:
        self._server = server
        self._context = context
        self._patience = patience
        self._timeout = timeout
        self._sock: socket.socket | None = None
        self._is_there = Event()

    @contextmanager
    def played(self, listener: socket.socket) -> Iterator[Address]:
        """At this address, until the block is left. Then nothing more is heard, whoever forgot to close."""
        host, port = listener.getsockname()
        with ThreadPoolExecutor(1) as threads:
            playing = threads.submit(self._play, listener)
            try:
                yield host, port
            finally:
                if not self._is_there.is_set():
                    # Nobody came, or has been accepted yet.
                    with suppress(OSError):
                        socket.create_connection((host, port), self._timeout).close()
                    self._is_there.wait(self._timeout)
                if self._sock is not None:
                    with suppress(OSError):
                        self._sock.shutdown(socket.SHUT_RD)
                playing.result()

    def _play(self, listener: socket.socket) -> None:
        self._sock, _ = listener.accept()
        self._is_there.set()
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._go_on(self._sock):
                pass
        finally:
            self._sock.close()

    def _go_on(self, sock: socket.socket) -> bool:
        """One step of it; whether there is another one."""
        server = self._server
        if server.wants_tls and self._context is not None:
            return self._start_tls(sock, self._context)
        data = self._heard(sock, self._timeout if server.awaits_hang_up else self._patience)
        if data is None:
            piece = server.data_to_send()
            if piece:
                return self._say(sock, piece)
            if server.has_closed:
                self._hang_up(sock)
            data = self._heard(sock, self._timeout)
            if data is None:
                server.give_up()
                return False
        server.receive_data(data)
        return bool(data)

    def _heard(self, sock: socket.socket, seconds: float) -> bytes | None:
        """What came; None if nothing did in so many seconds."""
        sock.settimeout(seconds)
        try:
            data = sock.recv(_READ)
            # Behind the end of TLS nothing is said; what still comes is the client's own end of it.
            return b"" if isinstance(sock, ssl.SSLSocket) and sock.version() is None else data
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):  # the latter two if the time is 0
            return None
        except OSError:
            return b""

    def _say(self, sock: socket.socket, piece: bytes) -> bool:
        sock.settimeout(self._timeout)
        # Who is gone is heard of when it is read.
        with suppress(OSError):
            sock.sendall(piece)
        return True

    def _start_tls(self, sock: socket.socket, context: ssl.SSLContext) -> bool:
        sock.settimeout(self._timeout)
        try:
            self._sock = context.wrap_socket(sock, server_side=True)
        except OSError:
            self._server.receive_data(b"")
            return False
        self._server.tls_started()
        return True

    def _hang_up(self, sock: socket.socket) -> None:
        """Say no more, and go on to listen."""
        with suppress(OSError):
            if isinstance(sock, ssl.SSLSocket):
                # Says so, and does not wait for the same from the client: that may still say other things.
                sock.settimeout(0)
                sock.unwrap()
            else:
                sock.shutdown(socket.SHUT_WR)
