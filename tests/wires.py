"""A server in memory for blocking clients: a socket that answers at once, and remembers what it heard.

It takes the place of the `socket` in a module, so that the standard library's smtplib and our own can be led
through the same dialogue.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from unittest.mock import patch

Answer = bytes | None
"""A whole reply with its line ends; None: the server closes and says nothing."""

USUAL: Mapping[str, bytes] = {
    "HELO": b"250 mx.example\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 Go on\r\n",
    ".": b"250 2.0.0 Taken\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "NOOP": b"250 2.0.0 Ok\r\n",
    "VRFY": b"252 2.1.5 Perhaps\r\n",
    "EXPN": b"550 5.1.1 No list\r\n",
    "HELP": b"214 2.0.0 Read the manual\r\n",
    "AUTH": b"235 2.7.0 Ok\r\n",
    "STARTTLS": b"454 4.7.0 Not now\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}
_DEFAULT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
OUT_OF_ORDER = b"503 5.5.1 Out of order\r\n"


def reply(code: int, *lines: bytes) -> bytes:
    """A reply of these lines."""
    *first, last = lines or (b"Ok",)
    return b"".join(b"%03d-%s\r\n" % (code, line) for line in first) + b"%03d %s\r\n" % (code, last)


@dataclass(frozen=True)
class Script:
    """What a server says. `answers`: by verb (that to a body is "."), one after the other, then the usual
    ones. `closes_after`: how many answers it gives before it closes behind one.

    `careless`: it takes DATA where no recipient was accepted, as RFC 2920, 3.1, lets servers do.
    """

    greeting: Answer = b"220 mx.example ESMTP\r\n"
    offers: Sequence[bytes] = ()
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    closes_after: int | None = None
    careless: bool = False
    lmtp: bool = False

    @property
    def pipelining(self) -> bool:
        return b"PIPELINING" in (offer.upper() for offer in self.offers)


class Server:
    """The server's end of one connection.

    `heard`: what took effect or was refused on its merits, verbs and keywords in upper case. What was out of
    order, and refused for that, is left out: a client that pipelines says it because it cannot know better.
    So is RSET where such a client took the transaction back with a body for nobody. `open`: a transaction is.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.heard: list[bytes] = []
        self.writes: list[bytes] = []
        self.to_say = bytearray()
        self.closed = False
        self._left = {verb: list(answers) for verb, answers in script.answers.items()}
        self._given = 0
        self._buffer = b""
        self._expects = "command"
        self.open = False
        self._recipients = 0
        self._void = False
        self._say(script.greeting)

    def hear(self, data: bytes) -> None:
        """What the client wrote."""
        self.writes.append(data)
        self._buffer += data
        commands = 0
        while not self.closed:
            body = self._expects == "body"
            match = re.match(rb"(?s:|.*?\r\n)\.\r\n" if body else rb"[^\n]*\r\n", self._buffer)
            if match is None:
                return
            self._buffer = self._buffer[match.end() :]
            if body:
                self._end_of_body(match[0])
                continue
            commands += 1
            assert commands == 1 or self.script.pipelining, "a group of commands, and nobody offered that"
            if self._expects == "secret":
                self._auth(match[0][:-2])
            else:
                self._command(match[0][:-2])

    def _command(self, line: bytes) -> None:
        verb = line.split(b" ")[0].upper().decode("latin-1")
        line = _normal(line)
        in_order = {"MAIL": not self.open, "RCPT": self.open, "DATA": self._recipients > 0}.get(verb, True)
        if verb == "DATA" and not in_order and self.script.careless:
            self._void = True
            self._expects = "body"
            self.to_say += USUAL["DATA"]
        elif not in_order:
            self.to_say += OUT_OF_ORDER
        elif verb == "RSET" and self.script.careless and self.script.pipelining:
            self.to_say += USUAL["RSET"]
            self._did(verb, b"250")
        elif verb == "AUTH":
            self._auth(line)
        else:
            self.heard.append(line)
            self._did(verb, self._answer(verb))

    def _did(self, verb: str, code: bytes) -> None:
        positive = code[:1] == b"2"
        if verb in ("EHLO", "LHLO", "HELO", "RSET") and positive:
            self.open, self._recipients = False, 0
        elif verb == "MAIL":
            self.open = positive
        elif verb == "RCPT":
            self._recipients += positive
        elif verb == "DATA" and code == b"354":
            self._expects = "body"
        elif verb == "QUIT":
            self.closed = True

    def _auth(self, line: bytes) -> None:
        self.heard.append(line)
        self._expects = "secret" if self._answer("AUTH") == b"334" else "command"

    def _end_of_body(self, body: bytes) -> None:
        self._expects = "command"
        if self._void:
            self._void = self.open = False
            self.to_say += b"554 5.5.1 No recipients\r\n"
            return
        self.heard.append(body)
        for _ in range(self._recipients if self.script.lmtp else 1):
            self._answer(".")
        self.open, self._recipients = False, 0

    def _answer(self, verb: str) -> bytes:
        if self._left.get(verb):
            answer = self._left[verb].pop(0)
        elif verb in ("EHLO", "LHLO"):
            answer = reply(250, b"mx.example", *self.script.offers)
        else:
            answer = USUAL.get(verb, b"500 5.5.2 What?\r\n")
        self._say(answer)
        self._given += 1
        if self._given == self.script.closes_after:
            self.closed = True
        return answer.rstrip(b"\r\n").rpartition(b"\n")[2][:3] if answer else b""

    def _say(self, answer: Answer) -> None:
        self.to_say += answer or b""
        if answer is None or answer.startswith(b"421"):
            self.closed = True


