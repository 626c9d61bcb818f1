"""Authenticating the client (RFC 4954): which mechanism is tried, and whether another one after it.

A refusal of the mechanism leads to the next one. A refusal of the credentials does not: who makes the strong
mechanism fail, in order to be told the password by a weak one, learns nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from .._client_connection import ClientConnection
from .._commands import Auth, AuthResponse
from .._connection import fault
from .._errors import LocalProtocolError, NotOffered, Refused, SMTPError
from .._replies import AuthChallenge, Reply
from ._wants import NextToken, Op, Want

if TYPE_CHECKING:
    from ..sasl import Client, Context, Credentials, Mechanism, SASLError

# RFC 4954 6, RFC 5248: these judge the mechanism. 535 and the rest judge who asks, or tell of the moment.
_OF_THE_MECHANISM = (504, 534, 538)

# RFC 4954 4: the longest line, less "AUTH", the longest name, the blanks and CRLF, in octets before base64.
_LONGEST_INITIAL = (12288 - 28) // 4 * 3


def authenticate(
    conn: ClientConnection,
    credentials: Credentials,
    context: Context,
    *,
    mechanisms: Collection[str | Mechanism] | None = None,
    allow_plaintext: bool = False,
    ask_token: bool = False,
) -> Op[Reply]:
    """AUTH with the strongest mechanism that the server offers and the credentials fit; the server's 235.

    `credentials`: who the client is. `context`: a nonce, the channel bindings that there are, the server's
    name; what the server offers is added here. `mechanisms`: those that may be used, each by its name or
    one of your own; see `sasl.choose`. `allow_plaintext`: send the secret itself also without TLS.
    `ask_token`: the token is asked for (`NextToken`) when it is needed, and once more if the server refuses
    it.

    Raises `NotOffered` if no mechanism is left, `Refused` if the server refuses, `from` what the mechanism
    knows of it; `LocalProtocolError` for credentials that a mechanism cannot say, and `RemoteProtocolError`
    if the server breaks its rules: where it must prove that it knows the password too and does not, its
    success is not believed.
    """
    from .. import sasl  # 10 ms, and not needed by who delivers mail

    context = context.offering(conn.features.auth)
    chosen = sasl.choose(
        conn.features.auth,
        _with_token(credentials, "unknown") if ask_token else credentials,
        tls=conn.tls,
        binding=next(iter(context.bindings), None),
        allowed=mechanisms,
        allow_plaintext=allow_plaintext,
    )
    failure: SMTPError = NotOffered("AUTH", "no mechanism that both sides have fits the credentials")
    for mechanism in chosen:
        try:
            return (yield from _try(conn, mechanism, credentials, context, ask_token))
        except LocalProtocolError as exc:  # SCRAM has no words for some passwords that PLAIN can say
            failure = exc
        except Refused as exc:
            failure = exc
            if exc.reply.code not in _OF_THE_MECHANISM or not conn.is_usable:
                raise
    raise failure


def _with_token(credentials: Credentials, token: str) -> Credentials:
    from ..sasl import Credentials

    return Credentials(credentials.user, token=token, authorize_as=credentials.authorize_as)


def _try(
    conn: ClientConnection, mechanism: Mechanism, credentials: Credentials, context: Context, ask_token: bool
) -> Op[Reply]:
    if not ask_token:
        return (yield from _exchange(conn, mechanism.name, mechanism.client(credentials, context)))
    try:
        known = _with_token(credentials, (yield NextToken(refresh=False)))
        return (yield from _exchange(conn, mechanism.name, mechanism.client(known, context)))
    except Refused as exc:
        if exc.reply.code in _OF_THE_MECHANISM or not conn.is_usable:
            raise
    known = _with_token(credentials, (yield NextToken(refresh=True)))
    return (yield from _exchange(conn, mechanism.name, mechanism.client(known, context)))


def _exchange(conn: ClientConnection, name: str, client: Client) -> Op[Reply]:
    """One AUTH up to its end; the server's 235."""
    from ..sasl import SASLError

    try:
        initial = next(client)
    except SASLError as exc:
        raise LocalProtocolError(f"{name}: {exc}") from exc
    late = initial if initial is not None and len(initial) > _LONGEST_INITIAL else None
    conn.send(Auth(mechanism=name, initial_response=None if late is not None else initial))
    reply: Reply = yield Want.EVENT
    while reply.code == 334:
        try:
            if not isinstance(reply, AuthChallenge):
                raise SASLError("a challenge that is no base64")
            response = late if late is not None else client.send(reply.data)
        except SASLError as exc:
            conn.send(AuthResponse(data=None))
            raise _failed(name, exc, (yield Want.EVENT)) from exc
        late = None
        conn.send(AuthResponse(data=response))
        reply = yield Want.EVENT
    try:
        if reply.code == 235:
            client.send(None)
            raise SASLError("success before the end")
        client.throw(_refusal())
    except StopIteration:
        return reply
    except SASLError as exc:
        if reply.code == 235:
            conn.fail()
        raise _failed(name, exc, reply) from exc
    raise Refused(reply)


def _refusal() -> SASLError:
    from ..sasl import AuthFailed

    return AuthFailed()


def _failed(name: str, exc: SASLError, reply: Reply) -> Exception:
    """What becomes of an exchange that failed: a refusal is the server's right, all else is its fault."""
    from ..sasl import AuthFailed

    if isinstance(exc, AuthFailed) and reply.code >= 400:
        return Refused(reply)
    return fault(LocalProtocolError(f"{name}: {exc}"), reply.to)
