"""The table of the mechanisms, and which of them a client uses.

The order of the table is the policy. The first can be bound to the TLS connection, so nobody can sit in
between; then the server proves itself; then at least the secret stays at home; the last send it. What the
server's list says of order does not count: it was not always the server who wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from . import _cram, _oauth, _plain, _scram, _trust
from ._values import ChannelBinding, Client, Context, Credentials, Server


class Mechanism(Protocol):
    """What a mechanism tells of itself. One of your own (GSSAPI, NTLM) needs no more than this."""

    @property
    def name(self) -> str:
        """In upper case (RFC 4422 3.1)."""

    @property
    def needs(self) -> frozenset[str]:
        """The attributes of `Credentials` that it cannot do without."""

    @property
    def sends_secret(self) -> bool:
        """Whether who reads along has the secret: then it is used under TLS only."""

    @property
    def needs_binding(self) -> bool:
        """Whether it needs a `ChannelBinding`."""

    @property
    def client_first(self) -> bool:
        """Whether the client speaks first: then it can send an initial response."""

    @property
    def can_authorize(self) -> bool:
        """Whether it can carry `authorize_as`."""

    @property
    def only_by_name(self) -> bool:
        """Whether it is used only when asked for by its name."""

    def client(self, credentials: Credentials, context: Context) -> Client:
        """The client's side of an exchange."""

    def server(self, context: Context, initial: bytes | None) -> Server:
        """The server's side of an exchange. `initial`: the client's initial response, or None."""


class Standard:
    """A mechanism of this package."""

    __slots__ = (
        "_client",
        "_server",
        "can_authorize",
        "client_first",
        "name",
        "needs",
        "needs_binding",
        "only_by_name",
        "sends_secret",
    )

    def __init__(
        self,
        name: str,
        needs: str,
        client: Callable[[str, Credentials, Context], Client],
        server: Callable[[str, Context, bytes | None], Server],
        *,
        sends_secret: bool = False,
        client_first: bool = True,
        can_authorize: bool = True,
        only_by_name: bool = False,
    ) -> None:
        self.name = name
        self.needs = frozenset(needs.split())
        self.sends_secret = sends_secret
        self.needs_binding = name.endswith("-PLUS")
        self.client_first = client_first
        self.can_authorize = can_authorize
        self.only_by_name = only_by_name
        self._client = client
        self._server = server

    def __repr__(self) -> str:
        return f"<mechanism {self.name}>"

    def client(self, credentials: Credentials, context: Context) -> Client:
        return self._client(self.name, credentials, context)

    def server(self, context: Context, initial: bytes | None) -> Server:
        return self._server(self.name, context, initial)


def _scram_mechanism(name: str) -> Standard:
    return Standard(name, "user password", _scram.scram_client, _scram.scram_server)


MECHANISMS: tuple[Mechanism, ...] = (
    Standard("EXTERNAL", "", _trust.external_client, _trust.external_server, only_by_name=True),
    _scram_mechanism("SCRAM-SHA-256-PLUS"),
    _scram_mechanism("SCRAM-SHA-1-PLUS"),
    _scram_mechanism("SCRAM-SHA-256"),
    _scram_mechanism("SCRAM-SHA-1"),
    Standard(
        "CRAM-MD5",
        "user password",
        _cram.cram_md5_client,
        _cram.cram_md5_server,
        client_first=False,
        can_authorize=False,
    ),
    Standard("OAUTHBEARER", "token", _oauth.oauthbearer_client, _oauth.oauthbearer_server, sends_secret=True),
    Standard(
        "XOAUTH2",
        "user token",
        _oauth.xoauth2_client,
        _oauth.xoauth2_server,
        sends_secret=True,
        can_authorize=False,
    ),
    Standard("PLAIN", "user password", _plain.plain_client, _plain.plain_server, sends_secret=True),
    Standard(
        "LOGIN",
        "user password",
        _plain.login_client,
        _plain.login_server,
        sends_secret=True,
        client_first=False,
        can_authorize=False,
    ),
    Standard(
        "ANONYMOUS",
        "",
        _trust.anonymous_client,
        _trust.anonymous_server,
        can_authorize=False,
        only_by_name=True,
    ),
)
"""All mechanisms, the strongest first."""

_EXPECTED_BINDINGS = ("tls-unique", "tls-exporter")


def find_mechanism(wanted: str | Mechanism) -> Mechanism | None:
    """The mechanism of this name, in whatever case; None if there is none. One of your own is taken as it
    is.
    """
    if not isinstance(wanted, str):
        return wanted
    name = wanted.upper()
    return next((mechanism for mechanism in MECHANISMS if mechanism.name == name), None)


def choose(
    offered: Collection[str],
    credentials: Credentials,
    *,
    tls: bool,
    binding: ChannelBinding | None = None,
    allowed: Collection[str | Mechanism] | None = None,
    allow_plaintext: bool = False,
) -> list[Mechanism]:
    """The mechanisms that a client may use with a server, the strongest first. Empty if there are none.

    `offered`: what the server offers; `tls`: whether all is under TLS, whose server was verified; `binding`:
    that of this TLS connection, if it can be had; `allowed`: those to use, each by its name or one of your
    own, and your own are tried first; None for all but EXTERNAL and ANONYMOUS, which must be named.
    `allow_plaintext`: also without TLS use those that send the secret.

    A server does not say which bindings it knows. `tls-unique`, and with TLS 1.3 `tls-exporter`, are those
    that it must (RFC 5802 6.1, RFC 9266 3); with another one -PLUS is used only if it is named.

    Go on to the next only after a refusal of the mechanism itself (SMTP: 504, 534), and not of the
    credentials.
    """
    offers = {name.upper() for name in offered}
    own = [mechanism for mechanism in allowed or () if not isinstance(mechanism, str)]
    named = {mechanism.upper() for mechanism in allowed or () if isinstance(mechanism, str)}
    if allowed is None:
        named = {mechanism.name for mechanism in MECHANISMS if not mechanism.only_by_name}
        if binding is not None and binding.kind not in _EXPECTED_BINDINGS:
            binding = None
    fit = [
        mechanism
        for mechanism in (*own, *(mechanism for mechanism in MECHANISMS if mechanism.name in named))
        if mechanism.name in offers
        and (tls or allow_plaintext or not mechanism.sends_secret)
        and (binding is not None or not mechanism.needs_binding)
        and _has_what_is_needed(credentials, mechanism)
    ]
    # RFC 5802 6: who can bind, and is offered to, must. Whoever sits in between would refuse the -PLUS by
    # name, and pass on the proof that comes after it.
    bound = {_family(mechanism) for mechanism in fit if mechanism.needs_binding}
    return [mechanism for mechanism in fit if mechanism.needs_binding or _family(mechanism) not in bound]


def _has_what_is_needed(credentials: Credentials, mechanism: Mechanism) -> bool:
    given = {name for name in ("password", "token") if getattr(credentials, name) is not None}
    given |= {"user"} if credentials.user else set()
    return mechanism.needs <= given and (mechanism.can_authorize or not credentials.authorize_as)


def _family(mechanism: Mechanism) -> str:
    return mechanism.name.partition("-")[0]
