"""A server whose sessions need no task as long as nothing but the client's octets has to be waited for: the
stream calls, the session answers, and nobody is suspended in between.

What has to be waited for besides, a handler's coroutine, the handshake of TLS, a client that reads slowly,
makes the session a task as in every other `AsyncServer`, to its end. So does the closing of the server.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol, cast

from smtp_proto import ConnectionLost, ServerConnection
from smtp_proto.ops import Op, Session

from ._callback_driver import Called, CallingStream
from ._driving import EVENT
from ._server import AsyncServer, AsyncServerStream, log


class _Stream(CallingStream, AsyncServerStream, Protocol):
    """What it needs of a stream."""


class CallbackServer(AsyncServer):
    """Accepts connections and serves each with the handler, until closed: an async context manager.

    `addresses` says where it listens. The handler's methods may be coroutines.
    """

    def _begin(self, stream: AsyncServerStream, peer: Any) -> None:
        settings = self._settings
        if settings.tls or settings.proxy_protocol or self._closing:
            super()._begin(stream, peer)
        else:
            _Call(self, settings.make_connection(), cast(_Stream, stream), peer).begin(peer)

    def _end(self, call: _Call, exc: BaseException | None = None) -> None:
        """A session is over, and has no task."""
        if exc is not None and not isinstance(exc, ConnectionLost | CancelledError):
            log("a session failed", exc)
        self._leave(call)
        call.stream.hang_up()
        self._slots.release()

    async def _go_on(self, call: _Call, op: Op[None]) -> None:
        """Serve the rest of a session, as `_serve` does."""
        try:
            await call.run(op, call.ask)
        except ConnectionLost:
            pass  # the client is gone, and the handler was told
        except Exception as exc:  # of a handler, where the client can be told nothing any more
            log("a session failed", exc)
        finally:
            self._leave(call)
            await call.stream.close()
            self._slots.release()


class _Call(Called):
    """A session that is driven by what its stream calls."""

    conn: ServerConnection
    stream: _Stream
    _context: Context
    _op: Any  # the operation, for as long as there is no task for it

    def __init__(self, server: CallbackServer, conn: ServerConnection, stream: _Stream, peer: Any):
        settings = server._settings
        super().__init__(conn, stream, settings.timeouts, settings.clock)
        self._server = server
        self._session = Session(conn, peer, stream)
        self._context = copy_context()  # that of a task of its own

    def ask(self, question: Any) -> object:
        """What the handler says."""
        return getattr(self._server._handler, question.hook)(self._session, *question.arguments)

    def begin(self, peer: Any) -> None:
        """Greet, and listen."""
        server = self._server
        server._enter(self)
        too_many = server._is_one_too_many(self, peer)
        self._op = server._dialogue(self._session, too_many)
        self.stream.listen(self)
        self._step()

    def stop(self) -> None:
        if self._op is not None:
            self._hand_over(EVENT)
        super().stop()

    def hear_no_more(self, reason: Exception) -> None:
        self._mute = self.stream.is_full  # who has taken nothing in all this time is told nothing more
        super().hear_no_more(reason)

    def _step(self, answer: object = None, thrown: Exception | None = None) -> None:
        """Let the session go on for as long as it can."""
        try:
            want = self._context.run(self._advance, self._op, self.ask, answer, thrown)
        except BaseException as exc:
            self._end(exc)
            if isinstance(exc, KeyboardInterrupt | SystemExit):
                raise
            return
        finally:
            thrown = None  # it holds this frame
        if want is EVENT:
            if self._say():
                self.stream.expect(self._always or self._seconds())
                return
        elif want is None:
            if self._mute or (self._say() and not self.stream.is_full):
                self._end()
                return
            want = self._guard("sending failed", self.stream.send_all, b"", self._seconds())
        self._hand_over(want)

    def _end(self, exc: BaseException | None = None) -> None:
        op = self._leave_off()
        if exc is not None:
            self.conn.fail()
        op.close()
        self._server._end(self, exc)

    def _hand_over(self, want: Any) -> None:
        """Let a task do the rest, beginning with `want`."""
        rest = cast(Op[None], _Begun(self._leave_off(), want))
        self._context.run(self._server._tasks.start, self._server._go_on, self, rest)

    def _leave_off(self) -> Op[None]:
        self.stream.listen(None)
        op: Op[None] = self._op
        self._op = None
        return op


class _Begun:
    """An operation that waits for `want` already, for who takes it over."""

    __slots__ = ("close", "send", "throw")

    send: Callable[[Any], Any]

    def __init__(self, op: Op[None], want: Any) -> None:
        def first(answer: None) -> Any:
            self.send = op.send
            return want

        self.send = first
        self.throw = op.throw
        self.close = op.close
