"""What W&B gets to see: a run's configuration, epochs, tables and model; a study's tables, figures and best model.

One place for both ways there: live, as epochs come, and afterwards, from the folder of a run. Talking to W&B in the
right order is left to ``harness.trackproc``, which imports this module in a process of its own.

Shapes: a histogram of a layer is (bins,) counts over the edges that all runs share; a confusion matrix is (classes,
classes), true class by predicted class.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.metrics import precision_recall_f1
from harness.network import Array
from harness.store import load_arrays, load_history, load_metrics, load_statistics
from harness.studyfile import SELECTIONS
from harness.tables import TEXT_COLUMNS, gap_column, parse, target_columns
from harness.wandbdir import digest
from kernels.model import histogram_edges

BINS = 32  # of a histogram as W&B shows it; more would not tell more, and cost more than all else
TAG_LENGTH = 64  # W&B refuses longer ones
NAME_LENGTH = 128
TABLES = ("runs", "summary", "classes", "trials", "importances")

Histograms = Mapping[str, Sequence[Sequence[int]]]  # counts by kind (weight, gradient, activation) and layer


def short(text: str, length: int) -> str:
    """The text, cut to what W&B accepts."""
    return text if len(text) <= length else text[: length - 1] + "…"


def safe(text: str, length: int = NAME_LENGTH) -> str:
    """The text with only those characters that a name or an alias of an artifact may have."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:length]


def alias(variant: str, seed: int) -> str:
    """A version's alias; no two variants share one, however long they are and whatever they are made of."""
    end = f"-seed-{seed}"
    clean = safe(variant)
    if clean != variant or len(clean) > TAG_LENGTH - len(end):
        end = f"-{digest(variant.encode())[:6]}{end}"
    return clean[: TAG_LENGTH - len(end)] + end


