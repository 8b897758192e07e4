"""What a timed run notes beside its times: the machine, versions, and what could not run and why."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import pytest
from benchmarks.problems import QUICK
from benchmarks.stage import UNAVAILABLE

PACKAGES = ("numpy", "numba", "llvmlite", "scikit-learn", "torch", "jax")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _blas() -> str:
    """NumPy's BLAS, and for which processor its kernels were written."""
    import numpy as np

    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    said = f"{built['name']} {built['version']}"
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return said
    kernels = {library.get("architecture") for library in threadpool_info() if "numpy" in library["filepath"]} - {None}
    return f"{said}, {'/'.join(sorted(kernels))} kernels" if kernels else said


def pytest_configure(config: pytest.Config) -> None:
    config.stash[UNAVAILABLE] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    from kernels import target

    cpu = target.current()
    output_json["unavailable"] = config.stash[UNAVAILABLE]
    output_json["environment"] = {
        "quick": QUICK,
        "cpu": _cpu(),
        "vector_bits": 8 * cpu.vector_bytes,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "python": platform.python_version(),
        "blas": _blas(),
        "packages": {package: _version(package) for package in PACKAGES},
    }
