"""Drives a client through the cases, and says of each rule whether it was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

from ._client_cases import cases
from ._client_rule import CHECKS, Check
from ._client_server import ReactiveServer
from ._client_session import Behaviour, Letter, Session
from ._client_steps import up_to_step
from ._client_stream import ClientStopped, ServerStream
from ._client_table import CLIENT_RULES
from ._rules import Finding, Rule, Verdict

Send: TypeAlias = Callable[[ServerStream, Letter], Iterable[str] | None]
"""Has the client under test send a letter over a stream, from the greeting to QUIT, and says for which of its
recipients the server took it, as far as the client knows; None if the client does not say. What it raises
means that it was taken for nobody.
"""


class RulesBroken(AssertionError):
    """A client broke rules. The text says which, and shows the dialogue. `verdicts`: one for each of them."""

    def __init__(self, verdicts: list[Verdict]) -> None:
        self.verdicts = verdicts
        lines = [
            f"{one.rule.name} ({one.rule.section}): it {one.rule.text}; but {one.detail}" for one in verdicts
        ]
        super().__init__("\n".join((*lines, "", verdicts[0].dialogue)))


def converse(send: Send, letter: Letter, behaviour: Behaviour) -> Session:
    """One session. Raises `ValueError` if `send` says that somebody got the letter who is no recipient."""
    stream = ServerStream(ReactiveServer(letter, behaviour))
    session = stream.server.session
    try:
        accepted = send(stream, letter)
        session.accepted = None if accepted is None else frozenset(accepted)
    except (Exception, ClientStopped) as exc:
        session.failure = repr(exc)
    finally:
        stream.close()
    if session.accepted is not None and not session.accepted <= set(letter.recipients):
        raise ValueError(f"no recipients: {sorted(session.accepted - set(letter.recipients))}")
    return session


def check_client(send: Send, *, lmtp: bool = False, tls: bool = True, examples: int = 100) -> list[Verdict]:
    """Drive a client through servers good and bad, then through such as are made up; one verdict for each
    rule, in the order of `CLIENT_RULES`.

    `send` has the client send one letter over a stream; see `Send`. `lmtp`: the client speaks LMTP. `tls`:
    the stream can do a handshake, so STARTTLS is offered. `examples`: how many servers are made up, where
    Hypothesis is there to do so; what they show is made as small as can be.

    Every check of the same client is the same. What a client does without reading or writing cannot be
    stopped; all else is.

    Raises `ValueError` if `send` says that somebody got a letter who is no recipient.
    """
    findings = Findings()
    for letter, behaviour in cases(lmtp=lmtp, tls=tls):
        findings.add(converse(send, letter, behaviour))
    if examples and find_spec("hypothesis"):
        from ._client_machine import search

        search(send, findings, lmtp=lmtp, tls=tls, examples=examples)
    return findings.verdicts()


def check_session(send: Send, letter: Letter, behaviour: Behaviour) -> list[Verdict]:
    """The verdicts on one session, with a server that behaves so: one for each rule, as `check_client`.

    Raises `ValueError` if `send` says that somebody got the letter who is no recipient.
    """
    findings = Findings()
    findings.add(converse(send, letter, behaviour))
    return findings.verdicts()


@dataclass(slots=True)
class _Found:
    """What is known of one rule."""

    rule: Rule
    check: Check
    finding: Finding = "not asked"
    detail: str = ""
    session: Session | None = None

    def look_at(self, session: Session) -> bool:
        """Whether this session shows it broken."""
        is_broken = False
        for detail in self.check(session):
            if not detail:
                self.finding = "kept" if self.finding == "not asked" else self.finding
                continue
            is_broken = True
            if self.session is None or session.octets < self.session.octets:
                self.finding, self.detail, self.session = "broken", detail, session
        return is_broken

    def verdict(self) -> Verdict:
        detail, dialogue = self.detail, ""
        if self.session is not None:
            dialogue = self.session.transcript
            detail += f"; it raised {self.session.failure}" if self.session.failure else ""
        elif self.finding == "not asked":
            detail = "in no session did the client come to it"
        return Verdict(self.rule, self.finding, detail, dialogue)


class Findings:
    """What many sessions showed of each rule."""

    def __init__(self) -> None:
        self._found = [_Found(rule, CHECKS[rule]) for rule in CLIENT_RULES]

    @property
    def broken(self) -> frozenset[str]:
        """The names of the rules that some session showed broken."""
        return frozenset(found.rule.name for found in self._found if found.finding == "broken")

    def add(self, session: Session) -> frozenset[str]:
        """Look at this session, too; the names of the rules that it shows broken."""
        session = up_to_step(session)
        return frozenset(found.rule.name for found in self._found if found.look_at(session))

    def verdicts(self) -> list[Verdict]:
        """One for each rule, with the shortest dialogue that shows it broken."""
        return [found.verdict() for found in self._found]
