"""When a trial is worth no further epoch: rules on validation accuracies, and the judge that applies them.

A rule is a pure function of the accuracies of the trial so far and those of its rivals, by epoch; whether a rival is
still going on, has ended or was stopped shows in nothing but the length of its list. The judge keeps the lists, and is
asked from several threads while workers wait for its word.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterable, Sequence

Accuracies = Sequence[float]  # validation accuracy after epochs 1, 2, …
Rule = Callable[[Accuracies, Sequence[Accuracies], int], bool]

MEDIAN_RIVALS = 5  # finished trials before any trial is stopped
MEDIAN_GRACE = 10  # the first tenth of the epochs is not judged
FACTOR = 3  # halving keeps one in so many; its rungs are the epochs 1, 3, 9, 27 and so on.


def never(own: Accuracies, rivals: Sequence[Accuracies], epochs: int) -> bool:
    """Stop no trial."""
    return False


def median(own: Accuracies, rivals: Sequence[Accuracies], epochs: int) -> bool:
    """Stop a trial whose best accuracy so far is below the median that finished trials had at this epoch.

    Judged after the first tenth of the epochs and when five trials have finished (the median stopping rule of Golovin
    et al., 2017, "Google Vizier", with the trials' accuracies in place of their running means).
    """
    finished = [rival[len(own) - 1] for rival in rivals if len(rival) == epochs]
    if len(own) <= epochs // MEDIAN_GRACE or len(finished) < MEDIAN_RIVALS:
        return False
    return max(own) < statistics.median(finished)


def halving(own: Accuracies, rivals: Sequence[Accuracies], epochs: int) -> bool:
    """Stop a trial that is not in the best third of all that have come to this rung: epochs 1, 3, 9, 27 and so on.

    Asynchronous successive halving (Li et al., 2020): nobody waits until a rung is full. The first two pass.
    """
    rung = 1
    while rung < len(own):
        rung *= FACTOR
    if rung != len(own):
        return False
    reached = [rival[rung - 1] for rival in rivals if len(rival) >= rung] + [own[-1]]
    if len(reached) < FACTOR:
        return False
    return own[-1] < sorted(reached, reverse=True)[len(reached) // FACTOR - 1]


RULES: dict[str, Rule] = {"none": never, "median": median, "halving": halving}


class Judge:
    """Keeps the accuracies of all trials, and says of each epoch whether it was the trial's last.

    Parameters
    ----------
    rule : Rule
        One of `RULES`.
    epochs : int
        Of a trial that is not stopped; its last epoch is never judged.
    lag : int or None
        None: all other trials are rivals, as far as they have come. Otherwise only those with a number at least so
        much lower, which have ended before the trial began, whatever the timing.
    """

    def __init__(self, rule: Rule, epochs: int, lag: int | None = None) -> None:
        self._rule, self._epochs, self._lag = rule, epochs, lag
        self._accuracies: dict[int, list[float]] = {}
        self._lock = threading.Lock()

    def accuracies(self, number: int) -> list[float]:
        """Accuracies of a trial so far."""
        with self._lock:
            return list(self._accuracies.get(number, ()))

    def know(self, number: int, accuracies: Iterable[float]) -> None:
        """Take in a whole trial."""
        with self._lock:
            self._accuracies[number] = list(accuracies)

    def stops(self, number: int, epoch: int, accuracy: float) -> bool:
        """Take in an epoch of a trial (from 1; a 1 begins it anew) and say whether the trial is to be stopped."""
        with self._lock:
            own = [*self._accuracies.get(number, ())[: epoch - 1], accuracy]
            self._accuracies[number] = own
            last = number - self._lag if self._lag is not None else None
            rivals = [
                rival
                for other, rival in self._accuracies.items()
                if other != number and (last is None or other <= last)
            ]
            return epoch < self._epochs and self._rule(own, rivals, self._epochs)
