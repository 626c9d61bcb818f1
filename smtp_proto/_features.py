"""What a server offers: EHLO keywords as typed `Features`; and the parameters that they allow.

A parameter of MAIL or RCPT is one entry of `PARAMETERS`: its name, the EHLO keyword without which it
may not be used, and how its value becomes Python and text. A name that stands in no entry belongs to
the keyword of the same name, and its value stays text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from . import _addresses, _grammar
from ._errors import LocalProtocolError
from ._limits import DEFAULT_LIMITS
from ._message import FrozenMapping, field

ParameterValue: TypeAlias = Any
"""int, str, a tuple, or True for a parameter without a value: as the entry of `PARAMETERS` says."""


class Features(FrozenMapping[tuple[str, ...]]):
    """The extensions that a server offers: EHLO keyword, in upper case, to its parameters.

        features = Features({"SIZE": ("1000000",), "PIPELINING": (), "AUTH": ("PLAIN", "LOGIN")})
        "PIPELINING" in features        # True
        features.size                   # 1000000

    Keywords that nobody knows are kept as they came. Raises `LocalProtocolError` for a keyword or a
    parameter that would not be one word of an EHLO line (RFC 5321 4.1.1.1).
    """

    __slots__ = ()

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
        return features

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of an EHLO reply that say this, without codes."""
        return tuple(" ".join((keyword, *words)) for keyword, words in self.items())

    @property
    def size(self) -> int | None:
        """The largest message in octets (RFC 1870); None where the server does not tell, or says 0."""
        words = self.get("SIZE", ())
        return (_grammar.number(words[0].encode("ascii")) or None) if words else None

    @property
    def auth(self) -> tuple[str, ...]:
        """The SASL mechanisms (RFC 4954), in upper case, in the server's order."""
        return tuple(dict.fromkeys(word.upper() for word in self.get("AUTH", ())))

    @property
    def limits(self) -> dict[str, int]:
        """The limits of RFC 9422, such as `{"RCPTMAX": 100}`; malformed ones are left out."""
        pairs = (word.upper().partition("=") for word in self.get("LIMITS", ()))
        numbers = ((name, _grammar.number(value.encode("ascii"))) for name, _, value in pairs)
        return {name: value for name, value in numbers if value is not None}


class OriginalRecipient(NamedTuple):
    """The value of ORCPT (RFC 3461 4.2): an address and its type, `rfc822` or `utf-8`."""

    type: str
    address: str


class Parameter(NamedTuple):
    """How one parameter of MAIL or RCPT is read and written."""

    name: str
    verb: str
    """The command to which it belongs: MAIL or RCPT."""
    keyword: str
    """The EHLO keyword that offers it."""
    parse: Callable[[bytes | None], ParameterValue]
    """The octets behind "=", None where there is no "=", to the value."""
    format: Callable[[ParameterValue], str | None]
    """The value to the text behind "="; None for a parameter without a value."""


class Parameters(FrozenMapping[ParameterValue]):
    """The parameters of one MAIL or RCPT: name, in upper case, to its typed value.

    Built from a mapping for the command `verb`; raises `LocalProtocolError` for what cannot be written.
    """

    __slots__ = ("_text", "_verb")

    verb: str = field("_verb")
    text: str = field("_text")
    """How they stand in the command, the blank in front included."""

    def __init__(self, verb: str, given: Mapping[str, ParameterValue]) -> None:
        words = []
        for spelled, value in given.items():
            name = spelled.upper()
            if name in self:
                raise LocalProtocolError(f"parameter {name} given twice")
            entry = PARAMETERS.get((verb, name))
            text, canonical = _write_private(name, value) if entry is None else _write(entry, value)
            words.append(f" {name}" if text is None else f" {name}={text}")
            dict.__setitem__(self, name, canonical)
        self._verb = verb
        self._text = "".join(words)

    @classmethod
    def from_text(cls, verb: str, text: str) -> Parameters:
        """The parameters that `text` spells, such as `"BODY=8BITMIME SMTPUTF8"`, for the command `verb`.

        Raises `LocalProtocolError` for what are none (RFC 5321 4.1.2).
        """
        octets = _grammar.encode(text, "the parameters")
        return parse_parameters(verb, octets, DEFAULT_LIMITS.parameters) if octets else NO_PARAMETERS

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.verb, dict(self))


def _parse_flag(octets: bytes | None) -> bool:
    if octets is not None:
        raise LocalProtocolError("this parameter takes no value")
    return True


def _format_flag(value: ParameterValue) -> None:
    if value is not True:
        raise LocalProtocolError(f"this parameter takes no value, only True: {value!r}")


def _needs_value(octets: bytes | None) -> bytes:
    if not octets:
        raise LocalProtocolError("this parameter needs a value")
    return octets


def _parse_number(octets: bytes | None) -> int:
    value = _grammar.number(_needs_value(octets))
    if value is None:
        raise LocalProtocolError(f"not a number: {octets!r}")
    return value


def _format_text(value: ParameterValue) -> str:
    if not isinstance(value, int | str):
        raise TypeError
    return str(value)


def _one_of(*words: str) -> Callable[[bytes | None], str]:
    def parse(octets: bytes | None) -> str:
        word = _needs_value(octets).upper().decode("ascii", "replace")
        if word not in words:
            raise LocalProtocolError(f"{octets!r} is none of {', '.join(words)}")
        return word

    return parse


def _parse_xtext(octets: bytes | None) -> str:
    return _addresses.xtext_decode(_needs_value(octets))


def _parse_auth(octets: bytes | None) -> str:
    return "" if octets == b"<>" else _parse_xtext(octets)


def _format_auth(value: str) -> str:
    return "<>" if value == "" else _addresses.xtext_encode(value)


