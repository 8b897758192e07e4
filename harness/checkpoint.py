"""Checkpoints: what a run that goes on needs, in files that it writes while it trains.

They lie in ``runs/RUN_ID.checkpoints/``. After CHECKPOINT_SECONDS of training a run writes ``running-N.safetensors``, N
the number of epochs done; the newest two stay, and none when the run is stored. ``epoch-N.safetensors`` are those that
the user asked for; they stay until the run is made afresh. A file is sealed: one that is damaged, or of another run, is
left alone and the next older one taken. Nothing in it is executed.

Shapes: as in :class:`harness.result.Progress`; weights as in a model file.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.diagnostics import Statistics
from harness.errors import UserError
from harness.files import write_atomic
from harness.modelfile import arrays_of, tensors, weights_of
from harness.network import Array
from harness.result import Progress, Snapshot
from kernels.model import State

FORMAT = 1  # raised when the meaning of a file changes: older ones are then ignored
CHECKPOINT_SECONDS = 30.0
LARGEST_SHARE = 0.01  # of a run's time that may go into writing checkpoints that nobody asked for
NEWEST = 2  # kept while a run goes on, so that one damaged file does not cost all
ENDING = ".checkpoints"
ENTRY, SEAL = "ablation-bench-checkpoint", "seal"  # of the metadata
_FILE = re.compile(r"(running|epoch)-(\d{1,10})\.safetensors")


class UnusableError(Exception):
    """A checkpoint that cannot be used, and why."""


@dataclass(frozen=True)
class Wishes:
    """What a request says of checkpoints: keep that of every N-th epoch; go on from that of an epoch. None: nothing."""

    every: int | None = None
    from_epoch: int | None = None


NO_WISHES = Wishes()


class Keeper:
    """Keeps the checkpoints of one run; an instance is what ``harness.trainer.train`` calls after every epoch.

    Parameters
    ----------
    runs_folder : Path
        Where runs are stored.
    run_id : str
        Whose checkpoints.
    wishes : Wishes
        Of the request.
    tell : callable
        Takes a line for the user.
    """

    def __init__(self, runs_folder: Path, run_id: str, wishes: Wishes, tell: Callable[[str], None]) -> None:
        self._folder, self._run_id, self._wishes, self._tell = runs_folder / f"{run_id}{ENDING}", run_id, wishes, tell
        self._due = time.monotonic() + CHECKPOINT_SECONDS
        self._writes = True

    def __call__(self, epoch: int, take: Callable[[], Progress]) -> None:
        """Write a checkpoint where one is due; a disk that refuses it costs nothing but a line."""
        kept = self._wishes.every is not None and epoch % self._wishes.every == 0
        start = time.monotonic()
        if not self._writes or not (kept or start >= self._due):
            return
        try:
            write(self._folder / f"{'epoch' if kept else 'running'}-{epoch}.safetensors", self._run_id, take())
        except UserError as error:
            self._writes = False
            self._tell(f"goes on without checkpoints: {error}")
        for path in _running(self._folder)[:-NEWEST]:
            with suppress(OSError):  # another command makes the same run
                path.unlink()
        end = time.monotonic()
        self._due = end + max(CHECKPOINT_SECONDS, (end - start) / LARGEST_SHARE)

    def load(self) -> Progress | None:
        """The newest checkpoint that can be used, or that of the epoch wished for; None where there is none."""
        for epoch, path in reversed(files(self._folder)):
            if self._wishes.from_epoch in (None, epoch):
                try:
                    return read(path, self._run_id)
                except UnusableError as error:
                    self._tell(f"the checkpoint of epoch {epoch} is ignored: {error}")
        return None


def begun(runs_folder: Path) -> dict[str, list[int]]:
    """By run, the epochs of its checkpoints, ascending; none is opened."""
    found = {path.name.removesuffix(ENDING): files(path) for path in runs_folder.glob(f"*{ENDING}")}
    return {name: sorted({epoch for epoch, _ in those}) for name, those in found.items() if those}


def pick(runs_folder: Path, run_id: str, wishes: Wishes) -> dict[str, bytes]:
    """What a run that is made elsewhere goes on from: the checkpoint that a `Keeper` would load, by its name."""
    for epoch, path in reversed(files(runs_folder / f"{run_id}{ENDING}")):
        with suppress(UnusableError, OSError):
            if wishes.from_epoch in (None, epoch) and read(path, run_id):
                return {path.name: path.read_bytes()}
    return {}


def put(runs_folder: Path, run_id: str, given: Mapping[str, bytes]) -> None:
    """Write checkpoints that come from elsewhere, by their names.

    Raises
    ------
    UserError
        When one cannot be written.
    """
    for name, content in given.items():
        if _FILE.fullmatch(name):
            write_atomic(runs_folder / f"{run_id}{ENDING}" / name, content)


def kept(runs_folder: Path, run_id: str) -> dict[str, bytes]:
    """Checkpoints of a run that the user asked for, by their names."""
    folder = runs_folder / f"{run_id}{ENDING}"
    return {path.name: path.read_bytes() for _, path in files(folder) if path not in _running(folder)}


def finish(runs_folder: Path, run_id: str) -> None:
    """Remove what only an unfinished run needs."""
    folder = runs_folder / f"{run_id}{ENDING}"
    running = _running(folder)
    if len(running) == len(files(folder)):
        forget(runs_folder, run_id)
    for path in running:
        with suppress(OSError):  # gone with the folder
            path.unlink()


def forget(runs_folder: Path, run_id: str) -> None:
    """Remove all checkpoints of a run."""
    shutil.rmtree(runs_folder / f"{run_id}{ENDING}", ignore_errors=True)


def files(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints in a folder with their epochs, the oldest first."""
    found = [(match, path) for path in folder.glob("*.safetensors") if (match := _FILE.fullmatch(path.name))]
    return sorted((int(match[2]), path) for match, path in found)


