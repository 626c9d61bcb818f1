"""What a server offers: EHLO keywords as typed `Features`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import _grammar
from ._errors import LocalProtocolError
from ._message import FrozenMapping, field


class Features(FrozenMapping[tuple[str, ...]]):
    """The extensions that a server offers: EHLO keyword, in upper case, to its parameters.

        features = Features({"SIZE": ("1000000",), "PIPELINING": (), "AUTH": ("PLAIN", "LOGIN")})
        "PIPELINING" in features        # True
        features.size                   # 1000000

    Keywords that nobody knows are kept as they came. Raises `LocalProtocolError` for a keyword or a
    parameter that would not be one word of an EHLO line (RFC 5321 4.1.1.1).
    """

    __slots__ = ("_size",)

    size: int | None = field("_size")
    """The largest message in octets (RFC 1870); None where the server does not tell, or says 0."""

    def __init__(self, offered: Mapping[str, Iterable[str]] | None = None) -> None:
        items: dict[str, tuple[str, ...]] = {}
        for keyword, parameters in (offered or {}).items():
            if isinstance(parameters, str):
                raise LocalProtocolError(
                    f"the parameters of {keyword} are words, and not one text: {parameters!r}"
                )
            words = (keyword, *parameters)
            match = _grammar.EHLO_LINE.fullmatch(" ".join(words))
            if match is None or (match[1], *match[3].split()) != words:
                raise LocalProtocolError(f"not an EHLO line (RFC 5321 4.1.1.1): {words!r}")
            items[keyword.upper()] = words[1:]
        super().__init__(items)
        self._read_size()

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Features:
        """What the lines of an EHLO reply offer, all but the first. Lines that are none are skipped.

        Mechanisms of several AUTH lines, and of the old `AUTH=`, come together; of any other
        keyword the last line counts.
        """
        items: dict[str, tuple[str, ...]] = {}
        for line in lines:
            match = _grammar.EHLO_LINE.fullmatch(line)
            if match is None:
                continue
            keyword = match[1].upper()
            words = tuple(match[3].split())
            if match[2] is not None:
                words = (match[2][1:], *words)
            if keyword == "AUTH":
                words = tuple(dict.fromkeys((*items.get("AUTH", ()), *words)))
            items[keyword] = words
        features = cls.__new__(cls)
        dict.update(features, items)
        features._read_size()
        return features

    def _read_size(self) -> None:
        words = self.get("SIZE")
        self._size: int | None = _grammar.first_number(words) or None if words else None

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of an EHLO reply that say this, without codes."""
        return tuple(" ".join((keyword, *words)) for keyword, words in self.items())

    @property
    def auth(self) -> tuple[str, ...]:
        """The SASL mechanisms (RFC 4954), in upper case, in the server's order."""
        return self._names("AUTH")

    @property
    def limits(self) -> dict[str, int]:
        """The limits of RFC 9422, such as `{"RCPTMAX": 100}`. One that is no number is left out; if one is
        malformed, all are (3.7).
        """
        words = self.get("LIMITS")
        if not words:
            return {}
        found = [_grammar.LIMIT.fullmatch(word) for word in words]
        pairs = [match.groups("") for match in found if match]
        if len(pairs) < len(found):
            return {}
        numbers = ((name.upper(), _grammar.limit(value.encode("ascii"))) for name, value in pairs)
        return {name: value for name, value in numbers if value is not None}

    @property
    def deliver_by(self) -> int | None:
        """With how many seconds left, at least, a message may be sent with mode `R` (RFC 2852): 0 where the
        server does not tell; None where it does not offer DELIVERBY.
        """
        words = self.get("DELIVERBY")
        return None if words is None else _grammar.first_number(words) or 0

    @property
    def future_release(self) -> tuple[int, str] | None:
        """For how many seconds, and until which date-time (RFC 3339), the server holds a message back at
        most (RFC 4865 3); None where it does not offer it, or does not tell.
        """
        words = self.get("FUTURERELEASE", ())
        seconds = _grammar.first_number(words)
        if not seconds or len(words) < 2 or _grammar.instant(words[1].encode("ascii")) is None:
            return None
        return seconds, words[1]

    @property
    def mt_priority(self) -> str | None:
        """The profile by which the server understands priorities (RFC 6710), `MIXER` where it does not
        tell; None where it does not offer MT-PRIORITY.
        """
        return (*self._names("MT-PRIORITY"), "MIXER")[0] if "MT-PRIORITY" in self else None

    @property
    def no_soliciting(self) -> tuple[str, ...]:
        """The solicitations that nobody there wants (RFC 3865 2.2), such as `net.example:ADV`."""
        words = ",".join(self.get("NO-SOLICITING", ())).split(",")
        return tuple(word for word in words if word)

    @property
    def burl(self) -> tuple[str, ...]:
        """What URLs the server fetches (RFC 4468 3.3), such as `imap` or `imap://imap.example`."""
        return self.get("BURL", ())

    @property
    def xclient(self) -> tuple[str, ...]:
        """The attributes that XCLIENT may set (Postfix), in upper case."""
        return self._names("XCLIENT")

    @property
    def xforward(self) -> tuple[str, ...]:
        """The attributes that XFORWARD may pass on (Postfix), in upper case."""
        return self._names("XFORWARD")

    def _names(self, keyword: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(word.upper() for word in self.get(keyword, ())))
