"""Until when something is waited for, in an asyncio loop."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol

# Seconds between two looks at all deadlines, for each that there is: looking takes little of the time then.
_REST = 1e-5


class Waiting(Protocol):
    """Who waits for something, but not for ever."""

    def time_is_up(self) -> None: ...


class Deadlines:
    """One timer for many waits. Nearly every wait is over long before its own deadline, so the timer stays as
    it is, and looks at all of them when it fires.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadlines: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._when = inf  # the timer fires

    def expect(self, waiting: Waiting, seconds: float | None) -> None:
        """Call `waiting` when its time is up, unless it asks for something else before."""
        if seconds is None:
            self.forget(waiting)
            return
        when = self._deadlines[waiting] = self._loop.time() + seconds
        if when < self._when:
            self._set_timer(when)

    def forget(self, waiting: Waiting) -> None:
        """It does not wait any more."""
        self._deadlines.pop(waiting, None)
        if not self._deadlines and self._timer is not None:
            self._timer.cancel()
            self._timer, self._when = None, inf

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._when = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer, self._when = None, inf
        now = self._loop.time()
        for waiting in [one for one, when in self._deadlines.items() if when <= now]:
            if self._deadlines.pop(waiting, None) is not None:
                waiting.time_is_up()
        if self._deadlines:
            earliest = min(self._deadlines.values())
            self._set_timer(max(earliest, now + _REST * len(self._deadlines)))
