"""One run: train a network as a configuration says, measure it, and go on where an earlier attempt was broken off.

Only the call that trains an epoch stands between the clocks; evaluating, with the look into the layers, and compiling
are timed apart.
Storing, scheduling and showing are left to others. Shapes: X (N, n_in) uint8, y (N,); a split names rows of X.
"""

from __future__ import annotations

import functools
import importlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.cache import Dataset
from harness.config import RunConfig
from harness.data import Split
from harness.diagnostics import (
    INSPECTED_ROWS,
    Histograms,
    Statistics,
    collect,
    join,
    layer_histograms,
    layer_scalars,
    past_histograms,
)
from harness.measure import confusion_of, figures, score, surest_errors
from harness.memory import peak_bytes, reset_peak
from harness.network import Array, initial_weights, stream
from harness.result import Measured, Progress, Record, RunResult, Snapshot
from kernels.model import LayerStatistics, Model
from kernels.schedules import learning_rates

ENGINE_MODULES = {"numba": "kernels.engine", "numpy": "kernels.reference"}


def make_engine(config: RunConfig, dataset: Dataset, split: Split) -> Any:
    """The engine that a configuration asks for, with its initial weights and input scaling."""
    dtype = np.dtype(config.precision)
    sizes = (dataset.X.shape[1], *config.hidden, len(dataset.class_names))
    model = Model(
        sizes=sizes,
        activation=config.activation,
        loss=config.loss,
        optimizer=config.optimizer.name,
        settings=config.optimizer.settings,
        l2=config.l2,
        label_smoothing=config.label_smoothing,
        dropout=config.dropout,
        clip_norm=config.clip_norm,
    )
    engine = importlib.import_module(ENGINE_MODULES[config.engine])
    scale, shift = input_scaling(dataset, split, config.data.standardise)
    return engine.Engine(model, initial_weights(sizes, config.init, config.seed, dtype), dtype, scale, shift)


def input_scaling(dataset: Dataset, split: Split, standardise: bool) -> tuple[Array, Array]:
    """(scale, shift) so that a network sees ``x * scale + shift``: x / 255, or zero mean and unit variance per pixel.

    Mean and variance come from the training split alone; a pixel that never changes is left at 0.
    """
    d = dataset.X.shape[1]
    if not standardise:
        return np.full(d, 1 / 255), np.zeros(d)
    total, squares = np.zeros(d), np.zeros(d)
    for start in range(0, len(split.train), 1000):  # in pieces: 50,000 x 3,072 pixels in float64 are 1.2 GB
        part = dataset.X[split.train[start : start + 1000]].astype(np.float64)
        total += part.sum(axis=0)
        squares += (part * part).sum(axis=0)
    mean = total / len(split.train)
    deviation = np.sqrt(np.maximum(squares / len(split.train) - mean * mean, 0.0))
    scale = np.divide(1.0, deviation, out=np.zeros(d), where=deviation > 1e-6)
    return scale, -mean * scale


