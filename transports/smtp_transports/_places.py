"""Where servers are and what clients call themselves: what all adapters need to connect, besides the loop."""

from __future__ import annotations

import socket
from typing import Any

INTERNET = (socket.AF_INET, socket.AF_INET6)


def default_port(*, tls: bool, lmtp: bool) -> int:
    """25; with TLS from the start 465 (RFC 8314 7.3); in LMTP 24, which IANA keeps for private mail systems,
    because RFC 2033 5 forbids 25.
    """
    return 465 if tls else 24 if lmtp else 25


def own_name(sock: Any) -> str:
    """RFC 5321 4.1.4: the host's domain name if it has one, else its address. Asks no name server."""
    name = socket.gethostname()
    if "." in name:
        return name
    if sock.family not in INTERNET:
        return "localhost"
    address = sock.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if sock.family == socket.AF_INET6 else f"[{address}]"


def about(place: str, *errors: Any) -> OSError:
    """An error of the last one's kind that says where they happened."""
    texts = dict.fromkeys(f"{exc.strerror or exc}: {place}" for exc in errors)
    kind, number, text = type(errors[-1]), errors[-1].errno, "; ".join(texts)
    error: OSError = kind(text) if number is None else kind(number, text)
    return error
