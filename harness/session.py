"""One request from start to end: find data, see what is already there, run the rest, write tables, show the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from harness import checkpoint, data, footprint, making, outputs, planner, runner, signals, store
from harness.cache import Dataset, require_unchanged
from harness.checkpoint import NO_WISHES, Wishes
from harness.command import DONE, INTERRUPTED, SOME_FAILED
from harness.config import RunConfig
from harness.errors import UserError, show
from harness.files import require_writable, sweep
from harness.locks import claimed
from harness.outputs import Entry
from harness.places import PlaceLostError, opened
from harness.progress import Pause, standard_output
from harness.study import Run, Study
from harness.summaries import counted
from harness.tracking import Subject, Tracker, chosen_mode
from harness.version import code_version, run_id
from harness.worker import Outcome

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Request:
    """What a command asks for.

    Attributes
    ----------
    study : Study
        With the request's changes applied.
    command : tuple of str
        Words that make the same request again.
    out : Path
        Folder of results.
    data_dir : Path or None
        Folder of data sets.
    jobs : int or None
        Runs at a time; None for the cores this process may use, or for all workers of a cluster.
    backend : str
        ``loky``: worker processes of this machine; ``dask``: a Dask cluster.
    scheduler : str or None
        Address of a cluster's scheduler; None starts a cluster on this machine.
    fresh : bool
        Whether to make again what is stored.
    wishes : Wishes
        What to do about checkpoints.
    timing : bool
        Whether to time each variant alone afterwards.
    wandb : str or None
        ``offline``, ``online`` or ``disabled``; None leaves it to W&B's own settings.
    spared : frozenset of str
        Runs that ``fresh`` leaves alone, by name.
    ahead : tuple of RunConfig
        Runs of later requests, whose kernels are compiled along with those of this one.
    compiled : bool
        Whether that has been done for this one.
    """

    study: Study
    command: tuple[str, ...]
    out: Path = Path("results")
    data_dir: Path | None = None
    jobs: int | None = None
    backend: str = "loky"
    scheduler: str | None = None
    fresh: bool = False
    wishes: Wishes = NO_WISHES
    timing: bool = False
    wandb: str | None = None
    spared: frozenset[str] = frozenset()
    ahead: tuple[RunConfig, ...] = ()
    compiled: bool = False

    @property
    def runs_folder(self) -> Path:
        """Where runs are stored, for all studies."""
        return self.out / "runs"

    @property
    def folder(self) -> Path:
        """Where this request's tables go."""
        return self.out / self.study.name / self.study.folder_name()


@dataclass(frozen=True)
class Plan:
    """A request against what is stored.

    Attributes
    ----------
    dataset : Dataset
        Images of all runs.
    runs : list of (name, Run)
        All that is asked for.
    stored, begun : set of str
        Names of those already there, and of those that can go on.
    replaces : dict of str to str
        Seals by name of stored runs that are to be made again.
    """

    dataset: Dataset
    runs: list[tuple[str, Run]]
    stored: set[str]
    begun: set[str]
    replaces: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[tuple[str, Run]]:
        """Runs to be made, in order."""
        return [(name, run) for name, run in self.runs if name not in self.stored]

    @property
    def configs(self) -> list[RunConfig]:
        """Their settings."""
        return [run.config for _, run in self.missing]


@dataclass(frozen=True)
class Ending:
    """How a request ended.

    Attributes
    ----------
    status : int
        The exit status.
    made : frozenset of str
        Names of the runs that it made.
    entries : tuple of Entry
        All its runs; none if it was stopped.
    findings : DataFrame or None
        What came of the study's claims.
    """

    status: int
    made: frozenset[str] = frozenset()
    entries: tuple[Entry, ...] = ()
    findings: pd.DataFrame | None = None


def make_plan(request: Request) -> Plan:
    """Find the data and see which runs are stored.

    Raises
    ------
    UserError
        When the data cannot be found, or leaves no images to train on.
    """
    dataset = find_data(request)
    runs = [(run_id(run.config, dataset.fingerprint), run) for run in request.study.runs()]
    if request.wishes.from_epoch is not None:
        _require_checkpoints(request, runs, request.wishes.from_epoch)
    again = request.fresh or request.wishes.from_epoch is not None
    seals = _stored(request, runs)
    stored = {name for name in seals if not again or name in request.spared}
    begun = set() if request.fresh else {name for name, _ in runs}.intersection(checkpoint.begun(request.runs_folder))
    replaces = {name: seal for name, seal in seals.items() if name not in stored}
    return Plan(dataset, runs, stored, begun - stored, replaces)


