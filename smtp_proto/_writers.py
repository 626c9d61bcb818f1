"""Messages to octets. A message is one line by construction; here it only gets its words in order."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

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
from ._replies import Reply


def _verb(command: Command) -> str:
    return command.verb


def _hello(command: Ehlo | Helo | Lhlo) -> str:
    return f"{command.verb} {command.domain}"


def _argument(command: Vrfy | Expn | Help | Noop) -> str:
    return f"{command.verb} {command.argument}" if command.argument else command.verb


def _unknown(command: UnknownCommand) -> str:
    return f"{command.name} {command.argument}" if command.argument else command.name


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def _auth(command: Auth) -> str:
    if command.initial_response is None:
        return f"AUTH {command.mechanism}"
    # RFC 4954 4: "=" stands for a response of no octets, which base64 could not show.
    return f"AUTH {command.mechanism} {_base64(command.initial_response) or '='}"


def _auth_response(command: AuthResponse) -> str:
    return "*" if command.data is None else _base64(command.data)


def _mail(command: Mail) -> str:
    return f"MAIL FROM:<{command.reverse_path.with_route}>{command.parameters.text}"


def _rcpt(command: Rcpt) -> str:
    return f"RCPT TO:<{command.forward_path.with_route}>{command.parameters.text}"


def _bdat(command: Bdat) -> str:
    return f"BDAT {command.size} LAST" if command.last else f"BDAT {command.size}"


_WRITERS: dict[type[Command], Callable[[Any], str]] = {
    Ehlo: _hello,
    Helo: _hello,
    Lhlo: _hello,
    StartTLS: _verb,
    Auth: _auth,
    AuthResponse: _auth_response,
    Mail: _mail,
    Rcpt: _rcpt,
    Data: _verb,
    Bdat: _bdat,
    Rset: _verb,
    Vrfy: _argument,
    Expn: _argument,
    Help: _argument,
    Noop: _argument,
    Quit: _verb,
    UnknownCommand: _unknown,
}


def write_command(command: Command) -> bytes:
    """The command's line, CRLF included."""
    return f"{_WRITERS[type(command)](command)}\r\n".encode()


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
