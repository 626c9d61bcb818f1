"""What is fuzzed. A target takes octets, and raises where one of these does not hold:

No exception but the documented ones. What comes octet by octet is what comes all at once. What is written is
read again as the same. What is kept is bounded by `Limits`. (That time is linear is held by the tests.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from smtp_proto import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Auth,
    Bdat,
    ClientConnection,
    Command,
    Data,
    DataWriter,
    Ehlo,
    EndOfMessage,
    Features,
    Greeting,
    Hello,
    Lhlo,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    MalformedCommand,
    MessageData,
    Parameters,
    Path,
    ProxyReader,
    Quit,
    RawReply,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ReplyStream,
    Rset,
    ServerConnection,
    StartTLS,
    Vrfy,
    normalize_line_ends,
)
from smtp_proto.sasl import (
    MECHANISMS,
    ChannelBinding,
    CheckExternal,
    Context,
    Credentials,
    LookUp,
    LookUpSecret,
    Question,
    SASLError,
    StoredKeys,
)

LIMITS = Limits(
    command_line=200,
    reply_line=200,
    reply_lines=20,
    reply_octets=2_000,
    message_size=500,
    refused_octets=500,
    errors=5,
)
OFFER = Features(
    {
        "PIPELINING": (),
        "SIZE": (),
        "8BITMIME": (),
        "BINARYMIME": (),
        "CHUNKING": (),
        "DSN": (),
        "SMTPUTF8": (),
        "AUTH": ("PLAIN", "LOGIN"),
    }
)
MAIL, RCPT = Mail(reverse_path="a@x.example"), Rcpt(forward_path="b@y.example")

Heard = tuple[list[Any], RemoteProtocolError | None]


def listen(
    conn: ClientConnection | ServerConnection,
    pieces: Iterable[bytes],
    answer: Callable[[Any], Reply] | None = None,
) -> Heard:
    """What a connection hears, and the error at which it stops. Pieces of a body are joined."""
    heard: list[Any] = []
    try:
        for piece in pieces:
            conn.receive_data(piece)
            while (event := conn.next_event()) is not NEED_DATA and event is not CLOSED:
                if event is PAUSED:
                    if answer is None:
                        return heard, None
                    conn.send(answer(heard[-1]))  # type: ignore[arg-type]
                elif isinstance(event, MessageData) and heard and isinstance(heard[-1], MessageData):
                    heard[-1] = MessageData(data=heard[-1].data + event.data)
                else:
                    heard.append(event)
            if event is CLOSED:
                break
    except RemoteProtocolError as exc:
        return heard, exc
    return heard, None


def one_by_one(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


def both_ways(hear: Callable[[Iterable[bytes]], Heard], octets: bytes) -> None:
    """What comes octet by octet is what comes all at once: the same messages, then the same error."""
    whole, fault = hear([octets, b""] if octets else [b""])
    parts, error = hear([*one_by_one(octets), b""])
    if "behind" in str(fault):  # a refused command, or STARTTLS: it has to be there at once to be an error
        assert parts[: len(whole)] == whole
        return
    assert parts == whole
    assert str(error) == str(fault)


# What a client has said when the server's octets come, and what the server had offered.
SAID: list[tuple[Features | None, list[Command]]] = [
    (None, []),
    (OFFER, []),
    (OFFER, [Ehlo(domain="c.example")]),
    (OFFER, [MAIL, RCPT, RCPT, Data()]),
    (OFFER, [MAIL, RCPT, Bdat(size=1, last=False), MessageData(data=b"x")]),
    (OFFER, [MAIL, RCPT, Bdat(size=1, last=True), MessageData(data=b"x"), EndOfMessage(), Rset()]),
    (OFFER, [Auth(mechanism="PLAIN")]),
    (OFFER, [Vrfy(argument="b")]),
    (Features({**OFFER, "STARTTLS": ()}), [StartTLS()]),
]


def client(octets: bytes) -> None:
    """A client reads a server. The first octet chooses what it has said before."""
    choice = octets[0] if octets else 0
    features, said = SAID[choice % len(SAID)]

    def hear(pieces: Iterable[bytes]) -> Heard:
        conn = ClientConnection(features=features, limits=LIMITS, strict_replies=choice >= 128)
        for command in said:
            conn.send(command)
        return listen(conn, pieces)

    both_ways(hear, octets[1:])


def yes(event: Any) -> Reply:
    """The answer of a server that takes whatever may be taken."""
    if isinstance(event, MalformedCommand):
        return event.reply
    if isinstance(event, Ehlo | Lhlo):
        return Hello(features=OFFER)
    if isinstance(event, Data):
        return Reply(code=354)
    if isinstance(event, Quit):
        return Reply(code=221)
    return getattr(event, "refusal", None) or Reply(code=250)


def server(octets: bytes) -> None:
    """A server reads a client. The first octet chooses how it takes line ends, and the protocol."""
    choice = octets[0] if octets else 0

    def hear(pieces: Iterable[bytes]) -> Heard:
        conn = ServerConnection(
            limits=LIMITS,
            lmtp=bool(choice & 4),
            line_ends=list(LineEnds)[choice % 3],
            accept_bare_lf=bool(choice & 8),
        )
        conn.send(Greeting(domain="mx.example"))
        listen(conn, [b"LHLO c\r\n" if conn.lmtp else b"EHLO c\r\n"], yes)
        return listen(conn, pieces, yes)

    both_ways(hear, octets[1:])


def body(octets: bytes) -> None:
    """What a client writes of a body a server reads as the same, and its end is nowhere else."""
    writer = DataWriter(LineEnds.NORMALIZE, None, allow_nul=True)
    whole = writer.write(octets) + writer.end()
    writer = DataWriter(LineEnds.NORMALIZE, None, allow_nul=True)
    assert b"".join(map(writer.write, one_by_one(octets))) + writer.end() == whole
    assert (b"\r\n" + whole).find(b"\r\n.\r\n") == len(whole) - 3
    content = (b"\r\n" + whole[:-3]).replace(b"\r\n.", b"\r\n")[2:]
    regular = normalize_line_ends(octets)
    assert content == (regular if regular.endswith(b"\r\n") or not octets else regular + b"\r\n")


def path(octets: bytes) -> None:
    """An address is refused, or is one line of SMTP that is read as the same address."""
    try:
        found = Path(octets.decode("utf-8", "surrogateescape"))
    except LocalProtocolError:
        return
    assert Path(found) == found
    if found.domain is not None:
        command = Mail(reverse_path=found, parameters={} if found.is_ascii else {"SMTPUTF8": True})
        assert heard_by_a_server(command) == command


def heard_by_a_server(command: Command) -> Command:
    """What a client says, as a server hears it; it is one line."""
    conn = ClientConnection(features=OFFER)
    conn.send(command)
    line = conn.data_to_send()
    assert line.endswith(b"\r\n")
    assert line.count(b"\r") == line.count(b"\n") == 1
    there = ServerConnection()
    there.send(Greeting(domain="mx.example"))
    listen(there, [b"EHLO c\r\n"], yes)
    there.receive_data(line)
    event = there.next_event()
    assert isinstance(event, Command)
    return event


def parameters(octets: bytes) -> None:
    """Parameters are refused, or are read again as the same."""
    for verb in ("MAIL", "RCPT"):
        try:
            found = Parameters.from_text(verb, octets.decode("utf-8", "surrogateescape"))
        except LocalProtocolError:
            continue
        try:
            again = Parameters(verb, dict(found))
        except LocalProtocolError as exc:
            if "at most" not in str(exc):  # UTF-8 that came as it is takes more octets as xtext (RFC 6533 3)
                raise
            continue
        assert Parameters.from_text(verb, found._text[1:]) == found == again


def features(octets: bytes) -> None:
    """Whatever a server offers, each question about it has an answer."""
    found = Features.from_lines(octets.decode("utf-8", "surrogateescape").split("\n"))
    for name in dir(found):
        if not name.startswith("_"):
            getattr(found, name)
    assert Features(dict(found)) == found


def reply_stream(octets: bytes) -> None:
    """Replies without a conversation: whatever comes is a reply with a code, or one without, or too much."""

    def hear(pieces: Iterable[bytes]) -> list[Any]:
        stream = ReplyStream(LIMITS)
        heard: list[Any] = []
        try:
            for piece in pieces:
                stream.receive_data(piece)
                while isinstance(event := stream.next_event(), RawReply):
                    heard.append(event)
        except RemoteProtocolError as exc:
            heard.append(str(exc))
        return heard

    assert hear(one_by_one(octets)) == hear([octets])


def proxy(octets: bytes) -> None:
    """A header is refused, or is read as the same however it comes, and what is behind it is left alone."""

    def read(pieces: Iterable[bytes]) -> Any:
        reader = ProxyReader(LIMITS)
        behind = b""
        try:
            for piece in pieces:
                if reader.header is None:
                    reader.receive_data(piece)
                else:
                    behind += piece
        except RemoteProtocolError as exc:
            return str(exc)
        return reader.header, reader.trailing_data + behind

    assert read([octets[at : at + 1] for at in range(len(octets))]) == (
        read([octets]) if octets else read([])
    )


def sasl(octets: bytes) -> None:
    """A mechanism takes what comes, or raises `SASLError`. The first octet chooses it, LF parts messages."""
    mechanism = MECHANISMS[(octets[0] if octets else 0) % len(MECHANISMS)]
    messages = octets[1:].split(b"\n")
    binding = ChannelBinding("tls-unique", b"x")
    context = Context(
        nonce="n" * 16, bindings=(binding,), server_secret=b"s" * 16, iterations=4096, most_iterations=4096
    )
    for start in (
        lambda: mechanism.client(Credentials("ada", "pw", token="t"), context),
        lambda: mechanism.server(context, None),
    ):
        side: Any = start()
        answer: Any = None
        try:
            for message in messages:
                wish = side.send(answer)
                while isinstance(wish, Question):
                    wish = side.send(known(wish))
                answer = message
        except (SASLError, StopIteration):
            pass


KEYS = StoredKeys.derive("pw", b"salt" * 4, 4096, "SCRAM-SHA-256")
KEYS_SHA1 = StoredKeys.derive("pw", b"salt" * 4, 4096, "SCRAM-SHA-1")


def known(question: Question) -> Any:
    """What an application answers that knows everybody."""
    if isinstance(question, LookUp):
        return KEYS if question.mechanism == "SCRAM-SHA-256" else KEYS_SHA1
    return (
        "pw" if isinstance(question, LookUpSecret) else "ada" if isinstance(question, CheckExternal) else True
    )


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (client, server, body, path, parameters, features, reply_stream, proxy, sasl)
}
