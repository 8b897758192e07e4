"""The data of one study for the page: from what could be read of its folder to one small JSON object.

Variants and runs go by their places; names appear once. ``harness.compact`` says how columns look,
``harness.pagelayers`` adds what ``details.npz`` holds and the layers' numbers, ``harness.pictures`` the pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.committed import StudyFolder, Table
from harness.compact import DIGITS, EXACT, column, rounded
from harness.stats import differences, mean_interval
from harness.summaries import visible
from harness.tables import TEXT_COLUMNS

HISTORY_ROWS = 400_000  # of one study; longer histories are thinned, evenly
HISTORY_COLUMNS = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "lr", "penalty", "train_seconds")
TRIAL_HEAD, TRIAL_END = ("variant", "trial", "chosen", "status", "reason", "run_id"), ("hidden", "val_accuracy")
STATUSES = ("done", "diverged", "failed", "pruned")


def study(folder: StudyFolder) -> dict[str, Any]:
    """Everything but details: texts, variants, tables, histories, environment, problems."""
    names = variant_names(folder)
    record: dict[str, Any] = {
        "key": folder.key,
        "study": visible(folder.study),
        "dataset": visible(folder.dataset),
        "kind": "search" if folder.is_search else "study",
        **{key: visible(text) for key, text in folder.texts.items()},
        "variants": [visible(name) for name in names],
        "environment": _plain(folder.environment),
        "winner": _plain(folder.winner),
    }
    runs = folder.tables.get("runs")
    if runs is None and "history" in folder.tables and not folder.is_search:
        runs = _runs_of_history(folder.tables["history"])
    baseline = baseline_of(folder, names)
    record["baseline"] = names.index(baseline) if baseline in names else None
    if folder.is_search:
        record |= _trials(folder)
        record |= _trial_history(folder)
    else:
        record |= _summary(folder, runs, names, baseline)
        record |= _runs(folder, runs, names)
        if "trials" in folder.tables:
            record |= _trials(folder)
    for name in ("findings", "timing", "importances"):
        if name in folder.tables:
            record[name] = _table(folder.tables[name])
    return record


def variant_names(folder: StudyFolder) -> list[str]:
    """Names of the variants: those of the summary in its order, then whatever else the other files name."""
    names: dict[str, None] = {}
    for table in ("summary", "runs", "history", "classes"):
        if table in folder.tables and "variant" in folder.tables[table].columns:
            names.update(dict.fromkeys(folder.tables[table].columns["variant"]))
    details = folder.details.get("variants")
    if details is not None and details.ndim == 1 and details.dtype.kind == "U":
        names.update(dict.fromkeys(map(str, details.tolist())))
    return list(names)


def baseline_of(folder: StudyFolder, names: Sequence[str]) -> str | None:
    """The baseline: what the study's file says, else the one variant of the summary that is compared with none."""
    if folder.declared_baseline in names:
        return folder.declared_baseline
    summary = folder.tables.get("summary")
    if summary is None or "difference_n" not in summary.columns:
        return None
    pairs, done = summary.numbers("difference_n"), summary.numbers("n")
    alone = [name for name, k, n in zip(summary.texts("variant"), pairs, done, strict=True) if n > 0 and not k > 0]
    return alone[0] if len(alone) == 1 and (pairs > 0).any() else None


def _summary(folder: StudyFolder, runs: Table | None, names: Sequence[str], baseline: str | None) -> dict[str, Any]:
    """One row per variant, in the order of ``names``; without ``summary.csv`` computed from the runs."""
    table = folder.tables.get("summary")
    if table is not None and not (table.rows and "test_accuracy" in table.columns):
        table = None
    if table is None and runs is not None and "test_accuracy" in runs.columns:
        folder.problems.append("summary.csv: what is shown was computed from runs.csv")
        table = _summarised(runs, names, baseline)
    if table is None:
        return {"factors": [], "summary": {}}
    header = list(table.columns)
    end = header.index("n") if "n" in header else 1
    factors = [name for name in header[:end] if name != "variant"]
    rows = {name: row for row, name in enumerate(table.texts("variant"))}
    ordered = {
        name: [values[rows[variant]] if variant in rows else "" for variant in names]
        for name, values in table.columns.items()
        if name != "variant"
    }
    return {"factors": factors, "summary": _columns(ordered, EXACT)}


