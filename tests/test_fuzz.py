"""What fuzzing began with, and what it ever found, played through the targets without a fuzzer."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

import smtp_proto
from smtp_proto import _server_connection

FUZZ = Path(__file__).parents[1] / "fuzz"
DOCS = Path(__file__).parents[1] / "docs" / "fuzzing.md"


def load(name: str) -> Any:
    """A module of the folder fuzz, which is no package."""
    sys.path.insert(0, str(FUZZ))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(FUZZ))


BESIDE = load("beside")
TARGETS = {**load("targets").TARGETS, **BESIDE.TARGETS}
EXPLAINED = load("explained").EXPLAINED
ALL_EXPLAINED = dict(EXPLAINED)
SEEDS = load("seeds")


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_breaks_what_a_target_holds(name: str) -> None:
    found = [path.read_bytes() for path in sorted(FUZZ.glob(f"found/{name}-*"))]
    seeds = SEEDS.seeds(name)
    assert len(seeds) >= 2
    for octets in [b"", *seeds, *found]:
        TARGETS[name](octets)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("body", b"a\r\n.\r\nb"),
        ("path", b"a@b.example"),
        ("parameters", b"SIZE=5"),
    ],
)
def test_a_target_sees_what_is_broken(name: str, octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail finds nothing."""
    monkeypatch.setattr(smtp_proto.DataWriter, "write", lambda self, data: data)
    monkeypatch.setattr(smtp_proto.Path, "__eq__", lambda self, other: False)
    monkeypatch.setattr(smtp_proto.Parameters, "__eq__", lambda self, other: False)
    with pytest.raises(AssertionError):
        TARGETS[name](octets)


# --- Differences from smtplib and aiosmtpd


def show(name: str) -> None:
    """Play what a difference says of itself."""
    explained = ALL_EXPLAINED[name]
    TARGETS["beside_aiosmtpd" if "command" in explained.kind else "beside_smtplib"](explained.example)


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_difference_that_is_explained_shows_itself_and_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    explanations = BESIDE.explanations

    def watched(case: Any) -> Any:
        seen.append(explanations(case))
        return seen[-1]

    monkeypatch.setattr(BESIDE, "explanations", watched)
    show(name)
    assert seen
    assert all(names == [name] for names in seen)


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_difference_that_nobody_explains_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(EXPLAINED, name)
    with pytest.raises(AssertionError, match="nothing explains"):
        show(name)


ENVELOPE = b"\0MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example> \r\n"


@pytest.mark.parametrize(
    ("name", "octets", "owner", "attribute", "broken"),
    [
        ("beside_smtplib", b"\x00250 ok\r\n", smtp_proto.Reply, "raw_text", b""),
        ("beside_smtplib", b"\x00250 ok\r\n250 ok\r\n", smtp_proto.ClientConnection, "trailing_data", b""),
        ("beside_smtplib", b"\x01250 ok\r\n", smtp_proto.ReplyStream, "trailing_data", b"x"),
        ("beside_smtplib", b"\x02250-mx\r\n250 SIZE\r\n", BESIDE, "our_offer", lambda lines: {}),
        ("beside_smtplib", b"\x03.a\r\n", smtp_proto.DataWriter, "write", lambda self, data: data),
        ("beside_smtplib", b"\x04a@x.example", smtp_proto.Path, "with_route", "b@y.example"),
        ("beside_smtplib", b"\x00550 no\r\n", BESIDE, "peer_reply", lambda client: (250, b"no", b"")),
        ("beside_aiosmtpd", ENVELOPE, smtp_proto.Mail, "reverse_path", smtp_proto.Path("")),
        ("beside_aiosmtpd", ENVELOPE, SMTP, "_getaddr", lambda self, text: ("b@y.example", "")),
        ("beside_aiosmtpd", ENVELOPE, SMTP, "_getparams", lambda self, words: None),
        ("beside_aiosmtpd", b"\0DATA\r\n", SMTP, "smtp_DATA", SMTP.smtp_NOOP),
    ],
)
def test_a_difference_that_was_planted_is_found(
    name: str, octets: bytes, owner: Any, attribute: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    TARGETS[name](octets)
    monkeypatch.setattr(owner, attribute, broken)
    with pytest.raises(AssertionError, match="nothing explains"):
        TARGETS[name](octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"\x00250 ok\r\n",
        b"\x00421\r\n",
        b"\x00250-a\r\n250 \xff\n",
        b"\x02250-mx\r\n250 SIZE 5\r\n",
        b"\x04",
        b"\x04postmaster",
        b'\x04"a b\\""@x.example',
        b"\x04a.b@[192.0.2.1]",
        b"\x04\xc3\xbc@xn--tda.example",
    ],
)
def test_what_is_refused_and_right_is_found_beside_smtplib(
    octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> Any:
        raise smtp_proto.LocalProtocolError("no")

    TARGETS["beside_smtplib"](octets)
    monkeypatch.setattr(BESIDE, "our_reply", lambda *args: (None, None))
    monkeypatch.setattr(BESIDE, "Path", refuse)
    with pytest.raises(AssertionError, match="nothing explains"):
        TARGETS["beside_smtplib"](octets)


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP \xc3\xbc",
        b"RSET",
        b"EHLO a_b.example",
        b"HELO [IPv6:2001:db8::1]",
        b"MAIL FROM:<> SIZE=5 BODY=8BITMIME",
        b"mail from: <@r.example,@s.example:a@[x:y]> size=99",
        b'MAIL FROM:<"a>b (c)\\""@x-y.example> SMTPUTF8',
        b"MAIL FROM:<\xc3\xbc@\xc3\xbc.example> SMTPUTF8",
        b"MAIL FROM:<a@x.example> SMTPUTF8\r\nRCPT TO:<\xc3\xbc@x.example>",
        b"MAIL FROM:<a@x.example>\r\nRCPT TO:<Postmaster>",
        b"MAIL FROM:<a@x.example>\r\nRCPT TO:<a@x.example>\r\nDATA",
    ],
)
def test_what_is_refused_and_right_is_found_beside_aiosmtpd(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = b"\0" + line + b"\r\n"
    TARGETS["beside_aiosmtpd"](octets)
    last = line.rpartition(b"\n")[2]
    read_command = _server_connection.read_command

    def refuse(line: bytes, limits: smtp_proto.Limits) -> smtp_proto.Command:
        if line == last:
            raise smtp_proto.LocalProtocolError("no")
        return read_command(line, limits)

    monkeypatch.setattr(_server_connection, "read_envelope", lambda *args: None)  # which reads what is plain
    monkeypatch.setattr(_server_connection, "read_command", refuse)
    with pytest.raises(AssertionError, match="nothing explains"):
        TARGETS["beside_aiosmtpd"](octets)


# --- The runner, and what is written of it


def test_the_runner_knows_every_target() -> None:
    assert tuple(TARGETS) == load("run").NAMES


def test_the_page_tells_of_every_target_and_every_difference() -> None:
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text("utf-8").splitlines() if "|" in line]
    targets = [row[0].strip("`") for row in rows if row[0].startswith("`")]
    assert set(TARGETS) <= set(targets)
    table = [(name, explained.why) for name, explained in EXPLAINED.items()]
    assert [tuple(row) for row in rows if row[0] in EXPLAINED] == table
