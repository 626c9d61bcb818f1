"""The page docs/benchmarks.md: its tables stand between markers, and are made of what was kept.

python bench/report.py    write them anew, with the plots; nothing is measured
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from . import plots, results
from .cases import CASES
from .results import DOCS, Results, spread
from .targets import MOONSHOTS, TARGETS, Judged, Target, judge

PAGE = DOCS / "benchmarks.md"
HEADINGS = {"cpu": "CPU", "wall": "time", "peak": "memory", "octets": "source"}
QUANTITIES = {
    "memory": (1024, "KiB"),
    "peak": (2**20, "MiB"),
    "octets": (1024, "KiB"),
    "dependencies": (1, ""),
}


def page(found: Results) -> None:
    """Write the tables and the plots."""
    text = PAGE.read_text()
    for name, lines in tables(found).items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = "\n".join((before + begin, "", *lines, "", end + after))
    PAGE.write_text(text)
    plots.draw(found)


def tables(found: Results) -> dict[str, list[str]]:
    """What stands between the markers, by their names."""
    return {
        "machine": [*machine(found)],
        "targets": [*promises(found, TARGETS)],
        "moonshots": [*promises(found, MOONSHOTS)],
        "cases": [*every_case(found)],
    }


def machine(found: Results) -> Iterator[str]:
    about = found.machine
    yield f"{about['python']} on {about['system']}, {about['kernel']};"
    yield f"{about['cores']} cores, {about['processor']}."
    yield (
        "Beside it: "
        + ", ".join(f"{name} {number}" for name, number in sorted(found.versions.items(), key=lower))
        + "."
    )


def lower(item: tuple[str, str]) -> str:
    return item[0].lower()


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def promises(found: Results, targets: list[Target]) -> Iterator[str]:
    numbered = any(target.number for target in targets)
    rows = [cells(judge(target, found), found)[not numbered :] for target in targets]
    return table(["", "what", "target", "ours", "beside", "ratio", ""][not numbered :], rows)


def cells(judged: Judged, found: Results) -> list[str]:
    """A row: number, what, target, ours, the peer's, ratio, and whether it is met."""
    target = judged.target
    sign, bound = ("<=", target.most) if target.most is not None else (">=", target.least)
    aim = f"{sign} {bound:,g} {target.unit}" if target.unit else f"{sign} {bound:.2f} x {target.peer}"
    verdict = {True: "met", False: "**missed**", None: "not measured"}[judged.met]
    ratio = "" if judged.ratio is None else f"{judged.ratio:.2f}"
    return [
        target.number,
        target.what,
        aim,
        amount(judged.ours, unit(target)),
        beside(judged, found),
        ratio,
        verdict,
    ]


def beside(judged: Judged, found: Results) -> str:
    """The peer's figure, or why there is none."""
    target = judged.target
    if target.peer is None or target.case not in found.cases:
        return ""
    if judged.peer is None:
        return f"{target.peer}: {found.cases[target.case].absent.get(target.peer, 'not measured')}"
    return f"{amount(judged.peer, unit(target))}, {target.peer}"


def unit(target: Target) -> str:
    """What the figures of a target are in, said or not."""
    return target.unit or {1e-6: "us", 1e-3: "ms", 1.0: "/s"}.get(target.scale, "")


def amount(figure: float | None, unit: str) -> str:
    if figure is None:
        return ""
    digits = 0 if figure >= 100 or unit == "needed" else 1 if figure >= 10 else 2
    return f"{figure:,.{digits}f} {unit}".rstrip()


def every_case(found: Results) -> Iterator[str]:
    for name, case in CASES.items():
        if name not in found.cases:
            continue
        yield f"### {case.title[0].upper()}{case.title[1:]}"
        yield ""
        yield from one_case(found, name)
        yield ""


def one_case(found: Results, name: str) -> Iterator[str]:
    """A table of who took part, and who did not."""
    case, there = CASES[name], found.cases[name]
    present = [subject for subject in case.subjects if there.figures.get(subject)]
    if present:
        first = there.figures[present[0]]
        reference = next((one for one in present if case.subjects[one].kind == "peer"), present[0])
        head = [""]
        for quantity, rounds in first.items():
            head += [HEADINGS.get(quantity, quantity), "half of the rounds"][: len(rounds)]
        rows = []
        for subject in present:
            ratio = found.ratio(name, subject, reference, next(iter(first))) or 0
            rows.append([subject, *columns(there.figures[subject]), f"{ratio:.2f}"])
        yield from table([*head, f"beside {reference}"], rows)
    for subject, reason in there.absent.items():
        yield ""
        yield f"{subject}: {reason}."


def columns(quantities: dict[str, list[float]]) -> Iterator[str]:
    for quantity, rounds in quantities.items():
        low, middle, high = spread(rounds)
        scale, name = QUANTITIES.get(quantity) or time_unit(middle)
        yield amount(middle / scale, name)
        if len(rounds) > 1:
            yield f"{amount(low / scale, '')} - {amount(high / scale, '')}"


def time_unit(seconds: float) -> tuple[float, str]:
    return (1e-6, "us") if seconds < 1e-3 else (1e-3, "ms")


def summary(found: Results) -> str:
    """For who sits before it: each target whose case was measured, and how it stands."""
    lines = []
    for title, targets in (("Targets", TARGETS), ("Moonshots", MOONSHOTS)):
        rows = [cells(judge(target, found), found) for target in targets if target.case in found.cases]
        lines += ["", title, *aligned(rows)] if rows else []
    return re.sub(r"\*\*", "", "\n".join(lines))


def aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


if __name__ == "__main__":
    page(results.load())
    sys.exit(0)
