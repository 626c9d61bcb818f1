"""The promise of `smtp-proto check`: it tells what it saw, the exit code too; it goes no further than it is
told; and neither a password nor what a hostile server says gets where it should not be.
"""

from __future__ import annotations

import getpass
import io
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from peers import SECONDS, another_authority, certificates, nothing_left, serving

from smtp_transports._cli_check import _Pace
from smtp_transports.auth import AuthSettings
from smtp_transports.cli import main
from smtp_transports.handlers import Mailbox

Capture = pytest.CaptureFixture[str]

# As fast as it goes, and nothing random, which has tests of its own.
QUICK = ["--rate", "inf", "--examples", "0"]
TO = ["--to", "grace@mx.example"]
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def trust(tmp_path: Path) -> list[str]:
    """What makes the server's certificate a good one."""
    return ["--ca-file", certificates().write(tmp_path)[0]]


def check(place: str, *options: str) -> int:
    return main(["check", place, *QUICK, *options])


def at(server: Any) -> str:
    return f"localhost:{server.address[1]}"


def findings(table: str) -> dict[str, str]:
    """What the table says of each rule."""
    rows = re.findall(r"^([a-z0-9-]+) +RFC [0-9]+ [A-Z0-9.]+ +(?:must|should) +(.+)$", table, re.MULTILINE)
    return dict(rows)


def document(capsys: Capture) -> dict[str, Any]:
    out, err = capsys.readouterr()
    assert err == ""
    read: dict[str, Any] = json.loads(out)
    return read


