"""What all clients are put through, by colour: connections that are kept or made anew, one or many.

A subject is a function that gives a connected client; `send(count)` sends so many messages, `close()` says
QUIT.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Protocol

from .worker import Clock, Job


class Client(Protocol):
    def send(self, count: int) -> object: ...
    def close(self) -> object: ...


class AsyncClient(Protocol):
    async def send(self, count: int) -> object: ...
    async def close(self) -> object: ...


Costs = dict[str, float]
AllAtOnce = Callable[[list[Callable[[], object]]], object]
AsyncAllAtOnce = Callable[[list[Callable[[], Awaitable[object]]]], Awaitable[object]]


def costs(clock: Clock, job: Job) -> Costs:
    """What a message cost."""
    found = {"cpu": clock.cpu / job.count, "wall": clock.wall / job.count}
    return {**found, "peak": clock.peak} if job.peak else found


def in_threads(functions: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def drive(connect: Callable[[Job], Client], job: Job, at_once: AllAtOnce = in_threads) -> Costs:
    """A client for threads, or what looks like them."""
    clock = Clock(peak=job.peak)
    if job.fresh:
        with clock.running():
            for _ in range(job.count):
                client = connect(job)
                client.send(1)
                client.close()
        return costs(clock, job)
    clients = [connect(job) for _ in range(job.connections)]
    share = job.count // job.connections
    if job.connections == 1:
        with clock.running():
            clients[0].send(share)
    else:
        with clock.running():
            at_once([lambda client=client: client.send(share) for client in clients])
    for client in clients:
        client.close()
    return costs(clock, job)


async def drive_async(
    connect: Callable[[Job], Awaitable[AsyncClient]], job: Job, at_once: AsyncAllAtOnce
) -> Costs:
    """A client for coroutines."""
    clock = Clock(peak=job.peak)
    if job.fresh:
        with clock.running():
            for _ in range(job.count):
                client = await connect(job)
                await client.send(1)
                await client.close()
        return costs(clock, job)
    clients = [await connect(job) for _ in range(job.connections)]
    share = job.count // job.connections
    if job.connections == 1:
        with clock.running():
            await clients[0].send(share)
    else:
        with clock.running():
            await at_once([lambda client=client: client.send(share) for client in clients])
    for client in clients:
        await client.close()
    return costs(clock, job)
