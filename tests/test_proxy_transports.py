"""The promise of every transport where a proxy is in front of the server: what it says is read before all
else and not an octet further, handlers see the client and not the proxy, and who says anything else is left
without a word.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from loops import LOOPS, Loop, begin_tls, fresh_loop, introduce, scripted_server, welcome
from peers import MESSAGE, RECIPIENT, SECONDS, SENDER, Peer, certificates

from smtp_proto import ConnectionLost, ProxyHeader, ProxyReader, Refused, RemoteProtocolError, Timer
from smtp_proto.ops import Session
from smtp_transports.handlers import Mailbox

WAYS = ["tcp", "tls", "starttls", "unix"]

ALICE, BOB, MX = ("192.0.2.1", 4567), ("192.0.2.3", 4567), ("192.0.2.2", 25)
TCP4 = ProxyHeader(version=1, transport="TCP4", source=ALICE, destination=MX)
CLIENTS = [
    TCP4,
    ProxyHeader(version=1, transport="TCP6", source=("2001:db8::1", 1), destination=("::1", 2)),
    ProxyHeader(transport="TCP4", source=BOB, destination=MX, tlvs=((2, b"mx.example"), (3, bytes(4)))),
    ProxyHeader(transport="UNIX", source="", destination="/run/lmtp"),
    ProxyHeader(transport="TCP4", source=ALICE, destination=MX, tlvs=((4, bytes(4000)),)),
]
NOBODY = [
    ProxyHeader(version=1, transport="UNKNOWN"),
    ProxyHeader(transport="UNKNOWN"),
    ProxyHeader(transport="LOCAL"),
]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Loop]:
    """Every loop in turn."""
    with fresh_loop(request.param, caplog) as loop:
        yield loop


every_way = pytest.mark.parametrize("way", WAYS)


class Watch(Mailbox):
    """Keeps what it is told of each client."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ProxyHeader | None]] = []
        self.closed = 0

    def connect(self, session: Session) -> None:
        self.seen.append((session.peer, session.proxy))

    def close(self, session: Session) -> None:
        self.closed += 1


def hear_all(peer: Peer) -> bytes:
    """What comes until the other end closes, however it does."""
    with suppress(ConnectionResetError):
        return peer.rest()
    return b""


# --- Whom the handler sees


@every_way
def test_a_handler_sees_the_client_and_not_the_proxy(loop: Loop, way: str, tmp_path: Path) -> None:
    watch = Watch()

    async def scene() -> None:
        async with loop.serving(watch, way, folder=tmp_path, proxy_protocol=True) as (_, there):
            for header in CLIENTS:
                async with loop.connect(**there, proxy=header) as client:
                    assert client.conn.tls is (way in ("tls", "starttls"))
                    assert (await client.send_message(SENDER, [RECIPIENT], MESSAGE)).all_accepted

    loop.run(scene)
    assert watch.seen == [(header.source, header) for header in CLIENTS]
    assert [message.data for message in watch.messages] == [MESSAGE] * len(CLIENTS)


@every_way
def test_a_proxy_that_names_nobody_is_seen_itself(loop: Loop, way: str, tmp_path: Path) -> None:
    watch, plain = Watch(), Watch()

    async def scene() -> None:
        async with loop.serving(plain, way, folder=tmp_path) as (_, there), loop.connect(**there):
            pass
        async with loop.serving(watch, way, folder=tmp_path, proxy_protocol=True) as (_, there):
            for header in NOBODY:
                async with loop.connect(**there, proxy=header):
                    pass

    loop.run(scene)
    assert [proxy for _, proxy in watch.seen] == NOBODY
    ((own, nothing),) = plain.seen
    assert nothing is None
    for peer, _ in watch.seen:
        assert peer == own if way == "unix" else peer[0] == "127.0.0.1" == own[0]


@pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
def test_the_sessions_of_a_client_are_counted_and_not_those_of_the_proxy(
    loop: Loop, way: str, tmp_path: Path
) -> None:
    """Over a Unix socket too, where without a proxy all clients are alike."""

    def header(host: str, port: int) -> ProxyHeader:
        return ProxyHeader(transport="TCP4", source=(host, port), destination=MX)

    async def scene() -> None:
        options = {"proxy_protocol": True, "max_sessions_per_address": 1}
        async with loop.serving(Watch(), way, folder=tmp_path, **options) as (server, there):
            async with (
                loop.connect(**there, proxy=header("192.0.2.1", 1)),
                loop.connect(**there, proxy=header("192.0.2.2", 1)) as other,
            ):
                with pytest.raises(Refused, match=r"421 4\.7\.0 mx\.example: too many connections from you"):
                    await loop.connect(**there, proxy=header("192.0.2.1", 2))
                assert (await other.send_message(SENDER, [RECIPIENT], MESSAGE)).all_accepted
            await loop.until(lambda: not server.sessions)
            async with loop.connect(**there, proxy=header("192.0.2.1", 3)):
                assert server.sessions == 1

    loop.run(scene)


