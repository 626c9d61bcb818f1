"""The kit's scripts: a text is one dialogue and no other, and who leaves it is shown where.

The promise: every dialogue can be written and is read again as it was; how octets are cut changes neither
what is said nor which line is named; what differs from a line is told at its first difference; `play` closes
its socket, and waits for nothing that cannot come.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers import drive, pieces
from hypothesis import assume, given
from hypothesis import strategies as st

from smtp_proto import ClientConnection, LocalProtocolError, RemoteProtocolError, ServerConnection
from smtp_proto.ops import SendResult, Session, greet, hello, quit, send_message, serve
from smtp_proto.testing import Role, Script, ScriptedPeer, ScriptMismatch, Step, play
from smtp_transports.blocking import connect

DIALOGUE = r"""
    # A server that refuses one of two.
    S: 220 mx.example
    C: EHLO client.example
    S: 250-mx.example
    S: 250 PIPELINING
    C: MAIL FROM:<a@x.example>
    C: RCPT TO:<b@y.example>
    C: RCPT TO:<c@y.example>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 550 nobody

    S: 354 go
    C: Subject: \xff
    C:
    C: ..\\
    C: .
    S: 250 taken
    C: QUIT
    S: 221 bye
    C: <close>
"""
SCRIPT = Script.parse(DIALOGUE)
RECIPIENTS = ["b@y.example", "c@y.example"]
BODY = b"Subject: \xff\r\n\r\n.\\\r\n"
SAID = [step.octets for step in SCRIPT.steps if step.by == "client"]
WIRE = b"".join(SAID)
ANSWERS = b"".join(step.octets for step in SCRIPT.steps if step.by == "server")

CUTS = st.lists(st.integers(1, len(WIRE) - 1), max_size=12)


def feed(peer: ScriptedPeer, *chunks: bytes) -> bytes:
    """Say these: all that is answered."""
    said = peer.data_to_send()
    for chunk in chunks:
        peer.receive_data(chunk)
        said += peer.data_to_send()
    return said


def mismatch(script: str, *chunks: bytes, plays: Role = "server") -> ScriptMismatch:
    peer = ScriptedPeer(Script.parse(script), plays=plays)
    with pytest.raises(ScriptMismatch) as caught:
        feed(peer, *chunks)
    return caught.value


# --- The text

OCTETS = st.binary(max_size=12) | st.sampled_from(
    [b"<close>", b"...", b"\\", b"a \r\n", b"# x\r\n", b"<starttls>"]
)
LINES = st.builds(
    lambda by, octets, end: Step(by, octets + end),
    st.sampled_from(["client", "server"]),
    OCTETS,
    st.sampled_from([b"\r\n", b"\r\n", b""]),
).filter(lambda step: step.octets != b"")
OPEN_LINES = st.builds(Step, st.sampled_from(["client", "server"]), OCTETS, st.just(True))
CLOSES = st.sampled_from([(), (Step("client"),), (Step("server"), Step("client"))])


@given(steps=st.lists(LINES | OPEN_LINES | st.just(Step(None))), closes=CLOSES)
def test_every_script_can_be_written_and_read(steps: list[Step], closes: tuple[Step, ...]) -> None:
    script = Script((*steps, *closes))
    text = str(script)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert not any(line.endswith(" ") for line in text.split("\n"))
    assert Script.parse(text) == script
    assert Script.parse(text.replace("\n", "\r\n\n  # C: nothing\n\t")) == script


@given(said=st.lists(st.tuples(st.sampled_from(["client", "server"]), OCTETS.filter(bool))), closes=CLOSES)
def test_what_was_said_is_a_script(said: list[tuple[Role, bytes]], closes: tuple[Step, ...]) -> None:
    ends = [(step.by, b"") for step in closes]
    script = Script.from_octets([*said, *ends])
    assert Script.parse(str(script)) == script
    joined = [(step.by, bytes([octet])) for step in script.steps for octet in step.octets]
    assert joined == [(by, bytes([octet])) for by, octets in said for octet in octets]
    assert [step for step in script.steps if not step.octets] == list(closes)
    assert Script.from_octets([*joined, *ends]) == script
    assert all(step.octets.count(b"\r\n") <= 1 for step in script.steps)


def test_lines_know_where_they_stand() -> None:
    assert [step.number for step in SCRIPT.steps[:3]] == [3, 4, 5]
    assert [step.number for step in Script.from_octets([("server", b"a\r\nb")]).steps] == [1, 2]
    assert Step("client", b"a", number=1) == Step("client", b"a", number=2)


@pytest.mark.parametrize(
    "line",
    [
        *("X: hi", "C hi", "C:hi", "EHLO x", "<close>", "C: ü", "C: \x07", "S: <starttls>x\\y", "<STARTTLS>"),
        *(r"C: \n", r"C: \x", r"C: \xg0", r"C: a\b", r"C: \\\\\a", "C: \\"),
    ],
)
def test_what_is_no_line_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 "):
        Script.parse(f"S: 220 mx.example\n{line}")


@pytest.mark.parametrize(
    "text", ["C: <close>\nC: QUIT", "C: <close>\nS: 220 a\nC: <close>", "S: <close>\n<starttls>"]
)
def test_nothing_stands_behind_a_close(text: str) -> None:
    with pytest.raises(ValueError, match=f"line {text.count(chr(10)) + 1}: .* behind <close>"):
        Script.parse(text)


# --- The peer


@given(cuts=CUTS)
def test_a_peer_that_keeps_to_the_script_gets_all_answers(cuts: list[int]) -> None:
    server = ScriptedPeer(SCRIPT, plays="server")
    assert feed(server, *pieces(WIRE, cuts)) == ANSWERS
    assert not server.is_finished
    server.receive_data(b"")
    assert server.is_finished
    assert server.transcript == str(SCRIPT)


@given(cuts=CUTS)
def test_the_other_role_says_its_lines_and_hears_the_answers(cuts: list[int]) -> None:
    client = ScriptedPeer(SCRIPT, plays="client")
    assert feed(client, *pieces(ANSWERS, cuts)) == WIRE
    assert client.is_finished
    assert client.has_closed


def test_an_answer_does_not_come_before_its_line() -> None:
    server = ScriptedPeer(SCRIPT, plays="server")
    assert server.data_to_send() == b"220 mx.example\r\n"
    server.receive_data(b"EHLO client.example\r")
    assert server.data_to_send() == b""
    server.receive_data(b"\nMAIL FROM:<a@x.example>\r\n")
    assert server.data_to_send() == b"250-mx.example\r\n250 PIPELINING\r\n"
    assert server.transcript.endswith("C: MAIL FROM:<a@x.example>\n")


@given(line=st.sampled_from(range(len(SAID) - 1)), data=st.data(), cuts=CUTS)
def test_a_change_is_found_where_it_is(line: int, data: st.DataObject, cuts: list[int]) -> None:
    at = data.draw(st.integers(0, len(SAID[line]) - 1))
    octet = data.draw(st.binary(min_size=1, max_size=1))
    changed = SAID[line][:at] + octet + SAID[line][at + 1 :]
    assume(changed.upper() != SAID[line].upper())
    wire = b"".join((*SAID[:line], changed, *SAID[line + 1 :]))
    server = ScriptedPeer(SCRIPT, plays="server")
    with pytest.raises(ScriptMismatch) as caught:
        feed(server, *pieces(wire, cuts), b"")
    steps = [place for place, step in enumerate(SCRIPT.steps) if step.by == "client"]
    number = SCRIPT.steps[steps[line]].number
    assert caught.value.line == number
    assert caught.value.expected == DIALOGUE.split("\n")[number - 1].strip()
    *_, came, mark = str(caught.value).split("\n")
    before = str(Step("client", SAID[line][:at] + b"|")).removesuffix("|\\")
    assert mark == " " * (12 + len(before)) + "^"
    assert came.startswith(f"      came  {before}")
    assert caught.value.transcript == "".join(f"{step}\n" for step in SCRIPT.steps[: steps[line]])
    with pytest.raises(ScriptMismatch):
        server.receive_data(b"")


@given(case=st.lists(st.booleans(), min_size=4, max_size=4))
def test_the_case_of_a_verb_does_not_matter(case: list[bool]) -> None:
    verb = "".join(letter.upper() if up else letter.lower() for letter, up in zip("quit", case, strict=True))
    for said, heard in (("QUIT", verb), (verb, "QUIT"), (f"{verb}...", "QUIT now")):
        server = ScriptedPeer(Script.parse(f"C: {said}\nS: 221 bye"), plays="server")
        assert feed(server, f"{heard}\r\n".encode()) == b"221 bye\r\n"
    # As it was said, not as it was expected.
    assert server.transcript.startswith("C: QUIT now\n")


@pytest.mark.parametrize(
    ("said", "heard", "at"),
    [
        ("MAIL FROM:<a@x.example>", b"mail from:<a@x.example>", 5),
        ("QUITS", b"quits", 0),
        ("dXNlcg==", b"DXNlcg==", 0),
        ("NOOP-X", b"noop-x", 0),
    ],
)
def test_the_case_of_all_else_does(said: str, heard: bytes, at: int) -> None:
    error = mismatch(f"C: {said}", heard + b"\r\n")
    assert str(error).endswith(f"\n            {' ' * (3 + at)}^")


def test_the_case_of_what_a_server_says_does_matter() -> None:
    assert mismatch("S: QUIT", b"quit\r\n", plays="client").came == "S: quit"


@pytest.mark.parametrize(
    ("line", "rest", "fits"),
    [
        ("EHLO ...", b"EHLO \r\n", True),
        ("EHLO ...", b"ehlo x.example \xff\r\n", True),
        ("...", b"\r\n", True),
        ("EHLO ...", b"EHLO\r\n", False),
        ("EHLO ...", b"EHLO x\n", False),
        ("EHLO ...", b"EHLO x\rEHLO\r\n", False),
        ("EHLO ....", b"EHLO .\r\n", True),
        (r"EHLO ..\x2e", b"EHLO ...\r\n", True),
        (r"EHLO ..\x2e", b"EHLO ..a\r\n", False),
        ("EHLO x\\", b"EHLO x", True),
        (r"EHLO x\x0a" + "\\", b"EHLO x\n", True),
        ("EHLO x", b"EHLO x\n", False),
        ("EHLO x", b"EHLO x \r\n", False),
    ],
)
def test_what_a_line_takes(line: str, rest: bytes, fits: bool) -> None:
    for chunks in ([rest], [rest[at : at + 1] for at in range(len(rest))]):
        server = ScriptedPeer(Script.parse(f"C: {line}\nS: 250 ok"), plays="server")
        if fits:
            assert feed(server, *chunks) == b"250 ok\r\n"
        else:
            with pytest.raises(ScriptMismatch):
                feed(server, *chunks)


def test_an_open_line_can_be_heard_and_not_said() -> None:
    script = Script.parse("S: 220 ...\nC: QUIT")
    assert feed(ScriptedPeer(script, plays="client"), b"220 anything ESMTP\r\n") == b"QUIT\r\n"
    with pytest.raises(ValueError, match=r"line 1: S: 220 \.\.\. has no end"):
        ScriptedPeer(script, plays="server")


def test_a_mismatch_can_be_read() -> None:
    error = mismatch(
        DIALOGUE, b"ehlo client.example\r\n", b"MAIL FROM:<a@y.example>\r\nRCPT TO:<b@y.example>\r\n"
    )
    assert str(error) == (
        "the dialogue leaves the script at line 7\n\n"
        "    S: 220 mx.example\n"
        "    C: ehlo client.example\n"
        "    S: 250-mx.example\n"
        "    S: 250 PIPELINING\n\n"
        "  expected  C: MAIL FROM:<a@x.example>\n"
        "      came  C: MAIL FROM:<a@y.example>\n"
        "                            ^"
    )
    assert (error.expected, error.came) == ("C: MAIL FROM:<a@x.example>", "C: MAIL FROM:<a@y.example>")


@pytest.mark.parametrize(
    ("script", "chunks", "came", "at"),
    [
        ("C: QUIT", [b""], "C: <close>", 0),
        ("C: QUIT", [b"QU", b""], "C: QU\\ <close>", 2),
        ("C: QUIT", [b"\\\x00\r\n"], r"C: \\\x00", 0),
        (r"C: \x00\\QUIT", [b"\x00\\QUIZ\r\nQUIT"], r"C: \x00\\QUIZ", 9),
        ("C: QUIT", [b"QUIT\n"], "C: QUIT\\x0a\\", 4),
        ("C: QUIT ...", [b"QUIT x\ny\r\n"], "C: QUIT x\\x0ay", 6),
        ("C: QUIT", [b"a" * 200 + b"\r\n"], f"C: {'a' * 60}\\", 0),
        ("C: <close>", [b"QUIT\r\n"], "C: QUIT", 0),
        ("C: QUIT", [b"QUIT\r\nQUIT\r\n"], "C: QUIT", 0),
        ("", [b"QUIT\r\n"], "C: QUIT", 0),
        ("<starttls>", [b"QUIT\r\n"], "C: QUIT", 0),
        ("<starttls>", [b""], "C: <close>", 0),
        ("C: STARTTLS\n<starttls>", [b"STARTTLS\r\nQUIT\r\n"], "C: QUIT", 0),
    ],
)
def test_what_came_is_shown_up_to_the_end_of_its_line(
    script: str, chunks: list[bytes], came: str, at: int
) -> None:
    error = mismatch(script, *chunks)
    assert error.came == came
    assert str(error).endswith(f"      came  {came}\n            {' ' * (3 + at)}^")


def test_behind_the_end_of_a_script_nothing_is_heard() -> None:
    error = mismatch("C: QUIT\nS: 221 bye", b"QUIT\r\nNOOP\r\n")
    assert error.expected == "nothing: the script is at its end"
    assert error.line == 3
    server = ScriptedPeer(Script.parse("S: 221 bye"), plays="server")
    server.receive_data(b"")
    assert server.is_finished


def test_nothing_is_heard_or_said_until_the_handshake_is_done() -> None:
    server = ScriptedPeer(Script.parse("C: STARTTLS\nS: 220 go\n<starttls>\nS: 250 secret"), plays="server")
    assert not server.wants_tls
    with pytest.raises(LocalProtocolError, match="no TLS handshake is due"):
        server.tls_started()
    assert feed(server, b"STARTTLS\r\n") == b"220 go\r\n"
    assert server.wants_tls
    server.tls_started()
    assert not server.wants_tls
    assert server.data_to_send() == b"250 secret\r\n"
    assert server.transcript.splitlines()[2:] == ["<starttls>", "S: 250 secret"]


# --- Our own two ends


class Stream:
    """A scripted peer as what `helpers.drive` drives."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self.handshakes = 0

    def send(self, data: bytes) -> None:
        self.peer.receive_data(data)

    def receive(self) -> bytes:
        return self.peer.data_to_send()

    def start_tls(self) -> None:
        assert self.peer.wants_tls
        self.handshakes += 1
        self.peer.tls_started()


