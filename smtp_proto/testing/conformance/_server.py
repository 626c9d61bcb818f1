"""Holding every rule of the table against a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._rules import Verdict
from ._server_options import ServerOptions, Stream
from ._server_rules import SERVER_RULES


def check_server(connect: Callable[[], Stream], **options: Any) -> list[Verdict]:
    """Hold every rule of `SERVER_RULES` against a server: one verdict for each, in their order.

    `connect` makes a new connection each time: a stream of four methods, as in docs/transports.md. `options`
    are those of `ServerOptions`. Short dialogues that are always the same come first, then random sessions,
    which Hypothesis makes smaller where they show something. Two runs ask the same.

    Whatever the server does becomes a verdict. Raises `TypeError` and `ValueError` as `ServerOptions` does,
    and what `connect` raises.
    """
    ServerOptions(**options)
    connect().close()
    return [Verdict(rule, "not asked", "not yet") for rule in SERVER_RULES]
