"""A client's connection, beyond what the state table says.

The promises: STARTTLS with a byte behind its 220 is refused, and starts afresh (RFC 3207); pipelining is
as RFC 2920 has it, and survives whatever is refused; a reply that came before its command, or that nothing
asked for, is never believed; BDAT, LMTP and AUTH are as RFC 3030, 2033 and 4954 have them; each phase has
its timer; what came before an error is handed out, and the error is final.
"""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
from helpers import ALL_FEATURES, client_in, drain, every, feed, pair_in, server_in, snapshot, until_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import Cutter, cutters

from smtp_proto import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Auth,
    AuthChallenge,
    AuthResponse,
    Bdat,
    ClientConnection,
    Command,
    Data,
    Ehlo,
    EndOfMessage,
    Expn,
    Features,
    Hello,
    Helo,
    Help,
    Lhlo,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    MessageData,
    Noop,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    StartTLS,
    State,
    Successes,
    Timer,
    UnknownCommand,
    Vrfy,
)
from smtp_proto._envelope import Envelope, plain_envelope
from smtp_proto.testing.strategies import messages, replies

MAIL = Mail(reverse_path="sender@client.example")
A, B, C = (Rcpt(forward_path=f"{name}@mx.example") for name in "abc")
END = EndOfMessage()
CHUNK, LAST = Bdat(size=4), Bdat(size=4, last=True)
TEXT = MessageData(data=b"text")
OK = b"250 ok\r\n"
NO = b"550 no\r\n"
GO = b"354 go\r\n"


def say(client: ClientConnection, *commands: Command) -> bytes:
    """The client says these, one behind the other: what is on the wire."""
    for command in commands:
        client.send(command)
    return client.data_to_send()


def refused(client: ClientConnection, command: Command, match: str | None = None) -> None:
    """`command` may not be said, and trying changes nothing."""
    state = client.state  # looked at first: it makes a prediction that is due
    before = snapshot(client)
    with pytest.raises(LocalProtocolError, match=match):
        client.send(command)
    assert (client.state, snapshot(client)) == (state, before)


def answers(client: ClientConnection, *wires: bytes) -> list[tuple[int, Command | None]]:
    """The codes of the replies in `wires`, each with what it answers."""
    return [(reply.code, reply.to) for reply in feed(client, *wires)]


# STARTTLS


@pytest.mark.parametrize("behind", [b"\0", b"2", b"250 mx.example\r\n", b"\r\n", b"\x16\x03\x01"])
def test_an_octet_behind_the_220_to_starttls_is_an_error_however_it_is_cut(behind: bytes) -> None:
    wire = b"220 go ahead\r\n" + behind
    for cut in range(1, len(wire)):
        client = client_in(State.READY)
        say(client, StartTLS())
        (reply,), error = until_error(client, wire[:cut], wire[cut:])
        assert (reply.code, reply.to) == (220, StartTLS())
        assert "octets in the clear behind the 220" in str(error)
        with pytest.raises(RemoteProtocolError, match="octets in the clear"):
            client.tls_started()
        assert (client.tls, client.state) == (False, State.TLS)


def test_octets_that_come_before_the_handshake_are_found_when_it_ends() -> None:
    client = client_in(State.TLS)
    assert client.next_event() is PAUSED
    client.receive_data(b"2")
    with pytest.raises(RemoteProtocolError, match="before the TLS handshake"):
        client.tls_started()
    assert client.tls is False


def test_tls_makes_the_client_forget_what_it_learned_in_the_clear() -> None:
    client = client_in(State.READY)
    say(client, Auth(mechanism="PLAIN", initial_response=b"x"))
    feed(client, b"235 in\r\n")
    say(client, MAIL)
    feed(client, OK)
    say(client, Rset(), StartTLS())
    feed(client, OK, b"220 go\r\n")
    assert client.authenticated
    assert client.features == ALL_FEATURES
    client.tls_started()
    assert (client.state, client.tls) == (State.GREETED, True)
    assert (client.features, client.authenticated, client.mail) == (Features(), False, None)
    refused(client, MAIL)
    say(client, Ehlo(domain="a.example"))
    feed(client, b"250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n")
    refused(client, StartTLS(), "TLS is active already")
    say(client, Auth(mechanism="PLAIN"))


# Features


def test_features_are_those_of_the_last_hello() -> None:
    client = client_in(State.READY)
    say(client, Ehlo(domain="a.example"))
    (hello,) = feed(client, b"250-mx hi\r\n250-X\0Y\r\n250-SIZE 5\r\n250 HELP\r\n")
    assert isinstance(hello, Hello)
    assert client.features == hello.features == {"SIZE": ("5",), "HELP": ()}
    say(client, Ehlo(domain="a.example"))
    feed(client, b"550 no more\r\n")
    assert client.features == hello.features
    say(client, Helo(domain="a.example"))
    feed(client, b"550 no\r\n")
    assert client.features == hello.features
    say(client, Helo(domain="a.example"))
    feed(client, b"250-mx\r\n250 SIZE 5\r\n")
    assert client.features == {}


@every(
    ("features", "tls", "situation", "command"),
    [
        ({"STARTTLS": ()}, False, State.READY, StartTLS()),
        ({"AUTH": ("PLAIN",)}, False, State.READY, Auth(mechanism="PLAIN")),
        ({"CHUNKING": ()}, False, State.RCPT, LAST),
        ({"SIZE": ()}, False, State.READY, Mail(reverse_path="", parameters={"SIZE": 5})),
        ({"8BITMIME": ()}, False, State.READY, Mail(reverse_path="", parameters={"BODY": "8BITMIME"})),
        ({"8BITMIME": ()}, False, State.READY, Mail(reverse_path="", parameters={"BODY": "7BIT"})),
        ({"BINARYMIME": ()}, False, State.READY, Mail(reverse_path="", parameters={"BODY": "BINARYMIME"})),
        ({"SMTPUTF8": ()}, False, State.READY, Mail(reverse_path="", parameters={"SMTPUTF8": True})),
        ({"REQUIRETLS": ()}, True, State.READY, Mail(reverse_path="", parameters={"REQUIRETLS": True})),
        ({"AUTH": ()}, False, State.READY, Mail(reverse_path="", parameters={"AUTH": ""})),
        ({"DSN": ()}, False, State.READY, Mail(reverse_path="", parameters={"RET": "FULL"})),
        ({"DSN": ()}, False, State.READY, Mail(reverse_path="", parameters={"ENVID": "a"})),
        ({"DSN": ()}, False, State.MAIL, Rcpt(forward_path="a@b", parameters={"NOTIFY": ("NEVER",)})),
        ({"DSN": ()}, False, State.MAIL, Rcpt(forward_path="a@b", parameters={"ORCPT": ("rfc822", "a")})),
        ({"XFOO": ()}, False, State.READY, Mail(reverse_path="", parameters={"XFOO": "bar"})),
        ({"XFOO": ()}, False, State.MAIL, Rcpt(forward_path="a@b", parameters={"XFOO": True})),
    ],
)
def test_an_extension_is_used_only_where_it_is_offered(
    features: dict[str, tuple[str, ...]], tls: bool, situation: State, command: Command
) -> None:
    for offered in (Features(), Features(features)):
        client = ClientConnection(tls=tls)
        pair = pair_in(situation, features=offered, client=client, server=ServerConnection(tls=tls))
        if offered:
            pair.client.send(command)
        else:
            refused(pair.client, command, "not offered")


