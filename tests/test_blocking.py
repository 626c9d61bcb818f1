"""The promise of `blocking.py`, over real sockets: a message arrives as it was sent whatever it goes through,
nobody is trusted who did not show a certificate, and nothing is left behind however it ends.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from peers import (
    ENVELOPE,
    GREETING,
    HELLO,
    MESSAGE,
    RECIPIENT,
    SECONDS,
    SENDER,
    Peer,
    another_authority,
    calling,
    certificates,
    listening,
    nothing_left,
    scripted,
    serving,
)

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    LocalProtocolError,
    NotOffered,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    TimedOut,
    Timer,
)
from smtp_proto.ops import SendResult, Session, Status
from smtp_transports._client import Client
from smtp_transports._places import Security, own_name
from smtp_transports.blocking import SocketStream, connect, serve
from smtp_transports.handlers import Discard, Mailbox

# Every way from a client to a server: what `serve` and `connect` take.
WAYS = ["tcp", "ipv6", "tls", "starttls", "unix"]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


# --- A message arrives as it was sent

BODIES = {
    "plain": MESSAGE,
    "leading dots": b"..\r\n.a\r\n..b\r\na.\r\n",
    "lone dots": b".\r\n.\r\n\r\n.\r\n",
    "8-bit": "Subject: Grüße\r\n\r\n\u20ac\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
    "control characters": b"\x01\x1b[31m\x7f\t\x0b\x0c\r\n",
    "empty lines at the end": b"a\r\n\r\n\r\n\r\n",
    "only empty lines": b"\r\n\r\n",
    "empty": b"",
    "long lines": (b"x" * 998 + b"\r\n") * 3,
    "large": (b"." * 70 + b"\r\n") * 4_000,
}


@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
@pytest.mark.parametrize("way", WAYS)
def test_a_message_arrives_as_it_was_sent(way: str, lmtp: bool, tmp_path: Path) -> None:
    mailbox = Mailbox()
    with serving(mailbox, way, lmtp=lmtp, folder=tmp_path) as (_, connect_to), connect_to() as client:
        for body in BODIES.values():
            pieces = (body[at : at + 997] for at in range(0, len(body), 997))
            for form in (body, bytearray(body), memoryview(body), io.BytesIO(body), pieces, [b"", body]):
                result = client.send_message(SENDER, [RECIPIENT, "edsger@mx.example"], form)
                assert result.all_accepted
        assert client.conn.tls is (way in ("tls", "starttls"))
    arrived = [message.data for message in mailbox.messages]
    assert arrived == [body for body in BODIES.values() for _ in range(6)]
    assert {message.recipients for message in mailbox.messages} == {(RECIPIENT, "edsger@mx.example")}
    assert {message.sender for message in mailbox.messages} == {SENDER}


def test_a_message_without_a_line_end_gets_one_and_lone_ones_become_pairs() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as (_, connect_to), connect_to() as client:
        client.send_message(SENDER, [RECIPIENT], b"a\nb\rc")
    assert mailbox.messages[0].data == b"a\r\nb\r\nc\r\n"


@pytest.mark.parametrize(
    "body",
    ["Subject: hi", io.StringIO("Subject: hi"), None, 7],
    ids=["text", "text file", "None", "number"],
)
def test_what_is_no_message_is_refused_before_anything_is_said(body: Any) -> None:
    with serving(Discard()) as (_, connect_to), connect_to() as client:
        with pytest.raises(TypeError, match="a message is bytes"):
            client.send_message(SENDER, [RECIPIENT], body)
        assert client.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted


def test_progress_is_told_in_octets_of_the_message() -> None:
    done: list[int] = []
    body = b"x" * 98 + b"\r\n"
    with serving(Discard()) as (_, connect_to), connect_to() as client:
        client.send_message(SENDER, [RECIPIENT], [body] * 3, progress=done.append)
        client.send_message(SENDER, [RECIPIENT], body * 3000, progress=done.append)
    assert done == [100, 200, 300, 262_100, 300_000]


def test_a_client_can_say_all_that_it_may_say() -> None:
    with serving(Discard()) as (_, connect_to), connect_to() as client:
        assert client.greeting is not None
        assert client.greeting.domain == "mx.example"
        assert "PIPELINING" in client.features
        codes = [client.verify("ada").code, client.expand("all").code, client.help().code]
        codes += [client.noop().code, client.reset().code]
        assert codes == [252, 502, 214, 250, 250]
        bye = client.quit()
        assert bye is not None
        assert bye.code == 221


def test_in_lmtp_every_recipient_has_an_answer_and_the_next_message_works() -> None:
    class Choosy(Discard):
        def message(self, session: Session) -> list[Reply | None]:
            full = Reply(code=452, text="full")
            return [full if "full" in rcpt.forward_path else None for rcpt in session.recipients]

    with serving(Choosy(), lmtp=True) as (_, connect_to), connect_to() as client:
        for names in (["a", "full", "b"], ["full", "c"]):
            result = client.send_message(SENDER, [f"{name}@mx.example" for name in names], MESSAGE)
            assert [outcome.status for outcome in result.outcomes] == [
                Status.REFUSED if name == "full" else Status.ACCEPTED for name in names
            ]


def test_what_the_handler_knows_is_the_session() -> None:
    seen: dict[str, Any] = {}

    class Look(Discard):
        def message(self, session: Session) -> None:
            mail = session.mail
            assert mail is not None
            seen.update(
                peer=session.peer[0],
                domain=session.domain,
                tls=session.tls,
                mail=mail.reverse_path,
                size=mail.parameters["SIZE"],
                recipients=[rcpt.forward_path for rcpt in session.recipients],
            )

    with serving(Look(), "starttls") as (_, connect_to), connect_to() as client:
        client.send_message(SENDER, [Rcpt(forward_path=RECIPIENT)], MESSAGE)
    assert seen == {
        "peer": "127.0.0.1",
        "domain": "client.example",
        "tls": True,
        "mail": SENDER,
        "size": len(MESSAGE),
        "recipients": [RECIPIENT],
    }


# --- How to connect


@pytest.mark.parametrize(
    ("host_name", "way", "expected"),
    [
        ("mail.sender.example", "tcp", "mail.sender.example"),
        ("laptop", "tcp", "[127.0.0.1]"),
        ("laptop", "ipv6", "[IPv6:::1]"),
        ("laptop", "unix", "localhost"),
    ],
)
def test_a_client_introduces_itself_by_its_name_or_else_by_its_address(
    host_name: str, way: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host_name)
    names = []

    class Look(Discard):
        def hello(self, session: Session, domain: str) -> None:
            names.append(domain)

    with serving(Look(), way, folder=tmp_path) as (_, connect_to), connect_to(domain=None):
        pass
    assert names == [expected]


def test_the_zone_of_an_address_is_nobody_elses_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    sock = SimpleNamespace(family=socket.AF_INET6, getsockname=lambda: ("fe80::1%eth0", 25, 0, 2))
    assert own_name(sock) == "[IPv6:fe80::1]"


def test_a_connected_socket_can_be_brought_along() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as (server, _):
        sock = socket.create_connection(server.address)
        sock.settimeout(0)  # whatever it was, it is ours now
        with connect(sock=sock, domain="client.example") as client:
            assert client.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted
        assert sock.fileno() == -1
    assert [message.data for message in mailbox.messages] == [MESSAGE]


def test_a_stream_of_your_own_can_be_brought_along() -> None:
    mailbox = Mailbox()
    with serving(mailbox, "starttls") as (server, _):
        sock = socket.create_connection(server.address)
        with connect(stream=SocketStream(sock), domain="client.example") as client:
            assert client.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted
        assert sock.fileno() == -1
        sock = socket.create_connection(server.address)
        with pytest.raises(ConnectionLost, match="no TLS context"):
            connect(stream=SocketStream(sock), context=certificates().client)
        assert sock.fileno() == -1
    assert [message.data for message in mailbox.messages] == [MESSAGE]


def test_the_layers_below_can_be_used_alone() -> None:
    with serving(Discard()) as (server, _), socket.create_connection(server.address) as sock:
        client = Client(SocketStream(sock), ClientConnection())
        client.start("client.example")
        with client:
            assert client.send_message("", [RECIPIENT], MESSAGE).all_accepted


def test_a_client_can_choose_where_it_calls_from() -> None:
    peers = []

    class Look(Discard):
        def connect(self, session: Session) -> None:
            peers.append(session.peer)

    here = ("127.0.0.1", closed_port())
    with serving(Look()) as (_, connect_to), connect_to(local_address=here):
        pass
    assert peers == [here]


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_refused_connection_says_where() -> None:
    port = closed_port()
    with pytest.raises(ConnectionRefusedError, match=f"refused: 127.0.0.1:{port}"):
        connect("127.0.0.1", port)


def test_when_every_address_fails_all_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    port = closed_port()
    tcp = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    bad = (9999, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
    addresses = [bad, (*tcp, ("127.0.0.1", port)), (*tcp, ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    with pytest.raises(ConnectionRefusedError) as caught:
        connect("mx.example", port)
    said = str(caught.value)
    assert said.count("refused: mx.example") == 1
    assert said.count(";") == 1


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Discard()) as (server, _):
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        addresses = [(*tcp, ("127.0.0.1", closed_port())), (*tcp, server.address)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        with connect("mx.example", 25) as client:
            assert client.noop().code == 250


@pytest.mark.parametrize("way", ["tcp", "ipv6"])
def test_for_an_address_nobody_is_asked(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Discard(), way) as (_, connect_to):
        monkeypatch.setattr(socket, "getaddrinfo", None)
        with connect_to() as client:
            assert client.noop().code == 250


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", -1), ("::1", 70000), ("mx\0.example", 25)])
def test_what_can_be_no_address_is_asked_for_all_the_same(
    host: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(*address: object, **_: object) -> None:
        asked.append(address)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(socket.gaierror, match="not known: "):
        connect(host, port)
    assert asked == [(host, port)]


def test_a_name_that_is_unknown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror, match=r"not known: no\.example:25"):
        connect("no.example")


@pytest.mark.parametrize(
    ("options", "port"), [({}, 25), ({"tls": True}, 465), ({"lmtp": True}, 24), ({"port": 587}, 587)]
)
def test_ports_have_their_defaults_and_connecting_its_time(
    options: dict[str, Any], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def resolve(*address: object, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address)]

    def spy(sock: socket.socket, address: object) -> None:
        calls.append((address, sock.gettimeout()))
        raise OSError(errno.ENETUNREACH, "no network")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", spy)
    for timeouts in (None, 3.0, {Timer.GREETING: 4.0}):
        with pytest.raises(OSError, match=r"no network: mx\.example"):
            connect("mx.example", timeouts=timeouts, **options)
    assert calls == [(("mx.example", port), seconds) for seconds in (300.0, 3.0, 4.0)]


@pytest.mark.parametrize("job", [lambda path: connect(unix=path), lambda path: serve(Discard(), unix=path)])
def test_an_error_of_a_unix_socket_names_its_path(job: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere/socket"):
        job(tmp_path / "nowhere" / "socket")


def test_a_unix_socket_goes_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serve(Discard(), unix=path) as first:
        assert first.address == str(path)
        with pytest.raises(OSError, match=r"in use.*socket"):
            serve(Discard(), unix=path)
        first.close()
        with serve(Discard(), unix=path), connect(unix=path):
            first.close()  # once more, and it is not its socket that is there now
            assert path.exists()
    assert not path.exists()


def test_a_unix_socket_needs_no_file_on_linux() -> None:
    name = f"\0smtp-proto-{os.getpid()}"
    try:
        server = serve(Discard(), unix=name)
    except OSError:
        pytest.skip("no abstract sockets here")
    with server, connect(unix=name) as client:
        assert client.noop().code == 250


def test_a_port_in_use_cannot_be_listened_on() -> None:
    with serve(Discard()) as server, pytest.raises(OSError, match="in use"):
        serve(Discard(), *server.address)


def test_a_port_can_be_listened_on_again_at_once() -> None:
    """Although the connections that the server closed first are not yet forgotten."""
    with serving(Discard()) as (server, connect_to), connect_to():
        server.close()
        with serve(Discard(), *server.address), connect(*server.address) as client:
            assert client.noop().code == 250


@pytest.mark.parametrize("option", ["tls", "require_tls"])
def test_a_server_cannot_have_tls_without_a_certificate(option: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        serve(Discard(), **{option: True})


def test_a_client_that_fails_to_start_leaves_no_socket() -> None:
    class Closed(Discard):
        def connect(self, session: Session) -> Reply:
            return Reply(code=554, text="go away")

    with serving(Closed()) as (server, _):
        sock = socket.create_connection(server.address)
        with pytest.raises(Refused, match="554 go away"):
            connect(sock=sock)
        assert sock.fileno() == -1


# --- The end of a client


def test_a_context_that_ends_well_says_goodbye() -> None:
    with scripted(lambda peer: (peer.greet(), peer.hear(b"QUIT"), peer.say(b"221 bye"))) as sock:
        with connect(sock=sock):
            pass
        assert sock.fileno() == -1


def test_a_server_that_just_closes_at_the_end_is_fine() -> None:
    with scripted(Peer.greet) as sock, connect(sock=sock) as client:
        assert client.quit() is None


def test_a_closed_connection_is_over_even_if_others_hold_its_socket() -> None:
    over = threading.Event()
    with scripted(lambda peer: (peer.greet(), peer.rest(), over.set())) as sock, sock.dup():
        connect(sock=sock).close()
        assert over.wait(SECONDS)


def test_a_context_that_ends_badly_just_closes() -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        assert peer.rest() == b""

    with scripted(play) as sock, pytest.raises(ZeroDivisionError), connect(sock=sock):
        raise ZeroDivisionError


def test_a_connection_that_failed_is_not_used_again() -> None:
    with scripted(lambda peer: (peer.greet(), peer.hear(b"NOOP"), peer.say(b"nonsense"))) as sock:
        with connect(sock=sock) as client:
            with pytest.raises(RemoteProtocolError, match="not a line of a reply"):
                client.noop()
            with pytest.raises(LocalProtocolError, match="failed"):
                client.noop()
        assert sock.fileno() == -1


# --- What is known of a message


def statuses(result: SendResult) -> list[Status]:
    return [outcome.status for outcome in result.outcomes]


class Choosy(Discard):
    """Refuses whom it does not know."""

    def rcpt(self, session: Session, command: Rcpt) -> Reply | None:
        return Reply(code=550, text="no such user") if command.forward_path.startswith("no") else None


def test_the_last_result_is_that_of_the_last_message() -> None:
    with serving(Choosy()) as (_, connect_to), connect_to() as client:
        assert client.last_result == SendResult(outcomes=())
        for recipients in ([RECIPIENT], ["no@mx.example"], [RECIPIENT, "no@mx.example"]):
            result = client.send_message(SENDER, recipients, MESSAGE)
            assert client.last_result == result
            assert statuses(result) == [
                Status.REFUSED if one.startswith("no") else Status.ACCEPTED for one in recipients
            ]
        with pytest.raises(LocalProtocolError):
            client.send_message(SENDER, [RECIPIENT], b"\0")
        assert client.last_result == SendResult(outcomes=())


def test_the_last_result_can_be_seen_while_the_message_is_sent() -> None:
    seen: list[list[Status]] = []
    recipients = [RECIPIENT, "no@mx.example"]
    with serving(Choosy()) as (_, connect_to), connect_to() as client:
        for body in (MESSAGE, [MESSAGE]):
            client.send_message(
                SENDER,
                recipients,
                body,
                transfer="data",
                progress=lambda _: seen.append(statuses(client.last_result)),
            )
            assert statuses(client.last_result) == [Status.ACCEPTED, Status.REFUSED]
    assert seen == [[Status.UNSENT, Status.REFUSED]] * 2


def before_the_verdict(peer: Peer) -> None:
    peer.greet()
    peer.hear(*ENVELOPE)
    peer.say(*OK, *OK, *GO)
    while peer.line() != b".\r\n":
        pass


def before_the_message(peer: Peer) -> None:
    peer.greet()
    peer.hear(*ENVELOPE)
    peer.say(*OK)


@pytest.mark.parametrize(
    ("play", "status"), [(before_the_verdict, Status.UNKNOWN), (before_the_message, Status.UNSENT)]
)
def test_when_the_connection_is_cut_the_last_result_is_that_of_the_error(
    play: Callable[[Peer], None], status: Status
) -> None:
    with scripted(play) as sock, connect(sock=sock) as client:
        with pytest.raises(ConnectionLost) as caught:
            client.send_message(SENDER, [RECIPIENT], MESSAGE)
        assert client.last_result == caught.value.result
        assert statuses(client.last_result) == [status]


def test_after_an_interrupt_the_last_result_is_all_there_is() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half of a "
        raise KeyboardInterrupt

    mailbox = Mailbox()
    with serving(mailbox) as (_, connect_to):
        with pytest.raises(KeyboardInterrupt), connect_to() as client:
            client.send_message(SENDER, [RECIPIENT], pieces())
        assert statuses(client.last_result) == [Status.UNSENT]
    assert not mailbox.messages


# --- The end of a server

STOPS = b"421 4.3.2 mx.example stops\r\n"


def rest_of(client: Client) -> bytes:
    """All that is there and not used, and all that comes until the other end closes."""
    octets = bytes(client.conn._buffer.octets)
    while data := client._driver.stream.receive_some(65536, SECONDS):
        octets += data
    return octets


@pytest.mark.parametrize("way", WAYS)
def test_an_idle_client_is_told_that_the_server_stops_and_then_it_closes(way: str, tmp_path: Path) -> None:
    with serving(Discard(), way, folder=tmp_path) as (server, connect_to):
        fresh, used = connect_to(), connect_to()
        assert used.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted
        server.close()
        assert server.sessions == 0
        try:
            assert rest_of(fresh) == rest_of(used) == STOPS
        finally:
            fresh.close()
            used.close()


def test_a_server_that_has_stopped_is_a_421_for_whoever_asks_then() -> None:
    with serving(Discard()) as (server, connect_to), connect_to() as client:
        server.close()
        assert client.noop() == Reply(code=421, enhanced="4.3.2", text="mx.example stops")
        assert not client.conn.is_usable


class Closing:
    """A server that is being closed, in a thread."""

    def __init__(self, server: Any, grace: float) -> None:
        self._thread = threading.Thread(target=server.close, args=[grace])
        self._thread.start()

    def has_ended(self) -> bool:
        """Whether it has, in far less time than a grace of a minute."""
        self._thread.join(SECONDS)
        return not self._thread.is_alive()


@pytest.mark.parametrize("way", ["tcp", "starttls", "unix"])
def test_a_message_under_way_is_finished_when_the_server_is_closed(way: str, tmp_path: Path) -> None:
    mailbox = Mailbox()
    with ExitStack() as stack:
        server, connect_to = stack.enter_context(serving(mailbox, way, folder=tmp_path))
        idle = stack.enter_context(calling(server.address))
        client = stack.enter_context(connect_to())
        idle.introduce()
        closings = []

        def pieces() -> Iterator[bytes]:
            yield b"Subject: hello\r\n"
            closings.append(Closing(server, 60))
            assert idle.rest() == STOPS
            yield b"\r\nHello!\r\n"

        assert client.send_message(SENDER, [RECIPIENT], pieces()).all_accepted
        assert rest_of(client) == STOPS
        assert closings[0].has_ended()
        assert server.sessions == 0
    assert [message.data for message in mailbox.messages] == [MESSAGE]


@pytest.mark.parametrize("said", [[], [b"RCPT TO:<grace@mx.example>"]])
def test_a_transaction_that_has_only_begun_may_go_on_too(said: list[bytes]) -> None:
    mailbox = Mailbox()
    with serving(mailbox) as (server, _), calling(server.address) as idle, calling(server.address) as peer:
        idle.introduce()
        peer.introduce()
        peer.say(b"MAIL FROM:<ada@sender.example>", *said)
        for _ in range(1 + len(said)):
            assert peer.reply().startswith(b"250 ")
        closing = Closing(server, 60)
        assert idle.rest() == STOPS
        peer.say(b"RCPT TO:<edsger@mx.example>", b"DATA")
        assert peer.reply().startswith(b"250 ")
        assert peer.reply().startswith(b"354 ")
        peer.say(b"Hello!", b".")
        assert peer.rest() == b"250 2.6.0 message accepted\r\n" + STOPS
        assert closing.has_ended()
    assert mailbox.messages[0].data == b"Hello!\r\n"


class Ends(Mailbox):
    """Remembers how transactions and sessions end."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks: list[str] = []

    def reset(self, session: Session) -> None:
        self.hooks.append("reset")
        super().reset(session)

    def close(self, session: Session) -> None:
        self.hooks.append("close")


