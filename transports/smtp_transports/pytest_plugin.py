"""SMTP and LMTP servers as fixtures of pytest, for tests that would replace `smtplib` by a mock otherwise.

def test_mail(smtp_server):
    my_app.send_newsletter(host=smtp_server.host, port=smtp_server.port)
    (message,) = smtp_server.messages
    assert message.recipients == ("bob@example.com",)

pytest loads this module into every run: nothing of a server is imported before a test wants one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    import ssl
    from email.message import EmailMessage
    from pathlib import Path as FilePath

    from smtp_proto import Path

__all__ = ["AsyncSMTPServer", "Options", "ReceivedMessage", "SMTPServer"]


class Options(NamedTuple):
    """What a server is like: the options of the markers and of the factories."""

    lmtp: bool = False
    """LMTP instead of SMTP."""
    tls: bool = False
    """TLS from the start."""
    starttls: bool = False
    """Offer STARTTLS."""
    require_tls: bool = False
    """Take no mail before STARTTLS."""
    users: Mapping[str, str] | None = None
    """Offer AUTH: user names to passwords, or to tokens. Where there is TLS, what sends the secret itself is
    offered under TLS only."""
    require_auth: bool = False
    """Take no mail before AUTH."""
    mechanisms: Sequence[str] = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    """Of AUTH, by their names."""
    unix: bool = False
    """Listen on a Unix socket."""
    max_size: int | None = None
    """Octets of the largest message that is taken; 32 MiB by default."""
    offer: Mapping[str, Iterable[str]] | Iterable[str] | None = None
    """The extensions offered, besides SIZE, STARTTLS and AUTH: keywords, or keywords to parameters."""

    def check(self) -> None:
        """Raises `ValueError` for what no server can be like."""
        from smtp_proto.sasl import find_mechanism

        mistakes = {
            "tls and starttls": self.tls and self.starttls,
            "require_tls without starttls": self.require_tls and not (self.starttls or self.tls),
            "require_auth without users": self.require_auth and not self.users,
            "a mechanism that nobody knows": None in map(find_mechanism, self.mechanisms),
            "a text where offer takes a list": isinstance(self.offer, str),
        }
        for mistake, is_made in mistakes.items():
            if is_made:
                raise ValueError(mistake)


class ReceivedMessage(NamedTuple):
    """A message that a server took."""

    sender: Path
    """The reverse-path, a str; empty for the null path."""
    recipients: tuple[Path, ...]
    """For whom it was taken, each a str."""
    data: bytes
    """Its octets; lines end in CRLF."""
    domain: str | None
    """What the client called itself."""
    user: str | None
    """Who the client is, by AUTH."""
    tls: bool
    """Whether it came through TLS."""
    mail_parameters: Mapping[str, Any]
    """Of MAIL, such as `{"BODY": "8BITMIME"}`."""
    rcpt_parameters: tuple[Mapping[str, Any], ...]
    """Of RCPT, for each of `recipients`."""

    @property
    def email(self) -> EmailMessage:
        """The message, parsed anew at each access; its lines end in line feeds, as the package has them."""
        from email import message_from_bytes, policy

        return message_from_bytes(self.data.replace(b"\r\n", b"\n"), policy=policy.default)


class Certificates:
    """An authority of our own, and a server that it vouches for: localhost, 127.0.0.1 and ::1. Raises
    `ImportError` without trustme.
    """

    def __init__(self, folder: FilePath) -> None:
        import ssl

        import trustme

        authority = trustme.CA()
        self.server: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(self.server)
        self.ca_pem: FilePath = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_pem))


class _Server:
    """A server in threads of its own: whatever loop a test runs, this one never waits for it."""

    def __init__(self, options: Options, certificates: Callable[[], Certificates]) -> None:
        from ._pytest_server import Running

        self._running = Running(options, certificates)
        self._certificates = certificates

    @property
    def host(self) -> str:
        """The address to connect to. Raises `RuntimeError` for a Unix socket."""
        return str(self._address[0])

    @property
    def port(self) -> int:
        """The port to connect to. Raises `RuntimeError` for a Unix socket."""
        return int(self._address[1])

    @property
    def unix(self) -> str | None:
        """The path of the Unix socket, if that is where the server listens."""
        address = self._running.address
        return address if isinstance(address, str) else None

    @property
    def ca_pem(self) -> FilePath:
        """A file with the authority to trust. Raises `RuntimeError` for a server without TLS."""
        if not self._running.has_tls:
            raise RuntimeError("this server has no TLS: ask for it with tls=True or starttls=True")
        return self._certificates().ca_pem

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        """A context that trusts that authority, and verifies. Raises as `ca_pem`."""
        import ssl

        return ssl.create_default_context(cafile=self.ca_pem)

    @property
    def messages(self) -> list[ReceivedMessage]:
        """The messages that were taken so far, in the order of arrival."""
        return self._running.inbox.messages

    @property
    def transcript(self) -> str:
        """What was said so far: lines that begin with `C: ` or `S: `, those of each session together. What
        proves who a user is is hidden; of a message only the number of octets is told.
        """
        return self._running.transcript

    def fail(
        self,
        verb: str,
        code: int,
        text: str | None = None,
        *,
        times: int | None = 1,
        recipient: str | None = None,
    ) -> None:
        """Refuse the next such command with a reply, or the next `times`, or with None all of them.

        `verb`: a command such as `"RCPT"`; `"CONNECT"`: instead of the greeting; `"."`: the end of a message,
        in chunks too. `code`: 400 to 599; the server hangs up behind 421. `text`: may begin with an enhanced
        status code. `recipient`: only RCPT for this one, or in LMTP the verdict for this one.

        What is planned happens in the order of planning, and has to happen before a test that passes is over.

        Raises `ValueError` for what cannot happen.
        """
        from smtp_proto import Reply

        reply = Reply(code=code, text=f"{code // 100}.0.0 refused by the test" if text is None else text)
        self._running.plans.add(verb, times, reply, recipient)

    def drop_after(self, verb: str, *, times: int | None = 1) -> None:
        """Hang up when the next such command has been read, and leave it without an answer.

        `verb`: as with `fail`, and `"BODY"`: in the middle of a message. `times`: as with `fail`. Raises
        `ValueError` for what cannot happen.
        """
        self._running.plans.add(verb, times, None)

    def close(self) -> None:
        """Listen no more, and hang up at once. What was received stays. The fixtures do it, too."""
        self._running.close()

    @property
    def _address(self) -> tuple[Any, ...]:
        if self.unix is not None:
            raise RuntimeError(f"this server listens at {self.unix}: it has no host and no port")
        address: tuple[Any, ...] = self._running.address
        return address

    def _arrived(self, count: int, timeout: float) -> list[ReceivedMessage]:
        __tracebackhide__ = True
        messages = self.messages
        if len(messages) < count:
            raise AssertionError(f"{len(messages)} of {count} messages came within {timeout:g} seconds")
        return messages


class SMTPServer(_Server):
    """What the fixtures `smtp_server` and `lmtp_server` give."""

    def wait(self, count: int = 1, timeout: float = 5.0) -> list[ReceivedMessage]:
        """Wait until `count` messages came in all; all that came. `timeout` is in seconds.

        Raises `AssertionError` if there are fewer then.
        """
        __tracebackhide__ = True
        self._running.inbox.wait(count, timeout)
        return self._arrived(count, timeout)


class AsyncSMTPServer(_Server):
    """What the fixtures `async_smtp_server` and `async_lmtp_server` give: `wait` is a coroutine."""

    async def wait(self, count: int = 1, timeout: float = 5.0) -> list[ReceivedMessage]:
        """As that of `SMTPServer`, on asyncio and trio."""
        __tracebackhide__ = True
        await self._running.inbox.wait_async(count, timeout)
        return self._arrived(count, timeout)


_S = TypeVar("_S", bound=_Server)


@pytest.fixture
def smtp_server(request: pytest.FixtureRequest, smtp_server_factory: Callable[..., SMTPServer]) -> SMTPServer:
    """An SMTP server on a free port; the marker `smtp_server` says what it is like."""
    return smtp_server_factory(**_marked(request, "smtp_server"))


@pytest.fixture
def lmtp_server(request: pytest.FixtureRequest, smtp_server_factory: Callable[..., SMTPServer]) -> SMTPServer:
    """An LMTP server on a free port; the marker `lmtp_server` says what it is like."""
    return smtp_server_factory(**{"lmtp": True, **_marked(request, "lmtp_server")})


@pytest.fixture
def async_smtp_server(
    request: pytest.FixtureRequest, async_smtp_server_factory: Callable[..., AsyncSMTPServer]
) -> AsyncSMTPServer:
    """The twin of `smtp_server` for coroutines; it has the same marker."""
    return async_smtp_server_factory(**_marked(request, "smtp_server"))


@pytest.fixture
def async_lmtp_server(
    request: pytest.FixtureRequest, async_smtp_server_factory: Callable[..., AsyncSMTPServer]
) -> AsyncSMTPServer:
    """The twin of `lmtp_server` for coroutines; it has the same marker."""
    return async_smtp_server_factory(**{"lmtp": True, **_marked(request, "lmtp_server")})


@pytest.fixture
def smtp_server_factory(
    request: pytest.FixtureRequest, _smtp_certificates: Callable[[], Certificates]
) -> Iterator[Callable[..., SMTPServer]]:
    """Starts servers: call it with `Options` as keyword arguments."""
    yield from _factory(request, SMTPServer, _smtp_certificates)


@pytest.fixture
def async_smtp_server_factory(
    request: pytest.FixtureRequest, _smtp_certificates: Callable[[], Certificates]
) -> Iterator[Callable[..., AsyncSMTPServer]]:
    """Starts servers whose `wait` is a coroutine: call it with `Options` as keyword arguments."""
    yield from _factory(request, AsyncSMTPServer, _smtp_certificates)


@pytest.fixture(scope="session")
def _smtp_certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Certificates]:
    return cache(lambda: Certificates(tmp_path_factory.mktemp("smtp")))


def _marked(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    """The options of the markers, the one closest to the test last."""
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(name))):
        if mark.args:
            pytest.fail(f"the options of the marker {name} have names", pytrace=False)
        options |= mark.kwargs
    return options


def _factory(
    request: pytest.FixtureRequest, kind: type[_S], certificates: Callable[[], Certificates]
) -> Iterator[Callable[..., _S]]:
    stash = request.node.stash
    servers: list[_S] = []
    with ExitStack() as stack:

        def start(**options: Any) -> _S:
            server = _started(kind, options, certificates)
            stack.callback(server.close)
            servers.append(server)
            stash.setdefault(_SERVERS, []).append(server)
            return server

        yield start
    unmet = [plan for server in servers for plan in server._running.plans.unmet()]
    if unmet and stash.get(_PASSED, False):
        pytest.fail(f"planned, and never happened: {'; '.join(unmet)}", pytrace=False)


def _started(kind: type[_S], options: dict[str, Any], certificates: Callable[[], Certificates]) -> _S:
    """A server; the test fails without a traceback if there is none like that."""
    unknown = options.keys() - set(Options._fields)
    if unknown:
        names, known = ", ".join(sorted(unknown)), ", ".join(Options._fields)
        pytest.fail(f"a server has no option {names}; there are: {known}", pytrace=False)
    from smtp_proto import SMTPError

    try:
        return kind(Options(**options), certificates)
    except (SMTPError, ValueError, ImportError) as exc:
        pytest.fail(f"there is no such server: {exc}", pytrace=False)


_SERVERS = pytest.StashKey[list[_Server]]()
_PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for name in ("smtp_server", "lmtp_server"):
        options = ", ".join(Options._fields)
        config.addinivalue_line("markers", f"{name}({options}): what {name} and async_{name} are like")


# In the old form, which pytest 7 knows.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Add what was said to the report of a test that failed."""
    outcome = yield
    servers = item.stash.get(_SERVERS, [])
    report: pytest.TestReport = outcome.get_result()
    if report.failed:
        report.sections += [_section(server) for server in servers]
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    if report.when == "teardown":
        servers.clear()


def _section(server: _Server) -> tuple[str, str]:
    place = server.unix or f"{server.host}:{server.port}"
    return f"What was said at {place}", server.transcript or "nobody connected"
