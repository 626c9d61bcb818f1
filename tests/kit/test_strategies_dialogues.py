"""The kit's dialogues: whole sessions, legal to the core and to a judge who reads nothing but their octets.

The promise: each is legal, whatever was refused; both ends hear what the other says; the text of its script
says the same; and every extension, refusal and ending comes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.vendor.pretty import pretty
from strategies import assert_reached, drawn

from smtp_proto import (
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    ClientConnection,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Greeting,
    Hello,
    Helo,
    Lhlo,
    Limits,
    LocalProtocolError,
    Mail,
    MalformedCommand,
    MessageData,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    Signal,
    StartTLS,
    UnknownCommand,
    Vrfy,
    XClient,
)
from smtp_proto._writers import WRITERS
from smtp_proto.testing import Plan, Script, ScriptedPeer
from smtp_proto.testing.strategies import Dialogue, dialogues, plans

# The judge: RFC 5321 4.1 to 4.3, 2033 4.2, 2920 3.1, 3030 2 and 3207 4.2 on octets


LAST_IN_GROUP = {"opening", "EHLO", "LHLO", "HELO", "DATA", "VRFY", "EXPN", "QUIT", "STARTTLS", "AUTH"}


class Judge:
    """Reads a session from outside: who may speak, and to what an answer belongs."""

    def __init__(self, *, lmtp: bool) -> None:
        self.lmtp = lmtp
        self.due: deque[str] = deque(["opening"])
        self.accepted = 0
        self._octets = b""
        self._mode = "line"
        self._chunk = 0
        self._chunk_of = ""
        self._refused = False
        self._pipelining = False
        self._reply: list[bytes] = []
        self.is_over = False

    def client_says(self, octets: bytes) -> None:
        self._octets += octets
        while self._octets and self._read():
            pass

    def _read(self) -> bool:
        if self._mode == "data":
            content, end, rest = (b"\r\n" + self._octets).partition(b"\r\n.\r\n")
            if end:
                assert re.search(rb"\r(?!\n)|(?<!\r)\n|\0", content) is None
                assert max(map(len, content.split(b"\r\n"))) <= 999  # with a stuffed dot
                self._mode, self._octets = "line", rest
                self.due.append("verdict")
            return bool(end)
        if self._chunk:
            taken = len(self._octets[: self._chunk])
            self._chunk -= taken
            self._octets = self._octets[taken:]
            if not self._chunk:
                self.due.append(self._chunk_of)
            return True
        line, end, rest = self._octets.partition(b"\r\n")
        if end:
            self._octets = rest
            self._read_line(line)
        return bool(end)

    def _read_line(self, line: bytes) -> None:
        assert not self.due or self._pipelining, line
        assert not LAST_IN_GROUP & set(self.due), line
        verb = "AUTH" if self._mode == "auth" else re.split(rb"[ :]", line)[0].decode()
        self._mode = "line"
        if verb not in ("BDAT", "BURL"):
            self.due.append(verb)
            return
        last = line.endswith(b" LAST")
        self._chunk = int(line.split(b" ")[1]) if verb == "BDAT" else 0
        self._chunk_of = "verdict" if last else "BDAT"
        if not self._chunk:
            self.due.append(self._chunk_of)

    def server_says(self, line: bytes) -> None:
        assert re.fullmatch(rb"[2-5][0-9]{2}[ -][^\r\n\0]*\r\n", line)
        self._reply.append(line)
        if line[3:4] == b" ":
            assert len({one[:3] for one in self._reply}) == 1
            self._answer(int(line[:3]), self.due.popleft())
            self._reply.clear()

    def _answer(self, code: int, what: str) -> None:
        good = 200 <= code < 300
        self.is_over = code == 421 or (what == "QUIT" and good)
        if what in ("EHLO", "LHLO", "HELO") and good:
            self._pipelining = b"PIPELINING" in b"".join(self._reply)
        if what in ("MAIL", "EHLO", "LHLO", "HELO", "RSET") and good:
            self.accepted, self._refused = 0, False
        elif what == "RCPT":
            self.accepted += good
        elif what == "BDAT":
            self._refused |= not good
        elif what == "DATA" and code == 354:
            self._mode = "data"
        elif what == "AUTH" and code == 334:
            self._mode = "auth"
        elif what == "verdict" and not self.is_over:
            self._judge(code)
        else:
            assert not 300 <= code < 400, (what, code)

    def _judge(self, code: int) -> None:
        """A verdict: in LMTP one for each recipient; behind a 353 the same, and one for the message."""
        more = self.accepted + 1 if code == 353 else self.accepted - 1 if self.lmtp else 0
        if not self._refused and more > 0:
            self.due.extendleft(["another verdict"] * more)
        self.accepted = 0  # of this transaction; the next one may have none

    def tls(self) -> None:
        assert not self.due
        assert not self._octets
        self._pipelining = False


def judge(script: Script, *, lmtp: bool) -> None:
    """Raise AssertionError unless this is a session that the RFCs allow, up to its end."""
    judge = Judge(lmtp=lmtp)
    *steps, end = script.steps
    for step in steps:
        if step.by is None:
            judge.tls()
        elif step.by == "client":
            judge.client_says(step.octets)
        else:
            judge.server_says(step.octets)
    assert str(end) == "C: <close>"
    assert judge.is_over or not judge.due, f"{judge.due}\n{script}"


BAD_SESSIONS = {
    "no answer": "S: 220 a\nC: NOOP\nC: <close>",
    "two answers": "S: 220 a\nC: NOOP\nS: 250 a\nS: 250 a\nC: <close>",
    "no greeting": "C: NOOP\nS: 250 a\nC: <close>",
    "pipelining that nobody offered": "S: 220 a\nC: NOOP\nC: NOOP\nS: 250 a\nS: 250 a\nC: <close>",
    "a code that nobody asked for": "S: 220 a\nC: NOOP\nS: 354 a\nC: <close>",
    "two codes": "S: 220-a\nS: 250 a\nC: <close>",
    "one verdict for two": (
        "S: 220 a\nC: LHLO a\nS: 250 a\nC: MAIL FROM:<>\nS: 250 a\nC: RCPT TO:<a@b>\nS: 250 a\n"
        "C: RCPT TO:<b@b>\nS: 250 a\nC: DATA\nS: 354 a\nC: .\nS: 250 a\nC: <close>"
    ),
}


@pytest.mark.parametrize("text", BAD_SESSIONS.values(), ids=BAD_SESSIONS)
def test_the_judge_sees_what_is_wrong(text: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        judge(Script.parse(text), lmtp="LHLO" in text)


# What both ends hear


def merged(said: Iterator[Any]) -> list[Any]:
    """How a body is cut means nothing."""
    together: list[Any] = []
    for one in said:
        if isinstance(one, MessageData) and together and isinstance(together[-1], MessageData):
            together.append(MessageData(data=together.pop().data + one.data))
        elif one != MessageData(data=b""):
            together.append(one)
    return together


def heard(dialogue: Dialogue) -> tuple[list[Any], list[Reply]]:
    """Play it by hand, octet by octet to the server: what each end hears."""
    client = ClientConnection(lmtp=dialogue.lmtp)
    server = ServerConnection(lmtp=dialogue.lmtp, limits=Limits(message_size=None))
    commands: list[Any] = []
    replies: list[Any] = []

    def hear(conn: Any, octets: bytes, events: list[Any]) -> None:
        conn.receive_data(octets)
        while not isinstance(event := conn.next_event(), Signal):
            events.append(event)

    for said in dialogue.said:
        if said is None:
            client.tls_started()
            server.tls_started()
        elif isinstance(said, Command):
            client.send(said)
            for octet in client.data_to_send():
                hear(server, bytes([octet]), commands)
        else:
            while not isinstance(event := server.next_event(), Signal):
                commands.append(event)
            server.send(said)
            hear(client, server.data_to_send(), replies)
    return commands, replies


def assert_same(said: Command, event: Command) -> None:
    """What is refused for its place in the session is heard as a line that cannot be taken."""
    if isinstance(event, MalformedCommand):
        assert event.line + b"\r\n" == WRITERS[type(said)](said)
    else:
        assert event == said


def assert_heard(dialogue: Dialogue) -> None:
    commands, replies = heard(dialogue)
    assert replies == [one for one in dialogue.said if isinstance(one, Reply)]
    events = merged(iter(commands))
    refused_chunk = False
    for said in merged(one for one in dialogue.said if isinstance(one, Command)):
        if refused_chunk and isinstance(said, MessageData | EndOfMessage):
            continue
        if not events:
            assert replies[-1].code == 421
            break
        event = events.pop(0)
        assert_same(said, event)
        refused_chunk = isinstance(event, MalformedCommand) and isinstance(said, Bdat | Burl)
    assert not events


def assert_played(dialogue: Dialogue) -> None:
    """Peers that follow the text of its script say the same."""
    assert Script.parse(str(dialogue)) == dialogue.script
    sides = {role: ScriptedPeer(dialogue.script, plays=role) for role in ("client", "server")}
    while not all(side.is_finished for side in sides.values()):
        for role, other in (("client", "server"), ("server", "client")):
            if octets := sides[role].data_to_send():
                sides[other].receive_data(octets)
        if sides["client"].has_closed:
            sides["server"].receive_data(b"")
        for side in sides.values():
            if side.wants_tls:
                side.tls_started()


@given(dialogues(), plans())
def test_no_plan_changes_what_is_said(dialogue: Dialogue, plan: Plan) -> None:
    assert dialogue.play(plan).transcript == str(dialogue)


# What comes


def said(kind: type, is_such: Callable[[Any], object] = lambda one: True) -> Callable[[Dialogue], object]:
    return lambda dialogue: any(isinstance(one, kind) and is_such(one) for one in dialogue.said)


def answered(kind: type, codes: range, is_such: Callable[[Any], object] = lambda one: True) -> Any:
    """Whether a command of this class is answered so: as the pair's client sees it."""

    def is_answered(dialogue: Dialogue) -> bool:
        _, replies = heard(dialogue)
        return any(isinstance(one.to, kind) and one.code in codes and is_such(one.to) for one in replies)

    return is_answered


