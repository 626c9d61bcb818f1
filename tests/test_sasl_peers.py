"""Every mechanism beside software that nobody here wrote: scramp, pysasl, aiosmtpd, aiosmtplib, imapclient,
smtplib; in both roles where it has both. `DIFFERENCES` tells where a peer and we are not of one mind.

OAUTHBEARER has independent clients and no server; ANONYMOUS has nobody whom somebody still maintains.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import aiosmtplib
import imapclient
import pytest
from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA224, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from exchanges import (
    BINDING,
    BOUND,
    SALT,
    SCRAM,
    SECRETS,
    TEXTS,
    TOKENS,
    Application,
    Exchange,
    client_context,
    mechanism_of,
    refused,
    server_context,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from peers import MESSAGE, RECIPIENT, SENDER, Peer, certificates, listening, nothing_left, serving
from pysasl import SASLAuth
from pysasl.creds.client import ClientCredentials
from pysasl.creds.external import ExternalVerificationRequired
from pysasl.identity import ClearIdentity
from pysasl.mechanism import ChallengeResponse, ServerChallenge
from pysasl.prep import saslprep as pysasl_prep
from scramp import ScramClient, ScramException, ScramMechanism
from scramp.core import CBindData
from scramp.utils import saslprep as scramp_prep

from smtp_proto import Refused, sasl
from smtp_proto.sasl import AuthFailed, ChannelBinding, Client, Credentials, Identity, StoredKeys, saslprep
from smtp_transports._bindings import server_end_point
from smtp_transports.auth import AuthSettings
from smtp_transports.blocking import connect
from smtp_transports.handlers import Discard

ADA = Credentials("ada", "pencil", token="t0ken")
KEYS = StoredKeys.derive("pencil", SALT, 4096)
BARE, PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"
UNIQUE = ChannelBinding("tls-unique", bytes(range(12)))
PYSASL: Any = SASLAuth.named([b"PLAIN", b"LOGIN", b"CRAM-MD5", b"EXTERNAL", b"XOAUTH2"])
NAMES = SECRETS.filter(lambda text: "\u200b" not in text)  # see DIFFERENCES
Serve = Callable[[Any, bytes | None], Iterator[Any]]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left open, and nobody asks the DNS for the name of this machine."""
    monkeypatch.setattr(socket, "getfqdn", lambda *_: "mx.example")
    with nothing_left():
        yield


def between(
    name: str,
    credentials: Credentials,
    *,
    client: Client | None = None,
    server: Serve | None = None,
    binding: ChannelBinding | None = None,
    offered: Sequence[str] = (),
    initial: bool = True,
) -> Exchange:
    """An exchange of which one side is not ours. `binding`, `offered`: what our side knows of them."""
    known: dict[str, Any] = {"bindings": (binding,) if binding else (), "offered": offered or [name]}
    ours, theirs = client_context(name, **known), server_context(name, **known)
    exchange = Exchange(name, credentials, ours=ours, theirs=theirs, initial=initial)
    exchange.client = client or exchange.client
    if server is not None:
        peer: Any = SimpleNamespace(client_first=exchange.mechanism.client_first, server=server)
        exchange.mechanism = peer
    return exchange


def nobody(question: object) -> None:
    """What is asked where the server is not ours: nothing."""
    raise AssertionError(question)


# --- SCRAM: scramp


def scramp_client(name: str, user: str, password: str, binding: ChannelBinding | None = None) -> Client:
    peer = ScramClient([name], user, password, binding and (binding.kind, binding.data))
    peer.set_server_first((yield peer.get_client_first().encode()).decode())
    peer.set_server_final((yield peer.get_client_final().encode()).decode())
    assert (yield b"") is None


def scramp_server(name: str, user: str, keys: StoredKeys, binding: ChannelBinding | None = None) -> Serve:
    known = keys.salt, keys.stored_key, keys.server_key, keys.iterations

    def serve(context: object, initial: bytes | None) -> Iterator[Any]:
        bound = binding and (binding.kind, binding.data)
        peer = ScramMechanism(name).make_server(lambda asked: known if asked == user else None, bound)
        try:
            peer.set_client_first(((yield b"") if initial is None else initial).decode())
            peer.set_client_final((yield peer.get_server_first().encode()).decode())
        except ScramException:
            yield peer.get_server_final().encode()  # "e=", at which our client must give up
            raise AssertionError("nothing follows an error") from None
        assert (yield peer.get_server_final().encode()) == b""
        return Identity(user)

    return serve


