"""Classification metrics, all of them read off one confusion matrix.

Counting once and deriving the rest makes the metrics agree with each other, and the matrix is what a run stores.
Losses are left to the trainer, averages over seeds to ``harness.stats``.

Shapes: n samples, c classes; a confusion matrix is (c, c) with the true class in rows, the predicted one in columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Confusion = npt.NDArray[np.int64]
PerClass = npt.NDArray[np.float64]


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, n_classes: int) -> Confusion:
    """Count ``C[i, j]``, the samples of class i that were predicted as class j.

    Parameters
    ----------
    labels, predictions : (n,) integers in ``[0, n_classes)``
    n_classes : int
        Number of classes, those that do not occur included.

    Returns
    -------
    (n_classes, n_classes) int64

    Raises
    ------
    ValueError
        If the lengths differ or a class is out of range.
    """
    true, predicted = (
        _classes(values, name, n_classes) for values, name in ((labels, "label"), (predictions, "prediction"))
    )
    if true.shape != predicted.shape:
        raise ValueError(f"{true.size} labels but {predicted.size} predictions")
    counts = np.bincount(true * n_classes + predicted, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64, copy=False)


def accuracy(confusion: Confusion) -> float:
    """Fraction of samples on the diagonal, ``tr(C) / sum(C)``; NaN without samples."""
    total = int(confusion.sum())
    return int(np.trace(confusion)) / total if total else float("nan")


def precision_recall_f1(confusion: Confusion) -> tuple[PerClass, PerClass, PerClass]:
    """Compute precision, recall and F1 of each class.

    With true positives ``t = C[i, i]``, predicted ``p = sum_j C[j, i]`` and actual ``a = sum_j C[i, j]`` samples of
    class i: ``precision = t / p``, ``recall = t / a``, ``F1 = 2 t / (p + a)``. A quotient with denominator 0 is 0.

    Parameters
    ----------
    confusion : (c, c) integers

    Returns
    -------
    precision, recall, f1 : (c,) float64 each
    """
    hits = np.diagonal(confusion).astype(np.float64)
    predicted, actual = confusion.sum(axis=0), confusion.sum(axis=1)
    return _ratio(hits, predicted), _ratio(hits, actual), _ratio(2 * hits, predicted + actual)


def macro(confusion: Confusion) -> tuple[float, float, float]:
    """Compute precision, recall and F1 as plain means over the classes that occur among labels or predictions.

    A class that occurs in neither says nothing about the classifier and is left out, as scikit-learn's
    ``f1_score(labels, predictions, average="macro")`` does. NaN without samples. The F1 is the mean of the classes'
    F1, not the F1 of the two other means.
    """
    occurs = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
    if not occurs.any():
        return float("nan"), float("nan"), float("nan")
    precision, recall, f1 = (float(scores[occurs].mean()) for scores in precision_recall_f1(confusion))
    return precision, recall, f1


def _classes(values: npt.ArrayLike, name: str, n_classes: int) -> npt.NDArray[np.int64]:
    """Class indices as a flat int64 array, checked."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name}s must be a flat array of integers, not {array.dtype} of shape {array.shape}")
    wrong = array[(array < 0) | (array >= n_classes)]
    if wrong.size:
        raise ValueError(f"{name} {wrong[0]} is out of range; allowed: 0 to {n_classes - 1}")
    return array.astype(np.int64)


def _ratio(part: npt.NDArray[np.float64], whole: npt.NDArray[np.int64]) -> PerClass:
    """Elementwise quotient, 0 where the denominator is 0."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
