"""The dialogues of tests/corpus, played through the operations in both roles, and the fallback to HELO.

The promise: every `must` and every `should` holds, and of an `either` nothing happens but what it lists;
with every step in one piece, cut at its `splits`, and octet by octet. What is not played yet is listed,
with the reason.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from helpers import drive, every, steps
from vectors import COMMON, COUNTS, Vector, load, octets, ways

from smtp_proto import (
    ClientConnection,
    Command,
    ConnectionLost,
    Ehlo,
    EndOfMessage,
    LocalProtocolError,
    NotOffered,
    Rcpt,
    Refused,
    RemoteProtocolError,
    Reply,
    ServerConnection,
    SMTPError,
    StartTLS,
    TimedOut,
)
from smtp_proto._writers import WRITERS
from smtp_proto.ops import (
    Authenticator,
    Decide,
    Op,
    Outcome,
    SendResult,
    Session,
    StartTLSPolicy,
    Status,
    authenticate,
    greet,
    hello,
    quit,
    send_message,
    serve,
)
from smtp_proto.sasl import CheckPassword, Context, Credentials, LookUpSecret

DIALOGUES = load("dialogues")
FALLBACKS = [vector for vector in load("ehlo") if vector["type"] == "fallback"]

# Not played, each with its reason.
NOT_PLAYED = {"L.s.auth.cram-md5": "its challenge is shorter than a nonce may be here"}


def why_not_played(vector: Vector) -> str | None:
    return NOT_PLAYED.get(vector["id"])


def each(role: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run the test once for each dialogue of this role, in one piece and octet by octet."""

    def parameter(vector: Vector) -> Any:
        reason = why_not_played(vector)
        return pytest.param(
            vector, id=vector["id"], marks=[pytest.mark.skip(reason=reason)] if reason else []
        )

    return every("vector", [parameter(v) for v in DIALOGUES if v["role"] == role])


# The keys that the runners look at, of a step all that come together.
KEYS = {
    "vector": "role category config expect script goal afterwards rule",
    "client config": "lmtp starttls tls auth client_nonce",
    "server config": "lmtp starttls_offered require_tls tls users auth refuse_rcpt refuse_data final",
    # How large the chunks are is left to the client.
    "goal": "op from to data lmtp repeat pause_before_mail requiretls chunking chunk_size",
    "client expect": "outcome outcome_any either accepted refused error code must_not_send must_close",
    "server expect": "delivered either max_replies must_not_execute reject_or authenticated tls",
}
SHAPES = {
    "client": {
        "bytes from",
        "bytes from splits",
        "bytes from match",
        "expect from",
        "expect from match",
        "expect from has optional_has",
        "from group",
        "from match",
        "by event",
        "event on",
        "event",
    },
    "server": {
        "bytes from",
        "from reply",
        "from lacks reply",
        "from reply_seq",
        "by event",
        "by event optional",
        "event",
    },
}


def test_no_dialogue_is_left_out():
    assert len(DIALOGUES) == COUNTS["dialogues"]
    assert len(FALLBACKS) == 8
    assert Counter((vector["role"], why_not_played(vector)) for vector in DIALOGUES) == {
        ("client", None): 94,
        ("server", None): 43,
        ("server", *NOT_PLAYED.values()): 1,
    }


def test_every_key_is_one_that_the_runner_looks_at():
    for vector in DIALOGUES:
        if why_not_played(vector):
            continue
        role = vector["role"]
        assert set(vector) <= COMMON | set(KEYS["vector"].split()), vector["id"]
        assert set(vector.get("goal", {})) <= set(KEYS["goal"].split()), vector["id"]
        for part in ("config", "expect"):
            assert set(vector[part]) <= set(KEYS[f"{role} {part}"].split()), vector["id"]
        for step in vector["script"]:
            assert " ".join(sorted(set(step) - {"note"})) in SHAPES[role], vector["id"]


Cut = Callable[[Vector], tuple[bytes, ...]]


def in_one_piece(step: Vector) -> tuple[bytes, ...]:
    return (octets(step["bytes"]),)


def at_its_splits(step: Vector) -> tuple[bytes, ...]:
    if "splits" not in step:
        return in_one_piece(step)
    assert step["splits"] == "each octet"
    return octet_by_octet(step)


