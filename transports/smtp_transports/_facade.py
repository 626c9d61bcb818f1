"""What the clients for threads and for coroutines both know, and do without waiting."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from smtp_proto import ClientConnection, Features, Greeting, Reply, ops
from smtp_proto.ops import Delivery, Outgoing, SendResult, StartTLSPolicy

from ._answers import is_message
from ._run import AsyncDriver, Driver

if TYPE_CHECKING:
    from smtp_proto.sasl import Mechanism


class Facade:
    """What both clients know."""

    _driver: Driver | AsyncDriver

    def __init__(self, conn: ClientConnection | None) -> None:
        self.conn: ClientConnection = conn or ClientConnection()
        """The protocol state: `features`, `tls`, `state`."""
        self.greeting: Greeting | None = None
        """What the server said first."""
        self.messages = 0
        """How many messages were begun on this connection."""
        self._delivery = Delivery()
        self._deliveries: list[Delivery] = []

    @property
    def features(self) -> Features:
        """What the server offers."""
        return self.conn.features

    @property
    def ssl_object(self) -> Any:
        """What the `ssl` module knows of TLS: `getpeercert()`, `version()`, `get_channel_binding()`; None in
        the clear, and where the stream does not tell.
        """
        return getattr(self._driver.stream, "ssl_object", None)

    def _starting(self, domain: str, starttls: StartTLSPolicy, needs_esmtp: bool) -> ops.Op[Reply]:
        self.greeting = yield from ops.greet(self.conn)
        return (yield from ops.hello(self.conn, domain, starttls=starttls, needs_esmtp=needs_esmtp))

    def _authenticating(
        self,
        credentials: Mapping[str, Any],
        token: object,
        mechanisms: Collection[str | Mechanism] | None,
        allow_plaintext: bool,
    ) -> ops.Op[Reply]:
        import secrets

        from smtp_proto.sasl import Context, Credentials

        from ._bindings import channel_bindings

        bindings = channel_bindings(self.ssl_object, is_client=True)
        return ops.authenticate(
            self.conn,
            Credentials(token=token if isinstance(token, str) else None, **credentials),
            Context(nonce=secrets.token_urlsafe(18), bindings=bindings),
            mechanisms=mechanisms,
            allow_plaintext=allow_plaintext,
            ask_token=callable(token),
        )

    @property
    def last_result(self) -> SendResult:
        """What is known of the message sent last, or under way: after a cancellation, all there is. Where
        the body was cut off before its end was said, its recipients are `UNSENT`; after that `UNKNOWN`.
        """
        return self._delivery.result()

    @property
    def last_results(self) -> list[SendResult]:
        """The same of each message that was given to `send_messages` last."""
        return [delivery.result() for delivery in self._deliveries]

    @property
    def is_message_sent(self) -> bool:
        """Whether the server may have got the last message whole: then it must not be sent again unasked."""
        return self._delivery.is_out

    def _written(self, body: Any, parameters: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """A message object becomes octets for this server, and what MAIL has to say of them; all else stays
        what it is.
        """
        if type(body) is bytes or not is_message(body):
            return body, parameters
        from .messages import needs_smtputf8, render

        if needs_smtputf8(body) and "SMTPUTF8" not in map(str.upper, parameters):
            parameters = {**parameters, "SMTPUTF8": True}
        return render(body, self.features), parameters

    def _outgoing(self, message: Outgoing | tuple[Any, ...]) -> Outgoing:
        """One message of many, its body written."""
        outgoing = Outgoing(*message)
        body, parameters = self._written(outgoing.body, outgoing.parameters)
        return outgoing._replace(body=body, parameters=parameters)
