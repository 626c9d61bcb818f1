"""What a server says: a three-digit code, lines of text, and maybe an enhanced status code.

The first digit decides what a reply means (RFC 5321 4.3.2). Three kinds carry more than text and have
classes of their own: the greeting, the answer to EHLO or LHLO, and the challenge of a SASL exchange.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from . import _grammar
from ._addresses import Path
from ._errors import LocalProtocolError
from ._features import Features
from ._message import Message, field

if TYPE_CHECKING:
    from ._commands import Command


class NamedMailbox(NamedTuple):
    """Somebody, as the answer to VRFY or EXPN names them."""

    name: str
    """The user's name, and whatever else stands in front; may be empty."""
    path: Path
    """The mailbox."""


class Reply(Message):
    """A reply: `Reply(code=550, text="5.1.1 no such user")`, or with `lines` for several lines.

    `code`: 200 to 599. `text`: the only line, without code. `lines`: the texts of several lines.
    `enhanced`: the enhanced status code (RFC 2034 3, RFC 3463) as text, such as `5.1.1`: given apart, or
    taken off the text where one stands in front. It must be of the code's class, so a 3yz has none.

    Undecodable octets of a received text are lone surrogates, as with `surrogateescape`; control
    characters other than CR, LF and NUL are kept: escape before you log.

    Raises `LocalProtocolError` for a code out of range, CR, LF or NUL in a text, or an enhanced code
    that is none.
    """

    __slots__ = ("_code", "_enhanced", "_lines", "_octets", "_recipient", "_text", "_to")
    _fields: ClassVar[tuple[str, ...]] = ("code", "lines", "enhanced")

    code: int = field("_code")
    to: "Command | None" = field("_to")
    """The command that this answers; None for the opening of the connection and for a reply that
    nobody asked for. Set on receipt, and no part of the value."""
    recipient: Path | None = field("_recipient")
    """In LMTP, the recipient for whom this is the verdict (RFC 2033 4.2). No part of the value."""

    def __init__(
        self,
        *,
        code: int,
        text: str = "",
        lines: Sequence[str] | None = None,
        enhanced: str | None = None,
    ) -> None:
        if not 200 <= code <= 599:
            raise LocalProtocolError("a reply code is 200 to 599 (RFC 5321 4.2)")
        if lines is not None and (text or not lines):
            raise LocalProtocolError("give text, or a sequence of at least one line")
        texts = _texts(lines or (text,))
        if enhanced is None:
            enhanced, texts = split_enhanced(code, texts)
        elif find_enhanced(code, enhanced) != enhanced:
            raise LocalProtocolError(f"not an enhanced status code for {code}: {enhanced!r}")
        self._fill(code, texts, enhanced)

    def _fill(self, code: int, lines: tuple[str, ...] | None, enhanced: str | None) -> None:
        self._code = code
        self._lines = lines  # None: not read yet, and the enhanced code neither
        self._enhanced = enhanced
        self._text: bytes | None = None  # as received, lines joined with line feeds
        self._to: Command | None = None
        self._recipient: Path | None = None
        self._octets: bytes | None = None  # as sent, once it was

    @property
    def lines(self) -> tuple[str, ...]:
        """The texts of the lines, without codes."""
        if self._lines is None:
            text = (self._text or b"").decode("utf-8", "surrogateescape")
            self._enhanced, self._lines = split_enhanced(self._code, tuple(text.split("\n")))
        return self._lines

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code, such as "5.1.1" (RFC 3463)."""
        return self._enhanced if self.lines else None

    @property
    def text(self) -> str:
        """All lines, joined with line feeds."""
        return "\n".join(self.lines)

    @property
    def raw_text(self) -> bytes:
        """All lines as octets, joined with line feeds, enhanced codes included: of a received reply as they
        came, of one that was built here as they are sent."""
        if self._text is None:
            prefix = f"{self.enhanced} " if self.enhanced else ""
            text = "\n".join(prefix + line for line in self.lines)
            return text.encode("utf-8", "surrogateescape")
        return self._text

    @property
    def mailboxes(self) -> tuple[NamedMailbox, ...]:
        """Who is named in the answer to VRFY or EXPN, or to RCPT by 251 and 551: one in a line, as `User name
        <mailbox>` or as the mailbox alone (RFC 5321 3.5.1). Lines that name nobody are left out.
        """
        found = []
        for line in self.lines:
            match = _grammar.NAMED_MAILBOX.fullmatch(line)
            name, address = match.groups() if match else ("", line)
            try:
                path = Path(address.strip(" "))
            except LocalProtocolError:
                continue
            if path.domain is not None or match:
                found.append(NamedMailbox(name.strip(" "), path))
        return tuple(found)

    @property
    def is_positive(self) -> bool:
        """2yz: the server did it."""
        return self.code < 300

    @property
    def is_transient(self) -> bool:
        """4yz: the same may work later (RFC 5321 4.2.1)."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: the same will not work later."""
        return self.code >= 500

    def __str__(self) -> str:
        words = (str(self.code), self.enhanced or "", " / ".join(self.lines))
        return " ".join(word for word in words if word)


def _texts(lines: Sequence[str]) -> tuple[str, ...]:
    if isinstance(lines, str):
        raise LocalProtocolError(f"a sequence of lines, and not one text: {lines!r}")
    return tuple(_grammar.one_line(line, "a reply") for line in lines)


