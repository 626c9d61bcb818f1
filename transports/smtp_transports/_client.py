"""The clients that people use, for threads and for coroutines: the core's operations, each a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from smtp_proto import ClientConnection, ProxyHeader, Rcpt, Reply, ops
from smtp_proto.ops import Delivery, Outgoing, SendResult, StartTLSPolicy, Transfer

from ._answers import (
    AsyncBody,
    AsyncToken,
    Body,
    Token,
    async_parts,
    async_tokens,
    parts,
    to_a_labels,
    tokens,
)
from ._facade import Facade
from ._run import AsyncDriver, Driver
from ._stream import AsyncStream, Stream, Timeouts

if TYPE_CHECKING:
    from smtp_proto.sasl import Mechanism

_NONE: Mapping[str, Any] = {}


class Client(Facade):
    """A client on a connected stream. Not for several threads at once.

    Every method raises `ConnectionLost` when the network fails, `TimedOut` when the server is silent for
    too long, `RemoteProtocolError` when it breaks the protocol, and `LocalProtocolError` for what may not
    be said. After the first three the connection is of no more use.

    `stream`: what octets go through. `conn`: a new one unless it is given. `timeouts`: as for `connect`.
    `clock`: tells the seconds.
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
        driver = getattr(stream, "smtp_driver", Driver)
        self._driver: Driver = driver(self.conn, stream, timeouts, clock)

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
        return self._driver.run(self._starting(domain, starttls, needs_esmtp))

    def login(
        self,
        user: str = "",
        password: str | None = None,
        *,
        token: Token | None = None,
        authorize_as: str = "",
        mechanisms: Collection[str | Mechanism] | None = None,
        allow_plaintext: bool = False,
    ) -> Reply:
        """AUTH, with the strongest mechanism that both sides have and that fits what is given.

        `token`: an OAuth access token, or what gives one: called with False, and with True for a new one
        because the server refused the last. `authorize_as`: whom to act as, if not as `user`. `mechanisms`:
        those to use, each by its name or one of your own. `allow_plaintext`: send the secret itself also in
        the clear.

        See `smtp_proto.ops.authenticate` for what it raises.
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


class AsyncClient(Facade):
    """A client on a connected stream. Not for several tasks at once.

    Every method raises `ConnectionLost` when the network fails, `TimedOut` when the server is silent for
    too long, `RemoteProtocolError` when it breaks the protocol, and `LocalProtocolError` for what may not
    be said. After the first three the connection is of no more use.

    `stream`: what octets go through. `conn`: a new one unless it is given. `timeouts`: as for `connect`.
    `clock`: tells the seconds.
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
        driver = getattr(stream, "smtp_driver", AsyncDriver)
        self._driver: AsyncDriver = driver(self.conn, stream, timeouts, clock)

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
        return await self._driver.run(self._starting(domain, starttls, needs_esmtp))

    async def login(
        self,
        user: str = "",
        password: str | None = None,
        *,
        token: AsyncToken | None = None,
        authorize_as: str = "",
        mechanisms: Collection[str | Mechanism] | None = None,
        allow_plaintext: bool = False,
    ) -> Reply:
        """AUTH, with the strongest mechanism that both sides have and that fits what is given.

        `token`: an OAuth access token, or what gives one: called with False, and with True for a new one
        because the server refused the last. `authorize_as`: whom to act as, if not as `user`. `mechanisms`:
        those to use, each by its name or one of your own. `allow_plaintext`: send the secret itself also in
        the clear.

        See `smtp_proto.ops.authenticate` for what it raises.
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
