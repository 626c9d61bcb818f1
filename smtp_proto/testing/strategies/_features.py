"""What a server offers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._features import Features
from ._text import ALNUM, VISIBLE, several, some, subset, words

_FLAGS = (
    "PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "ETRN", "EXPN", "HELP",
    "PRDR", "REQUIRETLS", "RRVS", "SMTPUTF8", "STARTTLS",
)  # fmt: skip
# Words that the library understands.
_USUAL = (
    "SIZE", "SIZE 0", "SIZE 10485760", "AUTH PLAIN", "AUTH LOGIN PLAIN", "AUTH CRAM-MD5", "LIMITS RCPTMAX=5",
    "LIMITS MAILMAX=9 RCPTDOMAINMAX=4", "DELIVERBY", "DELIVERBY 240", "MT-PRIORITY", "MT-PRIORITY MIXER",
    "FUTURERELEASE 86400 2030-01-01T00:00:00Z", "NO-SOLICITING", "NO-SOLICITING net.example:ADV", "BURL imap",
    "XCLIENT NAME ADDR PORT", "XCLIENT LOGIN", "XFORWARD NAME ADDR", "XFORWARD SOURCE IDENT", *_FLAGS,
)  # fmt: skip
# Of these more depends than a parameter.
_OFTEN = ("PIPELINING", "CHUNKING", "STARTTLS", "AUTH PLAIN")


@cache
def features() -> SearchStrategy[Features]:
    """What a server may offer: keywords with their words, known and unknown (RFC 5321 4.1.1.1). Where an RFC
    says that one needs another (RFC 3030, RFC 6531), both are there.
    """
    any_words = st.lists(some(VISIBLE, 6), max_size=3, unique=True).map(tuple)
    numbers = st.integers(0, 10**20 - 1).map(lambda size: (str(size),))
    known = {line.partition(" ")[0]: any_words for line in _USUAL}
    known |= dict.fromkeys(_FLAGS, st.just(())) | {"SIZE": st.just(()) | numbers}
    others = st.dictionaries(words(ALNUM, ALNUM + "-").map(str.upper), any_words, max_size=3)
    odd = st.builds(lambda known, unknown: _consistent({**unknown, **known}), subset(known), others)
    return usual_features() | odd


@cache
def usual_features() -> SearchStrategy[Features]:
    """The same with nothing but keywords and words that the library understands."""
    drawn = st.builds(list.__add__, several(_OFTEN, 4), several(_USUAL, 10))
    return drawn.map(lambda lines: _consistent(Features.from_lines(lines)))


def _consistent(offered: Mapping[str, tuple[str, ...]]) -> Features:
    """These, and what they need."""
    needed = {"BINARYMIME": "CHUNKING", "SMTPUTF8": "8BITMIME"}  # RFC 3030 3, RFC 6531 3.1
    return Features({**{needed[keyword]: () for keyword in offered if keyword in needed}, **offered})
