"""The attacks, on both sides."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from .._script import Role
from ._attack import Attack
from ._attacks_on_clients import ON_CLIENTS
from ._attacks_on_servers import ON_SERVERS

ATTACKS: tuple[str, ...] = (*ON_SERVERS, *ON_CLIENTS)
"""What the attacks are called."""


def attacks(
    *names: str, against: Role | None = None, recipient: str = "postmaster"
) -> SearchStrategy[Attack]:
    """One of these attacks, by default any. `against`: the side that is attacked; None: either. `recipient`:
    one that the server knows, for whom mail is smuggled.

    Raises `ValueError` for names of no attack, or of none against this side.
    """
    known = _on_servers(recipient) if against != "client" else {}
    known |= _on_clients() if against != "server" else {}
    if unknown := set(names) - set(known):
        raise ValueError(f"no attack: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return st.one_of([known[name] for name in names or known])


def _on_servers(recipient: str) -> dict[str, SearchStrategy[Attack]]:
    return {
        name: steps(recipient.encode()).map(partial(_attack, name, "server", must_not, mark))
        for name, (must_not, mark, steps) in ON_SERVERS.items()
    }


def _on_clients() -> dict[str, SearchStrategy[Attack]]:
    return {
        name: steps().map(partial(_attack, name, "client", must_not, mark))
        for name, (must_not, mark, steps) in ON_CLIENTS.items()
    }


def _attack(name: str, against: Role, must_not: str, mark: str, steps: tuple[bytes, ...]) -> Attack:
    return Attack(name, against, steps, must_not, mark)
