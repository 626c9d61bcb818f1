"""The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): a proxy says before all else who its
client is. Here is what it says, and how that is written; `_proxy_reader.py` reads it.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from . import _grammar
from ._errors import LocalProtocolError
from ._message import Message, field

Transport: TypeAlias = Literal["TCP4", "TCP6", "UDP4", "UDP6", "UNIX", "UNIXGRAM", "UNKNOWN", "LOCAL"]
Address: TypeAlias = tuple[str, int] | str
TLVs: TypeAlias = tuple[tuple[int, bytes], ...]

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNIX_SIZE = 108
FAMILIES: dict[Transport, tuple[int, int]] = {
    "UNKNOWN": (0x00, 0),
    "TCP4": (0x11, 4),
    "UDP4": (0x12, 4),
    "TCP6": (0x21, 16),
    "UDP6": (0x22, 16),
    "UNIX": (0x31, UNIX_SIZE),
    "UNIXGRAM": (0x32, UNIX_SIZE),
}
"""2.2: the octet of a family with a protocol, and how many octets each of the two addresses has. Other pairs
of known halves are none that a sender may write.
"""
# The transports of each version.
_KNOWN = {1: ("TCP4", "TCP6", "UNKNOWN"), 2: (*FAMILIES, "LOCAL")}
_PACKED = {4: _grammar.packed_ipv4, 16: _grammar.packed_ipv6}
_LONGEST_BLOCK = 65535
CHECKSUM = 0x03  # PP2_TYPE_CRC32C


class ProxyHeader(Message):
    """What a proxy says of a connection that it passes on (PROXY protocol).

    `version`: 1 (a line of text) or 2 (binary). `transport`: `TCP4`, `TCP6` or `UNKNOWN`; in version 2 also
    `UDP4`, `UDP6`, `UNIX`, `UNIXGRAM` (datagrams), and `LOCAL`: the proxy speaks for itself, to see whether
    the server is well. `source`, `destination`: the client, and what it connected to: host and port; the
    path of a Unix socket (in UTF-8, other octets as lone surrogates; empty if it has none, behind a NUL if
    it is abstract); None for `UNKNOWN` and `LOCAL`. An IPv6 address is kept in its shortest form. `tlvs`:
    what else version 2 has to say, pairs of type and octets, in their order; if one has type 3, the
    header's CRC32C, whatever four octets are given become the right ones.

    Raises `LocalProtocolError` for what cannot be written.
    """

    __slots__ = ("_destination", "_octets", "_source", "_tlvs", "_transport", "_version")
    _fields = ("version", "transport", "source", "destination", "tlvs")

    version: Literal[1, 2] = field("_version")
    transport: Transport = field("_transport")
    source: Address | None = field("_source")
    destination: Address | None = field("_destination")
    tlvs: TLVs = field("_tlvs")
    octets: bytes = field("_octets")
    """The header as it is written: in one piece, before anything else."""

    def __init__(
        self,
        *,
        version: Literal[1, 2] = 2,
        transport: Transport,
        source: Address | None = None,
        destination: Address | None = None,
        tlvs: TLVs = (),
    ) -> None:
        if transport not in _KNOWN.get(version, ()):
            raise LocalProtocolError(f"version {version!r} of the PROXY protocol has no {transport!r}")
        family, size = FAMILIES.get(transport, (0x00, 0))
        self._version = version
        self._transport = transport
        self._source, from_host, from_port = _pack(source, size, "source")
        self._destination, to_host, to_port = _pack(destination, size, "destination")
        if tlvs and (version == 1 or not size):
            raise LocalProtocolError(f"version {version} of the PROXY protocol says no more of {transport}")
        if version == 1:
            self._tlvs: TLVs = ()
            self._octets = _line(transport, self._source, self._destination)
        else:
            start = bytes((LOCAL if transport == "LOCAL" else PROXY, family))
            self._tlvs, self._octets = _block(start, from_host + to_host + from_port + to_port, tuple(tlvs))

    @property
    def local(self) -> bool:
        """Whether it names no client: all that is known are the connection's own addresses."""
        return self._source is None


