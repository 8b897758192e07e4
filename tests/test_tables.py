"""Tables: what is counted, what is averaged, and that CSV reads back exactly."""

import io
import math
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from records import HOSTILE, NAN, row, runs_of

from harness import tables
from harness.metrics import confusion_matrix
from harness.summaries import summary_markdown


def line(summary, variant):
    """One line of a summary."""
    return summary.set_index("variant").loc[variant]


# ---- runs and history


def test_runs_frame_has_fixed_columns_around_the_settings_and_keeps_the_order():
    frame = tables.runs_frame([row("b", 1), row("a", 0, l2=0.5)])
    settings = ("hidden", "optimizer.lr", "clip", "l2")
    assert tuple(frame.columns) == (*tables.RUN_COLUMNS, *settings, *tables.RESULT_COLUMNS)
    assert list(frame["variant"]) == ["b", "a"]
    assert math.isnan(frame["l2"][0])


@pytest.mark.parametrize(("hidden", "word"), [([128, 64], "128x64"), ([32], "32"), ([], "none"), ((5, 7), "5x7")])
def test_hidden_is_written_as_one_word(hidden, word):
    assert tables.runs_frame([row(hidden=hidden)])["hidden"][0] == word


def test_whole_numbers_stay_whole_beside_missing_ones():
    frame = tables.runs_frame([row(), row(seed=1, status="diverged")])
    assert frame["best_val_epoch"][0] == 2
    assert b",2," in tables.to_csv(frame[["seed", "best_val_epoch", "jobs"]])
    assert b"2.0" not in tables.to_csv(frame[["seed", "best_val_epoch"]])


def test_history_frame_joins_networks_of_unequal_depth():
    base = dict.fromkeys(tables.HISTORY_COLUMNS, 0.5) | {"run_id": "r", "variant": "v", "seed": 0, "epoch": 1}
    shallow = base | {"grad_norm_1": 1.0, "weight_norm_1": 2.0}
    deep = base | {f"{kind}_norm_{layer}": 3.0 for layer in range(1, 12) for kind in ("grad", "weight")}
    frame = tables.history_frame([shallow, deep])
    norms = [f"{kind}_norm_{layer}" for kind in ("grad", "weight") for layer in range(1, 12)]
    assert tuple(frame.columns) == (*tables.HISTORY_COLUMNS, *norms)
    assert frame["grad_norm_1"].tolist() == [1.0, 3.0]
    assert math.isnan(frame["weight_norm_11"][0])


def test_no_rows_give_the_columns():
    assert tuple(tables.runs_frame([]).columns) == (*tables.RUN_COLUMNS, *tables.RESULT_COLUMNS)
    assert tuple(tables.history_frame([]).columns) == tables.HISTORY_COLUMNS


# ---- targets and classes


HISTORY = [
    {"epoch": i + 1, "val_accuracy": accuracy, "train_seconds": 0.5 * (i + 1)}
    for i, accuracy in enumerate([0.5, 0.8, 0.7, 0.9])
]


@pytest.mark.parametrize(
    ("target", "epoch", "seconds"), [(0.4, 1, 0.5), (0.8, 2, 1.0), (0.81, 4, 2.0), (0.91, None, None)]
)
def test_a_target_is_reached_in_the_first_epoch_that_is_as_good(target, epoch, seconds):
    columns = tables.target_columns(HISTORY, target)
    assert columns == {"target_accuracy": target, "epochs_to_target": epoch, "seconds_to_target": seconds}


def test_a_run_without_epochs_or_with_nan_reaches_nothing():
    for history in ([], [{**HISTORY[0], "val_accuracy": NAN}]):
        assert tables.target_columns(history, 0.1)["epochs_to_target"] is None


def test_epochs_to_a_target_stay_whole_beside_runs_that_never_reach_it():
    frame = tables.runs_frame([row(), row(seed=1, epochs_to_target=None, seconds_to_target=None)])
    assert tables.to_csv(frame[["epochs_to_target", "seconds_to_target"]]).splitlines()[1:] == [b"2,4.0", b","]


