"""Servers that run as long as a test needs one, and the tables of what was shown (`--tables PAGE`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from clients_dovecot import WAYS as CLIENT_WAYS
from clients_dovecot import Relay
from clients_ours import Serve, running, write_certificates
from clients_postfix import Sender
from daemon import HOST
from dovecot import Dovecot
from loops import Loop, fresh_loop
from matrix import Cell, Table, insert
from opensmtpd import OpenSMTPD
from postfix import Postfix
from ways import Place


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    """Postfix as it is most of the time."""
    with Postfix() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def dovecot(postfix: Postfix) -> Iterator[Dovecot]:
    """Dovecot, which passes on to `postfix` what is submitted."""
    with Dovecot(relay_to=(HOST, postfix.smtp)) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def opensmtpd() -> Iterator[OpenSMTPD]:
    """OpenSMTPD."""
    with OpenSMTPD() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def sender() -> Iterator[Sender]:
    """Postfix as a client of our servers."""
    with Sender() as daemon:
        write_certificates(daemon.folder / "ours")
        yield daemon


@pytest.fixture(scope="session", params=CLIENT_WAYS)
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    """Dovecot as a client of our servers, in each way."""
    with Relay(request.param) as daemon:
        yield daemon


@pytest.fixture
def loop(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Loop]:
    """The transport that a test is played over."""
    with fresh_loop(request.param, caplog) as loop:
        yield loop


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """The server of a test's way."""
    way = request.param
    daemon = request.getfixturevalue(way.server)
    keeper = request.getfixturevalue("postfix") if way.service == "Dovecot submission" else daemon
    keeper.clear()  # of what a test left that failed
    return Place(way, daemon, keeper)


@pytest.fixture
def ours(loop: Loop, tmp_path: Path) -> Serve:
    """Starts our server over the transport of the test."""
    write_certificates(tmp_path)
    return partial(running, loop, tmp_path)


@pytest.fixture
def cell(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Cell:
    """Says which cells a test fills: table, row, column, and the name of the transport."""
    return lambda *where: record_property("cell", (*where, request.node.location[1]))


# --- The tables


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tables", metavar="PAGE", type=Path, help="write what was shown into this page")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collector(config))


class Collector:
    """Collects what the tests have shown, those that run in other processes included."""

    def __init__(self, config: pytest.Config) -> None:
        self._page: Path | None = config.getoption("tables", None)
        self._tables: dict[str, Table] = {}
        self._skipped = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._skipped = self._skipped or report.skipped
        if report.when == "call" and not report.skipped:
            for name, value in report.user_properties:
                if name == "cell":
                    table, row, column, who, place = cast("tuple[str, str, str, str, int]", value)
                    self._tables.setdefault(table, Table()).fill(row, column, who, place, report.passed)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int | pytest.ExitCode
    ) -> None:
        if self._page is None:
            return
        is_complete = exitstatus == pytest.ExitCode.OK and not self._skipped
        for name, table in self._tables.items():
            terminalreporter.section(name)
            terminalreporter.write_line("\n".join(table.render()))
            if is_complete:
                insert(self._page, name, table.render())
        if not is_complete:
            terminalreporter.write_line(f"{self._page} stays as it is: not all tests have passed.")
