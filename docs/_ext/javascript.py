"""Python's regular expressions as JavaScript's, as far as the grammar of the core goes.

JavaScript has no possessive quantifiers, which only keep the search short, and no flags inside an expression.
A text there is made of octets here: its characters are those below 256.
"""

from __future__ import annotations

import re
from typing import Any

from smtp_proto._grammar import Rule

_TOKEN = re.compile(
    r"""
    (?P<set> \[ (?: \\. | [^\]\\] )* \] )
  | (?P<possessive> (?P<quantifier> [*+?] | \{[0-9,]+\} ) \+ )
  | \(\?P<(?P<name> [a-z]+ )>
  | \(\?(?P<flag> [is] ):
  | (?P<open> \( (?: \?: | \?! | \?= )? )
  | (?P<close> \) )
  | (?P<end> \\Z )
  | (?P<escape> \\. )
  | (?P<letter> [A-Za-z] )
  | (?P<any> \. )
    """,
    re.VERBOSE,
)


def pattern(rule: Rule[Any] | str) -> str:
    """The source of an expression in JavaScript that matches what this rule does."""
    source: str | bytes = rule if isinstance(rule, str) else rule._pattern
    text = source.decode("latin-1") if isinstance(source, bytes) else source
    flags = [""]  # of the groups that are open

    def translate(match: re.Match[str]) -> str:
        token = match[0]
        if match["possessive"]:
            return match["quantifier"]
        if match["name"] or match["flag"] or match["open"]:
            flags.append(flags[-1] + (match["flag"] or ""))
            return f"(?<{match['name']}>" if match["name"] else "(?:" if match["flag"] else token
        if match["close"]:
            flags.pop()
        elif match["end"]:
            return "$"
        elif match["letter"] and "i" in flags[-1]:
            return f"[{token.upper()}{token.lower()}]"
        elif match["any"]:
            return "[^]" if "s" in flags[-1] else r"[^\n]"
        return token

    return _TOKEN.sub(translate, text)
