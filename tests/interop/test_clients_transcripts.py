"""What clients of other people once said is answered today as it was then, however it is cut.

They take no part in it: their side comes from the transcripts. `clients_record.py` makes these.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from clients_dialogues import DIALOGUES, TRANSCRIPTS, Dialogue, Trusting, delivered, seen
from clients_ours import OFFER, Recording
from helpers import steps

from smtp_proto.ops import Session, serve
from smtp_proto.testing import Script

# In pieces of so many octets: of every size up to that of most lines, and in as few as there can be.
SIZES = (*range(1, 41), 1 << 30)


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

    def follow(self, script: Script, size: int) -> None:
        """Hear what the client said, in pieces, and check what is answered."""
        for by, run in groupby(script.steps, lambda step: (step.by, not step.octets)):
            octets = b"".join(step.octets for step in run)
            if by == ("client", True):
                self.hear(b"")
            elif by == ("client", False):
                for at in range(0, len(octets), size):
                    self.hear(octets[at : at + size])
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
    for size in SIZES:
        replay = Replay(DIALOGUES[name])
        replay.follow(script, size)
        assert [seen(replay.conn.events)] == comments(text, "events")
        assert delivered(replay.postbox.messages) == comments(text, "delivered")
