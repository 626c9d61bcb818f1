"""Sockets that block: those of the standard library, or another library's that have the same methods."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from smtp_proto import Features, Limits, LineEnds, ProxyHeader, SMTPError
from smtp_proto.ops import DEFAULT_OFFER, StartTLSPolicy

from ._client import Client
from ._opening import connected, listening, stop_listening
from ._places import (
    IN_THE_CLEAR,
    INTERNET,
    Security,
    SentLineEnds,
    accepting,
    default_port,
    introducing,
    leaves_in_good_order,
    own_name,
)
from ._server import Server, Slots, Threads
from ._stream import Stream, Timeouts, seconds_for
from .auth import AuthSettings

if TYPE_CHECKING:
    from .handlers import Handler

_T = TypeVar("_T")

_READ = 65536


class SocketStream:
    """A connected socket as a stream. TLS is done beside the socket, in memory: so any library's sockets will
    do, and a socket that reads no more can still say good-bye.
    """

    def __init__(self, sock: Any, security: Security = IN_THE_CLEAR) -> None:
        self.sock = sock
        self._security = security
        self._timeout: float | None = -1.0
        self._tls: ssl.SSLObject | None = None
        if sock.family in INTERNET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ssl_object(self) -> Any:
        """What the `ssl` module knows of TLS; None in the clear."""
        return self._tls

    def send_all(self, data: bytes, timeout: float | None) -> None:
        """Send all of `data`, or raise."""
        if self._tls is None:
            is_set = timeout == self._timeout
            sent = self.sock.send(data) if is_set else self._wait_for(self.sock.send, data, timeout)
            if sent < len(data):
                self._send_rest(memoryview(data)[sent:], timeout)
            return
        self._set_timeout(timeout)
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
            self._send_secured()

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        """Wait for octets; `b""` is the end."""
        if self._tls is None:
            if timeout == self._timeout:
                octets: bytes = self.sock.recv(max_octets)
            else:
                octets = self._wait_for(self.sock.recv, max_octets, timeout)
            return octets
        try:
            return self._until_done(partial(self._tls.read, max_octets), timeout)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def start_tls(self, timeout: float | None) -> None:
        """Do the handshake."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._security.check().wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=self._security.server_side,
            server_hostname=self._security.server_hostname,
        )
        self._until_done(self._tls.do_handshake, timeout)

    def stop_receiving(self) -> None:
        """Read no more, from any thread: who waits here gets `b""`."""
        self._end(socket.SHUT_RD)

    def hang_up(self) -> None:
        """End the conversation, from any thread: who waits here is woken, and has to close."""
        self._end(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self.hang_up()
        self.sock.close()

    def _until_done(self, action: Callable[[], _T], timeout: float | None) -> _T:
        """Let TLS do something, with all the octets from the network that it needs, before one deadline."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                result = action()
                self._send_secured()
                return result
            except ssl.SSLWantReadError:
                self._send_secured()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("timed out") from None
                self._set_timeout(left)
                data = self.sock.recv(_READ)
                if not data:
                    raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection was closed") from None
                self._incoming.write(data)
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the alert that says why
                    self._send_secured()
                raise

    def _send_secured(self) -> None:
        if self._outgoing.pending:
            self.sock.sendall(self._outgoing.read())

    def _send_rest(self, data: memoryview, timeout: float | None) -> None:
        """Send what did not fit in at once, before one deadline."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while data:
            if left is not None and left <= 0:
                raise TimeoutError("timed out")
            data = data[self._wait_for(self.sock.send, data, left) :]
            left = None if deadline is None else deadline - time.monotonic()

    def _wait_for(self, action: Callable[[Any], Any], argument: object, timeout: float | None) -> Any:
        """Let the socket do something. To set its timeout is a system call: one that is somewhat shorter
        stays, and is followed by another for the rest.
        """
        own = self._timeout
        if timeout is None or own is None or not own <= timeout <= 4 * own:
            self._set_timeout(timeout)
            own = timeout
        try:
            return action(argument)
        except TimeoutError:
            if timeout is None or own is None or own >= timeout:
                raise
        self._set_timeout(timeout - own)
        return action(argument)

    def _end(self, how: int) -> None:
        # That of gevent would raise in who waits; what is below it lets the end be read.
        sock = getattr(self.sock, "_sock", self.sock)
        with contextlib.suppress(OSError):
            sock.shutdown(how)

    def _set_timeout(self, timeout: float | None) -> None:
        if timeout != self._timeout:  # it is a system call
            self.sock.settimeout(timeout)
            self._timeout = timeout


class Listener:
    """A listening socket."""

    def __init__(
        self, sock: Any, security: Security, stream: Callable[[Any, Security], SocketStream] = SocketStream
    ) -> None:
        self._sock = sock
        self._security = security
        self._stream = stream
        self.address = sock.getsockname()

    def accept(self) -> tuple[SocketStream, Any]:
        """Wait for the next client."""
        sock, peer = self._sock.accept()
        try:
            return self._stream(sock, self._security), peer
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Stop listening; `accept` raises."""
        if self._sock.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        stop_listening(self._sock, self.address)


class Sockets:
    """A library of sockets and threads; its `connect` and `serve` are what an adapter offers.

    `socket`: a module such as `socket`. `stream`: makes a stream of a socket.
    """

    def __init__(
        self,
        socket: Any,
        stream: Callable[[Any, Security], SocketStream],
        threads: Callable[[], Threads],
        slots: Callable[[int], Slots],
    ) -> None:
        self.socket = socket
        self.stream = stream
        self.threads = threads
        self.slots = slots

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
        stream: Stream | None = None,
        local_address: tuple[str, int] | None = None,
        domain: str | None = None,
        proxy: ProxyHeader | None = None,
        timeouts: Timeouts = None,
        limits: Limits | None = None,
        line_ends: SentLineEnds = LineEnds.NORMALIZE,
    ) -> Client:
        """Connect, greet and introduce: a `Client` that is ready to send, and a context manager.

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

        Every address of `host` is tried. Raises `OSError` if no connection can be had, `ConnectionLost`
        from an `ssl.SSLError` if TLS fails, `Refused` and `NotOffered` as `smtp_proto.ops.greet` and
        `hello`, and what every method of `Client` raises. No socket is left then, and `sock` and `stream`
        are closed.
        """
        conn, context, policy = introducing(tls, starttls, context, lmtp, limits, line_ends)
        if stream is None:
            if sock is None:
                port = port or default_port(tls=tls, lmtp=lmtp)
                seconds = seconds_for(conn.timer, timeouts)
                sock = connected(self.socket, host, port, unix, seconds, local_address)
            try:
                stream = self.stream(sock, Security(context, server_hostname=server_hostname or host))
            except BaseException:
                sock.close()
                raise
        client = Client(stream, conn, timeouts=timeouts)
        try:
            client.start(domain or own_name(sock), starttls=policy, proxy=proxy)
        except BaseException as exc:
            if leaves_in_good_order(exc, conn, policy):
                with contextlib.suppress(SMTPError):
                    client.quit(wait=False)
            client.close()
            raise
        return client

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
    ) -> Server:
        """Listen and serve at the same time as all else: a `Server`, and a context manager.

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

        Raises `OSError` if it cannot listen there, `ValueError` for TLS without a context.
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
        )
        sock = listening(self.socket, host, port, unix)
        listener = Listener(sock, Security(context, server_side=True), self.stream)
        return Server(handler, [listener], self.threads(), self.slots(max_sessions), settings)
