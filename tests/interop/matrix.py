"""What the tests of this folder have shown, as tables: with whom, in which way, over which of the transports.

A test says which cells it fills. A cell holds the names of all that filled it, with whether they passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Cells = dict[str, dict[str, dict[str, dict[str, bool]]]]
"""By table, row, column and name."""
Cell = Callable[[str, str, str, str], None]
"""What a test says which cell it fills with: the fixture `cell`."""


def fill(cells: Cells, where: Sequence[str], passed: bool) -> None:
    """Note what one test has shown. Whoever fails once has failed."""
    table, row, column, name = where
    cell = cells.setdefault(table, {}).setdefault(row, {}).setdefault(column, {})
    cell[name] = cell.get(name, True) and passed


def render(rows: dict[str, dict[str, dict[str, bool]]]) -> list[str]:
    """A table as lines of Markdown: "yes" where everybody passed, else who did, and who failed."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    everybody = {name for row in rows.values() for cell in row.values() for name in cell}
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    for name, row in rows.items():
        lines.append([name, *(_cell(row.get(column, {}), everybody) for column in columns)])
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(cell: dict[str, bool], everybody: set[str]) -> str:
    passed = [name for name, has_passed in cell.items() if has_passed]
    failed = [f"{name} fails" for name, has_passed in cell.items() if not has_passed]
    return ", ".join(failed or (["yes"] if set(passed) == everybody else passed))


def insert(page: Path, table: str, lines: list[str]) -> None:
    """Put a table between its two markers in a page."""
    begin, end = f"<!-- {table} -->\n", f"<!-- end of {table} -->\n"
    before, found, rest = page.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    assert found, f"{page} has no {begin}"
    assert found_end, f"{page} has no {end}"
    page.write_text("".join([before, begin, *(f"{line}\n" for line in lines), end, after]))
