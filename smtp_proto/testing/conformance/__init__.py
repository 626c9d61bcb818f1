"""Holds the rules of the RFCs against somebody else's server or client.

check_server(connect, ...)      every rule of SERVER_RULES, a verdict for each
"""

from ._rules import Finding, Level, Rule, Verdict
from ._server import check_server
from ._server_options import ServerOptions, Stream
from ._server_rules import SERVER_RULES

__all__ = [
    "SERVER_RULES",
    "Finding",
    "Level",
    "Rule",
    "ServerOptions",
    "Stream",
    "Verdict",
    "check_server",
]
