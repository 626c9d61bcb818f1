"""The promise of blocking sockets when it ends badly: whoever hangs up, and wherever, the error is a
documented one, the outcome of each recipient is what can be known, and no thread and no descriptor is left.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from peers import (
    ENVELOPE,
    MESSAGE,
    RECIPIENT,
    SECONDS,
    SENDER,
    Peer,
    calling,
    certificates,
    listening,
    nothing_left,
    serving,
)

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    Mail,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    ServerConnection,
)
from smtp_proto.ops import SendResult, Session, Status, Transfer
from smtp_proto.ops import serve as serve_op
from smtp_transports._client import Client
from smtp_transports._places import IN_THE_CLEAR
from smtp_transports._run import Driver
from smtp_transports._server import Server, Settings
from smtp_transports._sockets import Listener
from smtp_transports.blocking import SocketStream, _Threads, connect, serve
from smtp_transports.handlers import Discard, Mailbox


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


# --- Cut at every octet


class Cut(SocketStream):
    """A stream that hangs up when so many octets are sent."""

    def __init__(self, sock: socket.socket, budget: int) -> None:
        super().__init__(sock)
        self.sent = bytearray()
        self._budget = budget

    def send_all(self, data: bytes, timeout: float | None) -> None:
        part = data[: self._budget - len(self.sent)]
        self.sent += part
        super().send_all(part, timeout)
        if part != data:
            self.hang_up()
            raise ConnectionAbortedError("cut")


class Picky(Mailbox):
    """Refuses one recipient of three, and counts how sessions end."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks: list[str] = []

    def mail(self, session: Session, command: Mail) -> None:
        self.hooks.append("mail")

    def rcpt(self, session: Session, command: Rcpt) -> Reply | None:
        return Reply(code=550, text="no such user") if command.forward_path.startswith("no") else None

    def message(self, session: Session) -> Any:
        self.hooks.append("message")
        return super().message(session)

    def reset(self, session: Session) -> None:
        self.hooks.append("reset")
        super().reset(session)

    def close(self, session: Session) -> None:
        self.hooks.append("close")


RECIPIENTS = ["yes@mx.example", "no@mx.example", "also@mx.example"]
BODY = b"Subject: hi\r\n\r\n.\r\nhi\r\n"
NEVER = 1 << 30


class Cutting:
    """One session between two cut streams."""

    def __init__(self, lmtp: bool, transfer: Transfer, *, client: int = NEVER, server: int = NEVER) -> None:
        ours, theirs = socket.socketpair()
        self._client, self._server = Cut(ours, client), Cut(theirs, server)
        self._lmtp = lmtp
        self._transfer = transfer
        self.handler = Picky()
        self.result: SendResult | None = None
        self.error: Exception | None = None
        thread = threading.Thread(target=self._serve)
        thread.start()
        self._run()
        thread.join(SECONDS)
        assert not thread.is_alive()
        self.said_by_client = bytes(self._client.sent)
        self.said_by_server = bytes(self._server.sent)

    def _serve(self) -> None:
        conn = ServerConnection(lmtp=self._lmtp)
        session = Session(conn)
        op = serve_op(conn, session, domain="mx.example")
        hooks: Any = self.handler
        with suppress(ConnectionLost):
            Driver(conn, self._server).run(op, lambda ask: getattr(hooks, ask.hook)(session, *ask.arguments))
        self._server.close()

    def _run(self) -> None:
        client = Client(self._client, ClientConnection(lmtp=self._lmtp))
        try:
            client.start("client.example")
            self.result = client.send_message(SENDER, RECIPIENTS, BODY, transfer=self._transfer)
            client.quit()
        except ConnectionLost as exc:
            self.error, self.result = exc, exc.result
        except RemoteProtocolError as exc:
            self.error = exc
        finally:
            client.close()

    @property
    def statuses(self) -> list[Status]:
        assert self.result is not None
        return [outcome.status for outcome in self.result.outcomes]


def replies_in(octets: bytes) -> int:
    """How many whole replies there are."""
    whole_lines = octets.rpartition(b"\r\n")[0].splitlines()
    return sum(line[3:4] != b"-" for line in whole_lines)


