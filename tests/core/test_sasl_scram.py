"""SCRAM: the published exchanges, the RFC's pseudocode, and all that either side must not believe."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections import Counter
from functools import cache
from random import Random
from typing import Any

import pytest
from exchanges import (
    BARE,
    BINDING,
    BOUND,
    OURS,
    SCRAM,
    SECRET,
    SECRETS,
    TEXTS,
    THEIRS,
    Application,
    Exchange,
    Tamper,
    client_context,
    keys,
    mechanism_of,
    refused,
    server_context,
)
from helpers import every
from hypothesis import given, note, settings
from hypothesis import strategies as st
from leaks import everything_said_of

from smtp_proto.sasl import (
    LEAST_ITERATIONS,
    MOST_ITERATIONS,
    AuthFailed,
    ChannelBinding,
    Client,
    Context,
    Credentials,
    Identity,
    LookUp,
    SASLError,
    Server,
    StoredKeys,
)

USER = Credentials("user", "pencil")
DEPUTY = Credentials("us=er,", "pencil", authorize_as="bo,ss=")

SHA_1 = (
    b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
SHA_256 = (
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    ),
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)
PUBLISHED = [
    ("SCRAM-SHA-1", SHA_1, "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92"),
    (
        "SCRAM-SHA-256",
        SHA_256,
        "rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
    ),
]


@pytest.mark.parametrize(("name", "messages", "ours", "theirs", "salt"), PUBLISHED)
def test_as_published(name: str, messages: tuple[bytes, ...], ours: str, theirs: str, salt: str) -> None:
    """RFC 5802 5 and RFC 7677 3, both sides to the octet."""
    stored = StoredKeys.derive("pencil", b64decode(salt), 4096, name)
    exchange = Exchange(
        name,
        USER,
        ours=client_context(name, nonce=ours),
        theirs=server_context(name, nonce=theirs),
    )
    assert exchange.run(lambda question: stored) == Identity("user")
    assert exchange.messages == [*messages, b""]


def _reference(
    name: str, password: bytes, salt: bytes, iterations: int, message: bytes
) -> tuple[bytes, bytes]:
    """Proof and verifier, by the pseudocode of RFC 5802 2.2 and 3, PBKDF2 spelled out."""
    hash_name = "sha256" if "256" in name else "sha1"

    def h(octets: bytes) -> bytes:
        return hashlib.new(hash_name, octets).digest()

    def mac(key: bytes, octets: bytes) -> bytes:
        return hmac.new(key, octets, hash_name).digest()

    u = mac(password, salt + bytes((0, 0, 0, 1)))
    salted = int.from_bytes(u, "big")
    for _ in range(iterations - 1):
        u = mac(password, u)
        salted ^= int.from_bytes(u, "big")
    size = len(u)
    key = salted.to_bytes(size, "big")
    client_key = mac(key, b"Client Key")
    signature = mac(h(client_key), message)
    proof = (int.from_bytes(client_key, "big") ^ int.from_bytes(signature, "big")).to_bytes(size, "big")
    return proof, mac(mac(key, b"Server Key"), message)


@pytest.mark.parametrize("name", SCRAM)
def test_beside_the_pseudocode_of_the_rfc(name: str) -> None:
    exchange = Exchange(name, DEPUTY)
    assert exchange.run(Application(DEPUTY)) == Identity("us=er,", "bo,ss=")
    first, challenge, response, last, _ = exchange.messages
    flag = b"p=tls-exporter" if name in BOUND else b"n"
    header = flag + b",a=bo=2Css=3D,"
    assert first == header + b"n=us=3Der=2C,r=" + OURS.encode()
    nonce = (OURS + THEIRS).encode()
    assert challenge == b"r=%b,s=%b,i=4096" % (nonce, b64encode(b"salt and pepper!"))
    channel = header + (BINDING.data if name in BOUND else b"")
    without_proof = b"c=%b,r=%b" % (b64encode(channel), nonce)
    message = b",".join((first.removeprefix(header), challenge, without_proof))
    proof, verifier = _reference(name, b"pencil", b"salt and pepper!", 4096, message)
    assert response == without_proof + b",p=" + b64encode(proof)
    assert last == b"v=" + b64encode(verifier)


# --- What a client refuses


def after_first(name: str = "SCRAM-SHA-256", **context: Any) -> Client:
    client = mechanism_of(name).client(USER, client_context(name, **context))
    next(client)
    return client


NONCE = (OURS + THEIRS).encode()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"r=%b" % NONCE,
        b"r=%b,s=c2FsdA==" % NONCE,
        b"r=%b,s=c2FsdA==,i=" % NONCE,
        b"r=%b,i=4096,s=c2FsdA==" % NONCE,
        b"s=c2FsdA==,r=%b,i=4096" % NONCE,
        b"m=ext,r=%b,s=c2FsdA==,i=4096" % NONCE,
        b"r=%b,s=c2FsdA==,i=4096,m=ext" % NONCE,
        b"r=%b,s=c2FsdA==,i=4096,i=4097" % NONCE,
        b"r=%b,s=c2FsdA==,i=4096," % NONCE,
        b"r=%b,s=c2FsdA==,i=4096,x" % NONCE,
        b"r=%b,s=c2FsdA==,i=4096,x=" % NONCE,
        b"r=%b,s=c2FsdA==,i=4096,x=a\0" % NONCE,
        # Salts: none, cut, in a second spelling, with foreign octets.
        b"r=%b,s=,i=4096" % NONCE,
        b"r=%b,s=c2FsdA=,i=4096" % NONCE,
        b"r=%b,s=c2FsdB==,i=4096" % NONCE,
        b"r=%b,s=c2Fs dA==,i=4096" % NONCE,
        b"r=%b,s=c2FsdA==c2FsdA==,i=4096" % NONCE,
        # Nonces: another, ours alone, ours in another place, none, with a space.
        b"r=%b,s=c2FsdA==,i=4096" % THEIRS.encode(),
        b"r=%b,s=c2FsdA==,i=4096" % OURS.encode(),
        b"r=x%b,s=c2FsdA==,i=4096" % NONCE,
        b"r=,s=c2FsdA==,i=4096",
        b"r=%b x,s=c2FsdA==,i=4096" % NONCE,
        b"r=%b,s=c2FsdA==,i=4096" % (OURS.encode() + b"x" * 1024),
        # Iterations.
        b"r=%b,s=c2FsdA==,i=1" % NONCE,
        b"r=%b,s=c2FsdA==,i=0" % NONCE,
        b"r=%b,s=c2FsdA==,i=4095" % NONCE,
        b"r=%b,s=c2FsdA==,i=%d" % (NONCE, MOST_ITERATIONS + 1),
        b"r=%b,s=c2FsdA==,i=2147483647" % NONCE,
        b"r=%b,s=c2FsdA==,i=99999999999" % NONCE,
        b"r=%b,s=c2FsdA==,i=-4096" % NONCE,
        b"r=%b,s=c2FsdA==,i=+4096" % NONCE,
        b"r=%b,s=c2FsdA==,i=04096" % NONCE,
        b"r=%b,s=c2FsdA==,i=4_096" % NONCE,
        b"r=%b,s=c2FsdA==,i= 4096" % NONCE,
        b"r=%b,s=c2FsdA==,i=4096.0" % NONCE,
        b"x" * 70000,
    ],
)
def test_first_messages_that_a_client_refuses(message: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    # And without working for it.
    monkeypatch.delattr(hashlib, "pbkdf2_hmac")
    client = after_first()
    with pytest.raises(SASLError) as caught:
        client.send(message)
    assert not isinstance(caught.value, AuthFailed)


def test_the_most_iterations_are_the_callers_choice() -> None:
    message = b"r=%b,s=c2FsdA==,i=5000" % NONCE
    assert after_first(most_iterations=5000).send(message)
    with pytest.raises(SASLError, match="5000 iterations"):
        after_first(most_iterations=4999).send(message)


def test_extensions_are_ignored_where_they_may_be() -> None:
    """RFC 5802 5.1: "Unknown optional extensions MUST be ignored upon receipt"."""
    assert after_first().send(b"r=%b,s=c2FsdA==,i=4096,d=1,X=a=b=,t==" % NONCE)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"v=",
        b"v=AAAA",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        b"V=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        b"v=not base64",
    ],
)
def test_proofs_that_a_client_refuses(message: bytes) -> None:
    client = after_first()
    client.send(b"r=%b,s=c2FsdA==,i=4096" % NONCE)
    with pytest.raises(SASLError):
        client.send(message)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"e=invalid-proof", "invalid-proof"),
        (b"e=unknown-user,x=y", "unknown-user"),
        (b"e=\x1b[31mhello", "other-error"),
        (b"e=" + b"x" * 41, "other-error"),
    ],
)
def test_an_error_of_the_server_has_its_name(message: bytes, error: str) -> None:
    client = after_first()
    client.send(b"r=%b,s=c2FsdA==,i=4096" % NONCE)
    for waiting in (client, after_first()):
        with pytest.raises(AuthFailed) as caught:
            waiting.send(message)
        assert caught.value.error == error
        assert str(caught.value) == "the server refused"


def test_a_server_that_does_not_know_the_password_is_not_believed() -> None:
    """It may take any proof; it cannot make one."""
    client = after_first()
    client.send(b"r=%b,s=c2FsdA==,i=4096" % NONCE)
    with pytest.raises(SASLError, match="did not prove"):
        client.send(b"v=" + b64encode(bytes(32)))
    # Nor is one that says "success" instead.
    client = after_first()
    client.send(b"r=%b,s=c2FsdA==,i=4096" % NONCE)
    with pytest.raises(SASLError):
        client.send(None)


# --- Channel binding (RFC 5802 6)


@pytest.mark.parametrize(
    ("name", "bindings", "offered", "flag"),
    [
        ("SCRAM-SHA-1", (), ["SCRAM-SHA-1"], b"n,"),
        ("SCRAM-SHA-1", (), SCRAM, b"n,"),
        ("SCRAM-SHA-1", (BINDING,), ["SCRAM-SHA-1"], b"y,"),
        ("SCRAM-SHA-1", (BINDING,), BARE, b"y,"),
        ("SCRAM-SHA-1", (BINDING,), ["SCRAM-SHA-1", "scram-sha-256-plus"], b"n,"),
        ("SCRAM-SHA-1-PLUS", (BINDING,), SCRAM, b"p=tls-exporter,"),
    ],
)
def test_the_flag_of_a_client(name: str, bindings: Any, offered: list[str], flag: bytes) -> None:
    context = Context(nonce=OURS, bindings=bindings, offered=offered)
    first = next(mechanism_of(name).client(USER, context))
    assert first is not None
    assert first.startswith(flag)


@pytest.mark.parametrize("kind", ["tls-exporter", "tls-server-end-point", "tls-unique"])
@pytest.mark.parametrize("name", BOUND)
def test_all_kinds_of_binding(name: str, kind: str) -> None:
    binding = (ChannelBinding(kind, b"\0\xff,=" * 8),)
    exchange = Exchange(
        name, USER, ours=client_context(name, bindings=binding), theirs=server_context(name, bindings=binding)
    )
    assert exchange.run(Application(USER)) == Identity("user")


def test_an_offer_without_plus_is_seen_by_the_server() -> None:
    """Somebody took the -PLUS out of what the client read."""
    ours = client_context("SCRAM-SHA-256", bindings=(BINDING,), offered=BARE)
    theirs = server_context("SCRAM-SHA-256", bindings=(BINDING,), offered=SCRAM)
    error = refused(Exchange("SCRAM-SHA-256", USER, ours=ours, theirs=theirs), Application(USER))
    assert isinstance(error, AuthFailed)
    assert error.error == "server-does-support-channel-binding"

    # And turning the "y" into an "n" is seen by the "c=".
    def turn(index: int, message: bytes) -> bytes:
        return b"n" + message[1:] if index == 0 else message

    error = refused(Exchange("SCRAM-SHA-256", USER, ours=ours, theirs=theirs, tamper=turn), Application(USER))
    assert error.error == "channel-bindings-dont-match"
    # Where the server offers none either, "y" is right; and who cannot bind may come in.
    for context in (ours, client_context("SCRAM-SHA-256")):
        assert Exchange("SCRAM-SHA-256", USER, ours=context).run(Application(USER)) == Identity("user")
    assert Exchange("SCRAM-SHA-256", USER, theirs=theirs).run(Application(USER)) == Identity("user")


@pytest.mark.parametrize(
    ("name", "first", "error"),
    [
        ("SCRAM-SHA-256-PLUS", b"n,,", "channel-binding-not-supported"),
        ("SCRAM-SHA-256-PLUS", b"y,,", "server-does-support-channel-binding"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,", "unsupported-channel-binding-type"),
        ("SCRAM-SHA-256", b"p=tls-exporter,,", "channel-binding-not-supported"),
    ],
)
def test_flags_that_a_server_refuses(name: str, first: bytes, error: str) -> None:
    server = mechanism_of(name).server(server_context(name), first + b"n=user,r=" + OURS.encode())
    with pytest.raises(AuthFailed) as caught:
        next(server)
    assert caught.value.error == error


@pytest.mark.parametrize("name", BOUND)
def test_another_tls_connection_is_seen(name: str) -> None:
    """Somebody in between has one with each side, and passes on what they say."""
    other = (ChannelBinding("tls-exporter", b"another connection"),)
    exchange = Exchange(name, USER, ours=client_context(name, bindings=other))
    assert refused(exchange, Application(USER)).error == "channel-bindings-dont-match"


# --- What a server refuses


def at_final(name: str = "SCRAM-SHA-256", application: Application | None = None) -> tuple[Server, bytes]:
    """A server that waits for the client's proof, and the right one."""
    exchange = Exchange(name, USER)
    exchange.run(Application(USER))
    server = mechanism_of(name).server(server_context(name), exchange.messages[0])
    question = next(server)
    assert server.send((application or Application(USER))(question)) == exchange.messages[1]
    return server, exchange.messages[2]


