"""The client that people use: the core's operations as methods, each a line."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from smtp_proto import ClientConnection, Features, Greeting, Rcpt, Reply, ops
from smtp_proto.ops import SendResult, StartTLSPolicy

from ._run import Driver, Stream, Timeouts

_PIECE = 65536
_NONE: Mapping[str, Any] = {}


class Readable(Protocol):
    """An open binary file."""

    def read(self, size: int, /) -> bytes: ...


Body: TypeAlias = bytes | bytearray | memoryview | Readable | Iterable[bytes]
"""A message: its octets, an open binary file, or pieces of octets."""


class Client:
    """A client on a connected stream. Not for several threads at once.

    Every method raises `ConnectionLost` when the network fails, `TimedOut` when the server is silent for
    too long, `RemoteProtocolError` when it breaks the protocol, and `LocalProtocolError` for what may not
    be said. After the first three the connection is of no more use.
    """

    def __init__(
        self, stream: Stream, conn: ClientConnection | None = None, *, timeouts: Timeouts = None
    ) -> None:
        self.conn = conn or ClientConnection()
        """The protocol state: `features`, `tls`, `state`."""
        self.greeting: Greeting | None = None
        """What the server said first."""
        self._driver = Driver(self.conn, stream, timeouts)

    @property
    def features(self) -> Features:
        """What the server offers."""
        return self.conn.features

    def start(self, domain: str, *, starttls: StartTLSPolicy = "never", needs_esmtp: bool = False) -> Reply:
        """Wait for the greeting and introduce this client as `domain`; see `smtp_proto.ops.hello`.

        On a connection made with `tls=True` the handshake comes first.
        """
        if self.conn.tls:
            self._driver.start_tls()
        self.greeting = self._driver.run(ops.greet(self.conn))
        return self._driver.run(ops.hello(self.conn, domain, starttls=starttls, needs_esmtp=needs_esmtp))

    def send_message(
        self,
        sender: str,
        recipients: str | Sequence[str | Rcpt],
        body: Body,
        *,
        size: int | None = None,
        parameters: Mapping[str, Any] = _NONE,
        all_or_nothing: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> SendResult:
        """Send a message; one outcome for each recipient. See `smtp_proto.ops.send_message`."""
        whole, pieces = _parts(body)
        return self._driver.run(
            ops.send_message(
                self.conn,
                sender,
                recipients,
                whole,
                size=size,
                parameters=parameters,
                all_or_nothing=all_or_nothing,
                progress=progress,
            ),
            pieces,
        )

    def verify(self, argument: str) -> Reply:
        """VRFY; the reply, good or bad."""
        return self._driver.run(ops.verify(self.conn, argument))

    def expand(self, argument: str) -> Reply:
        """EXPN; the reply, good or bad."""
        return self._driver.run(ops.expand(self.conn, argument))

    def help(self, topic: str | None = None) -> Reply:
        """HELP; the reply, good or bad."""
        return self._driver.run(ops.help(self.conn, topic))

    def noop(self) -> Reply:
        """NOOP; the reply, good or bad."""
        return self._driver.run(ops.noop(self.conn))

    def reset(self) -> Reply:
        """RSET; raises `Refused` if the server will not."""
        return self._driver.run(ops.reset(self.conn))

    def quit(self) -> Reply | None:
        """QUIT and close; the reply, or None from a server that just closed."""
        try:
            return self._driver.run(ops.quit(self.conn))
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


def _parts(body: Any) -> tuple[bytes | None, Callable[[object], bytes] | None]:
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
