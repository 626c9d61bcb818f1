"""What becomes of one message on its way: who is taken, who is refused, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence

from .._addresses import Path
from .._client_connection import ClientConnection
from .._commands import Bdat, Command, Data, EndOfMessage, Mail, Rcpt
from .._connection import Signal
from .._errors import SMTPError
from .._replies import Reply, Successes
from .._state import State
from .._writers import WRITERS
from ._prepare import Prepared
from ._result import Outcome, SendResult, Status, outcome_for
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

DATA = Data()


class Delivery:
    """What becomes of one message: the replies to it, as they come in."""

    _conn: ClientConnection
    _message: Prepared | None = None
    _later: Sequence[Rcpt] = ()  # the recipients of transactions to come
    _done: Sequence[Outcome] = ()  # of former transactions

    # Of this transaction:
    _rcpts: Sequence[Rcpt] = ()
    _heard = 0  # of how many the server has said something
    _for_each = False  # a verdict for each recipient
    _refusal: Reply | None = None  # of the whole message: to MAIL, to DATA, or 421
    _announced: list[Reply] | None = None  # PRDR's, which the last of them may overturn

    sent: bool = False
    """Whether the server may have got it whole in this transaction: without a verdict its fate is unknown
    then."""

    def __init__(self) -> None:
        self._refused: dict[int, Reply] = {}  # which of the recipients, and by what
        self._verdicts: list[Reply] = []

    def expect(self, conn: ClientConnection, message: Prepared) -> None:
        """`message` is to be sent on `conn`."""
        self._conn = conn
        self._message = message
        self._later = message.rcpts

    @property
    def is_out(self) -> bool:
        """Whether anybody may have got the message: then it must not be sent to all of them again."""
        return self.sent or any(outcome.status is not _REFUSED for outcome in self._done)

    @property
    def has_more(self) -> bool:
        """Whether there are recipients of whom nothing has been said."""
        return bool(self._later)

    def begin(self, conn: ClientConnection, message: Prepared) -> Sequence[Rcpt]:
        """A transaction begins, with as many of the recipients as it takes: these."""
        if self._rcpts:
            self._done = [*self._done, *self._outcomes()]
            self._refused, self._verdicts = {}, []
            self._heard = 0
            self._refusal = self._announced = None
            self.sent = False
        self._for_each = conn.lmtp
        later, share = self._later, message.share
        if len(later) > share:
            self._rcpts, self._later = later[:share], later[share:]
        else:
            self._rcpts, self._later = later, ()
        return self._rcpts

    def send_envelope(
        self, mail: Mail, all_or_nothing: bool, *, data: bool = True, wait: bool = True
    ) -> Op[None]:
        """MAIL, every RCPT, and with `data` DATA, if it can still be good for anything, in groups within
        bounds; with `wait` all replies.
        """
        conn = self._conn
        limit = GROUP_COMMANDS if "PIPELINING" in conn.features else 1
        group: list[Command] = [mail]
        octets = _octets(mail)
        for rcpt in self._rcpts:
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
        return not self._refused or (not all_or_nothing and len(self._refused) < len(self._rcpts))

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
            for command in event._to:
                if type(command) is Rcpt:
                    self._heard += 1
            return True
        if not isinstance(event, Reply):
            return False
        kind, code = type(event._to), event._code
        if kind is EndOfMessage:
            if self.sent:  # the verdict on a lone dot is none on the message
                self._judge(event)
        elif kind is Rcpt:
            if self._refusal is not None:  # then that of RCPT says nothing about the recipient
                self._refused[self._heard] = self._refusal
            elif code >= 300:
                self._refused[self._heard] = event
            self._heard += 1
        elif code != 354 and not (kind in _NO_VERDICT and code < 300):
            self._refusal = self._refusal or event
        if code >= 400 and self._conn.state is _CLOSED:
            self._refusal = self._refusal or event
        if self._refusal is not None and kind is not EndOfMessage:
            self.sent = False  # what went out in one flight is not taken
        return True

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
        message = self._message
        outcomes = self._outcomes()
        if message is None or not (self._done or self._later or message.unsaid or message.given):
            return SendResult(outcomes=tuple(outcomes))
        outcomes = [*self._done, *outcomes, *(_unsent(rcpt._forward_path) for rcpt in self._later)]
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
        if self._for_each or self._refused:
            return self._own_outcomes()
        verdict = self._verdicts[0] if self._verdicts else self._refusal
        status = self._status(verdict)
        return [outcome_for(rcpt._forward_path, status, verdict) for rcpt in self._rcpts]

    def _own_outcomes(self) -> list[Outcome]:
        """The same where recipients have outcomes of their own."""
        verdicts = iter(self._verdicts)
        last: Reply | None = None
        decided = None  # the last outcome for who was not refused alone: in SMTP the next one's too
        outcomes = []
        for place, rcpt in enumerate(self._rcpts):
            reply, status = self._refused.get(place), _REFUSED
            if reply is None:
                if decided is None or self._for_each:
                    last = next(verdicts, None) or self._refusal
                    decided = self._status(last)
                reply, status = last, decided
            outcomes.append(outcome_for(rcpt._forward_path, status, reply))
        return outcomes

    def _status(self, reply: Reply | None) -> Status:
        if reply is None:
            return Status.UNKNOWN if self.sent else Status.UNSENT
        taken = type(reply._to) is EndOfMessage and reply._code < 300
        return _ACCEPTED if taken else _REFUSED


def _octets(command: Command) -> int:
    return len(WRITERS[type(command)](command))


def _unsent(recipient: Path) -> Outcome:
    return outcome_for(recipient, Status.UNSENT, None)
