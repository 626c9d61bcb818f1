"""Reading the header of the PROXY protocol, versions 1 and 2, and not an octet behind it. No I/O.

    reader = ProxyReader()
    while reader.header is None:
        reader.receive_data(sock.recv(reader.wanted))

TLS may begin behind the header, and who reads too far takes it away from the handshake. A line does not say
how long it is; but its words have a shortest form, so a few reads get to its end without passing it.
Each octet is judged in its turn, and with the octets before it alone: so the cuts do not matter.
"""

from __future__ import annotations

from . import _grammar
from ._connection import fault
from ._errors import LocalProtocolError, RemoteProtocolError
from ._limits import DEFAULT_LIMITS, Limits
from ._proxy import (
    CHECKSUM,
    FAMILIES,
    LOCAL,
    PROXY,
    SIGNATURE,
    UNIX_SIZE,
    Address,
    ProxyHeader,
    Transport,
    crc32c,
    host_from_octets,
    path_from_octets,
)
from ._receive_buffer import ReceiveBuffer

_STARTS = (b"PROXY ", SIGNATURE)
# 2.1: the longest line, its CRLF included, and the shortest: "PROXY UNKNOWN".
_LONGEST_LINE, _SHORTEST_LINE = 107, 15
# The words behind these, each with the octets of its shortest form.
_WORDS: dict[bytes, tuple[Transport, tuple[int, ...]]] = {
    b"TCP4": ("TCP4", (7, 7, 1, 1)),
    b"TCP6": ("TCP6", (2, 2, 1, 1)),
}
# 2.2: what stands before the addresses, their length included.
_FIXED = 16
_TRANSPORTS = {octet: transport for transport, (octet, _) in FAMILIES.items()}


class ProxyReader:
    """Reads one header. `limits.proxy_header` is how many octets it may have."""

    __slots__ = ("_buffer", "_error", "_header", "_limit")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._buffer = ReceiveBuffer()
        self._error: RemoteProtocolError | None = None
        self._header: ProxyHeader | None = None
        self._limit = limits.proxy_header

    @property
    def header(self) -> ProxyHeader | None:
        """The header, once it is complete."""
        return self._header

    def receive_data(self, data: bytes) -> None:
        """Take octets from the network; `b""` says that no more will come.

        Raises `RemoteProtocolError` if that is no header, now and ever after; it has no `reply`, for nobody
        is to be answered. Raises `LocalProtocolError` if the header is complete already.
        """
        if self._header is not None:
            raise LocalProtocolError("the PROXY header is complete")
        if self._error is None:
            self._buffer.append(data)
            try:
                self._header = self._read(ended=not data)
            except LocalProtocolError as exc:
                self._error = fault(exc)
                self._error.reply = None
                self._error.__cause__ = exc
        if self._error is not None:
            raise self._error

    @property
    def trailing_data(self) -> bytes:
        """What was received behind the header: nothing, if never more was read than `wanted`."""
        return b"" if self._header is None else bytes(self._buffer.octets)

    @property
    def wanted(self) -> int:
        """How many octets may be read next: one more might stand behind the header. 0: none at all."""
        octets = self._buffer.octets
        if self._header is not None or self._error is not None:
            return 0
        if octets[:1] == SIGNATURE[:1]:
            return (_FIXED if len(octets) < _FIXED else _size(octets)) - len(octets)
        if len(octets) < _SHORTEST_LINE:
            return _SHORTEST_LINE - len(octets)
        words = octets.split(b" ")
        _, shortest = _WORDS.get(bytes(words[1]), ("UNKNOWN", ()))
        missing = shortest[len(words) - 2 :]
        return sum(missing) + len(missing) + (1 if octets[-1:] == b"\r" else 2)

    def _read(self, *, ended: bool) -> ProxyHeader | None:
        octets = self._buffer.octets
        if ended:
            raise LocalProtocolError(f"the PROXY header ends after {len(octets)} octets")
        _check_start(bytes(octets[: len(SIGNATURE)]))
        if octets[:1] == SIGNATURE[:1]:
            _check_block(octets, self._limit)
            whole = len(octets) >= _FIXED and len(octets) >= _size(octets)
            return _from_block(self._buffer.take(_size(octets))) if whole else None
        line = self._buffer.read_line(min(_LONGEST_LINE, self._limit), bare_lf=False)
        return None if line is None else _from_line(line)


def _begins(octets: bytes) -> bool:
    return any(octets[: len(start)] == start[: len(octets)] for start in _STARTS)


def _check_start(octets: bytes) -> None:
    """Refuse what begins like neither version, up to the first octet that is wrong."""
    if not _begins(octets):
        wrong = next(at for at in range(1, len(octets) + 1) if not _begins(octets[:at]))
        raise LocalProtocolError(f"no PROXY header begins with {octets[:wrong]!r}")


