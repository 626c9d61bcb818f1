"""What a certificate says, whether somebody vouches for it or not. The `ssl` module takes apart only those
that it has verified.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import NamedTuple

# Tags of DER (X.690), and of a certificate's optional parts (RFC 5280 4.1).
_UTC_TIME, _VERSION, _EXTENSIONS = 0x17, 0xA0, 0xA3
_DOMAIN, _ADDRESS = 0x82, 0x87
_ENCODINGS = {0x0C: "utf-8", 0x14: "latin-1", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}

_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
# RFC 4519 and 4514 3, without tag and length: what stands in names most of the time.
_ATTRIBUTES = {
    bytes.fromhex("550403"): "CN",
    bytes.fromhex("550406"): "C",
    bytes.fromhex("550407"): "L",
    bytes.fromhex("550408"): "ST",
    bytes.fromhex("55040a"): "O",
    bytes.fromhex("55040b"): "OU",
    bytes.fromhex("0992268993f22c640119"): "DC",
}


class Certificate(NamedTuple):
    """A certificate as it says itself (RFC 5280 4.1). Texts are as they came: escape before you show them."""

    subject: tuple[tuple[str, str], ...]
    """Attributes and values, such as `("CN", "mx.example")`, in their order."""
    issuer: tuple[tuple[str, str], ...]
    domains: tuple[str, ...]
    """Those of the subjectAltName, in their order."""
    addresses: tuple[str, ...]
    """The IP addresses of it."""
    not_before: datetime
    not_after: datetime
    sha256: str
    """The fingerprint, in hexadecimal."""

    def fits(self, name: str) -> bool:
        """Whether it is for this domain or address (RFC 9525 6). One of the old kind, with no names but its
        subject's, is judged by that, as OpenSSL does.
        """
        with suppress(ValueError):
            return str(ip_address(name.partition("%")[0])) in self.addresses
        domains = self.domains or [value for attribute, value in self.subject if attribute == "CN"]
        return any(_fits(pattern, name) for pattern in domains)


def read_certificate(der: bytes) -> Certificate:
    """The certificate that these octets are, in DER. Raises `ValueError` if they are none."""
    try:
        return _read(der)
    except (IndexError, ValueError) as exc:
        raise ValueError("not a certificate (RFC 5280 4.1)") from exc


def _read(der: bytes) -> Certificate:
    inner = _first(_first(der))
    parts = [(tag, content) for tag, content in _elements(inner) if tag != _VERSION]
    _, _, (_, issuer), (_, validity), (_, subject), _, *rest = parts
    not_before, not_after = (_time(tag, content) for tag, content in _elements(validity))
    names = [name for tag, content in rest if tag == _EXTENSIONS for name in _alternative_names(content)]
    return Certificate(
        subject=_name(subject),
        issuer=_name(issuer),
        domains=tuple(name.decode("ascii", "backslashreplace") for tag, name in names if tag == _DOMAIN),
        addresses=tuple(str(ip_address(name)) for tag, name in names if tag == _ADDRESS),
        not_before=not_before,
        not_after=not_after,
        sha256=hashlib.sha256(der).hexdigest(),
    )


def _first(octets: bytes) -> bytes:
    """What the first element holds."""
    for _, content in _elements(octets):
        return content
    raise IndexError


def _elements(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element. Raises `IndexError` where they are cut off."""
    while octets:
        tag, length, start = octets[0], octets[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(octets[2:start], "big")
        if len(octets) < start + length:
            raise IndexError
        yield tag, octets[start : start + length]
        octets = octets[start + length :]


def _name(octets: bytes) -> tuple[tuple[str, str], ...]:
    pairs = []
    for _, together in _elements(octets):
        for _, pair in _elements(together):
            (_, attribute), (tag, value) = _elements(pair)
            text = value.decode(_ENCODINGS.get(tag, "ascii"), "backslashreplace")
            pairs.append((_ATTRIBUTES.get(attribute) or _dotted(attribute), text))
    return tuple(pairs)


def _dotted(identifier: bytes) -> str:
    """An object identifier as numbers."""
    numbers, number = [], 0
    for octet in identifier:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _time(tag: int, content: bytes) -> datetime:
    """RFC 5280 4.1.2.5: two digits are the years from 1950 to 2049."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if text < "5" else "19") + text
    if not re.fullmatch("[0-9]{14}Z", text):
        raise ValueError(f"not a time (RFC 5280 4.1.2.5): {text!r}")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _alternative_names(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Each with its tag, which says what kind of name it is (RFC 5280 4.2.1.6)."""
    for _, extension in _elements(_first(octets)):
        (_, identifier), *_, (_, value) = _elements(extension)
        if identifier == _ALTERNATIVE_NAMES:
            yield from _elements(_first(value))


def _fits(pattern: str, name: str) -> bool:
    """Whether a domain is the one meant; `*` is one whole label, the first (RFC 9525 6.3)."""
    wanted, given = _labels(pattern), _labels(name)
    if wanted[0] == "*" and len(wanted) > 2:
        return wanted[1:] == given[1:] and given[0] != ""
    return wanted == given


def _labels(domain: str) -> Sequence[str]:
    with suppress(UnicodeError):
        domain = domain.encode("idna").decode("ascii")
    return domain.rstrip(".").lower().split(".")
