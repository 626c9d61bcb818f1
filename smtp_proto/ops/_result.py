"""What became of a message: one outcome for each recipient, in SMTP and LMTP alike."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from .._addresses import Path
from .._message import Message, field
from .._replies import Reply


class Status(Enum):
    """What became of a message for one recipient."""

    ACCEPTED = "accepted"
    """The server has taken responsibility for it."""
    REFUSED = "refused"
    """The server will not take it: `reply` says why, and whether to try again."""
    UNSENT = "unsent"
    """The message was not sent: the connection died before it was complete, the session had no room for this
    recipient (RFC 9422), or another one was refused and all or nothing was asked for. Nothing was
    delivered."""
    UNKNOWN = "unknown"
    """The connection died while the verdict was due. It may have been delivered, or not."""


_ACCEPTED = Status.ACCEPTED  # an Enum member is slow to look up before Python 3.12


class Outcome(Message):
    """What became of the message for one recipient.

    `recipient`: the address, as it was given. `status`: what became of it. `reply`: the reply that decided,
    None if there was none; `reply.to` is the command that it answers: MAIL and DATA refuse for all
    recipients, RCPT for one, `EndOfMessage` is the verdict on the message. For an address that the server
    cannot be told it is what a server would say.
    """

    __slots__ = ("_recipient", "_reply", "_status")
    _fields = ("recipient", "status", "reply")

    recipient: Path = field("_recipient")
    status: Status = field("_status")
    reply: Reply | None = field("_reply")

    def __init__(self, *, recipient: Path, status: Status, reply: Reply | None) -> None:
        self._recipient = recipient
        self._status = status
        self._reply = reply

    def __str__(self) -> str:
        decided = "" if self.reply is None else f", {self.reply}"
        return f"{self.recipient}: {self.status.value}{decided}"


_new_outcome = Outcome.__new__


def outcome_for(recipient: str, status: Status, reply: Reply | None) -> Outcome:
    """`Outcome(recipient=Path(recipient), status=status, reply=reply)`."""
    outcome = _new_outcome(Outcome)
    outcome._recipient = Path(recipient)
    outcome._status = status
    outcome._reply = reply
    return outcome


class SendResult(Message):
    """What became of a message. `outcomes`: one for each recipient, in the order in which they were given,
    duplicates included.
    """

    __slots__ = ("_for_all", "_outcomes")
    _fields = ("outcomes",)

    def __init__(self, *, outcomes: tuple[Outcome, ...]) -> None:
        self._outcomes: tuple[Outcome, ...] | None = outcomes
        self._for_all: tuple[Sequence[str], Status, Reply | None] = ((), _ACCEPTED, None)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each recipient."""
        if self._outcomes is None:  # they are made when somebody asks
            recipients, status, reply = self._for_all
            self._outcomes = tuple([outcome_for(recipient, status, reply) for recipient in recipients])
        return self._outcomes

    def with_status(self, status: Status) -> tuple[Outcome, ...]:
        """The outcomes of this `status`."""
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)

    @property
    def accepted(self) -> tuple[Outcome, ...]:
        """Those for whom the server took the message."""
        return self.with_status(Status.ACCEPTED)

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """Those for whom the server refused it."""
        return self.with_status(Status.REFUSED)

    @property
    def all_accepted(self) -> bool:
        """Whether it was taken for everybody; False if there is nobody."""
        if self._outcomes is None:
            return self._for_all[1] is _ACCEPTED
        for outcome in self._outcomes:
            if outcome._status is not _ACCEPTED:
                return False
        return bool(self._outcomes)


_new_result = SendResult.__new__


def result_for_all(recipients: Sequence[str], status: Status, reply: Reply | None) -> SendResult:
    """The same outcome for each of `recipients`, of whom there is at least one."""
    result = _new_result(SendResult)
    result._outcomes = None
    result._for_all = (recipients, status, reply)
    return result
