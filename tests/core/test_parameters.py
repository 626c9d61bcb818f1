"""The parameters of MAIL and RCPT, and the rarer extensions, held to their RFCs.

The tables and regular expressions here were written from the texts, and not from the code: RFC 1870, 2852,
3461, 3865, 4865, 4954, 6531, 6533, 6710, 7293, 8689 and draft-hall-prdr for the parameters, RFC 9422 for what
is offered, RFC 1985, 4468 and Postfix's README files for the commands. Where library and text part, the text
stands in `FINER_POINTS` and its like, as an expected failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from helpers import Pair, drain, every, feed, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from strategies import Cutter, cutters, offered_for, several

from smtp_proto import (
    Bdat,
    Burl,
    ClientConnection,
    Command,
    Data,
    DeliverBy,
    Ehlo,
    EndOfMessage,
    Etrn,
    Features,
    Greeting,
    Hello,
    Limits,
    LocalProtocolError,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    OriginalRecipient,
    Parameter,
    Parameters,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    State,
    Timer,
    UnknownCommand,
    ValidSince,
    XClient,
    XForward,
    register_parameter,
)
from smtp_proto._grammar import instant
from smtp_proto._parameter_table import PARAMETERS
from smtp_proto.testing.strategies import parameters

# What a server offers that has everything, and says of nothing how much.
GENEROUS = Features(
    {
        **dict.fromkeys(
            ("PIPELINING", "SIZE", "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8", "REQUIRETLS", "DSN"), ()
        ),
        **dict.fromkeys(("DELIVERBY", "MT-PRIORITY", "NO-SOLICITING", "PRDR", "RRVS", "XBILLING"), ()),
        "AUTH": ("PLAIN",),
        "FUTURERELEASE": ("999999999", "9999-12-31T23:59:59Z"),
    }
)
# The same, with limits: an hour to hold a message, a minute to deliver it.
STRICT = Features(
    {**GENEROUS, "DELIVERBY": ("60",), "FUTURERELEASE": ("3600", "2030-01-01T00:00:00Z"), "SIZE": ("1000",)}
)
NO_LIMITS = Limits(errors=10_000, message_size=None)
OK = Reply(code=250)


@pytest.fixture(scope="module", autouse=True)
def private() -> Iterator[Parameter]:
    """A parameter of somebody's own, known as long as this file's tests run."""
    cost = Parameter("XCOST", "MAIL", "XBILLING", lambda octets: int(octets or b""), str)
    register_parameter(cost)
    yield cost
    del PARAMETERS["MAIL", "XCOST"]


def session(offer: Features = GENEROUS, *, tls: bool = True, limits: Limits = NO_LIMITS) -> ServerConnection:
    """A server that has said hello."""
    server = ServerConnection(tls=tls, limits=limits)
    server.send(Greeting(domain="mx.example"))
    feed(server, b"EHLO client.example\r\n")
    server.send(Hello(domain="mx.example", features=offer))
    server.data_to_send()
    return server


def said(server: ServerConnection, line: bytes, reply: Reply = OK) -> Any:
    """The event that this line makes; it is answered as it asks to be, or with `reply`."""
    (event,) = feed(server, line + b"\r\n")
    server.send(event.reply if isinstance(event, MalformedCommand) else reply)
    return event


def refusal(server: ServerConnection, line: bytes) -> tuple[int, str | None] | None:
    """Code and enhanced code with which a server in READY refuses this line; None if it takes it."""
    if line.startswith(b"RCPT"):
        said(server, b"MAIL FROM:<>")
    server.data_to_send()
    event = said(server, line)
    wire = server.data_to_send()
    if server.state is not State.READY:
        said(server, b"RSET")
    if not isinstance(event, MalformedCommand):
        return None
    assert event.line == line
    assert wire.startswith(b"%d %b " % (event.reply.code, (event.reply.enhanced or "").encode()))
    assert wire.count(b"\r\n") == 1
    return event.reply.code, event.reply.enhanced


def line_of(verb: str, words: str) -> bytes:
    """MAIL or RCPT with these parameters."""
    opening = "MAIL FROM:<a@b.example>" if verb == "MAIL" else "RCPT TO:<a@b.example>"
    return f"{opening} {words}".encode()


def command_of(verb: str, parameters: Mapping[str, Any]) -> Mail | Rcpt:
    if verb == "MAIL":
        return Mail(reverse_path="a@b.example", parameters=parameters)
    return Rcpt(forward_path="a@b.example", parameters=parameters)


def client_for(verb: str, offer: Features, *, tls: bool = True) -> ClientConnection:
    """A client that may say `verb`."""
    client = ClientConnection(features=offer, tls=tls)
    if verb == "RCPT":
        client.send(Mail(reverse_path=""))
        client.data_to_send()
    return client


def assert_not_sent(
    client: ClientConnection, build: Command | Callable[..., Command], *arguments: Any
) -> LocalProtocolError:
    """A client, of which nothing is on its way, cannot be made to say this, and is what it was before."""
    before = snapshot(client)
    try:
        client.send(build if isinstance(build, Command) else build(*arguments))
    except LocalProtocolError as refused:
        assert snapshot(client) == before
        assert client.data_to_send() == b""
        return refused
    raise AssertionError(f"{client.data_to_send()!r} was sent")


# What is legal, as the RFCs have it

_XCHAR = r"[!-*,-<>-~]"
_XTEXT = rf"(?:{_XCHAR}|\+[0-9A-F]{{2}})"
_DATE_TIME = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d%s(?:[Zz]|[+-]\d\d:\d\d)"
_WORD = r"[A-Za-z][A-Za-z0-9._:-]*"
_ELEMENT = r"(?:SUCCESS|FAILURE|DELAY)"
# RFC 6533 3, HEXPOINT
_HEXPOINT = (
    r"(?:[01][1-9]|10|20|2B|3D|7F|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2}|[1-9A-CEF][0-9A-F]{3}"
    r"|D[0-7][0-9A-F]{2}|[1-9A-F][0-9A-F]{4}|10[0-9A-F]{4})"
)
ABNF: dict[tuple[str, str], str] = {
    # command, parameter: what follows its name
    ("MAIL", "SIZE"): r"=\d{1,20}",
    ("MAIL", "BODY"): r"=(?i:7BIT|8BITMIME|BINARYMIME)",
    ("MAIL", "SMTPUTF8"): r"",
    ("MAIL", "REQUIRETLS"): r"",
    ("MAIL", "AUTH"): rf"=(?:{_XCHAR}|\+[0-9A-Fa-f]{{2}})+",
    ("MAIL", "RET"): r"=(?i:FULL|HDRS)",
    ("MAIL", "ENVID"): rf"=(?=.{{1,100}}\Z){_XTEXT}+",
    ("MAIL", "BY"): r"=[-+]?\d{1,9};[NRnr][Tt]?",
    ("MAIL", "HOLDFOR"): r"=[1-9]\d{0,8}",
    ("MAIL", "HOLDUNTIL"): "=" + _DATE_TIME % r"(?:\.\d+)?",
    ("MAIL", "MT-PRIORITY"): r"=(?:-?[1-9]|0)",
    ("MAIL", "SOLICIT"): rf"=(?=.{{1,1000}}\Z){_WORD}(?:,{_WORD})*",
    ("MAIL", "PRDR"): r"",
    ("MAIL", "XCOST"): r"=\d+",
    ("RCPT", "NOTIFY"): rf"=(?i:NEVER|{_ELEMENT}(?:,{_ELEMENT})*)",
    ("RCPT", "ORCPT"): rf"=(?=.{{1,500}}\Z)(?:(?!utf-8)[A-Za-z0-9-]+;{_XTEXT}*"
    rf"|(?i:utf-8);(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{{{_HEXPOINT}\}})+)",
    ("RCPT", "RRVS"): "=" + _DATE_TIME % "" + r"(?:;[CRcr])?",
}

LEGAL: list[tuple[str, str, Any]] = [
    # command, parameter, its value
    ("MAIL", "SIZE=0", 0),
    ("MAIL", "SIZE=00000000000000000007", 7),
    ("MAIL", "size=99999999999999999999", 10**20 - 1),
    ("MAIL", "BODY=7BIT", "7BIT"),
    ("MAIL", "Body=8bitmime", "8BITMIME"),
    ("MAIL", "BODY=BinaryMime", "BINARYMIME"),
    ("MAIL", "SMTPUTF8", True),
    ("MAIL", "smtputf8", True),
    ("MAIL", "REQUIRETLS", True),
    ("MAIL", "PRDR", True),
    # RFC 4954 8: in its xtext, hexadecimal digits are of any case
    ("MAIL", "AUTH=<>", ""),
    ("MAIL", "AUTH=+3C+3E", ""),
    ("MAIL", "AUTH=+3c>", ""),
    ("MAIL", "AUTH=e+3Dmc2@example.com", "e=mc2@example.com"),
    # RFC 4954 5: what says nobody whom a server could trust
    ("MAIL", "AUTH=ada", ""),
    ("MAIL", "AUTH=postmaster", ""),
    ("MAIL", "AUTH=a@b@c", ""),
    ("MAIL", "AUTH=a+20b", ""),
    ("MAIL", "RET=FULL", "FULL"),
    ("MAIL", "RET=hdrs", "HDRS"),
    ("MAIL", "ENVID=QQ314159", "QQ314159"),
    ("MAIL", "ENVID=+2B+3D+20.<;>", "+= .<;>"),
    ("MAIL", "ENVID=" + "x" * 100, "x" * 100),
    # RFC 2852 4: an explicit sign, zeros in front
    ("MAIL", "BY=1;R", DeliverBy(1, "R")),
    ("MAIL", "BY=+120;rt", DeliverBy(120, "R", True)),
    ("MAIL", "BY=000000120;nT", DeliverBy(120, "N", True)),
    ("MAIL", "BY=0;N", DeliverBy(0, "N")),
    ("MAIL", "BY=-999999999;N", DeliverBy(-999999999, "N")),
    ("MAIL", "BY=+999999999;R", DeliverBy(999999999, "R")),
    ("MAIL", "HOLDFOR=1", 1),
    ("MAIL", "HOLDFOR=999999999", 999999999),
    ("MAIL", "HOLDUNTIL=2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
    ("MAIL", "HOLDUNTIL=2024-02-29t23:59:60z", "2024-02-29t23:59:60z"),
    *[("MAIL", f"MT-PRIORITY={priority}", priority) for priority in range(-9, 10)],
    ("MAIL", "SOLICIT=net.example:ADV", ("net.example:ADV",)),
    ("MAIL", "SOLICIT=a,B-_.:9,a", ("a", "B-_.:9", "a")),
    ("MAIL", "SOLICIT=" + "a" * 999 + "9", ("a" * 999 + "9",)),
    ("MAIL", "XCOST=5", 5),
    ("RCPT", "NOTIFY=NEVER", ("NEVER",)),
    ("RCPT", "NOTIFY=delay", ("DELAY",)),
    ("RCPT", "Notify=Success,FAILURE,Delay", ("SUCCESS", "FAILURE", "DELAY")),
    ("RCPT", "ORCPT=rfc822;Bob@example.com", OriginalRecipient("rfc822", "Bob@example.com")),
    ("RCPT", "ORCPT=RFC822;a+2Bb+3D+20;c", OriginalRecipient("rfc822", "a+b= ;c")),
    ("RCPT", "ORCPT=x400;/C+3Dde/", OriginalRecipient("x400", "/C=de/")),
    ("RCPT", "ORCPT=rfc822;" + "x" * 487, OriginalRecipient("rfc822", "x" * 487)),
    ("RCPT", r"ORCPT=utf-8;\x{E4}\x{2B}\x{10FFFF}@b", OriginalRecipient("utf-8", "ä+\U0010ffff@b")),
    ("RCPT", "ORCPT=UTF-8;ä@b", OriginalRecipient("utf-8", "ä@b")),
    # Against RFC 6533 3, but Postfix does
    ("RCPT", "ORCPT=rfc822;j+C3+BCrgen@b", OriginalRecipient("utf-8", "jürgen@b")),
    ("RCPT", "RRVS=2014-04-03T23:01:00Z", ValidSince("2014-04-03T23:01:00Z")),
    ("RCPT", "RRVS=2014-04-03t23:01:00-01:30;c", ValidSince("2014-04-03t23:01:00-01:30", "C")),
    ("RCPT", "RRVS=2014-04-03T23:01:00z;R", ValidSince("2014-04-03T23:01:00z", "R")),
]


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same type: 1 is not True, a tuple is no `DeliverBy`."""
    return bool(one == other) and type(one) is type(other)


