"""The header of a proxy: what is written is read, to the last octet and not one more, however it is cut; and
nothing else is.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import pytest
from helpers import every, pieces
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import several

from smtp_proto import Limits, LocalProtocolError, ProxyHeader, ProxyReader, RemoteProtocolError
from smtp_proto._proxy import crc32c

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
V4 = bytes((192, 0, 2, 1, 192, 0, 2, 2)) + bytes((0x11, 0xD7, 0, 25))
TLS = b"\x16\x03\x01\x02\x00"

ALICE, MX = ("192.0.2.1", 4567), ("192.0.2.2", 25)
CLIENT = ProxyHeader(transport="TCP4", source=ALICE, destination=MX)


def block(command: int, family: int, rest: bytes = b"", size: int | None = None) -> bytes:
    """A header in version 2."""
    length = len(rest) if size is None else size
    return SIGNATURE + bytes((command, family)) + length.to_bytes(2, "big") + rest


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def read(chunks: Iterable[bytes], limits: Limits | None = None) -> tuple[ProxyHeader | str | None, bytes]:
    """The header, or what was said of it, or None; and what is left behind it."""
    reader = ProxyReader(limits) if limits else ProxyReader()
    rest: list[bytes] = []
    for chunk in chunks:
        if reader.header is not None:
            rest.append(chunk)
            continue
        try:
            reader.receive_data(chunk)
        except RemoteProtocolError as exc:
            return f"{exc}{exc.reply or ''}", b""
    return reader.header, reader.trailing_data + b"".join(rest)


def single(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


# --- Strategies

PORTS = st.integers(0, 65535)


def ends(version: int) -> st.SearchStrategy[tuple[str, int]]:
    """A host of this version of IP, and a port."""
    return st.tuples(st.ip_addresses(v=version).map(str), PORTS)  # type: ignore[call-overload]


PATHS = st.one_of(
    st.just(""),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=27),
    st.binary(max_size=108).filter(lambda octets: b"\0" not in octets),
    st.binary(min_size=1, max_size=107).filter(lambda octets: octets[-1] > 0).map(b"\0".__add__),
    st.just(b"x" * 108),
).map(lambda path: path if isinstance(path, str) else path.decode("utf-8", "surrogateescape"))
TLVS = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind != 3), st.binary(max_size=40)), max_size=5
)
CHECKED = st.builds(lambda tlvs, at: [*tlvs[:at], (3, bytes(4)), *tlvs[at:]], TLVS, st.integers(0, 5))


def headers_of(transport: Any, ends: st.SearchStrategy[Any]) -> st.SearchStrategy[ProxyHeader]:
    tlvs = (TLVS | CHECKED).map(tuple)
    return st.builds(ProxyHeader, transport=st.just(transport), source=ends, destination=ends, tlvs=tlvs)


LINES = st.one_of(
    st.just(ProxyHeader(version=1, transport="UNKNOWN")),
    st.builds(
        ProxyHeader, version=st.just(1), transport=st.just("TCP4"), source=ends(4), destination=ends(4)
    ),
    st.builds(
        ProxyHeader, version=st.just(1), transport=st.just("TCP6"), source=ends(6), destination=ends(6)
    ),
)
BLOCKS = st.one_of(
    st.just(ProxyHeader(transport="LOCAL")),
    st.just(ProxyHeader(transport="UNKNOWN")),
    headers_of("TCP4", ends(4)),
    headers_of("UDP4", ends(4)),
    headers_of("TCP6", ends(6)),
    headers_of("UDP6", ends(6)),
    headers_of("UNIX", PATHS),
    headers_of("UNIXGRAM", PATHS),
)
HEADERS = LINES | BLOCKS
CUTS = several(range(1, 301), 6)


# --- What is written


@every(
    ("header", "octets"),
    [
        (
            ProxyHeader(
                version=1,
                transport="TCP4",
                source=("192.168.0.1", 56324),
                destination=("192.168.0.11", 443),
            ),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        ),
        (
            ProxyHeader(
                version=1,
                transport="TCP4",
                source=("255.255.255.255", 65535),
                destination=("255.255.255.255", 65535),
            ),
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ),
        (
            ProxyHeader(
                version=1,
                transport="TCP6",
                source=("2001:DB8:0:0::1", 0),
                destination=("::ffff:192.0.2.1", 1),
            ),
            b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 0 1\r\n",
        ),
        (ProxyHeader(version=1, transport="UNKNOWN"), b"PROXY UNKNOWN\r\n"),
        (ProxyHeader(transport="LOCAL"), block(0x20, 0x00)),
        (ProxyHeader(transport="UNKNOWN"), block(0x21, 0x00)),
        (CLIENT, block(0x21, 0x11, V4)),
        (ProxyHeader(transport="UDP4", source=ALICE, destination=MX), block(0x21, 0x12, V4)),
        (
            ProxyHeader(transport="TCP6", source=("::1", 1), destination=("2001:db8::", 2)),
            block(0x21, 0x21, bytes(15) + bytes.fromhex("01 20010db8") + bytes(12) + b"\0\1\0\2"),
        ),
        (
            ProxyHeader(transport="UDP6", source=("::", 1), destination=("::", 2)),
            block(0x21, 0x22, bytes(32) + b"\0\1\0\2"),
        ),
        (
            ProxyHeader(transport="UNIX", source="", destination="/run/ü"),
            block(0x21, 0x31, bytes(108) + "/run/ü".encode().ljust(108, b"\0")),
        ),
        (
            ProxyHeader(transport="UNIXGRAM", source="\0a\0b", destination="\udcff"),
            block(0x21, 0x32, b"\0a\0b".ljust(108, b"\0") + b"\xff".ljust(108, b"\0")),
        ),
        (
            ProxyHeader(transport="TCP4", source=ALICE, destination=MX, tlvs=((2, b"mx.example"), (4, b""))),
            block(0x21, 0x11, V4 + tlv(2, b"mx.example") + tlv(4, b"")),
        ),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else f"{value.version} {value.transport}",
)
def test_a_header_is_written_as_the_specification_has_it(header: ProxyHeader, octets: bytes) -> None:
    assert header.octets == octets
    assert read([octets]) == (header, b"")


def test_a_header_is_a_value() -> None:
    spelled = ProxyHeader(transport="TCP6", source=("2001:DB8:0::1", 25), destination=("::0", 1))
    assert (spelled.source, spelled.destination) == (("2001:db8::1", 25), ("::", 1))
    assert not spelled.local
    assert repr(CLIENT) == (
        "ProxyHeader(version=2, transport='TCP4', source=('192.0.2.1', 4567), "
        "destination=('192.0.2.2', 25), tlvs=())"
    )
    with pytest.raises(AttributeError):
        CLIENT.source = None  # type: ignore[misc]
    assert ProxyHeader(transport="UNKNOWN") != ProxyHeader(transport="LOCAL")


# RFC 3720 B.4 and the usual one.
@pytest.mark.parametrize(
    ("octets", "checksum"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_the_checksum_is_that_of_castagnoli(octets: bytes, checksum: int) -> None:
    assert crc32c(octets) == checksum


def test_the_checksum_is_made_right_and_is_of_the_whole_header() -> None:
    tlvs = ((3, b"what"), (5, b"id"))
    header = ProxyHeader(transport="TCP4", source=ALICE, destination=MX, tlvs=tlvs)
    start = block(0x21, 0x11, V4, size=12 + 7 + 5)
    right = crc32c(start + tlv(3, bytes(4)) + tlv(5, b"id")).to_bytes(4, "big")
    assert header.tlvs == ((3, right), (5, b"id"))
    assert header.octets == start + tlv(3, right) + tlv(5, b"id")
    assert header == ProxyHeader(transport="TCP4", source=ALICE, destination=MX, tlvs=header.tlvs)


def test_the_checksum_of_a_load_balancer_is_right() -> None:
    """A header of Amazon's (tests of aws/elastic-load-balancing-tools): checksum, endpoint and padding."""
    octets = SIGNATURE + bytes.fromhex("2111 0054 AC1F0771 AC1F0A1F C8F2 0050 030004 E8D6892D EA0017 01")
    octets += b"vpce-08d2bf15fac5001c9" + tlv(4, bytes(36))
    header, _ = read([octets])
    assert isinstance(header, ProxyHeader)
    assert (header.source, header.destination) == (("172.31.7.113", 51442), ("172.31.10.31", 80))
    assert [kind for kind, _ in header.tlvs] == [3, 0xEA, 4]
    assert header.octets == octets


