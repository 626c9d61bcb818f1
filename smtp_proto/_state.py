"""The state of a session: every transition there is, as a table; blind to the role.

Theory of operation
===================

Client and server look at the same conversation, so both are judged by one table:

    state -> command -> {reply code or class of codes -> new state}

A command may be said in a state if the state's row has an entry for it. What happens then is decided
by the reply: by its exact code where the entry names it, else by its first digit (RFC 5321 4.3.2). A
class that is missing means: stay. Exact codes stand only where an RFC names them: 220 opens a session
and TLS, 334 goes on with AUTH, 354 asks for the message, 353 announces a verdict for each of its recipients
(PRDR). 421 stands nowhere, because it means the same
everywhere: the server closes (3.8). A 3yz that an entry does not name is an error of the peer: nobody
knows what it asks for.

`SAID` in the place of a code is the transition that saying the command makes, before any reply. Only
BDAT has one, and BURL with it: its octets follow at once, with no leave asked (RFC 3030 2).

Who answers what
----------------

The opening of the connection counts as a command, `Opening`, which the greeting answers. The verdict on
a message answers `EndOfMessage`, after DATA and after `BDAT ... LAST` alike; the reply to any other chunk
answers its `Bdat`. In LMTP the verdict is one reply for each accepted recipient (RFC 2033 4.2); the
transition is made by the last of them. With PRDR it is the same behind a 353, and then one more for all.

A client runs the machine twice
-------------------------------

With pipelining (RFC 2920) a client speaks before it is answered. So it keeps two machines. `confirmed`
moves with the replies. `predicted` runs ahead and takes every outstanding command for a success; what may
be said now is asked of it. Where the prediction came true both end in the same state; where it did not,
`predicted` starts again from `confirmed`. Pipelining needs no other code.

It follows that a reply can belong to a command that its row no longer has: MAIL was refused, and RCPT and
DATA were on their way already. Such a late reply changes nothing, with two exceptions that stand in
`LATE`: a server that said 354 all the same waits for a message, and one that took a message has taken it.

A server runs it once: it answers one command before it looks at the next.

What is not here
----------------

What a session knows besides (features, authenticated or not, TLS or not, recipients accepted) is kept by
the connection, and so are the rules that need it: "not without PIPELINING", "not twice", "not offered". The
table says in which order things may be said, and nothing else.

Nothing outside this file assigns a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from typing import ClassVar, TypeAlias, TypeVar

from ._commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTLS,
    UnknownCommand,
    Vrfy,
)
from ._extension_commands import Burl, Etrn, XClient, XForward


class State(Enum):
    """Where a session is."""

    # States are the keys of every look-up here, and Enum's own hash is written in Python.
    __hash__: ClassVar[Callable[[object], int]] = object.__hash__

    GREETING = "greeting"
    """Connected; the server has not greeted yet."""
    GREETED = "greeted"
    """Greeted, or TLS just began: the client has to introduce itself."""
    READY = "ready"
    """Introduced, and no mail transaction is open."""
    AUTH = "auth"
    """In the middle of a SASL exchange: the client's response is due."""
    TLS = "tls"
    """STARTTLS was answered with 220: nothing but the handshake may follow."""
    MAIL = "mail"
    """A transaction is open, and has no recipient yet."""
    RCPT = "rcpt"
    """A transaction with recipients."""
    DATA = "data"
    """354: the message is under way, up to its lone dot."""
    CHUNK = "chunk"
    """The octets of a chunk are under way."""
    BDAT = "bdat"
    """A chunk has been taken; the next one is due."""
    BDAT_FAILED = "bdat-failed"
    """A chunk has been refused: the transaction is dead, and RSET buries it (RFC 3030 2)."""
    REJECTED = "rejected"
    """The server greeted with a refusal: only QUIT is left (RFC 5321 3.1)."""
    CLOSED = "closed"
    """QUIT was answered, or the server said 421: nothing is said any more."""
    FAILED = "failed"
    """`fail()`: the transport gave up."""


IN_TRANSACTION = frozenset(
    (State.MAIL, State.RCPT, State.DATA, State.CHUNK, State.BDAT, State.BDAT_FAILED)
)  # fmt: skip


class Opening(Command):
    """The opening of the connection, seen as a command: it is what the greeting answers."""

    __slots__ = ()
    ends_group = True


OPENING = Opening()

SAID = 0

_K = TypeVar("_K")
_V = TypeVar("_V")
Outcomes: TypeAlias = Mapping[int, State]
Row: TypeAlias = Mapping[type[Command], Outcomes]

# RFC 5321 4.1.4: allowed at any time once greeted. EHLO begins afresh wherever it is said.
_ANY_TIME: Row = {
    Ehlo: {2: State.READY},
    Lhlo: {2: State.READY},
    Helo: {2: State.READY},
    Rset: {},
    Noop: {},
    Help: {},
    Vrfy: {},
    Expn: {},
    UnknownCommand: {},
    MalformedCommand: {},
    Quit: {2: State.CLOSED},
}

# RFC 5321 4.1.1.5, and what ends a transaction besides: the verdict, good or bad.
_IN_TRANSACTION: Row = {**_ANY_TIME, Rset: {2: State.READY}}
_VERDICT: Outcomes = {2: State.READY, 4: State.READY, 5: State.READY}

_CHUNK: Outcomes = {2: State.BDAT, 4: State.BDAT_FAILED, 5: State.BDAT_FAILED}

