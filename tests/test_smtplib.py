"""What the drop-in does and the standard library's smtplib does not, and what both have in common beside the
dialogues of `test_smtplib_differential.py`.
"""

from __future__ import annotations

import base64
import inspect
import io
import logging
import logging.handlers
import pickle
import smtplib as standard
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from peers import (
    GREETING,
    HELLO,
    MESSAGE,
    RECIPIENT,
    SENDER,
    Peer,
    another_authority,
    certificates,
    listening,
    nothing_left,
    serving,
)
from wires import Net, Script, net, reply

from smtp_proto import Rcpt, Reply
from smtp_proto.ops import Session, Status
from smtp_proto.sasl import LookUp, StoredKeys
from smtp_transports import smtplib as dropin
from smtp_transports.auth import AuthSettings
from smtp_transports.blocking import serve
from smtp_transports.handlers import Collector, Mailbox, Message

WAYS = pytest.mark.parametrize("offers", [[], [b"PIPELINING"]], ids=["lock-step", "pipelining"])
OTHER, THIRD = "edsger@mx.example", "barbara@mx.example"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


@contextmanager
def client(*offers: bytes, kind: str = "SMTP", **script: Any) -> Iterator[tuple[Any, Net]]:
    """The drop-in, connected to a server in memory."""
    with net(dropin, Script(offers=offers, lmtp=kind == "LMTP", **script)) as there:
        connected = getattr(dropin, kind)("mx.example", 25)
        yield connected, there
        connected.close()


def said(there: Net) -> bytes:
    """All that was written to the last server, whatever became of it."""
    return b"".join(there.servers[-1].writes)


def bodies(there: Net) -> list[bytes]:
    return [line for line in there.heard[-1] if line.endswith(b"\r\n.\r\n")]


# --- The same surface


def test_all_is_that_of_the_standard_module() -> None:
    assert sorted(dropin.__all__) == sorted(standard.__all__)
    for name in (*standard.__all__, "LMTP"):
        assert inspect.isclass(getattr(dropin, name)) is inspect.isclass(getattr(standard, name)), name


CONSTANTS = [
    "SMTP_PORT",
    "SMTP_SSL_PORT",
    "LMTP_PORT",
    "CRLF",
    "bCRLF",
    "_MAXLINE",
    "_MAXCHALLENGE",
    "OLDSTYLE_AUTH",
]


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_those_of_the_standard_module(name: str) -> None:
    assert getattr(dropin, name) == getattr(standard, name)


ERRORS = [
    name for name in standard.__all__ if name.startswith("SMTP") and name.endswith(("n", "d", "r", "d"))
]
ERRORS = [name for name in ERRORS if issubclass(getattr(standard, name), Exception)]


def test_exceptions_are_caught_by_the_same_names() -> None:
    assert len(ERRORS) == 10
    for one, other in product(ERRORS, ERRORS):
        ours = issubclass(getattr(dropin, one), getattr(dropin, other))
        assert ours is issubclass(getattr(standard, one), getattr(standard, other)), (one, other)
    assert issubclass(dropin.SMTPException, OSError)


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "SMTPSenderRefused": (550, b"no", SENDER),
    "SMTPRecipientsRefused": ({RECIPIENT: (550, b"no")},),
    "SMTPServerDisconnected": ("gone",),
    "SMTPNotSupportedError": ("no such thing",),
    "SMTPException": ("wrong",),
}


@pytest.mark.parametrize("name", ERRORS)
def test_exceptions_look_the_same_and_survive_pickling(name: str) -> None:
    arguments = ARGUMENTS.get(name, (550, b"no"))
    ours, theirs = getattr(dropin, name)(*arguments), getattr(standard, name)(*arguments)
    for error in (ours, pickle.loads(pickle.dumps(ours))):
        assert type(error) is getattr(dropin, name)
        assert error.args == theirs.args
        assert vars(error) == vars(theirs)
        assert str(error) == str(theirs)
        assert (error.errno, error.strerror) == (theirs.errno, theirs.strerror)


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


def methods() -> Iterator[tuple[str, str]]:
    """What is called, and what is overridden by those who connect in another way."""
    for kind in ("SMTP", "SMTP_SSL", "LMTP"):
        for name, _ in inspect.getmembers(getattr(standard, kind), inspect.isfunction):
            if not name.startswith("_") or name in ("__init__", "_get_socket", "_print_debug"):
                yield kind, name


