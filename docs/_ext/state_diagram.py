"""A chart as a drawing, laid out by Graphviz, and the same as a table for who does not see it."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import pairwise
from tempfile import TemporaryFile
from typing import NamedTuple

import pygraphviz  # type: ignore[import-untyped]

from smtp_proto._state import IN_TRANSACTION, SAID, State
from transitions import Chart, Group, Role, answers, names

# The way of a message that meets no refusal: it is drawn in a straight line.
MAIN_PATH = (State.GREETING, State.GREETED, State.READY, State.MAIL, State.RCPT, State.DATA)

# Only what Graphviz has to know to lay out: colours are the style sheet's. The font is one of which it knows
# the widths without having it.
_GRAPH = """\
bgcolor=transparent fontname="Helvetica" fontsize=11 nodesep=0.15 ranksep=0.3
node [shape=box style=rounded fontname="Helvetica" fontsize=10.5 margin="0.19,0.06" height=0.4]
edge [fontname="Helvetica" fontsize=10.5 arrowsize=0.7]"""
_CLUSTER = "style=rounded label=<mail transaction> class=transaction labeljust=r"

# Graphviz numbers its elements, which would clash with those of other drawings on the page, and paints them.
_NOISE = re.compile(r'<!--.*?-->\n?| (?:id|fill|stroke|font-family)="[^"]*"', re.DOTALL)
_SIZE = re.compile(r'width="[\d.]+pt" height="[\d.]+pt"\s+viewBox="([\d.-]+ [\d.-]+ ([\d.]+) [\d.]+)"')
# How many pixels one of Graphviz's points gets.
_SCALE = 1.2


def figure(chart: Chart) -> str:
    """The drawing, what is to be said of it, and the table, as HTML."""
    title = escape(chart.title)
    return (
        f'<figure class="diagram states" aria-label="{title}">\n'
        f'<div class="drawing" tabindex="0" role="group" aria-label="The drawing, which can be scrolled">\n'
        f"{drawing(chart)}\n</div>\n"
        f"<figcaption>{_caption(chart)}</figcaption>\n"
        f"<details><summary>{title}: the table</summary>\n{table(chart)}\n</details>\n</figure>\n"
    )


def drawing(chart: Chart) -> str:
    """The drawing, as SVG that takes its colours from the page."""
    with _quiet_fonts():
        svg = pygraphviz.AGraph(string=dot(chart)).draw(prog="dot", format="svg").decode("utf-8")
    svg = _SIZE.sub(_sized, _NOISE.sub("", svg[svg.index("<svg") :].strip()), count=1)
    label = f"State diagram. {chart.title}. The table below says the same."
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


@contextmanager
def _quiet_fonts() -> Iterator[None]:
    """Keep back what the fontconfig in the wheel says of a newer system's settings, and nothing else."""
    stderr = os.dup(2)
    with TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            sys.stderr.writelines(
                line.decode() for line in held if not line.startswith(b"Fontconfig warning")
            )


def _sized(match: re.Match[str]) -> str:
    width = float(match[2]) * _SCALE
    return f'width="{width:.0f}" viewBox="{match[1]}"'


def table(chart: Chart) -> str:
    """All transitions, as an HTML table: a row for those that differ in nothing but state and command."""
    rows = "\n".join(
        f"<tr><th scope=row>{_states(group.sources)}</th>{_row(group)}</tr>" for group in chart.groups
    )
    head = "".join(f"<th scope=col>{word}</th>" for word in ("State", "Said", "Answer", "Then"))
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(group: Group) -> str:
    cells = (
        escape(names(group.commands)),
        answers(group.codes) or "any",
        group.target.value if group.target else "stays",
    )
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _caption(chart: Chart) -> str:
    whose = "commands" if chart.role == "client" else "replies"
    rules = "".join(f"<li>{_rule(group)}</li>" for group in chart.rules)
    return (
        f"<p>What the {chart.role} says itself, its {whose}, is bold. A dashed state is drawn elsewhere, "
        "too. An answer that no arrow names leaves the state as it is. Not drawn:</p>"
        f"<ul>{rules}<li>421: to <b>closed</b>, from everywhere.</li></ul>"
    )


