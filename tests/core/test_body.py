"""CRLF "." CRLF and nothing else ends a message: both ways, under every policy, for every cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from operator import attrgetter
from random import Random
from typing import Any

import pytest
from helpers import every, pieces
from hypothesis import given
from hypothesis import strategies as st
from strategies import several

from smtp_proto import Limits, LineEnds, LocalProtocolError, Reply
from smtp_proto._body import ChunkReader, ChunkWriter, DataReader, DataWriter
from smtp_proto._limits import DEFAULT_LIMITS
from smtp_proto._receive_buffer import ReceiveBuffer

ALPHABET = (b"\r", b"\n", b".", b"a")
END = b"\r\n.\r\n"
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
ANY_LINE_END = re.compile(rb"\r\n|\r|\n")
DOT_AT_LINE_START = re.compile(rb"(?m)^\.")

OCTETS = several([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\0", b"a" * 5, END], 16).map(b"".join)
CUTS = several(range(1, 61), 12)


@cache
def all_strings() -> list[bytes]:
    """The 87,381 strings over {CR, LF, dot, a} of up to eight octets."""
    return [b"".join(octets) for length in range(9) for octets in product(ALPHABET, repeat=length)]


def octet_by_octet(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


class Decoder(DataReader):
    """A reader together with what it has left in its buffer."""

    __slots__ = ("held",)

    def __init__(self, line_ends: LineEnds) -> None:
        super().__init__(line_ends, DEFAULT_LIMITS)
        self.held = b""

    def write(self, data: bytes) -> bytes:
        buffer = ReceiveBuffer()
        buffer.append(self.held + data)
        content = self.read(buffer)
        self.held = bytes(buffer.octets)
        return content


class Walk:
    """A decoder or a writer in one of its states, and where each piece leads from there.

    A state is all that its slots hold. Most of the strings lead where another has led before, and a
    piece that came in the same state before is not worked on again.
    """

    def __init__(self, there: Any, known: dict[Any, Walk] | None = None) -> None:
        self.there = there
        names = [name for cls in type(there).__mro__[:-1] for name in cls.__slots__]
        self._state = attrgetter(*names)
        state = self._state(there)
        self._slots = list(zip(names, state, strict=True))
        self._known = {} if known is None else known
        self._known[state] = self
        self._led: dict[bytes, tuple[bytes, Walk]] = {}

    def write(self, piece: bytes) -> tuple[bytes, Walk]:
        """What `piece` makes, and where it leads."""
        led = self._led.get(piece)
        if led is None:
            twin = object.__new__(type(self.there))
            for name, value in self._slots:
                setattr(twin, name, value)
            made = twin.write(piece)
            led = self._led[piece] = made, self._known.get(self._state(twin)) or Walk(twin, self._known)
        return led


def reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """RFC 5321 4.1.1.4 and 4.5.2 word for word: the content and what is behind its end, if it has ended."""
    content = []
    *lines, unfinished = stream.split(b"\r\n")
    for number, line in enumerate(lines):
        if line == b".":
            return b"".join(content), b"\r\n".join([*lines[number + 1 :], unfinished])
        content.append((line[1:] if line[:1] == b"." else line) + b"\r\n")
    return None


def ends_at(stream: bytes) -> tuple[bytes, bytes]:
    """`reference` for a stream that ends for sure."""
    decoded = reference(stream)
    assert decoded is not None
    return decoded


def regular(body: bytes) -> bytes:
    """What arrives of `body`: every line end is CRLF, and there is one at the end."""
    body = ANY_LINE_END.sub(b"\r\n", body)
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def stuffed(body: bytes) -> bytes:
    """`body` on the wire: no bare CR or LF, a dot more where a line begins with one, and the end."""
    return DOT_AT_LINE_START.sub(b"..", regular(body)) + b".\r\n"


def decode(
    stream: Iterable[bytes], line_ends: LineEnds, limits: Limits = DEFAULT_LIMITS
) -> tuple[bytes, bytes, DataReader]:
    buffer, reader, content = ReceiveBuffer(), DataReader(line_ends, limits), b""
    for piece in stream:
        buffer.append(piece)
        content += reader.read(buffer)
    return content, bytes(buffer.octets), reader


def encode(
    body: Iterable[bytes], line_ends: LineEnds = LineEnds.NORMALIZE, *, line_limit: int | None = 998
) -> bytes:
    writer = DataWriter(line_ends, line_limit, allow_nul=True)
    return b"".join([*map(writer.write, body), writer.end()])


# Where it ends


def test_every_string_ends_where_the_reference_says_whole_and_cut_anywhere():
    random = Random(7).random
    for string in all_strings():
        stream = string + END
        expected, rest = ends_at(stream)
        bare = BARE.search(expected)
        allowed = expected[: bare.start()] if bare else expected
        content, left, reader = decode((stream,), LineEnds.STRICT)
        assert (content, left, reader.refusal is None) == (allowed, rest, bare is None), string

        at = 1 + int(random() * (len(stream) - 1))
        content, left, reader = decode((stream[:at], stream[at:]), LineEnds.NORMALIZE)
        normal = ANY_LINE_END.sub(b"\r\n", expected) if bare else expected
        assert (content, left, reader.refusal) == (normal, rest, None), (string, at)


def test_every_string_octet_by_octet_ends_with_the_octet_that_the_reference_says():
    def go_on(string: bytes, walk: Walk, content: bytes) -> None:
        """`string` was read one octet at a time, and so will be every string that begins with it."""
        expected = reference(string)
        reader = walk.there
        assert reader.ended == (expected is not None), string
        if expected is not None:
            assert (content, reader.held) == expected, string
            return
        if len(string) == 8:
            more, walk = walk.write(END)
            reader = walk.there
            assert (content + more, reader.held, reader.ended) == (*ends_at(string + END), True), string
            return
        for octet in ALPHABET:
            more, following = walk.write(octet)
            go_on(string + octet, following, content + more)

    go_on(b"", Walk(Decoder(LineEnds.PRESERVE)), b"")


# What is sent


def test_every_string_is_sent_octet_by_octet_so_that_it_comes_back_regular_and_ends_once():
    @cache  # many strings are one on the wire
    def read(wire: bytes) -> tuple[bytes, bytes, bool]:
        content, rest, reader = decode([wire], LineEnds.STRICT)
        return content, rest, reader.ended

    def go_on(string: bytes, walk: Walk, sent: bytes) -> None:
        """`string` was written one octet at a time, and so will be every string that begins with it."""
        wire = sent + walk.there.end()
        assert wire == stuffed(string), string
        assert read(wire) == (regular(string), b"", True), string
        for octet in ALPHABET if len(string) < 8 else ():
            more, following = walk.write(octet)
            go_on(string + octet, following, sent + more)

    go_on(b"", Walk(DataWriter(LineEnds.NORMALIZE, 998, allow_nul=False)), b"")


def test_every_string_is_sent_whole_and_strictly_only_without_bare_line_ends():
    for string in all_strings():
        bare = BARE.search(string)
        try:
            wire = encode([string], LineEnds.STRICT)
        except LocalProtocolError:
            assert bare, string
            wire = encode([string])
        else:
            assert not bare, string
        assert wire == stuffed(string), string


@given(
    body=st.lists(OCTETS, max_size=8),
    line_ends=st.sampled_from([LineEnds.NORMALIZE, LineEnds.STRICT]),
    line_limit=st.none() | st.integers(0, 12),
    allow_nul=st.booleans(),
)
def test_a_piece_that_is_refused_changes_nothing_and_cuts_mean_nothing(
    body: list[bytes], line_ends: LineEnds, line_limit: int | None, allow_nul: bool
):
    writer = DataWriter(line_ends, line_limit, allow_nul=allow_nul)
    accepted, wire = b"", b""
    for piece in body:
        try:
            wire += writer.write(piece)
        except LocalProtocolError:
            continue
        accepted += piece
    if line_ends is LineEnds.STRICT and accepted.endswith(b"\r"):
        with pytest.raises(LocalProtocolError, match="bare CR"):
            writer.end()
        accepted += b"\n"  # nothing is changed: the line can still be completed
        wire += writer.write(b"\n")
    assert wire + writer.end() == encode([accepted])


@pytest.mark.parametrize("line_ends", [LineEnds.NORMALIZE, LineEnds.STRICT])
def test_a_piece_of_no_octets_changes_nothing(line_ends: LineEnds):
    whole = encode([b"a\r\n.\r\n"], line_ends)
    assert encode([b"", b"a\r", b"", b"", b"\n", b"", b".", b"", b"\r\n", b""], line_ends) == whole


@given(body=OCTETS, cuts=CUTS, line_limit=st.integers(0, 12), allow_nul=st.booleans())
def test_nul_and_long_lines_are_not_sent_however_the_body_is_cut(
    body: bytes, cuts: list[int], line_limit: int, allow_nul: bool
):
    writer = DataWriter(LineEnds.NORMALIZE, line_limit, allow_nul=allow_nul)
    too_long = any(len(line) > line_limit for line in regular(body).split(b"\r\n"))
    refused = too_long or (b"\0" in body and not allow_nul)
    try:
        for piece in pieces(body, cuts):
            writer.write(piece)
    except LocalProtocolError:
        assert refused
    else:
        assert not refused


@pytest.mark.parametrize("line", [b"a" * 998, b"." * 998], ids=["text", "dots"])
@pytest.mark.parametrize("before", [b"", b"first\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("after", [b"", b"\r\n", b"\n", b"\r", b"\r\nlast\r\n"])
def test_a_line_of_998_octets_is_sent_and_one_of_999_is_not_for_every_cut(
    line: bytes, before: bytes, after: bytes
):
    body, longer = before + line + after, before + line + b"a" + after
    wire = encode([body])
    for at in range(0, len(body) + 1, 7 if before else 1):
        assert encode([body[:at], body[at:]]) == wire
        with pytest.raises(LocalProtocolError, match="longer than 998"):
            encode([longer[:at], longer[at:]])


def test_lines_of_any_length_are_sent_where_there_is_no_limit():
    body = b"a" * 100_000 + b"\r\n"
    assert encode([body], line_limit=None) == body + b".\r\n"


# What is received, against limits


def judged(stream: bytes, line_ends: LineEnds, limits: Limits) -> tuple[bytes, int | None, int | None]:
    """What must come of this stream: the content handed out, the code of the refusal, that of the fault."""
    content, _ = ends_at(stream)
    reasons = []
    if line_ends is LineEnds.NORMALIZE:
        content = ANY_LINE_END.sub(b"\r\n", content)
    if line_ends is LineEnds.STRICT and (bare := BARE.search(content)):
        reasons.append((bare.start(), 550))
    if limits.message_size is not None and len(content) > limits.message_size:
        reasons.append((limits.message_size, 552))
    if not reasons:
        return content, None, None
    at, code = min(reasons)
    return content[:at], code, 421 if len(content) - at > limits.refused_octets else None


def check_judgement(
    stream: bytes, cut: Callable[[bytes], Iterable[bytes]], line_ends: LineEnds, limits: Limits
) -> None:
    buffer, reader, content = ReceiveBuffer(), DataReader(line_ends, limits), b""
    fault = None
    try:
        for piece in cut(stream):
            buffer.append(piece)
            while data := reader.read(buffer):
                content += data
    except LocalProtocolError as exc:
        fault = exc.code
    refusal = reader.refusal and reader.refusal.code
    assert (content, refusal, fault) == judged(stream, line_ends, limits), stream
    assert reader.nul == (b"\0" in content), stream
    limit = limits.text_line
    too_long = limit is not None and any(len(line) > limit for line in content.split(b"\r\n"))
    assert reader.long_lines == too_long, stream
    if not fault:
        assert reader.ended, stream
        assert bytes(buffer.octets) == ends_at(stream)[1], stream


@given(
    body=OCTETS,
    cuts=CUTS,
    line_ends=st.sampled_from(LineEnds),
    limits=st.builds(
        Limits,
        message_size=st.none() | st.integers(0, 40),
        refused_octets=st.integers(0, 40),
        text_line=st.none() | st.integers(0, 8),
    ),
)
def test_what_comes_of_a_body_depends_on_its_octets_and_not_on_the_cuts(
    body: bytes, cuts: list[int], line_ends: LineEnds, limits: Limits
):
    check_judgement(body + END + b"NOOP\r\n", lambda stream: pieces(stream, cuts), line_ends, limits)


def test_what_comes_of_every_short_body_depends_on_its_octets_and_not_on_the_cuts():
    limits = Limits(message_size=2, refused_octets=3, text_line=0)
    for tokens, line_ends in product(product((b"\r\n", b"\n", b".", b"aa"), repeat=4), LineEnds):
        stream = b"".join(tokens) + END
        check_judgement(stream, octet_by_octet, line_ends, limits._replace(message_size=None))
        check_judgement(stream, octet_by_octet, line_ends, limits)
        check_judgement(stream, lambda octets: [octets], line_ends, limits)


@every("line_ends", LineEnds)
@every("size", [0, 2, 100])
def test_the_size_limit_is_exact_and_stuffed_dots_do_not_count(line_ends: LineEnds, size: int):
    body = (b"." * size)[:-2] + b"\r\n" if size else b""
    wire = encode([body]) + b"RSET\r\n"
    for cut in [wire], octet_by_octet(wire):
        content, rest, reader = decode(cut, line_ends, Limits(message_size=size))
        assert (content, rest, reader.refusal) == (body, b"RSET\r\n", None)
    wire = encode([b"a" + body]) + b"RSET\r\n"
    for cut in [wire], octet_by_octet(wire):
        content, rest, reader = decode(cut, line_ends, Limits(message_size=size))
        assert (content, rest, reader.ended) == ((b"a" + body + b"\r\n")[:size], b"RSET\r\n", True)
        assert reader.refusal == Reply(code=552, enhanced="5.3.4", text=f"message of more than {size} octets")


@pytest.mark.parametrize("length", [998, 999])
def test_lines_over_998_octets_are_received_and_flagged_for_every_cut(length: int):
    wire = b"first\r\n" + b"a" * length + b"\r\nlast\r\n.\r\n"
    for at in range(len(wire)):
        content, _, reader = decode([wire[:at], wire[at:]], LineEnds.STRICT)
        assert content == wire[:-3]
        assert reader.long_lines == (length > 998)


# Chunks


@given(data=st.binary(max_size=60), cuts=CUTS, rest=st.binary(max_size=9), last=st.booleans())
def test_chunks_are_written_and_read_as_they_are(data: bytes, cuts: list[int], rest: bytes, last: bool):
    writer = ChunkWriter(len(data), last)
    wire = b"".join(map(writer.write, pieces(data, cuts))) + writer.end()
    assert (wire, writer.missing, writer.last) == (data, 0, last)

    buffer, reader = ReceiveBuffer(), ChunkReader(DEFAULT_LIMITS)
    for size in (len(data), len(rest)):
        reader.begin(size, last)
        assert (reader.missing, reader.last) == (size, last)
    reader.begin(len(data), last)
    content = b""
    for piece in pieces(wire + rest, cuts):
        buffer.append(piece)
        content += reader.read(buffer)
    assert (content, reader.missing, bytes(buffer.octets)) == (data, 0, rest)
    assert (reader.size, reader.refusal) == (len(data), None)


@given(size=st.integers(0, 9), data=st.binary(max_size=12))
def test_a_chunk_takes_exactly_as_many_octets_as_it_announced(size: int, data: bytes):
    writer = ChunkWriter(size, last=True)
    if len(data) > size:
        with pytest.raises(LocalProtocolError):
            writer.write(data)
        data = data[:size]
    assert writer.write(data) == data
    if len(data) < size:
        with pytest.raises(LocalProtocolError, match=f"lacks {size - len(data)} octets"):
            writer.end()
    else:
        assert writer.end() == b""


@given(sizes=several(range(10), 6), step=st.integers(1, 9), allowed=st.integers(0, 30))
def test_refused_chunks_are_eaten_up_to_the_limit(sizes: list[int], step: int, allowed: int):
    stream = b"x" * sum(sizes)
    buffer, reader = ReceiveBuffer(), ChunkReader(Limits(refused_octets=allowed))
    first, second = Reply(code=552, text="first"), Reply(code=550, text="second")
    reader.refuse(first, reader.size)
    reader.refuse(second, reader.size)
    eaten = 0
    try:
        for size in sizes:
            reader.begin(size, last=False)
            while reader.missing:
                buffer.append(stream[eaten : eaten + step])
                assert reader.read(buffer) == b""
                eaten += step
    except LocalProtocolError as fatal:
        code: int | None = fatal.code
    else:
        code = None
    assert code == (421 if len(stream) > allowed else None)
    assert reader.refusal == first
