"""Until the servers' own is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from clients_ours import Serve, running, write_certificates
from loops import Loop, fresh_loop

Cell = Callable[[str, str, str, str], None]


@pytest.fixture
def loop(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Loop]:
    """The transport that a test is played over."""
    with fresh_loop(request.param, caplog) as loop:
        yield loop


@pytest.fixture
def cell(record_property: Callable[[str, object], None]) -> Cell:
    """Says which cells a test fills: table, row, column, and the name of the transport."""
    return lambda *where: record_property("cell", where)


@pytest.fixture
def ours(loop: Loop, tmp_path: Path) -> Serve:
    """Starts our server over the transport of the test."""
    write_certificates(tmp_path)
    return partial(running, loop, tmp_path)
