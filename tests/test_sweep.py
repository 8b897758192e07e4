"""The command as a user types it: wrong requests, and whole searches that are killed, continued and repeated."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from processes import ROOT, Command, alive, children, wait_until
from searches import SPACE
from studyfiles import writer
from test_worker import UNUSUAL
from wandb_runs import read_all

from harness import sweep
from harness.journal import FILE, JournalFileBackend, JournalStorage, _Held
from harness.pruning import RULES
from harness.store import load_run
from harness.tables import from_csv

FILES = {
    "trials.csv",
    "history.csv",
    "importances.csv",
    "summary.md",
    "winner.json",
    "environment.json",
    "figures",
    FILE,
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a small space."""
    folder = tmp_path / "here"
    folder.mkdir()
    writer(folder)(SPACE, "small.toml")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_pictures(monkeypatch):
    """Figures take longer than the trials of this test."""
    monkeypatch.setattr("harness.plots.save", lambda *_: [])


def search(*arguments: str) -> int:
    return sweep.main(["small.toml", *arguments])


def table(folder, name="trials.csv"):
    (path,) = folder.rglob(f"small/*/{name}")
    return from_csv(path.read_bytes())


def timeless(folder):
    return table(folder).drop(columns="train_seconds").to_csv()


def states(folder) -> list[str]:
    """States of all trials in the journal."""
    (path,) = folder.rglob(FILE)
    storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Held(str(path))))
    return [t.state.name for each in storage.get_all_studies() for t in storage.get_all_trials(each._study_id)]


