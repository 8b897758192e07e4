"""Statistics against values computed by hand and against scipy.stats."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as peer

from harness.stats import MONTE_CARLO_FLIPS, holm, mean_interval, paired_difference, sign_flip_p

T_1 = math.tan(0.475 * math.pi)  # Student's t at 0.975 in closed form, for one and for two degrees of freedom
T_2 = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))


def sign_flip_by_hand(integers):
    """Every choice of signs, in exact arithmetic."""
    sums = [abs(sum(signs)) for signs in itertools.product(*((value, -value) for value in integers))]
    return sum(total >= abs(sum(integers)) for total in sums) / len(sums)


def test_mean_interval_of_three_values_by_hand():
    interval = mean_interval([1, 3, 2])
    half = T_2 / math.sqrt(3)
    assert (interval.n, interval.mean, interval.std) == (3, 2.0, 1.0)
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half), rel=1e-9)


@pytest.mark.parametrize("n", [2, 5, 31])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_mean_interval_equals_scipy(n, confidence):
    values = np.random.default_rng(n).normal(0.9, 0.01, n)
    interval = mean_interval(values, confidence)
    expected = peer.t.interval(confidence, n - 1, loc=values.mean(), scale=peer.sem(values))
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-12)
    assert interval.std == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_one_value_has_a_mean_but_no_interval():
    interval = mean_interval([0.5])
    assert (interval.n, interval.mean) == (1, 0.5)
    assert all(map(math.isnan, (interval.std, interval.low, interval.high)))


def test_no_value_is_all_nan():
    interval = mean_interval([])
    assert interval.n == 0
    assert all(map(math.isnan, (interval.mean, interval.std, interval.low, interval.high)))


def test_equal_values_have_an_interval_of_no_width():
    interval = mean_interval([0.1] * 7)
    assert (interval.mean, interval.std, interval.low, interval.high) == (0.1, 0.0, 0.1, 0.1)


def test_order_of_values_changes_no_digit():
    values = np.random.default_rng(3).lognormal(0, 9, 40).tolist()
    assert mean_interval(values) == mean_interval(values[::-1])
    assert sign_flip_p(values[:9]) == sign_flip_p(values[8::-1])


def test_huge_values_do_not_overflow():
    assert mean_interval([1e200, 3e200]).std == pytest.approx(math.sqrt(2) * 1e200)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("function", [mean_interval, sign_flip_p])
def test_values_that_are_not_finite_are_refused(function, bad):
    with pytest.raises(ValueError, match=r"value 1 of 3 is (nan|inf|-inf)"):
        function([0.1, bad, 0.2])


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_confidence_outside_zero_to_one_is_refused(confidence):
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        mean_interval([1, 2], confidence)


def test_paired_difference_uses_common_seeds_only():
    interval = paired_difference({0: 0.9, 1: 0.8, 2: 0.7}, {1: 0.75, 0: 0.8, 3: 0.1})
    half = T_1 * math.sqrt(2 * 0.025**2) / math.sqrt(2)  # the differences are 0.1 and 0.05
    assert interval.n == 2
    assert interval.mean == pytest.approx(0.075)
    assert (interval.low, interval.high) == pytest.approx((0.075 - half, 0.075 + half))


def test_paired_difference_without_common_seeds_has_n_zero():
    interval = paired_difference({0: 1.0}, {1: 1.0})
    assert interval.n == 0
    assert math.isnan(interval.mean)


def test_pairing_removes_what_the_seeds_share():
    baseline = dict(enumerate(np.random.default_rng(0).normal(0, 1, 6)))
    interval = paired_difference({seed: value + 0.01 for seed, value in baseline.items()}, baseline)
    assert interval.low == pytest.approx(0.01)
    assert interval.high == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3], 2 / 8), ([3, -1, 2], 4 / 8), ([1, 2, -3], 1.0), ([5], 1.0), ([0, 0, 0], 1.0), ([1] * 5, 2 / 32)],
)
def test_sign_flip_p_by_hand(values, expected):
    assert sign_flip_p(values) == expected


@pytest.mark.parametrize("seed", range(8))
def test_sign_flip_p_counts_ties_despite_rounding(seed):
    integers = np.random.default_rng(seed).integers(-4, 5, 9).tolist()  # many equal sums
    expected = sign_flip_by_hand(integers)
    for unit in (0.1, 1 / 7000, 1e-300, 1e300):
        assert sign_flip_p([value * unit for value in integers]) == expected


def test_sign_flip_p_is_exact_for_twenty_differences():
    assert sign_flip_p([0.25] * 20) == 2 / 2**20
    assert sign_flip_p([1] * 15 + [-1] * 5) == pytest.approx(peer.binomtest(15, 20).pvalue)


@pytest.mark.parametrize("n", [2, 7, 13, 16])
def test_sign_flip_p_counts_all_choices_however_it_goes_about_it(n):
    values = np.random.default_rng(n).normal(0.3, 1, n)
    assert sign_flip_p(values) == sign_flip_by_hand(values)


def test_sign_flip_p_above_twenty_differences_is_estimated_and_never_zero():
    assert sign_flip_p([1.0] * 40) == 1 / MONTE_CARLO_FLIPS
    values = [1] * 14 + [-1] * 7
    estimate = sign_flip_p(values)
    assert estimate == pytest.approx(peer.binomtest(14, 21).pvalue, abs=0.006)  # four standard errors
    assert estimate == sign_flip_p(values)


def test_sign_flip_p_without_differences_is_nan():
    assert math.isnan(sign_flip_p([]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one_and_keeps_ties_and_singles():
    assert holm([0.6, 0.6]) == [1.0, 1.0]
    assert holm([0.0625]) == [0.0625]
    assert holm([]) == []


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_holm_refuses_what_is_no_probability(bad):
    with pytest.raises(ValueError, match=r"is not in \[0, 1\]"):
        holm([0.1, bad])