def talk(conn: ClientConnection) -> Any:
    yield from greet(conn)
    yield from hello(conn, "client.example")
    result = yield from send_message(
        conn, "a@x.example", ["b@y.example", "c@y.example"], BODY, allow_8bit=True
    )
    yield from quit(conn)
    return result


def test_our_client_keeps_to_a_script() -> None:
    peer = ScriptedPeer(SCRIPT, plays="server")
    conn = ClientConnection()
    result = drive(talk(conn), conn, Stream(peer))
    assert [outcome.status.value for outcome in result.outcomes] == ["accepted", "refused"]
    peer.receive_data(b"")
    assert peer.is_finished


def test_our_client_hears_that_a_scripted_server_hangs_up() -> None:
    peer = ScriptedPeer(
        Script.parse("S: 220 mx.example\nC: EHLO ...\nS: 250 mx.\\\nS: <close>"), plays="server"
    )
    conn = ClientConnection()
    with pytest.raises(RemoteProtocolError, match="the answer to Ehlo is due"):
        drive(talk(conn), conn, Stream(peer))
    assert peer.is_finished


def test_our_server_keeps_to_a_script() -> None:
    script = r"""
        S: 220 mx.example ESMTP
        C: noop\
        C: \x0d\x0a\
        S: 250 ...
        C: EHLO client.example
        S: 250-mx.example
        S: 250-SIZE ...
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 ...
        <starttls>
        C: BDAT 5 LAST
        C: x\x0d\x0ay\x0d\
        S: 503 ...
        C: QUIT
        S: 221 ...
        C: <close>
    """
    peer = ScriptedPeer(Script.parse(script), plays="client")
    conn = ServerConnection()
    stream = Stream(peer)
    op = serve(conn, Session(conn), domain="mx.example", offer=type(conn.features)({}), starttls=True)
    drive(op, conn, stream, lambda _: None)
    assert peer.is_finished
    assert stream.handshakes == 1


