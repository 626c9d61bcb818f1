"""The promise of the pools, in every library: never more connections than there is room for, who waits is
served in the order of arrival, and no error and no cancellation costs a place, a connection or a socket.

Each scenario is written once, for coroutines. Where the library has none, `drive` runs it in one go: there
every wait blocks the thread or the greenlet. The server is played by hand at the other end of a socket pair.
"""

from __future__ import annotations

import asyncio as aio
import contextlib
import inspect
import select
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import gevent as gev
import gevent.lock
import gevent.socket
import pytest
import trio as tri
from peers import GREETING, MESSAGE, RECIPIENT, SECONDS, SENDER, Peer, nothing_left
from test_colours import methods, signature

from smtp_proto import ConnectionLost, LocalProtocolError, Mail, Refused, State, TimedOut, Timer
from smtp_proto._limits import Quota
from smtp_proto.ops import SendResult, Want
from smtp_transports import asyncio, blocking, gevent, trio
from smtp_transports._pool import AsyncPool, Pool
from smtp_transports.handlers import Mailbox

CANCELLED = "cancelled"
Work = Callable[[], Coroutine[Any, Any, Any]]


# --- The four libraries, as one


def drive(work: Awaitable[Any]) -> Any:
    """The result of a coroutine that never has to be resumed."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("nobody is there to wait for")


class Plainly:
    """A pool for threads, with the methods of one for coroutines."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pool, name)

    async def send_message(self, *arguments: Any, **options: Any) -> SendResult:
        return self.pool.send_message(*arguments, **options)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        with self.pool.client() as client:
            yield client

    async def close(self) -> None:
        self.pool.close()

    async def __aenter__(self) -> Self:
        assert self.pool.__enter__() is self.pool
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.pool.__exit__(*exc)  # type: ignore[arg-type]


class Announcing:
    """An event of the pool that says when somebody waits for it."""

    def __init__(self, event: Any, announce: Callable[[], object]) -> None:
        self.set = event.set
        self._event, self._announce = event, announce

    def wait(self) -> Any:
        self._announce()
        return self._event.wait()


class Library:
    """One of the four; a new one for each test."""

    module: Any
    can_cancel = True
    is_async = True

    def __init__(self) -> None:
        self.waiting = self.semaphore()
        """Acquire it to wait until one more waits for a connection."""

    def run(self, main: Work) -> None:
        """Run a scenario."""
        raise NotImplementedError

    def start(self, work: Work) -> Any:
        """Run this at the same time. What comes can `cancel()`, and `await outcome()`."""
        raise NotImplementedError

    def semaphore(self) -> Any:
        """One that is to be awaited."""
        raise NotImplementedError

    async def readable(self, sock: socket.socket) -> None:
        """Wait until something is to be read."""
        raise NotImplementedError

    def adoptable(self, sock: socket.socket) -> Any:
        """The socket, as `connect` takes it."""
        return sock

    def coloured(self, function: Callable[[], Awaitable[Any]]) -> Callable[[], Any]:
        """As the library calls it."""
        return function if self.is_async else lambda: drive(function())

    def pool(self, size: int, connect: Callable[[], Any], **options: Any) -> Any:
        pool = self.module.Pool(size, connect, **options)
        make = pool._make_event
        pool._make_event = lambda: Announcing(make(), self.waiting.release)
        return pool if self.is_async else Plainly(pool)


class Blockingly:
    """A semaphore that blocks, to be awaited."""

    def __init__(self, semaphore: Any) -> None:
        self._semaphore = semaphore
        self.release = semaphore.release

    async def acquire(self) -> None:
        assert self._semaphore.acquire(timeout=SECONDS)


class Threads(Library):
    module = blocking
    can_cancel = is_async = False

    def run(self, main: Work) -> None:
        drive(main())

    def semaphore(self) -> Any:
        return Blockingly(threading.Semaphore(0))

    async def readable(self, sock: socket.socket) -> None:
        assert select.select([sock], [], [], SECONDS)[0]

    def start(self, work: Work) -> Any:
        future: Future[Any] = Future()

        def target() -> None:
            try:
                future.set_result(drive(work()))
            except BaseException as exc:
                future.set_result(exc)

        thread = threading.Thread(target=target, daemon=True)
        thread.start()

        async def outcome() -> Any:
            value = future.result(SECONDS)
            thread.join(SECONDS)
            return value

        return SimpleNamespace(outcome=outcome)


class Greenlets(Library):
    module = gevent
    is_async = False

    def run(self, main: Work) -> None:
        with gev.Timeout(SECONDS):
            drive(main())

    def semaphore(self) -> Any:
        return Blockingly(gev.lock.Semaphore(0))

    async def readable(self, sock: socket.socket) -> None:
        gev.socket.wait_read(sock.fileno(), SECONDS)

    def adoptable(self, sock: socket.socket) -> Any:
        return gev.socket.socket(sock.family, sock.type, sock.proto, sock.detach())

    def start(self, work: Work) -> Any:
        def target() -> Any:
            try:
                return drive(work())
            except gev.GreenletExit:
                return CANCELLED
            except BaseException as exc:
                return exc

        greenlet = gev.spawn(target)

        async def outcome() -> Any:
            return greenlet.get(timeout=SECONDS)

        return SimpleNamespace(outcome=outcome, cancel=partial(greenlet.kill, block=False))


