"""The grammar: one regular expression for each rule of the RFCs, with the rule quoted above it.

Everything here works on octets and is used with `fullmatch`, so that nothing before or behind a match
is overlooked. Quantifiers are possessive wherever a rule allows it: no input makes them backtrack.
Where RFC 6531 3.3 widens a rule by UTF8-non-ascii, the pattern takes any octet above 127, and
`decode()` judges later whether they are UTF-8.

`number()` is the only place that turns octets of a peer into an int: Python's own `int()` takes
"+25", "1_0", " 7" and 4,300 digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, AnyStr, Generic

from ._errors import LocalProtocolError


class Rule(Generic[AnyStr]):
    """A pattern that is compiled when it is first asked: to compile them all is a third of the import."""

    __slots__ = ("_pattern", "fullmatch", "match")

    _pattern: AnyStr
    fullmatch: Callable[[AnyStr], re.Match[AnyStr] | None]
    """The match of the whole of a text, or None."""
    match: Callable[[Any], re.Match[AnyStr] | None]
    """That of what stands in front of a text."""

    def __init__(self, pattern: AnyStr) -> None:
        self._pattern = pattern

    def __getattr__(self, name: str) -> Any:
        asked = getattr(re.compile(self._pattern), name)
        setattr(self, name, asked)
        return asked


_UTF8 = rb"\x80-\xff"

# Let-dig = ALPHA / DIGIT;  Ldh-str = *( ALPHA / DIGIT / "-" ) Let-dig
# sub-domain = Let-dig [Ldh-str]                                   (RFC 5321 4.1.2, RFC 6531 3.3)
# RFC 1035 2.3.4: labels have 63 octets or less.
_SUB_DOMAIN = rb"(?![A-Za-z0-9-]{64})[A-Za-z0-9%b]++(?:-++[A-Za-z0-9%b]++)*+" % (_UTF8, _UTF8)

# Domain = sub-domain *("." sub-domain)                                         (RFC 5321 4.1.2)
_DOMAIN = rb"%b(?:\.%b)*+" % (_SUB_DOMAIN, _SUB_DOMAIN)

# address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
# General-address-literal = Standardized-tag ":" 1*dcontent
# dcontent = %d33-90 / %d94-126                                                 (RFC 5321 4.1.3)
# The numbers inside are left to `is_address_literal`.
_LITERAL = rb"\[[!-Z^-~]++\]"

# Snum = 1*3DIGIT, "representing a decimal integer value in the range 0 through 255"
_SNUM = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = Rule(rb"%b(?:\.%b){3}" % (_SNUM, _SNUM))
# What may stand behind "IPv6:"; a zone id ("%eth0") may not.
_IPV6_CHARACTERS = Rule(rb"[0-9A-Fa-f:.]++")
# Standardized-tag = Ldh-str
_GENERAL = Rule(rb"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")

# ehlo = "EHLO" SP ( Domain / address-literal ): but the argument is not to be judged (4.1.4), and the
# names of real machines hold underscores and hyphens anywhere. RFC 6531 3.7.1: no UTF-8 here.
EHLO_NAME = Rule(rb"[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+\.?|%b" % _LITERAL)

# Atom = 1*atext;  Dot-string = Atom *("." Atom)                    (RFC 5321 4.1.2, RFC 5322 3.2.3)
_ATEXT = rb"[A-Za-z0-9!#$%%&'*+/=?^_`{|}~%b-]++" % _UTF8
_DOT_STRING = rb"%b(?:\.%b)*+" % (_ATEXT, _ATEXT)

# Quoted-string = DQUOTE *QcontentSMTP DQUOTE
# qtextSMTP = %d32-33 / %d35-91 / %d93-126;  quoted-pairSMTP = %d92 %d32-126    (RFC 5321 4.1.2)
_QUOTED_STRING = rb'"(?:[ !#-\[\]-~%b]|\\[ -~])*+"' % _UTF8

# Mailbox = Local-part "@" ( Domain / address-literal )
_MAILBOX = rb"(?P<local>%b|%b)@(?P<domain>%b|%b)" % (
    _DOT_STRING,
    _QUOTED_STRING,
    _DOMAIN,
    _LITERAL,
)

# The commonest form of it: an ASCII Dot-string at an ASCII Domain, of any length.
_PLAIN_OCTETS = (rb"(%b)@%b" % (_DOT_STRING, _DOMAIN)).replace(_UTF8, b"")
_PLAIN = _PLAIN_OCTETS.decode("ascii")
PLAIN_MAILBOX = Rule(_PLAIN)

# Several such, each on a line of its own, for one look at all of them.
PLAIN_MAILBOXES = Rule(rf"{_PLAIN}(?:\n{_PLAIN})*+")

# Path = "<" [ A-d-l ":" ] Mailbox ">";  A-d-l = At-domain *( "," At-domain )   (RFC 5321 4.1.2)
# Reverse-path = Path / "<>";  Forward-path = Path, or "<Postmaster>" in a RCPT command (4.1.1.3)
_PATH = rb"(?:(?:(?P<route>@%b(?:,@%b)*+):)?+%b|(?P<postmaster>(?i:postmaster)))?" % (
    _DOMAIN,
    _DOMAIN,
    _MAILBOX,
)
PATH = Rule(_PATH)

# mail = "MAIL FROM:" Reverse-path [SP Mail-parameters];  rcpt = "RCPT TO:" Forward-path likewise
# A space behind the colon is against the RFC, and everybody takes it.
_VERBS = rb"(?:(?i:(?P<mail>MAIL) ++FROM)|(?i:RCPT ++TO)): *+"
ENVELOPE = Rule(rb"%b<%b>(?P<parameters> .*)?" % (_VERBS, _PATH))

# What most of these lines are, and DATA, each with its CRLF. An address of 255 octets has no domain of more.
ENVELOPE_LINE = Rule(rb"(%b<(?![^>]{256})(%b)>( [^\r\n]*+)?+|(?i:DATA))\r\n" % (_VERBS, _PLAIN_OCTETS))

# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-");  esmtp-value = 1*(%d33-60 / %d62-126)
#                                                                 (RFC 5321 4.1.2, RFC 6531 3.3)
ESMTP_PARAMETER = Rule(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~%b]++))?" % _UTF8)

# ehlo-line = ehlo-keyword *( SP ehlo-param );  ehlo-param = 1*(%d33-126)     (RFC 5321 4.1.1.1)
# Judged as text, for that is what a reply holds. Old servers write "AUTH=LOGIN"; trailing and doubled
# blanks are common.
EHLO_LINE = Rule(r" *+([A-Za-z0-9][A-Za-z0-9-]*+)(=[!-~]++)?((?: ++[!-~]++)*+) *+")

# How other protocols begin: an HTTP request line, a header, a TLS ClientHello. Whoever sends these may
# follow them with lines that a stranger chose (a browser's POST), so they end the session.
FOREIGN = Rule(
    rb"(?s:(?:GET|POST|PUT|HEAD|OPTIONS|CONNECT|DELETE|PATCH|TRACE|PRI) .*|[A-Za-z][A-Za-z0-9-]*:.*|\x16.*)"
)
TLS_HANDSHAKE = b"\x16"

# "PROXY UNKNOWN", and what "the receiver must ignore" (PROXY protocol 2.1); bare CR and LF are no part of a
# line of text: another reader might end it there.
PROXY_UNKNOWN = Rule(rb"PROXY UNKNOWN(?: [^\r\n]*+)?")

# Verbs have no rule of their own; every registered one is a word of letters. "BDAT10" is none: it is a
# BDAT gone wrong, and its chunk may follow.
VERB = Rule(rb"(?!(?i:BDAT).)[A-Za-z][A-Za-z0-9-]*+")

# String = Atom / Quoted-string: what VRFY, EXPN, HELP and NOOP take. Clients send whole phrases.
ARGUMENT = Rule(rb"[!-~%b](?:[ -~%b]*[!-~%b])?" % (_UTF8, _UTF8, _UTF8))

# chunk-size = 1*DIGIT, [ SP "LAST" ]                                                 (RFC 3030)
BDAT_ARGUMENT = Rule(rb"([0-9]++)(?: ++((?i:LAST)))?")

# auth-type = 1*20( %x41-5A / %x30-39 / %x2D / %x5F ), taken in lower case too   (RFC 4422 3.1)
MECHANISM = Rule(rb"[A-Za-z0-9_-]{1,20}")

# base64 = base64-char groups with "=" padding                                    (RFC 4954 8)
BASE64 = Rule(rb"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

# Reply-code = %x32-35 %x30-35 %x30-39, but 571 and the like are common: the first digit decides.
# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
REPLY_LINE = Rule(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n]*+))?")

# What everybody takes for such a line: three digits of any value, then anything.
LOOSE_REPLY_LINE = Rule(rb"(?s:([0-9]{3})(?:(-)|.)?+(.*))")

# status-code = ("2"/"4"/"5") "." 1*3digit "." 1*3digit, without leading zeros      (RFC 3463 2)
ENHANCED_CODE = Rule(r"[245](?:\.(?:0|[1-9][0-9]{0,2})){2}(?![^ ])")

# User Name SP "<" Mailbox ">": the positive answer to VRFY, and each line of that to EXPN (RFC 5321 3.5.1)
NAMED_MAILBOX = Rule(r"(?s:([^<]*+)<(.+)>[^>]*+)")

# A whole reply of one line, which nearly all are.
ONE_LINE_REPLY = re.compile(rb"([2-5][0-9][0-9])(?: ([^\r\n\0]*+)|)\r\n")

# A whole reply of several lines, all with one code.
LINES_OF_REPLY = Rule(rb"([2-5][0-9][0-9])-[^\r\n\0]*+\r\n(?:\1-[^\r\n\0]*+\r\n)*+\1(?: [^\r\n\0]*+|)\r\n")

# As many of one line as say yes, and one that asks for the message behind them.
SUCCESSES = Rule(rb"(?:2[0-9][0-9](?: [^\r\n\0]*+)?+\r\n)*+(354(?: [^\r\n\0]*+)?+\r\n)?+")

# xtext = *( xchar / hexchar );  xchar = %d33-42 / %d44-60 / %d62-126                 (RFC 3461 4)
# hexchar = "+" 2(%x30-39 / %x41-46); lower case is taken, as everywhere.
XTEXT = Rule(rb"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*+")

# utf-8-addr-xtext: EmbeddedUnicodeChar = "\x{" HEXPOINT "}"                          (RFC 6533 3)
# HEXPOINT: what cannot stand for itself, without zeros in front; controls among it are refused here.
_HEXPOINT = rb"20|2[Bb]|3[Dd]|5[Cc]|7[Ff]|[89A-Fa-f][0-9A-Fa-f]|[1-9A-Fa-f][0-9A-Fa-f]{2,4}|10[0-9A-Fa-f]{4}"
UTF8_XTEXT = Rule(rb"(?:[!-*,-<>-\[\]-~%b]|\\x\{(?:%b)\})*+" % (_UTF8, _HEXPOINT))

# addr-type = atom                                                                  (RFC 3461 4.2)
ADDRESS_TYPE = Rule(rb"[A-Za-z0-9-]{1,40}")

# etrn = "ETRN" SP ["@"] node-name / "#" queue-name                                 (RFC 1985 5.2)
ETRN_NODE = Rule(rb"@?(?:[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+\.?|%b)|#[!-~]++" % _LITERAL)

# absolute-URI = scheme ":" hier-part [ "?" query ], in printable ASCII             (RFC 3986 4.3)
ABSOLUTE_URI = Rule(rb"[A-Za-z][A-Za-z0-9+.-]*+:[!$-;=?-Z_a-z~%@\[\]]++")
BURL_ARGUMENT = Rule(rb"([!-~]++)(?: ++((?i:LAST)))?")

# attribute-name "=" attribute-value, the value in xtext                        (Postfix's XCLIENT)
ATTRIBUTE = Rule(rb"([A-Za-z][A-Za-z0-9_]*+)=((?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2}){1,255})")
# Of some of them what is known of the value. The last: host and port, as the socket has them.
ATTRIBUTE_VALUES = {
    "PORT": Rule("[0-9]{1,5}"),
    "DESTPORT": Rule("[0-9]{1,5}"),
    "ADDR": Rule(r"(?!\[).+"),
    "DESTADDR": Rule(r"(?!\[).+"),
    "SOURCE": Rule("(?i:LOCAL|REMOTE)"),
}
UNKNOWN_VALUE = Rule(r"(?i:\[(?:UNAVAILABLE|TEMPUNAVAIL)\])")

# by-value = by-time ";" by-mode [by-trace];  by-time = ["-" / "+"] 1*9DIGIT             (RFC 2852 4)
DELIVER_BY = Rule(rb"([+-]?)([0-9]{1,9});([NRnr])([Tt]?)")

# future-release-integer = %x31-39 *8DIGIT                                            (RFC 4865 3)
SECONDS = Rule(rb"[1-9][0-9]{0,8}")

# priority-value = (["-"] NZDIGIT) / "0"                                            (RFC 6710 4.1)
PRIORITY = Rule(rb"-?[1-9]|0")

# Solicitation-keywords = word 0*("," word);  word = ALPHA 0*(wordchar)             (RFC 3865 2.1)
# wordchar = "." / "-" / "_" / ":" / ALPHA / DIGIT
_WORD = rb"[A-Za-z][A-Za-z0-9._:-]*+"
SOLICITATION = Rule(rb"(?=.{1,1000}\Z)%b(?:,%b)*+" % (_WORD, _WORD))

# date-time = full-date "T" partial-time time-offset                                (RFC 3339 5.6)
_DATE_TIME = Rule(
    rb"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    rb"[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.([0-9]++))?"
    rb"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)

# limit-name-value = limit-name ["=" limit-value]                                     (RFC 9422 3)
LIMIT = Rule(r"([A-Za-z0-9_-]++)(?:=([!-:<-~]++))?")

# What a line of text must not hold: line ends in disguise, and NUL.
_LINE_BREAKING = re.compile("[\r\n\0]")
# Controls, C1 controls and the Unicode line ends: never in an address, a parameter, a command.
_CONTROL = "[\0-\x1f\x7f-\x9f\u2028\u2029]"

# The largest number that anything here means: RFC 1870 allows 20 digits.
_NUMBER = Rule(rb"[0-9]{1,20}")
_LIMIT = Rule(rb"[1-9][0-9]{0,5}")


TOO_LARGE = 10**20
"""The first number that has more digits than `number` takes."""


def number(octets: bytes) -> int | None:
    """The value of 1 to 20 ASCII digits; None for anything else."""
    return int(octets) if _NUMBER.fullmatch(octets) else None


def limit(octets: bytes) -> int | None:
    """The value of a limit (RFC 9422 4): 1 to 6 digits, the first no zero; None for anything else."""
    return int(octets) if _LIMIT.fullmatch(octets) else None


def first_number(words: Sequence[str]) -> int | None:
    """The number with which an offer begins, up to a comma; None if there is none."""
    return number(words[0].partition(",")[0].encode("ascii")) if words else None


def instant(octets: bytes) -> tuple[int, bytes] | None:
    """When a date-time (RFC 3339 5.6) is, to compare it with another: the seconds since the beginning of the
    year 0, and the digits of their fraction; None for anything else.
    """
    match = _DATE_TIME.fullmatch(octets)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > (28 + leap if month == 2 else 30 + (month in (1, 3, 5, 7, 8, 10, 12))):
        return None
    # The days before each month: March is the first of five that repeat themselves (153 days).
    months, years = (month - 3) % 12, year - (month < 3)
    days = years * 365 + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day
    fraction, sign, hours, minutes = match.groups(b"0")[6:]
    offset = (int(hours) * 60 + int(minutes)) * (-1 if sign == b"-" else 1)
    return ((days * 24 + hour) * 60 + minute - offset) * 60 + second, fraction.rstrip(b"0")


def is_address_literal(octets: bytes) -> bool:
    """Whether `octets`, brackets included, are an address literal (RFC 5321 4.1.3)."""
    inside = octets[1:-1]
    tag, colon, address = inside.partition(b":")
    if not colon:
        return _IPV4.fullmatch(inside) is not None
    if tag.upper() != b"IPV6":
        return _GENERAL.fullmatch(inside) is not None
    return packed_ipv6(address) is not None


def packed_ipv4(address: bytes) -> bytes | None:
    """The four octets of an IPv4 address; None if it is none."""
    return bytes(map(int, address.split(b"."))) if _IPV4.fullmatch(address) else None


def packed_ipv6(address: bytes) -> bytes | None:
    """The sixteen octets of an IPv6 address without a zone id; None if it is none."""
    if not _IPV6_CHARACTERS.fullmatch(address):
        return None
    from ipaddress import AddressValueError, IPv6Address  # 3 ms, and hardly ever needed

    try:
        return IPv6Address(address.decode("ascii")).packed
    except AddressValueError:
        return None


def encode(text: str, what: str) -> bytes:
    """`text` in UTF-8, for use in a command: no control character, no lone surrogate."""
    if text.isprintable() and text.isascii():
        return text.encode("ascii")
    _refuse_control(text, what)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{what} cannot be written in UTF-8: {text!r}") from None


def decode(octets: bytes, what: str) -> str:
    """The text of octets that matched a rule of this file; they must be UTF-8."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise LocalProtocolError(f"{what} is not UTF-8: {octets!r}", code=553, enhanced="5.6.7") from None
    _refuse_control(text, what)
    return text


def _refuse_control(text: str, what: str) -> None:
    if not text.isprintable() and re.search(_CONTROL, text):
        raise LocalProtocolError(f"control character in {what}: {text!r}")


def one_line(text: str, what: str) -> str:
    """`text`, which must fit into one line of a reply."""
    if _LINE_BREAKING.search(text):
        raise LocalProtocolError(f"CR, LF or NUL in {what}: {text!r}")
    if text.isascii():
        return text
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{what} cannot be written in UTF-8: {text!r}") from None
    return octets.decode("utf-8", "surrogateescape")
