"""The net that is under all other tests catches what it is there for, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peers import SECONDS

TESTS = """
import logging, pytest
from base64 import b64encode
from smtp_proto import LocalProtocolError
from smtp_proto.sasl import CheckToken, Credentials, StoredKeys

ADA = "correct horse"

FORMS = [ADA, repr(ADA.encode()), *(b64encode(b"x" * n + ADA.encode() + b"y").decode() for n in range(3))]

@pytest.mark.parametrize("form", FORMS)
def test_caught_printed(form):
    Credentials("ada", ADA)
    print("C:", form)

def test_caught_logged():
    Credentials("ada", token=ADA)
    logging.getLogger("smtp").warning("token %s", ADA)

def test_caught_read_by_the_test(capsys):
    CheckToken("ada", ADA)
    print(ADA)
    capsys.readouterr()

def test_caught_raised():
    StoredKeys.derive(ADA, b"salt" * 4, 4096, "SCRAM-SHA-256")
    with pytest.raises(ValueError):
        try:
            raise KeyError(ADA)
        except KeyError:
            raise ValueError("no such key")

def test_caught_made_and_dropped():
    Credentials("ada", "p\xe4ssword")
    LocalProtocolError("not a password: p\xe4ssword")

def test_good_user():
    Credentials(ADA, ADA)
    print(ADA)

def test_good_of_the_next_test():
    print(ADA)

def test_good_hidden():
    print(repr(Credentials("ada", ADA)))
"""


def test_a_secret_that_gets_out_fails_the_test_that_used_it(tmp_path: Path) -> None:
    (tmp_path / "test_them.py").write_text(TESTS, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "leaks", "-p", "no:cacheprovider", "-rE", "--tb=no", tmp_path],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=3 * SECONDS,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR ")]
    assert len(errors) == 9, done.stdout
    assert all("::test_caught_" in line for line in errors)
    assert done.returncode == 1
