"""The promise of the reports of `smtp-proto check`: neither a password nor what a hostile server says gets
where it should not be; and the page is whole, or the old one is there.
"""

from __future__ import annotations

import getpass
import io
import json
import re
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from checking import PASSWORD, Capture, Tiny, at, broken, check, document, yes
from hypothesis import given
from hypothesis import strategies as st
from peers import nothing_left, serving

from smtp_proto.testing import Script
from smtp_proto.testing.conformance import Rule, Verdict
from smtp_transports._cli_text import json_text
from smtp_transports._report import Report
from smtp_transports._report_page import page
from smtp_transports._secrets import forms, without_secrets
from smtp_transports.auth import AuthSettings
from smtp_transports.handlers import Mailbox, printable


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


# --- Passwords


def test_a_password_is_asked_for_and_never_shown(
    trust: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PASSWORD

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(sys, "stdin", Terminal())
    report = tmp_path / "report.html"
    with serving(Mailbox(), "tls", auth=AuthSettings(["PLAIN"])) as (server, _):
        options = ["--tls", "--user", "ada", *trust, "--json", "--html", str(report)]
        assert check(at(server), *options) == 2
    assert asked == ["Password of ada: "]
    read = document(capsys)
    assert "C: AUTH PLAIN <hidden>\n" in broken(read)["auth"]["dialogue"]
    assert "AUTH PLAIN &lt;hidden&gt;" in report.read_text()


def test_without_tls_no_password_is_said_whatever_the_server_offers(tmp_path: Path, capsys: Capture) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)

    def answer(line: bytes) -> bytes | None:
        return b"250-mx.example\r\n250 AUTH PLAIN\r\n" if line.startswith(b"EHLO") else yes(line)

    tiny = Tiny(answer)
    with tiny.listening() as place:
        assert check(place, "--starttls", "--user", "ada", "--password-file", str(secret)) == 3
    assert "without TLS the password would be said in the clear" in capsys.readouterr().err
    assert not [line for line in tiny.lines if b"AUTH" in line]


RULE = Rule("auth", "RFC 4954 4", "must", "Answers good credentials with 235.")


def told(detail: str, dialogue: str, secrets: Sequence[str]) -> str:
    verdict = without_secrets(Verdict(RULE, "broken", detail, dialogue), secrets)
    return f"{verdict.detail}\n{verdict.dialogue}"


@pytest.mark.parametrize(
    ("dialogue", "expected"),
    [
        (["C: AUTH PLAIN abcd", "S: 535 no"], ["C: AUTH PLAIN <hidden>", "S: 535 no"]),
        (["C: auth plain  abcd\\", "C: <close>"], ["C: auth plain <hidden>", "C: <close>"]),
        (
            ["C: AUTH LOGIN", "S: 334 VXNlcg==", "C: YWRh", "S: 334 UGFzcw==", "C: abcd", "S: 235 ok"],
            [
                "C: AUTH LOGIN",
                "S: 334 VXNlcg==",
                "C: <hidden>",
                "S: 334 UGFzcw==",
                "C: <hidden>",
                "S: 235 ok",
            ],
        ),
        (
            ["C: AUTH LOGIN", "S: 334 ", "C: *", "S: 501 ok"],
            ["C: AUTH LOGIN", "S: 334 ", "C: *", "S: 501 ok"],
        ),
        (["C: AUTH PLAIN x", "S: 235 ok", "C: NOOP"], ["C: AUTH PLAIN <hidden>", "S: 235 ok", "C: NOOP"]),
        (["S: 250 AUTH PLAIN", "C: MAIL FROM:<a@b>"], ["S: 250 AUTH PLAIN", "C: MAIL FROM:<a@b>"]),
    ],
)
def test_what_was_said_to_log_in_is_hidden(dialogue: list[str], expected: list[str]) -> None:
    said = "".join(f"{line}\n" for line in dialogue)
    assert told("", said, ["never said"]) == "".join(f"\n{line}" for line in expected) + "\n"
    assert told("", said, []) == f"\n{said}"


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=4, max_size=20),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=10),
    st.binary(max_size=5),
    st.binary(max_size=5),
)
def test_a_server_that_repeats_a_password_is_not_quoted(
    password: str, user: str, before: bytes, behind: bytes
) -> None:
    secrets = forms(user, password)
    octets = password.encode()
    plain = b64encode(f"\0{user}\0{password}".encode()).decode()
    around = b64encode(before + octets + behind).decode()
    shown = str(Script.from_octets([("server", octets + b"\r\n")]))
    said = told(f"{password} {octets!r} {password!r}", f"S: 535 {plain} {around}\n{shown}", secrets)
    assert said.count("<hidden>") >= 5
    if password.isascii():
        assert "<hidden>" in told(password.swapcase(), "", secrets)
    for secret in (password, plain, b64encode(octets).decode()):
        assert secret not in said.replace("<hidden>", "")


# --- Hostile servers


def hostile(line: bytes) -> bytes | None:
    said = b"\x1b[2J</pre><script src='https://evil.example'>alert(1)</script>\x07\xff \xe2\x80\xae&amp;"
    return None if line.upper().startswith(b"QUIT") else b"250 mx.example " + said + b"\r\n"


