"""Learning-rate schedules by name: the factor on the learning rate at every step of a run.

A schedule takes the progress of a step in epochs (step number / steps per epoch, from 0) and the number of epochs E,
and gives the factor. ``step`` and ``exponential`` change between epochs, the others at every step. Every schedule can
begin with a warm-up: over its first ``warmup_epochs`` the rate is also multiplied by (step + 1) / (steps of the
warm-up) (Goyal et al. 2017); ``warmup`` is the constant schedule with one epoch of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from kernels.optimizers import Setting

Factor = Callable[[np.ndarray, float, Mapping[str, float]], np.ndarray]


@dataclass(frozen=True)
class Schedule:
    """A schedule: ``factor(progress, epochs, settings)`` and the settings a user may give."""

    factor: Factor
    settings: Mapping[str, Setting] = field(default_factory=dict)


def constant(progress: np.ndarray, epochs: float, s: Mapping[str, float]) -> np.ndarray:
    """1."""
    return np.ones_like(progress)


def step(progress: np.ndarray, epochs: float, s: Mapping[str, float]) -> np.ndarray:
    """gamma^floor(epoch / every)."""
    return s["gamma"] ** np.floor(np.floor(progress) / s["every"])


def exponential(progress: np.ndarray, epochs: float, s: Mapping[str, float]) -> np.ndarray:
    """gamma^epoch."""
    return s["gamma"] ** np.floor(progress)


def cosine(progress: np.ndarray, epochs: float, s: Mapping[str, float]) -> np.ndarray:
    """final + (1 - final) (1 + cos(pi progress / E)) / 2 (Loshchilov & Hutter 2016, eq. 5, one period)."""
    return s["final"] + (1 - s["final"]) * 0.5 * (1 + np.cos(np.pi * progress / epochs))


def one_cycle(progress: np.ndarray, epochs: float, s: Mapping[str, float]) -> np.ndarray:
    """Straight from ``start`` up to 1 over the first ``peak`` of the run, then down to ``final`` (Smith 2018)."""
    part = progress / epochs
    up = s["start"] + (1 - s["start"]) * part / s["peak"]
    down = 1 + (s["final"] - 1) * (part - s["peak"]) / (1 - s["peak"])
    return np.where(part < s["peak"], up, down)


_WARMUP = {"warmup_epochs": Setting(0.0, "[0, inf)")}
_FINAL = {"final": Setting(0.0, "[0, 1]")}

SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(constant, _WARMUP),
    "warmup": Schedule(constant, {"warmup_epochs": Setting(1.0, "(0, inf)")}),
    "step": Schedule(step, {"gamma": Setting(0.5, "(0, 1]"), "every": Setting(5.0, "[1, inf)"), **_WARMUP}),
    "exponential": Schedule(exponential, {"gamma": Setting(0.9, "(0, 1]"), **_WARMUP}),
    "cosine": Schedule(cosine, {**_FINAL, **_WARMUP}),
    "one_cycle": Schedule(
        one_cycle, {"start": Setting(0.04, "[0, 1]"), "peak": Setting(0.3, "(0, 1)"), **_FINAL, **_WARMUP}
    ),
}


def learning_rates(
    name: str,
    lr: float,
    settings: Mapping[str, float],
    first_step: int,
    n_steps: int,
    steps_per_epoch: int,
    epochs: int,
) -> np.ndarray:
    """Learning rate of ``n_steps`` steps from ``first_step`` on, shape (n_steps,), float64."""
    schedule = SCHEDULES[name]
    full = {key: float(settings.get(key, setting.default)) for key, setting in schedule.settings.items()}
    steps = np.arange(first_step, first_step + n_steps)
    warmup_steps = full["warmup_epochs"] * steps_per_epoch
    warmup = np.minimum(1.0, (steps + 1) / warmup_steps) if warmup_steps else 1.0
    return lr * warmup * schedule.factor(steps / steps_per_epoch, float(epochs), full)
