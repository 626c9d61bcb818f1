"""Parameters of MAIL and RCPT."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._features import Features
from ..._parameter_table import PARAMETERS, DeliverBy, OriginalRecipient, ValidSince
from ..._parameters import keyword_for
from ._addresses import mailboxes
from ._text import ALNUM, LETTERS, PRINTABLE, VISIBLE, some, subset, words

_KNOWN_PARAMETERS = frozenset(name for _, name in PARAMETERS)
_NOTHING = Features()
_MOST = 999999999


@lru_cache(maxsize=512)
def parameters(
    verb: Literal["MAIL", "RCPT"], features: Features | None = None
) -> SearchStrategy[dict[str, Any]]:
    """Parameters that one MAIL or RCPT may have together: name, in upper case, to its value, as `Mail` and
    `Rcpt` take them.

    `features`: what the server offers; None: anything, and also parameters that nobody knows.
    """
    table = _mail_parameters if verb == "MAIL" else _rcpt_parameters
    known = subset(_offered(verb, table(features or _NOTHING), features))
    return st.builds(_compatible, known, _unknown_parameters() if features is None else st.just({}))


def _offered(
    verb: str, known: dict[str, SearchStrategy[Any]], features: Features | None
) -> dict[str, SearchStrategy[Any]]:
    if features is None:
        return known
    return {name: values for name, values in known.items() if keyword_for(verb, name, None) in features}


def _compatible(known: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    """RFC 4865 4.2, 5.2.2: held until when, or for how long, and not for longer than there is."""
    drawn = {**unknown, **known}
    if "HOLDFOR" in drawn:
        drawn.pop("HOLDUNTIL", None)
        if "BY" in drawn and drawn["BY"].seconds < drawn["HOLDFOR"]:
            del drawn["BY"]
    return drawn


@cache
def unknown_names() -> SearchStrategy[str]:
    """A parameter's name of which the library knows nothing."""
    return words(ALNUM, ALNUM + "-").filter(lambda name: name.upper() not in _KNOWN_PARAMETERS)


@cache
def _unknown_parameters() -> SearchStrategy[dict[str, Any]]:
    values = st.just(True) | some(VISIBLE.replace("=", ""), 8, utf8=True)
    return st.dictionaries(unknown_names().map(str.upper), values, max_size=2)


def _mail_parameters(features: Features) -> dict[str, SearchStrategy[Any]]:
    bodies = ["7BIT", "8BITMIME"]
    if not features or "BINARYMIME" in features:
        bodies.append("BINARYMIME")
    longest, latest = features.future_release or (_MOST, "")
    return {
        "SIZE": st.integers(0, features.size or 10**20 - 1),
        "BODY": st.sampled_from(bodies),
        "SMTPUTF8": st.just(True),
        "REQUIRETLS": st.just(True),
        "AUTH": st.just("") | mailboxes(),
        "RET": st.sampled_from(["FULL", "HDRS"]),
        "ENVID": some(PRINTABLE, 12),
        "BY": _deliver_by(max(1, features.deliver_by or 0)),
        "SOLICIT": st.lists(words(LETTERS, ALNUM + ".-_:"), min_size=1, max_size=3).map(tuple),
        "PRDR": st.just(True),
        "HOLDFOR": st.integers(1, min(longest, _MOST)),
        "HOLDUNTIL": st.just(latest) if latest else date_times(fractions=True),
        "MT-PRIORITY": st.integers(-9, 9),
    }


def _deliver_by(least: int) -> SearchStrategy[DeliverBy]:
    notified = st.builds(DeliverBy, st.integers(-_MOST, _MOST), st.just("N"), st.booleans())
    if least > _MOST:
        return notified
    return notified | st.builds(DeliverBy, st.integers(least, _MOST), st.just("R"), st.booleans())


def _rcpt_parameters(features: Features) -> dict[str, SearchStrategy[Any]]:
    notify = st.lists(st.sampled_from(["SUCCESS", "FAILURE", "DELAY"]), min_size=1, unique=True)
    ascii_only = st.builds(OriginalRecipient, st.sampled_from(["rfc822", "x-400"]), some(PRINTABLE, 12))
    beyond = st.builds(OriginalRecipient, st.just("utf-8"), some(PRINTABLE, 12, utf8=True))
    return {
        "NOTIFY": st.just(("NEVER",)) | notify.map(tuple),
        "ORCPT": ascii_only | beyond,
        "RRVS": st.builds(ValidSince, date_times(), st.sampled_from([None, "C", "R"])),
    }


@cache
def date_times(*, fractions: bool = False) -> SearchStrategy[str]:
    """A date-time (RFC 3339 5.6) in any spelling."""
    fraction = st.just("") | some("0123456789", 7).map(".{}".format) if fractions else st.just("")
    clock = st.times().map(lambda time: f"{time:%H:%M:%S}") | st.just("23:59:60")
    hours = st.times().map(lambda time: f"{time:%H:%M}")
    offset = st.sampled_from(["Z", "z"]) | st.builds("{}{}".format, st.sampled_from("+-"), hours)
    return st.builds("{}{}{}{}{}".format, st.dates().map(str), st.sampled_from("Tt"), clock, fraction, offset)
