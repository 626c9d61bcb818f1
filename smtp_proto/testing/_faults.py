"""A stream that is as bad as networks are. What each fault does to the octets is decided in `_Track`,
without I/O; what a stream does about it in `_Faulty`, as generators of calls; the two colours only make
these calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

_T = TypeVar("_T")

Direction: TypeAlias = Literal["sent", "received"]

# A flood comes in blocks: as much as is read or sent at once, and no more in memory.
_BLOCK = 65536


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens as soon as `at` octets have passed in one `direction`; at 0 with its first use.

    Octets count that would pass without faults, in the clear and inside TLS. What ends or delays the reading
    does so when it is read the next time. Faults at the same offset happen in the order in which they were
    given. Raises `ValueError` for what is negative, empty or no direction.
    """

    direction: Direction
    at: int

    def __post_init__(self) -> None:
        _check(self.direction in ("sent", "received"), f"no direction: {self.direction!r}")
        _check(self.at >= 0, f"no offset: {self.at}")

    @property
    def due(self) -> int:
        """After how many octets it happens."""
        return self.at


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """The connection ends. Reading gives the end of file, writing raises `BrokenPipeError`."""


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection is reset. Reading and writing raise `ConnectionResetError`."""


@dataclass(frozen=True, slots=True)
class HalfClose(Fault):
    """This direction ends, the other one goes on. Reading gives the end of file; what is sent is lost, and
    nobody says so.
    """


@dataclass(frozen=True, slots=True)
class Split(Fault):
    """From here on octets pass in pieces of at most these `sizes`, in octets, over and over."""

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        _check(min(self.sizes, default=0) >= 1, f"no sizes: {self.sizes}")


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """Nothing passes for this many `seconds`. Where the timeout is no longer, `TimeoutError` is raised
    after it.
    """

    seconds: float

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        _check(self.seconds >= 0, f"no time: {self.seconds}")


@dataclass(frozen=True, slots=True)
class Duplicate(Fault):
    """The `size` octets from here on pass, and then once more."""

    size: int

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        _check(self.size >= 0, f"no size: {self.size}")

    @property
    def due(self) -> int:
        """Behind the octets that come twice."""
        return self.at + self.size


@dataclass(frozen=True, slots=True)
class Inject(Fault):
    """Here `octets` pass that nobody sent."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Flood(Fault):
    """Here `octets` pass that nobody sent, over and over, `total` octets in all."""

    octets: bytes
    total: int

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        _check(len(self.octets) > 0 and self.total >= 0, f"no flood: {self.total} of {self.octets!r}")


class Stream(Protocol):
    """What `smtp_transports.streams.Stream` is: `send_all`, `receive_some`, `start_tls`, `close`."""

    def send_all(self, data: bytes, timeout: float | None) -> None: ...
    def receive_some(self, max_octets: int, timeout: float | None) -> bytes: ...
    def start_tls(self, timeout: float | None) -> None: ...
    def close(self) -> None: ...


class AsyncStream(Protocol):
    """What `smtp_transports.streams.AsyncStream` is."""

    async def send_all(self, data: bytes, timeout: float | None) -> None: ...
    async def receive_some(self, max_octets: int, timeout: float | None) -> bytes: ...
    async def start_tls(self, timeout: float | None) -> None: ...
    async def close(self) -> None: ...


_Ending: TypeAlias = Cut | Reset | HalfClose
_Act: TypeAlias = "bytes | Delay | _Ending"
_Calls: TypeAlias = Generator[tuple[Any, ...], Any, _T]
"""Yields a method and its arguments, and is answered with what it returned."""