def broken(read: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {one["rule"]: one for one in read["verdicts"] if one["finding"] == "broken"}


class Tiny:
    """A server of few words: what it says to each line, None to hang up. It keeps what it heard."""

    def __init__(
        self, answer: Callable[[bytes], bytes | None], greeting: bytes = b"220 mx.example\r\n"
    ) -> None:
        self._answer = answer
        self._greeting = greeting
        self.lines: list[bytes] = []
        self.connections = 0

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Where it listens, one connection after the other."""
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            pool.submit(self._accept, listener)
            try:
                yield f"127.0.0.1:{listener.getsockname()[1]}"
            finally:
                listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                self.connections += 1
                with sock, suppress(OSError):
                    sock.settimeout(SECONDS)
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        sock.sendall(self._greeting)
        for line in sock.makefile("rb"):
            self.lines.append(line)
            said = self._answer(line)
            if said is None:
                return
            sock.sendall(said)


def yes(line: bytes) -> bytes | None:
    """Agrees to all."""
    return None if line.upper().startswith(b"QUIT") else b"250 mx.example\r\n"


# --- What is seen


def test_our_own_server_keeps_the_rules(trust: list[str], tmp_path: Path, capsys: Capture) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\nanother line\n")
    mailbox = Mailbox()
    auth = AuthSettings(mechanisms=["PLAIN"], passwords={"ada": PASSWORD})
    with serving(mailbox, "starttls", auth=auth) as (server, _):
        options = ["--starttls", "--user", "ada", "--password-file", str(secret), *trust, *TO]
        assert check(at(server), *options) == 0
    out, err = capsys.readouterr()
    found = findings(out)
    assert err == ""
    assert out.startswith(f"{at(server)}, SMTP, 20")
    for name in ("greeting", "noop", "rset-clears", "pipelining", "size-declared", "starttls-clears", "auth"):
        assert found[name] == "kept"
    assert found["dsn-mail"] == "not asked: the server does not offer DSN"
    assert not [text for text in found.values() if "the option" in text]
    kept, left = (len([text for text in found.values() if text.startswith(word)]) for word in ("kept", "not"))
    summary = f"{len(found)} rules: {kept} kept, 0 musts broken, 0 shoulds broken, {left} not asked; "
    assert re.fullmatch(re.escape(summary) + r"[0-9]+ commands\.", out.splitlines()[-1])
    assert mailbox.messages == []


@pytest.mark.parametrize("options", [[], ["--attack"]])
def test_lmtp_over_a_unix_socket(options: list[str], tmp_path: Path, capsys: Capture) -> None:
    mailbox = Mailbox()
    with serving(mailbox, "unix", folder=tmp_path, lmtp=True) as (server, _):
        there = ["check", "--unix", server.address, "--lmtp", *QUICK, *options]
        assert main([*there, *TO, "--to", "edsger@mx.example"]) == 0
        assert mailbox.messages == []
        assert main([*there, "--deliver-to", "grace@mx.example", "--deliver-to", "edsger@mx.example"]) == 0
    shy, bold = capsys.readouterr().out.split(", LMTP, ")[1:]
    assert findings(shy)["lmtp-lhlo"] == findings(bold)["lmtp-lhlo"] == "kept"
    assert findings(shy)["lmtp-replies"] == "not asked: needs --deliver-to"
    assert findings(bold)["lmtp-replies"] == "kept"
    assert (findings(bold)["bare-line-ends"] == "kept") is bool(options)
    assert {name for message in mailbox.messages for name in message.recipients} == {
        "grace@mx.example",
        "edsger@mx.example",
    }


def test_a_must_that_is_broken_is_shown_with_its_dialogue(capsys: Capture) -> None:
    with Tiny(yes).listening() as place:
        assert check(place) == 2
        out = capsys.readouterr().out
        assert check(place, "--json") == 2
    read = document(capsys)
    assert findings(out)["unknown-command"] == "broken"
    shown = out[out.index("\nunknown-command, RFC 5321 4.2.4, must\n") :].split("\n\n")[0]
    assert "\n    S: 220 mx.example\n    C: EHLO " in shown
    verdict = broken(read)["unknown-command"]
    assert verdict["level"] == "must"
    assert verdict["section"] == "RFC 5321 4.2.4"
    assert f"  Seen: {verdict['detail']}\n" in shown
    assert [f"    {line}" for line in verdict["dialogue"].splitlines()] == shown.splitlines()[-5:]
    assert read["summary"]["broken_must"] == len(broken(read)) - read["summary"]["broken_should"]
    assert read["exit_code"] == 2


def test_a_should_that_is_broken_is_less(capsys: Capture) -> None:
    with serving(Mailbox()) as (server, _):
        assert check(at(server), *TO, "--refused", "nobody@mx.example", "--json") == 1
    read = document(capsys)
    assert set(broken(read)) == {"rcpt-refused"}
    assert read["exit_code"] == 1
    assert read["summary"]["broken_should"] == 1
    assert read["server"] == at(server)
    assert read["protocol"] == "SMTP"


def test_random_sessions_are_tried_too(capsys: Capture) -> None:
    with serving(Mailbox()) as (server, _):
        assert main(["check", at(server), *TO, "--rate", "inf", "--examples", "0", "--json"]) == 0
        few = document(capsys)
        assert main(["check", at(server), *TO, "--rate", "inf", "--examples", "3", "--json"]) == 0
        more = document(capsys)
    assert more["commands"] > few["commands"]
    assert not [note for note in more["notes"] if "Hypothesis" in note]


def test_without_hypothesis_it_says_what_it_left_out(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with serving(Mailbox()) as (server, _):
        assert main(["check", at(server), *TO, "--rate", "inf", "--json"]) == 0
    read = document(capsys)
    assert read["summary"]["kept"] > 50
    assert "No random sessions, only fixed dialogues: they need Hypothesis" in read["notes"][0]


# --- How far it goes


def test_who_never_answers_is_waited_for_no_longer_than_told(capsys: Capture) -> None:
    tiny = Tiny(lambda _: b"", greeting=b"")
    with tiny.listening() as place:
        assert check(place, "--patience", "0.01", "--json") == 2
    assert "greeting" in broken(document(capsys))


def test_no_more_commands_are_sent_than_told(capsys: Capture) -> None:
    tiny = Tiny(yes)
    with tiny.listening() as place:
        check(place, *TO, "--max-commands", "25", "--json")
    read = document(capsys)
    assert 0 < read["commands"] <= 25
    assert len(tiny.lines) <= 30  # a message is more lines than one


def test_nothing_is_delivered_unasked() -> None:
    def taking(line: bytes) -> bytes | None:
        return b"354 go\r\n" if line.upper().startswith(b"DATA") else yes(line)

    tiny = Tiny(taking)
    with tiny.listening() as place:
        check(place, *TO, "--attack")
    assert b"DATA\r\n" in tiny.lines
    assert b".\r\n" not in tiny.lines


@pytest.mark.parametrize("rate", [20.0, 1000.0])
def test_commands_keep_their_distance(rate: float) -> None:
    now = 0.0
    said = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = _Pace(rate, clock=lambda: now, sleep=sleep)
    for thinking in (0.0, 0.0, 0.01, 3.0, 0.0, 0.0):
        now += thinking
        pace()
        said.append(now)
    assert all(after - before >= 1 / rate - 1e-9 for before, after in zip(said, said[1:], strict=False))
    assert said[-1] == pytest.approx(
        3.0 + max(0.01, 2 / rate) + (2 / rate if rate < 100 else 2 / rate), abs=0.2
    )
    assert pace.commands == 6


# --- What cannot be checked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["localhost:1"], "Connection refused: localhost:1"),
        (["--unix", "/nonsense"], "No such file or directory: /nonsense"),
        ([], "HOST[:PORT] or --unix PATH says which server"),
        (["localhost:x"], "not a port: 'x'"),
        (["localhost:1", "--patience", "0"], "--patience takes seconds"),
        (["localhost:1", "--rate", "0"], "--rate takes more than 0"),
        (["localhost:1", "--rate", "nan"], "--rate takes more than 0"),
        (["localhost:1", "--examples", "-1"], "--rate takes more than 0 commands a second, and --examples"),
        (["localhost:1", "--max-commands", "0"], "a limit is 1 at least"),
        (["localhost:1", "--to", "a@b.example\r\nDATA"], "CR or LF in one of"),
        (["localhost:1", "--user", "ada"], "--user needs --tls, --starttls or --unix"),
        (["localhost:1", "--tls", "--user", "ada"], "--user needs --password-file where nobody"),
        (["localhost:1", "--tls", "--user", "ada", "--password-file", "/dev/null"], "the password is empty"),
        (
            ["localhost:1", "--tls", "--user", "ada", "--password-file", "/nonsense"],
            "/nonsense: No such file",
        ),
        (["localhost:1", "--password-file", "/nonsense"], "--password-file needs --user"),
        (["localhost:1", "--html", "/nonsense/report.html"], "/nonsense/"),
        (["localhost:1", "--html", "/dev"], "/dev: Is a directory"),
    ],
)
def test_what_cannot_be_checked_is_one_clear_line(
    arguments: list[str], message: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["check", *arguments]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"smtp-proto: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["a", "b"], ["a", "--rate", "x"], ["a", "--to", "b", "--deliver-to", "c"]]
)
def test_a_command_line_that_cannot_be_read_has_the_same_exit_code(
    arguments: list[str], capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", *arguments])
    assert caught.value.code == 3
    assert "smtp-proto" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["tls", "starttls"])
def test_who_is_not_trusted_is_not_checked(way: str, tmp_path: Path, capsys: Capture) -> None:
    ca_file, _ = another_authority().write(tmp_path)
    with serving(Mailbox(), way) as (server, _):
        assert check(at(server), f"--{way}", "--ca-file", ca_file) == 3
    assert "the certificate is not trusted: " in capsys.readouterr().err


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
    auth = AuthSettings(mechanisms=["PLAIN"], passwords={"ada": "another password"})
    report = tmp_path / "report.html"
    with serving(Mailbox(), "tls", auth=auth) as (server, _):
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
