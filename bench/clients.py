"""Our clients."""

from __future__ import annotations

from typing import Any

from smtp_proto import LineEnds

from .driving import Costs, drive
from .driving_async import on_asyncio, on_gevent, on_trio
from .samples import SENDER, message, recipients
from .worker import Job

HOST = "127.0.0.1"
DOMAIN = "client.example"


def said(job: Job) -> dict[str, Any]:
    """How to connect: who vouches for the line ends is taken at their word."""
    line_ends = LineEnds.STRICT if job.name == "strict" else LineEnds.NORMALIZE
    return {"host": HOST, "port": job.port, "domain": DOMAIN, "line_ends": line_ends}


class Ours:
    """A client, and what it sends."""

    def __init__(self, client: Any, job: Job) -> None:
        self.client = client
        self.to, self.body = recipients(job.recipients), message(job.size)
        self.transfer = "data" if job.mode == "data" else "auto"
        self.many = job.mode == "many"
        self.waits = job.name != "hasty"

    def send(self, count: int) -> Any:
        """Send so many messages. (A method kept in `self` would be a cycle, and its end left to the garbage
        collector, whose work no peer has.)
        """
        return self.send_many(count) if self.many else self.send_one_by_one(count)

    def send_one_by_one(self, count: int) -> None:
        for _ in range(count):
            self.client.send_message(SENDER, self.to, self.body, transfer=self.transfer)

    def send_many(self, count: int) -> None:
        self.client.send_messages([(SENDER, self.to, self.body)] * count)

    def close(self) -> None:
        self.client.quit(wait=self.waits)


class OursAsync(Ours):
    """The same to be awaited."""

    async def send_one_by_one(self, count: int) -> None:  # type: ignore[override]
        for _ in range(count):
            await self.client.send_message(SENDER, self.to, self.body, transfer=self.transfer)

    async def send_many(self, count: int) -> None:  # type: ignore[override]
        await self.client.send_messages([(SENDER, self.to, self.body)] * count)

    async def close(self) -> None:  # type: ignore[override]
        await self.client.quit(wait=self.waits)


def blocking(job: Job) -> Costs:
    from smtp_transports.blocking import connect

    return drive(lambda job: Ours(connect(**said(job)), job), job)


def gevent(job: Job) -> Costs:
    from smtp_transports.gevent import connect

    return on_gevent(lambda job: Ours(connect(**said(job)), job), job)


def asyncio(job: Job) -> Costs:
    from smtp_transports.asyncio import connect

    async def client(job: Job) -> OursAsync:
        return OursAsync(await connect(**said(job)), job)

    return on_asyncio(client, job)


def trio(job: Job) -> Costs:
    from smtp_transports.trio import connect

    async def client(job: Job) -> OursAsync:
        return OursAsync(await connect(**said(job)), job)

    return on_trio(client, job)
