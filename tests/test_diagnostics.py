"""What a run records of its layers: names of numbers, places of histograms."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnostics import collect, layer_scalars
from kernels.model import LayerStatistics, Summary, histogram_edges

BINS = len(histogram_edges()) - 1


def summary(mark: int) -> Summary:
    """Numbers that tell where they came from."""
    counts = np.zeros(BINS, np.int64)
    counts[mark] = mark
    return Summary(mark + 0.1, mark + 0.2, mark + 0.3, mark + 0.4, counts)


def network(depth: int, start: int = 0) -> list[LayerStatistics]:
    """Statistics of so many hidden layers and the last one."""
    hidden = [
        LayerStatistics(summary(start + 3 * i + 1), summary(start + 3 * i + 2), summary(start + 3 * i + 3), i / 10)
        for i in range(depth)
    ]
    return [*hidden, LayerStatistics(summary(start + 3 * depth + 1), summary(start + 3 * depth + 2), None, None)]


def test_numbers_have_the_names_of_the_history_and_layers_count_from_one():
    assert layer_scalars(network(1)) == {
        "grad_mean_1": 2.1,
        "grad_variance_1": 2.2,
        "grad_max_1": 2.3,
        "grad_norm_1": 2.4,
        "weight_norm_1": 1.4,
        "activation_mean_1": 3.1,
        "activation_variance_1": 3.2,
        "dead_share_1": 0.0,
        "grad_mean_2": 5.1,
        "grad_variance_2": 5.2,
        "grad_max_2": 5.3,
        "grad_norm_2": 5.4,
        "weight_norm_2": 4.4,
    }


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_histograms_of_all_epochs_stand_by_epoch_layer_and_bin(depth):
    statistics = collect([network(depth), network(depth, start=20), network(depth, start=40)])
    assert statistics.weight_histogram.shape == statistics.gradient_histogram.shape == (3, depth + 1, BINS)
    assert statistics.activation_histogram.shape == (3, depth, BINS)
    for epoch in range(3):
        for layer in range(depth + 1):
            mark = 20 * epoch + 3 * layer + 1
            assert statistics.weight_histogram[epoch, layer, mark] == mark
            assert statistics.gradient_histogram[epoch, layer, mark + 1] == mark + 1
            if layer < depth:
                assert statistics.activation_histogram[epoch, layer, mark + 2] == mark + 2
    arrays = vars(statistics)
    assert {str(arrays[name].dtype) for name in arrays if name != "histogram_edges"} == {"int64"}
    np.testing.assert_array_equal(statistics.histogram_edges, histogram_edges())
