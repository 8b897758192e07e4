"""Whether an implementation computes what it should: checked for each before any time is taken.

The yardstick is the NumPy twin in float64. Training is compared after a few steps: the error of the weights as a share
of how far they moved, in which a wrong constant anywhere shows; and after an epoch by its mean loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from benchmarks import own
from benchmarks.cases import OPERATIONS, SKLEARN, TWIN, Case
from benchmarks.problems import Layer, Problem

STEPS = 2  # of a network of the table; more, and units switched by rounding begin to matter
LIMITS = {"loss": 1e-6, "A": 1e-5, "dX": 1e-5, "gradient": 1e-5, "W": 2e-4, "weights": 3e-3, "predictions": 1e-3}
# Pixels that are black in most images have gradients near rounding and Adam's epsilon, and Adam enlarges them.
# scikit-learn adds epsilon before it corrects for moments that start at zero, so it weighs 30 times as much in step 1.
ON_IMAGES, ON_IMAGES_SKLEARN = 10, 100
LOSS_OF_AN_EPOCH = 1e-2  # rounding errors grow through hundreds of steps


def exactly(case: Case, subject: Problem | Layer) -> dict[str, Any]:
    """What the case should give, by the twin in float64."""
    if case.kind == "evaluation":
        return own.evaluate_exactly(subject)()()
    if isinstance(subject, Problem):
        return own.train_exactly(subject)()()
    wide = {name: getattr(subject, name).astype(np.float64) for name in ("H", "W", "b", "G", "logits")}
    operation = next(name for name in OPERATIONS if case.group.startswith(name))
    return OPERATIONS[operation][TWIN](replace(subject, **wide))()()


def start(subject: Problem | Layer) -> dict[str, Any]:
    """Values that results move away from."""
    if isinstance(subject, Layer):
        return {"W": subject.W}
    return {"weights": [array for pair in subject.weights for array in pair]}


def distance(got: Any, want: Any, origin: Any = 0.0) -> float:
    """Error as a share of the size of ``want - origin`` (root mean square): that of all but 1% of the elements.

    The rest is let go, as a unit that only one image switches on by 1e-9 is on or off by rounding, with all its
    weights. Of a list of arrays the largest counts, of class numbers the share that differs.
    """
    if isinstance(want, list):
        return max(distance(*arrays) for arrays in zip(got, want, origin, strict=True))
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return float("inf")
    if want.dtype.kind == "i":
        return float(np.mean(got != want))
    errors = np.abs(got.astype(np.float64) - want)
    return float(np.quantile(errors, 0.99, method="higher") / np.sqrt(np.mean(np.square(want - origin))))


def distances(case: Case, subject: Problem | Layer, got: dict[str, Any]) -> dict[str, float]:
    """Distance of every result from what it should be."""
    want, origins = exactly(case, subject), start(subject)
    assert got.keys() == want.keys()
    return {name: distance(got[name], want[name], origins.get(name, 0.0)) for name in want}


def check(case: Case, subject: Problem | Layer, got: dict[str, Any], on_images: bool = False) -> None:
    """Raise AssertionError where a result is further from the right one than rounding explains."""
    slack = 1 if not on_images else ON_IMAGES_SKLEARN if case.implementation == SKLEARN else ON_IMAGES
    for name, far in distances(case, subject, got).items():
        assert far <= slack * LIMITS[name], f"{case.group}, {case.implementation}: {name} differ by {far:.2g}"


def check_loss(case: Case, got: float, want: float) -> None:
    """Raise AssertionError where the mean loss of an epoch is not that of NumPy + BLAS."""
    far = distance(got, want)
    assert far <= LOSS_OF_AN_EPOCH, f"{case.group}, {case.implementation}: the epoch's loss differs by {far:.2g}"