def known(lmtp: bool, transfer: Transfer, replies: int) -> list[Status]:
    """What a client can know of each recipient when it has heard so many whole replies.

    They are to: the connection, EHLO, MAIL, three RCPT, DATA if it was said; then come one verdict, or in
    LMTP two. In one flight the message is there before it is known whether anybody wants it.
    """
    before = 7 if transfer == "data" else 6
    nothing = Status.UNSENT if transfer == "data" and replies < before else Status.UNKNOWN
    first = Status.ACCEPTED if replies > before else nothing
    last = Status.ACCEPTED if replies > before + lmtp else nothing
    return [first, Status.REFUSED if replies >= 5 else nothing, last]


both = pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
transfers = pytest.mark.parametrize("transfer", ["data", "auto"])


@both
@transfers
def test_a_server_may_hang_up_at_every_octet(lmtp: bool, transfer: Transfer) -> None:
    whole = Cutting(lmtp, transfer)
    assert whole.error is None
    assert whole.statuses == [Status.ACCEPTED, Status.REFUSED, Status.ACCEPTED]
    total = len(whole.said_by_server)
    for cut in range(total):
        session = Cutting(lmtp, transfer, server=cut)
        assert session.said_by_server == whole.said_by_server[:cut]
        replies = replies_in(session.said_by_server)
        verdicts = 7 + (transfer == "data") + lmtp
        assert (session.error is None) == (replies >= verdicts), cut
        if replies < 2:
            assert session.result is None, cut
        else:
            assert session.statuses == known(lmtp, transfer, replies), cut
        assert session.handler.hooks[-1:] == ["close"], cut


@both
@pytest.mark.parametrize(("transfer", "end_of_message"), [("data", b"\r\n.\r\n"), ("auto", BODY)])
def test_a_client_may_hang_up_at_every_octet(lmtp: bool, transfer: Transfer, end_of_message: bytes) -> None:
    whole = Cutting(lmtp, transfer)
    after_rcpt = whole.said_by_client.index(b"DATA" if transfer == "data" else b"BDAT")
    end = whole.said_by_client.index(end_of_message, after_rcpt) + len(end_of_message)
    opened = whole.said_by_client.index(b"\r\n", whole.said_by_client.index(b"MAIL")) + 2
    assert whole.handler.hooks == ["mail", "message", "close"]
    for cut in range(len(whole.said_by_client)):
        session = Cutting(lmtp, transfer, client=cut)
        hooks = ["mail"] if cut >= opened else []
        if cut >= end:
            hooks.append("message")
        elif hooks:
            hooks.append("reset")
        assert session.handler.hooks == [*hooks, "close"], cut
        arrived = [message.data for message in session.handler.messages]
        assert arrived == ([BODY] if cut >= end else []), cut
        if session.result is not None:
            may = {Status.ACCEPTED, Status.UNKNOWN} if arrived else {Status.UNSENT, Status.UNKNOWN}
            assert {session.statuses[0], session.statuses[2]} <= may, cut


class Relay:
    """Carries octets both ways, and hangs up on both when so many have come from the server."""

    def __init__(self, address: tuple[str, int], budget: int) -> None:
        self.sock, self._near = socket.socketpair()
        self._far = socket.create_connection(address)
        self.carried = 0
        self._budget = budget
        self._threads = [threading.Thread(target=job) for job in (self._back, self._forth)]
        for thread in self._threads:
            thread.start()

    def _forth(self) -> None:
        with suppress(OSError):
            while data := self._near.recv(65536):
                self._far.sendall(data)
        self._hang_up()

    def _back(self) -> None:
        with suppress(OSError):
            while self.carried < self._budget and (data := self._far.recv(self._budget - self.carried)):
                self.carried += len(data)
                self._near.sendall(data)
        self._hang_up()

    def _hang_up(self) -> None:
        for sock in (self._near, self._far):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(SECONDS)
        self._near.close()
        self._far.close()


