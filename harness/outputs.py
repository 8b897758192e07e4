"""The files of a study: tables of exactly the runs that were asked for, made from run folders and nothing else.

``runs.csv``, ``history.csv``, ``classes.csv``, ``summary.csv``, ``summary.md``, ``findings.csv``, ``details.npz``,
``environment.json`` and ``figures/``. They can be made again at any time.
"""

from __future__ import annotations

import getpass
import importlib
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import details, factors
from harness.files import write_atomic
from harness.findings import findings_frame
from harness.findingtexts import findings_markdown
from harness.network import Array
from harness.store import StoredRun
from harness.study import Study
from harness.summaries import summary_markdown
from harness.tables import (
    classes_frame,
    gap_column,
    history_frame,
    runs_frame,
    summary_frame,
    target_columns,
    to_csv,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd

LIBRARIES = ("numpy", "numba", "llvmlite", "joblib", "pandas", "scipy", "matplotlib", "optuna")


@dataclass(frozen=True)
class Entry:
    """One line of a study: a run with what is known of it; ``stored`` is None for a failed one."""

    variant: str
    row: dict[str, Any]
    stored: StoredRun | None


def preload() -> None:
    """Import the libraries that `write` needs, which takes half a second: for a thread while a core is idle."""
    with suppress(Exception):  # who needs one then will hear of it
        for name in ("pandas", "scipy.special", "matplotlib.figure", "matplotlib.style"):
            importlib.import_module(name)


def write(
    folder: Path,
    study: Study,
    entries: Sequence[Entry],
    environment: Mapping[str, Any],
    class_names: Sequence[str],
    images: Array | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all files of a study into ``folder``; returns the summary and the findings.

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    variants = list(study.variants)
    runs = runs_frame([{**entry.row, **_derived(entry, study)} for entry in entries])
    done: dict[str, list[StoredRun]] = {variant: [] for variant in variants}
    for entry in entries:
        if entry.stored is not None and entry.row["status"] == "done":
            done[entry.variant].append(entry.stored)
    confusions = {variant: [run.arrays("confusion")["confusion"] for run in stored] for variant, stored in done.items()}
    history = history_frame(
        [
            {"run_id": entry.row["run_id"], "variant": entry.variant, "seed": entry.row["seed"], **record}
            for entry in entries
            if entry.stored is not None
            for record in entry.stored.history
        ]
    )
    summary = summary_frame(runs, variants, study.baseline, [key for key in study.factor_keys if key in runs])
    findings = findings_frame(runs, study.claims)
    page = summary_markdown(summary, runs, study.title, study.baseline, study.metrics)
    page += findings_markdown(findings, study.texts)
    write_atomic(folder / "runs.csv", to_csv(runs))
    write_atomic(folder / "history.csv", to_csv(history))
    write_atomic(folder / "classes.csv", to_csv(classes_frame(confusions, class_names, study.select)))
    write_atomic(folder / "summary.csv", to_csv(summary))
    write_atomic(folder / "findings.csv", to_csv(findings))
    write_atomic(folder / "summary.md", page.encode())
    write_atomic(folder / "details.npz", details.pack(done, images))
    write_atomic(folder / "environment.json", json.dumps(environment, indent=1, sort_keys=True).encode())
    _write_figures(folder / "figures", study, history)
    return summary, findings


def _derived(entry: Entry, study: Study) -> dict[str, Any]:
    """What a study makes of a run: its layers in the study's words, its gap, when it reached the study's target."""
    stored = entry.stored if entry.row["status"] == "done" else None
    shape = factors.shape(study.variants[entry.variant]) if study.by_shape else {}
    target = target_columns(stored.history if stored is not None else [], study.target_accuracy)
    return {**shape, **gap_column(entry.row), **target}


def _write_figures(folder: Path, study: Study, history: pd.DataFrame) -> None:
    from harness.plots import learning_curves, save

    for metric in ("val_accuracy", "val_loss"):
        save(learning_curves(history, list(study.variants), metric, study.title), folder, metric)


def environment(command: Sequence[str], jobs: int, data_source: str, cpu: str | None = None) -> dict[str, Any]:
    """Facts about this machine and this request that a reader of the tables needs; nothing personal.

    Parameters
    ----------
    command
        Words that make the request again.
    jobs
        Runs side by side.
    data_source
        Where the data came from.
    cpu
        What processors the runs were made on; None for this machine's.
    """
    from kernels import target

    vectors = target.current()
    return {
        "command": impersonal(shlex.join(command)),
        "jobs": jobs,
        "data_source": impersonal(data_source),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu or cpu_name(),
        "vector_bytes": vectors.vector_bytes,
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "ablation_bench": metadata.version("ablation-bench"),
        "implementation": sys.implementation.name,
    }


def impersonal(text: str) -> str:
    """A text fit for files that are shared: no home folder, no name of a user, no folders that a variable names."""
    folders = {f"${name}": os.environ.get(name, "") for name in ("ABLATION_BENCH_CACHE", "ABLATION_BENCH_DATA")}
    for short, folder in {**folders, "~": os.path.expanduser("~")}.items():
        folder = folder.rstrip("/")
        if os.path.isabs(folder):
            text = re.sub(rf"{re.escape(folder)}(?![\w.-])", short, text)
    with suppress(OSError, KeyError, ImportError):  # a user without a name
        text = re.sub(rf"(?<=[/\\-]){re.escape(getpass.getuser())}(?![\w.-])", "USER", text)
    return text


def cpu_name() -> str:
    """The CPU's own name for itself, or LLVM's."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
