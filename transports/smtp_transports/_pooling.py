"""What both pools know, and what they do without waiting: the queue, and the connections that nobody uses."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from smtp_proto import LocalProtocolError, State

from ._client import AsyncClient, Client


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


class Pooling(Generic[_C]):
    """A pool, but for what takes time."""

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
