"""Messages are values, and what one end says the other end hears.

The promises: every class of message reaches the other end equal, however the octets are cut; text in any
field raises `LocalProtocolError` or stands in exactly one line, as it was meant; messages are immutable,
hashable and can be copied; and no secret is ever shown.
"""

from __future__ import annotations

import copy
import pickle
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from helpers import ALL_FEATURES, Pair, drain, every, feed, pair_in
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import COMMANDS, Cutter, cutters, offered_for

import smtp_proto
from smtp_proto import (
    Auth,
    AuthChallenge,
    AuthResponse,
    Bdat,
    Burl,
    ClientConnection,
    Command,
    ConnectionLost,
    Data,
    Ehlo,
    EndOfMessage,
    Etrn,
    Expn,
    Features,
    Greeting,
    Hello,
    Helo,
    Help,
    Lhlo,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    MalformedCommand,
    MessageData,
    Noop,
    NotOffered,
    OriginalRecipient,
    Parameters,
    Path,
    ProtocolError,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    Rset,
    ServerConnection,
    SMTPError,
    StartTLS,
    State,
    TimedOut,
    Timer,
    UnknownCommand,
    Vrfy,
    XClient,
    XForward,
)
from smtp_proto.testing.strategies import (
    challenges,
    commands,
    greetings,
    hellos,
    messages,
    refusals,
    replies,
)

SITUATIONS = {
    Ehlo: State.GREETED,
    Helo: State.GREETED,
    Lhlo: State.GREETED,
    AuthResponse: State.AUTH,
    Data: State.RCPT,
    Bdat: State.RCPT,
    Burl: State.RCPT,
}


def ready_for(command: Command) -> Pair:
    """A pair whose client may say `command`, and whose server takes it."""
    lmtp = isinstance(command, Lhlo)
    tls = not isinstance(command, StartTLS)
    pair = pair_in(
        SITUATIONS.get(type(command), State.READY),
        features=Features({**ALL_FEATURES, **offered_for(command), "SMTPUTF8": ()}),
        client=ClientConnection(lmtp=lmtp, tls=tls),
        server=ServerConnection(lmtp=lmtp, tls=tls, limits=Limits(message_size=None, errors=10_000)),
        lmtp=lmtp,
    )
    if isinstance(command, Rcpt):
        opening = Mail(reverse_path="a@b.example", parameters={"SMTPUTF8": True})
        pair.ask(opening, Reply(code=250))
    return pair


@cache
def answers(kind: type[Command]) -> st.SearchStrategy[Reply]:
    """What a server may say to a command of this class."""
    positive = replies(st.integers(200, 299))
    if kind in (Ehlo, Lhlo):
        positive = hellos()
    elif kind in (Auth, AuthResponse):
        positive |= challenges()
    elif kind is XClient:
        positive = greetings() | replies(st.integers(221, 299))
    elif kind is Data:
        positive |= replies(st.just(354))
    return positive | refusals() | replies(st.just(421))


# What one end says the other end hears


@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if kind not in (MessageData, EndOfMessage)])
@given(data=st.data())
@settings(max_examples=12)
def test_a_command_and_its_reply_reach_the_other_end(kind: type[Command], data: st.DataObject) -> None:
    command = data.draw(COMMANDS[kind])
    pair = ready_for(command)
    pair.cut = data.draw(cutters())

    pair.client.send(command)
    heard, *rest = pair.server_events()
    assert heard == command
    is_whole = isinstance(command, Bdat | Burl) and command.last and not command.size
    assert rest == ([EndOfMessage()] if is_whole else [])
    assert repr(heard) == repr(command)
    if isinstance(command, Mail | Rcpt):
        assert path_of(heard) == path_of(command)
    if isinstance(command, Bdat) or is_whole:
        return  # answered when its octets are in, the last one as the end of the message

    said = data.draw(answers(kind))
    reply = pair.say(said)
    assert reply == said
    assert reply.to == command
    if isinstance(said, Hello):
        assert reply.features == said.features == pair.client.features == pair.server.features


