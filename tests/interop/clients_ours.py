"""Our servers for clients of other people, each in a thread of its own, so that a test may block."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from loops import PATIENCE, Loop
from peers import SECONDS, certificates

from smtp_proto import Command, Features, Limits, Rcpt, Reply, ServerConnection, Signal
from smtp_proto.ops import DEFAULT_OFFER, Session
from smtp_proto.sasl import CheckExternal
from smtp_transports._pytest_server import Inbox, Plans, _received
from smtp_transports.auth import AuthSettings
from smtp_transports.handlers import Message

USER, PASSWORD = "ada", 'c0rrect, =horse% "\\'
TOKENS = "grace"
USERS = {USER: PASSWORD, "jörg": "Passwörter, Größe", TOKENS: "ya29.token-of/grace+="}
MECHANISMS = (
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "CRAM-MD5",
    "OAUTHBEARER",
    "XOAUTH2",
    "EXTERNAL",
    "PLAIN",
    "LOGIN",
)
OFFER = Features({**DEFAULT_OFFER, "DSN": (), "PRDR": (), "ETRN": (), "XCLIENT": ("ADDR", "NAME", "HELO")})

UNKNOWN, LATE = "nobody@mx.example", "late@mx.example"
# By local part: those that take no mail, and the one that says so at the end of it.
REFUSED = {
    "nobody": Reply(code=550, enhanced="5.1.1", text="there is no such mailbox"),
    "full": Reply(code=452, enhanced="4.2.2", text="the mailbox is full"),
}
TOO_LATE = {"late": Reply(code=451, enhanced="4.3.0", text="try again")}


class Postbox(Inbox):
    """Keeps mail and knows the users; some of its mailboxes take none."""

    def __init__(self, refuses_all: Reply | None = None) -> None:
        super().__init__(USERS, Plans())
        self._refuses_all = refuses_all
        self._present = 0

    def connect(self, session: Session) -> Reply | None:
        with self._arrived:
            self._present += 1
        return self._refuses_all

    def close(self, session: Session) -> None:
        with self._arrived:
            self._present -= 1
            self._arrived.notify_all()

    def wait_until_left(self) -> None:
        """Block until each session has gone to its end."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: not self._present, SECONDS), "somebody is still here"

    def rcpt(self, session: Session, command: Rcpt) -> Reply | None:
        return REFUSED.get(command.forward_path.partition("@")[0])

    def deliver(self, session: Session, message: Message) -> Sequence[Reply | None] | None:
        answers = [TOO_LATE.get(path.partition("@")[0]) for path in message.recipients]
        if not session.per_recipient:
            return super().deliver(session, message)
        taken = [rcpt for rcpt, answer in zip(session.recipients, answers, strict=True) if answer is None]
        self._keep(_received(session, message, taken))
        return answers

    def authenticate(self, session: Session, question: Any) -> object:
        if isinstance(question, CheckExternal):
            names = (session.ssl_object.getpeercert() or {}).get("subjectAltName", ())
            return next((address.partition("@")[0] for kind, address in names if kind == "email"), None)
        return super().authenticate(session, question)


class Place(NamedTuple):
    """Where a server is, and what a client needs to get in."""

    address: Any
    way: str
    """`tcp`, `starttls`, `tls`, or `unix`, which is LMTP."""
    folder: Path
    """With `ca.pem`, and what a user shows who is known by a certificate: `user.pem`, key and all."""

    @property
    def host(self) -> str:
        return str(self.address[0])

    @property
    def port(self) -> int:
        return int(self.address[1])

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def user(self) -> Path:
        return self.folder / "user.pem"


Steps = list[tuple[str, bytes]]
"""What was said in a session: `C` or `S`, and octets; and `TLS` where that began."""


class Recording(ServerConnection):
    """A connection that keeps what was said, and what it made of that."""

    __slots__ = ("events", "steps")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.steps: Steps = []
        self.events: list[Command] = []

    def next_event(self) -> Command | Signal:
        event = super().next_event()
        if not isinstance(event, Signal):
            self.events.append(event)
        return event

    def receive_data(self, data: bytes) -> None:
        self.steps.append(("C", data))
        super().receive_data(data)

    def data_to_send(self) -> bytes:
        data = super().data_to_send()
        if data:
            self.steps.append(("S", data))
        return data

    def tls_started(self) -> None:
        super().tls_started()
        self.steps.append(("TLS", b""))


class Running(NamedTuple):
    """A server that runs."""

    place: Place
    recordings: list[Recording]
    """One for each session."""


Serve = Callable[..., AbstractContextManager[Running]]
"""`running`, of one transport and folder: called with the handler, the way, and more options of `serve`."""


@contextmanager
def running(loop: Loop, folder: Path, postbox: Postbox, way: str, **options: Any) -> Iterator[Running]:
    """Our server over one of the transports, until the block is left."""
    limits = options.pop("limits", Limits())
    recordings: list[Recording] = []
    stop, found = loop.bell(), Future[Any]()
    options = {"offer": OFFER, "auth": _auth(way)} | options
    if way == "unix":
        options = {"unix": folder / "socket", "lmtp": True} | options
    elif way != "tcp":
        options |= {"tls": way == "tls", "context": _context()}

    def connection() -> ServerConnection:
        recordings.append(Recording(lmtp=way == "unix", tls=way == "tls", limits=limits))
        return recordings[-1]

    async def scene() -> None:
        async with loop.serve(postbox, **options) as server:
            # Nobody knows the address yet, so the first session has a connection of this kind already.
            undressed = getattr(server, "thing", server)
            undressed._settings = undressed._settings._replace(make_connection=connection)
            found.set_result(server.address)
            await loop.heard(stop, PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        played = pool.submit(loop.run, scene)
        wait([found, played], return_when=FIRST_COMPLETED)
        if found.done():
            try:
                yield Running(Place(found.result(), way, folder), recordings)
                postbox.wait_until_left()
            finally:
                stop.ring()
        played.result()


def _auth(way: str) -> AuthSettings:
    mechanisms = [name for name in MECHANISMS if name != "EXTERNAL" or way in ("tls", "starttls")]
    return AuthSettings(mechanisms, allow_plaintext=True, iterations=4096)


def _context() -> ssl.SSLContext:
    """A server that asks clients for their certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates().leaf.configure_cert(context)
    certificates().authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def write_certificates(folder: Path) -> None:
    """What `Place.folder` holds."""
    certificates().authority.cert_pem.write_to_path(folder / "ca.pem")
    user = certificates().authority.issue_cert(f"{USER}@mx.example")
    user.private_key_and_cert_chain_pem.write_to_path(folder / "user.pem")
    os.chmod(folder / "user.pem", 0o600)
