"""One search from start to end: take up its journal, train its trials as workers get free, write tables and figures.

Who asks for trials and tells of them is ``harness.desk``; tables and figures are left to ``harness.trials``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harness import data, feed, footprint, journal, outputs, signals, store, trials
from harness.cache import Dataset
from harness.command import DONE, INTERRUPTED, SOME_FAILED
from harness.config import RunConfig
from harness.desk import FAILURES, Desk
from harness.events import Listener
from harness.files import require_writable, sweep
from harness.journal import Journal, Shelf, Told
from harness.making import compile_for, fitting_jobs
from harness.progress import Progress, standard_output
from harness.space import Parameter, Space
from harness.store import StoredRun
from harness.study import Run
from harness.studyfile import word
from harness.sweepfile import Search
from harness.tracking import Subject, Tracker, chosen_mode
from harness.version import run_id
from harness.worker import Task

NOT_TRACKED = ("trial", "question")  # what an event holds for us alone


@dataclass(frozen=True)
class Request:
    """What a command asks for.

    Attributes
    ----------
    search : Search
        With the request's changes applied.
    command : tuple of str
        Words that make the same request again.
    out : Path
        Folder of results.
    data_dir : Path or None
        Folder of data sets.
    jobs : int or None
        Trials at a time; None for the cores this process may use.
    wandb : str or None
        ``offline``, ``online`` or ``disabled``; None leaves it to W&B's own settings.
    """

    search: Search
    command: tuple[str, ...]
    out: Path = Path("results")
    data_dir: Path | None = None
    jobs: int | None = None
    wandb: str | None = None

    @property
    def runs_folder(self) -> Path:
        """Where runs are stored, for all studies."""
        return self.out / "runs"

    @property
    def folder(self) -> Path:
        """Where this search's journal, tables and figures go."""
        return self.out / self.search.name / self.search.folder_name()


def find_data(request: Request) -> Dataset:
    """Find the data.

    Raises
    ------
    UserError
        When they cannot be found, or leave no images to train on.
    """
    shared = request.search.shared
    dataset = data.find(shared.dataset, request.data_dir)
    data.make_split(dataset, shared.data.split, shared.data.split_seed, shared.data.limit)
    return dataset


def identity(search: Search, dataset: Dataset) -> str:
    """Name of a search in its journal: the same for the same space, rules, data, code and formulas only."""
    runs = [run_id(config, dataset.fingerprint) for config in search.space.corners()]
    space = [(p.key, p.describe()) for p in search.space.parameters]
    rules = [search.method, search.pruning, search.seed, search.deterministic]
    return hashlib.sha256(json.dumps([space, rules, runs]).encode()).hexdigest()[:16]


def book_of(shelf: Shelf, search: Search, dataset: Dataset) -> Journal:
    """A search's trials in an open journal."""
    return shelf.journal(identity(search, dataset), search.space.parameters, search.method, search.seed)


def dry_run(request: Request) -> int:
    """Say what a search would do."""
    dataset = find_data(request)
    console = standard_output()
    introduce(console, request, dataset, len(journal.read(request.folder, identity(request.search, dataset))))
    for p in request.search.space.parameters:
        console.print(Text(f"  {p.key}: {p.describe()}"), soft_wrap=True)
    return DONE


def run(request: Request) -> int:
    """Carry a search out; returns the exit status.

    Raises
    ------
    UserError
        When it cannot be carried out; nothing has been trained then.
    """
    signals.checkpoint()
    mode = chosen_mode(request.wandb)
    search = request.search
    require_writable("--out", request.runs_folder, request.folder)
    dataset = find_data(request)
    for folder in (request.runs_folder, request.folder):
        sweep(folder)
    console = standard_output()
    with journal.opened(request.folder) as shelf:
        book = book_of(shelf, search, dataset)
        introduce(console, request, dataset, len(book.told()))
        desk = Desk(search, dataset, book, request.runs_folder)
        try:
            with (
                signals.restored(),
                Tracker(mode, subject(search), dataset, [], request.folder, request.runs_folder, console) as tracker,
            ):
                train([desk], request.jobs, console, tracker)
                told = book.told()
                report(request, dataset, desk, told, console)
                tracker.close()
        except KeyboardInterrupt:
            with signals.ignored():
                made = len(book.told())
                rest = "goes on with the rest" if made < search.trials else "writes the tables"
                text = f"Stopped. {made} of {search.trials} trials are kept; the same command {rest}."
                console.print(Text(text), soft_wrap=True)
            return INTERRUPTED
    return SOME_FAILED if any(each.result["status"] == "failed" for each in told) else DONE


def subject(search: Search) -> Subject:
    """What W&B gets to know about a search."""
    facts = {
        "study": search.name,
        "title": search.title,
        "question": search.question,
        "method": search.method,
        "pruning": search.pruning,
        "seed": search.seed,
        "deterministic": search.deterministic,
        "trials": search.trials,
        "space": {p.key: p.describe() for p in search.space.parameters},
        "changes": list(search.changes),
    }
    return Subject("search", facts, trials=True)


