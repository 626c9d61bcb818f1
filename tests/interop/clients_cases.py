"""What the tests of clients have in common: letters, and the clients and transports to send them by."""

from __future__ import annotations

from typing import Any

import pytest
from clients_ours import Postbox, Recording
from clients_programs import CLIENTS, Client, Letter
from ways import TRANSPORTS

from smtp_transports.pytest_plugin import ReceivedMessage

# The tables that the tests fill: what arrives, in which way; and what else was tried with a client.
ARRIVALS, ANSWERS = "clients", "answers to clients"
TITLES = {"tcp": "in the clear", "starttls": "STARTTLS", "tls": "TLS", "unix": "LMTP"}

HEADER = b"""From: ada@client.example\r
To: bob@mx.example\r
Subject: hello\r
Date: Sun, 29 Nov 2026 10:00:00 +0000\r
Message-ID: <1@client.example>\r
MIME-Version: 1.0\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
"""
NASTY = (
    b".\r\n..\r\n.a\r\n...b\r\n\r\n.\r\nFrom here\r\n>From there\r\ntrailing \t\r\n"
    + "Grüße".encode()
    + b"\r\n"
    + bytes(range(128, 256))
    + b"\r\n\x01\x1b[31m\x7f\t\x0b\x0c\r\n"
    + b"x" * 998
    + b"\r\n."
    + b"y" * 997
    + b"\r\n"
    + (b"." * 70 + b"\r\n") * 300
    + b"end\r\n\r\n\r\n\r\n"
)
PLAIN = Letter(HEADER + b"Hello.\r\n")

every_transport = pytest.mark.parametrize("loop", TRANSPORTS, indirect=True)


def case(client: Client, *more: Any, name: str = "") -> Any:
    """A case of a test for this client; skipped where the client is missing."""
    reason = client.missing()
    marks = [pytest.mark.skip(reason=reason)] if reason else []
    return pytest.param(client, *more, id=name or client.name, marks=marks)


def clients(*abilities: str) -> pytest.MarkDecorator:
    """Each client that can do all of these; without any, each."""
    able = [case(client) for client in CLIENTS.values() if set(abilities) <= client.can]
    return pytest.mark.parametrize("client", able)


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where this client is missing."""
    reason = CLIENTS[name].missing()
    return pytest.mark.skipif(reason is not None, reason=reason or "")


def only(postbox: Postbox) -> ReceivedMessage:
    """The one message that came."""
    (message,) = postbox.messages
    return message


def codes(recording: Recording) -> list[int]:
    """Of our replies, in the order in which they were said."""
    lines = b"".join(octets for who, octets in recording.steps if who == "S").splitlines()
    return [int(line[:3]) for line in lines if line[3:4] != b"-"]
