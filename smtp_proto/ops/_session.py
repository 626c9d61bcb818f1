"""What is known of one client while it is served."""

from __future__ import annotations

from typing import Any

from .._commands import Mail, Rcpt
from .._proxy import ProxyHeader
from .._server_connection import ServerConnection


class Session:
    """What is known of one client, for the application's hooks.

    `conn`: its connection. `peer`: where it is, if that is known. `stream`: what its octets go through,
    asked for its `ssl_object`.
    """

    def __init__(self, conn: ServerConnection, peer: Any = None, stream: Any = None) -> None:
        self.conn = conn
        self._stream = stream
        self.peer = peer
        """Where the client is: whatever the transport knows it by, or a proxy says."""
        self.proxy: ProxyHeader | None = None
        """What the proxy in front of the server said, where there is one."""
        self.domain: str | None = None
        """What the client called itself in EHLO, HELO or LHLO."""
        self.user: str | None = None
        """Who it is, or acts as, by AUTH."""
        self.mail: Mail | None = None
        """The MAIL of the transaction in progress."""
        self.recipients: list[Rcpt] = []
        """The recipients taken so far in it."""
        self.forwarded: dict[str, str] = {}
        """What XCLIENT and XFORWARD said of the client behind a proxy, as far as hooks allowed it."""
        self.state: dict[str, Any] = {}
        """The application's own."""

    @property
    def tls(self) -> bool:
        """Whether the session goes through TLS."""
        return self.conn.tls

    @property
    def ssl_object(self) -> Any:
        """What the transport's `ssl` module knows of TLS, with `getpeercert()`, `version()` and
        `get_channel_binding()`; None in the clear, and where the transport does not tell.
        """
        return getattr(self._stream, "ssl_object", None)

    @property
    def lmtp(self) -> bool:
        """Whether this is LMTP."""
        return self.conn.lmtp

    @property
    def per_recipient(self) -> bool:
        """Whether `message` may answer for each recipient: in LMTP, and with PRDR on MAIL."""
        return self.lmtp or (self.mail is not None and "PRDR" in self.mail.parameters)
