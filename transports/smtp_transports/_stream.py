"""What an adapter brings for each connection: a stream; and how long its methods may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from smtp_proto import Timer

Timeouts: TypeAlias = float | Mapping[Timer, float | None] | None
"""Seconds for every timer, or for some of them (None: wait for ever). Otherwise those of RFC 5321."""


def seconds_for(timer: Timer, timeouts: Timeouts) -> float | None:
    """How long to wait for what `timer` times; None: for ever."""
    if timeouts is None:
        return timer.seconds
    return timeouts.get(timer, timer.seconds) if isinstance(timeouts, Mapping) else timeouts


class Stream(Protocol):
    """What an adapter brings: octets out, octets in, TLS, the end. Timeouts are in seconds, None for ever.

    Raises `TimeoutError` when a timeout runs out, and `OSError` when the network fails.
    """

    def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`, or raise."""

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets, `max_octets` at most; `b""` is the end."""

    def start_tls(self, timeout: float | None) -> None:
        """Do the handshake. Octets that came before it must not be read after it."""

    def close(self) -> None:
        """Close, whatever has happened before."""


class AsyncStream(Protocol):
    """The same for coroutines. `close` closes even where its task is cancelled."""

    async def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`, or raise."""

    async def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets, `max_octets` at most; `b""` is the end."""

    async def start_tls(self, timeout: float | None) -> None:
        """Do the handshake. Octets that came before it must not be read after it."""

    async def close(self) -> None:
        """Close, whatever has happened before."""
