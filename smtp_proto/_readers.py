"""Octets to messages: a client reads replies, a server reads commands.

A reader judges form only. What it cannot read raises `LocalProtocolError`, which carries the code that a
server answers; whether the thing read is allowed now is the business of the state and of the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from . import _grammar
from ._addresses import Path, path_from_groups, xtext_decode
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
from ._extension_commands import Burl, Etrn, XClient, XForward
from ._limits import Limits
from ._parameters import NO_PARAMETERS, parse_parameters
from ._receive_buffer import ReceiveBuffer
from ._replies import (
    AuthChallenge,
    Reply,
    decode_base64,
    received,
    received_greeting,
    received_hello,
)
from ._state import Opening

_NOTHING = type(None)  # was asked
_new_reply = Reply.__new__
_one_line = _grammar.ONE_LINE_REPLY.match
_CODES = {b"%d" % code: code for code in range(200, 600)}


class ReplyReader:
    """Reads replies, line by line, and remembers the lines of one that is not complete."""

    __slots__ = ("_bare_lf", "_code", "_is_begun", "_limits", "_lines", "_octets", "_one_line", "began")

    def __init__(self, limits: Limits, *, bare_lf: bool) -> None:
        self._limits = limits
        self._bare_lf = bare_lf
        self._code = 0
        self._lines: list[str] = []
        self._octets = 0
        self._is_begun = False  # what is there was looked at, and will not be again and again
        self._one_line = min(limits.reply_line, limits.reply_octets)
        self.began = 0  # where in the stream the reply begins

    @property
    def is_inside(self) -> bool:
        """Whether some lines of a reply have come, and others have not."""
        return bool(self._lines)

    def read(self, buffer: ReceiveBuffer, kind: type[Command | None] = _NOTHING) -> Reply | None:
        """The next reply, as an answer to such a command, or None if it is not complete (RFC 5321 4.2.1)."""
        if not self._is_begun:
            octets = buffer.octets
            self.began = buffer.end - len(octets)
            match = _one_line(octets)
            if match is not None and (end := match.end()) <= self._one_line:
                digits, text = match.groups()
                del octets[:end]
                if kind in _KINDS:
                    return _KINDS[kind](_CODES[digits], ((text or b"").decode("utf-8", "surrogateescape"),))
                reply = _new_reply(Reply)
                reply._text = text
                reply._code = _CODES[digits]
                reply._lines = reply._to = reply._recipient = reply._octets = None
                return reply
        parts = self._read_at_once(buffer, kind) or self._read_lines(buffer, kind)
        self._is_begun = parts is None and (self.is_inside or buffer.searched > 0)
        return None if parts is None else _KINDS.get(kind, received)(*parts)

    def _read_at_once(
        self, buffer: ReceiveBuffer, kind: type[Command | None]
    ) -> tuple[int, tuple[str, ...]] | None:
        """A reply of several lines, where nothing speaks against it; None if it has to be looked at."""
        octets = buffer.octets
        if self._is_begun:
            return None
        is_kept = kind in _HELLOS and len(octets) <= _SHORT
        end, code, lines = find_lines_again(bytes(octets)) if is_kept else _find_lines(octets)
        if not lines or end > self._one_line or len(lines) > self._limits.reply_lines:
            return None
        del octets[:end]
        return code, lines

    def skip_successes(
        self, buffer: ReceiveBuffer, count: int, asks_for_data: bool, is_verdict_due: bool
    ) -> bool:
        """Drop `count` replies of one line, all 2yz, or the last one 354; whether they were there.

        `is_verdict_due`: another may stand behind them, and stays.
        """
        octets = buffer.octets
        if self._is_begun:
            return False
        match = _grammar.SUCCESSES.match(octets)
        if match is None or (match[1] is not None) is not asks_for_data:
            return False
        end = match.end()
        lines = octets.count(b"\n", 0, end)
        if is_verdict_due and lines == count + 1:
            end = buffer.line_before(end)
        elif lines != count:
            return False
        if end > self._one_line:
            return False
        del octets[:end]
        return True

    def _read_lines(
        self, buffer: ReceiveBuffer, kind: type[Command | None]
    ) -> tuple[int, tuple[str, ...]] | None:
        limits = self._limits
        while (line := buffer.read_line(limits.reply_line, bare_lf=self._bare_lf)) is not None:
            match = _grammar.REPLY_LINE.fullmatch(line)
            if match is None:
                raise LocalProtocolError(f"not a line of a reply (RFC 5321 4.2): {line[:80]!r}")
            digits, separator, text = match.groups(b"")
            code = _CODES[digits]
            if self._lines and code != self._code:
                raise LocalProtocolError(f"a reply with both {self._code} and {code}")
            self._code = code
            if b"\0" not in text:
                self._lines.append(text.decode("utf-8", "surrogateescape"))
            elif kind not in _HELLOS or not self._lines:
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


def _find_lines(octets: bytes | bytearray) -> tuple[int, int, tuple[str, ...]]:
    """Where a reply of several lines ends that stands in front; its code; its lines, none if it is none."""
    match = _grammar.LINES_OF_REPLY.match(octets)
    if match is None:
        return 0, 0, ()
    lines = match[0].decode("utf-8", "surrogateescape")[:-2].split("\r\n")
    return match.end(), _CODES[match[1]], tuple([line[4:] for line in lines])


_HELLOS: frozenset[type[Command | None]] = frozenset((Ehlo, Lhlo))

# A client meets the same servers again and again, whose answers to EHLO are kept: so many, if they are short.
_SHORT = 1024  # octets
find_lines_again = lru_cache(64)(_find_lines)


def _greeting(code: int, lines: tuple[str, ...]) -> Reply:
    return received_greeting(lines) if code == 220 else received(code, lines)


def _hello(code: int, lines: tuple[str, ...]) -> Reply:
    return received_hello(code, lines) if code < 300 else received(code, lines)


def _challenge(code: int, lines: tuple[str, ...]) -> Reply:
    if code != 334:
        return received(code, lines)
    try:
        return AuthChallenge(data=decode_base64(lines[0].strip(" ").encode("utf-8", "surrogateescape")))
    except LocalProtocolError:  # RFC 4954 4: the client cancels what it cannot read
        return received(code, lines)


# The commands whose answers are more than text, and what makes these.
_KINDS: dict[type[Command | None], Callable[[int, tuple[str, ...]], Reply]] = {
    Opening: _greeting,
    Ehlo: _hello,
    Lhlo: _hello,
    Auth: _challenge,
    AuthResponse: _challenge,
    XClient: _greeting,
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
    envelope = _grammar.ENVELOPE.fullmatch(line)
    if envelope is not None:
        return _envelope(envelope, limits)
    verb, _, argument = line.partition(b" ")
    reader = _READERS.get(verb.upper())
    if reader is not None:
        return reader(argument.strip(b" "), limits)
    if not _grammar.VERB.fullmatch(verb):
        raise LocalProtocolError("not a command", code=500, enhanced="5.5.2")
    return UnknownCommand(name=verb.decode("ascii"), argument=_text(argument.strip(b" ")))


def _envelope(match: re.Match[bytes], limits: Limits) -> Mail | Rcpt:
    mail, route, local, domain, postmaster, octets = match.groups()
    path = path_from_groups(Path, route, local, domain, postmaster)
    parameters = NO_PARAMETERS
    if octets:
        parameters = parse_parameters("MAIL" if mail else "RCPT", octets, limits.parameters)
    if domain is None and (path if mail else not path):
        raise _no_envelope("MAIL" if mail else "RCPT")
    return received_mail(path, parameters) if mail else received_rcpt(path, parameters)


def _misspelled(verb: str) -> Callable[[bytes, Limits], Command]:
    def read(argument: bytes, limits: Limits) -> Command:
        raise _no_envelope(verb)

    return read


def _no_envelope(verb: str) -> LocalProtocolError:
    if verb == "MAIL":
        return LocalProtocolError("expected MAIL FROM:<address>", enhanced="5.1.7")
    return LocalProtocolError("expected RCPT TO:<address>", enhanced="5.1.3")


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


def _question(command: type[Vrfy | Expn]) -> Callable[[bytes, Limits], Command]:
    def read(argument: bytes, limits: Limits) -> Command:
        smtputf8 = argument[-9:].upper() == b" SMTPUTF8"
        words = argument[:-9].strip(b" ") if smtputf8 else argument
        return command(argument=_text(words) or "", smtputf8=smtputf8)

    return read


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


def _bdat(argument: bytes, limits: Limits) -> Bdat:
    match = _grammar.BDAT_ARGUMENT.fullmatch(argument)
    size = _grammar.number(match[1]) if match else None
    if match is None or size is None:
        raise LocalProtocolError("expected BDAT size [LAST] (RFC 3030)")
    return Bdat(size=size, last=match[2] is not None)


def _burl(argument: bytes, limits: Limits) -> Burl:
    match = _grammar.BURL_ARGUMENT.fullmatch(argument)
    if match is None:
        raise LocalProtocolError("expected BURL URL [LAST] (RFC 4468)")
    return Burl(url=match[1].decode("ascii"), last=match[2] is not None)


def _etrn(argument: bytes, limits: Limits) -> Etrn:
    if not argument:  # RFC 1985 7
        raise LocalProtocolError("ETRN needs a node", code=500, enhanced="5.5.2")
    return Etrn(node=_text(argument) or "")


def _attributes(command: type[XClient | XForward]) -> Callable[[bytes, Limits], Command]:
    def read(argument: bytes, limits: Limits) -> Command:
        words = [word for word in argument.split(b" ") if word]
        if len(words) > limits.parameters:
            raise LocalProtocolError(f"more than {limits.parameters} attributes")
        attributes: dict[str, str] = {}
        for word in words:
            match = _grammar.ATTRIBUTE.fullmatch(word)
            name = match[1].decode("ascii").upper() if match else ""
            if match is None or name in attributes:
                raise LocalProtocolError(f"not an attribute, or given twice: {word!r}")
            attributes[name] = xtext_decode(match[2])
        return command(attributes=attributes)

    return read


_READERS: dict[bytes, Callable[[bytes, Limits], Command]] = {
    b"EHLO": _introduction(Ehlo),
    b"HELO": _introduction(Helo),
    b"LHLO": _introduction(Lhlo),
    b"STARTTLS": _alone(StartTLS),
    b"AUTH": _auth,
    b"MAIL": _misspelled("MAIL"),
    b"RCPT": _misspelled("RCPT"),
    b"DATA": _alone(Data),
    b"BDAT": _bdat,
    b"RSET": _alone(Rset),
    b"VRFY": _question(Vrfy),
    b"EXPN": _question(Expn),
    b"HELP": _optional(Help),
    b"NOOP": _optional(Noop),
    b"QUIT": _alone(Quit),
    b"BURL": _burl,
    b"ETRN": _etrn,
    b"XCLIENT": _attributes(XClient),
    b"XFORWARD": _attributes(XForward),
}
