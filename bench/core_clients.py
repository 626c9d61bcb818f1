"""The client's side in memory: no sockets, no disk."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, repeat
from typing import Any

from .samples import SENDER, message, recipients
from .worker import Clock, Job

ENVELOPE_REPLIES = (b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"354 Go on\r\n")
TAKEN = b"250 2.0.0 Taken\r\n"
EHLO_REPLY = b"".join(
    (
        b"250-mx.example at your service\r\n250-SIZE 36700160\r\n250-8BITMIME\r\n250-STARTTLS\r\n",
        b"250-AUTH PLAIN LOGIN XOAUTH2\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-CHUNKING\r\n",
        b"250-DSN\r\n250-HELP\r\n250 SMTPUTF8\r\n",
    )
)


def each(count: int, work: Callable[[], object]) -> dict[str, float]:
    """What `work`, done so often at once, costs each time."""
    clock = Clock()
    with clock.running():
        work()
    return {"cpu": clock.cpu / count}


# Ours


@cache
def our_client(*features: str) -> Any:
    """One of our connections, after EHLO."""
    from smtp_proto import ClientConnection, Ehlo

    conn = ClientConnection()
    conn.receive_data(b"220 mx.example ESMTP\r\n")
    conn.next_event()
    conn.send(Ehlo(domain="client.example"))
    conn.data_to_send()
    conn.receive_data("".join(f"250-{line}\r\n" for line in ("mx.example", *features)).encode())
    conn.receive_data(b"250 HELP\r\n")
    conn.next_event()
    return conn


def ours(job: Job) -> dict[str, float]:
    """A transaction: three commands and a message, four replies."""
    from smtp_proto import NEED_DATA, Data, EndOfMessage, Mail, MessageData, Rcpt

    conn, text = our_client("PIPELINING", "8BITMIME"), message(job.size)
    replies, (recipient,) = b"".join(ENVELOPE_REPLIES), recipients(1)

    def run() -> None:
        for _ in repeat(None, job.count):
            conn.send(Mail(reverse_path=SENDER))
            conn.send(Rcpt(forward_path=recipient))
            conn.send(Data())
            conn.data_to_send()
            conn.receive_data(replies)
            while conn.next_event() is not NEED_DATA:
                pass
            conn.send(MessageData(data=text))
            conn.send(EndOfMessage())
            conn.data_to_send()
            conn.receive_data(TAKEN)
            while conn.next_event() is not NEED_DATA:
                pass

    return each(job.count, run)


def ours_as_group(job: Job) -> dict[str, float]:
    """The same, its envelope said as a group, and its text known before."""
    from smtp_proto import NEED_DATA, Data, EndOfMessage, Mail, MessageData, Rcpt

    conn, octets = our_client("PIPELINING", "8BITMIME"), message(job.size)
    replies, (recipient,) = b"".join(ENVELOPE_REPLIES), recipients(1)

    def run() -> None:
        for _ in repeat(None, job.count):
            text = conn.text_of(octets)
            conn.send_group([Mail(reverse_path=SENDER), Rcpt(forward_path=recipient), Data()])
            conn.data_to_send()
            conn.receive_data(replies)
            while conn.next_event() is not NEED_DATA:
                pass
            conn.send(MessageData(data=text))
            conn.send(EndOfMessage())
            conn.data_to_send()
            conn.receive_data(TAKEN)
            while conn.next_event() is not NEED_DATA:
                pass

    return each(job.count, run)


def our_ehlo(job: Job) -> dict[str, float]:
    """EHLO, and its reply of eleven lines made a table of extensions."""
    from smtp_proto import Ehlo

    conn = our_client()

    def run() -> None:
        for _ in repeat(None, job.count):
            conn.send(Ehlo(domain="client.example"))
            conn.data_to_send()
            conn.receive_data(EHLO_REPLY)
            conn.next_event()

    return each(job.count, run)


# smtplib


class Replies:
    """A socket that swallows what is sent, and has one reply after the other to read, for ever.

    The file that smtplib reads from is the one that a real socket's `makefile` makes.
    """

    makefile = socket.socket.makefile
    _io_refs = 0

    def __init__(self, replies: Iterator[bytes]) -> None:
        self.replies = replies

    def recv_into(self, target: memoryview) -> int:
        reply = next(self.replies)
        target[: len(reply)] = reply
        return len(reply)

    def sendall(self, data: bytes) -> None:
        pass

    def _decref_socketios(self) -> None:
        pass

    def close(self) -> None:
        pass


@cache
def smtplib_client(*replies: bytes) -> Any:
    """smtplib's client, connected to an endless row of these replies."""
    import smtplib

    client = smtplib.SMTP(local_hostname="client.example")
    client.sock = Replies(cycle(replies))  # type: ignore[assignment]
    client.ehlo_resp = b"mx.example"
    client.esmtp_features = {"pipelining": "", "8bitmime": ""}
    client.does_esmtp = True
    return client


