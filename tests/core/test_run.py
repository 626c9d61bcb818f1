"""The promise of `_run.py`: one deadline a wait, one write for all that one read caused, and no way out of
an operation that leaves a connection half alive.

Everything here runs against a stream made of a list, and a clock that only the stream moves.
"""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, count, repeat
from typing import Any

import pytest
from helpers import every
from hypothesis import given
from strategies import several

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    Data,
    Ehlo,
    Greeting,
    LocalProtocolError,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Reply,
    ServerConnection,
    State,
    TimedOut,
    Timer,
    ops,
)
from smtp_proto.ops import Decide, NextChunk, Op, Session, Status, Want
from smtp_transports._run import Driver

SENDER, RECIPIENT = "a@client.example", "b@mx.example"
GREETING = b"220 mx.example ESMTP\r\n"
PLAIN = b"250 mx.example\r\n"
PIPELINING = b"250-mx.example\r\n250 PIPELINING\r\n"
OK = b"250 ok\r\n"
GO = b"354 go\r\n"
CLOSING = b"421 4.3.2 shutting down\r\n"


class FakeStream:
    """Gives what `script` holds, one item a read, and is silent behind it.

    An item is octets, `(seconds, octets)` for octets that take their time, or an exception; a function is
    called when it is read for what stands behind it. `send_error` is what a write raises if the octets `on`
    are in it. `log` is what was asked of the stream. After `stop_receiving` there is nothing but the end.
    """

    def __init__(self, *script: Any, send_error: BaseException | None = None, on: bytes = b"") -> None:
        self.script = deque(script)
        self.now = 0.0
        self.log: list[bytes] = []
        self.timeouts: list[float | None] = []
        self.is_deaf = False
        self._send_error = send_error
        self._on = on

    def clock(self) -> float:
        return self.now

    def send_all(self, data: bytes, timeout: float | None) -> None:
        self.log.append(data)
        if self._send_error is not None and self._on in data:
            raise self._send_error

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        assert timeout is None or timeout > 0  # a socket would not wait at all
        self.log.append(b"<read>")
        self.timeouts.append(timeout)
        while self.script and callable(self.script[0]):
            self.script.popleft()()
        if self.is_deaf:
            return b""
        item = self.script.popleft() if self.script else (float("inf"), b"")
        if isinstance(item, BaseException):
            try:
                raise item
            finally:
                del item  # or it would keep itself alive
        seconds, data = item if isinstance(item, tuple) else (0.0, item)
        if timeout is not None and seconds >= timeout:
            self.now += timeout
            raise TimeoutError
        self.now += seconds
        return data

    def start_tls(self, timeout: float | None) -> None:
        self.log.append(b"<tls>")

    def stop_receiving(self) -> None:
        self.log.append(b"<stop>")
        self.is_deaf = True

    def close(self) -> None:
        self.log.append(b"<close>")

    @property
    def written(self) -> list[bytes]:
        return [item for item in self.log if not item.startswith(b"<")]


def client(*script: Any, timeouts: Any = None, **options: Any) -> tuple[Driver, FakeStream]:
    stream = FakeStream(*script, **options)
    return Driver(ClientConnection(), stream, timeouts, stream.clock), stream


def greeted(*script: Any, hello: bytes = PIPELINING, **options: Any) -> tuple[Driver, FakeStream]:
    """A client behind its EHLO; `script` is what comes then, the log begins there."""
    driver, stream = client(GREETING, hello, *script, **options)
    driver.run(ops.greet(driver.conn))
    driver.run(ops.hello(driver.conn, "client.example"))
    stream.log.clear()
    stream.timeouts.clear()
    return driver, stream


def serve(*script: Any, timeouts: Any = None, **options: Any) -> tuple[FakeStream, list[str]]:
    """A whole session of a server; the hooks that were asked."""
    stream = FakeStream(*script, **options)
    driver = Driver(ServerConnection(), stream, timeouts, stream.clock)
    hooks: list[str] = []
    driver.run(
        ops.serve(driver.conn, Session(driver.conn), domain="mx.example"),
        lambda question: hooks.append(question.hook),
    )
    return stream, hooks