def test_every_parameter_has_its_rule_and_its_place_in_the_tables_of_this_test():
    assert set(ABNF) == set(PARAMETERS)
    assert {(verb, word.partition("=")[0].upper()) for verb, word, _ in LEGAL} == set(PARAMETERS)


def test_what_the_rfcs_allow_is_taken_and_means_what_they_say():
    server = session()
    for verb, word, value in LEGAL:
        name = word.partition("=")[0]
        assert re.fullmatch(ABNF[verb, name.upper()], word[len(name) :]), word
        if verb == "RCPT":
            said(server, b"MAIL FROM:<>")
        event = said(server, line_of(verb, word))
        assert event == command_of(verb, {name: value}), word
        assert same(event.parameters[name.upper()], value), word
        said(server, b"RSET")

        client = client_for(verb, GENEROUS)
        client.send(command_of(verb, Parameters.from_text(verb, word)))
        assert client.data_to_send() == line_of(verb, word) + b"\r\n"


@st.composite
def _mail_values(draw: Callable[[SearchStrategy[Any]], Any]) -> dict[str, Any]:
    """Any parameters that one MAIL may have together, in any order."""
    values = draw(parameters("MAIL"))
    values |= draw(st.fixed_dictionaries({}, optional={"XCOST": st.integers(0, 10**9)}))
    return dict(draw(st.permutations(list(values.items()))))


def assert_arrives(verb: str, values: dict[str, Any], cut: Cutter) -> None:
    """What a client is given stands on the wire as the RFCs have it, and arrives as it was given."""
    command = command_of(verb, values)
    offer = Features({**GENEROUS, **{k: v for k, v in offered_for(command).items() if k not in GENEROUS}})
    client, server = client_for(verb, offer), session(offer)
    if verb == "RCPT":
        said(server, b"MAIL FROM:<>")
    client.send(command)
    wire = client.data_to_send()
    (event,) = feed(server, *cut(wire))

    assert event == command
    assert list(event.parameters) == list(values)
    assert all(same(event.parameters[name], value) for name, value in values.items())
    opening, *words = wire.decode().removesuffix("\r\n").split(" ")[1:]
    assert opening in ("FROM:<a@b.example>", "TO:<a@b.example>")
    assert [word.partition("=")[0] for word in words] == list(values)
    for word, name in zip(words, values, strict=True):
        # RFC 5321 4.1.2, RFC 6531 3.3: what nobody knows is a parameter all the same
        rule = ABNF.get((verb, name), r"(?:=[!-<>-~\x80-\U0010ffff]+)?")
        assert re.fullmatch(rule, word[len(name) :]), word


@settings(max_examples=15)
@given(values=_mail_values(), cut=cutters())
def test_the_parameters_of_mail_arrive_as_they_were_given(values: dict[str, Any], cut: Cutter):
    assert_arrives("MAIL", values, cut)


@settings(max_examples=15)
@given(values=parameters("RCPT"), cut=cutters())
def test_the_parameters_of_rcpt_arrive_as_they_were_given(values: dict[str, Any], cut: Cutter):
    assert_arrives("RCPT", values, cut)


# What is not

_ENDS: dict[tuple[str, str], str] = {
    # command, parameter: what must not follow its name, between blanks; first of all, nothing
    ("MAIL", "SIZE"): " = =-1 =+1 =1k =1_0 =1.0 =0x1 =١ =" + "1" * 21,
    ("MAIL", "BODY"): " = =8BIT =7BIT,8BITMIME =8BITMİME =7BIT;",
    ("MAIL", "SMTPUTF8="): " 1 yes <>",
    ("MAIL", "REQUIRETLS="): " 1 yes <>",
    ("MAIL", "PRDR="): " 1 yes <>",
    ("MAIL", "AUTH"): " = =+ =a+4 =a+4G@b.example =+0D+0A =a=b =ä@b.example =+FF@b.example",
    ("MAIL", "RET"): " = =ALL =FULL,HDRS =FULL;",
    ("MAIL", "ENVID"): " = =+ =+2 =+0D+0A =+FF =ä =a=b =+7F =" + "x" * 101,
    (
        "MAIL",
        "BY",
    ): " = =1 =1; =;R =1;X =1;RN =1;TR =1;R;T =1234567890;N =--1;N =+-1;N =1.5;N =1,R =1;NTT =ä;N",
    ("MAIL", "BY="): " 0;R -1;R +0;R -0;RT 000000000;r -999999999;R",  # there must be time left
    ("MAIL", "HOLDFOR"): " = =0 =01 =+1 =-1 =1000000000 =1s =1.5",
    (
        "MAIL",
        "HOLDUNTIL",
    ): " = =1 =2026 =2026-11-23 =20261123T100000Z =2026-11-23_10:00:00Z =26-11-23T10:00:00Z",
    (
        "MAIL",
        "HOLDUNTIL=2026-",
    ): " 13-23T10:00:00Z 00-23T10:00:00Z 11-31T10:00:00Z 11-00T10:00:00Z 2-29T10:00:00Z",
    ("MAIL", "HOLDUNTIL=2026-11-23T"): " 10:00:00 10:00Z 24:00:00Z 10:60:00Z 10:00:61Z 10:00:00.Z 1٣:00:00Z",
    ("MAIL", "HOLDUNTIL=2026-11-23T10:00:00"): " +1:00 +24:00 +01:60 +0100 ZZ Z;C Z+01:00 ,5Z",
    (
        "MAIL",
        "HOLDUNTIL=",
    ): " 2025-02-29T10:00:00Z 2100-02-29T10:00:00Z 2200-02-29T10:00:00Z 2026-11-23\x0010:00:00Z",
    ("MAIL", "SOLICIT"): " = =1a =a, =,a =a,,b =:a =ä =a;b =a/b ="
    + "a" * 1001
    + " ="
    + ",".join(["a" * 500] * 2),
    ("MAIL", "XCOST"): " = =x =1.5",
    ("MAIL", "X"): "== _Y=1 =a=b =\x7f =\x85",
    ("MAIL", ""): "=x -X=1 ſIZE=1 SIZE:1 X=1;Y=2=3 <x> > ,",
    ("RCPT", "NOTIFY"): " = =NEVER,DELAY =DELAY,NEVER =ALWAYS =DELAY; =DELAY, =,DELAY",
    ("RCPT", "ORCPT"): " = =a@b.example =;a@b.example =rfc822 =ä;a",
    ("RCPT", "ORCPT=rfc822;"): "+ +2 a+0Ab a+0D+0Ab ä@b a=b +FF +C3 +C2+85 +00",
    ("RCPT", "ORCPT=x400;"): "+C3+BC",
    ("RCPT", "ORCPT=utf-8;"): r" a+2Bb \ \x \x{} \x{D800} \x{110000} \X{E4} \x{E4 \x{0A} \x{0D}\x{0A}",
    ("RCPT", "RRVS"): " = =;C =2014-04-03 =2014-04-03T23:01:00 =2014-04-03T23:01:00;C",
    ("RCPT", "RRVS=2014-04-03T23:01:00"): ".5Z Z; Z;X Z;CR Z;C;R Z,C ;C +01:30:00",
}
MALFORMED = [(verb, name + end) for (verb, name), ends in _ENDS.items() for end in ends.split(" ")]
# RFC 6710 4.1: of this one, 5.5.2
BAD_PRIORITIES = ["10", "-10", "-0", "+3", "00", "03", "-03", "1.0", "--1", "high", "٣", "1;2", "0-"]


def test_a_malformed_parameter_is_501_and_the_command_without_it_is_taken():
    server = session()
    rows = [(verb, words, (501, "5.5.4")) for verb, words in MALFORMED]
    rows += [("MAIL", f"MT-PRIORITY={value}", (501, "5.5.2")) for value in BAD_PRIORITIES]
    for verb, words, expected in rows:
        assert refusal(server, line_of(verb, words)) == expected, words
        assert refusal(server, line_of(verb, "")) is None, words
    for verb, words, _ in rows:
        assert_not_sent(client_for(verb, GENEROUS), parsed, verb, words)


_NEARLY: dict[tuple[str, str], tuple[str, ...]] = {
    # parameters whose grammar is all there is to them, and of what texts like theirs are made
    ("MAIL", "SIZE"): ("=", "0", "1", "9" * 10, "-", "+", "_"),
    ("MAIL", "BODY"): ("=", "7BIT", "8bit", "mime", "Binary", ","),
    ("MAIL", "PRDR"): ("=", "1"),
    ("MAIL", "RET"): ("=", "FULL", "hdrs", ","),
    ("MAIL", "BY"): ("=", "+", "-", "0", "12", "9" * 8, ";", "N", "r", "T"),
    ("MAIL", "HOLDFOR"): ("=", "0", "1", "9999", "-", "+"),
    ("MAIL", "MT-PRIORITY"): ("=", "0", "1", "9", "-", "+"),
    ("MAIL", "SOLICIT"): ("=", "a", "Z", "1", ":", ".", "-", "_", ",", "b" * 499, ";"),
    ("RCPT", "NOTIFY"): ("=", "NEVER", "Success", "FAILURE", "delay", ","),
    ("RCPT", "RRVS"): ("=", "2014-04-03", "T23:01:00", "Z", "+01:30", ";", "c", "R", ".5"),
}


