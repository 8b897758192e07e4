"""What a run records of its layers: numbers for each epoch's record, and histograms of all epochs.

The engines compute the statistics (``kernels.statistics``); here they get their names and their places. Shapes:
``bins`` is one less than the number of edges; layers count from 1 in names, the last one has no activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from harness.network import Array
from kernels.model import LayerStatistics, histogram_edges

KINDS = ("weight", "gradient", "activation")  # of histograms
INSPECTED_ROWS = 1024  # training images, the same for all runs of a split, on which layers are inspected

Histograms: TypeAlias = dict[str, list[list[int]]]  # of one epoch: counts by kind and layer


@dataclass(frozen=True, eq=False)
class Statistics:
    """Histograms of a run's layers after each epoch, on the first `INSPECTED_ROWS` training images, dropout off.

    Attributes
    ----------
    weight_histogram, gradient_histogram : (epochs, layers, bins) int64
        Entries of W and of dW by size. NaN is in no bin.
    activation_histogram : (epochs, hidden layers, bins) int64
        Activations by size, of all units and images together.
    histogram_edges : (bins + 1,) float64
        Ascending, the same for all runs: see :func:`kernels.model.histogram_edges`.
    """

    weight_histogram: Array
    gradient_histogram: Array
    activation_histogram: Array
    histogram_edges: Array


def layer_scalars(layers: Sequence[LayerStatistics]) -> dict[str, float]:
    """One epoch's numbers under their names in the history: ``grad_norm_1``, ``dead_share_1``, …; finite or not."""
    scalars: dict[str, float] = {}
    for i, layer in enumerate(layers, start=1):
        gradient, activation, dead_share = layer.gradient, layer.activation, layer.dead_share
        scalars[f"grad_mean_{i}"] = gradient.mean
        scalars[f"grad_variance_{i}"] = gradient.variance
        scalars[f"grad_max_{i}"] = gradient.largest
        scalars[f"grad_norm_{i}"] = gradient.norm
        scalars[f"weight_norm_{i}"] = layer.weight.norm
        if activation is not None and dead_share is not None:
            scalars[f"activation_mean_{i}"] = activation.mean
            scalars[f"activation_variance_{i}"] = activation.variance
            scalars[f"dead_share_{i}"] = dead_share
    return scalars


def layer_histograms(layers: Sequence[LayerStatistics]) -> Histograms:
    """One epoch's histograms."""
    return {
        "weight": [layer.weight.histogram.tolist() for layer in layers],
        "gradient": [layer.gradient.histogram.tolist() for layer in layers],
        "activation": [layer.activation.histogram.tolist() for layer in layers if layer.activation is not None],
    }


def past_histograms(statistics: Statistics, epoch: int) -> Histograms:
    """The same of an epoch gone by, from 1."""
    return {kind: getattr(statistics, f"{kind}_histogram")[epoch - 1].tolist() for kind in KINDS}


def join(before: Statistics | None, after: Statistics) -> Statistics:
    """Statistics of further epochs put behind those of earlier ones."""
    if before is None:
        return after
    names = [f"{kind}_histogram" for kind in KINDS]
    return replace(after, **{name: np.concatenate([getattr(before, name), getattr(after, name)]) for name in names})


def collect(epochs: Sequence[Sequence[LayerStatistics]]) -> Statistics:
    """Stack the histograms of all epochs."""
    edges = histogram_edges()
    bins, n_layers = len(edges) - 1, len(epochs[0])
    summaries = {
        "weight": [[layer.weight for layer in layers] for layers in epochs],
        "gradient": [[layer.gradient for layer in layers] for layers in epochs],
        "activation": [[layer.activation for layer in layers if layer.activation is not None] for layers in epochs],
    }
    stacked = {
        kind: np.array([[summary.histogram for summary in layers] for layers in rows], np.int64)
        for kind, rows in summaries.items()
    }
    activation = stacked["activation"].reshape(len(epochs), n_layers - 1, bins)  # no hidden layer: (epochs, 0, bins)
    return Statistics(stacked["weight"], stacked["gradient"], activation, edges)
