"""Carries out the searches of a study, and then the study with what they have chosen.

The variants are searched side by side and deterministically, so that the same values are chosen whatever the machine
and its load. Trials are ordinary stored runs; the journal in the study's folder knows them, so any kill is survived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from harness import journal, session, signals, trials
from harness.cache import Dataset
from harness.command import INTERRUPTED, SOME_FAILED
from harness.desk import Desk
from harness.errors import UserError
from harness.files import require_writable, sweep
from harness.journal import Told
from harness.progress import standard_output
from harness.search import book_of, identity, train
from harness.session import Ending, Request, find_data
from harness.study import Study
from harness.studyfile import word
from harness.sweepfile import Search
from harness.tracking import Subject, Tracker, chosen_mode

Found = dict[str, list[Told]]  # trials of each variant


def run(request: Request) -> Ending:
    """Search, then carry the study out.

    Raises
    ------
    UserError
        When the request cannot be carried out; nothing has been trained then.
    """
    signals.checkpoint()
    mode = chosen_mode(request.wandb)
    require_writable("--out", request.runs_folder, request.folder)
    dataset = find_data(request)
    sweep(request.folder)
    console, searches = standard_output(), searches_of(request.study)
    with ExitStack() as stack:
        shelf = stack.enter_context(journal.opened(request.folder, anew=request.fresh))
        desks = {
            name: Desk(each, dataset, book_of(shelf, each, dataset), request.runs_folder, name, request.fresh)
            for name, each in searches.items()
        }
        _introduce(console, searches, {name: desk.told() for name, desk in desks.items()})
        try:
            with signals.restored(), _tracker(request, dataset, mode, console) as tracker:
                jobs = request.jobs if request.backend == "loky" else None  # a cluster gets the runs, not the trials
                train(list(desks.values()), jobs, console, tracker)
                found = {name: desk.told() for name, desk in desks.items()}
                _report(request, searches, found, console)
                tracker.close(tables=False, say=False)
        except KeyboardInterrupt:
            with signals.ignored():
                made = sum(len(desk.told()) for desk in desks.values())
                words = "the same command without --fresh" if request.fresh else "the same command"
                text = f"Stopped. {made} of {_budget(searches)} trials are kept; {words} goes on with the rest."
                console.print(Text(text), soft_wrap=True)
            return Ending(INTERRUPTED)
    ending = session.run(replace(request, study=settle(request.study, searches, found)))
    failed = any(each.result["status"] == "failed" for told in found.values() for each in told)
    return replace(ending, status=max(ending.status, SOME_FAILED)) if failed else ending


def dry_run(request: Request) -> int:
    """Say what a request would do."""
    dataset, searches = find_data(request), searches_of(request.study)
    found = _found(request, searches, dataset)
    _introduce(standard_output(), searches, found)
    whole = all(len(told) >= searches[name].trials for name, told in found.items())
    study = settle(request.study, searches, found) if whole else replace(request.study, tuning=None)
    return session.dry_run(replace(request, study=study))


def settled(request: Request) -> Study:
    """A study with the values that its searches have chosen.

    Raises
    ------
    UserError
        When they have not come to their end.
    """
    dataset, searches = find_data(request), searches_of(request.study)
    found = _found(request, searches, dataset)
    if any(len(told) < searches[name].trials for name, told in found.items()):
        made = sum(map(len, found.values()))
        raise UserError(
            f"{request.study.name}: {made} of the {_budget(searches)} trials that choose its settings are made; "
            "harness.ablate makes them"
        )
    return settle(request.study, searches, found)


def searches_of(study: Study) -> dict[str, Search]:
    """The search of each variant."""
    assert study.tuning is not None
    tuning = study.tuning
    return {
        name: Search(
            name=study.name,
            title=study.title,
            question=study.question,
            space=space,
            trials=tuning.trials,
            method=tuning.method,
            pruning="none",
            seed=0,
            deterministic=True,
            extensions=study.extensions,
            changes=study.changes,
        )
        for name, space in tuning.spaces.items()
    }


def choose(told: Sequence[Told]) -> Told:
    """The trial whose settings a variant gets: the winner, or else the one that trained longest before it diverged."""
    return trials.winner(told) or max(told, key=lambda each: (len(each.accuracies), -each.number))


def settle(study: Study, searches: Mapping[str, Search], found: Found) -> Study:
    """The study with chosen values in place of its searches."""
    configs = {name: trials.config_of(searches[name], choose(told)) for name, told in found.items()}
    return replace(study, variants={name: config.with_seed(0) for name, config in configs.items()}, tuning=None)


def _found(request: Request, searches: Mapping[str, Search], dataset: Dataset) -> Found:
    """Trials that have ended by now, without going on with any."""
    return {name: journal.read(request.folder, identity(each, dataset)) for name, each in searches.items()}


def _budget(searches: Mapping[str, Search]) -> int:
    return sum(each.trials for each in searches.values())


def _introduce(console: Console, searches: Mapping[str, Search], found: Found) -> None:
    """Say what is searched, and how much of it is there already."""
    first = next(iter(searches.values()))
    space = ", ".join(f"{p.key} ({p.describe()})" for p in first.space.parameters)
    how = f"{first.trials} trials for each of {len(searches)} variants, {first.method} search"
    made = sum(map(len, found.values()))
    text = f"{first.name}: first, choose {space}: {how}; {made} of {_budget(searches)} trials already made"
    console.print(Text(text), soft_wrap=True)


def _tracker(request: Request, dataset: Dataset, mode: str | None, console: Console) -> Tracker:
    """Who tracks the trials in W&B: beside the study's runs, in the same group."""
    subject = Subject("search", {"study": request.study.name}, trials=True)
    return Tracker(mode, subject, dataset, [], request.folder, request.runs_folder, console)


def _report(request: Request, searches: Mapping[str, Search], found: Found, console: Console) -> None:
    """Write the trials and the response curves, and say what was chosen."""
    chosen = {name: choose(told) for name, told in found.items()}
    parameters = next(iter(searches.values())).space.parameters
    trials.write_tuned(request.folder, found, chosen, parameters, request.study.title)
    for name, best in chosen.items():
        settings = ", ".join(f"{key} = {word(value)}" for key, value in best.chosen.items())
        done = best.result["status"] == "done"
        why = f"validation accuracy {best.accuracies[-1]:.4f}" if done else "no trial was trained to its end"
        console.print(Text(f"{name}: {settings} ({why}; {trials.counts(found[name])})"), soft_wrap=True)
