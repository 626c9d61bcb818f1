"""The kit's strategies: what they draw is legal, and reaches the corners where software breaks.

The promise: each value is judged by the core and by rules written down here, without the core's grammar; each
table names what a strategy has to come across; what is left out on request never appears; and what is found
shrinks to something that one can read.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path as FilePath
from typing import Any

import pytest
from helpers import ALL_FEATURES, every, feed, pair_in
from hypothesis import find, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from strategies import assert_reached, drawn

import smtp_proto
from smtp_proto import (
    Auth,
    AuthResponse,
    Bdat,
    Burl,
    ClientConnection,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Etrn,
    Features,
    Hello,
    Helo,
    Lhlo,
    Limits,
    LineEnds,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    Path,
    Rcpt,
    Reply,
    Rset,
    ServerConnection,
    StartTLS,
    State,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from smtp_proto.testing import Plan
from smtp_proto.testing import strategies as smtp

BEYOND = "\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"


# RFC 5321 4.1.2 and 4.1.3, word for word


def is_mailbox(text: str, *, utf8: bool = False) -> bool:
    more = BEYOND if utf8 else ""
    atom = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{more}-]+"
    quoted = rf'"(?:[ !#-\[\]-~{more}]|\\[ -~])*"'
    match = re.fullmatch(rf"(?:{atom}(?:\.{atom})*|{quoted})@(.+)", text)
    return match is not None and (is_domain(match[1], utf8=utf8) or is_literal(match[1]))


def is_domain(text: str, *, utf8: bool = False) -> bool:
    more = BEYOND if utf8 else ""
    label = rf"[A-Za-z0-9{more}](?:[A-Za-z0-9{more}-]*[A-Za-z0-9{more}])?"
    return re.fullmatch(rf"{label}(?:\.{label})*", text) is not None and len(text.encode()) < 256


def is_literal(text: str) -> bool:
    if text[:1] + text[-1:] != "[]":
        return False
    inside = text[1:-1]
    tag, _, address = inside.rpartition(":") if "IPv6:" not in inside else inside.partition(":")
    try:
        return bool(IPv6Address(address) if tag == "IPv6" else IPv4Address(inside))
    except AddressValueError:
        return re.fullmatch(r"[A-Za-z0-9]+:[!-Z^-~]+", inside) is not None


def is_path(path: Path, *, utf8: bool = False) -> bool:
    route, colon, mailbox = path.with_route.partition(":") if path.route else ("", "", str(path))
    hosts = route.split(",") if colon else []
    return is_mailbox(mailbox, utf8=utf8) and all(
        host[:1] == "@" and is_domain(host[1:], utf8=utf8) for host in hosts
    )


ADDRESSES: dict[str, tuple[Any, Callable[[Any], object], dict[str, Callable[[Any], object]]]] = {
    "domains": (
        smtp.domains(),
        is_domain,
        {
            "labels": lambda t: "." in t,
            "a hyphen": lambda t: "-" in t,
            "a digit in front": lambda t: t[0].isdigit(),
        },
    ),
    "domains in UTF-8": (
        smtp.domains(utf8=True),
        lambda text: is_domain(text, utf8=True),
        {"ASCII": str.isascii, "beyond": lambda t: not t.isascii()},
    ),
    "literals": (
        smtp.address_literals(),
        is_literal,
        {
            "IPv4": lambda t: re.fullmatch(r"\[[0-9.]+\]", t),
            "IPv6": lambda t: t.startswith("[IPv6:"),
            "general": lambda t: re.match(r"\[(?!IPv6)\w+:", t),
        },
    ),
    "local parts": (
        smtp.local_parts(),
        lambda text: is_mailbox(f"{text}@b"),
        {"an atom": str.isalpha, "empty, quoted": lambda t: t == '""', "odd atext": lambda t: "{" in t},
    ),
    "mailboxes": (
        smtp.mailboxes(),
        is_mailbox,
        {
            "a blank in quotes": lambda t: re.match(r'"[^"\\]* ', t),
            "an escaped quote": lambda t: '\\"' in t,
            "an escaped backslash": lambda t: "\\\\" in t,
            "an at in quotes": lambda t: re.match(r'"[^"\\]*@', t),
            "a bracket in quotes": lambda t: re.match(r'"[^"\\]*>', t),
            "dots": lambda t: re.match(r"[^\"@]+\.[^\"@]+@", t),
            "an IPv6 literal": lambda t: "@[IPv6:" in t,
            "a general literal": lambda t: re.search(r"@\[(?!IPv6)[A-Za-z0-9]+:", t),
        },
    ),
    "mailboxes in UTF-8": (
        smtp.mailboxes(utf8=True),
        lambda text: is_mailbox(text, utf8=True),
        {
            "in the local part": lambda t: not t.rpartition("@")[0].isascii(),
            "in the domain": lambda t: not t.rpartition("@")[2].isascii(),
            "in quotes": lambda t: t[0] == '"' and not t.rpartition("@")[0].isascii(),
        },
    ),
    "paths": (
        smtp.paths(),
        is_path,
        {
            "no route": lambda p: not p.route,
            "a route": lambda p: p.route,
            "a long one": lambda p: len(p.route) > 1,
        },
    ),
    "reverse-paths": (
        smtp.reverse_paths(),
        lambda path: path == "" or is_path(path),
        {"null": lambda p: p.is_null, "a route": lambda p: p.route, "quotes": lambda p: p[:1] == '"'},
    ),
    "forward-paths": (
        smtp.forward_paths(utf8=True),
        lambda path: path.lower() == "postmaster" or is_path(path, utf8=True),
        {
            "postmaster": lambda p: p == "Postmaster",
            "a route beyond ASCII": lambda p: p.route and not p.is_ascii,
        },
    ),
    "client names": (
        smtp.client_names(),
        lambda text: is_literal(text) or re.fullmatch(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", text),
        {"an underscore": lambda t: "_" in t and t[0] != "[", "a literal": lambda t: t[0] == "["},
    ),
}


@every(("strategy", "is_legal", "corners"), ADDRESSES.values(), ids=ADDRESSES)
def test_addresses_are_legal_and_of_every_kind(
    strategy: SearchStrategy[str],
    is_legal: Callable[[str], bool],
    corners: dict[str, Callable[[str], object]],
) -> None:
    texts = drawn(strategy, 250)
    for text in texts:
        assert is_legal(text), text
    assert_reached(strategy, texts, corners)


@given(smtp.mailboxes(utf8=True))
def test_the_core_takes_a_mailbox_for_its_two_parts(mailbox: str) -> None:
    path = Path(mailbox)
    local, _, domain = mailbox.rpartition("@")
    unquoted = re.sub(r"\\(.)", r"\1", local[1:-1]) if local[0] == '"' else local
    assert (path, path.local_part, path.domain) == (mailbox, unquoted, domain)


# Parameters

XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}"
ZONE = r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
WORD = r"[A-Za-z][A-Za-z0-9._:-]*"
VALUES = {
    # RFC 1870, 6152, 3030, 6531, 8689, 4954, 3461, 2852, 4865, 6710, 3865, draft-hall-prdr, 7293
    "SIZE": "[0-9]{1,20}",
    "BODY": "7BIT|8BITMIME|BINARYMIME",
    "SMTPUTF8": None,
    "REQUIRETLS": None,
    "AUTH": rf"<>|{XTEXT}+",
    "RET": "FULL|HDRS",
    "ENVID": rf"{XTEXT}{{1,100}}",
    "NOTIFY": r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*",
    "ORCPT": rf"(?:rfc822|x-400);{XTEXT}+|utf-8;(?:[!-*,-<>-\[\]-~]|\\x{{[0-9A-F]{{2,6}}}})+",
    "BY": "-?[0-9]{1,9};[NR]T?",
    "HOLDFOR": "[1-9][0-9]{0,8}",
    "HOLDUNTIL": rf"{DATE}(?:\.[0-9]+)?{ZONE}",
    "MT-PRIORITY": "-?[1-9]|0",
    "SOLICIT": rf"{WORD}(?:,{WORD})*",
    "PRDR": None,
    "RRVS": rf"{DATE}{ZONE}(?:;[CR])?",
}
OF_RCPT = {"NOTIFY", "ORCPT", "RRVS"}
KEYWORDS = {
    **{name: name for name in ("SIZE", "SMTPUTF8", "REQUIRETLS", "AUTH", "PRDR", "RRVS", "MT-PRIORITY")},
    **dict.fromkeys(("RET", "ENVID", "NOTIFY", "ORCPT"), "DSN"),
    **dict.fromkeys(("HOLDFOR", "HOLDUNTIL"), "FUTURERELEASE"),
    "BODY": "8BITMIME",
    "BY": "DELIVERBY",
    "SOLICIT": "NO-SOLICITING",
}


def command_with(verb: str, parameters: dict[str, Any]) -> Mail | Rcpt:
    if verb == "MAIL":
        return Mail(reverse_path="a@b", parameters=parameters)
    return Rcpt(forward_path="a@b", parameters=parameters)


def assert_parameters_are_legal(text: str) -> None:
    """RFC 5321 4.1.2, and for those that are known what their RFCs say."""
    for word in filter(None, text.split(" ")):
        name, equals, value = word.partition("=")
        rule = VALUES.get(name, rf"[!-<>-~{BEYOND}]+" if equals else None)
        assert re.fullmatch("[A-Z0-9][A-Z0-9-]*", name), word
        assert (not equals) if rule is None else re.fullmatch(rule, value), word


def has(name: str, value: Any = None) -> Callable[[dict[str, Any]], bool]:
    return lambda given: name in given and value in (None, given[name])


def has_of(name: str, is_such: Callable[[Any], object]) -> Callable[[dict[str, Any]], object]:
    return lambda given: name in given and is_such(given[name])


def is_unknown(given: dict[str, Any]) -> bool:
    return not given.keys() <= VALUES.keys()


@every(
    ("verb", "corners"),
    [
        (
            "MAIL",
            {
                **{name: has(name) for name in VALUES.keys() - OF_RCPT},
                **{body: has("BODY", body) for body in ("7BIT", "8BITMIME", "BINARYMIME")},
                "an empty AUTH": has("AUTH", ""),
                "a quoted mailbox in AUTH": has_of("AUTH", lambda value: '"' in value),
                "time that is up": has_of("BY", lambda by: by.seconds < 0),
                "a return": has_of("BY", lambda by: by.mode == "R"),
                "a trace": has_of("BY", lambda by: by.trace),
                "an escape": has_of("ENVID", lambda text: "+" in text),
                "several words": has_of("SOLICIT", lambda words: len(words) > 1),
                "a fraction": has_of("HOLDUNTIL", lambda text: "." in text),
                "a leap second": has_of("HOLDUNTIL", lambda text: ":60" in text),
                "one that nobody knows": is_unknown,
                "many": lambda given: len(given) > 4,
                "none": lambda given: not given,
            },
        ),
        (
            "RCPT",
            {
                **{name: has(name) for name in OF_RCPT},
                "never": has("NOTIFY", ("NEVER",)),
                "all": has_of("NOTIFY", lambda words: len(words) == 3),
                "an address beyond ASCII": has_of("ORCPT", lambda one: not one.address.isascii()),
                "an action": has_of("RRVS", lambda since: since.action),
                "one that nobody knows": is_unknown,
            },
        ),
    ],
)  # fmt: skip
def test_parameters_are_legal_and_every_one_comes(
    verb: Any, corners: dict[str, Callable[[dict[str, Any]], bool]]
) -> None:
    values = drawn(smtp.parameters(verb))
    for one in values:
        command = command_with(verb, one)
        assert command.parameters == one
        assert_parameters_are_legal(command.parameters.text)
        # RFC 4865 4.2, 5.2.2
        assert not {"HOLDFOR", "HOLDUNTIL"} <= one.keys()
        assert "HOLDFOR" not in one or "BY" not in one or one["BY"].seconds >= one["HOLDFOR"]
    assert_reached(smtp.parameters(verb), values, corners)


OFFER = {
    "SIZE": ("1000",),
    "DELIVERBY": ("600",),
    "FUTURERELEASE": ("60", "2030-01-01T00:00:00Z"),
    "8BITMIME": (),
}


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_parameters_keep_to_what_is_offered(verb: Any) -> None:
    def check(features: Features) -> list[dict[str, Any]]:
        values = drawn(smtp.parameters(verb, features), 60)
        assert {KEYWORDS[name] for one in values for name in one} <= features.keys()
        return values

    assert not any(check(Features()))
    values = check(Features(OFFER))
    if verb == "MAIL":
        assert max(one.get("SIZE", 0) for one in values) <= 1000
        assert {one.get("BODY") for one in values} == {None, "7BIT", "8BITMIME"}
        assert all(by.mode == "N" or by.seconds >= 600 for by in (one["BY"] for one in values if "BY" in one))
        assert max(one.get("HOLDFOR", 0) for one in values) in range(1, 61)
        assert {one.get("HOLDUNTIL") for one in values} == {None, OFFER["FUTURERELEASE"][1]}
    no_return = smtp.parameters("MAIL", Features({"DELIVERBY": ("9999999999",)}))
    assert {one["BY"].mode for one in drawn(no_return, 60) if "BY" in one} == {"N"}


# Commands

NAME = r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[!-Z^-~]+\])"
BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
ARGUMENT = rf"[!-~{BEYOND}](?:[ -~{BEYOND}]*[!-~{BEYOND}])?"
ATTRIBUTES = rf"(?: [A-Z_]+={XTEXT}+)+"
LINES = {
    "EHLO": f" {NAME}",
    "HELO": f" {NAME}",
    "LHLO": f" {NAME}",
    "AUTH": f" [A-Z0-9_-]{{1,20}}(?: (?:=|{BASE64}))?",
    "BDAT": " [0-9]{1,20}(?: LAST)?",
    "BURL": " [A-Za-z][A-Za-z0-9+.-]*:[!-~]+(?: LAST)?",
    "ETRN": f" (?:@?{NAME}|#[!-~]+)",
    "VRFY": f" {ARGUMENT}",
    "EXPN": f" {ARGUMENT}",
    "HELP": f"(?: {ARGUMENT})?",
    "NOOP": f"(?: {ARGUMENT})?",
    "XCLIENT": ATTRIBUTES,
    "XFORWARD": ATTRIBUTES,
    **dict.fromkeys(("STARTTLS", "DATA", "RSET", "QUIT"), ""),
}


def assert_line_is_legal(command: Command, wire: bytes) -> None:
    line = wire.decode("utf-8")
    assert line.endswith("\r\n")
    line = line[:-2]
    if isinstance(command, AuthResponse):
        assert re.fullmatch(rf"\*|{BASE64}", line)
    elif isinstance(command, Mail | Rcpt):
        match = re.fullmatch(rf"(?:MAIL FROM|RCPT TO):<(.*?)>((?: [!-~{BEYOND}]+)*)", line)
        assert match, line
        path = command.reverse_path if isinstance(command, Mail) else command.forward_path
        assert match[1] == path.with_route
        assert path.lower() in ("", "postmaster") or is_path(path, utf8=True)
        assert_parameters_are_legal(match[2])
    else:
        verb = line.partition(" ")[0]
        rule = f" {ARGUMENT}|" if isinstance(command, UnknownCommand) else LINES[verb]
        assert re.fullmatch(f"[A-Z][A-Z0-9-]*(?:{rule})", line), line


SITUATIONS = {
    **dict.fromkeys((Ehlo, Helo, Lhlo), State.GREETED),
    **dict.fromkeys((Data, Bdat, Burl), State.RCPT),
    AuthResponse: State.AUTH,
    MessageData: State.DATA,
    EndOfMessage: State.DATA,
}
EVERYTHING = Features({**ALL_FEATURES, "AUTH": ("LOGIN",)})
GENEROUS = Features(
    {**EVERYTHING, **dict.fromkeys(KEYWORDS.values(), ()), "BURL": ("imap",), "SIZE": ("1000",)}
    | {"AUTH": ("LOGIN",)}
)


def is_heard(command: Command, features: Features) -> bytes:
    """Have a client say this to a server that offers these; it is heard as it was said. The octets."""
    kind = type(command)
    # To come into these states takes more than a test may have offered.
    offer = EVERYTHING if kind in (AuthResponse, Bdat) else features
    tls = kind is not StartTLS
    lmtp = kind is Lhlo
    pair = pair_in(
        SITUATIONS.get(kind, State.READY),
        features=offer,
        client=ClientConnection(lmtp=lmtp, tls=tls, allow_nul=True),
        server=ServerConnection(lmtp=lmtp, tls=tls, limits=Limits(message_size=None)),
        lmtp=lmtp,
    )  # fmt: skip
    if kind is Rcpt:
        parameters = {"SMTPUTF8": True} if "SMTPUTF8" in features else {}
        pair.ask(Mail(reverse_path="", parameters=parameters), Reply(code=250))
    pair.client.send(command)
    wire = pair.client.data_to_send()
    heard = feed(pair.server, wire) if wire else []
    if kind is MessageData:
        return wire  # what is undecided is held back, and line ends become regular
    assert heard[0] == command
    return wire


def of(kind: type[Command], is_such: Callable[[Any], object] = bool) -> Callable[[Command], object]:
    return lambda command: isinstance(command, kind) and is_such(command)


KINDS = [
    kind
    for kind in vars(smtp_proto).values()
    if isinstance(kind, type) and issubclass(kind, Command) and kind not in (Command, MalformedCommand)
]  # fmt: skip


def any_features(command: Command) -> Features:
    """The least that a server has to offer so that this may be said."""
    if isinstance(command, Mail | Rcpt):
        names = [KEYWORDS.get(name, name) for name in command.parameters]
        names += ["BINARYMIME"] if command.parameters.get("BODY") == "BINARYMIME" else []
        return Features(dict.fromkeys([*names, "SMTPUTF8"], ()))
    if isinstance(command, Auth):
        return Features({"AUTH": (command.mechanism,)})
    if isinstance(command, XClient | XForward):
        return Features({command.verb: tuple(command.attributes)})
    return Features(dict.fromkeys(("STARTTLS", "SMTPUTF8", "ETRN", "BURL", "CHUNKING"), ()))


def test_commands_are_legal_and_of_every_class() -> None:
    said = drawn(smtp.commands(), 900)
    for command in said:
        wire = is_heard(command, any_features(command))
        if not isinstance(command, MessageData | EndOfMessage):
            assert_line_is_legal(command, wire)
    assert_reached(
        smtp.commands(),
        said,
        {
            **{kind.__name__: of(kind, lambda _: True) for kind in KINDS},
            "a literal for a name": of(Ehlo, lambda said: said.domain[0] == "["),
            "no initial response": of(Auth, lambda said: said.initial_response is None),
            "one of no octets": of(Auth, lambda said: said.initial_response == b""),
            "a cancelled exchange": of(AuthResponse, lambda said: said.data is None),
            "a null path": of(Mail, lambda said: said.reverse_path.is_null),
            "an address beyond ASCII": of(Mail, lambda said: not said.reverse_path.is_ascii),
            "a recipient with parameters": of(Rcpt, lambda said: said.parameters),
            "the last chunk": of(Bdat, lambda said: said.last),
            "an empty chunk": of(Bdat, lambda said: not said.size),
            "a huge chunk": of(Bdat, lambda said: said.size > 2**64),
            "a URL in between": of(Burl, lambda said: not said.last),
            "a node and what is below": of(Etrn, lambda said: said.node[0] == "@"),
            "a queue": of(Etrn, lambda said: said.node[0] == "#"),
            "a question beyond ASCII": of(Vrfy, lambda said: not said.argument.isascii()),
            "an argument": of(Noop, lambda said: said.argument),
            "an unknown value": of(XForward, lambda said: "[UNAVAILABLE]" in said.attributes.values()),
        },
    )  # fmt: skip


def test_commands_are_of_the_classes_that_were_asked_for() -> None:
    assert {type(said) for said in drawn(smtp.commands(Rset, Noop), 40)} == {Rset, Noop}
    smtp_only = {type(said) for said in drawn(smtp.commands(Ehlo, Helo, Lhlo, lmtp=False), 40)}
    assert smtp_only == {Ehlo, Helo}
    assert {type(said) for said in drawn(smtp.commands(Ehlo, Helo, Lhlo, lmtp=True), 40)} == {Lhlo}


def test_commands_keep_to_what_a_server_offers() -> None:
    """The client's connection refuses to say what is not offered."""
    offers = smtp.features() | st.just(GENEROUS)
    pairs = offers.flatmap(lambda offer: st.tuples(st.just(offer), smtp.commands(features=offer)))
    said = drawn(pairs, 600)
    for offer, command in said:
        assert not isinstance(command, UnknownCommand)
        if isinstance(command, AuthResponse | Bdat):
            assert ("CHUNKING" if isinstance(command, Bdat) else "AUTH") in offer
        is_heard(command, offer)
    assert_reached(
        pairs,
        said,
        {
            kind.__name__: lambda pair, kind=kind: isinstance(pair[1], kind)
            for kind in KINDS
            if kind is not UnknownCommand
        },
    )
    bare = {type(command) for command in drawn(smtp.commands(features=Features()), 400)}
    assert set(KINDS) - bare == {
        *(StartTLS, Auth, AuthResponse, Bdat, Burl, Etrn, XClient, XForward, UnknownCommand),
    }
    # No mechanism that could be named, and no attribute that is known.
    odd = Features({"AUTH": ("no!",), "XCLIENT": ("ODD",)})
    assert smtp.commands(Auth, features=odd).is_empty
    assert smtp.commands(XClient, features=odd).is_empty