def test_a_parameter_of_the_other_command_is_never_offered() -> None:
    everything = Features({**ALL_FEATURES, "NOTIFY": (), "RET": ()})
    refused(
        client_in(State.READY, features=everything), Mail(reverse_path="", parameters={"NOTIFY": "NEVER"})
    )
    refused(client_in(State.MAIL, features=everything), Rcpt(forward_path="a@b", parameters={"RET": "FULL"}))


def test_an_address_beyond_ascii_needs_smtputf8_on_mail() -> None:
    pair = pair_in(State.READY)
    refused(pair.client, Mail(reverse_path="ä@b.example"), "needs SMTPUTF8")
    refused(pair.client, Mail(reverse_path="@ä.example:a@b.example"), "needs SMTPUTF8")
    pair.ask(MAIL, Reply(code=250))
    refused(pair.client, Rcpt(forward_path="ä@b.example"), "needs SMTPUTF8")
    pair.ask(Rset(), Reply(code=250))
    pair.ask(Mail(reverse_path="ä@b.example", parameters={"SMTPUTF8": True}), Reply(code=250))
    pair.ask(Rcpt(forward_path="ä@b.example"), Reply(code=250))


def test_requiretls_needs_tls() -> None:
    client = client_in(State.READY, features=Features({"REQUIRETLS": ()}))
    refused(client, Mail(reverse_path="", parameters={"REQUIRETLS": True}), "without TLS")


def test_a_binary_message_is_not_sent_with_data() -> None:
    pair = pair_in(State.READY)
    pair.ask(Mail(reverse_path="", parameters={"BODY": "BINARYMIME"}), Reply(code=250))
    pair.ask(A, Reply(code=250))
    refused(pair.client, Data(), "needs BDAT")
    pair.client.send(LAST)


def test_smtp_says_ehlo_and_lmtp_says_lhlo() -> None:
    refused(client_in(State.GREETED), Lhlo(domain="a.example"), "say EHLO")
    for hello in (Ehlo(domain="a.example"), Helo(domain="a.example")):
        refused(client_in(State.GREETED, lmtp=True), hello, "say LHLO")


# Pipelining (RFC 2920)

MUST_BE_LAST: dict[Command, State] = {
    Ehlo(domain="a.example"): State.READY,
    Helo(domain="a.example"): State.READY,
    StartTLS(): State.READY,
    Auth(mechanism="PLAIN"): State.READY,
    Vrfy(argument="a"): State.READY,
    Expn(argument="a"): State.READY,
    Help(): State.READY,
    Noop(): State.READY,
    Quit(): State.READY,
    UnknownCommand(name="XFOO"): State.READY,
    Data(): State.RCPT,
    AuthResponse(data=b""): State.AUTH,
}
MAY_BE_ANYWHERE: dict[Command, State] = {
    MAIL: State.READY,
    Rset(): State.READY,
    A: State.MAIL,
    B: State.RCPT,
}
ANYTHING: list[Command] = [*MUST_BE_LAST, *MAY_BE_ANYWHERE, Lhlo(domain="a.example"), CHUNK, TEXT, END]


@every("command", MUST_BE_LAST, ids=lambda command: type(command).__name__)
def test_behind_these_nothing_is_said_before_the_answer(command: Command) -> None:
    client = client_in(MUST_BE_LAST[command])
    client.send(command)
    for behind in ANYTHING:
        refused(client, behind)


@pytest.mark.parametrize("first", MAY_BE_ANYWHERE, ids=lambda command: type(command).__name__)
def test_behind_these_whatever_the_predicted_state_allows_is_said(first: Command) -> None:
    for behind in ANYTHING:
        client = client_in(MAY_BE_ANYWHERE[first])
        confirmed = pair_in(MAY_BE_ANYWHERE[first])
        confirmed.ask(first, Reply(code=250))
        client.send(first)
        assert client.state is confirmed.client.state
        try:
            confirmed.client.send(behind)
        except LocalProtocolError:
            refused(client, behind)
        else:
            client.send(behind)
            assert client.state is confirmed.client.state
            assert client.outstanding == 1 + confirmed.client.outstanding


def test_without_pipelining_one_command_is_said_at_a_time() -> None:
    client = client_in(State.READY, features=Features({"CHUNKING": ()}))
    for command in (MAIL, A, CHUNK):
        client.send(command)
        if command is CHUNK:
            client.send(TEXT)
        for behind in (Rset(), A, Data(), LAST, Quit()):
            refused(client, behind)
        feed(client, OK)
    say(client, LAST, TEXT, END)
    refused(client, MAIL, "must wait for the answer to EndOfMessage")


GROUP = (MAIL, A, B, C, Data())


@given(answered=st.lists(st.booleans(), min_size=5, max_size=5), cut=cutters())
@settings(max_examples=60)
def test_a_group_is_answered_in_its_order_whatever_is_refused(answered: list[bool], cut: Cutter) -> None:
    """Every combination of refusals, RFC-like or not: each reply finds its command."""
    client = client_in(State.READY)
    say(client, *GROUP)
    assert (client.state, client.outstanding) == (State.DATA, 5)
    codes = [250 if good else 550 for good in answered[:4]] + [354 if answered[4] else 503]
    wire = b"".join(b"%d x\r\n" % code for code in codes)
    assert answers(client, *cut(wire)) == list(zip(codes, GROUP, strict=True))
    # A server that says 354 waits for a message, whatever it refused before.
    mail, *rcpts, data = answered
    expected = State.RCPT if mail and any(rcpts) else State.MAIL if mail else State.READY
    assert client.state is (State.DATA if data else expected)
    if data:
        assert say(client, END) == b".\r\n"
        assert answers(client, b"554 no valid recipients\r\n") == [(554, END)]
        assert client.state is State.READY
    assert client.outstanding == 0


@given(answered=st.lists(st.booleans(), min_size=4, max_size=4), cut=cutters())
@settings(max_examples=60)
def test_a_message_in_one_flight_is_answered_in_its_order(answered: list[bool], cut: Cutter) -> None:
    client = client_in(State.READY)
    wire = say(client, MAIL, A, B, LAST, TEXT, END)
    assert wire.endswith(b"BDAT 4 LAST\r\ntext")
    assert (client.state, client.outstanding) == (State.READY, 4)
    codes = [250 if good else 550 for good in answered]
    heard = answers(client, *cut(b"".join(b"%d x\r\n" % code for code in codes)))
    assert heard == list(zip(codes, (MAIL, A, B, END), strict=True))
    mail, a, b, end = answered
    # In a transaction with recipients the verdict ends it; elsewhere only a message that was taken does.
    stays = mail and not (a or b) and not end
    assert client.state is (State.MAIL if stays else State.READY)


def test_a_refusal_takes_back_what_was_predicted_from_it() -> None:
    client = client_in(State.READY)
    say(client, MAIL, A)
    assert client.state is State.RCPT
    assert client.mail == MAIL
    feed(client, NO)
    assert client.state is State.READY
    assert client.mail is None
    refused(client, B, "Rcpt in state ready")
    say(client, MAIL)
    assert client.state is State.MAIL
    assert answers(client, b"503 no MAIL\r\n", OK) == [(503, A), (250, MAIL)]
    assert client.state is State.MAIL