@pytest.mark.parametrize("way", ["tcp", "starttls"])
@pytest.mark.parametrize("grace", [0, 0.05])
def test_a_client_that_does_not_finish_is_hung_up_on_when_the_grace_is_over(grace: float, way: str) -> None:
    ends = Ends()
    with serving(ends, way) as (server, connect_to):

        def pieces() -> Iterator[bytes]:
            yield b"Subject: hello\r\n"
            server.close(grace)
            assert server.sessions == 0
            yield b"line\r\n" * 1_000_000
            yield b"line\r\n" * 1_000_000

        with pytest.raises(ConnectionLost), connect_to() as client:
            client.send_message(SENDER, [RECIPIENT], pieces())
        assert statuses(client.last_result) == [Status.UNSENT]
    assert ends.hooks == ["reset", "close"]
    assert not ends.messages


def test_grace_is_given_once_for_all() -> None:
    with ExitStack() as stack:
        server, _ = stack.enter_context(serving(Discard()))
        peers = [stack.enter_context(calling(server.address)) for _ in range(20)]
        for peer in peers:
            peer.introduce()
            peer.say(b"MAIL FROM:<ada@sender.example>")
            assert peer.reply().startswith(b"250 ")
        before = time.monotonic()
        server.close(0.1)
        assert 0.1 <= time.monotonic() - before < 1
        assert {peer.rest() for peer in peers} == {b""}


