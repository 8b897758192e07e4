"""Run ablation studies: settings, data, training, storage, tables. Imports ``kernels``, never the reverse.

The calls of :mod:`harness.api` are at hand as ``harness.train`` and so on; they are loaded when first used, so that
commands start quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import (
        Results,
        TrainedNetwork,
        load_images,
        load_study,
        open_results,
        run_study,
        train,
    )

__all__ = ["Results", "TrainedNetwork", "load_images", "load_study", "open_results", "run_study", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from harness import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