@every(
    "fields",
    [
        {"transport": "UNIX", "version": 1, "source": "a", "destination": "b"},
        {"transport": "UDP4", "version": 1, "source": ALICE, "destination": MX},
        {"transport": "LOCAL", "version": 1},
        {"transport": "LOCAL", "version": 3},
        {"transport": "TCP5", "source": ALICE, "destination": MX},
        {"transport": "tcp4", "source": ALICE, "destination": MX},
        {"transport": "LOCAL", "source": ALICE},
        {"transport": "UNKNOWN", "destination": ALICE},
        {"transport": "LOCAL", "tlvs": ((4, b""),)},
        {"transport": "UNKNOWN", "tlvs": ((4, b""),)},
        {"transport": "TCP4", "version": 1, "source": ALICE, "destination": MX, "tlvs": ((4, b""),)},
        {"transport": "TCP4"},
        {"transport": "TCP4", "source": ALICE},
        {"transport": "TCP4", "source": "192.0.2.1", "destination": MX},
        {"transport": "TCP4", "source": (*ALICE, 0), "destination": MX},
        {"transport": "TCP4", "source": ("::1", 1), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.01", 1), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2", 1), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.1\r\n", 1), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.1 ", 1), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.\u0661", 1), "destination": MX},
        {"transport": "TCP4", "source": (3221225985, 1), "destination": MX},
        {"transport": "TCP4", "source": (b"192.0.2.1", 1), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.1", -1), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.1", 65536), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.1", "25"), "destination": MX},
        {"transport": "TCP4", "source": ("192.0.2.1", True), "destination": MX},
        {"transport": "TCP6", "source": ALICE, "destination": ("::1", 1)},
        {"transport": "TCP6", "source": ("fe80::1%eth0", 1), "destination": ("::1", 1)},
        {"transport": "TCP6", "source": (":::", 1), "destination": ("::1", 1)},
        {"transport": "UNIX", "source": ALICE, "destination": ""},
        {"transport": "UNIX", "source": b"/run/a", "destination": ""},
        {"transport": "UNIX", "source": "x" * 109, "destination": ""},
        {"transport": "UNIX", "source": "a\0b", "destination": ""},
        {"transport": "UNIX", "source": "a\0", "destination": ""},
        {"transport": "UNIX", "source": "\0", "destination": ""},
        {"transport": "UNIX", "source": "\ud800", "destination": ""},
        *(
            {"transport": "TCP4", "source": ALICE, "destination": MX, "tlvs": tlvs}
            for tlvs in (
                ((256, b""),),
                ((-1, b""),),
                ((True, b""),),
                ((1, bytes(65536)),),
                ((1, bytes(40000)), (1, bytes(40000))),
                ((3, b"abc"),),
                ((3, bytes(4)), (3, bytes(4))),
            )
        ),
    ],
    ids=repr,
)
def test_what_cannot_be_written_cannot_be_built(fields: Any) -> None:
    with pytest.raises(LocalProtocolError):
        ProxyHeader(**fields)


