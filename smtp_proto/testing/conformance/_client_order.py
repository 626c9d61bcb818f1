"""Rules for clients: what is said when, and what has to be waited for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from ._client_rule import otherwise, rule
from ._client_session import Heard, Session
from ._client_steps import owed

_HELLOS = ("EHLO", "LHLO", "HELO")
_TRANSACTION = ("RCPT", "DATA", "BDAT")


@rule("greeting", "RFC 5321 4.3.1", "says nothing before it has read the whole greeting", "should")
def _greeting(session: Session) -> Iterator[str]:
    greeting = session.said[0]
    for heard in session.heard[:1]:
        if not greeting.flaw:
            yield otherwise(heard.known >= greeting.end, f"said {heard.shown} before the greeting was over")


@rule(
    "refused-greeting",
    "RFC 5321 3.1",
    "says nothing but QUIT to a server that greets with 4yz or 5yz",
    "should",
)
def _refused_greeting(session: Session) -> Iterator[str]:
    if session.said[0].is_bad:
        behind = [heard for heard in session.lines if heard.known >= session.said[0].end]
        wrong = [heard.shown for heard in behind if heard.verb != "QUIT"]
        yield otherwise(not wrong, f"said {', '.join(wrong)}")


@rule("hello-first", "RFC 5321 4.1.4", "begins no transaction before EHLO or HELO was taken")
def _hello_first(session: Session) -> Iterator[str]:
    for heard in session.named("MAIL")[:1]:
        hellos = session.before(heard, *_HELLOS)
        is_good = any(hello.is_good or hello in heard.pending for hello in hellos)
        yield otherwise(is_good, f"said {heard.shown} to who took no EHLO")


@rule("hello-verb", "RFC 2033 4.1", "says LHLO in LMTP, and EHLO or HELO in SMTP")
def _hello_verb(session: Session) -> Iterator[str]:
    for heard in session.named(*_HELLOS):
        is_good = (heard.verb == "LHLO") == session.behaviour.lmtp
        yield otherwise(is_good, f"said {heard.verb} in {'LMTP' if session.behaviour.lmtp else 'SMTP'}")


@rule("helo-fallback", "RFC 5321 3.2", "says HELO to a server that does not know EHLO (500, 502)", "should")
def _helo_fallback(session: Session) -> Iterator[str]:
    for heard in session.named("EHLO")[:1]:
        if heard.answers and heard.answers[0].code in (500, 502) and session.is_orderly:
            yield otherwise(bool(session.named("HELO")), "gave up where EHLO was not known")


@rule("order", "RFC 5321 4.1.4", "says RCPT only behind MAIL, and DATA or BDAT only behind RCPT")
def _order(session: Session) -> Iterator[str]:
    due = {"RCPT": "MAIL", "DATA": "RCPT", "BDAT": "RCPT"}
    said: set[str] = set()
    for heard in session.heard:
        if _ends_transaction(heard) or heard.verb == "MAIL":
            said = {heard.verb}
        elif heard.verb in due:
            need = due[heard.verb]
            yield otherwise(need in said, f"said {heard.shown} without {need}")
            said.add(heard.verb)


@rule("open-transaction", "RFC 5321 4.1.4", "ends a transaction, be it with RSET, before it says MAIL again")
def _open_transaction(session: Session) -> Iterator[str]:
    is_open = False
    for heard in session.heard:
        if heard.verb == "MAIL":
            yield otherwise(not is_open, f"said {heard.shown} in an open transaction")
            is_open = heard.is_good or is_open
        elif _ends_transaction(heard):
            is_open = False


@rule("one-at-a-time", "RFC 5321 4.3.1", "waits for each reply, unless PIPELINING is offered")
def _one_at_a_time(session: Session) -> Iterator[str]:
    for heard in _in_turn(session):
        if not {"PIPELINING"} & (heard.offers.keys() | heard.stale) and not heard.is_partial:
            yield _goes_on(heard)


@rule("group-end", "RFC 2920 3.1", "says nothing behind EHLO, DATA, AUTH and the like before the reply came")
def _group_end(session: Session) -> Iterator[str]:
    for heard in _in_turn(session):
        if "PIPELINING" in heard.offers and not heard.is_partial:
            yield _goes_on(heard)


@rule("whole-reply", "RFC 5321 4.2.1", "reads a reply to its last line before it goes on")
def _whole_reply(session: Session) -> Iterator[str]:
    for heard in _in_turn(session):
        yield _goes_on(heard) if heard.is_partial else ""


@rule("due-replies", "RFC 5321 4.3.1", "waits for no reply that is not due")
def _due_replies(session: Session) -> Iterator[str]:
    if session.is_orderly and not session.strays:
        unfinished = any(not heard.is_whole for heard in session.heard)
        yield otherwise(not session.is_stuck or unfinished, "waited, and nothing was due")


@rule("refused-mail", "RFC 5321 3.3", "goes on with no transaction for which MAIL was refused")
def _refused_mail(session: Session) -> Iterator[str]:
    for mail in session.named("MAIL"):
        if mail.is_refused:
            behind = takewhile(lambda heard: heard.verb != "MAIL", session.behind(mail))
            wrong = [heard.shown for heard in behind if heard.verb in _TRANSACTION and heard.knew(mail)]
            yield otherwise(not wrong, f"said {', '.join(wrong)}")


@rule("no-recipients", "RFC 5321 3.3", "says no DATA or BDAT where every recipient was refused", "should")
def _no_recipients(session: Session) -> Iterator[str]:
    for rcpts, heard in _transactions(session):
        if rcpts and all(rcpt.is_refused and heard.knew(rcpt) for rcpt in rcpts):
            yield otherwise(heard.verb not in ("DATA", "BDAT"), f"said {heard.shown} for nobody")


@rule(
    "empty-message",
    "RFC 2920 3.1",
    "sends no message behind a 354 where every recipient was refused",
    "should",
)
def _empty_message(session: Session) -> Iterator[str]:
    for rcpts, heard in _transactions(session):
        if heard.kind == "text" and all(rcpt.is_refused for rcpt in rcpts):
            yield otherwise(heard.octets in (b".\r\n", b""), "sent a message that nobody was to get")


@rule("closing", "RFC 5321 3.8", "says nothing behind a 421, but QUIT", "should")
def _closing(session: Session) -> Iterator[str]:
    for said in session.said:
        if said.code == 421:
            behind = [heard for heard in session.heard if heard.known >= said.end]
            wrong = [heard.shown for heard in behind if heard.octets[:4].upper() != b"QUIT"]
            yield otherwise(not wrong, f"said {', '.join(wrong)}")


@rule("quit", "RFC 5321 4.1.1.10", "says QUIT before it hangs up, where nothing went wrong")
def _quit(session: Session) -> Iterator[str]:
    # Where a transaction cannot be ended, only hanging up ends it.
    is_trapped = any(reset.is_refused for reset in session.named("RSET"))
    if session.is_orderly and not (session.is_stuck or session.failure or is_trapped):
        yield otherwise(bool(session.named("QUIT")), "hung up without QUIT")


@rule("quit-last", "RFC 5321 4.1.4", "says nothing behind QUIT")
def _quit_last(session: Session) -> Iterator[str]:
    for heard in session.named("QUIT")[:1]:
        behind = session.behind(heard)
        yield otherwise(not behind, f"said {behind[0].shown if behind else ''} behind QUIT")


def _ends_transaction(heard: Heard) -> bool:
    return (
        (heard.kind == "chunk" and heard.is_last_chunk)
        or heard.kind == "text"
        or heard.verb in (*_HELLOS, "RSET")
    )


def _in_turn(session: Session) -> Iterator[Heard]:
    """The lines of which it is to be asked whether their turn had come."""
    for heard in session.lines:
        behind_starttls = any(other.verb == "STARTTLS" for other in heard.pending)
        is_clear = not any(said.unasked for said in session.said)
        if is_clear and not behind_starttls and heard.verb != "." and heard.known >= session.said[0].end:
            yield heard


def _goes_on(heard: Heard) -> str:
    names = owed(heard)
    return otherwise(not names, f"said {heard.shown} before it was answered {', '.join(names)}")


def _transactions(session: Session) -> Iterator[tuple[list[Heard], Heard]]:
    """Each thing that was heard in a transaction, and the RCPTs before it."""
    rcpts: list[Heard] = []
    for heard in session.heard:
        if heard.verb == "MAIL":
            rcpts = []
        elif heard.verb == "RCPT":
            rcpts.append(heard)
        elif rcpts:
            yield list(rcpts), heard
