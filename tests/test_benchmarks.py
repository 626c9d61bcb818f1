"""The benchmarks run, and the page says what was measured. Nothing is timed here: that is theirs to do."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from itertools import chain

import pytest

from bench import cases, measure, report, results, targets
from bench.worker import Job

SINK = measure.Program(sys.executable, "floor_servers", "sink")
LOAD = measure.Program(sys.executable, "load", "run")
MACHINE = {"python": "P 3", "system": "S", "kernel": "K", "cores": "2", "processor": "C"}

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="the benchmarks ask Linux what a process has used"
)


def programs(subjects: dict[str, cases.Subject], names: list[str], job: Job) -> measure.Programs:
    chosen = {name: subjects[name] for name in names}
    return {name: (subject.program(), job._replace(**subject.job)) for name, subject in chosen.items()}


@on_linux
@pytest.mark.parametrize(
    "job",
    [
        Job(count=2, recipients=2),
        Job(count=2, fresh=True),
        Job(count=4, connections=2),
        Job(count=2, size=200_000),
    ],
    ids=["kept", "fresh", "many", "big"],
)
def test_a_round_of_clients(job: Job) -> None:
    subjects = cases.client_cases()["client 1 KiB"].subjects
    names = [name for name, subject in subjects.items() if subject.kind != "peer"] + ["smtplib"]
    found = measure.clients(programs(subjects, names, job), [SINK], 1, 0)
    assert list(found) == names
    assert all(figure > 0 for quantities in found.values() for figure in chain(*quantities.values()))


@on_linux
@pytest.mark.parametrize("mode", ["lockstep", "pipelined"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_round_of_servers(mode: str, fresh: bool) -> None:
    names = [name for name, subject in cases.SERVERS.items() if subject.kind != "peer"] + ["aiosmtpd"]
    job = Job(count=4, connections=2, mode=mode, fresh=fresh)
    found = measure.servers(programs(cases.SERVERS, names, job), LOAD, 1, 0)
    assert {name: list(quantities) for name, quantities in found.items()} == dict.fromkeys(
        names, ["cpu", "wall"]
    )


@on_linux
def test_who_fails_is_named() -> None:
    with pytest.raises(measure.Failed, match="no_such_function") as caught:
        measure.alone({"it": (measure.Program(sys.executable, "clients", "no_such_function"), Job())}, 1, 0)
    assert caught.value.subject == "it"


@pytest.mark.parametrize("target", targets.TARGETS + targets.MOONSHOTS, ids=lambda target: target.what)
def test_a_target_is_about_what_is_measured(target: targets.Target) -> None:
    subjects = cases.CASES[target.case].subjects
    assert target.ours in subjects
    assert target.peer is None or target.peer in subjects
    assert (target.most is None) != (target.least is None)
    assert target.unit or target.peer


def test_every_target_has_a_row() -> None:
    assert {target.number for target in targets.TARGETS} == {f"T{number}" for number in range(1, 27)}


@pytest.mark.parametrize(
    "subject", {s.function for case in cases.CASES.values() for s in case.subjects.values()}
)
def test_a_subject_has_its_module(subject: str) -> None:
    assert find_spec(f"bench.{subject.partition('.')[0]}")


def made(*figures: tuple[str, str, str, list[float]]) -> results.Results:
    found: dict[str, results.Found] = {}
    for case, subject, quantity, rounds in figures:
        found.setdefault(case, results.Found({}, {})).figures[subject] = {quantity: rounds}
    return results.Results(MACHINE, {}, found)


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    found = made(
        ("client 1 KiB", "blocking", "cpu", [1.0, 8.0, 9.0]),
        ("client 1 KiB", "smtplib", "cpu", [2.0, 2.0, 10.0]),
    )
    target = targets.Target("T1", "it", "client 1 KiB", "blocking", "smtplib", 0.9)
    assert targets.judge(target, found) == targets.Judged(target, 8.0, 2.0, 0.9, True)
    assert targets.judge(target._replace(most=0.89), found).met is False
    absent = targets.judge(target, found._replace(cases={}))
    assert absent == targets.Judged(target, None, None, None, None)


def test_a_speed_is_the_inverse_of_a_time() -> None:
    found = made(
        ("core writing, 78 columns", "ours", "cpu", [0.02]),
        ("core writing, 78 columns", "smtplib", "cpu", [0.1]),
    )
    judged = targets.judge(targets.speed("T22", "it", "core writing, 78 columns", "smtplib", 300), found)
    assert (round(judged.ours or 0), round(judged.peer or 0), round(judged.ratio or 0), judged.met) == (
        524,
        105,
        5,
        True,
    )


def test_what_is_absent_is_named_with_its_reason() -> None:
    found = made(("client 1 KiB", "blocking", "cpu", [1e-4]))
    found.cases["client 1 KiB"].absent["smtplib"] = "it was left out"
    lines = list(report.one_case(found, "client 1 KiB"))
    assert "smtplib: it was left out." in lines
    rows = list(report.promises(found, targets.TARGETS))
    assert (
        "| T1 | blocking client, 1 KiB | <= 0.60 x smtplib | 100 us | smtplib: it was left out |  | not measured |"
        in rows
    )


def test_the_page_says_what_was_measured() -> None:
    page = report.PAGE.read_text()
    for name, lines in report.tables(results.load()).items():
        assert "\n".join([f"<!-- {name} -->", "", *lines, "", f"<!-- end of {name} -->"]) in page
