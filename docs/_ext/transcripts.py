"""The dialogues that the explorer has ready: runs of the core, and what others do wrong."""

from __future__ import annotations

from typing import NamedTuple

from runs import RUNS


class Transcript(NamedTuple):
    """A dialogue as the text of a script. `name` stands in addresses."""

    name: str
    title: str
    text: str
    lmtp: bool = False


_OPENED = """\
S: 220 mx.example ESMTP
C: EHLO client.example
S: 250-mx.example
S: 250 {}
"""
_PIPELINING = _OPENED.format("PIPELINING")
_ENVELOPE = """\
C: MAIL FROM:<ada@example.org>
C: RCPT TO:<bob@example.com>
C: DATA
S: 250 2.1.0 ok
S: 250 2.1.5 ok
S: 354 go on
"""

_WRONG = (
    Transcript(
        "too-early",
        "Wrong: MAIL before EHLO, and DATA without recipients",
        """\
S: 220 mx.example ESMTP
C: MAIL FROM:<ada@example.org>
S: 503 5.5.1 say EHLO first
C: EHLO client.example
S: 250 mx.example
C: MAIL FROM:<ada@example.org>
S: 250 2.1.0 ok
C: DATA
S: 503 5.5.1 for whom?
C: QUIT
S: 221 bye
""",
    ),
    Transcript(
        "impatient",
        "Wrong: a client that speaks before it is answered, without PIPELINING",
        _OPENED.format("SIZE 1000000")
        + """\
C: MAIL FROM:<ada@example.org>
C: RCPT TO:<bob@example.com>
S: 250 2.1.0 ok
S: 250 2.1.5 ok
C: QUIT
S: 221 bye
""",
    ),
    Transcript(
        "starttls-injection",
        "Wrong: a command in the clear behind STARTTLS",
        _OPENED.format("STARTTLS")
        + """\
C: STARTTLS
C: MAIL FROM:<mallory@example.org>
S: 220 2.0.0 go ahead
<starttls>
C: EHLO client.example
""",
    ),
    Transcript(
        "reply-injection",
        "Wrong: a reply in the clear behind the 220 to STARTTLS",
        _OPENED.format("STARTTLS")
        + """\
C: STARTTLS
S: 220 2.0.0 go ahead
S: 250 AUTH PLAIN
<starttls>
""",
    ),
    Transcript(
        "smuggling",
        "Wrong: a second message, smuggled behind LF . LF",
        _PIPELINING
        + _ENVELOPE
        + r"""C: Subject: harmless
C:
C: hello\x0a.\x0aMAIL FROM:<mallory@example.org>
C: RCPT TO:<bob@example.com>
C: DATA
C: Subject: smuggled
C: .
S: 550 5.5.2 bare CR or LF
C: QUIT
S: 221 bye
""",
    ),
    Transcript(
        "unasked",
        "Wrong: a reply that nobody asked for",
        _PIPELINING
        + """\
C: NOOP
S: 250 2.0.0 ok
S: 250 2.0.0 and another one
C: QUIT
""",
    ),
    Transcript(
        "not-offered",
        "Wrong: BDAT where nobody offered CHUNKING",
        _PIPELINING
        + """\
C: MAIL FROM:<ada@example.org> BODY=8BITMIME
S: 555 5.5.4 BODY is not offered
C: MAIL FROM:<ada@example.org>
C: RCPT TO:<bob@example.com>
S: 250 2.1.0 ok
S: 250 2.1.5 ok
C: BDAT 7 LAST
C: hello
S: 502 5.5.1 no CHUNKING here
C: QUIT
S: 221 bye
""",
    ),
    Transcript(
        "shutting-down",
        "A server that stops in the middle: 421",
        _PIPELINING
        + """\
C: MAIL FROM:<ada@example.org>
C: RCPT TO:<bob@example.com>
C: DATA
S: 250 2.1.0 ok
S: 421 4.3.2 mx.example stops
C: <close>
""",
    ),
    Transcript(
        "gone",
        "A server that is gone before it has answered",
        _PIPELINING + _ENVELOPE + "C: hello\nC: .\nS: <close>\n",
    ),
)


def transcripts() -> list[Transcript]:
    """All of them."""
    ran = [Transcript(name, run.title, run.transcript(), run.lmtp) for name, run in RUNS.items()]
    return [*ran, *_WRONG]
