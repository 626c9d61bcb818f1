"""The servers, for threads (or what looks like them) and for coroutines: one of them for each session.

They are the same text but for `async` and `await`. What runs sessions and waits for them is the adapter's.
"""

import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from smtp_proto import ConnectionLost, Features, ServerConnection
from smtp_proto.ops import DEFAULT_OFFER, Decide, Op, Session, serve, turn_away

from ._run import AsyncDriver, Driver
from ._stream import AsyncStream, Stream, Timeouts
from .auth import AuthSettings

if TYPE_CHECKING:
    from .handlers import Handler

# Seconds to wait when there are no more descriptors or threads to be had.
_PAUSE = 0.1

GRACE = 10.0
"""Seconds that `close` gives to messages under way."""
# And to a session that was hung up on, before a handler that waits for something else is cancelled.
LAST_MOMENT = 1.0


class ServerStream(Stream, Protocol):
    """A stream that a server can end from outside. After `stop_receiving` who waits for octets gets `b""`."""

    def stop_receiving(self) -> None: ...
    def hang_up(self) -> None: ...


class AsyncServerStream(AsyncStream, Protocol):
    """The same for coroutines."""

    def stop_receiving(self) -> None: ...
    def hang_up(self) -> None: ...


class Listener(Protocol):
    """A bound socket that gives streams."""

    @property
    def address(self) -> Any: ...
    def accept(self) -> tuple[ServerStream, Any]: ...
    def close(self) -> None: ...


class AsyncListener(Protocol):
    """The same for coroutines."""

    @property
    def address(self) -> Any: ...
    async def accept(self) -> tuple[AsyncServerStream, Any]: ...
    def close(self) -> None: ...


class Threads(Protocol):
    """How an adapter runs things at the same time. `join` says whether all have ended."""

    def start(self, function: Callable[..., None], *arguments: object) -> None: ...
    def join(self, seconds: float | None) -> bool: ...
    def cancel(self) -> None: ...
    def pause(self, seconds: float, /) -> None: ...


