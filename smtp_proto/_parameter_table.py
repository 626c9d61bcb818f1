"""The parameters of MAIL and RCPT that RFCs define: an entry of `PARAMETERS` for each, and its value's type.

An entry says to which command the parameter belongs, which EHLO keyword offers it, how its value becomes
Python and text, and what else a server's offer asks of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from . import _addresses, _grammar
from ._errors import LocalProtocolError

ParameterValue: TypeAlias = Any
"""int, str, a tuple, or True for a parameter without a value: as the entry of `PARAMETERS` says."""


class OriginalRecipient(NamedTuple):
    """The value of ORCPT (RFC 3461 4.2): the recipient as the sender of the message first named it."""

    type: str
    """The kind of address: `rfc822`, or `utf-8` (RFC 6533 3)."""
    address: str
    """The address as text; what the wire needs encoded is encoded when it is written."""


class DeliverBy(NamedTuple):
    """The value of BY (RFC 2852 4): by when a message is to be delivered, and what happens if it is not."""

    seconds: int
    """From now on; zero or less, that the time is up already, only with mode `N`."""
    mode: str
    """`N`: the sender is notified, and delivery goes on. `R`: the message is returned."""
    trace: bool = False
    """Whether the sender is told of relaying to servers without this extension."""


class ValidSince(NamedTuple):
    """The value of RRVS (RFC 7293 3.1): the recipient must be the mailbox's owner since `date_time`."""

    date_time: str
    """As in RFC 3339: `2026-11-23T10:00:00Z`."""
    action: str | None = None
    """What a relay without the extension gets: `C`, the message goes on; `R`, it is rejected; None: `R`."""


class Parameter(NamedTuple):
    """How one parameter of MAIL or RCPT is read and written.

    `parse`, `format` and `check` raise `LocalProtocolError`, or `ValueError` or `TypeError`, which mean 501.
    """

    name: str
    """In upper case."""
    verb: str
    """The command to which it belongs: MAIL or RCPT."""
    keyword: str
    """The EHLO keyword that offers it, in upper case."""
    parse: Callable[[bytes | None], ParameterValue]
    """The octets behind "=", None where there is no "=", to the value."""
    format: Callable[[ParameterValue], str | None]
    """The value to the text behind "="; None for a parameter without a value."""
    check: Callable[[ParameterValue, tuple[str, ...], Mapping[str, ParameterValue]], object] | None = None
    """Judges the value by the words behind the keyword, as the server offers it, and by all parameters of the
    command."""
    enhanced: str = "5.5.4"
    """The enhanced code where it comes twice."""


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


def parse_number(octets: bytes | None) -> int:
    """A number of at most 20 digits (RFC 1870 3)."""
    value = _grammar.number(_needs_value(octets))
    if value is None:
        raise LocalProtocolError(f"not a number: {octets!r}")
    return value


def _format_number(value: ParameterValue) -> str:
    if not isinstance(value, int | str):
        raise TypeError
    return str(value)


def _format_text(value: ParameterValue) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


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
    mailbox = _addresses.xtext_decode(_needs_value(octets), utf8=True)
    # RFC 4954 5: what cannot be trusted is taken for <>. Dovecot says the name of its user, mailbox or not.
    return mailbox if _is_mailbox(mailbox) else ""


def _format_auth(value: ParameterValue) -> str:
    if value in ("", "<>"):
        return "<>"
    if not _is_mailbox(value):
        raise LocalProtocolError(f"neither a mailbox nor <> (RFC 4954 8): {value!r}")
    return _addresses.xtext_encode(value, utf8=True)


def _is_mailbox(text: str) -> bool:
    try:
        return _addresses.Path(text).domain is not None
    except LocalProtocolError:
        return False


def _parse_envid(octets: bytes | None) -> str:
    if octets is not None and len(octets) > 100:
        raise LocalProtocolError("an envelope identifier has at most 100 characters (RFC 3461 4.4)")
    return _parse_xtext(octets)


_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")


