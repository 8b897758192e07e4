"""A clock that is set back, and forward, under a study (libfaketime; Debian's package of that name): it is the same."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults import SMALL, Watch, age, remains, tables
from processes import ROOT, Command, wait_until

STUDY = ("exp3", *SMALL, "--epochs", "25", "--seeds", "3")
N_RUNS = 15
LIBRARIES = sorted(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))

# Python 3.11 sleeps until a moment of the monotonic clock. libfaketime 0.9.10 takes that for one of the clock that was
# set, whatever it is told (https://github.com/wolfcw/libfaketime/issues/426). On a system the two have nothing in
# common, so under the library Python sleeps for a span.
SLEEPS = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"

pytestmark = [pytest.mark.long, pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")]


@pytest.fixture
def clock(tmp_path) -> Path:
    """A file that says how far a clock is off."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SLEEPS)
    path = tmp_path / "clock"
    set_clock(path, "+0")
    return path


def set_clock(clock: Path, shift: str) -> None:
    """Turn the clock, in one step."""
    new = clock.with_suffix(".new")
    new.write_text(shift)
    new.replace(clock)


def environment(clock: Path) -> dict[str, str]:
    """Have a command and its workers read the time off a file."""
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a system keeps that one when its clock is set
        "PYTHONPATH": f"{clock.parent / 'site'}{os.pathsep}{ROOT}",
    }


def test_the_library_does_what_these_tests_need(clock):
    set_clock(clock, "-3d")
    code = "import time; time.sleep(0.01); print(time.time(), time.monotonic())"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment(clock)},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert abs(time.time() - 3 * 24 * 3600 - float(printed[0])) < 60
    assert abs(time.monotonic() - float(printed[1])) < 60


def test_a_clock_that_jumps_under_a_study_changes_nothing_of_it(command, clock, tmp_path_factory):
    quiet = Command(tmp_path_factory.mktemp("undisturbed"))
    assert quiet(*STUDY)[0] == 0
    results = command.folder / "results"
    watch = Watch(results / "runs")
    process = command.start(*STUDY, environment=environment(clock))
    for i, shift in enumerate(("-3d", "+400d", "-10y"), start=1):
        wait_until(lambda i=i: watch.look() >= 3 * i)
        set_clock(clock, shift)
    status, _, err = command.finish(process)
    assert (status, err) == (0, "")
    assert watch.look() == N_RUNS
    assert tables(results) == tables(quiet.folder / "results")
    (path,) = results.glob("exp3/*/runs.csv")
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name in ("train_seconds", "eval_seconds", "compile_seconds"):
                assert 0 <= float(row[name]) < 600
    assert remains(results) == []


def test_a_study_goes_on_where_files_are_of_the_future(command, clock):
    results = command.folder / "results"
    watch = Watch(results / "runs")
    process = command.start(*STUDY, environment=environment(clock))
    wait_until(lambda: watch.look() >= 5)
    process.kill()
    command.finish(process)
    (results / "runs" / ".tmp-left").mkdir()
    kept = watch.look()
    age(results)
    set_clock(clock, "-5d")
    status, out, err = command(*STUDY, environment=environment(clock))
    assert (status, err) == (0, "")
    assert f"{kept} already stored" in out
    assert watch.look() == N_RUNS
    assert remains(results) == []
