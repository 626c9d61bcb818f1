"""The mail that is sent, and what is said around it."""

from __future__ import annotations

import re
from functools import cache

SENDER = "sender@client.example"
LINE = b"The quick brown fox jumps over the lazy dog".ljust(78, b"-") + b"\r\n"
HEADER = (
    b"From: sender@client.example\r\nTo: recipient@mx.example\r\nSubject: a message for the benchmark\r\n\r\n"
)

GREETING = b"220 mx.example ESMTP\r\n"
TAKEN = b"250 2.0.0 Taken\r\n"
EXTENSIONS = ("PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "SIZE 104857600")
HELLO = "\r\n".join(["250-mx.example", *(f"250-{line}" for line in EXTENSIONS), "250 HELP", ""]).encode()
REPLIES = {
    b"EHLO": HELLO,
    b"HELO": b"250 mx.example\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"DATA": b"354 Go on\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
FINAL = re.compile(rb"(?m)^\d\d\d(?!-)[^\n]*\n")
"""The last line of a reply."""


@cache
def message(size: int) -> bytes:
    """A message of so many octets, in lines of 78 columns."""
    lines, rest = divmod(size - len(HEADER) - 2, len(LINE))
    return HEADER + LINE * lines + b"x" * rest + b"\r\n"


def recipients(count: int) -> list[str]:
    return [f"recipient{number}@mx.example" for number in range(count)]


def envelope(count: int) -> bytes:
    """MAIL and RCPT, as a client says them."""
    lines = [f"MAIL FROM:<{SENDER}>", *(f"RCPT TO:<{name}>" for name in recipients(count)), ""]
    return "\r\n".join(lines).encode()


class Dialogue:
    """A server that knows the answers and checks nothing."""

    def __init__(self) -> None:
        self.rest = b""
        self.in_body = False
        self.skip = 0  # octets of a chunk that are still to come
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        """What to answer to these octets."""
        if self.rest:
            data = self.rest + data
        answer, at, end = b"", 0, len(data)
        while at < end:
            if self.skip:
                step = min(self.skip, end - at)
                at, self.skip = at + step, self.skip - step
                if not self.skip:
                    answer += TAKEN
                continue
            found = data.find(b"\r\n.\r\n" if self.in_body else b"\r\n", at)
            if found < 0:
                at = max(at, end - 4) if self.in_body else at
                break
            if self.in_body:
                at, self.in_body = found + 5, False
                answer += TAKEN
                continue
            verb, line, at = data[at : at + 4].upper(), data[at:found], found + 2
            if verb == b"BDAT":
                self.skip = int(line.split()[1])
            else:
                answer += REPLIES[verb]
                self.in_body = verb == b"DATA"
                self.is_over = verb == b"QUIT"
        self.rest = data[at:]
        return answer


MIB = 2**20
PIECE = 65536
BODIES = {
    "78 columns": LINE * (MIB // 80),
    "1 % dots": (LINE + b"." + LINE[1:]) * (MIB // 160),
    "lines of 2": b"ab\r\n" * (MIB // 4),
    "all dots": b".\r\n" * (MIB // 3),
}
"""A MiB of each kind of text."""


def body(kind: str, size: int) -> bytes:
    """So many octets of this kind, in whole lines."""
    text = BODIES[kind]
    return text * (size // MIB) if size >= MIB else text[: text.rindex(b"\n", 0, size) + 1]


def cut(octets: bytes) -> list[bytes]:
    """In pieces as they are read from a socket."""
    return [octets[at : at + PIECE] for at in range(0, len(octets), PIECE)]