@pytest.mark.parametrize(("kind", "name"), list(methods()))
def test_methods_take_what_they_take_in_the_standard_module(kind: str, name: str) -> None:
    ours = parameters(getattr(getattr(dropin, kind), name))
    assert ours == parameters(getattr(getattr(standard, kind), name))


def test_every_public_attribute_is_there() -> None:
    for kind in ("SMTP", "SMTP_SSL", "LMTP"):
        ours, theirs = getattr(dropin, kind), getattr(standard, kind)
        assert {name for name in dir(theirs) if not name.startswith("_")} <= set(dir(ours))
        assert {name for name in vars(theirs()) if not name.startswith("_")} <= {*dir(ours())}


QUOTED = ["abc\n.jkl\rfoo\r\n..blue", "", ".", "\n.\n", "a\r\r\n.b", "a\r", ".\r", "\r", "caf\xe9"]
ADDRESSES = [
    "",
    "<>",
    "a@b.example",
    "A <a@b.example>",
    "<a@b.example>",
    "not an address",
    "<broken",
    "a@b@c",
    "@",
]


def test_the_functions_answer_as_in_the_standard_module() -> None:
    assert [dropin.quotedata(text) for text in QUOTED] == [standard.quotedata(text) for text in QUOTED]
    assert [dropin.quoteaddr(text) for text in ADDRESSES] == [standard.quoteaddr(text) for text in ADDRESSES]


AUDIT = """
import sys
sys.path[:0] = {path!r}
import smtplib as standard
from smtp_transports import smtplib as dropin
from wires import Script, net

seen = []
def hook(event, args):
    if event.startswith("smtplib."):
        seen.append((event, type(args[0]).__name__, *args[1:]))
sys.addaudithook(hook)

def events(module):
    seen.clear()
    with net(module, Script()):
        module.SMTP("mx.example", 2525).noop()
    return [tuple(word.lower() if isinstance(word, bytes) else word for word in event) for event in seen]

print(events(dropin) == events(standard), len(events(standard)))
"""


def test_auditors_see_the_same_events() -> None:
    script = AUDIT.format(path=[str(Path(__file__).parent)])
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("True 2\n", "")


def where(server: Any) -> tuple[str, int]:
    host, port = server.address[:2]
    return host, port


# --- TLS shows who the server is


def over_tls(port: int, host: str, context: ssl.SSLContext | None) -> Any:
    return dropin.SMTP_SSL(host, port, local_hostname="client.example", context=context)


def over_starttls(port: int, host: str, context: ssl.SSLContext | None) -> Any:
    connected = dropin.SMTP(host, port, local_hostname="client.example")
    try:
        connected.starttls(context=context)
    except BaseException:
        connected.close()
        raise
    return connected


def late_starttls(port: int, host: str, context: ssl.SSLContext | None) -> Any:
    connected = dropin.SMTP(local_hostname="client.example")
    connected.connect(host, port)
    try:
        connected.starttls(context=context)
    except BaseException:
        connected.close()
        raise
    return connected


def late_tls(port: int, host: str, context: ssl.SSLContext | None) -> Any:
    connected = dropin.SMTP_SSL(local_hostname="client.example", context=context)
    connected.connect(host, port)
    return connected


def host_and_port_in_one(port: int, host: str, context: ssl.SSLContext | None) -> Any:
    return dropin.SMTP_SSL(f"{host}:{port}", local_hostname="client.example", context=context)


SECURED: dict[str, tuple[str, Callable[[int, str, ssl.SSLContext | None], Any]]] = {
    "SMTP_SSL": ("tls", over_tls),
    "SMTP_SSL and connect": ("tls", late_tls),
    "SMTP_SSL with host:port": ("tls", host_and_port_in_one),
    "starttls": ("starttls", over_starttls),
    "connect and starttls": ("starttls", late_starttls),
}


@pytest.mark.parametrize("how", SECURED)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_messages_go_through_tls_to_a_server_that_is_trusted(how: str, host: str) -> None:
    way, connect = SECURED[how]
    mailbox = Mailbox()
    with (
        serving(mailbox, way) as (server, _),
        connect(server.address[1], host, certificates().client) as secured,
    ):
        assert secured.sendmail(SENDER, RECIPIENT, MESSAGE) == {}
    assert [message.data for message in mailbox.messages] == [MESSAGE]


