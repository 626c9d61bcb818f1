"""Holds the rules of the RFCs against somebody else's server or client."""

from ._client_check import RuleBroken, Send, check_session
from ._client_machine import ClientMachine, behaviours, check_client, letters
from ._client_server import ReactiveServer
from ._client_session import Answer, Behaviour, Letter
from ._client_stream import ClientStopped, ServerStream
from ._client_table import CLIENT_RULES
from ._rules import Finding, Level, Rule, Verdict

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
    "RuleBroken",
    "Send",
    "ServerStream",
    "Verdict",
    "behaviours",
    "check_client",
    "check_session",
    "letters",
]