@st.composite
def _nearly(draw: Callable[[SearchStrategy[Any]], Any]) -> tuple[str, str, list[str]]:
    """A parameter, and texts that might follow its name: some do, some do not."""
    (verb, name), tokens = draw(st.sampled_from(list(_NEARLY.items())))
    texts = several(tokens, 5).map("".join)
    return verb, name, draw(st.lists(st.just("") | texts.map("={}".format), min_size=1, max_size=8))


@settings(max_examples=30)
@given(drawn=_nearly())
def test_what_the_grammar_has_is_taken_and_nothing_else(drawn: tuple[str, str, list[str]]):
    verb, name, texts = drawn
    server = session()
    for text in texts:
        is_legal = re.fullmatch(ABNF[verb, name], text) is not None
        if name == "BY" and is_legal and text[1:].partition(";")[2][0] in "Rr":
            is_legal = int(text[1:].partition(";")[0]) > 0
        if name == "NOTIFY" and is_legal and len({*text[1:].upper().split(",")}) <= text.count(","):
            continue  # in FINER_POINTS
        answer = refusal(server, line_of(verb, name + text))
        assert (answer is None) is is_legal, text
        assert answer is None or answer[0] == 501


def parsed(verb: str, words: str) -> Mail | Rcpt:
    """The command with the parameters that a caller writes so."""
    return command_of(verb, Parameters.from_text(verb, words))


def test_a_parameter_that_is_not_offered_is_555():
    server = session()
    for verb, word, value in LEGAL:
        name = word.partition("=")[0].upper()
        keyword = "BINARYMIME" if value == "BINARYMIME" else PARAMETERS[verb, name].keyword
        offer = Features({key: words for key, words in GENEROUS.items() if key != keyword})
        assert_not_sent(client_for(verb, offer), parsed, verb, word)
        assert_not_sent(client_for(verb, offer), command_of, verb, {name: value})
        server = session(offer)
        assert refusal(server, line_of(verb, word)) == (555, "5.5.4"), word
        assert refusal(server, line_of(verb, "")) is None, word
    assert refusal(server, line_of("MAIL", "XFOO")) == (555, "5.5.4")
    assert_not_sent(client_for("MAIL", GENEROUS), parsed, "MAIL", "XFOO=bar")


def test_a_parameter_of_the_other_command_is_555():
    server = session()
    for verb, word, value in LEGAL:
        other = {"MAIL": "RCPT", "RCPT": "MAIL"}[verb]
        assert refusal(server, line_of(other, word)) == (555, "5.5.4"), word
        assert refusal(server, line_of(other, "")) is None
        assert_not_sent(client_for(other, GENEROUS), parsed, other, word)
        if (value is True or isinstance(value, str)) and value != "BINARYMIME":  # that is in FINER_POINTS
            name = word.partition("=")[0]
            assert_not_sent(client_for(other, GENEROUS), command_of, other, {name: value})


def test_a_parameter_given_twice_is_501():
    server = session()
    for verb, word, _ in LEGAL:
        name = word.partition("=")[0]
        if name == "MT-PRIORITY":  # in FINER_POINTS
            continue
        for twice in (f"{word} {word}", f"{word} XBILLING {name.swapcase()}{word[len(name) :]}"):
            assert refusal(server, line_of(verb, twice)) == (501, "5.5.4"), twice
            assert_not_sent(client_for(verb, GENEROUS), parsed, verb, twice)
        assert refusal(server, line_of(verb, word)) is None


class Fault(NamedTuple):
    """What is wrong only here: for this server, with these other parameters, in the clear."""

    words: str
    """The parameters of MAIL."""
    code: int
    enhanced: str
    mended: str
    """The same without the fault."""


CONTRADICTIONS = [
    # RFC 4865 4.2: one of them only; 5.2: to be sent before it is due
    Fault("HOLDFOR=9 HOLDUNTIL=2029-01-01T00:00:00Z", 501, "5.5.4", "HOLDFOR=9"),
    Fault("HOLDUNTIL=2029-01-01T00:00:00Z HOLDFOR=9", 501, "5.5.4", "HOLDUNTIL=2029-01-01T00:00:00Z"),
    Fault("HOLDFOR=1201 BY=1200;N", 501, "5.5.4", "HOLDFOR=1200 BY=1200;N"),
    Fault("BY=+1200;RT HOLDFOR=3600", 501, "5.5.4", "BY=+1200;RT HOLDFOR=600"),
    Fault("HOLDFOR=1 BY=0;N", 501, "5.5.4", "HOLDFOR=1 BY=1;N"),
    Fault("HOLDFOR=1 BY=-5;N", 501, "5.5.4", "BY=-5;N"),
    # RFC 4865 4.2: no more than the server offers
    Fault("HOLDFOR=3601", 501, "5.5.4", "HOLDFOR=3600"),
    Fault("HOLDFOR=999999999", 501, "5.5.4", "HOLDFOR=1"),
    Fault("HOLDUNTIL=2030-01-01T00:00:01Z", 501, "5.5.4", "HOLDUNTIL=2030-01-01T00:00:00Z"),
    Fault("HOLDUNTIL=2029-12-31T23:30:00-00:31", 501, "5.5.4", "HOLDUNTIL=2029-12-31T23:30:00-00:30"),
    Fault("HOLDUNTIL=9999-12-31T23:59:59Z", 501, "5.5.4", "HOLDUNTIL=2030-01-01T01:00:00+01:00"),
    # RFC 2852 3, 4: below the minimum
    Fault("BY=59;R", 555, "5.5.4", "BY=60;R"),
    Fault("BY=1;RT", 555, "5.5.4", "BY=+60;RT"),
    Fault("BY=000000059;r", 555, "5.5.4", "BY=59;N"),
]


def test_parameters_that_contradict_each_other_or_the_offer_are_refused():
    server = session(STRICT)
    for fault in CONTRADICTIONS:
        assert refusal(server, line_of("MAIL", fault.words)) == (fault.code, fault.enhanced), fault
        assert refusal(server, line_of("MAIL", fault.mended)) is None, fault
        client = client_for("MAIL", STRICT)
        error = assert_not_sent(client, parsed, "MAIL", fault.words)
        typed = dict(Parameters.from_text("MAIL", fault.words))
        assert_not_sent(client, command_of, "MAIL", typed)
        assert (error.code, error.enhanced) == (fault.code, fault.enhanced)
        client.send(parsed("MAIL", fault.mended))
        assert client.data_to_send() == line_of("MAIL", fault.mended) + b"\r\n"


def test_a_declared_size_beyond_the_limit_is_552():
    server = session(STRICT, limits=Limits(message_size=1000))
    assert refusal(server, line_of("MAIL", "SIZE=1000")) is None
    for size in (1001, 10**20 - 1):
        assert refusal(server, line_of("MAIL", f"SIZE={size}")) == (552, "5.3.4")
    assert refusal(server, line_of("MAIL", "SIZE=0")) is None
    # RFC 1870 6.1 leaves the verdict to the server: a client may declare what it likes.
    client = client_for("MAIL", STRICT)
    client.send(parsed("MAIL", "SIZE=1001"))
    assert client.data_to_send() == line_of("MAIL", "SIZE=1001") + b"\r\n"


def test_requiretls_in_the_clear_is_530():
    server = session(tls=False)
    assert refusal(server, line_of("MAIL", "REQUIRETLS")) == (530, "5.7.10")
    assert refusal(server, line_of("MAIL", "")) is None
    assert refusal(session(tls=True), line_of("MAIL", "REQUIRETLS")) is None
    client = client_for("MAIL", GENEROUS, tls=False)
    assert_not_sent(client, command_of, "MAIL", {"REQUIRETLS": True})
    client.send(command_of("MAIL", {}))


def test_an_address_beyond_ascii_without_smtputf8_is_553():
    server = session()
    for address in ("ä@b.example", "a@ä.example", '"ä b"@b.example'):
        mail, rcpt = f"MAIL FROM:<{address}>".encode(), f"RCPT TO:<{address}>".encode()
        assert refusal(server, mail) == (553, "5.6.7")
        assert refusal(server, mail + b" SMTPUTF8") is None
        assert refusal(server, rcpt) == (553, "5.6.7")
        assert refusal(server, line_of("RCPT", "")) is None

        said(server, b"MAIL FROM:<> SMTPUTF8")
        assert said(server, rcpt) == Rcpt(forward_path=address)
        said(server, b"RSET")

        client = client_for("MAIL", GENEROUS)
        assert_not_sent(client, Mail(reverse_path=address))
        assert_not_sent(client_for("RCPT", GENEROUS), Rcpt(forward_path=address))
        client.send(Mail(reverse_path=address, parameters={"SMTPUTF8": True}))
        client.send(Rcpt(forward_path=address))


ILLEGAL_VALUES: list[tuple[str, str, Any]] = [
    # command, name, value as a caller might give it
    *[
        ("MAIL", "BY", value)
        for value in (DeliverBy(0, "R"), DeliverBy(-1, "R", True), DeliverBy(10**9, "N"))
    ],
    *[("MAIL", "BY", value) for value in (DeliverBy(1, "X"), DeliverBy(1, "N;"), ("1;N SIZE=5", "N"), "1;N")],
    *[("MAIL", "HOLDFOR", value) for value in (0, -1, 10**9, True, "1 SIZE=5", "5\r\nRSET", 1.0)],
    *[("MAIL", "HOLDUNTIL", value) for value in ("now", "2025-02-29T00:00:00Z", 1, "2026-11-23 10:00:00Z")],
    *[("MAIL", "MT-PRIORITY", value) for value in (10, -10, "-0", "+1", "00", True, 1.0)],
    *[("MAIL", "SOLICIT", value) for value in ((), ("a b",), ("a,",), ("a\r\nRSET",), ("9",), ("a" * 1001,))],
    *[("MAIL", "ENVID", value) for value in ("", "x" * 101, "+" * 34, "a\r\nb", "ä")],
    *[("MAIL", "SIZE", value) for value in (-1, 10**20, True, "1 X", 1.0)],
    *[("MAIL", name, value) for name in ("PRDR", "SMTPUTF8", "REQUIRETLS") for value in (False, "", "x", 1)],
    *[("RCPT", "ORCPT", value) for value in (("rfc822", "x" * 494), ("rfc822", "ä@b"), ("a b", "c@d"))],
    *[("RCPT", "RRVS", value) for value in (ValidSince("2014-04-03T23:01:00.0Z"), ValidSince("now", "C"))],
    *[
        ("RCPT", "RRVS", ValidSince("2014-04-03T23:01:00Z", value))
        for value in ("X", "CR", "C SIZE=5", "C\r\n")
    ],
    *[("RCPT", "NOTIFY", value) for value in (("NEVER", "DELAY"), ("DELAY SIZE=5",), ("DELAY\r\n",), ())],
]


def test_a_value_that_is_none_is_refused_before_anything_is_queued():
    clients = {verb: client_for(verb, GENEROUS) for verb in ("MAIL", "RCPT")}
    for verb, name, value in ILLEGAL_VALUES:
        assert_not_sent(clients[verb], command_of, verb, {name: value})


