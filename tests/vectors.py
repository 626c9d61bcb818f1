"""The vectors of tests/corpus: reading them, and the ways to feed one. Its README explains the terms."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers import pieces

Vector = dict[str, Any]

CORPUS = Path(__file__).parent / "corpus"

# How many vectors each file holds: a runner that loses some would go unnoticed otherwise.
COUNTS = {"replies": 139, "ehlo": 45, "commands": 241, "data": 103, "dialogues": 138, "output": 69}

# What says little or nothing about the result.
COMMON = frozenset({"id", "level", "source", "note", "attack", "category", "splits", "split_note"})


def load(file: str) -> list[Vector]:
    """All vectors of `file`."""
    with (CORPUS / f"{file}.jsonl").open(encoding="ascii") as lines:
        return [json.loads(line) for line in lines]


def octets(written: str | list[Any]) -> bytes:
    """The octets that a vector writes as a latin-1 string or as a list of segments."""
    if isinstance(written, str):
        return written.encode("latin-1")
    return b"".join(
        octets(part) if isinstance(part, str) else octets(part["repeat"]) * part["count"] for part in written
    )


def latin1(text: str) -> str:
    """Text from the library as the vectors write it: one character an octet."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def ways(data: bytes, splits: Iterable[int] = ()) -> list[tuple[bytes, ...]]:
    """`data` whole, cut at `splits`, and octet by octet or, from 10 kB on, in pieces of 4096."""
    step = 1 if len(data) < 10_000 else 4096
    cuts: list[list[int]] = [[], list(splits), list(range(0, len(data), step))]
    return list(dict.fromkeys(tuple(pieces(data, each)) for each in cuts))