def smtplib(job: Job) -> dict[str, float]:
    client, text, to = smtplib_client(*ENVELOPE_REPLIES, TAKEN), message(job.size), recipients(1)

    def run() -> None:
        for _ in repeat(None, job.count):
            client.sendmail(SENDER, to, text)

    return each(job.count, run)


def smtplib_ehlo(job: Job) -> dict[str, float]:
    client = smtplib_client(EHLO_REPLY)

    def run() -> None:
        for _ in repeat(None, job.count):
            client.ehlo("client.example")

    return each(job.count, run)


# smtpproto


class Ready:
    """A message that needs no rendering: what smtpproto costs beside that."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __contains__(self, field: str) -> bool:
        return False

    def as_bytes(self, policy: object) -> bytes:
        return self.octets


@cache
def smtpproto_client() -> Any:
    from smtpproto.protocol import SMTPClientProtocol

    client = SMTPClientProtocol()
    client.feed_bytes(b"220 mx.example ESMTP\r\n")
    client.send_greeting("client.example")
    client.get_outgoing_data()
    client.feed_bytes(b"250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
    return client


def smtpproto(job: Job) -> dict[str, float]:
    client, text, (recipient,) = smtpproto_client(), Ready(message(job.size)), recipients(1)

    def say(reply: bytes, command: Callable[..., None], *arguments: object) -> None:
        command(*arguments)
        client.get_outgoing_data()
        client.feed_bytes(reply)

    def run() -> None:
        for _ in repeat(None, job.count):
            say(ENVELOPE_REPLIES[0], client.mail, SENDER)
            say(ENVELOPE_REPLIES[1], client.recipient, recipient)
            say(ENVELOPE_REPLIES[2], client.start_data)
            say(TAKEN, client.data, text)

    return each(job.count, run)


# h11, which has events as we have


def h11(job: Job) -> dict[str, float]:
    """A request and a response: five events for each side. What a client's cycle costs."""
    from h11 import CLIENT, NEED_DATA, PAUSED, Connection, Data, EndOfMessage, Request

    conn, text = Connection(CLIENT), message(job.size)
    response = b"HTTP/1.1 200 OK\r\nServer: mx\r\nContent-Length: 16\r\n\r\n0123456789abcdef"
    headers = [("Host", "mx.example"), ("User-Agent", "bench"), ("Content-Length", str(len(text)))]

    def run() -> None:
        for _ in repeat(None, job.count):
            conn.send(Request(method="POST", target="/", headers=headers))
            conn.send(Data(data=text))
            conn.send(EndOfMessage())
            conn.receive_data(response)
            while (event := conn.next_event()) is not NEED_DATA and event is not PAUSED:
                pass
            conn.start_next_cycle()

    return each(job.count, run)


def h11_server(job: Job) -> dict[str, float]:
    """The same for a server."""
    from h11 import NEED_DATA, PAUSED, SERVER, Connection, Data, EndOfMessage, Response

    conn, text = Connection(SERVER), message(job.size)
    head = f"POST / HTTP/1.1\r\nHost: mx.example\r\nUser-Agent: bench\r\nContent-Length: {len(text)}\r\n\r\n"
    request = head.encode() + text
    headers = [("Server", "mx"), ("Content-Length", "16")]

    def run() -> None:
        for _ in repeat(None, job.count):
            conn.receive_data(request)
            while (event := conn.next_event()) is not NEED_DATA and event is not PAUSED:
                pass
            conn.send(Response(status_code=200, headers=headers))
            conn.send(Data(data=b"0123456789abcdef"))
            conn.send(EndOfMessage())
            conn.start_next_cycle()

    return each(job.count, run)