def test_an_error_in_the_context_of_a_server_gives_no_grace() -> None:
    failed = pytest.raises(ZeroDivisionError)
    with socket.socket() as sock, failed, serve(Discard()) as server:
        sock.connect(server.address)
        peer = Peer(sock)
        peer.introduce()
        peer.say(b"MAIL FROM:<ada@sender.example>")
        assert peer.reply().startswith(b"250 ")
        before = time.monotonic()
        raise ZeroDivisionError
    assert time.monotonic() - before < 5


def test_who_waits_for_octets_is_woken_by_the_end_and_can_still_speak() -> None:
    heard: list[bytes] = []
    with scripted(lambda peer: heard.append(peer.rest())) as sock:
        stream = SocketStream(sock)
        waiting = threading.Thread(target=lambda: heard.append(stream.receive_some(1, SECONDS)))
        waiting.start()
        stream.stop_receiving()
        waiting.join(SECONDS)
        assert heard == [b""]
        stream.send_all(b"bye", SECONDS)
        stream.close()
    assert heard == [b"", b"bye"]


# --- How many clients of one address

TOO_MANY = b"421 4.7.0 mx.example: too many connections from you\r\n"


class Door(Discard):
    """Counts who comes in, and who leaves."""

    def __init__(self) -> None:
        self.came, self.left = 0, 0

    def connect(self, session: Session) -> None:
        self.came += 1

    def close(self, session: Session) -> None:
        self.left += 1


