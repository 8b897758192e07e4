"""One trial whose settings somebody else has chosen: train it here, store it, track it, and print its accuracies.

This is what an agent of Weights & Biases calls. The variables that the agent sets say which run of which sweep it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness import data, signals
from harness.cache import Dataset
from harness.command import DONE, INTERRUPTED
from harness.config import RunConfig
from harness.data import Split
from harness.diagnostics import Histograms
from harness.errors import UserError, show
from harness.events import finite
from harness.files import require_writable
from harness.progress import standard_output
from harness.result import Record
from harness.settings import parse_assignment
from harness.space import SHAPE_LIMITS, make_config
from harness.store import load_run, save_run
from harness.study import Run
from harness.sweepfile import Search
from harness.tracking import Subject, Tracker, chosen_mode
from harness.trainer import train
from harness.version import code_version, run_id

PLACE = "--one"
SPELLINGS = {"True": True, "False": False, "None": "none"}  # as Python's programs write them
STOP_SECONDS = 10.0  # to tell W&B that a run was stopped; its agent kills after 30


def run(
    search: Search, settings: Iterable[str], seed: object, out: Path, data_dir: Path | None, wandb: str | None
) -> int:
    """Train one configuration; returns the exit status.

    Parameters
    ----------
    search : Search
        Gives the settings that are not named.
    settings : iterable of str
        ``--KEY=VALUE``, with any setting's key or ``hidden.units``, ``hidden.layers``.
    seed : int or None
        Of the run.
    out, data_dir : Path
        Folders of results and of data.
    wandb : str or None
        ``offline``, ``online`` or ``disabled``; None leaves it to W&B's own settings.

    Raises
    ------
    UserError
        For a setting that is not allowed, or data that cannot be found.
    """
    mode = chosen_mode(wandb)
    config = configuration(search, settings, seed)
    runs, folder = out / "runs", out / search.name / search.folder_name()
    require_writable("--out", runs, folder)
    dataset = data.find(config.dataset, data_dir)
    split = data.make_split(dataset, config.data.split, config.data.split_seed, config.data.limit)
    name = run_id(config, dataset.fingerprint)
    if dataset.warning:
        print(f"warning: {dataset.warning}", file=sys.stderr)
    subject = Subject("run", {"study": search.name}, trials=True)
    known = [(name, Run(f"trial {name[:8]}", config))]
    try:
        with signals.restored(), Tracker(mode, subject, dataset, known, folder, runs, standard_output()) as tracker:
            try:
                status, accuracy = _made(config, name, dataset, split, runs, tracker)
            except KeyboardInterrupt:
                tracker.stop(name, STOP_SECONDS)
                raise
            print(f"run {name}: {status}, val_accuracy = {accuracy:.6f}", flush=True)
            tracker.close(tables=False)
    except KeyboardInterrupt:
        print("Stopped; nothing is kept.")
        return DONE if os.environ.get("WANDB_SWEEP_ID") else INTERRUPTED  # an agent gives up after failures
    return DONE


def configuration(search: Search, settings: Iterable[str], seed: object = None) -> RunConfig:
    """Lay settings given as ``--KEY=VALUE`` over those that a search's trials share.

    Raises
    ------
    UserError
        For one that is unknown or not allowed.
    """
    chosen: dict[str, Any] = {} if seed is None else {"seed": seed}
    whole = {key for key, default in RunConfig().flat().items() if type(default) is int} | SHAPE_LIMITS.keys()
    for text in settings:
        key, value = parse_assignment(text.removeprefix("--"), PLACE)
        value = SPELLINGS.get(value, value) if isinstance(value, str) else value
        if key in whole and isinstance(value, float) and value.is_integer():  # W&B may give 64 as 64.0
            value = int(value)
        if key in SHAPE_LIMITS:
            low, high = SHAPE_LIMITS[key]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise UserError(f"{PLACE}: {key} = {show(value)}: must be a whole number in [{low}, {high}]")
        chosen[key] = value
    if len(shape := [key for key in SHAPE_LIMITS if key in chosen]) == 1:
        raise UserError(f"{PLACE}: {shape[0]} = {show(chosen[shape[0]])}: give {' and '.join(SHAPE_LIMITS)} together")
    return make_config(search.space.base, chosen, PLACE)


def _made(
    config: RunConfig, name: str, dataset: Dataset, split: Split, runs: Path, tracker: Tracker
) -> tuple[str, float]:
    """Status and validation accuracy of a run that is stored or, by now, trained and stored."""

    def say(record: Record) -> None:
        print(f"epoch {record['epoch']}/{config.epochs}: validation accuracy {record['val_accuracy']:.4f}", flush=True)

    if (stored := load_run(runs, name)) is not None:
        for record in stored.history:
            say(record)
        return stored.row["status"], stored.row["val_accuracy"]

    histograms: Histograms = {}

    def on_epoch(record: Record) -> None:
        signals.checkpoint()
        say(record)
        tracker.update([{"kind": "epoch", "run_id": name, **finite(record), "histograms": dict(histograms)}])

    tracker.update([{"kind": "start", "run_id": name}])
    result = train(config, dataset, split, on_epoch, histograms.update)
    facts = {"jobs": 1, "data_fingerprint": dataset.fingerprint, "code_version": code_version()}
    save_run(runs, name, config, result, facts)
    tracker.finish(name, result.status, result.reason)
    return result.status, result.metrics["val_accuracy"]
