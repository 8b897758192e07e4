"""What tests of the report share: folders of results as the product writes them, of any size, with hostile names."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.stats import mean_interval
from kernels.model import histogram_edges

# Whoever puts one of these into markup, a script or a selector without care is found out.
HOSTILE = (
    '</script><script>document.title="owned"</script>',
    "<img src=x onerror=\"document.title='owned'\">",
    "'\"`;--<!--",
    "emoji 🦊🧪 and ẞ",
    "שלום עולם",
    "turned \u202eraw\u202c",
    "__proto__",
    "a,b|c\td\u2028e",
    "{{script}} ${x} $& \\",
    "x" * 90,
    "",
)
CLASSES = ("ant", "bee", "cod")
METRICS = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
LAYERS = (
    "grad_norm",
    "grad_variance",
    "grad_max",
    "weight_norm",
    "activation_mean",
    "activation_variance",
    "dead_share",
)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of one set of columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_study(
    folder: Path,
    variants: Mapping[str, Mapping[str, Any]],
    seeds: int = 3,
    epochs: int = 4,
    details: bool = True,
    diverged: Sequence[str] = (),
    failed: Sequence[str] = (),
    command: str = "python -m harness.ablate my_study.toml",
) -> Path:
    """Write ``results/STUDY/DATASET/`` for variants with the settings in which they differ; the first is the baseline.

    The last seed of a variant in ``diverged`` or ``failed`` ended so. Accuracies rise with the variant's place.
    """
    rng = np.random.default_rng(0)
    runs, history, accuracies = [], [], {}
    for place, (name, settings) in enumerate(variants.items()):
        accuracies[name] = {}
        for seed in range(seeds):
            last = seed == seeds - 1
            status = "diverged" if last and name in diverged else "failed" if last and name in failed else "done"
            accuracy = round(0.7 + 0.2 * place / len(variants) + rng.normal(0, 0.005), 6)
            runs.append(_run(folder, name, seed, status, settings, accuracy, epochs))
            if status == "done":
                accuracies[name][seed] = accuracy
            if status != "failed":
                history += _epochs(runs[-1], accuracy, epochs, rng)
    write_csv(folder / "runs.csv", runs)
    write_csv(folder / "history.csv", history)
    write_csv(folder / "summary.csv", _summary(variants, accuracies, runs))
    scores = [
        {
            "variant": name,
            "class": i,
            "class_name": label,
            "n": seeds,
            "test_precision": 0.8,
            "test_recall": 0.7 + i / 10,
            "test_f1": 0.75 + i / 20,
        }
        for name in variants
        for i, label in enumerate(CLASSES)
    ]
    write_csv(folder / "classes.csv", scores)
    environment = {"command": command, "jobs": 2, "cpu": "A processor", "libraries": {"numpy": "2"}}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    np.savez_compressed(
        folder / "details.npz", **_details(list(variants), rng) if details else {"variants": list(variants)}
    )
    return folder


def write_search(folder: Path, trials: int = 30) -> Path:
    """Write a search's folder."""
    rng = np.random.default_rng(1)
    rows, history = [], []
    for i in range(trials):
        status = ("done", "done", "pruned", "diverged" if i == 7 else "done", "failed" if i == 11 else "pruned")[i % 5]
        lr, accuracy = 10 ** rng.uniform(-5, -1), None if status == "failed" else rng.uniform(0.6, 0.9)
        epochs = {"done": 6, "pruned": 2, "diverged": 1, "failed": 0}[status]
        rows.append(
            {
                "trial": i,
                "status": status,
                "reason": "" if status in ("done", "pruned") else "<b>why</b>",
                "run_id": f"{i:016x}",
                "optimizer.name": ("sgd", "adam")[i % 2],
                "optimizer.lr": lr,
                "batch_size": (32, 64, 128)[i % 3],
                "hidden.units": 64,
                "hidden.layers": 1 + i % 3,
                "hidden": "x".join(["64"] * (1 + i % 3)),
                "val_accuracy": accuracy,
                "best_val_accuracy": accuracy,
                "best_val_epoch": epochs,
                "epochs_done": epochs,
                "train_seconds": 1.5,
            }
        )
        history += [
            {"trial": i, "epoch": e + 1, "val_accuracy": (accuracy or 0) - 0.1 / (e + 1)} for e in range(epochs)
        ]
    write_csv(folder / "trials.csv", rows)
    write_csv(folder / "history.csv", history)
    write_csv(
        folder / "importances.csv",
        [{"parameter": "optimizer.lr", "importance": 0.7}, {"parameter": "batch_size", "importance": 0.3}],
    )
    winner = {
        "trial": 3,
        "run_id": "0",
        "metrics": {"val_accuracy": 0.9, "test_accuracy": 0.89},
        "config": {"hidden": [64, 64]},
    }
    (folder / "winner.json").write_text(json.dumps(winner), encoding="utf-8")
    (folder / "environment.json").write_text(json.dumps({"command": "python -m harness.sweep"}), encoding="utf-8")
    return folder