def _normal(line: bytes) -> bytes:
    """A command with its verb and the names of its parameters in upper case."""
    match = re.fullmatch(rb"(?si)([^ <]*(?: (?:FROM|TO):(?=<))?)(<.*>)?(.*)", line)
    assert match
    head, path, parameters = match.groups()
    if path is None:
        return bytes(head.upper() + parameters)
    return bytes(head.upper()) + path + re.sub(rb"(?<= )[^ =]+", lambda name: name[0].upper(), parameters)


class Socket:
    """The client's end. What is sent is answered at once: a read that finds nothing would wait for ever."""

    makefile = socket.socket.makefile
    family = socket.AF_INET
    type = socket.SOCK_STREAM
    _io_refs = 0

    def __init__(self, server: Server, timeout: float | None = None) -> None:
        self.server = server
        self._timeout = timeout

    def sendall(self, data: bytes) -> None:
        if not self.server.closed:  # the network takes what is sent to who is gone
            self.server.hear(bytes(data))

    def recv(self, size: int, flags: int = 0) -> bytes:
        said = self.server.to_say
        if not said and not self.server.closed:
            raise AssertionError("both sides wait")
        data = bytes(said[:size])
        del said[:size]
        return data

    def recv_into(self, target: memoryview, size: int = 0) -> int:
        data = self.recv(size or len(target))
        target[: len(data)] = data
        return len(data)

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    def setsockopt(self, *option: object) -> None:
        pass

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        pass

    def _decref_socketios(self) -> None:
        pass


class Net:
    """In the place of the `socket` module: each connection leads to a server with the same script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.servers: list[Server] = []
        self.addresses: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def create_connection(self, address: Any, timeout: Any = _DEFAULT, source_address: Any = None) -> Socket:
        self.addresses.append((address, source_address))
        self.servers.append(Server(self.script))
        return Socket(self.servers[-1], None if timeout is _DEFAULT else timeout)

    def getfqdn(self, name: str = "") -> str:
        return "client.example"

    @property
    def heard(self) -> list[list[bytes]]:
        """What took effect, for each connection."""
        return [server.heard for server in self.servers]


@contextmanager
def net(module: ModuleType, script: Script) -> Iterator[Net]:
    """`module` connects to such servers only."""
    there = Net(script)
    with patch.object(module, "socket", there):
        yield there
