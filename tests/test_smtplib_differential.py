"""The drop-in beside the standard library's smtplib: led through the same calls, with a server that says the
same to both, they say the same to the server and to the caller.

What was mended on purpose stands in `DIFFERENT`, each with a dialogue that shows it; the drawn dialogues keep
clear of these.
"""

from __future__ import annotations

import re
import smtplib as standard
from collections.abc import Sequence
from email.message import EmailMessage
from itertools import chain, repeat
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wires import Answer, Net, Script, net, reply

from smtp_transports import smtplib as dropin

HOST, PORT = "mx.example", 2525

Step = tuple[str, tuple[Any, ...], dict[str, Any]]


def step(name: str, *args: Any, **options: Any) -> Step:
    """A call of a client's method."""
    return name, args, options


class Dialogue(NamedTuple):
    """All that decides what happens."""

    script: Script
    steps: Sequence[Step]
    kind: str = "SMTP"
    connects: bool = True
    """With the constructor; otherwise the steps say when."""


# --- What there is to compare

ATTRIBUTES = (
    "command_encoding",
    "debuglevel",
    "default_port",
    "does_esmtp",
    "ehlo_msg",
    "ehlo_resp",
    "esmtp_features",
    "helo_resp",
    "local_hostname",
    "password",
    "source_address",
    "timeout",
    "user",
)


class Told(NamedTuple):
    """What one call told its caller."""

    call: str
    outcome: Any
    connected: bool
    attributes: dict[str, Any]


def error(exc: Exception) -> Any:
    """An exception, as something to compare."""
    if isinstance(exc, UnicodeEncodeError):
        return type(exc).__name__, exc.encoding, exc.reason  # the text is no interface
    if isinstance(exc, (dropin.SMTPNotSupportedError, standard.SMTPNotSupportedError)):
        return type(exc).__name__  # nor is this sentence
    return type(exc).__name__, exc.args, vars(exc), str(exc), isinstance(exc, OSError) and exc.errno


def is_told(name: str, client: Any) -> bool:
    """The encoding of commands means nothing where there is no connection."""
    return name != "command_encoding" or getattr(client, "sock", None) is not None


def depends_on_order(name: str, args: tuple[Any, ...]) -> bool:
    """Whether there is more than one thing wrong with a call on a closed connection."""
    return name == "getreply" or any(isinstance(arg, str) and not arg.isascii() for arg in args)


# Its type stubs know nothing of what is not documented.
Original: Any = standard.SMTP


class Mended(Original):  # type: ignore[misc]
    """Two mended things that are everywhere, mended in the original too: who connects again does not believe
    what the last server offered, and a transaction whose DATA was refused is not left open.
    """

    _sends = False

    def _get_socket(self, *args: Any) -> Any:
        sock = super()._get_socket(*args)
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features: dict[str, str] = {}
        self.does_esmtp = False
        return sock

    def sendmail(self, *args: Any, **options: Any) -> Any:
        self._sends = True
        try:
            return super().sendmail(*args, **options)
        finally:
            self._sends = False

    def data(self, msg: Any) -> Any:
        try:
            return super().data(msg)
        except standard.SMTPDataError as exc:
            if self._sends and exc.smtp_code == 421:
                self.close()
            elif self._sends:
                self._rset()
            raise


class MendedLMTP(Mended, standard.LMTP):  # type: ignore[misc]
    """The same."""


KINDS: dict[str, dict[str, Any]] = {
    "the drop-in": {"SMTP": dropin.SMTP, "LMTP": dropin.LMTP},
    "the original": {"SMTP": standard.SMTP, "LMTP": standard.LMTP},
    "mended": {"SMTP": Mended, "LMTP": MendedLMTP},
}


