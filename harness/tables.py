"""Tables of runs: from plain records to data frames, and from those to CSV and back.

Pure functions; reading and writing files is left to ``harness.store``, statistics to ``harness.stats``, summaries as
texts to ``harness.summaries``. A diverged or failed run keeps its line in ``runs.csv`` and is counted in the summary,
but never averaged; a done run whose numbers are NaN is not passed over either: its mean is NaN or, for the test
accuracy, an error.

A "row" is one run (keys: `RUN_COLUMNS`, the settings, `RESULT_COLUMNS`) or one epoch of one run (`HISTORY_COLUMNS` and
the numbers of each layer). A "summary" has one line per variant.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from harness.metrics import Confusion, precision_recall_f1
from harness.stats import Interval, differences, holm, mean_interval, sign_flip_p

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
Numbers = npt.NDArray[np.float64]

RUN_COLUMNS = ("run_id", "study", "variant", "seed", "status", "reason", "dataset", "engine", "precision", "jobs")
RESULT_COLUMNS = (
    *("select", "test_accuracy", "test_loss", "test_precision_macro", "test_recall_macro", "test_f1_macro"),
    *("val_accuracy", "val_loss", "best_val_accuracy", "best_val_epoch", "train_accuracy", "train_loss", "gap"),
    *("epochs_done", "resumed"),
    *("target_accuracy", "epochs_to_target", "seconds_to_target"),
    *("train_seconds", "seconds_per_epoch", "eval_seconds", "compile_seconds", "peak_memory_bytes"),
    *("data_fingerprint", "code_version"),
)
HISTORY_COLUMNS = (
    *("run_id", "variant", "seed", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("lr", "penalty", "train_seconds"),
)
CLASS_COLUMNS = ("variant", "class", "class_name", "n", "select", "test_precision", "test_recall", "test_f1")
SUMMARY_COLUMNS = (
    *("variant", "n", "diverged", "failed", "select"),
    *("test_accuracy", "test_accuracy_std", "test_accuracy_low", "test_accuracy_high"),
    *("difference", "difference_low", "difference_high", "difference_n", "p_value", "p_holm"),
    *("seconds_per_epoch", "train_seconds", "val_accuracy", "test_f1_macro"),
    *("gap", "gap_low", "gap_high", "reached", "epochs_to_target", "seconds_to_target"),
)
FIGURES = (  # of single runs, that a summary is made of
    *("test_accuracy", "seconds_per_epoch", "train_seconds", "val_accuracy", "test_f1_macro"),
    *("gap", "epochs_to_target", "seconds_to_target"),
)
TEXT_COLUMNS = frozenset(  # never guessed to be numbers, whatever they look like
    {"run_id", "study", "variant", "status", "reason", "dataset", "engine", "precision", "hidden"}
    | {"data_fingerprint", "code_version", "class_name", "select"}
    | {"text", "claim_verdict", "metric", "better", "than", "at", "verdict", "folder", "error"}
)


def runs_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """One line per run, in the order given: `RUN_COLUMNS`, the settings as they first appear, `RESULT_COLUMNS`.

    Lists of layer widths are written ``128x64``, an empty one ``none``; whole numbers stay whole beside a None.
    """
    return _frame(rows, RUN_COLUMNS, RESULT_COLUMNS)


def history_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """One line per epoch of each run, in the order given: `HISTORY_COLUMNS`, then the layers' numbers by kind.

    A network with fewer layers than the deepest one has NaN for those of the layers it lacks.
    """
    rows = list(rows)
    extra = {key: None for row in rows for key in row if key not in HISTORY_COLUMNS}
    return _frame(rows, (*HISTORY_COLUMNS, *sorted(extra, key=_natural)), ())


def target_columns(history: Sequence[Row], target: float) -> dict[str, Any]:
    """When a run's validation accuracy first reached a target: epoch, and seconds in training steps up to its end.

    Both are None where it never did. Nothing of a run depends on the target, so another one makes other tables of the
    same runs.
    """
    first = next((record for record in history if record["val_accuracy"] >= target), None)
    return {
        "target_accuracy": target,
        "epochs_to_target": None if first is None else first["epoch"],
        "seconds_to_target": None if first is None else first["train_seconds"],
    }


def gap_column(row: Row) -> dict[str, Any]:
    """Training less validation accuracy of a run, of the same weights and dropout off; None without either."""
    train, val = row.get("train_accuracy"), row.get("val_accuracy")
    return {"gap": None if train is None or val is None else train - val}


def classes_frame(
    confusions: Mapping[str, Sequence[Confusion]], class_names: Sequence[str], select: str = "last"
) -> pd.DataFrame:
    """One line per variant and class: precision, recall and F1 on the test images, each the plain mean over runs.

    Parameters
    ----------
    confusions : mapping of str to sequence of (c, c) integers
        The matrices of each variant's done runs; a variant without any has no lines.
    class_names : (c,) names
        Class i is called ``class_names[i]``.
    select : str
        The epoch whose network the matrices are of.

    Returns
    -------
    DataFrame
        `CLASS_COLUMNS`; ``n`` is the number of runs.
    """
    rows = []
    for variant, matrices in confusions.items():
        scores = np.array([precision_recall_f1(matrix) for matrix in matrices])  # (runs, 3, c)
        if len(scores):
            for i, (name, means) in enumerate(zip(class_names, scores.mean(axis=0).T.tolist(), strict=True)):
                rows.append(dict(zip(CLASS_COLUMNS, (variant, i, name, len(scores), select, *means), strict=True)))
    return _frame(rows, CLASS_COLUMNS, ())


def summary_frame(
    runs: pd.DataFrame, variants: Sequence[str], baseline: str | None, factors: Sequence[str] = ()
) -> pd.DataFrame:
    """Compare variants: one line per name in ``variants``, in that order, whether it has runs or not.

    Parameters
    ----------
    runs : DataFrame
        As from `runs_frame`.
    variants : names
        Runs of other variants do not appear.
    baseline : str, optional
        The variant that the others are compared with, seed by seed; without it the comparisons are NaN.
    factors : names of columns of ``runs``
        Settings to show beside the variant's name.

    Returns
    -------
    DataFrame
        ``variant``, the factors, then the rest of `SUMMARY_COLUMNS`. ``n``, ``diverged``, ``failed`` count runs by
        status; ``select`` is the epoch whose network all runs report; all else is over done runs.
        ``test_accuracy_low`` and ``_high`` bound the 95% Student t interval of the mean, ``difference_low`` and
        ``_high`` that of the mean paired difference over ``difference_n`` seeds. ``p_value`` is the sign-flip test's,
        ``p_holm`` is corrected for the number of variants tested. ``seconds_per_epoch`` is a median,
        ``train_seconds``, ``val_accuracy`` and ``test_f1_macro`` are means, ``gap`` too, with its 95% Student t
        interval. ``reached`` counts runs that reached the target; ``epochs_to_target`` and ``seconds_to_target`` are
        medians over all done runs, those that never reached it later than all others.

    Raises
    ------
    ValueError
        If a variant has two runs of one seed, two values of one factor, or a done run without a test accuracy; if runs
        report networks of different epochs.
    """
    import pandas as pd

    places = {str(name): rows for name, rows in runs.groupby("variant", sort=False).indices.items()}
    status = runs["status"].to_numpy(dtype=object)
    settings = {factor: runs[factor].to_numpy(dtype=object) for factor in factors}
    figures = {name: runs[name].to_numpy(dtype=np.float64, na_value=math.nan) for name in ("seed", *FIGURES)}
    done = {name: rows[status[rows] == "done"] for name, rows in places.items()}
    accuracies = {
        name: _by_seed(figures["seed"][rows], figures["test_accuracy"][rows], name) for name, rows in done.items()
    }
    select = _constant(runs["select"].dropna().to_numpy(dtype=object), "select", "any")
    nothing = np.empty(0, np.intp)
    reference = accuracies.get(baseline, {}) if baseline is not None else {}
    lines = []
    for variant in variants:
        rows, finished = places.get(variant, nothing), done.get(variant, nothing)
        own = accuracies.get(variant, {})
        accuracy = mean_interval(own.values())
        pairs = differences(own, reference) if variant != baseline else []
        difference = mean_interval(pairs)
        gap = _mean_interval(figures["gap"][finished])
        reached = ~np.isnan(figures["epochs_to_target"][finished])
        lines.append(
            {
                "variant": variant,
                **{factor: _constant(settings[factor][rows], factor, variant) for factor in factors},
                "n": len(finished),
                "diverged": int(np.count_nonzero(status[rows] == "diverged")),
                "failed": int(np.count_nonzero(status[rows] == "failed")),
                "select": select,
                "test_accuracy": accuracy.mean,
                "test_accuracy_std": accuracy.std,
                "test_accuracy_low": accuracy.low,
                "test_accuracy_high": accuracy.high,
                "difference": difference.mean,
                "difference_low": difference.low,
                "difference_high": difference.high,
                "difference_n": difference.n,
                "p_value": sign_flip_p(pairs),
                "p_holm": math.nan,
                "seconds_per_epoch": _median(figures["seconds_per_epoch"][finished]),
                "train_seconds": _mean(figures["train_seconds"][finished]),
                "val_accuracy": _mean(figures["val_accuracy"][finished]),
                "test_f1_macro": _mean(figures["test_f1_macro"][finished]),
                "gap": gap.mean,
                "gap_low": gap.low,
                "gap_high": gap.high,
                "reached": int(np.count_nonzero(reached)),
                "epochs_to_target": _median_or_never(figures["epochs_to_target"][finished], reached),
                "seconds_to_target": _median_or_never(figures["seconds_to_target"][finished], reached),
            }
        )
    tested = [line for line in lines if not math.isnan(line["p_value"])]
    for line, p in zip(tested, holm(line["p_value"] for line in tested), strict=True):
        line["p_holm"] = p
    summary: pd.DataFrame = pd.DataFrame(lines, columns=["variant", *factors, *SUMMARY_COLUMNS[1:]])
    return summary


def to_csv(frame: pd.DataFrame) -> bytes:
    r"""UTF-8 CSV whose numbers and texts read back exactly: shortest exact floats, ``\n`` line ends, NaN empty."""
    # A lone carriage return ends a line for most readers, but is not in itself a reason to quote for Python's writer.
    texts = [*frame.columns, *(value for name in frame.select_dtypes(exclude="number") for value in frame[name])]
    returns = any("\r" in value for value in texts if isinstance(value, str))
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    text: str = frame.to_csv(index=False, lineterminator="\n", quoting=quoting)
    return text.encode("utf-8")


def from_csv(data: bytes) -> pd.DataFrame:
    """Read what `to_csv` wrote: floats exactly, and `TEXT_COLUMNS` as texts, be a variant called ``NA`` or ``0.10``."""
    header, *lines = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))
    texts = zip(*lines, strict=True) if lines else ((),) * len(header)
    return from_texts(dict(zip(header, texts, strict=True)))


def from_texts(columns: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    """Columns of texts as `from_csv` reads them."""
    return _assemble(
        {
            name: column if name in TEXT_COLUMNS else map(functools.lru_cache(parse), column)
            for name, column in columns.items()
        }
    )


def missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA."""
    import pandas as pd

    return bool(pd.isna(value))


