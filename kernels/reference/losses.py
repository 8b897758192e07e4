"""Losses: one number that says how wrong the network is, and the direction in which it would be less wrong.

The last layer hands out logits, raw scores without an activation. A loss compares them with the targets, the labels
written one-hot: label 2 of 4 classes is the row 0 0 1 0. It gives two things: the sum of the losses of the rows, and
the gradient of the *mean* loss of the batch with respect to the logits, which is where back-propagation starts. Sums
run in float64 whatever the working dtype, as a sum over many rows would otherwise lose digits; gradients keep the
dtype of the logits. The L2 penalty is no part of it (see `network`).

Shapes: logits, targets, probabilities and gradients are (m, k), m rows and k classes; labels are (m,).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from kernels.model import Array
from kernels.reference.activations import Softmax

_softmax = Softmax()


def one_hot(labels: np.ndarray, n_classes: int, dtype: Any = np.float64) -> Array:
    """Return the rows of the identity matrix that the labels name.

    Parameters
    ----------
    labels : ndarray of int, shape (m,)
        Class of each row, 0 <= label < n_classes.
    n_classes : int
        Number of classes k.
    dtype : dtype
        Of the result.

    Returns
    -------
    ndarray, shape (m, k)
        1 in column ``labels[i]`` of row i, 0 elsewhere.

    Raises
    ------
    ValueError
        For a label outside the range (a negative one would silently count from the end).
    """
    labels = np.asarray(labels)
    wrong = (labels < 0) | (labels >= n_classes)
    if wrong.any():
        raise ValueError(f"label {labels[wrong][0]}: need 0 to {n_classes - 1}")
    rows: Array = np.eye(n_classes, dtype=dtype)[labels]  # (k, k)[(m,)] -> (m, k)
    return rows


def smooth(targets: Array, share: float) -> Array:
    """Return (1 - s) y + s / k: the share s of every target, spread evenly over all k classes.

    Against one-hot targets the cross-entropy falls as long as the logit of the true class moves away from the others,
    so the network grows ever surer, also where it is wrong. Against smoothed ones it is least at a finite distance,
    where p equals the target (Szegedy et al., 2016, section 7).

    Parameters
    ----------
    targets : ndarray, shape (m, k)
        Rows that add up to 1.
    share : float
        s, in [0, 1).

    Returns
    -------
    ndarray, shape (m, k)
        Rows that add up to 1; for s = 0 the targets themselves.
    """
    return (1 - share) * targets + share / targets.shape[1]


def predict(logits: Array) -> np.ndarray:
    """Return the class with the largest logit in each row, (m, k) -> (m,) int64.

    The first one wins a tie; a NaN never wins over a number; a row of NaN alone gives class 0.
    """
    best = np.fmax.reduce(logits, axis=1, keepdims=True)  # (m, k) -> (m, 1); fmax passes over NaN
    return np.asarray(np.argmax(logits == best, axis=1), dtype=np.int64)  # (m, k) -> (m,); nothing equals NaN


class Loss(ABC):
    """A loss of logits and targets, and its gradient.

    Attributes
    ----------
    smooths : bool
        Whether training may smooth the targets; the compiled kernels do so for cross-entropy alone.
    """

    smooths = False

    @abstractmethod
    def total(self, logits: Array, targets: Array) -> float:
        """Return the sum of the losses of the rows, (m, k), (m, k) -> float64."""

    @abstractmethod
    def gradient(self, logits: Array, targets: Array) -> Array:
        """Return the gradient of the mean, d(total / m) / d logits, (m, k)."""


class CrossEntropy(Loss):
    """L = -sum_k y_k log p_k with p = softmax(z), from the logits z (Bishop, 2006, eq. 4.108).

    The logarithm is taken before anything can underflow: log p_k = (z_k - max z) - log sum_j exp(z_j - max z).
    """

    smooths = True

    def total(self, logits: Array, targets: Array) -> float:
        """Return the sum of -log p of the true classes."""
        shifted = logits - logits.max(axis=1, keepdims=True)  # (m, k) - (m, 1) -> (m, k)
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (m, k) -> (m, 1)
        log_p = shifted - log_sum  # (m, k) - (m, 1) -> (m, k)
        # Where the target is 0 the term is 0, even if p is so small that log p is -inf.
        rows = -np.sum(targets * log_p, axis=1, where=targets > 0)  # (m, k) -> (m,)
        return float(rows.sum(dtype=np.float64))  # (m,) -> scalar

    def gradient(self, logits: Array, targets: Array) -> Array:
        """Return (p - y) / m (Bishop, 2006, eq. 4.109).

        The logarithm and the softmax undo each other: dL/dz_j = sum_k (p_j - delta_jk) y_k = p_j - y_j. However wrong
        an answer is, its gradient does not vanish.
        """
        return (_softmax.forward(logits) - targets) / len(logits)


class MeanSquaredError(Loss):
    """L = 1/2 sum_k (p_k - y_k)^2 with p = softmax(z): half the score of Brier (1950)."""

    def total(self, logits: Array, targets: Array) -> float:
        """Return half the sum of all squared errors of the probabilities."""
        error = _softmax.forward(logits) - targets
        rows = 0.5 * np.sum(error * error, axis=1)  # (m, k) -> (m,)
        return float(rows.sum(dtype=np.float64))  # (m,) -> scalar

    def gradient(self, logits: Array, targets: Array) -> Array:
        """Return J (p - y) / m, J the Jacobian of the softmax.

        J shrinks where p is close to 0 or 1, so a network that is wrong and sure of it learns little. That is what
        sets this loss apart from cross-entropy.
        """
        p = _softmax.forward(logits)
        return _softmax.backward(logits, p, (p - targets) / len(logits))


class MeanSquaredErrorOnLogits(Loss):
    """L = 1/2 sum_k (z_k - y_k)^2: least squares on the raw scores (Bishop, 2006, section 4.1.3)."""

    def total(self, logits: Array, targets: Array) -> float:
        """Return half the sum of all squared errors of the logits."""
        error = logits - targets
        rows = 0.5 * np.sum(error * error, axis=1)  # (m, k) -> (m,)
        return float(rows.sum(dtype=np.float64))  # (m,) -> scalar

    def gradient(self, logits: Array, targets: Array) -> Array:
        """Return (z - y) / m."""
        return (logits - targets) / len(logits)


class RegisteredLoss(Loss):
    """A loss that somebody added to `kernels.losses.LOSSES`.

    Parameters
    ----------
    entry : object
        Has ``kernel(logits, labels, dlogits) -> float``: returns the sum of the losses of the rows and writes their
        gradients, not yet divided by m, into dlogits.
    """

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def total(self, logits: Array, targets: Array) -> float:
        """Return the sum that the kernel returns."""
        return self._run(logits, targets)[0]

    def gradient(self, logits: Array, targets: Array) -> Array:
        """Return what the kernel writes, divided by m."""
        return self._run(logits, targets)[1] / len(logits)

    def _run(self, logits: Array, targets: Array) -> tuple[float, Array]:
        """Call the kernel on labels in place of one-hot rows."""
        dlogits = np.zeros_like(logits)
        total = self.entry.kernel(logits, targets.argmax(axis=1), dlogits)  # (m, k) -> (m,)
        return float(total), dlogits


LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "mse": MeanSquaredError,
    "mse_on_logits": MeanSquaredErrorOnLogits,
}


def get_loss(name: str) -> Loss:
    """Return the loss of that name: one of this module, else one that was registered.

    Raises
    ------
    ValueError
        For an unknown name; the message lists the known ones.
    """
    if name in LOSSES:
        return LOSSES[name]()
    from kernels.losses import LOSSES as REGISTERED  # the compiled side, needed for added names only

    if name in REGISTERED:
        return RegisteredLoss(REGISTERED[name])
    raise ValueError(f"unknown loss {name!r}; allowed: {', '.join(sorted({*LOSSES, *REGISTERED}))}")
