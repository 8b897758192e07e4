"""Names that others add: the reference finds them where the compiled kernels keep theirs, and they train a network."""

import numpy as np
import pytest

from kernels.activations import ACTIVATIONS, Activation
from kernels.losses import LOSSES, Loss
from kernels.optimizers import OPTIMIZERS, Optimizer, Setting
from kernels.reference import Engine, Model, get_activation, get_optimizer
from kernels.reference.activations import RegisteredActivation
from kernels.reference.optimizers import RegisteredOptimizer

ELEMENTWISE = ["identity", "relu", "leaky_relu", "sigmoid", "tanh", "gelu"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_rules_of_the_compiled_kernels_are_those_of_the_reference(name, dtype, rng):
    Z, dA = (rng.normal(size=(5, 7)).astype(dtype) for _ in range(2))
    Z[0, 0] = 0
    own, registered = get_activation(name), RegisteredActivation(ACTIVATIONS[name])
    A = own.forward(Z)
    tolerance = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(registered.forward(Z), A, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(registered.backward(Z, A, dA), own.backward(Z, A, dA), rtol=tolerance, atol=tolerance)
    assert registered.forward(Z).dtype == registered.backward(Z, A, dA).dtype == dtype


@pytest.mark.parametrize("shape", [(3, 5), (5,)])
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_optimizers_of_the_compiled_kernels_are_those_of_the_reference(name, shape, rng):
    own, registered = get_optimizer(name, {}), RegisteredOptimizer(OPTIMIZERS[name], {})
    w = rng.normal(size=shape)
    v = w.copy()
    for lr in (0.1, 0.03, 0.2):
        g = rng.normal(size=shape)
        own.step([w], [g], lr)
        registered.step([v], [g], lr)
    np.testing.assert_allclose(v, w, rtol=1e-12)
    # The kernels' Adam keeps its moments without the factor (1 - beta).
    factors = (1 - 0.9, 1 - 0.999) if "adam" in name else (1, 1)
    for slots, others in zip(own.state, registered.state, strict=True):
        scaled = [factor * slot for factor, slot in zip(factors, others, strict=False)]
        np.testing.assert_allclose(scaled, slots, rtol=1e-12)


def hinge(logits, labels, dlogits):
    """Sum over the other classes of max(0, 1 + z_j - z_label)."""
    total = 0.0
    for i in range(len(labels)):
        for j in range(logits.shape[1]):
            dlogits[i, j] = 0
        for j in range(logits.shape[1]):
            margin = 1 + logits[i, j] - logits[i, labels[i]]
            if j != labels[i] and margin > 0:
                total += margin
                dlogits[i, j] += 1
                dlogits[i, labels[i]] -= 1
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_added_activation_loss_and_optimizer_train_together(dtype, rng, monkeypatch):
    damped = Optimizer(
        "damped",
        lambda w, g, slots, h: (w - h.lr * (slots[0] + g), (h.keep * (slots[0] + g),)),
        lambda lr, t, s: {"lr": lr, "keep": s["keep"]},
        1,
        {"keep": Setting(0.5, "[0, 1)")},
    )
    monkeypatch.setitem(ACTIVATIONS, "square", Activation("square", lambda z: z * z, lambda z, a: 2 * z))
    monkeypatch.setitem(LOSSES, "hinge", Loss("hinge", kernel=hinge))
    monkeypatch.setitem(OPTIMIZERS, "damped", damped)
    X, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    weights = [(0.5 * rng.normal(size=(3, 7)), np.zeros(7)), (0.5 * rng.normal(size=(7, 2)), np.zeros(2))]
    model = Model((3, 7, 2), "square", "hinge", "damped", {"keep": 0.25})
    engine, rows = Engine(model, weights, dtype, np.ones(3), np.zeros(3)), np.arange(40)
    before = engine.evaluate(X, y, rows).loss
    for _ in range(30):
        engine.train_epoch(X, y, rows, 8, np.full(5, 0.02))
    assert engine.evaluate(X, y, rows).loss < 0.8 * before
    assert {a.dtype for a in engine.network.weights() + engine.network.gradients()} == {np.dtype(dtype)}


def test_unknown_name_lists_the_added_ones_too(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "square", Activation("square", lambda z: z * z, lambda z, a: 2 * z))
    with pytest.raises(ValueError, match=r"unknown activation 'sqare'; allowed: .*square"):
        get_activation("sqare")
