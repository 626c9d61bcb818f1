"""What servers offer is read whatever its form, and each parameter of MAIL and RCPT has one typed value."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from copy import copy
from typing import Any

import pytest
from helpers import every
from hypothesis import given
from hypothesis import strategies as st

from smtp_proto import (
    DeliverBy,
    Features,
    LocalProtocolError,
    Mail,
    OriginalRecipient,
    Parameters,
    Rcpt,
    ValidSince,
)
from smtp_proto._parameter_table import PARAMETERS
from smtp_proto._parameters import keyword_for, parse_parameters

KEYWORDS = st.from_regex(r"[A-Z0-9][A-Z0-9-]{0,8}", fullmatch=True)
WORDS = st.text([chr(point) for point in range(0x21, 0x7F)], min_size=1, max_size=6)

# EHLO


@every(
    ("lines", "features"),
    [
        ([], {}),
        (["SIZE 1000", "pipelining"], {"SIZE": ("1000",), "PIPELINING": ()}),
        (["8bitMIME"], {"8BITMIME": ()}),
        ([" SIZE  1000 "], {"SIZE": ("1000",)}),
        (["PIPELINING   "], {"PIPELINING": ()}),
        (["SIZE=1000"], {"SIZE": ("1000",)}),
        (["X-Foo Bar=baz =qux"], {"X-FOO": ("Bar=baz", "=qux")}),
        (["SIZE 1", "SIZE 2"], {"SIZE": ("2",)}),
        (["SIZE 1", "SIZE"], {"SIZE": ()}),
        (["HELP STARTTLS"], {"HELP": ("STARTTLS",)}),
        (["XSTARTTLS"], {"XSTARTTLS": ()}),
        # AUTH: all lines together, once each
        (["AUTH PLAIN LOGIN"], {"AUTH": ("PLAIN", "LOGIN")}),
        (["AUTH=PLAIN LOGIN"], {"AUTH": ("PLAIN", "LOGIN")}),
        (["AUTH PLAIN LOGIN", "AUTH=LOGIN PLAIN"], {"AUTH": ("PLAIN", "LOGIN")}),
        (["AUTH=PLAIN", "AUTH LOGIN", "auth GSSAPI"], {"AUTH": ("PLAIN", "LOGIN", "GSSAPI")}),
        (["AUTH PLAIN", "AUTH"], {"AUTH": ("PLAIN",)}),
        (["AUTH =PLAIN"], {"AUTH": ("=PLAIN",)}),
        # lines that are none, and the others all the same
        (["", " ", "-SIZE", "=SIZE", "SIZE\t5", "\x0cSIZE", "ÄSIZE", "HELP"], {"HELP": ()}),
        (["AUTH=", "SIZE= 5", "SIZE,5", "SIZE ²", "SIZE \udc80", "ſIZE", "HELP"], {"HELP": ()}),
    ],
)
def test_the_lines_of_an_ehlo_reply_are_read_whatever_their_form(
    lines: list[str], features: dict[str, tuple[str, ...]]
):
    assert Features.from_lines(lines) == features


@given(lines=st.lists(st.binary(max_size=12) | st.text(max_size=12).map(str.encode)))
def test_no_line_of_an_ehlo_reply_can_do_harm(lines: list[bytes]):
    features = Features.from_lines([line.decode("utf-8", "surrogateescape") for line in lines])
    assert Features(features) == features
    assert all(keyword.isascii() and keyword == keyword.upper() for keyword in features)
    assert all(mechanism.isascii() for mechanism in features.auth)
    for value in (features.size, *features.limits.values()):
        assert value is None or 0 <= value < 10**20


@given(offered=st.dictionaries(KEYWORDS, st.lists(WORDS, max_size=3, unique=True)))
def test_what_a_server_offers_comes_back_from_its_lines(offered: dict[str, list[str]]):
    features = Features(offered)
    assert features == {keyword: tuple(words) for keyword, words in offered.items()}
    assert Features.from_lines(features.lines) == features
    assert hash(Features.from_lines(features.lines)) == hash(features)


@every(
    "offered",
    [
        {"": ()},
        {" ": ()},
        {" SIZE": ()},
        {"SIZE ": ()},
        {"SIZE 5": ()},
        {"AUTH=PLAIN": ()},
        {"-X": ()},
        {"X_Y": ()},
        {"É": ()},
        {"SIZE": ("",)},
        {"SIZE": ("1 2",)},
        {"SIZE": ("a b", "")},
        {"SIZE": ("5\r\nX",)},
        {"SIZE": ("5\t",)},
        {"SIZE": ("²",)},
        {"SIZE\n": ()},
        {"SIZE": ("\x7f",)},
        {"SIZE": ("\udc80",)},
        {"SIZE": "100"},
    ],
)
def test_what_is_no_keyword_or_no_word_cannot_be_offered(offered: dict[str, tuple[str, ...]]):
    with pytest.raises(LocalProtocolError):
        Features(offered)


def test_keywords_are_offered_in_upper_case_and_words_as_they_are():
    features = Features({"auth": ("plain", "LOGIN", "PLAIN"), "Size": ("7",)})
    assert features == {"AUTH": ("plain", "LOGIN", "PLAIN"), "SIZE": ("7",)}
    assert features.auth == ("PLAIN", "LOGIN")
    assert (features.size, len(features), "SIZE" in features, "size" in features) == (7, 2, True, False)
    assert Features().auth == ()
    assert repr(features) == "{'AUTH': ('plain', 'LOGIN', 'PLAIN'), 'SIZE': ('7',)}"


@every(
    ("word", "size"),
    [
        ("1", 1),
        ("010", 10),
        ("9" * 20, 10**20 - 1),
        ("0", None),
        ("000", None),
        ("+1", None),
        ("-1", None),
        ("1_0", None),
        ("1.0", None),
        ("1e3", None),
        ("0x10", None),
        ("unlimited", None),
        ("9" * 21, None),
        ("1" * 400, None),
        ("1" * 5000, None),
    ],
)
def test_a_size_is_one_to_twenty_digits(word: str, size: int | None):
    assert Features({"SIZE": (word,)}).size == size
    assert Features({"SIZE": (word, "7")}).size == size


@pytest.mark.parametrize("value", ["1", "999999"])
def test_a_limit_is_one_to_six_digits(value: str):
    offered = Features({"LIMITS": (f"rcptmax={value}", "MAILMAX=5", "X_Y=7", "X=y")})
    assert offered.limits == {"RCPTMAX": int(value), "MAILMAX": 5, "X_Y": 7}


@every(
    "words",
    [
        (),
        *[
            (word,)
            for word in (
                *("RCPTMAX", "RCPTMAX=", "=5", "RCPTMAX=5=6", "RCPTMAX=0", "RCPTMAX=05", "RCPTMAX=1000000"),
                *("RCPTMAX=+5", "RCPTMAX=-1", "RCPTMAX=1_0", "RCPTMAX=five", "RCPTMAX=" + "1" * 5000),
            )
        ],
    ],
)
def test_limits_that_are_malformed_or_missing_are_left_out(words: tuple[str, ...]):
    assert "RCPTMAX" not in Features({"LIMITS": words}).limits
    assert Features().limits == {}
    assert Features().size is None
    assert Features({"SIZE": ()}).size is None


# Parameters of MAIL and RCPT

LEGAL: list[tuple[str, str, Any, str, Any]] = [
    # command, name, value as given, value on the wire, value as received
    ("MAIL", "SIZE", 0, "=0", 0),
    ("MAIL", "SIZE", 10**20 - 1, "=" + "9" * 20, 10**20 - 1),
    ("MAIL", "SIZE", "007", "=007", 7),
    ("MAIL", "BODY", "7BIT", "=7BIT", "7BIT"),
    ("MAIL", "BODY", "8bitmime", "=8bitmime", "8BITMIME"),
    ("MAIL", "BODY", "BINARYMIME", "=BINARYMIME", "BINARYMIME"),
    ("MAIL", "SMTPUTF8", True, "", True),
    ("MAIL", "REQUIRETLS", True, "", True),
    ("MAIL", "AUTH", "", "=<>", ""),
    ("MAIL", "AUTH", "<>", "=<>", ""),
    ("MAIL", "AUTH", "ä@b.example", "=+C3+A4@b.example", "ä@b.example"),
    ("MAIL", "AUTH", "e+mc2=a@b.example", "=e+2Bmc2+3Da@b.example", "e+mc2=a@b.example"),
    ("MAIL", "RET", "HDRS", "=HDRS", "HDRS"),
    ("MAIL", "RET", "full", "=full", "FULL"),
    ("MAIL", "ENVID", "QQ314159 +", "=QQ314159+20+2B", "QQ314159 +"),
    ("RCPT", "NOTIFY", ("NEVER",), "=NEVER", ("NEVER",)),
    ("RCPT", "NOTIFY", ["success", "DELAY"], "=success,DELAY", ("SUCCESS", "DELAY")),
    (
        "RCPT",
        "NOTIFY",
        ("DELAY", "FAILURE", "SUCCESS"),
        "=DELAY,FAILURE,SUCCESS",
        ("DELAY", "FAILURE", "SUCCESS"),
    ),
    ("RCPT", "ORCPT", ("RFC822", "a b@c.example"), "=RFC822;a+20b@c.example", ("rfc822", "a b@c.example")),
    ("RCPT", "ORCPT", OriginalRecipient("utf-8", "ä@b"), r"=utf-8;\x{E4}@b", ("utf-8", "ä@b")),
    ("RCPT", "ORCPT", ("x400", "/C=de/"), "=x400;/C+3Dde/", ("x400", "/C=de/")),
    ("MAIL", "BY", (120, "R"), "=120;R", DeliverBy(120, "R")),
    ("MAIL", "BY", DeliverBy(-5, "n", True), "=-5;nT", (-5, "N", True)),
    ("MAIL", "BY", (999999999, "N", False), "=999999999;N", (999999999, "N", False)),
    ("MAIL", "HOLDFOR", 1, "=1", 1),
    ("MAIL", "HOLDFOR", "999999999", "=999999999", 999999999),
    ("MAIL", "HOLDUNTIL", "2026-11-23T10:00:00Z", "=2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"),
    (
        "MAIL",
        "HOLDUNTIL",
        "2024-02-29t23:59:60.25+01:30",
        "=2024-02-29t23:59:60.25+01:30",
        "2024-02-29t23:59:60.25+01:30",
    ),
    ("MAIL", "MT-PRIORITY", -9, "=-9", -9),
    ("MAIL", "MT-PRIORITY", "0", "=0", 0),
    ("MAIL", "SOLICIT", ["net.example:ADV", "a"], "=net.example:ADV,a", ("net.example:ADV", "a")),
    ("MAIL", "PRDR", True, "", True),
    ("RCPT", "RRVS", ("2014-04-03T23:01:00Z",), "=2014-04-03T23:01:00Z", ("2014-04-03T23:01:00Z", None)),
    (
        "RCPT",
        "RRVS",
        ValidSince("2014-04-03T23:01:00-01:00", "c"),
        "=2014-04-03T23:01:00-01:00;c",
        ("2014-04-03T23:01:00-01:00", "C"),
    ),
    # the names of nobody
    ("MAIL", "XFOO", True, "", True),
    ("MAIL", "XFOO", "bar<ä>;", "=bar<ä>;", "bar<ä>;"),
    ("RCPT", "XFOO", "bar", "=bar", "bar"),
    ("RCPT", "SIZE", "5", "=5", "5"),
]

ILLEGAL: list[tuple[str, str, Any]] = [
    *[("MAIL", "SIZE", value) for value in (-1, 1.5, True, None, "", "²", "+1", "1_0", 10**20, b"1")],
    *[("MAIL", "BODY", value) for value in ("8BIT", "", None, True, "8BITMIME ", "8bıtmime", ("7BIT",))],
    *[("MAIL", name, value) for name in ("SMTPUTF8", "REQUIRETLS") for value in (False, None, "", "x", 1)],
    *[
        ("MAIL", "AUTH", value)
        for value in ("foo", "postmaster", "a@b@c", "a\r\n", "a\0", None, False, True, 0, 5)
    ],
    *[("MAIL", "RET", value) for value in ("", "BOTH", "FULL,HDRS", None, True)],
    *[("MAIL", "ENVID", value) for value in ("", "ä", "a\nb", "\x7f", None, True, 5)],
    *[
        ("RCPT", "NOTIFY", value)
        for value in (
            (),
            ("",),
            ("NEVER", "DELAY"),
            ("DELAY", "delay"),
            ("ALWAYS",),
            "NEVER",
            None,
            True,
            (5,),
        )
    ],
    *[
        ("RCPT", "ORCPT", value)
        for value in (
            ("rfc822", ""),
            ("", "a@b"),
            ("a b", "a@b"),
            ("rfc822", "ä@b"),
            ("utf-8", "a\r\n"),
            ("utf-8", "\x85"),
            ("utf-8", "\ud800"),
            ("x" * 41, "a@b"),
            ("ä", "a@b"),
            ("rfc822",),
            "a@b",
            None,
            True,
            (5, 5),
        )
    ],
    *[
        ("MAIL", "BY", value)
        for value in (
            *(
                (0, "R"),
                (-1, "R"),
                (1, "X"),
                (1, ""),
                (10**9, "N"),
                (1.5, "N"),
                (True, "N"),
                (None, "N"),
                (1,),
            ),
            *((True, "N"), ("+ 1", "N"), (1, "N\r"), (1, "N", False, 1), "1;N", 5, None, True),
        )
    ],
    *[("MAIL", "HOLDFOR", value) for value in (0, -1, 10**9, "01", "+1", "", 1.5, True, None)],
    *[("MAIL", "HOLDUNTIL", value) for value in ("", "tomorrow", "2026-02-29T00:00:00Z", 5, None, True)],
    *[("MAIL", "MT-PRIORITY", value) for value in (10, -10, "-0", "+3", "03", "", 1.5, True, None)],
    *[
        ("MAIL", "SOLICIT", value)
        for value in ((), ("",), ("1a",), ("a b",), ("a", ""), ("ä",), 5, None, True)
    ],
    *[("MAIL", "SOLICIT", value) for value in (("a" * 1001,), ("a,b", "c,"), ("a\r\n",))],
    *[("MAIL", "PRDR", value) for value in (False, None, "", "x", 1)],
    *[
        ("RCPT", "RRVS", value)
        for value in (
            *(
                ("2014-04-03T23:01:00.5Z",),
                ("2014-04-03T23:01:00",),
                ("2014-04-03T23:01:00Z", "X"),
                ("", "C"),
            ),
            *("2014-04-03T23:01:00Z", (), 5, None, True),
        )
    ],
    *[("MAIL", "XFOO", value) for value in ("", " ", "a b", "a=b", "a\r\n", "\0", "\x85", "\ud800", 5, None)],
    *[
        ("MAIL", name, True)
        for name in ("", " ", "X Y", "-X", "X_Y", "X>", "X\r\nRSET", "É", "SIZE=5", "XFOO=x")
    ],
]

ILLEGAL_OCTETS = [
    # command, parameter
    ("MAIL", b"SIZE"),
    ("MAIL", b"SIZE="),
    ("MAIL", b"SIZE=abc"),
    ("MAIL", b"SIZE=-1"),
    ("MAIL", b"SIZE=\xc2\xb2"),
    ("MAIL", b"SIZE=" + b"1" * 21),
    ("MAIL", "ſIZE=1".encode()),
    ("MAIL", b"BODY"),
    ("MAIL", b"BODY=\xff"),
    ("MAIL", "BODY=8BITMıME".encode()),
    ("MAIL", b"SMTPUTF8=yes"),
    ("MAIL", b"REQUIRETLS=1"),
    ("MAIL", b"AUTH"),
    ("MAIL", b"AUTH=a+0A"),
    ("MAIL", b"AUTH=a+4"),
    ("MAIL", b"RET=NONE"),
    ("MAIL", b"ENVID"),
    ("MAIL", b"ENVID=+0D+0A"),
    *[
        ("MAIL", b"BY" + value)
        for value in (b"", b"=", b"=1", b"=;N", b"=1;N;T", b"=1;RR", b"=0;R", b"=1;NTT")
    ],
    *[("MAIL", b"BY" + value) for value in (b"=1234567890;N", b"=--1;N", b"=1;", b"=\xff;N")],
    *[
        ("MAIL", b"HOLDFOR" + value)
        for value in (b"", b"=", b"=0", b"=007", b"=1234567890", b"=1s", b"=\xff")
    ],
    *[("MAIL", b"HOLDUNTIL" + value) for value in (b"", b"=2026", b"=2026-11-23", b"=\xff", b"=+0A")],
    *[("MAIL", b"MT-PRIORITY" + value) for value in (b"", b"=", b"=-0", b"=+1", b"=10", b"=\xff")],
    *[("MAIL", b"SOLICIT" + value) for value in (b"", b"=", b"=,", b"=a,", b"=a,,b", b"=1", b"=\xff")],
    *[("MAIL", b"PRDR" + value) for value in (b"=", b"=1")],
    *[("RCPT", b"RRVS" + value) for value in (b"", b"=", b"=;C", b"=2014-04-03T23:01:00Z;", b"=x;R")],
    ("MAIL", b"ENVID=" + b"x" * 101),
    ("RCPT", b"ORCPT=rfc822;" + b"x" * 494),
    ("MAIL", b"X=\xff"),
    ("MAIL", "X=\x85".encode()),
    ("MAIL", b"=x"),
    ("MAIL", b"X=a=b"),
    ("RCPT", b"NOTIFY"),
    ("RCPT", b"NOTIFY=NEVER,"),
    ("RCPT", b"NOTIFY=,DELAY"),
    ("RCPT", b"NOTIFY=DELAY,DELAY"),
    ("RCPT", b"NOTIFY=\xff"),
    ("RCPT", b"ORCPT"),
    ("RCPT", b"ORCPT=a@b"),
    ("RCPT", b"ORCPT=;a@b"),
    ("RCPT", b"ORCPT=rfc822;"),
    ("RCPT", b"ORCPT=rfc822;a+0Ab"),
    ("RCPT", b"ORCPT=rfc822;\xc3\xa4"),
    ("RCPT", rb"ORCPT=utf-8;\x{0A}"),
    ("RCPT", b"ORCPT=utf-8;\xff"),
]


def command(verb: str, parameters: Mapping[str, Any]) -> Mail | Rcpt:
    if verb == "MAIL":
        return Mail(reverse_path="a@b.example", parameters=parameters)
    return Rcpt(forward_path="a@b.example", parameters=parameters)


def test_every_parameter_is_in_the_tables_of_this_test():
    for table in (LEGAL, ILLEGAL):
        assert {(verb, name) for verb, name, *_ in table} >= set(PARAMETERS)


@every(("verb", "name", "given", "wire", "received"), LEGAL)
def test_a_parameter_round_trips(verb: str, name: str, given: Any, wire: str, received: Any):
    word = Parameters(verb, {name: given}).text[1:]
    assert word == name + wire
    parameters = parse_parameters(verb, (name.lower() + wire).encode(), 1)
    assert parameters == {name: received}
    assert (
        parse_parameters(verb, Parameters(verb, {name: parameters[name]}).text[1:].encode(), 1) == parameters
    )

    message = command(verb, {name.lower(): given})
    assert message.parameters == parameters
    assert command(verb, message.parameters) == message


def test_a_value_that_a_parameter_cannot_have_is_refused():
    for verb, name, value in ILLEGAL:
        with pytest.raises(LocalProtocolError):
            command(verb, {name: value})


def test_a_number_too_long_to_be_shown_is_refused_like_any_other():
    with pytest.raises(LocalProtocolError):
        Mail(reverse_path="", parameters={"SIZE": 10**5000})


def test_a_parameter_that_is_malformed_is_refused():
    for verb, octets in ILLEGAL_OCTETS:
        with pytest.raises(LocalProtocolError) as refused:
            parse_parameters(verb, octets, 99)
        assert 500 <= refused.value.code < 600, octets


@given(
    name=st.text(st.characters(), max_size=5),
    value=st.text(st.characters(), max_size=5) | st.just(True),
    verb=st.sampled_from(["MAIL", "RCPT"]),
)
def test_any_text_in_a_parameter_is_refused_or_is_one_word_that_comes_back(
    name: str, value: str | bool, verb: str
):
    try:
        word = Parameters(verb, {name: value}).text[1:]
    except LocalProtocolError:
        return
    assert len(word.split()) == 1
    assert parse_parameters(verb, word.encode(), 1) == {name.upper(): value}


@pytest.mark.parametrize("twice", ["X X", "SIZE=1 SIZE=1", "SIZE=1 size=2", "BODY=7BIT RET=FULL BODY=7BIT"])
def test_a_parameter_given_twice_is_refused(twice: str):
    with pytest.raises(LocalProtocolError, match="twice"):
        parse_parameters("MAIL", twice.encode(), 99)
    with pytest.raises(LocalProtocolError, match="twice"):
        Mail(reverse_path="", parameters={"SIZE": 1, "size": 2})


def test_the_number_of_parameters_is_limited_exactly():
    words = b" ".join(b"X%d" % number for number in range(5))
    assert len(parse_parameters("MAIL", words, 5)) == 5
    with pytest.raises(LocalProtocolError, match="more than 4"):
        parse_parameters("MAIL", words, 4)


@every(("octets", "text"), [(b"  ", ""), (b" SIZE=5  RET=FULL ", " SIZE=5 RET=FULL")])
def test_blanks_that_part_no_words_are_not_said_again(octets: bytes, text: str):
    assert parse_parameters("MAIL", octets, 2).text == text


@every(
    ("verb", "name", "value", "keyword"),
    [
        *[(verb, name, None, entry.keyword) for (verb, name), entry in PARAMETERS.items()],
        ("MAIL", "BODY", "BINARYMIME", "BINARYMIME"),
        ("MAIL", "BODY", "8BITMIME", "8BITMIME"),
        ("MAIL", "XFOO", "3", "XFOO"),
        ("MAIL", "RRVS", "x", None),
        ("RCPT", "SIZE", "5", None),
        ("MAIL", "NOTIFY", "NEVER", None),
    ],
)
def test_each_parameter_needs_the_keyword_of_its_extension(
    verb: str, name: str, value: Any, keyword: str | None
):
    assert keyword_for(verb, name, value) == keyword


def test_parameters_are_a_value():
    one, other = (Mail(reverse_path="", parameters={"SIZE": 5, "RET": "FULL"}) for _ in range(2))
    assert one.parameters == other.parameters == {"RET": "FULL", "SIZE": 5}
    assert hash(one.parameters) == hash(other.parameters)
    assert isinstance(one.parameters, Parameters)
    assert list(one.parameters) == ["SIZE", "RET"]
    for twin in (copy(one.parameters), pickle.loads(pickle.dumps(one.parameters))):
        assert (twin, twin.verb, twin.text) == (one.parameters, "MAIL", " SIZE=5 RET=FULL")


def test_parameters_are_read_from_a_text():
    options = Parameters.from_text("MAIL", " BODY=8BITMIME smtputf8  X-ODD=1")
    assert options == {"BODY": "8BITMIME", "SMTPUTF8": True, "X-ODD": "1"}
    assert options.verb == "MAIL"
    assert Parameters.from_text("RCPT", "") == {}
    for text in ("=", "SIZE=a", "BODY=7BIT BODY=7BIT", "X=\r\nRSET", " ".join(f"X{n}" for n in range(33))):
        with pytest.raises(LocalProtocolError):
            Parameters.from_text("MAIL", text)
