"""Real Ctrl-C to a real command and its workers, at any moment: what is finished stays, and nothing else does."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from processes import PATIENCE_SECONDS, alive, children, wait_until
from test_ablate import cold_cache

from harness.store import load_run
from harness.tables import from_csv

LONG = ("exp3", "--limit", "2000", "--epochs", "25", "--set", "hidden=[16]", "--seeds", "3", "--jobs", "2")
SHORT = ("exp3", "--limit", "500", "--epochs", "2", "--set", "hidden=[16]", "--seeds", "2")
STOPPED = re.compile(
    r"Stopped\. (\d+) of (\d+) runs are kept; the same command (goes on with the rest|writes the tables)\."
)
STOP_SECONDS = 2.0


def press(command, process, number: int = signal.SIGINT) -> tuple[int, str, str, float]:
    """Press Ctrl-C, as a terminal does it: for the whole group. Gives the end, and how long it took."""
    family = children(process.pid)
    os.killpg(process.pid, number)
    start = time.monotonic()
    status, out, err = command.finish(process)
    seconds = time.monotonic() - start
    assert "Traceback" not in out + err
    assert "Error" not in out + err
    wait_until(lambda: not alive(family))
    return status, out, err, seconds


def imports_are_under_way(process) -> bool:
    """Whether a process has begun to load libraries: it is past the first lines of its main module."""
    return process.poll() is not None or "numpy" in Path(f"/proc/{process.pid}/maps").read_text()


def stored(command) -> dict[str, int]:
    runs = command.folder / "results" / "runs"
    return {path.name: path.stat().st_ctime_ns for path in runs.glob("[!.]*")} if runs.exists() else {}


def remains(command) -> list[Path]:
    return list(command.folder.rglob(".tmp*"))


def test_finished_runs_are_kept_and_going_on_computes_only_what_is_missing(command):
    process = command.start(*LONG)
    wait_until(lambda: len(stored(command)) >= 3)
    status, out, err, _ = press(command, process)
    assert (status, err) == (130, "")
    kept = stored(command)
    said = STOPPED.search(out)
    assert said
    assert (int(said[1]), int(said[2])) == (len(kept), 15)
    assert 3 <= len(kept) < 15
    assert not (command.folder / "results" / "exp3").exists()
    status, out, err = command(*LONG)
    assert (status, err) == (0, "")
    assert f"{len(kept)} already stored" in out
    after = stored(command)
    assert len(after) == 15
    assert kept.items() <= after.items()
    (path,) = (command.folder / "results" / "exp3").glob("*/runs.csv")
    assert set(from_csv(path.read_bytes())["status"]) == {"done"}


def test_a_request_to_end_is_like_ctrl_c(command):
    process = command.start(*LONG)
    wait_until(lambda: stored(command))
    status, out, err, _ = press(command, process, signal.SIGTERM)
    assert (status, err) == (130, "")
    assert STOPPED.search(out)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0])
def test_ctrl_c_in_the_first_moments_is_no_traceback(command, seconds):
    process = command.start(*LONG)
    wait_until(lambda: imports_are_under_way(process))
    time.sleep(seconds)
    status, out, err, _ = press(command, process)
    assert status == 130
    assert STOPPED.search(out) or err == "stopped before any run began\n"


@pytest.mark.parametrize("seconds", [0.5, 2.5])
def test_ctrl_c_while_kernels_are_compiled(command, tmp_path, seconds):
    process = command.start(*SHORT, environment={"ABLATION_BENCH_CACHE": str(cold_cache(tmp_path))})
    while not process.stdout.readline().startswith("Compiling kernels"):
        assert process.poll() is None
    time.sleep(seconds)
    status, out, err, _ = press(command, process)
    assert (status, err) == (130, "")
    assert STOPPED.search(out)
    assert stored(command) == {}


def test_ctrl_c_while_tables_are_written_leaves_each_of_them_whole(command):
    assert command(*SHORT)[0] == 0
    folder = command.folder / "results"
    before = {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "environment.json"
    }
    statuses = set()
    for seconds in (0.2, 0.4, 0.6, 0.8, 1.0, 1.3):
        process = command.start(*SHORT)
        wait_until(lambda process=process: imports_are_under_way(process))
        time.sleep(seconds)
        if process.poll() is None:
            status, _, err, _ = press(command, process)
            assert err in ("", "stopped before any run began\n")
            statuses.add(status)
        command.finish(process)
        assert {path: path.read_bytes() for path in before} == before
        assert remains(command) == []
    assert statuses <= {0, 130}


def test_ctrl_c_stops_all_studies_and_the_same_command_goes_on(command):
    few = ("all", "--dataset", "fashion-mnist", "--limit", "300", "--epochs", "1", "--seeds", "1", "--jobs", "2")
    process = command.start(*few)
    wait_until(lambda: len(stored(command)) >= 4)
    status, out, err, _ = press(command, process)
    assert (status, err) == (130, "")
    assert STOPPED.search(out)
    assert re.search(r"Stopped after \d+ of \d+ studies; the same command goes on from there\.\n$", out)
    assert not list((command.folder / "results").glob("overview*"))
    kept = stored(command)
    process = command.start(*few)
    wait_until(lambda: len(stored(command)) > len(kept))
    assert kept.items() <= stored(command).items()
    press(command, process)


def test_ctrl_c_pressed_many_times_is_the_same_as_once(command):
    process = command.start(*LONG)
    wait_until(lambda: stored(command))
    for _ in range(5):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
        if process.poll() is not None:
            break
    status, out, err = command.finish(process)
    assert (status, err) == (130, "")
    assert STOPPED.search(out)


def test_after_fresh_the_advice_is_to_go_on_without_it(command):
    process = command.start(*LONG, "--fresh")
    wait_until(lambda: stored(command))
    _, out, _, _ = press(command, process)
    assert "the same command without --fresh goes on with the rest" in out


def test_a_killed_worker_costs_no_run(command):
    process = command.start(*LONG)
    wait_until(lambda: stored(command))
    for pid in children(process.pid):
        if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            break
    status, out, err = command.finish(process)
    assert (status, len(stored(command))) == (0, 15)
    assert "failed" not in out
    assert "Traceback" not in err


def test_a_killed_command_leaves_no_process_and_no_half_of_a_run(command):
    process = command.start(*LONG)
    wait_until(lambda: len(stored(command)) >= 2)
    family = children(process.pid)
    process.kill()
    process.wait(PATIENCE_SECONDS)
    wait_until(lambda: not alive(family))
    command.finish(process)
    runs = command.folder / "results" / "runs"
    assert all(load_run(runs, name) for name in stored(command))


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0])
@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_ctrl_c_ends_everything_within_two_seconds(command, tmp_path, cache, seconds):
    environment = {"ABLATION_BENCH_CACHE": str(cold_cache(tmp_path))} if cache == "cold" else {}
    process = command.start(*LONG, "--seeds", "100", environment=environment)
    wait_until(lambda: imports_are_under_way(process))
    time.sleep(seconds)
    status, _, _, took = press(command, process)
    assert status == 130
    assert took < STOP_SECONDS