def octet_by_octet(step: Vector) -> tuple[bytes, ...]:
    return ways(octets(step["bytes"]))[-1]


def cuts(vector: Vector) -> tuple[Cut, ...]:
    """How to cut what the other side says.

    Not octet by octet where it speaks out of turn: in one piece this has come before its turn, and gives
    itself away; what comes later nothing tells from what is due.
    """
    if "reply-desync" in vector.get("attack", ()) or vector["id"] == "L.s.pipe.data-refused-body-follows":
        return (in_one_piece, at_its_splits)
    return (in_one_piece, at_its_splits, octet_by_octet)


# The client ------------------------------------------------------------------------------------------


class Script:
    """The server of a client's dialogue: says its lines, and holds the client to its own."""

    def __init__(self, vector: Vector, cut: Cut) -> None:
        self.steps = deque(vector["script"])
        self.written = b""
        self._afterwards = vector["afterwards"]
        self._cut = cut
        self._heard = b""  # of what was written, that to which the script has not come yet
        self._said: deque[bytes] = deque()

    def send(self, data: bytes) -> None:
        self.written += data
        self._heard += data

    def start_tls(self) -> None:
        if self._said:
            raise OSError("octets in the clear where the handshake is due")
        assert not self._heard
        assert self.steps.popleft()["event"] == "tls"

    def receive(self) -> bytes:
        while not self._said:
            self._go_on()
        return self._said.popleft()

    def interrupt(self) -> bytes:
        """What the server says while the client has nothing to wait for."""
        assert self.steps.popleft()["event"] == "idle"
        return octets(self.steps.popleft()["bytes"])

    def _go_on(self) -> None:
        if not self.steps:
            self._answer_by_habit()
            return
        step = self.steps.popleft()
        if step.get("from") == "S":
            self._said.extend(self._cut(step))
        elif step.get("from") == "C":
            self._listen(step)
        elif step["event"] == "eof":
            assert step["by"] == "S"
            self._said.append(b"")
        else:
            assert (step["event"], step["on"]) == ("timeout", "C")
            raise TimeoutError

    def _answer_by_habit(self) -> None:
        assert self._heard, "both sides wait"
        for line in self._heard.splitlines():
            verb = line.decode("ascii").split()[0]
            self._said.append(octets(self._afterwards.get(verb, self._afterwards["*"])))
        self._heard = b""

    def _listen(self, step: Vector) -> None:
        """The client waits for an answer, so it has said all of this and nothing else."""
        heard, self._heard = self._heard, b""
        match = step.get("match", "exact")
        assert match in ("exact", "exact-or-close", "exact-or-no-ir", "optional", "refused-locally-or", "any")
        if "bytes" in step:
            assert heard == octets(step["bytes"])
        elif match != "any":
            lines = heard.decode("utf-8").split("\r\n")
            wanted = step.get("group") or [step["expect"]]
            if wanted == ["BDAT"]:
                del lines[1:-1]  # the chunk
            assert len(lines) == len(wanted) + 1
            for line, beginning in zip(lines, wanted, strict=False):
                assert beginning == "*" or line.startswith(beginning)
                assert set(step.get("has", ())) <= set(line.split())  # `optional_has` or not


class Played(NamedTuple):
    """What became of a client's goal."""

    conn: ClientConnection
    results: list[SendResult]
    error: SMTPError | None

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for result in self.results for outcome in result.outcomes]

    @property
    def outcome(self) -> str:
        accepted = [outcome.status is Status.ACCEPTED for outcome in self.outcomes]
        if any(accepted):
            return "delivered" if all(accepted) and self.error is None else "partial"
        return "failed"

    @property
    def refused(self) -> dict[str, int]:
        """Who was refused for a reason of their own."""
        kinds = (Rcpt, EndOfMessage) if self.conn.lmtp else Rcpt
        return {
            outcome.recipient: outcome.reply.code
            for outcome in self.outcomes
            if outcome.status is Status.REFUSED
            and outcome.reply is not None
            and isinstance(outcome.reply.to, kinds)
            and outcome.reply.code != 421
        }

    @property
    def codes(self) -> set[int]:
        replies = [outcome.reply for outcome in self.outcomes]
        replies += [self.error.reply] if isinstance(self.error, Refused) else []
        return {reply.code for reply in replies if reply is not None}


