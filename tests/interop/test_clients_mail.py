"""What clients of other people send to our servers arrives as it was sent, over each transport and way."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from clients_cases import (
    ANSWERS,
    ARRIVALS,
    HEADER,
    NASTY,
    PLAIN,
    TITLES,
    case,
    clients,
    every_transport,
    only,
)
from clients_ours import LATE, TOKENS, UNKNOWN, USER, USERS, Postbox, Serve
from clients_programs import CLIENTS, Client, Letter
from loops import Loop
from matrix import Cell

from smtp_proto.ops import Session
from smtp_transports.handlers import Maildir, Message


def logins() -> Iterator[Any]:
    """Each client in each of its ways, with each mechanism of AUTH, and without."""
    for client in CLIENTS.values():
        for way in client.ways:
            for mechanism in (None, *client.mechanisms):
                if mechanism != "EXTERNAL" or way in ("starttls", "tls"):
                    yield case(client, way, mechanism, name=f"{client.name}-{way}-{mechanism}")


def logging_in(letter: Letter, mechanism: str | None) -> Letter:
    user = TOKENS if mechanism in ("OAUTHBEARER", "XOAUTH2") else USER
    return letter._replace(mechanism=mechanism, user=user, secret=USERS[user])


def is_as_sent(client: Client, sent: bytes, came: bytes) -> bool:
    """Whether not an octet is different. Who writes a header of its own is asked for the body."""
    if client.name != "git send-email":
        return came == sent
    return came.partition(b"\r\n\r\n")[2] == sent.partition(b"\r\n\r\n")[2]


@every_transport
@pytest.mark.parametrize(("client", "way", "mechanism"), [*logins()])
def test_a_nasty_message_arrives_as_it_was_sent(
    loop: Loop, ours: Serve, cell: Cell, client: Client, way: str, mechanism: str | None
) -> None:
    cell(ARRIVALS, f"{client.name}, {TITLES[way]}", mechanism or "message", loop.name)
    postbox = Postbox()
    letter = logging_in(Letter(HEADER + NASTY), mechanism)
    with ours(postbox, way) as server:
        sent = client.send(server.place, letter)
    assert sent.is_content, sent.text
    message = only(postbox)
    assert is_as_sent(client, letter.data, message.data)
    assert (message.sender, message.recipients) == (letter.sender, tuple(letter.recipients))
    assert (message.user, message.tls) == (mechanism and letter.user, way in ("starttls", "tls"))
    assert message.domain == "client.example"
    assert ("BODY" in message.mail_parameters) == ("8bitmime" in client.can)


class Filing(Postbox):
    """Files mail in a Maildir."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._maildir = Maildir(folder)

    def deliver(self, session: Session, message: Message) -> None:
        self._maildir.deliver(session, message)


@every_transport
@clients("lmtp")
def test_a_nasty_message_is_filed_as_it_was_sent(
    loop: Loop, ours: Serve, client: Client, tmp_path: Path
) -> None:
    with ours(Filing(tmp_path / "mail"), "unix") as server:
        sent = client.send(server.place, Letter(HEADER + NASTY))
    assert sent.is_content, sent.text
    (file,) = (tmp_path / "mail" / "new").iterdir()
    trace = b"Return-Path: <ada@client.example>\nDelivered-To: bob@mx.example\n"
    assert file.read_bytes() == trace + (HEADER + NASTY).replace(b"\r\n", b"\n")


@every_transport
@clients("smtputf8")
def test_addresses_beyond_ascii_arrive(loop: Loop, ours: Serve, cell: Cell, client: Client) -> None:
    cell(ANSWERS, client.name, "SMTPUTF8", loop.name)
    postbox = Postbox()
    beyond = ["jürgen@mx.example", "用户@例子.example"]
    letter = PLAIN._replace(sender="jörg@client.example", recipients=beyond)
    with ours(postbox, "starttls") as server:
        sent = client.send(server.place, letter)
    assert sent.is_content, sent.text
    message = only(postbox)
    # curl says the domain in its other form.
    recipients = [recipient.replace("xn--fsqu00a", "例子") for recipient in message.recipients]
    assert (message.sender, recipients) == (letter.sender, letter.recipients)
    assert message.mail_parameters["SMTPUTF8"] is True


@every_transport
@clients("dsn")
def test_reports_are_asked_for(loop: Loop, ours: Serve, cell: Cell, client: Client) -> None:
    cell(ANSWERS, client.name, "DSN", loop.name)
    postbox = Postbox()
    with ours(postbox, "starttls") as server:
        sent = client.send(server.place, PLAIN._replace(dsn=True))
    assert sent.is_content, sent.text
    message = only(postbox)
    assert message.mail_parameters["RET"] == "HDRS"
    assert [set(each["NOTIFY"]) for each in message.rcpt_parameters] == [{"FAILURE", "SUCCESS"}]


@every_transport
@clients()
def test_one_of_three_recipients_is_refused(loop: Loop, ours: Serve, cell: Cell, client: Client) -> None:
    """Who goes on reaches the other two; who gives up reaches nobody, and says why."""
    cell(ANSWERS, client.name, "one refused", loop.name)
    postbox = Postbox()
    letter = PLAIN._replace(recipients=["bob@mx.example", UNKNOWN, "carol@mx.example"])
    with ours(postbox, "starttls") as server:
        sent = client.send(server.place, letter)
    assert "5.1.1 there is no such mailbox" in sent.text
    if "some" in client.can:
        assert only(postbox).recipients == ("bob@mx.example", "carol@mx.example")
    else:
        assert not sent.is_content
        assert not postbox.messages


@every_transport
@clients("lmtp")
def test_one_of_three_recipients_is_refused_behind_the_message(
    loop: Loop, ours: Serve, cell: Cell, client: Client
) -> None:
    cell(ANSWERS, client.name, "one refused at the end", loop.name)
    postbox = Postbox()
    letter = PLAIN._replace(recipients=["bob@mx.example", LATE, "carol@mx.example"])
    with ours(postbox, "unix") as server:
        sent = client.send(server.place, letter)
    assert "4.3.0 try again" in sent.text
    assert only(postbox).recipients == ("bob@mx.example", "carol@mx.example")


@every_transport
def test_many_messages_come_over_one_connection(loop: Loop, ours: Serve) -> None:
    """The standard library's client, which says RSET where something was refused."""
    postbox = Postbox()
    with ours(postbox, "tcp") as server, smtplib.SMTP(server.place.host, server.place.port) as client:
        for number in range(30):
            recipients = ["bob@mx.example", UNKNOWN] if number % 3 else [UNKNOWN]
            with suppress(smtplib.SMTPRecipientsRefused):
                client.sendmail("ada@client.example", recipients, HEADER + b"%d\r\n" % number)
    bodies = [message.data.removeprefix(HEADER) for message in postbox.messages]
    assert bodies == [b"%d\r\n" % number for number in range(30) if number % 3]
