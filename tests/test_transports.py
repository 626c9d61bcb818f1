"""The promise of every transport, each scenario written once and played over all of them: what arrives, what
is said when it does not, and that nothing is left behind. `loops.py` is the interface they are written for.
"""

from __future__ import annotations

import gc
import io
import queue
import resource
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
import trio
from loops import LOOPS, Loop, answer_hello, begin_tls, finish, fresh_loop, introduce, scripted_server
from peers import MESSAGE, RECIPIENT, SECONDS, SENDER, Peer, calling, certificates

import smtp_transports.trio
from smtp_proto import (
    ConnectionLost,
    Limits,
    Mail,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    TimedOut,
    Timer,
)
from smtp_proto.ops import SendResult, Session, Status
from smtp_transports import _server
from smtp_transports import asyncio as asyncio_transport
from smtp_transports._places import IN_THE_CLEAR
from smtp_transports.handlers import Discard, Mailbox

WAYS = ["tcp", "tls", "starttls", "unix"]
# All adapters, each once; uvloop is asyncio with another loop, and plays what depends on the loop.
ALL = [name for name in LOOPS if name != "uvloop"]


@pytest.fixture
def loop(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Loop]:
    """The loop of the test's `over`."""
    with fresh_loop(request.param, caplog) as loop:
        yield loop


def over(*names: str) -> pytest.MarkDecorator:
    """Play a scenario over these loops."""
    return pytest.mark.parametrize("loop", names, indirect=True)


every_way = pytest.mark.parametrize("way", WAYS)
both = pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])


# --- A message arrives as it was sent

NASTY = (
    "Subject: Grüße\r\n\r\n".encode()
    + b".\r\n..\r\n.a\r\n...b\r\n\r\n.\r\n"
    + bytes(range(128, 256))
    + b"\r\n"
    + b"x" * 998
    + b"\r\n."
    + b"y" * 997
    + b"\r\n\x01\x1b[31m\x7f\t\x0b\x0c\r\n"
    + (b"." * 70 + b"\r\n") * 300
    + b"a\r\n\r\n\r\n\r\n"
)
ENDLESS = b"Subject: long\r\n\r\n." + b"z" * 99_999 + b"\r\n.\r\n\r\n"
UNLIMITED = Limits(text_line=None)
RECIPIENTS = [RECIPIENT, "no@mx.example", "edsger@mx.example"]


async def later(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 997):
        yield body[at : at + 997]


class LaterFile:
    """A file of an async library."""

    def __init__(self, body: bytes) -> None:
        self._file = io.BytesIO(body)

    async def read(self, size: int) -> bytes:
        return self._file.read(size)


def forms(loop: Loop, body: bytes) -> list[Any]:
    """Every form in which a message may be given."""
    pieces = (body[at : at + 997] for at in range(0, len(body), 997))
    all_of_them: list[Any] = [body, pieces, [b"", body], io.BytesIO(body)]
    return [*all_of_them, later(body), LaterFile(body)] if loop.is_async else all_of_them


@over(*LOOPS)
def test_nagle_waits_on_neither_side(loop: Loop) -> None:
    async def scene() -> None:
        async with loop.serving(Discard(), "tcp") as (server, there), loop.connect(**there) as client:
            for driver in (client._driver, *server._sessions):
                assert driver.stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    loop.run(scene)


@over("asyncio", "uvloop", "trio")
def test_nagle_does_not_wait_on_a_socket_that_does_not_know_that_it_is_tcp(loop: Loop) -> None:
    async def scene() -> None:
        async with loop.serving(Discard(), "tcp") as (_, there):
            own = socket.socket()
            own.connect((there["host"], there["port"]))
            async with loop.connect(sock=own) as client:
                assert client._driver.stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    loop.run(scene)


@over("asyncio")
def test_a_client_that_comes_while_the_server_goes_is_no_error(loop: Loop) -> None:
    async def scene() -> None:
        async with loop.serving(Discard(), "tcp") as (server, there), loop.connect(**there):
            with socket.create_connection((there["host"], there["port"])):
                await loop.breathe()  # the loop sees it, and then is first asked to close
                await server.close()

    loop.run(scene)


@every_way
@over(*LOOPS)
def test_both_ends_can_ask_what_tls_they_have(loop: Loop, way: str, tmp_path: Path) -> None:
    heard: list[Any] = []

    class Ear(Discard):
        def message(self, session: Session) -> None:
            heard.append(session.ssl_object and session.ssl_object.version())

    async def scene() -> None:
        for handler in loop.dresses(Ear()):
            serving = loop.serving(handler, way, folder=tmp_path)
            async with serving as (_, there), loop.connect(**there) as client:
                await client.send_message(SENDER, [RECIPIENT], MESSAGE)
                heard.append(client.ssl_object and client.ssl_object.getpeercert()["subjectAltName"])

    loop.run(scene)
    if way in ("tls", "starttls"):
        assert set(heard[::2]) == {"TLSv1.3"}
        assert all(("DNS", "localhost") in names for names in heard[1::2])
    else:
        assert set(heard) == {None}


