"""Where fuzzing begins: the vectors of tests/corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
LONGEST = 1_500
SETUP = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n"


def octets(written: Any) -> bytes:
    """The octets that a vector writes as a latin-1 string or as a list of segments."""
    if isinstance(written, str):
        return written.encode("latin-1")
    parts = [(part, 1) if isinstance(part, str) else (part["repeat"], part["count"]) for part in written]
    return b"".join(octets(part) * count for part, count in parts)


def vectors(file: str, field: str) -> Iterator[bytes]:
    """What stands in this field of the vectors of a file."""
    for line in (CORPUS / f"{file}.jsonl").read_text("ascii").splitlines():
        vector = json.loads(line)
        if field in vector:
            yield octets(vector[field])


def said(who: str) -> Iterator[bytes]:
    """All that one side says in each dialogue."""
    for line in (CORPUS / "dialogues.jsonl").read_text("ascii").splitlines():
        script = json.loads(line)["script"]
        yield b"".join(
            octets(step["bytes"]) for step in script if step.get("from") == who and "bytes" in step
        )


def paths() -> Iterator[bytes]:
    """What stands between the brackets of the commands."""
    return (wire.partition(b"<")[2].rpartition(b">")[0] for wire in vectors("commands", "wire"))


def parameters() -> Iterator[bytes]:
    """What stands behind them."""
    return (wire.rpartition(b">")[2].strip() for wire in vectors("commands", "wire"))


def seeds(target: str) -> list[bytes]:
    """The seeds of a target: no two are equal, and none is long."""
    replies = [*vectors("replies", "wire"), *vectors("ehlo", "wire"), *said("S")]
    commands = [*vectors("commands", "wire"), *said("C")]
    bodies = [*vectors("data", "input")]
    messages = [SETUP + b"DATA\r\n" + body for body in bodies]
    known: dict[str, Iterator[bytes]] = {
        "client": (bytes([choice]) + reply for reply in replies for choice in (0, 2, 3, 4, 6)),
        "server": (bytes([choice]) + octets for octets in [*commands, *messages] for choice in (0, 1, 6)),
        "body": iter(bodies),
        "path": paths(),
        "parameters": parameters(),
        "features": (wire.replace(b"\r\n250", b"\n") for wire in vectors("ehlo", "wire")),
        "reply_stream": iter(replies),
        "proxy": iter(
            [
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\nEHLO",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"x" * 12,
            ]
        ),
        "sasl": (bytes([choice]) + message for choice in range(11) for message in EXCHANGES),
        "beside_smtplib": (
            bytes([choice]) + octets
            for choice, found in enumerate((replies, replies, vectors("ehlo", "wire"), bodies, paths()))
            for octets in found
        ),
        "beside_aiosmtpd": (
            bytes([choice]) + octets
            for choice, found in enumerate((commands, messages, messages))
            for octets in found
        ),
    }
    return sorted({seed for seed in known[target] if len(seed) <= LONGEST})


EXCHANGES = (
    b"",
    b"\0ada\0pw",
    b"ada\npw",
    b"n,,n=ada,r=" + b"n" * 16 + b"\nr=" + b"n" * 32 + b",s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096\nv=AAAA",
    b'user=ada\1auth=Bearer t\1\1\n{"status":"invalid_token"}',
    b"n,a=ada,\1host=mx\1port=25\1auth=Bearer t\1\1\n\1",
    b"<1.2@mx.example>\nada 0123456789abcdef0123456789abcdef",
)
