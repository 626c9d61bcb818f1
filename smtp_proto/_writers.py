"""Messages to octets. A message is one line by construction; here it only gets its words in order."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from ._addresses import xtext_encode
from ._commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTLS,
    UnknownCommand,
    Vrfy,
)
from ._envelope import Envelope
from ._extension_commands import Burl, Etrn, XClient, XForward
from ._replies import Reply


def _alone(command: type[Command]) -> Callable[[Command], bytes]:
    line = f"{command.verb}\r\n".encode()
    return lambda command: line


def _hello(command: Ehlo | Helo | Lhlo) -> bytes:
    return f"{command.verb} {command.domain}\r\n".encode()


def _question(command: Vrfy | Expn) -> bytes:
    parameter = " SMTPUTF8" if command.smtputf8 else ""
    return f"{command.verb} {command.argument}{parameter}\r\n".encode()


def _argument(command: Help | Noop) -> bytes:
    argument = f" {command.argument}" if command.argument else ""
    return f"{command.verb}{argument}\r\n".encode()


def _unknown(command: UnknownCommand) -> bytes:
    argument = f" {command.argument}" if command.argument else ""
    return f"{command.name}{argument}\r\n".encode()


def _auth(command: Auth) -> bytes:
    line = f"AUTH {command.mechanism}".encode()
    if command.initial_response is None:
        return line + b"\r\n"
    # RFC 4954 4: "=" stands for a response of no octets, which base64 could not show.
    return line + b" " + (b2a_base64(command.initial_response, newline=False) or b"=") + b"\r\n"


def _auth_response(command: AuthResponse) -> bytes:
    return b"*\r\n" if command.data is None else b2a_base64(command.data, newline=False) + b"\r\n"


# The two below run for every message; joining is twice as fast as formatting.
def _mail(command: Mail) -> bytes:
    path = command._reverse_path
    words = ("MAIL FROM:<", path.with_route if path._route else path, ">", command._parameters._text, "\r\n")
    return "".join(words).encode()


def _rcpt(command: Rcpt) -> bytes:
    path = command._forward_path
    words = ("RCPT TO:<", path.with_route if path._route else path, ">", command._parameters._text, "\r\n")
    return "".join(words).encode()


def write_plain_envelope(envelope: Envelope, octets: int) -> bytes:
    """The commands of a plain envelope, as each of them is written; behind one that does not ask for data the
    BDAT of so many octets.
    """
    size = "" if envelope.size is None else f" SIZE={envelope.size}"
    to = ">\r\nRCPT TO:<".join(envelope.recipients)
    message = "DATA" if envelope.asks_for_data else f"BDAT {octets} LAST"
    return f"MAIL FROM:<{envelope.sender}>{size}\r\nRCPT TO:<{to}>\r\n{message}\r\n".encode()


def _bdat(command: Bdat) -> bytes:
    return f"BDAT {command.size} LAST\r\n".encode() if command.last else f"BDAT {command.size}\r\n".encode()


def _burl(command: Burl) -> bytes:
    return f"BURL {command.url}{' LAST' if command.last else ''}\r\n".encode()


def _etrn(command: Etrn) -> bytes:
    return f"ETRN {command.node}\r\n".encode()


def _attributes(command: XClient | XForward) -> bytes:
    words = (f" {name}={xtext_encode(value)}" for name, value in command.attributes.items())
    return f"{command.verb}{''.join(words)}\r\n".encode()


# The line of each command, CRLF included.
WRITERS: dict[type[Command], Callable[[Any], bytes]] = {
    Ehlo: _hello,
    Helo: _hello,
    Lhlo: _hello,
    StartTLS: _alone(StartTLS),
    Auth: _auth,
    AuthResponse: _auth_response,
    Mail: _mail,
    Rcpt: _rcpt,
    Data: _alone(Data),
    Bdat: _bdat,
    Rset: _alone(Rset),
    Vrfy: _question,
    Expn: _question,
    Help: _argument,
    Noop: _argument,
    Quit: _alone(Quit),
    Burl: _burl,
    Etrn: _etrn,
    XClient: _attributes,
    XForward: _attributes,
    UnknownCommand: _unknown,
}


def write_reply(reply: Reply) -> bytes:
    """All lines of a reply; an enhanced code stands on each of them (RFC 2034 4). Kept with the reply:
    servers say the same thing again and again."""
    if reply._octets is None:
        prefix = f"{reply.enhanced} " if reply.enhanced else ""
        *first, last = reply.lines
        lines = [f"{reply.code}-{prefix}{line}\r\n" for line in first]
        lines.append(f"{reply.code} {prefix}{last}\r\n")
        reply._octets = "".join(lines).encode("utf-8", "surrogateescape")
    return reply._octets
