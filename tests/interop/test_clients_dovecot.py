"""Dovecot's submission as a client of our servers: the only one here that says BDAT."""

from __future__ import annotations

import smtplib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from clients_cases import ANSWERS, ARRIVALS, HEADER, NASTY, PLAIN, TITLES, every_transport, only
from clients_dovecot import Relay
from clients_ours import UNKNOWN, Postbox, Running, running
from clients_programs import DOMAIN, Letter
from daemon import HOST
from loops import Loop
from matrix import Cell

from smtp_proto import Limits, Reply
from smtp_proto.ops import Session

ROW = "Dovecot submission"
# Several chunks of its size.
BIG = Letter(HEADER + NASTY + b"all of it\r\n" * 30_000, recipients=["bob@mx.example", "carol@mx.example"])


class Trusting(Postbox):
    """Believes what Dovecot says of its client."""

    def xclient(self, session: Session, attributes: Mapping[str, str]) -> Reply:
        return Reply(code=250, text="it is noted")

    def message(self, session: Session) -> object:
        self.forwarded = dict(session.forwarded)
        return super().message(session)


def ours(
    loop: Loop, relay: Relay, postbox: Postbox, folder: Path, **options: Any
) -> AbstractContextManager[Running]:
    """Our server, where Dovecot looks for it."""
    return running(loop, folder, postbox, relay.way, port=relay.port, **options)


@every_transport
@pytest.mark.parametrize("letter", [Letter(HEADER + NASTY), BIG], ids=["one chunk", "several chunks"])
def test_a_message_comes_in_chunks(
    loop: Loop, relay: Relay, cell: Cell, tmp_path: Path, letter: Letter
) -> None:
    cell(ARRIVALS, f"{ROW}, {TITLES[relay.way]}", "message", loop.name)
    cell(ANSWERS, ROW, "BDAT", loop.name)
    postbox = Trusting()
    with ours(loop, relay, postbox, tmp_path) as server:
        assert relay.submit(letter) is None
    message = only(postbox)
    assert message.data.startswith(b"Received: ")
    assert message.data.endswith(b"\r\n" + letter.data)
    assert (message.sender, list(message.recipients)) == (letter.sender, list(letter.recipients))
    assert message.mail_parameters["AUTH"] == "", "alice is no mailbox"
    assert message.tls == (relay.way != "tcp")
    assert postbox.forwarded == {"HELO": DOMAIN, "ADDR": HOST}
    (recording,) = server.recordings
    said = b"".join(octets for who, octets in recording.steps if who == "C")
    assert b"\r\nBDAT " in said
    assert b"\r\nDATA\r\n" not in said


@every_transport
def test_reports_are_asked_for(loop: Loop, relay: Relay, cell: Cell, tmp_path: Path) -> None:
    cell(ANSWERS, ROW, "DSN", loop.name)
    postbox = Trusting()
    with ours(loop, relay, postbox, tmp_path):
        assert relay.submit(PLAIN._replace(dsn=True)) is None
    assert only(postbox).mail_parameters["RET"] == "HDRS"
    assert only(postbox).rcpt_parameters[0]["NOTIFY"] == ("SUCCESS",)


@every_transport
def test_one_of_three_recipients_is_refused(loop: Loop, relay: Relay, cell: Cell, tmp_path: Path) -> None:
    cell(ANSWERS, ROW, "one refused", loop.name)
    postbox = Trusting()
    with ours(loop, relay, postbox, tmp_path):
        relay.submit(PLAIN._replace(recipients=["bob@mx.example", UNKNOWN, "carol@mx.example"]))
    assert only(postbox).recipients == ("bob@mx.example", "carol@mx.example")


@every_transport
def test_a_message_that_is_too_large_is_refused(loop: Loop, relay: Relay, cell: Cell, tmp_path: Path) -> None:
    cell(ANSWERS, ROW, "too large", loop.name)
    postbox = Trusting()
    with ours(loop, relay, postbox, tmp_path, limits=Limits(message_size=10_000)):
        refused = relay.submit(BIG)
    assert isinstance(refused, smtplib.SMTPResponseException)
    assert refused.smtp_code == 552
    assert not postbox.messages


@every_transport
def test_who_is_refused_at_once_tells_its_user(loop: Loop, relay: Relay, cell: Cell, tmp_path: Path) -> None:
    cell(ANSWERS, ROW, "421 at once", loop.name)
    postbox = Trusting(Reply(code=421, text="4.3.2 come again later"))
    with ours(loop, relay, postbox, tmp_path):
        refused = relay.submit(PLAIN)
    assert "come again later" in str(refused)
    assert not postbox.messages
