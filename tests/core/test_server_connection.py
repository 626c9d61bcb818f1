"""A server's connection, beyond what the state table says.

The promises: a byte behind STARTTLS is refused, and TLS starts afresh (RFC 3207); what is too much, too long,
out of place or of another protocol is answered as RFC 5321 and security.md have it, and never read as
commands; a refused chunk is swallowed first (RFC 3030); LMTP has a verdict for each recipient (RFC 2033);
AUTH is as RFC 4954 has it; what came before an error is handed out, the error is final, and its reply can
still be sent.
"""

from __future__ import annotations

from typing import Any

import pytest
from helpers import ALL_FEATURES, every, feed, pair_in, server_in, snapshot, until_error
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Cutter, cutters, several

from smtp_proto import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Auth,
    AuthChallenge,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Features,
    Greeting,
    Hello,
    Helo,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    Signal,
    StartTLS,
    State,
    Timer,
    UnknownCommand,
)

OK, NO, GO = Reply(code=250), Reply(code=550), Reply(code=354)
END = EndOfMessage()
TEXT = MessageData(data=b"text")
MAIL, RCPT = b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n"


def server_with(
    state: State, *, features: Features = ALL_FEATURES, options: Any = None, **limits: Any
) -> ServerConnection:
    """A server in `state` that was built with these limits and options."""
    server = ServerConnection(limits=Limits(**limits), **(options or {}))
    return pair_in(state, features=features, server=server).server


def hear(server: ServerConnection, *chunks: bytes) -> Any:
    """The one event that these octets make."""
    (event,) = feed(server, *chunks)
    return event


def ask(server: ServerConnection, line: bytes, reply: Reply = OK) -> Any:
    """The one event that `line` makes, answered with `reply`."""
    event = hear(server, line)
    server.send(reply)
    return event


def refusal(event: object) -> tuple[int, str | None]:
    """The code of a malformed command."""
    assert isinstance(event, MalformedCommand)
    return event.reply.code, event.reply.enhanced


def fault(server: ServerConnection, *chunks: bytes) -> int:
    """The code of the reply to the error that these octets are, with no command before it; it is final."""
    events, error = until_error(server, *chunks)
    assert all(isinstance(event, MessageData) for event in events)
    assert error is not None
    server.data_to_send()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as again:
            server.next_event()
        assert again.value is error
    assert error.reply is not None
    assert (error.code, error.enhanced) == (error.reply.code, error.reply.enhanced)
    for reply in (OK, GO, Greeting(), AuthChallenge(data=b"")):
        before = snapshot(server)
        with pytest.raises(LocalProtocolError):
            server.send(reply)
        assert snapshot(server) == before
    server.send(error.reply)
    assert server.data_to_send().startswith(b"%d " % error.code)
    assert server.state is State.CLOSED
    with pytest.raises(LocalProtocolError, match="closed"):
        server.send(error.reply)
    return error.code


# STARTTLS


@pytest.mark.parametrize("behind", [b"\0", b"E", b"EHLO a.example\r\n", b"\r\n", b"\x16\x03\x01"])
def test_an_octet_behind_starttls_is_an_error_however_it_is_cut(behind: bytes) -> None:
    wire = b"STARTTLS\r\n" + behind
    for cut in range(10, len(wire)):
        server = server_in(State.READY)
        server.receive_data(wire[:cut])
        assert server.next_event() == StartTLS()
        server.receive_data(wire[cut:])
        assert fault(server) == 554

        server = server_in(State.READY)
        ask(server, wire[:10], Reply(code=220))
        server.receive_data(wire[10:])
        with pytest.raises(RemoteProtocolError, match="octets in the clear"):
            server.tls_started()
        assert fault(server) == 554
        assert server.tls is False


def test_what_stands_behind_a_refused_starttls_is_a_command() -> None:
    server = server_in(State.READY, features=Features({"AUTH": ()}))
    server.receive_data(b"STARTTLS\r\nNOOP\r\n")
    assert refusal(server.next_event()) == (502, "5.5.1")
    server.send(Reply(code=502))
    assert server.next_event() == Noop()


def test_tls_makes_the_server_forget_what_it_learned_in_the_clear() -> None:
    server = server_in(State.READY)
    ask(server, b"AUTH PLAIN AA==\r\n", Reply(code=235))
    ask(server, MAIL)
    ask(server, b"RSET\r\n")
    ask(server, b"STARTTLS\r\n", Reply(code=220))
    assert server.authenticated
    assert server.next_event() is PAUSED
    server.tls_started()
    assert (server.state, server.tls) == (State.GREETED, True)
    assert (server.features, server.authenticated, server.mail) == (Features(), False, None)
    assert refusal(ask(server, MAIL, NO)) == (503, "5.5.1")
    ask(server, b"EHLO a.example\r\n", Hello(features=ALL_FEATURES))
    assert refusal(ask(server, b"STARTTLS\r\n", NO)) == (503, "5.5.1")
    assert isinstance(ask(server, b"AUTH PLAIN\r\n", NO), Auth)