def knowing(user: str, keys: StoredKeys) -> Callable[[Any], StoredKeys | None]:
    return lambda question: keys if question.user == user else None


@pytest.mark.parametrize("name", SCRAM)
@settings(max_examples=15)
@given(user=NAMES, password=NAMES, wrong=NAMES, initial=st.booleans())
@example("=2C,=3D", "a,b=c", "a,b=C", True)
@example("I\u00adX", "pä\u00a0ss", "pass", False)
@example("\u05d0\u05d1", "\u2168", "ix", True)
def test_scramp_and_we_let_in_the_same(
    name: str, user: str, password: str, wrong: str, initial: bool
) -> None:
    """And what one derives of a password serves the other."""
    assume(saslprep(password, "it") != saslprep(wrong, "it"))
    prepared, scheme = saslprep(user, "it"), name.removesuffix("-PLUS")
    binding = UNIQUE if name in BOUND else None
    ours = StoredKeys.derive(password, SALT, 4096, scheme)
    salt, stored_key, server_key, iterations = ScramMechanism(scheme).make_auth_info(password, 4096, SALT)
    theirs = StoredKeys(salt, iterations, stored_key, server_key)

    def exchanges(tried: str) -> Iterator[Exchange]:
        client = scramp_client(name, user, tried, binding)
        yield between(name, ADA, client=client, binding=binding, initial=initial)
        server = scramp_server(name, prepared, ours, binding)
        yield between(name, Credentials(user, tried), server=server, binding=binding, initial=initial)

    for exchange in exchanges(password):
        assert exchange.run(knowing(prepared, theirs)) == Identity(prepared)
    for exchange in exchanges(wrong):
        error = refused(exchange, knowing(prepared, theirs))
        assert (type(error), error.error) == (AuthFailed, "invalid-proof")
    assert ours == theirs


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (ChannelBinding("tls-unique", b"of another TLS"), "channel-bindings-dont-match"),
        (ChannelBinding("tls-server-end-point", UNIQUE.data), "unsupported-channel-binding-type"),
    ],
)
def test_scramp_and_we_see_who_sits_in_between(other: ChannelBinding, error: str) -> None:
    for mine, yours in ((UNIQUE, other), (other, UNIQUE)):
        client, server = scramp_client(PLUS, "ada", "pencil", yours), scramp_server(PLUS, "ada", KEYS, yours)
        for exchange in (
            between(PLUS, ADA, client=client, binding=mine),
            between(PLUS, ADA, server=server, binding=mine),
        ):
            seen = refused(exchange, knowing("ada", KEYS))
            assert (type(seen), seen.error) == (AuthFailed, error)


def test_scramp_and_we_see_that_somebody_took_plus_out_of_the_offer() -> None:
    error, know = "server-does-support-channel-binding", knowing("ada", KEYS)
    cheated, client = (scramp_client(BARE, "ada", "pencil", UNIQUE) for _ in range(2))
    assert refused(between(BARE, ADA, client=cheated, offered=[BARE, PLUS]), know).error == error
    assert between(BARE, ADA, client=client).run(know) == Identity("ada")

    able, unable = scramp_server(BARE, "ada", KEYS, UNIQUE), scramp_server(BARE, "ada", KEYS)
    assert refused(between(BARE, ADA, server=able, binding=UNIQUE), nobody).error == error
    assert between(BARE, ADA, server=unable, binding=UNIQUE).run(nobody) == Identity("ada")
    # Who sees the offer, and would rather not, was not cheated.
    assert between(BARE, ADA, server=able, binding=UNIQUE, offered=[PLUS]).run(nobody) == Identity("ada")


def test_neither_scramp_nor_we_believe_a_server_without_its_key() -> None:
    half = StoredKeys(SALT, 4096, KEYS.stored_key, bytes(32))
    with pytest.raises(ScramException, match="signature doesn't match"):
        between(BARE, ADA, client=scramp_client(BARE, "ada", "pencil")).run(knowing("ada", half))
    error = refused(between(BARE, ADA, server=scramp_server(BARE, "ada", half)), nobody)
    assert "did not prove" in str(error)