@every(
    "message",
    [
        b"",
        b"n,,",
        b"n,,n=user",
        b"n,n=user,r=%b",
        b",,n=user,r=%b",
        b"N,,n=user,r=%b",
        b"x,,n=user,r=%b",
        b"p=,,n=user,r=%b",
        b"n,a=,n=user,r=%b",
        b"n,b=x,n=user,r=%b",
        b"n,,r=%b,n=user",
        b"n,,m=ext,n=user,r=%b",
        b"n,,n=user,r=%b,m=ext",
        b"n,,n=user,r=%b,n=root",
        b"n,,n=,r=%b",
        b"n,,n=us=er,r=%b",
        b"n,,n=us=2cer,r=%b",
        b"n,,n=us=",
        b"n,,n=us\0er,r=%b",
        b"n,,n=us\xffer,r=%b",
        b"n,,n=us\x07er,r=%b",
        b"n,,n=\xc2\xad,r=%b",
        b"n,a=\xff,n=user,r=%b",
        b"n,a=a\x07,n=user,r=%b",
        b"n,,n=user,r=",
        b"n,,n=user,r= %b",
        b"n,,n=user,r=\xc3\xa9",
        b"n,,n=" + b"x" * 1025 + b",r=%b",
        b"n,,n=" + b"x" * 70000 + b",r=%b",
    ],
)
def test_first_messages_that_a_server_refuses(message: bytes) -> None:
    server = mechanism_of("SCRAM-SHA-256").server(
        server_context("SCRAM-SHA-256"), message.replace(b"%b", OURS.encode())
    )
    with pytest.raises(SASLError) as caught:
        next(server)
    assert not isinstance(caught.value, AuthFailed)


