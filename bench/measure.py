"""Processes, turns and rounds: how a figure comes about.

Each subject has a process of its own. In a round every subject has its turn, and the order changes from round
to round. So what else the machine does hits them all alike, and the ratio of two of them in the same round is
worth more than either figure.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, NamedTuple, Self

from .worker import Job, memory

ROOT = Path(__file__).parents[1]
# Seconds that any process may take for one answer.
PATIENCE = 60.0


class Failed(Exception):
    """A subject did not do what it should."""

    subject = ""


# Who is measured has one core, who only plays along another: on a quiet machine they would part anyway, and
# what they cost each other differs three times between the one and the other.
CORES = sorted(os.sched_getaffinity(0))
MEASURED, BESIDE = {CORES[-1]}, {CORES[0]}


class Worker:
    """A process that answers."""

    def __init__(self, python: str, module: str, function: str, cores: Collection[int]) -> None:
        self.name = f"{module}.{function}"
        self.complaints = TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [python, "-c", f"from bench.worker import main; main({module!r}, {function!r})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            cwd=ROOT,
            process_group=0,
        )
        os.sched_setaffinity(self.process.pid, cores)
        self.rest = b""

    def ask(self, job: Job) -> dict[str, Any]:
        """Let it do something; its answer."""
        self.send(job)
        return self.answer()

    def send(self, job: Job) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job._asdict()).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self.name}: {self.last_words()}") from None

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failed(f"{self.name}: no answer in {PATIENCE:.0f} seconds")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Failed(f"{self.name}: {self.last_words()}")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def last_words(self) -> str:
        """The end of what it complained of."""
        self.process.kill()
        code = self.process.wait()
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line), f"ended with {code}")

    def __enter__(self) -> Self:
        try:
            self.answer()  # it is ready
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.complaints.close()


def cpu_of(pid: int) -> float:
    """Seconds of CPU, of the user and of the system, that another process has used (Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


class Program(NamedTuple):
    """What runs a subject: an interpreter, and a function in a module of this folder."""

    python: str
    module: str
    function: str

    def start(self, cores: Collection[int] = MEASURED) -> Worker:
        return Worker(*self, cores)


Rounds = dict[str, list[float]]
"""For each quantity what the rounds gave."""
Programs = Mapping[str, tuple[Program, Job]]
"""The subjects of a case, by their names, and what each has to do."""


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Who fails here is this subject."""
    try:
        yield
    except Failed as failure:
        failure.subject = name
        raise


def in_turns(
    subjects: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, deadline: float
) -> dict[str, Rounds]:
    """Let each do its part in every round. The round before the first warms up, if there are any; one there
    is however late it is.
    """
    names = list(subjects)
    found: dict[str, Rounds] = {name: {} for name in names}
    for number in range(rounds + 1):
        if number > 1 and time.monotonic() > deadline:
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with blaming(name):
                figures = subjects[name]()
            if number or not rounds:
                for quantity, figure in figures.items():
                    found[name].setdefault(quantity, []).append(figure)
    return found


def alone(programs: Programs, rounds: int, deadline: float, port: int = 0) -> dict[str, Rounds]:
    """Subjects, each in its process."""
    with ExitStack() as stack:
        subjects = {}
        for name, (program, job) in programs.items():
            with blaming(name):
                worker = stack.enter_context(program.start())
            subjects[name] = partial(worker.ask, job._replace(port=port))
        return in_turns(subjects, rounds, deadline)


def clients(programs: Programs, path: list[Program], rounds: int, deadline: float) -> dict[str, Rounds]:
    """Clients beside one another, at one cheap server, or what stands before it."""
    with ExitStack() as stack:
        port = 0
        for program in path:
            port = stack.enter_context(program.start(BESIDE)).ask(Job(port=port))["port"]
        return alone(programs, rounds, deadline, port)


def peaks(programs: Programs, path: list[Program], rounds: int) -> dict[str, Rounds]:
    """The same, in new processes for each round: memory that was once used is not always given back."""
    found: dict[str, Rounds] = {name: {"peak": []} for name in programs}
    for _ in range(rounds):
        for name, quantities in clients(programs, path, 0, 0).items():
            found[name]["peak"] += quantities["peak"]
    return found


def servers(programs: Programs, load: Program, rounds: int, deadline: float) -> dict[str, Rounds]:
    """Servers, each in its process; what loads them is one and the same, and not measured."""
    with ExitStack() as stack:
        source = stack.enter_context(load.start(BESIDE))
        subjects = {}
        for name, (program, job) in programs.items():
            with blaming(name):
                worker = stack.enter_context(program.start())
                told = worker.ask(job)
            subjects[name] = loaded(
                source, told.get("pid", worker.process.pid), job._replace(port=told["port"])
            )
        return in_turns(subjects, rounds, deadline)


def loaded(source: Worker, pid: int, job: Job) -> Callable[[], Mapping[str, float]]:
    def run() -> Mapping[str, float]:
        before = cpu_of(pid)
        answer = source.ask(job)
        return {"cpu": (cpu_of(pid) - before) / job.count, "wall": answer["wall"]}

    return run


# Connections that are there before those that are counted: what is made once is made then.
FIRST = 100


def idle(programs: Programs, load: Program, rounds: int, deadline: float) -> dict[str, Rounds]:
    """What each of many connections costs a server that waits, in octets of memory."""
    found: dict[str, Rounds] = {name: {"memory": []} for name in programs}
    for number in range(rounds):
        if number and time.monotonic() > deadline:
            break
        for name, (program, job) in programs.items():
            with blaming(name), load.start(BESIDE) as source, program.start() as worker:
                told = worker.ask(job)
                pid = told.get("pid", worker.process.pid)
                source.ask(job._replace(port=told["port"], connections=FIRST))
                before = memory("VmRSS", pid)
                source.ask(job._replace(port=told["port"]))
                found[name]["memory"].append((memory("VmRSS", pid) - before) / job.connections)
    return found
