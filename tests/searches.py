"""What tests of searches share: a small space, and trials that have ended."""

from __future__ import annotations

from harness.journal import Told
from harness.space import Parameter

SPACE = """
title = "Tiny"
question = "Which?"
trials = 6
method = "random"
pruning = "none"

[base]
epochs = 2
engine = "numpy"

[space]
optimizer.lr = { min = 1e-4, max = 1e-1, log = true }
batch_size = [16, 32]
hidden.units = [3, 5]
hidden.layers = { min = 1, max = 2 }
activation = ["relu", "tanh"]
l2 = [0, 0.1]
"""
PARAMETERS = (
    Parameter("optimizer.lr", low=1e-4, high=1e-1, log=True),
    Parameter("activation", values=("relu", "tanh")),
    Parameter("hidden.units", values=(3, 5)),
    Parameter("hidden.layers", low=1, high=2, whole=True),
)


def told(number=0, accuracies=(0.5, 0.6), status="done", **chosen) -> Told:
    """A trial that has ended."""
    names = {"optimizer.lr": 0.01, "activation": "relu", "hidden.units": 3, "hidden.layers": 2}
    names |= {key.replace("__", "."): value for key, value in chosen.items()}
    result = {"status": status, "reason": "", "run_id": f"id{number}", "train_seconds": 1.5}
    return Told(number, names, result, list(accuracies))
