"""What the numbers inside a network look like: moments, magnitudes, histograms, and units that are dead.

A loss curve says that something goes wrong; these say where. Gradients that shrink from layer to layer vanish, those
that grow explode. Activations whose variance goes to 0 tell all images the same. A unit of ReLU whose pre-activation
is below 0 for every image gives 0 for every image: its derivative is 0 everywhere too, no gradient reaches its
weights, and it stays as it is. Such a unit is called dead.

Magnitudes of weights and gradients span many powers of ten, so bins of equal width would put nearly all of them into
one. The bins are therefore equally wide on a logarithmic scale, on both sides of zero, with one bin around zero for
what is too small to matter (see `histogram_edges`).

Shapes: an array of any shape in; A (m, n) holds one row per sample and one column per unit.
"""

from __future__ import annotations

import numpy as np

from kernels.model import Array, Summary, histogram_edges


def describe(values: Array) -> Summary:
    """Return mean, variance, largest magnitude, Euclidean norm and histogram, all computed in float64.

    With x_i the n entries: mean = sum x_i / n, variance = sum (x_i - mean)^2 / n, norm = sqrt(sum x_i^2).
    """
    x = values.astype(np.float64)
    with np.errstate(all="ignore"):  # a run that diverges shows in its numbers
        mean, variance, norm = np.mean(x), np.var(x), np.sqrt(np.sum(x * x))
    return Summary(float(mean), float(variance), float(np.max(np.abs(x))), float(norm), histogram(x))


def histogram(values: Array) -> np.ndarray:
    """Return how many entries fall into each bin of `histogram_edges`; int64, shape (bins,).

    The edges are the same on both sides of zero. So it is enough to count how many of the positive ones a magnitude
    has reached: none puts it into the bin in the middle, k of them k bins further out, on the side of its sign.
    """
    edges = histogram_edges()
    middle = len(edges) // 2 - 1
    x = values[~np.isnan(values)]  # NaN is in no bin
    reached = np.searchsorted(edges[middle + 1 :], np.abs(x), side="right")
    steps = np.minimum(reached, middle)  # the outermost bin takes all that is larger
    return np.bincount(middle + np.where(x < 0, -steps, steps), minlength=len(edges) - 1)


def dead_share(A: Array) -> float:
    """Return the share of units, columns of A, that give exactly 0 for every row."""
    return float(np.mean(np.all(A == 0, axis=0)))
