"""A small client that keeps every rule, and clients that each break it in a line or two.

They are no part of this library and use nothing of it: what judges clients is judged by them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

SECONDS = 10


class Failed(Exception):
    """The connection is of no more use."""


class Refused(Exception):
    """The letter cannot be sent; the session goes on."""


class Client:
    """It sends one letter over a stream, with all extensions that help."""

    lmtp = False
    chunks = True
    piece = 4096

    def __init__(self, stream: Any, letter: Any) -> None:
        self.stream = stream
        self.letter = letter
        self.buffer = b""
        self.offers: dict[str, list[str]] = {}
        self.tls = False

    @classmethod
    def run(cls, stream: Any, letter: Any) -> list[str]:
        """Send it; for whom it was taken."""
        client = cls(stream, letter)
        try:
            client.begin()
            return client.transact()
        finally:
            client.end()

    def begin(self) -> None:
        self.expect(*self.reply())
        self.hello()
        if "STARTTLS" in self.offers and self.ask(b"STARTTLS")[0] == 220:
            self.start_tls()
            self.hello()
        if "AUTH" in self.offers and self.may_log_in():
            self.log_in()

    def end(self) -> None:
        with suppress(Failed, OSError):
            self.say(b"QUIT")
            self.reply()
        self.stream.close()

    # Lines

    def say(self, *lines: bytes) -> None:
        self.write(b"".join(line + b"\r\n" for line in lines))

    def write(self, octets: bytes) -> None:
        if self.buffer:
            self.fail("a reply that came too early")
        self.stream.send_all(octets, SECONDS)

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            octets = self.stream.receive_some(65536, SECONDS)
            if not octets or len(self.buffer) > 65536:
                self.fail("no whole line")
            self.buffer += octets
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def lines(self) -> Iterator[bytes]:
        """Those of one reply."""
        for _ in range(100):
            line = self.line()
            if not re.fullmatch(rb"[2-5][0-9][0-9](?:[ -].*)?", line):
                self.fail("no reply")
            yield line
            if line[3:4] != b"-":
                return
        self.fail("no end")

    def reply(self) -> tuple[int, list[bytes]]:
        lines = list(self.lines())
        codes = {int(line[:3]) for line in lines}
        if len(codes) > 1:
            self.fail("which?")
        if 421 in codes:
            self.fail("no more")
        return codes.pop(), [line[4:] for line in lines]

    def fail(self, why: str) -> None:
        self.buffer = b"?"  # nothing more is said
        raise Failed(why)

    def ask(self, line: bytes) -> tuple[int, list[bytes]]:
        self.say(line)
        return self.reply()

    def expect(self, code: int, lines: list[bytes], hundreds: int = 2) -> None:
        if code // 100 != hundreds:
            raise Refused(code, lines)

    # Who is there

    def hello(self) -> None:
        self.offers = {}
        code, lines = self.ask(b"LHLO client.example" if self.lmtp else b"EHLO client.example")
        if code in (500, 501, 502, 504) and not self.lmtp:
            self.expect(*self.ask(b"HELO client.example"))
            return
        self.expect(code, lines)
        words = [line.decode("latin-1").upper().split() for line in lines[1:]]
        self.offers = {keyword: rest for keyword, *rest in filter(None, words)}

    def start_tls(self) -> None:
        if self.buffer:
            self.fail("octets in the clear")
        self.stream.start_tls(SECONDS)
        self.tls = True

    def may_log_in(self) -> bool:
        return self.tls

    def log_in(self) -> None:
        user, password = self.letter.user.encode(), self.letter.password.encode()
        if "PLAIN" in self.offers["AUTH"]:
            code, lines = self.ask(b"AUTH PLAIN")
            responses = [b"\0" + user + b"\0" + password]
        elif "LOGIN" in self.offers["AUTH"]:
            code, lines = self.ask(b"AUTH LOGIN")
            responses = [user, password]
        else:
            raise Refused("no mechanism that it knows")
        while code == 334:
            code, lines = self.ask(self.response(lines[0], responses))
        self.expect(code, lines)

    def response(self, challenge: bytes, responses: list[bytes]) -> bytes:
        if not responses or not re.fullmatch(rb"[A-Za-z0-9+/]*=*", challenge):
            return b"*"
        return base64.b64encode(responses.pop(0))

    # The letter

    def transact(self) -> list[str]:
        self.check()
        taken = self.say_envelope()
        if self.sends_chunks():
            return self.send_chunks(taken)
        return self.send_text(taken)

    def sends_chunks(self) -> bool:
        return self.chunks and "CHUNKING" in self.offers

    def check(self) -> None:
        """Nothing is said of a letter that cannot be sent."""
        addresses = "".join((self.letter.sender, *self.letter.recipients))
        if re.search("[\r\n]", addresses):
            raise Refused("no address")
        if not addresses.isascii() and "SMTPUTF8" not in self.offers:
            raise Refused("SMTPUTF8 is not offered")
        if not self.letter.data.isascii() and "8BITMIME" not in self.offers:
            raise Refused("8BITMIME is not offered")

    def data(self) -> bytes:
        data = re.sub(rb"\r\n|\r|\n", b"\r\n", self.letter.data)
        return data if data.endswith(b"\r\n") else data + b"\r\n"

    def mail(self) -> bytes:
        mail = f"MAIL FROM:<{self.letter.sender}>"
        mail += f" SIZE={len(self.data())}" if "SIZE" in self.offers else ""
        mail += " BODY=8BITMIME" if "8BITMIME" in self.offers else ""
        mail += " SMTPUTF8" if "SMTPUTF8" in self.offers else ""
        return mail.encode()

    def rcpts(self) -> list[bytes]:
        return [f"RCPT TO:<{recipient}>".encode() for recipient in self.letter.recipients]

    def group(self) -> Iterable[tuple[int, list[bytes]]]:
        """The envelope, and the replies to it."""
        commands = [self.mail(), *self.rcpts()]
        if "PIPELINING" not in self.offers:
            return map(self.ask, commands)
        self.say(*commands)
        return [self.reply() for _ in commands]

    def say_envelope(self) -> list[str]:
        replies = iter(self.group())
        self.expect(*next(replies))
        taken = self.taken([code for code, _ in replies])
        if not taken:
            raise Refused("nobody is there")
        return taken

    def taken(self, codes: list[int]) -> list[str]:
        return [who for who, code in zip(self.letter.recipients, codes, strict=True) if code < 300]

    def send_text(self, taken: list[str]) -> list[str]:
        self.expect(*self.ask(b"DATA"), 3)
        self.write_text(self.data())
        self.write(self.ending())
        return self.verdicts(taken)

    def write_text(self, data: bytes) -> None:
        self.write(re.sub(rb"(?m)^\.", b"..", data))

    def ending(self) -> bytes:
        return b".\r\n"

    def send_chunks(self, taken: list[str]) -> list[str]:
        data = self.data()
        starts = range(0, len(data), self.piece)
        for start in starts:
            chunk = data[start : start + self.piece]
            is_last = start == starts[-1]
            self.write(self.bdat(chunk, is_last) + chunk)
            if not is_last:
                self.go_on(*self.reply())
        return self.verdicts(taken)

    def bdat(self, chunk: bytes, is_last: bool) -> bytes:
        return b"BDAT %d%b\r\n" % (len(chunk), b" LAST" if is_last else b"")

    def go_on(self, code: int, lines: list[bytes]) -> None:
        self.expect(code, lines)

    def verdicts(self, taken: list[str]) -> list[str]:
        if not self.lmtp:
            self.expect(*self.reply())
            return taken
        return [who for who in taken if self.reply()[0] < 300]


class LMTPClient(Client):
    lmtp = True


class DataClient(Client):
    """It knows no chunks."""

    chunks = False


# What each of these breaks stands behind it, in `BROKEN`.


class BareLineFeed(Client):
    def say(self, *lines: bytes) -> None:
        self.write(b"".join(line + b"\n" for line in lines))


class Noisy(Client):
    """It says one line more, before the letter."""

    extra = b"NOOP \x07"

    def check(self) -> None:
        super().check()
        self.ask(self.extra)


class TooLong(Noisy):
    extra = b"NOOP " + b"x" * 600


class Polite(Noisy):
    extra = b"HALLO"


class Starter(Client):
    def check(self) -> None:
        super().check()
        self.ask(b"ETRN client.example")


class Impatient(Client):
    def check(self) -> None:
        super().check()
        self.say(b"NOOP", b"NOOP")
        self.reply()
        self.reply()


class BadName(Client):
    def ask(self, line: bytes) -> tuple[int, list[bytes]]:
        return super().ask(line.replace(b"client.example", b"my client") if line[1:4] == b"HLO" else line)


class BlankInPath(Client):
    def mail(self) -> bytes:
        return super().mail().replace(b":<", b": <")


class OtherSender(Client):
    def mail(self) -> bytes:
        return super().mail().replace(b"ada@", b"root@")


class Injectable(Client):
    def check(self) -> None:
        if "\r" not in "".join(self.letter.recipients):
            super().check()


class SizeUnasked(Client):
    def mail(self) -> bytes:
        return super().mail() + (b"" if "SIZE" in self.offers else b" SIZE=100000")


class UTF8Unasked(Client):
    def mail(self) -> bytes:
        return super().mail() + (b"" if "SMTPUTF8" in self.offers else b" SMTPUTF8")


class UTF8Unsaid(Client):
    def mail(self) -> bytes:
        return super().mail().replace(b" SMTPUTF8", b"")


class EightBitUnsaid(Client):
    def mail(self) -> bytes:
        return super().mail().replace(b" BODY=8BITMIME", b"")


class EightBitUnasked(Client):
    def check(self) -> None:
        if self.letter.data.isascii():
            super().check()


class SizeTooSmall(Client):
    def mail(self) -> bytes:
        return re.sub(rb"SIZE=\d+", b"SIZE=%d" % (len(self.data()) // 2), super().mail())


class SpeaksFirst(Client):
    def begin(self) -> None:
        self.write(b"NOOP\r\n")
        super().begin()
        self.reply()


class StaysAnyway(Client):
    def begin(self) -> None:
        self.reply()
        self.hello()


class Unintroduced(Client):
    def hello(self) -> None:
        pass


class OtherHello(Client):
    def ask(self, line: bytes) -> tuple[int, list[bytes]]:
        return super().ask(line.replace(b"EHLO", b"LHLO"))


class NoHelo(Client):
    def hello(self) -> None:
        self.offers = {}
        code, lines = self.ask(b"EHLO client.example")
        self.expect(code, lines)
        self.offers = {
            line.decode("latin-1").split()[0]: line.decode("latin-1").split()[1:] for line in lines
        }


class DataFirst(DataClient):
    def say_envelope(self) -> list[str]:
        self.expect(*self.ask(self.mail()))
        return []


class TriesAgain(DataClient):
    def transact(self) -> list[str]:
        try:
            return super().transact()
        except Refused:
            return super().transact() if self.letter.data.isascii() else []


class Pipelines(Client):
    def group(self) -> Iterable[tuple[int, list[bytes]]]:
        self.offers["PIPELINING"] = []
        return super().group()


class GoesOnBehindData(DataClient):
    def send_text(self, taken: list[str]) -> list[str]:
        if "PIPELINING" not in self.offers:
            return super().send_text(taken)
        self.say(b"NOOP", b"DATA")
        self.reply()
        self.expect(*self.reply(), 3)
        self.write_text(self.data() + self.ending())
        return self.verdicts(taken)


class FirstLine(Client):
    def lines(self) -> Iterator[bytes]:
        yield self.line()


class WaitsInVain(Client):
    def check(self) -> None:
        super().check()
        self.ask(b"NOOP")
        self.reply()


class IgnoresMail(Client):
    def say_envelope(self) -> list[str]:
        _, *replies = self.group()
        taken = self.taken([code for code, _ in replies])
        if not taken:
            raise Refused("nobody is there")
        return taken


class IgnoresRecipients(DataClient):
    def say_envelope(self) -> list[str]:
        replies = iter(self.group())
        self.expect(*next(replies))
        return self.taken([code for code, _ in replies])


class TakesAll(Client):
    """Who is refused counts as taken."""

    def taken(self, codes: list[int]) -> list[str]:
        return list(self.letter.recipients) if super().taken(codes) else []


class StaysBehind421(Client):
    def fail(self, why: str) -> None:
        if why != "no more":
            super().fail(why)


class HangsUp(Client):
    def end(self) -> None:
        self.stream.close()


class CannotGo(Client):
    def end(self) -> None:
        with suppress(Failed, OSError):
            self.write(b"QUIT\r\nNOOP\r\n")
        self.stream.close()


class TextWithData(DataClient):
    def send_text(self, taken: list[str]) -> list[str]:
        self.write(b"DATA\r\n" + re.sub(rb"(?m)^\.", b"..", self.data()) + self.ending())
        self.expect(*self.reply(), 3)
        return self.verdicts(taken)


class IgnoresData(DataClient):
    def send_text(self, taken: list[str]) -> list[str]:
        self.ask(b"DATA")
        self.write_text(self.data())
        self.write(self.ending())
        return self.verdicts(taken)


class EndsTwice(DataClient):
    def ending(self) -> bytes:
        return b".\r\n.\r\n"


class EmptyLine(DataClient):
    def ending(self) -> bytes:
        return b"\r\n.\r\n"


class NoLineEnd(DataClient):
    def data(self) -> bytes:
        return re.sub(rb"\r\n|\r|\n", b"\r\n", self.letter.data)


class NoDots(DataClient):
    def write_text(self, data: bytes) -> None:
        self.write(data)


class DotsForgotten(DataClient):
    """It looks for dots in pieces, and not at their beginnings."""

    def write_text(self, data: bytes) -> None:
        for start in range(0, len(data), 1000):
            self.write(data[start : start + 1000].replace(b"\r\n.", b"\r\n.."))


class TooManyDots(DataClient):
    def write_text(self, data: bytes) -> None:
        super().write_text(re.sub(rb"(?m)^\.", b"..", data))


class BareInText(DataClient):
    def data(self) -> bytes:
        data = self.letter.data
        return data if data.endswith(b"\r\n") else data + b"\r\n"


class Mends(Client):
    def data(self) -> bytes:
        return super().data().replace(b"hi", b"Hi")


class Truncates(Client):
    def data(self) -> bytes:
        return super().data().rstrip() + b"\r\n"


class ChunksUnasked(Client):
    def sends_chunks(self) -> bool:
        return True


class CountsCharacters(Client):
    def bdat(self, chunk: bytes, is_last: bool) -> bytes:
        return super().bdat(chunk.decode(errors="ignore").encode("latin-1", "replace"), is_last)


class CountsTooMuch(Client):
    def bdat(self, chunk: bytes, is_last: bool) -> bytes:
        return super().bdat(chunk + b"?", is_last)


class NeverLast(Client):
    def bdat(self, chunk: bytes, is_last: bool) -> bytes:
        return super().bdat(chunk, False)


class BehindTheLast(Client):
    def verdicts(self, taken: list[str]) -> list[str]:
        accepted = super().verdicts(taken)
        if self.sends_chunks():
            self.ask(b"BDAT 0 LAST")
        return accepted


class ChunksThenData(Client):
    def send_chunks(self, taken: list[str]) -> list[str]:
        self.expect(*self.ask(b"BDAT 0"))
        return self.send_text(taken)


class IgnoresChunks(Client):
    def go_on(self, code: int, lines: list[bytes]) -> None:
        pass


class BinaryData(DataClient):
    def mail(self) -> bytes:
        mail = super().mail()
        return mail.replace(b"8BITMIME", b"BINARYMIME") if "BINARYMIME" in self.offers else mail


class BehindStartTLS(Client):
    def ask(self, line: bytes) -> tuple[int, list[bytes]]:
        return super().ask(line + b"\r\nNOOP" if line == b"STARTTLS" else line)


class HandshakeUninvited(Client):
    def ask(self, line: bytes) -> tuple[int, list[bytes]]:
        code, lines = super().ask(line)
        return 220 if line == b"STARTTLS" else code, lines


class NoSecondHello(Client):
    def start_tls(self) -> None:
        super().start_tls()
        self.ask(b"NOOP")


class KeepsOffers(Client):
    def hello(self) -> None:
        before = self.offers
        super().hello()
        self.offers = {**before, **self.offers}


class BelievesTheClear(Client):
    def start_tls(self) -> None:
        self.stream.start_tls(SECONDS)
        self.tls = True

    def write(self, octets: bytes) -> None:
        self.stream.send_all(octets, SECONDS)


class PasswordInTheClear(Client):
    def may_log_in(self) -> bool:
        return True


class AlwaysPlain(Client):
    def log_in(self) -> None:
        self.offers["AUTH"] = ["PLAIN"]
        super().log_in()


class RawPassword(Client):
    def response(self, challenge: bytes, responses: list[bytes]) -> bytes:
        return base64.b64decode(super().response(challenge, responses)).replace(b"\0", b" ") or b"*"


class AnyChallenge(Client):
    def response(self, challenge: bytes, responses: list[bytes]) -> bytes:
        return super().response(b"", responses)


class LogsInTwice(Client):
    def log_in(self) -> None:
        super().log_in()
        super().log_in()


class Only250(Client):
    def taken(self, codes: list[int]) -> list[str]:
        return super().taken([code if code == 250 else 550 for code in codes])


class Pessimist(Client):
    def verdicts(self, taken: list[str]) -> list[str]:
        return super().verdicts(taken)[1:]


class IgnoresVerdict(Client):
    def verdicts(self, taken: list[str]) -> list[str]:
        self.reply()
        return taken


class Hopeful(Client):
    """4yz at the end counts as success."""

    def verdicts(self, taken: list[str]) -> list[str]:
        code, lines = self.reply()
        self.expect(2 if code < 500 else code, lines, 0 if code < 500 else 2)
        return taken


class FirstVerdict(LMTPClient):
    def verdicts(self, taken: list[str]) -> list[str]:
        codes = [self.reply()[0] for _ in taken]
        return taken if codes[0] < 300 else []


class OneVerdict(LMTPClient):
    def verdicts(self, taken: list[str]) -> list[str]:
        self.expect(*self.reply())
        return taken

    def end(self) -> None:
        self.stream.send_all(b"QUIT\r\n", SECONDS)
        self.stream.close()


class HalfALine(Client):
    def line(self) -> bytes:
        while b"\r\n" not in self.buffer and len(self.buffer) < 65536:
            octets = self.stream.receive_some(65536, SECONDS)
            if not octets:
                break
            self.buffer += octets
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line


class LastCode(Client):
    def reply(self) -> tuple[int, list[bytes]]:
        lines = list(self.lines())
        if lines[-1][:3] == b"421":
            self.fail("no more")
        return int(lines[-1][:3]), [line[4:] for line in lines]


class AnyWords(Client):
    """What is no reply is no refusal."""

    def line(self) -> bytes:
        line = super().line()
        return line if re.match(rb"[2-5][0-9][0-9]", line) else b"250 " + line


class TakesEarly(Client):
    def write(self, octets: bytes) -> None:
        self.stream.send_all(octets, SECONDS)

    def fail(self, why: str) -> None:
        raise Failed(why)


class ReadsForEver(Client):
    def lines(self) -> Iterator[bytes]:
        line = self.line()
        while line[3:4] == b"-":
            yield line
            line = self.line()
        yield line


BROKEN: dict[type[Client], set[str]] = {
    BareLineFeed: {"line-end"},
    Noisy: {"control-characters"},
    TooLong: {"line-length"},
    Polite: {"known-command"},
    Starter: {"offered-command"},
    Impatient: {"one-at-a-time", "group-end", "starttls-forgets"},
    BadName: {"hello-argument"},
    BlankInPath: {"path"},
    OtherSender: {"envelope"},
    Injectable: {"injection", "one-at-a-time"},
    SizeUnasked: {"offered-parameter", "starttls-forgets"},
    UTF8Unasked: {"utf8-offered", "starttls-forgets"},
    UTF8Unsaid: {"utf8-asked"},
    EightBitUnsaid: {"8bit-asked"},
    EightBitUnasked: {"8bit-offered"},
    SizeTooSmall: {"size"},
    SpeaksFirst: {"greeting"},
    StaysAnyway: {"refused-greeting"},
    Unintroduced: {"hello-first"},
    OtherHello: {"hello-verb"},
    NoHelo: {"helo-fallback"},
    DataFirst: {"order"},
    TriesAgain: {"open-transaction"},
    Pipelines: {"one-at-a-time", "starttls-forgets"},
    GoesOnBehindData: {"group-end"},
    FirstLine: {"whole-reply", "greeting", "mixed-reply"},
    WaitsInVain: {"due-replies"},
    IgnoresMail: {"refused-mail"},
    IgnoresRecipients: {"no-recipients", "empty-message"},
    TakesAll: {"refused-recipient"},
    StaysBehind421: {"closing"},
    HangsUp: {"quit"},
    CannotGo: {"quit-last"},
    TextWithData: {"go-ahead"},
    IgnoresData: {"refused-data"},
    EndsTwice: {"end-of-message"},
    EmptyLine: {"end-of-message", "size"},
    NoLineEnd: {"end-of-message"},
    NoDots: {"transparency"},
    DotsForgotten: {"transparency"},
    TooManyDots: {"transparency", "size"},
    BareInText: {"bare-line-end"},
    Mends: {"same-message"},
    Truncates: {"same-message"},
    ChunksUnasked: {"chunks-offered", "starttls-forgets"},
    CountsCharacters: {"chunk-size"},
    CountsTooMuch: {"chunk-size"},
    NeverLast: {"last-chunk", "verdict"},
    BehindTheLast: {"last-chunk", "order"},
    ChunksThenData: {"chunks-or-data"},
    IgnoresChunks: {"refused-chunk"},
    BinaryData: {"binary-data"},
    BehindStartTLS: {"starttls-last"},
    HandshakeUninvited: {"starttls-answer"},
    NoSecondHello: {"starttls-hello"},
    KeepsOffers: {"starttls-forgets"},
    BelievesTheClear: {"starttls-injection", "early-reply"},
    PasswordInTheClear: {"auth-in-the-clear"},
    AlwaysPlain: {"auth-mechanism"},
    RawPassword: {"auth-base64"},
    AnyChallenge: {"auth-challenge"},
    LogsInTwice: {"auth-once"},
    Only250: {"every-2yz"},
    Pessimist: {"success", "every-2yz"},
    IgnoresVerdict: {"verdict"},
    Hopeful: {"verdict"},
    FirstVerdict: {"each-verdict"},
    OneVerdict: {"each-verdict", "cut-reply"},
    HalfALine: {"cut-reply"},
    LastCode: {"mixed-reply"},
    AnyWords: {"garbage"},
    TakesEarly: {"early-reply"},
    ReadsForEver: {"endless-reply"},
}
"""Each, and the rules that it breaks."""