# Commands, one at a time


@given(cut=cutters())
@settings(max_examples=30)
def test_pipelined_commands_are_heard_one_by_one_as_they_are_answered(cut: Cutter) -> None:
    server = server_in(State.READY)
    heard: list[Command] = []
    for chunk in cut(MAIL + RCPT + RCPT + b"DATA\r\ntext\r\n.\r\nNOOP\r\n"):
        server.receive_data(chunk)
        while not isinstance(event := server.next_event(), Signal):
            heard.append(event)
            if not isinstance(event, MessageData):
                assert server.next_event() is PAUSED
                server.send(GO if isinstance(event, Data) else OK)
    rcpt = Rcpt(forward_path="c@d.example")
    assert heard[:4] == [Mail(reverse_path="a@b.example"), rcpt, rcpt, Data()]
    assert b"".join(event.data for event in heard[4:-2] if isinstance(event, MessageData)) == b"text\r\n"
    assert heard[-2:] == [END, Noop()]
    assert server.data_to_send() == b"250 \r\n" * 3 + b"354 \r\n" + b"250 \r\n" * 2


def test_what_a_client_says_before_the_greeting_waits_for_it() -> None:
    server = ServerConnection()
    server.receive_data(b"EHLO a.example\r\n")
    assert server.next_event() is PAUSED
    server.send(Greeting(domain="mx.example"))
    assert server.next_event() == Ehlo(domain="a.example")


@every("line", [b"EHLO a.example\r\n", b"HELO a.example\r\n", b"RSET\r\n"], ids=["EHLO", "HELO", "RSET"])
@every("state", [State.MAIL, State.RCPT, State.BDAT, State.BDAT_FAILED])
def test_a_new_beginning_forgets_the_transaction_if_it_is_granted(state: State, line: bytes) -> None:
    server = server_with(state, recipients=1)
    mail = server.mail
    assert mail is not None
    ask(server, line, NO)
    assert (server.state, server.mail) == (state, mail)
    ask(server, line, Hello(features=ALL_FEATURES) if line[0] == ord("E") else OK)
    assert (server.state, server.mail) == (State.READY, None)
    ask(server, MAIL)
    ask(server, RCPT)  # the limit counts afresh
    assert server.mail == Mail(reverse_path="a@b.example")


def test_after_helo_nothing_is_offered() -> None:
    server = server_in(State.READY)
    ask(server, b"HELO a.example\r\n", NO)
    assert server.features == ALL_FEATURES
    assert ask(server, b"HELO a.example\r\n") == Helo(domain="a.example")
    assert server.features == {}
    assert refusal(ask(server, b"MAIL FROM:<a@b.example> SIZE=5\r\n", NO)) == (555, "5.5.4")


@every(
    ("line", "code"),
    [
        (b"MAIL FROM:<a@b.example> FOO=bar", 555),
        (b"MAIL FROM:<a@b.example> NOTIFY=NEVER", 555),
        (b"MAIL FROM:<\xc3\xa4@b.example>", 553),
        (b"MAIL FROM:<@\xc3\xa4.example:a@b.example>", 553),
        (b"MAIL FROM:<\xe4@b.example> SMTPUTF8", 553),
        (b"MAIL FROM:<a@b.example> REQUIRETLS", 530),
        (b"MAIL FROM:<a@b.example> SIZE=10485761", 552),
        (b"MAIL FROM:a@b.example", 501),
        (b"MAIL TO:<a@b.example>", 501),
        (b"MAIL", 501),
        (b"EHLO", 501),
        (b"EHLO a b", 501),
        (b"VRFY", 501),
        (b"RSET now", 501),
        (b"DATA now", 501),
        (b"QUIT now", 501),
        (b"STARTTLS now", 501),
        (b"AUTH", 501),
        (b"AUTH pl/ain", 501),
        (b"AUTH PLAIN !", 501),
        (b"RCPT TO:<a@b.example>", 503),
        (b"RCPT TO:a@b.example", 501),
        (b"RCPT TO:<>", 501),
        (b"DATA", 503),
        (b"NOOP \x07", 501),
        (b"", 500),
        (b" NOOP", 500),
        (b"NOOP\t", 500),
        (b"M\xc4\xb1L FROM:<a@b.example>", 500),
        (b"NOOP \xff", 553),
    ],
)
def test_a_bad_command_has_its_reply_and_the_session_goes_on(line: bytes, code: int) -> None:
    features = Features({**ALL_FEATURES, "REQUIRETLS": ()})
    server = server_with(State.READY, features=features, message_size=10485760)
    event = hear(server, line + b"\r\n")
    assert refusal(event)[0] == code
    assert event.line == (b"AUTH" if line.startswith(b"AUTH") else line)
    for reply in (OK, GO, AuthChallenge(data=b""), Hello()):
        with pytest.raises(LocalProtocolError):
            server.send(reply)
    server.send(event.reply)
    assert server.data_to_send().startswith(b"%d " % code)
    assert server.state is State.READY
    assert hear(server, b"NOOP\r\n") == Noop()