def test_who_has_too_many_sessions_is_turned_away_until_one_has_ended() -> None:
    door = Door()
    with ExitStack() as stack:
        server, connect_to = stack.enter_context(serving(door, max_sessions=3, max_sessions_per_address=2))
        first, second = (stack.enter_context(calling(server.address)) for _ in range(2))
        first.introduce()
        second.introduce()
        for _ in range(4):  # who is turned away holds no place
            with calling(server.address) as third:
                assert third.rest() == TOO_MANY
        with pytest.raises(Refused, match="connection was refused: 421") as caught:
            connect_to()
        assert caught.value.reply.enhanced == "4.7.0"
        assert sum(server._from.values()) == 2  # whether or not its session has ended
        first.say(b"QUIT")
        assert first.rest().startswith(b"221 ")
        with connect_to() as client:
            assert client.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted
            with pytest.raises(Refused, match="421"):
                connect_to()
        assert door.came == 3
    assert door.left == 3
    assert not server._from


def test_a_client_that_hangs_up_has_its_place_again() -> None:
    door = Door()
    with serving(door, max_sessions_per_address=1) as (server, connect_to):
        for _ in range(3):
            with calling(server.address) as peer:
                peer.introduce()
                peer.say(b"MAIL FROM:<ada@sender.example>")
                assert peer.reply().startswith(b"250 ")
                peer.sock.shutdown(socket.SHUT_WR)
                peer.rest()
        with connect_to() as client:
            assert client.noop().code == 250
    assert door.came == door.left == 4


