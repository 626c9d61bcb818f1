"""A connection of an asyncio loop as a stream."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from ._places import Security

_READ = 65536
# A transport that holds so many octets is full: what was sent is the system's. (TLS never drains with 0.)
_HELD = 1
# Seconds that closing gives to octets on their way.
_LINGER = 5.0

# One for all connections of a loop: what it holds is taken out before the loop turns again.
_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def _buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(_READ))
    return buffer


class Stream(asyncio.BufferedProtocol):
    """A connection as a stream. It reads ahead one piece at most, and no piece across the start of TLS."""

    _transport: Any
    _plain: Any  # the transport below TLS

    def __init__(self, security: Security) -> None:
        self._security = security
        self._loop = asyncio.get_running_loop()
        self._buffer = _buffer(self._loop)
        self._data = b""  # read ahead; reading is paused then
        self._has_spoken = False  # what is read ahead before that is the handshake's
        self._ended = False  # no octets will come any more
        self._full = False  # the transport wants no octets now
        self._is_deaf = False  # the peer has ended TLS: the transport drops what is sent
        self._lost: Exception | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sock(self) -> Any:
        """The socket, to be asked and not used."""
        return self._transport.get_extra_info("socket")

    @property
    def ssl_object(self) -> Any:
        """What the `ssl` module knows of TLS; None in the clear."""
        return self._transport and self._transport.get_extra_info("ssl_object")

    async def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`, or raise."""
        if self._lost is not None or self._is_deaf:
            self._check_hearing()
        self._has_spoken = True
        self._transport.write(data)
        # A transport that failed to write says so later, when the loop turns.
        while (self._full or self._plain.is_closing()) and self._lost is None:
            await self._next(timeout)
        if self._lost is not None or self._is_deaf:
            self._check_hearing()

    async def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets; `b""` is the end."""
        while not self._data and not self._ended:
            self._transport.resume_reading()
            await self._next(timeout)
        data, self._data = self._data[:max_octets], self._data[max_octets:]
        if not data and self._lost is not None:
            raise self._lost
        return data

    async def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        self._check()
        context, server_side, name = self._security.check(), *self._security[1:]
        self._plain.pause_reading()
        early, self._data = self._data, b""
        if early and self._has_spoken:
            raise ConnectionAbortedError("octets in the clear before the TLS handshake")
        self._transport = None  # octets under TLS may come before we have its transport
        handshake = self._loop.create_task(
            self._loop.start_tls(
                self._plain,
                self,
                context,
                server_side=server_side,
                server_hostname=name,
                ssl_handshake_timeout=86400,
            )
        )
        try:
            async with asyncio.timeout(timeout):
                if early:
                    await asyncio.sleep(0)
                    self._loop.call_soon(self._hand_on, early)
                self._transport = await handshake
        finally:
            handshake.cancel()
        if self._transport is None:
            raise ConnectionAbortedError("the connection was closed")
        if self._data:
            self._transport.pause_reading()
        self._transport.set_write_buffer_limits(_HELD, 0)

    async def close(self) -> None:
        """Close, in a cancelled task too."""
        if self._transport is None:  # TLS never began, and will not tell us that it ended
            self.hang_up()
            await asyncio.sleep(0)
            return
        if not self._plain.get_write_buffer_size() or self._full:
            self.hang_up()
            if not self._closed.done():
                await asyncio.sleep(0)  # the loop says so when it turns, uvloop somewhat later
            if not self._closed.done():
                await self._closed
            return
        self._transport.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._closed), _LINGER)
        except TimeoutError:
            pass
        finally:
            self.hang_up()

    def stop_receiving(self) -> None:
        """Read no more: who waits here gets `b""`."""
        self._ended = True
        self._wake()

    def hang_up(self) -> None:
        """End the conversation: who waits here is woken, and has to close."""
        self._lost = self._lost or ConnectionAbortedError("the connection was closed")
        if not self._closed.done():
            self._plain.abort()
        self.stop_receiving()

    def _hand_on(self, early: bytes) -> None:
        """Give TLS the beginning of the handshake: uvloop reads before anybody asked it to."""
        protocol = self._plain.get_protocol()
        protocol.get_buffer(len(early))[: len(early)] = early
        protocol.buffer_updated(len(early))

    def _read_last_words(self) -> None:
        """Writing has failed: asyncio will read no more, but the peer may have said why."""
        with suppress(OSError), self.sock.dup() as sock:
            sock.setblocking(False)
            self._data += sock.recv(_READ)

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _check_hearing(self) -> None:
        self._check()
        if self._is_deaf:
            raise ConnectionResetError("the peer has ended TLS")

    def _next(self, timeout: float | None) -> asyncio.Future[None]:
        """What is done when anything happens. One timer serves all waits: most are over long before it
        fires.
        """
        self._waiter = self._loop.create_future()
        if timeout is not None:
            self._deadline = self._loop.time() + timeout
            if self._timer is None or self._timer.when() > self._deadline:
                self._set_timer(self._deadline)
        else:
            self._deadline = None
        return self._waiter

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._deadline is None or self._waiter is None or self._waiter.done():
            return
        if self._deadline <= self._loop.time():
            self._waiter.set_exception(TimeoutError())
            self._waiter = None  # the error has a traceback, which leads here again
        else:
            self._set_timer(self._deadline)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the loop calls

    def connection_made(self, transport: Any) -> None:
        """The connection is there."""
        self._transport = self._plain = transport
        transport.set_write_buffer_limits(_HELD, 0)
        if self._security.server_side:  # a client waits for the greeting at once
            transport.pause_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where octets are to go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        if self._transport is not None and (self._data or self._waiter is None or self._waiter.done()):
            self._transport.pause_reading()
        self._data += self._buffer[:nbytes]
        self._wake()

    def eof_received(self) -> bool:
        """The peer says no more; it may still listen, unless TLS is over with it."""
        self.stop_receiving()
        self._is_deaf = self._transport is not self._plain
        return not self._is_deaf

    def pause_writing(self) -> None:
        """The transport holds octets."""
        self._full = True

    def resume_writing(self) -> None:
        """It holds none any more."""
        self._full = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if isinstance(exc, OSError) and self._transport is self._plain:
            self._read_last_words()
        self._lost = self._lost or exc or (None if self._ended else ConnectionResetError("connection lost"))
        self._lost = self._lost or ConnectionAbortedError("the connection was closed")
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed.done():
            self._closed.set_result(None)
        self.stop_receiving()
