"""The promise of `messages.py`: what a message object says arrives, whatever the server offers; the envelope
is what its header says, and nothing that only some readers would find there.
"""

from __future__ import annotations

import asyncio as aio
import email
import email.policy
from contextlib import suppress
from email.charset import Charset
from email.header import Header
from email.headerregistry import Address, Group, HeaderRegistry
from email.message import EmailMessage, Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import LOOPS
from peers import GREETING, MESSAGE, RECIPIENT, SENDER, Peer, scripted

from smtp_proto import Features, LocalProtocolError, NotOffered
from smtp_transports import asyncio, blocking
from smtp_transports.handlers import Mailbox
from smtp_transports.messages import envelope, needs_smtputf8, render

PLAIN = Features()
EIGHT = Features({"8BITMIME": ()})
ALL = Features({"8BITMIME": (), "SMTPUTF8": ()})
POLICIES = [email.policy.default, email.policy.SMTP, email.policy.compat32]
TWO = "From: ada@a.example\r\nTo: grace@b.example\r\n"


def parsed(text: str | bytes, policy: Any = email.policy.default) -> Any:
    octets = text.encode() if isinstance(text, str) else text
    return email.message_from_bytes(octets, policy=policy)


every_policy = pytest.mark.parametrize("policy", POLICIES, ids=["default", "SMTP", "compat32"])


# --- The envelope

PAIRS = [
    ("To: a@b.example", "a@b.example"),
    ("To: A <a@b.example>, c@d.example (C)", "a@b.example c@d.example"),
    ("To: a@b.example\r\nBcc: c@d.example\r\nCc: e@f.example", "a@b.example e@f.example c@d.example"),
    ("To: a@b.example\r\nTO: c@d.example", "a@b.example c@d.example"),
    ("To: a@b.example,\r\n\tB\r\n <c@d.example>", "a@b.example c@d.example"),
    ("To: a@b.example\r\nCc: A <a@B.Example>, A@b.example", "a@b.example A@b.example"),
    ("To: a@b.example, \"a\"@b.example", "a@b.example"),
    ("To: friends: a@b.example, c@d.example;, e@f.example", "a@b.example c@d.example e@f.example"),
    ("To: undisclosed:;\r\nBcc: a@b.example", "a@b.example"),
    ('To: "a b"@c.example', '"a b"@c.example'),
    ('To: "a@evil.example"@good.example', '"a@evil.example"@good.example'),
    ('To: "a@evil.example," <b@good.example>', "b@good.example"),
    ("To: a(@evil.example)@(x, y@z.example)good.example", "a@good.example"),
    ("To: a @ b.example", "a@b.example"),
    ("To: J. R. Doe <a@b.example>", "a@b.example"),
    ("To: a@b.example,, c@d.example,", "a@b.example c@d.example"),
    ("To: =?utf-8?q?a=40evil.example?= <b@good.example>", "b@good.example"),
    ("To: =?utf-8?q?a=40evil.example=2C?= <b@good.example>", "b@good.example"),
    ('To: "=?utf-8?q?a=40evil.example?=" <b@good.example>', "b@good.example"),
    ("To: =?utf-8?b?w7w?= <a@b.example>", "a@b.example"),
    ("To: =?no-such?q?x?= <a@b.example>", "a@b.example"),
    ("To: a@[192.0.2.1], b@[IPv6:2001:db8::1]", "a@[192.0.2.1] b@[IPv6:2001:db8::1]"),
    ("To: ü <ö@ü.example>", "ö@ü.example"),
]  # fmt: skip


@every_policy
@pytest.mark.parametrize(("fields", "recipients"), PAIRS)
def test_the_recipients_are_those_of_the_header(fields: str, recipients: str, policy: Any) -> None:
    sender, found = envelope(parsed(f"From: s@s.example\r\n{fields}\r\n\r\n", policy))
    assert sender == "s@s.example"
    # Only a quoted local part has a blank.
    assert " ".join(found) == recipients