# The minimum of BY, and moments


@settings(max_examples=20)
@given(least=st.integers(0, 999999999), by=st.integers(-999999999, 999999999))
def test_only_return_is_subject_to_the_minimum_of_deliver_by(least: int, by: int):
    offer = Features({"DELIVERBY": (f"{least},X-TOKEN",)})
    server = session(offer)
    for seconds in (by, least - 1, least, least + 1):
        if not -999999999 <= seconds <= 999999999:
            continue
        assert refusal(server, line_of("MAIL", f"BY={seconds};N")) is None
        expected = 501 if seconds <= 0 else 555 if seconds < least else None
        answer = refusal(server, line_of("MAIL", f"BY={seconds};R"))
        assert answer == (None if expected is None else (expected, "5.5.4"))


@st.composite
def moments(draw: Callable[[SearchStrategy[Any]], Any]) -> datetime:
    """A moment at any offset."""
    offset = timedelta(minutes=draw(st.integers(-23 * 60 - 59, 23 * 60 + 59)))
    some = st.sampled_from([datetime(2029, 12, 31, 23, 59, 59), datetime(2024, 2, 29), datetime(2000, 3, 1)])  # noqa: DTZ001
    return draw(st.datetimes() | some).replace(microsecond=0, tzinfo=timezone(offset))


@settings(max_examples=30)
@given(one=moments(), other=moments())
def test_moments_are_compared_as_such_whatever_their_offsets(one: datetime, other: datetime):
    instants = [instant(moment.isoformat().encode()) for moment in (one, other)]
    assert None not in instants
    assert instants[0][0] - instants[1][0] == (one - other).total_seconds()
    zulu = one.replace(tzinfo=UTC).isoformat()
    assert instant(zulu.encode()) == instant(zulu.replace("+00:00", "z").replace("T", "t").encode())
    fractions = [b"", b".0", b".00", b".05", b".5", b".50", b".75"]
    at = [instant(zulu.encode().replace(b"+00:00", fraction + b"-00:00")) for fraction in fractions]
    assert at[0] == at[1] == at[2] < at[3] < at[4] == at[5] < at[6]


@settings(max_examples=25)
@given(most=moments(), near=st.integers(-90_000, 90_000), offset=st.integers(-1439, 1439))
def test_a_message_is_held_until_the_last_moment_offered_and_no_longer(
    most: datetime, near: int, offset: int
):
    ends = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    margin = timedelta(days=5)
    if not ends[1] + margin < most < ends[0] - margin:
        return
    last = most.astimezone(UTC).isoformat().replace("+00:00", "Z")
    until = (most + timedelta(seconds=near)).astimezone(timezone(timedelta(minutes=offset))).isoformat()
    offer = Features({"FUTURERELEASE": ("1", last)})
    answer = refusal(session(offer), line_of("MAIL", f"HOLDUNTIL={until}"))
    assert answer == ((501, "5.5.4") if near > 0 else None)
    client = client_for("MAIL", offer)
    if near > 0:
        assert_not_sent(client, command_of, "MAIL", {"HOLDUNTIL": until})
    else:
        client.send(command_of("MAIL", {"HOLDUNTIL": until}))


# What a server offers, as values

PROPERTIES: tuple[tuple[str, Any], ...] = (
    ("size", None),
    ("auth", ()),
    ("limits", {}),
    ("deliver_by", None),
    ("future_release", None),
    ("mt_priority", None),
    ("no_soliciting", ()),
    ("burl", ()),
    ("xclient", ()),
    ("xforward", ()),
)
"""Each with its value where nothing is offered."""

OFFERS: list[tuple[str, str, Any]] = [
    # line of the EHLO reply, property, its value
    ("SIZE 1000000", "size", 1000000),
    ("SIZE 0", "size", None),
    ("SIZE", "size", None),
    ("AUTH PLAIN LOGIN", "auth", ("PLAIN", "LOGIN")),
    ("AUTH", "auth", ()),
    ("LIMITS RCPTMAX=20", "limits", {"RCPTMAX": 20}),
    (
        "LIMITS MAILMAX=1 RCPTMAX=999999 RCPTDOMAINMAX=5",
        "limits",
        {"MAILMAX": 1, "RCPTMAX": 999999, "RCPTDOMAINMAX": 5},
    ),
    # RFC 9422 3.7: the bad one is left out
    ("LIMITS RCPTMAX=0 MAILMAX=5", "limits", {"MAILMAX": 5}),
    ("LIMITS RCPTMAX=1000000 MAILMAX=05 RCPTDOMAINMAX", "limits", {}),
    ("DELIVERBY", "deliver_by", 0),
    ("DELIVERBY 240", "deliver_by", 240),
    ("DELIVERBY 240,X-TOKEN,y=z", "deliver_by", 240),
    ("DELIVERBY ,X-TOKEN", "deliver_by", 0),
    ("DELIVERBY 999999999", "deliver_by", 999999999),
    ("FUTURERELEASE 604800 2026-12-01T00:00:00Z", "future_release", (604800, "2026-12-01T00:00:00Z")),
    ("FUTURERELEASE", "future_release", None),
    ("FUTURERELEASE 604800", "future_release", None),
    ("FUTURERELEASE 604800 soon", "future_release", None),
    ("FUTURERELEASE 0 2026-12-01T00:00:00Z", "future_release", None),
    ("FUTURERELEASE 2026-12-01T00:00:00Z 604800", "future_release", None),
    ("MT-PRIORITY", "mt_priority", "MIXER"),
    ("MT-PRIORITY STANAG4406", "mt_priority", "STANAG4406"),
    ("NO-SOLICITING", "no_soliciting", ()),
    (
        "NO-SOLICITING net.example:ADV,org.example:ADV:ADLT",
        "no_soliciting",
        ("net.example:ADV", "org.example:ADV:ADLT"),
    ),
    ("BURL", "burl", ()),
    ("BURL imap imap://imap.example", "burl", ("imap", "imap://imap.example")),
    ("XCLIENT NAME ADDR", "xclient", ("NAME", "ADDR")),
    ("XFORWARD NAME ADDR SOURCE", "xforward", ("NAME", "ADDR", "SOURCE")),
]


def read_back(lines: list[str], cut: Callable[[bytes], Any] = lambda octets: [octets]) -> list[Features]:
    """What client and server know, when the server has offered this."""
    pair = Pair(hello=False, cut=cut)
    pair.say(Greeting(domain="mx.example"))
    pair.ask(Ehlo(domain="client.example"), Hello(lines=["mx.example", *lines]))
    return [pair.client.features, pair.server.features]


def test_what_a_server_offers_is_read_back_as_values():
    assert {name for _, name, _ in OFFERS} == {name for name, _ in PROPERTIES}
    for line, name, value in OFFERS:
        for features in read_back([line]):
            for other, nothing in PROPERTIES:
                assert getattr(features, other) == (value if other == name else nothing), (line, other)


# Texts that mean something, in any case, are only those that the protocol compares so.
_CASELESS = ("size", "auth", "limits", "deliver_by", "mt_priority", "xclient", "xforward")


def test_sloppy_forms_mean_the_same():
    for line, name, value in OFFERS:
        keyword, _, words = line.partition(" ")
        forms = [
            f"{keyword.lower()} {words}",
            f"{keyword.title()}  {words.replace(' ', '   ')}",
            f"  {line}  ",
            f"{line} ",
        ]
        if words:
            forms.append(f"{keyword}={words}")
        if name in _CASELESS:
            forms.append(line.lower())
        for form in forms:
            for features in read_back([form]):
                assert getattr(features, name) == value, form
    (client, server) = read_back(["AUTH=PLAIN LOGIN", "AUTH LOGIN CRAM-MD5"])
    assert client.auth == server.auth == ("PLAIN", "LOGIN", "CRAM-MD5")


def _names(*alphabet: str) -> SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(alphabet), min_size=1, unique=True).map(tuple)


_TYPED: dict[str, tuple[str, SearchStrategy[Any], Callable[[Any], tuple[str, ...]]]] = {
    # property: keyword, values, their words
    "size": ("SIZE", st.integers(1, 10**20 - 1), lambda size: (str(size),)),
    "auth": ("AUTH", _names("PLAIN", "LOGIN", "X_1-2"), lambda names: names),
    "limits": (
        "LIMITS",
        st.dictionaries(
            st.sampled_from(["MAILMAX", "RCPTMAX", "RCPTDOMAINMAX", "X-Y_1"]),
            st.integers(1, 999999),
            min_size=1,
        ),
        lambda limits: tuple(f"{name}={value}" for name, value in limits.items()),
    ),
    "deliver_by": ("DELIVERBY", st.integers(0, 999999999), lambda least: (str(least),)),
    "future_release": (
        "FUTURERELEASE",
        st.tuples(st.integers(1, 999999999), st.datetimes().map(lambda t: f"{t:%H:%M:%S}")).map(
            lambda pair: (pair[0], f"2031-05-07T{pair[1]}Z")
        ),
        lambda most: (str(most[0]), most[1]),
    ),
    "mt_priority": ("MT-PRIORITY", st.sampled_from(["MIXER", "NSEP", "A_B.C-9"]), lambda name: (name,)),
    "no_soliciting": ("NO-SOLICITING", _names("a", "b.c:D", "e_f-9"), lambda words: (",".join(words),)),
    "burl": ("BURL", _names("imap", "imap://a.example", "x"), lambda words: words),
    "xclient": ("XCLIENT", _names("NAME", "ADDR", "PROTO", "REVERSE_NAME"), lambda words: words),
    "xforward": ("XFORWARD", _names("NAME", "IDENT", "SOURCE"), lambda words: words),
}


@settings(max_examples=20)
@given(
    offered=st.fixed_dictionaries({}, optional={name: entry[1] for name, entry in _TYPED.items()}),
    cut=cutters(),
)
def test_every_value_that_can_be_offered_is_read_back(offered: dict[str, Any], cut: Cutter):
    lines = Features({_TYPED[name][0]: _TYPED[name][2](value) for name, value in offered.items()}).lines
    for features in read_back(list(lines), cut):
        for name, nothing in PROPERTIES:
            assert getattr(features, name) == offered.get(name, nothing)


_GARBAGE = st.sampled_from(
    ["", "0", "-1", "+1", "1_0", "9" * 5000, "=", ",", ",,", "=5", "X=", "2026-02-30T00:00:00Z", "²"]
) | st.text(max_size=6)


