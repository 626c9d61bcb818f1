"""What was promised: targets T1 to T26 and the moonshots, each a row that the results meet or miss."""

from __future__ import annotations

from typing import NamedTuple

from .proxy import ROUND_TRIP
from .results import Results
from .samples import MIB

US, MS = 1e-6, 1e-3
KIB = 1024


class Target(NamedTuple):
    """One promise. `most` or `least` holds for the ratio to the peer, or for our own figure in the unit."""

    number: str
    what: str
    case: str
    ours: str
    peer: str | None = None
    most: float | None = None
    least: float | None = None
    unit: str = ""
    scale: float = 1.0  # a unit, in what the results have
    inverse: bool = False  # so many in a second
    quantity: str = "cpu"
    share: float = 1.0  # what a figure is multiplied with, ours and the peer's: `ours / events`
    peer_share: float = 1.0


class Judged(NamedTuple):
    """A target, and how it stands; None where the peer is absent or nothing was measured."""

    target: Target
    ours: float | None
    peer: float | None
    ratio: float | None
    met: bool | None


def judge(target: Target, results: Results) -> Judged:
    """Hold a target against what was measured."""
    ours = shown(target, results.figure(target.case, target.ours, target.quantity), target.share)
    peer = ratio = None
    if target.peer is not None:
        peer = shown(target, results.figure(target.case, target.peer, target.quantity), target.peer_share)
        ratio = results.ratio(target.case, target.ours, target.peer, target.quantity)
        ratio = ratio and ratio * target.share / target.peer_share
        ratio = 1 / ratio if ratio and target.inverse else ratio
    value = ours if target.unit else ratio
    if value is None:
        return Judged(target, ours, peer, ratio, None)
    met = value <= target.most if target.most is not None else value >= (target.least or 0)
    return Judged(target, ours, peer, ratio, met)


def shown(target: Target, figure: float | None, share: float) -> float | None:
    """A figure in the target's unit."""
    if figure is None:
        return None
    figure *= share
    return 1 / figure / target.scale if target.inverse else figure / target.scale


def cpu(
    number: str, what: str, case: str, ours: str, peer: str, most: float, limit: float = 0
) -> list[Target]:
    """CPU of a message: a ratio to the peer, and in microseconds where a `limit` is given."""
    ratio = Target(number, what, case, ours, peer, most, scale=US)
    return [Target(number, what, case, ours, None, limit, unit="us", scale=US), ratio] if limit else [ratio]


def trips(number: str, what: str, case: str, ours: str, peer: str | None, most: float) -> Target:
    """Round trips, by the time that they take."""
    return Target(number, what, case, ours, peer, most, unit="trips", scale=ROUND_TRIP, quantity="wall")


def rate(
    number: str, what: str, case: str, ours: str, least: float, unit: str = "/s", share: float = 1.0
) -> Target:
    return Target(number, what, case, ours, None, None, least, unit, 1.0, inverse=True, share=share)


def speed(number: str, what: str, case: str, peer: str, least: float) -> Target:
    """Of 10 MiB, in megabytes a second."""
    return Target(
        number,
        what,
        case,
        "ours",
        peer,
        None,
        least,
        "MB/s",
        1e6,
        inverse=True,
        share=1 / (10 * MIB),
        peer_share=1 / (10 * MIB),
    )


REUSED, TEN, NEW, CROWD = "client 1 KiB", "client 10 recipients", "client new", "client 100"
PIPELINED, LOCKSTEP, EACH = "server pipelined", "server 1 KiB", "server new"

