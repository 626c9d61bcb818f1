"""Sessions: who says what, and what may follow it. Each part of a session draws what is said in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._commands import (
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
    MessageData,
    Noop,
    Quit,
    Rset,
    StartTLS,
    UnknownCommand,
    Vrfy,
)
from ..._extension_commands import Burl, Etrn, XClient, XForward
from ..._features import Features
from ..._replies import AuthChallenge, Greeting, Hello, Reply
from ._bodies import messages
from ._commands import commands, is_offered, mails, rcpts, urls
from ._dialogue import Dialogue, Said
from ._features import usual_features
from ._text import ALNUM, some

# To take what comes first is simplest, so most things succeed.
_MOSTLY = st.sampled_from([True, True, True, False])
_NEARLY_ALWAYS = st.sampled_from([True] * 11 + [False])
_PARTS = st.lists(
    st.sampled_from([*["transaction"] * 6, "question", "tls", "login", "login", "proxy", "again"]), max_size=8
)
_NOW_AND_THEN = st.sampled_from([False, False, True])
# Seven times of eight a session has the end that it would have.
_ENDS = st.integers(0, 255).map(lambda number: None if number < 224 else number - 224)


def dialogues(*, lmtp: bool | None = None) -> SearchStrategy[Dialogue]:
    """A whole legal session: greeting, EHLO, LHLO or HELO, STARTTLS, AUTH, transactions with DATA, BDAT and
    BURL, and whatever may stand between them. Commands are pipelined where the server offers it, anything may
    be refused, and 421 may end it anywhere.

    `lmtp`: which protocol it is; None: either.

    Messages are such as the session allows: no bare CR or LF, no
    NUL, no line of more than 998 octets, no octets above 127, unless MAIL announces them.
    """
    return _dialogues(st.booleans() if lmtp is None else st.just(lmtp))


@st.composite
def _dialogues(draw: st.DrawFn, kinds: SearchStrategy[bool]) -> Dialogue:
    talk = _Talk(draw, lmtp=draw(kinds))
    talk.hold()
    return Dialogue(tuple(_cut_short(talk.said, draw(_ENDS), draw(_code(421)))), talk.lmtp)


def _cut_short(said: list[Said], answers: int | None, closing: Reply) -> list[Said]:
    """With 421 in the place of one of the answers, counted round and round."""
    places = [at for at, one in enumerate(said) if isinstance(one, Reply)]
    return said if answers is None else [*said[: places[answers % len(places)]], closing]


# What is said in the answers is another matter, see `replies()`: here it is plain, so that one who reads the
# session sees what happens, and each costs one choice.
_TEXTS = (("ok",), ("",), ("first", "second"), ("\xe4\udcff", ""))
_NAMES = st.sampled_from(["mx.example", "a", "[192.0.2.1]", "[IPv6:::1]"])


@cache
def _code(*codes: int) -> SearchStrategy[Reply]:
    plain = [Reply(code=code, lines=lines) for lines in _TEXTS for code in codes]
    coded = [Reply(code=code, enhanced=f"{code // 100}.0.0", text="so") for code in codes if code // 100 != 3]
    return st.sampled_from([*plain, *coded])


_GREETINGS = st.sampled_from(
    [Greeting(domain="mx.example"), Greeting(), Greeting(lines=("mx.example ESMTP", "hi"))]
)
_REFUSALS = _code(550, 554, 501, 500, 599, 450, 451, 400)
_VERDICTS = _code(250) | _REFUSALS
_ANNOUNCEMENT = Reply(code=353, text="one for each")
_STRANGE = commands(UnknownCommand)
_WORDS = some(ALNUM, 8)
_BINARY = Mail(reverse_path="", parameters={"BODY": "BINARYMIME"})

# What changes nothing, and the good answers to it; the first five may be said in a transaction, too.
_QUESTIONS: dict[type[Command], tuple[int, ...]] = {
    Noop: (250,),
    Help: (214, 211),
    Vrfy: (250, 251, 252),
    Expn: (250, 252),
    UnknownCommand: (500,),
    Etrn: (250, 251, 252, 253),
    XForward: (250,),
}


class _Envelope(NamedTuple):
    """The transaction that is open: or not, if MAIL is refused and nobody knows it yet."""

    mail: Mail
    is_open: bool
    accepted: int


class _Talk:
    """A session as it is drawn."""

    def __init__(self, draw: st.DrawFn, *, lmtp: bool) -> None:
        self.draw = draw
        self.lmtp = lmtp
        self.said: list[Said] = []
        self._due: list[Reply] = []  # to what was said already
        self._features = Features()
        self._tls = False
        self._authenticated = False

    def hold(self) -> None:
        """All of it, from the greeting to the end."""
        if self._is_taken(_GREETINGS, often=_NEARLY_ALWAYS):
            self._introduce()
            parts: dict[str, Callable[[], None]] = {
                "transaction": self._transact,
                "question": self._ask,
                "tls": self._secure,
                "login": self._log_in,
                "again": self._introduce,
                "proxy": self._pass_on,
            }
            for part in self.draw(_PARTS):
                parts[part]()
        if self._mostly():
            self._ask_for(Quit(), _code(221))

    def _mostly(self) -> bool:
        return self.draw(_MOSTLY)

    def _say(self, *said: Command, answers: Iterable[Reply]) -> None:
        self.said += said
        self._due += answers

    def _hear(self) -> None:
        """Wait for all that is due."""
        self.said += self._due
        self._due.clear()

    def _may_be_wrong(self) -> bool:
        """Whether more is said before everything is answered (RFC 2920)."""
        if "PIPELINING" not in self._features or self.draw(_NOW_AND_THEN):
            self._hear()
        return bool(self._due)

    def _ask_for(self, command: Command, answers: SearchStrategy[Reply]) -> None:
        """Say something alone, and hear the answer."""
        self._say(command, answers=[self.draw(answers)])
        self._hear()

    def _is_taken(
        self,
        positive: SearchStrategy[Reply],
        *said: Command,
        possible: bool = True,
        often: SearchStrategy[bool] = _MOSTLY,
    ) -> bool:
        """Say something alone: whether the answer is positive."""
        taken = self._offer(positive, *said, possible=possible and self.draw(often))
        self._hear()
        return taken

    def _offer(self, positive: SearchStrategy[Reply], *said: Command, possible: bool) -> bool:
        """Say something, and do not wait: whether the answer will be positive."""
        self._say(*said, answers=[self.draw(positive if possible else _REFUSALS)])
        return possible

    def _introduce(self) -> None:
        """EHLO or LHLO, which is tried again if it is refused; HELO in the place of EHLO."""
        name = self.draw(_NAMES)
        offer = self._fitting(self.draw(usual_features()))
        hellos = _NAMES.map(lambda domain: Hello(domain=domain, features=offer))
        first, second = (Lhlo(domain=name),) * 2 if self.lmtp else (Ehlo(domain=name), Helo(domain=name))
        if not self._is_taken(hellos, first, often=_NEARLY_ALWAYS):
            self._ask_for(second, hellos if self.lmtp else _code(250))
            offer = offer if self.lmtp else Features()
        self._features = offer

    def _fitting(self, offer: Features) -> Features:
        """What of this may be offered here: RFC 3207 4.2, RFC 8689 3; PRDR is for SMTP."""
        unfit = {"STARTTLS" if self._tls else "REQUIRETLS", "PRDR" if self.lmtp else ""}
        return Features({keyword: words for keyword, words in offer.items() if keyword not in unfit})

    def _begin_afresh(self) -> None:
        self._authenticated = False
        self._introduce()

    def _secure(self) -> None:
        if "STARTTLS" in self._features and self._is_taken(_code(220), StartTLS()):
            self.said.append(None)
            self._tls = True
            self._begin_afresh()

    def _pass_on(self) -> None:
        if "XCLIENT" in self._features:
            command = self.draw(commands(XClient, features=self._features))
            if self._is_taken(_GREETINGS, command):
                self._begin_afresh()

    def _ask(self, *, kinds: tuple[type[Command], ...] = tuple(_QUESTIONS)) -> None:
        offered = [kind for kind in kinds if kind is UnknownCommand or is_offered(kind, self._features)]
        kind = self.draw(st.sampled_from(offered))
        command = self.draw(_STRANGE if kind is UnknownCommand else commands(kind, features=self._features))
        self._is_taken(_code(*_QUESTIONS[kind]), command, possible=kind is not UnknownCommand)

    def _log_in(self) -> None:
        if self._authenticated or "AUTH" not in self._features:
            return
        mechanism = self.draw(st.sampled_from(self._features.auth))
        user, password = self.draw(_WORDS).encode(), self.draw(_WORDS).encode()
        initial, exchange = _exchange(mechanism, user, password, self.draw(st.booleans()))
        command: Command = Auth(mechanism=mechanism, initial_response=initial)
        for question, response in exchange:
            if not self._is_taken(st.just(AuthChallenge(data=question)), command):
                return
            if self.draw(_NOW_AND_THEN):
                self._ask_for(AuthResponse(data=None), _code(501))
                return
            command = AuthResponse(data=response)
        self._authenticated = self._is_taken(_code(235), command)

    def _transact(self) -> None:
        mail = self.draw(mails(self._features))
        if "BINARYMIME" in self._features and not self._mostly():
            mail = _BINARY
        is_open = self._offer(_code(250), mail, possible=self._mostly())
        accepted = 0
        recipients = rcpts(self._features, utf8="SMTPUTF8" in mail.parameters)
        for rcpt in self.draw(st.lists(recipients, min_size=1, max_size=3)):
            if not self._may_be_wrong() and not is_open:
                return
            accepted += self._offer(_code(250, 251), rcpt, possible=is_open and self._mostly())
        self._end(_Envelope(mail, is_open, accepted))

    def _end(self, envelope: _Envelope) -> None:
        """Whatever may follow the recipients."""
        if not self._may_be_wrong():
            if not envelope.accepted:
                return self._give_up(envelope)
            if not self._mostly():
                self._ask(kinds=tuple(_QUESTIONS)[:5])
        ways = [self._send_data] if envelope.mail.parameters.get("BODY") != "BINARYMIME" else []
        ways += [self._send_chunks] if {"CHUNKING", "BURL"} & self._features.keys() else []
        return self.draw(st.sampled_from([*ways, *ways, self._give_up]))(envelope)

    def _give_up(self, envelope: _Envelope) -> None:
        self._hear()
        if envelope.is_open and self._mostly():
            self._ask_for(Rset(), _code(250))
        elif envelope.is_open:
            self._introduce()

    def _send_data(self, envelope: _Envelope) -> None:
        if not self._is_taken(_code(354), Data(), possible=envelope.accepted > 0):
            return self._give_up(envelope)
        contents = [MessageData(data=data) for data in self.draw(_contents(envelope.mail))]
        self._say(*contents, EndOfMessage(), answers=self._verdicts(envelope))
        return self._hear()

    def _send_chunks(self, envelope: _Envelope) -> None:
        is_fine = envelope.accepted > 0
        for chunk, data in self._chunks(envelope.mail):
            if not self._may_be_wrong() and not is_fine:
                break
            said = (chunk, *([MessageData(data=data)] if data else []))
            if not chunk.last:
                is_fine = self._offer(_code(250), *said, possible=is_fine and self._mostly())
            elif is_fine:
                self._say(*said, EndOfMessage(), answers=self._verdicts(envelope))
            else:
                self._say(*said, EndOfMessage(), answers=[self.draw(_REFUSALS)])
        self._hear()
        if not is_fine:
            self._give_up(envelope)

    def _chunks(self, mail: Mail) -> Iterable[tuple[Bdat | Burl, bytes]]:
        contents = self.draw(_contents(mail))
        only = None if {"CHUNKING", "BURL"} <= self._features.keys() else "BURL" in self._features
        left = len(contents) if "CHUNKING" in self._features else 1
        for data in contents[-left:]:
            left -= 1
            if self.draw(st.booleans()) if only is None else only:
                yield Burl(url=self.draw(urls()), last=not left), b""
            else:
                yield Bdat(size=len(data), last=not left), data

    def _verdicts(self, envelope: _Envelope) -> list[Reply]:
        """One; in LMTP, and with PRDR if the server likes, one for each recipient (RFC 2033 4.2)."""
        each = [self.draw(_VERDICTS) for _ in range(envelope.accepted if self.lmtp else 1)]
        if "PRDR" not in envelope.mail.parameters or not self._mostly():
            return each
        announced = [self.draw(_VERDICTS) for _ in range(envelope.accepted)]
        return [_ANNOUNCEMENT, *announced, *each]


def _contents(mail: Mail) -> SearchStrategy[list[bytes]]:
    """A message that this MAIL announces, in pieces; its last line is complete."""
    body = mail.parameters.get("BODY")
    if body == "BINARYMIME":
        return st.lists(messages(), min_size=1, max_size=3)
    eight_bit = body == "8BITMIME" or "SMTPUTF8" in mail.parameters
    pieces = messages(bare_line_ends=False, nul=False, eight_bit=eight_bit, long_lines=False)
    return st.lists(pieces, min_size=1, max_size=4).map(_closed)


def _closed(pieces: list[bytes]) -> list[bytes]:
    body = b"".join(pieces)
    return pieces if not body or body.endswith(b"\r\n") else [*pieces[:-1], pieces[-1] + b"\r\n"]


def _exchange(
    mechanism: str, user: bytes, password: bytes, is_quick: bool
) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
    """The initial response, and what the server asks and the client answers."""
    if mechanism == "PLAIN":
        response = b"\0".join((b"", user, password))
        return (response, []) if is_quick else (None, [(b"", response)])
    if mechanism == "LOGIN":
        return None, [(b"Username:", user), (b"Password:", password)]
    return None, [(b"<1@mx.example>", user + b" " + b"0123456789abcdef" * 2)]