def find_data(request: Request) -> Dataset:
    """Find the data that a request needs.

    Raises
    ------
    UserError
        When they cannot be found, or leave no images to train on.
    """
    configs = list(request.study.variants.values())
    dataset = data.find(configs[0].dataset, request.data_dir)
    for settings in {config.data: None for config in configs}:
        data.make_split(dataset, settings.split, settings.split_seed, settings.limit)
    return dataset


def _require_checkpoints(request: Request, runs: Sequence[tuple[str, Run]], epoch: int) -> None:
    """Make sure that every run can be rolled back."""
    kept = checkpoint.begun(request.runs_folder)
    for name, run in runs:
        if epoch not in kept.get(name, ()):
            known = f"kept: {', '.join(map(str, kept[name]))}" if name in kept else "none is kept"
            advice = "--checkpoint-every keeps them while a run is made"
            raise UserError(
                f"--from-epoch {epoch}: {show(run.variant)} seed {run.config.seed} has no checkpoint of this epoch; "
                f"{known}; {advice}"
            )


def _stored(request: Request, runs: Sequence[tuple[str, Run]]) -> dict[str, str]:
    """Seals by name of the runs that are on disk, whole."""
    found = ((name, store.load_run(request.runs_folder, name)) for name, _ in runs)
    return {name: run.seal for name, run in found if run is not None}


def dry_run(request: Request) -> int:
    """Say what a request would do, and how long that takes."""
    if request.study.tuning is not None:
        from harness import tuner

        return tuner.dry_run(request)
    signals.checkpoint()
    plan = make_plan(request)
    console = standard_output()
    _introduce(console, request, plan)
    with signals.restored():
        estimate = making.estimate(request, plan, console)
    for name, config in request.study.variants.items():
        settings = ", ".join(f"{key} = {value}" for key, value in request.study.factor_values(config).items())
        console.print(Text(f"  {name}: {settings}{estimate.of_variant(name)}"), soft_wrap=True)
    lines = planner.describe(estimate, request.jobs)
    for line in [*lines, footprint.describe(plan.configs, plan.dataset)] if plan.missing else lines:
        console.print(Text(line), soft_wrap=True)
    return DONE


def run(request: Request) -> Ending:
    """Carry a request out.

    Raises
    ------
    UserError
        When the request cannot be carried out; nothing has been run then.
    """
    if request.study.tuning is not None:  # comes back here with what it has chosen
        from harness import tuner

        return tuner.run(request)
    signals.checkpoint()
    mode = chosen_mode(request.wandb)
    require_writable("--out", request.runs_folder, request.folder)
    plan = make_plan(request)
    with claimed(request.runs_folder, request.folder):
        return _run(request, plan, mode)


def _run(request: Request, plan: Plan, mode: str | None) -> Ending:
    for folder in (request.runs_folder, request.folder):
        sweep(folder)
    for name in plan.stored.intersection(checkpoint.begun(request.runs_folder)):
        checkpoint.finish(request.runs_folder, name)
    console = standard_output()
    _introduce(console, request, plan)
    try:
        with signals.restored(), make_tracker(request, plan, mode, console) as tracker:
            made = making.make(request, plan, console, tracker)
            ending = _report(request, plan, console, made)
            tracker.close()
            if request.timing:
                ending = replace(ending, status=max(ending.status, _time(request, plan, console)))
            return ending
    except KeyboardInterrupt:
        with signals.ignored():
            _say_what_is_kept(request, plan, console, "Stopped")
        return Ending(INTERRUPTED)
    except PlaceLostError as lost:
        _say_what_is_kept(request, plan, console, f"Stopped: {lost}")
        return Ending(SOME_FAILED)


def _say_what_is_kept(request: Request, plan: Plan, console: Console, what: str) -> None:
    kept = len(_stored(request, plan.runs))
    words = "the same command without --fresh" if request.fresh else "the same command"
    rest = "goes on with the rest" if kept < len(plan.runs) else "writes the tables"
    console.print(Text(f"{what}. {kept} of {len(plan.runs)} runs are kept; {words} {rest}."), soft_wrap=True)


def make_tracker(request: Request, plan: Plan, mode: str | None, console: Console) -> Tracker:
    """Who tracks a request's runs in W&B."""
    study = request.study
    facts = {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "expectation": study.expectation,
        "finding": study.finding,
        "baseline": study.baseline,
        "variants": list(study.variants),
        "seeds": study.seeds,
        "changes": list(study.changes),
        "select": study.select,
        "target_accuracy": study.target_accuracy,
    }
    subject = Subject("study", facts)
    return Tracker(mode, subject, plan.dataset, plan.runs, request.folder, request.runs_folder, console)


