"""What a network is worth on given images: its figures, its confusion matrix, and the errors it was surest of.

Everything is read off one evaluation by an engine. Shapes: n images, c classes.
"""

from __future__ import annotations

import numpy as np

from harness.metrics import Confusion, accuracy, confusion_matrix, macro
from harness.network import Array
from kernels.model import Evaluation

SUREST_ERRORS = 32


def figures(part: str, evaluation: Evaluation, confusion: Confusion) -> dict[str, float]:
    """``test_accuracy``, ``test_loss`` and macro ``test_precision_macro``, …, for the part called so."""
    precision, recall, f1 = macro(confusion)
    return {
        f"{part}_accuracy": accuracy(confusion),
        f"{part}_loss": evaluation.loss,
        f"{part}_precision_macro": precision,
        f"{part}_recall_macro": recall,
        f"{part}_f1_macro": f1,
    }


def confusion_of(evaluation: Evaluation, labels: Array) -> Confusion:
    """Count the images by true class (row) and predicted class (column)."""
    return confusion_matrix(labels, evaluation.predictions, evaluation.logits.shape[1])


def score(evaluation: Evaluation, labels: Array) -> tuple[float, float]:
    """Mean loss and share of right predictions; NaN without images."""
    return evaluation.loss, float(np.mean(evaluation.predictions == labels)) if len(labels) else float("nan")


def surest_errors(test: Evaluation, rows: Array, y: Array) -> Array:
    """The `SUREST_ERRORS` wrong predictions of highest probability, as :class:`harness.result.Measured` has them."""
    wrong = np.flatnonzero(test.predictions != y[rows])
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = test.logits[wrong].astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True, initial=-np.inf)
        probability = 1 / np.exp(shifted).sum(axis=1)  # of the largest logit, whose shifted value is 0
    first = np.argsort(-np.nan_to_num(probability), kind="stable")[:SUREST_ERRORS]
    chosen = wrong[first]
    return np.stack([rows[chosen], y[rows[chosen]], test.predictions[chosen], probability[first]], axis=1)
