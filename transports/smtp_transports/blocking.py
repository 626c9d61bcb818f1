"""Blocking sockets: a client, and a server with a thread for each session.

with connect("mx.example.com", 587, starttls="required") as client:
    result = client.send_message("alice@example.org", ["bob@example.com"], message)

with serve(Mailbox(), "127.0.0.1", 0) as server:
    print(server.address)
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from smtp_proto import ClientConnection, Limits, LineEnds, ServerConnection
from smtp_proto.ops import StartTLSPolicy

from ._client import Client
from ._places import INTERNET, about, default_port, own_name
from ._run import Timeouts, seconds_for
from ._server import Server
from .handlers import Handler

__all__ = ["SocketStream", "connect", "serve"]


Wrap: TypeAlias = Callable[[socket.socket], ssl.SSLSocket]


class SocketStream:
    """A connected socket as a stream. `start_tls` uses `wrap`, which makes a TLS socket of it and leaves
    the handshake to be done.
    """

    def __init__(self, sock: socket.socket, wrap: Wrap | None = None) -> None:
        self.sock = sock
        self._wrap = wrap
        self._timeout: float | None = -1.0
        self._over = False
        if sock.family in INTERNET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`, or raise."""
        self._set_timeout(timeout)
        self.sock.sendall(data)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets; `b""` is the end."""
        self._set_timeout(timeout)
        return self.sock.recv(max_octets)

    def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        if self._wrap is None:
            raise OSError("there is no TLS context")
        self._set_timeout(timeout)
        self.sock = sock = self._wrap(self.sock)
        if self._over:  # hung up while the descriptor went from one object to the other
            raise OSError("the connection was closed")
        sock.do_handshake()

    def hang_up(self) -> None:
        """End the conversation, from any thread: who waits here is woken, and has to close."""
        self._over = True
        with contextlib.suppress(OSError):
            # Not `self.sock.shutdown`: a TLS socket would forget its TLS, maybe in the middle of a read.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self.hang_up()
        self.sock.close()

    def _set_timeout(self, timeout: float | None) -> None:
        if timeout != self._timeout:  # it is a system call
            self.sock.settimeout(timeout)
            self._timeout = timeout


def connect(
    host: str = "localhost",
    port: int | None = None,
    *,
    tls: bool = False,
    starttls: StartTLSPolicy | None = None,
    context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    lmtp: bool = False,
    unix: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    local_address: tuple[str, int] | None = None,
    domain: str | None = None,
    timeouts: Timeouts = None,
    limits: Limits | None = None,
    line_ends: LineEnds = LineEnds.NORMALIZE,
) -> Client:
    """Connect, greet and introduce: a `Client` that is ready to send, and a context manager.

    `port`: 25 by default, 465 with `tls`, 24 with `lmtp`. `tls`: TLS from the start. `starttls`: the
    policy; `required` by default if a `context` is given. `context`: by default certificates and names
    are verified against the system's authorities. `server_hostname`: the name to verify, if it is not
    `host`. `unix`: the path of a Unix socket, instead of host and port; `sock`: a connected socket
    instead of either. `domain`: how to introduce this client; by default the host's name if it has a
    dot, else its address. `timeouts`: seconds; connecting takes the one for the greeting.

    Raises `OSError` if no connection can be had, `ConnectionLost` from an `ssl.SSLError` if TLS fails,
    `Refused` and `NotOffered` as `smtp_proto.ops.greet` and `hello`, and what every method of `Client`
    raises. No socket is left then, and `sock` is closed.
    """
    policy = starttls or ("required" if context else "never")
    if context is None and (tls or policy != "never"):
        context = ssl.create_default_context()
    conn = ClientConnection(lmtp=lmtp, tls=tls, line_ends=line_ends, **_given(limits=limits))  # type: ignore[arg-type]
    if sock is None:
        seconds = seconds_for(conn.timer, timeouts)
        if unix is not None:
            sock = _connect_unix(os.fspath(unix), seconds)
        else:
            sock = _connect_tcp(host, port or default_port(tls=tls, lmtp=lmtp), seconds, local_address)
    try:
        stream = SocketStream(sock, _wrapper(context, server_hostname=server_hostname or host))
        name = domain or own_name(sock)
    except BaseException:
        sock.close()
        raise
    client = Client(stream, conn, timeouts=timeouts)
    try:
        client.start(name, starttls=policy)
    except BaseException:
        client.close()
        raise
    return client


def serve(
    handler: Handler,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    unix: str | os.PathLike[str] | None = None,
    tls: bool = False,
    context: ssl.SSLContext | None = None,
    require_tls: bool = False,
    lmtp: bool = False,
    domain: str | None = None,
    max_sessions: int = 100,
    timeouts: Timeouts = None,
    limits: Limits | None = None,
    line_ends: LineEnds = LineEnds.STRICT,
) -> Server:
    """Listen and serve in threads of its own: a `Server`, and a context manager.

    `port` 0 takes a free one: see `server.address`. `context`: the server's certificate; with it STARTTLS
    is offered, or with `tls` the session begins with TLS. `require_tls`: take no mail in the clear.
    `domain`: the server's name; by default the host's. `max_sessions`: at once; more clients wait to be
    accepted. `unix`: listen at this path instead.

    Raises `OSError` if it cannot listen there, `ValueError` for TLS without a context.
    """
    if (tls or require_tls) and context is None:
        raise ValueError("TLS needs a context with the server's certificate")
    slots = threading.BoundedSemaphore(max_sessions)
    if unix is not None:
        sock = _listen_unix(os.fspath(unix))
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family)
    return Server(
        handler,
        [_Listener(sock, _wrapper(context, server_side=True))],
        _Threads(),
        slots,
        lambda: ServerConnection(lmtp=lmtp, tls=tls, line_ends=line_ends, **_given(limits=limits)),
        domain=domain or socket.gethostname(),
        starttls=context is not None,
        require_tls=require_tls,
        timeouts=timeouts,
    )


def _wrapper(context: ssl.SSLContext | None, **options: Any) -> Wrap | None:
    if context is None:
        return None
    return partial(context.wrap_socket, do_handshake_on_connect=False, **options)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _connect_tcp(
    host: str, port: int, seconds: float | None, local_address: tuple[str, int] | None
) -> socket.socket:
    """Try every address of `host`."""
    try:
        return socket.create_connection((host, port), seconds, local_address, all_errors=True)
    except ExceptionGroup as group:
        raise about(f"{host}:{port}", *group.exceptions) from group
    except OSError as exc:  # there is no such name
        raise about(f"{host}:{port}", exc) from exc


def _connect_unix(path: str, seconds: float | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(path)
    except OSError as exc:
        sock.close()
        raise about(path, exc) from exc
    return sock


def _listen_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen()
    except OSError as exc:
        sock.close()
        raise about(path, exc) from exc
    return sock


class _Listener:
    """A listening socket."""

    def __init__(self, sock: socket.socket, wrap: Wrap | None) -> None:
        self._sock = sock
        self._wrap = wrap
        self.address = sock.getsockname()

    def accept(self) -> tuple[SocketStream, Any]:
        """Wait for the next client."""
        sock, peer = self._sock.accept()
        try:
            return SocketStream(sock, self._wrap), peer
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Stop listening; `accept` raises."""
        if self._sock.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        if isinstance(self.address, str):  # the path of a Unix socket; an abstract one is bytes
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address)


class _Threads:
    """Threads that can be waited for."""

    def __init__(self) -> None:
        self._running: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.pause = time.sleep

    def start(self, function: Callable[[], None]) -> None:
        """Run `function` in a thread of its own."""
        thread = threading.Thread(target=function, daemon=True)
        with self._lock:
            thread.start()
            self._running = [other for other in self._running if other.is_alive()] + [thread]

    def join(self) -> None:
        """Wait until all have ended, those included that start meanwhile."""
        while self._running:
            self._running.pop().join()
