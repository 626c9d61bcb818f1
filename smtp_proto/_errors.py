"""The exceptions. There are few, and each says what went wrong, where, and with which reply.

    SMTPError
     +- ProtocolError
     |   +- LocalProtocolError    we were asked to do what the protocol forbids
     |   +- RemoteProtocolError   the peer did what the protocol forbids
     +- Refused                   the peer answered 4yz or 5yz, and the operation cannot go on
     +- NotOffered                the peer lacks an extension that the operation needs
     +- ConnectionLost            the connection died in the middle of an operation
         +- TimedOut              one of the timers of RFC 5321 4.5.3.2 ran out

The grammar and the constructors of messages raise `LocalProtocolError`, whoever wrote the octets
that they judge. `_connection.py` is the one place that knows when these came from the peer; there it
becomes a `RemoteProtocolError`, or the event `MalformedCommand`, `from` the cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._commands import Command
    from ._limits import Timer
    from ._replies import Reply
    from .ops import SendResult


class SMTPError(Exception):
    """Base of everything that this library raises on purpose."""


class ProtocolError(SMTPError):
    """Somebody broke the rules of the protocol.

    `code`, `enhanced`: the reply code and the enhanced status code with which a server answers such a fault
    (RFC 5321 4.2.2, RFC 3463).
    """

    def __init__(self, message: str, *, code: int = 501, enhanced: str = "5.5.4") -> None:
        super().__init__(message)
        self.code = code
        self.enhanced = enhanced


class LocalProtocolError(ProtocolError):
    """The caller asked for something illegal. Nothing was changed and nothing was queued.

    `code`, `enhanced`: as for `ProtocolError`.
    """


class RemoteProtocolError(ProtocolError):
    """The peer did something illegal; nothing more can be read from this connection.

    `reply`: what a server should send before it closes; None where there is nothing to say. `command`: the
    command, if any, whose answer could not be understood. `code`, `enhanced`: as for `ProtocolError`.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 501,
        enhanced: str = "5.5.4",
        reply: Reply | None = None,
        command: Command | None = None,
    ) -> None:
        super().__init__(message, code=code, enhanced=enhanced)
        self.reply = reply
        self.command = command


class Refused(SMTPError):
    """The server refused the command on which an operation depends.

    `reply`: what it said. `command`: an attribute, what it was asked; None where it refused the connection.
    """

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.command: Command | None = reply.to
        asked = "the connection" if reply.to is None else type(reply.to).__name__
        super().__init__(f"{asked} was refused: {reply}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _refused, (type(self), self.reply, self.command), self.__dict__


def _refused(cls: type[Refused], reply: Reply, command: Command | None) -> Refused:
    reply._to = command
    return cls(reply)


class NotOffered(SMTPError):
    """The server does not offer an extension that the operation needs.

    `keyword`: its name as in the answer to EHLO, such as `SMTPUTF8`. `why`: who needs it, for the text.
    """

    def __init__(self, keyword: str, why: str) -> None:
        super().__init__(f"the server does not offer {keyword}: {why}")
        self.keyword = keyword
        self._why = why

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.keyword, self._why), self.__dict__


class ConnectionLost(SMTPError):
    """The connection broke in the middle of an operation; `__cause__` says how.

    `result`: what is known of the message that was being sent, the same `SendResult` that the operation
    would have returned; None for other operations. `sending`: only sending failed, and what the peer said
    before may still be read.

    The attribute `results` is the same of many messages, a list.
    """

    def __init__(self, message: str, *, result: SendResult | None = None, sending: bool = False) -> None:
        super().__init__(message)
        self.result = result
        self.results: list[SendResult] = []
        self.sending = sending


class TimedOut(ConnectionLost, TimeoutError):
    """The peer was silent for longer than `timer` allows (RFC 5321 4.5.3.2); `seconds` is how long."""

    def __init__(self, timer: Timer, seconds: float) -> None:
        super().__init__(f"{timer.name}: nothing came within {seconds:g} seconds")
        self.timer = timer
        self.seconds = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.timer, self.seconds), self.__dict__
