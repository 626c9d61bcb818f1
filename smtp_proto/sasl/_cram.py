"""CRAM-MD5 (RFC 2195): a proof of the password, which both sides must have in the clear.

The server proves nothing, and MD5 is what it is; this is for servers that have nothing better.
"""

from __future__ import annotations

import hashlib
import hmac

from ._errors import AuthFailed, SASLError
from ._grammar import CRAM_CHALLENGE, CRAM_RESPONSE, challenge, decode, end, read, response
from ._prepare import saslprep
from ._values import Client, Context, Credentials, Identity, LookUpSecret, Server, answer_of, only_self


def cram_md5_client(name: str, credentials: Credentials, context: Context) -> Client:
    only_self(credentials, name)
    user = saslprep(credentials.user, "the user name")
    password = saslprep(credentials.password or "", "the password")
    question = challenge((yield None))
    read(CRAM_CHALLENGE, question, "a challenge of CRAM-MD5 (RFC 2195 2)")
    end((yield user.encode() + b" " + _digest(password.encode(), question)))


def cram_md5_server(name: str, context: Context, initial: bytes | None) -> Server:
    """The nonce makes the challenge new; it stands where the RFC has a process's number and the time."""
    if initial is not None:
        raise SASLError("in CRAM-MD5 the server speaks first (RFC 2195 2)")
    question = _challenge(context)
    message = response((yield question))
    octets, digest = read(CRAM_RESPONSE, message, "a response of CRAM-MD5 (RFC 2195 2)")
    user = saslprep(decode(octets), "the user name")
    secret = yield LookUpSecret(user)
    answer_of(secret, LookUpSecret, str, type(None))
    made_up = hmac.digest(context.checked_secret(), user.encode(), "sha256")
    expected = _digest(secret.encode() if secret else made_up, question)
    if not hmac.compare_digest(expected, digest) or not secret:
        raise AuthFailed
    return Identity(user)


def _challenge(context: Context) -> bytes:
    context.checked_secret()
    question = f"<{context.checked_nonce()}@{context.host or 'localhost'}>".encode("ascii", "replace")
    if not CRAM_CHALLENGE.fullmatch(question):
        raise ValueError("a nonce or a host that does not fit into a challenge of CRAM-MD5")
    return question


def _digest(key: bytes, message: bytes) -> bytes:
    """Where MD5 is refused by policy (FIPS 140), it is for security only: a password's proof must work."""
    try:
        return hmac.new(key, message, _md5).hexdigest().encode()
    except (ValueError, AttributeError):
        pass
    raise SASLError("this Python has no MD5, which CRAM-MD5 needs")


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)
