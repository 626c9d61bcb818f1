"""The server's side in memory: no sockets, no disk."""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import repeat
from typing import Any

from .core_clients import each
from .samples import body, cut, envelope, message
from .worker import Job

COMMANDS = envelope(1) + b"DATA\r\n"


@cache
def our_server() -> Any:
    """One of our connections, after EHLO."""
    from smtp_proto import Features, Greeting, Hello, ServerConnection

    conn = ServerConnection()
    conn.send(Greeting(domain="mx.example"))
    conn.receive_data(b"EHLO client.example\r\n")
    conn.next_event()
    conn.send(Hello(domain="mx.example", features=Features({"PIPELINING": (), "8BITMIME": ()})))
    conn.data_to_send()
    return conn


def ours(job: Job) -> dict[str, float]:
    """A transaction: three commands and a message, four replies."""
    from smtp_proto import MessageData, Reply

    conn, text = our_server(), message(job.size) + b".\r\n"
    ok, go_on = Reply(code=250, enhanced="2.0.0", text="Ok"), Reply(code=354, text="Go on")

    def run() -> None:
        for _ in repeat(None, job.count):
            conn.receive_data(COMMANDS)
            conn.next_event()
            conn.send(ok)
            conn.next_event()
            conn.send(ok)
            conn.next_event()
            conn.send(go_on)
            conn.data_to_send()
            content = []
            conn.receive_data(text)
            while type(event := conn.next_event()) is MessageData:
                content.append(event.data)
            b"".join(content)
            conn.send(ok)
            conn.data_to_send()

    return each(job.count, run)


class Transport(asyncio.Transport):
    """Counts the lines that aiosmtpd writes."""

    lines = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 25) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.lines += data.count(b"\n")

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


class Sink:
    """A handler for aiosmtpd that takes everything."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 2.0.0 Ok"


class Aiosmtpd:
    """aiosmtpd's own coroutine, on an event loop that has nothing else to do."""

    def __init__(self) -> None:
        from aiosmtpd.smtp import SMTP

        self.loop = asyncio.new_event_loop()
        self.transport = Transport()
        self.server = SMTP(Sink(), hostname="mx.example", ident="ESMTP", loop=self.loop)
        self.loop.run_until_complete(self.begin())

    async def until(self, lines: int) -> None:
        while self.transport.lines < lines:  # noqa: ASYNC110 - the cheapest way to let the server run
            await asyncio.sleep(0)

    async def begin(self) -> None:
        self.server.connection_made(self.transport)
        await self.until(1)
        self.server.data_received(b"EHLO client.example\r\n")
        await self.until(5)

    async def transactions(self, count: int, *pieces: bytes) -> None:
        for _ in repeat(None, count):
            before = self.transport.lines
            self.server.data_received(COMMANDS)
            await self.until(before + 3)
            for piece in pieces:
                self.server.data_received(piece)
                await asyncio.sleep(0)
            await self.until(before + 4)


aiosmtpd_server = cache(Aiosmtpd)


def aiosmtpd(job: Job) -> dict[str, float]:
    """The same for aiosmtpd."""
    peer, text = aiosmtpd_server(), message(job.size) + b".\r\n"
    return each(job.count, lambda: peer.loop.run_until_complete(peer.transactions(job.count, text)))


def aiosmtpd_reading(job: Job) -> dict[str, float]:
    """A body of a part of the size, which it takes long enough for; the figure is for all of it."""
    part, peer = job.size // 160, aiosmtpd_server()
    text = body(job.name, part)
    pieces = cut(text.replace(b"\n.", b"\n..") + b".\r\n")
    cost = each(1, lambda: peer.loop.run_until_complete(peer.transactions(1, *pieces)))
    return {"cpu": cost["cpu"] * job.size / len(text)}