def history(whose: str, dialogue: Dialogue) -> tuple[list[Told], Net]:
    """Lead a client through the dialogue: what its caller and its servers were told."""
    told: list[Told] = []
    client: Any = None

    def told_by(name: str, call: Any, *args: Any, **options: Any) -> Any:
        result = None
        try:
            result = outcome = call(*args, **options)
        except Exception as exc:
            outcome = error(exc)
        there = client or result
        told.append(
            Told(
                name,
                None if outcome is there else outcome,
                getattr(there, "sock", None) is not None,
                {name: getattr(there, name, "nothing") for name in ATTRIBUTES if is_told(name, there)},
            )
        )
        return result

    with net(dropin if whose == "the drop-in" else standard, dialogue.script) as there:
        address = (HOST, PORT) if dialogue.connects else ()
        client = told_by("the constructor", KINDS[whose][dialogue.kind], *address)
        for name, args, options in dialogue.steps if client else ():
            if client.sock is not None or not depends_on_order(name, args):
                told_by(name, getattr(client, name), *args, **options)
        if client:
            client.close()
    return told, there


def as_declared(ours: bytes, theirs: bytes) -> bytes:
    """`theirs` where `ours` declares the same otherwise: SIZE with the last line end if the caller gave none,
    and what octets beyond ASCII need, BODY=8BITMIME in the body and SMTPUTF8 in the address.
    """
    if not theirs.startswith(b"MAIL "):
        return ours
    size = re.search(rb"(?<= SIZE=)\d+", theirs)
    sizes = [int(size[0]), int(size[0]) + 2] if size else [0]
    forms = [re.sub(rb"(?<= SIZE=)\d+", b"%d" % octets, theirs) for octets in sizes]
    without = [ours, ours.replace(b" BODY=8BITMIME", b""), ours.replace(b" SMTPUTF8", b"")]
    return theirs if any(form in forms for form in without) else ours


def compare(dialogue: Dialogue) -> None:
    told, there = history("the drop-in", dialogue)
    expected, original = history("mended", dialogue)
    for one, other in zip(told, expected, strict=True):
        assert one == other
    for heard, wanted in zip(there.heard, original.heard, strict=True):
        assert list(map(as_declared, heard, chain(wanted, repeat(b"")))) == wanted
    assert [server.open for server in there.servers] == [server.open for server in original.servers]
    assert there.addresses == original.addresses


# --- What servers say

CODES = {
    "EHLO": [500, 502, 421, 550, 250],
    "LHLO": [500, 250],
    "HELO": [502, 421, 250],
    "MAIL": [451, 452, 550, 553, 421, 500, 503],
    "RCPT": [251, 450, 550, 553, 421, 503],
    "DATA": [451, 503, 554, 421, 250],
    ".": [451, 452, 552, 554, 421],
    "NOOP": [421, 500, 200],
    "VRFY": [250, 251, 550, 502],
    "EXPN": [250, 502],
    "HELP": [211, 502],
    "AUTH": [334, 334, 503, 535, 454, 421],
    "QUIT": [421, 500, 250],
}
OFFERS = [
    b"PIPELINING",
    b"SIZE",
    b"SIZE 1000",
    b"size 2000",
    b"8BITMIME",
    b"SMTPUTF8",
    b"DSN",
    b"AUTH PLAIN LOGIN",
    b"AUTH=LOGIN",
    b"AUTH CRAM-MD5 Plain",
    b"AUTH",
    b"STARTTLS",
    b"X-Odd two words ",
    b"*** not an extension",
    b"HELP",
]
GREETINGS = [Script.greeting] * 12 + [reply(220, b"a", b"b"), reply(554, b"no"), None]
LINES = [b"Ok", b"", b"2.1.0 Ok", b" in \t spaces \t", b"caf\xe9", b"5.7.1 no, and no", b"PENoYWxsZW5nZT4="]


@st.composite
def answers(draw: st.DrawFn, verb: str) -> Answer:
    if draw(st.integers(0, 19)) == 0:
        return None
    if verb == "AUTH":
        lines = draw(st.sampled_from([[b""], [b"PENoYWxsZW5nZT4="], [b"VXNlcm5hbWU6"]]))
    elif verb in ("EHLO", "LHLO"):
        lines = draw(st.lists(st.sampled_from(OFFERS[1:]), min_size=1, max_size=3))
    else:
        lines = draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=3))
    said = reply(draw(st.sampled_from(CODES[verb])), *lines)
    return draw(st.sampled_from([said, said, said.replace(b" \r\n", b"\r\n"), said.replace(b"\r\n", b"\n")]))


