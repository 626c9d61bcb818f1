"""One session with a server: says things, hears the replies, and holds each exchange against the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from .._faults import Stream
from ._server_judge import Held, judge, judge_greeting, judge_quit
from ._server_ledger import RULES, Budget, Ledger, RuleBroken
from ._server_model import Model
from ._server_options import ServerOptions
from ._server_replies import Answer
from ._server_talk import HungUp, Silence, Talk
from ._server_vocabulary import WORDS
from ._server_words import Move

# What every server can answer: where it does not, it has lost count of the octets before.
_STEADY = frozenset({"noop", "rset", "quit", "ehlo", "lmtp-lhlo"})
_ALWAYS = ("NOOP", "RSET", "QUIT", "EHLO", "LHLO")
# So are commands answered that are not known.
_NOT_KNOWN = (500, 502)
# What each reply shows alone, whatever it answers.
_FORM = ("reply-", "enhanced-")
# So many replies are read to find the one to QUIT.
_LATE = 5
_QUIT = Move(kind="QUIT", octets=b"QUIT\r\n")


Connect: TypeAlias = Callable[[], Stream]
"""Makes a new connection to the server."""


@dataclass(frozen=True, slots=True)
class Check:
    """What all sessions of a check share."""

    connect: Connect
    options: ServerOptions
    ledger: Ledger
    budget: Budget


class Visit:
    """A session. `stops_at`: at which broken rules it ends; it always does at those behind which nothing more
    can be judged.

    Each method raises `RuleBroken`, after which nothing more can be said, and `Exhausted`.
    """

    def __init__(self, check: Check, stops_at: Callable[[str], bool] = lambda name: False) -> None:
        self._check = check
        self._stops_at = stops_at
        self._ends = ""  # the rule about where that ended which was said last
        self._code = 0  # of the reply that is judged
        self._was_refused = False
        self._may_close = False  # after what was said last
        self._is_group = False
        self._done: list[Move] = []
        self._broken: set[str] = set()
        self.model = Model(check.options.lmtp)
        self._talk = Talk(check.budget.connect(check.connect), check.options)
        self._greet()

    def move(self, name: str) -> Move | None:
        """What this word stands for now; None where it cannot be said."""
        move = WORDS[name](self._check.options, self.model.features)
        return move if move and self.model.takes(move) else None

    def hello(self) -> None:
        """EHLO, and what the options have a session begin with."""
        for names in (("ehlo",), ("starttls", "ehlo"), ("login",)):
            for name in names:
                move = None if self.model.over else self.move(name)
                if move is None:
                    break
                self.say(move)

    def say(self, *moves: Move) -> None:
        """Say this, all at once, and judge the replies."""
        self._is_group = len(moves) > 1
        try:
            self._send(moves)
            for move in moves:
                if not self.model.over:
                    self._exchange(move)
            if self._talk.has_more and not self.model.over:
                self._surplus("pipelining" if self._is_group else self._ends or "one-reply")
        except RuleBroken as seen:
            if not self._is_group:
                raise
            wrong = self._one_by_one(moves, seen)
            if wrong is None:
                return
            raise wrong from None
        if self._is_group:
            self._keep("pipelining-pieces" if moves[-1].cut else "pipelining")
        self._is_group = False
        self._done += moves
        if moves[-1].is_final:
            self.end()

    def end(self) -> None:
        """Take leave: QUIT, where that would be understood."""
        if not (self.model.over or self.model.waits_for):
            self._quit()
        self.drop()

    def drop(self) -> None:
        """Hang up."""
        self.model.over = True
        self._talk.close()

    def _send(self, moves: Iterable[Move]) -> None:
        *_, last = said = list(moves)
        octets = b"".join(move.octets for move in said)
        pieces = (octets[: last.cut], octets[last.cut :]) if last.cut else (octets,)
        self._check.options.pause()
        self._check.budget.send(len(said))
        self._talk.say(*pieces)

    def _greet(self) -> None:
        try:
            answer = self._talk.hear()
        except (Silence, HungUp):
            self._hold(Held("greeting", False, "the connection opens with nothing", False))
        else:
            self._hold_all(judge_greeting(answer))
            self.model.over = answer.code != 220

    def _exchange(self, move: Move) -> None:
        due = self.model.replies_to(move)
        answers: list[Answer] = []
        while len(answers) < due and not self.model.over:
            answer = self._hear(move, len(answers))
            if answer is None:
                return
            self._code = answer.code
            self._hold_all(judge(self.model, move, answer, self._check.ledger))
            answers.append(answer)
            self.model.over = answer.code == 421
        self._keep("one-reply", self._ends, "stays" if self._was_refused else "")
        if not self.model.over:
            self._follow(move, answers)

    def _hear(self, move: Move, heard: int) -> Answer | None:
        """The next reply; None where the server may hang up, and did."""
        try:
            return self._talk.hear()
        except HungUp:
            self.model.over = True
            if move.may_close or self._may_close:
                self._keep(move.ends, self._ends)
            else:
                self._hold(Held("stays", False, f"no answer to {move.line}: the server hangs up", False))
        except Silence:
            before = self._ends if move.kind in _ALWAYS else ""
            rule = move.ends or before or "one-reply"
            if heard:
                rule = "lmtp-bdat" if move.kind == "BDAT" else "lmtp-replies"
            elif move.kind == "BDAT":
                rule = "bdat-skips" if self.model.forbids(move) else "bdat-count"
            self._hold(Held(rule, False, f"no answer to {move.line}", False))
        return None

    def _follow(self, move: Move, answers: list[Answer]) -> None:
        """Be where the server is now."""
        answer, model = answers[-1], self.model
        forbidden = model.forbids(move)
        if model.lmtp and move.kind == "CONTENT":
            self._count_replies()
        if len(answers) > 1 and move.kind == "BDAT":
            self._keep("lmtp-bdat")
        if any(each.kind == 2 for each in answers):
            self._look_at_delivered(move)
        model.follow(move, answer)
        self._was_refused = answer.kind == 5
        self._ends, self._may_close = move.ends, move.may_close
        if move.kind == "BDAT":
            self._ends = "bdat-count" if answer.kind == 2 else "bdat-skips"
        elif move.kind in ("EHLO", "LHLO"):
            self._check.ledger.offers(model.features)
        elif move.kind == "STARTTLS" and answer.code == 220 and not forbidden:
            self._start_tls(move.ends or "starttls")
        elif move.kind == "STARTTLS" and move.ends:
            self._keep(move.ends)
            model.over = True  # without a handshake, what stands behind it may be answered

    def _count_replies(self) -> None:
        """As many replies as recipients were taken have come: no other may."""
        rule = "lmtp-refused" if self.model.refused else "lmtp-replies"
        self._hold(Held(rule, not self._talk.has_more, "more replies than recipients were taken", False))

    def _look_at_delivered(self, move: Move) -> None:
        arrived = self._check.options.delivered
        if arrived is not None and move.content is not None:
            body = move.content.replace(b"\r\n", b"\n")
            found = any(body in each.replace(b"\r\n", b"\n") for each in arrived())
            self._hold(Held(move.content_rule, found, f"this did not arrive: {move.content[-60:]!r}"))

    def _start_tls(self, rule: str) -> None:
        if self._talk.has_more:
            self._surplus(rule)
        try:
            self._talk.start_tls()
        except OSError as exc:
            self.model.over = True
            if rule == "starttls":
                self._hold(Held(rule, False, f"the handshake fails: {exc}", False))
            return  # what was said behind STARTTLS went into the handshake, and was not run
        self._keep("starttls")
        self.model.start_tls()

    def _surplus(self, rule: str) -> None:
        self._hold(Held(rule, False, "a reply came that answers nothing", False))

    def _quit(self) -> None:
        self._send([_QUIT])
        answer = self._hear(_QUIT, 0)
        if answer is None:
            return
        self._code = answer.code
        if answer.code != 221 and self._is_late():
            self._surplus(self._ends or "one-reply")
        self._hold_all(judge_quit(answer))
        self._keep(self._ends, "stays" if self._was_refused else "")
        self._hold_all(self._closing())

    def _is_late(self) -> bool:
        """Whether the answer to QUIT stands behind others, which nobody has asked for."""
        with suppress(Silence, HungUp):
            return any(self._talk.hear().code == 221 for _ in range(_LATE))
        return False

    def _closing(self) -> Iterable[Held]:
        try:
            answer = self._talk.hear()
        except HungUp:
            yield Held("quit-closes", True, "")
        except Silence:
            yield Held("quit-closes", False, "the connection stays open")
        else:
            yield Held("one-reply", False, f"{answer} stands behind the answer to QUIT")

    def _hold_all(self, held: Iterable[Held]) -> None:
        for each in held:
            self._hold(each)

    def _keep(self, *names: str) -> None:
        for name in names:
            if name:
                self._check.ledger.keep(name)

    def _hold(self, held: Held) -> None:
        rule, ledger = held.rule, self._check.ledger
        if held.is_kept:
            ledger.keep(rule)
            return
        is_soft = held.soft
        if self._ends and rule not in ledger.broken and (rule in _STEADY or self._code in _NOT_KNOWN):
            rule, is_soft = self._ends, False
        self._broken.add(rule)
        # In a group this may be the fault of the group: see `_one_by_one`.
        is_clear = not self._is_group or rule.startswith(_FORM) or rule in ledger.broken
        seen = ledger.seen_in(rule, self._talk.size)
        if seen is None:
            seen = RuleBroken(RULES[rule], held.seen, self._talk.dialogue)
            if is_clear:
                ledger.breaks(seen)
        if not (is_soft and is_clear) or self._stops_at(rule):
            self.drop()
            raise seen

    def _one_by_one(self, moves: Sequence[Move], seen: RuleBroken) -> RuleBroken | None:
        """What is wrong with a group: the same where all of it is said one at a time; if that is right, that
        it was said together; or, if that is right as well, that it was cut. None if that cannot be told.
        """
        before = [(move,) for move in self._done]
        *first, last = moves
        alone = [(move,) for move in moves]
        rule = "pipelining"
        wrong, is_over = self._again([*before, *alone], seen)
        if last.cut and not (wrong or is_over):
            rule = "pipelining-pieces"
            wrong, is_over = self._again([*before, (*first, replace(last, cut=0))], seen)
        if not (wrong or is_over):
            wrong = RuleBroken(RULES[rule], f"{seen.detail}; said otherwise it is", seen.dialogue)
            self._check.ledger.breaks(wrong)
        return wrong

    def _again(self, groups: Iterable[Sequence[Move]], seen: RuleBroken) -> tuple[RuleBroken | None, bool]:
        """What is wrong with this in a session of its own, if anything; and whether that ended early."""
        visit = Visit(self._check, self._stops_at)
        try:
            for moves in groups:
                if not visit.model.over:
                    visit.say(*moves)
            is_over = visit.model.over
            visit.end()
        except RuleBroken as wrong:
            return wrong, True
        return (seen if seen.rule.name in visit._broken else None), is_over
