"""What was seen of each rule so far, and how far a check may still go."""

from __future__ import annotations

from collections.abc import Callable

from ..._features import Features
from .._faults import Stream
from ._rules import Rule, Verdict
from ._server_options import ServerOptions
from ._server_rules import NEEDS, SERVER_RULES

RULES = {rule.name: rule for rule in SERVER_RULES}


class RuleBroken(AssertionError):
    """A server broke a rule. `rule`: which. `detail`: what was seen. `dialogue`: what was said up to there,
    as the text of a `Script`.
    """

    def __init__(self, rule: Rule, detail: str, dialogue: str) -> None:
        self.rule = rule
        self.detail = detail
        self.dialogue = dialogue
        super().__init__(f"{rule.name} ({rule.section}): {rule.text}\n{detail}\n\n{dialogue}")


class Exhausted(BaseException):
    """Nothing more is asked, and why. No `Exception`: Hypothesis would hold that against the server."""


class Budget:
    """How many connections and commands are left."""

    def __init__(self, options: ServerOptions) -> None:
        self._connections = options.max_connections
        self._commands = options.max_commands
        self._is_first = True

    def connect(self, connect: Callable[[], Stream]) -> Stream:
        """A new connection. Raises `Exhausted` where there is none left, and where the server takes no more
        of them; `OSError` where it does not take the first.
        """
        self._connections -= 1
        if self._connections < 0:
            raise Exhausted("so many connections are not allowed")
        try:
            stream = connect()
        except OSError as exc:
            if self._is_first:
                raise
            raise Exhausted(f"the server took no more connections: {exc}") from exc
        self._is_first = False
        return stream

    def send(self, commands: int) -> None:
        """Count commands. Raises `Exhausted` where there are not so many left."""
        self._commands -= commands
        if self._commands < 0:
            raise Exhausted("so many commands are not allowed")


class Ledger:
    """What was seen of each rule: the shortest dialogue that shows it broken, or that it was kept."""

    def __init__(self) -> None:
        self._kept: set[str] = set()
        self._broken: dict[str, RuleBroken] = {}
        self.offered: Features = Features()
        """All that the server has offered so far, in the clear and under TLS."""
        self.stopped = ""
        """Why nothing more is asked, where it is not all."""

    @property
    def broken(self) -> frozenset[str]:
        """The names of the rules that were broken."""
        return frozenset(self._broken)

    def was_kept(self, name: str) -> bool:
        """Whether this rule was asked and kept, so far."""
        return name in self._kept and name not in self._broken

    def keep(self, name: str) -> None:
        """This rule was asked, and kept."""
        self._kept.add(name)

    def breaks(self, seen: RuleBroken) -> None:
        """This rule was broken."""
        if self.seen_in(seen.rule.name, len(seen.dialogue)) is None:
            self._broken[seen.rule.name] = seen

    def seen_in(self, name: str, size: int) -> RuleBroken | None:
        """How this rule was broken in a dialogue of `size` octets at most, if it was."""
        seen = self._broken.get(name)
        return seen if seen is not None and len(seen.dialogue) <= size else None

    def offers(self, features: Features) -> None:
        """The server offered these extensions."""
        self.offered = Features({**self.offered, **features})

    def verdicts(self, options: ServerOptions) -> list[Verdict]:
        """One for each rule, in the order of the table."""
        return [self._verdict(rule, options) for rule in SERVER_RULES]

    def _verdict(self, rule: Rule, options: ServerOptions) -> Verdict:
        seen = self._broken.get(rule.name)
        if seen is not None:
            return Verdict(rule, "broken", seen.detail, seen.dialogue)
        if rule.name in self._kept:
            return Verdict(rule, "kept")
        return Verdict(rule, "not asked", self._why_not(rule, options))

    def _why_not(self, rule: Rule, options: ServerOptions) -> str:
        for need in NEEDS[rule.name]:
            if need.isupper() or need == "8BITMIME":
                if need not in self.offered:
                    return f"the server does not offer {need}"
            elif not options.has(need):
                other = {"lmtp": "LMTP only", "smtp": "SMTP only"}
                return other.get(need, f"the option {need} does not allow it")
        return self.stopped or "the server gave no occasion: it refused what comes before"
