"""Messages, and how octets are cut."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from .._pair import Plan
from ._text import several

# RFC 5321 4.5.3.1.6: 1,000 octets with the CRLF.
_LONGEST = b"a" * 998


@cache
def messages(
    *,
    bare_line_ends: bool = True,
    nul: bool = True,
    eight_bit: bool = True,
    long_lines: bool = True,
    open_end: bool = True,
) -> SearchStrategy[bytes]:
    """The content of a message, before dots are stuffed: dots and line ends wherever they hurt, and any other
    octet. A line of 998 octets, which is the longest that RFC 5321 allows, is always among them.

    What is to be left out: `bare_line_ends`, CR and LF on their own; `nul`; `eight_bit`, octets above 127;
    `long_lines`, of more than 998 octets; `open_end`, a last line without CRLF.
    """
    unwanted = set() if bare_line_ends else set(b"\r\n")
    unwanted |= set() if nul else {0}
    unwanted |= set() if eight_bit else set(range(128, 256))
    hurting = [b"a", b"\r\n", b".", *([b"\r", b"\n"] if bare_line_ends else [])]
    rare = [b"\r\n.\r\n", b"\r\n..", b"\r\n" + _LONGEST + b"\r\n", *([b"\0"] if nul else [])]
    rare += [b"\r\n.\n", b"\n.\r\n", b"\n.\n", b"\r.\r"] if bare_line_ends else []
    rare += [_LONGEST + b"b", b"." * 999] if long_lines else []
    rare += [b"\xff", "\xe4".encode()] if eight_bit else []
    others = [bytes([octet]) for octet in range(256) if octet not in unwanted]
    begin = st.sampled_from([b"", b"", b"", b".", b".\r\n"])
    drawn = st.builds(bytes.__add__, begin, several([*hurting * 40, *rare * 4, *others], 40).map(b"".join))
    return drawn if open_end else drawn.map(_closed)


def _closed(body: bytes) -> bytes:
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def splits(data: bytes) -> SearchStrategy[list[bytes]]:
    """The pieces in which `data` may arrive: none is empty, joined they are `data`. Whole, cut at a few
    places, or octet by octet.
    """
    inside = range(1, len(data))
    if not inside:
        return st.just([data] if data else [])
    few = st.sets(st.sampled_from(inside), max_size=8).map(sorted)
    return _pieces(data, few | st.just(list(inside)))


@st.composite
def _pieces(draw: st.DrawFn, data: bytes, places: SearchStrategy[list[int]]) -> list[bytes]:
    cuts = draw(places)
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@cache
def plans() -> SearchStrategy[Plan]:
    """How octets travel in a `Pair`: in which pieces, and whose turn it is. No connection ends."""
    sizes = st.sampled_from([(), (1,)]) | several(range(1, 61), 4).map(tuple)
    turns = several(("client", "server"), 8).map(tuple)
    return st.builds(Plan, client_pieces=sizes, server_pieces=sizes, turns=turns)
