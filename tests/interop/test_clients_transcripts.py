"""What clients of other people once said is answered today as it was then, however it is cut.

They take no part in it: their side comes from the transcripts. `clients_record.py` makes these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import pytest
from clients_dialogues import DIALOGUES, TRANSCRIPTS, Dialogue, Trusting, delivered, seen
from clients_ours import OFFER, Recording
from helpers import steps

from smtp_proto.ops import Session, serve
from smtp_proto.testing import Script

Cut = Callable[[bytes], Iterator[bytes]]


def in_one_piece(octets: bytes) -> Iterator[bytes]:
    yield octets


def octet_by_octet(octets: bytes) -> Iterator[bytes]:
    yield from (octets[at : at + 1] for at in range(len(octets)))


def in_pieces_of(size: int) -> Cut:
    return lambda octets: (octets[at : at + size] for at in range(0, len(octets), size))


class Replay:
    """Our side of a session, in memory."""

    def __init__(self, dialogue: Dialogue) -> None:
        way = dialogue.way
        self.conn = Recording(lmtp=way == "unix", tls=way == "tls", limits=dialogue.limits)
        self.postbox = Trusting()
        self.said = b""
        self.handshakes = 0
        self.is_over = False
        session = Session(self.conn)
        operation = serve(
            self.conn,
            session,
            domain="mx.example",
            offer=OFFER,
            starttls=way == "starttls",
            authenticator=dialogue.auth.authenticator(session),
            require_auth=dialogue.required,
        )

        def ask(question: Any) -> object:
            return getattr(self.postbox, question.hook)(session, *question.arguments)

        self._loop = steps(operation, self.conn, self, ask)
        self._resume()

    def hear(self, octets: bytes) -> None:
        if not self.is_over:
            self.conn.receive_data(octets)
            self._resume()

    def _resume(self) -> None:
        try:
            next(self._loop)
        except StopIteration:
            self.is_over = True

    def send(self, octets: bytes) -> None:
        self.said += octets

    def start_tls(self) -> None:
        self.handshakes += 1

    def follow(self, script: Script, cut: Cut) -> None:
        """Hear what the client said, and check what is answered."""
        for by, run in groupby(script.steps, lambda step: (step.by, not step.octets)):
            octets = b"".join(step.octets for step in run)
            if by == ("client", True):
                self.hear(b"")
            elif by == ("client", False):
                for piece in cut(octets):
                    self.hear(piece)
            elif by == ("server", False):
                assert self.said == octets
                self.said = b""
        assert self.said == b""
        assert self.handshakes == sum(step.by is None for step in script.steps)
        assert self.is_over


def comments(text: str, kind: str) -> list[str]:
    """Those of one kind."""
    head = f"# {kind}: "
    return [line.removeprefix(head) for line in text.splitlines() if line.startswith(head)]


def test_every_session_is_there() -> None:
    assert {file.stem for file in TRANSCRIPTS.iterdir()} == set(DIALOGUES)


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_session_goes_as_it_went(name: str) -> None:
    text = (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8")
    script = Script.parse(text)
    for cut in (in_one_piece, octet_by_octet, *map(in_pieces_of, (2, 3, 7, 61))):
        replay = Replay(DIALOGUES[name])
        replay.follow(script, cut)
        assert [seen(replay.conn.events)] == comments(text, "events")
        assert delivered(replay.postbox.messages) == comments(text, "delivered")
