"""Serving a session: the application is asked at each step, and nothing it says or fails to say breaks it.

The promise: every hook may refuse; an exception in one, or an answer that is none, is a 451 and reaches
`error`; no hook sees a message as complete that was not; a transaction ends with `message` or with
`reset`, and the session with `close`, whatever the client or the network does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from helpers import drive, every, pieces, steps
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import several

from smtp_proto import (
    ClientConnection,
    ConnectionLost,
    Features,
    Greeting,
    Hello,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    State,
)
from smtp_proto.ops import (
    DEFAULT_OFFER,
    Authenticator,
    Decide,
    Session,
    Status,
    Stopping,
    Want,
    greet,
    hello,
    quit,
    send_message,
    serve,
    turn_away,
)
from smtp_proto.sasl import Context
from smtp_proto.testing.strategies import malformed_commands

EHLO = b"EHLO c.example\r\n"
LHLO = b"LHLO c.example\r\n"
MAIL = b"MAIL FROM:<a@x.example>\r\n"
RCPT = b"RCPT TO:<b@y.example>\r\n"
DATA = b"DATA\r\n"
BODY = b"Subject: t\r\n\r\nhello\r\n"
END = b".\r\n"
BDAT = b"BDAT 5\r\nhelloBDAT 6 LAST\r\n world"
ENVELOPE = EHLO + MAIL + RCPT
MESSAGE = MAIL + RCPT + DATA + BODY + END

FINAL_LINE = re.compile(rb"^([0-9]{3}) ", re.MULTILINE)


class Site:
    """A server in memory. `hooks`: what the application answers, by name; an exception is raised."""

    def __init__(
        self,
        hooks: Mapping[str, Any] | None = None,
        *,
        domain: str = "mx.example",
        lmtp: bool = False,
        tls: bool = False,
        limits: Limits | None = None,
        line_ends: LineEnds = LineEnds.STRICT,
        handshake: OSError | None = None,
        **options: Any,
    ) -> None:
        self.conn = ServerConnection(lmtp=lmtp, tls=tls, limits=limits or Limits(), line_ends=line_ends)
        self.session = Session(self.conn, peer="the peer")
        self.hooks = dict(hooks or {})
        self.asked: list[tuple[Any, ...]] = []
        """The hooks that were asked, each with its arguments; pieces of a message come together."""
        self.writes: list[bytes] = []
        self.broken: OSError | None = None
        self.over = False
        self._handshake = handshake
        op = serve(self.conn, self.session, domain=domain, **options)
        self._loop = steps(op, self.conn, self, self._ask)
        self._resume(None)

    def say(self, *octets: bytes) -> list[int]:
        """What the client says: the codes of the answers."""
        before = len(self.writes)
        for piece in filter(None, octets):
            if not self.over:
                self.conn.receive_data(piece)
                self._resume(None)
        return self.codes(before)

    def hang_up(self) -> list[int]:
        """The client closes: the codes of what it is told nevertheless."""
        before = len(self.writes)
        self.conn.receive_data(b"")
        self._resume(None)
        return self.codes(before)

    def lose(self, error: OSError) -> list[int]:
        """Reading fails: the codes of what is said nevertheless."""
        before = len(self.writes)
        self._resume(error)
        return self.codes(before)

    def stop(self) -> list[int]:
        """The server stops while it waits for the client: the codes of what is said."""
        before = len(self.writes)
        self._resume(Stopping())
        return self.codes(before)

    def codes(self, since: int = 0) -> list[int]:
        return [int(code) for code in FINAL_LINE.findall(b"".join(self.writes[since:]))]

    @property
    def names(self) -> list[str]:
        """The hooks that were asked, by name."""
        return [name for name, *_ in self.asked]

    def names_since(self, hook: str) -> list[str]:
        """The hooks that were asked after the last time that `hook` was."""
        names = self.names[::-1]
        return names[: names.index(hook)][::-1]

    def send(self, data: bytes) -> None:
        if self.broken is not None:
            raise self.broken
        self.writes.append(data)

    def start_tls(self) -> None:
        if self._handshake is not None:
            raise self._handshake

    def _resume(self, error: Exception | None) -> None:
        try:
            next(self._loop) if error is None else self._loop.throw(error)
        except (StopIteration, ConnectionLost):  # the latter where the last words cannot be sent
            self.over = True
            assert self.conn.data_to_send() == b""
            assert self.names.count("close") == 1
            assert self.session.mail is None

    def _ask(self, question: Decide) -> Any:
        entry = (question.hook, *question.arguments)
        if question.hook == "chunk" and self.asked[-1][0] == "chunk":
            entry = ("chunk", self.asked.pop()[1] + question.arguments[0])
        self.asked.append(entry)
        answer = self.hooks.get(question.hook)
        if isinstance(answer, BaseException):
            raise answer
        return answer(*question.arguments) if callable(answer) else answer


def test_a_session_is_answered_and_the_application_sees_all_of_it():
    site = Site()
    assert site.writes == [b"220 mx.example ESMTP\r\n"]
    assert site.say(EHLO, MAIL, RCPT, RCPT, DATA, BODY + END) == [250, 250, 250, 250, 354, 250]
    assert site.say(b"VRFY b\r\n", b"EXPN l\r\n", b"HELP\r\n", b"HELP x\r\n") == [252, 502, 214, 214]
    assert site.say(b"NOOP\r\n", b"RSET\r\n", b"QUIT\r\n") == [250, 250, 221]
    assert site.over
    rcpt = Rcpt(forward_path="b@y.example")
    assert site.asked == [
        ("connect",),
        ("hello", "c.example"),
        ("mail", Mail(reverse_path="a@x.example")),
        ("rcpt", rcpt),
        ("rcpt", rcpt),
        ("data",),
        ("chunk", BODY),
        ("message",),
        ("verify", "b"),
        ("expand", "l"),
        ("help", None),
        ("help", "x"),
        ("close",),
    ]


def test_each_command_has_an_answer_of_its_own():
    site = Site()
    site.say(ENVELOPE + DATA + END + b"RSET\r\nNOOP\r\nVRFY b\r\nEXPN l\r\nHELP\r\nFROB\r\n" + MAIL)
    site.say(RCPT + b"BDAT 0\r\nBDAT 0 LAST\r\nQUIT\r\n")
    *_, answers = b"".join(site.writes).decode().partition("250 SIZE 33554432\r\n")
    assert answers.splitlines() == [
        "250 2.1.0 sender ok",
        "250 2.1.5 recipient ok",
        "354 end with <CRLF>.<CRLF>",
        "250 2.6.0 message accepted",
        "250 2.0.0 reset",
        "250 2.0.0 ok",
        "252 2.5.0 send some mail, and see",
        "502 5.5.1 EXPN is not implemented",
        "214 2.0.0 see RFC 5321",
        "500 5.5.1 unknown command",
        "250 2.1.0 sender ok",
        "250 2.1.5 recipient ok",
        "250 2.0.0 go on",
        "250 2.6.0 message accepted",
        "221 2.0.0 mx.example closing",
    ]


def test_what_one_read_caused_goes_out_in_one_write():
    site = Site()
    site.say(EHLO)
    assert site.say(MESSAGE + MAIL + RCPT + DATA) == [250, 250, 354, 250, 250, 250, 354]
    assert len(site.writes) == 3


def test_the_application_can_see_what_is_known_of_the_client():
    seen = []

    def look(*_: object) -> None:
        session = site.session
        seen.append(
            (session.domain, session.mail and str(session.mail.reverse_path), len(session.recipients))
        )

    site = Site({"mail": look, "rcpt": look, "data": look, "message": look})
    site.say(b"HELO c.example\r\n", MAIL, RCPT, RCPT, DATA, END)
    site.say(b"HELO d.example\r\n", b"MAIL FROM:<>\r\n", b"RSET\r\n", MAIL, RCPT, DATA, END)
    sender = "a@x.example"
    assert seen == [
        *[("c.example", None, 0), ("c.example", sender, 0), ("c.example", sender, 1)],
        *[("c.example", sender, 2)] * 2,
        *[("d.example", None, 0)] * 2,
        *[("d.example", sender, 0), ("d.example", sender, 1), ("d.example", sender, 1)],
    ]
    assert (site.session.peer, site.session.tls, site.session.lmtp) == ("the peer", False, False)
    assert site.session.state == {}


@every(
    ("offer", "options", "expected"),
    [
        (DEFAULT_OFFER, {}, {*DEFAULT_OFFER.lines, "SIZE 33554432"}),
        (Features({"8BITMIME": ()}), {"limits": Limits(message_size=7)}, {"8BITMIME", "SIZE 7"}),
        ({"8bitmime": ()}, {"limits": Limits(message_size=7)}, {"8BITMIME", "SIZE 7"}),
        (Features(), {"limits": Limits(message_size=None)}, {"SIZE 0"}),
        (Features(), {"starttls": True}, {"SIZE 33554432", "STARTTLS"}),
        (Features(), {"starttls": True, "tls": True}, {"SIZE 33554432"}),
    ],
)
@every("lmtp", [False, True])
def test_ehlo_and_lhlo_are_told_what_is_offered(offer, options, expected, lmtp):
    site = Site(offer=offer, lmtp=lmtp, **options)
    assert site.say(LHLO if lmtp else EHLO) == [250]
    first, *lines = site.writes[-1].decode().splitlines()
    assert first == "250-mx.example"
    assert {line[4:] for line in lines} == expected


SERVERS = list(
    product(
        ["a.example", "b.example"],
        [Features({"8BITMIME": ()}), Features({"8BITMIME": (), "REQUIRETLS": ()})],
        [None, 7, 8],
        *[[False, True]] * 3,
        [(), ("PLAIN",), ("PLAIN", "LOGIN")],
    )
)


@given(servers=several(SERVERS, 6))
def test_what_is_made_once_for_all_sessions_suits_each_of_them(servers: list[Any]) -> None:
    for domain, offer, size, lmtp, tls, starttls, mechanisms in servers:
        site = Site(
            domain=domain,
            offer=offer,
            limits=Limits(message_size=size),
            lmtp=lmtp,
            tls=tls,
            starttls=starttls,
            authenticator=Authenticator(mechanisms, Context, allow_plaintext=True),
        )
        site.say(LHLO if lmtp else EHLO, b"QUIT\r\n")
        greeting, hello, farewell = site.writes
        assert greeting.decode() == f"220 {domain} {'LMTP' if lmtp else 'ESMTP'}\r\n"
        assert farewell.decode() == f"221 2.0.0 {domain} closing\r\n"
        first, *lines = (line[4:] for line in hello.decode().splitlines())
        expected = {*offer.lines, f"SIZE {size or 0}"}
        expected -= set() if tls else {"REQUIRETLS"}
        expected |= {"STARTTLS"} if starttls and not tls else set()
        expected |= {" ".join(("AUTH", *mechanisms))} if mechanisms else set()
        assert (first, set(lines)) == (domain, expected)


def test_helo_is_told_nothing_of_extensions():
    site = Site(starttls=True)
    assert site.say(b"HELO c.example\r\n", b"STARTTLS\r\n", b"BDAT 0 LAST\r\n") == [250, 502, 503]
    assert site.writes[1] == b"250 mx.example\r\n"


def test_what_is_unknown_or_malformed_is_refused_and_asks_nobody():
    site = Site()
    assert site.say(EHLO, b"FROB\r\n", b"MAIL FROM:b\r\n", RCPT, b"\xff\r\n", b"AUTH PLAIN\r\n") == [
        *[250, 500, 501, 503, 500, 502],
    ]
    assert site.names == ["connect", "hello"]


@settings(max_examples=50)
@given(line=malformed_commands())
@example(line=b"STARTTLS\r\n")
@example(line=b"EXPN list\r\n")
@example(line=b"FROB\r\n")
@example(line=b"LHLO c.example\r\n")
@example(line=b"BDAT 1\r\nx")
@example(line=b"MAIL FROM:<a@x.example> FOO=bar\r\n")
@example(line=b"MAIL FROM:<\xc3\xa4@x.example>\r\n")
@example(line=b"MAIL FROM:<a@x.example> SIZE=99999999\r\n")
@example(line=MAIL + MAIL)
@example(line=RCPT)
@example(line=DATA + RCPT)
@example(line=MAIL + RCPT + DATA + b"bare\nLF\r\n.\r\n")
@example(line=b"GET / HTTP/1.1\r\n")
def test_every_refusal_has_an_enhanced_code(line: bytes):
    """RFC 2034 4."""
    site = Site()
    site.say(EHLO)
    site.say(line)
    replies = b"".join(site.writes[2:]).splitlines()
    refusals = [reply for reply in replies if reply[:1] in b"45"]
    assert refusals
    for refusal in refusals:
        assert re.match(rb"([45])[0-9][0-9][ -]\1[.][0-9]{1,3}[.][0-9]{1,3} .", refusal), refusal


def test_a_mechanism_that_is_offered_and_not_there_is_refused():
    site = Site(offer=Features({"AUTH": ("PLAIN",)}))
    assert site.say(EHLO, b"AUTH PLAIN\r\n", b"NOOP\r\n") == [250, 504, 250]


# Refusals --------------------------------------------------------------------------------------------

# For each hook that is answered: what leads up to it, what asks it, and the answers by default.
ANSWERED: dict[str, tuple[bytes, bytes, list[int]]] = {
    "hello": (b"", EHLO, [250]),
    "mail": (EHLO, MAIL, [250]),
    "rcpt": (EHLO + MAIL, RCPT, [250]),
    "data": (ENVELOPE, DATA, [354]),
    "chunk": (ENVELOPE + DATA, BODY + END, [250]),
    "message": (ENVELOPE + DATA, BODY + END, [250]),
    "verify": (EHLO, b"VRFY b\r\n", [252]),
    "expand": (EHLO, b"EXPN l\r\n", [502]),
    "help": (EHLO, b"HELP\r\n", [214]),
}
HOOKS = pytest.mark.parametrize("hook", ANSWERED)


def ask(hook: str, answer: Any, **options: Any) -> tuple[Site, list[int]]:
    """A session up to where `hook` was asked and gave this answer; what the client was told."""
    before, asking, _ = ANSWERED[hook]
    site = Site({hook: answer}, **options)
    site.say(before)
    return site, site.say(asking)


@HOOKS
@every("code", [400, 421, 450, 552])
def test_every_hook_may_refuse(hook, code):
    site, codes = ask(hook, Reply(code=code, text="because I say so"))
    assert codes == [code]
    assert site.writes[-1] == b"%d because I say so\r\n" % code
    assert "error" not in site.names
    assert site.over is (code == 421)
    if code != 421:
        del site.hooks[hook]
        assert site.say(b"RSET\r\n" + EHLO + MESSAGE) == [250, 250, 250, 250, 354, 250]
        assert site.asked[-2:] == [("chunk", BODY), ("message",)]


@pytest.mark.parametrize("code", [220, 421, 450, 554])
def test_a_client_that_is_refused_can_only_quit(code):
    site = Site({"connect": Reply(code=code, text="not you")})
    assert site.codes() == [code]
    if code == 220:
        assert site.writes == [b"220 mx.example ESMTP\r\n"]  # a positive answer is no refusal
    elif code == 421:
        assert site.over
    else:
        assert site.say(EHLO, MAIL, b"NOOP\r\n", b"RSET\r\n", b"QUIT\r\n") == [503, 503, 503, 503, 221]
        assert site.over
        assert site.names == ["connect", "close"]


def test_what_was_refused_is_not_there():
    site = Site()
    refusal = Reply(code=550)
    site.say(EHLO)
    site.hooks = {"mail": refusal, "rcpt": refusal}
    assert site.say(MAIL, RCPT) == [550, 503]
    site.hooks = {"rcpt": lambda command: refusal if command.forward_path == "c@y.example" else None}
    assert site.say(MAIL, b"RCPT TO:<c@y.example>\r\n", DATA, RCPT) == [250, 550, 503, 250]
    assert [str(rcpt.forward_path) for rcpt in site.session.recipients] == ["b@y.example"]
    site.hooks = {"hello": refusal}
    assert site.say(b"EHLO d.example\r\n", DATA, END) == [550, 354, 250]
    assert site.session.domain == "c.example"
    assert "reset" not in site.names


@every(
    ("hook", "codes"),
    [
        *[(hook, ANSWERED[hook][2]) for hook in ("hello", "data", "chunk")],
        *[(hook, [251]) for hook in ("mail", "rcpt", "message", "verify", "expand", "help")],
    ],
)
def test_a_positive_answer_is_told_where_it_can_be_and_never_refuses(hook, codes):
    site, told = ask(hook, Reply(code=251, text="yes"))
    assert told == codes
    assert "error" not in site.names
    if hook == "chunk":
        assert site.names_since("chunk") == ["message"]


FAILURES = [
    ValueError("x"),
    StopIteration(),
    OSError("disk full"),
    # As from a relay whose own connection failed.
    ConnectionLost("upstream"),
    RemoteProtocolError("upstream", reply=Reply(code=554)),
    LocalProtocolError("x"),
]


@HOOKS
def test_a_hook_that_raises_is_a_451_and_reaches_error(hook):
    for failure in FAILURES:
        site, codes = ask(hook, failure)
        assert codes == [451]
        assert site.writes[-1] == b"451 4.3.0 internal error\r\n"
        assert [entry for entry in site.asked if entry[0] == "error"] == [("error", failure)]
        assert not site.over
        del site.hooks[hook]
        assert site.say(b"RSET\r\n" + EHLO + MESSAGE) == [250, 250, 250, 250, 354, 250]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_connect_that_raises_refuses_the_client(failure):
    site = Site({"connect": failure})
    assert site.codes() == [451]
    assert ("error", failure) in site.asked
    assert site.say(EHLO, b"QUIT\r\n") == [503, 221]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_what_is_not_answered_may_raise_as_well(failure):
    site = Site({"reset": failure, "close": failure})
    assert site.say(ENVELOPE, b"RSET\r\n", MAIL, b"QUIT\r\n") == [250, 250, 250, 250, 250, 221]
    assert site.names_since("rcpt") == ["reset", "error", "mail", "reset", "error", "close", "error"]
    assert site.over


NO_ANSWERS = [
    *[False, True, 550, "550 no", b"550 no", object()],
    *[Reply(code=300), Reply(code=354), Reply(code=399)],
    *[Greeting(domain="mx.example"), Hello(domain="mx.example")],
    *[[], [None, None], [Reply(code=354)], (True,)],
]


@HOOKS
def test_an_answer_that_is_none_counts_as_an_exception(hook):
    for answer in NO_ANSWERS:
        site, codes = ask(hook, answer)
        assert codes == [451], answer
        (error,) = [arguments for name, *arguments in site.asked if name == "error"]
        assert isinstance(error[0], LocalProtocolError)
        assert str(error[0]).startswith(f"{hook} answered ")
        assert not site.over


# Messages --------------------------------------------------------------------------------------------


def lmtp_site(hooks: Mapping[str, Any] | None = None, **options: Any) -> Site:
    """A session in which a message for three has begun."""
    site = Site(hooks, lmtp=True, **options)
    assert site.writes == [b"220 mx.example LMTP\r\n"]
    assert site.say(LHLO + MAIL + RCPT * 3 + DATA) == [250, 250, 250, 250, 250, 354]
    return site


NO, FULL, BYE = Reply(code=550), Reply(code=452), Reply(code=421)


@every(
    ("answer", "codes"),
    [
        (None, [250, 250, 250]),
        (NO, [550, 550, 550]),
        ([None, FULL, NO], [250, 452, 550]),
        ((NO, None, None), [550, 250, 250]),
        ([None, None], [451, 451, 451]),
        ([], [451, 451, 451]),
        ([None, None, 250], [451, 451, 451]),
        (OSError(), [451, 451, 451]),
        ([None, BYE, None], [250, 421]),
        (BYE, [421]),
    ],
)
def test_in_lmtp_each_recipient_has_an_answer(answer, codes):
    site = lmtp_site({"message": answer})
    assert site.say(BODY + END) == codes
    assert ("error" in site.names) is (451 in codes)
    if 421 in codes:
        assert site.over
    else:
        assert site.say(MAIL, RCPT, b"NOOP\r\n") == [250, 250, 250]


def test_in_lmtp_what_is_refused_is_refused_for_each():
    site = lmtp_site({"chunk": NO})
    assert site.say(BODY + END) == [550, 550, 550]
    site = lmtp_site({"chunk": BYE})
    assert site.say(BODY + END) == [421]
    site = lmtp_site()
    assert site.say(b"bare\nLF\r\n" + END) == [550, 550, 550]


@pytest.mark.parametrize(
    ("body", "options", "code"),
    [
        (b"x" * 101 + b"\r\n", {"limits": Limits(message_size=100)}, 552),
        (b"a\nb\r\n", {}, 550),
        (b"a\rb\r\n", {}, 550),
        (b"a\r\n.\nb\r\n", {}, 550),
    ],
)
def test_a_message_that_cannot_be_taken_is_refused_at_its_end(body, options, code):
    site = Site(**options)
    assert site.say(ENVELOPE + DATA, body) == [250, 250, 250, 354]
    assert site.say(END) == [code]
    assert site.names_since("data")[-1:] == ["reset"]
    assert "message" not in site.names
    assert site.say(MESSAGE) == [250, 250, 354, 250]


def test_what_is_normalized_is_taken():
    site = Site(line_ends=LineEnds.NORMALIZE)
    assert site.say(ENVELOPE + DATA + b"a\nb\rc\r\n" + END) == [250, 250, 250, 354, 250]
    assert ("chunk", b"a\r\nb\r\nc\r\n") in site.asked


def test_size_is_refused_before_the_message_comes():
    site = Site(limits=Limits(message_size=100))
    assert site.say(EHLO, b"MAIL FROM:<a@x.example> SIZE=101\r\n", MAIL) == [250, 552, 250]
    assert site.names == ["connect", "hello", "mail"]


def test_chunks_make_one_message():
    site = Site()
    assert site.say(ENVELOPE + BDAT) == [250, 250, 250, 250, 250]
    assert site.names_since("rcpt") == ["data", "chunk", "message"]
    assert ("chunk", b"hello world") in site.asked
    assert site.say(MAIL + RCPT + b"BDAT 0\r\nBDAT 0\r\nBDAT 0 LAST\r\n") == [250] * 5
    assert site.names_since("rcpt") == ["data", "message"]


CHUNKS = b"BDAT 5\r\nhello", b"BDAT 3\r\n wo", b"BDAT 3 LAST\r\nrld"


@every(
    ("hooks", "limits", "codes"),
    [
        ({"data": NO}, None, [550, 503, 503]),
        ({"data": OSError()}, None, [451, 503, 503]),
        ({"chunk": NO}, None, [550, 503, 503]),
        ({"chunk": lambda data: NO if data == b" wo" else None}, None, [250, 550, 503]),
        ({"chunk": lambda data: NO if data == b"rld" else None}, None, [250, 250, 550]),
        ({"message": NO}, None, [250, 250, 550]),
        ({}, Limits(message_size=4), [552, 503, 503]),
        ({}, Limits(message_size=7), [250, 552, 503]),
        ({}, Limits(message_size=10), [250, 250, 552]),
    ],
)
def test_a_refused_chunk_is_read_and_ends_the_message(hooks, limits, codes):
    site = Site(hooks, limits=limits)
    site.say(ENVELOPE)
    assert site.say(*CHUNKS) == codes
    assert site.names.count("data") == 1
    assert ("message" in site.names) is ("message" in hooks)
    site.hooks.clear()
    assert site.say(b"RSET\r\n") == [250]
    assert site.names.count("reset") + site.names.count("message") == 1
    assert site.say(MAIL + RCPT + b"BDAT 3 LAST\r\nabc") == [250, 250, 250]
    assert site.asked[-2:] == [("chunk", b"abc"), ("message",)]


def test_a_chunk_may_end_the_session():
    site = Site({"chunk": BYE})
    site.say(ENVELOPE)
    assert site.say(*CHUNKS) == [421]
    assert site.over
    assert site.names[-2:] == ["reset", "close"]


@every("transaction", [MAIL, MAIL + RCPT, MAIL + RCPT + b"BDAT 5\r\nhello"])
@every(
    "leave",
    [
        lambda site: site.say(b"RSET\r\n"),
        lambda site: site.say(EHLO),
        lambda site: site.say(b"HELO d.example\r\n"),
        lambda site: site.say(b"QUIT\r\n"),
        lambda site: site.hang_up(),
        lambda site: site.lose(ConnectionResetError()),
        lambda site: site.lose(TimeoutError()),
        lambda site: site.say(b"GET / HTTP/1.1\r\n"),
    ],
)
def test_a_transaction_without_a_message_is_reset_once(transaction, leave):
    site = Site()
    leave(site)
    assert "reset" not in site.names
    site = Site()
    site.say(EHLO + transaction)
    leave(site)
    assert site.names.count("reset") == 1
    assert site.session.mail is None
    assert site.session.recipients == []
    if not site.over:
        site.say(EHLO)
        assert site.names.count("reset") == 1


# TLS -------------------------------------------------------------------------------------------------


def test_after_starttls_the_client_is_a_stranger():
    site = Site(starttls=True, require_tls=True)
    assert site.say(EHLO, MAIL, b"STARTTLS\r\n") == [250, 530, 220]
    assert site.session.tls
    assert site.session.domain is None
    assert site.say(MAIL, EHLO, b"STARTTLS\r\n", MESSAGE) == [503, 250, 503, 250, 250, 354, 250]
    assert site.names.count("mail") == 1


def test_where_tls_is_required_it_may_have_been_there_from_the_start():
    assert Site(tls=True, require_tls=True).say(EHLO, MAIL) == [250, 250]
    assert Site(require_tls=True).say(EHLO, MAIL, b"STARTTLS\r\n") == [250, 530, 502]


@pytest.mark.parametrize("behind", [b"\r", b"EHLO evil.example\r\n", EHLO + MESSAGE])
def test_octets_behind_starttls_are_refused_before_the_handshake(behind):
    site = Site(starttls=True, handshake=AssertionError())  # type: ignore[arg-type]
    site.say(EHLO)
    assert site.say(b"STARTTLS\r\n" + behind) == [554]
    assert site.over
    assert site.names == ["connect", "hello", "close"]


@pytest.mark.parametrize("handshake", [OSError("no common cipher"), TimeoutError()])
def test_nothing_is_said_in_the_clear_after_a_handshake_that_failed(handshake):
    site = Site(starttls=True, handshake=handshake)
    assert site.say(EHLO, b"STARTTLS\r\n") == [250, 220]
    assert site.over
    assert site.names == ["connect", "hello", "close"]
    assert not site.session.tls


# How it ends -----------------------------------------------------------------------------------------


def test_too_many_bad_commands_end_the_session():
    site = Site(limits=Limits(errors=3))
    assert site.say(EHLO, b"FROB\r\n", RCPT, b"\0\r\n") == [250, 500, 503, 500]
    assert site.say(b"FROB\r\n", b"NOOP\r\n") == [421]
    assert site.over


SESSION = EHLO + MESSAGE + MAIL + RCPT + BDAT + b"QUIT\r\n"
ENDS = SESSION.index(END) + len(END), SESSION.index(BDAT) + len(BDAT)


def lost(site: Site, how: str) -> list[int]:
    if how == "closed":
        return site.hang_up()
    return site.lose(TimeoutError() if how == "silent" else ConnectionResetError())


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("how", ["closed", "reset", "silent"])
def test_wherever_the_client_is_lost_no_message_is_complete_that_was_not(lmtp, how):
    session = SESSION.replace(EHLO, LHLO) if lmtp else SESSION
    for at in range(0, len(session), 1 if how == "closed" else 3):
        site = Site(lmtp=lmtp)
        site.say(session[:at])
        assert not site.over
        told = lost(site, how)
        assert site.over
        assert site.names.count("message") == sum(end <= at for end in ENDS), at
        assert site.names.count("mail") == site.names.count("message") + site.names.count("reset"), at
        assert site.names[-1] == "close"
        assert "error" not in site.names
        content = [data for name, *rest in site.asked if name == "chunk" for data in rest]
        assert all(full.startswith(some) for full, some in zip((BODY, b"hello world"), content, strict=False))
        if how == "silent":
            assert told == [421], at
        else:
            # Who closes in the middle of something may still be told.
            assert told in ([], [421]), at


@pytest.mark.parametrize(
    "before", [b"", EHLO, ENVELOPE, ENVELOPE + DATA + b"half", ENVELOPE + b"BDAT 5\r\nhe"]
)
def test_a_silent_client_is_told_how_long_it_was_waited_for(before):
    site = Site()
    site.say(before)
    seconds = site.conn.timer.seconds
    assert site.lose(TimeoutError()) == [421]
    assert site.writes[-1] == b"421 4.4.2 mx.example waited for %d seconds\r\n" % seconds


# What a client has said, and the hooks that are told of the end.
IDLE = [
    (b"", ["close"]),
    (b"NOO", ["close"]),
    (EHLO, ["close"]),
    (b"HELO c.example\r\n", ["close"]),
    (EHLO + b"MAIL FROM:<a@x.exam", ["close"]),
    (EHLO + MESSAGE, ["close"]),
    (EHLO + MESSAGE + EHLO, ["close"]),
    (ENVELOPE + BDAT, ["close"]),
    (ENVELOPE + b"RSET\r\n", ["reset", "close"]),
    (EHLO + b"STARTTLS\r\n", ["close"]),
]
IN_TRANSACTION = [
    EHLO + MAIL,
    ENVELOPE,
    ENVELOPE + DATA,
    ENVELOPE + DATA + b"hal",
    ENVELOPE + b"BDAT 5\r\nhe",
    ENVELOPE + b"BDAT 5\r\nhello",
]


@every(("said", "told"), [*IDLE, *((said, ["reset", "close"]) for said in IN_TRANSACTION)])
def test_a_server_that_stops_says_so_where_it_waits(said, told):
    """A loop throws it into idle sessions alone, and yet no other comes to harm."""
    site = Site(starttls=True)
    site.say(said)
    assert not site.over
    assert site.stop() == [421]
    assert site.writes[-1] == b"421 4.3.2 mx.example stops\r\n"
    assert site.over
    assert site.conn.state is State.CLOSED
    assert [name for name in site.names if name in ("reset", "close")] == told
    assert "error" not in site.names
    assert site.names.count("message") == (MESSAGE in said) + (BDAT in said)


def test_a_client_that_was_refused_is_told_as_well():
    site = Site({"connect": Reply(code=554)})
    site.say(EHLO)
    assert site.stop() == [421]
    assert site.names == ["connect", "close"]


@pytest.mark.parametrize("failure", [OSError("disk full"), Stopping()], ids=repr)
def test_hooks_that_fail_when_the_server_stops_harm_nobody(failure):
    site = Site({"reset": failure, "close": failure})
    site.say(ENVELOPE)
    assert site.stop() == [421]
    assert site.names_since("rcpt") == ["reset", "error", "close", "error"]


def test_a_server_that_stops_and_cannot_say_so_is_over_all_the_same():
    site = Site()
    site.say(EHLO)
    site.broken = BrokenPipeError()
    assert site.stop() == []
    assert site.over
    assert site.names[-1] == "close"


@pytest.mark.parametrize("options", [{}, {"lmtp": True}, {"tls": True}], ids=repr)
def test_a_client_that_is_turned_away_hears_why_instead_of_a_greeting(options):
    conn = ServerConnection(**options)
    op = turn_away(conn, domain="mx.example")
    assert op.send(None) is Want.FLUSH
    said = conn.data_to_send()
    assert said == b"421 4.7.0 mx.example: too many connections from you\r\n"
    with pytest.raises(StopIteration):
        op.send(None)
    assert conn.data_to_send() == b""
    assert conn.state is State.CLOSED
    client = ClientConnection(**options)
    client.receive_data(said)
    greeted = greet(client)
    assert greeted.send(None) is Want.EVENT
    with pytest.raises(Refused, match="connection was refused: 421 4") as caught:
        greeted.send(client.next_event())
    assert caught.value.reply.code == 421
    assert client.state is State.CLOSED


@pytest.mark.parametrize("broken", [BrokenPipeError(), TimeoutError()])
@pytest.mark.parametrize("said", [EHLO, ENVELOPE, SESSION])
def test_when_writing_fails_the_session_is_over(broken, said):
    site = Site()
    site.broken = broken
    site.say(said)
    assert site.over
    assert site.names[-1] == "close"
    assert site.names.count("mail") == site.names.count("message") + site.names.count("reset")


def test_a_fault_without_a_reply_is_not_answered():
    site = Site()
    site.conn.receive_data(EHLO)
    op = serve(ServerConnection(), site.session, domain="mx.example")
    assert op.send(None) == Decide("connect")
    op.send(None)
    assert op.throw(RemoteProtocolError("no reply")) == Decide("close")


@given(cuts=several(range(1, len(SESSION) + 1), 20))
@settings(max_examples=40)
def test_cuts_mean_nothing(cuts):
    whole, cut = Site(), Site()
    assert whole.say(SESSION) == cut.say(*pieces(SESSION, cuts))
    assert whole.asked == cut.asked
    assert whole.over
    assert cut.over


# A client and a server, both of ours -----------------------------------------------------------------


class Wire:
    """What a client's operation sees of a `Site`."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._read = 0

    def send(self, data: bytes) -> None:
        self.site.say(data)

    def receive(self) -> bytes:
        said = b"".join(self.site.writes[self._read :])
        assert said or self.site.over, "both sides wait"
        self._read = len(self.site.writes)
        return said

    def start_tls(self) -> None:
        assert self.site.session.tls


