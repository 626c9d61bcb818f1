"""Postfix as a client of our servers, for SMTP and for LMTP on a Unix socket; and its generator of load."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from clients_cases import ANSWERS, ARRIVALS, HEADER, NASTY, PLAIN, TITLES, codes, every_transport, only
from clients_ours import OFFER, USER, Postbox, Running, running
from clients_postfix import MECHANISMS, WAYS, Sender
from clients_programs import Letter
from loops import Loop
from matrix import Cell

from smtp_proto import Features, Limits, Reply
from smtp_proto.ops import Session
from smtp_transports.auth import AuthSettings

every_way = pytest.mark.parametrize("way", [*WAYS, "unix"])


@contextmanager
def ours(loop: Loop, sender: Sender, postbox: Postbox, way: str, **options: Any) -> Iterator[Running]:
    """Our server, where this Postfix looks for it."""
    if way != "unix":
        options.setdefault("port", sender.places[way])
    with running(loop, sender.folder / "ours", postbox, way, **options) as server:
        if way == "unix":
            os.chmod(sender.socket, 0o777)  # who delivers there is not root
        yield server


LOGINS = [(way, mechanism) for way in WAYS for mechanism in (None, *MECHANISMS)] + [("unix", None)]


@every_transport
@pytest.mark.parametrize(("way", "mechanism"), LOGINS)
def test_a_nasty_message_arrives_as_it_was_sent(
    loop: Loop, sender: Sender, cell: Cell, way: str, mechanism: str | None
) -> None:
    cell(ARRIVALS, f"Postfix, {TITLES[way]}", mechanism or "message", loop.name)
    postbox = Postbox()
    letter = Letter(HEADER + NASTY, recipients=[sender.recipient("bob", way, mechanism)])
    with ours(loop, sender, postbox, way):
        sender.submit(letter)
        assert sender.outcome(letter.recipients[0]).startswith("sent (250 2.6.0 message accepted)")
    sender.forget()
    message = only(postbox)
    trace, _, rest = message.data.partition(b"\r\nFrom: ")
    assert trace.startswith(b"Received: from client.example")
    assert b"From: " + rest == letter.data
    assert (message.sender, list(message.recipients)) == (letter.sender, letter.recipients)
    assert message.user == (mechanism and USER)
    assert message.tls == (way in ("starttls", "tls"))
    assert message.mail_parameters["BODY"] == "8BITMIME"


@every_transport
@every_way
def test_addresses_beyond_ascii_arrive(loop: Loop, sender: Sender, cell: Cell, way: str) -> None:
    cell(ANSWERS, "Postfix", "SMTPUTF8", loop.name)
    postbox = Postbox()
    letter = PLAIN._replace(sender="jörg@client.example", recipients=[sender.recipient("jürgen", way)])
    with ours(loop, sender, postbox, way):
        sender.submit(letter, "SMTPUTF8")
        postbox.wait(1, 10)
    sender.forget()
    message = only(postbox)
    assert (message.sender, list(message.recipients)) == (letter.sender, letter.recipients)
    assert message.mail_parameters["SMTPUTF8"] is True
    assert message.rcpt_parameters[0]["ORCPT"] == ("utf-8", letter.recipients[0])


@every_transport
@every_way
def test_reports_are_asked_for(loop: Loop, sender: Sender, cell: Cell, way: str) -> None:
    cell(ANSWERS, "Postfix", "DSN", loop.name)
    postbox = Postbox()
    letter = PLAIN._replace(dsn=True, recipients=[sender.recipient("bob", way)])
    with ours(loop, sender, postbox, way):
        sender.submit(letter, "RET=HDRS", "ENVID=a+2Bb")
        postbox.wait(1, 10)
    sender.forget()
    message = only(postbox)
    assert (message.mail_parameters["RET"], message.mail_parameters["ENVID"]) == ("HDRS", "a+b")
    (parameters,) = message.rcpt_parameters
    assert set(parameters["NOTIFY"]) == {"FAILURE", "SUCCESS"}
    assert str(parameters["ORCPT"].address) == letter.recipients[0]


@every_transport
@every_way
def test_each_recipient_has_an_outcome(loop: Loop, sender: Sender, cell: Cell, way: str) -> None:
    """In LMTP of one of them only behind the message."""
    cell(ANSWERS, "Postfix", "one refused at the end" if way == "unix" else "one refused", loop.name)
    expected = {"bob": "sent", "nobody": "bounced", "full": "deferred", "carol": "sent"}
    texts = {"nobody": "550 5.1.1 there is no such mailbox", "full": "452 4.2.2 the mailbox is full"}
    if way == "unix":
        expected["late"], texts["late"] = "deferred", "451 4.3.0 try again"
    postbox = Postbox()
    names = {user: sender.recipient(user, way) for user in expected}
    with ours(loop, sender, postbox, way):
        sender.submit(PLAIN._replace(recipients=list(names.values())))
        outcomes = {user: sender.outcome(name) for user, name in names.items()}
    sender.forget()
    assert {user: outcome.split()[0] for user, outcome in outcomes.items()} == expected
    assert all(text in outcomes[user] for user, text in texts.items())
    assert sorted(postbox.messages[0].recipients) == sorted([names["bob"], names["carol"]])


@every_transport
def test_what_was_refused_at_once_comes_again(loop: Loop, sender: Sender, cell: Cell) -> None:
    cell(ANSWERS, "Postfix", "421 at once", loop.name)
    name = sender.recipient("bob", "tcp")
    busy, postbox = Postbox(Reply(code=421, text="4.3.2 come again later")), Postbox()
    with ours(loop, sender, busy, "tcp"):
        sender.submit(PLAIN._replace(recipients=[name]))
        assert "421 4.3.2 come again later" in sender.outcome(name)
    with ours(loop, sender, postbox, "tcp"):
        postbox.wait(1, 20)
    sender.forget()
    only(postbox)


class Stranger(Postbox):
    """Knows nobody."""

    def authenticate(self, session: Session, question: Any) -> object:
        return None


LIMITED = {"limits": Limits(message_size=10_000)}
ONLY_USERS = {"auth": AuthSettings(["PLAIN"], required=True)}
# The column of the table, the handler, options of the server, a mechanism, and what becomes of the letter.
REFUSALS: dict[str, tuple[type[Postbox], Mapping[str, Any], str | None, str]] = {
    "too large": (Postbox, LIMITED, None, "bounced (message size"),
    "no login": (Postbox, ONLY_USERS, None, "bounced"),
    "wrong password": (Stranger, {}, "SCRAM-SHA-256", "deferred (SASL authentication failed"),
}


@every_transport
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_letter_is_refused(loop: Loop, sender: Sender, cell: Cell, refusal: str) -> None:
    cell(ANSWERS, "Postfix", refusal, loop.name)
    kind, options, mechanism, outcome = REFUSALS[refusal]
    postbox = kind()
    name = sender.recipient("bob", "starttls", mechanism)
    with ours(loop, sender, postbox, "starttls", **options):
        sender.submit(Letter(HEADER + NASTY, recipients=[name]))
        assert sender.outcome(name).startswith(outcome)
    sender.forget()
    assert not postbox.messages


@every_transport
def test_a_letter_in_the_clear_is_refused(loop: Loop, sender: Sender, cell: Cell) -> None:
    cell(ANSWERS, "Postfix", "no STARTTLS", loop.name)
    postbox = Postbox()
    name = sender.recipient("bob", "tcp")
    with ours(loop, sender, postbox, "starttls", port=sender.places["tcp"], require_tls=True):
        sender.submit(PLAIN._replace(recipients=[name]))
        outcome = sender.outcome(name)
    sender.forget()
    assert outcome.startswith("bounced")
    assert "530 5.7.0 say STARTTLS first" in outcome
    assert not postbox.messages


class Trusting(Postbox):
    """Believes who speaks for another."""

    def xforward(self, session: Session, attributes: Mapping[str, str]) -> Reply:
        return Reply(code=250, text="it is noted")

    def deliver(self, session: Session, message: Any) -> Any:
        self.forwarded = dict(session.forwarded)
        return super().deliver(session, message)


@every_transport
def test_postfix_says_for_whom_it_speaks(loop: Loop, sender: Sender) -> None:
    attributes = ("NAME", "ADDR", "PROTO", "HELO", "SOURCE")
    postbox = Trusting()
    with ours(loop, sender, postbox, "tcp", offer=Features({**OFFER, "XFORWARD": attributes})):
        sender.submit(PLAIN._replace(recipients=["bob@ours-tcp-xforward.relay.test"]))
        postbox.wait(1, 10)
    sender.forget()
    only(postbox)
    assert postbox.forwarded["HELO"] == "client.example"
    assert postbox.forwarded["ADDR"] == "127.0.0.1"


# --- smtp-source


@every_transport
@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_many_messages_come_over_many_connections(loop: Loop, sender: Sender, way: str) -> None:
    """Each connection brings one after the other, to three recipients each."""
    postbox = Postbox()
    with ours(loop, sender, postbox, way) as server:
        where = f"unix:{sender.socket}" if way == "unix" else f"inet:127.0.0.1:{server.place.port}"
        options = ["-L"] if way == "unix" else []
        options += ["-s", "5", "-m", "100", "-l", "5000", "-r", "3", "-d", "-f", "ada@client.example"]
        sender.run("smtp-source", *options, "-t", "bob@mx.example", where)
    assert len(postbox.messages) == 100
    assert {len(message.recipients) for message in postbox.messages} == {3}
    assert min(len(message.data) for message in postbox.messages) >= 5000
    assert len(server.recordings) == 5
    assert all(codes(recording)[-1] == 221 for recording in server.recordings)