class Tasks(Library):
    module = asyncio

    def run(self, main: Work) -> None:
        aio.run(aio.wait_for(main(), SECONDS))

    def semaphore(self) -> Any:
        return aio.Semaphore(0)

    async def readable(self, sock: socket.socket) -> None:
        loop = aio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(sock, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(sock)

    def start(self, work: Work) -> Any:
        task = aio.get_running_loop().create_task(work())

        async def outcome() -> Any:
            await aio.wait({task})
            return CANCELLED if task.cancelled() else task.exception() or task.result()

        return SimpleNamespace(outcome=outcome, cancel=task.cancel)


class Nursery(Library):
    module = trio

    def run(self, main: Work) -> None:
        async def bounded() -> None:
            with tri.fail_after(SECONDS):
                async with tri.open_nursery() as self.nursery:
                    await main()

        tri.run(bounded)

    def semaphore(self) -> Any:
        return tri.Semaphore(0)

    async def readable(self, sock: socket.socket) -> None:
        await tri.lowlevel.wait_readable(sock)

    def start(self, work: Work) -> Any:
        scope, done, values = tri.CancelScope(), tri.Event(), [CANCELLED]

        async def target() -> None:
            with scope:
                try:
                    values[0] = await work()
                except Exception as exc:
                    values[0] = exc
            done.set()

        async def outcome() -> Any:
            await done.wait()
            return values[0]

        self.nursery.start_soon(target)
        return SimpleNamespace(outcome=outcome, cancel=scope.cancel)


LIBRARIES = {"blocking": Threads, "gevent": Greenlets, "asyncio": Tasks, "trio": Nursery}
CANCELLING = [name for name, library in LIBRARIES.items() if library.can_cancel]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    gev.sleep(0)  # the hub is there, and its descriptors, from the first use to the last
    with nothing_left():
        yield


@pytest.fixture(params=LIBRARIES)
def lib(request: pytest.FixtureRequest) -> Library:
    return LIBRARIES[request.param]()


@pytest.fixture(params=CANCELLING)
def cancelling(request: pytest.FixtureRequest) -> Library:
    return LIBRARIES[request.param]()


class Clock:
    """Stands still until told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- Connections that are made up: the books alone


class Fake:
    """What a pool sees of a client: it keeps what it was told, and fails as it was planned."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.told: list[str] = []
        self.plan: dict[str, Callable[[], object]] = {}
        self.messages = 0
        self._is_left = False
        self.conn = SimpleNamespace(state=State.READY, is_usable=True, quota=Quota())

    def tell(self, word: str) -> None:
        if word == "close" and self._is_left:
            return  # closing twice is allowed, and says nothing
        self.told.append(word)
        if word != "reset":
            self._is_left, self.conn.is_usable = True, False
        self.plan.get(word, bool)()


class Plain(Fake):
    def reset(self) -> None:
        self.tell("reset")

    def quit(self, *, wait: bool) -> None:
        assert not wait
        self.tell("quit")

    def close(self) -> None:
        self.tell("close")


class Coloured(Fake):
    async def reset(self) -> None:
        self.tell("reset")

    async def quit(self, *, wait: bool) -> None:
        assert not wait
        self.tell("quit")

    async def close(self) -> None:
        self.tell("close")


class Books:
    """A pool of them."""

    def __init__(self, lib: Library, size: int, **options: Any) -> None:
        self.clock = Clock()
        self.made: list[Fake] = []
        self.errors: list[Exception] = []
        self.happens: Callable[[], Awaitable[object]] | None = None
        self.lib = lib
        self.pool = lib.pool(size, lib.coloured(self._connect), clock=self.clock, **options)

    async def _connect(self) -> Fake:
        if self.errors:
            raise self.errors.pop()
        if self.happens is not None:
            await self.happens()
        self.made.append((Coloured if self.lib.is_async else Plain)(len(self.made)))
        return self.made[-1]

    async def use(self) -> Fake:
        async with self.pool.client() as client:
            client.messages += 1
            return client

    async def queue(self, served: list[Any], *names: Any) -> list[Any]:
        """Start who waits, in this order."""
        jobs = []
        for name in names:

            async def wait(name: Any = name) -> Fake:
                async with self.pool.client() as client:
                    served.append(name)
                    return client

            jobs.append(self.lib.start(wait))
            await self.lib.waiting.acquire()
        return jobs


def test_a_pool_has_room(lib: Library) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="one connection"):
            Books(lib, 0)

    lib.run(scenario)


def test_a_connection_is_used_again(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 3)
        assert books.pool.open == 0
        first = await books.use()
        assert await books.use() is first
        assert books.pool.open == 1
        assert first.told == []
        await books.pool.close()
        assert first.told == ["quit"]
        assert books.pool.open == 0

    lib.run(scenario)


def test_there_are_never_more_than_there_is_room_for(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 2)
        async with books.pool.client() as one:
            async with books.pool.client() as other:
                assert one is not other
                jobs = await books.queue(served := [], *range(5))
                assert books.pool.open == len(books.made) == 2
                assert served == []
            await jobs[-1].outcome()
        for job in jobs:
            assert await job.outcome() in (one, other)
        assert books.pool.open == len(books.made) == 2
        await books.pool.close()

    lib.run(scenario)


