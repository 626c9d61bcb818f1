"""What can be said to a server: each thing has a name, and knows what its wording is about.

The names are the vocabulary of both ways of asking: the fixed dialogues are rows of them, and random sessions
draw them. Whether a thing is in its place where it is said is the model's business, not that of the words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ..._features import Features
from ._server_options import ServerOptions

Want: TypeAlias = Literal["", "accepted", "understood", "refused"]
"""What the wording asks for, where it is said in its place. `understood`: it may be refused, but not as an
error of syntax. `""`: nothing but what holds for every command.
"""

NOT_UNDERSTOOD = frozenset({500, 501, 502, 504, 555})


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Something to say.

    `kind`: what the model takes it for: a verb, "CONTENT", "RESPONSE" or "OTHER". `octets`: all of it.
    `rule`: the one that its wording is about, and `want`: how it has to be answered. `codes`: with which of
    the codes that `want` allows, `()` for all; with "understood", with which not. `ends`: the rule about
    where it ends; a server that reads on, or stops too early, breaks it. `content`: what arrives, and
    `content_rule` by which. `cut`: after so many octets the rest goes in a piece of its own. `may_close`: the
    server may hang up. `is_final`: what follows could not be told from what this causes.
    """

    kind: str
    octets: bytes
    rule: str = ""
    want: Want = ""
    codes: frozenset[int] = frozenset()
    ends: str = ""
    content: bytes | None = None
    content_rule: str = "content"
    cut: int = 0
    may_close: bool = False
    is_final: bool = False

    @property
    def line(self) -> str:
        """Its first line, to be shown."""
        return repr(self.octets.split(b"\r\n")[0].decode("latin-1")[:60])


Word: TypeAlias = Callable[[ServerOptions, Features], Move | None]
"""Makes a move, where the options and what is offered allow it."""


def fill(text: str, options: ServerOptions) -> str:
    """`text` with the addresses of `options` in their places."""
    recipients = (*options.recipients, *options.recipients[:1])
    names = {
        "domain": options.domain,
        "sender": options.sender,
        "at": options.sender.rpartition("@")[2],
        "rcpt": recipients[0] if recipients else "",
        "second": recipients[1] if recipients else "",
        "refused": options.refused or "",
    }
    return text.format(**names)


def line(
    text: str,
    rule: str = "",
    want: Want = "",
    *,
    needs: Iterable[str] = (),
    codes: Iterable[int] = (),
    kind: str = "",
    ends: str = "",
    cut: int = 0,
    may_close: bool = False,
) -> Word:
    """A command line. `needs`: options, and keywords of EHLO, without which it is not said."""
    places = {"{rcpt}": "recipients", "{second}": "recipients", "{refused}": "refused"}
    needed = (*needs, *(option for place, option in places.items() if place in text))
    made = Move(
        kind=kind or text.split(" ", 1)[0].upper(),
        octets=b"",
        rule=rule,
        want=want,
        codes=frozenset(codes),
        ends=ends,
        cut=cut,
        may_close=may_close,
    )

    def word(options: ServerOptions, features: Features) -> Move | None:
        octets = fill(text, options).encode("utf-8") + b"\r\n"
        return replace(made, octets=octets) if has(needed, options, features) else None

    return word


def raw(move: Move, *needs: str) -> Word:
    """What is the same for every server."""
    return lambda options, features: move if has(needs, options, features) else None


def content(body: bytes, move: Move, *needs: str) -> Word:
    """A message behind DATA."""
    return raw(stuffed(body, move), "deliver", *needs)


def stuffed(body: bytes, move: Move) -> Move:
    """`move`, with this message: dot-stuffed, and its end."""
    lines = body.split(b"\r\n")
    octets = b"\r\n".join(b"." + each if each.startswith(b".") else each for each in lines)
    return replace(move, octets=octets + b".\r\n", content=body)


def has(needs: Iterable[str], options: ServerOptions, features: Features) -> bool:
    """Whether all of this is there: options, and keywords of EHLO, which are in upper case."""
    return all(
        need in features if need.isupper() or need == "8BITMIME" else options.has(need) for need in needs
    )
