"""Our client with servers that nobody here wrote, over each transport, in each way they can be talked to.

What these servers do otherwise than others is in test_oddities.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dovecot
import pytest
from daemon import USERS
from loops import Loop
from matrix import Cell
from postfix import Postfix
from ways import CLEAR, HEADER, RECIPIENT, SENDER, TRANSPORTS, WAYS, Place, offered, over

from smtp_proto import (
    ConnectionLost,
    Limits,
    NotOffered,
    OriginalRecipient,
    Rcpt,
    Refused,
)
from smtp_proto.ops import Status, Transfer

TABLE = "servers"
NASTY = (
    HEADER % b"nasty"
    + b".\r\n..\r\n...\r\n. \r\n.leading\r\n..leading\r\n\r\n.\r\nFrom the start of a line\r\n>From\r\n"
    + "Grüße – 日本語 😀\r\n".encode()
    + bytes(range(128, 256))
    + b"\r\n\t trailing blanks \t\r\n\x01\x1b[31m\x7f\x0b\x0c\r\n"
    + b"".join(b"x" * length + b"\r\n." + b"y" * length + b"\r\n" for length in (998, 999, 2_000, 20_000))
    + b"the last line\r\n\r\n\r\n\r\n"
)

# --- What is offered


def offers(keyword: str, word: str | None = None) -> Any:
    """Whether a server offers something in a way; after a login, where one has to log in."""
    return lambda way: keyword in (offer := offered(way)) and (word is None or word in offer[keyword])


@over()
def test_what_is_offered_is_read(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "EHLO", loop.name)

    async def scene() -> None:
        async with loop.connect(**place.options) as client:
            assert dict(client.features) == offered(place.way)
            assert (client.ssl_object is None) == (place.way.security in CLEAR)
            assert client.greeting.domain == "mx.example.test"

    loop.run(scene)


# --- Messages


def deliver(place: Place, loop: Loop, transfer: Transfer) -> None:
    """The nasty message arrives."""

    async def scene() -> None:
        async with place.client(loop, limits=Limits(text_line=None)) as client:
            result = await client.send_message(SENDER, RECIPIENT, NASTY, transfer=transfer)
        assert result.all_accepted, result

    loop.run(scene)
    (message,) = place.arrived("bob")
    assert message.endswith(b"\r\n" + NASTY)


@over()
def test_a_nasty_message_arrives_octet_by_octet(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "DATA", loop.name)
    deliver(place, loop, "data")


@over(offers("CHUNKING"))
def test_it_arrives_in_chunks_too(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "BDAT", loop.name)
    deliver(place, loop, "chunking")


@over(lambda way: not offers("CHUNKING")(way))
def test_chunks_are_sent_to_nobody_who_does_not_offer_them(place: Place, loop: Loop) -> None:
    async def scene() -> None:
        async with place.client(loop) as client:
            with pytest.raises(NotOffered):
                await client.send_message(SENDER, RECIPIENT, HEADER % b"no", transfer="chunking")

    loop.run(scene)


@over()
def test_messages_go_back_to_back(place: Place, loop: Loop, cell: Cell) -> None:
    """Each is delivered once, and what became of it is told, also of those that nobody takes."""
    cell(TABLE, str(place.way), "back to back", loop.name)
    messages = [(SENDER, RECIPIENT, HEADER % b"%d" % number + b"x\r\n" * number) for number in range(5)]
    messages.insert(2, (SENDER, "nobody@example.test", messages[0][2]))

    async def scene() -> None:
        async with place.client(loop) as client:
            results = await client.send_messages(messages)
        assert [result.all_accepted for result in results] == [True, True, False, True, True, True]

    loop.run(scene)
    bodies = sorted(message.partition(b"\r\n\r\n")[2] for message in place.arrived("bob", 5))
    assert bodies == [b"x\r\n" * number for number in range(5)]


REFUSALS = {"postfix": (550, "5.1.1"), "dovecot": (550, "5.1.1"), "opensmtpd": (524, "5.2.4")}


@over()
def test_one_of_three_is_refused(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "one of three refused", loop.name)
    recipients = ["alice@example.test", "nobody@example.test", RECIPIENT]

    async def scene() -> None:
        async with place.client(loop) as client:
            vetoed = await client.send_message(SENDER, recipients, HEADER % b"0", all_or_nothing=True)
            result = await client.send_message(SENDER, recipients, HEADER % b"1")
        assert [outcome.recipient for outcome in result.outcomes] == recipients
        refused = result.outcomes[1]
        assert (refused.status, refused.reply.to) == (Status.REFUSED, Rcpt(forward_path=recipients[1]))
        assert (refused.reply.code, refused.reply.enhanced) == REFUSALS[place.way.server]
        assert result.accepted == (result.outcomes[0], result.outcomes[2])
        assert not vetoed.accepted

    loop.run(scene)
    for user in ("alice", "bob"):
        (message,) = place.arrived(user)
        assert b"Subject: 1\r\n" in message


@contextmanager
def broken_mailbox(place: Place, user: str) -> Iterator[None]:
    """Nothing can be put into this mailbox."""
    mailbox = place.daemon.folder / "var/mail" / user
    shutil.move(mailbox, f"{mailbox}.away")
    mailbox.touch()
    yield
    mailbox.unlink()
    shutil.move(f"{mailbox}.away", mailbox)


@over(lambda way: way.is_lmtp)
def test_lmtp_answers_for_each_recipient(place: Place, loop: Loop, cell: Cell) -> None:
    """Also for one who was named twice, and for one whose mailbox fails when the message is there."""
    cell(TABLE, str(place.way), "mixed answers", loop.name)
    names = ["bob", "bob", "carol", "nobody", "dora"]
    recipients = [f"{name}@example.test" for name in names]

    async def scene() -> None:
        async with place.client(loop) as client:
            result = await client.send_message(SENDER, recipients, HEADER % b"mixed")
        assert [outcome.recipient for outcome in result.outcomes] == recipients
        assert [outcome.reply.code for outcome in result.outcomes] == [250, 250, 451, 550, 250]
        assert [outcome.reply.to == Rcpt(forward_path=recipients[3]) for outcome in result.outcomes] == [
            name == "nobody" for name in names
        ]

    with broken_mailbox(place, "carol"):
        loop.run(scene)
    assert len(place.arrived("bob")) == 1
    assert len(place.arrived("dora")) == 1


ECHOED = (
    b"\r\nOriginal-Envelope-Id: order+17=2\r\n",
    b"\r\nOriginal-Recipient: rfc822;Bob+Smith=x@old.example\r\n",
)


@over(offers("DSN"))
def test_delivery_is_notified_of_as_asked(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "DSN", loop.name)
    original = OriginalRecipient("rfc822", "Bob+Smith=x@old.example")
    recipient = Rcpt(forward_path=RECIPIENT, parameters={"NOTIFY": ("SUCCESS",), "ORCPT": original})

    async def scene() -> None:
        async with place.client(loop) as client:
            parameters = {"RET": "HDRS", "ENVID": "order+17=2"}
            result = await client.send_message(
                "alice@example.test", [recipient], HEADER % b"dsn" + b"the body\r\n", parameters=parameters
            )
        assert result.all_accepted

    loop.run(scene)
    assert len(place.arrived("bob")) == 1
    (notification,) = place.arrived("alice")
    assert b"\r\nAction: delivered\r\n" in notification
    assert b"the body" not in notification
    echoed = [line in notification for line in ECHOED]
    assert echoed == [place.way.server == "postfix"] * len(ECHOED)  # OpenSMTPD takes these, and drops them


@over(offers("SMTPUTF8"))
def test_an_internationalized_address_is_delivered_to(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "SMTPUTF8", loop.name)
    message = HEADER.replace(b"To: Bob", "To: Jürgen".encode()) % "Grüße".encode()

    async def scene() -> None:
        async with place.client(loop) as client:
            result = await client.send_message("jürgen@sender.example", "jürgen@example.test", message)
        assert result.all_accepted, result

    loop.run(scene)
    (arrival,) = place.arrived("jürgen")
    assert arrival.endswith(message)
    assert "Return-Path: <jürgen@sender.example>".encode() in arrival
    assert b" with UTF8SMTP" in arrival


@over(lambda way: not offers("SMTPUTF8")(way))
def test_it_is_told_to_nobody_who_does_not_know_it(place: Place, loop: Loop) -> None:
    async def scene() -> None:
        async with place.client(loop) as client:
            with pytest.raises(NotOffered):
                await client.send_message(SENDER, "jürgen@example.test", HEADER % b"no")
            result = await client.send_message(SENDER, ["jürgen@example.test", RECIPIENT], HEADER % b"one")
        assert [outcome.status for outcome in result.outcomes] == [Status.REFUSED, Status.ACCEPTED]

    loop.run(scene)
    assert len(place.arrived("bob")) == 1


@over(lambda way: offers("XCLIENT")(way) and not way.must_log_in)
def test_postfix_believes_whom_it_is_told_of(place: Place, loop: Loop, cell: Cell) -> None:
    """XCLIENT shows in the message; XFORWARD only in the log."""
    cell(TABLE, str(place.way), "XCLIENT, XFORWARD", loop.name)
    assert isinstance(place.daemon, Postfix)
    far = {"NAME": "far.example", "ADDR": "192.0.2.1"}

    async def scene() -> None:
        async with place.client(loop) as client:
            await client.xforward({"NAME": "farther.example", "ADDR": "192.0.2.2", "IDENT": loop.name})
            assert (await client.send_message(SENDER, RECIPIENT, HEADER % b"x")).all_accepted
            await client.xclient("client.example", far)
            assert (await client.send_message(SENDER, RECIPIENT, HEADER % b"x")).all_accepted

    loop.run(scene)
    near, away = place.arrived("bob", 2)
    assert (b"far.example [192.0.2.1]" in near, b"far.example [192.0.2.1]" in away) == (False, True)
    assert "orig_client=farther.example[192.0.2.2]" in place.daemon.logged()


# --- Logging in


def logins() -> list[Any]:
    """Each way with each mechanism that is offered there."""
    return [
        pytest.param(way, mechanism, id=f"{way}-{mechanism}")
        for way in WAYS
        for mechanism in offered(way).get("AUTH", ())
    ]


@pytest.mark.parametrize("loop", TRANSPORTS, indirect=True)
@pytest.mark.parametrize(("place", "mechanism"), logins(), indirect=["place"])
def test_who_has_the_password_is_let_in(place: Place, mechanism: str, loop: Loop, cell: Cell) -> None:
    """And nobody else; who is refused may try again. One of the passwords is not ASCII."""
    cell(TABLE, str(place.way), mechanism, loop.name)
    mechanisms = {"mechanisms": [mechanism], "allow_plaintext": place.way.security in CLEAR}

    async def scene() -> None:
        for user, password in USERS.items():
            async with loop.connect(**place.options) as client:
                with pytest.raises(Refused) as refused:
                    await client.login(user, "not the secret", token="not.the.token", **mechanisms)
                assert refused.value.reply.code == 535
                reply = await client.login(user, password, token=dovecot.token(user), **mechanisms)
                assert reply.code == 235
                assert (await client.noop()).code == 250

    loop.run(scene)


# --- A server that is stopped, and started again

STOPPED = {
    "Postfix": Status.UNSENT,
    "Dovecot LMTP": Status.REFUSED,  # with 421, which was on its way
    "OpenSMTPD": Status.UNSENT,
}


@over(lambda way: not way.must_log_in)
def test_a_restart_is_reported_and_outlived(place: Place, loop: Loop, cell: Cell) -> None:
    cell(TABLE, str(place.way), "restart", loop.name)
    message = (SENDER, RECIPIENT, HEADER % b"restart")

    async def scene() -> None:
        async with place.pool(loop) as pool, place.client(loop) as client:
            assert (await pool.send_message(*message)).all_accepted
            with place.daemon.stopped():
                with suppress(ConnectionLost):
                    await client.send_message(*message, transfer="data")
                assert client.last_result.outcomes[0].status is STOPPED[place.way.service]
                assert not client.conn.is_usable
                with pytest.raises((ConnectionLost, OSError)):
                    await loop.connect(**place.options)
            assert (await pool.send_message(*message, transfer="data")).all_accepted

    loop.run(scene)
    assert len(place.arrived("bob", 2)) == 2
