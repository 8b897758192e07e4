"""Planning a study: in which order its runs begin, what each takes, and when all are done on so many workers.

Speeds are measured by ``harness.speed``, the schedule is followed by ``harness.schedule``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness import data, schedule, speed
from harness.cache import Dataset
from harness.config import RunConfig
from harness.schedule import Costs
from harness.speed import Kind, Speed
from harness.study import Run

NamedRun = tuple[str, Run]  # a run with its name in the store

# On this machine: workers start and load kernels; tables and figures are written.
LOCAL = Costs(start_seconds=1.5, end_seconds=2.0)
# On a cluster, measured on a loopback network: what this process does to hand out a run, and to take in and store one.
CLUSTER = Costs(give_seconds=0.001, store_seconds=0.0065, way_seconds=0.005, start_seconds=5.0, end_seconds=2.0)
WORKERS = (16, 256, 4096)  # for which a plan is told, beside those of this machine


def queue(runs: Sequence[NamedRun], dataset: Dataset, workers: int) -> list[NamedRun]:
    """Runs in the order to begin them: towards the end the longest first, so that all workers end together.

    Until then they go variant by variant within a seed, so that a machine's mood hits all variants alike. The end is
    at least the last seed, and on many workers as much as keeps all of them busy for as long as the longest run takes:
    with few runs for each worker that is all of them.
    """
    if not runs:
        return []
    weights = [weight(run.config, dataset) for _, run in runs]
    last_seed = max(run.config.seed for _, run in runs)
    begin = next(i for i, (_, run) in enumerate(runs) if run.config.seed == last_seed)
    tail, enough = sum(weights[begin:]), workers * max(weights)
    while begin > 0 and tail < enough:
        begin -= 1
        tail += weights[begin]
    return [*runs[:begin], *sorted(runs[begin:], key=lambda item: -weight(item[1].config, dataset))]


def weight(config: RunConfig, dataset: Dataset) -> float:
    """How long a run takes, in no unit."""
    images = config.data.limit or 0.8 * len(dataset.X)
    return config.epochs * speed.work(config, dataset) * math.ceil(images / config.batch_size)


@dataclass(frozen=True)
class Estimate:
    """What runs will take.

    Attributes
    ----------
    seconds : dict of str to float
        Of each run, by its name, in the order to begin them, on one of ``jobs`` workers of this machine.
    variants : dict of str to float
        Of a run of each variant.
    jobs : int
        Workers of this machine.
    """

    seconds: dict[str, float]
    variants: dict[str, float]
    jobs: int

    def of_variant(self, name: str) -> str:
        """What a run of a variant takes, as the end of a line about it; empty if none is to be made."""
        return f"; {duration(self.variants[name])} a run" if name in self.variants else ""

    def total(self, workers: int, costs: Costs) -> float:
        """Seconds until all runs are made by so many workers, and the tables are written."""
        seconds = list(self.seconds.values())
        return schedule.makespan(seconds if workers == self.jobs else sorted(seconds, reverse=True), workers, costs)


def estimate(runs: Sequence[NamedRun], speeds: Mapping[Kind, Speed], dataset: Dataset, jobs: int) -> Estimate:
    """Estimate what runs take."""
    parts: dict[Any, tuple[int, int, int]] = {}
    seconds, variants = {}, {}
    for name, run in runs:
        config = run.config
        if config.data not in parts:
            split = data.make_split(dataset, config.data.split, config.data.split_seed, config.data.limit)
            parts[config.data] = len(split.train), len(split.val), len(split.test)
        rows = parts[config.data]
        steps = math.ceil(rows[0] / config.batch_size)
        seconds[name] = speeds[speed.kind_of(config)].run(config.epochs, steps, rows)
        variants[run.variant] = seconds[name]
    return Estimate(seconds, variants, jobs)


def describe(estimate: Estimate, wanted: int | None) -> list[str]:
    """Lines for the screen: seconds of a run, and of all runs here and on other numbers of workers.

    Parameters
    ----------
    estimate
        What runs take.
    wanted
        A number of workers that was asked for.
    """
    seconds = list(estimate.seconds.values())
    if not seconds:
        return ["nothing to be made: all runs are stored"]
    low, mean, high = duration(min(seconds)), duration(fmean(seconds)), duration(max(seconds))
    here = duration(estimate.total(estimate.jobs, LOCAL))
    spread = f" ({low} to {high})" if low != high else ""
    runs = f"{len(seconds):,} run{'s' if len(seconds) > 1 else ''} to be made, {mean} each{spread}"
    lines = [f"{runs}; about {here} here, {estimate.jobs} at a time"]
    others = {n for n in WORKERS if estimate.jobs < n < 2 * len(seconds)}
    others |= {wanted} if wanted is not None and estimate.jobs < wanted and estimate.jobs < len(seconds) else set()
    if others:
        told = ", ".join(f"{duration(estimate.total(n, CLUSTER))} with {n:,}" for n in sorted(others))
        lines.append(f"on a cluster of machines like this one: about {told} workers")
    return lines


def duration(seconds: float) -> str:
    """Seconds in words, with two digits or so."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.1f} min" if minutes < 9.95 else f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes > 595 else f"{minutes / 60:.1f} h"
