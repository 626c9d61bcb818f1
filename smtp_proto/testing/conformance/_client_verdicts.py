"""Rules for clients: what they say became of the message, held against what the server said.

A client that says less than it could know is wrong only where nothing went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from ._client_rule import otherwise, rule
from ._client_session import Heard, Said, Session, is_path_of

_USUAL = (220, 221, 235, 250)


@rule("every-2yz", "RFC 5321 4.2", "takes any 2yz for success")
def _every_2yz(session: Session) -> Iterator[str]:
    if session.accepted is not None and _has_unusual(session):
        missing = set(session.letter.recipients) - session.accepted
        yield otherwise(not missing, "took a 2yz for a refusal")


@rule("success", "RFC 5321 4.2.5", "knows for whom the message was taken")
def _success(session: Session) -> Iterator[str]:
    if not _has_unusual(session) and not _is_mixed(session):
        yield from _not_missed(session)


@rule("refused-recipient", "RFC 5321 3.3", "does not say that the message was taken for who was refused")
def _refused_recipient(session: Session) -> Iterator[str]:
    yield from _not_believed(session, "refused")


@rule("verdict", "RFC 5321 4.2.5", "says that the message was taken only if its end was answered with 2yz")
def _verdict(session: Session) -> Iterator[str]:
    if not _is_mixed(session):
        yield from _not_believed(session, "verdict")


@rule("each-verdict", "RFC 2033 4.2", "knows the verdict for each recipient in LMTP")
def _each_verdict(session: Session) -> Iterator[str]:
    if _is_mixed(session):
        yield from _not_believed(session, "verdict")
        yield from _not_missed(session)


@rule("cut-reply", "RFC 5321 4.2", "takes nothing for success that the end of the connection cut off")
def _cut_reply(session: Session) -> Iterator[str]:
    yield from _not_believed(session, "cut")


@rule("mixed-reply", "RFC 5321 4.2.1", "takes no reply for success in which codes differ", "should")
def _mixed_reply(session: Session) -> Iterator[str]:
    yield from _not_believed(session, "mixed")


@rule("garbage", "RFC 5321 4.2", "takes nothing for success that is no reply")
def _garbage(session: Session) -> Iterator[str]:
    yield from _not_believed(session, "garbage")


@rule("early-reply", "RFC 5321 4.3.1", "takes nothing for the answer that came before the command", "should")
def _early_reply(session: Session) -> Iterator[str]:
    yield from _not_believed(session, "early")


@rule("endless-reply", "RFC 5321 4.5.3.1.5", "gives up a reply that has no end", "should")
def _endless_reply(session: Session) -> Iterator[str]:
    if any(said.flaw == "endless" for said in session.said):
        yield otherwise(not session.was_flooded, "read 256 KiB of one reply, and asked for more")


def _not_believed(session: Session, fate: str) -> Iterator[str]:
    """Of those with whom it ended so, the client may say of none that the message was taken."""
    fates = _fates(session)
    if session.accepted is not None and fate in fates.values():
        wrong = sorted(address for address in session.accepted if fates[address] == fate)
        yield otherwise(not wrong, f"says that it was taken for {', '.join(wrong)}")


def _not_missed(session: Session) -> Iterator[str]:
    if session.accepted is not None and session.is_orderly and not session.strays:
        taken = {address for address, fate in _fates(session).items() if fate == "taken"}
        missing = sorted(taken - session.accepted)
        if taken:
            yield otherwise(not missing, f"does not know that it was taken for {', '.join(missing)}")


def _has_unusual(session: Session) -> bool:
    """Whether the server took all, and in other words than most do."""
    parting = [said for heard in session.named("QUIT", "RSET") for said in heard.answers]
    codes = [said.code or 0 for said in session.said if said not in parting]
    is_unusual = any(code < 300 and code not in _USUAL for code in codes)
    if session.is_stuck or (session.named("DATA", "BDAT") and not session.named("RCPT")):
        return False
    return is_unusual and max(codes) < 400 and session.is_orderly and session.letter.is_plain


def _is_mixed(session: Session) -> bool:
    """Whether it was taken for some and not for others, by LMTP's verdicts."""
    return session.behaviour.lmtp and {"taken", "verdict"} <= set(_fates(session).values())


def _fates(session: Session) -> dict[str, str]:
    """What became of the message for each recipient: "taken", or why it was not."""
    fates = dict.fromkeys(session.letter.recipients, "refused")
    for rcpts, end in _transactions(session):
        good = [rcpt for rcpt in rcpts if rcpt.is_good]
        for rcpt in rcpts:
            address = _address(session, rcpt)
            if address is not None and fates[address] != "taken":
                nth = good.index(rcpt) if rcpt in good and session.behaviour.lmtp else 0
                fates[address] = _fate(rcpt, end, nth)
    if any(said.unasked for said in session.said) and not session.named("STARTTLS"):
        fates = {address: fate if fate == "taken" else "early" for address, fate in fates.items()}
    return fates


def _fate(rcpt: Heard, end: Heard | None, nth: int) -> str:
    if not rcpt.is_good:
        return _flaw(rcpt.answers, 0) or "refused"
    if end is None:
        return "verdict"
    return _flaw(end.answers, nth) or ("taken" if end.answers[nth].is_good else "verdict")


def _flaw(answers: list[Said], nth: int) -> str:
    return answers[nth].flaw if nth < len(answers) else "cut"


def _transactions(session: Session) -> Iterator[tuple[list[Heard], Heard | None]]:
    """The RCPTs of each, and what ended the message."""
    rcpts: list[Heard] = []
    for heard in session.heard:
        if heard.verb == "RCPT":
            rcpts.append(heard)
        is_last = heard.kind == "chunk" and heard.is_last_chunk
        if heard.is_whole and (is_last or heard.kind == "text"):
            yield rcpts, heard
            rcpts = []
        elif heard.verb == "MAIL":
            yield rcpts, None
            rcpts = []
    yield rcpts, None


def _address(session: Session, rcpt: Heard) -> str | None:
    """For which recipient it is."""
    return next((one for one in session.letter.recipients if is_path_of(rcpt.path or b"", one)), None)
