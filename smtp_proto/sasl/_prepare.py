"""How names and passwords are prepared, so that what looks the same is the same: SASLprep (RFC 4013).

RFC 8265 (PRECIS, before it RFC 7613) has newer rules, which the standard library has no tables for. They
would not help either: the RFCs of SCRAM, PLAIN and ANONYMOUS name profiles of stringprep, and a password that
one side prepares by other rules than the other is a wrong password.

The repertoire is that of Unicode 3.2 (RFC 3454), in the normalization too: `ucd_3_2_0`.
"""

from __future__ import annotations

import stringprep
from collections.abc import Callable, Sequence
from typing import TypeAlias
from unicodedata import ucd_3_2_0

from ._errors import SASLError
from ._grammar import LONGEST_TEXT

_Table: TypeAlias = Callable[[str], bool]

# RFC 4505 3; the tables that SASLprep prohibits as well (RFC 4013 2.3) ...
_PROHIBITED: tuple[_Table, ...] = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
# ... and those that it alone prohibits.
_PROHIBITED_IN_NAMES = (*_PROHIBITED, stringprep.in_table_c12, stringprep.in_table_c7)


def saslprep(text: str, what: str, *, stored: bool = False) -> str:
    """A user name or a password, prepared by RFC 4013. `what` it is goes into the error, the text never.

    `stored`: it is a stored string, in which no code points are allowed that Unicode 3.2 leaves unassigned
    (RFC 3454 7), such as most emoji. The passwords of SCRAM are (RFC 5802 2.2); the rest are queries.

    Raises `SASLError` for what is prohibited, too long, or nothing in the end.
    """
    if len(text) > LONGEST_TEXT:
        raise SASLError(f"{what} has more than {LONGEST_TEXT} characters")
    if not text.isascii():
        mapped = "".join(map(_map, text))
        text = ucd_3_2_0.normalize("NFKC", mapped)
    if not text:
        raise SASLError(f"{what} is empty")
    _check(text, what, _PROHIBITED_IN_NAMES)
    if stored and any(map(stringprep.in_table_a1, text)):
        raise SASLError(f"{what} holds a character that Unicode 3.2 does not know (RFC 4013 2.5)")
    return text


def trace(text: str) -> str:
    """The trace of ANONYMOUS, by the profile of RFC 4505 3: nothing is changed. Raises `SASLError`."""
    if len(text) > 255:
        raise SASLError("a trace has more than 255 characters (RFC 4505 2)")
    _check(text, "a trace", _PROHIBITED)
    return text


def identity(text: str) -> str:
    """An authorization identity. What it looks like is up to the protocol; controls are never part of it.

    Raises `SASLError`.
    """
    if len(text) > LONGEST_TEXT:
        raise SASLError(f"an authorization identity has more than {LONGEST_TEXT} characters")
    _check_each(text, "an authorization identity", (stringprep.in_table_c21_c22, stringprep.in_table_c5))
    return text


def _map(character: str) -> str:
    """RFC 4013 2.1. U+200B is in both tables; to PostgreSQL and libidn it is a space, and so it is here."""
    if stringprep.in_table_c12(character):
        return " "
    return "" if stringprep.in_table_b1(character) else character


def _check(text: str, what: str, tables: Sequence[_Table]) -> None:
    _check_each(text, what, tables)
    if not text.isascii() and any(map(stringprep.in_table_d1, text)):
        _check_direction(text, what)


def _check_each(text: str, what: str, tables: Sequence[_Table]) -> None:
    if any(table(character) for character in text for table in tables):
        raise SASLError(f"{what} holds a prohibited character (RFC 3454 5)")


def _check_direction(text: str, what: str) -> None:
    """RFC 3454 6: if one character goes right to left, so do the first and the last, and none goes back."""
    ends = text[0] + text[-1]
    if any(map(stringprep.in_table_d2, text)) or not all(map(stringprep.in_table_d1, ends)):
        raise SASLError(f"{what} mixes directions of writing (RFC 3454 6)")