def test_many_refusals_leave_the_prediction_right() -> None:
    client = client_in(State.READY)
    say(client, MAIL, A, B, C)
    feed(client, OK, NO)
    assert client.state is State.RCPT  # B and C may still be taken
    feed(client, NO, NO)
    assert client.state is State.MAIL
    refused(client, Data(), "Data in state mail")


def test_the_next_message_may_follow_before_the_verdict() -> None:
    client = client_in(State.DATA)
    say(client, TEXT, END, MAIL, A)
    assert (client.state, client.mail, client.outstanding) == (State.RCPT, MAIL, 3)
    assert answers(client, NO, OK, OK) == [(550, END), (250, MAIL), (250, A)]
    assert client.state is State.RCPT


def test_after_354_a_lone_dot_gives_up_the_message() -> None:
    client = client_in(State.READY)
    say(client, MAIL, A, Data())
    assert [code for code, _ in answers(client, OK, NO, GO)] == [250, 550, 354]
    assert client.state is State.DATA
    assert say(client, END) == b".\r\n"
    feed(client, OK)
    assert client.state is State.READY  # it took what nobody was to get


# Replies that nothing asked for

EARLY = [b"250 ok\r\n", b"250-two\r\n250 lines\r\n", b"354 go\r\n", b"220 mx\r\n"]


@every("early", EARLY)
@every("command", [MAIL, Rset(), Noop(), Quit(), Ehlo(domain="a"), StartTLS(), Auth(mechanism="PLAIN")])
def test_a_reply_that_began_before_its_command_was_said_is_not_believed(
    command: Command, early: bytes
) -> None:
    """Wherever it is cut, and whether or not somebody looked at it meanwhile."""
    for cut, look in product(range(1, len(early) + 1), (False, True)):
        client = client_in(State.READY)
        client.receive_data(early[:cut])
        if look and cut < len(early):
            assert client.next_event() is NEED_DATA
        client.send(command)
        if early[cut:]:
            client.receive_data(early[cut:])
        with pytest.raises(RemoteProtocolError, match="nothing asked for"):
            client.next_event()


def test_one_reply_too_many_is_an_error_and_never_the_answer_to_what_follows() -> None:
    client = client_in(State.READY)
    say(client, MAIL)
    client.receive_data(OK + OK)
    assert client.next_event() == Reply(code=250, text="ok")
    say(client, A)
    with pytest.raises(RemoteProtocolError, match="nothing asked for"):
        client.next_event()

    client = client_in(State.READY)
    say(client, MAIL)
    client.receive_data(OK + OK)  # nobody looks
    say(client, A)
    assert client.next_event() == Reply(code=250, text="ok")
    with pytest.raises(RemoteProtocolError, match="nothing asked for"):
        client.next_event()


# How a message may be on its way: what was said, and what is still to be said before its verdict is due.
UNDER_WAY: dict[str, tuple[list[Command], list[Command]]] = {
    "after 354": ([], [TEXT, END]),
    "in the text": ([TEXT], [END]),
    "after BDAT": ([CHUNK], [TEXT]),
    "in a chunk": ([CHUNK, MessageData(data=b"te")], [MessageData(data=b"xt")]),
    "after BDAT LAST": ([LAST], [TEXT, END]),
    "in a last chunk": ([LAST, MessageData(data=b"te")], [MessageData(data=b"xt"), END]),
}


def under_way(name: str) -> tuple[ClientConnection, list[Command]]:
    said, rest = UNDER_WAY[name]
    client = client_in(State.RCPT if isinstance(said[:1] and said[0], Bdat) else State.DATA)
    say(client, *said)
    return client, rest


@every("name", UNDER_WAY)
@every("wire", [b"250 taken\r\n", b"250-taken\r\n250 indeed\r\n", b"354 go\r\n"])
def test_a_positive_verdict_before_the_end_of_the_message_is_never_believed(name: str, wire: bytes) -> None:
    for cut in range(1, len(wire) + 1):
        client, rest = under_way(name)
        client.receive_data(wire[:cut])  # before the end
        if cut == len(wire):
            with pytest.raises(RemoteProtocolError, match="nothing asked for"):
                client.next_event()
        client, rest = under_way(name)
        client.receive_data(wire[:cut])
        say(client, *rest)
        if wire[cut:]:
            client.receive_data(wire[cut:])
        with pytest.raises(RemoteProtocolError, match="nothing asked for"):
            client.next_event()


@every("name", UNDER_WAY)
@every("code", [421, 452, 552])
def test_a_refusal_before_the_end_of_the_message_ends_the_conversation(name: str, code: int) -> None:
    """Nobody knows whether the rest is still wanted; what the server said is heard all the same."""
    for finish in (False, True):
        client, rest = under_way(name)
        client.receive_data(b"%d no\r\n" % code)
        if finish:
            say(client, *rest)
        reply: Any = client.next_event()
        assert (reply.code, reply.to) == (code, None)
        assert (client.state, client.outstanding) == (State.CLOSED, 0)
        assert client.next_event() is CLOSED
        refused(client, TEXT, "closed")


def test_a_refusal_at_the_end_of_the_message_is_its_verdict() -> None:
    for name, (_, whole) in UNDER_WAY.items():
        client, rest = under_way(name)
        say(client, *rest)
        to = CHUNK if whole[-1] is not END else END
        assert answers(client, NO) == [(550, to)]
        assert client.state is (State.BDAT_FAILED if to is CHUNK else State.READY)


@pytest.mark.parametrize("pending", [[], [Noop()], [MAIL, A, B]])
def test_421_may_always_come_and_closes(pending: list[Command]) -> None:
    client = client_in(State.READY)
    say(client, *pending)
    assert answers(client, b"421 bye\r\n") == [(421, pending[0] if pending else None)]
    assert (client.state, client.outstanding) == (State.CLOSED, 0)
    assert client.next_event() is CLOSED


def test_421_that_came_early_closes_and_answers_nothing() -> None:
    client = client_in(State.READY)
    client.receive_data(b"421 bye\r\n")
    say(client, MAIL)
    assert [(reply.code, reply.to) for reply in drain(client)] == [(421, None)]
    assert client.next_event() is CLOSED


def test_what_stands_behind_the_last_reply_is_not_looked_at() -> None:
    client = client_in(State.READY)
    say(client, Quit())
    assert answers(client, b"221 bye\r\n!garbage") == [(221, Quit())]
    assert client.next_event() is CLOSED


# BDAT (RFC 3030)


def test_chunks_follow_one_another() -> None:
    client = client_in(State.RCPT)
    wire = say(client, CHUNK, MessageData(data=b"a"), MessageData(data=b"bcd"), Bdat(size=0), LAST)
    assert wire == b"BDAT 4\r\nabcdBDAT 0\r\nBDAT 4 LAST\r\n"
    assert client.state is State.CHUNK
    assert say(client, TEXT, END) == b"text"
    assert (client.state, client.outstanding) == (State.READY, 3)
    assert answers(client, OK, OK, OK) == [(250, CHUNK), (250, Bdat(size=0)), (250, END)]


def test_an_empty_last_chunk_ends_the_message() -> None:
    client = client_in(State.BDAT)
    assert say(client, Bdat(size=0, last=True)) == b"BDAT 0 LAST\r\n"
    refused(client, TEXT, "lacks 0")
    assert say(client, END) == b""
    assert answers(client, OK) == [(250, END)]


