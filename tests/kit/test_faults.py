"""The kit's faults: each does to the octets what it says, in both colours, however they are cut.

The promise: what passes is what a model of one line each says; faults that change nothing leave every session
as it is; where a connection ends, both directions say so as a network would; time is the caller's.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from helpers import pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import CHUNKING, PIPELINING, Server

from smtp_proto import ConnectionLost, RemoteProtocolError, TimedOut
from smtp_proto.ops import SendResult
from smtp_proto.testing import (
    AsyncFaultyStream,
    Cut,
    Delay,
    Duplicate,
    Fault,
    FaultyStream,
    Flood,
    HalfClose,
    Inject,
    Reset,
    Split,
)
from smtp_transports.streams import Client

DATA = bytes(range(48, 88))
ENDINGS = [Cut, Reset, HalfClose]
OFFSETS = st.integers(0, len(DATA))


class Memory:
    """A stream that has octets to read, and remembers what was done to it."""

    ssl_object = "TLS"

    def __init__(self, *to_read: bytes) -> None:
        self.to_read = list(to_read)
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.timeouts: list[float | None] = []

    def send_all(self, data: bytes, timeout: float | None) -> None:
        self.timeouts.append(timeout)
        self.writes.append(data)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        self.timeouts.append(timeout)
        return self.to_read.pop(0) if self.to_read else b""

    def start_tls(self, timeout: float | None) -> None:
        self.timeouts.append(timeout)
        self.calls.append("start_tls")

    def close(self) -> None:
        self.calls.append("close")


def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that waits for nothing returns."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


class Awaitable:
    """A stream with its methods to be awaited."""

    def __init__(self, stream: Memory) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        async def method(*arguments: Any) -> Any:
            return getattr(self._stream, name)(*arguments)

        return method if callable(getattr(self._stream, name)) else getattr(self._stream, name)


class Blocking:
    """An `AsyncFaultyStream` without its colour, so that one test is for both."""

    def __init__(self, stream: Memory, *faults: Fault, sleep: Callable[[float], Any] | None = None) -> None:
        async def asleep(seconds: float) -> None:
            assert sleep is not None
            sleep(seconds)

        there: Any = Awaitable(stream)
        self._faulty = AsyncFaultyStream(there, *faults, sleep=sleep and asleep)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._faulty, name)
        return (lambda *arguments: awaited(attribute(*arguments))) if callable(attribute) else attribute


COLOURS = pytest.mark.parametrize("make", [FaultyStream, Blocking])


def read_all(stream: Any, size: int = 65536) -> list[bytes]:
    return list(iter(lambda: stream.receive_some(size, None), b""))


def passed(make: Any, fault: Fault | list[Fault], *chunks: bytes, size: int = 65536) -> list[bytes]:
    """What comes of these chunks, in the direction of the fault."""
    faults = fault if isinstance(fault, list) else [fault]
    if faults[0].direction == "received":
        return read_all(make(Memory(*chunks), *faults, sleep=lambda _: None), size)
    memory = Memory()
    stream = make(memory, *faults, sleep=lambda _: None)
    for chunk in chunks:
        stream.send_all(chunk, None)
    return memory.writes


DIRECTIONS = st.sampled_from(["sent", "received"])
CUTS = st.lists(OFFSETS, max_size=6)
SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


def inserting(direction: Any) -> st.SearchStrategy[Fault]:
    """Faults that add something, or nothing."""
    at, direction = OFFSETS, st.just(direction)
    return (
        st.builds(Inject, direction, at, st.binary(max_size=4))
        | st.builds(Flood, direction, at, st.binary(min_size=1, max_size=4), st.integers(0, 20))
        | st.builds(Duplicate, direction, at, st.integers(0, 9))
        | st.builds(Split, direction, at, SIZES)
        | st.builds(Delay, direction, at, st.just(1.0))
    )


def inserted(fault: Fault) -> tuple[int, bytes]:
    """Where it adds something, and what."""
    if isinstance(fault, Inject):
        return fault.at, fault.octets
    if isinstance(fault, Flood):
        return fault.at, (fault.octets * fault.total)[: fault.total]
    if isinstance(fault, Duplicate):
        return fault.at + fault.size, DATA[fault.at : fault.at + fault.size]
    return fault.at, b""


@COLOURS
@settings(max_examples=15)
@given(data=st.data(), direction=DIRECTIONS, cuts=CUTS)
def test_what_is_added_stands_where_it_should(
    make: Any, data: st.DataObject, direction: Any, cuts: list[int]
) -> None:
    faults = data.draw(st.lists(inserting(direction), min_size=1, max_size=4))
    expected, at = b"", 0
    for where, what in sorted(map(inserted, faults), key=lambda one: one[0]):
        if where <= len(DATA):
            expected += DATA[at:where] + what
            at = where
    expected += DATA[at:]
    size = data.draw(st.sampled_from([1, 7, 65536]))
    assert b"".join(passed(make, faults, *pieces(DATA, cuts), size=size)) == expected


@COLOURS
@given(
    direction=DIRECTIONS,
    at=OFFSETS,
    cuts=CUTS,
    kind=st.sampled_from([Cut, Reset, HalfClose]),
    more=st.booleans(),
)
def test_an_ending_lets_pass_what_came_before(
    make: Any, direction: Any, at: int, cuts: list[int], kind: type[Fault], more: bool
) -> None:
    memory = Memory(*pieces(DATA, cuts))
    # What is added at the same place is added before; what would happen behind the end does not.
    faults = [Inject(direction, at, b"!"), kind(direction, at), Inject(direction, at, b"?")]
    stream = make(memory, *(faults if more else faults[1:2]))
    got: list[bytes] = []
    error: Exception | None = None
    try:
        if direction == "received":
            while data := stream.receive_some(3, None):
                got.append(data)
        else:
            for chunk in pieces(DATA, cuts):
                stream.send_all(chunk, None)
            stream.send_all(b"the last word", None)
            assert kind is HalfClose
    except (BrokenPipeError, ConnectionResetError) as exc:
        error = exc
    assert b"".join(got or memory.writes) == DATA[:at] + (b"!" if more else b"")
    ends_in_error = {Cut: direction == "sent", Reset: True, HalfClose: False}
    assert (error is not None) is ends_in_error[kind]
    assert isinstance(error, ConnectionResetError) is (kind is Reset)
    assert memory.calls == ([] if kind is HalfClose else ["close"])


def outcome(action: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns, or the class of what it raises."""
    try:
        return action(*arguments)
    except OSError as exc:
        return type(exc)


