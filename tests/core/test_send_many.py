"""Many messages back to back: they share round trips, and nothing else. What becomes of one is what would
have become of it alone.
"""

from __future__ import annotations

from typing import Any

import pytest
from helpers import drive
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import CHUNKING, LOCK_STEP, PIPELINING, Answer, Server, connected

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    LocalProtocolError,
    NotOffered,
    State,
    TimedOut,
)
from smtp_proto.ops import (
    Delivery,
    Outgoing,
    SendResult,
    Status,
    greet,
    hello,
    noop,
    send_message,
    send_messages,
)

BODY = b"Subject: t\r\n\r\nhello\r\n"
TO = ("b@y.example", "c@y.example")
OFFERS = pytest.mark.parametrize(
    "offered", [CHUNKING, PIPELINING, LOCK_STEP], ids=["chunking", "pipelining", "lock-step"]
)


def batch(count: int, to: Any = TO) -> list[Outgoing]:
    return [Outgoing(f"a{number}@x.example", to, BODY + b"%d\r\n" % number) for number in range(count)]


def statuses(results: list[SendResult]) -> list[list[Status]]:
    return [[outcome.status for outcome in result.outcomes] for result in results]


def codes(results: list[SendResult]) -> list[list[int | None]]:
    return [[outcome.reply and outcome.reply.code for outcome in result.outcomes] for result in results]


@pytest.mark.parametrize("lmtp", [False, True])
@OFFERS
def test_all_arrive_in_their_order(offered, lmtp):
    verdicts = "250 b\r\n250 c" if lmtp else "250 taken"
    server = Server({"EHLO": offered, "LHLO": offered, ".": verdicts, "NOOP": "250 ok"})
    conn = connected(server, lmtp=lmtp)
    messages = batch(150)
    results = drive(send_messages(conn, messages), conn, server)
    assert all(result.all_accepted for result in results)
    assert [body.removesuffix(b".\r\n") for body in server.bodies] == [message.body for message in messages]
    assert conn.state is State.READY
    assert drive(noop(conn), conn, server).code == 250


def test_with_chunks_they_share_round_trips_and_rset_stands_between():
    server = Server({"EHLO": CHUNKING})
    conn = connected(server)
    drive(send_messages(conn, batch(3, "b@y.example")), conn, server)
    assert len(server.writes) == 1
    one = ["MAIL", "RCPT", "BDAT", "Subject:"]
    assert server.verbs == [*one, "RSET", *one, "RSET", *one]
    server = Server({"EHLO": CHUNKING})
    conn = connected(server)
    drive(send_messages(conn, batch(1000)), conn, server)
    assert len(server.writes) < 200


def test_after_data_nothing_is_said_before_the_verdict():
    server = Server({"EHLO": PIPELINING})
    conn = connected(server)
    drive(send_messages(conn, batch(3)), conn, server)
    assert len(server.writes) == 6
    assert all(write.endswith((b"DATA\r\n", b"\r\n.\r\n")) for write in server.writes)
    assert "RSET" not in server.verbs


