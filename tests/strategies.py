"""What the core's tests need besides `smtp_proto.testing.strategies`: a table of the commands, what each of
them needs, and streams that are cut before anybody knows what they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import cycle
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from smtp_proto import Auth, Bdat, Burl, Command, Etrn, Features, Mail, Rcpt, StartTLS, XClient, XForward
from smtp_proto._parameters import keyword_for
from smtp_proto.testing.strategies import commands
from smtp_proto.testing.strategies._commands import KINDS
from smtp_proto.testing.strategies._text import several

__all__ = ["COMMANDS", "Cutter", "cutters", "offered_for", "several"]

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
