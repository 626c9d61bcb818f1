"""What the stream of gevent does by itself: one timer serves all its waits, and none is too long."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Self

import gevent
import gevent.event
import gevent.socket
import pytest
from gevent.exceptions import ConcurrentObjectUseError
from loops import Gevent

from smtp_transports.gevent import SocketStream

LONG, SHORT = 60.0, 0.02


def in_hub(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a greenlet, and see that nothing is left in its hub."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        async def scene() -> None:
            test(**arguments)

        Gevent().run(scene)

    return run


class Echo:
    """A stream, and the other end of its socket, which says again what it hears."""

    def __init__(self, kind: type[Any] = gevent.socket.socket) -> None:
        ours, self.theirs = gevent.socket.socketpair()
        self.stream = SocketStream(kind(fileno=ours.detach()))
        self.answers: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        gevent.killall(self.answers)
        self.stream.close()
        self.theirs.close()

    def ask(self, timeout: float | None, delay: float | None = 0) -> bytes:
        """Say something, and wait for the answer, which comes after `delay` seconds; None: never."""
        self.stream.send_all(b"who", timeout)
        self.theirs.recv(3)
        if delay is not None:
            self.answers.append(gevent.spawn_later(delay, self.theirs.sendall, b"who"))
        return self.stream.receive_some(3, timeout)


@in_hub
def test_one_timer_serves_waits_of_any_number() -> None:
    with Echo() as echo:
        assert echo.ask(LONG) == b"who"
        timer = echo.stream._timer
        for timeout in (LONG, 2 * LONG, None):
            assert echo.ask(timeout) == b"who"
        assert echo.stream._timer is timer
        assert timer.active


@in_hub
def test_a_shorter_wait_is_no_longer_for_the_timer_of_a_long_one() -> None:
    with Echo() as echo:
        assert echo.ask(LONG) == b"who"
        with pytest.raises(TimeoutError, match="timed out"):
            echo.ask(SHORT, delay=None)
        assert echo.ask(LONG) == b"who"
        with pytest.raises(TimeoutError, match="timed out"):
            echo.ask(SHORT, delay=None)


@in_hub
def test_the_timer_of_a_short_wait_does_not_end_a_long_one() -> None:
    with Echo() as echo:
        assert echo.ask(SHORT, delay=0) == b"who"
        assert echo.ask(LONG, delay=2 * SHORT) == b"who"
        assert echo.ask(SHORT, delay=0) == b"who"
        assert echo.ask(None, delay=2 * SHORT) == b"who"


@in_hub
def test_a_timer_that_nobody_waits_for_any_more_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Echo() as echo:
        assert echo.ask(SHORT) == b"who"
        over = gevent.event.Event()
        gevent.spawn_later(2 * SHORT, over.set)
        assert over.wait(LONG)
        assert echo.ask(LONG) == b"who"
    assert not capsys.readouterr().err  # where gevent says what went wrong in its hub


@in_hub
def test_a_wait_that_another_timer_ends_is_over() -> None:
    with Echo() as echo:
        with pytest.raises(gevent.Timeout), gevent.Timeout(SHORT):
            echo.ask(4 * SHORT, delay=None)
        over = gevent.event.Event()
        gevent.spawn_later(5 * SHORT, over.set)
        assert over.wait(LONG)  # and is not interrupted


@in_hub
def test_only_one_greenlet_waits_for_a_socket() -> None:
    with Echo() as echo:
        first = gevent.spawn(echo.ask, LONG, None)
        gevent.sleep(0)
        with pytest.raises(ConcurrentObjectUseError):
            echo.ask(SHORT, delay=0)
        assert first.get(timeout=LONG) == b"who"


@in_hub
def test_who_reads_twice_reads_what_is_there() -> None:
    with Echo() as echo:
        echo.stream.send_all(b"who", LONG)
        echo.theirs.sendall(b"are you")
        assert [echo.stream.receive_some(3, LONG) for _ in range(3)] == [b"are", b" yo", b"u"]
        with pytest.raises(TimeoutError):
            echo.stream.receive_some(3, SHORT)


@in_hub
def test_a_stream_that_was_closed_has_no_octets_and_no_timer() -> None:
    with Echo() as echo:
        assert echo.ask(LONG) == b"who"
        timer = echo.stream._timer
        echo.stream.send_all(b"who", LONG)
        echo.stream.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            echo.stream.receive_some(3, LONG)
        assert not timer.active


class Decrypting(gevent.socket.socket):
    """A socket that has octets which the system does not know of, as one of TLS may."""

    def recv(self, *_: object) -> bytes:
        return b"old"


@in_hub
def test_a_socket_of_another_kind_is_asked_at_once() -> None:
    with Echo(Decrypting) as echo:
        assert echo.ask(LONG, delay=None) == b"old"