def _introduce(console: Console, request: Request, plan: Plan) -> None:
    study, dataset = request.study, plan.dataset
    console.print(Text(f"{study.name}: {study.question or study.title}"), soft_wrap=True)
    console.print(Text(f"{dataset.name}: {dataset.source}"), soft_wrap=True)
    if dataset.warning:
        console.print(Text(f"warning: {dataset.warning}", style="yellow"), soft_wrap=True)
    settings = next(iter(study.variants.values())).data
    split = data.make_split(dataset, settings.split, settings.split_seed, settings.limit)
    parts = " / ".join(f"{len(part):,}" for part in (split.train, split.val, split.test))
    size = f"{counted(len(study.variants), 'variant')} x {counted(study.seeds, 'seed')}"
    runs = f"{counted(len(plan.runs), 'run')}: {size}, {len(plan.stored)} already stored"
    runs += f", {len(plan.begun)} to go on from a checkpoint" if plan.begun else ""
    console.print(Text(f"{parts} images to train, validate, test; {runs}"), soft_wrap=True)


def _report(request: Request, plan: Plan, console: Console, made: making.Made) -> Ending:
    """Write and show the tables."""
    from harness.findingtexts import terminal_lines
    from harness.summaries import terminal_table

    study = request.study
    entries = [_entry(request, plan, name, run, made.failures) for name, run in plan.runs]
    environment = outputs.environment(request.command, made.jobs, plan.dataset.source, made.cpu)
    images = plan.dataset.X if _is_intact(plan.dataset) else None  # cut off under way, they would end this process
    summary, findings = outputs.write(request.folder, study, entries, environment, plan.dataset.class_names, images)
    console.print(terminal_table(summary, study.title, study.baseline, study.metrics))
    for line in terminal_lines(findings):
        console.print(Text(line))
    console.print(Text(f"Tables and figures: {request.folder}"), soft_wrap=True)
    bad = sum(entry.row["status"] == "failed" for entry in entries)
    if bad:
        console.print(Text(f"{bad} of {len(entries)} runs failed; the same command tries them again."), soft_wrap=True)
    new = frozenset(name for name, _ in plan.missing if name not in made.failures)
    return Ending(SOME_FAILED if bad else DONE, new, tuple(entries), findings)


def _is_intact(dataset: Dataset) -> bool:
    """Whether a data set is still as it was opened."""
    try:
        require_unchanged(dataset)
    except UserError:
        return False
    return True


def _time(request: Request, plan: Plan, console: Console) -> int:
    """Time the first seed of each variant, alone; writes and shows the table, and returns the exit status."""
    from harness import timing

    first = plan.runs[: len(request.study.variants)]
    tasks = [making.task_of(request, plan, name, each, 1) for name, each in first]
    turns = timing.ROUNDS * len(tasks)
    with opened(runner.Pool(1)) as pool, Pause(console, "timing one run at a time") as pause:

        def on_poll(turn: int) -> None:
            signals.checkpoint()
            pause.update(f"turn {turn + 1} of {turns}, {tasks[turn % len(tasks)].variant}")

        times = dict(zip(request.study.variants, timing.measure(tasks, pool, on_poll), strict=True))
    facts = {"data_fingerprint": plan.dataset.fingerprint, "code_version": code_version()}
    table = timing.write(request.folder, request.study, times, facts)
    console.print(table)
    bad = {variant: each.reason for variant, each in times.items() if each.reason}
    for variant, reason in bad.items():
        console.print(Text(f"{variant} has no times: {reason}"), soft_wrap=True)
    return SOME_FAILED if bad else DONE


def _entry(request: Request, plan: Plan, name: str, run: Run, failures: dict[str, Outcome]) -> Entry:
    """The row of one run, read back from disk, or saying why there is none."""
    labels = {"study": request.study.name, "variant": run.variant, "select": request.study.select}
    stored = None if name in failures else store.load_run(request.runs_folder, name, request.study.select)
    if stored is not None:
        return Entry(run.variant, {**stored.row, **labels}, stored)
    reason = failures[name].reason if name in failures else "its folder was removed or edited under way"
    row = {"run_id": name, "status": "failed", "reason": outputs.impersonal(reason), **run.config.flat(), **labels}
    row |= {"data_fingerprint": plan.dataset.fingerprint, "code_version": code_version()}
    return Entry(run.variant, row, None)
