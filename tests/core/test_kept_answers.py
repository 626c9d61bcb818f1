"""A client that meets a server again reads its answer to EHLO as before, and keeps little of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_proto import (
    ClientConnection,
    Ehlo,
    Features,
    Hello,
    Lhlo,
    Limits,
    RemoteProtocolError,
    Reply,
    Vrfy,
)
from smtp_proto._readers import find_lines_again
from smtp_proto._replies import offered_again

TEXTS = st.text([chr(point) for point in range(0x20, 0x7F)] + ["ä", "\udc80"], max_size=20)


DEFAULT = Limits()


def greeted(limits: Limits = DEFAULT, *, lmtp: bool = False) -> ClientConnection:
    conn = ClientConnection(lmtp=lmtp, limits=limits)
    conn.receive_data(b"220 mx\r\n")
    conn.next_event()
    conn.send(Lhlo(domain="client.example") if lmtp else Ehlo(domain="client.example"))
    return conn


def hear(conn: ClientConnection, octets: bytes) -> Hello:
    conn.receive_data(octets)
    hello = conn.next_event()
    assert isinstance(hello, Hello)
    return hello


def spelled(lines: list[str]) -> bytes:
    """An answer to EHLO."""
    separators = ["-"] * (len(lines) - 1) + [" "]
    text = "".join(f"250{separator}{line}\r\n" for separator, line in zip(separators, lines, strict=True))
    return text.encode("utf-8", "surrogateescape")


@given(lines=st.lists(TEXTS, min_size=2, max_size=5))
def test_an_answer_heard_again_is_read_as_before(lines: list[str]):
    first, second = hear(greeted(), spelled(lines)), hear(greeted(lmtp=True), spelled(lines))
    assert first.lines == second.lines == tuple(lines)
    assert first == second
    assert first.features == second.features == Features.from_lines(lines[1:])
    assert first.features.size == second.features.size


def test_an_answer_heard_again_is_not_read_again():
    octets = spelled(["mx.example", "PIPELINING", "SIZE 1000"])
    first, second = hear(greeted(), octets), hear(greeted(), octets)
    assert first is not second
    assert first.features is second.features


@pytest.mark.parametrize("kept", [find_lines_again, offered_again])
def test_what_is_kept_of_servers_is_bounded(kept: Any):
    for number in range(200):
        hello = hear(greeted(), spelled(["mx.example", f"X{number}"]))
        assert hello.features == {f"X{number}": ()}
    assert kept.cache_info().currsize == kept.cache_info().maxsize < 100
    before = kept.cache_info()
    long = ["mx.example", *[f"X{number} {'x' * 100}" for number in range(10)]]
    assert hear(greeted(), spelled(long)).features == Features.from_lines(long[1:])
    assert kept.cache_info() == before


def test_no_other_answer_is_kept():
    conn = greeted()
    hear(conn, spelled(["mx.example", "PIPELINING"]))
    before = find_lines_again.cache_info()
    conn.send(Vrfy(argument="bob"))
    conn.receive_data(spelled(["Bob <bob@example.com>", "Bob <bob@example.org>"]))
    reply = conn.next_event()
    assert isinstance(reply, Reply)
    assert len(reply.lines) == 2
    assert find_lines_again.cache_info() == before


@pytest.mark.parametrize("limits", [Limits(reply_lines=2), Limits(reply_line=15), Limits(reply_octets=20)])
def test_an_answer_known_from_elsewhere_is_held_against_the_limits(limits: Limits):
    octets = spelled(["mx.example", "PIPELINING", "SIZE 1000"])
    hear(greeted(), octets)
    with pytest.raises(RemoteProtocolError):
        hear(greeted(limits), octets)


def test_what_stands_behind_an_answer_is_not_part_of_it():
    octets = spelled(["mx.example", "PIPELINING"])
    hear(greeted(), octets)
    conn = greeted()
    assert hear(conn, octets + b"421 ").features == {"PIPELINING": ()}
    assert conn.trailing_data == b"421 "
