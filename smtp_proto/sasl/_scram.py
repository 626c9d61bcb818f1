"""SCRAM-SHA-1 and SCRAM-SHA-256, with and without -PLUS (RFC 5802, RFC 7677): each side proves that it knows
the password, or its keys, and neither says it.

A message is taken whole, by one pattern: an attribute in another place, a mandatory extension, base64 in a
second spelling do not fit. The proofs cover all octets of all messages but the proofs themselves, so whatever
somebody in between has changed, both sides see it at the end.
"""

from __future__ import annotations

import hmac

from ._errors import AuthFailed, SASLError
from ._grammar import (
    CLIENT_FINAL,
    CLIENT_FIRST,
    SERVER_ERROR,
    SERVER_FINAL,
    SERVER_FIRST,
    challenge,
    decode_base64,
    encode_base64,
    end,
    escape,
    number,
    read,
    response,
    unescape,
)
from ._keys import StoredKeys, digest, keys_of, sign
from ._prepare import identity, saslprep
from ._values import LEAST_ITERATIONS, Client, Context, Credentials, Identity, LookUp, Server, answer_of

# --- The client


def scram_client(name: str, credentials: Credentials, context: Context) -> Client:
    scheme = name.removesuffix("-PLUS")
    user = escape(saslprep(credentials.user, "the user name"))
    password = saslprep(credentials.password or "", "the password", stored=True)
    flag, bound = _flag(name, context)
    header = f"{flag},{_authzid(credentials)},".encode()
    bare = f"n={user},r={context.checked_nonce()}".encode()

    first = challenge((yield header + bare))
    nonce, salt, iterations = _read_first(first, context)
    without_proof = b"c=%b,r=%b" % (encode_base64(header + bound), nonce)
    message = b",".join((bare, first, without_proof))
    client_key, server_key = keys_of(scheme, password, salt, iterations)
    signature = sign(scheme, digest(scheme, client_key), message)

    final = challenge((yield without_proof + b",p=" + encode_base64(_xor(client_key, signature))))
    _verify(final, sign(scheme, server_key, message))
    end((yield b""))


def _flag(name: str, context: Context) -> tuple[str, bytes]:
    """The gs2-cbind-flag, and the channel binding's data (RFC 5802 6).

    "y" tells the server that we could have bound, if only it had offered to: if it did, somebody took that
    out of what we read. Where it offers to and the caller would rather not, that is "n".
    """
    if name.endswith("-PLUS"):
        if not context.bindings:
            raise ValueError(f"{name} needs a channel binding")
        binding = context.bindings[0]
        return f"p={binding.kind}", binding.data
    return "y" if context.bindings and not context.offers_binding else "n", b""


def _authzid(credentials: Credentials) -> str:
    authorize_as = identity(credentials.authorize_as)
    return f"a={escape(authorize_as)}" if authorize_as else ""


def _read_first(message: bytes, context: Context) -> tuple[bytes, bytes, int]:
    """Nonce, salt and iterations of a server-first-message. Raises `SASLError` for what is not safe to
    answer.
    """
    if message.startswith(b"e="):
        _verify(message, b"")
    nonce, salt, digits = read(SERVER_FIRST, message, "a server-first-message (RFC 5802 7)")
    ours = context.nonce.encode()
    if not nonce.startswith(ours) or nonce == ours:
        raise SASLError("the server's nonce does not extend ours (RFC 5802 5.1)")
    iterations = number(digits)
    if not LEAST_ITERATIONS <= iterations <= context.most_iterations:
        raise SASLError(f"{iterations} iterations, not {LEAST_ITERATIONS} to {context.most_iterations}")
    return nonce, decode_base64(salt), iterations


def _verify(message: bytes, signature: bytes) -> None:
    """Judge a server-final-message: only who has the server's key could sign what was said so far."""
    error, verifier = read(SERVER_FINAL, message, "a server-final-message (RFC 5802 7)")
    if error is not None:
        known = SERVER_ERROR.fullmatch(error)
        raise AuthFailed("the server refused", error=error.decode() if known else "other-error")
    if not hmac.compare_digest(decode_base64(verifier), signature):
        raise SASLError("the server did not prove that it knows the user's keys (RFC 5802 5)")


# --- The server


def scram_server(name: str, context: Context, initial: bytes | None) -> Server:
    """Failures end the exchange without an "e=", as RFC 5802 5.1 allows: the protocol has its own words."""
    scheme = name.removesuffix("-PLUS")
    made_up = context.checked_secret(), context.iterations, scheme
    server_nonce = context.checked_nonce().encode()
    message = response((yield b"") if initial is None else initial)
    header, kind, authzid, bare, saslname, nonce = read(
        CLIENT_FIRST, message, "a client-first-message (RFC 5802 7)"
    )
    bound = _bound(name, header, kind, context)
    authorize_as = identity(unescape(authzid))
    user = saslprep(unescape(saslname), "the user name")

    found = yield LookUp(user, scheme)
    keys = _keys(found, StoredKeys.made_up(user, *made_up))
    nonce += server_nonce
    first = b"r=%b,s=%b,i=%d" % (nonce, encode_base64(keys.salt), keys.iterations)
    message = response((yield first))
    without_proof, channel, repeated, proof = read(
        CLIENT_FINAL, message, "a client-final-message (RFC 5802 7)"
    )
    _same(decode_base64(channel), header + bound, "channel-bindings-dont-match")
    _same(repeated, nonce, "other-error")

    message = b",".join((bare, first, without_proof))
    _prove(keys, message, decode_base64(proof), known=found is not None)
    verifier = encode_base64(sign(scheme, keys.server_key, message))
    if response((yield b"v=" + verifier)):
        raise SASLError("nothing answers a server-final-message (RFC 5802 5)")
    return Identity(user, authorize_as)


def _bound(name: str, header: bytes, kind: bytes | None, context: Context) -> bytes:
    """The data of the channel binding that the client uses. Raises `AuthFailed` as RFC 5802 6 says."""
    plus = name.endswith("-PLUS")
    if header.startswith(b"y") and (plus or context.offers_binding):
        raise AuthFailed("the client did not see our -PLUS", error="server-does-support-channel-binding")
    if plus != (kind is not None):
        raise AuthFailed(f"a wrong channel binding flag for {name}", error="channel-binding-not-supported")
    if kind is None:
        return b""
    for binding in context.bindings:
        if binding.kind.encode() == kind:
            return binding.data
    raise AuthFailed("a channel binding of another kind", error="unsupported-channel-binding-type")


def _keys(found: object, made_up: StoredKeys) -> StoredKeys:
    answer_of(found, LookUp, StoredKeys, type(None))
    if not isinstance(found, StoredKeys):
        return made_up
    if found.mechanism != made_up.mechanism:
        raise ValueError(f"keys for {found.mechanism} do not serve {made_up.mechanism}")
    return found


def _same(given: bytes, expected: bytes, error: str) -> None:
    if not hmac.compare_digest(given, expected):
        raise AuthFailed(error=error)


def _prove(keys: StoredKeys, message: bytes, proof: bytes, *, known: bool) -> None:
    """Judge the client's proof (RFC 5802 3). An unknown user fails here, behind the same work."""
    scheme = keys.mechanism
    signature = sign(scheme, keys.stored_key, message)
    if len(proof) != len(signature):
        raise SASLError("a proof of a wrong size", error="invalid-proof")
    client_key = _xor(proof, signature)
    if not hmac.compare_digest(digest(scheme, client_key), keys.stored_key) or not known:
        raise AuthFailed(error="invalid-proof")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(left, right, strict=True))
