"""OAUTHBEARER (RFC 7628) and XOAUTH2, what Google had before it: an access token, as in a header of HTTP.

A server says why it refuses a token in a challenge, in JSON. The client must answer that, with nothing to
say, and only then the exchange fails. See `AuthFailed` for how a driver comes to know the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ._errors import AuthFailed, SASLError
from ._grammar import (
    BEARER,
    OAUTHBEARER,
    PORT,
    TOKEN,
    XOAUTH2,
    challenge,
    decode,
    escape,
    number,
    read,
    response,
    unescape,
)
from ._prepare import identity
from ._values import CheckToken, Client, Context, Credentials, Identity, Server, answer_of, only_self

_NOTHING = {"OAUTHBEARER": b"\x01", "XOAUTH2": b""}
"""How a client answers a server's error (RFC 7628 3.2.3)."""


def oauthbearer_client(name: str, credentials: Credentials, context: Context) -> Client:
    """The identity in the header is the one to act as; servers want it there also if it is the user's own."""
    user = identity(credentials.authorize_as or credentials.user)
    pairs = {"auth": f"Bearer {_token(credentials)}"}
    if context.port:
        pairs = {"port": str(context.port), **pairs}
    # A name that is not in ASCII has no place there, and is left out: the pair is optional.
    if TOKEN.fullmatch(context.host.encode("ascii", "ignore")) and context.host.isascii():
        pairs = {"host": context.host, **pairs}
    header = f"n,a={escape(user)}," if user else "n,,"
    words = (header, *(f"{key}={value}" for key, value in pairs.items()), "", "")
    yield from _exchange(name, "\1".join(words))


def xoauth2_client(name: str, credentials: Credentials, context: Context) -> Client:
    only_self(credentials, name)
    yield from _exchange(name, f"user={identity(credentials.user)}\1auth=Bearer {_token(credentials)}\1\1")


def _token(credentials: Credentials) -> str:
    token = credentials.token or ""
    if not token.isascii() or not TOKEN.fullmatch(token.encode()):
        raise SASLError("the token is empty, too long, or not of visible ASCII characters (RFC 6750 2.1)")
    return token


def _exchange(name: str, message: str) -> Client:
    error = yield message.encode()
    if error is None:
        return
    details = _read_error(challenge(error))
    status = details.get("status", "")
    try:
        yield _NOTHING[name]
    except AuthFailed as failure:
        raise AuthFailed("the server refused the token", error=status, details=details) from failure
    raise SASLError("the server goes on after it refused the token", error=status, details=details)


def _read_error(octets: bytes) -> Mapping[str, str]:
    """What a server says of its refusal (RFC 7628 3.2.2), nothing if that cannot be read: refused it is."""
    try:
        said = json.loads(octets)
        pairs = said.items() if isinstance(said, dict) else ()
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in pairs}
    except (ValueError, RecursionError):
        return {}


def oauthbearer_server(name: str, context: Context, initial: bytes | None) -> Server:
    message = response((yield b"") if initial is None else initial)
    saslname, octets = read(OAUTHBEARER, message, "a response of OAUTHBEARER (RFC 7628 3.1)")
    pairs = _pairs(octets)
    port = pairs.get(b"port", b"")
    if port and not PORT.fullmatch(port):
        raise SASLError("not a port (RFC 7628 3.1)")
    host = decode(pairs.get(b"host", b""))
    user = identity(unescape(saslname))
    question = CheckToken(user, _bearer(pairs), host, number(port) if port else 0)
    return (yield from _judged(name, question, context))


def xoauth2_server(name: str, context: Context, initial: bytes | None) -> Server:
    message = response((yield b"") if initial is None else initial)
    user, octets = read(XOAUTH2, message, "a response of XOAUTH2")
    question = CheckToken(identity(decode(user)), _bearer(_pairs(octets)))
    return (yield from _judged(name, question, context))


def _pairs(octets: bytes) -> dict[bytes, bytes]:
    """The keys and values. Raises `SASLError` for a key that is there twice: two readers would differ."""
    pairs: dict[bytes, bytes] = {}
    for pair in octets.split(b"\1")[:-1]:
        key, _, value = pair.partition(b"=")
        if key in pairs:
            raise SASLError("a key is there twice (RFC 7628 3.1)")
        pairs[key] = value
    return pairs


def _bearer(pairs: Mapping[bytes, bytes]) -> str:
    """The token; empty where a client asks with an empty `auth` what token is wanted (RFC 7628 4.3)."""
    auth = pairs.get(b"auth")
    if auth == b"":
        return ""
    (token,) = read(BEARER, auth or b"", "a bearer token (RFC 6750 2.1)")
    return decode(token)


def _judged(name: str, question: CheckToken, context: Context) -> Server:
    answer = (yield question) if question.token else False
    answer_of(answer, CheckToken, bool, str, type(None))
    user = answer if isinstance(answer, str) else question.user if answer else ""
    if user:
        return Identity(user, "" if user == question.user else question.user)
    error = {**context.hints, "status": "invalid_token"}
    # Whatever the client has to say to that: it has failed.
    yield json.dumps(error, separators=(",", ":")).encode()
    raise AuthFailed(error="invalid_token")
