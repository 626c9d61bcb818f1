"""The promise of the examples: each does what its first lines say. What goes wrong is one line and an exit
code, a silent peer is given up, and a peer that says too much has to wait.
"""

from __future__ import annotations

import argparse
import importlib.util
import select
import signal
import smtplib
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from peers import (
    ENVELOPE,
    MESSAGE,
    RECIPIENT,
    SECONDS,
    SENDER,
    Peer,
    another_authority,
    calling,
    certificates,
    listening,
    serving,
)

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    Mail,
    Refused,
    RemoteProtocolError,
    Reply,
    TimedOut,
    Timer,
)
from smtp_proto.ops import Session, Status
from smtp_transports.auth import AuthSettings
from smtp_transports.blocking import connect
from smtp_transports.handlers import Collector, Mailbox, Message

EXAMPLES = Path(__file__).parents[1] / "examples"

LIBRARIES = ["anyio", "twisted"]
BACKENDS = ["asyncio", "trio"]

# Lone dots, leading dots, dots before the end, octets that are no ASCII and no UTF-8 either, a long line.
DOTS = (
    b"Subject: dots\r\n\r\n.\r\n..\r\n.leading\r\n...\r\n\r\ncaf\xc3\xa9 \xff\x80\r\n"
    + b"x" * 998
    + b"\r\n\r\n.\r\n.\r\n"
)
LARGE = DOTS + (b"." + b"y" * 70 + b"\r\n") * 20_000


def needs(library: str) -> None:
    pytest.importorskip(library, reason=f"the example is for {library}, which is not installed")


def load(library: str) -> Any:
    """The example as a module."""
    needs(library)
    path = EXAMPLES / f"with_{library}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(library: str, *arguments: str) -> list[str]:
    needs(library)
    return [sys.executable, "-bb", str(EXAMPLES / f"with_{library}.py"), *arguments]


def run(library: str, *arguments: str, message: bytes = MESSAGE) -> tuple[int, list[str], str]:
    """The exit code of the example, the lines that it printed, and its complaint."""
    done = subprocess.run(
        command(library, *arguments), input=message, capture_output=True, timeout=3 * SECONDS, check=False
    )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def complaint(library: str, *arguments: str) -> str:
    """What it says if nothing was sent: one line."""
    code, printed, said = run(library, *arguments)
    assert (code, printed) == (1, [])
    assert said.endswith("\n")
    assert said.count("\n") == 1
    return said.rstrip("\n")


