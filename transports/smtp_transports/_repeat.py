"""When a message may be sent again, and for whom: what pools of both colours ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smtp_proto import Rcpt
from smtp_proto.ops import SendResult, Status

from ._answers import is_message
from ._client import AsyncClient, Client


def is_lasting(body: object) -> bool:
    """Whether a body can be read twice."""
    return isinstance(body, bytes | bytearray | memoryview | list | tuple) or is_message(body)


def may_repeat(client: Client | AsyncClient, body: object) -> bool:
    """Whether nobody has got the message, and it can be sent from its beginning."""
    return not client.is_message_sent and is_lasting(body)


def is_temporary(result: SendResult) -> bool:
    """Whether nobody was refused for good."""
    return all(outcome.reply is not None and outcome.reply.is_transient for outcome in result.outcomes)


def left_over(
    result: SendResult, recipients: str | Sequence[str | Rcpt], body: object, options: Mapping[str, Any]
) -> list[str | Rcpt]:
    """The recipients for whom there was no room in the session (RFC 9422), and may be in another."""
    if isinstance(recipients, str) or options.get("all_or_nothing") or not is_lasting(body):
        return []
    pairs = zip(recipients, result.outcomes, strict=True)
    return [recipient for recipient, outcome in pairs if outcome.status is Status.UNSENT]


def merged(result: SendResult, more: SendResult) -> SendResult:
    """`result`, with what became of those who were left over in it."""
    later = iter(more.outcomes)
    outcomes = (next(later) if one.status is Status.UNSENT else one for one in result.outcomes)
    return SendResult(outcomes=tuple(outcomes))