def test_a_chunk_has_the_octets_that_were_announced() -> None:
    client = client_in(State.RCPT)
    say(client, LAST)
    refused(client, MessageData(data=b"12345"), "lacks 4")
    refused(client, END, "lacks 4")
    refused(client, LAST, "in the middle of a body")
    refused(client, Rset(), "in the middle of a body")
    say(client, MessageData(data=b""), TEXT)
    refused(client, MessageData(data=b"5"), "lacks 0")
    say(client, END)


def test_the_end_of_a_chunk_that_is_not_the_last_is_not_the_end_of_the_message() -> None:
    client = client_in(State.RCPT)
    say(client, CHUNK)
    refused(client, END, "in the middle of a body")
    say(client, TEXT)
    refused(client, END, "EndOfMessage in state bdat")


def test_a_chunk_is_not_touched() -> None:
    client = client_in(State.RCPT)
    octets = bytes(range(256)) + b"\n.\r\n.\r\n\r"
    assert say(client, Bdat(size=len(octets), last=True), MessageData(data=octets), END).endswith(octets)


def test_after_a_refused_chunk_only_a_new_beginning_helps() -> None:
    client = client_in(State.RCPT)
    say(client, CHUNK, TEXT)
    feed(client, b"452 no room\r\n")
    assert (client.state, client.mail) == (State.BDAT_FAILED, client_in(State.MAIL).mail)
    for command in (CHUNK, LAST, A, Data(), MAIL, TEXT, END):
        refused(client, command)
    say(client, Rset())
    feed(client, OK)
    assert (client.state, client.mail) == (State.READY, None)


def test_chunks_behind_a_refused_one_are_answered_too() -> None:
    client = client_in(State.RCPT)
    say(client, CHUNK, TEXT, CHUNK, TEXT, LAST, TEXT, END, Rset())
    assert (client.state, client.outstanding) == (State.READY, 4)
    assert answers(client, OK, NO) == [(250, CHUNK), (550, CHUNK)]
    assert answers(client, b"503 no\r\n") == [(503, END)]
    assert client.state is State.READY  # as RSET is on its way
    assert answers(client, OK) == [(250, Rset())]
    assert (client.state, client.outstanding) == (State.READY, 0)


def test_the_octets_of_a_chunk_are_due_even_when_all_before_it_was_refused() -> None:
    client = client_in(State.READY)
    say(client, MAIL, A, LAST)
    assert answers(client, NO, NO) == [(550, MAIL), (550, A)]
    assert client.state is State.CHUNK
    refused(client, Rset())
    say(client, TEXT, END)
    assert client.state is State.READY
    assert answers(client, b"503 no\r\n") == [(503, END)]
    assert client.state is State.READY


# Bodies after DATA


def test_what_must_not_be_sent_raises_and_the_rest_of_the_message_may_follow() -> None:
    client = pair_in(State.DATA, client=ClientConnection(line_ends=LineEnds.STRICT)).client
    for data in (b"bare\nline", b"bare\rline", b"nul\0", b"x" * 999):
        refused(client, MessageData(data=data))
    assert say(client, MessageData(data=b".line\r")) == b"..line"
    refused(client, END, "bare CR")
    refused(client, Noop(), "Noop in the middle of a body")
    assert say(client, MessageData(data=b"\n"), END) == b"\r\n.\r\n"


@given(messages() | st.sampled_from([b"x" * 998 + b"\r\n", b"x" * 999, b"\0" * 999, b".\r\n.\r", b""]))
def test_what_a_message_becomes_is_known_before_anything_is_said(body: bytes) -> None:
    """Its octets and their number are those that DATA sends, or it is refused with the same words."""
    for options in (
        {},
        {"line_ends": LineEnds.STRICT},
        {"limits": Limits(text_line=None)},
        {"limits": Limits(text_line=None), "allow_nul": True},
    ):
        client = pair_in(State.DATA, client=ClientConnection(**options)).client  # type: ignore[arg-type]
        try:
            wire = say(client, MessageData(data=body), END)
        except LocalProtocolError as exc:
            for judge in (client.text_of, client.size_of):
                with pytest.raises(LocalProtocolError, match=re.escape(str(exc))):
                    judge(body)
            continue
        text = client.text_of(body)
        assert client.size_of(body) == len(text)
        assert (b"\r\n" + text + b".\r\n") == (b"\r\n" + wire).replace(b"\r\n..", b"\r\n.")
        feed(client, OK)
        assert b"\0" in text or client.text_of(text) is text  # no copy of what is regular
        client.text_of(text)
        say(client, MAIL, A, Data())
        feed(client, OK + OK + GO)
        assert say(client, MessageData(data=text), END) == wire


def test_a_text_that_is_known_counts_as_known_at_the_beginning_of_a_line_alone() -> None:
    client = client_in(State.READY)
    text = client.text_of(b".a\n")
    say(client, MAIL, A, Data())
    feed(client, OK + OK + GO)
    assert say(client, MessageData(data=b"x" * 996), MessageData(data=text)) == b"x" * 996 + b".a\r\n"
    client = client_in(State.DATA)
    say(client, MessageData(data=b"x" * 997))
    refused(client, MessageData(data=client.text_of(b"ab\n")), "longer than 998")
    client = client_in(State.DATA)
    say(client, MessageData(data=b"\r"))
    assert say(client, MessageData(data=client.text_of(b"a\n"))) == b"\r\na\r\n"


def test_the_size_of_a_large_message_is_that_of_all_its_pieces() -> None:
    body = b"\r".join([b"x" * 100] * 5000)
    assert client_in(State.READY).size_of(body) == len(body) + 4999 + 2


