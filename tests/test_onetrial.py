"""One trial as W&B's own agent starts it: really trained, stored, and tracked under the agent's names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE_SECONDS, ROOT, Command, alive, children, wait_until
from searches import SPACE
from studyfiles import writer
from wandb_runs import folders, read, read_all

from harness.onetrial import configuration
from harness.store import load_run
from harness.sweepfile import Overrides, load
from harness.wandbfile import METRIC, sweep_config

RUN, SWEEP = "a1b2c3d4", "s5w6e7p8"
CHOSEN = {
    "optimizer.lr": 0.0123,
    "batch_size": 32,
    "hidden.units": 5.0,
    "hidden.layers": 2,
    "activation": "tanh",
    "l2": 0.1,
}
# W&B's agent without its server: it makes the command line and the environment, starts the run, and may stop it.
AGENT = """
import json, os, sys
from wandb.wandb_agent import Agent
run, config, chosen = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
agent = Agent(None, None)
agent._sweep_command = config["command"]
fixed = {key: value for key, value in config["parameters"].items() if "value" in value}
arguments = {**fixed, **{key: {"value": value} for key, value in chosen.items()}}
agent._command_run({"run_id": run, "program": config["program"], "args": arguments})
(process,) = agent._run_processes.values()
try:
    if sys.stdin.readline():
        agent._command_stop({"run_id": run})
    sys.exit(process.wait(60))
finally:
    process.kill()
"""


@pytest.fixture
def agent(tmp_path):
    """Start an agent in an empty folder with a small space."""
    writer(tmp_path)(SPACE, "small.toml")

    def start(run: str = RUN, chosen=CHOSEN, **overrides):
        config = sweep_config(load(str(tmp_path / "small.toml"), Overrides(**overrides)), "small.toml")
        paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        names = {"WANDB_SWEEP_ID": SWEEP, "WANDB_PROJECT": "mine", "WANDB_MODE": "offline"}
        return subprocess.Popen(
            [sys.executable, "-c", AGENT, run, json.dumps(config), json.dumps(chosen)],
            cwd=tmp_path, env={**os.environ, **paths, **names}, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def test_an_agent_trains_and_tracks_a_run_and_tracks_a_stored_one_again(agent, tmp_path, fashion):
    out, err = (process := agent(limit=200, epochs=3)).communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[0].startswith("epoch 1/3: validation accuracy 0.")
    (name,) = (path.name for path in (tmp_path / "results" / "runs").iterdir())
    stored = load_run(tmp_path / "results" / "runs", name)
    assert f"run {name}: done, val_accuracy = {stored.row['val_accuracy']:.6f}" in out
    assert (stored.row["optimizer.lr"], stored.row["hidden"], stored.row["epochs"]) == (0.0123, [5, 5], 3)

    (folder,) = folders(tmp_path / "wandb")
    seen = read(folder)
    assert (seen.run["run_id"], seen.run["sweep_id"], seen.run["project"]) == (RUN, SWEEP, "mine")
    assert seen.run["job_type"] == "trial"
    assert seen.exits == [0]
    assert {key: seen.config[key] for key in CHOSEN} == CHOSEN  # as the sweep knows them
    assert seen.config["optimizer"]["lr"] == 0.0123
    assert seen.config["hidden"] == [5, 5]
    assert [row["epoch"] for row in seen.rows] == [1, 2, 3]
    assert [row[METRIC] for row in seen.rows] == [record["val_accuracy"] for record in stored.history]
    assert seen.summary[METRIC] == stored.row["val_accuracy"]
    assert all(row["weight_histogram_1._type"] == "histogram" for row in seen.rows)
    shown = {key for place in (*seen.rows, seen.summary) for key in place}
    assert {key for key in shown if "test" in key or "confusion" in key} == set()  # a search must not know
    assert seen.artifacts == []

    assert agent("e5f6a7b8", limit=200, epochs=3).communicate(timeout=PATIENCE_SECONDS) == (out, err)  # from the store
    first, again = sorted((read(folder) for folder in folders(tmp_path / "wandb")), key=lambda seen: seen.run["run_id"])
    assert again.run["run_id"] == "e5f6a7b8"
    assert [row[METRIC] for row in again.rows] == [row[METRIC] for row in first.rows]


def test_a_run_that_its_agent_stops_is_no_failure(agent, tmp_path, fashion):
    process = agent(limit=100, epochs=100_000)
    assert process.stdout.readline().startswith("epoch 1/")
    family = children(process.pid)
    out, err = process.communicate("stop\n", timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "Stopped; nothing is kept."
    (seen,) = read_all(tmp_path / "wandb").values()
    assert (seen.exits, seen.summary["status"]) == ([0], "stopped")
    assert not (tmp_path / "results" / "runs").exists() or not list((tmp_path / "results" / "runs").iterdir())
    wait_until(lambda: not alive(family))


def test_by_hand_a_run_is_tracked_in_the_group_of_its_search(tmp_path, fashion):
    writer(tmp_path)(SPACE, "small.toml")
    words = ("small.toml", "--one", "--limit", "200", "--epochs", "1", *(f"--{k}={v}" for k, v in CHOSEN.items()))
    for _ in range(2):
        status, out, err = Command(tmp_path, "harness.sweep")(*words, "--wandb", "offline")
        assert (status, err) == (0, "")
        assert "wandb sync results/small/fashion-mnist+epochs=1,limit=200/wandb" in out.splitlines()[-1]
    (seen,) = read_all(tmp_path / "results" / "small" / "fashion-mnist+epochs=1,limit=200" / "wandb").values()
    assert seen.run["run_group"] == "small/fashion-mnist+epochs=1,limit=200"
    assert (seen.exits, [row["epoch"] for row in seen.rows]) == ([0], [1])


def test_ctrl_c_by_hand_is_130(tmp_path, fashion):
    writer(tmp_path)(SPACE, "small.toml")
    process = Command(tmp_path, "harness.sweep").start("small.toml", "--one", "--limit=100", "--epochs=100000")
    assert process.stdout.readline().startswith("epoch 1/")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1] == "Stopped; nothing is kept."


def test_whole_numbers_may_come_as_fractions_and_truth_as_python_writes_it():
    given = ["--batch_size=64.0", "--hidden.units=8.0", "--hidden.layers=2.0", "--data.standardise=True", "--l2=1"]
    run = configuration(load(), [*given, "--clip_norm=None", "--optimizer.lr=1e-05"])
    assert (run.batch_size, run.hidden, run.data.standardise, run.l2) == (64, (8, 8), True, 1.0)
    assert (run.clip_norm, run.optimizer.lr) == (None, 1e-5)
