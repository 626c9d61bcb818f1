"""Blocking sockets: a client, and a server with a thread for each session.

with connect("mx.example.com", 587, starttls="required") as client:
    result = client.send_message("alice@example.org", ["bob@example.com"], message)

with serve(Mailbox(), "127.0.0.1", 0) as server:
    print(server.address)
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from ._client import Client
from ._pool import Pool
from ._server import Server
from ._sockets import Sockets, SocketStream

__all__ = ["Client", "Pool", "Server", "SocketStream", "connect", "serve"]


class _Threads:
    """Threads that can be waited for."""

    def __init__(self) -> None:
        self._running: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.pause = time.sleep

    def start(self, function: Callable[..., None], *arguments: object) -> None:
        """Run `function` in a thread of its own."""
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        with self._lock:
            thread.start()
            self._running = [other for other in self._running if other.is_alive()] + [thread]

    def join(self, seconds: float | None) -> bool:
        """Wait until all have ended, those included that start meanwhile; whether they have in time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while alive := [thread for thread in self._running if thread.is_alive()]:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            alive[0].join(left)
        return True

    def cancel(self) -> None:
        """Nothing: a thread cannot be cancelled."""


_library = Sockets(socket, SocketStream, _Threads, threading.BoundedSemaphore)
connect: Final = _library.connect
serve: Final = _library.serve