GOOD, BAD = range(200, 300), range(400, 600)


def text(pattern: str) -> Callable[[Dialogue], object]:
    return lambda dialogue: re.search(pattern, str(dialogue), re.MULTILINE)


def times(kind: type, number: int) -> Callable[[Dialogue], object]:
    return lambda dialogue: sum(isinstance(one, kind) for one in dialogue.said) >= number


CORNERS: dict[str, Callable[[Dialogue], object]] = {
    "SMTP": lambda dialogue: not dialogue.lmtp and said(Mail)(dialogue),
    "LMTP": lambda dialogue: dialogue.lmtp and said(Mail)(dialogue),
    "a greeting of many lines": said(Greeting, lambda one: len(one.lines) > 1),
    "a refused greeting": lambda dialogue: dialogue.said[0].code >= 400,
    "refused EHLO, then HELO": answered(Helo, GOOD),
    "refused LHLO": answered(Lhlo, BAD),
    "EHLO again": times(Hello, 2),
    "a group of commands": text("^C: MAIL.*\n(C: RCPT.*\n)+C: DATA\nS"),
    "a message in one flight": text("^C: RCPT.*\nC: (BDAT|BURL).* LAST"),
    "refused MAIL": answered(Mail, BAD),
    "refused MAIL with RCPT behind it": text("^C: MAIL.*\nC: RCPT.*\nS: [45]"),
    "refused RCPT": answered(Rcpt, BAD),
    "refused DATA": answered(Data, BAD),
    "a refused message": answered(EndOfMessage, BAD),
    "a message taken": answered(EndOfMessage, GOOD),
    "two messages": times(EndOfMessage, 2),
    "several recipients": times(Rcpt, 3),
    "a stuffed dot": text(r"^C: \.\."),
    "octets above 127": said(MessageData, lambda one: not one.data.isascii()),
    "an empty message": text("^S: 354.*\nC: \\.\n"),
    "a chunk in between": said(Bdat, lambda one: not one.last),
    "a refused chunk": answered(Bdat, BAD),
    "binary": said(MessageData, lambda one: re.search(rb"\0|\r(?!\n)", one.data)),
    "BURL": said(Burl),
    "two verdicts": text("^C: \\.\nS: .*ok\nS: .*ok\n"),
    "PRDR": text("^S: 353"),
    "parameters": said(Mail, lambda one: len(one.parameters) > 2),
    "SMTPUTF8": said(Rcpt, lambda one: not one.forward_path.is_ascii),
    "RSET": answered(Rset, GOOD),
    "a question": said(Vrfy),
    "an unknown command": said(UnknownCommand),
    "a question in a transaction": text("^C: RCPT.*\n(S: .*\n)+C: NOOP"),
    "a password": text("AUTH PLAIN .*\nS: 235"),
    "a wrong password": answered(Auth, BAD),
    "PLAIN, asked for": text("^C: AUTH PLAIN\nS: 334\\\\x20\nC: .*\nS"),
    "LOGIN": text("^C: AUTH LOGIN\nS: 334 .*\nC: .*\nS: 334 .*\nC: .*\nS: 235"),
    "CRAM-MD5": text("AUTH CRAM-MD5"),
    "a cancelled exchange": said(AuthResponse, lambda one: one.data is None),
    "STARTTLS": lambda dialogue: None in dialogue.said,
    "refused STARTTLS": answered(StartTLS, BAD),
    "a message through TLS": text("(?s)<starttls>.*C: MAIL"),
    "XCLIENT": answered(XClient, range(220, 221)),
    "QUIT": answered(Quit, GOOD),
    "no QUIT": lambda dialogue: not said(Quit)(dialogue),
    "421": text("^S: 421"),
    "an enhanced code": said(Reply, lambda one: one.enhanced),
}


