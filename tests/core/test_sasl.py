"""SASL without an exchange: published vectors of the small mechanisms, preparation, the choice."""

from __future__ import annotations

import hashlib
import pickle
import smtplib
import subprocess
import sys
from typing import Any

import pytest
from exchanges import (
    BINDING,
    NAMES,
    SCRAM,
    SECRETS,
    Application,
    Exchange,
    client_context,
    keys,
    mechanism_of,
    refused,
    server_context,
)
from helpers import every
from hypothesis import given
from hypothesis import strategies as st
from leaks import everything_said_of

import smtp_proto.sasl
from smtp_proto.sasl import (
    MECHANISMS,
    AuthFailed,
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
    SASLError,
    Server,
    StoredKeys,
    choose,
    find_mechanism,
    saslprep,
)
from smtp_proto.sasl._grammar import decode_base64
from smtp_proto.sasl._prepare import trace

TIM = Credentials("tim", "tanstaaftanstaaf")


def opening(name: str, credentials: Credentials, **context: Any) -> bytes | None:
    return next(mechanism_of(name).client(credentials, client_context(name, **context)))


def serve(name: str, initial: bytes | None, **context: Any) -> tuple[Server, Any]:
    server = mechanism_of(name).server(server_context(name, **context), initial)
    return server, next(server)


def result(server: Server, answer: object) -> Identity:
    with pytest.raises(StopIteration) as stop:
        server.send(answer)
    assert isinstance(stop.value.value, Identity)
    return stop.value.value


# --- Published vectors


def test_plain_as_published() -> None:
    """RFC 4616 4."""
    assert opening("PLAIN", TIM) == b"\0tim\0tanstaaftanstaaf"
    kurt = Credentials("Kurt", "xipj3plmq", authorize_as="Ursel")
    assert opening("PLAIN", kurt) == b"Ursel\0Kurt\0xipj3plmq"
    server, question = serve("PLAIN", b"Ursel\0Kurt\0xipj3plmq")
    assert question == CheckPassword("Kurt", "xipj3plmq", "Ursel")
    with pytest.raises(AuthFailed):
        server.send(False)


def test_cram_md5_as_published() -> None:
    """RFC 2195 2."""
    client = mechanism_of("CRAM-MD5").client(TIM, Context())
    assert next(client) is None
    response = client.send(b"<1896.697170952@postoffice.reston.mci.net>")
    assert response == b"tim b913a602c7eda7a495b4e6e7334d3890"
    with pytest.raises(StopIteration):
        client.send(None)
    _, challenge = serve("CRAM-MD5", None, nonce="1896.69717095200", host="postoffice.reston.mci.net")
    assert challenge == b"<1896.69717095200@postoffice.reston.mci.net>"


@given(
    user=st.from_regex(r"[a-z]{1,8}", fullmatch=True), password=st.from_regex("[!-~]{1,80}", fullmatch=True)
)
def test_cram_md5_beside_smtplib(user: str, password: str) -> None:
    peer = smtplib.SMTP()
    peer.user, peer.password = user, password  # type: ignore[attr-defined]
    server, challenge = serve("CRAM-MD5", None)
    assert server.send(peer.auth_cram_md5(challenge).encode()) == LookUpSecret(user)
    assert result(server, password) == Identity(user)


def test_oauthbearer_as_published() -> None:
    """RFC 7628 4.1; the answers to failure of 4.3 and 4.4."""
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    credentials = Credentials("user@example.com", token=token)
    message = (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    )
    assert opening("OAUTHBEARER", credentials, host="server.example.com") == message
    server, question = serve("OAUTHBEARER", message)
    assert question == CheckToken("user@example.com", token, "server.example.com", 587)
    assert result(server, True) == Identity("user@example.com")

    client = mechanism_of("OAUTHBEARER").client(credentials, Context())
    next(client)
    error = b'{"status":"invalid_token","schemes":"bearer mac","scope":"https://mail.example.com/"}'
    assert client.send(error) == b"\x01"
    with pytest.raises(AuthFailed) as caught:
        client.throw(AuthFailed())
    assert caught.value.error == "invalid_token"
    assert caught.value.details["scope"] == "https://mail.example.com/"
    assert "mail.example.com" not in str(caught.value)


