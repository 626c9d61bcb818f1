"""The promise of the certificate reader: it reads what OpenSSL reads, and judges names as OpenSSL does."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
import trustme
from helpers import every
from hypothesis import given
from hypothesis import strategies as st

from smtp_transports._certificate import read_certificate


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


@cache
def usual() -> bytes:
    return issued("mx.example", "127.0.0.1")[1]


def issued(*names: str, **options: Any) -> tuple[trustme.LeafCert, bytes]:
    """A certificate for these, and its octets in DER."""
    leaf = authority().issue_cert(*names, **options)
    return leaf, ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


def handshake(leaf: trustme.LeafCert, name: str) -> Any:
    """What OpenSSL makes of this certificate, of a server that should be `name`. Raises what it raises."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(server)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        trusting().wrap_bio(back, there, server_hostname=name),
        server.wrap_bio(there, back, server_side=True),
    ]
    for end in ends * 3:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ends[0].getpeercert()


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
_SHORT = {"CN": "commonName", "O": "organizationName", "OU": "organizationalUnitName"}


@given(
    st.builds(
        tuple, st.sets(st.sampled_from(["mx.example", "*.mx.example", "127.0.0.1", "::1"]), min_size=1)
    ),
    _TEXTS,
    _TEXTS,
    st.datetimes(datetime(1951, 1, 1), datetime(2024, 12, 31)),  # noqa: DTZ001  # trustme takes it as UTC
    st.datetimes(datetime(2045, 1, 1), datetime(2055, 12, 31)),  # noqa: DTZ001
)
def test_it_reads_what_openssl_reads(
    names: tuple[str, ...], common: str, organization: str, not_before: datetime, not_after: datetime
) -> None:
    leaf, der = issued(
        *names,
        common_name=common,
        organization_name=organization,
        not_before=not_before.replace(tzinfo=UTC),
        not_after=not_after.replace(tzinfo=UTC),
    )
    read = read_certificate(der)
    known = handshake(leaf, names[0].replace("*", "a"))
    assert [(_SHORT[key], text) for key, text in read.subject] == [one for (one,) in known["subject"]]
    assert [(_SHORT[key], text) for key, text in read.issuer] == [one for (one,) in known["issuer"]]
    assert read.domains == tuple(name for kind, name in known["subjectAltName"] if kind == "DNS")
    assert len(read.addresses) == len([kind for kind, _ in known["subjectAltName"] if kind == "IP Address"])
    assert read.not_before.timestamp() == ssl.cert_time_to_seconds(known["notBefore"])
    assert read.not_after.timestamp() == ssl.cert_time_to_seconds(known["notAfter"])


NAMES = (
    "mx.example",
    "MX.Example",
    "a.mx.example",
    "b.a.mx.example",
    "example",
    "127.0.0.1",
    "127.0.0.2",
    "::1",
    "0:0:0:0:0:0:0:1",
    "grüße.example",
    "xn--gre-6ka8i.example",
    "old.example",
)


@every(
    "given",
    [
        (),
        ("mx.example",),
        ("*.mx.example",),
        ("*.example",),
        ("127.0.0.1",),
        ("127.0.0.1", "a.mx.example"),
        ("::1",),
        ("grüße.example",),
    ],
)
def test_a_name_fits_where_openssl_says_so(given: tuple[str, ...]) -> None:
    leaf, der = issued(*given, common_name="old.example")
    read = read_certificate(der)
    for name in NAMES:
        try:
            fits = bool(handshake(leaf, name))
        except ssl.SSLCertVerificationError:
            fits = False
        assert read.fits(name) is fits, name


def test_an_attribute_that_has_no_name_here_is_shown_as_its_number() -> None:
    octets = usual().replace(bytes.fromhex("060355040a"), bytes.fromhex("0603550461"))
    assert {key for key, _ in read_certificate(octets).subject} >= {"2.5.4.97"}


@given(st.integers(0, 1000), st.binary(max_size=4), st.integers(0, 4))
def test_what_is_cut_or_changed_is_read_or_is_no_certificate(at: int, new: bytes, gone: int) -> None:
    octets = usual()
    at %= len(octets)
    octets = octets[:at] + new + octets[at + gone :]
    with suppress(ValueError):
        read_certificate(octets).fits("mx.example")


@every("octets", [b"", b"\x30", b"0\x80", b"0\x84\xff\xff\xff\xff", b"0\x000\x00", b"\x30\x02\x30\x00"])
def test_what_is_no_certificate_is_none(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        read_certificate(octets)