def test_one_address_does_not_count_for_another() -> None:
    here, there = ("127.0.0.1", 0), ("127.0.0.2", 0)
    try:
        socket.create_server(there).close()
    except OSError:
        pytest.skip("there is one loopback address only")
    with ExitStack() as stack:
        _, connect_to = stack.enter_context(serving(Discard(), max_sessions_per_address=1))
        clients = [stack.enter_context(connect_to(local_address=address)) for address in (here, there)]
        for address in (here, there):
            with pytest.raises(Refused, match="421"):
                connect_to(local_address=address)
        assert [client.noop().code for client in clients] == [250, 250]


@pytest.mark.parametrize("way", ["ipv6", "tls", "starttls"])
def test_clients_are_turned_away_on_every_way(way: str) -> None:
    with serving(Discard(), way, max_sessions_per_address=1) as (_, connect_to), connect_to() as client:
        with pytest.raises(Refused, match="421"):
            connect_to()
        assert client.noop().code == 250


def test_clients_of_a_unix_socket_have_no_address(tmp_path: Path) -> None:
    with ExitStack() as stack:
        options = {"folder": tmp_path, "max_sessions_per_address": 1}
        _, connect_to = stack.enter_context(serving(Discard(), "unix", **options))
        clients = [stack.enter_context(connect_to()) for _ in range(3)]
        assert [client.noop().code for client in clients] == [250] * 3