def write_trials(folder: Path, variants: Sequence[str], trials: int = 8) -> Path:
    """Write the trials that tuned the rate of a study's variants, beside its tables; the last of each diverged."""
    rng = np.random.default_rng(2)
    rows = []
    for name in variants:
        accuracies = [round(rng.uniform(0.6, 0.9), 6) for _ in range(trials - 1)]
        for i in range(trials):
            done = i < trials - 1
            rows.append(
                {
                    "variant": name,
                    "trial": i,
                    "chosen": done and accuracies[i] == max(accuracies),
                    "status": "done" if done else "diverged",
                    "reason": "" if done else "the loss is not finite",
                    "run_id": f"{i:016x}",
                    "optimizer.lr": 10 ** rng.uniform(-5, -1),
                    "val_accuracy": accuracies[i] if done else None,
                }
            )
    write_csv(folder / "trials.csv", rows)
    return folder


def _run(
    folder: Path, name: str, seed: int, status: str, settings: Mapping[str, Any], accuracy: float, epochs: int
) -> dict[str, Any]:
    done = accuracy if status == "done" else None
    return {
        "run_id": f"{abs(hash((name, seed))) % 16**16:016x}",
        "study": folder.parent.name,
        "variant": name,
        "seed": seed,
        "status": status,
        "reason": "" if status == "done" else "the loss <i>is</i> not finite",
        "dataset": folder.name.partition("+")[0],
        "engine": "numpy",
        "precision": "float32",
        "jobs": 2,
        "batch_size": 64,
        **settings,
        "test_accuracy": done,
        "test_loss": 0.4,
        "test_f1_macro": done,
        "val_accuracy": done,
        "best_val_accuracy": done,
        "best_val_epoch": epochs,
        "train_accuracy": done and done + 0.02,
        "epochs_done": epochs,
        "seconds_to_target": 1.0 + seed / 10,
        "train_seconds": 2.0 + seed / 7,
        "seconds_per_epoch": 0.1,
        "peak_memory_bytes": 3e8,
        "data_fingerprint": "0123456789abcdef",
        "code_version": "abc",
    }


def _epochs(run: Mapping[str, Any], accuracy: float, epochs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, epochs + 1):
        reached = accuracy - 0.3 / epoch
        loss = "inf" if run["status"] == "diverged" and epoch == epochs else round(0.4 + 1 / epoch, 6)
        values = dict(zip(METRICS, (round(reached, 7), loss, round(reached + 0.02, 7), loss), strict=True))
        layers = {
            f"{kind}_{layer}": round(rng.uniform(0.01, 1), 7)
            for kind in LAYERS
            for layer in (1, 2)
            if layer == 1 or kind.startswith(("grad", "weight"))
        }
        head = {"run_id": run["run_id"], "variant": run["variant"], "seed": run["seed"], "epoch": epoch}
        rows.append(
            head
            | values
            | {"lr": 0.1, "penalty": 0.0, "train_seconds": round(0.1 * epoch + rng.uniform(0, 0.01), 7)}
            | layers
        )
    return rows


def _summary(
    variants: Mapping[str, Mapping[str, Any]],
    accuracies: Mapping[str, Mapping[int, float]],
    runs: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    baseline = accuracies[next(iter(variants))]
    counts: dict[tuple[str, str], int] = {}
    for run in runs:
        counts[run["variant"], run["status"]] = counts.get((run["variant"], run["status"]), 0) + 1
    rows = []
    for place, (name, settings) in enumerate(variants.items()):
        own = mean_interval(accuracies[name].values())
        pairs = (
            [value - baseline[seed] for seed, value in accuracies[name].items() if seed in baseline] if place else []
        )
        gap = mean_interval(pairs)
        rows.append(
            {
                "variant": name,
                **settings,
                "n": own.n,
                "diverged": counts.get((name, "diverged"), 0),
                "failed": counts.get((name, "failed"), 0),
                "test_accuracy": own.mean,
                "test_accuracy_std": own.std,
                "test_accuracy_low": own.low,
                "test_accuracy_high": own.high,
                "difference": gap.mean if place else None,
                "difference_low": gap.low if place else None,
                "difference_high": gap.high if place else None,
                "difference_n": gap.n,
                "p_value": 0.25 if place else None,
                "p_holm": 0.5 if place else None,
                "seconds_per_epoch": 0.1,
                "train_seconds": 2.0,
                "val_accuracy": own.mean,
                "test_f1_macro": own.mean,
                "gap": 0.02 + place / 100,
            }
        )
    return rows


def _details(names: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    edges = histogram_edges()
    arrays: dict[str, Any] = {"variants": np.array(names), "histogram_edges": edges}
    for i in range(len(names)):
        arrays[f"confusion_{i}"] = rng.integers(0, 50, (3, 3)) + 200 * np.eye(3, dtype=np.int64)
        arrays[f"val_confusion_{i}"] = rng.integers(0, 50, (3, 3)) + 200 * np.eye(3, dtype=np.int64)
        arrays[f"surest_errors_{i}"] = np.array([[k, k % 3, (k + 1) % 3, 0.99 - k / 100] for k in range(5)])
        arrays[f"histogram_epochs_{i}"] = np.array([1, 4])
        for kind, layers in (("weight", 2), ("gradient", 2), ("activation", 1)):
            samples = rng.standard_normal((2, layers, 500)) * 0.1
            arrays[f"{kind}_histogram_{i}"] = np.array(
                [[np.histogram(part, edges)[0] for part in row] for row in samples]
            )
        arrays[f"first_layer_{i}"] = rng.standard_normal((16, 5)).astype(np.float16)
    return arrays