# Replies


def reply_lines(wire: bytes) -> list[bytes]:
    """RFC 5321 4.2.1: the texts, if these octets are one reply with one code."""
    code = wire[:3]
    assert re.fullmatch(rb"[2-5][0-9]{2}", code)
    lines = wire.split(b"\r\n")
    assert lines.pop() == b""
    separators = [line[3:4] for line in lines]
    assert {line[:3] for line in lines} == {code}
    assert separators == [b"-"] * (len(lines) - 1) + [b" "]
    assert not re.search(rb"[\r\n\0]", b"".join(lines))
    return [line[4:] for line in lines]


def answer_to(command: Command | None, reply: Reply) -> bytes:
    """Have a server give this answer; it is heard as it was given. The octets."""
    pair = pair_in(State.GREETING if command is None else State.READY)
    if command is not None:
        pair.client.send(command)
        pair.server_events()
    pair.server.send(reply)
    wire = pair.server.data_to_send()
    assert feed(pair.client, wire) == [reply]
    return wire


def not_utf8(reply: Reply) -> bool:
    return re.search("[\udc80-\udcff]", reply.text) is not None


TEXTS: dict[str, Callable[[Any], object]] = {
    "several lines": lambda reply: len(reply.lines) > 2,
    "no text": lambda reply: reply.lines == ("",),
    "beyond ASCII": lambda reply: not reply.text.isascii() and not not_utf8(reply),
    "no UTF-8": not_utf8,
    "a control character": lambda reply: re.search("[\x01-\x08\x0b-\x1f]", reply.text),
}