@every_policy
@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        ("From: a@b.example", "a@b.example"),
        ("from: a@b.example, c@d.example", "a@b.example"),
        ("From: a@b.example, c@d.example\r\nSender: E <e@f.example>", "e@f.example"),
        ("From: friends: a@b.example;", "a@b.example"),
        ("Reply-To: x@y.example\r\nReturn-Path: <x@y.example>\r\nFrom: a@b.example", "a@b.example"),
    ],
)
def test_the_sender_is_sender_or_the_first_of_from(fields: str, sender: str, policy: Any) -> None:
    assert envelope(parsed(f"{fields}\r\nTo: x@y.example\r\n\r\n", policy)).sender == sender


REFUSED = [
    ("To: a@b.example", "no sender"),
    ("From: \r\nTo: a@b.example", "0 addresses"),
    ("From: nobody:;\r\nTo: a@b.example", "0 addresses"),
    ("From: a@b.example\r\nFrom: c@d.example\r\nTo: e@f.example", "more than one from"),
    ("From: a@b.example\r\nSender: c@d.example, e@f.example\r\nTo: a@b.example", "sender has 2"),
    ("From: a@b.example\r\nSender: nonsense\r\nTo: a@b.example", "Sender: "),
    ("Sender: <>\r\nFrom: a@b.example\r\nTo: a@b.example", "Sender: "),
    ("From: a@b.example", "no recipient"),
    ("From: a@b.example\r\nTo: undisclosed-recipients:;", "no recipient"),
    ("From: a@b.example\r\nTo:", "no recipient"),
    *(
        (f"From: a@b.example\r\nTo: c@d.example\r\nCc: {value}", "Cc")
        for value in (
            "postmaster",
            "a, b@c.example",
            "a@b.example c@d.example",
            "a@b.example; c@d.example",
            "a@b.example <c@d.example>",
            "<a@b.example> c",
            "<a@b.example",
            "<a@b.example><c@d.example>",
            "a@b.example (c",
            '"a <b@c.example>',
            "<@evil.example:a@b.example>",
            "a . b@c.example",
            "a@b . example",
            '"a".b@c.example',
            "a..b@c.example",
            ".a@b.example",
            '""@b.example',
            "a@b@c.example",
            "a@b.example.",
            "a@-b.example",
            "a@[192.0.2.256]",
            "a@b_c.example",
            "friends: a@b.example",
            "x: y: a@b.example;;",
            "a\x00@b.example",
            "a@b\x0b.example",
            "b@=?utf-8?q?evil=2Eexample?=",
            "<b@=?utf-8?q?evil=2Eexample?=>",
            "b@good.=?utf-8?q?evil?=",
            "=?utf-8?q?b=40evil=2Eexample?=",
            "=?utf-8?q?b=40evil=2Eexample?=@good.example",
            "=?utf-8?q?b?=@good.example",
            '"=?utf-8?q?b?="@good.example',
        )
    ),
]


@every_policy
@pytest.mark.parametrize(("fields", "complaint"), REFUSED)
def test_what_is_in_doubt_is_refused(fields: str, complaint: str, policy: Any) -> None:
    with pytest.raises(LocalProtocolError, match=complaint):
        envelope(parsed(f"{fields}\r\n\r\n", policy))


BLOCK = "Resent-From: r{0}@r.example\r\nResent-To: t{0}@t.example\r\n"


@every_policy
@pytest.mark.parametrize(
    ("fields", "sender", "recipients"),
    [
        (BLOCK.format(1), "r1@r.example", "t1@t.example"),
        (BLOCK.format(1) + BLOCK.format(2), "r1@r.example", "t1@t.example"),
        (BLOCK.format(1) + "Received: y\r\n" + BLOCK.format(2), "r1@r.example", "t1@t.example"),
        (
            "Resent-Date: x\r\nResent-Bcc: b@b.example\r\nRESENT-SENDER: s@s.example\r\n" + BLOCK.format(1),
            "s@s.example",
            "t1@t.example b@b.example",
        ),
        # Of the block below only what it says itself.
        (
            "Resent-From: a@a.example\r\nResent-Cc: c@c.example\r\nX: y\r\nResent-Sender: s@s.example\r\n",
            "a@a.example",
            "c@c.example",
        ),
    ],
)  # fmt: skip
def test_of_a_resent_message_the_topmost_block_counts(
    fields: str, sender: str, recipients: str, policy: Any
) -> None:
    message = parsed(f"Received: x\r\n{fields}{TWO}Bcc: x@x.example\r\n\r\n", policy)
    found = envelope(message)
    assert (found.sender, " ".join(found.recipients)) == (sender, recipients)


