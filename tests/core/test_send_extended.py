"""Sending what needs more than RFC 5321: UTF-8, eight bits, verdicts for each, and sessions with limits.

The promises: nothing is said to a server that it did not offer to take; who cannot be told is refused
unheard, and the others get the message; a server's limits are kept, and each outcome stands in its place.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from helpers import drive, every
from scripted import LOCK_STEP, PIPELINING, Server, connected

from smtp_proto import ConnectionLost, LocalProtocolError, NotOffered, Rcpt
from smtp_proto.ops import Delivery, Status, send_message, send_messages

OFFERS = pytest.mark.parametrize("ehlo", [LOCK_STEP, PIPELINING], ids=["lock-step", "pipelining"])

BODY = b"Subject: t\r\n\r\nhello\r\n"
TO = ("b@y.example", "c@y.example", "d@y.example")
MIME, UTF8 = "8BITMIME", "SMTPUTF8"
UTF8_HEADER = "Subject: \xfc\r\n\r\nhi\r\n".encode()


@pytest.mark.parametrize(
    ("offered", "body", "parameters", "keyword"),
    [
        ((), b"\xff", {}, "8BITMIME"),
        ((MIME,), UTF8_HEADER, {}, "SMTPUTF8"),
        ((UTF8,), UTF8_HEADER, {}, "8BITMIME"),
        (("XFOO",), BODY, {"XFOO": "\xfc"}, "SMTPUTF8"),
        (("XFOO",), BODY, Rcpt(forward_path="b@y.example", parameters={"XFOO": "\xfc"}), "SMTPUTF8"),
    ],
)
def test_what_is_beyond_ascii_needs_a_server_that_takes_it(offered, body, parameters, keyword):
    server = Server({"EHLO": "\r\n".join(("250-mx.example", *map("250-{}".format, offered), "250 X"))})
    conn = connected(server)
    to, parameters = ([parameters], {}) if isinstance(parameters, Rcpt) else (TO, parameters)
    with pytest.raises(NotOffered, match=keyword) as raised:
        drive(send_message(conn, "a@x.example", to, body, parameters=parameters), conn, server)
    assert raised.value.keyword == keyword
    assert server.writes == []


def test_a_parameter_beyond_ascii_of_one_recipient_needs_smtputf8_for_all():
    server = Server({"EHLO": "250-mx.example\r\n250-SMTPUTF8\r\n250 XFOO"})
    conn = connected(server)
    to = [Rcpt(forward_path="b@y.example", parameters={"XFOO": "\xfc"}), "c@y.example"]
    assert drive(send_message(conn, "a@x.example", to, BODY), conn, server).all_accepted
    assert server.heard[0] == b"MAIL FROM:<a@x.example> SMTPUTF8"


def test_octets_without_text_need_chunks_and_no_8bitmime():
    server = Server({"EHLO": "250-mx.example\r\n250-CHUNKING\r\n250 BINARYMIME"})
    conn = connected(server)
    op = send_message(conn, "a@x.example", TO, b"\xff", parameters={"BODY": "BINARYMIME"})
    assert drive(op, conn, server).all_accepted


def to_ascii(domain):
    return domain.encode("idna").decode()


@OFFERS
def test_where_some_cannot_be_told_the_others_get_it(ehlo):
    server = Server({"EHLO": ehlo.replace("SMTPUTF8", "SMTPUTF7"), "RCPT": ["250 ok", "550 no"]})
    conn = connected(server)
    to = ["\xfc@y.example", "b@y.example", "c@\xfc.example", "d@y.example", "\xfc@\xfc.example"]
    result = drive(send_message(conn, "a@x.example", to, BODY), conn, server)
    assert [outcome.recipient for outcome in result.outcomes] == to
    assert [outcome.reply.code for outcome in result.outcomes] == [553, 250, 553, 550, 553]
    assert result.outcomes[0].reply.to == Rcpt(forward_path=to[0])
    assert [line for line in server.heard if line.startswith(b"RCPT")] == [
        b"RCPT TO:<b@y.example>",
        b"RCPT TO:<d@y.example>",
    ]


@OFFERS
def test_a_domain_beyond_ascii_has_a_spelling_in_ascii(ehlo):
    answers = {"RCPT": ["250 ok", "550 no", "250 ok"]}
    server = Server({"EHLO": ehlo.replace("SMTPUTF8", "SMTPUTF7"), **answers})
    conn = connected(server)
    to = ["b@\xfc.example", "@x.example:c@\xfc.example", '"b c"@\xfc.example', "d@y.example"]
    op = send_message(conn, "a@b\xfccher.example", to, BODY, idna=to_ascii)
    result = drive(op, conn, server)
    assert [outcome.recipient.with_route for outcome in result.outcomes] == to
    assert [outcome.reply.code for outcome in result.outcomes] == [250, 553, 550, 250]
    assert [line.split()[1] for line in server.heard if line[:4] in (b"MAIL", b"RCPT")] == [
        b"FROM:<a@xn--bcher-kva.example>",
        b"TO:<b@xn--tda.example>",
        b'TO:<"b',
        b"TO:<d@y.example>",
    ]


@pytest.mark.parametrize("spelled", ["", "a b", "\xfc", "x>"])
def test_what_makes_no_domain_of_one_refuses_it(spelled):
    def broken(domain):
        if not spelled:
            raise UnicodeError("not a domain")
        return spelled

    server = Server({"EHLO": LOCK_STEP.replace("SMTPUTF8", "SMTPUTF7")})
    conn = connected(server)
    op = send_message(conn, "a@x.example", ["b@\xfc.example", "b@y.example"], BODY, idna=broken)
    assert [outcome.reply.code for outcome in drive(op, conn, server).outcomes] == [553, 250]
    with pytest.raises(NotOffered, match="SMTPUTF8"):
        drive(send_message(conn, "a@\xfc.example", TO, BODY, idna=broken), conn, server)


# The limits of RFC 9422


def limited(limits, **answers):
    server = Server({"EHLO": f"250-mx.example\r\n250-PIPELINING\r\n250 LIMITS {limits}", **answers})
    return server, connected(server)


def said(server, verb):
    return sum(line.startswith(verb) for line in server.heard)


def test_recipients_are_split_into_as_many_transactions_as_the_server_asks_for():
    server, conn = limited("RCPTMAX=2", RCPT=["250 ok", "550 no", "250 ok", "250 ok", "250 ok"])
    to = [f"{name}@y.example" for name in "bcdef"]
    result = drive(send_message(conn, "a@x.example", to, BODY), conn, server)
    assert [outcome.recipient for outcome in result.outcomes] == to
    assert [outcome.reply.code for outcome in result.outcomes] == [250, 550, 250, 250, 250]
    assert (said(server, b"MAIL"), said(server, b"RCPT"), said(server, b"DATA")) == (3, 5, 3)
    assert server.bodies == [BODY + b".\r\n"] * 3


def test_a_transaction_that_is_refused_leaves_the_next_one_alone():
    server, conn = limited("RCPTMAX=1", MAIL=["250 ok", "450 later", "250 ok"])
    result = drive(send_message(conn, "a@x.example", TO, BODY), conn, server)
    assert [outcome.reply.code for outcome in result.outcomes] == [250, 450, 250]


def test_for_whom_there_is_no_room_in_a_session_nothing_is_sent():
    server, conn = limited("RCPTMAX=1 MAILMAX=2")
    result = drive(send_message(conn, "a@x.example", TO, BODY), conn, server)
    assert [outcome.status for outcome in result.outcomes] == [Status.ACCEPTED] * 2 + [Status.UNSENT]
    with pytest.raises(LocalProtocolError, match="no more than 2 messages") as full:
        drive(send_message(conn, "a@x.example", TO, BODY), conn, server)
    assert full.value.code == 421
    assert said(server, b"MAIL") == 2


def test_the_domains_of_a_session_are_counted():
    server, conn = limited("RCPTDOMAINMAX=2")
    to = ["b@y.example", "c@z.example", "d@Y.EXAMPLE", "e@x.example", "postmaster", '"f"@[192.0.2.1]']
    sent, unsent = Status.ACCEPTED, Status.UNSENT
    result = drive(send_message(conn, "a@x.example", to, BODY), conn, server)
    assert [outcome.status for outcome in result.outcomes] == [sent, sent, sent, unsent, sent, unsent]
    assert [outcome.recipient for outcome in result.outcomes] == to
    again = drive(send_message(conn, "a@x.example", ["e@x.example", "g@z.example"], BODY), conn, server)
    assert [outcome.status for outcome in again.outcomes] == [unsent, sent]
    nobody = drive(send_message(conn, "a@x.example", ["e@x.example"], BODY), conn, server)
    assert [outcome.status for outcome in nobody.outcomes] == [unsent]
    assert said(server, b"MAIL") == 2


def test_many_messages_are_sent_as_far_as_there_is_room():
    many = [("a@x.example", [f"b@{name}.example", "c@y.example"], BODY) for name in "yzwy"]
    sent, unsent = Status.ACCEPTED, Status.UNSENT
    for limits, expected in [
        ("MAILMAX=2", [[sent, sent], [sent, sent], [unsent, unsent], [unsent, unsent]]),
        ("RCPTDOMAINMAX=2", [[sent, sent], [sent, sent], [unsent, sent], [sent, sent]]),
        ("RCPTMAX=1 MAILMAX=3", [[sent, sent], [sent, unsent], [unsent, unsent], [unsent, unsent]]),
    ]:
        for chunking in ("250-CHUNKING\r\n", ""):
            ehlo = f"250-mx.example\r\n{chunking}250-PIPELINING\r\n250 LIMITS {limits}"
            server = Server({"EHLO": ehlo})
            conn = connected(server)
            results = drive(send_messages(conn, many), conn, server)
            assert [[outcome.status for outcome in result.outcomes] for result in results] == expected


def test_of_many_messages_one_that_nobody_can_be_told_costs_nothing():
    server, conn = limited("RCPTDOMAINMAX=1")
    many = [("a@x.example", [f"b@{name}.example"], BODY) for name in "yzy"]
    results = drive(send_messages(conn, many), conn, server)
    assert [result.all_accepted for result in results] == [True, False, True]
    assert said(server, b"MAIL") == 2


def test_what_cannot_be_split_is_not_begun():
    server, conn = limited("RCPTMAX=2")
    with pytest.raises(LocalProtocolError, match="all or nothing"):
        drive(send_message(conn, "a@x.example", TO, BODY, all_or_nothing=True), conn, server)
    with pytest.raises(LocalProtocolError, match="read once"):
        drive(send_message(conn, "a@x.example", TO), conn, server)
    assert server.writes == []
    server, conn = limited("RCPTDOMAINMAX=1")
    to = ["b@y.example", "c@z.example"]
    result = drive(send_message(conn, "a@x.example", to, BODY, all_or_nothing=True), conn, server)
    assert [outcome.status for outcome in result.outcomes] == [Status.UNSENT] * 2
    assert server.writes == []


def test_a_connection_that_dies_between_two_transactions_says_who_got_it():
    server, conn = limited("RCPTMAX=1", MAIL=["250 ok", "421 4.3.2 closing"])
    delivery = Delivery()
    with suppress(ConnectionLost):
        drive(send_message(conn, "a@x.example", TO, BODY, delivery=delivery), conn, server)
    assert [outcome.recipient for outcome in delivery.result().accepted] == list(TO[:1])
    assert delivery.is_out


def test_who_was_only_refused_before_may_be_asked_again():
    server, conn = limited("RCPTMAX=1", MAIL=["450 later", "421 4.3.2 closing"])
    delivery = Delivery()
    with suppress(ConnectionLost):
        drive(send_message(conn, "a@x.example", TO, BODY, delivery=delivery), conn, server)
    assert delivery.result().accepted == ()
    assert not delivery.is_out


# A verdict for each recipient (PRDR)


@every("keyword", ["", "CHUNKING"])
@every(
    ("verdict", "codes"),
    [
        ("250 ok", [250, 550, 250, 250]),
        ("550 no", [550, 550, 550, 550]),
        ("353 one by one\r\n250 b\r\n451 c\r\n552 d\r\n250 some", [250, 550, 451, 552]),
        ("353 one by one\r\n250 b\r\n250 c\r\n250 d\r\n452 none", [452, 550, 452, 452]),
        ("353 one by one\r\n550 b\r\n550 c\r\n550 d\r\n550 none", [550, 550, 550, 550]),
    ],
)
def test_with_prdr_each_recipient_may_have_a_verdict(verdict, codes, keyword):
    answers = {".": [verdict, "250 ok"], "RCPT": ["250 b", "550 no", *["250 ok"] * 9]}
    server = Server({"EHLO": f"250-mx.example\r\n250-PIPELINING\r\n250-{keyword}\r\n250 PRDR", **answers})
    conn = connected(server)
    to = [*TO, "e@y.example"]
    result = drive(send_message(conn, "a@x.example", to, BODY, parameters={"PRDR": True}), conn, server)
    assert [outcome.reply.code for outcome in result.outcomes] == codes
    # The next message has one verdict again.
    assert drive(send_message(conn, "a@x.example", TO, BODY), conn, server).all_accepted