@pytest.mark.parametrize("how", SECURED)
@pytest.mark.parametrize("context", ["the default", "another authority"])
def test_a_server_that_nobody_vouches_for_is_not_trusted(how: str, context: str) -> None:
    way, connect = SECURED[how]
    trusted = another_authority().client if context == "another authority" else None
    with serving(Mailbox(), way) as (server, _), pytest.raises(ssl.SSLCertVerificationError):
        connect(server.address[1], "localhost", trusted)


def test_a_certificate_for_another_name_is_not_trusted() -> None:
    with serving(Mailbox(), "starttls") as (server, _):
        connected = dropin.SMTP(*where(server), local_hostname="client.example")
        connected._host = "wrong.example"
        with pytest.raises(ssl.SSLCertVerificationError, match=r"wrong\.example"):
            connected.starttls(context=certificates().client)
        assert connected.sock is None


def test_a_context_that_checks_nothing_can_still_be_had() -> None:
    context = ssl._create_unverified_context()
    with (
        serving(Mailbox(), "tls") as (server, _),
        over_tls(server.address[1], "localhost", context) as secured,
    ):
        assert secured.noop()[0] == 250


def test_what_was_learned_in_the_clear_is_forgotten_with_starttls() -> None:
    with (
        serving(Mailbox(), "starttls") as (server, _),
        over_starttls(server.address[1], "localhost", certificates().client) as secured,
    ):
        assert secured.ehlo_resp is secured.helo_resp is None
        assert secured.esmtp_features == {}
        assert not secured.does_esmtp
        secured.ehlo()
        assert secured.has_extn("pipelining")
        assert not secured.has_extn("starttls")


def test_what_is_said_behind_the_answer_to_starttls_is_not_believed() -> None:
    def play(peer: Peer) -> None:
        peer.say(GREETING)
        peer.hear(b"ehlo ")
        peer.say(*HELLO)
        peer.hear(b"STARTTLS")
        peer.say(b"220 go", b"250 injected")
        peer.rest()

    with listening(play) as address:
        connected = dropin.SMTP(*address, local_hostname="client.example")
        with pytest.raises((dropin.SMTPException, ssl.SSLError)):
            connected.starttls(context=certificates().client)
        assert connected.sock is None


# --- Credentials

USER, PASSWORD = "jörg", "pässwörd"


def test_credentials_are_utf_8() -> None:
    with client(b"AUTH PLAIN") as (smtp, there):
        assert smtp.login(USER, PASSWORD)[0] == 235
        assert there.heard[0][-1] == b"AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())


def test_credentials_are_utf_8_in_login_too() -> None:
    prompts = [reply(334, base64.b64encode(b"Password:")), reply(235)]
    with client(b"AUTH LOGIN", answers={"AUTH": prompts}) as (smtp, there):
        assert smtp.login(USER, PASSWORD)[0] == 235
        assert there.heard[0][-2:] == [
            b"AUTH LOGIN " + base64.b64encode(USER.encode()),
            base64.b64encode(PASSWORD.encode()),
        ]


class Keys(Mailbox):
    """Knows the keys of one user, and no password."""

    def authenticate(self, session: Session, question: Any) -> Any:
        if isinstance(question, LookUp) and question.user == USER:
            return StoredKeys.derive(PASSWORD, b"salt" * 4, 4096, question.mechanism)
        return None


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_login_uses_scram_where_it_can(mechanism: str, initial: bool) -> None:
    with serve(Keys(), auth=AuthSettings([mechanism, "PLAIN"], allow_plaintext=True)) as server:
        for user, password, code in ((USER, PASSWORD, 235), (USER, "wrong", 535), (USER, "\U0001f511", 535)):
            with dropin.SMTP(*server.address) as smtp:
                if code == 235:
                    assert smtp.login(user, password, initial_response_ok=initial)[0] == 235
                else:
                    with pytest.raises(dropin.SMTPAuthenticationError) as refused:
                        smtp.login(user, password, initial_response_ok=initial)
                    assert refused.value.smtp_code == code


@pytest.mark.parametrize(
    "answers", [[reply(235)], [reply(334, base64.b64encode(b"r=x,s=AAAA,i=4096"))], [reply(334, b"AAAA")]]
)
def test_a_server_that_proves_nothing_is_left(answers: list[bytes]) -> None:
    with client(b"AUTH SCRAM-SHA-256", answers={"AUTH": answers}) as (smtp, _):
        with pytest.raises(dropin.SMTPException, match="SCRAM-SHA-256"):
            smtp.login(USER, PASSWORD)
        assert smtp.sock is None


