"""A mail server that nobody here wrote, on free ports of 127.0.0.1, in a world of its own.

The paths that these servers want are compiled into them. So each runs in namespaces where its package is in
/usr, its configuration and its accounts are in /etc, and /var and /run are its own; nobody else sees any of
that. When the first process in there ends, the kernel ends all others: nothing is left behind.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import pytest
from install import ROOT
from peers import SECONDS, certificates

HOST = "127.0.0.1"
NAME = "mx.example.test"
USERS = {"alice": "alice's own secret", "bob": "bob, =secret%", "dora": "pässwörd für dora"}
"""Who may log in, with passwords that have to be escaped or prepared somewhere."""
MAILBOXES = (*USERS, "carol", "jürgen")
ACCOUNTS = {
    "mailbox": 64000,
    "postfix": 64010,
    "postdrop": 64011,
    "dovecot": 64020,
    "dovenull": 64021,
    "opensmtpd": 64030,
    "opensmtpq": 64031,
    "nobody": 65534,
}
"""The accounts that there are in these worlds, each with a group."""

# What the package, the server's folder and the host's name are, and what to run there.
ENTER = r"""
set -e
package=$1 own=$2
hostname "$3"
shift 3
ulimit -n 4096  # some close every descriptor that there could be
mount -t overlay overlay -o "lowerdir=$package/usr:/usr" /usr
mount -t overlay overlay -o "lowerdir=$own/etc:$package/etc:/etc" /etc
mount --bind "$own/run" /run
mount --bind "$own/var" /var
cd /var
exec "$@"
"""
# Run until the standard input is closed, be it because who started it is no more.
ATTEND = r"""
exec 3<&0
"$@" </dev/null 3<&- &
daemon=$!
{ read -r _ <&3; kill "$daemon"; } &
wait "$daemon"
"""


def until(condition: Callable[[], bool], why: Callable[[], str]) -> None:
    """Wait for what another program does, which tells nobody."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(why()[-2_000:])
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those that the system gives to clients."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            sock = held.enter_context(socket.socket())
            with suppress(OSError):
                sock.bind((HOST, random.randrange(10_000, 32_000)))
                ports.append(sock.getsockname()[1])
    return ports


def why_not(package: str) -> str | None:
    """What this machine lacks to run a server; None if nothing."""
    if not (ROOT / package / "unpacked").exists():
        return f"{package} is not here: make interop brings it"
    command = ["unshare", "--mount", "--uts", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


class Daemon:
    """A server that runs while this is entered; it can be stopped and started again meanwhile.

    Where it cannot be run on this machine, the test is skipped.
    """

    package: ClassVar[str]
    log: ClassVar[str]
    queues: ClassVar[Sequence[str]] = ()
    """The folders of what is accepted and not delivered yet."""

    def __init__(self) -> None:
        if (reason := why_not(self.package)) is not None:
            pytest.skip(reason)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.package}-"))
        self.folder.chmod(0o755)
        self.smtp, self.submission, self.smtps, self.lmtp = free_ports(4)
        self.context: ssl.SSLContext = certificates().client
        self._process: subprocess.Popen[bytes] | None = None
        self._lay_out()
        self.configure()

    def configure(self) -> None:
        """Write the configuration."""
        raise NotImplementedError

    @property
    def command(self) -> list[str]:
        """What runs in the foreground, as seen from inside."""
        raise NotImplementedError

    @property
    def ports(self) -> list[int]:
        """Those that a client is greeted at in the clear."""
        return [self.smtp, self.submission]

    # Its files

    def write(self, path: str, *lines: str, mode: int = 0o644) -> None:
        """Write a file of the world of this server."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))
        file.chmod(mode)

    def make_folder(
        self, path: str, owner: str | None = None, group: str | None = None, mode: int = 0o755
    ) -> None:
        """Make a folder of the world of this server, for one of its accounts."""
        folder = self.folder / path
        folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, ACCOUNTS.get(owner or "", 0), ACCOUNTS.get(group or "", 0))
        folder.chmod(mode)

    def _lay_out(self) -> None:
        for path in ("run", "var", "var/log", "var/mail"):
            self.make_folder(path)
        self.make_folder("var/tmp", mode=0o1777)
        (self.folder / "var/run").symlink_to("/run")
        for user in MAILBOXES:
            for part in ("", "/new", "/cur", "/tmp"):
                self.make_folder(f"var/mail/{user}{part}", "mailbox", "mailbox", 0o700)
        accounts = {"root": 0, **ACCOUNTS}.items()
        self.write("etc/passwd", *(f"{name}:x:{number}:{number}::/:/bin/false" for name, number in accounts))
        self.write("etc/group", *(f"{name}:x:{number}:" for name, number in accounts))
        self.write("etc/hosts", f"{HOST} localhost {NAME}")
        self.write("etc/nsswitch.conf", "passwd: files", "group: files", "hosts: files")  # and no DNS
        self.write("etc/resolv.conf", "lookup file")
        self.make_folder("etc/tls")
        certificates().write(self.folder / "etc/tls")
        (self.folder / "etc/tls/server.pem").chmod(0o600)

    # Its life

    def inside(self, *command: str) -> list[str]:
        """This command, to be run in the world of this server."""
        namespaces = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        enter = ["sh", "-c", ENTER, "sh", str(ROOT / self.package), str(self.folder), NAME]
        return ["unshare", *namespaces, "--", *enter, *command]

    def run(self, *command: str, text: str = "") -> str:
        """Run a command in there; what it prints."""
        done = subprocess.run(
            self.inside(*command), input=text, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it greets."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.inside("sh", "-c", ATTEND, "sh", *self.command),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        for port in self.ports:
            until(partial(self._greets, port), self.logged)

    def stop(self) -> None:
        """Stop it, and wait until it is gone."""
        if (process := self._process) is None:
            return
        self._process = None
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It does not run meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _greets(self, port: int) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ChildProcessError(self.logged())
        with suppress(OSError), socket.create_connection((HOST, port), SECONDS) as sock:
            return sock.recv(3) == b"220"
        return False

    def logged(self) -> str:
        """What it wrote into its log, and onto its terminal."""
        files = (self.folder / "output", self.folder / self.log)
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._clear_away()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear_away()

    def _clear_away(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    # What arrived

    def settle(self) -> None:
        """Wait until all that was accepted is delivered."""
        folders = [self.folder / queue for queue in self.queues]
        until(lambda: not any(files for each in folders for *_, files in os.walk(each)), self.logged)

    def files(self) -> list[Path]:
        """All that was delivered and not taken out yet."""
        return list(self.folder.glob("var/mail/*/new/*"))

    def clear(self) -> None:
        """Empty the mailboxes."""
        for file in self.files():
            file.unlink()

    def delivered(self, user: str, count: int = 1) -> list[bytes]:
        """The messages of a mailbox, oldest first, once there are so many; they are taken out of it."""
        mailbox = self.folder / "var/mail" / user / "new"
        until(lambda: len(list(mailbox.iterdir())) >= count, self.logged)
        files = sorted(mailbox.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        messages = [file.read_bytes() for file in files]
        for file in files:
            file.unlink()
        return messages


def lines(settings: Mapping[str, object]) -> list[str]:
    """Settings as Postfix and Dovecot write them."""
    return [f"{name} = {value}" for name, value in settings.items()]
