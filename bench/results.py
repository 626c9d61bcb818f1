"""What was found, kept as JSON; and the figures that are made of it."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
KEPT = DOCS / "benchmarks.json"


class Found(NamedTuple):
    """Of one case: of each subject, for each quantity, what each round gave; and who was absent, and why."""

    figures: dict[str, dict[str, list[float]]]
    absent: dict[str, str] = {}  # noqa: RUF012 - never changed


class Spread(NamedTuple):
    """A median, and what half of the rounds lies between."""

    low: float
    middle: float
    high: float


class Results(NamedTuple):
    """All cases, and where and with what they were measured."""

    machine: dict[str, str]
    versions: dict[str, str]
    cases: dict[str, Found]

    def rounds(self, case: str, subject: str, quantity: str) -> list[float]:
        """What each round gave; nothing for who did not take part."""
        found = self.cases.get(case)
        return found.figures.get(subject, {}).get(quantity, []) if found else []

    def figure(self, case: str, subject: str, quantity: str) -> float | None:
        """The median."""
        rounds = self.rounds(case, subject, quantity)
        return median(rounds) if rounds else None

    def ratio(self, case: str, subject: str, peer: str, quantity: str) -> float | None:
        """The median of the ratios of the rounds."""
        pairs = zip(self.rounds(case, subject, quantity), self.rounds(case, peer, quantity), strict=False)
        ratios = [one / other for one, other in pairs if other]
        return median(ratios) if ratios else None


def spread(rounds: list[float]) -> Spread:
    if len(rounds) < 2:
        return Spread(rounds[0], rounds[0], rounds[0])
    low, middle, high = quantiles(rounds, n=4, method="inclusive")
    return Spread(low, middle, high)


def machine() -> dict[str, str]:
    """Where this runs."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cores": str(os.cpu_count()),
        "processor": processor(),
        "system": system(),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform()


def save(results: Results) -> None:
    """Keep them, each figure with four digits."""
    cases = {
        name: {
            "figures": {
                subject: {
                    quantity: [float(f"{figure:.4g}") for figure in rounds]
                    for quantity, rounds in quantities.items()
                }
                for subject, quantities in found.figures.items()
            },
            "absent": found.absent,
        }
        for name, found in results.cases.items()
    }
    text = json.dumps(
        {"machine": results.machine, "versions": results.versions, "cases": cases}, separators=(",", ":")
    )
    # A line for each subject: who compares two runs sees whose figures are others.
    KEPT.write_text(text.replace('},"', '},\n"') + "\n")


def load(path: Path = KEPT) -> Results:
    """What was kept."""
    kept: dict[str, Any] = json.loads(path.read_text())
    cases = {name: Found(found["figures"], found["absent"]) for name, found in kept["cases"].items()}
    return Results(kept["machine"], kept["versions"], cases)


def merged(new: Results) -> Results:
    """The new ones, and of what was not measured this time the ones that are kept."""
    return new._replace(cases={**load().cases, **new.cases}) if KEPT.exists() else new
