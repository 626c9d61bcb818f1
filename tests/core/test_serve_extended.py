"""Serving the rarer extensions: the application is asked, and what it does not allow does not happen.

The promises: nobody speaks for another client unless a hook says so; a verdict for each recipient is given
only to who asked for it, and closed by one on the whole; limits that are offered are kept.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from helpers import drive, every
from test_serve import BODY, DATA, EHLO, END, MAIL, RCPT, Site, Wire

from smtp_proto import ClientConnection, Features, Limits, LocalProtocolError, Reply, ServerConnection, Vrfy
from smtp_proto.ops import DEFAULT_OFFER, Session, greet, hello, send_message, send_messages

OK, NO, FULL, BYE = Reply(code=250), Reply(code=550), Reply(code=452), Reply(code=421)


def site(hooks=None, **offer):
    there = Site(hooks, offer=Features({**DEFAULT_OFFER, **offer}))
    assert there.say(EHLO) == [250]
    return there


@pytest.mark.parametrize(("answer", "code"), [(None, 458), (OK, 250), (NO, 550), (ValueError(), 451)])
def test_etrn_is_answered_by_the_application(answer, code):
    there = site({"etrn": answer}, ETRN=())
    assert there.say(b"ETRN @example.org\r\n") == [code]
    assert ("etrn", "@example.org") in there.asked


REFUSED = [(None, 550), (NO, 550), (BYE, 421), (OSError(), 451)]


@pytest.mark.parametrize(("answer", "code"), [*REFUSED, (OK, 250)])
def test_xforward_is_refused_unless_the_application_allows_it(answer, code):
    there = site({"xforward": answer}, XFORWARD=("NAME", "ADDR"))
    assert there.say(b"XFORWARD NAME=a+20b addr=192.0.2.1\r\n") == [code]
    assert there.session.forwarded == ({"NAME": "a b", "ADDR": "192.0.2.1"} if code == 250 else {})
    assert there.session.domain == "c.example"


@pytest.mark.parametrize(("answer", "code"), [*REFUSED, (OK, 220)])
def test_xclient_is_refused_unless_the_application_allows_it(answer, code):
    there = site({"xclient": answer}, XCLIENT=("NAME",))
    assert there.say(b"XCLIENT NAME=[UNAVAILABLE]\r\n") == [code]
    if code == 220:
        assert there.writes[-1] == b"220 mx.example ESMTP\r\n"
        assert there.session.forwarded == {"NAME": "[UNAVAILABLE]"}
        assert there.session.domain is None
        assert there.say(MAIL, EHLO, MAIL) == [503, 250, 250]
    else:
        assert there.session.forwarded == {}
        assert there.session.domain == "c.example"


def test_what_is_not_offered_is_not_asked_for():
    there = site()
    assert there.say(b"ETRN a\r\n", b"XCLIENT NAME=a\r\n", b"XFORWARD NAME=a\r\n") == [502] * 3
    assert there.say(MAIL, RCPT, b"BURL imap:a LAST\r\n") == [250, 250, 502]
    assert {"etrn", "xclient", "xforward"} & set(there.names) == set()


def test_of_urls_nothing_is_fetched():
    there = site(BURL=("imap",))
    assert there.say(MAIL, RCPT, b"BURL imap:a LAST\r\n", MAIL) == [250, 250, 554, 250]
    assert there.say(RCPT, b"BURL imap:a\r\n", b"BDAT 1 LAST\r\nx", b"RSET\r\n") == [250, 554, 503, 250]
    assert "message" not in there.names
    there = site({"data": NO}, BURL=("imap",))
    assert there.say(MAIL, RCPT, b"BDAT 1\r\nxBURL imap:a LAST\r\n") == [250, 250, 550, 503]


ASKED = b"MAIL FROM:<a@x.example> PRDR\r\n"


@every(
    ("answer", "codes"),
    [
        (None, [250]),
        (NO, [550]),
        ([None, None, None], [250]),
        ([NO, NO, NO], [550]),
        ([None, NO, FULL], [353, 250, 550, 452, 250]),
        ([NO, FULL, NO], [353, 550, 452, 550, 452]),
        ([NO, Reply(code=552), NO], [353, 550, 552, 550, 550]),
        ([None, BYE, None], [353, 250, 421]),
        ([None], [451]),
    ],
)
@every("chunks", [False, True])
def test_who_asks_for_it_gets_a_verdict_for_each_recipient(answer, codes, chunks):
    there = site({"message": answer}, PRDR=())
    assert there.say(ASKED + RCPT * 3) == [250] * 4
    assert there.session.per_recipient
    body = b"BDAT %d LAST\r\n%b" % (len(BODY), BODY) if chunks else BODY + END
    assert chunks or there.say(DATA) == [354]
    assert there.say(body) == codes
    assert there.over is (421 in codes)
    if not there.over:
        del there.hooks["message"]
        assert there.say(MAIL + RCPT + DATA, BODY + END) == [250, 250, 354, 250]


def test_who_does_not_ask_gets_one_verdict():
    there = site({"message": [None, NO]}, PRDR=())
    assert there.say(MAIL + RCPT * 2 + DATA) == [250, 250, 250, 354]
    assert not there.session.per_recipient
    assert there.say(BODY + END) == [451]  # a list answers nothing here


def test_a_message_that_cannot_be_taken_is_refused_once():
    there = site(PRDR=())
    assert there.say(ASKED + RCPT * 2 + DATA, b"bare\nLF\r\n" + END) == [250, 250, 250, 354, 550]


def test_limits_that_are_offered_are_kept():
    there = site(LIMITS=("RCPTMAX=2", "MAILMAX=3", "RCPTDOMAINMAX=2"))
    assert there.say(MAIL + RCPT * 3) == [250, 250, 250, 452]
    assert b"452 4.5.3 " in there.writes[-1]
    to = [b"RCPT TO:<b@%b.example>\r\n" % name for name in (b"Y", b"z", b"w")]
    assert there.say(b"RSET\r\n" + MAIL + to[0] + to[2], b"RSET\r\n") == [250, 250, 250, 250, 250]
    assert there.say(MAIL + to[1], b"RCPT TO:<postmaster>\r\n", b"RSET\r\n") == [250, 452, 250, 250]
    # What failed counts too, and whoever was told how many there may be does not get another.
    assert there.say(MAIL) == [421]
    assert b"421 4.7.0 " in there.writes[-1]
    assert there.over


def test_limits_hold_for_the_session_and_not_for_what_is_said_again():
    there = site(LIMITS=("MAILMAX=1",))
    assert there.say(MAIL, b"RSET\r\n", EHLO, MAIL) == [250, 250, 250, 421]


def test_requiretls_is_offered_under_tls_alone():
    for tls in (False, True):
        there = Site(tls=tls, offer=Features({"REQUIRETLS": ()}))
        there.say(EHLO)
        assert (b"REQUIRETLS" in there.writes[-1]) is tls


def test_what_comes_in_too_many_pieces_is_refused():
    there = Site(limits=Limits(parameters=2), offer=Features({"XFORWARD": ("NAME", "ADDR", "PORT")}))
    there.hooks["xforward"] = OK
    assert there.say(EHLO, b"XFORWARD NAME=a ADDR=192.0.2.1 PORT=25\r\n") == [250, 501]
    assert there.say(b"XFORWARD NAME=a ADDR=192.0.2.1\r\n") == [250]


def test_smtputf8_behind_an_argument_is_a_parameter():
    there = site()
    said = "VRFY a b SmtpUtf8\r\nEXPN \xfc SMTPUTF8\r\nVRFY SMTPUTF8\r\n".encode()
    assert there.say(said) == [252, 502, 252]
    assert there.asked[-3:] == [("verify", "a b"), ("expand", "\xfc"), ("verify", "SMTPUTF8")]
    with pytest.raises(LocalProtocolError, match="is a parameter"):
        Vrfy(argument="a SmtpUtf8")


class Path(Wire):
    """A wire on which every wait of the client is one way there and one way back."""

    trips = 0

    def receive(self) -> bytes:
        self.trips += 1
        return super().receive()


def connected(offer):
    conn, path = ClientConnection(), Path(Site(offer=Features(dict.fromkeys(offer, ()))))
    drive(greet(conn), conn, path)
    drive(hello(conn, "c.example"), conn, path)
    path.trips = 0
    return conn, path


@pytest.mark.parametrize(
    ("offer", "trips"),
    [(("PIPELINING", "CHUNKING"), 1), (("PIPELINING",), 2), (("CHUNKING",), 6), ((), 6)],
)
def test_a_message_takes_as_few_round_trips_as_the_server_allows(offer, trips):
    conn, path = connected(offer)
    to = ["b@y.example", "c@y.example", "d@y.example"]
    assert drive(send_message(conn, "a@x.example", to, BODY), conn, path).all_accepted
    assert path.trips == trips


def test_a_thousand_messages_share_a_few_round_trips():
    conn, path = connected(("PIPELINING", "CHUNKING"))
    messages = [(f"a{number}@x.example", ["b@y.example"], BODY) for number in range(1000)]
    assert all(result.all_accepted for result in drive(send_messages(conn, messages), conn, path))
    assert path.trips < 200
    assert path.site.names.count("message") == 1000


def test_a_session_tells_of_tls_what_its_transport_does():
    conn, secured = ServerConnection(), SimpleNamespace(ssl_object="what ssl knows")
    for stream, expected in ((None, None), (SimpleNamespace(), None), (secured, "what ssl knows")):
        assert Session(conn, None, stream).ssl_object == expected
