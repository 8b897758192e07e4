"""Statistics of the reference against NumPy's own and numbers counted by hand."""

import math

import numpy as np
import pytest

from kernels.model import histogram_edges
from kernels.reference import Engine, Model, dead_share, describe, histogram

CENTRE = 84


def test_edges_are_powers_of_two_and_the_halves_between_them_on_both_sides_of_zero():
    edges = histogram_edges()
    assert len(edges) == 170
    assert (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(edges, -edges[::-1])
    np.testing.assert_array_equal(edges[85:90], 2.0**-32 * np.array([1, 1.5, 2, 3, 4]))
    np.testing.assert_array_equal(edges[-3:], [512, 768, 1024])


def test_a_small_array_is_described_as_by_hand():
    summary = describe(np.array([[1.0, -2.0], [4.0, 0.0]], np.float32))
    assert (summary.mean, summary.largest) == (0.75, 4.0)
    assert summary.variance == pytest.approx((0.25**2 + 2.75**2 + 3.25**2 + 0.75**2) / 4)
    assert summary.norm == pytest.approx(math.sqrt(21))
    assert summary.histogram.sum() == 4
    one = CENTRE + 1 + 2 * 32  # of the octave [1, 1.5); two bins to the octave
    assert [summary.histogram[bin] for bin in (one, 2 * CENTRE - one - 2, one + 4, CENTRE)] == [1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_histograms_are_numpys_of_numbers_within_the_edges(dtype):
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(5000) * 10.0 ** rng.uniform(-12, 2, 5000)).astype(dtype)
    values = values[~np.isin(np.abs(values), histogram_edges())]
    np.testing.assert_array_equal(histogram(values), np.histogram(values, histogram_edges())[0])


@pytest.mark.parametrize(("value", "place"), [
    (0.0, CENTRE), (-0.0, CENTRE), (1e-10, CENTRE), (-1e-10, CENTRE), (5e-324, CENTRE),
    (2.0**-32, CENTRE + 1), (-(2.0**-32), CENTRE - 1), (1.5 * 2.0**-32, CENTRE + 2), (1023.9, 168), (-1023.9, 0),
    (1024.0, 168), (1e300, 168), (math.inf, 168), (-1e300, 0), (-math.inf, 0),
])  # fmt: skip
def test_a_number_falls_into_one_bin(value, place):
    counts = histogram(np.array([value]))
    assert counts[place] == counts.sum() == 1


def test_nan_is_in_no_bin_and_spoils_the_rest():
    summary = describe(np.array([1.0, math.nan, 3.0]))
    assert summary.histogram.sum() == 2
    assert all(math.isnan(x) for x in (summary.mean, summary.variance, summary.largest, summary.norm))


@pytest.mark.filterwarnings("error")
def test_infinity_is_in_the_outermost_bin_and_shows():
    summary = describe(np.array([1.0, -math.inf], np.float32))
    assert (summary.mean, summary.largest, summary.norm) == (-math.inf, math.inf, math.inf)
    assert math.isnan(summary.variance)
    assert summary.histogram[0] == 1


def test_a_unit_is_dead_when_it_gives_exactly_zero_for_every_row():
    A = np.array([[0.0, 0.0, 1.0, -0.0], [0.0, 1e-300, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    assert dead_share(A) == 0.5


@pytest.mark.parametrize(("activation", "share"), [("relu", 2 / 3), ("leaky_relu", 0), ("sigmoid", 0), ("tanh", 0)])
def test_units_whose_pre_activations_are_negative_are_dead_under_relu_alone(activation, share):
    W, b = np.array([[1.0, -1.0, 0.5]]), np.array([0.5, -0.5, -2.0])  # z = x + 1/2, -x - 1/2, x / 2 - 2
    model = Model((1, 3, 2), activation=activation)
    engine = Engine(model, [(W, b), (np.ones((3, 2)), np.zeros(2))], np.float64, np.ones(1), np.zeros(1))
    hidden, last = engine.inspect(np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 0]), np.arange(3))
    assert hidden.dead_share == share
    assert last.dead_share is last.activation is None
    if activation == "relu":
        assert hidden.activation.mean == pytest.approx((0.5 + 1.5 + 2.5) / 9)
        assert hidden.activation.largest == 2.5
        assert hidden.gradient.norm == 0  # both classes get the same logits, so nothing flows back
        assert hidden.weight.norm == 1.5