# --- Over a socket


def played(text: str, talk: Callable[[socket.socket], Any], **options: Any) -> Any:
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as threads, ours, theirs:
        theirs.settimeout(5)
        future = threads.submit(play, Script.parse(text), theirs, **{"plays": "server", **options})
        try:
            return talk(ours)
        finally:
            ours.close()
            future.result()


def test_our_blocking_client_keeps_to_a_script() -> None:
    def talk(sock: socket.socket) -> SendResult:
        with connect(sock=sock, domain="client.example") as client:
            return client.send_message("a@x.example", RECIPIENTS, BODY, allow_8bit=True)

    result = played(DIALOGUE, talk)
    assert [outcome.status.value for outcome in result.outcomes] == ["accepted", "refused"]


def test_at_the_end_of_the_script_the_socket_is_closed() -> None:
    assert played("S: 220 mx.example", lambda sock: sock.makefile("rb").read()) == b"220 mx.example\r\n"


def test_a_side_that_has_closed_still_listens() -> None:
    def talk(sock: socket.socket) -> bytes:
        heard = sock.makefile("rb").read()
        sock.sendall(b"QUIT\r\n")
        sock.close()
        return heard

    assert played("S: 421 bye\nS: <close>\nC: QUIT\nC: <close>", talk) == b"421 bye\r\n"


