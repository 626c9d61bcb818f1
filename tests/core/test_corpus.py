"""The vectors of tests/corpus that need no more than a connection.

The promise: every `must` and every `should` holds, and of an `either` nothing happens but what it
lists; for every way to feed, with equal results. Where a vector recommends one of two answers, or
prefers some reply codes of a class, the library follows. Dialogues, and the fallback to HELO, belong to
the operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import pytest
from helpers import ALL_FEATURES, every
from vectors import COMMON, COUNTS, Vector, latin1, load, octets, ways

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
    OriginalRecipient,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    Signal,
    StartTLS,
    State,
    UnknownCommand,
    Vrfy,
)

# Vectors of level `should` that the library decides against, each with its reason. That it still does is
# part of the test.
DIFFERENT = {
    "E.seq.auth-layer": "no mechanism here negotiates a security layer, and without one the list stays valid",
}


class Kind(NamedTuple):
    """One kind of vectors: in which file, how many, and the keys that its runner looks at."""

    file: str
    belongs: Callable[[Vector], bool]
    count: int
    keys: str = ""
    expect: str = ""


KINDS = {
    "reply": Kind(
        "replies",
        lambda v: True,
        139,
        "wire context eof expect",
        "ok error incomplete either accept also code enhanced enhanced_any lines line_count then",
    ),
    "hello": Kind(
        "ehlo",
        lambda v: v["type"] == "parse",
        32,
        "type cmd wire expect "
        "features_any features_dedup_ok features_superset_ok forbid_features feature_count size_any",
        "ok either accept also code features auth size size_advertised domain limits",
    ),
    "hello sequence": Kind(
        "ehlo",
        lambda v: v["type"] == "sequence",
        5,
        "type steps expect",
        "features auth size must_not_send tls",
    ),
    "command": Kind(
        "commands",
        lambda v: True,
        241,
        "config setup wire expect reply_codes hangup_ok may_close closes no_reply_yet allow_incomplete "
        "then_ok forbid_decoded_control",
        "verb domain arg reverse_path forward_path local route params decoded size last mechanism initial "
        "then either accept reject recommend error_reply_class codes class_any",
    ),
    "decode": Kind(
        "data",
        lambda v: v["direction"] == "decode",
        74,
        "direction mode config lmtp recipients same_recipient input eof eod consumed output output_any "
        "either reject abort_ok forbid_commands must_not_deliver reply_codes replies replies_any "
        "final_replies",
    ),
    "encode": Kind(
        "data",
        lambda v: v["direction"] == "encode",
        29,
        "direction mode input chunks output output_any either reject_ok replace_ok forbid",
    ),
    "output": Kind(
        "output",
        lambda v: True,
        69,
        "role op args ext error_ok expect",
        "wire wire_any error either accept",
    ),
    # Run by the tests of the operations.
    "hello fallback": Kind("ehlo", lambda v: v["type"] == "fallback", 8),
    "dialogue": Kind("dialogues", lambda v: True, 138),
}


def vectors(kind: str) -> list[Vector]:
    return [vector for vector in load(KINDS[kind].file) if KINDS[kind].belongs(vector)]


def each(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run the test once for each vector of this kind."""

    def parameter(vector: Vector) -> Any:
        reason = DIFFERENT.get(vector["id"])
        marks = [pytest.mark.xfail(reason=reason, raises=AssertionError, strict=True)] if reason else []
        return pytest.param(vector, id=vector["id"], marks=marks)

    return every("vector", [parameter(vector) for vector in vectors(kind)])


