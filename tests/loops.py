"""The adapters behind one interface: a scenario is a coroutine, and `Loop.run` plays it over any of them.

Blocking clients and servers are dressed as asynchronous ones whose coroutines never suspend, so that one
`send(None)` runs a scenario from end to end: in this thread, or for gevent in a greenlet.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import select
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import gevent
import gevent.socket
import pytest
import trio
from peers import SECONDS, Peer, certificates, nothing_left

import smtp_transports.asyncio
import smtp_transports.blocking
import smtp_transports.gevent
import smtp_transports.trio

# No scenario takes so long, unless it hangs.
PATIENCE = 6 * SECONDS
# Who is interrupted does not wait for anybody.
PROMPT = 2

Scene = Callable[[], Awaitable[Any]]


def finish(coroutine: Any) -> Any:
    """The result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("a blocking scenario was suspended")


class Bell:
    """An event that any thread may ring, and that every kind of loop can wait for."""

    def __init__(self) -> None:
        self.ear, self._clapper = socket.socketpair()
        self.ear.setblocking(False)

    def ring(self) -> None:
        self._clapper.send(b"!")

    def close(self) -> None:
        self.ear.close()
        self._clapper.close()


class Aside:
    """A function of a thread: a peer by hand, most of the time."""

    def __init__(self, loop: Loop, function: Callable[[], Any]) -> None:
        self._loop = loop
        self._bell = loop.bell()
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as exc:
            self._error = exc
        finally:
            self._bell.ring()

    async def result(self) -> Any:
        """What it returned, or raised."""
        await self._loop.heard(self._bell)
        self.thread.join()
        if self._error is not None:
            raise self._error
        return self._value


class Job:
    """A coroutine that runs beside the scenario."""

    async def result(self) -> Any:
        """What it returned, or raised."""
        raise NotImplementedError

    async def interrupt(self, how: str) -> None:
        """End it from outside: `how` is one of the loop's `interrupts`. It ends by nothing else."""
        raise NotImplementedError


class Loop:
    """One adapter."""

    name: ClassVar[str]
    module: ClassVar[Any]
    is_async = False
    interrupts: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._bells: list[Bell] = []
        self._asides: list[Aside] = []

    @classmethod
    def prepare(cls) -> None:
        """Have made what the library makes once and keeps (uvloop: two descriptors for signals)."""

    # What every loop has to bring

    def run(self, scene: Scene) -> Any:
        """Play a scenario; its result. Nothing that it started is left then."""
        raise NotImplementedError

    def start(self, scene: Scene) -> Job:
        """Run a coroutine beside the scenario."""
        raise NotImplementedError

    async def breathe(self) -> None:
        """Let the others run."""
        raise NotImplementedError

    async def heard(self, bell: Bell, seconds: float = SECONDS) -> None:
        """Wait until a bell was rung."""
        raise NotImplementedError

    # What follows from that

    def bell(self) -> Bell:
        """A new bell, taken down with the loop."""
        self._bells.append(Bell())
        return self._bells[-1]

    def aside(self, function: Callable[..., Any], *arguments: Any) -> Aside:
        """Run a blocking function in a thread."""
        self._asides.append(Aside(self, lambda: function(*arguments)))
        return self._asides[-1]

    def call(self, there: dict[str, Any], play: Callable[[Peer], Any]) -> Aside:
        """A client by hand, in a thread: it connects, and follows `play`."""
        address = os.fspath(there["unix"]) if "unix" in there else (there["host"], there["port"])

        def run() -> Any:
            with socket.socket(socket.AF_UNIX if "unix" in there else socket.AF_INET) as sock:
                sock.settimeout(SECONDS)
                sock.connect(address)
                peer = Peer(sock)
                try:
                    return play(peer)
                finally:
                    peer.close()

        return self.aside(run)

    async def together(self, scenes: list[Scene]) -> None:
        """Run them at the same time, to the end."""
        jobs = [self.start(scene) for scene in scenes]
        for job in jobs:
            await job.result()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the others run until something is so."""
        while not condition():
            await self.breathe()

    def connect(self, **options: Any) -> Any:
        """`connect` of the adapter. No wait is for ever."""
        return self.module.connect(**{"timeouts": SECONDS, "domain": "client.example"} | options)

    def serve(self, handler: Any, **options: Any) -> Any:
        """`serve` of the adapter."""
        return self.module.serve(handler, **{"timeouts": SECONDS, "domain": "mx.example"} | options)

    @asynccontextmanager
    async def serving(
        self, handler: Any, way: str = "tcp", *, folder: Path | None = None, **options: Any
    ) -> AsyncIterator[tuple[Any, dict[str, Any]]]:
        """A server, and what `connect` has to be told to get there."""
        there: dict[str, Any] = {"lmtp": options.get("lmtp", False)}
        if way == "unix":
            assert folder is not None
            options["unix"] = there["unix"] = folder / "socket"
        elif way in ("tls", "starttls"):
            options |= {"context": certificates().server, "tls": way == "tls"}
            there |= {"context": certificates().client, "tls": way == "tls"}
        async with self.serve(handler, **options) as server:
            if way != "unix":
                there |= {"host": server.address[0], "port": server.address[1]}
            yield server, there

    def dresses(self, handler: Any) -> list[Any]:
        """The ways to write this handler: with functions, and where that is possible with coroutines."""
        return [handler, Suspending(self, handler)] if self.is_async else [handler]

    def close(self) -> None:
        """Wait for the threads, and take down the bells."""
        for aside in self._asides:
            aside.thread.join(SECONDS)
        for bell in self._bells:
            bell.close()


class Suspending:
    """A handler whose methods are coroutines, and are suspended before they answer."""

    def __init__(self, loop: Loop, handler: Any) -> None:
        self._loop = loop
        self._handler = handler

    def __getattr__(self, hook: str) -> Any:
        method = getattr(self._handler, hook)

        async def answer(*arguments: Any) -> Any:
            await self._loop.breathe()
            return method(*arguments)

        return answer


# --- Without suspension


class Dressed:
    """A blocking object whose methods are coroutine functions."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.thing, name)
        if not inspect.ismethod(value):
            return value

        async def method(*arguments: Any, **options: Any) -> Any:
            return value(*arguments, **options)

        return method


