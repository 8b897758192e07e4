"""Optimizers: given the gradients, how far and where to move the parameters.

Back-propagation says which direction lowers the loss; an optimizer turns that into a step. The simplest one goes down
the gradient g by a learning rate lr. The others remember something about earlier gradients (their slots: arrays of
the shape of the parameter, zero at first) and so average out noise or give each parameter its own step length. All of
them work elementwise and treat every weight matrix and bias vector alike, but for one: AdamW decays weights only.
Clipping, which bounds the gradients before the optimizer sees them, is at the end.

Shapes: a parameter w, its gradient g and its slots have one shape, (n_in, n_out) or (n_out,). Everything keeps the
dtype of w.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any

import numpy as np

from kernels.model import Array


@dataclass(eq=False)
class Optimizer(ABC):
    """A rule that moves parameters by their gradients.

    Attributes
    ----------
    n_slots : int
        Arrays that the rule remembers for each parameter.
    t : int
        Steps done.
    state : list of tuple of ndarray
        The slots of each parameter, in the order in which `step` gets them.
    """

    n_slots = 0  # without an annotation it is no field of the dataclass, so no setting
    t: int = field(default=0, init=False)
    state: list[tuple[Array, ...]] = field(default_factory=list, init=False, repr=False)

    def step(self, parameters: Sequence[Array], gradients: Sequence[Array], lr: float) -> None:
        """In place: move every parameter once, with the learning rate lr of this step."""
        if not self.state:
            self.state = [tuple(np.zeros_like(w) for _ in range(self.n_slots)) for w in parameters]
        self.t += 1
        for w, g, slots in zip(parameters, gradients, self.state, strict=True):
            self.update(w, g, slots, float(lr))  # a Python float, unlike NumPy's, leaves float32 arrays float32

    @abstractmethod
    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: apply the rule to one parameter and its slots; ``self.t`` counts from 1 here."""


@dataclass(eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent: w -= lr g (Robbins and Monro, 1951)."""

    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: w -= lr g."""
        w -= lr * g


@dataclass(eq=False)
class Momentum(Optimizer):
    """Heavy ball: v = mu v + g; w -= lr v (Polyak, 1964).

    The learning rate stands outside the velocity v, so a change of lr acts at once on all that v remembers.
    """

    n_slots = 1
    mu: float = 0.9

    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: v = mu v + g; w -= lr v."""
        (v,) = slots
        v[...] = self.mu * v + g
        w -= lr * v


@dataclass(eq=False)
class Nesterov(Optimizer):
    """Momentum that looks ahead: v = mu v + g; w -= lr (g + mu v) with the new v (Nesterov, 1983).

    This is the form in which w is the point looked at, so that the gradient is taken where the parameters are
    (Bengio, Boulanger-Lewandowski and Pascanu, 2013, eq. 7).
    """

    n_slots = 1
    mu: float = 0.9

    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: v = mu v + g; w -= lr (g + mu v)."""
        (v,) = slots
        v[...] = self.mu * v + g
        w -= lr * (g + self.mu * v)


@dataclass(eq=False)
class RMSProp(Optimizer):
    """s = rho s + (1 - rho) g^2; w -= lr g / (sqrt(s) + eps) (Tieleman and Hinton, 2012)."""

    n_slots = 1
    rho: float = 0.99
    eps: float = 1e-8

    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: s = rho s + (1 - rho) g^2; w -= lr g / (sqrt(s) + eps)."""
        (s,) = slots
        s[...] = self.rho * s + (1 - self.rho) * g * g
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(eq=False)
class Adam(Optimizer):
    """Momentum and RMSProp at once, both corrected for starting at zero (Kingma and Ba, 2014, algorithm 1).

    m = beta1 m + (1 - beta1) g          mean of the gradients
    v = beta2 v + (1 - beta2) g^2        mean of their squares
    w -= lr m' / (sqrt(v') + eps)        with m' = m / (1 - beta1^t), v' = v / (1 - beta2^t)

    eps stands outside the root and is added to the corrected v', as in algorithm 1. The shortcut at the end of the
    paper's section 2 adds it to the uncorrected one, which weighs eps differently in the first steps.
    """

    n_slots = 2
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: m, v, and w -= lr m' / (sqrt(v') + eps)."""
        m, v = slots
        m[...] = self.beta1 * m + (1 - self.beta1) * g
        v[...] = self.beta2 * v + (1 - self.beta2) * g * g
        m_corrected = m / (1 - self.beta1**self.t)
        v_corrected = v / (1 - self.beta2**self.t)
        w -= lr * m_corrected / (np.sqrt(v_corrected) + self.eps)


