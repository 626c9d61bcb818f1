"""The promises of asyncio: a server's session has a task only once it has to wait for something else than its
client, and what it answers is the same then; a client's operation goes on while its task sleeps.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from loops import Loop, fresh_loop
from peers import SECONDS

from smtp_proto import Reply
from smtp_proto.ops import Session
from smtp_transports._asyncio_deadlines import Deadlines
from smtp_transports.handlers import Discard

KINDS = ("asyncio", "uvloop")


@pytest.fixture(params=KINDS)
def loop(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Any:
    with fresh_loop(request.param, caplog) as loop:
        yield loop


class Client:
    """A client of few words, in the server's own loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hear(self, code: bytes) -> None:
        line = await asyncio.wait_for(self.reader.readline(), SECONDS)
        while line[3:4] == b"-":
            line = await asyncio.wait_for(self.reader.readline(), SECONDS)
        assert line.startswith(code), line

    async def say(self, line: bytes, code: bytes) -> None:
        self.writer.write(line + b"\r\n")
        await self.hear(code)

    async def send(self) -> None:
        """A message."""
        for line in (b"MAIL FROM:<>", b"RCPT TO:<a@mx.example>"):
            await self.say(line, b"250")
        await self.say(b"DATA", b"354")
        await self.say(b"hello\r\n.", b"250")

    async def quit(self) -> None:
        await self.say(b"QUIT", b"221")
        assert await asyncio.wait_for(self.reader.read(), SECONDS) == b""
        self.writer.close()
        await self.writer.wait_closed()


async def call(there: dict[str, Any]) -> Client:
    client = Client(*await asyncio.open_connection(there["host"], there["port"]))
    await client.hear(b"220")
    await client.say(b"EHLO client.example", b"250")
    return client


def tasks() -> int:
    return len(asyncio.all_tasks())


DIALOGUE: ContextVar[str] = ContextVar("dialogue")


