"""What only some clients of other people can say: each with the client that can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from clients_cases import PLAIN, case, codes, every_transport, needs, only
from clients_ours import LATE, UNKNOWN, USERS, Postbox, Serve
from clients_programs import CLIENTS, Client, by_swaks, run
from loops import Loop

from smtp_proto import Reply
from smtp_proto.ops import Session

FAR, NEAR = "192.0.2.1", "192.0.2.2"


class Directory(Postbox):
    """Knows who is whom, queues on demand, and trusts proxies. `heard` is what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def verify(self, session: Session, argument: str) -> Reply:
        self.heard.append(argument)
        return Reply(code=250, enhanced="2.1.5", text=f"Bob <{argument}>")

    def expand(self, session: Session, argument: str) -> Reply:
        self.heard.append(argument)
        return Reply(code=250, enhanced="2.1.5", lines=["<bob@mx.example>", "<carol@mx.example>"])

    def etrn(self, session: Session, node: str) -> Reply:
        self.heard.append(node)
        return Reply(code=250, enhanced="2.0.0", text="on its way")

    def xclient(self, session: Session, attributes: Mapping[str, str]) -> Reply:
        self.heard.append(dict(attributes))
        return Reply(code=250, text="it is noted")

    def connect(self, session: Session) -> Reply | None:
        if session.proxy is not None:
            self.heard.append((session.proxy.transport, *session.peer))
        return super().connect(session)


# --- swaks


@every_transport
@needs("swaks")
def test_swaks_says_a_group(loop: Loop, ours: Serve) -> None:
    postbox = Postbox()
    letter = PLAIN._replace(recipients=["bob@mx.example", UNKNOWN, "carol@mx.example"])
    with ours(postbox, "tcp") as server:
        assert by_swaks(server.place, letter, "--pipeline").is_content
    assert only(postbox).recipients == ("bob@mx.example", "carol@mx.example")
    # The group came as one, and was answered as one.
    (recording,) = server.recordings
    assert any(
        octets.count(b"\r\n") == 5 for who, octets in recording.steps if who == "S" and octets[:4] != b"250-"
    )


@every_transport
@needs("swaks")
def test_swaks_is_told_of_each_recipient(loop: Loop, ours: Serve) -> None:
    postbox = Postbox()
    letter = PLAIN._replace(recipients=["bob@mx.example", LATE, "carol@mx.example"])
    with ours(postbox, "tcp") as server:
        assert "451 4.3.0 try again" in by_swaks(server.place, letter, "--prdr").text
    assert only(postbox).recipients == ("bob@mx.example", "carol@mx.example")
    assert codes(server.recordings[0])[-6:] == [353, 250, 451, 250, 250, 221]


PROXIES = {
    "version 1": (1, ["--proxy-family", "TCP4"], FAR, NEAR),
    "version 1, IPv6": (1, ["--proxy-family", "TCP6"], "2001:db8::1", "2001:db8::2"),
    "version 2": (2, ["--proxy-family", "AF_INET"], FAR, NEAR),
    "version 2, IPv6": (2, ["--proxy-family", "AF_INET6"], "2001:db8::1", "2001:db8::2"),
}


@every_transport
@needs("swaks")
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_swaks_speaks_for_somebody_else(loop: Loop, ours: Serve, proxy: str, way: str) -> None:
    version, options, source, destination = PROXIES[proxy]
    command = ["--proxy-version", version, *options, "--proxy-source", source, "--proxy-source-port", 4567]
    command += ["--proxy-dest", destination, "--proxy-dest-port", 25]
    if version == 2:
        command += ["--proxy-command", "PROXY", "--proxy-protocol", "STREAM"]
    directory = Directory()
    with ours(directory, way, proxy_protocol=True) as server:
        sent = by_swaks(server.place, PLAIN, *command)
    assert sent.is_content, sent.text
    assert directory.heard == [("TCP6" if ":" in source else "TCP4", source, 4567)]
    assert only(directory).data == PLAIN.data


