"""The grammar of the mechanisms: one pattern for each rule of the RFCs, used on octets with `fullmatch`.

Everything of the peer's passes here before it is used: what it may hold, and how long it may be. Base64 is
read in its one canonical form, so no two texts mean the same octets and no changed octet goes unseen.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from typing import Any, Final

from ._errors import SASLError

LONGEST_MESSAGE: Final = 65536
"""Octets of one challenge or response. Tokens of some thousand octets are common; SMTP stops at 9,214."""
LONGEST_TEXT: Final = 1024
"""Characters of a user name, a password or an identity: RFC 4616 2 asks for 255 octets at least. The limit
stands before the normalization, whose time grows with the square of a row of combining marks.
"""

# printable = %x21-2B / %x2D-7E                                                (RFC 5802 7)
_PRINTABLE = rb"[!-+\x2d-~]{1,1024}+"
# base64 = *base64-4 [base64-3 / base64-2]                                     (RFC 5802 7)
_BASE64 = rb"[A-Za-z0-9+/]{2,8192}+={0,2}+"
# saslname = 1*(value-safe-char / "=2C" / "=3D")                               (RFC 5802 7)
_SASLNAME = rb"(?:[^\x00=,]|=2C|=3D)++"
# extensions = attr-val *("," attr-val);  attr-val = ALPHA "=" value           (RFC 5802 7)
# Without the letters that the RFC uses: each has its one place, and "m" is refused wherever it stands.
_EXTENSIONS = rb"(?:,[bdfghjkloqtuwxyzA-Z]=[^\x00,]++)*+"

# gs2-header = gs2-cbind-flag "," [ authzid ] ","
# gs2-cbind-flag = ("p=" cb-name) / "n" / "y";  cb-name = 1*(ALPHA / DIGIT / "." / "-")
# client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
_GS2_HEADER = rb"((?:p=([A-Za-z0-9.-]++)|n|y),(?:a=(%b))?,)" % _SASLNAME
CLIENT_FIRST = re.compile(rb"%b(n=(%b),r=(%b)%b)" % (_GS2_HEADER, _SASLNAME, _PRINTABLE, _EXTENSIONS))
# server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
# iteration-count = "i=" posit-number;  posit-number = %x31-39 *DIGIT
SERVER_FIRST = re.compile(rb"r=(%b),s=(%b),i=([1-9][0-9]{0,9}+)%b" % (_PRINTABLE, _BASE64, _EXTENSIONS))
# client-final-message = channel-binding "," nonce ["," extensions] "," proof
CLIENT_FINAL = re.compile(rb"(c=(%b),r=(%b)%b),p=(%b)" % (_BASE64, _PRINTABLE, _EXTENSIONS, _BASE64))
# server-final-message = (server-error / verifier) ["," extensions]
SERVER_FINAL = re.compile(rb"(?:e=([^\x00,]++)|v=(%b))%b" % (_BASE64, _EXTENSIONS))
# server-error-value: the names of the RFC look like this; others are an "other-error".
SERVER_ERROR = re.compile(rb"[a-z0-9-]{1,40}")

NONCE = re.compile(rb"[!-+\x2d-~]{16,256}")
"""What a caller may give as a nonce: 16 characters of base64 are 96 random bits."""
BINDING_KIND = re.compile(rb"[A-Za-z0-9.-]{1,64}")

# A challenge is a msg-id: "<" random digits, a timestamp and a host name ">"  (RFC 2195 2)
CRAM_CHALLENGE = re.compile(rb"<[!-;=?-~]++>")
# A response is a user name, which may hold spaces, one space, and 16 octets in lower-case hexadecimal.
CRAM_RESPONSE = re.compile(rb"([^\x00]+) ([0-9a-f]{32})")

# client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep;  kvsep = %x01
# kvpair = key "=" value kvsep;  key = 1*(ALPHA);  value = *(VCHAR / SP / HTAB / CR / LF)   (RFC 7628 3.1)
# The gs2-header is that of SCRAM, without a channel binding.
_PAIRS = rb"((?:[A-Za-z]++=[!-~ \t\r\n]*+\x01)*+)"
OAUTHBEARER = re.compile(
    rb"[ny],(?:a=(%b))?,\x01%b\x01" % (_SASLNAME.replace(rb"\x00", rb"\x00\x01"), _PAIRS)
)
# "user=" {User} "^Aauth=Bearer " {Access Token} "^A^A"  (developers.google.com/gmail/imap/xoauth2-protocol)
XOAUTH2 = re.compile(rb"user=([^\x00\x01]++)\x01%b\x01" % _PAIRS)
# credentials = "Bearer" 1*SP b64token (RFC 6750 2.1). The scheme is blind to case (RFC 7235 2.1), and what
# servers issue as tokens is more than b64token: all that can be seen.
BEARER = re.compile(rb"(?i:Bearer) +([!-~]++)")
TOKEN = re.compile(rb"[!-~]{1,49152}")
# "represented as a decimal positive integer string without leading zeros"     (RFC 7628 3.1)
PORT = re.compile(rb"[1-9][0-9]{0,4}")


def decode_base64(octets: bytes) -> bytes:
    """The octets behind a canonical base64 (RFC 4648 3.5). Raises `SASLError` for any other text."""
    try:
        decoded = a2b_base64(octets, strict_mode=True)
    except ValueError:
        decoded = b""
    if not decoded or encode_base64(decoded) != octets:
        raise SASLError("not base64, or not as it is written (RFC 4648 3.5)", error="invalid-encoding")
    return decoded


def encode_base64(octets: bytes) -> bytes:
    return b2a_base64(octets, newline=False)


def number(digits: bytes) -> int:
    """What SERVER_FIRST or PORT found: ten digits at most."""
    return int(digits)  # bounded by the pattern


def read(rule: re.Pattern[bytes], message: bytes, what: str) -> tuple[Any, ...]:
    """The groups of a rule that fits a whole message. Raises `SASLError` if it does not."""
    if match := rule.fullmatch(message):
        return match.groups()
    raise SASLError(f"not {what}", error="invalid-encoding")


def escape(text: str) -> str:
    """A saslname (RFC 5802 5.1)."""
    return text.replace("=", "=3D").replace(",", "=2C")


def unescape(octets: bytes | None) -> str:
    """The text of a saslname, empty for None. Raises `SASLError` if it is not UTF-8."""
    return decode(octets or b"").replace("=2C", ",").replace("=3D", "=")


def decode(octets: bytes) -> str:
    """Raises `SASLError` for what is not UTF-8."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        pass
    # Outside of the block: the cause would carry the octets, which may be a password.
    raise SASLError("not UTF-8 (RFC 3629)", error="invalid-encoding")


def response(octets: bytes | None) -> bytes:
    """What a server's generator was sent, judged by its length alone. Raises `SASLError`."""
    if octets is None:
        raise SASLError("a response is missing")
    return _bounded(octets)


def challenge(octets: bytes | None) -> bytes:
    """What a client's generator was sent where it needs a challenge. Raises `SASLError`.

    None means that the server reports success already; no mechanism here may believe that.
    """
    if octets is None:
        raise SASLError("the server reports success in the middle of the exchange")
    return _bounded(octets)


def end(octets: bytes | None) -> None:
    """What a client's generator was sent where nothing more is due. Raises `SASLError` for a challenge."""
    if octets is not None:
        raise SASLError("the server sends a challenge too many")


def _bounded(octets: bytes) -> bytes:
    if len(octets) > LONGEST_MESSAGE:
        raise SASLError(f"a message of more than {LONGEST_MESSAGE} octets")
    return octets
