"""Which code computed a result: a digest of the modules that decide it, so that no stale result is ever served."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from harness.config import RunConfig

# The one place that names what a result depends on. Compiling, scheduling and showing are not among them.
COMPUTING_MODULES = (
    *("kernels/**/*.py", "harness/trainer.py", "harness/network.py", "harness/metrics.py"),
    *("harness/diagnostics.py", "harness/measure.py"),
    *("harness/data.py", "harness/cache.py", "harness/formats.py", "harness/idx.py", "harness/cifar.py"),
)


@functools.cache
def code_version() -> str:
    """12 hex digits of the digest of :data:`COMPUTING_MODULES`."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for pattern in COMPUTING_MODULES:
        for path in sorted(root.glob(pattern)):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def run_id(config: RunConfig, data_fingerprint: str) -> str:
    """Name of a run: the same for the same settings, data, code and registered formulas, and for nothing else."""
    from kernels.activations import ACTIVATIONS
    from kernels.losses import LOSSES
    from kernels.optimizers import OPTIMIZERS

    formulas = (ACTIVATIONS[config.activation].key, LOSSES[config.loss].key, OPTIMIZERS[config.optimizer.name].key)
    return config.run_hash(data_fingerprint, code_version(), *formulas)
