"""Shared by the tests with real sockets: peers that follow a script, certificates, and a check for leaks."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from smtp_transports._client import Client
from smtp_transports._server import Server
from smtp_transports.blocking import connect, serve
from smtp_transports.handlers import Handler

GREETING = b"220 mx.example ESMTP"
HELLO = (b"250-mx.example", b"250-PIPELINING", b"250 STARTTLS")
ENVELOPE = (b"MAIL", b"RCPT", b"DATA")

SENDER, RECIPIENT = "ada@sender.example", "grace@mx.example"
MESSAGE = b"Subject: hello\r\n\r\nHello!\r\n"

# Nothing waits so long unless it hangs.
SECONDS = 10


class Peer:
    """The other end of a connection, by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(SECONDS)

    def say(self, *lines: bytes) -> None:
        """Send lines."""
        self.sock.sendall(b"".join(line + b"\r\n" for line in lines))

    def hear(self, *starts: bytes) -> None:
        """Read a line for each of `starts`, and check how it begins."""
        for start in starts:
            line = self.line()
            assert line.startswith(start), (line, start)

    def line(self) -> bytes:
        """The next line, octet by octet: nothing behind it is read."""
        line = b""
        while not line.endswith(b"\r\n") and (octet := self.sock.recv(1)):
            line += octet
        return line

    def reply(self) -> bytes:
        """The last line of the next reply."""
        while (line := self.line())[3:4] == b"-":
            pass
        return line

    def rest(self) -> bytes:
        """All that comes until the other end closes."""
        octets = bytearray()
        try:
            while data := self.sock.recv(65536):
                octets += data
        except ConnectionResetError:
            pass
        return bytes(octets)

    def greet(self) -> None:
        """What every server's script begins with."""
        self.say(GREETING)
        self.hear(b"EHLO ")
        self.say(*HELLO)

    def introduce(self) -> None:
        """What every client's script begins with."""
        assert self.reply().startswith(b"220 ")
        self.say(b"EHLO client.example")
        assert self.reply().startswith(b"250 ")

    def start_tls(self, context: ssl.SSLContext, **options: object) -> None:
        """The handshake."""
        self.sock = context.wrap_socket(self.sock, **options)  # type: ignore[arg-type]

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


@contextmanager
def scripted(play: Callable[[Peer], object]) -> Iterator[socket.socket]:
    """A socket whose other end follows `play`, in a thread. What goes wrong there is raised at the end."""
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as pool, ours:
        played = pool.submit(_play, play, Peer(theirs))
        yield ours
        ours.close()
        played.result(SECONDS)


@contextmanager
def listening(play: Callable[[Peer], object]) -> Iterator[tuple[str, int]]:
    """As `scripted`, with a real port: its address."""

    def run() -> None:
        sock, _ = listener.accept()
        _play(play, Peer(sock))

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(SECONDS)
        played = pool.submit(run)
        yield listener.getsockname()
        played.result(SECONDS)


def _play(play: Callable[[Peer], object], peer: Peer) -> None:
    try:
        play(peer)
    finally:
        peer.close()


@contextmanager
def calling(address: tuple[str, int] | str) -> Iterator[Peer]:
    """A client by hand, connected to this address."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock:
        sock.connect(address)
        peer = Peer(sock)
        try:
            yield peer
        finally:
            peer.close()


class Certificates:
    """An authority of our own, and a server that it vouches for."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.leaf = self.authority.issue_cert("localhost", "127.0.0.1", "::1")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.leaf.configure_cert(self.server)
        self.client = ssl.create_default_context()
        self.authority.configure_trust(self.client)

    def write(self, folder: Path) -> tuple[str, str]:
        """The paths of the authority's certificate, and of the server's with its key."""
        ca, server = folder / "ca.pem", folder / "server.pem"
        self.authority.cert_pem.write_to_path(ca)
        self.leaf.private_key_and_cert_chain_pem.write_to_path(server)
        return str(ca), str(server)


def self_made(
    *extensions: x509.ExtensionType, subject: Sequence[x509.NameAttribute[Any]] = ()
) -> trustme.LeafCert:
    """A certificate such as no authority makes. Only its own key vouches for it."""
    key, name, day = ec.generate_private_key(ec.SECP256R1()), x509.Name(subject), timedelta(1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC) - day).not_valid_after(datetime.now(UTC) + day)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return trustme.LeafCert(secret, builder.sign(key, SHA256()).public_bytes(Encoding.PEM), [])


@contextmanager
def without_cryptography() -> Iterator[None]:
    """As where the library is not installed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(sys.modules, "cryptography", None)
        yield


certificates = cache(Certificates)
another_authority = cache(Certificates)


def _held() -> tuple[set[threading.Thread], int]:
    folder = "/proc/self/fd"
    return set(threading.enumerate()), len(os.listdir(folder)) if os.path.isdir(folder) else 0


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that no thread and no descriptor is left behind that was not there before."""
    certificates()
    threads, descriptors = _held()
    yield
    deadline = time.monotonic() + SECONDS
    while True:
        threads_now, descriptors_now = _held()
        if (threads_now <= threads and descriptors_now <= descriptors) or time.monotonic() > deadline:
            break
        time.sleep(0.001)  # a thread of another library's pool ends unseen, a moment after it was told to
    assert threads_now <= threads
    assert descriptors_now <= descriptors


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@contextmanager
def serving(
    handler: Handler, way: str = "tcp", *, folder: Path | None = None, **options: Any
) -> Iterator[tuple[Server, Callable[..., Client]]]:
    """A server, and what connects to it in the same way."""
    lmtp = options.get("lmtp", False)
    there: dict[str, Any] = {"lmtp": lmtp, "domain": "client.example"}
    if way == "unix":
        assert folder is not None
        options["unix"] = there["unix"] = folder / "socket"
    elif way == "ipv6":
        if not has_ipv6():
            pytest.skip("no IPv6 here")
        options["host"] = "::1"
    if way in ("tls", "starttls"):
        options |= {"context": certificates().server, "tls": way == "tls"}
        there |= {"context": certificates().client, "tls": way == "tls"}
    with serve(handler, domain="mx.example", **options) as server:
        if way != "unix":
            there |= {"host": server.address[0], "port": server.address[1]}
        yield server, lambda **more: connect(**(there | more))