TABLE: Mapping[State, Row] = {
    State.GREETING: {
        Opening: {
            220: State.GREETED,
            2: State.REJECTED,
            4: State.REJECTED,
            5: State.REJECTED,
        },
    },
    State.GREETED: _ANY_TIME,
    State.READY: {
        **_ANY_TIME,
        StartTLS: {220: State.TLS},
        Auth: {334: State.AUTH},
        Mail: {2: State.MAIL},
        Etrn: {},
        XClient: {220: State.GREETED},
        XForward: {},
    },
    State.AUTH: {
        AuthResponse: {334: State.AUTH, **_VERDICT},
        MalformedCommand: _VERDICT,
    },
    State.TLS: {},
    State.MAIL: {
        **_IN_TRANSACTION,
        Rcpt: {2: State.RCPT},
    },
    State.RCPT: {
        **_IN_TRANSACTION,
        Rcpt: {},
        Data: {354: State.DATA},
        Bdat: {SAID: State.CHUNK},
        Burl: {SAID: State.CHUNK},
    },
    State.DATA: {
        MessageData: {},
        EndOfMessage: {353: State.DATA, **_VERDICT},
    },
    State.CHUNK: {
        MessageData: {},
        Bdat: _CHUNK,
        Burl: _CHUNK,
        EndOfMessage: {353: State.CHUNK, **_VERDICT},
    },
    State.BDAT: {
        **_IN_TRANSACTION,
        Bdat: {SAID: State.CHUNK},
        Burl: {SAID: State.CHUNK},
    },
    State.BDAT_FAILED: _IN_TRANSACTION,
    State.REJECTED: {
        MalformedCommand: {},
        Quit: {2: State.CLOSED},
    },
    State.CLOSED: {},
    State.FAILED: {},
}

# Replies to commands that were under way when one before them failed.
LATE: Row = {
    Data: {354: State.DATA},
    EndOfMessage: {2: State.READY},
}

_NO_OUTCOMES: Outcomes = {}

# An Enum member is slow to look up before Python 3.12.
_CLOSED, _FAILED = State.CLOSED, State.FAILED


def _outcomes(state: State, kind: type[Command]) -> Outcomes:
    return TABLE[state].get(kind) or LATE.get(kind) or _NO_OUTCOMES


def _success(state: State, kind: type[Command]) -> State:
    """Where a session ends up if `kind` is said and answered well."""
    state = _outcomes(state, kind).get(SAID, state)
    outcomes = _outcomes(state, kind)
    return next((outcomes[code] for code in (354, 220, 2) if code in outcomes), state)


def _after(state: State, kind: type[Command], code: int) -> State:
    """Where a session ends up if `kind`, said in `state` or late, is answered with `code`."""
    if code == 421:
        return State.CLOSED
    outcomes = _outcomes(state, kind)
    return outcomes.get(code) or outcomes.get(code // 100, state)


class _Found(dict[_K, _V]):
    """What `find` says of each key that was asked for."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[_K], _V]) -> None:
        self._find = find

    def __missing__(self, key: _K) -> _V:
        value = self[key] = self._find(key)
        return value


# What both ends ask of the table again and again, by state and command; after a reply by its code, too, of
# which there are four hundred.
_SUCCESS: Mapping[State, Mapping[type[Command], State]] = _Found(
    lambda state: _Found(partial(_success, state))
)
_ANSWERED: Mapping[State, Mapping[type[Command], Mapping[int, State]]] = _Found(
    lambda state: _Found(lambda kind: _Found(partial(_after, state, kind)))
)

_AFTER_RECIPIENTS = _SUCCESS[_SUCCESS[State.READY][Mail]][Rcpt]
_AFTER_DATA = _SUCCESS[_AFTER_RECIPIENTS][Data]


class Machine:
    """One walk through the table."""

    __slots__ = ("state",)

    def __init__(self, state: State = State.GREETING) -> None:
        self.state = state

    def said(self, kind: type[Command]) -> None:
        """A command of this kind was said."""
        self.state = _outcomes(self.state, kind).get(SAID, self.state)

    def names(self, kind: type[Command], code: int) -> bool:
        """Whether the table names exactly this code as an answer."""
        return code in _outcomes(self.state, kind)

    def answered(self, kind: type[Command], code: int) -> None:
        """A command of this kind was answered with `code`."""
        self.state = _ANSWERED[self.state][kind][code]

    def succeed(self, kind: type[Command]) -> None:
        """Take for granted that a command of this kind, which is allowed, was answered well."""
        self.state = _SUCCESS[self.state][kind]

    def succeed_with_envelope(self, *, asks_for_data: bool) -> None:
        """The same for MAIL, RCPT and perhaps DATA, where MAIL is allowed."""
        self.state = _AFTER_DATA if asks_for_data else _AFTER_RECIPIENTS

    def follow(self, predicted: Machine) -> None:
        """All that was outstanding was answered well, as `predicted` took for granted."""
        self.state = predicted.state

    def predict(self, confirmed: Machine, outstanding: Iterable[Command]) -> None:
        """Start again from `confirmed`, taking every command in `outstanding` for a success."""
        self.state = confirmed.state
        for command in outstanding:
            self.state = _success(self.state, type(command))

    def tls_started(self) -> None:
        """The handshake is done: the session begins afresh (RFC 3207 4.2)."""
        self.state = State.GREETED

    def closed(self) -> None:
        """Nothing more will be said."""
        self.state = _CLOSED

    def fail(self) -> None:
        """The transport gave up."""
        self.state = _FAILED
