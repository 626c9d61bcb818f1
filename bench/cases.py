"""What is measured: each case, and who takes part in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from . import peers
from .measure import Program
from .samples import BODIES, MIB
from .worker import Job


class Subject(NamedTuple):
    """Who takes part, and as what."""

    function: str  # module.function
    job: Mapping[str, Any] = {}
    peer: str | None = None  # what has to be there
    kind: str = "peer"  # or "ours", or "floor"

    def program(self) -> Program:
        return Program(peers.python_for(self.peer), *self.function.split("."))


class Case(NamedTuple):
    """One thing that all do."""

    kind: str  # how it is measured: "client", "far", "server", "idle", "core"
    title: str
    job: Job
    subjects: dict[str, Subject]
    quick: bool = True  # part of the quick pass


ORDINARY = "78 columns"
COLOURS = ("blocking", "asyncio", "trio", "gevent")
MODES = {"data": "", "flight": ", one flight", "many": ", back to back"}


def ours(modes: Iterable[str], colours: Iterable[str] = COLOURS, **job: object) -> dict[str, Subject]:
    """Our clients, by colour and by how they send."""
    return {
        f"{colour}{MODES[mode]}": Subject(f"clients.{colour}", {"mode": mode, **job}, library(colour), "ours")
        for colour in colours
        for mode in modes
    }


def floors(modes: Iterable[str], colours: Iterable[str] = COLOURS) -> dict[str, Subject]:
    return {
        f"floor {colour}{MODES[mode]}": Subject(
            f"floor_clients.{colour}", {"mode": mode}, library(colour), "floor"
        )
        for colour in colours
        for mode in modes
    }


def library(colour: str) -> str | None:
    """What a colour needs that Python does not bring."""
    return colour if colour in ("trio", "gevent") else None


DROP_IN = {"drop-in": Subject("peer_clients.dropin", kind="ours")}
PEERS = {
    "smtplib": Subject("peer_clients.smtplib"),
    "aiosmtplib": Subject("peer_clients.aiosmtplib", peer="aiosmtplib"),
    "smtpproto": Subject("peer_clients.smtpproto", peer="smtpproto"),
    "smtpproto, trio": Subject("peer_clients.smtpproto_trio", peer="smtpproto"),
    "slimta": Subject("slimta_subjects.client", peer="slimta"),
    "smtp-source": Subject("peer_clients.smtp_source", peer="smtp-source"),
}
SERVERS = {
    **{colour: Subject(f"servers.{colour}", {}, library(colour), "ours") for colour in COLOURS},
    "aiosmtpd": Subject("servers.aiosmtpd", peer="aiosmtpd"),
    "slimta": Subject("slimta_subjects.server", peer="slimta"),
    "smtp-sink": Subject("servers.smtp_sink", peer="smtp-sink"),
    **{
        f"floor {colour}": Subject(f"floor_servers.{colour}", {}, library(colour), "floor")
        for colour in COLOURS
    },
}


def some(subjects: dict[str, Subject], *names: str) -> dict[str, Subject]:
    return {name: subjects[name] for name in names}


def client_cases() -> dict[str, Case]:
    plain, both, all_modes = ["data"], ["data", "flight"], list(MODES)
    fast = some(PEERS, "smtplib", "aiosmtplib", "slimta")
    far = some(PEERS, "smtplib", "aiosmtplib", "smtpproto", "slimta")
    far_ours = ours(both, ["blocking", "asyncio"]) | ours(["many"], ["blocking", "asyncio"], count=200)
    one = {**ours(all_modes), **DROP_IN, **PEERS, **floors(both)}
    ten = {**ours(both), **DROP_IN, **PEERS, **floors(both, ["blocking", "asyncio"])}
    fresh = {**ours(plain), **DROP_IN, **PEERS, **floors(plain)}
    crowd = {**ours(plain, COLOURS[1:]), **PEERS, **floors(plain, COLOURS[1:])}
    big = {**ours(plain), **DROP_IN, **PEERS, **floors(plain)}
    big_peak = {name: subject for name, subject in big.items() if name != "smtp-source"}
    vouched = {"blocking, strict": Subject("clients.blocking", {"name": "strict"}, kind="ours")}
    leaving = {
        f"{name}, QUIT not waited for": subject._replace(job={**subject.job, "name": "hasty"})
        for name, subject in ours(both, ["blocking"]).items()
    }
    return {
        "client 1 KiB": Case(
            "client", "1 KiB, one recipient, a connection that is kept", Job(count=1000), one
        ),
        "client 10 recipients": Case("client", "1 KiB, ten recipients", Job(count=200, recipients=10), ten),
        "client new": Case(
            "client", "1 KiB, a connection for each message", Job(count=150, fresh=True), fresh
        ),
        "client 100": Case(
            "client", "1 KiB, 100 connections at once in one process", Job(count=3000, connections=100), crowd
        ),
        "client 1 MiB": Case("client", "1 MiB", Job(count=6, size=MIB), {**big, **vouched}, quick=False),
        "client 25 MiB": Case(
            "client", "25 MiB", Job(count=1, size=25 * MIB), {**big, **vouched}, quick=False
        ),
        "peak": Case(
            "peak",
            "memory above the message while 25 MiB are sent",
            Job(count=1, size=25 * MIB, peak=True),
            big_peak,
            quick=False,
        ),
        "far 1 KiB": Case("far", "1 KiB, 5 ms each way", Job(count=20), {**far_ours, **DROP_IN, **far}),
        "far 10 recipients": Case(
            "far", "1 KiB, ten recipients, 5 ms each way", Job(count=10, recipients=10), {**far_ours, **far}
        ),
        "far new": Case(
            "far",
            "connect, one message, QUIT, 5 ms each way",
            Job(count=5, fresh=True),
            {**ours(both, ["blocking", "asyncio"]), **leaving, **fast},
        ),
    }


def server_cases() -> dict[str, Case]:
    pipelined = {"mode": "pipelined", "connections": 20}
    return {
        "server new": Case(
            "server",
            "1 KiB, a connection for each message, 20 at once",
            Job(count=400, connections=20, fresh=True),
            SERVERS,
        ),
        "server 1 KiB": Case(
            "server", "1 KiB, 20 connections that are kept", Job(count=1000, connections=20), SERVERS
        ),
        "server pipelined": Case(
            "server",
            "1 KiB, a client that pipelines on 20 connections",
            Job(count=1000, **pipelined),
            SERVERS,  # type: ignore[arg-type]
        ),
        "server greeting": Case(
            "server",
            "accept, greeting, EHLO and QUIT",
            Job(count=400, connections=20, fresh=True, name="greeting"),
            SERVERS,
        ),
        "server 100 KiB": Case(
            "server",
            "100 KiB",
            Job(count=40, size=100 * 1024, connections=4, mode="pipelined"),
            SERVERS,
            quick=False,
        ),
        "server 10 MiB": Case(
            "server", "10 MiB", Job(count=1, size=10 * MIB, mode="pipelined"), SERVERS, quick=False
        ),
        "idle": Case(
            "idle", "memory of a connection after EHLO, 2,000 of them", Job(connections=2000), SERVERS
        ),
    }


def core_cases() -> dict[str, Case]:
    own: dict[str, Any] = {"kind": "ours"}
    client = {
        "ours": Subject("core_clients.ours", **own),
        "ours, as a group": Subject("core_clients.ours_as_group", **own),
        "smtplib": Subject("core_clients.smtplib"),
        "smtpproto": Subject("core_clients.smtpproto", peer="smtpproto"),
        "slimta": Subject("slimta_subjects.core_client", peer="slimta"),
        "h11, ten events": Subject("core_clients.h11", peer="h11"),
    }
    server = {
        "ours": Subject("core_servers.ours", **own),
        "aiosmtpd": Subject("core_servers.aiosmtpd", peer="aiosmtpd"),
        "slimta": Subject("slimta_subjects.core_server", peer="slimta"),
        "h11, ten events": Subject("core_clients.h11_server", peer="h11"),
    }
    ehlo = {
        "ours": Subject("core_clients.our_ehlo", **own),
        "smtplib": Subject("core_clients.smtplib_ehlo"),
    }
    writing = {
        "ours": Subject("core_bodies.writing", **own),
        "smtplib": Subject("core_bodies.smtplib_writing"),
        "slimta": Subject("slimta_subjects.stuffing", peer="slimta"),
    }
    reading = {
        "ours": Subject("core_bodies.reading", **own),
        "aiosmtpd": Subject("core_servers.aiosmtpd_reading", peer="aiosmtpd"),
    }
    octets = {
        "10,000 octets": Subject("core_bodies.octet_by_octet", {"size": 10_000}, **own),
        "40,000 octets": Subject("core_bodies.octet_by_octet", {"size": 40_000}, **own),
    }
    return {
        "core client": Case("core", "a client's transaction of 1 KiB", Job(count=500), client),
        "core server": Case("core", "a server's transaction of 1 KiB", Job(count=500), server),
        "core EHLO": Case("core", "EHLO and its reply of eleven lines", Job(count=500), ehlo),
        **{
            f"core writing, {kind}": Case(
                "core",
                f"10 MiB made ready to be sent, {kind}",
                Job(size=10 * MIB, name=kind),
                writing,
                quick=kind == ORDINARY,
            )
            for kind in BODIES
        },
        **{
            f"core reading, {kind}": Case(
                "core",
                f"10 MiB read to their end, {kind}",
                Job(size=10 * MIB, name=kind),
                reading,
                quick=kind == ORDINARY,
            )
            for kind in BODIES
        },
        "core octets": Case("core", "a line that comes octet by octet", Job(), octets),
        "core lines": Case(
            "core",
            "a reply of 100,000 lines is refused",
            Job(size=100_000),
            {"ours": Subject("core_bodies.many_lines", **own)},
        ),
    }


def imported(module: str, peer: str | None = None, kind: str = "peer") -> Subject:
    return Subject("footprint.importing", {"name": module}, peer, kind)


def sized(name: str, peer: str | None = None, kind: str = "peer") -> Subject:
    return Subject("footprint.size", {"name": name}, peer, kind)


def footprint_cases() -> dict[str, Case]:
    imports = {
        "the core": imported("smtp_proto", kind="ours"),
        "blocking": imported("smtp_transports.blocking", kind="ours"),
        "asyncio": imported("smtp_transports.asyncio", kind="ours"),
        "trio": imported("smtp_transports.trio", "trio", kind="ours"),
        "gevent": imported("smtp_transports.gevent", "gevent", kind="ours"),
        "drop-in": imported("smtp_transports.smtplib", kind="ours"),
        "smtplib": imported("smtplib"),
        "aiosmtplib": imported("aiosmtplib", "aiosmtplib"),
        "smtpproto": imported("smtpproto.protocol", "smtpproto"),
        "aiosmtpd": imported("aiosmtpd.smtp", "aiosmtpd"),
        "slimta": imported("slimta.smtp.client", "slimta"),
        "floor asyncio": imported("asyncio", kind="floor"),
        "floor trio": imported("trio", "trio", kind="floor"),
        "floor gevent": imported("gevent.socket", "gevent", kind="floor"),
    }
    sizes = {
        "ours": sized("smtp-proto", kind="ours"),
        "ours, the core": Subject("footprint.size", {"name": "smtp-proto", "mode": "core"}, kind="ours"),
        "aiosmtplib": sized("aiosmtplib", "aiosmtplib"),
        "smtpproto": sized("smtpproto", "smtpproto"),
        "aiosmtpd": sized("aiosmtpd", "aiosmtpd"),
        "h11": sized("h11", "h11"),
    }
    return {
        "import": Case("core", "import, beyond an interpreter that imports nothing", Job(), imports),
        "size": Case("size", "source, and distributions that have to be installed with it", Job(), sizes),
    }


CASES: dict[str, Case] = {**core_cases(), **footprint_cases(), **client_cases(), **server_cases()}
