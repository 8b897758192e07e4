"""Initial weights that depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from harness.network import initial_weights, stream
from kernels.initializers import INITIALIZERS


def draw(*key: object) -> list[float]:
    return list(np.random.default_rng(stream(*key)).random(3))


def test_a_stream_is_named_by_seed_name_and_counters():
    assert draw(3, "order", 1) == draw(3, "order", 1)
    keys = [
        (3, "order", 1),
        (4, "order", 1),
        (3, "order", 2),
        (3, "order"),
        (3, "dropout", 1),
        (3, "init", 1),
        (1, "order", 3),
    ]
    assert len({tuple(draw(*key)) for key in keys}) == len(keys)


def test_weights_have_the_shapes_of_the_layers_and_biases_are_zero():
    weights = initial_weights((11, 7, 1, 3), "he", 0, np.float32)
    assert [W.shape for W, _ in weights] == [(11, 7), (7, 1), (1, 3)]
    assert all(W.dtype == b.dtype == np.float32 and not b.any() and b.shape == W.shape[1:] for W, b in weights)


@pytest.mark.parametrize("init", sorted(INITIALIZERS))
def test_weights_are_the_same_for_a_seed_and_no_other(init):
    def first(seed):
        return initial_weights((11, 7), init, seed, np.float64)[0][0]

    assert np.array_equal(first(5), first(5))
    assert np.array_equal(first(5), first(6)) == (init == "zeros")


def test_a_layer_starts_the_same_in_networks_of_any_depth():
    shallow = initial_weights((11, 7, 3), "xavier", 2, np.float64)
    deep = initial_weights((11, 7, 3, 3, 3), "xavier", 2, np.float64)
    for (W, _), (V, _) in zip(shallow, deep, strict=False):
        assert np.array_equal(W, V)
    assert not np.array_equal(deep[2][0], deep[3][0])


def test_single_precision_starts_from_the_rounded_numbers_of_double_precision():
    single, double = (initial_weights((11, 7), "he", 1, dtype)[0][0] for dtype in (np.float32, np.float64))
    assert np.array_equal(single, double.astype(np.float32))
