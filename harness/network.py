"""Parameters of a network: initial weights from a seed, and the streams of random numbers that a run draws from.

Files that hold parameters are left to ``harness.modelfile``. Shapes: W (n_in, n_out), b (n_out,) of each layer.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.initializers import INITIALIZERS

Array = npt.NDArray[Any]
Weights = list[tuple[Array, Array]]


def stream(seed: int, name: str, *counters: int) -> np.random.SeedSequence:
    """Seeds of one named stream of random numbers of a run: from the seed and the name only, never from settings."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), *counters))


def initial_weights(sizes: Sequence[int], init: str, seed: int, dtype: Any) -> Weights:
    """(W, b) of each layer, W (n_in, n_out) by the named initializer, b (n_out,) zero.

    Every layer has a stream of its own, so layers of equal shape start equal in networks of any depth.
    """
    weights = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        rng = np.random.default_rng(stream(seed, "init", i))
        weights.append((INITIALIZERS[init](rng, n_in, n_out).astype(dtype), np.zeros(n_out, dtype)))
    return weights
