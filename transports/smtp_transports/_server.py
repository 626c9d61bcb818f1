"""The server of the adapters that have threads, or what looks like them: one for each session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from smtp_proto import ConnectionLost, ServerConnection
from smtp_proto.ops import Decide, Session, serve

from ._run import Driver, Stream, Timeouts
from .handlers import Handler

_log = logging.getLogger("smtp_transports")

# Seconds to wait when there are no more descriptors or threads to be had.
_PAUSE = 0.1


class ServerStream(Stream, Protocol):
    """A stream that another thread can end."""

    def hang_up(self) -> None: ...


class Listener(Protocol):
    """A bound socket that gives streams."""

    @property
    def address(self) -> Any: ...
    def accept(self) -> tuple[ServerStream, Any]: ...
    def close(self) -> None: ...


class Threads(Protocol):
    """How an adapter runs things at the same time."""

    def start(self, function: Callable[[], None]) -> None: ...
    def join(self) -> None: ...
    def pause(self, seconds: float, /) -> None: ...


class Slots(Protocol):
    """A semaphore: how many sessions there may be at once."""

    def acquire(self) -> object: ...
    def release(self) -> None: ...


class Server:
    """Accepts connections and serves each with the handler, until closed.

    `addresses` says where it listens. Use it as a context manager, or call `close()`.
    """

    def __init__(
        self,
        handler: Handler,
        listeners: list[Listener],
        threads: Threads,
        slots: Slots,
        make_connection: Callable[[], ServerConnection],
        *,
        domain: str,
        starttls: bool,
        require_tls: bool,
        timeouts: Timeouts,
    ) -> None:
        self._handler = handler
        self._listeners = listeners
        self._threads = threads
        self._slots = slots
        self._make_connection = make_connection
        self._options = {"domain": domain, "starttls": starttls, "require_tls": require_tls}
        self._timeouts = timeouts
        self._streams: set[ServerStream] = set()
        self._closing = False
        self.addresses: list[Any] = [listener.address for listener in listeners]
        """Where it listens: what `getsockname()` says."""
        for listener in listeners:
            threads.start(partial(self._accept, listener))

    @property
    def address(self) -> Any:
        """Where it listens, if that is one place."""
        return self.addresses[0]

    def _accept(self, listener: Listener) -> None:
        while True:
            self._slots.acquire()
            stream: ServerStream | None = None
            try:
                stream, peer = listener.accept()
                self._threads.start(partial(self._serve, stream, peer))
            except (OSError, RuntimeError) as exc:  # RuntimeError: no more threads
                if stream is not None:
                    stream.close()
                self._slots.release()
                if self._closing:
                    return
                _log.error("cannot take a connection", exc_info=exc)
                self._threads.pause(_PAUSE)

    def _serve(self, stream: ServerStream, peer: Any) -> None:
        self._streams.add(stream)
        if self._closing:
            stream.hang_up()
        conn = self._make_connection()
        session = Session(conn, peer)
        driver = Driver(conn, stream, self._timeouts)

        def ask(question: Decide) -> object:
            return getattr(self._handler, question.hook)(session, *question.arguments)

        try:
            if conn.tls:
                driver.start_tls()
            driver.run(serve(conn, session, **self._options), ask)  # type: ignore[arg-type]
        except ConnectionLost:
            pass  # the client is gone, and the handler was told
        except Exception as exc:  # of a handler, where the client can be told nothing any more
            _log.error("a session failed", exc_info=exc)
        finally:
            stream.close()
            self._streams.discard(stream)
            self._slots.release()

    def close(self) -> None:
        """Stop listening, hang up on everybody, and wait until nothing is left."""
        self._closing = True
        for listener in self._listeners:
            listener.close()
        for stream in list(self._streams):
            stream.hang_up()
        self._threads.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
