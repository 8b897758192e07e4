"""What tests of tables share: runs as the runner hands them over."""

from __future__ import annotations

import math

from harness.tables import runs_frame

NAN = math.nan
HOSTILE = ["a|b", "two\nlines", 'comma, "quote"', "[bold]x[/]", "<b>&amp;", "*s* _u_ `c`", "re\rturn", "NA", "1e5", ""]


def row(variant="relu", seed=0, accuracy=0.9, status="done", **other):
    """One run as the runner hands it over."""
    value = accuracy if status == "done" else NAN
    return {
        "run_id": f"id-{variant}-{seed}",
        "study": "exp",
        "variant": variant,
        "seed": seed,
        "status": status,
        "reason": "" if status == "done" else "the loss is not finite",
        "dataset": "fashion-mnist",
        "engine": "numba",
        "precision": "float32",
        "jobs": 2,
        "hidden": [128, 64],
        "optimizer.lr": 0.1,
        "clip": None,
        "select": "last",
        "test_accuracy": value,
        "test_loss": 0.5,
        "test_precision_macro": value,
        "test_recall_macro": value,
        "test_f1_macro": value,
        "val_accuracy": value,
        "val_loss": 0.6,
        "best_val_accuracy": value,
        "best_val_epoch": 2 if status == "done" else NAN,
        "train_accuracy": value,
        "train_loss": 0.4,
        "gap": 0.0 if status == "done" else NAN,
        "epochs_done": 3,
        "resumed": 0,
        "target_accuracy": 0.88,
        "epochs_to_target": 2 if status == "done" else None,
        "seconds_to_target": 4.0 if status == "done" else None,
        "train_seconds": 6.0,
        "seconds_per_epoch": 2.0,
        "eval_seconds": 0.1,
        "compile_seconds": 0.0,
        "peak_memory_bytes": 300_000_000,
        "data_fingerprint": "0123",
        "code_version": "4567",
        **other,
    }


def runs_of(accuracies):
    """Runs from variant -> accuracies by seed; a text stands for a status."""
    rows = [
        row(variant, seed, status=value) if isinstance(value, str) else row(variant, seed, value)
        for variant, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return runs_frame(rows)
