"""Sending a message: what is said in which order, and what becomes of each recipient whatever happens.

The promise: a message takes as few round trips as the server allows, and the same comes of it with
PIPELINING and without; nobody counts as accepted without a positive verdict on the message, and nobody
as safe to try again if there may be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import accumulate, pairwise, product
from typing import Any, NamedTuple

import pytest
from helpers import drive, every, pieces, steps
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import LOCK_STEP, PIPELINING, Answer, Server, connected
from strategies import several

from smtp_proto import (
    NEED_DATA,
    ClientConnection,
    ConnectionLost,
    Data,
    EndOfMessage,
    Features,
    LineEnds,
    LocalProtocolError,
    Mail,
    NotOffered,
    Path,
    Rcpt,
    RemoteProtocolError,
    SMTPError,
    State,
    TimedOut,
    Timer,
)
from smtp_proto.ops import (
    Delivery,
    NextChunk,
    Outcome,
    SendResult,
    Status,
    greet,
    hello,
    noop,
    quit,
    send_message,
)

OFFERS = pytest.mark.parametrize("ehlo", [LOCK_STEP, PIPELINING], ids=["lock-step", "pipelining"])

BODY = b"Subject: t\r\n\r\nhello\r\n"
ENDINGS: dict[str, OSError | bytes] = {
    "closed": b"",
    "reset": ConnectionResetError("reset"),
    "silent": TimeoutError(),
}


class Sent(NamedTuple):
    """What became of a message."""

    result: SendResult
    error: ConnectionLost | None

    @property
    def statuses(self) -> list[Status]:
        return [outcome.status for outcome in self.result.outcomes]

    @property
    def codes(self) -> list[int | None]:
        return [outcome.reply and outcome.reply.code for outcome in self.result.outcomes]


def send(
    conn: ClientConnection,
    server: Server,
    to: Iterable[str | Rcpt] = ("b@y.example",),
    body: bytes | list[bytes] = BODY,
    **options: Any,
) -> Sent:
    """Send a message, whole or in pieces, and hold the operation to what it promises whatever happens."""
    to = list(to)
    whole, rest = (body, iter(())) if isinstance(body, bytes) else (None, iter(body))

    def ask(want: object) -> bytes:
        assert want == NextChunk()
        return next(rest, b"")

    error = result = None
    try:
        result = drive(send_message(conn, "a@x.example", to, whole, **options), conn, server, ask)
    except ConnectionLost as exc:
        result, error = exc.result, exc
    assert result is not None
    recipients = [rcpt.forward_path if isinstance(rcpt, Rcpt) else rcpt for rcpt in to]
    assert [outcome.recipient for outcome in result.outcomes] == recipients
    for outcome in result.outcomes:
        check_outcome(outcome)
    undecided = {Status.UNSENT, Status.UNKNOWN} & {outcome.status for outcome in result.outcomes}
    assert (error is not None) == bool(undecided) or options.get("all_or_nothing")
    assert conn.state in (State.READY, State.CLOSED, State.FAILED)
    assert error is None or not conn.is_usable
    return Sent(result, error)


def check_outcome(outcome: Outcome) -> None:
    """What decided must be there, and must be an answer that decides."""
    reply, status = outcome.reply, outcome.status
    assert (reply is None) == (status in (Status.UNSENT, Status.UNKNOWN))
    if reply is not None and status is Status.ACCEPTED:
        assert isinstance(reply.to, EndOfMessage)
        assert reply.is_positive
    elif reply is not None:
        assert isinstance(reply.to, Mail | Rcpt | Data | EndOfMessage | None)
        assert not reply.is_positive or isinstance(reply.to, Data)


# One message -----------------------------------------------------------------------------------------

TO = ("b@y.example", "c@y.example", "d@y.example")
ENVELOPE = [
    b"MAIL FROM:<a@x.example> SIZE=21\r\n",
    *(b"RCPT TO:<%b>\r\n" % to.encode() for to in TO),
    b"DATA\r\n",
]


@OFFERS
@pytest.mark.parametrize("lmtp", [False, True])
def test_a_message_takes_two_round_trips_with_pipelining_and_one_a_command_without(ehlo, lmtp):
    verdict = "\r\n".join(["250 taken"] * 3) if lmtp else "250 taken"
    server = Server({"EHLO": ehlo, "LHLO": ehlo, ".": verdict})
    conn = connected(server, lmtp=lmtp)
    sent = send(conn, server, TO)
    envelope = [b"".join(ENVELOPE)] if ehlo is PIPELINING else ENVELOPE
    assert server.writes == [*envelope, BODY + b".\r\n"]
    assert sent.result.all_accepted
    assert sent.result.accepted == sent.result.outcomes
    assert sent.result.refused == ()
    assert conn.state is State.READY


@pytest.mark.parametrize("width", [1, 400, 3900])
@pytest.mark.parametrize("count", [85, 110])
def test_groups_are_bounded_in_commands_and_in_octets(width, count):
    to = [f"{'x' * width}{number}@y.example" for number in range(count)]
    server = Server()
    conn = connected(server)
    assert send(conn, server, to).result.all_accepted
    *groups, body = server.writes
    commands = [group.count(b"\r\n") for group in groups]
    longest = max(len(line) for line in b"".join(groups).splitlines(keepends=True))
    assert body == BODY + b".\r\n"
    assert sum(commands) == count + 2
    assert max(commands) <= 100
    assert max(map(len, groups)) < 32768 + longest
    # No more round trips than the bounds ask for.
    for group in groups[:-1]:
        assert group.count(b"\r\n") == 100 or len(group) >= 32768


@OFFERS
def test_each_of_the_same_recipients_has_an_outcome(ehlo):
    server = Server({"EHLO": ehlo, "RCPT": ["250 ok", "550 no", "452 enough", "250 ok"]})
    to = ["b@y.example", "c@y.example", "b@y.example", "b@y.example"]
    sent = send(connected(server), server, to)
    assert sent.statuses == [Status.ACCEPTED, Status.REFUSED, Status.REFUSED, Status.ACCEPTED]
    assert sent.codes == [250, 550, 452, 250]
    assert [o.reply.text for o in sent.result.accepted] == ["taken", "taken"]


@OFFERS
@pytest.mark.parametrize("codes", list(product((250, 550), repeat=3)))
def test_all_or_nothing_sends_the_message_only_if_everybody_was_taken(ehlo, codes):
    server = Server({"EHLO": ehlo, "RCPT": [f"{code} x" for code in codes]})
    conn = connected(server)
    sent = send(conn, server, TO, all_or_nothing=True)
    if 550 in codes:
        assert "DATA" not in server.verbs
        assert server.verbs[-1] == "RSET"
        assert sent.statuses == [Status.REFUSED if code == 550 else Status.UNSENT for code in codes]
        assert server.bodies == []
    else:
        assert sent.result.all_accepted
    if ehlo is PIPELINING:
        assert server.writes[0] == b"".join(ENVELOPE[:-1])
    assert conn.state is State.READY
    assert conn.is_usable


@OFFERS
@pytest.mark.parametrize("final", [None, 250, 554])
def test_a_354_after_all_were_refused_is_answered_with_a_lone_dot_whose_verdict_is_none(ehlo, final):
    server = Server({"EHLO": ehlo, "RCPT": ["550 b", "551 c", "450 d"], ".": final and f"{final} x"})
    conn = connected(server)
    sent = send(conn, server, TO)
    assert sent.codes == [550, 551, 450]
    if ehlo is LOCK_STEP:
        assert server.verbs == ["MAIL", "RCPT", "RCPT", "RCPT", "RSET"]
    else:
        assert server.heard[-2:] == [b"DATA", b".\r\n"]
        assert conn.is_usable is (final is not None)


@pytest.mark.parametrize("answer", ["what?", "250 ok\r\n250 ok", "421 bye", None, TimeoutError()])
def test_whatever_follows_the_refusal_of_all_the_result_stays(answer):
    for answers in ({"RCPT": "550 no"}, {"MAIL": "550 no", "RCPT": "503 no"}):
        for phase in ({"DATA": answer}, {".": answer}):
            server = Server({**answers, **phase})
            conn = connected(server)
            sent = send(conn, server, TO)
            assert sent.codes == [550] * 3
            assert sent.error is None
            with pytest.raises((LocalProtocolError, RemoteProtocolError)):
                drive(noop(conn), conn, server)


@pytest.mark.parametrize("code", [250, 251, 450, 503, 554])
def test_data_that_is_not_answered_354_sends_no_message_and_is_followed_by_rset(code):
    server = Server({"DATA": [f"{code} x", "354 go"], "RCPT": ["250 ok", "550 no", "250 ok", "250 ok"]})
    conn = connected(server)
    sent = send(conn, server, TO)
    assert sent.statuses == [Status.REFUSED] * 3
    assert sent.codes == [code, 550, code]
    assert server.verbs[-1] == "RSET"
    assert server.bodies == []
    assert send(conn, server).result.all_accepted


@pytest.mark.parametrize("answer", ["500 no", "421 bye", None, "what", TimeoutError()])
def test_a_transaction_that_cannot_be_reset_ends_the_session_and_the_result_stays(answer):
    server = Server({"DATA": "554 no", "RSET": answer})
    conn = connected(server)
    sent = send(conn, server)
    assert sent.codes == [554]
    assert sent.error is None
    assert not conn.is_usable


def test_rset_follows_only_where_a_transaction_is_left_open():
    for answers, last in (
        ({}, "Subject:"),
        ({".": "554 no"}, "Subject:"),
        ({"MAIL": "550 no", "RCPT": "503 no", "DATA": "503 no"}, "DATA"),
        ({"DATA": "554 no"}, "RSET"),
        ({"RCPT": "550 no", "DATA": "503 no"}, "RSET"),
    ):
        server = Server(answers)
        conn = connected(server)
        send(conn, server)
        assert server.verbs[-1] == last
        assert conn.state is State.READY


# Parameters of MAIL

SIZE, MIME, UTF8 = "SIZE 100000", "8BITMIME", "SMTPUTF8"
_8BIT = "<a@x.example> BODY=8BITMIME"


@every(
    ("offered", "body", "to", "options", "line"),
    [
        ((), BODY, "b@y.example", {}, "<a@x.example>"),
        ((SIZE,), BODY, "b@y.example", {}, "<a@x.example> SIZE=21"),
        ((SIZE,), b"", "b@y.example", {}, "<a@x.example> SIZE=0"),
        ((SIZE,), b"a", "b@y.example", {}, "<a@x.example> SIZE=3"),
        ((SIZE,), b"a\nb\rc\r\n", "b@y.example", {}, "<a@x.example> SIZE=9"),
        ((SIZE,), b"a\r", "b@y.example", {}, "<a@x.example> SIZE=3"),
        ((SIZE,), b".\r\n.\r\n", "b@y.example", {}, "<a@x.example> SIZE=6"),
        ((SIZE,), [BODY], "b@y.example", {}, "<a@x.example>"),
        ((SIZE,), [BODY], "b@y.example", {"size": 21}, "<a@x.example> SIZE=21"),
        (("SIZE",), BODY, "b@y.example", {}, "<a@x.example> SIZE=21"),
        (("SIZE 0",), BODY, "b@y.example", {}, "<a@x.example> SIZE=21"),
        (("SIZE 21",), BODY, "b@y.example", {}, "<a@x.example> SIZE=21"),
        ((SIZE,), BODY, "b@y.example", {"parameters": {"SIZE": 7}}, "<a@x.example> SIZE=7"),
        ((MIME,), BODY, "b@y.example", {}, "<a@x.example>"),
        ((MIME,), b"\xff", "b@y.example", {}, "<a@x.example> BODY=8BITMIME"),
        ((MIME,), b"\xff", "b@y.example", {"parameters": {"BODY": "7BIT"}}, "<a@x.example> BODY=7BIT"),
        ((MIME,), [b"\xff"], "b@y.example", {}, "<a@x.example>"),
        ((), b"\xff", "b@y.example", {"allow_8bit": True}, "<a@x.example>"),
        ((), "S: \xfc\r\n\r\n".encode(), "b@y.example", {"allow_8bit": True}, "<a@x.example>"),
        ((MIME,), "S: \xfc\r\n".encode(), "b@y.example", {"allow_8bit": True}, _8BIT),
        ((MIME, UTF8), "\r\nS: \xfc\r\n".encode(), "b@y.example", {}, _8BIT),
        ((MIME, UTF8), "S: x\n\n\xfc\n".encode(), "b@y.example", {}, _8BIT),
        ((MIME, UTF8), b"S: \xfc\r\n\r\n", "b@y.example", {}, _8BIT),
        ((MIME, UTF8), "S: \xfc\r\n\r\n".encode(), "b@y.example", {}, f"{_8BIT} SMTPUTF8"),
        ((MIME, UTF8), "A: b\r\nS: \xfc".encode(), "b@y.example", {}, f"{_8BIT} SMTPUTF8"),
        (
            (UTF8, "XF"),
            BODY,
            "b@y.example",
            {"parameters": {"XF": "\xfc"}},
            "<a@x.example> SMTPUTF8 XF=\xfc",
        ),
        ((UTF8,), BODY, "b@y.example", {}, "<a@x.example>"),
        ((UTF8,), BODY, "\xfc@y.example", {}, "<a@x.example> SMTPUTF8"),
        ((UTF8,), BODY, "b@\xfc.example", {}, "<a@x.example> SMTPUTF8"),
        ((UTF8,), BODY, "@\xfc.example:b@y.example", {}, "<a@x.example> SMTPUTF8"),
        ((UTF8,), BODY, "b@y.example", {"sender": "\xfc@x.example"}, "<\xfc@x.example> SMTPUTF8"),
        ((), BODY, "b@y.example", {"sender": ""}, "<>"),
        (("DSN",), BODY, "b@y.example", {"parameters": {"RET": "HDRS"}}, "<a@x.example> RET=HDRS"),
    ],
)
def test_mail_says_what_is_due_and_offered(offered, body, to, options, line):
    server = Server({"EHLO": "\r\n".join(("250-mx.example", *map("250-{}".format, offered), "250 X"))})
    conn = connected(server)
    options = dict(options)
    whole = body if isinstance(body, bytes) else None
    op = send_message(conn, options.pop("sender", "a@x.example"), [to], whole, **options)
    given = iter(() if isinstance(body, bytes) else body)
    assert drive(op, conn, server, lambda _: next(given, b"")).all_accepted
    assert server.heard[0].decode() == f"MAIL FROM:{line}"
    assert server.heard[1].decode() == f"RCPT TO:<{to}>"


def test_one_recipient_may_be_given_as_text_alone():
    server = Server()
    conn = connected(server)
    result = drive(send_message(conn, "a@x.example", "b@y.example", BODY), conn, server)
    assert [outcome.recipient for outcome in result.accepted] == ["b@y.example"]


def test_an_outcome_can_be_shown():
    server = Server({"RCPT": ["250 ok", "550 5.1.1 no"]})
    result = send(connected(server), server, TO[:2]).result
    shown = [str(outcome) for outcome in result.outcomes]
    assert shown == ["b@y.example: accepted, 250 taken", "c@y.example: refused, 550 5.1.1 no"]
    unsent = Outcome(recipient=Path("b@y.example"), status=Status.UNSENT, reply=None)
    assert str(unsent) == "b@y.example: unsent"


def test_recipients_may_bring_parameters_of_their_own():
    server = Server()
    to = [Rcpt(forward_path="b@y.example", parameters={"NOTIFY": ("NEVER",)}), "c@y.example"]
    assert send(connected(server), server, to).result.all_accepted
    assert server.heard[1:3] == [b"RCPT TO:<b@y.example> NOTIFY=NEVER", b"RCPT TO:<c@y.example>"]


# What may not be sent

STRICT = {"line_ends": LineEnds.STRICT}
FOREIGN_RCPT = Rcpt(forward_path="c@y.example", parameters={"MT": "1"})


@OFFERS
@every(
    ("changed", "connection", "code"),
    [
        ({"recipients": []}, {}, 501),
        ({"sender": "a"}, {}, 501),
        ({"sender": "postmaster"}, {}, 501),
        ({"recipients": [""]}, {}, 501),
        ({"recipients": ["b@y.example", "c@y>\r\nDATA"]}, {}, 501),
        ({"recipients": ["b@y.example", FOREIGN_RCPT]}, {}, 555),
        ({"parameters": {"RET": "X"}}, {}, 501),
        ({"parameters": {"MT": "1"}}, {}, 555),
        ({"body": b"a\0b"}, {}, 501),
        ({"body": b"a" * 999}, {}, 501),
        ({"body": b"a\r\n" * 33334}, {}, 552),
        ({"body": b"a\nb"}, STRICT, 501),
        ({"body": b"a\r"}, STRICT, 501),
        ({"body": None, "size": 100001}, {}, 552),
    ],
)
def test_what_may_not_be_sent_is_refused_before_anything_is_said(ehlo, changed, connection, code):
    server = Server({"EHLO": ehlo})
    conn = connected(server, **connection)
    message = {"sender": "a@x.example", "recipients": ["b@y.example"], "body": BODY, **changed}
    with pytest.raises(LocalProtocolError) as caught:
        drive(send_message(conn, **message), conn, server)
    assert caught.value.code == code
    assert server.writes == []
    assert send(conn, server).result.all_accepted


@OFFERS
@pytest.mark.parametrize(
    ("sender", "to"), [("\xfc@x.example", "b@y.example"), ("a@x.example", "\xfc@y.example")]
)
def test_an_address_beyond_ascii_needs_a_server_that_takes_it(ehlo, sender, to):
    server = Server({"EHLO": ehlo.replace("SMTPUTF8", "SMTPUTF7")})
    conn = connected(server)
    with pytest.raises(NotOffered, match="SMTPUTF8"):
        drive(send_message(conn, sender, [to], BODY), conn, server)
    assert server.writes == []
    assert send(conn, server).result.all_accepted


def test_no_message_is_sent_before_the_client_has_introduced_itself():
    server = Server()
    conn = ClientConnection()
    drive(greet(conn), conn, server)
    with pytest.raises(LocalProtocolError, match="Mail in state greeted"):
        drive(send_message(conn, "a@x.example", ["b@y.example"], BODY), conn, server)
    assert server.writes == []
    assert drive(hello(conn, "client.example"), conn, server).is_positive


# The body

OCTETS = several([b"a", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"\n", b"\r", b"\xff", b"x" * 40], 12).map(
    b"".join
)


@given(body=OCTETS, cuts=several(range(1, 61), 8))
@settings(max_examples=60)
def test_a_message_in_pieces_is_sent_as_if_it_were_whole(body, cuts):
    heard = []
    for given_as in (body, list(pieces(body, cuts))):
        server = Server()
        assert send(connected(server), server, body=given_as, parameters={"SIZE": 1}).result.all_accepted
        heard.append(server.heard[-1])
    assert heard[0] == heard[1]


def test_progress_counts_the_octets_of_the_body_sent_so_far():
    bodies = (b"x" * 70 + b"\r\n", b"one\ntwo", [b"one\r\n", b"two", b"\r\n"])
    for body, ehlo in product(bodies, (LOCK_STEP, PIPELINING)):
        progress: list[int] = []
        server = Server({"EHLO": ehlo})
        send(connected(server), server, body=body, progress=progress.append)
        assert progress == list(accumulate(map(len, [body] if isinstance(body, bytes) else body)))


@every("verdict", [b"250 taken\r\n", b"550 no\r\n", b"421 bye\r\n"])
def test_a_group_that_is_answered_at_once_comes_to_the_same_as_one_by_one(verdict: bytes):
    seen = []
    for answers in ([b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"], [b"250 ok\r\n"] * 3 + [b"354 go\r\n"]):
        conn = ClientConnection(features=Features({"PIPELINING": (), "SIZE": ("1000",)}))
        progress: list[int] = []
        delivery = Delivery()
        recipients = ["a@x.example", "b@x.example"]
        op = send_message(conn, "s@x.example", recipients, BODY, progress=progress.append, delivery=delivery)
        next(op)
        wire = conn.data_to_send()
        try:
            for answer in (*answers, verdict, b"250 reset\r\n"):
                conn.receive_data(answer)
                op.send(conn.next_event())
                wire += conn.data_to_send()
        except StopIteration as stop:
            result = stop.value
        assert delivery.result() == result
        assert delivery.is_out
        seen.append((wire, progress, result, conn.state))
    assert seen[0] == seen[1]
    assert seen[0][1] == [len(BODY)]


def test_a_long_message_goes_out_in_pieces_of_bounded_size():
    body = (b"x" * 78 + b"\r\n") * 10_000
    progress: list[int] = []
    server = Server({"EHLO": "250 mx.example"})
    send(connected(server), server, body=body, progress=progress.append)
    assert server.heard[-1] == body + b".\r\n"
    assert max(map(len, server.writes)) < 300_000
    pieces = [after - before for before, after in pairwise([0, *progress])]
    assert (len(pieces), sum(pieces)) == (4, len(body))
    assert max(pieces) <= 262_144


def test_each_piece_is_on_its_way_before_the_next_is_asked_for():
    server = Server()
    conn = connected(server)
    given_so_far: list[bytes] = []

    def ask(_: object) -> bytes:
        assert b"".join(server.writes).endswith(b"DATA\r\n" + b"".join(given_so_far))
        given_so_far.append(b"line\r\n" if len(given_so_far) < 5 else b"")
        return given_so_far[-1]

    drive(send_message(conn, "a@x.example", ["b@y.example"]), conn, server, ask)
    assert server.heard[-1] == b"line\r\n" * 5 + b".\r\n"


class Interrupt(BaseException):
    """As when somebody hits Ctrl-C."""


@pytest.mark.parametrize("failure", [OSError("disk"), ZeroDivisionError(), Interrupt()])
@pytest.mark.parametrize("where", ["piece", "progress"])
def test_a_message_that_stops_in_the_middle_is_never_completed(failure, where):
    server = Server()
    conn = connected(server)

    def fail(_: object) -> bytes:
        raise failure

    given_first = iter([b"half of a "])

    def ask(_: object) -> bytes:
        return next(given_first, None) or fail(None)

    progress = fail if where == "progress" else None
    op = send_message(conn, "a@x.example", ["b@y.example"], progress=progress)
    with pytest.raises(type(failure)) as caught:
        drive(op, conn, server, ask)
    assert caught.value is failure
    assert conn.state is State.FAILED
    assert server.bodies == []
    assert not b"".join(server.writes).endswith(b".\r\n")


@pytest.mark.parametrize("bad", [b"\0", b"x" * 999, "text"])
def test_a_bad_piece_ends_the_session_and_not_the_message(bad):
    server = Server()
    conn = connected(server)
    given = iter([b"good\r\n", bad])
    with pytest.raises((LocalProtocolError, TypeError)):
        drive(send_message(conn, "a@x.example", ["b@y.example"]), conn, server, lambda _: next(given))
    assert conn.state is State.FAILED
    assert server.bodies == []


def test_an_operation_given_up_in_the_middle_leaves_nothing_to_say():
    for stop in range(4):
        server = Server({"EHLO": LOCK_STEP})
        conn = connected(server)
        loop = steps(send_message(conn, "a@x.example", ["b@y.example"], BODY), conn, server)
        next(loop)
        for _ in range(stop):
            conn.receive_data(server.receive())
            next(loop)
        loop.close()
        assert conn.state is State.FAILED
        assert conn.data_to_send() == b""
        assert len(server.writes) == stop + 1


# What is known on the way -----------------------------------------------------------------------------


def statuses_of(delivery: Delivery) -> list[Status]:
    return [outcome.status for outcome in delivery.result().outcomes]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("given_up_after", [*range(8), None])
def test_what_is_known_of_a_message_is_known_at_any_time(given_up_after, streamed):
    """Also when the operation is given up, as a task is that is cancelled."""
    server = Server({"EHLO": LOCK_STEP, "RCPT": ["250 ok", "550 no", "250 ok"]})
    conn = connected(server)
    delivery = Delivery()
    assert delivery.result() == SendResult(outcomes=())
    given = iter([BODY])
    op = send_message(conn, "a@x.example", TO, None if streamed else BODY, delivery=delivery)
    loop = steps(op, conn, server, lambda _: next(given, b""))
    assert delivery.result() == SendResult(outcomes=())
    # After MAIL, three RCPT and DATA all are unsent that were not refused; after the dot nobody knows.
    unsent, unknown = Status.UNSENT, Status.UNKNOWN
    known = [*[[unsent] * 3] * 3, *[[unsent, Status.REFUSED, unsent]] * 2, [unknown, Status.REFUSED, unknown]]
    for reads, expected in enumerate(known):
        next(loop)
        assert statuses_of(delivery) == expected
        assert delivery.sent is (unknown in expected)
        if reads == given_up_after:
            loop.close()
            assert conn.state is State.FAILED
            assert statuses_of(delivery) == expected
            return
        conn.receive_data(server.receive())
    with pytest.raises(StopIteration) as caught:
        next(loop)
    assert caught.value.value == delivery.result()
    assert statuses_of(delivery) == [Status.ACCEPTED, Status.REFUSED, Status.ACCEPTED]


@pytest.mark.parametrize("pieces_before", [0, 1, 3])
def test_a_body_given_up_in_the_middle_was_not_sent(pieces_before):
    server = Server()
    conn = connected(server)
    delivery = Delivery()
    op = send_message(conn, "a@x.example", TO, delivery=delivery)
    want = op.send(None)
    while want != NextChunk():
        if (event := conn.next_event()) is NEED_DATA:
            server.send(conn.data_to_send())
            conn.receive_data(server.receive())
        else:
            want = op.send(event)
    for _ in range(pieces_before):
        assert op.send(b"line\r\n") == NextChunk()
    op.close()
    assert statuses_of(delivery) == [Status.UNSENT] * 3
    assert not delivery.sent
    assert conn.state is State.FAILED


def test_a_last_piece_that_is_refused_here_was_not_sent():
    server = Server()
    conn = connected(server, line_ends=LineEnds.STRICT)
    delivery = Delivery()
    given = iter([b"line\r"])
    op = send_message(conn, "a@x.example", TO, delivery=delivery)
    with pytest.raises(LocalProtocolError, match="bare CR"):
        drive(op, conn, server, lambda _: next(given, b""))
    assert server.bodies == []
    assert statuses_of(delivery) == [Status.UNSENT] * 3


@OFFERS
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_known_when_the_connection_was_lost_is_what_the_error_says(ehlo, ending):
    for phase in ("MAIL", "RCPT", "DATA", "."):
        server = Server({"EHLO": ehlo, phase: ENDINGS[ending] or None})
        delivery = Delivery()
        sent = send(connected(server), server, TO, delivery=delivery)
        assert sent.error is not None
        assert delivery.result() == sent.result
        assert sent.statuses == [Status.UNKNOWN if phase == "." else Status.UNSENT] * 3


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"recipients": []}, LocalProtocolError),
        ({"body": b"a\0b"}, LocalProtocolError),
        ({"sender": "\xfc@x.example"}, NotOffered),
        ({"conn": ClientConnection()}, LocalProtocolError),
    ],
)
def test_of_a_message_that_may_not_be_sent_nothing_is_known_or_that_it_was_not(changed, error):
    server = Server({"EHLO": LOCK_STEP.replace("SMTPUTF8", "SMTPUTF7")})
    delivery = Delivery()
    message = {"sender": "a@x.example", "recipients": TO, "body": BODY, "conn": connected(server), **changed}
    conn = message.pop("conn")
    with pytest.raises(error):
        drive(send_message(conn, **message, delivery=delivery), conn, server)
    assert {outcome.status for outcome in delivery.result().outcomes} <= {Status.UNSENT}


# LMTP ------------------------------------------------------------------------------------------------


@OFFERS
def test_in_lmtp_each_recipient_has_a_verdict_and_the_next_message_its_own(ehlo):
    verdicts: list[Answer] = ["250 b\r\n452-d\r\n452 full\r\n550 b", "250 c"]
    server = Server({"LHLO": ehlo, "RCPT": ["250 b", "550 c", "250 d", "250 b", "250 c"], ".": verdicts})
    conn = connected(server, lmtp=True)
    sent = send(conn, server, ["b@y.example", "c@y.example", "d@y.example", "b@y.example"])
    assert sent.codes == [250, 550, 452, 550]
    assert [outcome.reply.recipient for outcome in sent.result.outcomes] == [
        Path("b@y.example"),
        None,
        Path("d@y.example"),
        Path("b@y.example"),
    ]
    assert len(sent.result.accepted) == 1
    assert send(conn, server, ["c@y.example"]).result.all_accepted
    assert conn.state is State.READY


@OFFERS
@pytest.mark.parametrize("data", ["354 go", "503 no"])
def test_in_lmtp_a_message_for_nobody_leaves_the_session_in_step(ehlo, data):
    answers: list[Answer] = [data, "354 go"] if ehlo is PIPELINING else ["354 go"]
    verdicts: list[Answer] = (
        ["503 no recipients", "250 d"] if len(answers) == 2 and data == "354 go" else ["250 d"]
    )
    server = Server({"LHLO": ehlo, "RCPT": ["550 b", "550 c", "250 d"], "DATA": answers, ".": verdicts})
    conn = connected(server, lmtp=True)
    assert send(conn, server, TO[:2]).codes == [550, 550]
    assert send(conn, server, TO[2:]).result.all_accepted


# What may go wrong on the way ------------------------------------------------------------------------

ANSWERS = st.sampled_from([250] * 8 + [251, 450, 550, 421, 354, 0, -1])


class Plan(NamedTuple):
    """What a server answers to each command; 0 hangs up, -1 makes no sense."""

    mail: int
    rcpts: list[int]
    data: int
    finals: list[int]

    def play(self, ehlo: str, lmtp: bool, **options: Any) -> tuple[Sent, list[bytes]]:
        server = Server(
            {
                "EHLO": ehlo,
                "LHLO": ehlo,
                "MAIL": self.answer(self.mail),
                "RCPT": [self.answer(code) for code in self.rcpts],
                "DATA": self.answer(self.data),
                ".": self.final(lmtp),
            }
        )
        conn = connected(server, lmtp=lmtp)
        sent = send(conn, server, [f"r{number}@y.example" for number in range(len(self.rcpts))], **options)
        return sent, server.bodies

    def answer(self, code: int) -> Answer:
        return {0: None, -1: "what?"}.get(code, f"{code} x")

    def final(self, lmtp: bool) -> Answer:
        taken = [code for code in self.rcpts if code in (250, 251)]
        said = self.finals[: max(1, len(taken))] if lmtp else self.finals[:1]
        whole = said[: said.index(0)] if 0 in said else said
        return "\r\n".join(str(self.answer(code)) for code in whole) if whole else None


@given(
    plan=st.builds(
        Plan,
        mail=ANSWERS,
        rcpts=st.lists(ANSWERS, min_size=1, max_size=4),
        data=st.sampled_from([354] * 8 + [250, 450, 550, 421, 0, -1]),
        finals=st.lists(ANSWERS, min_size=4, max_size=4),
    ),
    lmtp=st.booleans(),
    all_or_nothing=st.booleans(),
)
@settings(max_examples=200)
def test_the_same_comes_of_a_message_with_pipelining_and_without(plan, lmtp, all_or_nothing):
    (pipelined, bodies), (lock_step, expected) = (
        plan.play(ehlo, lmtp, all_or_nothing=all_or_nothing) for ehlo in (PIPELINING, LOCK_STEP)
    )
    assert pipelined.result == lock_step.result
    assert bodies == expected
    assert [type(o.reply and o.reply.to) for o in pipelined.result.outcomes] == [
        type(o.reply and o.reply.to) for o in lock_step.result.outcomes
    ]
    assert (pipelined.error is None) == (lock_step.error is None)


PHASES = ["MAIL", "RCPT", "DATA", "."]


@OFFERS
@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("phase", PHASES)
def test_421_in_any_phase_refuses_for_all_that_are_left_and_ends_the_session(ehlo, lmtp, phase):
    answers: dict[str, Any] = {"EHLO": ehlo, "LHLO": ehlo, "RCPT": ["250 b", "550 c", "250 d"]}
    answers[phase] = "421 4.3.2 closing"
    if phase == "RCPT":
        answers[phase] = ["250 b", "550 c", "421 4.3.2 closing"]
    server = Server(answers)
    conn = connected(server, lmtp=lmtp)
    sent = send(conn, server, TO)
    assert sent.statuses == [Status.REFUSED] * 3
    assert sent.codes == [421, 421 if phase == "MAIL" else 550, 421]
    assert sent.error is None
    assert conn.state is State.CLOSED
    assert len(server.bodies) == (phase == ".")
    with pytest.raises(LocalProtocolError, match="closed"):
        drive(noop(conn), conn, server)


def test_421_in_the_middle_of_the_verdicts_is_for_all_that_are_left():
    server = Server({".": "250 b\r\n421 bye"})
    conn = connected(server, lmtp=True)
    sent = send(conn, server, TO)
    assert sent.codes == [250, 421, 421]
    assert sent.statuses == [Status.ACCEPTED, Status.REFUSED, Status.REFUSED]
    assert conn.state is State.CLOSED


@pytest.mark.parametrize(
    ("phase", "timer"),
    [("MAIL", Timer.MAIL), ("RCPT", Timer.RCPT), ("DATA", Timer.DATA_INIT), (".", Timer.DATA_DONE)],
)
def test_a_silent_server_is_given_the_time_that_the_rfc_recommends(phase, timer):
    server = Server({"EHLO": LOCK_STEP, phase: TimeoutError()})
    sent = send(connected(server), server)
    assert isinstance(sent.error, TimedOut)
    assert sent.error.timer is timer
    assert sent.error.seconds == timer.seconds
    assert sent.statuses == [Status.UNKNOWN if phase == "." else Status.UNSENT]


@pytest.mark.parametrize(
    ("early", "status"),
    [
        (b"554 5.7.1 go away\r\n", Status.REFUSED),
        (b"421 4.3.2 closing\r\n", Status.REFUSED),
        (b"250 taken\r\n", Status.UNKNOWN),
        (b"354 go on\r\n", Status.UNKNOWN),
    ],
)
@pytest.mark.parametrize("lmtp", [False, True])
def test_what_was_said_before_the_message_was_complete_never_accepts_it(early, status, lmtp):
    server = Server()
    conn = connected(server, lmtp=lmtp)
    given = iter([b"one\r\n", b"two\r\n"])

    def ask(_: object) -> bytes:
        """A loop may look for octets whenever a piece is due."""
        piece = next(given, b"")
        if not piece:
            conn.receive_data(early)
        return piece

    error = None
    try:
        result = drive(send_message(conn, "a@x.example", TO), conn, server, ask)
    except ConnectionLost as exc:
        error, result = exc, exc.result
    assert [outcome.status for outcome in result.outcomes] == [status] * 3
    assert (error is None) is (status is Status.REFUSED)
    assert not conn.is_usable


# A whole session, cut everywhere

SESSION_RCPTS: list[Answer] = ["250-b\r\n250 b", "550 c", "250 d", "250 e"]


def whole_session(server: Server, conn: ClientConnection) -> tuple[list[Sent], SMTPError | None]:
    """Greeting, STARTTLS, a message for three, one for another, QUIT: what became of it."""
    sent: list[Sent] = []
    try:
        drive(greet(conn), conn, server)
        drive(hello(conn, "client.example", starttls="required"), conn, server)
        for to in (TO, ("e@y.example",)):
            sent.append(send(conn, server, to))
            if sent[-1].error is not None:
                return sent, sent[-1].error
        drive(quit(conn), conn, server)
    except SMTPError as exc:
        return sent, exc
    return sent, None


def session_server(ehlo: str, lmtp: bool, **options: Any) -> Server:
    hellos: list[Answer] = ["250-clear\r\n250 STARTTLS", ehlo]
    verdicts: list[Answer] = ["250 b\r\n452 d" if lmtp else "250 taken", "250 taken"]
    answers = {"EHLO": hellos, "LHLO": hellos, "RCPT": SESSION_RCPTS, ".": verdicts}
    return Server(answers, **options)


def statuses_after(replies: int, lmtp: bool) -> list[Status]:
    """What is known of the first message's recipients when so many replies have come."""
    # The greeting, EHLO, STARTTLS, EHLO, MAIL, three RCPT, DATA, and one verdict or two.
    c_rcpt, data, b_final = 6, 8, 9
    d_final = b_final + lmtp
    waiting = Status.UNKNOWN if replies > data else Status.UNSENT
    return [
        Status.ACCEPTED if replies > b_final else waiting,
        Status.REFUSED if replies > c_rcpt else waiting,
        (Status.REFUSED if lmtp else Status.ACCEPTED) if replies > d_final else waiting,
    ]


