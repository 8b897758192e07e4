"""Activations: values known by hand, derivatives, limits, dtypes, names."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from kernels.reference import ACTIVATIONS, get_activation
from kernels.reference.activations import RegisteredActivation

SMOOTH_PHI_1 = 0.8413447460685429  # the standard normal distribution function at 1


@pytest.mark.parametrize(
    ("name", "z", "expected"),
    [
        ("identity", [-1.5, 0.0, 2.0], [-1.5, 0.0, 2.0]),
        ("relu", [-1.5, 0.0, 2.0], [0.0, 0.0, 2.0]),
        ("leaky_relu", [-1.5, 0.0, 2.0], [-0.015, 0.0, 2.0]),
        ("sigmoid", [-math.log(3), 0.0, math.log(3)], [0.25, 0.5, 0.75]),
        ("tanh", [-math.log(2), 0.0, math.log(2)], [-0.6, 0.0, 0.6]),
        ("gelu", [-1.0, 0.0, 1.0], [SMOOTH_PHI_1 - 1, 0.0, SMOOTH_PHI_1]),
        ("softmax", [0.0, math.log(2), math.log(5)], [1 / 8, 2 / 8, 5 / 8]),
    ],
)
def test_values_are_those_computed_by_hand(name, z, expected):
    np.testing.assert_allclose(get_activation(name).forward(np.array([z])), [expected], rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize(
    ("name", "at_zero"),
    [("identity", 1.0), ("relu", 0.0), ("leaky_relu", 0.01), ("sigmoid", 0.25), ("tanh", 1.0), ("gelu", 0.5)],
)
def test_derivative_at_zero_is_the_pinned_one(name, at_zero):
    rule, Z = get_activation(name), np.zeros((1, 1))
    assert rule.backward(Z, rule.forward(Z), np.ones((1, 1))) == at_zero


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_backward_is_the_derivative_of_forward(name, numerical, rng):
    rule = get_activation(name)
    Z, dA = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    assert np.abs(Z).min() > 1e-3  # no kink within reach of the numerical steps
    computed = rule.backward(Z, rule.forward(Z), dA)
    np.testing.assert_allclose(computed, numerical(lambda: np.sum(dA * rule.forward(Z)), Z), rtol=1e-8, atol=1e-9)


def test_softmax_backward_is_the_product_with_the_full_jacobian(rng):
    softmax = get_activation("softmax")
    Z, dA = rng.normal(size=(4, 7)), rng.normal(size=(4, 7))
    A = softmax.forward(Z)
    expected = [(np.diag(a) - np.outer(a, a)) @ da for a, da in zip(A, dA, strict=True)]
    np.testing.assert_allclose(softmax.backward(Z, A, dA), expected, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_working_dtype_is_kept(name, dtype, rng):
    rule, Z = get_activation(name), rng.normal(size=(2, 3)).astype(dtype)
    A = rule.forward(Z)
    assert A.dtype == rule.backward(Z, A, np.ones_like(Z)).dtype == dtype


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturating_activations_survive_large_inputs_without_a_warning(name, dtype):
    Z = np.array([[-3e4, 3e4], [3e4, -3e4]], dtype)
    lowest = -1 if name == "tanh" else 0
    np.testing.assert_array_equal(get_activation(name).forward(Z), [[lowest, 1], [1, lowest]])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_is_passed_on_so_that_divergence_is_seen(name):
    assert np.isnan(get_activation(name).forward(np.array([[np.nan]]))).all()


def test_registered_rule_keeps_dtype_and_takes_its_own_derivative():
    entry = SimpleNamespace(rule=lambda z: np.float64(2) * z**2, derivative=lambda z, a: np.float64(4) * z)
    rule, Z = RegisteredActivation(entry), np.array([[1.0, -3.0]], np.float32)
    A = rule.forward(Z)
    dZ = rule.backward(Z, A, np.full_like(Z, 0.5))
    np.testing.assert_array_equal(A, [[2, 18]])
    np.testing.assert_array_equal(dZ, [[2, -6]])
    assert A.dtype == dZ.dtype == np.float32


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown activation 'rely'; allowed: .*leaky_relu, relu, sigmoid"):
        get_activation("rely")
