"""Sending one message: as few round trips as the server allows, and an outcome for each recipient.

With PIPELINING (RFC 2920) MAIL, all RCPT and DATA go out as one group; without it the same code works
with groups of one. Groups are bounded: a server that writes its replies while we write our commands, and
neither reads, would stop both for ever. With CHUNKING (RFC 3030) besides, a small message goes out behind
its envelope, in one flight: it is no loss if nobody wants it.

Every reply is read, whatever failed before it. A 354 after all recipients were refused is answered with
a lone dot. A transaction that did not end with a verdict is ended with RSET.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .._client_connection import ClientConnection
from .._commands import Bdat, EndOfMessage, MessageData, Rcpt
from .._connection import NEED_DATA
from .._errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, SMTPError
from .._parameter_table import ParameterValue
from .._parameters import NO_PARAMETERS
from .._replies import Reply, Successes
from .._state import State
from .._text import PIECE, pieces_of
from ._client import reset
from ._delivery import Delivery
from ._prepare import Prepared, Transfer, prepare, within_limits
from ._result import SendResult
from ._wants import NextChunk, Op, Want

# An Enum member is slow to look up before Python 3.12.
_READY = State.READY
_EVENT = Want.EVENT

_END = EndOfMessage()


def send_message(
    conn: ClientConnection,
    sender: str,
    recipients: str | Sequence[str | Rcpt],
    body: bytes | None = None,
    *,
    size: int | None = None,
    parameters: Mapping[str, ParameterValue] = NO_PARAMETERS,
    all_or_nothing: bool = False,
    transfer: Transfer = "auto",
    allow_8bit: bool = False,
    idna: Callable[[str], str] | None = None,
    progress: Callable[[int], object] | None = None,
    delivery: Delivery | None = None,
) -> Op[SendResult]:
    """Send a message; one outcome for each of `recipients`.

    `sender`: the reverse-path, `""` for the null path. `recipients`: an address, or several, each as text
    or as a `Rcpt` with parameters of its own. `body`: the message's octets; None to be asked for pieces
    (`NextChunk`). `size`: its size in octets, if `body` is None and the size is known. `parameters`: of
    MAIL; SIZE is added where it is known and offered, BODY and SMTPUTF8 where addresses or `body` need them.
    `all_or_nothing`: send no message unless every recipient is taken. `transfer`: with DATA or in chunks.
    `allow_8bit`: send a body beyond ASCII, or a header in UTF-8, also to a server that does not offer
    8BITMIME or SMTPUTF8. `idna`: makes A-labels of a domain, for a server without SMTPUTF8; `ValueError`
    says that it is none. `progress`: called with the octets of the body sent so far. `delivery`: a new
    `Delivery`, which knows at any time what has become of the message; it is all there is when the operation
    is abandoned.

    A server's limits (RFC 9422) are kept. The recipients are split into as many transactions as RCPTMAX asks
    for; those for whom there is no room in this session, by MAILMAX or RCPTDOMAINMAX, are `UNSENT`. A
    recipient whose address the server cannot be told, for want of SMTPUTF8, is `REFUSED` unheard, unless all
    are such.

    Raises `LocalProtocolError` for an address or body that may not be sent, and where the session has no room
    for another message; `NotOffered` for addresses, a parameter or a header that need SMTPUTF8, for a body
    that needs 8BITMIME, and for chunks that nobody takes, before anything is said; `ConnectionLost`, with the
    result as far as it is known, if the connection dies before it is known for every recipient.
    """
    message = prepare(conn, sender, recipients, body, size, parameters, transfer, allow_8bit, idna)
    if conn.quota.limits:
        message = within_limits(conn, message)
    if all_or_nothing and message.is_split:
        raise LocalProtocolError("all or nothing, and the server takes fewer recipients at a time (RFC 9422)")
    delivery = delivery or Delivery()
    delivery.expect(conn, message)
    if message.recipients and not (all_or_nothing and message.unsaid):
        return (yield from send_prepared(conn, message, all_or_nothing, progress, delivery))
    return delivery.result()


def send_prepared(
    conn: ClientConnection,
    message: Prepared,
    all_or_nothing: bool,
    progress: Callable[[int], object] | None,
    delivery: Delivery,
) -> Op[SendResult]:
    """Send it, in as many transactions as it needs and as there is room for; leave none of them open."""
    while True:
        delivery.begin(conn, message)
        try:
            if message.is_one_group and not all_or_nothing:
                body = message.body or b""
                conn._send_envelope(message.envelope, body)
                if in_chunks := message.in_chunks:
                    _note_sent(delivery, message, progress)
                event = yield _EVENT
                if type(event) is Successes:  # taken by everybody, or with a 354
                    if not in_chunks:
                        conn.send_text(body)
                        _note_sent(delivery, message, progress)
                        event = yield _EVENT
                    elif (event := conn.next_event()) is NEED_DATA:  # which is rare: the verdict came along
                        event = yield _EVENT
                    if type(event) is Reply and event._code < 300 and not conn._pending:
                        return delivery.accept(message, event)
                delivery.note(event)
                yield from delivery.collect()
                yield from _send_body(conn, delivery, message, False, progress)
            elif message.in_chunks:
                yield from _send_in_chunks(conn, delivery, message, all_or_nothing, progress)
            else:
                yield from delivery.send_envelope(message, all_or_nothing)
                yield from _send_body(conn, delivery, message, all_or_nothing, progress)
        except RemoteProtocolError as exc:
            conn.fail()
            if not delivery.is_decided:
                raise ConnectionLost(f"while a message was sent: {exc}", result=delivery.result()) from exc
        except ConnectionLost as exc:
            if exc.sending:
                yield from delivery.last_words()
            if not delivery.is_decided:
                exc.result = delivery.result()
                raise
            conn.fail()
        except BaseException:
            # A message that stops in the middle can be taken back only by hanging up.
            if conn.outstanding or conn.mail is not None:
                conn.fail()
            raise
        if conn._predicted.state is not _READY and conn.mail is not None:
            yield from leave(conn)
        if not delivery.has_more or not conn.is_usable or conn.quota.left("MAILMAX") <= 0:
            return delivery.result()


def _note_sent(delivery: Delivery, message: Prepared, progress: Callable[[int], object] | None) -> None:
    """A message that is one piece was said."""
    if progress is not None:
        progress(message.length)
    delivery.sent = True


def _send_body(
    conn: ClientConnection,
    delivery: Delivery,
    message: Prepared,
    all_or_nothing: bool,
    progress: Callable[[int], object] | None,
) -> Op[None]:
    """The message behind a 354, if there was one, and what it is answered with."""
    if conn._body is None:
        return
    if delivery.is_wanted(all_or_nothing):
        if message.body is not None and message.length <= PIECE:
            conn.send_text(message.body)
            _note_sent(delivery, message, progress)
        else:
            if message.body is None:
                yield from _send_stream(conn, progress)
            else:
                yield from _send_pieces(conn, message.body, message.is_text, progress)
            conn.send(_END)
            delivery.sent = True
    else:
        conn.send_text(b"")
    yield from delivery.collect()


def _send_pieces(
    conn: ClientConnection, body: bytes, is_text: bool, progress: Callable[[int], object] | None
) -> Op[None]:
    sent = 0
    for piece in conn.pieces_of(body) if is_text else pieces_of(body):
        if sent:
            yield Want.FLUSH
        conn.send(MessageData(data=piece))
        sent += len(piece)
        if progress is not None:
            progress(sent)


def _send_stream(conn: ClientConnection, progress: Callable[[int], object] | None) -> Op[None]:
    sent = 0
    while data := (yield NextChunk()):
        conn.send(MessageData(data=data))
        sent += len(data)
        if progress is not None:
            progress(sent)


def _send_in_chunks(
    conn: ClientConnection,
    delivery: Delivery,
    message: Prepared,
    all_or_nothing: bool,
    progress: Callable[[int], object] | None,
) -> Op[None]:
    at_once = message.in_one_flight and not all_or_nothing
    yield from delivery.send_envelope(message, all_or_nothing, data=False, wait=not at_once)
    if not delivery.is_wanted(all_or_nothing):
        return
    if message.body is None or message.length > PIECE:
        yield from _send_chunks(conn, delivery, message, progress)
    else:
        conn.send_last_chunk(message.body)
        _note_sent(delivery, message, progress)
    yield from delivery.collect()


def _send_chunks(
    conn: ClientConnection,
    delivery: Delivery,
    message: Prepared,
    progress: Callable[[int], object] | None,
) -> Op[None]:
    """The message in chunks, up to the end or to one that is refused. With PIPELINING one chunk is said
    before the last one is answered.
    """
    waiting = 1 if "PIPELINING" in conn.features else 0
    text = None if message.is_binary or message.is_text else conn.text_writer()
    body = message.body
    chunk = bytearray()
    sent = 0
    while data := (yield NextChunk()) if body is None else body[sent : sent + PIECE]:
        chunk += data if text is None else text.write(data)
        sent += len(data)
        if len(chunk) >= PIECE:
            conn.send(Bdat(size=len(chunk)))
            conn.send(MessageData(data=bytes(chunk)))
            chunk.clear()
            if progress is not None:
                progress(sent)
            yield Want.FLUSH
            yield from delivery.collect(waiting)
            if not delivery.is_wanted():
                return
    if text is not None:
        chunk += text.end()
    conn.send_last_chunk(bytes(chunk))
    delivery.sent = True
    if progress is not None:
        progress(sent)


def leave(conn: ClientConnection) -> Op[None]:
    """End a transaction that has no verdict. The result is known already: nothing here may mask it."""
    try:
        yield from reset(conn)
    except SMTPError:
        conn.fail()
