"""Reads succeed whole or change nothing, limits are exact for every cut, and time is linear."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from helpers import pieces
from hypothesis import given
from hypothesis import strategies as st
from strategies import several

from smtp_proto import Limits, LineEnds, LocalProtocolError
from smtp_proto._body import ChunkReader, DataReader
from smtp_proto._readers import ReplyReader
from smtp_proto._receive_buffer import ReceiveBuffer

STREAMS = several([b"\r", b"\n", b"\r\n", b"a", b"bc"], 16).map(b"".join)
CUTS = several(range(1, 31), 8)

TOO_LONG = "500"


def lines_of(stream: bytes, limit: int, *, bare_lf: bool) -> tuple[list[bytes], bytes, str | None]:
    """The lines that must come out of `stream`, what stays in the buffer, and how it ends."""
    lines = []
    end = b"\n" if bare_lf else b"\r\n"
    while end in stream:
        line, _, rest = stream.partition(end)
        if len(line) + len(end) > limit:
            return lines, stream, TOO_LONG
        lines.append(line.removesuffix(b"\r") if bare_lf else line)
        stream = rest
    return lines, stream, TOO_LONG if len(stream) >= limit else None


def read_lines(buffer: ReceiveBuffer, limit: int, *, bare_lf: bool, lines: list[bytes]) -> str | None:
    try:
        while (line := buffer.read_line(limit, bare_lf=bare_lf)) is not None:
            lines.append(line)
    except LocalProtocolError as exc:
        return f"{exc.code}"
    return None


def test_the_lines_of_every_short_stream_are_those_between_its_line_ends():
    for length, limit, bare_lf in product(range(7), (2, 3, 4, 9), (False, True)):
        for octets in product((b"\r", b"\n", b"a"), repeat=length):
            stream = b"".join(octets)
            buffer, lines = ReceiveBuffer(), []
            buffer.append(stream)
            outcome = read_lines(buffer, limit, bare_lf=bare_lf, lines=lines)
            expected = lines_of(stream, limit, bare_lf=bare_lf)
            assert (lines, bytes(buffer.octets), outcome) == expected, (stream, limit, bare_lf)


@given(stream=STREAMS, cuts=CUTS, limit=st.integers(2, 12), bare_lf=st.booleans())
def test_lines_and_limits_do_not_depend_on_the_cuts(
    stream: bytes, cuts: list[int], limit: int, bare_lf: bool
):
    expected, _, fault = lines_of(stream, limit, bare_lf=bare_lf)
    buffer, lines, outcome = ReceiveBuffer(), [], None
    for piece in pieces(stream, cuts):
        buffer.append(piece)
        outcome = read_lines(buffer, limit, bare_lf=bare_lf, lines=lines)
        if outcome:
            break
        assert len(buffer) < limit, "what waits for its line end is within the limit"
    assert (lines, outcome) == (expected, fault)


@pytest.mark.parametrize("bare_lf", [False, True])
@pytest.mark.parametrize("limit", [2, 3, 64])
def test_a_line_of_the_limit_passes_and_one_octet_more_does_not_for_every_cut(limit: int, bare_lf: bool):
    line = b"x" * (limit - 2)
    for extra in (b"", b"x"):
        stream = line + extra + b"\r\nNOOP\r\n"
        for at in range(len(stream)):
            buffer, lines = ReceiveBuffer(), []
            outcome = None
            for piece in (stream[:at], stream[at:]):
                buffer.append(piece)
                outcome = outcome or read_lines(buffer, limit, bare_lf=bare_lf, lines=lines)
            if extra:
                assert (lines, outcome) == ([], TOO_LONG)
                assert bytes(buffer.octets) == stream, "a line that is refused stays where it is"
            else:
                assert lines[0] == line


def test_a_search_begins_anew_when_the_kind_of_line_end_changes():
    buffer = ReceiveBuffer()
    buffer.append(b"one\r")
    assert buffer.read_line(99, bare_lf=False) is None
    buffer.append(b"\ntwo\n")
    assert buffer.read_line(99, bare_lf=True) == b"one"
    assert buffer.read_line(99, bare_lf=False) is None
    buffer.append(b"\r\n")
    assert buffer.read_line(99, bare_lf=False) == b"two\n"


@given(stream=STREAMS, cuts=CUTS, bare_lf=st.booleans())
def test_skipping_a_line_drops_it_and_its_end_and_no_more(stream: bytes, cuts: list[int], bare_lf: bool):
    end = b"\n" if bare_lf else b"\r\n"
    buffer, skipped = ReceiveBuffer(), False
    for piece in pieces(stream, cuts):
        buffer.append(piece)
        skipped = skipped or buffer.skip_line(bare_lf=bare_lf)
        assert skipped or len(buffer) <= 1
    assert skipped == (end in stream)
    if skipped:
        assert bytes(buffer.octets) == stream.partition(end)[2]


@given(stream=STREAMS, counts=several(range(10), 9))
def test_taking_cuts_off_the_front_and_stops_at_the_end(stream: bytes, counts: list[int]):
    buffer = ReceiveBuffer()
    buffer.append(stream)
    taken = [buffer.take(count) for count in counts]
    assert b"".join(taken) + bytes(buffer.octets) == stream
    assert len(buffer) == max(0, len(stream) - sum(counts))
    assert all(len(one) == count for one, count in zip(taken, counts, strict=True) if len(buffer))


# Linear time, counted: test_limits.py measures it.


class Counted(bytearray):
    """Counts the octets that are searched or copied."""

    touched = 0

    def find(self, sub: Any, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        end = len(self) if end is None else min(end, len(self))
        at = super().find(sub, start, end)
        self.touched += max(0, (end if at < 0 else at) - start) + 1
        return at

    def endswith(self, suffix: Any, *span: Any) -> bool:
        self.touched += len(suffix)
        return super().endswith(suffix, *span)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.touched += len(found) if isinstance(index, slice) else 1
        return found


def long_line(buffer: ReceiveBuffer) -> Callable[[], object]:
    return lambda: buffer.read_line(10**9, bare_lf=False)


def long_line_with_bare_lf(buffer: ReceiveBuffer) -> Callable[[], object]:
    return lambda: buffer.read_line(10**9, bare_lf=True)


def skipped_line(buffer: ReceiveBuffer) -> Callable[[], object]:
    return lambda: buffer.skip_line(bare_lf=False)


def reply(buffer: ReceiveBuffer) -> Callable[[], object]:
    reader = ReplyReader(Limits(reply_lines=10**9, reply_octets=10**9), bare_lf=True)
    return lambda: reader.read(buffer)


def body(buffer: ReceiveBuffer) -> Callable[[], object]:
    reader = DataReader(LineEnds.PRESERVE, Limits())
    return lambda: reader.read(buffer)


def chunk(buffer: ReceiveBuffer) -> Callable[[], object]:
    reader = ChunkReader(Limits())
    reader.begin(10**9, last=True)
    return lambda: reader.read(buffer)


@pytest.mark.parametrize(
    ("read", "unit"),
    [
        (long_line, b"a"),
        (long_line, b"\r"),
        (long_line, b"\n"),
        (long_line_with_bare_lf, b"\r"),
        (skipped_line, b"a"),
        (skipped_line, b"\r"),
        (reply, b"250-x\r\n"),
        (reply, b"250-\n"),
        (body, b"."),
        (body, b"\r"),
        (body, b"\r\n."),
        (body, b"\r\n.\r"),
        (body, b"text\r\n"),
        (chunk, b"a"),
    ],
)
def test_every_octet_is_touched_a_bounded_number_of_times(
    read: Callable[[ReceiveBuffer], Callable[[], object]], unit: bytes
):
    for size in (2_000, 4_000):
        buffer = ReceiveBuffer()
        buffer.octets = counted = Counted()
        go_on = read(buffer)
        for octet in (unit * size)[:size]:
            buffer.append(bytes((octet,)))
            go_on()
        assert type(buffer.octets) is Counted
        assert counted.touched <= 20 * size
