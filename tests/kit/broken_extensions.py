"""Servers that each do one thing wrong, as in `broken_servers`: what extensions and LMTP ask."""

from __future__ import annotations

from broken_servers import breaks
from tiny_server import TinyLMTP, TinyServer

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


@breaks("pipelining-pieces")
class LosesWhatIsCut(TinyServer):
    def send_all(self, data: bytes, timeout: float | None) -> None:
        whole = data.rfind(b"\r\n") + 2
        is_group = self.reads == self.command and whole > 2 and not data.startswith(b"BDAT")
        super().send_all(data[:whole] if is_group else data, timeout)


@breaks("bdat")
class AnswersChunksWith251(TinyServer):
    def ok(self, detail: str = "0.0") -> None:
        self.say(251 if detail == "6.1" else 250, "ok", enhanced=detail)


@breaks("bdat-last")
class AnswersTheLastWith251(TinyServer):
    def ok(self, detail: str = "0.0") -> None:
        self.say(251 if detail == "6.0" else 250, "ok", enhanced=detail)


@breaks("bdat-needs-mail")
class TakesChunksWithoutMail(TinyServer):
    def may_chunk(self) -> bool:
        return self.mail is None or super().may_chunk()


@breaks("bdat-needs-rcpt")
class TakesChunksWithoutRcpt(TinyServer):
    def may_chunk(self) -> bool:
        return self.mail is not None


@breaks("binarymime-data")
class TakesDataForBinary(TinyServer):
    def is_binary(self) -> bool:
        return False


@breaks("binarymime-chunking")
class OffersBinaryWithoutChunks(TinyServer):
    offer = tuple(word for word in TinyServer.offer if word != b"CHUNKING")


@breaks("smtputf8-8bitmime")
class OffersUTF8WithoutEightBits(TinyServer):
    offer = tuple(word for word in TinyServer.offer if word != b"8BITMIME")


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


@breaks("starttls-injection")
class RunsCommandsBeforeTheHandshake(TinyServer):
    def do_starttls(self, argument: bytes) -> None:
        super().do_starttls(argument)
        while self.shakes and self.reads():
            pass


@breaks()
class TakesWhatCameInTheClearForTheHandshake(TinyServer):
    """Dovecot's handshake fails then. Nothing is run."""

    def start_tls(self, timeout: float | None) -> None:
        if self.came:
            self.closed = True
            raise ConnectionResetError("no handshake")
        super().start_tls(timeout)


@breaks("starttls-offer", "starttls-again")
class StartsTLSTwice(TinyServer):
    def forget_the_clear(self) -> None:
        super().forget_the_clear()
        self.tls = False


@breaks("auth-again")
class LogsInTwice(TinyServer):
    def do_auth(self, argument: bytes) -> None:
        self.user = b""
        super().do_auth(argument)


@breaks("auth-transaction")
class LogsInAnywhere(TinyServer):
    def do_auth(self, argument: bytes) -> None:
        mail, self.mail = self.mail, None
        super().do_auth(argument)
        self.mail = mail


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
