"""MAIL, RCPT and DATA, as most clients say them, are read in one look: to the same end as word by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import COMMANDS

from smtp_proto import Data, Limits, LocalProtocolError, Mail, Rcpt
from smtp_proto._envelope import read_envelope
from smtp_proto._readers import read_command
from smtp_proto._receive_buffer import ReceiveBuffer
from smtp_proto._writers import WRITERS

LIMITS = Limits()
BEHIND = b"RSET\r\n"

ENVELOPES = st.one_of(COMMANDS[Mail], COMMANDS[Rcpt], COMMANDS[Data])
LINES = ENVELOPES.map(lambda command: WRITERS[type(command)](command)[:-2])
# What lines are made of that most would say, and what such lines do not hold.
SCRAPS = [
    b"MAIL FROM:<",
    b"rcpt to: <",
    b"a@b.example",
    b"@x:",
    b'"a b"@c',
    b"a@[1.2.3.4]",
    b"<",
    b">",
    b"> SIZE=9",
]
OTHERS = [b" ", b"\r", b"\n", b"\0", b"\xc3\xa4", b"DATA", b"postmaster", b"." + b"a" * 64, b"b" * 250]
NEARLY = st.lists(st.sampled_from(SCRAPS + OTHERS), max_size=6).map(b"".join)


def in_front(line: bytes) -> tuple[ReceiveBuffer, tuple[bytes, object] | None]:
    buffer = ReceiveBuffer()
    buffer.append(line + b"\r\n" + BEHIND)
    return buffer, read_envelope(buffer, LIMITS)


def path_in(command: object) -> tuple[object, ...]:
    """All that a path knows of itself, besides its text."""
    if not isinstance(command, Mail | Rcpt):
        return ()
    path = command.reverse_path if isinstance(command, Mail) else command.forward_path
    return path.domain, path.local_part, path.route, path.is_ascii


@given(line=LINES | NEARLY)
def test_what_is_read_in_one_look_is_what_is_read_word_by_word(line: bytes):
    buffer, found = in_front(line)
    if found is None:
        assert buffer.octets == line + b"\r\n" + BEHIND, "nothing was taken"
        return
    command = read_command(line, LIMITS)
    assert (found, path_in(found[1])) == ((line, command), path_in(command))
    assert buffer.octets == BEHIND


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<a@b.example>",
        b"mail from:<a.b+c@d-e.example> size=1000 BODY=8BITMIME",
        b"RCPT  TO:  <a@b>",
        b"RCPT TO:<a@b.example> NOTIFY=NEVER",
        b"Rcpt To:<" + b"a" * 251 + b"@b.c>",
        b"DATA",
        b"data",
    ],
)
def test_most_envelopes_are_read_in_one_look(line: bytes):
    assert in_front(line)[1] == (line, read_command(line, LIMITS))


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<>",
        b"RCPT TO:<postmaster>",
        b'MAIL FROM:<"a b"@c.example>',
        b"MAIL FROM:<a@[192.0.2.1]>",
        b"RCPT TO:<@x.example:a@b.example>",
        "RCPT TO:<ä@b.example>".encode(),
        b"RCPT TO:<" + b"a" * 252 + b"@b.c>",
        b"DATA ",
        b"RSET",
    ],
)
def test_others_are_looked_at_more_closely(line: bytes):
    assert in_front(line)[1] is None
    assert read_command(line, LIMITS)


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<a@b.example> SIZE=1 SIZE=1",
        b"MAIL FROM:<a@b.example> =",
        b"MAIL FROM:<a@b.example>SIZE=1",
        b"MAIL FROM:<a@b..example>",
        b"RCPT TO:<a@b.example>\rx",
        b"RCPT TO:<a@b.example> \n",
        b"RCPT TO:<a@" + b"b" * 64 + b">",
        b"RCPT TO:<a@" + b".".join([b"b" * 63] * 4) + b".b>",
        b"DATA x",
    ],
)
def test_what_is_wrong_with_one_is_told_by_the_closer_look(line: bytes):
    assert in_front(line)[1] is None
    with pytest.raises(LocalProtocolError):
        read_command(line, LIMITS)


def test_the_limit_of_a_line_is_exact_for_the_one_look_too():
    line = b"MAIL FROM:<a@b.example> X-A="
    for more, is_read in (
        (LIMITS.command_line - len(line) - 2, True),
        (LIMITS.command_line - len(line) - 1, False),
    ):
        assert (in_front(line + b"x" * more)[1] is not None) is is_read


def test_what_comes_in_pieces_is_left_to_the_search_that_goes_on_where_it_stopped():
    buffer = ReceiveBuffer()
    buffer.append(b"DATA\r")
    assert read_envelope(buffer, LIMITS) is None
    assert buffer.read_line(9, bare_lf=False) is None
    buffer.append(b"\n")
    assert read_envelope(buffer, LIMITS) is None
    assert buffer.read_line(9, bare_lf=False) == b"DATA"
