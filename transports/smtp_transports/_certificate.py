"""What a certificate says, whether somebody vouches for it or not. `cryptography` reads any; where it is not
installed, the `ssl` module tells what those say that it has verified.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509

# OpenSSL's words for what RFC 4514 3 calls thus.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}


class Certificate(NamedTuple):
    """A certificate as it says itself (RFC 5280 4.1). Texts are as they came: escape before you show them.

    `subject` and `issuer` are attributes and values, such as `("CN", "mx.example")`; an attribute without a
    short name is a number for `cryptography`, and a word for OpenSSL. `domains` and `addresses` are those of
    the subjectAltName. All are in their order.
    """

    subject: tuple[tuple[str, str], ...]
    issuer: tuple[tuple[str, str], ...]
    domains: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: datetime
    not_after: datetime


def read_certificate(tls: Any) -> Certificate:
    """That of the peer of this `ssl.SSLObject`. Raises `ValueError` that says why it is not known."""
    try:
        try:
            return _from_octets(tls.getpeercert(binary_form=True))
        except ImportError:
            if known := tls.getpeercert():
                return _from_ssl(known)
    except Exception as exc:  # it can be broken in more ways than its readers have documented
        raise ValueError("cannot be read") from exc
    raise ValueError("not verified: smtp-proto[cli] shows more")


def _from_octets(der: bytes) -> Certificate:
    from cryptography import x509

    with warnings.catch_warnings(action="ignore"):  # about what should not be, but can be read
        read = x509.load_der_x509_certificate(der)
        values = [extension.value for extension in read.extensions]
        names = [name for value in values if isinstance(value, x509.SubjectAlternativeName) for name in value]
        return Certificate(
            subject=_attributes(read.subject),
            issuer=_attributes(read.issuer),
            domains=tuple(name.value for name in names if isinstance(name, x509.DNSName)),
            addresses=tuple(str(name.value) for name in names if isinstance(name, x509.IPAddress)),
            not_before=read.not_valid_before_utc,
            not_after=read.not_valid_after_utc,
        )


def _attributes(name: x509.Name) -> tuple[tuple[str, str], ...]:
    # Octets are those of a BIT STRING, as in an x500UniqueIdentifier.
    values = (one.value if isinstance(one.value, str) else one.value.hex() for one in name)
    return tuple(zip((one.rfc4514_attribute_name for one in name), values, strict=True))


def _from_ssl(known: Mapping[str, Any]) -> Certificate:
    names = known.get("subjectAltName", ())
    subject, issuer = (
        tuple((_SHORT.get(key, key), value) for together in known[whose] for key, value in together)
        for whose in ("subject", "issuer")
    )
    return Certificate(
        subject=subject,
        issuer=issuer,
        domains=tuple(name for kind, name in names if kind == "DNS"),
        addresses=tuple(str(ip_address(name)) for kind, name in names if kind == "IP Address"),
        not_before=datetime.fromtimestamp(ssl.cert_time_to_seconds(known["notBefore"]), UTC),
        not_after=datetime.fromtimestamp(ssl.cert_time_to_seconds(known["notAfter"]), UTC),
    )
