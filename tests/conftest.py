"""Hypothesis profiles: `ci` is deterministic and quick, `long` is random and thorough (by hand). And a net
for secrets that get out.
"""

import gc
import os
from pathlib import Path

import leaks
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(leaks)


@pytest.fixture
def trust(tmp_path: Path) -> list[str]:
    """What tells the command line that the certificate of `peers` is a good one."""
    from peers import certificates  # which not every test needs

    return ["--ca-file", certificates().write(tmp_path)[0]]


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the garbage collector need not look through it."""
    gc.freeze()
