"""The judge of clients: it names what broken clients break, and nothing else; it ends, whatever they do.

The promise: each rule of the table is broken by one at least of the clients in `broken_clients`, and by none
of our own; the dialogues that show it are scripts; every check is the same.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from broken_clients import BROKEN, Client, DataClient, FirstLine, IgnoresVerdict, LMTPClient, NoDots
from helpers import every
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from smtp_proto import ClientConnection, LocalProtocolError
from smtp_proto.testing import Script, conformance
from smtp_proto.testing.conformance import (
    CLIENT_RULES,
    Answer,
    Behaviour,
    ClientMachine,
    ClientStopped,
    Letter,
    ReactiveServer,
    RulesBroken,
    Send,
    ServerStream,
    Verdict,
    check_client,
    check_session,
)
from smtp_transports.streams import Client as OurClient

PLAIN = Letter()
PIPELINED = Behaviour(offers=("PIPELINING", "SIZE 10000", "STARTTLS"))


def named(verdicts: Iterable[Verdict], finding: str) -> set[str]:
    return {verdict.rule.name for verdict in verdicts if verdict.finding == finding}


# Who breaks none of these is driven through no handshake: that saves time.
NEEDS_TLS = ("starttls", "auth")


@cache
def cases_only(client: type[Client], *, tls: bool = True) -> list[Verdict]:
    return check_client(client.run, lmtp=client.lmtp, tls=tls, examples=0)


# --- What is found


@every(("client", "rules"), BROKEN.items(), ids=[client.__name__ for client in BROKEN])
def test_a_broken_client_is_found_by_the_rule_that_it_breaks(client: type[Client], rules: set[str]) -> None:
    tls = any(rule.startswith(NEEDS_TLS) for rule in rules)
    verdicts = cases_only(client, tls=tls)
    assert named(verdicts, "broken") == rules
    for verdict in verdicts:
        assert (verdict.detail != "") == (verdict.finding != "kept")
        assert (verdict.dialogue != "") == (verdict.finding == "broken")
        assert str(Script.parse(verdict.dialogue)) == verdict.dialogue


def test_every_rule_is_broken_by_somebody() -> None:
    assert set().union(*BROKEN.values()) == {rule.name for rule in CLIENT_RULES}
    assert len(CLIENT_RULES) == len({rule.name for rule in CLIENT_RULES}) > 60


CHUNKS = {"chunks-offered", "chunk-size", "last-chunk", "refused-chunk"}
TLS = {"starttls-last", "starttls-answer", "starttls-hello", "starttls-forgets", "starttls-injection"}
SMTP_ONLY, LMTP_ONLY = {"each-verdict"}, {"helo-fallback"}
# It reads all replies to the recipients before it says DATA.
CAREFUL = {"empty-message"}
# No letter of these cases is sent as it is.
TEXT = {"binary-data"}


@every(
    ("client", "not_asked"),
    [
        (Client, SMTP_ONLY | CAREFUL),
        (DataClient, SMTP_ONLY | CAREFUL | CHUNKS),
        (LMTPClient, LMTP_ONLY | CAREFUL),
    ],
)
def test_a_client_that_keeps_every_rule_breaks_none(client: type[Client], not_asked: set[str]) -> None:
    verdicts = check_client(client.run, lmtp=client.lmtp, examples=30)
    assert named(verdicts, "broken") == set()
    assert named(verdicts, "not asked") == not_asked | TEXT
    assert [verdict.rule for verdict in verdicts] == list(CLIENT_RULES)


def ours(transfer: Any = "auto", *, lmtp: bool = False, starttls: Any = "opportunistic") -> Send:
    def send(stream: ServerStream, letter: Letter) -> list[str]:
        client = OurClient(stream, ClientConnection(lmtp=lmtp))
        try:
            client.start("client.example", starttls=starttls)
            if client.conn.features.auth:
                client.login(letter.user, letter.password)
            way = transfer if "CHUNKING" in client.conn.features else "auto"
            result = client.send_message(letter.sender, letter.recipients, letter.data, transfer=way)
        finally:
            client.quit()
        return [str(outcome.recipient) for outcome in result.accepted]

    return send


@every(
    ("send", "lmtp", "not_asked"),
    [
        (ours(), False, SMTP_ONLY),
        (ours("data"), False, SMTP_ONLY | CHUNKS),
        (ours("chunking"), False, SMTP_ONLY),
        (ours(starttls="never"), False, SMTP_ONLY | TLS | {"auth-challenge"}),
        (ours(lmtp=True), True, LMTP_ONLY),
        (ours("data", lmtp=True), True, LMTP_ONLY | CHUNKS),
    ],
    ids=["auto", "data", "chunking", "in the clear", "LMTP", "LMTP with DATA"],
)
def test_our_client_breaks_no_rule(send: Send, lmtp: bool, not_asked: set[str]) -> None:
    verdicts = check_client(send, lmtp=lmtp, examples=20)
    assert [(verdict.rule.name, verdict.detail) for verdict in verdicts if verdict.finding == "broken"] == []
    assert named(verdicts, "not asked") == not_asked | TEXT


class Hidden(DataClient):
    """What it does wrong it does for servers that none of the cases has."""

    def mail(self) -> bytes:
        mail = super().mail()
        return mail + b" BODY=8BITMIME" if "DSN" in self.offers and b"BODY" not in mail else mail


def test_servers_that_are_made_up_show_what_no_case_does() -> None:
    assert named(cases_only(Hidden, tls=False), "broken") == set()
    verdicts = check_client(Hidden.run, tls=False, examples=80)
    (verdict,) = [verdict for verdict in verdicts if verdict.finding == "broken"]
    assert verdict.rule.name == "offered-parameter"
    assert verdict.dialogue.startswith(
        "S: 220 mx.example ESMTP\nC: EHLO client.example\nS: 250-mx.example\nS: 250 DSN\n"
        "C: MAIL FROM:<ada@client.example> BODY=8BITMIME\n"
    )
    assert len(verdict.dialogue.splitlines()) < 20


def test_the_shortest_dialogue_is_shown() -> None:
    (verdict,) = [verdict for verdict in cases_only(IgnoresVerdict) if verdict.finding == "broken"]
    assert verdict.detail == "says that it was taken for bob@mx.example"
    assert (
        verdict.dialogue
        == """\
