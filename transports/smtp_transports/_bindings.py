"""What ties an authentication to the TLS connection under it (RFC 5929), as far as the `ssl` module tells."""

from __future__ import annotations

import hashlib
from typing import Any

from smtp_proto.sasl import ChannelBinding

# The signature algorithms of certificates, as DER object identifiers without tag and length, and the hash
# that RFC 5929 4.1 makes of each: its own, but SHA-256 in the place of MD5 and SHA-1.
_RSA, _ECDSA = bytes.fromhex("2a864886f70d0101"), bytes.fromhex("2a8648ce3d0403")
_HASHES = {
    _RSA + b"\x04": "sha256",
    _RSA + b"\x05": "sha256",
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    bytes.fromhex("2a8648ce3d0401"): "sha256",
    _ECDSA + b"\x01": "sha224",
    _ECDSA + b"\x02": "sha256",
    _ECDSA + b"\x03": "sha384",
    _ECDSA + b"\x04": "sha512",
}


def channel_bindings(ssl_object: Any, *, is_client: bool) -> tuple[ChannelBinding, ...]:
    """The bindings of a TLS connection, the best first; none in the clear. The `ssl` module does not tell a
    server its own certificate.
    """
    if ssl_object is None:
        return ()
    found = []
    if ssl_object.version() != "TLSv1.3":  # RFC 9266: there it is not unique
        unique = ssl_object.get_channel_binding("tls-unique")
        if unique:
            found.append(ChannelBinding("tls-unique", unique))
    certificate = ssl_object.getpeercert(binary_form=True) if is_client else None
    end_point = server_end_point(certificate) if certificate else None
    if end_point:
        found.append(ChannelBinding("tls-server-end-point", end_point))
    return tuple(found)


def server_end_point(certificate: bytes) -> bytes | None:
    """The hash of a certificate in DER (RFC 5929 4.1); None where its signature names no hash."""
    try:
        certificate_list, _ = _element(certificate)
        _, behind_tbs = _element(certificate_list)
        algorithm, _ = _element(behind_tbs)
        identifier, _ = _element(algorithm)
    except IndexError:
        return None
    name = _HASHES.get(identifier)
    return hashlib.new(name, certificate).digest() if name else None


def _element(octets: bytes) -> tuple[bytes, bytes]:
    """The content of the first DER element, and what stands behind it. Raises `IndexError` for none."""
    length, start = octets[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(octets[2:start], "big")
    return octets[start : start + length], octets[start + length :]
