"""The clients that people use, for threads and for coroutines: the core's operations, each a line."""

from __future__ import annotations

import io
import secrets
import sys
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from smtp_proto import ClientConnection, Features, Greeting, NotOffered, ProxyHeader, Rcpt, Reply, ops
from smtp_proto.ops import Delivery, Outgoing, SendResult, StartTLSPolicy, Transfer

from ._run import AsyncDriver, AsyncStream, Driver, Stream, Timeouts

if TYPE_CHECKING:
    from email.message import Message

_PIECE = 65536
_NONE: Mapping[str, Any] = {}


class Readable(Protocol):
    """An open binary file."""

    def read(self, size: int, /) -> bytes: ...


class AsyncReadable(Protocol):
    """An open binary file of an async library."""

    async def read(self, size: int, /) -> bytes: ...


Octets: TypeAlias = bytes | bytearray | memoryview | Readable | Iterable[bytes]
"""The octets of a message, an open binary file, or pieces of octets."""
Body: TypeAlias = "Octets | Message[Any, Any]"
"""A message: its octets in one of these forms, or a message of the `email` package."""
AsyncBody: TypeAlias = "Body | AsyncReadable | AsyncIterable[bytes]"
"""A message: as `Body`, or a file or pieces that have to be awaited."""


Token: TypeAlias = str | Callable[[bool], str]
"""An access token, or what gives one. It is told whether it must be a new one."""
AsyncToken: TypeAlias = Token | Callable[[bool], Awaitable[str]]


class _Facade:
    """What both clients know."""

    _driver: Driver | AsyncDriver

    def __init__(self, conn: ClientConnection | None) -> None:
        self.conn = conn or ClientConnection()
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

    def _authenticating(
        self,
        credentials: Mapping[str, Any],
        token: object,
        mechanisms: Collection[str] | None,
        allow_plaintext: bool,
    ) -> ops.Op[Reply]:
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
        if not is_message(body):
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


