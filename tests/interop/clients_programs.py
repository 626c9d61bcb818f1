"""Mail clients of other people, each as a function that sends a letter to one of our servers.

What they are told is the least that makes them do it: where the server is, whom to trust, and how to log in.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiosmtplib
from clients_ours import PASSWORD, USER, Place
from install import NODE

# Nothing takes so long unless it hangs.
PATIENCE = 30
DOMAIN = "client.example"
SENDER, RECIPIENT = "ada@client.example", "bob@mx.example"


class Letter(NamedTuple):
    """What is to be sent, and as whom."""

    data: bytes
    sender: str = SENDER
    recipients: Sequence[str] = (RECIPIENT,)
    mechanism: str | None = None
    user: str = USER
    secret: str = PASSWORD
    dsn: bool = False
    """Ask for reports of failure and success, with the header only, if the client can."""


class Sent(NamedTuple):
    """What the client said: whether it is content, and what it printed or raised."""

    is_content: bool
    text: str


Send = Callable[[Place, Letter], Sent]


class Client(NamedTuple):
    """A client, and what it can do."""

    name: str
    send: Send
    missing: Callable[[], str | None]
    """Why it cannot run here; None if it can."""
    mechanisms: Sequence[str] = ()
    ways: Sequence[str] = ("tcp", "starttls", "tls")
    can: frozenset[str] = frozenset()
    """Of `8bitmime`, `dsn`, `lmtp`, `smtputf8`, and `some`: sends to the others if a recipient is refused."""


def run(command: Sequence[object], data: bytes = b"", **environment: str) -> Sent:
    """Run a program to its end. No configuration of whoever runs the tests takes part."""
    done = subprocess.run(
        [str(word) for word in command],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", **environment},
        check=False,
    )
    return Sent(done.returncode == 0, done.stdout.decode("utf-8", "backslashreplace"))


def _program(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else f"{name} is not installed"


# --- swaks


def by_swaks(place: Place, letter: Letter, *more: object) -> Sent:
    command: list[object] = ["swaks", "--helo", DOMAIN, "--from", letter.sender, "--timeout", PATIENCE]
    command += ["--to", ",".join(letter.recipients), "--data", "-", "--no-data-fixup"]
    if place.way == "unix":
        command += ["--socket", place.address, "--protocol", "LMTP"]
    else:
        command += ["--server", place.host, "--port", place.port]
    if place.way in ("starttls", "tls"):
        command += ["--tls" if place.way == "starttls" else "--tls-on-connect"]
        command += ["--tls-verify", "--tls-ca-path", place.ca]
    if letter.mechanism:
        command += ["--auth", letter.mechanism, "--auth-user", letter.user, "--auth-password", letter.secret]
    return run([*command, *more], _stuffed(letter.data))


def _stuffed(data: bytes) -> bytes:
    """As `--no-data-fixup` wants it, which adds the last CRLF; without, swaks would add an empty line."""
    return data.replace(b"\r\n.", b"\r\n..") + b"."


# --- msmtp


def by_msmtp(place: Place, letter: Letter, *more: object) -> Sent:
    command: list[object] = ["msmtp", "--domain", DOMAIN, "--from", letter.sender, "--timeout", PATIENCE]
    if place.way == "unix":
        command += ["--host", "localhost", "--port", 24, "--socket", place.address, "--protocol=lmtp"]
    else:
        command += ["--host", place.host, "--port", place.port]
    if place.way in ("starttls", "tls"):
        command += ["--tls=on", f"--tls-starttls={'on' if place.way == 'starttls' else 'off'}"]
        command += ["--tls-trust-file", place.ca]
    if letter.mechanism == "EXTERNAL":
        command += ["--tls-cert-file", place.user, "--tls-key-file", place.user]
    if letter.mechanism:
        command += [f"--auth={letter.mechanism.lower()}", "--user", letter.user]
        command += ["--passwordeval", "printenv SECRET"]
    if letter.dsn:
        command += ["--dsn-notify=failure,success", "--dsn-return=hdrs"]
    # It is a sendmail, which is given the line ends of the system.
    data = letter.data.replace(b"\r\n", b"\n")
    return run([*command, *more, "--", *letter.recipients], data, SECRET=letter.secret)


# --- curl


def by_curl(place: Place, letter: Letter, *more: object) -> Sent:
    scheme = "smtps" if place.way == "tls" else "smtp"
    command: list[object] = ["curl", "--silent", "--show-error", "--verbose", "--max-time", PATIENCE]
    command += [f"{scheme}://{place.host}:{place.port}/{DOMAIN}", "--mail-from", letter.sender]
    for recipient in letter.recipients:
        command += ["--mail-rcpt", recipient]
    if len(letter.recipients) > 1:
        command += ["--mail-rcpt-allowfails"]
    if place.way in ("starttls", "tls"):
        command += ["--ssl-reqd", "--cacert", place.ca]
    if letter.mechanism == "EXTERNAL":
        command += ["--cert", place.user, "--user", f"{letter.user}:"]
    elif letter.mechanism:
        command += ["--user", f"{letter.user}:{letter.secret}"]
    if letter.mechanism:
        command += ["--login-options", f"AUTH={letter.mechanism}"]
    if letter.mechanism in ("OAUTHBEARER", "XOAUTH2"):
        command += ["--oauth2-bearer", letter.secret]
    return run([*command, *more, "--upload-file", "-"], letter.data)


# --- git send-email


def by_git(place: Place, letter: Letter, *more: object) -> Sent:
    patch = place.folder / "0001.patch"
    patch.write_bytes(letter.data.replace(b"\r\n", b"\n"))
    command: list[object] = ["git", "send-email", "--confirm=never", "--suppress-cc=all", "--no-validate"]
    command += ["--transfer-encoding=8bit", "--smtp-debug=1", "--smtp-domain", DOMAIN]
    command += ["--smtp-server", place.host, "--smtp-server-port", place.port, "--from", letter.sender]
    for recipient in letter.recipients:
        command += ["--to", recipient]
    if place.way in ("starttls", "tls"):
        command += [f"--smtp-encryption={'tls' if place.way == 'starttls' else 'ssl'}"]
        command += ["--smtp-ssl-cert-path", place.ca]
    if letter.mechanism:
        command += ["--smtp-auth", letter.mechanism, "--smtp-user", letter.user, "--smtp-pass", letter.secret]
    return run([*command, *more, patch], GIT_CONFIG_NOSYSTEM="1")


def _git_is_missing() -> str | None:
    if shutil.which("git"):
        folder = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout
        if Path(folder.strip(), "git-send-email").exists():
            return None
    return "git send-email is not installed"


# --- The standard library's smtplib


def _client_context(place: Place) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=place.ca)


def by_smtplib(place: Place, letter: Letter) -> Sent:
    try:
        with _smtplib_client(place, letter) as client:
            if place.way == "starttls":
                client.starttls(context=_client_context(place))
            client.ehlo_or_helo_if_needed()
            if letter.mechanism:
                client.user, client.password = letter.user, letter.secret
                method = getattr(client, f"auth_{letter.mechanism.lower().replace('-', '_')}")
                client.auth(letter.mechanism, method)
            refused = client.sendmail(letter.sender, letter.recipients, letter.data, *_options(letter))
            return Sent(not refused, repr(refused))
    except OSError as exc:  # what this client raises of its own is one, too
        return Sent(False, repr(exc))


def _smtplib_client(place: Place, letter: Letter) -> smtplib.SMTP:
    options: Any = {"local_hostname": DOMAIN, "timeout": PATIENCE}
    if place.way == "unix":
        client: smtplib.SMTP = smtplib.LMTP(str(place.address), local_hostname=DOMAIN, timeout=PATIENCE)
    elif place.way == "tls":
        context = _client_context(place)
        client = smtplib.SMTP_SSL(place.host, place.port, context=context, **options)
    else:
        client = smtplib.SMTP(place.host, place.port, **options)
    return client


def _options(letter: Letter) -> tuple[list[str], list[str]]:
    """Of MAIL and RCPT, for those who have to be told."""
    addresses = letter.sender + "".join(letter.recipients)
    mail = ["BODY=8BITMIME"] + ["SMTPUTF8"] * (not addresses.isascii()) + ["RET=HDRS"] * letter.dsn
    return mail, ["NOTIFY=FAILURE,SUCCESS"] * letter.dsn


# --- aiosmtplib


def by_aiosmtplib(place: Place, letter: Letter) -> Sent:
    client = aiosmtplib.SMTP(
        hostname=place.host,
        port=place.port,
        local_hostname=DOMAIN,
        timeout=PATIENCE,
        use_tls=place.way == "tls",
        start_tls=place.way == "starttls",
        tls_context=_client_context(place),
    )

    async def send() -> Sent:
        await client.connect()
        sock = client.get_transport_info("socket")
        try:
            async with client:
                return await _send_by_aiosmtplib(client, letter)
        finally:
            while sock.fileno() >= 0:  # noqa: ASYNC110 - nobody tells when it has hung up
                await asyncio.sleep(0)

    try:
        return asyncio.run(send())
    except (OSError, aiosmtplib.SMTPException) as exc:
        return Sent(False, repr(exc))


async def _send_by_aiosmtplib(client: aiosmtplib.SMTP, letter: Letter) -> Sent:
    await client.ehlo()
    if letter.mechanism:
        method = getattr(client, f"auth_{letter.mechanism.lower().replace('-', '')}")
        await method(letter.user, letter.secret)
    mail, rcpt = _options(letter)
    recipients = list(letter.recipients)
    errors, text = await client.sendmail(
        letter.sender, recipients, letter.data, mail_options=mail, rcpt_options=rcpt
    )
    return Sent(not errors, f"{errors!r} {text}")


# --- nodemailer

MODULES = NODE / "node_modules"


def by_nodemailer(place: Place, letter: Letter) -> Sent:
    options: dict[str, Any] = {"name": DOMAIN, "lmtp": place.way == "unix", "ignoreTLS": place.way == "tcp"}
    options |= {"secure": place.way == "tls", "requireTLS": place.way == "starttls"}
    if place.way == "unix":
        options["unix"] = place.address
    else:
        options |= {"host": place.host, "port": place.port}
    if letter.mechanism == "XOAUTH2":
        options["auth"] = {"type": "OAuth2", "user": letter.user, "accessToken": letter.secret}
    elif letter.mechanism:
        options["authMethod"] = letter.mechanism
        options["auth"] = {"user": letter.user, "pass": letter.secret}
    envelope: dict[str, Any] = {"from": letter.sender, "to": list(letter.recipients), "use8BitMime": True}
    if letter.dsn:
        envelope["dsn"] = {"return": "headers", "notify": ["failure", "success"]}
    job = {"options": options, "envelope": envelope, "ca": str(place.ca), "raw": letter.data.hex()}
    script = Path(__file__).with_name("clients_nodemailer.cjs")
    return run(["node", script], json.dumps(job).encode(), NODE_PATH=str(MODULES))


def _nodemailer_is_missing() -> str | None:
    if not shutil.which("node"):
        return "node is not installed"
    return None if (MODULES / "nodemailer").is_dir() else "nodemailer is not installed"


BASIC = ("PLAIN", "LOGIN", "CRAM-MD5")
EVERYWHERE = ("tcp", "starttls", "tls", "unix")


def _able(*words: str) -> frozenset[str]:
    return frozenset(words)


_ALL = (
    Client("swaks", by_swaks, _program("swaks"), BASIC, EVERYWHERE, _able("lmtp", "some")),
    Client(
        "msmtp",
        by_msmtp,
        _program("msmtp"),
        (*BASIC, "SCRAM-SHA-1", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
        EVERYWHERE,
        _able("dsn", "lmtp"),
    ),
    Client(
        "curl",
        by_curl,
        _program("curl"),
        (*BASIC, "OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
        can=_able("smtputf8", "some"),
    ),
    Client("git send-email", by_git, _git_is_missing, BASIC),
    Client(
        "smtplib",
        by_smtplib,
        lambda: None,
        BASIC,
        EVERYWHERE,
        _able("8bitmime", "dsn", "lmtp", "smtputf8", "some"),
    ),
    Client(
        "aiosmtplib",
        by_aiosmtplib,
        lambda: None,
        (*BASIC, "XOAUTH2"),
        can=_able("8bitmime", "dsn", "smtputf8", "some"),
    ),
    Client(
        "nodemailer",
        by_nodemailer,
        _nodemailer_is_missing,
        (*BASIC, "XOAUTH2"),
        EVERYWHERE,
        _able("8bitmime", "dsn", "lmtp", "smtputf8", "some"),
    ),
)
CLIENTS = {client.name: client for client in _ALL}
