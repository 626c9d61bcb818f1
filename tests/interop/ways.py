"""The ways to talk to the servers: which one, at which port, with or without TLS; and a client for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import dovecot
import opensmtpd
import postfix
import pytest
from daemon import HOST, USERS, Daemon
from dovecot import Dovecot
from loops import LOOPS, Loop, Opening
from peers import SECONDS

TRANSPORTS = [name for name in LOOPS if name != "uvloop"]


SENDER, RECIPIENT = "ada@sender.example", "bob@example.test"
HEADER = (
    b"From: Ada <ada@sender.example>\r\nTo: Bob <bob@example.test>\r\nSubject: %s\r\n"
    b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)


@dataclass(frozen=True)
class Way:
    """How to get to a server."""

    service: str
    """How the tables call it. It begins with the server's name."""
    port: Literal["smtp", "submission", "smtps", "lmtp", "socket"]
    security: Literal["in the clear", "STARTTLS", "TLS", "Unix socket"]
    must_log_in: bool = False

    @property
    def server(self) -> str:
        """The fixture of the server."""
        return self.service.split()[0].lower()

    @property
    def is_lmtp(self) -> bool:
        return self.service.endswith("LMTP")

    def __str__(self) -> str:
        return f"{self.service}, {self.security}"


WAYS = [
    Way("Postfix", "smtp", "in the clear"),
    Way("Postfix", "smtp", "STARTTLS"),
    Way("Postfix submission", "submission", "STARTTLS", must_log_in=True),
    Way("Postfix", "smtps", "TLS"),
    Way("Dovecot LMTP", "lmtp", "in the clear"),
    Way("Dovecot LMTP", "lmtp", "STARTTLS"),
    Way("Dovecot LMTP", "socket", "Unix socket"),
    Way("Dovecot submission", "submission", "in the clear", must_log_in=True),
    Way("Dovecot submission", "submission", "STARTTLS", must_log_in=True),
    Way("Dovecot submission", "smtps", "TLS", must_log_in=True),
    Way("OpenSMTPD", "smtp", "in the clear"),
    Way("OpenSMTPD", "smtp", "STARTTLS"),
    Way("OpenSMTPD submission", "submission", "STARTTLS", must_log_in=True),
    Way("OpenSMTPD", "smtps", "TLS"),
]


CLEAR = ("in the clear", "Unix socket")
OFFERED: dict[str, dict[str, Sequence[str]]] = {
    "Postfix": {
        "PIPELINING": (),
        "SIZE": ("10240000",),
        "VRFY": (),
        "ETRN": (),
        "ENHANCEDSTATUSCODES": (),
        "8BITMIME": (),
        "DSN": (),
        "SMTPUTF8": (),
        "CHUNKING": (),
        "XCLIENT": ("NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT"),
        "XFORWARD": ("NAME", "ADDR", "PROTO", "HELO", "SOURCE", "PORT", "IDENT"),
    },
    "Dovecot LMTP": {"PIPELINING": (), "ENHANCEDSTATUSCODES": (), "8BITMIME": (), "CHUNKING": ()},
    "Dovecot submission": {
        "PIPELINING": (),
        "SIZE": ("10485760",),
        "ENHANCEDSTATUSCODES": (),
        "8BITMIME": (),
        "CHUNKING": (),
        "BURL": ("imap",),
        "AUTH": dovecot.MECHANISMS,
    },
    "OpenSMTPD": {
        "SIZE": ("10485760",),
        "ENHANCEDSTATUSCODES": (),
        "8BITMIME": (),
        "DSN": (),
        "HELP": (),
    },
}
UNDER_TLS: dict[str, dict[str, Sequence[str]]] = {
    "Postfix": {"AUTH": postfix.MECHANISMS},
    "OpenSMTPD": {"AUTH": opensmtpd.MECHANISMS},
}


def offered(way: Way) -> dict[str, Sequence[str]]:
    """What the server offers in this way."""
    service = way.service if way.server == "dovecot" else way.service.split()[0]
    more = {"STARTTLS": ()} if way.security in CLEAR else UNDER_TLS.get(service, {})
    return {**OFFERED[service], **more}


@dataclass(frozen=True)
class Place:
    """A server that runs, and a way to it."""

    way: Way
    daemon: Daemon
    keeper: Daemon
    """The server whose mailboxes the messages come to."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What `connect` has to be told."""
        if self.way.port == "socket":
            assert isinstance(self.daemon, Dovecot)
            return {"lmtp": True, "unix": self.daemon.socket}
        where = {"lmtp": self.way.is_lmtp, "host": HOST, "port": getattr(self.daemon, self.way.port)}
        if self.way.security == "in the clear":
            return where
        return where | {"context": self.daemon.context, "tls": self.way.security == "TLS"}

    @asynccontextmanager
    async def client(self, loop: Loop, **options: Any) -> AsyncIterator[Any]:
        """A client that may send."""
        async with loop.connect(**self.options, **options) as client:
            if self.way.must_log_in:
                await client.login("alice", USERS["alice"])
            yield client

    def arrived(self, user: str, count: int = 1) -> list[bytes]:
        """The messages in a mailbox, with the line ends that they were sent with."""
        return [message.replace(b"\n", b"\r\n") for message in self.keeper.delivered(user, count)]

    def pool(self, loop: Loop) -> Any:
        """A pool of clients, to be entered."""

        def connect() -> Any:
            return loop.module.connect(**self.options, timeouts=SECONDS, domain="client.example")

        def make() -> Any:
            return loop.module.Pool(2, connect)

        return make() if loop.is_async else Opening(make)


_SUBMISSION = ("Postfix submission", "OpenSMTPD submission")  # the same servers once more
_ONE_EACH = [way for way in WAYS if way.security == "STARTTLS" and way.service not in _SUBMISSION]
each = pytest.mark.parametrize("place", _ONE_EACH, indirect=True, ids=lambda way: way.service)
"""Play a test with each server, in one way."""


def over(
    condition: Callable[[Way], bool] = lambda way: True,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Play a test over each transport, in each way that is meant."""
    ways = [pytest.param(way, id=str(way)) for way in WAYS if condition(way)]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        for name, values in (("loop", TRANSPORTS), ("place", ways)):
            test = pytest.mark.parametrize(name, values, indirect=True)(test)
        return test

    return decorate