@st.composite
def scripts(draw: st.DrawFn, verbs: str, *, lmtp: bool = False) -> Script:
    odd = draw(st.lists(st.sampled_from(verbs.split()), unique=True, max_size=3))
    return Script(
        greeting=draw(st.sampled_from(GREETINGS)),
        offers=draw(st.lists(st.sampled_from(OFFERS), max_size=8)),
        answers={verb: draw(st.lists(answers(verb) | usual(verb), min_size=1, max_size=4)) for verb in odd},
        closes_after=draw(st.sampled_from([None, None, None, 1, 2, 3, 4, 5, 6, 7])),
        careless=draw(st.booleans()),
        lmtp=lmtp,
    )


def usual(verb: str) -> st.SearchStrategy[Answer]:
    """What is said when all is well."""
    code = {"DATA": 354, "AUTH": 235, "QUIT": 221}.get(verb, 250)
    return st.just(reply(code, b"fine"))


# --- What programs do

SENDERS = [
    "ada@sender.example",
    "Ada <ada@sender.example>",
    "<ada@sender.example>",
    "",
    "<>",
    "jörg@sender.example",
]
RECIPIENTS = [
    "grace@mx.example",
    "Grace Hopper <grace.hopper@mx.example>",
    "<edsger@mx.example>",
    "local",
    '"quoted local"@mx.example',
    "with(comment)@mx.example",
]
BODIES: list[Any] = [
    b"Subject: hi\r\n\r\nHello\r\n",
    b".\r\n..\r\n.a\r\n",
    b"no line end",
    b"caf\xe9\r\n",
    b"\r\n",
    b"\r\n\r\n",
    "\n",
    "Subject: hi\n\n.Hello\rbare\r\n.",
    "caf\xe9\r\n",
    "x" * 1200 + "\n",
    bytearray(b"array\r\n"),
]
MAIL_OPTIONS = [[], (), ["BODY=8BITMIME"], ["body=8BITMIME", "RET=HDRS"], ["SMTPUTF8"], ["smtputf8", "X-ODD"]]
RCPT_OPTIONS = [[], ["NOTIFY=NEVER"], ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;a@b.example"]]
NAMES = ["other.example", "[192.0.2.1]", "a b"]


@st.composite
def messages(draw: st.DrawFn) -> EmailMessage:
    message = EmailMessage()
    prefix = draw(st.sampled_from(["", "", "", "Resent-"]))
    if prefix:
        for _ in range(draw(st.sampled_from([1, 1, 2]))):
            message._headers.append(("Resent-Date", "Mon, 5 Oct 2026 12:00:00 +0000"))  # type: ignore[attr-defined]
        message["From"] = "first@sender.example"
    message[prefix + "From"] = draw(st.sampled_from(["Ada <ada@sender.example>", "a@s.example, b@s.example"]))
    message[prefix + "To"] = draw(
        st.sampled_from(["grace@mx.example", "Grace <grace@mx.example>, e@mx.example"])
    )
    for name, value in {
        "Sender": "secretary@sender.example",
        "Cc": "copy@mx.example, =?utf-8?q?J=C3=B6rg?= <j@mx.example>",
        "Bcc": "hidden@mx.example",
    }.items():
        if draw(st.booleans()):
            message[prefix + name] = value
    message["Subject"] = draw(st.sampled_from(["hi", "Grüße"]))
    message.set_content(draw(st.sampled_from(["Hello\n", ".dot\n..\n", "Grüße\n", ""])))
    return message


pick = st.sampled_from
recipients = st.lists(pick(RECIPIENTS), unique=True, max_size=4) | pick(RECIPIENTS)
rcpt_options: st.SearchStrategy[Any] = st.just([]) | pick(RCPT_OPTIONS)
mail_options: st.SearchStrategy[Any] = st.just([]) | pick(MAIL_OPTIONS)


def send(to: st.SearchStrategy[Any] = recipients) -> st.SearchStrategy[list[Step]]:
    """One message."""
    return call("sendmail", pick(SENDERS), to, pick(BODIES), mail_options, rcpt_options)


def calls(*which: Step) -> st.SearchStrategy[list[Step]]:
    """One of these."""
    return pick(which).map(lambda one: [one])


def call(name: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Step]]:
    """One call, with arguments drawn."""
    return st.builds(step, st.just(name), *args).map(lambda one: [one])


