"""Optimizers: two steps by hand for each, defaults, decay of weights only, dtypes, clipping."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from kernels.reference import OPTIMIZERS, clip_by_global_norm, get_optimizer
from kernels.reference.optimizers import RegisteredOptimizer

MOMENTS = {"beta1": 0.5, "beta2": 0.75, "eps": 1.0}
# Adam, t = 1: m = 1, m' = 2, v = 1, v' = 4. t = 2: m = 1, m' = 4/3, v = 1, v' = 16/7.
ADAM_FIRST, ADAM_SECOND = 0.1 * 2 / (2 + 1), 0.1 * (4 / 3) / (4 / math.sqrt(7) + 1)
DECAYED = 1 - ADAM_FIRST - 0.1 * 0.5 * 1

# name: settings, the path of a weight from 1 under the gradients 2 and 1 with lr 0.1
BY_HAND = {
    "sgd": ({}, [0.8, 0.7]),
    "momentum": ({"mu": 0.5}, [0.8, 0.6]),  # v = 2, then 2
    "nesterov": ({"mu": 0.5}, [0.7, 0.5]),  # steps 2 + 1, then 1 + 1
    "rmsprop": ({"rho": 0.75, "eps": 1.0}, [0.9, 0.85]),  # s = 1 both times: steps 2/2, then 1/2
    "adam": (MOMENTS, [1 - ADAM_FIRST, 1 - ADAM_FIRST - ADAM_SECOND]),
    "adamw": (MOMENTS | {"weight_decay": 0.5}, [DECAYED, DECAYED - ADAM_SECOND - 0.1 * 0.5 * DECAYED]),
}


def path(optimizer, start, gradients, lr=0.1):
    """Values of one parameter after each step."""
    w, values = np.array(start), []
    for g in gradients:
        optimizer.step([w], [np.full_like(w, g)], lr)
        values.append(w.flat[0])
    return values


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_steps_are_those_computed_by_hand(name):
    settings, expected = BY_HAND[name]
    np.testing.assert_allclose(path(get_optimizer(name, settings), [[1.0]], [2.0, 1.0]), expected, rtol=1e-15)


def test_adamw_decays_weights_but_no_biases():
    settings = BY_HAND["adamw"][0]
    np.testing.assert_allclose(
        path(get_optimizer("adamw", settings), [1.0], [2.0, 1.0]), BY_HAND["adam"][1], rtol=1e-15
    )


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        ("momentum", {"mu": 0.9}),
        ("nesterov", {"mu": 0.9}),
        ("rmsprop", {"rho": 0.99, "eps": 1e-8}),
        ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
        ("adamw", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}),
    ],
)
def test_missing_settings_take_the_pinned_defaults(name, defaults):
    gradients = [0.5, -2.0, 1e-7]
    assert path(get_optimizer(name, {}), [[1.0]], gradients) == path(get_optimizer(name, defaults), [[1.0]], gradients)


def test_first_step_of_adam_has_the_length_of_the_learning_rate():
    for g in (1e-3, -50.0):
        (w,) = path(get_optimizer("adam", {}), [0.0], [g], lr=0.1)
        assert w == pytest.approx(-0.1 * math.copysign(1, g), rel=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32_even_with_a_float64_learning_rate(name, rng):
    optimizer, other = get_optimizer(name, {}), get_optimizer(name, {})
    w, g = rng.normal(size=(2, 30, 20)).astype(np.float32)
    v = w.copy()
    optimizer.step([w], [g], np.array([0.1])[0])  # a float64 scalar would draw the arithmetic with it to float64
    other.step([v], [g], 0.1)
    np.testing.assert_array_equal(w, v)
    assert {a.dtype for a in (w, *optimizer.state[0])} == {np.dtype(np.float32)}
    assert len(optimizer.state[0]) == optimizer.n_slots


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_do_not_influence_each_other(name, rng):
    shapes, settings = [(3, 2), (2,), (2, 5), (5,)], BY_HAND[name][0]
    together, alone = ([np.full(shape, 0.5) for shape in shapes] for _ in range(2))
    optimizer, apart = get_optimizer(name, settings), [get_optimizer(name, settings) for _ in shapes]
    for _ in range(3):
        gradients = [rng.normal(size=shape) for shape in shapes]
        optimizer.step(together, gradients, 0.1)
        for one, w, g in zip(apart, alone, gradients, strict=True):
            one.step([w], [g], 0.1)
    for w, v in zip(together, alone, strict=True):
        np.testing.assert_array_equal(w, v)


def test_registered_rule_gets_scalars_slots_and_no_decay_on_biases():
    entry = SimpleNamespace(
        settings={"mu": SimpleNamespace(default=0.5), "decay": SimpleNamespace(default=0.25)},
        n_slots=1,
        weights_only=("decay",),
        scalars=lambda lr, t, s: {"lr": lr / t, "mu": s["mu"], "decay": s["decay"]},
        rule=lambda w, g, slots, h: (
            w - h.lr * (h.mu * slots[0] + g) - h.decay * w,
            (h.mu * slots[0] + g,),
        ),
    )
    # lr is 0.1 / t: steps 0.1 * 2 with v = 2, then 0.05 * 2 with v = 2
    np.testing.assert_allclose(path(RegisteredOptimizer(entry, {}), [1.0], [2.0, 1.0]), [0.8, 0.7])
    np.testing.assert_allclose(path(RegisteredOptimizer(entry, {}), [[1.0]], [2.0, 1.0]), [0.55, 0.55 * 0.75 - 0.1])
    np.testing.assert_allclose(path(RegisteredOptimizer(entry, {"mu": 0.0}), [1.0], [2.0, 1.0]), [0.8, 0.75])


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown optimizer 'adm'; allowed: .*adam, adamw, momentum"):
        get_optimizer("adm", {})


@pytest.mark.parametrize(("name", "allowed"), [("sgd", "none"), ("adam", "beta1, beta2, eps"), ("rmsprop", "eps, rho")])
def test_unknown_setting_lists_the_known_ones(name, allowed):
    with pytest.raises(ValueError, match=f"unknown setting 'nu' of {name}; allowed: {allowed}$"):
        get_optimizer(name, {"nu": 0.9})


@pytest.mark.parametrize("clip_norm", [None, 13.0, 20.0])
def test_gradients_within_the_bound_are_left_alone(clip_norm):
    gradients = [np.array([[3.0, 4.0]]), np.array([12.0])]
    assert clip_by_global_norm(gradients, clip_norm) == 13
    np.testing.assert_array_equal(np.hstack([g.ravel() for g in gradients]), [3, 4, 12])


def test_gradients_beyond_the_bound_keep_their_common_direction():
    gradients = [np.array([[3.0, 4.0]], np.float32), np.array([12.0], np.float32)]
    assert clip_by_global_norm(gradients, 6.5) == 13
    np.testing.assert_array_equal(np.hstack([g.ravel() for g in gradients]), [1.5, 2, 6])
    assert gradients[0].dtype == np.float32


def test_norm_does_not_overflow_in_float32():
    gradients = [np.array([3e30, 4e30], np.float32)]
    assert clip_by_global_norm(gradients, 1.0) == pytest.approx(5e30)
    np.testing.assert_allclose(gradients[0], [0.6, 0.8], rtol=1e-6)
