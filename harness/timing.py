"""How fast variants train when nothing else runs: measured again, after a study, for a table that compares speed.

Runs of a study share caches and memory with those beside them, so their times are not fit to be compared. Here one
worker trains the first seed of each variant again, for a few epochs and alone. The variants take turns, so that a slow
minute of the machine hits all alike. Nothing of this is stored as a run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import runner, worker
from harness.files import write_atomic
from harness.study import Study
from harness.summaries import MISSING, escaped, markdown_table, seconds, visible
from harness.tables import cell, to_csv
from harness.trainer import make_engine, train
from harness.worker import Task

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

ROUNDS = 3  # turns of each variant
WARM_UP_EPOCHS = 1  # of a turn, and evaluations: not counted
TIMED_EPOCHS = 3  # of a turn, and evaluations


@dataclass(frozen=True)
class Times:
    """What one variant took.

    Attributes
    ----------
    epochs, evaluations : tuple of float
        Seconds of single epochs of training, and of single evaluations of the validation images.
    images : int
        Training images of an epoch.
    reason : str
        Why there are no times; empty where there are.
    """

    epochs: tuple[float, ...] = ()
    evaluations: tuple[float, ...] = ()
    images: int = 0
    reason: str = ""

    def __add__(self, other: Times) -> Times:
        """Times of two turns."""
        return Times(
            self.epochs + other.epochs,
            self.evaluations + other.evaluations,
            self.images or other.images,
            self.reason or other.reason,
        )


def measure(tasks: Sequence[Task], pool: runner.Pool, on_poll: Callable[[int], Any]) -> list[Times]:
    """Time tasks, one at a time, in turns.

    Parameters
    ----------
    tasks
        What is to be timed; only their settings matter.
    pool
        One worker.
    on_poll
        Called with the number of turns that are over, at least ten times a second.

    Returns
    -------
    list of Times
        In the order of the tasks.
    """
    times = [Times() for _ in tasks]
    for turn in range(ROUNDS * len(tasks)):
        i = turn % len(tasks)
        if times[i].reason:
            continue
        try:
            future = pool.submit(time_run, tasks[i])
            while not future.done():
                wait([future], runner.POLL_SECONDS)
                on_poll(turn)
            times[i] += future.result()
        except BrokenProcessPool:
            pool.reopen()
            times[i] = Times(reason="its worker process died; out of memory?")
    return times


def time_run(task: Task) -> Times:
    """One turn of a task, in this process."""
    try:
        dataset, split = worker.data_of(task)
        config = task.config.model_copy(update={"epochs": WARM_UP_EPOCHS + TIMED_EPOCHS})
        result = train(config, dataset, split)
        if result.status != "done":
            return Times(reason=result.reason)
        ends = [record["train_seconds"] for record in result.history]
        engine, y, evaluations = make_engine(config, dataset, split), dataset.y.astype(np.int64), []
        for _ in range(WARM_UP_EPOCHS + TIMED_EPOCHS):
            start = time.perf_counter()
            engine.evaluate(dataset.X, y, split.val)
            evaluations.append(time.perf_counter() - start)
    except (Exception, SystemExit) as error:  # one variant's failure leaves the others their times
        return Times(reason=worker.one_line(error))
    epochs = np.diff(ends)[WARM_UP_EPOCHS - 1 :].tolist()
    return Times(tuple(epochs), tuple(evaluations[WARM_UP_EPOCHS:]), len(split.train))


def timing_frame(study: Study, times: Mapping[str, Times], facts: Mapping[str, Any]) -> pd.DataFrame:
    """One line per variant, in the order of the study: how long an epoch takes when nothing else runs.

    Parameters
    ----------
    study : Study
        Whose variants were timed.
    times : variant -> Times
        As from `measure`; a variant without times has NaN.
    facts : mapping
        Further columns, the same for all lines.
    """
    import pandas as pd

    baseline = _median(times[study.baseline].epochs) if study.baseline is not None else math.nan
    lines = []
    for variant, config in study.variants.items():
        own, median, settings = times[variant], _median(times[variant].epochs), study.factor_values(config)
        lines.append(
            {
                "variant": variant,
                **{key: cell(settings.get(key)) for key in study.factor_keys},
                "seed": config.seed,
                "engine": config.engine,
                "precision": config.precision,
                "jobs": 1,
                "epochs_timed": len(own.epochs),
                "seconds_per_epoch": median,
                "fastest_epoch_seconds": min(own.epochs, default=math.nan),
                "slowest_epoch_seconds": max(own.epochs, default=math.nan),
                "ratio": median / baseline,
                "images_per_second": own.images / median,
                "eval_seconds": _median(own.evaluations),
                **facts,
            }
        )
    frame: pd.DataFrame = pd.DataFrame(lines)
    return frame


def write(folder: Path, study: Study, times: Mapping[str, Times], facts: Mapping[str, Any]) -> Table:
    """Write ``timing.csv`` and ``timing.md`` into ``folder``; returns the table for the screen.

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    frame = timing_frame(study, times, facts)
    columns = _cells(frame, study)
    write_atomic(folder / "timing.csv", to_csv(frame))
    lines = [f"# {escaped(study.title)}: speed", "", *markdown_table(columns, ["Variant"]), "", LEGEND, ""]
    write_atomic(folder / "timing.md", "\n".join(lines).encode())
    return _terminal_table(columns, study)


def _terminal_table(columns: Mapping[str, Sequence[str]], study: Study) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title, caption = Text(f"{visible(study.title)}: speed"), Text(LEGEND, justify="left")
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD)
    for header in columns:
        left = header == "Variant"
        table.add_column(header, overflow="fold", justify="left" if left else "right", no_wrap=not left)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


LEGEND = (
    f"One run at a time, no other beside it; {ROUNDS} turns of {TIMED_EPOCHS} epochs after a first one that is not "
    "counted. s per epoch: training steps only, median; range: fastest and slowest epoch. Ratio: to the baseline. "
    "s per evaluation: validation images, median."
)


def _cells(frame: pd.DataFrame, study: Study) -> dict[str, list[str]]:
    """Header -> one text per variant."""
    lines = frame.to_dict("records")
    columns = {
        "Variant": [visible(str(line["variant"])) for line in lines],
        "s per epoch": [seconds(line["seconds_per_epoch"]) for line in lines],
        "Range": [
            f"{seconds(line['fastest_epoch_seconds'])} to {seconds(line['slowest_epoch_seconds'])}"
            if line["epochs_timed"]
            else MISSING
            for line in lines
        ],
        "Ratio": [_rounded(line["ratio"], ".3f") for line in lines],
        "Images per s": [_rounded(line["images_per_second"], ",.0f") for line in lines],
        "s per evaluation": [seconds(line["eval_seconds"]) for line in lines],
    }
    if study.baseline is None:
        del columns["Ratio"]
    return columns


def _rounded(value: float, form: str) -> str:
    return MISSING if math.isnan(value) else f"{value:{form}}"


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else math.nan