def test_no_vector_is_left_out():
    assert {file: len(load(file)) for file in COUNTS} == COUNTS
    assert sum(COUNTS.values()) == 735
    assert {name: len(vectors(name)) for name in KINDS} == {name: kind.count for name, kind in KINDS.items()}
    claimed = Counter(vector["id"] for name in KINDS for vector in vectors(name))
    assert claimed == Counter(vector["id"] for file in COUNTS for vector in load(file))
    assert set(claimed.values()) == {1}


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.keys])
def test_every_key_is_one_that_the_runner_looks_at(name):
    kind = KINDS[name]
    for vector in vectors(name):
        assert set(vector) <= COMMON | set(kind.keys.split()), vector["id"]
        expect = vector.get("expect", {})
        branches = [
            expect,
            *(expect[key] for key in ("accept", "reject") if isinstance(expect.get(key), dict)),
        ]
        branches += [then for then in expect.get("then", ()) if isinstance(then, dict)]
        for branch in branches:
            assert set(branch) <= set(kind.expect.split()), vector["id"]


def test_only_recommendations_are_decided_against():
    levels = {vector["id"]: vector["level"] for name in KINDS for vector in vectors(name)}
    assert {levels[name] for name in DIFFERENT} <= {"should"}


def same(results: Iterable[Any]) -> Any:
    """The one result that all ways to feed have given."""
    first, *others = results
    for other in others:
        assert other == first
    return first


# Replies, as a client hears them ---------------------------------------------------------------------


class Heard(NamedTuple):
    """What a client made of its input: replies, and how it ended."""

    replies: list[Reply]
    end: str
    """"incomplete" if it waits for more, "closed", or "error"."""
    error: str | None = None

    @property
    def outcome(self) -> str:
        """In the terms of the vectors: "ok" if there was a reply, or how it ended without one."""
        return "ok" if self.replies else self.end


def hear(conn: ClientConnection, given: Iterable[bytes]) -> Heard:
    """What `conn` makes of these pieces of input."""
    replies: list[Reply] = []
    rest = iter(given)
    while True:
        try:
            event = conn.next_event()
        except RemoteProtocolError as exc:
            return Heard(replies, "error", str(exc))
        if event is NEED_DATA:
            piece = next(rest, None)
            if piece is None:
                return Heard(replies, "incomplete")
            conn.receive_data(piece)
        elif isinstance(event, Signal):
            return Heard(replies, "closed")
        else:
            replies.append(event)


def allowed(expect: Vector) -> set[str]:
    """The outcomes that a vector allows."""
    named = {outcome for outcome in ("ok", "error", "incomplete") if expect.get(outcome)}
    return {"ok", *expect["also"]} if expect.get("either") else named


def ask(conn: ClientConnection, command: Command, answer: bytes) -> Reply:
    """Say `command` and have it answered."""
    conn.send(command)
    conn.data_to_send()
    conn.receive_data(answer)
    event = conn.next_event()
    assert isinstance(event, Reply)
    return event


def greeted(**options: Any) -> ClientConnection:
    conn = ClientConnection(**options)
    conn.receive_data(b"220 mx.example\r\n")
    assert isinstance(conn.next_event(), Greeting)
    return conn


def ready(features: Features = ALL_FEATURES, **options: Any) -> ClientConnection:
    conn = greeted(**options)
    lines = "".join(f"250-{line}\r\n" for line in ("mx.example", *features.lines))
    ask(conn, Ehlo(domain="client.example"), lines.encode("ascii") + b"250 X-A\r\n")
    return conn


def with_recipient(features: Features = ALL_FEATURES, **options: Any) -> ClientConnection:
    conn = ready(features, **options)
    utf8 = {"SMTPUTF8": True} if "SMTPUTF8" in features else {}
    ask(conn, Mail(reverse_path="s@x.example", parameters=utf8), b"250 ok\r\n")
    ask(conn, Rcpt(forward_path="r@y.example"), b"250 ok\r\n")
    return conn


def authenticating(features: Features = ALL_FEATURES) -> ClientConnection:
    conn = ready(features)
    ask(conn, Auth(mechanism="PLAIN"), b"334 \r\n")
    return conn


