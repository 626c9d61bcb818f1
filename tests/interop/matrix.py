"""What the tests of this folder have shown, as tables: with whom, in which way, over which of the transports.

A test says which cells it fills. A cell holds the names of all that filled it, with whether they passed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Cell = Callable[[str, str, str, str], None]
"""What a test says which cell it fills with: table, row, column, and who has passed it."""


class Table:
    """A table: rows in the order of the alphabet, columns in the order of the tests that fill them."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], dict[str, bool]] = {}
        self._places: dict[str, int] = {}

    def fill(self, row: str, column: str, who: str, place: int, passed: bool) -> None:
        """Note what one test has shown; `place` is where it stands. Whoever fails once has failed."""
        cell = self._cells.setdefault((row, column), {})
        cell[who] = cell.get(who, True) and passed
        self._places.setdefault(column, place)

    def render(self) -> list[str]:
        """As lines of Markdown: "yes" where everybody passed, else who did, and who failed."""
        everybody = {name for cell in self._cells.values() for name in cell}
        columns = sorted(self._places, key=lambda column: (self._places[column], column))
        lines = [["", *columns], ["---"] * (len(columns) + 1)]
        for row in sorted({row for row, _ in self._cells}):
            cells = (self._cells.get((row, column), {}) for column in columns)
            lines.append([row, *(_shown(cell, everybody) for cell in cells)])
        return [f"| {' | '.join(line)} |" for line in lines]


def _shown(cell: dict[str, bool], everybody: set[str]) -> str:
    passed = sorted(name for name, has_passed in cell.items() if has_passed)
    failed = sorted(f"{name} fails" for name, has_passed in cell.items() if not has_passed)
    return ", ".join(failed or (["yes"] if set(passed) == everybody else passed))


def insert(page: Path, table: str, lines: list[str]) -> None:
    """Put a table between its two markers in a page."""
    begin, end = f"<!-- {table} -->\n", f"<!-- end of {table} -->\n"
    before, found, rest = page.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    assert found, f"{page} has no {begin}"
    assert found_end, f"{page} has no {end}"
    page.write_text("".join([before, begin, *(f"{line}\n" for line in lines), end, after]))
