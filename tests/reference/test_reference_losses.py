"""Losses: values known by hand, gradients, extreme logits, one-hot labels, predictions."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from kernels.reference import LOSSES, get_loss, one_hot, predict, smooth
from kernels.reference.losses import RegisteredLoss

# Softmax (1/8, 2/8, 5/8) in the first row, (1/3, 1/3, 1/3) in the second; labels 2 and 0.
LOGITS = np.array([[0.0, math.log(2), math.log(5)], [1.0, 1.0, 1.0]])
TARGETS = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross_entropy", math.log(8 / 5) + math.log(3)),
        ("mse", 0.5 * (1 + 4 + 9) / 64 + 0.5 * (4 + 1 + 1) / 9),
        ("mse_on_logits", 0.5 * (math.log(2) ** 2 + (math.log(5) - 1) ** 2) + 0.5 * (0 + 1 + 1)),
    ],
)
def test_total_is_the_sum_computed_by_hand(name, expected):
    assert get_loss(name).total(LOGITS, TARGETS) == pytest.approx(expected, rel=1e-15)


def test_cross_entropy_gradient_is_probability_minus_target_over_m():
    expected = np.array([[1 / 8, 2 / 8, -3 / 8], [-2 / 3, 1 / 3, 1 / 3]]) / 2
    np.testing.assert_allclose(get_loss("cross_entropy").gradient(LOGITS, TARGETS), expected, atol=1e-16)


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_derivative_of_the_mean(name, share, numerical, rng):
    loss, logits = get_loss(name), rng.normal(size=(5, 3))
    targets = smooth(one_hot(np.array([0, 2, 1, 1, 0]), 3), share)
    expected = numerical(lambda: loss.total(logits, targets) / 5, logits)
    np.testing.assert_allclose(loss.gradient(logits, targets), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_keeps_the_working_dtype_and_leaves_the_logits_alone(name):
    logits, targets = LOGITS.astype(np.float32), TARGETS.astype(np.float32)
    assert get_loss(name).gradient(logits, targets).dtype == np.float32
    np.testing.assert_array_equal(logits, LOGITS.astype(np.float32))


def test_smoothed_targets_give_the_share_to_all_classes_alike():
    expected = [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]]
    np.testing.assert_allclose(smooth(TARGETS, 0.3), expected, rtol=1e-15)
    assert smooth(TARGETS.astype(np.float32), 0.3).dtype == np.float32


def test_targets_that_are_not_smoothed_keep_their_bits():
    np.testing.assert_array_equal(smooth(TARGETS, 0.0), TARGETS)


def test_cross_entropy_of_smoothed_targets_is_the_sum_computed_by_hand():
    expected = -(0.1 * math.log(1 / 8) + 0.1 * math.log(2 / 8) + 0.8 * math.log(5 / 8)) + math.log(3)
    assert get_loss("cross_entropy").total(LOGITS, smooth(TARGETS, 0.3)) == pytest.approx(expected, rel=1e-15)


def test_cross_entropy_is_least_where_probabilities_are_the_smoothed_targets(rng):
    targets = smooth(TARGETS, 0.3)
    loss, best = get_loss("cross_entropy"), np.log(targets) + rng.normal(size=(2, 1))
    np.testing.assert_allclose(loss.gradient(best, targets), 0, atol=1e-16)
    for _ in range(10):
        assert loss.total(best + 0.1 * rng.normal(size=best.shape), targets) > loss.total(best, targets)


def test_cross_entropy_of_extreme_logits_is_exact_and_silent():
    logits, targets = np.array([[1000.0, 0.0, -1000.0]]), np.eye(3)
    for label, expected in enumerate([0.0, 1000.0, 2000.0]):
        assert get_loss("cross_entropy").total(logits, targets[[label]]) == expected


def test_totals_are_accumulated_in_float64():
    rows = 2**12
    logits = np.zeros((rows, 3), np.float32)
    row = np.float32(np.log(np.float32(3)))
    total = get_loss("cross_entropy").total(logits, one_hot(np.zeros(rows, int), 3, np.float32))
    assert total == rows * float(row)


@pytest.mark.parametrize("name", LOSSES)
def test_nan_logit_makes_the_total_nan(name):
    assert math.isnan(get_loss(name).total(np.array([[np.nan, 1.0, 2.0]]), TARGETS[:1]))


def test_one_hot_sets_the_column_of_the_label():
    np.testing.assert_array_equal(one_hot(np.array([2, 0], np.uint8), 3), [[0, 0, 1], [1, 0, 0]])
    assert one_hot(np.array([0]), 1, np.float32).dtype == np.float32


@pytest.mark.parametrize("label", [-1, 3])
def test_label_out_of_range_is_named(label):
    with pytest.raises(ValueError, match=f"label {label}: need 0 to 2"):
        one_hot(np.array([0, label]), 3)


def test_prediction_takes_the_first_on_a_tie_and_never_nan_over_a_number():
    nan, inf = np.nan, np.inf
    rows = [[1, 3, 2], [2, 5, 5], [nan, 1, 0], [0, nan, 1], [nan, nan, nan], [nan, -inf, nan], [0, inf, nan]]
    predictions = predict(np.array(rows, float))
    np.testing.assert_array_equal(predictions, [1, 1, 1, 2, 0, 1, 1])
    assert predictions.dtype == np.int64


def test_registered_kernel_gets_labels_and_its_gradient_is_divided_by_m():
    def absolute_error(logits, labels, dlogits):
        total = 0.0
        for i, label in enumerate(labels):
            for j in range(logits.shape[1]):
                error = logits[i, j] - (j == label)
                dlogits[i, j] = np.sign(error)
                total += abs(error)
        return total

    loss = RegisteredLoss(SimpleNamespace(kernel=absolute_error))
    logits = np.array([[0.5, 2.0], [1.0, -1.0]], np.float32)
    targets = one_hot(np.array([1, 0]), 2, np.float32)
    assert loss.total(logits, targets) == 2.5
    np.testing.assert_array_equal(loss.gradient(logits, targets), [[0.5, 0.5], [0, -0.5]])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown loss 'hinge'; allowed: .*cross_entropy, mse, mse_on_logits"):
        get_loss("hinge")
