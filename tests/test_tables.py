"""Tables: what is counted, what is averaged, and that no name can break them."""

import io
import math
import re
import subprocess
import sys

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from rich.console import Console

from harness import tables

NAN = math.nan
HOSTILE = ["a|b", "two\nlines", 'comma, "quote"', "[bold]x[/]", "<b>&amp;", "*s* _u_ `c`", "re\rturn", "NA", "1e5", ""]


def row(variant="relu", seed=0, accuracy=0.9, status="done", **other):
    """One run as the runner hands it over."""
    value = accuracy if status == "done" else NAN
    return {
        "run_id": f"id-{variant}-{seed}",
        "study": "exp",
        "variant": variant,
        "seed": seed,
        "status": status,
        "reason": "" if status == "done" else "the loss is not finite",
        "dataset": "fashion-mnist",
        "engine": "numba",
        "precision": "float32",
        "jobs": 2,
        "hidden": [128, 64],
        "optimizer.lr": 0.1,
        "clip": None,
        "test_accuracy": value,
        "test_loss": 0.5,
        "test_f1_macro": value,
        "val_accuracy": value,
        "best_val_accuracy": value,
        "best_val_epoch": 2 if status == "done" else NAN,
        "train_accuracy": value,
        "train_loss": 0.4,
        "epochs_done": 3,
        "train_seconds": 6.0,
        "seconds_per_epoch": 2.0,
        "eval_seconds": 0.1,
        "compile_seconds": 0.0,
        "data_fingerprint": "0123",
        "code_version": "4567",
        **other,
    }


