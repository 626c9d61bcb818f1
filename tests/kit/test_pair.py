"""The kit's pair: whatever the plan, a session over it ends, and ends in the same way.

The promise: no split and no order of turns changes a result; a connection that ends at any octet gives a
documented exception that tells the truth; nothing hangs, and who waits for what is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_proto import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    ClientConnection,
    ConnectionLost,
    Ehlo,
    Features,
    Greeting,
    Hello,
    LocalProtocolError,
    Mail,
    Noop,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    StartTLS,
    Vrfy,
)
from smtp_proto.ops import (
    DEFAULT_OFFER,
    Decide,
    NextChunk,
    Op,
    SendResult,
    Session,
    Status,
    Want,
    greet,
    hello,
    noop,
    quit,
    send_message,
    serve,
)
from smtp_proto.testing import Deadlock, Pair, Plan, Role, Script, _pair

BODY = b"Subject: hi\r\n\r\n.Dear all...\r\n"
RECIPIENTS = ["b@y.example", "nobody@y.example", "c@y.example"]
TERSE = Features({"PIPELINING": ()})

SIZES = st.lists(st.integers(1, 60), max_size=4).map(tuple)
TURNS = st.lists(st.sampled_from(["client", "server"]), max_size=8).map(tuple)
PLANS = st.builds(Plan, client_pieces=SIZES, server_pieces=SIZES, turns=TURNS)


class Site:
    """A server's application: it refuses one recipient, and takes a message when it has it whole."""

    def __init__(self, *, lmtp: bool = False, offer: Features = DEFAULT_OFFER, tls: bool = True) -> None:
        self.conn = ServerConnection(lmtp=lmtp)
        self.taken: list[bytes] = []
        self._body = b""
        self.op = serve(self.conn, Session(self.conn), domain="mx.example", offer=offer, starttls=tls)

    def ask(self, question: Decide) -> Reply | None:
        if question.hook == "rcpt":
            refused = question.arguments[0] == Rcpt(forward_path="nobody@y.example")
            return Reply(code=550, text="nobody") if refused else None
        if question.hook == "chunk":
            self._body += question.arguments[0]
        elif question.hook == "message":
            self.taken.append(self._body)
        return None


def talk(conn: ClientConnection, *, body: bytes | None = BODY, tls: bool = True) -> Op[SendResult]:
    yield from greet(conn)
    yield from hello(conn, "client.example", starttls="opportunistic" if tls else "never")
    result = yield from send_message(conn, "a@x.example", RECIPIENTS, body)
    yield from quit(conn)
    return result


def in_pieces() -> Iterator[bytes]:
    yield from (BODY[:20], BODY[20:21], BODY[21:], b"")


def session(plan: Plan | None, kind: str = "smtp", **options: Any) -> tuple[SendResult, Site, Pair]:
    lmtp = kind == "lmtp"
    offer = {"lock-step": Features({"8BITMIME": ()}), "terse": TERSE}.get(kind, DEFAULT_OFFER)
    site = Site(lmtp=lmtp, offer=offer, **options)
    client = ClientConnection(lmtp=lmtp)
    pair = Pair(client, site.conn, plan)
    pieces = in_pieces()
    op = talk(client, body=None if kind == "pieces" else BODY, **options)
    result = pair.run(op, site.op, ask=lambda _: next(pieces), server_ask=site.ask)
    return result, site, pair


@cache
def as_usual(kind: str, **options: Any) -> tuple[SendResult, Pair]:
    result, _, pair = session(None, kind, **options)
    return result, pair


@pytest.mark.parametrize("kind", ["smtp", "lmtp", "lock-step", "pieces"])
@settings(max_examples=15)
@given(plan=PLANS)
def test_no_plan_changes_what_is_said_and_what_comes_of_it(kind: str, plan: Plan) -> None:
    result, site, pair = session(plan, kind)
    usual, usual_pair = as_usual(kind)
    assert result == usual
    assert [outcome.status.value for outcome in result.outcomes] == ["accepted", "refused", "accepted"]
    assert site.taken == [BODY]
    assert pair.client.tls
    assert pair.server.tls
    assert str(Script.parse(pair.transcript)) == pair.transcript
    for role in ("client", "server"):
        assert said_by(role, pair) == said_by(role, usual_pair)