@pytest.mark.parametrize("field", ["Resent-To: a@b.example", "Resent-From: a@b.example", "Resent-Date: x"])
def test_a_block_that_lacks_something_is_not_completed_from_elsewhere(field: str) -> None:
    with pytest.raises(LocalProtocolError, match="resent-"):
        envelope(parsed(f"{field}\r\n{TWO}\r\n"))


def test_octets_in_a_header_are_utf_8_or_refused() -> None:
    for policy in POLICIES:
        message = parsed(b"From: \xc3\xbc <a@b.example>\r\nTo: \xc3\xb6@\xc3\xbc.example\r\n\r\n", policy)
        assert envelope(message) == ("a@b.example", ["ö@ü.example"])
        with pytest.raises(LocalProtocolError, match="From holds octets that are not UTF-8"):
            envelope(parsed(b"From: \xfc <a@b.example>\r\nTo: a@b.example\r\n\r\n", policy))


def test_fields_that_a_program_set_are_read_as_well() -> None:
    modern = EmailMessage()
    modern["From"] = Address("Ada, L.", "ada", "a.example")
    modern["To"] = [Address("", "a b", "b.example"), Group("x", [Address(addr_spec="c@d.example")])]
    assert envelope(modern) == ("ada@a.example", ['"a b"@b.example', "c@d.example"])
    old = Message()
    old["From"] = Header("Jürgen", "utf-8")
    old["From"].append("<j@j.example>", "ascii")
    old["To"] = "Grüße <g@g.example>"
    assert envelope(old) == ("j@j.example", ["g@g.example"])


@pytest.mark.parametrize(
    "value",
    [
        "b@=?utf-8?q?evil=2Eexample?=",
        Address("", "a", "b.example> x"),
        Address("", "a\x1b", "b.example"),
        Address("", "", ""),
        Address("", "=?utf-8?q?b?=", "b.example"),
    ],
)
def test_addresses_that_a_program_set_are_judged_as_well(value: Any) -> None:
    message = EmailMessage()
    message["From"], message["To"] = "a@b.example", value
    with pytest.raises(LocalProtocolError, match="To"):
        envelope(message)


@pytest.mark.parametrize(
    "value",
    [
        Header("Jürgen <j@evil.example>", "utf-8"),  # the address would be in the encoded word
        "a@b.example\r\nBcc: evil@evil.example",
        "a@b.example\n\nBcc: evil@evil.example",
    ],
)
def test_old_fields_that_would_be_others_are_refused(value: Any) -> None:
    message = Message()
    message["From"], message["To"] = "a@b.example", value
    with pytest.raises(LocalProtocolError, match="To"):
        envelope(message)


def test_a_field_that_was_not_read_as_addresses_is_refused() -> None:
    registry = HeaderRegistry(use_default_map=False)
    message = EmailMessage(policy=email.policy.default.clone(header_factory=registry))
    message["From"] = "a@b.example"
    with pytest.raises(LocalProtocolError, match="From was not read as addresses"):
        envelope(message)


# --- What is sent

WORDS = st.text('ab ,.<>@"\\()=?_üé€\U0001f600', min_size=1, max_size=30)
NAMES = st.just("") | WORDS | st.text("abcü,. ", min_size=40, max_size=150)
LOCALS = st.text('ab.+ @"\\', min_size=1, max_size=12).map(
    lambda text: text.replace("..", "x").strip(". ") or "x"
)


@st.composite
def addresses(draw: Any) -> Address:
    return Address(draw(NAMES).strip(), draw(LOCALS), draw(st.sampled_from(["a.example", "b.c.example"])))