@settings(max_examples=20)
@given(
    offered=st.dictionaries(
        st.sampled_from([entry[0] for entry in _TYPED.values()]), st.lists(_GARBAGE, max_size=3)
    )
)
def test_no_words_of_an_offer_can_do_harm(offered: dict[str, list[str]]):
    for features in (
        Features.from_lines(" ".join((keyword, *words)) for keyword, words in offered.items()),
        Features.from_lines(f"{keyword}={'='.join(words)}" for keyword, words in offered.items()),
    ):
        values = {name: getattr(features, name) for name, _ in PROPERTIES}
        for name, nothing in PROPERTIES:
            assert values[name] is None or type(values[name]) in (type(nothing), int, str, tuple), name
        assert all(1 <= limit <= 999999 for limit in features.limits.values())
        assert features.deliver_by is None or features.deliver_by >= 0
        # whatever it offers, a command with such a parameter is judged and does not break
        server = session(features)
        for words in ("BY=5;R", "HOLDFOR=5", "HOLDUNTIL=2026-11-23T10:00:00Z", "SIZE=1", "MT-PRIORITY=1"):
            assert refusal(server, line_of("MAIL", words)) in (
                None,
                (501, "5.5.4"),
                (555, "5.5.4"),
            )


# Parameters of one's own


def test_a_private_parameter_works_in_both_roles(private: Parameter):
    pair = Pair(features=Features({"XBILLING": ()}))
    reply = pair.ask(Mail(reverse_path="a@b.example", parameters={"XCOST": 5}), OK)
    assert reply.to.parameters == {"XCOST": 5}
    assert pair.server.mail.parameters == {"XCOST": 5}
    pair.ask(Rset(), OK)
    server = session(Features({"XBILLING": ()}))
    assert said(server, b"MAIL FROM:<a@b.example> xcost=007").parameters["XCOST"] == 7
    assert PARAMETERS["MAIL", "XCOST"] is private


@every(
    ("name", "verb"),
    [
        ("", "MAIL"),
        ("X Y", "MAIL"),
        ("X_Y", "MAIL"),
        ("-X", "MAIL"),
        ("X=1", "MAIL"),
        ("X\r\nRSET", "MAIL"),
        ("ÄX", "MAIL"),
        ("xcost", "MAIL"),
        ("Xcosts", "MAIL"),
        ("SIZE", "MAIL"),
        ("XCOST", "MAIL"),
        ("NOTIFY", "RCPT"),
        ("XTAX", "DATA"),
        ("XTAX", "mail"),
        ("XTAX", ""),
    ],
)
def test_a_name_that_is_none_or_known_cannot_be_registered(name: str, verb: str):
    before = dict(PARAMETERS)
    with pytest.raises(LocalProtocolError):
        register_parameter(Parameter(name, verb, "XBILLING", lambda octets: True, lambda value: None))
    assert before == PARAMETERS


@pytest.fixture
def taxed() -> Iterator[Callable[..., None]]:
    """Registers XTAX with a `parse`, a `format` and a `check`, one after the other, and none afterwards."""

    def register(parse: Any, to_text: Any = str, check: Any = None) -> None:
        PARAMETERS.pop(("RCPT", "XTAX"), None)
        register_parameter(Parameter("XTAX", "RCPT", "XBILLING", parse, to_text, check))

    yield register
    PARAMETERS.pop(("RCPT", "XTAX"), None)


def _raises(error: Exception) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        raise error

    return function


ERRORS: list[tuple[Exception, tuple[int, str]]] = [
    (ValueError("no tax"), (501, "5.5.4")),
    (TypeError("no tax"), (501, "5.5.4")),
    (UnicodeDecodeError("ascii", b"x", 0, 1, "no tax"), (501, "5.5.4")),
    (LocalProtocolError("no tax", code=554, enhanced="5.7.1"), (554, "5.7.1")),
    (LocalProtocolError("no tax"), (501, "5.5.4")),
]


def test_a_private_function_that_raises_refuses_the_parameter(taxed: Callable[..., None]):
    offer = Features({"XBILLING": ()})
    for error, expected in ERRORS:
        taxed(_raises(error))
        assert refusal(session(offer), line_of("RCPT", "XTAX=5")) == expected
        assert_not_sent(client_for("RCPT", offer), command_of, "RCPT", {"XTAX": 5})

        taxed(lambda octets: 5, _raises(error))
        assert_not_sent(client_for("RCPT", offer), command_of, "RCPT", {"XTAX": 5})

        taxed(lambda octets: 5, check=_raises(error))
        assert refusal(session(offer), line_of("RCPT", "XTAX=5")) == expected
        assert_not_sent(client_for("RCPT", offer), command_of, "RCPT", {"XTAX": 5})


def test_a_private_check_sees_the_value_the_offer_and_the_other_parameters(taxed: Callable[..., None]):
    seen = []
    taxed(lambda octets: int(octets or b""), check=lambda *arguments: seen.append(arguments))
    server = session(Features({"XBILLING": ("a", "b=c"), "DSN": ()}))
    assert refusal(server, line_of("RCPT", "XTAX=5 NOTIFY=NEVER")) is None
    assert seen == [(5, ("a", "b=c"), {"XTAX": 5, "NOTIFY": ("NEVER",)})]


NO_WORDS = (
    "a b",
    "a\r\nRSET",
    "a\rb",
    "a\nb",
    "a\0b",
    "a\tb",
    "a=b",
    " 5",
    "5 ",
    "5\r\n",
    "5\n",
    "",
    "\x85",
    "\ud800",
)


@pytest.mark.parametrize("parse", [int, lambda octets: octets, lambda octets: 5], ids=["int", "same", "any"])
def test_what_a_private_format_returns_is_one_word_or_is_not_sent(
    taxed: Callable[..., None], parse: Callable[[Any], Any]
):
    client = client_for("RCPT", Features({"PIPELINING": (), "XBILLING": ()}))
    for text in (*NO_WORDS, "5\r\nRSET", "5 SIZE=7", 5, b"5", ["5"], object()):
        taxed(parse, lambda value, text=text: text)
        assert_not_sent(client, command_of, "RCPT", {"XTAX": 5})
    taxed(parse, lambda value: "5")
    client.send(command_of("RCPT", {"XTAX": 5}))
    assert client.data_to_send() == b"RCPT TO:<a@b.example> XTAX=5\r\n"


def test_a_gt_in_a_private_value_stays_within_its_word(taxed: Callable[..., None]):
    taxed(lambda octets: (octets or b"").decode("ascii"))
    client, server = client_for("RCPT", GENEROUS), session()
    said(server, b"MAIL FROM:<>")
    client.send(command_of("RCPT", {"XTAX": "5>,<x>"}))
    (event,) = feed(server, client.data_to_send())
    assert event == command_of("RCPT", {"XTAX": "5>,<x>"})
    assert (event.forward_path, event.parameters) == ("a@b.example", {"XTAX": "5>,<x>"})


@settings(max_examples=25)
@given(text=st.text(max_size=6))
def test_no_text_of_a_private_format_breaks_out_of_its_word(text: str):
    PARAMETERS["RCPT", "XTAX"] = Parameter("XTAX", "RCPT", "XBILLING", lambda octets: 5, lambda value: text)
    try:
        wire = command_of("RCPT", {"XTAX": 5}).parameters.text
    except LocalProtocolError:
        return
    finally:
        del PARAMETERS["RCPT", "XTAX"]
    assert wire == f" XTAX={text}"
    assert re.fullmatch(r"[!-<>-~\xa0-\U0010ffff]+", text)


# ETRN, BURL, XCLIENT, XFORWARD

EXTENSIONS = Features(
    {
        **dict.fromkeys(("PIPELINING", "CHUNKING", "ETRN", "STARTTLS"), ()),
        "BURL": ("imap",),
        "XCLIENT": ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"),
        "XFORWARD": ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"),
    }
)

COMMANDS: list[tuple[str, Command]] = [
    # RFC 1985 5, 7
    ("ETRN uu.net", Etrn(node="uu.net")),
    ("etrn sigurd.innosoft.com", Etrn(node="sigurd.innosoft.com")),
    ("ETRN @foo.com", Etrn(node="@foo.com")),
    ("ETRN #uucp", Etrn(node="#uucp")),
    ("ETRN [192.0.2.1]", Etrn(node="[192.0.2.1]")),
    # Postfix's README files
    (
        "XCLIENT NAME=spike.porcupine.org ADDR=168.100.189.2",
        XClient(attributes={"NAME": "spike.porcupine.org", "ADDR": "168.100.189.2"}),
    ),
    ("xclient name=[Unavailable]", XClient(attributes={"NAME": "[Unavailable]"})),
    ("XCLIENT NAME=[TEMPUNAVAIL]", XClient(attributes={"NAME": "[TEMPUNAVAIL]"})),
    ("XCLIENT ADDR=IPV6:2001:db8::1 PORT=25", XClient(attributes={"ADDR": "IPV6:2001:db8::1", "PORT": "25"})),
    ("XCLIENT LOGIN=a+2Bb+3Dc PROTO=ESMTP", XClient(attributes={"LOGIN": "a+b=c", "PROTO": "ESMTP"})),
    (
        "XCLIENT DESTADDR=192.0.2.1 DESTPORT=587",
        XClient(attributes={"DESTADDR": "192.0.2.1", "DESTPORT": "587"}),
    ),
    ("XCLIENT HELO=" + "h" * 255, XClient(attributes={"HELO": "h" * 255})),
    ("XFORWARD NAME=spike.porcupine.org", XForward(attributes={"NAME": "spike.porcupine.org"})),
    (
        "xforward ident=1A2B+2B SOURCE=LOCAL PROTO=X.400",
        XForward(attributes={"IDENT": "1A2B+", "SOURCE": "LOCAL", "PROTO": "X.400"}),
    ),
    ("XFORWARD SOURCE=[UNAVAILABLE]", XForward(attributes={"SOURCE": "[UNAVAILABLE]"})),
    ("XFORWARD IDENT=" + "i" * 255, XForward(attributes={"IDENT": "i" * 255})),
    # RFC 4468 3.5
    (
        "BURL imap://harry@gryffindor.example.com/outbox;uid=25;urlauth=submit+harry:internal:9135 LAST",
        Burl(
            url="imap://harry@gryffindor.example.com/outbox;uid=25;urlauth=submit+harry:internal:9135",
            last=True,
        ),
    ),
    (
        "burl IMAPS://[2001:db8::1]:993/a%20b?c=d last",
        Burl(url="IMAPS://[2001:db8::1]:993/a%20b?c=d", last=True),
    ),
    ("BURL x-a+b.1:y", Burl(url="x-a+b.1:y")),
]


def in_reach_of(verb: str, offer: Features = EXTENSIONS) -> tuple[ClientConnection, ServerConnection]:
    """A client and a server of which one may say `verb` to the other."""
    client, server = ClientConnection(features=offer, tls=True), session(offer)
    if verb.upper() == "BURL":
        for command in (Mail(reverse_path=""), Rcpt(forward_path="a@b.example")):
            client.send(command)
            said(server, client.data_to_send()[:-2])
            server.data_to_send()
            feed(client, b"250 ok\r\n")
    return client, server


