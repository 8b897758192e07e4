"""What a worker process does: train one run, put it on disk, say how it ended."""

from __future__ import annotations

import functools
import gc
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

Kind = tuple[str, str, str, str]  # of run: activation, loss, optimizer, precision

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


def kernel_parts(kinds: Sequence[Kind], extensions: Sequence[Path]) -> list[tuple[Kind, tuple[str, ...]]]:
    """Name the parts of compiled code that kinds of run need, each once, with a kind that needs it."""
    from kernels import engine

    load_extensions(extensions)
    return list({key: (kind, key) for kind in kinds for key in engine.kernel_parts(*kind)}.values())


def compile_part(kind: Kind, key: tuple[str, ...], extensions: Sequence[Path]) -> None:
    """Compile one part, or load it from the cache on disk, where other processes then find it."""
    from kernels import engine

    load_extensions(extensions)
    engine.kernel_parts(*kind)[key]()


@functools.lru_cache(maxsize=1)
def _data(folder: Path) -> Dataset:
    return open_cached(folder)


@functools.lru_cache(maxsize=4)
def _split(folder: Path, settings: DataSettings) -> Split:
    return make_split(_data(folder), settings.split, settings.split_seed, settings.limit)


@functools.lru_cache(maxsize=1)
def _sender(news: events.Address | None) -> events.Sender:
    return events.Sender(news)


def data_of(task: Task) -> tuple[Dataset, Split]:
    """Images and split of a task; its extensions are known from here on."""
    load_extensions(task.extensions)
    return _data(task.data_folder), _split(task.data_folder, task.config.data)


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
        dataset, split = data_of(task)
        result = train(task.config, dataset, split, on_epoch, on_layers)
        save_run(task.runs_folder, task.run_id, task.config, result, task.circumstances)
    except (Exception, SystemExit) as error:  # one run's failure must not take the study down: it becomes a reason
        return Outcome(task.run_id, "failed", one_line(error))
    _settle()
    return Outcome(task.run_id, result.status, result.reason)


@functools.cache
def _settle() -> None:
    """Spare the garbage collector what a first run has loaded: loky calls it every second, for 40 ms each time."""
    gc.collect()
    gc.freeze()


def one_line(error: BaseException) -> str:
    """An exception's kind, unless it is one of ours, and its message."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).rstrip(":")