def awaiting(codes: list[int], context: str | None) -> ClientConnection:
    """A client that has said what replies with these codes can answer."""
    if context == "greeting":
        return ClientConnection()
    if codes == [334]:
        conn = ready()
        conn.send(Auth(mechanism="PLAIN"))
        return conn
    conn = with_recipient()
    for _ in codes[:-1]:
        conn.send(Rcpt(forward_path="r@y.example"))
    last: dict[int, Command] = {354: Data(), 221: Quit()}
    conn.send(last.get(codes[-1], Noop()) if codes else Noop())
    return conn


def check_reply(reply: Reply, expect: Vector) -> None:
    assert reply.code == expect["code"]
    assert reply.enhanced in (expect["enhanced"], *expect.get("enhanced_any", ()))
    if "line_count" in expect:
        assert len(reply.lines) == expect["line_count"]
        return
    assert len(reply.lines) == len(expect["lines"])
    for line, raw in zip(reply.lines, expect["lines"], strict=True):
        text = latin1(line)
        assert raw.strip(" \r") in (text.strip(" \r"), f"{reply.enhanced} {text}".strip(" \r"))


@each("reply")
def test_a_reply_is_read_as_its_vector_says(vector):
    expect = vector["expect"]
    accepted = expect.get("accept", expect)
    wanted = [accepted, *expect.get("then", ())] if "code" in accepted else []
    codes = [reply["code"] for reply in wanted]
    eof = [b""] if vector.get("eof") else []
    wire = octets(vector["wire"])
    splits = vector.get("splits", ())
    if vector["split_note"] == "one octet at a time":  # however long it is
        splits = range(len(wire))
    heard = same(hear(awaiting(codes, vector.get("context")), [*given, *eof]) for given in ways(wire, splits))
    assert heard.outcome in allowed(expect)
    if heard.outcome != "ok":
        return
    assert len(heard.replies) == len(wanted)
    for reply, parse in zip(heard.replies, wanted, strict=True):
        check_reply(reply, parse)
    assert heard.end == ("closed" if eof or codes[-1] in (221, 421) else "incomplete")


# What a server offers --------------------------------------------------------------------------------

HELLOS: dict[str, type[Ehlo | Helo]] = {"EHLO": Ehlo, "HELO": Helo}


def check_features(vector: Vector, expect: Vector, features: Features) -> None:
    offered = {keyword: list(words) for keyword, words in features.items()}
    wanted = dict(expect["features"])
    if vector.get("features_dedup_ok"):
        wanted, offered = (
            {keyword: list(dict.fromkeys(words)) for keyword, words in features.items()}
            for features in (wanted, offered)
        )
    assert not set(vector.get("forbid_features", ())) & set(offered)
    if vector.get("features_superset_ok"):
        assert offered.items() >= wanted.items()
    elif not vector.get("features_any"):
        assert offered == wanted
    assert len(offered) == vector.get("feature_count", len(offered))
    assert list(features.auth) == expect["auth"]
    assert features.size in vector.get("size_any", [expect["size"]])
    if not vector.get("features_any"):
        assert ("SIZE" in features) is expect.get("size_advertised", "SIZE" in wanted)
    if "limits" in expect:
        assert features.limits == expect["limits"]


@each("hello")
def test_what_a_server_offers_is_read_as_its_vector_says(vector):
    def run(given: Iterable[bytes]) -> tuple[Heard, Features]:
        conn = greeted()
        conn.send(HELLOS[vector["cmd"]](domain="client.example"))
        return hear(conn, given), conn.features

    heard, features = same(run(given) for given in ways(octets(vector["wire"]), vector.get("splits", ())))
    expect = vector["expect"]
    accepted = expect.get("accept", expect)
    assert heard.outcome in allowed(expect)
    if heard.outcome != "ok":
        return
    (reply,) = heard.replies
    assert heard.end == "incomplete"
    assert reply.is_positive
    assert reply.code == accepted["code"]
    if isinstance(reply, Hello):
        assert reply.features == features
        assert reply.domain == accepted.get("domain", reply.domain)
    if features or "ignore-line" not in expect.get("also", ()):
        check_features(vector, accepted, features)