@every(
    ("state", "line"),
    [
        (State.READY, b"MAIL FROM:<a@b.example> BODY=8BITMIME"),
        (State.READY, b'MAIL FROM:<"a b"@b.example>'),
        (State.READY, b"EHLO a.example"),
        (State.READY, b"EHLO [1.2.3.4]"),
        (State.READY, b"VRFY a b"),
        (State.READY, b"AUTH PLAIN AA=="),
        (State.READY, b"STARTTLS"),
        (State.READY, b"XFOO bar"),
        (State.MAIL, b"RCPT TO:<a@b.example>"),
        (State.RCPT, b"DATA"),
        (State.RCPT, b"BDAT 5 LAST"),
        (State.AUTH, b"AAAA"),
    ],
)
def test_a_control_character_anywhere_spoils_the_command(state: State, line: bytes) -> None:
    for control in (0, 1, 7, 8, 9, 10, 11, 12, 13, 27, 31, 127):
        for at in range(len(line) + 1):
            spoilt = line[:at] + bytes([control]) + line[at:] + b"\r\n"
            events, error = until_error(server_in(state), spoilt)
            assert len(events) == (error is None)
            assert all(isinstance(event, MalformedCommand) for event in events), spoilt


def test_utf8_in_a_recipient_needs_smtputf8_on_mail() -> None:
    server = server_in(State.READY)
    ask(server, MAIL)
    assert refusal(ask(server, b"RCPT TO:<\xc3\xa4@b.example>\r\n", NO)) == (553, "5.6.7")
    ask(server, b"RSET\r\n")
    ask(server, b"MAIL FROM:<a@b.example> SMTPUTF8\r\n")
    assert ask(server, b"RCPT TO:<\xc3\xa4@b.example>\r\n") == Rcpt(forward_path="ä@b.example")


# Limits


@pytest.mark.parametrize("line", [b"XFOO\r\n", b"!\r\n", b"DATA\r\n", b"x" * 5000 + b"\r\n"])
def test_bad_commands_are_counted_and_at_last_421(line: bytes) -> None:
    server = server_with(State.READY, errors=5)
    for _ in range(5):
        ask(server, line, NO)
        ask(server, b"NOOP\r\n")  # good ones do not count
    server.data_to_send()
    assert fault(server, line) == 421


@pytest.mark.parametrize("accept_bare_lf", [False, True])
@pytest.mark.parametrize("length", [4096, 4097, 5000, 9000])
@given(cut=cutters())
@settings(max_examples=5)
def test_a_line_that_is_too_long_is_refused_once_and_skipped(
    length: int, accept_bare_lf: bool, cut: Cutter
) -> None:
    server = server_with(State.READY, options={"accept_bare_lf": accept_bare_lf})
    end = b"\n" if accept_bare_lf else b"\r\n"
    line = b"NOOP " + b"x" * (length - 5 - len(end)) + end
    heard: list[Any] = []
    for chunk in cut(line + b"RSET" + end):
        server.receive_data(chunk)
        while not isinstance(event := server.next_event(), Signal):
            heard.append(event)
            server.send(NO)
    long, rset = heard
    if length <= 4096:
        assert isinstance(long, Noop)
    else:
        assert refusal(long)[0] == 500
        assert long.line == line[:4096]
    assert rset == Rset()