def _pack(address: Address | None, size: int, what: str) -> tuple[Address | None, bytes, bytes]:
    """The address in its canonical form; its octets, and those of its port."""
    if size == UNIX_SIZE and isinstance(address, str):
        octets = _path(address)
        return path_from_octets(octets), octets, b""
    if 0 < size < UNIX_SIZE and isinstance(address, tuple) and len(address) == 2:
        host, port = address
        packed = _PACKED[size](host.encode("ascii", "replace")) if isinstance(host, str) else None
        if packed is not None and type(port) is int and 0 <= port <= 65535:
            return (host_from_octets(packed), port), packed, port.to_bytes(2, "big")
    if size or address is not None:
        raise LocalProtocolError(f"the {what} is not an address of that transport: {address!r}")
    return None, b"", b""


def _path(path: str) -> bytes:
    """The path of a Unix socket, filled up with NUL."""
    try:
        octets = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"not the path of a socket: {path!r}") from None
    filled = octets.ljust(UNIX_SIZE, b"\0")
    if len(filled) > UNIX_SIZE or path_from_octets(filled) != octets.decode("utf-8", "surrogateescape"):
        raise LocalProtocolError(f"not the path of a socket, or of more than {UNIX_SIZE} octets: {path!r}")
    return filled


def path_from_octets(octets: bytes) -> str:
    """The path of a Unix socket. What stands behind the NUL that ends it was in the sender's memory, and
    means nothing; but an abstract name begins with NUL, and may hold more of them.
    """
    path = octets.rstrip(b"\0") if octets[:1] == b"\0" else octets.partition(b"\0")[0]
    return path.decode("utf-8", "surrogateescape")


def host_from_octets(octets: bytes) -> str:
    """The text of an IP address, as `getpeername` would give it."""
    if len(octets) == 4:
        return ".".join(map(str, octets))
    if octets[:12] == bytes(10) + b"\xff\xff":  # of which ipaddress before Python 3.13 makes two words
        return "::ffff:" + host_from_octets(octets[12:])
    from ipaddress import IPv6Address  # 3 ms, and hardly ever needed

    return str(IPv6Address(octets))


def _line(transport: Transport, source: Address | None, destination: Address | None) -> bytes:
    """2.1: the header in version 1."""
    words = ["PROXY", transport]
    if isinstance(source, tuple) and isinstance(destination, tuple):
        words += [source[0], destination[0], str(source[1]), str(destination[1])]
    return " ".join(words).encode("ascii") + b"\r\n"


def _block(start: bytes, addresses: bytes, tlvs: TLVs) -> tuple[TLVs, bytes]:
    """2.2: the vectors with the right checksum, if one is wanted, and the header in version 2."""
    _check(tlvs)
    zeros = tuple((kind, bytes(4) if kind == CHECKSUM else bytes(value)) for kind, value in tlvs)
    block = addresses + _vectors(zeros)
    if len(block) > _LONGEST_BLOCK:
        raise LocalProtocolError(f"{len(block)} octets of a PROXY header: {_LONGEST_BLOCK} can be written")
    start = SIGNATURE + start + len(block).to_bytes(2, "big")
    if all(kind != CHECKSUM for kind, _ in tlvs):
        return zeros, start + block
    checksum = crc32c(start + block).to_bytes(4, "big")
    right = tuple((kind, checksum if kind == CHECKSUM else value) for kind, value in zeros)
    return right, start + addresses + _vectors(right)


def _check(tlvs: TLVs) -> None:
    for kind, value in tlvs:
        if type(kind) is not int or not 0 <= kind <= 255 or len(value) > _LONGEST_BLOCK:
            raise LocalProtocolError(f"no TLV of a PROXY header: type {kind!r}, {len(value)} octets")
    if [len(value) for kind, value in tlvs if kind == CHECKSUM] not in ([], [4]):
        raise LocalProtocolError("a PROXY header has one checksum, of four octets")


def _vectors(tlvs: TLVs) -> bytes:
    return b"".join(bytes((kind,)) + len(value).to_bytes(2, "big") + value for kind, value in tlvs)


# CRC32C (RFC 4960 appendix B) by half octets: a table of 16 costs the import nothing.
_TABLE = list(range(16))
for _ in range(4):
    _TABLE = [value >> 1 ^ (0x82F63B78 if value & 1 else 0) for value in _TABLE]


def crc32c(octets: bytes) -> int:
    """The checksum of 2.2.3."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= octet
        crc = crc >> 4 ^ _TABLE[crc & 15]
        crc = crc >> 4 ^ _TABLE[crc & 15]
    return crc ^ 0xFFFFFFFF