def said_by(role: str, pair: Pair) -> bytes:
    return b"".join(step.octets for step in Script.parse(pair.transcript).steps if step.by == role)


@pytest.mark.parametrize("side", ["client", "server"])
def test_an_end_at_any_octet_is_told_as_it_is(side: str) -> None:
    _, usual = as_usual("terse", tls=False)
    raised = set()
    for end in range(len(said_by(side, usual))):
        site = Site(tls=False, offer=TERSE)
        options: dict[str, Any] = {f"{side}_end": end}
        pair = Pair(ClientConnection(), site.conn, Plan(client_pieces=(50,), **options))
        result: SendResult | None = None
        try:
            result = pair.run(talk(pair.client, tls=False), site.op, server_ask=site.ask)
        except ConnectionLost as exc:
            raised.add(ConnectionLost)
            result = exc.result
        except (Refused, RemoteProtocolError) as exc:
            raised.add(type(exc))
        assert pair.server_error is None
        assert said_by(side, pair) == said_by(side, usual)[:end]
        statuses = {outcome.status for outcome in result.outcomes} if result else set()
        assert site.taken == [BODY] or Status.ACCEPTED not in statuses
        assert site.taken == [] or statuses & {Status.ACCEPTED, Status.UNKNOWN}
        closed = [step.by for step in Script.parse(pair.transcript).steps if not step.octets]
        assert sorted(map(str, closed)) == ["client", "server"]
    # Where the client falls silent in the middle of something the server has the last word, 421.
    assert raised == {ConnectionLost, RemoteProtocolError} | ({Refused} if side == "client" else set())


# --- By hand


def introduced(plan: Plan | None = None, **features: tuple[str, ...]) -> Pair:
    pair = Pair(ClientConnection(), ServerConnection(), plan)
    pair.server.send(Greeting(domain="mx.example"))
    assert pair.client_events() == [Greeting(domain="mx.example")]
    pair.client.send(Ehlo(domain="client.example"))
    assert pair.server_events() == [Ehlo(domain="client.example")]
    pair.server.send(Hello(domain="mx.example", features=Features(features)))
    assert len(pair.client_events()) == 1
    return pair


@given(plan=PLANS)
def test_by_hand_each_end_sees_its_events_in_order(plan: Plan) -> None:
    pair = introduced(plan, PIPELINING=())
    pair.client.send(Mail(reverse_path="a@x.example"))
    pair.client.send(Rcpt(forward_path="b@y.example"))
    assert pair.server_event() == Mail(reverse_path="a@x.example")
    assert pair.server_event() is PAUSED
    ok, no = Reply(code=250, text="ok"), Reply(code=550, text="no")
    pair.server.send(ok)
    assert pair.server_events() == [Rcpt(forward_path="b@y.example")]
    pair.server.send(no)
    assert [pair.client_event(), pair.client_event()] == [ok, no]
    assert pair.client_event() is NEED_DATA
    pair.close("client")
    pair.close("client")
    assert pair.server_event() is CLOSED
    assert pair.transcript.endswith(
        "C: MAIL FROM:<a@x.example>\nC: RCPT TO:<b@y.example>\nS: 250 ok\nS: 550 no\nC: <close>\n"
    )


