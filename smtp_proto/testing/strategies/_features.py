"""What a server offers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._features import Features
from ._text import ALNUM, VISIBLE, some, subset, words

_FLAGS = (
    "PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "ETRN", "EXPN", "HELP",
    "PRDR", "REQUIRETLS", "RRVS", "SMTPUTF8", "STARTTLS",
)  # fmt: skip
# Words that the library understands.
_USUAL = (
    "SIZE", "SIZE 0", "SIZE 10485760", "AUTH PLAIN", "AUTH LOGIN PLAIN", "AUTH CRAM-MD5", "LIMITS RCPTMAX=5",
    "LIMITS MAILMAX=9 RCPTDOMAINMAX=99", "DELIVERBY", "DELIVERBY 240", "MT-PRIORITY", "MT-PRIORITY MIXER",
    "FUTURERELEASE 86400 2030-01-01T00:00:00Z", "NO-SOLICITING", "NO-SOLICITING net.example:ADV", "BURL imap",
    "XCLIENT NAME ADDR PORT", "XCLIENT LOGIN", "XFORWARD NAME ADDR", "XFORWARD SOURCE IDENT", *_FLAGS,
)  # fmt: skip
# Of most of these more depends than a parameter.
_MUCH = (
    "CHUNKING", "BINARYMIME", "8BITMIME", "SMTPUTF8", "AUTH PLAIN LOGIN CRAM-MD5", "STARTTLS", "DSN", "PRDR",
    "REQUIRETLS", "BURL imap", "XCLIENT NAME ADDR LOGIN", "SIZE 10485760",
)  # fmt: skip


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
    """One of a hundred that the library understands: nothing, PIPELINING, or much of what there is, and one
    more. They are so few that strategies for each of them can be kept.
    """
    bases = ((), ("PIPELINING",), _MUCH, ("PIPELINING", *_MUCH))
    lines = [(*base, more) for base in bases for more in ("", *_USUAL)]
    return st.sampled_from([_consistent(Features.from_lines(offered)) for offered in lines])


def _consistent(offered: Mapping[str, tuple[str, ...]]) -> Features:
    """These, and what they need."""
    needed = {"BINARYMIME": "CHUNKING", "SMTPUTF8": "8BITMIME"}  # RFC 3030 3, RFC 6531 3.1
    return Features({**{needed[keyword]: () for keyword in offered if keyword in needed}, **offered})