def path_of(command: Any) -> tuple[Any, ...]:
    path = command.reverse_path if isinstance(command, Mail) else command.forward_path
    return path.route, path.local_part, path.domain


@given(said=greetings() | refusals() | replies(st.just(421)), cut=cutters())
@settings(max_examples=60)
def test_the_greeting_reaches_the_client(said: Reply, cut: Cutter) -> None:
    reply = Pair(hello=False, cut=cut).say(said)
    assert (reply, reply.to, reply.text) == (said, None, said.text)


def merged(events: list[Any]) -> list[Any]:
    """How a body is cut into pieces means nothing: neighbours become one."""
    result: list[Any] = []
    for event in events:
        if isinstance(event, MessageData) and result and isinstance(result[-1], MessageData):
            result[-1] = MessageData(data=result[-1].data + event.data)
        else:
            result.append(event)
    return result


@given(pieces=st.lists(messages(long_lines=False), max_size=4), cut=cutters())
@settings(max_examples=60)
def test_a_body_after_data_reaches_the_server(pieces: list[bytes], cut: Cutter) -> None:
    pair = pair_in(
        State.DATA,
        client=ClientConnection(allow_nul=True),
        server=ServerConnection(line_ends=LineEnds.STRICT),
    )
    pair.cut = cut
    for piece in pieces:
        pair.client.send(MessageData(data=piece))
    pair.client.send(EndOfMessage())

    lines = b"".join(pieces).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    content = b"\r\n".join(lines) + (b"\r\n" if lines[-1] else b"")
    expected = [MessageData(data=content)] if content else []
    assert merged(pair.server_events()) == [*expected, EndOfMessage()]
    reply = pair.say(Reply(code=250))
    assert (reply, reply.to) == (Reply(code=250), EndOfMessage())


@given(chunks=st.lists(st.lists(messages().filter(bool), max_size=2), min_size=1, max_size=3), cut=cutters())
@settings(max_examples=60)
def test_chunks_reach_the_server_octet_for_octet(chunks: list[list[bytes]], cut: Cutter) -> None:
    pair = pair_in(State.RCPT)
    pair.cut = cut
    for number, pieces in enumerate(chunks, 1):
        last = number == len(chunks)
        command = Bdat(size=len(b"".join(pieces)), last=last)
        pair.client.send(command)
        for piece in pieces:
            pair.client.send(MessageData(data=piece))
        if last:
            pair.client.send(EndOfMessage())
        content = [MessageData(data=b"".join(pieces))] if command.size else []
        end = [EndOfMessage()] if last else []
        assert merged(pair.server_events()) == [command, *content, *end]
        reply = pair.say(Reply(code=250))
        assert (reply, reply.to) == (Reply(code=250), EndOfMessage() if last else command)


# Text in any field raises, or becomes one line

# Every control, every printable character, and what has broken out of other libraries.
NASTY = (
    *map(chr, range(0xA1)),
    *("\u2028", "\u2029", "\ud800", "\udcff", "é", "ı", "ſ", "\u760d\u760a", "\U0001f600"),
    *("\r\n", "\r\nRSET\r\n", "\r\n.\r\n", "  ", "<>", "@evil.example>", '"@evil.example> X="', " SIZE=1"),
    *("+0A", "\\x{A}", "\\x{110000}", "..", "(a)", "[1.2.3]", "@a,@b:", "250 ", "250-", "2.0.0 "),
)