@OFFERS
@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_wherever_the_connection_ends_each_outcome_is_what_is_known(ehlo, lmtp, ending):
    uncut = session_server(ehlo, lmtp)
    (first, second), error = whole_session(uncut, ClientConnection(lmtp=lmtp))
    assert error is None
    assert first.statuses == statuses_after(99, lmtp)
    assert second.result.all_accepted
    # How it ends makes a difference only for what is thrown: one octet around each line end will do.
    line_ends = [match.end() for match in re.finditer(rb"\r\n", uncut.said)]
    around = sorted(
        {end + offset for end in line_ends for offset in (-1, 0, 1)} & set(range(len(uncut.said) + 1))
    )
    for at in range(len(uncut.said) + 1) if ending == "closed" else around:
        server = session_server(ehlo, lmtp, says_at_most=at, ending=ENDINGS[ending])
        conn = ClientConnection(lmtp=lmtp)
        sent, error = whole_session(server, conn)
        replies = len(re.findall(rb"^\d{3} .*\r\n", uncut.said[:at], re.MULTILINE))
        assert len(sent) == (0 if replies < 4 else 1 if replies < 10 + lmtp else 2), at
        if sent:
            assert sent[0].statuses == statuses_after(replies, lmtp), at
        if len(sent) == 2:
            assert sent[1].result.all_accepted is (replies >= 14 + lmtp), at
            assert sent[1].statuses != [Status.REFUSED], at
        if replies < 14 + lmtp:
            lost: dict[str, type[Exception]] = {"silent": TimedOut, "reset": ConnectionLost}
            due = ConnectionLost if sent else RemoteProtocolError
            assert type(error) is lost.get(ending, due), at
            assert not conn.is_usable, at
            assert conn.data_to_send() == b"", at
        else:
            assert error is None, at