class Client(_Facade):
    """A client on a connected stream. Not for several threads at once.

    Every method raises `ConnectionLost` when the network fails, `TimedOut` when the server is silent for
    too long, `RemoteProtocolError` when it breaks the protocol, and `LocalProtocolError` for what may not
    be said. After the first three the connection is of no more use.
    """

    def __init__(
        self,
        stream: Stream,
        conn: ClientConnection | None = None,
        *,
        timeouts: Timeouts = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(conn)
        self._driver: Driver = Driver(self.conn, stream, timeouts, clock)

    def start(
        self,
        domain: str,
        *,
        starttls: StartTLSPolicy = "never",
        needs_esmtp: bool = False,
        proxy: ProxyHeader | None = None,
    ) -> Reply:
        """Wait for the greeting and introduce this client as `domain`; see `smtp_proto.ops.hello`.

        On a connection made with `tls=True` the handshake comes first; and before that `proxy`, in the clear.
        """
        if proxy is not None:
            self._driver.send_proxy(proxy)
        if self.conn.tls:
            self._driver.start_tls()
        self.greeting = self._driver.run(ops.greet(self.conn))
        return self._driver.run(ops.hello(self.conn, domain, starttls=starttls, needs_esmtp=needs_esmtp))

    def login(
        self,
        user: str = "",
        password: str | None = None,
        *,
        token: Token | None = None,
        authorize_as: str = "",
        mechanisms: Collection[str] | None = None,
        allow_plaintext: bool = False,
    ) -> Reply:
        """AUTH, with the strongest mechanism that both sides have and that fits what is given.

        `token`: an OAuth access token, or what gives one: called with False, and with True for a new one
        because the server refused the last. `authorize_as`: whom to act as, if not as `user`. `mechanisms`:
        the names of those to use. `allow_plaintext`: send the secret itself also in the clear. See
        `smtp_proto.ops.authenticate` for what it raises.
        """
        credentials = {"user": user, "password": password, "authorize_as": authorize_as}
        op = self._authenticating(credentials, token, mechanisms, allow_plaintext)
        return self._driver.run(op, tokens(token))

    def send_message(
        self,
        sender: str,
        recipients: str | Sequence[str | Rcpt],
        body: Body,
        *,
        size: int | None = None,
        parameters: Mapping[str, Any] = _NONE,
        all_or_nothing: bool = False,
        transfer: Transfer = "auto",
        allow_8bit: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> SendResult:
        """Send a message; one outcome for each recipient. See `smtp_proto.ops.send_message`. A message of the
        `email` package is written for what the server offers: see `smtp_transports.messages.render`.
        """
        body, parameters = self._written(body, parameters)
        whole, pieces = parts(body)
        self._delivery = Delivery()
        self.messages += 1
        return self._driver.run(
            ops.send_message(
                self.conn,
                sender,
                recipients,
                whole,
                size=size,
                parameters=parameters,
                all_or_nothing=all_or_nothing,
                transfer=transfer,
                allow_8bit=allow_8bit,
                idna=to_a_labels,
                progress=progress,
                delivery=self._delivery,
            ),
            pieces,
        )

    def send_messages(
        self,
        messages: Iterable[Outgoing | tuple[Any, ...]],
        *,
        transfer: Transfer = "auto",
        allow_8bit: bool = False,
    ) -> list[SendResult]:
        """Send many messages, each sender, recipients and octets (or a message of the `email` package), back
        to back; the result of each. See `smtp_proto.ops.send_messages`.
        """
        outgoing = [self._outgoing(message) for message in messages]
        self._deliveries = []
        self.messages += len(outgoing)
        return self._driver.run(
            ops.send_messages(
                self.conn,
                outgoing,
                transfer=transfer,
                allow_8bit=allow_8bit,
                idna=to_a_labels,
                deliveries=self._deliveries,
            )
        )

    def verify(self, argument: str) -> Reply:
        """VRFY; the reply, good or bad."""
        return self._driver.run(ops.verify(self.conn, argument))

    def expand(self, argument: str) -> Reply:
        """EXPN; the reply, good or bad."""
        return self._driver.run(ops.expand(self.conn, argument))

    def etrn(self, node: str) -> Reply:
        """ETRN; the reply, good or bad."""
        return self._driver.run(ops.etrn(self.conn, node))

    def xclient(self, domain: str, attributes: Mapping[str, str]) -> Reply:
        """XCLIENT, and EHLO as `domain`; see `smtp_proto.ops.xclient`."""
        return self._driver.run(ops.xclient(self.conn, domain, attributes))

    def xforward(self, attributes: Mapping[str, str]) -> Reply:
        """XFORWARD; raises `Refused` if the server will not."""
        return self._driver.run(ops.xforward(self.conn, attributes))

    def help(self, topic: str | None = None) -> Reply:
        """HELP; the reply, good or bad."""
        return self._driver.run(ops.help(self.conn, topic))

    def noop(self) -> Reply:
        """NOOP; the reply, good or bad."""
        return self._driver.run(ops.noop(self.conn))

    def reset(self) -> Reply:
        """RSET; raises `Refused` if the server will not."""
        return self._driver.run(ops.reset(self.conn))

    def quit(self, *, wait: bool = True) -> Reply | None:
        """QUIT and close; the reply, or None from a server that just closed, and without `wait`."""
        try:
            return self._driver.run(ops.quit(self.conn, wait=wait))
        finally:
            self.close()

    def close(self) -> None:
        """Close the stream without a word."""
        self.conn.fail()
        self._driver.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.conn.is_usable:
                self.quit()
        finally:
            self.close()


class AsyncClient(_Facade):
    """A client on a connected stream. Not for several tasks at once.

    Every method raises `ConnectionLost` when the network fails, `TimedOut` when the server is silent for
    too long, `RemoteProtocolError` when it breaks the protocol, and `LocalProtocolError` for what may not
    be said. After the first three the connection is of no more use.
    """

    def __init__(
        self,
        stream: AsyncStream,
        conn: ClientConnection | None = None,
        *,
        timeouts: Timeouts = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(conn)
        self._driver: AsyncDriver = AsyncDriver(self.conn, stream, timeouts, clock)

    async def start(
        self,
        domain: str,
        *,
        starttls: StartTLSPolicy = "never",
        needs_esmtp: bool = False,
        proxy: ProxyHeader | None = None,
    ) -> Reply:
        """Wait for the greeting and introduce this client as `domain`; see `smtp_proto.ops.hello`.

        On a connection made with `tls=True` the handshake comes first; and before that `proxy`, in the clear.
        """
        if proxy is not None:
            await self._driver.send_proxy(proxy)
        if self.conn.tls:
            await self._driver.start_tls()
        self.greeting = await self._driver.run(ops.greet(self.conn))
        return await self._driver.run(
            ops.hello(self.conn, domain, starttls=starttls, needs_esmtp=needs_esmtp)
        )

    async def login(
        self,
        user: str = "",
        password: str | None = None,
        *,
        token: AsyncToken | None = None,
        authorize_as: str = "",
        mechanisms: Collection[str] | None = None,
        allow_plaintext: bool = False,
    ) -> Reply:
        """AUTH, with the strongest mechanism that both sides have and that fits what is given.

        `token`: an OAuth access token, or what gives one: called with False, and with True for a new one
        because the server refused the last. `authorize_as`: whom to act as, if not as `user`. `mechanisms`:
        the names of those to use. `allow_plaintext`: send the secret itself also in the clear. See
        `smtp_proto.ops.authenticate` for what it raises.
        """
        credentials = {"user": user, "password": password, "authorize_as": authorize_as}
        op = self._authenticating(credentials, token, mechanisms, allow_plaintext)
        return await self._driver.run(op, async_tokens(token))

    async def send_message(
        self,
        sender: str,
        recipients: str | Sequence[str | Rcpt],
        body: AsyncBody,
        *,
        size: int | None = None,
        parameters: Mapping[str, Any] = _NONE,
        all_or_nothing: bool = False,
        transfer: Transfer = "auto",
        allow_8bit: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> SendResult:
        """Send a message; one outcome for each recipient. See `smtp_proto.ops.send_message`. A message of the
        `email` package is written for what the server offers: see `smtp_transports.messages.render`.
        """
        body, parameters = self._written(body, parameters)
        whole, pieces = async_parts(body)
        self._delivery = Delivery()
        self.messages += 1
        return await self._driver.run(
            ops.send_message(
                self.conn,
                sender,
                recipients,
                whole,
                size=size,
                parameters=parameters,
                all_or_nothing=all_or_nothing,
                transfer=transfer,
                allow_8bit=allow_8bit,
                idna=to_a_labels,
                progress=progress,
                delivery=self._delivery,
            ),
            pieces,
        )

    async def send_messages(
        self,
        messages: Iterable[Outgoing | tuple[Any, ...]],
        *,
        transfer: Transfer = "auto",
        allow_8bit: bool = False,
    ) -> list[SendResult]:
        """Send many messages, each sender, recipients and octets (or a message of the `email` package), back
        to back; the result of each. See `smtp_proto.ops.send_messages`.
        """
        outgoing = [self._outgoing(message) for message in messages]
        self._deliveries = []
        self.messages += len(outgoing)
        return await self._driver.run(
            ops.send_messages(
                self.conn,
                outgoing,
                transfer=transfer,
                allow_8bit=allow_8bit,
                idna=to_a_labels,
                deliveries=self._deliveries,
            )
        )

    async def verify(self, argument: str) -> Reply:
        """VRFY; the reply, good or bad."""
        return await self._driver.run(ops.verify(self.conn, argument))

    async def expand(self, argument: str) -> Reply:
        """EXPN; the reply, good or bad."""
        return await self._driver.run(ops.expand(self.conn, argument))

    async def etrn(self, node: str) -> Reply:
        """ETRN; the reply, good or bad."""
        return await self._driver.run(ops.etrn(self.conn, node))

    async def xclient(self, domain: str, attributes: Mapping[str, str]) -> Reply:
        """XCLIENT, and EHLO as `domain`; see `smtp_proto.ops.xclient`."""
        return await self._driver.run(ops.xclient(self.conn, domain, attributes))

    async def xforward(self, attributes: Mapping[str, str]) -> Reply:
        """XFORWARD; raises `Refused` if the server will not."""
        return await self._driver.run(ops.xforward(self.conn, attributes))

    async def help(self, topic: str | None = None) -> Reply:
        """HELP; the reply, good or bad."""
        return await self._driver.run(ops.help(self.conn, topic))

    async def noop(self) -> Reply:
        """NOOP; the reply, good or bad."""
        return await self._driver.run(ops.noop(self.conn))

    async def reset(self) -> Reply:
        """RSET; raises `Refused` if the server will not."""
        return await self._driver.run(ops.reset(self.conn))

    async def quit(self, *, wait: bool = True) -> Reply | None:
        """QUIT and close; the reply, or None from a server that just closed, and without `wait`."""
        try:
            return await self._driver.run(ops.quit(self.conn, wait=wait))
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the stream without a word."""
        self.conn.fail()
        await self._driver.stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.conn.is_usable:
                await self.quit()
        finally:
            await self.close()


def tokens(token: Any) -> Callable[[Any], str]:
    """What answers each `NextToken`."""
    return lambda want: token(want.refresh)


def async_tokens(token: Any) -> Callable[[Any], Awaitable[str]]:
    """As `tokens`, where the answer may have to be awaited."""

    async def next_token(want: Any) -> str:
        answer: Any = token(want.refresh)
        text: str = await answer if isinstance(answer, Awaitable) else answer
        return text

    return next_token


def to_a_labels(domain: str) -> str:
    """The domain in ASCII (RFC 5891), as the package `idna` has it. Raises `ValueError` for what is none."""
    try:
        import idna
    except ImportError:
        raise NotOffered("SMTPUTF8", f"for {domain!r} in ASCII install smtp-proto[idna]") from None
    return idna.encode(domain, uts46=True).decode("ascii")


def is_message(body: object) -> bool:
    """Whether this is a message of the `email` package. Who has none did not have to import it."""
    email_message = sys.modules.get("email.message")
    return email_message is not None and isinstance(body, email_message.Message)


def parts(body: Any) -> tuple[bytes | None, Callable[[object], bytes] | None]:
    """The message if it is all there, or else what answers each `NextChunk`."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), None
    if hasattr(body, "read") and not isinstance(body, io.TextIOBase):
        return None, lambda _: body.read(_PIECE)
    if isinstance(body, Iterable) and not isinstance(body, str | io.TextIOBase):
        # An empty piece in the middle is no end.
        pieces = (piece for piece in body if piece)
        return None, lambda _: next(pieces, b"")
    raise TypeError(f"a message is bytes, a binary file, or pieces of bytes; not {type(body).__name__}")


def async_parts(body: Any) -> tuple[bytes | None, Callable[[object], Awaitable[bytes]] | None]:
    """As `parts`, where the pieces may have to be awaited."""
    if isinstance(body, AsyncIterable) and not hasattr(body, "read"):
        pieces = (piece async for piece in body if piece)
        return None, lambda _: anext(pieces, b"")
    whole, piece = parts(body)
    if piece is None:
        return whole, None

    async def next_piece(question: object) -> bytes:
        data: Any = piece(question)
        octets: bytes = await data if isinstance(data, Awaitable) else data
        return octets

    return None, next_piece