@st.composite
def messages(draw: Any) -> EmailMessage:
    """Messages as programs build them."""
    policy = draw(st.sampled_from([email.policy.default, email.policy.SMTP, email.policy.SMTPUTF8]))
    message = EmailMessage(policy=policy)
    message["From"] = draw(addresses())
    for name in draw(st.lists(st.sampled_from(["To", "Cc", "Bcc", "Resent-Bcc"]), unique=True)):
        message[name] = draw(st.lists(addresses(), min_size=1, max_size=4))
    message["Subject"] = draw(WORDS | st.text("abü é", min_size=40, max_size=200)).strip()
    lines = st.text("a.é€From \U0001f600", max_size=60) | st.just("From x") | st.just("x" * 1200)
    text = "".join(f"{line}\n" for line in draw(st.lists(lines, min_size=1, max_size=4)))
    encodings = st.sampled_from(["base64", "quoted-printable", "8bit"])
    long = max(map(len, text.encode().split(b"\n"))) > 900
    message.set_content(text, cte="base64" if long else draw(encodings))
    if draw(st.booleans()):
        message.add_alternative(f"<p>{draw(WORDS)}", subtype="html", cte=draw(encodings))
    for octets in draw(st.lists(st.binary(max_size=60), max_size=2)):
        message.add_attachment(octets, "application", "x", filename=draw(st.sampled_from(["a b.x", "ü.x"])))
    if draw(st.booleans()):
        inner = EmailMessage()
        inner["Subject"] = "innen ü"
        inner.set_content("Grüße\n", cte=draw(encodings))
        message.add_attachment(inner)
    return message


def leaves(message: Any) -> list[tuple[str, Any]]:
    """What a reader finds in the parts."""
    return [
        (part.get_content_type(), content(part), part.get_filename())
        for part in message.walk()
        if not part.is_multipart()
    ]  # type: ignore[misc]


def content(part: Any) -> Any:
    octets = part.get_payload(decode=True)
    return octets.replace(b"\r\n", b"\n") if part.get_content_maintype() == "text" else octets


def people(message: Any, name: str) -> list[tuple[str, str]]:
    """Names without their blanks: the parser keeps those between encoded words."""
    found = message[name].addresses if message[name] is not None else ()
    return [("".join(box.display_name.split()), box.addr_spec) for box in found]


def snapshot(message: Any) -> Any:
    return [
        (list(part.raw_items()), part.policy, part._payload if not part.is_multipart() else None)
        for part in message.walk()
    ]


def is_wire(octets: bytes) -> bool:
    lines = octets.split(b"\r\n")
    return not any(b"\r" in line or b"\n" in line or b"\0" in line or len(line) > 998 for line in lines)


@given(messages(), st.sampled_from([PLAIN, EIGHT, ALL]))
def test_what_is_rendered_reads_the_same(message: EmailMessage, features: Features) -> None:
    before = snapshot(message)
    octets = render(message, features)
    assert snapshot(message) == before
    assert is_wire(octets)
    assert octets.partition(b"\r\n\r\n")[0].isascii()
    assert "8BITMIME" in features or octets.isascii()
    arrived = parsed(octets)
    assert arrived["Bcc"] is None
    assert arrived["Resent-Bcc"] is None
    for name in ("From", "To", "Cc"):
        assert people(arrived, name) == people(message, name)
    assert arrived["Subject"] == message["Subject"]
    assert leaves(arrived) == leaves(message)
    assert needs_smtputf8(message) is False


@given(messages())
def test_a_message_that_arrived_is_sent_on_as_it_is(message: EmailMessage) -> None:
    octets = render(message, EIGHT)
    for policy in POLICIES:
        arrived = parsed(octets, policy)
        assert render(arrived, EIGHT) == octets
        assert render(arrived, ALL) == octets
        seven = render(arrived, PLAIN)
        assert seven.isascii()
        assert leaves(parsed(seven)) == leaves(message)


