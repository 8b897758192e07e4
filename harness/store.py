"""Results on disk: one folder per run, written whole or not at all, and read back with every figure as it was.

``runs/RUN_ID/`` holds ``result.json`` (status, configuration, metrics, circumstances), ``history.csv``, ``arrays.npz``
and ``model.safetensors``. Which study asked for a run is not stored: any study that names the same run finds it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import RunConfig
from harness.files import TEMPORARY_PREFIX, new_folder
from harness.network import Array, save_model
from harness.trainer import RunResult

FORMAT = 1  # raised when a file's meaning changes: older folders are then computed again
STALE_SECONDS = 24 * 3600  # temporary folders of killed processes are swept after a day


@dataclass(frozen=True)
class StoredRun:
    """A run read back: its figures (``row``, flat), its epochs, and where the rest lies."""

    row: dict[str, Any]
    history: list[dict[str, Any]]
    folder: Path

    def arrays(self) -> dict[str, Array]:
        """Confusion matrix, surest errors and first-layer weights."""
        with np.load(self.folder / "arrays.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def save_run(root: Path, run_id: str, config: RunConfig, result: RunResult, circumstances: dict[str, Any]) -> None:
    """Write a run's folder under ``root``, whole or not at all.

    Raises
    ------
    UserError
        When the folder cannot be written.
    """
    with new_folder(root / run_id) as folder:
        save_model(folder / "model.safetensors", result.weights, {"run_id": run_id, "config": json.loads(config.canonical())})
        np.savez_compressed(
            folder / "arrays.npz",
            confusion=result.confusion,
            surest_errors=result.surest_errors,
            first_layer=result.weights[0][0].astype(np.float16),  # for pictures; the model file has all digits
        )
        (folder / "history.csv").write_text(_to_csv(result.history), encoding="utf-8", newline="")
        record = {
            "format": FORMAT,
            "run_id": run_id,
            "status": result.status,
            "reason": result.reason,
            "config": json.loads(config.canonical()),
            "metrics": {name: None if math.isnan(value) else value for name, value in result.metrics.items()},
            **circumstances,
        }
        (folder / "result.json").write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")


def load_run(root: Path, run_id: str) -> StoredRun | None:
    """A stored run, or None when there is none that can be read whole."""
    folder = root / run_id
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if record["format"] != FORMAT or record["run_id"] != run_id or not (folder / "model.safetensors").is_file():
            return None
        config = RunConfig.from_settings(record.pop("config"), f"{folder}/result.json")
        history = _from_csv((folder / "history.csv").read_text(encoding="utf-8"))
        metrics = {name: math.nan if value is None else float(value) for name, value in record.pop("metrics").items()}
        if len(history) != metrics["epochs_done"] or not (folder / "arrays.npz").is_file():
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    row = {**{k: v for k, v in record.items() if k != "format"}, **config.flat(), **metrics}
    return StoredRun(row, history, folder)


def sweep(root: Path) -> None:
    """Remove temporary folders that killed processes left behind, a day old or older."""
    for folder in root.glob(f"{TEMPORARY_PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another process swept it
            continue


def _to_csv(records: Iterable[dict[str, Any]]) -> str:
    """Records with the same keys as CSV, every float with all its digits."""
    rows = list(records)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: value if key == "epoch" else repr(float(value)) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _from_csv(text: str) -> list[dict[str, Any]]:
    """The inverse of :func:`_to_csv`."""
    return [
        {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]
