"""The two loops that drive an operation of the core over a stream, for threads and for coroutines. They are
the same text but for `async` and `await`; see `smtp_proto.ops.Want` for their contract.

Here is the clock. A wait for an event has one deadline, taken from the connection's timer when the wait
begins: a peer that sends an octet a second does not extend it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from smtp_proto import (
    NEED_DATA,
    ClientConnection,
    ConnectionLost,
    LocalProtocolError,
    ProxyHeader,
    ProxyReader,
    RemoteProtocolError,
    ServerConnection,
    TimedOut,
    Timer,
)
from smtp_proto.ops import Decide, NextChunk, NextToken, Op, Stopping, Want

from ._stream import AsyncStream, Stream, Timeouts

_T = TypeVar("_T")

_NONE: Mapping[Timer, float | None] = {}
_READ = 65536
_EVENT = Want.EVENT  # an Enum member is slow to look up before Python 3.12


class _Driving:
    """What both loops know, and what they do without waiting."""

    def __init__(
        self,
        conn: ClientConnection | ServerConnection,
        stream: Any,
        timeouts: Timeouts = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.conn = conn
        self.stream = stream
        # Seconds for every timer, or for some of them.
        self._always: float | None = None
        self._for_some = _NONE
        if isinstance(timeouts, int | float):
            self._always = float(timeouts)
        elif timeouts is not None:
            self._for_some = timeouts
        self._clock = clock
        self._busy = False
        self._mute = False  # sending failed; what the peer said may still be read
        self._stopping = False

    def stop(self) -> None:
        """End the session of a server with the next wait outside of a transaction, one under way included."""
        self._stopping = True
        if self.conn.mail is None:
            self.stream.stop_receiving()

    def _check_end(self, data: bytes) -> None:
        if not data:
            raise Stopping

    def _receive_header(self, reader: ProxyReader, data: bytes) -> None:
        try:
            reader.receive_data(data)
        except RemoteProtocolError as exc:
            raise ConnectionLost(str(exc)) from exc

    def _check_stop(self) -> None:
        if self._stopping and self.conn.mail is None:
            raise Stopping

    def _lost(self, failure: str, exc: OSError) -> ConnectionLost:
        """What the network does wrong, as one of our errors."""
        if isinstance(exc, TimeoutError):
            return self._timed_out()
        return ConnectionLost(f"{failure}: {str(exc) or type(exc).__name__}")

    def _unsent(self, exc: OSError) -> ConnectionLost:
        lost = self._lost("sending failed", exc)
        self._mute = True
        lost.sending = not isinstance(lost, TimedOut)
        return lost

    def _timed_out(self) -> TimedOut:
        return TimedOut(self.conn.timer, self._seconds() or 0)

    def _seconds(self) -> float | None:
        if self._always is not None:
            return self._always
        timer = self.conn.timer
        return self._for_some.get(timer, timer.seconds)


class Driver(_Driving):
    """Runs operations on one connection over one stream, one at a time.

    `conn`: the connection. `stream`: what its octets go through. `timeouts`: seconds for every wait, or some
    timers to their seconds, None for ever. `clock`: tells the seconds.
    """

    stream: Stream

    def send_proxy(self, header: ProxyHeader) -> None:
        """Say whose connection this is, before all else."""
        self._guard("sending failed", self.stream.send_all, header.octets, self._seconds())

    def receive_proxy(self) -> ProxyHeader:
        """Wait for what a proxy says before all else, with one deadline. Nothing behind it is read.

        Raises `ConnectionLost`, from a `RemoteProtocolError` if something else was said.
        """
        reader = ProxyReader(self.conn.limits)
        left = seconds = self._always or self._seconds()
        deadline = None if seconds is None else self._clock() + seconds
        while reader.header is None:
            if left is not None and left <= 0:
                raise self._timed_out()
            data = self._guard("receiving failed", self.stream.receive_some, reader.wanted, left)
            self._receive_header(reader, data)
            left = None if deadline is None else deadline - self._clock()
        return reader.header

    def start_tls(self) -> None:
        """The handshake of TLS from the start."""
        self._guard("the TLS handshake failed", self.stream.start_tls, self._seconds())

    def run(self, op: Op[_T], ask: Callable[[Any], object] | None = None) -> _T:
        """Drive `op` to its end; its result. `ask` answers its questions (`Decide`, `NextChunk`,
        `NextToken`).

        Raises `LocalProtocolError` if another operation is running, `ConnectionLost` when the network fails,
        `TimedOut` when the peer is silent for too long, and what the operation raises.
        """
        if self._busy:
            raise LocalProtocolError("another operation is using this connection")
        self._busy = True
        conn = self.conn
        answer: object = None
        thrown: Exception | None = None
        try:
            while True:
                try:
                    want = op.send(answer) if thrown is None else op.throw(thrown)
                except StopIteration as stop:
                    result: _T = stop.value
                    break
                except Exception:
                    if thrown is not None:
                        conn.fail()
                    raise
                try:
                    if want is _EVENT:
                        if (answer := conn.next_event()) is NEED_DATA:
                            answer = self._wait()
                    elif type(want) is Decide and ask is not None:
                        answer = ask(want)
                    else:
                        answer = self._fulfil(want, ask)
                    thrown = None
                except Exception as exc:
                    answer, thrown = None, exc
            if last := conn.data_to_send():
                self._say_last(last)
            return result
        except Exception:
            raise
        except BaseException:  # an interrupt: nobody knows what was said and read
            conn.fail()
            self.stream.close()
            raise
        finally:
            thrown = None  # it holds this frame: together they would live until the garbage collector comes
            self._busy = False
            op.close()

    def _say_last(self, data: bytes) -> None:
        try:
            self._send(data)
        except Exception:
            self.conn.fail()
            raise

    def _fulfil(
        self, want: Want | NextChunk | NextToken | Decide, ask: Callable[[Any], object] | None
    ) -> object:
        if not isinstance(want, Decide) and (data := self.conn.data_to_send()):
            self._send(data)
        if want is Want.TLS:
            self.start_tls()
        elif not isinstance(want, Want):
            if ask is None:
                raise LocalProtocolError(f"nobody answers {want!r}")
            return ask(want)
        return None

    def _wait(self) -> object:
        """The next event, which is not there yet."""
        conn = self.conn
        left = seconds = self._always or self._seconds()
        data = conn.data_to_send()
        if data and not self._mute:
            try:
                self.stream.send_all(data, seconds)
            except OSError as exc:
                raise self._unsent(exc) from exc
        deadline = None if seconds is None else self._clock() + seconds
        while True:
            if self._stopping:
                self._check_stop()
            if left is not None and left <= 0:
                raise self._timed_out()
            try:
                data = self.stream.receive_some(_READ, left)
            except OSError as exc:
                raise self._lost("receiving failed", exc) from exc
            if self._stopping:
                self._check_end(data)
            conn.receive_data(data)
            if (event := conn.next_event()) is not NEED_DATA:
                return event
            if deadline is not None:
                left = deadline - self._clock()

    def _send(self, data: bytes) -> None:
        if not self._mute:
            try:
                self.stream.send_all(data, self._seconds())
            except OSError as exc:
                raise self._unsent(exc) from exc

    def _guard(self, failure: str, action: Callable[..., _T], *arguments: object) -> _T:
        """Let the stream do something; what the network does wrong becomes one of our errors."""
        try:
            return action(*arguments)
        except OSError as exc:
            raise self._lost(failure, exc) from exc


class AsyncDriver(_Driving):
    """Runs operations on one connection over one stream, one at a time.

    `conn`: the connection. `stream`: what its octets go through. `timeouts`: seconds for every wait, or some
    timers to their seconds, None for ever. `clock`: tells the seconds.
    """

    stream: AsyncStream

    async def send_proxy(self, header: ProxyHeader) -> None:
        """Say whose connection this is, before all else."""
        await self._guard("sending failed", self.stream.send_all, header.octets, self._seconds())

    async def receive_proxy(self) -> ProxyHeader:
        """Wait for what a proxy says before all else, with one deadline. Nothing behind it is read.

        Raises `ConnectionLost`, from a `RemoteProtocolError` if something else was said.
        """
        reader = ProxyReader(self.conn.limits)
        left = seconds = self._always or self._seconds()
        deadline = None if seconds is None else self._clock() + seconds
        while reader.header is None:
            if left is not None and left <= 0:
                raise self._timed_out()
            data = await self._guard("receiving failed", self.stream.receive_some, reader.wanted, left)
            self._receive_header(reader, data)
            left = None if deadline is None else deadline - self._clock()
        return reader.header

    async def start_tls(self) -> None:
        """The handshake of TLS from the start."""
        await self._guard("the TLS handshake failed", self.stream.start_tls, self._seconds())

    async def run(self, op: Op[_T], ask: Callable[[Any], Awaitable[object]] | None = None) -> _T:
        """Drive `op` to its end; its result. `ask` answers its questions (`Decide`, `NextChunk`,
        `NextToken`).

        Raises `LocalProtocolError` if another operation is running, `ConnectionLost` when the network fails,
        `TimedOut` when the peer is silent for too long, and what the operation raises.
        """
        if self._busy:
            raise LocalProtocolError("another operation is using this connection")
        self._busy = True
        conn = self.conn
        answer: object = None
        thrown: Exception | None = None
        try:
            while True:
                try:
                    want = op.send(answer) if thrown is None else op.throw(thrown)
                except StopIteration as stop:
                    result: _T = stop.value
                    break
                except Exception:
                    if thrown is not None:
                        conn.fail()
                    raise
                try:
                    if want is _EVENT:
                        if (answer := conn.next_event()) is NEED_DATA:
                            answer = await self._wait()
                    elif type(want) is Decide and ask is not None:
                        answer = await ask(want)
                    else:
                        answer = await self._fulfil(want, ask)
                    thrown = None
                except Exception as exc:
                    answer, thrown = None, exc
            if last := conn.data_to_send():
                await self._say_last(last)
            return result
        except Exception:
            raise
        except BaseException:  # an interrupt: nobody knows what was said and read
            conn.fail()
            await self.stream.close()
            raise
        finally:
            thrown = None  # it holds this frame: together they would live until the garbage collector comes
            self._busy = False
            op.close()

    async def _say_last(self, data: bytes) -> None:
        try:
            await self._send(data)
        except Exception:
            self.conn.fail()
            raise

    async def _fulfil(
        self, want: Want | NextChunk | NextToken | Decide, ask: Callable[[Any], Awaitable[object]] | None
    ) -> object:
        if not isinstance(want, Decide) and (data := self.conn.data_to_send()):
            await self._send(data)
        if want is Want.TLS:
            await self.start_tls()
        elif not isinstance(want, Want):
            if ask is None:
                raise LocalProtocolError(f"nobody answers {want!r}")
            return await ask(want)
        return None

    async def _wait(self) -> object:
        """The next event, which is not there yet."""
        conn = self.conn
        left = seconds = self._always or self._seconds()
        data = conn.data_to_send()
        if data and not self._mute:
            try:
                await self.stream.send_all(data, seconds)
            except OSError as exc:
                raise self._unsent(exc) from exc
        deadline = None if seconds is None else self._clock() + seconds
        while True:
            if self._stopping:
                self._check_stop()
            if left is not None and left <= 0:
                raise self._timed_out()
            try:
                data = await self.stream.receive_some(_READ, left)
            except OSError as exc:
                raise self._lost("receiving failed", exc) from exc
            if self._stopping:
                self._check_end(data)
            conn.receive_data(data)
            if (event := conn.next_event()) is not NEED_DATA:
                return event
            if deadline is not None:
                left = deadline - self._clock()

    async def _send(self, data: bytes) -> None:
        if not self._mute:
            try:
                await self.stream.send_all(data, self._seconds())
            except OSError as exc:
                raise self._unsent(exc) from exc

    async def _guard(self, failure: str, action: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
        """Let the stream do something; what the network does wrong becomes one of our errors."""
        try:
            return await action(*arguments)
        except OSError as exc:
            raise self._lost(failure, exc) from exc
