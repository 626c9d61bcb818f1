"""Every limit is exact for every cut, and what has no end costs linear time and bounded memory."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from time import process_time
from typing import Any, NamedTuple

import pytest
from helpers import ALL_FEATURES, copies, feed, pieces
from hypothesis import assume, given
from strategies import several

from smtp_proto import (
    NEED_DATA,
    Auth,
    AuthChallenge,
    AuthResponse,
    Bdat,
    ClientConnection,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Features,
    Greeting,
    Hello,
    Limits,
    MalformedCommand,
    MessageData,
    Noop,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    Signal,
    Timer,
    UnknownCommand,
)

FEATURES = Features({**ALL_FEATURES, **{f"X{number}": () for number in range(10)}})
ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
ONE_READ = 65536
BROKEN = -1  # a client has no code for what it cannot understand


def client(limits: Limits) -> ClientConnection:
    return ClientConnection(limits=limits)


def asked(limits: Limits) -> ClientConnection:
    """A client that waits for a reply of which only the text matters."""
    conn = client(limits)
    feed(conn, b"220 mx\r\n")
    conn.send(Ehlo(domain="c.example"))
    feed(conn, b"250 mx\r\n")
    conn.send(Noop())
    return conn


def server(limits: Limits, *commands: bytes) -> ServerConnection:
    """A server that has taken EHLO and these commands."""
    conn = ServerConnection(limits=limits)
    conn.send(Greeting(domain="mx.example"))
    for command in (b"EHLO c.example\r\n", *commands):
        assert codes(conn, [command]) == []
    conn.data_to_send()
    return conn


def in_data(limits: Limits) -> ServerConnection:
    return server(limits, ENVELOPE, b"DATA\r\n")


def in_transaction(limits: Limits) -> ServerConnection:
    return server(limits, ENVELOPE)


def answer(conn: ServerConnection, event: Command) -> Reply:
    """What a server says that takes everything it may take."""
    match event:
        case MalformedCommand():
            return event.reply
        case Bdat() | EndOfMessage() if event.refusal is not None:
            return event.refusal
        case Ehlo():
            return Hello(domain="mx.example", features=FEATURES)
        case Auth() | AuthResponse():
            return AuthChallenge(data=b"")
        case Data():
            return Reply(code=354)
        case UnknownCommand():
            return Reply(code=502)
    return Reply(code=250)


def codes(conn: ServerConnection | ClientConnection, chunks: Iterable[bytes]) -> list[int]:
    """The code of everything that was refused; below zero for what ended the conversation."""
    refused = []
    waiting: Command | None = None
    try:
        for chunk in chunks:
            conn.receive_data(chunk)
            while (event := conn.next_event()) is not NEED_DATA:
                if isinstance(conn, ClientConnection):
                    continue
                if isinstance(event, Bdat):
                    waiting = event  # answered when its octets are in
                    continue
                if isinstance(event, MessageData):
                    continue
                if isinstance(event, EndOfMessage):
                    waiting = None
                asked = waiting if isinstance(event, Signal) else event
                assert asked is not None
                reply = answer(conn, asked)
                conn.send(reply)
                conn.data_to_send()
                if reply.code >= 400:
                    refused.append(reply.code)
    except RemoteProtocolError as fault:
        refused.append(BROKEN if isinstance(conn, ClientConnection) else -fault.code)
    return refused


def single(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


class Case(NamedTuple):
    """`stream(n)` reaches a limit of n, and `begin` gives the connection that reads it."""

    field: str
    limit: int
    begin: Callable[[Limits], Any]
    stream: Callable[[int], bytes]
    code: int
    """What `codes` says of one more than the limit."""


CASES = {
    "a reply's line": Case("reply_line", 40, client, lambda n: b"220 %b\r\n" % (b"x" * (n - 6)), BROKEN),
    "a reply's line with bare LF": Case(
        "reply_line", 40, client, lambda n: b"220 %b\n" % (b"x" * (n - 5)), BROKEN
    ),
    "a plain reply": Case("reply_line", 40, asked, lambda n: b"250 %b\r\n" % (b"x" * (n - 6)), BROKEN),
    "the octets of a plain reply": Case(
        "reply_octets", 40, asked, lambda n: b"250 %b\r\n" % (b"x" * (n - 6)), BROKEN
    ),
    "the lines of a plain reply": Case(
        "reply_lines", 4, asked, lambda n: b"250-\r\n" * (n - 1) + b"250\r\n", BROKEN
    ),
    "the lines of a reply": Case(
        "reply_lines", 4, client, lambda n: b"220-\r\n" * (n - 1) + b"220\r\n", BROKEN
    ),
    "the octets of a reply": Case(
        "reply_octets",
        50,
        client,
        lambda n: b"220-0123456789\r\n" + b"220 %b\r\n" % (b"x" * (n - 22)),
        BROKEN,
    ),
    "a command": Case("command_line", 40, server, lambda n: b"NOOP %b\r\n" % (b"x" * (n - 7)), 500),
    "AUTH": Case("auth_line", 40, server, lambda n: b"AUTH PLAIN AAAA%b\r\n" % (b" " * (n - 17)), 500),
    "a response of AUTH": Case(
        "auth_line",
        42,
        lambda limits: server(limits, b"AUTH LOGIN\r\n"),
        lambda n: b"A" * ((n - 2) // 4 * 4) + b"A" * ((n - 2) % 4) + b"\r\n",
        500,
    ),
    "the parameters of MAIL": Case(
        "parameters",
        4,
        server,
        lambda n: b"MAIL FROM:<a@b.example>%b\r\n" % b"".join(b" X%d" % number for number in range(n)),
        501,
    ),
    "the parameters of RCPT": Case(
        "parameters",
        4,
        lambda limits: server(limits, b"MAIL FROM:<a@b.example>\r\n"),
        lambda n: b"RCPT TO:<a@b.example>%b\r\n" % b"".join(b" X%d" % number for number in range(n)),
        501,
    ),
    "SIZE of MAIL": Case(
        "message_size", 100, server, lambda n: b"MAIL FROM:<a@b.example> SIZE=%d\r\n" % n, 552
    ),
    "a message after DATA": Case(
        "message_size",
        40,
        in_data,
        lambda n: b"." * (n - 1) + b"\r\n.\r\n",
        552,
    ),
    "a message of chunks": Case(
        "message_size",
        40,
        in_transaction,
        lambda n: b"BDAT 9\r\n123456789BDAT %d LAST\r\n" % (n - 9) + b"x" * (n - 9),
        552,
    ),
    "a message after DATA that is refused": Case(
        "refused_octets",
        40,
        lambda limits: server(limits._replace(message_size=5), ENVELOPE, b"DATA\r\n"),
        lambda n: b"12345" + b"x" * (n - 2) + b"\r\n.\r\n",
        -421,
    ),
    "chunks that are refused": Case(
        "refused_octets",
        40,
        lambda limits: server(limits._replace(message_size=5), ENVELOPE),
        lambda n: b"BDAT 5\r\n12345BDAT %d LAST\r\n" % n + b"x" * n,
        -552,
    ),
    "recipients": Case(
        "recipients",
        3,
        lambda limits: server(limits, b"MAIL FROM:<a@b.example>\r\n"),
        lambda n: b"RCPT TO:<a@b.example>\r\n" * n,
        452,
    ),
    "bad commands": Case("errors", 4, server, lambda n: (b"WHAT\r\nRSET now\r\n" * n)[: 8 * n], -421),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_reaches_a_limit_passes_and_one_more_does_not_for_every_cut(case: Case):
    limits = Limits()._replace(**{case.field: case.limit})
    begun = copies(case.begin(limits))
    for excess in (0, 1):
        stream = case.stream(case.limit + excess)
        expected = codes(begun(), [stream])
        if excess:
            assert expected[-1] == case.code
        else:
            assert case.code not in expected
        assert codes(begun(), single(stream)) == expected
        for at in range(1, len(stream)):
            assert codes(begun(), [stream[:at], stream[at:]]) == expected, at


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_a_client_answers_no_more_challenges_than_the_limit(allowed: int):
    conn = ClientConnection(limits=Limits(auth_challenges=allowed))
    feed(conn, b"220 mx\r\n")
    conn.send(Ehlo(domain="c.example"))
    feed(conn, b"250-mx\r\n250 AUTH LOGIN\r\n")
    conn.send(Auth(mechanism="LOGIN"))
    for _ in range(allowed):
        assert feed(conn, b"334 \r\n") == [AuthChallenge(data=b"")]
        conn.send(AuthResponse(data=b"x"))
    with pytest.raises(RemoteProtocolError, match=f"more than {allowed} challenges"):
        feed(conn, b"334 \r\n")


def test_without_a_limit_a_message_has_any_size():
    limits = Limits(message_size=None)
    assert codes(server(limits), [b"MAIL FROM:<a@b.example> SIZE=%d\r\n" % (10**20 - 1)]) == []
    assert codes(server(limits, ENVELOPE, b"DATA\r\n"), [b"x" * 1000 + b"\r\n.\r\n"]) == []
    assert codes(server(limits, ENVELOPE), [b"BDAT 1000 LAST\r\n" + b"x" * 1000]) == []


@given(
    commands=several(
        [
            b"NOOP " + b"x" * 80,
            b"AUTH PLAIN " + b"A" * 120,
            b"MAIL FROM:<a@b.example>" + b" X=1" * 9,
            b"MAIL FROM:<a@b.example> SIZE=99",
            b"MAIL FROM:<a@b.example>",
            b"RCPT TO:<c@d.example>",
            b"DATA",
            b"text of more than twenty octets",
            b".",
            b"BDAT 30\r\n" + b"x" * 30,
            b"BDAT 3 LAST\r\nxyz",
            b"RSET",
            b"WHAT",
            b"\xff",
        ],
        9,
    ),
    cuts=several(range(1, 401), 9),
)
def test_what_is_over_a_limit_is_refused_alike_for_every_cut(commands: list[bytes], cuts: list[int]):
    limits = Limits(
        command_line=64,
        auth_line=100,
        parameters=3,
        message_size=20,
        refused_octets=40,
        recipients=1,
        errors=4,
    )
    stream = b"\r\n".join([*commands, b"NOOP\r\n"])
    uncut = codes(server(limits), [stream])
    assume(-554 not in uncut)  # what is behind a DATA that was refused is judged by what has come
    assert codes(server(limits), pieces(stream, cuts)) == uncut


def test_the_defaults_allow_what_the_rfcs_promise():
    limits = Limits()
    assert limits.reply_line >= 512  # RFC 5321 4.5.3.1.5
    assert limits.command_line >= 512  # RFC 5321 4.5.3.1.4
    assert limits.auth_line >= 12288  # RFC 4954 4
    assert limits.recipients >= 100  # RFC 5321 4.5.3.1.8
    assert limits.text_line == 998  # RFC 5321 4.5.3.1.6
    assert limits.message_size is not None
    assert limits.message_size >= 65536  # RFC 5321 4.5.3.1.7


@pytest.mark.parametrize(
    ("timer", "minutes"),
    [
        # RFC 5321 4.5.3.2.1 to 4.5.3.2.7, in this order
        (Timer.GREETING, 5),
        (Timer.MAIL, 5),
        (Timer.RCPT, 5),
        (Timer.DATA_INIT, 2),
        (Timer.DATA_BLOCK, 3),
        (Timer.DATA_DONE, 10),
        (Timer.SERVER, 5),
        # and the one on which it is silent
        (Timer.COMMAND, 5),
    ],
)
def test_each_timer_has_the_recommended_time(timer: Timer, minutes: int):
    assert timer.seconds == minutes * 60


def test_there_are_as_many_timers_as_the_rfc_has():
    assert len(Timer) == 8


# Time

RAISED = Limits(
    reply_line=10**9,
    reply_lines=10**9,
    reply_octets=10**9,
    command_line=10**9,
    auth_line=10**9,
    message_size=None,
    refused_octets=10**9,
    text_line=None,
)


class Endless(NamedTuple):
    begin: Callable[[Limits], Any]
    head: bytes
    """What comes first."""
    unit: bytes
    """What comes after it, for ever."""
    refusals: list[int]
    """What is refused of it within the limits that are the default."""


ENDLESS = {
    "a line of a reply": Endless(client, b"220 ", b"x", [BROKEN]),
    "a plain reply": Endless(asked, b"250 ", b"x", [BROKEN]),
    "the lines of a plain reply": Endless(asked, b"250-\r\n", b"250-x\r\n", [BROKEN]),
    "CR in a reply": Endless(client, b"220 ", b"\r", [BROKEN]),
    "the lines of a reply": Endless(client, b"220-\r\n", b"220-x\r\n", [BROKEN]),
    "a command": Endless(server, b"NOOP ", b"x", [500]),
    "a command that is refused": Endless(lambda limits: server(Limits()), b"NOOP " * 1000, b"x", [500]),
    "a response of AUTH": Endless(lambda limits: server(limits, b"AUTH LOGIN\r\n"), b"A", b"A", [500]),
    "text": Endless(in_data, b"a", b"Lorem ipsum.\r\n", []),
    "dots": Endless(in_data, b"a", b".", []),
    "CR": Endless(in_data, b"a", b"\r", []),
    "CRLF": Endless(in_data, b"a", b"\r\n", []),
    "a chunk": Endless(in_transaction, b"BDAT 20000000\r\n", b"x", []),
    "chunks": Endless(in_transaction, b"BDAT 0\r\n", b"BDAT 2000\r\n" + b"x" * 2000, []),
}


def block_costs(endless: Endless, size: int, block: int) -> list[float]:
    """The seconds of CPU for each `block` of `size` octets, which come one at a time."""
    marks = []

    def octets() -> Iterator[bytes]:
        for at, octet in enumerate(single((endless.unit * size)[:size])):
            if at % block == 0:
                marks.append(process_time())
            yield octet
        marks.append(process_time())

    conn = endless.begin(RAISED)
    codes(conn, [endless.head])
    codes(conn, octets())
    return [after - before for before, after in pairwise(marks)]


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
def test_twice_the_octets_cost_twice_the_time(endless: Endless):
    # What else the machine does makes a block slower and never faster, so of each block its best
    # round counts: of two, and of up to thirty while they say no. What is quadratic says no in each.
    if sys.gettrace() is not None:
        pytest.skip("under a tracer, such as that of coverage, the time is the tracer's")
    size, block = 2_000, 100
    best = [float("inf")] * (4 * size // block)
    gc.disable()
    try:
        for round_ in range(30):
            best = [*map(min, best, block_costs(endless, 4 * size, block))]
            once, twice, four_times = (sum(best[: times * size // block]) for times in (1, 2, 4))
            if round_ and twice < 2.6 * once and four_times < 2.6 * twice:
                return
    finally:
        gc.enable()
    pytest.fail(f"not linear: {once:g} s, {twice:g} s, {four_times:g} s")


# Memory


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
def test_ten_megabytes_are_refused_or_handed_on_in_little_memory(endless: Endless):
    conn = endless.begin(Limits())
    read = endless.unit * (ONE_READ // len(endless.unit))
    tracemalloc.start()
    try:
        refusals = codes(conn, [endless.head, *[read] * 160])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refusals == endless.refusals
    assert peak < 8 * ONE_READ