def test_what_is_said_is_told_write_by_write() -> None:
    pair = Pair(ClientConnection(), ServerConnection())
    pair.server.send(Greeting(domain="mx.example"))
    pair.client_events()
    pair.client.send(Ehlo(domain="a"))
    pair.server_events()
    pair.server.send(Hello(domain="mx.example", features=Features({"PIPELINING": (), "STARTTLS": ()})))
    pair.client_events()
    pair.client.send(Mail(reverse_path=""))
    pair.client.send(Rcpt(forward_path="b@y.example"))
    pair.server_events()
    pair.server.send(Reply(code=550))
    pair.server_events()
    pair.server.send(Reply(code=503))
    pair.client_events()
    pair.client.send(StartTLS())
    pair.server_events()
    pair.server.send(Reply(code=220))
    pair.client_events()
    pair.start_tls()
    pair.close("client")
    assert pair.said == (
        ("server", b"220 mx.example\r\n"),
        ("client", b"EHLO a\r\n"),
        ("server", b"250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
        ("client", b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\n"),
        ("server", b"550 \r\n"),
        ("server", b"503 \r\n"),
        ("client", b"STARTTLS\r\n"),
        ("server", b"220 \r\n"),
        (None, b""),
        ("client", b""),
    )
    assert str(Script.from_octets(pair.said)) == pair.transcript


def test_a_transcript_in_the_middle_shows_what_is_on_its_way() -> None:
    pair = introduced()
    pair.client.send(Noop())
    before = pair.transcript
    assert pair.client_event() is NEED_DATA
    assert pair.transcript == before + "C: NOOP\n"


@given(end=st.integers(0, 21), plan=PLANS)
def test_behind_the_end_nothing_arrives(end: int, plan: Plan) -> None:
    pair = Pair(
        ClientConnection(), ServerConnection(), Plan(client_pieces=plan.client_pieces, client_end=end)
    )
    pair.server.send(Greeting(domain="mx.example"))
    assert len(pair.client_events()) == 1
    pair.client.send(Ehlo(domain="client.example"))
    wire = b"EHLO client.example\r\n"
    if end == len(wire):
        assert pair.server_event() == Ehlo(domain="client.example")
    elif end:
        with pytest.raises(RemoteProtocolError, match="in the middle of a command"):
            pair.server_event()
        assert pair.server.trailing_data == wire[:end]
    else:
        assert pair.server_event() is CLOSED
    assert pair.transcript.splitlines().count("C: <close>") == 1


class Noting(ServerConnection):
    """A server's end that notes how the octets came."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        self.came.append(data)
        super().receive_data(data)


def test_pieces_are_as_the_plan_has_them() -> None:
    def client(conn: ClientConnection) -> Op[None]:
        yield from greet(conn)
        yield from hello(conn, "c.example")

    server = Noting()
    pair = Pair(ClientConnection(), server, Plan(client_pieces=(1, 7, 4)))
    pair.run(client(pair.client), serve(server, Session(server), domain="mx.example"))
    assert server.came == [b"E", b"HLO c.e", b"xamp", b"l", b"e\r\n", b""]
    server = Noting()
    pair = Pair(ClientConnection(), server)
    pair.run(client(pair.client), serve(server, Session(server), domain="mx.example"))
    assert server.came == [b"EHLO c.example\r\n", b""]


def test_in_its_turn_a_side_reads_one_piece_and_meanwhile_the_other_acts() -> None:
    """What the client says in three turns comes together, if the server has none between them."""

    def client(conn: ClientConnection) -> Op[None]:
        yield from greet(conn)
        yield from hello(conn, "c.example")
        for command in (Mail(reverse_path="a@x.example"), Rcpt(forward_path="b@y.example")):
            conn.send(command)
            yield Want.FLUSH

    came = {}
    turns: list[tuple[Role, ...]] = [("server",), ("client",)]
    for each in turns:
        server = Noting()
        pair = Pair(ClientConnection(), server, Plan(turns=each))
        pair.run(client(pair.client), serve(server, Session(server), domain="mx.example"))
        came[each] = len(server.came)
    assert came == {("server",): 4, ("client",): 3}


def test_who_has_closed_is_not_heard_any_more() -> None:
    pair = introduced()
    pair.close("client")
    pair.client.send(Noop())
    assert pair.server_event() is CLOSED
    assert pair.transcript.endswith("\nC: <close>\n")


@pytest.mark.parametrize("sizes", [(), (1,)])
def test_the_handshake_by_hand(sizes: tuple[int, ...]) -> None:
    pair = introduced(Plan(server_pieces=sizes), STARTTLS=())
    pair.client.send(StartTLS())
    assert pair.server_events() == [StartTLS()]
    pair.server.send(Reply(code=220, text="go"))
    assert pair.client_events() == [Reply(code=220, text="go")]
    pair.start_tls()
    assert pair.client.tls
    assert pair.server.tls
    assert pair.transcript.splitlines()[-2:] == ["S: 220 go", "<starttls>"]


def test_a_handshake_by_hand_does_not_come_before_the_reply_was_read() -> None:
    pair = introduced(STARTTLS=())
    pair.client.send(StartTLS())
    assert pair.server_events() == [StartTLS()]
    pair.server.send(Reply(code=220))
    with pytest.raises(LocalProtocolError, match="no TLS handshake is due"):
        pair.start_tls()
    assert "<starttls>" not in pair.transcript


# --- Operations that go wrong


def greets(conn: ServerConnection) -> Op[None]:
    conn.send(Greeting(domain="mx.example"))
    yield Want.EVENT


def test_if_both_wait_it_is_said_who_waits_for_what() -> None:
    ended = []

    def server(conn: ServerConnection) -> Op[None]:
        try:
            yield from greets(conn)
        finally:
            ended.append("server")

    def client(conn: ClientConnection) -> Op[None]:
        yield from greet(conn)
        yield Want.EVENT

    pair = Pair(ClientConnection(), ServerConnection())
    with pytest.raises(Deadlock) as caught:
        pair.run(client(pair.client), server(pair.server))
    assert str(caught.value) == (
        "the client waits for the next event (state GREETED, timer COMMAND) and "
        "the server waits for the next event (state GREETED, timer SERVER)\n\nS: 220 mx.example\n"
    )
    assert caught.value.transcript == "S: 220 mx.example\n"
    assert ended == ["server"]


def test_a_handshake_that_the_other_side_does_not_do_is_waited_for_by_name() -> None:
    def client(conn: ClientConnection) -> Op[None]:
        yield Want.TLS

    pair = Pair(ClientConnection(), ServerConnection())
    with pytest.raises(Deadlock, match=r"the client waits for the TLS handshake .* the server waits for"):
        pair.run(client(pair.client), greets_later(pair.server))


def greets_later(conn: ServerConnection) -> Op[None]:
    conn.send(Greeting(domain="mx.example"))
    conn.data_to_send()  # lost
    yield Want.EVENT


@pytest.mark.parametrize("end", ["closed", "octets"])
def test_what_comes_in_the_place_of_the_handshake_fails_it(end: str) -> None:
    def client(conn: ClientConnection) -> Op[None]:
        yield Want.EVENT
        yield Want.TLS

    def server(conn: ServerConnection) -> Op[None]:
        conn.send(Greeting(domain="mx.example"))
        yield Want.FLUSH
        if end == "closed":
            return
        conn.send(Reply(code=421))
        yield Want.FLUSH
        yield Want.TLS

    pair = Pair(ClientConnection(), ServerConnection())
    with pytest.raises(ConnectionLost, match="the TLS handshake failed"):
        pair.run(client(pair.client), server(pair.server))
    assert pair.client.is_usable is False
    assert isinstance(pair.server_error, ConnectionLost) is (end == "octets")
    assert "<starttls>" not in pair.transcript


@pytest.mark.parametrize("want", [Want.FLUSH, Want.EVENT, Decide("what")], ids=str)
def test_an_operation_that_asks_and_asks_is_no_hang(want: Any) -> None:
    def restless(conn: ServerConnection) -> Op[None]:
        while True:
            yield want  # for a server that has not greeted, the next event is PAUSED

    pair = Pair(ClientConnection(), ServerConnection())
    with pytest.raises(Deadlock, match="the server's operation asks again and again"):
        pair.run(greet(pair.client), restless(pair.server))


def test_a_long_session_is_not_taken_for_one_that_asks_and_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pair, "_IDLE", 10)

    def client(conn: ClientConnection) -> Op[int]:
        yield from greet(conn)
        yield from hello(conn, "client.example")
        for _ in range(50):
            yield from noop(conn)
        return 50

    site = Site()
    pair = Pair(ClientConnection(), site.conn)
    assert pair.run(client(pair.client), site.op) == 50


def test_an_error_of_the_servers_operation_is_raised_if_the_clients_has_none() -> None:
    def server(conn: ServerConnection) -> Op[None]:
        conn.send(Greeting(domain="mx.example"))
        yield Want.FLUSH
        raise ZeroDivisionError

    def client(conn: ClientConnection) -> Op[None]:
        yield from greet(conn)

    pair = Pair(ClientConnection(), ServerConnection())
    with pytest.raises(ZeroDivisionError):
        pair.run(client(pair.client), server(pair.server))
    # With an error of the client's own, that is what counts.
    pair = Pair(ClientConnection(), ServerConnection())
    with pytest.raises(RemoteProtocolError, match="connection closed by the server"):
        pair.run(talk(pair.client), server(pair.server))
    assert isinstance(pair.server_error, ZeroDivisionError)


def test_what_nobody_answers_is_raised_in_the_operation_and_fails_it() -> None:
    site = Site()
    pair = Pair(ClientConnection(), site.conn)
    with pytest.raises(LocalProtocolError, match=r"nobody answers NextChunk\(\)"):
        pair.run(talk(pair.client, body=None), site.op)
    assert not pair.client.is_usable


def test_an_application_that_fails_is_thrown_into_its_operation() -> None:
    site = Site()

    def ask(question: Decide) -> None:
        if question.hook == "mail":
            raise ZeroDivisionError

    pair = Pair(ClientConnection(), site.conn)
    result = pair.run(talk(pair.client), site.op, server_ask=ask)
    assert {outcome.reply.code for outcome in result.outcomes if outcome.reply} == {451}


def test_an_interrupt_ends_both_operations() -> None:
    ended = []

    def client(conn: ClientConnection) -> Op[None]:
        try:
            yield from talk(conn, body=None)
        finally:
            ended.append("client")

    def ask(question: NextChunk) -> bytes:
        raise KeyboardInterrupt

    site = Site()
    pair = Pair(ClientConnection(), site.conn)
    with pytest.raises(KeyboardInterrupt):
        pair.run(client(pair.client), site.op, ask=ask)
    assert ended == ["client"]
    with pytest.raises(StopIteration):
        next(site.op)


def test_while_one_side_has_its_turns_what_it_says_waits() -> None:
    """FLUSH is where the turn ends; the other one may have the next, or not."""

    def client(conn: ClientConnection) -> Op[None]:
        yield from greet(conn)
        yield from hello(conn, "client.example")
        for _ in range(3):
            conn.send(Vrfy(argument="a"))
            yield Want.FLUSH
            said.append(len(heard))
            yield Want.EVENT

    heard: list[str] = []
    said: list[int] = []
    turns: list[tuple[Role, ...]] = [("server",), ("client",)]
    for each in turns:
        heard.clear()
        site = Site()
        pair = Pair(ClientConnection(), site.conn, Plan(turns=each))
        pair.run(client(pair.client), site.op, server_ask=lambda question: heard.append(question.hook))
    # connect, hello, and one verify for each that was heard.
    assert said == [3, 4, 5, 2, 3, 4]


@pytest.mark.parametrize(
    "options", [{"client_pieces": (1, 0)}, {"server_pieces": (-1,)}, {"client_end": -1}, {"server_end": -1}]
)
def test_a_plan_that_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Plan(**options)
