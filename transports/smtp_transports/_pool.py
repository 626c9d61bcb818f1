"""Pools of connections to one server, for threads and for coroutines: one text but for `async` and `await`.

A connection that was idle is asked (RSET) before it is trusted; one that is too old, or has carried as
many messages as it may, is replaced. Who waits for a connection is served in the order of arrival.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from smtp_proto import ConnectionLost, LocalProtocolError, Rcpt, SMTPError, TimedOut
from smtp_proto.ops import SendResult

from ._answers import AsyncBody, Body
from ._client import AsyncClient, Client
from ._pooling import AsyncEvent, Event, Pooling
from ._repeat import is_temporary, left_over, may_repeat, merged


class Pool(Pooling[Client]):
    """Up to `size` connections to one server, for many threads.

        with Pool(4, partial(connect, "mx.example.com", 587, starttls="required")) as pool:
            pool.send_message("alice@example.org", ["bob@example.com"], message)

    `connect` opens one. After `max_messages` (None: no limit) or the server's own MAILMAX (RFC 9422), or
    when it was idle for `max_idle` seconds, a connection is closed; after `check_after` seconds it is
    asked whether it still works. `clock`: tells the seconds.
    """

    _make_event: Callable[[], Event] = threading.Event

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connection for as long as the block lasts. Raises what `connect` raises, and
        `LocalProtocolError` once the pool is closed.
        """
        with self._borrowed() as (client, _):
            yield client

    @contextmanager
    def _borrowed(self, *, new: bool = False) -> Iterator[tuple[Client, bool]]:
        """A connection, and whether it was idle before."""
        client, was_idle = self._take(new)
        try:
            yield client, was_idle
        finally:
            self._give_back(client)

    def send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: Body, **options: Any
    ) -> SendResult:
        """As `Client.send_message`. Where an old connection turns out to be dead before anything of the
        message was delivered, it is sent once more on a new one; and to those for whom one session has no
        room (RFC 9422), in others. But a body that cannot be read twice is sent once.
        """
        result = self._send_message(sender, recipients, body, options)
        while rest := left_over(result, recipients, body, options):
            with self._borrowed(new=True) as (client, _):
                try:
                    more = client.send_message(sender, rest, body, **options)
                except ConnectionLost as exc:
                    exc.result = merged(result, client.last_result)
                    raise
            if not (more.accepted or more.refused):
                break
            result = merged(result, more)
        return result

    def _send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: Body, options: dict[str, Any]
    ) -> SendResult:
        with self._borrowed() as (client, was_idle):
            try:
                result = client.send_message(sender, recipients, body, **options)
                if client.conn.is_usable or not (
                    was_idle and is_temporary(result) and may_repeat(client, body)
                ):
                    return result
            except ConnectionLost as exc:
                if isinstance(exc, TimedOut) or not (was_idle and may_repeat(client, body)):
                    raise
        with self._borrowed(new=True) as (client, _):
            return client.send_message(sender, recipients, body, **options)

    def _take(self, new: bool) -> tuple[Client, bool]:
        self._leave_all(self._expired())
        ticket = self._ask()
        try:
            if not ticket.granted:
                ticket.event.wait()
            if not ticket.granted:
                raise LocalProtocolError("the pool is closed")
        except BaseException:
            unwanted = self._withdraw(ticket)
            if unwanted is not None:
                unwanted.close()
            raise
        try:
            if ticket.idle is not None:
                client, since = ticket.idle
                if not new and self._works(client, since):
                    return client, True
                self._leave(client)
            return self._connect(), False
        except BaseException:
            self._pass_on(None)
            raise

    def _works(self, client: Client, since: float) -> bool:
        if self._clock() - since > self._check_after:
            try:
                client.reset()
            except SMTPError:
                return False
        return True

    def _give_back(self, client: Client) -> None:
        if not self._is_done(client) and self._pass_on((client, self._clock())):
            return
        try:
            self._leave(client)
        finally:
            self._pass_on(None)

    def _leave(self, client: Client) -> None:
        with suppress(SMTPError):
            client.quit(wait=False)

    def _leave_all(self, clients: list[Client]) -> None:
        with ExitStack() as stack:  # whatever interrupts the farewells, all are closed
            for client in clients:
                stack.callback(client.close)
            for client in clients:
                self._leave(client)

    def close(self) -> None:
        """Close the idle connections now and the others when they come back; who waits is told."""
        self._leave_all(self._shut())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncPool(Pooling[AsyncClient]):
    """Up to `size` connections to one server, for many tasks.

        async with Pool(4, partial(connect, "mx.example.com", 587, starttls="required")) as pool:
            await pool.send_message("alice@example.org", ["bob@example.com"], message)

    `connect` opens one. After `max_messages` (None: no limit) or the server's own MAILMAX (RFC 9422), or
    when it was idle for `max_idle` seconds, a connection is closed; after `check_after` seconds it is
    asked whether it still works. `clock`: tells the seconds.
    """

    _make_event: Callable[[], AsyncEvent]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """A connection for as long as the block lasts. Raises what `connect` raises, and
        `LocalProtocolError` once the pool is closed.
        """
        async with self._borrowed() as (client, _):
            yield client

    @asynccontextmanager
    async def _borrowed(self, *, new: bool = False) -> AsyncIterator[tuple[AsyncClient, bool]]:
        """A connection, and whether it was idle before."""
        client, was_idle = await self._take(new)
        try:
            yield client, was_idle
        finally:
            await self._give_back(client)

    async def send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: AsyncBody, **options: Any
    ) -> SendResult:
        """As `AsyncClient.send_message`. Where an old connection turns out to be dead before anything of the
        message was delivered, it is sent once more on a new one; and to those for whom one session has no
        room (RFC 9422), in others. But a body that cannot be read twice is sent once.
        """
        result = await self._send_message(sender, recipients, body, options)
        while rest := left_over(result, recipients, body, options):
            async with self._borrowed(new=True) as (client, _):
                try:
                    more = await client.send_message(sender, rest, body, **options)
                except ConnectionLost as exc:
                    exc.result = merged(result, client.last_result)
                    raise
            if not (more.accepted or more.refused):
                break
            result = merged(result, more)
        return result

    async def _send_message(
        self, sender: str, recipients: str | Sequence[str | Rcpt], body: AsyncBody, options: dict[str, Any]
    ) -> SendResult:
        async with self._borrowed() as (client, was_idle):
            try:
                result = await client.send_message(sender, recipients, body, **options)
                if client.conn.is_usable or not (
                    was_idle and is_temporary(result) and may_repeat(client, body)
                ):
                    return result
            except ConnectionLost as exc:
                if isinstance(exc, TimedOut) or not (was_idle and may_repeat(client, body)):
                    raise
        async with self._borrowed(new=True) as (client, _):
            return await client.send_message(sender, recipients, body, **options)

    async def _take(self, new: bool) -> tuple[AsyncClient, bool]:
        await self._leave_all(self._expired())
        ticket = self._ask()
        try:
            if not ticket.granted:
                await ticket.event.wait()
            if not ticket.granted:
                raise LocalProtocolError("the pool is closed")
        except BaseException:
            unwanted = self._withdraw(ticket)
            if unwanted is not None:
                await unwanted.close()
            raise
        try:
            if ticket.idle is not None:
                client, since = ticket.idle
                if not new and await self._works(client, since):
                    return client, True
                await self._leave(client)
            return await self._connect(), False
        except BaseException:
            self._pass_on(None)
            raise

    async def _works(self, client: AsyncClient, since: float) -> bool:
        if self._clock() - since > self._check_after:
            try:
                await client.reset()
            except SMTPError:
                return False
        return True

    async def _give_back(self, client: AsyncClient) -> None:
        if not self._is_done(client) and self._pass_on((client, self._clock())):
            return
        try:
            await self._leave(client)
        finally:
            self._pass_on(None)

    async def _leave(self, client: AsyncClient) -> None:
        with suppress(SMTPError):
            await client.quit(wait=False)

    async def _leave_all(self, clients: list[AsyncClient]) -> None:
        async with AsyncExitStack() as stack:  # whatever interrupts the farewells, all are closed
            for client in clients:
                stack.push_async_callback(client.close)
            for client in clients:
                await self._leave(client)

    async def close(self) -> None:
        """Close the idle connections now and the others when they come back; who waits is told."""
        await self._leave_all(self._shut())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
