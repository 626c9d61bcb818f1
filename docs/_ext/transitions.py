"""The table of `smtp_proto._state` as one role and one protocol have it, in groups that fit into a drawing.

What is the same in many states is a rule, and said in words. What leaves a state as it is stands in the
state. The rest are arrows: one for all that leads from one state to another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from smtp_proto import Command, Ehlo, Helo, Lhlo, LocalProtocolError, MalformedCommand, ServerConnection
from smtp_proto._rules import RULES
from smtp_proto._state import SAID, TABLE, State

Role = Literal["client", "server"]

# What is the same in so many states is a rule.
_MANY = 4

# Verdicts for each recipient are announced by 353 in SMTP (PRDR); LMTP has them unannounced.
_SMTP_ONLY = 353

# What is said and has no verb of its own.
_NAMES = {
    "Opening": "connection",
    "AuthResponse": "response",
    "MessageData": "octets",
    "EndOfMessage": "end of message",
    "UnknownCommand": "an unknown command",
    "MalformedCommand": "a malformed command",
}


class Transition(NamedTuple):
    """One entry of the table: `command`, said in `state` and answered with `code`, leads to `target`.

    `code` is a whole code, a class (2, 4, 5) or `SAID`, for which no answer is waited. None: the state stays,
    whatever the answer is, and so is `target`.
    """

    state: State
    command: type[Command]
    code: int | None
    target: State | None


@dataclass(frozen=True)
class Group:
    """Entries that differ in nothing but the state and the command."""

    sources: tuple[State, ...]
    commands: tuple[type[Command], ...]
    codes: tuple[int, ...]
    target: State | None

    @property
    def is_rule(self) -> bool:
        return len(self.sources) >= _MANY

    def transitions(self) -> Iterator[Transition]:
        """The entries, one by one."""
        for state in self.sources:
            for command in self.commands:
                for code in self.codes or (None,):
                    yield Transition(state, command, code, self.target)


@dataclass(frozen=True)
class Chart:
    """All of the table that a role has of a protocol."""

    role: Role
    lmtp: bool
    groups: tuple[Group, ...]

    @property
    def title(self) -> str:
        return f"{'LMTP' if self.lmtp else 'SMTP'}, the {self.role}'s end"

    @property
    def rules(self) -> list[Group]:
        """What is said in words."""
        return [group for group in self.groups if group.is_rule]

    @property
    def arrows(self) -> dict[tuple[State, State], list[Group]]:
        """What is drawn between two states."""
        arrows: dict[tuple[State, State], list[Group]] = defaultdict(list)
        for group in self.groups:
            for state in group.sources:
                if group.target is not None and (not group.is_rule or group in self._only_ways_from(state)):
                    arrows[state, group.target].append(group)
        return dict(arrows)

    @property
    def stays(self) -> dict[State, list[type[Command]]]:
        """What is written into a state: it may be said there and changes nothing."""
        stays: dict[State, list[type[Command]]] = defaultdict(list)
        for group in self.groups:
            for state in group.sources:
                if group.target is None and not group.is_rule:
                    stays[state] += group.commands
        return dict(stays)

    def _only_ways_from(self, state: State) -> list[Group]:
        """The rules that are drawn all the same, because nothing else leads away. Not QUIT, if it can be."""
        ways = [group for group in self.groups if state in group.sources and group.target is not None]
        if not all(group.is_rule for group in ways):
            return []
        return [group for group in ways if group.target is not State.CLOSED] or ways


def entries(role: Role, *, lmtp: bool) -> Iterator[Transition]:
    """The table, entry by entry, without what this role or this protocol never says."""
    foreign: set[type[Command]] = {kind for kind in (Ehlo, Helo, Lhlo) if _is_foreign(kind, lmtp=lmtp)}
    if role == "client":
        foreign.add(MalformedCommand)  # which is only heard
    for state, row in TABLE.items():
        for command in row.keys() - foreign:
            outcomes = {code: to for code, to in row[command].items() if not (lmtp and code == _SMTP_ONLY)}
            if not outcomes:
                yield Transition(state, command, None, None)
            for code, target in outcomes.items():
                yield Transition(state, command, code, target)


def chart(role: Role, *, lmtp: bool) -> Chart:
    """The table in groups, in the order of the table."""
    codes: dict[tuple[State, type[Command], State | None], list[int]] = defaultdict(list)
    for state, command, code, target in entries(role, lmtp=lmtp):
        codes[state, command, target] += [] if code is None else [code]
    sources: dict[tuple[type[Command], tuple[int, ...], State | None], list[State]] = defaultdict(list)
    for (state, command, target), several in codes.items():
        sources[command, tuple(several), target].append(state)
    commands: dict[tuple[tuple[State, ...], tuple[int, ...], State | None], list[type[Command]]]
    commands = defaultdict(list)
    for (command, several_codes, target), states in sources.items():
        commands[tuple(states), several_codes, target].append(command)
    order = [kind for row in TABLE.values() for kind in row]
    return Chart(
        role,
        lmtp,
        tuple(
            Group(states, tuple(sorted(kinds, key=order.index)), several_codes, target)
            for (states, several_codes, target), kinds in sorted(
                commands.items(), key=lambda one: (list(State).index(one[0][0][0]), order.index(one[1][0]))
            )
        ),
    )


def _is_foreign(kind: type[Ehlo | Helo | Lhlo], *, lmtp: bool) -> bool:
    try:
        RULES[kind](ServerConnection(lmtp=lmtp), kind(domain="client.example"))
    except LocalProtocolError:
        return True
    return False


def name(command: type[Command]) -> str:
    """What is said, in words that a reader of the RFCs knows."""
    return _NAMES.get(command.__name__, command.verb)


def names(commands: Sequence[type[Command]]) -> str:
    """The same of several."""
    return ", ".join(map(name, commands))


def answers(codes: Sequence[int]) -> str:
    """Codes and classes of codes, as the RFCs write them."""
    return ", ".join("at once" if code == SAID else str(code) if code > 9 else f"{code}yz" for code in codes)


CHARTS = {
    f"{role} {'lmtp' if lmtp else 'smtp'}": chart(role, lmtp=lmtp)
    for role in get_args(Role)
    for lmtp in (False, True)
}
