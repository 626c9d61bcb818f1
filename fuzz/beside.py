"""Our parsers beside those of smtplib and aiosmtpd: the same octets to both, without a network.

Where the two do not do the same, it is one of the differences that explained.py explains, or it is a finding.
"""

from __future__ import annotations

import asyncio
import io
import re
import smtplib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar
from unittest.mock import patch

import aiosmtpd.smtp
from cases import Case, Result
from explained import explanations
from targets import listen, yes

from smtp_proto import (
    ClientConnection,
    Command,
    DataWriter,
    Ehlo,
    EndOfMessage,
    Features,
    Greeting,
    Hello,
    Limits,
    LineEnds,
    LocalProtocolError,
    Mail,
    MessageData,
    Noop,
    Path,
    RawReply,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ReplyStream,
    ServerConnection,
    UnknownCommand,
)


def same(case: Case) -> bool:
    """Whether both do the same. Raises `AssertionError` where they do not and nothing explains it."""
    if case.ours == case.theirs:
        return True
    assert explanations(case), f"nothing explains {case}"
    return False


# --- smtplib


class Sock:
    """A socket from which these octets come, and that keeps what is sent."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.sent = b""

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.octets)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        pass


def peer_client(octets: bytes) -> Any:
    """smtplib's client, connected to a server that says this."""
    client = smtplib.SMTP(local_hostname="c.example")
    client.sock = Sock(octets)  # type: ignore[assignment]
    return client


def peer_reply(client: Any) -> Result:
    """Code and text, and what waits behind them; None where smtplib says that this is no reply."""
    try:
        code, text = client.getreply()
    except smtplib.SMTPException:
        return None
    return None if code == -1 else (code, text, client.file.read())


def our_reply(octets: bytes, command: Command) -> tuple[Reply | None, Result]:
    """The same of our client, which waits for an answer to `command`; and the reply itself."""
    conn = ClientConnection(features=Features())
    conn.send(command)
    conn.receive_data(octets)
    conn.receive_data(b"")
    with suppress(RemoteProtocolError):
        event = conn.next_event()
        if isinstance(event, Reply):
            return event, (event.code, event.raw_text, conn.trailing_data)
    return None, None


def replies(octets: bytes) -> None:
    """The reply to a command."""
    same(Case("reply", octets, our_reply(octets, Noop())[1], peer_reply(peer_client(octets))))


def raw_replies(octets: bytes) -> None:
    """One reply after the other, as nobody has judged them."""
    stream, client = ReplyStream(), peer_client(octets)
    stream.receive_data(octets)
    stream.receive_data(b"")
    while True:
        event = stream.next_event()
        ours = None
        if isinstance(event, RawReply) and event.code is not None:
            ours = (event.code, b"\n".join(event.texts), stream.trailing_data)
        theirs = peer_reply(client)
        case = Case("raw reply", octets, ours, theirs)
        if (not same(case) and not case.both) or theirs is None:
            return
        octets = theirs[2]
        client.file = io.BytesIO(octets)


def peer_offer(lines: list[bytes]) -> dict[str, list[str]]:
    """What smtplib takes these lines behind the first of an EHLO reply for."""
    reply = b"".join(b"250-" + line + b"\r\n" for line in [b"mx.example", *lines])
    client = peer_client(reply + b"250 \r\n")
    client.ehlo()
    offered = client.esmtp_features
    if "auth" in offered:  # to which it adds a blank and the words
        offered["auth"] = offered["auth"].removeprefix(" ")
    return {name: words.split(" ") if words else [] for name, words in offered.items()}


def our_offer(lines: list[bytes]) -> dict[str, list[str]]:
    """The same of ours."""
    features = Features.from_lines([line.decode("utf-8", "surrogateescape") for line in lines])
    return {name.lower(): list(words) for name, words in features.items()}


def offers(octets: bytes) -> None:
    """The reply to EHLO, and each line of it."""
    hello, ours = our_reply(octets, Ehlo(domain="c.example"))
    client = peer_client(octets)
    case = Case("hello", octets, ours, peer_reply(client))
    if (not same(case) and not case.both) or hello is None:
        return
    lines = hello.raw_text.split(b"\n")[1:]
    good = [line for line in lines if same(Case("offer", line, our_offer([line]), peer_offer([line])))]
    same(Case("offers", b"\n".join(good), our_offer(good), peer_offer(good)))


def bodies(octets: bytes) -> None:
    """A message as octets, and as the text that has these code points."""
    writer = DataWriter(LineEnds.NORMALIZE, None, allow_nul=True)
    ours = writer.write(octets) + writer.end()
    client = peer_client(b"354 go on\r\n250 taken\r\n")
    client.data(octets)
    same(Case("body", octets, ours, client.sock.sent.removeprefix(b"data\r\n")))
    theirs = smtplib.quotedata(octets.decode("latin-1")).encode("latin-1")
    end = b".\r\n" if theirs[-2:] == b"\r\n" else b"\r\n.\r\n"
    same(Case("text", octets, ours, theirs + end))


def paths(octets: bytes) -> None:
    """What a caller takes for a path, as it goes into MAIL."""
    text = octets.decode("utf-8", "surrogateescape")
    ours = None
    with suppress(LocalProtocolError):
        ours = f"<{Path(text).with_route}>"
    theirs = None
    with suppress(RecursionError):  # comments in comments
        theirs = smtplib.quoteaddr(f"<{text}>")
    same(Case("path", octets, ours, theirs))


