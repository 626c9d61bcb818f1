"""The other libraries and programs: what is there, where, and why something is not. None is needed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Where packages of Debian are unpacked, by the tests with real servers too.
UNPACKED = ROOT / ".interop"
SLIMTA = ROOT / ".venv-slimta"
# Of newer ones python-slimta cannot find its own version.
SLIMTA_NEEDS = ["python-slimta==5.0.5", "setuptools==80.10.2", "gevent>=24.2"]


def postfix_program(name: str) -> str | None:
    """Where Postfix's `smtp-sink` or `smtp-source` is."""
    unpacked = UNPACKED / "postfix/usr/sbin" / name
    return str(unpacked) if unpacked.exists() else shutil.which(name, path=f"/usr/sbin:{os.environ['PATH']}")


def postfix_command(name: str) -> list[str]:
    return [postfix_program(name) or name]


POSTFIX_ENVIRONMENT = {"LD_LIBRARY_PATH": str(UNPACKED / "postfix/usr/lib/postfix"), "LC_ALL": "C"}


def unprivileged() -> list[str]:
    """smtp-sink will not be root."""
    return ["-u", "nobody"] if os.geteuid() == 0 else []


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def fetch() -> None:
    """Bring what is missing and can be had. What cannot is named in the tables."""
    if not (SLIMTA / "installed").exists():
        shutil.rmtree(SLIMTA, ignore_errors=True)
        python = str(SLIMTA / "bin/python")
        if attempt(sys.executable, "-m", "venv", str(SLIMTA)) and attempt(
            python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *SLIMTA_NEEDS
        ):
            (SLIMTA / "installed").touch()
    if postfix_program("smtp-sink") is None and shutil.which("apt-get") and shutil.which("dpkg"):
        folder = UNPACKED / "postfix"
        folder.mkdir(parents=True, exist_ok=True)
        if attempt("apt-get", "-qq", "download", "postfix", folder=folder):
            for package in folder.glob("*.deb"):
                attempt("dpkg", "-x", str(package), str(folder))
                package.unlink()


def attempt(*command: str, folder: Path | None = None) -> bool:
    """Run a command, for two minutes at most; whether it worked."""
    print(f"Bringing a peer: {' '.join(command[:4])} ...", flush=True)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@cache
def absent(peer: str | None) -> str | None:
    """Why a peer cannot take part; None if it can."""
    if peer == "slimta":
        return (
            None if (SLIMTA / "installed").exists() else "could not be installed in an environment of its own"
        )
    if peer in ("smtp-sink", "smtp-source"):
        return None if postfix_program(peer) else "Postfix is neither installed nor to be had"
    return None if peer is None or find_spec(peer) else "not installed"


def python_for(peer: str | None) -> str:
    """The interpreter that has it."""
    return str(SLIMTA / "bin/python") if peer == "slimta" else sys.executable


def versions() -> dict[str, str]:
    """What is measured."""
    found = {}
    for name in ("aiosmtplib", "aiosmtpd", "smtpproto", "h11", "trio", "gevent"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if absent("slimta") is None:
        found["python-slimta"] = SLIMTA_NEEDS[0].partition("==")[2]
    if program := postfix_program("smtp-sink"):
        found["Postfix"] = mail_version(program)
    return found


def mail_version(program: str) -> str:
    """What Postfix calls itself: its programs carry it in them."""
    found = re.search(rb"mail_version=([\d.]+)", Path(program).read_bytes())
    return found[1].decode() if found else "?"
