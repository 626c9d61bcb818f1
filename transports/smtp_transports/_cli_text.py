"""How the command line shows what it has found: lines for people, in colour if they can be had, and JSON for
programs. Much of it was said by somebody else, and may be meant for the terminal and not for who sits there.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from .handlers import printable

Spans: TypeAlias = Sequence[tuple[str, str]]
"""A line in pieces: style and text of each. A style is one of `rich`; "" is none."""

EXIT_KEPT, EXIT_SHOULD, EXIT_MUST, EXIT_UNKNOWN = range(4)
"""Of `check`: by the worst that was found."""

SAYS = {"C": "cyan", "S": "green"}
"""The styles of what is said, by the letter that stands in front of it in a dialogue."""


def printer() -> Callable[[Spans], None]:
    """Prints a line; in colour if this is a terminal and `rich` is there. Nothing in it moves a cursor."""
    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.text import Text

            console = Console(highlight=False, soft_wrap=True)
            return lambda spans: console.print(
                Text.assemble(*((printable(text), style) for style, text in spans))
            )
    return lambda spans: print("".join(printable(text) for _, text in spans))


def put_out(document: Any, lines: Iterable[Spans], *, as_json: bool) -> None:
    """Print the one for programs, or the other for people."""
    if as_json:
        print(json_text(document))
    else:
        show = printer()
        for line in lines:
            show(line)


def minute(when: datetime) -> str:
    """A time in UTC, for people."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def columns(rows: Sequence[Spans]) -> list[Spans]:
    """Rows of as many cells each, which stand below each other; the last is as long as it is."""
    shown = [[(style, printable(text)) for style, text in row] for row in rows]
    widths = [max(len(text) for _, text in cells) for cells in zip(*shown, strict=True)][:-1]
    lines: list[Spans] = []
    for *cells, last in shown:
        line = [(style, f"{text:{width}}  ") for (style, text), width in zip(cells, widths, strict=True)]
        lines.append([*line, last] if last[1] else [*line[:-1], cells[-1]])
    return lines


def json_text(document: Any) -> str:
    """As JSON in ASCII. Octets that were no text are U+FFFD."""
    return json.dumps(_whole(document), indent=2)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list | tuple) else value
