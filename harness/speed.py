"""How fast kinds of runs are on this machine: each measured for a moment, beside as many others as will run together.

A run's time follows from a few figures of its kind: seconds per mini-batch, per evaluated image, per epoch and per run
(:class:`Speed`). They do not depend on the seed, the learning rate or the number of epochs and images, so a few
moments tell how long a whole study takes. Where there are very many kinds, some are measured and the others follow
from the arithmetic that they need. Measured figures are kept for a day, by machine and code version.

What they add up to is left to ``harness.planner``.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from harness import cache, runner, worker
from harness.cache import Dataset
from harness.config import RunConfig
from harness.data import Split
from harness.diagnostics import INSPECTED_ROWS
from harness.errors import UserError, show
from harness.files import write_atomic
from harness.store import save_run
from harness.trainer import make_engine, train
from harness.version import code_version
from harness.worker import Task

MEASURED_SECONDS = 0.08  # of training a kind, and half of that of evaluating
MAX_KINDS = 24  # measured for one plan
KEPT_SECONDS = 24 * 3600.0
PREPARED_ROWS = 64  # of the short run that makes ready
OTHER_SECONDS = 0.008  # of a run: news, orders of images, a message there and back

Kind = tuple[Any, ...]


@dataclass(frozen=True)
class Speed:
    """What a kind of run takes on one worker, in seconds: per full mini-batch, evaluated image, epoch and run."""

    step_seconds: float
    row_seconds: float
    epoch_seconds: float
    run_seconds: float

    def run(self, epochs: int, steps: int, rows: Sequence[int]) -> float:
        """Seconds of a whole run.

        Parameters
        ----------
        epochs, steps
            How many, and mini-batches in each.
        rows
            Images to train, validate, test.
        """
        n_train, n_val, n_test = rows
        epoch = steps * self.step_seconds + n_val * self.row_seconds + self.epoch_seconds
        after = n_train + 2 * n_test  # of the last network, and of the best
        return epochs * epoch + after * self.row_seconds + self.run_seconds

    def scaled(self, factor: float) -> Speed:
        """The speed of a kind that needs ``factor`` times the arithmetic."""
        return Speed(
            self.step_seconds * factor, self.row_seconds * factor, self.epoch_seconds * factor, self.run_seconds
        )


def kind_of(config: RunConfig) -> Kind:
    """What the speed of a run depends on, beside the data set; the first entry is the list of widths."""
    return (
        *(tuple(config.hidden), config.batch_size, config.engine, config.precision, config.optimizer.name),
        *(config.activation, config.loss, config.dropout > 0, config.clip_norm is not None, config.data.standardise),
    )


def work(config: RunConfig, dataset: Dataset) -> float:
    """Arithmetic of a mini-batch, in multiplications or so."""
    sizes = (dataset.X.shape[1], *config.hidden, len(dataset.class_names))
    weights = sum(a * b for a, b in itertools.pairwise(sizes))
    # Three products; the optimizer's pass over the weights; activations and the like; what a step costs anyway.
    return float(weights * (3 * config.batch_size + 20) + 20 * config.batch_size * sum(sizes) + 20_000)


def measure(task: Task) -> Speed:
    """Measure the kind of a task in this process."""
    dataset, split = worker.data_of(task)
    config = task.config
    first = Split(split.train[:PREPARED_ROWS], split.val[:PREPARED_ROWS], split.test[:PREPARED_ROWS])
    short = config.model_copy(update={"epochs": 1})
    result = train(short, dataset, first)  # loads the kernels
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        save_run(Path(folder), "run", short, replace(result, best=replace(result.last)), {})  # both networks
    engine = make_engine(config, dataset, split)
    made_seconds = time.perf_counter() - start
    X, y = dataset.X, dataset.y.astype(np.int64)

    def steps(n: int) -> None:
        order = split.train[: n * config.batch_size]
        n_steps = -(-len(order) // config.batch_size)
        engine.train_epoch(X, y, order, config.batch_size, np.full(n_steps, config.optimizer.lr))

    def rows(n: int) -> None:
        engine.evaluate(X, y, split.train[:n])

    most = max(1, len(split.train) // config.batch_size)
    step = _per_item(steps, 2, most, MEASURED_SECONDS)
    row = _per_item(rows, 128, len(split.train), MEASURED_SECONDS / 2)
    start_inspection = time.perf_counter()
    for _ in range(2):
        engine.inspect(X, y, split.train[:INSPECTED_ROWS])
        engine.weights()  # kept of the best epoch so far
    inspection = (time.perf_counter() - start_inspection) / 2
    return Speed(step, row, inspection, made_seconds + OTHER_SECONDS)


def _per_item(act: Callable[[int], None], few: int, most: int, seconds: float) -> float:
    """Seconds per item of something that takes a number of them, measured for about so long."""
    n, taken = min(few, most), 0.0
    act(n)  # the first time, caches are cold
    while True:
        start = time.perf_counter()
        act(n)
        taken = time.perf_counter() - start
        if taken >= seconds / 2 or n == most:
            return taken / n
        n = min(most, max(2 * n, int(n * seconds / max(taken, 1e-6))))


def chosen(configs: Mapping[Kind, RunConfig], dataset: Dataset) -> list[Kind]:
    """The kinds to be measured: all, or of very many some that are spread over the range of their work."""
    ordered = sorted(configs, key=lambda kind: work(configs[kind], dataset))
    if len(ordered) <= MAX_KINDS:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (MAX_KINDS - 1))] for i in range(MAX_KINDS)]


def complete(measured: Mapping[Kind, Speed], configs: Mapping[Kind, RunConfig], dataset: Dataset) -> dict[Kind, Speed]:
    """Speeds of all kinds: a kind that was not measured goes by its work and the measured kind most like it."""
    speeds = dict(measured)
    for kind, config in configs.items():
        if kind not in speeds and measured:
            own = work(config, dataset)

            def unlike(other: Kind, kind: Kind = kind, own: float = own) -> tuple[int, float]:
                differing = sum(a != b for a, b in zip(kind[1:], other[1:], strict=True))
                return differing, abs(math.log(own / work(configs[other], dataset)))

            nearest = min((each for each in measured if each in configs), key=unlike)
            speeds[kind] = measured[nearest].scaled(own / work(configs[nearest], dataset))
    return speeds


@functools.cache
def _machine() -> list[Any]:
    """What tells machines apart whose speeds differ."""
    from harness.outputs import cpu_name

    return [platform.node(), cpu_name(), os.cpu_count()]


def _file(dataset: Dataset, jobs: int) -> Path:
    """Where speeds on this machine are kept."""
    facts = [code_version(), *_machine(), jobs, dataset.X.shape[1], len(dataset.class_names)]
    return cache.cache_folder() / "speeds" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.json"


def of_tasks(
    tasks: Sequence[Task], dataset: Dataset, jobs: int, measure_them: Callable[[Sequence[Task]], list[Speed]]
) -> dict[Kind, Speed]:
    """Speeds of all kinds of runs among tasks: those that are kept from before, and others measured now.

    Parameters
    ----------
    tasks
        Runs to be made.
    dataset
        What they train on.
    jobs
        Runs that will go on side by side, as measurements do.
    measure_them
        Measures tasks, one of each kind; called if there are any.
    """
    by_kind = {kind_of(task.config): task for task in tasks}
    configs = {kind: task.config for kind, task in by_kind.items()}
    kept = {kind: Speed(**entry["speed"]) for kind, entry in _kept(dataset, jobs).items()}
    speeds = {kind: kept[repr(kind)] for kind in configs if repr(kind) in kept}
    wanted = [kind for kind in chosen(configs, dataset) if kind not in speeds]
    if wanted:
        measured = measure_them([by_kind[kind] for kind in wanted])
        new = dict(zip(wanted, measured, strict=True))
        _keep(dataset, jobs, new)
        speeds |= new
    return complete(speeds, configs, dataset)


def measure_all(tasks: Sequence[Task], pool: runner.Pool, on_poll: Callable[[int, int], Any]) -> list[Speed]:
    """Measure tasks with all workers of a pool busy; the mean of several measurements where there are few tasks.

    Raises
    ------
    UserError
        Where a kind of run cannot be made at all.
    """
    turns = max(1, math.ceil(2 * pool.jobs / len(tasks)))
    try:
        futures = runner.each(measure, [(task,) for task in tasks] * turns, pool, on_poll)
    except BrokenProcessPool:
        raise UserError("a worker died while speeds were measured; out of memory? Try fewer --jobs") from None
    found = []
    for i, task in enumerate(tasks):
        answers = futures[i :: len(tasks)]
        errors = [error for error in (answer.exception() for answer in answers) if error is not None]
        if errors:
            raise UserError(f"variant {show(task.variant)} cannot be run: {worker.one_line(errors[0])}")
        results = [answer.result() for answer in answers]
        found.append(Speed(*(fmean(getattr(each, name) for each in results) for name in Speed.__dataclass_fields__)))
    return found


def _kept(dataset: Dataset, jobs: int) -> dict[str, Any]:
    """Speeds that were measured within a day, by the text of their kind."""
    now = time.time()
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        entries = json.loads(_file(dataset, jobs).read_text())
        return {kind: entry for kind, entry in entries.items() if 0 <= now - entry["time"] <= KEPT_SECONDS}
    return {}


def _keep(dataset: Dataset, jobs: int, speeds: Mapping[Kind, Speed]) -> None:
    """Keep speeds for the next plan; where the cache cannot be written, do not."""
    new = {repr(kind): {"speed": asdict(speed), "time": time.time()} for kind, speed in speeds.items()}
    with suppress(UserError):
        write_atomic(_file(dataset, jobs), json.dumps({**_kept(dataset, jobs), **new}).encode())