class Opening:
    """What is to be opened when awaited or entered."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._open = opened
        self._thing: Any = None

    def __await__(self) -> Generator[Any, Any, Dressed]:
        return Dressed(self._open())
        yield

    async def __aenter__(self) -> Dressed:
        self._thing = self._open()
        return Dressed(self._thing.__enter__())

    async def __aexit__(self, *exc: object) -> Any:
        return self._thing.__exit__(*exc)


class Unsuspended(Loop):
    """What threads and greenlets have in common."""

    def connect(self, **options: Any) -> Opening:
        call = super().connect
        return Opening(lambda: call(**options))

    def serve(self, handler: Any, **options: Any) -> Opening:
        call = super().serve
        return Opening(lambda: call(handler, **options))


class Thread(Job):
    """A job of the blocking loop."""

    def __init__(self, loop: Loop, scene: Scene) -> None:
        self._aside = loop.aside(lambda: finish(scene()))

    async def result(self) -> Any:
        return await self._aside.result()


class Blocking(Unsuspended):
    """Blocking sockets, and threads."""

    name = "blocking"
    module = smtp_transports.blocking

    def run(self, scene: Scene) -> Any:
        return finish(scene())

    def start(self, scene: Scene) -> Thread:
        return Thread(self, scene)

    async def breathe(self) -> None:
        os.sched_yield()

    async def heard(self, bell: Bell, seconds: float = SECONDS) -> None:
        assert select.select([bell.ear], [], [], seconds)[0], "nobody rang"


class Greenlet(Job):
    """A job of gevent."""

    def __init__(self, scene: Scene) -> None:
        self._timeout = gevent.Timeout(PATIENCE)
        self._scene = scene
        self.is_interrupted = False
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> Any:
        try:
            with self._timeout:
                return finish(self._scene())
        except (gevent.Timeout, gevent.GreenletExit):
            pass
        except Exception as exc:
            return exc  # gevent would print it
        self.is_interrupted = True
        return None

    async def result(self) -> Any:
        value = self._greenlet.get(timeout=PATIENCE)
        assert not self.is_interrupted
        if isinstance(value, Exception):
            raise value
        return value

    async def interrupt(self, how: str) -> None:
        if how == "cancel":
            self._greenlet.kill(timeout=PROMPT)
        else:  # what the timer would do
            gevent.get_hub().loop.run_callback(self._greenlet.throw, self._timeout)
            self._greenlet.join(PROMPT)
        assert self._greenlet.dead
        assert self.is_interrupted, self._greenlet.value


class Gevent(Unsuspended):
    """Greenlets of one hub."""

    name = "gevent"
    module = smtp_transports.gevent
    interrupts = ("cancel", "timeout")

    def run(self, scene: Scene) -> Any:
        hub = gevent.get_hub()
        try:
            greenlet = Greenlet(scene)
            result = finish(greenlet.result())
            assert hub.join(timeout=1), "a greenlet is left"
        finally:
            hub.destroy(destroy_loop=True)
        return result

    def start(self, scene: Scene) -> Greenlet:
        return Greenlet(scene)

    async def breathe(self) -> None:
        gevent.sleep(0)

    async def heard(self, bell: Bell, seconds: float = SECONDS) -> None:
        gevent.socket.wait_read(bell.ear.fileno(), seconds)


# --- With it


class Task(Job):
    """A job of asyncio."""

    def __init__(self, scene: Scene) -> None:
        self._timeout = asyncio.timeout(None)
        self._scene = scene
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> Any:
        async with self._timeout:
            return await self._scene()

    async def result(self) -> Any:
        return await self._task

    async def interrupt(self, how: str) -> None:
        if how == "cancel":
            self._task.cancel()
        else:
            self._timeout.reschedule(asyncio.get_running_loop().time())
        await asyncio.wait([self._task], timeout=PROMPT)
        assert self._task.done(), "it still waits"
        if how == "cancel":
            assert self._task.cancelled(), self._task
        else:
            assert type(self._task.exception()) is TimeoutError, self._task
            assert self._timeout.expired()


class Asyncio(Loop):
    """Tasks of the standard library's loop."""

    name = "asyncio"
    module = smtp_transports.asyncio
    is_async = True
    interrupts = ("cancel", "timeout")

    def make_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def run(self, scene: Scene) -> Any:
        complaints: list[Any] = []

        async def main() -> Any:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(PATIENCE):
                result = await scene()
            # What was cancelled last ends with the next turns.
            for _ in range(3):
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left
            return result

        with asyncio.Runner(loop_factory=self.make_loop) as runner:
            result = runner.run(main())
        assert not complaints
        return result

    def start(self, scene: Scene) -> Task:
        return Task(scene)

    async def breathe(self) -> None:
        await asyncio.sleep(0)

    async def heard(self, bell: Bell, seconds: float = SECONDS) -> None:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_recv(bell.ear, 1)


