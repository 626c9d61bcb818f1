"""asyncio: a client, and a server with a task for each session that waits for more than its client. uvloop
works as well.

async with connect("mx.example.com", 587, starttls="required") as client:
    result = await client.send_message("alice@example.org", ["bob@example.com"], message)

async with serve(Mailbox(), "127.0.0.1", 0) as server:
    print(server.address)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from ._async import AsyncSockets
from ._asyncio_buffers import Shared
from ._asyncio_stream import Stream
from ._callback_server import CallbackServer
from ._client import AsyncClient
from ._opening import address_at, stop_listening
from ._places import INTERNET, Security
from ._pool import AsyncPool
from ._server import AsyncServer

__all__ = ["AsyncClient", "AsyncServer", "Pool", "Stream", "connect", "serve"]

# RFC 8305 5: after so many seconds the next address is tried as well.
_HAPPY_EYEBALLS = 0.25


class _Listener:
    """A listening socket."""

    def __init__(self, sock: socket.socket, security: Security) -> None:
        self._sock = sock
        self._security = security
        self._shared = Shared.of_this_loop()
        self._loop = self._shared.loop
        self._is_watched = False  # by the loop, which calls `_take`
        self._waiter: asyncio.Future[tuple[socket.socket, Any]] | None = None
        self._is_closed = False
        self.address = sock.getsockname()

    async def accept(self) -> tuple[Stream, Any]:
        """Wait for the next client."""
        if self._is_closed:
            raise OSError("the listener is closed")
        try:
            sock, peer = await self._wait() if self._is_watched else self._sock.accept()
        except BlockingIOError:
            with contextlib.suppress(NotImplementedError):  # of Windows
                self._loop.add_reader(self._sock, self._take)
                self._is_watched = True
            sock, peer = await self._wait()
        try:
            _, stream = await self._loop.connect_accepted_socket(self._stream, sock)
        except BaseException:
            sock.close()
            raise
        return stream, peer

    async def _wait(self) -> tuple[socket.socket, Any]:
        waiter: asyncio.Future[tuple[socket.socket, Any]]
        if self._is_watched:
            waiter = self._loop.create_future()
        else:
            waiter = self._loop.create_task(self._loop.sock_accept(self._sock))
        self._waiter = waiter
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # a client came in the same moment
                with contextlib.suppress(OSError):
                    waiter.result()[0].close()
            if not self._is_closed:
                raise
            raise OSError("the listener is closed") from None

    def _take(self) -> None:
        """A client is there. It stays there, with those behind it, while nobody waits for one."""
        if self._waiter is None or self._waiter.done():
            self._loop.remove_reader(self._sock)
            self._is_watched = False
            return
        try:
            self._waiter.set_result(self._sock.accept())
        except BlockingIOError:
            pass  # it is gone
        except OSError as exc:
            self._waiter.set_exception(exc)

    def _stream(self) -> Stream:
        return Stream(self._security, self._shared)

    def close(self) -> None:
        """Stop listening; `accept` raises."""
        if not self._is_closed:
            self._is_closed = True
            if self._waiter is not None:
                self._waiter.cancel()
            with contextlib.suppress(NotImplementedError):
                # A client may be there already; nobody may look at the socket any more.
                self._loop.remove_reader(self._sock)
            stop_listening(self._sock, self.address)


class _Tasks:
    """Tasks that can be waited for."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self.pause = asyncio.sleep

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exc: object) -> None:
        self.cancel()
        await self.join(None)

    def start(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Run `function` in a task of its own."""
        task = asyncio.get_running_loop().create_task(function(*arguments))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def join(self, seconds: float | None) -> bool:
        """Wait until all have ended, those included that start meanwhile; whether they have in time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while others := self._others():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            await asyncio.wait(others, timeout=left)
        return True

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in self._others():
            task.cancel()

    def _others(self) -> set[asyncio.Task[None]]:
        return {task for task in self._running if task is not asyncio.current_task()}


class _Sockets(AsyncSockets):
    clock = staticmethod(time.monotonic)
    tasks = _Tasks
    server = CallbackServer

    def slots(self, count: int) -> asyncio.Semaphore:
        return asyncio.Semaphore(count)

    async def open_tcp(
        self, host: str, port: int, local_address: tuple[str, int] | None, security: Security
    ) -> Stream:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"local_addr": local_address}
        # uvloop has no such option; and one address needs no race, which when cancelled loses its winner.
        is_name = address_at(host.partition("%")[0], port) is None  # behind it is the zone of an address
        if isinstance(loop, asyncio.BaseEventLoop) and is_name:
            options["happy_eyeballs_delay"] = _HAPPY_EYEBALLS
        _, stream = await loop.create_connection(lambda: Stream(security), host, port, **options)
        return stream

    async def open_unix(self, path: str, security: Security) -> Stream:
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_unix_connection(lambda: Stream(security), path)
        return stream

    async def adopt(self, sock: socket.socket, security: Security) -> Stream:
        loop = asyncio.get_running_loop()
        if sock.family in INTERNET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, stream = await loop.connect_accepted_socket(lambda: Stream(security), sock)
        return stream

    def listener(self, sock: socket.socket, security: Security) -> _Listener:
        return _Listener(sock, security)

    async def limited(self, opening: Awaitable[Any], seconds: float | None) -> Any:
        async with asyncio.timeout(seconds):
            return await opening


class Pool(AsyncPool):
    __doc__ = AsyncPool.__doc__
    _make_event = asyncio.Event


_library = _Sockets()
connect: Final = _library.connect
serve: Final = _library.serve
