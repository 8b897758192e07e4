"""What the value of one setting may be: each check gives the value in its one form, or says what it must be.

Their errors are pydantic's, so that a model of settings can name the key; ``harness.config`` makes one line of them.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from kernels.optimizers import Setting

MAX_WIDTH = 65536  # units of a layer
MAX_LAYERS = 64  # of layers given by their number
DEFAULT_SHAPE = {"layers": 1, "units": 128}


def number(value: object, interval: str) -> float:
    """Check for a finite number in the interval; gives a float, and 0.0 for -0.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", f"must be a number in {interval}")
    try:
        taken = float(value) + 0.0
    except OverflowError:
        taken = math.inf
    if not (math.isfinite(taken) and Setting(0.0, interval).allows(taken)):
        raise PydanticCustomError("interval", f"must lie in {interval}")
    return taken


def whole(value: object, interval: str) -> int:
    """Check for a whole number in the interval; 64.0 is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("whole", f"must be a whole number in {interval}")
    if not Setting(0.0, interval).allows(value):
        raise PydanticCustomError("interval", f"must lie in {interval}")
    return value


def named(what: str, value: object, allowed: Iterable[str]) -> str:
    """Check for one of the allowed names."""
    names = tuple(allowed)
    if not isinstance(value, str) or value not in names:
        raise PydanticCustomError("unknown", "is unknown", {"what": what, "allowed": names})
    return value


def flag(value: object) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise PydanticCustomError("flag", "must be true or false")
    return value


def widths(value: object) -> tuple[int, ...]:
    """Check the units of each hidden layer; one number is one layer, a table stands for layers of equal width."""
    layers = _equal_widths(value) if isinstance(value, Mapping) else value
    layers = layers if isinstance(layers, list | tuple) else (layers,)
    for width in layers:
        if not _is_whole(width, 1, MAX_WIDTH):
            raise PydanticCustomError(
                "widths",
                f"must be a list of whole numbers, one per hidden layer, each in [1, {MAX_WIDTH}], "
                f"or a table of layers, in [0, {MAX_LAYERS}], and units",
            )
    return tuple(layers)


def _equal_widths(table: Mapping[str, object]) -> list[object]:
    """Spell out a table such as ``{ layers = 2, units = 64 }``; None is no width, so a wrong table is refused."""
    given = {**DEFAULT_SHAPE, **table}
    layers, units = given["layers"], given["units"]
    known = bool(table) and given.keys() == DEFAULT_SHAPE.keys()
    if known and isinstance(layers, int) and _is_whole(layers, 0, MAX_LAYERS) and _is_whole(units, 1, MAX_WIDTH):
        return [units] * layers
    return [None]


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def number_in(interval: str) -> BeforeValidator:
    """Make a validator of `number`."""
    return BeforeValidator(lambda value: number(value, interval))


def whole_in(interval: str) -> BeforeValidator:
    """Make a validator of `whole`."""
    return BeforeValidator(lambda value: whole(value, interval))


def one_of(what: str, names: Iterable[str]) -> BeforeValidator:
    """Make a validator of `named`."""
    return BeforeValidator(lambda value: named(what, value, names))


def registered(what: str, module: str, registry: str) -> BeforeValidator:
    """Make a validator of a name in a registry, whose module is imported only when there is a name to check."""
    return BeforeValidator(lambda value: named(what, value, getattr(importlib.import_module(module), registry)))


# TOML has no null: the word stands for "not set", so that a grid can list it.
OR_NONE = BeforeValidator(lambda value: None if value == "none" else value)
