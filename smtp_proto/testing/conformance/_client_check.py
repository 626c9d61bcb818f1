"""Drives a client through the cases, and says of each rule whether it was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ._client_rule import CHECKS
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


class RuleBroken(AssertionError):
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


def check_session(send: Send, letter: Letter, behaviour: Behaviour) -> list[Verdict]:
    """The verdicts on one session, with a server that behaves so: one for each rule, as `check_client`.

    Raises `ValueError` if `send` says that somebody got the letter who is no recipient.
    """
    findings = Findings()
    findings.add(converse(send, letter, behaviour))
    return findings.verdicts()


@dataclass(slots=True)
class _Found:
    finding: Finding = "not asked"
    detail: str = ""
    session: Session | None = None


class Findings:
    """What many sessions showed of each rule."""

    def __init__(self) -> None:
        self._found = {rule: _Found() for rule in CLIENT_RULES}

    @property
    def broken(self) -> frozenset[Rule]:
        """The rules that some session showed broken."""
        return frozenset(rule for rule, found in self._found.items() if found.finding == "broken")

    def add(self, session: Session) -> set[Rule]:
        """Look at this session, too; the rules that it shows broken."""
        broken = set()
        session = up_to_step(session)
        for rule, found in self._found.items():
            for detail in CHECKS[rule](session):
                if detail:
                    broken.add(rule)
                    if found.session is None or session.octets < found.session.octets:
                        found.finding, found.detail, found.session = "broken", detail, session
                elif found.finding == "not asked":
                    found.finding = "kept"
        return broken

    def verdicts(self) -> list[Verdict]:
        """One for each rule, with the shortest dialogue that shows it broken."""
        return [_verdict(rule, found) for rule, found in self._found.items()]


def _verdict(rule: Rule, found: _Found) -> Verdict:
    if found.session is not None:
        detail = found.detail
        if found.session.failure:
            detail += f"; it raised {found.session.failure}"
        return Verdict(rule, "broken", detail, found.session.transcript)
    detail = "" if found.finding == "kept" else "in no session did the client come to it"
    return Verdict(rule, found.finding, detail)
