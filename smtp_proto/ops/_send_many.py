"""Sending many messages back to back.

Where each fits into one flight (RFC 3030, RFC 2920), the next one is said before the last one is answered:
what a message costs is no round trip, but its share of a window. RSET stands between two of them: if one
was refused and its transaction is still open, the next one must not come to stand in it.

After DATA nobody may speak before the verdict: chasquid loses what comes, Haraka refuses it. Such messages
are sent one after the other.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .._client_connection import ClientConnection
from .._commands import EndOfMessage, Rcpt, Rset
from .._errors import ConnectionLost, RemoteProtocolError, SMTPError
from .._parameter_table import ParameterValue
from .._parameters import NO_PARAMETERS
from .._replies import Reply
from .._state import State
from ._delivery import GROUP_COMMANDS, Delivery
from ._prepare import Prepared, Transfer, prepare, within_limits
from ._result import SendResult
from ._send import leave, send_prepared
from ._wants import Op, Want

# Octets of messages that may be on their way, and those that are gathered for one write.
_WINDOW = 262144
_WRITE = 65536


class Outgoing(NamedTuple):
    """One message of many. `sender`, `recipients`, `body`, `parameters`: as for `send_message`."""

    sender: str
    recipients: str | Sequence[str | Rcpt]
    body: bytes
    parameters: Mapping[str, ParameterValue] = NO_PARAMETERS


def send_messages(
    conn: ClientConnection,
    messages: Iterable[Outgoing | tuple[Any, ...]],
    *,
    transfer: Transfer = "auto",
    allow_8bit: bool = False,
    idna: Callable[[str], str] | None = None,
    deliveries: list[Delivery] | None = None,
) -> Op[list[SendResult]]:
    """Send messages back to back; the result of each, in their order.

    `messages`: each an `Outgoing`, or a tuple of the same. `transfer`, `allow_8bit`, `idna`: as for
    `send_message`. `deliveries`: an empty list, which gets a `Delivery` for each message: all there is when
    the operation is abandoned.

    Raises as `send_message`: `LocalProtocolError` and `NotOffered` before anything is said of any message;
    `ConnectionLost`, with `results` as far as they are known, if the connection dies before all are.
    """
    outgoing = [Outgoing(*message) for message in messages]
    prepared = [
        prepare(conn, sender, recipients, body, None, parameters, transfer, allow_8bit, idna)
        for sender, recipients, body, parameters in outgoing
    ]
    deliveries = [] if deliveries is None else deliveries
    deliveries.extend(Delivery() for _ in prepared)
    batch = _Batch(conn, prepared, deliveries)
    try:
        yield from batch.send()
    except (ConnectionLost, RemoteProtocolError) as exc:
        yield from batch.give_up(exc)
    except BaseException:
        if conn.outstanding:
            conn.fail()
        raise
    return batch.results()


class _Batch:
    """The messages, and those of them that wait for their verdict."""

    def __init__(
        self, conn: ClientConnection, messages: Sequence[Prepared], deliveries: Sequence[Delivery]
    ) -> None:
        self._conn = conn
        self._messages = messages
        self._deliveries = deliveries
        for message, delivery in zip(messages, deliveries, strict=True):
            delivery.expect(conn, message)
        self._waiting: deque[tuple[Delivery, int]] = deque()  # each with its octets
        self._octets = 0

    def results(self) -> list[SendResult]:
        return [delivery.result() for delivery in self._deliveries]

    def send(self) -> Op[None]:
        conn = self._conn
        for prepared, delivery in zip(self._messages, self._deliveries, strict=True):
            message = within_limits(conn, prepared)
            if message is not prepared:
                delivery.expect(conn, message)
            if not delivery.has_more:
                continue
            if conn.quota.left("MAILMAX") <= 0:
                break
            if (
                message.in_one_flight
                and len(message.recipients) + 4 <= GROUP_COMMANDS // 2
                and not message.is_split
            ):
                yield from self._make_room(message)
                self._check_open()
                self._say(message, delivery)
                if conn.octets_to_send >= _WRITE:
                    yield Want.FLUSH
            else:
                yield from self._collect()
                self._check_open()
                if conn.mail is not None:
                    yield from leave(conn)
                    self._check_open()
                yield from send_prepared(conn, message, False, None, delivery)
        yield from self._collect()
        self._check_open()
        if conn.mail is not None:
            yield from leave(conn)

    def _check_open(self) -> None:
        if not self._conn.is_usable:
            raise ConnectionLost("the server closed the connection before all was sent")

    def _say(self, message: Prepared, delivery: Delivery) -> None:
        """All of a message, in one flight."""
        conn = self._conn
        if self._waiting or conn.mail is not None:
            conn.send(Rset())
        body = message.body or b""
        delivery.begin(conn, message)
        conn.send(message.envelope.mail)
        for rcpt in message.envelope.rcpts:
            conn.send(rcpt)
        conn.send_last_chunk(body)
        delivery.sent = True
        self._waiting.append((delivery, len(body)))
        self._octets += len(body)

    def _make_room(self, message: Prepared) -> Op[None]:
        """Where the window is full, wait until half of it is free: one write for many messages."""
        if not self._fits(message, 1):
            while self._waiting and not self._fits(message, 2):
                yield from self._read()

    def _fits(self, message: Prepared, share: int) -> bool:
        commands = self._conn.outstanding + len(message.recipients) + 4  # RSET, MAIL, BDAT and the verdict
        octets = self._octets + len(message.body or b"")
        return commands <= GROUP_COMMANDS // share and octets <= _WINDOW // share

    def _collect(self) -> Op[None]:
        while self._conn.outstanding:
            yield from self._read()

    def _read(self) -> Op[None]:
        """The next reply, and those that came along."""
        conn = self._conn
        before = conn.outstanding
        event = yield Want.EVENT
        while isinstance(event, Reply):
            self._note(event, is_last=conn.outstanding < before)
            before = conn.outstanding
            if not before:
                return
            event = conn.next_event()

    def _note(self, reply: Reply, *, is_last: bool) -> None:
        """`is_last`: in LMTP a verdict may be followed by others."""
        to = reply.to
        answered = None
        if not isinstance(to, Rset):
            answered, octets = self._waiting[0]
            answered.note(reply)
            if isinstance(to, EndOfMessage) and is_last:
                self._waiting.popleft()
                self._octets -= octets
        if self._conn.state is State.CLOSED:  # 421: nobody looked at what came behind
            for delivery, _ in self._waiting:
                delivery.sent = delivery.sent and delivery is answered
        if answered is None and not reply.is_positive:
            raise ConnectionLost(f"behind a RSET that was refused, nobody knows what is meant: {reply}")

    def give_up(self, exc: ConnectionLost | RemoteProtocolError) -> Op[None]:
        """The connection is lost. Raise it, with all that is known, unless everything is."""
        if isinstance(exc, ConnectionLost) and exc.sending:  # the last words may be there (RFC 5321 3.8)
            try:
                while self._conn.outstanding:
                    yield from self._read()
            except SMTPError:
                pass
        self._conn.fail()
        if all(delivery.is_decided for delivery in self._deliveries):
            return
        lost = exc if isinstance(exc, ConnectionLost) else ConnectionLost(f"while messages were sent: {exc}")
        lost.results = self.results()
        raise lost from (exc if lost is not exc else exc.__cause__)