@pytest.mark.parametrize(("length", "fits"), [(4098, True), (12286, True), (12290, False)])
def test_what_belongs_to_auth_may_be_longer(length: int, fits: bool) -> None:
    for state, start in ((State.READY, b"auth  PLAIN "), (State.AUTH, b"")):
        server = server_in(state)
        event = hear(server, start + b"A" * (length // 4 * 4 - len(start)) + b"\r\n")
        if fits:
            assert isinstance(event, AuthResponse if state is State.AUTH else Auth)
            continue
        assert refusal(event)[0] == 500
        assert event.line == (b"" if state is State.AUTH else b"auth")
        server.send(NO)
        assert server.state is State.READY
        assert hear(server, b"NOOP\r\n") == Noop()


def test_recipients_are_limited_those_that_were_accepted() -> None:
    server = server_with(State.READY, recipients=2)
    ask(server, MAIL)
    ask(server, RCPT, NO)
    ask(server, RCPT)
    ask(server, RCPT)
    assert refusal(ask(server, RCPT, NO)) == (452, "4.5.3")
    assert server.state is State.RCPT


def test_the_announced_size_is_limited() -> None:
    for size, limit in ((5, 4), (4, 4), (10**19, None)):
        server = server_with(State.READY, message_size=limit)
        event = hear(server, b"MAIL FROM:<> SIZE=%d\r\n" % size)
        if limit is not None and size > limit:
            assert refusal(event) == (552, "5.3.4")
        else:
            assert event == Mail(reverse_path="", parameters={"SIZE": size})


# Other protocols, and commands in disguise


@every(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"CONNECT mx:25 HTTP/1.0\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"Host: mx.example\r\n",
        b"Content-Type:text/plain\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x16\x03\x01\r\n",
    ],
)
@every("state", [State.GREETED, State.RCPT])
def test_another_protocol_ends_the_session_at_once(state: State, wire: bytes) -> None:
    assert fault(server_in(state), wire) == 554
    assert fault(server_in(state), wire[:3], wire[3:]) == 554
    assert fault(server_in(state), wire + b"MAIL FROM:<a@b>\r\n") == 554


@pytest.mark.parametrize("line", [b"DATA\r\n", b"data now\r\n", b"NOOP\nRSET\r\n", b"NOOP\r\r\n"])
def test_input_behind_a_refused_data_or_a_bare_line_end_is_never_run(line: bytes) -> None:
    server = server_in(State.RCPT)
    server.receive_data(line + b"MAIL FROM:<evil@b.example>\r\n")
    event = server.next_event()
    assert event == Data() or refusal(event)[0] in (500, 501)
    server.send(NO)
    server.data_to_send()
    assert fault(server) == 554


def test_a_refused_data_that_nothing_follows_changes_nothing() -> None:
    server = server_in(State.RCPT)
    ask(server, b"DATA\r\n", NO)
    assert hear(server, RCPT) == Rcpt(forward_path="c@d.example")


def test_behind_a_refused_rcpt_the_group_goes_on() -> None:
    server = server_in(State.MAIL)
    server.receive_data(RCPT + b"RSET\r\n")
    assert isinstance(server.next_event(), Rcpt)
    server.send(NO)
    assert server.next_event() == Rset()


def test_a_bare_lf_ends_a_command_only_on_demand() -> None:
    server = server_in(State.READY)
    assert feed(server, b"NOOP\n") == []
    assert refusal(hear(server, b"RSET\r\n"))[0] == 500
    server = server_with(State.READY, options={"accept_bare_lf": True})
    assert ask(server, b"NOOP\n") == Noop()
    assert ask(server, b"NOOP\r\n") == Noop()


# BDAT (RFC 3030)


@given(cut=cutters())
@settings(max_examples=30)
def test_chunks_are_heard_one_by_one_as_they_are_answered(cut: Cutter) -> None:
    server = server_in(State.RCPT)
    heard: list[Command] = []
    for chunk in cut(b"BDAT 4\r\nRSETBDAT 0\r\nbdat 6 last\r\n.\r\n.\r\nNOOP\r\n"):
        server.receive_data(chunk)
        while (event := server.next_event()) is not NEED_DATA:
            if event is PAUSED:
                assert server.timer is Timer.SERVER
                server.send(OK)
            else:
                assert isinstance(event, Command)
                heard.append(event)
                if isinstance(event, Bdat):
                    assert server.state is State.CHUNK
    content = [event.data for event in heard if isinstance(event, MessageData)]
    assert b"".join(content) == b"RSET.\r\n.\r\n"
    last = Bdat(size=6, last=True)
    rest = [event for event in heard if not isinstance(event, MessageData)]
    assert rest == [Bdat(size=4), Bdat(size=0), last, END, Noop()]
    assert server.data_to_send() == b"250 \r\n" * 4


def test_an_empty_last_chunk_ends_the_message() -> None:
    server = server_in(State.BDAT)
    assert feed(server, b"BDAT 0 LAST\r\n") == [Bdat(size=0, last=True), END]
    server.send(OK)
    assert server.state is State.READY


def test_after_a_refused_chunk_only_a_new_beginning_helps() -> None:
    server = server_in(State.RCPT)
    assert feed(server, b"BDAT 4\r\ntext") == [Bdat(size=4), TEXT]
    server.send(Reply(code=452))
    for line in (b"BDAT 4\r\nRSET", b"BDAT 4 LAST\r\nRSET", b"DATA\r\n", RCPT, MAIL):
        assert refusal(ask(server, line, NO)) == (503, "5.5.1")
        assert server.state is State.BDAT_FAILED
    ask(server, b"RSET\r\n")
    assert (server.state, server.mail) == (State.READY, None)


MALFORMED_BDAT = [
    b"BDAT\r\n",
    b"BDAT x\r\n",
    b"BDAT -4\r\n",
    b"BDAT +4\r\n",
    b"BDAT 4_0\r\n",
    b"BDAT 0x4\r\n",
    b"BDAT 4 LAST x\r\n",
    b"BDAT 4LAST\r\n",
    b"BDAT LAST\r\n",
    b"BDAT 4 \x07\r\n",
    b"BDAT\t4\r\n",
    b"bdat 4\nLAST\r\n",
    b"BDAT \xb2\r\n",
    b"BDAT " + b"9" * 21 + b"\r\n",
    b"BDAT " + b"0" * 4096 + b"4\r\n",
]


@every("line", MALFORMED_BDAT, ids=lambda line: repr(line[:16]))
@every("state", [State.READY, State.RCPT, State.BDAT])
def test_a_malformed_bdat_ends_the_session_for_nobody_knows_what_follows(state: State, line: bytes) -> None:
    assert fault(server_in(state), line + b"MAIL FROM:<evil@b.example>\r\n") in (500, 501)


@every("cut", [None, 1, 3])
@every(
    ("state", "features", "code"),
    [
        (State.READY, ALL_FEATURES, 503),
        (State.MAIL, ALL_FEATURES, 503),
        (State.GREETED, ALL_FEATURES, 503),
        (State.RCPT, Features({"SIZE": ()}), 502),
    ],
)
def test_a_chunk_out_of_place_is_swallowed_before_it_is_refused(
    state: State, features: Features, code: int, cut: int | None
) -> None:
    """RFC 3030 2: the server "MUST accept and discard the associated message data before sending"."""
    server = server_in(state, features=features)
    wire = b"BDAT 6 LAST\r\nNOOP\r\nRSET\r\n"
    chunks = Cutter((cut,) if cut else ())(wire)
    heard = []
    for number, chunk in enumerate(chunks):
        server.receive_data(chunk)
        event = server.next_event()
        if isinstance(event, MalformedCommand):
            assert cut is None or (number + 1) * cut >= 13 + 6
            server.send(NO)
            event = server.next_event()
        if not isinstance(event, Signal):
            heard.append(event)
    assert heard == [Rset()]
    assert server.data_to_send() == b"550 \r\n"


def test_a_chunk_out_of_place_of_no_octets_is_refused_at_once() -> None:
    assert refusal(ask(server_in(State.READY), b"BDAT 0\r\n", NO)) == (503, "5.5.1")


def test_a_chunk_that_makes_the_message_too_large_is_swallowed_and_refused() -> None:
    server = server_with(State.RCPT, message_size=6)
    assert feed(server, b"BDAT 4\r\ntext") == [Bdat(size=4), TEXT]
    server.send(OK)
    bdat, *rest = feed(server, b"BDAT 3 LAST\r\nxyz")
    assert bdat == Bdat(size=3, last=True)
    assert bdat.refusal.code == 552
    (end,) = rest
    assert (end, end.refusal) == (END, bdat.refusal)
    with pytest.raises(LocalProtocolError, match="must be refused"):
        server.send(OK)
    server.data_to_send()
    server.send(end.refusal)
    assert server.data_to_send() == b"552 5.3.4 message of more than 6 octets\r\n"
    assert server.state is State.READY


def test_a_chunk_that_is_too_large_and_not_the_last_fails_the_transaction() -> None:
    server = server_with(State.RCPT, message_size=6)
    bdat = hear(server, b"BDAT 7\r\nNOOP\r\nx")
    assert bdat.refusal.code == 552
    with pytest.raises(LocalProtocolError, match="must be refused"):
        server.send(OK)
    server.send(bdat.refusal)
    assert server.state is State.BDAT_FAILED
    ask(server, b"RSET\r\n")
    ask(server, MAIL)
    ask(server, RCPT)
    assert feed(server, b"BDAT 6 LAST\r\nNOOP\r\n") == [
        Bdat(size=6, last=True),
        MessageData(data=b"NOOP\r\n"),
        END,
    ]
    server.send(OK)


@pytest.mark.parametrize("state", [State.READY, State.RCPT])
def test_a_chunk_that_is_too_large_to_be_swallowed_ends_the_session(state: State) -> None:
    assert refusal(ask(server_with(State.READY, refused_octets=4), b"BDAT 4\r\ntext", NO))[0] == 503
    assert fault(server_with(state, message_size=4, refused_octets=4), b"BDAT 5\r\nte") == 552
    assert fault(server_in(state), b"BDAT %d\r\nte" % (10**20 - 1)) == 552


def test_no_size_is_too_large_where_there_is_no_limit() -> None:
    size = 10**20 - 1
    assert hear(server_with(State.RCPT, message_size=None), b"BDAT %d\r\n" % size) == Bdat(size=size)


def test_a_binary_message_needs_bdat() -> None:
    server = server_in(State.READY)
    ask(server, b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n")
    ask(server, RCPT)
    assert refusal(ask(server, b"DATA\r\n", NO)) == (503, "5.5.1")
    assert hear(server, b"BDAT 4\r\n") == Bdat(size=4)


# The end of a message


def test_a_message_that_was_found_bad_cannot_be_accepted() -> None:
    for limits, wire, code in (
        ({}, b"a\nb\r\n.\r\n", 550),
        ({"message_size": 4}, b"12345\r\n.\r\n", 552),
    ):
        server = server_with(State.DATA, **limits)
        end = feed(server, wire)[-1]
        assert end.refusal.code == code
        with pytest.raises(LocalProtocolError, match="EndOfMessage must be refused"):
            server.send(OK)
        server.send(Reply(code=451))
        assert server.state is State.READY
        assert hear(server, b"NOOP\r\n") == Noop()


def test_a_message_that_is_refused_and_does_not_end_ends_the_session() -> None:
    server = server_with(State.DATA, message_size=4, refused_octets=10)
    events, error = until_error(server, b"x" * 4, b"x" * 10, b"x")
    assert b"".join(event.data for event in events) == b"xxxx"
    assert error is not None
    assert error.code == 421


def test_flaws_that_are_tolerated_are_told() -> None:
    server = server_with(State.DATA, options={"line_ends": LineEnds.PRESERVE})
    end = feed(server, b"\0\n" + b"x" * 999 + b"\r\n.\r\n")[-1]
    assert (end.refusal, end.nul, end.long_lines) == (None, True, True)


# AUTH (RFC 4954)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"AUTH PLAIN\r\n", Auth(mechanism="PLAIN")),
        (b"auth plain =\r\n", Auth(mechanism="PLAIN", initial_response=b"")),
        (b"AUTH PLAIN AGEAYg==\r\n", Auth(mechanism="PLAIN", initial_response=b"\0a\0b")),
    ],
)
def test_an_initial_response_may_be_missing_or_empty(line: bytes, command: Command) -> None:
    assert ask(server_in(State.READY), line, Reply(code=535)) == command