def test_the_commands_of_the_extensions_are_read_and_written_as_their_texts_say():
    for line, command in COMMANDS:
        client, server = in_reach_of(command.verb)
        heard, *rest = feed(server, line.encode() + b"\r\n")
        assert heard == command, line
        assert rest == ([EndOfMessage()] if getattr(command, "last", False) else [])
        client.send(command)
        wire = client.data_to_send().decode()
        assert wire.endswith("\r\n")
        assert wire.count("\r\n") == 1
        verb, _, argument = line.partition(" ")
        assert wire.split()[0] == verb.upper()
        with pytest.raises(LocalProtocolError):  # its effect would be overlooked
            UnknownCommand(name=verb, argument=argument)
        assert wire.split()[1:] == argument.split() or wire.upper() == f"{line}\r\n".upper()


BAD_COMMANDS: list[tuple[str, Callable[[], Command] | None]] = [
    # a line that is 501, and the same as a client would say it
    ("ETRN @", lambda: Etrn(node="@")),
    ("ETRN #", lambda: Etrn(node="#")),
    ("ETRN a..b", lambda: Etrn(node="a..b")),
    ("ETRN .a", lambda: Etrn(node=".a")),
    ("ETRN uu.net foo.bar", lambda: Etrn(node="uu.net foo.bar")),
    ("ETRN ä.example", lambda: Etrn(node="ä.example")),
    ("ETRN [1.2.3]", lambda: Etrn(node="[1.2.3]")),
    ("ETRN <uu.net>", lambda: Etrn(node="<uu.net>")),
    ("ETRN @#uucp", lambda: Etrn(node="@#uucp")),
    ("ETRN #a b", lambda: Etrn(node="#a\r\nRSET")),
    ("XCLIENT", lambda: XClient(attributes={})),
    ("XCLIENT NAME", None),
    ("XCLIENT NAME=", lambda: XClient(attributes={"NAME": ""})),
    ("XCLIENT =x", lambda: XClient(attributes={"": "x"})),
    ("XCLIENT NAME=a NAME=b", lambda: XClient(attributes={"NAME": "a", "name": "b"})),
    ("XCLIENT NAME=a FOO=b", lambda: XClient(attributes={"NAME": "a", "FOO": "b"})),
    ("XCLIENT IDENT=b", lambda: XClient(attributes={"IDENT": "b"})),
    ("XCLIENT NAME=+", None),
    ("XCLIENT NAME=+2", None),
    ("XCLIENT NAME=+0D+0A", lambda: XClient(attributes={"NAME": "\r\n"})),
    ("XCLIENT NAME=+FF", lambda: XClient(attributes={"NAME": "\xff"})),
    ("XCLIENT NAME=ä", lambda: XClient(attributes={"NAME": "ä"})),
    ("XCLIENT NAME=a=b", lambda: XClient(attributes={"NAME=a": "b"})),
    ("XCLIENT NAME =b", lambda: XClient(attributes={"NAME ": "b"})),
    ("XFORWARD", lambda: XForward(attributes={})),
    ("XFORWARD NAME", None),
    ("XFORWARD NAME=", lambda: XForward(attributes={"NAME": ""})),
    ("XFORWARD LOGIN=a", lambda: XForward(attributes={"LOGIN": "a"})),
    ("XFORWARD FOO=a", lambda: XForward(attributes={"FOO": "a"})),
    ("XFORWARD IDENT=a ident=b", lambda: XForward(attributes={"IDENT": "a", "ident": "b"})),
    ("XFORWARD IDENT=+0A", lambda: XForward(attributes={"IDENT": "\n"})),
    ("BURL", lambda: Burl(url="")),
    ("BURL LAST", lambda: Burl(url="LAST", last=True)),
    ("BURL imap://a.example FIRST", None),
    ("BURL imap://a.example LAST LAST", None),
    ("BURL imap://a.example b", lambda: Burl(url="imap://a.example b")),
    ("BURL //a.example/x LAST", lambda: Burl(url="//a.example/x", last=True)),
    ("BURL a/b:c LAST", lambda: Burl(url="a/b:c", last=True)),
    ("BURL 1map://a.example LAST", lambda: Burl(url="1map://a.example", last=True)),
    ("BURL imap://a.example#f LAST", lambda: Burl(url="imap://a.example#f", last=True)),
    ("BURL imap://ä.example LAST", lambda: Burl(url="imap://ä.example", last=True)),
    ("BURL <imap://a.example> LAST", lambda: Burl(url="<imap://a.example>", last=True)),
    ("BURL imap://a.example\t LAST", lambda: Burl(url="imap://a.example\r\nRSET", last=True)),
]


def test_a_malformed_command_of_an_extension_is_501_and_the_session_goes_on():
    for line, build in BAD_COMMANDS:
        verb = line.partition(" ")[0]
        client, server = in_reach_of(verb)
        event = said(server, line.encode())
        assert isinstance(event, MalformedCommand), line
        assert (event.reply.code, event.reply.enhanced) == (501, "5.5.4"), line
        good = next(wire for wire, command in COMMANDS if command.verb == verb)
        heard, *_ = feed(server, good.encode() + b"\r\n")
        assert not isinstance(heard, MalformedCommand)
        if build is not None:
            assert_not_sent(client, build)


def test_the_commands_of_the_extensions_must_be_offered():
    for line, command in COMMANDS:
        offer = Features({key: words for key, words in EXTENSIONS.items() if key != command.verb})
        client, server = in_reach_of(command.verb, offer)
        event = said(server, line.encode())
        assert isinstance(event, MalformedCommand), line
        assert (event.reply.code, event.reply.enhanced) == (502, "5.5.1")
        assert_not_sent(client, command)
        assert said(server, b"NOOP") == Noop()


IN_TRANSACTION = (b"MAIL FROM:<>", b"RCPT TO:<a@b.example>", b"BDAT 0")


def test_etrn_xclient_and_xforward_are_503_in_a_transaction_and_taken_behind_it():
    outside = [(line, command) for line, command in COMMANDS if command.verb != "BURL"]
    for line, command in outside:
        client, server = in_reach_of(command.verb)
        for opening in IN_TRANSACTION:
            said(server, opening)
            event = said(server, line.encode())
            assert isinstance(event, MalformedCommand), line
            assert (event.reply.code, event.reply.enhanced) == (503, "5.5.1")
        said(server, b"RSET")
        (heard,) = feed(server, line.encode() + b"\r\n")
        assert heard == command

        client.send(Mail(reverse_path=""))
        client.data_to_send()
        assert_not_sent(client, command)
        client.send(Rcpt(forward_path="a@b.example"))
        client.data_to_send()
        assert_not_sent(client, command)
        client.send(Rset())
        client.data_to_send()
        client.send(command)
        assert client.data_to_send().startswith(command.verb.encode())


def test_every_answer_to_etrn_is_heard_and_changes_nothing():
    for code in (250, 251, 252, 253, 458, 459, 500, 501, 502, 503):
        pair = Pair(features=EXTENSIONS)
        reply = pair.ask(Etrn(node="uu.net"), Reply(code=code, text="node uu.net"))
        assert (reply.code, reply.to) == (code, Etrn(node="uu.net"))
        assert pair.client.state is pair.server.state is State.READY
        assert pair.client.features == EXTENSIONS


def test_etrn_and_xclient_are_the_last_of_their_group_and_xforward_is_not():
    for command in (Etrn(node="uu.net"), XClient(attributes={"NAME": "a"})):
        client = ClientConnection(features=EXTENSIONS)
        client.send(Noop())
        client.data_to_send()
        assert_not_sent(client, command)  # RFC 2920 3.1: behind a NOOP nothing goes
        client = ClientConnection(features=EXTENSIONS)
        client.send(command)
        client.data_to_send()
        for late in (Mail(reverse_path=""), Ehlo(domain="client.example"), Noop()):
            assert_not_sent(client, late)
    client = ClientConnection(features=EXTENSIONS)
    client.send(XForward(attributes={"NAME": "a"}))
    client.send(XForward(attributes={"HELO": "b"}))
    client.send(Mail(reverse_path=""))
    assert client.data_to_send() == b"XFORWARD NAME=a\r\nXFORWARD HELO=b\r\nMAIL FROM:<>\r\n"
    client.send(Rset())
    client.send(XClient(attributes={"NAME": "a"}))


@settings(max_examples=12)
@given(cut=cutters(), tls=st.booleans())
def test_xclient_begins_the_session_afresh(cut: Cutter, tls: bool):
    client, server = ClientConnection(tls=tls), ServerConnection(tls=tls)
    pair = Pair(client=client, server=server, features=EXTENSIONS, cut=cut)
    for end in (client, server):
        end.authenticated = True
    answer = Greeting(domain="mx.example", text="ESMTP Postfix")
    reply = pair.ask(XClient(attributes={"NAME": "spike.example", "ADDR": "192.0.2.9"}), answer)
    assert reply == answer
    assert isinstance(reply, Greeting)
    for end in (client, server):
        assert end.state is State.GREETED
        assert end.features == {}
        assert end.tls is tls
        assert not end.authenticated
        assert end.mail is None
    assert_not_sent(client, Mail(reverse_path=""))
    assert_not_sent(client, XClient(attributes={"NAME": "a"}))
    server.receive_data(b"MAIL FROM:<>\r\n")
    (event,) = drain(server)
    assert event.reply.code == 503
    server.send(event.reply)
    server.data_to_send()

    fewer = Features({"PIPELINING": (), "XCLIENT": ("PORT",)})
    pair.ask(Ehlo(domain="spike.example"), Hello(domain="mx.example", features=fewer))
    for end in (client, server):
        assert end.state is State.READY
        assert end.features == fewer
    pair.ask(Mail(reverse_path=""), OK)


def test_xclient_that_is_answered_otherwise_changes_nothing():
    # 250: Postfix before 2.3 does not go back to the greeting
    for code in (501, 503, 550, 554, 450, 250):
        pair = Pair(features=EXTENSIONS)
        reply = pair.ask(XClient(attributes={"NAME": "a"}), Reply(code=code, text="no"))
        assert reply.code == code
        assert pair.client.state is pair.server.state is State.READY
        assert pair.client.features == pair.server.features == EXTENSIONS
        pair.ask(Mail(reverse_path=""), OK)


def test_421_to_xclient_and_xforward_closes():
    for command in (XClient(attributes={"NAME": "a"}), XForward(attributes={"NAME": "a"})):
        pair = Pair(features=EXTENSIONS)
        pair.ask(command, Reply(code=421))
        assert pair.client.state is pair.server.state is State.CLOSED


def test_xforward_leaves_the_session_as_it_is():
    for code in (250, 501, 503, 550):
        pair = Pair(features=EXTENSIONS)
        reply = pair.ask(XForward(attributes={"NAME": "a", "SOURCE": "LOCAL"}), Reply(code=code))
        assert reply.to == XForward(attributes={"NAME": "a", "SOURCE": "LOCAL"})
        assert pair.client.state is pair.server.state is State.READY
        assert pair.client.features == pair.server.features == EXTENSIONS


# BURL


