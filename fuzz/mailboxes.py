"""RFC 5321's addresses once more, read by hand: by this explained.py judges what our own grammar refuses."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from string import ascii_letters, digits

LET_DIG = frozenset((ascii_letters + digits).encode()) | frozenset(range(0x80, 0x100))
ATEXT = LET_DIG | frozenset(b"!#$%&'*+/=?^_`{|}~-")
# RFC 5198 2 forbids the C1 controls; the other two are line ends, too.
LINE_ENDS = frozenset(map(chr, (*range(0x80, 0xA0), 0x2028, 0x2029)))


def is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def has_line_end(octets: bytes) -> bool:
    """Whether there is a line end of Unicode, or another of its controls."""
    return not LINE_ENDS.isdisjoint(octets.decode("utf-8", "replace"))


def has_control(octets: bytes) -> bool:
    """Whether there is a control character of ASCII."""
    return any(octet < 0x20 or octet == 0x7F for octet in octets)


def split(octets: bytes) -> tuple[bytes, bytes | None]:
    """Local part and domain, at the first "@" outside quotes."""
    quoted = escaped = False
    for at, octet in enumerate(octets):
        if octet == ord("@") and not quoted:
            return octets[:at], octets[at + 1 :]
        if octet == ord('"') and not escaped:
            quoted = not quoted
        escaped = quoted and octet == ord("\\") and not escaped
    return octets, None


def is_local_part(octets: bytes) -> bool:
    """Dot-string / Quoted-string (4.1.2)."""
    if octets.startswith(b'"'):
        return re.fullmatch(rb'"([^\\"\0-\x1f\x7f]|\\[ -~])*"', octets) is not None
    return all(atom and ATEXT.issuperset(atom) for atom in octets.split(b"."))


def is_domain(octets: bytes) -> bool:
    """Domain = sub-domain *("." sub-domain), with labels of at most 63 octets and 255 octets in all."""
    return len(octets) <= 255 and all(map(is_label, octets.split(b".")))


def is_label(octets: bytes) -> bool:
    if octets.isascii() and len(octets) > 63:
        return False
    hyphens = octets[:1] == b"-" or octets[-1:] == b"-"
    return octets != b"" and not hyphens and LET_DIG.issuperset(octets.replace(b"-", b""))


def is_literal(octets: bytes) -> bool:
    """IPv4-address-literal / IPv6-address-literal / General-address-literal (4.1.3)."""
    general = re.fullmatch(rb"\[(?:([A-Za-z0-9-]*[A-Za-z0-9]):)?([!-Z^-~]+)\]", octets)
    if general is None:
        return False
    tag, address = general[1], general[2].decode()
    try:
        if tag is None:
            IPv4Address(address)
        elif tag.upper() == b"IPV6":
            IPv6Address(address)
    except ValueError:
        return False
    return tag is None or tag.upper() != b"IPV6" or "%" not in address


def is_route(octets: bytes) -> bool:
    """A-d-l = At-domain *( "," At-domain )."""
    return all(host[:1] == b"@" and is_domain(host[1:]) for host in octets.split(b","))


def is_mailbox(octets: bytes) -> bool:
    """Local-part "@" ( Domain / address-literal )."""
    local, domain = split(octets)
    return domain is not None and is_local_part(local) and (is_domain(domain) or is_literal(domain))


def is_path(octets: bytes) -> bool:
    """What stands between the angle brackets of a Path: nothing, too, and the name of the postmaster."""
    if not is_utf8(octets) or has_line_end(octets):
        return False
    if octets.startswith(b"@"):
        route, _, mailbox = octets.partition(b":")
        return is_route(route) and is_mailbox(mailbox)
    return octets.lower() in (b"", b"postmaster") or is_mailbox(octets)


def meaning(octets: bytes) -> tuple[bytes, bytes | None]:
    """Local part and domain, the former without its quotes and backslashes."""
    local, domain = split(octets)
    return re.sub(rb"(?s)\\(.)", rb"\1", local[1:-1]) if local.startswith(b'"') else local, domain