def _rule(group: Group) -> str:
    said = " ".join(filter(None, (escape(names(group.commands)), answers(group.codes))))
    then = f"to <b>{group.target.value}</b>" if group.target else "stays"
    return f"{said}: {then}, in {_states(group.sources)}."


def _states(states: Sequence[State]) -> str:
    return ", ".join(state.value for state in states)


class _Arrow(NamedTuple):
    source: State
    target: State
    groups: Sequence[Group]

    @property
    def is_back(self) -> bool:
        """Whether it leads to a state further up: then that state's name is drawn once more, and no line
        through all that lies between.
        """
        order = list(State)
        is_up = order.index(self.source) > order.index(self.target)
        return is_up and (self.source, self.target) != (State.BDAT, State.CHUNK)

    @property
    def head(self) -> str:
        """The node to which it leads."""
        return f"{self.source.name}_{self.target.name}" if self.is_back else self.target.name

    @property
    def is_main(self) -> bool:
        return (self.source, self.target) in pairwise(MAIN_PATH)


def dot(chart: Chart) -> str:
    """The drawing, as Graphviz reads it."""
    arrows = list(_arrows(chart))
    drawn = list(dict.fromkeys(state for arrow in arrows for state in (arrow.source, arrow.target)))
    lines = [_GRAPH]
    for inside in (False, True):
        nodes = [_node(chart, state) for state in drawn if (state in IN_TRANSACTION) is inside]
        nodes += [
            f'{arrow.head} [label="{arrow.target.value}" class=again]'
            for arrow in arrows
            if arrow.is_back and (arrow.source in IN_TRANSACTION) is inside
        ]
        lines += [f"subgraph cluster_transaction {{ {_CLUSTER}", *nodes, "}"] if inside else nodes
    lines += [_edge(chart.role, arrow) for arrow in arrows]
    return "digraph {\n" + "\n".join(lines) + "\n}\n"


def _arrows(chart: Chart) -> Iterator[_Arrow]:
    """Those between different states, and the one that is made by no command."""
    for (source, target), groups in chart.arrows.items():
        if source is not target:
            yield _Arrow(source, target, groups)
    yield _Arrow(State.TLS, State.GREETED, ())


def _node(chart: Chart, state: State) -> str:
    """A state, and what may be said in it and leads nowhere."""
    stays = chart.stays.get(state, [])
    loops = chart.arrows.get((state, state), ())
    lines = [names(stays)] if stays else []
    lines += [f"{names(group.commands)} {answers(group.codes)}" for group in loops]
    label = "\\n".join([state.value, *(f"{line}: stays" for line in lines)])
    kind = "open" if any(state in group.sources for group in chart.rules) else "narrow"
    column = "main" if state in MAIN_PATH else state.name
    return f'{state.name} [label="{label}" class={kind} group={column}]'


def _edge(role: Role, arrow: _Arrow) -> str:
    said: dict[str, list[str]] = defaultdict(list)
    for group in arrow.groups:
        said[answers(group.codes)].append(names(group.commands))
    lines = [_label(role, ", ".join(commands), heard) for heard, commands in said.items()]
    kind, weight = ("main", 9) if arrow.is_main else ("side", 1)
    label = '<BR ALIGN="LEFT"/>'.join(lines) or "&#160;the handshake"
    label += '<BR ALIGN="LEFT"/>'
    return f"{arrow.source.name} -> {arrow.head} [label=<{label}> class={kind} weight={weight}]"


def _label(role: Role, commands: str, heard: str) -> str:
    """The commands, and below them the answers; what this role itself says is bold."""
    upper, lower = f"&#160;{escape(commands)}", f"&#160;{heard}"
    if role == "client":
        upper = f"<B>{upper}</B>"
    elif heard != answers([SAID]):
        lower = f"<B>{lower}</B>"
    return f'{upper}<BR ALIGN="LEFT"/>{lower}'
