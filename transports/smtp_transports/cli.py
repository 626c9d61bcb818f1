"""The command line: `smtp-proto demo`, `send` and `serve`. `check` and `probe` have files of their own."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import re
import signal
import socket
import ssl
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NoReturn

from smtp_proto import ClientConnection, ConnectionLost, LineEnds, SMTPError
from smtp_proto.ops import SendResult

from . import blocking
from ._answers import Body
from ._cli_check import add_check
from ._cli_place import about_file, check_seconds, host_and_port, port_number, shown
from ._cli_probe import add_probe
from ._cli_text import SAYS, printer
from ._client import Client
from ._stream import Stream
from .handlers import Handler, Mailbox, Maildir, Message, Print, printable

# From here on a body is streamed, and on a terminal there is a progress bar.
_LARGE = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.set_defaults(failed=options.failed)
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A message may hold what the terminal's encoding has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code: int = options.run(options)
    except (SMTPError, OSError, ValueError) as exc:
        print(f"smtp-proto: {printable(_said(exc))}", file=sys.stderr)
        return int(options.failed)
    except KeyboardInterrupt:
        return 130
    return code


def _said(exc: Exception) -> str:
    if not isinstance(exc, OSError) or exc.strerror is None:
        return str(exc)
    return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror


class _Parser(argparse.ArgumentParser):
    """Answers what it cannot read with the exit code by which the command fails."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.get_default("failed") or 2, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="smtp-proto", description="SMTP and LMTP from the command line.")
    parser.set_defaults(failed=2)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="send a message to an embedded server and show it all")
    demo.add_argument("file", nargs="?", type=Path, help="the message to send; one is built in")
    demo.set_defaults(run=_demo)

    send = commands.add_parser(
        "send",
        help="send a message",
        epilog="Exit code: 0 all recipients accepted, 1 some refused, 2 none accepted, or failed.",
    )
    send.add_argument("--from", dest="sender", required=True, metavar="ADDRESS", help="'' for bounces")
    send.add_argument("--to", dest="recipients", required=True, action="append", metavar="ADDRESS")
    send.add_argument("--server", default="localhost", metavar="HOST[:PORT]")
    send.add_argument("--unix", metavar="PATH", help="connect to this Unix socket instead")
    send.add_argument("--lmtp", action="store_true", help="speak LMTP")
    security = send.add_mutually_exclusive_group()
    security.add_argument("--tls", action="store_true", help="TLS from the start")
    security.add_argument("--starttls", action="store_true", help="require STARTTLS")
    send.add_argument("--ca-file", metavar="FILE", help="trust these certificates, not the system's")
    send.add_argument("--allow-8bit", action="store_true", help="also to a server without 8BITMIME")
    send.add_argument("--domain", metavar="NAME", help="introduce this client as NAME")
    send.add_argument("--timeout", type=float, metavar="SECONDS", help="for each step; default: RFC 5321's")
    send.add_argument("file", nargs="?", type=Path, help="the message; standard input if left out")
    send.set_defaults(run=_send)

    serve = commands.add_parser("serve", help="receive messages, and print or store them")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", default="8025", help="0 takes a free one (default: 8025)")
    serve.add_argument("--unix", metavar="PATH", help="listen on this Unix socket instead")
    serve.add_argument("--lmtp", action="store_true", help="speak LMTP")
    serve.add_argument("--maildir", metavar="DIRECTORY", help="deliver here instead of printing")
    serve.add_argument("--cert", metavar="FILE", help="certificate: STARTTLS is offered")
    serve.add_argument("--key", metavar="FILE", help="its private key, if it is in another file")
    serve.add_argument("--tls", action="store_true", help="with --cert: TLS from the start")
    serve.add_argument("--require-tls", action="store_true", help="take no mail in the clear")
    serve.add_argument("--domain", metavar="NAME", help="the server's name")
    serve.set_defaults(run=_serve)

    add_check(commands)
    add_probe(commands)
    return parser


def _demo(options: argparse.Namespace) -> int:
    if options.file is not None:
        message = options.file.read_bytes()
    else:
        message = resources.files(__package__).joinpath("demo.eml").read_bytes()
    recipients = ["grace@receiver.example", "edsger@receiver.example"]
    say = _speaker()
    mailbox = Mailbox()
    with blocking.serve(mailbox, domain="receiver.example", line_ends=LineEnds.STRICT) as server:
        host, port = server.address
        say("", f"A server listens on {host}:{port}. C is the client, S the server.")
        with socket.create_connection((host, port)) as sock:
            client = Client(_Shown(blocking.SocketStream(sock), say), ClientConnection())
            client.start("sender.example")
            with client:
                result = client.send_message("ada@sender.example", recipients, message, transfer="data")
    return _compare(message, mailbox.messages, result, say)