@given(st.binary(max_size=200), st.sampled_from(POLICIES), st.sampled_from([PLAIN, EIGHT, ALL]))
def test_whatever_was_parsed_is_rendered_or_refused(octets: bytes, policy: Any, features: Features) -> None:
    message = parsed(octets, policy)
    for body in (message, parsed(TWO.encode() + octets, policy)):
        try:
            written = render(body, features)
        except (LocalProtocolError, NotOffered):
            continue
        assert "8BITMIME" in features or written.isascii()
        assert b"\n" not in written.replace(b"\r\n", b"")
        with suppress(LocalProtocolError):
            envelope(body)


MIME = "Content-Type: {}\r\nContent-Transfer-Encoding: {}\r\n\r\n"


@every_policy
@pytest.mark.parametrize("encoding", ["8bit", "7bit", "binary", "quoted-printable"])
@pytest.mark.parametrize(
    "kind",
    [
        "text/plain; charset=utf-8",
        "text/plain; charset=nonsense",
        "text/plain",
        "image/png",
        "application/pdf",
    ],
)
def test_a_part_that_was_parsed_becomes_7_bits(kind: str, encoding: str, policy: Any) -> None:
    body = b"gr\xc3\xbc\xfc\r\n\r\n.\r\nx\r\n"
    message = parsed((TWO + MIME.format(kind, encoding)).encode() + body, policy)
    octets = render(message, PLAIN)
    assert octets.isascii()
    arrived = parsed(octets)
    assert arrived.get_payload(decode=True) == body
    assert arrived["MIME-Version"] == "1.0"
    assert arrived.get_content_type() == kind.partition(";")[0]
    if encoding in ("8bit", "7bit"):
        assert render(message, EIGHT).endswith(b"\r\n\r\n" + body)
    elif encoding == "binary":
        assert b"binary" not in render(message, EIGHT)


def nested(cte: str, *, signed: bool = False, text: str = "Grüße") -> str:
    kind = 'multipart/signed; protocol="x/y"' if signed else "multipart/mixed"
    return (
        f"{TWO}MIME-Version: 1.0\r\nContent-Type: {kind}; boundary=b\r\n\r\n--b\r\n"
        + MIME.format("text/plain; charset=utf-8", cte)
        + f"{text}\r\n--b\r\n"
        + MIME.format("message/rfc822", cte)
        + "Subject: =?utf-8?q?=C3=BC?=\r\n"
        + MIME.format("multipart/mixed; boundary=c", cte)
        + "--c\r\n"
        + MIME.format("text/html; charset=utf-8", cte)
        + f"{text}\r\n--c--\r\n\r\n--b--\r\n"
    )


@every_policy
def test_parts_within_parts_become_7_bits(policy: Any) -> None:
    message = parsed(nested("8bit"), policy)
    assert render(message, EIGHT) == nested("8bit").encode()
    octets = render(message, PLAIN)
    assert octets.isascii()
    assert b"8bit" not in octets
    assert leaves(parsed(octets)) == leaves(message)


@every_policy
def test_what_is_signed_is_not_changed(policy: Any) -> None:
    eight, seven = nested("8bit", signed=True), nested("7bit", signed=True, text="hello " * 100)
    with pytest.raises(NotOffered, match="8BITMIME"):
        render(parsed(eight, policy), PLAIN)
    assert render(parsed(eight, policy), EIGHT) == eight.encode()
    assert render(parsed(seven, policy), PLAIN) == seven.encode()
    long = nested("7bit", signed=True, text="x" * 2000)
    assert render(parsed(long, policy), ALL) == long.encode()  # the connection will refuse it


def test_around_what_is_signed_all_is_as_ever() -> None:
    inner = parsed(nested("7bit", signed=True, text="hello"))
    del inner["From"], inner["To"]
    outer = MIMEMultipart("mixed", None, [MIMEText("Grüße", _charset=eight_bit()), inner])
    octets = render(outer, PLAIN)
    assert inner.as_bytes(policy=email.policy.SMTP) in octets
    assert octets.isascii()


def eight_bit() -> Any:
    charset = Charset("utf-8")
    charset.body_encoding = None  # type: ignore[assignment]
    return charset


