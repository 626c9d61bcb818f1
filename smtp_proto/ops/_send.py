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
from typing import Literal, NamedTuple, TypeAlias

from .. import _rules
from .._addresses import Path
from .._body import TextWriter
from .._client_connection import ClientConnection
from .._commands import Bdat, EndOfMessage, Mail, MessageData, Rcpt
from .._errors import (
    ConnectionLost,
    LocalProtocolError,
    NotOffered,
    RemoteProtocolError,
    SMTPError,
)
from .._parameter_table import ParameterValue
from .._parameters import NO_PARAMETERS, canonical_parameters
from .._state import State
from ._client import reset
from ._delivery import Delivery
from ._result import SendResult
from ._wants import NextChunk, Op, Want

_DATA = State.DATA  # an Enum member is slow to look up before Python 3.12

# Pieces in which a body given as bytes is sent, and the smallest chunk that is not the last.
_PIECE = 262144

# A message of text that is not larger is sent before it is known who wants it.
_ONE_FLIGHT = 65536

Transfer: TypeAlias = Literal["auto", "data", "chunking"]
"""How a message is sent: with DATA; in chunks, with BDAT (RFC 3030); or in one chunk if it is small and all
can go in one flight, else with DATA. BODY=BINARYMIME needs chunks.
"""


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
    progress: Callable[[int], object] | None = None,
    delivery: Delivery | None = None,
) -> Op[SendResult]:
    """Send a message; one outcome for each of `recipients`.

    `sender`: the reverse-path, `""` for the null path. `recipients`: an address, or several, each as text
    or as a `Rcpt` with parameters of its own. `body`: the message's octets; None to be asked for pieces
    (`NextChunk`). `size`: its size in octets, if `body` is None and the size is known. `parameters`: of
    MAIL; SIZE, BODY and SMTPUTF8 are added where they are due and offered. `all_or_nothing`: send no
    message unless every recipient is taken. `transfer`: with DATA or in chunks. `progress` is called with
    the octets of the body sent so far. `delivery`: a new `Delivery`, which knows at any time what has
    become of the message; it is all there is when the operation is abandoned.

    Raises `LocalProtocolError` for an address or body that may not be sent, `NotOffered` for an address
    that needs SMTPUTF8 and for chunks that nobody takes, before anything is said; `ConnectionLost`, with
    the result as far as it is known, if the connection dies before it is known for every recipient.
    """
    message = prepare(conn, sender, recipients, body, size, parameters, transfer)
    return (yield from send_prepared(conn, message, all_or_nothing, progress, delivery or Delivery()))


class Prepared(NamedTuple):
    """A message that may be sent, for all that is known before anything is said."""

    mail: Mail
    rcpts: Sequence[Rcpt]
    body: bytes | None
    is_binary: bool
    in_chunks: bool
    in_one_flight: bool


def prepare(
    conn: ClientConnection,
    sender: str,
    recipients: str | Sequence[str | Rcpt],
    body: bytes | None,
    size: int | None,
    parameters: Mapping[str, ParameterValue],
    transfer: Transfer,
) -> Prepared:
    """Judge a message, and decide how it is sent. Raises as `send_message`."""
    if isinstance(recipients, str):
        recipients = [recipients]
    rcpts = [rcpt if isinstance(rcpt, Rcpt) else Rcpt(forward_path=rcpt) for rcpt in recipients]
    if not rcpts:
        raise LocalProtocolError("a message needs a recipient")
    path = Path(sender)
    given = canonical_parameters("MAIL", parameters) if parameters else NO_PARAMETERS
    is_binary = given.get("BODY") == "BINARYMIME"
    in_chunks = _is_in_chunks(conn, transfer, body, is_binary)
    if body is not None and not is_binary:
        conn.check_body(body)
    if body is not None:
        size = len(body) if is_binary else _size(body)
    mail = _mail(conn, path, given, rcpts, body, size)
    for rcpt in rcpts:
        if rcpt._parameters:
            _rules.check(conn, rcpt)
    is_small = body is not None and len(body) <= _ONE_FLIGHT
    in_one_flight = in_chunks and is_small and "PIPELINING" in conn.features
    return Prepared(mail, rcpts, body, is_binary, in_chunks, in_one_flight)


def send_prepared(
    conn: ClientConnection,
    message: Prepared,
    all_or_nothing: bool,
    progress: Callable[[int], object] | None,
    delivery: Delivery,
) -> Op[SendResult]:
    """Send it, and leave no transaction open."""
    conn.send(message.mail)
    delivery.begin(conn, message.rcpts)
    try:
        if message.in_chunks:
            yield from _send_in_chunks(conn, delivery, message, all_or_nothing, progress)
        else:
            yield from _send_with_data(conn, delivery, message.body, all_or_nothing, progress)
    except RemoteProtocolError as exc:
        if not delivery.is_decided:
            raise ConnectionLost(f"while a message was sent: {exc}", result=delivery.result()) from exc
        conn.fail()
    except ConnectionLost as exc:
        if exc.sending:
            yield from delivery.last_words()
        if not delivery.is_decided:
            exc.result = delivery.result()
            raise
        conn.fail()
    except BaseException:
        # A message that stops in the middle can be taken back only by hanging up.
        conn.fail()
        raise
    if conn.mail is not None:
        yield from leave(conn)
    return delivery.result()