def test_sessions_are_legal_and_heard_and_every_part_comes() -> None:
    sessions = drawn(dialogues(), 250, at_once=1)
    for dialogue in sessions:
        judge(dialogue.script, lmtp=dialogue.lmtp)
        assert_heard(dialogue)
        assert_played(dialogue)
    assert_reached(dialogues(), sessions, CORNERS)


@settings(max_examples=20)
@given(dialogues(lmtp=False), dialogues(lmtp=True))
def test_the_protocol_can_be_chosen(smtp: Dialogue, lmtp: Dialogue) -> None:
    assert (smtp.lmtp, lmtp.lmtp) == (False, True)
    assert not said(Lhlo)(smtp)
    assert not said(Ehlo)(lmtp)


# The value

GREETED = (Greeting(domain="mx.example"), Ehlo(domain="a.example"), Hello(domain="mx.example"))


def test_a_dialogue_is_shown_as_it_is_said() -> None:
    dialogue = Dialogue(GREETED)
    assert repr(dialogue) == (
        "<Dialogue, SMTP\n"
        "    S: 220 mx.example\n    C: EHLO a.example\n    S: 250 mx.example\n    C: <close>\n"
        ">"
    )
    assert pretty(dialogue) == repr(dialogue)
    assert repr(Dialogue(GREETED[:1], lmtp=True)).startswith("<Dialogue, LMTP\n")
    assert dialogue == Dialogue(GREETED) != Dialogue(GREETED[:1])


NO_DIALOGUES = {
    "no greeting": (GREETED[1:], LocalProtocolError),
    "no answer": (GREETED[:2], LocalProtocolError),
    "an answer to nothing": ((*GREETED, Reply(code=250)), LocalProtocolError),
    "DATA without MAIL": ((*GREETED, Data(), Reply(code=354)), LocalProtocolError),
    "STARTTLS that nobody offered": ((*GREETED, StartTLS(), Reply(code=220), None), LocalProtocolError),
    "a handshake that nobody asked for": ((*GREETED, None), LocalProtocolError),
    "half a message": (
        (
            *(*GREETED, Mail(reverse_path=""), Reply(code=250), Rcpt(forward_path="a@b"), Reply(code=250)),
            *(Data(), Reply(code=354), MessageData(data=b"a")),
        ),
        RemoteProtocolError,
    ),
}


@pytest.mark.parametrize(("said", "error"), NO_DIALOGUES.values(), ids=NO_DIALOGUES)
def test_what_is_no_legal_session_is_no_dialogue(said: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Dialogue(said)
