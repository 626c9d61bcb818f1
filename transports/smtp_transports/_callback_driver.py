"""A stream that calls who listens, and drivers that are called: an operation goes on as soon as the octets
are there, and not when the turn of a task comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from smtp_proto import NEED_DATA
from smtp_proto.ops import Op

from ._driving import EVENT
from ._run import AsyncDriver
from ._stream import AsyncStream


class Listener(Protocol):
    """Who hears what comes."""

    def hear(self, data: bytes) -> None:
        """Octets came; `b""` is the end."""

    def hear_no_more(self, reason: Exception) -> None:
        """Nothing came in time, or nothing can come any more."""


class CallingStream(AsyncStream, Protocol):
    """A stream that calls who listens. Then nobody may wait for octets."""

    def listen(self, listener: Listener | None) -> None:
        """Call `listener` from now on, or nobody any more."""

    def expect(self, timeout: float | None) -> None:
        """Let octets be there in so many seconds from now."""

    @property
    def is_full(self) -> bool:
        """Whether octets wait to be sent, and `send_all` has to be waited for."""

    def write(self, data: bytes) -> None:
        """Send `data` if that can be done at once, and the rest of it later."""


class Called(AsyncDriver):
    """What a driver does that its stream calls."""

    stream: CallingStream

    def hear(self, data: bytes) -> None:
        conn = self.conn
        conn.receive_data(data)
        try:
            event = conn.next_event()
        except Exception as exc:
            self._step(None, exc)
        else:
            if event is not NEED_DATA:
                self._step(event)

    def hear_no_more(self, reason: Exception) -> None:
        failure = self._lost("receiving failed", reason) if isinstance(reason, OSError) else reason
        self._step(None, failure)

    def _step(self, answer: object = None, thrown: Exception | None = None) -> None:
        """Let the operation go on for as long as it can."""
        raise NotImplementedError

    def _say(self) -> bool:
        """Send what there is to say; whether that could be done: what one read caused may wait, no more."""
        if self.stream.is_full:
            return False
        if data := self.conn.data_to_send():
            self.stream.write(data)
        return True


class CalledDriver(Called):
    """Runs operations as `AsyncDriver` does; while one waits for nothing but octets, its task sleeps."""

    _go_on: Callable[..., Any]  # with the operation
    _waiter: asyncio.Future[Any]  # for what it wants besides events

    async def _drive(self, op: Op[Any], ask: Callable[[Any], Any] | None) -> None:
        want = self._advance(op, ask)
        while want is not None:
            try:
                if want is EVENT:
                    data = self.conn.data_to_send()
                    if data or self.stream.is_full:
                        await self._send(data)
                else:
                    answer = await self._fulfil(want, ask)
            except Exception as exc:
                want = self._advance(op, ask, None, exc)
            else:
                want = await self._listen(op, ask) if want is EVENT else self._advance(op, ask, answer)

    async def _listen(self, op: Op[Any], ask: Callable[[Any], Any] | None) -> Any:
        """Let `op` have events for as long as it wants them; what it wants then."""
        self._go_on = partial(copy_context().run, self._advance, op, ask)
        self._waiter = asyncio.get_running_loop().create_future()
        self.stream.listen(self)
        self.stream.expect(self._always or self._seconds())
        try:
            return await self._waiter
        finally:
            self.stream.listen(None)
            del self._go_on, self._waiter

    def _step(self, answer: object = None, thrown: Exception | None = None) -> None:
        if self._waiter.done():  # its task was cancelled, and has not heard of it
            return
        try:
            want = self._go_on(answer, thrown)
        except Exception as exc:
            if not self._waiter.done():
                self._waiter.set_exception(exc)
        else:
            if want is EVENT and self._say() and not self.stream.is_full:
                self.stream.expect(self._always or self._seconds())
                return
            if not self._waiter.done():
                self._waiter.set_result(want)
        finally:
            thrown = None  # it holds this frame
        self.stream.listen(None)