def _size(body: bytes) -> int:
    """Octets of the message with regular line ends (RFC 1870 5)."""
    pairs = body.count(b"\r\n")
    stray = body.count(b"\n") + body.count(b"\r") - 2 * pairs
    unfinished = bool(body) and not body.endswith((b"\r", b"\n"))
    return len(body) + stray + 2 * unfinished


def _is_in_chunks(conn: ClientConnection, transfer: Transfer, body: bytes | None, is_binary: bool) -> bool:
    features = conn.features
    if transfer == "data" and is_binary:
        raise LocalProtocolError("a BINARYMIME message needs BDAT (RFC 3030 3)")
    if transfer == "auto" and not is_binary:
        can = "CHUNKING" in features and "PIPELINING" in features
        return can and body is not None and len(body) <= _ONE_FLIGHT
    if transfer != "data" and "CHUNKING" not in features:
        raise NotOffered("CHUNKING", "the message is to be sent in chunks")
    return transfer != "data"


def _mail(
    conn: ClientConnection,
    path: Path,
    given: Mapping[str, ParameterValue],
    rcpts: Sequence[Rcpt],
    body: bytes | None,
    size: int | None,
) -> Mail:
    """MAIL, with the parameters that are due and offered."""
    features = conn.features
    added: dict[str, ParameterValue] = {}
    if size is not None and "SIZE" in features:
        limit = features.size
        if limit is not None and size > limit:
            raise LocalProtocolError(
                f"a message of {size} octets; the server takes {limit} (RFC 1870)", code=552
            )
        added["SIZE"] = size
    if body is not None and "8BITMIME" in features and not body.isascii():
        added["BODY"] = "8BITMIME"
    if not (path.is_ascii and all(rcpt._forward_path._is_ascii for rcpt in rcpts)):
        if "SMTPUTF8" not in features:
            raise NotOffered("SMTPUTF8", "an address is not ASCII")
        added["SMTPUTF8"] = True
    added.update(given)
    return Mail(reverse_path=path, parameters=added)


def _send_with_data(
    conn: ClientConnection,
    delivery: Delivery,
    body: bytes | None,
    all_or_nothing: bool,
    progress: Callable[[int], object] | None,
) -> Op[None]:
    yield from delivery.send_envelope(all_or_nothing)
    if conn.state is not _DATA:
        return
    wanted = delivery.is_wanted(all_or_nothing)
    if wanted:
        if body is None:
            yield from _send_stream(conn, progress)
        else:
            yield from _send_bytes(conn, body, progress)
    conn.send(EndOfMessage())
    delivery.sent = wanted
    yield from delivery.collect()


def _send_bytes(conn: ClientConnection, body: bytes, progress: Callable[[int], object] | None) -> Op[None]:
    for at in range(0, len(body), _PIECE):
        if at:
            yield Want.FLUSH
        piece = body if len(body) <= _PIECE else body[at : at + _PIECE]
        conn.send(MessageData(data=piece))
        if progress is not None:
            progress(at + len(piece))


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
    yield from delivery.send_envelope(all_or_nothing, data=False, wait=not at_once)
    if delivery.is_wanted(all_or_nothing):
        text = None if message.is_binary else conn.text_writer()
        yield from _send_chunks(conn, delivery, message.body, text, progress)
    yield from delivery.collect()


def _send_chunks(
    conn: ClientConnection,
    delivery: Delivery,
    body: bytes | None,
    text: TextWriter | None,
    progress: Callable[[int], object] | None,
) -> Op[None]:
    """The message in chunks, up to the end or to one that is refused. With PIPELINING one chunk is said
    before the last one is answered.
    """
    waiting = 1 if "PIPELINING" in conn.features else 0
    chunk = bytearray()
    sent = 0
    while data := (yield NextChunk()) if body is None else body[sent : sent + _PIECE]:
        chunk += data if text is None else text.write(data)
        sent += len(data)
        if len(chunk) >= _PIECE:
            send_chunk(conn, chunk, last=False)
            chunk.clear()
            if progress is not None:
                progress(sent)
            yield Want.FLUSH
            yield from delivery.collect(waiting)
            if not delivery.is_wanted():
                return
    if text is not None:
        chunk += text.end()
    send_chunk(conn, chunk, last=True)
    conn.send(EndOfMessage())
    delivery.sent = True
    if progress is not None:
        progress(sent)


def send_chunk(conn: ClientConnection, chunk: bytes | bytearray, *, last: bool) -> None:
    """BDAT and its octets."""
    conn.send(Bdat(size=len(chunk), last=last))
    if chunk:
        conn.send(MessageData(data=bytes(chunk)))


def leave(conn: ClientConnection) -> Op[None]:
    """End a transaction that has no verdict. The result is known already: nothing here may mask it."""
    try:
        yield from reset(conn)
    except SMTPError:
        conn.fail()