def test_scores_of_a_class_are_means_over_runs():
    half, all_right = np.array([[2, 2, 0], [0, 1, 0], [0, 0, 0]]), np.diag([4, 1, 0])
    frame = tables.classes_frame(
        {"x": [half, all_right], "none": [], "1e5": [all_right]}, ["ant", "007", "cod"], "best"
    )
    assert tuple(frame.columns) == tables.CLASS_COLUMNS
    expected = [
        ("x", 0, "ant", 2, "best", 1.0, 0.75, (2 / 3 + 1) / 2),
        ("x", 1, "007", 2, "best", (1 / 3 + 1) / 2, 1.0, (1 / 2 + 1) / 2),
        ("x", 2, "cod", 2, "best", 0.0, 0.0, 0.0),
        ("1e5", 0, "ant", 1, "best", 1.0, 1.0, 1.0),
        ("1e5", 1, "007", 1, "best", 1.0, 1.0, 1.0),
        ("1e5", 2, "cod", 1, "best", 0.0, 0.0, 0.0),
    ]
    assert [line[:5] for line in frame.itertuples(index=False)] == [line[:5] for line in expected]
    np.testing.assert_allclose(frame[list(tables.CLASS_COLUMNS[5:])], [line[5:] for line in expected], rtol=1e-14)
    assert_frame_equal(tables.from_csv(tables.to_csv(frame)), frame, check_exact=True)


def test_scores_of_one_run_are_scikit_learns():
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 101))
    frame = tables.classes_frame({"x": [confusion_matrix(truth, predicted, 4)]}, list("abcd"))
    expected = precision_recall_fscore_support(truth, predicted)[:3]
    np.testing.assert_allclose(frame[list(tables.CLASS_COLUMNS[5:])].to_numpy().T, expected, rtol=1e-14)


def test_no_classes_give_the_columns():
    assert tuple(tables.classes_frame({}, ["a"]).columns) == tables.CLASS_COLUMNS


# ---- summary


def test_summary_by_hand():
    runs = runs_of({"a": [0.5, 0.6, 0.7], "b": [0.6, 0.8, 1.0]})
    summary = tables.summary_frame(runs, ["b", "a"], "a")
    assert list(summary["variant"]) == ["b", "a"]
    b = line(summary, "b")
    t = 0.95 * math.sqrt(2 / 0.0975)  # Student's t at 0.975 in closed form, for two degrees of freedom
    half, half_difference = (t * std / math.sqrt(3) for std in (0.2, 0.1))
    assert (b["n"], b["diverged"], b["failed"], b["difference_n"]) == (3, 0, 0, 3)
    assert b["test_accuracy"] == pytest.approx(0.8)
    assert b["test_accuracy_std"] == pytest.approx(0.2)
    assert (b["test_accuracy_low"], b["test_accuracy_high"]) == pytest.approx((0.8 - half, 0.8 + half))
    assert b["difference"] == pytest.approx(0.2)
    assert (b["difference_low"], b["difference_high"]) == pytest.approx((0.2 - half_difference, 0.2 + half_difference))
    assert b["p_value"] == b["p_holm"] == 2 / 8


def test_baseline_has_no_difference_from_itself():
    a = line(tables.summary_frame(runs_of({"a": [0.5, 0.6], "b": [0.6, 0.8]}), ["a", "b"], "a"), "a")
    assert a["difference_n"] == 0
    assert a[["difference", "difference_low", "difference_high", "p_value", "p_holm"]].isna().all()


@pytest.mark.parametrize("baseline", [None, "absent"])
def test_without_a_baseline_nothing_is_compared(baseline):
    summary = tables.summary_frame(runs_of({"a": [0.5, 0.6], "b": [0.6, 0.8]}), ["a", "b"], baseline)
    assert (summary["difference_n"] == 0).all()
    assert summary[["difference", "p_value", "p_holm"]].isna().all(axis=None)


def test_holm_counts_tested_variants_only():
    runs = runs_of({"a": [0.1] * 5, "b": [0.2] * 5, "c": [0.3] * 5, "dead": ["diverged"] * 5})
    summary = tables.summary_frame(runs, ["a", "b", "c", "dead", "absent"], "a")
    assert summary["p_value"].tolist()[1:3] == [2 / 32, 2 / 32]
    assert summary["p_holm"].tolist()[1:3] == [2 * 2 / 32, 2 * 2 / 32]
    assert summary["p_holm"].isna().tolist() == [True, False, False, True, True]


def test_diverged_and_failed_runs_are_counted_but_never_averaged():
    runs = runs_of({"a": [0.5, 0.5, 0.5, 0.5], "b": [0.9, "diverged", "failed", 0.7]})
    runs.loc[runs["status"] != "done", ["train_seconds", "seconds_per_epoch", "test_accuracy"]] = 1e9
    b = line(tables.summary_frame(runs, ["a", "b"], "a"), "b")
    assert (b["n"], b["diverged"], b["failed"], b["difference_n"]) == (2, 1, 1, 2)
    assert b["test_accuracy"] == pytest.approx(0.8)
    assert b["difference"] == pytest.approx(0.3)
    assert (b["train_seconds"], b["seconds_per_epoch"]) == (6.0, 2.0)


