"""How servers authenticate their clients; what they know of users is their handler's business."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from smtp_proto.ops import Authenticator, Session

if TYPE_CHECKING:
    from smtp_proto.sasl import Mechanism

__all__ = ["AuthSettings"]


class AuthSettings(NamedTuple):
    """How a server authenticates clients: give it as `auth`. The handler's `authenticate` knows the users.

    `mechanisms`: their names, such as `SCRAM-SHA-256` and `PLAIN`, or some of your own. `required`: take no
    mail without. `allow_plaintext`: offer also in the clear what sends the secret itself. `secret`: 16 octets
    or more, for what a user who does not exist is told; give one that stays the same, or who asks twice after
    a restart sees the difference. `iterations`: what SCRAM tells such a user; give what the others have.
    """

    mechanisms: Sequence["str | Mechanism"]
    required: bool = False
    allow_plaintext: bool = False
    secret: bytes = os.urandom(16)
    iterations: int = 100_000

    def authenticator(self, session: Session) -> Authenticator:
        """What the core asks of it, for this session."""

        def make_context() -> Any:
            import secrets

            from smtp_proto.sasl import Context

            from ._bindings import channel_bindings

            return Context(
                nonce=secrets.token_urlsafe(18),
                bindings=channel_bindings(session.ssl_object, is_client=False),
                server_secret=self.secret,
                iterations=self.iterations,
            )

        return Authenticator(self.mechanisms, make_context, self.allow_plaintext)