def test_oauthbearer_asked_for_its_scope() -> None:
    """RFC 7628 4.3: an empty `auth` is a question, which needs nobody to answer."""
    message = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01"
    hints = {
        "scope": "example_scope",
        "openid-configuration": "https://example.com/.well-known/openid-config",
    }
    server, error = serve("OAUTHBEARER", message, hints=hints)
    assert error == (
        b'{"scope":"example_scope","openid-configuration":'
        b'"https://example.com/.well-known/openid-config","status":"invalid_token"}'
    )
    with pytest.raises(AuthFailed):
        server.send(b"\x01")


def test_anonymous_as_published() -> None:
    """RFC 4505 4."""
    assert opening("ANONYMOUS", Credentials("bob@example.com", trace="sirhc")) == b"sirhc"
    assert opening("ANONYMOUS", Credentials("bob@example.com")) == b""
    server = mechanism_of("ANONYMOUS").server(Context(), None)
    assert next(server) == b""
    assert result(server, b"sirhc") == Identity("", trace="sirhc")


# --- SASLprep


@every(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # RFC 5802 3 proposes these; the space is there on both sides of a comma.
        ("\u00bd", "1\u20442"),
        ("\u00b4x", " \u0301x"),
        ("a\u00a0b\u200bc", "a b c"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u06271\u0628", "\u06271\u0628"),
    ],
)
def test_saslprep_prepares(text: str, prepared: str) -> None:
    """RFC 4013 3, and more."""
    assert saslprep(text, "it", stored=True) == prepared
    assert saslprep(prepared, "it", stored=True) == prepared


@every(
    "text",
    [
        "\u0007",
        "\u06271",
        "",
        "\u00ad",
        "a\0",
        "a\x7f",
        "\u06271a\u0628",
        "1\u0627",
        "\udc80",
        "\ue000",
        "\U000e0001",
        "\u2028",
        "\u200e",
        "\ufdd0",
        "\u2ff0",
        "\U000e0041",
        "a" * 1025,
    ],
)
def test_saslprep_refuses(text: str) -> None:
    """RFC 4013 3, and a character of each table."""
    with pytest.raises(SASLError) as caught:
        saslprep(text, "it")
    assert not text or text not in everything_said_of(caught.value)


def test_what_unicode_3_2_leaves_unassigned_may_be_asked_for_and_not_stored() -> None:
    assert saslprep("\U0001f511", "it") == "\U0001f511"
    with pytest.raises(SASLError, match=r"Unicode 3\.2"):
        saslprep("\U0001f511", "it", stored=True)
    assert not keys("pencil", "SCRAM-SHA-1").matches("\U0001f511")


@given(st.text(max_size=20))
def test_what_is_prepared_stays_as_it_is(text: str) -> None:
    """Both sides prepare, and must come to the same."""
    try:
        prepared = saslprep(text, "it")
    except SASLError:
        return
    assert saslprep(prepared, "it") == prepared


@given(SECRETS)
def test_a_stored_string_is_prepared_once(text: str) -> None:
    prepared = saslprep(text, "it", stored=True)
    assert saslprep(prepared, "it") == prepared


def test_traces() -> None:
    """RFC 4505 2 and 3: nothing is mapped or normalized."""
    assert trace("\u00aa \u2168 a\u00a0b") == "\u00aa \u2168 a\u00a0b"
    for text in ("a\nb", "\u0627a", "x" * 256):
        with pytest.raises(SASLError):
            trace(text)


# --- The table and the choice