def test_what_a_hostile_server_says_is_text_everywhere(tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "report.html"
    with Tiny(hostile, hostile(b"").replace(b"250", b"220", 1)).listening() as place:  # type: ignore[union-attr]
        assert check(place, "--html", str(report)) == 2
        shown = capsys.readouterr().out
        assert check(place, "--json") == 2
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert r"\x1b[2J</pre><script src='https://evil.example'>alert(1)</script>\x07\xff" in shown
    read = capsys.readouterr().out
    assert read.isascii()
    assert read.isprintable() or set(filter(lambda one: not one.isprintable(), read)) == {"\n"}
    page = report.read_text("utf-8")
    tree = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert tree.findall(".//script") == []
    assert not [one for one in tree.iter() if {"src", "onload", "style"} & set(one.attrib)]
    assert r"S: 250 mx.example \x1b[2J</pre><script" in "".join(tree.itertext())


# --- Verdicts that somebody made up

SHOULD = Rule("help", "RFC 5321 4.1.1.8", "should", "Answers HELP with 211 or 214.")
KEPT, UNASKED = Verdict(RULE, "kept"), Verdict(RULE, "not asked", "no reason")
MUST_BROKEN, SHOULD_BROKEN = Verdict(RULE, "broken", "seen"), Verdict(SHOULD, "broken", "seen")


def report_of(*verdicts: Verdict, server: str = "mx.example:25") -> Report:
    when = datetime(2026, 11, 29, 8, 30, tzinfo=UTC)
    return Report(server, "SMTP", when, 7, ("a note",), verdicts)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([KEPT, UNASKED], 0),
        ([KEPT, SHOULD_BROKEN, UNASKED], 1),
        ([SHOULD_BROKEN, MUST_BROKEN], 2),
        ([UNASKED], 3),
        ([], 3),
    ],
)
def test_the_exit_code_is_the_worst_that_was_seen(verdicts: list[Verdict], code: int) -> None:
    report = report_of(*verdicts)
    assert report.exit_code == report.document()["exit_code"] == code
    assert len(report.document()["verdicts"]) == len(verdicts)


TEXT = st.text(max_size=30) | st.sampled_from(
    ["</pre><b a='1'>", "]]>", "\x1b[2J", "\u202e", "&amp;", "\ud83d"]
)


@given(TEXT, TEXT, TEXT, TEXT)
def test_any_text_is_text_in_the_page(server: str, why: str, seen: str, said: str) -> None:
    report = report_of(
        Verdict(SHOULD, "not asked", why), Verdict(RULE, "broken", seen, f"C: {said}\n"), server=server
    )
    tree = ElementTree.fromstring(page(report).removeprefix("<!DOCTYPE html>"))
    text = "".join(tree.itertext())
    for one in (server, why, seen):
        assert printable(one) in text
    assert [one.text or "" for one in tree.findall(".//pre/span")] == [
        printable(line) for line in f"C: {said}\n".splitlines()
    ]
    document = json.loads(json_text(report.document()))
    assert document["server"] == re.sub("[\ud800-\udfff]", "\ufffd", server)


# --- The page


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "report.html"
    report.write_text("an old one")
    with Tiny(yes).listening() as place:
        check(place, "--html", str(report), "--json")
    read = document(capsys)
    page = report.read_text("utf-8")
    tree = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert not re.search(r"https?:|//|url\(|@import", page)
    assert {one.tag for one in tree.iter()}.isdisjoint({"script", "link", "img", "iframe", "object"})
    rows = ["".join(row.itertext()) for row in tree.findall(".//tbody/tr")]
    assert len(rows) == len(read["verdicts"])
    assert all(one["section"] in row for one, row in zip(read["verdicts"], rows, strict=True))
    articles = {one.attrib["id"]: one for one in tree.findall(".//article")}
    assert set(articles) == set(broken(read))
    assert {link.attrib["href"] for link in tree.findall(".//a")} == {f"#{name}" for name in articles}
    said = articles["unknown-command"].findall(".//pre/span")
    assert [(one.attrib["class"], one.text) for one in said[:2]] == [
        ("server", "S: 220 mx.example"),
        ("client", broken(read)["unknown-command"]["dialogue"].splitlines()[1]),
    ]
    assert os_listing(tmp_path) == ["report.html"]


def os_listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("an old one")
    assert check("localhost:1", "--html", str(report)) == 3
    assert report.read_text() == "an old one"
    assert os_listing(tmp_path) == ["report.html"]


def test_a_page_that_cannot_be_written_is_known_before_anybody_is_asked(tmp_path: Path) -> None:
    tiny = Tiny(yes)
    with tiny.listening() as place:
        assert check(place, "--html", str(tmp_path / "no" / "report.html")) == 3
    assert tiny.connections == 0


@pytest.mark.parametrize("rich", [False, True])
def test_colours_are_for_terminals_with_rich(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, errors = Terminal(), Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", errors)
    if not rich:
        for name in ("rich", "rich.console", "rich.text"):
            monkeypatch.setitem(sys.modules, name, None)
    with Tiny(yes).listening() as place:
        assert check(place) == 2
    shown = terminal.getvalue()
    assert ("\x1b[36m    C: EHLO" in shown) is rich
    assert ("\x1b[1;31mbroken\x1b[0m" in shown) is rich
    assert ("\x1b" in shown) is rich
    assert re.search("\r[0-9]+ commands\r +\r$", errors.getvalue())
