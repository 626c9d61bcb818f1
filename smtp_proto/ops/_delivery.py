"""What becomes of one message on its way: who is taken, who is refused, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence

from .._client_connection import ClientConnection
from .._commands import Bdat, Command, EndOfMessage, Mail, Rcpt
from .._connection import Signal
from .._envelope import DATA
from .._errors import SMTPError
from .._replies import Reply, Successes
from .._state import State
from .._writers import WRITERS
from ._prepare import Prepared
from ._result import Outcome, SendResult, Status, outcome_for, result_for_all
from ._wants import Op, Want

# What a group may be: far below the socket buffers of anybody, far above what saves no more time.
GROUP_COMMANDS = 100
_GROUP_OCTETS = 32768

# An Enum member is slow to look up before Python 3.12.
_EVENT = Want.EVENT
_CLOSED = State.CLOSED
_ACCEPTED, _REFUSED = Status.ACCEPTED, Status.REFUSED

# What these are answered with decides nothing if it is good.
_NO_VERDICT = (Mail, Bdat)


class Delivery:
    """What becomes of one message: the replies to it, as they come in."""

    # Each is set when there is something to be told: with most messages that is little.
    _conn: ClientConnection
    _message: Prepared | None = None
    _done: Sequence[Outcome] = ()  # of former transactions
    has_more: bool = False
    """Whether there are recipients of whom nothing has been said."""

    # Of this transaction:
    _first = _last = 0  # which of the recipients it has, the last one excluded
    _for_each = False  # a verdict for each recipient
    _heard = 0  # of how many recipients the server has said something
    _refused: dict[int, Reply] | None = None  # which of them, and by what
    _verdicts: list[Reply] | None = None
    _refusal: Reply | None = None  # of the whole message: to MAIL, to DATA, or 421
    _announced: list[Reply] | None = None  # PRDR's, which the last of them may overturn
    sent: bool = False
    """Whether the server may have got it whole in this transaction: without a verdict its fate is unknown
    then."""

    def expect(self, conn: ClientConnection, message: Prepared) -> None:
        """`message` is to be sent on `conn`."""
        self._conn = conn
        self._message = message
        self.has_more = len(message.recipients) > 0

    @property
    def is_out(self) -> bool:
        """Whether anybody may have got the message: then it must not be sent to all of them again."""
        return self.sent or any(outcome.status is not _REFUSED for outcome in self._done)

    def begin(self, conn: ClientConnection, message: Prepared) -> None:
        """A transaction begins, with as many of the recipients as it takes."""
        if self._last:
            self._done = [*self._done, *self._outcomes()]
            self._heard = 0
            self._refused = self._verdicts = self._refusal = self._announced = None
            self.sent = False
        self._for_each = conn.lmtp
        count = len(message.recipients)
        self._first = self._last
        self._last = min(self._first + message.share, count)
        self.has_more = self._last < count

    def send_envelope(
        self, message: Prepared, all_or_nothing: bool, *, data: bool = True, wait: bool = True
    ) -> Op[None]:
        """MAIL, every RCPT, and with `data` DATA, if it can still be good for anything, in groups within
        bounds; with `wait` all replies.
        """
        conn = self._conn
        mail = message.envelope.mail
        limit = GROUP_COMMANDS if "PIPELINING" in conn.features else 1
        group: list[Command] = [mail]
        octets = _octets(mail)
        for rcpt in message.envelope.rcpts[self._first : self._last]:
            if len(group) >= limit or octets >= _GROUP_OCTETS:
                conn.send_group(group)
                yield from self.collect()
                if self._refusal is not None:
                    return
                group, octets = [], 0
            group.append(rcpt)
            octets += _octets(rcpt)
        if data and (all_or_nothing or len(group) >= limit or octets >= _GROUP_OCTETS):
            conn.send_group(group)
            yield from self.collect()
            group = []
        if data and self.is_wanted(all_or_nothing):
            group.append(DATA)
        if group:
            conn.send_group(group)
        if wait:
            yield from self.collect()

    def is_wanted(self, all_or_nothing: bool = False) -> bool:
        """Whether, for all that is known, somebody takes the message."""
        if self._refusal is not None:
            return False
        return not self._refused or (not all_or_nothing and len(self._refused) < self._last - self._first)

    def collect(self, left: int = 0) -> Op[None]:
        """Read the replies to all that was said, but for the last `left`."""
        conn, note = self._conn, self.note
        while conn.outstanding > left:
            event = yield _EVENT
            # What came along is read without a turn of the loop for each.
            while note(event) and conn.outstanding > left:
                event = conn.next_event()

    def last_words(self) -> Op[None]:
        """Sending failed: a server that closed may have said why (RFC 5321 3.8)."""
        try:
            while self.note((yield _EVENT)):
                pass
        except SMTPError:
            pass

    def note(self, event: Reply | Successes | Signal) -> bool:
        """An event came: whether it is a reply, or several, to commands of this message."""
        if type(event) is Successes:
            self._heard += [type(command) for command in event._to].count(Rcpt)
            return True
        if not isinstance(event, Reply):
            return False
        kind, code = type(event._to), event._code
        if kind is EndOfMessage:
            if self.sent:  # the verdict on a lone dot is none on the message
                self._judge(event)
        elif kind is Rcpt:
            if self._refusal is not None:  # then that of RCPT says nothing about the recipient
                self._refuse(self._refusal)
            elif code >= 300:
                self._refuse(event)
            self._heard += 1
        elif code != 354 and not (kind in _NO_VERDICT and code < 300):
            self._refusal = self._refusal or event
        if code >= 400 and self._conn.state is _CLOSED:
            self._refusal = self._refusal or event
        if self._refusal is not None and kind is not EndOfMessage:
            self.sent = False  # what went out in one flight is not taken
        return True

    def _refuse(self, reply: Reply) -> None:
        self._refused = self._refused or {}
        self._refused[self._heard] = reply

    def _judge(self, reply: Reply) -> None:
        """A verdict. With PRDR those for each recipient hold if the last one, on the message, is good."""
        if reply._code == 353:
            self._announced = []
        elif self._announced is None:
            if self._verdicts is None:
                self._verdicts = []
            self._verdicts.append(reply)
        elif reply.recipient is not None:
            self._announced.append(reply)
        else:
            self._for_each = reply.is_positive
            self._verdicts = self._announced if reply.is_positive else [reply]

    def accept(self, message: Prepared, verdict: Reply) -> SendResult:
        """What `note` does where `verdict` is the only one, and good for all recipients; the result."""
        self._verdicts = [verdict]
        return result_for_all(message.recipients, _ACCEPTED, verdict)

    @property
    def is_decided(self) -> bool:
        """Whether it is known for every recipient what became of the message."""
        return all(outcome.reply is not None for outcome in self.result().outcomes)

    def result(self) -> SendResult:
        """What is known now."""
        message = self._message
        if message is None:
            return SendResult(outcomes=())
        if self._last == len(message.recipients) and not (
            self._done or self._for_each or self._refused or message.unsaid or message.given
        ):
            verdict = self._verdicts[0] if self._verdicts else self._refusal
            return result_for_all(message.recipients, self._status(verdict), verdict)
        outcomes = [*self._done, *self._outcomes()]
        outcomes += [outcome_for(path, Status.UNSENT, None) for path in message.recipients[self._last :]]
        for place, outcome in message.unsaid:
            outcomes.insert(place, outcome)
        if message.given is not None:
            outcomes = [
                outcome_for(given, outcome.status, outcome.reply)
                for given, outcome in zip(message.given, outcomes, strict=True)
            ]
        return SendResult(outcomes=tuple(outcomes))

    def _outcomes(self) -> list[Outcome]:
        """Those of the transaction under way."""
        verdicts = iter(self._verdicts or ())
        last: Reply | None = None
        decided = None  # the last outcome for who was not refused alone: in SMTP the next one's too
        outcomes = []
        refused = self._refused or {}
        recipients = self._message.recipients[self._first : self._last] if self._message is not None else ()
        for place, recipient in enumerate(recipients):
            reply, status = refused.get(place), _REFUSED
            if reply is None:
                if decided is None or self._for_each:
                    last = next(verdicts, None) or self._refusal
                    decided = self._status(last)
                reply, status = last, decided
            outcomes.append(outcome_for(recipient, status, reply))
        return outcomes

    def _status(self, reply: Reply | None) -> Status:
        if reply is None:
            return Status.UNKNOWN if self.sent else Status.UNSENT
        taken = type(reply._to) is EndOfMessage and reply._code < 300
        return _ACCEPTED if taken else _REFUSED


def _octets(command: Command) -> int:
    return len(WRITERS[type(command)](command))
