"""What the page shows of the inside of the networks: confusion, scores per class, layers, histograms.

Everything is per variant, under its place as a text. Of a study with very many variants the layers and histograms of
some are kept, the baseline and the best (`focus`); ``harness.pagedata`` has the rest, ``harness.pictures`` the
pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import store
from harness.committed import Numbers, StudyFolder, Table
from harness.compact import column, rounded
from harness.errors import UserError
from harness.network import Array
from harness.studyfile import SELECTIONS
from harness.tables import TEXT_COLUMNS

LAYER_NUMBERS = 400_000  # of one study
FOCUS = 24  # variants of a study that is too large to keep all
RUN_CONFUSIONS = 1500  # runs of a study whose own confusion matrices are kept, where run folders are there
_LAYER = re.compile(
    r"(grad_norm|grad_variance|grad_max|weight_norm|activation_mean|activation_variance|dead_share)_([1-9]\d{0,2})"
)
_ROOTS = {"grad_variance": "grad_std", "activation_variance": "activation_std"}


def add(record: dict[str, Any], folder: StudyFolder, names: Sequence[str], runs_folder: Path) -> None:
    """Add to a study's record, in place: ``classes``, ``confusion``, ``histograms``, ``layers``, ``run_confusion``."""
    places = {name: place for place, name in enumerate(names)}
    by_place = in_details(folder, names)
    classes = folder.tables.get("classes")
    if classes is not None:
        record["classes"] = _classes(classes, places)
    for split, name in (("test", "confusion"), ("val", "val_confusion")):
        matrices = {str(place): matrix for place, i in by_place.items() if (matrix := confusion(folder, name, i))}
        if matrices:
            record.setdefault("confusion", {})[split] = matrices
    chosen = focus(record, names)
    record["focus"] = chosen
    record["histograms"] = _histograms(folder, by_place, chosen)
    history = folder.tables.get("history")
    if history is not None and "variant" in history.columns:
        record["layers"] = layers(history, places, chosen, folder.tables.get("runs"))
    record["run_confusion"] = _run_confusions(folder, runs_folder)


def in_details(folder: StudyFolder, names: Sequence[str]) -> dict[int, int]:
    """Place among the study's variants -> place in ``details.npz``."""
    variants = folder.details.get("variants")
    if variants is None or variants.ndim != 1:
        return {}
    there = {str(name): i for i, name in enumerate(variants.tolist())}
    return {place: there[name] for place, name in enumerate(names) if name in there}


def array(folder: StudyFolder, name: str, dimensions: int) -> Array | None:
    """An array of numbers of ``details.npz``; None where it is not there or of another kind."""
    found = folder.details.get(name)
    if found is None:
        return None
    if found.ndim != dimensions or found.dtype.kind not in "iuf" or not found.size:
        folder.problems.append(f"details.npz: {name} is not what it should be")
        return None
    return found


def confusion(folder: StudyFolder, name: str, i: int) -> list[float | int | None] | None:
    """A confusion matrix, row after row."""
    matrix = array(folder, f"{name}_{i}", 2)
    return None if matrix is None or matrix.shape[0] != matrix.shape[1] else rounded(matrix.ravel(), 9)