class Wire:
    """A socket in memory. What it is told to hear comes in this order; an exception is raised."""

    def __init__(self, *hears: bytes | Exception, broken: bool = False) -> None:
        self.hears = list(hears)
        self.broken = broken
        self.sent = b""
        self.is_closed = False

    def recv(self, size: int) -> bytes:
        heard = self.hears.pop(0)
        if isinstance(heard, Exception):
            raise heard
        return heard

    def sendall(self, data: bytes) -> None:
        if self.broken:
            raise BrokenPipeError
        self.sent += data

    def shutdown(self, how: int) -> None:
        raise OSError("not connected")

    def close(self) -> None:
        self.is_closed = True


def test_a_reset_is_a_close() -> None:
    wire = Wire(b"QUIT\r\n", ConnectionResetError(), broken=True)
    play(Script.parse("C: QUIT\nS: 221 bye\nS: <close>\nC: <close>"), wire, plays="server")
    assert wire.is_closed
    with pytest.raises(ScriptMismatch) as caught:
        play(Script.parse("C: QUIT"), Wire(ConnectionResetError()), plays="server")
    assert caught.value.came == "C: <close>"


def test_silence_is_a_mismatch_where_the_socket_has_a_timeout() -> None:
    wire = Wire(TimeoutError())
    with pytest.raises(ScriptMismatch) as caught:
        play(Script.parse("S: 220 mx\nC: QUIT"), wire, plays="server")
    assert caught.value.expected == "C: QUIT"
    assert caught.value.came == "nothing, until the time was over"
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert wire.is_closed
    assert wire.sent == b"220 mx\r\n"


def test_the_handshake_makes_another_socket() -> None:
    secured = Wire(b"QUIT\r\n")
    clear = Wire(b"STARTTLS\r\n")

    def start_tls(sock: Wire) -> Wire:
        assert sock is clear
        assert sock.sent == b"220 go\r\n"
        return secured

    play(
        Script.parse("C: STARTTLS\nS: 220 go\n<starttls>\nC: QUIT\nS: 221 bye"),
        clear,
        plays="server",
        start_tls=start_tls,
    )
    assert secured.sent == b"221 bye\r\n"
    assert secured.is_closed


def test_who_does_the_handshake_is_asked_before_anything_is_said() -> None:
    wire = Wire()
    with pytest.raises(ValueError, match="nobody does the handshake"):
        play(Script.parse("S: 220 go\n<starttls>"), wire, plays="server")
    assert wire.is_closed
    assert wire.sent == b""
