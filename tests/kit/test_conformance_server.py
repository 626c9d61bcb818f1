"""The check of servers: whoever breaks a rule is found, the rule is named, and nobody else is blamed.

The promise: for each rule there is a server that breaks it and no other, and one that keeps it; no server,
whatever it does, stops the check or has it wait beyond its bounds; nothing is delivered, and nobody attacked,
unasked.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import broken_answers
import broken_extensions
import broken_servers
import pytest
from helpers import every
from hypothesis import Phase, settings
from own_server import EVERYTHING, OwnServer
from tiny_server import CREDENTIALS, REFUSED, TinyLMTP, TinyServer

from smtp_proto.testing import Role, Script, conformance
from smtp_proto.testing.conformance import (
    SERVER_RULES,
    RuleBroken,
    ServerMachine,
    ServerOptions,
    Stream,
    Verdict,
    check_server,
)

BROKEN = broken_servers.BROKEN | broken_answers.ANSWERS
RECIPIENTS = ("bob@mx.example", "carol@mx.example")
ALLOWED: dict[str, Any] = {
    "recipients": RECIPIENTS,
    "refused": REFUSED.decode(),
    "many_recipients": True,
    "deliver": True,
    "attack": True,
    "credentials": CREDENTIALS,
    "starttls": True,
}


def check(server: Callable[[list[bytes]], Stream], **options: Any) -> list[Verdict]:
    """All rules, of a server that lets its messages be seen."""
    arrived: list[bytes] = []
    return check_server(
        lambda: server(arrived), ServerOptions(**ALLOWED | {"delivered": lambda: arrived} | options)
    )


def names(verdicts: Iterable[Verdict], finding: str) -> set[str]:
    return {verdict.rule.name for verdict in verdicts if verdict.finding == finding}


# Who is blamed


# Of these a dialogue does not tell enough to say it again: how it was cut.
_CUT = {"end-of-data", "command-pieces", "pipelining-pieces"}
# Every session would begin with these, which takes as long as all else.
_LONG = {
    "many_recipients": "hundred",
    "starttls": "starttls",
    "credentials": "auth",
    "attack": ("bare", "starttls-injection"),
}


def needed(rules: set[str]) -> dict[str, Any]:
    """The options without those that the rules do not need."""
    return {
        option: None for option, name in _LONG.items() if not any(rule.startswith(name) for rule in rules)
    }


@every(("server", "rules"), BROKEN.items(), ids=lambda case: getattr(case, "__name__", ""))
def test_what_a_server_does_wrong_is_found_and_named(server: type[TinyServer], rules: set[str]) -> None:
    verdicts = check(server, lmtp=server.lmtp, examples=0, **needed(rules))
    assert names(verdicts, "broken") == rules
    for verdict in verdicts:
        assert bool(verdict.dialogue) == (verdict.finding == "broken")
        assert bool(verdict.detail) == (verdict.finding != "kept")
        # How something was cut is not told by a dialogue.
        if verdict.dialogue and verdict.rule.name not in (
            "end-of-data",
            "command-pieces",
            "pipelining-pieces",
        ):
            script = Script.parse(verdict.dialogue)
            assert str(script) == verdict.dialogue
            assert replayed(script, server([])) == said_by(script, "server")


def said_by(script: Script, role: Role) -> bytes:
    return b"".join(step.octets for step in script.steps if step.by == role)


def replayed(script: Script, server: Stream) -> bytes:
    """What the server says if the client says the same again."""
    said = server.receive_some(65536, 0)
    for by, steps in groupby(script.steps, lambda step: step.by):
        if by == "client":
            server.send_all(b"".join(step.octets for step in steps), 0)
        elif by is None:
            server.start_tls(0)
        with suppress(TimeoutError):
            said += server.receive_some(65536, 0)
    return said


def test_each_rule_is_broken_by_somebody() -> None:
    assert {rule.name for rule in SERVER_RULES} == set().union(*BROKEN.values())


OWN: list[dict[str, Any]] = [
    {},
    {"lmtp": True},
    {"starttls": True, "auth": True, "offer": EVERYTHING},
    {"starttls": True, "auth": True, "offer": EVERYTHING, "lmtp": True},
    {"starttls": True, "require_tls": True, "auth": True, "require_auth": True},
]


class NamesNoRecipients(TinyServer):
    """RFC 5321 3.3 leaves it to a server whether it says so by 503 or by 554, without MAIL, too."""

    def no(self, code: int, detail: str = "5.1") -> None:
        is_text = self.verb_said in (b"DATA", b"BDAT")
        super().no(554 if is_text and code == 503 and not self.may_send() else code, detail)

    def run(self, verb: bytes, argument: bytes) -> None:
        self.verb_said = verb
        super().run(verb, argument)


def test_nobody_is_blamed_who_does_nothing_wrong() -> None:
    kept: set[str] = set()
    for server in (TinyServer, TinyLMTP, NamesNoRecipients):
        verdicts = check(server, lmtp=server.lmtp, examples=10)
        assert names(verdicts, "broken") == set()
        kept |= names(verdicts, "kept")
    for config in OWN:
        verdicts = check(
            lambda arrived, config=config: OwnServer(arrived, **config),  # type: ignore[misc]
            lmtp=config.get("lmtp", False),
            examples=10,
        )
        assert names(verdicts, "broken") == set(), config
        kept |= names(verdicts, "kept")
    # And what is kept was asked: each rule, by one of them at least.
    assert kept == {rule.name for rule in SERVER_RULES}


class Random(ServerMachine):
    """What a user makes of it; with less of what takes long."""

    server: ClassVar[type[TinyServer]]
    arrived: ClassVar[list[bytes]] = []
    options = ServerOptions(
        deliver=True, recipients=RECIPIENTS, refused=REFUSED.decode(), delivered=lambda: Random.arrived
    )

    @staticmethod
    def connect() -> Stream:
        return Random.server(Random.arrived)


def run(machine: type[ServerMachine], *phases: Phase, examples: int = 40) -> None:
    test = machine.TestCase("runTest")
    type(test).settings = settings(
        max_examples=examples, stateful_step_count=15, phases=phases, report_multiple_bugs=False
    )
    test.debug()


@every(
    "server",
    [
        broken_servers.TakesASecondMail,
        broken_servers.DoesNotUnstuff,
        broken_extensions.LosesPipelinedCommands,
        broken_extensions.RunsRefusedChunks,
        broken_extensions.ReadsOneOctetTooFew,
        broken_servers.KeepsTheTransaction,
        broken_servers.AnswersNever,
    ],
    ids=lambda server: server.__name__,
)
def test_random_sessions_find_the_same(server: type[TinyServer]) -> None:
    Random.server = server
    with pytest.raises(RuleBroken) as caught:
        run(Random, Phase.generate, examples=300)
    assert caught.value.rule.name in BROKEN[server]


def test_what_random_sessions_find_is_made_small() -> None:
    Random.server = broken_servers.TakesASecondMail
    with pytest.raises(RuleBroken) as caught:
        run(Random, Phase.generate, Phase.shrink)
    seen = caught.value
    said = said_by(Script.parse(seen.dialogue), "client")
    assert said.count(b"\r\n") <= 5
    assert said.count(b"MAIL") == 2
    for part in (seen.rule.name, seen.rule.section, seen.detail, seen.dialogue):
        assert part in str(seen)


def test_a_machine_ignores_what_it_is_told_to() -> None:
    class Ignores(Random):
        ignored = frozenset({"reply-line-end"})

    Random.server = broken_servers.EndsRepliesWithLF
    run(Ignores, Phase.generate)
    with pytest.raises(RuleBroken):
        run(Random, Phase.generate)


def test_a_machine_ends_the_session_at_what_it_ignores() -> None:
    class Ignores(Random):
        ignored = frozenset({"mail-nested"})

    Random.server = broken_servers.TakesASecondMail
    run(Ignores, Phase.generate)


def test_an_import_brings_no_hypothesis() -> None:
    code = "import sys, smtp_proto.testing.conformance; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_who_does_not_ask_for_it_needs_no_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtp_proto.testing.conformance._server.find_spec", lambda name: None)
    assert names(check(TinyServer), "broken") == set()
    assert conformance.ServerMachine is ServerMachine
    with pytest.raises(AttributeError, match="Nothing"):
        _ = conformance.Nothing  # type: ignore[attr-defined]


def test_random_sessions_follow_the_dialogues(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(TinyServer):
        def do_noop(self, argument: bytes) -> None:
            if len(argument) == 3:
                self.no(501)
            else:
                self.ok()

    plain = {"starttls": False, "credentials": None}
    assert names(check(Odd, examples=0, **plain), "broken") == set()
    assert names(check(Odd, examples=100, **plain), "broken") == {"noop-argument"}
    monkeypatch.setattr("smtp_proto.testing.conformance._server_machine._ROUNDS", 1)
    assert names(check(Odd, examples=100, **plain), "broken") == {"noop-argument"}


def test_what_is_refused_for_now_shows_nothing() -> None:
    class Busy(TinyServer):
        def no(self, code: int, detail: str = "5.1") -> None:
            super().no(450, detail)

    verdicts = check(Busy, examples=20)
    assert names(verdicts, "broken") == set()
    assert "mail-nested" in names(verdicts, "not asked")


def test_a_group_is_not_blamed_where_nobody_knows() -> None:
    class Shy(TinyServer):
        """Does not take commands one at a time, and not together either."""

        offer = (b"PIPELINING",)

        def send_all(self, data: bytes, timeout: float | None) -> None:
            if data.count(b"\r\n") > 1:
                self.out += b"500 5.5.1 no\r\n" * data.count(b"\r\n")
            else:
                super().send_all(data, timeout)

        def do_noop(self, argument: bytes) -> None:
            self.no(421)
            self.closed = True

    assert names(check(Shy, recipients=(), deliver=False, examples=0), "broken") == set()


def test_a_reply_too_many_is_seen_when_it_comes_late() -> None:
    class Late(broken_servers.AnswersTwice):
        def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
            return super().receive_some(self.out.find(b"\r\n") + 2, timeout)

    verdicts = check(Late, examples=0, **needed(set()))
    assert names(verdicts, "broken") == {"one-reply"}


# What it does to a server


def heard(server: type[TinyServer], **options: Any) -> list[bytes]:
    """All that was said to a server, in the order of the connections."""
    said: list[bytes] = []

    class Listening(server):  # type: ignore[misc, valid-type]
        def send_all(self, data: bytes, timeout: float | None) -> None:
            said.append(data)
            super().send_all(data, timeout)

    check_server(lambda: Listening([]), ServerOptions(lmtp=server.lmtp, **options))
    return said


# Where a message could be completed by mistake.
_RISKY = [
    server
    for server, rules in BROKEN.items()
    if re.search("data|bdat|rcpt|mail|lmtp|class|argument", str(rules))
]


@every("server", [TinyServer, TinyLMTP, *_RISKY], ids=lambda server: server.__name__)
def test_nothing_is_delivered_unasked(server: type[TinyServer]) -> None:
    arrived: list[bytes] = []
    asked = {"recipients": RECIPIENTS, "refused": REFUSED.decode(), "attack": True}
    examples = 0 if server in BROKEN else 20
    verdicts = check_server(
        lambda: server(arrived), ServerOptions(lmtp=server.lmtp, examples=examples, **asked)
    )
    assert not arrived
    assert not names(verdicts, "broken") - BROKEN.get(server, set())


def test_nobody_is_attacked_or_named_unasked() -> None:
    said = b"".join(heard(TinyServer, deliver=True, recipients=RECIPIENTS, starttls=True, examples=10))
    assert b"x\n.\n" not in said
    assert b"x\r.\r" not in said
    assert b"STARTTLS\r\nXNOSUCH" not in said
    assert CREDENTIALS[0].encode() + b"\0" not in said
    assert b"RCPT TO:<b" not in b"".join(heard(TinyServer, examples=10))


def test_two_checks_say_the_same() -> None:
    options = ALLOWED | {"examples": 5}
    assert heard(TinyServer, **options) == heard(TinyServer, **options)


def test_each_thing_that_is_said_can_be_delayed() -> None:
    pauses: list[None] = []
    said = heard(TinyServer, examples=0, pause=lambda: pauses.append(None))
    # What is cut goes out in pieces.
    assert len(said) * 0.9 < len(pauses) <= len(said)


@every("bound", [{"max_connections": 7}, {"max_commands": 20}], ids=str)
def test_bounds_are_kept(bound: dict[str, int]) -> None:
    made: list[None] = []

    def connect() -> TinyServer:
        made.append(None)
        return TinyServer([])

    verdicts = check_server(connect, ServerOptions(**bound))
    assert len(made) == bound.get("max_connections", len(made))
    assert sum(b"QUIT" not in said for said in heard(TinyServer, **bound)) <= 20
    (why,) = {verdict.detail for verdict in verdicts if verdict.rule.name in ("mail-nested", "noop-long")}
    assert "are not allowed" in why


def test_the_bounds_hold_for_random_sessions_too() -> None:
    alone = len(heard(TinyServer, examples=0))
    assert alone < len(heard(TinyServer, examples=100, max_commands=alone + 50)) <= alone + 50


# Why a rule was not asked


@every(
    ("rule", "options", "why"),
    [
        ("lmtp-lhlo", {}, "LMTP only"),
        ("helo", {"lmtp": True}, "SMTP only"),
        ("dsn-mail", {}, "does not offer DSN"),
        ("dot-stuffing", {"delivered": None}, "the option delivered"),
        ("content", {"deliver": False}, "the option delivered"),
        ("lmtp-replies", {"lmtp": True, "recipients": ()}, "the option deliver "),
        ("bare-line-ends", {"attack": False}, "the option attack"),
        ("starttls-clears", {"starttls": False}, "the option starttls"),
        ("auth", {"credentials": None}, "the option credentials"),
    ],
)
def test_what_was_not_asked_has_a_reason(rule: str, options: dict[str, Any], why: str) -> None:
    server = TinyLMTP if options.get("lmtp") else TinyServer
    found = {verdict.rule.name: verdict for verdict in check(server, examples=0, **options)}[rule]
    assert found.finding == "not asked"
    assert why in found.detail


def test_a_server_that_refuses_gives_no_occasion() -> None:
    class Refuses(TinyServer):
        def do_mail(self, argument: bytes) -> None:
            self.no(530, "7.0")

    verdicts = check(Refuses, examples=5)
    assert names(verdicts, "broken") == set()
    found = {verdict.rule.name: verdict for verdict in verdicts}
    assert "no occasion" in found["transaction-ends"].detail


@every(
    ("options", "error"),
    [
        ({"patience": 0}, ValueError),
        ({"max_commands": 0}, ValueError),
        ({"sender": "a@b\r\nQUIT"}, ValueError),
        ({"nothing": 1}, TypeError),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ServerOptions(**options)


# Servers that do not behave at all


class Hostile:
    """Says this to whatever it hears, as often as it is asked."""

    def __init__(self, *said: bytes | Exception) -> None:
        self._said = list(said)

    def send_all(self, data: bytes, timeout: float | None) -> None: ...

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        said = self._said.pop(0) if len(self._said) > 1 else self._said[0]
        if isinstance(said, Exception):
            raise said
        return said[:max_octets]

    def start_tls(self, timeout: float | None) -> None:
        raise OSError("no TLS")

    def close(self) -> None:
        raise OSError("closed twice")


@every(
    ("said", "broken"),
    [
        ((b"",), {"greeting"}),
        ((TimeoutError(),), {"greeting"}),
        ((ConnectionResetError(),), {"greeting"}),
        ((b"HTTP/1.1 400 Bad Request\r\n",), {"reply-syntax"}),
        ((b"220-" + b"x" * 60_000,), {"reply-syntax"}),
        ((b"220-a\r\n" * 8000,), {"reply-syntax"}),
        ((b"2",), {"reply-syntax"}),
        ((b"220 mx.example\r\n", b"250 mx.example\r\n" * 3), {"one-reply"}),
        ((b"220 mx.example\r\n", b""), {"stays"}),
        ((b"220 mx.example\r\n", TimeoutError()), {"one-reply"}),
        ((b"220 mx.example\r\n", b"421 mx.example\r\n"), set()),
        (
            (b"220 mx.example\r\n", b"250-mx\r\n250-=\r\n250-\xe9\r\n250-a=b =c d\r\n250 \t-\r\n"),
            {"ehlo-keywords"},
        ),
        ((b"421 mx.example\r\n",), set()),
        ((b"554 mx.example\r\n",), set()),
    ],
    ids=lambda case: repr(case)[:60],
)
def test_nothing_stops_the_check(said: tuple[Any, ...], broken: set[str]) -> None:
    assert broken <= names(check_server(lambda: Hostile(*said), ServerOptions(examples=1)), "broken")


def test_a_server_that_takes_no_more_connections_ends_it() -> None:
    servers = [TinyServer([]), TinyServer([])]

    def connect() -> TinyServer:
        if not servers:
            raise ConnectionRefusedError("no")
        return servers.pop()

    verdicts = check_server(connect)
    assert names(verdicts, "broken") == set()
    assert any("no more connections: no" in verdict.detail for verdict in verdicts)
    with pytest.raises(ConnectionRefusedError):
        check_server(connect)


def test_a_reply_that_trickles_in_has_one_deadline() -> None:
    now = [0.0]

    class Slow(TinyServer):
        def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
            now[0] += 1
            assert timeout is not None
            return super().receive_some(1, timeout)

    options: dict[str, Any] = {"clock": lambda: now[0], "patience": 10, "examples": 0}
    verdicts = check_server(lambda: Slow([]), ServerOptions(**options))
    assert names(verdicts, "broken") == {"greeting"}
    assert not names(
        check_server(lambda: Slow([]), ServerOptions(**options | {"patience": 10_000})), "broken"
    )


def test_a_handshake_that_fails_is_a_verdict() -> None:
    class NoTLS(TinyServer):
        def start_tls(self, timeout: float | None) -> None:
            raise OSError("no handshake")

    (seen,) = [verdict for verdict in check(NoTLS, attack=False, examples=0) if verdict.finding == "broken"]
    assert (seen.rule.name, seen.detail) == ("starttls", "the handshake fails: no handshake")


def test_the_documentation_lists_the_rules_and_the_options() -> None:
    docs = Path(__file__).parents[2] / "docs"
    rows = [f"| `{rule.name}` | {rule.section} | {rule.level} | {rule.text} |" for rule in SERVER_RULES]
    assert "\n".join(rows) in (docs / "conformance.md").read_text(encoding="utf-8")
    page = (docs / "testing.md").read_text(encoding="utf-8")
    listed = page[page.index("| option | |") : page.index("The random sessions are")]
    assert {field.name for field in fields(ServerOptions)} <= set(re.findall(r"`([a-z_]+)`", listed))