def whole_session(driver: Driver) -> None:
    driver.run(ops.greet(driver.conn))
    driver.run(ops.hello(driver.conn, "client.example"))
    driver.run(ops.send_message(driver.conn, SENDER, [RECIPIENT], b"hi\r\n"))
    driver.run(ops.noop(driver.conn))


# --- Timers

PHASES = [
    Timer.GREETING,
    Timer.COMMAND,
    Timer.MAIL,
    Timer.RCPT,
    Timer.DATA_INIT,
    Timer.DATA_DONE,
    Timer.COMMAND,
]


@every("hello", [PLAIN, PIPELINING])
@every(("answered", "timer"), list(enumerate(PHASES)))
def test_a_server_that_falls_silent_is_waited_for_as_long_as_the_phase_allows(
    hello: bytes, answered: int, timer: Timer
) -> None:
    replies = [GREETING, hello, OK, OK, GO, OK][:answered]
    driver, stream = client(*replies)
    with pytest.raises(TimedOut) as caught:
        whole_session(driver)
    assert (caught.value.timer, caught.value.seconds) == (timer, timer.seconds)
    assert isinstance(caught.value, TimeoutError)
    assert stream.now == timer.seconds
    assert driver.conn.state is State.FAILED


def test_a_body_that_the_server_does_not_read_is_waited_for_as_one_block() -> None:
    driver, stream = greeted(OK, OK, GO, send_error=TimeoutError(), on=b"body")
    parts = iter([b"body\r\n", b"more\r\n"])
    with pytest.raises(TimedOut) as caught:
        driver.run(ops.send_message(driver.conn, SENDER, [RECIPIENT]), lambda _: next(parts))
    assert caught.value.timer is Timer.DATA_BLOCK
    assert stream.log[-1] == b"body\r\n"  # one wait is enough
    assert caught.value.result is not None
    assert [outcome.status for outcome in caught.value.result.outcomes] == [Status.UNSENT]


ENVELOPE = b"EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"


@pytest.mark.parametrize(
    ("said", "timer"),
    [
        ([], Timer.SERVER),
        ([b"EHLO c.example\r\nNO"], Timer.SERVER),
        ([ENVELOPE], Timer.DATA_BLOCK),
        ([ENVELOPE, b"one line\r\n"], Timer.DATA_BLOCK),
    ],
)
def test_a_client_that_falls_silent_is_told_so_and_left(said: list[bytes], timer: Timer) -> None:
    waits = {timer: 7.0} | dict.fromkeys({Timer.SERVER, Timer.DATA_BLOCK} - {timer}, 1000.0)
    stream, hooks = serve(*said, timeouts=waits)
    assert stream.now == 7.0
    assert stream.written[-1] == b"421 4.4.2 mx.example waited for 7 seconds\r\n"
    assert hooks[-1] == "close"


@pytest.mark.parametrize(
    ("timeouts", "expected"),
    [
        (None, 300.0),
        (2.5, 2.5),
        ({Timer.GREETING: 9.0}, 9.0),
        ({Timer.MAIL: 9.0}, 300.0),
        ({Timer.GREETING: None}, None),
    ],
)
def test_the_seconds_of_each_timer_can_be_chosen(timeouts: Any, expected: float | None) -> None:
    driver, stream = client(GREETING, timeouts=timeouts)
    assert driver.run(ops.greet(driver.conn)).domain == "mx.example"
    assert stream.timeouts == [expected]


@given(several(range(5), len(GREETING), least=len(GREETING)))
def test_octets_that_trickle_in_do_not_extend_a_wait(gaps: list[int]) -> None:
    octets = [GREETING[at : at + 1] for at in range(len(GREETING))]
    driver, stream = client(*zip(gaps, octets, strict=True), timeouts=40.0)
    if sum(gaps) < 40:
        assert driver.run(ops.greet(driver.conn)) == Greeting(domain="mx.example", text="ESMTP")
        assert stream.now == sum(gaps)
    else:
        with pytest.raises(TimedOut):
            driver.run(ops.greet(driver.conn))
        assert stream.now == 40.0