def with_recipient(offer: Features = EXTENSIONS, *parameters: str, **options: Any) -> Pair:
    """A pair in a transaction with one recipient."""
    pair = Pair(features=offer, **options)
    pair.ask(Mail(reverse_path="", parameters=dict.fromkeys(parameters, True)), OK)
    pair.ask(Rcpt(forward_path="a@b.example"), OK)
    return pair


URL = "imap://imap.example/x"


@settings(max_examples=20)
@given(
    pieces=st.lists(st.none() | st.binary(max_size=9), max_size=4),
    last=st.none() | st.binary(max_size=9),
    cut=cutters(),
)
def test_burl_and_bdat_take_turns_until_the_last(pieces: list[bytes | None], last: bytes | None, cut: Cutter):
    pair = with_recipient(cut=cut)
    for number, piece in enumerate([*pieces, last], 1):
        is_last = number > len(pieces)
        command = Burl(url=URL, last=is_last) if piece is None else Bdat(size=len(piece), last=is_last)
        pair.client.send(command)
        if piece:
            pair.client.send(MessageData(data=piece))
        if is_last:
            pair.client.send(EndOfMessage())
        heard, *rest = pair.server_events()
        assert heard == command
        data = b"".join(event.data for event in rest if isinstance(event, MessageData))
        assert data == (piece or b"")
        assert (EndOfMessage() in rest) is is_last
        reply = pair.say(Reply(code=250, enhanced="2.5.0", text="Ok"))
        assert reply.to == (EndOfMessage() if is_last else command)
        expected = State.READY if is_last else State.BDAT
        assert pair.client.state is pair.server.state is expected


def test_after_a_refused_burl_only_rset_helps():
    for code in (554, 451, 552):
        pair = with_recipient()
        reply = pair.ask(Burl(url=URL), Reply(code=code, text="no such URL"))
        assert reply.code == code
        assert pair.client.state is pair.server.state is State.BDAT_FAILED
        commands = (Burl(url=URL, last=True), Bdat(size=3), Data(), Rcpt(forward_path="b@b.example"))
        for command in (*commands, Mail(reverse_path="")):
            assert_not_sent(pair.client, command)
        for line in (f"BURL {URL} LAST", "BDAT 3\r\nabc", "DATA", "RCPT TO:<b@b.example>", "MAIL FROM:<>"):
            octets = line.encode() + (b"" if line.startswith("BDAT") else b"\r\n")
            (event,) = feed(pair.server, octets)
            assert (event.reply.code, event.reply.enhanced) == (503, "5.5.1"), line
            pair.server.send(event.reply)
        pair.server.data_to_send()
        pair.ask(Rset(), OK)
        assert pair.client.state is pair.server.state is State.READY
        pair.ask(Mail(reverse_path=""), OK)


def test_the_last_burl_ends_the_transaction_whatever_its_verdict():
    for code in (250, 451, 554):
        pair = with_recipient()
        pair.client.send(Burl(url=URL, last=True))
        pair.client.send(EndOfMessage())
        assert pair.server_events() == [Burl(url=URL, last=True), EndOfMessage()]
        reply = pair.say(Reply(code=code))
        assert (reply.code, reply.to) == (code, EndOfMessage())
        assert pair.client.state is pair.server.state is State.READY


def test_without_chunking_there_is_only_the_last_burl():
    offer = Features({key: words for key, words in EXTENSIONS.items() if key != "CHUNKING"})
    pair = with_recipient(offer)
    assert_not_sent(pair.client, Burl(url=URL))
    event = said(pair.server, f"BURL {URL}".encode())
    assert isinstance(event, MalformedCommand)
    assert event.reply.code == 503
    assert pair.server.state is State.RCPT
    pair.server.data_to_send()
    pair.client.send(Burl(url=URL, last=True))
    pair.client.send(EndOfMessage())
    assert pair.server_events() == [Burl(url=URL, last=True), EndOfMessage()]
    pair.say(OK)
    assert pair.client.state is pair.server.state is State.READY


def test_burl_needs_a_recipient_and_data_does_not_follow_it():
    server = session(EXTENSIONS)
    burl = f"BURL {URL} LAST".encode()
    for opening in (b"NOOP", b"MAIL FROM:<>"):
        said(server, opening)
        assert said(server, burl).reply.code == 503  # RFC 4468 6
    said(server, b"RCPT TO:<a@b.example>", Reply(code=550))
    assert said(server, burl).reply.code == 503
    said(server, b"RCPT TO:<a@b.example>")
    said(server, f"BURL {URL}".encode())
    for line in (b"DATA", b"RCPT TO:<b@b.example>", b"MAIL FROM:<>"):
        assert said(server, line).reply.code == 503
    client = ClientConnection(features=EXTENSIONS)
    assert_not_sent(client, Burl(url=URL, last=True))
    client.send(Mail(reverse_path=""))
    assert client.data_to_send() == b"MAIL FROM:<>\r\n"
    assert_not_sent(client, Burl(url=URL, last=True))


def test_a_transaction_with_burl_goes_in_one_flight():
    client = ClientConnection(features=EXTENSIONS)
    for command in (
        Mail(reverse_path=""),
        Rcpt(forward_path="a@b.example"),
        Burl(url=URL, last=True),
        EndOfMessage(),
    ):
        client.send(command)
    wire = client.data_to_send()
    assert wire == f"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBURL {URL} LAST\r\n".encode()
    server = session(EXTENSIONS)
    server.receive_data(wire)
    for _ in range(2):
        assert len(drain(server)) == 1
        server.send(OK)
    assert drain(server) == [Burl(url=URL, last=True), EndOfMessage()]
    server.send(Reply(code=554, enhanced="5.6.6", text="IMAP URL resolution failed"))
    replies = feed(client, server.data_to_send())
    assert [reply.code for reply in replies] == [250, 250, 554]
    assert replies[-1].to == EndOfMessage()
    assert client.state is server.state is State.READY


# PRDR: a verdict for each recipient

PRDR = Features(
    {**dict.fromkeys(("PIPELINING", "CHUNKING", "PRDR", "ENHANCEDSTATUSCODES"), ()), "BURL": ("imap",)}
)
ANNOUNCED = Reply(code=353, text="content analysis has started")


def transaction(pair: Pair, accepted: list[bool], *, how: str = "DATA", prdr: bool = True) -> list[str]:
    """Say all up to the end of the message; the recipients that were accepted."""
    pair.ask(Mail(reverse_path="", parameters={"PRDR": True} if prdr else {}), OK)
    taken = []
    for number, is_taken in enumerate(accepted):
        address = f"r{number % 3}@b.example"  # some of them twice
        pair.ask(Rcpt(forward_path=address), Reply(code=250 if is_taken else 550))
        taken += [address] * is_taken
    if how == "DATA":
        pair.ask(Data(), Reply(code=354))
        pieces: list[Command] = [MessageData(data=b"a\r\n")]
    elif how == "BDAT":
        pair.ask(Bdat(size=0), OK)
        pieces = [Bdat(size=3, last=True), MessageData(data=b"a\r\n")]
    else:
        pieces = [Burl(url=URL, last=True)]
    for piece in (*pieces, EndOfMessage()):
        pair.client.send(piece)
    *_, end = pair.server_events()
    assert end == EndOfMessage()
    return taken


HOW = ("DATA", "BDAT", "BURL")


@settings(max_examples=25)
@given(
    accepted=st.lists(st.booleans(), max_size=5).map(lambda some: [*some, True]),
    codes=several([250, 251, 450, 452, 550, 552], 6, least=6),
    final=st.sampled_from([250, 251, 450, 452, 550, 554]),
    how=st.sampled_from(HOW),
    cut=cutters(),
)
def test_a_verdict_for_each_accepted_recipient_in_order_and_one_for_all(
    accepted: list[bool], codes: list[int], final: int, how: str, cut: Cutter
):
    pair = Pair(features=PRDR, cut=cut)
    taken = transaction(pair, accepted, how=how)
    codes = codes[: len(taken)]
    if min(codes) >= 400:  # the draft, 4.5.3: then the one for all is negative too
        final = max(final, 450)
    block = [ANNOUNCED, *(Reply(code=code, text="one") for code in codes), Reply(code=final, text="all")]
    states = (State.DATA, State.CHUNK)
    for reply in block:
        assert pair.server.state in states
        pair.server.send(reply)
    assert pair.server.state is State.READY
    heard = pair.client_events()

    assert heard == block
    assert [reply.recipient for reply in heard] == [None, *taken, None]
    assert {reply.to for reply in heard} == {EndOfMessage()}
    assert pair.client.state is State.READY
    assert pair.client.outstanding == 0
    assert pair.client.mail is pair.server.mail is None
    with pytest.raises(LocalProtocolError):
        pair.server.send(OK)
    assert pair.server.data_to_send() == b""
    # the next one is not touched by it
    assert transaction(pair, [False, True], prdr=False) == ["r1@b.example"]
    assert pair.say(OK).recipient is None
    assert pair.client.state is pair.server.state is State.READY


def test_a_single_reply_may_stand_instead_of_the_block():
    for how in HOW:
        for code in (250, 450, 452, 550, 552, 554):
            pair = Pair(features=PRDR)
            transaction(pair, [True, False, True], how=how)
            reply = pair.say(Reply(code=code))
            assert (reply.code, reply.to, reply.recipient) == (code, EndOfMessage(), None)
            assert pair.client.state is pair.server.state is State.READY
            assert pair.client.outstanding == 0
            with pytest.raises(LocalProtocolError):
                pair.server.send(OK)


def test_one_transaction_tells_nothing_about_the_next():
    pair = Pair(features=PRDR)
    for recipients in (3, 1, None, 2, None, 3):
        taken = transaction(pair, [True, False, True] if recipients == 2 else [True] * (recipients or 2))
        block = [OK] if recipients is None else [ANNOUNCED, *([OK] * recipients), OK]
        heard = [pair.say(reply).recipient for reply in block]
        assert heard == ([None] if recipients is None else [None, *taken, None])
        assert pair.client.state is pair.server.state is State.READY


def test_the_timer_for_each_verdict_is_that_of_the_final_dot():
    for how in HOW:
        pair = Pair(features=PRDR)
        transaction(pair, [True, True], how=how)
        for reply in (ANNOUNCED, OK, OK, OK):
            assert pair.client.timer is Timer.DATA_DONE
            assert pair.client.timer.seconds >= 600
            pair.say(reply)
        assert pair.client.timer is Timer.COMMAND


def test_nothing_is_said_between_the_verdicts_but_what_was_said_before_comes_through():
    pair = Pair(features=PRDR)
    transaction(pair, [True, True])
    pair.client.send(Mail(reverse_path="next@b.example"))
    wire = pair.client.data_to_send()
    assert feed(pair.server, wire) == []  # it waits for the verdicts
    for reply in (ANNOUNCED, OK, Reply(code=550), OK):
        pair.server.send(reply)
    (heard,) = drain(pair.server)
    assert heard == Mail(reverse_path="next@b.example")
    pair.server.send(OK)
    *verdicts, last = pair.client_events()
    assert [reply.recipient for reply in verdicts] == [None, "r0@b.example", "r1@b.example", None]
    assert last.to == Mail(reverse_path="next@b.example")
    assert pair.client.state is pair.server.state is State.MAIL


