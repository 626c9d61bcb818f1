"""Shared by the tests of SASL: a client, a server, an application, and somebody in between."""

from __future__ import annotations

import hashlib
import stringprep
from collections.abc import Callable
from functools import cache
from typing import Any
from unicodedata import ucd_3_2_0

import pytest
from hypothesis import strategies as st

from smtp_proto.sasl import (
    LEAST_ITERATIONS,
    MECHANISMS,
    ChannelBinding,
    CheckExternal,
    CheckPassword,
    CheckToken,
    Client,
    Context,
    Credentials,
    Identity,
    LookUp,
    LookUpSecret,
    Mechanism,
    Question,
    SASLError,
    StoredKeys,
    find_mechanism,
    saslprep,
)

NAMES = [mechanism.name for mechanism in MECHANISMS]
SCRAM = [name for name in NAMES if name.startswith("SCRAM-")]
BOUND = [name for name in SCRAM if name.endswith("-PLUS")]
BARE = [name for name in SCRAM if not name.endswith("-PLUS")]

# Dovecot's nonces have the same look: full of what other attributes are made of.
OURS, THEIRS = "fyko+d2lbbFg=x='\"", "3rfcNHYJY1=\"n=i='"
SALT = b"salt and pepper!"
BINDING = ChannelBinding("tls-exporter", bytes(range(32)))
SECRET = b"what the server keeps to itself"


# Both ends derive the same keys over and over, which is most of what an exchange costs.
hashlib.pbkdf2_hmac = cache(hashlib.pbkdf2_hmac)


def mechanism_of(name: str) -> Mechanism:
    mechanism = find_mechanism(name)
    assert mechanism is not None
    return mechanism


@cache
def keys(password: str, mechanism: str) -> StoredKeys:
    return StoredKeys.derive(password, SALT, LEAST_ITERATIONS, mechanism)


def client_context(name: str, **changes: Any) -> Context:
    fields: dict[str, Any] = {"nonce": OURS, "host": "mx.example", "port": 587, "offered": [name]}
    if name in BOUND:
        fields["bindings"] = (BINDING,)
    return Context(**fields | changes)


def server_context(name: str, **changes: Any) -> Context:
    fields: dict[str, Any] = {
        "nonce": THEIRS,
        "host": "mx.example",
        "offered": [name],
        "server_secret": SECRET,
        "iterations": LEAST_ITERATIONS,
    }
    if name in BOUND:
        fields["bindings"] = (ChannelBinding("tls-unique", b"another one"), BINDING)
    return Context(**fields | changes)


_prepared = cache(saslprep)


class Application:
    """Knows one user, who may act as the credentials say; and what it was asked."""

    def __init__(self, credentials: Credentials) -> None:
        self.user = _prepared(credentials.user, "the user name")
        self.password = _prepared(credentials.password or "", "the password")
        self.credentials = credentials
        self.asked: list[Question] = []

    def __call__(self, question: Question) -> object:
        self.asked.append(question)
        match question:
            case CheckPassword():
                given = question.user, question.password, question.authorize_as
                return given == (self.user, self.password, self.credentials.authorize_as)
            case LookUp():
                return keys(self.password, question.mechanism) if question.user == self.user else None
            case LookUpSecret():
                return self.password if question.user == self.user else None
            case CheckExternal():
                return self.user if question.authorize_as == self.credentials.authorize_as else None
            case CheckToken():
                acting = self.credentials.authorize_as or self.credentials.user
                good = (question.user, question.token) == (acting, self.credentials.token)
                elsewhere = (question.host, question.port) not in (("mx.example", 587), ("", 0))
                return self.user if good and not elsewhere else False
        raise AssertionError(question)


Tamper = Callable[[int, bytes], bytes]


def untouched(index: int, message: bytes) -> bytes:
    return message


class Exchange:
    """A client and a server that talk through somebody who may change what they say.

    `messages`: what was said, by both, before it was changed. `run` returns whom the
    server has authenticated, with the client's consent; or raises what the first of the two raises.
    """

    def __init__(
        self,
        name: str,
        credentials: Credentials,
        *,
        ours: Context | None = None,
        theirs: Context | None = None,
        initial: bool = True,
        tamper: Tamper = untouched,
    ) -> None:
        mechanism = mechanism_of(name)
        self.client: Client = mechanism.client(credentials, ours or client_context(name))
        self.messages: list[bytes] = []
        self.tamper = tamper
        self.mechanism = mechanism
        self.theirs = theirs or server_context(name)
        self.initial = initial

    def say(self, message: bytes) -> bytes:
        self.messages.append(message)
        return self.tamper(len(self.messages) - 1, message)

    def respond(self, challenge: bytes) -> bytes:
        try:
            response = self.client.send(challenge)
        except StopIteration:
            raise AssertionError("a client ends at a success only") from None
        assert response is not None
        return response

    def run(self, application: Callable[[Question], object]) -> Identity:
        first = next(self.client)
        assert (first is not None) == self.mechanism.client_first
        at_once = first is not None and self.initial
        server = self.mechanism.server(
            self.theirs, self.say(first) if first is not None and at_once else None
        )
        waiting = None if at_once else first
        answer: Any = None
        try:
            while True:
                wish = server.send(answer)
                if isinstance(wish, Question):
                    answer = application(wish)
                elif waiting is not None:
                    assert wish == b""
                    answer, waiting = self.say(waiting), None
                else:
                    answer = self.say(self.respond(self.say(wish)))
        except StopIteration as stop:
            identity = stop.value
        assert isinstance(identity, Identity)
        with pytest.raises(StopIteration):
            self.client.send(None)
        return identity


def refused(exchange: Exchange, application: Callable[[Question], object]) -> SASLError:
    """The error in which an exchange must end."""
    with pytest.raises(SASLError) as caught:
        exchange.run(application)
    return caught.value


# --- Strategies: names and passwords that RFC 4013 allows, also as stored strings


# RFC 4013 2.3 and 2.5, and what goes from right to left. Asking `saslprep` for each is five times as slow.
_NOT_PLAIN = [
    getattr(stringprep, f"in_table_{table}")
    for table in ("a1", "c21_c22", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "d1")
]


def _plain(character: str) -> bool:
    if stringprep.in_table_c12(character) or stringprep.in_table_b1(character):
        return True  # mapped to a space, or to nothing
    prepared = ucd_3_2_0.normalize("NFKC", character)
    return not any(is_in(each) for each in prepared for is_in in _NOT_PLAIN)


LEFT = "".join(
    filter(_plain, map(chr, [*range(0x20, 0x3100), *range(0xF900, 0xFB00), *range(0x1D400, 0x1D500)]))
)
RIGHT = "אבגדהושלםابتثج"

TEXTS = st.one_of(
    st.text("abc,=\"' @\\%", min_size=1, max_size=12),
    st.text(LEFT, min_size=1, max_size=12).filter(
        lambda text: text.strip("\u00ad\u200c\u200d\ufeff\u2060") != ""
    ),
    st.text(RIGHT, min_size=1, max_size=12),
)


def _preparable(text: str) -> bool:
    try:
        saslprep(text, "it", stored=True)
    except SASLError:
        return False
    return True


SECRETS = TEXTS.filter(_preparable)
TOKENS = st.text("abcXYZ019-._~+/=", min_size=1, max_size=40)
