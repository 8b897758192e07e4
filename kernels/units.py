"""Compiled parts by what they are made of, each compiled or loaded once per process, as addresses for the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kernels import epoch
from kernels.activations import Activation, compile_activation
from kernels.batch import compile_gather, compile_predict
from kernels.dense import compile_column_sums, compile_product, compile_transpose
from kernels.dropout import compile_dropout
from kernels.losses import Loss, compile_loss, compile_smoothing
from kernels.optimizers import KEEP_GRADIENT, Optimizer
from kernels.update import compile_update

Key = tuple[str, ...]
Part = tuple[Key, tuple[int, ...], Callable[[], Any]]

_compiled: dict[Key, tuple[Any, ...]] = {}  # also keeps the code behind the addresses alive


def once(key: Key, compile_part: Callable[[], Any]) -> tuple[Any, ...]:
    """What ``compile_part`` gives, as a tuple; it is called only if nothing has this key yet."""
    if key not in _compiled:
        made = compile_part()
        _compiled[key] = made if isinstance(made, tuple) else (made,)
    return _compiled[key]


def parts(activation: Activation, loss: Loss, optimizer: Optimizer, dtype: str) -> list[Part]:
    """All parts but the gathering: key, places among the units (see :mod:`kernels.epoch`), how to compile them."""
    smoothing: Part = (("smoothing", loss.key, dtype), (epoch.SMOOTHING,), lambda: compile_smoothing(loss, dtype))
    return [
        (("product", dtype), (epoch.PRODUCT,), lambda: compile_product(dtype)),
        (("transpose", dtype), (epoch.TRANSPOSE,), lambda: compile_transpose(dtype)),
        (("column sums", dtype), (epoch.COLUMN_SUMS,), lambda: compile_column_sums(dtype)),
        (("dropout", dtype), (epoch.DROPOUT,), lambda: compile_dropout(dtype)),
        (("predict", dtype), (epoch.PREDICT,), lambda: compile_predict(dtype)),
        (("loss", loss.key, dtype), (epoch.LOSS,), lambda: compile_loss(loss, dtype)),
        *([smoothing] if loss.make_smoothing is not None else []),
        (
            ("activation", activation.key, dtype),
            (epoch.ACTIVATION, epoch.ACTIVATION_BACK),
            lambda: compile_activation(activation, dtype),
        ),
        _update_part(KEEP_GRADIENT, (epoch.KEEP,), dtype),
        _update_part(optimizer, (epoch.UPDATE, epoch.UPDATE_FLAT), dtype),
    ]


def _update_part(optimizer: Optimizer, places: tuple[int, ...], dtype: str) -> Part:
    return ("update", optimizer.program.key, dtype), places, lambda: compile_update(optimizer.program, dtype)


def gather_part(dtype: str, data_dtype: str) -> Part:
    """What gathers mini-batches from data of a type."""
    return ("gather", dtype, data_dtype), (epoch.GATHER,), lambda: compile_gather(dtype, data_dtype)


def addresses(parts: Iterable[Part], units: np.ndarray) -> None:
    """Put the addresses of parts, compiled if need be, at their places in ``units`` (in place)."""
    for key, places, compile_part in parts:
        for place, made in zip(places, once(key, compile_part), strict=False):  # of an update, KEEP takes one half
            units[place] = made.address