class Uvloop(Asyncio):
    """The same tasks on another loop."""

    name = "uvloop"

    def make_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
        return loop

    @classmethod
    def prepare(cls) -> None:
        pytest.importorskip("uvloop", reason="uvloop is not installed")
        cls().run(lambda: asyncio.sleep(0))


class TrioTask(Job):
    """A job of trio."""

    def __init__(self, nursery: trio.Nursery, scene: Scene) -> None:
        self._scene = scene
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        self._value: Any = None
        self._error: Exception | None = None
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                self._value = await self._scene()
        except Exception as exc:
            self._error = exc
        finally:
            self._over.set()

    async def result(self) -> Any:
        await self._over.wait()
        assert not self._scope.cancelled_caught
        if self._error is not None:
            raise self._error
        return self._value

    async def interrupt(self, how: str) -> None:
        if how == "cancel":
            self._scope.cancel()
        else:
            self._scope.deadline = trio.current_time()
        with trio.fail_after(PROMPT):
            await self._over.wait()
        assert self._error is None, self._error
        assert self._scope.cancelled_caught


class Trio(Loop):
    """Tasks of trio."""

    name = "trio"
    module = smtp_transports.trio
    is_async = True
    interrupts = ("cancel", "timeout")
    _nursery: trio.Nursery

    def run(self, scene: Scene) -> Any:
        async def main() -> Any:
            before = trio.lowlevel.current_statistics().tasks_living
            with trio.fail_after(PATIENCE):
                # Strict nurseries wrap what a scenario raises; pytest is to see it bare.
                error = None
                async with trio.open_nursery() as self._nursery:
                    try:
                        result = await scene()
                    except Exception as exc:
                        error = exc
                        self._nursery.cancel_scope.cancel()
                if error is not None:
                    raise error
            assert trio.lowlevel.current_statistics().tasks_living == before
            return result

        return trio.run(main)

    def start(self, scene: Scene) -> TrioTask:
        return TrioTask(self._nursery, scene)

    async def breathe(self) -> None:
        await trio.lowlevel.checkpoint()

    async def heard(self, bell: Bell, seconds: float = SECONDS) -> None:
        with trio.fail_after(seconds):
            await trio.lowlevel.wait_readable(bell.ear)