def test_pairs_need_both_runs_done():
    runs = runs_of({"a": ["failed", 0.5, 0.6], "b": [0.9, "diverged", 0.7]})
    b = line(tables.summary_frame(runs, ["a", "b"], "a"), "b")
    assert b["difference_n"] == 1
    assert b["difference"] == pytest.approx(0.1)
    assert math.isnan(b["difference_low"])


@pytest.mark.parametrize("baseline", ["a", "b"])
def test_variant_without_a_done_run_keeps_its_line(baseline):
    runs = runs_of({"a": [0.5, 0.6], "b": ["diverged", "failed"]})
    summary = tables.summary_frame(runs, ["a", "b", "never run"], baseline)
    assert summary[["n", "diverged", "failed"]].to_numpy().tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert set(summary["select"]) == {"last"}
    counts = ["n", "diverged", "failed", "difference_n", "reached"]
    assert (summary["reached"] == [2, 0, 0]).all()
    assert summary.drop(columns=["variant", "select", *counts])[1:].isna().all(axis=None)


def test_times_are_a_median_per_epoch_and_a_mean_per_run():
    times = [(1.0, 10.0), (2.0, 20.0), (9.0, 90.0)]
    runs = tables.runs_frame(
        [row(seed=seed, seconds_per_epoch=epoch, train_seconds=run) for seed, (epoch, run) in enumerate(times)]
    )
    summary = line(tables.summary_frame(runs, ["relu"], None), "relu")
    assert (summary["seconds_per_epoch"], summary["train_seconds"]) == (2.0, 40.0)


def test_the_gap_has_a_mean_and_an_interval():
    runs = tables.runs_frame([row(seed=0, gap=0.02), row(seed=1, gap=0.06), row(seed=2, status="diverged")])
    summary = line(tables.summary_frame(runs, ["relu"], None), "relu")
    half = math.tan(0.475 * math.pi) * 0.02  # Student's t at 0.975 for one degree of freedom, std / sqrt(2)
    assert summary["gap"] == pytest.approx(0.04)
    assert (summary["gap_low"], summary["gap_high"]) == pytest.approx((0.04 - half, 0.04 + half))


@pytest.mark.parametrize(
    ("own", "gap"),
    [
        ({"train_accuracy": 0.75, "val_accuracy": 0.5}, 0.25),
        ({"train_accuracy": 0.5, "val_accuracy": 0.75}, -0.25),
        ({"val_accuracy": 0.5}, None),
        ({}, None),
    ],
)
def test_a_gap_is_training_less_validation_accuracy(own, gap):
    assert tables.gap_column(own) == {"gap": gap}


def test_the_gap_of_a_diverged_run_is_none_that_counts():
    assert math.isnan(tables.gap_column({"train_accuracy": NAN, "val_accuracy": NAN})["gap"])


@pytest.mark.parametrize(
    ("epochs", "reached", "median"),
    [([2, 4, 9], 3, 4), ([2, 4, None], 2, 4), ([2, None, None], 1, None), ([2, 4, 9, None], 3, 6.5), ([None], 0, None),
     ([2, None], 1, None)],
)  # fmt: skip
def test_runs_that_never_reach_the_target_come_last(epochs, reached, median):
    rows = [row(seed=s, epochs_to_target=e, seconds_to_target=e and e / 2) for s, e in enumerate(epochs)]
    rows.append(row(seed=9, status="diverged"))
    summary = line(tables.summary_frame(tables.runs_frame(rows), ["relu"], None), "relu")
    assert summary["reached"] == reached
    for name, factor in (("epochs_to_target", 1), ("seconds_to_target", 0.5)):
        assert math.isnan(summary[name]) if median is None else summary[name] == median * factor


def test_nan_of_a_done_run_is_never_dropped_silently():
    runs = tables.runs_frame([row(), row(seed=1, val_accuracy=NAN, seconds_per_epoch=NAN, gap=NAN)])
    summary = line(tables.summary_frame(runs, ["relu"], None), "relu")
    assert summary[["val_accuracy", "seconds_per_epoch", "gap", "gap_low", "gap_high"]].isna().all()
    runs.loc[1, "test_accuracy"] = NAN
    with pytest.raises(ValueError, match="value 1 of 2 is nan"):
        tables.summary_frame(runs, ["relu"], None)


