"""Learning rates by hand."""

import numpy as np
import pytest

from kernels.schedules import SCHEDULES, learning_rates


def rates(name, settings=None, epochs=4, steps=2, lr=0.1):
    return learning_rates(name, lr, settings or {}, 0, epochs * steps, steps, epochs)


def test_constant_is_the_learning_rate():
    np.testing.assert_array_equal(rates("constant"), np.full(8, 0.1))


def test_step_halves_every_so_many_epochs():
    np.testing.assert_allclose(rates("step", {"gamma": 0.5, "every": 2}), 0.1 * np.repeat([1, 1, 0.5, 0.5], 2))


def test_exponential_falls_once_an_epoch():
    np.testing.assert_allclose(rates("exponential", {"gamma": 0.9}), 0.1 * np.repeat([1, 0.9, 0.81, 0.729], 2))


def test_cosine_falls_from_one_to_the_final_factor():
    got = rates("cosine", {"final": 0.2})
    assert got[0] == 0.1
    np.testing.assert_allclose(got[4], 0.1 * 0.6)
    assert (np.diff(got) < 0).all()


def test_one_cycle_rises_to_its_peak_and_falls():
    got = rates("one_cycle", {"start": 0.2, "peak": 0.5, "final": 0.0})
    np.testing.assert_allclose(got, 0.1 * np.array([0.2, 0.4, 0.6, 0.8, 1, 0.75, 0.5, 0.25]))


def test_warmup_rises_over_its_epochs_and_stays():
    np.testing.assert_allclose(rates("warmup", {"warmup_epochs": 2}), 0.1 * np.array([1, 2, 3, 4, 4, 4, 4, 4]) / 4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_can_begin_with_a_warmup(name):
    plain = rates(name, {"warmup_epochs": 1e-9} if name == "warmup" else {})
    np.testing.assert_allclose(rates(name, {"warmup_epochs": 2})[:4], plain[:4] * np.array([1, 2, 3, 4]) / 4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_cut_in_pieces_sees_the_same_rates(name):
    whole = rates(name)
    pieces = [learning_rates(name, 0.1, {}, start, 2, 2, 4) for start in range(0, 8, 2)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