def take_step(conn: ClientConnection, step: Vector, cut: bool) -> None:
    """One step of a sequence of greetings, STARTTLS and AUTH; `cut`: the answer comes octet by octet."""
    (verb, answer), *more = step.items()
    assert dict(more) in ({}, {"security_layer": True})
    says: dict[str, Command] = {
        "ehlo": Ehlo(domain="client.example"),
        "helo": Helo(domain="client.example"),
        "starttls": StartTLS(),
        "auth": Auth(mechanism="PLAIN", initial_response=b"\0u\0p"),
    }
    wire = octets(answer) if isinstance(answer, str) else b"%d ok\r\n" % answer
    conn.send(says[verb])
    heard = hear(conn, ways(wire)[-1] if cut else [wire])
    assert len(heard.replies) == 1
    if verb == "starttls" and heard.replies[0].code == 220:
        conn.tls_started()


@each("hello sequence")
def test_what_a_server_offers_is_forgotten_as_its_vector_says(vector):
    expect = vector["expect"]
    for cut in (False, True):
        conn = greeted()
        for step in vector["steps"]:
            take_step(conn, step, cut)
        conn.data_to_send()
        check_features(vector, expect, conn.features)
        assert conn.tls is expect.get("tls", conn.tls)
        for verb in expect.get("must_not_send", ()):
            with pytest.raises(LocalProtocolError):
                conn.send({"STARTTLS": StartTLS()}[verb])
            assert conn.data_to_send() == b""


# Commands and messages, as a server takes them -------------------------------------------------------


class Application:
    """A server application that takes whatever it may, and keeps what it was given.

    What the connection leaves to applications: it knows AUTH PLAIN and the user `u` with the password
    `p`, refuses commands that nobody knows, and closes when the client breaks the protocol.
    """

    ANSWERS: ClassVar[dict[type[Command], Reply]] = {
        StartTLS: Reply(code=220, text="go"),
        Data: Reply(code=354, text="go"),
        Vrfy: Reply(code=252, text="maybe"),
        Expn: Reply(code=252, text="maybe"),
        Help: Reply(code=214, text="see RFC 5321"),
        Quit: Reply(code=221, text="bye"),
        UnknownCommand: Reply(code=500, text="what"),
    }

    def __init__(self, conn: ServerConnection, features: Features = ALL_FEATURES) -> None:
        self.conn = conn
        self.features = features
        self.fed = 0
        self.ended_at: int | None = None
        self._asked: Command | None = None
        self.forget()
        conn.send(Greeting(domain="mx.example"))

    def forget(self) -> None:
        """Begin to keep afresh."""
        self.commands: list[Command] = []
        self.codes: list[int] = []
        self.content = b""
        self.end = ""
        self.error: str | None = None

    def seen(self) -> tuple[Any, ...]:
        """All that must not depend on how the input was cut."""
        notes = [(end.long_lines, end.nul) for end in self.commands if isinstance(end, EndOfMessage)]
        return self.commands, self.codes, self.content, self.end, self.error, notes

    def say(self, line: str) -> None:
        """A line of the client's that must be accepted."""
        self.feed([octets(line) + b"\r\n"])
        assert self.end == "waiting", line
        assert self.codes[-1] < 400, line

    def feed(self, given: Iterable[bytes]) -> None:
        """Take these pieces of input, and answer as far as they go."""
        try:
            self._run(iter(given))
        except RemoteProtocolError as exc:
            self.end, self.error = "error", str(exc)
            self._answer(exc.reply)

    def _run(self, rest: Iterator[bytes]) -> None:
        while True:
            event = self.conn.next_event()
            if event is NEED_DATA:
                piece = next(rest, None)
                if piece is None:
                    self.end = "waiting"
                    return
                self.fed += len(piece)
                self.conn.receive_data(piece)
            elif event is CLOSED or self.conn.state is State.TLS:
                self.end = "closed"
                return
            elif event is PAUSED:
                assert self._asked is not None
                self._answer(self._decide(self._asked))
            else:
                assert isinstance(event, Command)
                self._keep(event)

    def _keep(self, event: Command) -> None:
        if isinstance(event, MessageData):
            self.content += event.data
            return
        if isinstance(event, EndOfMessage):
            self.ended_at = self.fed
        self.commands.append(event)
        self._asked = event

    def _answer(self, reply: Reply | None) -> None:
        assert reply is not None
        self.conn.send(reply)
        self.codes.append(reply.code)

    def _decide(self, command: Command) -> Reply:
        if isinstance(command, MalformedCommand):
            return command.reply
        if isinstance(command, Bdat | EndOfMessage) and command.refusal is not None:
            return command.refusal
        if isinstance(command, Ehlo | Lhlo):
            return Hello(domain="mx.example", features=self.features)
        if isinstance(command, Auth):
            return self._authenticate(command)
        return self.ANSWERS.get(type(command), Reply(code=250, text="ok"))

    def _authenticate(self, command: Auth) -> Reply:
        if command.mechanism != "PLAIN":
            return Reply(code=504, text="no such mechanism")
        if command.initial_response == b"\0u\0p":
            return Reply(code=235, text="welcome")
        return Reply(code=535, text="who are you")