def _no_proof(final: bytes) -> bytes:
    return final[: final.rindex(b",p=")]


@every(
    "change",
    [
        lambda final: b"",
        _no_proof,
        lambda final: _no_proof(final) + b",p=",
        lambda final: _no_proof(final) + b",p=AAAA",
        lambda final: _no_proof(final) + b",p=" + b64encode(bytes(32)),
        lambda final: final + b"A",
        lambda final: final + b",x=y",
        lambda final: b"x=y," + final,
        lambda final: final.replace(b"c=biws", b"c=eSws"),
        lambda final: final.replace(b"c=biws", b"c=biwt"),
        lambda final: final.replace(b"c=biws", b"c=bi ws"),
        lambda final: final.replace(b"c=biws,", b""),
        lambda final: final.replace(b"r=" + NONCE, b"r=" + NONCE + b"x"),
        lambda final: final.replace(b"r=" + NONCE, b"r=" + OURS.encode()),
        lambda final: final.replace(b",p=", b",m=x,p="),
        lambda final: final.replace(b",p=", b",x=y,p="),
        lambda final: final.replace(b",p=", b",p=AAAA,p="),
    ],
)
def test_final_messages_that_a_server_refuses(change: Any) -> None:
    server, final = at_final()
    with pytest.raises(SASLError):
        server.send(change(final))


