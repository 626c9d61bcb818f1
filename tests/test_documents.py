"""What the documentation says of tests, limits, options and files, against what there is."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

import smtp_proto
from smtp_proto import Limits, Timer, sasl
from smtp_transports import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

NAMED = re.compile(r"`(test_\w+)::(test_\w+)`")


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


TESTS = {path.stem: path for path in sorted((ROOT / "tests").rglob("test_*.py"))}


def rows(page: str) -> list[list[str]]:
    """The rows of all tables of a page, without their heads."""
    found, is_head = [], True
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if line.startswith("|---"):
            is_head = False
        elif not line.startswith("|"):
            is_head = True
        elif not is_head:
            found.append(cells)
    return found


@pytest.mark.parametrize("page", ["rfcs.md", "security.md"])
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = NAMED.findall((DOCS / page).read_text(encoding="utf-8"))
    assert named
    for file, test in named:
        assert test in names_in(TESTS[file]), f"{file}::{test}"


@pytest.mark.parametrize("page", ["rfcs.md", "security.md"])
def test_what_names_no_test_is_left_to_others(page: str) -> None:
    for *_, said, held in rows(page):
        if not NAMED.search(held):
            assert re.search(r"left|\[", said), said


def test_every_rfc_that_the_code_cites_is_on_its_page() -> None:
    page = (DOCS / "rfcs.md").read_text(encoding="utf-8")
    for folder in (ROOT / "smtp_proto", ROOT / "transports"):
        for path in sorted(folder.rglob("*.py")):
            for number in re.findall(r"RFC (\d{3,5})", path.read_text(encoding="utf-8")):
                assert re.search(rf"\b{number}\b", page), f"RFC {number}, cited in {path.name}"


RAISED = (
    smtp_proto.LocalProtocolError("why"),
    smtp_proto.RemoteProtocolError("why"),
    smtp_proto.Refused(smtp_proto.Reply(code=550)),
    smtp_proto.NotOffered("DSN", "why"),
    smtp_proto.ConnectionLost("why"),
    smtp_proto.TimedOut(Timer.MAIL, 1),
    sasl.SASLError("why"),
    sasl.AuthFailed(),
)


def test_every_exception_is_on_its_page_with_its_attributes() -> None:
    public = [getattr(module, name) for module in (smtp_proto, sasl) for name in module.__all__]
    raised = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Exception)}
    assert raised - {smtp_proto.SMTPError, smtp_proto.ProtocolError} == {type(exc) for exc in RAISED}
    table = rows("reference/errors.md")[: len(RAISED)]
    said = {name.strip("`"): set(re.findall(r"`(\w+)`", attributes)) for name, _, attributes, _ in table}
    assert set(said) == {type(exc).__name__ for exc in RAISED}
    said["TimedOut"] |= said["ConnectionLost"]
    for exc in RAISED:
        assert {name for name in vars(exc) if name[0] != "_"} <= said[type(exc).__name__]


def test_names_of_test_files_are_not_ambiguous() -> None:
    assert len(TESTS) == len(list((ROOT / "tests").rglob("test_*.py")))


def anchors(page: Path) -> set[str]:
    """What a link can lead to in a page, as browsers of repositories make it of its headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Those of docs/ are looked at by Sphinx.
@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_pages_outside_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        place, _, anchor = link.partition("#")
        if "://" not in link:
            target = page.parent / place if place else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_limit_is_on_its_page_with_its_default() -> None:
    limits = {cells[0].strip("`"): cells[1] for cells in rows("reference/limits.md") if len(cells) == 5}
    assert limits == {name: f"{value:,}" for name, value in Limits()._asdict().items()}


def test_every_timer_is_on_its_page_with_its_seconds() -> None:
    timers = {cells[0].strip("`"): cells[1] for cells in rows("reference/limits.md") if len(cells) == 4}
    assert timers == {timer.name: f"{timer.seconds:g}" for timer in Timer}


def test_every_command_and_option_is_on_its_page() -> None:
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## ([a-z]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    (commands,) = (
        action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    assert set(sections) == set(commands.choices)
    for name, parser in commands.choices.items():
        options = {option for action in parser._actions for option in action.option_strings}
        said = set(re.findall(r"--[a-z][a-z0-9-]*", sections[name]))
        assert said == {option for option in options if option.startswith("--")} - {"--help"}, name


# --- Outside of docs/, where Sphinx does not look

OUTSIDE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def test_the_files_to_touch_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    files = {
        path.relative_to(ROOT).as_posix()
        for folder in ("smtp_proto", "transports", "tests", "docs", "examples")
        for path in (ROOT / folder).rglob("*.*")
    } | {path.name for path in ROOT.iterdir()}
    named = set(re.findall(r"`([\w/]+\.(?:py|md|toml))`", text)) - {
        "smtp_proto/sasl/_name.py",  # the one to write
        "transports/smtp_transports/name.py",
    }
    assert len(named) > 25
    assert {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)} == set()


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name in OUTSIDE:
        for target in re.findall(r"(?m)(?:`|^    )make ([a-z]+)\b", (ROOT / name).read_text("utf-8")):
            assert f"\n{target}:" in makefile, (name, target)
