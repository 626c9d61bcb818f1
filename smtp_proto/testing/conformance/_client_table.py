"""The table: all rules for clients, as the files below have them, one behind the other."""

from __future__ import annotations

from . import _client_lines, _client_order, _client_text, _client_tls, _client_verdicts
from ._client_rule import CHECKS
from ._rules import Rule

# Who imports these has what is in the table.
PARTS = (_client_lines, _client_order, _client_text, _client_tls, _client_verdicts)

CLIENT_RULES: tuple[Rule, ...] = tuple(CHECKS)
"""All rules for clients, in the order of the table."""