@every_way
@both
@over(*LOOPS)
def test_a_message_arrives_as_it_was_sent(loop: Loop, way: str, lmtp: bool, tmp_path: Path) -> None:
    to = [RECIPIENT, "edsger@mx.example"]

    async def scene() -> None:
        mailbox = Mailbox()
        for handler in loop.dresses(mailbox):
            sent: list[bytes] = []
            mailbox.messages.clear()
            serving = loop.serving(handler, way, folder=tmp_path, lmtp=lmtp, limits=UNLIMITED)
            async with serving as (_, there), loop.connect(**there, limits=UNLIMITED) as client:
                assert client.conn.tls is (way in ("tls", "starttls"))
                ways = product(["auto"], [NASTY, ENDLESS, b"", b"\r\n", b".\r\n"])
                for transfer, body in (*ways, ("chunking", NASTY), ("data", NASTY)):
                    for form in forms(loop, body):
                        result = await client.send_message(SENDER, to, form, transfer=transfer)
                        assert result.all_accepted
                        sent.append(body)
            assert [message.data for message in mailbox.messages] == sent
            assert {message.recipients for message in mailbox.messages} == {tuple(to)}

    loop.run(scene)


@pytest.mark.parametrize("transfer", ["auto", "data"])
@both
@over(*LOOPS)
def test_many_messages_arrive_in_their_order(loop: Loop, lmtp: bool, transfer: str) -> None:
    messages = [(SENDER, [RECIPIENT], b"%d\r\n" % number) for number in range(100)]
    mailbox = Mailbox()

    async def scene() -> None:
        async with loop.serving(mailbox, lmtp=lmtp) as (_, there), loop.connect(**there) as client:
            results = await client.send_messages(messages, transfer=transfer)
            assert all(result.all_accepted for result in results)
            assert results == client.last_results
            assert len(results) == client.messages == 100

    loop.run(scene)
    assert [message.data for message in mailbox.messages] == [body for _, _, body in messages]


