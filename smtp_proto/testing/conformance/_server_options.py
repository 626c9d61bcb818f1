"""What a check of a server may do, and how far it may go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _no_pause() -> None:
    """Between two commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a check of a server may do, and how far it may go. The one that says nothing delivers nothing.

    `lmtp`: the server speaks LMTP. `domain`: what the check calls itself. `sender`: the reverse-path of its
    transactions. `recipients`: addresses that the server takes, two of them if it can be. `refused`: one that
    it should refuse. `many_recipients`: ask whether 100 of them fit in a transaction.

    `deliver`: messages may be completed, and reach `recipients`; without it every transaction ends before
    its end of data. `delivered`: returns what arrived so far, each message as its octets. `attack`: send what
    smuggles a message or injects a command where a server is weak.

    `credentials`: a user and a password, for PLAIN; each session logs in with them. `starttls`: each
    session begins with STARTTLS where it is offered, and the rules about it are asked.

    `examples`: how many random sessions are tried; they need Hypothesis, and without it there are none.
    `patience`: how many seconds to wait for a reply. `pause`: called before anything is sent, to keep the
    rate down. `clock`: tells the seconds, as `time.monotonic` does: with it a reply that trickles in
    gets no more than `patience` in all. `max_connections`, `max_commands`: when that many were made or sent,
    the rest is not asked. `max_octets`: the largest message to send, to see whether SIZE is kept.

    Raises `ValueError` for a limit below 1, and for an address with CR or LF in it.
    """

    lmtp: bool = False
    domain: str = "client.example"
    sender: str = "ada@client.example"
    recipients: Sequence[str] = ()
    refused: str | None = None
    many_recipients: bool = False
    deliver: bool = False
    delivered: Callable[[], Sequence[bytes]] | None = None
    attack: bool = False
    credentials: tuple[str, str] | None = None
    starttls: bool = False
    examples: int = 30
    patience: float = 10.0
    pause: Callable[[], object] = _no_pause
    clock: Callable[[], float] | None = None
    max_connections: int = 1000
    max_commands: int = 10_000
    max_octets: int = 1_000_000

    def __post_init__(self) -> None:
        if min(self.max_connections, self.max_commands, self.max_octets, self.patience) <= 0:
            raise ValueError("a limit is 1 at least")
        words = (self.domain, self.sender, *self.recipients, self.refused or "")
        if any("\r" in word or "\n" in word for word in words):
            raise ValueError(f"CR or LF in one of {words!r}")

    def has(self, need: str) -> bool:
        """Whether this option lets a rule be asked that needs it."""
        if need in ("lmtp", "smtp"):
            return self.lmtp is (need == "lmtp")
        if need in ("deliver", "delivered") and not (self.deliver and self.recipients):
            return False
        return bool(getattr(self, need))
