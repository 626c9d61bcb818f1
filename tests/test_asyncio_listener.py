"""Accepting on asyncio: clients are taken when somebody waits for one, and stay in the backlog meanwhile."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from peers import SECONDS

from smtp_transports._places import IN_THE_CLEAR
from smtp_transports.asyncio import _Listener


class Sock(socket.socket):
    """A listening socket that has trouble before it accepts."""

    troubles: tuple[OSError, ...] = ()

    def accept(self) -> tuple[socket.socket, Any]:
        if self.troubles:
            first, *self.troubles = self.troubles  # type: ignore[assignment]
            raise first
        return super().accept()


class Counting(_Listener):
    looks = 0

    def _take(self) -> None:
        self.looks += 1
        super()._take()


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """As that of Windows, which tells of no socket that it can be read."""

    def add_reader(self, *args: object) -> None:
        raise NotImplementedError


READERS, NO_READERS = asyncio.SelectorEventLoop, LoopWithoutReaders


@asynccontextmanager
async def listening() -> AsyncIterator[Counting]:
    sock = Sock()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.setblocking(False)
    listener = Counting(sock, IN_THE_CLEAR)
    try:
        yield listener
    finally:
        listener.close()


async def taken(listener: Counting) -> Any:
    """The address of the next client."""
    async with asyncio.timeout(SECONDS):
        stream, peer = await listener.accept()
    stream.hang_up()
    await asyncio.sleep(0)
    return peer


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(scene: Callable[[], Any], factory: Callable[[], Any] = READERS) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scene())


@pytest.mark.parametrize("factory", [READERS, NO_READERS])
def test_clients_are_taken_in_their_order_whoever_waits_first(factory: Callable[[], Any]) -> None:
    async def scene() -> None:
        async with listening() as listener:
            for early in (0, 1, 3):
                clients = [socket.create_connection(listener.address) for _ in range(early)]
                assert [await taken(listener) for _ in clients] == [one.getsockname() for one in clients]
                waiting = asyncio.create_task(taken(listener))
                await turns()
                assert not waiting.done()
                with socket.create_connection(listener.address) as late:
                    assert await waiting == late.getsockname()
                for one in clients:
                    one.close()

    run(scene, factory)


def test_the_loop_does_not_spin_while_clients_wait_and_nobody_waits_for_them() -> None:
    async def scene() -> None:
        async with listening() as listener:
            waiting = asyncio.create_task(taken(listener))
            await turns()
            clients = [socket.create_connection(listener.address) for _ in range(3)]
            assert await waiting == clients[0].getsockname()
            await turns()
            assert listener.looks == 2  # the second one saw that nobody waits
            assert [await taken(listener) for _ in range(2)] == [one.getsockname() for one in clients[1:]]
            for one in clients:
                one.close()

    run(scene)


def test_a_client_that_is_gone_is_not_waited_for_and_no_descriptors_are_an_error() -> None:
    async def scene() -> None:
        async with listening() as listener:
            waiting = asyncio.create_task(taken(listener))
            await turns()
            listener._sock.troubles = (BlockingIOError(), OSError(errno.EMFILE, "Too many open files"))  # type: ignore[attr-defined]
            with socket.create_connection(listener.address) as client:
                with pytest.raises(OSError, match="Too many open files"):
                    await waiting
                assert await taken(listener) == client.getsockname()

    run(scene)


@pytest.mark.parametrize("factory", [READERS, NO_READERS])
@pytest.mark.parametrize("is_closed", [True, False])
def test_who_waits_is_told_of_the_end_or_cancelled(factory: Callable[[], Any], is_closed: bool) -> None:
    async def scene() -> None:
        async with listening() as listener:
            waiting = asyncio.create_task(taken(listener))
            await turns()
            if is_closed:
                listener.close()
                with pytest.raises(OSError, match="the listener is closed"):
                    await waiting
                with pytest.raises(OSError, match="the listener is closed"):
                    await listener.accept()
            else:
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                with socket.create_connection(listener.address) as client:
                    assert await taken(listener) == client.getsockname()

    run(scene, factory)


@pytest.mark.parametrize("trouble", [None, OSError(errno.EMFILE, "Too many open files")])
def test_a_client_that_comes_as_the_wait_is_cancelled_is_hung_up_on(trouble: OSError | None) -> None:
    async def scene() -> None:
        async with listening() as listener:
            waiting = asyncio.create_task(taken(listener))
            await turns()
            with socket.create_connection(listener.address, timeout=SECONDS) as client:
                if trouble is not None:
                    listener._sock.troubles = (trouble,)  # type: ignore[attr-defined]
                listener._take()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                if trouble is None:
                    assert client.recv(1) == b""
                else:
                    assert await taken(listener) == client.getsockname()

    run(scene)