@pytest.mark.parametrize("way", ["tls", "starttls"])
def test_a_connection_with_tls_may_end_at_every_stage(way: str) -> None:
    mailbox = Mailbox()
    options = {"context": certificates().client, "tls": way == "tls", "domain": "client.example"}

    def send(budget: int) -> tuple[int, list[Status] | None, Exception | None]:
        relay = Relay(server.address, budget)
        error: Exception | None = None
        result = None
        try:
            with connect(sock=relay.sock, **options) as client:  # type: ignore[arg-type]
                result = client.send_message(SENDER, [RECIPIENT], MESSAGE)
        except ConnectionLost as exc:
            error, result = exc, exc.result
        except RemoteProtocolError as exc:
            error = exc
        relay.join()
        return relay.carried, result and [outcome.status for outcome in result.outcomes], error

    with serving(mailbox, way) as (server, _):
        total, statuses, error = send(NEVER)
        assert statuses == [Status.ACCEPTED]
        assert error is None
        for budget in range(0, total, 53):
            before = len(mailbox.messages)
            _, statuses, error = send(budget)
            if len(mailbox.messages) == before:
                assert statuses in (None, [Status.UNSENT], [Status.UNKNOWN])
            else:
                assert statuses in ([Status.UNKNOWN], [Status.ACCEPTED])
            assert (error is None) == (statuses == [Status.ACCEPTED])


# --- A server that hangs up in the middle of a message


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_what_a_server_said_before_it_hung_up_is_the_outcome(secure: bool, streamed: bool) -> None:
    """Sendmail says 421 and closes in the middle of DATA, while the client still writes."""

    def play(peer: Peer) -> None:
        if secure:
            peer.start_tls(certificates().server, server_side=True)
        peer.greet()
        peer.hear(*ENVELOPE)
        peer.say(b"250 ok", b"250 ok", b"354 go")
        assert peer.sock.recv(100_000)
        peer.say(b"421 4.3.2 shutting down")

    body = b"line\r\n" * 4_000_000
    pieces = (body[at : at + 60_000] for at in range(0, len(body), 60_000))
    with listening(play) as (host, port):
        context = certificates().client if secure else None
        with connect(host, port, tls=secure, context=context) as client:
            (outcome,) = client.send_message(SENDER, [RECIPIENT], pieces if streamed else body).outcomes
            assert outcome.status is Status.REFUSED
            assert outcome.reply == Reply(code=421, enhanced="4.3.2", text="shutting down")
            assert not client.conn.is_usable


# --- A server that is closed


def at_once(peer: Peer) -> None:
    """Says nothing."""


def greeted(peer: Peer) -> None:
    peer.introduce()


def in_a_command(peer: Peer) -> None:
    peer.introduce()
    peer.sock.sendall(b"NOO")


