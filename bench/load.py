"""What loads the servers: as many connections as asked, in one thread, with no checks. It is not measured."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator

from .samples import FINAL, envelope, message
from .worker import Job

READ = 65536
HELLO = b"EHLO client.example\r\n"
held: list[socket.socket] = []

Say = tuple[bytes, int]
"""What to say, and to how many replies it leads."""


def opening() -> list[Say]:
    return [(b"", 1), (HELLO, 1)]


def transaction(job: Job) -> list[Say]:
    """A message, as a client says it that waits for each reply, or one that pipelines."""
    body = message(job.size) + b".\r\n"
    if job.mode == "pipelined":
        return [(envelope(1) + b"DATA\r\n", 3), (body, 1)]
    return [*((line, 1) for line in envelope(1).splitlines(keepends=True)), (b"DATA\r\n", 1), (body, 1)]


class Connection:
    """A connection that goes through its part."""

    def __init__(self, port: int, part: list[Say]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.part = deque(part)
        self.wanted = 0
        self.unsent = memoryview(b"")
        self.next()

    def next(self) -> bool:
        """Say the next thing, if there is one."""
        if not self.part:
            return False
        octets, self.wanted = self.part.popleft()
        self.unsent = memoryview(octets)
        return self.go_on()

    def go_on(self) -> bool:
        while self.unsent:
            try:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
            except BlockingIOError:
                break
        return True

    def read(self) -> bool:
        """Take what came; whether there is still something to do."""
        data = self.sock.recv(READ)
        if not data:
            raise ConnectionError("the server hung up")
        self.wanted -= len(FINAL.findall(data))
        return self.wanted > 0 or self.next()


def parts(job: Job) -> list[list[Say]]:
    """What the connections say, those that follow one another included."""
    once = transaction(job)
    end = [(b"QUIT\r\n", 1)]
    if job.fresh:
        body = [] if job.name == "greeting" else once
        return [[*opening(), *body, *end] for _ in range(job.count)]
    share = job.count // job.connections
    return [[*opening(), *once * share, *end] for _ in range(job.connections)]


def run(job: Job) -> dict[str, float]:
    """Send `count` messages in all."""
    began = time.perf_counter()
    waiting = iter(parts(job))
    poll = select.epoll()
    under_way: dict[int, Connection] = {}
    for _ in range(job.connections):
        open_next(job.port, waiting, poll, under_way)
    while under_way:
        for number, event in poll.poll():
            connection = under_way[number]
            if event & select.EPOLLIN and not connection.read():
                poll.unregister(number)
                under_way.pop(number).sock.close()
                open_next(job.port, waiting, poll, under_way)
                continue
            connection.go_on()
            poll.modify(number, select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0))
    return {"wall": (time.perf_counter() - began) / job.count}


def open_next(
    port: int, waiting: Iterator[list[Say]], poll: select.epoll, under_way: dict[int, Connection]
) -> None:
    part = next(waiting, None)
    if part is not None:
        connection = Connection(port, part)
        under_way[connection.sock.fileno()] = connection
        poll.register(connection.sock, select.EPOLLIN)


def hold(job: Job) -> dict[str, float]:
    """Open so many connections more, say EHLO, and keep them."""
    for _ in range(job.connections):
        sock = socket.create_connection(("127.0.0.1", job.port))
        for octets, _ in opening():
            sock.sendall(octets)
            while not FINAL.search(sock.recv(READ)):
                pass
        held.append(sock)
    return {}
