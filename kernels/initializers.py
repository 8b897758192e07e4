"""Initial weights by name. Biases start at zero.

Each takes a ``numpy.random.Generator`` and (n_in, n_out) and returns float64 weights of that shape. He and Xavier
weights of two variants with the same seed come from the same draws where shapes agree.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def random(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """W ~ N(0, 0.01^2)."""
    return 0.01 * rng.standard_normal((n_in, n_out))


def he(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """W ~ N(0, 2 / n_in) (He et al. 2015, eq. 10)."""
    return np.sqrt(2.0 / n_in) * rng.standard_normal((n_in, n_out))


def xavier(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """W ~ U(-a, a), a = sqrt(6 / (n_in + n_out)) (Glorot & Bengio 2010, eq. 16)."""
    a = np.sqrt(6.0 / (n_in + n_out))
    return rng.uniform(-a, a, (n_in, n_out))


def zeros(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """W = 0: every hidden unit stays like its neighbours, which is what this one is there to show."""
    return np.zeros((n_in, n_out))


INITIALIZERS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "random": random,
    "he": he,
    "xavier": xavier,
    "zeros": zeros,
}
