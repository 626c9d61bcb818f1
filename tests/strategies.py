"""What our own tests need besides `smtp_proto.testing.strategies`: a table of the commands, what each of them
needs, streams that are cut before anybody knows what they hold, and a look at what a strategy draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import cycle
from typing import Any, NamedTuple

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from smtp_proto import Auth, Bdat, Burl, Command, Etrn, Features, Mail, Rcpt, StartTLS, XClient, XForward
from smtp_proto._parameters import keyword_for
from smtp_proto.testing.strategies import commands
from smtp_proto.testing.strategies._commands import KINDS
from smtp_proto.testing.strategies._text import several

__all__ = ["COMMANDS", "Cutter", "assert_reached", "cutters", "drawn", "offered_for", "several"]

COMMANDS: Mapping[type[Command], SearchStrategy[Any]] = {kind: commands(kind) for kind in KINDS}
"""For each class that a client can say, its strategy."""


def offered_for(command: Command) -> Features:
    """What a server must offer before `command` may be said."""
    if isinstance(command, Mail | Rcpt):
        verb = command.verb
        return Features({keyword_for(verb, *item) or "": () for item in command.parameters.items()})
    if isinstance(command, XClient | XForward):
        return Features({command.verb: tuple(command.attributes)})
    if isinstance(command, Auth):
        return Features({"AUTH": (command.mechanism,)})
    keywords = {StartTLS: "STARTTLS", Bdat: "CHUNKING", Burl: "BURL", Etrn: "ETRN"}
    return Features({keywords[type(command)]: ()} if type(command) in keywords else {})


class Cutter(NamedTuple):
    """Cuts octets into pieces of these sizes, over and over; no sizes mean not at all."""

    sizes: tuple[int, ...]

    def __call__(self, octets: bytes) -> Iterator[bytes]:
        """The pieces, none of them empty."""
        sizes = cycle(self.sizes or (len(octets),))
        start = 0
        while start < len(octets):
            end = start + next(sizes)
            yield octets[start:end]
            start = end


@cache
def cutters() -> SearchStrategy[Cutter]:
    """A way in which a stream is cut: whole, octet by octet, or anything between."""
    sizes = several(range(1, 61), 5).map(tuple)
    return st.builds(Cutter, sizes | st.sampled_from([(), (1,), (2,)]))


def drawn(strategy: SearchStrategy[Any], number: int = 400, *, at_once: int = 10) -> list[Any]:
    """So many values, the same in each run; several at once, for each run costs more than a value."""
    values: list[Any] = []

    @settings(max_examples=number // at_once)
    @given(st.lists(strategy, min_size=at_once, max_size=at_once))
    def draw(some: list[Any]) -> None:
        values.extend(some)

    draw()
    return values


def assert_reached(
    strategy: SearchStrategy[Any], values: Iterable[Any], corners: Mapping[str, Callable[[Any], object]]
) -> None:
    """Each of these corners is where one of the values is, or another value that is soon found."""
    missing = dict(corners)
    for value in values:
        for name in [name for name, is_there in missing.items() if is_there(value)]:
            del missing[name]
    search = settings(phases=[Phase.generate], max_examples=2000)
    for name, is_there in missing.items():
        try:
            find(strategy, lambda value, is_there=is_there: bool(is_there(value)), settings=search)
        except Exception as exc:
            exc.add_note(f"Corner: {name}")
            raise
