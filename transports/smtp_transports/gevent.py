"""gevent, without monkey-patching: a client, and a server with a greenlet for each session.

with connect("mx.example.com", 587, starttls="required") as client:
    result = client.send_message("alice@example.org", ["bob@example.com"], message)

with serve(Mailbox(), "127.0.0.1", 0) as server:
    print(server.address)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
import gevent.event
import gevent.lock
import gevent.socket
from gevent.exceptions import ConcurrentObjectUseError

from ._client import Client
from ._places import IN_THE_CLEAR, Security
from ._pool import Pool as _Pool
from ._server import Server
from ._sockets import Sockets
from ._sockets import SocketStream as PlainStream

__all__ = ["Client", "Pool", "Server", "SocketStream", "connect", "serve"]


class _Greenlets:
    """Greenlets that can be waited for."""

    def __init__(self) -> None:
        self._running: set[gevent.Greenlet[..., None]] = set()
        self._forget = self._running.discard  # one for all of them
        self.pause = gevent.sleep

    def start(self, function: Callable[..., None], *arguments: object) -> None:
        """Run `function` in a greenlet of its own."""
        greenlet = gevent.Greenlet(function, *arguments)
        self._running.add(greenlet)
        greenlet.rawlink(self._forget)
        greenlet.start()

    def join(self, seconds: float | None) -> bool:
        """Wait until all have ended, those included that start meanwhile; whether they have in time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while others := [greenlet for greenlet in self._running if greenlet is not gevent.getcurrent()]:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            gevent.joinall(others, timeout=left)
        return True

    def cancel(self) -> None:
        """Cancel all of them."""
        gevent.killall(list(self._running - {gevent.getcurrent()}), block=False)


class SocketStream(PlainStream):
    """A socket of gevent as a stream.

    Who has just spoken waits before it reads: the answer cannot be there yet. One timer serves all these
    waits, because most are over long before it fires, and gevent would make one for each.
    """

    def __init__(self, sock: Any, security: Security = IN_THE_CLEAR) -> None:
        super().__init__(sock, security)
        # What is said in the clear goes to the system's socket, which never blocks, and not through gevent's
        # methods. No other kind of socket is known to have such a one, and a watcher.
        self._direct: Any = sock if type(sock) is gevent.socket.socket else None
        self._waits_first = True
        self._waiter: Any = None
        self._deadline = 0.0  # of the waiter
        self._timer: Any = None
        self._fires_at = math.inf

    def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`, or raise."""
        self._waits_first = True
        if self._direct is None:
            super().send_all(data, timeout)
            return
        try:
            sent = self._direct._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:], timeout)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets; `b""` is the end."""
        if self._direct is None:
            return super().receive_some(max_octets, timeout)
        while True:
            if self._waits_first:
                self._waits_first = False
                self._wait(timeout)
            try:
                octets: bytes = self._direct._sock.recv(max_octets)
                return octets
            except BlockingIOError:
                self._waits_first = True

    def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        self._direct = None
        super().start_tls(timeout)

    def close(self) -> None:
        """Close the socket."""
        self._stop_timer()
        super().close()

    def _wait(self, timeout: float | None) -> None:
        """Wait until there is something to read. It is `gevent.socket.wait` with another timer."""
        watcher = self._direct._read_event
        if watcher is None:  # the socket is closed, as it will say
            return
        if watcher.callback is not None:
            raise ConcurrentObjectUseError("another greenlet waits for this socket")
        if timeout is not None:
            self._deadline = time.monotonic() + timeout
            if self._deadline < self._fires_at:
                self._start_timer(timeout)
            self._waiter = gevent.getcurrent()
        try:
            self._direct.hub.wait(watcher)
        finally:
            self._waiter = None

    def _start_timer(self, seconds: float) -> None:
        """Be told when the deadline is over, in so many seconds."""
        self._stop_timer()
        self._fires_at = self._deadline
        self._timer = gevent.get_hub().loop.timer(seconds, ref=False)
        self._timer.start(self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer, self._fires_at = None, math.inf

    def _tick(self) -> None:
        self._stop_timer()
        if self._waiter is None:
            return
        left = self._deadline - time.monotonic()
        if left > 0:
            self._start_timer(left)
        else:
            self._waiter.throw(TimeoutError("timed out"))


class Pool(_Pool):
    __doc__ = _Pool.__doc__
    _make_event = gevent.event.Event


_library = Sockets(gevent.socket, SocketStream, _Greenlets, gevent.lock.BoundedSemaphore)
connect: Final = _library.connect
serve: Final = _library.serve
