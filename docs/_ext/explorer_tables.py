"""What the explorer knows of the core, as data: the tables, the grammar, and the words of the errors.

The words are the core's own: each error is provoked by a dialogue that does what is forbidden. Where its text
names something of that dialogue there is a gap, for the explorer to fill.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from javascript import pattern
from smtp_proto import Command
from smtp_proto import _grammar as grammar
from smtp_proto import _state as states
from smtp_proto._client_sending import _LAST_IN_GROUP
from smtp_proto._parameter_table import PARAMETERS
from smtp_proto._rules import SPECIAL_ANSWERS
from smtp_proto.testing import Script
from transitions import name
from walks import walk

_GRAMMAR: dict[str, grammar.Rule[Any]] = {
    "envelope": grammar.ENVELOPE,
    "parameter": grammar.ESMTP_PARAMETER,
    "ehloLine": grammar.EHLO_LINE,
    "foreign": grammar.FOREIGN,
    "verb": grammar.VERB,
    "mechanism": grammar.MECHANISM,
    "base64": grammar.BASE64,
    "replyLine": grammar.REPLY_LINE,
    "attribute": grammar.ATTRIBUTE,
    "uri": grammar.ABSOLUTE_URI,
    "ipv4": grammar._IPV4,
    "generalLiteral": grammar._GENERAL,
}


class _Form(NamedTuple):
    """The argument of a verb: the rule for it, None for none at all; and what is none."""

    rule: grammar.Rule[bytes] | None
    wrong: str
    optional: bool = False


_FORMS = {
    "EHLO": _Form(grammar.EHLO_NAME, "@"),
    "HELO": _Form(grammar.EHLO_NAME, "@"),
    "LHLO": _Form(grammar.EHLO_NAME, "@"),
    "STARTTLS": _Form(None, "x"),
    "DATA": _Form(None, "x"),
    "RSET": _Form(None, "x"),
    "QUIT": _Form(None, "x"),
    "MAIL": _Form(None, "x"),
    "RCPT": _Form(None, "x"),
    "VRFY": _Form(grammar.ARGUMENT, ""),
    "EXPN": _Form(grammar.ARGUMENT, ""),
    "HELP": _Form(grammar.ARGUMENT, "", optional=True),
    "NOOP": _Form(grammar.ARGUMENT, "", optional=True),
    "BDAT": _Form(grammar.BDAT_ARGUMENT, "x"),
    "BURL": _Form(grammar.BURL_ARGUMENT, ""),
    "ETRN": _Form(grammar.ETRN_NODE, "!"),
}

# What an end makes of what is wrong: it raises, or hands out what is to be refused.
SAID = re.compile(
    r"(?:(?:Local|Remote)ProtocolError|MalformedCommand|EndOfMessage, to be refused): "
    r"(?:(?P<code>[45][0-9][0-9] [45][.][0-9]+[.][0-9]+) )?"
    r"(?P<text>.*?)(?:; the reply to send: (?P<reply>.*))?"
)

_OPEN = "S: 220 a\n"
_OFFER = ["PIPELINING", "STARTTLS", "AUTH_PLAIN", "CHUNKING", "BINARYMIME", "BURL", "SIZE", "XCLIENT_NAME"]
_HELLO = "C: EHLO a\nS: 250-a\n" + "\n".join(
    f"S: 250{' ' if word == _OFFER[-1] else '-'}{word.replace('_', ' ')}" for word in _OFFER
)
_READY = f"{_OPEN}{_HELLO}\n"
_BARE = f"{_OPEN}C: EHLO a\nS: 250 a\n"
_MAIL = "C: MAIL FROM:<>\nS: 250 ok\n"
_RCPT = f"{_MAIL}C: RCPT TO:<a@b>\nS: 250 ok\n"
_LOGGED_IN = "C: AUTH PLAIN AA==\nS: 235 ok\n"
_TLS = "C: STARTTLS\nS: 220 go\n"


class Provoked(NamedTuple):
    """A dialogue at whose last line an end raises, or a server hears what it has to refuse. The gaps: which
    words of the text depend on the dialogue, by their names.
    """

    dialogue: str
    end: str
    gaps: Mapping[str, str] = {}
    lmtp: bool = False


ERRORS = {
    # What a command may not be, or not now.
    "order": Provoked(f"{_OPEN}C: MAIL FROM:<>", "server", {"command": "Mail", "state": "greeted"}),
    "wait": Provoked(f"{_OPEN}C: EHLO a\nC: NOOP", "client", {"command": "Noop", "before": "Ehlo"}),
    "smtpOnly": Provoked(f"{_OPEN}C: EHLO a", "server", {"verb": "EHLO"}, lmtp=True),
    "lmtpOnly": Provoked(f"{_OPEN}C: LHLO a", "server"),
    "tlsActive": Provoked(f"{_READY}{_TLS}<starttls>\n{_HELLO}\nC: STARTTLS", "server"),
    "authenticated": Provoked(f"{_READY}{_LOGGED_IN}C: AUTH PLAIN AA==", "server"),
    "notOffered": Provoked(f"{_BARE}C: STARTTLS", "server", {"keyword": "STARTTLS"}),
    "mechanism": Provoked(f"{_READY}C: AUTH XX", "server", {"mechanism": "XX"}),
    "requireTLS": Provoked(
        f"{_OPEN}C: EHLO a\nS: 250-a\nS: 250 REQUIRETLS\nC: MAIL FROM:<> REQUIRETLS", "server"
    ),
    "parameter": Provoked(f"{_BARE}C: MAIL FROM:<> XX=1", "server", {"name": "XX", "verb": "MAIL"}),
    "binary": Provoked(f"{_READY}{_RCPT.replace('<>', '<> BODY=BINARYMIME')}C: DATA", "server"),
    "smtputf8": Provoked(f"{_BARE}C: VRFY a SMTPUTF8", "server"),
    "utf8Question": Provoked(f"{_BARE}C: VRFY \\xc3\\xb6", "server"),
    "utf8Path": Provoked(f"{_BARE}C: MAIL FROM:<\\xc3\\xb6@b>", "server", {"path": r"'\xf6@b'"}),
    "burlLast": Provoked(
        f"{_OPEN}C: EHLO a\nS: 250-a\nS: 250 BURL\n{_RCPT}C: BURL imap://a", "server"
    ),
    "attribute": Provoked(f"{_READY}C: XCLIENT ADDR=a", "server", {"verb": "XCLIENT", "name": "ADDR"}),
    # What a line may not be.
    "notCommand": Provoked(f"{_OPEN}C: 1", "server"),
    "notParameter": Provoked(f"{_READY}C: MAIL FROM:<> ==", "server", {"word": "b'=='"}),
    "parameterTwice": Provoked(f"{_READY}C: MAIL FROM:<> XX=1 XX=1", "server", {"name": "XX"}),
    "notMechanism": Provoked(f"{_READY}C: AUTH !", "server"),
    "notBase64": Provoked(f"{_READY}C: AUTH PLAIN !", "server"),
    "notAttribute": Provoked(f"{_READY}C: XCLIENT !", "server", {"word": "b'!'"}),
    "notLiteral": Provoked(f"{_OPEN}C: MAIL FROM:<a@[1]>", "server", {"literal": "b'[1]'"}),
    "notURI": Provoked(f"{_OPEN}C: BURL x", "server", {"url": "'x'"}),
    "noAttributes": Provoked(f"{_OPEN}C: XCLIENT", "server", {"verb": "XCLIENT"}),
    "foreign": Provoked(f"{_OPEN}C: GET / HTTP/1.1", "server"),
    "bare": Provoked(f"{_READY}{_RCPT}C: DATA\nS: 354 go\nC: a\\x0ab\nC: .", "server"),
    # What a reply may not be.
    "notReply": Provoked("S: x", "client", {"line": "b'x'"}),
    "twoCodes": Provoked("S: 220-a\nS: 221 a", "client", {"first": "220", "code": "221"}),
    "nul": Provoked("S: 220 \\x00", "client", {"line": "b'220 \\x00'"}),
    "unasked": Provoked(f"{_READY}S: 250 so what", "client", {"code": "250", "text": "'so what'"}),
    "noAnswer": Provoked("S: 354 go", "client", {"code": "354", "command": "the opening"}),
    "notThisAnswer": Provoked(
        f"{_READY}C: AUTH PLAIN\nS: 334 !", "server", {"text": "'!'", "command": "Auth"}
    ),
    "announced": Provoked(f"{_READY}{_RCPT}C: DATA\nS: 354 go\nC: .\nS: 353 each", "client"),
    "mustRefuse": Provoked(
        f"{_OPEN}C: DATA x\nS: 250 ok", "server", {"command": "MalformedCommand", "code": "250"}
    ),
    "nothingWaits": Provoked(f"{_READY}S: 250 so what", "server", {"reply": "250 so what"}),
    # What may not stand behind something else.
    "behind220": Provoked(f"{_READY}{_TLS}S: 250 ok", "client"),
    "behindStartTLS": Provoked(f"{_READY}C: STARTTLS\nC: NOOP", "server"),
    "behindRefused": Provoked(f"{_READY}C: DATA x\nC: hello\nS: 500 no", "server"),
    "noHandshake": Provoked(f"{_OPEN}<starttls>", "client"),
    # What may not be the end.
    "over": Provoked(f"{_READY}C: QUIT\nS: 221 bye\nS: 250 ok", "server", {"state": "closed"}),
    "serverGone": Provoked(f"{_READY}S: 25\\\nS: <close>", "client"),
    "serverGoneWaiting": Provoked(f"{_READY}C: NOOP\nS: <close>", "client", {"command": "Noop"}),
    "clientGone": Provoked(
        f"{_READY}C: NOO\\\nC: <close>", "server", {"where": "in the middle of a command"}
    ),
}  # fmt: skip


def tables() -> dict[str, Any]:
    """All of it, as what JSON can hold."""
    return {
        "states": _what_states_are(),
        "table": {state.value: _row(row) for state, row in states.TABLE.items()},
        "late": _row(states.LATE),
        "inTransaction": sorted(state.value for state in states.IN_TRANSACTION),
        "lastInGroup": sorted(kind.__name__ for kind in _LAST_IN_GROUP),
        "answers": {
            kind.__name__: {"from": codes.start, "to": codes.stop, "type": answer.__name__}
            for kind, (codes, answer) in SPECIAL_ANSWERS.items()
        },
        "grammar": {key: pattern(rule) for key, rule in _GRAMMAR.items()},
        "enhancedCode": pattern(grammar.ENHANCED_CODE),
        "verbs": {verb: _verb(verb, form) for verb, form in _FORMS.items()},
        "kinds": {kind.verb: kind.__name__ for kind in reversed(_kinds()) if kind.verb},
        "names": {kind.__name__: name(kind) for kind in _kinds()},
        "parameters": {
            f"{verb} {key}": {"keyword": entry.keyword, "enhanced": entry.enhanced}
            for (verb, key), entry in PARAMETERS.items()
        },
        "errors": {key: _words(provoked) for key, provoked in ERRORS.items()},
    }


def _row(row: Mapping[type[Command], Mapping[int, states.State]]) -> dict[str, dict[int, str]]:
    return {
        kind.__name__: {code: state.value for code, state in outcomes.items()}
        for kind, outcomes in row.items()
    }


def _kinds() -> list[type[Command]]:
    """All that a client says, in the order of the table."""
    return list(dict.fromkeys(kind for row in states.TABLE.values() for kind in row))


def _what_states_are() -> dict[str, str]:
    """What is written below each state in the source."""
    (enum,) = ast.parse(inspect.getsource(states.State)).body
    assert isinstance(enum, ast.ClassDef)
    texts = [ast.literal_eval(node.value) for node in enum.body if isinstance(node, ast.Expr)]
    return dict(zip((state.value for state in states.State), texts[1:], strict=True))


def _verb(verb: str, form: _Form) -> dict[str, Any]:
    """How its argument is judged, and the words for one that is none, and for one that is not there."""
    wrong = {} if form.optional else _words_of(verb, form.wrong)
    if form.rule:
        wrong = {key: word.replace(repr(form.wrong), "{argument}") for key, word in wrong.items()}
    return {
        "rule": pattern(form.rule) if form.rule else None,
        "optional": form.optional,
        "wrong": wrong,
        "missing": _words_of(verb, "") if form.rule and not form.optional else wrong,
    }


def _words_of(verb: str, argument: str) -> dict[str, str]:
    line = f"{verb} {argument}".rstrip(" ")
    return _words(Provoked(f"{_OPEN}C: {line}", "server", lmtp=verb == "LHLO"))


def _words(provoked: Provoked) -> dict[str, str]:
    """What the core says of the dialogue's last line, and the code with which a server answers it."""
    last = walk(Script.parse(provoked.dialogue), lmtp=provoked.lmtp)[-1][provoked.end]
    said = last["error"] or last["heard"][-1]
    match = SAID.fullmatch(said)
    if match is None:
        raise ValueError(f"not a refusal: {said!r}")
    text = match["text"]
    for gap, word in provoked.gaps.items():
        if word not in text:
            raise ValueError(f"{word!r} is not in {text!r}")
        text = text.replace(word, f"{{{gap}}}", 1)
    return {"text": text, "code": match["code"] or " ".join((match["reply"] or "").split(" ")[:2])}