class Plain(Discard):
    """A handler without coroutines. What a hook sets, later ones of the same session see."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def hello(self, session: Session, domain: str) -> None:
        assert DIALOGUE.get("none") == "none"
        DIALOGUE.set(f"{session.peer[1]}")

    def message(self, session: Session) -> None:
        assert asyncio.current_task() is None
        self.seen.append(DIALOGUE.get())
        assert DIALOGUE.get() == f"{session.peer[1]}"


class Waiting(Plain):
    """The same, but the last hook waits."""

    def message(self, session: Session) -> Any:
        return self._message(session)

    async def _message(self, session: Session) -> None:
        async with asyncio.timeout(SECONDS):  # of the task that runs this
            await asyncio.sleep(0)
        self.seen.append(DIALOGUE.get())
        assert DIALOGUE.get() == f"{session.peer[1]}"


@pytest.mark.parametrize(("kind", "most"), [(Plain, 0), (Waiting, 1)])
def test_a_session_has_a_task_once_it_waits_for_something_else_than_its_client(
    loop: Loop, kind: type[Plain], most: int
) -> None:
    handler = kind()

    async def scene() -> None:
        async with loop.serving(handler, "tcp") as (server, there):
            before = tasks()
            clients = [await call(there) for _ in range(3)]
            assert tasks() == before
            for _ in range(2):
                for client in clients:
                    await client.send()
            assert tasks() == before + most * len(clients)
            assert len(set(handler.seen)) == len(clients)
            for client in clients:
                await client.quit()
            await loop.until(lambda: not server.sessions)
            assert tasks() == before

    loop.run(scene)
    assert DIALOGUE.get("none") == "none"


@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_a_session_has_one_connection(loop: Loop, way: str, tmp_path: Path) -> None:
    made = []

    async def scene() -> None:
        async with loop.serving(Discard(), way, folder=tmp_path) as (server, there):
            make_connection = server._settings.make_connection

            def counting() -> object:
                made.append(make_connection())
                return made[-1]

            server._settings = server._settings._replace(make_connection=counting)
            async with loop.connect(**there):
                pass

    loop.run(scene)
    assert len(made) == 1


class Verbose(Discard):
    """A handler that has much to say."""

    LINES = ("x" * 400,) * 100

    def help(self, session: Session, topic: str | None) -> Reply:
        return Reply(code=214, lines=self.LINES)


ASKED = 1000  # times: what is answered has no room in the buffers of two sockets


@pytest.mark.parametrize("rest", [0, 1])
def test_a_client_that_reads_late_is_not_read_meanwhile_and_loses_nothing(loop: Loop, rest: int) -> None:
    """`rest`: what it says later; without it, the last words are what has no room."""

    async def scene() -> None:
        async with loop.serving(Verbose(), "tcp") as (server, there):
            before = tasks()
            client = await call(there)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(b"HELP\r\n" * ASKED + (b"QUIT\r\n" if not rest else b""))
            if rest:
                client.writer.write(b"NOOP " + b"x" * 60 + b"\r\n")
                await loop.until(lambda: not client.writer.transport.get_write_buffer_size())
                client.writer.write(b"QUIT\r\n")
            await loop.until(lambda: tasks() > before)
            assert server.sessions == 1
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            heard = await client.reader.read()
            assert heard.count(b"214 ") == ASKED
            assert heard.endswith(b"221 2.0.0 mx.example closing\r\n")
            client.writer.close()

    loop.run(scene)


def test_a_client_that_never_reads_is_left_when_its_time_is_over(loop: Loop) -> None:
    async def scene() -> None:
        async with loop.serving(Verbose(), "tcp", timeouts=0.5) as (server, there):
            before = tasks()
            client = await call(there)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.writer.write(b"HELP\r\n" * ASKED)
            most = []
            await loop.until(lambda: most.append(tasks()) or not server.sessions)  # type: ignore[func-returns-value]
            assert max(most) == before  # nobody waited for it to read
            client.writer.transport.abort()  # type: ignore[attr-defined]

    loop.run(scene)


@pytest.mark.parametrize("error", [asyncio.CancelledError, ConnectionResetError])
def test_a_hook_that_ends_its_session_ends_no_other(loop: Loop, error: type[BaseException]) -> None:
    class Ending(Discard):
        def connect(self, session: Session) -> None:
            if self.is_cross:
                raise error

        is_cross = True

        def error(self, session: Session, exception: Exception) -> None:
            """Nothing to say."""

    handler = Ending()

    async def scene() -> None:
        async with loop.serving(handler, "tcp") as (server, there):
            reader, writer = await asyncio.open_connection(there["host"], there["port"])
            heard = await asyncio.wait_for(reader.read(4), SECONDS)
            assert heard == (b"" if error is asyncio.CancelledError else b"451 ")
            writer.close()
            handler.is_cross = False
            await (await call(there)).quit()
            await loop.until(lambda: not server.sessions)

    loop.run(scene)


def test_a_client_that_is_gone_frees_its_place(loop: Loop) -> None:
    async def scene() -> None:
        async with loop.serving(Discard(), "tcp", max_sessions=1) as (_, there):
            for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):  # in good order, and not
                client = await call(there)
                sock = client.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.writer.close()
            await (await call(there)).quit()

    loop.run(scene)


class Odd(Exception):
    """What a program of its own raises."""


MESSAGE = b"Subject: hi\r\n\r\nhi\r\n"
WHO: ContextVar[str] = ContextVar("who")


def test_what_an_operation_calls_finds_the_context_of_its_task(loop: Loop) -> None:
    async def scene() -> None:
        async with loop.serving(Discard(), "tcp") as (_, there), loop.connect(**there) as client:
            seen = []

            def progress(octets: int) -> None:
                seen.append((octets, WHO.get("nobody")))

            for who in ("ann", "bob"):
                WHO.set(who)
                await client.send_message(
                    "a@b.example", ["c@d.example"], MESSAGE, transfer="data", progress=progress
                )
            assert seen == [(len(MESSAGE), "ann"), (len(MESSAGE), "bob")]

    loop.run(scene)


def test_what_is_raised_in_an_operation_comes_to_who_waits_for_it(loop: Loop) -> None:
    def progress(octets: int) -> None:
        raise Odd

    async def scene() -> None:
        async with loop.serving(Discard(), "tcp") as (_, there), loop.connect(**there) as client:
            with pytest.raises(Odd):
                await client.send_message(
                    "a@b.example", ["c@d.example"], MESSAGE, transfer="data", progress=progress
                )
            assert not client.conn.is_usable

    loop.run(scene)


@pytest.mark.parametrize("raises", [False, True])
def test_an_operation_may_be_cancelled_by_what_it_calls(loop: Loop, raises: bool) -> None:
    async def scene() -> None:
        async with loop.serving(Discard(), "tcp") as (server, there), loop.connect(**there) as client:
            task: Any = None

            def progress(octets: int) -> None:
                task.cancel()
                if raises:
                    raise Odd

            task = asyncio.create_task(
                client.send_message(
                    "a@b.example", ["c@d.example"], MESSAGE, transfer="data", progress=progress
                )
            )
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not client.conn.is_usable
            await loop.until(lambda: not server.sessions)

    loop.run(scene)


class Clock:
    """As much of a loop as deadlines need; its time is what it is set to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.timers, when, callback))
        return self.timers[-1]

    def go_on(self, now: float) -> None:
        self.now = now
        for timer in [timer for timer in self.timers if timer.when <= now]:
            timer.cancel()
            timer.callback()


