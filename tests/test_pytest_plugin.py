"""The promise of the fixtures: a real server, like the one that was asked for; what was planned happens, once
or as often as it should, and to nothing else; what was said can be read, but for secrets; nothing is left.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest
from peers import MESSAGE, RECIPIENT, SECONDS, SENDER, Peer, calling, nothing_left

import smtp_transports.asyncio
import smtp_transports.trio
from smtp_proto import ConnectionLost, Refused
from smtp_proto.ops import Status
from smtp_transports._client import Client
from smtp_transports.blocking import connect
from smtp_transports.pytest_plugin import AsyncSMTPServer, Options, ReceivedMessage, SMTPServer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/pytest.md"
SECRET = "correct-horse-battery"
USERS = {"ada": SECRET}
ENVELOPE = (b"MAIL FROM:<ada@sender.example>", b"RCPT TO:<grace@mx.example>")
WITH_BODY = (*ENVELOPE, b"DATA", b"Subject: hello\r\n\r\nHello!\r\n.")

Start = Callable[..., SMTPServer]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


def reach(server: SMTPServer | AsyncSMTPServer, **options: Any) -> Client:
    """Our client, connected."""
    there = {"unix": server.unix} if server.unix else {"host": server.host, "port": server.port}
    return connect(**{"domain": "client.example", "timeouts": SECONDS, **there, **options})


def deliver(server: SMTPServer | AsyncSMTPServer, *recipients: str, **options: Any) -> list[Any]:
    """Send a message with DATA: the code for each recipient."""
    with reach(server, **options) as client:
        result = client.send_message(SENDER, recipients or (RECIPIENT,), MESSAGE, transfer="data")
    return [outcome.reply and outcome.reply.code for outcome in result.outcomes]


def talk(server: SMTPServer, *lines: bytes) -> list[int]:
    """Say lines, each when the one before is answered: the codes, the greeting's first; 0 for the end."""
    with calling((server.host, server.port)) as peer:
        codes = [code_of(peer)]
        for line in lines:
            if codes[-1]:
                peer.say(line)
                codes.append(code_of(peer))
    return codes


def code_of(peer: Peer) -> int:
    try:
        return int(peer.reply()[:3] or b"0")
    except ConnectionResetError:
        return 0


# --- Servers like those asked for


@pytest.mark.parametrize(
    ("options", "client", "expected"),
    [
        ({}, {}, {}),
        ({"tls": True}, {"tls": True}, {"tls": True}),
        ({"starttls": True}, {"starttls": "required"}, {"tls": True}),
        ({"starttls": True, "require_tls": True}, {"starttls": "required"}, {"tls": True}),
        ({"lmtp": True}, {"lmtp": True}, {}),
        ({"unix": True}, {}, {}),
        ({"unix": True, "lmtp": True}, {"lmtp": True}, {}),
        ({"unix": True, "tls": True}, {"tls": True, "server_hostname": "localhost"}, {"tls": True}),
    ],
    ids=str,
)
def test_a_message_arrives(
    smtp_server_factory: Start, options: dict[str, Any], client: dict[str, Any], expected: dict[str, Any]
) -> None:
    server = smtp_server_factory(**options)
    if "tls" in expected:
        client = {**client, "context": server.client_context}
    assert deliver(server, RECIPIENT, "edsger@mx.example", **client) == [250, 250]
    (message,) = server.messages
    assert message._asdict() == {
        "sender": SENDER,
        "recipients": (RECIPIENT, "edsger@mx.example"),
        "data": MESSAGE,
        "domain": "client.example",
        "user": None,
        "tls": False,
        "mail_parameters": {"SIZE": len(MESSAGE)},
        "rcpt_parameters": ({}, {}),
        **expected,
    }
    assert message.email["Subject"] == "hello"
    assert message.email.get_content() == "Hello!\n"


