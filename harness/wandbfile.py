"""A search as a sweep file of Weights & Biases: the same space, searched by their server with agents anywhere.

Each trial of theirs is one call of ``python -m harness.sweep --one`` with the settings that the server has chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from harness.command import DONE
from harness.files import write_atomic
from harness.pruning import FACTOR
from harness.space import Parameter
from harness.sweepfile import SHIPPED, Search

METRIC = "val_accuracy"


def sweep_config(search: Search, space: str = SHIPPED) -> dict[str, Any]:
    """Give the sweep as W&B's server wants it.

    Parameters
    ----------
    search : Search
        What to export. W&B knows one rule that stops poor runs, Hyperband: it stands for ``median`` too.
    space : str
        How the command line names the file of the space; agents must find it under this name.

    Returns
    -------
    dict
        Checked by the schema of W&B's package ``sweeps``.
    """
    shared = search.shared
    fixed: dict[str, Any] = {"dataset": shared.dataset, "epochs": shared.epochs}
    if shared.data.limit is not None:
        fixed["data.limit"] = shared.data.limit
    file = [] if space == SHIPPED else [space]
    config: dict[str, Any] = {
        "name": search.name,
        "description": search.question or search.title,
        "program": "harness.sweep",
        "command": ["${env}", "${interpreter}", "-m", "${program}", *file, "--one", "${args}"],
        "method": search.method,
        "metric": {"name": METRIC, "goal": "maximize"},
        "run_cap": search.trials,
        "parameters": {
            **{key: {"value": value} for key, value in fixed.items()},
            **{p.key: _parameter(p) for p in search.space.parameters},
        },
    }
    if search.pruning != "none":
        config["early_terminate"] = {"type": "hyperband", "min_iter": 1, "eta": FACTOR}
    return config


def _parameter(p: Parameter) -> dict[str, Any]:
    if p.values:
        return {"values": ["none" if value is None else value for value in p.values]}
    if not p.whole:
        return {"distribution": "log_uniform_values" if p.log else "uniform", "min": p.low, "max": p.high}
    ends = {"min": int(p.low), "max": int(p.high)}
    return (
        {"distribution": "q_log_uniform_values", "q": 1, **ends} if p.log else {"distribution": "int_uniform", **ends}
    )


def export(search: Search, space: str, path: Path) -> int:
    """Write the sweep as YAML; returns the exit status.

    Raises
    ------
    UserError
        When the file cannot be written.
    """
    text = yaml.safe_dump(sweep_config(search, space), sort_keys=False, allow_unicode=True)
    write_atomic(path, text.encode())
    print(f"{path}: begin with  wandb sweep {path}  and start agents as it says")
    return DONE
