"""Holds the rules of the RFCs against somebody else's server or client.

check_client(send, ...)         every rule of CLIENT_RULES, a verdict for each
ClientMachine                   a server that changes, and a client, as a test; needs Hypothesis
"""

from typing import TYPE_CHECKING

from ._client_check import RulesBroken, Send, check_client, check_session
from ._client_server import ReactiveServer
from ._client_session import Answer, Behaviour, Letter
from ._client_stream import ClientStopped, ServerStream
from ._client_table import CLIENT_RULES
from ._rules import Finding, Level, Rule, Verdict

if TYPE_CHECKING:
    from ._client_machine import ClientMachine, behaviours, letters

__all__ = [
    "CLIENT_RULES",
    "Answer",
    "Behaviour",
    "ClientMachine",
    "ClientStopped",
    "Finding",
    "Letter",
    "Level",
    "ReactiveServer",
    "Rule",
    "RulesBroken",
    "Send",
    "ServerStream",
    "Verdict",
    "behaviours",
    "check_client",
    "check_session",
    "letters",
]


def __getattr__(name: str) -> object:
    """What needs Hypothesis is imported by those who ask for it."""
    if name not in ("ClientMachine", "behaviours", "letters"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _client_machine

    return getattr(_client_machine, name)
