"""The operations that open a session and ask questions.

The promise: TLS by policy, and HELO only where it costs nothing; in the clear nothing is said after TLS
was due, and nothing heard there counts inside.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest
from helpers import drive
from scripted import Answer, Server, connected

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    Features,
    Greeting,
    LocalProtocolError,
    NotOffered,
    Refused,
    RemoteProtocolError,
    Reply,
    SMTPError,
    State,
)
from smtp_proto.ops import (
    etrn,
    expand,
    greet,
    hello,
    help,
    noop,
    quit,
    reset,
    start_tls,
    verify,
    xclient,
    xforward,
)

# Opening a session -----------------------------------------------------------------------------------

CODES = [code for code in range(200, 600) if not 300 <= code < 400]


def test_a_session_begins_with_220_and_with_no_other_code():
    for code in CODES:
        server = Server(greeting=f"{code} mx.example hi")
        conn = ClientConnection()
        if code == 220:
            greeting = drive(greet(conn), conn, server)
            assert greeting == Greeting(domain="mx.example", text="hi")
        else:
            with pytest.raises(Refused) as caught:
                drive(greet(conn), conn, server)
            assert caught.value.reply == Reply(code=code, text="mx.example hi")
            assert caught.value.command is None
            assert conn.state is (State.CLOSED if code == 421 else State.REJECTED)
        assert server.writes == []


def said_in_hello(
    policy: str, tls: bool, code: int, offered: bool, answer: int, needs_esmtp: bool, lmtp: bool
) -> tuple[list[str], type[SMTPError] | None]:
    """What `hello` must say, and how it must end."""
    name = "LHLO" if lmtp else "EHLO"
    required = policy == "required" and not tls
    said = [name]
    if code >= 400:
        if lmtp or required or needs_esmtp or code not in (500, 501, 502, 504):
            return said, Refused
        said.append("HELO")
        offered = False
    if tls or policy == "never":
        return said, None
    if not offered:
        return said, NotOffered if required else None
    said.append("STARTTLS")
    if answer != 220:
        return said, Refused if required or answer == 421 else None
    return [*said, "<TLS>", name], None


def test_hello_follows_the_policy_whatever_the_server_answers():
    for policy, tls, code, offered, answer, needs_esmtp, lmtp in product(
        ("required", "opportunistic", "never"),
        (False, True),
        (250, 421, 500, 504, 550),
        (False, True),
        (220, 250, 421, 454),
        (False, True),
        (False, True),
    ):
        case = (policy, tls, code, offered, answer, needs_esmtp, lmtp)
        words = [f"{code}-mx.example", f"{code}-STARTTLS" if offered else f"{code}-XSTARTTLS", f"{code} X"]
        answers: Answer | list[Answer] = ["\r\n".join(words), "250-inside\r\n250 STARTTLS"]
        server = Server({"EHLO": answers, "LHLO": answers, "STARTTLS": f"{answer} go"})
        conn = ClientConnection(lmtp=lmtp, tls=tls)
        drive(greet(conn), conn, server)
        op = hello(conn, "client.example", starttls=policy, needs_esmtp=needs_esmtp)
        said, error = said_in_hello(*case)
        try:
            reply: Reply | SMTPError = drive(op, conn, server)
        except (Refused, NotOffered) as exc:
            reply = exc
        if error is not None:
            assert type(reply) is error, case
        else:
            assert isinstance(reply, Reply), case
            assert reply.is_positive, case
            assert conn.is_usable, case
        assert server.verbs == said, case
        assert conn.tls is (tls or "<TLS>" in said), case


def test_helo_follows_only_the_codes_of_a_server_that_does_not_know_ehlo():
    for code in CODES:
        conn = ClientConnection()
        server = Server({"EHLO": f"{code} mx.example"})
        drive(greet(conn), conn, server)
        falls_back = code in (500, 501, 502, 504)
        with pytest.raises(Refused) if code >= 400 and not falls_back else nullcontext():
            drive(hello(conn, "client.example"), conn, server)
        assert ("HELO" in server.verbs) is falls_back
        assert conn.features == Features()


def test_a_refused_helo_is_the_end():
    conn = ClientConnection()
    server = Server({"EHLO": "500 what", "HELO": "550 no"})
    drive(greet(conn), conn, server)
    with pytest.raises(Refused, match="Helo was refused: 550 no"):
        drive(hello(conn, "client.example"), conn, server)


def test_inside_tls_nothing_is_left_of_what_was_offered_in_the_clear():
    conn = ClientConnection()
    server = Server({"EHLO": ["250-clear\r\n250-STARTTLS\r\n250 SIZE 10", "250-inside\r\n250 8BITMIME"]})
    drive(greet(conn), conn, server)
    reply = drive(hello(conn, "client.example", starttls="required"), conn, server)
    assert reply.lines[0] == "inside"
    assert dict(conn.features) == {"8BITMIME": ()}


@pytest.mark.parametrize("needs_esmtp", [False, True])
def test_inside_tls_helo_follows_a_server_that_forgot_ehlo_unless_more_is_needed(needs_esmtp):
    conn = ClientConnection()
    server = Server({"EHLO": ["250-clear\r\n250 STARTTLS", "500 what"]})
    drive(greet(conn), conn, server)
    op = hello(conn, "client.example", starttls="required", needs_esmtp=needs_esmtp)
    if needs_esmtp:
        with pytest.raises(Refused):
            drive(op, conn, server)
    else:
        assert drive(op, conn, server).code == 250
    assert server.verbs == ["EHLO", "STARTTLS", "<TLS>", "EHLO", *([] if needs_esmtp else ["HELO"])]


@pytest.mark.parametrize("policy", ["required", "opportunistic"])
def test_nothing_is_said_in_the_clear_after_a_handshake_that_failed(policy):
    conn = ClientConnection()
    server = Server({"EHLO": "250-clear\r\n250 STARTTLS"}, tls_fails=True)
    drive(greet(conn), conn, server)
    with pytest.raises(ConnectionLost, match="no common cipher"):
        drive(hello(conn, "client.example", starttls=policy), conn, server)
    assert server.verbs == ["EHLO", "STARTTLS", "<TLS>"]
    assert conn.state is State.FAILED


@pytest.mark.parametrize("behind", ["250 evil", "2", "250-evil\r\n250 AUTH LOGIN"])
def test_octets_behind_the_220_end_it_before_the_handshake(behind):
    conn = ClientConnection()
    server = Server({"EHLO": "250-clear\r\n250 STARTTLS", "STARTTLS": f"220 go\r\n{behind}"})
    drive(greet(conn), conn, server)
    drive(hello(conn, "client.example"), conn, server)
    with pytest.raises(RemoteProtocolError, match="in the clear"):
        drive(start_tls(conn), conn, server)
    assert server.verbs == ["EHLO", "STARTTLS"]
    assert not conn.is_usable
    assert not conn.tls


def test_starttls_that_was_not_offered_is_not_said():
    server = Server()
    conn = connected(server)
    with pytest.raises(LocalProtocolError, match="STARTTLS is not offered"):
        drive(start_tls(conn), conn, server)
    assert server.writes == []
    assert conn.is_usable


# Questions and answers -------------------------------------------------------------------------------

QUESTIONS: list[tuple[Callable[[ClientConnection], Any], bytes]] = [
    (lambda conn: verify(conn, "alice"), b"VRFY alice"),
    (lambda conn: expand(conn, "list"), b"EXPN list"),
    (help, b"HELP"),
    (lambda conn: help(conn, "mail"), b"HELP mail"),
    (noop, b"NOOP"),
]


@pytest.mark.parametrize(("ask", "line"), QUESTIONS)
def test_a_question_returns_its_answer_good_or_bad(ask, line):
    verb = line.split()[0].decode()
    for code in CODES:
        server = Server({verb: f"{code}-first\r\n{code} last"})
        conn = connected(server)
        reply = drive(ask(conn), conn, server)
        assert (reply.code, reply.lines) == (code, ("first", "last"))
        assert server.heard == [line]
        assert conn.is_usable is (code != 421)


def test_a_reset_that_is_refused_raises():
    server = Server({"RSET": ["250 ok", "502 no"]})
    conn = connected(server)
    assert drive(reset(conn), conn, server).code == 250
    with pytest.raises(Refused, match="Rset was refused: 502 no"):
        drive(reset(conn), conn, server)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("221 bye", 221),
        ("500 no", 500),
        ("421 bye", 421),
        ("what", None),
        ("250-x\r\n251 y", None),
        (None, None),
        (ConnectionResetError(), None),
        (TimeoutError(), None),
    ],
)
def test_a_server_need_not_answer_quit(answer, code):
    server = Server({"QUIT": answer})
    conn = connected(server)
    reply = drive(quit(conn), conn, server)
    assert (reply and reply.code) == code
    assert server.heard == [b"QUIT"]


def test_quit_need_not_wait():
    server = Server({})
    conn = connected(server)
    assert drive(quit(conn, wait=False), conn, server) is None
    assert server.heard == [b"QUIT"]


# What proxies and relays say ---------------------------------------------------------------------------

PROXIED = "250-mx.example\r\n250-ETRN\r\n250-XFORWARD NAME\r\n250 XCLIENT NAME ADDR"


def test_etrn_gives_its_reply_good_or_bad():
    for answer in ("250 ok", "253 7 messages", "458 no", "501 no"):
        server = Server({"EHLO": PROXIED, "ETRN": answer})
        conn = connected(server)
        assert drive(etrn(conn, "@example.org"), conn, server).code == int(answer[:3])
        assert server.heard[-1] == b"ETRN @example.org"


def test_who_takes_the_place_of_another_client_begins_afresh():
    server = Server({"EHLO": [PROXIED, "250-mx.example\r\n250 SIZE 5"], "XCLIENT": "220 mx.example"})
    conn = connected(server)
    reply = drive(xclient(conn, "b.example", {"name": "[UNAVAILABLE]", "ADDR": "192.0.2.1"}), conn, server)
    assert reply.is_positive
    assert server.heard[-2:] == [b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1", b"EHLO b.example"]
    assert conn.features == {"SIZE": ("5",)}
    assert conn.state is State.READY


@pytest.mark.parametrize("answer", ["250 ok", "550 5.7.0 not you"])
def test_a_client_that_is_not_trusted_hears_so(answer):
    server = Server({"EHLO": PROXIED, "XCLIENT": answer, "XFORWARD": answer})
    conn = connected(server)
    with pytest.raises(Refused, match=answer[:3]):
        drive(xclient(conn, "b.example", {"NAME": "x"}), conn, server)
    if answer.startswith("5"):
        with pytest.raises(Refused, match="550"):
            drive(xforward(conn, {"NAME": "x"}), conn, server)
    else:
        assert drive(xforward(conn, {"NAME": "x"}), conn, server).is_positive
    for op in (xclient(conn, "b.example", {"PORT": "25"}), xforward(conn, {"ADDR": "x"})):
        with pytest.raises(LocalProtocolError, match="does not take"):
            drive(op, conn, server)


def test_a_question_beyond_ascii_needs_smtputf8():
    answers = {"VRFY": "252 maybe", "EXPN": "250 <\xfc@b.example>"}
    server = Server({"EHLO": "250-mx.example\r\n250 SMTPUTF8", **answers})
    conn = connected(server)
    drive(verify(conn, "J\xfcrgen"), conn, server)
    assert server.heard[-1] == "VRFY J\xfcrgen SMTPUTF8".encode()
    assert [path for _, path in drive(expand(conn, "all"), conn, server).mailboxes] == ["\xfc@b.example"]
    assert server.heard[-1] == b"EXPN all"
    conn = connected(Server({"EHLO": "250 mx.example"}))
    with pytest.raises(LocalProtocolError, match="SMTPUTF8"):
        drive(verify(conn, "J\xfcrgen"), conn, server)


@pytest.mark.parametrize(
    ("lines", "mailboxes"),
    [
        (["Fred Smith <fred@a.example>"], [("Fred Smith", "fred@a.example")]),
        (["<fred@a.example>"], [("", "fred@a.example")]),
        (["fred@a.example"], [("", "fred@a.example")]),
        (["User not local; try <x@b.example>"], [("User not local; try", "x@b.example")]),
        (["ok", "no", ""], []),
        (
            ["Ambiguous; Possibilities", " Joe <j@a.example>", ' "J. D." <"j>d"@a.example> (him)'],
            [("Joe", "j@a.example"), ('"J. D."', '"j>d"@a.example')],
        ),
        (["<postmaster>", "postmaster"], [("", "postmaster")]),
        (["<>", "a <b> <c@d.example>", "<a@b> <c@d.example>", "< a@b.example >"], [("", "a@b.example")]),
    ],
)
def test_the_mailboxes_in_an_answer_are_found(lines, mailboxes):
    found = Reply(code=250, lines=lines).mailboxes
    assert [tuple(one) for one in found] == mailboxes


def test_quit_has_nothing_to_say_where_nobody_listens():
    conn = connected(Server({"NOOP": "421 4.3.2 closing"}))
    conn.fail()
    assert drive(quit(conn), conn, Server()) is None
    server = Server({"NOOP": "421 4.3.2 closing"})
    conn = connected(server)
    assert drive(noop(conn), conn, server).code == 421
    assert drive(quit(conn), conn, server) is None
    assert server.verbs[-1] == "NOOP"