def test_what_the_mechanisms_tell_of_themselves() -> None:
    assert {m.name for m in MECHANISMS if m.sends_secret} == {"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"}
    assert {m.name for m in MECHANISMS if m.needs_binding} == {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}
    assert {m.name for m in MECHANISMS if not m.client_first} == {"LOGIN", "CRAM-MD5"}
    assert {m.name for m in MECHANISMS if not m.can_authorize} == {
        "LOGIN",
        "CRAM-MD5",
        "XOAUTH2",
        "ANONYMOUS",
    }
    assert {m.name for m in MECHANISMS if m.only_by_name} == {"EXTERNAL", "ANONYMOUS"}
    assert repr(find_mechanism("scram-sha-1")) == "<mechanism SCRAM-SHA-1>"
    assert find_mechanism("DIGEST-MD5") is None


def chosen(*offered: str, credentials: Credentials = TIM, tls: bool = True, **policy: Any) -> list[str]:
    return [mechanism.name for mechanism in choose(offered, credentials, tls=tls, **policy)]


BY_STRENGTH = ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"]


def test_the_strongest_comes_first_whatever_the_server_says() -> None:
    assert chosen(*sorted(NAMES)) == BY_STRENGTH
    assert chosen("login", "Plain", "GSSAPI") == ["PLAIN", "LOGIN"]
    assert chosen() == []


def test_without_tls_no_secret_is_sent_unless_somebody_says_so() -> None:
    assert chosen(*NAMES, tls=False) == ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"]
    assert chosen("PLAIN", "LOGIN", tls=False, allowed=["PLAIN"]) == []
    assert chosen("PLAIN", "LOGIN", tls=False, allowed=["PLAIN"], allow_plaintext=True) == ["PLAIN"]
    token = Credentials("tim", token="x")
    assert chosen(*NAMES, credentials=token, tls=False) == []
    assert chosen(*NAMES, credentials=token) == ["OAUTHBEARER", "XOAUTH2"]
    assert chosen(*NAMES, credentials=Credentials(token="x")) == ["OAUTHBEARER"]


def test_who_can_bind_binds() -> None:
    """RFC 5802 6: a bare SCRAM behind a refused -PLUS is what somebody in between waits for."""
    bound = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "CRAM-MD5", "PLAIN", "LOGIN"]
    assert chosen(*NAMES, binding=BINDING) == bound
    assert chosen("SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", binding=BINDING) == ["SCRAM-SHA-1-PLUS"]
    assert chosen("SCRAM-SHA-256", binding=BINDING) == ["SCRAM-SHA-256"]
    assert chosen(*SCRAM, binding=BINDING, allowed=["SCRAM-SHA-256"]) == ["SCRAM-SHA-256"]


def test_a_binding_that_not_every_server_knows_is_used_when_asked_for_by_name() -> None:
    end_point = ChannelBinding("tls-server-end-point", b"x" * 32)
    assert chosen(*SCRAM, binding=end_point) == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
    assert chosen(*SCRAM, binding=end_point, allowed=SCRAM) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]


