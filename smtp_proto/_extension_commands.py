"""Commands of extensions that few servers have: ETRN, BURL, and Postfix's XCLIENT and XFORWARD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from . import _grammar
from ._addresses import xtext_encode
from ._commands import Command
from ._errors import LocalProtocolError
from ._message import FrozenMapping, field

if TYPE_CHECKING:
    from ._replies import Reply


class Etrn(Command):
    """ETRN: asks a server to send what waits for `node` (RFC 1985).

    `node`: a domain or address literal; with `@` in front, all domains below it too; or `#` and the name of
    a queue.
    """

    __slots__ = ("_node",)
    _fields = ("node",)
    verb = "ETRN"
    keyword = "ETRN"
    ends_group = True

    node: str = field("_node")

    def __init__(self, *, node: str) -> None:
        octets = _grammar.encode(node, "the node")
        literal = octets.lstrip(b"@")
        if not _grammar.ETRN_NODE.fullmatch(octets) or (
            literal[:1] == b"[" and not _grammar.is_address_literal(literal)
        ):
            raise LocalProtocolError(f"neither a domain, nor @ and a domain, nor # and a queue: {node!r}")
        self._node = node


class Burl(Command):
    """BURL: a piece of the message is what the server finds at `url` (RFC 4468).

    A chunk without octets of its own: sent as `Burl`, and `EndOfMessage` if `last`. At a server, `refusal` is
    the reply that it must give, because a chunk before was refused. `url`: an absolute URI in ASCII.
    """

    __slots__ = ("_last", "_refusal", "_url")
    _fields = ("url", "last")
    verb = "BURL"
    keyword = "BURL"
    size: ClassVar[int] = 0
    """Octets of the chunk that follow the command."""

    url: str = field("_url")
    last: bool = field("_last")
    refusal: Reply | None = field("_refusal")

    def __init__(self, *, url: str, last: bool = False) -> None:
        if not _grammar.ABSOLUTE_URI.fullmatch(_grammar.encode(url, "the URL")):
            raise LocalProtocolError(f"not an absolute URI (RFC 3986 4.3): {url!r}")
        self._url = url
        self._last = last
        self._refusal = None


class _Attributes(Command):
    __slots__ = ("_attributes",)
    _fields = ("attributes",)

    attributes: Mapping[str, str] = field("_attributes")
    """Names, in upper case, and values."""

    def __init__(self, *, attributes: Mapping[str, str]) -> None:
        canonical = {name.upper(): value for name, value in attributes.items()}
        if not canonical or len(canonical) < len(attributes):
            raise LocalProtocolError(f"{self.verb} needs attributes, each of them once")
        for name, value in canonical.items():
            rule = _grammar.ATTRIBUTE_VALUES.get(name)
            if rule and not (rule.fullmatch(value) or _grammar.UNKNOWN_VALUE.fullmatch(value)):
                raise LocalProtocolError(f"not a value for {name}: {value!r}")
            if not _grammar.ATTRIBUTE.fullmatch(_grammar.encode(f"{name}={xtext_encode(value)}", name)):
                raise LocalProtocolError(f"not an attribute of {self.verb}: {name!r}")
        self._attributes = FrozenMapping(canonical)


class XClient(_Attributes):
    """XCLIENT: takes the place of another client, `{"NAME": "a.example", "ADDR": "192.0.2.1"}` (Postfix).

    `[UNAVAILABLE]` and `[TEMPUNAVAIL]` are values that are not known. The answer is a new greeting: the
    session begins afresh.
    """

    __slots__ = ()
    verb = "XCLIENT"
    keyword = "XCLIENT"
    ends_group = True


class XForward(_Attributes):
    """XFORWARD: tells of the client for which the next message is passed on (Postfix); nothing but what is
    logged depends on it.
    """

    __slots__ = ()
    verb = "XFORWARD"
    keyword = "XFORWARD"
