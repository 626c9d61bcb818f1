"""What clients of other people do wrong, or must not do: the answer, and that nothing else is disturbed.

No server here knows who talks to it: what holds for one client holds for all.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from clients_cases import ANSWERS, HEADER, PLAIN, case, clients, codes, every_transport, needs, only
from clients_ours import TOKENS, USER, Postbox, Running, Serve
from clients_programs import CLIENTS, Client, Letter, by_smtplib, by_swaks, run
from loops import Loop
from matrix import Cell
from peers import another_authority, calling

from smtp_proto import Limits, Reply
from smtp_transports.auth import AuthSettings

LIMIT = 10_000
TOO_LARGE = Letter(HEADER + b"x" * 70 + (b"\r\n" + b"y" * 70) * (LIMIT // 70) + b"\r\n")
# What others may take for the end of the message, and another message behind it.
SMUGGLED = Letter(
    HEADER
    + b"one\n.\nMAIL FROM:<eve@client.example>\nRCPT TO:<bob@mx.example>\nDATA\nSubject: two\n\ntwo\n.\r\n"
    + b"three\n.\r\nMAIL FROM:<eve@client.example>\r\nRCPT TO:<bob@mx.example>\r\nDATA\r\nfour\r\n"
)
# Those that send what they are given, and so a bare LF; the others make it a line end first.
SENDS_BARE_LF = {"swaks", "curl", "smtplib"}
# curl keeps to itself what the server says.
SHOWS = CLIENTS.keys() - {"curl"}


class Refusal(NamedTuple):
    """Why a server refuses a letter: the server, the letter, and the replies that say so."""

    code: int
    text: str
    way: str = "tcp"
    letter: Letter = PLAIN
    server: Mapping[str, Any] = MappingProxyType({})
    seen_as: str | None = None
    """The way that the client takes, if it does not do as it should."""
    at_once: bool = False
    """Whether everybody is refused."""


REFUSALS = {
    "421 at once": Refusal(421, "4.3.2 come again later", at_once=True),
    "too large": Refusal(552, "5.3.4", letter=TOO_LARGE, server={"limits": Limits(message_size=LIMIT)}),
    "no login": Refusal(
        530, "5.7.0 authenticate first", server={"auth": AuthSettings(["PLAIN"], required=True)}
    ),
    "no STARTTLS": Refusal(
        530, "5.7.0 say STARTTLS first", way="starttls", seen_as="tcp", server={"require_tls": True}
    ),
}


def refuse(server: Running, client: Client, letter: Letter, code: int, text: str) -> None:
    """Have the letter refused, and the client say so."""
    sent = client.send(server.place, letter)
    assert not sent.is_content
    assert code in codes(server.recordings[-1])
    if client.name in SHOWS:
        assert text in sent.text


@every_transport
@pytest.mark.parametrize("refusal", REFUSALS)
@clients()
def test_a_letter_is_refused(loop: Loop, ours: Serve, cell: Cell, client: Client, refusal: str) -> None:
    wanted = REFUSALS[refusal]
    cell(ANSWERS, client.name, refusal, loop.name)
    everybody = Reply(code=wanted.code, text=wanted.text) if wanted.at_once else None
    postbox = Postbox(everybody)
    with ours(postbox, wanted.way, **wanted.server) as server:
        place = server.place._replace(way=wanted.seen_as or wanted.way)
        refuse(server._replace(place=place), client, wanted.letter, wanted.code, wanted.text)
        assert len(server.recordings) == 1, "it came again"
    assert not postbox.messages


def wrong_logins() -> Iterator[Any]:
    for client in CLIENTS.values():
        for mechanism in client.mechanisms:
            if mechanism != "EXTERNAL":
                yield case(client, mechanism, name=f"{client.name}-{mechanism}")


@every_transport
@pytest.mark.parametrize(("client", "mechanism"), [*wrong_logins()])
def test_a_wrong_password_is_refused(
    loop: Loop, ours: Serve, cell: Cell, client: Client, mechanism: str
) -> None:
    cell(ANSWERS, client.name, "wrong password", loop.name)
    user = TOKENS if mechanism in ("OAUTHBEARER", "XOAUTH2") else USER
    letter = PLAIN._replace(mechanism=mechanism, user=user, secret="wrong-password")
    postbox = Postbox()
    with ours(postbox, "starttls") as server:
        refuse(server, client, letter, 535, "5.7.8 authentication failed")
    assert not postbox.messages


NO_SMTPUTF8 = [case(client) for client in CLIENTS.values() if "smtputf8" not in client.can]


@every_transport
@pytest.mark.parametrize("client", NO_SMTPUTF8)
def test_an_address_beyond_ascii_is_refused_without_smtputf8(loop: Loop, ours: Serve, client: Client) -> None:
    postbox = Postbox()
    with ours(postbox, "tcp") as server:
        refuse(server, client, PLAIN._replace(sender="jörg@client.example"), 553, "5.6.7 an address beyond")
    assert not postbox.messages


@every_transport
@clients()
def test_who_does_not_trust_us_hangs_up(loop: Loop, ours: Serve, client: Client, tmp_path: Path) -> None:
    """Neither is the server hurt, nor is that an error of it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    another_authority().write(elsewhere)
    postbox = Postbox()
    for way in ("starttls", "tls"):
        with ours(postbox, way) as server:
            stranger = server.place._replace(folder=elsewhere)
            assert not client.send(stranger, PLAIN).is_content
            assert by_smtplib(server.place, PLAIN).is_content
    assert len(postbox.messages) == 2