def _parse_notify(octets: bytes | None) -> tuple[str, ...]:
    words = tuple(_needs_value(octets).upper().decode("ascii", "replace").split(","))
    if words != ("NEVER",) and (len(set(words)) < len(words) or not set(words) <= set(_NOTIFY)):
        raise LocalProtocolError(f"neither NEVER nor a list of {', '.join(_NOTIFY)}: {octets!r}")
    return words


def _parse_orcpt(octets: bytes | None) -> OriginalRecipient:
    kind, semicolon, address = _needs_value(octets).partition(b";")
    if len(kind) + len(address) >= 500:
        raise LocalProtocolError("an original recipient has at most 500 characters (RFC 3461 4.2)")
    if not semicolon or not _grammar.ADDRESS_TYPE.fullmatch(kind) or not address:
        raise LocalProtocolError(f"not addr-type ';' xtext (RFC 3461 4.2): {octets!r}")
    name = kind.decode("ascii").lower()
    if name == "utf-8":
        return OriginalRecipient(name, _addresses.utf8_xtext_decode(address))
    # Postfix says rfc822 of all addresses, also of those for which RFC 6533 3 has the other type.
    text = _addresses.xtext_decode(address, utf8=name == "rfc822")
    return OriginalRecipient(name if text.isascii() else "utf-8", text)


def _format_orcpt(value: ParameterValue) -> str:
    kind, address = value
    if not _grammar.ADDRESS_TYPE.fullmatch(kind.encode()):
        raise ValueError
    utf8 = kind.lower() == "utf-8"
    encode = _addresses.utf8_xtext_encode if utf8 else _addresses.xtext_encode
    return f"{kind};{encode(address)}"


def _parse_by(octets: bytes | None) -> DeliverBy:
    match = _grammar.DELIVER_BY.fullmatch(_needs_value(octets))
    if match is None:
        raise LocalProtocolError(f"not by-time ';' by-mode (RFC 2852 4): {octets!r}")
    sign, digits, mode, trace = match.groups()
    seconds = parse_number(digits) * (-1 if sign == b"-" else 1)
    by = DeliverBy(seconds, mode.upper().decode("ascii"), bool(trace))
    if by.mode == "R" and seconds <= 0:
        raise LocalProtocolError(f"with by-mode R there must be time left (RFC 2852 4): {octets!r}")
    return by


def _format_by(value: ParameterValue) -> str:
    by = DeliverBy(*value)
    if len(by.mode) != 1:
        raise ValueError
    return f"{_format_number(by.seconds)};{by.mode}{'T' if by.trace else ''}"


def _check_by(value: DeliverBy, offered: tuple[str, ...], given: Mapping[str, ParameterValue]) -> None:
    least = _grammar.first_number(offered) or 0
    if value.mode == "R" and value.seconds < least:
        raise LocalProtocolError(f"less than {least} seconds to deliver", code=555, enhanced="5.5.4")


def _parse_seconds(octets: bytes | None) -> int:
    text = _needs_value(octets)
    if not _grammar.SECONDS.fullmatch(text):
        raise LocalProtocolError(f"not 1 to 999999999 seconds (RFC 4865 3): {octets!r}")
    return parse_number(text)


def _parse_date_time(octets: bytes | None) -> str:
    text = _needs_value(octets)
    if _grammar.instant(text) is None:
        raise LocalProtocolError(f"not a date-time (RFC 3339 5.6): {text!r}")
    return text.decode("ascii")


def _check_hold_for(value: int, offered: tuple[str, ...], given: Mapping[str, ParameterValue]) -> None:
    if "HOLDUNTIL" in given:  # RFC 4865 4.2
        raise LocalProtocolError("HOLDFOR and HOLDUNTIL")
    if "BY" in given and value > given["BY"].seconds:  # RFC 4865 5.2.2
        raise LocalProtocolError("to be held for longer than there is to deliver it")
    most = _grammar.first_number(offered)
    if most is not None and value > most:
        raise LocalProtocolError(f"messages are not held for more than {most} seconds")


