"""The reference pages against the code: every public name stands on one page, and is described there."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

import smtp_proto
import smtp_transports
from docstrings import to_rest

ROOT = Path(__file__).parents[1]
PACKAGES = (smtp_proto, smtp_transports)

DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(?:class|exception|function|data)::\s+([\w.]+)", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


def public_modules() -> Iterator[str]:
    """All modules of whose path no part begins with an underscore."""
    for package in PACKAGES:
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            if not any(part.startswith("_") and part != "__init__" for part in parts):
                yield ".".join(part for part in parts if part != "__init__")


# It only says what stands below it.
MODULES = [name for name in public_modules() if name != "smtp_transports"]


def find(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


@cache
def pages() -> dict[str, list[str]]:
    """What is documented: the name, to the pages where it is."""
    found: dict[str, list[str]] = {}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for name in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            found.setdefault(name, []).append(page.name)
    return found


def same(one: object, other: object) -> bool:
    """Whether two names are of one thing. (A method is made anew each time it is asked for.)"""
    return one is other or (inspect.ismethod(one) and one == other)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_is_documented_under_one_of_its_names(module: str) -> None:
    documented = {name: find(name) for name in pages()}
    for name in importlib.import_module(module).__all__:
        value = find(f"{module}.{name}")
        if f"{module}.{name}" not in documented:
            names = [known for known, thing in documented.items() if same(thing, value)]
            assert names, f"{module}.{name} stands on no page"
            assert {known.rpartition(".")[2] for known in names} == {name}


def test_nothing_is_documented_that_is_not_public() -> None:
    public = {f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__}
    assert set(pages()) <= public


def test_everything_is_documented_once() -> None:
    assert {name: where for name, where in pages().items() if len(where) > 1} == {}
    things = [(name, find(name)) for name in pages()]
    for index, (name, value) in enumerate(things):
        twins = [other for other, thing in things[index + 1 :] if same(thing, value)]
        if not isinstance(value, int | str):  # of which there is only one
            assert twins == [], f"{name} has other names: they need no entry"


# -- What the docstrings say


def docstrings() -> Iterator[tuple[str, str]]:
    """Every docstring of both packages, and what stands below attributes, with its file."""
    for package in PACKAGES:
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = node.value if isinstance(node, ast.Expr) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield f"{path.name}:{text.lineno}", text.value


def test_docstrings_are_markdown() -> None:
    """They have one manner, from which the pages are made."""
    for where, text in docstrings():
        assert "``" not in text.replace('`""`', ""), f"{where}: code has one backtick on each side"
        assert text.count("`") % 2 == 0, f"{where}: a backtick is alone"
        assert not re.search(r":\w+:`|^\s*\.\. |::\s*$", text, re.MULTILINE), f"{where}: reStructuredText"
        assert text.replace("\n", "").isprintable(), (
            f"{where}: a backslash that is to be seen is written twice"
        )


RENDERED = {
    "`port`: 25 by default. `tls`: from the start; `a`, `b`: two.\n\nRest.": [
        ":param port: 25 by default.",
        ":param tls: From the start.",
        ":param a: Two.",
        ":param b: Two.",
        "Rest.",
    ],
    "What. `port`: 25. Raises `ValueError` for 0.": [
        "What. ",
        ":param port: 25.",
        "Raises ``ValueError`` for 0.",
    ],
    "Counts\n`Limits.errors` and `send()`.": [
        "Counts :py:obj:`Limits.errors <smtp_proto.Limits.errors>` and ``send()``."
    ],
    "As in\n\n    a = 1\n\n    b = `2`\n\nhere.": ["As in", "::", "    a = 1", "    b = `2`", "here."],
    "* one that\n  goes `on`\n* two": ["* one that goes ``on``", "* two"],
    "a * b_ | c": ["a \\* b\\_ \\| c"],
}


@pytest.mark.parametrize(("said", "shown"), RENDERED.items())
def test_docstrings_are_rendered(said: str, shown: list[str]) -> None:
    lines = to_rest(said.split("\n"), frozenset(("port", "tls", "a", "b")), "smtp_proto")
    assert [line for line in lines if line] == shown


def attributes(cls: type) -> Iterator[tuple[str, type]]:
    """The public attributes of a class that we made, each with the class that has it."""
    for base in cls.__mro__:
        if (
            base.__module__.startswith(("smtp_proto.", "smtp_transports."))
            and base.__name__ != "FrozenMapping"
        ):
            for name in {**vars(base).get("__annotations__", {}), **vars(base)}:
                if not name.startswith("_"):
                    yield name, base


@cache
def said_below(module: str) -> set[tuple[str, str]]:
    """The attributes below which something is said: class and name."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    found = set()
    for cls in ast.walk(tree):
        if isinstance(cls, ast.ClassDef):
            for node, following in zip(cls.body, cls.body[1:], strict=False):
                target = node.target if isinstance(node, ast.AnnAssign) else None
                target = node.targets[0] if isinstance(node, ast.Assign) else target
                if isinstance(target, ast.Name) and isinstance(following, ast.Expr):
                    found.add((cls.name, target.id))
    return found


# The steps of these are called by Hypothesis alone.
FOR_HYPOTHESIS = ("ServerMachine", "ClientMachine")


@pytest.mark.parametrize("name", [name for name in pages() if isinstance(find(name), type)])
def test_every_attribute_is_described(name: str) -> None:
    """It has a docstring, or something is said below it, or the class speaks of it by its name."""
    cls = find(name)
    spoken_of = {
        word
        for base in cls.__mro__
        for code in CODE.findall(inspect.getdoc(base) or "")
        for word in re.findall(r"\w+", code)
    }
    for attribute, owner in attributes(cls):
        value = vars(owner).get(attribute)
        makes = isinstance(value, classmethod | staticmethod | property | cached_property) or callable(value)
        # What holds a field of a message is a property, too, and says nothing of it.
        has_docstring = makes and "attrgetter" not in (
            inspect.getdoc(getattr(cls, attribute)) or "attrgetter"
        )
        is_said = any(
            (base.__name__, attribute) in said_below(base.__module__) for _, base in attributes(cls)
        )
        assert has_docstring or is_said or attribute in spoken_of or owner.__name__ in FOR_HYPOTHESIS, (
            attribute
        )
