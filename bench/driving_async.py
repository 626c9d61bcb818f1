"""Loops for the clients that are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .driving import Costs, drive_async
from .worker import Job


def on_asyncio(connect: Callable[[Job], Awaitable[Any]], job: Job) -> Costs:
    async def at_once(functions: list[Callable[[], Awaitable[object]]]) -> None:
        await asyncio.gather(*(function() for function in functions))

    return asyncio.run(drive_async(connect, job, at_once))


def on_trio(connect: Callable[[Job], Awaitable[Any]], job: Job) -> Costs:
    import trio

    async def at_once(functions: list[Callable[[], Awaitable[object]]]) -> None:
        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)

    return trio.run(drive_async, connect, job, at_once)


def on_gevent(connect: Callable[[Job], Any], job: Job) -> Costs:
    import gevent

    from .driving import drive

    def at_once(functions: list[Callable[[], object]]) -> None:
        gevent.joinall([gevent.spawn(function) for function in functions], raise_error=True)

    return drive(connect, job, at_once)