LOOPS: dict[str, type[Loop]] = {kind.name: kind for kind in (Blocking, Asyncio, Trio, Gevent, Uvloop)}


@contextmanager
def fresh_loop(name: str, caplog: pytest.LogCaptureFixture) -> Iterator[Loop]:
    """A loop for one test; nothing is left behind it, and no server has complained."""
    certificates()
    LOOPS[name].prepare()
    with nothing_left(), caplog.at_level(logging.ERROR):
        loop = LOOPS[name]()
        yield loop
        loop.close()
    assert not caplog.get_records("call")


# --- Servers by hand


@contextmanager
def scripted_server(
    way: str, lmtp: bool, folder: Path, play: Callable[[Peer], Any], context: bool = True
) -> Iterator[dict[str, Any]]:
    """A real server for one client that follows `play`, in a thread: what `connect` is to be told. What goes
    wrong there is raised at the end.
    """
    there: dict[str, Any] = {"lmtp": lmtp}
    errors: list[BaseException] = []

    def run() -> None:
        try:
            sock, _ = listener.accept()
            peer = Peer(sock)
            try:
                play(peer)
            finally:
                peer.close()
        except BaseException as exc:
            errors.append(exc)

    if way == "unix":
        listener = socket.socket(socket.AF_UNIX)
        there["unix"] = folder / "socket"
        listener.bind(str(there["unix"]))
        listener.listen()
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        there["host"], there["port"] = listener.getsockname()
        if way != "tcp":
            there |= {"context": certificates().client, "tls": way == "tls"}
    listener.settimeout(SECONDS)
    thread = threading.Thread(target=run)
    with listener:
        thread.start()
        try:
            yield there
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def begin_tls(peer: Peer, way: str) -> None:
    """What a server does first, where TLS stands from the start."""
    if way == "tls":
        peer.start_tls(certificates().server, server_side=True)


def welcome(peer: Peer, way: str) -> None:
    """A server up to the end of the introduction."""
    begin_tls(peer, way)
    peer.say(b"220 mx.example")
    answer_hello(peer, way == "starttls")
    if way == "starttls":
        peer.hear(b"STARTTLS")
        peer.say(b"220 go ahead")
        peer.start_tls(certificates().server, server_side=True)
        answer_hello(peer, False)


def answer_hello(peer: Peer, starttls: bool) -> None:
    line = peer.line()
    assert line[:5] in (b"EHLO ", b"LHLO "), line
    peer.say(b"250-mx.example", *[b"250-STARTTLS"] * starttls, b"250 PIPELINING")


def introduce(peer: Peer, way: str = "tcp", lmtp: bool = False) -> None:
    """A client up to the end of the introduction."""
    hello = (b"LHLO " if lmtp else b"EHLO ") + b"client.example"
    options = {"server_hostname": "127.0.0.1"}
    if way == "tls":
        peer.start_tls(certificates().client, **options)
    assert peer.reply().startswith(b"220 ")
    peer.say(hello)
    assert peer.reply().startswith(b"250 ")
    if way == "starttls":
        peer.say(b"STARTTLS")
        assert peer.reply().startswith(b"220 ")
        peer.start_tls(certificates().client, **options)
        peer.say(hello)
        assert peer.reply().startswith(b"250 ")
