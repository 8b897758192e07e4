"""What the page knows of a study: variants, baseline, summary, runs, histories, layers, details."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from pages import CLASSES, HOSTILE, write_search, write_study, write_trials
from test_store import CIRCUMSTANCES, CONFIG, result

from harness import committed, pagebuild, pagedata, pagelayers
from harness.compact import dumps
from harness.stats import mean_interval
from harness.store import save_run

VARIANTS = {"plain": {"l2": 0.0}, "strong": {"l2": 0.1}, "odd": {"l2": 0.2}}


def record_of(folder, results=None):
    record = pagebuild.study_record(committed.read(folder), results or folder.parents[1], None)
    return json.loads(dumps(record))  # as the page reads it


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path / "mine" / "fashion-mnist", VARIANTS, diverged=["odd"], failed=["strong"])


def test_variants_runs_and_histories_go_by_their_places(folder):
    record = record_of(folder)
    assert record["variants"] == list(VARIANTS)
    assert record["runs"]["variant"] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert record["runs"]["columns"]["status"]["i"] == [0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert record["history"]["length"] == [4, 4, 4, 4, 4, 0, 4, 4, 4]
    assert len(record["history"]["val_accuracy"]) == 32
    assert record["history"]["val_loss"][-1] is None  # infinite
    assert "penalty" not in record["history"]  # it was 0 throughout
    assert "epoch" not in record["history"]  # 1, 2, 3, ...
    assert record["factors"] == ["l2"]
    assert record["settings"] == ["batch_size", "l2", "engine", "precision"]


def test_the_baseline_is_the_variant_that_is_compared_with_none(folder, tmp_path):
    assert record_of(folder)["baseline"] == 0
    (tmp_path / "mine.toml").write_text('baseline = "odd"\n', encoding="utf-8")
    read = committed.read(folder, tmp_path / "mine.toml")
    assert pagedata.study(read)["baseline"] == 2


def test_without_a_summary_it_is_computed_and_said(folder):
    before = record_of(folder)["summary"]
    (folder / "summary.csv").unlink()
    record = record_of(folder)
    assert "summary.csv: what is shown was computed from runs.csv" in record["problems"]
    for name in ("n", "test_accuracy", "test_accuracy_low", "diverged", "failed"):
        assert record["summary"][name] == before[name]
    assert record["baseline"] is None  # nothing says which


def test_without_runs_their_histories_are_still_there(folder):
    (folder / "runs.csv").unlink()
    record = record_of(folder)
    assert len(record["runs"]["variant"]) == 8
    assert record["history"]["length"] == [4] * 8


@pytest.mark.parametrize("name", committed.EXPECTED["study"])
def test_any_one_file_is_dispensable(folder, name):
    (folder / name).unlink()
    record = record_of(folder)
    assert f"{name}: not there" in record["problems"]
    assert record["variants"] == list(VARIANTS)


def test_a_history_of_unknown_runs_is_left_out_and_said(folder):
    lines = (folder / "history.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "history.csv").write_text("".join([*lines, lines[-1].replace("odd", "nobody")]), encoding="utf-8")
    record = record_of(folder)
    assert "history.csv: 1 line of no known run left out" in record["problems"]
    assert sum(record["history"]["length"]) == 32


def test_lines_in_any_order_and_gaps_in_epochs_are_kept(folder):
    header, *lines = (folder / "history.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "history.csv").write_text(
        "".join([header, *reversed(lines[1:])]), encoding="utf-8"
    )  # run 0 lacks epoch 1
    record = record_of(folder)
    assert record["history"]["length"][0] == 3
    assert record["history"]["epoch"][:5] == [2, 3, 4, 1, 2]


def test_a_long_history_is_thinned_to_its_last_epochs_and_said(folder, monkeypatch):
    monkeypatch.setattr(pagedata, "HISTORY_ROWS", 20)
    record = record_of(folder)
    assert record["history"]["epoch"][:4] == [1, 3, 4, 1]
    assert any("shows one epoch in 2 of" in problem for problem in record["problems"])


def test_layers_are_means_over_seeds_with_t_intervals(folder):
    layers = record_of(folder)["layers"]
    history = committed.read(folder).tables["history"]
    own = (np.array(history.texts("variant")) == "plain") & (history.numbers("epoch") == 2)
    norms = mean_interval(history.numbers("grad_norm_1")[own])
    assert layers["kinds"]["grad_norm"]["1"]["mean"][0][1] == pytest.approx(norms.mean, rel=1e-3)
    assert layers["kinds"]["grad_norm"]["1"]["half"][0][1] == pytest.approx(norms.high - norms.mean, rel=1e-3)
    spread = mean_interval(np.sqrt(history.numbers("grad_variance_2")[own]))
    assert layers["kinds"]["grad_std"]["2"]["mean"][0][1] == pytest.approx(spread.mean, rel=1e-3)
    assert set(layers["kinds"]["dead_share"]) == {"1"}


def test_layers_are_those_of_done_runs(folder):
    """An epoch of a run that diverged is no part of a mean; without ``runs.csv`` nothing says which did."""
    history = committed.read(folder).tables["history"]
    norms, seeds = history.numbers("grad_norm_1"), np.array(history.texts("seed"))
    own = (np.array(history.texts("variant")) == "odd") & (history.numbers("epoch") == 2)
    for expected in (norms[own & (seeds != "2")].mean(), norms[own].mean()):
        layers = record_of(folder)["layers"]["kinds"]["grad_norm"]["1"]
        assert layers["mean"][2][1] == pytest.approx(expected, rel=1e-3)
        (folder / "runs.csv").unlink(missing_ok=True)


def test_details_belong_to_the_variant_of_their_name(folder):
    with np.load(folder / "details.npz") as file:
        arrays = dict(file)
    arrays["variants"] = np.array(["odd", "plain", "gone"])
    np.savez(folder / "details.npz", **arrays)
    record = record_of(folder)
    assert record["confusion"]["test"]["2"] == arrays["confusion_0"].ravel().tolist()
    assert set(record["confusion"]["test"]) == {"0", "2", "3"}  # "gone" is a variant that no table has
    assert record["variants"] == [*VARIANTS, "gone"]


def test_histograms_read_back(folder):
    record = record_of(folder)["histograms"]
    first, *counts = record["variants"]["1"]["weight"][0][1]
    with np.load(folder / "details.npz") as file:
        whole = file["weight_histogram_1"][0, 1]
    assert whole[first : first + len(counts)].tolist() == counts
    assert whole.sum() == sum(counts)


def test_first_layer_weights_are_bytes_scaled_by_the_largest(folder):
    record = record_of(folder)["weights"]["0"]
    codes = np.frombuffer(base64.b64decode(record["data"]), np.int8).reshape(5, 16)
    with np.load(folder / "details.npz") as file:
        weights = file["first_layer_0"].astype(np.float64).T
    assert record["shape"] == [4, 4]
    np.testing.assert_allclose(codes / 127 * np.abs(weights).max(), weights, atol=np.abs(weights).max() / 127)


def test_arrays_of_another_kind_are_left_out_and_said(folder):
    with np.load(folder / "details.npz") as file:
        arrays = dict(file) | {
            "confusion_0": np.zeros((2, 2, 2)),
            "first_layer_1": np.array(["text"]),
            "surest_errors_2": np.full((3, 4), np.nan),
        }
    np.savez(folder / "details.npz", **arrays)
    record = record_of(folder)
    assert set(record["confusion"]["test"]) == {"1", "2"}
    assert set(record["weights"]) == {"0", "2"}
    assert set(record["errors"]) == {"0", "1"}
    assert "details.npz: confusion_0 is not what it should be" in record["problems"]


def test_of_very_many_variants_layers_of_the_baseline_and_the_best_are_kept(tmp_path):
    folder = write_study(
        tmp_path / "many" / "fashion-mnist", {f"v{i:02}": {"l2": i} for i in range(60)}, seeds=2, epochs=2
    )
    record = record_of(folder)
    assert len(record["focus"]) == pagelayers.FOCUS
    assert {0, 59} <= set(record["focus"])
    assert record["layers"]["variants"] == record["focus"]
    assert len(record["confusion"]["test"]) == 60


def test_run_folders_add_the_confusion_of_the_network_that_each_run_reports(folder):
    lines = (folder / "runs.csv").read_text(encoding="utf-8").splitlines()
    selects = ["select", "last", "last", "last", "best", "best", "best", "last", "last", "last"]
    (folder / "runs.csv").write_text("\n".join(map(",".join, zip(lines, selects, strict=True))), encoding="utf-8")
    run_ids = committed.read(folder).tables["runs"].texts("run_id")
    place = folder.parents[1] / "runs"
    for row in (0, 4):
        save_run(place, run_ids[row], CONFIG, result(), CIRCUMSTANCES)
    last, best = (measured.confusion.ravel().tolist() for measured in (result().last, result().best))
    assert last != best
    assert record_of(folder)["run_confusion"] == {"0": last, "4": best}
    (place / run_ids[4] / "best" / "arrays.npz").write_bytes(b"PK\x03\x04 damaged")
    assert record_of(folder)["run_confusion"] == {"0": last}


def test_a_search_has_its_trials(tmp_path):
    record = record_of(write_search(tmp_path / "sweep" / "fashion-mnist"))
    assert record["kind"] == "search"
    assert record["parameters"] == ["optimizer.name", "optimizer.lr", "batch_size", "hidden.units", "hidden.layers"]
    assert record["history"]["length"][:3] == [6, 6, 2]
    assert record["winner"]["trial"] == 3


def test_a_study_has_the_trials_that_tuned_it(folder):
    record = record_of(write_trials(folder, list(VARIANTS), 1))
    assert record["kind"] == "study"
    assert (record["parameters"], record["n_trials"]) == (["optimizer.lr"], len(VARIANTS))
    assert record["trials"]["variant"] == {"t": list(VARIANTS)}
    assert len(record["history"]["length"]) == len(record["runs"]["variant"])


def test_names_are_printable_whatever_they_are(tmp_path):
    record = record_of(
        write_study(tmp_path / "s" / "fashion-mnist", {name: {"optimizer.name": name} for name in HOSTILE})
    )
    assert len(record["variants"]) == len(HOSTILE)
    assert all(name.isprintable() for name in record["variants"])
    assert record["classes"]["names"] == {"t": list(CLASSES)}
