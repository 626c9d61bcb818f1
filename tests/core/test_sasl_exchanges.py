"""Every mechanism, our client against our server; and what happens if somebody changes what they say."""

from __future__ import annotations

import pytest
from exchanges import (
    NAMES,
    SCRAM,
    SECRETS,
    TEXTS,
    TOKENS,
    Application,
    Exchange,
    Tamper,
    client_context,
    mechanism_of,
    refused,
    server_context,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from leaks import everything_said_of

from smtp_proto.sasl import AuthFailed, Credentials, Identity, SASLError

PLAIN_ONES = [name for name in NAMES if name not in SCRAM]


@st.composite
def credentials_for(draw: st.DrawFn) -> Credentials:
    user = draw(TEXTS)
    try:
        Application(Credentials(user, "x"))
    except SASLError:
        assume(False)
    return Credentials(
        user,
        draw(SECRETS),
        token=draw(TOKENS),
        authorize_as=draw(st.one_of(st.just(""), TEXTS)),
        trace=draw(st.text("abc@.é", max_size=20)),
    )


def suited(name: str, credentials: Credentials) -> Credentials:
    """The same, without an identity where the mechanism cannot carry one."""
    return Credentials(
        credentials.user,
        credentials.password,
        token=credentials.token,
        authorize_as=credentials.authorize_as if mechanism_of(name).can_authorize else "",
        trace=credentials.trace,
    )


def expected(name: str, credentials: Credentials, application: Application) -> Identity:
    if name == "ANONYMOUS":
        return Identity("", trace=credentials.trace)
    if name == "OAUTHBEARER":
        acting = credentials.authorize_as or credentials.user
        return Identity(application.user, "" if acting == application.user else acting)
    if name == "XOAUTH2":
        return Identity(application.user, "" if credentials.user == application.user else credentials.user)
    return Identity(application.user, credentials.authorize_as)


@pytest.mark.parametrize("name", PLAIN_ONES)
@settings(max_examples=60)
@given(credentials=credentials_for(), initial=st.booleans())
def test_everybody_comes_in(name: str, credentials: Credentials, initial: bool) -> None:
    credentials = suited(name, credentials)
    application = Application(credentials)
    identity = Exchange(name, credentials, initial=initial).run(application)
    assert identity == expected(name, credentials, application)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("EXTERNAL", "ANONYMOUS")])
@settings(max_examples=40)
@given(credentials=credentials_for(), password=SECRETS, token=TOKENS)
def test_nobody_comes_in_with_another_secret(
    name: str, credentials: Credentials, password: str, token: str
) -> None:
    credentials = suited(name, credentials)
    application = Application(credentials)
    other = Credentials(
        credentials.user,
        password,
        token=token,
        authorize_as=credentials.authorize_as,
        trace=credentials.trace,
    )
    assume(Application(other).password != application.password)
    assume(token != credentials.token)
    error = refused(Exchange(name, other), application)
    assert isinstance(error, AuthFailed)
    assert str(error) == "authentication failed"


KNOWN = Credentials("tim", "tanstaaf+secret", token="vF9dft4qmTc2Nvb", trace="sirhc")


def meddled(name: str, tamper: Tamper) -> None:
    """Either somebody sees it, or it has changed nothing that anybody was asked."""
    honest = Application(KNOWN)
    whom = Exchange(name, KNOWN).run(honest)
    application = Application(KNOWN)
    try:
        identity = Exchange(name, KNOWN, tamper=tamper).run(application)
    except SASLError as error:
        said = everything_said_of(error)
        assert KNOWN.password is not None
        assert KNOWN.token is not None
        assert KNOWN.password not in said
        assert KNOWN.token not in said
    else:
        assert name == "ANONYMOUS" or identity == whom
        # Only `host` and `port` may be gone: a server that is not told takes what it is.
        for question, asked in zip(honest.asked, application.asked, strict=True):
            assert question == asked or name == "OAUTHBEARER"


@pytest.mark.parametrize("name", PLAIN_ONES)
@settings(max_examples=150)
@given(target=st.integers(0, 4), at=st.integers(0, 10**6), octet=st.integers(1, 255))
def test_an_octet_is_changed(name: str, target: int, at: int, octet: int) -> None:
    def tamper(index: int, message: bytes) -> bytes:
        if index != target or not message:
            return message
        where = at % len(message)
        return message[:where] + bytes((message[where] ^ octet,)) + message[where + 1 :]

    meddled(name, tamper)


@pytest.mark.parametrize("name", PLAIN_ONES)
@settings(max_examples=100)
@given(target=st.integers(0, 4), at=st.integers(0, 10**6), more=st.binary(max_size=8), again=st.booleans())
def test_a_message_is_cut_or_grows(name: str, target: int, at: int, more: bytes, again: bool) -> None:
    def tamper(index: int, message: bytes) -> bytes:
        if index != target:
            return message
        where = at % (len(message) + 1)
        return message[:where] + more + (message[where:] if again else b"")

    meddled(name, tamper)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100)
@given(messages=st.lists(st.binary(max_size=60), max_size=6), initial=st.booleans())
def test_noise_raises_what_is_documented(name: str, messages: list[bytes], initial: bool) -> None:
    mechanism = mechanism_of(name)
    first = messages[0] if messages and initial else None
    server = mechanism.server(server_context(name), first)
    application = Application(KNOWN)
    try:
        answer: object = None
        for message in [b"", *messages]:
            wish = server.send(answer)
            answer = message if isinstance(wish, bytes) else application(wish)
    except SASLError:
        pass
    except StopIteration:
        assert name in ("ANONYMOUS", "EXTERNAL")
    client = mechanism.client(KNOWN, client_context(name))
    next(client)
    try:
        for message in messages:
            client.send(message)
    except SASLError:
        pass