SMTPLIB = (replies, raw_replies, offers, bodies, paths)


def beside_smtplib(octets: bytes) -> None:
    """What smtplib reads and writes. The first octet chooses what that is."""
    SMTPLIB[(octets[0] if octets else 0) % len(SMTPLIB)](octets[1:])


# --- aiosmtpd

SIZE = 100_000
LINE_ENDS = (LineEnds.STRICT, LineEnds.NORMALIZE, LineEnds.PRESERVE)
OFFER = Features({"SIZE": (str(SIZE),), "8BITMIME": (), "SMTPUTF8": ()})
LAST_LINE = re.compile(rb"(?m)^([0-9]{3})(?!-)")


class PeerServer(aiosmtpd.smtp.SMTP):
    """aiosmtpd's server, with limits that nothing here comes near to."""

    command_size_limit = line_length_limit = 10_000
    command_size_limits: ClassVar[dict[str, int]] = defaultdict(lambda: 10_000)


class Transport(asyncio.Transport):
    """Keeps what the server says."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.said += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


def done(said: bytes, taken: Result) -> Result:
    """What a line did, by what the server said to it."""
    codes = LAST_LINE.findall(said)
    if len(codes) != 1:
        return ("several commands",) if codes else "waits"
    return taken if codes[0] < b"400" else "refuses"


class Peer:
    """A session of aiosmtpd's server; also the handler of what comes."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.taken: Result = None
        self.server: Any = PeerServer(
            self,
            data_size_limit=SIZE,
            enable_SMTPUTF8=True,
            hostname="mx.example",
            loop=asyncio.get_running_loop(),
        )

    async def begin(self) -> None:
        with patch.object(aiosmtpd.smtp, "BOGUS_LIMIT", 10_000):
            self.server.connection_made(self.transport)
            await self.idle()
        await self.say(b"EHLO c.example\r\n")

    async def idle(self) -> None:
        """Let the server go on until it waits for octets, or hangs up."""
        reader = self.server._reader
        while reader._waiter is None and not self.transport.is_closed:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)

    async def say(self, line: bytes) -> Result:
        """What this line does."""
        self.taken, self.transport.said = (verb(line),), b""
        self.server.data_received(line)
        await self.idle()
        return done(self.transport.said, self.taken)

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        envelope.mail_from = address
        self.taken = ("MAIL", address.removeprefix("<>"), options)
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        envelope.rcpt_tos.append(address)
        self.taken = ("RCPT", address, options)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken = ("message", envelope.content)
        return "250 OK"


def verb(line: bytes) -> str:
    return line[:4].upper().decode("latin-1")


def answer(event: Any) -> Reply:
    """What a server answers that takes whatever may be taken, and offers what aiosmtpd does."""
    if isinstance(event, UnknownCommand):
        return Reply(code=500)
    return Hello(features=OFFER) if isinstance(event, Ehlo) else yes(event)


class Ours:
    """The same of our server."""

    def __init__(self, line_ends: LineEnds) -> None:
        self.conn = ServerConnection(limits=Limits(errors=10_000, message_size=SIZE), line_ends=line_ends)
        self.conn.send(Greeting(domain="mx.example"))
        self.content = b""
        self.say(b"EHLO c.example\r\n")

    @property
    def is_utf8(self) -> bool:
        """Whether this is a transaction with SMTPUTF8."""
        return self.conn.mail is not None and "SMTPUTF8" in self.conn.mail.parameters

    def say(self, line: bytes) -> Result:
        heard, error = listen(self.conn, [line], answer)
        if error is not None:
            return "ends"
        taken = [self.taken(event) for event in heard]
        return done(self.conn.data_to_send(), taken[-1] if taken else None)

    def taken(self, event: Any) -> Result:
        if isinstance(event, MessageData):
            self.content += event.data
        elif isinstance(event, EndOfMessage):
            content, self.content = self.content, b""
            return ("message", content)
        elif isinstance(event, Mail | Rcpt):
            path = event.reverse_path if isinstance(event, Mail) else event.forward_path
            return (event.verb, str(path), event.parameters.text.upper().split(" ")[1:])
        return (event.verb,)


def lines(octets: bytes) -> Iterator[bytes]:
    """Whole lines, but for the commands that the application answers: there is nothing to compare."""
    for line in octets.split(b"\r\n")[:-1]:
        if verb(line) not in ("VRFY", "EXPN", "HELP"):
            yield line + b"\r\n"


async def session(octets: bytes, line_ends: LineEnds) -> None:
    """Say to both what a client says, line by line, as long as both do alike."""
    ours, peer = Ours(line_ends), Peer()
    try:
        await peer.begin()
        for line in lines(octets):
            kind = "SMTPUTF8 command" if ours.is_utf8 else "command"
            case = Case(kind, line, ours.say(line), await peer.say(line))
            if (not same(case) and not case.both) or peer.transport.is_closed:
                break
    finally:
        peer.transport.close()
        peer.server.connection_lost(None)
        await asyncio.sleep(0)


def beside_aiosmtpd(octets: bytes) -> None:
    """What aiosmtpd's server understands. The first octet chooses how ours takes line ends."""
    with patch.object(aiosmtpd.smtp.log, "disabled", True):
        asyncio.run(session(octets[1:], LINE_ENDS[(octets[0] if octets else 0) % len(LINE_ENDS)]))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (beside_smtplib, beside_aiosmtpd)
}
