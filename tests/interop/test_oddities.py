"""What each of these servers does otherwise than the others, and that it is of no consequence.

One way to each will do, and blocking sockets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from daemon import HOST, USERS
from dovecot import Dovecot, token
from opensmtpd import OpenSMTPD
from peers import SECONDS
from postfix import Postfix
from ways import HEADER, RECIPIENT, SENDER, Place, each

from smtp_proto import ClientConnection, LocalProtocolError, Refused, Reply, ops
from smtp_proto.ops import Status
from smtp_proto.sasl import Context, Credentials
from smtp_transports import smtplib
from smtp_transports._places import Security
from smtp_transports._sockets import SocketStream
from smtp_transports.blocking import Client, connect
from smtp_transports.streams import Driver


@contextmanager
def client_of(place: Place) -> Iterator[Client]:
    """A client that may send."""
    with connect(**place.options, domain="client.example", timeouts=SECONDS) as client:
        if place.way.must_log_in:
            client.login("alice", USERS["alice"])
        yield client


def decided(client: Client, recipient: str, body: Any = HEADER % b"odd") -> Reply:
    """The reply that decided what became of a message."""
    (outcome,) = client.send_message(SENDER, recipient, body).outcomes
    assert outcome.reply is not None
    return outcome.reply


# --- Content


@each
@pytest.mark.parametrize("transfer", ["data", "auto"])
def test_nothing_in_a_message_ends_it(place: Place, transfer: Any) -> None:
    """LF.LF does, at three of these: behind it would stand a message of somebody else. It is not sent so."""
    ends = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n.\r\n", b"\r\n.\r\r\n"]
    evil = b"MAIL FROM:<eve@evil.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nevil\r\n.\r\n"
    body = b"".join(end + evil for end in ends)
    with client_of(place) as client:
        assert client.send_message(SENDER, RECIPIENT, HEADER % b"evil" + body, transfer=transfer).all_accepted
        assert client.noop().code == 250
    (message,) = place.arrived("bob")
    expected = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert message.endswith(b"\r\n\r\n" + expected)
    place.keeper.settle()
    assert not place.keeper.files()


@each
@pytest.mark.parametrize(
    ("body", "text"),
    [(b"", b""), (b"X-Only: a header\r\n", b""), (b"\r\nonly text\r\n", b"only text\r\n"), (HEADER, b"")],
    ids=["nothing", "header", "text", "header and empty line"],
)
def test_messages_that_are_hardly_any_arrive(place: Place, body: bytes, text: bytes) -> None:
    """Some of these servers add what a header lacks, and a line end."""
    with client_of(place) as client:
        assert client.send_message(SENDER, RECIPIENT, body).all_accepted
    (message,) = place.arrived("bob")
    assert message.partition(b"\r\n\r\n")[2] == text


TOO_BIG = {
    "Postfix": (552, "5.3.4"),
    "Dovecot LMTP": (250, "2.0.0"),  # it has no limit
    "Dovecot submission": (552, "5.2.3"),
    "OpenSMTPD": (554, "5.3.4"),
}


@each
def test_what_is_too_big_is_not_begun_where_its_size_is_known(place: Place) -> None:
    big = HEADER % b"big" + (b"x" * 70 + b"\r\n") * 160_000
    with client_of(place) as client:
        if client.features.size is not None:
            with pytest.raises(LocalProtocolError, match="1870"):
                client.send_message(SENDER, RECIPIENT, big)
        reply = decided(client, RECIPIENT, iter([big]))
        assert (reply.code, reply.enhanced) == TOO_BIG[place.way.service]


# --- Replies

REPLIES: dict[str, Callable[[Client], Reply]] = {
    "relaying": lambda client: decided(client, "eve@elsewhere.example"),
    "quoted": lambda client: decided(client, '"a b"@example.test'),
    "VRFY": lambda client: client.verify("bob@example.test"),
    "VRFY of nobody": lambda client: client.verify("nobody@example.test"),
    "EXPN": lambda client: client.expand("list"),
    "HELP": lambda client: client.help(),
    "NOOP": lambda client: client.noop(),
    "RSET": lambda client: client.reset(),
}
SAID: dict[str, list[tuple[int, str | None]]] = {
    "Postfix": [
        *((554, "5.7.1"), (550, "5.1.1"), (252, "2.0.0"), (550, "5.1.1")),
        *((500, "5.5.2"), (500, "5.5.2"), (250, "2.0.0"), (250, "2.0.0")),
    ],
    "Dovecot LMTP": [
        *((550, "5.1.1"), (550, "5.1.1"), (501, "5.5.4"), (501, "5.5.4")),
        *((500, "5.5.1"), (500, "5.5.1"), (250, "2.0.0"), (250, "2.0.0")),
    ],
    "Dovecot submission": [
        *((554, "5.7.1"), (550, "5.1.1"), (501, "5.5.4"), (501, "5.5.4")),
        *((500, "5.5.1"), (500, "5.5.1"), (250, "2.0.0"), (250, "2.0.0")),
    ],
    "OpenSMTPD": [
        *((550, None), (501, "5.1.3"), (500, "5.5.1"), (500, "5.5.1")),
        *((500, "5.5.1"), (214, "2.0.0"), (250, "2.0.0"), (250, "2.0.0")),
    ],
}


@each
def test_the_same_is_said_in_other_words(place: Place) -> None:
    """Codes differ, and enhanced codes are missing where they were promised: the first digit tells enough."""
    with client_of(place) as client:
        replies = {name: ask(client) for name, ask in REPLIES.items()}
    said = [(reply.code, reply.enhanced) for reply in replies.values()]
    assert said == SAID[place.way.service], replies


def test_who_may_come_later_is_told_so(postfix: Postfix) -> None:
    with connect(HOST, postfix.smtp, domain="client.example", timeouts=SECONDS) as client:
        result = client.send_message(SENDER, ["grey@example.test", "full@example.test"], HEADER % b"later")
    assert [outcome.status for outcome in result.outcomes] == [Status.REFUSED] * 2
    assert [outcome.reply.is_transient for outcome in result.outcomes if outcome.reply] == [True, True]


# --- EHLO, once more


@contextmanager
def driver_to(daemon: Any, port: int) -> Iterator[tuple[ClientConnection, Driver]]:
    """The operations, on a stream of our own: the clients say EHLO when it is due, and no more."""
    stream = SocketStream(
        socket.create_connection((HOST, port), SECONDS),
        Security(daemon.context, server_hostname="localhost"),
    )
    conn = ClientConnection()
    driver = Driver(conn, stream, SECONDS)
    driver.run(ops.greet(conn))
    driver.run(ops.hello(conn, "client.example", starttls="required"))
    yield conn, driver
    stream.close()


def test_opensmtpd_refuses_a_second_ehlo(opensmtpd: OpenSMTPD) -> None:
    """Whoever wants a clean slate there has to say RSET."""
    with driver_to(opensmtpd, opensmtpd.smtp) as (conn, driver):
        before = conn.features
        with pytest.raises(Refused, match="503"):
            driver.run(ops.hello(conn, "client.example"))
        assert conn.features == before
        assert driver.run(ops.reset(conn)).code == 250


def test_dovecot_offers_something_else_to_who_has_logged_in(dovecot: Dovecot) -> None:
    """AUTH without any mechanism, and DSN."""
    with driver_to(dovecot, dovecot.submission) as (conn, driver):
        assert conn.features.auth
        credentials, context = Credentials("alice", USERS["alice"]), Context(nonce="a-nonce-of-the-test")
        driver.run(ops.authenticate(conn, credentials, context))
        driver.run(ops.hello(conn, "client.example"))
        assert (conn.features["AUTH"], conn.features.auth) == ((), ())
        assert "DSN" in conn.features


# --- Logging in


def test_a_token_that_is_refused_is_fetched_anew(dovecot: Dovecot) -> None:
    """The refusal is a challenge, which has to be answered."""
    asked: list[bool] = []

    def fetch(anew: bool) -> str:
        asked.append(anew)
        return token("alice") if anew else "not.the.token"

    with connect(HOST, dovecot.submission, context=dovecot.context, timeouts=SECONDS) as client:
        assert client.login("alice", token=fetch, mechanisms=["OAUTHBEARER"]).code == 235
    assert asked == [False, True]


def test_the_drop_in_does_what_programs_expect_of_smtplib(postfix: Postfix) -> None:
    with smtplib.SMTP(HOST, postfix.submission, "client.example", SECONDS) as client:
        client.starttls(context=postfix.context)
        client.login("dora", USERS["dora"])
        recipients = [RECIPIENT, "nobody@example.test"]
        refused = client.sendmail(SENDER, recipients, HEADER % b"smtplib" + b".\r\n")
    assert {address: code for address, (code, _) in refused.items()} == {recipients[1]: 550}
    (message,) = postfix.delivered("bob")
    assert message.endswith(b"\n\n.\n")