def test_who_comes_first_is_served_first(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        async with books.pool.client() as client:
            jobs = await books.queue(served := [], *range(6))
        assert [await job.outcome() for job in jobs] == [client] * 6
        assert served == [0, 1, 2, 3, 4, 5]
        await books.pool.close()

    lib.run(scenario)


def test_who_comes_late_does_not_overtake(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        served: list[str] = []

        async def greedy() -> None:
            async with books.pool.client():
                (job,) = await books.queue(served, "patient")
                jobs.append(job)
            async with books.pool.client():
                served.append("greedy")

        jobs: list[Any] = []
        await greedy()
        await jobs[0].outcome()
        assert served == ["patient", "greedy"]
        await books.pool.close()

    lib.run(scenario)


@pytest.mark.parametrize("quitter", [0, 1, 2])
def test_who_gives_up_is_forgotten(cancelling: Library, quitter: int) -> None:
    lib = cancelling

    async def scenario() -> None:
        books = Books(lib, 1)
        async with books.pool.client() as client:
            jobs = await books.queue(served := [], *range(3))
            jobs[quitter].cancel()
            assert await jobs[quitter].outcome() == CANCELLED
        for number, job in enumerate(jobs):
            assert await job.outcome() == (CANCELLED if number == quitter else client)
        assert served == [number for number in range(3) if number != quitter]
        assert await books.use() is client
        assert books.pool.open == len(books.made) == 1
        await books.pool.close()

    lib.run(scenario)


@pytest.mark.parametrize("is_closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("is_broken", [False, True], ids=["whole", "broken"])
def test_who_gives_up_when_it_is_too_late_passes_it_on(
    cancelling: Library, is_broken: bool, is_closed: bool
) -> None:
    """The turn is given to the first, who is cancelled before it runs: nothing may be lost with it."""
    lib = cancelling

    async def scenario() -> None:
        books = Books(lib, 1)
        async with books.pool.client() as client:
            jobs = await books.queue(served := [], *range(2))
            if is_broken:
                client.conn.is_usable = False
        jobs[0].cancel()
        if is_closed:
            await books.pool.close()
        first, second = [await job.outcome() for job in jobs]
        if is_closed:
            assert isinstance(second, LocalProtocolError)
            assert books.pool.open == 0
            assert client.told in (["quit"], ["close"])
        else:
            assert second is books.made[-1]
            assert served[-1] == 1
            assert books.pool.open == 1
            assert await books.use() is second
        assert first == CANCELLED or served[0] == 0
        await books.pool.close()
        assert all(fake.told for fake in books.made)

    lib.run(scenario)


class Interrupting:
    """An event of which nobody hears: waiting is interrupted, after something happened."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = happens

    def set(self) -> None:
        pass

    def wait(self) -> None:
        self._happens()
        raise KeyboardInterrupt


@pytest.mark.parametrize("happens", ["nothing", "granted", "closed", "both"])
def test_a_thread_that_is_interrupted_loses_nothing(happens: str) -> None:
    async def scenario() -> None:
        books = Books(Threads(), 1)
        pool = books.pool.pool
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(pool.client())

            def happen() -> None:
                if happens in ("granted", "both"):
                    stack.close()
                if happens in ("closed", "both"):
                    pool.close()

            pool._make_event = lambda: Interrupting(happen)
            with pytest.raises(KeyboardInterrupt), pool.client():
                pytest.fail("nobody is to get this")
        assert client.told == (["close"] if happens == "both" else ["quit"] if happens == "closed" else [])
        assert pool.open == ("closed" not in happens and happens != "both")
        assert not pool._queue
        if pool.open:
            assert await books.use() is client
            pool.close()

    drive(scenario())


def test_a_place_is_not_lost_when_a_connection_is_replaced(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1, max_messages=2)
        async with books.pool.client() as first:
            jobs = await books.queue([], *range(4))
            first.messages = 2
        seen = [await job.outcome() for job in jobs]
        assert first not in seen
        assert first.told == ["quit"]
        assert seen == [books.made[1]] * 4
        assert books.pool.open == 1
        await books.pool.close()

    lib.run(scenario)


@pytest.mark.parametrize(
    ("most", "mailmax", "expected"),
    [
        (2, None, [0, 0, 1, 1, 2]),
        (None, None, [0, 0, 0, 0, 0]),
        (None, 2, [0, 0, 1, 1, 2]),
        (3, 1, [0, 1, 2, 3, 4]),
        (1, 3, [0, 1, 2, 3, 4]),
        (100, 4, [0, 0, 0, 0, 1]),
    ],
)
def test_a_connection_that_carried_enough_is_replaced(
    lib: Library, most: int | None, mailmax: int | None, expected: list[int]
) -> None:
    async def scenario() -> None:
        books = Books(lib, 1, max_messages=most)
        seen = []
        for _ in expected:
            async with books.pool.client() as client:
                if mailmax is not None:
                    client.conn.quota.limits = {"MAILMAX": mailmax}
                client.conn.quota.count_mail()
                client.messages += 1
                seen.append(client.number)
        assert seen == expected
        assert books.pool.open <= 1
        await books.pool.close()
        assert all(fake.told == ["quit"] for fake in books.made)

    lib.run(scenario)


@pytest.mark.parametrize(
    ("seconds", "told", "is_same"),
    [
        (0.0, [], True),
        (5.0, [], True),
        (5.1, ["reset"], True),
        (60.0, ["reset"], True),
        (60.1, ["quit"], False),
    ],
)
def test_an_idle_connection_is_asked_or_replaced(
    lib: Library, seconds: float, told: list[str], is_same: bool
) -> None:
    async def scenario() -> None:
        books = Books(lib, 1, max_idle=60.0, check_after=5.0)
        client = await books.use()
        books.clock.now += seconds
        assert (await books.use() is client) is is_same
        assert client.told == told
        assert books.pool.open == 1
        await books.pool.close()

    lib.run(scenario)


@pytest.mark.parametrize("error", [ConnectionLost("gone"), TimedOut(Timer.COMMAND, 1)])
@pytest.mark.parametrize("seconds", [6, 61])
def test_an_idle_connection_that_does_not_answer_is_replaced(
    lib: Library, seconds: float, error: Exception
) -> None:
    def fail() -> None:
        raise error

    async def scenario() -> None:
        books = Books(lib, 1)
        client = await books.use()
        client.plan = {"reset": fail, "quit": fail}
        books.clock.now += seconds
        assert await books.use() is books.made[1]
        assert client.told == (["reset", "quit"] if seconds == 6 else ["quit"])
        assert books.pool.open == 1
        await books.pool.close()

    lib.run(scenario)


def test_the_connection_used_last_is_taken_first(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 2)
        async with books.pool.client() as one, books.pool.client() as _:
            pass
        assert await books.use() is one
        assert await books.use() is one
        await books.pool.close()

    lib.run(scenario)


def test_what_connect_raises_reaches_the_caller_and_frees_the_place(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        books.errors = [OSError("nobody there"), ZeroDivisionError()]
        with pytest.raises(ZeroDivisionError):
            await books.use()
        assert books.pool.open == 0
        with pytest.raises(OSError, match="nobody there"):
            await books.pool.send_message(SENDER, RECIPIENT, MESSAGE)
        assert books.pool.open == 0
        assert await books.use() is books.made[0]
        await books.pool.close()

    lib.run(scenario)


def test_who_waits_gets_the_place_of_a_failed_connect(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        async with books.pool.client() as client:
            jobs = await books.queue([], *range(3))
            client.conn.is_usable = False
            books.errors = [OSError("nobody there")]
        first, second, third = [await job.outcome() for job in jobs]
        assert isinstance(first, OSError)
        assert second is third is books.made[1]
        await books.pool.close()

    lib.run(scenario)


@pytest.mark.parametrize("state", [state for state in State if state is not State.READY])
def test_what_is_not_ready_does_not_come_back(lib: Library, state: State) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        async with books.pool.client() as client:
            client.conn.state = state
        assert client.told == ["quit"]
        assert books.pool.open == 0
        assert await books.use() is not client
        await books.pool.close()

    lib.run(scenario)


def test_an_error_when_it_is_closed_frees_the_place(lib: Library) -> None:
    def fail(error: Exception) -> None:
        raise error

    async def scenario() -> None:
        books = Books(lib, 1)
        async with books.pool.client() as client:
            client.conn.is_usable = False
            client.plan["quit"] = partial(fail, ConnectionLost("gone"))
        with contextlib.suppress(ZeroDivisionError):
            async with books.pool.client() as client:
                client.conn.is_usable = False
                client.plan["quit"] = partial(fail, ZeroDivisionError())
            pytest.fail("it was kept secret")
        assert books.pool.open == 0
        client = await books.use()
        client.plan["quit"] = partial(fail, ConnectionLost("gone"))
        await books.pool.close()
        assert books.pool.open == 0

    lib.run(scenario)


@pytest.mark.parametrize("when", ["closed", "expired"])
def test_all_are_closed_whatever_interrupts_the_farewells(lib: Library, when: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        books = Books(lib, 3)
        async with books.pool.client() as one, books.pool.client(), books.pool.client():
            one.plan["quit"] = fail
        books.clock.now += 61
        with contextlib.suppress(ZeroDivisionError):
            await (books.pool.close() if when == "closed" else books.use())
            pytest.fail("it was kept secret")
        assert all(client.told in (["quit"], ["close"]) for client in books.made)
        assert books.pool.open == 0
        await books.pool.close()

    lib.run(scenario)


def test_those_idle_for_too_long_are_left_and_the_others_stay(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 3, max_idle=60.0, check_after=100.0)
        async with books.pool.client() as one:
            async with books.pool.client() as two:
                async with books.pool.client() as three:
                    pass
                books.clock.now += 40
            books.clock.now += 40
        assert await books.use() is one
        assert (three.told, two.told, books.pool.open) == (["quit"], [], 2)
        books.clock.now += 21
        assert await books.use() is one
        assert (two.told, books.pool.open) == (["quit"], 1)
        await books.pool.close()

    lib.run(scenario)


def test_a_healthy_connection_comes_back_from_an_error_of_the_caller(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        with pytest.raises(ZeroDivisionError):
            async with books.pool.client() as client:
                raise ZeroDivisionError
        assert await books.use() is client
        await books.pool.close()

    lib.run(scenario)


def test_closing_a_pool_is_for_ever(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 2)
        async with books.pool.client() as borrowed:
            idle = await books.use()
            await books.pool.close()
            assert idle.told == ["quit"]
            assert borrowed.told == []
            assert books.pool.open == 1
            with pytest.raises(LocalProtocolError, match="closed"):
                await books.use()
        assert borrowed.told == ["quit"]
        assert books.pool.open == 0
        with pytest.raises(LocalProtocolError, match="closed"):
            await books.pool.send_message(SENDER, RECIPIENT, MESSAGE)
        await books.pool.close()
        assert borrowed.told == idle.told == ["quit"]
        assert len(books.made) == 2

    lib.run(scenario)


def test_who_waits_is_told_that_the_pool_is_closed(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        async with books.pool.client() as client:
            jobs = await books.queue(served := [], *range(3))
            await books.pool.close()
            for job in jobs:
                assert isinstance(await job.outcome(), LocalProtocolError)
            assert client.told == []
        assert served == []
        assert client.told == ["quit"]
        assert books.pool.open == 0
        assert len(books.made) == 1

    lib.run(scenario)


def test_a_connection_that_is_opened_while_the_pool_closes_is_closed_after_use(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        books.happens = books.pool.close
        async with books.pool.client() as client:
            assert client.told == []
        assert client.told == ["quit"]
        assert books.pool.open == 0

    lib.run(scenario)


def test_a_pool_is_closed_at_the_end_of_its_block(lib: Library) -> None:
    async def scenario() -> None:
        books = Books(lib, 1)
        with contextlib.suppress(ZeroDivisionError):
            async with books.pool as pool:
                assert pool is books.pool
                client = await books.use()
                raise ZeroDivisionError
        assert client.told == ["quit"]

    lib.run(scenario)


def test_a_connection_that_comes_back_while_the_pool_closes_is_closed() -> None:
    """Between the question whether the pool is closed and the giving back, another thread closes it."""

    async def scenario() -> None:
        books = Books(Threads(), 1)
        with books.pool.pool.client() as client:
            books.pool.pool._clock = lambda: books.pool.pool.close() or 0.0
        assert client.told
        assert books.pool.open == 0

    drive(scenario())


# --- Real clients, and a server played by hand


class House:
    """A pool of real clients. For each connection there is a peer to be played."""

    def __init__(self, lib: Library, size: int = 1, *, calls: int = 3, **options: Any) -> None:
        self.lib = lib
        self.clock = Clock()
        self._allowed = calls
        self.peers: list[Peer] = []
        self._calls = lib.semaphore()
        self._called = 0
        self.timeouts: dict[Timer, float] = dict.fromkeys(Timer, SECONDS)
        self.pool = lib.pool(size, self._connect, clock=self.clock, **options)

    def _connect(self) -> Any:
        assert len(self.peers) < self._allowed, "one connection too many"
        ours, theirs = socket.socketpair()
        self.peers.append(Peer(theirs))
        self._calls.release()
        return self.lib.module.connect(
            sock=self.lib.adoptable(ours), domain="client.example", timeouts=self.timeouts
        )

    async def called(self) -> Peer:
        """The peer of the next connection."""
        await self._calls.acquire()
        self._called += 1
        return self.peers[self._called - 1]

    async def hear(self, peer: Peer, *starts: bytes) -> None:
        for start in starts:
            await self.lib.readable(peer.sock)
            peer.hear(start)

    async def answered(self, *offers: bytes) -> Peer:
        """The next connection, with the greeting done."""
        peer = await self.called()
        peer.say(GREETING)
        await self.hear(peer, b"EHLO ")
        peer.say(*(b"250-" + offer for offer in (b"mx.example", *offers)), b"250 PIPELINING")
        return peer

    async def envelope(self, peer: Peer) -> None:
        await self.hear(peer, b"MAIL", b"RCPT", b"DATA")

    async def body(self, peer: Peer) -> None:
        await self.hear(peer, *MESSAGE.splitlines(keepends=True), b".\r\n")

    async def take(self, peer: Peer) -> None:
        """Take a message."""
        await self.envelope(peer)
        peer.say(b"250 ok", b"250 ok", b"354 go on")
        await self.body(peer)
        peer.say(b"250 taken")

    def send(self, body: Any = MESSAGE) -> Any:
        return self.lib.start(lambda: self.pool.send_message(SENDER, RECIPIENT, body))

    async def sent(self, *offers: bytes) -> Peer:
        """A message was sent on a new connection, which is idle now."""
        job = self.send()
        peer = await self.answered(*offers)
        await self.take(peer)
        assert (await job.outcome()).all_accepted
        return peer

    async def crowd(self, size: int) -> tuple[list[Any], list[Peer]]:
        """So many messages at once, each on a new connection."""
        jobs, peers = [], []
        for _ in range(size):
            jobs.append(self.send())
            peers.append(await self.answered())
        return jobs, peers

    async def leave(self, peer: Peer) -> None:
        """Hear QUIT and the end."""
        await self.hear(peer, b"QUIT")
        await self.ends(peer)

    async def ends(self, peer: Peer) -> None:
        """The client hangs up, and says nothing before."""
        assert await self.rest(peer) == b""

    async def rest(self, peer: Peer) -> bytes:
        """All that is under way until the client hangs up."""
        octets = b""
        while True:
            await self.lib.readable(peer.sock)
            try:
                data = peer.sock.recv(65536)
            except ConnectionResetError:
                return octets
            if not data:
                return octets
            octets += data

    async def close(self) -> None:
        job = self.lib.start(self.pool.close)
        for peer in self.peers:
            if peer.sock.fileno() >= 0:
                assert await self.rest(peer) in (b"QUIT\r\n", b"")
        assert await job.outcome() is None
        assert self.pool.open == 0


@contextlib.contextmanager
def playing(house: House) -> Iterator[House]:
    try:
        yield house
    finally:
        for peer in house.peers:
            peer.close()


def played(lib: Library, scenario: Callable[[House], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a scenario; at its end the pool is closed, and every connection with QUIT or not at all."""

    async def main() -> None:
        with playing(House(lib, **options)) as house:
            await scenario(house)
            await house.close()

    lib.run(main)


def test_messages_share_a_connection(lib: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        for _ in range(2):
            job = house.send()
            await house.take(peer)
            assert (await job.outcome()).all_accepted
        assert len(house.peers) == 1

    played(lib, scenario, size=3, calls=1)


def test_the_servers_limit_of_messages_is_kept(lib: Library) -> None:
    async def scenario(house: House) -> None:
        first = await house.sent(b"LIMITS MAILMAX=2")
        job = house.send()
        await house.take(first)
        await house.leave(first)
        assert (await job.outcome()).all_accepted
        assert house.pool.open == 0
        await house.sent()
        assert len(house.peers) == 2

    played(lib, scenario)


TO = ["b@y.example", "c@z.example", "d@y.example"]


@pytest.mark.parametrize("limits", [b"LIMITS RCPTMAX=1 MAILMAX=1", b"LIMITS RCPTDOMAINMAX=1"])
def test_for_whom_a_session_has_no_room_there_is_another(lib: Library, limits: bytes) -> None:
    async def scenario(house: House) -> None:
        job = lib.start(lambda: house.pool.send_message(SENDER, TO, MESSAGE))
        sessions = [[b"b@y"], [b"c@z"], [b"d@y"]] if b"MAILMAX" in limits else [[b"b@y", b"d@y"], [b"c@z"]]
        for number, recipients in enumerate(sessions, 1):
            peer = await house.answered(limits)
            await house.hear(peer, b"MAIL", *(b"RCPT TO:<" + to for to in recipients), b"DATA")
            peer.say(b"250 ok", *(b"250 ok" for _ in recipients), b"354 go on")
            await house.body(peer)
            peer.say(b"250 taken by " + recipients[0])
            if number < len(sessions):
                await house.leave(peer)
        result = await job.outcome()
        assert [outcome.recipient for outcome in result.outcomes] == TO
        assert [outcome.reply.text[-3:] for outcome in result.outcomes] == (
            ["b@y", "c@z", "d@y"] if b"MAILMAX" in limits else ["b@y", "c@z", "b@y"]
        )

    played(lib, scenario)


def test_a_connection_that_dies_under_those_left_over_says_who_got_it(lib: Library) -> None:
    async def scenario(house: House) -> None:
        job = lib.start(lambda: house.pool.send_message(SENDER, TO[:2], MESSAGE))
        first = await house.answered(b"LIMITS RCPTMAX=1 MAILMAX=1")
        await house.take(first)
        await house.leave(first)
        second = await house.answered()
        await house.envelope(second)
        second.close()
        lost = await job.outcome()
        assert isinstance(lost, ConnectionLost)
        assert lost.result is not None
        assert [outcome.status.name for outcome in lost.result.outcomes] == ["ACCEPTED", "UNSENT"]

    played(lib, scenario)


def test_who_got_it_does_not_get_it_again_because_the_next_one_did_not(lib: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent(b"LIMITS RCPTMAX=1")
        job = lib.start(lambda: house.pool.send_message(SENDER, TO[:2], MESSAGE))
        await house.take(peer)
        await house.envelope(peer)
        peer.close()
        lost = await job.outcome()
        assert isinstance(lost, ConnectionLost)
        assert lost.result is not None
        assert [outcome.status.name for outcome in lost.result.outcomes] == ["ACCEPTED", "UNSENT"]
        assert len(house.peers) == 1

    played(lib, scenario)


def test_what_is_read_once_is_not_for_two_sessions(lib: Library) -> None:
    async def scenario(house: House) -> None:
        job = lib.start(lambda: house.pool.send_message(SENDER, TO[:2], iter([MESSAGE])))
        peer = await house.answered(b"LIMITS RCPTDOMAINMAX=1")
        await house.take(peer)
        result = await job.outcome()
        assert [outcome.status.name for outcome in result.outcomes] == ["ACCEPTED", "UNSENT"]
        assert len(house.peers) == 1

    played(lib, scenario)


def test_an_idle_connection_is_asked_with_rset(lib: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        house.clock.now += 6
        job = house.send()
        await house.hear(peer, b"RSET")
        peer.say(b"250 ok")
        await house.take(peer)
        assert (await job.outcome()).all_accepted

    played(lib, scenario, calls=1)


@pytest.mark.parametrize(
    ("answer", "farewell"),
    [(b"421 bye", b""), (b"500 what?", b"QUIT\r\n"), (b"nonsense", b""), (b"", b"")],
)
def test_who_does_not_answer_rset_well_is_replaced(lib: Library, answer: bytes, farewell: bytes) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        house.clock.now += 6
        job = house.send()
        await house.hear(peer, b"RSET")
        if answer:
            peer.say(answer)
        else:
            peer.close()
        await house.take(await house.answered())
        assert (await job.outcome()).all_accepted
        if answer:
            assert await house.rest(peer) == farewell
            peer.close()
        assert house.pool.open == 1

    played(lib, scenario)


def test_a_connection_too_long_idle_is_left_with_quit(lib: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        house.clock.now += 61
        job = house.send()
        await house.leave(peer)
        await house.take(await house.answered())
        assert (await job.outcome()).all_accepted
        assert house.pool.open == 1

    played(lib, scenario)


# --- Stale connections


async def cut(house: House, peer: Peer) -> None:
    """The server hung up while it was idle."""
    peer.close()


async def dismissed(house: House, peer: Peer) -> None:
    """It said so."""
    peer.say(b"421 idle for too long")
    peer.close()


async def dismissed_now(house: House, peer: Peer) -> None:
    await house.envelope(peer)
    peer.say(b"421 shutting down")
    peer.close()


async def cut_in_the_envelope(house: House, peer: Peer) -> None:
    await house.envelope(peer)
    peer.say(b"250 ok")
    peer.close()


async def dismissed_at_data(house: House, peer: Peer) -> None:
    await house.envelope(peer)
    peer.say(b"250 ok", b"250 ok", b"421 shutting down")
    peer.close()


async def nonsense(house: House, peer: Peer) -> None:
    await house.envelope(peer)
    peer.say(b"nonsense")
    await house.lib.readable(peer.sock)
    peer.close()


DYING = [cut, dismissed, dismissed_now, cut_in_the_envelope, dismissed_at_data, nonsense]


@pytest.mark.parametrize("body", [MESSAGE, bytearray(MESSAGE), memoryview(MESSAGE), [MESSAGE], (MESSAGE,)])
def test_every_body_that_can_be_read_twice_is_sent_twice(lib: Library, body: Any) -> None:
    async def scenario(house: House) -> None:
        await cut(house, await house.sent())
        job = house.send(body)
        await house.take(await house.answered())
        assert (await job.outcome()).all_accepted
        assert house.pool.open == 1

    played(lib, scenario)


@pytest.mark.parametrize("dies", DYING)
def test_a_stale_connection_is_replaced_once(lib: Library, dies: Any) -> None:
    async def scenario(house: House) -> None:
        stale = await house.sent()
        if dies in (cut, dismissed):
            await dies(house, stale)
            job = house.send()
        else:
            job = house.send()
            await dies(house, stale)
        await house.take(await house.answered())
        assert (await job.outcome()).all_accepted
        assert len(house.peers) == 2
        assert house.pool.open == 1

    played(lib, scenario, calls=2)


@pytest.mark.parametrize("dies", DYING[2:])
def test_no_message_is_sent_a_third_time(lib: Library, dies: Any) -> None:
    async def scenario(house: House) -> None:
        await cut(house, await house.sent())
        job = house.send()
        await dies(house, await house.answered())
        outcome = await job.outcome()
        if dies in (dismissed_now, dismissed_at_data):
            assert [reply.reply.code for reply in outcome.outcomes] == [421]
        else:
            assert isinstance(outcome, ConnectionLost)
        assert len(house.peers) == 2
        assert house.pool.open == 0

    played(lib, scenario, calls=2)


def test_a_message_is_repeated_on_a_new_connection_and_not_on_another_old_one(lib: Library) -> None:
    async def scenario(house: House) -> None:
        jobs, old = await house.crowd(2)
        for job, peer in zip(jobs, old, strict=True):
            await house.take(peer)
            assert (await job.outcome()).all_accepted
        # The one used last is taken first.
        job = house.send()
        await dismissed_now(house, old[1])
        await house.leave(old[0])
        await house.take(await house.answered())
        assert (await job.outcome()).all_accepted
        assert len(house.peers) == 3
        assert house.pool.open == 1

    played(lib, scenario, size=2)


def test_a_connection_that_was_only_borrowed_may_be_stale_as_well(lib: Library) -> None:
    async def scenario(house: House) -> None:
        async def borrow() -> None:
            async with house.pool.client():
                pass

        job = lib.start(borrow)
        old = await house.answered()
        assert await job.outcome() is None
        job = house.send()
        await dismissed_now(house, old)
        await house.take(await house.answered())
        assert (await job.outcome()).all_accepted

    played(lib, scenario)


@pytest.mark.parametrize("dies", DYING[2:])
def test_a_first_used_connection_is_not_replaced(lib: Library, dies: Any) -> None:
    async def scenario(house: House) -> None:
        job = house.send()
        await dies(house, await house.answered())
        outcome = await job.outcome()
        if dies in (dismissed_now, dismissed_at_data):
            assert outcome.outcomes[0].reply.code == 421
        else:
            assert isinstance(outcome, ConnectionLost)
        assert len(house.peers) == 1

    played(lib, scenario, calls=1)


@pytest.mark.parametrize("last", [b"", b"421 shutting down", b"nonsense"])
def test_what_was_sent_whole_is_not_sent_again(lib: Library, last: bytes) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        job = house.send()
        await house.envelope(peer)
        peer.say(b"250 ok", b"250 ok", b"354 go on")
        await house.body(peer)
        if last:
            peer.say(last)
        peer.close()
        outcome = await job.outcome()
        if last.startswith(b"421"):
            assert outcome.outcomes[0].reply.code == 421
        else:
            assert isinstance(outcome, ConnectionLost)
        assert len(house.peers) == 1

    played(lib, scenario, calls=1)


def test_a_body_that_can_be_read_once_is_not_sent_again(lib: Library) -> None:
    async def scenario(house: House) -> None:
        await cut(house, await house.sent())
        job = house.send(piece for piece in [MESSAGE])
        assert isinstance(await job.outcome(), ConnectionLost)
        assert len(house.peers) == 1

    played(lib, scenario, calls=1)


def test_who_is_silent_is_not_tried_again(lib: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        house.timeouts[Timer.MAIL] = 0.01
        job = house.send()
        await house.envelope(peer)
        assert isinstance(await job.outcome(), TimedOut)
        assert len(house.peers) == 1
        peer.close()

    played(lib, scenario, calls=1)


def test_what_may_not_be_said_is_not_tried_again_and_costs_nothing(lib: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        job = house.lib.start(lambda: house.pool.send_message("no address", RECIPIENT, MESSAGE))
        assert isinstance(await job.outcome(), LocalProtocolError)
        job = house.send()
        await house.take(peer)
        assert (await job.outcome()).all_accepted

    played(lib, scenario, calls=1)


def test_a_definite_refusal_survives_the_end_of_the_connection(lib: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        job = house.send()
        await house.envelope(peer)
        peer.say(b"250 ok", b"550 no such user", b"503 no recipients")
        peer.close()
        assert (await job.outcome()).outcomes[0].reply.code == 550
        assert len(house.peers) == 1

    played(lib, scenario, calls=1)


# --- Dirty connections


def test_a_transaction_that_was_left_open_does_not_come_back(lib: Library) -> None:
    async def scenario(house: House) -> None:
        await house.sent()
        peer = house.peers[0]

        async def leave() -> None:
            async with house.pool.client() as client:

                def progress(_: int) -> None:
                    raise ZeroDivisionError

                result = client.send_message(SENDER, RECIPIENT, MESSAGE, progress=progress)
                await result if lib.is_async else result

        job = lib.start(leave)
        await house.envelope(peer)
        peer.say(b"250 ok", b"250 ok", b"354 go on")
        assert isinstance(await job.outcome(), ZeroDivisionError)
        await house.lib.readable(peer.sock)
        assert not peer.rest().endswith(b"\r\n.\r\n")
        assert house.pool.open == 0
        peer.close()
        await house.sent()
        assert house.pool.open == 1

    played(lib, scenario)


def test_an_open_transaction_is_ended_with_quit(lib: Library) -> None:
    async def scenario(house: House) -> None:
        async def leave() -> None:
            async with house.pool.client() as client:
                ran = client._driver.run(_mail_alone(client.conn))
                await ran if lib.is_async else ran
                raise ZeroDivisionError

        job = lib.start(leave)
        peer = await house.answered()
        await house.hear(peer, b"MAIL")
        peer.say(b"250 ok")
        await house.leave(peer)
        assert isinstance(await job.outcome(), ZeroDivisionError)
        assert house.pool.open == 0
        peer.close()

    played(lib, scenario)


def _mail_alone(conn: Any) -> Any:
    conn.send(Mail(reverse_path=SENDER))
    return (yield Want.EVENT)


def test_a_refused_introduction_reaches_the_caller(lib: Library) -> None:
    async def scenario(house: House) -> None:
        job = house.send()
        peer = await house.called()
        peer.say(b"554 go away")
        error = await job.outcome()
        assert isinstance(error, Refused)
        assert house.pool.open == 0
        peer.close()
        await house.sent()

    played(lib, scenario)


# --- Closing


def test_closing_says_quit_to_the_idle_at_once_and_to_the_others_later(lib: Library) -> None:
    async def scenario(house: House) -> None:
        inside, leave = lib.semaphore(), lib.semaphore()

        async def borrow() -> None:
            async with house.pool.client():
                inside.release()
                await leave.acquire()

        borrowing = lib.start(borrow)
        borrowed = await house.answered()
        await inside.acquire()
        idle = await house.sent()
        closing = lib.start(house.pool.close)
        await house.leave(idle)
        assert await closing.outcome() is None
        assert house.pool.open == 1
        leave.release()
        await house.leave(borrowed)
        assert await borrowing.outcome() is None
        for peer in house.peers:
            peer.close()
        with pytest.raises(LocalProtocolError):
            await house.pool.send_message(SENDER, RECIPIENT, MESSAGE)

    played(lib, scenario, size=2)


def test_closing_goes_on_where_a_server_is_gone(lib: Library) -> None:
    async def scenario(house: House) -> None:
        jobs, peers = await house.crowd(2)
        for job, peer in zip(jobs, peers, strict=True):
            await house.take(peer)
            assert (await job.outcome()).all_accepted
        peers[0].close()

    played(lib, scenario, size=2)


# --- Cancellation: a place is not lost, and a socket not left


def test_cancelled_while_connecting(cancelling: Library) -> None:
    async def scenario(house: House) -> None:
        job = house.send()
        peer = await house.called()
        peer.say(GREETING)
        await house.hear(peer, b"EHLO ")
        job.cancel()
        assert await job.outcome() == CANCELLED
        await house.ends(peer)
        assert house.pool.open == 0
        await house.sent()

    played(cancelling, scenario)


def test_cancelled_while_connecting_for_who_waits(cancelling: Library) -> None:
    async def scenario(house: House) -> None:
        job = house.send()
        peer = await house.called()
        next_job = house.send()
        await cancelling.waiting.acquire()
        job.cancel()
        assert await job.outcome() == CANCELLED
        await house.ends(peer)
        await house.take(await house.answered())
        assert (await next_job.outcome()).all_accepted

    played(cancelling, scenario)


def test_cancelled_while_an_idle_connection_is_asked(cancelling: Library) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        house.clock.now += 6
        job = house.send()
        await house.hear(peer, b"RSET")
        job.cancel()
        assert await job.outcome() == CANCELLED
        await house.ends(peer)
        assert house.pool.open == 0
        peer.close()
        await house.sent()

    played(cancelling, scenario)


@pytest.mark.parametrize("stage", ["envelope", "body", "verdict"])
def test_cancelled_while_sending(cancelling: Library, stage: str) -> None:
    async def scenario(house: House) -> None:
        peer = await house.sent()
        job = house.send(MESSAGE if stage != "body" else [b"x" * 998 + b"\r\n"] * 10000)
        await house.envelope(peer)
        waiting = house.send()
        await cancelling.waiting.acquire()
        if stage != "envelope":
            peer.say(b"250 ok", b"250 ok", b"354 go on")
            if stage == "verdict":
                await house.body(peer)
            else:
                await house.hear(peer, b"xxx")
        job.cancel()
        rest = await house.rest(peer)
        assert await job.outcome() == CANCELLED
        assert rest == b"" or stage == "body"
        assert not rest.endswith(b"\r\n.\r\n")
        peer.close()
        await house.take(await house.answered())
        assert (await waiting.outcome()).all_accepted
        assert house.pool.open == 1

    played(cancelling, scenario)


def test_cancelled_inside_of_the_block(cancelling: Library) -> None:
    """Nothing was under way: the connection is as good as before."""

    async def scenario(house: House) -> None:
        inside, never = cancelling.semaphore(), cancelling.semaphore()

        async def borrow() -> None:
            async with house.pool.client():
                inside.release()
                await never.acquire()

        job = cancelling.start(borrow)
        peer = await house.answered()
        await inside.acquire()
        job.cancel()
        assert await job.outcome() == CANCELLED
        assert house.pool.open == 1
        job = house.send()
        await house.take(peer)
        assert (await job.outcome()).all_accepted

    played(cancelling, scenario)


# --- Against a real server


def test_many_at_once(lib: Library) -> None:
    box = Mailbox()

    async def scenario() -> None:
        connect = partial(lib.module.connect, *server.address, domain="client.example")
        pool = lib.pool(3, connect, max_messages=7)
        most = 0

        async def work(number: int) -> None:
            nonlocal most
            for _ in range(5):
                body = b"hi %d\r\n" % number
                assert (await pool.send_message(SENDER, RECIPIENT, body)).all_accepted
                most = max(most, pool.open)

        jobs = [lib.start(partial(work, number)) for number in range(10)]
        for job in jobs:
            assert await job.outcome() is None
        assert 1 <= most <= 3
        await pool.close()
        assert pool.open == 0

    with blocking.serve(box, domain="mx.example") as server:
        lib.run(scenario)
    bodies = [message.data for message in box.messages]
    assert sorted(bodies) == sorted(b"hi %d\r\n" % number for number in range(10) for _ in range(5))


def test_a_server_that_is_not_there(lib: Library) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        pool = lib.pool(1, partial(lib.module.connect, *address))
        for _ in range(2):
            with pytest.raises(OSError, match=r"127\.0\.0\.1"):
                await pool.send_message(SENDER, RECIPIENT, MESSAGE)
            assert pool.open == 0
        await pool.close()

    lib.run(scenario)


# --- The two colours


def test_both_pools_can_be_called_in_the_same_way() -> None:
    theirs, ours = methods(AsyncPool), methods(Pool)
    assert theirs.keys() == ours.keys()
    for name in ours:
        free = ("self", "body", "connect")
        assert signature(theirs[name], *free)[:-1] == signature(ours[name], *free)[:-1], name
    assert [name for name in theirs if inspect.iscoroutinefunction(theirs[name])] == [
        "__enter__",
        "__exit__",
        "close",
        "send_message",
    ]


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_has_its_pool(library: str) -> None:
    module = LIBRARIES[library].module
    assert "Pool" in module.__all__
    assert issubclass(module.Pool, AsyncPool if LIBRARIES[library].is_async else Pool)
    assert inspect.getdoc(module.Pool)