@dataclass(eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: also w -= lr weight_decay w (Loshchilov and Hutter, 2019, algorithm 2).

    Both parts use the w from before the step. Unlike an L2 penalty, the decay does not pass through the division by
    sqrt(v'), so it acts alike on all weights. Biases, which have one dimension, are not decayed.
    """

    weight_decay: float = 0.01

    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: the step of Adam, and w -= lr weight_decay w for weights."""
        decay = lr * self.weight_decay * w if w.ndim == 2 else 0
        super().update(w, g, slots, lr)
        w -= decay


class RegisteredOptimizer(Optimizer):
    """An optimizer that somebody added to `kernels.optimizers.OPTIMIZERS`.

    Parameters
    ----------
    entry : object
        Has ``settings`` (name -> object with ``default``), ``n_slots``, ``scalars(lr, t, settings) -> dict``,
        ``weights_only`` (names of scalars that are 0 for biases) and ``rule(w, g, slots, h) -> (new_w, new_slots)``,
        h holding the scalars as attributes.
    settings : mapping of str to float
        Those that depart from the defaults.
    """

    def __init__(self, entry: Any, settings: Mapping[str, float]) -> None:
        super().__init__()
        self.entry = entry
        self.settings = {name: setting.default for name, setting in entry.settings.items()} | dict(settings)
        self.n_slots = entry.n_slots

    def update(self, w: Array, g: Array, slots: tuple[Array, ...], lr: float) -> None:
        """In place: what the rule returns."""
        scalars = {name: float(value) for name, value in self.entry.scalars(lr, self.t, self.settings).items()}
        if w.ndim == 1:
            scalars |= dict.fromkeys(self.entry.weights_only, 0.0)
        new_w, new_slots = self.entry.rule(w, g, slots, SimpleNamespace(**scalars))
        w[...] = new_w
        for slot, new in zip(slots, new_slots, strict=True):
            slot[...] = new


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}


def get_optimizer(name: str, settings: Mapping[str, float]) -> Optimizer:
    """Return a fresh optimizer of that name: one of this module, else one that was registered.

    Parameters
    ----------
    name : str
        Name of the rule.
    settings : mapping of str to float
        Its settings; those that are missing take the defaults.

    Raises
    ------
    ValueError
        For an unknown name or setting; the message lists the known ones.
    """
    if name in OPTIMIZERS:
        rule = OPTIMIZERS[name]
        _check_settings(name, settings, [one.name for one in fields(rule) if one.init])
        return rule(**{key: float(value) for key, value in settings.items()})
    from kernels.optimizers import OPTIMIZERS as REGISTERED  # the compiled side, needed for added names only

    if name in REGISTERED:
        _check_settings(name, settings, REGISTERED[name].settings)
        return RegisteredOptimizer(REGISTERED[name], settings)
    raise ValueError(f"unknown optimizer {name!r}; allowed: {', '.join(sorted({*OPTIMIZERS, *REGISTERED}))}")


def _check_settings(name: str, settings: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise for a setting that the optimizer does not have."""
    for key in settings:
        if key not in allowed:
            raise ValueError(f"unknown setting {key!r} of {name}; allowed: {', '.join(sorted(allowed)) or 'none'}")


def clip_by_global_norm(gradients: Sequence[Array], clip_norm: float | None) -> float:
    """In place: shorten the gradients, taken as one long vector, to at most clip_norm.

    g *= clip_norm / ||g|| where ||g|| > clip_norm: the direction of the step stays (Pascanu, Mikolov and Bengio,
    2013, algorithm 1).

    Parameters
    ----------
    gradients : sequence of ndarray
        All dW and db of a network.
    clip_norm : float or None
        Largest allowed norm; None changes nothing.

    Returns
    -------
    float
        ||g|| before clipping, in float64.
    """
    norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))
    if clip_norm is not None and norm > clip_norm:
        for g in gradients:
            g *= clip_norm / norm
    return norm