@every_transport
@needs("swaks")
def test_swaks_says_who_the_client_is(loop: Loop, ours: Serve) -> None:
    directory = Directory()
    with ours(directory, "tcp") as server:
        sent = by_swaks(server.place, PLAIN, "--xclient-addr", FAR, "--xclient-name", "far.example")
    assert sent.is_content, sent.text
    assert directory.heard == [{"ADDR": FAR, "NAME": "far.example"}]
    assert only(directory).domain == "client.example", "it introduced itself again"


@every_transport
@needs("swaks")
def test_swaks_speaks_the_oldest_smtp(loop: Loop, ours: Serve) -> None:
    postbox = Postbox()
    with ours(postbox, "tcp") as server:
        assert by_swaks(server.place, PLAIN, "--protocol", "SMTP").is_content
    assert only(postbox).data == PLAIN.data
    assert server.recordings[0].steps[1] == ("C", b"HELO client.example\r\n")


# --- msmtp


@every_transport
@needs("msmtp")
def test_msmtp_asks_for_what_waits(loop: Loop, ours: Serve) -> None:
    directory = Directory()
    with ours(directory, "tcp") as server:
        place = ["--host", server.place.host, "--port", server.place.port]
        assert run(["msmtp", *place, "--rmqs=node.example"]).is_content
    assert directory.heard == ["node.example"]


@every_transport
@needs("msmtp")
def test_msmtp_reads_all_that_is_offered(loop: Loop, ours: Serve) -> None:
    with ours(Postbox(), "starttls") as server:
        place = ["--host", server.place.host, "--port", server.place.port]
        trust = ["--tls=on", "--tls-trust-file", server.place.ca]
        shown = run(["msmtp", *place, *trust, "--serverinfo"]).text
    for keyword in (
        "SIZE ",
        "PIPELINING:",
        "ETRN:",
        "DSN:",
        "STARTTLS:",
        "AUTH:",
        "SCRAM-SHA-256",
        "EXTERNAL",
    ):
        assert keyword in shown


# --- curl


@every_transport
@needs("curl")
@pytest.mark.parametrize(
    ("request_", "argument"),
    [("VRFY", "bob@mx.example"), ("VRFY", "jürgen@mx.example"), ("EXPN", "friends")],
)
def test_curl_asks_about_mailboxes(loop: Loop, ours: Serve, request_: str, argument: str) -> None:
    """With SMTPUTF8 on the command where it thinks that this may matter."""
    directory = Directory()
    with ours(directory, "tcp") as server:
        url = f"smtp://{server.place.host}:{server.place.port}/client.example"
        what = ["--request", "EXPN"] if request_ == "EXPN" else []  # VRFY is what it does by itself
        shown = run(["curl", "--silent", "--mail-rcpt", argument, *what, url]).text
    assert directory.heard == [argument]
    assert (f"Bob <{argument}>" if request_ == "VRFY" else "<carol@mx.example>") in shown


# --- Names and passwords beyond ASCII

BEYOND = [
    ("swaks", "PLAIN"),
    ("swaks", "LOGIN"),
    ("swaks", "CRAM-MD5"),
    ("msmtp", "PLAIN"),
    ("msmtp", "SCRAM-SHA-256"),
    ("curl", "PLAIN"),
    ("curl", "CRAM-MD5"),
    ("aiosmtplib", "PLAIN"),
    ("nodemailer", "PLAIN"),
    ("nodemailer", "CRAM-MD5"),
]


@every_transport
@pytest.mark.parametrize(
    ("client", "mechanism"),
    [case(CLIENTS[name], mechanism, name=f"{name}-{mechanism}") for name, mechanism in BEYOND],
)
def test_a_name_and_a_password_beyond_ascii(loop: Loop, ours: Serve, client: Client, mechanism: str) -> None:
    postbox = Postbox()
    letter = PLAIN._replace(mechanism=mechanism, user="jörg", secret=USERS["jörg"])
    with ours(postbox, "tls") as server:
        sent = client.send(server.place, letter)
    assert sent.is_content, sent.text
    assert only(postbox).user == "jörg"