def _frame(rows: Iterable[Row], head: Sequence[str], tail: Sequence[str]) -> pd.DataFrame:
    """Make a data frame of head, the other keys in order of appearance, tail; absent values are missing."""
    rows = list(rows)
    between = dict.fromkeys(key for row in rows for key in row)
    for name in (*head, *tail):
        between.pop(name, None)
    return _assemble({name: [row.get(name) for row in rows] for name in (*head, *between, *tail)})


def _assemble(columns: Mapping[str, Iterable[Any]]) -> pd.DataFrame:
    """Make a data frame of columns."""
    import pandas as pd

    frame: pd.DataFrame = pd.DataFrame({name: _column(list(values)) for name, values in columns.items()})
    return frame


def parse(text: str) -> Any:
    """Read a number, a truth value, nothing or, failing these, the text itself."""
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    with suppress(ValueError):
        number = float(text)
        return int(text) if text.removeprefix("-").isdigit() else number
    return text


def cell(value: Any) -> Any:
    """A setting as a cell of a table: a list of widths becomes a word."""
    return ("x".join(map(str, value)) or "none") if isinstance(value, (list, tuple)) else value


def _column(values: list[Any]) -> pd.Series[Any]:
    """One column: lists of widths as words, whole numbers beside None or NaN as nullable integers, all None as NaN."""
    import pandas as pd

    plain = [cell(value) for value in values]
    known = pd.Series(plain, dtype=object).notna().to_numpy()
    kinds = set(map(type, itertools.compress(plain, known)))
    whole = all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds)
    dtype = None if known.all() or not whole else "Int64" if kinds else "float64"
    column: pd.Series[Any] = pd.Series(plain, dtype=dtype)
    return column


