"""The promise of the command line: what it says is what happened, the exit code too; and what goes wrong is
one clear line, whatever it is.
"""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from peers import (
    ENVELOPE,
    MESSAGE,
    SECONDS,
    Peer,
    another_authority,
    certificates,
    listening,
    nothing_left,
    serving,
)

from smtp_proto import Features, Mail, Rcpt, Reply
from smtp_proto.ops import Session
from smtp_transports import blocking
from smtp_transports._cli_place import host_and_port, shown
from smtp_transports.cli import main
from smtp_transports.handlers import Mailbox, Message

PYTHON = [sys.executable, "-bb", "-m", "smtp_transports"]
ENVIRONMENT = {**os.environ, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", "COLUMNS": "80"}
FROM_TO = ["--from", "ada@sender.example", "--to", "grace@mx.example"]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def letter(tmp_path: Path) -> str:
    path = tmp_path / "letter.eml"
    path.write_bytes(MESSAGE)
    return str(path)


class Box(Mailbox):
    """Keeps what came, and refuses whom it does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Mail] = []
        self.domains: list[str] = []

    def hello(self, session: Session, domain: str) -> None:
        self.domains.append(domain)

    def mail(self, session: Session, command: Mail) -> None:
        self.mails.append(command)

    def rcpt(self, session: Session, command: Rcpt) -> Reply | None:
        if command.forward_path.startswith("no"):
            return Reply(code=550, enhanced="5.1.1", text="no such \x1b[31muser")
        return None


@contextmanager
def box(way: str = "tcp", **options: Any) -> Iterator[tuple[Box, str]]:
    """A server with a box, and what `--server` takes."""
    mailbox = Box()
    with serving(mailbox, way, **options) as (server, _):
        address = server.address
        yield mailbox, address if isinstance(address, str) else f"localhost:{address[1]}"


def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rich", "rich.console", "rich.text", "rich.progress"):
        monkeypatch.setitem(sys.modules, name, None)


def run(*arguments: str, **environment: str) -> str:
    """What a process of its own printed, without a complaint."""
    command, env = [*PYTHON, *arguments], ENVIRONMENT | environment
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, env=env)
    assert done.stderr == ""
    return done.stdout


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said about an error."""
    said = capsys.readouterr().err
    assert said.startswith("smtp-proto: ")
    assert said.endswith("\n")
    assert said.count("\n") == 1
    return said.removeprefix("smtp-proto: ").rstrip("\n")


# --- demo


def check_demo(shown: str) -> None:
    assert re.match(r"A server listens on 127\.0\.0\.1:\d+\.", shown)
    lines = shown.splitlines()
    for line in (
        "S: 220 receiver.example ESMTP",
        "C: EHLO sender.example",
        "C: DATA",
        "C: .",
        "S: 221 2.0.0 receiver.example closing",
        "grace@receiver.example: accepted",
        "edsger@receiver.example: accepted",
    ):
        assert line in lines
    assert "\x1b" not in shown  # no colours: this is no terminal
    assert lines[-1].startswith("What arrived is what was sent: ")


def test_the_demo_shows_a_conversation_and_proves_it() -> None:
    check_demo(run("demo"))


class Terminal(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [False, True])
def test_only_on_a_terminal_and_with_rich_there_are_colours(
    rich: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    if not rich:
        without_rich(monkeypatch)
    assert main(["demo"]) == 0
    shown = terminal.getvalue()
    assert ("\x1b[36mC: DATA\x1b[0m\n" in shown) is rich
    check_demo(re.sub(r"\x1b\[[0-9;]*m", "", shown))


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: x\r\n\r\nhi\r\n",
        b"Subject: x\n\nhi\n",
        b"old\rMac\r",
        b"no end",
        b"a\n\r\nb\r\r\n",
        b"",
        b"\n",
        b".\r\n..\r\n\r\n.\n",
        "Grüße \u20ac".encode() + b"\xff\x80\n",
        b"\x1b[31m\x07\x7f\n",
        b"x" * 998,
        b"line\n" * 20_000,
    ],
    ids=lambda message: repr(message[:12]),
)
def test_the_demo_takes_any_message(
    message: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "message"
    path.write_bytes(message)
    assert main(["demo", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "What arrived is what was sent" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_the_demo_says_so_when_something_else_arrived(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tamper(self: Mailbox, session: Session, message: Message) -> None:
        self.messages.append(Message(message.sender, message.recipients, message.data + b"x"))

    monkeypatch.setattr(Mailbox, "deliver", tamper)
    assert main(["demo"]) == 1
    assert "What arrived is NOT what was sent" in capsys.readouterr().out


def test_a_message_that_the_terminal_has_no_letters_for_is_shown_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_text("世界\n", encoding="utf-8")
    shown = run("demo", str(path), PYTHONIOENCODING="ascii")
    assert r"C: \u4e16\u754c" in shown.splitlines()


# --- send


@pytest.mark.parametrize(
    ("names", "code"),
    [(["grace"], 0), (["grace", "edsger"], 0), (["no", "grace"], 1), (["no"], 2), (["no1", "no2"], 2)],
)
@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
def test_each_recipient_has_a_line_and_the_exit_code_sums_up(
    names: list[str], code: int, lmtp: bool, letter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipients = [f"{name}@mx.example" for name in names]
    arguments = [word for recipient in recipients for word in ("--to", recipient)]
    with box(lmtp=lmtp) as (mailbox, place):
        options = ["--lmtp"] if lmtp else []
        sent = main(["send", *options, "--server", place, "--from", "ada@a.example", *arguments, letter])
    out, err = capsys.readouterr()
    assert (sent, err) == (code, "")
    said = {True: r"refused: 550 5.1.1 no such \x1b[31muser", False: "accepted: 250 2.6.0 message accepted"}
    assert out.splitlines() == [f"{one} {said[one.startswith('no')]}" for one in recipients]
    assert [message.data for message in mailbox.messages] == ([MESSAGE] if code < 2 else [])


def feed(monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets)))


def test_a_message_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"Subject: in\n\n\xff\n")
    with box() as (mailbox, place):
        assert main(["send", "--server", place, "--from", "", "--to", "a@mx.example"]) == 0
    assert mailbox.messages[0].data == b"Subject: in\r\n\r\n\xff\r\n"
    assert mailbox.messages[0].sender == ""
    assert dict(mailbox.mails[0].parameters) == {"SIZE": 18, "BODY": "8BITMIME"}


def test_eight_bits_go_to_a_server_without_8bitmime_if_one_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with box(offer=Features({})) as (mailbox, place):
        send = ["send", "--server", place, "--from", "", "--to", "a@mx.example"]
        for options, code in (([], 2), (["--allow-8bit"], 0)):
            feed(monkeypatch, b"Subject: in\n\n\xff\n")
            assert main([*send, *options]) == code
        assert "does not offer 8BITMIME" in capsys.readouterr().err
    assert [message.data for message in mailbox.messages] == [b"Subject: in\r\n\r\n\xff\r\n"]


LARGE = b"0123456789\r\n" * 200_000


def test_a_large_message_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    reads = []

    class Spy(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(size)
            return super().read(size) or b""

    monkeypatch.setattr(Path, "open", lambda *arguments: Spy(*arguments))  # noqa: PLW0108
    with box() as (mailbox, place):
        assert main(["send", "--server", place, *FROM_TO, str(path)]) == 0
        feed(monkeypatch, LARGE)
        assert main(["send", "--server", place, *FROM_TO]) == 0
        with open(path) as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert main(["send", "--server", place, *FROM_TO]) == 0
    assert [message.data for message in mailbox.messages] == [LARGE] * 3
    # What is known of the size is said: it is of files, also as standard input.
    assert [mail.parameters.get("SIZE") for mail in mailbox.mails] == [len(LARGE), None, len(LARGE)]
    assert max(reads) <= 1_000_001


@pytest.mark.parametrize("count", [10, 2_000_000])
def test_a_named_pipe_can_be_sent(count: int, tmp_path: Path) -> None:
    """As with `smtp-proto send <(command)`, where the size is said to be 0."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = ["sh", "-c", f'yes | head -c {count} > "$0"', str(path)]
    with box() as (mailbox, place), subprocess.Popen(writer):
        assert main(["send", "--server", place, *FROM_TO, str(path)]) == 0
    assert mailbox.messages[0].data == b"y\r\n" * (count // 2)
    assert mailbox.mails[0].parameters.get("SIZE") == (15 if count == 10 else None)


@pytest.mark.parametrize("way", ["tls", "starttls"])
def test_a_message_can_go_through_tls(way: str, letter: str, tmp_path: Path) -> None:
    ca_file, _ = certificates().write(tmp_path)
    with box(way, require_tls=True) as (mailbox, place):
        send = ["send", f"--{way}", "--ca-file", ca_file, "--server", place, "--domain", "me.example"]
        assert main([*send, *FROM_TO, letter]) == 0
    assert mailbox.messages[0].data == MESSAGE
    assert mailbox.domains[0] == "me.example"


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_message_can_go_through_a_unix_socket(lmtp: bool, letter: str, tmp_path: Path) -> None:
    with box("unix", folder=tmp_path, lmtp=lmtp) as (mailbox, path):
        options = ["--lmtp"] if lmtp else []
        assert main(["send", *options, "--unix", path, *FROM_TO, letter]) == 0
    assert len(mailbox.messages) == 1


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("mx.example", ("mx.example", None)),
        ("mx.example:587", ("mx.example", 587)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("::1", ("::1", None)),
        ("fe80::1:2", ("fe80::1:2", None)),
        ("[::1]", ("::1", None)),
        ("[::1]:2525", ("::1", 2525)),
    ],
)
def test_a_server_is_a_host_or_a_host_with_a_port(
    server: str, expected: object, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def spy(host: str, port: int | None, **_: object) -> None:
        called.append((host, port))
        raise OSError

    monkeypatch.setattr(blocking, "connect", spy)
    assert main(["send", "--server", server, *FROM_TO, letter]) == 2
    assert called == [expected]


def test_when_the_connection_dies_what_is_known_is_said(
    letter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(*ENVELOPE)
        peer.say(b"250 ok", b"250 ok", b"354 go")
        while peer.line() != b".\r\n":
            pass

    with listening(play) as (host, port):
        assert main(["send", "--server", f"{host}:{port}", *FROM_TO, letter]) == 2
    out, err = capsys.readouterr()
    assert out == "grace@mx.example unknown\n"
    assert err.startswith("smtp-proto: ")
    assert "connection closed by the server" in err
    assert err.count("\n") == 1


WRONG: list[tuple[list[str], str]] = [
    (["send", *FROM_TO, "--server", "127.0.0.1:{closed}", "{letter}"], "127.0.0.1:{closed}"),
    (["send", *FROM_TO, "--server", "127.0.0.1:{closed}", "{letter}"], "Connection refused"),
    (["send", *FROM_TO, "--server", "mx.example:smtp", "{letter}"], "not a port: 'smtp'"),
    (["send", *FROM_TO, "--server", "mx.example:65536", "{letter}"], "not a port: '65536'"),
    (["send", *FROM_TO, "--server", "mx.example:", "{letter}"], "not a port: ''"),
    (["send", *FROM_TO, "{folder}/nothing"], "{folder}/nothing: No such file"),
    (["send", *FROM_TO, "{folder}"], "{folder}: Is a directory"),
    (["send", *FROM_TO, "--unix", "{folder}/none", "{letter}"], "No such file or directory: {folder}/none"),
    (["send", *FROM_TO, "--tls", "--ca-file", "{folder}/none", "{letter}"], "{folder}/none: No such file"),
    (["send", *FROM_TO, "--tls", "--ca-file", "{letter}", "{letter}"], "{letter}: "),
    (["send", *FROM_TO, "--ca-file", "{letter}", "{letter}"], "--ca-file needs --starttls or --tls"),
    (["send", *FROM_TO, "--timeout", "0", "{letter}"], "--timeout takes seconds"),
    (["send", *FROM_TO, "--timeout", "inf", "{letter}"], "--timeout takes seconds"),
    (["send", *FROM_TO, "--timeout", "nan", "{letter}"], "--timeout takes seconds"),
    (["serve", "--port", "65536"], "not a port: '65536'"),
    (["serve", "--port", "-1"], "not a port: '-1'"),
    (["serve", "--port", "{taken}"], "Address already in use"),
    (["serve", "--unix", "{folder}/no/where"], "No such file or directory: {folder}/no/where"),
    (["serve", "--tls"], "need --cert"),
    (["serve", "--require-tls"], "need --cert"),
    (["serve", "--key", "{letter}"], "need --cert"),
    (["serve", "--cert", "{folder}/none"], "{folder}/none: No such file"),
    (["serve", "--cert", "{letter}"], "{letter}: "),
    (["serve", "--maildir", "{letter}"], "Not a directory"),
    (["demo", "{folder}/nothing"], "{folder}/nothing: No such file"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=lambda value: " ".join(value)[:60])
def test_what_goes_wrong_is_one_clear_line(
    arguments: Sequence[str], said: str, letter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as taken:
        closed.bind(("127.0.0.1", 0))
        names = {
            "closed": closed.getsockname()[1],
            "taken": taken.getsockname()[1],
            "letter": letter,
            "folder": os.path.dirname(letter),
        }
        assert main([argument.format(**names) for argument in arguments]) == 2
    assert said.format(**names) in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "bad", "--to", "a@b.example"], "not an address (RFC 5321 4.1.2): 'bad'"),
        (["--from", "a@b.example", "--to", "a b@c.example"], "not an address"),
        (["--from", "a@b.example", "--to", ""], "a forward-path is never null"),
        (["--from", "a@b.example", "--to", "a@b.example\r\nDATA"], "control character in the address"),
        ([*FROM_TO, "--domain", "two words"], "neither a domain nor an address literal: 'two words'"),
        ([*FROM_TO, "--starttls"], "does not offer STARTTLS"),
        ([*FROM_TO, "--tls"], "TLS handshake failed"),
        ([*FROM_TO, "--lmtp"], "Lhlo was refused: 500 5.5.1"),
    ],
)
def test_what_the_server_cannot_be_asked_is_one_clear_line(
    arguments: list[str], said: str, letter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with box() as (mailbox, place):
        assert main(["send", "--server", place, *arguments, letter]) == 2
    assert said in one_line(capsys)
    assert not mailbox.mails


@pytest.mark.parametrize("message", [b"\0\n", b"x" * 999])
def test_a_message_that_may_not_be_sent_is_one_clear_line(
    message: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, message)
    with box() as (mailbox, place):
        assert main(["send", "--server", place, *FROM_TO]) == 2
    assert "RFC 5321 4.5" in one_line(capsys)
    assert not mailbox.mails


@pytest.mark.parametrize("way", ["tls", "starttls"])
def test_a_server_that_nobody_vouches_for_is_one_clear_line(
    way: str, letter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca_file, _ = another_authority().write(tmp_path)
    with box(way) as (mailbox, place):
        for trust in ([], ["--ca-file", ca_file]):
            assert main(["send", f"--{way}", *trust, "--server", place, *FROM_TO, letter]) == 2
            assert "certificate verify failed" in one_line(capsys)
    assert not mailbox.mails


def test_a_silent_server_is_one_clear_line(letter: str, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(lambda peer: peer.rest()) as (host, port):
        send = ["send", "--server", f"{host}:{port}", "--timeout", "0.05"]
        assert main([*send, *FROM_TO, letter]) == 2
    assert one_line(capsys) == "GREETING: nothing came within 0.05 seconds"


def test_what_a_server_says_moves_no_cursor(letter: str, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(lambda peer: peer.say(b"554-\x1b[2Jgo", b"554 away\x07")) as (host, port):
        assert main(["send", "--server", f"{host}:{port}", *FROM_TO, letter]) == 2
    assert one_line(capsys) == r"the connection was refused: 554 \x1b[2Jgo / away\x07"


@pytest.mark.parametrize("arguments", [[], ["send"], ["send", "--from", "a@b.example"], ["nonsense"]])
def test_a_command_line_that_cannot_be_read_shows_how(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: smtp-proto")


def test_an_interrupt_is_no_traceback(
    letter: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blocking, "connect", interrupt)
    assert main(["send", *FROM_TO, letter]) == 130
    assert capsys.readouterr() == ("", "")


def test_the_command_is_installed() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="smtp-proto")
    assert entry.load() is main


# --- The progress bar


@pytest.fixture
def large(tmp_path: Path) -> str:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return str(path)


def test_on_a_terminal_a_large_message_has_a_progress_bar(large: str) -> None:
    ours, theirs = pty.openpty()
    with box() as (mailbox, place), open(ours, "rb", buffering=0) as terminal:
        command = [*PYTHON, "send", "--server", place, *FROM_TO, large]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=ENVIRONMENT) as process:
            os.close(theirs)
            shown = b""
            try:
                while data := terminal.read(4096):
                    shown += data
            except OSError:  # how Linux says that the other end is closed
                pass
            out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == b"grace@mx.example accepted: 250 2.6.0 message accepted\n"
    assert b"sending" in shown
    assert b"100%" in shown
    assert mailbox.messages[0].data == LARGE


def wait_for_rich() -> None:
    """Its thread has been told to end, and nobody waited for it."""
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("rich."):
            thread.join(SECONDS)


@pytest.mark.parametrize("rich", [False, True])
def test_the_progress_bar_needs_no_rich(rich: bool, large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    if not rich:
        without_rich(monkeypatch)
    with box() as (_, place):
        assert main(["send", "--server", place, *FROM_TO, large]) == 0
    shown = terminal.getvalue()
    if rich:
        wait_for_rich()
        assert "100%" in shown
    else:
        assert shown.startswith("\r")
        assert shown.endswith("\r100 %\n")


@pytest.mark.parametrize("rich", [False, True])
def test_an_error_does_not_stand_behind_the_progress_bar(
    rich: bool, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(*ENVELOPE)
        peer.say(b"250 ok", b"250 ok", b"354 go")
        peer.line()

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    if not rich:
        without_rich(monkeypatch)
    with listening(play) as (host, port):
        assert main(["send", "--server", f"{host}:{port}", *FROM_TO, large]) == 2
    wait_for_rich()
    *_, last = terminal.getvalue().splitlines()
    assert re.fullmatch(r"(\x1b\[\?25h)?smtp-proto: .+", last)


def test_a_small_message_or_no_terminal_has_no_progress_bar(
    letter: str, large: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    with box() as (_, place):
        assert main(["send", "--server", place, *FROM_TO, large]) == 0
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(["send", "--server", place, *FROM_TO, letter]) == 0
    assert terminal.getvalue() == ""


# --- serve


@contextmanager
def served(*options: str, end: int = signal.SIGTERM) -> Iterator[tuple[str, list[str]]]:
    """A server in a process of its own: where it listens, and afterwards what it printed."""
    command = [*PYTHON, "serve", "--domain", "mx.example", *options]
    pipe = subprocess.PIPE
    printed: list[str] = []
    # Who runs these tests in the background has SIGINT ignored, and so would what is started here.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)
    finally:
        signal.signal(signal.SIGINT, ours)
    with process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on "), line
            yield line.removeprefix("listening on ").rstrip("\n"), printed
        finally:
            process.send_signal(end)
            out, err = process.communicate(timeout=30)
    printed += out.splitlines()
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_server_prints_what_comes_until_it_is_told_to_end(end: int, letter: str) -> None:
    with served("--port", "0", end=end) as (place, printed):
        assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", place)
        assert main(["send", "--server", place, *FROM_TO, letter]) == 0
    head = "From <ada@sender.example> to grace@mx.example"
    assert printed == [head, "Subject: hello", "", "Hello!", ""]


def test_a_server_that_ends_says_so_and_hangs_up() -> None:
    with socket.socket() as sock:
        with served("--port", "0") as (place, _):
            sock.connect(("127.0.0.1", int(place.rpartition(":")[2])))
            peer = Peer(sock)
            peer.introduce()
        assert peer.rest() == b"421 4.3.2 mx.example stops\r\n"


def test_a_server_delivers_into_a_maildir_over_a_unix_socket(letter: str, tmp_path: Path) -> None:
    path, maildir = tmp_path / "socket", tmp_path / "mail"
    with served("--unix", str(path), "--lmtp", "--maildir", str(maildir)) as (place, printed):
        assert place == str(path)
        assert main(["send", "--unix", place, "--lmtp", *FROM_TO, letter]) == 0
    assert not path.exists()
    assert printed == []
    (file,) = (maildir / "new").iterdir()
    assert file.read_bytes().endswith(MESSAGE.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("way", ["tls", "starttls"])
def test_a_server_may_have_a_certificate(
    way: str, letter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca_file, cert = certificates().write(tmp_path)
    options = ["--tls"] if way == "tls" else ["--require-tls"]
    with served("--port", "0", "--cert", cert, *options) as (place, _):
        send = ["send", f"--{way}", "--ca-file", ca_file, "--server", place]
        assert main([*send, *FROM_TO, letter]) == 0
        if way == "starttls":
            assert main(["send", "--server", place, *FROM_TO, letter]) == 2
            assert "refused: 530 5.7.0" in capsys.readouterr().out


def test_an_ipv6_address_is_written_so_that_it_can_be_used() -> None:
    assert shown(("::1", 25, 0, 0)) == "[::1]:25"
    assert host_and_port(shown(("::1", 25, 0, 0))) == ("::1", 25)


def test_a_server_puts_back_the_signal_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert signal.getsignal(signal.SIGTERM) is before
