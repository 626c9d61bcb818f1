"""The promise of `smtp-proto probe`: it shows what the server shows, says so where something is wrong with
it, and nothing that a server says does more than be read.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from peers import (
    SECONDS,
    Peer,
    another_authority,
    certificates,
    listening,
    nothing_left,
    self_made,
    serving,
    without_cryptography,
)

from smtp_proto import Features
from smtp_transports._cli_place import Place
from smtp_transports._cli_probe import explain
from smtp_transports._probe import probe
from smtp_transports.auth import AuthSettings
from smtp_transports.cli import main
from smtp_transports.handlers import Handler, Mailbox

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


def place(server: Any) -> str:
    return f"localhost:{server.address[1]}"


def sections(shown: str) -> dict[str, list[str]]:
    """What stands below each heading."""
    first, *others = shown.rstrip("\n").split("\n\n")
    parts = {heading: lines for heading, *lines in (part.split("\n") for part in others)}
    return {"": [first], **{name: [line.strip() for line in lines] for name, lines in parts.items()}}


def rows(lines: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("  ") for line in lines)}


def said(capsys: Capture) -> dict[str, list[str]]:
    out, err = capsys.readouterr()
    assert err == ""
    return sections(out)


def test_all_is_shown_before_tls_and_under_it(trust: list[str], capsys: Capture) -> None:
    auth = AuthSettings(mechanisms=["PLAIN", "LOGIN"])
    with serving(Handler(), "starttls", auth=auth) as (server, _):
        assert main(["probe", place(server), *trust]) == 0
        shown = said(capsys)
    assert shown[""] == [f"{place(server)}, SMTP"]
    assert shown["Greeting"] == ["220 mx.example ESMTP"]
    clear, secured = rows(shown["In the clear"]), rows(shown["Under TLS"])
    assert "STARTTLS" in clear
    assert "AUTH" not in clear
    assert secured["AUTH"].strip() == "PLAIN LOGIN"
    assert secured["SIZE"].strip() == "33554432 octets (32.0 MiB)"
    assert "STARTTLS" not in secured
    tls = {name: value.strip() for name, value in rows(shown["TLS"]).items()}
    assert tls["protocol"] == "TLSv1.3"
    assert re.fullmatch("TLS_.*, [0-9]+ bits", tls["cipher"])
    assert (tls["trusted"], tls["for this name"]) == ("yes", "yes")
    assert [line for line in shown["TLS"] if line.startswith("name ")] == [
        f"name           {name}" for name in ("localhost", "127.0.0.1", "::1")
    ]
    assert re.fullmatch(r"[0-9.]+ ms, the median of 5 NOOPs \([0-9.]+ to [0-9.]+\)", shown["Round trip"][0])
    assert shown["QUIT"] == ["221 2.0.0 mx.example closing"]
    assert "It ended early" not in shown


@pytest.mark.parametrize(
    ("way", "options", "expected"),
    [
        ("tcp", [], {"Greeting", "In the clear"}),
        ("tcp", ["--no-starttls"], {"Greeting", "In the clear"}),
        ("starttls", ["--no-starttls"], {"Greeting", "In the clear"}),
        ("starttls", ["--starttls"], {"Greeting", "In the clear", "TLS", "Under TLS"}),
        ("tls", ["--tls"], {"Greeting", "TLS", "Under TLS"}),
    ],
)
def test_tls_begins_when_it_is_told(
    way: str, options: list[str], expected: set[str], trust: list[str], capsys: Capture
) -> None:
    with serving(Handler(), way) as (server, _):
        assert main(["probe", place(server), *options, *trust]) == 0
    assert set(said(capsys)) == {"", "Round trip", "QUIT", *expected}


def test_lmtp_and_unix_sockets_are_probed_too(tmp_path: Path, capsys: Capture) -> None:
    with serving(Handler(), "unix", folder=tmp_path, lmtp=True) as (server, _):
        assert main(["probe", "--unix", server.address, "--lmtp", "--domain", "me.example"]) == 0
        shown = said(capsys)
    assert shown[""] == [f"{server.address}, LMTP"]
    assert shown["In the clear"][0] == "250 mx.example"


def context_of(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def with_certificate(*names: str, **validity: Any) -> ssl.SSLContext:
    return context_of(certificates().authority.issue_cert(*names, **validity))


def unknown_to_all(*names: str) -> ssl.SSLContext:
    return context_of(another_authority().authority.issue_cert(*names))


def for_clients() -> ssl.SSLContext:
    """Its name is never judged: OpenSSL has seen enough before."""
    return context_of(self_made(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])))


def broken() -> ssl.SSLContext:
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    access = x509.UnrecognizedExtension(ExtensionOID.AUTHORITY_INFORMATION_ACCESS, b"0\x80")
    return context_of(self_made(names, access))


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
UNKNOWN = "no: (unable to get local|self-signed).*"
CERTIFICATES: list[tuple[Callable[[], ssl.SSLContext], str, str]] = [
    (lambda: unknown_to_all("localhost"), UNKNOWN, "yes"),
    (lambda: unknown_to_all("elsewhere.example", "127.0.0.1"), UNKNOWN, "no"),
    (lambda: with_certificate("localhost", not_after=YESTERDAY), "no: certificate has expired", "yes"),
    (lambda: with_certificate("elsewhere.example"), "yes", "no"),
    (lambda: with_certificate("*.elsewhere.example", not_after=YESTERDAY), "no: .*expired", "no"),
    (for_clients, UNKNOWN, "not known"),
    (broken, UNKNOWN, "yes"),
]


@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize(("context", "trusted", "fits"), CERTIFICATES)
@pytest.mark.parametrize("tls", [True, False])
def test_a_certificate_that_is_no_good_is_shown_all_the_same(
    context: Callable[[], ssl.SSLContext],
    trusted: str,
    fits: str,
    tls: bool,
    library: bool,
    trust: list[str],
    capsys: Capture,
) -> None:
    arguments = ["probe", *trust, *(["--tls"] if tls else [])]
    installed = contextlib.nullcontext() if library else without_cryptography()
    with serving(Handler(), context=context(), tls=tls) as (server, _), installed:
        assert main([*arguments, place(server)]) == 1
        shown = said(capsys)
        assert main([*arguments, place(server), "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
    found = {name: value.strip() for name, value in rows(shown["TLS"]).items()}
    assert re.fullmatch(trusted, found["trusted"])
    assert found["for this name"] == fits
    assert {"Under TLS", "Round trip", "QUIT"} <= set(shown)
    assert "It ended early" not in shown
    assert document["tls"]["is_trusted"] is (trusted == "yes")
    assert document["tls"]["fits_name"] is {"yes": True, "no": False, "not known": None}[fits]
    assert document["tls"]["sha256"] == found["SHA-256"]
    assert (document["problem"], document["is_fine"]) == (None, False)
    if library and context is broken:
        assert found["certificate"] == "cannot be read"
    elif library or "yes" in (trusted, fits):
        assert ("expired" in found["valid until"]) is ("expired" in trusted)
    else:
        assert found["certificate"] == "not verified: smtp-proto[cli] shows more"
    assert (document["tls"]["certificate"] is None) is ("certificate" in found)


@pytest.mark.parametrize(
    ("host", "names", "fits"),
    [
        ("localhost", ["LOCALHOST"], True),
        ("127.0.0.1", ["localhost"], False),
        ("127.0.0.1", ["127.0.0.1"], True),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_openssl_judges_the_name(
    host: str, names: list[str], fits: bool, known: bool, trust: list[str], capsys: Capture
) -> None:
    context = (with_certificate if known else unknown_to_all)(*names)
    with serving(Handler(), context=context) as (server, _):
        main(["probe", f"{host}:{server.address[1]}", *trust, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["tls"]["is_trusted"], document["tls"]["fits_name"]) == (known, fits)


def test_a_context_that_was_asked_about_any_name_judges_names_again() -> None:
    with serving(Handler(), context=with_certificate("elsewhere.example")) as (server, _):
        there = Place("localhost", server.address[1], None, False, False, certificates().client)
        assert probe(there).fits is False
        assert probe(there).fits is False


@pytest.mark.parametrize(
    ("context", "first"),
    [
        (lambda: unknown_to_all("localhost"), "not trusted: "),
        (lambda: with_certificate("elsewhere.example"), "not for this name"),
    ],
)
@pytest.mark.parametrize("tls", [True, False])
def test_who_takes_one_connection_only_has_shown_what_it_showed(
    context: Callable[[], ssl.SSLContext], first: str, tls: bool, trust: list[str], capsys: Capture
) -> None:
    def play(peer: Peer) -> None:
        if not tls:
            peer.greet()
            peer.hear(b"STARTTLS")
            peer.say(b"220 go")
        with pytest.raises(OSError, match="alert"):
            peer.start_tls(context(), server_side=True)

    with listening(play) as (_, port):
        # Who connects again waits in vain.
        options = ["--timeout", "0.5", *trust, *(["--tls"] if tls else [])]
        assert main(["probe", f"localhost:{port}", *options]) == 1
    shown = said(capsys)
    assert ("Greeting" in shown) is not tls
    assert shown["TLS"][0].startswith(first)
    assert "certificate verify failed" in shown["It ended early"][0]


# --- Servers that end it early


def refusing(peer: Peer) -> None:
    peer.say(b"554-go", b"554 away")
    peer.hear(b"QUIT")


def no_starttls(peer: Peer) -> None:
    peer.greet()
    peer.hear(b"STARTTLS")
    peer.say(b"454 4.7.0 not now")
    peer.hear(b"QUIT")


def busy(peer: Peer) -> None:
    peer.say(b"220 mx.example")
    peer.hear(b"EHLO")
    peer.say(b"250 mx.example")
    peer.hear(b"NOOP")
    peer.say(b"421 4.3.2 stop")


def silent(peer: Peer) -> None:
    peer.say(b"220 mx.example")
    peer.rest()


def garbage(peer: Peer) -> None:
    peer.say(b"220 mx.example")
    peer.hear(b"EHLO")
    peer.say(b"HTTP/1.1 400 Bad Request")
    peer.rest()


EARLY: list[tuple[Callable[[Peer], object], str]] = [
    (refusing, "the connection was refused: 554 go / away"),
    (no_starttls, "StartTLS was refused: 454 4.7.0 not now"),
    (silent, "COMMAND: nothing came within 1 seconds"),
    (garbage, ".*reply.*"),
]


@pytest.mark.parametrize(("play", "problem"), EARLY)
def test_what_ends_early_is_shown_up_to_there(
    play: Callable[[Peer], object], problem: str, capsys: Capture
) -> None:
    with listening(play) as (host, port):
        assert main(["probe", f"{host}:{port}", "--timeout", "1"]) == 1
    shown = said(capsys)
    assert shown["Greeting"][0].startswith(("220 mx.example", "554 go"))
    assert re.fullmatch(problem, shown["It ended early"][0])


def test_a_server_that_is_busy_is_asked_no_more(capsys: Capture) -> None:
    with listening(busy) as (host, port):
        assert main(["probe", f"{host}:{port}"]) == 0
    assert "the median of 1 NOOPs" in said(capsys)["Round trip"][0]


def test_a_server_without_ehlo_is_asked_in_the_old_way(capsys: Capture) -> None:
    def play(peer: Peer) -> None:
        peer.say(b"220 mx.example")
        peer.hear(b"EHLO")
        peer.say(b"502 what?")
        peer.hear(b"HELO")
        peer.say(b"250 mx.example")
        for _ in range(5):
            peer.hear(b"NOOP")
            peer.say(b"250 ok")
        peer.hear(b"QUIT")
        peer.say(b"221 bye")

    with listening(play) as (host, port):
        assert main(["probe", f"{host}:{port}"]) == 0
    assert said(capsys)["In the clear"] == ["250 mx.example", "no extensions"]


@pytest.mark.parametrize(
    ("play", "message"),
    [
        (lambda peer: peer.rest(), "GREETING: nothing came within 0.1 seconds"),
        (lambda peer: peer.close(), ".*connection.*"),
        (lambda peer: peer.say(b"\x16\x03\x01"), ".*reply.*"),
    ],
)
def test_who_says_nothing_is_one_clear_line(
    play: Callable[[Peer], object], message: str, capsys: Capture
) -> None:
    with listening(play) as (host, port):
        assert main(["probe", f"{host}:{port}", "--timeout", "0.1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"smtp-proto: {message}\n", err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "HOST[:PORT] or --unix PATH says which server"),
        ([":25"], "not a host: ':25'"),
        (["localhost:x"], "not a port: 'x'"),
        (["localhost:1", "--timeout", "0"], "--timeout takes seconds"),
        (["localhost:1", "--ca-file", "/nonsense"], "/nonsense: No such file"),
        (["localhost:1"], "Connection refused: localhost:1"),
        (["--unix", "/nonsense"], "No such file or directory: /nonsense"),
    ],
)
def test_what_cannot_be_probed_is_one_clear_line(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(["probe", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"smtp-proto: {message}")
    assert err.count("\n") == 1


def test_a_domain_that_is_none_is_one_clear_line(capsys: Capture) -> None:
    with serving(Handler()) as (server, _):
        assert main(["probe", place(server), "--domain", "two words"]) == 2
    assert capsys.readouterr().err.startswith("smtp-proto: neither a domain nor")


# --- What is shown


HOSTILE = "\x1b[2J\x07\u202e<b>&amp;</b>".encode() + b"\xff\x9b"


def test_what_a_server_says_moves_no_cursor(capsys: Capture) -> None:
    def play(peer: Peer) -> None:
        peer.say(b"220 " + HOSTILE)
        peer.hear(b"EHLO")
        peer.say(b"250-" + HOSTILE, b"250-SIZE " + HOSTILE, b"250 X" + HOSTILE)
        peer.hear(b"NOOP")
        peer.say(b"421 " + HOSTILE)

    for options in ([], ["--json"]):
        with listening(play) as (host, port):
            main(["probe", f"{host}:{port}", *options])
        out = capsys.readouterr().out
        assert "&amp;</b>" in out
        assert all(character.isprintable() or character == "\n" for character in out)
        if options:
            assert json.loads(out)["greeting"]["lines"] == ["\x1b[2J\x07\u202e<b>&amp;</b>\ufffd\ufffd"]
        else:
            assert r"220 \x1b[2J\x07\u202e<b>&amp;</b>\udcff\udc9b" in out


def test_what_a_certificate_says_moves_no_cursor_either(capsys: Capture) -> None:
    context = with_certificate("localhost", organization_name="\x1b[2J\n<b>")
    with serving(Handler(), context=context) as (server, _):
        main(["probe", place(server)])
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert r"O=\x1b[2J\n<b>" in out


@pytest.mark.parametrize(
    ("line", "explained"),
    [
        ("SIZE 52428800", "52428800 octets (50.0 MiB)"),
        ("SIZE 1500", "1500 octets"),
        ("SIZE 0", "no limit is told"),
        ("SIZE", "no limit is told"),
        ("AUTH plain LOGIN", "PLAIN LOGIN"),
        ("LIMITS RCPTMAX=100 MAILMAX=5", "RCPTMAX 100, MAILMAX 5"),
        ("LIMITS RCPTMAX", "RCPTMAX"),
        ("DELIVERBY 240", "within 240 seconds at least"),
        ("DELIVERBY", ""),
        ("FUTURERELEASE 60 2027-01-01T00:00:00Z", "for 60 seconds at most, until 2027-01-01T00:00:00Z"),
        ("FUTURERELEASE 60", "60"),
        ("MT-PRIORITY", "profile MIXER"),
        ("MT-PRIORITY STANAG4406", "profile STANAG4406"),
        ("X-OTHER some words", "some words"),
    ],
)
def test_a_keyword_is_explained(line: str, explained: str) -> None:
    features = Features.from_lines([line])
    assert explain(line.partition(" ")[0], features) == explained


def test_json_has_what_the_lines_have(trust: list[str], capsys: Capture) -> None:
    with serving(Mailbox(), "starttls") as (server, _):
        assert main(["probe", place(server), "--json", *trust]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["server"] == place(server)
    assert document["protocol"] == "SMTP"
    assert document["greeting"] == {"code": 220, "enhanced": None, "lines": ["mx.example ESMTP"]}
    assert document["in_the_clear"]["features"]["STARTTLS"] == []
    assert document["under_tls"]["size"] == 33554432
    assert document["tls"]["certificate"]["domains"] == ["localhost"]
    assert document["tls"]["certificate"]["addresses"] == ["127.0.0.1", "::1"]
    assert datetime.fromisoformat(document["tls"]["certificate"]["not_after"]) > datetime.now(UTC)
    assert len(document["round_trips"]) == 5
    assert document["goodbye"]["code"] == 221
    assert (document["distrust"], document["problem"], document["is_fine"]) == (None, None, True)


def test_a_round_trip_is_the_time_from_a_command_to_its_reply() -> None:
    ticks = iter((0.0, 0.5, 1.0, 1.25, 2.0, 2.125, 3.0, 3.5, 4.0, 4.5))
    with serving(Handler()) as (server, _):
        host, port = server.address
        there = Place(host, port, None, False, False, certificates().client)
        found = probe(there, starttls="never", seconds=SECONDS, clock=lambda: next(ticks))
    assert found.round_trips == [0.5, 0.25, 0.125, 0.5, 0.5]
