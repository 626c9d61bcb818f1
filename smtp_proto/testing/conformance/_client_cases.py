"""The cases that every client is driven through: one at least for each rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

from ._client_session import Answer, Behaviour, Letter

Case: TypeAlias = tuple[Letter, Behaviour]

# What servers offer: nothing, what is usual, and what makes it quick.
LOCK_STEP = ("SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES")
PIPELINED = ("PIPELINING", *LOCK_STEP, "SMTPUTF8", "DSN", "X-UNKNOWN a=b c", "HELP")
CHUNKED = ("PIPELINING", *LOCK_STEP, "CHUNKING", "BINARYMIME", "SMTPUTF8")
CHUNKED_LOCK_STEP = (*LOCK_STEP, "CHUNKING")
OFFERS = ((), LOCK_STEP, PIPELINED, CHUNKED, CHUNKED_LOCK_STEP)

_HEAD = b"Subject: hi\r\n\r\n"
PLAIN = Letter()
THREE = Letter(recipients=("bob@mx.example", "carol@mx.example", "dave@mx.example"))
TEXTS = (
    _HEAD + b".one\r\n..two\r\n.\r\nthree.\r\n.\r\n",
    _HEAD + b"no line end",
    _HEAD + b"empty lines\r\n\r\n\r\n",
    _HEAD + "Grüße\r\n".encode(),
    _HEAD + b"bare\n.\nline\r.\rends\n",
    b"",
)
# Wherever a client cuts it, a line with a dot begins there in one of three cases.
_LONG = _HEAD + b".\r\n" * 6_000
UTF8 = Letter(sender="jürgen@client.example", recipients=("grå@mx.example",))
HOSTILE = (
    Letter(recipients=("bob@mx.example>\r\nRCPT TO:<mallory@mx.example",)),
    Letter(sender="ada@client.example>\r\nRCPT TO:<mallory@mx.example"),
    Letter(recipients=("bob@mx.example>\nRCPT TO:<mallory@mx.example",)),
)

_BAD = {
    "refused": Answer(b"550 5.7.1 no\r\n"),
    "busy": Answer(b"451-4.3.0 not\r\n451 4.3.0 now\r\n"),
    "closing": Answer(b"421 4.3.2 closing\r\n"),
    "gone": Answer(b"", closes=True),
    "cut": Answer(b"250 o", closes=True),
    "cut lines": Answer(b"250-ok\r\n", closes=True),
    "endless": Answer(b"250-more\r\n", endless=True),
}
_GARBAGE = Answer(b"ok, go on\r\n")
_MOMENTS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "text")
_UNUSUAL = {
    "MAIL": (Answer(b"252-one\r\n252 two\r\n"),),
    "RCPT": (Answer(b"251 forwarded\r\n"), Answer(b"252 perhaps\r\n"), Answer(b"299 \r\n")),
    "DATA": (Answer(b"354-go\r\n354\r\n"),),
    "text": (Answer(b"201-well\r\n201-\r\n201 done\r\n"), Answer(b"259\r\n"), Answer(b"298 ok\r\n")),
}


def cases(*, lmtp: bool = False, tls: bool = True) -> list[Case]:
    """All of them. `lmtp`: for a client that speaks LMTP; `tls`: for a stream that can do a handshake."""
    found = [*_good(), *_unusual(), *_bad(), *_recipients(), *_hellos()]
    if lmtp:
        found += _verdicts()
    if tls:
        found += _secured()
    return [(letter, _in_lmtp(behaviour) if lmtp else behaviour) for letter, behaviour in found]


def _in_lmtp(behaviour: Behaviour) -> Behaviour:
    answers = {"LHLO" if moment == "EHLO" else moment: said for moment, said in behaviour.answers.items()}
    return replace(behaviour, lmtp=True, answers=answers)


def _good() -> Iterator[Case]:
    for offers in OFFERS:
        behaviour = Behaviour(offers=offers)
        yield PLAIN, behaviour
        yield THREE, behaviour
        yield UTF8, behaviour
    for offers in ((), LOCK_STEP, CHUNKED):
        for text in TEXTS:
            yield Letter(data=text), Behaviour(offers=offers)
    yield Letter(data=_LONG), Behaviour()
    yield PLAIN, Behaviour(offers=LOCK_STEP, pieces=(1,))
    yield THREE, Behaviour(offers=PIPELINED, pieces=(5, 1, 2))
    for letter in HOSTILE:
        yield letter, Behaviour(offers=PIPELINED)
        yield letter, Behaviour()


def _unusual() -> Iterator[Case]:
    for moment, answers in _UNUSUAL.items():
        yield THREE, Behaviour(offers=LOCK_STEP, answers={moment: answers})
    yield THREE, Behaviour(offers=PIPELINED, answers=_UNUSUAL)
    yield THREE, Behaviour(offers=CHUNKED, answers=_UNUSUAL)
    yield PLAIN, Behaviour(answers={"greeting": (Answer(b"220-mx.example\r\n220-says\r\n220 hello\r\n"),)})


def _bad() -> Iterator[Case]:
    for moment in _MOMENTS:
        for answer in _BAD.values():
            yield THREE, Behaviour(offers=LOCK_STEP, answers={moment: (answer,)})
    for name in ("refused", "closing", "gone"):
        for moment in ("MAIL", "RCPT", "DATA"):
            yield THREE, Behaviour(offers=PIPELINED, answers={moment: (_BAD[name],)})
        for moment in ("RCPT", "text"):
            yield THREE, Behaviour(offers=CHUNKED, answers={moment: (_BAD[name],)})
    for moment in ("greeting", "MAIL", "text"):
        yield PLAIN, Behaviour(answers={moment: (_GARBAGE,)})
        yield PLAIN, Behaviour(answers={moment: (Answer(b"2", endless=True),)})
    yield Letter(data=_LONG[:9000]), Behaviour(offers=CHUNKED_LOCK_STEP, answers={"BDAT": (_BAD["refused"],)})
    for octets in (b"550-no\r\n250 yes\r\n", b"250-yes\r\n550 no\r\n", b"354 more\r\n", b"250-yes\r\nno\r\n"):
        yield PLAIN, Behaviour(answers={"text": (Answer(octets),)})
    early = Answer(b"354 go ahead\r\n", behind=b"250 taken\r\n")
    yield PLAIN, Behaviour(answers={"DATA": (early,), "text": (_BAD["refused"],)})


def _recipients() -> Iterator[Case]:
    good, bad, later = Answer(b"250 ok\r\n"), Answer(b"550 no\r\n"), Answer(b"452 later\r\n")
    for offers in (LOCK_STEP, PIPELINED, CHUNKED):
        for answers in ((good, bad, good), (bad, bad, bad), (later, good, bad)):
            yield THREE, Behaviour(offers=offers, answers={"RCPT": answers})
        go_ahead = (Answer(b"354 go ahead\r\n"),)
        yield THREE, Behaviour(offers=offers, answers={"RCPT": (bad, later, bad), "DATA": go_ahead})


def _hellos() -> Iterator[Case]:
    for code in (b"500", b"501", b"502", b"504", b"550"):
        yield UTF8, Behaviour(offers=PIPELINED, answers={"EHLO": (Answer(code + b" no EHLO here\r\n"),)})
        yield THREE, Behaviour(offers=PIPELINED, answers={"EHLO": (Answer(code + b" no EHLO here\r\n"),)})
    clear = Behaviour(offers=(*LOCK_STEP, "AUTH PLAIN LOGIN CRAM-MD5"))
    yield PLAIN, clear
    yield PLAIN, replace(clear, offers=("AUTH LOGIN",))
    yield PLAIN, replace(clear, offers=("AUTH X-UNKNOWN",))


def _verdicts() -> Iterator[Case]:
    good, bad, later = Answer(b"250 ok\r\n"), Answer(b"550 full\r\n"), Answer(b"452-try\r\n452 later\r\n")
    for offers in (LOCK_STEP, PIPELINED, CHUNKED):
        for answers in ((good, bad, later), (bad, good, good), (good, good, bad)):
            yield THREE, Behaviour(offers=offers, answers={"text": answers})
        yield THREE, Behaviour(offers=offers, answers={"RCPT": (good, bad, good), "text": (bad, good)})
        for name in ("closing", "gone", "cut"):
            yield THREE, Behaviour(offers=offers, answers={"text": (good, _BAD[name])})


def _secured() -> Iterator[Case]:
    for inside in ((), LOCK_STEP, CHUNKED):
        yield THREE, Behaviour(offers=(*CHUNKED, "STARTTLS"), tls_offers=inside)
        yield THREE, Behaviour(offers=(*PIPELINED, "STARTTLS"), tls_offers=inside)
        yield UTF8, Behaviour(offers=(*PIPELINED, "AUTH PLAIN", "STARTTLS"), tls_offers=inside)
    said = Answer(b"220 go\r\n", behind=b"250-mx.example\r\n250-AUTH PLAIN\r\n250 PIPELINING\r\n")
    refusals = (b"220 g", b"220-go\r\n", b"")
    answers = [said, Answer(b"220-go\r\n220 ahead\r\n"), Answer(b"454 no TLS\r\n"), _BAD["closing"], _GARBAGE]
    answers += [Answer(octets, closes=True) for octets in refusals]
    for answer in answers:
        yield PLAIN, Behaviour(offers=(*LOCK_STEP, "STARTTLS"), answers={"STARTTLS": (answer,)})
    yield from _logged_in()


def _logged_in() -> Iterator[Case]:
    for mechanisms in ("PLAIN", "LOGIN"):
        offers = ("STARTTLS", f"AUTH {mechanisms}")
        yield PLAIN, Behaviour(offers=offers)
        for answer in (b"535 no\r\n", b"504 not that one\r\n", b"421 closing\r\n", b"334 \xff!\r\n"):
            yield PLAIN, Behaviour(offers=offers, answers={"AUTH": (Answer(answer),)})
            yield PLAIN, Behaviour(offers=offers, answers={"response": (Answer(answer),)})