def session(setup: list[str], config: Vector) -> Application:
    """A session as `config` says, in which the lines of `setup` were accepted."""
    config = {
        "lmtp": False,
        "tls": True,
        "authenticated": True,
        "starttls_offered": False,
        "smtputf8": True,
        "binarymime": True,
        "requiretls": True,
        **config,
    }
    known = {"lmtp", "tls", "authenticated", "starttls_offered", "smtputf8", "binarymime", "requiretls"}
    assert set(config) == known
    offered = {
        "PIPELINING": (),
        "SIZE": ("10485760",),
        "8BITMIME": (),
        "CHUNKING": (),
        "DSN": (),
        "AUTH": ("PLAIN",),
    }
    switches = {
        "smtputf8": "SMTPUTF8",
        "binarymime": "BINARYMIME",
        "requiretls": "REQUIRETLS",
        "starttls_offered": "STARTTLS",
    }
    offered |= {keyword: () for switch, keyword in switches.items() if config[switch]}
    conn = ServerConnection(lmtp=config["lmtp"], tls=config["tls"], limits=Limits(message_size=10485760))
    application = Application(conn, Features(offered))
    application.feed([])
    for number, line in enumerate(setup):
        application.say(line)
        if number == 0 and config["authenticated"] and line.startswith("EHLO"):
            application.say("AUTH PLAIN AHUAcA==")
    application.forget()
    return application


def typed(name: str, raw: str | bool, decoded: Any) -> Any:
    """The value that `Mail` or `Rcpt` has for a parameter of a vector."""
    if name == "SIZE":
        return int(raw)
    if name == "ORCPT":
        return OriginalRecipient(decoded["type"], decoded["address"])
    if name == "AUTH":
        return "" if decoded == "<>" else decoded
    if name == "NOTIFY":
        return tuple(str(raw).upper().split(","))
    if name in ("BODY", "RET"):
        return str(raw).upper()
    return raw if decoded is None else decoded


def check_path(event: Mail | Rcpt, expect: Vector) -> None:
    key = "reverse_path" if isinstance(event, Mail) else "forward_path"
    path = event.reverse_path if isinstance(event, Mail) else event.forward_path
    assert latin1(path) == expect[key]
    assert latin1(path.local_part) == expect["local"]
    assert (None if path.domain is None else latin1(path.domain)) == expect["domain"]
    assert [latin1(host) for host in path.route] == expect["route"]
    decoded = expect.get("decoded", {})
    assert event.parameters == {
        name: typed(name, raw, decoded.get(name)) for name, raw in expect["params"].items()
    }


