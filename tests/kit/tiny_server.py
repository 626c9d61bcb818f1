"""A tiny server in memory, by hand: for the tests of what judges servers, and for no mail.

It has nothing of the library, so that both cannot be wrong in the same way. Each thing that a broken server does
otherwise is a method, or a word, of its own. It never waits: who listens where nothing is to be heard gets
`TimeoutError`.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any, ClassVar

CREDENTIALS = ("ada", "a secret")
REFUSED = b"eve@mx.example"
SIZE = 4000

_DOMAIN = rb"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[!-Z^-~]+\])"
_LOCAL = rb"(?:\"(?:[^\"\\]|\\.)*\"|[^\"<>@ ,:]+)"
_ROUTE = rb"(?:@%b(?:,@%b)*:)?" % (_DOMAIN, _DOMAIN)
_PATH = rb"<(%b(%b@%b)|postmaster|)>((?: [A-Z0-9-]+(?:=[!-<>-~]+)?)*) *" % (_ROUTE, _LOCAL, _DOMAIN)
_MAIL = re.compile(rb"FROM:" + _PATH, re.IGNORECASE)
_RCPT = re.compile(rb"TO:" + _PATH, re.IGNORECASE)
_BDAT = re.compile(rb"([0-9]+)( LAST)? *", re.IGNORECASE)


class TinyServer:
    """One session. `arrived` gets the messages."""

    lmtp: ClassVar[bool] = False
    size: ClassVar[int] = SIZE
    offer: ClassVar[tuple[bytes, ...]] = (
        *(b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"CHUNKING", b"BINARYMIME", b"ENHANCEDSTATUSCODES"),
        *(b"SIZE %d" % SIZE, b"STARTTLS", b"AUTH LOGIN PLAIN"),
    )
    line_end: ClassVar[bytes] = b"\r\n"
    end_of_data: ClassVar[re.Pattern[bytes]] = re.compile(rb"(?:\A|\r\n)\.\r\n")
    end_of_command: ClassVar[re.Pattern[bytes]] = re.compile(rb"\r\n")
    neutral: ClassVar[frozenset[bytes]] = frozenset()
    no_argument: ClassVar[frozenset[bytes]] = frozenset({b"DATA", b"RSET", b"QUIT", b"STARTTLS"})

    def __init__(self, arrived: list[bytes]) -> None:
        self.arrived = arrived
        self.came = b""
        self.out = b""
        self.reads: Any = self.command
        self.closed = self.tls = self.shakes = False
        self.user = b""
        self.login = b""
        self.missing = 0
        self.greeted = False
        self.clear()
        self.say(220, "mx.example LMTP" if self.lmtp else "mx.example ESMTP")

    # A stream, as the check has it

    def send_all(self, data: bytes, timeout: float | None) -> None:
        self.came += data
        while not (self.closed or self.shakes) and self.reads():
            pass

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        if not self.out and not self.closed:
            raise TimeoutError
        data, self.out = self.out[:max_octets], self.out[max_octets:]
        return data

    def start_tls(self, timeout: float | None) -> None:
        if not self.shakes or self.out:
            raise OSError("no handshake here")
        self.shakes, self.tls = False, True
        self.forget_the_clear()

    def close(self) -> None:
        self.closed = True

    # What it says

    def say(self, code: int, *lines: str, enhanced: str = "") -> None:
        """A reply."""
        prefix = f"{self.enhanced(code, enhanced)} " if enhanced else ""
        for number, text in enumerate(lines, 1):
            self.write(f"{code}{' ' if number == len(lines) else '-'}{prefix}{text}".encode())

    def enhanced(self, code: int, detail: str) -> str:
        return f"{code // 100}.{detail}"

    def write(self, line: bytes) -> None:
        self.out += line + self.line_end

    def ok(self, detail: str = "0.0") -> None:
        self.say(250, "ok", enhanced=detail)

    def no(self, code: int, detail: str = "5.1") -> None:
        self.say(code, "no", enhanced=detail)

    # Commands

    def command(self) -> bool:
        end = self.end_of_command.search(self.came)
        if end is None:
            return False
        line, self.came = self.came[: end.start()], self.came[end.end() :]
        verb, _, argument = line.partition(b" ")
        self.run(self.verb(verb), argument)
        return True

    def verb(self, verb: bytes) -> bytes:
        return verb.upper()

    def run(self, verb: bytes, argument: bytes) -> None:
        method = getattr(self, f"do_{verb.decode('latin-1').lower()}", None)
        if verb in self.no_argument and argument.strip():
            self.no(501, "5.4")
        elif method is None or verb in ((b"EHLO", b"HELO") if self.lmtp else (b"LHLO",)):
            self.unknown()
        else:
            method(argument)

    def unknown(self) -> None:
        self.no(500)

    def do_ehlo(self, argument: bytes) -> None:
        self.clear_at_hello()
        self.greeted = True
        offer = (word.decode() for word in self.offer if word != b"STARTTLS" or not self.tls)
        self.say(250, "mx.example", *offer)

    do_lhlo = do_ehlo

    def do_helo(self, argument: bytes) -> None:
        self.clear_at_hello()
        self.say(250, "mx.example")

    def do_noop(self, argument: bytes) -> None:
        self.ok()

    def do_rset(self, argument: bytes) -> None:
        self.clear_at_rset()
        self.ok()

    def do_help(self, argument: bytes) -> None:
        self.say(214, "see RFC 5321", enhanced="0.0")

    def do_vrfy(self, argument: bytes) -> None:
        self.say(252, "who knows", enhanced="5.0")

    def do_quit(self, argument: bytes) -> None:
        self.say(221, "bye", enhanced="0.0")
        self.closed = True

    # The transaction

    def clear(self) -> None:
        self.mail: tuple[bytes, list[bytes]] | None = None
        self.recipients: list[bytes] = []
        self.refused = 0
        self.body = b""
        self.chunks = self.failed = False

    def clear_at_hello(self) -> None:
        self.clear()

    def clear_at_rset(self) -> None:
        self.clear()

    def clear_at_end(self) -> None:
        self.clear()

    def do_mail(self, argument: bytes) -> None:
        match = _MAIL.fullmatch(argument)
        code = 501 if match is None else self.refuse_mail(match)
        if code or match is None:
            self.no(code)
        else:
            self.mail = match[1], match[3].upper().split()
            self.ok("1.0")

    def refuse_mail(self, match: re.Match[bytes]) -> int:
        """With which code; 0 if not."""
        if self.mail:
            return 503
        parameters = dict(word.upper().partition(b"=")[::2] for word in match[3].split())
        size, body = parameters.pop(b"SIZE", b"0"), parameters.pop(b"BODY", b"7BIT")
        utf8 = parameters.pop(b"SMTPUTF8", None)
        if parameters:
            return 555
        if not size.isdigit() or body not in (b"7BIT", b"8BITMIME", b"BINARYMIME"):
            return 501
        if self.is_too_big(int(size)):
            return 552
        return 553 if utf8 is None and not match[1].isascii() else 0

    def is_too_big(self, size: int) -> bool:
        return size > self.size

    def do_rcpt(self, argument: bytes) -> None:
        match = _RCPT.fullmatch(argument)
        if self.mail is None:
            self.no(503)
        elif match is None or not match[1]:
            self.no(501)
        elif match[3].strip():
            self.no(555)
        elif match[2] == REFUSED:
            self.refused += 1
            self.no(550, "1.1")
        else:
            self.recipients.append(match[2] or match[1])
            self.ok("1.5")

    def may_send(self) -> bool:
        return self.mail is not None and len(self.recipients) > 0

    def do_data(self, argument: bytes) -> None:
        binary = self.mail is not None and b"BODY=BINARYMIME" in self.mail[1]
        if not self.may_send() or self.chunks or binary:
            self.no(503)
        else:
            self.say(354, "go on")
            self.reads = self.data

    def data(self) -> bool:
        end = self.end_of_data.search(self.came)
        if end is None:
            return False
        body, self.came = self.came[: end.start()] + b"\r\n", self.came[end.end() :]
        self.reads = self.command
        self.deliver(self.unstuff(body))
        return True

    def unstuff(self, body: bytes) -> bytes:
        return re.sub(rb"(\A|\r\n)\.", rb"\1", body)

    def deliver(self, body: bytes) -> None:
        """A message is complete."""
        count = self.replies_due()
        if len(body) > self.size:
            self.refuse_message(count)
        else:
            self.arrived.append(body)
            for _ in range(count):
                self.ok()
        self.clear_at_end()

    def refuse_message(self, count: int) -> None:
        for _ in range(count):
            self.no(552, "3.4")

    def replies_due(self) -> int:
        return len(self.recipients) if self.lmtp else 1

    # Chunks

    def do_bdat(self, argument: bytes) -> None:
        match = _BDAT.fullmatch(argument)
        if match is None:
            self.no(501)
            self.closed = True
            return
        self.missing, self.is_last = self.chunk_size(int(match[1])), match[2] is not None
        self.is_bad = not self.may_send()
        if not self.is_bad or self.skips_refused():
            self.reads = self.chunk
        else:
            self.no(503)

    def chunk_size(self, size: int) -> int:
        return size

    def skips_refused(self) -> bool:
        return True

    def chunk(self) -> bool:
        if len(self.came) < self.missing:
            return False
        data, self.came = self.came[: self.missing], self.came[self.missing :]
        self.reads = self.command
        if self.is_bad:
            self.no(503)
            return True
        self.body, self.chunks = self.body + data, True
        if self.is_last:
            self.deliver(self.body)
        else:
            self.ok()
        return True

    # TLS and AUTH

    def do_starttls(self, argument: bytes) -> None:
        if self.tls:
            self.no(503)
        else:
            self.say(220, "go ahead", enhanced="0.0")
            self.shakes = True

    def forget_the_clear(self) -> None:
        self.came, self.greeted = b"", False
        self.clear()

    def do_auth(self, argument: bytes) -> None:
        name, _, first = argument.partition(b" ")
        if self.mail or self.user:
            self.no(503)
        elif name.upper() not in (b"PLAIN", b"LOGIN"):
            self.no(504, "5.4")
        elif name.upper() == b"PLAIN" and first:
            self.authenticate(first)
        else:
            self.login = name.upper()
            self.challenge(b"" if self.login == b"PLAIN" else b"Username:")
            self.reads = self.response

    def challenge(self, text: bytes) -> None:
        self.write(b"334 " + b64encode(text))

    def response(self) -> bool:
        line, end, rest = self.came.partition(b"\r\n")
        if not end:
            return False
        self.came, self.reads = rest, self.command
        self.respond(line)
        return True

    def respond(self, line: bytes) -> None:
        if line == b"*":
            self.no(501, "7.0")
        elif self.login == b"LOGIN":
            self.no(535 if self.decode(line) is not None else 501, "7.8")
        else:
            self.authenticate(line)

    def authenticate(self, text: bytes) -> None:
        plain = self.decode(text)
        if plain is None:
            self.no(501, "5.2")
        elif plain.split(b"\0")[1:] == [word.encode() for word in CREDENTIALS]:
            self.user = plain
            self.say(235, "welcome", enhanced="7.0")
        else:
            self.no(535, "7.8")

    def decode(self, text: bytes) -> bytes | None:
        try:
            return b64decode(text, validate=True)
        except ValueError:
            return None


class TinyLMTP(TinyServer):
    lmtp = True
