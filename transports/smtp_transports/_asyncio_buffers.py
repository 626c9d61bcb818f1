"""What the streams of an asyncio loop share. All that it reads goes to one place first: asyncio itself would
make a new one for each read.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Self
from weakref import WeakKeyDictionary

from ._asyncio_deadlines import Deadlines

SIZE = 65536

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def buffer_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """One for all connections of a loop: what it holds is taken out before the loop turns again."""
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(SIZE))
    return buffer


class Shared(NamedTuple):
    """What the streams of a listener share. Who has one stream only makes it for that."""

    loop: asyncio.AbstractEventLoop
    deadlines: Deadlines
    buffer: memoryview

    @classmethod
    def of_this_loop(cls) -> Self:
        """For streams of the loop that runs."""
        loop = asyncio.get_running_loop()
        return cls(loop, Deadlines(loop), buffer_of(loop))
