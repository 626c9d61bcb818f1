"""A connection of an asyncio loop as a stream."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from ._asyncio_buffers import Shared
from ._callback_driver import CalledDriver, Listener
from ._places import Security

# A transport that holds so many octets is full: what was sent is the system's. (TLS never drains with 0.)
_HELD = 1
# Seconds that closing gives to octets on their way.
_LINGER = 5.0


class Stream(asyncio.BufferedProtocol):
    """A connection as a stream. It reads ahead one piece at most, and no piece across the start of TLS."""

    smtp_driver = CalledDriver
    _transport: Any
    _plain: Any  # the transport below TLS

    def __init__(self, security: Security, shared: Shared | None = None) -> None:
        self._security = security
        self._loop, self._deadlines, self._buffer = shared or Shared.of_this_loop()
        self._data = b""  # read ahead; reading is paused then
        self._has_spoken = False  # what is read ahead before that is the handshake's
        self._ended = False  # no octets will come any more
        self.is_full: bool = False  # the transport wants no octets now
        self._listener: Listener | None = None
        self._is_deaf = False  # the peer has ended TLS: the transport drops what is sent
        self._lost: Exception | None = None
        self._is_closed = False
        self._closing: asyncio.Future[None] | None = None  # of who waits for that
        self._waiter: asyncio.Future[None] | None = None

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
        self.write(data)
        # A transport that failed to write says so later, when the loop turns.
        while (self.is_full or self._plain.is_closing()) and self._lost is None:
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

    def listen(self, listener: Listener | None) -> None:
        """Call `listener` from now on, or nobody any more. Then nobody may wait for octets."""
        self._listener = listener
        if listener is not None:
            self._transport.resume_reading()
            if self._data or self._ended or self._lost is not None:
                self._loop.call_soon(self._catch_up)

    def expect(self, timeout: float | None) -> None:
        """Let octets be there in so many seconds from now."""
        self._deadlines.expect(self, timeout)

    def write(self, data: bytes) -> None:
        """Send `data` if that can be done at once, and the rest of it later."""
        self._has_spoken = True
        self._transport.write(data)
        if self._plain.is_closing():  # it failed, which is said when the loop turns
            self.is_full = True

    async def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        self._check_hearing()
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
        if not self._plain.get_write_buffer_size() or self.is_full:
            self.hang_up()
            if not self._is_closed:
                await asyncio.sleep(0)  # the loop says so when it turns, uvloop somewhat later
            if not self._is_closed:
                await self._end()
            return
        self._transport.close()
        try:
            await asyncio.wait([self._end()], timeout=_LINGER)
        finally:
            self.hang_up()

    def _end(self) -> asyncio.Future[None]:
        """What is done when the connection is gone."""
        if self._closing is None:
            self._closing = self._loop.create_future()
            if self._is_closed:
                self._closing.set_result(None)
        return self._closing

    def stop_receiving(self) -> None:
        """Read no more: who waits here gets `b""`."""
        self._ended = True
        self._wake()

    def hang_up(self) -> None:
        """End the conversation: who waits here is woken, and has to close."""
        self._lost = self._lost or ConnectionAbortedError("the connection was closed")
        if not self._is_closed:
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
            self._data += sock.recv(len(self._buffer))

    def _check_hearing(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._is_deaf:
            raise ConnectionResetError("the peer has ended TLS")

    def _next(self, timeout: float | None) -> asyncio.Future[None]:
        """What is done when anything happens."""
        self._waiter = self._loop.create_future()
        self._deadlines.expect(self, timeout)
        return self._waiter

    def time_is_up(self) -> None:
        """Nothing has happened."""
        if self._listener is not None:
            self._listener.hear_no_more(TimeoutError())
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())
            self._waiter = None  # the error has a traceback, which leads here again

    def _wake(self) -> None:
        if self._listener is not None:
            self._catch_up()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _catch_up(self) -> None:
        """Tell who listens what was not told yet."""
        if self._listener is not None and self._data:
            data, self._data = self._data, b""
            self._listener.hear(data)
        if self._listener is not None and self._lost is not None:
            self._listener.hear_no_more(self._lost)
        if self._listener is not None and self._ended:
            self._listener.hear(b"")

    # What the loop calls

    def connection_made(self, transport: Any) -> None:
        """The connection is there."""
        self._transport = self._plain = transport
        transport.set_write_buffer_limits(_HELD, 0)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where octets are to go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        if self._listener is not None and not self._data:
            self._listener.hear(bytes(self._buffer[:nbytes]))
            return
        is_awaited = self._listener is not None or (self._waiter is not None and not self._waiter.done())
        if self._transport is not None and (self._data or not is_awaited):
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
        self.is_full = True

    def resume_writing(self) -> None:
        """It holds none any more."""
        self.is_full = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if isinstance(exc, OSError) and self._transport is self._plain:
            self._read_last_words()
        if self._lost is None:
            closed = ConnectionAbortedError("the connection was closed")
            self._lost = exc or (closed if self._ended else ConnectionResetError("connection lost"))
        self._deadlines.forget(self)
        self._is_closed = True
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
        self.stop_receiving()
