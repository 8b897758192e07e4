"""Initial weights: shapes, spread, common draws."""

import numpy as np
import pytest

from kernels.initializers import INITIALIZERS

N_IN, N_OUT = 200, 300


def draw(name):
    return INITIALIZERS[name](np.random.default_rng(1), N_IN, N_OUT)


@pytest.mark.parametrize(("name", "deviation"), [("random", 0.01), ("he", np.sqrt(2 / N_IN)), ("zeros", 0)])
def test_normal_initializers_have_the_stated_deviation(name, deviation):
    W = draw(name)
    assert W.shape == (N_IN, N_OUT)
    assert abs(W.mean()) <= 0.02 * deviation
    np.testing.assert_allclose(W.std(), deviation, rtol=0.01)


def test_xavier_is_uniform_within_its_bound():
    W, a = draw("xavier"), np.sqrt(6 / (N_IN + N_OUT))
    assert np.abs(W).max() <= a
    np.testing.assert_allclose(W.std(), a / np.sqrt(3), rtol=0.01)


def test_he_and_random_come_from_the_same_draws():
    np.testing.assert_allclose(draw("he") / np.sqrt(2 / N_IN), draw("random") / 0.01)