@pytest.mark.parametrize("octets", [0, 60_000])
def test_what_is_on_its_way_is_bounded(octets):
    messages = [("a@x.example", TO, b"x\r\n" * (octets // 3))] * 60
    outstanding: list[int] = []

    class Watched(Server):
        def send(self, data: bytes) -> None:
            outstanding.append(conn.outstanding)
            super().send(data)

    server = Watched({"EHLO": CHUNKING})
    conn = ClientConnection()
    drive(greet(conn), conn, server)
    drive(hello(conn, "client.example"), conn, server)
    server.writes.clear()
    results = drive(send_messages(conn, messages), conn, server)
    assert all(result.all_accepted for result in results)
    # A message has five commands with RSET; a write is made when there is enough for it.
    assert max(outstanding) <= min(100, 5 * (262_144 // (octets or 1) + 1))
    assert max(outstanding) > (15 if octets else 90)
    assert max(outstanding[len(outstanding) // 2 :]) > 5  # and there is room again when verdicts are in
    assert max(map(len, server.writes)) < 65_536 + 61_000


def test_what_does_not_fit_into_one_flight_is_sent_alone():
    server = Server({"EHLO": CHUNKING})
    conn = connected(server)
    long = b"x\r\n" * 30_000
    many = [f"r{number}@y.example" for number in range(60)]
    binary = {"BODY": "BINARYMIME"}
    messages = [
        *batch(2),
        Outgoing("a@x.example", TO, long),
        *batch(1),
        Outgoing("a@x.example", many, BODY),
        Outgoing("a@x.example", TO, b"\0\n", binary),
        Outgoing("a@x.example", TO, b""),
        *batch(1),
    ]
    results = drive(send_messages(conn, messages), conn, server)
    assert all(result.all_accepted for result in results)
    assert len(results[4].outcomes) == 60
    assert server.verbs.count("DATA") == 1
    assert b"\0\n" in server.heard
    assert len(server.writes) == 6  # two; MAIL to DATA; the long one; one; the envelope of many; the rest


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Outgoing("a@x.example", (), BODY), LocalProtocolError),
        (Outgoing("a", TO, BODY), LocalProtocolError),
        (Outgoing("a@x.example", TO, b"\0"), LocalProtocolError),
        (Outgoing("ä@x.example", TO, BODY), NotOffered),
    ],
)
def test_one_that_may_not_be_sent_is_refused_before_anything_is_said(bad, error):
    server = Server({"EHLO": CHUNKING})
    conn = connected(server)
    with pytest.raises(error):
        drive(send_messages(conn, [*batch(2), bad]), conn, server)
    assert server.writes == []
    assert drive(send_messages(conn, batch(1)), conn, server)[0].all_accepted


def test_nothing_is_sent_before_the_client_has_introduced_itself_and_nothing_is_broken():
    conn = ClientConnection()
    conn.receive_data(b"220 mx.example\r\n")
    conn.next_event()
    with pytest.raises(LocalProtocolError, match="Mail in state greeted"):
        drive(send_messages(conn, batch(2)), conn, Server())
    assert conn.state is State.GREETED
    assert drive(send_messages(conn, []), conn, Server()) == []


CODES = st.sampled_from([250] * 5 + [251, 450, 550])
MESSAGE = st.tuples(CODES, st.lists(CODES, min_size=1, max_size=3), st.lists(CODES, min_size=3, max_size=3))


def playing(plan: list[tuple[int, list[int], list[int]]], offered: str, lmtp: bool) -> Server:
    """A server that is consistent: nobody is taken after MAIL was refused."""

    def of_rcpts(mail: int, rcpts: list[int]) -> list[int]:
        return rcpts if mail < 300 else [503] * len(rcpts)

    def verdict(rcpts: list[int], finals: list[int]) -> Answer:
        taken = sum(code < 300 for code in rcpts)
        verdicts = finals[: max(1, taken) if lmtp else 1] if taken else [503]
        return "\r\n".join(f"{code} x" for code in verdicts)

    return Server(
        {
            "EHLO": offered,
            "LHLO": offered,
            "MAIL": [f"{mail} x" for mail, _, _ in plan],
            "RCPT": [f"{code} x" for mail, rcpts, _ in plan for code in of_rcpts(mail, rcpts)],
            ".": [verdict(of_rcpts(mail, rcpts), finals) for mail, rcpts, finals in plan],
        }
    )


@given(plan=st.lists(MESSAGE, max_size=5), lmtp=st.booleans())
@settings(max_examples=100)
def test_what_becomes_of_each_is_what_would_have_become_of_it_alone(plan, lmtp):
    messages = [
        Outgoing("a@x.example", [f"r{at}@y.example" for at in range(len(rcpts))], BODY)
        for _, rcpts, _ in plan
    ]
    server = playing(plan, CHUNKING, lmtp)
    conn = connected(server, lmtp=lmtp)
    together = drive(send_messages(conn, messages), conn, server)
    assert conn.state is State.READY
    server = playing(plan, CHUNKING, lmtp)
    conn = connected(server, lmtp=lmtp)
    alone = [drive(send_message(conn, *message[:3]), conn, server) for message in messages]
    assert together == alone


@pytest.mark.parametrize("lmtp", [False, True])
def test_wherever_the_connection_ends_what_was_heard_counts_and_no_more(lmtp):
    answers: dict[str, Any] = {"EHLO": CHUNKING, "LHLO": CHUNKING, "MAIL": ["250 a", "550 b", "250 c"]}
    answers |= {"RCPT": ["250 a", "250 b", "503 a", "503 b", "550 a", "250 b"]}
    answers |= {".": ["250 a\r\n452 b", "503 x", "250 b"] if lmtp else ["250 x", "503 x", "250 x"]}
    fresh = {name: list(answer) if isinstance(answer, list) else answer for name, answer in answers.items()}
    uncut = Server(fresh)
    conn = connected(uncut, lmtp=lmtp)
    whole = drive(send_messages(conn, batch(3)), conn, uncut)
    begin = len(b"220 mx.example\r\n" + CHUNKING.encode() + b"\r\n")
    for at in range(begin, len(uncut.said)):
        server = Server(answers, says_at_most=at)
        conn = connected(server, lmtp=lmtp)
        deliveries: list[Delivery] = []
        with pytest.raises(ConnectionLost) as lost:
            drive(send_messages(conn, batch(3), deliveries=deliveries), conn, server)
        results = lost.value.results
        assert [delivery.result() for delivery in deliveries] == results
        for result, expected in zip(results, whole, strict=True):
            for outcome, uncut_outcome in zip(result.outcomes, expected.outcomes, strict=True):
                assert outcome == uncut_outcome or outcome.status is Status.UNKNOWN, at
        assert not conn.is_usable


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"MAIL": ["250 x", "421 bye"]}, ["accepted", "refused", "unsent"]),
        ({"RCPT": ["250 x"] * 3 + ["421 bye"]}, ["accepted", "refused", "unsent"]),
        ({".": ["250 x", "421 bye"]}, ["accepted", "refused", "unsent"]),
        ({"RSET": ["250 x", "421 bye"]}, ["accepted", "accepted", "unsent"]),
        ({"RSET": ["250 x", "500 what?"]}, ["accepted", "accepted", "unknown"]),
        ({"RSET": ["250 x", TimeoutError()]}, ["accepted", "accepted", "unknown"]),
        ({"MAIL": ["250 x", "what?", "250 x"]}, ["accepted", "unknown", "unknown"]),
    ],
)
def test_a_connection_that_ends_in_the_middle_says_what_is_left(answers, expected):
    server = Server({"EHLO": CHUNKING, **answers})
    conn = connected(server)
    with pytest.raises(ConnectionLost) as lost:
        drive(send_messages(conn, batch(3)), conn, server)
    assert [result.outcomes[-1].status.value for result in lost.value.results] == expected
    assert isinstance(lost.value, TimedOut) is any(isinstance(a[-1], TimeoutError) for a in answers.values())
    assert not conn.is_usable


