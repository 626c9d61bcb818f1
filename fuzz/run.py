"""Fuzzing by atheris (libFuzzer), each target in a process of its own.

    python fuzz/run.py                       every target, 60 seconds in all
    python fuzz/run.py --seconds 600 server  one of them, ten minutes
    python fuzz/run.py --replay FILE server  what was found, once more, with its traceback

Prints for each target how often it ran in a second, and how many edges of the code it reached. What is found
is kept in fuzz/found/, and makes the exit code 1; tests/test_fuzz.py plays it ever after.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from seeds import seeds

NAMES = (
    "client",
    "server",
    "body",
    "path",
    "parameters",
    "features",
    "reply_stream",
    "proxy",
    "sasl",
    "beside_smtplib",
    "beside_aiosmtpd",
)
# What is fuzzed, and what is compared with it: the fuzzer looks for new ways through both.
INSTRUMENTED = ["smtp_proto", "targets", "smtplib", "email", "aiosmtpd"]

HERE = Path(__file__).parent
FOUND = HERE / "found"


def fuzz(name: str, seconds: int, folder: Path) -> bool:
    """Run one target; whether nothing was found."""
    for number, seed in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(seed)
    FOUND.mkdir(exist_ok=True)
    options = {
        "max_total_time": seconds,
        "max_len": 2000,
        "timeout": 10,
        "rss_limit_mb": 1000,
        "dict": HERE / "smtp.dict",
        "artifact_prefix": FOUND / f"{name}-",
        "print_final_stats": 1,
    }
    words = [f"-{option}={value}" for option, value in options.items()]
    done = subprocess.run(
        [sys.executable, __file__, "--inside", name, str(folder), *words],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    print(f"{name:16}{summary(done.stderr)}")
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
    return done.returncode == 0


def summary(said: str) -> str:
    """What libFuzzer says at the end, in a few words."""
    ran = re.search(r"number_of_executed_units: *(\d+)", said)
    speed = re.search(r"average_exec_per_sec: *(\d+)", said)
    edges = re.findall(r"\bcov: (\d+)", said)
    if not (ran and speed and edges):
        return " no figures"
    return f"{int(ran[1]):>10,} runs{int(speed[1]):>8,} a second{int(edges[-1]):>7,} edges"


def load(name: str) -> Callable[[bytes], None]:
    """A target. Most need nothing but this library."""
    module = import_module("beside" if name.startswith("beside_") else "targets")
    target: Callable[[bytes], None] = module.TARGETS[name]
    return target


def inside(name: str, words: list[str]) -> None:
    """The process that atheris takes over."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        target = load(name)
    atheris.Setup([name, *words], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz what reads octets.")
    parser.add_argument("--seconds", type=int, default=60, help="in all, for the targets together")
    parser.add_argument("--replay", type=Path, help="a file of octets that was found")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(NAMES))
    options = parser.parse_args()
    names = options.targets or list(NAMES)
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.replay:
        for name in names:
            load(name)(options.replay.read_bytes())
        return 0
    # Of many, each takes about a second to begin.
    seconds = max(options.seconds // len(names) - (len(names) > 1), 1)
    good = True
    for name in names:
        with TemporaryDirectory() as folder:
            good &= fuzz(name, seconds, Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3:])
    sys.exit(main())
