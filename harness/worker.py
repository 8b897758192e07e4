"""What a worker process does: train one run, or go on with it, put it on disk, say how it ended."""

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
from harness.cache import Dataset, open_cached, require_unchanged
from harness.checkpoint import NO_WISHES, Keeper, Wishes, finish
from harness.config import DataSettings, RunConfig
from harness.data import Split, make_split
from harness.diagnostics import Histograms
from harness.errors import UserError
from harness.extensions import load_extensions
from harness.locks import LOCK_PREFIX, held
from harness.memory import ran_out
from harness.pinning import pin
from harness.result import Record
from harness.store import load_run, save_run
from harness.trainer import train
from harness.version import code_version

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
    replaces : str
        Seal of the stored run that is to be made again; any other one that is there counts as made.
    wishes : checkpoint.Wishes
        What the request says of checkpoints.
    trial : str or None
        Name of the trial of a search that it is for: under it, it asks after each epoch whether to go on.
    """

    run_id: str
    variant: str
    config: RunConfig
    data_folder: Path
    runs_folder: Path
    extensions: tuple[Path, ...]
    circumstances: dict[str, Any]
    news: events.Address | None
    replaces: str = ""
    wishes: Wishes = NO_WISHES
    trial: str | None = None

    @property
    def lock(self) -> Path:
        """Held by the one process that makes the run."""
        return self.runs_folder / f"{LOCK_PREFIX}-{self.run_id}"

    @property
    def about(self) -> events.Event:
        """What all news of it say."""
        return {"run_id": self.run_id} if self.trial is None else {"run_id": self.run_id, "trial": self.trial}


@dataclass(frozen=True)
class Outcome:
    """How a task ended: ``done``, ``diverged`` (both on disk), or ``pruned``, ``failed`` (not on disk), and why."""

    run_id: str
    status: str
    reason: str = ""


def start(parent: int, workers: int) -> None:
    """Ready a fresh worker, one of so many, on a core of its own where that is of use.

    Ctrl-C is its parent's business, and it does not outlive that process, however it ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    pin(workers)


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


class _StoppedError(Exception):
    """The run is worth no further epoch."""


def execute(task: Task, sender: events.Sends | None = None) -> Outcome:
    """Train a task's run and store it, unless another process has made it by now.

    News goes to the sender, if one is given, or else to the task's address.
    """
    sender = sender or _sender(task.news)
    named = {**task.about, "variant": task.variant, "seed": task.config.seed}
    try:
        with held(task.lock, lambda holder: sender.send({"kind": "wait", **named, "holder": holder})):
            stored = load_run(task.runs_folder, task.run_id)
            if stored is not None and stored.seal != task.replaces:
                outcome = Outcome(task.run_id, stored.row["status"], stored.row["reason"])
            else:
                sender.send({"kind": "start", **named})
                outcome = _make(task, sender)
    except (Exception, SystemExit) as error:  # one run's failure must not take the study down: it becomes a reason
        return Outcome(task.run_id, "failed", one_line(error))
    _settle()
    return outcome


def _make(task: Task, sender: events.Sends) -> Outcome:
    histograms: Histograms = {}

    def on_epoch(record: Record) -> None:
        event = {"kind": "epoch", **task.about, **record, "histograms": histograms}
        if task.trial is None:
            sender.send(event)
        elif sender.ask(event):
            raise _StoppedError

    def tell(line: str) -> None:
        sender.send({"kind": "note", **task.about, "text": f"run {task.run_id}: {line}"})

    if task.circumstances["code_version"] != code_version():
        raise UserError("the code was edited while the study ran")
    dataset, split = data_of(task)
    require_unchanged(dataset)
    keeper = Keeper(task.runs_folder, task.run_id, task.wishes, tell)
    if (progress := keeper.load()) is not None:
        sender.send({"kind": "resumed", **task.about, "epoch": len(progress.history)})
    try:
        result = train(task.config, dataset, split, on_epoch, histograms.update, progress, keeper)
    except _StoppedError:
        finish(task.runs_folder, task.run_id)
        return Outcome(task.run_id, "pruned")
    require_unchanged(dataset)
    save_run(task.runs_folder, task.run_id, task.config, result, task.circumstances)
    finish(task.runs_folder, task.run_id)
    return Outcome(task.run_id, result.status, result.reason)


@functools.cache
def _settle() -> None:
    """Spare the garbage collector what a first run has loaded: loky calls it every second, for 40 ms each time."""
    gc.collect()
    gc.freeze()


def one_line(error: BaseException) -> str:
    """An exception's kind, unless it is one of ours, and its message; of too little memory, that first."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    if ran_out(error):
        text = f"out of memory: {text}"
    return " ".join(text.split()).rstrip(":")