# --- What is read


@given(header=HEADERS, cuts=CUTS, behind=st.sampled_from([b"", b"EHLO x\r\n", TLS, b"\r\n", b"PROXY "]))
def test_what_is_written_is_read_for_every_cut(header: ProxyHeader, cuts: list[int], behind: bytes) -> None:
    stream = header.octets + behind
    for chunks in ([stream], single(stream), pieces(stream, cuts)):
        assert read(chunks) == (header, behind)
    again = pickle.loads(pickle.dumps(header))
    assert (again, again.octets, hash(again)) == (header, header.octets, hash(header))
    assert header.local is (header.transport in ("UNKNOWN", "LOCAL"))


@given(header=HEADERS, data=st.data())
def test_never_more_is_wanted_than_there_is(header: ProxyHeader, data: st.DataObject) -> None:
    """And it takes a few reads only."""
    stream, at, reads = header.octets, 0, 0
    reader = ProxyReader()
    while reader.header is None:
        assert 0 < reader.wanted <= len(stream) - at
        end = at + reader.wanted
        reader.receive_data(stream[at:end])
        at, reads = end, reads + 1
    assert (reader.header, reader.wanted, reader.trailing_data, at) == (header, 0, b"", len(stream))
    assert reads <= (3 if header.version == 2 else 17)
    reader, at = ProxyReader(), 0
    while reader.header is None:
        assert 0 < reader.wanted <= len(stream) - at
        end = at + data.draw(st.integers(1, reader.wanted))
        reader.receive_data(stream[at:end])
        at = end
    assert at == len(stream)