def test_an_exchange_goes_on_until_it_is_answered() -> None:
    server = server_in(State.READY)
    ask(server, b"AUTH LOGIN\r\n", AuthChallenge(data=b"Username:"))
    assert server.data_to_send() == b"334 VXNlcm5hbWU6\r\n"
    assert ask(server, b"bWU=\r\n", AuthChallenge(data=b"")) == AuthResponse(data=b"me")
    assert server.data_to_send() == b"334 \r\n"
    assert ask(server, b"\r\n", AuthChallenge(data=b"")) == AuthResponse(data=b"")
    assert ask(server, b"*\r\n", Reply(code=501)) == AuthResponse(data=None)
    assert (server.state, server.authenticated) == (State.READY, False)


@pytest.mark.parametrize("line", [b"!", b"YQ", b"YQ==YQ==", b"=", b"Y Q=", b"**", b"\xff", b"YQ==\0"])
def test_a_response_that_is_no_base64_ends_the_exchange(line: bytes) -> None:
    server = server_in(State.AUTH)
    event = ask(server, line + b"\r\n", Reply(code=501))
    assert event.line == b""
    assert refusal(event)[0] == 501
    assert (server.state, server.authenticated) == (State.READY, False)


@every("code", [200, 235, 250, 299, 432, 454, 500, 534, 535])
def test_only_235_authenticates(code: int) -> None:
    for state, line in ((State.READY, b"AUTH PLAIN AA==\r\n"), (State.AUTH, b"AA==\r\n")):
        server = server_in(state)
        ask(server, line, Reply(code=code))
        assert server.authenticated is (code == 235)
        again = hear(server, b"AUTH PLAIN\r\n")
        assert refusal(again) == (503, "5.5.1") if code == 235 else isinstance(again, Auth)
    server = server_in(State.READY)
    ask(server, b"NOOP\r\n", Reply(code=code))
    assert server.authenticated is False