SECRET = "correct horse battery staple"
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5"]


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("level", [1, 2])
def test_debug_output_tells_no_secrets(
    mechanism: str, initial: bool, level: int, capsys: pytest.CaptureFixture[str]
) -> None:
    challenges = {"PLAIN": 0, "LOGIN": 1, "CRAM-MD5": 1}[mechanism] + (
        not initial and mechanism != "CRAM-MD5"
    )
    prompts = [reply(334, base64.b64encode(b"<challenge>"))] * challenges
    with client(b"AUTH " + mechanism.encode(), answers={"AUTH": prompts}) as (smtp, there):
        smtp.set_debuglevel(level)
        assert smtp.login("ada", SECRET, initial_response_ok=initial)[0] == 235
        lines = there.heard[0][1:]
    output = capsys.readouterr().err
    secrets = [
        word.decode()
        for line in lines
        for word in line.split(b" ")
        if word not in (b"AUTH", mechanism.encode())
    ]
    assert secrets
    for secret in (SECRET, *secrets):
        assert secret not in output
    assert f"send: 'AUTH {mechanism}" in output
    assert "reply: retcode (235)" in output


def test_debug_output_tells_no_secrets_that_are_sent_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    token = base64.b64encode(SECRET.encode()).decode()
    with client(b"AUTH XOAUTH2") as (smtp, there):
        smtp.set_debuglevel(1)
        smtp.ehlo()
        assert smtp.docmd("AUTH", f"XOAUTH2 {token}")[0] == 235
        assert smtp.auth("xoauth2", lambda challenge=None: SECRET)[0] == 235
        assert there.heard[0][-2:] == [f"AUTH XOAUTH2 {token}".encode()] * 2
    output = capsys.readouterr().err
    assert output.count("send: 'AUTH XOAUTH2") == 2
    assert token not in output


# --- Debug output


def debug_output(module: Any, level: int, capsys: pytest.CaptureFixture[str], *offers: bytes) -> list[str]:
    capsys.readouterr()
    with net(module, Script(offers=[b"SIZE 1000", *offers])):
        smtp = module.SMTP()
        smtp.set_debuglevel(level)
        smtp.connect("mx.example", 2525)
        smtp.ehlo()
        smtp.noop()
        smtp.sendmail(SENDER, [RECIPIENT], b"Subject: hi\r\n\r\n.\r\n")
        smtp.vrfy("ada")
        smtp.quit()
    return capsys.readouterr().err.splitlines()


