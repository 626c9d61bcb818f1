"""gevent, without monkey-patching: a client, and a server with a greenlet for each session.

with connect("mx.example.com", 587, starttls="required") as client:
    result = client.send_message("alice@example.org", ["bob@example.com"], message)

with serve(Mailbox(), "127.0.0.1", 0) as server:
    print(server.address)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import gevent
import gevent.event
import gevent.lock
import gevent.socket

from ._client import Client
from ._pool import Pool as _Pool
from ._server import Server
from ._sockets import Sockets, SocketStream

__all__ = ["Client", "Pool", "Server", "SocketStream", "connect", "serve"]


class _Greenlets:
    """Greenlets that can be waited for."""

    def __init__(self) -> None:
        self._running: set[gevent.Greenlet[..., None]] = set()
        self.pause = gevent.sleep

    def start(self, function: Callable[[], None]) -> None:
        """Run `function` in a greenlet of its own."""
        greenlet = gevent.Greenlet(function)
        self._running.add(greenlet)
        greenlet.rawlink(self._running.discard)
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


class Pool(_Pool):
    __doc__ = _Pool.__doc__
    _make_event = gevent.event.Event


_library = Sockets(gevent.socket, _Greenlets, gevent.lock.BoundedSemaphore)
connect: Final = _library.connect
serve: Final = _library.serve