# --- How the octets come


@every_way
def test_a_header_may_come_octet_by_octet(loop: Loop, way: str, tmp_path: Path) -> None:
    watch = Watch()

    def drip(header: ProxyHeader) -> Callable[[Peer], None]:
        def play(peer: Peer) -> None:
            for at in range(len(header.octets)):
                peer.sock.sendall(header.octets[at : at + 1])
            introduce(peer, way)
            peer.say(b"QUIT")
            assert peer.reply().startswith(b"221 ")

        return play

    async def scene() -> None:
        async with loop.serving(watch, way, folder=tmp_path, proxy_protocol=True) as (_, there):
            for header in CLIENTS[:3]:
                await loop.call(there, drip(header)).result()

    loop.run(scene)
    assert watch.seen == [(header.source, header) for header in CLIENTS[:3]]


@pytest.mark.parametrize(
    "header", [TCP4, CLIENTS[2], NOBODY[0], NOBODY[2]], ids=lambda header: header.transport
)
def test_tls_may_begin_in_the_segment_of_the_header(loop: Loop, header: ProxyHeader) -> None:
    """Who reads on behind the header has taken the handshake's beginning."""
    watch = Watch()

    def play(peer: Peer) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certificates().client.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        first = [header.octets]

        def until_done(action: Callable[[], Any]) -> Any:
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    peer.sock.sendall(b"".join(first) + outgoing.read())
                    first.clear()
                    incoming.write(peer.sock.recv(65536))

        until_done(tls.do_handshake)
        assert until_done(lambda: tls.read(65536)).startswith(b"220 mx.example")
        tls.write(b"QUIT\r\n")
        assert until_done(lambda: tls.read(65536)).startswith(b"221 ")

    async def scene() -> None:
        async with loop.serving(watch, "tls", proxy_protocol=True) as (_, there):
            await loop.call(there, play).result()

    loop.run(scene)
    assert [proxy for _, proxy in watch.seen] == [header]


def test_octets_behind_starttls_are_no_handshake_behind_a_proxy_either(loop: Loop) -> None:
    watch = Watch()

    def play(peer: Peer) -> bytes:
        peer.sock.sendall(TCP4.octets)
        introduce(peer)
        peer.say(b"STARTTLS", b"MAIL FROM:<>")
        return hear_all(peer)

    async def scene() -> None:
        async with loop.serving(watch, "starttls", proxy_protocol=True) as (_, there):
            assert (await loop.call(there, play).result()).startswith(b"554 ")

    loop.run(scene)


# --- Who is left without a word

STRANGERS = {
    "a client": b"EHLO client.example\r\n",
    "a client that ends": b"PROXY TCP4 192.0.2.1",
    "nobody": b"",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506),
    "a bad line": b"PROXY TCP4 192.0.2.1 192.0.2.2 4567 025\r\n",
    "a long line": b"PROXY UNKNOWN " + b"x" * 200,
    "a bad block": ProxyHeader(transport="LOCAL").octets[:12] + b"\x31\x11\x00\x0c" + bytes(12),
    "half a block": CLIENTS[2].octets[:-1],
    "a block too large": CLIENTS[2].octets[:14] + b"\xff\xff",
    "a wrong checksum": CLIENTS[2].octets[:-1] + b"\xee",
}


@every_way
def test_who_is_no_proxy_is_left_without_a_word(loop: Loop, way: str, tmp_path: Path) -> None:
    watch = Watch()

    def say(octets: bytes) -> Callable[[Peer], bytes]:
        def play(peer: Peer) -> bytes:
            peer.sock.sendall(octets)
            if octets in ends:
                peer.sock.shutdown(1)
            return hear_all(peer)

        return play

    ends = [STRANGERS[name] for name in ("a client that ends", "nobody", "half a block")]

    async def scene() -> None:
        async with loop.serving(watch, way, folder=tmp_path, proxy_protocol=True) as (server, there):
            calls = [loop.call(there, say(octets)) for octets in STRANGERS.values()]
            assert [await call.result() for call in calls] == [b""] * len(STRANGERS)
            await loop.until(lambda: not server.sessions)
            async with loop.connect(**there, proxy=TCP4) as client:
                assert (await client.send_message(SENDER, [RECIPIENT], MESSAGE)).all_accepted

    loop.run(scene)
    assert (watch.seen, watch.closed) == ([(ALICE, TCP4)], 1)