@COLOURS
@pytest.mark.parametrize("direction", ["sent", "received"])
@pytest.mark.parametrize("kind", ENDINGS)
def test_a_cut_ends_both_directions_a_half_close_one(make: Any, kind: type[Fault], direction: Any) -> None:
    memory = Memory(b"greeting")
    stream = make(memory, kind(direction, 0))
    if direction == "sent":
        outcome(stream.send_all, b"", None)
    else:
        outcome(stream.receive_some, 0, None)
    sent, received = outcome(stream.send_all, b"x", None), outcome(stream.receive_some, 9, None)
    stream.close()
    assert memory.calls == ["close"]
    if kind is not HalfClose:
        assert sent is (BrokenPipeError if kind is Cut else ConnectionResetError)
        assert received == (b"" if kind is Cut else ConnectionResetError)
        assert memory.writes == []
    elif direction == "sent":
        assert (sent, received, memory.writes) == (None, b"greeting", [])
    else:
        assert (sent, received, memory.writes) == (None, b"", [b"x"])


@COLOURS
def test_a_connection_ends_once(make: Any) -> None:
    memory = Memory(b"abc")
    stream = make(memory, Cut("sent", 1), Reset("sent", 1))
    with pytest.raises(BrokenPipeError):
        stream.send_all(b"ab", None)
    assert stream.receive_some(9, None) == b""
    assert memory.calls == ["close"]
    assert memory.writes == [b"a"]