def check_command(event: Command, expect: Vector) -> None:
    assert event.verb == expect["verb"]
    if isinstance(event, Mail | Rcpt):
        check_path(event, expect)
        return
    fields = {
        "domain": "domain",
        "arg": "argument",
        "size": "size",
        "last": "last",
        "mechanism": "mechanism",
        "initial": "initial_response",
    }
    assert set(expect) <= {"verb", "then", *fields}
    for key, name in fields.items():
        value = getattr(event, name, None)
        assert (value.decode("latin-1") if isinstance(value, bytes) else value) == expect.get(key)


def check_rejection(vector: Vector, expect: Vector, application: Application) -> None:
    code = application.codes[0]
    if application.end == "error":
        assert vector.get("may_close") or vector.get("hangup_ok")
    if "bdat-desync" in vector.get("attack", ()):
        assert application.end == "error"  # what follows may be the chunk
    assert code // 100 in (expect["error_reply_class"], *expect.get("class_any", ()))
    assert code in (*expect["codes"], *((221, 421, 554) if vector.get("hangup_ok") else ()))


@each("command")
def test_a_command_is_taken_or_refused_as_its_vector_says(vector):
    seen = []
    for given in ways(octets(vector["wire"]), vector.get("splits", ())):
        application = session(vector["setup"], vector.get("config", {}))
        application.feed(given)
        seen.append(application.seen())
    same(seen)
    commands = application.commands
    expect = vector["expect"]
    recommended = expect.get("recommend")
    if not commands and application.end == "waiting":
        assert vector.get("allow_incomplete")
        return
    if application.codes and application.codes[0] >= 400:
        assert recommended != "accept"
        check_rejection(vector, expect.get("reject", expect), application)
        assert [command.verb for command in commands[1:]] in ([], vector.get("then_ok", []))
        return
    assert recommended != "reject"
    accepted = expect.get("accept", expect)
    check_command(commands[0], accepted)
    assert [command.verb for command in commands[1:]] == accepted.get("then", [])
    assert application.error is None
    assert application.end == (
        "closed" if vector.get("closes") or commands[0].verb == "STARTTLS" else "waiting"
    )
    if vector.get("no_reply_yet"):
        assert application.codes == []
    else:
        assert application.codes[0] in vector.get("reply_codes", application.codes)
    assert not vector.get("forbid_decoded_control")


def regular(content: bytes) -> bytes:
    """`content` with CRLF for every line end."""
    return b"\r\n".join(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))


def receiving(vector: Vector, line_ends: LineEnds) -> Application:
    """A server that waits for what the vector feeds."""
    config = vector.get("config", {})
    assert set(config) <= {"size"}
    lmtp = vector["mode"] == "lmtp" or vector.get("lmtp", False)
    limits = Limits(message_size=config.get("size"))
    application = Application(ServerConnection(lmtp=lmtp, line_ends=line_ends, limits=limits))
    application.say("LHLO client.example" if lmtp else "EHLO client.example")
    application.say("MAIL FROM:<s@x.example>")
    for number in range(vector.get("recipients", 1)):
        application.say(f"RCPT TO:<r{'' if vector.get('same_recipient') else number}@y.example>")
    if vector["mode"] != "bdat":
        application.say("DATA")
    application.forget()
    application.fed = 0
    return application


def check_message(vector: Vector, application: Application, codes: list[int]) -> None:
    """A message that has ended: accepted with the right content, or refused where that may be."""
    ends = [command for command in application.commands if isinstance(command, EndOfMessage)]
    assert len(ends) <= 1
    if not ends or ends[0].refusal is not None:
        assert vector.get("either") or vector.get("reject")
        assert codes[-1] >= 500
        return
    assert not vector.get("reject")
    assert not vector.get("must_not_deliver")
    verbatim = octets(vector["output"])
    outputs = [verbatim, *(octets(other) for other in vector.get("output_any", ()))]
    if vector.get("either"):
        outputs.append(regular(verbatim))
    assert application.content in outputs


