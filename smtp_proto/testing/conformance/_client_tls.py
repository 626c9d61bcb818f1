"""Rules for clients: STARTTLS and AUTH."""

from __future__ import annotations

from collections.abc import Iterator

from ..._grammar import BASE64
from ._client_lines import uses
from ._client_rule import otherwise, rule
from ._client_session import Session
from ._client_steps import owed

# They carry the secret itself.
_PLAINTEXT = ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER")


@rule("starttls-last", "RFC 3207 4", "says nothing behind STARTTLS before the handshake")
def _starttls_last(session: Session) -> Iterator[str]:
    for heard in session.named("STARTTLS"):
        behind = [other for other in session.behind(heard)[:1] if other.octets[:4] != b"QUIT"]
        behind = [other for other in behind if not other.octets.startswith(b"\x16")]
        wrong = [other for other in behind if not other.knew(heard) or other.kind == "stray"]
        yield otherwise(not wrong, f"said {wrong[0].shown if wrong else ''} in the clear")


@rule("starttls-answer", "RFC 3207 4", "begins the handshake only behind a whole 220 to STARTTLS")
def _starttls_answer(session: Session) -> Iterator[str]:
    if session.named("STARTTLS"):
        wrong = [heard for heard in session.strays if heard.octets.startswith(b"\x16")]
        yield otherwise(not wrong, "began a handshake for which the server was not ready")


@rule("starttls-hello", "RFC 3207 4.2", "says EHLO first behind the handshake", "should")
def _starttls_hello(session: Session) -> Iterator[str]:
    for heard in [heard for heard in session.lines if heard.tls][:1]:
        yield otherwise(heard.verb in ("EHLO", "LHLO", "HELO", "QUIT"), f"said {heard.shown} first")


@rule("starttls-forgets", "RFC 3207 4.2", "uses nothing that was offered only before the handshake")
def _starttls_forgets(session: Session) -> Iterator[str]:
    for heard in session.lines:
        if heard.tls and heard.verb != ".":
            wrong = sorted((uses(heard) - {"STARTTLS"}) & heard.stale)
            if owed(heard) and "PIPELINING" in heard.stale and not heard.is_partial:
                wrong.append("PIPELINING")
            yield otherwise(not wrong, f"{heard.shown} uses {', '.join(wrong)}")


@rule("starttls-injection", "RFC 3207 6", "does not believe what was said in the clear behind the 220")
def _starttls_injection(session: Session) -> Iterator[str]:
    for heard in session.named("STARTTLS"):
        if any(said.unasked and said.start == heard.answers[0].end for said in session.said):
            inside = [other for other in session.lines if other.tls]
            wrong = [other.shown for other in inside if other.pending]
            yield otherwise(not wrong, f"took it for the reply to EHLO, and said {', '.join(wrong)}")


@rule("auth-in-the-clear", "RFC 4954 4", "sends no password without TLS", "should")
def _auth_in_the_clear(session: Session) -> Iterator[str]:
    for heard in session.named("AUTH"):
        mechanism = heard.argument.partition(b" ")[0].decode("latin-1").upper()
        yield otherwise(heard.tls or mechanism not in _PLAINTEXT, f"AUTH {mechanism} in the clear")


@rule("auth-mechanism", "RFC 4954 3", "uses a mechanism that is offered", "should")
def _auth_mechanism(session: Session) -> Iterator[str]:
    for heard in session.named("AUTH"):
        mechanism = heard.argument.partition(b" ")[0].decode("latin-1").upper()
        if "AUTH" in heard.offers:
            yield otherwise(mechanism in heard.offers["AUTH"], f"{mechanism} is not offered")


@rule("auth-base64", "RFC 4954 4", "says responses in Base64")
def _auth_base64(session: Session) -> Iterator[str]:
    said = [heard.argument.partition(b" ")[2] for heard in session.named("AUTH")]
    said += [heard.line for heard in session.lines if heard.kind == "response"]
    for response in said:
        is_good = response in (b"=", b"*") or BASE64.fullmatch(response) is not None
        yield otherwise(is_good, "a response is no Base64")


@rule("auth-challenge", "RFC 4954 4", "cancels with * where a challenge is no Base64")
def _auth_challenge(session: Session) -> Iterator[str]:
    for heard in session.heard:
        for said in heard.answers:
            if said.code == 334 and not BASE64.fullmatch(said.octets[4:-2]):
                behind = [other for other in session.behind(heard)[:1] if other.kind == "response"]
                yield otherwise(all(other.line == b"*" for other in behind), "answered such a challenge")


@rule("auth-once", "RFC 4954 4", "says AUTH neither in a transaction nor behind a success")
def _auth_once(session: Session) -> Iterator[str]:
    is_done = in_mail = False
    for heard in session.heard:
        if heard.verb == "AUTH":
            yield otherwise(not (is_done or in_mail), "said AUTH too late")
        if heard.verb in ("AUTH", "MAIL") or heard.kind == "response":
            is_done = is_done or any(said.code == 235 for said in heard.answers)
            in_mail = heard.verb == "MAIL" and heard.is_good
        elif heard.kind in ("text", "chunk") or heard.verb == "RSET":
            in_mail = False
