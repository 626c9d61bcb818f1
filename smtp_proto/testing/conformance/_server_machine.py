"""Random sessions with a server, legal and illegal. Hypothesis makes them small where they show something.

What is said is drawn from the vocabulary, where the model has a place for it, and made up besides: arguments,
chunks, the text of messages, and how all of it is cut. The judge is that of the fixed dialogues.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import ClassVar, cast

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ._server_ledger import Budget, Ledger, RuleBroken
from ._server_options import ServerOptions
from ._server_visit import Check, Connect, Visit
from ._server_vocabulary import HEADER, WORDS, chunk
from ._server_words import Move, stuffed

# Too much to say over and over, or what gets a client locked out.
_NOT_AT_RANDOM = frozenset({"content-too-big", "rcpt-hundred", "auth-wrong"})
_NAMES = sorted(WORDS.keys() - _NOT_AT_RANDOM)
# What may stand in a group with others behind it (RFC 2920 3.1), and what may only end one.
_GROUPED = frozenset({"NOOP", "RSET", "MAIL", "RCPT", "XNOSUCH"})
_LAST = frozenset({*_GROUPED, "DATA", "VRFY"})
# So often the search begins again, to find something else.
_ROUNDS = 8
_STEPS = 15

_QUOTED = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=40)
_LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x", b"NOOP", b"RSET"]), max_size=6)
_CHUNKS = st.lists(st.sampled_from([b"NOOP\r\n", b".", b"\r\n", b"\n", b"\r", b"\0", b"x"]), max_size=6)


class ServerMachine(RuleBasedStateMachine):
    """Random sessions with a server. A rule of `SERVER_RULES` that it breaks fails the test.

        class MyServer(ServerMachine):
            connect = staticmethod(connect)
            options = ServerOptions(recipients=("bob@mx.example",))


        TestMyServer = MyServer.TestCase

    `connect`, `options`: as for `check_server`. `ignored`: the names of rules that it may break.
    """

    connect: ClassVar[Connect]
    options: ClassVar[ServerOptions] = ServerOptions()
    ignored: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self._visit: Visit | None = None

    def make_check(self) -> Check:
        """What the sessions of this run have in common."""
        return Check(type(self).connect, self.options, Ledger(), Budget(self.options))

    def can_begin(self) -> bool:
        return self._visit is None

    def can_say(self) -> bool:
        return self._visit is not None

    def can_command(self) -> bool:
        return self._visit is not None and not self._visit.model.waits_for

    def can_group(self) -> bool:
        return self.can_command() and self._offers("PIPELINING")

    def can_chunk(self) -> bool:
        return self.can_command() and self._offers("CHUNKING")

    def can_text(self) -> bool:
        waits = self._visit is not None and self._visit.model.waits_for == "CONTENT"
        return waits and self.options.has("deliver")

    @precondition(can_begin)
    @rule()
    def begin(self) -> None:
        """A session."""
        self._do(self._begin)

    @precondition(can_say)
    @rule(data=st.data())
    def say(self, data: st.DataObject) -> None:
        """Something of the vocabulary; or nothing more, where there is nothing for the place."""
        moves = self._moves()
        if moves:
            move = moves[data.draw(_drawn(moves))]
            self._do(lambda: self._here.say(move))
        else:
            self._do(self._here.end)

    @precondition(can_say)
    @rule(steps=st.integers(1, 4), second=st.booleans())
    def go_on(self, steps: int, second: bool) -> None:
        """What comes next on the way to a message, as far as its text."""
        for _ in range(steps):
            move = self._here.move(self._here.model.next_word(second))
            self._do(partial(self._here.say, move) if move else self._here.end)
            if self._visit is None or self._here.model.waits_for:
                break

    @precondition(can_group)
    @rule(data=st.data(), count=st.integers(1, 5))
    def say_together(self, data: st.DataObject, count: int) -> None:
        """A group (RFC 2920), in two pieces."""
        moves = {name: move for name, move in self._moves().items() if not move.is_final}
        inner = _drawn({name: move for name, move in moves.items() if move.kind in _GROUPED})
        last = _drawn({name: move for name, move in moves.items() if move.kind in _LAST})
        names = [*data.draw(st.lists(inner, min_size=count, max_size=count)), data.draw(last)]
        group = [moves[name] for name in names]
        size = sum(len(move.octets) for move in group)
        cut = data.draw(st.integers(0, size - 1))
        group[-1] = replace(group[-1], cut=cut, ends="")
        self._do(lambda: self._here.say(*group))

    @precondition(can_command)
    @rule(text=_QUOTED, cut=st.integers(0, 6))
    def say_anything(self, text: str, cut: int) -> None:
        """An argument that means nothing: a String (RFC 5321 4.1.1.9)."""
        octets = b'NOOP "%b"\r\n' % text.encode()
        move = Move(
            kind="NOOP",
            octets=octets,
            rule="noop-argument",
            want="accepted",
            cut=cut,
            ends="command-pieces" if cut else "",
        )
        self._do(lambda: self._here.say(move))

    @precondition(can_text)
    @rule(lines=_LINES, cut=st.integers(0, 8))
    def say_text(self, lines: list[bytes], cut: int) -> None:
        """A message behind DATA."""
        body = HEADER + b"".join(line + b"\r\n" for line in lines)
        made = Move(kind="CONTENT", octets=b"", ends="end-of-data", content_rule="dot-stuffing", cut=-cut)
        self._do(lambda: self._here.say(stuffed(body, made)))

    @precondition(can_chunk)
    @rule(pieces=_CHUNKS, cut=st.integers(0, 10))
    def say_chunk(self, pieces: list[bytes], cut: int) -> None:
        """A chunk (RFC 3030)."""
        move = chunk(b"".join(pieces))
        line = move.octets.index(b"\r\n") + 2
        self._do(lambda: self._here.say(replace(move, cut=line + cut)))

    @precondition(can_command)
    @rule()
    def leave(self) -> None:
        """The session ends."""
        self._do(self._here.end)

    def teardown(self) -> None:
        """What was begun ends with QUIT."""
        if self._visit is not None:
            self.leave()

    @property
    def _here(self) -> Visit:
        # The preconditions see to it that there is one.
        return cast(Visit, self._visit)

    def _begin(self) -> None:
        self._visit = Visit(self.make_check(), lambda name: name not in self.ignored)
        self._visit.hello()

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except RuleBroken as seen:
            self._visit = None
            if seen.rule.name not in self.ignored:
                raise
        else:
            if self._here.model.over:
                self._here.drop()
                self._visit = None

    def _moves(self) -> dict[str, Move]:
        return {name: move for name in _NAMES if (move := self._here.move(name))}

    def _offers(self, keyword: str) -> bool:
        return keyword in self._here.model.features


def _drawn(moves: Container[str]) -> st.SearchStrategy[str]:
    """One of these names, from all: what is drawn means the same after a step before it was left out."""
    return st.sampled_from(_NAMES).filter(lambda name: name in moves)


def run_at_random(check: Check) -> None:
    """So many random sessions as the options say, and again without what they have shown, until they show
    nothing more. What they show is in the ledger.
    """
    examples = check.options.examples
    quiet = settings(
        max_examples=examples,
        stateful_step_count=_STEPS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        verbosity=Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )

    class Machine(ServerMachine):
        connect = staticmethod(check.connect)
        options = check.options

        def make_check(self) -> Check:
            return check

    for _ in range(_ROUNDS):
        Machine.ignored = check.ledger.broken
        # Of a server that does not do the same twice, what was seen once counts.
        with suppress(RuleBroken, Flaky):
            run_state_machine_as_test(Machine, settings=quiet)
        if Machine.ignored == check.ledger.broken:
            break
