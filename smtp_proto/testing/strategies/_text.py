"""Text and lists drawn all at once, and the alphabets. What stands first is simpler: letters come first."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_T = TypeVar("_T")


def _order(octet: int) -> tuple[int, int]:
    character = chr(octet)
    groups = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    return next((at for at, group in enumerate(groups) if character in group), 3), octet


PRINTABLE = "".join(map(chr, sorted(range(33, 127), key=_order))) + " "
VISIBLE = PRINTABLE[:-1]
LETTERS = string.ascii_lowercase + string.ascii_uppercase
ALNUM = LETTERS + string.digits

# To Hypothesis "0" is the simplest character, and the next ones follow it.
_FIRST = ord("0")


def several(values: Sequence[_T], most: int | None = None, *, least: int = 0) -> SearchStrategy[list[_T]]:
    """A list of some of these values, the simplest first. Drawn as one text: several times as quick as one by
    one.
    """
    characters = st.characters(min_codepoint=_FIRST, max_codepoint=_FIRST + len(values) - 1)
    return st.text(characters, min_size=least, max_size=most).map(
        lambda drawn: [values[ord(character) - _FIRST] for character in drawn]
    )


def some(alphabet: str, most: int, *, utf8: bool = False, least: int = 1) -> SearchStrategy[str]:
    """Text of these characters, the simplest first; with `utf8` also of what may stand in an address beyond
    ASCII: no C1 control, no line end in disguise.
    """
    drawn = several(alphabet, most, least=least).map("".join)
    if not utf8:
        return drawn
    # Of text from a plain set of characters all is drawn at once; from `|` or `sampled_from`, one by one.
    wider = st.characters(
        min_codepoint=0xA0,
        codec="utf-8",
        exclude_characters="\u2028\u2029",
        include_characters=alphabet,
    )
    return drawn | st.text(wider, min_size=least, max_size=most)


def joined(parts: SearchStrategy[str], by: str, most: int = 3) -> SearchStrategy[str]:
    """One to `most` of these, with `by` between them."""
    return parts | st.lists(parts, min_size=2, max_size=most).map(by.join)


def subset(
    values: Mapping[str, SearchStrategy[_T]], most: int = 8, *, least: int = 0
) -> SearchStrategy[dict[str, _T]]:
    """Some of these names, each with one of its values."""
    names = list(values)
    return _subset(values, several(names, most, least=least) if names else st.just(names))


@st.composite
def _subset(
    draw: st.DrawFn, values: Mapping[str, SearchStrategy[_T]], names: SearchStrategy[list[str]]
) -> dict[str, _T]:
    return {name: draw(values[name]) for name in dict.fromkeys(draw(names))}


def words(first: str, others: str) -> SearchStrategy[str]:
    """A word that begins with a character of `first`, and goes on with others."""
    return st.builds(str.__add__, some(first, 1), some(others, 8, least=0))
