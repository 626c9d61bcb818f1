"""An address is what RFC 5321 calls a Mailbox or Path, it is what it was spelled as, and it hides nothing."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy

import pytest
from helpers import every
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_proto import LocalProtocolError, Path
from smtp_proto import _grammar as grammar
from smtp_proto._addresses import (
    are_plain,
    utf8_xtext_decode,
    utf8_xtext_encode,
    xtext_decode,
    xtext_encode,
)
from smtp_proto.testing.strategies import mailboxes

LABEL_63 = "a" * 63
DOMAIN_255 = ".".join([LABEL_63] * 4)
CONTROLS = [chr(point) for point in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)]

LEGAL = [
    # text, local part, domain
    ("alice@example.com", "alice", "example.com"),
    ("Alice@Example.COM", "Alice", "Example.COM"),
    ("a@b", "a", "b"),
    ("a.b.c@example.com", "a.b.c", "example.com"),
    ("!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~", "example.com"),
    ("0@0", "0", "0"),
    ("a@1.2.3.4", "a", "1.2.3.4"),
    ("a@b-c.d--e.f0", "a", "b-c.d--e.f0"),
    ("a" * 65 + "@example.com", "a" * 65, "example.com"),
    ("a@" + DOMAIN_255, "a", DOMAIN_255),
    # Quoted-string
    ('""@example.com', "", "example.com"),
    ('"alice"@example.com', "alice", "example.com"),
    ('" "@example.com', " ", "example.com"),
    ('"a b@c>d,e"@example.com', "a b@c>d,e", "example.com"),
    ('"v@evil> ORCPT=x"@good.example', "v@evil> ORCPT=x", "good.example"),
    (r'"\""@example.com', '"', "example.com"),
    (r'"\\"@example.com', "\\", "example.com"),
    (r'"\a\ \@"@example.com', "a @", "example.com"),
    (r'"a..b."@example.com', "a..b.", "example.com"),
    # Address-literal
    ("a@[127.0.0.1]", "a", "[127.0.0.1]"),
    ("a@[255.255.255.255]", "a", "[255.255.255.255]"),
    ("a@[IPv6:::1]", "a", "[IPv6:::1]"),
    ("a@[ipv6:2001:db8::8:800:200c:417a]", "a", "[ipv6:2001:db8::8:800:200c:417a]"),
    ("a@[IPv6:::ffff:192.0.2.1]", "a", "[IPv6:::ffff:192.0.2.1]"),
    ("a@[x-tag:any.thing/here?]", "a", "[x-tag:any.thing/here?]"),
    # RFC 6531
    ("ä@example.com", "ä", "example.com"),
    ("收件人@例子.測試", "收件人", "例子.測試"),
    ('"a é"@bücher.example', "a é", "bücher.example"),
    ("👩‍👩@example.com", "👩‍👩", "example.com"),
    # without a domain
    ("", "", None),
    ("postmaster", "postmaster", None),
    ("PostMaster", "PostMaster", None),
]

ILLEGAL = [
    "alice",
    "@",
    "a@",
    "@example.com",
    "a@b@c",
    "<a@b.example>",
    "a@b.example>",
    "a@b.example> SIZE=1",
    " a@b.example",
    "a@b.example ",
    "a @b.example",
    "a@ b.example",
    "Alice <a@b.example>",
    "a@b.example (comment)",
    "(comment)a@b.example",
    "a@b.example,c@d.example",
    "a@b.example;",
    "postmaster@",
    "postmaster ",
    "root",
    # dots
    "a..b@c.example",
    ".a@c.example",
    "a.@c.example",
    ".@c.example",
    "a@.b",
    "a@b.",
    "a@b..c",
    "a@.",
    # domains
    "a@-b.example",
    "a@b-.example",
    "a@b_c.example",
    "a@b/c",
    "a@" + DOMAIN_255 + "a",
    "a@" + DOMAIN_255[:-1] + ".a",
    "a@" + "ä" * 128,
    # quotes
    '"a@b.example',
    'a"@b.example',
    '"a"b@c.example',
    '"a"."b"@c.example',
    '"a"b"@c.example',
    '"a\\"@c.example',
    '"a\\é"@c.example',
    "'a b'@c.example",
    "a\\b@c.example",
    "a\\ b@c.example",
    # address literals
    "a@[]",
    "a@[1.2.3]",
    "a@[1.2.3.4.5]",
    "a@[1.2.3.256]",
    "a@[1.2.3.04]",
    "a@[1.2.3.4",
    "a@1.2.3.4]",
    "a@[1.2.3.4]x",
    "a@[ 1.2.3.4]",
    "a@[::1]",
    "a@[IPv6:]",
    "a@[IPv6:1]",
    "a@[IPv6:::1%eth0]",
    "a@[IPv6:::1/64]",
    "a@[IPv6:1:2:3:4:5:6:7:8:9]",
    "a@[IPv6:::12345]",
    "a@[IPv6:1.2.3.4]",
    "a@[tag:]",
    "a@[:x]",
    "a@[tag-:x]",
    "a@[tag:x y]",
    "a@[tag:[x]",
    "a@[tag:é]",
    "a@[１.2.3.4]",
    # source routes
    "@a.example:",
    "@a.example,b@c.example",
    "@a.example,:b@c.example",
    "@a.example:@b.example:c@d.example",
    "a.example:b@c.example",
    "@a.example;b@c.example",
    "@[1.2.3.4]:b@c.example",
    "@a.example:postmaster",
    # not Unicode
    "\udc80@example.com",
    "a@\ud800.example",
]

# Lone surrogates, which `st.text()` leaves out, are included, and the octets they stand for.
ANY_TEXT = st.text(st.characters() | st.sampled_from("\udc80\udcff\udcc3\udca9\ud800\r\n\0"))
ATOMS = st.text("abzAZ09!#$%&'*+-/=?^_`{|}~éß测", min_size=1, max_size=8)
QTEXT = st.one_of(
    st.sampled_from([chr(point) for point in range(0x20, 0x7F) if chr(point) not in '"\\'] + ["é", "测"]),
    st.sampled_from([f"\\{chr(point)}" for point in range(0x20, 0x7F)]),
)
LOCAL_PARTS = st.lists(ATOMS, min_size=1, max_size=3).map(".".join) | st.lists(QTEXT, max_size=8).map(
    lambda parts: '"' + "".join(parts) + '"'
)
LABELS = st.from_regex(r"[A-Za-z0-9é测](?:[A-Za-z0-9é测-]{0,5}[A-Za-z0-9é测])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
LITERALS = st.one_of(
    st.ip_addresses(v=4).map("[{}]".format),
    st.ip_addresses(v=6).map("[IPv6:{}]".format),
)


@every(("text", "local_part", "domain"), LEGAL)
def test_a_legal_address_keeps_its_spelling_and_knows_its_parts(
    text: str, local_part: str, domain: str | None
):
    path = Path(text)
    assert (path, path.local_part, path.domain) == (text, local_part, domain)
    assert (path.route, path.with_route, path.is_null) == ((), text, text == "")


def test_what_is_no_address_is_refused():
    for text in ILLEGAL:
        with pytest.raises(LocalProtocolError) as refused:
            Path(text)
        assert 500 <= refused.value.code < 600, text


@pytest.mark.parametrize("form", ["a{}@b.example", "a@b{}.example", '"a{}"@b.example', "a@b.example{}", "{}"])
def test_a_control_character_is_refused_wherever_it_stands(form: str):
    for control in CONTROLS:
        with pytest.raises(LocalProtocolError, match="control character"):
            Path(form.format(control))


@given(text=ANY_TEXT)
def test_any_text_is_refused_or_is_the_address_that_was_given(text: str):
    try:
        path = Path(text)
    except LocalProtocolError:
        return
    assert path.with_route == text
    assert "\r" not in path
    assert "\n" not in path


@given(local=LOCAL_PARTS, domain=DOMAINS | LITERALS, hosts=st.lists(DOMAINS, max_size=3))
def test_an_address_made_by_the_grammar_comes_back_from_its_text(local: str, domain: str, hosts: list[str]):
    route = ",".join(f"@{host}" for host in hosts) + ":" if hosts else ""
    path = Path(f"{route}{local}@{domain}")
    assert path == f"{local}@{domain}"
    assert (path.domain, path.route, path.with_route) == (domain, tuple(hosts), f"{route}{path}")
    again = Path(str(path))
    assert again == path
    assert again.local_part == path.local_part
    assert Path(path.with_route).route == path.route


@given(parts=st.lists(QTEXT, max_size=12))
def test_the_local_part_is_without_quotes_and_backslashes(parts: list[str]):
    quoted = '"' + "".join(parts) + '"'
    assert Path(f"{quoted}@b.example").local_part == "".join(part[-1] for part in parts)


def test_a_source_route_is_reported_and_is_no_part_of_the_address():
    path = Path("@one.example,@two.example:a@b.example")
    assert path == "a@b.example"
    assert path.route == ("one.example", "two.example")
    assert path.with_route == "@one.example,@two.example:a@b.example"


def test_a_path_is_a_path_and_cannot_change():
    path = Path('@one.example:"a b"@c.example')
    assert Path(path) is path
    for twin in (copy(path), deepcopy(path), pickle.loads(pickle.dumps(path))):
        assert (twin, twin.with_route, twin.local_part) == (path, path.with_route, "a b")
    with pytest.raises(AttributeError):
        path.domain = "evil.example"
    with pytest.raises(AttributeError):
        del path.route


# xtext and utf-8-addr-xtext


@given(text=st.text([chr(point) for point in range(0x20, 0x7F)]))
def test_printable_ascii_comes_back_from_xtext(text: str):
    octets = xtext_encode(text).encode("ascii")
    assert xtext_decode(octets) == text
    assert not set(octets) & set(b" =")


def test_what_is_not_printable_ascii_cannot_be_written_as_xtext():
    for text in [*CONTROLS, "é", "\N{NO-BREAK SPACE}", "\udc80"]:
        with pytest.raises(LocalProtocolError):
            xtext_encode(f"a{text}b")


@pytest.mark.parametrize(
    ("octets", "text"), [(b"", ""), (b"+2B", "+"), (b"+2b", "+"), (b"a+3Db+20", "a=b "), (b"<>", "<>")]
)
def test_xtext_is_decoded_in_either_case(octets: bytes, text: str):
    assert xtext_decode(octets) == text


def test_xtext_that_is_malformed_or_hides_what_is_not_printable_is_refused():
    malformed = [b"+", b"+4", b"+4g", b"+ 1", b"+-1", b"=", b"a b", b"\xc3\xa9", b"+C3+A9", b"\x00", b"++41"]
    for octets in [*malformed, b"+7F", *(b"+%02X" % point for point in range(0x20))]:
        with pytest.raises(LocalProtocolError):
            xtext_decode(b"a" + octets)


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029")))
def test_any_text_comes_back_from_utf8_xtext(text: str):
    encoded = utf8_xtext_encode(text)
    assert encoded.isascii()
    assert not set(encoded) & set(" +=")
    assert utf8_xtext_decode(encoded.encode("ascii")) == text


def test_utf8_xtext_holds_no_control_character():
    for text in [*CONTROLS, "\udc80"]:
        with pytest.raises(LocalProtocolError):
            utf8_xtext_encode(f"a{text}b")
        with pytest.raises(LocalProtocolError):
            utf8_xtext_decode(b"a\\x{%X}" % ord(text))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("é".encode(), "é"),
        (rb"\x{e9}", "é"),
        (rb"\x{10FFFD}", "\U0010fffd"),
        (rb"\x{5C}x{41}", r"\x{41}"),
    ],
)
def test_utf8_xtext_takes_utf8_and_numbers_in_both_cases(octets: bytes, text: str):
    assert utf8_xtext_decode(octets) == text


@every(
    "octets",
    [
        b"\\",
        rb"\x{0000E9}",
        rb"\x{41}",
        rb"\x",
        rb"\x{}",
        rb"\x{110000}",
        rb"\x{0000041}",
        rb"\x{g}",
        b"+41",
        b"a=b",
        b"a b",
        b"\xff",
    ],
)
def test_what_is_no_utf8_xtext_is_refused(octets: bytes):
    with pytest.raises(LocalProtocolError):
        utf8_xtext_decode(octets)


# The functions of the grammar that judge what a pattern alone cannot


@every(
    "octets",
    [b"", b"+1", b"-1", b" 1", b"1 ", b"1_0", b"\xb2", "²".encode(), "١".encode(), b"0x1", b"1.", b"1" * 21],
)
def test_a_number_is_one_to_twenty_ascii_digits_and_nothing_else(octets: bytes):
    assert grammar.number(octets) is None


@given(value=st.integers(0, 10**20 - 1), zeros=st.integers(0, 3))
def test_a_number_has_its_value(value: int, zeros: int):
    digits = b"0" * zeros + b"%d" % value
    assert grammar.number(digits) == (value if len(digits) <= 20 else None)


@given(text=ANY_TEXT)
@example(text="\ud800")
@example(text="\udcc3\udca9")
def test_one_line_of_a_reply_is_written_as_it_is_or_refused(text: str):
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        octets = b"\n"
    if set(octets) & set(b"\r\n\0"):
        with pytest.raises(LocalProtocolError):
            grammar.one_line(text, "a reply")
    else:
        line = grammar.one_line(text, "a reply")
        assert line.encode("utf-8", "surrogateescape") == octets
        assert line == octets.decode("utf-8", "surrogateescape"), "as the client will read it"


@given(octets=st.binary())
def test_octets_of_a_peer_are_decoded_as_utf8_or_refused(octets: bytes):
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        code = 553
    else:
        code = 501 if set(text) & set(CONTROLS) else 0
    if not code:
        assert grammar.decode(octets, "the argument") == text
        return
    with pytest.raises(LocalProtocolError) as refused:
        grammar.decode(octets, "the argument")
    assert refused.value.code == code


ADDRESSES = st.one_of(
    mailboxes(),
    mailboxes(utf8=True),
    st.sampled_from(
        [
            "a@b.example",
            "a@b.example\nc@d.example",
            "a@b.example\n",
            "\na@b.example",
            "a@b.example\r",
            "a@b.example>",
            "postmaster",
            "",
            "@r.example:a@b.example",
            "<a@b.example>",
            "a" * 244 + "@b.example",
            "a" * 246 + "@b.example",
            "a@" + "b." * 124 + "example",
        ]
    ),
)


@example(addresses=["a@b.example\nc@d.example"])
@example(addresses=["a@b.example", "a@b.example\n"])
@example(addresses=["a@" + "b." * 124 + "example"])
@example(addresses=["a@b.example", "a" * 246 + "@b.example"])
@given(addresses=st.lists(ADDRESSES, min_size=1, max_size=4))
def test_plain_addresses_are_paths_that_go_on_the_wire_as_they_are(addresses: list[str]):
    paths = []
    for address in addresses:
        try:
            paths.append(Path(address))
        except LocalProtocolError:
            assert not are_plain(addresses)
            return
    if are_plain(addresses):
        for path in paths:
            assert path.is_ascii
            assert path.domain
            assert not path.route
            assert len(path) <= 255


@given(addresses=st.lists(st.sampled_from(["a@b.example", "x.y+z@c-d.e1", "!#$@x"]), min_size=1, max_size=30))
def test_ordinary_addresses_are_plain(addresses: list[str]):
    assert are_plain(addresses)