class _Track:
    """One direction: what becomes of the octets that pass."""

    def __init__(self, direction: Direction, faults: tuple[Fault, ...]) -> None:
        mine = [fault for fault in faults if fault.direction == direction]
        self._due = deque(sorted(mine, key=lambda fault: fault.due))
        self._copies = {fault: bytearray() for fault in mine if isinstance(fault, Duplicate)}
        self._at = 0
        self._sizes: Iterator[int] | None = None

    def acts(self, data: bytes) -> Iterator[_Act]:
        """What happens instead of `data` passing, in order: pieces, delays and endings."""
        held = bytearray()
        for act in self._happenings(data):
            if isinstance(act, bytes):
                held += act
                if len(held) < _BLOCK:
                    continue
            yield from self._cut(held)
            held.clear()
            if isinstance(act, Split):
                self._sizes = cycle(act.sizes)
            elif isinstance(act, Delay | _Ending):
                yield act
        yield from self._cut(held)

    def _happenings(self, data: bytes) -> Iterator[bytes | Fault]:
        while True:
            size = self._due[0].due - self._at if self._due else len(data)
            passing, data = data[:size], data[size:]
            for fault, copy in self._copies.items():
                start = fault.at - self._at
                copy.extend(passing[max(0, start) : max(0, start + fault.size)])
            self._at += len(passing)
            yield passing
            if not self._due or self._due[0].due > self._at:
                return
            yield from self._instead(self._due.popleft())

    def _instead(self, fault: Fault) -> Iterator[bytes | Fault]:
        if isinstance(fault, Duplicate):
            yield bytes(self._copies[fault])
        elif isinstance(fault, Inject):
            yield fault.octets
        elif isinstance(fault, Flood):
            block = fault.octets * (_BLOCK // len(fault.octets) + 1)
            for start in range(0, fault.total, len(block)):
                yield block[: fault.total - start]
        else:
            yield fault

    def _cut(self, octets: bytearray) -> Iterator[bytes]:
        data = bytes(octets)
        while data:
            size = len(data) if self._sizes is None else next(self._sizes)
            yield data[:size]
            data = data[size:]


class _Faulty:
    """What both colours have in common."""

    def __init__(self, stream: Any, *faults: Fault, sleep: Callable[[float], Any] | None = None) -> None:
        if sleep is None and any(isinstance(fault, Delay) for fault in faults):
            raise ValueError("a Delay needs `sleep`")
        self._stream = stream
        self._sleep = sleep
        self._sent = _Track("sent", faults)
        self._received = _Track("received", faults)
        self._coming = self._received.acts(b"")
        self._rest = b""  # of a piece, which was more than was asked for
        self._over: Cut | Reset | None = None
        self._half_closed: set[Direction] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _sending(self, data: bytes, timeout: float | None) -> _Calls[None]:
        for act in self._sent.acts(data):
            if not isinstance(act, bytes):
                timeout = yield from self._suffer(act, timeout)
                continue
            self._check_writable()
            if "sent" not in self._half_closed:
                yield self._stream.send_all, act, timeout

    def _receiving(self, max_octets: int, timeout: float | None) -> _Calls[bytes]:
        while not self._is_at_end():
            act = self._next_act()
            if act is None:
                data = yield self._stream.receive_some, max_octets, timeout
                if not data:
                    break
                self._coming = self._received.acts(data)
            elif isinstance(act, bytes):
                self._rest = act[max_octets:]
                return act[:max_octets]
            else:
                timeout = yield from self._suffer(act, timeout)
        return b""

    def _securing(self, timeout: float | None) -> _Calls[None]:
        while (act := self._next_act()) is not None:
            if isinstance(act, bytes):
                raise ConnectionAbortedError("octets in the clear in the place of the TLS handshake")
            timeout = yield from self._suffer(act, timeout)
        self._check_writable()
        if self._half_closed:
            raise ConnectionAbortedError("the TLS handshake needs both directions")
        yield self._stream.start_tls, timeout

    def _closing(self) -> _Calls[None]:
        if self._over is None:
            yield (self._stream.close,)

    def _next_act(self) -> _Act | None:
        return self._rest or next(self._coming, None)

    def _suffer(self, fault: Delay | _Ending, timeout: float | None) -> _Calls[float | None]:
        """Something that is no octets: the timeout that is left."""
        if isinstance(fault, Delay):
            return (yield from self._wait(fault.seconds, timeout))
        if isinstance(fault, HalfClose):
            self._half_closed.add(fault.direction)
        elif self._over is None:
            self._over = fault
            yield (self._stream.close,)
        return timeout

    def _wait(self, seconds: float, timeout: float | None) -> _Calls[float | None]:
        if timeout is None:
            yield self._sleep, seconds
            return None
        yield self._sleep, min(seconds, timeout)
        if seconds >= timeout:
            raise TimeoutError(f"a delay of {seconds:g} seconds")
        return timeout - seconds

    def _check_writable(self) -> None:
        if self._over is not None:
            raise _reset() if isinstance(self._over, Reset) else BrokenPipeError("the connection was cut")

    def _is_at_end(self) -> bool:
        """Whether there is nothing more to read."""
        if isinstance(self._over, Reset):
            raise _reset()
        return self._over is not None or "received" in self._half_closed


class FaultyStream(_Faulty):
    """`stream` with these faults. What else it has than the four methods is found here, too.

    `sleep` takes seconds; only a `Delay` needs it, and `ValueError` is raised where it is missing. Octets
    that were read and not asked for yet make `start_tls` raise `ConnectionAbortedError`.
    """

    def __init__(
        self, stream: Stream, *faults: Fault, sleep: Callable[[float], object] | None = None
    ) -> None:
        super().__init__(stream, *faults, sleep=sleep)

    def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send what the faults make of `data`, or raise."""
        self._call(self._sending(data, timeout))

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets, after the faults; `b""` is the end."""
        return self._call(self._receiving(max_octets, timeout))

    def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        self._call(self._securing(timeout))

    def close(self) -> None:
        """Close the stream, unless a fault did."""
        self._call(self._closing())

    def _call(self, calls: _Calls[_T]) -> _T:
        answer: object = None
        while True:
            try:
                function, *arguments = calls.send(answer)
            except StopIteration as stop:
                result: _T = stop.value
                return result
            answer = function(*arguments)


class AsyncFaultyStream(_Faulty):
    """As `FaultyStream`, for coroutines; `sleep` is one too, such as `asyncio.sleep`."""

    def __init__(
        self, stream: AsyncStream, *faults: Fault, sleep: Callable[[float], Awaitable[object]] | None = None
    ) -> None:
        super().__init__(stream, *faults, sleep=sleep)

    async def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send what the faults make of `data`, or raise."""
        await self._call(self._sending(data, timeout))

    async def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets, after the faults; `b""` is the end."""
        return await self._call(self._receiving(max_octets, timeout))

    async def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        await self._call(self._securing(timeout))

    async def close(self) -> None:
        """Close the stream, unless a fault did."""
        await self._call(self._closing())

    async def _call(self, calls: _Calls[_T]) -> _T:
        answer: object = None
        while True:
            try:
                function, *arguments = calls.send(answer)
            except StopIteration as stop:
                result: _T = stop.value
                return result
            answer = await function(*arguments)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _reset() -> ConnectionResetError:
    return ConnectionResetError("the connection was reset")