def _check_hold_until(value: str, offered: tuple[str, ...], given: Mapping[str, ParameterValue]) -> None:
    most = _grammar.instant(offered[1].encode("ascii")) if len(offered) > 1 else None
    until = _grammar.instant(value.encode("ascii"))
    if most is not None and until is not None and until > most:
        raise LocalProtocolError(f"messages are not held beyond {offered[1]}")


def _parse_priority(octets: bytes | None) -> int:
    text = octets or b""
    if not _grammar.PRIORITY.fullmatch(text):
        raise LocalProtocolError(f"not a priority of -9 to 9 (RFC 6710 4.1): {octets!r}", enhanced="5.5.2")
    return -parse_number(text[1:]) if text[:1] == b"-" else parse_number(text)


def _parse_rrvs(octets: bytes | None) -> ValidSince:
    date_time, semicolon, action = _needs_value(octets).partition(b";")
    if b"." in date_time or (semicolon and action.upper() not in (b"C", b"R")):
        raise LocalProtocolError(f"a fraction of a second, or neither C nor R (RFC 7293 3.1): {octets!r}")
    return ValidSince(_parse_date_time(date_time), action.upper().decode("ascii") or None)


def _format_rrvs(value: ParameterValue) -> str:
    since = ValidSince(*value)
    return f"{since.date_time};{since.action}" if since.action else since.date_time


def _parse_solicit(octets: bytes | None) -> tuple[str, ...]:
    text = _needs_value(octets)
    if not _grammar.SOLICITATION.fullmatch(text):
        raise LocalProtocolError(f"not solicitation keywords (RFC 3865 2.1): {octets!r}")
    return tuple(text.decode("ascii").split(","))


PARAMETERS: dict[tuple[str, str], Parameter] = {
    (entry.verb, entry.name): entry
    for entry in (
        Parameter("SIZE", "MAIL", "SIZE", parse_number, _format_number),  # RFC 1870
        Parameter(
            "BODY", "MAIL", "8BITMIME", _one_of("7BIT", "8BITMIME", "BINARYMIME"), _format_text
        ),  # RFC 6152, 3030
        Parameter("SMTPUTF8", "MAIL", "SMTPUTF8", _parse_flag, _format_flag),  # RFC 6531
        Parameter("REQUIRETLS", "MAIL", "REQUIRETLS", _parse_flag, _format_flag),  # RFC 8689
        Parameter("AUTH", "MAIL", "AUTH", _parse_auth, _format_auth),  # RFC 4954 5
        Parameter("RET", "MAIL", "DSN", _one_of("FULL", "HDRS"), _format_text),  # RFC 3461 4.3
        Parameter("ENVID", "MAIL", "DSN", _parse_envid, _addresses.xtext_encode),  # RFC 3461 4.4
        Parameter("NOTIFY", "RCPT", "DSN", _parse_notify, ",".join),  # RFC 3461 4.1
        Parameter("ORCPT", "RCPT", "DSN", _parse_orcpt, _format_orcpt),  # RFC 3461 4.2
        Parameter("BY", "MAIL", "DELIVERBY", _parse_by, _format_by, _check_by),  # RFC 2852
        Parameter("HOLDFOR", "MAIL", "FUTURERELEASE", _parse_seconds, _format_number, _check_hold_for),
        Parameter("HOLDUNTIL", "MAIL", "FUTURERELEASE", _parse_date_time, _format_text, _check_hold_until),
        Parameter(
            "MT-PRIORITY", "MAIL", "MT-PRIORITY", _parse_priority, _format_number, enhanced="5.5.2"
        ),  # RFC 6710
        Parameter("SOLICIT", "MAIL", "NO-SOLICITING", _parse_solicit, ",".join),  # RFC 3865
        Parameter("PRDR", "MAIL", "PRDR", _parse_flag, _format_flag),  # draft-hall-prdr
        Parameter("RRVS", "RCPT", "RRVS", _parse_rrvs, _format_rrvs),  # RFC 7293
    )
}
