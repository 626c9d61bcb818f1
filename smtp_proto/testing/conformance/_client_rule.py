"""How a rule for clients is written: name, section and text above a function that looks at one session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from ._client_session import Session
from ._rules import Level, Rule

Check: TypeAlias = Callable[[Session], Iterator[str]]
"""Yields once for each time that the rule was asked for: what was wrong, or `""`."""

CHECKS: dict[Rule, Check] = {}
"""All rules for clients, in the order of the table."""


def rule(name: str, section: str, text: str, level: Level = "must") -> Callable[[Check], Check]:
    """The function below it holds this rule."""

    def decorate(check: Check) -> Check:
        CHECKS[Rule(name, section, level, text)] = check
        return check

    return decorate


def otherwise(holds: bool, what: str) -> str:
    """What a check yields: `what` is wrong unless it `holds`."""
    return "" if holds else what
