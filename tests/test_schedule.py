"""How well the schedule does, by the dispatcher's own decisions and recorded times of runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from documents import text

from harness.planner import CLUSTER
from harness.schedule import FREE, Costs, efficiency, makespan


def test_one_worker_takes_the_sum_and_enough_workers_the_longest():
    seconds = [3.0, 1.0, 2.0]
    assert makespan(seconds, 1) == 6.0
    assert makespan(seconds, 3) == makespan(seconds, 100) == 3.0
    assert makespan(seconds, 2) == 3.0
    assert makespan([], 4) == 0.0


def test_costs_count():
    assert makespan([1.0] * 4, 1, Costs(start_seconds=2.0)) == 6.0
    assert makespan([1.0], 1, Costs(0.5, 0.25, 0.125, 0.0)) == pytest.approx(2.0)
    # One who hands out is the limit: 1,000 runs of a second each, of which he can store ten in a second.
    assert makespan([1.0] * 1000, 500, Costs(store_seconds=0.1)) == pytest.approx(101.0, rel=0.02)


def test_with_one_ahead_nobody_waits_for_the_way():
    assert makespan([1.0] * 100, 2, Costs(way_seconds=0.2)) < 51.5


# Seconds of whole runs with 20 epochs on Fashion-MNIST, one core of an AMD EPYC (Zen 5): the optimizers of exp3, and
# 1 to 4 hidden layers of 64, 128, 256 and 512 units.
# fmt: off
RECORDED = (
    2.58, 2.65, 2.69, 2.67, 2.51, 2.63, 2.69, 2.68, 1.49, 2.65, 5.22, 10.08, 1.62, 3.27, 7.61, 19.77, 1.76, 3.91,
    9.65, 31.56, 2.03, 4.49, 12.07, 43.47,
)
# fmt: on


def drawn(n: int, seed: int = 0) -> list[float]:
    """Times of so many runs, as recorded, each off by a few percent; the longest first."""
    rng = np.random.default_rng(seed)
    return sorted((rng.choice(RECORDED, n) * rng.lognormal(0.0, 0.05, n)).tolist(), reverse=True)


@pytest.mark.parametrize("workers", [16, 256, 4096])
def test_ten_thousand_runs_end_nearly_as_early_as_any_schedule_could_let_them(workers):
    seconds = drawn(10_000)
    assert makespan(seconds, workers) < 1.005 * max(max(seconds), sum(seconds) / workers)
    assert makespan(seconds, workers) <= makespan(seconds, workers, CLUSTER)


def test_the_longest_first_is_better_than_any_order():
    seconds = drawn(1000)
    shuffled = np.random.default_rng(1).permutation(seconds).tolist()
    assert makespan(seconds, 100, FREE) < 0.95 * makespan(shuffled, 100, FREE)


def table() -> list[list[str]]:
    """Lines of the table in the documents."""
    lines = [line for line in text("docs/scale.md").splitlines() if re.match(r"\| [\d,]+ \|", line)]
    assert len(lines) == 3
    return [[cell.strip(" %").replace(",", "") for cell in line.split("|")[1:-1]] for line in lines]


@pytest.mark.parametrize("line", table(), ids=lambda line: line[0])
def test_the_table_in_the_documents_is_right(line):
    workers, best, schedule, *runs = map(float, line)
    seconds = drawn(10_000)
    bound = max(max(seconds), sum(seconds) / workers)
    assert 100 * sum(seconds) / (workers * bound) == pytest.approx(best, abs=0.06)
    assert 100 * efficiency(seconds, int(workers)) == pytest.approx(schedule, abs=0.06)
    for said, factor in zip(runs, (1, 10, 100), strict=True):
        longer = [factor * each for each in seconds]
        assert 100 * efficiency(longer, int(workers), CLUSTER) == pytest.approx(said, abs=0.06)
