"""The records of a run: what it gave, its network after an epoch, and how far it has come.

Making them is left to ``harness.trainer``, keeping a result to ``harness.store``, keeping progress to
``harness.checkpoint``. Shapes: W (n_in, n_out), b (n_out,) of each layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from harness.diagnostics import Statistics
from harness.network import Array, Weights
from kernels.model import State

Record: TypeAlias = dict[str, Any]  # of one epoch


@dataclass(frozen=True)
class Measured:
    """A network as it was after one of a run's epochs, and what it is worth.

    Attributes
    ----------
    epoch : int
        Which epoch, from 1.
    weights : list of (W, b)
        Of each layer.
    metrics : dict of str to float
        Figures on the test and the validation images; those on the training images after the last epoch only. NaN where
        there are none: all of a diverged run's.
    confusion, val_confusion : ndarray (classes, classes)
        Test and validation images by true class (row) and predicted class (column).
    surest_errors : ndarray (k, 4)
        The misclassified test images that the network was surest of, the surest first: row of X, true class, predicted
        class, probability of the predicted class.
    """

    epoch: int
    weights: Weights = field(repr=False)
    metrics: dict[str, float]
    confusion: Array
    val_confusion: Array
    surest_errors: Array


@dataclass(frozen=True)
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
    totals : dict of str to float
        Figures of the run as a whole: its best epoch, times, memory; NaN where a diverged run has none.
    statistics : Statistics
        Histograms of weights, gradients and activations of each layer after each epoch.
    last, best : Measured
        After the last epoch, and after the first of those with the highest validation accuracy: the same object where
        they are the same epoch. A diverged run is not best where it diverged, unless it has no other epoch.
    """

    status: str
    reason: str
    history: list[Record]
    totals: dict[str, float]
    statistics: Statistics = field(repr=False)
    last: Measured
    best: Measured

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the run and of its last epoch."""
        return {**self.last.metrics, **self.totals}


@dataclass(frozen=True)
class Snapshot:
    """A network as it was after one of a run's epochs, from 1, with its confusion matrix on the validation images."""

    epoch: int
    weights: Weights = field(repr=False)
    val_confusion: Array


@dataclass(frozen=True)
class Progress:
    """A run after one of its epochs, with all that it takes to go on to the same bits as if it had never stopped.

    Random numbers need no place here: every epoch draws its own from the seed and its number.

    Attributes
    ----------
    state : State
        Of the engine.
    history, statistics
        As in :class:`RunResult`, of the epochs so far.
    best : Snapshot
        The best epoch among them.
    totals : dict of str to float
        ``eval_seconds``, ``compile_seconds`` and ``peak_memory_bytes`` so far, and ``resumed``: how often the run was
        taken up again.
    """

    state: State = field(repr=False)
    history: list[Record]
    statistics: Statistics = field(repr=False)
    best: Snapshot
    totals: dict[str, float]
