"""The promise of `smtp-proto check`: it tells what it saw, the exit code too, and goes as far as told."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from checking import PASSWORD, QUICK, TO, Capture, Guarded, Tiny, at, broken, check, document, yes
from peers import another_authority, nothing_left, serving

from smtp_transports._cli_check import _Pace
from smtp_transports._sockets import SocketStream
from smtp_transports.auth import AuthSettings
from smtp_transports.cli import main
from smtp_transports.handlers import Mailbox


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


def findings(table: str) -> dict[str, str]:
    """What the table says of each rule."""
    rows = re.findall(r"^([a-z0-9-]+) +RFC [0-9]+ [A-Z0-9.]+ +(?:must|should) +(.+)$", table, re.MULTILINE)
    return dict(rows)


# --- What is seen


def test_our_own_server_keeps_the_rules(trust: list[str], tmp_path: Path, capsys: Capture) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(f"{PASSWORD}\r\nanother line\r\n".encode())
    mailbox = Guarded()
    with serving(mailbox, "starttls", auth=AuthSettings(["PLAIN"])) as (server, _):
        options = ["--starttls", "--user", "ada", "--password-file", str(secret), *trust, *TO]
        assert check(at(server), *options) == 0
    out, err = capsys.readouterr()
    found = findings(out)
    assert err == ""
    assert out.startswith(f"{at(server)}, SMTP, 20")
    for name in ("greeting", "noop", "rset-clears", "pipelining", "size-declared", "starttls-offer", "auth"):
        assert found[name] == "kept"
    assert found["dsn-mail"] == "not asked: the server does not offer DSN"
    assert not [text for text in found.values() if "the option" in text]
    kept, left = (len([text for text in found.values() if text.startswith(word)]) for word in ("kept", "not"))
    summary = f"{len(found)} rules: {kept} kept, 0 broken (0 must, 0 should), {left} not asked; "
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
    assert findings(out)["mail-syntax"] == "broken"
    shown = out[out.index("\nmail-syntax, RFC 5321 4.1.1.2, must\n") :].split("\n\n")[0]
    assert "\n    S: 220 mx.example\n    C: " in shown
    verdict = broken(read)["mail-syntax"]
    assert verdict["level"] == "must"
    assert verdict["section"] == "RFC 5321 4.1.1.2"
    assert f"  Seen: {verdict['detail']}\n" in shown
    assert shown.endswith("".join(f"\n    {line}" for line in verdict["dialogue"].splitlines()))
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


def test_in_a_process_of_its_own_it_leaves_nothing_behind(tmp_path: Path) -> None:
    with serving(Mailbox()) as (server, _):
        command = [sys.executable, "-bb", "-m", "smtp_transports", "check", at(server), *TO]
        done = subprocess.run(
            [*command, "--rate", "inf", "--examples", "2"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stderr == ""
    assert " 0 broken " in done.stdout.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


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


def test_who_never_says_anything_cannot_be_checked(capsys: Capture) -> None:
    with Tiny(yes, greeting=b"").listening() as place:
        assert check(place, "--patience", "0.1") == 3
    assert capsys.readouterr().err == "smtp-proto: nothing came within 0.1 seconds\n"


def test_who_is_often_silent_is_waited_for_in_the_end_for_a_tenth_of_the_time(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    receive_some = SocketStream.receive_some

    def spy(stream: SocketStream, size: int, timeout: float | None) -> bytes:
        waits.append(timeout or 0.0)
        return receive_some(stream, size, 0.005 if len(waits) > 1 else 1.0)

    monkeypatch.setattr(SocketStream, "receive_some", spy)
    with Tiny(lambda _: b"").listening() as place:
        assert check(place, "--patience", "50", "--json") == 2
    assert "one-reply" in broken(document(capsys))
    long = [seconds for seconds in waits if seconds > 40]
    assert 4 <= len(long) <= 8
    assert all(seconds <= 5 for seconds in waits[len(long) :])


def test_no_more_commands_are_sent_than_told(capsys: Capture) -> None:
    tiny = Tiny(yes)
    with tiny.listening() as place:
        check(place, *TO, "--max-commands", "25", "--json")
    read = document(capsys)
    assert 0 < read["commands"] < 30
    assert len(tiny.lines) < 30  # a command may be more lines than one


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
    assert all(after - before >= 1 / rate - 1e-9 for before, after in pairwise(said))
    # Who has thought for long enough need not wait, and nobody makes up for it.
    assert said[3] - said[2] == 3.0
    assert said[-1] - said[3] == pytest.approx(2 / rate)
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
        (["localhost:1", "--to", "a@b.example\r\nDATA"], "control character in the address"),
        (["localhost:1", "--deliver-to", "bad"], "not an address"),
        (["localhost:1", "--refused", "<a@b.example>"], "not an address"),
        (["localhost:1", "--from", ""], "a forward-path is never null"),
        (["localhost:1", "--domain", "two words"], "neither a domain nor"),
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


@pytest.mark.parametrize("command", ["check", "probe"])
def test_help_tells_the_exit_codes(command: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "Exit code: 0 " in capsys.readouterr().out


@pytest.mark.parametrize("way", ["tls", "starttls"])
def test_who_is_not_trusted_is_not_checked(way: str, tmp_path: Path, capsys: Capture) -> None:
    ca_file, _ = another_authority().write(tmp_path)
    with serving(Mailbox(), way) as (server, _):
        assert check(at(server), f"--{way}", "--ca-file", ca_file) == 3
    assert "the certificate is not trusted: " in capsys.readouterr().err
