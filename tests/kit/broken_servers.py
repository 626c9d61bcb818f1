"""Servers that each do one thing wrong, in a few lines over the tiny one; and the rules that they break."""

from __future__ import annotations

import re
from collections.abc import Callable

from tiny_server import TinyServer

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


@breaks()
class TakesAStringForNoop(TinyServer):
    """As the grammar has it, in 4.1.1.9."""

    def do_noop(self, argument: bytes) -> None:
        if re.fullmatch(rb'(?:[^ "]*|"[^"]*") *', argument):
            self.ok()
        else:
            self.no(501)


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


@breaks("mail")
class AnswersMailWith251(TinyServer):
    def ok(self, detail: str = "0.0") -> None:
        self.say(251 if detail == "1.0" else 250, "ok", enhanced=detail)


@breaks("rcpt")
class AnswersRcptWith252(TinyServer):
    def ok(self, detail: str = "0.0") -> None:
        self.say(252 if detail == "1.5" else 250, "ok", enhanced=detail)


@breaks("hundred-recipients")
class TakesFiftyRecipients(TinyServer):
    def do_rcpt(self, argument: bytes) -> None:
        if len(self.recipients) == 50:
            self.no(452, "5.3")
        else:
            super().do_rcpt(argument)


@breaks("in-sequence")
class TakesOneRecipient(TinyServer):
    def do_rcpt(self, argument: bytes) -> None:
        if self.recipients:
            self.no(503)
        else:
            super().do_rcpt(argument)


@breaks("data-needs-mail")
class TakesDataWithoutMail(TinyServer):
    def may_send(self) -> bool:
        return self.mail is None or super().may_send()

    def may_chunk(self) -> bool:
        return super().may_send()


@breaks()
class AddsWhatAHeaderLacks(TinyServer):
    """As Postfix and OpenSMTPD do (RFC 5321 6.4)."""

    def deliver(self, body: bytes) -> None:
        header, _, text = body.partition(b"\r\n\r\n")
        names = {line.partition(b":")[0].lower() for line in header.split(b"\r\n")}
        for name in (b"From", b"Date", b"Message-ID"):
            if name.lower() not in names:
                header += b"\r\n" + name + b": added"
        super().deliver(header + b"\r\n\r\n" + text)


@breaks("text-line-length")
class TakesShortLines(TinyServer):
    def deliver(self, body: bytes) -> None:
        if max(map(len, body.split(b"\r\n"))) > 900:
            self.no(500)
        else:
            super().deliver(body)
