"""What the harness costs beside the runs themselves: processor time, memory, idle cores, and imports at the end."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import ROOT

from harness import runner
from harness.config import RunConfig
from harness.data import find
from harness.store import load_run
from harness.version import code_version
from harness.worker import Task

TINY = """
title = "Tiny"
seeds = 500
[base]
hidden = [8]
epochs = 1
[grid]
"optimizer.name" = ["sgd", "adam"]
"optimizer.lr" = [0.1, 0.01]
"""
MB = 1e6


def fashion_tasks(folder: Path, *settings: dict[str, object]) -> list[Task]:
    """Runs on Fashion-MNIST."""
    data = find("fashion-mnist")
    circumstances = {"jobs": 2, "data_fingerprint": data.fingerprint, "code_version": code_version()}
    configs = [RunConfig.from_settings(each, "a test") for each in settings]
    return [
        Task(f"run{i}", f"variant {i}", config, data.folder, folder, (), circumstances, None)
        for i, config in enumerate(configs)
    ]


def private_bytes(pid: int, shared: Path) -> int:
    """Memory that a process has to itself, without the files of a folder, which others could share."""
    maps = psutil.Process(pid).memory_maps(grouped=False)
    return sum(each.private_clean + each.private_dirty for each in maps if not each.path.startswith(str(shared)))


@pytest.mark.parametrize("hidden", [[128], [512, 256, 128]])
def test_a_worker_costs_less_than_250_mb_beyond_the_data(hidden, tmp_path):
    (task,) = fashion_tasks(tmp_path, {"hidden": hidden, "epochs": 1, "dropout": 0.2})
    pool = runner.Pool(1)
    pool.open()
    try:
        assert [outcome.status for outcome in runner.run([task], pool, lambda: None)] == ["done"]
        assert private_bytes(pool.submit(os.getpid).result(), task.data_folder) < 250 * MB
    finally:
        pool.kill()


@pytest.mark.long
@pytest.mark.alone
def test_the_harness_costs_less_than_25_ms_of_processor_time_a_run(command, tmp_path):
    """2,000 runs of a tiny network; processor time, so that a busy machine does not matter."""
    (tmp_path / "tiny.toml").write_text(TINY)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status, _, err = command(tmp_path / "tiny.toml", "--limit", "200", "--jobs", "2", "--out", tmp_path / "out")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (status, err) == (0, "")
    runs = [json.loads(path.read_text())["metrics"] for path in (tmp_path / "out" / "runs").glob("*/result.json")]
    assert len(runs) == 2000
    useful = sum(metrics["train_seconds"] + metrics["eval_seconds"] for metrics in runs)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert (spent - useful) / len(runs) < 0.025


@pytest.mark.long
@pytest.mark.alone
def test_two_workers_train_or_evaluate_nearly_all_the_time(tmp_path):
    """As the optimizers of exp3, from the first task to the last outcome."""
    optimizers = [{"name": "sgd", "lr": 0.1}, {"name": "momentum", "lr": 0.02}, {"name": "adam", "lr": 0.001}]
    settings = [{"optimizer": each, "epochs": 10, "seed": seed} for seed in range(2) for each in optimizers]
    tasks = fashion_tasks(tmp_path, *settings)
    pool = runner.Pool(2)
    pool.open()
    try:
        for _ in runner.run(fashion_tasks(tmp_path / "warm", *settings[:4]), pool, lambda: None):
            pass
        start = time.perf_counter()
        assert all(outcome.status == "done" for outcome in runner.run(tasks, pool, lambda: None))
        seconds = time.perf_counter() - start
    finally:
        pool.kill()
    rows = [load_run(tmp_path, task.run_id).row for task in tasks]
    useful = sum(row["train_seconds"] + row["eval_seconds"] for row in rows)
    assert useful / (pool.jobs * seconds) > 0.9


PROGRAM = """
import sys
from harness import outputs
outputs.preload()
before = set(sys.modules)
import pandas as pd
from harness import plots, summaries, tables
history = pd.DataFrame({"variant": ["a", "a"], "run_id": ["x", "y"], "epoch": [1, 1], "val_accuracy": [0.5, 0.6]})
plots.save(plots.learning_curves(history, ["a"], "val_accuracy", "t"), outputs.Path(sys.argv[1]), "figure")
runs = tables.runs_frame([{"variant": "a", "seed": i, "status": "done", "test_accuracy": 0.5 + i} for i in range(3)])
summaries.terminal_table(tables.summary_frame(runs, ["a"], None), "t")
heavy = {name for name in set(sys.modules) - before if name.startswith(("pandas.", "scipy.", "seaborn"))}
print(len(heavy) < 5, "scipy.stats" in sys.modules, "seaborn" in sys.modules)
"""


def test_what_is_loaded_while_cores_are_idle_is_all_that_tables_and_figures_need(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False", "False"]
