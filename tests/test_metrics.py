"""Metrics against scikit-learn and against counts done by hand."""

import numpy as np
import pytest
from sklearn import metrics as peer

from harness.metrics import accuracy, confusion_matrix, macro, precision_recall_f1

N_CLASSES = 7
HAND = np.array([[3, 1, 0], [2, 2, 0], [0, 0, 0]])  # class 2 neither occurs nor is predicted

rng = np.random.default_rng(7)
CASES = {
    "every class": (rng.integers(0, 7, 201), rng.integers(0, 7, 201)),
    "a class is never predicted": (rng.integers(0, 7, 101), rng.integers(0, 6, 101)),
    "a class has no sample": (rng.integers(1, 7, 101), rng.integers(0, 7, 101)),
    "classes occur nowhere": (rng.integers(2, 5, 53), rng.integers(2, 5, 53)),
    "nothing in common": (np.zeros(9, np.uint8), np.full(9, 6, np.uint8)),
    "one sample": (np.array([4]), np.array([4])),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def test_confusion_matrix_equals_scikit_learn(case):
    computed = confusion_matrix(*case, N_CLASSES)
    assert computed.dtype == np.int64
    np.testing.assert_array_equal(computed, peer.confusion_matrix(*case, labels=np.arange(N_CLASSES)))


def test_accuracy_equals_scikit_learn(case):
    assert accuracy(confusion_matrix(*case, N_CLASSES)) == pytest.approx(peer.accuracy_score(*case), rel=1e-15)


def test_precision_recall_f1_equal_scikit_learn_with_zero_for_undefined(case):
    expected = peer.precision_recall_fscore_support(*case, labels=np.arange(N_CLASSES), zero_division=0)[:3]
    np.testing.assert_allclose(precision_recall_f1(confusion_matrix(*case, N_CLASSES)), expected, rtol=1e-14)


def test_macro_scores_equal_scikit_learn_and_leave_out_classes_that_occur_nowhere(case):
    expected = peer.precision_recall_fscore_support(*case, average="macro", zero_division=0)[:3]
    assert macro(confusion_matrix(*case, N_CLASSES)) == pytest.approx(expected, rel=1e-14)


def test_values_counted_by_hand():
    labels, predictions = [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 1, 1]
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 3), HAND)
    assert accuracy(HAND) == 5 / 8
    precision, recall, f1 = precision_recall_f1(HAND)
    np.testing.assert_allclose(precision, [3 / 5, 2 / 3, 0])
    np.testing.assert_allclose(recall, [3 / 4, 1 / 2, 0])
    np.testing.assert_allclose(f1, [2 / 3, 4 / 7, 0])
    assert macro(HAND) == pytest.approx(((3 / 5 + 2 / 3) / 2, (3 / 4 + 1 / 2) / 2, (2 / 3 + 4 / 7) / 2))


def test_no_samples_give_nan_rather_than_a_number():
    empty = confusion_matrix([], [], 3)
    np.testing.assert_array_equal(empty, np.zeros((3, 3)))
    assert np.isnan(accuracy(empty))
    assert np.isnan(macro(empty)).all()


def test_small_integer_types_do_not_overflow():
    last = np.full(5, 199, np.uint8)
    assert confusion_matrix(last, last, 200)[199, 199] == 5


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 3], [0, 1], "label 3 is out of range; allowed: 0 to 2"),
        ([0, 1], [0, -1], "prediction -1 is out of range"),
        ([0, 1], [0], "2 labels but 1 predictions"),
        ([[0, 1]], [0], "flat array of integers"),
        ([0.0, 1.0], [0, 1], "flat array of integers"),
    ],
)
def test_wrong_input_is_named(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, 3)
