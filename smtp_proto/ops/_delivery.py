"""What becomes of one message on its way: who is taken, who is refused, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence

from .._addresses import Path
from .._client_connection import ClientConnection
from .._commands import Bdat, Data, EndOfMessage, Mail, Rcpt
from .._errors import SMTPError
from .._replies import Reply
from .._state import State
from ._prepare import Prepared
from ._result import Outcome, SendResult, Status
from ._wants import Op, Want

# What a group may be: far below the socket buffers of anybody, far above what saves no more time.
GROUP_COMMANDS = 100
_GROUP_OCTETS = 32768

# An Enum member is slow to look up before Python 3.12.
_EVENT = Want.EVENT
_CLOSED = State.CLOSED

# What these are answered with decides nothing if it is good.
_NO_VERDICT = (Mail, Bdat)


class Delivery:
    """What becomes of one message: the replies to it, as they come in."""

    _conn: ClientConnection

    def __init__(self) -> None:
        self._message: Prepared | None = None
        self._share = 0  # how many recipients a transaction takes
        self._later: Sequence[Rcpt] = ()  # those of transactions to come
        self._done: list[Outcome] = []  # of former transactions
        self._forget()

    def _forget(self) -> None:
        self._for_each = False  # a verdict for each recipient
        self._rcpts: Sequence[Rcpt] = ()
        self._rcpt_replies: list[Reply] = []
        self._refusal: Reply | None = None  # of the whole message: to MAIL, to DATA, or 421
        self._verdicts: list[Reply] = []
        self._announced: list[Reply] | None = None  # PRDR's, which the last of them may overturn
        self.sent = False
        """Whether the server may have got it whole in this transaction: without a verdict its fate is unknown
        then."""

    def expect(self, conn: ClientConnection, message: Prepared) -> None:
        """`message` is to be sent on `conn`."""
        self._conn = conn
        self._message = message
        self._share = message.share
        self._later = message.rcpts

    @property
    def is_out(self) -> bool:
        """Whether anybody may have got the message: then it must not be sent to all of them again."""
        return self.sent or any(outcome.status is not Status.REFUSED for outcome in self._done)

    @property
    def has_more(self) -> bool:
        """Whether there are recipients of whom nothing has been said."""
        return bool(self._later)

    def begin(self) -> None:
        """A transaction begins, with as many of the recipients as it takes."""
        if self._rcpts:
            self._done += self._outcomes()
            self._forget()
        self._for_each = self._conn.lmtp
        self._rcpts, self._later = self._later[: self._share], self._later[self._share :]

    def send_envelope(self, all_or_nothing: bool, *, data: bool = True, wait: bool = True) -> Op[None]:
        """Every RCPT, and with `data` DATA, if it can still be good for anything; with `wait` all replies,
        that to MAIL included.
        """
        conn = self._conn
        limit = GROUP_COMMANDS if "PIPELINING" in conn.features else 1
        send, queued = conn.send, conn._out
        said, octets = 1, conn.octets_to_send  # MAIL
        for rcpt in self._rcpts:
            if said >= limit or octets >= _GROUP_OCTETS:
                yield from self.collect()
                if self._refusal is not None:
                    return
                said = octets = 0
            send(rcpt)
            said += 1
            octets += len(queued[-1])
        if data:
            if all_or_nothing or said >= limit or octets >= _GROUP_OCTETS:
                yield from self.collect()
            if self.is_wanted(all_or_nothing):
                send(Data())
        if wait:
            yield from self.collect()

    def is_wanted(self, all_or_nothing: bool = False) -> bool:
        """Whether, for all that is known, somebody takes the message."""
        if self._refusal is not None:
            return False
        good = (reply._code < 300 for reply in self._rcpt_replies)
        if all_or_nothing:
            return all(good)
        return len(self._rcpt_replies) < len(self._rcpts) or any(good)

    def collect(self, left: int = 0) -> Op[None]:
        """Read the replies to all that was said, but for the last `left`."""
        conn, note = self._conn, self.note
        while conn.outstanding > left:
            note((yield _EVENT))
            # What came along is read without a turn of the loop for each.
            while conn.outstanding > left and isinstance(event := conn.next_event(), Reply):
                note(event)

    def last_words(self) -> Op[None]:
        """Sending failed: a server that closed may have said why (RFC 5321 3.8)."""
        try:
            while isinstance(event := (yield _EVENT), Reply):
                self.note(event)
        except SMTPError:
            pass

    def note(self, reply: Reply) -> None:
        """A reply to one of its commands came."""
        to = reply._to
        if type(to) is Rcpt:
            # After a refused MAIL the refusal of RCPT says nothing about the recipient.
            self._rcpt_replies.append(self._refusal or reply)
        elif type(to) is EndOfMessage:
            if self.sent:  # the verdict on a lone dot is none on the message
                self._judge(reply)
        elif reply._code != 354 and not (type(to) in _NO_VERDICT and reply.is_positive):
            self._refusal = self._refusal or reply
        if reply._code >= 400 and self._conn.state is _CLOSED:
            self._refusal = self._refusal or reply
        if self._refusal is not None and not isinstance(to, EndOfMessage):
            self.sent = False  # what went out in one flight is not taken

    def _judge(self, reply: Reply) -> None:
        """A verdict. With PRDR those for each recipient hold if the last one, on the message, is good."""
        if reply._code == 353:
            self._announced = []
        elif self._announced is None:
            self._verdicts.append(reply)
        elif reply.recipient is not None:
            self._announced.append(reply)
        else:
            self._for_each = reply.is_positive
            self._verdicts = self._announced if reply.is_positive else [reply]

    @property
    def is_decided(self) -> bool:
        """Whether it is known for every recipient what became of the message."""
        return all(outcome.reply is not None for outcome in self.result().outcomes)

    def result(self) -> SendResult:
        """What is known now."""
        outcomes = [*self._done, *self._outcomes()]
        outcomes += [_unsent(rcpt._forward_path) for rcpt in self._later]
        message = self._message
        for place, outcome in message.unsaid if message else ():
            outcomes.insert(place, outcome)
        if message and message.given is not None:
            outcomes = [
                Outcome(recipient=given, status=outcome.status, reply=outcome.reply)
                for given, outcome in zip(message.given, outcomes, strict=True)
            ]
        return SendResult(outcomes=tuple(outcomes))

    def _outcomes(self) -> list[Outcome]:
        """Those of the transaction under way."""
        verdicts = iter(self._verdicts)
        replies = iter(self._rcpt_replies)
        last: Reply | None = None
        decided = None  # the last outcome for who was not refused alone: in SMTP the next one's too
        outcomes = []
        for rcpt in self._rcpts:
            reply = next(replies, None)
            if reply is not None and reply._code >= 300:
                status = Status.REFUSED
            else:
                if self._for_each or decided is None:
                    last = next(verdicts, None) or self._refusal
                    decided = self._status(last)
                reply, status = last, decided
            outcomes.append(Outcome(recipient=rcpt._forward_path, status=status, reply=reply))
        return outcomes

    def _status(self, reply: Reply | None) -> Status:
        if reply is None:
            return Status.UNKNOWN if self.sent else Status.UNSENT
        taken = isinstance(reply.to, EndOfMessage) and reply.is_positive
        return Status.ACCEPTED if taken else Status.REFUSED


def _unsent(recipient: Path) -> Outcome:
    return Outcome(recipient=recipient, status=Status.UNSENT, reply=None)
