"""A server in memory for the client's operations: it answers by verb, and dies where it is told to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from helpers import drive

from smtp_proto import ClientConnection
from smtp_proto.ops import greet, hello

HELLO = ("250-mx.example", "250-SIZE 100000", "250-8BITMIME", "250-DSN", "250-SMTPUTF8")
LOCK_STEP = "\r\n".join((*HELLO, "250 HELP"))
PIPELINING = "\r\n".join((*HELLO, "250 PIPELINING"))
ROOMY = ("250-mx.example", "250-SIZE 1000000", "250-8BITMIME", "250-BINARYMIME")
CHUNKING = "\r\n".join((*ROOMY, "250-CHUNKING", "250 PIPELINING"))
LOCK_STEP_CHUNKING = "\r\n".join((*ROOMY, "250 CHUNKING"))

Answer = str | OSError | None
"""What a server says to a command, without the last CRLF; None: it closes; an error: so reading fails."""


class Server:
    """A server in memory that answers at once, and remembers what it heard.

    `answers`: by verb (the verdict's is ".", after the last chunk too), one for all such commands, or a
    list for one after the other. `says_at_most` and `hears_at_most`: octets after which the connection
    dies, in the manner of `ending`; `last_words` can still be read after writing failed.
    """

    ANSWERS: Mapping[str, Answer] = {
        "EHLO": PIPELINING,
        "LHLO": PIPELINING,
        "HELO": "250 mx.example",
        "STARTTLS": "220 go",
        "MAIL": "250 ok",
        "RCPT": "250 ok",
        "DATA": "354 go",
        "BDAT": "250 chunk",
        ".": "250 taken",
        "RSET": "250 ok",
        "QUIT": "221 bye",
    }

    def __init__(
        self,
        answers: Mapping[str, Answer | list[Answer]] | None = None,
        *,
        greeting: Answer = "220 mx.example",
        says_at_most: int | None = None,
        hears_at_most: int | None = None,
        ending: OSError | bytes = b"",
        last_words: bytes = b"",
        tls_fails: bool = False,
    ) -> None:
        self.heard: list[bytes] = []
        """Commands without CRLF, and bodies as they came."""
        self.writes: list[bytes] = []
        self.said = b""
        self._answers = {
            verb: iter(answer) if isinstance(answer, list) else answer
            for verb, answer in {**self.ANSWERS, **(answers or {})}.items()
        }
        self._to_say: list[bytes | OSError] = []
        self._left_to_say = says_at_most
        self._left_to_hear = hears_at_most
        self._ending = ending
        self._last_words = last_words
        self._tls_fails = tls_fails
        self._buffer = b""
        self._in_body = False
        self._chunk: tuple[int, Answer] | None = None  # its octets, and the answer to it
        self._gone = False
        self._say(greeting)

    @property
    def verbs(self) -> list[str]:
        return [line.split()[0].decode("latin-1") for line in self.heard if line.split()]

    @property
    def bodies(self) -> list[bytes]:
        """The messages that were complete; a lone dot is none."""
        return [line for line in self.heard if line.endswith(b"\r\n") and line != b".\r\n"]

    def send(self, data: bytes) -> None:
        self.writes.append(data)
        if self._left_to_hear is not None:
            heard, self._left_to_hear = data[: self._left_to_hear], max(0, self._left_to_hear - len(data))
            self._listen(heard)
            if heard != data:
                self._to_say.append(self._last_words)
                self._gone = True
                raise BrokenPipeError("broken pipe")
        else:
            self._listen(data)

    def receive(self) -> bytes:
        if not self._to_say:
            assert self._gone, "both sides wait"
            return self._end()
        said = self._to_say.pop(0)
        if isinstance(said, OSError):
            raise said
        if self._left_to_say is None:
            return said
        said, self._left_to_say = said[: self._left_to_say], self._left_to_say - len(said)
        if self._left_to_say < 0:
            self._to_say.clear()
            self._left_to_say, self._gone = 0, True
        return said or self._end()

    def start_tls(self) -> None:
        assert not self._to_say
        assert not self._buffer
        self.heard.append(b"<TLS>")
        if self._tls_fails:
            raise OSError("no common cipher")

    def _end(self) -> bytes:
        if isinstance(self._ending, OSError):
            raise self._ending
        return self._ending

    def _listen(self, data: bytes) -> None:
        self._buffer += data
        while not self._gone:
            if self._chunk is not None:
                size, answer = self._chunk
                if len(self._buffer) < size:
                    return
                self.heard.append(self._buffer[:size])
                self._buffer = self._buffer[size:]
                self._chunk = None
                self._say(answer)
                continue
            match = re.match(rb"\.\r\n|(?s:.*?)\r\n\.\r\n" if self._in_body else rb".*?\r\n", self._buffer)
            if match is None:
                return
            self._buffer = self._buffer[match.end() :]
            if self._in_body:
                self._in_body = False
                self.heard.append(match[0])
                self._say(self._answer("."))
            else:
                self.heard.append(match[0][:-2])
                verb, *words = match[0].split()
                if verb == b"BDAT":
                    self._chunk = int(words[0]), self._answer("." if words[1:] else "BDAT")
                    continue
                answer = self._answer(verb.decode())
                self._in_body = isinstance(answer, str) and answer.startswith("354")
                self._say(answer)

    def _answer(self, verb: str) -> Answer:
        answer = self._answers[verb]
        return answer if isinstance(answer, str | OSError | None) else next(answer)

    def _say(self, answer: Answer) -> None:
        if isinstance(answer, str):
            octets = answer.encode("utf-8", "surrogateescape") + b"\r\n"
            self.said += octets
            self._to_say.append(octets)
            self._gone = answer.startswith(("421", "221"))
        else:
            self._to_say.append(b"" if answer is None else answer)
            self._gone = True


def connected(server: Server, **options: Any) -> ClientConnection:
    """A client that has greeted and introduced itself."""
    conn = ClientConnection(**options)
    drive(greet(conn), conn, server)
    drive(hello(conn, "client.example"), conn, server)
    server.heard.clear()
    server.writes.clear()
    return conn
