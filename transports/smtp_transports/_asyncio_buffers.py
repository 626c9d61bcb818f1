"""Where what an asyncio loop reads goes first: asyncio itself would make a new place for each read."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

SIZE = 65536

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def buffer_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """One for all connections of a loop: what it holds is taken out before the loop turns again."""
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(SIZE))
    return buffer
