"""Servers that each do one thing wrong. A few lines each, over the tiny one; and the rules that they break."""

from __future__ import annotations

import re
from collections.abc import Callable

from tiny_server import TinyLMTP, TinyServer

BROKEN: dict[type[TinyServer], set[str]] = {}


def breaks(*rules: str) -> Callable[[type[TinyServer]], type[TinyServer]]:
    """A server that breaks these rules, and no other."""

    def note(server: type[TinyServer]) -> type[TinyServer]:
        BROKEN[server] = set(rules)
        return server

    return note


# Replies


@breaks("reply-line-end")
class EndsRepliesWithLF(TinyServer):
    line_end = b"\n"


@breaks("reply-codes")
class HasTwoCodesInOneReply(TinyServer):
    def do_help(self, argument: bytes) -> None:
        self.write(b"250-2.0.0 some help")
        self.write(b"214 2.0.0 see RFC 5321")


@breaks("reply-syntax")
class CutsAReplyInTwo(TinyServer):
    def do_help(self, argument: bytes) -> None:
        self.write(b"214-2.0.0 some")
        self.write(b"help")


@breaks("reply-line-length")
class SaysTooMuch(TinyServer):
    def do_vrfy(self, argument: bytes) -> None:
        self.say(252, "who knows, " * 50, enhanced="5.0")


@breaks("reply-text")
class SaysWhatIsNoText(TinyServer):
    def do_noop(self, argument: bytes) -> None:
        self.write(b"250 2.0.0 caf\xc3\xa9")


@breaks("reply-class")
class AnswersNoopWith3yz(TinyServer):
    def do_noop(self, argument: bytes) -> None:
        self.say(354, "go on")


@breaks("one-reply")
class AnswersTwice(TinyServer):
    def do_vrfy(self, argument: bytes) -> None:
        self.ok()
        self.ok()


@breaks("one-reply")
class AnswersNever(TinyServer):
    def do_vrfy(self, argument: bytes) -> None:
        pass


@breaks("enhanced-class")
class HasTheWrongClass(TinyServer):
    def enhanced(self, code: int, detail: str) -> str:
        return f"{code // 100 if code != 550 else 4}.{detail}"


@breaks("enhanced-codes")
class HasNoEnhancedCode(TinyServer):
    def do_noop(self, argument: bytes) -> None:
        self.say(250, "ok")


# The session


@breaks("greeting")
class GreetsWith250(TinyServer):
    def __init__(self, arrived: list[bytes]) -> None:
        super().__init__(arrived)
        self.out = b"250 mx.example\r\n"


@breaks("greeting")
class HangsUpAtOnce(TinyServer):
    def __init__(self, arrived: list[bytes]) -> None:
        super().__init__(arrived)
        self.out, self.closed = b"", True


@breaks("stays")
class HangsUpOnUnknownCommands(TinyServer):
    def unknown(self) -> None:
        self.closed = True


@breaks("unknown-command")
class TakesUnknownCommands(TinyServer):
    def unknown(self) -> None:
        self.ok()


@breaks("noop", "noop-argument", "command-line-length", "trailing-blank", "command-pieces")
class Answers503ToNoop(TinyServer):
    def do_noop(self, argument: bytes) -> None:
        self.no(503)


@breaks("noop-argument", "command-line-length")
class TakesNoArgumentForNoop(TinyServer):
    no_argument = TinyServer.no_argument | {b"NOOP"}


@breaks("verb-case")
class KnowsCapitalsOnly(TinyServer):
    def verb(self, verb: bytes) -> bytes:
        return verb if verb.isupper() else b"?"


@breaks("command-line-end")
class EndsCommandsAtLF(TinyServer):
    end_of_command = re.compile(rb"\r?\n")


@breaks("command-line-end", "command-pieces")
class EndsCommandsAtCR(TinyServer):
    end_of_command = re.compile(rb"\r\n?")


@breaks("command-pieces")
class TakesEveryReadForALine(TinyServer):
    def send_all(self, data: bytes, timeout: float | None) -> None:
        is_line = self.reads == self.command and data.startswith(b"NOOP\r")
        super().send_all(b"NOOP\r\n" if is_line and data == b"NOOP\r" else data, timeout)


@breaks("ehlo-clears")
class DoesNotResetAtEhlo(TinyServer):
    def clear_at_hello(self) -> None:
        pass


