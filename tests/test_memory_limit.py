"""A limit on memory: clear lines, and what is finished stays."""

from __future__ import annotations

import resource

import pytest
from faults import SMALL, Watch, at_work, complaint_of, left_by_killed, tables, workers
from processes import Command, wait_until

from harness.memory import MINIMUM_MIB

STUDY = ("exp3", *SMALL, "--epochs", "60", "--seeds", "2")
N_RUNS = 10


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    """Tables of the study when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Command(folder)(*STUDY)[0] == 0
    return tables(folder / "results")


def limit(most_bytes: int) -> None:
    """Let this process have no more address space."""
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def used_bytes(pid: int) -> int:
    """Address space of a process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


@pytest.mark.long
def test_workers_that_hit_a_limit_in_mid_run_fail_their_runs_with_a_reason(command, undisturbed):
    process = command.start(*STUDY)
    watch = Watch(command.folder / "results" / "runs")
    wait_until(lambda: watch.look() >= 2 and at_work(process, watch.runs))
    for pid in workers(process):
        most = used_bytes(pid) + 300_000
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
    status, out, err = command.finish(process)
    kept = watch.look()
    assert (status, err) == (1, "")
    assert f"{N_RUNS - kept} of {N_RUNS} runs failed; the same command tries them again." in complaint_of(out, err)
    assert "out of memory" in out
    status, out, err = command(*STUDY)
    assert (status, err) == (0, "")
    assert f"{kept} already stored" in out
    assert watch.look() == N_RUNS
    assert tables(command.folder / "results") == undisturbed
    assert left_by_killed(command.folder / "results") == []


@pytest.mark.long
@pytest.mark.parametrize("most_mib", [100, 300, 500, 900, 1400, 1600, 2400])
def test_a_command_under_a_limit_works_or_says_why_not(command, undisturbed, most_mib):
    status, out, err = command(*STUDY, preexec_fn=lambda: limit(most_mib << 20))
    said = complaint_of(out, err)
    assert status == (2 if most_mib < MINIMUM_MIB else 0)
    if status:
        assert said.startswith(f"error: memory is limited to {most_mib:,} MiB of address space (ulimit -v): at least ")
    watch = Watch(command.folder / "results" / "runs")
    kept = watch.look()
    status, out, err = command(*STUDY)
    assert (status, err) == (0, "")
    assert f"{kept} already stored" in out
    assert tables(command.folder / "results") == undisturbed
