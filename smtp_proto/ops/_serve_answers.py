"""What an application may answer to the questions of `serve`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._errors import LocalProtocolError
from .._replies import Reply


def answers_to(hook: str, answer: Any, count: int = 1) -> Sequence[Reply | None]:
    """`answer` to each of `count` questions. Raises `LocalProtocolError` if it is none."""
    if answer is None:
        return [None] * count
    # To ask whether something is a sequence is slow, and nearly never is it one.
    is_alone = type(answer) is Reply or not isinstance(answer, Sequence)
    answers = [answer] * count if is_alone else answer
    if len(answers) != count or not all(map(_is_answer, answers)):
        raise LocalProtocolError(f"{hook} answered {answer!r}")
    return answers


def _is_answer(reply: object) -> bool:
    return reply is None or (type(reply) is Reply and not 300 <= reply.code < 400)


def veto(reply: Reply | None) -> Reply | None:
    """What is left of an answer where nothing but a refusal counts."""
    return None if reply is None or reply.is_positive else reply
