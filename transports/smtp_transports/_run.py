"""The two loops that drive an operation of the core over any stream, for threads and for coroutines. They are
the same text but for `async` and `await`; see `smtp_proto.ops.Want` for their contract.

Here is the clock. A wait for an event has one deadline, taken from the connection's timer when the wait
begins: a peer that sends an octet a second does not extend it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from smtp_proto import (
    NEED_DATA,
    LocalProtocolError,
    ProxyHeader,
    ProxyReader,
)
from smtp_proto.ops import Decide, Op, Want

from ._driving import EVENT, Driving
from ._stream import AsyncStream, Stream

_T = TypeVar("_T")

_READ = 65536


class Driver(Driving):
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

    def run(self, op: Op[_T], ask: Callable[[Any], Any] | None = None) -> _T:
        """Drive `op` to its end; its result. `ask` answers its questions (`Decide`, `NextChunk`,
        `NextToken`).

        Raises `LocalProtocolError` if another operation is running, `ConnectionLost` when the network fails,
        `TimedOut` when the peer is silent for too long, and what the operation raises.
        """
        if self._busy:
            raise LocalProtocolError("another operation is using this connection")
        self._busy = True
        try:
            self._drive(op, ask)
            if last := self.conn.data_to_send():
                self._say_last(last)
            result: _T = self._result
            self._result = None
            return result
        except Exception:
            raise
        except BaseException:  # an interrupt: nobody knows what was said and read
            self.conn.fail()
            self.stream.close()
            raise
        finally:
            self._busy = False
            op.close()

    def _drive(self, op: Op[Any], ask: Callable[[Any], Any] | None) -> None:
        answer: object = None
        thrown: Exception | None = None
        try:
            while (want := self._advance(op, ask, answer, thrown)) is not None:
                try:
                    answer = self._wait() if want is EVENT else self._fulfil(want, ask)
                    thrown = None
                except Exception as exc:
                    answer, thrown = None, exc
        finally:
            thrown = None  # it holds this frame: together they would live until the garbage collector comes

    def _say_last(self, data: bytes) -> None:
        try:
            self._send(data)
        except Exception:
            self.conn.fail()
            raise

    def _fulfil(self, want: Any, ask: Callable[[Any], Any] | None) -> object:
        if self._is_awaited(want):
            return want
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


class AsyncDriver(Driving):
    """Runs operations on one connection over one stream, one at a time.

    `conn`: the connection. `stream`: what its octets go through. `timeouts`: seconds for every wait, or some
    timers to their seconds, None for ever. `clock`: tells the seconds.
    """

    stream: AsyncStream
    _awaited = Awaitable

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

    async def run(self, op: Op[_T], ask: Callable[[Any], Any] | None = None) -> _T:
        """Drive `op` to its end; its result. `ask` answers its questions (`Decide`, `NextChunk`,
        `NextToken`), and its answers may have to be awaited: to the last two they must.

        Raises `LocalProtocolError` if another operation is running, `ConnectionLost` when the network fails,
        `TimedOut` when the peer is silent for too long, and what the operation raises.
        """
        if self._busy:
            raise LocalProtocolError("another operation is using this connection")
        self._busy = True
        try:
            await self._drive(op, ask)
            if last := self.conn.data_to_send():
                await self._say_last(last)
            result: _T = self._result
            self._result = None
            return result
        except Exception:
            raise
        except BaseException:  # an interrupt: nobody knows what was said and read
            self.conn.fail()
            await self.stream.close()
            raise
        finally:
            self._busy = False
            op.close()

    async def _drive(self, op: Op[Any], ask: Callable[[Any], Any] | None) -> None:
        answer: object = None
        thrown: Exception | None = None
        try:
            while (want := self._advance(op, ask, answer, thrown)) is not None:
                try:
                    answer = await self._wait() if want is EVENT else await self._fulfil(want, ask)
                    thrown = None
                except Exception as exc:
                    answer, thrown = None, exc
        finally:
            thrown = None  # it holds this frame: together they would live until the garbage collector comes

    async def _say_last(self, data: bytes) -> None:
        try:
            await self._send(data)
        except Exception:
            self.conn.fail()
            raise

    async def _fulfil(self, want: Any, ask: Callable[[Any], Any] | None) -> object:
        if self._is_awaited(want):
            return await want
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
