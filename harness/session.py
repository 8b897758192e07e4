"""One request from start to end: find data, see what is already there, run the rest, write tables, show the result."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness import data, outputs, runner, signals, store
from harness.cache import Dataset
from harness.command import DONE, INTERRUPTED, SOME_FAILED
from harness.config import RunConfig
from harness.events import Address, Listener
from harness.files import require_writable, sweep
from harness.outputs import Entry
from harness.progress import Pause, Progress, standard_output
from harness.study import Run, Study
from harness.tracking import Tracker, chosen_mode
from harness.version import code_version, run_id
from harness.worker import Kind, Outcome, Task

COMPILED_SECONDS = 4.0  # longer than workers take to start and to load kernels


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
        Runs at a time; None for the cores this process may use.
    fresh : bool
        Whether to make again what is stored.
    timing : bool
        Whether to time each variant alone afterwards.
    wandb : str or None
        ``offline``, ``online`` or ``disabled``; None leaves it to W&B's own settings.
    """

    study: Study
    command: tuple[str, ...]
    out: Path = Path("results")
    data_dir: Path | None = None
    jobs: int | None = None
    fresh: bool = False
    timing: bool = False
    wandb: str | None = None

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
    """A request against what is stored: its runs with their names, and the names of those already there."""

    dataset: Dataset
    runs: list[tuple[str, Run]]
    stored: set[str]

    @property
    def missing(self) -> list[tuple[str, Run]]:
        """Runs to be made, in order."""
        return [(name, run) for name, run in self.runs if name not in self.stored]

    @property
    def queue(self) -> list[tuple[str, Run]]:
        """The same in the order to start them: of the last seed the longest first, so that all cores end together."""
        last = max((run.config.seed for _, run in self.missing), default=0)
        return sorted(
            self.missing, key=lambda item: self._work(item[1].config) if item[1].config.seed == last else -math.inf
        )

    def _work(self, config: RunConfig) -> float:
        """How long a run takes, in no unit, less than zero: the longest come first."""
        sizes = (self.dataset.X.shape[1], *config.hidden, len(self.dataset.class_names))
        images = config.data.limit or len(self.dataset.X)
        return float(-config.epochs * images * sum(a * b for a, b in itertools.pairwise(sizes)))


def make_plan(request: Request) -> Plan:
    """Find the data and see which runs are stored.

    Raises
    ------
    UserError
        When the data cannot be found, or leaves no images to train on.
    """
    configs = list(request.study.variants.values())
    dataset = data.find(configs[0].dataset, request.data_dir)
    for settings in {config.data: None for config in configs}:
        data.make_split(dataset, settings.split, settings.split_seed, settings.limit)
    runs = [(run_id(run.config, dataset.fingerprint), run) for run in request.study.runs()]
    return Plan(dataset, runs, set() if request.fresh else _stored(request, runs))


def _stored(request: Request, runs: Sequence[tuple[str, Run]]) -> set[str]:
    """Names of the runs that are on disk, whole."""
    return {name for name, _ in runs if store.load_run(request.runs_folder, name) is not None}


def dry_run(request: Request) -> int:
    """Say what a request would do."""
    plan = make_plan(request)
    console = standard_output()
    _introduce(console, request, plan)
    for name, config in request.study.variants.items():
        changed = {key: value for key, value in config.flat().items() if key in request.study.factor_keys}
        settings = ", ".join(f"{key} = {value}" for key, value in changed.items())
        console.print(Text(f"  {name}: {settings}"), soft_wrap=True)
    return DONE


def run(request: Request) -> int:
    """Carry a request out; returns the exit status.

    Raises
    ------
    UserError
        When the request cannot be carried out; nothing has been run then.
    """
    signals.checkpoint()
    mode = chosen_mode(request.wandb)
    require_writable("--out", request.runs_folder, request.folder)
    plan = make_plan(request)
    for folder in (request.runs_folder, request.folder):
        sweep(folder)
    console = standard_output()
    _introduce(console, request, plan)
    try:
        with signals.restored(), make_tracker(request, plan, mode, console) as tracker:
            failures = _make(request, plan, console, tracker) if plan.missing else {}
            status = _report(request, plan, console, failures)
            tracker.close()
            return max(status, _time(request, plan, console)) if request.timing else status
    except KeyboardInterrupt:
        with signals.ignored():
            kept = len(_stored(request, plan.runs))
            words = "the same command without --fresh" if request.fresh else "the same command"
            rest = "goes on with the rest" if kept < len(plan.runs) else "writes the tables"
            console.print(Text(f"Stopped. {kept} of {len(plan.runs)} runs are kept; {words} {rest}."), soft_wrap=True)
        return INTERRUPTED


def make_tracker(request: Request, plan: Plan, mode: str | None, console: Console) -> Tracker:
    """Who tracks a request's runs in W&B."""
    return Tracker(mode, request.study, plan.dataset, plan.runs, request.folder, request.runs_folder, console)