TRANSACTIONS = [
    send(),
    send(),
    send(),
    call("send_message", messages()),
    call("send_message", messages(), pick(SENDERS), recipients, mail_options),
    calls(step("rset"), step("ehlo"), step("helo")),
]
COMMANDS = [
    call("mail", pick(SENDERS), mail_options),
    call("rcpt", pick(RECIPIENTS), pick(RCPT_OPTIONS)),
    call("data", pick([body for body in BODIES if not isinstance(body, str) or body.isascii()])),
    call("verify", pick(RECIPIENTS)),
    call("vrfy", pick(RECIPIENTS)),
    call("expn", pick(RECIPIENTS)),
    call("ehlo", pick(NAMES)),
    call("helo", pick(NAMES)),
    calls(step("noop"), step("rset"), step("ehlo"), step("helo"), step("starttls")),
    calls(step("help"), step("help", "topic")),
    call("has_extn", pick(["size", "PIPELINING", "x-odd", "auth"])),
    calls(step("docmd", "NOOP"), step("docmd", "noop", "words"), step("docmd", "XODD", "a=b")),
    calls(step("docmd", "two\r\nlines"), step("putcmd", "noop", "two\nlines"), step("ehlo", "two\rlines")),
    st.just([step("putcmd", "noop"), step("getreply")]),
    st.just([step("send", "noop\r\n"), step("getreply")]),
    send(),
]
LOGIN = [
    calls(
        step("login", "user", "password"),
        step("login", "user", "password", initial_response_ok=False),
        step("login", "", ""),
    ),
    calls(step("ehlo"), step("helo"), step("ehlo_or_helo_if_needed"), step("noop")),
    send(),
]
CONNECTIONS = [
    calls(step("connect", HOST, PORT), step("connect", f"{HOST}:26"), step("connect", HOST)),
    calls(
        step("connect", f"{HOST}:x"), step("connect", HOST, PORT, ("192.0.2.1", 0)), step("connect", "::1")
    ),
    calls(step("quit"), step("close"), step("__exit__", None, None, None), step("__enter__")),
    calls(step("ehlo"), step("noop"), step("starttls")),
    send(),
]
THEMES = {
    "transactions": (TRANSACTIONS, "EHLO MAIL RCPT DATA ."),
    "commands": (COMMANDS, " ".join(CODES)),
    "log in": (LOGIN, "EHLO AUTH AUTH"),
    "connections": (CONNECTIONS, "EHLO HELO NOOP QUIT MAIL"),
}


def joined(lists: list[list[Step]]) -> list[Step]:
    return [one for steps in lists for one in steps]


def dialogues(theme: str) -> st.SearchStrategy[Dialogue]:
    choices, verbs = THEMES[theme]
    steps = st.lists(st.one_of(choices), min_size=1, max_size=5).map(joined)
    connects = st.just(True) if theme != "connections" else st.booleans()
    return st.builds(Dialogue, scripts(verbs), steps, st.just("SMTP"), connects)


@pytest.mark.parametrize("theme", THEMES)
@given(st.data())
def test_both_say_the_same_to_the_server_and_to_the_caller(theme: str, data: st.DataObject) -> None:
    compare(data.draw(dialogues(theme)))


@given(scripts("LHLO MAIL RCPT DATA .", lmtp=True), st.lists(send(pick(RECIPIENTS)), min_size=1, max_size=4))
def test_both_say_the_same_with_lmtp_and_one_recipient(script: Script, steps: list[list[Step]]) -> None:
    compare(Dialogue(script, joined(steps), "LMTP"))


PIPELINING = (b"PIPELINING",)
ONE, TWO = "grace@mx.example", "edsger@mx.example"
SENDMAIL = step("sendmail", "ada@sender.example", [ONE, TWO], b"x\r\n")
CHALLENGE = reply(334, b"PENoYWxsZW5nZT4=")

