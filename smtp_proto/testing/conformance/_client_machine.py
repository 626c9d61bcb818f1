"""Servers that Hypothesis makes up: what they offer, what they answer, how their octets arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from hypothesis.strategies import SearchStrategy

from ._client_cases import HOSTILE, OFFERS, TEXTS, cases
from ._client_check import Findings, RuleBroken, Send, converse, judge
from ._client_session import Answer, Behaviour, Letter
from ._client_stream import ServerStream
from ._rules import Verdict

# After so many kinds of fault that only drawn servers show, the rest waits for the next check.
_ROUNDS = 5

_TEXTS = (b"", b" ok", b" 4.0.0 x", b" \xff", b" " + b"x" * 300)


def check_client(
    send: Send, *, lmtp: bool = False, tls: bool = True, examples: int = 100
) -> list[Verdict]:
    """Drive a client through all cases, and then through servers that are made up; one verdict for each rule,
    in the order of the table.

    `send` has the client send one letter over a stream; see `Send`. `lmtp`: the client speaks LMTP. `tls`:
    the stream can do a handshake, so STARTTLS is offered. `examples`: how many servers are made up; what they
    show is made as small as can be. Every check of the same client is the same.

    Raises `ValueError` if `send` says that somebody got a letter who is no recipient.
    """
    findings = Findings()
    for letter, behaviour in cases(lmtp=lmtp, tls=tls):
        findings.add(converse(send, letter, behaviour))
    if examples:
        _search(send, findings, st.tuples(letters(), behaviours(lmtp=lmtp, tls=tls)), examples)
    return findings.verdicts()


def _search(
    send: Send, findings: Findings, drawn: SearchStrategy[tuple[Letter, Behaviour]], examples: int
) -> None:
    """Look for what no session has shown yet."""
    quiet = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    for _ in range(_ROUNDS):
        known = findings.broken

        def shows_more(case: tuple[Letter, Behaviour], known: frozenset[Any] = known) -> bool:
            return bool(findings.add(converse(send, *case)) - known)

        try:
            find(drawn, shows_more, settings=quiet)
        except NoSuchExample:
            return


def letters() -> SearchStrategy[Letter]:
    """A letter to one or several, with dots, line ends and octets of every kind in it."""
    atoms = st.sampled_from([b".", b"\r\n", b"\r\n.", b"a", b"\r\n.\r\n", "ü".encode(), b"\n", b"\r", b"b" * 50])
    texts = st.lists(atoms, max_size=12).map(b"".join) | st.sampled_from(TEXTS)
    names = st.lists(st.sampled_from(["bob", "carol", "dave", '"e e"', "gr\xe5"]), min_size=1, max_size=3, unique=True)
    recipients = names.map(lambda found: tuple(f"{name}@mx.example" for name in found))
    senders = st.sampled_from(["ada@client.example", "", "ad\xe5@client.example"])
    drawn = st.builds(Letter, sender=senders, recipients=recipients, data=texts)
    return drawn | st.sampled_from(HOSTILE)


def answers(moment: str) -> SearchStrategy[Answer]:
    """What a server may say at this moment, well or badly."""
    good = {"DATA": 354, "greeting": 220, "STARTTLS": 220, "AUTH": 235, "response": 235}
    codes = st.integers(400, 599) | (st.just(good[moment]) if moment in good else st.integers(200, 299))
    whole = st.builds(_reply, codes, st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=3))
    cut = st.builds(
        lambda octets, size: Answer(octets[: size % len(octets)], closes=True),
        whole.map(lambda answer: answer.octets),
        st.integers(0, 20),
    )
    rare = [Answer(b"421 closing\r\n"), Answer(b"250-more\r\n", endless=True)]
    if moment == "text":
        rare += [Answer(b"550-no\r\n250 yes\r\n"), Answer(b"250-yes\r\n550 no\r\n"), Answer(b"fine\r\n")]
    return st.one_of(whole, whole, cut, st.sampled_from(rare))


def _reply(code: int, lines: Iterable[bytes]) -> Answer:
    *first, last = (b"%d" % code + text for text in lines)
    return Answer(b"".join(b"%b-%b\r\n" % (line[:3], line[4:]) for line in first) + last + b"\r\n")


def behaviours(*, lmtp: bool = False, tls: bool = True) -> SearchStrategy[Behaviour]:
    """A server. It offers what it likes, and at some moments it is no good one."""
    moments = ["greeting", "HELO", "MAIL", "RCPT", "DATA", "text", "BDAT", "RSET", "QUIT"]
    moments += ["STARTTLS", "AUTH", "response"] if tls else []
    said = st.fixed_dictionaries(
        {}, optional={moment: st.lists(answers(moment), max_size=3).map(tuple) for moment in moments}
    )
    offers = st.lists(st.sampled_from(sorted({offer for some in OFFERS for offer in some})), unique=True).map(tuple)
    secured = st.sampled_from([(), ("STARTTLS",), ("STARTTLS", "AUTH PLAIN LOGIN")]) if tls else st.just(())
    return st.builds(
        Behaviour,
        lmtp=st.just(lmtp),
        offers=st.builds(tuple.__add__, offers, secured),
        tls_offers=st.none() | offers,
        answers=said,
        pieces=st.sampled_from([(), (), (1,), (4, 1), (1000,)]),
    )


class ClientMachine(RuleBasedStateMachine):
    """A server that is changed step by step, and a client that sends letters to it. Subclass it, with `send`:

        class MyClient(ClientMachine):
            def send(self, stream, letter): ...

        TestMyClient = MyClient.TestCase

    Raises `RuleBroken` where a rule is broken, save those that are named in `excused`.
    """

    lmtp = False
    tls = True
    excused: frozenset[str] = frozenset()

    def send(self, stream: ServerStream, letter: Letter) -> Iterable[str] | None:
        """As `Send`."""
        raise NotImplementedError

    @initialize(behaviour=st.deferred(lambda: behaviours()))
    def begins(self, behaviour: Behaviour) -> None:
        """A server."""
        self.behaviour = behaviour

    @rule(letter=letters())
    def sends(self, letter: Letter) -> None:
        """The client sends a letter."""
        session = converse(self.send, letter, self.behaviour)
        verdicts = [one for one in judge(session) if one.finding == "broken" and one.rule.name not in self.excused]
        if verdicts:
            raise RuleBroken(verdicts)