def nasty(valid: str) -> Iterator[str]:
    """`valid`, and with something put into it that might break out, at the front, inside, and behind."""
    yield valid
    for what in NASTY:
        for at in {0, len(valid) // 2, len(valid)}:
            yield valid[:at] + what + valid[at:]


def built(build: Callable[[str], Any], texts: Iterable[str]) -> list[tuple[str, Any]]:
    """Of these texts, those of which a message can be built, and the message."""
    messages = []
    for text in texts:
        with suppress(LocalProtocolError):
            messages.append((text, build(text)))
    return messages


def _mail(**parameters: Any) -> Mail:
    return Mail(reverse_path="a@b.example", parameters=parameters)


def _rcpt(**parameters: Any) -> Rcpt:
    return Rcpt(forward_path="a@b.example", parameters=parameters)


# A field: how a message is built from its text, a valid text, and where the text is found again.
FIELDS_OF_COMMANDS: dict[str, tuple[Callable[[str], Any], str, Callable[[Any], Any]]] = {
    "EHLO": (lambda text: Ehlo(domain=text), "a.example", lambda said: said.domain),
    "EHLO, a literal": (lambda text: Ehlo(domain=text), "[IPv6:::1]", lambda said: said.domain),
    "HELO": (lambda text: Helo(domain=text), "a.example", lambda said: said.domain),
    "LHLO": (lambda text: Lhlo(domain=text), "a.example", lambda said: said.domain),
    "AUTH": (lambda text: Auth(mechanism=text), "PLAIN", lambda said: said.mechanism),
    "MAIL": (
        lambda text: Mail(reverse_path=text, parameters={"SMTPUTF8": True}),
        "a.b@c.example",
        lambda said: said.reverse_path.with_route,
    ),
    "MAIL, quoted": (
        lambda text: Mail(reverse_path=text, parameters={"SMTPUTF8": True}),
        '"ab"@c.example',
        lambda said: said.reverse_path.with_route,
    ),
    "MAIL, a name": (lambda text: _mail(**{text: "x"}), "FOO", lambda said: next(iter(said.parameters))),
    "MAIL, a value": (lambda text: _mail(FOO=text), "ab", lambda said: said.parameters["FOO"]),
    "ENVID": (lambda text: _mail(ENVID=text), "ab", lambda said: said.parameters["ENVID"]),
    "AUTH=": (lambda text: _mail(AUTH=text), "a@b", lambda said: said.parameters["AUTH"]),
    "BODY": (lambda text: _mail(BODY=text), "8BITMIME", lambda said: said.parameters["BODY"]),
    "RET": (lambda text: _mail(RET=text), "HDRS", lambda said: said.parameters["RET"]),
    "RCPT": (
        lambda text: Rcpt(forward_path=text, parameters={"NOTIFY": ("NEVER",)}),
        "a.b@c.example",
        lambda said: said.forward_path.with_route,
    ),
    "RCPT, routed": (
        lambda text: Rcpt(forward_path=text, parameters={"NOTIFY": ("NEVER",)}),
        "@a.example:b@c",
        lambda said: said.forward_path.with_route,
    ),
    "NOTIFY": (
        lambda text: _rcpt(NOTIFY=("SUCCESS", text)),
        "DELAY",
        lambda said: said.parameters["NOTIFY"][1],
    ),
    "ORCPT": (
        lambda text: _rcpt(ORCPT=("rfc822", text)),
        "a@b",
        lambda said: said.parameters["ORCPT"].address,
    ),
    "ORCPT, utf-8": (
        lambda text: _rcpt(ORCPT=("utf-8", text)),
        "a@b",
        lambda said: said.parameters["ORCPT"].address,
    ),
    "ORCPT, its type": (
        lambda text: _rcpt(ORCPT=(text, "a@b")),
        "rfc822",
        lambda said: said.parameters["ORCPT"].type,
    ),
    "VRFY": (
        lambda text: Vrfy(argument=text, smtputf8=not text.isascii()),
        "ab",
        lambda said: said.argument,
    ),
    "EXPN": (
        lambda text: Expn(argument=text, smtputf8=not text.isascii()),
        "ab",
        lambda said: said.argument,
    ),
    "ETRN": (lambda text: Etrn(node=text), "a.example", lambda said: said.node),
    "XCLIENT": (
        lambda text: XClient(attributes={"NAME": text}),
        "a b",
        lambda said: said.attributes["NAME"],
    ),
    "XFORWARD name": (
        lambda text: XForward(attributes={text: "x"}),
        "NAME",
        lambda said: next(iter(said.attributes)),
    ),
    "HELP": (lambda text: Help(argument=text), "ab", lambda said: said.argument),
    "NOOP": (lambda text: Noop(argument=text), "ab", lambda said: said.argument),
    "a verb": (lambda text: UnknownCommand(name=text), "XFOO", lambda said: said.name),
    "its argument": (
        lambda text: UnknownCommand(name="XFOO", argument=text),
        "ab",
        lambda said: said.argument,
    ),
}


@pytest.mark.parametrize("field", FIELDS_OF_COMMANDS)
def test_text_in_a_command_raises_or_is_one_line_that_says_it(field: str) -> None:
    build, valid, found = FIELDS_OF_COMMANDS[field]
    pairs: dict[Features, Pair] = {}
    taken = built(build, nasty(valid))
    assert valid in dict(taken)
    for text, command in taken:
        needed = offered_for(command)
        if needed not in pairs:
            pairs[needed] = ready_for(command)
        pair = pairs[needed]
        pair.client.send(command)
        wire = pair.client.data_to_send()
        assert re.fullmatch(rb"[^\0-\x1f\x7f]+\r\n", wire)
        assert feed(pair.server, wire) == [command]
        # Nothing of the text was lost, and nothing of it became something else.
        assert found(command).upper() == text.upper()
        if isinstance(command, Mail | Rcpt):
            assert len(command.parameters) == 1
        pair.say(Reply(code=550))


def test_a_size_is_digits_whatever_text_it_came_from() -> None:
    taken = built(lambda text: _mail(SIZE=text), nasty("17"))
    assert {int(text) for text, _ in taken} >= {17, 170, 107}
    for text, command in taken:
        assert re.fullmatch("[0-9]+", text)
        assert command.parameters["SIZE"] == int(text)


FIELDS_OF_REPLIES: dict[str, tuple[Callable[[str], Reply], str]] = {
    "a text": (lambda text: Reply(code=550, text=text), "ab"),
    "a line": (lambda text: Reply(code=550, lines=["first", text, "last"]), "ab"),
    "an enhanced code": (lambda text: Reply(code=550, enhanced=text, text="no"), "5.1.1"),
    "a text behind an enhanced code": (lambda text: Reply(code=550, enhanced="5.1.1", text=text), "5.1.2 no"),
    "a text with an enhanced code": (lambda text: Reply(code=550, lines=[text, "last"]), "5.1.2 no"),
    "a greeting's domain": (lambda text: Greeting(domain=text, text="ESMTP"), "a.example"),
    "a greeting's text": (lambda text: Greeting(domain="a.example", text=text), "ab"),
    "a greeting's line": (lambda text: Greeting(lines=["a.example", text]), "ab"),
    "a hello's domain": (lambda text: Hello(domain=text, text="hi", features=ALL_FEATURES), "a.example"),
    "a hello's text": (lambda text: Hello(domain="a.example", text=text), "ab"),
    "a hello's line": (lambda text: Hello(lines=["a.example", text]), "SIZE 5"),
    "a keyword": (lambda text: Hello(features=Features({text: ("a",)})), "FOO"),
    "a keyword's word": (lambda text: Hello(features=Features({"FOO": ("a", text)})), "b"),
}


@pytest.mark.parametrize("field", FIELDS_OF_REPLIES)
def test_text_in_a_reply_raises_or_stays_in_its_line(field: str) -> None:
    build, valid = FIELDS_OF_REPLIES[field]
    taken = built(build, nasty(valid))
    assert valid in dict(taken)
    pair = pair_in(State.READY)
    for _, said in taken:
        if isinstance(said, Greeting):
            pair = pair_in(State.GREETING)
        else:
            pair.client.send(Ehlo(domain="client.example"))
            pair.server_events()
        pair.server.send(said)
        wire = pair.server.data_to_send()
        *lines, nothing = wire.split(b"\r\n")
        assert nothing == b""
        assert not re.search(rb"[\r\n\0]", b"".join(lines))
        separators = [b"-"] * (len(said.lines) - 1) + [b" "]
        assert [line[:4] for line in lines] == [b"%d%b" % (said.code, last) for last in separators]
        assert feed(pair.client, wire) == [said]
        if isinstance(said, Hello):
            assert pair.client.features == said.features


@given(data=st.data(), text=st.text(max_size=6))
@settings(max_examples=150)
def test_any_text_at_all_raises_or_makes_a_message(data: st.DataObject, text: str) -> None:
    build, *_ = data.draw(st.sampled_from([*FIELDS_OF_COMMANDS.values(), *FIELDS_OF_REPLIES.values()]))
    for _, message in built(build, [text]):
        assert pickle.loads(pickle.dumps(message)) == message


@every(
    "build",
    [
        # A value of the wrong type is no value.
        lambda: _mail(SMTPUTF8="yes"),
        lambda: _mail(SMTPUTF8=False),
        lambda: _mail(SIZE=-1),
        lambda: _mail(SIZE=1.5),
        lambda: _mail(SIZE=True),
        lambda: _mail(SIZE=10**20),
        lambda: _mail(ENVID=5),
        lambda: _mail(ENVID=""),
        lambda: _mail(FOO=None),
        lambda: _mail(FOO=("a",)),
        lambda: _mail(NOTIFY=("NEVER",)),
        lambda: _rcpt(NOTIFY=5),
        lambda: _rcpt(NOTIFY=()),
        lambda: _rcpt(NOTIFY=("NEVER", "DELAY")),
        lambda: _rcpt(NOTIFY=("DELAY", "DELAY")),
        lambda: _rcpt(ORCPT="rfc822;a@b"),
        lambda: _mail(FOO="a", foo="b"),
        # Codes decide what a reply is; none is outside of 200 to 599.
        lambda: Reply(code=199),
        lambda: Reply(code=600),
        lambda: Reply(code=250, enhanced="5.0.0"),
        lambda: Reply(code=354, enhanced="3.0.0"),
        lambda: Reply(code=250, lines=[]),
        lambda: Reply(code=250, text="a", lines=["a"]),
        lambda: Reply(code=250, lines="abc"),
        lambda: Greeting(code=221),
        lambda: Greeting(domain="a", lines=["a"]),
        lambda: Greeting(lines="abc"),
        lambda: Hello(code=300),
        lambda: Hello(domain="a", lines=["a"]),
        lambda: Hello(features=ALL_FEATURES, lines=["a"]),
        lambda: Hello(lines="abc"),
        lambda: Bdat(size=-1),
        lambda: Bdat(size=10**20),
        lambda: Bdat(size=10**5000),
        lambda: Bdat(size=1.5),  # type: ignore[arg-type]
        lambda: Reply(code=10**5000),
        lambda: Mail(reverse_path="postmaster"),
        lambda: Rcpt(forward_path=""),
        lambda: UnknownCommand(name="noop"),
    ],
)
def test_what_is_no_message_cannot_be_built(build: Callable[[], object]) -> None:
    with pytest.raises(LocalProtocolError):
        build()


# Messages are values


@st.composite
def malformed(draw: st.DrawFn) -> MalformedCommand:
    return MalformedCommand(line=draw(st.binary(max_size=8)), reply=draw(refusals()))


MESSAGES = commands() | replies() | greetings() | hellos() | challenges() | malformed()


@given(message=MESSAGES)
@settings(max_examples=80)
def test_a_message_is_equal_to_its_copies(message: Any) -> None:
    for copied in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert type(copied) is type(message)
        assert copied == message
        assert hash(copied) == hash(message)
        assert repr(copied) == repr(message)
        assert str(copied) == str(message)
        if isinstance(message, Mail | Rcpt):
            assert path_of(copied) == path_of(message)
    assert message != repr(message)


@given(one=MESSAGES, other=MESSAGES)
@settings(max_examples=60)
def test_two_messages_are_equal_if_their_class_and_all_that_they_show_is(one: Any, other: Any) -> None:
    assume(not isinstance(one, Auth | AuthResponse | AuthChallenge | MessageData))
    assert (one == other) is (repr(one) == repr(other))
    assert (one != other) is not (one == other)


@every(
    ("one", "other"),
    [
        (Vrfy(argument="a"), Expn(argument="a")),
        (Data(), Rset()),
        (Auth(mechanism="A"), Auth(mechanism="A", initial_response=b"")),
        (AuthResponse(data=b""), AuthResponse(data=None)),
        (AuthChallenge(data=b"a"), AuthChallenge(data=b"b")),
        (MessageData(data=b"a"), MessageData(data=b"b")),
        (Reply(code=250, text="a"), Reply(code=251, text="a")),
        (Reply(code=250, text="2.0.0 a"), Reply(code=250, text="a")),
        (Greeting(domain="a"), Reply(code=220, text="a")),
        (_mail(SIZE=1), _mail(SIZE=2)),
    ],
)
def test_these_messages_differ(one: object, other: object) -> None:
    assert one != other


def test_what_only_the_receiver_adds_is_no_part_of_the_value() -> None:
    refusal = Reply(code=552)
    assert Bdat(size=5, refusal=refusal) == Bdat(size=5)
    assert EndOfMessage(refusal=refusal, nul=True, long_lines=True) == EndOfMessage()
    pair = pair_in(State.READY)
    assert pair.ask(Noop(), Reply(code=250)).to == Noop()
    assert pair.ask(Noop(), Reply(code=250)) == Reply(code=250)


@given(message=MESSAGES)
@settings(max_examples=50)
def test_a_message_cannot_change(message: Any) -> None:
    slots = [slot for cls in type(message).__mro__ for slot in getattr(cls, "__slots__", ())]
    assert all(slot.startswith("_") for slot in slots)
    for name in [name for name in dir(message) if not name.startswith("_")] + ["something_else"]:
        with pytest.raises(AttributeError):
            setattr(message, name, None)
        with pytest.raises(AttributeError):
            delattr(message, name)
    assert not hasattr(message, "__dict__")


def test_what_messages_are_made_of_cannot_change_either() -> None:
    path = Path("@relay.example:a@b.example")
    assert type(path.domain) is str
    parameters = _mail(SIZE=1).parameters
    for thing in (path, parameters, ALL_FEATURES):
        for name in [name for name in dir(thing) if not name.startswith("_")] + ["something_else"]:
            with pytest.raises(AttributeError):
                setattr(thing, name, "evil.example")
    changes: list[Callable[[Any], object]] = [
        lambda mapping: mapping.__setitem__("SIZE", ("5",)),
        lambda mapping: mapping.__delitem__("SIZE"),
        lambda mapping: mapping.__ior__({"SIZE": ("5",)}),
        lambda mapping: mapping.update(SIZE=("5",)),
        lambda mapping: mapping.setdefault("FOO", ()),
        lambda mapping: mapping.pop("SIZE"),
        lambda mapping: mapping.popitem(),
        lambda mapping: mapping.clear(),
    ]
    for mapping in (parameters, ALL_FEATURES):
        before = repr(mapping)
        for change in changes:
            with pytest.raises((TypeError, AttributeError)):
                change(mapping)
        assert repr(mapping) == before
        for copied in (copy.copy(mapping), copy.deepcopy(mapping), pickle.loads(pickle.dumps(mapping))):
            assert (copied, type(copied), hash(copied)) == (mapping, type(mapping), hash(mapping))


@every(
    "kind",
    [*COMMANDS, MalformedCommand, Reply, Greeting, Hello, AuthChallenge],
    ids=lambda kind: kind.__name__,
)
def test_the_fields_of_a_message_have_names(kind: Any) -> None:
    with pytest.raises(TypeError):
        kind("positional")
    assert getattr(smtp_proto, kind.__name__) is kind


def test_repr_shows_the_fields_and_not_the_body() -> None:
    assert repr(Vrfy(argument="a b")) == "Vrfy(argument='a b', smtputf8=False)"
    assert repr(Data()) == "Data()"
    assert repr(MessageData(data=b"Subject: private")) == "MessageData(data=<16 octets>)"
    assert repr(_mail(SIZE=5)) == "Mail(reverse_path='a@b.example', parameters={'SIZE': 5})"
    assert repr(Reply(code=250, text="2.0.0 a")) == "Reply(code=250, lines=('a',), enhanced='2.0.0')"


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(code=250), "250"),
        (Reply(code=250, text="2.1.5 fine"), "250 2.1.5 fine"),
        (Reply(code=550, lines=["no", "such user"]), "550 no / such user"),
    ],
)
def test_str_of_a_reply_is_one_line(reply: Reply, text: str) -> None:
    assert str(reply) == text


