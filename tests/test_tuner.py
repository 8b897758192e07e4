"""A study that searches first: what is chosen, what is compared, and that a kill costs nothing."""

from __future__ import annotations

import os
import signal

import pytest
from processes import alive, children, wait_until
from studyfiles import writer
from test_worker import UNUSUAL
from wandb_runs import read_all

from harness import ablate, track
from harness.store import load_run
from harness.tables import from_csv
from harness.tuning import TRIAL_SEED

STUDY = """
title = "Rates"
question = "Which?"
baseline = "sgd"
seeds = 2
{more}
[base]
engine = "numpy"
hidden = [3]
epochs = 2
{base}
[variants]
sgd = {{ optimizer.name = "sgd" }}
adam = {{ optimizer.name = "adam" }}
[search]
trials = 4
method = "random"
[search.space]
optimizer.lr = {{ min = 1e-4, max = 1.0, log = true }}
"""
PLAIN = STUDY.format(more="", base="")


@pytest.fixture
def ask(small_data, tmp_path, capsys):
    """Make a request; gives status, stdout and stderr."""

    def ask(text: str, *arguments: str, out: str = "out", command=ablate) -> tuple[int, str, str]:
        path = writer(tmp_path)(text, "rates.toml")
        status = command.main([path, *arguments, "--out", str(tmp_path / out)])
        return status, *capsys.readouterr()

    return ask


@pytest.fixture
def no_pictures(monkeypatch):
    """Figures take longer than the trials of this test."""
    monkeypatch.setattr("harness.plots.save", lambda *_: [])


def folder_in(tmp_path, out="out"):
    (folder,) = (tmp_path / out / "rates").iterdir()
    return folder


def table(tmp_path, name="trials", out="out"):
    return from_csv((folder_in(tmp_path, out) / f"{name}.csv").read_bytes())


def stamps(tmp_path) -> dict[str, int]:
    return {path.name: path.stat().st_ctime_ns for path in (tmp_path / "out" / "runs").iterdir()}


def test_the_best_trial_by_validation_gives_each_variant_its_settings(ask, tmp_path):
    status, out, err = ask(PLAIN, "--jobs", "2")
    assert (status, err) == (0, "")
    assert "first, choose optimizer.lr (0.0001 to 1 (log)): 4 trials for each of 2 variants, random search" in out
    trials, runs, summary = table(tmp_path), table(tmp_path, "runs"), table(tmp_path, "summary")
    assert list(trials["variant"]) == ["sgd"] * 4 + ["adam"] * 4
    assert list(trials["trial"]) == [0, 1, 2, 3] * 2
    for variant, own in trials.groupby("variant"):
        (best,) = own[own["chosen"]].to_dict("records")
        assert best["val_accuracy"] == own["val_accuracy"].max()
        assert set(runs[runs["variant"] == variant]["optimizer.lr"]) == {best["optimizer.lr"]}
        assert f"{variant}: optimizer.lr = {best['optimizer.lr']!r} (validation accuracy" in out
    assert list(trials["optimizer.lr"][:4]) == list(trials["optimizer.lr"][4:])  # the same draws for both
    assert list(summary["variant"]) == ["sgd", "adam"]
    assert list(runs["seed"]) == [0, 0, 1, 1]
    stored = [load_run(tmp_path / "out" / "runs", name).row for name in trials["run_id"]]
    assert {row["seed"] for row in stored} == {TRIAL_SEED}
    assert {row["jobs"] for row in stored} == {2}
    figures = {path.name for path in (folder_in(tmp_path) / "figures").iterdir()}
    assert {"responses.png", "responses.svg", "val_accuracy.png"} <= figures


@pytest.mark.usefixtures("no_pictures")
def test_the_same_trials_come_out_whatever_runs_beside_and_is_stored(ask, tmp_path):
    found = []
    for out, jobs in (("a", "1"), ("b", "3"), ("b", "1")):
        assert ask(PLAIN.replace('"random"', '"bayes"').replace("trials = 4", "trials = 12"), "--jobs", jobs, out=out)
        found.append(table(tmp_path, out=out).drop(columns="train_seconds").to_csv())
        (folder_in(tmp_path, out) / "journal.log").unlink()
    assert found[0] == found[1] == found[2]


@pytest.mark.usefixtures("no_pictures")
def test_a_second_request_makes_nothing_and_fresh_makes_all(ask, tmp_path):
    ask(PLAIN, "--jobs", "1")
    before, trials = stamps(tmp_path), table(tmp_path)
    _, out, _ = ask(PLAIN, "--jobs", "1")
    assert "8 of 8 trials already made" in out
    assert "4 already stored" in out
    assert stamps(tmp_path) == before
    assert table(tmp_path).to_csv() == trials.to_csv()
    old = tmp_path / "out" / "runs" / f"{trials['run_id'][0]}.checkpoints"
    old.mkdir()
    (old / "epoch-1.safetensors").write_text("not to be gone on from")
    _, out, _ = ask(PLAIN, "--jobs", "1", "--fresh")
    assert "0 of 8 trials already made" in out
    assert not old.exists()
    after = stamps(tmp_path)
    assert after.keys() == before.keys()
    assert all(after[name] > before[name] for name in before)