@breaks("rset-clears")
class KeepsRecipientsAtRset(TinyServer):
    def clear_at_rset(self) -> None:
        recipients = self.recipients
        self.clear()
        self.recipients = recipients


@breaks("rset-clears")
class KeepsTheSenderAtRset(TinyServer):
    def clear_at_rset(self) -> None:
        self.recipients = []


@breaks("noop-keeps")
class ClearsAtVrfy(TinyServer):
    def do_vrfy(self, argument: bytes) -> None:
        self.clear()
        super().do_vrfy(argument)


@breaks("refusal-keeps")
class ClearsWhenItRefuses(TinyServer):
    def unknown(self) -> None:
        self.clear()
        super().unknown()


@breaks("quit-closes")
class DoesNotCloseAtQuit(TinyServer):
    def do_quit(self, argument: bytes) -> None:
        self.say(221, "bye", enhanced="0.0")


@breaks("quit")
class AnswersQuitWith250(TinyServer):
    def do_quit(self, argument: bytes) -> None:
        self.ok()
        self.closed = True


@breaks("helo-plain")
class AnswersHeloWithExtensions(TinyServer):
    do_helo = TinyServer.do_ehlo


@breaks("ehlo-keywords")
class ListsWhatIsNoExtension(TinyServer):
    offer = (*TinyServer.offer, b"AUTH=LOGIN")


@breaks("ehlo-offers")
class ListsWhatItDoesNotHave(TinyServer):
    offer = (*TinyServer.offer, b"EXPN")


# The transaction


@breaks("mail-nested")
class TakesASecondMail(TinyServer):
    def refuse_mail(self, match: re.Match[bytes]) -> int:
        before, self.mail = self.mail, None
        code = super().refuse_mail(match)
        self.mail = before if code else None
        return code


@breaks("mail-parameter")
class TakesAnyParameter(TinyServer):
    def refuse_mail(self, match: re.Match[bytes]) -> int:
        code = super().refuse_mail(match)
        return 0 if code == 555 else code


@breaks("null-sender")
class RefusesTheNullSender(TinyServer):
    def refuse_mail(self, match: re.Match[bytes]) -> int:
        return super().refuse_mail(match) or (0 if match[1] else 501)


@breaks("rcpt-needs-mail")
class TakesRcptWithoutMail(TinyServer):
    def do_rcpt(self, argument: bytes) -> None:
        if self.mail is None:
            self.ok()
        else:
            super().do_rcpt(argument)


@breaks("data-needs-rcpt")
class TakesDataWithoutRcpt(TinyServer):
    def do_data(self, argument: bytes) -> None:
        self.recipients = self.recipients or [b""] * (self.mail is not None)
        super().do_data(argument)


@breaks("data")
class AnswersDataWith250(TinyServer):
    def say(self, code: int, *lines: str, enhanced: str = "") -> None:
        super().say(250 if code == 354 else code, *lines, enhanced=enhanced or "0.0" * (code == 354))


@breaks("bare-line-ends")
class EndsDataAtLF(TinyServer):
    end_of_data = re.compile(rb"(?:\A|\r?\n)\.\r?\n")


@breaks("bare-line-ends")
class EndsDataAtCR(TinyServer):
    end_of_data = re.compile(rb"(?:\A|\r\n|\r)\.\r\n")


@breaks("end-of-data")
class WantsTheEndAtOnce(TinyServer):
    def send_all(self, data: bytes, timeout: float | None) -> None:
        cut = self.reads == self.data and not data.endswith(b"\r\n")
        super().send_all(data + b"\0" * cut, timeout)


@breaks("dot-stuffing")
class DoesNotUnstuff(TinyServer):
    def unstuff(self, body: bytes) -> bytes:
        return body


@breaks("dot-stuffing")
class RemovesEveryDot(TinyServer):
    def unstuff(self, body: bytes) -> bytes:
        return re.sub(rb"(\A|\r\n)\.+", rb"\1", body)


@breaks("content")
class RemovesBlanks(TinyServer):
    def unstuff(self, body: bytes) -> bytes:
        return re.sub(rb"[ \t]+\r\n", b"\r\n", super().unstuff(body))


