"""The two exceptions of this package. Neither text ever holds a secret, or octets of the peer's choosing.

They stand beside the tree of `smtp_proto._errors`: a protocol that is not SMTP uses them too.
"""

from __future__ import annotations

from collections.abc import Mapping


class SASLError(Exception):
    """The exchange cannot go on: a message is malformed, or what it says must not be believed.

    `error`: the short name that the mechanism has for it, such as `invalid-proof` (RFC 5802 7) or
    `invalid_token` (RFC 6750 3.1); empty if there is none. `details`: all that a server said of it
    (RFC 7628 3.2.2).

    Both may come from the peer; the text of the exception never does.
    """

    def __init__(self, message: str, *, error: str = "", details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.details: Mapping[str, str] = {} if details is None else details


class AuthFailed(SASLError):
    """The credentials are not good.

    A server raises it alike for an unknown user and for a wrong secret, with the same text. A client
    gets it where the server says so inside the exchange. When the protocol itself reports the failure
    (SMTP: 535), the driver throws one into the client's generator, and takes what comes out: it may
    have `details`.
    """

    def __init__(
        self,
        message: str = "authentication failed",
        *,
        error: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, error=error, details=details)
