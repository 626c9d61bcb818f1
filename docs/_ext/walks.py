"""What both ends of the core make of a dialogue, line by line: what the explorer has to show.

Each end hears the other's lines and says its own, until it raises; from there on it is not asked any more.
Limits are off, and so is what is said of the content of messages: the explorer does not judge these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from hiding import Hider
from smtp_proto import (
    ClientConnection,
    Command,
    EndOfMessage,
    Limits,
    MalformedCommand,
    MessageData,
    ProtocolError,
    RemoteProtocolError,
    Reply,
    ServerConnection,
)
from smtp_proto._connection import Connection, Signal
from smtp_proto._readers import ReplyReader, read_auth_response, read_command
from smtp_proto._receive_buffer import ReceiveBuffer
from smtp_proto._state import State
from smtp_proto.testing import Script
from smtp_proto.testing import Step as Line

_MUCH = 10**9
_LIMITS = Limits(
    reply_line=_MUCH,
    reply_lines=_MUCH,
    reply_octets=_MUCH,
    command_line=_MUCH,
    auth_line=_MUCH,
    parameters=_MUCH,
    message_size=None,
    refused_octets=_MUCH,
    recipients=_MUCH,
    errors=_MUCH,
    auth_challenges=_MUCH,
    text_line=None,
)


@dataclass
class Seen:
    """What one end has made of one line: where it is then, what it has heard, what it raised."""

    state: str
    ahead: str
    """A client's state if all that is outstanding is answered well."""
    outstanding: int
    """To how many commands a client waits for the answer; 1 if a server has to give one."""
    heard: list[str] = field(default_factory=list)
    error: str | None = None
    asked: bool = True
    """False after an error: then nothing is said or heard any more."""
    features: list[str] = field(default_factory=list)
    """The keywords of what is offered, as far as this end knows."""


@dataclass
class Step:
    """One line, as it may be shown, and what both ends make of it."""

    line: str
    client: Seen
    server: Seen


def walk(script: Script, *, lmtp: bool) -> list[dict[str, Any]]:
    """All steps of a dialogue, as what JSON can hold."""
    client, server, hider = _Client(lmtp=lmtp), _Server(lmtp=lmtp), Hider()
    return [asdict(Step(_shown(line, hider), client.step(line), server.step(line))) for line in script.steps]


def _shown(line: Line, hider: Hider) -> str:
    text = str(line)
    if line.by is None or not line.octets:
        return text
    hide = hider.client if line.by == "client" else hider.server
    return text[:3] + hide(text[3:]) if len(text) > 3 else text


class _End:
    """One end on its way through a dialogue."""

    conn: Connection

    def __init__(self) -> None:
        self._is_over = False

    def step(self, line: Line) -> Seen:
        """Say or hear this line."""
        heard: list[str] = []
        error = None
        asked = not self._is_over
        if asked:
            try:
                for event in self._take(line):
                    if event != "MessageData" or heard[-1:] != ["MessageData"]:
                        heard.append(event)
            except ProtocolError as exc:
                self._is_over = True
                error = f"{type(exc).__name__}: {exc}{self._reply_to(exc)}"
            self.conn.quota.limits = {}  # another thing that is not judged
        return Seen(*self._where(), heard, error, asked, list(self.conn.features))

    def _take(self, line: Line) -> Iterator[str]:
        """Do what the line asks; the events, as they are shown."""
        raise NotImplementedError

    def _where(self) -> tuple[str, str, int]:
        raise NotImplementedError

    def _reply_to(self, exc: ProtocolError) -> str:
        """What a server has to say to a fault of the client's."""
        return ""


class _Client(_End):
    def __init__(self, *, lmtp: bool) -> None:
        super().__init__()
        self.conn: ClientConnection = ClientConnection(lmtp=lmtp, limits=_LIMITS, allow_nul=True)
        self._said = ReceiveBuffer()

    def _where(self) -> tuple[str, str, int]:
        return self.conn._machine.state.value, self.conn.state.value, self.conn.outstanding

    def _take(self, line: Line) -> Iterator[str]:
        if line.by == "client":
            self._say(line.octets)
            return
        if line.by is None:
            self.conn.tls_started()
        else:
            self.conn.receive_data(line.octets)
        while not isinstance(event := self.conn.next_event(), Signal):
            assert isinstance(event, Reply)
            yield _name_reply(event)

    def _say(self, octets: bytes) -> None:
        """Say the commands that are complete with these octets."""
        self._said.append(octets)
        while (command := self._next_command()) is not None:
            self.conn.send(command)
            self.conn.data_to_send()

    def _next_command(self) -> Command | None:
        body = self.conn._body
        if body is None:
            read = read_auth_response if self.conn.state is State.AUTH else _read
            line = self._said.read_line(_MUCH, bare_lf=False)
            return None if line is None else read(line)
        missing = getattr(body, "missing", None)
        if missing is not None:
            octets = self._said.take(missing)
            return MessageData(data=octets) if octets else EndOfMessage() if not missing else None
        line = self._said.read_line(_MUCH, bare_lf=False)
        if line is None:
            return None
        return EndOfMessage() if line == b"." else MessageData(data=line.removeprefix(b".") + b"\r\n")


def _read(line: bytes) -> Command:
    return read_command(line, _LIMITS)


def _name_reply(reply: Reply) -> str:
    """What a client has heard, in few words."""
    to = f" to {type(reply.to).__name__}" if reply.to else ""
    recipient = f" for {reply.recipient}" if reply.recipient is not None else ""
    return f"{type(reply).__name__} {reply.code}{to}{recipient}"


class _Server(_End):
    def __init__(self, *, lmtp: bool) -> None:
        super().__init__()
        self.conn: ServerConnection = ServerConnection(lmtp=lmtp, limits=_LIMITS)
        self._said = ReceiveBuffer()
        self._replies = ReplyReader(_LIMITS, bare_lf=True)

    def _where(self) -> tuple[str, str, int]:
        state = self.conn.state.value
        return state, state, int(self.conn._answering is not None)

    def _take(self, line: Line) -> Iterator[str]:
        if line.by is None:
            self.conn.tls_started()
        elif line.by == "client":
            self.conn.receive_data(line.octets)
        else:
            self._said.append(line.octets)
            yield from self._say()
        yield from self._hear()

    def _reply_to(self, exc: ProtocolError) -> str:
        reply = exc.reply if isinstance(exc, RemoteProtocolError) else None
        return f"; the reply to send: {reply}" if reply else ""

    def _say(self) -> Iterator[str]:
        """Say the replies that are complete; between them hear what waited for them."""
        while (reply := self._replies.read(self._said, type(self.conn._answering))) is not None:
            self.conn.send(reply)
            self.conn.data_to_send()
            yield from self._hear()

    def _hear(self) -> Iterator[str]:
        while not isinstance(event := self.conn.next_event(), Signal):
            yield _name_command(event)


def _name_command(command: Command) -> str:
    """What a server has heard, in few words."""
    name = type(command).__name__
    if isinstance(command, MalformedCommand):
        return f"{name}: {command.reply}"
    refusal = getattr(command, "refusal", None)
    return f"{name}, to be refused: {refusal}" if refusal else name
