"""The command `smtp-proto check`: the rules of the RFCs are held against a server, within bounds."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from smtp_proto import Ehlo, Rcpt

from ._cli_connections import Connections
from ._cli_place import Place, add_place, check_seconds, place_of
from ._cli_text import EXIT_UNKNOWN, put_out
from ._places import own_name
from ._secrets import forms, without_secrets

if TYPE_CHECKING:
    from smtp_proto.testing.conformance import Verdict

    from ._report import Report

_RATE, _PATIENCE, _EXAMPLES, _COMMANDS = 20.0, 10.0, 30, 3000

_EPILOG = (
    "Exit code: 0 every rule that was asked is kept, 1 a `should` is broken, 2 a `must` is broken, 3 it "
    "could not be checked. Nothing is delivered without --deliver-to: every transaction ends before its end "
    "of data. It connects to this server, some hundred times, and to nobody else."
)

# What the rules need has other names here.
_NEEDS = {
    f"the option {option} does not allow it": f"needs {name}"
    for option, name in (
        ("recipients", "--to or --deliver-to"),
        ("deliver", "--deliver-to"),
        ("delivered", "to see what arrived, as a test can"),
        ("refused", "--refused"),
        ("many_recipients", "--many-recipients"),
        ("attack", "--attack"),
        ("credentials", "--user"),
        ("starttls", "--starttls"),
    )
}


def add_check(commands: Any) -> None:
    """Add the command to these."""
    parser = commands.add_parser("check", help="hold the rules of the RFCs against a server", epilog=_EPILOG)
    add_place(parser, "begin with STARTTLS where it is offered, and check it")
    parser.add_argument("--user", metavar="NAME", help="log in, under TLS; the password is asked for")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its first line is the password")
    parser.add_argument("--from", dest="sender", metavar="ADDRESS", help="the sender of the transactions")
    recipients = parser.add_mutually_exclusive_group()
    recipients.add_argument(
        "--to", action="append", default=[], metavar="ADDRESS", help="a recipient that the server takes"
    )
    recipients.add_argument(
        "--deliver-to",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="one who may get messages",
    )
    parser.add_argument("--refused", metavar="ADDRESS", help="a recipient that the server should refuse")
    parser.add_argument("--many-recipients", action="store_true", help="see if 100 fit in a transaction")
    parser.add_argument("--attack", action="store_true", help="try to smuggle and inject, too")
    _add_bounds(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page for a browser")
    parser.set_defaults(run=_run, failed=EXIT_UNKNOWN)


def _add_bounds(parser: argparse.ArgumentParser) -> None:
    for name, kind, default, what in (
        ("examples", int, _EXAMPLES, "random sessions; 0 for none. They need Hypothesis"),
        ("rate", float, _RATE, "commands a second, at most"),
        ("max-commands", int, _COMMANDS, "in all; the rest is not asked"),
        ("patience", float, _PATIENCE, "seconds to wait for a reply"),
    ):
        parser.add_argument(
            f"--{name}", type=kind, default=default, metavar="N", help=f"{what} (default: {default:g})"
        )


def _run(options: argparse.Namespace) -> int:
    from ._report_page import page, written

    check_seconds("--patience", options.patience)
    if not options.rate > 0 or options.examples < 0:
        raise ValueError("--rate takes more than 0 commands a second, and --examples no less than 0")
    _check_words(options)
    place, password = place_of(options), _password(options)
    with contextlib.ExitStack() as stack:
        file: IO[str] | None = None
        if options.html is not None:
            # Now, and not when all the work is done, it turns out if that can be written.
            file = stack.enter_context(written(options.html))
        if options.examples:
            stack.enter_context(_traceless_hypothesis())
        report = _check(place, options, password)
        if file is not None:
            file.write(page(report))
    put_out(report.document(), report.lines(), as_json=options.json)
    return report.exit_code


@contextlib.contextmanager
def _traceless_hypothesis() -> Iterator[None]:
    """Hypothesis leaves what it has learned in the current folder; what it learns here is forgotten."""
    try:
        from hypothesis.configuration import set_hypothesis_home_dir
    except ImportError:
        yield
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)


def _check_words(options: argparse.Namespace) -> None:
    """Raises `LocalProtocolError` for what is no address or no domain: no server would take it."""
    for address in (options.sender, options.refused, *options.to, *options.deliver_to):
        if address is not None:
            Rcpt(forward_path=address)
    if options.domain is not None:
        Ehlo(domain=options.domain)


def _password(options: argparse.Namespace) -> str | None:
    """The user's. Raises `ValueError` if there is none, or it would be said in the clear."""
    if options.user is None:
        if options.password_file is not None:
            raise ValueError("--password-file needs --user")
        return None
    if not (options.tls or options.starttls or options.unix):
        raise ValueError("--user needs --tls, --starttls or --unix: a password is not said in the clear")
    if options.password_file is not None:
        password = _first_line(options.password_file)
    elif sys.stdin.isatty():
        password = getpass.getpass(f"Password of {options.user}: ")
    else:
        raise ValueError("--user needs --password-file where nobody can be asked")
    if not password:
        raise ValueError("the password is empty")
    return password