def test_parameters_are_kept_for_each_recipient(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(offer=["DSN"])
    lines = (b"RCPT TO:<a@b.example> NOTIFY=NEVER", b"RCPT TO:<c@d.example>")
    mail = ENVELOPE[0] + b" RET=HDRS"
    assert talk(server, b"EHLO x", mail, *lines, *WITH_BODY[2:]) == [220, 250, 250, 250, 250, 354, 250]
    (message,) = server.messages
    assert message.mail_parameters == {"RET": "HDRS"}
    assert [set(parameters) for parameters in message.rcpt_parameters] == [{"NOTIFY"}, set()]


def test_smtplib_finds_it(smtp_server: SMTPServer) -> None:
    assert smtp_server.messages == []
    with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
        assert client.sendmail(SENDER, [RECIPIENT], MESSAGE) == {}
    assert [message.data for message in smtp_server.messages] == [MESSAGE]


@pytest.mark.parametrize("how", ["ca_pem", "client_context"])
def test_smtplib_trusts_the_certificate(smtp_server_factory: Start, how: str) -> None:
    server = smtp_server_factory(tls=True)
    context = ssl.create_default_context(cafile=server.ca_pem) if how == "ca_pem" else server.client_context
    for host in (server.host, "localhost"):
        with smtplib.SMTP_SSL(host, server.port, context=context) as client:
            assert client.noop()[0] == 250
    with pytest.raises(ssl.SSLCertVerificationError):
        smtplib.SMTP_SSL(server.host, server.port, context=ssl.create_default_context())
    assert server.client_context is server.client_context
    assert server.client_context.verify_mode is ssl.CERT_REQUIRED


def test_a_server_has_only_what_it_has(smtp_server_factory: Start) -> None:
    tcp, unix = smtp_server_factory(), smtp_server_factory(unix=True)
    assert tcp.unix is None
    for name in ("host", "port"):
        with pytest.raises(RuntimeError, match=r"listens at /.* no host"):
            getattr(unix, name)
    for name in ("ca_pem", "client_context"):
        with pytest.raises(RuntimeError, match="has no TLS"):
            getattr(tcp, name)


@pytest.mark.parametrize("offer", [["SIZE", "8BITMIME"], {"LIMITS": ["RCPTMAX=2"]}, []], ids=str)
def test_it_offers_what_it_was_told_to(smtp_server_factory: Start, offer: Any) -> None:
    with reach(smtp_server_factory(offer=offer, max_size=1000)) as client:
        assert set(client.features) == {"SIZE", *offer}
        assert client.features.size == 1000
        assert client.features.limits == ({"RCPTMAX": 2} if "LIMITS" in offer else {})


def test_by_default_it_offers_what_servers_do(smtp_server: SMTPServer) -> None:
    with reach(smtp_server) as client:
        assert {"PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8"} < set(client.features)
        assert client.features.size == 33_554_432


def test_a_message_that_is_too_large(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(max_size=10, offer=[])
    assert talk(server, b"EHLO x", *WITH_BODY)[-1] == 552
    assert server.messages == []


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"])
@pytest.mark.parametrize("secret", [SECRET, "some-other-secret"])
def test_users_log_in(smtp_server_factory: Start, mechanism: str, secret: str) -> None:
    server = smtp_server_factory(tls=True, users=USERS, require_auth=True, mechanisms=[mechanism])
    how = {"token": secret} if mechanism == "XOAUTH2" else {"password": secret}
    with reach(server, tls=True, context=server.client_context) as client:
        if secret == SECRET:
            client.login("ada", **how)
            client.send_message(SENDER, [RECIPIENT], MESSAGE)
        else:
            with pytest.raises(Refused, match="535"):
                client.login("ada", **how)
    assert [message.user for message in server.messages] == ["ada"] * (secret == SECRET)


@pytest.mark.parametrize(
    ("options", "mechanisms"),
    [
        ({}, ("SCRAM-SHA-256", "PLAIN", "LOGIN")),
        ({"starttls": True}, ("SCRAM-SHA-256",)),
        ({"users": {}}, ("SCRAM-SHA-256", "PLAIN", "LOGIN")),
        ({"users": None}, ()),
    ],
    ids=str,
)
def test_passwords_are_asked_for_in_the_clear_only_where_there_is_no_tls(
    smtp_server_factory: Start, options: dict[str, Any], mechanisms: tuple[str, ...]
) -> None:
    with reach(smtp_server_factory(**{"users": USERS, **options})) as client:
        assert client.features.auth == mechanisms


def test_nobody_is_somebody_unknown(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(users=USERS)
    assert talk(server, b"EHLO x", b"AUTH PLAIN " + b64encode(b"\0eve\0guess"))[-1] == 535


def test_it_takes_no_mail_without_what_is_required(smtp_server_factory: Start) -> None:
    for options in ({"users": USERS, "require_auth": True}, {"starttls": True, "require_tls": True}):
        assert talk(smtp_server_factory(**options), b"EHLO x", ENVELOPE[0]) == [220, 250, 530]


@pytest.mark.smtp_server(max_size=1234, users=USERS)
@pytest.mark.lmtp_server(unix=True)
class TestMarkers:
    """Markers say what servers are like; the closest one counts."""

    def test_each_fixture_has_its_own(self, smtp_server: SMTPServer, lmtp_server: SMTPServer) -> None:
        with reach(smtp_server) as client, reach(lmtp_server, lmtp=True) as local:
            assert (client.features.size, bool(client.features.auth)) == (1234, True)
            assert (local.features.size, bool(local.features.auth)) == (33_554_432, False)
        assert lmtp_server.unix is not None

    @pytest.mark.smtp_server(max_size=99)
    def test_the_closest_marker_counts(self, smtp_server: SMTPServer) -> None:
        with reach(smtp_server) as client:
            assert (client.features.size, bool(client.features.auth)) == (99, True)

    def test_a_factory_has_none(self, smtp_server_factory: Start) -> None:
        one, other = smtp_server_factory(), smtp_server_factory(max_size=5)
        with reach(one) as client, reach(other) as another:
            assert (client.features.size, another.features.size) == (33_554_432, 5)
        assert one.port != other.port

    def test_the_twins_have_the_same(
        self, async_smtp_server: AsyncSMTPServer, async_lmtp_server: AsyncSMTPServer
    ) -> None:
        with reach(async_smtp_server) as client, reach(async_lmtp_server, lmtp=True):
            assert client.features.size == 1234
        assert async_lmtp_server.unix is not None


# --- Refusals


@pytest.mark.parametrize(
    ("verb", "lines"),
    [
        ("CONNECT", ()),
        ("EHLO", (b"EHLO x",)),
        ("HELO", (b"HELO x",)),
        ("STARTTLS", (b"EHLO x", b"STARTTLS")),
        ("AUTH", (b"EHLO x", b"AUTH PLAIN " + b64encode(f"\0ada\0{SECRET}".encode()))),
        ("MAIL", (b"EHLO x", *ENVELOPE[:1])),
        ("RCPT", (b"EHLO x", *ENVELOPE)),
        ("DATA", (b"EHLO x", *ENVELOPE, b"DATA")),
        ("BDAT", (b"EHLO x", *ENVELOPE, b"BDAT 4 LAST\r\nhi")),
        ("BDAT", (b"EHLO x", *ENVELOPE, b"BDAT 4\r\nhi")),
        (".", (b"EHLO x", *WITH_BODY)),
        (".", (b"EHLO x", *ENVELOPE, b"BDAT 4 LAST\r\nhi")),
        ("RSET", (b"EHLO x", b"RSET")),
        ("VRFY", (b"EHLO x", b"VRFY ada")),
        ("EXPN", (b"EHLO x", b"EXPN all")),
        ("HELP", (b"EHLO x", b"HELP")),
        ("NOOP", (b"EHLO x", b"NOOP")),
        ("QUIT", (b"EHLO x", b"QUIT")),
        ("rcpt", (b"EHLO x", *ENVELOPE)),
    ],
    ids=str,
)
def test_a_command_is_refused_once(smtp_server_factory: Start, verb: str, lines: tuple[bytes, ...]) -> None:
    plaintext = {"users": USERS} if verb == "AUTH" else {"starttls": True}
    server = smtp_server_factory(**plaintext)
    server.fail(verb, 455, "4.1.2 not now")
    before, now = talk(server, *lines)[:-1], talk(server, *lines)
    assert 455 not in before + now
    assert all(code < 400 for code in now) or verb == "EXPN"
    assert server.transcript.count("S: 455 4.1.2 not now\n") == 1
    assert len(server.messages) == (verb == "." or b"LAST" in lines[-1] if lines else 0)


def test_lhlo_is_refused(lmtp_server: SMTPServer) -> None:
    lmtp_server.fail("LHLO", 550)
    assert talk(lmtp_server, b"LHLO x", b"LHLO x") == [220, 550, 250]


def test_refusals_happen_in_the_order_of_planning_and_as_often_as_planned(smtp_server: SMTPServer) -> None:
    smtp_server.fail("NOOP", 450, times=2)
    smtp_server.fail("NOOP", 550)
    smtp_server.fail("RSET", 451, times=None)
    assert talk(smtp_server, *[b"NOOP"] * 4) == [220, 450, 450, 550, 250]
    for _ in range(2):
        assert talk(smtp_server, *[b"RSET"] * 3) == [220, 451, 451, 451]


def test_the_answer_to_a_challenge_is_not_auth(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(users=USERS)
    with calling((server.host, server.port)) as peer:
        peer.introduce()
        peer.say(b"AUTH PLAIN")
        assert code_of(peer) == 334
        server.fail("AUTH", 454)
        peer.say(b64encode(f"\0ada\0{SECRET}".encode()))
        assert code_of(peer) == 235
    assert talk(server, b"EHLO x", b"AUTH PLAIN") == [220, 250, 454]


def test_after_421_the_server_hangs_up(smtp_server: SMTPServer) -> None:
    smtp_server.fail("MAIL", 421)
    assert talk(smtp_server, b"EHLO x", ENVELOPE[0], b"NOOP") == [220, 250, 421, 0]


def test_what_is_said_by_default(smtp_server: SMTPServer) -> None:
    smtp_server.fail("NOOP", 450)
    smtp_server.fail("NOOP", 554)
    talk(smtp_server, b"NOOP", b"NOOP")
    assert "S: 450 4.0.0 refused by the test\n" in smtp_server.transcript
    assert "S: 554 5.0.0 refused by the test" in smtp_server.transcript


def test_one_recipient_is_refused(smtp_server: SMTPServer) -> None:
    smtp_server.fail("RCPT", 550, recipient="b@mx.example")
    assert deliver(smtp_server, "a@mx.example", "b@mx.example", "c@mx.example") == [250, 550, 250]
    assert [message.recipients for message in smtp_server.messages] == [("a@mx.example", "c@mx.example")]


def test_in_lmtp_each_recipient_has_a_verdict(lmtp_server: SMTPServer) -> None:
    everybody = ("a@mx.example", "b@mx.example", "c@mx.example")
    lmtp_server.fail(".", 452, recipient="c@mx.example")
    assert deliver(lmtp_server, *everybody, lmtp=True) == [250, 250, 452]
    lmtp_server.fail(".", 554)
    assert deliver(lmtp_server, *everybody, lmtp=True) == [554, 554, 554]
    lmtp_server.fail(".", 452, recipient="a@mx.example")
    assert deliver(lmtp_server, "a@mx.example", lmtp=True) == [452]
    assert [message.recipients for message in lmtp_server.messages] == [everybody[:2]]


def test_refused_in_the_middle_of_a_group(smtp_server: SMTPServer) -> None:
    smtp_server.fail("RCPT", 450)
    with calling((smtp_server.host, smtp_server.port)) as peer:
        peer.introduce()
        peer.say(*ENVELOPE, b"RCPT TO:<edsger@mx.example>", b"DATA")
        assert [code_of(peer) for _ in range(4)] == [250, 450, 250, 354]
        peer.say(b"hello", b".")
        assert code_of(peer) == 250
    assert smtp_server.messages[0].recipients == ("edsger@mx.example",)


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (lambda server: server.fail("RCTP", 450), "'RCTP' is none of ., AUTH, BDAT, CONNECT"),
        (lambda server: server.fail("", 450), "'' is none of"),
        (lambda server: server.fail("BODY", 450), "'BODY' is none of"),
        (lambda server: server.fail("BURL", 450), "'BURL' is none of"),
        (lambda server: server.drop_after("RCTP"), "'RCTP' is none of"),
        (lambda server: server.fail("RCPT", 250), "250 is no refusal"),
        (lambda server: server.fail("DATA", 354), "354 is no refusal"),
        (lambda server: server.fail("RCPT", 450, times=0), "times is 1 or more"),
        (lambda server: server.drop_after("RCPT", times=-1), "times is 1 or more"),
        (lambda server: server.fail("MAIL", 450, recipient=RECIPIENT), "MAIL has no recipient"),
    ],
)
def test_what_cannot_happen_cannot_be_planned(
    smtp_server: SMTPServer, plan: Callable[[SMTPServer], None], complaint: str
) -> None:
    with pytest.raises(ValueError, match="^" + complaint):
        plan(smtp_server)
    assert deliver(smtp_server) == [250]


# --- Hanging up


@pytest.mark.parametrize(
    ("verb", "lines", "codes"),
    [
        ("CONNECT", (), [0]),
        ("EHLO", (b"EHLO x",), [220, 0]),
        ("STARTTLS", (b"EHLO x", b"STARTTLS"), [220, 250, 0]),
        ("RCPT", (b"EHLO x", *ENVELOPE), [220, 250, 250, 0]),
        ("DATA", (b"EHLO x", *ENVELOPE, b"DATA"), [220, 250, 250, 250, 0]),
        ("BODY", (b"EHLO x", *ENVELOPE, b"DATA", b"half of it"), [220, 250, 250, 250, 354, 0]),
        ("BODY", (b"EHLO x", *ENVELOPE, b"BDAT 5\r\nhe"), [220, 250, 250, 250, 0]),
        ("BDAT", (b"EHLO x", *ENVELOPE, b"BDAT 5"), [220, 250, 250, 250, 0]),
        (".", (b"EHLO x", *WITH_BODY), [220, 250, 250, 250, 354, 0]),
        ("QUIT", (b"EHLO x", b"QUIT"), [220, 250, 0]),
    ],
    ids=str,
)
def test_the_server_hangs_up(
    smtp_server_factory: Start, verb: str, lines: tuple[bytes, ...], codes: list[int]
) -> None:
    server = smtp_server_factory(starttls=True)
    server.drop_after(verb)
    assert talk(server, *lines) == codes
    assert server.messages == []
    assert server.transcript.endswith("-- the server hangs up")
    assert talk(server, b"NOOP") == [220, 250]


def test_what_was_said_before_is_answered_before_it_hangs_up(smtp_server: SMTPServer) -> None:
    smtp_server.drop_after("DATA")
    with calling((smtp_server.host, smtp_server.port)) as peer:
        peer.introduce()
        peer.say(*ENVELOPE, b"DATA")
        assert [code_of(peer) for _ in range(3)] == [250, 250, 0]


def test_it_hangs_up_as_often_as_planned(smtp_server: SMTPServer) -> None:
    smtp_server.drop_after("CONNECT", times=2)
    assert [talk(smtp_server) for _ in range(3)] == [[0], [0], [220]]


def test_it_hangs_up_within_tls(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(tls=True)
    server.drop_after("MAIL", times=None)
    with (
        smtplib.SMTP_SSL(server.host, server.port, context=server.client_context) as client,
        pytest.raises(smtplib.SMTPServerDisconnected),
    ):
        client.sendmail(SENDER, [RECIPIENT], MESSAGE)


def test_a_client_learns_what_is_not_known(smtp_server: SMTPServer) -> None:
    smtp_server.drop_after(".")
    with reach(smtp_server) as client, pytest.raises(ConnectionLost) as caught:
        client.send_message(SENDER, [RECIPIENT], MESSAGE, transfer="data")
    assert caught.value.result is not None
    assert [outcome.status for outcome in caught.value.result.outcomes] == [Status.UNKNOWN]


# --- What was said


def test_the_transcript_has_every_line(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(offer=["CHUNKING"], max_size=1000)
    talk(server, b"ehlo  x", *WITH_BODY, b"MAIL FROM:<b@c.example>", b"Bogus \x1b[2J", b"Bogus \xff", b"QUIT")
    assert server.transcript.split("\n") == [
        "S: 220 mx.example ESMTP",
        "C: ehlo  x",
        "S: 250-mx.example",
        "S: 250-CHUNKING",
        "S: 250 SIZE 1000",
        "C: MAIL FROM:<ada@sender.example>",
        "S: 250 2.1.0 sender ok",
        "C: RCPT TO:<grace@mx.example>",
        "S: 250 2.1.5 recipient ok",
        "C: DATA",
        "S: 354 end with <CRLF>.<CRLF>",
        "C: (26 octets of a message)",
        "C: .",
        "S: 250 2.6.0 message accepted",
        "C: MAIL FROM:<b@c.example>",
        "S: 250 2.1.0 sender ok",
        r"C: Bogus \x1b[2J",
        r"S: 501 5.5.4 control character in the argument: '\x1b[2J'",
        r"C: Bogus \xff",
        "S: 553 5.6.7 the argument is not UTF-8: b'\\xff'",
        "C: QUIT",
        "S: 221 2.0.0 mx.example closing",
    ]


def test_chunks_in_the_transcript(smtp_server: SMTPServer) -> None:
    talk(smtp_server, b"EHLO x", *ENVELOPE, b"BDAT 7\r\n.\r\nhi", b"BDAT 5 LAST\r\nyou", b"RSET")
    said = [line for line in smtp_server.transcript.split("\n") if line.startswith("C: ")]
    octets = ["C: BDAT 7", "C: (7 octets of a message)", "C: BDAT 5 LAST", "C: (5 octets of a message)"]
    assert said[3:] == [*octets, "C: RSET"]
    assert "C: (7 octets of a message)\nS: 250 2.0.0 go on\n" in smtp_server.transcript
    assert smtp_server.messages[0].data == b".\r\nhi\r\nyou\r\n"


def test_what_is_too_long_is_not_mixed_with_what_follows(smtp_server: SMTPServer) -> None:
    assert talk(smtp_server, b"NOOP " + b"x" * 9000, b"HELP me") == [220, 500, 214]
    lines = smtp_server.transcript.split("\n")
    assert lines[1].startswith("C: NOOP xxx")
    assert len(lines[1]) <= 4100
    assert lines[3] == "C: HELP me"


def test_sessions_are_told_apart(smtp_server: SMTPServer) -> None:
    with reach(smtp_server) as one, reach(smtp_server) as another:
        one.noop()
        another.noop()
        one.noop()
    first, second = smtp_server.transcript.removeprefix("-- session 1\n").split("\n-- session 2\n")
    assert [text.count("C: NOOP") for text in (first, second)] == [2, 1]


@pytest.mark.parametrize(("way", "before"), [("tls", ""), ("starttls", "S: 220 2.0.0 go ahead\n")])
def test_tls_is_in_the_transcript(smtp_server_factory: Start, way: str, before: str) -> None:
    server = smtp_server_factory(**{way: True})
    deliver(server, tls=way == "tls", context=server.client_context)
    assert f"{before}-- TLS begins\n" in server.transcript
    assert server.transcript.startswith("-- TLS begins\nS: 220 ") is (way == "tls")


def test_a_handshake_that_fails_leaves_a_trace(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(tls=True)
    with pytest.raises(ConnectionLost):
        reach(server, tls=True)
    assert server.transcript == "-- TLS begins"


@pytest.mark.parametrize(
    "lines",
    [
        [b"AUTH PLAIN " + b64encode(f"\0ada\0{SECRET}".encode())],
        [b"AUTH PLAIN", b64encode(f"\0ada\0{SECRET}".encode())],
        [b"AUTH LOGIN", b64encode(b"ada"), b64encode(SECRET.encode())],
        [b"AUTH LOGIN", b64encode(b"ada"), SECRET.encode()],
        [b"AUTH PLAIN " + SECRET.encode()],
        [b"auth plain " + SECRET.encode() + b" " + b64encode(SECRET.encode())],
        [b"AUTH BOGUS", b64encode(SECRET.encode()), SECRET.encode()],
    ],
    ids=range(7),
)
@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
def test_secrets_are_hidden(smtp_server_factory: Start, lines: list[bytes], refused: bool) -> None:
    server = smtp_server_factory(users=USERS)
    if refused:
        server.fail("AUTH", 454, times=None)
    talk(server, b"EHLO x", *lines, b"NOOP shown")
    said = server.transcript
    for secret in (
        SECRET,
        b64encode(SECRET.encode()).decode(),
        b64encode(f"\0ada\0{SECRET}".encode()).decode(),
    ):
        assert secret not in said
    assert "C: AUTH " in said.upper() or "C: AUTH\n" in said.upper()
    assert said.endswith("C: NOOP shown\nS: 250 2.0.0 ok")


def test_what_follows_a_login_is_shown(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(users=USERS)
    talk(server, b"EHLO x", b"AUTH PLAIN " + b64encode(f"\0ada\0{SECRET}".encode()), b"MAIL TO:<a@b.example>")
    assert "\nC: MAIL TO:<a@b.example>\nS: 5" in server.transcript


# --- Waiting


@contextmanager
def promptly() -> Iterator[None]:
    """What waits here is woken, and not only done when the time is over."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS / 2


def test_wait_for_messages(smtp_server: SMTPServer) -> None:
    with promptly(), ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            pool.submit(lambda: time.sleep(0.02) or deliver(smtp_server))
        assert len(smtp_server.wait(2, timeout=SECONDS)) == 2
        assert smtp_server.wait(timeout=SECONDS) == smtp_server.messages


@pytest.mark.parametrize("library", [smtp_transports.asyncio, smtp_transports.trio])
def test_coroutines_wait_for_messages(async_smtp_server: AsyncSMTPServer, library: Any) -> None:
    async def send() -> None:
        async with library.connect(async_smtp_server.host, async_smtp_server.port) as client:
            for _ in range(2):
                await client.send_message(SENDER, [RECIPIENT], MESSAGE)
                await anyio.sleep(0.02)  # who waits for one would be done

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(send)
            assert len(await async_smtp_server.wait(2, timeout=SECONDS)) == 2
        assert await async_smtp_server.wait(timeout=SECONDS) == async_smtp_server.messages

    with promptly():
        anyio.run(main, backend=library.__name__.rpartition(".")[2])


def test_wait_in_vain(smtp_server: SMTPServer) -> None:
    deliver(smtp_server)
    with pytest.raises(AssertionError, match=r"^1 of 2 messages came within 0.01 seconds$"):
        smtp_server.wait(2, timeout=0.01)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_coroutines_wait_in_vain(async_smtp_server: AsyncSMTPServer, backend: str) -> None:
    async def main() -> None:
        with pytest.raises(AssertionError, match=r"^0 of 1 messages came within 0.01 seconds$"):
            await async_smtp_server.wait(timeout=0.01)

    anyio.run(main, backend=backend)
    assert deliver(async_smtp_server) == [250]  # and nobody is woken any more


# --- The end


def test_the_end_does_not_wait_for_clients(smtp_server_factory: Start) -> None:
    server = smtp_server_factory()
    with calling((server.host, server.port)) as idle, calling((server.host, server.port)) as busy:
        for peer in (idle, busy):
            peer.introduce()
        busy.say(*ENVELOPE, b"DATA", b"half of")
        assert [code_of(busy) for _ in range(3)] == [250, 250, 354]
        seconds = []
        for _ in range(2):  # the fixture will close it again
            started = time.monotonic()
            server.close()
            seconds.append(time.monotonic() - started)
        assert max(seconds) < 1
        busy.rest()
    with pytest.raises(ConnectionRefusedError):
        reach(server)
    assert server.messages == []


def test_the_socket_of_a_unix_server_is_removed(smtp_server_factory: Start) -> None:
    server = smtp_server_factory(unix=True)
    path = Path(str(server.unix))
    assert path.is_socket()
    server.close()
    assert not path.parent.exists()


# --- In the tests of others


MAIN = "import sys, pytest; sys.exit(pytest.main())"
PLUGIN = ("-p", "smtp_transports.pytest_plugin")


def run_pytest(folder: Path, *arguments: str, main: str = MAIN, autoload: bool = False) -> tuple[str, str]:
    """What pytest says of the tests in this folder, and its last line."""
    options = ["-c", os.devnull, "--rootdir", str(folder), "-rA", "--strict-markers", "-W", "error"]
    done = subprocess.run(
        [sys.executable, "-bb", "-c", main, *options, *([] if autoload else PLUGIN), *arguments, str(folder)],
        env={**os.environ, "COLUMNS": "300", **({} if autoload else {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=6 * SECONDS,
        check=False,
    )
    assert done.stderr == ""
    lines = done.stdout.rstrip("\n").split("\n")
    return done.stdout, re.sub(r" in [0-9.]+s.*|=+ ", "", lines[-1])


def write(folder: Path, text: str) -> Path:
    """The folder, with a file of tests in it."""
    (folder / "test_it.py").write_text("import pytest\n" + dedent(text))
    return folder


def test_the_plugin_is_loaded_and_imports_nothing_of_a_server(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        import sys

        def test_first():
            assert "smtp_transports.pytest_plugin" in sys.modules
            dear = {"smtp_proto", "smtp_transports.blocking", "smtp_transports.handlers", "trustme"}
            assert not dear & set(sys.modules)

        def test_then(smtp_server):
            assert smtp_server.messages == []
            assert "trustme" not in sys.modules
        """,
    )
    loaded = ("-p", "no:anyio", "-p", "no:asyncio", "-p", "no:trio", "-p", "no:hypothesispytest")
    assert run_pytest(tmp_path, *loaded, autoload=True)[1] == "2 passed"


def test_the_report_shows_what_was_said(tmp_path: Path) -> None:
    write(
        tmp_path,
        f"""
        import smtplib

        def say(server, word):
            with smtplib.SMTP(server.host, server.port) as client:
                client.docmd("NOOP", word)

        def test_passes(smtp_server):
            say(smtp_server, "quiet")

        @pytest.mark.smtp_server(users={USERS!r})
        def test_fails(smtp_server):
            with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
                client.login("ada", {SECRET!r})
            smtp_server.fail("QUIT", 500)
            raise SystemError

        def test_two(smtp_server_factory):
            for word in ("one", "two"):
                say(smtp_server_factory(), word)
            smtp_server_factory(unix=True).wait(timeout=0)

        def test_unmet(smtp_server):
            smtp_server.fail("RCPT", 450, times=2, recipient="bob@example.com")
            smtp_server.fail("MAIL", 450, times=None)
            smtp_server.drop_after("BODY")
            say(smtp_server, "unmet")

        @pytest.fixture
        def breaks(smtp_server):
            say(smtp_server, "early")
            raise SystemError

        def test_setup(breaks):
            pass

        def test_skips(smtp_server):
            smtp_server.fail("RCPT", 450)
            pytest.skip("for a reason")
        """,
    )
    said, result = run_pytest(tmp_path)
    assert result == "2 failed, 2 passed, 1 skipped, 2 errors"
    assert {word: said.count(f"C: NOOP {word}\n") for word in ("quiet", "one", "two", "unmet", "early")} == {
        "quiet": 0,
        "one": 1,
        "two": 1,
        "unmet": 1,
        "early": 1,
    }
    assert said.count("What was said at 127.0.0.1:") == 5
    assert said.count("\nnobody connected\n") == 1
    assert "C: AUTH PLAIN <hidden>\n" in said
    assert SECRET not in said.replace(f"{SECRET!r}", "")  # the source is shown, too
    plans = "RCPT for bob@example.com: 450, 2 more; BODY: hang up, 1 more"
    assert f"ERROR test_it.py::test_unmet - Failed: planned, and never happened: {plans}\n" in said
    assert "AssertionError: 0 of 1 messages came within 0 seconds\n" in said
    assert "in _arrived" not in said


def test_markers_that_make_no_sense(tmp_path: Path) -> None:
    complaints = {
        "smtp_server(tsl=True)": "a server has no option tsl; there are: lmtp, tls, starttls, require_tls,",
        "smtp_server(True)": "the options of the marker smtp_server have names",
        "smtp_server(tls=True, starttls=True)": "there is no such server: tls and starttls",
        "smtp_server(require_tls=True)": "there is no such server: require_tls without starttls",
        "smtp_server(require_auth=True)": "there is no such server: require_auth without users",
        "smtp_server(mechanisms=['PLIAN'])": "there is no such server: a mechanism that nobody knows",
        "smtp_server(offer='PIPELINING')": "there is no such server: a text where offer takes a list",
        "smtp_server(offer=['PIPE LINING'])": "there is no such server: not an EHLO line",
        "lmtp_server(tsl=True)": None,
    }
    tests = [
        f"@pytest.mark.{marker}\ndef test_{number}(smtp_server): pass\n"
        for number, marker in enumerate(complaints)
    ]
    (tmp_path / "test_it.py").write_text("import pytest\n" + "".join(tests))
    said, result = run_pytest(tmp_path)
    assert result == "1 passed, 8 errors"
    for number, complaint in enumerate(complaints.values()):
        if complaint:
            assert f"ERROR test_it.py::test_{number} - Failed: {complaint}" in said
    assert "Traceback" not in said
    assert "pytest_plugin.py" not in said


def test_without_trustme_there_is_no_tls(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        def test_clear(smtp_server):
            pass

        @pytest.mark.smtp_server(tls=True)
        def test_tls(smtp_server):
            pass
        """,
    )
    said, result = run_pytest(tmp_path, main=MAIN.replace("; ", "; sys.modules['trustme'] = None; "))
    assert result == "1 passed, 1 error"
    assert "Failed: there is no such server: import of trustme halted" in said


ASYNC = """
    @pytest.fixture
    def anyio_backend():
        return "{library}"

    from smtp_proto import ConnectionLost
    from smtp_transports.{library} import connect

    {mark}
    @pytest.mark.smtp_server(starttls=True)
    async def test_loop(async_smtp_server, async_lmtp_server):
        server = async_smtp_server
        server.drop_after("DATA")
        place = {{"host": server.host, "port": server.port, "context": server.client_context}}
        for _ in range(2):
            try:
                async with connect(**place) as client:
                    await client.send_message("a@example.org", ["b@example.com"], b"hi", transfer="data")
            except ConnectionLost:
                assert server.messages == []
        (message,) = await server.wait()
        assert message.tls
        with pytest.raises(AssertionError):
            await async_lmtp_server.wait(timeout=0.01)
"""


@pytest.mark.parametrize(
    ("plugin", "library", "mark"),
    [
        ("pytest_asyncio.plugin", "asyncio", "@pytest.mark.asyncio"),
        ("pytest_trio.plugin", "trio", "@pytest.mark.trio"),
        ("anyio.pytest_plugin", "asyncio", "@pytest.mark.anyio"),
        ("anyio.pytest_plugin", "trio", "@pytest.mark.anyio"),
    ],
)
def test_plugins_that_run_coroutines(tmp_path: Path, plugin: str, library: str, mark: str) -> None:
    spec = importlib.util.find_spec(plugin.partition(".")[0])
    if spec is None or spec.origin is None:
        pytest.skip(f"{plugin} is not installed")
    write(tmp_path, ASYNC.format(library=library, mark=mark))
    options = ["-o", "asyncio_default_fixture_loop_scope=function"] if "asyncio" in plugin else []
    said, result = run_pytest(tmp_path, "-p", plugin, *options)
    assert result == "1 passed", said


@pytest.mark.parametrize("patched", [False, True], ids=["as it is", "patched"])
def test_gevent(tmp_path: Path, patched: bool) -> None:
    write(
        tmp_path,
        f"""
        import gevent
        from gevent import monkey, socket
        from smtp_transports.{"blocking" if patched else "gevent"} import connect

        def send(server):
            with connect(server.host, server.port, context=server.client_context) as client:
                client.send_message("a@example.org", ["b@example.com"], b"hi")

        @pytest.mark.smtp_server(starttls=True)
        def test_greenlets(smtp_server):
            assert monkey.is_module_patched("threading") is {patched}
            later = [gevent.spawn_later(0.01, send, smtp_server) for _ in range(3)]
            if not {patched}:
                gevent.joinall(later)
            assert len(smtp_server.wait(3)) == 3
            idle = socket.create_connection((smtp_server.host, smtp_server.port))
            assert idle.recv(100).startswith(b"220 ")
            smtp_server.close()
            assert idle.recv(100)[:4] in (b"", b"421 ")
            idle.close()
            gevent.joinall(later)
            with pytest.raises(AssertionError):
                smtp_server.wait(4, timeout=0.01)
        """,
    )
    main = "from gevent import monkey; monkey.patch_all(); " + MAIN if patched else MAIN
    said, result = run_pytest(tmp_path, main=main)
    assert result == "1 passed", said


def test_side_by_side_with_xdist(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        import smtplib

        @pytest.mark.smtp_server(tls=True)
        @pytest.mark.parametrize("number", range(8))
        def test_it(smtp_server, lmtp_server, number):
            place = (smtp_server.host, smtp_server.port)
            with smtplib.SMTP_SSL(*place, context=smtp_server.client_context) as client:
                client.sendmail("a@example.org", [f"b{number}@example.com"], "hi")
            assert smtp_server.messages[0].recipients == (f"b{number}@example.com",)
            assert number, "the report comes from a worker"
        """,
    )
    said, result = run_pytest(tmp_path, "-p", "xdist.plugin", "-n", "2")
    assert result == "1 failed, 7 passed"
    assert said.count("C: QUIT\n") == 1


def test_the_example_and_the_page(tmp_path: Path) -> None:
    """Both are read by those who begin."""
    for path in (ROOT / "examples/newsletter").glob("*.py"):
        shutil.copy(path, tmp_path)
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text("utf-8"))
    (tmp_path / "test_page.py").write_text("".join(blocks))
    said, result = run_pytest(tmp_path)
    assert result == "14 passed", said


def test_the_test_on_the_first_page_passes(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / "docs/start.md").read_text("utf-8"))
    (block,) = (block for block in blocks if "(smtp_server)" in block)
    (tmp_path / "test_page.py").write_text(block)
    said, result = run_pytest(tmp_path)
    assert result == "1 passed", said


def test_the_page_names_all_there_is() -> None:
    named = set(re.findall(r"[`(]([a-z_]+)[`(=)]", PAGE.read_text("utf-8")))
    public = {name for name in dir(AsyncSMTPServer) if name[0] != "_"}
    assert {*Options._fields, *ReceivedMessage._fields, "email", *public} <= named
