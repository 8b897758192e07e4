"""Results on disk: one folder per run, written whole or not at all, and read back with every figure as it was.

``runs/RUN_ID/`` holds ``result.json`` (status, configuration, metrics, circumstances), ``history.csv`` and
``statistics.npz``, and the folders ``last`` and ``best``, one for the network after the last epoch and one for that
after the best, each with ``model.safetensors`` and ``arrays.npz``. A seal over all of these shows whether they are as
they were written: a run that was cut off or edited counts as none. Which study asked for a run is not stored: any study
that names the same run finds it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import memory
from harness.config import RunConfig
from harness.diagnostics import Statistics
from harness.errors import UserError
from harness.files import new_folder
from harness.modelfile import metrics_from_json, metrics_to_json, save_model
from harness.network import Array
from harness.result import Measured, RunResult
from harness.studyfile import SELECTIONS

RECORD = "result.json"
FORMAT = 4  # raised when a file's meaning changes: older folders are then computed again
MEASURED = ("model.safetensors", "arrays.npz")  # of the last epoch and of the best
MODEL_FACTS = ("data_fingerprint", "code_version")  # circumstances that a model file names too
SEALED = ("statistics.npz", "history.csv", *(f"{select}/{name}" for select in SELECTIONS for name in MEASURED))


@dataclass(frozen=True)
class StoredRun:
    """A run read back.

    Attributes
    ----------
    row : dict
        Its figures, flat; those of the selected epoch's network among them.
    history : list of dict
        Its epochs.
    folder : Path
        Where the rest lies.
    select : str
        ``last`` or ``best``: the epoch whose network is reported.
    seal : str
        What it was sealed with.
    """

    row: dict[str, Any]
    history: list[dict[str, Any]]
    folder: Path
    select: str = "last"
    seal: str = ""

    def arrays(self, *names: str) -> dict[str, Array]:
        """Those named of ``confusion``, ``val_confusion``, ``surest_errors``, ``first_layer``; without names, all."""
        return load_arrays(self.folder, self.select, *names)


def save_run(root: Path, run_id: str, config: RunConfig, result: RunResult, circumstances: dict[str, Any]) -> None:
    """Write a run's folder under ``root``, whole or not at all.

    Raises
    ------
    UserError
        When the folder cannot be written.
    """
    settings = json.loads(config.canonical())
    with new_folder(root / run_id) as folder:
        facts = {"run_id": run_id, "config": settings, **{name: circumstances.get(name, "") for name in MODEL_FACTS}}
        _write_measured(folder / "last", result.last, facts)
        if result.best is result.last:
            shutil.copytree(folder / "last", folder / "best", copy_function=_link)
        else:
            _write_measured(folder / "best", result.best, facts)
        np.savez_compressed(folder / "statistics.npz", **vars(result.statistics))
        (folder / "history.csv").write_text(_to_csv(result.history), encoding="utf-8", newline="")
        record = {
            "format": FORMAT,
            "run_id": run_id,
            "status": result.status,
            "reason": result.reason,
            "config": settings,
            "metrics": metrics_to_json(result.totals),
            "last": metrics_to_json(result.last.metrics),
            "best": metrics_to_json(result.best.metrics),
            **circumstances,
        }
        record["seal"] = _seal(folder, record)
        (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")


def _write_measured(folder: Path, measured: Measured, facts: dict[str, Any]) -> None:
    """Write a network after some epoch into a folder of its own."""
    folder.mkdir()
    reported = {**facts, "epoch": measured.epoch, "metrics": metrics_to_json(measured.metrics)}
    save_model(folder / "model.safetensors", measured.weights, reported)
    with np.errstate(over="ignore"):  # weights of a diverged run
        first_layer = measured.weights[0][0].astype(np.float16)  # for pictures; the model file has all digits
    np.savez_compressed(
        folder / "arrays.npz",
        confusion=measured.confusion,
        val_confusion=measured.val_confusion,
        surest_errors=measured.surest_errors,
        first_layer=first_layer,
    )


def _link(source: str, target: str) -> None:
    """Give a file a second name, which takes no space; copy it where a disk knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def load_run(root: Path, run_id: str, select: str = "last") -> StoredRun | None:
    """A stored run as its ``last`` or ``best`` epoch left it, or None when there is none, or not as it was written."""
    folder = root / run_id
    while True:
        before = _identity(folder)
        run = _read(folder, run_id, select)
        if run is not None or _identity(folder) == before:  # else it was replaced while it was read
            return run


def read_files(root: Path, run_id: str) -> dict[str, bytes]:
    """The files of a stored run by their names in its folder, to be sent elsewhere; equal ones are one object."""
    contents: dict[bytes, bytes] = {}
    files = {name: (root / run_id / name).read_bytes() for name in (*SEALED, RECORD)}
    return {name: contents.setdefault(content, content) for name, content in files.items()}


def adopt_run(root: Path, run_id: str, files: Mapping[str, bytes]) -> None:
    """Write a run that was made elsewhere under ``root``, whole or not at all.

    Raises
    ------
    UserError
        When it is not as it was written there, or the folder cannot be written.
    """
    written: dict[bytes, Path] = {}
    with new_folder(root / run_id) as folder:
        for name in (*SEALED, RECORD):
            path, content = folder / name, files.get(name, b"")
            path.parent.mkdir(exist_ok=True)
            if content in written:
                _link(str(written[content]), str(path))
            else:
                path.write_bytes(content)
                written[content] = path
        if _read(folder, run_id, "last") is None:
            raise UserError(f"run {run_id} did not arrive as it was written")


def _identity(folder: Path) -> tuple[int, ...]:
    """What tells a folder from the one that takes its place; empty where there is none."""
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _read(folder: Path, run_id: str, select: str) -> StoredRun | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        seal = record.pop("seal")
        if record["format"] != FORMAT or record["run_id"] != run_id or seal != _seal(folder, record):
            return None
        config = RunConfig.from_settings(record.pop("config"), f"{folder}/result.json")
        history = load_history(folder)
        figures = load_metrics(record, select)
        for key in ("format", "metrics", *SELECTIONS):
            del record[key]
    except Exception as error:  # whatever these files hold
        if memory.ran_out(error):
            raise
        return None
    return StoredRun({**record, **config.flat(), **figures}, history, folder, select, seal)


def load_history(folder: Path) -> list[dict[str, Any]]:
    """Epochs of a stored run, from its folder."""
    return _from_csv((folder / "history.csv").read_text(encoding="utf-8"))


def load_metrics(record: dict[str, Any], select: str) -> dict[str, Any]:
    """Figures of a run and of its selected network, and which that is, from the content of ``result.json``."""
    return {"select": select, **metrics_from_json(record[select]), **metrics_from_json(record["metrics"])}


def load_arrays(folder: Path, select: str, *names: str) -> dict[str, Array]:
    """Arrays of a stored run, from its folder, as `StoredRun.arrays` gives them."""
    return _load_npz(folder / select / "arrays.npz", *names)


def load_statistics(folder: Path) -> Statistics:
    """Histograms of a stored run's layers, from its folder."""
    return Statistics(**_load_npz(folder / "statistics.npz"))


def _load_npz(path: Path, *names: str) -> dict[str, Array]:
    """Arrays of a file, or only those named; objects, which would have to be unpickled, are refused.

    Raises
    ------
    UserError
        When the file is gone or damaged: somebody was at it after the run was read.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}
    except Exception as error:  # bytes that are no arrays make NumPy raise nearly anything
        if memory.ran_out(error):
            raise
        raise UserError(f"{path} was removed or damaged under way; start again to have it made again") from error


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