class Tasks(Protocol):
    """The same for coroutines."""

    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *exc: object) -> Any: ...
    def start(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None: ...
    async def join(self, seconds: float | None) -> bool: ...
    def cancel(self) -> None: ...
    async def pause(self, seconds: float, /) -> None: ...


class Slots(Protocol):
    """A semaphore: how many sessions there may be at once."""

    def acquire(self) -> object: ...
    def release(self) -> object: ...


class AsyncSlots(Protocol):
    """The same for coroutines."""

    async def acquire(self) -> object: ...
    def release(self) -> object: ...


class Settings(NamedTuple):
    """What a server is told about its sessions."""

    make_connection: Callable[[], ServerConnection]
    domain: str
    starttls: bool
    require_tls: bool
    max_sessions_per_address: int | None
    timeouts: Timeouts
    clock: Callable[[], float] = time.monotonic
    proxy_protocol: bool = False
    offer: Features = DEFAULT_OFFER
    auth: AuthSettings | None = None
    tls: bool = False  # from the start


class _Serving:
    """What both servers know, and what they do without waiting."""

    def __init__(self, handler: "Handler", settings: Settings) -> None:
        self._handler = handler
        self._settings = settings
        self._sessions: dict[Any, object] = {}  # the drivers of those under way, and the host of each
        self._from: Counter[object] = Counter()  # sessions by the client's host
        self._lock = threading.Lock()
        self._closing = False
        self.addresses: list[Any] = []
        """Where it listens: what `getsockname()` says."""

    @property
    def address(self) -> Any:
        """Where it listens, if that is one place."""
        return self.addresses[0]

    @property
    def sessions(self) -> int:
        """How many sessions are under way."""
        return len(self._sessions)

    def _enter(self, driver: Driver | AsyncDriver) -> None:
        """Take a session into the books."""
        self._sessions[driver] = None
        if self._closing:
            driver.stop()

    def _is_one_too_many(self, driver: Driver | AsyncDriver, peer: Any) -> bool:
        """Count the session as one of its client's host, unless that has so many already: then True."""
        most = self._settings.max_sessions_per_address
        host = None if most is None else _host(peer)
        if most is None or host is None:
            return False
        with self._lock:
            if self._from[host] >= most:
                return True
            self._from[host] += 1
        self._sessions[driver] = host
        return False

    def _dialogue(self, session: Session, too_many: bool) -> Op[None]:
        settings = self._settings
        if too_many:
            return turn_away(session.conn, domain=settings.domain)
        return serve(
            session.conn,
            session,
            domain=settings.domain,
            offer=settings.offer,
            starttls=settings.starttls,
            require_tls=settings.require_tls,
            authenticator=settings.auth.authenticator(session) if settings.auth else None,
            require_auth=settings.auth is not None and settings.auth.required,
        )

    def _leave(self, driver: Driver | AsyncDriver) -> None:
        host = self._sessions.pop(driver)
        if host is None:
            return
        with self._lock:
            self._from[host] -= 1
            if not self._from[host]:
                del self._from[host]


class Server(_Serving):
    """Accepts connections and serves each with the handler, until closed.

    `addresses` says where it listens. Use it as a context manager, or call `close()`.
    """

    def __init__(
        self,
        handler: "Handler",
        listeners: list[Listener],
        threads: Threads,
        slots: Slots,
        settings: Settings,
    ) -> None:
        super().__init__(handler, settings)
        self._listeners = listeners
        self._threads = threads
        self._slots = slots
        self.addresses.extend(listener.address for listener in listeners)
        for listener in listeners:
            threads.start(self._accept, listener)

    def _accept(self, listener: Listener) -> None:
        while True:
            self._slots.acquire()
            stream: ServerStream | None = None
            try:
                stream, peer = listener.accept()
                self._threads.start(self._serve, stream, peer)
            except (OSError, RuntimeError) as exc:  # RuntimeError: no more threads
                if stream is not None:
                    stream.close()
                self._slots.release()
                if self._closing:
                    return
                log("cannot take a connection", exc)
                self._threads.pause(_PAUSE)

    def _serve(self, stream: ServerStream, peer: Any) -> None:
        settings = self._settings
        conn = settings.make_connection()
        session = Session(conn, peer, stream)
        driver = Driver(conn, stream, settings.timeouts, settings.clock)

        def ask(question: Decide) -> object:
            return getattr(self._handler, question.hook)(session, *question.arguments)

        try:
            self._enter(driver)
            if settings.proxy_protocol:
                session.proxy = driver.receive_proxy()
                session.peer = peer if session.proxy.local else session.proxy.source
            too_many = self._is_one_too_many(driver, session.peer)
            if conn.tls:
                driver.start_tls()
            driver.run(self._dialogue(session, too_many), ask)
        except ConnectionLost:
            pass  # the client is gone, and the handler was told
        except Exception as exc:  # of a handler, where the client can be told nothing any more
            log("a session failed", exc)
        finally:
            self._leave(driver)
            stream.close()
            self._slots.release()

    def close(self, grace: float = GRACE) -> None:
        """Stop listening and say so to the idle; let messages under way be finished, for `grace` seconds;
        then hang up on everybody who is left, and wait until nothing is. A handler that still waits for
        something else is cancelled; in a thread it cannot be, and is waited for.
        """
        self._closing = True
        for listener in self._listeners:
            listener.close()
        for driver in list(self._sessions):
            driver.stop()
        if not self._threads.join(grace):
            for driver in list(self._sessions):
                driver.stream.hang_up()
            if not self._threads.join(LAST_MOMENT):
                self._threads.cancel()
                self._threads.join(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0 if kind else GRACE)


class AsyncServer(_Serving):
    """Accepts connections and serves each with the handler, until closed: an async context manager.

    `addresses` says where it listens. The handler's methods may be coroutines.
    """

    def __init__(
        self,
        handler: "Handler",
        listen: Callable[[], Awaitable[list[AsyncListener]]],
        tasks: Tasks,
        slots: AsyncSlots,
        settings: Settings,
    ) -> None:
        super().__init__(handler, settings)
        self._listen = listen
        self._listeners: list[AsyncListener] = []
        self._tasks = tasks
        self._slots = slots

    async def _accept(self, listener: AsyncListener) -> None:
        while True:
            await self._slots.acquire()
            stream: AsyncServerStream | None = None
            try:
                stream, peer = await listener.accept()
                self._begin(stream, peer)
            except OSError as exc:
                self._slots.release()
                if self._closing:
                    return
                log("cannot take a connection", exc)
                await self._tasks.pause(_PAUSE)

    def _begin(self, stream: AsyncServerStream, peer: Any) -> None:
        self._tasks.start(self._serve, stream, peer)

    async def _serve(self, stream: AsyncServerStream, peer: Any) -> None:
        settings = self._settings
        conn = settings.make_connection()
        session = Session(conn, peer, stream)
        driver = AsyncDriver(conn, stream, settings.timeouts, settings.clock)

        def ask(question: Decide) -> object:
            return getattr(self._handler, question.hook)(session, *question.arguments)

        try:
            self._enter(driver)
            if settings.proxy_protocol:
                session.proxy = await driver.receive_proxy()
                session.peer = peer if session.proxy.local else session.proxy.source
            too_many = self._is_one_too_many(driver, session.peer)
            if conn.tls:
                await driver.start_tls()
            await driver.run(self._dialogue(session, too_many), ask)
        except ConnectionLost:
            pass  # the client is gone, and the handler was told
        except Exception as exc:  # of a handler, where the client can be told nothing any more
            log("a session failed", exc)
        finally:
            self._leave(driver)
            await stream.close()
            self._slots.release()

    async def close(self, grace: float = GRACE) -> None:
        """Stop listening and say so to the idle; let messages under way be finished, for `grace` seconds;
        then hang up on everybody who is left, and wait until nothing is. A handler that still waits for
        something else is cancelled.
        """
        self._closing = True
        for listener in self._listeners:
            listener.close()
        for driver in list(self._sessions):
            driver.stop()
        if not await self._tasks.join(grace):
            for driver in list(self._sessions):
                driver.stream.hang_up()
            if not await self._tasks.join(LAST_MOMENT):
                self._tasks.cancel()
                await self._tasks.join(None)

    async def __aenter__(self) -> Self:
        self._listeners = await self._listen()
        self.addresses.extend(listener.address for listener in self._listeners)
        await self._tasks.__aenter__()
        for listener in self._listeners:
            self._tasks.start(self._accept, listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close(0 if kind else GRACE)
        finally:
            for listener in self._listeners:
                listener.close()
            await self._tasks.__aexit__(kind, exc, trace)


def _host(peer: Any) -> object:
    """What the sessions of one client are counted by; None for a Unix socket, whose clients are all alike."""
    return peer[0] if isinstance(peer, tuple) else None


def log(message: str, exc: BaseException) -> None:
    import logging  # a tenth of what it costs to import a client

    logging.getLogger("smtp_transports").error(message, exc_info=exc)
