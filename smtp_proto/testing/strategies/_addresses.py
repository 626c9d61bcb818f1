"""Addresses: what stands in an envelope, and what a client calls itself."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._addresses import Path
from ._text import ALNUM, PRINTABLE, VISIBLE, joined, some

_ATEXT = ALNUM + "-_+!#$%&'*/=?^`{|}~"
_QTEXT = PRINTABLE.replace('"', "").replace("\\", "")
_DCONTENT = VISIBLE.translate(dict.fromkeys(map(ord, "[\\]")))


@cache
def domains(*, utf8: bool = False) -> SearchStrategy[str]:
    """A Domain of a few short labels (RFC 5321 4.1.2), with `utf8` as RFC 6531 3.3 widens it."""
    return joined(joined(some(ALNUM, 5, utf8=utf8), "-", 2), ".")


@cache
def address_literals() -> SearchStrategy[str]:
    """An address literal with its brackets: IPv4, IPv6 or general (RFC 5321 4.1.3)."""
    tags = some(ALNUM, 8).filter(lambda tag: tag.upper() != "IPV6")
    return st.one_of(
        st.ip_addresses(v=4).map("[{}]".format),
        st.ip_addresses(v=6).map("[IPv6:{}]".format),
        st.builds("[{}:{}]".format, tags, some(_DCONTENT, 12)),
    )


@cache
def local_parts(*, utf8: bool = False) -> SearchStrategy[str]:
    """A Local-part as it is spelled: a dot-string or a quoted string (RFC 5321 4.1.2; beyond ASCII too with
    `utf8`, RFC 6531 3.3).
    """
    hurting = st.sampled_from([" ", "@", ">", ",", ".", '\\"', "\\\\"])
    pairs = st.sampled_from(PRINTABLE).map("\\{}".format)
    quoted = st.lists(some(_QTEXT, 4, utf8=utf8) | pairs | hurting, max_size=4)
    dotted = joined(some(_ATEXT, 6, utf8=utf8), ".")
    return dotted | quoted.map(lambda parts: '"{}"'.format("".join(parts)))


@cache
def mailboxes(*, utf8: bool = False) -> SearchStrategy[str]:
    """A Mailbox: a local part at a domain or an address literal (RFC 5321 4.1.2, RFC 6531 3.3)."""
    return _mailboxes(local_parts(utf8=utf8), domains(utf8=utf8) | address_literals())


# A composite is shown as the value that it makes, `builds` as what it is made of.
@st.composite
def _mailboxes(draw: st.DrawFn, local_parts: SearchStrategy[str], domains: SearchStrategy[str]) -> str:
    return f"{draw(local_parts)}@{draw(domains)}"


@cache
def paths(*, utf8: bool = False) -> SearchStrategy[Path]:
    """A Path: a mailbox, now and then behind a source route (RFC 5321 4.1.2)."""
    route = joined(domains(utf8=utf8).map("@{}".format), ",", 2).map("{}:".format)
    return st.builds("{}{}".format, st.just("") | route, mailboxes(utf8=utf8)).map(Path)


@cache
def reverse_paths(*, utf8: bool = False) -> SearchStrategy[Path]:
    """What MAIL takes: a path, or the null reverse-path (RFC 5321 4.1.1.2)."""
    return st.just(Path("")) | paths(utf8=utf8)


@cache
def forward_paths(*, utf8: bool = False) -> SearchStrategy[Path]:
    """What RCPT takes: a path, or `postmaster` in any spelling (RFC 5321 4.1.1.3)."""
    return st.sampled_from(["postmaster", "Postmaster", "POSTMASTER"]).map(Path) | paths(utf8=utf8)


@cache
def client_names() -> SearchStrategy[str]:
    """What a client calls itself in EHLO: a domain or an address literal; real ones hold underscores."""
    return domains() | address_literals() | joined(some(ALNUM + "-_", 8), ".")
