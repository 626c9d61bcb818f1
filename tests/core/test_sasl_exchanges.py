"""Every mechanism, our client against our server; and what happens if somebody changes what they say."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from exchanges import (
    NAMES,
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
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from leaks import everything_said_of

from smtp_proto.sasl import AuthFailed, Credentials, Identity, Question, SASLError

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


@settings(max_examples=60)
@given(credentials=credentials_for(), initial=st.booleans())
def test_everybody_comes_in(credentials: Credentials, initial: bool) -> None:
    for name in PLAIN_ONES:
        note(name)
        known = suited(name, credentials)
        application = Application(known)
        identity = Exchange(name, known, initial=initial).run(application)
        assert identity == expected(name, known, application), name


@settings(max_examples=40)
@given(credentials=credentials_for(), password=SECRETS, token=TOKENS)
def test_nobody_comes_in_with_another_secret(credentials: Credentials, password: str, token: str) -> None:
    wrong = Credentials(
        credentials.user,
        password,
        token=token,
        authorize_as=credentials.authorize_as,
        trace=credentials.trace,
    )
    assume(Application(wrong).password != Application(credentials).password)
    assume(token != credentials.token)
    for name in NAMES:
        if name not in ("EXTERNAL", "ANONYMOUS"):
            note(name)
            application = Application(suited(name, credentials))
            error = refused(Exchange(name, suited(name, wrong)), application)
            assert isinstance(error, AuthFailed), name
            assert str(error) == "authentication failed"


KNOWN = Credentials("tim", "tanstaaf+secret", token="vF9dft4qmTc2Nvb", trace="sirhc")


@cache
def honest(name: str) -> tuple[Identity, list[Question], list[bytes]]:
    """Who is meant if nobody meddles, what the application is asked, and what is said."""
    application, exchange = Application(KNOWN), Exchange(name, KNOWN)
    return exchange.run(application), application.asked, exchange.messages


def meddled(name: str, target: int, changed: bytes) -> None:
    """`changed` takes the place of a message: somebody sees it, or nobody is asked anything else by it."""

    def tamper(index: int, message: bytes) -> bytes:
        return changed if index == target else message

    whom, questions, _ = honest(name)
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
        for question, asked in zip(questions, application.asked, strict=True):
            assert question == asked or name == "OAUTHBEARER"


@pytest.mark.parametrize("name", PLAIN_ONES)
def test_every_octet_is_changed(name: str) -> None:
    random = Random(name)
    for target, message in enumerate(honest(name)[2]):
        for at, octet in enumerate(message):
            for change in random.sample(range(1, 256), 8):
                meddled(name, target, message[:at] + bytes((octet ^ change,)) + message[at + 1 :])


@pytest.mark.parametrize("name", PLAIN_ONES)
def test_a_message_is_cut_or_grows_anywhere(name: str) -> None:
    random = Random(name)
    for target, message in enumerate(honest(name)[2]):
        for at in range(len(message) + 1):
            meddled(name, target, message[:at])
            for size in (1, 3, 8):
                more = random.randbytes(size)
                meddled(name, target, message[:at] + more)
                meddled(name, target, message[:at] + more + message[at:])


@settings(max_examples=200)
@given(st.data())
def test_any_part_of_a_message_is_exchanged(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(PLAIN_ONES))
    target, message = data.draw(st.sampled_from([*enumerate(honest(name)[2])]))
    start = data.draw(st.integers(0, len(message)))
    end = data.draw(st.integers(start, len(message)))
    meddled(name, target, message[:start] + data.draw(st.binary(max_size=12)) + message[end:])


@settings(max_examples=100)
@given(messages=st.lists(st.binary(max_size=60), max_size=6), initial=st.booleans())
def test_noise_raises_what_is_documented(messages: list[bytes], initial: bool) -> None:
    for name in NAMES:
        note(name)
        make_noise(name, messages, initial)


def make_noise(name: str, messages: list[bytes], initial: bool) -> None:
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
