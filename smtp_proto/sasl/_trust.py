"""EXTERNAL (RFC 4422 A) and ANONYMOUS (RFC 4505): no secret, since the client is known already, or not at
all.
"""

from __future__ import annotations

from ._errors import AuthFailed
from ._grammar import decode, end, response
from ._prepare import identity, trace
from ._values import CheckExternal, Client, Context, Credentials, Identity, Server, answer_of


def external_client(name: str, credentials: Credentials, context: Context) -> Client:
    end((yield identity(credentials.authorize_as).encode()))


def external_server(name: str, context: Context, initial: bytes | None) -> Server:
    message = response((yield b"") if initial is None else initial)
    authorize_as = identity(decode(message))
    user = yield CheckExternal(authorize_as)
    answer_of(user, CheckExternal, str, type(None))
    if not user:
        raise AuthFailed
    return Identity(user, authorize_as)


def anonymous_client(name: str, credentials: Credentials, context: Context) -> Client:
    """The trace is what the caller gave as such, and never the user name (RFC 4505 5)."""
    end((yield trace(credentials.trace).encode()))


def anonymous_server(name: str, context: Context, initial: bytes | None) -> Server:
    message = response((yield b"") if initial is None else initial)
    return Identity("", trace=trace(decode(message)))
