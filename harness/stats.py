"""Statistics over seeds: intervals of means, paired differences, a sign-flip test and Holm's correction.

Everything here takes plain numbers and refuses NaN and infinity: which runs count is the caller's decision, and
nothing is dropped on the way. The order of the values changes no digit of a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EXACT_LIMIT = 20  # differences
MONTE_CARLO_FLIPS = 100_000
TIE = 1e-9  # of the largest possible sum; rounding of accuracies is near 1e-13 of it, one sample of 10^6 near 1e-6


@dataclass(frozen=True)
class Interval:
    """A mean with its uncertainty.

    Attributes
    ----------
    n : int
        Number of values.
    mean : float
        NaN when n is 0.
    std : float
        Sample standard deviation (divisor n - 1); NaN when n < 2.
    low, high : float
        Ends of the confidence interval of the mean; NaN when n < 2.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean and its Student t interval, ``mean +- t_{(1 + confidence) / 2, n - 1} std / sqrt(n)``.

    Parameters
    ----------
    values : finite numbers
        One per independent run.
    confidence : float
        Coverage, in (0, 1).

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If a value is NaN or infinite, or the confidence is not in (0, 1).

    References
    ----------
    Student (1908), "The probable error of a mean".
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    sample = sorted(_finite(values))
    n = len(sample)
    if n == 0:
        return Interval(0, math.nan, math.nan, math.nan, math.nan)
    mean = math.fsum(sample) / n
    if n == 1:
        return Interval(1, mean, math.nan, math.nan, math.nan)
    from scipy.special import stdtrit  # a third of the import time of scipy.stats

    std = math.hypot(*(value - mean for value in sample)) / math.sqrt(n - 1)  # hypot: squares could overflow
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * std / math.sqrt(n)
    return Interval(n, mean, std, mean - half, mean + half)


def differences(values: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """Differences ``values[seed] - baseline[seed]`` over the seeds in both, in the order of the seeds."""
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """Mean paired difference over the seeds present in both, with its Student t interval.

    What a seed does to both variants alike (initial weights, batch order) cancels in the difference.

    Parameters
    ----------
    values, baseline : seed -> finite number
    confidence : float
        Coverage, in (0, 1).

    Returns
    -------
    Interval
        Of ``values - baseline``; its ``n`` is the number of pairs.

    Raises
    ------
    ValueError
        If a number of a common seed is NaN or infinite.
    """
    return mean_interval(differences(values, baseline), confidence)


def sign_flip_p(values: Iterable[float]) -> float:
    """Two-sided p value of the hypothesis that paired differences are symmetric about zero.

    The share of the 2^n ways to choose signs whose sum is at least as far from zero as the observed one, ties counted:
    ``p = #{s in {-1, 1}^n : |sum_i s_i d_i| >= |sum_i d_i|} / 2^n``. It assumes nothing about the distribution's shape,
    and cannot be less than ``2 / 2^n``. Beyond `EXACT_LIMIT` differences it is estimated from `MONTE_CARLO_FLIPS`
    choices with a fixed seed, the observed one among them.

    Parameters
    ----------
    values : finite numbers
        Paired differences.

    Returns
    -------
    float
        In (0, 1]; NaN without differences.

    Raises
    ------
    ValueError
        If a difference is NaN or infinite.

    References
    ----------
    Fisher (1935), "The Design of Experiments", section 21; Phipson and Smyth (2010) for counting the observed choice.
    """
    sample = np.array(sorted(_finite(values)), dtype=np.float64)
    if sample.size == 0:
        return math.nan
    threshold = abs(sample.sum()) - TIE * np.abs(sample).sum()
    if sample.size > EXACT_LIMIT:
        return _monte_carlo_p(sample, threshold)
    half = sample.size // 2
    one, other = np.sort(_signed_sums(sample[:half])), _signed_sums(sample[half:])
    # A sum of all is one + other. Those from threshold up are counted, which are as many as those down to -threshold.
    reached = one.size * other.size - int(np.searchsorted(one, threshold - other).sum())
    return min(1.0, 2 * reached / (one.size * other.size))


def least_p(n: int) -> float:
    """Smallest p value that `sign_flip_p` can give for n differences: ``2 / 2^n``; 1 for none."""
    return 1 / MONTE_CARLO_FLIPS if n > EXACT_LIMIT else min(1.0, 2 / 2**n)


def holm(p_values: Iterable[float]) -> list[float]:
    """Holm's step-down correction of p values for their number.

    With ``p_(1) <= ... <= p_(m)``: ``adjusted_(i) = min(1, max_{j <= i} (m - j + 1) p_(j))``, in the order given.

    Parameters
    ----------
    p_values : numbers in [0, 1]

    Returns
    -------
    list of float
        Rejecting where ``adjusted <= alpha`` keeps the probability of any false rejection at most alpha.

    Raises
    ------
    ValueError
        If a p value is NaN or outside [0, 1].

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    given = [float(p) for p in p_values]
    for p in given:
        if not 0 <= p <= 1:
            raise ValueError(f"p value {p} is not in [0, 1]")
    adjusted = [0.0] * len(given)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(given)), key=given.__getitem__)):
        largest = max(largest, (len(given) - rank) * given[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def _finite(values: Iterable[float]) -> list[float]:
    """Convert to floats; ValueError names the first that is not finite."""
    sample = [float(value) for value in values]
    for position, value in enumerate(sample):
        if not math.isfinite(value):
            raise ValueError(f"value {position} of {len(sample)} is {value}; leave it out before averaging")
    return sample


def _monte_carlo_p(sample: npt.NDArray[np.float64], threshold: float) -> float:
    """Share of random sign choices, the identity included, that reach the threshold."""
    generator = np.random.default_rng(0)
    sums = np.zeros(MONTE_CARLO_FLIPS - 1)
    for start in range(0, sample.size, 8):  # a random byte chooses the signs of eight
        table = _signed_sums(sample[start : start + 8])
        sums += table[np.frombuffer(generator.bytes(sums.size), np.uint8) & np.uint8(table.size - 1)]
    return (1 + int(np.count_nonzero(np.abs(sums) >= threshold))) / MONTE_CARLO_FLIPS


def _signed_sums(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums of the k values with all 2^k choices of their signs; one 0 of no values."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
