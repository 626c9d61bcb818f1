"""What the documents outside of the site name is there. Sphinx looks after the links within docs/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", (ROOT / name).read_text("utf-8")):
        file, _, anchor = target.partition("#")
        page = ROOT / file if file else ROOT / name
        assert page.exists(), target
        headings = re.findall(r"(?m)^#+ (.*)$", page.read_text("utf-8")) if anchor else []
        assert not anchor or anchor in map(slug, headings), target


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
    for name in DOCUMENTS:
        for target in re.findall(r"(?m)(?:`|^    )make ([a-z]+)\b", (ROOT / name).read_text("utf-8")):
            assert f"\n{target}:" in makefile, (name, target)
