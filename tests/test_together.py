"""Commands that run at the same time: on one study, on studies that share runs, on one cold cache of compiled code."""

from __future__ import annotations

import os
import re
import shutil
import signal

import pytest
from faults import SMALL, Watch, at_work, finished, remains, tables
from processes import Command, wait_until
from test_ablate import cold_cache

STUDY = ("exp3", *SMALL, "--epochs", "8", "--seeds", "2")
PART = (*STUDY, "--only", "adam", "sgd")
BUSY = re.compile(
    r"error: process (\d+) on \S+ is at work on results/exp3/fashion-mnist\S*; wait for its end, stop it, "
    r"or name another folder with --out\n"
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """Tables of the study when nobody else is there."""
    folder = tmp_path_factory.mktemp("alone")
    assert Command(folder)(*STUDY)[0] == 0
    return tables(folder / "results")


def test_a_second_command_on_a_study_is_told_who_is_at_work_and_changes_nothing(command, alone):
    first = command.start(*STUDY)
    runs = command.folder / "results" / "runs"
    wait_until(lambda: at_work(first, runs))
    status, out, err = command(*STUDY)
    assert (status, out) == (2, "")
    assert BUSY.fullmatch(err)[1] == str(first.pid)
    status, _, err = command.finish(first)
    assert (status, err) == (0, "")
    assert tables(command.folder / "results") == alone
    status, out, err = command(*STUDY)
    assert (status, err) == (0, "")
    assert "10 already stored" in out
    assert remains(command.folder / "results") == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_command_holds_nobody_up_and_a_stopped_one_still_does(command, alone, number):
    first = command.start(*STUDY)
    wait_until(lambda: at_work(first, command.folder / "results" / "runs"))
    first.send_signal(number)
    if number == signal.SIGKILL:
        first.wait()
    status, _, err = command(*STUDY)
    if number == signal.SIGSTOP:
        assert (status, bool(BUSY.fullmatch(err))) == (2, True)
        first.send_signal(signal.SIGCONT)
        status, _, err = command.finish(first)
    else:
        command.finish(first)
    assert (status, err) == (0, "")
    assert tables(command.folder / "results") == alone


def test_commands_that_start_in_the_same_moment_make_one_table(command, alone):
    started = [command.start(*STUDY) for _ in range(3)]
    ended = [command.finish(process) for process in started]
    assert 0 in {status for status, _, _ in ended}
    for status, _, err in ended:
        assert (status, err) == (0, "") or (status, bool(BUSY.fullmatch(err))) == (2, True)
    assert tables(command.folder / "results") == alone
    assert remains(command.folder / "results") == []


def test_two_studies_that_share_runs_make_each_of_them_once(command, alone):
    results = command.folder / "results"
    watch = Watch(results / "runs")
    both = [command.start(*PART), command.start(*STUDY)]
    wait_until(lambda: watch.look() == 10 or all(process.poll() is not None for process in both))
    for process in both:
        status, _, err = command.finish(process)
        assert (status, err) == (0, "")
    assert watch.look() == 10
    (part,) = results.glob("exp3/*only=*")
    shutil.move(part, results / "part" / "tables")
    assert tables(results) == alone
    rows = {row["run_id"]: row for row in alone["runs.csv"] if row["variant"] in ("sgd", "adam")}
    assert [row["run_id"] for row in tables(results, "part")["runs.csv"]] == list(rows)
    assert all(row.items() <= rows[row["run_id"]].items() for row in tables(results, "part")["runs.csv"])
    assert remains(results) == []


@pytest.mark.long
def test_who_waits_for_a_run_of_another_command_says_so(command):
    """The run that both need is made by a command that is stopped for a while."""
    long = ("exp3", *SMALL, "--epochs", "100", "--seeds", "1", "--only", "adam")
    first = command.start(*long)
    runs = command.folder / "results" / "runs"
    wait_until(lambda: at_work(first, runs))
    ((maker, _),) = at_work(first, runs).items()
    os.kill(maker, signal.SIGSTOP)
    (command.folder / "other.toml").write_text('[variants]\nmine = { optimizer = { name = "adam", lr = 0.001 } }\n')
    second = command.start(
        "other.toml", *SMALL, "--epochs", "100", "--seeds", "1", environment={"PYTHONUNBUFFERED": "1"}
    )
    told = next(line for line in second.stdout if "waiting for it" in line)
    assert re.fullmatch(rf"mine seed 0 is being made by process {maker} on \S+; waiting for it\n", told)
    os.kill(maker, signal.SIGCONT)
    status, _, err = command.finish(second)
    assert (status, err) == (0, "")
    assert command.finish(first)[0] == 0
    assert len(finished(runs)) == 1


@pytest.mark.long
def test_a_study_made_afresh_never_disturbs_one_that_reads_its_runs(command, alone):
    assert command(*STUDY)[0] == 0
    fresh = command.start(*PART, "--fresh")
    for _ in range(3):
        status, out, err = command(*STUDY)
        assert (status, err) == (0, "")
        assert "10 already stored" in out
        (path,) = (command.folder / "results" / "exp3").glob("*seeds=2")
        assert "failed" not in (path / "runs.csv").read_text()
    assert command.finish(fresh)[0] == 0
    (part,) = (command.folder / "results").glob("exp3/*only=*")
    shutil.rmtree(part)
    assert tables(command.folder / "results") == alone


@pytest.mark.long
def test_eight_commands_share_a_cold_cache_of_compiled_code(command, tmp_path):
    environment = {"ABLATION_BENCH_CACHE": str(cold_cache(tmp_path))}
    arguments = ("exp3", "--limit", "500", "--set", "hidden=[16]", "--epochs", "2", "--seeds", "1", "--only", "adam")
    started = [command.start(*arguments, "--jobs", "1", "--out", f"{i}", environment=environment) for i in range(8)]
    ended = [command.finish(process) for process in started]
    assert [(status, err) for status, _, err in ended] == [(0, "")] * 8
    found = [tables(command.folder / f"{i}") for i in range(8)]
    assert all(each == found[0] for each in found)
    assert not list((tmp_path / "cold").rglob(".tmp*"))
