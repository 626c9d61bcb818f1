"""For whoever brings a stream of their own: what it has to be, and what there is to put on it.

    client = Client(stream)
    client.start(own_name())

A `Driver` runs any operation of `smtp_proto.ops` on a connection, the server's `serve` included.
"""

from ._answers import AsyncBody, Body
from ._client import AsyncClient, Client
from ._places import own_name
from ._run import AsyncDriver, Driver
from ._stream import AsyncStream, Stream, Timeouts

__all__ = [
    "AsyncBody",
    "AsyncClient",
    "AsyncDriver",
    "AsyncStream",
    "Body",
    "Client",
    "Driver",
    "Stream",
    "Timeouts",
    "own_name",
]
