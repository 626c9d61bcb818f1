"""The promise of the asyncio server: a session has a task only once it has to wait for something else than
its client, and what it answers is the same then.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextvars import ContextVar
from typing import Any

import pytest
from loops import Loop, fresh_loop
from peers import SECONDS

from smtp_proto import Reply
from smtp_proto.ops import Session
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