def test_a_server_that_never_pauses_and_never_ends_runs_into_the_deadline_too() -> None:
    """What it says is always there when it is read: no read ever has to wait."""
    stream = FakeStream(*repeat(b"2", 100))
    clock = count().__next__  # only looking at it takes time
    driver = Driver(ClientConnection(), stream, 10.0, clock)
    with pytest.raises(TimedOut):
        driver.run(ops.greet(driver.conn))
    assert len(stream.timeouts) == 10


def test_every_wait_has_a_deadline_of_its_own() -> None:
    slow = ((3.0, reply) for reply in (GREETING, PLAIN, OK, OK, GO, OK, OK))
    driver, stream = client(*slow, timeouts=4.0)
    whole_session(driver)
    assert stream.now == 21.0


# --- One operation at a time


def test_an_operation_inside_another_one_is_refused_and_disturbs_nothing() -> None:
    driver, stream = greeted(OK, OK, GO, OK, OK)
    parts = iter([b"hi\r\n", b""])

    def ask(question: object) -> bytes:
        with pytest.raises(LocalProtocolError, match="another operation"):
            driver.run(ops.noop(driver.conn))
        return next(parts)

    assert driver.run(ops.send_message(driver.conn, SENDER, [RECIPIENT]), ask).all_accepted
    assert b"".join(stream.written).endswith(b"hi\r\n.\r\n")
    assert driver.run(ops.noop(driver.conn)).code == 250


# --- Errors


def test_what_the_network_does_wrong_is_thrown_into_the_operation_with_its_cause() -> None:
    error = ConnectionResetError(104, "reset")
    driver, _ = greeted(error, OK)

    def op() -> Op[Any]:
        try:
            yield Want.EVENT
        except ConnectionLost as exc:
            return exc, (yield Want.EVENT)

    lost, _reply = driver.run(op_of_noop(driver, op()))
    assert lost.__cause__ is error
    assert str(lost) == "receiving failed: [Errno 104] reset"
    assert driver.conn.is_usable


def op_of_noop(driver: Driver, op: Op[Any]) -> Op[Any]:
    """`op`, with a NOOP said before it."""
    driver.conn.send(Noop())
    return op


def test_an_error_without_a_text_still_says_what_it_is() -> None:
    driver, _ = greeted(BrokenPipeError())
    with pytest.raises(ConnectionLost, match="BrokenPipeError"):
        driver.run(ops.noop(driver.conn))


def test_what_the_application_raises_is_thrown_into_the_operation_as_it_is() -> None:
    driver, _ = greeted()

    def op() -> Op[Any]:
        try:
            yield NextChunk()
        except ZeroDivisionError as exc:
            return exc

    assert isinstance(driver.run(op(), lambda _: 1 // 0), ZeroDivisionError)
    assert driver.conn.is_usable


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([OSError("no route")], ConnectionLost),
        ([b""], Exception),
        ([b"nonsense\r\n"], Exception),
        ([], TimedOut),
    ],
)
def test_an_error_that_comes_out_of_the_operation_fails_the_connection(script: Any, error: Any) -> None:
    driver, _ = greeted(*script)
    with pytest.raises(error):
        driver.run(ops.noop(driver.conn))
    assert driver.conn.state is State.FAILED


def test_an_error_that_the_operation_raises_by_itself_leaves_the_connection_as_it_is() -> None:
    driver, _ = greeted(b"550 no\r\n", OK)
    with pytest.raises(Refused):
        driver.run(ops.reset(driver.conn))
    with pytest.raises(LocalProtocolError):
        driver.run(ops.send_message(driver.conn, SENDER, [], b""))
    assert driver.run(ops.noop(driver.conn)).code == 250


@pytest.mark.parametrize("op", [ops.noop, ops.quit], ids=["raises", "swallows"])
def test_a_connection_that_was_lost_leaves_no_garbage(op: Any) -> None:
    """Neither the error nor the stream waits for the garbage collector."""
    driver, stream = greeted(OSError("no route"))
    left = weakref.ref(stream)
    gc.disable()
    try:
        with suppress(ConnectionLost):
            driver.run(op(driver.conn))
        del driver, stream
        assert left() is None
    finally:
        gc.enable()


class Interrupt(BaseException):
    """What Ctrl-C and the cancellation of a task look like."""


def _interrupt(*_: object) -> Any:
    raise Interrupt