# ------------------------------------------------------------------------------------------------------ wrong requests


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["swep"], ["unknown search space 'swep'", "did you mean 'sweep'?"]),
        (["sweep", "more"], ["'more'", "too many"]),
        (["gone.toml"], ["gone.toml", "no such file"]),
        (["--trails", "3"], ["unknown option '--trails'", "did you mean '--trials'?"]),
        (["--trials", "0"], ["--trials = 0", "[1, 100000]"]),
        (["--method", "bayesian"], ["'bayesian'", "did you mean 'bayes'?"]),
        (["--pruning", "hyperband"], ["'hyperband'", "halving, median, none"]),
        (["--jobs", "0"], ["--jobs = 0", "[1, 1024]"]),
        (["--jobs", "x"], ["--jobs = 'x'"]),
        (["--epochs", "0"], ["--epochs", "0"]),
        (["--limit", "999999"], ["999999"]),
        (["--seed", "-1"], ["--seed = -1"]),
        (["--dataset", "mnist"], ["did you mean 'fashion-mnist'?"]),
        (["--data-dir", "nowhere"], ["'nowhere'", "does not exist"]),
        (["--out", "small.toml"], ["cannot write into", "--out"]),
        (["--optimizer.lr=0.1"], ["unknown option '--optimizer.lr'"]),
        (["--export-wandb", "small.toml/x"], ["cannot write"]),
        (["--one", "--optimizer.rl=0.1"], ["optimizer.rl", "--one", "did you mean 'optimizer.lr'?"]),
        (["--one", "--optimizer.lr=-0.1"], ["--one", "optimizer.lr = -0.1"]),
        (["--one", "--optimizer.lr=a b"], ["--one", "'a b'"]),
        (["--one", "--hidden.units=64"], ["hidden.units = 64", "hidden.units and hidden.layers together"]),
        (["--one", "--hidden.units=64.5", "--hidden.layers=1"], ["hidden.units = 64.5", "whole"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("small_data")
def test_a_wrong_request_is_one_line_that_says_what_is_wrong(here, capsys, arguments, parts):
    assert sweep.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert [part for part in parts if part not in err] == []
    assert sorted(path.name for path in here.iterdir()) == ["small.toml"]


def test_help_loads_no_heavy_library():
    code = """
import sys
from harness import sweep
try:
    sweep.main(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"numpy", "numba", "pandas", "joblib", "matplotlib", "scipy", "rich", "optuna", "yaml", "pydantic"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


# ------------------------------------------------------------------------------------------------------ whole searches


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_on_real_images_makes_its_trials_tables_and_figures(here, fashion, method, capsys):
    assert search("--limit", "200", "--trials", "4", "--jobs", "2", "--method", method) == 0
    out = capsys.readouterr().out
    trials = table(here)
    assert list(trials["trial"]) == [0, 1, 2, 3]
    assert set(trials["status"]) == {"done"}
    (folder,) = (here / "results" / "small").iterdir()
    assert {path.name for path in folder.iterdir()} == FILES
    runs = {name: load_run(here / "results" / "runs", name) for name in trials["run_id"]}
    best = trials.sort_values("val_accuracy").iloc[-1]
    won = json.loads((folder / "winner.json").read_text())
    assert (
        won["metrics"]["val_accuracy"] == best["val_accuracy"] == max(run.row["val_accuracy"] for run in runs.values())
    )
    assert won["metrics"]["test_accuracy"] == runs[won["run_id"]].row["test_accuracy"]
    assert f"test accuracy {won['metrics']['test_accuracy']:.4f}" in out


@pytest.mark.usefixtures("small_data", "no_pictures")
def test_more_trials_go_on_from_those_that_are_there(here, capsys):
    assert search("--trials", "3", "--jobs", "1") == 0
    before = table(here)
    assert search("--trials", "5", "--jobs", "1") == 0
    assert "3 already made" in capsys.readouterr().out
    after = table(here)
    assert list(after["trial"]) == [0, 1, 2, 3, 4]
    assert after[:3].to_csv() == before.to_csv()
    assert search("--trials", "5", "--jobs", "1") == 0
    assert table(here).to_csv() == after.to_csv()
    assert search("--trials", "9", "--dry-run") == 0
    assert "5 already made" in capsys.readouterr().out


@pytest.mark.usefixtures("small_data", "no_pictures")
@pytest.mark.parametrize("options", [(), ("--deterministic",)])
def test_of_trials_that_were_cut_off_as_many_go_on_as_the_budget_has_room_for(here, monkeypatch, options):
    def cut_off(next_task, *_):
        for _ in range(5):
            next_task()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.feed.run", cut_off)
        assert search("--trials", "6", "--jobs", "1", *options) == 130
    for trials, running in ((3, len(states(here)) - 3), (6, 0)):
        assert search("--trials", str(trials), "--jobs", "1", *options) == 0
        assert list(table(here)["trial"]) == list(range(trials))
        assert sorted(states(here)) == ["COMPLETE"] * trials + ["RUNNING"] * running


@pytest.mark.usefixtures("small_data", "no_pictures")
def test_runs_that_are_stored_are_not_made_again_and_a_lost_winner_is(here, monkeypatch):
    assert search("--jobs", "1") == 0
    trials = timeless(here)
    (folder,) = (here / "results" / "small").iterdir()
    won = json.loads((folder / "winner.json").read_text())
    (folder / FILE).unlink()
    with monkeypatch.context() as patch:
        patch.setattr("harness.worker.execute", None)  # nothing may be trained
        assert search("--jobs", "1") == 0
    assert timeless(here) == trials
    shutil.rmtree(here / "results" / "runs" / won["run_id"])
    assert search("--jobs", "1") == 0
    again = json.loads((folder / "winner.json").read_text())
    assert again == won


@pytest.mark.usefixtures("small_data", "no_pictures")
@pytest.mark.parametrize("pruning", [name for name in RULES if name != "none"])
def test_pruning_stops_trials_early_and_stores_no_run_of_them(here, pruning):
    assert search("--trials", "14", "--epochs", "6", "--jobs", "1", "--pruning", pruning) == 0
    trials = table(here)
    pruned = trials[trials["status"] == "pruned"]
    assert len(pruned) >= 2
    assert set(trials["status"]) == {"done", "pruned"}
    assert (pruned["epochs_done"] < 6).all()
    runs = {path.name for path in (here / "results" / "runs").iterdir()}
    assert runs == set(trials[trials["status"] == "done"]["run_id"])
    assert sorted(states(here)) == ["COMPLETE"] * (14 - len(pruned)) + ["PRUNED"] * len(pruned)


@pytest.mark.usefixtures("small_data", "no_pictures")
@pytest.mark.parametrize("pruning", ["median", pytest.param("halving", marks=pytest.mark.long)])
def test_a_deterministic_search_has_the_same_trials_whatever_runs_beside_and_is_stored(here, pruning):
    arguments = ("--trials", "16", "--epochs", "4", "--method", "bayes", "--pruning", pruning, "--deterministic")
    found = []
    for jobs, out in (("1", "a"), ("3", "b"), ("1", "b")):
        assert search(*arguments, "--jobs", jobs, "--out", out) == 0
        found.append(timeless(here / out))
        next((here / out).rglob(FILE)).unlink()
    assert found[0] == found[1] == found[2]
    assert "pruned" in found[0]


@pytest.mark.usefixtures("small_data", "no_pictures")
def test_a_trial_that_diverges_is_kept_as_such(here, capsys):
    text = SPACE.split("[space]")[0].replace("epochs = 2", "epochs = 2\nl2 = 1e30")
    lines = '\n[space]\n"optimizer.lr" = [1e38, 1e-30]\n"optimizer.name" = ["sgd"]\n'
    writer(here)(text + lines, "small.toml")
    assert search("--jobs", "1", "--seed", "1") == 0
    assert set(table(here)["status"]) == {"done", "diverged"}
    assert "diverged" in capsys.readouterr().out


@pytest.mark.usefixtures("small_data", "no_pictures")
def test_failures_are_kept_make_the_status_1_and_do_not_use_up_all_trials(here, capsys):
    writer(here)(UNUSUAL.format(act='raise RuntimeError("too slow")'), "unusual.py")
    space = '\n[space]\noptimizer.name = ["unusual"]\noptimizer.lr = [0.0625]\nbatch_size = { min = 8, max = 64 }\n'
    writer(here)('extensions = ["unusual.py"]\n' + SPACE.split("[space]")[0] + space, "small.toml")
    for made in (3, 6):
        assert search("--trials", "7", "--jobs", "1") == 1
        out = capsys.readouterr().out
        assert "RuntimeError: too slow" in out
        assert "3 trials in a row failed" in out
        assert list(table(here)["status"]) == ["failed"] * made
        assert states(here) == ["FAIL"] * made


# ----------------------------------------------------------------------------------------------------------- tracking


@pytest.mark.usefixtures("small_data", "no_pictures")
def test_trials_are_tracked_and_what_was_cut_off_is_sent_by_the_same_command(here, monkeypatch, capsys):
    monkeypatch.setenv("NETRC", str(here / "no netrc"))
    arguments = ("--trials", "9", "--epochs", "6", "--jobs", "2", "--pruning", "halving", "--wandb", "offline")
    assert search(*arguments) == 0
    trials, (folder,) = table(here).set_index("trial"), (here / "results" / "small").iterdir()
    assert f"wandb sync {folder.relative_to(here) / 'wandb'}" in capsys.readouterr().out.splitlines()[-1]
    live = read_all(folder / "wandb")
    assert set(live) == {f"trial {n} seed 0" for n in range(9)} | {f"small/{folder.name}"}
    assert "pruned" in set(trials["status"])
    shutil.rmtree(folder / "wandb")
    assert search(*arguments) == 0
    for seen in (live, read_all(folder / "wandb")):
        winner = seen.pop(f"small/{folder.name}")
        assert winner.rows[0]["trials_table.nrows"] == 9
        assert len(winner.models()) == 1
        for number, trial in trials.iterrows():
            run = seen[f"trial {number} seed 0"]
            assert run.exits == [0]
            assert (run.run["job_type"], run.summary["status"]) == ("trial", trial["status"])
            assert run.rows[-1]["val_accuracy"] == trial["val_accuracy"]
            assert [row["epoch"] for row in run.rows] == list(range(1, trial["epochs_done"] + 1))
            assert run.config["optimizer"]["lr"] == trial["optimizer.lr"]
            assert not any("test" in key or "confusion" in key for key in (*run.summary, *run.rows[-1]))
            assert run.artifacts == []


@pytest.mark.usefixtures("small_data", "no_pictures")
def test_a_search_that_cannot_be_tracked_says_so_once_and_goes_on(here, monkeypatch, capsys):
    (here / "file").write_text("")
    monkeypatch.setenv("WANDB_DIR", str(here / "file" / "below"))
    assert search("--trials", "2", "--jobs", "1", "--wandb", "offline") == 0
    out = capsys.readouterr().out
    assert out.count("W&B: ") == 1
    assert "The search is not tracked; the same command does it afterwards." in out
    assert set(table(here)["status"]) == {"done"}


# -------------------------------------------------------------------------------------------------------------- kills

LONG = ("small.toml", "--limit", "400", "--epochs", "5", "--trials", "14", "--jobs", "2", "--method", "bayes")


def test_a_search_that_is_killed_goes_on_and_no_trial_is_lost_doubled_or_left_running(here, fashion):
    command = Command(here, "harness.sweep")
    runs = here / "results" / "runs"
    process = command.start(*LONG)
    wait_until(lambda: runs.exists() and len(list(runs.glob("[!.]*"))) >= 3)
    family = children(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not alive(family))
    assert "RUNNING" in states(here)
    kept = len([state for state in states(here) if state != "RUNNING"])
    status, out, err = command(*LONG)
    assert (status, err) == (0, "")
    assert f"{kept} already made" in out
    assert list(table(here)["trial"]) == list(range(14))
    assert states(here) == ["COMPLETE"] * 14


def test_ctrl_c_stops_and_the_same_command_goes_on(here, fashion):
    command = Command(here, "harness.sweep")
    runs = here / "results" / "runs"
    process = command.start(*LONG)
    wait_until(lambda: runs.exists() and len(list(runs.glob("[!.]*"))) >= 2)
    family = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    status, out, err = command.finish(process)
    assert (status, err) == (130, "")
    assert "of 14 trials are kept; the same command goes on with the rest." in out
    wait_until(lambda: not alive(family))
    status, out, err = command(*LONG[:5], "--trials", "4", *LONG[7:])
    assert (status, err) == (0, "")
    assert states(here).count("COMPLETE") == len(table(here)) >= 4


@pytest.mark.long
def test_a_deterministic_search_that_is_killed_again_and_again_has_the_same_trials(here, fashion):
    command = Command(here, "harness.sweep")
    arguments = (*LONG, "--pruning", "median", "--deterministic")
    assert command(*arguments, "--out", "whole")[0] == 0
    rng, starts = np.random.default_rng(0), 0
    while True:
        starts += 1
        process = command.start(*arguments, "--out", "cut")
        try:
            _, err = process.communicate(timeout=1.0 + rng.uniform(0, 2.0) + 0.2 * starts)
        except subprocess.TimeoutExpired:
            family = children(process.pid)
            process.kill()
            process.communicate()
            wait_until(lambda family=family: not alive(family))
        else:
            assert (process.returncode, err) == (0, "")
            break
    assert starts > 2
    assert timeless(here / "cut") == timeless(here / "whole")
    assert "RUNNING" not in states(here / "cut")
