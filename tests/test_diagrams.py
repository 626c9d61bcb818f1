"""The drawings of the documentation say what the table says, and what the core does.

The promise: each entry of the table is in the chart of its role and protocol, once, and nothing else is; the
drawing and the table under it say what the chart says; a dialogue is drawn write by write, and no secret is.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from xml.etree import ElementTree

import pytest

import sequence_diagram
import state_diagram
from runs import RUNS
from smtp_proto import Ehlo, Helo, Lhlo, MalformedCommand
from smtp_proto._state import SAID, TABLE, State
from transitions import CHARTS, Chart, answers, entries, name

SVG = "{http://www.w3.org/2000/svg}"

each_chart = pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
each_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def words(element: ElementTree.Element) -> list[str]:
    """The texts of a part of a drawing, line by line, without the blanks that keep them from the arrow."""
    return [line for text in element.iter(f"{SVG}text") if (line := "".join(text.itertext()).strip())]


def parts(chart: Chart, kind: str) -> dict[str, ElementTree.Element]:
    """The nodes or the edges of a drawing, by the names that Graphviz gave them."""
    svg = ElementTree.fromstring(state_diagram.drawing(chart))
    found = {}
    for group in svg.iter(f"{SVG}g"):
        if group.get("class", "").startswith(kind):
            title = group.find(f"{SVG}title")
            assert title is not None
            found[title.text or ""] = group
    return found


def test_the_entries_are_those_of_the_table():
    of_both = {
        one for chart in ("client", "server") for lmtp in (True, False) for one in entries(chart, lmtp=lmtp)
    }
    table = {
        (state, command, code, outcomes.get(code))
        for state, row in TABLE.items()
        for command, outcomes in row.items()
        for code in outcomes or (None,)
    }
    assert of_both == table


@pytest.mark.parametrize(("role", "lmtp", "foreign"), [
    ("client", False, {Lhlo, MalformedCommand}),
    ("server", False, {Lhlo}),
    ("client", True, {Ehlo, Helo, MalformedCommand}),
    ("server", True, {Ehlo, Helo}),
])  # fmt: skip
def test_a_role_and_a_protocol_lack_what_they_never_say(role, lmtp, foreign):
    here = set(entries(role, lmtp=lmtp))
    missing = {one for r in ("client", "server") for p in (True, False) for one in entries(r, lmtp=p)} - here
    assert {one.command for one in missing if one.code != 353} == foreign
    assert any(one.code == 353 for one in here) is not lmtp


@each_chart
def test_a_chart_says_each_entry_once(chart):
    told = Counter(one for group in chart.groups for one in group.transitions())
    assert told == Counter(entries(chart.role, lmtp=chart.lmtp))


@each_chart
def test_what_is_no_rule_is_drawn(chart):
    drawn = {
        one
        for (source, target), groups in chart.arrows.items()
        for group in groups
        for one in group.transitions()
        if (one.state, one.target) == (source, target)
    }
    kept = {(state, command) for state, commands in chart.stays.items() for command in commands}
    ruled = {one for group in chart.rules for one in group.transitions()}
    rest = set(entries(chart.role, lmtp=chart.lmtp)) - ruled
    assert {one for one in rest if one.target is not None} <= drawn
    assert {(one.state, one.command) for one in rest if one.target is None} == kept
    assert {one.state for one in drawn} >= {s for s in State if any(TABLE[s].values())}


@each_chart
def test_each_arrow_of_the_drawing_leads_where_the_chart_says(chart):
    edges = parts(chart, "edge")
    expected = {}
    for (source, target), groups in chart.arrows.items():
        if source is target:
            continue
        lines = Counter()
        for group in groups:
            lines.update(map(name, group.commands))
            lines[answers(group.codes)] = 1
        expected[source.name, target.name] = lines
    expected["TLS", "GREETED"] = Counter(["the handshake"])
    shown = {}
    for title, edge in edges.items():
        source, _, head = title.partition("->")
        shown[source, head.removeprefix(f"{source}_")] = Counter(
            word.strip()
            for line in words(edge)
            for word in (line.split(", ") if "yz" not in line else [line])
        )
    assert shown == expected


@each_chart
def test_each_state_of_the_drawing_says_what_leaves_it_as_it_is(chart):
    nodes = parts(chart, "node")
    named = {state.name: state for state in State}
    for title, node in nodes.items():
        first, *others = words(node)
        if title not in named:  # drawn once more
            assert first == named[title.rpartition("_")[2]].value
            continue
        state = named[title]
        assert first == state.value
        said = {line.removesuffix(": stays") for line in others}
        loops = {
            f"{name(command)} {answers(group.codes)}"
            for group in chart.arrows.get((state, state), ())
            for command in group.commands
        }
        stays = ", ".join(map(name, chart.stays.get(state, [])))
        assert said == loops | ({stays} if stays else set())
    assert set(nodes) >= {state.name for state in State if state is not State.FAILED}


@each_chart
def test_the_table_below_says_every_entry(chart):
    rows = ElementTree.fromstring(
        state_diagram.table(chart).replace("scope=row", "").replace("scope=col", "")
    )
    told = Counter()
    for row in rows.iter("tr"):
        cells = ["".join(cell.itertext()) for cell in row]
        if cells[0] == "State":
            continue
        for state in cells[0].split(", "):
            for command in cells[1].split(", "):
                for code in cells[2].split(", "):
                    told[state, command, code, cells[3]] += 1
    expected = Counter(
        (
            one.state.value,
            name(one.command),
            "any" if one.code is None else answers([one.code]),
            one.target.value if one.target else "stays",
        )
        for one in entries(chart.role, lmtp=chart.lmtp)
    )
    assert told == expected


def test_answers_are_written_as_in_the_rfcs():
    assert answers([354, 2, 4, SAID]) == "354, 2yz, 4yz, at once"


@pytest.mark.parametrize(("run", "trips"), [
    ("one-by-one", 5), ("pipelining", 2), ("refused", 2), ("one-flight", 1), ("back-to-back", 1),
    ("starttls", 3), ("auth", 3), ("lmtp", 2),
])  # fmt: skip
def test_round_trips_are_counted(run, trips):
    assert sequence_diagram.round_trips(sequence_diagram.shown(RUNS[run].writes())) == trips
    assert set(RUNS) == {
        "one-by-one",
        "pipelining",
        "refused",
        "one-flight",
        "back-to-back",
        "starttls",
        "auth",
        "lmtp",
    }


@each_run
def test_each_write_is_one_arrow_with_all_its_lines(run):
    writes = run.writes()
    svg = ElementTree.fromstring(sequence_diagram.drawing(run.title, sequence_diagram.shown(writes)))
    arrows = [group for group in svg if group.get("class") in ("client", "server")]
    assert [arrow.get("class") for arrow in arrows] == [by for by, _ in writes if by]
    for arrow, (by, octets) in zip(arrows, [write for write in writes if write[0]], strict=True):
        number = arrow.find(f"{SVG}text[@class='number']")
        lines = [line for line in words(arrow) if number is None or line != number.text]
        if by == "server":
            said = octets.decode().splitlines()
            assert [line.split(" ")[0] for line in lines] == [line.split(" ")[0] for line in said]
        else:
            body = sum(int(size) for line in lines for size in re.findall("<([0-9]+) octets", line))
            commands = [line for line in lines if not line.startswith("<")]
            hidden = any("<hidden>" in line for line in lines)
            assert hidden or len("\r\n".join([*commands, ""])) + body == len(octets)


LONG = [sequence_diagram.Write("client", ("x" * 200,)), sequence_diagram.Write("server", ("y" * 200,))]


@pytest.mark.parametrize("writes", [*(sequence_diagram.shown(run.writes()) for run in RUNS.values()), LONG])
def test_no_line_leaves_the_drawing(writes):
    svg = ElementTree.fromstring(sequence_diagram.drawing("a title", writes))
    _, _, width, height = map(float, svg.get("viewBox").split())
    for text in svg.iter(f"{SVG}text"):
        left = float(text.get("x"))
        if text.get("class") in ("line", "quiet"):
            assert left >= 18
            assert left + len(text.text) * 6.65 <= width - 18
        assert float(text.get("y")) <= height


def test_no_secret_is_drawn():
    html = sequence_diagram.figure(RUNS["auth"])
    octets = b"".join(octets for _, octets in RUNS["auth"].writes())
    for response in re.findall(
        rb"(?:AUTH SCRAM-SHA-256 |334 |^)([A-Za-z0-9+/=]{12,})\r\n", octets, re.MULTILINE
    ):
        assert response.decode() not in html
    assert b64encode(b"n,,n=ada,r=").decode()[:12] not in html
    assert html.count("&lt;hidden&gt;") == 2 * 5
    assert "AUTH SCRAM-SHA-256 &lt;hidden&gt;" in html