def _op_interrupted(want: Any) -> Op[None]:
    if want is None:
        raise Interrupt
    yield want


@pytest.mark.parametrize(
    ("want", "options"),
    [
        pytest.param(Want.EVENT, {"script": [Interrupt()]}, id="reading"),
        pytest.param(Want.FLUSH, {"send_error": Interrupt()}, id="writing"),
        pytest.param(NextChunk(), {}, id="asking"),
        pytest.param(None, {}, id="inside"),
    ],
)
def test_an_interrupt_fails_the_connection_and_closes_the_operation(want: Any, options: Any) -> None:
    stream = FakeStream(*options.pop("script", ()), **options)
    conn = ClientConnection()
    conn.receive_data(GREETING)
    conn.next_event()
    driver = Driver(conn, stream)
    closed = []

    def op() -> Op[None]:
        conn.send(Ehlo(domain="client.example"))
        try:
            yield from _op_interrupted(want)
        finally:
            closed.append(True)

    with pytest.raises(Interrupt):
        driver.run(op(), _interrupt)
    assert conn.state is State.FAILED
    assert closed
    with pytest.raises(LocalProtocolError, match="failed"):
        driver.run(ops.noop(conn))


def test_a_question_that_nobody_answers_is_a_clear_error() -> None:
    driver, _ = greeted(OK, OK, GO)
    with pytest.raises(LocalProtocolError, match=r"nobody answers NextChunk\(\)"):
        driver.run(ops.send_message(driver.conn, SENDER, [RECIPIENT]))
    assert driver.conn.state is State.FAILED  # in the middle of a message


# --- When sending fails


def test_a_failed_write_does_not_keep_from_reading_why() -> None:
    """Sendmail says 421 and closes in the middle of DATA."""
    driver, stream = greeted(OK, OK, GO, CLOSING, b"", send_error=BrokenPipeError(32, "broken"), on=b"body")
    parts = chain([b"body\r\n"], repeat(b"more\r\n"))
    result = driver.run(ops.send_message(driver.conn, SENDER, [RECIPIENT]), lambda _: next(parts))
    (outcome,) = result.outcomes
    assert outcome.status is Status.REFUSED
    assert outcome.reply == Reply(code=421, enhanced="4.3.2", text="shutting down")
    assert stream.written[-1] == b"body\r\n"  # nothing was written after that


def test_a_failed_write_to_a_server_that_said_nothing_is_an_error_with_the_result() -> None:
    driver, _ = greeted(OK, OK, GO, b"", send_error=BrokenPipeError(32, "broken"), on=b"body")
    with pytest.raises(ConnectionLost, match=r"sending failed: .Errno 32. broken") as caught:
        driver.run(ops.send_message(driver.conn, SENDER, [RECIPIENT], b"body\r\n"))
    assert caught.value.sending
    assert caught.value.result is not None
    assert [outcome.status for outcome in caught.value.result.outcomes] == [Status.UNKNOWN]


def test_a_server_that_has_said_goodbye_before_it_is_asked_is_no_error() -> None:
    """Its 421 came in one read with another reply, and nobody is there any more to hear QUIT."""
    driver, _ = greeted(OK + CLOSING, send_error=BrokenPipeError(32, "broken"), on=b"QUIT")
    assert driver.run(ops.noop(driver.conn)).code == 250
    assert driver.run(ops.quit(driver.conn)) == Reply(code=421, enhanced="4.3.2", text="shutting down")


def test_nothing_is_written_after_a_failed_write_even_when_reading_fails_too() -> None:
    driver, stream = greeted(OSError("reset"), send_error=BrokenPipeError(), on=b"MAIL")
    conn = driver.conn
    assert isinstance(conn, ClientConnection)

    def op() -> Iterator[Any]:
        conn.send(Mail(reverse_path=SENDER))
        for want in (Want.FLUSH, Want.EVENT, Want.FLUSH):
            try:
                yield want
            except ConnectionLost:
                conn.send(Rcpt(forward_path=RECIPIENT))

    driver.run(op())  # type: ignore[arg-type]
    assert stream.written == [b"MAIL FROM:<a@client.example>\r\n"]


