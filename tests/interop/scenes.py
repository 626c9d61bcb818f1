"""What our client says to real servers in the transcripts, and is told; how both are kept, and replayed.

python tests/interop/scenes.py    has the servers say it all again, and writes the transcripts
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dovecot
import opensmtpd
import postfix
from daemon import HOST, USERS, Daemon
from peers import SECONDS, certificates

from smtp_proto import ClientConnection, OriginalRecipient, Rcpt, Refused
from smtp_proto.testing import Role, Script, ScriptedPeer
from smtp_transports._places import Security
from smtp_transports._sockets import SocketStream
from smtp_transports.streams import Client, Stream

FOLDER = Path(__file__).parent / "transcripts"
SENDER, RECIPIENT, NOBODY = "ada@sender.example", "bob@example.test", "nobody@example.test"
BODY = b"Subject: replayed\r\n\r\n.\r\n..\r\nGr\xc3\xbc\xc3\x9fe\r\n\r\n"

Told = list[Any]
"""What a client was told: what is offered, the codes of replies, what became of messages."""


def begin(stream: Stream, *, lmtp: bool = False) -> Client:
    """A client that has introduced itself under TLS."""
    client = Client(stream, ClientConnection(lmtp=lmtp), timeouts=SECONDS)
    client.start("client.example", starttls="required")
    return client


def send(client: Client, *recipients: str | Rcpt, **options: Any) -> Told:
    """Send the message: the status and the code for each recipient."""
    result = client.send_message(SENDER, recipients, BODY, **options)
    return [(each.status.value, each.reply and each.reply.code) for each in result.outcomes]


def messages(stream: Stream, *, lmtp: bool = False) -> Told:
    """One of three is refused, with DATA and as the client likes it best; all are; three go back to back."""
    client = begin(stream, lmtp=lmtp)
    told: Told = [dict(client.features)]
    three = ("alice@example.test", NOBODY, RECIPIENT)
    told += [send(client, *three, transfer="data"), send(client, *three), send(client, NOBODY)]
    told += [result.all_accepted for result in client.send_messages([(SENDER, RECIPIENT, BODY)] * 3)]
    replies = (client.verify("bob"), client.noop(), client.reset(), client.quit())
    return [*told, *(reply and (reply.code, reply.enhanced) for reply in replies)]


def extensions(stream: Stream) -> Told:
    """DSN, SMTPUTF8, XFORWARD and XCLIENT."""
    client = begin(stream)
    original = OriginalRecipient("rfc822", "Bob+Smith@old.example")
    wants = Rcpt(forward_path=RECIPIENT, parameters={"NOTIFY": ("FAILURE", "DELAY"), "ORCPT": original})
    told: Told = [send(client, wants, parameters={"RET": "HDRS", "ENVID": "order+17"})]
    told.append(send(client, "jürgen@example.test"))
    client.xforward({"NAME": "far.example", "ADDR": "192.0.2.1"})
    told += [client.xclient("client.example", {"ADDR": "192.0.2.2"}).code, send(client, RECIPIENT)]
    return [*told, client.etrn("example.test").code, client.quit() is None]


def errors(stream: Stream, *, lmtp: bool = False) -> Told:
    """Too many of them: what the server says until it hangs up."""
    client = begin(stream, lmtp=lmtp)
    told: Told = []
    while client.conn.is_usable and len(told) < 30:
        told.append(client.help("me").code)
    return told


def login(stream: Stream, mechanism: str) -> Told:
    """The wrong secret, the right one, and a message."""
    client = begin(stream)
    told: Told = []
    for password, token in (("not the secret", "not.the.token"), (USERS["alice"], dovecot.token("alice"))):
        with suppress(Refused):
            told.append(client.login("alice", password, token=token, mechanisms=[mechanism]).code)
    return [*told, send(client, RECIPIENT), client.quit() is None]


Scene = Callable[[Stream], Told]
SCENES: dict[str, tuple[str, Scene]] = {
    "postfix-messages": ("postfix smtp", messages),
    "postfix-extensions": ("postfix smtp", extensions),
    "postfix-errors": ("postfix smtp", errors),
    "dovecot-lmtp-messages": ("dovecot lmtp", partial(messages, lmtp=True)),
    "dovecot-lmtp-errors": ("dovecot lmtp", partial(errors, lmtp=True)),
    "opensmtpd-messages": ("opensmtpd smtp", messages),
}
"""By their name: the server and its port, and what is said."""
for module in (postfix, dovecot, opensmtpd):
    for each in module.MECHANISMS:
        server = module.__name__
        SCENES[f"{server}-{each.lower()}"] = (f"{server} submission", partial(login, mechanism=each))


def told_by(scene: Scene, stream: Stream) -> Any:
    """What comes of a scene, as JSON has it. The client's nonces are the same each time."""
    with patch("secrets.token_urlsafe", lambda size: "a nonce that never changes".replace(" ", "-")):
        return json.loads(json.dumps(scene(stream)))


# --- Recording


class Recorder(SocketStream):
    """A stream that remembers what was said, and nothing of TLS: a replay has none to bind a login to."""

    said: list[tuple[Role | None, bytes]]
    ssl_object = None

    def send_all(self, data: bytes, timeout: float | None) -> None:
        self.said.append(("client", data))
        super().send_all(data, timeout)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        data = super().receive_some(max_octets, timeout)
        self.said.append(("server", data))
        return data

    def start_tls(self, timeout: float | None) -> None:
        self.said.append((None, b""))
        super().start_tls(timeout)


def record(name: str, daemons: dict[str, Daemon]) -> None:
    """Play a scene with a real server, and keep what was said and what came of it."""
    where, scene = SCENES[name]
    server, port = where.split()
    sock = socket.create_connection((HOST, getattr(daemons[server], port)), SECONDS)
    stream = Recorder(sock, Security(certificates().client, server_hostname="localhost"))
    stream.said = []
    told = told_by(scene, stream)
    stream.close()
    script = Script.from_octets(stream.said)
    (FOLDER / f"{name}.txt").write_text(f"# {json.dumps(told)}\n{script}")


def main() -> None:
    """Record all scenes."""
    with ExitStack() as stack:
        daemons: dict[str, Daemon] = {"postfix": stack.enter_context(postfix.Postfix())}
        relay = (HOST, daemons["postfix"].smtp)
        daemons["dovecot"] = stack.enter_context(dovecot.Dovecot(relay_to=relay))
        daemons["opensmtpd"] = stack.enter_context(opensmtpd.OpenSMTPD())
        for name in SCENES:
            record(name, daemons)


# --- Replaying


class Replay:
    """A stream with a server at its other end that says what a transcript has, some octets at a time, and
    hears nothing but what is in there.
    """

    def __init__(self, script: Script, size: int) -> None:
        self._peer = ScriptedPeer(script, plays="server")
        self._size = size
        self._coming = b""
        self.longest = 0
        """The most octets that were there to be read at once."""

    @property
    def is_finished(self) -> bool:
        return self._peer.is_finished and not self._coming

    def send_all(self, data: bytes, timeout: float | None) -> None:
        if not self._peer.is_finished:  # else nobody hears it: the server has hung up
            self._peer.receive_data(data)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        self._coming += self._peer.data_to_send()
        assert self._coming or self._peer.has_closed, "both sides wait"
        self.longest = max(self.longest, len(self._coming))
        octets, self._coming = self._coming[: self._size], self._coming[self._size :]
        return octets

    def start_tls(self, timeout: float | None) -> None:
        assert not self._coming
        self._peer.tls_started()

    def close(self) -> None:
        pass


if __name__ == "__main__":
    main()