FULL = b"ffff:" * 7 + b"ffff"


@pytest.mark.parametrize(
    ("octets", "version", "transport"),
    [
        (b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (FULL, FULL), 1, "UNKNOWN"),
        (b"PROXY UNKNOWN \r\n", 1, "UNKNOWN"),
        (b"PROXY UNKNOWN any\0thing  \xff\r\n", 1, "UNKNOWN"),
        (block(0x20, 0x11, V4), 2, "LOCAL"),
        (block(0x20, 0xFF, b"any"), 2, "LOCAL"),
        (block(0x20, 0x00, tlv(3, b"oops")), 2, "LOCAL"),
        (block(0x21, 0x00, b"any"), 2, "UNKNOWN"),
    ],
)
def test_what_stands_in_a_header_without_a_client_is_ignored(
    octets: bytes, version: Any, transport: Any
) -> None:
    for chunks in ([octets], single(octets)):
        assert read(chunks) == (ProxyHeader(version=version, transport=transport), b"")


@pytest.mark.parametrize(
    ("octets", "source", "destination"),
    [
        (
            b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 ::FFFF:c000:201 1 2\r\n",
            ("2001:db8::1", 1),
            ("::ffff:192.0.2.1", 2),
        ),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::0 1 2\r\n", ("::ffff:192.0.2.1", 1), ("::", 2)),
        (block(0x21, 0x31, b"/a\0b".ljust(108, b"x") + b"\0a\0b".ljust(108, b"\0")), "/a", "\0a\0b"),
    ],
)
def test_addresses_are_read_in_other_spellings_too(octets: bytes, source: Any, destination: Any) -> None:
    header, _ = read([octets])
    assert isinstance(header, ProxyHeader)
    assert (header.source, header.destination) == (source, destination)


