"""The floor: clients that play the fixed dialogue, and look at nothing but how many replies there are."""

from __future__ import annotations

import asyncio as aio
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from .driving import Costs, drive
from .driving_async import on_asyncio, on_gevent, on_trio
from .samples import FINAL, envelope, message
from .worker import Job

HELLO = b"EHLO client.example\r\n"
READ = 65536
# How many messages, back to back, are under way: as many as fill a window.
WINDOW = 32

Say = tuple[bytes, int]
"""What to say, and to how many replies it leads."""


def messages(job: Job, count: int) -> Iterator[Say]:
    """What is said to send so many messages."""
    body, head = message(job.size).replace(b"\r\n.", b"\r\n.."), envelope(job.recipients)
    replies = 1 + job.recipients
    if job.mode == "data":
        for _ in range(count):
            yield head + b"DATA\r\n", replies + 1
            yield body + b".\r\n", 1
        return
    flight = head + b"BDAT %d LAST\r\n" % len(body) + body
    if job.mode == "flight":
        for _ in range(count):
            yield flight, replies + 1
        return
    for at in range(0, count, WINDOW):
        number = min(WINDOW, count - at)
        yield flight * number, (replies + 1) * number


def finals(data: bytes) -> int:
    return len(FINAL.findall(data))


class Raw:
    """A client on a socket that blocks, or seems to."""

    def __init__(self, library: ModuleType, job: Job) -> None:
        self.job = job
        self.sock: Any = library.create_connection(("127.0.0.1", job.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.say(b"", 1)
        self.say(HELLO, 1)

    def say(self, octets: bytes, replies: int) -> None:
        if octets:
            self.sock.sendall(octets)
        seen = 0
        while seen < replies:
            seen += finals(self.sock.recv(READ))

    def send(self, count: int) -> None:
        for octets, replies in messages(self.job, count):
            self.say(octets, replies)

    def close(self) -> None:
        self.say(b"QUIT\r\n", 1)
        self.sock.close()


def blocking(job: Job) -> Costs:
    return drive(lambda job: Raw(socket, job), job)


def gevent(job: Job) -> Costs:
    import gevent.socket

    return on_gevent(lambda job: Raw(gevent.socket, job), job)


BUFFER = memoryview(bytearray(READ))


class RawProtocol(aio.BufferedProtocol):
    """A client of an asyncio loop."""

    transport: Any

    def __init__(self, job: Job) -> None:
        self.job = job
        self.wanted = 1
        self.loop = aio.get_running_loop()
        self.waiter = self.loop.create_future()
        self.drained: aio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.wanted -= finals(bytes(BUFFER[:nbytes]))
        if self.wanted <= 0:
            self.waiter.set_result(None)

    async def say(self, octets: bytes, replies: int) -> None:
        self.wanted = replies
        self.waiter = self.loop.create_future()
        self.transport.write(octets)
        await self.waiter

    async def send(self, count: int) -> None:
        for octets, replies in messages(self.job, count):
            await self.say(octets, replies)

    async def close(self) -> None:
        await self.say(b"QUIT\r\n", 1)
        self.transport.close()


def asyncio(job: Job) -> Costs:
    async def connect(job: Job) -> RawProtocol:
        loop = aio.get_running_loop()
        _, client = await loop.create_connection(lambda: RawProtocol(job), "127.0.0.1", job.port)
        await client.waiter
        await client.say(HELLO, 1)
        return client

    return on_asyncio(connect, job)


class RawTrio:
    """A client of trio."""

    def __init__(self, sock: Any, job: Job) -> None:
        self.sock, self.job = sock, job

    async def say(self, octets: bytes, replies: int) -> None:
        view = memoryview(octets)
        while view:
            view = view[await self.sock.send(view) :]
        seen = 0
        while seen < replies:
            seen += finals(await self.sock.recv(READ))

    async def send(self, count: int) -> None:
        for octets, replies in messages(self.job, count):
            await self.say(octets, replies)

    async def close(self) -> None:
        await self.say(b"QUIT\r\n", 1)
        self.sock.close()


def trio(job: Job) -> Costs:
    import trio

    async def connect(job: Job) -> RawTrio:
        sock = trio.socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await sock.connect(("127.0.0.1", job.port))
        client = RawTrio(sock, job)
        await client.say(b"", 1)
        await client.say(HELLO, 1)
        return client

    return on_trio(connect, job)