class StoredFolder:
    """A finished run as it lies on disk; who told of it has checked it.

    Parameters
    ----------
    folder : Path
        Where it lies.
    study : mapping
        Facts of its study, as from `harness.tracking.Subject`: ``select``, the epoch that is reported, and
        ``target_accuracy``, which those of a search lack.
    """

    def __init__(self, folder: Path, study: Mapping[str, Any]) -> None:
        select = study.get("select", "last")
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        self.folder, self.select = folder, select
        self.history = load_history(folder)
        self._statistics = load_statistics(folder)
        self._confusion = load_arrays(folder, select, "confusion")["confusion"]
        self.config: dict[str, Any] = record["config"]
        facts = {name: record[name] for name in ("status", "reason", "jobs") if record[name] != ""}
        metrics = load_metrics(record, select)
        metrics |= gap_column(metrics)
        if "target_accuracy" in study:
            metrics |= target_columns(self.history if record["status"] == "done" else [], study["target_accuracy"])
        known = {name: value for name, value in metrics.items() if value is not None and value == value}  # NaN is not
        self.summary = {**facts, **known}

    def without_test(self) -> dict[str, Any]:
        """The summary without what the test images have shown."""
        return {name: value for name, value in self.summary.items() if not name.startswith("test_")}

    def rows(self, sent: int = 0) -> list[dict[str, Any]]:
        """A row of W&B's history per epoch, without those that were sent."""
        statistics = self._statistics
        kinds = {
            "weight": statistics.weight_histogram,
            "gradient": statistics.gradient_histogram,
            "activation": statistics.activation_histogram,
        }
        epochs = list(enumerate(self.history))[sent:]
        return [row(record, {kind: array[i] for kind, array in kinds.items()}) for i, record in epochs]

    def tables(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Confusion matrix and figures per class, on the test images."""
        import wandb

        confusion = self._confusion
        cells: list[Any] = [
            [true, predicted, int(confusion[i, j])]
            for i, true in enumerate(class_names)
            for j, predicted in enumerate(class_names)
        ]
        columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
        chart = wandb.plot_table(
            "wandb/confusion_matrix/v1",
            wandb.Table(columns=columns, data=cells, dtype=[str, str, int], optional=False),
            {name: name for name in columns},
            {"title": "Test images by true and predicted class"},
        )
        scores = np.stack(precision_recall_f1(confusion), axis=1)
        images = confusion.sum(axis=1)
        per_class: list[Any] = [[name, *map(float, scores[i]), int(images[i])] for i, name in enumerate(class_names)]
        columns = ["class", "precision", "recall", "f1", "images"]
        table = wandb.Table(columns=columns, data=per_class, dtype=[str, float, float, float, int], optional=False)
        return {"confusion_matrix": chart, "per_class": table}

    def model(self, collection: str) -> Any:
        """The weights of both epochs, with what made them, as an artifact; the files are read when they are sent."""
        import wandb

        artifact = wandb.Artifact(collection, type="model", metadata={"config": self.config, **self.summary})
        for name in (*(f"{select}/model.safetensors" for select in SELECTIONS), "result.json"):
            artifact.add_file(str(self.folder / name), name, policy="immutable", skip_cache=True)
        return artifact


def row(record: Mapping[str, Any], histograms: Histograms) -> dict[str, Any]:
    """One epoch as W&B's history has it: the columns of ``history.csv``, and a histogram per kind and layer."""
    import wandb

    scalars = {key: math.nan if value is None else value for key, value in record.items()}
    pictures = {
        f"{kind}_histogram_{layer}": wandb.Histogram(np_histogram=evenly_spaced(np.asarray(counts)))
        for kind, layers in histograms.items()
        for layer, counts in enumerate(layers, start=1)
    }
    return {**scalars, **pictures}


def evenly_spaced(counts: Array) -> tuple[Array, Array]:
    """Counts over BINS bins of equal width that cover those occupied; inside a bin, entries are spread evenly.

    W&B draws bins side by side, as if all were equally wide; ours are half an octave wide.
    """
    edges = histogram_edges()
    occupied = np.flatnonzero(counts)
    if not len(occupied):
        return np.zeros(1, np.int64), edges[[0, -1]]
    first, last = int(occupied[0]), int(occupied[-1])
    even = np.linspace(edges[first], edges[last + 1], BINS + 1)
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    return np.diff(np.rint(np.interp(even, edges, cumulative))).astype(np.int64), even


class StudyTables:
    """Tables of a study or a search as they lie on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables = {name: _read_csv(folder / f"{name}.csv") for name in TABLES}
        self.runs, self.summary = self._tables["runs"] or self._tables["trials"], self._tables["summary"]

    def best(self) -> dict[str, Any] | None:
        """The done run with the highest validation accuracy after its last epoch; the test images have no say."""
        done = [line for line in self.runs if line["status"] == "done"]
        return max(done, key=lambda line: float(line["val_accuracy"]), default=None)

    def figures(self) -> dict[str, Any]:
        """The tables, and the figures as pictures."""
        import wandb

        pictures = sorted((self._folder / "figures").glob("*.png"))
        tables = {f"{name}_table": _table(lines) for name, lines in self._tables.items() if lines}
        return {**tables, **{f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures}}

    def overview(self) -> dict[str, Any]:
        """Figures of the study as a whole, and the mean test accuracy of each variant."""
        statuses = [line["status"] for line in self.runs]
        counts = {status: statuses.count(status) for status in ("done", "diverged", "failed")}
        means = {f"test_accuracy/{line['variant']}": line["test_accuracy"] for line in self.summary}
        known = {name: value for name, value in means.items() if value is not None}
        best = self.best()
        chosen = {f"best_{name}": best[name] for name in ("variant", "trial") if name in best} if best else {}
        chosen |= {"best_run": best["run_id"]} if best else {}
        return {"runs": len(self.runs), **counts, **chosen, **known}


def _read_csv(path: Path) -> list[dict[str, Any]]:
    """Lines of one of our tables, numbers as numbers and empty cells as None; none where there is no table."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return [{key: text if key in TEXT_COLUMNS else parse(text) for key, text in line.items()} for line in lines]


def _table(lines: Sequence[Mapping[str, Any]]) -> Any:
    """The lines as a table of W&B's."""
    import wandb

    columns: list[Any] = list(lines[0]) if lines else []
    return wandb.Table(columns=columns, data=[list(line.values()) for line in lines], allow_mixed_types=True)
