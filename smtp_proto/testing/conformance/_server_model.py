"""Where a session is, as far as the replies of the server tell; and what it must refuse there.

The model follows the server. What a server took it has taken, even where that was wrong: only so can the
next command be judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..._features import Features
from ._server_replies import Answer
from ._server_words import Move


class Forbidden(NamedTuple):
    """Why a command has to be refused here: by which rule, and with which codes; none: any 5yz. `rule` is
    empty where it could be one of two, and nothing can be judged.

    `plain`: the rule that forbids it anywhere. A server that breaks that one shows nothing of `rule`.
    """

    rule: str
    codes: frozenset[int]
    plain: str


_NEEDS_MAIL = {"RCPT": "rcpt-needs-mail", "DATA": "data-needs-mail", "BDAT": "bdat-needs-mail"}
IN_SEQUENCE = ("MAIL", "RCPT", "DATA", "BDAT")
# What says nothing about the transaction, and must not change it.
_NEUTRAL = ("NOOP", "VRFY", "HELP")


@dataclass
class Model:
    """Where a session is."""

    lmtp: bool
    greeted: bool = False
    features: Features = field(default_factory=Features)
    tls: bool = False
    authenticated: bool = False
    mail: Move | None = None
    accepted: int = 0
    refused: int = 0
    chunks: bool = False
    """Chunks have come, and not the last."""
    waits_for: str = ""
    """The kind of what must be said next, and nothing else: "CONTENT" or "RESPONSE"."""
    over: bool = False
    """Nothing more can be said, or judged."""
    _sender_cleared_by: str = ""
    _recipients_cleared_by: str = ""
    _disturbances: set[str] = field(default_factory=set)
    """The rules that have what was said since MAIL leave the transaction alone."""

    def takes(self, move: Move) -> bool:
        """Whether it makes sense to say this now, if only to see it refused."""
        if self.waits_for:
            return move.kind == self.waits_for
        if move.kind == "RCPT" and self.chunks:
            return False  # RFC 3030 does not tell what becomes of it
        return move.kind not in ("CONTENT", "RESPONSE")

    def next_word(self, second: bool) -> str:
        """What comes next on the way to a message. `second`: another recipient first."""
        if self.waits_for:
            return "content" if self.waits_for == "CONTENT" else "auth-cancel"
        if not self.mail:
            return "mail"
        if not self.accepted:
            return "rcpt"
        return "rcpt-second" if second else "bdat-last" if self.chunks else "data"

    def forbids(self, move: Move) -> Forbidden | None:
        """Why the server has to refuse this now, whatever its wording; None if it need not."""
        kind = move.kind
        if kind == "AUTH" and (self.authenticated or self.mail):
            return _forbid("auth-again" if self.authenticated else "auth-transaction", 503)
        if kind == "STARTTLS" and self.tls:
            return _forbid("starttls-again")
        if kind == "MAIL" and self.mail:
            # Where the transaction may be gone by one of two rules, nobody knows by which.
            plain = "mail-nested" if len(self._disturbances) < 2 else ""
            return _forbid(self._disturbed_by, 503, plain=plain)
        if kind in _NEEDS_MAIL and not self.mail:
            # RFC 5321 3.3: who has said no MAIL has no valid recipient, either.
            codes = (503,) if kind == "RCPT" else (503, 554)
            return _forbid(self._sender_cleared_by, *codes, plain=_NEEDS_MAIL[kind])
        return self._forbids_text(kind)

    def demands(self, move: Move) -> str:
        """The rule by which the server must not answer this with 503, where it is not forbidden; `""` where
        it could be one of two.
        """
        if move.kind == "MAIL" and self._sender_cleared_by:
            return self._sender_cleared_by
        return self._disturbed_by if self._disturbances else "in-sequence"

    @property
    def _disturbed_by(self) -> str:
        return next(iter(self._disturbances)) if len(self._disturbances) == 1 else ""

    def _forbids_text(self, kind: str) -> Forbidden | None:
        if kind == "DATA" and self.chunks:
            return _forbid("bdat-then-data", 503)
        if kind in ("DATA", "BDAT") and not self.accepted:
            if kind == "DATA" and self.lmtp:
                return _forbid(self._recipients_cleared_by, 503, plain="lmtp-needs-rcpt")
            plain = f"{kind.lower()}-needs-rcpt"
            return _forbid(self._recipients_cleared_by, 503, 554, plain=plain)
        if kind == "DATA" and self.mail and b"BODY=BINARYMIME" in self.mail.octets:
            return _forbid("binarymime-data", 503)
        return None

    def replies_to(self, move: Move) -> int:
        """How many replies this has."""
        ends = move.kind == "CONTENT" or self.is_last_chunk(move)
        return max(1, self.accepted) if self.lmtp and ends and self.mail else 1

    def is_last_chunk(self, move: Move) -> bool:
        """Whether a message ends with this chunk."""
        return move.kind == "BDAT" and b" LAST\r\n" in move.octets

    def follow(self, move: Move, answer: Answer) -> None:
        """Be where the server is after this reply, the last one, to `move`."""
        positive = answer.kind == 2
        if answer.code == 503 and move.kind in IN_SEQUENCE and not self.forbids(move):
            self.over = True  # It is somewhere else, and nobody knows where.
        self.waits_for = ""
        if move.kind in ("EHLO", "LHLO", "HELO") and positive:
            self.clear("ehlo-clears")
            self.greeted = True
            lines = (text.decode("latin-1") for text in answer.texts[1:])
            self.features = Features() if move.kind == "HELO" else Features.from_lines(lines)
        elif move.kind == "RSET" and positive:
            self.clear("rset-clears")
        elif move.kind in ("AUTH", "RESPONSE"):
            self.waits_for = "RESPONSE" if answer.kind == 3 else ""
            self.authenticated = self.authenticated or positive
        elif move.kind == "CONTENT":
            self.clear("transaction-ends")
        else:
            self._follow_transaction(move, answer)
        if self.mail and answer.kind in (4, 5):
            self._disturbances.add("refusal-keeps")
        elif self.mail and move.kind in _NEUTRAL:
            self._disturbances.add("noop-keeps")

    def _follow_transaction(self, move: Move, answer: Answer) -> None:
        positive = answer.kind == 2
        if move.kind == "MAIL" and positive:
            self.mail, self.refused, self._sender_cleared_by = move, 0, ""
            self._disturbances.clear()
        elif move.kind == "RCPT" and positive:
            self.accepted += 1
            self._recipients_cleared_by = ""
        elif move.kind == "RCPT":
            self.refused += 1
        elif move.kind == "DATA":
            self.waits_for = "CONTENT" if answer.kind == 3 else ""
        elif move.kind == "BDAT" and self.mail:
            self._follow_chunk(move, positive)

    def _follow_chunk(self, move: Move, positive: bool) -> None:
        if not positive and self.accepted:
            self.over = True  # RFC 3030 2: what may be said now, and how that is answered, is not told
        elif positive and self.is_last_chunk(move):
            self.clear("transaction-ends")
        self.chunks = positive and self.mail is not None

    def start_tls(self) -> None:
        """The handshake is done: what was said before it is forgotten."""
        self.clear("starttls-clears")
        self.tls, self.greeted, self.authenticated = True, False, False
        self.features = Features()

    def clear(self, rule: str) -> None:
        """There is no transaction any more, by this rule."""
        if self.mail:
            self._sender_cleared_by = rule
        if self.accepted:
            self._recipients_cleared_by = rule
        self.mail, self.accepted, self.refused, self.chunks = None, 0, 0, False
        self._disturbances.clear()


def _forbid(rule: str, *codes: int, plain: str = "") -> Forbidden:
    return Forbidden(rule or plain, frozenset(codes), plain)


def shown(codes: Iterable[int]) -> str:
    """These codes, to be read."""
    return " or ".join(map(str, sorted(codes)))
