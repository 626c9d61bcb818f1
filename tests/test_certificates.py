"""The promise of the certificate reader: `cryptography` and the `ssl` module tell the same, and what is
broken is said to be so, whatever they raise.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from helpers import every
from hypothesis import given
from hypothesis import strategies as st
from peers import self_made, without_cryptography

from smtp_transports._certificate import read_certificate

VERSION = bytes.fromhex("a003020102")
KEY_USAGE, EXTENDED_KEY_USAGE = bytes.fromhex("551d0f"), bytes.fromhex("551d25")


class Shown:
    """What the `ssl` module knows of a certificate: its octets, and what they say if it has verified them."""

    def __init__(self, octets: bytes = b"", **known: Any) -> None:
        self._octets = octets
        self._known = known

    def getpeercert(self, binary_form: bool = False) -> Any:
        return self._octets if binary_form else self._known


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    context.check_hostname = False
    return context


@cache
def usual() -> bytes:
    return octets_of(authority().issue_cert("mx.example", "127.0.0.1"))


def octets_of(leaf: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


def verified(leaf: trustme.LeafCert) -> ssl.SSLObject:
    """The client's end of a connection to a server with this certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(server)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [trusting().wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for end in ends * 3:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ends[0]


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
_NAMES = st.sampled_from(["mx.example", "*.mx.example", "127.0.0.1", "::1", "grüße.example"])


@given(
    st.builds(tuple, st.sets(_NAMES)),
    _TEXTS,
    _TEXTS,
    st.datetimes(datetime(1951, 1, 1), datetime(2024, 12, 31)),  # noqa: DTZ001  # trustme takes it as UTC
    st.datetimes(datetime(2045, 1, 1), datetime(2055, 12, 31)),  # noqa: DTZ001
)
def test_it_says_the_same_with_the_library_and_without(
    names: tuple[str, ...], common: str, organization: str, not_before: datetime, not_after: datetime
) -> None:
    start, end = (when.replace(tzinfo=UTC, microsecond=0) for when in (not_before, not_after))
    peer = verified(
        authority().issue_cert(
            *names, common_name=common, organization_name=organization, not_before=start, not_after=end
        )
    )
    read = read_certificate(peer)
    domains = [name.replace("grüße", "xn--gre-6ka8l") for name in names if "example" in name]
    assert {("CN", common), ("O", organization)} <= set(read.subject)
    assert [key for key, _ in read.issuer] == ["O", "OU"]
    assert (list(read.domains), read.not_before, read.not_after) == (domains, start, end)
    assert list(read.addresses) == [name for name in names if "example" not in name]
    with without_cryptography():
        assert read_certificate(peer) == read


def test_a_name_may_hold_what_is_rare() -> None:
    unique = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\xff\x00", _type=_ASN1Type.BitString)
    number = x509.NameAttribute(x509.ObjectIdentifier("2.5.4.97"), "NTRDE-1")
    read = read_certificate(Shown(octets_of(self_made(subject=[unique, number]))))
    assert read.subject == (("2.5.4.45", "ff00"), ("2.5.4.97", "NTRDE-1"))
    assert (read.domains, read.addresses) == ((), ())


def test_what_should_not_be_and_can_be_read_is_no_complaint() -> None:
    at = usual().index(VERSION) + len(VERSION) + 2
    negative = usual()[:at] + b"\xb0" + usual()[at + 1 :]  # its serial number
    assert read_certificate(Shown(negative)) == read_certificate(Shown(usual()))


def test_without_the_library_nothing_is_known_of_what_is_not_verified() -> None:
    with (
        without_cryptography(),
        pytest.raises(ValueError, match=r"^not verified: smtp-proto\[cli\] shows more$"),
    ):
        read_certificate(Shown(usual()))


@given(st.integers(0, 1000), st.binary(max_size=4), st.integers(0, 4))
def test_what_is_cut_or_changed_is_read_or_cannot_be(at: int, new: bytes, gone: int) -> None:
    octets = usual()
    at %= len(octets)
    with suppress(ValueError):
        assert read_certificate(Shown(octets[:at] + new + octets[at + gone :])).not_before


BROKEN = [
    b"",
    b"\x30",
    b"0\x80",
    b"0\x84\xff\xff\xff\xff",
    b"\x30\x02\x30\x00",
    usual()[:-1],
    usual().replace(VERSION, VERSION[:-1] + b"\x09"),
    usual().replace(KEY_USAGE, EXTENDED_KEY_USAGE),  # which is there twice then
    octets_of(self_made(x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, b"0\x80"))),
]


@every("octets", BROKEN)
def test_what_is_broken_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read$"):
        read_certificate(Shown(octets))


KNOWN = {
    "subject": (),
    "issuer": (),
    "notBefore": "Jan  1 00:00:00 2000 GMT",
    "notAfter": "Jan  1 00:00:00 3000 GMT",
}


@every(
    "more",
    [
        {"notAfter": "Bad time value"},
        {"notAfter": "Jan  1 00:00:00 0000 GMT"},
        {"subjectAltName": (("IP Address", "<invalid>"),)},
    ],
)
def test_what_openssl_cannot_read_cannot_be_read(more: dict[str, Any]) -> None:
    with without_cryptography():
        assert read_certificate(Shown(**KNOWN)).domains == ()
        with pytest.raises(ValueError, match=r"^cannot be read$"):
            read_certificate(Shown(**(KNOWN | more)))
