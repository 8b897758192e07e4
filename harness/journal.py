"""The trials of a search in a journal of Optuna's: asked for, told, and found again after any kill.

One process writes a journal; a lock that ends with the process keeps others out. A trial is in it from the moment it
is asked for. One that was under way when its process was killed is taken up again under the same number with the same
choice, so no trial is lost, made twice, or left behind as running.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError, show_path
from harness.files import cannot_write
from harness.space import Parameter

with contextlib.suppress(ImportError):
    import fcntl  # not on Windows, where nobody is kept out

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of every study

FILE = "journal.log"
STATES = {"done": TrialState.COMPLETE, "failed": TrialState.FAIL}  # all else was stopped early
RESULT = "result"  # attribute of a trial: status, run, times


@dataclass(frozen=True)
class Trial:
    """A trial that is asked for: its number, and what was chosen, as settings have it."""

    number: int
    chosen: dict[str, Any]
    handle: optuna.Trial


@dataclass(frozen=True)
class Told:
    """A trial that has ended: what was chosen (under the names of tables), how it ended, accuracies by epoch."""

    number: int
    chosen: dict[str, Any]
    result: dict[str, Any]
    accuracies: list[float]


class Journal:
    """The trials of one search.

    Parameters
    ----------
    study : optuna.Study
        Where they are kept.
    parameters : sequence of Parameter
        What each trial chooses.
    method : str
        ``random``, or ``bayes`` for the tree-structured Parzen estimator (Bergstra et al., 2011) over all parameters
        together, which takes running trials for bad ones (constant liar), so that trials side by side differ.
    seed : int
        With a trial's number it decides the random numbers of its choice: going on repeats none.
    """

    def __init__(self, study: optuna.Study, parameters: Sequence[Parameter], method: str, seed: int) -> None:
        self._study, self._parameters, self._method, self._seed = study, parameters, method, seed

    def __len__(self) -> int:
        return len(self._study.get_trials(deepcopy=False))

    def ask(self) -> Trial:
        """Begin the next trial."""
        self._study.sampler = self._sampler(len(self))
        return self._choose(self._study.ask())

    def unfinished(self) -> list[Trial]:
        """Trials that an earlier process began and did not end, by number."""
        trials = []
        for frozen in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            self._study.sampler = self._sampler(frozen.number)
            trials.append(self._choose(optuna.Trial(self._study, frozen._trial_id)))
        return trials

    def tell(self, trial: Trial, accuracies: Sequence[float], result: dict[str, Any]) -> None:
        """End a trial; ``result`` holds its ``status`` and whatever tables are to know."""
        known = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for epoch, accuracy in enumerate(accuracies, start=1):
            if epoch not in known:  # by a process that was killed before it had written all
                trial.handle.report(accuracy, epoch)
        trial.handle.set_user_attr(RESULT, result)
        state = STATES.get(result["status"], TrialState.PRUNED)
        self._study.tell(trial.handle, accuracies[-1] if state == TrialState.COMPLETE else None, state)

    def told(self) -> list[Told]:
        """Trials that have ended, by number."""
        return [_told(frozen) for frozen in self._study.get_trials(deepcopy=False) if frozen.state.is_finished()]

    def _choose(self, handle: optuna.Trial) -> Trial:
        return Trial(handle.number, {p.key: p.suggest(handle) for p in self._parameters}, handle)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        if self._method == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _told(frozen: FrozenTrial) -> Told:
    accuracies = [frozen.intermediate_values[epoch] for epoch in sorted(frozen.intermediate_values)]
    return Told(frozen.number, dict(frozen.params), frozen.user_attrs[RESULT], accuracies)


class _Held(JournalFileOpenLock):
    """Optuna's lock per record would outlive a kill, and is not needed beside ours."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class Shelf:
    """A journal's file that is open: the trials of every search that has ever written there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _undamaged(path):
            self._storage = _storage(path)

    def journal(self, identity: str, parameters: Sequence[Parameter], method: str, seed: int) -> Journal:
        """The trials of one search; each identity has trials of its own."""
        with _undamaged(self._path):
            study = optuna.create_study(
                study_name=identity, storage=self._storage, direction="maximize", load_if_exists=True
            )
        return Journal(study, parameters, method, seed)


@contextlib.contextmanager
def opened(folder: Path, anew: bool = False) -> Iterator[Shelf]:
    """Open the journal in a folder for this process alone; ``anew`` forgets all trials.

    Raises
    ------
    UserError
        When another process has it open, or it cannot be written or read.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab+")  # noqa: SIM115
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        _lock(file, folder)
        if anew:
            file.truncate(0)
        _mend(file)
        yield Shelf(path)


def read(folder: Path, identity: str) -> list[Told]:
    """Trials of a search that have ended, by number, without opening the journal for writing."""
    path = folder / FILE
    if not path.exists():
        return []
    with _undamaged(path):
        storage = _storage(path)
        with contextlib.suppress(KeyError):  # nobody has begun this search
            study = optuna.load_study(study_name=identity, storage=storage)
            return [_told(frozen) for frozen in study.get_trials(deepcopy=False) if frozen.state.is_finished()]
    return []


def _storage(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path), lock_obj=_Held(str(path))))


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """A file that Optuna cannot read is the user's to see to."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AssertionError):
        raise UserError(f"{show_path(path)}: is damaged; move it away to begin the search anew") from None


def _lock(file: IO[bytes], folder: Path) -> None:
    """Lock an open file until it is closed, which the system does for a process that is killed."""
    if "fcntl" not in globals():
        return
    with contextlib.suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is searching in {show_path(folder)}: wait for its end, or name another --out"
            ) from None


def _mend(file: IO[bytes]) -> None:
    """Cut off a last line that a kill has left incomplete."""
    file.seek(0)
    content = file.read()
    if whole := len(content) - (content.rfind(b"\n") + 1):
        file.truncate(len(content) - whole)
        file.flush()
        os.fsync(file.fileno())
