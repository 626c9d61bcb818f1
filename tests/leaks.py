"""A net under the whole suite: no secret that a test used may be in what was printed, logged or raised.

It learns of the secrets where the library does, and looks for each as text, as Python shows its octets, and
in base64 wherever it may begin. What is shorter than a password should be is found in too much by chance.
"""

from __future__ import annotations

import inspect
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator
from functools import wraps
from typing import Any

import pytest

from smtp_proto import ConnectionLost, NotOffered, Refused
from smtp_proto._errors import ProtocolError
from smtp_proto.sasl import CheckPassword, CheckToken, Credentials, SASLError, StoredKeys

LEAST = 8


def forms(secret: str) -> Iterator[str]:
    """What somebody who knows the secret would recognise."""
    octets = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield ascii(secret)[1:-1]
    yield repr(octets)[2:-1]
    yield octets.hex()
    for before, unsure in enumerate((0, 2, 3)):
        code = b64encode(bytes(before) + octets).decode()
        yield code[unsure : -4 if (before + len(octets)) % 3 else None]


def everything_said_of(error: BaseException | None) -> str:
    """An exception's text, with all its attributes, and those of what it came from."""
    said = ""
    while error is not None:
        said += f"{error!r} {error} {vars(error)} {getattr(error, 'object', '')} "
        error = error.__cause__ or error.__context__
    return said


class Net:
    """The secrets of the test that runs, and all that was said meanwhile."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._said: list[str] = []

    def used(self, secret: object, user: str = "") -> None:
        """A test uses this secret. A user may have called itself the same, and that is no secret."""
        if isinstance(secret, str) and len(secret) >= LEAST and secret != user:
            self._secrets.add(secret)

    def said(self, say: Callable[[], str]) -> None:
        """Something was said; it is asked for only if there is a secret."""
        if self._secrets:
            self._said.append(say())

    def caught(self) -> list[str]:
        """The secrets that got out. The next test begins with an empty net."""
        said = "\n".join(self._said)
        found = sorted(secret for secret in self._secrets if any(form in said for form in forms(secret)))
        self.__init__()  # type: ignore[misc]
        return found


NET = Net()


def _then(owner: Any, name: str, tell: Callable[..., object]) -> None:
    """Have `tell` called behind each call of this function, with what it returned and its arguments."""
    function = getattr(owner, name)

    @wraps(function)
    def both(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        tell(result, *arguments)
        return result

    setattr(owner, name, both if inspect.isfunction(function) else staticmethod(both))


def pytest_configure() -> None:
    """Put the net under the library, and under what pytest captures."""

    def credentials(_: None, made: Credentials, *__: Any) -> None:
        for secret in (made.password, made.token):
            NET.used(secret, made.user)

    def raised(_: None, error: BaseException, *__: Any) -> None:
        NET.said(lambda: f"{error!r} {error}")

    _then(Credentials, "__init__", credentials)
    _then(CheckPassword, "__init__", lambda _, made, *__: NET.used(made.password, made.user))
    _then(CheckToken, "__init__", lambda _, made, *__: NET.used(made.token, made.user))
    _then(StoredKeys, "derive", lambda _, password, *__: NET.used(password))
    for kind in (ProtocolError, Refused, NotOffered, ConnectionLost, SASLError):
        _then(kind, "__init__", raised)
    _then(
        pytest.RaisesExc,
        "__exit__",
        lambda _, __, ___, error, ____: NET.said(lambda: everything_said_of(error)),
    )
    _then(pytest.CaptureFixture, "readouterr", lambda read, *_: NET.said(lambda: f"{read.out}{read.err}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that has ended fails if a secret of its own was printed, logged or raised."""
    report = yield
    if report.when == "teardown":
        NET.said(lambda: "".join(text for _, text in report.sections))
        if (caught := NET.caught()) and report.passed:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} let out what was to be kept secret: {caught}"
    return report
