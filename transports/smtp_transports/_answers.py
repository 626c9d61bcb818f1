"""A message and a token, in every form that users give, become what answers an operation's questions."""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from smtp_proto import NotOffered

if TYPE_CHECKING:
    from email.message import Message

_PIECE = 65536


class Readable(Protocol):
    """An open binary file."""

    def read(self, size: int, /) -> bytes: ...


class AsyncReadable(Protocol):
    """An open binary file of an async library."""

    async def read(self, size: int, /) -> bytes: ...


Octets: TypeAlias = bytes | bytearray | memoryview | Readable | Iterable[bytes]
"""The octets of a message, an open binary file, or pieces of octets."""
Body: TypeAlias = "Octets | Message[Any, Any]"
"""A message: its octets in one of these forms, or a message of the `email` package."""
AsyncBody: TypeAlias = "Body | AsyncReadable | AsyncIterable[bytes]"
"""A message: as `Body`, or a file or pieces that have to be awaited."""

Token: TypeAlias = str | Callable[[bool], str]
"""An access token, or what gives one. It is told whether it must be a new one."""
AsyncToken: TypeAlias = Token | Callable[[bool], Awaitable[str]]


def tokens(token: Any) -> Callable[[Any], str]:
    """What answers each `NextToken`."""
    return lambda want: token(want.refresh)


def async_tokens(token: Any) -> Callable[[Any], Awaitable[str]]:
    """As `tokens`, where the answer may have to be awaited."""

    async def next_token(want: Any) -> str:
        answer: Any = token(want.refresh)
        text: str = await answer if isinstance(answer, Awaitable) else answer
        return text

    return next_token


def to_a_labels(domain: str) -> str:
    """The domain in ASCII (RFC 5891), as the package `idna` has it. Raises `ValueError` for what is none."""
    try:
        import idna
    except ImportError:
        raise NotOffered("SMTPUTF8", f"for {domain!r} in ASCII install smtp-proto[idna]") from None
    return idna.encode(domain, uts46=True).decode("ascii")


def is_message(body: object) -> bool:
    """Whether this is a message of the `email` package. Who has none did not have to import it."""
    email_message = sys.modules.get("email.message")
    return email_message is not None and isinstance(body, email_message.Message)


def parts(body: Any) -> tuple[bytes | None, Callable[[object], bytes] | None]:
    """The message if it is all there, or else what answers each `NextChunk`."""
    if type(body) is bytes:
        return body, None
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), None
    if hasattr(body, "read") and not isinstance(body, io.TextIOBase):
        return None, lambda _: body.read(_PIECE)
    if isinstance(body, Iterable) and not isinstance(body, str | io.TextIOBase):
        # An empty piece in the middle is no end.
        pieces = (piece for piece in body if piece)
        return None, lambda _: next(pieces, b"")
    raise TypeError(f"a message is bytes, a binary file, or pieces of bytes; not {type(body).__name__}")


def async_parts(body: Any) -> tuple[bytes | None, Callable[[object], Awaitable[bytes]] | None]:
    """As `parts`, where the pieces may have to be awaited."""
    if isinstance(body, AsyncIterable) and not hasattr(body, "read"):
        pieces = (piece async for piece in body if piece)
        return None, lambda _: anext(pieces, b"")
    whole, piece = parts(body)
    if piece is None:
        return whole, None

    async def next_piece(question: object) -> bytes:
        data: Any = piece(question)
        octets: bytes = await data if isinstance(data, Awaitable) else data
        return octets

    return None, next_piece