def _compare(
    message: bytes, received: list[Message], result: SendResult, say: Callable[[str, str], None]
) -> int:
    # On the way every line ends with CRLF, the last one included.
    sent = re.sub(rb"\r\n|\r|\n|(?<=[^\r\n])\Z", b"\r\n", message)
    for outcome in result.outcomes:
        say("", f"{outcome.recipient}: {outcome.status.value}")
    if result.all_accepted and [arrived.data for arrived in received] == [sent]:
        digest = hashlib.sha256(sent).hexdigest()
        say("", f"What arrived is what was sent: {len(sent)} octets, SHA-256 {digest[:16]}...")
        return 0
    say("", "What arrived is NOT what was sent.")
    return 1


class _Shown:
    """A stream that shows what passes through it, line by line."""

    def __init__(self, stream: Stream, say: Callable[[str, str], None]) -> None:
        self._stream = stream
        self._say = say
        self._rest = {"C: ": b"", "S: ": b""}  # of a line that is not complete

    def send_all(self, data: bytes, timeout: float | None) -> None:
        self._show("C: ", data)
        self._stream.send_all(data, timeout)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        data = self._stream.receive_some(max_octets, timeout)
        self._show("S: ", data)
        return data

    def start_tls(self, timeout: float | None) -> None:
        self._stream.start_tls(timeout)

    def close(self) -> None:
        self._stream.close()

    def _show(self, who: str, data: bytes) -> None:
        *lines, self._rest[who] = (self._rest[who] + data).split(b"\r\n")
        for line in lines:
            self._say(who, printable(line.decode("utf-8", "backslashreplace")))


def _speaker() -> Callable[[str, str], None]:
    """Prints a line of a dialogue, or about it."""
    show = printer()
    styles = {"C: ": SAYS["C"], "S: ": SAYS["S"], "": "bold"}
    return lambda who, line: show([(styles[who], who + line)])


def _send(options: argparse.Namespace) -> int:
    host, port = host_and_port(options.server)
    check_seconds("--timeout", options.timeout)
    context = None
    if options.ca_file:
        if not (options.tls or options.starttls):
            raise ValueError("--ca-file needs --starttls or --tls")
        with about_file(options.ca_file):
            context = ssl.create_default_context(cafile=options.ca_file)
    with contextlib.ExitStack() as stack:
        file: BinaryIO = sys.stdin.buffer
        if options.file is not None:
            file = stack.enter_context(options.file.open("rb"))
        body, size = _body(file)
        progress = stack.enter_context(_progress(size))
        client = stack.enter_context(
            blocking.connect(
                host,
                port,
                tls=options.tls,
                starttls="required" if options.starttls else "never",
                context=context,
                unix=options.unix,
                lmtp=options.lmtp,
                domain=options.domain,
                timeouts=options.timeout,
            )
        )
        try:
            result = client.send_message(
                options.sender,
                options.recipients,
                body,
                size=size,
                allow_8bit=options.allow_8bit,
                progress=progress,
            )
        except ConnectionLost as exc:
            if exc.result is not None:
                _report(exc.result)
            raise
    _report(result)
    return 0 if result.all_accepted else 1 if result.accepted else 2


def _body(file: BinaryIO) -> tuple[Body, int | None]:
    """The message, whole if it is not large, and its size if that is known."""
    start = file.read(_LARGE + 1)
    if len(start) <= _LARGE:
        return start, len(start)
    rest = iter(partial(file.read, 65536), b"")
    with contextlib.suppress(OSError):  # not every standard input is a file
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            return chain([start], rest), status.st_size
    return chain([start], rest), None


def _report(result: SendResult) -> None:
    for outcome in result.outcomes:
        said = f": {outcome.reply}" if outcome.reply is not None else ""
        print(printable(f"{outcome.recipient} {outcome.status.value}{said}"))


@contextlib.contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int], object] | None]:
    """A progress bar for a large body on a terminal; else nothing."""
    if size is None or size <= _LARGE or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn
    except ImportError:
        try:
            yield lambda done: print(
                f"\r{min(100, 100 * done // size)} %", end="", file=sys.stderr, flush=True
            )
        finally:
            print(file=sys.stderr)
        return
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("sending", total=size)
        yield lambda done: bar.update(task, completed=done)


def _serve(options: argparse.Namespace) -> int:
    handler: Handler = Maildir(options.maildir) if options.maildir else Print()
    context = None
    if options.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with about_file(options.cert):
            context.load_cert_chain(options.cert, options.key)
    elif options.tls or options.require_tls or options.key:
        raise ValueError("--tls, --require-tls and --key need --cert")
    stop = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with blocking.serve(
            handler,
            options.host,
            port_number(options.port),
            unix=options.unix,
            lmtp=options.lmtp,
            tls=options.tls,
            context=context,
            require_tls=options.require_tls,
            domain=options.domain,
        ) as server:
            print(f"listening on {shown(server.address)}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                stop.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


__all__ = ["main"]