@pytest.mark.parametrize("state", [State.MAIL, State.RCPT, State.BDAT, State.BDAT_FAILED, State.GREETED])
def test_auth_is_for_a_session_that_is_ready(state: State) -> None:
    assert refusal(ask(server_in(state), b"AUTH PLAIN\r\n", NO)) == (503, "5.5.1")


def test_auth_must_be_offered() -> None:
    server = server_in(State.READY, features=Features({"STARTTLS": ()}))
    assert refusal(ask(server, b"AUTH PLAIN\r\n", NO)) == (502, "5.5.1")


# LMTP (RFC 2033)


@pytest.mark.parametrize("body", [b"DATA", b"BDAT 4 LAST\r\ntext"])
def test_lmtp_has_a_verdict_for_each_accepted_recipient(body: bytes) -> None:
    server = server_in(State.READY, lmtp=True)
    for _ in range(2):  # and the next message on the same connection works
        ask(server, MAIL)
        for reply in (OK, NO, OK, OK):
            ask(server, RCPT, reply)
        if body == b"DATA":
            ask(server, b"DATA\r\n", GO)
            assert feed(server, b"text\r\n.\r\nNOOP\r\n")[-1] == END
        else:
            assert feed(server, body + b"\r\nNOOP\r\n"[2:])[-1] == END
        server.data_to_send()
        for reply in (OK, NO, Reply(code=452)):
            assert server.next_event() is PAUSED
            assert server.state is not State.READY
            server.send(reply)
        assert server.data_to_send() == b"250 \r\n550 \r\n452 \r\n"
        assert server.state is State.READY
        assert server.next_event() == Noop()
        server.send(OK)