@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_a_client_that_has_just_come_does_not_hold_up_the_end_of_a_server(way: str) -> None:
    """With TLS from the start it is in the middle of its handshake, or about to begin it."""
    for _ in range(20):
        with serving(Discard(), way) as (server, _), calling(server.address) as peer:
            begun = time.monotonic()
            server.close(2)
            assert time.monotonic() - begun < 1
            peer.rest()


# --- TLS


def test_by_default_only_authorities_of_the_system_are_trusted() -> None:
    mailbox = Mailbox()
    failed = pytest.raises(ConnectionLost, match=r"TLS handshake failed.*verify failed")
    with serving(mailbox, "tls") as (_, connect_to), failed as caught:
        connect_to(context=None)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    with serving(mailbox, "starttls") as (_, connect_to):
        for policy in ("required", "opportunistic"):
            with pytest.raises(ConnectionLost, match="verify failed"):
                connect_to(context=None, starttls=policy)
    assert not mailbox.messages


class Ear(Discard):
    """Remembers all that was said, the session's end last."""

    def __init__(self) -> None:
        self.hooks: list[str] = []
        self.ended = threading.Event()

    def hello(self, session: Session, domain: str) -> None:
        self.hooks.append("hello in TLS" if session.tls else "hello")

    def mail(self, session: Session, command: object) -> None:
        self.hooks.append("mail in TLS" if session.tls else "mail")