LONG = b"PROXY UNKNOWN " + b"x" * 92
BAD = {
    # Neither version
    "nothing like it": (b"EHLO client.example\r\n", "no PROXY header begins with b'E'"),
    "lower case": (b"proxy TCP4 ", "no PROXY header begins with b'p'"),
    "TLS at once": (TLS, r"no PROXY header begins with b'\x16'"),
    "a blank before": (b" PROXY ", "no PROXY header begins with b' '"),
    "no space": (b"PROXY\tTCP4", r"no PROXY header begins with b'PROXY\t'"),
    "the word alone": (b"PROXY\r\n", r"no PROXY header begins with b'PROXY\r'"),
    "half a signature": (SIGNATURE[:11] + b"\r", r"no PROXY header begins with b'\r\n\r\n\x00\r\nQUIT\r'"),
    "an empty line": (b"\r\n\r\nQUIT", r"no PROXY header begins with b'\r\n\r\nQ'"),
    # Version 1
    "no words": (b"PROXY \r\n", "neither TCP4 nor TCP6 nor UNKNOWN behind PROXY: b'PROXY '"),
    "another family": (b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", "neither TCP4 nor TCP6 nor UNKNOWN"),
    "a family in lower case": (b"PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n", "neither TCP4 nor TCP6 nor UNKNOWN"),
    "more than UNKNOWN": (b"PROXY UNKNOWNX\r\n", "neither TCP4 nor TCP6 nor UNKNOWN"),
    "a tab behind UNKNOWN": (b"PROXY UNKNOWN\t\r\n", "neither TCP4 nor TCP6 nor UNKNOWN"),
    "two spaces": (b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", "not six words with a space between them"),
    "two spaces first": (b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "neither TCP4 nor TCP6 nor UNKNOWN"),
    "a space at the end": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", "not six words with a space between them"),
    "a port too few": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "not six words with a space between them"),
    "a tab": (b"PROXY TCP4 1.1.1.1\t1.1.1.1 1 1\r\n", "not six words with a space between them"),
    "no address": (b"PROXY TCP4 mx.example 1.1.1.1 1 1\r\n", "the source is not an address"),
    "an empty address": (b"PROXY TCP4  1.1.1.1 1 1\r\n", "the source is not an address"),
    "leading zeros in an address": (
        b"PROXY TCP4 1.1.1.1 1.1.1.01 1 1\r\n",
        "the destination is not an address",
    ),
    "three numbers": (b"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", "the source is not an address"),
    "256": (b"PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", "the source is not an address"),
    "IPv6 in TCP4": (b"PROXY TCP4 ::1 1.1.1.1 1 1\r\n", "the source is not an address"),
    "IPv4 in TCP6": (b"PROXY TCP6 ::1 1.1.1.1 1 1\r\n", "the destination is not an address"),
    "a zone": (b"PROXY TCP6 fe80::1%1 ::1 1 1\r\n", "the source is not an address"),
    "brackets": (b"PROXY TCP6 [::1] ::1 1 1\r\n", "the source is not an address"),
    "two double colons": (b"PROXY TCP6 1::1::1 ::1 1 1\r\n", "the source is not an address"),
    "octets beyond ASCII": (b"PROXY TCP4 1.1.1.\xb2 1.1.1.1 1 1\r\n", "the source is not an address"),
    "a NUL": (b"PROXY TCP4 1.1.1.1\0 1.1.1.1 1 1\r\n", "the source is not an address"),
    "a port of 65536": (b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", "the source is not an address"),
    "a port with a zero": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 01\r\n", "no port number: b'01'"),
    "a port with a sign": (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "no port number: b'+1'"),
    "a port with an underscore": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1_0 1\r\n", "no port number: b'1_0'"),
    "an empty port": (b"PROXY TCP4 1.1.1.1 1.1.1.1  1\r\n", "no port number: b''"),
    "a long port": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 " + b"9" * 30 + b"\r\n", "no port number"),
    "a bare LF": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\nEHLO x\r\n", "not six words with a space between them"),
    "a bare LF and no more": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n\r\n", r"no port number: b'1\n'"),
    "a bare CR": (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r\n", r"no port number: b'1\r'"),
    "a bare LF behind UNKNOWN": (b"PROXY UNKNOWN x\nEHLO x\r\n", "neither TCP4 nor TCP6 nor UNKNOWN"),
    "a bare CR behind UNKNOWN": (b"PROXY UNKNOWN \r\r\n", "neither TCP4 nor TCP6 nor UNKNOWN"),
    "an octet too many": (LONG + b"\r\n", "line of more than 107 octets"),
    "no end": (LONG + b"xxxxx", "line of more than 107 octets"),
    # Version 2
    "version 1": (block(0x11, 0x11, V4), "no version and command: 0x11"),
    "version 3": (block(0x31, 0x11, V4), "no version and command: 0x31"),
    "another command": (
        block(0x22, 0x11, V4),
        "no version and command: 0x22",
    ),
    "another family in 2": (block(0x21, 0x41, V4), "no transport: 0x41"),
    "another protocol": (block(0x21, 0x13, V4), "no transport: 0x13"),
    "a family without a protocol": (
        block(0x21, 0x10, V4),
        "no transport: 0x10",
    ),
    "a protocol without a family": (
        block(0x21, 0x01, V4),
        "no transport: 0x01",
    ),
    "half an address": (
        block(0x21, 0x11, V4[:-1]),
        "too short a PROXY header for TCP4",
    ),
    "too short for IPv6": (block(0x21, 0x21, bytes(35)), "too short a PROXY header for TCP6"),
    "too short for a path": (block(0x21, 0x31, bytes(215)), "too short a PROXY header for UNIX"),
    "too long": (block(0x21, 0x11, size=4081), "octets 15 and 16: a PROXY header of more than 4096 octets"),
    "a long LOCAL": (
        block(0x20, 0x00, size=65535),
        "octets 15 and 16: a PROXY header of more than 4096 octets",
    ),
    "half a TLV": (block(0x21, 0x11, V4 + b"\4"), "the TLV at octet 29 passes the end"),
    "a TLV without its length": (block(0x21, 0x11, V4 + b"\4\0"), "the TLV at octet 29 passes the end"),
    "a TLV without its value": (
        block(0x21, 0x11, V4 + b"\4\0\0\4\0\1"),
        "the TLV at octet 32 passes the end",
    ),
    "a wrong checksum": (block(0x21, 0x11, V4 + tlv(4, b"") + tlv(3, b"oops")), "the checksum at octet 35"),
    "a short checksum": (block(0x21, 0x11, V4 + tlv(3, b"ooo")), "the checksum at octet 32"),
}


@every("name", BAD)
def test_what_is_no_header_is_refused_and_why(name: str) -> None:
    octets, why = BAD[name]
    said, rest = read([octets])
    assert isinstance(said, str), said
    assert why in said
    assert rest == b""
    assert read(single(octets))[0] == said
    assert len(said) < 600


def test_two_checksums_are_one_too_many() -> None:
    """Though each is right where the other one counts as it stands."""
    start = block(0x21, 0x11, V4, size=12 + 14)
    first = crc32c(start + tlv(3, bytes(4)) + tlv(3, b"abcd")).to_bytes(4, "big")
    said, _ = read([start + tlv(3, first) + tlv(3, b"abcd")])
    assert said == "a PROXY header has one checksum, of four octets"


@given(header=BLOCKS.filter(lambda header: any(kind == 3 for kind, _ in header.tlvs)), data=st.data())
def test_no_changed_bit_passes_the_checksum(header: ProxyHeader, data: st.DataObject) -> None:
    octets = bytearray(header.octets)
    # Of the length, the command and the types another bit may make a header without a checksum.
    at = data.draw(st.integers(16, 27))
    octets[at] ^= 1 << data.draw(st.integers(0, 7))
    said, _ = read([bytes(octets)])
    assert isinstance(said, str)
    assert "checksum" in said


@given(header=HEADERS, cuts=CUTS, data=st.data())
@example(header=CLIENT, cuts=[], data=None)
def test_whatever_is_changed_it_is_read_or_refused_and_alike_for_every_cut(
    header: ProxyHeader, cuts: list[int], data: Any
) -> None:
    octets = bytearray(header.octets)
    for _ in range(data.draw(st.integers(1, 3)) if data else 0):
        at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(octets))] * 2)))
        octets[at : min(end, at + 3)] = data.draw(st.binary(max_size=3))
    stream = bytes(octets) + b"EHLO x\r\n"
    outcomes = [read(chunks) for chunks in ([stream], single(stream), pieces(stream, cuts))]
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(stream=st.binary(max_size=40), start=st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE]))
def test_any_octets_are_read_or_refused_and_alike_for_every_cut(start: bytes, stream: bytes) -> None:
    assert read(pieces(start + stream, [])) == read(single(start + stream))


