"""Addresses as the envelope knows them: RFC 5321's Mailbox and Path, never RFC 5322's header syntax.

A `Path` is parsed by one regular expression, quotes included, and keeps its spelling. What it is built
from is an addr-spec and nothing else: no display name, no comment, no list. Two readers that see
different domains in one address are how mail is stolen, so there is only this one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Self, TypeVar

from . import _grammar
from ._errors import LocalProtocolError
from ._message import field

# RFC 5321 4.5.3.1.2: the longest domain, in octets.
_MAX_DOMAIN = 255

_new_str = str.__new__
_plain, _plain_lines = _grammar.PLAIN_MAILBOX, _grammar.PLAIN_MAILBOXES
_QUOTED_PAIR = r"\\(.)"


class Path(str):
    """A reverse-path or forward-path without its angle brackets (RFC 5321 4.1.2).

    It is a `str` of the mailbox as it was spelled: `alice@example.com`, `"a b"@example.com`,
    `postmaster`, or empty for the null reverse-path; a source route is not part of the text. Two
    paths are equal if their texts are.

    Built from an addr-spec, optionally with a source route in front. Raises `LocalProtocolError` for
    anything else: a name, a comment, a blank or `>` outside quotes, a control character, a domain of
    more than 255 octets, an address literal whose numbers are wrong.
    """

    __slots__ = ("_at", "_is_ascii", "_route")

    _at: int  # where the @ stands that ends the local part; -1 if there is no domain
    _route: tuple[str, ...]
    _is_ascii: bool
    route: tuple[str, ...] = field("_route")
    """The hosts of a source route (obsolete, RFC 5321 appendix C); receivers ignore them."""
    is_ascii: bool = field("_is_ascii")
    """Whether it is ASCII, its route included: what needs no SMTPUTF8 (RFC 6531)."""

    def __new__(cls, address: str) -> Self:
        if type(address) is cls:
            return address
        plain = _plain.fullmatch(address)
        if (
            plain is not None and len(address) <= _MAX_DOMAIN
        ):  # what `judged_path` does, without the call: most addresses come this way
            path = _new_str(cls, address)
            path._at = plain.end(1)
            path._route = ()
            path._is_ascii = True
            return path
        octets = _grammar.encode(address, "the address")
        match = _grammar.PATH.fullmatch(octets)
        if match is None:
            raise LocalProtocolError(f"not an address (RFC 5321 4.1.2): {address!r}", code=501)
        return path_from_groups(cls, *match.groups())

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self.with_route),)

    @property
    def domain(self) -> str | None:
        """The domain, or address literal with its brackets; None for `postmaster` and the null path."""
        return None if self._at < 0 else self[self._at + 1 :]

    @property
    def local_part(self) -> str:
        """The local part with its quotes and backslashes taken off; empty for the null path."""
        local = str(self) if self._at < 0 else self[: self._at]
        return re.sub(_QUOTED_PAIR, r"\1", local[1:-1]) if local.startswith('"') else local

    @property
    def with_route(self) -> str:
        """The text with the source route, as it goes on the wire."""
        if not self._route:
            return self
        return ",".join(f"@{host}" for host in self.route) + f":{self}"

    @property
    def is_null(self) -> bool:
        """Whether this is the null reverse-path `<>`, that of bounces (RFC 5321 4.5.5)."""
        return not self


_P = TypeVar("_P", bound=Path)


def path_from_groups(
    cls: type[_P], route: bytes | None, local: bytes, domain: bytes | None, postmaster: bytes | None
) -> _P:
    """A `Path` from the groups of the grammar's path rule."""
    if domain is None:
        return judged_path(cls, (postmaster or b"").decode("ascii"), -1)
    octets = local + b"@" + domain
    if domain[:1] == b"[":
        if not _grammar.is_address_literal(domain):
            raise LocalProtocolError(f"not an address literal (RFC 5321 4.1.3): {domain!r}")
    elif len(domain) > _MAX_DOMAIN:
        raise LocalProtocolError(f"domain of {len(domain)} octets; RFC 5321 allows {_MAX_DOMAIN}")
    if route is None and octets.isascii():
        return judged_path(cls, octets.decode("ascii"), len(local))
    path = judged_path(
        cls, _grammar.decode(octets, "the address"), len(_grammar.decode(local, "the address"))
    )
    if route:
        path._route = tuple(_grammar.decode(route[1:], "the route").split(",@"))
    path._is_ascii = path.with_route.isascii()
    return path


def judged_path(cls: type[_P], text: str, at: int) -> _P:
    """A `Path` whose text has been judged: ASCII, without a route, its "@" at `at`."""
    path = _new_str(cls, text)
    path._at = at
    path._route = ()
    path._is_ascii = True
    return path


def are_plain(addresses: Sequence[str]) -> bool:
    """Whether each of these, at least one, is a `Path` that is ASCII, and has a domain and no route.

    False for some that are: quoted local parts, address literals, and what is longer than a domain may be.
    """
    lines = "\n".join(addresses)
    return (
        (len(lines) <= _MAX_DOMAIN or max(map(len, addresses)) <= _MAX_DOMAIN)
        and lines.count("\n") == len(addresses) - 1
        and _plain_lines.fullmatch(lines) is not None
    )


def xtext_encode(text: str, *, utf8: bool = False) -> str:
    """`text`, printable ASCII or with `utf8` anything printable, as xtext (RFC 3461 4, RFC 4954 8)."""
    if not (utf8 or text.isascii()) or not text.isprintable():
        raise LocalProtocolError(f"this cannot be written as xtext: {text!r}")
    return "".join(c if c.isascii() and c not in "+= " else _hexchars(c) for c in text)


def _hexchars(character: str) -> str:
    return "".join(f"+{octet:02X}" for octet in character.encode("utf-8"))


def xtext_decode(octets: bytes, *, utf8: bool = False) -> str:
    """The text of an xtext, ASCII or with `utf8` UTF-8. One that hides a control character is refused."""
    if not _grammar.XTEXT.fullmatch(octets):
        raise LocalProtocolError(f"not xtext (RFC 3461 4): {octets!r}")
    first, *rest = octets.split(b"+")
    decoded = first + b"".join(bytes.fromhex(part[:2].decode()) + part[2:] for part in rest)
    charset = "UTF-8" if utf8 else "ASCII"
    try:
        decoded.decode(charset)
    except UnicodeDecodeError:
        raise LocalProtocolError(f"xtext that is not {charset}: {octets!r}") from None
    return _grammar.decode(decoded, "an xtext")


_EMBEDDED = rb"\\x\{([0-9A-Fa-f]{2,6})\}"


def utf8_xtext_encode(text: str) -> str:
    """`text` as utf-8-addr-xtext, which is ASCII and fits any server with DSN (RFC 6533 3)."""
    _grammar.encode(text, "the original recipient")
    return "".join(c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):X}}}" for c in text)


def utf8_xtext_decode(octets: bytes) -> str:
    """The text of an utf-8-addr-xtext or utf-8-addr-unitext (RFC 6533 3)."""
    if not _grammar.UTF8_XTEXT.fullmatch(octets):
        raise LocalProtocolError(f"not utf-8-addr-xtext (RFC 6533 3): {octets!r}")

    def embedded(match: re.Match[bytes]) -> bytes:
        point = int(match[1], 16)  # two to six hexadecimal digits, by the pattern
        if 0xD800 <= point <= 0xDFFF:
            raise LocalProtocolError(f"no character: {match[0]!r}")
        return chr(point).encode("utf-8")

    return _grammar.decode(re.sub(_EMBEDDED, embedded, octets), "the original recipient")
