"""Who runs what next: tasks in a given order, workers that come and go, and who is charged when a worker dies.

Bookkeeping alone: no clock, no network, no files. ``harness.cluster`` follows it with real workers,
``harness.schedule`` with a clock of its own.

A worker has a task to run and, while many wait, another one that it goes on with by itself. When a worker dies, the
task that it ran is charged with one try and goes to the front of the queue; from then on it runs on a worker that has
nothing else, so that the next death is charged to nobody but itself. A task is given up after TRIES deaths. A worker
that leaves as it was asked to charges nobody.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

TRIES = 3
PLENTY = 2  # tasks that wait for each worker


class Dispatcher(Generic[T]):
    """Hands tasks out to workers.

    Parameters
    ----------
    tasks : iterable
        What is to be done, in the order to begin it.
    limit : int or None
        How many workers may have tasks at a time; None for all.
    """

    def __init__(self, tasks: Iterable[T], limit: int | None = None) -> None:
        self._waiting: deque[tuple[T, int]] = deque((task, 1) for task in tasks)
        self._given: dict[str, list[tuple[T, int]]] = {}  # by worker: the task that it runs, and one ahead
        self._sites: dict[str, str] = {}  # by worker
        self._room: dict[str, float] = {}  # by site: workers that may have tasks at a time
        self._busy: Counter[str] = Counter()  # by site: workers that have
        self._free: dict[str, None] = {}  # workers without a task, in the order they became so
        self._single: dict[str, None] = {}  # workers that may get one ahead
        self._limit = math.inf if limit is None else limit

    @property
    def done(self) -> bool:
        """Whether no task is left."""
        return not self._waiting and not any(self._given.values())

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._given)

    def join(self, worker: str, site: str = "", room: float = math.inf) -> None:
        """Take a worker on.

        Parameters
        ----------
        worker
            Its name.
        site
            Workers of one site share its memory.
        room
            How many of them that is enough for; one may always work.
        """
        self._given[worker], self._sites[worker] = [], site
        self._room[site] = max(room, 1.0)
        self._free[worker] = None

    def leave(self, worker: str, expected: bool = False) -> list[T]:
        """A worker is gone, as it was asked to or dead; returns the tasks that are thereby given up."""
        lost, site = self._given.pop(worker), self._sites.pop(worker)
        self._busy[site] -= bool(lost)
        self._free.pop(worker, None)
        self._single.pop(worker, None)
        charged = [] if expected else lost[:1]
        self._waiting.extendleft(reversed(lost[len(charged) :]))
        for task, attempt in charged:
            if attempt >= TRIES:
                return [task]
            self._waiting.appendleft((task, attempt + 1))
        return []

    def give(self) -> Iterator[tuple[str, T]]:
        """Hand out what can be handed out now: pairs of a worker and its next task."""
        while self._waiting:
            task, attempt = self._waiting[0]
            worker = self._next_worker(attempt)
            if worker is None:
                return
            self._waiting.popleft()
            given = self._given[worker]
            if not given:
                self._busy[self._sites[worker]] += 1
                del self._free[worker]
            self._single.pop(worker, None)
            given.append((task, attempt))
            if len(given) == 1 and attempt == 1:
                self._single[worker] = None
            yield worker, task

    def end(self, worker: str, task: T) -> bool:
        """A worker has ended a task; returns False where it did not have it any more."""
        given = self._given.get(worker, [])
        kept = [item for item in given if item[0] != task]
        if len(kept) == len(given):
            return False
        self._given[worker] = kept
        if kept:
            self._single[worker] = None
        else:
            self._single.pop(worker, None)
            self._free[worker] = None
            self._busy[self._sites[worker]] -= 1
        return True

    def _next_worker(self, attempt: int) -> str | None:
        """Who gets the next task: a free worker, or one that may have a task ahead while there are plenty."""
        if self._busy.total() < self._limit:
            for worker in self._free:
                if self._busy[self._sites[worker]] + 1 <= self._room[self._sites[worker]]:
                    return worker
        # Near the end nothing goes ahead: it would wait behind a long run while another worker has nothing to do.
        plenty = len(self._waiting) > PLENTY * len(self._given)
        return next(iter(self._single), None) if attempt == 1 and plenty else None