@pytest.mark.usefixtures("no_pictures")
def test_more_seeds_and_fewer_variants_take_the_trials_that_are_there(ask, tmp_path):
    ask(PLAIN, "--jobs", "1")
    before = stamps(tmp_path)
    assert ask(PLAIN, "--jobs", "1", "--seeds", "3", "--only", "adam")[0] == 0
    after = stamps(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert (tmp_path / "out" / "rates" / "fashion-mnist+seeds=3,only=adam" / "trials.csv").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_dry_run_makes_nothing_and_knows_what_was_chosen(ask, tmp_path):
    status, out, err = ask(PLAIN, "--dry-run")
    assert (status, err) == (0, "")
    assert "0 of 8 trials already made" in out
    assert "optimizer.lr =" not in out
    assert not (tmp_path / "out").exists()
    ask(PLAIN, "--jobs", "1")
    _, out, _ = ask(PLAIN, "--dry-run")
    assert "8 of 8 trials already made" in out
    assert "4 already stored" in out
    assert out.count("optimizer.lr =") == 2


@pytest.mark.usefixtures("no_pictures")
def test_a_variant_whose_trials_all_diverge_is_reported(ask, tmp_path):
    wild = STUDY.format(more="", base="l2 = 1e30").replace('"adam" }', '"adam", l2 = 0.0 }')
    status, out, err = ask(wild, "--jobs", "1")
    assert (status, err) == (0, "")
    assert "sgd: " in out
    assert "(no trial was trained to its end; 4 trials: 4 diverged)" in out
    assert list(table(tmp_path)["status"][:4]) == ["diverged"] * 4
    summary = table(tmp_path, "summary").set_index("variant")
    assert (summary.loc["sgd", "n"], summary.loc["sgd", "diverged"]) == (0, 2)
    assert table(tmp_path)["chosen"].sum() == 2


@pytest.mark.usefixtures("no_pictures")
def test_trials_that_fail_make_the_status_1(ask, tmp_path):
    writer(tmp_path)(UNUSUAL.format(act='raise RuntimeError("too slow")'), "unusual.py")
    text = STUDY.format(more='extensions = ["unusual.py"]', base="").replace('"adam" }', '"unusual" }')
    text = text.replace("{ min = 1e-4, max = 1.0, log = true }", "[0.0625]")
    status, out, err = ask(text, "--jobs", "1")
    assert (status, err) == (1, "")
    assert "adam trial 0 failed: RuntimeError: too slow" in out
    assert "3 trials in a row failed" in out
    trials = table(tmp_path)
    assert list(trials["status"]) == ["done"] * 4 + ["failed"] * 3


def test_trials_are_tracked_beside_the_runs_and_sent_afterwards(ask, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    status, out, err = ask(PLAIN, "--jobs", "2")
    assert (status, err) == (0, "")
    assert len([line for line in out.splitlines() if line.startswith("W&B: ") and "sending" not in line]) == 1
    root = folder_in(tmp_path) / "wandb"
    seen = read_all(root)
    variants = ("sgd", "adam")
    trials = {f"{name} trial {n} seed {TRIAL_SEED}" for name in variants for n in range(4)}
    assert set(seen) == trials | {f"{name} seed {n}" for name in variants for n in range(2)} | {"rates/fashion-mnist"}
    assert {run.run["job_type"] for name, run in seen.items() if name in trials} == {"trial"}
    assert {run.run["run_group"] for run in seen.values()} == {"rates/fashion-mnist"}
    whole = seen["rates/fashion-mnist"]
    assert whole.rows[0]["trials_table.nrows"] == 8
    assert whole.rows[0]["figures/responses._type"] == "image-file"
    assert ask(PLAIN, command=track)[0] == 0


@pytest.mark.usefixtures("no_pictures")
def test_runs_are_sent_afterwards_only_when_their_settings_are_chosen(ask):
    status, _, err = ask(PLAIN, "--wandb", "offline", command=track)
    assert status == 2
    assert "0 of the 8 trials" in err
    assert len(err.splitlines()) == 1


LONG = ("rates.toml", "--limit", "400", "--epochs", "5", "--jobs", "2", "--set", "engine=numba")


def interrupted(command, number: int, at_least: int) -> str:
    """Stop a command once so many runs are stored; gives what it said."""
    runs = command.folder / "results" / "runs"
    process = command.start(*LONG)
    wait_until(lambda: runs.exists() and len(list(runs.glob("[!.]*"))) >= at_least)
    family = children(process.pid)
    os.killpg(process.pid, number)
    out, _ = process.communicate()
    wait_until(lambda: not alive(family))
    return out


@pytest.mark.long
def test_a_study_that_is_stopped_and_killed_goes_on_to_the_same_end(command, fashion):
    writer(command.folder)(PLAIN.replace('"random"', '"bayes"').replace("trials = 4", "trials = 12"), "rates.toml")
    assert "of 24 trials are kept; the same command goes on" in interrupted(command, signal.SIGINT, 2)
    interrupted(command, signal.SIGKILL, 6)
    interrupted(command, signal.SIGKILL, 25)  # in the comparison
    status, out, err = command(*LONG)
    assert (status, err) == (0, "")
    assert "24 of 24 trials already made" in out
    (cut,) = (command.folder / "results" / "rates").iterdir()
    assert command(*LONG, "--out", "whole")[0] == 0
    for name in ("trials", "runs"):
        tables = [
            from_csv((folder / f"{name}.csv").read_bytes())
            for folder in (cut, command.folder / "whole" / "rates" / cut.name)
        ]
        varying = [column for column in tables[0] if "seconds" in column or column == "peak_memory_bytes"]
        assert tables[0].drop(columns=varying).to_csv() == tables[1].drop(columns=varying).to_csv()