S: 220 mx.example ESMTP
C: EHLO client.example
S: 250 mx.example
C: MAIL FROM:<ada@client.example>
S: 250 ok
C: RCPT TO:<bob@mx.example>
S: 250 ok
C: DATA
S: 354 go ahead
C: Subject: hi
C:
C: Hello.
C: .
S: 354 more
C: QUIT
S: 221 bye
S: <close>
C: <close>
"""
    )


def test_what_the_client_raised_is_told() -> None:
    def send(stream: ServerStream, letter: Letter) -> list[str]:
        Client.run(stream, letter)
        raise KeyError("no such thing")

    (verdict,) = [one for one in check_session(send, PLAIN, Behaviour()) if one.finding == "broken"]
    assert verdict.rule.name == "success"
    expected = "does not know that it was taken for bob@mx.example; it raised KeyError('no such thing')"
    assert verdict.detail == expected


def test_a_client_that_does_not_say_is_not_asked_what_it_knows() -> None:
    def send(stream: ServerStream, letter: Letter) -> None:
        Client.run(stream, letter)

    verdicts = check_session(send, PLAIN, Behaviour())
    assert {"success", "verdict"} <= named(verdicts, "not asked")
    verdicts = check_session(send, PLAIN, Behaviour(answers={"text": (Answer(b"550 no\r\n"),)}))
    # It raised, so it says that nobody got it.
    assert "verdict" in named(verdicts, "kept")


def raw(*said: bytes) -> Send:
    """A client that says this, and reads all that comes behind each."""

    def send(stream: ServerStream, letter: Letter) -> None:
        for octets in said:
            # The lines of one reply are told by what the last one does not have.
            while stream.receive_some()[3:4] == b"-":
                pass
            stream.send_all(octets)

    return send


EHLO, MAIL, RCPT = (
    b"EHLO client.example\r\n",
    b"MAIL FROM:<ada@client.example>\r\n",
    b"RCPT TO:<bob@mx.example>\r\n",
)
SECURE = Behaviour(offers=("STARTTLS", "AUTH LOGIN"))
NO_DATA = Behaviour(answers={"DATA": (Answer(b"550 no\r\n"),)})


@every(
    ("said", "behaviour", "rules"),
    [
        ([b"EHLO [127.0.0.1]\r\n"], Behaviour(), set()),
        ([b"EHLO [127.0.0.300]\r\n"], Behaviour(), {"hello-argument"}),
        ([b"EHLO " + b"x" * 300 + b"\r\n"], Behaviour(), {"hello-argument"}),
        ([EHLO, b"MAIL FR"], Behaviour(), set()),
        ([EHLO, MAIL, RCPT, b"BDAT\r\n"], Behaviour(), {"chunks-offered"}),
        ([EHLO, MAIL, RCPT, b"DATA\r\n", b"hello"], NO_DATA, {"refused-data"}),
        ([EHLO, MAIL, RCPT, b"DATA\r\n", b"hello\r\n.\r\n"], NO_DATA, {"refused-data"}),
        ([EHLO, MAIL, RCPT, b"DATA\r\n", b"hello\r\nQUIT\r\n"], NO_DATA, {"refused-data"}),
        ([EHLO, b"\x16\x03\x01"], Behaviour(), set()),
        ([EHLO, b"STARTTLS\r\n", b"NOOP\r\n"], SECURE, {"starttls-last"}),
        ([EHLO, b"STARTTLS\r\n", b"QUIT\r\n"], SECURE, set()),
        ([EHLO, b"AUTH LOGIN\r\n", b"YWJj"], SECURE, {"auth-in-the-clear"}),
    ],
)
def test_what_is_said_is_judged_as_far_as_it_came(
    said: list[bytes], behaviour: Behaviour, rules: set[str]
) -> None:
    assert named(check_session(raw(*said), PLAIN, behaviour), "broken") - {"quit"} == rules


def test_only_recipients_can_have_got_it() -> None:
    with pytest.raises(ValueError, match=r"no recipients: \['eve@mx.example'\]"):
        check_client(lambda stream, letter: ["eve@mx.example"])


# --- It ends


def for_ever(step: Callable[[ServerStream], object], *errors: type[Exception]) -> Send:
    """A client that does this again and again, whatever it raises of these."""

    def send(stream: ServerStream, letter: Letter) -> list[str]:
        while True:
            with suppress(*errors):
                step(stream)

    return send


@every(
    "send",
    [
        for_ever(lambda stream: stream.receive_some(), TimeoutError),
        for_ever(lambda stream: stream.send_all(b"NOOP\r\n")),
        for_ever(lambda stream: stream.send_all(b"x" * 100_000)),
        for_ever(lambda stream: stream.send_all(b"QUIT\r\n") or stream.receive_some(), BrokenPipeError),
    ],
    ids=["reads", "commands", "octets", "writes to nobody"],
)
def test_who_would_go_on_for_ever_is_stopped(send: Send) -> None:
    for behaviour in (Behaviour(), Behaviour(answers={"greeting": (Answer(b"x", endless=True),)})):
        stream = stream_to(behaviour)
        with pytest.raises(ClientStopped):
            send(stream, PLAIN)
        assert stream.server.session.octets < 2_000_000
        assert named(check_session(send, PLAIN, behaviour), "not asked")


def test_an_endless_reply_is_short_in_the_dialogue() -> None:
    def send(stream: ServerStream, letter: Letter) -> None:
        read = 0
        while piece := stream.receive_some():
            read += len(piece)
            # Whoever moves the octets on waits then: what it took, the client may not have read.
            assert stream.server.awaits_hang_up == (read >= 262_144)
        assert 262_144 <= read < 270_000

    behaviour = Behaviour(answers={"greeting": (Answer(b"220-hi\r\n", endless=True),)}, pieces=(1,))
    verdicts = check_session(send, PLAIN, behaviour)
    (verdict,) = [one for one in verdicts if one.rule.name == "endless-reply"]
    assert verdict.detail == "read 256 KiB of one reply, and asked for more"
    assert len(verdict.dialogue) < 10_000


# --- The stream


def stream_to(behaviour: Behaviour) -> ServerStream:
    return ServerStream(ReactiveServer(PLAIN, behaviour))


def test_pieces_are_as_the_behaviour_has_them_and_no_longer_than_asked_for() -> None:
    stream = stream_to(Behaviour(pieces=(1, 4), answers={"greeting": (Answer(b"220-a\r\n220 b\r\n"),)}))
    assert [stream.receive_some(3) for _ in range(6)] == [b"2", b"20-", b"a", b"\r\n2", b"2", b"0 b"]
    stream = stream_to(Behaviour(answers={"greeting": (Answer(b"220-a\r\n220 b\r\n"),)}))
    assert [stream.receive_some(), stream.receive_some()] == [b"220-a\r\n", b"220 b\r\n"]


def test_where_both_sides_wait_the_client_is_told_so() -> None:
    stream = stream_to(Behaviour())
    stream.receive_some()
    with pytest.raises(TimeoutError, match="the server says nothing"):
        stream.receive_some()
    assert stream.server.session.is_stuck
    stream.send_all(b"QUIT\r\n")  # nobody hears it
    stream.send_all(b"")
    with pytest.raises(TimeoutError):
        stream.receive_some()
    stream.close()
    stream.close()
    assert stream.server.session.transcript == ("S: 220 mx.example ESMTP\nS: <close>\nC: QUIT\nC: <close>\n")


def test_a_handshake_needs_a_220() -> None:
    stream = stream_to(PIPELINED)
    with pytest.raises(LocalProtocolError, match="no TLS handshake is due"):
        stream.server.tls_started()
    with pytest.raises(ConnectionAbortedError, match="in the place of the TLS handshake"):
        stream.start_tls()
    assert stream.server.has_closed


def test_a_handshake_fails_on_octets_in_the_clear() -> None:
    behaviour = Behaviour(
        offers=("STARTTLS",), answers={"STARTTLS": (Answer(b"220 go\r\n", behind=b"250 ok\r\n"),)}
    )
    stream = stream_to(behaviour)
    for said in (b"EHLO x\r\n", b"STARTTLS\r\n"):
        stream.send_all(said)
    assert b"".join(stream.receive_some(1) for _ in range(58)).endswith(b"STARTTLS\r\n220 go")
    with pytest.raises(ConnectionAbortedError):
        stream.start_tls()
    assert not stream.server.session.strays


# --- The machine


class Correct(ClientMachine):
    def send(self, stream: ServerStream, letter: Letter) -> list[str]:
        return Client.run(stream, letter)


class CorrectInLMTP(ClientMachine):
    lmtp = True
    tls = False

    def send(self, stream: ServerStream, letter: Letter) -> list[str]:
        return LMTPClient.run(stream, letter)


class Broken(ClientMachine):
    def send(self, stream: ServerStream, letter: Letter) -> list[str]:
        return NoDots.run(stream, letter)


class Excused(Broken):
    ignored = frozenset({"transparency"})


SETTINGS = settings(max_examples=15, stateful_step_count=15)


@every("machine", [Correct, CorrectInLMTP, Excused])
def test_the_machine_raises_nothing_against_a_correct_client(machine: type[ClientMachine]) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


def test_the_machine_raises_the_rule_that_is_broken() -> None:
    with pytest.raises(RulesBroken) as caught:
        run_state_machine_as_test(Broken, settings=settings(SETTINGS, phases=[Phase.generate]))
    assert [verdict.rule.name for verdict in caught.value.verdicts] == ["transparency"]
    text = "transparency (RFC 5321 4.5.2): it puts a dot before each line that begins with one"
    assert str(caught.value).startswith(text)
    assert str(caught.value).endswith(caught.value.verdicts[0].dialogue)


def test_a_machine_without_a_client_says_so() -> None:
    with pytest.raises(NotImplementedError):
        ClientMachine().send(stream_to(Behaviour()), PLAIN)


def test_the_first_line_of_a_reply_is_not_the_reply() -> None:
    """Not even where the rest comes in the same piece: it is read with the next reply."""
    verdicts = check_session(FirstLine.run, PLAIN, Behaviour(offers=("SIZE",), pieces=(1000,)))
    assert named(verdicts, "broken") <= {"whole-reply", "quit"}


# --- The package


def test_hypothesis_is_imported_by_those_who_need_it() -> None:
    script = (
        "import sys, smtp_proto.testing.conformance as c; assert 'hypothesis' not in sys.modules; c.letters"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    for name in conformance.__all__:
        assert getattr(conformance, name) is not None
    assert not hasattr(conformance, "nothing_of_that_name")


# --- The table in the docs

DOCS = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_the_docs_have_the_table() -> None:
    section = DOCS.read_text(encoding="utf-8").partition("## Clients\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert rows == [[f"`{rule.name}`", rule.section, rule.level, rule.text] for rule in CLIENT_RULES]
