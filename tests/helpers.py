"""Shared by the tests: feeding octets in pieces, and a client and a server joined in memory."""

from __future__ import annotations

from collections.abc import Iterator

from smtp_proto import (
    ClientConnection,
    Command,
    Features,
    Greeting,
    Hello,
    Reply,
    ServerConnection,
    Signal,
)

ALL_FEATURES = Features(
    {
        "PIPELINING": (),
        "SIZE": ("10485760",),
        "8BITMIME": (),
        "BINARYMIME": (),
        "CHUNKING": (),
        "DSN": (),
        "SMTPUTF8": (),
        "ENHANCEDSTATUSCODES": (),
        "AUTH": ("PLAIN", "LOGIN"),
        "STARTTLS": (),
    }
)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """`data` cut at these offsets, empty pieces left out."""
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < len(data)), len(data)]
    for start, end in zip(edges, edges[1:], strict=False):
        if start < end:
            yield data[start:end]


class Pair:
    """A client and a server joined in memory; what is said travels when `client()` or `server()` reads.

    `cut` is how many octets travel at a time, None for all.
    """

    def __init__(
        self,
        *,
        lmtp: bool = False,
        features: Features = ALL_FEATURES,
        cut: int | None = None,
        hello: bool = True,
        client: ClientConnection | None = None,
        server: ServerConnection | None = None,
    ) -> None:
        self.client = client or ClientConnection(lmtp=lmtp)
        self.server = server or ServerConnection(lmtp=lmtp)
        self.cut = cut
        if hello:
            from smtp_proto import Ehlo, Lhlo

            self.server.send(Greeting(domain="mx.example"))
            self.client_events()
            self.client.send((Lhlo if lmtp else Ehlo)(domain="client.example"))
            self.server_events()
            self.server.send(Hello(domain="mx.example", features=features))
            self.client_events()

    def server_events(self) -> list[Command]:
        """Carry what the client queued to the server; the events up to where it needs data or an answer."""
        return list(self._carry(self.client, self.server))  # type: ignore[arg-type]

    def client_events(self) -> list[Reply]:
        """Carry what the server queued to the client; the events that this makes."""
        return list(self._carry(self.server, self.client))  # type: ignore[arg-type]

    def ask(self, command: Command, reply: Reply) -> Reply:
        """The client says `command`, the server answers `reply`: what the client gets."""
        self.client.send(command)
        self.server_events()
        self.server.send(reply)
        (received,) = self.client_events()
        return received

    def _carry(
        self,
        source: ClientConnection | ServerConnection,
        target: ClientConnection | ServerConnection,
    ) -> Iterator[Command | Reply]:
        data = source.data_to_send()
        step = self.cut or len(data) or 1
        for piece in [data[at : at + step] for at in range(0, len(data), step)] or [b""]:
            if piece:
                target.receive_data(piece)
            while not isinstance(event := target.next_event(), Signal):
                yield event
