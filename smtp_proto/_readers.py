"""Octets to messages: a client reads replies, a server reads commands.

A reader judges form only. What it cannot read raises `LocalProtocolError`, which carries the code that a
server answers; whether the thing read is allowed now is the business of the state and of the rules.
"""

from __future__ import annotations

from collections.abc import Callable

from . import _grammar
from ._addresses import Path, path_from_match
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
    received_mail,
    received_rcpt,
)
from ._errors import LocalProtocolError
from ._features import NO_PARAMETERS, Parameters, parse_parameters
from ._limits import Limits
from ._receive_buffer import ReceiveBuffer
from ._replies import (
    AuthChallenge,
    Greeting,
    Hello,
    Reply,
    decode_base64,
    received,
    received_line,
)
from ._state import Opening


class ReplyReader:
    """Reads replies, line by line, and remembers the lines of one that is not complete."""

    __slots__ = ("_bare_lf", "_code", "_limits", "_lines", "_octets", "_one_line", "began")

    def __init__(self, limits: Limits, *, bare_lf: bool) -> None:
        self._limits = limits
        self._bare_lf = bare_lf
        self._code = 0
        self._lines: list[str] = []
        self._octets = 0
        self._one_line = min(limits.reply_line, limits.reply_octets)
        self.began = 0  # where in the stream the reply begins

    @property
    def is_inside(self) -> bool:
        """Whether some lines of a reply have come, and others have not."""
        return bool(self._lines)

    def read(self, buffer: ReceiveBuffer, to: Command | None = None) -> Reply | None:
        """The next reply, as an answer to `to`, or None if it is not complete (RFC 5321 4.2.1)."""
        kind = type(to)
        if not self._lines:
            self.began = buffer.taken
            if kind not in _KINDS:
                line = buffer.match_line(_grammar.ONE_LINE_REPLY, self._one_line)
                if line is not None:
                    return received_line(int(line[0]), line[1])  # three digits, by the pattern
        parts = self._read_lines(buffer, kind)
        return None if parts is None else _KINDS.get(kind, received)(*parts)

    def _read_lines(
        self, buffer: ReceiveBuffer, kind: type[Command | None]
    ) -> tuple[int, tuple[str, ...]] | None:
        limits = self._limits
        while (line := buffer.read_line(limits.reply_line, bare_lf=self._bare_lf)) is not None:
            match = _grammar.REPLY_LINE.fullmatch(line)
            if match is None:
                raise LocalProtocolError(f"not a line of a reply (RFC 5321 4.2): {line[:80]!r}")
            digits, separator, text = match.groups(b"")
            code = int(digits)  # three digits, by the pattern
            if self._lines and code != self._code:
                raise LocalProtocolError(f"a reply with both {self._code} and {code}")
            self._code = code
            if b"\0" not in text:
                self._lines.append(text.decode("utf-8", "surrogateescape"))
            elif kind not in (Ehlo, Lhlo) or not self._lines:
                raise LocalProtocolError(f"NUL in a reply: {line[:80]!r}")
            self._octets += len(line) + 2
            if len(self._lines) > limits.reply_lines:
                raise LocalProtocolError(f"a reply of more than {limits.reply_lines} lines")
            if self._octets > limits.reply_octets:
                raise LocalProtocolError(f"a reply of more than {limits.reply_octets} octets")
            if separator != b"-":
                lines = tuple(self._lines)
                self._lines.clear()
                self._octets = 0
                return code, lines
        return None


def _greeting(code: int, lines: tuple[str, ...]) -> Reply:
    return Greeting(lines=lines) if code == 220 else received(code, lines)


def _hello(code: int, lines: tuple[str, ...]) -> Reply:
    return Hello(lines=lines, code=code) if code < 300 else received(code, lines)


def _challenge(code: int, lines: tuple[str, ...]) -> Reply:
    if code != 334:
        return received(code, lines)
    return AuthChallenge(data=decode_base64(lines[0].strip(" ").encode("utf-8", "surrogateescape")))


# The commands whose answers are more than text, and what makes these.
_KINDS: dict[type[Command | None], Callable[[int, tuple[str, ...]], Reply]] = {
    Opening: _greeting,
    Ehlo: _hello,
    Lhlo: _hello,
    Auth: _challenge,
    AuthResponse: _challenge,
}


class Fatal(LocalProtocolError):
    """A fault of the client after which its octets cannot be told from commands any more."""