def test_lmtp_refuses_a_bad_message_for_every_recipient() -> None:
    server = server_in(State.READY, lmtp=True)
    ask(server, MAIL)
    ask(server, RCPT)
    ask(server, RCPT)
    ask(server, b"DATA\r\n", GO)
    feed(server, b"a\nb\r\n.\r\n")
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="must be refused"):
            server.send(OK)
        server.send(NO)
    assert server.state is State.READY


def test_lmtp_421_is_the_last_verdict() -> None:
    server = server_in(State.READY, lmtp=True)
    ask(server, MAIL)
    ask(server, RCPT)
    ask(server, RCPT)
    feed(server, b"BDAT 0 LAST\r\n")
    server.send(Reply(code=421))
    assert server.next_event() is CLOSED


def test_lmtp_answers_other_chunks_once() -> None:
    server = server_in(State.READY, lmtp=True)
    ask(server, MAIL)
    ask(server, RCPT)
    ask(server, RCPT)
    feed(server, b"BDAT 4\r\ntext")
    server.send(OK)
    assert server.state is State.BDAT


# Timers


def test_each_phase_has_its_timer() -> None:
    for state in State:
        blocks = state in (State.DATA, State.CHUNK)
        assert server_in(state).timer is (Timer.DATA_BLOCK if blocks else Timer.SERVER)
    server = server_in(State.DATA)
    feed(server, b".\r\n")
    assert server.timer is Timer.SERVER


# 421, the end of the stream, and errors


@every("state", [state for state in State if state not in (State.CLOSED, State.FAILED)])
def test_421_may_be_said_at_any_time_and_closes(state: State) -> None:
    server = server_in(state)
    server.send(Reply(code=421, text="bye"))
    assert server.data_to_send() == b"421 bye\r\n"
    assert server.state is State.CLOSED
    server.receive_data(b"NOOP\r\n")
    assert server.next_event() is CLOSED
    with pytest.raises(LocalProtocolError, match="closed"):
        server.send(Reply(code=421))


IN_MESSAGE = (State.DATA, State.CHUNK, State.BDAT, State.BDAT_FAILED)


@every("state", State)
@every("partial", [b"", b"N", b"NOOP\r"])
def test_the_end_of_the_stream_is_an_error_in_the_middle_of_something(state: State, partial: bytes) -> None:
    server = server_in(state)
    if partial:
        server.receive_data(partial)
    server.receive_data(b"")
    if state is State.FAILED:
        with pytest.raises(LocalProtocolError):
            server.next_event()
    elif state is State.GREETING or (state is State.TLS and not partial):
        assert server.next_event() is PAUSED
    elif state is State.TLS:
        assert fault(server) == 554
    elif state is State.CLOSED or not (partial or state in IN_MESSAGE):
        assert server.next_event() is CLOSED
        assert server.state is State.CLOSED
    else:
        assert fault(server) == 421