def check_what_is_read(vector: Vector, application: Application, data: bytes) -> None:
    tail = data[vector["consumed"] :].split(b"\r\n")[:-1] if vector["eod"] else []
    behind = len(application.commands) - len(tail)
    assert [command.verb.encode() for command in application.commands[behind:]] == tail
    # Each command behind the message has one answer; in LMTP the message has several.
    codes = application.codes[: len(application.codes) - len(tail)]
    verbs = {command.verb for command in application.commands}
    assert not verbs & {line.split()[0] for line in vector.get("forbid_commands", ())}
    if "replies" in vector:
        assert codes in [vector["replies"], *vector.get("replies_any", ())]
    if application.end == "error":
        assert vector.get("abort_ok") or vector.get("eof") or codes in vector.get("replies_any", ())
    if vector["eod"]:
        check_message(vector, application, codes)
        assert set(codes) <= set(vector.get("reply_codes", codes))
        assert len(codes) == vector.get("final_replies", len(codes))
    else:
        assert application.ended_at is None


@each("decode")
def test_a_message_ends_where_its_vector_says_and_holds_what_it_says(vector):
    data = octets(vector["input"])
    eof = (b"",) if vector.get("eof") else ()
    given = ways(data, vector.get("splits", ()))
    if vector["eod"]:
        given += ways(data, (vector["consumed"] - 1, vector["consumed"]))

    for line_ends in LineEnds:
        seen = []
        for cut in dict.fromkeys(given):
            application = receiving(vector, line_ends)
            application.feed(cut + eof)
            check_what_is_read(vector, application, data)
            if application.ended_at is not None:
                reached = accumulate(len(piece) for piece in cut)
                assert application.ended_at == next(count for count in reached if count >= vector["consumed"])
            seen.append(application.seen())
            if vector["eod"] and application.end == "waiting":
                application.forget()
                application.say("NOOP in step")
                assert application.commands == [Noop(argument="in step")]
        same(seen)


# What is written -------------------------------------------------------------------------------------


def write(
    vector: Vector, chunks: Iterable[bytes], line_ends: LineEnds, size: int
) -> tuple[bytes, LocalProtocolError | None]:
    """What a client writes for a message in these chunks, and why it stopped."""
    conn = with_recipient(line_ends=line_ends)
    if vector["mode"] == "data":
        ask(conn, Data(), b"354 go\r\n")
    else:
        conn.send(Bdat(size=size, last=True))
    try:
        for chunk in chunks:
            conn.send(MessageData(data=chunk))
        conn.send(EndOfMessage())
    except LocalProtocolError as exc:
        return conn.data_to_send(), exc
    return conn.data_to_send(), None


@each("encode")
def test_a_message_is_written_as_its_vector_says(vector):
    data = octets(vector["input"])
    given = ways(data)
    if "chunks" in vector:
        given.append(tuple(octets(chunk) for chunk in vector["chunks"]))
        assert b"".join(given[-1]) == data
    outputs = [octets(output) for output in (vector["output"], *vector.get("output_any", ()))]
    assert set(vector["forbid"]) <= {"bare-lf", "bare-cr", "early-end"}

    for line_ends in (LineEnds.NORMALIZE, LineEnds.STRICT):
        results = [write(vector, chunks, line_ends, len(data)) for chunks in given]
        for written, refused in results:
            lines = b"\r\n" + written
            if "bare-lf" in vector["forbid"]:
                assert written.count(b"\n") == written.count(b"\r\n")
            if "bare-cr" in vector["forbid"]:
                assert written.count(b"\r") == written.count(b"\r\n")
            if "early-end" in vector["forbid"]:
                assert lines.find(b"\r\n.\r\n") == (-1 if refused else len(lines) - 5)
        if same(str(refused) for _, refused in results) == "None":
            assert same(written for written, _ in results) in outputs
        else:
            assert vector.get("either") or vector.get("reject_ok")


