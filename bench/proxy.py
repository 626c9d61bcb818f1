"""A path that takes time: what is said at one end is heard at the other after so many milliseconds."""

from __future__ import annotations

import queue
import socket
import threading
import time

from .floor_servers import Tell, listening
from .worker import Job, tells

ONE_WAY = 0.005
ROUND_TRIP = 2 * ONE_WAY


@tells
def serve(job: Job, tell: Tell) -> None:
    """Stand before the server at `job.port`."""
    listener = listening()
    tell({"port": listener.getsockname()[1]})
    while True:
        sock = listener.accept()[0]
        threading.Thread(target=join, args=(sock, job.port), daemon=True).start()


def join(near: socket.socket, port: int) -> None:
    """A connection takes a round trip to be made, and what the server says first the half of one more."""
    time.sleep(3 * ONE_WAY)
    far = socket.create_connection(("127.0.0.1", port))
    for source, target in ((near, far), (far, near)):
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=carry, args=(source, target), daemon=True).start()


def carry(source: socket.socket, target: socket.socket) -> None:
    """One direction: one thread reads, another one writes when the time has come."""
    under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=deliver, args=(under_way, target), daemon=True).start()
    data = b"first"
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        under_way.put((time.perf_counter() + ONE_WAY, data))


def deliver(under_way: queue.SimpleQueue[tuple[float, bytes]], target: socket.socket) -> None:
    while True:
        due, data = under_way.get()
        time.sleep(max(0, due - time.perf_counter()))
        try:
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)
        except OSError:
            return