@every_policy
@pytest.mark.parametrize(
    "body",
    [
        TWO + "Content-Type: multipart/mixed; boundary=b\r\n\r\nprä\r\n--b\r\n\r\nx\r\n--b--\r\n",
        TWO + MIME.format("text/plain", "x-rot13") + "ü\r\n",
    ],
)
def test_what_cannot_become_7_bits_is_not_sent(body: str, policy: Any) -> None:
    with pytest.raises(NotOffered, match="8BITMIME"):
        render(parsed(body, policy), PLAIN)
    assert render(parsed(body, policy), EIGHT) == body.encode()


@every_policy
def test_a_multipart_without_parts_is_sent_if_the_package_can_write_it(policy: Any) -> None:
    body = TWO + "Content-Type: multipart/mixed; boundary=b\r\n\r\nno boundary\r\n"
    assert render(parsed(body, policy), PLAIN) == body.encode()
    for features in (PLAIN, EIGHT):
        with pytest.raises(LocalProtocolError, match="cannot be written"):
            render(parsed(body + "ü\r\n", policy), features)


@pytest.mark.parametrize("kind", ["text/plain", "image/png"])
def test_lines_that_are_too_long_are_encoded(kind: str) -> None:
    fits, long = "x" * 998 + "\r\n", "x" * 999 + "\r\n"
    for body in (fits, long, fits + long, "\0\r\n"):
        message = parsed(TWO + MIME.format(kind, "7bit") + body)
        octets = render(message, ALL)
        assert is_wire(octets)
        assert octets.endswith(body.encode()) is (body == fits)
        assert parsed(octets).get_payload(decode=True) == body.encode()


@every_policy
def test_a_header_stays_as_it_came_but_for_what_may_not_be_sent(policy: Any) -> None:
    odd = "X-Long:\r\n long\r\nX-Odd: a\t b \r\n  =?utf-8?q?=41?= c\r\n"
    head = f"{odd}DKIM-Signature: {'y' * 900}\r\n{TWO}\r\n"
    assert render(parsed(head, policy), PLAIN) == head.encode()
    long = render(parsed(f"Subject: {'long ' * 400}\r\n{TWO}\r\n", policy), PLAIN)
    assert is_wire(long)
    assert parsed(long)["Subject"].split() == ["long"] * 400
    raw = render(parsed(f"Subject: Grüße\r\n{TWO}\r\n", policy), ALL)
    assert raw.isascii()
    assert parsed(raw)["Subject"] == "Grüße"
    latin = render(parsed(b"Subject: Gr\xfc\xdfe\r\n" + TWO.encode() + b"\r\n", policy), ALL)
    assert b"Subject: =?unknown-8bit?" in latin
    many = ", ".join(f'"Doe, {n}" <a{n}@b.example>' for n in range(100))
    octets = render(parsed(f"From: a@b.example\r\nTo: {many}\r\n\r\n", policy), PLAIN)
    assert is_wire(octets)
    assert [box.addr_spec for box in parsed(octets)["To"].addresses] == [
        f"a{n}@b.example" for n in range(100)
    ]


def test_a_name_cannot_become_an_address() -> None:
    message = EmailMessage()
    message["To"] = "=?utf-8?q?a=40evil.example=2C?= <b@good.example>"
    message["Cc"] = (
        'x: "' + "evil@evil.example, " * 8 + '" <c@good.example>;, "ü, d@evil.example" <e@good.example>'
    )
    arrived = parsed(render(message, PLAIN))
    assert people(arrived, "To") == [("a@evil.example,", "b@good.example")]
    assert people(arrived, "Cc") == people(message, "Cc")
    assert [group.display_name for group in arrived["Cc"].groups] == ["x", None]


def test_a_long_text_stays_what_it_is() -> None:
    message = EmailMessage()
    message["Subject"] = "hello " * 10 + "ü é " * 20 + "!"
    assert parsed(render(message, PLAIN))["Subject"] == message["Subject"]