_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")


def _parse_notify(octets: bytes | None) -> tuple[str, ...]:
    words = tuple(_needs_value(octets).upper().decode("ascii", "replace").split(","))
    if words != ("NEVER",) and (len(set(words)) < len(words) or not set(words) <= set(_NOTIFY)):
        raise LocalProtocolError(f"neither NEVER nor a list of {', '.join(_NOTIFY)}: {octets!r}")
    return words


def _parse_orcpt(octets: bytes | None) -> OriginalRecipient:
    kind, semicolon, address = _needs_value(octets).partition(b";")
    if not semicolon or not _grammar.ADDRESS_TYPE.fullmatch(kind) or not address:
        raise LocalProtocolError(f"not addr-type ';' xtext (RFC 3461 4.2): {octets!r}")
    name = kind.decode("ascii").lower()
    utf8 = name == "utf-8"
    decode = _addresses.utf8_xtext_decode if utf8 else _addresses.xtext_decode
    return OriginalRecipient(name, decode(address))


def _format_orcpt(value: ParameterValue) -> str:
    kind, address = value
    if not _grammar.ADDRESS_TYPE.fullmatch(kind.encode()):
        raise ValueError
    utf8 = kind.lower() == "utf-8"
    encode = _addresses.utf8_xtext_encode if utf8 else _addresses.xtext_encode
    return f"{kind};{encode(address)}"


PARAMETERS: dict[tuple[str, str], Parameter] = {
    (entry.verb, entry.name): entry
    for entry in (
        Parameter("SIZE", "MAIL", "SIZE", _parse_number, _format_text),  # RFC 1870
        Parameter(
            "BODY", "MAIL", "8BITMIME", _one_of("7BIT", "8BITMIME", "BINARYMIME"), _format_text
        ),  # RFC 6152, 3030
        Parameter("SMTPUTF8", "MAIL", "SMTPUTF8", _parse_flag, _format_flag),  # RFC 6531
        Parameter("REQUIRETLS", "MAIL", "REQUIRETLS", _parse_flag, _format_flag),  # RFC 8689
        Parameter("AUTH", "MAIL", "AUTH", _parse_auth, _format_auth),  # RFC 4954 5
        Parameter("RET", "MAIL", "DSN", _one_of("FULL", "HDRS"), _format_text),  # RFC 3461 4.3
        Parameter("ENVID", "MAIL", "DSN", _parse_xtext, _addresses.xtext_encode),  # RFC 3461 4.4
        Parameter("NOTIFY", "RCPT", "DSN", _parse_notify, ",".join),  # RFC 3461 4.1
        Parameter("ORCPT", "RCPT", "DSN", _parse_orcpt, _format_orcpt),  # RFC 3461 4.2
    )
}


_NAMES = frozenset(name for _, name in PARAMETERS)


def keyword_for(verb: str, name: str, value: ParameterValue) -> str | None:
    """The EHLO keyword that must be offered for this parameter with this value.

    None if there is none: the parameter belongs to the other command.
    """
    if name == "BODY" and value == "BINARYMIME":
        return "BINARYMIME"  # RFC 3030 3: a keyword of its own, a value of BODY
    entry = PARAMETERS.get((verb, name))
    if entry is not None:
        return entry.keyword
    return None if name in _NAMES else name


def parse_parameters(verb: str, octets: bytes, limit: int) -> Parameters:
    """The parameters behind a path. A name that comes twice is an error, whatever its value."""
    words = [word for word in octets.split(b" ") if word]
    if len(words) > limit:
        raise LocalProtocolError(f"more than {limit} parameters")
    parameters = Parameters.__new__(Parameters)
    for word in words:
        match = _grammar.ESMTP_PARAMETER.fullmatch(word)
        if match is None:
            raise LocalProtocolError(f"not a parameter (RFC 5321 4.1.2): {word!r}")
        name = match[1].decode("ascii").upper()
        if name in parameters:
            raise LocalProtocolError(f"parameter {name} given twice")
        entry = PARAMETERS.get((verb, name))
        parse = entry.parse if entry is not None else _parse_text
        dict.__setitem__(parameters, name, parse(match[2]))
    parameters._verb = verb
    parameters._text = " " + " ".join(word.decode("utf-8") for word in words)
    return parameters


def _parse_text(octets: bytes | None) -> str | bool:
    return True if octets is None else _grammar.decode(octets, "the value of a parameter")


def _write(entry: Parameter, value: ParameterValue) -> tuple[str | None, ParameterValue]:
    """The text of a value, and the value as the receiver will see it: who must be able to read it."""
    try:
        text = entry.format(value)
        return text, entry.parse(None if text is None else text.encode("utf-8"))
    except (TypeError, ValueError, AttributeError):
        raise LocalProtocolError(f"a {type(value).__name__} that is no value for {entry.name}") from None


def _write_private(name: str, value: ParameterValue) -> tuple[str | None, ParameterValue]:
    """The same for a parameter that is in no entry: text, or True for none."""
    if value is not True and not isinstance(value, str):
        raise LocalProtocolError(f"a {type(value).__name__} that is no value for {name}")
    word = name if value is True else f"{name}={value}"
    match = _grammar.ESMTP_PARAMETER.fullmatch(_grammar.encode(word, "a parameter"))
    if match is None or match[1] != name.encode():
        raise LocalProtocolError(f"not a parameter (RFC 5321 4.1.2): {word!r}")
    return (None if value is True else value), value


def canonical_parameters(verb: str, given: Mapping[str, ParameterValue]) -> Parameters:
    """`given` as its receiver will see it, or `LocalProtocolError`."""
    return given if isinstance(given, Parameters) and given.verb == verb else Parameters(verb, given)


NO_PARAMETERS = Parameters("", {})
