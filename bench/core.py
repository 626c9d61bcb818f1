"""What the core costs, in one run beside smtplib and aiosmtpd, all fed from memory: no sockets, no disk.

    python bench/core.py            the table
    python bench/core.py --check    the same, and exit code 1 if a ratio that was promised is missed
    python bench/core.py --quick    a third of the rounds

Every case does the same work for us and for the peer, in turns; a figure is the median of its rounds, in
CPU time of this process, and a ratio the median of the ratios of the rounds: what else the machine does
hits both. aiosmtpd is optional.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import resource
import smtplib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, repeat
from statistics import median
from time import process_time
from typing import Any, NamedTuple

from smtp_proto import (
    NEED_DATA,
    ClientConnection,
    Data,
    Ehlo,
    EndOfMessage,
    Features,
    Greeting,
    Hello,
    Limits,
    LineEnds,
    Mail,
    MessageData,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ServerConnection,
)
from smtp_proto._body import DataReader, DataWriter
from smtp_proto._receive_buffer import ReceiveBuffer

SENDER, RECIPIENT = "sender@client.example", "recipient@mx.example"
LINE = b"The quick brown fox jumps over the lazy dog".ljust(78, b"-") + b"\r\n"
MESSAGE = b"Subject: a message of 1 KiB, for the benchmark\r\n\r\n" + LINE * 12 + b"Good-bye now\r\n"
assert len(MESSAGE) == 1024
EHLO_REPLY = b"".join(
    (
        b"250-mx.example at your service\r\n250-SIZE 36700160\r\n250-8BITMIME\r\n250-STARTTLS\r\n",
        b"250-AUTH PLAIN LOGIN XOAUTH2\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-CHUNKING\r\n",
        b"250-DSN\r\n250-HELP\r\n250 SMTPUTF8\r\n",
    )
)
MIB = 2**20
PIECE = 65536
BODIES = {
    "78 columns": LINE * (MIB // 80),
    "1 % dots": (LINE + b"." + LINE[1:]) * (MIB // 160),
    "lines of 2": b"ab\r\n" * (MIB // 4),
    "all dots": b".\r\n" * (MIB // 3),
}


class Figure(NamedTuple):
    """The medians of one case."""

    ours: float
    peer: float | None
    ratio: float | None


class Row(NamedTuple):
    """One line of the table."""

    case: str
    ours: str
    peer: str
    ratio: float | None
    target: str
    met: bool
    promised: bool = False
    """Whether the issue promises it, and `--check` judges it."""


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    began = process_time()
    work()
    spent = process_time() - began
    gc.enable()
    return spent


def compare(
    rounds: int, ours: Callable[[], object], peer: Callable[[], object] | None, scale: float = 1
) -> Figure:
    """Our seconds and the peer's, in turns; `scale` is how many times more work a round of ours does."""
    mine, theirs = [], []
    for number in range(rounds + 1):
        spent = seconds(ours), seconds(peer) * scale if peer else None
        if number:  # the first one warms up
            mine.append(spent[0])
            theirs.append(spent[1])
    if peer is None:
        return Figure(median(mine), None, None)
    pairs = [(one, other) for one, other in zip(mine, theirs, strict=True) if other is not None]
    return Figure(
        median(mine), median(other for _, other in pairs), median(one / other for one, other in pairs)
    )


# Clients


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


def smtplib_client(*replies: bytes) -> smtplib.SMTP:
    """smtplib's client, connected to an endless row of these replies."""
    client = smtplib.SMTP(local_hostname="client.example")
    client.sock = Replies(cycle(replies))  # type: ignore[assignment]
    return client


def smtplib_sendmail(count: int) -> Callable[[], None]:
    client = smtplib_client(
        b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"354 Go on\r\n", b"250 2.0.0 Taken\r\n"
    )
    client.ehlo_resp = b"mx.example"
    client.esmtp_features = {"pipelining": "", "8bitmime": ""}
    client.does_esmtp = True

    def run() -> None:
        for _ in repeat(None, count):
            client.sendmail(SENDER, [RECIPIENT], MESSAGE)

    return run


def our_client(features: Features) -> ClientConnection:
    conn = ClientConnection()
    conn.receive_data(b"220 mx.example ESMTP\r\n")
    conn.next_event()
    conn.send(Ehlo(domain="client.example"))
    conn.data_to_send()
    conn.receive_data("".join(f"250-{line}\r\n" for line in ("mx.example", *features.lines)).encode())
    conn.receive_data(b"250 HELP\r\n")
    conn.next_event()
    return conn


