"""What a conformance check says: a rule, and whether it was kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["must", "should"]
"""How an RFC says it (RFC 2119)."""

Finding: TypeAlias = Literal["kept", "broken", "not asked"]
"""`not asked`: the peer does not offer what the rule is about, or nobody allowed to ask."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of an RFC, as something that can be seen from outside.

    `name`: short, such as "end-of-data"; unique among those of a role. `section`: where it stands, such as
    "RFC 5321 4.1.1.4". `level`: "must" or "should". `text`: what who keeps it does, in one sentence.
    """

    name: str
    section: str
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule. `rule`: which. `finding`: "kept", "broken" or "not asked". `detail`: what
    was seen, or why it was not asked. `dialogue`: the shortest one that shows it broken, as the text of a
    `Script`; else empty.
    """

    rule: Rule
    finding: Finding
    detail: str = ""
    dialogue: str = ""
