"""The whole chain rule: every weight and bias against numerical derivatives, for every combination of parts."""

import itertools

import numpy as np
import pytest

from kernels.reference import ACTIVATIONS, LOSSES, Network, get_loss, one_hot

SIZES = {0: (3, 4), 1: (3, 5, 4), 2: (3, 5, 3, 4), 3: (3, 5, 3, 2, 4), 4: (3, 5, 3, 2, 5, 4)}
LABELS = np.array([3, 0, 2])


def draw_case(activation, loss, sizes, dropout=0.0):
    """A network, its input and targets, where derivatives exist and none of them vanishes."""
    targets = one_hot(LABELS, sizes[-1])
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(3, sizes[0]))
        weights = [(rng.normal(size=(i, o)), 0.5 * rng.normal(size=o)) for i, o in itertools.pairwise(sizes)]
        network = Network(weights, activation, dropout)
        network.backward(get_loss(loss).gradient(network.forward(X), targets))
        kink = min((np.abs(layer.Z).min() for layer in network.layers[:-1]), default=1.0)
        slope = min(np.linalg.norm(g) for g in network.gradients())
        if slope > 1e-3 and (kink > 5e-3 or activation not in ("relu", "leaky_relu")):
            return network, X, targets
    raise AssertionError("no seed gives such a network")


def worst_error(network, X, targets, loss, l2, numerical, draw=None):
    """Largest |a - n| / (|a| + |n|) over all dW and db, a by back-propagation and n numerical."""
    loss = get_loss(loss)

    def objective():
        return loss.total(network.forward(X, draw), targets) / len(X) + network.penalty(l2, len(X))

    network.backward(loss.gradient(network.forward(X, draw), targets))
    network.add_penalty_gradient(l2, len(X))
    pairs = [(g, numerical(objective, w)) for w, g in zip(network.weights(), network.gradients(), strict=True)]
    return max(np.linalg.norm(a - n) / (np.linalg.norm(a) + np.linalg.norm(n)) for a, n in pairs)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_agree_with_numerical_derivatives(activation, loss, l2, depth, numerical):
    assert worst_error(*draw_case(activation, loss, SIZES[depth]), loss, l2, numerical) <= 1e-7


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_without_hidden_layer_has_the_right_gradients(loss, numerical):
    assert worst_error(*draw_case("relu", loss, SIZES[0]), loss, 0.3, numerical) <= 1e-7


@pytest.mark.parametrize("sizes", [(1, 1, 4), (2, 1, 7, 1, 4), (1, 3, 4)])
def test_layers_of_width_one_have_the_right_gradients(sizes, numerical):
    assert worst_error(*draw_case("tanh", "cross_entropy", sizes), "cross_entropy", 0.1, numerical) <= 1e-7


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softmax"])
def test_gradients_go_back_through_the_mask_of_dropout(activation, numerical):
    case = draw_case(activation, "cross_entropy", (3, 9, 7, 4), dropout=0.4)
    assert worst_error(*case, "cross_entropy", 0.1, numerical, draw=(5, 2)) <= 1e-7
    assert not all(dropout.mask.all() for dropout in case[0].dropouts)


def test_gradient_of_the_input_agrees_with_numerical_derivatives(numerical):
    network, X, targets = draw_case("gelu", "cross_entropy", SIZES[2])
    loss = get_loss("cross_entropy")
    dX = network.backward(loss.gradient(network.forward(X), targets))
    expected = numerical(lambda: loss.total(network.forward(X), targets) / len(X), X)
    np.testing.assert_allclose(dX, expected, rtol=1e-8, atol=1e-10)


def test_penalty_is_half_of_l2_over_m_times_the_squares_of_the_weights_alone():
    weights = [(np.array([[1.0, 2.0]]), np.array([9.0, 9.0])), (np.array([[3.0], [4.0]]), np.array([9.0]))]
    network = Network(weights, "relu")
    assert network.penalty(0.4, 2) == pytest.approx(0.1 * (1 + 4 + 9 + 16))
    network.backward(np.zeros_like(network.forward(np.ones((2, 1)))))
    network.add_penalty_gradient(0.4, 2)
    for (W, _), layer in zip(weights, network.layers, strict=True):
        np.testing.assert_allclose(layer.dW, 0.2 * W)
        np.testing.assert_array_equal(layer.db, 0)


def test_hidden_layers_get_masks_of_their_own_and_the_logits_none():
    network = Network([(np.eye(40), np.ones(40)) for _ in range(3)], "identity", dropout=0.5)
    X = np.ones((6, 40))
    logits = network.forward(X, (1, 0))
    first, second = (dropout.mask for dropout in network.dropouts)
    assert np.any(first != second)
    np.testing.assert_array_equal(logits, np.where(second, 2 * (np.where(first, 4, 0) + 1), 0) + 1)
    np.testing.assert_array_equal(network.forward(X), 4)


def test_layers_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="layer 0 gives 3 columns, layer 1 takes 4"):
        Network([(np.zeros((2, 3)), np.zeros(3)), (np.zeros((4, 2)), np.zeros(2))], "relu")