def test_octets_that_cannot_be_sent_when_the_operation_is_done_fail_the_connection() -> None:
    driver, _ = greeted(send_error=OSError("no"), on=b"NOOP")

    def op() -> Op[str]:
        driver.conn.send(Noop())
        return "done"
        yield

    with pytest.raises(ConnectionLost):
        driver.run(op())
    assert driver.conn.state is State.FAILED


@pytest.mark.parametrize("error", [BrokenPipeError(), TimeoutError()])
def test_a_server_that_cannot_send_ends_the_session_in_order(error: OSError) -> None:
    stream, hooks = serve(ENVELOPE, send_error=error, on=b"250")
    assert hooks[-1] == "close"
    assert len(stream.written) == 2  # the greeting, and what failed


# --- A server that stops

STOPS = b"421 4.3.2 mx.example stops\r\n"
HALF = b"Subject: hi\r\n\r\nh"


def stopping(*script: Any, then: Any = b"", again: bool = False) -> tuple[FakeStream, list[str]]:
    """A session of a server that is stopped while it waits, behind `script`; the hooks that were asked.

    `then` is what comes afterwards if the stream still listens, an item or a list of them.
    """

    def stop() -> None:
        for _ in range(1 + again):
            driver.stop()

    stream = FakeStream(*script, stop, *(then if isinstance(then, list) else [then]))
    driver = Driver(ServerConnection(), stream, 100.0, stream.clock)
    hooks: list[str] = []
    op = ops.serve(driver.conn, Session(driver.conn), domain="mx.example")
    driver.run(op, lambda question: hooks.append(question.hook))
    return stream, hooks


BEFORE_MAIL, IN_MAIL = ENVELOPE.split(b"MAIL")[0], ENVELOPE.replace(b"DATA\r\n", b"")


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("said", [[], [BEFORE_MAIL], [BEFORE_MAIL, b"NOO"], [ENVELOPE, HALF, b"\r\n.\r\n"]])
def test_an_idle_session_is_ended_where_it_waits(said: list[bytes], again: bool) -> None:
    stream, hooks = stopping(*said, then=b"NOOP\r\n", again=again)
    assert stream.written[-1] == STOPS
    assert stream.log.count(b"<stop>") == 1 + again
    assert stream.log.count(b"<read>") == len(said) + 1  # it is not read on
    assert hooks[-1] == "close"
    assert "reset" not in hooks


@every(
    ("said", "then"),
    [
        ([IN_MAIL], [b"DATA\r\n", HALF, b"\r\n.\r\n"]),
        ([ENVELOPE], [HALF, b"\r\n.\r\n"]),
        ([ENVELOPE, HALF], [b"\r\n", b".", b"\r\n"]),
        ([IN_MAIL], [b"BDAT 5\r\nhe", b"lloBDAT 0 LAST\r\n"]),
        ([IN_MAIL + b"BDAT 5\r\nhello"], [b"BDAT 0 LAST\r\n"]),
    ],
)
@every("again", [False, True], ids=["once", "twice"])
def test_a_message_under_way_is_finished_first(said: list[bytes], then: list[bytes], again: bool) -> None:
    stream, hooks = stopping(*said, then=[*then, b"NOOP\r\n"], again=again)
    assert b"<stop>" not in stream.log
    assert b"".join(stream.written).endswith(b"250 2.6.0 message accepted\r\n" + STOPS)
    assert hooks[-2:] == ["message", "close"]
    assert len(stream.script) == 1  # the NOOP was never read


@pytest.mark.parametrize("way_out", [b"RSET\r\n", b"EHLO c.example\r\n"])
def test_a_transaction_that_is_given_up_is_the_end_as_well(way_out: bytes) -> None:
    stream, hooks = stopping(IN_MAIL, then=[way_out, b"NOOP\r\n"])
    assert b"".join(stream.written).endswith(STOPS)
    assert hooks[-2:] == ["reset", "close"]


def test_what_came_in_one_read_with_the_message_is_answered_before_the_end() -> None:
    stream, _ = stopping(ENVELOPE, then=[HALF + b"\r\n.\r\nNOOP\r\n", b"NOOP\r\n"])
    assert stream.written[-2:] == [b"250 2.6.0 message accepted\r\n250 2.0.0 ok\r\n", STOPS]


