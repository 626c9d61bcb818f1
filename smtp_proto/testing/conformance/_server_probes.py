"""The fixed dialogues: short, always the same, one or more for each rule.

A line is a session, in the words of the vocabulary. What stands in brackets is said all at once. The session
ends at a word that cannot be said, and with QUIT. Those come first on which the blame in others depends.
"""

from __future__ import annotations

from ._server_ledger import RuleBroken
from ._server_visit import Check, Visit

_TABLE = """
hello
noop
rset
ehlo
ehlo ehlo
helo mail
ehlo-lower
not-lhlo
not-ehlo not-helo
hello noop noop-argument noop-lower
hello noop-long
hello noop-pieces
hello noop-blank
hello unknown unknown-alone noop
hello rset-argument
hello quit-argument
hello help
hello help-listed
hello expn-listed
hello vrfy-listed
hello etrn-listed
hello etrn-none
hello vrfy
hello bare-lf
hello bare-cr

hello rcpt
hello data
hello mail data
hello mail mail rcpt
hello mail rcpt rset
hello mail-null
hello mail-lower rset
hello mail-quoted
hello mail-literal
hello mail-literal-6
hello mail-local
hello mail-path
hello mail-alone mail-to
hello mail-open
hello mail-no-domain
hello mail-unknown
hello mail rcpt-postmaster
hello mail rcpt-lower
hello mail rcpt-route
hello mail rcpt-alone rcpt-from
hello mail rcpt-null
hello mail rcpt-open
hello mail rcpt-unknown
hello mail rcpt-refused
hello mail rcpt data
hello mail rcpt data-lower
hello mail data-argument

hello mail ehlo rcpt
hello mail rcpt ehlo mail data
hello mail rset rcpt
hello mail rcpt rset mail data
hello mail noop rcpt
hello mail vrfy rcpt
hello mail rcpt noop-argument data
hello mail unknown rcpt
hello mail rcpt unknown data
hello mail rcpt rcpt-refused data
hello mail data rcpt data

hello [mail rset noop]
hello [noop noop noop noop]
hello [unknown noop]
hello [mail rcpt rset unknown noop vrfy rset]
hello [mail rcpt rcpt-second data]
hello [mail unknown noop-pieces]

hello mail-size
hello mail-size-word
hello mail-8bit
hello mail-7bit
hello mail-9bit
hello mail-binary rcpt data
hello mail-utf8
hello mail-utf8-ascii
hello mail-no-utf8
hello mail-dsn
hello mail-ret
hello mail rcpt-dsn
hello mail rcpt-notify

hello bdat noop
hello mail bdat noop
hello mail rcpt bdat noop
hello mail rcpt bdat bdat-empty noop
hello mail rcpt bdat-bare bdat noop rset
hello mail rcpt [bdat noop]
hello mail rcpt bdat data
hello mail rcpt bdat rset rcpt
hello mail rcpt bdat rset mail data
hello bdat-alone
hello bdat-word

ehlo starttls-argument
ehlo starttls ehlo
ehlo starttls starttls-again
ehlo mail rcpt starttls rcpt
ehlo mail rcpt starttls ehlo mail data
ehlo starttls-inject ehlo noop

ehlo auth-unknown
ehlo auth-begin auth-cancel noop
ehlo auth-begin auth-garbage noop
ehlo auth-wrong noop
ehlo starttls ehlo auth-unknown
ehlo starttls ehlo auth-begin auth-cancel noop
ehlo starttls ehlo auth-begin auth-garbage noop
ehlo starttls ehlo auth-wrong noop
ehlo mail auth-unknown
hello login
ehlo starttls ehlo mail auth-unknown

hello mail rcpt data content noop
hello mail rcpt data content rcpt
hello mail rcpt data content mail data
hello mail rcpt data content mail rcpt data content
hello mail rcpt data content-dots noop
hello mail rcpt data content-dot-first
hello mail rcpt data content-blanks
hello mail rcpt data content-long
hello mail rcpt data content-pieces noop
hello mail rcpt data content-pieces-dot noop
hello mail-8bit rcpt data content-8bit
hello mail rcpt rcpt-second data content noop
hello mail rcpt rcpt-refused rcpt-second data content noop
hello mail rcpt-refused data
hello [mail rcpt rcpt-refused data] content noop
hello mail rcpt data content-too-big rcpt
hello mail rcpt bdat-last noop
hello mail rcpt bdat-last rcpt
hello mail rcpt bdat bdat-dots noop
hello mail rcpt bdat bdat-empty-last noop
hello mail rcpt rcpt-second bdat-last noop
hello mail rcpt [bdat bdat-last noop]
hello mail-binary rcpt bdat-bare bdat-last
"""

_NEAR_ENDS = 12
_MANY = 100


def probes() -> list[list[list[str]]]:
    """The dialogues: what is said, in the groups in which it is said."""
    near = [f"hello mail rcpt data content-near-{number}" for number in range(_NEAR_ENDS)]
    many = f"hello mail {'rcpt-hundred ' * _MANY}"
    lines = [line for line in _TABLE.splitlines() if line]
    return [_groups(line) for line in (*lines, *near, many)]


def _groups(line: str) -> list[list[str]]:
    groups: list[list[str]] = []
    is_open = False
    for word in line.split():
        if not is_open:
            groups.append([])
        groups[-1].append(word.strip("[]"))
        is_open = (is_open or word.startswith("[")) and not word.endswith("]")
    return groups


def run_probe(check: Check, groups: list[list[str]]) -> None:
    """Lead this dialogue, as far as it goes. What it shows is in the ledger."""
    try:
        visit = Visit(check)
        for names in groups:
            if visit.model.over or not _say(visit, names):
                break
        visit.end()
    except RuleBroken:
        pass


def _say(visit: Visit, names: list[str]) -> bool:
    """Say this; whether it could be said."""
    if names == ["hello"]:
        visit.hello()
        return True
    moves = [move for name in names if (move := visit.move(name))]
    if len(moves) < len(names) or (len(moves) > 1 and "PIPELINING" not in visit.model.features):
        return False
    visit.say(*moves)
    return True
