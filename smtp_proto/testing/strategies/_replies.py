"""What a server says."""

from __future__ import annotations

from functools import cache, lru_cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._replies import AuthChallenge, Greeting, Hello, Reply
from ._addresses import domains
from ._features import features
from ._text import PRINTABLE, some

_SUBJECTS = st.integers(0, 999)


@cache
def reply_texts() -> SearchStrategy[str]:
    """One line of a reply: anything but CR, LF and NUL; octets that are no UTF-8 as lone surrogates."""
    octets = PRINTABLE + "".join(map(chr, range(0xDC80, 0xDD00)))
    anything = st.characters(codec="utf-8", exclude_characters="\r\n\0")
    return some(octets, 20, least=0) | st.text(anything, max_size=20)


@cache
def _lines() -> SearchStrategy[list[str]]:
    one = reply_texts().map(lambda text: [text])
    return one | st.lists(reply_texts(), min_size=2, max_size=3)


# A composite is shown as the value that it makes, `builds` as what it is made of.
@st.composite
def _replies(draw: st.DrawFn, codes: SearchStrategy[int]) -> Reply:
    code, lines = draw(codes), draw(_lines())
    subject = draw(st.none() | st.tuples(_SUBJECTS, _SUBJECTS))
    if subject is None or 300 <= code < 400:
        return Reply(code=code, lines=lines)
    return Reply(code=code, lines=lines, enhanced=f"{code // 100}.{subject[0]}.{subject[1]}")


@lru_cache(maxsize=128)
def replies(codes: SearchStrategy[int] | None = None) -> SearchStrategy[Reply]:
    """A reply with one of `codes`, by default with any; of one line or more, and now and then with an
    enhanced status code (RFC 5321 4.2, RFC 2034).
    """
    return _replies(st.integers(200, 599) if codes is None else codes)


@cache
def refusals() -> SearchStrategy[Reply]:
    """4yz or 5yz, save 421: that one closes."""
    return replies(st.integers(400, 598).map(lambda code: code + (code >= 421)))


@cache
def greetings() -> SearchStrategy[Greeting]:
    """220, which opens a session: with the server's name, or with any text."""
    return st.builds(Greeting, domain=domains(), text=reply_texts()) | st.builds(Greeting, lines=_lines())


@cache
def hellos() -> SearchStrategy[Hello]:
    """The positive answer to EHLO or LHLO, with any `features()`."""
    codes = st.just(250) | st.integers(200, 299)
    return st.builds(Hello, domain=domains(), text=reply_texts(), features=features(), code=codes)


@cache
def challenges() -> SearchStrategy[AuthChallenge]:
    """334 in a SASL exchange."""
    return st.builds(AuthChallenge, data=st.binary(max_size=40))
