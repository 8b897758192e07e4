"""What a worker process does: train one run, put it on disk, say how it ended."""

from __future__ import annotations

import functools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import events
from harness.config import DataSettings, RunConfig
from harness.data import Dataset, Split, make_split, open_cached
from harness.store import save_run
from harness.study import load_extensions
from harness.trainer import Record, train


@dataclass(frozen=True)
class Task:
    """One run to be made.

    Attributes
    ----------
    run_id, variant : str
        Its name, and what its study calls its cell.
    config : RunConfig
        All settings.
    dataset : Dataset
        Travels as the folder of its decoded arrays, which every process maps into memory.
    runs_folder : Path
        Where finished runs go.
    extensions : tuple of Path
        Files that register activations, losses and optimizers.
    circumstances : dict
        Facts to be stored beside the result (jobs, fingerprints).
    news : events.Address or None
        Where to send epochs.
    """

    run_id: str
    variant: str
    config: RunConfig
    dataset: Dataset
    runs_folder: Path
    extensions: tuple[Path, ...]
    circumstances: dict[str, Any]
    news: events.Address | None


@dataclass(frozen=True)
class Outcome:
    """How a task ended: ``done``, ``diverged`` (both on disk) or ``failed`` with its reason (not on disk)."""

    run_id: str
    status: str
    reason: str = ""


def start() -> None:
    """Ready a fresh worker: Ctrl-C is the parent's business, which then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def ready() -> int:
    """Do nothing, in a process that has imported all it needs."""
    return os.getpid()


@functools.lru_cache(maxsize=4)
def _split(folder: Path, settings: DataSettings) -> Split:
    return make_split(open_cached(folder), settings.split, settings.split_seed, settings.limit)


@functools.lru_cache(maxsize=1)
def _sender(news: events.Address | None) -> events.Sender:
    return events.Sender(news)


def execute(task: Task) -> Outcome:
    """Train a task's run and store it."""
    sender = _sender(task.news)

    def on_epoch(record: Record) -> None:
        sender.send({"kind": "epoch", "run_id": task.run_id, **record})

    sender.send({"kind": "start", "run_id": task.run_id, "variant": task.variant, "seed": task.config.seed})
    try:
        load_extensions(task.extensions)
        result = train(task.config, task.dataset, _split(task.dataset.folder, task.config.data), on_epoch)
        save_run(task.runs_folder, task.run_id, task.config, result, task.circumstances)
    except Exception as error:  # one run's failure must not take the study down: it becomes its row's reason
        return Outcome(task.run_id, "failed", f"{type(error).__name__}: {error}".splitlines()[0])
    return Outcome(task.run_id, result.status, result.reason)