@pytest.mark.parametrize("address", ["ü@b.example", "a@ü.example"])
@every_policy
def test_an_address_beyond_ascii_needs_smtputf8(address: str, policy: Any) -> None:
    message = parsed(f"Subject: ü\r\nFrom: ü <{address}>\r\nTo: a@b.example\r\n\r\nü\r\n", policy)
    assert needs_smtputf8(message)
    for features in (PLAIN, EIGHT):
        with pytest.raises(NotOffered, match="SMTPUTF8"):
            render(message, features)
    with pytest.raises(NotOffered, match="8BITMIME"):
        render(message, Features({"SMTPUTF8": ()}))
    octets = render(message, ALL)
    assert f"<{address}>\r\n".encode() in octets
    assert envelope(parsed(octets)).sender == address


def test_old_messages_are_written_as_they_mean() -> None:
    old = MIMEMultipart()
    old["From"] = "Jürgen <j@j.example>"
    old["To"] = Header("g@g.example", "ascii")
    old["Subject"] = Header("Grüße", "latin-1")
    old["Bcc"] = "x@x.example"
    old.attach(MIMEText("From me\nGrüße\n", "plain", "utf-8"))
    old.attach(MIMEApplication(b"\0\n\xff"))
    for features in (PLAIN, EIGHT, ALL):
        arrived = parsed(render(old, features))
        assert people(arrived, "From") == [("Jürgen", "j@j.example")]
        assert arrived["Subject"] == "Grüße"
        assert [octets for _, octets, _ in leaves(arrived)] == ["From me\nGrüße\n".encode(), b"\0\n\xff"]
        assert b"x@x.example" not in render(old, features)
    assert old["Bcc"] == "x@x.example"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Subject", "a\r\nBcc: x@evil.example"),
        ("Subject", "a\n\nbody"),
        ("Subject", "a\rb"),
        ("Subject", Header("a\nBcc: x@evil.example")),
        ("Sub\r\nject", "x"),
        ("Subject: x\r\nBcc", "x"),
        ("", "x"),
        ("Sübject", "x"),
        ("Subject", "ü\r\nBcc: x@evil.example"),
        ("To", "\udcfc@b.example"),
    ],
)
def test_a_field_cannot_become_two(name: str, value: Any) -> None:
    message = Message()
    message[name] = value
    with pytest.raises(LocalProtocolError):
        render(message, ALL)


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_line_ends_end_a_line(separator: str) -> None:
    message = Message()
    message["Subject"] = f"a{separator}Bcc: x@evil.example"
    arrived = parsed(render(message, ALL))
    assert arrived.keys() == ["Subject"]


@pytest.mark.parametrize("payload", ["Grüße", 7])
def test_what_is_no_message_is_refused(payload: Any) -> None:
    message = Message()
    message.set_payload(payload)
    with pytest.raises(LocalProtocolError):
        render(message, ALL)


# --- Clients and pools


@pytest.fixture
def message() -> EmailMessage:
    new = EmailMessage()
    new["From"], new["To"], new["Bcc"] = "Ada <ada@sender.example>", "grace@mx.example", "hidden@mx.example"
    new["Subject"] = "Grüße"
    new.set_content("Größe\n", cte="8bit")
    return new


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "uvloop"])
def test_a_message_object_arrives_over_every_transport(name: str, message: EmailMessage) -> None:
    loop = LOOPS[name]()
    mailbox = Mailbox()
    before = snapshot(message)
    many = [(*envelope(message), message), (SENDER, [RECIPIENT], MESSAGE)]

    async def scene() -> None:
        async with loop.serving(mailbox) as (_, there), loop.connect(**there) as client:
            assert (await client.send_message(*envelope(message), message)).all_accepted
            assert all(result.all_accepted for result in await client.send_messages(many))

    loop.run(scene)
    loop.close()
    first, second, third = mailbox.messages
    assert first == second
    assert (first.sender, first.recipients) == (SENDER, (RECIPIENT, "hidden@mx.example"))
    assert b"hidden" not in first.data
    assert parsed(first.data).get_content() == "Größe\r\n"
    assert parsed(first.data)["Subject"] == "Grüße"
    assert third.data == MESSAGE
    assert snapshot(message) == before