def test_a_right_proof_of_another_nonce() -> None:
    """The server wants its own nonce back, whatever the client signs."""
    server, _ = at_final()
    without_proof = b"c=biws,r=" + NONCE + b"x"
    first = b"n=user,r=%b,r=%b,s=%b,i=4096" % (OURS.encode(), NONCE, b64encode(b"salt and pepper!"))
    proof, _ = _reference("SCRAM-SHA-256", b"pencil", b"salt and pepper!", 4096, first + b"," + without_proof)
    with pytest.raises(AuthFailed) as caught:
        server.send(without_proof + b",p=" + b64encode(proof))
    assert caught.value.error == "other-error"


def test_the_right_final_message_and_what_may_follow() -> None:
    server, final = at_final()
    assert server.send(final).startswith(b"v=")
    with pytest.raises(SASLError, match="nothing answers"):
        server.send(b"more")


@pytest.mark.parametrize("name", SCRAM)
def test_what_was_said_yesterday_proves_nothing(name: str) -> None:
    """The client's messages again, to a server with a new nonce: as they were, and with that nonce."""
    yesterday = Exchange(name, USER)
    yesterday.run(Application(USER))
    first, _, final, *_ = yesterday.messages
    new = THEIRS[::-1] + "new"
    for again in (final, final.replace(THEIRS.encode(), new.encode())):
        server = mechanism_of(name).server(server_context(name, nonce=new), first)
        assert next(server) == LookUp("user", name.removesuffix("-PLUS"))
        assert new.encode() in server.send(keys("pencil", name.removesuffix("-PLUS")))
        with pytest.raises(AuthFailed):
            server.send(again)