def _first_line(path: Path) -> str:
    try:
        return path.read_bytes().partition(b"\n")[0].removesuffix(b"\r").decode()
    except UnicodeDecodeError:  # its text would tell some of it
        raise ValueError(f"{path} is not UTF-8") from None


def _check(place: Place, options: argparse.Namespace, password: str | None) -> Report:
    from smtp_proto.testing.conformance import ServerOptions, check_server

    from ._report import Report

    pace = _Pace(options.rate)
    secrets: Sequence[str] = () if password is None else forms(options.user, password)
    connections = Connections(place, options.patience, () if place.unix else secrets)
    settings: dict[str, Any] = {} if options.sender is None else {"sender": options.sender}
    try:
        allowed = ServerOptions(
            lmtp=place.lmtp,
            domain=options.domain or own_name(),
            recipients=options.deliver_to or options.to,
            refused=options.refused,
            many_recipients=options.many_recipients,
            deliver=bool(options.deliver_to),
            attack=options.attack,
            credentials=None if password is None else (options.user, password),
            starttls=options.starttls,
            examples=options.examples,
            patience=options.patience,
            pause=pace,
            clock=time.monotonic,
            max_commands=options.max_commands,
            **settings,
        )
        verdicts = check_server(connections, allowed)
    finally:
        connections.close()
        pace.clear()
    return Report(
        server=str(place),
        protocol=place.protocol,
        when=datetime.now(UTC),
        commands=pace.commands,
        notes=tuple(_notes(options)),
        verdicts=tuple(without_secrets(_in_our_words(verdict), secrets) for verdict in verdicts),
    )


def _in_our_words(verdict: Verdict) -> Verdict:
    """Why a rule was not asked, with the names of the command line."""
    return replace(verdict, detail=_NEEDS.get(verdict.detail, verdict.detail))


def _notes(options: argparse.Namespace) -> Iterator[str]:
    if options.examples and importlib.util.find_spec("hypothesis") is None:
        yield "No random sessions, only fixed dialogues: they need Hypothesis (smtp-proto[testing])."
    if not (options.to or options.deliver_to):
        yield "No transactions with a recipient: --to names one that the server takes."
    if not options.deliver_to:
        yield "Nothing was delivered: --deliver-to names a recipient for messages."
    if not options.attack:
        yield "Nothing was smuggled or injected: --attack tries it."


class _Pace:
    """Waits before each command until its time has come; on a terminal it says how many there were."""

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.commands = 0
        self._between = 1 / rate
        self._due = clock()
        self._clock = clock
        self._sleep = sleep
        self._shows = sys.stderr.isatty()

    def __call__(self) -> None:
        left = self._due - self._clock()
        if left > 0:
            self._sleep(left)
        self._due = max(self._due, self._clock()) + self._between
        self.commands += 1
        if self._shows:
            print(f"\r{self.commands} commands", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the line for something else."""
        if self._shows and self.commands:
            print("\r" + " " * len(f"{self.commands} commands"), end="\r", file=sys.stderr, flush=True)
