"""Holds the rules of the RFCs against somebody else's server or client."""

from ._rules import Finding, Level, Rule, Verdict

__all__ = ["Finding", "Level", "Rule", "Verdict"]