POLICIES: dict[str, StartTLSPolicy] = {"require": "required", "opportunistic": "opportunistic"}


def recipients(vector: Vector) -> list[str]:
    return [octets(address).decode("utf-8") for address in vector["goal"]["to"]]


def play_client(vector: Vector, script: Script) -> Played:
    config, goal = vector["config"], vector["goal"]
    assert goal["op"] == "send"
    assert goal.get("lmtp", False) is config.get("lmtp", False)
    assert config.get("tls") in (None, False, "implicit")
    conn = ClientConnection(lmtp=config.get("lmtp", False), tls=config.get("tls") == "implicit")
    policy = POLICIES[config["starttls"]] if "starttls" in config else "never"
    results: list[SendResult] = []
    try:
        drive(greet(conn), conn, script)
        drive(hello(conn, "c.example", starttls=policy, needs_esmtp="auth" in config), conn, script)
        if "auth" in config:
            drive(log_in(conn, config), conn, script)
        if goal.get("pause_before_mail"):
            conn.receive_data(script.interrupt())
        for _ in range(goal.get("repeat", 1)):
            op = send_message(
                conn,
                goal["from"],
                recipients(vector),
                octets(goal["data"]),
                parameters={"REQUIRETLS": True} if goal.get("requiretls") else {},
                transfer="chunking" if goal.get("chunking") else "auto",
            )
            results.append(drive(op, conn, script))
        if conn.is_usable:
            drive(quit(conn), conn, script)
    except SMTPError as exc:
        if isinstance(exc, ConnectionLost) and exc.result is not None:
            results.append(exc.result)
        return Played(conn, results, exc)
    return Played(conn, results, None)


def log_in(conn: ClientConnection, config: Vector) -> Op[Reply]:
    auth = dict(config["auth"])
    mechanisms = auth.pop("mechanisms")
    context = Context(nonce=config.get("client_nonce", "n" * 20))
    return authenticate(conn, Credentials(**auth), context, mechanisms=mechanisms)


def is_unknown(error: SMTPError) -> bool:
    return isinstance(error, ConnectionLost) and {
        outcome.status for outcome in (error.result or SendResult(outcomes=())).outcomes
    } == {Status.UNKNOWN}


ERRORS: dict[str, Callable[[SMTPError], bool]] = {
    "greeting": lambda error: isinstance(error, Refused) and error.command is None,
    "protocol": lambda error: isinstance(error.__cause__, RemoteProtocolError),
    "timeout": lambda error: isinstance(error, TimedOut),
    "tls": lambda error: (
        (isinstance(error, NotOffered) and error.keyword == "STARTTLS")
        or (isinstance(error, Refused) and isinstance(error.command, Ehlo | StartTLS))
    ),
    "extension": lambda error: (
        isinstance(error, NotOffered) or (isinstance(error, LocalProtocolError) and error.code == 555)
    ),
    "unknown-result": is_unknown,
    "auth": lambda error: (
        (isinstance(error, NotOffered) and error.keyword == "AUTH")
        or isinstance(error, Refused | RemoteProtocolError)
    ),
    "argument": lambda error: isinstance(error, LocalProtocolError),
}

# What the words of a `rule` forbid to write. That a client without PIPELINING has only one command
# unanswered is checked at every step.
RULES = {
    None: "(?!)",
    "at most one unanswered command at any time": "(?!)",
    "LOGIN is not used: it was not offered inside TLS": "^AUTH LOGIN",
}


@each("client")
def test_a_client_does_what_its_dialogue_says(vector):
    expect = vector["expect"]
    desync = "reply-desync" in vector.get("attack", ())
    for cut in cuts(vector):
        script = Script(vector, cut)
        played = play_client(vector, script)

        assert played.outcome in (expect["outcome"], *expect.get("outcome_any", ()))
        assert all(
            [outcome.recipient for outcome in result.outcomes] == recipients(vector)
            for result in played.results
        )
        if played.outcome == expect["outcome"]:
            accepted = {o.recipient: None for o in played.outcomes if o.status is Status.ACCEPTED}
            assert list(accepted) == expect["accepted"]
            assert played.refused == expect["refused"]
        if played.outcome != "failed" and not desync:
            assert [step.get("event") for step in script.steps] in ([], ["eof"])
        if "error" in expect:
            assert played.error is not None
            assert ERRORS[expect["error"]](played.error)
        if "code" in expect:
            assert played.codes == {expect["code"]}
        if expect.get("must_close") or desync:
            assert not played.conn.is_usable
        written = script.written.decode("latin-1")
        for pattern in (*expect.get("must_not_send", ()), RULES[vector.get("rule")]):
            assert not re.search(pattern, written, re.MULTILINE | re.IGNORECASE), pattern


