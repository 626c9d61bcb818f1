"""Runs of the core that are drawn: both ends in memory, with the operations that any transport drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from smtp_proto import ClientConnection, Features, Reply, ServerConnection
from smtp_proto.ops import (
    DEFAULT_OFFER,
    Authenticator,
    Decide,
    Op,
    Session,
    authenticate,
    greet,
    hello,
    quit,
    send_message,
    send_messages,
    serve,
)
from smtp_proto.sasl import Context, Credentials, StoredKeys
from smtp_proto.testing import Pair, Role

Writes = Sequence[tuple[Role | None, bytes]]

_SENDER, _BOB, _CAROL = "ada@example.org", "bob@example.com", "carol@example.com"
_BODY = b"Subject: hello\r\n\r\nIt works.\r\n"
_KEYS = StoredKeys.derive("a secret", b"salt of the drawing", 4096)
_FULL = Reply(code=452, enhanced="4.2.2", text="carol's mailbox is full")
_NONCE = "of-the-documentation"


@dataclass(frozen=True)
class Run:
    """What is run, and what is to be seen in it. Drawn is what `shown` says; a session is around it."""

    title: str
    shown: Callable[[ClientConnection], Op[object]]
    offer: Features = DEFAULT_OFFER
    lmtp: bool = False
    starttls: bool = False
    answers: dict[str, Callable[..., object]] = field(default_factory=dict)
    """What the server's application says, by the name of the hook; nothing else than the default."""
    introduces: bool = True
    """Whether the client has said EHLO before."""

    def writes(self) -> Writes:
        """What both ends write while `shown` runs, each write by itself."""
        pair, shown = self._play()
        return pair.said[shown]

    def transcript(self) -> str:
        """All of the session, as the text of a script."""
        return self._play()[0].transcript

    def _play(self) -> tuple[Pair, slice]:
        """The session, and which of its writes are to be shown."""
        client, server = ClientConnection(lmtp=self.lmtp), ServerConnection(lmtp=self.lmtp)
        pair = Pair(client, server)
        marks: list[int] = []

        def session() -> Op[None]:
            yield from greet(client)
            if self.introduces:
                yield from hello(client, "client.example")
            marks.append(len(pair.said))
            yield from self.shown(client)
            marks.append(len(pair.said))
            yield from quit(client)

        logs_in = "authenticate" in self.answers
        serving = serve(
            server,
            Session(server),
            domain="mx.example",
            offer=self.offer,
            starttls=self.starttls,
            authenticator=Authenticator(["SCRAM-SHA-256"], _context) if logs_in else None,
        )
        pair.run(session(), serving, server_ask=self._answer)
        return pair, slice(*marks)

    def _answer(self, question: Any) -> object:
        assert isinstance(question, Decide)
        answer = self.answers.get(question.hook)
        return answer(*question.arguments) if answer else None


def _context() -> Context:
    return Context(nonce=_NONCE, server_secret=bytes(16))


def _send(*recipients: str) -> Callable[[ClientConnection], Op[object]]:
    return lambda conn: send_message(conn, _SENDER, recipients, _BODY)


def _send_three(conn: ClientConnection) -> Op[object]:
    return send_messages(conn, [(_SENDER, [recipient], _BODY) for recipient in (_BOB, _CAROL, _BOB)])


def _only_bob(command: Any) -> Reply | None:
    if command.forward_path == _BOB:
        return None
    return Reply(code=550, enhanced="5.1.1", text="no such user")


def _log_in(conn: ClientConnection) -> Op[object]:
    return authenticate(conn, Credentials("ada", password="a secret"), _context())


def _offer(*keywords: str) -> Features:
    return Features({keyword: DEFAULT_OFFER[keyword] for keyword in keywords})


RUNS: dict[str, Run] = {
    "one-by-one": Run("Without PIPELINING", _send(_BOB, _CAROL), offer=_offer("ENHANCEDSTATUSCODES")),
    "pipelining": Run("PIPELINING", _send(_BOB, _CAROL), offer=_offer("PIPELINING", "ENHANCEDSTATUSCODES")),
    "refused": Run(
        "PIPELINING, and everybody refused",
        _send(_CAROL),
        offer=_offer("PIPELINING", "ENHANCEDSTATUSCODES"),
        answers={"rcpt": _only_bob},
    ),
    "one-flight": Run("CHUNKING and PIPELINING: one flight", _send(_BOB, _CAROL)),
    "back-to-back": Run("Three messages, back to back", _send_three),
    "starttls": Run(
        "STARTTLS",
        lambda conn: hello(conn, "client.example", starttls="required"),
        offer=_offer("PIPELINING"),
        starttls=True,
        introduces=False,
    ),
    "auth": Run("AUTH: challenge and response", _log_in, answers={"authenticate": lambda question: _KEYS}),
    "lmtp": Run(
        "LMTP: a verdict for each recipient",
        _send(_BOB, _CAROL),
        offer=_offer("PIPELINING", "ENHANCEDSTATUSCODES"),
        lmtp=True,
        answers={"message": lambda: [None, _FULL]},
    ),
}
