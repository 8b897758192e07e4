"""Compiled parts by what they are made of, each compiled or loaded once per process, as addresses for the epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels import epoch
from kernels.activations import Activation, compile_activation
from kernels.batch import compile_gather, compile_predict
from kernels.dense import compile_column_sums, compile_product, compile_transpose
from kernels.dropout import compile_dropout
from kernels.losses import Loss, compile_loss
from kernels.optimizers import KEEP_GRADIENT, Optimizer
from kernels.update import compile_update

_compiled: dict[tuple[str, ...], Any] = {}  # also keeps the code behind the addresses alive


def _once(key: tuple[str, ...], compile_part: Callable[[], Any]) -> Any:
    if key not in _compiled:
        _compiled[key] = compile_part()
    return _compiled[key]


def compile_units(activation: Activation, loss: Loss, optimizer: Optimizer, dtype: str) -> np.ndarray:
    """Addresses of all parts but the gathering, in the order of :mod:`kernels.epoch`; int64."""
    parts = {
        epoch.PRODUCT: _once(("product", dtype), lambda: compile_product(dtype)),
        epoch.TRANSPOSE: _once(("transpose", dtype), lambda: compile_transpose(dtype)),
        epoch.COLUMN_SUMS: _once(("column sums", dtype), lambda: compile_column_sums(dtype)),
        epoch.DROPOUT: _once(("dropout", dtype), lambda: compile_dropout(dtype)),
        epoch.PREDICT: _once(("predict", dtype), lambda: compile_predict(dtype)),
        epoch.KEEP: _update(KEEP_GRADIENT, dtype)[0],
        epoch.LOSS: _once(("loss", loss.key, dtype), lambda: compile_loss(loss, dtype)),
    }
    activate = _once(("activation", activation.key, dtype), lambda: compile_activation(activation, dtype))
    parts[epoch.ACTIVATION], parts[epoch.ACTIVATION_BACK] = activate
    parts[epoch.UPDATE], parts[epoch.UPDATE_FLAT] = _update(optimizer, dtype)
    addresses = np.zeros(epoch.UNITS, np.int64)
    for place, part in parts.items():
        addresses[place] = part.address
    return addresses


def _update(optimizer: Optimizer, dtype: str) -> Any:
    return _once(("update", optimizer.program.key, dtype), lambda: compile_update(optimizer.program, dtype))


def gather_address(dtype: str, data_dtype: str) -> int:
    """Address of what gathers mini-batches from data of a type."""
    return int(_once(("gather", dtype, data_dtype), lambda: compile_gather(dtype, data_dtype)).address)
