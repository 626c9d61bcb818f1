"""Sessions of clients of other people with our server that are kept in `transcripts`, and how to have them.

A transcript is a `smtp_proto.testing.Script`. Comments in front say who the client was, which events our side
saw, and what it delivered. Users and passwords are those of the tests; our nonces are always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clients_ours import LATE, MECHANISMS, TOKENS, UNKNOWN, USERS, Postbox, Recording, Running
from clients_postfix import Sender
from clients_programs import CLIENTS, Letter, by_swaks, run

from smtp_proto import Limits, MessageData, Reply
from smtp_proto.ops import Authenticator, Session
from smtp_proto.sasl import Context
from smtp_proto.testing import Script
from smtp_transports.auth import AuthSettings
from smtp_transports.pytest_plugin import ReceivedMessage

TRANSCRIPTS = Path(__file__).parent / "transcripts" / "clients"

HEADER = b"From: ada@client.example\r\nTo: bob@mx.example\r\nSubject: hello\r\n"
HEADER += b"Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n\r\n"
DOTS = ".\r\n..\r\n.a\r\n\r\n.\r\nGrüße\r\n".encode()
NASTY = Letter(HEADER + DOTS + bytes(range(160, 170)) + b"\r\n\r\n\r\n")
SHORT = Letter(HEADER + b"Hello.\r\n")
LIMIT = 400
LONG = Letter(HEADER + b"too large\r\n" * 40)
SMUGGLED = Letter(HEADER + b"one\n.\nMAIL FROM:<eve@client.example>\n.\r\ntwo\r\n")
THREE = SHORT._replace(recipients=["bob@mx.example", UNKNOWN, "carol@mx.example"])
THREE_LATE = SHORT._replace(recipients=["bob@mx.example", LATE, "carol@mx.example"])
BEYOND = SHORT._replace(sender="jörg@client.example", recipients=["jürgen@mx.example"])


class SameNonce(AuthSettings):
    """Challenges everybody with the same nonce, so that a recorded answer stays right."""

    __slots__ = ()

    def authenticator(self, session: Session) -> Authenticator:
        context = Context(
            nonce="the_nonce_of_transcripts", server_secret=bytes(16), iterations=self.iterations
        )
        return Authenticator(self.mechanisms, lambda: context, self.allow_plaintext)


AUTH = SameNonce([name for name in MECHANISMS if name != "EXTERNAL"], allow_plaintext=True, iterations=4096)


class Trusting(Postbox):
    """Believes who speaks for another."""

    def xclient(self, session: Session, attributes: Mapping[str, str]) -> Reply:
        return Reply(code=250, text="it is noted")


class Dialogue(NamedTuple):
    """One of them: how the client is made to talk, and what the server is like."""

    client: str
    talk: Callable[[Any], object]
    """Called with the `Running` server, or with the `Sender` or `Relay` that has to be there."""
    way: str = "tcp"
    limits: Limits = Limits()
    required: bool = False
    """Whether mail is taken from users only."""

    @property
    def auth(self) -> AuthSettings:
        return AUTH._replace(required=self.required)


def letter(name: str, letter: Letter, way: str = "tcp", **options: Any) -> Dialogue:
    """A client of the table sends a letter."""
    return Dialogue(name, lambda server: CLIENTS[name].send(server.place, letter), way, **options)


def login(name: str, mechanism: str, way: str, secret: str | None = None, **options: Any) -> Dialogue:
    """It logs in before; with a secret that is wrong, it tries to."""
    user = TOKENS if mechanism in ("OAUTHBEARER", "XOAUTH2") else "ada"
    given = SHORT._replace(mechanism=mechanism, user=user, secret=secret or USERS[user])
    return letter(name, given, way, required=True, **options)


def swaks(*more: object, letter: Letter = SHORT, way: str = "tcp") -> Dialogue:
    """swaks does what only it can."""
    return Dialogue("swaks", lambda server: by_swaks(server.place, letter, *more), way)


def browser(server: Running) -> object:
    """curl takes us for a server of HTTP."""
    return run(["curl", "--silent", f"http://{server.place.host}:{server.place.port}/"])


def postfix(letter: Letter, users: Sequence[str], way: str = "tcp", mechanism: str | None = None) -> Dialogue:
    """Postfix passes a letter on to some users."""

    def talk(sender: Sender) -> None:
        recipients = [sender.recipient(user, way, mechanism) for user in users]
        options = [] if letter.sender.isascii() else ["SMTPUTF8"]
        sender.submit(letter._replace(recipients=recipients), *options)
        for recipient in recipients:
            sender.outcome(recipient)

    return Dialogue("Postfix", talk, way, required=mechanism is not None)


SMALL = Limits(message_size=LIMIT)
DIALOGUES = {
    "swaks": letter("swaks", NASTY),
    "swaks-bare-lf": letter("swaks", SMUGGLED),
    "swaks-helo": swaks("--protocol", "SMTP"),
    "swaks-late": letter("swaks", THREE_LATE, "unix"),
    "swaks-pipelining": swaks("--pipeline", letter=THREE),
    "swaks-plain": login("swaks", "PLAIN", "starttls"),
    "swaks-prdr": swaks("--prdr", letter=THREE_LATE),
    "msmtp-dsn": letter("msmtp", NASTY._replace(dsn=True), "starttls"),
    "msmtp-late": letter("msmtp", THREE_LATE, "unix"),
    "msmtp-oauthbearer": login("msmtp", "OAUTHBEARER", "tls"),
    "msmtp-refused": letter("msmtp", THREE),
    "msmtp-scram-sha-1": login("msmtp", "SCRAM-SHA-1", "starttls"),
    "msmtp-scram-sha-256": login("msmtp", "SCRAM-SHA-256", "tcp"),
    "msmtp-too-large": letter("msmtp", LONG, limits=SMALL),
    "curl": letter("curl", NASTY, "tls"),
    "curl-bare-lf": letter("curl", SMUGGLED),
    "curl-http": Dialogue("curl", browser),
    "curl-login": login("curl", "LOGIN", "starttls"),
    "curl-no-auth": letter("curl", SHORT, required=True),
    "curl-smtputf8": letter("curl", BEYOND),
    "curl-wrong-token": login("curl", "OAUTHBEARER", "tls", secret="wrong-token"),
    "git-plain": login("git send-email", "PLAIN", "starttls"),
    "git-refused": letter("git send-email", THREE),
    "smtplib-bare-lf": letter("smtplib", SMUGGLED),
    "smtplib-cram-md5": login("smtplib", "CRAM-MD5", "tcp"),
    "smtplib-late": letter("smtplib", THREE_LATE, "unix"),
    "smtplib-too-large": letter("smtplib", LONG, limits=SMALL),
    "smtplib-wrong-password": login("smtplib", "LOGIN", "starttls", secret="wrong-password"),
    "aiosmtplib-smtputf8": letter("aiosmtplib", BEYOND, "starttls"),
    "aiosmtplib-xoauth2": login("aiosmtplib", "XOAUTH2", "tls"),
    "postfix": postfix(NASTY, ["bob"], "tls"),
    "postfix-late": postfix(THREE_LATE, ["bob", "late", "nobody", "carol"], "unix"),
    "postfix-scram-sha-256": postfix(SHORT, ["bob"], "starttls", "SCRAM-SHA-256"),
    "postfix-smtputf8": postfix(BEYOND._replace(dsn=True), ["jürgen"]),
    "dovecot-bdat": Dialogue("Dovecot", lambda relay: relay.submit(NASTY)),
    "dovecot-bdat-refused": Dialogue("Dovecot", lambda relay: relay.submit(THREE)),
    "nodemailer-late": letter("nodemailer", THREE_LATE, "unix"),
    "nodemailer-no-auth": letter("nodemailer", SHORT, required=True),
    "nodemailer-refused": letter("nodemailer", THREE, "starttls"),
    "nodemailer-wrong-token": login("nodemailer", "XOAUTH2", "starttls", secret="wrong-token"),
}


def seen(events: Iterable[Any]) -> str:
    """The events, by their kinds; the pieces of one message are one."""
    kinds = [type(event).__name__ for event in events]
    piece = MessageData.__name__
    pairs = zip(kinds, [None, *kinds], strict=False)
    return " ".join(kind for kind, before in pairs if not kind == before == piece)


def delivered(messages: Iterable[ReceivedMessage]) -> list[str]:
    """Who wrote to whom, and how much."""
    return [
        f"{len(message.data)} octets from {message.sender} to {', '.join(message.recipients)}"
        for message in messages
    ]


def text_of(version: str, recording: Recording, messages: list[ReceivedMessage]) -> str:
    """The transcript of a session."""
    head = [f"client: {version}", f"events: {seen(recording.events)}"]
    head += [f"delivered: {line}" for line in delivered(messages)]
    sides: dict[str, Any] = {"C": "client", "S": "server", "TLS": None}
    script = Script.from_octets((sides[who], octets) for who, octets in recording.steps)
    return "".join(f"# {line}\n" for line in head) + f"{script}"
