"""One run: train a network as a configuration says, and measure it.

Only the call that trains an epoch stands between the clocks; evaluation and compiling are timed apart, looking into
the layers is not timed.
Storing, scheduling and showing are left to others. Shapes: X (N, n_in) uint8, y (N,); a split names rows of X.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.cache import Dataset
from harness.config import RunConfig
from harness.data import Split
from harness.diagnostics import INSPECTED_ROWS, Statistics, collect, layer_scalars
from harness.memory import peak_bytes, reset_peak
from harness.metrics import accuracy, confusion_matrix, macro
from harness.network import Array, Weights, initial_weights, stream
from kernels.model import Evaluation, LayerStatistics, Model
from kernels.schedules import learning_rates

Record = dict[str, Any]
SUREST_ERRORS = 32
ENGINE_MODULES = {"numba": "kernels.engine", "numpy": "kernels.reference"}


@dataclass
class RunResult:
    """What a run gave.

    Attributes
    ----------
    status : str
        ``done``, or ``diverged`` when a loss stopped being finite.
    reason : str
        Where it diverged; empty when done.
    history : list of dict
        A record per epoch: losses and accuracies in [0, 1], learning rate of the last step, penalty, cumulative
        train_seconds, and what :func:`harness.diagnostics.layer_scalars` gives per layer (from 1).
    metrics : dict of str to float
        Final figures; NaN where a diverged run has none.
    confusion, val_confusion : ndarray (classes, classes)
        Test and validation images by true class (row) and predicted class (column).
    surest_errors : ndarray (k, 4)
        The misclassified test images that the network was surest of, the surest first: row of X, true class, predicted
        class, probability of the predicted class.
    statistics : Statistics
        Histograms of weights, gradients and activations of each layer after each epoch.
    weights : list of (W, b)
        After the last epoch.
    """

    status: str
    reason: str
    history: list[Record]
    metrics: dict[str, float]
    confusion: Array
    val_confusion: Array
    surest_errors: Array
    statistics: Statistics = field(repr=False)
    weights: Weights = field(repr=False)


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
    on_layers: Callable[[Sequence[LayerStatistics]], None] | None = None,
) -> RunResult:  # fmt: skip
    """Train and measure one run.

    Parameters
    ----------
    config : RunConfig
        All settings, with the seed.
    dataset, split
        Data and the rows of its parts.
    on_epoch : callable, optional
        Called with each epoch's record as soon as it exists.
    on_layers : callable, optional
        Called before that with what the epoch left in the layers.

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
    compile_seconds = time.perf_counter() - start

    history: list[Record] = []
    inspections: list[list[LayerStatistics]] = []
    train_seconds = eval_seconds = 0.0
    status, reason = "done", ""
    for epoch in range(config.epochs):
        order = np.random.default_rng(stream(config.seed, "order", epoch)).permutation(split.train)
        dropout_seed = int(stream(config.seed, "dropout", epoch).generate_state(1, np.uint64)[0])
        lr = learning_rates(config.schedule.name, config.optimizer.lr, config.schedule.settings,
                            epoch * steps_per_epoch, steps_per_epoch, steps_per_epoch, config.epochs)  # fmt: skip
        start = time.perf_counter()
        result = engine.train_epoch(X, y, order, batch_size, lr, dropout_seed)
        end = time.perf_counter()
        train_seconds += end - start
        val = engine.evaluate(X, y, split.val)
        val_loss, val_accuracy = _score(val, y[split.val])
        inspections.append(engine.inspect(X, y, split.train[:INSPECTED_ROWS]))
        record = {
            "epoch": epoch + 1,
            "train_loss": result.loss,
            "train_accuracy": result.accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "lr": float(lr[-1]),
            "penalty": _penalty(config, inspections[-1]),
            "train_seconds": train_seconds,
            **layer_scalars(inspections[-1]),
        }
        eval_seconds += time.perf_counter() - end
        history.append(record)
        if on_layers is not None:
            on_layers(inspections[-1])
        if on_epoch is not None:
            on_epoch(record)
        if not (result.finite and math.isfinite(val_loss)):
            where = "training" if not result.finite else "validation"
            status, reason = "diverged", f"the {where} loss was not finite in epoch {epoch + 1}"
            break
    timings = {"train_seconds": train_seconds, "eval_seconds": eval_seconds, "compile_seconds": compile_seconds}
    val_confusion = confusion_matrix(y[split.val], val.predictions, len(dataset.class_names))
    return _finish(
        engine, dataset, split, y, history, timings, status, reason, val_confusion, collect(inspections)
    )  # fmt: skip


