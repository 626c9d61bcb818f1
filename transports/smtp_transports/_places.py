"""Where servers are, what clients call themselves, and how a connection of either kind begins: what all
adapters need besides the loop.
"""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

from smtp_proto import ClientConnection, Features, Limits, LineEnds, Refused, ServerConnection
from smtp_proto.ops import StartTLSPolicy

from ._server import Settings
from ._stream import Timeouts
from .auth import AuthSettings

SentLineEnds: TypeAlias = Literal[LineEnds.NORMALIZE, LineEnds.STRICT]
"""What may become of bare CR and LF in a message that is sent."""

INTERNET = (socket.AF_INET, socket.AF_INET6)


class Security(NamedTuple):
    """What a stream needs to start TLS."""

    context: ssl.SSLContext | None
    server_side: bool = False
    server_hostname: str | None = None

    def check(self) -> ssl.SSLContext:
        """The context. Raises `OSError` if there is none."""
        if self.context is None:
            raise OSError("there is no TLS context")
        return self.context


IN_THE_CLEAR = Security(None)

_DEFAULTS = Limits()


def default_port(*, tls: bool, lmtp: bool) -> int:
    """25; with TLS from the start 465 (RFC 8314 7.3); in LMTP 24, which IANA keeps for private mail systems,
    because RFC 2033 5 forbids 25.
    """
    return 465 if tls else 24 if lmtp else 25


def own_name(sock: Any = None) -> str:
    """What a client calls itself (RFC 5321 4.1.4): the host's domain name if it has one, else the address of
    `sock`, its end of the connection. Asks no name server.
    """
    name = socket.gethostname()
    if "." in name:
        return name
    if sock is None or sock.family not in INTERNET:
        return "localhost"
    address = sock.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if sock.family == socket.AF_INET6 else f"[{address}]"


def about(place: str, *errors: Any) -> OSError:
    """An error of the last one's kind that says where they happened."""
    texts = dict.fromkeys(f"{exc.strerror or str(exc) or type(exc).__name__}: {place}" for exc in errors)
    kind, number, text = type(errors[-1]), errors[-1].errno, "; ".join(texts)
    error: OSError = kind(text) if number is None else kind(number, text)
    return error


def introducing(
    tls: bool,
    starttls: StartTLSPolicy | None,
    context: ssl.SSLContext | None,
    lmtp: bool,
    limits: Limits | None,
    line_ends: SentLineEnds,
) -> tuple[ClientConnection, ssl.SSLContext | None, StartTLSPolicy]:
    """The connection of a client, its TLS context, and whether STARTTLS is to be used."""
    policy = starttls or ("required" if context else "never")
    if context is None and (tls or policy != "never"):
        context = ssl.create_default_context()
    conn = ClientConnection(lmtp=lmtp, tls=tls, line_ends=line_ends, limits=limits or _DEFAULTS)
    return conn, context, policy


def leaves_in_good_order(exc: BaseException, conn: ClientConnection, policy: StartTLSPolicy) -> bool:
    """Whether a client whom a server refuses says so before it hangs up (RFC 5321 4.1.1.10). Where TLS is
    due it says nothing in the clear.
    """
    return isinstance(exc, Refused) and (conn.tls or policy != "required")


def accepting(
    tls: bool,
    context: ssl.SSLContext | None,
    require_tls: bool,
    lmtp: bool,
    domain: str | None,
    offer: Features,
    auth: AuthSettings | None,
    max_sessions_per_address: int | None,
    timeouts: Timeouts,
    limits: Limits | None,
    line_ends: LineEnds,
    proxy_protocol: bool,
    clock: Callable[[], float] = time.monotonic,
) -> Settings:
    """What a server is told about its sessions. Raises `ValueError` for TLS without a context."""
    if (tls or require_tls) and context is None:
        raise ValueError("TLS needs a context with the server's certificate")
    bounds = limits or _DEFAULTS
    return Settings(
        lambda: ServerConnection(lmtp=lmtp, tls=tls, line_ends=line_ends, limits=bounds),
        domain=domain or socket.gethostname(),
        offer=offer,
        auth=auth,
        starttls=context is not None,
        require_tls=require_tls,
        max_sessions_per_address=max_sessions_per_address,
        timeouts=timeouts,
        clock=clock,
        proxy_protocol=proxy_protocol,
        tls=tls,
    )
