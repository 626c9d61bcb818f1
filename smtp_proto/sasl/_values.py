"""What goes into an exchange and comes out of it. Values, as the messages are; no `repr` shows a secret."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from typing import Any, Final, TypeAlias

from .._message import FrozenMapping, Message, field
from ._errors import SASLError
from ._grammar import BINDING_KIND, NONCE

LEAST_ITERATIONS: Final = 4096
"""Fewer, and a SCRAM server wants a proof that is cheap to guess from (RFC 5802 5.1, RFC 7677 4)."""
MOST_ITERATIONS: Final = 600_000
"""More, and it keeps the client busy. This many, which OWASP asks of those who store passwords with PBKDF2
and SHA-256, take 0.2 to 0.5 seconds; the ten digits that an attacker may write would take an hour.
"""
ITERATIONS: Final = 100_000
"""For keys derived here: about 0.05 seconds. RFC 7677 4 asks for 15,000 in the year 2015."""


class Credentials(Message):
    """Who a client is, and how it proves it.

    `user`: the user's name. `password`: the password, or None. `token`: an OAuth access token, without a
    scheme before it. `authorize_as`: the identity to act as, empty for the user's own (RFC 4422 2).
    `trace`: what ANONYMOUS tells about the client (RFC 4505), nothing unless asked to.

    All are text; names and passwords need not be prepared.
    """

    __slots__ = ("_authorize_as", "_password", "_token", "_trace", "_user")
    _fields = ("user", "password", "token", "authorize_as", "trace")
    _secret = ("password", "token")

    user: str = field("_user")
    password: str | None = field("_password")
    token: str | None = field("_token")
    authorize_as: str = field("_authorize_as")
    trace: str = field("_trace")

    def __init__(
        self,
        user: str = "",
        password: str | None = None,
        *,
        token: str | None = None,
        authorize_as: str = "",
        trace: str = "",
    ) -> None:
        self._user = user
        self._password = password
        self._token = token
        self._authorize_as = authorize_as
        self._trace = trace


class ChannelBinding(Message):
    """What ties an exchange to the TLS connection under it (RFC 5056).

    `kind`: `tls-exporter` (RFC 9266; TLS 1.3), `tls-server-end-point` (the hash of the server's
    certificate) or `tls-unique` (both RFC 5929; the latter not with TLS 1.3); other registered names are
    taken too. `data`: its octets. Raises `ValueError` for a name that is none, and if there are no octets.
    """

    __slots__ = ("_data", "_kind")
    _fields = ("kind", "data")

    kind: str = field("_kind")
    data: bytes = field("_data")

    def __init__(self, kind: str, data: bytes) -> None:
        if not BINDING_KIND.fullmatch(kind.encode("ascii", "replace")) or not data:
            raise ValueError(f"not a channel binding with its data: {kind!r}")
        self._kind = kind
        self._data = data


NO_HINTS: Mapping[str, str] = FrozenMapping()


class Context(Message):
    """What an exchange has to know, apart from the credentials. A mechanism takes of it what it needs.

    `nonce`: 16 to 256 printable ASCII characters without a comma, random, and new in each exchange (SCRAM on
    both sides, CRAM-MD5 on the server's): this package draws none. `secrets.token_urlsafe(18)` does.
    `offered`: the names of the mechanisms that the server offers, on both sides; `bindings`: the channel
    bindings that this side has, the best one first. SCRAM sees by these two if somebody in between has taken
    the -PLUS mechanisms out of the offer. `host`, `port`: of the server, 0 for no port. OAUTHBEARER tells
    them, CRAM-MD5 makes its challenge of them. `most_iterations`: for how many iterations of SCRAM a client
    works (see `MOST_ITERATIONS`).

    Servers only. `server_secret`: 16 octets or more, random and kept: what is made of it for a user who does
    not exist must be the same tomorrow. `iterations`: what SCRAM tells such a user; give what real ones have.
    `hints`: what OAuth mechanisms say of a refused token beside its status, such as `scope` and
    `openid-configuration` (RFC 7628 3.2.2).
    """

    __slots__ = (
        "_bindings",
        "_hints",
        "_host",
        "_iterations",
        "_most_iterations",
        "_nonce",
        "_offered",
        "_port",
        "_server_secret",
    )
    _fields = (
        "nonce",
        "offered",
        "bindings",
        "host",
        "port",
        "most_iterations",
        "server_secret",
        "iterations",
        "hints",
    )
    _secret = ("server_secret",)

    nonce: str = field("_nonce")
    offered: Collection[str] = field("_offered")
    bindings: tuple[ChannelBinding, ...] = field("_bindings")
    host: str = field("_host")
    port: int = field("_port")
    most_iterations: int = field("_most_iterations")
    server_secret: bytes = field("_server_secret")
    iterations: int = field("_iterations")
    hints: Mapping[str, str] = field("_hints")

    def __init__(
        self,
        *,
        nonce: str = "",
        offered: Collection[str] = (),
        bindings: tuple[ChannelBinding, ...] = (),
        host: str = "",
        port: int = 0,
        most_iterations: int = MOST_ITERATIONS,
        server_secret: bytes = b"",
        iterations: int = ITERATIONS,
        hints: Mapping[str, str] = NO_HINTS,
    ) -> None:
        self._nonce = nonce
        self._offered = frozenset(name.upper() for name in offered)
        self._bindings = bindings
        self._host = host
        self._port = port
        self._most_iterations = most_iterations
        self._server_secret = server_secret
        self._iterations = iterations
        self._hints = FrozenMapping(hints)

    def offering(self, offered: Collection[str]) -> Context:
        """The same, where the server offers these."""
        values = dict(zip(self._fields, self._values(), strict=True))
        return Context(**{**values, "offered": offered})

    @property
    def offers_binding(self) -> bool:
        """Whether the server offers a mechanism of the SCRAM family with channel binding."""
        return any(name.startswith("SCRAM-") and name.endswith("-PLUS") for name in self.offered)

    def checked_nonce(self) -> str:
        """The nonce. Raises `ValueError` if it is none: an exchange without one can be replayed."""
        if not NONCE.fullmatch(self.nonce.encode("ascii", "replace")):
            raise ValueError("a nonce has 16 to 256 printable ASCII characters without a comma")
        return self.nonce

    def checked_secret(self) -> bytes:
        """The server's secret. Raises `ValueError` if it is none."""
        if len(self.server_secret) < 16:
            raise ValueError("a server needs a secret of 16 octets or more")
        return self.server_secret


class Identity(Message):
    """Whom a server has authenticated.

    `user`: whose secret it was, empty for ANONYMOUS; where the secret was a password, prepared by RFC 4013.
    `authorize_as`: whom the client wants to act as, empty if as the user itself. Whether it may is for the
    application to judge. `trace`: what an anonymous client says of itself, which proves nothing (RFC 4505 5).
    """

    __slots__ = ("_authorize_as", "_trace", "_user")
    _fields = ("user", "authorize_as", "trace")

    user: str = field("_user")
    authorize_as: str = field("_authorize_as")
    trace: str = field("_trace")

    def __init__(self, user: str, authorize_as: str = "", *, trace: str = "") -> None:
        self._user = user
        self._authorize_as = authorize_as
        self._trace = trace


class Question(Message):
    """What a server's generator asks of the application. Mechanisms of your own may have others."""

    __slots__ = ()


class CheckPassword(Question):
    """PLAIN, LOGIN: whether this is the user's password, and the user may act as `authorize_as`: a bool.

    `user` and `password` are prepared by RFC 4013. Do the same work for a user who does not exist: see
    `StoredKeys.matches`.
    """

    __slots__ = ("_authorize_as", "_password", "_user")
    _fields = ("user", "password", "authorize_as")
    _secret = ("password",)

    user: str = field("_user")
    password: str = field("_password")
    authorize_as: str = field("_authorize_as")

    def __init__(self, user: str, password: str, authorize_as: str = "") -> None:
        self._user = user
        self._password = password
        self._authorize_as = authorize_as


class LookUp(Question):
    """SCRAM: the `StoredKeys` of this `user` for this mechanism, None if there are none.

    `mechanism`: `SCRAM-SHA-256` or `SCRAM-SHA-1`, without -PLUS.
    """

    __slots__ = ("_mechanism", "_user")
    _fields = ("user", "mechanism")

    user: str = field("_user")
    mechanism: str = field("_mechanism")

    def __init__(self, user: str, mechanism: str) -> None:
        self._user = user
        self._mechanism = mechanism


class LookUpSecret(Question):
    """CRAM-MD5: the password of `user` itself, a str; None if there is none. It must be prepared by RFC
    4013.
    """

    __slots__ = ("_user",)
    _fields = ("user",)

    user: str = field("_user")

    def __init__(self, user: str) -> None:
        self._user = user


class CheckToken(Question):
    """XOAUTH2, OAUTHBEARER: whether the `token` is good for this `user`.

    The answer is a bool; or, since the token may tell more than the client, the name of the user that the
    token was given to. `user` is what the client says; empty if it leaves that to the token, and then only a
    name is a yes. `host` and `port`, empty and 0 if it does not tell, must be this server's (RFC 7628 3.2).
    """

    __slots__ = ("_host", "_port", "_token", "_user")
    _fields = ("user", "token", "host", "port")
    _secret = ("token",)

    user: str = field("_user")
    token: str = field("_token")
    host: str = field("_host")
    port: int = field("_port")

    def __init__(self, user: str, token: str, host: str = "", port: int = 0) -> None:
        self._user = user
        self._token = token
        self._host = host
        self._port = port


class CheckExternal(Question):
    """EXTERNAL: who the client is by other means, such as its TLS certificate, if it may act as
    `authorize_as`.

    The answer is the name of the user, None for nobody.
    """

    __slots__ = ("_authorize_as",)
    _fields = ("authorize_as",)

    authorize_as: str = field("_authorize_as")

    def __init__(self, authorize_as: str) -> None:
        self._authorize_as = authorize_as


Client: TypeAlias = Generator[bytes | None, bytes | None, None]
"""The client's side of an exchange; see the package's own page."""
Server: TypeAlias = Generator[bytes | Question, Any, Identity]
"""The server's side of an exchange; see the package's own page."""


def answer_of(answer: object, question: type[Question], *kinds: type) -> None:
    """Raises `TypeError` for an answer of the wrong type: a coroutine that nobody awaited is true, too."""
    if not isinstance(answer, kinds):
        raise TypeError(f"not an answer to {question.__name__}: {type(answer).__name__}")


def only_self(credentials: Credentials, mechanism: str) -> None:
    """Raises `SASLError` where an identity is wanted that the mechanism cannot carry."""
    if credentials.authorize_as:
        raise SASLError(f"{mechanism} cannot act as somebody else")