def test_replies_are_legal_and_of_every_class() -> None:
    replies = drawn(smtp.replies())
    for reply in replies:
        if reply.code // 100 == 3:
            continue  # it answers nothing but DATA and AUTH
        lines = reply_lines(answer_to(Noop(), reply))
        if reply.enhanced:
            found = {line.split(b" ")[0].decode() for line in lines}
            assert found == {reply.enhanced}
            assert re.fullmatch(rf"{reply.code // 100}\.[0-9]{{1,3}}\.[0-9]{{1,3}}", reply.enhanced)
    classes = {f"{n}yz": lambda reply, n=n: reply.code // 100 == n for n in range(2, 6)}
    assert_reached(
        smtp.replies(), replies, {**TEXTS, **classes, "an enhanced code": lambda reply: reply.enhanced}
    )


def test_replies_have_the_codes_that_were_asked_for() -> None:
    assert {reply.code for reply in drawn(smtp.replies(st.sampled_from([250, 354])), 40)} == {250, 354}
    codes = {reply.code for reply in drawn(smtp.refusals(), 300)}
    assert min(codes) in range(400, 440)
    assert max(codes) in range(540, 600)
    assert not codes & {421}
    # The one that is left out leaves no hole beside it.
    assert find(smtp.refusals(), lambda reply: reply.code > 420).code == 422


def test_greetings_hellos_and_challenges_are_legal() -> None:
    greetings = drawn(smtp.greetings())
    for greeting in greetings:
        reply_lines(answer_to(None, greeting))
    assert_reached(
        smtp.greetings(), greetings, TEXTS | {"a domain": lambda greeting: is_domain(greeting.domain)}
    )
    for hello in drawn(smtp.hellos(), 100):
        name, *lines = reply_lines(answer_to(Ehlo(domain="a.example"), hello))
        assert is_domain(name.decode("utf-8", "surrogateescape").partition(" ")[0])
        assert lines == [" ".join((keyword, *words)).encode() for keyword, words in hello.features.items()]
    challenges = drawn(smtp.challenges(), 100)
    for challenge in challenges:
        (text,) = reply_lines(answer_to(Auth(mechanism="LOGIN"), challenge))
        assert re.fullmatch(BASE64, text.decode())
    assert_reached(
        smtp.challenges(),
        challenges,
        {"nothing": lambda said: not said.data, "octets": lambda said: said.data},
    )


FLAGS = [
    "PIPELINING",
    "8BITMIME",
    "BINARYMIME",
    "CHUNKING",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "ETRN",
    "EXPN",
    "HELP",
    "PRDR",
    "REQUIRETLS",
    "RRVS",
    "SMTPUTF8",
    "STARTTLS",
]
WITH_WORDS = [
    "SIZE",
    "AUTH",
    "LIMITS",
    "DELIVERBY",
    "FUTURERELEASE",
    "MT-PRIORITY",
    "NO-SOLICITING",
    "BURL",
    "XCLIENT",
    "XFORWARD",
]


def test_features_are_legal_and_of_every_kind() -> None:
    offers = drawn(smtp.features())
    for features in offers:
        for line in features.lines:  # RFC 5321 4.1.1.1
            assert re.fullmatch(r"[A-Z0-9][A-Z0-9-]*(?: [!-~]+)*", line)
        assert Hello(domain="a", features=features).features == features
        assert "BINARYMIME" not in features or "CHUNKING" in features  # RFC 3030 3
        assert "SMTPUTF8" not in features or "8BITMIME" in features  # RFC 6531 3.1
        assert not any(features[flag] for flag in FLAGS if flag in features)
    known = [*FLAGS, *WITH_WORDS]
    assert_reached(
        smtp.features(),
        offers,
        {
            **{keyword: lambda features, keyword=keyword: keyword in features for keyword in known},
            **{f"{name} words": lambda features, name=name: features.get(name) for name in WITH_WORDS},
            "nothing": lambda features: not features,
            "a keyword that nobody knows": lambda features: not features.keys() <= set(known),
            "a limit": lambda features: features.limits,
            "mechanisms": lambda features: {"PLAIN", "LOGIN"} <= set(features.auth),
            "a size": lambda features: features.size,
        },
    )


# Messages, and how octets are cut

BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def lines_of(body: bytes) -> list[bytes]:
    return body.split(b"\r\n")


LEFT_OUT: dict[str, Callable[[bytes], object]] = {
    "bare_line_ends": BARE.search,
    "nul": lambda body: b"\0" in body,
    "eight_bit": lambda body: not body.isascii(),
    "long_lines": lambda body: max(map(len, lines_of(body))) > 998,
    "open_end": lambda body: body and not body.endswith(b"\r\n"),
}
ALWAYS: dict[str, Callable[[bytes], object]] = {
    "nothing": lambda body: not body,
    "a lone dot": lambda body: b"." in lines_of(body)[1:-1],
    "a lone dot in the first line": lambda body: body.startswith(b".\r\n"),
    "two dots": lambda body: b"\r\n.." in body,
    "a dot at the end": lambda body: lines_of(body)[-2:-1] == [b"."],
    "empty lines": lambda body: b"\r\n\r\n" in body,
    "the longest line": lambda body: 998 in map(len, lines_of(body)),
}
NEAR_MISSES = [
    before + b"." + after for before in (b"\r\n", b"\r", b"\n") for after in (b"\r\n", b"\r", b"\n")
]  # fmt: skip


def test_messages_love_what_hurts() -> None:
    ends = {repr(near): lambda body, near=near: re.search(near + rb"(?!\n)", body) for near in NEAR_MISSES}
    octets = {"any octet": lambda body: b"\x1b" in body or b"\xff" in body}
    assert_reached(smtp.messages(), drawn(smtp.messages(), 500), {**ALWAYS, **LEFT_OUT, **ends, **octets})


@pytest.mark.parametrize("left_out", [(), *((name,) for name in LEFT_OUT), tuple(LEFT_OUT)])
def test_messages_leave_out_what_is_not_wanted(left_out: tuple[str, ...]) -> None:
    strategy = smtp.messages(**dict.fromkeys(left_out, False))
    bodies = drawn(strategy, 300)
    for name in left_out:
        assert not any(map(LEFT_OUT[name], bodies)), name
    assert_reached(
        strategy,
        bodies,
        {**ALWAYS, **{name: is_so for name, is_so in LEFT_OUT.items() if name not in left_out}},
    )


@given(smtp.messages(bare_line_ends=False, nul=False, long_lines=False, open_end=False))
def test_what_is_left_of_messages_arrives_as_it_is(body: bytes) -> None:
    pair = pair_in(State.DATA, client=ClientConnection(line_ends=LineEnds.STRICT), server=ServerConnection())
    pair.client.send(MessageData(data=body))
    pair.client.send(EndOfMessage())
    *content, end = pair.server_events()
    assert b"".join(event.data for event in content) == body
    assert (end.refusal, end.nul, end.long_lines) == (None, False, False)


def test_splits_are_pieces_of_the_data() -> None:
    data = bytes(range(30))
    ways = drawn(smtp.splits(data))
    for pieces in ways:
        assert b"".join(pieces) == data
        assert all(pieces)
    assert_reached(
        smtp.splits(data),
        ways,
        {
            "whole": lambda pieces: pieces == [data],
            "octet by octet": lambda pieces: len(pieces) == len(data),
            **{f"cut at {at}": lambda pieces, at=at: pieces[0] == data[:at] for at in (1, 15, 29)},
        },
    )
    assert all(pieces == [b"a"] for pieces in drawn(smtp.splits(b"a"), 10))
    assert not any(drawn(smtp.splits(b""), 10))
    assert find(smtp.splits(data), lambda pieces: data[:7] in pieces) == [data[:7], data[7:]]


def test_plans_cut_and_take_turns() -> None:
    assert_reached(
        smtp.plans(),
        drawn(smtp.plans()),
        {
            "whole": lambda plan: plan == Plan(),
            "octet by octet": lambda plan: plan.client_pieces == (1,),
            "replies in pieces": lambda plan: plan.server_pieces,
            "one side first": lambda plan: plan.turns[:2] == ("server", "server"),
        },
    )


# What is found can be read

SIMPLEST: dict[str, tuple[Any, Callable[[Any], object], Any]] = {
    "a mailbox": (smtp.mailboxes(), bool, "a@a"),
    "quotes": (smtp.mailboxes(), lambda text: text[0] == '"', '""@a'),
    "a reply": (smtp.replies(), lambda reply: reply.text, Reply(code=200, text="a")),
    "a feature": (smtp.features(), lambda features: "SIZE" in features, Features({"SIZE": ()})),
    "a parameter": (smtp.parameters("MAIL"), lambda given: "ENVID" in given, {"ENVID": "a"}),
    "a message": (smtp.messages(), lambda body: b"." in body, b"."),
}


@every(("strategy", "is_such", "simplest"), SIMPLEST.values(), ids=SIMPLEST)
def test_what_is_found_can_be_read(
    strategy: SearchStrategy[Any], is_such: Callable[[Any], object], simplest: Any
) -> None:
    assert find(strategy, lambda value: bool(is_such(value))) == simplest


# The package


def test_every_name_is_there_documented_and_no_other_is_public() -> None:
    assert list(smtp.__all__) == sorted(smtp.__all__)
    for name in smtp.__all__:
        assert name.isupper() or getattr(smtp, name).__doc__, name
    public = {name for name in vars(smtp) if not name.startswith("_")}
    assert public == set(smtp.__all__)


@cache
def run(code: str) -> str:
    """What this code prints in a fresh interpreter, which has no Hypothesis."""
    root = str(FilePath(smtp_proto.__file__).parent.parent)
    code = f"import sys; sys.path.insert(0, {root!r}); sys.modules['hypothesis'] = None\n{code}"
    return subprocess.run(
        [sys.executable, "-S", "-I", "-c", code], capture_output=True, check=True, text=True, timeout=60
    ).stdout


def test_the_rest_of_the_kit_needs_no_hypothesis() -> None:
    assert run("import smtp_proto.testing as kit; print(kit.Pair.__name__)") == "Pair\n"