def _running(folder: Path) -> list[Path]:
    """Checkpoints that nobody asked for."""
    return [path for _, path in files(folder) if path.name.startswith("running")]


def write(path: Path, run_id: str, progress: Progress) -> None:
    """Write a checkpoint, whole or not at all.

    Raises
    ------
    UserError
        When it cannot be written.
    """
    from safetensors.numpy import save

    keys = list(progress.history[0])
    parts = {
        **tensors(progress.state.weights),
        **tensors(progress.best.weights, "best."),
        "best.val_confusion": progress.best.val_confusion,
        "history": np.array([[record[key] for key in keys] for record in progress.history], np.float64),
        **{f"statistics.{name}": array for name, array in vars(progress.statistics).items()},
    }
    for i, slot in enumerate(progress.state.slots):
        parts |= tensors(slot, f"slot{i}.")
    record = {
        "format": FORMAT,
        "run_id": run_id,
        "steps": progress.state.steps,
        "slots": len(progress.state.slots),
        "best_epoch": progress.best.epoch,
        "history": keys,
        "totals": progress.totals,
    }
    text = json.dumps(record, sort_keys=True, allow_nan=False)
    contiguous = {name: np.ascontiguousarray(array) for name, array in parts.items()}
    write_atomic(path, save(contiguous, metadata={ENTRY: text, SEAL: _seal(text, contiguous)}))


def read(path: Path, run_id: str) -> Progress:
    """Read a run's checkpoint.

    Raises
    ------
    UnusableError
        When it is damaged, of another run or of another version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            parts = arrays_of(file)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError):
        raise UnusableError("it is damaged") from None
    try:
        if metadata[SEAL] != _seal(metadata[ENTRY], parts):
            raise UnusableError("it is damaged")
        record = json.loads(metadata[ENTRY])
        if record["format"] != FORMAT or record["run_id"] != run_id:
            raise UnusableError(f"it is of another {'run' if record['format'] == FORMAT else 'version'}")
        return _progress(record, parts)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError):
        raise UnusableError("it is damaged") from None


def _progress(record: Mapping[str, Any], parts: Mapping[str, Array]) -> Progress:
    """Put what was written together again."""

    def under(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}

    own = {name: part for name, part in parts.items() if name[0].isdigit()}
    state = State(record["steps"], weights_of(own), [weights_of(under(f"slot{i}.")) for i in range(record["slots"])])
    best = under("best.")
    confusion = best.pop("val_confusion")
    history = [dict(zip(record["history"], line, strict=True)) for line in parts["history"].tolist()]
    for line in history:
        line["epoch"] = int(line["epoch"])
    snapshot = Snapshot(record["best_epoch"], weights_of(best), confusion)
    return Progress(state, history, Statistics(**under("statistics.")), snapshot, record["totals"])


def _seal(text: str, parts: Mapping[str, Array]) -> str:
    """The SHA-256 of a text and of tensors with their names, types and shapes."""
    digest = hashlib.sha256(text.encode())
    for name, part in sorted(parts.items()):
        digest.update(f"\n{name} {part.dtype} {part.shape}\n".encode())
        digest.update(part.tobytes())
    return digest.hexdigest()
