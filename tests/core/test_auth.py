"""Authenticating (RFC 4954), both operations against each other and against servers that lie.

The promises: the strongest mechanism is used, and the next one only after a refusal of the mechanism; no
secret goes where it may be read; a success that was not earned is not believed; a server says the same to an
unknown user and to a wrong password, and to nobody for ever.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from helpers import drive, every
from scripted import Server, connected
from test_serve import EHLO, MAIL, Site, Wire

from smtp_proto import (
    ClientConnection,
    Features,
    LocalProtocolError,
    NotOffered,
    Refused,
    RemoteProtocolError,
    Reply,
    State,
)
from smtp_proto.ops import Authenticator, NextToken, authenticate, greet, hello
from smtp_proto.ops._auth import _exchange as exchange
from smtp_proto.sasl import (
    AuthFailed,
    ChannelBinding,
    CheckExternal,
    CheckPassword,
    CheckToken,
    Context,
    Credentials,
    LookUp,
    LookUpSecret,
    StoredKeys,
)

BINDING = ChannelBinding("tls-exporter", b"x" * 32)
SECRET = b"s" * 16
ALL = (
    "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5",
    "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN", "EXTERNAL", "ANONYMOUS",
)  # fmt: skip
WITH_PASSWORD = [name for name in ALL if name not in ("OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS")]


def answer(question: Any) -> Any:
    """What an application knows of its one user."""
    if isinstance(question, CheckPassword):
        return (question.user, question.password) == ("ada", "pässword")
    if isinstance(question, LookUp):
        keys = StoredKeys.derive("pässword", b"salt" * 4, 4096, question.mechanism)
        return keys if question.user == "ada" else None
    if isinstance(question, LookUpSecret):
        return "pässword" if question.user == "ada" else None
    if isinstance(question, CheckToken):
        return question.token == "t0ken"
    assert isinstance(question, CheckExternal)
    return "ada"


def context(bindings=(BINDING,)):
    return Context(
        nonce="n" * 20, bindings=bindings, host="mx.example", server_secret=SECRET, iterations=4096
    )


def site(mechanisms=ALL, *, tls=True, bindings=(BINDING,), hooks=None, **options):
    authenticator = Authenticator(mechanisms, lambda: context(bindings), **options.pop("policy", {}))
    hooks = {"authenticate": answer, **(hooks or {})}
    return Site(hooks, tls=tls, authenticator=authenticator, **options)


class Overheard(Wire):
    """A wire that keeps what the client sent."""

    def __init__(self, there):
        super().__init__(there)
        self.heard = []

    def send(self, data):
        self.heard.append(data)
        super().send(data)


def meet(there, *, tls=True):
    """A client that has introduced itself to this site."""
    conn, wire = ClientConnection(tls=tls), Overheard(there)
    drive(greet(conn), conn, wire)
    drive(hello(conn, "c.example"), conn, wire)
    return conn, wire


def login(conn, wire, credentials, *, bindings=(BINDING,), ask=None, **options):
    op = authenticate(conn, credentials, context(bindings), **options)
    return drive(op, conn, wire, ask)


ADA = Credentials("ada", "pässword")


@every("name", ALL)
def test_every_mechanism_leads_in(name):
    there = site()
    conn, wire = meet(there)
    credentials = Credentials("ada", token="t0ken") if "AUTH" in name else ADA
    assert login(conn, wire, credentials, mechanisms=[name]).code == 235
    assert conn.authenticated
    assert there.conn.authenticated
    assert there.session.user == ("" if name == "ANONYMOUS" else "ada")
    assert there.say(b"AUTH PLAIN\r\n", MAIL, b"AUTH PLAIN\r\n") == [503, 250, 503]


@pytest.mark.parametrize("name", WITH_PASSWORD)
def test_who_is_unknown_and_who_has_a_wrong_password_hear_the_same(name):
    heard = []
    for credentials in (Credentials("ada", "wrong"), Credentials("eve", "pässword")):
        there = site()
        conn, wire = meet(there)
        with pytest.raises(Refused) as refused:
            login(conn, wire, credentials, mechanisms=[name])
        heard.append((refused.value.reply, [len(write) for write in there.writes]))
        assert refused.value.reply.code == 535
        assert not conn.authenticated
        assert there.session.user is None
        assert "wrong" not in f"{refused.value} {refused.value.__cause__!r}"
        assert login(conn, wire, ADA, mechanisms=[name]).code == 235
    assert heard[0] == heard[1]


@pytest.mark.parametrize(
    ("offered", "options", "used"),
    [
        (ALL, {}, "SCRAM-SHA-256-PLUS"),
        (ALL, {"bindings": ()}, "SCRAM-SHA-256"),
        (["PLAIN", "LOGIN", "CRAM-MD5"], {}, "CRAM-MD5"),
        (["LOGIN", "PLAIN"], {}, "PLAIN"),
        (["LOGIN"], {}, "LOGIN"),
    ],
)
def test_the_strongest_that_both_have_is_used(offered, options, used):
    there = site(offered)
    conn, wire = meet(there)
    login(conn, wire, ADA, **options)
    assert conn.authenticated
    assert [data.split()[1].decode() for data in wire.heard if data[:5] == b"AUTH "] == [used]


def said(server):
    return [line.split()[1].decode() for line in server.heard if line[:4] == b"AUTH"]


def lying(*mechanisms, tls=True, **answers):
    server = Server({"EHLO": f"250-mx.example\r\n250 AUTH {' '.join(mechanisms)}", **answers})
    return server, connected(server, tls=tls)


@pytest.mark.parametrize("code", [504, 534, 538])
def test_behind_a_refusal_of_the_mechanism_comes_the_next_one(code):
    server, conn = lying("PLAIN", "CRAM-MD5", AUTH=[f"{code} no", "235 ok"])
    assert login(conn, server, ADA).code == 235
    assert said(server) == ["CRAM-MD5", "PLAIN"]
    server, conn = lying("PLAIN", AUTH=f"{code} no")
    with pytest.raises(Refused, match=str(code)):
        login(conn, server, ADA)


@pytest.mark.parametrize("code", [421, 432, 454, 500, 501, 530, 535, 550])
def test_behind_a_refusal_of_the_credentials_comes_nothing(code):
    server, conn = lying("PLAIN", "CRAM-MD5", AUTH=[f"{code} no", "235 ok"])
    with pytest.raises(Refused, match=str(code)):
        login(conn, server, ADA)
    assert said(server) == ["CRAM-MD5"]


def test_no_secret_goes_over_the_wire_in_the_clear():
    for credentials in (ADA, Credentials("ada", token="t0ken")):
        server, conn = lying("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", tls=False, AUTH="235 ok")
        with pytest.raises(NotOffered, match="AUTH"):
            login(conn, server, credentials)
        assert server.writes == []
        assert login(conn, server, credentials, allow_plaintext=True).code == 235


def test_a_server_offers_in_the_clear_what_is_safe_there():
    there = site(tls=False, bindings=())
    offered = meet(there, tls=False)[0].features.auth
    assert offered == ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "EXTERNAL", "ANONYMOUS")
    there = site(["PLAIN", "NONSENSE"], tls=False, policy={"allow_plaintext": True})
    assert meet(there, tls=False)[0].features.auth == ("PLAIN",)
    there = site(["PLAIN"], tls=False)
    conn, _ = meet(there, tls=False)
    assert "AUTH" not in conn.features
    assert there.say(b"AUTH PLAIN\r\n") == [502]


def test_a_success_that_was_not_proved_is_not_believed():
    server, conn = lying("SCRAM-SHA-256", AUTH="235 welcome")
    with pytest.raises(RemoteProtocolError, match="SCRAM-SHA-256"):
        login(conn, server, ADA)
    assert conn.state is State.FAILED


@pytest.mark.parametrize("challenge", ["!", "AA=A", b64encode(b"r=short,s=AAAA,i=4096").decode()])
def test_a_challenge_that_is_none_is_cancelled(challenge):
    server, conn = lying("SCRAM-SHA-256", AUTH=f"334 {challenge}", **{"*": "501 cancelled"})
    with pytest.raises(RemoteProtocolError, match="SCRAM-SHA-256"):
        login(conn, server, ADA)
    assert server.heard[-1] == b"*"
    assert conn.state is State.READY


def test_credentials_that_cannot_be_said_are_refused_before_anything_is():
    server, conn = lying("PLAIN")
    with pytest.raises(LocalProtocolError, match="PLAIN"):
        login(conn, server, Credentials("a\0b", "x"))
    assert server.writes == []


@pytest.mark.parametrize(("length", "lines"), [(9195, 1), (9196, 2), (9213, 2)])
def test_an_initial_response_too_long_for_its_line_has_one_of_its_own(length, lines):
    there = site(hooks={"authenticate": lambda question: isinstance(question, CheckToken)})
    conn, wire = meet(there)
    token = "t" * (length - len("user=ada\1auth=Bearer \1\1"))
    assert login(conn, wire, Credentials("ada", token=token), mechanisms=["XOAUTH2"]).code == 235
    assert len([data for data in wire.heard if b"AUTH" in data or b"dHR0" in data]) == lines


@pytest.mark.parametrize(
    ("tokens", "ends"), [(["t0ken"], 235), (["old", "t0ken"], 235), (["old", "older"], 535)]
)
@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
def test_a_token_is_asked_for_and_once_more_if_it_is_refused(name, tokens, ends):
    there = site()
    conn, wire = meet(there)
    asked = []

    def ask(want):
        asked.append(want)
        return tokens[len(asked) - 1]

    op = lambda: login(conn, wire, Credentials("ada"), ask=ask, ask_token=True, mechanisms=[name])  # noqa: E731
    if ends == 235:
        assert op().code == 235
    else:
        with pytest.raises(Refused, match="535") as refused:
            op()
        assert getattr(refused.value.__cause__, "details", {}).get("status")
    assert asked == [NextToken(refresh=False), NextToken(refresh=True)][: len(tokens)]


def test_a_mechanism_that_is_refused_costs_no_second_token():
    server, conn = lying("OAUTHBEARER", "XOAUTH2", AUTH=["504 no", "235 ok"])
    tokens = iter(["one", "two"])
    op = authenticate(conn, Credentials("ada"), context(), ask_token=True)
    assert drive(op, conn, server, lambda want: next(tokens)).code == 235
    assert next(tokens, None) is None


@pytest.mark.parametrize(
    ("response", "code"),
    [(b"*\r\n", 501), (b"!\r\n", 501), (b"AAAA\r\n", 501), (b64encode(b"\0ada\0wrong") + b"\r\n", 535)],
)
def test_an_exchange_that_fails_leaves_the_session_as_it_was(response, code):
    there = site()
    assert there.say(EHLO, b"AUTH PLAIN\r\n", response) == [250, 334, code]
    assert there.say(b"AUTH PLAIN =\r\n", b"AUTH NONSENSE\r\n", b"NOOP\r\n") == [501, 504, 250]
    good = b"AUTH PLAIN " + b64encode("\0ada\0pässword".encode()) + b"\r\n"
    assert there.say(good) == [235]


def test_a_client_that_is_gone_is_not_answered():
    there = site()
    there.say(EHLO, b"AUTH PLAIN\r\n")
    assert there.hang_up() in ([], [421])
    assert there.over


def test_who_fails_too_often_is_shown_the_door():
    there = site()
    bad = b"AUTH PLAIN " + b64encode(b"\0ada\0wrong") + b"\r\n"
    there.say(EHLO)
    assert there.say(*[bad] * 6) == [535] * 5 + [421]
    assert there.over


@pytest.mark.parametrize(
    ("allowed", "code"),
    [
        (None, 535),
        (False, 535),
        (True, 235),
        (Reply(code=550, text="not you"), 550),
        (Reply(code=250), 454),
        ("yes", 454),
    ],
)
def test_to_act_as_another_is_for_the_application_to_allow(allowed, code):
    there = site(hooks={"authorize": allowed})
    conn, wire = meet(there)
    credentials = Credentials("ada", "pässword", authorize_as="grace")
    if code == 235:
        assert login(conn, wire, credentials, mechanisms=["SCRAM-SHA-256"]).code == 235
        assert there.session.user == "grace"
    else:
        with pytest.raises(Refused, match=str(code)):
            login(conn, wire, credentials, mechanisms=["SCRAM-SHA-256"])
        assert there.session.user is None
    assert [name for name in there.names if name == "authorize"] == ["authorize"]


def test_a_password_for_which_scram_has_no_words_may_be_one_for_plain():
    password = "\U0001f511"  # RFC 5802 2.2: not in Unicode 3.2, so nobody can have stored it
    hooks = {"authenticate": lambda question: getattr(question, "password", None) == password}
    conn, wire = meet(site(["SCRAM-SHA-256", "PLAIN"], hooks=hooks))
    assert login(conn, wire, Credentials("ada", password)).code == 235
    conn, wire = meet(site(["SCRAM-SHA-256"], hooks=hooks))
    with pytest.raises(LocalProtocolError, match="SCRAM-SHA-256"):
        login(conn, wire, Credentials("ada", password))


def test_an_application_that_fails_is_no_refusal():
    there = site(hooks={"authenticate": OSError("no database")})
    conn, wire = meet(there)
    with pytest.raises(Refused, match="454"):
        login(conn, wire, ADA)
    assert "error" in there.names
    there = site(hooks={"authenticate": None})
    conn, wire = meet(there)
    for name in ("PLAIN", "SCRAM-SHA-256", "EXTERNAL"):
        with pytest.raises(Refused, match="535"):
            login(conn, wire, ADA, mechanisms=[name])


@every("name", WITH_PASSWORD)
@every(
    ("answer", "code", "tries"),
    [
        (Reply(code=432, enhanced="4.7.12", text="choose a new password"), 432, 9),
        (Reply(code=534, enhanced="5.7.9", text="too weak for you"), 534, 5),
        (Reply(code=538, enhanced="5.7.11", text="not in the clear"), 538, 9),
        (Reply(code=235, text="come in"), 454, 9),
    ],
)
def test_an_application_may_say_itself_how_it_refuses(name, answer, code, tries):
    there = site(hooks={"authenticate": answer})
    conn, wire = meet(there)
    for _ in range(tries):
        with pytest.raises(Refused, match=str(code)):
            login(conn, wire, ADA, mechanisms=[name])
    assert not there.conn.authenticated
    if tries == 5:
        with pytest.raises(Refused, match="421"):
            login(conn, wire, ADA, mechanisms=[name])


def test_each_refusal_has_the_code_that_the_rfc_gives_it():
    """RFC 4954 6."""
    wrong = b"AUTH PLAIN " + b64encode(b"\0ada\0wrong") + b"\r\n"
    there = site(require_auth=True)
    there.say(EHLO, MAIL, b"AUTH NONSENSE\r\n", wrong)
    there.hooks["authenticate"] = OSError("no database")
    there.say(wrong)
    assert [write[:9] for write in there.writes[2:]] == [
        *[b"530 5.7.0", b"504 5.5.4", b"535 5.7.8", b"454 4.7.0"],
    ]


def test_without_auth_no_mail_where_it_is_required():
    there = site(require_auth=True)
    conn, wire = meet(there)
    assert there.say(MAIL) == [530]
    wire.receive()
    login(conn, wire, ADA)
    assert there.say(MAIL) == [250]


def test_a_server_without_a_policy_knows_no_mechanism():
    there = Site(offer=Features({"AUTH": ("PLAIN",)}))
    assert there.say(EHLO, b"AUTH PLAIN\r\n") == [250, 504]


def test_a_mechanism_that_cannot_be_had_now_is_refused():
    there = site(["PLAIN"], tls=False, offer=Features({"AUTH": ("PLAIN",)}))
    assert there.say(EHLO, b"AUTH PLAIN\r\n") == [250, 504]


def test_a_connection_that_breaks_in_the_middle_is_no_failure_of_the_application():
    there = site()
    there.say(EHLO, b"AUTH PLAIN\r\n")
    there.lose(ConnectionResetError("reset"))
    assert there.over
    assert "error" not in there.names


def endless() -> Any:
    """A mechanism of somebody's own, which does not know when to stop."""
    while True:
        with suppress(AuthFailed):
            yield b"more"


def test_a_mechanism_that_is_not_through_does_not_make_a_success():
    server, conn = lying("X-OWN", AUTH="235 ok")
    with pytest.raises(RemoteProtocolError, match="X-OWN"):
        drive(exchange(conn, "X-OWN", endless()), conn, server)
    assert conn.state is State.FAILED
    server, conn = lying("X-OWN", AUTH="535 no")
    with pytest.raises(Refused, match="535"):
        drive(exchange(conn, "X-OWN", endless()), conn, server)