def runs_of(accuracies):
    """Runs from variant -> accuracies by seed; a text stands for a status."""
    rows = [
        row(variant, seed, status=value) if isinstance(value, str) else row(variant, seed, value)
        for variant, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return tables.runs_frame(rows)


def line(summary, variant):
    """One line of a summary."""
    return summary.set_index("variant").loc[variant]


def terminal(table, width=100):
    """What a terminal shows."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(table)
    return console.file.getvalue()


def cells(markdown):
    """The cells of each line of a Markdown table."""
    lines = [text for text in markdown.split("\n") if text.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", text)[1:-1]] for text in lines]


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
    assert summary.drop(columns=["variant", "n", "diverged", "failed", "difference_n"])[1:].isna().all(axis=None)


def test_all_diverged_or_no_runs_at_all_still_make_every_table():
    for runs in (runs_of({"a": ["diverged"], "b": ["diverged"]}), tables.runs_frame([])):
        summary = tables.summary_frame(runs, ["a", "b"], "a", ["seed"])
        assert len(summary) == 2
        assert len(cells(tables.summary_markdown(summary, runs, "t", "a"))) == 4
        assert "baseline" in terminal(tables.terminal_table(summary, "t", "a"))


def test_times_are_a_median_per_epoch_and_a_mean_per_run():
    times = [(1.0, 10.0), (2.0, 20.0), (9.0, 90.0)]
    runs = tables.runs_frame(
        [row(seed=seed, seconds_per_epoch=epoch, train_seconds=run) for seed, (epoch, run) in enumerate(times)]
    )
    summary = line(tables.summary_frame(runs, ["relu"], None), "relu")
    assert (summary["seconds_per_epoch"], summary["train_seconds"]) == (2.0, 40.0)


def test_nan_of_a_done_run_is_never_dropped_silently():
    runs = tables.runs_frame([row(), row(seed=1, val_accuracy=NAN, seconds_per_epoch=NAN)])
    summary = line(tables.summary_frame(runs, ["relu"], None), "relu")
    assert summary[["val_accuracy", "seconds_per_epoch"]].isna().all()
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


def test_a_factor_that_varies_within_a_variant_is_refused():
    runs = tables.runs_frame([row(l2=0.1), row(seed=1, l2=0.2)])
    with pytest.raises(ValueError, match="'relu' has several values of l2"):
        tables.summary_frame(runs, ["relu"], None, ["l2"])


# ---- Markdown


def test_markdown_says_what_was_run_and_shows_mean_and_margin():
    runs = runs_of({"a": [0.5, 0.6, 0.7], "b": [0.6, 0.8, 1.0]})
    text = tables.summary_markdown(tables.summary_frame(runs, ["a", "b"], "a"), runs, "My study", "a")
    head, a, b = cells(text)[0], *cells(text)[2:]
    assert text.startswith("# My study\n")
    for fact in ("fashion-mnist, fingerprint 0123", "6, over 3 seeds (0 to 2)", "Jobs at a time: 2"):
        assert fact in text
    assert head == ["Variant", "n", "Test accuracy", "Difference", "p", "p (Holm)", "s per epoch", "s per run"]
    assert a == ["a", "3", "0.6000 ± 0.2484", "baseline", "–", "–", "2.00", "6.00"]
    assert b == ["b", "3", "0.8000 ± 0.4968", "+0.2000 ± 0.2484", "0.25", "0.25", "2.00", "6.00"]
    assert "3 pairs cannot give a p below 0.25" in text
    assert "mean over the n done runs ± half the width of its 95% Student t interval" in text


def test_markdown_shows_diverged_failed_and_pairs_only_where_there_are_any():
    runs = runs_of({"a": [0.5, 0.6], "b": [0.6, "diverged"]})
    text = tables.summary_markdown(tables.summary_frame(runs, ["a", "b"], "b"), runs, "t", "b")
    assert cells(text)[0][:6] == ["Variant", "n", "Diverged", "Test accuracy", "Difference", "Pairs"]
    assert cells(text)[2][:6] == ["a", "2", "0", "0.5500 ± 0.6353", "-0.1000", "1"]
    assert cells(text)[3][:6] == ["b", "1", "1", "0.6000", "baseline", "–"]
    assert "Diverged and failed runs are counted, not averaged." in text


def test_markdown_without_a_baseline_has_no_comparison():
    runs = runs_of({"a": [0.5], "b": [0.6]})
    text = tables.summary_markdown(tables.summary_frame(runs, ["a", "b"], None), runs, "t")
    assert cells(text)[0] == ["Variant", "n", "Test accuracy", "s per epoch", "s per run"]
    assert "Difference" not in text
    assert "1 seed (0)" in text


def test_markdown_names_cannot_break_the_table_or_become_markup():
    runs = tables.runs_frame([row(name, setting=name) for name in HOSTILE])
    summary = tables.summary_frame(runs, HOSTILE, HOSTILE[0], ["setting"])
    text = tables.summary_markdown(summary, runs, "\n".join(HOSTILE), HOSTILE[0])
    table = cells(text)
    assert len(table) == 2 + len(HOSTILE)
    assert {len(columns) for columns in table} == {9}
    assert len(text.split("\n")) == 6 + len(table) + 3
    names = [columns[0] for columns in table[2:]]
    assert names[:3] == [r"a\|b", r"two\\nlines", 'comma, "quote"']
    assert names[4:6] == ["&lt;b&gt;&amp;amp;", r"\*s\* \_u\_ \`c\`"]


def test_names_with_inner_underscores_stay_readable():
    runs = runs_of({"leaky_relu": [0.5]})
    assert "| leaky_relu |" in tables.summary_markdown(tables.summary_frame(runs, ["leaky_relu"], None), runs, "t")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (0.000123, "0.000123"), (0.0412, "0.0412"), (2.0, "2.00"), (45.678, "45.7"), (1234.5, "1234")],
)
def test_seconds_have_three_digits_and_no_exponent(seconds, text):
    runs = tables.runs_frame([row(train_seconds=seconds)])
    assert cells(tables.summary_markdown(tables.summary_frame(runs, ["relu"], None), runs, "t"))[2][-1] == text


# ---- terminal


def test_terminal_table_fits_in_100_columns():
    names = ["relu", "a name that is much longer than any that one would give to a variant " * 2]
    runs = runs_of({name: [0.5, 0.6, "diverged", "failed"] for name in names})
    shown = terminal(tables.terminal_table(tables.summary_frame(runs, names, "relu"), "t", "relu"), width=100)
    assert max(map(len, shown.split("\n"))) <= 100
    for text in ("0.5500 ± 0.6353", "+0.0000 ± 0.0000", "baseline", "Diverged", "Failed", "2.00", "6.00"):
        assert text in shown
    assert "…" not in shown


def test_terminal_table_shows_names_as_they_are_and_passes_no_control_codes_on():
    names = ["[bold]x[/]", "[/nonsense]", "two\nlines", "\x1b[31mred", ":smile:"]
    runs = runs_of({name: [0.5, 0.6] for name in names})
    table = tables.terminal_table(tables.summary_frame(runs, names, names[0]), "[red]title[/]", names[0])
    shown = terminal(table, width=160)
    for text in ("[bold]x[/]", "[/nonsense]", r"two\nlines", r"\x1b[31mred", ":smile:", "[red]title[/]"):
        assert text in shown
    assert "\x1b[31m" not in shown


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
    assert tables.summary_markdown(again, runs, "t", "a") == tables.summary_markdown(summary, runs, "t", "a")


def test_importing_the_modules_loads_no_heavy_library():
    heavy = ("pandas", "scipy", "matplotlib", "seaborn", "rich")
    code = f"""import sys, harness.metrics, harness.stats, harness.tables, harness.plots
print([name for name in {heavy} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