def test_factors_stand_beside_the_variant():
    runs = tables.runs_frame([row("x", seed, hidden=[8], l2=0.5) for seed in range(2)] + [row("y", l2=0.0)])
    summary = tables.summary_frame(runs, ["x", "y", "absent"], "x", ["hidden", "l2"])
    assert tuple(summary.columns) == ("variant", "hidden", "l2", *tables.SUMMARY_COLUMNS[1:])
    assert summary["hidden"].tolist()[:2] == ["8", "128x64"]
    assert summary["l2"].tolist()[:2] == [0.5, 0.0]
    assert summary[["hidden", "l2"]].loc[2].isna().all()


def test_two_runs_of_one_seed_are_refused():
    with pytest.raises(ValueError, match="'relu' has more than one done run of a seed"):
        tables.summary_frame(tables.runs_frame([row(), row()]), ["relu"], None)


def test_runs_that_report_different_epochs_are_refused():
    with pytest.raises(ValueError, match=r"several values of select: \['last', 'best'\]"):
        tables.summary_frame(tables.runs_frame([row(), row(seed=1, select="best")]), ["relu"], None)


def test_a_factor_that_varies_within_a_variant_is_refused():
    runs = tables.runs_frame([row(l2=0.1), row(seed=1, l2=0.2)])
    with pytest.raises(ValueError, match="'relu' has several values of l2"):
        tables.summary_frame(runs, ["relu"], None, ["l2"])


# ---- CSV


def test_csv_reads_back_exactly():
    values = [0.1 + 0.2, 1e-310, 1 / 3, 123456789.123456789, math.inf, NAN]
    runs = tables.runs_frame([row(seed=seed, test_loss=value) for seed, value in enumerate(values)])
    data = tables.to_csv(runs)
    again = tables.from_csv(data)
    assert_frame_equal(again, runs, check_exact=True)
    assert tables.to_csv(again) == data


def test_csv_has_unix_line_ends_and_empty_cells_for_nan():
    frame = pd.DataFrame({"a": [0.30000000000000004, NAN], "b": [True, False]})
    assert tables.to_csv(frame) == b"a,b\n0.30000000000000004,True\n,False\n"


def test_csv_of_hostile_names_reads_back():
    runs = tables.runs_frame([row(name, reason=name) for name in HOSTILE])
    for names in (HOSTILE, [name for name in HOSTILE if "\r" not in name]):
        some = runs[runs["variant"].isin(names)].reset_index(drop=True)
        again = tables.from_csv(tables.to_csv(some))
        assert again["variant"].tolist() == names
        assert_frame_equal(again, some, check_exact=True)


def test_csv_of_hostile_names_is_read_alike_by_pandas():
    runs = tables.runs_frame([row(name) for name in HOSTILE])
    again = pd.read_csv(io.BytesIO(tables.to_csv(runs)), dtype=str, keep_default_na=False)
    assert again["variant"].tolist() == HOSTILE


def test_csv_of_an_empty_table_reads_back():
    assert list(tables.from_csv(tables.to_csv(tables.runs_frame([])))) == [*tables.RUN_COLUMNS, *tables.RESULT_COLUMNS]


def test_summary_survives_csv():
    runs = runs_of({"a": [0.5, 0.6, "failed"], "1e5": ["diverged", 0.7, 0.8]})
    summary = tables.summary_frame(runs, ["a", "1e5"], "a", ["hidden"])
    again = tables.from_csv(tables.to_csv(summary))
    assert_frame_equal(again, summary, check_exact=True)
    assert summary_markdown(again, runs, "t", "a") == summary_markdown(summary, runs, "t", "a")


def test_importing_the_modules_loads_no_heavy_library():
    heavy = ("pandas", "scipy", "matplotlib", "seaborn", "rich")
    code = f"""import sys, harness.metrics, harness.stats, harness.tables, harness.summaries, harness.plots
print([name for name in {heavy} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("variants", [5, 1000, 20_000])
def test_a_hundred_thousand_rows_are_read_and_summarised_within_ten_seconds(variants):
    accuracies = np.random.default_rng(0).normal(0.9, 0.01, 100_000).tolist()
    rows = [
        row(f"variant {i % variants}", i // variants, accuracy, **{"optimizer.lr": 0.001 * (i % variants)})
        for i, accuracy in enumerate(accuracies)
    ]
    data = tables.to_csv(tables.runs_frame(rows))
    start = time.process_time()
    runs = tables.from_csv(data)
    summary = tables.summary_frame(runs, [f"variant {i}" for i in range(variants)], "variant 0", ["optimizer.lr"])
    summary_markdown(summary, runs, "Many", "variant 0")
    assert time.process_time() - start < 10
    assert summary["n"].sum() == 100_000
