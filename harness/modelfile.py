"""A network in a file: its weights, the settings that made it and the figures it has to reproduce; never any code.

A model file is ``safetensors``: ``0.weight``, ``0.bias``, ``2.weight``, … as PyTorch names the Linear layers of a
Sequential with activations between them. One entry of its metadata holds the rest as JSON: ``run_id``, ``config`` (all
settings), ``epoch``, ``metrics``, ``data_fingerprint`` and ``code_version``.

Shapes: W (n_in, n_out) in memory, (n_out, n_in) in the file, as PyTorch has it; b (n_out,).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import RunConfig
from harness.errors import UserError, show, show_path
from harness.files import write_atomic
from harness.network import Array, Weights

ENTRY = "ablation-bench"  # of the metadata
DTYPES = {"float32": "F32", "float64": "F64"}  # what safetensors calls them
FACTS = ("run_id", "data_fingerprint", "code_version")


@dataclass(frozen=True)
class StoredModel:
    """A network read from a file.

    Attributes
    ----------
    weights : list of (W, b)
        Of each layer; finite, of the dtype and the hidden widths that the settings say.
    config : RunConfig
        The settings that made it.
    epoch : int
        Epochs it was trained for.
    metrics : dict of str to float
        The figures reported of it, such as ``test_accuracy``; NaN where there are none.
    run_id, data_fingerprint, code_version : str
        Which run made it, of which pixels and with which code.
    """

    weights: Weights = field(repr=False)
    config: RunConfig
    epoch: int
    metrics: dict[str, float]
    run_id: str
    data_fingerprint: str
    code_version: str


def save_model(path: Path, weights: Weights, facts: Mapping[str, Any]) -> None:
    """Write weights and what is known of them, as JSON has it, to a model file, whole or not at all."""
    from safetensors.numpy import save

    write_atomic(path, save(tensors(weights), metadata={ENTRY: json.dumps(facts, sort_keys=True, allow_nan=False)}))


def load_model(path: Path) -> StoredModel:
    """Read a model file; nothing in it is executed, and no more is read than its settings ask for.

    Raises
    ------
    UserError
        One line for whatever is wrong: no such file, no safetensors file or a damaged one, none of ours, settings that
        are not allowed, tensors that do not fit them, weights that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    place = show_path(path)
    try:
        if not path.is_file():
            reason = "is a folder; name the file model.safetensors in it" if path.is_dir() else "there is no such file"
            raise UserError(f"{place}: {reason}")
        with safe_open(path, "numpy") as file:
            facts = _facts((file.metadata() or {}).get(ENTRY), place)
            config = RunConfig.from_settings(facts["config"], f"{place}, config")
            _check_tensors(file, config, place)
            parts = arrays_of(file)
    except (SafetensorError, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(f"{place}: cannot be read as a model file: {reason}") from None
    for name, tensor in parts.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{place}: tensor {name!r} holds values that are not finite")
    del facts["config"]
    return StoredModel(weights_of(parts), config, **facts)


def arrays_of(file: Any) -> dict[str, Array]:
    """All arrays of an open safetensors file by name."""
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a file cannot be iterated


def tensors(weights: Weights, prefix: str = "") -> dict[str, Array]:
    """Name weights as PyTorch does, behind a prefix."""
    named = {}
    for i, (W, b) in enumerate(weights):
        named[f"{prefix}{2 * i}.weight"] = np.ascontiguousarray(W.T)
        named[f"{prefix}{2 * i}.bias"] = b
    return named


def weights_of(named: Mapping[str, Array]) -> Weights:
    """Weights by such names; their memory is laid out as a training engine's, so that products have the same bits."""
    keys = [str(2 * i) for i in range(len(named) // 2)]
    return [(np.ascontiguousarray(named[f"{key}.weight"].T), named[f"{key}.bias"]) for key in keys]


def metrics_to_json(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Figures as JSON can hold them, which has no NaN: it becomes a text."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def metrics_from_json(written: Mapping[str, Any]) -> dict[str, float]:
    """The inverse of :func:`metrics_to_json`."""
    return {name: float(value) if isinstance(value, str) else value for name, value in written.items()}


def _facts(text: str | None, place: str) -> dict[str, Any]:
    """What the metadata say, checked but for the settings."""
    if text is None:
        raise UserError(f"{place}: is a safetensors file, but no model of ablation-bench: its metadata lack {ENTRY!r}")
    try:
        record = json.loads(text)
        facts = {name: record[name] for name in (*FACTS, "config", "epoch")}
        facts["metrics"] = metrics_from_json(record["metrics"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{place}: its metadata {ENTRY!r} are not as written: {show(str(error))}") from None
    wanted = {**dict.fromkeys(FACTS, str), "config": dict, "epoch": int}
    wrong = [name for name, kind in wanted.items() if type(facts[name]) is not kind]
    wrong += [name for name, value in facts["metrics"].items() if type(value) not in (int, float)]
    if wrong:
        raise UserError(f"{place}: its metadata {ENTRY!r} are not as written: {wrong[0]}")
    return facts


def _check_tensors(file: Any, config: RunConfig, place: str) -> None:
    """Make sure that the file declares just the tensors that the settings ask for; those at its two ends are free."""
    names = set(file.keys())
    n_layers = len(config.hidden) + 1
    expected = [f"{2 * i}.{kind}" for i in range(n_layers) for kind in ("weight", "bias")]
    for name in expected:
        if name not in names:
            raise UserError(f"{place}: lacks the tensor {name!r} of its {n_layers} layers")
    if stray := sorted(names.difference(expected)):
        raise UserError(f"{place}: has a tensor {show(stray[0])} beside those of its {n_layers} layers")
    slices = {name: file.get_slice(name) for name in expected}
    shapes = {name: list(each.get_shape()) for name, each in slices.items()}
    first, last = shapes["0.weight"], shapes[expected[-2]]
    sizes = [first[-1] if first else 0, *config.hidden, last[0] if last else 0]
    for i in range(n_layers):
        for name, shape in ((f"{2 * i}.weight", [sizes[i + 1], sizes[i]]), (f"{2 * i}.bias", [sizes[i + 1]])):
            if shapes[name] != shape or 0 in shape:
                raise UserError(f"{place}: tensor {name!r} has shape {show(shapes[name])}, its settings say {shape}")
            if (dtype := slices[name].get_dtype()) != DTYPES[config.precision]:
                raise UserError(f"{place}: tensor {name!r} has type {dtype}, its settings say {config.precision}")
