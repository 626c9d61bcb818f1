"""The check of servers over real sockets: aiosmtpd, whose deviations are known, and our own server, which has
none.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP
from peers import SECONDS, certificates, serving

from smtp_proto.testing.conformance import ServerOptions, Stream, Verdict, check_server
from smtp_transports._places import Security
from smtp_transports._sockets import SocketStream
from smtp_transports.handlers import Mailbox

RECIPIENTS = ("bob@mx.example", "carol@mx.example")

# What aiosmtpd 1.4.6 does otherwise, and why that is so.
DEVIATIONS = {
    "command-line-end": "a StreamReader's readuntil ends its lines at LF, too",
    "reply-text": "the unknown verb is repeated in the reply, and a bare CR in it",
    "help": "250 in the place of 214",
    "mail-syntax": "a path that is not closed is taken",
    "rcpt-syntax": "the null reverse-path is taken as a recipient",
    "smtputf8-missing": "addresses beyond ASCII are judged by whether it is enabled, not by the parameter",
}
IN_LMTP = {
    "lmtp-extensions": "neither PIPELINING nor ENHANCEDSTATUSCODES is offered",
    "lmtp-replies": "one reply to the end of data, however many recipients there are",
}


def check(
    address: tuple[str, int], security: Security | None = None, **options: Any
) -> tuple[set[str], set[str]]:
    """The names of the rules that are broken, and of those that are kept."""

    def connect() -> Stream:
        sock = socket.create_connection(address, SECONDS)
        return SocketStream(sock, *([security] if security else []))

    verdicts = check_server(
        connect, ServerOptions(recipients=RECIPIENTS, deliver=True, attack=True, **options)
    )
    return names(verdicts, "broken"), names(verdicts, "kept")


def names(verdicts: list[Verdict], finding: str) -> set[str]:
    return {verdict.rule.name for verdict in verdicts if verdict.finding == finding}


class AnyPort(Controller):
    """aiosmtpd of either kind, on a port that is free: its own looks for itself where it was told to be."""

    def __init__(self, kind: type[SMTP]) -> None:
        self._kind = kind
        super().__init__(Sink(), "127.0.0.1", 0, enable_SMTPUTF8=True)

    def factory(self) -> SMTP:
        return self._kind(self.handler, **self.SMTP_kwargs)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def aiosmtpd(kind: type[SMTP]) -> Iterator[tuple[str, int]]:
    controller = AnyPort(kind)
    controller.start()
    try:
        yield "127.0.0.1", controller.port
    finally:
        controller.stop()


def test_aiosmtpd_is_known() -> None:
    with aiosmtpd(SMTP) as address:
        broken, kept = check(address, examples=0, patience=SECONDS)
    assert broken == set(DEVIATIONS)
    assert {"bare-line-ends", "end-of-data", "transaction-ends"} <= kept


def test_aiosmtpd_in_lmtp_is_known() -> None:
    # The replies that do not come are waited for.
    with aiosmtpd(LMTP) as address:
        broken, _ = check(address, lmtp=True, examples=0, patience=1.5)
    assert broken == DEVIATIONS.keys() | IN_LMTP.keys()


@pytest.mark.parametrize("lmtp", [False, True], ids=["SMTP", "LMTP"])
def test_our_own_server_does_nothing_wrong(lmtp: bool) -> None:
    mailbox = Mailbox()
    security = Security(certificates().client, server_hostname="127.0.0.1")
    with serving(mailbox, "starttls", lmtp=lmtp) as (server, _):
        assert isinstance(server.address, tuple)
        broken, kept = check(
            server.address,
            security,
            lmtp=lmtp,
            starttls=True,
            examples=5,
            delivered=lambda: [message.data for message in mailbox.messages],
        )
    assert broken == set()
    assert {"starttls-injection", "bare-line-ends", "dot-stuffing", "bdat-content", "pipelining"} <= kept
