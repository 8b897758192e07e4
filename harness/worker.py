"""What a worker process does: train one run, put it on disk, say how it ended."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import events
from harness.cache import Dataset, open_cached
from harness.config import DataSettings, RunConfig
from harness.data import Split, make_split
from harness.diagnostics import layer_histograms
from harness.errors import UserError
from harness.extensions import load_extensions
from harness.store import save_run
from harness.trainer import Record, train
from harness.version import code_version
from kernels.model import LayerStatistics

PARENT_SECONDS = 0.5  # between looks at whether the parent is still there


@dataclass(frozen=True)
class Task:
    """One run to be made.

    Attributes
    ----------
    run_id, variant : str
        Its name, and what its study calls its cell.
    config : RunConfig
        All settings.
    data_folder : Path
        Decoded arrays of the data set, which every process maps into memory.
    runs_folder : Path
        Where finished runs go.
    extensions : tuple of Path
        Files that register activations, losses and optimizers.
    circumstances : dict
        Facts to be stored beside the result: ``jobs``, ``data_fingerprint``, ``code_version``.
    news : events.Address or None
        Where to send epochs.
    """

    run_id: str
    variant: str
    config: RunConfig
    data_folder: Path
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


def start(parent: int) -> None:
    """Ready a fresh worker: Ctrl-C is its parent's business, and it does not outlive that process, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def compile_kernels(need: tuple[str, str, str, str], extensions: Sequence[Path]) -> None:
    """Compile what one kind of run needs, or load it from the cache on disk, where other processes then find it."""
    from kernels import engine

    load_extensions(extensions)
    engine.compile_kernels(*need)


@functools.lru_cache(maxsize=1)
def _data(folder: Path) -> Dataset:
    return open_cached(folder)


@functools.lru_cache(maxsize=4)
def _split(folder: Path, settings: DataSettings) -> Split:
    return make_split(_data(folder), settings.split, settings.split_seed, settings.limit)


@functools.lru_cache(maxsize=1)
def _sender(news: events.Address | None) -> events.Sender:
    return events.Sender(news)


def execute(task: Task) -> Outcome:
    """Train a task's run and store it."""
    sender = _sender(task.news)

    histograms: dict[str, list[list[int]]] = {}

    def on_layers(layers: Sequence[LayerStatistics]) -> None:
        histograms.update(layer_histograms(layers))

    def on_epoch(record: Record) -> None:
        sender.send({"kind": "epoch", "run_id": task.run_id, **record, "histograms": histograms})

    sender.send({"kind": "start", "run_id": task.run_id, "variant": task.variant, "seed": task.config.seed})
    try:
        if task.circumstances["code_version"] != code_version():
            raise UserError("the code was edited while the study ran")
        load_extensions(task.extensions)
        split = _split(task.data_folder, task.config.data)
        result = train(task.config, _data(task.data_folder), split, on_epoch, on_layers)
        save_run(task.runs_folder, task.run_id, task.config, result, task.circumstances)
    except (Exception, SystemExit) as error:  # one run's failure must not take the study down: it becomes a reason
        return Outcome(task.run_id, "failed", _one_line(error))
    return Outcome(task.run_id, result.status, result.reason)


def _one_line(error: BaseException) -> str:
    """An exception's kind, unless it is one of ours, and its message."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).rstrip(":")
