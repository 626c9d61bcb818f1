"""What a client says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._addresses import Path
from ..._commands import (
    KNOWN_VERBS,
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTLS,
    UnknownCommand,
    Vrfy,
)
from ..._extension_commands import Burl, Etrn, XClient, XForward
from ..._features import Features
from ._addresses import address_literals, client_names, domains, forward_paths, reverse_paths
from ._parameters import parameters
from ._text import ALNUM, LETTERS, PRINTABLE, VISIBLE, joined, some, subset, words

_Offer = Features | None
_Some = SearchStrategy[Any]

# They begin what other protocols say: a server hangs up.
_FOREIGN = frozenset(
    ("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI")
)  # fmt: skip
_SIZES = st.sampled_from([0, 1, 2**32, 2**64, 10**20 - 1]) | st.integers(0, 10**20 - 1)
_MECHANISM = re.compile("[A-Z0-9_-]{1,20}")


def commands(
    *kinds: type[Command], features: Features | None = None, lmtp: bool | None = None
) -> SearchStrategy[Command]:
    """A command of one of these classes, by default of any that a client may say. `AuthResponse`,
    `MessageData` and `EndOfMessage` are among them: what the order of a session allows is another question,
    see `dialogues()`.

    `features`: what the server offers; None: anything, and also commands that nobody knows. A RCPT may need
    a MAIL with SMTPUTF8 before it. `lmtp`: which protocol the server speaks; None: either.
    """
    chosen = kinds or tuple(KINDS)
    if lmtp is not None:
        chosen = tuple(kind for kind in chosen if kind not in ((Ehlo, Helo) if lmtp else (Lhlo,)))
    if features is None:
        return st.one_of([KINDS[kind](None) for kind in chosen])
    # A strategy for each class would be built, and one be used.
    offered = [kind for kind in chosen if is_offered(kind, features)]
    return st.sampled_from(offered).flatmap(lambda kind: KINDS[kind](features)) if offered else st.nothing()


def is_offered(kind: type[Command], features: Features) -> bool:
    """Whether commands of this class can be said where this is offered."""
    needs = _NEEDS.get(kind)
    return needs is None or bool(needs(features))


def _has(offer: _Offer, keyword: str) -> bool:
    return offer is None or keyword in offer


@cache
def _arguments(*, utf8: bool = True) -> SearchStrategy[str]:
    return joined(some(VISIBLE, 6, utf8=utf8), " ")


@st.composite
def _mail(draw: st.DrawFn, paths: SearchStrategy[Path], parameters: SearchStrategy[dict[str, Any]]) -> Mail:
    path, given = draw(paths), draw(parameters)
    needs = {} if path.is_ascii else {"SMTPUTF8": True}
    return Mail(reverse_path=path, parameters={**given, **needs})


@lru_cache(maxsize=512)
def mails(offer: Features | None = None) -> SearchStrategy[Mail]:
    """MAIL; with SMTPUTF8 where its path needs it."""
    return _mail(reverse_paths(utf8=_has(offer, "SMTPUTF8")), parameters("MAIL", offer))


@lru_cache(maxsize=512)
def rcpts(offer: Features | None = None, *, utf8: bool = True) -> SearchStrategy[Rcpt]:
    """RCPT; one beyond ASCII needs a MAIL with SMTPUTF8 before it."""
    return st.builds(Rcpt, forward_path=forward_paths(utf8=utf8), parameters=parameters("RCPT", offer))


def _mechanisms(offer: Features) -> list[str]:
    return [name for name in offer.auth if _MECHANISM.fullmatch(name)]


def _auths(offer: _Offer) -> _Some:
    names = some(ALNUM + "-_", 20) if offer is None else st.sampled_from(_mechanisms(offer))
    return st.builds(Auth, mechanism=names, initial_response=st.none() | st.binary(max_size=40))


def _questions(kind: type[Vrfy | Expn], offer: _Offer) -> _Some:
    if not _has(offer, "SMTPUTF8"):
        return st.builds(kind, argument=_arguments(utf8=False).filter(_is_no_parameter))
    return st.builds(
        lambda argument, utf8: kind(argument=argument, smtputf8=utf8 or not argument.isascii()),
        _arguments().filter(_is_no_parameter),
        st.booleans(),
    )


def _is_no_parameter(argument: str) -> bool:
    return not argument.upper().endswith(" SMTPUTF8")


def _burls(offer: _Offer) -> _Some:
    last = st.booleans() if _has(offer, "CHUNKING") else st.just(True)
    return st.builds(Burl, url=urls(), last=last)


@cache
def urls() -> SearchStrategy[str]:
    """An absolute URI, such as BURL takes (RFC 3986 4.3)."""
    rest = some(ALNUM + "-._~:/?[]@!$&'()*+,;=%", 12)
    return st.builds("{}:{}".format, st.sampled_from(["imap", "IMAPS", "x-a+1.b"]), rest)


@cache
def etrn_nodes() -> SearchStrategy[str]:
    """For what ETRN asks: a domain, all that is below it, or a queue (RFC 1985 5.2)."""
    names = st.builds("{}{}".format, st.sampled_from(["", "@"]), domains() | address_literals())
    return names | some(VISIBLE, 8).map("#{}".format)


@cache
def _attribute_values() -> dict[str, SearchStrategy[str]]:
    ports = st.integers(0, 65535).map(str)
    addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map("IPV6:{}".format)
    values = dict.fromkeys(("NAME", "HELO", "LOGIN", "PROTO", "IDENT", "REVERSE_NAME"), some(PRINTABLE, 12))
    values |= {"PORT": ports, "DESTPORT": ports, "ADDR": addresses, "DESTADDR": addresses}
    values["SOURCE"] = st.sampled_from(["LOCAL", "remote"])
    unknown = st.sampled_from(["[UNAVAILABLE]", "[TEMPUNAVAIL]"])
    return {name: value | unknown for name, value in values.items()}


def _attributes(kind: type[XClient | XForward], offered: tuple[str, ...] | None) -> _Some:
    values = {
        name: value for name, value in _attribute_values().items() if offered is None or name in offered
    }
    return st.builds(kind, attributes=subset(values, least=1))


def _unknown_commands(offer: _Offer) -> _Some:
    names = words(LETTERS, ALNUM + "-").filter(lambda name: name.upper() not in KNOWN_VERBS | _FOREIGN)
    return st.builds(UnknownCommand, name=names, argument=st.none() | _arguments())


def _alone(kind: type[Command]) -> Callable[[_Offer], _Some]:
    return lambda offer: st.just(kind())


def _introductions(kind: type[Ehlo | Helo | Lhlo]) -> Callable[[_Offer], _Some]:
    return lambda offer: st.builds(kind, domain=client_names())


def _with_argument(kind: type[Help | Noop]) -> Callable[[_Offer], _Some]:
    def strategy(offer: _Offer) -> _Some:
        arguments = _arguments(utf8=_has(offer, "SMTPUTF8"))
        return st.builds(kind, argument=st.none() | arguments)

    return strategy


KINDS: Mapping[type[Command], Callable[[_Offer], _Some]] = {
    Noop: _with_argument(Noop),
    Rset: _alone(Rset),
    Quit: _alone(Quit),
    Ehlo: _introductions(Ehlo),
    Helo: _introductions(Helo),
    Lhlo: _introductions(Lhlo),
    StartTLS: _alone(StartTLS),
    Auth: _auths,
    AuthResponse: lambda offer: st.builds(AuthResponse, data=st.none() | st.binary(max_size=40)),
    Mail: mails,
    Rcpt: lambda offer: rcpts(offer, utf8=_has(offer, "SMTPUTF8")),
    Data: _alone(Data),
    Bdat: lambda offer: st.builds(Bdat, size=_SIZES, last=st.booleans()),
    MessageData: lambda offer: st.builds(MessageData, data=st.binary(max_size=60)),
    EndOfMessage: _alone(EndOfMessage),
    Vrfy: lambda offer: _questions(Vrfy, offer),
    Expn: lambda offer: _questions(Expn, offer),
    Help: _with_argument(Help),
    Burl: _burls,
    Etrn: lambda offer: st.builds(Etrn, node=etrn_nodes()),
    XClient: lambda offer: _attributes(XClient, None if offer is None else offer.xclient),
    XForward: lambda offer: _attributes(XForward, None if offer is None else offer.xforward),
    UnknownCommand: _unknown_commands,
}
"""For each class that a client can say, its strategy for what a server offers."""

# Without these nobody says them.
_NEEDS: Mapping[type[Command], Callable[[Features], object]] = {
    StartTLS: lambda offer: "STARTTLS" in offer,
    Auth: _mechanisms,
    AuthResponse: _mechanisms,
    Bdat: lambda offer: "CHUNKING" in offer,
    Burl: lambda offer: "BURL" in offer,
    Etrn: lambda offer: "ETRN" in offer,
    XClient: lambda offer: _attribute_values().keys() & offer.xclient,
    XForward: lambda offer: _attribute_values().keys() & offer.xforward,
    UnknownCommand: lambda offer: False,
}