@pytest.mark.parametrize(
    ("wire", "raw"),
    [
        (b"550\r\n", b""),
        (b"550 5.1.1 no\r\n", b"5.1.1 no"),
        (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", b"5.1.1 no\n5.1.1 such user"),
        (b"550-no such\r\n550 5.1.1 user\xff\r\n", b"no such\n5.1.1 user\xff"),
    ],
)
def test_the_text_of_a_reply_is_also_there_as_it_came(wire: bytes, raw: bytes) -> None:
    client = ClientConnection(features=Features())
    client.send(Mail(reverse_path=""))
    [reply] = feed(client, wire)
    assert reply.raw_text == raw
    assert reply.enhanced == ("5.1.1" if b"5.1.1" in raw else None)
    assert reply.raw_text == raw


def test_the_text_of_a_reply_that_was_built_is_there_as_it_is_sent() -> None:
    assert Reply(code=550, enhanced="5.1.1", lines=["no", "w\xe4y"]).raw_text == b"5.1.1 no\n5.1.1 w\xc3\xa4y"
    assert Reply(code=250, text="ok").raw_text == b"ok"
    assert Greeting(domain="mx.example").raw_text == b"mx.example"


def test_the_first_digit_says_what_a_reply_means() -> None:
    for code in range(200, 600):
        reply = Reply(code=code)
        kinds = (reply.is_positive, reply.is_transient, reply.is_permanent)
        assert kinds == (code // 100 == 2, code // 100 == 4, code // 100 == 5)


# Secrets


@given(secret=st.binary(min_size=9, max_size=40))
@settings(max_examples=30)
def test_a_secret_is_shown_by_no_repr_and_no_error(secret: bytes) -> None:
    encoded = b64encode(secret)
    shown: list[object] = []

    # In a message, whatever it is made of.
    for holder in (bytes, bytearray, bytes.hex):
        shown += [Auth(mechanism="X", initial_response=holder(secret)), AuthResponse(data=holder(secret))]
    shown.append(AuthChallenge(data=secret))

    # Said at the wrong time.
    for state in State:
        pair = pair_in(state)
        for message in (Auth(mechanism="X", initial_response=secret), AuthResponse(data=secret)):
            try:
                pair.client.send(message)
            except LocalProtocolError as exc:
                shown.append(exc)
        if state is not State.AUTH:
            with pytest.raises(LocalProtocolError) as caught:
                pair.server.send(AuthChallenge(data=secret))
            shown.append(caught.value)

    # Malformed, in an AUTH command and in a response.
    for line in (b"PLAIN %b!", b" PLAIN %b %b", b"PLAIN\t%b", b"%b=", b"PLAIN =%b", b"PLAIN " + b"%b" * 2000):
        server = pair_in(State.READY).server
        shown += feed(server, b"auth " + line.replace(b"%b", encoded) + b"\r\n")
    for line in (encoded + b"!", b" " + encoded, encoded * 2000):
        server = pair_in(State.AUTH).server
        shown += feed(server, line + b"\r\n")

    assert len(shown) > 30
    for thing in shown:
        text = f"{thing!r} {thing}"
        assert encoded.decode()[:8] not in text
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text


# Errors


def test_errors_say_what_went_wrong() -> None:
    pair = pair_in(State.READY)
    refused = Refused(pair.ask(Vrfy(argument="a"), Reply(code=550, text="5.1.1 no")))
    assert (str(refused), refused.command) == ("Vrfy was refused: 550 5.1.1 no", Vrfy(argument="a"))
    greeting = Refused(pair_in(State.GREETING).say(Reply(code=554, text="go away")))
    assert (str(greeting), greeting.command) == ("the connection was refused: 554 go away", None)

    missing = NotOffered("CHUNKING", "BINARYMIME needs it")
    assert str(missing) == "the server does not offer CHUNKING: BINARYMIME needs it"
    assert missing.keyword == "CHUNKING"

    late = TimedOut(Timer.DATA_INIT, 120.0)
    assert str(late) == "DATA_INIT: nothing came within 120 seconds"
    assert (late.timer, late.seconds) == (Timer.DATA_INIT, 120.0)
    assert isinstance(late, TimeoutError)

    lost = ConnectionLost("gone", sending=True)
    assert (str(lost), lost.result, lost.sending) == ("gone", None, True)

    for error in (refused, missing, late, lost, RemoteProtocolError("x"), LocalProtocolError("x")):
        assert isinstance(error, SMTPError)
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)


@given(
    octets=st.binary(max_size=30) | st.text("\r\n 25-0EHLOx.\0", max_size=30).map(str.encode),
    eof=st.booleans(),
)
@settings(max_examples=60)
def test_nothing_that_a_peer_sends_raises_another_error(octets: bytes, eof: bool) -> None:
    for state in (State.GREETING, State.READY, State.AUTH, State.DATA, State.CHUNK, State.TLS):
        pair = pair_in(state)
        for conn in (pair.client, pair.server):
            conn.receive_data(octets)
            if eof:
                conn.receive_data(b"")
            error: Any = None
            try:
                drain(conn)
            except RemoteProtocolError as exc:
                error = exc
            if error is not None:
                assert (error.reply.code, error.reply.enhanced) == (error.code, error.enhanced)
                assert isinstance(error.__cause__, ProtocolError)


def test_a_server_calls_itself_by_the_first_word() -> None:
    for reply in (
        Greeting(domain="mx.example", text="ESMTP ready"),
        Greeting(lines=["mx.example ESMTP", "no spam"]),
        Hello(domain="mx.example", text="hi", features=ALL_FEATURES),
        Hello(lines=["mx.example hi", "SIZE"]),
    ):
        assert reply.domain == "mx.example"
    assert (Greeting().domain, Hello().domain) == ("", "")


def test_parameters_are_those_of_their_message() -> None:
    assert isinstance(_mail(size=5).parameters, Parameters)
    assert dict(_mail(size=5, body="8bitmime").parameters) == {"SIZE": 5, "BODY": "8BITMIME"}
    assert _rcpt(ORCPT=("RFC822", "a@b")).parameters["ORCPT"] == OriginalRecipient("rfc822", "a@b")
    again = _mail(SIZE=5).parameters
    assert Mail(reverse_path="", parameters=again).parameters is again


def test_errors_can_be_sent_to_another_process() -> None:
    refusal = Reply(code=550, text="no")
    refusal._to = Noop()
    errors: list[SMTPError] = [
        Refused(refusal),
        NotOffered("DSN", "it is needed"),
        TimedOut(Timer.MAIL, 0.5),
        ConnectionLost("gone", sending=True),
        LocalProtocolError("no", code=555),
        RemoteProtocolError("no", reply=refusal, command=Noop()),
    ]
    for error in errors:
        twin = pickle.loads(pickle.dumps(error))
        assert (type(twin), str(twin), twin.__dict__) == (type(error), str(error), error.__dict__)