@every_transport
@clients()
def test_line_feeds_alone_end_nothing(loop: Loop, ours: Serve, cell: Cell, client: Client) -> None:
    """Nobody smuggles a second message, with whatever client."""
    cell(ANSWERS, client.name, "bare line feeds", loop.name)
    postbox = Postbox()
    with ours(postbox, "tcp") as server:
        if client.name in SENDS_BARE_LF:
            refuse(server, client, SMUGGLED, 550, "5.5.2 bare CR or LF")
            assert not postbox.messages
        else:
            sent = client.send(server.place, SMUGGLED)
            assert sent.is_content, sent.text
            body = SMUGGLED.data.removeprefix(HEADER).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            assert only(postbox).data.endswith(b"\r\n\r\n" + body)


@every_transport
@clients()
def test_who_begins_with_tls_in_the_clear_is_told(loop: Loop, ours: Serve, client: Client) -> None:
    postbox = Postbox()
    with ours(postbox, "tcp") as server:
        assert not client.send(server.place._replace(way="tls"), PLAIN).is_content
        assert by_smtplib(server.place, PLAIN).is_content
    assert codes(server.recordings[0]) == [220, 554]
    only(postbox)


@every_transport
@needs("curl")
@pytest.mark.parametrize("body", [(), ("--data", "RCPT TO:<bob@mx.example>")], ids=["GET", "POST"])
def test_a_browser_is_told_that_this_is_smtp(loop: Loop, ours: Serve, body: tuple[str, ...]) -> None:
    postbox = Postbox()
    with ours(postbox, "tcp") as server:
        run(["curl", "--silent", "--http0.9", *body, f"http://{server.place.host}:{server.place.port}/"])
    assert codes(server.recordings[0]) == [220, 554]


# The first of them leave a message behind.
HANG_UPS = ["--drop-after=dot", "--drop-after-send=dot"]
HANG_UPS += [f"--drop-after{send}={where}" for where in ("DATA", "MAIL", "TLS") for send in ("", "-send")]


