"""What variants differ in: the words of a study for its settings, and those that make its variants.

A study may speak of its hidden layers as lists of widths (``hidden``), or, where they are equally wide, of their number
and their width (``hidden.layers``, ``hidden.units``): two factors that a table can be ordered by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.config import RunConfig

LAYERS, UNITS = "hidden.layers", "hidden.units"


def speaks_of_shape(layers: Iterable[Mapping[str, Any]]) -> bool:
    """Whether nested settings give hidden layers by their number or their width."""
    return any(isinstance(settings.get("hidden"), Mapping) for settings in layers)


def labels(config: RunConfig, by_shape: bool) -> dict[str, Any]:
    """Every setting under its dotted key, as `RunConfig.flat` gives them, with the layers in the words asked for.

    Parameters
    ----------
    config : RunConfig
        The settings.
    by_shape : bool
        Whether ``hidden`` gives way to ``hidden.layers`` and ``hidden.units``; these are None where the layers are not
        equally wide.
    """
    flat = config.flat()
    return {**{key: value for key, value in flat.items() if key != "hidden"}, **shape(config)} if by_shape else flat


def all_labels(config: RunConfig) -> dict[str, Any]:
    """Every setting under its dotted key, with the hidden layers in both words."""
    return {**config.flat(), **shape(config)}


def shape(config: RunConfig) -> dict[str, int | None]:
    """Number and width of hidden layers; None where they are not equally wide, and for the width of none."""
    widths = set(config.hidden)
    return {LAYERS: len(config.hidden) if len(widths) <= 1 else None, UNITS: min(widths) if len(widths) == 1 else None}


def factor_keys(configs: Iterable[RunConfig], by_shape: bool) -> list[str]:
    """Dotted keys in which configurations differ, in the order of the settings.

    A setting that only some optimizers have counts when those that have it differ.
    """
    configs = list(configs)
    by_shape = by_shape and not any(shape(config)[LAYERS] is None for config in configs)
    values: dict[str, set[str]] = {}
    for config in configs:
        for key, value in labels(config, by_shape).items():
            values.setdefault(key, set()).add(repr(value))
    order = list(RunConfig.model_fields)
    differing = [key for key, seen in values.items() if len(seen) > 1]
    return sorted(differing, key=lambda key: order.index(key.partition(".")[0]))
