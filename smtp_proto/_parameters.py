"""The parameters of one MAIL or RCPT, as the entries of `PARAMETERS` read and write them.

A name that stands in no entry belongs to the keyword of the same name, and its value stays text;
`register_parameter` adds an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _grammar
from ._errors import LocalProtocolError
from ._limits import DEFAULT_LIMITS
from ._message import FrozenMapping, field
from ._parameter_table import PARAMETERS, Parameter, ParameterValue, parse_number

# What Python raises of a value that it did not expect.
_NO_VALUE = (ValueError, TypeError, AttributeError, LookupError)


class Parameters(FrozenMapping[ParameterValue]):
    """The parameters of one MAIL or RCPT: name, in upper case, to its typed value.

    `verb`: the command, MAIL or RCPT. `given`: names to values. Raises `LocalProtocolError` for what cannot
    be written, or is given twice.
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


def register_parameter(parameter: Parameter) -> None:
    """Teach this process the `parameter`, which it does not know, for both roles.

        register_parameter(Parameter("XCOST", "MAIL", "XBILLING", lambda octets: int(octets or b""), str))

    Raises `LocalProtocolError` if name or keyword is none, or not in upper case, or the name is known.
    """
    name, verb = parameter.name, parameter.verb
    for word in (name, parameter.keyword):
        if _check_word(word) is not None or word != word.upper() or verb not in ("MAIL", "RCPT"):
            raise LocalProtocolError(f"not the name of a parameter of MAIL or RCPT: {verb} {word!r}")
    if (verb, name) in PARAMETERS:
        raise LocalProtocolError(f"parameter {name} of {verb} is known already")
    PARAMETERS[verb, name] = parameter


_OTHER = {"MAIL": "RCPT", "RCPT": "MAIL"}


def keyword_for(verb: str, name: str, value: ParameterValue) -> str | None:
    """The EHLO keyword that must be offered for this parameter with this value.

    None if there is none: the parameter belongs to the other command.
    """
    return _keyword(verb, name, value, PARAMETERS.get((verb, name))) or None


def _keyword(verb: str, name: str, value: ParameterValue, entry: Parameter | None) -> str:
    """The same, with the entry at hand; `""` if there is none."""
    if entry is not None:
        # RFC 3030 3: a keyword of its own, a value of BODY
        return "BINARYMIME" if name == "BODY" and value == "BINARYMIME" else entry.keyword
    return "" if (_OTHER[verb], name) in PARAMETERS else name


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
        entry = PARAMETERS.get((verb, name))
        if name in parameters:
            enhanced = entry.enhanced if entry is not None else "5.5.4"
            raise LocalProtocolError(f"parameter {name} given twice", enhanced=enhanced)
        value = _parse_text(match[2]) if entry is None else _read(entry, match[2])
        dict.__setitem__(parameters, name, value)
    parameters._verb = verb
    parameters._text = b" ".join((b"", *words)).decode("utf-8")
    return parameters


def _parse_text(octets: bytes | None) -> str | bool:
    return True if octets is None else _grammar.decode(octets, "the value of a parameter")


def _read(entry: Parameter, octets: bytes | None) -> ParameterValue:
    try:
        return entry.parse(octets)
    except _NO_VALUE:
        raise LocalProtocolError(f"not a value for {entry.name}: {octets!r}") from None


def check_parameters(verb: str, parameters: Parameters, features: Mapping[str, tuple[str, ...]]) -> None:
    """Raise `LocalProtocolError` for a parameter that `features` do not offer, or not so."""
    if not parameters._text.isascii() and "SMTPUTF8" not in features:  # RFC 6531 3.3, RFC 6533 3
        raise LocalProtocolError(f"a parameter beyond ASCII:{parameters._text}")
    for name, value in parameters.items():
        entry = PARAMETERS.get((verb, name))
        keyword = _keyword(verb, name, value, entry)
        if keyword not in features:  # RFC 5321 4.1.1.11
            raise LocalProtocolError(f"parameter {name} is not offered for {verb}", code=555)
        if entry is not None and entry.check is not None:
            try:
                entry.check(value, features[keyword], parameters)
            except _NO_VALUE:
                raise LocalProtocolError(f"the server does not take this {name}: {value!r}") from None


def _write(entry: Parameter, value: ParameterValue) -> tuple[str | None, ParameterValue]:
    """The text of a value, and the value as the receiver will see it: who must be able to read it."""
    if type(value) is int and entry.parse is parse_number and 0 <= value < _grammar.TOO_LARGE:
        return str(value), value
    try:
        text = entry.format(value)
        if text is None:
            return None, entry.parse(None)
        canonical = entry.parse(text.encode("utf-8"))
    except _NO_VALUE:
        raise LocalProtocolError(f"a {type(value).__name__} that is no value for {entry.name}") from None
    if not (text.isascii() and text.isalnum()):
        _check_word(f"{entry.name}={text}")
    return text, canonical


def _write_private(name: str, value: ParameterValue) -> tuple[str | None, ParameterValue]:
    """The same for a parameter that is in no entry: text, or True for none."""
    if value is not True and not isinstance(value, str):
        raise LocalProtocolError(f"a {type(value).__name__} that is no value for {name}")
    if value is not True:
        _check_word(f"X={value}")
    if _check_word(name) is not None:
        raise LocalProtocolError(f"not the name of a parameter (RFC 5321 4.1.2): {name!r}")
    return (None if value is True else value), value


def _check_word(word: str) -> bytes | None:
    """What stands behind the "=" of a parameter."""
    match = _grammar.ESMTP_PARAMETER.fullmatch(_grammar.encode(word, "a parameter"))
    if match is None:
        raise LocalProtocolError(f"not a parameter (RFC 5321 4.1.2): {word!r}")
    return match[2]


def canonical_parameters(verb: str, given: Mapping[str, ParameterValue]) -> Parameters:
    """`given` as its receiver will see it, or `LocalProtocolError`."""
    return given if isinstance(given, Parameters) and given.verb == verb else Parameters(verb, given)


NO_PARAMETERS = Parameters("", {})


def size_alone(size: int) -> Parameters:
    """What most messages say of themselves: how many octets they have, and nothing else."""
    parameters = Parameters.__new__(Parameters)
    dict.__setitem__(parameters, "SIZE", size)
    parameters._verb = "MAIL"
    parameters._text = f" SIZE={size}"
    return parameters