def test_the_end_of_the_stream_waits_for_the_answer_that_is_due() -> None:
    server = server_in(State.READY)
    assert hear(server, b"NOOP\r\n", b"") == Noop()
    assert server.next_event() is PAUSED
    server.send(OK)
    assert server.next_event() is CLOSED


@pytest.mark.parametrize("wire", [b"x" * 5000, b"BDAT 6\r\nte"])
def test_the_end_of_the_stream_in_what_is_refused_is_an_error(wire: bytes) -> None:
    server = server_in(State.READY)
    for _ in feed(server, wire):
        server.send(NO)
    server.data_to_send()
    assert feed(server) == []
    server.receive_data(b"")
    assert fault(server) == 421


def test_nothing_comes_after_the_end_of_the_stream() -> None:
    server = server_in(State.READY)
    server.receive_data(b"")
    with pytest.raises(LocalProtocolError, match="after the end"):
        server.receive_data(b"N")


def session(server: ServerConnection, *chunks: bytes) -> tuple[list[Any], RemoteProtocolError | None]:
    """A server that says yes to all that it may: what it heard up to the first error, texts made one."""
    heard: list[Any] = []
    command: Any = None
    try:
        for chunk in chunks:
            server.receive_data(chunk)
            while (event := server.next_event()) not in (NEED_DATA, CLOSED):
                if event is PAUSED:
                    server.send(yes(command))
                elif not isinstance(event, MessageData):
                    command = event
                    heard.append(event)
                elif isinstance(heard[-1], MessageData):
                    heard[-1] = MessageData(data=heard[-1].data + event.data)
                else:
                    heard.append(event)
    except RemoteProtocolError as exc:
        return heard, exc
    return heard, None


def yes(event: Any) -> Reply:
    if isinstance(event, MalformedCommand):
        return event.reply
    if isinstance(event, Ehlo):
        return Hello(features=ALL_FEATURES)
    if isinstance(event, Data):
        return GO
    return getattr(event, "refusal", None) or OK


LINES = [
    *(MAIL, RCPT, b"DATA\r\n", b"text\r\n.\r\n", b"a\nb\r\n", b".\r\n", b"RSET\r\n", b"QUIT\r\n"),
    *(b"BDAT 6\r\nNOOP\r\n", b"BDAT 0 LAST\r\n", b"BDAT x\r\n", b"EHLO a.example\r\n", b"AUTH PLAIN =\r\n"),
    *(b"XFOO\r\n", b"!\r\n", b"x" * 90 + b"\r\n", b"\r\n", b"DATA x\r\n", b"MAIL FROM:<a@b>"),
    *(b"GET / HTTP/1.0\r\n", b"\x16\x03"),
]


@given(lines=several(LINES, 8), cut=cutters(), eof=st.booleans())
@settings(max_examples=100)
def test_what_is_heard_before_an_error_does_not_depend_on_how_it_came(
    lines: list[bytes], cut: Cutter, eof: bool
) -> None:
    end = [b""] if eof else []
    limits = {"command_line": 80, "errors": 4, "message_size": 20, "refused_octets": 20}
    wire = b"".join(lines)
    whole, wanted = session(server_with(State.RCPT, **limits), *([wire] if wire else []), *end)
    heard, error = session(server_with(State.RCPT, **limits), *cut(wire), *end)
    if "behind a refused command" in str(wanted):  # that must be there at once to be an error
        assert heard[: len(whole)] == whole
    else:
        assert heard == whole
        assert str(error) == str(wanted)


def test_an_error_in_the_middle_of_an_answer_leaves_the_answer_out() -> None:
    server = server_in(State.READY)
    assert hear(server, b"STARTTLS\r\n") == StartTLS()
    server.receive_data(b"NOOP\r\n")
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    before = snapshot(server)
    with pytest.raises(LocalProtocolError, match="only a refusal"):
        server.send(Reply(code=220))
    assert snapshot(server) == before
    server.send(Reply(code=554))
    assert server.state is State.CLOSED


def test_fail_forgets_what_was_to_be_sent() -> None:
    server = server_in(State.READY)
    ask(server, b"NOOP\r\n")
    assert server.octets_to_send == len(b"250 \r\n")
    server.fail()
    assert (server.data_to_send(), server.octets_to_send, server.state) == (b"", 0, State.FAILED)


def test_quit_ends_the_session() -> None:
    server = server_in(State.READY)
    assert ask(server, b"QUIT\r\nNOOP\r\n", Reply(code=221)) == Quit()
    assert server.next_event() is CLOSED


def test_an_unknown_command_is_heard_and_answered() -> None:
    server = server_in(State.READY)
    assert ask(server, b"xfoo a  b \r\n", NO) == UnknownCommand(name="XFOO", argument="a  b")