def focus(record: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """Places of the variants to keep the layers of: all, or of a large study the baseline and the best."""
    if len(names) <= 2 * FOCUS:
        return list(range(len(names)))
    accuracies = record.get("summary", {}).get("test_accuracy", {}).get("n", [None] * len(names))
    ranked = sorted(range(len(names)), key=lambda place: (accuracies[place] is None, -(accuracies[place] or 0)))
    baseline = record.get("baseline")
    first = [] if baseline is None else [baseline]
    return sorted(set(first + ranked[: FOCUS - len(first)]))


def _classes(table: Table, places: Mapping[str, int]) -> dict[str, Any]:
    """Scores per class: names of classes, then columns."""
    columns = {
        name: column(texts, name in TEXT_COLUMNS)
        for name, texts in table.columns.items()
        if name not in ("variant", "class_name")
    }
    names = dict(zip(table.texts("class"), table.texts("class_name"), strict=True))
    return {"variant": [places[name] for name in table.texts("variant")], "columns": columns,
            "names": column(list(names.values()), text=True), "labels": column(list(names))}  # fmt: skip


def _histograms(folder: StudyFolder, by_place: Mapping[int, int], chosen: Sequence[int]) -> dict[str, Any]:
    """Counts per bin, without the empty bins on either side: ``[first bin, count, ...]`` per epoch and layer."""
    edges = array(folder, "histogram_edges", 1)
    if edges is None or len(edges) < 2:
        return {}
    record: dict[str, Any] = {"edges": rounded(edges, 4), "variants": {}}
    for place in chosen:
        i = by_place.get(place, -1)
        epochs = array(folder, f"histogram_epochs_{i}", 1)
        if epochs is None:
            continue
        kinds: dict[str, Any] = {}
        for kind in ("weight", "gradient", "activation"):
            counts = folder.details.get(f"{kind}_histogram_{i}")
            if counts is not None and counts.ndim == 3 and counts.shape[::2] == (len(epochs), len(edges) - 1):
                kinds[kind] = [[_trimmed(layer) for layer in epoch] for epoch in counts]
        record["variants"][str(place)] = {"epochs": rounded(epochs, 9), **kinds}
    return record


def _trimmed(counts: Array) -> list[int]:
    used = np.flatnonzero(counts)
    return [int(used[0]), *counts[used[0] : used[-1] + 1].astype(np.int64).tolist()] if used.size else [0]


def layers(
    history: Table, places: Mapping[str, int], chosen: Sequence[int], runs: Table | None = None
) -> dict[str, Any]:
    """Mean over seeds and half the width of its 95% interval, by kind, layer, variant and epoch; with runs the done."""
    found = [(match[1], int(match[2]), match[0]) for name in history.columns if (match := _LAYER.fullmatch(name))]
    owner = np.array([places[name] for name in history.texts("variant")], dtype=np.int64)
    epoch = history.numbers("epoch")
    kept = np.isin(owner, chosen) & np.isfinite(epoch)
    if runs is not None:
        status = dict(zip(_keys(runs), runs.texts("status"), strict=True))
        kept &= np.array([status.get(key) == "done" for key in _keys(history)], dtype=bool)
    variants, rows = np.unique(owner[kept], return_inverse=True)
    epochs, columns = np.unique(epoch[kept], return_inverse=True)
    if not found or not variants.size or 2 * len(found) * len(variants) * len(epochs) > LAYER_NUMBERS:
        return {}
    cells = rows * len(epochs) + columns
    record: dict[str, Any] = {"variants": variants.tolist(), "epochs": rounded(epochs, 9), "kinds": {}}
    for kind, layer, name in sorted(found):
        values = history.numbers(name)[kept]
        if kind in _ROOTS:
            values = np.sqrt(np.maximum(values, 0))
        mean, half = (
            [rounded(row, 4) for row in part.reshape(len(variants), -1)]
            for part in _means(values, cells, len(variants) * len(epochs))
        )
        record["kinds"].setdefault(_ROOTS.get(kind, kind), {})[str(layer)] = {"mean": mean, "half": half}
    return record


def _keys(table: Table) -> Iterable[tuple[str, ...]]:
    """What names the run of each line."""
    return zip(*(table.texts(name) for name in ("run_id", "variant", "seed")), strict=True)


def _means(values: Numbers, cells: Array, n_cells: int) -> tuple[Numbers, Numbers]:
    """Mean of the finite values of each cell, and half the width of its 95% t interval; NaN where there is none."""
    finite = np.isfinite(values) & (np.abs(values) < 1e150)  # squares must not overflow
    where, values = cells[finite], values[finite]
    n = np.bincount(where, minlength=n_cells).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(where, values, n_cells) / n
        squares = np.bincount(where, (values - mean[where]) ** 2, n_cells)
        half = t_quantile(n - 1) * np.sqrt(squares / (n - 1) / n)
    return mean, np.where(n > 1, half, np.nan)


def t_quantile(degrees: Numbers) -> Numbers:
    """97.5% quantile of Student's t by degrees of freedom; NaN below one."""
    from scipy.special import stdtrit

    return np.where(degrees >= 1, stdtrit(np.maximum(degrees, 1), 0.975), np.nan)


def _run_confusions(folder: StudyFolder, runs_folder: Path) -> dict[str, Any]:
    """Confusion matrices of single runs, of the network that each reports, where their folders are there."""
    runs = folder.tables.get("runs")
    if runs is None or runs.rows > RUN_CONFUSIONS or not runs_folder.is_dir():
        return {}
    record = {}
    for row, (run_id, select) in enumerate(zip(runs.texts("run_id"), runs.texts("select"), strict=True)):
        if re.fullmatch(r"[0-9a-f]{8,64}", run_id):
            matrix = _run_confusion(runs_folder / run_id, select if select in SELECTIONS else SELECTIONS[0])
            if matrix is not None:
                record[str(row)] = rounded(matrix.ravel(), 9)
    return record


def _run_confusion(run: Path, select: str) -> Array | None:
    try:
        matrix = store.load_arrays(run, select, "confusion")["confusion"]
    except UserError:  # not there, or damaged
        return None
    return matrix if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and matrix.dtype.kind in "iu" else None
