"""What the adapters for coroutines have in common: `connect` and `serve`, over sockets that each brings."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from smtp_proto import Features, Limits, LineEnds, ProxyHeader, SMTPError
from smtp_proto.ops import DEFAULT_OFFER, StartTLSPolicy

from ._client import AsyncClient
from ._opening import listening
from ._places import (
    Security,
    SentLineEnds,
    about,
    accepting,
    default_port,
    introducing,
    leaves_in_good_order,
    own_name,
)
from ._server import AsyncListener, AsyncServer, AsyncServerStream, AsyncSlots, Tasks
from ._stream import AsyncStream, Timeouts, seconds_for
from .auth import AuthSettings

if TYPE_CHECKING:
    from .handlers import Handler


class SocketStream(AsyncServerStream, Protocol):
    """A stream over a socket."""

    @property
    def sock(self) -> Any: ...


class Connecting:
    """A client to be: await it, or enter it as a context manager, to have it connected."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncClient]]) -> None:
        self._connect = connect
        self._client: AsyncClient | None = None

    def __await__(self) -> Generator[Any, Any, AsyncClient]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncClient:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.__aexit__(kind, exc, trace)


class AsyncSockets:
    """A library of sockets, TLS and tasks; its `connect` and `serve` are what an adapter offers."""

    server: Any = AsyncServer

    def clock(self) -> float:
        """Seconds on the library's clock."""
        raise NotImplementedError

    def tasks(self) -> Tasks:
        """What runs the sessions of a server."""
        raise NotImplementedError

    def slots(self, count: int) -> AsyncSlots:
        """A semaphore."""
        raise NotImplementedError

    async def open_tcp(
        self, host: str, port: int, local_address: tuple[str, int] | None, security: Security
    ) -> SocketStream:
        """Connect to the first address of `host` that answers."""
        raise NotImplementedError

    async def open_unix(self, path: str, security: Security) -> SocketStream:
        """Connect to a Unix socket."""
        raise NotImplementedError

    async def adopt(self, sock: socket.socket, security: Security) -> SocketStream:
        """Take over a connected socket."""
        raise NotImplementedError

    def listener(self, sock: socket.socket, security: Security) -> AsyncListener:
        """Take over a listening socket."""
        raise NotImplementedError

    async def limited(self, opening: Awaitable[SocketStream], seconds: float | None) -> SocketStream:
        """What `opening` gives, or `TimeoutError` after `seconds`."""
        raise NotImplementedError

    def connect(
        self,
        host: str = "localhost",
        port: int | None = None,
        *,
        tls: bool = False,
        starttls: StartTLSPolicy | None = None,
        context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        lmtp: bool = False,
        unix: str | os.PathLike[str] | None = None,
        sock: Any = None,
        stream: AsyncStream | None = None,
        local_address: tuple[str, int] | None = None,
        domain: str | None = None,
        proxy: ProxyHeader | None = None,
        timeouts: Timeouts = None,
        limits: Limits | None = None,
        line_ends: SentLineEnds = LineEnds.NORMALIZE,
    ) -> Connecting:
        """Connect, greet and introduce: `async with connect(...) as client`, or `client = await
        connect(...)`.

        `port`: 25 by default, 465 with `tls`, 24 with `lmtp`. `tls`: TLS from the start. `starttls`: the
        policy; `required` by default if a `context` is given. `context`: by default certificates and names
        are verified against the system's authorities. `server_hostname`: the name to verify, if it is not
        `host`. `unix`: the path of a Unix socket, instead of host and port; `sock`: a connected socket
        instead of either; `stream`: a stream of your own. `local_address`: host and port to connect from.
        `domain`: how to introduce this client; by default the host's name if it has a dot, else its
        address. `proxy`: what to say before all else, for whom this connection is made. `timeouts`: seconds
        for every wait, or some timers to their seconds, None for ever; those of RFC 5321 4.5.3.2 otherwise.
        Connecting takes the one for the greeting. `limits`: what the server may not exceed. `line_ends`:
        what becomes of bare CR and LF in a message.

        Raises `OSError` if no connection can be had, `ConnectionLost` from an `ssl.SSLError` if TLS fails,
        `Refused` and `NotOffered` as `smtp_proto.ops.greet` and `hello`, and what every method of
        `AsyncClient` raises. No socket is left then, and `sock` and `stream` are closed.
        """

        async def connected() -> AsyncClient:
            conn, own_context, policy = introducing(tls, starttls, context, lmtp, limits, line_ends)
            there, inner = stream, None
            if there is None:
                security = Security(own_context, server_hostname=server_hostname or host)
                place = f"{host}:{port or default_port(tls=tls, lmtp=lmtp)}"
                if sock is not None:
                    opening = self.adopt(sock, security)
                elif unix is not None:
                    place = os.fspath(unix)
                    opening = self.open_unix(place, security)
                else:
                    number = port or default_port(tls=tls, lmtp=lmtp)
                    opening = self.open_tcp(host, number, local_address, security)
                try:
                    there = inner = await self.limited(opening, seconds_for(conn.timer, timeouts))
                except OSError as exc:
                    raise about(place, exc) from exc
            client = AsyncClient(there, conn, timeouts=timeouts, clock=self.clock)
            try:
                await client.start(domain or own_name(inner and inner.sock), starttls=policy, proxy=proxy)
            except BaseException as exc:
                if leaves_in_good_order(exc, conn, policy):
                    with contextlib.suppress(SMTPError):
                        await client.quit(wait=False)
                await client.close()
                raise
            return client

        return Connecting(connected)

    def serve(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        unix: str | os.PathLike[str] | None = None,
        tls: bool = False,
        context: ssl.SSLContext | None = None,
        require_tls: bool = False,
        lmtp: bool = False,
        domain: str | None = None,
        offer: Features = DEFAULT_OFFER,
        auth: AuthSettings | None = None,
        max_sessions: int = 100,
        max_sessions_per_address: int | None = None,
        proxy_protocol: bool = False,
        timeouts: Timeouts = None,
        limits: Limits | None = None,
        line_ends: LineEnds = LineEnds.STRICT,
    ) -> AsyncServer:
        """Listen and serve: `async with serve(...) as server`. The handler's methods may be coroutines.

        `handler`: who decides. `host`: the address to listen at. `port`: 0 takes a free one: see
        `server.address`. `tls`: TLS from the start. `context`: the server's certificate; with it STARTTLS
        is offered, or with `tls` the session begins with TLS. `lmtp`: speak LMTP. `require_tls`: take no
        mail in the clear. `domain`: the server's name; by default the host's. `offer`: the extensions that
        the handler knows what to do with, besides SIZE, STARTTLS and AUTH. `auth`: how clients are
        authenticated. `max_sessions`: at once; more clients wait to be accepted.
        `max_sessions_per_address`: more from one address are turned away. `proxy_protocol`: every client
        says first for whom it speaks (PROXY protocol, versions 1 and 2), and is believed: only where nobody
        but proxies that you trust can connect. `unix`: listen at this path instead. `timeouts`: as for
        `connect`. `limits`: what clients may not exceed, `Limits.message_size` among them. `line_ends`:
        what becomes of a message with bare CR or LF.

        Raises `ValueError` for TLS without a context, and when entered `OSError` if it cannot listen there.
        """
        settings = accepting(
            tls,
            context,
            require_tls,
            lmtp,
            domain,
            offer,
            auth,
            max_sessions_per_address,
            timeouts,
            limits,
            line_ends,
            proxy_protocol,
            self.clock,
        )

        async def listen() -> list[AsyncListener]:
            sock = listening(socket, host, port, unix)
            sock.setblocking(False)
            return [self.listener(sock, Security(context, server_side=True))]

        server: AsyncServer = self.server(handler, listen, self.tasks(), self.slots(max_sessions), settings)
        return server