def introduce(console: Console, request: Request, dataset: Dataset, made: int) -> None:
    """Say what is searched, on which data, and how much of it is there already."""
    search = request.search
    console.print(Text(f"{search.name}: {search.question or search.title}"), soft_wrap=True)
    console.print(Text(f"{dataset.name}: {dataset.source}"), soft_wrap=True)
    if dataset.warning:
        console.print(Text(f"warning: {dataset.warning}", style="yellow"), soft_wrap=True)
    shared = search.shared
    split = data.make_split(dataset, shared.data.split, shared.data.split_seed, shared.data.limit)
    parts = " / ".join(f"{len(part):,}" for part in (split.train, split.val, split.test))
    how = f"{search.method} search, pruning {search.pruning}" + (", deterministic" if search.deterministic else "")
    text = f"{parts} images to train, validate, test; {search.trials} trials, {made} already made; {how}"
    console.print(Text(text), soft_wrap=True)


def train(desks: Sequence[Desk], jobs: int | None, console: Console, tracker: Tracker) -> None:
    """Make the trials that are missing, of several searches side by side; changes journals and the store only.

    The next trial is one of the search that has had the fewest so far.
    """
    for desk in desks:
        for told in desk.told():
            _add(tracker, desk, told)
    owners = {name: desk for desk in desks for name in desk.missing}
    if not owners:
        return
    configs = [config for desk in desks for config in desk.search.space.corners()]
    wanted = min(jobs or _cores(), sum(desk.most for desk in desks))
    large = [largest(desk.search.space, desk.dataset) for desk in desks]
    n_jobs = fitting_jobs(wanted, large, desks[0].dataset, console)
    news = Listener(lambda event: owners[event["trial"]].answer(event))
    epochs = {name: desk.search.shared.epochs for name, desk in owners.items()}
    with contextlib.closing(news), feed.workers(n_jobs) as pool:
        compile_for(configs, desks[0].search.extensions, pool, console)
        with Progress(console, epochs) as progress:

            def on_poll() -> None:
                signals.checkpoint()
                events = [event for event in news.drain() if "trial" in event]
                progress.update({**event, "run_id": event["trial"]} for event in events)
                tracker.update({k: v for k, v in event.items() if k not in NOT_TRACKED} for event in events)

            def next_task() -> Task | None:
                for desk in sorted(desks, key=lambda desk: desk.handed_out):
                    task = desk.next_task(n_jobs, news.address)
                    show(desk)
                    if task is not None:
                        tracker.add(task.run_id, Run(task.variant, task.config))
                        return task
                return None

            def show(desk: Desk) -> None:
                for told, best in desk.news():
                    name, status, reason = desk.name(told.number), told.result["status"], told.result["reason"]
                    progress.finish(name, status)
                    _add(tracker, desk, told)
                    tracker.finish(told.result["run_id"], status, reason)
                    if status == "failed":
                        progress.note(f"{name} failed: {reason}")
                    if best:
                        progress.note(f"{name}: best so far, validation accuracy {told.accuracies[-1]:.4f}")

            for task, outcome in feed.run(next_task, pool, on_poll):
                owners[task.variant].end(task, outcome)
                show(owners[task.variant])
    for desk in desks:
        if desk.failures >= FAILURES:
            text = f"{FAILURES} trials in a row failed: no more were begun; the same command goes on with the rest."
            console.print(Text(text), soft_wrap=True)


def largest(space: Space, dataset: Dataset) -> RunConfig:
    """The trial that needs the most memory, found setting by setting; corners differ in one setting only."""
    chosen = {p.key: _values(p)[0] for p in space.parameters}
    for p in space.parameters * 2:  # where there are no layers yet, their width makes no difference
        configs = [(value, space.config({**chosen, p.key: value})) for value in _values(p)]
        chosen[p.key] = max(configs, key=lambda each: footprint.run_bytes(each[1], dataset))[0]
    return space.config(chosen)


def _values(p: Parameter) -> tuple[Any, ...]:
    return p.values or (p.low, p.high)


def _add(tracker: Tracker, desk: Desk, told: Told) -> None:
    """Let a tracker know of a trial that has ended."""
    pruned = told.accuracies if told.result["status"] == "pruned" else None
    tracker.add(told.result["run_id"], desk.run_of(told), pruned)


def report(request: Request, dataset: Dataset, desk: Desk, told: list[Told], console: Console) -> None:
    """Train the winner again if its run is gone, write tables and figures, and show the end."""
    search = request.search
    winner = trials.winner(told)
    stored = None
    if winner is not None:
        stored = store.load_run(request.runs_folder, winner.result["run_id"])
        stored = stored or _again(desk.task(desk.run_of(winner).config, "winner"))
    environment = outputs.environment(request.command, request.jobs or _cores(), dataset.source)
    trials.write(request.folder, trials.Results(search, dataset, told, winner, stored), environment)
    console.print(Text(trials.counts(told)), soft_wrap=True)
    if winner is not None and stored is not None:
        settings = ", ".join(f"{key} = {word(value)}" for key, value in winner.chosen.items())
        console.print(Text(f"Winner: trial {winner.number}: {settings}"), soft_wrap=True)
        row = stored.row
        text = f"validation accuracy {row['val_accuracy']:.4f}, test accuracy {row['test_accuracy']:.4f}"
        console.print(Text(text), soft_wrap=True)
    console.print(Text(f"Tables and figures: {request.folder}"), soft_wrap=True)


def _again(task: Task) -> StoredRun | None:
    """Carry out one task."""
    waiting = [task]
    with feed.workers(1) as pool:
        for _ in feed.run(lambda: waiting.pop() if waiting else None, pool, signals.checkpoint):
            pass
    return store.load_run(task.runs_folder, task.run_id)


def _cores() -> int:
    """Cores this process may use, by affinity and control group."""
    from joblib import cpu_count

    return int(cpu_count())
