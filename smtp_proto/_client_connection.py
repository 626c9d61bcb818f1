"""A client's end of a connection, second half: replies in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._client_sending import ClientSending
from ._commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Helo,
    Lhlo,
    Mail,
    Rcpt,
)
from ._connection import CLOSED, NEED_DATA, NO_FEATURES, PAUSED, Signal, name
from ._envelope import Envelope
from ._errors import LocalProtocolError, ProtocolError
from ._extension_commands import Burl, XClient
from ._replies import Hello, Reply, Successes, successes_to
from ._state import TABLE, Opening, State


class ClientConnection(ClientSending):
    """The client's end of an SMTP or LMTP connection.

        conn = ClientConnection()
        conn.receive_data(b"220 mx.example ESMTP\\r\\n")
        conn.next_event()                         # Greeting
        conn.send(Ehlo(domain="client.example"))
        conn.data_to_send()                       # b"EHLO client.example\\r\\n"

    `features`: somebody else has read the greeting and the answer to EHLO, which offered these; the
    connection begins `READY`. `tls`: TLS was there from the start. `line_ends`: what becomes of bare CR and
    LF in a message, `LineEnds.NORMALIZE` or `LineEnds.STRICT`. `allow_nul`: send NUL in a message, which
    RFC 5321 forbids. `strict_replies`: take no bare LF for the end of a reply's line, as most clients do.
    """

    __slots__ = ()

    def next_event(self) -> Reply | Successes | Signal:
        """The next reply, with the command that it answers in `reply.to`; or a `Signal`.

        Raises `RemoteProtocolError` when the server breaks the protocol, and on its end of file while
        replies are due; `LocalProtocolError` after `fail()`.
        """
        if self._error is not None or self._machine.state in _NOT_READING:
            return self._pause()
        buffer = self._buffer
        if not buffer.octets and not self._eof:
            return NEED_DATA
        if self._group is not None:
            successes = self._join(self._group)
            if successes is not None:
                return successes
            self._unfold()
        pending = self._pending
        to, since = pending[0] if pending else _NOTHING
        kind = type(to)
        try:
            reply = self._replies.read(buffer, kind)
            if reply is None:
                return self._need_data(to)
            if self._replies.began < since:
                return self._interrupted(reply)
            whose, learn = _ANSWERS[kind]
            if whose is not None:
                owner = whose(self, to)
                if owner is None:
                    return self._interrupted(reply)
                to, kind = owner, type(owner)
            code = reply._code
            if 300 <= code < 400:
                self._take_intermediate(to, reply)
            reply._to = to
            if self._hears_each and self._hears_more(to, reply):
                return reply
            pending.popleft()
            machine = self._machine
            machine.answered(kind, code)
            if learn is not None:
                learn(self, to, reply)
        except ProtocolError as exc:
            raise self._fault(exc, to) from exc
        state = machine.state
        if state is _CLOSED:
            self._close()
        elif code >= 400 or (not pending and state is not self._predicted.state):
            self._mispredicted = True
        return reply

    def _join(self, group: Sequence[Command]) -> Successes | None:
        """What answers all of the group, if it has come and says yes; else nothing is taken."""
        self._group = None
        pending, buffer = self._pending, self._buffer
        first, since = pending[0]
        is_folded = first is group
        if is_folded:
            asks_for_data = first.asks_for_data
            is_verdict_due = not asks_for_data
        elif len(pending) == len(group):
            asks_for_data = type(group[-1]) is Data
            is_verdict_due = False
        else:
            return None  # something else was said besides
        if since > buffer.end - len(buffer.octets):
            return None  # the answers began before the group was said
        if not self._replies.skip_successes(buffer, len(group), asks_for_data, is_verdict_due):
            return None
        if is_verdict_due:
            pending.popleft()
            self._machine.succeed_with_envelope(asks_for_data=False)
        else:
            pending.clear()
            self._machine.follow(self._predicted)
        if asks_for_data:
            self._body = body = self._data_writer
            body.begin()
        return successes_to(group)

    def _unfold(self) -> None:
        """An envelope that was said as one is answered command by command."""
        envelope, since = self._pending[0]
        if type(envelope) is Envelope:
            self._pending.popleft()
            self._pending.extendleft((command, since) for command in reversed(envelope[:]))

    def fail(self) -> None:
        super().fail()
        self._predicted.fail()
        self._mispredicted = False
        self._body = None

    def tls_started(self) -> None:
        super().tls_started()
        self._predicted.tls_started()
        self._mispredicted = False

    def _need_data(self, to: Command | None) -> Signal:
        if not self._eof:
            return NEED_DATA
        if to is None and not self._buffer and not self._replies.is_inside and self._body is None:
            self._close()
            return CLOSED
        waiting = f"; the answer to {name(to)} is due" if to else ""
        raise ProtocolError(f"connection closed by the server{waiting}")

    def _pause(self) -> Signal:
        self._check_readable()
        if self._machine.state is State.CLOSED:
            return CLOSED
        self._refuse_input("behind the 220 to STARTTLS")
        return PAUSED

    def _nothing(self, to: None) -> None:
        """No reply is due."""

    def _chunk_or_end(self, to: Any) -> Any:
        """What the reply to a chunk answers, if it is due: to the last one it is the verdict on the whole."""
        pending = self._pending
        if self._body is not None and len(pending) == 1:
            return None  # it is still under way
        self._machine.said(type(to))
        if not to.last:
            return to
        pending.popleft()
        self._last_chunks -= 1
        return pending[0][0]

    def _take_intermediate(self, to: Command, reply: Reply) -> None:
        """Nobody knows what a 3yz asks for that is named nowhere; 354 asks for the message."""
        code = reply._code
        if not self._machine.names(type(to), code):
            raise LocalProtocolError(f"{code} is no answer to {name(to)}")
        if code == 354:
            self._body = body = self._data_writer
            body.begin()
        elif code == 353 and not self._hears_each:
            self._verdicts.are_there_more_than(reply)  # which raises

    def _interrupted(self, reply: Reply) -> Reply:
        """A reply that none is due for, or that began before it was. 421 may always come; so may a refusal
        before a body is complete, after which nobody knows whether the rest is still wanted. Anything
        else is made up.
        """
        in_body = self._body is not None or type(next(iter(self._pending), (None,))[0]) in _ENDS_OF_BODY
        if reply.code != 421 and not (in_body and reply.code >= 400):
            raise LocalProtocolError(f"a reply that nothing asked for: {reply.code} {reply.lines[0]!r}")
        self._close()
        return reply

    def _hears_more(self, to: Any, reply: Reply) -> bool:
        """Whether `reply` is one of several verdicts, and not the last. A late one, on what nobody was to
        send, stands alone.
        """
        verdicts, kind, code = self._verdicts, type(to), reply._code
        if kind is EndOfMessage:
            in_body = self._machine.state in (State.DATA, State.CHUNK)
            return (code == 353 or (verdicts.for_each and in_body)) and verdicts.are_there_more_than(reply)
        if kind is Mail:
            verdicts.begin(prdr=code < 300 and "PRDR" in to._parameters)
        elif kind is Rcpt and code < 300:
            verdicts.accept(to._forward_path)
        return False

    def _learn_greeting(self, to: Command, reply: Reply) -> None:
        reply._to = None

    def _learn_hello(self, to: Command, reply: Reply) -> None:
        if reply.is_positive:
            self._learn_features(reply.features if isinstance(reply, Hello) else NO_FEATURES)

    def _learn_auth(self, to: Command, reply: Reply) -> None:
        self.authenticated: bool = reply.code == 235
        self._challenges += reply.code == 334
        if self._challenges > self.limits.auth_challenges:
            raise LocalProtocolError(f"more than {self.limits.auth_challenges} challenges")

    def _close(self) -> None:
        self._machine.closed()
        self._predicted.closed()
        self._mispredicted = False
        self._pending.clear()
        self._out.clear()  # nobody is there to hear it
        self._last_chunks = 0
        self._body = None


# What else a client learns from the answers to these.
_LEARN: dict[type[Command | None], Callable[[ClientConnection, Any, Reply], None]] = {
    Opening: ClientConnection._learn_greeting,
    Ehlo: ClientConnection._learn_hello,
    Lhlo: ClientConnection._learn_hello,
    Helo: ClientConnection._learn_hello,
    Auth: ClientConnection._learn_auth,
    AuthResponse: ClientConnection._learn_auth,
    XClient: ClientConnection._begin_afresh,
}
# Where a reply is not just the answer to what is pending first: what finds whose it is, if it is anybody's.
_WHOSE: dict[type[Command | None], Callable[[ClientConnection, Any], Any]] = {
    type(None): ClientConnection._nothing,
    Bdat: ClientConnection._chunk_or_end,
    Burl: ClientConnection._chunk_or_end,
}
_ANSWERS = {
    kind: (_WHOSE.get(kind), _LEARN.get(kind))
    for kind in (type(None), *(kind for row in TABLE.values() for kind in row))
}

_NOTHING: tuple[Any, int] = (None, 0)  # is pending
_ENDS_OF_BODY: frozenset[type[Command | None]] = frozenset((Bdat, Burl, EndOfMessage))
_CLOSED = State.CLOSED  # an Enum member is slow to look up before Python 3.12
_NOT_READING = frozenset((State.CLOSED, State.FAILED, State.TLS))
