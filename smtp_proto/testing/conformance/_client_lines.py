"""Rules for clients: how a command is written, and what may stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ... import _grammar
from ..._commands import KNOWN_VERBS
from ._client_rule import otherwise, rule
from ._client_session import Heard, Session

_CONTROL = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")

_STUFFED = re.compile(rb"(?m)^\.\.")

# RFC 5321 4.5.3.1.4, CRLF included, and what extensions add to a line.
_COMMAND_LINE = 512
_AUTH_LINE = 12288
_WIDER = {
    "MAIL": {"SIZE": 26, "8BITMIME": 17, "SMTPUTF8": 10, "DSN": 107, "AUTH": 500, "DELIVERBY": 17},
    "RCPT": {"DSN": 501, "SMTPUTF8": 10},
}

# What must be offered before it is said.
_OFFERED = ("STARTTLS", "AUTH", "ETRN", "BURL", "XCLIENT", "XFORWARD")

# The parameters of MAIL and RCPT, and the keyword with which each is offered.
_KEYWORDS = {
    "BODY": "8BITMIME",
    "RET": "DSN",
    "ENVID": "DSN",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "BY": "DELIVERBY",
    "HOLDFOR": "FUTURERELEASE",
    "HOLDUNTIL": "FUTURERELEASE",
    "SOLICIT": "NO-SOLICITING",
}


@rule("line-end", "RFC 5321 2.3.8", "ends each command with CRLF, and has no other CR or LF in it")
def _line_end(session: Session) -> Iterator[str]:
    for heard in session.lines:
        if heard.is_whole or session.is_stuck:
            is_good = heard.octets.endswith(b"\r\n") and not re.search(b"[\r\n]", heard.line)
            yield otherwise(is_good, f"the line {heard.octets[:60]!r} has another line end than CRLF")


@rule("control-characters", "RFC 5321 4.1.2", "has no NUL or other control character in a command")
def _control_characters(session: Session) -> Iterator[str]:
    for heard in session.lines:
        yield otherwise(not _CONTROL.search(heard.line), f"a control character in {heard.shown}")


@rule(
    "line-length", "RFC 5321 4.5.3.1.4", "keeps commands within 512 octets, and what extensions add", "should"
)
def _line_length(session: Session) -> Iterator[str]:
    for heard in session.lines:
        limit = _COMMAND_LINE
        if heard.kind == "response" or heard.verb == "AUTH":
            limit = _AUTH_LINE
        limit += sum(more for offer, more in _WIDER.get(heard.verb, {}).items() if offer in heard.offers)
        yield otherwise(len(heard.octets) <= limit, f"{len(heard.octets)} octets: {heard.shown}")


@rule("known-command", "RFC 5321 4.1.5", "says nothing that is no command")
def _known_command(session: Session) -> Iterator[str]:
    for heard in session.lines:
        if heard.kind == "command" and heard.is_whole and heard.verb != ".":
            is_known = heard.verb in KNOWN_VERBS or heard.verb in heard.offers
            yield otherwise(is_known, f"{heard.shown} is no command")


@rule("hello-argument", "RFC 5321 4.1.1.1", "introduces itself with a domain or an address literal")
def _hello_argument(session: Session) -> Iterator[str]:
    for heard in session.named("EHLO", "LHLO", "HELO"):
        name = heard.argument
        is_good = len(name) <= 255 and bool(_grammar.EHLO_NAME.fullmatch(name))
        if name.startswith(b"["):
            is_good = _grammar.is_address_literal(name)
        yield otherwise(is_good, f"{heard.shown}: neither a domain nor an address literal")


@rule("path", "RFC 5321 4.1.2", "writes paths as the grammar has them: in brackets, and no blank before them")
def _path(session: Session) -> Iterator[str]:
    for heard in session.named("MAIL", "RCPT"):
        yield otherwise(heard.path is not None, f"{heard.shown} is not as the grammar has it")


@rule("envelope", "RFC 5321 3.3", "names the sender and the recipients that it was given")
def _envelope(session: Session) -> Iterator[str]:
    if not session.letter.hidden:
        for heard in session.named("MAIL", "RCPT"):
            yield otherwise(not session.is_foreign(heard), f"{heard.shown}: of nobody in the envelope")


@rule("injection", "RFC 5321 4.1.2", "makes no lines of an address that has CR or LF in it")
def _injection(session: Session) -> Iterator[str]:
    if session.letter.hidden:
        injected = [heard.shown for heard in session.heard if session.is_injected(heard)]
        yield otherwise(not injected, f"said {', '.join(injected)}")


@rule(
    "offered-command",
    "RFC 5321 4.1.1.1",
    "says commands of extensions only where these are offered",
    "should",
)
def _offered_command(session: Session) -> Iterator[str]:
    for heard in session.named(*_OFFERED):
        is_known = heard.verb not in heard.stale or heard.verb == "STARTTLS"
        if is_known and not heard.pending:
            yield otherwise(heard.verb in heard.offers, f"{heard.verb} is not offered")


@rule("offered-parameter", "RFC 5321 4.1.1.3", "gives MAIL and RCPT only parameters that are offered")
def _offered_parameter(session: Session) -> Iterator[str]:
    for heard in session.named("MAIL", "RCPT"):
        for keyword, value in heard.parameters.items():
            offer = keyword_for(keyword, value)
            if offer not in heard.stale and offer != "SMTPUTF8":
                yield otherwise(offer in heard.offers, f"{heard.shown}: {offer} is not offered")


@rule("utf8-offered", "RFC 6531 3.2", "has SMTPUTF8, or octets beyond ASCII in a command, only if offered")
def _utf8_offered(session: Session) -> Iterator[str]:
    for heard in session.lines:
        if (not heard.line.isascii() or "SMTPUTF8" in heard.parameters) and "SMTPUTF8" not in heard.stale:
            yield otherwise("SMTPUTF8" in heard.offers, f"{heard.shown}: SMTPUTF8 is not offered")


@rule("utf8-asked", "RFC 6531 3.4", "says SMTPUTF8 with MAIL, where an address is beyond ASCII")
def _utf8_asked(session: Session) -> Iterator[str]:
    for heard in session.named("MAIL", "RCPT"):
        if not heard.line.isascii():
            mail = heard if heard.verb == "MAIL" else (session.before(heard, "MAIL") or [heard])[-1]
            yield otherwise("SMTPUTF8" in mail.parameters, f"{heard.shown} without SMTPUTF8")


@rule("8bit-asked", "RFC 6152 3", "says BODY=8BITMIME for a message beyond ASCII, where it is offered")
def _8bit_asked(session: Session) -> Iterator[str]:
    for heard in session.named("MAIL"):
        if not session.letter.data.isascii() and "8BITMIME" in heard.offers:
            body = heard.parameters.get("BODY", "").upper()
            yield otherwise(body in ("8BITMIME", "BINARYMIME"), f"{heard.shown} without BODY=8BITMIME")


@rule("8bit-offered", "RFC 6152 3", "sends octets beyond ASCII only where 8BITMIME is offered")
def _8bit_offered(session: Session) -> Iterator[str]:
    for heard in (*session.texts, *session.chunks):
        if not session.letter.data.isascii() and "8BITMIME" not in heard.stale:
            is_good = heard.octets.isascii() or "8BITMIME" in heard.offers
            yield otherwise(is_good, "sent octets beyond ASCII, and 8BITMIME is not offered")


@rule("size", "RFC 1870 6", "says no SIZE that is smaller than the message it sends", "should")
def _size(session: Session) -> Iterator[str]:
    mail: Heard | None = None
    sent = 0
    for heard in session.heard:
        if heard.verb == "MAIL":
            mail, sent = heard, 0
        elif heard.kind in ("text", "chunk") and mail is not None and "SIZE" in mail.parameters:
            # Dots that were put in do not count, nor does the end.
            text = _STUFFED.sub(b".", heard.octets.removesuffix(b".\r\n"))
            sent += len(heard.octets if heard.kind == "chunk" else text)
            size = _grammar.number(mail.parameters["SIZE"].encode("latin-1"))
            yield otherwise(size is not None and size >= sent, f"{mail.shown} for {sent} octets")


def keyword_for(parameter: str, value: str) -> str:
    """With which keyword a server offers this parameter."""
    if (parameter, value.upper()) == ("BODY", "BINARYMIME"):
        return "BINARYMIME"
    return _KEYWORDS.get(parameter, parameter)


def uses(heard: Heard) -> set[str]:
    """The extensions that a command is of, or has parameters of."""
    found = {heard.verb} if heard.verb in _OFFERED else {"CHUNKING"} if heard.verb == "BDAT" else set()
    if heard.verb in ("MAIL", "RCPT"):
        found |= {keyword_for(*item) for item in heard.parameters.items()}
    return found
