"""The explorer, put together: a part of a page, and a page of its own, each with all that it needs in it."""

from __future__ import annotations

import json
from pathlib import Path

from explorer_tables import tables
from transcripts import transcripts

_PARTS = Path(__file__).parents[1] / "explorer"
_SCRIPTS = ("lines.js", "ends.js", "server.js", "logs.js", "walk.js", "page.js")


def fragment() -> str:
    """What belongs into a page: the style, the elements, the tables and the script."""
    data = {"TABLES": tables(), "TRANSCRIPTS": [transcript._asdict() for transcript in transcripts()]}
    constants = "".join(f"const {name} = {_literal(value)};\n" for name, value in data.items())
    scripts = "\n".join(map(_part, _SCRIPTS))
    return (
        f"<style>\n{_part('page.css')}</style>\n{_part('page.html')}"
        f'<script>\n(() => {{\n"use strict";\n{constants}\n{scripts}}})();\n</script>\n'
    )


def page() -> str:
    """A page of its own."""
    return _part("alone.html").replace("{explorer}", fragment())


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _literal(value: object) -> str:
    """The value in JavaScript; nothing in it ends a script."""
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c")
