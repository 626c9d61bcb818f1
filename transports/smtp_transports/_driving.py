"""What all who drive an operation have in common: what they know, and how it goes on until it wants what has
to be awaited. Threads await nothing: they wait for events here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from smtp_proto import (
    NEED_DATA,
    ClientConnection,
    ConnectionLost,
    ProxyReader,
    RemoteProtocolError,
    ServerConnection,
    TimedOut,
    Timer,
)
from smtp_proto.ops import Decide, Op, Stopping, Want

from ._stream import Timeouts

EVENT = Want.EVENT  # an Enum member is slow to look up before Python 3.12
_NONE: Mapping[Timer, float | None] = {}


class Driving:
    """What they know, and what they do without awaiting."""

    _awaited: Any = ()  # the kind of answers that have to be awaited; where none can be, waiting blocks
    _wait: Any

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
        self._result: Any = None
        self._stopping = False

    def stop(self) -> None:
        """End the session of a server with the next wait outside of a transaction, one under way included."""
        self._stopping = True
        if self.conn.mail is None:
            self.stream.stop_receiving()

    def _advance(
        self,
        op: Op[Any],
        ask: Callable[[Any], Any] | None,
        answer: object = None,
        thrown: Exception | None = None,
    ) -> Any:
        """Let `op` go on with an answer, or with what is thrown into it, until it wants what this cannot
        give: that. None: it has ended.
        """
        conn = self.conn
        try:
            while True:
                try:
                    want = op.send(answer) if thrown is None else op.throw(thrown)
                except StopIteration as stop:
                    self._result = stop.value
                    return None
                except Exception:
                    if thrown is not None:
                        conn.fail()
                    raise
                thrown = None
                try:
                    if want is EVENT:
                        if (answer := conn.next_event()) is NEED_DATA:
                            if self._awaited:
                                return want
                            answer = self._wait()
                    elif type(want) is Decide and ask is not None:
                        answer = ask(want)
                        if answer is not None and self._is_awaited(answer):
                            return answer
                    else:
                        return want
                except Exception as exc:
                    answer, thrown = None, exc
        finally:
            thrown = None  # it holds this frame: together they would live until the garbage collector comes

    def _is_awaited(self, answer: object) -> bool:
        return isinstance(answer, self._awaited)

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
