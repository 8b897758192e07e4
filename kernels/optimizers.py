"""Optimizers by name: an element-wise rule, the scalars of a step, and the settings a user may give.

A rule takes a weight w, its gradient g, the optimizer's slots (its memory, zero at first) and the scalars h of this
step, and returns the new weight and slots. It runs in registers on the freshly computed gradient, and on NumPy arrays
(see :mod:`kernels.rules`). Scalars are computed once per step, in float64. Adding one: write it, call :func:`register`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels import registry
from kernels.fingerprint import fingerprint
from kernels.rules import Program, sqrt, trace_optimizer


@dataclass(frozen=True)
class Setting:
    """A number that a user may set: its default and the interval it must lie in, such as ``[0, 1)``."""

    default: float
    interval: str

    def allows(self, value: float) -> bool:
        """Whether the value lies in the interval."""
        low, high = (float(end) for end in self.interval[1:-1].split(","))
        above = value >= low if self.interval[0] == "[" else value > low
        below = value <= high if self.interval[-1] == "]" else value < high
        return above and below


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    Attributes
    ----------
    name : str
        What settings call it.
    rule : callable
        ``rule(w, g, slots, h) -> (w, slots)``, element-wise; ``slots`` is a tuple, ``h`` has the scalars as
        attributes.
    scalars : callable
        ``scalars(lr, t, settings) -> dict`` of the step's scalars; ``lr`` and the step counter ``t`` (from 1) are
        numbers or arrays with one entry per step.
    n_slots : int
        Numbers of memory per weight.
    settings : mapping of str to Setting
        Settings besides the learning rate.
    weights_only : tuple of str
        Scalars that are 0 for biases.
    """

    name: str
    rule: Callable[..., Any]
    scalars: Callable[..., dict[str, Any]]
    n_slots: int = 0
    settings: Mapping[str, Setting] = field(default_factory=dict)
    weights_only: tuple[str, ...] = ()

    def with_defaults(self, settings: Mapping[str, float]) -> dict[str, float]:
        """All settings: those given, then defaults."""
        return {name: float(settings.get(name, s.default)) for name, s in self.settings.items()}

    @functools.cached_property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the scalars, in the order in which kernels read them."""
        return tuple(sorted(self.scalars(0.1, 1.0, self.with_defaults({}))))

    @functools.cached_property
    def program(self) -> Program:
        """The traced rule."""
        return trace_optimizer(self.rule, self.n_slots, self.scalar_names)

    @property
    def key(self) -> str:
        """Names the formulas: changes whenever they do."""
        return f"{self.program.key} {fingerprint(self.scalars)} {self.weights_only}"

    def tables(
        self, lr: np.ndarray, t: np.ndarray, settings: Mapping[str, float], dtype: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scalars of many steps, (steps, scalars), as kernels read them: for weights and biases, or one for both."""
        values = self.scalars(np.asarray(lr, float), np.asarray(t, float), self.with_defaults(settings))
        weights = np.zeros((len(lr), max(len(self.scalar_names), 1)), dtype)
        for column, name in enumerate(self.scalar_names):
            weights[:, column] = values[name]
        if not self.weights_only:
            return weights, weights
        biases = weights.copy()
        biases[:, [self.scalar_names.index(name) for name in self.weights_only]] = 0
        return weights, biases


OPTIMIZERS: dict[str, Optimizer] = {}


def register(optimizer: Optimizer) -> Optimizer:
    """Make an optimizer known by its name; both engines and every setting then accept it.

    Raises
    ------
    ValueError
        When another optimizer has the name.
    TypeError
        When its rule cannot be traced.
    """
    return registry.add(OPTIMIZERS, "optimizer", optimizer)


def _sgd(w: Any, g: Any, slots: Any, h: Any) -> Any:
    return w - h.lr * g, ()


def _momentum(w: Any, g: Any, slots: Any, h: Any) -> Any:
    v = h.mu * slots[0] + g
    return w - h.lr * v, (v,)


def _nesterov(w: Any, g: Any, slots: Any, h: Any) -> Any:
    v = h.mu * slots[0] + g
    return w - h.lr * (g + h.mu * v), (v,)


def _rmsprop(w: Any, g: Any, slots: Any, h: Any) -> Any:
    s = h.rho * slots[0] + h.one_minus_rho * (g * g)
    return w - h.lr * (g / (sqrt(s) + h.eps)), (s,)


def _adam(w: Any, g: Any, slots: Any, h: Any) -> Any:
    # The slots hold the moments divided by (1 - beta), and the factors of bias correction are in the step and in eps:
    # four multiplications less for every weight, 3% of an epoch.
    m = h.beta1 * slots[0] + g
    v = h.beta2 * slots[1] + g * g
    return w - h.step * (m / (sqrt(v) + h.eps)), (m, v)


def _adamw(w: Any, g: Any, slots: Any, h: Any) -> Any:
    stepped, slots = _adam(w, g, slots, h)
    return stepped - h.decay * w, slots


def _adam_scalars(lr: Any, t: Any, s: Mapping[str, float]) -> dict[str, Any]:
    root = np.sqrt((1 - s["beta2"]) / (1 - s["beta2"] ** t))  # of what turns the second slot into the corrected moment
    return {
        "step": lr * (1 - s["beta1"]) / (1 - s["beta1"] ** t) / root,
        "beta1": s["beta1"],
        "beta2": s["beta2"],
        "eps": s["eps"] / root,
    }


_MU = {"mu": Setting(0.9, "[0, 1)")}
_EPS = {"eps": Setting(1e-8, "(0, inf)")}
_BETAS = {"beta1": Setting(0.9, "[0, 1)"), "beta2": Setting(0.999, "[0, 1)"), **_EPS}

for _optimizer in (
    Optimizer("sgd", _sgd, lambda lr, t, s: {"lr": lr}),
    Optimizer("momentum", _momentum, lambda lr, t, s: {"lr": lr, "mu": s["mu"]}, 1, _MU),
    Optimizer("nesterov", _nesterov, lambda lr, t, s: {"lr": lr, "mu": s["mu"]}, 1, _MU),
    Optimizer(
        "rmsprop",
        _rmsprop,
        lambda lr, t, s: {"lr": lr, "rho": s["rho"], "one_minus_rho": 1 - s["rho"], "eps": s["eps"]},
        1,
        {"rho": Setting(0.99, "[0, 1)"), **_EPS},
    ),
    # Kingma & Ba 2014, algorithm 1: eps stands outside the root.
    Optimizer("adam", _adam, _adam_scalars, 2, _BETAS),
    # Loshchilov & Hutter 2017: decay apart from the gradient, weights only.
    Optimizer(
        "adamw",
        _adamw,
        lambda lr, t, s: {**_adam_scalars(lr, t, s), "decay": lr * s["weight_decay"]},
        2,
        {**_BETAS, "weight_decay": Setting(0.01, "[0, inf)")},
        ("decay",),
    ),
):
    register(_optimizer)

# Not an optimizer a user chooses: leaves w and keeps the gradient in its slot, for gradient checks and clipping.
KEEP_GRADIENT = Optimizer("keep_gradient", lambda w, g, slots, h: (w, (g,)), lambda lr, t, s: {}, 1)
