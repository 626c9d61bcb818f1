"""The tests of the newsletter, with a real server instead of a mock: `pytest examples/newsletter`.

Needs nothing but the extra `testing`.
"""

import smtplib
from email.message import EmailMessage

import pytest
from newsletter import send_newsletter

from smtp_transports.pytest_plugin import SMTPServer

READERS = ["bob@example.com", "carol@example.com"]


@pytest.fixture
def issue() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "ada@example.org"
    message["To"] = "readers@example.org"
    message["Subject"] = "Grüße"
    message.set_content("Nothing new.")
    return message


def reached(server: SMTPServer) -> list[str]:
    return [recipient for message in server.messages for recipient in message.recipients]


def test_every_reader_gets_a_message(smtp_server: SMTPServer, issue: EmailMessage) -> None:
    assert send_newsletter(issue, READERS, smtp_server.host, smtp_server.port) == []
    assert reached(smtp_server) == READERS
    message = smtp_server.messages[0]
    assert message.sender == "ada@example.org"
    assert message.email["Subject"] == "Grüße"
    assert message.email.get_content() == "Nothing new.\n"


def test_who_is_refused_for_now_gets_it_later(smtp_server: SMTPServer, issue: EmailMessage) -> None:
    smtp_server.fail("RCPT", 450, "4.2.1 the mailbox is busy", recipient=READERS[0])
    assert send_newsletter(issue, READERS, smtp_server.host, smtp_server.port) == []
    assert reached(smtp_server) == [READERS[1], READERS[0]]


def test_who_is_always_refused_is_reported(smtp_server: SMTPServer, issue: EmailMessage) -> None:
    smtp_server.fail("RCPT", 550, "5.1.1 no such user", recipient=READERS[0], times=None)
    assert send_newsletter(issue, READERS, smtp_server.host, smtp_server.port) == [READERS[0]]
    assert smtp_server.transcript.count("S: 550 5.1.1 no such user") == 3


@pytest.mark.parametrize("verb", ["CONNECT", "MAIL", "DATA", "BODY", "."])
def test_a_server_that_hangs_up_is_tried_again(
    smtp_server: SMTPServer, issue: EmailMessage, verb: str
) -> None:
    smtp_server.drop_after(verb)
    assert send_newsletter(issue, READERS, smtp_server.host, smtp_server.port) == []
    assert reached(smtp_server) == READERS


@pytest.mark.smtp_server(starttls=True, require_tls=True, users={"ada": "correct horse"}, require_auth=True)
def test_tls_and_a_password(smtp_server: SMTPServer, issue: EmailMessage) -> None:
    place = (smtp_server.host, smtp_server.port)
    context = smtp_server.client_context
    assert send_newsletter(issue, READERS, *place, login=("ada", "correct horse"), context=context) == []
    assert {(message.user, message.tls) for message in smtp_server.messages} == {("ada", True)}


@pytest.mark.smtp_server(users={"ada": "correct horse"})
def test_a_wrong_password_is_not_tried_again(smtp_server: SMTPServer, issue: EmailMessage) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError):
        send_newsletter(issue, READERS, smtp_server.host, smtp_server.port, login=("ada", "wrong"))
    assert smtp_server.messages == []
