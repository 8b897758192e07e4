"""Dropout: the hash to the bit, shares, independence, the inverted scale, the way back."""

import numpy as np
import pytest

from kernels.reference import Dropout, keep_mask, mask_key


def position_hash(position, key):
    """The 32-bit hash in Python integers, as an engine in another language would write it."""
    x = (position ^ key) & 0xFFFFFFFF
    x ^= x >> 16
    x = (x * 0x7FEB352D) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)


def test_keys_of_seed_zero_are_the_published_outputs_of_splitmix64():
    # SplitMix64 from state 0 gives E220A8397B1DCDAF, 6E789E6AA1B965F4, 06C45D188009454F; keys are their low halves.
    assert [mask_key(0, 0, layer) for layer in range(3)] == [0x7B1DCDAF, 0xA1B965F4, 0x8009454F]


def test_key_counts_64_layers_per_step_and_wraps_at_64_bits():
    assert mask_key(5, 1, 0) == mask_key(5, 0, 64)
    assert mask_key(2**64 + 5, 2, 1) == mask_key(5, 2, 1)
    assert len({mask_key(seed, step, layer) for seed in range(9) for step in range(9) for layer in range(9)}) == 9**3


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.999])
def test_mask_keeps_where_the_hash_reaches_the_threshold(probability):
    m, n, key = 5, 7, mask_key(3, 11, 2)
    expected = [[position_hash(row * n + col, key) >= int(probability * 2**32) for col in range(n)] for row in range(m)]
    np.testing.assert_array_equal(keep_mask(key, (m, n), probability), expected)


def test_hash_that_equals_the_threshold_is_kept():
    key = mask_key(3, 11, 2)
    threshold = position_hash(4, key)
    assert keep_mask(key, (1, 5), threshold / 2**32)[0, 4]
    assert not keep_mask(key, (1, 5), (threshold + 1) / 2**32)[0, 4]


@pytest.mark.parametrize("probability", [0.05, 0.2, 0.5, 0.8])
def test_share_of_dropped_activations_is_the_probability(probability):
    masks = np.stack([keep_mask(mask_key(7, step, 1), (64, 97), probability) for step in range(20)])
    deviation = np.sqrt(probability * (1 - probability) / masks.size)
    assert abs(1 - masks.mean() - probability) < 4 * deviation
    for axes in ((0, 1), (0, 2), (1, 2)):  # per column, per row, per step
        per_line = 1 - masks.mean(axis=axes)
        spread = np.sqrt(probability * (1 - probability) * len(per_line) / masks.size)
        assert np.abs(per_line - probability).max() < 5 * spread


@pytest.mark.parametrize("other", [(8, 3, 1), (7, 4, 1), (7, 3, 2)])
def test_masks_of_other_seeds_steps_and_layers_are_independent(other):
    one, two = (keep_mask(mask_key(*where), (100, 100), 0.5) for where in ((7, 3, 1), other))
    assert abs(np.mean(one == two) - 0.5) < 4 * 0.5 / 100


def test_same_place_gives_the_same_mask_whatever_the_number_of_rows():
    key = mask_key(1, 2, 0)
    np.testing.assert_array_equal(keep_mask(key, (9, 5), 0.3)[:4], keep_mask(key, (4, 5), 0.3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kept_values_and_their_gradients_are_divided_by_the_keep_probability(dtype):
    dropout, A = Dropout(0.2), np.full((30, 40), 0.3, dtype)
    dropped = dropout.forward(A, mask_key(0, 0, 0))
    np.testing.assert_array_equal(dropped, np.where(dropout.mask, A / dtype(0.8), 0))
    np.testing.assert_array_equal(dropout.backward(2 * A), 2 * dropped)
    assert dropped.dtype == dropout.backward(A).dtype == dtype
    assert dropped.mean() == pytest.approx(0.3, abs=0.02)


def test_without_a_key_or_a_probability_nothing_is_dropped():
    A = np.ones((3, 4))
    dropout = Dropout(0.5)
    dropout.forward(A, 1)
    for off, key in ((dropout, None), (Dropout(0.0), 1)):
        np.testing.assert_array_equal(off.forward(A, key), A)
        np.testing.assert_array_equal(off.backward(A), A)