@pytest.mark.parametrize("limit", [998, None])
@pytest.mark.parametrize("line", [b"..", b".text", b"text", b"." + b"x" * 997])
def test_a_large_message_is_sent_in_pieces_that_are_judged_once(line: bytes, limit: int | None) -> None:
    body = (line + b"\r\n") * (600_000 // len(line)) + (b"." * 300_000 if limit is None else b"") + b"\r\n"
    client = pair_in(State.DATA, client=ClientConnection(limits=Limits(text_line=limit))).client
    assert client.size_of(body) == len(body)
    pieces = list(client.pieces_of(body))
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= 262144
    wire = b"".join([say(client, MessageData(data=piece)) for piece in client.pieces_of(body)])
    assert b"\r\n" + wire == (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")
    assert say(client, END) == b".\r\n"


# AUTH (RFC 4954)


@pytest.mark.parametrize(
    ("command", "wire"),
    [
        (Auth(mechanism="plain"), b"AUTH PLAIN\r\n"),
        (Auth(mechanism="PLAIN", initial_response=b""), b"AUTH PLAIN =\r\n"),
        (Auth(mechanism="PLAIN", initial_response=b"\0a\0b"), b"AUTH PLAIN AGEAYg==\r\n"),
    ],
)
def test_an_initial_response_may_be_missing_or_empty(command: Command, wire: bytes) -> None:
    assert say(client_in(State.READY), command) == wire


def test_an_exchange_goes_on_until_it_is_answered() -> None:
    client = client_in(State.READY)
    say(client, Auth(mechanism="LOGIN"))
    refused(client, AuthResponse(data=b"x"))
    assert feed(client, b"334 VXNlcm5hbWU6\r\n") == [AuthChallenge(data=b"Username:")]
    assert client.state is State.AUTH
    assert say(client, AuthResponse(data=b"me")) == b"bWU=\r\n"
    assert feed(client, b"334 \r\n") == [AuthChallenge(data=b"")]
    assert say(client, AuthResponse(data=b"")) == b"\r\n"
    assert feed(client, b"334\r\n") == [AuthChallenge(data=b"")]
    assert say(client, AuthResponse(data=None)) == b"*\r\n"
    assert answers(client, b"501 cancelled\r\n") == [(501, AuthResponse(data=None))]
    assert (client.state, client.authenticated) == (State.READY, False)


@every("code", [200, 235, 250, 299, 432, 454, 500, 534, 535])
def test_only_235_authenticates(code: int) -> None:
    for said in (Auth(mechanism="PLAIN"), AuthResponse(data=b"x")):
        client = client_in(State.AUTH if isinstance(said, AuthResponse) else State.READY)
        say(client, said)
        feed(client, b"%d x\r\n" % code)
        assert client.authenticated is (code == 235)
        if code == 235:
            refused(client, Auth(mechanism="PLAIN"), "authenticated already")
        else:
            say(client, Auth(mechanism="PLAIN"))
    client = client_in(State.READY)
    say(client, Noop())
    feed(client, b"%d x\r\n" % code)
    assert client.authenticated is False


def test_auth_is_not_for_the_middle_of_a_transaction() -> None:
    for state in (State.MAIL, State.RCPT, State.BDAT, State.BDAT_FAILED):
        refused(client_in(state), Auth(mechanism="PLAIN"), "Auth in state")


@pytest.mark.parametrize("text", [b"!", b"YQ", b"YQ==YQ==", b"Y Q=", b"=", b"\xff"])
def test_a_challenge_that_is_no_base64_is_none_and_can_be_cancelled(text: bytes) -> None:
    client = client_in(State.READY)
    say(client, Auth(mechanism="LOGIN"))
    (reply,) = feed(client, b"334 " + text + b"\r\n")
    assert (type(reply), reply.code, client.state) == (Reply, 334, State.AUTH)
    client.send(AuthResponse(data=None))
    assert client.data_to_send() == b"*\r\n"
    (reply,) = feed(client, b"501 cancelled\r\n")
    assert (reply.code, client.state) == (501, State.READY)


def test_a_mechanism_that_is_not_offered_is_not_used() -> None:
    features = Features({"AUTH": ("plain", "X")})
    for mechanism in ("PLAIN", "plain", "X"):
        client_in(State.READY, features=features).send(Auth(mechanism=mechanism))
    for offered in (features, Features({"AUTH": ()})):
        refused(client_in(State.READY, features=offered), Auth(mechanism="LOGIN"), "LOGIN is not offered")


def test_challenges_are_counted_for_each_exchange() -> None:
    client = pair_in(State.READY, client=ClientConnection(limits=Limits(auth_challenges=3))).client
    for _ in range(2):
        say(client, Auth(mechanism="LOGIN"))
        for _ in range(3):
            feed(client, b"334 \r\n")
            say(client, AuthResponse(data=b"x"))
        feed(client, b"535 no\r\n")
    say(client, Auth(mechanism="LOGIN"))
    for _ in range(3):
        feed(client, b"334 \r\n")
        say(client, AuthResponse(data=b"x"))
    with pytest.raises(RemoteProtocolError, match="more than 3 challenges"):
        feed(client, b"334 \r\n")


# LMTP (RFC 2033)


@pytest.mark.parametrize("chunked", [False, True])
def test_lmtp_has_a_verdict_for_each_accepted_recipient_duplicates_included(chunked: bool) -> None:
    client = client_in(State.READY, lmtp=True)
    for _ in range(2):  # and the next message on the same connection works
        say(client, MAIL, A, B, A, C)
        feed(client, OK, OK, NO, OK, OK)
        if chunked:
            say(client, CHUNK, TEXT, LAST, TEXT, END)
            feed(client, OK)
        else:
            say(client, Data())
            feed(client, GO)
            say(client, TEXT, END)
        verdicts = []
        for wire in (OK, NO, b"452 later\r\n"):
            assert (client.outstanding, client.timer) == (1, Timer.DATA_DONE)
            verdicts += feed(client, wire)
        assert [(reply.code, reply.to, reply.recipient) for reply in verdicts] == [
            (250, END, A.forward_path),
            (550, END, A.forward_path),
            (452, END, C.forward_path),
        ]
        assert (client.outstanding, client.state) == (0, State.READY)
    with pytest.raises(RemoteProtocolError, match="nothing asked for"):
        feed(client, OK)


def test_lmtp_verdicts_of_two_messages_do_not_mix() -> None:
    client = client_in(State.READY, lmtp=True)
    say(client, MAIL, A, B, LAST, TEXT, END, MAIL, C, LAST, TEXT, END)
    replies = feed(client, OK * 3, OK + NO, OK * 2, NO)
    assert [reply.recipient for reply in replies] == [
        *(None, None, None),
        *(A.forward_path, B.forward_path),
        *(None, None),
        C.forward_path,
    ]


def test_lmtp_has_one_answer_where_no_recipient_was_accepted() -> None:
    client = client_in(State.READY, lmtp=True)
    say(client, MAIL, A, LAST, TEXT, END)
    replies = feed(client, OK, NO, b"503 no recipients\r\n")
    assert [(reply.code, reply.recipient) for reply in replies] == [(250, None), (550, None), (503, None)]
    assert (client.outstanding, client.state) == (0, State.MAIL)


def test_lmtp_421_is_the_last_verdict() -> None:
    client = client_in(State.READY, lmtp=True)
    say(client, MAIL, A, B, LAST, TEXT, END)
    replies = feed(client, OK * 4, b"421 bye\r\n")
    assert [(reply.code, reply.recipient) for reply in replies[3:]] == [
        (250, A.forward_path),
        (421, B.forward_path),
    ]
    assert client.next_event() is CLOSED

    client = client_in(State.READY, lmtp=True)
    say(client, MAIL, A, B, LAST, TEXT, END)
    replies = feed(client, OK * 3, b"421 bye\r\n")
    assert (replies[-1].code, replies[-1].recipient, client.state) == (421, A.forward_path, State.CLOSED)


def test_lmtp_3yz_is_no_verdict() -> None:
    client = client_in(State.READY, lmtp=True)
    say(client, MAIL, A, B, LAST, TEXT, END)
    with pytest.raises(RemoteProtocolError, match="354 is no answer to EndOfMessage"):
        feed(client, OK * 4 + GO)


# Timers (RFC 5321 4.5.3.2)


def test_each_phase_has_its_timer() -> None:
    client = ClientConnection()
    assert client.timer is Timer.GREETING
    client = client_in(State.READY)
    assert client.timer is Timer.COMMAND
    for commands, timer, wire in (
        ([Noop()], Timer.COMMAND, OK),
        ([MAIL], Timer.MAIL, OK),
        ([A], Timer.RCPT, OK),
        ([Data()], Timer.DATA_INIT, GO),
        ([], Timer.DATA_BLOCK, b""),
        ([TEXT], Timer.DATA_BLOCK, b""),
        ([END], Timer.DATA_DONE, OK),
        ([MAIL], Timer.MAIL, OK),
        ([A, B], Timer.RCPT, OK + OK),
        ([CHUNK], Timer.DATA_BLOCK, b""),
        ([TEXT], Timer.DATA_DONE, OK),
        ([LAST], Timer.DATA_BLOCK, b""),
        ([TEXT], Timer.DATA_BLOCK, b""),
        ([END], Timer.DATA_DONE, OK),
        ([MAIL, A, Data()], Timer.MAIL, OK),
        ([], Timer.RCPT, OK),
        ([], Timer.DATA_INIT, NO),
        ([Quit()], Timer.COMMAND, b"221 bye\r\n"),
    ):
        say(client, *commands)
        assert client.timer is timer
        assert timer.seconds >= 120
        feed(client, *([wire] if wire else []))
    assert {timer.name: timer.seconds for timer in Timer} == {
        "GREETING": 300,
        "COMMAND": 300,
        "MAIL": 300,
        "RCPT": 300,
        "DATA_INIT": 120,
        "DATA_BLOCK": 180,
        "DATA_DONE": 600,
        "SERVER": 300,
    }


# The end of the stream


@every("state", State)
def test_the_end_of_the_stream_is_an_error_unless_nothing_is_due(state: State) -> None:
    for partial in (b"", b"2", b"250-ok\r\n"):
        client = client_in(state)
        if partial:
            client.receive_data(partial)
        client.receive_data(b"")
        if state is State.CLOSED:
            assert client.next_event() is CLOSED
        elif state is State.FAILED:
            with pytest.raises(LocalProtocolError):
                client.next_event()
        elif state is State.TLS and not partial:
            assert client.next_event() is PAUSED
        elif partial or state in (State.GREETING, State.DATA, State.CHUNK):
            for _ in range(2):
                with pytest.raises(RemoteProtocolError):
                    client.next_event()
        else:
            assert client.next_event() is CLOSED
            assert client.state is State.CLOSED


def test_what_was_said_before_the_stream_ended_is_heard() -> None:
    client = client_in(State.READY)
    say(client, MAIL, A, B)
    events, error = until_error(client, OK + NO + b"250 o", b"")
    assert [(event.code, event.to) for event in events] == [(250, MAIL), (550, A)]
    assert error is not None
    assert (error.command, str(error)) == (B, "connection closed by the server; the answer to Rcpt is due")


def test_nothing_comes_after_the_end_of_the_stream() -> None:
    client = client_in(State.READY)
    client.receive_data(b"")
    client.receive_data(b"")
    with pytest.raises(LocalProtocolError, match="after the end"):
        client.receive_data(b"2")


# Errors

FAULTS = [
    b"hello\r\n",
    b"600 x\r\n",
    b"250-a\r\n550 b\r\n",
    b"250 a\0b\r\n",
    b"354 go\r\n",
    b"\xff\xfe\r\n",
    b"250 " + b"x" * 8192,
    b"\r\n",
]


def wire_of(reply: Reply) -> bytes:
    server = server_in(State.READY)
    feed(server, b"NOOP\r\n")
    server.send(reply)
    return server.data_to_send()


@given(
    fault=st.sampled_from(FAULTS),
    good=st.lists(replies(st.sampled_from([200, 250, 450, 599])), max_size=2),
    cut=cutters(),
)
@settings(max_examples=60)
def test_what_came_before_an_error_is_handed_out_however_it_came(
    fault: bytes, good: list[Reply], cut: Cutter
) -> None:
    client = client_in(State.READY)
    said = (MAIL, Rset(), Rset())
    say(client, *said)
    heard, error = until_error(client, *cut(b"".join(map(wire_of, good)) + fault))
    assert heard == good
    assert [reply.to for reply in heard] == list(said[: len(good)])
    assert error is not None
    assert error.command == said[len(good)]
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as again:
            client.next_event()
        assert again.value is error


def test_an_error_in_receiving_leaves_sending_alone() -> None:
    client = client_in(State.READY)
    with pytest.raises(RemoteProtocolError):
        feed(client, b"garbage\r\n")
    assert say(client, Quit()) == b"QUIT\r\n"
    with pytest.raises(RemoteProtocolError):
        client.next_event()


def test_a_bare_lf_ends_a_reply_unless_replies_are_strict() -> None:
    assert answers(ClientConnection(), b"220 mx\n") == [(220, None)]
    client = ClientConnection(strict_replies=True)
    assert answers(client, b"220 mx\n") == []
    with pytest.raises(RemoteProtocolError):
        feed(client, b"\r\n")


@pytest.mark.parametrize(
    ("limits", "fits", "too_much"),
    [
        (Limits(reply_lines=3), b"250-a\r\n250-b\r\n250 c\r\n", b"250-a\r\n250-b\r\n250-c\r\n250 d\r\n"),
        (Limits(reply_octets=20), b"250-abcd\r\n250 abcd\r\n", b"250-abcd\r\n250 abcde\r\n"),
        (Limits(reply_octets=20), b"250 0123456789abcd\r\n", b"250 0123456789abcde\r\n"),
        (Limits(reply_line=20), b"250-abc\r\n250 0123456789abcd\r\n", b"250 0123456789abcde\r\n"),
    ],
)
@given(cut=cutters())
@settings(max_examples=10)
def test_a_reply_has_limits_to_the_octet(limits: Limits, fits: bytes, too_much: bytes, cut: Cutter) -> None:
    for wire, taken in ((fits, True), (too_much, False)):
        client = ClientConnection(limits=limits)
        feed(client, b"220 hi\r\n")
        say(client, Helo(domain="a.example"))
        events, error = until_error(client, *cut(wire))
        assert (len(events), error is None) == ((1, True) if taken else (0, False))


@every("state", State)
def test_a_connection_is_usable_until_it_is_over_or_the_peer_is_at_fault(state: State) -> None:
    pair = pair_in(state)
    for conn in (pair.client, pair.server):
        assert conn.is_usable is (state not in (State.CLOSED, State.FAILED))
    if state is State.READY:
        assert until_error(pair.client, b"garbage\r\n")[1] is not None
        assert until_error(pair.server, b"GET / HTTP/1.0\r\n")[1] is not None
        assert (pair.client.is_usable, pair.server.is_usable) == (False, False)


def test_signals_show_their_names() -> None:
    assert repr((NEED_DATA, PAUSED, CLOSED)) == "(NEED_DATA, PAUSED, CLOSED)"


def test_fail_forgets_what_was_to_be_sent() -> None:
    client = client_in(State.READY)
    client.send(MAIL)
    assert client.octets_to_send == len(b"MAIL FROM:<sender@client.example>\r\n")
    client.fail()
    assert (client.data_to_send(), client.octets_to_send, client.state) == (b"", 0, State.FAILED)
    client.receive_data(OK)
    with pytest.raises(LocalProtocolError, match="the connection is failed"):
        client.next_event()


# A session that somebody else began


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_connection_may_begin_where_somebody_else_introduced_it(lmtp: bool) -> None:
    client = ClientConnection(features=ALL_FEATURES, lmtp=lmtp, tls=True)
    assert (client.state, client.outstanding, client.features) == (State.READY, 0, ALL_FEATURES)
    assert (client.tls, client.is_usable, client.next_event()) == (True, True, NEED_DATA)
    say(client, MAIL, A, Data())
    assert [reply.to for reply in feed(client, OK + OK + GO)] == [MAIL, A, Data()]
    assert client.state is State.DATA


def test_a_server_may_have_offered_nothing() -> None:
    client = ClientConnection(features=Features())
    say(client, MAIL)
    refused(client, A, "must wait")


def test_what_was_received_and_not_read_can_be_had() -> None:
    client = ClientConnection(features=ALL_FEATURES)
    say(client, MAIL)
    client.receive_data(OK + b"421 bye\r\n")
    client.next_event()
    assert client.trailing_data == b"421 bye\r\n"
    assert feed(client, b"")[0].code == 421
    assert client.trailing_data == b""


# Groups (RFC 2920 3.1)

ENVELOPE = [MAIL, A, B, Data()]
GROUPS = st.sampled_from([[MAIL], [MAIL, A], ENVELOPE, [Rset(), MAIL, A, Data()], [MAIL, A, Noop()]])
CODES = st.sampled_from([b"250", b"250", b"250", b"251", b"299", b"354", b"421", b"450", b"550"])
LINES = st.sampled_from([b" ok\r\n", b"\r\n", b" ok\n", b"-ok\r\n250 ok\r\n", b" \xff\r\n"])


def told(client: ClientConnection, wire: bytes, cutter: Cutter) -> list[Any]:
    """What the client hears: for each answer its command, and its code if that is no success; an error."""
    heard, error = until_error(client, *cutter(wire))
    for at in reversed(range(len(heard))):
        if isinstance(heard[at], Successes):
            heard[at : at + 1] = heard[at].to
        elif heard[at].code < 300 or heard[at].code == 354:
            heard[at] = heard[at].to
    return [*heard, str(error), client.state, client.outstanding]


@given(GROUPS, st.lists(st.tuples(CODES, LINES), max_size=5), cutters(), st.booleans())
def test_what_is_said_as_a_group_is_heard_as_what_is_said_one_by_one(
    group: list[Command], answers: list[tuple[bytes, bytes]], cutter: Cutter, lmtp: bool
) -> None:
    """Only that successes may come together."""
    wire = b"".join(code + line for code, line in answers)
    together, alone = (client_in(State.READY, lmtp=lmtp) for _ in range(2))
    together.send_group(group)
    assert together.data_to_send() == say(alone, *group)
    assert told(together, wire, cutter) == told(alone, wire, cutter)


# Envelopes, which are such groups and are said as one where nothing speaks against it


def envelope(size: int | None = None, chunk: bytes | None = None) -> Envelope:
    """One with DATA, or one before a chunk."""
    made = plain_envelope(str(MAIL.reverse_path), [str(A.forward_path), str(B.forward_path)], size)
    made.asks_for_data = chunk is None
    return made


OFFERS = {
    "all": Features({"PIPELINING": (), "SIZE": (), "CHUNKING": ()}),
    "no CHUNKING": Features({"PIPELINING": (), "SIZE": ()}),
    "no SIZE": Features({"PIPELINING": ()}),
    "no PIPELINING": Features({"SIZE": ()}),
    "two recipients": Features({"PIPELINING": (), "SIZE": (), "LIMITS": ("RCPTMAX=2",)}),
    "one recipient": Features({"PIPELINING": (), "SIZE": (), "LIMITS": ("RCPTMAX=1",)}),
    "one message": Features({"PIPELINING": (), "SIZE": (), "LIMITS": ("MAILMAX=1",)}),
}


def as_one(client: ClientConnection, size: int | None, chunk: bytes | None) -> None:
    client._send_envelope(envelope(size, chunk), chunk or b"")


def as_group(client: ClientConnection, size: int | None, chunk: bytes | None) -> None:
    client.send_group(list(envelope(size, chunk)))
    if chunk is not None:
        client.send(Bdat(size=len(chunk), last=True))
        if chunk:
            client.send(MessageData(data=chunk))
        client.send(END)


@every(
    ("features", "lmtp", "before", "size", "chunk"),
    product(
        OFFERS.values(),
        [False, True],
        [[], [Rset()], [MAIL], [Quit()]],
        [None, 0, 1000],
        [None, b"", b"text\r\n"],
    ),
)
def test_an_envelope_is_said_as_its_commands_are(
    features: Features, lmtp: bool, before: list[Command], size: int | None, chunk: bytes | None
) -> None:
    """Or refused: whatever was said before, and whatever is offered."""
    seen = []
    for say_it in (as_one, as_group):
        client = ClientConnection(features=features, lmtp=lmtp)
        client.send_group(before)
        error = ""
        try:
            say_it(client, size, chunk)
        except LocalProtocolError as exc:
            error = str(exc)
        seen.append(
            (error, client.data_to_send(), client.outstanding, client.state, client.timer, client.mail)
        )
    assert seen[0] == seen[1]


@every(("state", "chunk"), product([state for state in State if state is not State.READY], [None, b"text"]))
def test_an_envelope_is_said_where_its_commands_are(state: State, chunk: bytes | None) -> None:
    """Or refused: nothing is outstanding, and the state forbids it."""
    seen = []
    for say_it in (as_one, as_group):
        client = client_in(state)
        with pytest.raises(LocalProtocolError) as refusal:
            say_it(client, None, chunk)
        seen.append((str(refusal.value), client.data_to_send(), client.state))
    assert seen[0] == seen[1]


@given(
    st.booleans(),
    st.sampled_from([None, b"", b"text\r\n"]),
    st.booleans(),
    st.lists(st.tuples(CODES, LINES), max_size=5),
    cutters(),
)
def test_an_envelope_is_heard_as_its_commands_are(
    lmtp: bool, chunk: bytes | None, more: bool, answers: list[tuple[bytes, bytes]], cutter: Cutter
) -> None:
    wire = b"".join(code + line for code, line in answers)
    seen = []
    for say_it in (as_one, as_group):
        client = client_in(State.READY, lmtp=lmtp)
        say_it(client, 1000, chunk)
        if more and chunk is not None:
            client.send(Noop())
        client.data_to_send()
        seen.append([*told(client, wire, cutter), client.mail, client.timer])
    assert seen[0] == seen[1]


def test_the_transaction_in_progress_is_that_of_the_last_mail() -> None:
    client = client_in(State.READY)
    client._send_envelope(envelope())
    assert client.mail == MAIL
    [event] = feed(client, OK + OK + OK + GO)
    assert repr(event.to) == f"Envelope({ENVELOPE})"
    say(client, END)
    feed(client, OK)
    client._send_envelope(envelope())
    feed(client, OK + OK + OK + GO)
    say(client, END)
    feed(client, OK)
    other = Mail(reverse_path="other@client.example")
    say(client, other)
    assert client.mail == other


def test_each_message_begins_at_the_start_of_a_line() -> None:
    client = client_in(State.READY)
    for said in (b"no line end", b".a dot"):
        client._send_envelope(envelope())
        feed(client, OK + OK + OK + GO)
        client.data_to_send()
        wire = say(client, MessageData(data=said), END)
        feed(client, OK)
    assert wire == b"..a dot\r\n.\r\n"


def test_a_group_of_nothing_waits_for_nothing() -> None:
    client = client_in(State.READY)
    client.send_group([])
    with pytest.raises(RemoteProtocolError, match="nothing asked for"):
        feed(client, OK)


@pytest.mark.parametrize("first", [b"2", OK, OK + b"25", OK + OK])
def test_an_envelope_whose_answers_come_one_after_the_other_is_answered_so(first: bytes) -> None:
    client = client_in(State.READY)
    client._send_envelope(envelope())
    client.data_to_send()
    heard = feed(client, first, (OK + OK + OK + GO)[len(first) :])
    assert [
        to for event in heard for to in (event.to if isinstance(event, Successes) else [event.to])
    ] == ENVELOPE
    assert say(client, TEXT, END) == b"text\r\n.\r\n"


@pytest.mark.parametrize("first", [OK + OK + OK, OK + OK + OK + OK, OK + OK + OK + b"550 No\r\n"])
def test_an_envelope_in_one_flight_is_answered_by_one_event_and_its_chunk_by_another(first: bytes) -> None:
    client = client_in(State.READY)
    client._send_envelope(envelope(None, b"text\r\n"), b"text\r\n")
    assert client.data_to_send().endswith(b"BDAT 6 LAST\r\ntext\r\n")
    successes, *verdict = feed(client, first)
    assert list(successes.to) == ENVELOPE[:-1]
    verdict = verdict or feed(client, OK)
    assert [reply.to for reply in verdict] == [END]
    assert (client.state, client.outstanding) == (State.READY, 0)


def test_behind_an_envelope_nothing_is_said_before_its_answers() -> None:
    client = client_in(State.READY)
    client._send_envelope(envelope())
    for command in (MAIL, TEXT, END, Rset()):
        refused(client, command, "must wait|in state")
    with pytest.raises(LocalProtocolError, match="no 354"):
        client.send_text(b"text")
    assert len(feed(client, OK + OK + OK + GO)) == 1
    client.data_to_send()
    client.send_text(b"text")
    assert client.data_to_send() == b"text\r\n.\r\n"


@example(head=b"in a line", rest=b".\r\n", known=True)
@example(head=b"a line\r\n\r", rest=b".\r\n", known=True)
@given(head=st.binary(max_size=20), rest=st.binary(max_size=20), known=st.booleans())
def test_a_text_is_said_as_its_pieces_are(head: bytes, rest: bytes, known: bool) -> None:
    said = []
    for at_once in (True, False):
        client = client_in(State.DATA)
        if head.replace(b"\0", b""):
            client.send(MessageData(data=head.replace(b"\0", b"")))
        text = rest.replace(b"\0", b"")
        if known:
            text = client.text_of(text)
        if at_once:
            client.send_text(text)
        else:
            client.send(MessageData(data=text))
            client.send(END)
        said.append((client.data_to_send(), client.state, client.outstanding, answers(client, OK)))
    assert said[0] == said[1]


def test_a_group_that_is_answered_well_and_at_once_is_answered_by_one_event() -> None:
    client = client_in(State.READY)
    group = [MAIL, A, B, Data()]
    client.send_group(group)
    client.data_to_send()
    assert feed(client, OK + b"251 forwarded\r\n250\r\n" + GO) == [Successes(to=group)]
    assert (client.state, client.outstanding) == (State.DATA, 0)
    assert say(client, TEXT, END) == b"text\r\n.\r\n"
    assert answers(client, OK) == [(250, END)]


@every(
    ("group", "wires"),
    {
        "not at once": ([MAIL, A], [OK, OK]),
        "a refusal among them": ([MAIL, A, B], [OK + NO + OK]),
        "a reply of two lines": ([MAIL, A], [OK + b"250-two\r\n250 lines\r\n"]),
        "a line end that is tolerated": ([MAIL, A], [OK + b"250 ok\n"]),
        "a success that says more": ([MAIL, A, Noop()], [OK + OK + OK]),
        "no 354": ([MAIL, A, Data()], [OK + OK + OK]),
    }.values(),
)
def test_else_a_group_is_answered_one_by_one(group: list[Command], wires: list[bytes]) -> None:
    client = client_in(State.READY)
    client.send_group(group)
    client.data_to_send()
    heard = feed(client, *wires)
    assert [reply.to for reply in heard] == group


def test_a_group_is_none_if_something_else_is_outstanding_or_the_recipients_matter() -> None:
    client = client_in(State.READY)
    say(client, Rset())
    client.send_group([MAIL, A])
    assert [reply.to for reply in feed(client, OK * 3)] == [Rset(), MAIL, A]
    prdr = ClientConnection(features=Features({"PIPELINING": (), "PRDR": ()}))
    for client in (client_in(State.READY, lmtp=True), prdr):
        mail = MAIL if client.lmtp else Mail(reverse_path="s@x.example", parameters={"PRDR": True})
        client.send_group([mail, A, B])
        assert [reply.to for reply in feed(client, OK * 3)] == [mail, A, B]


def test_a_group_with_something_behind_it_is_answered_one_by_one() -> None:
    client = client_in(State.READY)
    client.send_group([MAIL, A])
    say(client, B)
    assert [reply.to for reply in feed(client, OK + OK, OK)] == [MAIL, A, B]


@pytest.mark.parametrize("more", [OK, GO, b"2"])
def test_no_reply_is_swallowed_with_a_group(more: bytes) -> None:
    client = client_in(State.READY)
    client.send_group([MAIL, A])
    heard, error = until_error(client, OK + OK + more, b"")
    assert [one.to for one in heard] in ([MAIL, A], [[MAIL, A]])
    assert error is not None


def test_a_line_of_the_answers_to_a_group_is_as_long_as_any_other() -> None:
    long = b"250 " + b"x" * 100 + b"\r\n"
    client = ClientConnection(features=ALL_FEATURES, limits=Limits(reply_line=len(long) - 1))
    client.send_group([MAIL, A])
    client.receive_data(OK + long)
    assert client.next_event().to == MAIL  # type: ignore[union-attr]
    with pytest.raises(RemoteProtocolError, match="line of more than"):
        client.next_event()


def test_without_pipelining_a_group_is_one_command() -> None:
    client = ClientConnection(features=Features())
    with pytest.raises(LocalProtocolError, match="must wait"):
        client.send_group([MAIL, A])
    assert client.data_to_send() == b"MAIL FROM:<sender@client.example>\r\n"


def test_replies_that_began_before_the_group_was_said_are_not_believed() -> None:
    client = client_in(State.READY)
    client.receive_data(OK + OK)
    client.send_group([MAIL, A])
    with pytest.raises(RemoteProtocolError, match="nothing asked for"):
        client.next_event()


def test_a_reply_whose_first_lines_were_read_before_the_group_was_said_is_none_to_it() -> None:
    client = client_in(State.READY)
    assert feed(client, b"250-two\r\n") == []
    client.send_group([MAIL, A])
    client.receive_data(b"250 lines\r\n" + OK)
    with pytest.raises(RemoteProtocolError, match="nothing asked for"):
        client.next_event()


def test_of_a_group_with_a_command_that_may_not_be_said_those_before_it_are_queued() -> None:
    client = client_in(State.READY)
    with pytest.raises(LocalProtocolError, match="Data in state mail"):
        client.send_group([MAIL, Data()])
    assert client.data_to_send() == b"MAIL FROM:<sender@client.example>\r\n"
    assert answers(client, OK) == [(250, MAIL)]


def test_a_client_is_idle_when_a_transaction_may_begin_and_nothing_waits() -> None:
    client = client_in(State.READY)
    assert client.is_idle
    client.receive_data(b"421 bye\r\n")
    assert not client.is_idle
    assert client.next_event().code == 421  # type: ignore[union-attr]
    assert not client.is_idle
    client = client_in(State.READY)
    say(client, Noop())
    assert not client.is_idle
    assert not client_in(State.MAIL).is_idle
    client = client_in(State.READY)
    assert until_error(client, b"what\r\n")[1] is not None
    assert not client.is_idle
