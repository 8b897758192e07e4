"""The records that every engine shares: what is trained, what an epoch gave, an evaluation, a look inside, the state.

`kernels.reference.Engine` (plain NumPy) and the compiled engine take the same `Model` and answer with the same
`EpochResult`, `Evaluation`, `LayerStatistics` and `State`, so either can stand in for the other. This module leaves to
others what the names mean: activations, losses and optimizers are looked up by the engine that is built, and an unknown
name fails there.

Shapes: N rows of data, m rows in a mini-batch, n_in features, n_out classes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 or float64


@dataclass(frozen=True)
class Model:
    """What is trained, and by which rule.

    Parameters
    ----------
    sizes : tuple of int
        ``(n_in, hidden ..., n_out)``; each at least 1. ``(n_in, n_out)`` is a network without a hidden layer.
    activation : str
        The activation of every hidden layer. The last layer gives logits and has none.
    loss : str
        ``cross_entropy``, ``mse``, ``mse_on_logits`` or a registered name.
    optimizer : str
        ``sgd``, ``momentum``, ``nesterov``, ``rmsprop``, ``adam``, ``adamw`` or a registered name.
    settings : mapping of str to float
        The optimizer's own settings, for example ``{"mu": 0.9}``; those that are missing take its defaults.
    l2 : float
        Strength of the penalty ``l2 / (2 m) * sum ||W||_F^2``; 0 is none.
    label_smoothing : float
        Share s of every label that training spreads over all n_out classes, in [0, 1): the targets are
        ``(1 - s) onehot(y) + s / n_out``. Above 0 only with a loss that takes such targets: ``cross_entropy``.
    dropout : float
        Probability that a hidden activation is dropped while training, in [0, 1).
    clip_norm : float or None
        Largest global norm of the gradients; None does not clip.

    Raises
    ------
    ValueError
        For fewer than two sizes, a size below 1, or a number outside the range named above.
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    settings: Mapping[str, float] = field(default_factory=dict, hash=False)
    l2: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        # The class is frozen, so the normalised copies go in by the back door.
        object.__setattr__(self, "sizes", tuple(operator.index(size) for size in self.sizes))
        object.__setattr__(self, "settings", dict(self.settings))
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"sizes {self.sizes}: need (n_in, hidden ..., n_out), each at least 1")
        if not 0 <= self.l2 < math.inf:
            raise ValueError(f"l2 {self.l2}: need a finite number, at least 0")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing {self.label_smoothing}: need a share in [0, 1)")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout}: need a probability in [0, 1)")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm {self.clip_norm}: need a number above 0, or None")
        for name, value in self.settings.items():
            if not math.isfinite(value):
                raise ValueError(f"{self.optimizer} setting {name} {value}: need a finite number")


@dataclass(frozen=True)
class EpochResult:
    """What one pass over the training rows gave, each mini-batch measured just before its update, dropout on.

    Attributes
    ----------
    loss : float
        Mean loss of the rows seen, against smoothed labels where the model smooths them, without the L2 penalty; NaN
        when there were none.
    accuracy : float
        Share of the rows seen that were classified correctly, in [0, 1]; NaN when there were none.
    steps : int
        Updates done. The mini-batch at which an epoch stopped is not among them.
    finite : bool
        False when the loss of a mini-batch was NaN or infinite: the epoch stopped there, before the update.
        ``loss`` is then not finite either.
    """

    loss: float
    accuracy: float
    steps: int
    finite: bool


@dataclass(frozen=True, eq=False)  # a generated == would ask an array for its truth
class Evaluation:
    """What the network says about given rows, dropout off.

    Attributes
    ----------
    loss : float
        Mean loss of the rows against the labels as they are, without the L2 penalty; NaN when there are none.
    predictions : ndarray of int64, shape (rows,)
        The class with the largest logit: the first one on a tie, never a NaN where there is a number, 0 where all
        are NaN.
    """

    loss: float
    predictions: np.ndarray
    logits: np.ndarray


SMALLEST_EXPONENT, LARGEST_EXPONENT = -32, 10  # of the powers of two between which histograms tell magnitudes apart


def histogram_edges() -> Array:
    """Edges of the bins of every histogram, ascending; float64, one more than there are bins (169).

    They are ``-1024, ..., -1.5 * 2^-32, -2^-32, 2^-32, 1.5 * 2^-32, 2 * 2^-32, 3 * 2^-32, ..., 1024``: two bins to the
    octave on either side of zero, and one around it. The same for weights, gradients and activations of every layer,
    epoch and variant, so that all can be compared and added. A magnitude counts to the bin whose inner edge, the one
    nearer to zero, it reaches; one beyond the outermost edges, infinity too, counts to the outermost bin; NaN to none.
    """
    octaves = 2.0 ** np.arange(SMALLEST_EXPONENT, LARGEST_EXPONENT)
    positive = np.append(np.stack([octaves, 1.5 * octaves], axis=1), 2.0**LARGEST_EXPONENT)
    return np.concatenate([-positive[::-1], positive])


@dataclass(frozen=True, eq=False)
class Summary:
    """The entries of an array in a few numbers; those that the entries overflow or that a NaN spoils are not finite.

    Attributes
    ----------
    mean, variance : float
        Of all entries; the variance has the number of entries as its divisor.
    largest : float
        Largest magnitude.
    norm : float
        Euclidean norm: the root of the sum of squares.
    histogram : ndarray of int64, shape (bins,)
        Entries per bin of :func:`histogram_edges`.
    """

    mean: float
    variance: float
    largest: float
    norm: float
    histogram: np.ndarray


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """One layer, seen on given rows with dropout off.

    Attributes
    ----------
    weight : Summary
        Of W.
    gradient : Summary
        Of dW of the rows' mean loss, as training takes it, plus its L2 term, without clipping.
    activation : Summary or None
        Of A, all rows; None for the last layer, which has none.
    dead_share : float or None
        Share of units, in [0, 1], whose activation is exactly 0 for every row; None for the last layer.
    """

    weight: Summary
    gradient: Summary
    activation: Summary | None
    dead_share: float | None


@dataclass(frozen=True, eq=False)
class State:
    """All that training changes: an engine that restores it goes on to the same bits as the one it was taken from.

    Attributes
    ----------
    steps : int
        Updates done so far.
    weights : list of (W, b)
        W (n_in, n_out) and b (n_out,) of each layer.
    slots : list of lists of (W, b)
        The optimizer's memory: for each slot what belongs to W and to b of each layer, of their shapes.
    """

    steps: int
    weights: list[tuple[np.ndarray, np.ndarray]]
    slots: list[list[tuple[np.ndarray, np.ndarray]]]
