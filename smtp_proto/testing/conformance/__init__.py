"""Holds the rules of the RFCs against somebody else's server or client.

check_server(connect, options)  every rule of SERVER_RULES, a verdict for each
ServerMachine                   random sessions with a server, as a test; needs Hypothesis
check_client(send, ...)         every rule of CLIENT_RULES, a verdict for each
ClientMachine                   a server that changes, and a client, as a test; needs Hypothesis
"""

from typing import TYPE_CHECKING

from .._faults import Stream
from ._client_check import RulesBroken, Send, check_client, check_session
from ._client_server import ReactiveServer
from ._client_session import Answer, Behaviour, Letter
from ._client_stream import ClientStopped, ServerStream
from ._client_table import CLIENT_RULES
from ._rules import Finding, Level, Rule, Verdict
from ._server import check_server
from ._server_ledger import RuleBroken
from ._server_options import ServerOptions
from ._server_rules import SERVER_RULES

if TYPE_CHECKING:
    from ._client_machine import ClientMachine, behaviours, letters
    from ._server_machine import ServerMachine

__all__ = [
    "CLIENT_RULES",
    "SERVER_RULES",
    "Answer",
    "Behaviour",
    "ClientMachine",
    "ClientStopped",
    "Finding",
    "Letter",
    "Level",
    "ReactiveServer",
    "Rule",
    "RuleBroken",
    "RulesBroken",
    "Send",
    "ServerMachine",
    "ServerOptions",
    "ServerStream",
    "Stream",
    "Verdict",
    "behaviours",
    "check_client",
    "check_server",
    "check_session",
    "letters",
]


def __getattr__(name: str) -> object:
    """What needs Hypothesis is imported by those who ask for it."""
    if name == "ServerMachine":
        from ._server_machine import ServerMachine

        return ServerMachine
    if name not in ("ClientMachine", "behaviours", "letters"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _client_machine

    return getattr(_client_machine, name)
