"""What fuzzing began with, and what it ever found, played through the targets without a fuzzer."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"


def load(name: str) -> Any:
    """A module of the folder fuzz, which is no package."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TARGETS = load("targets").TARGETS
SEEDS = load("seeds")


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_breaks_what_a_target_holds(name: str) -> None:
    found = [path.read_bytes() for path in sorted(FUZZ.glob(f"found/{name}-*"))]
    seeds = SEEDS.seeds(name)
    assert len(seeds) >= 2
    for octets in [b"", *seeds, *found]:
        TARGETS[name](octets)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("body", b"a\r\n.\r\nb"),
        ("path", b"a@b.example"),
        ("parameters", b"SIZE=5"),
    ],
)
def test_a_target_sees_what_is_broken(name: str, octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail finds nothing."""
    import smtp_proto

    monkeypatch.setattr(smtp_proto.DataWriter, "write", lambda self, data: data)
    monkeypatch.setattr(smtp_proto.Path, "__eq__", lambda self, other: False)
    monkeypatch.setattr(smtp_proto.Parameters, "__eq__", lambda self, other: False)
    with pytest.raises(AssertionError):
        TARGETS[name](octets)


def test_the_runner_knows_every_target() -> None:
    sys.path.insert(0, str(FUZZ))
    try:
        assert tuple(TARGETS) == load("run").NAMES
    finally:
        sys.path.remove(str(FUZZ))
