"""The files of a study: whole, the same for the same runs, and nothing personal in them."""

from __future__ import annotations

import getpass
import json

import numpy as np
import pytest

from harness.config import RunConfig
from harness.diagnostics import collect
from harness.network import initial_weights
from harness.outputs import Entry, environment, impersonal, write
from harness.result import Measured, RunResult
from harness.store import load_run, save_run
from harness.study import Overrides, load
from harness.tables import from_csv, to_csv
from kernels.model import LayerStatistics
from kernels.reference import describe

STUDY = """
title = "Rates"
baseline = "low"
seeds = 2
target_accuracy = 0.75
[base]
hidden = [4]
epochs = 2
[variants]
low = { optimizer = { lr = 0.001 } }
high = { optimizer = { lr = 0.1 } }
"""
TABLES = ["classes.csv", "details.npz", "environment.json", "findings.csv", "history.csv", "runs.csv", "summary.csv"]
TABLES += ["summary.md"]
FIGURES = [f"figures/val_{what}.{kind}" for what in ("accuracy", "loss") for kind in ("png", "svg")]
NAMES = ("ant", "bee", "cod")
FACTS = {"jobs": 2, "data_fingerprint": "0123", "code_version": "4567"}


def result(config: RunConfig, status: str, width: int = 5) -> RunResult:
    """What a run might have given."""
    done, nan = status == "done", float("nan")
    accuracy = 0.8 + config.seed / 100 + config.optimizer.lr
    history = [
        {"epoch": i, "train_loss": 1 / i, "train_accuracy": 0.5, "val_loss": 1 / i, "val_accuracy": accuracy - 0.1 / i,
         "lr": config.optimizer.lr, "penalty": 0.0, "train_seconds": 0.5 * i, "grad_norm_1": 1.0, "weight_norm_1": 2.0}
        for i in (1, 2)
    ]  # fmt: skip
    names = ("test_accuracy", "test_loss", "test_f1_macro", "val_accuracy", "val_loss", "train_accuracy", "train_loss")
    metrics = dict.fromkeys(names, accuracy if done else nan)
    totals = dict.fromkeys(("best_val_accuracy", "best_val_epoch"), accuracy if done else nan)
    totals |= {"epochs_done": 2, "resumed": 0, "train_seconds": 1.0, "seconds_per_epoch": 0.5, "eval_seconds": 0.1}
    totals["compile_seconds"] = 0.0
    confusion = np.diag([3, 4, 5]) + config.seed
    errors = np.array([[1.0, 0.0, 1.0, 0.5 + config.seed / 10]])
    weights = initial_weights((width, 4, 3), "he", config.seed, np.float32)
    layers = [LayerStatistics(describe(W), describe(W), None, None) for W, _ in weights[1:]]
    reason = "" if done else "why"
    last = Measured(2, weights, metrics, confusion, confusion.T, errors)
    earlier = {name: value / 2 for name, value in metrics.items()}
    best = Measured(1, weights, earlier, np.full_like(confusion, 1), confusion.T, errors)
    return RunResult(status, reason, history, totals, collect([layers] * 2), last, best)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "rates.toml").write_text(STUDY)
    return load(str(tmp_path / "rates.toml"))


@pytest.fixture
def make_entries(study, tmp_path):
    """Entries of the study's runs: (variant, seed) -> status, done where nothing is said."""

    def make(width: int = 5, **statuses: str) -> list[Entry]:
        entries = []
        for run in study.runs():
            name = f"{run.variant}{run.config.seed}"
            status = statuses.get(name, "done")
            row = {"run_id": name, "study": "rates", "variant": run.variant, "seed": run.config.seed}
            if status == "failed":
                entries.append(
                    Entry(run.variant, {**row, "status": "failed", "reason": "why", **run.config.flat()}, None)
                )
                continue
            save_run(tmp_path / "runs", name, run.config, result(run.config, status, width), FACTS)
            stored = load_run(tmp_path / "runs", name)
            entries.append(Entry(run.variant, {**stored.row, **row}, stored))
        return entries

    return make


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_runs_give_the_same_files_to_the_last_byte(study, make_entries, tmp_path):
    entries = make_entries()
    for folder in ("a", "b"):
        write(tmp_path / folder, study, entries, {"jobs": 2}, NAMES)
    write(tmp_path / "a", study, entries, {"jobs": 2}, NAMES)  # over those that are there
    assert sorted(files(tmp_path / "a")) == sorted([*TABLES, *FIGURES])
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_tables_hold_every_run_and_every_epoch(study, make_entries, tmp_path):
    summary, _ = write(tmp_path / "out", study, make_entries(high1="diverged"), {}, NAMES)
    runs, history = (from_csv((tmp_path / "out" / name).read_bytes()) for name in ("runs.csv", "history.csv"))
    assert list(runs["run_id"]) == ["low0", "high0", "low1", "high1"]
    assert list(runs["status"]) == ["done", "done", "done", "diverged"]
    assert list(runs["optimizer.lr"]) == [0.001, 0.1, 0.001, 0.1]
    assert len(history) == 8
    assert list(history.columns[:4]) == ["run_id", "variant", "seed", "epoch"]
    assert list(summary["variant"]) == ["low", "high"]
    assert list(summary["n"]) == [2, 1]
    assert summary["test_accuracy"][0] == pytest.approx(0.806)
    assert list(summary["optimizer.lr"]) == [0.001, 0.1]


def test_runs_and_summary_have_the_gap_between_training_and_validation(study, make_entries, tmp_path):
    entries = make_entries(high1="diverged", low1="failed")
    entries[0].row["train_accuracy"] += 0.0625
    summary, _ = write(tmp_path / "out", study, entries, {}, NAMES)
    gaps = from_csv((tmp_path / "out" / "runs.csv").read_bytes())["gap"]
    assert gaps.tolist()[:2] == pytest.approx([0.0625, 0])
    assert gaps.isna().tolist() == [False, False, True, True]
    assert summary["gap"].tolist() == pytest.approx([0.0625, 0])