def _finish(
    engine: Any, dataset: Dataset, split: Split, y: Array, history: list[Record], timings: dict[str, float],
    status: str, reason: str, val_confusion: Array, statistics: Statistics,
) -> RunResult:  # fmt: skip
    """Measure the trained network on the test and the training split."""
    n_classes, nan = len(dataset.class_names), float("nan")
    start = time.perf_counter()
    test = engine.evaluate(dataset.X, y, split.test)
    test_loss, test_accuracy = _score(test, y[split.test])
    train_loss, train_accuracy = _score(engine.evaluate(dataset.X, y, split.train), y[split.train])
    timings["eval_seconds"] += time.perf_counter() - start
    confusion = confusion_matrix(y[split.test], test.predictions, n_classes)
    precision, recall, f1 = macro(confusion)
    done = status == "done"
    best = max(history, key=lambda record: _or_minus_infinity(record["val_accuracy"]))
    metrics = {
        "test_accuracy": accuracy(confusion) if done else nan,
        "test_loss": test_loss if done else nan,
        "test_precision_macro": precision if done else nan,
        "test_recall_macro": recall if done else nan,
        "test_f1_macro": f1 if done else nan,
        "val_accuracy": history[-1]["val_accuracy"] if done else nan,
        "best_val_accuracy": best["val_accuracy"] if done else nan,
        "best_val_epoch": best["epoch"] if done else nan,
        "train_accuracy": train_accuracy if done else nan,
        "train_loss": train_loss if done else nan,
        "epochs_done": len(history),
        "train_seconds": timings["train_seconds"],
        "seconds_per_epoch": timings["train_seconds"] / len(history),
        "eval_seconds": timings["eval_seconds"],
        "compile_seconds": timings["compile_seconds"],
        "peak_memory_bytes": peak_bytes(),
    }
    assert not done or test_accuracy == metrics["test_accuracy"]
    errors = _surest_errors(test, split.test, y)
    return RunResult(
        status, reason, history, metrics, confusion, val_confusion, errors, statistics, engine.weights()
    )  # fmt: skip


def _surest_errors(test: Evaluation, rows: Array, y: Array) -> Array:
    """The SUREST_ERRORS wrong predictions of highest probability, as the attribute of RunResult."""
    wrong = np.flatnonzero(test.predictions != y[rows])
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = test.logits[wrong].astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True, initial=-np.inf)
        probability = 1 / np.exp(shifted).sum(axis=1)  # of the largest logit, whose shifted value is 0
    first = np.argsort(-np.nan_to_num(probability), kind="stable")[:SUREST_ERRORS]
    chosen = wrong[first]
    return np.stack([rows[chosen], y[rows[chosen]], test.predictions[chosen], probability[first]], axis=1)


def _score(evaluation: Evaluation, labels: Array) -> tuple[float, float]:
    """Mean loss and share of right predictions."""
    return evaluation.loss, float(np.mean(evaluation.predictions == labels)) if len(labels) else float("nan")


def _or_minus_infinity(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _penalty(config: RunConfig, layers: Sequence[LayerStatistics]) -> float:
    """L2 penalty of the loss of a full mini-batch."""
    return config.l2 / (2 * config.batch_size) * sum(layer.weight.norm * layer.weight.norm for layer in layers)