@every_way
def test_who_says_nothing_in_time_is_left_without_a_word(loop: Loop, way: str, tmp_path: Path) -> None:
    """A header that trickles in does not extend it."""
    watch = Watch()

    def silent(peer: Peer) -> bytes:
        return hear_all(peer)

    def dripping(peer: Peer) -> bytes:
        peer.sock.settimeout(0.005)
        peer.sock.sendall(CLIENTS[4].octets[:16])
        for _ in range(3000):
            with suppress(OSError):  # the server may be gone already
                peer.sock.sendall(b"\0")
            with suppress(TimeoutError):
                return hear_all(peer)
        raise AssertionError("nobody hung up")

    async def scene() -> None:
        options = {"timeouts": {Timer.SERVER: 0.1}, "proxy_protocol": True}
        async with loop.serving(watch, way, folder=tmp_path, **options) as (_, there):
            calls = [loop.call(there, play) for play in (silent, dripping)]
            assert [await call.result() for call in calls] == [b"", b""]

    loop.run(scene)
    assert (watch.seen, watch.closed) == ([], 0)


@every_way
def test_a_server_that_stops_does_not_wait_for_a_header(loop: Loop, way: str, tmp_path: Path) -> None:
    watch = Watch()
    said = loop.bell()

    def play(peer: Peer) -> bytes:
        peer.sock.sendall(b"PROXY ")
        said.ring()
        return hear_all(peer)

    async def scene() -> None:
        async with loop.serving(watch, way, folder=tmp_path, proxy_protocol=True) as (server, there):
            call = loop.call(there, play)
            await loop.heard(said)
            await loop.until(lambda: server.sessions == 1)
            await server.close(SECONDS)
            assert server.sessions == 0
            assert await call.result() == b""

    loop.run(scene)
    assert (watch.seen, watch.closed) == ([], 0)


@every_way
def test_without_the_option_a_header_is_no_command(loop: Loop, way: str, tmp_path: Path) -> None:
    """Nobody is believed who was not meant to be, in whichever version."""
    watch = Watch()

    def say(header: ProxyHeader) -> Callable[[Peer], bytes]:
        def play(peer: Peer) -> bytes:
            peer.sock.sendall(header.octets)
            peer.sock.shutdown(1)
            return hear_all(peer)

        return play

    async def scene() -> None:
        async with loop.serving(watch, way, folder=tmp_path) as (_, there):
            for header in (TCP4, NOBODY[2]):
                heard = await loop.call(there, say(header)).result()
                assert not any(line.startswith(b"250") for line in heard.splitlines())
        assert all(proxy is None and peer != ALICE for peer, proxy in watch.seen)

    loop.run(scene)


# --- The client's side


@every_way
def test_a_client_says_it_before_all_else(loop: Loop, way: str, tmp_path: Path) -> None:
    heard: list[ProxyHeader] = []

    def play(peer: Peer) -> None:
        reader = ProxyReader()
        while reader.header is None:
            reader.receive_data(peer.sock.recv(reader.wanted))
        heard.append(reader.header)
        welcome(peer, way)
        peer.hear(b"QUIT")
        peer.say(b"221 bye")

    async def scene(there: dict[str, Any], header: ProxyHeader) -> None:
        starttls = "required" if way == "starttls" else None
        async with loop.connect(**there, proxy=header, starttls=starttls) as client:
            await client.quit()

    for number, header in enumerate([*CLIENTS, *NOBODY]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with scripted_server(way, False, folder, play) as there:
            loop.run(lambda there=there, header=header: scene(there, header))
    assert heard == [*CLIENTS, *NOBODY]


@pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
def test_a_client_whose_server_wants_no_proxy_is_told(loop: Loop, way: str, tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        with suppress(ssl.SSLError):  # a line of text is no handshake
            begin_tls(peer, way)
            peer.line()

    async def scene(there: dict[str, Any]) -> None:
        with pytest.raises((ConnectionLost, RemoteProtocolError)):
            await loop.connect(**there, proxy=TCP4)

    with scripted_server(way, False, tmp_path, play) as there:
        loop.run(lambda: scene(there))