def weigh(line: bytes, exc: LocalProtocolError) -> LocalProtocolError:
    """What `exc` is on this line: worse, if what follows the line cannot be taken for commands."""
    if _grammar.FOREIGN.fullmatch(line):
        return Fatal("this is SMTP, and in the clear", code=554, enhanced="5.5.1")
    if line[:4].upper() == b"BDAT":  # nobody knows how many octets follow
        return Fatal(str(exc), code=exc.code, enhanced=exc.enhanced)
    return exc


def is_last_in_group(line: bytes) -> bool:
    """Whether nothing may stand behind this line before it is answered: behind a refused DATA it is the
    body, and behind a line with a bare CR or LF another attempt to make us run what is no command."""
    return line[:4].upper() == b"DATA" or b"\r" in line or b"\n" in line


def read_command(line: bytes, limits: Limits) -> Command:
    """The command on this line (without its CRLF). No rule for an argument lets a control character pass."""
    verb, _, argument = line.partition(b" ")
    reader = _READERS.get(verb.upper())
    if reader is not None:
        return reader(argument.strip(b" "), limits)
    if not _grammar.VERB.fullmatch(verb):
        raise LocalProtocolError("not a command", code=500, enhanced="5.5.2")
    return UnknownCommand(name=verb.decode("ascii"), argument=_text(argument.strip(b" ")))


def read_auth_response(line: bytes) -> AuthResponse:
    """The client's line in a SASL exchange (RFC 4954 4)."""
    return AuthResponse(data=None if line == b"*" else decode_base64(line))


def _text(argument: bytes) -> str | None:
    return _grammar.decode(argument, "the argument") if argument else None


def _alone(command: type[Command]) -> Callable[[bytes, Limits], Command]:
    def read(argument: bytes, limits: Limits) -> Command:
        if argument:
            raise LocalProtocolError(f"{command.verb} takes no argument")
        return command()

    return read


def _introduction(command: type[Ehlo | Helo | Lhlo]) -> Callable[[bytes, Limits], Command]:
    return lambda argument, limits: command(domain=_text(argument) or "")


def _word(command: type[Vrfy | Expn]) -> Callable[[bytes, Limits], Command]:
    return lambda argument, limits: command(argument=_text(argument) or "")


def _optional(command: type[Help | Noop]) -> Callable[[bytes, Limits], Command]:
    return lambda argument, limits: command(argument=_text(argument))


def _auth(argument: bytes, limits: Limits) -> Auth:
    mechanism, space, response = argument.partition(b" ")
    if not _grammar.MECHANISM.fullmatch(mechanism):
        raise LocalProtocolError("AUTH needs the name of a mechanism")
    initial = None
    if space:
        initial = b"" if response == b"=" else decode_base64(response)
    return Auth(mechanism=mechanism.decode("ascii"), initial_response=initial)


def _mail(argument: bytes, limits: Limits) -> Mail:
    match = _grammar.MAIL_ARGUMENT.fullmatch(argument)
    if match is None:
        raise LocalProtocolError("expected MAIL FROM:<address>", enhanced="5.1.7")
    return received_mail(path_from_match(match, Path), _parameters("MAIL", match["parameters"], limits))


def _rcpt(argument: bytes, limits: Limits) -> Rcpt:
    match = _grammar.RCPT_ARGUMENT.fullmatch(argument)
    if match is None:
        raise LocalProtocolError("expected RCPT TO:<address>", enhanced="5.1.3")
    return received_rcpt(path_from_match(match, Path), _parameters("RCPT", match["parameters"], limits))


def _parameters(verb: str, octets: bytes | None, limits: Limits) -> Parameters:
    return parse_parameters(verb, octets, limits.parameters) if octets else NO_PARAMETERS


def _bdat(argument: bytes, limits: Limits) -> Bdat:
    match = _grammar.BDAT_ARGUMENT.fullmatch(argument)
    size = _grammar.number(match[1]) if match else None
    if match is None or size is None:
        raise LocalProtocolError("expected BDAT size [LAST] (RFC 3030)")
    return Bdat(size=size, last=match[2] is not None)


_READERS: dict[bytes, Callable[[bytes, Limits], Command]] = {
    b"EHLO": _introduction(Ehlo),
    b"HELO": _introduction(Helo),
    b"LHLO": _introduction(Lhlo),
    b"STARTTLS": _alone(StartTLS),
    b"AUTH": _auth,
    b"MAIL": _mail,
    b"RCPT": _rcpt,
    b"DATA": _alone(Data),
    b"BDAT": _bdat,
    b"RSET": _alone(Rset),
    b"VRFY": _word(Vrfy),
    b"EXPN": _word(Expn),
    b"HELP": _optional(Help),
    b"NOOP": _optional(Noop),
    b"QUIT": _alone(Quit),
}
