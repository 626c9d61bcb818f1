"""What `smtp-proto check` and `probe` say of these servers: what docs/interop.md explains, and no more."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from daemon import HOST, USERS
from peers import SECONDS, certificates
from postfix import Postfix
from ways import Place, Way, each, offered

from smtp_proto.testing.conformance import ServerOptions, Stream, check_server
from smtp_transports._places import Security
from smtp_transports._sockets import SocketStream
from smtp_transports.cli import main

PAGE = Path(__file__).parents[2] / "docs/interop.md"
RECIPIENTS = ("bob@example.test", "alice@example.test")


def explained(service: str) -> set[str]:
    """The rules of which the page says that this server breaks them."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    return {rule for rule, services in rows if service in services.split(", ")}


def arrived(place: Place) -> list[bytes]:
    """All that was delivered so far."""
    place.keeper.settle()
    return [file.read_bytes() for file in place.keeper.files()]


@each
def test_what_a_check_finds_is_explained(place: Place) -> None:
    security = Security(certificates().client, server_hostname="localhost")

    def connect() -> Stream:
        sock = socket.create_connection((HOST, getattr(place.daemon, place.way.port)), SECONDS)
        return SocketStream(sock, security)

    options = ServerOptions(
        lmtp=place.way.is_lmtp,
        recipients=RECIPIENTS,
        refused="nobody@example.test",
        many_recipients=True,
        deliver=True,
        delivered=lambda: arrived(place),
        attack=True,
        starttls=True,
        credentials=("alice", USERS["alice"]) if place.way.must_log_in else None,
        examples=0,
        clock=time.monotonic,
        patience=1,
    )
    verdicts = check_server(connect, options)
    place.keeper.clear()
    found = {verdict.rule.name: verdict.detail for verdict in verdicts if verdict.finding == "broken"}
    assert found.keys() == explained(place.way.service), found
    kept = {verdict.rule.name for verdict in verdicts if verdict.finding == "kept"}
    assert {"dot-stuffing", "content", "8bitmime-content", "mail", "rcpt", "end-of-data", "starttls"} <= kept


# --- The command line


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a command, and its document."""
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def where(way: Way, place: Place, trust: list[str]) -> list[str]:
    """The server, as the command line names it."""
    lmtp = ["--lmtp"] if way.is_lmtp else []
    return [f"{HOST}:{getattr(place.daemon, way.port)}", *lmtp, *trust]


@each
def test_a_probe_shows_what_is_offered(
    place: Place, trust: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = command(capsys, "probe", *where(place.way, place, trust))
    assert code == 0, document
    assert document["is_fine"]
    features = {name: tuple(words) for name, words in document["under_tls"]["features"].items()}
    assert features == offered(place.way)
    assert document["tls"]["is_trusted"]
    assert document["tls"]["fits_name"]


def test_the_command_line_checks_as_far_as_it_may(
    postfix: Postfix, trust: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is delivered, and nobody attacked, unless that is asked for."""
    to = ["--to", RECIPIENTS[0], "--examples", "0", "--rate", "10000", "--patience", "1"]
    code, document = command(capsys, "check", f"{HOST}:{postfix.smtp}", *trust, "--starttls", *to)
    assert code == 2
    broken = {each["rule"] for each in document["verdicts"] if each["finding"] == "broken"}
    assert broken == explained("Postfix") - {"bare-line-ends"}
    postfix.settle()
    assert not postfix.files()