def assert_353_is_wrong(pair: Pair) -> None:
    """The server does not say it, and a client that hears it reads no more."""
    before = snapshot(pair.server)
    with pytest.raises(LocalProtocolError):
        pair.server.send(ANNOUNCED)
    assert snapshot(pair.server) == before
    assert pair.server.data_to_send() == b""
    pair.client.receive_data(b"353 content analysis has started\r\n")
    with pytest.raises(RemoteProtocolError):
        pair.client.next_event()


def test_353_is_wrong_without_prdr_and_twice_and_anywhere_else():
    for how in HOW:
        pair = Pair(features=PRDR)
        transaction(pair, [True], how=how, prdr=False)
        assert_353_is_wrong(pair)
        pair.server.send(OK)
        assert pair.server.state is State.READY

        for said_before in range(1, 4):  # 353, and the verdicts
            pair = Pair(features=PRDR)
            transaction(pair, [True, True], how=how)
            for reply in (ANNOUNCED, OK, OK)[:said_before]:
                pair.say(reply)
            assert_353_is_wrong(pair)

        pair = Pair(features=PRDR)  # with PRDR in the transaction before
        transaction(pair, [True], how=how)
        for reply in (ANNOUNCED, OK, OK):
            pair.say(reply)
        transaction(pair, [True], how=how, prdr=False)
        assert_353_is_wrong(pair)

    commands = (Noop(), Rset(), Rcpt(forward_path="b@b.example"), Data(), Bdat(size=0))
    for command in commands:
        pair = with_recipient(PRDR, "PRDR")
        pair.client.send(command)
        pair.server_events()
        assert_353_is_wrong(pair)


def test_353_is_wrong_in_lmtp_where_there_is_a_verdict_for_each_recipient_anyway():
    for prdr in (True, False):
        pair = Pair(features=PRDR, lmtp=True)
        taken = transaction(pair, [True, False, True], prdr=prdr)
        assert_353_is_wrong(pair)
        pair = Pair(features=PRDR, lmtp=True)
        transaction(pair, [True, False, True], prdr=prdr)
        assert [pair.say(reply).recipient for reply in (OK, Reply(code=550))] == taken
        assert pair.client.state is pair.server.state is State.READY


def test_353_is_wrong_where_no_recipient_was_accepted():
    client = ClientConnection(features=PRDR)
    client.send(Mail(reverse_path="", parameters={"PRDR": True}))
    client.send(Rcpt(forward_path="a@b.example"))
    client.send(Data())
    feed(client, b"250 ok\r\n550 no\r\n354 go on\r\n")
    client.send(EndOfMessage())
    client.receive_data(b"353 content analysis has started\r\n")
    with pytest.raises(RemoteProtocolError):
        client.next_event()


def test_a_message_that_must_be_refused_is_refused_at_once():
    pair = Pair(features=PRDR, server=ServerConnection(limits=Limits(message_size=2)))
    transaction(pair, [True, True])
    with pytest.raises(LocalProtocolError):
        pair.server.send(ANNOUNCED)
    assert pair.server.data_to_send() == b""
    assert pair.say(Reply(code=552)).recipient is None
    assert pair.client.state is pair.server.state is State.READY


def test_421_in_the_middle_of_the_verdicts_closes():
    closing = Reply(code=421, enhanced="4.3.2", text="going down")
    for how in HOW:
        for before in range(5):
            pair = Pair(features=PRDR)
            transaction(pair, [True, True], how=how)
            for reply in (ANNOUNCED, OK, OK)[:before]:
                pair.say(reply)
            reply = pair.say(closing)
            assert reply == closing
            assert pair.client.state is pair.server.state is State.CLOSED
            assert pair.client.outstanding == 0
            with pytest.raises(LocalProtocolError):
                pair.server.send(OK)
            assert_not_sent(pair.client, Noop())


def test_a_3yz_that_is_no_353_is_no_verdict():
    for before in range(3):
        for code in (354, 334, 350):
            pair = Pair(features=PRDR)
            transaction(pair, [True, True])
            for reply in (ANNOUNCED, OK)[:before]:
                pair.say(reply)
            with pytest.raises(LocalProtocolError):
                pair.server.send(Reply(code=code))
            pair.client.receive_data(b"%d what\r\n" % code)
            with pytest.raises(RemoteProtocolError):
                pair.client.next_event()


def test_prdr_takes_no_part_where_it_was_refused_with_its_mail():
    pair = Pair(features=PRDR)
    pair.ask(Mail(reverse_path="", parameters={"PRDR": True}), Reply(code=451))
    transaction(pair, [True, True], prdr=False)
    assert_353_is_wrong(pair)


# What the texts say between the lines

_ADDRESS = "MAIL FROM:<a@b.example>"
_RECIPIENT = "RCPT TO:<a@b.example>"
FINER_POINTS: list[tuple[Features, str, tuple[int, str | None] | None, str]] = [
    # offer, line, the code and enhanced code that is due (None: any) or None if it is to be taken, why
    (GENEROUS, f"{_ADDRESS} MT-PRIORITY=1 MT-PRIORITY=1", (501, "5.5.2"), "RFC 6710 4.1: twice is 5.5.2 too"),
    (GENEROUS, f"{_ADDRESS} MT-PRIORITY", (501, "5.5.2"), "RFC 6710 4.1: no value is 5.5.2 too"),
    (GENEROUS, f"{_RECIPIENT} BODY=BINARYMIME", (555, "5.5.4"), "RFC 3030 3: BODY is a parameter of MAIL"),
    # RFC 4954 8: decoded, it MUST be a mailbox or <>; a user of Dovecot need be none
    (GENEROUS, f"{_ADDRESS} AUTH=foo", None, "RFC 4954 5: what is not trusted is taken for <>"),
    (GENEROUS, f"{_ADDRESS} AUTH=a@b@c", None, "RFC 4954 5: what is not trusted is taken for <>"),
    (
        GENEROUS,
        f"{_ADDRESS} SMTPUTF8 AUTH=+C3+A4@b.example",
        None,
        "RFC 4954 8: non-US-ASCII is allowed as hexchar; RFC 6531 3.3: such a mailbox is one",
    ),
    (
        STRICT,
        f"{_ADDRESS} HOLDUNTIL=2030-01-01T00:00:00.5Z",
        (501, "5.5.4"),
        "RFC 4865 4.2 (8): half a second later than the maximum MUST be refused",
    ),
    (
        GENEROUS,
        rf"{_RECIPIENT} ORCPT=utf-8;\x{{41}}@b",
        (501, None),
        "RFC 6533 3: no HEXPOINT below 80 but CTLs",
    ),
    (
        GENEROUS,
        rf"{_RECIPIENT} ORCPT=utf-8;\x{{0000E4}}@b",
        (501, None),
        "RFC 6533 3: no zeros before HEXPOINT",
    ),
    (EXTENSIONS, "ETRN", (500, None), "RFC 1985 7: without a node it is 500"),
    (
        EXTENSIONS,
        "XCLIENT NAME=" + "n" * 256,
        (501, "5.5.4"),
        "XCLIENT_README: NAME has at most 255 characters",
    ),
    (EXTENSIONS, "XCLIENT PORT=smtp", (501, "5.5.4"), "XCLIENT_README: PORT is a decimal number"),
    (EXTENSIONS, "XCLIENT ADDR=[192.0.2.1]", (501, "5.5.4"), "XCLIENT_README: ADDR is not enclosed with []"),
    (EXTENSIONS, "XFORWARD IDENT=" + "i" * 256, (501, "5.5.4"), "XFORWARD_README: at most 255 characters"),
    (EXTENSIONS, "XFORWARD SOURCE=ELSEWHERE", (501, "5.5.4"), "XFORWARD_README: SOURCE is LOCAL or REMOTE"),
    (
        Features({"XCLIENT": ("REVERSE_NAME",)}),
        "XCLIENT REVERSE_NAME=a.example",
        None,
        "Postfix's smtpd.c knows REVERSE_NAME; an underscore is no part of a name here",
    ),
]


@every(
    ("offer", "line", "expected"),
    [pytest.param(*row[:3], id=row[3]) for row in FINER_POINTS],
)
def test_a_server_judges_as_the_text_says(
    offer: Features, line: str, expected: tuple[int, str | None] | None
):
    answer = refusal(session(offer), line.encode())
    if expected is not None and answer is not None:
        assert answer[0] == expected[0]
        assert expected[1] in (None, answer[1])
    else:
        assert answer is expected


def test_a_client_does_not_say_binarymime_on_rcpt():
    assert_not_sent(client_for("RCPT", GENEROUS), command_of, "RCPT", {"BODY": "BINARYMIME"})


def test_a_client_names_nobody_in_auth_but_a_mailbox():
    assert_not_sent(client_for("MAIL", GENEROUS), command_of, "MAIL", {"AUTH": "nobody"})


def test_a_client_sends_no_8_bit_orcpt_to_a_server_without_smtputf8():
    client = client_for("RCPT", Features({"PIPELINING": (), "DSN": ()}))
    assert_not_sent(client, parsed, "RCPT", "ORCPT=utf-8;ä@b.example")


@pytest.mark.parametrize("words", ["RCPTMAX=5 A;B=3", "RCPTMAX=5 =3", "RCPTMAX=5 X=a;b", "RCPTMAX=5 A.B"])
def test_limits_with_bad_syntax_are_ignored_in_their_entirety(words: str):
    assert Features.from_lines([f"LIMITS {words}"]).limits == {}


def test_353_has_one_line():
    pair = Pair(features=PRDR)
    transaction(pair, [True])
    with pytest.raises(LocalProtocolError):
        pair.server.send(Reply(code=353, lines=["a", "b"]))


def test_353_is_wrong_where_only_the_transaction_before_asked_for_it():
    pair = Pair(features=PRDR)
    transaction(pair, [True])
    pair.say(OK)
    client = pair.client
    for command in (Mail(reverse_path=""), Rcpt(forward_path="b@b.example"), Data()):
        client.send(command)
    feed(client, b"550 no\r\n503 no\r\n354 go on\r\n")
    client.send(EndOfMessage())
    client.receive_data(b"353 content analysis has started\r\n")
    with pytest.raises(RemoteProtocolError):
        client.next_event()


@pytest.mark.parametrize(
    "parse", [lambda octets: octets.decode(), {b"low": 1}.__getitem__], ids=["decode", "dict"]
)
def test_a_private_parse_that_did_not_expect_this_value_refuses_it(
    taxed: Callable[..., None], parse: Callable[[Any], Any]
):
    taxed(parse)
    assert refusal(session(), line_of("RCPT", "XTAX")) == (501, "5.5.4")
