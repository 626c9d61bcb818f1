"""The promise of the tutorial: it shows the whole program, and the program does what the page says."""

from __future__ import annotations

import importlib.util
import re
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from peers import MESSAGE, RECIPIENT, SECONDS, SENDER, certificates, listening, nothing_left, serving

from smtp_proto import ClientConnection, Reply, ops
from smtp_proto.testing.conformance import Letter, ServerOptions, check_client, check_server
from smtp_transports._sockets import SocketStream
from smtp_transports.handlers import Mailbox, Message

ROOT = Path(__file__).parents[1]

CLIENTS = ["by_hand_client", "by_hand_operations"]
PROGRAMS = {
    "by_hand_client": "tutorial.md",
    "by_hand_operations": "tutorial-operations.md",
    "by_hand_server": "tutorial-server.md",
    "with_anyio": "tutorial-embedding.md",
    "with_twisted": "tutorial-embedding.md",
}


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(r"(?ms)^```python\n(.*?)^```$", text)


def source(program: str) -> str:
    return (ROOT / "examples" / f"{program}.py").read_text("utf-8")


def load(program: str) -> Any:
    spec = importlib.util.spec_from_file_location(program, ROOT / "examples" / f"{program}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(program: str, *arguments: object, message: bytes = MESSAGE, **env: str) -> tuple[int, list[str], str]:
    """The exit code of a program, the lines that it printed, and its complaint."""
    command = [sys.executable, "-bb", ROOT / "examples" / f"{program}.py", *map(str, arguments)]
    done = subprocess.run(
        command, input=message, capture_output=True, timeout=3 * SECONDS, check=False, env=env
    )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


class NotEve(Mailbox):
    """Refuses one recipient."""

    def rcpt(self, session: ops.Session, command: Any) -> Reply | None:
        if command.forward_path == "eve@mx.example":
            return Reply(code=550, enhanced="5.1.1", text="no Eve here")
        return None


# --- The pages


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_page_shows_the_whole_program(program: str) -> None:
    rest = source(program)
    for block in blocks(PROGRAMS[program]):
        rest = rest.replace(block.strip("\n"), "", 1)
    assert rest.strip() == ""


# --- The clients


@pytest.mark.parametrize("program", CLIENTS)
@pytest.mark.parametrize("offer", [None, {}], ids=["as it is", "no PIPELINING"])
def test_a_client_sends_and_says_who_was_refused(program: str, offer: dict[str, Any] | None) -> None:
    handler = NotEve()
    with serving(handler, **({} if offer is None else {"offer": offer})) as (server, _):
        code, printed, said = run(program, *server.address, SENDER, "eve@mx.example", RECIPIENT)
    assert (code, said) == (1, "")
    assert [line.partition(" ")[0] for line in printed] == ["eve@mx.example:", f"{RECIPIENT}:"]
    assert "550 5.1.1 no Eve here" in printed[0]
    assert "250 2.6.0 message accepted" in printed[1]
    assert handler.messages == [Message(SENDER, (RECIPIENT,), MESSAGE)]


@pytest.mark.parametrize("program", CLIENTS)
def test_a_client_whose_recipients_are_all_accepted_has_succeeded(program: str) -> None:
    with serving(Mailbox()) as (server, _):
        code, printed, said = run(program, *server.address, SENDER, RECIPIENT)
    assert (code, len(printed), said) == (0, 1, "")


@pytest.mark.parametrize("program", CLIENTS)
def test_a_client_whose_recipients_are_all_refused_sends_nothing(program: str) -> None:
    handler = NotEve()
    with serving(handler) as (server, _):
        code, printed, said = run(program, *server.address, SENDER, "eve@mx.example")
    assert (code, len(printed), said) == (1, 1, "")
    assert handler.messages == []


@pytest.mark.parametrize("program", CLIENTS)
def test_a_client_says_in_a_line_what_went_wrong(program: str) -> None:
    with listening(lambda peer: peer.say(b"554 5.7.1 not you")) as (host, port):
        code, printed, said = run(program, host, port, SENDER, RECIPIENT)
    assert (code, printed) == (1, [])
    assert said == f"{host}:{port}: the connection was refused: 554 5.7.1 not you\n"


def test_operations_use_starttls_and_verify(tmp_path: Path) -> None:
    ca, _ = certificates().write(tmp_path)
    tls = []

    class Seen(Mailbox):
        def mail(self, session: ops.Session, command: Any) -> None:
            tls.append(session.tls)

    with serving(Seen(), "starttls") as (server, _):
        code, _, said = run("by_hand_operations", *server.address, SENDER, RECIPIENT, SSL_CERT_FILE=ca)
        assert (code, said, tls) == (0, "", [True])
        code, _, said = run("by_hand_operations", *server.address, SENDER, RECIPIENT)
        assert code == 1
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert tls == [True]


class Adapted:
    """A stream of the kit as the stream of the program."""

    def __init__(self, stream: Any) -> None:
        self.send_all = stream.send_all
        self.start_tls = stream.start_tls
        self.receive_some = lambda timeout: stream.receive_some(65536, timeout)


def test_operations_break_no_rule() -> None:
    program = load("by_hand_operations")

    def send(stream: Any, letter: Letter) -> list[str]:
        conn, adapted = ClientConnection(), Adapted(stream)
        program.run(ops.greet(conn), conn, adapted)
        program.run(ops.hello(conn, "client.example", starttls="opportunistic"), conn, adapted)
        op = ops.send_message(conn, letter.sender, letter.recipients, letter.data)
        result = program.run(op, conn, adapted)
        program.run(ops.quit(conn), conn, adapted)
        return [str(outcome.recipient) for outcome in result.accepted]

    verdicts = check_client(send)
    assert [(one.rule.name, one.dialogue) for one in verdicts if one.finding == "broken"] == []
    assert sum(one.finding == "kept" for one in verdicts) > 50


# --- The server


@contextmanager
def by_hand_server() -> Iterator[tuple[str, int]]:
    program = load("by_hand_server")
    with nothing_left(), program.Server(("127.0.0.1", 0), program.Session) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


def test_the_server_breaks_no_rule() -> None:
    recipients = ("bob@example.com", "carol@example.com")
    options = ServerOptions(recipients=recipients, refused="eve@example.net", deliver=True, attack=True)
    with by_hand_server() as address:
        verdicts = check_server(lambda: SocketStream(socket.create_connection(address, SECONDS)), options)
    assert [(one.rule.name, one.dialogue) for one in verdicts if one.finding == "broken"] == []
    assert sum(one.finding == "kept" for one in verdicts) > 60


def test_the_server_writes_what_came(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with by_hand_server() as address, smtplib.SMTP(*address, timeout=SECONDS) as client:
        refused = client.sendmail(SENDER, ["bob@example.com", "eve@example.net"], MESSAGE)
        assert client.sendmail(SENDER, ["postmaster"], b"Subject: the next\r\n\r\n..\r\n") == {}
    assert refused == {"eve@example.net": (550, b"5.7.1 we take mail for example.com alone")}
    assert capfdbinary.readouterr().out == MESSAGE + b"Subject: the next\r\n\r\n..\r\n"


def test_the_server_says_where_it_listens() -> None:
    command = [sys.executable, "-bb", ROOT / "examples" / "by_hand_server.py", "127.0.0.1", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.readline().decode()
        try:
            with smtplib.SMTP("127.0.0.1", int(said.rpartition(":")[2]), timeout=SECONDS) as client:
                assert client.noop()[0] == 250
        finally:
            process.kill()
    assert said.startswith("listening on 127.0.0.1:")
