"""The attacks, on both sides."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from .._script import Role
from ._attack import Attack
from ._attacks_on_clients import ON_CLIENTS
from ._attacks_on_servers import ON_SERVERS, Steps

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
        name: _attacks(name, "server", must_not, mark, steps(recipient.encode()))
        for name, (must_not, mark, steps) in ON_SERVERS.items()
    }


def _on_clients() -> dict[str, SearchStrategy[Attack]]:
    return {
        name: _attacks(name, "client", must_not, mark, steps())
        for name, (must_not, mark, steps) in ON_CLIENTS.items()
    }


# A composite is shown as the value that it makes, `builds` and `map` as what it is made of.
@st.composite
def _attacks(draw: st.DrawFn, name: str, against: Role, must_not: str, mark: str, steps: Steps) -> Attack:
    return Attack(name, against, draw(steps), must_not, mark)