# What is drawn seldom.
DIALOGUES = {
    "mail by hand": Dialogue(
        Script(offers=PIPELINING),
        [step("ehlo"), step("send", "MAIL FROM:<>\r\n"), step("getreply"), SENDMAIL, SENDMAIL],
    ),
    "half a transaction": Dialogue(
        Script(offers=PIPELINING), [step("ehlo"), step("mail", ""), step("rcpt", ONE), SENDMAIL, SENDMAIL]
    ),
    "already authenticated": Dialogue(
        Script(offers=[b"AUTH PLAIN"], answers={"AUTH": [reply(503)]}), [step("login", "user", "password")]
    ),
    "challenges for ever": Dialogue(
        Script(offers=[b"AUTH LOGIN"], answers={"AUTH": [CHALLENGE] * 20}),
        [step("login", "user", "password")],
    ),
    "each mechanism refused": Dialogue(
        Script(
            offers=[b"AUTH PLAIN LOGIN CRAM-MD5"],
            answers={"AUTH": [CHALLENGE, reply(535, b"a"), reply(535, b"b"), CHALLENGE, reply(535, b"c")]},
        ),
        [step("login", "user", "password")],
    ),
    "capitals": Dialogue(Script(offers=PIPELINING), [step("ehlo"), step("has_extn", "PipeLining")]),
    "options without ESMTP": Dialogue(
        Script(offers=PIPELINING, answers={"EHLO": [reply(502)]}),
        [step("sendmail", "", ONE, b"x\r\n", ["BODY=8BITMIME"], ["NOTIFY=NEVER"])],
    ),
    "421 behind one who was accepted": Dialogue(
        Script(offers=PIPELINING, answers={"RCPT": [reply(250), reply(421)]}), [SENDMAIL, step("noop")]
    ),
    "421 to a body": Dialogue(
        Script(offers=PIPELINING, answers={".": [reply(421, b"a", b"b")]}), [SENDMAIL, step("noop")]
    ),
    "nobody": Dialogue(Script(offers=PIPELINING), [step("sendmail", "", [], b"x\r\n"), SENDMAIL]),
    "RSET refused": Dialogue(
        Script(answers={"RSET": [reply(500, b"no"), reply(421)]}), [step("rset"), step("rset"), step("rset")]
    ),
    "RSET refused behind a refusal": Dialogue(
        Script(answers={"MAIL": [reply(550)], "RSET": [reply(500, b"no")]}), [SENDMAIL, SENDMAIL]
    ),
    "QUIT refused": Dialogue(
        Script(answers={"QUIT": [reply(500, b"no")]}), [step("__exit__", None, None, None), step("noop")]
    ),
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_both_say_the_same_in_this_dialogue(name: str) -> None:
    compare(DIALOGUES[name])


# --- What was mended


class Difference(NamedTuple):
    reason: str
    dialogue: Dialogue


def headers(**values: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in values.items():
        message[name] = value
    return message


DIFFERENT = {
    "LMTP": Difference(
        "smtplib takes the second reply to a body for the reply to what follows",
        Dialogue(
            Script(lmtp=True, answers={".": [reply(250), reply(452)]}),
            [step("sendmail", "", [ONE, TWO], b"x\r\n"), step("noop")],
            "LMTP",
        ),
    ),
    "credentials": Difference(
        "smtplib cannot say what is not ASCII",
        Dialogue(Script(offers=[b"AUTH PLAIN"]), [step("login", "jörg", "päss")]),
    ),
    "bounded replies": Difference(
        "smtplib keeps every line that a server sends",
        Dialogue(Script(answers={"NOOP": [reply(250, *[b"x" * 70] * 10_000)]}), [step("noop")]),
    ),
    "parameters": Difference(
        "smtplib lets an option bring others with it",
        Dialogue(Script(offers=[b"DSN"]), [step("sendmail", "", ONE, b"x\r\n", ["RET=HDRS AUTH=<>"])]),
    ),
    "line ends": Difference(
        "smtplib sends bare CR and LF of bytes as they are, which servers refuse",
        Dialogue(Script(), [step("sendmail", "", ONE, b"a\nb\rc\r\n")]),
    ),
    "another connection": Difference(
        "smtplib believes that the next server offers what the last one did",
        Dialogue(Script(offers=[b"SIZE"]), [step("ehlo"), step("close"), step("connect", HOST)]),
    ),
    "DATA refused": Difference(
        "smtplib leaves the transaction open, and the next MAIL is refused",
        Dialogue(
            Script(answers={"DATA": [reply(451)]}),
            [step("sendmail", "", ONE, b"x\r\n"), step("sendmail", "", TWO, b"y\r\n")],
        ),
    ),
    "odd extensions": Difference(
        "smtplib takes 2.1.0 for an extension 2 with the value .1.0, and keeps runs of spaces",
        Dialogue(Script(offers=[b"2.1.0 Ok", b"X-Odd  two  words"]), [step("ehlo")]),
    ),
    "empty bodies": Difference(
        "smtplib makes a line of nothing",
        Dialogue(Script(), [step("sendmail", "", ONE, b"")]),
    ),
    "other good codes": Difference(
        "smtplib takes 250 and 251 alone for acceptance, where RFC 5321, 4.3.2, has the first digit decide",
        Dialogue(Script(answers={"RCPT": [reply(252)]}), [step("sendmail", "", ONE, b"x\r\n")]),
    ),
    "answers out of place": Difference(
        "smtplib takes any three digits for a refusal; in a pipeline they end the connection",
        Dialogue(
            Script(offers=PIPELINING, answers={"RCPT": [reply(354)]}), [step("sendmail", "", ONE, b"x\r\n")]
        ),
    ),
    "RSET refused in a pipeline": Difference(
        "smtplib goes on with a server that will not take a transaction back",
        Dialogue(Script(offers=PIPELINING, answers={"DATA": [reply(451)], "RSET": [reply(500)]}), [SENDMAIL]),
    ),
    "SIZE": Difference(
        "smtplib does not count the line end that it adds",
        Dialogue(Script(offers=[b"SIZE", *PIPELINING]), [step("sendmail", "", ONE, b"x")]),
    ),
    "8BITMIME": Difference(
        "smtplib says nothing of octets beyond ASCII",
        Dialogue(Script(offers=[b"8BITMIME", *PIPELINING]), [step("sendmail", "", ONE, b"caf\xe9\r\n")]),
    ),
    "text beyond ASCII": Difference(
        "smtplib says DATA before it finds that it cannot say the text",
        Dialogue(Script(), [step("mail", ""), step("rcpt", ONE), step("data", "caf\xe9"), step("noop")]),
    ),
    "SMTPUTF8": Difference(
        "smtplib lets a later address beyond ASCII go without the option that it needs",
        Dialogue(
            Script(offers=[b"SMTPUTF8", *PIPELINING]),
            [
                step("sendmail", "j\xf6rg@sender.example", ONE, b"x\r\n", ["SMTPUTF8"]),
                step("sendmail", "j\xf6rg@sender.example", ONE, b"x\r\n"),
            ],
        ),
    ),
    "no sender": Difference(
        "smtplib says MAIL FROM:<None>",
        Dialogue(Script(), [step("send_message", headers(To=ONE, Subject="hi"))]),
    ),
    "empty recipients": Difference(
        "smtplib says RCPT TO:<> for a header without an address",
        Dialogue(Script(), [step("send_message", headers(From=TWO, To=ONE, Cc="friends:;"))]),
    ),
    "duplicates": Difference(
        "smtplib counts refused addresses, not recipients: it sends a body for nobody",
        Dialogue(Script(answers={"RCPT": [reply(550)] * 2}), [step("sendmail", "", [ONE, ONE], b"x\r\n")]),
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_was_mended_differs(name: str) -> None:
    dialogue = DIFFERENT[name].dialogue
    told, there = history("the drop-in", dialogue)
    expected, original = history("the original", dialogue)
    assert (told, there.heard) != (expected, original.heard), DIFFERENT[name].reason
