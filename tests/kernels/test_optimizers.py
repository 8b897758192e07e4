"""Settings and scalars of optimizers (their mathematics: tests of the engine and of the reference)."""

import numpy as np
import pytest

from kernels.optimizers import OPTIMIZERS, Optimizer, Setting, register


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [("[0, 1)", [0, 0.5], [1, -1e-9]), ("(0, 1]", [1, 1e-300], [0, 1.1]), ("(0, inf)", [1e308], [0, np.inf, np.nan])],
)
def test_a_setting_allows_what_its_interval_says(interval, inside, outside):
    setting = Setting(0.5, interval)
    assert all(setting.allows(value) for value in inside)
    assert not any(setting.allows(value) for value in outside)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_lie_in_their_intervals(name):
    assert all(setting.allows(setting.default) for setting in OPTIMIZERS[name].settings.values())


def test_weight_decay_leaves_biases_alone():
    weights, biases = OPTIMIZERS["adamw"].tables(np.full(2, 0.1), np.array([1, 2]), {"weight_decay": 0.5}, np.float64)
    column = OPTIMIZERS["adamw"].scalar_names.index("decay")
    assert (biases[:, column] == 0).all()
    np.testing.assert_array_equal(np.delete(biases, column, axis=1), np.delete(weights, column, axis=1))
    np.testing.assert_array_equal(weights[:, column], [0.05, 0.05])


def test_adam_scalars_undo_the_bias_of_its_moments():
    scalars = OPTIMIZERS["adam"].scalars(0.1, 2.0, {"beta1": 0.5, "beta2": 0.75, "eps": 1e-8})
    root = np.sqrt(0.25 / (1 - 0.5625))
    assert scalars["step"] == pytest.approx(0.1 * 0.5 / 0.75 / root)
    assert scalars["eps"] == pytest.approx(1e-8 / root)


def test_a_name_cannot_be_given_to_another_rule():
    impostor = Optimizer("sgd", lambda w, g, slots, h: (w - 2 * h.lr * g, ()), lambda lr, t, s: {"lr": lr})
    with pytest.raises(ValueError, match="another optimizer is called 'sgd'"):
        register(impostor)