def certificate(key: Any, algorithm: Any) -> bytes:
    name, day = x509.Name([]), datetime(2030, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().issuer_name(name).subject_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(day).not_valid_after(day + timedelta(1))
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


@pytest.mark.parametrize("algorithm", [SHA224(), SHA256(), SHA384(), SHA512()], ids=lambda hash: hash.name)
def test_scramp_and_we_hash_a_certificate_alike(algorithm: Any) -> None:
    """RFC 5929 4.1, for `tls-server-end-point`."""
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        der = certificate(key, algorithm)
        assert server_end_point(der) == bytes(CBindData.from_der(der))


# --- PLAIN, LOGIN, CRAM-MD5, EXTERNAL, XOAUTH2: pysasl


def pysasl_client(name: str, user: str, secret: str, acting: str) -> Client:
    peer, credentials = PYSASL.get_client(name.encode()), ClientCredentials(user, secret, acting)
    challenges: list[ServerChallenge] = []
    said = peer.client_attempt(credentials, challenges).response if mechanism_of(name).client_first else None
    while (challenge := (yield said)) is not None:
        challenges.append(ServerChallenge(challenge))
        said = peer.client_attempt(credentials, challenges).response


def pysasl_server(name: str, user: str, secret: str, acting: str) -> Serve:
    def serve(context: object, initial: bytes | None) -> Iterator[Any]:
        heard = [] if initial is None else [ChallengeResponse(b"", initial)]
        while True:
            try:
                found, _ = PYSASL.get_server(name.encode()).server_attempt(heard)
                break
            except ServerChallenge as exc:
                challenge = exc.data
            heard.append(ChallengeResponse(challenge, (yield challenge)))
        try:
            good = found.verify(ClearIdentity(user, secret))
        except ExternalVerificationRequired as asked:
            good = asked.token in (secret, None)
        if not good or found.authzid != acting:
            raise AuthFailed
        return Identity(user)

    return serve


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL", "XOAUTH2"])
@settings(max_examples=25)
@given(user=NAMES, passwords=st.tuples(NAMES, NAMES), tokens=st.tuples(TOKENS, TOKENS), acting=TEXTS)
@example("I\u00adX", ("pä\u00a0ss, =", "pass, ="), ("t0ken", "token"), "bob")
def test_pysasl_and_we_let_in_the_same(
    name: str, user: str, passwords: tuple[str, str], tokens: tuple[str, str], acting: str
) -> None:
    assume(len({saslprep(one, "it") for one in passwords}) == len(set(tokens)) == 2)
    acting = acting if mechanism_of(name).can_authorize else ""
    right, wrong = tokens if name == "XOAUTH2" else passwords
    application = Application(Credentials(user, passwords[0], token=tokens[0], authorize_as=acting))
    known = application.user, right if name == "XOAUTH2" else application.password
    server = pysasl_server(name, *known, user if name == "XOAUTH2" else acting or application.user)

    def exchanges(secret: str, acting: str) -> Iterator[Exchange]:
        credentials = Credentials(user, secret, token=secret, authorize_as=acting)
        for initial in (True, False):
            client = pysasl_client(name, user, secret, acting)
            yield between(name, credentials, client=client, initial=initial)
            yield between(name, credentials, server=server, initial=initial)

    for exchange in exchanges(right, acting):
        assert exchange.run(application).user == application.user
    for exchange in exchanges(wrong, f"{acting}x" if name == "EXTERNAL" else acting):
        assert isinstance(refused(exchange, application), AuthFailed)


# --- Names and passwords, and what else may be said in two ways


def outcome(work: Callable[[], Any]) -> Any:
    """What comes of it: a value, or "refused"."""
    try:
        return work()
    except (sasl.SASLError, ScramException, ValueError):
        return "refused"


@given(st.text(max_size=8) | st.text("a1 \u00ad\u00a0\u05d0\u05d1\u2168\u2135\U0001f511", max_size=4) | TEXTS)
def test_scramp_and_we_prepare_alike(text: str) -> None:
    assume("\u200b" not in text)
    theirs = outcome(lambda: scramp_prep(text)) or "refused"
    assert outcome(lambda: saslprep(text, "it", stored=True)) == theirs


@given(NAMES)
def test_pysasl_and_we_prepare_alike(text: str) -> None:
    assert saslprep(text, "it") == pysasl_prep(text)


def our_client(name: str, *credentials: str) -> Any:
    return next(mechanism_of(name).client(Credentials(*credentials), client_context(name)))


def our_server(name: str, message: bytes) -> Any:
    return next(mechanism_of(name).server(server_context(name), message))


ED25519 = certificate(ed25519.Ed25519PrivateKey.generate(), None)
BOB = b"n,a=bob,n=ada,r=" + b"x" * 16
# By which RFC; what a peer makes of it, and what we do.
DIFFERENCES: list[tuple[str, Callable[[], Any], Any, Callable[[], Any], Any]] = [
    ("RFC 4013 2.1 maps U+200B to a space and to nothing: to a space with us, libidn and PostgreSQL",
     lambda: (scramp_prep("a\u200bb"), pysasl_prep("a\u200bb")), ("ab", "ab"),
     lambda: saslprep("a\u200bb", "it"), "a b"),
    ("RFC 3454 4: the normalization is that of Unicode 3.2, in which there is no U+03F9",
     lambda: pysasl_prep("\u03f9"), "\u03a3",
     lambda: saslprep("\u03f9", "it"), "\u03f9"),
    ("RFC 3454 6: directions are judged when all is mapped and normalized",
     lambda: pysasl_prep("\u2135"), "refused",
     lambda: saslprep("\u2135", "it"), "\u05d0"),
    ("RFC 4616 2: a password is not empty",
     lambda: next(pysasl_server("PLAIN", "ada", "", "ada")(None, b"\0ada\0"), "taken"), "taken",
     lambda: our_server("PLAIN", b"\0ada\0"), "refused"),
    ("RFC 5802 5.1: a user name is a query, whose code points need not be assigned",
     lambda: next(scramp_client(BARE, "\U0001f511", "pencil")), "refused",
     lambda: our_client(BARE, "\U0001f511", "pencil")[:9], "n,,n=\U0001f511".encode()),
    ("RFC 5802 5.1: who would act as another says so in the GS2 header",
     lambda: ScramMechanism(BARE).make_server(nobody).set_client_first(BOB.decode()), "refused",
     lambda: our_server(BARE, BOB), sasl.LookUp("ada", BARE)),
    ("RFC 9266 defines tls-exporter",
     lambda: ScramMechanism(PLUS).make_server(nobody, (BINDING.kind, BINDING.data)), "refused",
     lambda: our_client(PLUS, "ada", "pencil")[:15], b"p=tls-exporter,"),
    ("RFC 5929 4.1: no binding for a certificate whose signature names no hash, such as Ed25519",
     lambda: len(bytes(CBindData.from_der(ED25519))), 64,
     lambda: server_end_point(ED25519), None),
    ("RFC 4616 2: names and passwords are UTF-8, not only ASCII",
     lambda: smtplib.SMTP().auth("PLAIN", lambda challenge=None: "\0ada\0pässword"), "refused",
     lambda: our_client("PLAIN", "ada", "pässword"), "\0ada\0pässword".encode()),
]  # fmt: skip


@pytest.mark.parametrize(("rfc", "peer", "theirs", "we", "ours"), DIFFERENCES)
def test_a_peer_and_we_differ(rfc: str, peer: Any, theirs: object, we: Any, ours: object) -> None:
    assert (outcome(peer), outcome(we)) == (theirs, ours), rfc


# --- On the wire: aiosmtpd, smtplib, aiosmtplib, imapclient


class AnyPort(Controller):
    """aiosmtpd on a port that is free: its own looks for itself where it was told to be."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN"])
def test_aiosmtpd_lets_us_in_by_the_right_password_alone(name: str) -> None:
    seen: list[bytes] = []

    async def handle_DATA(server: Any, session: Any, envelope: Any) -> str:
        seen.append(session.auth_data.login)
        return "250 2.0.0 taken"

    def check(mechanism: str, user: bytes, password: bytes) -> bool:
        return (mechanism, user, password) == (name, b"ada", "pä ss".encode())

    handler: Any = SimpleNamespace(handle_DATA=handle_DATA)
    secure: dict[str, Any] = {"tls_context": certificates().server, "auth_required": True}
    peer = AnyPort(handler, "127.0.0.1", 0, auth_callback=check, **secure)
    peer.start()
    try:
        with connect("127.0.0.1", peer.port, context=certificates().client) as client:
            with pytest.raises(Refused, match="535"):
                client.login("ada", "pass", mechanisms=[name])
            refusals = client.send_message(SENDER, [RECIPIENT], MESSAGE).refused
            assert [one.reply.code for one in refusals if one.reply] == [530]
            assert client.login("ada", "pä\u00a0ss", mechanisms=[name]).code == 235
            assert client.send_message(SENDER, [RECIPIENT], MESSAGE).all_accepted
    finally:
        peer.stop()
    assert seen == [b"ada"]


class Members(Discard):
    """One user, and who is logged in when a message comes."""

    def __init__(self, credentials: Credentials) -> None:
        self.application = Application(credentials)
        self.seen: list[Any] = []

    def authenticate(self, session: Any, question: Any) -> object:
        return self.application(question)

    def message(self, session: Any) -> None:
        self.seen.append(session.user)


@contextmanager
def served(members: Members, *names: str) -> Iterator[tuple[str, int]]:
    auth = AuthSettings(names, required=True, allow_plaintext=True)
    with serving(members, auth=auth) as (server, _):
        yield server.address


OFFERS = [["CRAM-MD5"], ["PLAIN"], ["LOGIN"], ["LOGIN", "PLAIN", "CRAM-MD5"]]


@pytest.mark.parametrize("names", OFFERS)
@pytest.mark.parametrize("initial", [True, False])
def test_we_let_smtplib_in_by_the_right_password_alone(names: list[str], initial: bool) -> None:
    members = Members(ADA)
    with served(members, *names) as address, smtplib.SMTP(*address) as peer:
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            peer.login("ada", "Pencil", initial_response_ok=initial)
        with pytest.raises(smtplib.SMTPSenderRefused, match="530"):
            peer.sendmail(SENDER, RECIPIENT, MESSAGE)
        assert peer.login("ada", "pencil", initial_response_ok=initial)[0] == 235
        peer.sendmail(SENDER, RECIPIENT, MESSAGE)
    assert members.seen == ["ada"]


@pytest.mark.parametrize("names", [*OFFERS, ["XOAUTH2"]])
def test_we_let_aiosmtplib_in_by_the_right_secret_alone(names: list[str]) -> None:
    members = Members(Credentials("ädä", "pä ss", token="t0ken"))
    right, wrong = ("t0ken", "token") if names == ["XOAUTH2"] else ("pä ss", "pass")

    async def scene(host: str, port: int) -> None:
        async with aiosmtplib.SMTP(hostname=host, port=port) as peer:
            login = peer.auth_xoauth2 if names == ["XOAUTH2"] else peer.login
            with pytest.raises(aiosmtplib.SMTPAuthenticationError, match="535"):
                await login("ädä", wrong)
            with pytest.raises(aiosmtplib.SMTPSenderRefused, match="530"):
                await peer.sendmail(SENDER, RECIPIENT, MESSAGE)
            assert (await login("ädä", right)).code == 235
            await peer.sendmail(SENDER, RECIPIENT, MESSAGE)

    with served(members, *names) as address:
        asyncio.run(scene(*address))
    assert members.seen == ["ädä"]


def test_we_let_imapclient_in_by_the_right_token_alone() -> None:
    """OAUTHBEARER in IMAP: `smtp_proto.sasl` knows of no protocol."""
    application = Application(Credentials("a=d,a", "-", token="t0ken"))
    said: list[bytes] = []

    def ask(peer: Peer, challenge: bytes) -> bytes:
        peer.say(b"+ " + b64encode(challenge))
        said.append(b64decode(peer.line()))
        return said[-1]

    def play(peer: Peer) -> None:
        peer.say(b"* OK IMAP4rev1")
        peer.say(b"* CAPABILITY IMAP4rev1", peer.line().split()[0] + b" OK done")
        for verdict, end in ((b" NO refused", AuthFailed), (b" OK done", StopIteration)):
            tag, _, name = peer.line().decode().split()
            server = mechanism_of(name).server(server_context(name), ask(peer, b""))
            with pytest.raises(end) as ended:
                server.send(ask(peer, server.send(application(next(server)))))
            peer.say(tag.encode() + verdict)
        assert ended.value.value == Identity("a=d,a")
        peer.say(b"* BYE", peer.line().split()[0] + b" OK done")

    with listening(play) as address, imapclient.IMAPClient(*address, ssl=False) as peer:
        with pytest.raises(imapclient.exceptions.LoginError):
            peer.oauthbearer_login("a=d,a", "token")
        peer.oauthbearer_login("a=d,a", "t0ken")
    assert said[0] == said[1]  # its answer to our error, where RFC 7628 3.2.3 wants b"\x01"