@breaks("8bitmime-content")
class RemovesTheEighthBit(TinyServer):
    def unstuff(self, body: bytes) -> bytes:
        return bytes(octet & 127 for octet in super().unstuff(body))


@breaks("transaction-ends")
class KeepsTheTransaction(TinyServer):
    def clear_at_end(self) -> None:
        pass


@breaks("transaction-ends")
class KeepsTheTransactionItRefuses(TinyServer):
    def refuse_message(self, count: int) -> None:
        super().refuse_message(count)
        self.failed = True

    def clear_at_end(self) -> None:
        if not self.failed:
            self.clear()


@breaks("size-declared", "size-exceeded")
class IgnoresSize(TinyServer):
    size = 10_000


# Extensions


@breaks("pipelining")
class LosesPipelinedCommands(TinyServer):
    def command(self) -> bool:
        found = super().command()
        self.came = b"" if found and self.reads == self.command else self.came
        return found


@breaks("pipelining")
class AnswersOutOfOrder(TinyServer):
    def send_all(self, data: bytes, timeout: float | None) -> None:
        lines = data.split(b"\r\n")
        if self.reads == self.command and len(lines) == 3 and lines[0].startswith(b"XNOSUCH"):
            data = b"\r\n".join((lines[1], lines[0], b""))
        super().send_all(data, timeout)


@breaks("bdat-count", "bdat-skips", "bdat-content")
class ReadsOneOctetTooFew(TinyServer):
    def chunk_size(self, size: int) -> int:
        return max(0, size - 1)


@breaks("bdat-count", "bdat-skips")
class ReadsOneOctetTooMuch(TinyServer):
    def chunk_size(self, size: int) -> int:
        return size + 1


@breaks("bdat-skips")
class RunsRefusedChunks(TinyServer):
    def skips_refused(self) -> bool:
        return False


@breaks("bdat-then-data")
class TakesDataAfterChunks(TinyServer):
    def do_data(self, argument: bytes) -> None:
        self.chunks = False
        super().do_data(argument)


@breaks("starttls-clears")
class KeepsTheTransactionOverTLS(TinyServer):
    def forget_the_clear(self) -> None:
        self.came = b""


@breaks("starttls-injection")
class KeepsCommandsOverTLS(TinyServer):
    def forget_the_clear(self) -> None:
        self.clear()
        self.send_all(b"", None)


@breaks("starttls-offer", "starttls-again")
class StartsTLSTwice(TinyServer):
    def forget_the_clear(self) -> None:
        super().forget_the_clear()
        self.tls = False


@breaks("auth-cancel")
class DoesNotKnowHowToCancel(TinyServer):
    def respond(self, line: bytes) -> None:
        if line == b"*":
            self.challenge(b"Password:")
            self.reads = self.response
        else:
            super().respond(line)


@breaks("auth-base64")
class TakesAnyBase64(TinyServer):
    def decode(self, text: bytes) -> bytes | None:
        return super().decode(text) or b""


@breaks("auth-fails")
class LetsEverybodyIn(TinyServer):
    def authenticate(self, text: bytes) -> None:
        self.user = text
        self.say(235, "welcome", enhanced="7.0")


@breaks("auth-challenge")
class SaysItsChallengesInTheClear(TinyServer):
    def challenge(self, text: bytes) -> None:
        self.write(b"334 " + text)


# LMTP


@breaks("lmtp-replies", "lmtp-bdat")
class AnswersOnceForTwoRecipients(TinyLMTP):
    def replies_due(self) -> int:
        return 1


@breaks("lmtp-refused")
class AnswersForRefusedRecipients(TinyLMTP):
    def replies_due(self) -> int:
        return len(self.recipients) + self.refused


@breaks("lmtp-no-ehlo")
class TakesEhloInLMTP(TinyLMTP):
    def run(self, verb: bytes, argument: bytes) -> None:
        super().run(b"LHLO" if verb == b"EHLO" else verb, argument)


@breaks("lmtp-needs-rcpt")
class TakesDataForNobody(TinyLMTP):
    def do_data(self, argument: bytes) -> None:
        self.recipients = self.recipients or [b""] * (self.mail is not None)
        super().do_data(argument)


@breaks("lmtp-extensions")
class OffersTooLittle(TinyLMTP):
    offer = tuple(word for word in TinyLMTP.offer if word != b"PIPELINING")