@pytest.mark.parametrize("way", ["tls", "starttls"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"server_hostname": "mx.example"}, "not valid for 'mx.example'"),
        ({"host": "127.0.0.1", "server_hostname": "127.0.0.2"}, "mismatch"),
        ({"context": "another"}, "unable to get local issuer"),
    ],
    ids=["wrong name", "wrong address", "unknown authority"],
)
def test_who_is_not_who_it_should_be_gets_no_mail(way: str, options: dict[str, Any], reason: str) -> None:
    if "context" in options:
        context = ssl.create_default_context()
        another_authority().authority.configure_trust(context)
        options = {"context": context}
    ear = Ear()
    failed = pytest.raises(ConnectionLost, match=f"TLS handshake failed.*{reason}")
    with serving(ear, way) as (_, connect_to), failed:
        connect_to(**options)
    assert ear.hooks == (["hello"] if way == "starttls" else [])


def test_the_right_name_is_taken_whatever_the_address_is() -> None:
    with serving(Discard(), "tls") as (server, connect_to), connect_to(server_hostname="localhost") as client:
        assert client.conn.tls
    with serving(Discard(), "starttls") as (server, _):
        sock = socket.create_connection(server.address)
        with connect("localhost", sock=sock, context=certificates().client) as client:
            assert client.conn.tls


def test_tls_to_a_server_that_speaks_none_is_a_clear_error() -> None:
    ear = Ear()
    failed = pytest.raises(ConnectionLost, match="TLS handshake failed")
    with serving(ear) as (_, connect_to), failed as caught:
        connect_to(tls=True, context=certificates().client)
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert not ear.hooks


def test_a_server_tells_a_tls_client_that_it_speaks_none() -> None:
    with serving(Discard()) as (server, _), calling(server.address) as peer:
        assert peer.reply().startswith(b"220 ")
        peer.sock.sendall(client_hello())
        assert peer.rest().startswith(b"554 5.5.1 this is SMTP, and in the clear")


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        certificates().client.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def test_no_tls_to_a_server_that_waits_for_it_times_out() -> None:
    ear = Ear()
    with serving(ear, "tls") as (server, _), pytest.raises(TimedOut, match="GREETING"):
        connect(*server.address, timeouts=0.05)
    assert not ear.hooks


def test_a_client_that_does_not_finish_its_handshake_is_left() -> None:
    with serving(Discard(), "tls", timeouts=0.05) as (server, _), calling(server.address) as peer:
        assert peer.rest() == b""


@pytest.mark.parametrize("lmtp", [False, True])
def test_with_a_context_starttls_is_required_by_default(lmtp: bool) -> None:
    ear = Ear()
    with serving(ear, lmtp=lmtp) as (_, connect_to), pytest.raises(NotOffered, match="STARTTLS"):
        connect_to(context=certificates().client)
    assert ear.hooks == ["hello"]


@pytest.mark.parametrize(
    ("policy", "way", "hooks"),
    [
        ("never", "starttls", ["hello", "mail"]),
        ("opportunistic", "starttls", ["hello", "hello in TLS", "mail in TLS"]),
        ("opportunistic", "tcp", ["hello", "mail"]),
        ("required", "starttls", ["hello", "hello in TLS", "mail in TLS"]),
        ("required", "tls", ["hello in TLS", "mail in TLS"]),
        ("never", "tls", ["hello in TLS", "mail in TLS"]),
    ],
)
def test_the_policy_decides_about_starttls(policy: str, way: str, hooks: list[str]) -> None:
    ear = Ear()
    with serving(ear, way) as (_, connect_to):
        client = connect_to(starttls=policy, context=certificates().client)
        client.send_message(SENDER, [RECIPIENT], MESSAGE)
        client.quit()
    assert ear.hooks == hooks


@pytest.mark.parametrize("policy", ["opportunistic", "required"])
def test_a_refused_starttls_is_an_error_only_where_tls_is_required(policy: Any) -> None:
    heard: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(b"STARTTLS")
        peer.say(b"454 4.7.0 no entropy left")
        heard.append(peer.line())

    with scripted(play) as sock:
        if policy == "required":
            with pytest.raises(Refused, match="StartTLS was refused: 454"):
                connect(sock=sock, starttls=policy)
        else:
            connect(sock=sock, starttls=policy).quit()
    assert heard == [b"" if policy == "required" else b"QUIT\r\n"]


def test_a_server_may_take_mail_in_tls_only() -> None:
    ear = Ear()
    with serving(ear, "starttls", require_tls=True) as (_, connect_to):
        with connect_to(starttls="never") as client:
            (outcome,) = client.send_message(SENDER, [RECIPIENT], MESSAGE).outcomes
            assert outcome.reply is not None
            assert outcome.reply.code == 530
        with connect_to() as client:
            assert client.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted
    assert ear.hooks == ["hello", "hello", "hello in TLS", "mail in TLS"]


