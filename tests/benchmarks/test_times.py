"""Times. Run by ``python tests/benchmarks``, which pins the process first; the usual test command takes no time.

Implementations take turns: in each turn every one of a group is timed for a little while, so that a mood of the
machine hits all alike. What is timed was found equal before, is compiled and warm. No time is asserted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from benchmarks import problems
from benchmarks.cases import Case, groups
from benchmarks.pytorch import UnavailableError
from benchmarks.stage import UNAVAILABLE, Stage

from kernels.peak import measure_peak

TURNS = int(os.environ.get("ABLATION_BENCH_TURNS", "1"))
PINNED = "OMP_NUM_THREADS"
TIMED = [
    pytest.param(case, turn, id=f"{case.group} | {case.implementation} | {turn}")
    for cases in groups().values()
    for turn in range(TURNS)
    for case in cases
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Cases of the group at hand. The data are there before the cache is exchanged for an empty one."""
    if os.environ.get(PINNED) != "1":
        pytest.fail("threads are not limited: start with `python tests/benchmarks`")
    for _, _, name in problems.NETWORKS.values():
        problems.images(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATION_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Stage()


@pytest.mark.speed
@pytest.mark.parametrize(("case", "turn"), TIMED)
def test_speed(case: Case, turn: int, stage: Stage, benchmark, request: pytest.FixtureRequest):
    unavailable = request.config.stash[UNAVAILABLE].setdefault(case.group, {})
    if case.missing:
        unavailable[case.implementation] = case.missing
        pytest.skip(case.missing)
    try:
        ready = stage.get(case)
    except UnavailableError as error:
        unavailable[case.implementation] = str(error)
        pytest.skip(str(error))
    except Exception as error:
        unavailable[case.implementation] = f"failed: {str(error).partition(chr(10))[0] or type(error).__name__}"
        raise
    peaks = [measure_peak(repeats=5)]
    benchmark.group = case.group
    benchmark.pedantic(ready.call, rounds=case.rounds, iterations=case.iterations)
    peaks.append(measure_peak(repeats=5))
    benchmark.extra_info.update(
        kind=case.kind,
        implementation=case.implementation,
        turn=turn,
        flops=ready.flops,
        share=ready.share,
        first_seconds=ready.first_seconds,
        subject=ready.said,
        note=ready.note,
        peaks=peaks,
    )
