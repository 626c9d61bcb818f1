"""Shared by the tests of `smtp-proto check`: how it is run, what it says, and a server of few words."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from peers import SECONDS

from smtp_proto.ops import Session
from smtp_proto.sasl import CheckPassword
from smtp_transports.cli import main
from smtp_transports.handlers import Mailbox

Capture = pytest.CaptureFixture[str]

# As fast as it goes, and nothing random, which has tests of its own.
QUICK = ["--rate", "inf", "--examples", "0"]
TO = ["--to", "grace@mx.example"]
PASSWORD = "correct horse"


def check(place: str, *options: str) -> int:
    return main(["check", place, *QUICK, *options])


def at(server: Any) -> str:
    return f"localhost:{server.address[1]}"


def document(capsys: Capture) -> dict[str, Any]:
    out, err = capsys.readouterr()
    assert err == ""
    read: dict[str, Any] = json.loads(out)
    return read


def broken(read: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {one["rule"]: one for one in read["verdicts"] if one["finding"] == "broken"}


class Guarded(Mailbox):
    """Knows Ada."""

    def authenticate(self, session: Session, question: object) -> object:
        return isinstance(question, CheckPassword) and (question.user, question.password) == ("ada", PASSWORD)


class Tiny:
    """A server of few words: what it says to each line, None to hang up. It keeps what it heard."""

    def __init__(
        self, answer: Callable[[bytes], bytes | None], greeting: bytes = b"220 mx.example\r\n"
    ) -> None:
        self._answer = answer
        self._greeting = greeting
        self.lines: list[bytes] = []
        self.connections = 0

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Where it listens, one connection after the other."""
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            pool.submit(self._accept, listener)
            try:
                yield f"127.0.0.1:{listener.getsockname()[1]}"
            finally:
                listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                self.connections += 1
                with sock, suppress(OSError):
                    sock.settimeout(SECONDS)
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        sock.sendall(self._greeting)
        for line in sock.makefile("rb"):
            self.lines.append(line)
            said = self._answer(line)
            if said is None:
                return
            sock.sendall(said)


def yes(line: bytes) -> bytes | None:
    """Agrees to all."""
    return None if line.upper().startswith(b"QUIT") else b"250 mx.example\r\n"