@every_transport
@needs("swaks")
@pytest.mark.parametrize("hang_up", HANG_UPS)
def test_who_hangs_up_disturbs_nobody(loop: Loop, ours: Serve, hang_up: str) -> None:
    postbox = Postbox()
    with ours(postbox, "starttls") as server:
        by_swaks(server.place, PLAIN, hang_up)
        assert by_smtplib(server.place, PLAIN).is_content
    # The server has been left, and all its sessions with it.
    assert len(postbox.messages) == (2 if hang_up.endswith("dot") else 1)


# --- What clients say that they should not, and the session behind it

LOGIN = b64encode(f"\0{USER}\0wrong".encode())
ENVELOPE = b"MAIL FROM:<ada@client.example>\r\nRCPT TO:<bob@mx.example>\r\nDATA"
WRONG: dict[str, list[tuple[bytes, tuple[int, ...]]]] = {
    "aiosmtplib, told to authenticate before EHLO": [(b"AUTH PLAIN " + LOGIN, (503,))],
    "everybody: a wrong password": [(b"EHLO x", (250,)), (b"AUTH PLAIN " + LOGIN, (535,))],
    "a mechanism that is not offered": [(b"EHLO x", (250,)), (b"AUTH NTLM TlRMTVNTUAABAAAA", (504,))],
    "a client that gives up": [(b"EHLO x", (250,)), (b"AUTH LOGIN", (334,)), (b"*", (501,))],
    "smtplib, told so: STARTTLS where it is not offered": [(b"EHLO x", (250,)), (b"STARTTLS", (502,))],
    "swaks, of what it writes itself: an empty line": [(b"", (500,))],
    "msmtp, nodemailer: RCPT and DATA behind a refused MAIL": [
        (b"EHLO x", (250,)),
        (b"MAIL FROM:<ada@client.example> SIZE=99999999999", (552,)),
        (b"RCPT TO:<bob@mx.example>\r\nDATA", (503, 503)),
    ],
    "swaks, msmtp, git: an address beyond ASCII without SMTPUTF8": [
        (b"EHLO x", (250,)),
        ("MAIL FROM:<jörg@client.example>".encode(), (553,)),
    ],
    "curl --request VRFY: the same": [(b"EHLO x", (250,)), ("VRFY jürgen@mx.example".encode(), (553,))],
    "curl, swaks, smtplib: bare line feeds": [
        (b"EHLO x\r\n" + ENVELOPE, (250, 250, 250, 354)),
        (SMUGGLED.data.replace(b"\r\n.", b"\r\n..") + b".", (550,)),
    ],
    "who says nothing of SIZE: too large": [
        (b"EHLO x\r\n" + ENVELOPE, (250, 250, 250, 354)),
        (TOO_LARGE.data + b".", (552,)),
    ],
    "a client for LMTP": [(b"LHLO x", (500,))],
    "an old client: HELO, and an option of MAIL": [(b"HELO x", (250,)), (ENVELOPE[:30] + b" SIZE=1", (555,))],
    "somebody who types": [(b"hello?", (500,)), (b"HELP", (214,)), (b"mail from: me", (501,))],
}


@every_transport
@pytest.mark.parametrize("wrong", WRONG)
def test_a_session_goes_on_behind_what_is_wrong(loop: Loop, ours: Serve, wrong: str) -> None:
    postbox = Postbox()
    with (
        ours(postbox, "tcp", limits=Limits(message_size=LIMIT)) as server,
        calling(server.place.address) as peer,
    ):
        assert peer.reply()[:3] == b"220"
        for octets, answers in WRONG[wrong]:
            peer.say(octets)
            assert tuple(int(peer.reply()[:3]) for _ in answers) == answers
        peer.say(b"RSET\r\nEHLO client.example\r\n" + ENVELOPE)
        assert [peer.reply()[:3] for _ in range(5)] == [b"250"] * 4 + [b"354"]
        peer.say(PLAIN.data + b".\r\nQUIT")
        assert [peer.reply()[:3] for _ in range(2)] == [b"250", b"221"]
    assert only(postbox).data == PLAIN.data