def test_keys_of_another_hash_are_a_mistake_of_the_application() -> None:
    server = mechanism_of("SCRAM-SHA-256").server(
        server_context("SCRAM-SHA-256"), b"n,,n=user,r=" + OURS.encode()
    )
    next(server)
    with pytest.raises(ValueError, match="SCRAM-SHA-1 do not serve SCRAM-SHA-256"):
        server.send(keys("pencil", "SCRAM-SHA-1"))


# --- Unknown users


class Work:
    """Counts what is computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: Counter[str] = Counter()
        for module, name in ((hashlib, "pbkdf2_hmac"), (hashlib, "new"), (hmac, "digest")):
            monkeypatch.setattr(module, name, self.counted(name, getattr(module, name)))
        monkeypatch.setattr(hmac, "compare_digest", self.counted("compare", hmac.compare_digest))
        monkeypatch.setattr(hmac, "new", self.counted("hmac", hmac.new))

    def counted(self, name: str, function: Any) -> Any:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            self.done[name] += 1
            return function(*arguments, **named)

        return wrapper


def shape(message: bytes) -> bytes:
    """A message, with all that is random or a name made equal, and its length kept."""
    return re.sub(rb"[A-Za-z0-9+/]", b"x", message)


@pytest.mark.parametrize("name", [*SCRAM, "CRAM-MD5"])
def test_an_unknown_user_looks_like_a_wrong_password(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application(USER)
    keys("pencil", name.removesuffix("-PLUS") if name in SCRAM else "SCRAM-SHA-1")
    seen = []
    for user, password in (("user", "pencil2"), ("resu", "pencil"), ("uuuu", "x")):
        credentials = Credentials(user, password)
        with monkeypatch.context() as patch:
            work = Work(patch)
            exchange = Exchange(name, credentials)
            error = refused(exchange, application)
            assert isinstance(error, AuthFailed)
            shapes = [shape(message) for message in exchange.messages]
            seen.append((work.done, shapes, str(error), error.error, error.details))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0]["compare"]


def test_what_is_made_up_is_the_same_tomorrow_and_differs_from_user_to_user() -> None:
    def salt(user: str, secret: bytes = SECRET) -> bytes:
        server = mechanism_of("SCRAM-SHA-256").server(
            server_context("SCRAM-SHA-256", server_secret=secret, iterations=12345),
            f"n,,n={user},r={OURS}".encode(),
        )
        next(server)
        first = server.send(None)
        assert isinstance(first, bytes)
        assert first.endswith(b",i=12345")
        return first

    assert salt("nobody") == salt("nobody")
    assert len({salt("nobody"), salt("noone"), salt("nobody", b"another secret !")}) == 3


def test_passwords_are_checked_by_stored_keys_with_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for mechanism in BARE:
        known = keys("pencil", mechanism)
        unknown = StoredKeys.made_up("user", SECRET, LEAST_ITERATIONS, mechanism)
        assert known.mechanism == unknown.mechanism == mechanism
        assert known.matches("pencil")
        assert known.matches("pen\u00adcil")
        done = []
        for stored in (known, unknown):
            with monkeypatch.context() as patch:
                work = Work(patch)
                assert not stored.matches("pencil2")
                done.append(work.done)
        assert done[0] == done[1]
        assert done[0]["pbkdf2_hmac"] == 1


def test_what_is_made_up_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for who could guess it."""
    guessed = keys("pencil", "SCRAM-SHA-256")
    monkeypatch.setattr(StoredKeys, "made_up", lambda *arguments: guessed)
    assert isinstance(refused(Exchange("SCRAM-SHA-256", USER), lambda question: None), AuthFailed)

    server = mechanism_of("CRAM-MD5").server(server_context("CRAM-MD5"), None)
    challenge = next(server)
    assert isinstance(challenge, bytes)
    server.send(
        b"user " + hmac.new(hmac.digest(SECRET, b"user", "sha256"), challenge, "md5").hexdigest().encode()
    )
    with pytest.raises(AuthFailed):
        server.send(None)