# The server ------------------------------------------------------------------------------------------


class Witness(ServerConnection):
    """A connection that remembers which commands it has handed out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: list[str] = []

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, Command) and type(event).verb:
            self.commands.append(WRITERS[type(event)](event).decode("utf-8"))
        return event


class Site:
    """A server in memory, whose application does what the dialogue's `config` says."""

    def __init__(self, vector: Vector) -> None:
        config = vector["config"]
        self.conn = Witness(lmtp=config.get("lmtp", False), tls=config.get("tls", False))
        self.session = Session(self.conn)
        self.delivered: list[Vector] = []
        self.replies: list[tuple[int, list[str]]] = []
        self.over = False
        self._tls_fails = any(step.get("event") == "tls-fails" for step in vector["script"])
        self._unread: Iterator[bytes] = iter(())
        self._config = config
        self._content = b""
        self._lines: list[str] = []
        op = serve(
            self.conn,
            self.session,
            domain="s.example",
            starttls=config.get("starttls_offered", False),
            require_tls=config.get("require_tls", False),
            authenticator=Authenticator(config["auth"], self._context) if "auth" in config else None,
        )
        self._loop = steps(op, self.conn, self, self.ask)
        self._resume()

    def hear(self, pieces: Iterable[bytes]) -> None:
        """Take what the client says, until the session is over."""
        self._unread = iter(pieces)
        for piece in self._unread:
            self.conn.receive_data(piece)
            self._resume()
            if self.over:
                return

    def _resume(self) -> None:
        try:
            next(self._loop)
        except StopIteration:
            self.over = True

    def send(self, data: bytes) -> None:
        for line in data.decode("utf-8").split("\r\n")[:-1]:
            self._lines.append(line[4:])
            if line[3] == " ":
                self.replies.append((int(line[:3]), self._lines))
                self._lines = []

    def start_tls(self) -> None:
        if self._tls_fails or next(self._unread, None) is not None:
            raise OSError("this is no handshake")

    def ask(self, question: Decide) -> Any:
        hook = getattr(self, f"on_{question.hook}", None)
        return hook(*question.arguments) if hook else None

    def _context(self) -> Context:
        return Context(nonce="n" * 20, host="s.example", server_secret=b"s" * 16)

    def on_authenticate(self, question: Any) -> object:
        users = self._config["users"]
        if isinstance(question, CheckPassword):
            return users.get(question.user) == question.password
        assert isinstance(question, LookUpSecret)
        return users.get(question.user)

    def on_error(self, exception: Exception) -> None:
        raise exception

    def on_rcpt(self, command: Rcpt) -> Reply | None:
        code = self._config.get("refuse_rcpt", {}).get(command.forward_path)
        return Reply(code=code) if code else None

    def on_data(self) -> Reply | None:
        self._content = b""
        code = self._config.get("refuse_data")
        return Reply(code=int(code)) if code else None

    def on_chunk(self, data: bytes) -> None:
        self._content += data

    def on_message(self) -> list[Reply | None] | None:
        final = self._config.get("final", {})
        to = [rcpt.forward_path for rcpt in self.session.recipients]
        assert self.session.mail is not None
        self.delivered.append(
            {
                "from": self.session.mail.reverse_path,
                "to": [path for path in to if path not in final],
                "data": self._content.decode("latin-1"),
            }
        )
        return [Reply(code=final[path]) if path in final else None for path in to] if final else None


def refusals_only(codes: list[int]) -> bool:
    return bool(codes) and min(codes) >= 400