class Timer:
    def __init__(self, timers: list[Timer], when: float, callback: Callable[[], None]) -> None:
        self.timers, self.when, self.callback = timers, when, callback

    def cancel(self) -> None:
        self.timers.remove(self)


class Waiter:
    def __init__(self) -> None:
        self.calls = 0

    def time_is_up(self) -> None:
        self.calls += 1


def test_one_timer_serves_all_deadlines_each_in_its_time() -> None:
    clock: Any = Clock()
    deadlines = Deadlines(clock)
    first, second, third = Waiter(), Waiter(), Waiter()
    deadlines.expect(first, 300)
    deadlines.expect(second, 200)  # sooner
    deadlines.expect(third, 250)
    assert [timer.when for timer in clock.timers] == [200]
    clock.go_on(100)
    deadlines.expect(second, 200)  # again, and later
    deadlines.expect(third, None)
    clock.go_on(200)  # what the timer was set for is no more
    assert (first.calls, second.calls) == (0, 0)
    clock.go_on(300)
    assert first.calls == 1
    assert second.calls == 1
    assert third.calls == 0
    assert not clock.timers


def test_no_timer_is_left_when_nobody_waits() -> None:
    clock: Any = Clock()
    deadlines = Deadlines(clock)
    waiters = [Waiter(), Waiter()]
    for waiter in waiters:
        deadlines.expect(waiter, 300)
    deadlines.forget(waiters[0])
    assert len(clock.timers) == 1
    deadlines.forget(waiters[1])
    deadlines.forget(waiters[1])
    assert not clock.timers


def test_many_deadlines_are_not_looked_at_too_often() -> None:
    clock: Any = Clock()
    deadlines = Deadlines(clock)
    count = 10_000
    waiters = [Waiter() for _ in range(count)]
    for number, waiter in enumerate(waiters):
        clock.now = number * 1e-6
        deadlines.expect(waiter, 300)
    looks = 0
    while clock.timers:
        clock.go_on(clock.timers[0].when)
        looks += 1
    assert all(waiter.calls == 1 for waiter in waiters)
    assert looks < 10
    assert clock.now < 301


def test_who_asks_again_when_the_time_is_up_is_not_forgotten() -> None:
    clock: Any = Clock()
    deadlines = Deadlines(clock)
    waiter = Waiter()

    class Insisting(Waiter):
        def time_is_up(self) -> None:
            super().time_is_up()
            if self.calls < 3:
                deadlines.expect(self, 0.5)

    insisting = Insisting()
    deadlines.expect(insisting, 1)
    deadlines.expect(waiter, 1)
    for now in (1, 1.5, 2, 3):
        clock.go_on(now)
    assert insisting.calls == 3
    assert waiter.calls == 1
    assert not clock.timers
