"""Holds one reply against the rules: the form of it, what the wording asks for, and what the state does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..._grammar import BASE64, EHLO_NAME
from ._server_model import IN_SEQUENCE, Model, shown
from ._server_replies import Answer, enhanced_faults, faults
from ._server_words import NOT_UNDERSTOOD, Move

# ehlo-line = ehlo-keyword *( SP ehlo-param )                                 (RFC 5321 4.1.1.1)
_EHLO_LINE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*(?: [!-~]+)*")
# Who may come in, and how, is the server's own business: 530 to 538 say so, 521 and 554 that nobody may.
_POLICY = frozenset({521, 530, 534, 535, 538, 550, 554})
# "Say STARTTLS first", "authenticate first": in the place of any other refusal.
_NOT_YET = frozenset({530, 538})
_HELLOS = ("EHLO", "LHLO", "HELO")
_WITHOUT_ENHANCED = ("", *_HELLOS)
# These end with the first digit of their first answer; nothing else may have a 3yz.
_INTERMEDIATE = {"DATA": 354, "AUTH": 334, "RESPONSE": 334}
_POSITIVE = {
    "MAIL": ("mail", {250}),
    "RCPT": ("rcpt", {250, 251}),
    "DATA": ("data", {354}),
    "BDAT": ("", {250}),
}


class Held(NamedTuple):
    """A rule, whether it is kept, and what was seen. `soft`: broken or not, what follows can be judged."""

    rule: str
    is_kept: bool
    seen: str
    soft: bool = True


def judge_greeting(answer: Answer) -> Iterator[Held]:
    """The opening of the connection."""
    yield from _form(answer)
    code, domain = answer.code, answer.texts[0].split(b" ")[0]
    good = (code == 220 and _is_domain(domain)) or code in (554, 521) or answer.kind == 4
    yield Held("greeting", good, f"the connection opens with {answer}")


def judge(model: Model, move: Move, answer: Answer, broken: frozenset[str]) -> Iterator[Held]:
    """A reply to `move`, where the session is as `model` tells. `broken`: what is known of the server."""
    yield from _form(answer, utf8=model.mail is not None and b"SMTPUTF8" in model.mail.octets)
    if "ENHANCEDSTATUSCODES" in model.features and answer.kind != 3 and move.kind not in _WITHOUT_ENHANCED:
        yield from (Held(*each) for each in enhanced_faults(answer))
    if answer.code == 421:
        return
    yield _intermediate(move, answer)
    forbidden = model.forbids(move)
    if forbidden:
        rule = forbidden.plain if forbidden.plain in broken else forbidden.rule
        if move.want == "understood" and answer.code in (move.codes or NOT_UNDERSTOOD):
            yield from _worded(move, answer)
        elif rule:
            # Where there are two reasons to refuse, either may be told.
            codes = frozenset() if move.want == "refused" else forbidden.codes
            yield from _refused(rule, codes, move, answer)
        return
    yield from _in_sequence(model, move, answer)
    yield from _worded(move, answer)
    if move.kind in _POSITIVE and answer.kind in (2, 3):
        rule, expected = _POSITIVE[move.kind]
        yield Held(
            rule or move.rule,
            answer.code in expected,
            f"{move.line} was answered {answer}",
            move.kind != "DATA",
        )
    if move.kind in _HELLOS:
        yield from _hello(model, move, answer)
    if move.kind in ("AUTH", "RESPONSE") and answer.kind == 3:
        yield _challenge(answer)


def judge_quit(answer: Answer) -> Iterator[Held]:
    """The answer to QUIT."""
    yield from _form(answer)
    if answer.kind != 4:
        yield Held("quit", answer.code == 221, f"QUIT was answered {answer}")


def _form(answer: Answer, *, utf8: bool = False) -> Iterator[Held]:
    for rule, is_kept, seen in faults(answer, utf8=utf8):
        yield Held(rule, is_kept, seen, answer.code != 0)


def _intermediate(move: Move, answer: Answer) -> Held:
    good = answer.kind != 3 or answer.code == _INTERMEDIATE.get(move.kind)
    return Held("reply-class", good, f"{move.line} was answered {answer}", False)


def _refused(rule: str, codes: frozenset[int], move: Move, answer: Answer) -> Iterator[Held]:
    if answer.kind in (2, 3):
        yield Held(rule, False, f"{move.line} was answered {answer}", False)
    elif answer.kind == 5:
        good = not codes or answer.code in codes or answer.code in _NOT_YET
        yield Held(rule, good, f"{move.line} was answered {answer}, and not {shown(codes)}")


def _worded(move: Move, answer: Answer) -> Iterator[Held]:
    """What the wording alone asks for."""
    if move.want == "refused":
        yield from _refused(move.rule, move.codes, move, answer)
    elif move.want == "accepted":
        known = answer.kind == 2 or (answer.kind == 5 and answer.code not in _POLICY)
        if known or move.rule == "auth":
            good = answer.kind == 2 and (not move.codes or answer.code in move.codes)
            yield Held(move.rule, good, f"{move.line} was answered {answer}")
    elif move.want == "understood":
        bad = move.codes or NOT_UNDERSTOOD
        yield Held(move.rule, answer.code not in bad, f"{move.line} was answered {answer}")


def _in_sequence(model: Model, move: Move, answer: Answer) -> Iterator[Held]:
    """What is said in its place is not answered 503, whatever came between."""
    rule = model.demands(move)
    if move.kind in IN_SEQUENCE and move.want != "refused" and model.greeted and rule:
        yield Held(rule, answer.code != 503, f"{move.line} was answered {answer}", False)


def _hello(model: Model, move: Move, answer: Answer) -> Iterator[Held]:
    rule = {"EHLO": "ehlo", "LHLO": "lmtp-lhlo", "HELO": "helo"}[move.kind]
    if answer.kind == 2 or (answer.kind == 5 and answer.code not in _POLICY and not move.rule):
        yield Held(rule, answer.code == 250, f"{move.line} was answered {answer}", answer.kind == 2)
    if answer.kind != 2:
        return
    yield Held("ehlo-domain", _is_domain(answer.texts[0].split(b" ")[0]), f"no domain in {answer.lines[0]!r}")
    if move.kind == "HELO":
        yield Held("helo-plain", len(answer.lines) == 1, f"{len(answer.lines)} lines")
        return
    for text in answer.texts[1:]:
        yield Held("ehlo-keywords", _EHLO_LINE.fullmatch(text) is not None, f"no extension: {text!r}")
    yield from _offer(model, {text.split(b" ")[0].upper().decode("latin-1") for text in answer.texts[1:]})


def _offer(model: Model, offered: set[str]) -> Iterator[Held]:
    """What an extension asks of the others."""
    if "SMTPUTF8" in offered:
        yield Held("smtputf8-8bitmime", "8BITMIME" in offered, "SMTPUTF8, and no 8BITMIME")
    if "BINARYMIME" in offered:
        yield Held("binarymime-chunking", "CHUNKING" in offered, "BINARYMIME, and no CHUNKING")
    if model.lmtp:
        missing = {"PIPELINING", "ENHANCEDSTATUSCODES"} - offered
        yield Held("lmtp-extensions", not missing, f"not offered: {', '.join(sorted(missing))}")
    if model.tls:
        yield Held("starttls-offer", "STARTTLS" not in offered, "STARTTLS is offered under TLS")


def _challenge(answer: Answer) -> Held:
    line = answer.lines[0].rstrip(b"\r\n")
    good = line[:4] == b"334 " and BASE64.fullmatch(line[4:]) is not None
    return Held("auth-challenge", good, f"the challenge is {answer}")


def _is_domain(word: bytes) -> bool:
    return EHLO_NAME.fullmatch(word) is not None