# --- Changed on the way


def changing(target: int, change: Any) -> Tamper:
    def tamper(index: int, message: bytes) -> bytes:
        return change(message) if index == target else message

    return tamper


@cache
def honest(name: str) -> list[bytes]:
    """What is said if nobody meddles."""
    exchange = Exchange(name, DEPUTY)
    exchange.run(Application(DEPUTY))
    return exchange.messages


@pytest.mark.parametrize("name", SCRAM)
def test_any_octet_that_is_changed_is_seen(name: str) -> None:
    random = Random(name)
    for target, message in enumerate(honest(name)):
        for at, octet in enumerate(message):
            changed = message[:at] + bytes((octet ^ random.randrange(1, 256),)) + message[at + 1 :]
            tamper = changing(target, lambda message, changed=changed: changed)
            error = refused(Exchange(name, DEPUTY, tamper=tamper), Application(DEPUTY))
            assert "pencil" not in everything_said_of(error)


ODD = [b",x=y", b"=", b",m=x", b"x" * 66000]


@pytest.mark.parametrize("name", SCRAM)
def test_what_is_cut_or_added_is_seen(name: str) -> None:
    random = Random(name)
    for target, message in enumerate(honest(name)):
        for at in range(len(message) + 1):
            if at < len(message) and random.random() < 0.5:
                changed = message[:at] + message[random.randint(at + 1, len(message)) :]
            else:
                odd = random.choice([random.randbytes(random.randint(1, 8)), *ODD])
                changed = message[:at] + odd + message[at:]
            check_change(name, target, message, changed)


@settings(max_examples=100)
@given(st.data())
def test_any_part_of_a_message_that_is_exchanged_is_seen(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(SCRAM))
    target, message = data.draw(st.sampled_from([*enumerate(honest(name))]))
    start = data.draw(st.integers(0, len(message)))
    end = data.draw(st.integers(start, len(message)))
    changed = message[:start] + data.draw(st.binary(max_size=12)) + message[end:]
    if changed != message:
        check_change(name, target, message, changed)


def check_change(name: str, target: int, message: bytes, changed: bytes) -> None:
    exchange = Exchange(name, DEPUTY, tamper=changing(target, lambda _: changed))
    try:
        exchange.run(Application(DEPUTY))
    except SASLError as error:
        said = everything_said_of(error)
    else:
        # What follows the server's proof is covered by none, and means nothing: an extension.
        assert target == 3
        assert changed.startswith(message)
        assert re.fullmatch(rb",[A-Za-z]=[^\0,]+", changed[len(message) :])
        said = ""
    assert "pencil" not in said


@settings(max_examples=40)
@given(user=TEXTS, password=SECRETS, wrong=SECRETS, authorize_as=st.one_of(st.just(""), TEXTS))
def test_everybody_comes_in_with_the_right_password_alone(
    user: str, password: str, wrong: str, authorize_as: str
) -> None:
    try:
        credentials = Credentials(user, password, authorize_as=authorize_as)
        application = Application(credentials)
    except SASLError:
        return
    other = Credentials(user, wrong, authorize_as=authorize_as)
    for name in SCRAM:
        note(name)
        identity = Exchange(name, credentials).run(application)
        assert identity == Identity(application.user, authorize_as), name
        if Application(other).password != application.password:
            assert isinstance(refused(Exchange(name, other), application), AuthFailed), name
