"""A subject in a process of its own, which runs `main`.

What it has to do comes as lines of JSON, and what came of it goes out as lines of JSON. The interpreter may
be another one, with other libraries, so nothing is imported here but what every Python has.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple


class Job(NamedTuple):
    """What to do. Each subject looks at what concerns it."""

    port: int = 0
    size: int = 1024  # octets of a message
    count: int = 1000  # messages, or times
    recipients: int = 1
    connections: int = 1  # at once; `count` messages on all of them together
    fresh: bool = False  # a new connection for each message
    mode: str = "data"  # "flight": envelope and message in one; "many": messages back to back
    name: str = ""  # one of several of a kind
    peak: bool = False  # measure memory, too

    def shorter(self) -> Job:
        """A third of it, for who is in a hurry."""
        connections = min(self.connections, 500)
        return self._replace(
            count=max(self.count // 3 // connections, 1) * connections, connections=connections
        )


class Clock:
    """What was used between the start and the end: seconds of CPU, seconds, octets of memory at most."""

    cpu = wall = 0.0
    peak = 0

    def __init__(self, *, peak: bool = False) -> None:
        self.measures_peak = peak

    @contextmanager
    def running(self) -> Iterator[None]:
        gc.collect()
        before = forget_peak() if self.measures_peak else 0
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu, self.wall = time.process_time() - cpu, time.perf_counter() - wall
        self.peak = memory("VmHWM") - before if self.measures_peak else 0


def memory(field: str, pid: int | str = "self") -> int:
    """Octets of memory, as Linux tells: `VmRSS` now, `VmHWM` at most."""
    with open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) * 1024 for line in status if line.startswith(field)), 0)


def forget_peak() -> int:
    """Let the most that there was begin anew with what there is."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return memory("VmHWM")


def main(module: str, function: str) -> None:
    """Do what is asked, until nobody asks any more."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer

    def tell(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    run: Callable[..., dict[str, Any]] = getattr(import_module(f"bench.{module}"), function)
    tell({})
    for line in sys.stdin:
        job = Job(**json.loads(line))
        if getattr(run, "tells", False):
            threading.Thread(target=end_with_the_last, daemon=True).start()
            run(job, tell)
        tell(run(job))


def end_with_the_last() -> None:
    """Who would run for ever ends, with all that it started, when nobody is left to ask it."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def tells(run: Callable[..., Any]) -> Callable[..., Any]:
    """Mark what answers while it runs: a server, which tells its port."""
    run.tells = True  # type: ignore[attr-defined]
    return run
