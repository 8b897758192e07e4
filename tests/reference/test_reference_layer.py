"""One layer: forward and backward by hand, every gradient against numerical derivatives."""

import numpy as np
import pytest

from kernels.reference import ACTIVATIONS, Layer, get_activation


def test_forward_and_backward_are_those_computed_by_hand():
    layer = Layer(np.array([[1.0, -1.0], [2.0, 0.0]]), np.array([0.5, 0.0]), get_activation("relu"))
    A = layer.forward(np.array([[1.0, 1.0], [-1.0, 0.0]]))
    np.testing.assert_array_equal(layer.Z, [[3.5, -1.0], [-0.5, 1.0]])
    np.testing.assert_array_equal(A, [[3.5, 0.0], [0.0, 1.0]])
    dX = layer.backward(np.array([[1.0, 10.0], [10.0, 2.0]]))
    np.testing.assert_array_equal(layer.dZ, [[1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_array_equal(layer.dW, [[1.0, -2.0], [1.0, 0.0]])
    np.testing.assert_array_equal(layer.db, [1.0, 2.0])
    np.testing.assert_array_equal(dX, [[1.0, 2.0], [-2.0, 0.0]])


@pytest.mark.parametrize(("m", "n_in", "n_out"), [(1, 1, 1), (3, 5, 1), (1, 2, 7), (4, 3, 5)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all_three_gradients_agree_with_numerical_derivatives(name, m, n_in, n_out, numerical, rng):
    X, dA = rng.normal(size=(m, n_in)), rng.normal(size=(m, n_out))
    layer = Layer(rng.normal(size=(n_in, n_out)), rng.normal(size=n_out), get_activation(name))
    layer.forward(X)
    assert np.abs(layer.Z).min() > 2e-3  # no kink within reach of the numerical steps
    dX = layer.backward(dA)
    dW, db = layer.dW, layer.db
    for computed, x in ((dW, layer.W), (db, layer.b), (dX, X)):
        expected = numerical(lambda: np.sum(dA * layer.forward(X)), x)
        np.testing.assert_allclose(computed, expected, rtol=1e-8, atol=1e-9)


def test_rows_are_samples_that_do_not_mix(rng):
    layer = Layer(rng.normal(size=(3, 4)), rng.normal(size=4), get_activation("tanh"))
    X, dA = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    together = layer.forward(X), layer.backward(dA)
    sums = np.zeros((3, 4))
    for i in range(5):
        np.testing.assert_allclose(layer.forward(X[i : i + 1])[0], together[0][i], rtol=1e-13)
        np.testing.assert_allclose(layer.backward(dA[i : i + 1])[0], together[1][i], rtol=1e-12, atol=1e-15)
        sums += layer.dW
    layer.forward(X)
    layer.backward(dA)
    np.testing.assert_allclose(layer.dW, sums, rtol=1e-12)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"W \(2, 3\) and b \(2,\): need"):
        Layer(np.zeros((2, 3)), np.zeros(2), get_activation("relu"))