class Box(Mailbox):
    """Keeps what came and how, and refuses whom it does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.tls: list[bool] = []

    def mail(self, session: Session, command: Mail) -> None:
        self.tls.append(session.tls)

    def rcpt(self, session: Session, command: Any) -> Reply | None:
        if command.forward_path.startswith("no"):
            return Reply(code=550, enhanced="5.1.1", text="no such \x1b[31muser")
        return None


@contextmanager
def box(way: str = "tcp") -> Iterator[tuple[Box, tuple[str, str]]]:
    """A server of ours with a box, and its host and port as arguments."""
    mailbox = Box()
    with serving(mailbox, way) as (server, _):
        host, port = server.address
        yield mailbox, (host, str(port))


# --- Both clients, as programs


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("message", [DOTS, LARGE, b""], ids=["dots", "large", "empty"])
def test_what_arrives_is_what_was_sent(library: str, message: bytes) -> None:
    with box() as (mailbox, place):
        code, printed, said = run(library, *place, SENDER, RECIPIENT, message=message)
    assert (code, said) == (0, "")
    assert printed == [f"{RECIPIENT} accepted: 250 2.6.0 message accepted"]
    assert mailbox.messages == [Message(SENDER, (RECIPIENT,), message)]
    assert mailbox.tls == [False]


@pytest.mark.parametrize("library", LIBRARIES)
def test_lines_of_a_text_file_arrive_with_crlf(library: str) -> None:
    with box() as (mailbox, place):
        code, _, _ = run(library, *place, SENDER, RECIPIENT, message=b"Subject: x\n\n.\nno end")
    assert code == 0
    assert mailbox.messages[0].data == b"Subject: x\r\n\r\n.\r\nno end\r\n"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_refused_recipient_has_a_line_and_the_others_get_the_message(library: str) -> None:
    with box() as (mailbox, place):
        code, printed, said = run(library, *place, SENDER, "no@mx.example", RECIPIENT)
    assert (code, said) == (1, "")
    assert printed == [
        r"no@mx.example refused: 550 5.1.1 no such \x1b[31muser",
        f"{RECIPIENT} accepted: 250 2.6.0 message accepted",
    ]
    assert mailbox.messages == [Message(SENDER, (RECIPIENT,), MESSAGE)]


@pytest.mark.parametrize("library", LIBRARIES)
def test_nobody_listens(library: str) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # and does not listen: the port stays ours, and is refused
        host, port = sock.getsockname()
        said = complaint(library, host, str(port), SENDER, RECIPIENT)
    assert said.startswith(f"{host}:{port}: ")
    assert "refused" in said or "failed" in said


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_address_that_is_none(library: str) -> None:
    with box() as (mailbox, place):
        said = complaint(library, *place, SENDER, "gr ace@mx.example")
    assert "gr ace@mx.example" in said
    assert mailbox.messages == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_server_that_turns_us_away(library: str) -> None:
    def play(peer: Peer) -> None:
        peer.say(b"554 5.7.1 not \x1b[2Jyou")
        assert peer.rest() == b""

    with listening(play) as (host, port):
        said = complaint(library, host, str(port), SENDER, RECIPIENT)
    assert said == rf"{host}:{port}: the connection was refused: 554 5.7.1 not \x1b[2Jyou"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_server_that_hangs_up_behind_the_verdict_has_taken_the_message(library: str) -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(*ENVELOPE)
        peer.say(b"250 ok", b"250 ok", b"354 go on")
        while peer.line() != b".\r\n":
            pass
        peer.say(b"250 2.0.0 it is mine", b"421 4.3.2 good night")

    with listening(play) as (host, port):
        code, printed, said = run(library, host, str(port), SENDER, RECIPIENT)
    assert (code, printed, said) == (0, [f"{RECIPIENT} accepted: 250 2.0.0 it is mine"], "")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_server_that_closes_with_the_verdict(library: str) -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(*ENVELOPE)
        peer.say(b"250 ok", b"250 ok", b"354 go on")
        while peer.line() != b".\r\n":
            pass
        peer.say(b"421 4.3.2 not now")
        assert peer.rest() == b""

    with listening(play) as (host, port):
        code, printed, said = run(library, host, str(port), SENDER, RECIPIENT)
    assert (code, printed, said) == (1, [f"{RECIPIENT} refused: 421 4.3.2 not now"], "")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_server_that_hangs_up_before_the_verdict(library: str) -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(*ENVELOPE)
        peer.say(b"250 ok", b"250 ok", b"354 go on")
        while peer.line() != b".\r\n":
            pass

    with listening(play) as (host, port):
        code, printed, said = run(library, host, str(port), SENDER, RECIPIENT)
    assert (code, printed) == (1, [f"{RECIPIENT} unknown: None"])
    assert said.startswith(f"{host}:{port}: while a message was sent: connection closed by the server")
    assert said.count("\n") == 1


# --- anyio


def anyio_options(place: tuple[str, str], **more: object) -> argparse.Namespace:
    options = {"starttls": "never", "ca_file": None, "sender": SENDER, "recipients": [RECIPIENT]} | more
    return argparse.Namespace(host=place[0], port=int(place[1]), **options)


def test_anyio_with_starttls(tmp_path: Path) -> None:
    ca, _ = certificates().write(tmp_path)
    with box("starttls") as (mailbox, place):
        code, printed, said = run(
            "anyio", "--starttls", "required", "--ca-file", ca, *place, SENDER, RECIPIENT, message=LARGE
        )
    assert (code, said) == (0, "")
    assert printed == [f"{RECIPIENT} accepted: 250 2.6.0 message accepted"]
    assert mailbox.messages == [Message(SENDER, (RECIPIENT,), LARGE)]
    assert mailbox.tls == [True]


def test_anyio_where_tls_is_required_and_not_offered() -> None:
    with box() as (mailbox, place):
        said = complaint("anyio", "--starttls", "required", *place, SENDER, RECIPIENT)
    assert said.endswith("the server does not offer STARTTLS: TLS is required")
    assert mailbox.tls == []


def test_anyio_with_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    ca, _ = another_authority().write(tmp_path)
    with box("starttls") as (mailbox, place):
        said = complaint("anyio", "--starttls", "required", "--ca-file", ca, *place, SENDER, RECIPIENT)
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert mailbox.tls == []


def test_anyio_with_a_server_that_hangs_up_in_the_handshake() -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(b"STARTTLS")
        peer.say(b"220 go ahead")
        assert peer.sock.recv(1)  # of the handshake

    with listening(play) as (host, port):
        said = complaint("anyio", "--starttls", "required", host, str(port), SENDER, RECIPIENT)
    assert said.startswith(f"{host}:{port}: the TLS handshake failed: ")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("starttls", ["never", "required"])
def test_anyio_on_every_loop(backend: str, starttls: str, tmp_path: Path) -> None:
    example = load("anyio")
    if backend == "trio":
        needs("trio")
    ca, _ = certificates().write(tmp_path)
    with box("starttls") as (mailbox, place):
        options = anyio_options(place, starttls=starttls, ca_file=ca)
        result = example.anyio.run(example.send, options, DOTS, backend=backend)
    assert result.all_accepted
    assert mailbox.messages == [Message(SENDER, (RECIPIENT,), DOTS)]
    assert mailbox.tls == [starttls == "required"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_anyio_gives_up_a_silent_server(backend: str) -> None:
    example = load("anyio")
    if backend == "trio":
        needs("trio")

    async def main(host: str, port: int) -> None:
        stream = example.AnyioStream(await example.anyio.connect_tcp(host, port), host)
        async with example.AsyncClient(stream, timeouts=0.01, clock=example.anyio.current_time) as client:
            await client.start("client.example")

    with listening(lambda peer: peer.rest()) as (host, port), pytest.raises(TimedOut) as caught:
        example.anyio.run(main, host, port, backend=backend)
    assert caught.value.timer is Timer.GREETING


def test_anyio_checks_the_name_in_the_certificate() -> None:
    example = load("anyio")

    async def main(place: tuple[str, str]) -> None:
        tcp = await example.anyio.connect_tcp(*place)
        stream = example.AnyioStream(tcp, "mx.example", certificates().client)
        async with example.AsyncClient(stream) as client:
            await client.start("client.example", starttls="required")

    with box("starttls") as (_, place), pytest.raises(ConnectionLost, match=r"not valid for 'mx\.example'"):
        example.anyio.run(main, place)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_anyio_closes_in_a_cancelled_task(backend: str, tls: bool) -> None:
    example = load("anyio")
    if backend == "trio":
        needs("trio")

    async def main(host: str, port: int) -> bool:
        tcp = await example.anyio.connect_tcp(host, port)
        stream = example.AnyioStream(tcp, host, certificates().client)
        client = example.AsyncClient(stream)
        await client.start("client.example", starttls="required" if tls else "never")
        with example.anyio.CancelScope() as scope:
            async with example.anyio.create_task_group() as group:

                async def noop() -> None:
                    group.start_soon(cancel)
                    await client.noop()

                async def cancel() -> None:
                    scope.cancel()

                await noop()
        return not client.conn.is_usable

    rest = []

    def play(peer: Peer) -> None:
        peer.greet()
        if tls:
            peer.hear(b"STARTTLS")
            peer.say(b"220 go ahead")
            peer.start_tls(certificates().server, server_side=True)
            peer.hear(b"EHLO")
            peer.say(b"250 mx.example")
        rest.append(peer.rest())  # until the client closes

    with listening(play) as (host, port):
        assert example.anyio.run(main, host, port, backend=backend)
    assert rest in ([b"NOOP\r\n"], [b""])


# --- Twisted: the server, as a program


@pytest.fixture
def twisted_server(tmp_path: Path) -> Iterator[tuple[tuple[str, int], Path]]:
    """The address of a running example, and the file that its messages go to. It must not complain."""
    written = tmp_path / "messages"
    with (
        written.open("wb") as file,
        subprocess.Popen(
            command("twisted", "--serve", "127.0.0.1", "0"), stdout=file, stderr=subprocess.PIPE, bufsize=0
        ) as process,
    ):
        try:
            assert process.stderr is not None
            assert select.select([process.stderr], [], [], 3 * SECONDS)[0], "it does not start"
            said = process.stderr.readline().decode()
            assert said.startswith("listening on 127.0.0.1:")
            yield ("127.0.0.1", int(said.rstrip("\n").rpartition(":")[2])), written
            process.send_signal(signal.SIGTERM)
            _, complaints = process.communicate(timeout=SECONDS)
            assert complaints == b""
        finally:
            process.kill()


TwistedServer = tuple[tuple[str, int], Path]


def test_twisted_serves_smtplib(twisted_server: TwistedServer) -> None:
    (host, port), written = twisted_server
    with smtplib.SMTP(host, port, timeout=SECONDS) as client:
        for message in (DOTS, MESSAGE):
            assert client.sendmail(SENDER, [RECIPIENT, "edsger@mx.example"], message) == {}
        assert client.noop()[0] == 250
    assert written.read_bytes() == DOTS + MESSAGE


def test_twisted_serves_our_client(twisted_server: TwistedServer) -> None:
    address, written = twisted_server
    with connect(*address, timeouts=SECONDS) as one, connect(*address, timeouts=SECONDS) as two:
        for client, message in ((one, LARGE), (two, DOTS), (one, b"")):
            assert client.send_message(SENDER, [RECIPIENT], message).all_accepted
    assert written.read_bytes() == LARGE + DOTS


def test_twisted_drops_a_message_without_an_end(twisted_server: TwistedServer) -> None:
    address, written = twisted_server
    with calling(address) as peer:
        peer.introduce()
        peer.say(b"MAIL FROM:<a@sender.example>", b"RCPT TO:<b@mx.example>", b"DATA")
        assert [peer.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        peer.say(b"half of")
    with connect(*address, timeouts=SECONDS) as client:
        assert client.send_message(SENDER, RECIPIENT, MESSAGE).all_accepted
    assert written.read_bytes() == MESSAGE


def test_twisted_says_that_the_port_is_taken(twisted_server: TwistedServer) -> None:
    (host, port), _ = twisted_server
    said = complaint("twisted", "--serve", host, str(port))
    assert "in use" in said


def test_twisted_says_how_to_use_it() -> None:
    code, printed, said = run("twisted", "127.0.0.1")
    assert (code, printed) == (1, [])
    assert "SENDER RECIPIENT" in said


# --- Twisted: without a reactor


class Wire:
    """A protocol of the example on a transport in memory, with a clock that the test turns."""

    def __init__(self, make: Any) -> None:
        from twisted.internet.task import Clock
        from twisted.internet.testing import StringTransport

        self.clock = Clock()
        self.transport = StringTransport()
        self.protocol = make(self.clock)
        self.protocol.makeConnection(self.transport)

    @property
    def is_reading(self) -> bool:
        return bool(self.transport.producerState == "producing")

    def say(self, *lines: bytes) -> bytes:
        """The peer says lines; what is said to that."""
        self.transport.clear()
        self.protocol.dataReceived(b"".join(line + b"\r\n" for line in lines))
        return bytes(self.transport.value())

    def lose(self, error: Exception) -> None:
        from twisted.python.failure import Failure

        self.transport.producer.stopProducing()
        self.protocol.connectionLost(Failure(error))


@pytest.fixture
def twisted() -> Any:
    return load("twisted")


@pytest.fixture
def client_wire(twisted: Any) -> Wire:
    return Wire(partial(twisted.Client, ClientConnection()))


def sending(wire: Wire, until: str = "") -> Any:
    """The Deferred of a message that is under way `until` its envelope, its verdict, or its end."""
    sent = wire.protocol.send_message("client.example", SENDER, [RECIPIENT], MESSAGE)
    if until:
        assert wire.say(b"220 mx.example ESMTP") == b"EHLO client.example\r\n"
        wire.say(b"250-mx.example", b"250 PIPELINING")
    if until == "verdict":
        assert wire.say(b"250 ok", b"250 ok", b"354 go on").endswith(b"\r\n.\r\n")
    return sent


def failure_of(deferred: Any) -> Any:
    caught: list[Any] = []
    deferred.addErrback(caught.append)
    assert caught, "nothing has happened yet"
    return caught[0].value


def result_of(deferred: Any) -> Any:
    results: list[Any] = []
    deferred.addCallback(results.append)
    assert results, "nothing has happened yet"
    return results[0]


def test_twisted_gives_a_deferred_with_the_result(client_wire: Wire) -> None:
    assert not client_wire.is_reading  # as long as nobody asked for anything
    sent = sending(client_wire, "verdict")
    assert client_wire.say(b"250 mine") == b"QUIT\r\n"
    client_wire.say(b"221 bye")
    assert result_of(sent).all_accepted
    assert client_wire.transport.disconnecting


@pytest.mark.parametrize(
    ("until", "timer"),
    [("", Timer.GREETING), ("envelope", Timer.MAIL), ("verdict", Timer.DATA_DONE)],
    ids=["greeting", "envelope", "verdict"],
)
def test_twisted_gives_up_a_silent_server_when_the_timer_says_so(
    client_wire: Wire, until: str, timer: Timer
) -> None:
    sent = sending(client_wire, until)
    client_wire.clock.advance(timer.seconds - 1)
    client_wire.protocol.dataReceived(b"2")  # an octet in time is no event
    assert not client_wire.transport.disconnected
    client_wire.clock.advance(1)
    error = failure_of(sent)
    assert isinstance(error, TimedOut)
    assert (error.timer, error.seconds) == (timer, timer.seconds)
    assert client_wire.transport.disconnected
    assert client_wire.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("until", "status"), [("", None), ("envelope", Status.UNSENT), ("verdict", Status.UNKNOWN)]
)
@pytest.mark.parametrize("clean", [False, True], ids=["reset", "closed"])
def test_twisted_tells_that_the_connection_is_lost(
    client_wire: Wire, until: str, status: Status | None, clean: bool
) -> None:
    from twisted.internet.error import ConnectionDone
    from twisted.internet.error import ConnectionLost as Reset

    sent = sending(client_wire, until)
    client_wire.lose(ConnectionDone() if clean else Reset())
    error = failure_of(sent)
    if until:
        assert isinstance(error, ConnectionLost)
        assert error.result is not None
        assert [outcome.status for outcome in error.result.outcomes] == [status]
    if not clean:
        assert isinstance(error, ConnectionLost)
        assert isinstance(error.__cause__, Reset)
    assert not client_wire.protocol.conn.is_usable
    assert client_wire.clock.getDelayedCalls() == []


def test_twisted_can_be_cancelled(client_wire: Wire) -> None:
    from twisted.internet.defer import CancelledError

    sent = sending(client_wire, "verdict")
    sent.cancel()
    assert isinstance(failure_of(sent), CancelledError)
    assert client_wire.transport.disconnected
    assert not client_wire.protocol.conn.is_usable
    assert client_wire.clock.getDelayedCalls() == []


class Slow(Collector):
    """Thinks about every message; `answers` are the Deferreds that it waits for."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.seen: list[bytes] = []
        self.ends = 0

    def deliver(self, session: Session, message: Message) -> Any:
        from twisted.internet.defer import Deferred

        self.seen.append(message.data)
        self.answers.append(Deferred())
        return self.answers[-1]

    def close(self, session: Session) -> None:
        self.ends += 1


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def server_wire(twisted: Any, slow: Slow) -> Wire:
    return Wire(partial(twisted.Server, slow))


