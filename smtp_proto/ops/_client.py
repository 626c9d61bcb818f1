"""What a client does besides sending mail: each a short generator."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

from .._client_connection import ClientConnection
from .._commands import Command, Ehlo, Expn, Helo, Help, Lhlo, Noop, Quit, Rset, StartTLS, Vrfy
from .._errors import ConnectionLost, NotOffered, Refused, RemoteProtocolError
from .._extension_commands import Etrn, XClient, XForward
from .._replies import Greeting, Reply
from ._wants import Op, Want

StartTLSPolicy: TypeAlias = Literal["required", "opportunistic", "never"]
"""`required`: without TLS nothing more is said. `opportunistic`: TLS where it is offered, which protects
from nobody who can change octets on the way. `never`: STARTTLS is not used."""

# RFC 5321 4.1.1.1, 4.1.4: the answers of a server that does not know EHLO. Others mean what they say.
_NO_EHLO = (500, 501, 502, 504)

_EVENT = Want.EVENT  # an Enum member is slow to look up before Python 3.12


def reply_to(conn: ClientConnection, command: Command) -> Op[Reply]:
    """Say `command`; its reply, good or bad."""
    conn.send(command)
    reply: Reply = yield _EVENT
    return reply


def success_of(conn: ClientConnection, command: Command) -> Op[Reply]:
    """Say `command`; its reply if that is 2yz. Raises `Refused` for any other."""
    reply = yield from reply_to(conn, command)
    if not reply.is_positive:
        raise Refused(reply)
    return reply


def greet(conn: ClientConnection) -> Op[Greeting]:
    """Wait for the greeting (RFC 5321 3.1). Raises `Refused` if it is not 220."""
    reply = yield _EVENT
    if not isinstance(reply, Greeting):
        raise Refused(reply)
    return reply


def hello(
    conn: ClientConnection,
    domain: str,
    *,
    starttls: StartTLSPolicy = "never",
    needs_esmtp: bool = False,
) -> Op[Reply]:
    """Introduce the client as `domain`, with TLS by policy; the server's last answer.

    EHLO (in LMTP: LHLO); STARTTLS and EHLO again; HELO where EHLO is unknown, unless TLS or, as
    `needs_esmtp` says, AUTH or another extension is needed (RFC 5321 3.2). `starttls`: `required`: nothing
    goes on without TLS; `opportunistic`: TLS where it is offered; `never`. Raises `NotOffered` if TLS is
    required and not offered, `Refused` if the server refuses.
    """
    wants_tls = starttls == "required" and not conn.tls
    reply = yield from _introduce(conn, domain, fall_back=not (needs_esmtp or wants_tls))
    if conn.tls or starttls == "never":
        return reply
    if "STARTTLS" not in conn.features:
        if wants_tls:
            raise NotOffered("STARTTLS", "TLS is required")
        return reply
    try:
        yield from start_tls(conn)
    except Refused:
        if wants_tls or not conn.is_usable:
            raise
        return reply
    return (yield from _introduce(conn, domain, fall_back=not needs_esmtp))


def _introduce(conn: ClientConnection, domain: str, *, fall_back: bool) -> Op[Reply]:
    if conn.lmtp:
        return (yield from success_of(conn, Lhlo(domain=domain)))
    try:
        return (yield from success_of(conn, _ehlo(domain)))
    except Refused as exc:
        if not fall_back or exc.reply.code not in _NO_EHLO:
            raise
    return (yield from success_of(conn, Helo(domain=domain)))


@lru_cache(16)
def _ehlo(domain: str) -> Ehlo:
    """A program calls itself the same with every connection."""
    return Ehlo(domain=domain)


def start_tls(conn: ClientConnection) -> Op[None]:
    """STARTTLS and the handshake (RFC 3207). Say EHLO next. Raises `Refused` unless answered 220."""
    reply = yield from reply_to(conn, StartTLS())
    if reply.code != 220:
        raise Refused(reply)
    conn.next_event()  # raises if anything stands behind the 220
    yield Want.TLS
    conn.tls_started()


def verify(conn: ClientConnection, argument: str) -> Op[Reply]:
    """VRFY; its reply, good or bad (RFC 5321 3.5). See `Reply.mailboxes`."""
    return (yield from reply_to(conn, Vrfy(argument=argument, smtputf8=not argument.isascii())))


def expand(conn: ClientConnection, argument: str) -> Op[Reply]:
    """EXPN; its reply, good or bad (RFC 5321 3.5). See `Reply.mailboxes`."""
    return (yield from reply_to(conn, Expn(argument=argument, smtputf8=not argument.isascii())))


def etrn(conn: ClientConnection, node: str) -> Op[Reply]:
    """ETRN: asks the server to send what waits for `node`; its reply, good or bad (RFC 1985)."""
    return (yield from reply_to(conn, Etrn(node=node)))


def xclient(conn: ClientConnection, domain: str, attributes: Mapping[str, str]) -> Op[Reply]:
    """XCLIENT: takes the place of another client, and introduces it as `domain`; the server's last answer.

    Raises `LocalProtocolError` for an attribute that the server does not take, `Refused` if it refuses.
    """
    reply = yield from reply_to(conn, XClient(attributes=attributes))
    if not isinstance(reply, Greeting):
        raise Refused(reply)
    return (yield from hello(conn, domain))


def xforward(conn: ClientConnection, attributes: Mapping[str, str]) -> Op[Reply]:
    """XFORWARD: tells of the client from which the next message comes, for the server's log. Raises
    `LocalProtocolError` for an attribute that the server does not take, `Refused` if it refuses.
    """
    return (yield from success_of(conn, XForward(attributes=attributes)))


def help(conn: ClientConnection, topic: str | None = None) -> Op[Reply]:
    """HELP; its reply, good or bad (RFC 5321 4.1.1.8)."""
    return (yield from reply_to(conn, Help(argument=topic)))


def noop(conn: ClientConnection) -> Op[Reply]:
    """NOOP; its reply, good or bad (RFC 5321 4.1.1.9)."""
    return (yield from reply_to(conn, Noop()))


def reset(conn: ClientConnection) -> Op[Reply]:
    """RSET. Raises `Refused` if the server will not (RFC 5321 4.1.1.5)."""
    return (yield from success_of(conn, Rset()))


def quit(conn: ClientConnection, *, wait: bool = True) -> Op[Reply | None]:
    """QUIT; its reply, or None from a server that just closes or has closed, and without `wait` (RFC 5321
    4.1.1.10: it should be waited for, but nothing depends on it).
    """
    if not conn.is_usable:
        return None
    conn.send(Quit())
    if not wait:
        return None
    try:
        reply: Reply = yield _EVENT
    except (RemoteProtocolError, ConnectionLost):
        return None
    return reply