def test_pools_of_both_colours_take_message_objects(message: EmailMessage) -> None:
    mailbox = Mailbox()
    with blocking.serve(mailbox) as server:
        with blocking.Pool(1, partial(blocking.connect, *server.address)) as pool:
            assert pool.send_message(*envelope(message), message).all_accepted

        async def main() -> None:
            connect = partial(asyncio.connect, *server.address)
            async with asyncio.Pool(1, connect) as pool:
                assert (await pool.send_message(*envelope(message), message)).all_accepted

        aio.run(main())
    assert mailbox.messages[0] == mailbox.messages[1]


def take(peer: Peer, mail: bytes) -> bytes:
    """The server's part of one message: what MAIL says, and the message."""
    line = peer.line()
    assert line.startswith(b"MAIL")
    assert line.rstrip().endswith(mail), line
    peer.say(b"250 ok")
    peer.hear(b"RCPT")
    peer.say(b"250 ok")
    peer.hear(b"DATA")
    peer.say(b"354 go")
    octets = b""
    while not octets.endswith(b"\r\n.\r\n"):
        octets += peer.line()
    peer.say(b"250 ok")
    return octets.removesuffix(b".\r\n")


@pytest.mark.parametrize(
    ("subject", "offered", "mail"),
    [
        ("plain", [], b">"),
        ("plain", [b"8BITMIME"], b" BODY=8BITMIME"),
        ("ada@ü.example", [b"8BITMIME", b"SMTPUTF8"], b" BODY=8BITMIME SMTPUTF8"),
    ],
)
@pytest.mark.parametrize("parameters", [{}, {"smtputf8": True}])
def test_mail_says_what_the_message_needs(
    subject: str, offered: list[bytes], mail: bytes, parameters: dict[str, bool], message: EmailMessage
) -> None:
    is_international = "@" in subject
    if is_international:
        message["Reply-To"] = subject
    heard: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.say(GREETING)
        peer.hear(b"EHLO")
        peer.say(*(b"250-" + line for line in (b"mx.example", *offered)), b"250 HELP")
        heard.append(take(peer, mail))

    with scripted(play) as sock:
        client = blocking.connect(sock=sock, domain="client.example")
        client.send_message(SENDER, [RECIPIENT], message, parameters=parameters if is_international else {})
        client.close()
    assert heard == [render(message, client.features)]
    assert heard[0].isascii() is (not offered)


def test_a_message_that_the_server_cannot_take_is_not_begun(message: EmailMessage) -> None:
    message["Reply-To"] = "ö@mx.example"

    def play(peer: Peer) -> None:
        peer.say(GREETING)
        peer.hear(b"EHLO")
        peer.say(b"250 mx.example")
        peer.hear(b"NOOP")
        peer.say(b"250 ok")

    with scripted(play) as sock:
        client = blocking.connect(sock=sock, domain="client.example")
        with pytest.raises(NotOffered, match="SMTPUTF8"):
            client.send_message(SENDER, [RECIPIENT], message)
        with pytest.raises(NotOffered, match="SMTPUTF8"):
            client.send_messages([(SENDER, [RECIPIENT], message)])
        assert client.noop().code == 250
        client.close()


def test_a_retry_is_written_for_the_features_of_its_own_connection(message: EmailMessage) -> None:
    """The first connection offers 8BITMIME and dies when it is used again, the second one does not."""
    heard: list[bytes] = []

    def first(peer: Peer) -> None:
        peer.say(GREETING)
        peer.hear(b"EHLO")
        peer.say(b"250-mx.example", b"250 8BITMIME")
        heard.append(take(peer, b" BODY=8BITMIME"))

    def second(peer: Peer) -> None:
        peer.say(GREETING)
        peer.hear(b"EHLO")
        peer.say(b"250 mx.example")
        heard.append(take(peer, b">"))

    with scripted(first) as one, scripted(second) as two:
        socks = iter([one, two])
        pool = blocking.Pool(1, lambda: blocking.connect(sock=next(socks), domain="client.example"))
        for _ in range(2):
            assert pool.send_message(SENDER, [RECIPIENT], message).all_accepted
        pool.close()
    assert heard == [render(message, EIGHT), render(message, PLAIN)]
    assert heard[1].isascii()
