"""What an operation asks of the loop that drives it."""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from .._message import Message, field


class Want(Enum):
    """What an operation asks of a transport.

    An operation is a generator. It speaks to the connection itself; what only a transport or an application
    can do, it yields as a want and is answered. The contract of the loop:

    * `Want.EVENT`: answer with `conn.next_event()`, reading from the network while that is `NEED_DATA`.
      Such a wait has one deadline, `conn.timer.seconds` from its beginning: octets that trickle in do not
      extend it. Read only here: what nobody waits for stays in the network, which slows the peer down.
    * `Want.TLS`: do the TLS handshake on the stream; the answer does not matter.
    * `NextChunk`: answer with the next piece of the body, `b""` at its end.
    * `NextToken`: answer with an access token.
    * `Decide`: answer with what the application says.
    * Where `Want.EVENT` would wait for a client that is in no transaction, a server that stops throws
      `Stopping`.
    * `Want.FLUSH`: send what is queued, and wait until the transport has room for more; the answer does not
      matter.
    * Send `conn.data_to_send()` also before reading, before a handshake, before `NextChunk`, and when the
      operation returns; not after each reply: what one read caused then goes out in one write.
    * If the network fails, throw `ConnectionLost` into the operation, `from` the cause, or, when the
      deadline has passed, `TimedOut(conn.timer, seconds)`; what `conn.next_event()` or the application
      raised is thrown as it is. Where sending failed set `sending` of the `ConnectionLost`: the peer's last
      words may still be there to read, and the operation asks for them; send nothing more. If anything
      comes back out after a throw, call `conn.fail()`.
    """

    EVENT = "event"
    """The next event of the connection."""
    TLS = "tls"
    """The TLS handshake."""
    FLUSH = "flush"
    """Nothing but that the octets queued so far are sent."""


class NextChunk(Message):
    """The next piece of the message's body, `b""` at its end."""

    __slots__ = ()


class NextToken(Message):
    """An access token, as text; with `refresh` a new one, for the last was refused."""

    __slots__ = ("_refresh",)
    _fields = ("refresh",)

    refresh: bool = field("_refresh")

    def __init__(self, *, refresh: bool) -> None:
        self._refresh = refresh


class Decide(Message):
    """A question to the application. `hook`: its name, that of a method of
    `smtp_transports.handlers.Handler`. `arguments`: what the method gets behind the session.
    """

    __slots__ = ("_arguments", "_hook")
    _fields = ("hook", "arguments")

    hook: str = field("_hook")
    arguments: tuple[Any, ...] = field("_arguments")

    def __init__(self, hook: str, *arguments: object) -> None:
        self._hook = hook
        self._arguments = arguments


class Stopping(Exception):
    """The server stops, and this session is idle: thrown into `serve` by the loop that drives it."""


_T = TypeVar("_T")

Op: TypeAlias = Generator[Want | NextChunk | NextToken | Decide, Any, _T]
"""An operation that ends with a `_T`."""
