"""The benchmarks run, and the page says what was measured. Nothing is timed here: that is theirs to do."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from itertools import chain

import pytest

if sys.platform != "linux":
    pytest.skip("Linux tells what a process has used", allow_module_level=True)

from bench import cases, measure, report, results, targets
from bench.worker import Job

SINK = measure.Program(sys.executable, "floor_servers", "sink")
LOAD = measure.Program(sys.executable, "load", "run")
MACHINE = {"python": "P 3", "system": "S", "kernel": "K", "cores": "2", "processor": "C"}


def programs(subjects: dict[str, cases.Subject], names: list[str], job: Job) -> measure.Programs:
    chosen = {name: subjects[name] for name in names}
    return {name: (subject.program(), job._replace(**subject.job)) for name, subject in chosen.items()}


@pytest.mark.parametrize(
    "job",
    [Job(count=2, recipients=2, fresh=True), Job(count=4, connections=2, size=200_000)],
    ids=["new connections", "big messages"],
)
def test_a_round_of_clients(job: Job) -> None:
    subjects = cases.client_cases()["client 1 KiB"].subjects
    names = [name for name, subject in subjects.items() if subject.kind != "peer"] + ["smtplib"]
    found = measure.clients(programs(subjects, names, job), [SINK], 1, 0)
    assert list(found) == names
    assert all(figure > 0 for quantities in found.values() for figure in chain(*quantities.values()))


@pytest.mark.parametrize(("mode", "fresh"), [("lockstep", True), ("pipelined", False)])
def test_a_round_of_servers(mode: str, fresh: bool) -> None:
    names = [name for name, subject in cases.SERVERS.items() if subject.kind != "peer"] + ["aiosmtpd"]
    job = Job(count=4, connections=2, mode=mode, fresh=fresh)
    found = measure.servers(programs(cases.SERVERS, names, job), LOAD, 1, 0)
    assert {name: list(found[name]) for name in found} == {name: ["cpu", "wall"] for name in names}


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


def test_every_subject_has_its_module() -> None:
    functions = {subject.function for case in cases.CASES.values() for subject in case.subjects.values()}
    assert all(find_spec(f"bench.{function.partition('.')[0]}") for function in functions)


def made(*figures: tuple[str, str, str, list[float]]) -> results.Results:
    found: dict[str, results.Found] = {}
    for case, subject, quantity, rounds in figures:
        found.setdefault(case, results.Found({}, {})).figures[subject] = {quantity: rounds}
    return results.Results(MACHINE, {}, found)


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    ours, peer = [1.0, 8.0, 9.0], [2.0, 2.0, 10.0]
    found = made(("client 1 KiB", "blocking", "cpu", ours), ("client 1 KiB", "smtplib", "cpu", peer))
    target = targets.Target("T1", "it", "client 1 KiB", "blocking", "smtplib", 0.9)
    assert targets.judge(target, found) == targets.Judged(target, 8.0, 2.0, 0.9, True)
    assert targets.judge(target._replace(most=0.89), found).met is False
    absent = targets.judge(target, found._replace(cases={}))
    assert absent == targets.Judged(target, None, None, None, None)


def test_a_speed_is_the_inverse_of_a_time() -> None:
    case = "core writing, 78 columns"
    found = made((case, "ours", "cpu", [0.02]), (case, "smtplib", "cpu", [0.1]))
    judged = targets.judge(targets.speed("T22", "it", case, "smtplib", 300), found)
    assert [round(figure or 0) for figure in judged[1:4]] == [524, 105, 5]
    assert judged.met
    assert not targets.judge(judged.target._replace(least=600), found).met


def test_what_is_absent_is_named_with_its_reason() -> None:
    found = made(("client 1 KiB", "blocking", "cpu", [1e-4]))
    found.cases["client 1 KiB"].absent["smtplib"] = "it was left out"
    assert "smtplib: it was left out." in report.one_case(found, "client 1 KiB")
    row = "| T1 | blocking client, 1 KiB | <= 0.60 x smtplib | 100 us | smtplib: it was left out |"
    assert any(line.startswith(row) for line in report.promises(found, targets.TARGETS))


def test_the_page_says_what_was_measured() -> None:
    page = report.PAGE.read_text()
    for name, lines in report.tables(results.load()).items():
        assert "\n".join([f"<!-- {name} -->", "", *lines, "", f"<!-- end of {name} -->"]) in page
