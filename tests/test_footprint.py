"""Memory of runs: estimates on the safe side, and fewer runs at once where they would not fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from searches import SPACE

from harness import ablate, cluster, footprint, runner, search, sweep
from harness.config import RunConfig
from harness.muster import Needs
from harness.remote import Facts
from harness.space import Parameter, Space
from harness.store import load_run


def config(**settings: object) -> RunConfig:
    return RunConfig.from_settings({"hidden": [7], **settings}, "a test")


@pytest.mark.parametrize("larger", [{"hidden": [700]}, {"hidden": [7, 700]}, {"batch_size": 60_000},
                                    {"data.standardise": True}])  # fmt: skip
def test_larger_runs_need_more(small, larger):
    assert footprint.run_bytes(config(**larger), small) > footprint.run_bytes(config(), small)


def test_double_precision_and_more_slots_need_more(small):
    wide = {"hidden": [5000, 5000]}
    single = footprint.run_bytes(config(**wide, optimizer={"name": "sgd", "lr": 0.1}), small)
    assert footprint.run_bytes(config(**wide), small) > single  # Adam
    assert footprint.run_bytes(config(**wide, precision="float64"), small) > 1.5 * single


@pytest.mark.parametrize(
    ("available", "jobs", "words"),
    [(10e9, 8, ""), (2.5e9, 2, "2 at a time instead of 8: a run needs up to 1.0 GB, and 2.5 GB of memory are free"),
     (500e6, 1, "one run at a time, and even that may fail: a run needs up to 1.0 GB, and 500 MB of memory are free"),
     (float("inf"), 8, "")],
)  # fmt: skip
def test_runs_that_do_not_fit_are_made_fewer_at_a_time(small, monkeypatch, available, jobs, words):
    monkeypatch.setattr(footprint, "available_bytes", lambda: available)
    monkeypatch.setattr(footprint, "run_bytes", lambda *_: 1e9)
    assert footprint.fitting(8, [config()], small) == (jobs, words)


def test_a_study_that_does_not_fit_is_slowed_and_says_so(small_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(footprint, "available_bytes", lambda: 500e6)
    (tmp_path / "my.toml").write_text('seeds = 4\n[base]\nengine = "numpy"\nepochs = 1\n[variants]\na = {}\n')
    assert ablate.main([str(tmp_path / "my.toml"), "--jobs", "4", "--out", str(tmp_path / "out")]) == 0
    assert "Memory: 2 at a time instead of 4: a run needs up to 20" in capsys.readouterr().out
    runs = tmp_path / "out" / "runs"
    assert {load_run(runs, path.name).row["jobs"] for path in runs.iterdir()} == {2}


def test_a_search_that_does_not_fit_is_slowed_and_says_so(small_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(footprint, "available_bytes", lambda: 500e6)
    monkeypatch.setattr("harness.plots.save", lambda *_: [])
    (tmp_path / "my.toml").write_text(SPACE)
    arguments = ("--trials", "4", "--jobs", "4", "--out", str(tmp_path / "out"))
    assert sweep.main([str(tmp_path / "my.toml"), *arguments]) == 0
    assert "Memory: 2 at a time instead of 4: a run needs up to 20" in capsys.readouterr().out
    runs = tmp_path / "out" / "runs"
    assert {load_run(runs, path.name).row["jobs"] for path in runs.iterdir()} == {2}


@pytest.mark.parametrize(
    ("available", "limit", "words"),
    [(2.5e9, None, "Memory of here: 2 at a time, fewer than it has workers"),
     (500e6, None, "Memory of here: 1 at a time, fewer than it has workers"), (2.5e9, 2, ""), (10e9, None, "")],
)  # fmt: skip
def test_a_host_with_more_workers_than_fit_is_named_once(small, available, limit, words):
    made = cluster.Cluster("tcp://there", limit, Needs(small, (), ()), largest_bytes=1e9)
    for i in range(4):
        made._ready(f"worker {i}", Facts({}, "here", "a processor", "site", 1, available, {}))
    assert list(made.run([], lambda: None)) == []
    assert [event["text"] for event in made.news()] == [words] * bool(words)


def test_the_largest_trial_has_the_most_of_every_setting_at_once(small):
    parameters = (
        Parameter("hidden.units", low=3, high=700, whole=True),
        Parameter("hidden.layers", low=0, high=4, whole=True),
        Parameter("precision", values=("float64", "float32")),
        Parameter("l2", low=0.0, high=0.1),
    )
    found = search.largest(Space({}, parameters, "a test"), small)
    assert (found.hidden, found.precision) == ((700,) * 4, "float64")


@pytest.mark.long
@pytest.mark.parametrize("settings", [{}, {"hidden": [2048, 2048]}, {"hidden": [512], "batch_size": 20_000},
                                      {"hidden": [2048], "engine": "numpy"}])  # fmt: skip
def test_a_run_stays_below_its_estimate(make_task, fashion, settings):
    """Resident memory less the pixels, which the system can drop."""
    task = make_task(**{"engine": "numba", "epochs": 1, "hidden": [128], "data.limit": 20_000, **settings})
    task = dataclasses.replace(task, data_folder=fashion.folder)
    pool = runner.Pool(1)
    pool.open()
    try:
        assert [each.status for each in runner.run([task], pool, lambda: None)] == ["done"]
    finally:
        pool.kill()
    peak = load_run(task.runs_folder, "run").row["peak_memory_bytes"]
    estimate = footprint.run_bytes(task.config, fashion)
    assert peak - fashion.X.nbytes < estimate < 2.5 * peak
    assert np.isfinite(estimate)
