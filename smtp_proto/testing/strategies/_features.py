"""What a server offers."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._features import Features
from ._parameters import date_times
from ._text import ALNUM, VISIBLE, some, words

_Words = SearchStrategy[tuple[str, ...]]

FLAGS = (
    "PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "ETRN", "EXPN", "HELP",
    "PRDR", "REQUIRETLS", "RRVS", "SMTPUTF8", "STARTTLS",
)  # fmt: skip
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
_ATTRIBUTES = (
    "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "IDENT", "SOURCE",
    "REVERSE_NAME",
)  # fmt: skip


@cache
def features() -> SearchStrategy[Features]:
    """What a server may offer: keywords with their words, known and unknown (RFC 5321 4.1.1.1). Where an RFC
    says that one needs another (RFC 3030, RFC 6531), both are there.
    """
    some_words = st.lists(some(VISIBLE, 6), max_size=3, unique=True).map(tuple)
    others = st.dictionaries(words(ALNUM, ALNUM + "-").map(str.upper), some_words, max_size=3)
    known = {keyword: usual | some_words for keyword, usual in _usual().items() if keyword != "SIZE"}
    known |= dict.fromkeys(FLAGS, st.just(())) | {"SIZE": _usual()["SIZE"]}
    drawn = st.fixed_dictionaries({}, optional=known)
    return st.builds(lambda known, unknown: consistent({**unknown, **known}), drawn, others)


@cache
def usual_features() -> SearchStrategy[Features]:
    """The same with nothing but keywords and words that the library knows."""
    known = dict.fromkeys(FLAGS, st.just(())) | _usual()
    return st.fixed_dictionaries({}, optional=known).map(consistent)


def consistent(offered: dict[str, tuple[str, ...]]) -> Features:
    """These, and what they need."""
    if "BINARYMIME" in offered:  # RFC 3030 3
        offered.setdefault("CHUNKING", ())
    if "SMTPUTF8" in offered:  # RFC 6531 3.1
        offered.setdefault("8BITMIME", ())
    return Features(offered)


def _chosen(*values: str, least: int = 0) -> _Words:
    return st.lists(st.sampled_from(values), min_size=least, unique=True).map(tuple)


def _number(most: int) -> _Words:
    return st.integers(0, most).map(lambda number: (str(number),))


@cache
def _usual() -> dict[str, _Words]:
    nothing: _Words = st.just(())
    return {
        "SIZE": nothing | _number(10**20 - 1),
        "AUTH": _chosen(*MECHANISMS, least=1),
        "LIMITS": _chosen("RCPTMAX=5", "MAILMAX=9", "RCPTDOMAINMAX=4"),
        "DELIVERBY": nothing | _number(999999999),
        "FUTURERELEASE": st.tuples(st.integers(1, 999999999).map(str), date_times()),
        "MT-PRIORITY": _chosen("MIXER"),
        "NO-SOLICITING": _chosen("net.example:ADV"),
        "XCLIENT": _chosen(*_ATTRIBUTES, least=1),
        "XFORWARD": _chosen(*_ATTRIBUTES, least=1),
        "BURL": _chosen("imap", "imap://imap.example"),
    }
