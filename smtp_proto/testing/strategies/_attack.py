"""An attack as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._script import Role

MARK = "smuggled.example"


@dataclass(frozen=True, slots=True)
class Attack:
    """Octets that abuse a peer. A good one refuses them, hangs up, or takes them for what they are.

    `name`: what the attack is called. `against`: the side that is attacked. `steps`: what to say to it, each
    of them at once, after all that was said before is answered. `must_not`: what a good peer must not do.
    `mark`: what the attack wants to have believed. It stands in no MAIL that a good server takes, and in no
    keyword and no answer that a good client does. `""` if nothing is to be believed.
    """

    name: str
    against: Role
    steps: tuple[bytes, ...]
    must_not: str
    mark: str = MARK

    @property
    def octets(self) -> bytes:
        """All steps together."""
        return b"".join(self.steps)

    def __repr__(self) -> str:
        steps = ", ".join(_shown(step) for step in self.steps)
        return f"<Attack on a {self.against}, {self.name}: {steps}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would show a flood as it is


def _shown(step: bytes) -> str:
    return repr(step) if len(step) <= 400 else f"{step[:200]!r}... ({len(step)} octets)"