# How `args` become messages. The signatures say which are known.


def parameters(
    *,
    params: Vector | None = None,
    dsn: Vector | None = None,
    auth: str | None = None,
    smtputf8: bool = False,
) -> dict[str, Any]:
    assert set(dsn or ()) <= {"envid", "ret", "notify", "orcpt"}
    given = {**(params or {}), **{name.upper(): value for name, value in (dsn or {}).items()}}
    if "NOTIFY" in given:
        given["NOTIFY"] = tuple(given["NOTIFY"])
    if "ORCPT" in given:
        kind = "rfc822" if given["ORCPT"].isascii() else "utf-8"
        given["ORCPT"] = OriginalRecipient(kind, given["ORCPT"])
    if auth is not None:
        given["AUTH"] = auth
    if smtputf8:
        given["SMTPUTF8"] = True
    return given


def mail(*, address: str, **args: Any) -> Mail:
    return Mail(reverse_path=address, parameters=parameters(**args))


def rcpt(*, address: str, dsn: Vector | None = None, smtputf8: bool = False) -> Rcpt:
    # `smtputf8` is said in MAIL: `with_recipient` always says it where it is offered.
    return Rcpt(forward_path=address, parameters=parameters(dsn=dsn))


def hello_reply(*, domain: str, features: list[tuple[str, list[str]]]) -> Hello:
    return Hello(domain=domain, features=Features(dict(features)))


def answering(line: str) -> Callable[[Features], ServerConnection]:
    """A server that has been asked `line` and owes the answer."""

    def make(features: Features) -> ServerConnection:
        conn = session([] if line.startswith("EHLO") else ["EHLO c.example"], {"authenticated": False}).conn
        conn.receive_data(octets(line) + b"\r\n")
        assert isinstance(conn.next_event(), Command)
        conn.data_to_send()
        return conn

    return make


OPS: dict[str, tuple[Callable[[Features], Any], Callable[..., Any]]] = {
    "ehlo": (lambda features: greeted(), lambda *, name: Ehlo(domain=name)),
    "mail": (ready, mail),
    "rcpt": (with_recipient, rcpt),
    "vrfy": (ready, lambda *, arg: Vrfy(argument=arg)),
    "expn": (ready, lambda *, arg: Expn(argument=arg)),
    "noop": (ready, lambda *, arg: Noop(argument=arg)),
    "help": (ready, lambda *, arg: Help(argument=arg)),
    "auth": (
        ready,
        lambda *, mechanism, initial: Auth(mechanism=mechanism, initial_response=octets(initial)),
    ),
    "auth_response": (authenticating, lambda *, data: AuthResponse(data=octets(data))),
    "reply": (answering("NOOP"), Reply),
    "challenge": (answering("AUTH PLAIN"), lambda *, data: AuthChallenge(data=octets(data))),
    "ehlo_reply": (answering("EHLO c.example"), hello_reply),
    "greeting": (lambda features: ServerConnection(), Greeting),
}


@each("output")
def test_what_is_written_is_what_its_vector_says(vector):
    connect, build = OPS[vector["op"]]
    offered = {keyword: ALL_FEATURES.get(keyword, ()) for keyword in vector["ext"]}
    if "AUTH" in offered:
        offered["AUTH"] = ("PLAIN", "EXTERNAL")
    conn = connect(Features(offered))
    expect = vector["expect"]
    written = [*expect.get("accept", ()), *expect.get("wire_any", ())]
    if "wire" in expect:
        written.append(expect["wire"])
    assert (vector["role"] == "server") is isinstance(conn, ServerConnection)
    try:
        conn.send(build(**vector["args"]))
    except LocalProtocolError:
        assert expect.get("error") or expect.get("either") or vector.get("error_ok")
        assert conn.data_to_send() == b""
    else:
        assert conn.data_to_send() in [octets(line) for line in written]
