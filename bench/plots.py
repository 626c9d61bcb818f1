"""Plots of what was found, as SVG: bars for us, for others, for the floor, on light and on dark pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .cases import CASES
from .proxy import ROUND_TRIP
from .results import DOCS, Results

GREY = "#808080"
COLOURS = {"ours": "#3a86c8", "peer": "#d9822b", "floor": "#9aa5ad"}
KINDS = {"ours": "smtp_proto", "peer": "others", "floor": "floor: the same octets, nothing checked"}
# For each picture its panels: a case, what it shows, in which unit.
PICTURES = {
    "benchmarks-clients": [
        ("client 1 KiB", "cpu", 1e-6, "us of CPU a message"),
        ("client 10 recipients", "cpu", 1e-6, "us of CPU a message"),
        ("client new", "cpu", 1e-6, "us of CPU a message"),
        ("client 100", "cpu", 1e-6, "us of CPU a message"),
    ],
    "benchmarks-servers": [
        ("server new", "cpu", 1e-6, "us of CPU a message"),
        ("server 1 KiB", "cpu", 1e-6, "us of CPU a message"),
        ("server pipelined", "cpu", 1e-6, "us of CPU a message"),
        ("idle", "memory", 1024, "KiB a connection"),
    ],
    "benchmarks-far": [
        ("far 1 KiB", "wall", ROUND_TRIP, "round trips a message"),
        ("far 10 recipients", "wall", ROUND_TRIP, "round trips a message"),
        ("far new", "wall", ROUND_TRIP, "round trips"),
        ("peak", "peak", 2**20, "MiB"),
    ],
}


def draw(found: Results) -> None:
    """Draw every picture whose cases were measured."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("matplotlib is not installed: no plots")
        return
    mpl.use("svg")
    # The same figures give the same file.
    mpl.rcParams.update(
        {"svg.hashsalt": "smtp_proto", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    )
    for name, panels in PICTURES.items():
        picture(name, [panel for panel in panels if found.cases.get(panel[0])], found)


def picture(name: str, panels: list[tuple[str, str, float, str]], found: Results) -> None:
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    if not panels:
        return
    heights = [len(found.cases[panel[0]].figures) for panel in panels]
    rows = [max(heights[at : at + 2]) for at in range(0, len(panels), 2)]
    figure, axes = pyplot.subplots(
        len(rows),
        2,
        figsize=(10, 0.8 + sum(rows) * 0.19 + 0.8 * len(rows)),
        height_ratios=rows,
        squeeze=False,
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        bars(axis, panel, found)
    handles = [Patch(color=COLOURS[kind], label=label) for kind, label in KINDS.items()]
    figure.legend(handles=handles, loc="upper center", ncols=3, frameon=False, labelcolor=GREY)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))
    figure.savefig(DOCS / f"{name}.svg", transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def bars(axis: Any, panel: tuple[str, str, float, str], found: Results) -> None:
    """A panel: the cheapest on top."""
    case, quantity, scale, unit = panel
    subjects = CASES[case].subjects
    figures = {name: found.figure(case, name, quantity) for name in subjects}
    order: Callable[[str], float] = lambda name: figures[name] or 0  # noqa: E731
    names = sorted((name for name, figure in figures.items() if figure is not None), key=order)
    values = [(figures[name] or 0) / scale for name in names]
    drawn = axis.barh(names, values, color=[COLOURS[subjects[name].kind] for name in names], height=0.7)
    labels = [f"{value:,.{0 if value >= 100 else 1}f}" for value in values]
    axis.bar_label(drawn, labels=labels, padding=3, color=GREY, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.15, y=0.01)
    axis.set_title(f"{CASES[case].title}\n{unit}", color=GREY, fontsize=9, loc="left")
    axis.tick_params(colors=GREY, length=0)
    axis.xaxis.set_visible(False)
    axis.spines[:].set_visible(False)