def in_a_message(peer: Peer) -> None:
    peer.introduce()
    peer.say(b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA")
    for _ in range(3):
        peer.reply()
    peer.sock.sendall(b"Subject: unfinish")


def before_a_handshake(peer: Peer) -> None:
    peer.introduce()
    peer.say(b"STARTTLS")
    assert peer.reply().startswith(b"220 ")


def in_a_handshake(peer: Peer) -> None:
    before_a_handshake(peer)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        certificates().client.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    peer.sock.sendall(outgoing.read())
    assert peer.sock.recv(1)  # the server's turn is over, and it waits


def in_tls(peer: Peer) -> None:
    before_a_handshake(peer)
    peer.start_tls(certificates().client, server_hostname="localhost")
    peer.say(b"EHLO client.example")
    assert peer.reply().startswith(b"250 ")


APPROACHES = [at_once, greeted, in_a_command, in_a_message, before_a_handshake, in_a_handshake, in_tls]
STOPS = b"421 4.3.2 mx.example stops\r\n"


@pytest.mark.parametrize("grace", [0, 0.05])
@pytest.mark.parametrize("approach", APPROACHES)
def test_a_server_can_be_closed_whatever_its_clients_do(
    approach: Callable[[Peer], None], grace: float
) -> None:
    picky = Picky()
    with serving(picky, "starttls") as (server, _), calling(server.address) as peer:
        approach(peer)
        server.close(grace)
        peer.rest()  # ends
        assert picky.messages == []
        assert picky.hooks.count("reset") == (approach is in_a_message)
        assert picky.hooks[-1:] in ([], ["close"])
        with pytest.raises(ConnectionRefusedError):
            connect(*server.address)


@pytest.mark.parametrize("approach", [greeted, in_a_command, in_tls])
def test_an_idle_client_is_told_that_the_server_stops(approach: Callable[[Peer], None]) -> None:
    with serving(Discard(), "starttls") as (server, _), calling(server.address) as peer:
        approach(peer)
        server.close()
        assert peer.rest() == STOPS


@pytest.mark.parametrize("approach", [before_a_handshake, in_a_handshake])
def test_where_tls_is_due_a_server_that_stops_says_nothing_in_the_clear(
    approach: Callable[[Peer], None],
) -> None:
    with serving(Discard(), "starttls") as (server, _), calling(server.address) as peer:
        approach(peer)
        server.close()
        assert STOPS not in peer.rest()


class Slow(Mailbox):
    """Takes its time for a message."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def message(self, session: Session) -> Any:
        self.entered.set()
        assert self.go_on.wait(SECONDS)
        return super().message(session)


@pytest.mark.parametrize("grace", [0, SECONDS])
def test_closing_waits_for_a_handler_that_is_at_work(grace: float) -> None:
    slow = Slow()
    with serve(slow, domain="mx.example") as server, calling(server.address) as peer:
        in_a_message(peer)
        peer.say(b"ed", b".")
        assert slow.entered.wait(SECONDS)
        closer = threading.Thread(target=server.close, args=[grace])
        closer.start()
        if not grace:
            assert peer.rest() == b""
        assert closer.is_alive()
        slow.go_on.set()
        closer.join(SECONDS)
        assert not closer.is_alive()
        assert len(slow.messages) == 1
        if grace:
            assert peer.rest() == b"250 2.6.0 message accepted\r\n" + STOPS


def test_a_server_can_be_closed_twice_and_knows_its_address_afterwards() -> None:
    with serve(Discard()) as server:
        address = server.address
        server.close()
        server.close()
        assert server.address == address


def test_no_more_sessions_are_served_at_once_than_allowed() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serve(Discard(), max_sessions=2))
        first, second, third = [stack.enter_context(calling(server.address)) for _ in range(3)]
        first.introduce()
        second.introduce()
        third.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            third.line()
        third.sock.settimeout(SECONDS)
        first.say(b"QUIT")
        third.introduce()


def test_a_full_server_can_be_closed() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serve(Discard(), domain="mx.example", max_sessions=1))
        first, second = [stack.enter_context(calling(server.address)) for _ in range(2)]
        first.introduce()
        server.close()
        assert first.rest() == STOPS
        assert second.rest() == b""  # it was never taken


def test_many_sessions_run_at_the_same_time() -> None:
    mailbox = Mailbox()
    with serve(mailbox) as server:
        clients = [connect(*server.address) for _ in range(20)]
        for client in clients:
            assert client.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted
        for client in clients:
            client.quit()
    assert len(mailbox.messages) == 20
    assert server.sessions == 0
    assert not server._from


def test_threads_that_have_ended_are_forgotten() -> None:
    threads = _Threads()
    for _ in range(3):
        threads.start(lambda: None)
        (thread,) = threads._running
        thread.join()
    assert threads.join(None)


def test_who_waits_for_threads_is_told_whether_they_have_ended() -> None:
    threads, end = _Threads(), threading.Event()
    assert threads.join(0)
    assert threads.join(None)
    threads.start(lambda: None)
    threads.start(end.wait)  # type: ignore[arg-type]
    assert not threads.join(0)
    assert not threads.join(0.02)
    threads.start(end.set)
    assert threads.join(SECONDS)
    assert threads.join(0)


# --- What goes wrong inside


HOOKS = ["connect", "hello", "mail", "rcpt", "data", "chunk", "message"]


def failing(hook: str, *, says: str) -> Mailbox:
    """A handler of which one hook fails, the first time."""
    trouble = [says]

    def fail(self: Mailbox, session: Session, *arguments: object) -> Any:
        if not trouble:
            return getattr(Mailbox, hook)(self, session, *arguments)
        if trouble.pop() == "raises":
            raise ZeroDivisionError("of the handler")
        return "nonsense"

    kind = type("Failing", (Mailbox,), {hook: fail})
    mailbox: Mailbox = kind()
    return mailbox


def deliver(connect_to: Callable[[], Client]) -> Reply | None:
    """What decided about a message."""
    try:
        with connect_to() as client:
            (outcome,) = client.send_message(SENDER, [RECIPIENT], MESSAGE).outcomes
        return outcome.reply
    except Refused as exc:
        return exc.reply


@pytest.mark.parametrize("says", ["raises", "nonsense"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_handler_that_fails_makes_a_451_and_the_server_goes_on(
    hook: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = failing(hook, says=says)
    with serving(mailbox) as (_, connect_to):
        assert deliver(connect_to) == Reply(code=451, enhanced="4.3.0", text="internal error")
        assert deliver(connect_to) == Reply(code=250, enhanced="2.6.0", text="message accepted")
    assert [message.data for message in mailbox.messages] == [MESSAGE]
    assert ("of the handler" if says == "raises" else "nonsense") in caplog.text


def test_a_handler_that_fails_to_hear_of_its_failure_costs_one_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hopeless(Mailbox):
        first = True

        def rcpt(self, session: Session, command: Rcpt) -> None:
            if self.first:
                raise ZeroDivisionError

        def error(self, session: Session, exception: Exception) -> None:
            self.first = False
            raise OverflowError("worse")

    with serving(Hopeless()) as (_, connect_to):
        with pytest.raises(ConnectionLost):
            deliver(connect_to)
        assert deliver(connect_to) == Reply(code=250, enhanced="2.6.0", text="message accepted")
    assert "a session failed" in caplog.text
    assert "worse" in caplog.text


def test_a_server_that_cannot_say_its_name_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with serve(Discard(), domain="two\r\nlines") as server, calling(server.address) as peer:
        assert peer.rest() == b""
    assert "a session failed" in caplog.text


class Tardy(_Threads):
    """Threads of which the second begins its work only when the server is being closed."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted, self.closing = threading.Event(), threading.Event()

    def start(self, function: Callable[..., None], *arguments: object) -> None:
        def late(*arguments: object) -> None:
            self.accepted.set()
            assert self.closing.wait(SECONDS)
            function(*arguments)

        super().start(late if self._running else function, *arguments)

    def join(self, seconds: float | None) -> bool:
        self.closing.set()
        return super().join(seconds)


def by_hand(listener: Listener, threads: _Threads) -> Server:
    """A server of these parts, for one session at a time."""
    settings = Settings(
        ServerConnection,
        domain="mx.example",
        starttls=False,
        require_tls=False,
        max_sessions_per_address=None,
        timeouts=None,
    )
    return Server(Discard(), [listener], threads, threading.BoundedSemaphore(1), settings)


def listener(kind: type[Listener] = Listener) -> Listener:
    return kind(socket.create_server(("127.0.0.1", 0)), IN_THE_CLEAR)


def test_a_session_that_begins_when_the_server_ends_is_ended_too() -> None:
    threads = Tardy()
    with by_hand(listener(), threads) as server, calling(server.address) as peer:
        assert threads.accepted.wait(SECONDS)
        server.close()
        assert peer.rest() == b"220 mx.example ESMTP\r\n" + STOPS
    assert server.sessions == 0


class Flaky(Listener):
    """A listener in a process that has no descriptors left, for a while."""

    trouble = 3

    def accept(self) -> tuple[SocketStream, Any]:
        if self.trouble:
            self.trouble -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Crowded(_Threads):
    """Threads in a process that has none to give after the first, for a while."""

    def __init__(self, trouble: int) -> None:
        super().__init__()
        self.trouble = trouble
        self.pauses: list[float] = []
        self.pause = self.pauses.append

    def start(self, function: Callable[..., None], *arguments: object) -> None:
        if self._running and self.trouble:
            self.trouble -= 1
            raise RuntimeError("can't start new thread")
        super().start(function, *arguments)


@pytest.mark.parametrize(("kind", "lost"), [(Flaky, 0), (Listener, 2)], ids=["descriptors", "threads"])
def test_a_server_that_runs_out_of_something_waits_and_goes_on(
    kind: type[Listener], lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    threads = Crowded(lost)
    with by_hand(listener(kind), threads) as server:
        for _ in range(lost):
            with calling(server.address) as peer:
                assert peer.rest() == b""
        with connect(*server.address) as client:
            assert client.noop().code == 250
    assert threads.pauses == [0.1] * (lost or Flaky.trouble)
    assert "cannot take a connection" in caplog.text
