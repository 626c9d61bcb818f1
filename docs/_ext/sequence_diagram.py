"""A run as a drawing: two lifelines, and an arrow for each write. Round trips are counted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from hiding import HIDDEN, Hider
from runs import Run, Writes
from smtp_proto.testing import Role

# Pixels. The whole is as wide as a phone.
_WIDTH, _LEFT, _RIGHT = 360, 18, 342
_LINE, _GAP, _CHARACTER = 15, 12, 6.65
_LONGEST = int((_RIGHT - _LEFT - 24) / _CHARACTER)

_BDAT = re.compile(r"BDAT ([0-9]+)(?: LAST)?")


class Write(NamedTuple):
    """What one side writes at once, as it is shown. `by` None: the TLS handshake. `round_trip`: the number of
    the one that begins here, 0 if none does.
    """

    by: Role | None
    lines: tuple[str, ...] = ()
    round_trip: int = 0


def shown(writes: Writes) -> list[Write]:
    """The writes line by line, without secrets, and messages only as so many octets.

    A round trip is a wait: the client writes, and goes on when the server has. It begins with the first thing
    that the client writes after it was answered.
    """
    reader = _Reader()
    found: list[Write] = []
    trips = 0
    for by, octets in writes:
        begins = by == "client" and not (found and found[-1].by == "client")
        trips += begins
        found.append(Write(by, tuple(reader.lines(by, octets)) if by else (), trips if begins else 0))
    return found


def round_trips(writes: Sequence[Write]) -> int:
    """How many there are."""
    return max(write.round_trip for write in writes)


class _Reader:
    """Knows what the lines are: commands, replies, a message, an exchange that proves who somebody is."""

    def __init__(self) -> None:
        self._hider = Hider()
        self._asked_for_data = False

    def lines(self, by: Role, octets: bytes) -> Iterator[str]:
        if by == "server":
            self._asked_for_data = octets.startswith(b"354") or b"\r\n354" in octets
            yield from map(self._hider.server, _split(octets))
            return
        if self._asked_for_data:
            self._asked_for_data = False
            body, octets = octets.removesuffix(b".\r\n"), b".\r\n"
            yield _message(len(body))
        while octets:
            line, _, octets = octets.partition(b"\r\n")
            text = line.decode("ascii")
            yield self._hider.client(text)
            if chunk := _BDAT.fullmatch(text):
                yield _message(int(chunk[1]))
                octets = octets[int(chunk[1]) :]


def _split(octets: bytes) -> list[str]:
    return octets.decode("ascii").removesuffix("\r\n").split("\r\n")


def _message(size: int) -> str:
    return f"<{size} octets of a message>"


def figure(run: Run) -> str:
    """The drawing, and the same in words, as HTML."""
    writes = shown(run.writes())
    title = escape(run.title)
    return (
        f'<figure class="diagram sequence" aria-label="{title}">\n{drawing(run.title, writes)}\n'
        f"<figcaption><b>{title}</b>: {_count(writes)}.</figcaption>\n"
        f"<details><summary>{title}: the text</summary>\n<ol>\n{_text(writes)}\n</ol>\n</details>\n"
        "</figure>\n"
    )


def _count(writes: Sequence[Write]) -> str:
    trips = round_trips(writes)
    handshake = ", and those of the handshake" if any(write.by is None for write in writes) else ""
    plural = "s" if trips > 1 else ""
    return f"{trips} round trip{plural}{handshake}; {sum(write.by is not None for write in writes)} writes"


def _text(writes: Sequence[Write]) -> str:
    return "\n".join(
        f"<li>{write.by}: {'; '.join(f'<code>{escape(line)}</code>' for line in write.lines)}</li>"
        if write.by
        else "<li>both: the TLS handshake</li>"
        for write in writes
    )


def drawing(title: str, writes: Sequence[Write]) -> str:
    """The drawing, as SVG that takes its colours from the page."""
    parts: list[str] = []
    y = 34
    for write in writes:
        parts.append(_handshake(y) if write.by is None else _arrow(write, y))
        y += _height(write)
    ends = "".join(
        f'<text class="end" x="{x}" y="14" text-anchor="{anchor}">{role}</text>'
        f'<line class="life" x1="{at}" y1="22" x2="{at}" y2="{y}"/>'
        for role, x, at, anchor in (("client", 4, _LEFT, "start"), ("server", _WIDTH - 4, _RIGHT, "end"))
    )
    label = escape(f"Sequence diagram. {title}. The text below says the same.")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" '
        f'viewBox="0 0 {_WIDTH} {y + 6}">\n{ends}\n' + "\n".join(parts) + "\n</svg>"
    )


def _height(write: Write) -> int:
    return (len(write.lines) or 2) * _LINE + _GAP + 10


def _handshake(y: int) -> str:
    top, middle = y - 4, _WIDTH // 2
    left, width = _LEFT - 8, _RIGHT - _LEFT + 16
    return (
        f'<rect class="handshake" x="{left}" y="{top}" width="{width}" height="30" rx="6"/>'
        f'<text class="end" x="{middle}" y="{top + 19}" text-anchor="middle">TLS handshake</text>'
    )


def _arrow(write: Write, y: int) -> str:
    lines = [line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…" for line in write.lines]
    begin, end, back = (_LEFT, _RIGHT, -1) if write.by == "client" else (_RIGHT, _LEFT, 1)
    # A server's lines stand on its side.
    left = begin + 14 if write.by == "client" else _RIGHT - 14 - max(map(len, lines)) * _CHARACTER
    texts = "".join(
        f'<text class="{_kind(line)}" x="{left:g}" y="{y + number * _LINE + 9}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    top = y + len(lines) * _LINE + 2
    bottom = top + 8
    tip = end + back * 8
    return (
        f'<g class="{write.by}">{texts}<line x1="{begin}" y1="{top}" x2="{end + back * 2}" y2="{bottom}"/>'
        f'<path class="tip" d="M{end} {bottom} L{tip} {bottom - 5} L{tip} {bottom + 4} Z"/>'
        f"{_number(write.round_trip, top)}</g>"
    )


def _kind(line: str) -> str:
    return "quiet" if line.startswith("<") or line.endswith(HIDDEN) else "line"


def _number(round_trip: int, y: int) -> str:
    """Where a round trip begins."""
    if not round_trip:
        return ""
    return (
        f'<circle cx="{_LEFT}" cy="{y}" r="8"/><text class="number" x="{_LEFT}" y="{y + 4}" '
        f'text-anchor="middle">{round_trip}</text>'
    )
