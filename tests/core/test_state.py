"""The state table, walked pair by pair, by both roles and in both protocols.

The promise: what may be said in which state, and where each answer leads, is as RFC 5321 and its
extensions have it, and as it is written down here a second time. What may not be said raises
`LocalProtocolError` at a client and becomes `MalformedCommand` at a server; what is no answer raises
`LocalProtocolError` at a server; and what raises changes nothing and queues nothing.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any, NamedTuple

import pytest
from helpers import client_in, copies, every, feed, pair_in, server_in, snapshot

import smtp_proto
from smtp_proto import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Auth,
    AuthChallenge,
    AuthResponse,
    Bdat,
    Burl,
    ClientConnection,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Etrn,
    Expn,
    Greeting,
    Hello,
    Helo,
    Help,
    Lhlo,
    LocalProtocolError,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    StartTLS,
    State,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from smtp_proto._state import OPENING, TABLE, Opening

SAYINGS: dict[str, Command] = {
    "EHLO": Ehlo(domain="a.example"),
    "HELO": Helo(domain="a.example"),
    "LHLO": Lhlo(domain="a.example"),
    "STARTTLS": StartTLS(),
    "AUTH": Auth(mechanism="PLAIN"),
    "response": AuthResponse(data=b"\xfb\xff"),
    "cancel": AuthResponse(data=None),
    "MAIL": Mail(reverse_path="a@b.example"),
    "RCPT": Rcpt(forward_path="a@b.example"),
    "DATA": Data(),
    "BDAT": Bdat(size=0),
    "text": MessageData(data=b"text"),
    "end": EndOfMessage(),
    "RSET": Rset(),
    "VRFY": Vrfy(argument="a"),
    "EXPN": Expn(argument="a"),
    "HELP": Help(),
    "NOOP": Noop(),
    "QUIT": Quit(),
    "XFOO": UnknownCommand(name="XFOO"),
    "ETRN": Etrn(node="a.example"),
    "BURL": Burl(url="imap:x"),
    "XCLIENT": XClient(attributes={"NAME": "a.example"}),
    "XFORWARD": XForward(attributes={"NAME": "a.example"}),
    "malformed": MalformedCommand(line=b"!", reply=Reply(code=500)),
    "opening": OPENING,
}

_ALWAYS = "EHLO HELO RSET VRFY EXPN HELP NOOP QUIT XFOO"


class Situation(NamedTuple):
    """A state, how it came about, and what may be said in it."""

    state: State
    legal: str
    chunk: Bdat = Bdat(size=4)


SITUATIONS = {
    "greeting": Situation(State.GREETING, ""),
    "greeted": Situation(State.GREETED, _ALWAYS),
    "ready": Situation(State.READY, f"{_ALWAYS} STARTTLS AUTH MAIL ETRN XCLIENT XFORWARD"),
    "auth": Situation(State.AUTH, "response cancel"),
    "tls": Situation(State.TLS, ""),
    "mail": Situation(State.MAIL, f"{_ALWAYS} RCPT"),
    "rcpt": Situation(State.RCPT, f"{_ALWAYS} RCPT DATA BDAT BURL"),
    "data": Situation(State.DATA, "text end"),
    "chunk": Situation(State.CHUNK, "text"),
    "last chunk": Situation(State.CHUNK, "text", Bdat(size=4, last=True)),
    "empty last chunk": Situation(State.CHUNK, "end", Bdat(size=0, last=True)),
    "bdat": Situation(State.BDAT, f"{_ALWAYS} BDAT BURL"),
    "bdat failed": Situation(State.BDAT_FAILED, _ALWAYS),
    "rejected": Situation(State.REJECTED, "QUIT"),
    "closed": Situation(State.CLOSED, ""),
    "failed": Situation(State.FAILED, ""),
}

PROTOCOLS = [pytest.param(False, id="SMTP"), pytest.param(True, id="LMTP")]


def client_of(name: str, lmtp: bool) -> ClientConnection:
    """A fresh client in this situation."""
    return client_in(SITUATIONS[name].state, chunk=SITUATIONS[name].chunk, lmtp=lmtp)


def server_of(name: str, lmtp: bool) -> ServerConnection:
    """A fresh server in this situation."""
    return server_in(SITUATIONS[name].state, chunk=SITUATIONS[name].chunk, lmtp=lmtp)


def legal(name: str, lmtp: bool) -> set[str]:
    """LMTP has LHLO in the place of EHLO and HELO (RFC 2033 4.1)."""
    words = set(SITUATIONS[name].legal.split())
    return words - {"EHLO", "HELO"} | {"LHLO"} if lmtp and "EHLO" in words else words


def leads_to(command: Command, code: int, state: State) -> State:
    """Where the session is when `command`, said in `state`, was answered with `code`."""
    good = code // 100 == 2
    bad = code // 100 in (4, 5)
    in_transaction = state not in (State.GREETED, State.READY)
    for kinds, reached in (
        ((object,), code == 421 and State.CLOSED),
        ((Opening,), State.GREETED if code == 220 else State.REJECTED),
        ((Ehlo, Helo, Lhlo), good and State.READY),
        ((Rset,), good and in_transaction and State.READY),
        ((Quit,), good and State.CLOSED),
        ((StartTLS,), code == 220 and State.TLS),
        ((Auth, AuthResponse), code == 334 and State.AUTH),
        ((AuthResponse,), State.READY),
        ((MalformedCommand,), state is State.AUTH and State.READY),
        ((Mail,), good and State.MAIL),
        ((Rcpt,), good and State.RCPT),
        ((Data,), code == 354 and State.DATA),
        ((XClient,), code == 220 and State.GREETED),
        ((Bdat, Burl), (good and State.BDAT) or (bad and State.BDAT_FAILED)),
        ((EndOfMessage,), State.READY),
    ):
        if isinstance(command, kinds) and reached:
            return reached
    return state


def is_due(command: Command, code: int) -> bool:
    """Whether `code` may answer `command`: 3yz is the word of two commands only."""
    if 300 <= code < 400:
        return (code == 334 and isinstance(command, Auth | AuthResponse)) or (
            code == 354 and isinstance(command, Data)
        )
    return True


CODES = (200, 220, 221, 235, 250, 252, 299, 300, 334, 354, 399, 400, 421, 450, 499, 500, 503, 554, 599)


def test_every_state_and_every_command_is_walked() -> None:
    assert {there.state for there in SITUATIONS.values()} == set(State) == set(TABLE)
    said = {type(command) for command in SAYINGS.values()}
    assert {kind for row in TABLE.values() for kind in row} == said
    public = (getattr(smtp_proto, name) for name in smtp_proto.__all__)
    assert {kind for kind in public if isinstance(kind, type) and issubclass(kind, Command)} == (
        said - {Opening} | {Command}
    )


# A client


@every("lmtp", PROTOCOLS)
@every("name", SITUATIONS)
def test_a_client_may_say_what_is_legal_and_nothing_else(name: str, lmtp: bool) -> None:
    for word, command in SAYINGS.items():
        client = client_of(name, lmtp)
        before = snapshot(client)
        if word in legal(name, lmtp):
            client.send(command)
            # The end of a last chunk was announced, and makes no octets.
            assert client.octets_to_send or name == "empty last chunk"
            continue
        with pytest.raises(LocalProtocolError):
            client.send(command)
        assert snapshot(client) == before, word
        assert client.data_to_send() == b""


@every("lmtp", PROTOCOLS)
@every("name", SITUATIONS)
def test_the_answer_leads_a_client_where_the_table_says(name: str, lmtp: bool) -> None:
    state = SITUATIONS[name].state
    for word, code in product(sorted(legal(name, lmtp) - {"text"}), CODES):
        command = SAYINGS[word]
        client = client_of(name, lmtp)
        client.send(command)
        answer = b"%d YQ==\r\n" % code
        if not is_due(command, code):
            with pytest.raises(RemoteProtocolError):
                feed(client, answer)
            continue
        (reply,) = feed(client, answer)
        assert (reply.code, reply.to) == (code, command)
        assert client.state is leads_to(command, code, state), (command, code)
        assert client.authenticated is (code == 235 and isinstance(command, Auth | AuthResponse))
        assert client.outstanding == 0
        assert (client.mail is None) is (client.state not in TRANSACTION)


TRANSACTION = {State.MAIL, State.RCPT, State.DATA, State.CHUNK, State.BDAT, State.BDAT_FAILED}


@pytest.mark.parametrize(
    ("name", "word"),
    [("greeted", word) for word in ("EHLO", "HELO", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "QUIT", "XFOO")]
    + [("ready", word) for word in ("STARTTLS", "AUTH", "MAIL", "ETRN", "XCLIENT", "XFORWARD")]
    + [("auth", "response"), ("mail", "RCPT"), ("rcpt", "RCPT"), ("rcpt", "DATA"), ("rcpt", "BDAT")]
    + [("rcpt", "BURL")]
    + [("data", "end"), ("empty last chunk", "end"), ("rejected", "QUIT")],
)
def test_every_code_is_an_answer_and_its_first_digit_decides(name: str, word: str) -> None:
    command = SAYINGS[word]
    state = SITUATIONS[name].state
    client = client_of(name, False)
    for code in range(200, 600):
        if client.state is not state or not client.is_usable or client.authenticated:
            client = client_of(name, False)
        client.send(command)
        client.receive_data(b"%d YQ==\r\n" % code)
        if not is_due(command, code):
            with pytest.raises(RemoteProtocolError):
                client.next_event()
            continue
        reply: Any = client.next_event()
        assert (reply.code, reply.to) == (code, command)
        exact = code in (220, 334, 354, 421)
        assert client.state is leads_to(command, code if exact else code // 100 * 100, state)


def test_every_code_may_open_a_session_but_only_220_opens_it() -> None:
    for code in range(200, 600):
        client = ClientConnection()
        client.receive_data(b"%d mx.example\r\n" % code)
        if 300 <= code < 400:
            with pytest.raises(RemoteProtocolError):
                client.next_event()
            continue
        reply = client.next_event()
        assert isinstance(reply, Reply)
        assert (reply.code, reply.to, type(reply)) == (code, None, Greeting if code == 220 else Reply)
        assert client.state is {220: State.GREETED, 421: State.CLOSED}.get(code, State.REJECTED)


@every("lmtp", PROTOCOLS)
@every("name", SITUATIONS)
def test_a_reply_that_nothing_asked_for_is_an_error_save_421(name: str, lmtp: bool) -> None:
    for code in CODES:
        client = client_of(name, lmtp)
        client.receive_data(b"%d x\r\n" % code)
        state = client.state
        # A body under way may be refused; then it is over. A server that hears TLS says nothing.
        interrupted = state in (State.DATA, State.CHUNK) and code >= 400
        if state is State.GREETING:
            continue
        if state is State.CLOSED:
            assert client.next_event() is CLOSED
        elif state is State.FAILED:
            with pytest.raises(LocalProtocolError):
                client.next_event()
        elif state is not State.TLS and (code == 421 or interrupted):
            reply: Any = client.next_event()
            assert (reply.code, reply.to, client.state) == (code, None, State.CLOSED)
            assert client.next_event() is CLOSED
            with pytest.raises(LocalProtocolError, match="closed"):
                client.send(Noop())
        else:
            for _ in range(2):  # it is final
                with pytest.raises(RemoteProtocolError):
                    client.next_event()


# A server

TALKING = ("greeted", "ready", "auth", "mail", "rcpt", "bdat", "bdat failed", "rejected")
IN_BODY = ("data", "chunk", "last chunk")


def line_of(command: Command) -> bytes:
    """What stands on the wire for `command`, wherever it may be said."""
    if isinstance(command, MalformedCommand):
        return command.line + b"\r\n"
    for name, lmtp in product(("greeted", "ready", "auth", "mail", "rcpt"), (False, True)):
        client = client_of(name, lmtp)
        with suppress(LocalProtocolError):
            client.send(command)
            return client.data_to_send()
    raise AssertionError(command)


LINES = {
    word: line_of(command) for word, command in SAYINGS.items() if word not in ("text", "end", "opening")
}


def heard(name: str, word: str, lmtp: bool) -> Command | int:
    """What a server hears, or the code with which it refuses."""
    if word in legal(name, lmtp):
        return SAYINGS[word]
    if name == "auth":  # one word of letters is a response as good as any
        line = LINES[word].rstrip(b"\r\n")
        is_word = line.isalpha() and len(line) % 4 == 0
        return AuthResponse(data=b64decode(line)) if is_word else 501
    if word in ("malformed", "response", "cancel"):
        return 500
    if word in (("EHLO", "HELO") if lmtp else ("LHLO",)) and name != "rejected":
        return 500
    return 503


@every("lmtp", PROTOCOLS)
@every("name", TALKING)
def test_a_server_hears_what_is_legal_and_calls_the_rest_malformed(name: str, lmtp: bool) -> None:
    for word, line in LINES.items():
        server = server_of(name, lmtp)
        before = facts(server)
        (event,) = feed(server, line)
        expected = heard(name, word, lmtp)
        if isinstance(expected, int):
            assert isinstance(event, MalformedCommand)
            assert (event.reply.code, event.line) == (expected, b"" if name == "auth" else public(line))
        else:
            assert event == expected
        assert server.next_event() is PAUSED
        chunk = isinstance(event, Bdat | Burl)
        assert facts(server) == {**before, "state": State.CHUNK if chunk else before["state"]}


def public(line: bytes) -> bytes:
    """Of AUTH, nothing but the word itself is kept."""
    return b"AUTH" if line.startswith(b"AUTH") else line.rstrip(b"\r\n")


def facts(conn: ClientConnection | ServerConnection) -> dict[str, Any]:
    names = ("state", "mail", "features", "authenticated", "tls", "octets_to_send")
    return {name: getattr(conn, name) for name in names}


@every("lmtp", PROTOCOLS)
@every(
    ("name", "answer"),
    [
        ("greeting", PAUSED),
        ("empty last chunk", PAUSED),
        ("closed", CLOSED),
        ("tls", RemoteProtocolError),
        ("failed", LocalProtocolError),
    ],
)
def test_where_nothing_may_be_said_a_server_hears_nothing(name: str, answer: Any, lmtp: bool) -> None:
    for line in LINES.values():
        server = server_of(name, lmtp)
        before = facts(server)
        server.receive_data(line)
        if isinstance(answer, type):
            with pytest.raises(answer):
                server.next_event()
        else:
            assert server.next_event() is answer
        assert facts(server) == before


@pytest.mark.parametrize("lmtp", PROTOCOLS)
@pytest.mark.parametrize("name", IN_BODY)
def test_in_a_body_all_is_content(name: str, lmtp: bool) -> None:
    for line in LINES.values():
        events = feed(server_of(name, lmtp), line, b"\r\n.\r\n")
        content = b"".join(event.data for event in events if isinstance(event, MessageData))
        assert content == (line + b"\r\n" if name == "data" else (line + b"\r\n.\r\n")[:4])
        assert (events[-1] == EndOfMessage()) is (name != "chunk")


REPLIES: list[Reply] = [
    *(Reply(code=code, text="YQ==") for code in CODES),
    Greeting(domain="mx.example"),
    Hello(domain="mx.example"),
    Hello(domain="mx.example", code=299),
    AuthChallenge(data=b"a"),
]


def is_answer(command: Command, reply: Reply) -> bool:
    """Whether a server may answer `command` with `reply`: some answers have a class of their own."""
    code = reply.code
    special: type[Reply] = Reply
    if (command is OPENING or isinstance(command, XClient)) and code == 220:
        special = Greeting
    elif isinstance(command, Ehlo | Lhlo) and code < 300:
        special = Hello
    elif isinstance(command, Auth | AuthResponse) and code == 334:
        special = AuthChallenge
    refused = isinstance(command, MalformedCommand)
    return type(reply) is special and is_due(command, code) and not (refused and code < 400)


def waiting(name: str, lmtp: bool) -> Iterator[tuple[ServerConnection, Command]]:
    """Fresh servers in this situation, each with a command that waits for its answer."""
    if name in TALKING:
        for word in (*legal(name, lmtp), "malformed"):
            server = server_of(name, lmtp)
            (command,) = feed(server, LINES[word])
            yield server, command
    elif name == "greeting":
        yield server_of(name, lmtp), OPENING
    elif name == "empty last chunk":
        yield server_of(name, lmtp), EndOfMessage()


@every("lmtp", PROTOCOLS)
@every("name", [*TALKING, "greeting", "empty last chunk"])
def test_a_server_answers_what_was_said_or_nothing_changes(name: str, lmtp: bool) -> None:
    for fresh, command in waiting(name, lmtp):
        another = copies(fresh)
        before = snapshot(fresh)
        for reply in REPLIES:
            server = another()
            if is_answer(command, reply):
                server.send(reply)
                assert server.data_to_send().startswith(b"%d" % reply.code)
                assert server.state is leads_to(command, reply.code, SITUATIONS[name].state), (command, reply)
                over = {State.CLOSED: CLOSED, State.TLS: PAUSED}
                assert server.next_event() is over.get(server.state, NEED_DATA)
            else:
                with pytest.raises(LocalProtocolError):
                    server.send(reply)
                assert snapshot(server) == before, (command, reply)


@every("lmtp", PROTOCOLS)
@every("name", [name for name in SITUATIONS if name not in ("greeting", "empty last chunk")])
def test_a_server_to_which_nothing_was_said_may_say_421_alone(name: str, lmtp: bool) -> None:
    for reply in REPLIES:
        server = server_of(name, lmtp)
        before = snapshot(server)
        if reply.code == 421 and name not in ("closed", "failed"):
            server.send(reply)
            assert server.data_to_send() == b"421 YQ==\r\n"
            assert server.next_event() is CLOSED
        else:
            with pytest.raises(LocalProtocolError):
                server.send(reply)
            assert snapshot(server) == before, reply


# What moves without being said


def test_only_a_handshake_that_is_due_may_start() -> None:
    for name in SITUATIONS:
        for conn in (client_of(name, False), server_of(name, False)):
            before = snapshot(conn)
            if name == "tls":
                conn.tls_started()
                assert (conn.state, conn.tls) == (State.GREETED, True)
            else:
                with pytest.raises(LocalProtocolError, match="no TLS handshake is due"):
                    conn.tls_started()
                assert snapshot(conn) == before


def test_fail_ends_everything_in_every_state() -> None:
    for name in SITUATIONS:
        for conn in (client_of(name, False), server_of(name, False)):
            conn.fail()
            assert conn.state is State.FAILED
            assert conn.data_to_send() == b""
            for message in (*SAYINGS.values(), *REPLIES):
                with pytest.raises(LocalProtocolError, match="failed"):
                    conn.send(message)
            with pytest.raises(LocalProtocolError, match="failed"):
                conn.next_event()
            with pytest.raises(LocalProtocolError, match="no TLS"):
                conn.tls_started()


@every("state", [State.MAIL, State.RCPT, State.BDAT, State.BDAT_FAILED])
def test_rset_gives_up_the_transaction_and_nothing_else(state: State) -> None:
    """RFC 5321 4.1.1.5."""
    pair = pair_in(State.READY, client=ClientConnection(tls=True), server=ServerConnection(tls=True))
    pair.ask(SAYINGS["AUTH"], Reply(code=235))
    ends = (pair.client, pair.server)
    before = [(end.features, end.tls, end.authenticated) for end in ends]
    pair.ask(SAYINGS["MAIL"], Reply(code=250))
    if state is not State.MAIL:
        pair.ask(SAYINGS["RCPT"], Reply(code=250))
    if state in (State.BDAT, State.BDAT_FAILED):
        pair.ask(SAYINGS["BDAT"], Reply(code=250 if state is State.BDAT else 452))
    assert {end.state for end in ends} == {state}
    pair.ask(Rset(), Reply(code=250))
    assert [(end.features, end.tls, end.authenticated) for end in ends] == before
    assert [(end.state, end.mail) for end in ends] == [(State.READY, None)] * 2