def _introduce(console: Console, request: Request, plan: Plan) -> None:
    study, dataset = request.study, plan.dataset
    console.print(Text(f"{study.name}: {study.question or study.title}"), soft_wrap=True)
    console.print(Text(f"{dataset.name}: {dataset.source}"), soft_wrap=True)
    if dataset.warning:
        console.print(Text(f"warning: {dataset.warning}", style="yellow"), soft_wrap=True)
    settings = next(iter(study.variants.values())).data
    split = data.make_split(dataset, settings.split, settings.split_seed, settings.limit)
    parts = " / ".join(f"{len(part):,}" for part in (split.train, split.val, split.test))
    size = f"{_count(len(study.variants), 'variant')} x {_count(study.seeds, 'seed')}"
    runs = f"{_count(len(plan.runs), 'run')}: {size}, {len(plan.stored)} already stored"
    console.print(Text(f"{parts} images to train, validate, test; {runs}"), soft_wrap=True)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _make(request: Request, plan: Plan, console: Console, tracker: Tracker) -> dict[str, Outcome]:
    """Make the missing runs; returns the failed ones by name."""
    missing, failures = plan.queue, {}
    jobs = min(request.jobs or _cores(), len(missing))
    news = Listener()
    with contextlib.closing(news), _workers(jobs) as pool:
        _compile(request, missing, pool, console)
        tasks = [_task(request, plan, name, each, jobs, news.address) for name, each in missing]
        with Progress(console, {name: each.config.epochs for name, each in missing}) as progress:

            def on_poll() -> None:
                signals.checkpoint()
                events = news.drain()
                progress.update(events)
                tracker.update(events)

            for left, outcome in zip(reversed(range(len(tasks))), runner.run(tasks, pool, on_poll), strict=True):
                if left == jobs - 1:  # from here on a core is idle
                    threading.Thread(target=outputs.preload, daemon=True).start()
                progress.finish(outcome.run_id, outcome.status)
                tracker.finish(outcome.run_id, outcome.status, outcome.reason)
                if outcome.status == "failed":
                    failures[outcome.run_id] = outcome
                    progress.note(f"run {outcome.run_id} failed: {outcome.reason}")
    return failures


@contextlib.contextmanager
def _workers(jobs: int) -> Iterator[runner.Pool]:
    """Worker processes, which end with the block, and at once if it breaks off."""
    pool = runner.Pool(jobs)
    try:
        pool.open()
        yield pool
        pool.close()
    except BaseException:
        with signals.ignored():
            pool.kill()
        raise


def _compile(request: Request, missing: Sequence[tuple[str, Run]], pool: runner.Pool, console: Console) -> None:
    """Compile what the runs need, once, before workers look for it in the cache on disk."""
    kinds = list(dict.fromkeys(_kind(run.config) for _, run in missing if run.config.engine == "numba"))
    if not kinds:
        return
    from kernels.jit import cache_folder

    if not cache_folder().is_dir():
        console.print(Text("Compiling kernels for this machine, once (5 to 20 s) …"))
    start = time.perf_counter()
    with Pause(console, "compiling kernels") as pause:

        def on_poll(ready: int, parts: int) -> None:
            signals.checkpoint()
            pause.update(f"{ready} of {parts} parts ready" if parts else "starting the workers")

        runner.compile_kernels(kinds, request.study.extensions, pool, on_poll)
    seconds = time.perf_counter() - start
    if seconds > COMPILED_SECONDS:
        console.print(Text(f"Compiling took {seconds:.1f} s; later commands find the kernels in the cache."))


def _kind(config: RunConfig) -> Kind:
    """What decides which kernels a run needs."""
    return config.activation, config.loss, config.optimizer.name, config.precision


def _task(request: Request, plan: Plan, name: str, run: Run, jobs: int, news: Address | None) -> Task:
    circumstances = {"jobs": jobs, "data_fingerprint": plan.dataset.fingerprint, "code_version": code_version()}
    return Task(
        run_id=name,
        variant=run.variant,
        config=run.config,
        data_folder=plan.dataset.folder,
        runs_folder=request.runs_folder.absolute(),
        extensions=request.study.extensions,
        circumstances=circumstances,
        news=news,
    )


def _report(request: Request, plan: Plan, console: Console, failures: dict[str, Outcome]) -> int:
    """Write and show the tables; returns the exit status."""
    from harness.summaries import terminal_table

    entries = [_entry(request, plan, name, run, failures) for name, run in plan.runs]
    environment = outputs.environment(request.command, request.jobs or _cores(), plan.dataset.source)
    summary = outputs.write(request.folder, request.study, entries, environment, plan.dataset.class_names)
    console.print(terminal_table(summary, request.study.title, request.study.baseline))
    console.print(Text(f"Tables and figures: {request.folder}"), soft_wrap=True)
    bad = sum(entry.row["status"] == "failed" for entry in entries)
    if bad:
        console.print(Text(f"{bad} of {len(entries)} runs failed; the same command tries them again."), soft_wrap=True)
    return SOME_FAILED if bad else DONE


def _time(request: Request, plan: Plan, console: Console) -> int:
    """Time the first seed of each variant, alone; writes and shows the table, and returns the exit status."""
    from harness import timing

    first = plan.runs[: len(request.study.variants)]
    tasks = [_task(request, plan, name, each, 1, None) for name, each in first]
    turns = timing.ROUNDS * len(tasks)
    with _workers(1) as pool, Pause(console, "timing one run at a time") as pause:

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
    labels = {"study": request.study.name, "variant": run.variant}
    stored = None if name in failures else store.load_run(request.runs_folder, name)
    if stored is not None:
        return Entry(run.variant, {**stored.row, **labels}, stored)
    reason = failures[name].reason if name in failures else "its folder disappeared"
    row = {"run_id": name, "status": "failed", "reason": outputs.impersonal(reason), **run.config.flat(), **labels}
    row |= {"data_fingerprint": plan.dataset.fingerprint, "code_version": code_version()}
    return Entry(run.variant, row, None)


def _cores() -> int:
    """Cores this process may use, by affinity and control group."""
    from joblib import cpu_count

    return int(cpu_count())
