"""Parameters of a network: initial weights from a seed, and files that hold them.

A model file is ``safetensors``: ``0.weight``, ``0.bias``, ``2.weight``, … as PyTorch names the Linear layers of a
Sequential with activations between them, weights (n_out, n_in), and the run's configuration in the metadata.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.files import write_atomic
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


def save_model(path: Path, weights: Weights, metadata: dict[str, Any]) -> None:
    """Write weights and metadata (JSON) to a safetensors file, whole or not at all."""
    from safetensors.numpy import save

    tensors = {}
    for i, (W, b) in enumerate(weights):
        tensors[f"{2 * i}.weight"] = np.ascontiguousarray(W.T)
        tensors[f"{2 * i}.bias"] = b
    write_atomic(path, save(tensors, metadata={"ablation-bench": json.dumps(metadata, sort_keys=True)}))