def _natural(name: str) -> tuple[str, int]:
    """Sort key that puts ``grad_norm_10`` after ``grad_norm_9``."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if number.isdigit() else (name, 0)


def _by_seed(done: Numbers, accuracies: Numbers, variant: str) -> dict[int, float]:
    """Test accuracy of each seed."""
    seeds = [int(seed) for seed in done]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"variant {variant!r} has more than one done run of a seed: {sorted(seeds)}")
    return dict(zip(seeds, accuracies.tolist(), strict=True))


def _constant(settings: npt.NDArray[np.object_], factor: str, variant: str) -> Any:
    """Return the one value that a factor has in a variant; None without runs."""
    import pandas as pd

    values = pd.unique(settings)
    if len(values) > 1:
        raise ValueError(f"variant {variant!r} has several values of {factor}: {list(values)}")
    return values[0] if len(values) else None


def _mean(column: Numbers) -> float:
    """Mean that a NaN makes NaN; NaN of nothing."""
    return math.fsum(column) / len(column) if len(column) else math.nan


def _mean_interval(column: Numbers) -> Interval:
    """Mean with its interval, which a NaN makes NaN."""
    if np.isnan(column).any():
        return Interval(len(column), math.nan, math.nan, math.nan, math.nan)
    return mean_interval(column)


def _median_or_never(column: Numbers, reached: npt.NDArray[np.bool_]) -> float:
    """Median where what was not reached comes last; NaN where the median itself was not reached."""
    median = _median(np.where(reached, column, math.inf))
    return median if math.isfinite(median) else math.nan


def _median(column: Numbers) -> float:
    """Median that a NaN makes NaN; NaN of nothing."""
    return float(np.median(column)) if len(column) else math.nan