def our_sendmail(count: int) -> Callable[[], None]:
    conn = our_client(Features({"PIPELINING": (), "8BITMIME": ()}))

    def run() -> None:
        for _ in repeat(None, count):
            conn.send(Mail(reverse_path=SENDER))
            conn.send(Rcpt(forward_path=RECIPIENT))
            conn.send(Data())
            conn.data_to_send()
            conn.receive_data(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go on\r\n")
            while conn.next_event() is not NEED_DATA:
                pass
            conn.send(MessageData(data=MESSAGE))
            conn.send(EndOfMessage())
            conn.data_to_send()
            conn.receive_data(b"250 2.0.0 Taken\r\n")
            while conn.next_event() is not NEED_DATA:
                pass

    return run


def our_groups(count: int) -> Callable[[], None]:
    """The same, its envelope said as a group, and its text known before."""
    conn = our_client(Features({"PIPELINING": (), "8BITMIME": ()}))

    def run() -> None:
        for _ in repeat(None, count):
            text = conn.text_of(MESSAGE)
            conn.send_group([Mail(reverse_path=SENDER), Rcpt(forward_path=RECIPIENT), Data()])
            conn.data_to_send()
            conn.receive_data(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go on\r\n")
            while conn.next_event() is not NEED_DATA:
                pass
            conn.send(MessageData(data=text))
            conn.send(EndOfMessage())
            conn.data_to_send()
            conn.receive_data(b"250 2.0.0 Taken\r\n")
            while conn.next_event() is not NEED_DATA:
                pass

    return run


# Servers

COMMANDS = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()


def our_server() -> ServerConnection:
    conn = ServerConnection()
    conn.send(Greeting(domain="mx.example"))
    conn.receive_data(b"EHLO client.example\r\n")
    conn.next_event()
    conn.send(Hello(domain="mx.example", features=Features({"PIPELINING": (), "8BITMIME": ()})))
    conn.data_to_send()
    return conn


def our_transactions(count: int, *body: bytes) -> Callable[[], None]:
    conn = our_server()
    ok, go_on = Reply(code=250, enhanced="2.0.0", text="Ok"), Reply(code=354, text="Go on")

    def run() -> None:
        for _ in repeat(None, count):
            conn.receive_data(COMMANDS)
            conn.next_event()
            conn.send(ok)
            conn.next_event()
            conn.send(ok)
            conn.next_event()
            conn.send(go_on)
            conn.data_to_send()
            content = []
            for piece in body:
                conn.receive_data(piece)
                while type(event := conn.next_event()) is MessageData:
                    content.append(event.data)
            b"".join(content)
            conn.send(ok)
            conn.data_to_send()

    return run


class Transport(asyncio.Transport):
    """Counts the lines that aiosmtpd writes."""

    lines = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 25) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.lines += data.count(b"\n")

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass


class Sink:
    """A handler for aiosmtpd that takes everything."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 2.0.0 Ok"


class Aiosmtpd:
    """The same for aiosmtpd: its own coroutine, on an event loop that has nothing else to do."""

    def __init__(self, smtp: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.transport = Transport()
        self.server = smtp(Sink(), hostname="mx.example", ident="ESMTP", loop=self.loop)
        self.loop.run_until_complete(self.begin())

    async def until(self, lines: int) -> None:
        while self.transport.lines < lines:  # noqa: ASYNC110 - the cheapest way to let the server run
            await asyncio.sleep(0)

    async def begin(self) -> None:
        self.server.connection_made(self.transport)
        await self.until(1)
        self.server.data_received(b"EHLO client.example\r\n")
        await self.until(5)

    async def transactions(self, count: int, body: tuple[bytes, ...]) -> None:
        for _ in repeat(None, count):
            before = self.transport.lines
            self.server.data_received(COMMANDS)
            await self.until(before + 3)
            for piece in body:
                self.server.data_received(piece)
                await asyncio.sleep(0)
            await self.until(before + 4)

    async def end(self) -> None:
        self.server.connection_lost(None)
        await asyncio.sleep(0)


@cache
def aiosmtpd() -> Aiosmtpd | None:
    """The peer, if it is installed."""
    try:
        from aiosmtpd.smtp import SMTP
    except ImportError:
        return None
    return Aiosmtpd(SMTP)


def aiosmtpd_transactions(count: int, *body: bytes) -> Callable[[], None] | None:
    peer = aiosmtpd()
    return peer and (lambda: peer.loop.run_until_complete(peer.transactions(count, body)))


# The greeting of a session


def our_ehlos(count: int) -> Callable[[], None]:
    conn = our_client(Features())

    def run() -> None:
        for _ in repeat(None, count):
            conn.send(Ehlo(domain="client.example"))
            conn.data_to_send()
            conn.receive_data(EHLO_REPLY)
            conn.next_event()

    return run


def smtplib_ehlos(count: int) -> Callable[[], None]:
    client = smtplib_client(EHLO_REPLY)

    def run() -> None:
        for _ in repeat(None, count):
            client.ehlo("client.example")

    return run


# Bodies


def cut(body: bytes) -> list[bytes]:
    return [body[at : at + PIECE] for at in range(0, len(body), PIECE)]


def our_writing(body: bytes, count: int) -> Callable[[], None]:
    pieces = cut(body) * count

    def run() -> None:
        writer = DataWriter(LineEnds.NORMALIZE, 998, allow_nul=False)
        for piece in pieces:
            writer.write(piece)
        writer.end()

    return run


def smtplib_writing(body: bytes) -> Callable[[], None]:
    client = smtplib_client(b"354 Go on\r\n", b"250 2.0.0 Taken\r\n")
    return lambda: client.data(body)


def stuffed(body: bytes) -> bytes:
    writer = DataWriter(LineEnds.STRICT, 998, allow_nul=False)
    return writer.write(body) + writer.end()


def our_reading(body: bytes, count: int) -> Callable[[], None]:
    pieces = cut(stuffed(body * count))

    def run() -> None:
        buffer, reader = ReceiveBuffer(), DataReader(LineEnds.STRICT, Limits())
        size = 0
        for piece in pieces:
            buffer.append(piece)
            size += len(reader.read(buffer))
        assert reader.ended
        assert size == len(body) * count

    return run


# What is hostile


def octet_by_octet(size: int) -> Callable[[], None]:
    """One line of a reply that has no end, as far as the limit lets it."""
    octets = [b"x"] * size

    def run() -> None:
        conn = ClientConnection(limits=Limits(reply_line=size + 100))
        conn.receive_data(b"220 ")
        for octet in octets:
            conn.receive_data(octet)
            conn.next_event()

    return run


def many_lines() -> None:
    """A reply of 100,000 lines, with the limits that are the default."""
    conn = ClientConnection()
    try:
        for piece in cut(b"220-x\r\n" * 100_000):
            conn.receive_data(piece)
            conn.next_event()
    except RemoteProtocolError:
        return
    raise AssertionError("not refused")


def import_cost(module: str) -> float:
    """The CPU time of a process that imports `module`, children counted by the kernel."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Isolated: the environment must not forbid what every user has, compiled modules.
    subprocess.run([sys.executable, "-I", "-c", f"import {module}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# The table


def micro(value: float) -> str:
    return f"{value * 1e6:.1f} us"


def per_second(value: float) -> str:
    return f"{value:,.0f}/s"


def rows(rounds: int) -> Iterator[Row]:
    count = 300

    def each(figure: Figure, divisor: float) -> tuple[float, str, str]:
        peer = "" if figure.peer is None else micro(figure.peer / divisor)
        return figure.ours / divisor, micro(figure.ours / divisor), peer

    client = compare(rounds, our_sendmail(count), smtplib_sendmail(count))
    ours, shown, peer = each(client, count)
    assert client.ratio is not None
    yield Row(
        "client, transaction of 1 KiB / smtplib",
        shown,
        peer,
        client.ratio,
        "<= 0.60",
        client.ratio <= 0.6,
        True,
    )
    groups = compare(rounds, our_groups(count), smtplib_sendmail(count))
    yield Row("  the same as a group / smtplib", *each(groups, count)[1:], groups.ratio, "", True)
    yield Row("  T18", shown, "", None, "<= 30 us", ours <= 30e-6)
    yield Row("  T21, events", per_second(9 / ours), "", None, ">= 200,000/s", 9 / ours >= 200_000)

    body = MESSAGE + b".\r\n"
    server = compare(rounds, our_transactions(count, body), aiosmtpd_transactions(count, body))
    ours, shown, peer = each(server, count)
    if server.ratio is not None:
        met = server.ratio <= 0.1
        yield Row("server, transaction of 1 KiB / aiosmtpd", shown, peer, server.ratio, "<= 0.10", met, True)
    else:
        yield Row("server, transaction of 1 KiB", shown, "not installed", None, "", True)
    yield Row("  T19", shown, "", None, "<= 35 us", ours <= 35e-6)
    yield Row("  T21, events", per_second(9 / ours), "", None, ">= 200,000/s", 9 / ours >= 200_000)

    ehlo = compare(rounds, our_ehlos(count), smtplib_ehlos(count))
    ours, shown, peer = each(ehlo, count)
    yield Row(
        "T20 EHLO and its reply of 11 lines / smtplib", shown, peer, ehlo.ratio, "<= 25 us", ours <= 25e-6
    )

    times = 10
    for name, body in BODIES.items():
        figure = compare(rounds, our_writing(body, times), smtplib_writing(body), times)
        yield speed(f"T22 writing 10 MiB, {name} / smtplib", figure, 300 if name == "78 columns" else 200)
    for name, body in BODIES.items():
        part = body[: body.rindex(b"\n", 0, MIB // 16) + 1]  # aiosmtpd takes seconds for short lines
        peer_reading = aiosmtpd_transactions(1, *cut(stuffed(part)))
        figure = compare(rounds, our_reading(body, times), peer_reading, times * len(body) / len(part))
        yield speed(f"T23 reading 10 MiB, {name} / aiosmtpd", figure, 200 if name == "78 columns" else 150)

    size = 10_000
    long_line = compare(rounds, octet_by_octet(size), None)
    ours, shown, _ = each(long_line, size)
    yield Row("T24 a line octet by octet, each octet", shown, "", None, "<= 1.5 us", ours <= 1.5e-6)
    longer = compare(rounds, octet_by_octet(4 * size), octet_by_octet(size), 1)
    assert longer.ratio is not None
    yield Row("  four times the line", "", "", longer.ratio, "<= 5", longer.ratio <= 5)
    refused = compare(rounds, many_lines, None).ours
    yield Row(
        "  a reply of 100,000 lines, refused",
        f"{refused * 1e3:.1f} ms",
        "",
        None,
        "<= 200 ms",
        refused <= 0.2,
    )

    costs = [[import_cost(module) for module in ("sys", "smtp_proto", "smtplib")] for _ in range(rounds)]
    own, peers = (median(cost[at] - cost[0] for cost in costs) * 1e3 for at in (1, 2))
    yield Row("import / smtplib", f"{own:.0f} ms", f"{peers:.0f} ms", own / peers, "< 40 ms", own < 40, True)
    yield Row("  T25", f"{own:.0f} ms", "", None, "<= 20 ms", own <= 20)


def speed(case: str, figure: Figure, target: int) -> Row:
    """A body of 10 MiB in MB/s."""
    ours, peer = (10 * MIB / time / 1e6 if time else 0 for time in (figure.ours, figure.peer))
    shown = f"{peer:,.1f} MB/s" if peer else "not installed"
    return Row(case, f"{ours:,.0f} MB/s", shown, figure.ratio, f">= {target} MB/s", ours >= target)


def main() -> int:
    parser = argparse.ArgumentParser(description="What the core costs, beside smtplib and aiosmtpd.")
    parser.add_argument("--check", action="store_true", help="exit code 1 if what was promised is missed")
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    options = parser.parse_args()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}, {platform.machine()}; medians of CPU time")
    print()
    print(f"{'case':46} {'ours':>12} {'peer':>14} {'ratio':>7}  {'target':13}")
    missed = 0
    for row in rows(3 if options.quick else 9):
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        mark = "" if row.met else "MISSED, and promised" if row.promised else "missed"
        missed += row.promised and not row.met
        print(
            f"{row.case:46} {row.ours:>12} {row.peer:>14} {ratio:>7}  {row.target:13} {mark}".rstrip(),
            flush=True,
        )
    if peer := aiosmtpd():
        peer.loop.run_until_complete(peer.end())
        peer.loop.close()
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
