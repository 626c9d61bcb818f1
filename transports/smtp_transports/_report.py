"""What a check found: for people, and for programs. The page is in `_report_page.py`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from smtp_proto.testing.conformance import Finding, Level, Verdict

from ._cli_text import EXIT_KEPT, EXIT_MUST, EXIT_SHOULD, EXIT_UNKNOWN, SAYS, Spans, columns, minute

_HEADING, _QUIET = "bold", "dim"
_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "none": _QUIET}


class Report(NamedTuple):
    """The verdicts on a server, and under which conditions they came about."""

    server: str
    protocol: str
    when: datetime
    commands: int
    notes: tuple[str, ...]
    """What was left out, and what may have to be known about the verdicts."""
    verdicts: tuple[Verdict, ...]

    def found(self, finding: Finding, level: Level | None = None) -> list[Verdict]:
        """The verdicts of this kind."""
        return [
            verdict
            for verdict in self.verdicts
            if verdict.finding == finding and level in (None, verdict.rule.level)
        ]

    @property
    def exit_code(self) -> int:
        """By the worst that was found; nothing at all is no good news."""
        if self.found("broken", "must"):
            return EXIT_MUST
        if self.found("broken"):
            return EXIT_SHOULD
        return EXIT_KEPT if self.found("kept") else EXIT_UNKNOWN

    @property
    def figures(self) -> dict[str, int]:
        """How many verdicts there are of each kind."""
        return {
            "kept": len(self.found("kept")),
            "broken_must": len(self.found("broken", "must")),
            "broken_should": len(self.found("broken", "should")),
            "not_asked": len(self.found("not asked")),
        }

    @property
    def summary(self) -> str:
        """In one line."""
        kept, musts, shoulds, not_asked = self.figures.values()
        return (
            f"{len(self.verdicts)} rules: {kept} kept, {musts + shoulds} broken "
            f"({musts} must, {shoulds} should), {not_asked} not asked; {self.commands} commands."
        )

    def lines(self) -> Iterator[Spans]:
        """For people."""
        yield [(_HEADING, f"{self.server}, {self.protocol}, {minute(self.when)}")]
        yield from ([("", note)] for note in self.notes)
        yield [("", "")]
        yield from columns([_row(verdict) for verdict in self.verdicts])
        for verdict in self.found("broken"):
            yield from _broken(verdict)
        yield [("", "")]
        yield [(_HEADING, self.summary)]

    def document(self) -> dict[str, Any]:
        """For programs, as JSON has it."""
        return {
            "server": self.server,
            "protocol": self.protocol,
            "date": self.when.isoformat(timespec="seconds"),
            "commands": self.commands,
            "notes": self.notes,
            "summary": self.figures,
            "exit_code": self.exit_code,
            "verdicts": [
                {
                    "rule": verdict.rule.name,
                    "section": verdict.rule.section,
                    "level": verdict.rule.level,
                    "text": verdict.rule.text,
                    "finding": verdict.finding,
                    "detail": verdict.detail,
                    "dialogue": verdict.dialogue,
                }
                for verdict in self.verdicts
            ],
        }


def kind_of(verdict: Verdict) -> str:
    """Good, bad for a broken must, warn for a broken should, or none: its class on the page."""
    if verdict.finding == "broken":
        return "bad" if verdict.rule.level == "must" else "warn"
    return "good" if verdict.finding == "kept" else "none"


def _row(verdict: Verdict) -> Spans:
    rule, style = verdict.rule, _STYLES[kind_of(verdict)]
    why = f": {verdict.detail}" if verdict.finding == "not asked" and verdict.detail else ""
    return [("", rule.name), ("", rule.section), ("", rule.level), (style, f"{verdict.finding}{why}")]


def _broken(verdict: Verdict) -> Iterator[Spans]:
    rule = verdict.rule
    yield [("", "")]
    yield [(_STYLES[kind_of(verdict)], f"{rule.name}, {rule.section}, {rule.level}")]
    yield [("", f"  {rule.text}")]
    for line in verdict.detail.splitlines():
        yield [("", f"  Seen: {line}")]
    for line in verdict.dialogue.splitlines():
        yield [(SAYS.get(line[:1], _QUIET), f"    {line}")]
