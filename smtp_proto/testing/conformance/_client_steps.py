"""Whether a client says what it says in its turn.

A client that is out of step misreads all that follows. So a session is judged up to the first such thing,
and only that has a name.
"""

from __future__ import annotations

from dataclasses import replace

from ._client_session import Heard, Session

# RFC 2920 3.1: a command behind one of these cannot know what it means. AUTH: RFC 4954 4.
_LAST_IN_GROUP = frozenset(
    ("EHLO", "LHLO", "HELO", "DATA", "VRFY", "EXPN", "TURN", "NOOP", "HELP", "AUTH", "ETRN", "STARTTLS")
)


def owed(heard: Heard) -> list[str]:
    """The replies that it should have read to the end before it said this. Verdicts in LMTP are none: who
    does not read them all knows too little, which is another rule's.
    """
    if heard.verb == "QUIT":
        # Nobody can wait for the end of what has none, or is no reply.
        pending = [other for other in heard.pending if not any(said.flaw for said in other.answers)]
    else:
        pending = list(heard.pending)
    names = [other.name for other in pending if len(other.answers) == 1]
    may_go_on = "PIPELINING" in heard.offers and not _LAST_IN_GROUP & set(names)
    return [] if may_go_on else names


def up_to_step(session: Session) -> Session:
    """The session up to the first thing that the client said out of its turn; all of it if there is none."""
    for at, heard in enumerate(session.heard):
        if _is_out_of_step(session, heard):
            return replace(session, heard=session.heard[: at + 1], accepted=None, is_out_of_step=True)
    return session


def _is_out_of_step(session: Session, heard: Heard) -> bool:
    if heard.kind == "stray" or heard.verb == "." or session.is_injected(heard):
        return True
    if heard.kind == "late" or heard.known < session.said[0].end:
        return heard.kind != "late" and not session.said[0].flaw
    if heard.kind == "text":
        return heard.of is not None and not heard.knew(heard.of)
    # Where a reply came that nobody asked for, nobody can tell what answers what.
    is_clear = heard.tls or not any(said.unasked for said in session.said)
    return heard.kind != "chunk" and is_clear and bool(owed(heard))