@given(
    body=several([b"a", b".", b"\r\n", b"\r\n.\r\n", b"\n", b"\r", b"\xff"], 12).map(b"".join),
    refused=st.sets(st.integers(0, 3)),
    answers=several([None, NO, FULL], 4, least=4),
    lmtp=st.booleans(),
    offer=st.sampled_from([DEFAULT_OFFER, Features()]),
)
@settings(max_examples=60)
def test_a_client_hears_what_the_application_said_and_the_application_gets_what_was_sent(
    body, refused, answers, lmtp, offer
):
    if "8BITMIME" not in offer:
        body = body.replace(b"\xff", b"")
    to = [f"r{number}@y.example" for number in range(4)]
    verdicts = [answer for number, answer in enumerate(answers) if number not in refused]
    site = Site(
        {
            "rcpt": lambda command: NO if to.index(command.forward_path) in refused else None,
            "message": lambda: verdicts if lmtp else verdicts[0],
        },
        lmtp=lmtp,
        offer=offer,
        starttls=True,
    )
    conn, wire = ClientConnection(lmtp=lmtp), Wire(site)
    drive(greet(conn), conn, wire)
    drive(hello(conn, "c.example", starttls="required"), conn, wire)
    assert conn.tls
    result = drive(send_message(conn, "a@x.example", to, body), conn, wire)
    expected = iter(verdicts if lmtp else verdicts[:1] * 4)
    for number, outcome in enumerate(result.outcomes):
        answer = NO if number in refused else next(expected)
        assert outcome.reply == (answer or Reply(code=250, enhanced="2.6.0", text="message accepted"))
        assert (outcome.status is Status.ACCEPTED) is (answer is None)
    regular = re.sub(rb"\r\n|\r|\n", b"\r\n", body)
    regular += b"" if regular.endswith(b"\r\n") or not body else b"\r\n"
    received = [data for name, *rest in site.asked if name == "chunk" for data in rest]
    assert b"".join(received) == (b"" if len(refused) == 4 else regular)
    assert drive(quit(conn), conn, wire).code == 221
    assert site.over
