"""The kit's malformed lines and attacks: nobody takes them, and each is what its name says.

The promise: no RFC allows what is called malformed, as the core sees it and rules written down here; each
attack gets nowhere with our own server or client; and peers that make the known mistakes fall for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address
from typing import Any

import pytest
from helpers import ALL_FEATURES, drive, every, pair_in, pieces, server_in, until_error
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.vendor.pretty import pretty
from strategies import assert_reached, drawn

from smtp_proto import (
    PAUSED,
    ClientConnection,
    Command,
    ConnectionLost,
    Data,
    Ehlo,
    Greeting,
    Hello,
    Mail,
    MalformedCommand,
    Noop,
    NotOffered,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    Signal,
    SMTPError,
    StartTLS,
    State,
    UnknownCommand,
)
from smtp_proto.ops import Op, Status, greet, hello, send_message
from smtp_proto.testing.strategies import ATTACKS, Attack, attacks, malformed_commands, malformed_replies

# Malformed lines

ATOM = r'[^\s<>()@,"\[\]\\:;.]+'
MAILBOX = rf'(?:{ATOM}(?:\.{ATOM})*|"(?:[^"\\]|\\.)*")@(?:[\w.\x80-\U0010ffff-]+|\[.*\])'
PATH = rf"(?:(?:@[^:]+:)?{MAILBOX})?"
WORDS = r"(?: +[A-Za-z0-9][A-Za-z0-9-]*(?:=[^\s=]+)?)*"
# What the verbs of RFC 5321 and of its extensions take at most, whatever an address is in detail.
ALLOWED = re.compile(
    rf"MAIL FROM:<{PATH}>{WORDS}|RCPT TO:<(?:{PATH}|postmaster)>{WORDS}|(?:DATA|RSET|QUIT|STARTTLS)"
    r"|(?:EHLO|HELO|LHLO) [^ @]+|(?:VRFY|EXPN) .+|(?:NOOP|HELP)(?: .+)?|BDAT [0-9]+(?: LAST)?"
    r"|AUTH [A-Z0-9_-]+(?: (?:=|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?))?"
    r"|(?!BDAT|MAIL|RCPT|[EHL][EHL]LO|AUTH|VRFY|EXPN|RSET|DATA|QUIT|STARTTLS)[A-Z][A-Z0-9-]*(?: .*)?",
    re.IGNORECASE,
)
LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"


def is_ipv4(text: str) -> bool:
    try:
        return bool(IPv4Address(text))
    except AddressValueError:
        return False


def is_allowed(line: bytes) -> bool:
    """RFC 5321 4.1, as far as one sees without reading addresses twice."""
    if re.search(rb"[\0-\x1f\x7f]", line):
        return False
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if ALLOWED.fullmatch(text) is None or re.fullmatch("RCPT TO:<>.*", text):
        return False
    domain = re.search(r"@([^@>\[\]]*)>", text)
    if domain and not re.fullmatch(rf"{LABEL}(?:\.{LABEL})*", domain[1]):
        return False
    literal = re.search(r"\[([^\]]*)\]?>?$", text)
    return literal is None or is_ipv4(literal[1])


MALFORMED_COMMANDS: dict[str, Callable[[bytes], object]] = {
    "nothing": lambda line: line == b"\r\n",
    "no verb": lambda line: line[:1].isdigit(),
    "a blank in front": lambda line: line[:1] == b" ",
    "a control character": lambda line: re.search(rb"[\0-\x09\x7f]", line),
    "a bare LF": lambda line: re.search(rb"(?<!\r)\n", line),
    "a bare CR": lambda line: re.search(rb"\r(?!\n)", line),
    "NUL": lambda line: b"\0" in line,
    "no UTF-8": lambda line: "\ufffd" in line.decode("utf-8", "replace"),
    "no brackets": lambda line: re.match(rb"(?:MAIL FROM|RCPT TO):[^<]", line),
    "a quote that is not closed": lambda line: line.count(b'"') == 1,
    "dots": lambda line: b".." in line,
    "a bad literal": lambda line: b"@[" in line,
    "a bad parameter": lambda line: re.search(rb"> [=<-]", line),
    "too much": lambda line: re.match(rb"(?:RSET|DATA|QUIT|STARTTLS) a\r", line),
    "too little": lambda line: re.match(rb"(?:EHLO|HELO|VRFY|EXPN|AUTH|BDAT|MAIL|RCPT)\r", line),
    "a bad size": lambda line: re.match(rb"BDAT [^0-9]", line),
}


def test_no_rfc_allows_a_malformed_command() -> None:
    lines = drawn(malformed_commands(), 600)
    for line in lines:
        assert line.endswith(b"\r\n")
        assert line.count(b"\r\n") == 1
        assert not is_allowed(line[:-2]), line
        events, error = until_error(server_in(State.READY), line)
        assert error is not None or [type(event) for event in events] == [MalformedCommand], line
    assert_reached(malformed_commands(), lines, MALFORMED_COMMANDS)


GOOD_LINES = """\
MAIL FROM:<> SIZE=1|MAIL FROM:<"a b"@c.example>|RCPT TO:<@a,@b:c@d>|RCPT TO:<Postmaster>|EHLO a|NOOP|NOOP a b
RSET|BDAT 1 LAST|AUTH PLAIN =|XFOO bar""".replace("\n", "|").split("|")


@every("line", GOOD_LINES)
def test_the_rules_of_this_test_allow_what_is_good(line: str) -> None:
    assert is_allowed(line.encode())


MALFORMED_REPLIES: dict[str, Callable[[bytes], object]] = {
    "no code": lambda octets: octets[:1] in b" ",
    "a sign": lambda octets: octets[:1] == b"+",
    "a code below": lambda octets: octets[:3] == b"199",
    "a code above": lambda octets: octets[:3] == b"600",
    "other digits": lambda octets: octets[:1] >= b"\x80",
    "a bad separator": lambda octets: re.match(rb"[2-5][0-9]{2}[a-z_]", octets),
    "two codes": lambda octets: octets.count(b"\r\n") == 2 and octets[:3] != octets.split(b"\r\n")[1][:3],
    "NUL": lambda octets: b"\0" in octets,
    "a bare CR": lambda octets: re.search(rb"\r(?!\n)", octets),
    "another protocol": lambda octets: octets[:4] == b"HTTP",
    "a bad line behind a good one": lambda octets: re.match(rb"[2-5]..-[^\r]*\r\n[^2-5]", octets),
}


def test_rfc_5321_allows_no_malformed_reply() -> None:
    replies = drawn(malformed_replies(), 500)
    good = re.compile(rb"(?:([2-5][0-9]{2})-[^\r\n\0]*\r\n(?=\1))*[2-5][0-9]{2}(?: [^\r\n\0]*)?\r\n")
    assert good.fullmatch(b"250-a\r\n250 b\r\n")
    for octets in replies:
        assert octets.endswith(b"\r\n")
        assert not good.fullmatch(octets)
        pair = pair_in(State.READY)
        pair.client.send(Noop())
        events, error = until_error(pair.client, octets)
        assert error is not None, octets
        assert not events
    assert_reached(malformed_replies(), replies, MALFORMED_REPLIES)


# Attacks on a server


def executed(attack: Attack, server: ServerConnection, cuts: tuple[int, ...] = ()) -> list[Command]:
    """A server that takes whatever it is told: the commands that it takes, up to where it hangs up."""
    taken: list[Command] = []
    server.send(Greeting(domain="mx.example"))

    def answer(command: Command) -> None:
        if isinstance(command, MalformedCommand):
            return server.send(command.reply)
        taken.append(command)
        refusal = getattr(command, "refusal", None)
        if refusal:
            return server.send(refusal)
        answers = {Ehlo: Hello(domain="mx.example", features=ALL_FEATURES), StartTLS: Reply(code=220)}
        answers |= {Data: Reply(code=354), UnknownCommand: Reply(code=500)}
        return server.send(answers.get(type(command), Reply(code=250)))

    try:
        for step in attack.steps:
            for piece in pieces(step, list(cuts)):
                server.receive_data(piece)
                while not isinstance(event := server.next_event(), Signal):
                    if server.next_event() is PAUSED:
                        answer(event)
                assert len(server.trailing_data) <= 4096 + len(piece)
            if server.state is State.TLS:
                server.tls_started()
    except RemoteProtocolError:
        pass
    return taken


def succeeds(taken: list[Command]) -> bool:
    return any("smuggled" in repr(command) for command in taken if isinstance(command, Mail | Rcpt))


AGAINST_SERVERS = sorted({attack.name for attack in drawn(attacks(against="server"), 600)})
AGAINST_CLIENTS = sorted({attack.name for attack in drawn(attacks(against="client"), 400)})


def test_every_attack_comes() -> None:
    assert sorted(ATTACKS) == sorted(AGAINST_SERVERS + AGAINST_CLIENTS)
    assert {attack.against for attack in drawn(attacks(), 60)} == {"server", "client"}


# What makes these attacks is that it comes too early: alone, it is what anybody may say later.
AT_ONCE = {"refused DATA", "response injection", "unasked reply", "early verdict"}


@every("name", AGAINST_SERVERS)
def test_no_attack_on_our_server_succeeds(name: str) -> None:
    @settings(max_examples=30)
    @given(attacks(name, against="server"), st.sampled_from([(), (1, 2, 3), (5, 30), tuple(range(1, 200))]))
    def check(attack: Attack, cuts: tuple[int, ...]) -> None:
        assert attack.name == name
        taken = executed(attack, ServerConnection(), () if name in AT_ONCE else cuts)
        assert not succeeds(taken), attack
        assert len(taken) <= 1003
        assert attack.mark.encode() in attack.octets

    check()


@pytest.mark.parametrize("name", ["smuggling", "command injection"])
def test_what_is_smuggled_is_a_command_for_who_takes_other_line_ends(name: str) -> None:
    for attack in drawn(attacks(name), 60):
        lines = re.split(rb"[\r\n\x0b\x0c\x1c\0\x85]+|\xe2\x80\xa8", attack.octets)
        assert any(line.startswith(b"MAIL FROM:<a@smuggled.example>") for line in lines), attack
        if name == "smuggling":
            # The end that others see is none: the true one stands behind what is smuggled.
            (body,) = [step for step in attack.steps if b"smuggled" in step]
            assert (b"\r\n" + body).index(b"\r\n.\r\n") == len(body) - 3


def test_a_server_that_takes_bare_line_feeds_is_injected_into() -> None:
    """The check of these tests can fail."""
    found = drawn(attacks("command injection"), 60)
    assert any(succeeds(executed(attack, ServerConnection(accept_bare_lf=True))) for attack in found)


def test_the_recipient_can_be_chosen() -> None:
    for attack in drawn(attacks("smuggling", "recipient flood", recipient="bob@mx.example"), 20):
        assert b"RCPT TO:<bob@mx.example>\r\n" in attack.octets


# Attacks on a client


class Site:
    """Says one step after the other, and then no more."""

    def __init__(self, attack: Attack, size: int) -> None:
        self._pieces = self._cut(attack, size)
        self.heard = b""
        self.client = ClientConnection()

    def _cut(self, attack: Attack, size: int) -> Iterator[bytes]:
        for step in attack.steps:
            for start in range(0, len(step), size):
                yield step[start : start + size]
                # What is kept is bounded, however long the flood.
                assert len(self.client.trailing_data) <= 8192 + size
        yield b""

    def send(self, data: bytes) -> None:
        self.heard += data

    def receive(self) -> bytes:
        return next(self._pieces, b"")

    def start_tls(self) -> None:
        """The handshake succeeds."""


def talk(conn: ClientConnection, policy: Any) -> Op[Any]:
    yield from greet(conn)
    yield from hello(conn, "client.example", starttls=policy)
    return (yield from send_message(conn, "a@client.example", ["b@mx.example"], b"hi\r\n"))


def assert_nothing_was_taken(name: str, error: SMTPError) -> None:
    """What was raised is the server's fault, or its absence, and no recipient counts as accepted."""
    if name == "STARTTLS stripping":
        assert isinstance(error, NotOffered | Refused)
    elif name in ("cut reply", "disguised line"):
        assert isinstance(error, ConnectionLost | RemoteProtocolError)
    else:
        assert RemoteProtocolError in (type(error), type(error.__cause__))
    if isinstance(error, ConnectionLost) and error.result is not None:
        assert Status.ACCEPTED not in [outcome.status for outcome in error.result.outcomes]


