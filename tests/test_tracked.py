"""What W&B gets to see, without W&B: histograms it can draw, names it accepts, the best run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from records import row as run_row

from harness.tables import runs_frame, summary_frame, to_csv
from harness.tracked import BINS, TAG_LENGTH, StudyTables, alias, evenly_spaced, row, safe, short
from kernels.model import histogram_edges


def counted(values) -> np.ndarray:
    return np.histogram(values, histogram_edges())[0]


@pytest.mark.parametrize("scale", [1e-6, 0.05, 3.0])
def test_bins_of_equal_width_hold_what_ours_hold(scale):
    values = scale * np.random.default_rng(0).standard_normal(5000)
    counts, edges = evenly_spaced(counted(values))
    assert counts.sum() == 5000
    assert len(counts) == BINS == len(edges) - 1
    assert np.allclose(np.diff(edges), (edges[-1] - edges[0]) / BINS)
    assert edges[0] <= values.min()
    assert values.max() <= edges[-1]
    even = np.histogram(values, edges)[0]
    assert np.abs(np.cumsum(counts) - np.cumsum(even)).max() < 0.1 * 5000  # half an octave is a coarse bin


def test_one_value_is_one_heap():
    counts, edges = evenly_spaced(counted(np.full(7, 0.3)))
    assert counts.sum() == 7
    assert edges[0] <= 0.3 <= edges[-1]


def test_nothing_is_an_empty_histogram():
    counts, edges = evenly_spaced(np.zeros(len(histogram_edges()) - 1, np.int64))
    assert counts.sum() == 0
    assert len(edges) == len(counts) + 1


def test_a_row_has_the_epochs_columns_and_a_histogram_per_kind_and_layer():
    counts = counted([0.5, 2.0]).tolist()
    made = row({"epoch": 2, "val_loss": None}, {"weight": [counts, counts], "activation": [counts]})
    assert made.pop("epoch") == 2
    assert math.isnan(made.pop("val_loss"))
    assert list(made) == ["weight_histogram_1", "weight_histogram_2", "activation_histogram_1"]
    assert sum(made["weight_histogram_2"].histogram) == 2


def test_names_are_cut_and_cleaned():
    assert short("abc", 3) == "abc"
    assert short("abcd", 3) == "ab…"
    assert safe("a/b: ü") == "a-b---"
    assert len(safe("x" * 500)) == 128


def test_each_run_has_an_alias_of_its_own():
    assert alias("adam", 0) == "adam-seed-0"
    variants = ["x" * 100, "x" * 99 + "y", "a/b", "a b", "a-b", "\U0001f600", "<script>", "v0", "latest"]
    made = [alias(variant, seed) for variant in variants for seed in (0, 1, 10)]
    assert len(set(made)) == len(made)
    assert all(len(each) <= TAG_LENGTH and safe(each) == each for each in made)


def write(folder, rows) -> StudyTables:
    runs = runs_frame(rows)
    (folder / "runs.csv").write_bytes(to_csv(runs))
    (folder / "summary.csv").write_bytes(to_csv(summary_frame(runs, ["relu", "tanh"], "relu")))
    return StudyTables(folder)


def test_the_best_run_is_chosen_by_validation(tmp_path):
    rows = [
        run_row("relu", 0, 0.95, val_accuracy=0.5),
        run_row("relu", 1, 0.1, val_accuracy=0.9),
        run_row("tanh", 0, 0.99, status="diverged", val_accuracy=math.nan),
    ]
    tables = write(tmp_path, rows)
    assert tables.best()["run_id"] == "id-relu-1"
    overview = tables.overview()
    assert (overview["runs"], overview["done"], overview["diverged"]) == (3, 2, 1)
    assert overview["best_variant"] == "relu"
    assert overview["test_accuracy/relu"] == pytest.approx(0.525)
    assert "test_accuracy/tanh" not in overview


def test_without_a_done_run_there_is_no_best(tmp_path):
    assert write(tmp_path, [run_row("relu", 0, status="failed", val_accuracy=math.nan)]).best() is None
