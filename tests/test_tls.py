"""Servers whose TLS is broken, missing or somebody else's, in every library: a clear error each, and the
password of a client that wants to log in stays with it. What reached the server is read there.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from loops import LOOPS, Loop, fresh_loop, scripted_server
from peers import MESSAGE, RECIPIENT, SENDER, Peer, another_authority, certificates

from smtp_proto import ConnectionLost, NotOffered, Refused, RemoteProtocolError, TimedOut
from smtp_transports.handlers import Discard

PASSWORD = "correct horse"
SECRETS = (PASSWORD.encode(), b64encode(b"\0ada\0" + PASSWORD.encode()), b64encode(PASSWORD.encode()))
OFFER = (b"250-mx.example", b"250-AUTH PLAIN LOGIN", b"250 STARTTLS")


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Loop]:
    """Every loop in turn."""
    with fresh_loop(request.param, caplog) as loop:
        yield loop


# --- What a server may do; each returns all that it was told


def up_to_starttls(peer: Peer, offer: tuple[bytes, ...] = OFFER) -> None:
    peer.say(b"220 mx.example")
    peer.hear(b"EHLO ")
    peer.say(*offer)


def stripped(peer: Peer) -> bytes:
    """Somebody in between took STARTTLS out of the offer, and put AUTH in."""
    up_to_starttls(peer, (b"250-mx.example", b"250-AUTH PLAIN LOGIN", b"250 XXXXXXXX"))
    return peer.rest()


def hello_refused(peer: Peer) -> bytes:
    """Nothing is offered to who says HELO."""
    peer.say(b"220 mx.example")
    peer.hear(b"EHLO ")
    peer.say(b"502 not implemented")
    return peer.rest()


def answering(*lines: bytes) -> Callable[[Peer], bytes]:
    """STARTTLS is answered like this, in one packet."""

    def play(peer: Peer) -> bytes:
        up_to_starttls(peer)
        peer.hear(b"STARTTLS")
        peer.say(*lines)
        return peer.rest()

    return play


def tls_of(make: Callable[[], ssl.SSLContext], starttls: bool) -> Callable[[Peer], bytes]:
    """TLS, with a certificate that the client must not take."""

    def play(peer: Peer) -> bytes:
        if starttls:
            up_to_starttls(peer)
            peer.hear(b"STARTTLS")
            peer.say(b"220 go ahead")
        with suppress(OSError):  # the client ends the handshake
            peer.start_tls(make(), server_side=True)
            return peer.rest()
        return b""

    return play


def closing(peer: Peer) -> bytes:
    """The connection ends where the handshake should begin."""
    up_to_starttls(peer)
    peer.hear(b"STARTTLS")
    peer.say(b"220 go ahead")
    return b""


def in_the_clear(peer: Peer) -> bytes:
    """The port is not one for TLS."""
    peer.say(b"220 mx.example")
    return peer.rest()


def with_certificate(*names: str, **validity: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates().authority.issue_cert(*names, **validity).configure_cert(context)
    return context


@cache
def another_name() -> ssl.SSLContext:
    return with_certificate("elsewhere.example")


@cache
def expired() -> ssl.SSLContext:
    return with_certificate("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))


@cache
def self_signed() -> ssl.SSLContext:
    """The authority's own certificate, by which nobody vouches for the server but the server."""
    return another_authority().server


def old() -> ssl.SSLContext:
    context = with_certificate("127.0.0.1")
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


# --- What the client says to that


class Case(NamedTuple):
    """A server, what is raised, and the words that say why."""

    play: Callable[[Peer], bytes]
    error: type[Exception]
    match: str
    starttls: str = "required"
    way: str = "starttls"


