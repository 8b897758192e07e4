"""What tests of the engines share: small networks, data, and the compiled engine beside its NumPy twin."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.engine import Engine
from kernels.model import Model
from kernels.reference import Engine as ReferenceEngine

N_ROWS = 203
STEP = 1e-4  # of finite differences


def make_weights(sizes: tuple[int, ...], seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """He-scaled weights and small biases that are not zero."""
    rng = np.random.default_rng(seed)
    shapes = itertools.pairwise(sizes)
    return [(rng.standard_normal(s) * np.sqrt(2 / s[0]), 0.1 * rng.standard_normal(s[1])) for s in shapes]


def make_data(n_in: int, n_out: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Random bytes and labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (N_ROWS, n_in), dtype=np.uint8), rng.integers(0, n_out, N_ROWS)


def make_engines(sizes: tuple[int, ...], dtype: Any = np.float64, **settings: Any) -> tuple[Engine, ReferenceEngine]:
    """The compiled engine and its NumPy twin, with equal weights."""
    shift = 0.01 * np.random.default_rng(2).standard_normal(sizes[0])
    model, weights, scale = Model(sizes, **settings), make_weights(sizes), np.full(sizes[0], 1 / 255)
    return Engine(model, weights, dtype, scale, shift), ReferenceEngine(model, weights, dtype, scale, shift)


def largest_error(got: Any, want: Any) -> float:
    """Largest difference, as a share of the largest expected value, over an array or nested lists of arrays."""
    if isinstance(got, np.ndarray):
        return float(np.abs(got.astype(float) - want).max() / max(np.abs(want).max(), np.finfo(float).tiny))
    return max(largest_error(a, b) for a, b in zip(got, want, strict=True))


def four_point_gradient(f: Callable[[], float], x: np.ndarray) -> np.ndarray:
    """df/dx by (-f(x+2h) + 8 f(x+h) - 8 f(x-h) + f(x-2h)) / 12h, changing x entry by entry and back."""
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        kept, values = x[at], {}
        for k in (2, 1, -1, -2):
            x[at] = kept + k * STEP
            values[k] = f()
        x[at] = kept
        gradient[at] = (-values[2] + 8 * values[1] - 8 * values[-1] + values[-2]) / (12 * STEP)
    return gradient