def test_some_are_used_when_asked_for_by_name_and_some_cannot_act_for_others() -> None:
    assert chosen(*NAMES, allowed=["anonymous", "external"]) == ["EXTERNAL", "ANONYMOUS"]
    assert chosen(*NAMES, allowed=["ANONYMOUS"], credentials=Credentials()) == ["ANONYMOUS"]
    assert chosen(*NAMES, credentials=Credentials()) == []
    deputy = Credentials("tim", "pw", token="x", authorize_as="tom")
    assert chosen(*NAMES, credentials=deputy) == ["SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "PLAIN"]
    for name in ("LOGIN", "CRAM-MD5", "XOAUTH2"):
        with pytest.raises(SASLError):
            opening(name, deputy)


class Knock:
    """A mechanism from outside: the client knocks, and is let in."""

    name = "X-KNOCK"
    needs = frozenset[str]()
    sends_secret = needs_binding = only_by_name = can_authorize = False
    client_first = True

    def client(self, credentials: Credentials, context: Context) -> Client:
        yield b"knock"

    def server(self, context: Context, initial: bytes | None) -> Server:
        message = (yield b"") if initial is None else initial
        return Identity("somebody" if message == b"knock" else "")


def test_a_mechanism_from_outside() -> None:
    knock: Mechanism = Knock()
    assert chosen("X-KNOCK", "PLAIN", "LOGIN", allowed=["plain", knock]) == ["X-KNOCK", "PLAIN"]
    assert chosen("PLAIN", allowed=[knock]) == []
    assert chosen("X-KNOCK", *NAMES, allowed=[knock, *MECHANISMS])[:2] == ["X-KNOCK", "EXTERNAL"]
    assert find_mechanism(knock) is knock


# --- What is said of failures


@every(
    ("name", "message"),
    [
        ("PLAIN", b""),
        ("PLAIN", b"\0tim"),
        ("PLAIN", b"tim\0tanstaaftanstaaf"),
        ("PLAIN", b"\0tim\0tanstaaftanstaaf\0"),
        ("PLAIN", b"\0tim\0"),
        ("PLAIN", b"\0\0tanstaaftanstaaf"),
        ("PLAIN", b"\0tim\0tanstaaftanstaaf\xff"),
        ("PLAIN", b"a\nb\0tim\0tanstaaftanstaaf"),
        ("PLAIN", b"x" * 70000),
        ("LOGIN", b""),
        ("LOGIN", b"\xff"),
        ("CRAM-MD5", b"tim"),
        ("CRAM-MD5", b"b913a602c7eda7a495b4e6e7334d3890"),
        ("CRAM-MD5", b"tim B913A602C7EDA7A495B4E6E7334D3890"),
        ("CRAM-MD5", b"tim b913a602c7eda7a495b4e6e7334d389"),
        ("OAUTHBEARER", b""),
        ("OAUTHBEARER", b"\x01"),
        ("OAUTHBEARER", b"n,,\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Basic dGltOnRhbnN0YWFm\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer \x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01port=0\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01port=1_0\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"p=tls-unique,,\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n,a=tim=,\x01auth=Bearer x\x01\x01"),
        ("OAUTHBEARER", b"n,a=\xff,\x01auth=Bearer x\x01\x01"),
        ("XOAUTH2", b"user=\x01auth=Bearer x\x01\x01"),
        ("XOAUTH2", b"user=tim\x01auth=Bearer \xff\x01\x01"),
        ("XOAUTH2", b"user=tim\x01\x01"),
        ("EXTERNAL", b"\0"),
        ("EXTERNAL", b"\xff"),
        ("EXTERNAL", b"x" * 1025),
        ("ANONYMOUS", b"a\0"),
    ],
)
def test_malformed_responses(name: str, message: bytes) -> None:
    server = mechanism_of(name).server(server_context(name), None)
    next(server)
    if name == "LOGIN":
        server.send(b"tim")
    with pytest.raises(SASLError) as caught:
        server.send(message)
    assert not isinstance(caught.value, AuthFailed)
    assert "tanstaaf" not in everything_said_of(caught.value)


@pytest.mark.parametrize(
    "challenge", [b"", b"1896@mci.net", b"<>", b"<a b>", b"<a>b>", b"<" + b"x" * 70000 + b">"]
)
def test_malformed_challenges_of_cram_md5(challenge: bytes) -> None:
    client = mechanism_of("CRAM-MD5").client(TIM, Context())
    next(client)
    with pytest.raises(SASLError):
        client.send(challenge)


@every("name", NAMES)
def test_a_success_too_early_and_a_challenge_too_many(name: str) -> None:
    credentials = Credentials("tim", "tanstaaftanstaaf", token="x")
    honest = Exchange(name, credentials)
    honest.run(Application(credentials))
    challenges = honest.messages[mechanism_of(name).client_first :: 2]

    def answered(count: int) -> Client:
        client = mechanism_of(name).client(credentials, client_context(name))
        next(client)
        for challenge in challenges[:count]:
            client.send(challenge)
        return client

    for count in range(len(challenges)):
        with pytest.raises(SASLError, match="in the middle"):
            answered(count).send(None)
    with pytest.raises(StopIteration):
        answered(len(challenges)).send(None)
    if "OAUTH" not in name:
        with pytest.raises(SASLError, match="too many"):
            answered(len(challenges)).send(b"one more")


def test_a_missing_response() -> None:
    server, _ = serve("LOGIN", None)
    with pytest.raises(SASLError):
        server.send(None)


def test_cram_md5_takes_no_initial_response() -> None:
    with pytest.raises(SASLError):
        serve("CRAM-MD5", b"tim b913a602c7eda7a495b4e6e7334d3890")


def test_login_may_begin_with_the_user_name() -> None:
    server, prompt = serve("LOGIN", b"tim")
    assert prompt == b"Password:"
    assert server.send(b"pw") == CheckPassword("tim", "pw")


@every("message", [b'{"status":401}', b"", b"[]", b"[" * 5000, b"\xff", b'{"status":' + b"9" * 5000 + b"}"])
@every(("name", "nothing"), [("XOAUTH2", b""), ("OAUTHBEARER", b"\x01")])
def test_a_refusal_that_cannot_be_read_is_one(name: str, nothing: bytes, message: bytes) -> None:
    client = mechanism_of(name).client(Credentials("tim", token="x"), Context())
    next(client)
    assert client.send(message) == nothing
    with pytest.raises(AuthFailed) as caught:
        client.throw(AuthFailed())
    assert caught.value.error == ("401" if b"401" in message else "")

    client = mechanism_of(name).client(Credentials("tim", token="x"), Context())
    next(client)
    client.send(message)
    with pytest.raises(SASLError, match="goes on"):
        client.send(None)


@every("token", ["", "a b", "a\x01host=evil", "é", "a\nb", "x" * 50000])
@every("name", ["XOAUTH2", "OAUTHBEARER"])
def test_what_no_token_is(name: str, token: str) -> None:
    with pytest.raises(SASLError) as caught:
        opening(name, Credentials("tim", token=token))
    assert not token or token not in everything_said_of(caught.value)


@every("user", ["a\x01b", "a\0b", "a\r\nb", "\udc80", "x" * 1025])
@every("name", NAMES)
def test_nothing_is_smuggled_in_a_name(name: str, user: str) -> None:
    credentials = Credentials(user, "pw", token="x", trace=user)
    if name == "EXTERNAL":
        credentials = Credentials(authorize_as=user)
    with pytest.raises(SASLError):
        opening(name, credentials)


def test_a_host_that_is_not_ascii_is_left_out_and_so_is_what_is_not_known() -> None:
    credentials = Credentials(token="x")
    assert (
        opening("OAUTHBEARER", credentials, host="münchen.example", port=0) == b"n,,\x01auth=Bearer x\x01\x01"
    )


def test_the_token_may_name_the_user() -> None:
    server, question = serve("OAUTHBEARER", b"n,,\x01auth=bearer  x\x01\x01")
    assert question == CheckToken("", "x")
    assert result(server, "tim") == Identity("tim")
    server, _ = serve("OAUTHBEARER", b"n,a=tom,\x01auth=Bearer x\x01\x01")
    assert result(server, "tim") == Identity("tim", "tom")
    # Nobody said who it is.
    server, _ = serve("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01\x01")
    assert server.send(True) == b'{"status":"invalid_token"}'


async def forgotten() -> bool:
    return False


@every("name", [name for name in NAMES if name != "ANONYMOUS"])
def test_an_answer_that_nobody_awaited_is_no_yes(name: str) -> None:
    answer = forgotten()
    with pytest.raises(TypeError, match="coroutine"):
        Exchange(name, Credentials("tim", "pw", token="x")).run(lambda question: answer)
    answer.close()


# --- MD5 where policy forbids it


def test_md5_of_a_fips_python(monkeypatch: pytest.MonkeyPatch) -> None:
    real = hashlib.md5

    def refuse_security(data: bytes = b"", *, usedforsecurity: bool = True) -> object:
        if usedforsecurity:
            raise ValueError("disabled for FIPS")
        return real(data, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "md5", refuse_security)
    test_cram_md5_as_published()


def test_a_python_without_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: bytes = b"", *, usedforsecurity: bool = True) -> object:
        raise ValueError("unsupported hash type md5")

    monkeypatch.setattr(hashlib, "md5", refuse)
    with pytest.raises(SASLError, match="MD5"):
        test_cram_md5_as_published()


# --- Values


def test_no_repr_shows_a_secret() -> None:
    hidden = "tanstaaftanstaaf"
    stored = keys(hidden, "SCRAM-SHA-256")
    values = [
        Credentials("tim", hidden, token=hidden),
        Context(server_secret=hidden.encode()),
        CheckPassword("tim", hidden),
        CheckToken("tim", hidden),
        stored,
    ]
    for value in values:
        assert hidden not in repr(value)
        assert pickle.loads(pickle.dumps(value)) == value
        assert isinstance(hash(value), int)
    assert repr(stored.stored_key) not in repr(stored)
    assert repr(stored.server_key) not in repr(stored)
    assert repr(Credentials("tim")) == (
        "Credentials(user='tim', password=None, token=None, authorize_as='', trace='')"
    )
    assert CheckExternal("tim").authorize_as == "tim"
    assert LookUp("tim", "SCRAM-SHA-1") != LookUp("tim", "SCRAM-SHA-256")


@every(
    "make",
    [
        lambda: ChannelBinding("tls exporter", b"x"),
        lambda: ChannelBinding("tls-exportér", b"x"),
        lambda: ChannelBinding("tls-exporter", b""),
        lambda: StoredKeys(b"salt", 4096, b"x" * 16, b"x" * 16),
        lambda: StoredKeys(b"salt", 4096, b"x" * 32, b"x" * 20),
        lambda: StoredKeys(b"", 4096, b"x" * 32, b"x" * 32),
        lambda: StoredKeys(b"salt", 0, b"x" * 32, b"x" * 32),
        lambda: StoredKeys.derive("pw", b"salt", 4095),
        lambda: StoredKeys.derive("pw", b"salt", mechanism="SCRAM-SHA-512"),
        lambda: opening("SCRAM-SHA-1", TIM, nonce=""),
        lambda: opening("SCRAM-SHA-1", TIM, nonce="0123456789abcde,f"),
        lambda: opening("SCRAM-SHA-1-PLUS", TIM, bindings=()),
        lambda: serve("SCRAM-SHA-1", None, nonce="short"),
        lambda: serve("SCRAM-SHA-1", None, server_secret=b"short"),
        lambda: serve("CRAM-MD5", None, nonce="short"),
        lambda: serve("CRAM-MD5", None, host="a b"),
        lambda: serve("CRAM-MD5", None, server_secret=b""),
    ],
)
def test_what_cannot_work_is_refused_at_once(make: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        make()


@every("text", [b"", b"QQ", b"QR==", b"QQ===", b"Q Q=", b"QQ==\n", b"=QQ=", b"QQ==QQ==", b"\xff\xff\xff\xff"])
def test_base64_has_one_form(text: bytes) -> None:
    with pytest.raises(SASLError):
        decode_base64(text)


def test_the_package_exports_what_there_is() -> None:
    names = smtp_proto.sasl.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(smtp_proto.sasl, name) is not None


def test_it_is_imported_by_who_needs_it() -> None:
    script = "import sys, smtp_proto.ops; print([m for m in sys.modules if 'sasl' in m or 'hashlib' in m])"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "[]\n"


def test_refusals_have_one_text() -> None:
    credentials = Credentials("tim", "pw", token="x")
    application = Application(Credentials("tim", "other", token="other"))
    for name in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
        error = refused(Exchange(name, credentials), application)
        assert isinstance(error, AuthFailed)
        assert str(error) == "authentication failed"


@pytest.mark.parametrize("password", ["x" * 1025, "\ue000", "a\x07"])
def test_what_can_be_nobodys_password_is_a_wrong_one(password: str) -> None:
    server = mechanism_of("PLAIN").server(server_context("PLAIN"), f"\0tim\0{password}".encode())
    with pytest.raises(AuthFailed):
        next(server)