@every("name", AGAINST_CLIENTS)
def test_no_attack_on_our_client_succeeds(name: str) -> None:
    needs_tls = name in ("response injection", "STARTTLS stripping")

    @settings(max_examples=30)
    @given(attacks(name, against="client"), st.sampled_from([1_000_000, 4096, 7]))
    def check(attack: Attack, size: int) -> None:
        least = 1_000_000 if name in AT_ONCE else 4096 if len(attack.octets) > 10_000 else 1
        site = Site(attack, max(size, least))
        with pytest.raises(SMTPError) as raised:
            drive(talk(site.client, "required" if needs_tls else "never"), site.client, site)
        assert_nothing_was_taken(name, raised.value)
        assert "smuggled" not in repr(site.client.features)
        assert not needs_tls or b"MAIL" not in site.heard
        assert attack.mark.encode() in attack.octets

    check()


# The values


def test_an_attack_says_what_it_is() -> None:
    attack = Attack("a name", "server", (b"a\r\n", b"b" * 500), "do it")
    assert attack.octets == b"a\r\n" + b"b" * 500
    assert repr(attack).startswith("<Attack on a server, a name: b'a\\r\\n', b'bbb")
    assert repr(attack).endswith("'... (500 octets)>")
    assert pretty(attack) == repr(attack)


@pytest.mark.parametrize("arguments", [{"against": "client"}, {}], ids=["of the other side", "of nobody"])
def test_an_unknown_attack_is_named(arguments: Any) -> None:
    with pytest.raises(ValueError, match="no attack: smugling"):
        attacks("smugling", **arguments)
    with pytest.raises(ValueError, match="no attack: smuggling"):
        attacks("smuggling", against="client")