# What the words of a `reply_seq` allow.
SEQUENCES: dict[str, Callable[[list[int]], bool]] = {
    "the first 100 are 250; then 250 or 452": lambda codes: (
        codes[:100] == [250] * 100 and codes[100:] in ([250], [452])
    ),
    "errors; hang up early if you can": refusals_only,
    "503 or 554 first; best is to close": lambda codes: codes[0] in (503, 554) and refusals_only(codes),
    "250 250 250, or a refusal": lambda codes: (
        codes == [250, 250, 250] or (codes[0] == 250 and refusals_only(codes[1:]))
    ),
}
REJECT_OR = "if STARTTLS is refused or the connection closed the rest of the script does not apply"


def play_server(vector: Vector, cut: Cut) -> Site:
    site = Site(vector)
    seen = 0
    for step in vector["script"]:
        if step.get("from") == "C":
            assert not site.over
            site.hear(cut(step))
        elif "reply_seq" in step:
            assert SEQUENCES[step["reply_seq"]]([code for code, _ in site.replies[seen:]])
            seen = len(site.replies)
        elif step.get("from") == "S":
            assert seen < len(site.replies), "no answer"
            code, lines = site.replies[seen]
            assert code in step["reply"]
            assert not {line.split()[0] for line in lines if line} & set(step.get("lacks", ()))
            seen += 1
        elif step["event"] == "eof":
            if step["by"] == "C":
                site.hear([b""])
                # Who closes in the middle of something may be told so.
                assert {code for code, _ in site.replies[seen:]} <= {421}
                seen = len(site.replies)
            assert site.over
        else:
            assert step["event"] in ("tls", "tls-fails")
            assert not (site.conn.tls and step["event"] == "tls-fails")
            if not site.conn.tls:
                break  # STARTTLS is refused: what comes inside TLS does not apply
    assert seen == len(site.replies)
    return site


@each("server")
def test_a_server_does_what_its_dialogue_says(vector):
    expect = vector["expect"]
    assert expect.get("reject_or", REJECT_OR) == REJECT_OR
    for cut in cuts(vector):
        site = play_server(vector, cut)
        assert site.delivered == expect["delivered"]
        assert len(site.replies) <= expect.get("max_replies", len(site.replies))
        assert site.conn.tls is expect.get("tls", site.conn.tls)
        assert site.conn.authenticated is expect.get("authenticated", site.conn.authenticated)
        for forbidden in expect.get("must_not_execute", ()):
            assert not [command for command in site.conn.commands if command.startswith(forbidden)]


# From EHLO to HELO -----------------------------------------------------------------------------------


def introduce(vector: Vector, given: Iterable[bytes], **options: Any) -> tuple[str, SMTPError | None]:
    """What became of EHLO, in the terms of the vectors."""
    answers = [b"220 s.example\r\n", *given]
    conn = ClientConnection()
    verbs: list[bytes] = []

    class Door:
        def send(self, data: bytes) -> None:
            verbs.append(data.split()[0])
            if verbs[-1] == b"HELO":
                answers.append(
                    octets(vector["steps"][-1]["S"]) if "steps" in vector else b"250 s.example\r\n"
                )

        def receive(self) -> bytes:
            return answers.pop(0)

        def start_tls(self) -> None:
            raise AssertionError

    drive(greet(conn), conn, Door())
    try:
        drive(hello(conn, "c.example", **options), conn, Door())
    except SMTPError as exc:
        return ("HELO-then-fail" if b"HELO" in verbs else "fail"), exc
    return ("HELO" if b"HELO" in verbs else "accept"), None


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["id"]) for vector in FALLBACKS])
def test_a_client_falls_back_to_helo_where_its_vector_says(vector):
    keys = {"type", "cmd", "wire", "eof", "expect", "next_any", "steps"}
    assert set(vector) <= COMMON | keys
    assert set(vector["expect"]) == {"code", "next"}
    assert vector["cmd"] == "EHLO"
    assert not vector["eof"]
    for given in ways(octets(vector["wire"])):
        outcome, error = introduce(vector, given)
        assert outcome in (vector["expect"]["next"], *vector.get("next_any", ()))
        if error is not None:
            assert isinstance(error, Refused)
            assert error.reply.code == vector["expect"]["code"]
        for needs in ({"starttls": "required"}, {"needs_esmtp": True}):
            outcome, _ = introduce(vector, given, **needs)
            assert "HELO" not in outcome