@pytest.mark.parametrize("injected", [b"2", b"250 ok\r\n", b"250-mx\r\n250 AUTH PLAIN\r\n"])
def test_an_octet_behind_the_220_is_refused_over_a_real_socket(injected: bytes) -> None:
    heard: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(b"STARTTLS")
        peer.sock.sendall(b"220 go ahead\r\n" + injected)
        heard.append(peer.rest())

    with listening(play) as (host, port), pytest.raises(RemoteProtocolError, match="in the clear"):
        connect(host, port, context=certificates().client)
    assert heard == [b""]  # no handshake, and no word


def test_octets_in_the_clear_that_come_later_break_the_handshake() -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(b"STARTTLS")
        peer.say(b"220 go ahead")
        peer.sock.recv(1)  # the handshake has begun
        peer.say(b"250-mx.example", b"250 AUTH PLAIN")
        peer.rest()

    with listening(play) as (host, port), pytest.raises(ConnectionLost, match="TLS handshake failed"):
        connect(host, port, context=certificates().client)


@pytest.mark.parametrize("injected", [b"N", b"NOOP\r\n", b"MAIL FROM:<a@b.example>\r\n"])
def test_an_octet_behind_starttls_is_refused_over_a_real_socket(injected: bytes) -> None:
    ear = Ear()
    with serving(ear, "starttls") as (server, _), calling(server.address) as peer:
        peer.introduce()
        peer.sock.sendall(b"STARTTLS\r\n" + injected)
        assert peer.rest().startswith(b"554 5.5.1 ")
    assert ear.hooks == ["hello"]


@pytest.mark.parametrize("end", [SocketStream.hang_up, SocketStream.stop_receiving])
def test_whoever_ends_a_stream_in_the_moment_before_a_handshake_stops_it(
    end: Callable[[SocketStream], None],
) -> None:
    class Meddling(Security):
        def check(self) -> ssl.SSLContext:
            end(stream)
            return super().check()

    with scripted(lambda peer: peer.rest()) as sock:
        stream = SocketStream(sock, Meddling(certificates().client, server_hostname="localhost"))
        with pytest.raises(OSError, match=r"closed|Broken pipe") as caught:
            stream.start_tls(SECONDS)
        assert not isinstance(caught.value, TimeoutError)
        stream.close()


def test_a_stream_without_a_context_cannot_start_tls() -> None:
    with scripted(Peer.rest) as sock, pytest.raises(OSError, match="no TLS context"):
        SocketStream(sock).start_tls(None)


# --- Time


def silent_after(*answers: tuple[bytes, ...]) -> Callable[[Peer], None]:
    """A server that answers so many lines, and then listens in silence."""

    def play(peer: Peer) -> None:
        peer.say(GREETING) if answers else None
        for lines in answers[1:]:
            peer.line()
            peer.say(*lines)
        peer.rest()

    return play


OK, GO = (b"250 ok",), (b"354 go",)


@pytest.mark.parametrize(
    ("answers", "timer"),
    [
        ((), Timer.GREETING),
        (((),), Timer.COMMAND),
        (((), HELLO), Timer.MAIL),
        (((), HELLO, OK), Timer.RCPT),
        (((), HELLO, OK, OK), Timer.DATA_INIT),
        (((), HELLO, OK, OK, GO), Timer.DATA_DONE),
    ],
)
def test_a_silent_server_is_left_when_its_time_is_over(answers: Any, timer: Timer) -> None:
    timeouts = dict.fromkeys(Timer, 5.0) | {timer: 0.03}
    with scripted(silent_after(*answers)) as sock, pytest.raises(TimedOut) as caught:
        connect(sock=sock, timeouts=timeouts).send_message(SENDER, [RECIPIENT], MESSAGE)
    assert (caught.value.timer, caught.value.seconds) == (timer, 0.03)
    assert isinstance(caught.value.__cause__, TimeoutError)
    sock.close()


def test_a_server_that_stops_reading_is_left_when_its_time_is_over() -> None:
    def play(peer: Peer) -> None:
        peer.greet()
        peer.hear(*ENVELOPE)
        peer.say(*OK, *OK, *GO)
        stop.wait(10)

    stop = threading.Event()
    with scripted(play) as sock:
        client = connect(sock=sock, timeouts={Timer.DATA_BLOCK: 0.05})
        with pytest.raises(TimedOut) as caught:
            client.send_message(SENDER, [RECIPIENT], b"line\r\n" * 1_000_000)
        client.close()
        stop.set()
    assert caught.value.timer is Timer.DATA_BLOCK


@pytest.mark.parametrize(
    "said", [(), (b"EHLO c", b"MAIL FROM:<a@c.example>", b"RCPT TO:<b@c.example>", b"DATA")]
)
def test_a_silent_client_is_told_so_and_left(said: tuple[bytes, ...]) -> None:
    with serving(Discard(), timeouts=0.05) as (server, _), calling(server.address) as peer:
        peer.say(*said)
        *_, last = peer.rest().splitlines()
        assert last == b"421 4.4.2 mx.example waited for 0.05 seconds"