def test_twisted_waits_for_a_handler_and_reads_nothing_meanwhile(server_wire: Wire, slow: Slow) -> None:
    server_wire.say(b"EHLO client.example")
    server_wire.say(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA")
    assert server_wire.is_reading
    assert server_wire.say(b"..hi", b".") == b""
    assert not server_wire.is_reading
    slow.answers[0].callback(Reply(code=451, text="4.0.0 come again"))
    assert server_wire.transport.value() == b"451 4.0.0 come again\r\n"
    assert server_wire.is_reading
    assert slow.seen == [b".hi\r\n"]
    assert server_wire.say(b"QUIT").startswith(b"221 ")
    assert server_wire.transport.disconnecting
    assert slow.ends == 1


def test_twisted_reads_nothing_from_a_client_that_does_not_read(server_wire: Wire, slow: Slow) -> None:
    server_wire.say(b"EHLO client.example")
    server_wire.protocol.pauseProducing()  # the transport holds enough
    server_wire.say(b"NOOP")
    assert not server_wire.is_reading
    server_wire.protocol.resumeProducing()
    assert server_wire.is_reading
    server_wire.protocol.pauseProducing()
    server_wire.say(b"NOOP")
    server_wire.clock.advance(Timer.SERVER.seconds)  # it never reads: 421 has no place to go either
    server_wire.clock.advance(Timer.SERVER.seconds)
    assert server_wire.transport.disconnecting or server_wire.transport.disconnected
    assert slow.ends == 1


def test_twisted_notices_that_a_client_that_does_not_read_is_gone(server_wire: Wire, slow: Slow) -> None:
    from twisted.internet.error import ConnectionLost as Reset

    server_wire.say(b"EHLO client.example")
    server_wire.protocol.pauseProducing()
    server_wire.say(b"NOOP")
    server_wire.lose(Reset())
    assert slow.ends == 1


def test_twisted_gives_up_a_silent_client(server_wire: Wire, slow: Slow) -> None:
    server_wire.transport.clear()
    server_wire.clock.advance(Timer.SERVER.seconds)
    assert server_wire.transport.value().startswith(b"421 4.4.2 ")
    assert server_wire.transport.disconnecting
    assert slow.ends == 1
    server_wire.clock.advance(10)  # it does not take the 421 either
    assert server_wire.transport.disconnected


def test_twisted_tells_the_handler_that_the_client_is_gone(server_wire: Wire, slow: Slow) -> None:
    from twisted.internet.error import ConnectionLost as Reset

    server_wire.say(b"EHLO client.example")
    server_wire.lose(Reset())
    assert slow.ends == 1


# --- A mechanism of one's own


def test_spnego_shows_who_is_authenticated() -> None:
    assert run("spnego") == (0, ["235 2.7.0 authenticated", "from EXAMPLE\\ada"], "")


class Clerk(Collector):
    """Keeps who was authenticated."""

    def __init__(self) -> None:
        super().__init__()
        self.users: list[str | None] = []

    def message(self, session: Session) -> None:
        self.users.append(session.user)


@pytest.fixture
def ntlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """NTLM, and a server that knows one user by it."""
    users = tmp_path / "users"
    users.write_text("EXAMPLE:ada:pässword\n", "utf-8")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    return load("spnego").Ntlm()


@pytest.mark.parametrize("others", [[], ["PLAIN", "SCRAM-SHA-256"]])
def test_a_mechanism_of_ones_own_is_used_before_the_others(ntlm: Any, others: list[str]) -> None:
    clerk = Clerk()
    with serving(clerk, auth=AuthSettings([*others, ntlm])) as (_, call), call() as client:
        assert client.features.auth[-1] == "NTLM"
        with pytest.raises(Refused, match="535"):
            client.login("EXAMPLE\\ada", "wrong", mechanisms=[*others, ntlm])
        assert client.login("EXAMPLE\\ada", "pässword", mechanisms=[*others, ntlm]).code == 235
        client.send_message(SENDER, [RECIPIENT], MESSAGE)
    assert clerk.users == ["EXAMPLE\\ada"]


@pytest.mark.parametrize("challenge", [b"", b"NTLMSSP\0", b"hello"])
def test_a_challenge_that_is_none_of_ntlm_is_an_error_of_the_server(ntlm: Any, challenge: bytes) -> None:
    with (
        listening(lambda peer: offers_ntlm(peer, challenge)) as (host, port),
        connect(host, port) as client,
        pytest.raises(RemoteProtocolError, match="NTLM"),
    ):
        client.login("EXAMPLE\\ada", "pässword", mechanisms=[ntlm])


def offers_ntlm(peer: Peer, challenge: bytes) -> None:
    peer.say(b"220 mx.example")
    peer.hear(b"EHLO ")
    peer.say(b"250-mx.example", b"250 AUTH NTLM")
    peer.hear(b"AUTH NTLM TlRMTVNTUA")
    peer.say(b"334 " + b64encode(challenge))
    peer.hear(b"*")
    peer.say(b"501 cancelled")
    peer.hear(b"QUIT")
    peer.say(b"221 bye")
