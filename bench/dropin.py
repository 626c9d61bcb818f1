"""What a message costs through the drop-in for smtplib, beside smtplib itself, over a real socket.

    python bench/dropin.py            the table
    python bench/dropin.py --check    the same, and exit code 1 if a goal is missed
    python bench/dropin.py --quick    a third of the rounds

The server is in another process: what is measured is the CPU time of the client alone, in turns for us and
for smtplib; a figure is the median of its rounds, and a ratio the median of the ratios of the rounds. Round
trips are counted by the server: each time that it answers and waits is one.

This is not called smtplib.py, because a script imports what lies beside it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import smtplib as standard
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import median
from types import ModuleType
from typing import NamedTuple

from core import MESSAGE, RECIPIENT, SENDER, micro

from smtp_transports import smtplib as dropin

ONE_WAY = 0.005  # seconds
MESSAGES, FEW_MESSAGES = 2_000, 10
GREETING = b"220 mx.example ESMTP\r\n"
REPLIES = {
    b"EHLO": b"250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10240000\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}


# The server


def serve(pipe: Connection, one_way: float) -> None:
    """Tell the port, and after each session how many turns it had."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            sock, _ = listener.accept()
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pipe.send(turns(sock, one_way))


def turns(sock: socket.socket, one_way: float) -> int:
    """Converse with one client; how often it had to wait."""
    time.sleep(2 * one_way)
    sock.sendall(GREETING)
    count = 1
    buffer = b""
    in_body = False
    while data := sock.recv(65536):
        time.sleep(one_way)
        buffer += data
        answer = b""
        while True:
            line, end, rest = buffer.partition(b"\r\n.\r\n" if in_body else b"\r\n")
            if not end:
                break
            buffer = rest
            verb = line[:4].upper()
            answer += b"250 2.0.0 Taken\r\n" if in_body else REPLIES[verb]
            in_body = not in_body and verb == b"DATA"
        if answer:
            time.sleep(one_way)
            sock.sendall(answer)
            count += 1
    return count


@contextmanager
def serving(one_way: float = 0) -> Iterator[tuple[int, Connection]]:
    """A server in a process of its own: its port, and where it tells the turns of each session."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, one_way), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        process.terminate()
        process.join()


# The clients


class Cost(NamedTuple):
    """What a message costs."""

    cpu: float
    turns: float


def send(module: ModuleType, port: int, pipe: Connection, count: int, recipients: list[str]) -> Cost:
    """Send this many messages on one connection."""
    with module.SMTP("127.0.0.1", port, local_hostname="client.example") as client:
        client.ehlo()
        start = time.process_time()
        for _ in range(count):
            client.sendmail(SENDER, recipients, MESSAGE)
        spent = time.process_time() - start
    return Cost(spent / count, pipe.recv() / count)


# The table


class Row(NamedTuple):
    """One line: our figure and smtplib's, and whether ours, or the ratio, met its goal."""

    case: str
    ours: str
    peer: str
    ratio: float
    target: str
    met: bool


def cpu(rounds: int, count: int, recipients: int, goal: float) -> Row:
    to = [f"{at}{RECIPIENT}" for at in range(recipients)]
    costs: list[tuple[float, float]] = []
    with serving() as (port, pipe):
        for number in range(rounds + 1):
            ours, peer = (send(module, port, pipe, count, to).cpu for module in (dropin, standard))
            if number:  # the first one warms up
                costs.append((ours, peer))
    ratio = median(ours / peer for ours, peer in costs)
    ours, peer = (median(cost[at] for cost in costs) for at in (0, 1))
    case = f"CPU a message of 1 KiB, recipients: {recipients}"
    return Row(case, micro(ours), micro(peer), ratio, f"<= {goal:.2f}", ratio <= goal)


def round_trips(goal: float) -> Row:
    """With those of the connection itself, its greeting, EHLO and QUIT."""
    with serving(ONE_WAY) as (port, pipe):
        ours, peer = (
            send(module, port, pipe, FEW_MESSAGES, [RECIPIENT]).turns for module in (dropin, standard)
        )
    case = f"round trips a message, {FEW_MESSAGES} a connection"
    return Row(case, f"{ours:.1f}", f"{peer:.1f}", ours / peer, f"{goal:.1f} trips", ours <= goal)


def rows(rounds: int) -> Iterator[Row]:
    yield cpu(rounds, MESSAGES, 1, 0.60)
    yield cpu(rounds, MESSAGES // 5, 10, 0.30)
    yield round_trips(2.3)


def main() -> int:
    parser = argparse.ArgumentParser(description="What a message costs through the drop-in, beside smtplib.")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a goal is missed")
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    options = parser.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print()
    print(f"{'case':46} {'ours':>12} {'smtplib':>14} {'ratio':>7}  {'target':13}")
    missed = 0
    for row in rows(3 if options.quick else 9):
        missed += not row.met
        mark = "" if row.met else "MISSED"
        print(
            f"{row.case:46} {row.ours:>12} {row.peer:>14} {row.ratio:7.3f}  {row.target:13} {mark}".rstrip(),
            flush=True,
        )
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
