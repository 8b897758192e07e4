"""Plans: the order of runs, and what they are said to take."""

from __future__ import annotations

import time

import pytest

from harness import ablate, planner, speed, worker
from harness.config import RunConfig
from harness.planner import Estimate
from harness.speed import Speed
from harness.study import Run, load
from harness.studyfile import available
from harness.version import code_version
from harness.worker import Task


def named(*settings: dict[str, object], seeds: int = 1) -> list[tuple[str, Run]]:
    """Runs as a plan lists them: variant by variant within a seed."""
    configs = [RunConfig.from_settings(each, "a test") for each in settings]
    return [
        (f"{i} seed {seed}", Run(f"variant {i}", config.with_seed(seed)))
        for seed in range(seeds)
        for i, config in enumerate(configs)
    ]


SHORT, LONG, MIDDLE = {"hidden": [2]}, {"hidden": [2], "epochs": 50}, {"hidden": [9], "epochs": 20}


def order(runs, dataset, workers) -> list[str]:
    return [name for name, _ in planner.queue(runs, dataset, workers)]


def test_nothing_is_in_order(small):
    assert planner.queue([], small, 4) == []


def test_of_the_last_seed_the_longest_runs_begin_first_and_of_others_none(small):
    got = order(named(SHORT, LONG, MIDDLE, seeds=30), small, 2)
    assert got[:3] == ["0 seed 0", "1 seed 0", "2 seed 0"]
    assert got[-3:] == ["1 seed 29", "2 seed 29", "0 seed 29"]


def test_on_many_workers_the_longest_runs_of_all_begin_first(small):
    got = order(named(SHORT, LONG, MIDDLE, seeds=3), small, 100)
    assert got == [f"{i} seed {seed}" for i in (1, 2, 0) for seed in range(3)]


def test_runs_that_take_equally_long_stay_variant_by_variant(small):
    runs = named({"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}, seeds=3)
    assert order(runs, small, 1000) == [name for name, _ in runs]


def test_times_of_runs_follow_from_speeds(small):
    runs = named({"batch_size": 100, "epochs": 3, "data.limit": 201})
    speeds = {speed.kind_of(runs[0][1].config): Speed(1.0, 0.001, 0.1, 0.01)}
    estimate = planner.estimate(runs, speeds, small, 2)
    epoch = 3 * 1.0 + 31 * 0.001 + 0.1  # 201 images are 3 batches; 31 to validate
    assert estimate.seconds == {"0 seed 0": pytest.approx(3 * epoch + (201 + 2 * 31) * 0.001 + 0.01)}
    assert estimate.variants == {"variant 0": estimate.seconds["0 seed 0"]}


def test_a_plan_says_what_a_run_takes_and_all_of_them_here_and_on_other_numbers_of_workers():
    seconds = {str(i): 30.0 for i in range(100)}
    lines = planner.describe(Estimate(seconds, {"a": 30.0}, 4), None)
    assert lines[0].startswith("100 runs to be made, 30 s each; about 13 min here, 4 at a time")
    assert "16 workers" in lines[1]
    assert "4,096" not in lines[1]
    (line,) = [line for line in planner.describe(Estimate(seconds, {}, 4), 64) if "64" in line]
    assert "64 workers" in line
    assert planner.describe(Estimate({}, {}, 4), None) == ["nothing to be made: all runs are stored"]


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.04 s"), (2.06, "2.1 s"), (59.4, "59 s"), (300, "5.0 min"),
                                               (5400, "90 min"), (36000, "10 h"), (10**6, "278 h")])  # fmt: skip
def test_durations_are_short_words(seconds, text):
    assert planner.duration(seconds) == text


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("name", [name for name in available() if name.startswith("exp") and name != "exp7"])
def test_the_estimate_of_a_study_is_within_a_quarter_of_what_its_runs_take(name, tmp_path, monkeypatch, fashion):
    """Processor time on both sides, so that what else goes on in the machine does not matter; a few epochs only."""
    monkeypatch.setattr(time, "perf_counter", time.thread_time)
    facts = {"jobs": 1, "data_fingerprint": fashion.fingerprint, "code_version": code_version()}
    ratios = []
    for attempt in range(3):  # the machine may do other work on either side: the middle one of three counts
        if not ratios or not 0.75 < ratios[0] < 1.25:
            ratios.append(ratio_of(name, tmp_path / str(attempt), facts, fashion))
    assert 0.75 < sorted(ratios)[len(ratios) // 2] < 1.25


def ratio_of(name, tmp_path, facts, fashion) -> float:
    """Estimated processor time of short runs of a study, as a share of what they take."""
    estimated = real = 0.0
    for number, (variant, config) in enumerate(load(name).variants.items()):
        short = config.model_copy(update={"epochs": 3})
        if number == 0:  # what a process loads once is no part of a run
            first = Task("first", variant, short, fashion.folder, tmp_path, (), facts, None)
            assert worker.execute(first).status == "done"
        task = Task(f"run{number}", variant, short, fashion.folder, tmp_path, (), facts, None)
        speeds = {speed.kind_of(short): speed.measure(task)}
        estimated += planner.estimate([("run", Run(variant, short))], speeds, fashion, 1).seconds["run"]
        start = time.thread_time()
        assert worker.execute(task).status == "done"
        real += time.thread_time() - start
    return estimated / real


def test_a_dry_run_measures_once_and_says_how_long_it_takes(small_data, tmp_path, capsys, monkeypatch):
    (tmp_path / "my.toml").write_text(
        'seeds = 1\n[base]\nengine = "numpy"\nepochs = 2\n[variants]\na = { hidden = [3] }\n'
    )
    arguments = [str(tmp_path / "my.toml"), "--dry-run", "--out", str(tmp_path / "out"), "--jobs", "2"]
    assert ablate.main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert "1 run to be made" in said[-2]
    assert said[-1].startswith("memory: up to 2")
    monkeypatch.setattr(speed, "measure_all", None)  # not called again
    assert ablate.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-2] == said[-2]
