"""Making the runs of a plan: where, in which order, how many at a time, and what is shown meanwhile.

What a request is and what becomes of the runs is left to ``harness.session``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from harness import checkpoint, footprint, outputs, planner, runner, signals, speed
from harness.cache import Dataset
from harness.config import RunConfig
from harness.locks import sweep_locks
from harness.places import Local, Place, compile_once, opened
from harness.progress import Pause, Progress
from harness.study import Run
from harness.tracking import Tracker
from harness.version import code_version
from harness.worker import Kind, Outcome, Task

if TYPE_CHECKING:
    from harness.session import Plan, Request


@dataclass(frozen=True)
class Made:
    """How the missing runs were made: so many side by side, on which processors, and the failed ones by name."""

    jobs: int
    cpu: str | None = None
    failures: dict[str, Outcome] = field(default_factory=dict)


def make(request: Request, plan: Plan, console: Console, tracker: Tracker) -> Made:
    """Make the missing runs."""
    if not plan.missing:
        return Made(request.jobs or usable_cores())
    if request.fresh:
        for name, _ in plan.missing:
            checkpoint.forget(request.runs_folder, name)
    failures: dict[str, Outcome] = {}
    with opened(_place(request, plan, console)) as place:
        _prepare(place, console)
        jobs = place.jobs
        missing = planner.queue(plan.missing, plan.dataset, min(place.most_jobs, len(plan.missing)))
        tasks = [task_of(request, plan, name, each, jobs) for name, each in missing]
        with Progress(console, {name: each.config.epochs for name, each in missing}) as progress:

            def on_poll() -> None:
                signals.checkpoint()
                events = place.news()
                progress.update(events)
                tracker.update(events)

            for left, outcome in zip(reversed(range(len(tasks))), place.run(tasks, on_poll), strict=True):
                if left == place.jobs - 1:  # from here on a core is idle
                    threading.Thread(target=outputs.preload, daemon=True).start()
                progress.finish(outcome.run_id, outcome.status)
                tracker.finish(outcome.run_id, outcome.status, outcome.reason)
                if outcome.status == "failed":
                    failures[outcome.run_id] = outcome
                    progress.note(f"run {outcome.run_id} failed: {outcome.reason}")
        sweep_locks(request.runs_folder)  # of workers that died of their runs
        return Made(jobs, place.cpu, failures)


def estimate(request: Request, plan: Plan, console: Console) -> planner.Estimate:
    """Measure what a request's runs take."""
    jobs = _jobs(min(request.jobs or usable_cores(), usable_cores()), plan, console)
    tasks = [task_of(request, plan, name, run, jobs) for name, run in plan.missing]

    def measure(kinds: Sequence[Task]) -> list[speed.Speed]:
        place = Local(jobs, _kinds(plan.configs), request.study.extensions)
        with opened(place):
            _prepare(place, console)
            with Pause(console, "measuring the speed of this machine") as pause:

                def on_poll(made: int, n: int) -> None:
                    signals.checkpoint()
                    pause.update(f"{made} of {n}")

                return speed.measure_all(kinds, place.pool, on_poll)

    speeds = speed.of_tasks(tasks, plan.dataset, jobs, measure)
    return planner.estimate(planner.queue(plan.missing, plan.dataset, jobs), speeds, plan.dataset, jobs)


def _place(request: Request, plan: Plan, console: Console) -> Place:
    """Where the missing runs are to be made."""
    kinds = [] if request.compiled else _kinds((*plan.configs, *request.ahead))
    if request.backend == "loky":
        return Local(_jobs(request.jobs or usable_cores(), plan, console), kinds, request.study.extensions)
    from harness.cluster import Cluster
    from harness.muster import Needs
    from harness.remote import packed

    needs = Needs(plan.dataset, kinds, packed(request.study.extensions))
    limit = request.jobs if request.scheduler else _jobs(request.jobs or usable_cores(), plan, console)
    return Cluster(request.scheduler, limit, needs, footprint.largest(plan.configs, plan.dataset))


def _jobs(wanted: int, plan: Plan, console: Console) -> int:
    """Runs at a time on this machine: no more than there are, nor than fit into its memory."""
    return fitting_jobs(max(1, min(wanted, len(plan.missing))), plan.configs, plan.dataset, console)


def fitting_jobs(wanted: int, configs: Sequence[RunConfig], dataset: Dataset, console: Console) -> int:
    """How many runs of these settings fit into memory at a time, of those wanted; says so where it is fewer."""
    jobs, why = footprint.fitting(wanted, configs, dataset)
    if why:
        console.print(Text(f"Memory: {why}", style="yellow"), soft_wrap=True)
    return jobs


def compile_for(configs: Iterable[RunConfig], extensions: Sequence[Path], pool: runner.Pool, console: Console) -> None:
    """Compile what runs need, once, before workers look for it in the cache on disk."""
    with _getting_ready(console) as (say, on_poll):
        compile_once(_kinds(configs), extensions, pool, say, on_poll)


def _prepare(place: Place, console: Console) -> None:
    """Wait until workers are ready, with compiled kernels."""
    with _getting_ready(console) as (say, on_poll):
        place.prepare(say, on_poll)


@contextmanager
def _getting_ready(console: Console) -> Iterator[tuple[Callable[[str], Any], Callable[[str], Any]]]:
    """Show that the workers are being made ready: gives what prints a line, and what says how far it is."""
    with Pause(console, "getting ready") as pause:

        def say(line: str) -> None:
            console.print(Text(line, style="yellow" if line.startswith("warning") else ""), soft_wrap=True)

        def on_poll(how_far: str) -> None:
            signals.checkpoint()
            pause.update(how_far)

        yield say, on_poll


def _kinds(configs: Iterable[RunConfig]) -> list[Kind]:
    """What runs need compiled."""
    return list(dict.fromkeys(_kind(config) for config in configs if config.engine == "numba"))


def _kind(config: RunConfig) -> Kind:
    """What decides which kernels a run needs."""
    return config.activation, config.loss, config.optimizer.name, config.precision


def task_of(request: Request, plan: Plan, name: str, run: Run, jobs: int) -> Task:
    """What a worker is told of a run that goes on among so many."""
    circumstances = {"jobs": jobs, "data_fingerprint": plan.dataset.fingerprint, "code_version": code_version()}
    return Task(
        run_id=name,
        variant=run.variant,
        config=run.config,
        data_folder=plan.dataset.folder,
        runs_folder=request.runs_folder.absolute(),
        extensions=request.study.extensions,
        circumstances=circumstances,
        news=None,
        replaces=plan.replaces.get(name, ""),
        wishes=request.wishes,
    )


def usable_cores() -> int:
    """Cores this process may use, by affinity and control group."""
    from joblib import cpu_count

    return int(cpu_count())
