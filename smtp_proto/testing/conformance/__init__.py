"""Holds the rules of the RFCs against somebody else's server or client.

check_server(connect, ...)      every rule of SERVER_RULES, a verdict for each
ServerMachine                   random sessions with a server, as a test; needs Hypothesis
"""

from typing import TYPE_CHECKING

from ._rules import Finding, Level, Rule, Verdict
from ._server import check_server
from ._server_ledger import RuleBroken
from ._server_options import ServerOptions, Stream
from ._server_rules import SERVER_RULES

if TYPE_CHECKING:
    from ._server_machine import ServerMachine

__all__ = [
    "SERVER_RULES",
    "Finding",
    "Level",
    "Rule",
    "RuleBroken",
    "ServerMachine",
    "ServerOptions",
    "Stream",
    "Verdict",
    "check_server",
]


def __getattr__(name: str) -> object:
    """What needs Hypothesis is imported by those who ask for it."""
    if name != "ServerMachine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._server_machine import ServerMachine

    return ServerMachine