@COLOURS
def test_what_is_added_comes_together_with_what_stands_before(make: Any) -> None:
    assert passed(make, Inject("received", 8, b"250 hi\r\n"), b"220 go\r\n") == [b"220 go\r\n250 hi\r\n"]
    assert passed(make, Inject("received", 0, b"x"), b"abc") == [b"x", b"abc"]
    assert passed(make, Duplicate("sent", 1, 2), b"abcd") == [b"abcbcd"]
    assert passed(make, Inject("sent", 4, b"x"), b"ab", b"cd") == [b"ab", b"cdx"]


@COLOURS
def test_pieces_have_the_sizes_that_were_asked_for(make: Any) -> None:
    for direction in ("sent", "received"):
        assert passed(make, Split(direction, 1, (1, 3)), b"abcdef", b"ghij") == [
            b"a",
            b"b",
            b"cde",
            b"f",
            b"ghi",
            b"j",
        ]


@COLOURS
def test_no_more_is_read_than_was_asked_for(make: Any) -> None:
    assert passed(make, Inject("received", 3, b"xyz"), b"abc", size=4) == [b"abcx", b"yz"]


@COLOURS
def test_a_flood_comes_in_blocks_and_is_bounded(make: Any) -> None:
    blocks = passed(make, Flood("sent", 1, b"flood", 1_000_001), b"ab")
    assert max(map(len, blocks)) < 200_000
    octets = b"".join(blocks)
    assert len(octets) == 1_000_003
    assert octets.startswith(b"afloodflood")
    assert octets.endswith(b"floodfb")
    assert octets.count(b"flood") == 200_000


@COLOURS
def test_a_delay_takes_its_time_from_the_timeout(make: Any) -> None:
    slept: list[float] = []
    memory = Memory(b"ab", b"cd")
    stream = make(memory, Delay("received", 2, 3.0), Delay("sent", 0, 0.5), sleep=slept.append)
    assert stream.receive_some(9, 10.0) == b"ab"
    assert stream.receive_some(9, 10.0) == b"cd"
    stream.send_all(b"x", None)
    stream.start_tls(4.0)
    assert slept == [3.0, 0.5]
    assert memory.timeouts == [10.0, 7.0, None, 4.0]


@COLOURS
@pytest.mark.parametrize("seconds", [5.0, 7.0])
def test_who_waits_for_a_long_delay_runs_out_of_time(make: Any, seconds: float) -> None:
    slept: list[float] = []
    memory = Memory(b"ab")
    stream = make(memory, Delay("received", 0, seconds), sleep=slept.append)
    with pytest.raises(TimeoutError):
        stream.receive_some(9, 5.0)
    assert slept == [5.0]
    assert stream.receive_some(9, 5.0) == b"ab"


@COLOURS
@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ([Inject("received", 3, b"x")], None),
        ([Cut("received", 3)], BrokenPipeError),
        ([Reset("received", 3)], ConnectionResetError),
        ([HalfClose("received", 3)], ConnectionAbortedError),
        ([Delay("received", 3, 1.0)], None),
        ([Split("received", 2, (1,))], ConnectionAbortedError),
        ([Delay("received", 2, 1.0)], ConnectionAbortedError),
        ([Delay("received", 3, 9.0)], TimeoutError),
    ],
)
def test_a_handshake_begins_on_a_whole_connection_with_nothing_left_to_read(
    make: Any, faults: list[Fault], error: type[OSError] | None
) -> None:
    memory = Memory(b"220")
    stream = make(memory, *faults, sleep=lambda _: None)
    assert stream.receive_some(4, None).startswith(b"22")
    if error is None:
        stream.start_tls(5.0)
    else:
        with pytest.raises(error):
            stream.start_tls(5.0)
    assert ("start_tls" in memory.calls) is (error is None)


