"""Replies without a conversation: whatever a server writes is a reply with a code, or one without; for every
cut of the stream; and no more of it than the limits allow.
"""

from __future__ import annotations

import pytest
from helpers import every, pieces
from hypothesis import given
from hypothesis import strategies as st
from strategies import several

from smtp_proto import CLOSED, NEED_DATA, Limits, RawReply, RemoteProtocolError, ReplyStream, Signal

CUTS = several(range(1, 61), 12)
LINES = st.lists(
    st.sampled_from(
        [b"250 ok", b"250-more", b"199 no", b"250", b"25", b"", b"hello", b"354-\0\r", b"999\xff"]
    )
)


def replies(stream: ReplyStream) -> list[RawReply]:
    """What is there."""
    found = []
    while not isinstance(event := stream.next_event(), Signal):
        found.append(event)
    return found


@every(
    ("octets", "code", "texts"),
    [
        (b"250 ok\r\n", 250, [b"ok"]),
        (b"250 ok\n", 250, [b"ok"]),
        (b"250\r\n", 250, [b""]),
        (b"250-a\r\n250 b\r\n", 250, [b"a", b"b"]),
        (b"250-a\r\n550 b\r\n", 550, [b"a", b"b"]),
        (b"250-a\r\nwhat?\r\n", None, [b"a", b"?"]),
        (b"199 no\r\n", 199, [b"no"]),
        (b"250:a-b\r\n", 250, [b"a-b"]),
        (b"250- a \r\n250 \t\xff\r\n", 250, [b" a ", b"\t\xff"]),
        (b"25\r\n", None, [b""]),
        (b"+25 a\r\n", None, [b"a"]),
        (b"\r\n", None, [b""]),
    ],
)
def test_a_reply_has_the_code_of_its_last_line(octets: bytes, code: int | None, texts: list[bytes]) -> None:
    stream = ReplyStream()
    stream.receive_data(octets)
    [reply] = replies(stream)
    assert reply.code == code
    assert list(reply.texts) == texts
    assert b"".join(line.rstrip(b"\r") for line in reply.lines) == octets.translate(None, b"\r\n")


@given(LINES, st.sampled_from([b"\r\n", b"\n"]), CUTS)
def test_the_cuts_of_the_stream_decide_nothing(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    octets = b"".join(line + end for line in lines)
    whole = ReplyStream()
    whole.receive_data(octets)
    expected = replies(whole)
    stream = ReplyStream()
    found = []
    for piece in pieces(octets, cuts):
        stream.receive_data(piece)
        found += replies(stream)
    assert found == expected


def test_it_ends_where_the_connection_ends_and_a_piece_of_a_reply_is_none() -> None:
    stream = ReplyStream()
    assert stream.next_event() is NEED_DATA
    stream.receive_data(b"250 a\r\n250-b\r\n25")
    assert replies(stream) == [RawReply(250, (b"250 a",), (b"a",))]
    assert stream.trailing_data == b"25"
    assert stream.next_event() is NEED_DATA
    stream.receive_data(b"")
    assert stream.next_event() is CLOSED


LIMITS = Limits(reply_line=20, reply_lines=3, reply_octets=40)


FULL = b"250-" + b"a" * 14 + b"\r\n"


@pytest.mark.parametrize(
    ("most", "more", "code"),
    [
        (b"250 " + b"a" * 14 + b"\r\n", b"250 " + b"a" * 15 + b"\r\n", 500),
        (b"250-a\r\n" * 2 + b"250 a\r\n", b"250-a\r\n" * 4, 501),
        (FULL + FULL.replace(b"-", b" "), FULL * 2 + b"250\r\n", 501),
    ],
)
def test_a_reply_is_bounded(most: bytes, more: bytes, code: int) -> None:
    stream = ReplyStream(LIMITS)
    stream.receive_data(most)
    assert len(replies(stream)) == 1
    stream.receive_data(most + more)
    assert isinstance(stream.next_event(), RawReply)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as caught:
            replies(stream)
        assert caught.value.code == code


def test_after_a_reply_is_counted_anew() -> None:
    stream = ReplyStream(LIMITS)
    for _ in range(10):
        stream.receive_data(b"250-aaaaaaaa\r\n250 aaaaaaaa\r\n")
        assert len(replies(stream)) == 1
