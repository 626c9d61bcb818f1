"""What the pages draw, for Sphinx: `{state-diagram} client smtp`, `{sequence-diagram} pipelining`,
`{explorer}`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import explorer
import sequence_diagram
import state_diagram
from runs import RUNS
from transitions import CHARTS


class StateDiagram(SphinxDirective):
    """The states of a role ("client", "server") in a protocol ("smtp", "lmtp")."""

    required_arguments: ClassVar[int] = 2

    def run(self) -> list[nodes.Node]:
        of = CHARTS.get(" ".join(self.arguments))
        if of is None:
            raise self.error(f"not a role and a protocol: {self.arguments}")
        return _html(state_diagram.figure(of))


class SequenceDiagram(SphinxDirective):
    """What both ends say in one of the runs, by its name."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        if self.arguments[0] not in RUNS:
            raise self.error(f"not a run: {self.arguments[0]}")
        return _html(sequence_diagram.figure(RUNS[self.arguments[0]]))


class Explorer(SphinxDirective):
    """The explorer, as a part of this page."""

    def run(self) -> list[nodes.Node]:
        return _html(explorer.fragment())


def _write_page(app: Sphinx, failure: Exception | None) -> None:
    """The explorer, as a page of its own."""
    if failure is None and app.builder.format == "html":
        (app.outdir / "step-by-step.html").write_text(explorer.page(), encoding="utf-8")


def _html(text: str) -> list[nodes.Node]:
    return [nodes.raw("", text, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("state-diagram", StateDiagram)
    app.add_directive("sequence-diagram", SequenceDiagram)
    app.add_directive("explorer", Explorer)
    app.connect("build-finished", _write_page)
    app.add_css_file("diagrams.css")
    return {"parallel_read_safe": True}