@OFFERS
def test_421_to_the_last_one_decides_all(offered):
    server = Server({"EHLO": offered, ".": ["250 x", "421 bye"]})
    conn = connected(server)
    assert codes(drive(send_messages(conn, batch(2)), conn, server)) == [[250] * 2, [421] * 2]
    assert not conn.is_usable


@pytest.mark.parametrize("refused", [0, 1])
@OFFERS
def test_what_is_left_open_is_reset(offered, refused):
    rcpts, verdicts, data = ["250 ok"] * 4, ["250 ok"] * 2, ["354 go"] * 2
    rcpts[2 * refused : 2 * refused + 2] = ["550 no"] * 2
    verdicts[refused] = data[refused] = "503 no"
    if offered is LOCK_STEP:  # where DATA is not said at all
        del data[refused]
    answers = {"RCPT": rcpts, "DATA": data, ".": verdicts if offered is CHUNKING else "250 ok"}
    server = Server({"EHLO": offered, **answers})
    conn = connected(server)
    results = drive(send_messages(conn, batch(2)), conn, server)
    assert codes(results) == [[550] * 2 if at == refused else [250] * 2 for at in range(2)]
    assert "RSET" in server.verbs
    assert conn.state is State.READY


def test_what_is_left_open_is_reset_where_nothing_waits_any_more():
    many = [f"r{number}@y.example" for number in range(46)]  # two such messages fill the window
    answers = {
        "RCPT": ["250 ok"] * 46 + ["550 no"] * 46 + ["250 ok"] * 46,
        ".": ["250 ok", "503 no", "250 ok"],
    }
    server = Server({"EHLO": CHUNKING, **answers})
    conn = connected(server)
    first, second, third = drive(send_messages(conn, batch(3, many)), conn, server)
    assert first.all_accepted
    assert third.all_accepted
    assert second.accepted == ()
    assert [at for at, verb in enumerate(server.verbs) if verb == "RSET"] == [49, 99]


