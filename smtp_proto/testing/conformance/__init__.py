"""Holds the rules of the RFCs against somebody else's server or client."""

from . import _client_lines, _client_order, _client_text, _client_tls, _client_verdicts
from ._client_cases import cases
from ._client_check import RuleBroken, Send, converse, judge
from ._client_machine import ClientMachine, behaviours, check_client, letters
from ._client_rule import CHECKS
from ._client_server import ReactiveServer
from ._client_session import Answer, Behaviour, Letter, Session
from ._client_stream import ClientStopped, ServerStream
from ._rules import Finding, Level, Rule, Verdict