def _summarised(runs: Table, names: Sequence[str], baseline: str | None) -> Table:
    """The summary's main columns, from runs."""
    by_variant: dict[str, dict[int, float]] = {name: {} for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for variant, seed, status, accuracy, time in zip(
        *(runs.texts(name) for name in ("variant", "seed", "status")),
        *(runs.numbers(name).tolist() for name in ("test_accuracy", "train_seconds")),
        strict=True,
    ):
        if status == "done" and np.isfinite(accuracy) and seed.lstrip("-").isdecimal():
            by_variant[variant][int(seed)] = accuracy
            seconds[variant] += [time] if np.isfinite(time) else []
    statuses = Counter(zip(runs.texts("variant"), runs.texts("status"), strict=True))
    lines = []
    for name in names:
        own = mean_interval(by_variant[name].values())
        pairs = differences(by_variant[name], by_variant[baseline]) if baseline and name != baseline else []
        gap = mean_interval(pairs)
        lines.append(
            {
                "variant": name,
                **{status: statuses[name, status] for status in ("diverged", "failed")},
                "n": own.n,
                "test_accuracy": own.mean,
                "test_accuracy_std": own.std,
                "test_accuracy_low": own.low,
                "test_accuracy_high": own.high,
                "difference": gap.mean,
                "difference_low": gap.low,
                "difference_high": gap.high,
                "train_seconds": sum(seconds[name]) / len(seconds[name]) if seconds[name] else np.nan,
            }
        )
    columns = {key: [str(line[key]) for line in lines] for key in (lines[0] if lines else {"variant": ""})}
    head = {"variant": columns.pop("variant")} | {"n": columns.pop("n", [])}
    return Table(head | columns, len(lines))


def _runs(folder: StudyFolder, runs: Table | None, names: Sequence[str]) -> dict[str, Any]:
    """One row per run, and the history of each."""
    if runs is None:
        return {"runs": {"variant": []}, "settings": []}
    header = list(runs.columns)
    first, last = (header.index(name) if name in header else -1 for name in ("jobs", "test_accuracy"))
    settings = [name for name in header[first + 1 : last] if 0 <= first < last]
    settings += [name for name in ("engine", "precision") if name in header]
    places = {name: place for place, name in enumerate(names)}
    record = {
        "settings": settings,
        "runs": {
            "variant": [places[name] for name in runs.texts("variant")],
            "columns": _columns(
                {name: texts for name, texts in runs.columns.items() if name not in ("variant", "study")}
            ),
        },
    }
    history = folder.tables.get("history")
    if history is not None:
        record["history"] = _history(folder, history, _rows_of(history, runs), runs.rows)
    return record


def run_index(runs: Table) -> dict[tuple[str, str, str], int]:
    """Place of a run by its id, variant and seed."""
    keys = zip(*(runs.texts(name) for name in ("run_id", "variant", "seed")), strict=True)
    return {key: row for row, key in enumerate(keys)}


def _rows_of(history: Table, runs: Table) -> list[int]:
    """Place of the run that each line of a history belongs to; -1 where there is none."""
    index = run_index(runs)
    keys = zip(*(history.texts(name) for name in ("run_id", "variant", "seed")), strict=True)
    return [index.get(key, -1) for key in keys]


def _runs_of_history(history: Table) -> Table:
    """Runs as far as a history names them."""
    keys = list(dict.fromkeys(zip(*(history.texts(name) for name in ("run_id", "variant", "seed")), strict=True)))
    columns = dict(zip(("run_id", "variant", "seed"), map(list, zip(*keys, strict=True)), strict=True)) if keys else {}
    return Table(columns or {"run_id": [], "variant": [], "seed": []}, len(keys))


def _history(folder: StudyFolder, history: Table, owners: Sequence[int], n_runs: int) -> dict[str, Any]:
    """Epochs of all runs one after the other: how many each has, and a flat list per column."""
    owner, epoch = np.array(owners, dtype=np.int64), history.numbers("epoch")
    known = (owner >= 0) & np.isfinite(epoch)
    if lost := int((~known).sum()):
        folder.problems.append(f"history.csv: {lost} {'line' if lost == 1 else 'lines'} of no known run left out")
    order = np.lexsort((epoch, owner))
    order = order[known[order]]
    if len(order) > HISTORY_ROWS:
        step = -(-len(order) // HISTORY_ROWS)
        last = np.append(np.diff(owner[order]) != 0, True)
        order = order[(epoch[order] % step == 1) | last]
        folder.problems.append(f"history.csv: the page shows one epoch in {step} of its {history.rows} lines")
    counts = np.bincount(owner[order], minlength=n_runs)
    record: dict[str, Any] = {"length": counts.tolist()}
    expected = np.concatenate([np.arange(1, count + 1) for count in counts]) if len(counts) else np.empty(0)
    if not np.array_equal(expected, epoch[order]):
        record["epoch"] = rounded(epoch[order], 12)
    for name in HISTORY_COLUMNS:
        if name in history.columns:
            values = history.numbers(name)[order]
            if np.isfinite(values).any() and not (name == "penalty" and not values.any()):
                record[name] = rounded(values)
    return record


def _trials(folder: StudyFolder) -> dict[str, Any]:
    """Trials of a search, or of those that tuned a study's variants: parameters and results."""
    trials = folder.tables.get("trials")
    if trials is None:
        return {"parameters": [], "trials": {}}
    header = list(trials.columns)
    ends = [header.index(name) for name in TRIAL_END if name in header]
    parameters = [name for name in header[: min(ends, default=len(header))] if name not in TRIAL_HEAD]
    return {"parameters": parameters, "n_trials": trials.rows, "trials": _columns(trials.columns)}


def _trial_history(folder: StudyFolder) -> dict[str, Any]:
    """The accuracies by epoch of each trial of a search."""
    trials, history = folder.tables.get("trials"), folder.tables.get("history")
    if trials is None or history is None:
        return {}
    places = {name: row for row, name in enumerate(trials.texts("trial"))}
    owners = [places.get(name, -1) for name in history.texts("trial")]
    return {"history": _history(folder, history, owners, trials.rows)}


def _table(table: Table) -> dict[str, Any]:
    return {"rows": table.rows, "columns": _columns(table.columns, EXACT)}


def _columns(columns: dict[str, list[str]], digits: int = DIGITS) -> dict[str, Any]:
    """Columns of a table; those that say nothing at all are left out."""
    return {visible(name): column(texts, name in TEXT_COLUMNS, digits) for name, texts in columns.items() if any(texts)}


def _plain(value: Any, depth: int = 0) -> Any:
    """JSON whose texts are printable and whose numbers are finite."""
    if isinstance(value, dict) and depth < 6:
        return {visible(str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list) and depth < 6:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float):
        return rounded([value], 12)[0]
    if value is None or isinstance(value, (bool, int)):
        return value
    return visible(str(value))