def test_findings_stand_in_the_page_and_in_a_table_of_their_own(study, make_entries, tmp_path):
    (tmp_path / "rates.toml").write_text(
        f"question = 'Which?'\nfinding = 'Low.'\n{STUDY}[[claims]]\ntext = 'Low wins'\nbetter = 'low'\nthan = 'high'"
    )
    for overrides, finding in ((Overrides(), True), (Overrides(settings=("l2=1",)), False)):
        asked = load(str(tmp_path / "rates.toml"), overrides)
        _, findings = write(tmp_path / "out", asked, make_entries(), {}, NAMES)
        page = (tmp_path / "out" / "summary.md").read_text()
        assert "- Question: Which?\n" in page
        assert ("- Finding: Low.\n" in page) == finding
        assert "1. too few seeds to say: Low wins\n   - low minus high: -0.0990 ± 0.0000 test accuracy, 2 pairs" in page
        assert to_csv(findings) == (tmp_path / "out" / "findings.csv").read_bytes()


def test_layers_that_are_counted_have_columns_of_their_own(make_entries, tmp_path):
    (tmp_path / "rates.toml").write_text(STUDY.replace("hidden = [4]", "hidden.layers = 1\nhidden.units = 4"))
    write(tmp_path / "out", load(str(tmp_path / "rates.toml")), make_entries(), {}, NAMES)
    runs = from_csv((tmp_path / "out" / "runs.csv").read_bytes())
    assert runs[["hidden", "hidden.layers", "hidden.units"]].to_numpy().tolist() == [["4", 1, 4]] * 4


def test_classes_have_the_mean_scores_of_done_runs(study, make_entries, tmp_path):
    write(tmp_path / "out", study, make_entries(high0="failed", high1="diverged"), {}, NAMES)
    classes = from_csv((tmp_path / "out" / "classes.csv").read_bytes())
    assert list(classes["variant"]) == ["low"] * 3
    assert list(classes["class_name"]) == list(NAMES)
    assert list(classes["n"]) == [2] * 3
    assert list(classes["test_precision"]) == pytest.approx([(1 + 4 / 6) / 2, (1 + 5 / 7) / 2, (1 + 6 / 8) / 2])


def test_only_done_runs_reach_a_target(study, make_entries, tmp_path):
    write(tmp_path / "out", study, make_entries(low1="diverged", high0="failed"), {}, NAMES)
    runs = from_csv((tmp_path / "out" / "runs.csv").read_bytes())
    assert list(runs["target_accuracy"]) == [0.75] * 4
    assert list(runs["run_id"]) == ["low0", "high0", "low1", "high1"]
    assert runs["epochs_to_target"].fillna(-1).tolist() == [2, -1, -1, 1]
    assert runs["seconds_to_target"].fillna(-1).tolist() == [1.0, -1, -1, 0.5]


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_study_without_a_single_done_run_still_has_its_files(study, make_entries, tmp_path, status):
    statuses = dict.fromkeys(("low0", "high0", "low1", "high1"), status)
    summary, _ = write(tmp_path / "out", study, make_entries(**statuses), {}, NAMES)
    assert sorted(files(tmp_path / "out")) == sorted([*TABLES, *FIGURES])
    assert list(summary["n"]) == [0, 0]
    assert list(summary[status]) == [2, 2]
    assert len(from_csv((tmp_path / "out" / "classes.csv").read_bytes())) == 0


def test_the_environment_says_what_a_reader_needs(tmp_path):
    facts = json.loads(json.dumps(environment(["python", "-m", "x", "two words"], 3, "cache")))
    assert facts["command"] == "python -m x 'two words'"
    assert (facts["jobs"], facts["data_source"]) == (3, "cache")
    assert facts["libraries"]["numpy"] == np.__version__
    assert facts["vector_bytes"] in (16, 32, 64)
    assert facts["cpu"]


def test_home_folder_and_user_name_stay_out_of_shared_texts(monkeypatch, tmp_path):
    home = str(tmp_path / "people" / "alice")
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("LOGNAME", "alice")
    given = f"--out {home}/x '{home}/a b' {home}2 {home} /mnt/alice/data /tmp/of-alice/x /mnt/alice.b alice"
    folder = str(tmp_path / "people")
    assert impersonal(given) == f"--out ~/x '~/a b' {folder}/alice2 ~ /mnt/USER/data /tmp/of-USER/x /mnt/alice.b alice"


def test_folders_that_variables_name_stay_out_of_shared_texts(monkeypatch):
    monkeypatch.setenv("ABLATION_BENCH_CACHE", "/srv/cache/")
    monkeypatch.setenv("ABLATION_BENCH_DATA", "a")
    assert impersonal("cache /srv/cache/fashion (of a) /srv/cache2") == (
        "cache $ABLATION_BENCH_CACHE/fashion (of a) /srv/cache2"
    )


def test_a_home_folder_at_the_root_hides_nothing(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("LOGNAME", "nobody-here")
    assert impersonal("--out /a/b") == "--out /a/b"


def test_a_user_without_a_name_is_no_trouble(monkeypatch):
    def fail():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert impersonal("/a/b") == "/a/b"


def test_nothing_personal_is_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "alice")
    text = json.dumps(
        environment(["x", "--out", f"{tmp_path}/out"], 1, f"cache {tmp_path}/.cache (folder /mnt/alice/x)")
    )
    assert str(tmp_path) not in text
    assert "alice" not in text
