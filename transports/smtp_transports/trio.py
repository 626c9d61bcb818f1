"""trio: a client, and a server with a task for each session.

async with connect("mx.example.com", 587, starttls="required") as client:
    result = await client.send_message("alice@example.org", ["bob@example.com"], message)

async with serve(Mailbox(), "127.0.0.1", 0) as server:
    print(server.address)
"""

from __future__ import annotations

import contextlib
import errno
import math
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final

import trio

from ._async import AsyncSockets
from ._client import AsyncClient
from ._opening import stop_listening
from ._places import INTERNET, Security
from ._pool import AsyncPool
from ._server import AsyncServer

__all__ = ["AsyncClient", "AsyncServer", "Pool", "Stream", "connect", "serve"]


class Stream:
    """A socket as a stream. In the clear trio does nothing but wait for it: what its own sockets and streams
    do besides would be kept by every session that waits.
    """

    def __init__(self, sock: socket.socket, security: Security) -> None:
        self.sock = sock
        self._secured: trio.SSLStream[trio.SocketStream] | None = None
        self._security = security
        self._receiving: trio.CancelScope | None = None
        self._goes_on = False  # it has sent something, and did not wait since
        self._ended = False  # no more octets are wanted
        sock.setblocking(False)
        if sock.family in INTERNET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ssl_object(self) -> Any:
        """What the `ssl` module knows of TLS; None in the clear."""
        return self._secured

    async def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`, or raise."""
        rest = memoryview(data)
        if self._secured is None:
            if self._goes_on:
                await trio.lowlevel.checkpoint()
            else:  # who reads next lets the others have their turn then
                await trio.lowlevel.checkpoint_if_cancelled()
            self._goes_on = True
            rest = self._send_some(rest)
            if not rest:
                return
        with _limit(timeout), _guard:
            if self._secured is not None:
                await self._secured.send_all(data)
                return
            while rest:
                await trio.lowlevel.wait_writable(self.sock)
                rest = self._send_some(rest)
            return
        raise TimeoutError

    def _send_some(self, data: memoryview) -> memoryview:
        """Send what can be sent at once; the rest."""
        with _guard:
            try:
                return data[self.sock.send(data) :]
            except BlockingIOError:
                return data

    async def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets; `b""` is the end."""
        self._goes_on = False
        with _limit(timeout) as self._receiving, _guard:
            if self._ended:
                self._receiving.cancel()
            if self._secured is not None:
                return bytes(await self._secured.receive_some(max_octets))
            while self.sock.fileno() >= 0:
                await trio.lowlevel.wait_readable(self.sock)
                with contextlib.suppress(BlockingIOError):
                    return self.sock.recv(max_octets)
            raise ConnectionAbortedError("the connection was closed")
        if self._ended:
            return b""
        raise TimeoutError

    async def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        self._secured = trio.SSLStream(
            trio.SocketStream(trio.socket.from_stdlib_socket(self.sock)),
            self._security.check(),
            server_side=self._security.server_side,
            server_hostname=self._security.server_hostname,
            https_compatible=True,
        )
        with _limit(timeout) as self._receiving, _guard:
            if self._ended:
                self._receiving.cancel()
            await self._secured.do_handshake()
            return
        if self._ended:
            raise ConnectionAbortedError("the connection was closed")
        raise TimeoutError

    async def close(self) -> None:
        """Close the socket."""
        self.hang_up()

    def stop_receiving(self) -> None:
        """Read no more: who waits here gets `b""`."""
        self._ended = True
        if self._receiving is not None:
            self._receiving.cancel()

    def hang_up(self) -> None:
        """End the conversation: who waits here is woken, and has to close."""
        _close(self.sock)


def _taken_over(stream: trio.SocketStream, security: Security) -> Stream:
    return Stream(socket.socket(fileno=stream.socket.detach()), security)


def _close(sock: socket.socket) -> None:
    if sock.fileno() >= 0:
        trio.lowlevel.notify_closing(sock)
        sock.close()


def _limit(seconds: float | None) -> trio.CancelScope:
    return trio.move_on_after(math.inf if seconds is None else seconds)


class _Guard:
    """Says as an `OSError` what trio says of the network. A coroutine that does so would be kept by every
    session that waits.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(exc, OSError) and exc.errno == errno.EBADF:
            raise ConnectionAbortedError("the connection was closed") from exc
        if isinstance(exc, trio.BrokenResourceError | trio.ClosedResourceError):
            if isinstance(exc.__cause__, OSError):
                raise exc.__cause__ from exc
            raise ConnectionAbortedError(str(exc) or "the connection was closed") from exc


_guard = _Guard()


class _Listener:
    """A listening socket."""

    def __init__(self, sock: socket.socket, security: Security) -> None:
        self.address = sock.getsockname()
        self._sock = sock
        self._security = security

    async def accept(self) -> tuple[Stream, Any]:
        """Wait for the next client."""
        while True:
            try:
                sock, peer = self._sock.accept()
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_readable(self._sock)
                except trio.ClosedResourceError as exc:
                    raise OSError("the listener is closed") from exc
            else:
                return Stream(sock, self._security), peer

    def close(self) -> None:
        """Stop listening; `accept` raises."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            stop_listening(self._sock, self.address)


class _Tasks:
    """Tasks that can be waited for."""

    _sessions: trio.Nursery  # within the other one, so that the tasks can be cancelled and nobody else

    def __init__(self) -> None:
        self._manager = trio.open_nursery()
        self._joining = trio.Event()
        self._all_ended = trio.Event()
        self.pause = trio.sleep

    async def __aenter__(self) -> None:
        self._nursery = await self._manager.__aenter__()
        await self._nursery.start(self._host)

    async def __aexit__(self, *exc: object) -> None:
        self._nursery.cancel_scope.cancel()
        # What was raised in the body is not the nursery's, which would wrap it in a group.
        await self._manager.__aexit__(None, None, None)

    def start(self, function: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run `function` in a task of its own."""
        self._sessions.start_soon(function, *arguments)

    async def join(self, seconds: float | None) -> bool:
        """Wait until all have ended, those included that start meanwhile; whether they have in time. None
        can start afterwards.
        """
        self._joining.set()
        with _limit(seconds):
            await self._all_ended.wait()
        return self._all_ended.is_set()

    def cancel(self) -> None:
        """Cancel all of them."""
        self._sessions.cancel_scope.cancel()

    async def _host(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with trio.open_nursery() as self._sessions:
                task_status.started()
                await self._joining.wait()
        finally:
            self._all_ended.set()


class _Sockets(AsyncSockets):
    clock = staticmethod(trio.current_time)
    tasks = _Tasks

    def slots(self, count: int) -> trio.Semaphore:
        return trio.Semaphore(count)

    async def open_tcp(
        self, host: str, port: int, local_address: tuple[str, int] | None, security: Security
    ) -> Stream:
        address, own_port = local_address or (None, 0)
        if own_port:
            raise ValueError("trio chooses the local port itself: local_address is (host, 0)")
        return _taken_over(await trio.open_tcp_stream(host, port, local_address=address), security)

    async def open_unix(self, path: str, security: Security) -> Stream:
        return _taken_over(await trio.open_unix_socket(path), security)

    async def adopt(self, sock: socket.socket, security: Security) -> Stream:
        return Stream(sock, security)

    def listener(self, sock: socket.socket, security: Security) -> _Listener:
        return _Listener(sock, security)

    async def limited(self, opening: Awaitable[Any], seconds: float | None) -> Any:
        with _limit(seconds):
            return await opening
        raise TimeoutError("timed out")


class Pool(AsyncPool):
    __doc__ = AsyncPool.__doc__
    _make_event = trio.Event


_library = _Sockets()
connect: Final = _library.connect
serve: Final = _library.serve
