"""python-slimta, client and server, in a virtual environment of its own: it wants an old setuptools."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import cycle, repeat
from typing import Any

import gevent
import gevent.socket
from slimta.smtp import ConnectionLost
from slimta.smtp.client import Client
from slimta.smtp.datasender import DataSender
from slimta.smtp.server import Server

from .driving import Costs, drive
from .floor_servers import listening
from .samples import SENDER, body, envelope, message, recipients
from .worker import Clock, Job, tells


class Subject:
    def __init__(self, job: Job) -> None:
        self.client = Client(gevent.socket.create_connection(("127.0.0.1", job.port)))
        self.client.get_banner()
        self.client.ehlo("client.example")
        self.to, self.text = recipients(job.recipients), message(job.size)

    def send(self, count: int) -> None:
        for _ in range(count):
            send(self.client, self.to, self.text)

    def close(self) -> None:
        self.client.quit()
        self.client.io.close()


def send(client: Client, to: list[str], text: bytes) -> None:
    client.mailfrom(SENDER)
    for recipient in to:
        client.rcptto(recipient)
    client.data()
    reply = client.send_data(text)
    client._flush_pipeline()  # as its own relay does
    assert reply.code == "250", reply


def client(job: Job) -> Costs:
    def at_once(functions: list[Callable[[], object]]) -> None:
        gevent.joinall([gevent.spawn(function) for function in functions], raise_error=True)

    return drive(Subject, job, at_once)


class Handlers:
    """Take everything."""


@tells
def server(job: Job, tell: Callable[[dict[str, Any]], None]) -> None:
    listener = listening(gevent.socket)
    tell({"port": listener.getsockname()[1]})

    def serve(sock: Any, address: Any) -> None:
        try:
            Server(sock, Handlers(), address).handle()
        except (ConnectionLost, OSError):
            pass
        finally:
            sock.close()

    while True:
        gevent.spawn(serve, *listener.accept())


# In memory


class Memory:
    """A socket that has one thing after the other to read."""

    def __init__(self, replies: Iterator[bytes]) -> None:
        self.replies = replies

    def recv(self, size: int) -> bytes:
        return next(self.replies, b"")

    def sendall(self, data: bytes) -> None:
        pass

    def fileno(self) -> int:
        return -1


def core_client(job: Job) -> Costs:
    """Transactions of a client."""
    replies = (b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go on\r\n", b"250 2.0.0 Taken\r\n")
    ehlo = b"250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
    client = Client(Memory(iter([b"220 mx.example\r\n", ehlo])), ("192.0.2.1", 25))
    client.get_banner()
    client.ehlo("client.example")
    client.io.socket = Memory(cycle(replies))
    to, text, clock = recipients(1), message(job.size), Clock()
    with clock.running():
        for _ in repeat(None, job.count):
            send(client, to, text)
    return {"cpu": clock.cpu / job.count}


def core_server(job: Job) -> Costs:
    """Transactions of a server."""
    transaction = (envelope(1) + b"DATA\r\n", message(job.size) + b".\r\n")
    said = iter([b"EHLO client.example\r\n", *transaction * job.count])
    server, clock = Server(Memory(said), Handlers(), ("192.0.2.1", 25)), Clock()
    with clock.running(), contextlib.suppress(ConnectionLost):
        server.handle()
    return {"cpu": clock.cpu / job.count}


def stuffing(job: Job) -> Costs:
    """Make a body ready to be sent."""
    text, clock = body(job.name, job.size), Clock()
    with clock.running():
        for piece in DataSender(text):
            len(piece)
    return {"cpu": clock.cpu}