@given(header=HEADERS, data=st.data())
def test_the_end_in_the_middle_is_refused(header: ProxyHeader, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(header.octets) - 1))
    for chunks in ([header.octets[:at]], single(header.octets[:at])):
        said, _ = read([*filter(None, chunks), b""])
        assert said == f"the PROXY header ends after {at} octets"


def test_an_error_is_final_and_nothing_is_read_after_a_header() -> None:
    reader = ProxyReader()
    for data in (b"EHLO", b"PROXY UNKNOWN\r\n", b""):
        with pytest.raises(RemoteProtocolError, match="no PROXY header begins with b'E'") as caught:
            reader.receive_data(data)
        assert isinstance(caught.value.__cause__, LocalProtocolError)
    assert (reader.header, reader.wanted, reader.trailing_data) == (None, 0, b"")
    assert len(reader._buffer) == 4
    reader = ProxyReader()
    reader.receive_data(b"PROXY UNKNOWN\r\nEHLO")
    for data in (b" x\r\n", b""):
        with pytest.raises(LocalProtocolError, match="complete"):
            reader.receive_data(data)
    assert reader.trailing_data == b"EHLO"


def test_nothing_is_behind_a_header_that_is_not_complete() -> None:
    reader = ProxyReader()
    reader.receive_data(b"PROXY UNK")
    assert (reader.header, reader.trailing_data) == (None, b"")