@contextmanager
def hosted(kind: type[Loop], *arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
    """A server of another loop, in a thread of its own: what `connect` is to be told."""
    loop = kind()
    over = loop.bell()
    places: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    async def scene() -> None:
        async with loop.serving(*arguments, **options) as (_, there):
            places.put(there)
            await loop.heard(over)

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(loop.run, scene)
        try:
            yield places.get(timeout=SECONDS)
        finally:
            over.ring()
    running.result()
    loop.close()


@pytest.mark.parametrize(("loop", "server"), [*permutations(ALL, 2)], indirect=["loop"], ids=" to ".join)
def test_every_client_gets_on_with_every_server(loop: Loop, server: str, tmp_path: Path) -> None:
    async def scene(there: dict[str, Any]) -> None:
        async with loop.connect(**there, limits=UNLIMITED) as client:
            for body in (NASTY, ENDLESS):
                assert (await client.send_message(SENDER, [RECIPIENT], io.BytesIO(body))).all_accepted

    for way, lmtp in product(WAYS, [False, True]):
        mailbox = Mailbox()
        options = {"folder": tmp_path, "lmtp": lmtp, "limits": UNLIMITED}
        with hosted(LOOPS[server], mailbox, way, **options) as there:
            loop.run(partial(scene, there))
        assert [message.data for message in mailbox.messages] == [NASTY, ENDLESS], (way, lmtp)


class Choosy(Mailbox):
    """In LMTP every recipient has an answer of his own."""

    def message(self, session: Session) -> Any:
        super().message(session)
        full = Reply(code=452, enhanced="4.2.2", text="full")
        return [full if "no" in rcpt.forward_path else None for rcpt in session.recipients]


@every_way
@over(*LOOPS)
def test_in_lmtp_every_recipient_has_an_answer_and_the_next_message_works(
    loop: Loop, way: str, tmp_path: Path
) -> None:
    async def scene() -> None:
        choosy = Choosy()
        for handler in loop.dresses(choosy):
            choosy.messages.clear()
            serving = loop.serving(handler, way, folder=tmp_path, lmtp=True)
            async with serving as (_, there), loop.connect(**there) as client:
                for body in (MESSAGE, NASTY):
                    result = await client.send_message(SENDER, RECIPIENTS, body)
                    assert [outcome.status for outcome in result.outcomes] == [
                        Status.ACCEPTED,
                        Status.REFUSED,
                        Status.ACCEPTED,
                    ]
                    assert result.outcomes[1].reply == Reply(code=452, enhanced="4.2.2", text="full")
            assert [message.data for message in choosy.messages] == [MESSAGE, NASTY]

    loop.run(scene)


# --- Refusals, and what becomes of the connection


class Gate(Mailbox):
    """Says one thing at one of its hooks, and only to those whose address begins with `no`."""

    def __init__(self, hook: str, code: int) -> None:
        super().__init__()
        self._hook = hook
        self._code = code

    def _at(self, hook: str, path: str = "no") -> Any:
        told = hook == self._hook and path.startswith("no")
        return Reply(code=self._code, text=f"not at {hook}") if told else None

    def connect(self, session: Session) -> Any:
        return self._at("connect")

    def hello(self, session: Session, domain: str) -> Any:
        return self._at("hello")

    def mail(self, session: Session, command: Mail) -> Any:
        return self._at("mail", command.reverse_path)

    def rcpt(self, session: Session, command: Rcpt) -> Any:
        return self._at("rcpt", command.forward_path)

    def data(self, session: Session) -> Any:
        assert session.mail is not None
        return self._at("data", session.mail.reverse_path)

    def message(self, session: Session) -> Any:
        mail = session.mail
        assert mail is not None
        return self._at("message", mail.reverse_path) or super().message(session)


# What `summary` says of both messages, the first of which is the one to be refused.
ALL_TAKEN = [("accepted", 250)] * 3
REFUSALS: dict[tuple[str, int], Any] = {
    ("connect", 554): "refused: 554 not at connect",
    ("connect", 421): "refused: 421 not at connect",
    ("hello", 550): "refused: 550 not at hello",
    ("hello", 421): "refused: 421 not at hello",
    ("mail", 550): [[("refused", 550)] * 3, ALL_TAKEN],
    ("rcpt", 550): [[("accepted", 250), ("refused", 550), ("accepted", 250)]] * 2,
    ("data", 554): [[("refused", 554)] * 3, ALL_TAKEN],
    ("message", 552): [[("refused", 552)] * 3, ALL_TAKEN],
    ("mail", 421): [[("refused", 421)] * 3],
    ("rcpt", 421): [[("refused", 421)] * 3],
    ("data", 421): [[("refused", 421)] * 3],
    ("message", 421): [[("refused", 421)] * 3],
}


def summary(result: SendResult) -> list[tuple[str, int | None]]:
    return [(each.status.value, each.reply and each.reply.code) for each in result.outcomes]


async def try_twice(loop: Loop, there: dict[str, Any]) -> Any:
    """Send two messages, as long as the server listens: what became of them."""
    results = []
    try:
        async with loop.connect(**there) as client:
            for sender in ("no@sender.example", SENDER):
                results.append(summary(await client.send_message(sender, RECIPIENTS, MESSAGE)))
                if not client.conn.is_usable:
                    break
    except Refused as exc:
        return f"refused: {exc.reply.code} {exc.reply.text}"
    return results


@every_way
@both
@over(*LOOPS)
def test_refusals_are_the_same_everywhere(loop: Loop, way: str, lmtp: bool, tmp_path: Path) -> None:
    async def scene() -> None:
        for (hook, code), expected in REFUSALS.items():
            handler = loop.dresses(Gate(hook, code))[-1]
            async with loop.serving(handler, way, folder=tmp_path, lmtp=lmtp) as (_, there):
                assert await try_twice(loop, there) == expected, (hook, code)

    loop.run(scene)


# --- Peers that hang up

# Larger than what any socket holds.
LARGE = 16 << 20
PIECE = b"x" * 70 + b"\r\n"


class Endless:
    """The pieces of a large message, which counts those that were asked for."""

    def __init__(self, size: int = LARGE) -> None:
        self.size = size
        self.asked = 0

    def __iter__(self) -> Iterator[bytes]:
        piece = PIECE * 900
        for _ in range(self.size // len(piece) + 1):
            self.asked += 1
            yield piece


def hear_all(peer: Peer) -> bytes:
    """What comes until the other end closes, however it does."""
    octets = bytearray()
    with suppress(ConnectionResetError, ssl.SSLError):
        while data := peer.sock.recv(65536):
            octets += data
    return bytes(octets)


def hear_message(peer: Peer) -> None:
    """Read up to the lone dot."""
    tail = b""
    while not tail.endswith(b"\r\n.\r\n"):
        data = peer.sock.recv(65536)
        assert data
        tail = (tail + data)[-5:]


def owe(peer: Peer, way: str, what: str) -> None:
    """A server that does all that it should until it owes `what`; the client waits for it."""
    begin_tls(peer, way)
    if what == "greeting":
        return
    peer.say(b"220 mx.example")
    if what == "hello":
        peer.line()
        return
    answer_hello(peer, way == "starttls")
    if way == "starttls":
        peer.hear(b"STARTTLS")
        peer.say(b"220 go ahead")
        peer.start_tls(certificates().server, server_side=True)
        answer_hello(peer, False)
    peer.hear(b"MAIL")
    if what == "mail":
        return
    peer.say(b"250 ok")
    peer.hear(b"RCPT")
    if what == "rcpt":
        return
    peer.say(b"250 ok")
    peer.hear(b"RCPT", b"DATA")
    peer.say(b"250 ok")
    if what == "data":
        return
    peer.say(b"354 go")
    if what == "nothing":
        return
    if what == "half":
        left = 100_000
        while left > 0:
            left -= len(peer.sock.recv(min(left, 65536)))
        return
    hear_message(peer)
    if what == "second verdict":
        peer.say(b"250 taken")


def nothing(peer: Peer) -> None:
    """Hang up."""


@contextmanager
def scripted_servers(
    way: str, lmtp: bool, folder: Path, plays: dict[str, Callable[[Peer], Any]]
) -> Iterator[dict[str, dict[str, Any]]]:
    """A server for each of `plays`, which follows when it owes the key: what `connect` is to be told."""
    with ExitStack() as stack:
        places = {}
        for what, play in plays.items():

            def run(peer: Peer, what: str = what, play: Callable[[Peer], Any] = play) -> None:
                owe(peer, way, what)
                play(peer)

            place = folder / what.replace(" ", "-")
            place.mkdir()
            places[what] = stack.enter_context(scripted_server(way, lmtp, place, run))
        yield places


TWO = [RECIPIENT, "edsger@mx.example"]
CUTS: dict[str, list[str] | None] = {
    "greeting": None,
    "hello": None,
    "mail": ["unsent"] * 2,
    "rcpt": ["unsent"] * 2,
    "data": ["unsent"] * 2,
    "nothing": ["unsent"] * 2,
    "half": ["unsent"] * 2,
    "verdict": ["unknown"] * 2,
    "second verdict": ["accepted", "unknown"],
}


@every_way
@both
@over(*LOOPS)
def test_a_server_that_hangs_up_leaves_no_doubt_but_one(
    loop: Loop, way: str, lmtp: bool, tmp_path: Path
) -> None:
    async def scene(there: dict[str, Any], what: str) -> None:
        statuses = CUTS[what]
        if statuses is None:
            with pytest.raises((ConnectionLost, RemoteProtocolError)) as failed:
                await loop.connect(**there)
            assert not isinstance(failed.value, TimedOut), what
            return
        async with loop.connect(**there) as client:
            body = Endless() if what in ("nothing", "half") else MESSAGE
            with pytest.raises(ConnectionLost) as caught:
                await client.send_message(SENDER, TWO, body)
            assert not isinstance(caught.value, TimedOut), what
            assert caught.value.result == client.last_result
            assert [each.status.value for each in client.last_result.outcomes] == statuses, what

    cuts = [what for what in CUTS if lmtp or what != "second verdict"]
    with scripted_servers(way, lmtp, tmp_path, dict.fromkeys(cuts, nothing)) as places:
        loop.run(lambda: loop.together([partial(scene, there, what) for what, there in places.items()]))


@every_way
@both
@over(*LOOPS)
def test_a_client_that_hangs_up_ends_its_session(loop: Loop, way: str, lmtp: bool, tmp_path: Path) -> None:
    hooks: list[str] = []

    class Ear(Discard):
        def message(self, session: Session) -> None:
            hooks.append("message")

        def reset(self, session: Session) -> None:
            hooks.append("reset")

        def close(self, session: Session) -> None:
            hooks.append("close")

    talks = [(), (b"NOOP",), (b"MAIL FROM:<>",), (b"MAIL FROM:<>", b"RCPT TO:<a@mx.example>", b"DATA")]

    async def scene() -> None:
        for handler in loop.dresses(Ear()):
            for talk in talks:
                hooks.clear()

                def play(peer: Peer, talk: tuple[bytes, ...] = talk) -> None:
                    introduce(peer, way, lmtp)
                    for line in talk:
                        peer.say(line)
                        assert peer.reply()[:1] in b"23"
                    if b"DATA" in talk:
                        peer.say(b"hello")

                async with loop.serving(handler, way, folder=tmp_path, lmtp=lmtp) as (server, there):
                    await loop.call(there, play).result()
                    await server.close(SECONDS)
                assert hooks == ["reset"] * (b"MAIL FROM:<>" in talk) + ["close"], talk

    loop.run(scene)


# --- Octets in the clear before TLS

INJECTED = [b"2", b"250 ok\r\n", b"250-mx.example\r\n250 AUTH PLAIN\r\n"]


@pytest.mark.parametrize("apart", [False, True], ids=["same segment", "its own"])
@pytest.mark.parametrize("injected", INJECTED)
@over(*LOOPS)
def test_octets_behind_the_220_never_make_a_session(
    loop: Loop, injected: bytes, apart: bool, tmp_path: Path
) -> None:
    heard, blocked, said = loop.bell(), threading.Event(), threading.Event()
    shaken: list[str] = []

    def play(peer: Peer) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.say(b"220 mx.example")
        answer_hello(peer, True)
        peer.hear(b"STARTTLS")
        heard.ring()
        assert blocked.wait(SECONDS)
        if apart:
            peer.say(b"220 go ahead")
            peer.sock.sendall(injected)
        else:
            peer.sock.sendall(b"220 go ahead\r\n" + injected)
        said.set()
        with suppress(OSError):
            peer.start_tls(certificates().server, server_side=True)
            shaken.append(peer.sock.version())

    async def scene() -> None:
        client = loop.start(lambda: loop.connect(**there).__aenter__())
        await loop.heard(heard)
        # Where all is in one thread, the client cannot read before all is said.
        blocked.set()
        assert said.wait(SECONDS)
        with pytest.raises((RemoteProtocolError, ConnectionLost)) as caught:
            await client.result()
        assert not isinstance(caught.value, TimedOut)

    with scripted_server("starttls", False, tmp_path, play) as there:
        loop.run(scene)
    assert not shaken


@pytest.mark.parametrize("apart", [False, True], ids=["same segment", "its own"])
@pytest.mark.parametrize("injected", [b"N", b"NOOP\r\n", b"MAIL FROM:<x@y.z>\r\n"])
@both
@over(*ALL)
def test_octets_behind_starttls_never_make_a_session(
    loop: Loop, lmtp: bool, injected: bytes, apart: bool
) -> None:
    hooks: list[str] = []

    class Ear(Discard):
        def hello(self, session: Session, domain: str) -> None:
            hooks.append("hello")

        def mail(self, session: Session, command: Mail) -> None:
            hooks.append("mail")

    async def scene() -> None:
        async with loop.serving(Ear(), "starttls", lmtp=lmtp) as (_, there):
            with calling((there["host"], there["port"])) as peer:
                peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.aside(introduce, peer, "tcp", lmtp).result()
                # Where all is in one thread, the server cannot read in between.
                for octets in (b"STARTTLS\r\n", injected) if apart else (b"STARTTLS\r\n" + injected,):
                    peer.sock.sendall(octets)
                if apart and loop.name == "blocking":
                    peer.sock.shutdown(socket.SHUT_WR)  # or its handshake waits for the rest of a record
                answer = await loop.aside(hear_all, peer).result()
            if not apart or loop.name != "blocking":
                assert answer.startswith(b"554 5.5.1 ")
                assert answer.count(b"\r\n") == 1

    loop.run(scene)
    assert hooks == ["hello"]


# --- Time

TIMERS = {
    "greeting": Timer.GREETING,
    "hello": Timer.COMMAND,
    "mail": Timer.MAIL,
    "rcpt": Timer.RCPT,
    "data": Timer.DATA_INIT,
    "verdict": Timer.DATA_DONE,
}


def drip(peer: Peer) -> None:
    """Octet by octet, say what takes longer than anybody waits; leave when the client does."""
    peer.sock.settimeout(0.005)
    with suppress(OSError):
        for _ in range(1000):
            peer.sock.sendall(b"2")
            with suppress(TimeoutError):
                while peer.sock.recv(65536):
                    pass
                return


@pytest.mark.parametrize("manner", [hear_all, drip])
@pytest.mark.parametrize("way", ["tcp", "tls"])
@over(*LOOPS)
def test_a_server_is_left_when_its_time_is_over(loop: Loop, way: str, manner: Any, tmp_path: Path) -> None:
    async def scene(there: dict[str, Any], what: str) -> None:
        timer = TIMERS[what]
        timeouts = dict.fromkeys(Timer, float(SECONDS)) | {timer: 0.05}
        if what == "greeting":
            timeouts[timer] = 0.5  # for connecting and the handshake as well, which a busy machine makes slow
        with pytest.raises(TimedOut) as caught:
            async with loop.connect(**there, timeouts=timeouts) as client:
                await client.send_message(SENDER, TWO, MESSAGE)
        assert (caught.value.timer, caught.value.seconds) == (timer, timeouts[timer])
        result = caught.value.result
        if what in ("greeting", "hello"):
            assert result is None
        else:
            assert result is not None
            expected = Status.UNKNOWN if what == "verdict" else Status.UNSENT
            assert {each.status for each in result.outcomes} == {expected}

    with scripted_servers(way, False, tmp_path, dict.fromkeys(TIMERS, manner)) as places:
        loop.run(lambda: loop.together([partial(scene, there, what) for what, there in places.items()]))


@over(*LOOPS)
def test_a_server_that_does_not_read_is_left_when_its_time_is_over(loop: Loop, tmp_path: Path) -> None:
    over = threading.Event()

    def play(peer: Peer) -> None:
        owe(peer, "tcp", "nothing")
        assert over.wait(SECONDS)

    async def scene() -> None:
        timeouts = {Timer.DATA_BLOCK: 0.05}
        with pytest.raises(TimedOut) as caught:
            async with loop.connect(**there, timeouts=timeouts) as client:
                await client.send_message(SENDER, TWO, Endless())
        over.set()
        assert caught.value.timer is Timer.DATA_BLOCK
        assert caught.value.result is not None
        assert {each.status for each in caught.value.result.outcomes} == {Status.UNSENT}

    with scripted_server("tcp", False, tmp_path, play) as there:
        loop.run(scene)


@every_way
@over(*LOOPS)
def test_a_client_is_told_and_left_when_its_time_is_over(loop: Loop, way: str, tmp_path: Path) -> None:
    def idle(peer: Peer) -> bytes:
        introduce(peer, way)
        return hear_all(peer)

    def within_a_message(peer: Peer) -> bytes:
        introduce(peer, way)
        peer.say(b"MAIL FROM:<>", b"RCPT TO:<a@mx.example>", b"DATA", b"hello")
        return hear_all(peer)

    def dripping(peer: Peer) -> bytes:
        introduce(peer, way)
        peer.sock.settimeout(0.005)
        for _ in range(4000):
            with suppress(OSError):  # the server may be gone already; what it said is here
                peer.sock.sendall(b"N")
            with suppress(TimeoutError):
                return hear_all(peer)
        raise AssertionError("nobody told")

    async def scene() -> None:
        async with loop.serving(Discard(), way, folder=tmp_path, timeouts=0.4) as (_, there):
            calls = [loop.call(there, play) for play in (idle, within_a_message, dripping)]
            for call, replies in zip(calls, (1, 4, 1), strict=True):
                lines = (await call.result()).splitlines()
                assert lines[-1] == b"421 4.4.2 mx.example waited for 0.4 seconds"
                assert len(lines) == replies

    loop.run(scene)


# --- Interruption


def pending(port: int) -> bool:
    """Whether somebody is connecting to this port and has no answer."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that takes no more connections, and refuses none."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("there is no /proc/net/tcp here")
    callers = []
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        try:
            while not pending(port):
                callers.append(socket.socket())
                callers[-1].setblocking(False)
                callers[-1].connect_ex(("127.0.0.1", port))
                assert len(callers) < 100
            callers.pop().close()
            yield port
        finally:
            for sock in callers:
                sock.close()


def interruptions() -> pytest.MarkDecorator:
    cases = [(name, how) for name in LOOPS for how in LOOPS[name].interrupts]
    return pytest.mark.parametrize(("loop", "how"), cases, indirect=["loop"])


@interruptions()
def test_connecting_can_be_interrupted(loop: Loop, how: str) -> None:
    async def scene() -> None:
        job = loop.start(lambda: loop.connect(host="127.0.0.1", port=port).__aenter__())
        await loop.until(lambda: pending(port))
        await job.interrupt(how)
        for _ in range(3):  # in asyncio the races of RFC 8305 end after their task
            await loop.breathe()
        assert not pending(port)

    with deaf_port() as port:
        loop.run(scene)


@over("asyncio", "trio")
def test_the_next_address_is_tried_while_the_last_one_is_silent(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8305 5. Blocking sockets, gevent and uvloop wait for the first one's end."""
    monkeypatch.setattr(asyncio_transport, "_HAPPY_EYEBALLS", 0.01)
    resolve = socket.getaddrinfo

    async def scene() -> None:
        async with loop.serving(Discard()) as (server, _):
            tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            addresses = [(*tcp, ("127.0.0.1", silent)), (*tcp, server.address)]

            def both(host: Any, *arguments: Any, **options: Any) -> Any:
                return addresses if host == "mx.example" else resolve(host, *arguments, **options)

            monkeypatch.setattr(socket, "getaddrinfo", both)
            async with loop.connect(host="mx.example", port=25, timeouts=SECONDS) as client:
                assert (await client.noop()).code == 250

    with deaf_port() as silent:
        loop.run(scene)


@pytest.mark.parametrize("way", ["tls", "starttls"])
@interruptions()
def test_a_handshake_can_be_interrupted(loop: Loop, how: str, way: str, tmp_path: Path) -> None:
    begun = loop.bell()

    def play(peer: Peer) -> None:
        if way == "starttls":
            peer.say(b"220 mx.example")
            answer_hello(peer, True)
            peer.hear(b"STARTTLS")
            peer.say(b"220 go ahead")
        assert peer.sock.recv(1) == b"\x16"
        begun.ring()
        hear_all(peer)

    async def scene() -> None:
        job = loop.start(lambda: loop.connect(**there).__aenter__())
        await loop.heard(begun)
        await job.interrupt(how)

    with scripted_server(way, False, tmp_path, play) as there:
        loop.run(scene)


@pytest.mark.parametrize("what", ["greeting", "hello", "mail", "rcpt", "data", "nothing", "verdict"])
@pytest.mark.parametrize("way", ["tcp", "tls"])
@interruptions()
def test_a_message_can_be_interrupted(loop: Loop, how: str, way: str, what: str, tmp_path: Path) -> None:
    owed, interrupted, over = loop.bell(), threading.Event(), threading.Event()
    clients: list[Any] = []
    large = Endless()

    def play(peer: Peer) -> None:
        owe(peer, way, what)
        owed.ring()
        if what == "nothing":
            assert interrupted.wait(SECONDS)  # reading would let the client go on
        hear_all(peer)
        over.set()

    async def send() -> None:
        clients.append(await loop.connect(**there))
        await clients[0].send_message(SENDER, TWO, large if what == "nothing" else MESSAGE)

    async def stuck() -> None:
        before = -1
        while large.asked != before or not before:
            before = large.asked
            for _ in range(20):
                await loop.breathe()

    async def scene() -> None:
        job = loop.start(send)
        await loop.heard(owed)
        if what == "nothing":
            await stuck()
        await job.interrupt(how)
        interrupted.set()
        assert over.wait(SECONDS)  # nobody waits in this thread any more: it is the interruption that closed
        if what not in ("greeting", "hello"):
            (client,) = clients
            assert client.conn.state.name == "FAILED"
            statuses = {each.status for each in client.last_result.outcomes}
            assert statuses == {Status.UNKNOWN if what == "verdict" else Status.UNSENT}
            assert len(client.last_result.outcomes) == 2

    with scripted_server(way, False, tmp_path, play) as there:
        loop.run(scene)


@pytest.mark.parametrize("way", ["tcp", "unix"])
@over(*LOOPS)
def test_what_a_server_said_when_it_went_is_the_outcome(loop: Loop, way: str, tmp_path: Path) -> None:
    """Dovecot says 421 to the idle and closes. On a Unix socket the client's next write fails at once, maybe
    before its loop has looked whether there is something to read.
    """
    come, gone = threading.Event(), threading.Event()

    def play(peer: Peer) -> None:
        peer.greet()
        assert come.wait(SECONDS)
        peer.say(b"421 4.3.2 shutting down")
        peer.close()
        gone.set()

    async def scene() -> None:
        async with loop.connect(**there) as client:
            come.set()
            assert gone.wait(SECONDS)
            (outcome,) = (await client.send_message(SENDER, [RECIPIENT], MESSAGE)).outcomes
            assert (outcome.status, outcome.reply.code) == (Status.REFUSED, 421)

    with scripted_server(way, False, tmp_path, play) as there:
        loop.run(scene)


# --- The end of a server


class Visit:
    """A client by hand that comes as far as it should, and says when."""

    def __init__(self, loop: Loop, there: dict[str, Any], way: str, lmtp: bool, *, busy: bool) -> None:
        self.there = loop.bell()
        self.may_finish = threading.Event()
        self._is_busy = busy
        self._options = (way, lmtp)
        self.aside = loop.call(there, self._play)

    def _play(self, peer: Peer) -> bytes:
        introduce(peer, *self._options)
        if self._is_busy:
            peer.say(b"MAIL FROM:<>", b"RCPT TO:<a@mx.example>", b"DATA")
            assert [peer.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
            peer.say(b"hello")
        self.there.ring()
        if self._is_busy and self.may_finish.wait(SECONDS):
            with suppress(OSError):
                peer.say(b".")
        return hear_all(peer)


@every_way
@both
@over(*LOOPS)
def test_a_server_that_stops_says_so_and_finishes(loop: Loop, way: str, lmtp: bool, tmp_path: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox()
        async with loop.serving(mailbox, way, folder=tmp_path, lmtp=lmtp) as (server, there):
            visits = [Visit(loop, there, way, lmtp, busy=busy) for busy in (False, True)]
            for visit in visits:
                await loop.heard(visit.there)
            closing = loop.start(lambda: server.close(SECONDS))
            assert await visits[0].aside.result() == b"421 4.3.2 mx.example stops\r\n"
            with pytest.raises(OSError, match=str(there["unix" if way == "unix" else "port"])):
                await loop.connect(**there)
            visits[1].may_finish.set()
            last_words = await visits[1].aside.result()
            assert last_words == b"250 2.6.0 message accepted\r\n421 4.3.2 mx.example stops\r\n"
            await closing.result()
            assert server.sessions == 0
        assert [message.data for message in mailbox.messages] == [b"hello\r\n"]

    loop.run(scene)


@every_way
@over(*ALL)
def test_who_does_not_finish_is_hung_up_on(loop: Loop, way: str, tmp_path: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox()
        async with loop.serving(mailbox, way, folder=tmp_path) as (server, there):
            visit = Visit(loop, there, way, False, busy=True)
            await loop.heard(visit.there)
            await server.close(0.05)
            assert server.sessions == 0
            visit.may_finish.set()
            assert await visit.aside.result() == b""
        assert not mailbox.messages

    loop.run(scene)


class Stuck(Discard):
    """A handler that never answers to MAIL."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.bell = loop.bell()

    def mail(self, session: Session, mail: Mail) -> Any:
        self.bell.ring()
        return self._wait() if self._loop.is_async else finish(self._wait())

    async def _wait(self) -> None:
        while True:
            await self._loop.breathe()


@over("asyncio", "trio", "gevent")
def test_a_handler_that_waits_for_ever_does_not_hold_a_server_that_closes(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "LAST_MOMENT", 0.05)
    handler = Stuck(loop)

    async def scene() -> None:
        async with loop.serving(handler, "tcp") as (server, there), loop.connect(**there) as client:
            sending = loop.start(lambda: client.send_message(SENDER, [RECIPIENT], MESSAGE))
            await loop.heard(handler.bell)
            await server.close(0.05)
            assert server.sessions == 0
            with pytest.raises(ConnectionLost):
                await sending.result()

    loop.run(scene)


@pytest.mark.parametrize("way", ["tcp", "tls", "starttls"])
@both
@over(*ALL)
def test_one_session_too_many_is_turned_away(loop: Loop, way: str, lmtp: bool) -> None:
    async def scene() -> None:
        serving = loop.serving(Discard(), way, lmtp=lmtp, max_sessions_per_address=2)
        async with serving as (_, there), loop.connect(**there) as first, loop.connect(**there) as second:
            with pytest.raises(Refused, match=r"421 4\.7\.0 mx\.example: too many connections from you"):
                await loop.connect(**there)
            for client in (first, second):
                assert (await client.send_message(SENDER, [RECIPIENT], MESSAGE)).all_accepted

    loop.run(scene)


REFUSED_AT: dict[str, tuple[bytes, bytes | None, dict[str, Any], bytes]] = {
    "greeting": (b"554 go away", None, {}, b"QUIT\r\n"),
    "hello": (b"220 mx.example", b"550 not you", {}, b"QUIT\r\n"),
    "TLS is due": (b"554 go away", None, {"starttls": "required"}, b""),
    "the server closes": (b"421 later", None, {}, b""),
}


@pytest.mark.parametrize("case", REFUSED_AT)
@over(*ALL)
def test_a_client_that_is_refused_says_quit(loop: Loop, case: str, tmp_path: Path) -> None:
    """RFC 5321 4.1.1.10; but nothing in the clear where TLS is due."""
    greeting, hello, options, expected = REFUSED_AT[case]
    heard: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.say(greeting)
        if hello is not None:
            peer.hear(b"EHLO ")
            peer.say(hello)
        heard.append(peer.rest())

    async def scene() -> None:
        with pytest.raises(Refused):
            await loop.connect(**there, **options)

    with scripted_server("tcp", False, tmp_path, play) as there:
        loop.run(scene)
    assert heard == [expected]


# --- Much


@over(*ALL)
def test_many_recipients_do_not_stop_both_sides(loop: Loop) -> None:
    count = 20_000

    async def scene() -> None:
        mailbox = Mailbox()
        serving = loop.serving(mailbox, limits=Limits(recipients=count + 1))
        async with serving as (_, there), loop.connect(**there) as client:
            names = [f"{number}@mx.example" for number in range(count)]
            assert (await client.send_message(SENDER, names, MESSAGE)).all_accepted
        assert mailbox.messages[0].recipients == tuple(names)

    loop.run(scene)


# Sessions at once, and messages of each.
SESSIONS = {"asyncio": (1000, 10), "trio": (1000, 10), "gevent": (200, 10)}


@pytest.fixture
def descriptors() -> None:
    """Enough for many sessions, both ends of each."""
    needed = 2 * max(SESSIONS.values())[0] + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < needed:
        pytest.skip(f"{needed} descriptors are needed, {hard} may be had")
    if 0 <= soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@over(*SESSIONS)
@pytest.mark.usefixtures("descriptors")
def test_many_sessions_at_once_and_all_are_told_of_the_end(loop: Loop) -> None:
    count, messages = SESSIONS[loop.name]

    async def scene() -> None:
        mailbox = Mailbox()
        clients: list[Any] = []

        async def begin() -> None:
            clients.append(await loop.connect(**there, timeouts=60))

        async def go_on(client: Any) -> None:
            for _ in range(messages):
                assert (await client.send_message(SENDER, [RECIPIENT], MESSAGE)).all_accepted

        async def end(client: Any) -> None:
            assert (await client.noop()).code == 421
            await client.close()

        async with loop.serving(mailbox, max_sessions=2 * count, timeouts=60) as (server, there):
            await loop.together([begin] * count)
            assert server.sessions == count
            await loop.together([partial(go_on, client) for client in clients])
            await server.close(SECONDS)
            assert server.sessions == 0
            await loop.together([partial(end, client) for client in clients])
        assert [message.data for message in mailbox.messages] == [MESSAGE] * count * messages

    loop.run(scene)


def forget_peak() -> int:
    """Begin a new account: the octets in use."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS:")


def memory(field: str) -> int:
    """Octets, from Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@pytest.mark.parametrize(("way", "megabytes"), [("tcp", 200), ("tls", 16)])
@over(*ALL)
def test_a_large_message_goes_through_little_memory(loop: Loop, way: str, megabytes: int) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("nobody counts the memory here")

    class Count(Discard):
        octets = 0

        def chunk(self, session: Session, data: bytes) -> None:
            self.octets += len(data)

    async def scene() -> int:
        count = Count()
        serving = loop.serving(count, way, limits=Limits(message_size=None))
        async with serving as (_, there), loop.connect(**there) as client:
            await client.send_message(SENDER, [RECIPIENT], Endless(1 << 20))
            count.octets = 0
            before = forget_peak()
            assert (await client.send_message(SENDER, [RECIPIENT], Endless(megabytes << 20))).all_accepted
            grown = memory("VmHWM:") - before
        assert count.octets >= megabytes << 20
        return grown

    assert loop.run(scene) < 8 << 20


def test_a_trio_stream_that_was_hung_up_on_says_so() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            stream = smtp_transports.trio.Stream(ours, IN_THE_CLEAR)
            stream.hang_up()
            with pytest.raises(ConnectionAbortedError, match="the connection was closed"):
                await stream.receive_some(1, None)
            with pytest.raises(ConnectionAbortedError, match="the connection was closed"):
                await stream.send_all(b"who", None)

    trio.run(main)


def test_a_trio_stream_that_was_stopped_before_it_was_read_is_at_its_end() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            stream = smtp_transports.trio.Stream(ours, IN_THE_CLEAR)
            stream.stop_receiving()
            assert await stream.receive_some(1, None) == b""

    trio.run(main)


def test_a_trio_stream_whose_peer_does_not_read_gives_up_in_time() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            stream = smtp_transports.trio.Stream(ours, IN_THE_CLEAR)
            for size in (1 << 24, 1):
                with pytest.raises(TimeoutError):
                    await stream.send_all(bytes(size), 0.01)

    trio.run(main)


def test_a_trio_stream_that_only_sends_lets_others_have_their_turn() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        with ours, theirs:
            stream = smtp_transports.trio.Stream(ours, IN_THE_CLEAR)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                for _ in range(4):
                    await stream.send_all(b"who", None)
                assert turns >= 2
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_trio_stream_sends_nothing_where_it_is_cancelled_already() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        with ours, theirs:
            stream = smtp_transports.trio.Stream(ours, IN_THE_CLEAR)
            with trio.CancelScope() as scope:
                scope.cancel()
                await stream.send_all(b"who", None)
            assert scope.cancelled_caught
            with pytest.raises(BlockingIOError):
                theirs.recv(3)

    trio.run(main)
