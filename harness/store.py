"""Results on disk: one folder per run, written whole or not at all, and read back with every figure as it was.

``runs/RUN_ID/`` holds ``result.json`` (status, configuration, metrics, circumstances), ``history.csv``, ``arrays.npz``,
``statistics.npz`` and ``model.safetensors``. A seal over all five shows whether they are as they were written: a run
that was cut off or edited counts as none. Which study asked for a run is not stored: any study that names the same run
finds it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import RunConfig
from harness.diagnostics import Statistics
from harness.errors import UserError
from harness.files import new_folder
from harness.network import Array, save_model
from harness.trainer import RunResult

FORMAT = 3  # raised when a file's meaning changes: older folders are then computed again
SEALED = ("model.safetensors", "arrays.npz", "statistics.npz", "history.csv")


@dataclass(frozen=True)
class StoredRun:
    """A run read back: its figures (``row``, flat), its epochs, and where the rest lies."""

    row: dict[str, Any]
    history: list[dict[str, Any]]
    folder: Path

    def arrays(self, *names: str) -> dict[str, Array]:
        """Those named of ``confusion``, ``val_confusion``, ``surest_errors``, ``first_layer``; without names, all."""
        return load_arrays(self.folder, *names)


def save_run(root: Path, run_id: str, config: RunConfig, result: RunResult, circumstances: dict[str, Any]) -> None:
    """Write a run's folder under ``root``, whole or not at all.

    Raises
    ------
    UserError
        When the folder cannot be written.
    """
    with new_folder(root / run_id) as folder:
        save_model(
            folder / "model.safetensors", result.weights, {"run_id": run_id, "config": json.loads(config.canonical())}
        )
        with np.errstate(over="ignore"):  # weights of a diverged run
            first_layer = result.weights[0][0].astype(np.float16)  # for pictures; the model file has all digits
        np.savez_compressed(
            folder / "arrays.npz",
            confusion=result.confusion,
            val_confusion=result.val_confusion,
            surest_errors=result.surest_errors,
            first_layer=first_layer,
        )
        np.savez_compressed(folder / "statistics.npz", **vars(result.statistics))
        (folder / "history.csv").write_text(_to_csv(result.history), encoding="utf-8", newline="")
        record = {
            "format": FORMAT,
            "run_id": run_id,
            "status": result.status,
            "reason": result.reason,
            "config": json.loads(config.canonical()),
            "metrics": {name: value if math.isfinite(value) else str(value) for name, value in result.metrics.items()},
            **circumstances,
        }
        record["seal"] = _seal(folder, record)
        (folder / "result.json").write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")


def load_run(root: Path, run_id: str) -> StoredRun | None:
    """A stored run, or None when there is none, or not as it was written."""
    folder = root / run_id
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        seal = record.pop("seal")
        if record["format"] != FORMAT or record["run_id"] != run_id or seal != _seal(folder, record):
            return None
        config = RunConfig.from_settings(record.pop("config"), f"{folder}/result.json")
        history = load_history(folder)
        metrics = load_metrics(record.pop("metrics"))
        del record["format"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError):
        return None
    return StoredRun({**record, **config.flat(), **metrics}, history, folder)


def load_history(folder: Path) -> list[dict[str, Any]]:
    """Epochs of a stored run, from its folder."""
    return _from_csv((folder / "history.csv").read_text(encoding="utf-8"))


def load_metrics(written: dict[str, Any]) -> dict[str, float]:
    """Final figures as they were; JSON has no NaN, so ``result.json`` writes it as a text."""
    return {name: float(value) if isinstance(value, str) else value for name, value in written.items()}


def load_arrays(folder: Path, *names: str) -> dict[str, Array]:
    """Arrays of a stored run, from its folder, as `StoredRun.arrays` gives them."""
    return _load_npz(folder / "arrays.npz", *names)


def load_statistics(folder: Path) -> Statistics:
    """Histograms of a stored run's layers, from its folder."""
    return Statistics(**_load_npz(folder / "statistics.npz"))


def _load_npz(path: Path, *names: str) -> dict[str, Array]:
    """Arrays of a file, or only those named; objects, which would have to be unpickled, are refused."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in names or file.files}


def _seal(folder: Path, record: dict[str, Any]) -> str:
    """16 hex digits of the SHA-256 of a record and of the files beside it."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in SEALED:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def _to_csv(records: Iterable[dict[str, Any]]) -> str:
    """Records with the same keys as CSV, every float with all its digits."""
    rows = list(records)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: value if key == "epoch" else repr(float(value)) for key, value in row.items()} for row in rows
    )
    return text.getvalue()


def _from_csv(text: str) -> list[dict[str, Any]]:
    """The inverse of :func:`_to_csv`."""
    return [
        {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]