CASES = {
    "stripped": Case(stripped, NotOffered, "STARTTLS"),
    "stripped, and TLS is optional": Case(stripped, NotOffered, "AUTH", "opportunistic"),
    "EHLO refused": Case(hello_refused, Refused, "502"),
    "454": Case(answering(b"454 4.7.0 not now"), Refused, "454"),
    "454, and TLS is optional": Case(answering(b"454 4.7.0 no"), NotOffered, "AUTH", "opportunistic"),
    "501": Case(answering(b"501 5.5.4 no parameters"), Refused, "501"),
    "garbage behind 220": Case(
        answering(b"220 ready", b"250 AUTH PLAIN"), RemoteProtocolError, "in the clear"
    ),
    "closed": Case(closing, ConnectionLost, "TLS"),
}
CASES |= {
    f"{make.__name__}, {way}, {policy}": Case(
        tls_of(make, way == "starttls"), ConnectionLost, match, policy, way
    )
    for make, match in [
        (another_name, "127.0.0.1"),
        (expired, "expired"),
        (self_signed, "certificate"),
        (old, "TLS|SSL"),
    ]
    for way, policy in [("starttls", "required"), ("starttls", "opportunistic"), ("tls", "required")]
}
CASES["in the clear on a port for TLS"] = Case(in_the_clear, ConnectionLost, "TLS|SSL", way="tls")


async def log_in(loop: Loop, there: dict[str, Any]) -> None:
    """What a program does that trusts its server."""
    async with loop.connect(**there) as client:
        await client.login("ada", PASSWORD)
        await client.send_message(SENDER, [RECIPIENT], MESSAGE)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_broken_tls_is_a_clear_error_and_no_password_is_sent(loop: Loop, case: Case, tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def scene() -> None:
        with scripted_server(case.way, False, tmp_path, lambda peer: heard.append(case.play(peer))) as there:
            if case.way == "starttls":
                there["starttls"] = case.starttls
            with pytest.raises(case.error, match=case.match) as raised:
                await log_in(loop, there)
        assert PASSWORD not in f"{raised.value} {raised.value!r}"

    loop.run(scene)
    assert not any(secret in octets for secret in SECRETS for octets in heard)
    if case.way != "tls":
        assert heard == [b""]  # not even the next command


def test_a_client_in_the_clear_on_a_port_for_tls_gives_up(loop: Loop, tmp_path: Path) -> None:
    heard: list[bytes] = []

    def play(peer: Peer) -> None:
        heard.append(peer.rest())  # a ClientHello is waited for, and never comes

    async def scene() -> None:
        with (
            scripted_server("starttls", False, tmp_path, play) as there,
            pytest.raises(TimedOut, match="GREETING"),
        ):
            await log_in(loop, {**there, "timeouts": 0.1})

    loop.run(scene)
    assert heard == [b""]


def test_the_server_that_the_client_asks_for_is_named_to_it(loop: Loop, tmp_path: Path) -> None:
    """SNI (RFC 6066 3): without it a server with many names shows the wrong certificate."""
    named: list[str | None] = []
    context = with_certificate("localhost")
    context.sni_callback = lambda _socket, name, _context: named.append(name)

    async def scene() -> None:
        async with loop.serve(Discard(), context=context, tls=True) as server:
            host, port = server.address
            there = {"host": host, "port": port, "tls": True, "context": certificates().client}
            async with loop.connect(**there, server_hostname="localhost"):
                pass

    loop.run(scene)
    assert named == ["localhost"]


def test_a_handler_sees_the_certificate_of_the_client(loop: Loop, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Reader(Discard):
        def hello(self, session: Any, domain: str) -> None:
            seen.append(session.ssl_object.getpeercert()["subjectAltName"])

    server, client = with_certificate("127.0.0.1"), ssl.create_default_context()
    server.verify_mode = ssl.CERT_REQUIRED
    for context in (server, client):
        certificates().authority.configure_trust(context)
    certificates().authority.issue_cert("ada@client.example").configure_cert(client)

    async def scene() -> None:
        async with loop.serve(Reader(), context=server, tls=True) as there:
            place = {"host": there.address[0], "port": there.address[1], "tls": True}
            async with loop.connect(**place, context=client):
                pass
            with pytest.raises((ConnectionLost, RemoteProtocolError)):
                await log_in(loop, {**place, "context": certificates().client})

    loop.run(scene)
    assert seen == [(("email", "ada@client.example"),)]