def test_a_reset_that_fails_between_two_that_are_sent_alone_leaves_the_rest_unsent():
    server = Server({"EHLO": LOCK_STEP, "DATA": ["554 no", "354 go"], "RSET": "500 no"})
    conn = connected(server)
    with pytest.raises(ConnectionLost, match="before all was sent") as lost:
        drive(send_messages(conn, batch(2)), conn, server)
    assert statuses(lost.value.results) == [[Status.REFUSED] * 2, [Status.UNSENT] * 2]


@pytest.mark.parametrize("reset", ["250 ok", "500 no"])
def test_what_one_flight_left_open_is_reset_before_one_that_is_sent_alone(reset):
    answers = {"RCPT": ["550 no"] * 2 + ["250 ok"] * 2, ".": ["503 no", "250 ok"], "RSET": reset}
    server = Server({"EHLO": CHUNKING, **answers})
    conn = connected(server)
    messages = [*batch(1), Outgoing("a@x.example", TO, b"x\r\n" * 30_000)]
    if reset == "250 ok":
        assert codes(drive(send_messages(conn, messages), conn, server)) == [[550] * 2, [250] * 2]
        assert server.verbs[5:8] == ["RSET", "MAIL", "RCPT"]
    else:
        with pytest.raises(ConnectionLost) as lost:
            drive(send_messages(conn, messages), conn, server)
        assert statuses(lost.value.results) == [[Status.REFUSED] * 2, [Status.UNSENT] * 2]


def test_when_writing_fails_the_last_words_are_heard():
    octets = len(b"EHLO client.example\r\n") + 30
    words = b"421 4.3.2 closing\r\n"
    server = Server({"EHLO": CHUNKING}, hears_at_most=octets, last_words=words)
    conn = connected(server)
    with pytest.raises(ConnectionLost) as lost:
        drive(send_messages(conn, batch(2)), conn, server)
    assert codes(lost.value.results) == [[421] * 2, [None] * 2]
    assert statuses(lost.value.results)[1] == [Status.UNSENT] * 2
    server = Server({"EHLO": CHUNKING}, hears_at_most=octets, last_words=b"")
    conn = connected(server)
    with pytest.raises(ConnectionLost) as lost:
        drive(send_messages(conn, batch(2)), conn, server)
    assert statuses(lost.value.results) == [[Status.UNKNOWN] * 2] * 2


def test_what_is_given_up_in_the_middle_leaves_nothing_to_say():
    conn = connected(Server({"EHLO": CHUNKING}))
    deliveries: list[Delivery] = []
    op = send_messages(conn, batch(2), deliveries=deliveries)
    next(op)
    op.close()
    assert conn.state is State.FAILED
    assert conn.data_to_send() == b""
    assert statuses([delivery.result() for delivery in deliveries]) == [[Status.UNKNOWN] * 2] * 2
