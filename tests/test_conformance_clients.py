"""Clients with sockets of their own, held against the rules over TCP: the standard library's, and ours.

The promise: a check over TCP finds what one in memory does, and ends with the client, whatever that does.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parseaddr
from typing import Any, cast

import pytest
from peers import SECONDS, another_authority, certificates

from smtp_proto.ops import SendResult
from smtp_proto.testing.conformance import (
    Answer,
    Behaviour,
    Letter,
    Send,
    Verdict,
    check_client,
    check_session,
)
from smtp_transports import asyncio as our_asyncio
from smtp_transports import smtplib as our_smtplib
from smtp_transports.blocking import connect
from smtp_transports.conformance import Address, _Session, over_tcp

PLAIN = Letter()
SECURE = Behaviour(offers=("STARTTLS", "PIPELINING"))
NAME = "client.example"
EHLO = b"EHLO client.example\r\n"


def named(verdicts: Iterable[Verdict], finding: str) -> set[str]:
    return {verdict.rule.name for verdict in verdicts if verdict.finding == finding}


def accepted(result: SendResult) -> list[str]:
    return [str(outcome.recipient) for outcome in result.accepted]


# --- Ours


def by_the_blocking_client(address: Address, letter: Letter) -> list[str]:
    context = certificates().client
    with connect(*address, domain=NAME, starttls="opportunistic", context=context, timeouts=10.0) as client:
        if client.conn.features.auth:
            client.login(letter.user, letter.password)
        return accepted(client.send_message(letter.sender, letter.recipients, letter.data))


def by_the_asyncio_client(address: Address, letter: Letter) -> list[str]:
    async def send() -> list[str]:
        options: Any = {"starttls": "opportunistic", "context": certificates().client, "timeouts": 10.0}
        async with await our_asyncio.connect(*address, domain=NAME, **options) as client:
            if client.conn.features.auth:
                await client.login(letter.user, letter.password)
            return accepted(await client.send_message(letter.sender, letter.recipients, letter.data))

    return asyncio.run(send())


def test_octets_behind_the_end_of_tls_are_nothing_that_a_client_says() -> None:
    ours, theirs = socket.socketpair()
    contexts = certificates()
    with ThreadPoolExecutor(1) as threads, ours, theirs:
        wrapping = threads.submit(contexts.server.wrap_socket, ours, server_side=True)
        client_side = contexts.client.wrap_socket(theirs, server_hostname="127.0.0.1")
        with client_side as client, wrapping.result() as server:
            session = _Session(cast(Any, None), None, 0, SECONDS)
            client.sendall(b"QUIT\r\n")
            assert session._heard(server, SECONDS) == b"QUIT\r\n"
            ending = threads.submit(client.unwrap)
            server.unwrap()
            ending.result().sendall(b"\x17\x03\x03\x00\x13")
            assert session._heard(server, SECONDS) == b""


# What no SMTP client of these is asked.
NEVER = {"each-verdict", "binary-data"}


@pytest.mark.parametrize(("send", "patience"), [(by_the_blocking_client, 0.001), (by_the_asyncio_client, 0)])
def test_our_clients_break_no_rule(send: Callable[[Address, Letter], list[str]], patience: float) -> None:
    over = over_tcp(send, ssl_context=certificates().server, patience=patience)
    verdicts = check_client(over, examples=0)
    assert [(one.rule.name, one.detail, one.dialogue) for one in verdicts if one.finding == "broken"] == []
    assert named(verdicts, "not asked") == NEVER


# --- The standard library's, and what stands in for it


def by(module: Any) -> Send:
    def send(address: Address, letter: Letter) -> list[str]:
        with module.SMTP(*address, local_hostname=NAME, timeout=10) as client:
            client.ehlo_or_helo_if_needed()
            if client.has_extn("starttls"):
                client.starttls(context=certificates().client)
                client.ehlo_or_helo_if_needed()
            if client.has_extn("auth"):
                client.login(letter.user, letter.password)
            refused = client.sendmail(letter.sender, letter.recipients, letter.data)
        return [recipient for recipient in letter.recipients if recipient not in refused]

    return over_tcp(send, ssl_context=certificates().server)


OF_THE_STANDARD_LIBRARY = {
    "8bit-asked": "who calls sendmail() has to pass BODY=8BITMIME",
    "8bit-offered": "sends any octets to anybody",
    "size": "counts the message without the line end that it adds to a last line",
    "closing": "says HELO behind a 421 to EHLO",
    "bare-line-end": "mends line ends of text, not of bytes",
    "auth-in-the-clear": "login() asks for no TLS",
    "auth-challenge": "skips what is no Base64 in a challenge, and answers the rest",
    "every-2yz": "knows 250, and 251 to RCPT, and takes all else for a refusal",
    "refused-recipient": "says the beginning of an address with a line end, and takes all of it for told",
    "cut-reply": "takes half a line for a line, where the connection ends in it",
    "mixed-reply": "believes the code of the last line",
    "endless-reply": "reads on as long as lines come",
}
"""The rules that `smtplib` breaks, and why."""


def test_the_rules_that_smtplib_breaks() -> None:
    rules = set(OF_THE_STANDARD_LIBRARY)
    # Later versions of Python read no address in such a text.
    if not parseaddr("bob@mx.example>\r\nRCPT TO:<eve@mx.example")[1]:
        rules.remove("refused-recipient")
    assert named(check_client(by(smtplib), examples=0), "broken") == rules


MENDED = {"bare-line-end", "every-2yz", "refused-recipient", "cut-reply", "endless-reply"}
"""Those of them that the drop-in keeps. The others are what programs see of `smtplib`, or would miss."""


def test_the_drop_in_keeps_more_of_them() -> None:
    assert named(check_client(by(our_smtplib), examples=0), "broken") == set(OF_THE_STANDARD_LIBRARY) - MENDED


# --- Over TCP as in memory


@pytest.fixture
def raw() -> Iterator[Callable[..., Any]]:
    """Makes clients that say something, read a line before each, and leave the socket open."""
    left: list[socket.socket] = []

    def make(*said: bytes, hears_first: bool = True) -> Any:
        def send(address: Address, letter: Letter) -> None:
            sock = socket.create_connection(address, 5)
            left.append(sock)
            with sock.makefile("rb") as lines:
                for octets in said:
                    if hears_first:
                        lines.readline()
                    sock.sendall(octets)

        return send

    yield make
    for sock in left:
        sock.close()


@pytest.mark.parametrize(
    ("said", "hears_first", "rule"),
    [
        ([EHLO], False, "greeting"),
        ([EHLO, b"QUIT\r\n"], True, "whole-reply"),
        ([EHLO, b"", b"NOOP\r\nNOOP\r\n", b"", b"QUIT\r\n"], True, "one-at-a-time"),
    ],
)
def test_who_speaks_out_of_turn_is_heard(
    raw: Callable[..., Any], said: list[bytes], hears_first: bool, rule: str
) -> None:
    client = raw(*said, hears_first=hears_first)
    verdicts = check_session(over_tcp(client, patience=0.1), PLAIN, Behaviour(offers=("SIZE",)))
    assert named(verdicts, "broken") == {rule}


def test_who_waits_in_vain_is_not_waited_for(raw: Callable[..., Any]) -> None:
    send = over_tcp(raw(EHLO, b"", b""), timeout=0.1)
    assert "due-replies" in named(check_session(send, PLAIN, Behaviour()), "broken")


def test_who_does_not_come_or_close_holds_up_nobody(raw: Callable[..., Any]) -> None:
    nobody = over_tcp(lambda address, letter: None, timeout=60)
    assert named(check_session(nobody, PLAIN, Behaviour()), "broken") == {"quit"}
    leaves_it_open = over_tcp(raw(b"QUIT\r\n"), timeout=60)
    assert named(check_session(leaves_it_open, PLAIN, Behaviour()), "broken") == set()


def test_what_the_client_raises_is_told_and_it_may_tell_piece_by_piece() -> None:
    def fails(address: Address, letter: Letter) -> list[str]:
        by_the_blocking_client(address, letter)
        raise KeyError("oh")

    (verdict,) = [
        one for one in check_session(over_tcp(fails), PLAIN, Behaviour()) if one.finding == "broken"
    ]
    assert verdict.detail.endswith("it raised KeyError('oh')")

    def lazily(address: Address, letter: Letter) -> Iterator[str]:
        yield from by_the_blocking_client(address, letter)

    assert named(check_session(over_tcp(lazily), PLAIN, Behaviour()), "broken") == set()


def test_a_handshake_that_fails_is_the_end() -> None:
    context = another_authority().server
    verdicts = check_session(over_tcp(by_the_blocking_client, ssl_context=context), PLAIN, SECURE)
    assert named(verdicts, "broken") == set()
    assert {"starttls-last", "starttls-answer"} <= named(verdicts, "kept")


def test_a_server_that_hangs_up_hears_what_is_said_behind_it(raw: Callable[..., Any]) -> None:
    behaviour = Behaviour(answers={"EHLO": (Answer(b"421 bye\r\n"),)})
    verdicts = check_session(over_tcp(raw(EHLO, b"HELO client.example\r\n")), PLAIN, behaviour)
    assert "closing" in named(verdicts, "broken")