@COLOURS
def test_what_else_a_stream_has_is_there(make: Any) -> None:
    stream = make(Memory())
    assert stream.ssl_object == "TLS"
    with pytest.raises(AttributeError):
        _ = stream.nothing


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cut("send", 0),  # type: ignore[arg-type]
        lambda: Cut("sent", -1),
        lambda: Split("sent", 0, ()),
        lambda: Split("sent", 0, (1, 0)),
        lambda: Split("up", 0, (1,)),  # type: ignore[arg-type]
        lambda: Delay("sent", 0, -0.1),
        lambda: Delay("sent", -1, 1.0),
        lambda: Duplicate("sent", 0, -1),
        lambda: Duplicate("sent", -1, 1),
        lambda: Flood("sent", 0, b"", 1),
        lambda: Flood("sent", 0, b"x", -1),
        lambda: Flood("sent", -1, b"x", 1),
        lambda: Inject("sent", -1, b"x"),
        lambda: FaultyStream(Memory(), Delay("sent", 0, 1.0)),
    ],
)
def test_what_is_no_fault(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"^no |needs"):
        make()


def test_faults_are_values() -> None:
    assert Cut("sent", 1) == Cut("sent", 1) != Reset("sent", 1)
    assert len({Split("sent", 1, (1,)), Split("sent", 1, (1,)), Duplicate("sent", 1, 1)}) == 2
    with pytest.raises(AttributeError):
        Cut("sent", 1).at = 2  # type: ignore[misc]


def test_both_colours_are_one_text() -> None:
    texts = []
    for kind in (FaultyStream, AsyncFaultyStream):
        (tree,) = ast.parse(inspect.getsource(kind)).body
        assert isinstance(tree, ast.ClassDef)
        methods = "\n".join(ast.unparse(method) for method in tree.body[2:])
        texts.append(re.sub("async |await ", "", methods))
    assert texts[0] == texts[1]


# --- A client of ours


class Network(Memory):
    """A stream to a server in memory."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server

    def send_all(self, data: bytes, timeout: float | None) -> None:
        self.server.send(data)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        return self.server.receive()


def send(server: Server, *faults: Fault) -> SendResult:
    client = Client(FaultyStream(Network(server), *faults, sleep=lambda _: None), timeouts=100.0)
    client.start("client.example")
    result = client.send_message("a@x.example", ["b@y.example"], b"Subject: hi\r\n\r\n.hi\r\n")
    client.quit()
    return result


def harmless(direction: Any) -> st.SearchStrategy[Fault]:
    at, direction = st.integers(0, 600), st.just(direction)
    return (
        st.builds(Split, direction, at, SIZES)
        | st.builds(Delay, direction, at, st.floats(0, 4))
        | st.builds(Duplicate, direction, at, st.just(0))
        | st.builds(Inject, direction, at, st.just(b""))
        | st.builds(Flood, direction, at, st.just(b"x"), st.just(0))
        | st.builds(Cut, direction, st.just(5000))
    )


@settings(max_examples=20)
@pytest.mark.parametrize("offer", [PIPELINING, CHUNKING], ids=["DATA", "BDAT"])
@given(faults=st.lists(harmless("sent") | harmless("received"), max_size=5))
def test_faults_that_change_nothing_leave_a_session_as_it_is(offer: str, faults: list[Fault]) -> None:
    servers = [Server({"EHLO": offer}) for _ in range(2)]
    assert send(servers[0], *faults) == send(servers[1])
    assert servers[0].heard == servers[1].heard


@pytest.mark.parametrize("direction", ["sent", "received"])
@pytest.mark.parametrize("kind", [Cut, Reset])
@given(at=st.integers(0, 150))
def test_a_session_that_is_ended_anywhere_raises_what_is_documented(
    kind: Any, direction: str, at: int
) -> None:
    server = Server()
    try:
        result = send(server, kind(direction, at))
    except (ConnectionLost, RemoteProtocolError) as exc:
        result = getattr(exc, "result", None)
    if result is not None and result.all_accepted:
        assert server.bodies
    if server.bodies and result is not None:
        assert [outcome.status.value for outcome in result.outcomes] != ["unsent"]


def test_a_delay_is_a_timeout_of_the_client() -> None:
    with pytest.raises(TimedOut):
        send(Server(), Delay("received", 30, 100.0))
