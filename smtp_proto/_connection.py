"""What both ends of a connection have in common: octets in, messages out, and back. No I/O.

    conn.receive_data(octets)   what came from the network; b"" is its end
    conn.next_event()           the next message, or a signal
    conn.send(message)          say something, if it may be said now
    conn.data_to_send()         the octets that this made

Here alone a fault of the peer becomes a `RemoteProtocolError`. After one, nothing more is read; a server
can still send its reply.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from ._commands import Command, Mail
from ._errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from ._features import Features
from ._limits import NO_QUOTA, Limits, Quota
from ._receive_buffer import ReceiveBuffer
from ._replies import Reply
from ._state import IN_TRANSACTION, Machine, Opening, State


class Signal(Enum):
    """What `next_event()` returns when there is no message."""

    NEED_DATA = "need-data"
    """Read from the network and call `receive_data`."""
    PAUSED = "paused"
    """Nothing is read before you act: send the reply that is due, or start TLS."""
    CLOSED = "closed"
    """The conversation is over, in good order."""

    def __repr__(self) -> str:
        return self.name


NEED_DATA: Final = Signal.NEED_DATA
PAUSED: Final = Signal.PAUSED
CLOSED: Final = Signal.CLOSED

NO_FEATURES = Features()
OVER = frozenset((State.CLOSED, State.FAILED))


class Connection:
    """What both ends have in common."""

    __slots__ = (
        "_buffer",
        "_eof",
        "_error",
        "_machine",
        "_mail",
        "_out",
        "authenticated",
        "features",
        "limits",
        "lmtp",
        "quota",
        "tls",
    )

    lmtp: bool
    """Whether this is LMTP (RFC 2033) and not SMTP."""
    tls: bool
    """Whether the conversation goes through TLS."""
    authenticated: bool
    """Whether AUTH succeeded (235)."""
    features: Features
    """What the server offered in its last answer to EHLO; empty before, after HELO, and after STARTTLS."""
    limits: Limits
    """What the peer may not exceed."""
    quota: Quota
    """What is left of the limits that the server offered."""

    def __init__(
        self,
        *,
        lmtp: bool,
        tls: bool,
        limits: Limits,
        state: State = State.GREETING,
        features: Features = NO_FEATURES,
    ) -> None:
        self.lmtp = lmtp
        self.tls = tls
        self.limits = limits
        self.authenticated = False
        self.quota = Quota()
        self._learn_features(features)
        self._mail: Mail | None = None
        self._buffer = ReceiveBuffer()
        self._out: list[bytes] = []
        self._eof = False
        self._error: RemoteProtocolError | None = None
        self._machine = Machine(state)

    @property
    def is_usable(self) -> bool:
        """Whether anything can still be said and read: not closed, not failed, no error of the peer's."""
        return self._machine.state not in OVER and self._error is None

    @property
    def state(self) -> State:
        """Where the session is."""
        return self._machine.state

    @property
    def mail(self) -> Mail | None:
        """The MAIL that opened the transaction in progress; None outside of one."""
        return self._mail if self.state in IN_TRANSACTION else None

    def receive_data(self, data: bytes) -> None:
        """Store octets from the network; `b""` says that the peer will send no more.

        Call it when `next_event()` returned `NEED_DATA`: then what is stored stays within the limits.
        Raises `LocalProtocolError` for octets after the end.
        """
        if not data:
            self._eof = True
        elif self._eof:
            raise LocalProtocolError("octets after the end of file")
        buffer = self._buffer
        buffer.octets += data  # what `append` does, without the call
        buffer.end += len(data)

    @property
    def trailing_data(self) -> bytes:
        """The octets that were received and are in no message yet: for whoever takes the connection over."""
        return bytes(self._buffer.octets)

    def data_to_send(self) -> bytes:
        """Take the octets that are to be sent now; `b""` if there are none."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def octets_to_send(self) -> int:
        """How many octets `data_to_send()` would return."""
        return sum(map(len, self._out))

    def fail(self) -> None:
        """Confess that octets were lost, or that nobody will read any more: nothing works after this."""
        self._machine.fail()
        self._out.clear()

    def tls_started(self) -> None:
        """The handshake is done: all that was learned in the clear is forgotten (RFC 3207 4.2).

        Raises `RemoteProtocolError` if the peer had sent octets in the clear behind STARTTLS or its 220,
        and `LocalProtocolError` if no handshake was due.
        """
        if self._machine.state is not State.TLS:
            raise LocalProtocolError("no TLS handshake is due")
        self._refuse_input("before the TLS handshake")
        self._machine.tls_started()
        self.tls = True
        self._forget()

    def _forget(self) -> None:
        self._learn_features(NO_FEATURES)
        self.authenticated = False

    def _learn_features(self, features: Features) -> None:
        self.features = features
        self.quota.limits = features.limits if "LIMITS" in features else NO_QUOTA

    def _begin_afresh(self, command: Command, reply: Reply) -> None:
        """XCLIENT was answered: with 220, nothing that was learned holds any more."""
        if reply.code == 220:
            self._forget()

    def _refuse_input(self, where: str) -> None:
        if self._buffer:
            raise self._fault(ProtocolError(f"octets in the clear {where}", code=554, enhanced="5.5.1"))

    def _fault(self, cause: ProtocolError, command: Command | None = None) -> RemoteProtocolError:
        """The peer's fault, remembered: every later attempt to read raises it again."""
        self._error = fault(cause, command)
        self._error.__cause__ = cause
        return self._error

    def _check_readable(self) -> None:
        if self._machine.state is State.FAILED:
            raise LocalProtocolError("the connection is failed")
        if self._error is not None:
            raise self._error


def fault(cause: ProtocolError, command: Command | None = None) -> RemoteProtocolError:
    """`cause` as the peer's fault."""
    return RemoteProtocolError(
        str(cause), code=cause.code, enhanced=cause.enhanced, reply=refusal(cause), command=command
    )


def refusal(cause: ProtocolError) -> Reply:
    """The reply in which a server says `cause`."""
    text = str(cause).encode("ascii", "backslashreplace").decode("ascii")[:200]
    return Reply(code=cause.code, enhanced=cause.enhanced, text=text)


def name(command: Command) -> str:
    """What `command` is called in an error."""
    return "the opening" if isinstance(command, Opening) else type(command).__name__
