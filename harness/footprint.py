"""How much memory a run needs, and how many fit side by side.

An estimate on the safe side, from shapes alone: weights and optimizer slots, the buffers of a mini-batch, what an
evaluation of all training images gives, and what a worker process takes with the libraries loaded. The data set is
mapped from a file, shared by all, and can be dropped by the system; it does not count.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from harness.cache import Dataset
from harness.config import RunConfig
from harness.diagnostics import INSPECTED_ROWS
from harness.memory import available_bytes

WORKER_BYTES = 200e6  # a process with NumPy and Numba, and the kernels of a few kinds
SHARE = 0.9  # of the available memory that runs may take
MB = 1e6


def run_bytes(config: RunConfig, dataset: Dataset) -> float:
    """Memory of a worker that makes a run, in bytes."""
    from kernels.optimizers import OPTIMIZERS

    size = np.dtype(config.precision).itemsize
    sizes = (dataset.X.shape[1], *config.hidden, len(dataset.class_names))
    weights = sum(a * b + b for a, b in itertools.pairwise(sizes))
    # As trained, their slots, their gradient, transposed; and copies: initial ones, results, one being looked into.
    copies = 6 + OPTIMIZERS[config.optimizer.name].n_slots
    rows = max(config.batch_size, INSPECTED_ROWS)
    n_train = config.data.limit or len(dataset.X)
    results = n_train * (8 * len(dataset.class_names) + 40)  # logits, probabilities, predictions, orders, labels
    scaling = 1000 * sizes[0] * 16 if config.data.standardise else 0
    return float(WORKER_BYTES + weights * copies * size + 4 * rows * sum(sizes) * size + results + scaling)


def largest(configs: Iterable[RunConfig], dataset: Dataset) -> float:
    """Memory of the largest of some runs, in bytes."""
    return max((run_bytes(config, dataset) for config in configs), default=0.0)


def describe(configs: Iterable[RunConfig], dataset: Dataset) -> str:
    """One line: what a run needs, and what there is."""
    return f"memory: up to {_size(largest(configs, dataset))} for a run; {_size(available_bytes())} are free here"


def fitting(jobs: int, configs: Iterable[RunConfig], dataset: Dataset) -> tuple[int, str]:
    """How many runs may go on side by side, at least one and at most ``jobs``.

    Returns
    -------
    int
        So many.
    str
        One line where it is fewer than asked for, or where not even one is sure to fit; else empty.
    """
    most, available = largest(configs, dataset), available_bytes()
    fit = room(available, most)
    need = f"a run needs up to {_size(most)}, and {_size(available)} of memory are free"
    if fit >= jobs:
        return jobs, ""
    if fit < 1:
        return 1, f"one run at a time, and even that may fail: {need}"
    return fit, f"{fit} at a time instead of {jobs}: {need}"


def room(available: float, most: float) -> int:
    """How many runs of the given size fit into the available memory, both in bytes."""
    return int(min(SHARE * available / most, 1e6)) if most else 10**6


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1000 / MB:.1f} GB" if n_bytes >= 1000 * MB else f"{n_bytes / MB:.0f} MB"
