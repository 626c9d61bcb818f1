"""Brings the servers and clients of these tests, for `make interop`. It takes Debian, and root.

Mail servers cannot be installed beside one another, so none is. Each is unpacked into a folder of its own,
with those of its libraries that this machine lacks, and nothing is started. The lists of packages used for it
are private, too. Clients are harmless, and are installed. What is there already takes no time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2] / ".interop"
SERVERS = {
    "postfix": ["postfix", "sasl2-bin", "libsasl2-modules", "libsasl2-modules-db"],
    "dovecot": ["dovecot-lmtpd", "dovecot-submissiond"],
    "opensmtpd": ["opensmtpd"],
}
CLIENTS = ["curl", "git-email", "msmtp", "swaks"]
# What git and swaks need for TLS and for AUTH.
CLIENTS += ["libauthen-sasl-perl", "libdigest-hmac-perl", "libio-socket-ssl-perl", "libmailtools-perl"]
CLIENTS += ["libnet-ssleay-perl"]
NODE = ROOT / "node"
MODULES = ["nodemailer@10"]
NEWER = {("opensmtpd", "bookworm")}
"""What is taken from the backports of a Debian: OpenSMTPD 6.8 fails every handshake with OpenSSL 3."""


class LeftOut(Exception):
    """Something cannot be brought: why."""


def run(*command: str | Path) -> str:
    """Run a command; what it printed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise LeftOut(f"{done.stdout}{done.stderr}".strip())
    return done.stdout


def apt(*arguments: str | Path) -> None:
    """Run apt-get with the private lists."""
    options = {
        "Acquire::http::Timeout": "20",
        "Acquire::Retries": "1",
        "APT::Sandbox::User": "root",
        "Dir::Etc::SourceList": ROOT / "apt/sources.list",
        "Dir::State::Lists": ROOT / "apt/lists",
        "Dpkg::Use-Pty": "0",
    }
    flags = [f"-o{name}={value}" for name, value in options.items()]
    run("apt-get", "-qq", "-y", "--no-install-recommends", *flags, *arguments)


def release() -> str:
    """Which Debian this is."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line[17:] for line in lines if line.startswith("VERSION_CODENAME=")), "")


def update(backports: bool = False) -> None:
    """Fetch the lists of this machine's sources, and of the backports from where the releases are."""
    if shutil.which("apt-get") is None:
        raise LeftOut("there is no apt-get")
    if os.geteuid():
        raise LeftOut("root is needed, to install clients and to run servers in namespaces of their own")
    for folder in ("lists/partial", "archives/partial"):
        (ROOT / "apt" / folder).mkdir(parents=True, exist_ok=True)
    own = Path("/etc/apt/sources.list")
    sources = own.read_text() if own.exists() else ""
    if backports:
        ask = ("$(REPO_URI)", f"Codename: {release()}", "Component: main")
        sites = run("apt-get", "indextargets", "--format", *ask).split()
        sources += "".join(f"deb {site} {release()}-backports main\n" for site in sites[:1])
    (ROOT / "apt/sources.list").write_text(sources)
    apt("update")


def unpack(server: str) -> None:
    """Fetch a server with what it needs, and unpack it."""
    folder, archives = ROOT / server, ROOT / "apt/archives"
    from_backports = (server, release()) in NEWER
    update(from_backports)
    names = [f"{name}/{release()}-backports" if from_backports else name for name in SERVERS[server]]
    apt("install", "--download-only", "--reinstall", f"-oDir::Cache::Archives={archives}", *names)
    for package in archives.glob("*.deb"):
        run("dpkg", "-x", package, folder)
        package.unlink()
    (folder / "unpacked").touch()


def missing(clients: list[str]) -> list[str]:
    """Those of the clients that are not installed."""
    ask = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *clients]
    known = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.splitlines()
    return [name for name in clients if f"installed {name}" not in known]


def install(clients: list[str]) -> None:
    """Install clients."""
    update()
    apt("install", *clients)


def install_modules() -> None:
    """Bring the clients that are modules of Node."""
    if shutil.which("npm") is None:
        raise LeftOut("there is no npm")
    NODE.mkdir(parents=True, exist_ok=True)
    run("npm", "install", "--prefix", NODE, "--no-audit", "--no-fund", "--silent", *MODULES)


def attempt(what: str, bring: Callable[[], None]) -> None:
    """Bring something, or say why it is left out."""
    print(f"Bringing {what} ...", flush=True)
    try:
        bring()
    except LeftOut as exc:
        print(f"Left out, and its tests are skipped: {exc}", flush=True)


def main() -> None:
    """Bring what is missing."""
    for server in SERVERS:
        if not (ROOT / server / "unpacked").exists():
            attempt(server, partial(unpack, server))
    if clients := missing(CLIENTS):
        attempt(", ".join(clients), partial(install, clients))
    if not (NODE / "node_modules").exists():
        attempt(", ".join(MODULES), install_modules)


if __name__ == "__main__":
    main()
