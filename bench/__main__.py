"""All benchmarks: what was measured goes to docs/benchmarks.json, and from there to the page and its plots.

    python -m bench                   a quick pass: fewer rounds, no big messages; nothing is written
    python -m bench --full            everything; docs/ is written anew
    python -m bench --only 'core*'    some cases, by their names
    python -m bench --seconds 300     stop beginning rounds after so long

A peer that is not there is named as absent; a subject that fails is named as failed, and the rest goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from fnmatch import fnmatch

from . import measure, peers, results
from .cases import CASES, Case
from .measure import Failed, Program, Programs, Rounds
from .report import page, summary

QUICK, FULL = 3, 9  # rounds
SECONDS = {False: 80.0, True: 720.0}

SINK = Program(sys.executable, "floor_servers", "sink")
LOAD = Program(sys.executable, "load", "run")
HOLD = Program(sys.executable, "load", "hold")
PROXY = Program(sys.executable, "proxy", "serve")


def measured(case: Case, rounds: int, deadline: float) -> results.Found:
    """A case, without those that are absent, and at last without those that fail."""
    absent = {
        name: reason for name, subject in case.subjects.items() if (reason := peers.absent(subject.peer))
    }
    present = {name: subject for name, subject in case.subjects.items() if name not in absent}
    job = case.job if rounds > QUICK else case.job.shorter()
    programs = {name: (subject.program(), job._replace(**subject.job)) for name, subject in present.items()}
    while programs:
        try:
            return results.Found(take(case, programs, rounds, deadline), absent)
        except Failed as failure:
            # What is nobody's fault in particular, the server's of a client case, is everybody's.
            for name in [failure.subject] if failure.subject else list(programs):
                print(f"    {name} failed: {failure}", flush=True)
                absent[name] = f"failed: {failure}"
                del programs[name]
    return results.Found({}, absent)


def take(case: Case, programs: Programs, rounds: int, deadline: float) -> dict[str, Rounds]:
    match case.kind:
        case "client":
            return measure.clients(programs, [SINK], rounds, deadline)
        case "peak":
            return measure.peaks(programs, [SINK], 3)
        case "far":
            return measure.clients(programs, [SINK, PROXY], min(rounds, 5), deadline)
        case "server":
            return measure.servers(programs, LOAD, rounds, deadline)
        case "idle":
            return measure.idle(programs, HOLD, 1 if rounds == QUICK else 3, deadline)
        case "size":
            return measure.alone(programs, 0, deadline)
        case _:
            return measure.alone(programs, rounds, deadline)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure smtp_proto beside its peers.")
    parser.add_argument("--full", action="store_true", help="everything, and write docs/")
    parser.add_argument("--only", default="*", help="names of cases, as a pattern")
    parser.add_argument("--seconds", type=float, help="how long it may take, more or less")
    options = parser.parse_args()
    chosen = {
        name: case
        for name, case in CASES.items()
        if fnmatch(name, options.only) and (case.quick or options.full or options.only != "*")
    }
    if not chosen:
        parser.error(f"no such case; there are: {', '.join(CASES)}")
    peers.fetch()
    found = run(chosen, FULL if options.full else QUICK, options.seconds or SECONDS[options.full])
    print(summary(found))
    if options.full:
        found = results.merged(found) if options.only != "*" else found
        results.save(found)
        page(results.load())
    return 0


def run(cases: Mapping[str, Case], rounds: int, seconds: float) -> results.Results:
    """Each case, with an equal share of what is left of the time."""
    end = time.monotonic() + seconds
    found: dict[str, results.Found] = {}
    for number, (name, case) in enumerate(cases.items()):
        began = time.monotonic()
        found[name] = measured(case, rounds, began + max(0.0, end - began) / (len(cases) - number))
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    return results.Results(results.machine(), peers.versions(), found)


if __name__ == "__main__":
    sys.exit(main())
