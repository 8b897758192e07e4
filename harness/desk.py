"""Hands out the trials of one search and takes in how they ended.

What a trial chooses is left to ``harness.journal``, when it is stopped early to ``harness.pruning``, training to
``harness.search``, which may have several desks at a time.

With ``deterministic`` the trials do not depend on timing: trial n is asked for when exactly the trials up to n - WINDOW
have been told, they are told in the order of their numbers, and a trial is judged by those alone that had been told
when it was asked for. So a trial that ends early waits for its turn, and no more than WINDOW run side by side.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import checkpoint, store
from harness.cache import Dataset
from harness.config import RunConfig
from harness.events import Address, Event
from harness.journal import Journal, Told, Trial
from harness.pruning import RULES, Judge
from harness.space import name_of
from harness.store import StoredRun
from harness.study import Run
from harness.sweepfile import Search
from harness.trials import config_of
from harness.version import code_version, run_id
from harness.worker import Outcome, Task

WINDOW = 8
FAILURES = 3  # in a row, after which something is wrong with more than a trial
STORED = ("done", "diverged")  # trials that leave a run folder


class Desk:
    """The trials of one search; all in one thread but for :meth:`answer`.

    Parameters
    ----------
    search : Search
        What is searched.
    dataset : Dataset
        On what.
    book : Journal
        Where trials are kept.
    runs_folder : Path
        Where runs are stored.
    label : str
        Distinguishes this search's trials from those of others.
    fresh : bool
        Whether to train again what is stored.

    Attributes
    ----------
    missing : list of str
        Names of the trials that had yet to be told at the beginning.
    handed_out : int
        Trials given to workers so far.
    failures : int
        Trials that failed since the last one that did not.
    """

    def __init__(
        self, search: Search, dataset: Dataset, book: Journal, runs_folder: Path, label: str = "", fresh: bool = False
    ) -> None:
        self.search, self.dataset, self._book, self._label = search, dataset, book, label
        self._runs_folder, self._fresh = runs_folder, fresh
        self._window = WINDOW if search.deterministic else None
        self._judge = Judge(RULES[search.pruning], search.shared.epochs, self._window)
        self._seconds: dict[int, float] = {}  # of training so far, by trial
        told = book.told()
        for each in told:
            self._judge.know(each.number, each.accuracies)
        self._best = max((each.accuracies[-1] for each in told if each.result["status"] == "done"), default=-1.0)
        self._ended = len(told)
        room = max(0, search.trials - len(told))  # the rest of what a kill left behind waits for a larger budget
        self._begun: deque[Trial] = deque(book.unfinished()[:room])  # not handed out yet
        self._handed: dict[str, Trial] = {}
        self._outcomes: dict[int, tuple[Trial, Outcome]] = {}  # of trials that are to be told
        self._news: list[tuple[Told, bool]] = []
        numbers = [trial.number for trial in self._begun] + list(range(len(book), search.trials))
        self.missing = [self.name(number) for number in numbers]
        self.failures = 0

    @property
    def handed_out(self) -> int:
        """Trials given to workers so far."""
        return len(self._handed)

    @property
    def most(self) -> int:
        """How many trials may run side by side."""
        return min(len(self.missing), self._window or len(self.missing))

    def name(self, number: int) -> str:
        """What a trial is called."""
        return f"{self._label} trial {number}".lstrip()

    def told(self) -> list[Told]:
        """Trials that have ended, by number."""
        return self._book.told()

    def run_of(self, told: Told) -> Run:
        """The run of a trial that has ended."""
        return Run(self.name(told.number), config_of(self.search, told))

    def task(self, config: RunConfig, name: str, jobs: int = 1, news: Address | None = None) -> Task:
        """A run to be made; with an address for news it asks there whether to go on."""
        facts = {"jobs": jobs, "data_fingerprint": self.dataset.fingerprint, "code_version": code_version()}
        return Task(
            run_id=run_id(config, self.dataset.fingerprint),
            variant=name,
            config=config,
            data_folder=self.dataset.folder,
            runs_folder=self._runs_folder.absolute(),
            extensions=self.search.extensions,
            circumstances=facts,
            news=news,
            trial=None if news is None else name,
        )

    def next_task(self, jobs: int, news: Address | None) -> Task | None:
        """Give the next trial that has to be trained; one whose run is stored has not."""
        while (trial := self._next_trial()) is not None:
            task = self.task(self.search.space.config(trial.chosen), self.name(trial.number), jobs, news)
            if self._fresh:
                checkpoint.forget(self._runs_folder, task.run_id)
            stored = store.load_run(self._runs_folder, task.run_id)
            if stored is None or self._fresh:
                self._handed[task.variant] = trial
                return task if stored is None else replace(task, replaces=stored.seal)
            self._outcomes[trial.number] = (trial, self._replayed(trial, task.run_id, stored))
        return None

    def end(self, task: Task, outcome: Outcome) -> None:
        """Take in how a run ended."""
        trial = self._handed[task.variant]
        self._outcomes[trial.number] = (trial, outcome)
        self._settle()

    def answer(self, event: Event) -> bool:
        """Whether a trial that has just trained an epoch is to be stopped; called by threads that listen to workers."""
        number = self._handed[event["trial"]].number
        self._seconds[number] = event["train_seconds"]
        return self._judge.stops(number, event["epoch"], event["val_accuracy"])

    def news(self) -> list[tuple[Told, bool]]:
        """Trials that have ended since the last call, and whether each was the best then."""
        news, self._news = self._news, []
        return news

    def _next_trial(self) -> Trial | None:
        """The next trial to be handed out, asked for if it is its turn."""
        self._settle()
        if self.failures >= FAILURES:
            return None
        if not self._begun and self._may_ask():
            self._begun.append(self._book.ask())
        return self._begun.popleft() if self._begun else None

    def _may_ask(self) -> bool:
        asked = len(self._book)
        return asked < self.search.trials and (self._window is None or asked < self._ended + self._window)

    def _settle(self) -> None:
        """Tell what can be told: at once, or in the fixed order, with all the asking that is due in between."""
        while True:
            if self._window is not None and self._may_ask():
                self._begun.append(self._book.ask())
            elif self._window is None and self._outcomes:
                self._tell(*self._outcomes.pop(min(self._outcomes)))
            elif self._ended in self._outcomes:
                self._tell(*self._outcomes.pop(self._ended))
            else:
                return

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        number = trial.number
        result: dict[str, Any] = {"status": outcome.status, "reason": outcome.reason, "run_id": outcome.run_id}
        stored = store.load_run(self._runs_folder, outcome.run_id) if outcome.status in STORED else None
        if stored is not None:
            self._judge.know(number, [record["val_accuracy"] for record in stored.history])
            self._seconds[number] = stored.row["train_seconds"]
        elif outcome.status in STORED:
            result |= {"status": "failed", "reason": "its folder disappeared"}
        result["train_seconds"] = self._seconds.get(number)
        accuracies = self._judge.accuracies(number)
        self._book.tell(trial, accuracies, result)
        self._ended += 1
        self.failures = self.failures + 1 if result["status"] == "failed" else 0
        best = result["status"] == "done" and accuracies[-1] > self._best
        self._best = accuracies[-1] if best else self._best
        chosen = {key: name_of(value) for key, value in trial.chosen.items()}
        self._news.append((Told(number, chosen, result, accuracies), best))

    def _replayed(self, trial: Trial, name: str, stored: StoredRun) -> Outcome:
        """How a trial ends whose run is stored: as if it had not been, if that must not depend on what is stored."""
        if self._window is not None:
            for record in stored.history:
                self._seconds[trial.number] = record["train_seconds"]
                if self._judge.stops(trial.number, record["epoch"], record["val_accuracy"]):
                    return Outcome(name, "pruned")
        return Outcome(name, stored.row["status"], stored.row["reason"])