# Writing fails

LAST_WORDS = {
    "nothing": b"",
    "421": b"421 4.3.2 closing\r\n",
    "554": b"554 5.7.1 go away\r\n",
    "more than due": b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e\r\n250 f\r\n221 g\r\n",
    "nonsense": b"what?\r\n",
}


@OFFERS
@pytest.mark.parametrize(
    ("words", "ending"),
    [
        *[(words, "closed") for words in LAST_WORDS],
        ("nothing", "reset"),
        ("421", "silent"),
        ("nothing", "silent"),
    ],
)
def test_wherever_writing_fails_the_last_words_are_heard_and_nothing_is_made_up(ehlo, words, ending):
    body = [b"one\r\n", b"two\r\n", b"three\r\n"]
    uncut = Server({"EHLO": ehlo})
    assert send(connected(uncut), uncut, body=body).result.all_accepted
    said_before = len(b"EHLO client.example\r\n")
    for octets in range(len(b"".join(uncut.writes))):
        server = Server(
            {"EHLO": ehlo},
            hears_at_most=said_before + octets,
            last_words=LAST_WORDS[words],
            ending=ENDINGS[ending],
        )
        conn = connected(server)
        sent = send(conn, server, body=body)
        (outcome,) = sent.result.outcomes
        assert not conn.is_usable
        assert server.bodies == []
        if words in ("421", "554"):
            assert outcome.status is Status.REFUSED, octets
            assert sent.codes == [int(words)]
        elif outcome.status is not Status.UNSENT:
            # Nothing but the server's own word makes more of it.
            assert outcome.status is Status.UNKNOWN or words == "more than due", octets
        else:
            assert isinstance(sent.error, ConnectionLost)


def test_a_server_that_closes_in_the_middle_of_a_long_message_is_asked_why():
    words = b"421 4.3.2 out of disk\r\n"
    server = Server({"EHLO": "250 mx.example"}, hears_at_most=400_000, last_words=words)
    conn = connected(server)
    sent = send(conn, server, body=(b"x" * 78 + b"\r\n") * 10_000)
    assert sent.codes == [421]
    assert sent.error is None
    assert sent.result.outcomes[0].reply.to is None


def test_one_recipient_may_be_given_as_it_is():
    server = Server()
    conn = connected(server)
    result = drive(send_message(conn, "a@x.example", "b@y.example", BODY), conn, server)
    assert [outcome.recipient for outcome in result.outcomes] == ["b@y.example"]