CLIENT_TARGETS = [
    *cpu("T1", "blocking client, 1 KiB", REUSED, "blocking", "smtplib", 0.60, 180),
    *cpu("T1", "drop-in for smtplib, 1 KiB", REUSED, "drop-in", "smtplib", 0.60),
    *cpu("T2", "asyncio client, 1 KiB", REUSED, "asyncio", "aiosmtplib", 0.40, 220),
    *cpu("T2", "asyncio client, 1 KiB", REUSED, "asyncio", "smtplib", 0.75),
    *cpu("T3", "trio client, 1 KiB", REUSED, "trio", "smtpproto, trio", 0.50, 270),
    *cpu("T4", "gevent client, 1 KiB", REUSED, "gevent", "slimta", 0.80, 210),
    *cpu("T5", "blocking client, 10 recipients", TEN, "blocking", "smtplib", 0.30),
    *cpu("T5", "drop-in for smtplib, 10 recipients", TEN, "drop-in", "smtplib", 0.30),
    *cpu("T5", "asyncio client, 10 recipients", TEN, "asyncio", "aiosmtplib", 0.20),
    trips("T6", "round trips of a message, pipelined", "far 1 KiB", "blocking", "smtplib", 2.5),
    trips("T6", "the same, drop-in for smtplib", "far 1 KiB", "drop-in", "smtplib", 2.5),
    trips("T6", "the same, 10 recipients", "far 10 recipients", "blocking", "smtplib", 2.5),
    trips("T6", "round trips of a message, back to back", "far 1 KiB", "blocking, back to back", None, 1.0),
    Target("T6", "time over 10 ms", "far 1 KiB", "blocking", "smtplib", 0.53, scale=MS, quantity="wall"),
    Target(
        "T6",
        "the same, 10 recipients",
        "far 10 recipients",
        "blocking",
        "smtplib",
        0.19,
        scale=MS,
        quantity="wall",
    ),
    Target(
        "T6",
        "the same, back to back",
        "far 1 KiB",
        "blocking, back to back",
        "smtplib",
        0.29,
        scale=MS,
        quantity="wall",
    ),
    trips("T7", "round trips, connection, message, QUIT", "far new", "blocking", "smtplib", 6.5),
    trips("T7", "the same, 221 not waited for", "far new", "blocking, QUIT not waited for", "smtplib", 5.5),
    *cpu("T8", "blocking client, a connection each", NEW, "blocking", "smtplib", 0.80),
    *cpu("T8", "asyncio client, a connection each", NEW, "asyncio", "aiosmtplib", 0.70),
    *cpu("T9", "asyncio client, 100 connections", CROWD, "asyncio", "aiosmtplib", 0.27, 70),
    rate("T9", "asyncio client, 100 connections", CROWD, "asyncio", 12_000, "messages/s"),
    *cpu("T9", "asyncio client, 100 connections", CROWD, "asyncio", "smtp-source", 1.30),
    *cpu("T9", "gevent client, 100 connections", CROWD, "gevent", "slimta", 0.50),
    *[
        target
        for case, number in (("client 1 MiB", 1), ("client 25 MiB", 25))
        for target in (
            Target(
                "T10",
                f"{number} MiB, by the MiB",
                case,
                "blocking",
                None,
                4,
                unit="ms",
                scale=MS,
                share=1 / number,
            ),
            Target(
                "T10",
                f"{number} MiB, by the MiB",
                case,
                "blocking",
                "smtplib",
                0.33,
                scale=MS,
                share=1 / number,
                peer_share=1 / number,
            ),
            Target(
                "T10",
                f"{number} MiB, line ends vouched for",
                case,
                "blocking, strict",
                None,
                1.5,
                unit="ms",
                scale=MS,
                share=1 / number,
            ),
        )
    ],
    *[
        Target(
            "T11",
            f"memory above 25 MiB, {colour}",
            "peak",
            colour,
            "smtplib",
            1,
            unit="MiB",
            scale=MIB,
            quantity="peak",
        )
        for colour in ("blocking", "asyncio", "trio", "gevent")
    ],
]
SERVER_TARGETS = [
    *cpu("T12", "asyncio server, a connection each", EACH, "asyncio", "aiosmtpd", 0.35, 350),
    *cpu("T13", "asyncio server, connections kept", LOCKSTEP, "asyncio", "aiosmtpd", 0.25, 110),
    rate("T13", "asyncio server, connections kept", LOCKSTEP, "asyncio", 8_000, "messages/s"),
    *cpu("T14", "asyncio server, pipelining client", PIPELINED, "asyncio", "aiosmtpd", 0.22, 90),
    *cpu("T15", "asyncio server, 100 KiB", "server 100 KiB", "asyncio", "aiosmtpd", 0.25, 1100),
    *cpu("T15", "asyncio server, 10 MiB", "server 10 MiB", "asyncio", "aiosmtpd", 0.25, 85_000),
    *[
        Target(
            "T16",
            f"an idle connection, {colour}",
            "idle",
            colour,
            "aiosmtpd",
            most,
            unit="KiB",
            scale=KIB,
            quantity="memory",
        )
        for colour, most in (("asyncio", 4), ("trio", 7), ("gevent", 11))
    ],
    Target(
        "T17",
        "accept, greeting, EHLO, asyncio",
        "server greeting",
        "asyncio",
        "aiosmtpd",
        150,
        unit="us",
        scale=US,
    ),
]
EVENTS = (
    9  # of a transaction: five are sent and four received by the client, the other way round by the server
)
CORE_TARGETS = [
    *cpu("T18", "core, a client's transaction", "core client", "ours", "smtplib", 0.60, 30),
    *cpu("T18", "core, the same, pipelined", "core client", "ours, as a group", "smtpproto", 1.0),
    *cpu("T19", "core, a server's transaction", "core server", "ours", "slimta", 0.30, 35),
    *cpu("T19", "core, a server's transaction", "core server", "ours", "aiosmtpd", 0.12),
    Target("T20", "EHLO and its reply", "core EHLO", "ours", "smtplib", 25, unit="us", scale=US),
    rate("T21", "events of a client", "core client", "ours", 200_000, "/s", 1 / EVENTS),
    rate("T21", "events of a server", "core server", "ours", 200_000, "/s", 1 / EVENTS),
    *[
        speed("T22", f"writing, {kind}", f"core writing, {kind}", "smtplib", least)
        for kind, least in (("78 columns", 300), ("1 % dots", 200), ("lines of 2", 200), ("all dots", 200))
    ],
    *[
        speed("T23", f"reading, {kind}", f"core reading, {kind}", "aiosmtpd", least)
        for kind, least in (("78 columns", 200), ("1 % dots", 150), ("lines of 2", 150), ("all dots", 150))
    ],
    Target(
        "T24",
        "a line octet by octet, each",
        "core octets",
        "10,000 octets",
        None,
        1.5,
        unit="us",
        scale=US,
        share=1 / 10_000,
    ),
    Target("T24", "four times the line", "core octets", "40,000 octets", "10,000 octets", 5, scale=MS),
    Target("T24", "100,000 reply lines, refused", "core lines", "ours", None, 200, unit="ms", scale=MS),
    Target("T25", "import of the core", "import", "the core", "smtplib", 20, unit="ms", scale=MS),
    Target("T25", "import of the blocking client", "import", "blocking", "smtplib", 40, unit="ms", scale=MS),
    Target("T25", "import of the asyncio client", "import", "asyncio", "aiosmtplib", 75, unit="ms", scale=MS),
    Target("T26", "source", "size", "ours", "aiosmtplib", 300, unit="KiB", scale=KIB, quantity="octets"),
    Target(
        "T26",
        "source of the core alone",
        "size",
        "ours, the core",
        "h11",
        300,
        unit="KiB",
        scale=KIB,
        quantity="octets",
    ),
    Target(
        "T26",
        "required distributions",
        "size",
        "ours",
        "smtpproto",
        0,
        unit="needed",
        quantity="dependencies",
    ),
]
TARGETS = [*CLIENT_TARGETS, *SERVER_TARGETS, *CORE_TARGETS]
FLOORS = [
    target
    for colour in ("blocking", "asyncio", "trio", "gevent")
    for target in cpu(
        "",
        f"{colour} client, one flight, and its floor",
        REUSED,
        f"{colour}, one flight",
        f"floor {colour}, one flight",
        2.5,
    )
]
MOONSHOTS = [
    *cpu("", "blocking client, pipelined", REUSED, "blocking", "smtplib", 0.50),
    *cpu("", "blocking client, one flight", REUSED, "blocking, one flight", "smtplib", 0.30),
    *cpu("", "blocking client, 10 recipients", TEN, "blocking", "smtplib", 0.25),
    *cpu("", "asyncio client, 100 connections", CROWD, "asyncio", "aiosmtplib", 0.25),
    *FLOORS,
    trips("", "round trips of a message, one flight", "far 1 KiB", "blocking, one flight", None, 1.2),
    trips("", "round trips of a message, pipelined", "far 1 KiB", "blocking", None, 2.3),
    trips("", "round trips of a message, back to back", "far 1 KiB", "blocking, back to back", None, 0.2),
    trips("", "round trips, connection, message, QUIT", "far new", "blocking, one flight", "smtplib", 5.5),
    *cpu("", "asyncio server, pipelining client", PIPELINED, "asyncio", "aiosmtpd", 0.18),
    *cpu("", "asyncio server, a connection each", EACH, "asyncio", "aiosmtpd", 0.30),
    *cpu("", "core, a server's transaction", "core server", "ours", "aiosmtpd", 0.09),
    Target(
        "",
        "core, events of a client, and h11's",
        "core client",
        "ours",
        "h11, ten events",
        None,
        3,
        "",
        1.0,
        inverse=True,
        share=1 / EVENTS,
        peer_share=1 / 10,
    ),
    Target(
        "",
        "core, events of a server, and h11's",
        "core server",
        "ours",
        "h11, ten events",
        None,
        3,
        "",
        1.0,
        inverse=True,
        share=1 / EVENTS,
        peer_share=1 / 10,
    ),
]