def find_enhanced(code: int, line: str) -> str | None:
    """The enhanced status code with which `line` begins, if it fits `code` (RFC 2034 4)."""
    match = _grammar.ENHANCED_CODE.match(line)
    return match[0] if match and match[0][0] == str(code)[0] else None


def split_enhanced(code: int, lines: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The enhanced code of a reply, and its lines without it.

    It should stand on every line. Where lines differ the first one counts; some servers (Cyrus) put
    it on the last line only.
    """
    enhanced = find_enhanced(code, lines[0]) or find_enhanced(code, lines[-1])
    if enhanced is None:
        return None, lines
    width = len(enhanced)
    return enhanced, tuple(
        line[width + 1 :] if find_enhanced(code, line) == enhanced else line for line in lines
    )


class Greeting(Reply):
    """220, which opens the session (RFC 5321 4.2).

    `domain`: the server's name. `text`: what stands behind it. `lines`: all lines as they are, instead of
    these two. `code`: 220; every other opening is a plain `Reply`.
    """

    __slots__ = ()
    _fields = ("code", "lines")

    def __init__(
        self,
        *,
        domain: str = "",
        text: str = "",
        lines: Sequence[str] | None = None,
        code: int = 220,
    ) -> None:
        if code != 220 or (lines is not None and (domain or text)):
            raise LocalProtocolError("a greeting is 220, and has a domain and a text, or lines")
        texts = _texts(lines or (f"{domain} {text}".rstrip(" "),))
        self._fill(220, texts, None)

    @property
    def domain(self) -> str:
        """The first word: the name by which the server calls itself, if it follows the RFC."""
        return self.lines[0].partition(" ")[0]


class Hello(Reply):
    """The positive answer to EHLO or LHLO: the server's name, and what it offers (RFC 5321 4.1.1.1).

    `domain`, `text`: the words of the first line. `features`: what is offered. `lines`: all lines as they
    are, instead of these three. `code`: 250, or another 2yz.

    Raises `LocalProtocolError` for both at once, and for another code.
    """

    __slots__ = ("_features",)
    _fields = ("code", "lines")

    features: Features = field("_features")

    def __init__(
        self,
        *,
        domain: str = "",
        text: str = "",
        features: Features | None = None,
        lines: Sequence[str] | None = None,
        code: int = 250,
    ) -> None:
        if not 200 <= code <= 299 or (lines is not None and (domain or text or features)):
            raise LocalProtocolError("a Hello is 2yz, and has domain, text and features, or lines")
        if not lines:
            features = features or Features()
            lines = (f"{domain} {text}".rstrip(" "), *features.lines)
        texts = _texts(lines)
        self._fill(code, texts, None)
        self._features = features or Features.from_lines(texts[1:])

    @property
    def domain(self) -> str:
        """The first word of the first line."""
        return self.lines[0].partition(" ")[0]


class AuthChallenge(Reply):
    """334: the server's next word in a SASL exchange (RFC 4954 4). `data`: its octets before base64."""

    __slots__ = ("_data",)
    _fields = _secret = ("data",)

    data: bytes = field("_data")

    def __init__(self, *, data: bytes) -> None:
        text = b2a_base64(data, newline=False).decode("ascii")
        self._fill(334, (text,), None)
        self._data = data

    def __str__(self) -> str:
        return "334 <hidden>"


class Successes(Message):
    """All commands of a group were answered, and well: 2yz, and 354 to DATA (RFC 2920 3.1)."""

    __slots__ = ("_to",)
    _fields = ("to",)

    to: "Sequence[Command]" = field("_to")
    """The commands that were answered."""

    def __init__(self, *, to: "Sequence[Command]") -> None:
        self._to = to


_new_successes = Successes.__new__


def successes_to(commands: "Sequence[Command]") -> Successes:
    """`Successes(to=commands)`."""
    successes = _new_successes(Successes)
    successes._to = commands
    return successes


def decode_base64(octets: bytes) -> bytes:
    """Base64 as SASL has it: nothing but the alphabet, correctly padded (RFC 4954 4)."""
    if not _grammar.BASE64.fullmatch(octets):
        raise LocalProtocolError("not base64 (RFC 4954 4)", enhanced="5.5.2")
    return a2b_base64(octets)


def received(code: int, lines: tuple[str, ...]) -> Reply:
    """A reply from the wire, whose lines the reader has judged already."""
    reply = Reply.__new__(Reply)
    reply._fill(code, None, None)
    reply._text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return reply


def received_greeting(lines: tuple[str, ...]) -> Greeting:
    """The same of a greeting."""
    greeting = Greeting.__new__(Greeting)
    greeting._fill(220, lines, None)
    return greeting


def received_hello(code: int, lines: tuple[str, ...]) -> Hello:
    """The same of the positive answer to EHLO or LHLO."""
    hello = Hello.__new__(Hello)
    hello._fill(code, lines, None)
    is_short = sum(map(len, lines)) <= _SHORT
    hello._features = offered_again(lines) if is_short else _offered(lines)
    return hello


def _offered(lines: tuple[str, ...]) -> Features:
    return Features.from_lines(lines[1:])


# A client meets the same servers again and again. What they offer is kept: so many short answers.
_SHORT = 1024  # characters
offered_again = lru_cache(64)(_offered)