# Version 1


def _from_line(line: bytes) -> ProxyHeader:
    """2.1. Of `UNKNOWN` the rest is to be ignored; but not a line end in disguise."""
    if _grammar.PROXY_UNKNOWN.fullmatch(line):
        return ProxyHeader(version=1, transport="UNKNOWN")
    words = line.split(b" ")
    transport, _ = _WORDS.get(words[1], (None, ()))
    if transport is None:
        raise LocalProtocolError(f"neither TCP4 nor TCP6 nor UNKNOWN behind PROXY: {line!r}")
    if len(words) != 6:
        raise LocalProtocolError(f"not six words with a space between them in the PROXY header: {line!r}")
    source, destination = _address(words[2], words[4], line), _address(words[3], words[5], line)
    return ProxyHeader(version=1, transport=transport, source=source, destination=destination)


def _address(host: bytes, port: bytes, line: bytes) -> Address:
    """An address of any family: whether it is of the right one, the header knows."""
    number = _grammar.number(port)
    if number is None or port != b"%d" % number:
        raise LocalProtocolError(f"no port number: {port!r} in the PROXY header {line!r}")
    return host.decode("ascii", "backslashreplace"), number


# Version 2


def _size(octets: bytes | bytearray) -> int:
    """How long the header is, by its octets 15 and 16."""
    return _FIXED + int.from_bytes(octets[14:16], "big")


def _check_block(octets: bytearray, limit: int) -> None:
    """Refuse what stands before the addresses, octet by octet, and with it how many of them there are."""
    if len(octets) > 12 and octets[12] not in (LOCAL, PROXY):
        raise LocalProtocolError(f"octet 13 of the PROXY header is no version and command: {octets[12]:#04x}")
    if len(octets) > 13 and octets[12] == PROXY and octets[13] not in _TRANSPORTS:
        raise LocalProtocolError(f"octet 14 of the PROXY header is no transport: {octets[13]:#04x}")
    if len(octets) < _FIXED:
        return
    if octets[12] == PROXY and _size(octets) < _addresses_end(octets):
        raise LocalProtocolError(f"octets 15 and 16: too short a PROXY header for {_transport(octets)}")
    if _size(octets) > limit:
        raise LocalProtocolError(f"octets 15 and 16: a PROXY header of more than {limit} octets")


def _transport(octets: bytes | bytearray) -> Transport:
    return "LOCAL" if octets[12] == LOCAL else _TRANSPORTS[octets[13]]


def _addresses_end(octets: bytes | bytearray) -> int:
    _, size = FAMILIES[_transport(octets)]
    return _FIXED + 2 * size + (4 if 0 < size < UNIX_SIZE else 0)


def _from_block(octets: bytes) -> ProxyHeader:
    """2.2. Where the connection's own addresses count, all else is to be ignored: nobody says what it is."""
    transport = _transport(octets)
    if transport in ("LOCAL", "UNKNOWN"):
        return ProxyHeader(transport=transport)
    _, size = FAMILIES[transport]
    at, end = _FIXED, _addresses_end(octets)
    hosts = octets[at : at + size], octets[at + size : at + 2 * size]
    tlvs = tuple(_vectors(octets, end))
    if size == UNIX_SIZE:
        source, destination = map(path_from_octets, hosts)
        return ProxyHeader(transport=transport, source=source, destination=destination, tlvs=tlvs)
    ports = octets[end - 4 : end - 2], octets[end - 2 : end]
    ends = [
        (host_from_octets(host), int.from_bytes(port, "big")) for host, port in zip(hosts, ports, strict=True)
    ]
    return ProxyHeader(transport=transport, source=ends[0], destination=ends[1], tlvs=tlvs)


def _vectors(octets: bytes, at: int) -> list[tuple[int, bytes]]:
    """What stands behind the addresses, which end at `at`."""
    tlvs = []
    checksums = []
    while at < len(octets):
        start = at + 3
        end = start + int.from_bytes(octets[at + 1 : start], "big")
        if start > len(octets) or end > len(octets):
            raise LocalProtocolError(f"the TLV at octet {at + 1} passes the end of the PROXY header")
        tlvs.append((octets[at], octets[start:end]))
        if octets[at] == CHECKSUM:
            checksums.append(start)
        at = end
    for start in checksums[:1]:  # of a second one the header will complain
        _verify(octets, start)
    return tlvs


def _verify(octets: bytes, at: int) -> None:
    """2.2.3: who writes a checksum wants it verified, and whoever can must do it."""
    end = at + 4
    if octets[at:end] != crc32c(octets[:at] + bytes(4) + octets[end:]).to_bytes(4, "big"):
        raise LocalProtocolError(f"the checksum at octet {at + 1} of the PROXY header is wrong")
