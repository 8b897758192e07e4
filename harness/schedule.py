"""How long a list of runs takes on so many workers: the dispatcher's own decisions, followed with a clock of its own.

No run is made and nobody waits; what runs take is given. Used to plan (``harness.planner``) and to see how well the
schedule does on more workers than anybody has at hand.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from harness.dispatch import Dispatcher


@dataclass(frozen=True)
class Costs:
    """What the place where runs are handed out adds to them, in seconds.

    Attributes
    ----------
    give_seconds : float
        Of the one process that hands out, for each run.
    store_seconds : float
        Of the same process, for each run that comes back.
    way_seconds : float
        Of a message, one way.
    start_seconds, end_seconds : float
        Until workers are ready, and after the last run.
    """

    give_seconds: float = 0.0
    store_seconds: float = 0.0
    way_seconds: float = 0.0
    start_seconds: float = 0.0
    end_seconds: float = 0.0


FREE = Costs()


def makespan(seconds: Sequence[float], workers: int, costs: Costs = FREE) -> float:
    """Seconds from start to end.

    Parameters
    ----------
    seconds
        What each run takes on a worker, in the order to begin them.
    workers
        How many there are, all the time.
    costs
        What else takes time.
    """
    desk = Dispatcher(range(len(seconds)))
    for i in range(min(workers, len(seconds))):
        desk.join(str(i))
    free_at = dict.fromkeys(map(str, range(workers)), costs.start_seconds)
    now, coming = costs.start_seconds, list[tuple[float, str, int]]()
    while not desk.done:
        for worker, run in desk.give():
            now += costs.give_seconds
            free_at[worker] = max(free_at[worker], now + costs.way_seconds) + seconds[run]
            heapq.heappush(coming, (free_at[worker] + costs.way_seconds, worker, run))
            if coming[0][0] <= now:  # somebody is ready for more before all have got theirs
                break
        arrival, worker, run = heapq.heappop(coming)
        now = max(now, arrival) + costs.store_seconds
        desk.end(worker, run)
    return now + costs.end_seconds


def efficiency(seconds: Sequence[float], workers: int, costs: Costs = FREE) -> float:
    """Share of all workers' time, from start to end, that is spent on runs; in (0, 1]."""
    return sum(seconds) / (workers * makespan(seconds, workers, costs))
