"""CPython's own tests of smtplib, run on the drop-in: what they hold the standard module to is relied on.

They come with the interpreter that runs this, so each version brings its own.
"""

from __future__ import annotations

import sys
import unittest
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest
from peers import nothing_left

from smtp_transports import smtplib as dropin

SUITE = "test.test_smtplib"

# Tests that the drop-in fails on purpose, and why.
DIFFERENT: dict[str, str] = {}


def suite() -> ModuleType:
    """CPython's test module, with the drop-in where it imports `smtplib`."""
    standard = sys.modules.get("smtplib")
    sys.modules["smtplib"] = dropin
    sys.modules.pop(SUITE, None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the server that they use is deprecated
            return import_module(SUITE)
    except (ImportError, unittest.SkipTest) as exc:
        pytest.skip(f"this interpreter has no {SUITE}: {exc}", allow_module_level=True)
    finally:
        del sys.modules["smtplib"]
        if standard is not None:
            sys.modules["smtplib"] = standard


def cases(tests: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from cases(test)
        else:
            yield test


module = suite()
CASES = {
    case.id().removeprefix(f"{SUITE}."): case
    for case in cases(unittest.defaultTestLoader.loadTestsFromModule(module))
}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left():
        yield


def run(name: str) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.TestSuite([CASES[name]]).run(result)
    return result


@pytest.mark.parametrize("name", sorted(CASES.keys() - DIFFERENT.keys()))
def test_cpython_holds_the_drop_in_to(name: str) -> None:
    result = run(name)
    for _, reason in result.skipped:
        pytest.skip(reason)
    for _, trace in (*result.errors, *result.failures):
        pytest.fail(trace, pytrace=False)
    assert result.testsRun == 1
    assert result.wasSuccessful()


def test_what_differs_on_purpose_still_does() -> None:
    assert len(DIFFERENT) <= 3
    assert DIFFERENT.keys() <= CASES.keys()
    assert [name for name in DIFFERENT if run(name).wasSuccessful()] == []


def test_the_suite_is_the_whole_one_and_was_given_the_drop_in() -> None:
    assert module.smtplib is dropin
    assert len(CASES) > 70
