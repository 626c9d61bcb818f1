"""A report as one page of HTML, which loads nothing and runs nothing. What a server said stays text in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from html import escape
from importlib import resources
from pathlib import Path
from typing import IO

from smtp_proto.testing.conformance import Verdict

from ._cli_text import minute
from ._report import Report, kind_of
from .handlers import printable

# Nothing may be loaded, even if an escape were forgotten.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SIDES = {"C": "client", "S": "server"}


def page(report: Report) -> str:
    """The page. It is well-formed XML, too."""
    style = resources.files(__package__).joinpath("report.css").read_text("utf-8")
    title = f"{report.server}, {report.protocol}"
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8"/>',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<title>{_text(title)}</title>",
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            f"<h1>{_text(title)}</h1>",
            f'<p class="quiet">{minute(report.when)}, {report.commands} commands</p>',
            *(f'<p class="quiet">{_text(note)}</p>' for note in report.notes),
            *_figures(report),
            *_broken(report),
            *_table(report),
            "</body>",
            "</html>\n",
        )
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _figures(report: Report) -> Iterator[str]:
    kept, musts, shoulds, not_asked = report.figures.values()
    yield '<ul class="figures">'
    yield f'<li class="good"><b>{kept}</b>kept</li>'
    yield f'<li class="{"bad" if musts else ""}"><b>{musts}</b>must, broken</li>'
    yield f'<li class="{"warn" if shoulds else ""}"><b>{shoulds}</b>should, broken</li>'
    yield f"<li><b>{not_asked}</b>not asked</li>"
    yield "</ul>"


def _broken(report: Report) -> Iterator[str]:
    broken = [*report.found("broken", "must"), *report.found("broken", "should")]
    if broken:
        yield "<h2>Broken</h2>"
    for verdict in broken:
        rule = verdict.rule
        yield f'<article id="{_text(rule.name)}" class="{kind_of(verdict)}">'
        yield f"<header><h3>{_text(rule.name)}</h3>{_badge(verdict, rule.level)}"
        yield f'<span class="quiet">{_text(rule.section)}</span></header>'
        yield f"<p>{_text(rule.text)}</p>"
        if verdict.detail:
            yield f"<p><b>Seen:</b> {_text(verdict.detail)}</p>"
        if verdict.dialogue:
            yield f"<pre>{''.join(map(_said, verdict.dialogue.splitlines()))}</pre>"
        yield "</article>"


def _said(line: str) -> str:
    return f'<span class="{_SIDES.get(line[:1], "other")}">{_text(line)}</span>'


def _table(report: Report) -> Iterator[str]:
    yield "<h2>All rules</h2>"
    yield "<table>"
    yield "<thead><tr><th>Rule</th><th>Section</th><th>Level</th><th>Verdict</th></tr></thead>"
    yield "<tbody>"
    for verdict in report.verdicts:
        yield f"<tr>{_row(verdict)}</tr>"
    yield "</tbody>"
    yield "</table>"


def _row(verdict: Verdict) -> str:
    rule, name = verdict.rule, _text(verdict.rule.name)
    if verdict.finding == "broken":
        name = f'<a href="#{name}">{name}</a>'
    why = f"<p>Not asked: {_text(verdict.detail)}</p>" if verdict.finding == "not asked" else ""
    return (
        f'<td class="rule">{name}<p>{_text(rule.text)}</p>{why}</td>'
        f'<td class="section">{_text(rule.section)}</td>'
        f'<td class="level">{_text(rule.level)}</td>'
        f'<td class="verdict">{_badge(verdict, verdict.finding)}</td>'
    )


def _badge(verdict: Verdict, text: str) -> str:
    return f'<span class="badge {kind_of(verdict)}">{_text(text)}</span>'


@contextlib.contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """A file to write, which takes its place at the end: whole, or not at all. Raises `OSError` at once where
    that cannot be. What is there and no file, such as a pipe, is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("x", encoding="utf-8") as file:
        try:
            yield file
            file.close()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