# --- Limits


@pytest.mark.parametrize(
    ("octets", "longer"),
    [
        (CLIENT.octets, block(0x21, 0x11, V4 + tlv(4, b"")[:1])),
        (block(0x20, 0, bytes(12)), block(0x20, 0, bytes(13))),
        (b"PROXY UNKNOWN 3456789012\r\n", b"PROXY UNKNOWN 34567890123\r\n"),
    ],
)
def test_the_limit_is_exact_for_every_cut(octets: bytes, longer: bytes) -> None:
    limits = Limits(proxy_header=len(octets))
    for at in range(len(longer)):
        assert isinstance(read(pieces(octets, [at]), limits)[0], ProxyHeader)
        said, _ = read(pieces(longer, [at]), limits)
        assert isinstance(said, str)
        assert f"more than {len(octets)} octets" in said


def test_a_line_has_107_octets_whatever_the_limit() -> None:
    octets = LONG[:-1] + b"\r\n"
    assert len(octets) == 107
    assert isinstance(read([octets], Limits(proxy_header=65551))[0], ProxyHeader)
    said, _ = read([LONG + b"\r\n"], Limits(proxy_header=65551))
    assert said == "line of more than 107 octets"


def test_the_longest_header_is_written_and_read() -> None:
    tlvs = ((0xE0, b"x" * (65535 - 12 - 3)),)
    header = ProxyHeader(transport="TCP4", source=ALICE, destination=MX, tlvs=tlvs)
    assert len(header.octets) == 65551
    for chunks in ([header.octets], single(header.octets)):
        assert read(chunks, Limits(proxy_header=65551)) == (header, b"")
    assert read([header.octets])[0] == "octets 15 and 16: a PROXY header of more than 4096 octets"


def test_a_header_is_refused_before_it_is_stored() -> None:
    """By its first octets, however much it announces."""
    reader = ProxyReader()
    start = block(0x21, 0x11, size=65535)
    for octet in single(start[:-1]):
        reader.receive_data(octet)
    with pytest.raises(RemoteProtocolError, match="more than 4096"):
        reader.receive_data(start[-1:])
