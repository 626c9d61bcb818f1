"""Where the command line connects to, and how it is told."""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

from ._opening import connected
from ._places import Security, default_port
from ._sockets import SocketStream


class Place(NamedTuple):
    """A server, and how it is spoken to."""

    host: str
    port: int
    unix: str | None
    lmtp: bool
    tls: bool
    """TLS from the start."""
    context: ssl.SSLContext

    def __str__(self) -> str:
        return shown((self.host, self.port)) if self.unix is None else self.unix

    @property
    def protocol(self) -> str:
        """What is spoken there."""
        return "LMTP" if self.lmtp else "SMTP"

    def open(self, seconds: float, context: ssl.SSLContext | None = None) -> SocketStream:
        """Connect; TLS is not begun yet. `context`: instead of this one. Raises `OSError`."""
        sock = connected(socket, self.host, self.port, self.unix, seconds)
        return SocketStream(sock, Security(context or self.context, server_hostname=self.host))


def add_place(parser: argparse.ArgumentParser, starttls: str) -> argparse._MutuallyExclusiveGroup:
    """The arguments of who asks a server, most of them for `place_of`; the group of those that say when TLS
    begins. `starttls`: what that option does.
    """
    parser.add_argument(
        "server", nargs="?", metavar="HOST[:PORT]", help="port: 25, 465 with --tls, 24 in LMTP"
    )
    parser.add_argument(
        "--unix", metavar="PATH", help="connect to this Unix socket; HOST is who it should be"
    )
    parser.add_argument("--lmtp", action="store_true", help="speak LMTP")
    security = parser.add_mutually_exclusive_group()
    security.add_argument("--tls", action="store_true", help="TLS from the start")
    security.add_argument("--starttls", action="store_true", help=starttls)
    parser.add_argument("--ca-file", metavar="FILE", help="trust these certificates, not the system's")
    parser.add_argument("--domain", metavar="NAME", help="introduce this client as NAME")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return security


def place_of(options: argparse.Namespace) -> Place:
    """The server that is meant. Raises `ValueError` if none is, and `OSError` for a file of no use."""
    if options.server is None and options.unix is None:
        raise ValueError("HOST[:PORT] or --unix PATH says which server")
    host, port = host_and_port(options.server or "localhost")
    if not host:
        raise ValueError(f"not a host: {options.server!r}")
    with about_file(options.ca_file or ""):
        context = ssl.create_default_context(cafile=options.ca_file)
    port = port or default_port(tls=options.tls, lmtp=options.lmtp)
    return Place(host, port, options.unix, options.lmtp, options.tls, context)


def host_and_port(server: str) -> tuple[str, int | None]:
    """Take "host", "host:25", "[::1]:25" or "::1" apart."""
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return server.strip("[]"), None
    return host.strip("[]"), port_number(port)


def port_number(text: str) -> int:
    """Raises `ValueError` if it is none."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(f"not a port: {text!r}")
    return int(text)


def check_seconds(option: str, seconds: float | None) -> None:
    """Raises `ValueError` for what is no time to wait."""
    if seconds is not None and not 0 < seconds <= 86400:
        raise ValueError(f"{option} takes seconds, more than 0 and no more than a day's")


@contextlib.contextmanager
def about_file(path: str) -> Iterator[None]:
    """Name the file that OpenSSL is silent about."""
    try:
        yield
    except OSError as exc:
        raise OSError(f"{path}: {exc.strerror or exc}") from exc


def shown(address: Any) -> str:
    """A socket's address, so that it can be used again."""
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
