"""Servers that Hypothesis makes up: what they offer, what they answer, how their octets arrive."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TypeVar

from hypothesis import HealthCheck, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.stateful import RuleBasedStateMachine, rule
from hypothesis.strategies import DataObject, SearchStrategy

from ._client_cases import HOSTILE, OFFERS, TEXTS
from ._client_check import Findings, RulesBroken, Send, check_session, converse
from ._client_session import Answer, Behaviour, Letter
from ._client_stream import ServerStream

_T = TypeVar("_T")

_MOMENTS = ("text", "RCPT", "DATA", "MAIL", "BDAT", "HELO", "greeting", "RSET", "QUIT")
_MOMENTS_OF_TLS = ("STARTTLS", "AUTH", "response")

# What says that all is well, where it is no 2yz of any kind.
_GOOD = {"DATA": 354, "greeting": 220, "STARTTLS": 220, "AUTH": 235, "response": 235}
_TEXTS = ("", " ok", " 4.0.0 x", " \xff", " " + "x" * 300)
_RARE = (Answer(b"421 closing\r\n"), Answer(b"250-more\r\n", endless=True))
_RARE_VERDICTS = (
    Answer(b"550-no\r\n250 yes\r\n"),
    Answer(b"250-yes\r\n550 no\r\n"),
    Answer(b"fine\r\n"),
)

_ATOMS = (b".", b"\r\n", b"\r\n.", b"a", b"\r\n.\r\n", "ü".encode(), b"\n", b"\r", b"b" * 50)
_OFFERS = sorted({offer for offers in OFFERS for offer in offers})
_NAMES = ("bob", "carol", "dave", "erin", '"e e"', "gr\xe5")
_SENDERS = ("ada@client.example", "", "ad\xe5@client.example")


def search(send: Send, findings: Findings, *, lmtp: bool, tls: bool, examples: int) -> None:
    """Look for what no session has shown yet, as long as that shows a rule broken that was not before."""
    drawn = st.tuples(letters(), behaviours(lmtp=lmtp, tls=tls))
    quiet = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    while True:
        known = findings.broken

        def shows_more(case: tuple[Letter, Behaviour], known: frozenset[str] = known) -> bool:
            return bool(findings.add(converse(send, *case)) - known)

        try:
            find(drawn, shows_more, settings=quiet)
        except NoSuchExample:
            return


def letters() -> SearchStrategy[Letter]:
    """A letter to one or several, with dots, line ends and octets of every kind in it."""
    texts = st.lists(st.sampled_from(_ATOMS), max_size=12).map(b"".join) | st.sampled_from(TEXTS)
    names = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True)
    recipients = names.map(lambda drawn: tuple(f"{name}@mx.example" for name in drawn))
    senders = _mostly(st.just(_SENDERS[0]), st.sampled_from(_SENDERS))
    drawn = st.builds(Letter, sender=senders, recipients=recipients, data=texts)
    return _mostly(drawn, st.sampled_from(HOSTILE))


def _mostly(usual: SearchStrategy[_T], rare: SearchStrategy[_T]) -> SearchStrategy[_T]:
    """`usual`, and now and then `rare`."""
    return st.integers(0, 9).flatmap(lambda drawn: rare if drawn == 9 else usual)


def answers(moment: str) -> SearchStrategy[Answer]:
    """What a server may say at this moment, well or badly."""
    good = st.just(_GOOD[moment]) if moment in _GOOD else st.integers(200, 299)
    texts = st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=3)
    whole = st.builds(_reply, good | st.integers(400, 599), texts)
    cut = st.builds(_cut, whole, st.integers(0, 20))
    rare = st.sampled_from((*_RARE, *_RARE_VERDICTS) if moment == "text" else _RARE)
    return _mostly(whole, cut | rare)


def _reply(code: int, texts: list[str]) -> Answer:
    *first, last = texts
    lines = [f"{code}-{text[1:]}\r\n" for text in first] + [f"{code}{last}\r\n"]
    return Answer("".join(lines).encode("latin-1"))


def _cut(whole: Answer, size: int) -> Answer:
    return Answer(whole.octets[: size % len(whole.octets)], closes=True)


def _offers(*, tls: bool) -> SearchStrategy[tuple[str, ...]]:
    secured = [(), ("STARTTLS",), ("STARTTLS", "AUTH PLAIN LOGIN")] if tls else [()]
    # Which of them, as the bits of a number: several times as quick as one by one.
    bits = st.integers(0, 2 ** len(_OFFERS) - 1)
    some = bits.map(lambda drawn: tuple(offer for bit, offer in enumerate(_OFFERS) if drawn >> bit & 1))
    return st.builds(tuple.__add__, some, st.sampled_from(secured))


def _pieces() -> SearchStrategy[tuple[int, ...]]:
    return st.sampled_from([(), (), (1,), (4, 1), (1000,)])


# To make a strategy costs more than to draw from it.
@cache
def _planned(moment: str) -> SearchStrategy[tuple[Answer, ...]]:
    return st.lists(answers(moment), max_size=3).map(tuple)


def _moments(*, tls: bool) -> tuple[str, ...]:
    return _MOMENTS + _MOMENTS_OF_TLS if tls else _MOMENTS


def behaviours(*, lmtp: bool = False, tls: bool = True) -> SearchStrategy[Behaviour]:
    """A server. It offers what it likes, and at some moments it is no good one."""
    moments = st.sampled_from(_moments(tls=tls))
    planned = st.lists(moments.flatmap(lambda one: st.tuples(st.just(one), _planned(one))), max_size=3)
    return st.builds(
        Behaviour,
        lmtp=st.just(lmtp),
        offers=_offers(tls=tls),
        tls_offers=st.none() | _offers(tls=False),
        answers=planned.map(dict),
        pieces=_pieces(),
    )


class ClientMachine(RuleBasedStateMachine):
    """A server that is changed step by step, and a client that sends it letters. Subclass it, with `send`,
    and have your test runner find the `TestCase` of the subclass.

    `lmtp`, `tls`: as for `check_client`. `ignored`: names of rules that may be broken. Where another one is,
    `RulesBroken` is raised.
    """

    lmtp = False
    tls = True
    ignored: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self._offers: tuple[str, ...] = ()
        self._tls_offers: tuple[str, ...] | None = None
        self._answers: dict[str, tuple[Answer, ...]] = {}
        self._pieces: tuple[int, ...] = ()

    def send(self, stream: ServerStream, letter: Letter) -> Iterable[str] | None:
        """As `Send`."""
        raise NotImplementedError

    @rule(data=st.data())
    def offers(self, data: DataObject) -> None:
        """From now on the server offers something else."""
        self._offers = data.draw(_offers(tls=self.tls))
        self._tls_offers = data.draw(st.none() | _offers(tls=False))

    @rule(data=st.data())
    def answers(self, data: DataObject) -> None:
        """From now on it says something else at one moment."""
        moment = data.draw(st.sampled_from(_moments(tls=self.tls)))
        self._answers[moment] = data.draw(_planned(moment))

    @rule(pieces=_pieces())
    def cuts(self, pieces: tuple[int, ...]) -> None:
        """From now on its octets arrive otherwise."""
        self._pieces = pieces

    @rule(letter=letters())
    def sends(self, letter: Letter) -> None:
        """The client sends a letter, in a session of its own."""
        behaviour = Behaviour(
            lmtp=self.lmtp,
            offers=self._offers,
            tls_offers=self._tls_offers,
            answers=dict(self._answers),
            pieces=self._pieces,
        )
        verdicts = check_session(self.send, letter, behaviour)
        broken = [one for one in verdicts if one.finding == "broken" and one.rule.name not in self.ignored]
        if broken:
            raise RulesBroken(broken)