def train(
    config: RunConfig, dataset: Dataset, split: Split, on_epoch: Callable[[Record], None] | None = None,
    on_histograms: Callable[[Histograms], None] | None = None, progress: Progress | None = None,
    on_progress: Callable[[int, Callable[[], Progress]], None] | None = None,
) -> RunResult:  # fmt: skip
    """Train and measure one run.

    Parameters
    ----------
    config : RunConfig
        All settings, with the seed.
    dataset, split
        Data and the rows of its parts.
    on_epoch : callable, optional
        Called with each epoch's record as soon as it exists; with those of a run that goes on first.
    on_histograms : callable, optional
        Called before that with what the epoch left in the layers.
    progress : Progress, optional
        Goes on from there, to the same result but for times and memory.
    on_progress : callable, optional
        Called after every epoch but the last one, with the number of epochs done and a function that copies what it
        takes to go on from here: to be called where that is to be kept.

    Returns
    -------
    RunResult
    """
    X, y = dataset.X, dataset.y.astype(np.int64)
    batch_size = config.batch_size
    steps_per_epoch = math.ceil(len(split.train) / batch_size)
    reset_peak()
    start = time.perf_counter()
    engine = make_engine(config, dataset, split)
    nothing = np.empty(0, np.int64)
    engine.train_epoch(X, y, nothing, batch_size, np.empty(0))  # compiles, or loads compiled code
    engine.evaluate(X, y, nothing)
    engine.inspect(X, y, split.train[:1])
    totals = {"resumed": 0, "eval_seconds": 0.0, "compile_seconds": time.perf_counter() - start, "peak_memory_bytes": 0}

    def tell(record: Record, histograms: Callable[[], Histograms]) -> None:
        if on_histograms is not None:
            on_histograms(histograms())
        if on_epoch is not None:
            on_epoch(record)

    history: list[Record] = []
    past: Statistics | None = None
    best: Snapshot | None = None
    if progress is not None:
        engine.restore(progress.state)
        history, past, best = list(progress.history), progress.statistics, progress.best
        totals = {name: value + progress.totals[name] for name, value in totals.items()}
        totals["resumed"] += 1
        for record in history:
            tell(record, functools.partial(past_histograms, past, record["epoch"]))
    train_seconds = history[-1]["train_seconds"] if history else 0.0
    inspections: list[list[LayerStatistics]] = []

    def take() -> Progress:
        assert best is not None
        return Progress(engine.state(), list(history), join(past, collect(inspections)), best, _with_peak(totals))

    status, reason = "done", ""
    for epoch in range(len(history), config.epochs):
        order = np.random.default_rng(stream(config.seed, "order", epoch)).permutation(split.train)
        dropout_seed = int(stream(config.seed, "dropout", epoch).generate_state(1, np.uint64)[0])
        lr = learning_rates(config.schedule.name, config.optimizer.lr, config.schedule.settings,
                            epoch * steps_per_epoch, steps_per_epoch, steps_per_epoch, config.epochs)  # fmt: skip
        start = time.perf_counter()
        result = engine.train_epoch(X, y, order, batch_size, lr, dropout_seed)
        end = time.perf_counter()
        train_seconds += end - start
        val = engine.evaluate(X, y, split.val)
        val_loss, val_accuracy = score(val, y[split.val])
        layers = engine.inspect(X, y, split.train[:INSPECTED_ROWS])
        record = {
            "epoch": epoch + 1,
            "train_loss": result.loss,
            "train_accuracy": result.accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "lr": float(lr[-1]),
            "penalty": _penalty(config, layers),
            "train_seconds": train_seconds,
            **layer_scalars(layers),
        }
        finite = result.finite and math.isfinite(val_loss)
        if finite and (best is None or val_accuracy > history[best.epoch - 1]["val_accuracy"]):
            best = Snapshot(epoch + 1, engine.weights(), confusion_of(val, y[split.val]))
        totals["eval_seconds"] += time.perf_counter() - end
        history.append(record)
        inspections.append(layers)
        tell(record, functools.partial(layer_histograms, layers))
        if not finite:
            where = "training" if not result.finite else "validation"
            status, reason = "diverged", f"the {where} loss was not finite in epoch {epoch + 1}"
            break
        if on_progress is not None and epoch + 1 < config.epochs:
            on_progress(epoch + 1, take)

    start = time.perf_counter()
    final = Snapshot(len(history), engine.weights(), confusion_of(val, y[split.val]))
    last = _measured(engine, dataset, split, y, final, history, status == "done")
    if best is None or best.epoch == last.epoch:
        chosen = last
    else:
        engine.set_weights(best.weights)
        chosen = _measured(engine, dataset, split, y, best, history, status == "done")
    totals["eval_seconds"] += time.perf_counter() - start
    run_totals = {
        "best_val_accuracy": chosen.metrics["val_accuracy"],
        "best_val_epoch": chosen.epoch if status == "done" else math.nan,
        "epochs_done": len(history),
        "train_seconds": train_seconds,
        "seconds_per_epoch": train_seconds / len(history),
        **_with_peak(totals),
    }
    return RunResult(status, reason, history, run_totals, join(past, collect(inspections)), last, chosen)


def _measured(
    engine: Any, dataset: Dataset, split: Split, y: Array, snapshot: Snapshot, history: Sequence[Record], done: bool
) -> Measured:
    """Measure the engine's network, a snapshot, on the test images; after the last epoch on the training images too."""
    test = engine.evaluate(dataset.X, y, split.test)
    confusion, nan = confusion_of(test, y[split.test]), math.nan
    metrics = figures("test", test, confusion)
    metrics |= {name: history[snapshot.epoch - 1][name] for name in ("val_accuracy", "val_loss")}
    train_loss, train_accuracy = nan, nan
    if snapshot.epoch == len(history):
        train_loss, train_accuracy = score(engine.evaluate(dataset.X, y, split.train), y[split.train])
    metrics |= {"train_accuracy": train_accuracy, "train_loss": train_loss}
    if not done:
        metrics = dict.fromkeys(metrics, nan)
    errors = surest_errors(test, split.test, y)
    return Measured(snapshot.epoch, snapshot.weights, metrics, confusion, snapshot.val_confusion, errors)


def _with_peak(totals: dict[str, float]) -> dict[str, float]:
    """The totals with the largest memory so far, which no later piece of a run makes smaller."""
    return {**totals, "peak_memory_bytes": max(totals["peak_memory_bytes"], peak_bytes())}


def _penalty(config: RunConfig, layers: Sequence[LayerStatistics]) -> float:
    """L2 penalty of the loss of a full mini-batch."""
    return config.l2 / (2 * config.batch_size) * sum(layer.weight.norm * layer.weight.norm for layer in layers)
