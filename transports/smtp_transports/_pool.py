"""Pools of connections to one server, for threads and for coroutines: one text but for `async` and `await`.

A connection that was idle is asked (RSET) before it is trusted; one that is too old, or has carried as
many messages as it may, is replaced. Who waits for a connection is served in the order of arrival.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from smtp_proto import ConnectionLost, LocalProtocolError, Rcpt, SMTPError, State, TimedOut
from smtp_proto.ops import SendResult

from ._client import AsyncBody, AsyncClient, Body, Client
from ._repeat import is_temporary, left_over, may_repeat, merged


class Event(Protocol):
    """What a thread waits for, or what looks like one."""

    def wait(self) -> object: ...
    def set(self) -> object: ...


class AsyncEvent(Protocol):
    """The same for coroutines."""

    async def wait(self) -> object: ...
    def set(self) -> object: ...


_C = TypeVar("_C", Client, AsyncClient)


class _Ticket(Generic[_C]):
    """A place in the queue. What it waits for is an idle connection, or the leave to open one (None)."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.granted = False
        self.idle: tuple[_C, float] | None = None


class _Pooling(Generic[_C]):
    """What both pools know, and what they do without waiting."""

    _make_event: Callable[[], Any]

    def __init__(
        self,
        size: int,
        connect: Callable[[], _C | Awaitable[_C]],
        *,
        max_messages: int | None = 100,
        max_idle: float = 60.0,
        check_after: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if size < 1:
            raise ValueError("a pool has room for one connection at least")
        self.size = size
        self._connect: Callable[[], Any] = connect
        self._max_messages = max_messages
        self._max_idle = max_idle
        self._check_after = check_after
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[tuple[_C, float]] = []  # since when
        self._open = 0  # idle and in use, and those that are being opened
        self._queue: deque[_Ticket[_C]] = deque()
        self._is_closed = False

    @property
    def open(self) -> int:
        """How many connections there are, idle and in use."""
        return self._open

    def _ask(self) -> _Ticket[_C]:
        """A ticket, granted at once if there is room and nobody was first."""
        ticket: _Ticket[_C] = _Ticket(self._make_event())
        with self._lock:
            if self._is_closed:
                raise LocalProtocolError("the pool is closed")
            if self._queue or (not self._idle and self._open >= self.size):
                self._queue.append(ticket)
                return ticket
            ticket.granted = True
            if self._idle:
                ticket.idle = self._idle.pop()
            else:
                self._open += 1
        return ticket

    def _withdraw(self, ticket: _Ticket[_C]) -> _C | None:
        """Who had this ticket does not wait any more; a connection that nobody will take back."""
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
            if not ticket.granted:
                return None
        if self._pass_on(ticket.idle) or ticket.idle is None:
            return None
        self._pass_on(None)
        return ticket.idle[0]

    def _pass_on(self, idle: tuple[_C, float] | None) -> bool:
        """Give a place to who waits for it, or keep it: a connection, or room for one (None). False if
        nobody wants a connection any more.
        """
        with self._lock:
            if self._is_closed and idle is not None:
                return False
            if self._queue:
                ticket = self._queue.popleft()
                ticket.idle, ticket.granted = idle, True
                ticket.event.set()
            elif idle is not None:
                self._idle.append(idle)
            else:
                self._open -= 1
        return True

    def _is_done(self, client: _C) -> bool:
        """Whether a connection that comes back is of no more use."""
        return (
            client.conn.state is not State.READY
            or not client.conn.is_usable
            or client.conn.quota.left("MAILMAX") <= 0
            or (self._max_messages is not None and client.messages >= self._max_messages)
        )

    def _expired(self) -> list[_C]:
        """Those that were idle for too long: they are out of the pool, and to be closed."""
        with self._lock:
            now = self._clock()
            count = sum(now - since > self._max_idle for _, since in self._idle)
            # First come those that are idle longest.
            expired, self._idle = self._idle[:count], self._idle[count:]
            self._open -= count
        return [client for client, _ in expired]

    def _shut(self) -> list[_C]:
        """Give nothing out any more; what is to be closed."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._open -= len(idle)
            for ticket in self._queue:
                ticket.event.set()
            self._queue.clear()
        return [client for client, _ in idle]


class Pool(_Pooling[Client]):
    """Up to `size` connections to one server, for many threads.

        with Pool(4, partial(connect, "mx.example.com", 587, starttls="required")) as pool:
            pool.send_message("alice@example.org", ["bob@example.com"], message)

    `connect` opens one. After `max_messages` (None: no limit) or the server's own MAILMAX (RFC 9422), or
    when it was idle for `max_idle` seconds, a connection is closed; after `check_after` seconds it is
    asked whether it still works.
    """

    _make_event: Callable[[], Event] = threading.Event

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connection for as long as the block lasts. Raises what `connect` raises, and
        `LocalProtocolError` once the pool is closed.
        """
        with self._borrowed() as (client, _):
            yield client

    @contextmanager
    def _borrowed(self, *, new: bool = False) -> Iterator[tuple[Client, bool]]:
        """A connection, and whether it was idle before."""
        client, was_idle = self._take(new)
        try:
            yield client, was_idle
        finally:
            self._give_back(client)

    def send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: Body, **options: Any
    ) -> SendResult:
        """As `Client.send_message`. Where an old connection turns out to be dead before anything of the
        message was delivered, it is sent once more on a new one; and to those for whom one session has no
        room (RFC 9422), in others. But a body that cannot be read twice is sent once.
        """
        result = self._send_message(sender, recipients, body, options)
        while rest := left_over(result, recipients, body, options):
            with self._borrowed(new=True) as (client, _):
                try:
                    more = client.send_message(sender, rest, body, **options)
                except ConnectionLost as exc:
                    exc.result = merged(result, client.last_result)
                    raise
            if not (more.accepted or more.refused):
                break
            result = merged(result, more)
        return result

    def _send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: Body, options: dict[str, Any]
    ) -> SendResult:
        with self._borrowed() as (client, was_idle):
            try:
                result = client.send_message(sender, recipients, body, **options)
                if client.conn.is_usable or not (
                    was_idle and is_temporary(result) and may_repeat(client, body)
                ):
                    return result
            except ConnectionLost as exc:
                if isinstance(exc, TimedOut) or not (was_idle and may_repeat(client, body)):
                    raise
        with self._borrowed(new=True) as (client, _):
            return client.send_message(sender, recipients, body, **options)

    def _take(self, new: bool) -> tuple[Client, bool]:
        self._leave_all(self._expired())
        ticket = self._ask()
        try:
            if not ticket.granted:
                ticket.event.wait()
            if not ticket.granted:
                raise LocalProtocolError("the pool is closed")
        except BaseException:
            unwanted = self._withdraw(ticket)
            if unwanted is not None:
                unwanted.close()
            raise
        try:
            if ticket.idle is not None:
                client, since = ticket.idle
                if not new and self._works(client, since):
                    return client, True
                self._leave(client)
            return self._connect(), False
        except BaseException:
            self._pass_on(None)
            raise

    def _works(self, client: Client, since: float) -> bool:
        if self._clock() - since > self._check_after:
            try:
                client.reset()
            except SMTPError:
                return False
        return True

    def _give_back(self, client: Client) -> None:
        if not self._is_done(client) and self._pass_on((client, self._clock())):
            return
        try:
            self._leave(client)
        finally:
            self._pass_on(None)

    def _leave(self, client: Client) -> None:
        with suppress(SMTPError):
            client.quit(wait=False)

    def _leave_all(self, clients: list[Client]) -> None:
        with ExitStack() as stack:  # whatever interrupts the farewells, all are closed
            for client in clients:
                stack.callback(client.close)
            for client in clients:
                self._leave(client)

    def close(self) -> None:
        """Close the idle connections now and the others when they come back; who waits is told."""
        self._leave_all(self._shut())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncPool(_Pooling[AsyncClient]):
    """Up to `size` connections to one server, for many tasks.

        async with AsyncPool(4, partial(connect, "mx.example.com", 587, starttls="required")) as pool:
            await pool.send_message("alice@example.org", ["bob@example.com"], message)

    `connect` opens one. After `max_messages` (None: no limit) or the server's own MAILMAX (RFC 9422), or
    when it was idle for `max_idle` seconds, a connection is closed; after `check_after` seconds it is
    asked whether it still works.
    """

    _make_event: Callable[[], AsyncEvent]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """A connection for as long as the block lasts. Raises what `connect` raises, and
        `LocalProtocolError` once the pool is closed.
        """
        async with self._borrowed() as (client, _):
            yield client

    @asynccontextmanager
    async def _borrowed(self, *, new: bool = False) -> AsyncIterator[tuple[AsyncClient, bool]]:
        """A connection, and whether it was idle before."""
        client, was_idle = await self._take(new)
        try:
            yield client, was_idle
        finally:
            await self._give_back(client)

    async def send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: AsyncBody, **options: Any
    ) -> SendResult:
        """As `AsyncClient.send_message`. Where an old connection turns out to be dead before anything of the
        message was delivered, it is sent once more on a new one; and to those for whom one session has no
        room (RFC 9422), in others. But a body that cannot be read twice is sent once.
        """
        result = await self._send_message(sender, recipients, body, options)
        while rest := left_over(result, recipients, body, options):
            async with self._borrowed(new=True) as (client, _):
                try:
                    more = await client.send_message(sender, rest, body, **options)
                except ConnectionLost as exc:
                    exc.result = merged(result, client.last_result)
                    raise
            if not (more.accepted or more.refused):
                break
            result = merged(result, more)
        return result

    async def _send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: AsyncBody, options: dict[str, Any]
    ) -> SendResult:
        async with self._borrowed() as (client, was_idle):
            try:
                result = await client.send_message(sender, recipients, body, **options)
                if client.conn.is_usable or not (
                    was_idle and is_temporary(result) and may_repeat(client, body)
                ):
                    return result
            except ConnectionLost as exc:
                if isinstance(exc, TimedOut) or not (was_idle and may_repeat(client, body)):
                    raise
        async with self._borrowed(new=True) as (client, _):
            return await client.send_message(sender, recipients, body, **options)

    async def _take(self, new: bool) -> tuple[AsyncClient, bool]:
        await self._leave_all(self._expired())
        ticket = self._ask()
        try:
            if not ticket.granted:
                await ticket.event.wait()
            if not ticket.granted:
                raise LocalProtocolError("the pool is closed")
        except BaseException:
            unwanted = self._withdraw(ticket)
            if unwanted is not None:
                await unwanted.close()
            raise
        try:
            if ticket.idle is not None:
                client, since = ticket.idle
                if not new and await self._works(client, since):
                    return client, True
                await self._leave(client)
            return await self._connect(), False
        except BaseException:
            self._pass_on(None)
            raise

    async def _works(self, client: AsyncClient, since: float) -> bool:
        if self._clock() - since > self._check_after:
            try:
                await client.reset()
            except SMTPError:
                return False
        return True

    async def _give_back(self, client: AsyncClient) -> None:
        if not self._is_done(client) and self._pass_on((client, self._clock())):
            return
        try:
            await self._leave(client)
        finally:
            self._pass_on(None)

    async def _leave(self, client: AsyncClient) -> None:
        with suppress(SMTPError):
            await client.quit(wait=False)

    async def _leave_all(self, clients: list[AsyncClient]) -> None:
        async with AsyncExitStack() as stack:  # whatever interrupts the farewells, all are closed
            for client in clients:
                stack.push_async_callback(client.close)
            for client in clients:
                await self._leave(client)

    async def close(self) -> None:
        """Close the idle connections now and the others when they come back; who waits is told."""
        await self._leave_all(self._shut())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
