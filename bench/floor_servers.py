"""The floor: servers that know the answers and check nothing."""

from __future__ import annotations

import asyncio as aio
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

from .samples import GREETING, Dialogue
from .worker import Job, tells

READ = 65536
BACKLOG = 4096
Tell = Callable[[dict[str, Any]], None]


def listening(library: Any = socket) -> Any:
    # asyncio switches Nagle's algorithm off only where the socket says that it is TCP.
    sock = library.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(BACKLOG)
    return sock


def serve_one(sock: Any) -> None:
    """A session on a socket that blocks, or seems to."""
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(GREETING)
        dialogue = Dialogue()
        try:
            while not dialogue.is_over and (data := sock.recv(READ)):
                if answer := dialogue.feed(data):
                    sock.sendall(answer)
        except OSError:
            pass


@tells
def blocking(job: Job, tell: Tell) -> None:
    listener = listening()
    tell({"port": listener.getsockname()[1]})
    while True:
        threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()


@tells
def gevent(job: Job, tell: Tell) -> None:
    import gevent
    import gevent.socket

    listener = listening(gevent.socket)
    tell({"port": listener.getsockname()[1]})
    while True:
        gevent.spawn(serve_one, listener.accept()[0])


BUFFER = memoryview(bytearray(READ))


class Session(aio.BufferedProtocol):
    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport, self.dialogue = transport, Dialogue()
        transport.write(GREETING)

    def get_buffer(self, sizehint: int) -> memoryview:
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        if answer := self.dialogue.feed(bytes(BUFFER[:nbytes])):
            self.transport.write(answer)
        if self.dialogue.is_over:
            self.transport.close()


@tells
def asyncio(job: Job, tell: Tell) -> None:
    async def main() -> None:
        listener = listening()
        server = await aio.get_running_loop().create_server(Session, sock=listener, backlog=BACKLOG)
        tell({"port": listener.getsockname()[1]})
        await server.serve_forever()

    aio.run(main())


@tells
def trio(job: Job, tell: Tell) -> None:
    import trio

    async def serve(sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock:
            await sock.send(GREETING)
            dialogue = Dialogue()
            try:
                while not dialogue.is_over and (data := await sock.recv(READ)):
                    if answer := dialogue.feed(data):
                        await sock.send(answer)
            except OSError:
                pass

    async def main() -> None:
        listener = trio.socket.from_stdlib_socket(listening())
        tell({"port": listener.getsockname()[1]})
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(serve, (await listener.accept())[0])

    trio.run(main)


@tells
def sink(job: Job, tell: Tell) -> None:
    """The cheapest: what the clients are measured with."""
    listener = listening()
    tell({"port": listener.getsockname()[1]})
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    sessions: dict[int, tuple[socket.socket, Dialogue]] = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                sock = listener.accept()[0]
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(GREETING)
                sessions[sock.fileno()] = sock, Dialogue()
                poll.register(sock, select.EPOLLIN)
            elif not advance(*sessions[number]):
                poll.unregister(number)
                sessions.pop(number)[0].close()


def advance(sock: socket.socket, dialogue: Dialogue) -> bool:
    """Read once, and answer; whether the session goes on."""
    try:
        data = sock.recv(READ)
        if data and (answer := dialogue.feed(data)):
            sock.sendall(answer)
    except OSError:
        return False
    return bool(data) and not dialogue.is_over