@WAYS
def test_debug_output_is_that_of_the_standard_module(
    offers: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = (debug_output(module, 1, capsys, *offers) for module in (dropin, standard))
    assert len(ours) > 20
    for one, other in zip(ours, theirs, strict=True):
        assert one.lower() == other.lower()


def test_debug_output_of_level_2_has_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    lines = debug_output(dropin, 2, capsys)
    assert len(lines) > 20
    for line in lines:
        time, _, rest = line.partition(" ")
        assert len(time.split(":")) == 3
        assert rest.startswith(("connect:", "reply:", "send:", "data:"))


# --- What a server may not do


def test_a_reply_has_an_end() -> None:
    endless = [reply(250, *[b"x" * 70] * 10_000)]
    with client(answers={"NOOP": endless}) as (smtp, _):
        with pytest.raises(dropin.SMTPException):
            smtp.noop()
        assert smtp.sock is None


def test_a_line_has_an_end() -> None:
    with client(answers={"NOOP": [b"250 " + b"x" * 9000 + b"\r\n"]}) as (smtp, _):
        with pytest.raises(dropin.SMTPResponseException) as caught:
            smtp.noop()
        assert caught.value.args == (500, "Line too long.")
        assert smtp.sock is None


# What `int` would take for a code, or half of one.
NO_CODES = [b"+25 x", b" 25 x", b"2_0 x", b"25", b"\xd9\xa2\xd9\xa5x", b"abc", b""]


@pytest.mark.parametrize("line", NO_CODES)
def test_a_reply_has_three_digits_or_no_code(line: bytes) -> None:
    with client(answers={"NOOP": [line + b"\r\n"]}) as (smtp, _):
        assert smtp.noop()[0] == -1
        assert smtp.noop()[0] == 250


@pytest.mark.parametrize("half", [b"250-first\r\n", b"250-first\r\n250 sec", b"250 one", b"2"])
def test_half_a_reply_is_none(half: bytes) -> None:
    with client(answers={"NOOP": [half]}, closes_after=1) as (smtp, _):
        with pytest.raises(dropin.SMTPServerDisconnected, match="Connection unexpectedly closed"):
            smtp.noop()
        assert smtp.sock is None


# --- What a caller may not say

INJECTED: dict[str, tuple[str, Sequence[Any]]] = {
    "option of MAIL with a space": ("mail", [SENDER, ["RET=HDRS AUTH=<>"]]),
    "option of MAIL with a line": ("mail", [SENDER, ["RET=HDRS\r\nRSET"]]),
    "option of RCPT with a space": ("rcpt", [RECIPIENT, ["NOTIFY=NEVER ORCPT=rfc822;x"]]),
    "reverse-path with a parameter": ("mail", ["<a@b.example> AUTH=<>"]),
    "forward-path with a parameter": ("rcpt", ["<a@b.example> ORCPT=rfc822;x"]),
    "reverse-path with a line": ("mail", ["a@b.example>\r\nRSET"]),
    "reverse-path with a NUL": ("mail", ["a\0@b.example"]),
    "sendmail, from": ("sendmail", ["<a@b.example> AUTH=<>", [RECIPIENT], MESSAGE]),
    "sendmail, to": ("sendmail", [SENDER, ["<a@b.example> ORCPT=rfc822;x"], MESSAGE]),
    "sendmail, options": ("sendmail", [SENDER, [RECIPIENT], MESSAGE, ["RET=HDRS AUTH=<>"]]),
    "sendmail, options of recipients": (
        "sendmail",
        [SENDER, [RECIPIENT], MESSAGE, [], ["NOTIFY=NEVER ORCPT=x"]],
    ),
}


@pytest.mark.parametrize("offers", [[b"DSN"], [b"DSN", b"PIPELINING"]], ids=["lock-step", "pipelining"])
@pytest.mark.parametrize("name", INJECTED)
def test_nothing_comes_along_with_an_address_or_an_option(name: str, offers: list[bytes]) -> None:
    method, arguments = INJECTED[name]
    with client(*offers) as (smtp, there):
        smtp.ehlo()
        there.servers[0].writes.clear()
        with pytest.raises(ValueError):  # noqa: PT011 - the texts are not promised
            getattr(smtp, method)(*arguments)
        assert said(there).strip().lower() in (b"", b"rset")
        assert smtp.noop()[0] == 250


@pytest.mark.parametrize("method", ["sendmail", "data"])
def test_bare_cr_and_lf_in_octets_become_line_ends(method: str) -> None:
    with client() as (smtp, there):
        if method == "sendmail":
            smtp.sendmail(SENDER, RECIPIENT, b"a\nb\rc\r\n.d\n.\n")
        else:
            smtp.ehlo()
            smtp.mail(SENDER)
            smtp.rcpt(RECIPIENT)
            assert smtp.data(b"a\nb\rc\r\n.d\n.\n")[0] == 250
        assert bodies(there) == [b"a\r\nb\r\nc\r\n..d\r\n..\r\n.\r\n"]


# --- Envelopes


def message(**values: str) -> EmailMessage:
    made = EmailMessage()
    for name, value in values.items():
        made[name] = value
    made.set_content("Hello\n")
    return made


def test_a_message_from_nobody_is_not_from_none() -> None:
    with client() as (smtp, there):
        smtp.ehlo()
        with pytest.raises(ValueError):  # noqa: PT011
            smtp.send_message(message(To=RECIPIENT))
        assert there.heard == [[b"EHLO client.example"]]
        assert smtp.send_message(message(To=RECIPIENT), from_addr="") == {}
        assert b"MAIL FROM:<>" in there.heard[0]


@pytest.mark.parametrize("empty", ["friends:;", " ", ","])
def test_recipients_without_an_address_are_none(empty: str) -> None:
    with client() as (smtp, there):
        assert smtp.send_message(message(From=SENDER, To=RECIPIENT, Cc=empty)) == {}
        assert [line for line in there.heard[0] if line.startswith(b"RCPT")] == [
            b"RCPT TO:<%s>" % RECIPIENT.encode()
        ]


@WAYS
@pytest.mark.parametrize("empty", ["", "<>"])
def test_nobody_is_no_recipient(empty: str, offers: list[bytes]) -> None:
    with client(*offers) as (smtp, there):
        smtp.ehlo()
        with pytest.raises(ValueError):  # noqa: PT011
            smtp.sendmail(SENDER, [RECIPIENT, empty], MESSAGE)
        assert not [line for line in there.heard[0] if line.startswith(b"RCPT")]
        assert not there.servers[0].open
        smtp.mail(SENDER)
        with pytest.raises(ValueError):  # noqa: PT011
            smtp.rcpt(empty)


def test_the_members_of_a_group_are_recipients() -> None:
    with client() as (smtp, there):
        assert smtp.send_message(message(From=SENDER, To=f"friends: {RECIPIENT}, {OTHER};")) == {}
        wanted = [b"RCPT TO:<%s>" % one.encode() for one in (RECIPIENT, OTHER)]
        assert [line for line in there.heard[0] if line.startswith(b"RCPT")] == wanted


@WAYS
def test_a_recipient_that_stands_twice_and_is_refused_twice_is_refused(offers: list[bytes]) -> None:
    with client(*offers, answers={"RCPT": [reply(550, b"no")] * 2}) as (smtp, there):
        with pytest.raises(dropin.SMTPRecipientsRefused) as caught:
            smtp.sendmail(SENDER, [RECIPIENT, RECIPIENT], MESSAGE)
        assert caught.value.recipients == {RECIPIENT: (550, b"no")}
        assert bodies(there) == []
        assert smtp.sendmail(SENDER, [RECIPIENT, RECIPIENT], MESSAGE) == {}
        assert len(bodies(there)) == 1


# --- Both ways to send a message

TO_SEND: list[Any] = [SENDER, [RECIPIENT, OTHER], MESSAGE]


def test_the_envelope_goes_out_at_once_where_the_server_offers_it() -> None:
    with client(b"PIPELINING") as (smtp, there):
        smtp.ehlo()
        there.servers[0].writes.clear()
        assert smtp.sendmail(*TO_SEND) == {}
        assert smtp.noop()[0] == 250
        assert smtp.sendmail(*TO_SEND) == {}
        writes = there.servers[0].writes
        assert [write.count(b"\r\n") for write in writes if b"MAIL" in write.upper()] == [4, 4]
        assert len(writes) == 5
        assert len(bodies(there)) == 2


OVERRIDDEN = ["send", "putcmd", "getreply", "docmd", "mail", "rcpt", "data"]


@pytest.mark.parametrize("how", ["in a subclass", "on the object", "on the class"])
@pytest.mark.parametrize("name", OVERRIDDEN)
def test_who_overrides_a_call_is_called(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    kind: Any = type("Own", (dropin.SMTP,), {})
    original = getattr(dropin.SMTP, name)

    def call(self: Any, *args: Any) -> Any:
        calls.append(args)
        return original(self, *args)

    if how == "in a subclass":
        setattr(kind, name, call)
    elif how == "on the class":
        monkeypatch.setattr(dropin.SMTP, name, call)
    with net(dropin, Script(offers=[b"PIPELINING"])) as there:
        smtp = kind("mx.example", 25)
        smtp.ehlo()
        if how == "on the object":
            setattr(smtp, name, lambda *args: call(smtp, *args))
        calls.clear()
        assert smtp.sendmail(*TO_SEND) == {}
        assert len(bodies(there)) == 1
    assert calls


# What is no acceptance at its place; nobody says 999, and 250 to DATA is not for the message.
NO = [*product(["MAIL", "RCPT", "DATA", "."], [421, 450, 550, 999]), ("RCPT", 354), (".", 354), ("DATA", 250)]


@WAYS
@pytest.mark.parametrize(("verb", "code"), NO)
def test_only_a_message_that_was_taken_was_sent(verb: str, code: int, offers: list[bytes]) -> None:
    with client(*offers, answers={verb: [reply(code)] * 2}) as (smtp, there):
        with pytest.raises(dropin.SMTPException):
            smtp.sendmail(*TO_SEND)
        assert not (smtp.last_result and smtp.last_result.accepted)
        assert len(bodies(there)) == (verb == ".")
        if code in (250, 450, 550):
            assert smtp.noop()[0] == 250
            assert not there.servers[0].open
        elif code == 421:
            assert smtp.sock is None


@WAYS
def test_commands_are_in_utf_8_from_smtputf8_until_rset(offers: list[bytes]) -> None:
    with client(b"SMTPUTF8", *offers) as (smtp, there):
        assert smtp.sendmail("j\xf6rg@sender.example", RECIPIENT, MESSAGE, ["SMTPUTF8"]) == {}
        assert b"MAIL FROM:<j\xc3\xb6rg@sender.example> SMTPUTF8" in there.heard[0]
        assert smtp.command_encoding == "utf-8"
        smtp.rset()
        assert smtp.command_encoding == "ascii"


LOST = {
    "sending": (BrokenPipeError("gone"), "Server not connected"),
    "receiving": (ConnectionResetError("reset"), "Connection unexpectedly closed: reset"),
    "waiting": (TimeoutError("timed out"), "Connection unexpectedly closed: timed out"),
    "the end": (None, "Connection unexpectedly closed"),
}


@WAYS
@pytest.mark.parametrize("call", ["sendmail", "noop"])
@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize("module", [dropin, standard], ids=["ours", "standard"])
def test_a_connection_that_breaks_is_closed(module: Any, what: str, call: str, offers: list[bytes]) -> None:
    error, text = LOST[what]

    def fail(*args: Any) -> int:
        there.servers[0].closed = True
        if error:
            raise error
        return 0

    with net(module, Script(offers=offers)) as there:
        smtp = module.SMTP("mx.example", 25)
        smtp.ehlo()
        if what == "sending":
            smtp.sock.sendall = fail
        elif what == "the end":
            there.servers[0].closed = True
        else:
            smtp.sock.recv = smtp.sock.recv_into = fail
        for wanted in (text, "please run connect() first"):
            with pytest.raises(module.SMTPServerDisconnected) as caught:
                getattr(smtp, call)(*TO_SEND if call == "sendmail" else ())
            assert str(caught.value) == wanted
            assert smtp.sock is None


# --- What is known of the last message


@WAYS
def test_the_last_result_knows_every_recipient(offers: list[bytes]) -> None:
    answers = {"RCPT": [reply(250), reply(550, b"5.1.1 no"), reply(450)], ".": [reply(250, b"2.0.0 as 4711")]}
    with client(*offers, answers=answers) as (smtp, _):
        refused = smtp.sendmail(SENDER, [RECIPIENT, OTHER, THIRD], MESSAGE)
        assert refused == {OTHER: (550, b"5.1.1 no"), THIRD: (450, b"Ok")}
        outcomes = smtp.last_result.outcomes
        assert [one.status for one in outcomes] == [Status.ACCEPTED, Status.REFUSED, Status.REFUSED]
        assert [one.reply.code for one in outcomes] == [250, 550, 450]
        assert "as 4711" in outcomes[0].reply.text


# --- Bodies in pieces


def file_of(body: bytes) -> Any:
    return io.BytesIO(body)


def pieces_of(body: bytes) -> Any:
    return (body[at : at + 997] for at in range(0, len(body), 997))


@pytest.mark.parametrize(
    "form", [file_of, pieces_of, bytearray, memoryview], ids=["file", "pieces", "array", "view"]
)
@pytest.mark.parametrize("method", ["sendmail", "data"])
@pytest.mark.parametrize("offers", [[], [b"PIPELINING", b"SIZE"]], ids=["lock-step", "pipelining"])
def test_a_body_need_not_be_in_one_piece(
    form: Callable[[bytes], Any], method: str, offers: list[bytes]
) -> None:
    body = b"Subject: long\r\n\r\n" + b"." * 70 + b"\r\n" + b"x\n" * 40_000
    with client(*offers) as (smtp, there):
        if method == "sendmail":
            assert smtp.sendmail(SENDER, [RECIPIENT], form(body)) == {}
        else:
            smtp.ehlo()
            smtp.mail(SENDER)
            smtp.rcpt(RECIPIENT)
            assert smtp.data(form(body))[0] == 250
        assert bodies(there) == [
            body.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r").replace(b"\n.", b"\n..") + b".\r\n"
        ]


# --- LMTP


class Choosy(Collector):
    """Takes messages for some recipients, and has no room for others."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[bytes, str]] = []

    def rcpt(self, session: Session, command: Rcpt) -> Reply | None:
        return Reply(code=550, text="nobody") if "nobody" in str(command.forward_path) else None

    def deliver(self, session: Session, message: Message) -> Any:
        answers = []
        for recipient in message.recipients:
            full = "full" in str(recipient)
            answers.append(Reply(code=452, text="no room") if full else None)
            if not full:
                self.taken.append((message.data, str(recipient)))
        return answers


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_lmtp_answers_for_each_recipient(way: str, tmp_path: Path) -> None:
    choosy = Choosy()
    with serving(choosy, way, folder=tmp_path, lmtp=True) as (server, _):
        address = (str(tmp_path / "socket"), 0) if way == "unix" else where(server)
        with dropin.LMTP(*address, local_hostname="client.example") as lmtp:
            refused = lmtp.sendmail(SENDER, ["a@x.example", "full@x.example", "nobody@x.example"], b"one\r\n")
            assert {who: code for who, (code, _) in refused.items()} == {
                "full@x.example": 452,
                "nobody@x.example": 550,
            }
            assert lmtp.last_result
            assert [one.status for one in lmtp.last_result.outcomes] == [
                Status.ACCEPTED,
                Status.REFUSED,
                Status.REFUSED,
            ]
            assert lmtp.sendmail(SENDER, ["b@x.example", "c@x.example"], b"two\r\n") == {}
            assert lmtp.noop()[0] == 250
    assert choosy.taken == [
        (b"one\r\n", "a@x.example"),
        (b"two\r\n", "b@x.example"),
        (b"two\r\n", "c@x.example"),
    ]


@WAYS
def test_each_answer_of_lmtp_is_that_of_its_recipient(offers: list[bytes]) -> None:
    answers = {"RCPT": [reply(250), reply(550, b"who"), reply(250)], ".": [reply(452, b"full"), reply(250)]}
    with client(*offers, kind="LMTP", answers=answers) as (lmtp, _):
        refused = lmtp.sendmail(SENDER, [RECIPIENT, OTHER, THIRD], MESSAGE)
        assert refused == {RECIPIENT: (452, b"full"), OTHER: (550, b"who")}
        assert [one.reply.code for one in lmtp.last_result.outcomes] == [452, 550, 250]
        assert [one.recipient for one in lmtp.last_result.accepted] == [THIRD]
        assert lmtp.sendmail(SENDER, [RECIPIENT, OTHER, THIRD], MESSAGE) == {}


@WAYS
def test_a_body_that_lmtp_refuses_for_everybody_is_refused(offers: list[bytes]) -> None:
    answers = {".": [reply(452, b"full"), reply(552, b"too big")]}
    with client(*offers, kind="LMTP", answers=answers) as (lmtp, _):
        with pytest.raises(dropin.SMTPException) as caught:
            lmtp.sendmail(SENDER, [RECIPIENT, OTHER], MESSAGE)
        assert isinstance(caught.value, (dropin.SMTPDataError, dropin.SMTPRecipientsRefused))
        assert lmtp.sendmail(SENDER, [RECIPIENT, OTHER], MESSAGE) == {}


def test_lmtp_connects_to_nowhere_in_particular_as_smtp_does() -> None:
    with net(dropin, Script(lmtp=True)) as there:
        dropin.LMTP().connect("")
        dropin.SMTP().connect("")
        assert there.addresses == [(("", 25), None)] * 2


# --- Where the standard library uses smtplib


def test_log_records_are_mailed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smtplib", dropin)
    mailbox = Mailbox()
    logger = logging.getLogger("test_log_records_are_mailed")
    with serving(mailbox) as (server, _):
        handler = logging.handlers.SMTPHandler(server.address[:2], SENDER, [RECIPIENT, OTHER], "Alarm")
        logger.addHandler(handler)
        logger.error("it burns")
        logger.removeHandler(handler)
        handler.close()
    assert [one.recipients for one in mailbox.messages] == [(RECIPIENT, OTHER)]
    assert b"Subject: Alarm\r\n" in mailbox.messages[0].data
    assert mailbox.messages[0].data.endswith(b"\r\n\r\nit burns\r\n")


PROMPT = """
import runpy, socket
connect = socket.create_connection
def create_connection(address, *rest, **options):
    assert address == ("localhost", 25), address
    return connect(("127.0.0.1", {port}), *rest, **options)
socket.create_connection = create_connection
runpy.run_module("smtp_transports.smtplib", run_name="__main__")
"""


def test_the_module_is_a_prompt() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as (server, _):
        run = subprocess.run(
            [sys.executable, "-c", PROMPT.format(port=server.address[1])],
            input=f"{SENDER}\n{RECIPIENT},{OTHER}\nSubject: hi\n\nHello\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert run.stdout.startswith("From: To: Enter message, end with ^D:\n")
    assert "send: 'quit" in run.stderr.lower()
    assert [one.recipients for one in mailbox.messages] == [(RECIPIENT, OTHER)]
    assert mailbox.messages[0].data == b"Subject: hi\r\n\r\nHello\r\n"
