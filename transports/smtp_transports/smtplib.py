"""All that the standard library's `smtplib` documents, over the core of this library.

from smtp_transports import smtplib

The low-level calls go one at a time, as written. `sendmail` and `send_message` send the whole envelope at
once where the server offers PIPELINING and nothing that can be observed from outside depends on the single
calls. docs/smtplib.md lists what differs from the original.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import datetime
import email.generator
import email.message
import email.utils
import hmac
import io
import math
import re
import secrets
import socket
import ssl
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Self, TypeAlias, cast

from smtp_proto import (
    NEED_DATA,
    ClientConnection,
    ConnectionLost,
    DataWriter,
    EndOfMessage,
    Features,
    Limits,
    LocalProtocolError,
    Mail,
    NotOffered,
    Parameters,
    Path,
    Rcpt,
    RemoteProtocolError,
    Reply,
    ReplyStream,
    Signal,
    State,
    normalize_line_ends,
    ops,
)
from smtp_proto.ops import Outcome, SendResult, Status

from ._answers import Octets, parts
from ._run import Driver

__all__ = [
    "SMTP",
    "SMTP_SSL",
    "SMTPAuthenticationError",
    "SMTPConnectError",
    "SMTPDataError",
    "SMTPException",
    "SMTPHeloError",
    "SMTPNotSupportedError",
    "SMTPRecipientsRefused",
    "SMTPResponseException",
    "SMTPSenderRefused",
    "SMTPServerDisconnected",
    "quoteaddr",
    "quotedata",
]

SMTP_PORT = 25
SMTP_SSL_PORT = 465
LMTP_PORT = 2003
CRLF = "\r\n"
bCRLF = b"\r\n"
OLDSTYLE_AUTH = re.compile(r"auth=(.*)", re.IGNORECASE)
_MAXLINE = 8192
_MAXCHALLENGE = 5

_Answer: TypeAlias = tuple[int, bytes]
"""A reply: its code, -1 if it has none, and its text, lines joined with line feeds."""

_READ = 65536
_NONE: Mapping[str, Any] = {}
_BLANKS = b" \t\r\n"
_MECHANISMS = ("CRAM-MD5", "PLAIN", "LOGIN")  # in the order in which `login` tries them, behind these
_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-1")
# What the original has for a default too: private to `socket`, and so unknown to mypy.
_DEFAULT_TIMEOUT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
# A socket has a timeout of its own here.
_FOR_EVER = math.inf
# What the server sends is bounded; what the user sends is the user's affair.
_LIMITS = Limits(reply_line=_MAXLINE, text_line=None)
# Commands that neither open a transaction nor end one.
_HARMLESS = frozenset(("noop", "vrfy", "expn", "help", "auth", "starttls"))


class SMTPException(OSError):
    """Base of everything that this module raises on its own account."""


class SMTPNotSupportedError(SMTPException):
    """The server does not offer what the command or its option needs."""


class SMTPServerDisconnected(SMTPException):
    """There is no connection: it broke, timed out, or was never made."""


class SMTPResponseException(SMTPException):
    """The server answered with an error. `code`, `msg`: the reply's code, and its text, octets as they
    came; they become the attributes `smtp_code` and `smtp_error`.
    """

    def __init__(self, code: int, msg: bytes | str) -> None:
        self.smtp_code = code
        self.smtp_error = msg
        self.args: tuple[Any, ...] = (code, msg)


class SMTPSenderRefused(SMTPResponseException):
    """The server refused the address `sender`."""

    def __init__(self, code: int, msg: bytes | str, sender: str) -> None:
        self.smtp_code = code
        self.smtp_error = msg
        self.sender = sender
        self.args: tuple[Any, ...] = (code, msg, sender)


class SMTPRecipientsRefused(SMTPException):
    """No recipient was accepted. `recipients`: address to code and text, as `SMTP.sendmail` returns it."""

    def __init__(self, recipients: dict[str, _Answer]) -> None:
        self.recipients = recipients
        self.args: tuple[Any, ...] = (recipients,)


class SMTPDataError(SMTPResponseException):
    """The server did not take the message."""


class SMTPConnectError(SMTPResponseException):
    """The server did not greet with 220."""


class SMTPHeloError(SMTPResponseException):
    """The server refused EHLO and HELO."""


class SMTPAuthenticationError(SMTPResponseException):
    """The server did not take the credentials."""


def quoteaddr(addrstring: str) -> str:
    """The address of a header field, such as `Bob <bob@example.com>`, in angle brackets."""
    address = _addr_only(addrstring)
    if address is addrstring and address.strip().startswith("<"):
        return address
    return f"<{address}>"


def quotedata(data: str) -> str:
    """`data` with CRLF at the end of each line and a dot more where a line begins with one."""
    writer = DataWriter(line_limit=None, allow_nul=True)
    # A CR at the end would wait for what follows.
    octets = writer.write(normalize_line_ends(data.encode("utf-8", "surrogatepass")))
    return octets.decode("utf-8", "surrogatepass")


def _addr_only(addrstring: str) -> str:
    """The address alone, or `addrstring` itself if there is none to be found."""
    name, address = email.utils.parseaddr(addrstring)
    return address if name or address else addrstring


def _envelope(address: str) -> str:
    """`address` as MAIL and RCPT take it. Raises `ValueError` for one that would bring something along."""
    quoted, given = quoteaddr(_one_line(address)), address.strip()
    inner = quoted[1:-1]
    whole = quoted[-1:] == ">" and (given[:1] != "<" or given == quoted)
    if not whole or not inner.isprintable() or (("<" in inner or ">" in inner) and not _is_path(inner)):
        raise ValueError(f"not an address: {address!r}")
    return quoted


def _is_path(address: str) -> bool:
    try:
        Path(address)
    except LocalProtocolError:
        return False
    return True


def _recipient(address: str) -> str:
    quoted = _envelope(address)
    if quoted == "<>":
        raise ValueError(f"a recipient without an address: {address!r}")
    return quoted


def _path(address: str) -> Path:
    try:
        return Path(address)
    except LocalProtocolError:
        return Path(_envelope(address)[1:-1])


def _words(options: Iterable[str]) -> str:
    """ESMTP parameters as they stand behind the path. Raises `ValueError` for two in one."""
    text = "".join(f" {option}" for option in options)
    if _one_line(text) and any(not option.isprintable() or " " in option for option in options):
        raise ValueError(f"an option is one word: {text!r}")
    return text


def _one_line(line: str) -> str:
    if "\r" in line or "\n" in line:
        line = line.replace("\n", "\\n").replace("\r", "\\r")
        raise ValueError(f"command and arguments contain prohibited newline characters: {line}")
    return line


def _is_good(answer: _Answer) -> bool:
    return 200 <= answer[0] <= 299


def _text(lines: Iterable[bytes]) -> bytes:
    return b"\n".join(line.strip(_BLANKS) for line in lines)


def _answer(reply: Reply) -> _Answer:
    return reply.code, _text(reply.raw_text.split(b"\n"))


def _outcome(recipient: str, answer: _Answer | None, sent: bool) -> Outcome:
    reply = None
    if answer is None:
        status = Status.UNKNOWN if sent else Status.UNSENT
    else:
        status = Status.ACCEPTED if sent and _is_good(answer) else Status.REFUSED
        with contextlib.suppress(LocalProtocolError):  # a code that no RFC knows
            lines = answer[1].decode("utf-8", "surrogateescape").split("\n")
            reply = Reply(code=answer[0], lines=lines)
    return Outcome(recipient=cast(Path, recipient), status=status, reply=reply)


def _verified(
    context: ssl.SSLContext | None, keyfile: str | None = None, certfile: str | None = None
) -> ssl.SSLContext:
    """`context`, or one that verifies certificates and names."""
    if keyfile is not None or certfile is not None:
        if context is not None:
            raise ValueError("context excludes keyfile and certfile")
        if certfile is None:
            raise ValueError("a keyfile without its certfile")
        warnings.warn("keyfile and certfile are deprecated: pass a context", DeprecationWarning, stacklevel=3)
    if context is None:
        context = ssl.create_default_context()
        if certfile is not None:
            context.load_cert_chain(certfile, keyfile)
    return context


class _Wire:
    """The socket of an `SMTP` as a stream."""

    def __init__(self, smtp: SMTP) -> None:
        # No circle: who forgets an `SMTP` without closing it closes its socket all the same.
        self._smtp: Callable[[], Any] = weakref.ref(smtp)
        self.ended = False

    def send_all(self, data: bytes, timeout: float | None) -> None:
        smtp = self._smtp()
        sys.audit("smtplib.send", smtp, data)
        smtp.sock.sendall(data)

    def receive_some(self, max_octets: int, timeout: float | None) -> bytes:
        octets: bytes = self._smtp().sock.recv(max_octets)
        self.ended = not octets
        return octets

    def start_tls(self, timeout: float | None) -> None:
        raise NotImplementedError("SMTP.starttls does it")

    def close(self) -> None:
        self._smtp().close()


class SMTP:
    """A client of an SMTP server.

    With a `host` it connects at once, and raises `SMTPConnectError` unless the greeting is 220. `port`: 25
    if 0. `local_hostname`: what EHLO says; by default the name of this machine. `timeout`: in seconds, of
    each wait; None for ever. `source_address`: host and port to connect from.

    Methods that say one command return the code and the text of the reply, octets, lines joined with line
    feeds. All raise `SMTPServerDisconnected` if the connection breaks, and `ValueError` for CR or LF in an
    argument.

    As with the original, `sock` is the connected socket or None, `file` what reads from it, `debuglevel`
    what `set_debuglevel` set, `helo_resp` and `ehlo_resp` what the server answered last, `does_esmtp`
    whether it knows EHLO, `default_port` and `ehlo_msg` what a subclass may set, `user` and `password` what
    `login` was given.
    """

    debuglevel: int = 0
    sock: Any = None
    file: ReplyStream | None = None
    helo_resp: bytes | None = None
    ehlo_msg = "ehlo"
    ehlo_resp: bytes | None = None
    does_esmtp: bool = False
    default_port = SMTP_PORT
    user: str
    password: str
    last_result: SendResult | None = None
    """What became of the last message, recipient by recipient; None before the first."""

    _challenged = False  # the last reply was 334: what comes next is a secret
    _is_idle = True  # no transaction was opened by hand
    _accepted = 0  # recipients of the transaction
    _is_sent = False  # the message's end was said
    _conn: ClientConnection
    _driver: Driver | None = None  # of `_conn`
    _driver_features: dict[str, str] | None = None  # those for which it was made

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: Any = _DEFAULT_TIMEOUT,
        source_address: tuple[str, int] | None = None,
    ) -> None:
        self._host = self._connected_to = host
        self.timeout = timeout
        self.esmtp_features: dict[str, str] = {}
        self.command_encoding: str = "ascii"
        self.source_address = source_address
        self._auth_challenge_count = 0
        self._verdicts: list[_Answer] = []
        if host:
            code, msg = self.connect(host, port)
            if code != 220:
                self.close()
                raise SMTPConnectError(code, msg)
        self.local_hostname: str = _own_name() if local_hostname is None else local_hostname

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        try:
            code, msg = self.docmd("QUIT")
            if code != 221:
                raise SMTPResponseException(code, msg)
        except SMTPServerDisconnected:
            pass
        finally:
            self.close()

    def set_debuglevel(self, debuglevel: int) -> None:
        """Print the conversation to `sys.stderr`; with 2 also the time. Secrets of AUTH are hidden."""
        self.debuglevel = debuglevel

    def _print_debug(self, *args: object) -> None:
        if self.debuglevel > 1:
            # The time of day here, without a zone, as the original prints it.
            args = (datetime.datetime.now().time(), *args)  # noqa: DTZ005
        print(*args, file=sys.stderr)

    # The connection -----------------------------------------------------------------------------------

    def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
        """A connected socket. To be overridden by those who connect another way."""
        self._refuse_no_timeout()
        if self.debuglevel > 0:
            self._print_debug("connect: to", (host, port), self.source_address)
        return socket.create_connection((host, port), timeout, self.source_address)

    def _refuse_no_timeout(self) -> None:
        if self.timeout is not None and not self.timeout:
            raise ValueError("a socket that does not block (timeout=0) will not do")

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: tuple[str, int] | None = None
    ) -> _Answer:
        """Connect, and return the greeting, whatever its code. `host` may be `"name:port"`.

        Raises `OSError` for a port that is no number, and what the socket raises.
        """
        if source_address:
            self.source_address = source_address
        if not port and host.count(":") == 1:
            host, _, digits = host.partition(":")
            try:
                port = int(digits)
            except ValueError:
                raise OSError("nonnumeric port") from None
        port = port or self.default_port
        if self._host == self._connected_to:  # else somebody has set it, for TLS
            self._host = self._connected_to = host
        sys.audit("smtplib.connect", self, host, port)
        self.sock = self._get_socket(host, port, self.timeout)
        with contextlib.suppress(OSError, AttributeError):  # what is no TCP socket
            self.sock.setsockopt(_TCP, _NODELAY, 1)
        return self._greeting()

    def _greeting(self) -> _Answer:
        self.file = None
        self._forget()
        answer = self.getreply()
        if self.debuglevel > 0:
            self._print_debug("connect:", repr(answer[1]))
        return answer

    def _forget(self) -> None:
        """Another session begins: what was learned in the last one holds no more."""
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self._driver = None
        self._challenged = False
        self._is_idle = True

    def _start_tls(self, context: ssl.SSLContext) -> _Answer:
        """STARTTLS and the handshake with `context`."""
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise SMTPNotSupportedError("STARTTLS extension not supported by server.")
        answer = self.docmd("STARTTLS")
        if answer[0] != 220:
            raise SMTPResponseException(*answer)
        if self.file is not None and self.file.trailing_data:
            self.close()
            raise SMTPException("the server sent octets in the clear behind the 220 to STARTTLS")
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname=self._host)
        except BaseException:
            self.close()
            raise
        self.file = None
        self._forget()
        return answer

    if sys.version_info >= (3, 12):

        def starttls(self, *, context: ssl.SSLContext | None = None) -> _Answer:
            """Go on under TLS (RFC 3207). By default the certificate and the name are verified.

            Raises `SMTPNotSupportedError` if it is not offered, `SMTPResponseException` if it is refused, and
            `ssl.SSLError` if the handshake fails, after which there is no connection.
            """
            return self._start_tls(_verified(context))

    else:

        def starttls(
            self,
            keyfile: str | None = None,
            certfile: str | None = None,
            context: ssl.SSLContext | None = None,
        ) -> _Answer:
            """Go on under TLS (RFC 3207). By default the certificate and the name are verified.

            Raises `SMTPNotSupportedError` if it is not offered, `SMTPResponseException` if it is refused, and
            `ssl.SSLError` if the handshake fails, after which there is no connection.
            """
            return self._start_tls(_verified(context, keyfile, certfile))

    def close(self) -> None:
        """Close the socket without a word."""
        self.file = self._driver = None
        sock, self.sock = self.sock, None
        if sock:
            sock.close()

    def quit(self) -> _Answer:
        """QUIT, and close."""
        answer = self.docmd("quit")
        self._forget()
        self.close()
        return answer

    # One command, one reply ---------------------------------------------------------------------------

    def send(self, s: str | bytes) -> None:
        """Send `s`; text in `command_encoding`."""
        if self.debuglevel > 0:
            self._print_debug("send:", repr(self._without_secrets(s)))
        if not self.sock:
            raise SMTPServerDisconnected("please run connect() first")
        octets = s.encode(self.command_encoding) if isinstance(s, str) else s
        sys.audit("smtplib.send", self, octets)
        self._is_idle = False
        try:
            self.sock.sendall(octets)
        except OSError as exc:
            self.close()
            raise SMTPServerDisconnected("Server not connected") from exc

    def _without_secrets(self, s: str | bytes) -> str | bytes:
        if self._challenged:
            return "<hidden>\r\n"
        words = (s if isinstance(s, str) else s.decode("latin-1")).split(" ", 2)
        if len(words) == 3 and words[0].upper() == "AUTH":
            return f"{words[0]} {words[1]} <hidden>\r\n"
        return s

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command."""
        is_idle = self._is_idle
        self.send(_one_line(f"{cmd} {args}" if args else cmd) + CRLF)
        self._is_idle = is_idle and cmd.lower() in _HARMLESS

    def getreply(self) -> _Answer:
        """Wait for a reply. Its code is -1 if it does not begin with three digits.

        Raises `SMTPResponseException` with 500 for a reply that is too long; the connection is closed then.
        """
        if self.file is None:
            self.file = ReplyStream(_LIMITS)
        try:
            while (reply := self.file.next_event()) is NEED_DATA:
                if not self.sock:
                    raise SMTPServerDisconnected("please run connect() first")
                self.file.receive_data(self._receive())
        except RemoteProtocolError as exc:
            self.close()
            raise _too_much(exc) from exc
        if isinstance(reply, Signal):
            self.close()
            raise SMTPServerDisconnected("Connection unexpectedly closed")
        code = -1 if reply.code is None else reply.code
        text = _text(reply.texts)
        self._challenged = code == 334
        if self.debuglevel > 0:
            for line in reply.lines:
                self._print_debug("reply:", repr(line + bCRLF))
            self._print_debug(f"reply: retcode ({code}); Msg: {text!a}")
        return code, text

    def _receive(self) -> bytes:
        try:
            octets: bytes = self.sock.recv(_READ)
        except OSError as exc:
            self.close()
            raise SMTPServerDisconnected(f"Connection unexpectedly closed: {exc}") from exc
        return octets

    def docmd(self, cmd: str, args: str = "") -> _Answer:
        """Send a command and wait for its reply."""
        self.putcmd(cmd, args)
        return self.getreply()

    def helo(self, name: str = "") -> _Answer:
        """HELO, as `name` or else `local_hostname`."""
        answer = self._introduce("helo", name)
        self.helo_resp = answer[1]
        return answer

    def ehlo(self, name: str = "") -> _Answer:
        """EHLO (in LMTP: LHLO), as `name` or else `local_hostname`. Fills `esmtp_features`: extension, in
        lower case, to its parameters.
        """
        self.esmtp_features = {}
        answer = self._introduce(self.ehlo_msg, name)
        code, text = answer
        if code == -1 and not text:
            self.close()
            raise SMTPServerDisconnected("Server not connected")
        self.ehlo_resp = text
        if code == 250:
            self.does_esmtp = True
            for line in text.decode("latin-1").split("\n")[1:]:
                self._learn(line)
        return answer

    def _introduce(self, verb: str, name: str) -> _Answer:
        answer = self.docmd(verb, name or self.local_hostname)
        if _is_good(answer):
            self._is_idle = True
        return answer

    def _learn(self, line: str) -> None:
        for keyword, words in Features.from_lines([line]).items():
            name, value = keyword.lower(), " ".join(words)
            if name == "auth":  # there may be several, some of them in the old form
                value = f"{self.esmtp_features.get(name, '')} {value}"
            self.esmtp_features[name] = value

    def ehlo_or_helo_if_needed(self) -> None:
        """Introduce this client if it has not been done. Raises `SMTPHeloError` if HELO is refused too."""
        if self.helo_resp is None and self.ehlo_resp is None and not 200 <= self.ehlo()[0] <= 299:
            answer = self.helo()
            if not _is_good(answer):
                raise SMTPHeloError(*answer)

    def has_extn(self, opt: str) -> bool:
        """Whether the server offers the extension `opt`."""
        return opt.lower() in self.esmtp_features

    def help(self, args: str = "") -> bytes:
        """HELP; the text alone."""
        return self.docmd("help", args)[1]

    def rset(self) -> _Answer:
        """RSET."""
        self.command_encoding = "ascii"
        answer = self.docmd("rset")
        if _is_good(answer):
            self._is_idle = True
        return answer

    def _rset(self) -> None:
        """RSET after a refusal. If the connection breaks now, the next call may tell."""
        with contextlib.suppress(SMTPServerDisconnected):
            self.rset()

    def noop(self) -> _Answer:
        """NOOP."""
        return self.docmd("noop")

    def verify(self, address: str) -> _Answer:
        """VRFY."""
        return self.docmd("vrfy", _addr_only(address))

    vrfy = verify

    def expn(self, address: str) -> _Answer:
        """EXPN."""
        return self.docmd("expn", _addr_only(address))

    def mail(self, sender: str, options: Sequence[str] = ()) -> _Answer:
        """MAIL. `options`: ESMTP parameters, dropped if the server is no ESMTP server.

        Raises `SMTPNotSupportedError` for SMTPUTF8 where it is not offered.
        """
        argument = f"from:{_envelope(sender)}"
        if options and self.does_esmtp:
            argument += _words(options)
            if any(option.lower() == "smtputf8" for option in options):
                if not self.has_extn("smtputf8"):
                    raise SMTPNotSupportedError("SMTPUTF8 not supported by server")
                self.command_encoding = "utf-8"
        self._accepted = 0
        return self.docmd("mail", argument)

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> _Answer:
        """RCPT, for one recipient. `options`: ESMTP parameters."""
        argument = f"to:{_recipient(recip)}"
        if options and self.does_esmtp:
            argument += _words(options)
        answer = self.docmd("rcpt", argument)
        self._accepted += _is_good(answer)
        return answer

    def data(self, msg: str | Octets) -> _Answer:
        """DATA and the message: ASCII text, octets, a binary file, or pieces of octets; the verdict on it.

        In LMTP there is a verdict for each recipient that `rcpt` got accepted; the first bad one is returned,
        or the last one. Raises `SMTPDataError` if the server does not want the message.
        """
        whole, ask = parts(msg.encode("ascii") if isinstance(msg, str) else msg)
        self._verdicts = []
        self._is_sent = False
        answer = self._noted(self.docmd("data"))
        if answer[0] != 354:
            raise SMTPDataError(*answer)
        writer = DataWriter(line_limit=None, allow_nul=True)
        try:
            while ask is not None and (piece := ask(None)):
                self.send(writer.write(piece))
            rest = writer.write(whole or b"")
            self._is_sent = True
            self.send(rest + writer.end())
        except BaseException:
            self.close()  # nothing else takes back half a message
            raise
        due = self._accepted if self._is_lmtp else 1
        while len(self._verdicts) < max(1, due) and answer[0] != 421:
            answer = self._noted(self.getreply())
            self._verdicts.append(answer)
        self._is_idle = True
        return next((verdict for verdict in self._verdicts if not _is_good(verdict)), answer)

    def _noted(self, answer: _Answer) -> _Answer:
        if self.debuglevel > 0:
            self._print_debug("data:", answer)
        return answer

    @property
    def _is_lmtp(self) -> bool:
        return self.ehlo_msg.lower() == "lhlo"

    # AUTH ---------------------------------------------------------------------------------------------

    def auth(
        self, mechanism: str, authobject: Callable[..., str | None], *, initial_response_ok: bool = True
    ) -> _Answer:
        """AUTH (RFC 4954); the answer, 235 or 503.

        `authobject` is called with the octets of each challenge, and returns the response as text, which
        is sent in UTF-8. With `initial_response_ok` it is called without argument first; None says that there
        is no initial response. Raises `SMTPAuthenticationError` for any other answer, and `SMTPException` for
        more than five challenges.
        """
        is_idle = self._is_idle
        initial = authobject() if initial_response_ok else None
        self._auth_challenge_count = int(initial is not None)
        words = mechanism.upper() if initial is None else f"{mechanism.upper()} {_base64(initial)}"
        answer = self.docmd("AUTH", words)
        while answer[0] == 334:
            self._auth_challenge_count += 1
            answer = self.docmd(_base64(authobject(base64.decodebytes(answer[1])) or ""))
            if self._auth_challenge_count > _MAXCHALLENGE:
                raise SMTPException(f"Server AUTH mechanism infinite loop. Last response: {answer!r}")
        self._is_idle = is_idle
        if answer[0] not in (235, 503):
            raise SMTPAuthenticationError(*answer)
        return answer

    def auth_cram_md5(self, challenge: bytes | None = None) -> str | None:
        """CRAM-MD5 (RFC 2195), with `self.user` and `self.password`."""
        if challenge is None:
            return None
        return f"{self.user} {hmac.new(self.password.encode(), challenge, 'md5').hexdigest()}"

    def auth_plain(self, challenge: bytes | None = None) -> str:
        """PLAIN (RFC 4616), with `self.user` and `self.password`."""
        return f"\0{self.user}\0{self.password}"

    def auth_login(self, challenge: bytes | None = None) -> str:
        """LOGIN, with `self.user` and `self.password`. What the challenges say does not matter."""
        return self.user if challenge is None or self._auth_challenge_count < 2 else self.password

    def login(self, user: str, password: str, *, initial_response_ok: bool = True) -> _Answer:
        """Authenticate by the first mechanism that works: each that the server offers is tried, SCRAM first.

        Raises `SMTPNotSupportedError` if AUTH is not offered, `SMTPException` if no mechanism is known, and
        otherwise the `SMTPAuthenticationError` of the last one.
        """
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("auth"):
            raise SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
        offered = self.esmtp_features["auth"].split()
        refusal = SMTPException("No suitable authentication method found.")
        for mechanism in (name for name in _SCRAM if name in offered):
            try:
                answer = self._login_by_scram(mechanism, user, password, initial_response_ok)
                if answer is not None:
                    return answer
            except SMTPAuthenticationError as exc:
                refusal = exc
        for mechanism in _MECHANISMS:
            if mechanism not in offered or (mechanism == "CRAM-MD5" and not _has_md5()):
                continue
            self.user, self.password = user, password
            method = getattr(self, "auth_" + mechanism.lower().replace("-", "_"))
            try:
                return self.auth(mechanism, method, initial_response_ok=initial_response_ok)
            except SMTPAuthenticationError as exc:
                refusal = exc
        raise refusal

    def _login_by_scram(
        self, mechanism: str, user: str, password: str, initial_response_ok: bool
    ) -> _Answer | None:
        """SCRAM (RFC 5802), in which the server proves that it knows the password too. None where it has no
        words for the password.
        """
        from smtp_proto.sasl import Context, Credentials, SASLError, find_mechanism

        context = Context(nonce=secrets.token_urlsafe(18))
        client = cast(Any, find_mechanism(mechanism)).client(Credentials(user, password), context)
        try:
            initial: bytes | None = next(client)
        except SASLError:
            return None

        def respond(challenge: bytes = b"") -> str:
            nonlocal initial
            said, initial = initial, None
            response: bytes = client.send(challenge) if said is None else said
            return response.decode()

        try:
            answer = self.auth(mechanism, respond, initial_response_ok=initial_response_ok)
            if answer[0] == 235:
                client.send(None)
        except StopIteration:
            return answer
        except SASLError as exc:
            self.close()  # nobody knows who is at the other end
            raise SMTPException(f"{mechanism}: {exc}") from exc
        return answer

    # A whole message ----------------------------------------------------------------------------------

    def sendmail(
        self,
        from_addr: str,
        to_addrs: str | Iterable[str],
        msg: str | Octets,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> dict[str, _Answer]:
        """Send a message; those recipients who were refused, with code and text.

        `to_addrs`: an address, or several. `msg`: ASCII text, octets, a binary file, or pieces of octets; its
        lines may end with CR, LF or CRLF. `mail_options`, `rcpt_options`: ESMTP parameters, dropped if the
        server is no ESMTP server. `last_result` has an outcome for each recipient, also after an exception.

        Raises `SMTPSenderRefused`, `SMTPRecipientsRefused` if no recipient was accepted, `SMTPDataError`,
        `SMTPNotSupportedError`, `SMTPHeloError`; `ValueError` for what is no address or no option, and
        `UnicodeEncodeError` for text beyond ASCII, before anything is said. Unless the server closed it, the
        connection is good for the next message.
        """
        if self.ehlo_resp is None:
            self.ehlo_or_helo_if_needed()
        recipients = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        body = msg.encode("ascii") if isinstance(msg, str) else msg
        is_ascii = "".join((from_addr, *recipients)).isascii()
        if not is_ascii and self.sock:
            self._check_encoding(from_addr, recipients, mail_options)
        self.last_result = None
        if recipients and self._may_pipeline():
            refused = None
            if is_ascii and not mail_options and not rcpt_options:
                refused = self._send_at_once(from_addr, recipients, body, _NONE, from_addr, recipients)
            if refused is None:
                refused = self._send_as_given(
                    from_addr, recipients, body, mail_options, rcpt_options, is_ascii
                )
            if refused is not None:
                return refused
        return self._send_by_steps(from_addr, recipients, body, mail_options, rcpt_options)

    def _check_encoding(self, sender: str, recipients: list[str], options: Sequence[str]) -> None:
        utf8 = self.does_esmtp and any(option.lower() == "smtputf8" for option in options)
        "".join((sender, *recipients)).encode("utf-8" if utf8 else self.command_encoding)

    def _may_pipeline(self) -> bool:
        """Whether nobody can tell, but by the clock, that the commands of a transaction go out together."""
        return (
            "pipelining" in self.esmtp_features
            and self._is_idle
            and self.sock is not None
            and not self.debuglevel
            and self.does_esmtp
            and not (self.file is not None and self.file.trailing_data)
            and self.__dict__.keys().isdisjoint(_SINGLE_CALLS)
            and _calls_of(type(self)) == _OWN_CALLS
        )

    def _core(self) -> Driver:
        """What drives the core on this connection; it knows of the session what `esmtp_features` says."""
        if self._driver is None or self._driver_features != self.esmtp_features:
            self._driver_features = dict(self.esmtp_features)
            self._conn = ClientConnection(
                lmtp=self._is_lmtp,
                tls=isinstance(self.sock, ssl.SSLSocket),
                # The original takes no notice of LIMITS: nor does a program that was written for it.
                features=Features.from_lines(
                    " ".join(item) for item in self._driver_features.items() if item[0] != "limits"
                ),
                limits=_LIMITS,
                allow_nul=True,
            )
            self._driver = Driver(self._conn, _Wire(self), _FOR_EVER)
        return self._driver

    def _send_as_given(
        self,
        sender: str,
        recipients: list[str],
        body: Octets,
        mail_options: Sequence[str],
        rcpt_options: Sequence[str],
        is_ascii: bool,
    ) -> dict[str, _Answer] | None:
        """`_send_at_once` for addresses and options as they may be written here."""
        try:
            parameters = Parameters.from_text("MAIL", _words(mail_options))
            for_rcpt = Parameters.from_text("RCPT", _words(rcpt_options))
            path = _path(sender)
            rcpts = [Rcpt(forward_path=_path(recipient), parameters=for_rcpt) for recipient in recipients]
        except LocalProtocolError:
            return None
        is_said = is_ascii or "smtputf8" in self.esmtp_features
        if not is_said and not all(rcpt.forward_path.is_ascii for rcpt in rcpts):
            return None
        return self._send_at_once(path, rcpts, body, parameters, sender, recipients)

    def _send_at_once(
        self,
        path: str,
        rcpts: Sequence[str | Rcpt],
        body: Octets,
        parameters: Mapping[str, Any],
        sender: str,
        recipients: list[str],
    ) -> dict[str, _Answer] | None:
        """Send a message by the core's operation, to which `path` and `rcpts` are what `sender` and
        `recipients` are here. None for what it does not take: nothing has been said then.
        """
        driver = self._core()
        conn = self._conn
        delivery = ops.Delivery()
        whole, ask = parts(body)
        try:
            op = ops.send_message(
                conn,
                path,
                rcpts,
                whole,
                parameters=parameters,
                transfer="data",
                allow_8bit=True,
                delivery=delivery,
            )
            result = driver.run(op, ask)
        except ConnectionLost as exc:
            self.last_result = delivery.result()
            self.close()
            raise _lost(exc, cast(_Wire, driver.stream).ended) from exc
        except BaseException as exc:
            if conn.is_usable and isinstance(exc, LocalProtocolError | NotOffered):
                return None
            self.last_result = delivery.result()
            self.close()
            raise
        self.last_result = result
        if "SMTPUTF8" in parameters:
            self.command_encoding = "utf-8"
        if not conn.is_idle:
            self._take_back(conn)
        if result.all_accepted:
            return {}
        return self._judge(sender, recipients, result.outcomes)

    def _take_back(self, conn: ClientConnection) -> None:
        """The message is through: the single calls go on where the core stopped."""
        if not conn.is_usable or conn.state is not State.READY:
            self.close()
        elif octets := conn.trailing_data:
            self.file = ReplyStream(_LIMITS)
            self.file.receive_data(octets)
            self._driver = None

    def _judge(self, sender: str, recipients: list[str], outcomes: Sequence[Outcome]) -> dict[str, _Answer]:
        """Those who were refused; or raise, if nobody was accepted."""
        refused: dict[str, _Answer] = {}
        verdict: Reply | None = None
        accepted = False
        for recipient, outcome in zip(recipients, outcomes, strict=True):
            reply = cast(Reply, outcome.reply)
            if isinstance(reply.to, Mail):
                self._leave(reply.code)
                raise SMTPSenderRefused(*_answer(reply), sender)
            of_message = isinstance(reply.to, EndOfMessage)
            accepted = accepted or (of_message and reply.is_positive)
            own = isinstance(reply.to, Rcpt) and reply.to.forward_path == outcome.recipient
            if own or (of_message and not reply.is_positive):
                refused[recipient] = _answer(reply)
            if not isinstance(reply.to, Rcpt):  # that of another recipient is a 421
                verdict = verdict or reply
        if accepted:
            return refused
        self.command_encoding = "ascii"  # there was a RSET
        if verdict is None:
            raise SMTPRecipientsRefused(refused)
        if isinstance(verdict.to, EndOfMessage):  # and here there was none
            self._leave(verdict.code)
        raise SMTPDataError(*_answer(verdict))

    def _leave(self, code: int) -> None:
        """End a transaction that was refused with `code`."""
        if code == 421:
            self.close()
        else:
            self._rset()

    def _send_by_steps(
        self,
        sender: str,
        recipients: list[str],
        body: Octets,
        mail_options: Sequence[str],
        rcpt_options: Sequence[str],
    ) -> dict[str, _Answer]:
        """The same with a round trip for each command, through `mail`, `rcpt` and `data`."""
        size: tuple[str, ...] = ()
        if isinstance(body, bytes | bytearray | memoryview):
            body = normalize_line_ends(bytes(body))
            if self.has_extn("size"):
                size = (f"size={len(body)}",)
        options = (*size, *mail_options) if self.does_esmtp else ()
        _envelope(sender), _words(options), _words(rcpt_options)
        for recipient in recipients:
            _recipient(recipient)
        answers: list[_Answer | None] = [None] * len(recipients)
        self._is_sent = False
        try:
            return self._transact(sender, recipients, body, options, rcpt_options, answers)
        finally:
            outcomes = zip(recipients, answers, strict=True)
            self.last_result = SendResult(
                outcomes=tuple(_outcome(recipient, answer, self._is_sent) for recipient, answer in outcomes)
            )

    def _transact(
        self,
        sender: str,
        recipients: list[str],
        body: Octets,
        mail_options: Sequence[str],
        rcpt_options: Sequence[str],
        answers: list[_Answer | None],
    ) -> dict[str, _Answer]:
        """Each of `answers` becomes the one that decides for its recipient, as soon as that is known."""

        def refuse(answer: _Answer) -> None:
            answers[:] = [own or answer for own in answers]
            self._leave(answer[0])

        answer = self.mail(sender, mail_options)
        if not _is_good(answer):
            refuse(answer)
            raise SMTPSenderRefused(*answer, sender)
        refused: dict[str, _Answer] = {}
        for at, recipient in enumerate(recipients):
            answer = self.rcpt(recipient, rcpt_options)
            if not _is_good(answer):
                answers[at] = refused[recipient] = answer
            if answer[0] == 421:
                refuse(answer)
                raise SMTPRecipientsRefused(refused)
        if all(answers):
            self._rset()
            raise SMTPRecipientsRefused(refused)
        self._verdicts = []
        try:
            answer = self.data(body)
        except SMTPDataError as exc:
            refuse((exc.smtp_code, cast(bytes, exc.smtp_error)))
            raise
        self._is_sent = True
        verdicts = iter(self._verdicts or (answer,))
        for at, recipient in enumerate(recipients):
            if answers[at] is None:
                answers[at] = answer = next(verdicts, answer)
                if not _is_good(answer):
                    refused[recipient] = answer
        if not any(_is_good(own) for own in answers if own):
            answer = next(iter(self._verdicts), answer)
            refuse(answer)
            raise SMTPDataError(*answer)
        if answer[0] == 421:
            self.close()
        return refused

    def send_message(
        self,
        msg: email.message.Message[Any, Any],
        from_addr: str | None = None,
        to_addrs: str | Sequence[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> dict[str, _Answer]:
        """Send a message object, without its Bcc; see `sendmail` for the result and what it raises.

        `from_addr`: by default Sender, else From. `to_addrs`: by default To, Bcc and Cc. Of a message with
        one Resent-Date the fields that begin with Resent- are taken. Addresses beyond ASCII need SMTPUTF8,
        and raise `SMTPNotSupportedError` where it is not offered. Raises `ValueError` for more than one
        Resent-Date, and where no sender is to be found.
        """
        self.ehlo_or_helo_if_needed()
        resent = msg.get_all("Resent-Date", [])
        if len(resent) > 1:
            raise ValueError("message has more than one 'Resent-' header block")
        prefix = "Resent-" if resent else ""
        if from_addr is None:
            field = msg.get(prefix + "Sender", msg.get(prefix + "From"))
            senders = email.utils.getaddresses([] if field is None else [str(field)])
            if not senders or not senders[0][1]:
                raise ValueError(f"no sender in {prefix}Sender or {prefix}From; pass from_addr")
            from_addr = senders[0][1]
        if to_addrs is None:
            fields = (msg[prefix + name] for name in ("To", "Bcc", "Cc"))
            found = email.utils.getaddresses([str(field) for field in fields if field is not None])
            to_addrs = [address for _, address in found if address]
        public = copy.copy(msg)
        del public["Bcc"]
        del public["Resent-Bcc"]
        policy = None
        if not "".join((from_addr, *to_addrs)).isascii():
            if not self.has_extn("smtputf8"):
                raise SMTPNotSupportedError("an address is not ASCII, and the server does not offer SMTPUTF8")
            policy = cast(Any, msg.policy).clone(utf8=True)
            mail_options = (*mail_options, "SMTPUTF8", "BODY=8BITMIME")
        octets = io.BytesIO()
        email.generator.BytesGenerator(octets, policy=policy).flatten(public, linesep=CRLF)
        return self.sendmail(from_addr, to_addrs, octets.getvalue(), mail_options, rcpt_options)


class SMTP_SSL(SMTP):
    """The same through TLS from the start; port 465. By default the certificate and the name are verified."""

    default_port = SMTP_SSL_PORT
    context: ssl.SSLContext
    """Which certificates are taken, and for which names."""

    if sys.version_info >= (3, 12):

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            *,
            timeout: Any = _DEFAULT_TIMEOUT,
            source_address: tuple[str, int] | None = None,
            context: ssl.SSLContext | None = None,
        ) -> None:
            self.context = _verified(context)
            super().__init__(host, port, local_hostname, timeout, source_address)

    else:

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            keyfile: str | None = None,
            certfile: str | None = None,
            timeout: Any = _DEFAULT_TIMEOUT,
            source_address: tuple[str, int] | None = None,
            context: ssl.SSLContext | None = None,
        ) -> None:
            self.keyfile = keyfile
            self.certfile = certfile
            self.context = _verified(context, keyfile, certfile)
            super().__init__(host, port, local_hostname, timeout, source_address)

    def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
        if self.debuglevel > 0:
            self._print_debug("connect:", (host, port))
        return self.context.wrap_socket(super()._get_socket(host, port, timeout), server_hostname=self._host)


class LMTP(SMTP):
    """A client of an LMTP server (RFC 2033); port 2003. A `host` that begins with "/" is a Unix socket."""

    ehlo_msg = "lhlo"

    def __init__(
        self,
        host: str = "",
        port: int = LMTP_PORT,
        local_hostname: str | None = None,
        source_address: tuple[str, int] | None = None,
        timeout: Any = _DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(host, port, local_hostname, timeout, source_address)

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: tuple[str, int] | None = None
    ) -> _Answer:
        """Connect, and return the greeting, whatever its code. `host`: as with `SMTP`, or a path."""
        if not host.startswith("/"):
            return super().connect(host, port, source_address)
        self._refuse_no_timeout()
        self.sock: Any = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self.timeout is not _DEFAULT_TIMEOUT:
                self.sock.settimeout(self.timeout)
            self.sock.connect(host)
        except OSError:
            if self.debuglevel > 0:
                self._print_debug("connect fail:", host)
            self.close()
            raise
        return self._greeting()


# Whoever overrides one of these wants to be called.
_SINGLE_CALLS = frozenset(("send", "putcmd", "getreply", "docmd", "mail", "rcpt", "data", "rset", "_rset"))
_calls_of = attrgetter(*_SINGLE_CALLS)
_OWN_CALLS = _calls_of(SMTP)
# The module `socket` is sometimes replaced here.
_TCP, _NODELAY = socket.IPPROTO_TCP, socket.TCP_NODELAY


def _own_name() -> str:
    """RFC 5321 4.1.4: the domain name of this machine, or its address."""
    name = socket.getfqdn()
    if "." in name:
        return name
    address = "127.0.0.1"
    with contextlib.suppress(socket.gaierror):
        address = socket.gethostbyname(socket.gethostname())
    return f"[{address}]"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _has_md5() -> bool:
    try:
        hmac.new(b"", digestmod="md5")
    except ValueError:
        return False
    return True


def _too_much(exc: RemoteProtocolError) -> SMTPResponseException:
    return SMTPResponseException(500, "Line too long." if exc.code == 500 else str(exc))


def _lost(exc: ConnectionLost, ended: bool) -> SMTPException:
    """What the original would say of it."""
    cause = exc.__cause__
    if isinstance(cause, RemoteProtocolError):
        return SMTPServerDisconnected("Connection unexpectedly closed") if ended else _too_much(cause)
    if exc.sending:
        return SMTPServerDisconnected("Server not connected")
    return SMTPServerDisconnected(f"Connection unexpectedly closed: {cause}")


def _prompt() -> None:
    def ask(question: str) -> str:
        print(f"{question}: ", end="", flush=True)
        return sys.stdin.readline().strip()

    sender = ask("From")
    recipients = ask("To").split(",")
    print("Enter message, end with ^D:")
    message = sys.stdin.read()
    print(f"Message length is {len(message)}")
    with SMTP("localhost") as server:
        server.set_debuglevel(1)
        server.sendmail(sender, recipients, message)


if __name__ == "__main__":
    _prompt()
