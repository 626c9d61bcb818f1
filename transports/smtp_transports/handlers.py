"""What a server does with mail: the base class of handlers, and some that are ready to use."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import IO, TYPE_CHECKING, NamedTuple

from smtp_proto import Mail, Path, Rcpt, Reply
from smtp_proto.ops import Session

if TYPE_CHECKING:
    from smtp_proto.sasl import Identity, Question

__all__ = ["Collector", "Discard", "Handler", "Mailbox", "Maildir", "Message", "Print"]

_log = logging.getLogger("smtp_transports")


def printable(text: str) -> str:
    """`text` with what might move a terminal's cursor, or worse, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Handler:
    """Answers the questions of a server: override what you want to decide.

    A method returns None to go on, or the `Reply` to give instead. Each gets the `Session`: `peer`,
    `proxy`, `domain`, `tls`, `mail`, `recipients`, and `state`, a dict of your own. An exception becomes a
    451. Sessions run at the same time: what they share you have to guard.
    """

    def connect(self, session: Session) -> Reply | None:
        """A client connected: refuse it, or let it be greeted."""
        return None

    def hello(self, session: Session, domain: str) -> Reply | None:
        """The client introduced itself as `domain`."""
        return None

    def mail(self, session: Session, command: Mail) -> Reply | None:
        """The client wants to send mail from `command.reverse_path`."""
        return None

    def rcpt(self, session: Session, command: Rcpt) -> Reply | None:
        """The client names a recipient, `command.forward_path`."""
        return None

    def data(self, session: Session) -> Reply | None:
        """The client is about to send the message: the last chance to refuse without reading it."""
        return None

    def chunk(self, session: Session, data: bytes) -> Reply | None:
        """A piece of the message. A `Reply` here refuses the message when it is complete."""
        return None

    def message(self, session: Session) -> Reply | Sequence[Reply | None] | None:
        """The message is complete: None takes it, with 250. Where `session.per_recipient` is true, a list may
        answer for each of `session.recipients`.
        """
        return None

    def reset(self, session: Session) -> Reply | None:
        """The transaction is over without a message: drop what you kept."""
        return None

    def verify(self, session: Session, argument: str) -> Reply | None:
        """VRFY: whether `argument` is somebody here. None says 252, that a message would be tried."""
        return None

    def expand(self, session: Session, argument: str) -> Reply | None:
        """EXPN: who is on the list `argument`. None says 502."""
        return None

    def help(self, session: Session, topic: str | None) -> Reply | None:
        """HELP, about `topic` if it was named. None says 214."""
        return None

    def etrn(self, session: Session, node: str) -> Reply | None:
        """ETRN: somebody asks for the mail that waits for `node`. None says 458, that none can be sent."""
        return None

    def xclient(self, session: Session, attributes: Mapping[str, str]) -> Reply | None:
        """XCLIENT: the peer says for whom it speaks. It is refused unless you answer 2yz."""
        return None

    def xforward(self, session: Session, attributes: Mapping[str, str]) -> Reply | None:
        """XFORWARD: the peer says whose message it passes on. It is refused unless you answer 2yz."""
        return None

    def authenticate(self, session: Session, question: Question) -> object:
        """AUTH: answer a `smtp_proto.sasl.Question`, such as `CheckPassword`. None is a no."""
        return None

    def authorize(self, session: Session, identity: Identity) -> bool:
        """AUTH: whether `identity.user`, who is authenticated, may act as `identity.authorize_as`."""
        return False

    def error(self, session: Session, exception: Exception) -> None:
        """One of these methods raised; the default logs it to the logger `smtp_transports`."""
        _log.error("a handler failed", exc_info=exception)

    def close(self, session: Session) -> None:
        """The session is over."""


class Message(NamedTuple):
    """A message as it was received."""

    sender: Path
    """The reverse-path, a str; empty for the null path."""
    recipients: tuple[Path, ...]
    """Those that were taken, each a str."""
    data: bytes
    """Its octets; lines end in CRLF."""


class Collector(Handler):
    """Collects the pieces of each message and hands it on whole to `deliver`."""

    def deliver(self, session: Session, message: Message) -> Reply | Sequence[Reply | None] | None:
        """Do something with the message; the answer is that of `Handler.message`. To be overridden."""
        return None

    def chunk(self, session: Session, data: bytes) -> Reply | None:
        """Keep the piece."""
        session.state.setdefault("pieces", []).append(data)
        return None

    def reset(self, session: Session) -> Reply | None:
        """Drop the pieces."""
        session.state.pop("pieces", None)
        return None

    def message(self, session: Session) -> Reply | Sequence[Reply | None] | None:
        """Put the pieces together."""
        pieces = session.state.pop("pieces", [])
        sender = session.mail.reverse_path if session.mail else Path("")
        recipients = tuple(rcpt.forward_path for rcpt in session.recipients)
        return self.deliver(session, Message(sender, recipients, b"".join(pieces)))


class Mailbox(Collector):
    """Keeps every message in memory: `messages`, in the order of arrival."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def deliver(self, session: Session, message: Message) -> None:
        """Append it."""
        self.messages.append(message)


class Discard(Handler):
    """Takes every message and forgets it."""


class Print(Collector):
    """Prints every message to `file`, or standard output, its line ends made the system's own; control
    characters are escaped.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()

    def deliver(self, session: Session, message: Message) -> None:
        """Print it."""
        lines = [f"From <{message.sender}> to {', '.join(message.recipients)}"]
        text = message.data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        lines += text.rstrip("\n").split("\n")
        text = "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)
        with self._lock:
            print(text, end="\n\n", file=self._file or sys.stdout, flush=True)


class Maildir(Collector):
    """Delivers every message once into the Maildir `directory`, which is made if it is not there, with
    Return-Path and Delivered-To on top.
    """

    def __init__(self, directory: str | FilePath) -> None:
        from mailbox import Maildir as _Maildir  # brings all of `email`

        for folder in ("tmp", "new", "cur"):
            FilePath(directory, folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._maildir = _Maildir(directory)
        self._lock = threading.Lock()

    def deliver(self, session: Session, message: Message) -> None:
        """Write it to `tmp` and move it to `new`."""
        top = f"Return-Path: <{message.sender}>\n"
        top += "".join(f"Delivered-To: {recipient}\n" for recipient in message.recipients)
        with self._lock:
            self._maildir.add(top.encode() + message.data.replace(b"\r\n", b"\n"))