def test_a_client_that_goes_on_with_another_message_in_the_same_read_may_finish_it() -> None:
    end = HALF + b"\r\n.\r\n"
    stream, hooks = stopping(ENVELOPE, then=[end + ENVELOPE, end, b"NOOP\r\n"])
    assert hooks.count("message") == 2
    assert stream.written[-1].endswith(STOPS)


@pytest.mark.parametrize("end", [b"", OSError("reset"), []], ids=["closes", "is lost", "falls silent"])
def test_a_client_that_does_not_finish_its_message_is_left(end: Any) -> None:
    stream, hooks = stopping(ENVELOPE, then=end)
    assert hooks[-2:] == ["reset", "close"]
    assert "message" not in hooks
    assert stream.now in (0.0, 100.0)


def test_a_session_that_was_stopped_before_it_began_greets_and_ends() -> None:
    stream = FakeStream()
    driver = Driver(ServerConnection(), stream, None, stream.clock)
    driver.stop()
    driver.run(ops.serve(driver.conn, Session(driver.conn), domain="mx.example"), lambda _: None)
    assert stream.written == [b"220 mx.example ESMTP\r\n", STOPS]
    assert b"<read>" not in stream.log


# --- Flush points


def test_what_one_read_caused_goes_out_in_one_write() -> None:
    body = b"Subject: hi\r\n\r\nhi\r\n.\r\n"
    stream, _ = serve(ENVELOPE, body + b"NOOP\r\nQUIT\r\n", b"")
    greeting, envelope, end = stream.written
    assert greeting == b"220 mx.example ESMTP\r\n"
    assert [line[:4] for line in envelope.splitlines()] == [*[b"250-"] * 6, *[b"250 "] * 3, b"354 "]
    assert [line[:4] for line in end.splitlines()] == [b"250 ", b"250 ", b"221 "]


def test_a_group_of_commands_goes_out_in_one_write() -> None:
    driver, stream = greeted(OK + OK + GO, OK)
    assert driver.run(ops.send_message(driver.conn, SENDER, [RECIPIENT], b"hi\r\n")).all_accepted
    group = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"
    assert stream.log == [group, b"<read>", b"hi\r\n.\r\n", b"<read>"]


def test_what_is_there_already_is_not_read_for() -> None:
    driver, stream = greeted(OK + OK)
    driver.conn.send(Mail(reverse_path=SENDER))
    driver.conn.send(Rcpt(forward_path=RECIPIENT))

    def op() -> Op[list[Reply]]:
        return [(yield Want.EVENT), (yield Want.EVENT)]

    assert len(driver.run(op())) == 2
    assert stream.log.count(b"<read>") == 1


@pytest.mark.parametrize(
    ("want", "log"),
    [
        (Want.FLUSH, [b"QUIT\r\n", b"<end>"]),
        (Want.TLS, [b"QUIT\r\n", b"<tls>", b"<end>"]),
        (Want.EVENT, [b"QUIT\r\n", b"<read>", b"<end>"]),
        (NextChunk(), [b"QUIT\r\n", b"<asked>", b"<end>"]),
        (Decide("mail"), [b"<asked>", b"<end>", b"QUIT\r\n"]),
    ],
)
def test_what_is_queued_is_sent_before_a_wait_and_not_before_a_decision(want: Any, log: list[bytes]) -> None:
    driver, stream = greeted(b"221 bye\r\n")

    def op() -> Op[None]:
        driver.conn.send(Quit())
        yield want
        stream.log.append(b"<end>")

    driver.run(op(), lambda _: stream.log.append(b"<asked>"))
    assert stream.log == log


def test_what_is_queued_when_the_operation_is_done_is_sent() -> None:
    driver, stream = greeted(OK, OK)
    driver.run(ops.reply_to(driver.conn, Mail(reverse_path=SENDER)))
    driver.run(ops.reply_to(driver.conn, Rcpt(forward_path=RECIPIENT)))

    def op() -> Op[str]:
        driver.conn.send(Data())
        return "done"
        yield

    assert driver.run(op()) == "done"
    assert stream.written[-1] == b"DATA\r\n"
    assert driver.conn.data_to_send() == b""
