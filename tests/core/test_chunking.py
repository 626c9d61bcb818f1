"""A message in chunks (RFC 3030): in one flight where it is small, and with the same outcome as with DATA."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from helpers import drive, every, pieces
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scripted import CHUNKING, LOCK_STEP_CHUNKING, PIPELINING, Answer, Server, connected
from strategies import several

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    LocalProtocolError,
    NotOffered,
    State,
)
from smtp_proto._text import has_utf8_header
from smtp_proto.ops import Delivery, SendResult, Status, noop, send_message

BODY = b"Subject: t\r\n\r\nhello\r\n"
TO = ("b@y.example", "c@y.example", "d@y.example")
ENVELOPE = b"MAIL FROM:<a@x.example> SIZE=%d\r\n" + b"".join(b"RCPT TO:<%b>\r\n" % to.encode() for to in TO)
OFFERS = pytest.mark.parametrize("offered", [CHUNKING, LOCK_STEP_CHUNKING], ids=["pipelining", "lock-step"])
LONG = (b"x" * 78 + b"\r\n") * 10_000


def send(
    conn: ClientConnection,
    server: Server,
    to: Iterable[str] = TO,
    body: bytes | list[bytes] = BODY,
    **options: Any,
) -> SendResult:
    whole, rest = (body, iter(())) if isinstance(body, bytes) else (None, iter(body))
    op = send_message(conn, "a@x.example", [*to], whole, **options)
    return drive(op, conn, server, lambda _: next(rest, b""))


def statuses(result: SendResult | None) -> list[Status]:
    assert result is not None
    return [outcome.status for outcome in result.outcomes]


def codes(result: SendResult) -> list[int | None]:
    return [outcome.reply and outcome.reply.code for outcome in result.outcomes]


def chunks(server: Server) -> list[bytes]:
    """What stood behind each BDAT."""
    return [after for line, after in zip(server.heard, server.heard[1:], strict=False) if line[:4] == b"BDAT"]


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_small_message_takes_one_round_trip(lmtp):
    verdicts = "\r\n".join(["250 taken"] * 3) if lmtp else "250 taken"
    server = Server({"EHLO": CHUNKING, "LHLO": CHUNKING, ".": verdicts})
    conn = connected(server, lmtp=lmtp)
    for _ in range(2):
        assert send(conn, server).all_accepted
        assert server.writes == [ENVELOPE % len(BODY) + b"BDAT 21 LAST\r\n" + BODY]
        assert conn.state is State.READY
        server.writes.clear()


class Bundling(Server):
    """Its answers come together, but for so many of the last."""

    apart = 0

    def receive(self) -> bytes:
        together = self._to_say[: len(self._to_say) - self.apart] or self._to_say[:]
        del self._to_say[: len(together)]
        return b"".join(octets for octets in together if isinstance(octets, bytes))


@pytest.mark.parametrize("apart", [0, 1])
def test_a_verdict_comes_with_the_answers_to_the_envelope_or_later(apart):
    server = Bundling({"EHLO": CHUNKING, ".": ["250 taken", "550 no", "?"]})
    conn = connected(server)
    server.apart = apart
    assert send(conn, server).all_accepted
    assert codes(send(conn, server)) == [550] * 3
    with pytest.raises(ConnectionLost, match="not a line of a reply") as lost:
        send(conn, server)
    assert statuses(lost.value.result) == [Status.UNKNOWN] * 3
    assert conn.state is State.FAILED


@every(
    ("offered", "body", "options", "verb"),
    [
        (CHUNKING, b"", {}, "BDAT"),
        (CHUNKING, b"x\r\n" * 21845, {}, "BDAT"),
        (CHUNKING, b"x\r\n" * 21846, {}, "DATA"),
        (CHUNKING, [BODY], {}, "DATA"),
        (CHUNKING, BODY, {"transfer": "data"}, "DATA"),
        (CHUNKING, b"x\r\n" * 21846, {"transfer": "chunking"}, "BDAT"),
        (CHUNKING, [BODY], {"transfer": "chunking"}, "BDAT"),
        (CHUNKING, b"\0\n", {"parameters": {"BODY": "BINARYMIME"}}, "BDAT"),
        (LOCK_STEP_CHUNKING, BODY, {}, "DATA"),
        (LOCK_STEP_CHUNKING, BODY, {"transfer": "chunking"}, "BDAT"),
        (LOCK_STEP_CHUNKING, b"\0\n", {"parameters": {"BODY": "BINARYMIME"}}, "BDAT"),
        (PIPELINING, BODY, {}, "DATA"),
    ],
)
def test_chunks_are_sent_where_they_are_of_use_or_asked_for(offered, body, options, verb):
    server = Server({"EHLO": offered})
    assert send(connected(server), server, body=body, **options).all_accepted
    assert server.verbs[4] == verb


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"transfer": "chunking"}, NotOffered),
        ({"parameters": {"BODY": "BINARYMIME"}}, NotOffered),
        ({"parameters": {"BODY": "BINARYMIME"}, "transfer": "data"}, LocalProtocolError),
        ({"body": b"\0", "transfer": "chunking"}, LocalProtocolError),
        ({"body": b"x" * 999, "transfer": "chunking"}, LocalProtocolError),
    ],
)
def test_what_cannot_be_sent_so_is_refused_before_anything_is_said(options, error):
    offered = PIPELINING if error is NotOffered else CHUNKING
    server = Server({"EHLO": offered})
    conn = connected(server)
    with pytest.raises(error):
        send(conn, server, **options)
    assert server.writes == []
    assert send(conn, server).all_accepted


def test_progress_is_of_the_octets_as_they_were_given():
    server = Server({"EHLO": CHUNKING})
    progress: list[int] = []
    assert send(connected(server), server, body=b"one\ntwo", progress=progress.append).all_accepted
    assert (chunks(server), progress) == ([b"one\r\ntwo\r\n"], [7])


@OFFERS
@pytest.mark.parametrize("given_as", ["whole", "in pieces"])
def test_a_long_message_is_sent_in_chunks_once_somebody_wants_it(offered, given_as):
    server = Server({"EHLO": offered, "RCPT": ["250 b", "550 c", "250 d"]})
    conn = connected(server)
    progress: list[int] = []
    body = LONG if given_as == "whole" else [LONG[at : at + 1000] for at in range(0, len(LONG), 1000)]
    result = send(conn, server, body=body, transfer="chunking", progress=progress.append)
    assert statuses(result) == [Status.ACCEPTED, Status.REFUSED, Status.ACCEPTED]
    *first, last = chunks(server)
    assert b"".join([*first, last]) == LONG
    assert all(262_144 <= len(chunk) < 264_000 for chunk in first)
    assert len(first) == 3
    assert progress == sorted(progress)
    assert progress[-1] == len(LONG)
    assert b"BDAT" not in b"".join(server.writes[: 1 if offered is CHUNKING else 4])


def test_nothing_is_sent_of_what_nobody_wants():
    for options in ({"body": LONG}, {"all_or_nothing": True}):
        server = Server({"EHLO": CHUNKING, "RCPT": ["550 b", "550 c", "550 d"]})
        conn = connected(server)
        assert codes(send(conn, server, transfer="chunking", **options)) == [550] * 3
        assert server.verbs == ["MAIL", "RCPT", "RCPT", "RCPT", "RSET"]
        assert conn.state is State.READY


@OFFERS
@pytest.mark.parametrize("refused", [0, 1, 2])
def test_behind_a_chunk_that_is_refused_the_rest_is_not_sent(offered, refused):
    answers: list[Answer] = ["250 ok"] * refused + ["452 full", "503 no"]
    # Of three chunks and the last one, one was on its way already when the refusal came.
    last_is_sent = offered is CHUNKING and refused == 2
    verdicts: list[Answer] = ["503 no"] * last_is_sent + ["250 taken"]
    server = Server({"EHLO": offered, "BDAT": answers, ".": verdicts})
    conn = connected(server)
    result = send(conn, server, body=LONG, transfer="chunking")
    assert codes(result) == [452] * 3
    assert statuses(result) == [Status.REFUSED] * 3
    assert len(chunks(server)) == refused + (2 if offered is CHUNKING else 1)
    assert server.verbs[-1] == "RSET"
    assert send(conn, server).all_accepted


OCTETS = several([b"a", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"\n", b"\r", b"\xff", b"x" * 40], 12).map(
    b"".join
)
CUTS = several(range(1, 61), 8)


@given(body=OCTETS, cuts=CUTS)
def test_text_is_the_same_in_chunks_as_with_data(body, cuts):
    heard = []
    for given_as in (body, [*pieces(body, cuts)]):
        server = Server({"EHLO": CHUNKING})
        assert send(connected(server), server, body=given_as, transfer="chunking").all_accepted
        heard.append(b"".join(chunks(server)))
    server = Server({"EHLO": PIPELINING})
    assert send(connected(server), server, body=body).all_accepted
    with_data = server.heard[-1].removesuffix(b".\r\n").replace(b"\r\n.", b"\r\n").removeprefix(b".")
    assert heard == [with_data] * 2


@given(body=st.binary(max_size=300), cuts=CUTS)
def test_binary_octets_are_sent_as_they_are(body, cuts):
    assume(not has_utf8_header(body))  # it would need SMTPUTF8
    for given_as in (body, [*pieces(body, cuts)]):
        server = Server({"EHLO": CHUNKING})
        options = {"parameters": {"BODY": "BINARYMIME"}}
        assert send(connected(server), server, body=given_as, **options).all_accepted
        assert b"".join(chunks(server)) == body
        assert b"SIZE=%d" % len(body) in server.heard[0] or given_as is not body


CODES = st.sampled_from([250] * 6 + [251, 450, 550, 421])


@given(
    mail=CODES,
    rcpts=st.lists(CODES, min_size=1, max_size=4),
    finals=st.lists(CODES, min_size=4, max_size=4),
    lmtp=st.booleans(),
    all_or_nothing=st.booleans(),
)
@settings(max_examples=200)
def test_the_same_comes_of_a_message_in_one_flight_and_step_by_step(
    mail, rcpts, finals, lmtp, all_or_nothing
):
    taken = [code for code in rcpts if code < 300]
    verdicts = "\r\n".join(f"{code} x" for code in finals[: max(1, len(taken))] if lmtp or code == finals[0])
    results = []
    for offered in (CHUNKING, LOCK_STEP_CHUNKING):
        server = Server(
            {
                "EHLO": offered,
                "LHLO": offered,
                "MAIL": f"{mail} x",
                "RCPT": [f"{code} x" for code in rcpts],
                ".": verdicts if lmtp else f"{finals[0]} x",
            }
        )
        conn = connected(server, lmtp=lmtp)
        to = [f"r{number}@y.example" for number in range(len(rcpts))]
        delivery = Delivery()
        result = send(conn, server, to, transfer="chunking", all_or_nothing=all_or_nothing, delivery=delivery)
        results.append((result, [type(o.reply and o.reply.to) for o in result.outcomes]))
        assert delivery.sent or not result.accepted
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("answers", "sent"), [({"MAIL": "421 x"}, False), ({"RCPT": "421 x"}, False), ({}, True)]
)
def test_a_message_that_was_refused_before_its_end_was_not_sent(answers, sent):
    server = Server({"EHLO": CHUNKING, **answers})
    delivery = Delivery()
    send(connected(server), server, delivery=delivery)
    assert delivery.sent is sent


@pytest.mark.parametrize("lmtp", [False, True])
def test_wherever_the_connection_ends_the_outcome_is_what_is_known(lmtp):
    answers = {"EHLO": CHUNKING, "LHLO": CHUNKING, "RCPT": ["250 b", "550 c", "250 d"]}
    answers["."] = "250 b\r\n452 d" if lmtp else "250 taken"
    uncut = Server(answers)
    send(connected(uncut, lmtp=lmtp), uncut)
    begin = len(b"220 mx.example\r\n" + CHUNKING.encode() + b"\r\n")
    for at in range(begin, len(uncut.said)):
        server = Server({**answers, "RCPT": ["250 b", "550 c", "250 d"]}, says_at_most=at)
        conn = connected(server, lmtp=lmtp)
        with pytest.raises(ConnectionLost) as lost:
            send(conn, server)
        replies = uncut.said[begin:at].count(b"\r\n")
        assert statuses(lost.value.result) == [
            Status.ACCEPTED if replies > 4 else Status.UNKNOWN,
            Status.REFUSED if replies > 2 else Status.UNKNOWN,
            Status.UNKNOWN,
        ], at
        assert not conn.is_usable
        with pytest.raises(LocalProtocolError):
            drive(noop(conn), conn, server)
