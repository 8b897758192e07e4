"""Locks: one holder at a time, nobody held up by the dead, and work that goes on where there are none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from complaints import complaint
from processes import PATIENCE_SECONDS, ROOT, wait_until

from harness import locks
from harness.locks import BusyError, claimed, held, last_holder, name_of, sweep_locks

HOLDER = """
import sys, time
from pathlib import Path
from harness.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / ".lock"


@pytest.fixture
def other(path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait(PATIENCE_SECONDS)
    process.stdout.close()


def test_a_lock_names_its_holder_and_leaves_no_trace(path):
    with held(path):
        assert last_holder(path) == name_of(os.getpid())
        assert f"process {os.getpid()} on " in last_holder(path)
    assert not path.exists()
    assert last_holder(path) == ""


def test_a_lock_is_given_back_when_its_block_breaks_off(path):
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error), held(path):
            raise error
        assert not path.exists()


def test_a_second_holder_is_refused_at_once_and_told_of_the_first(path, other):
    with pytest.raises(BusyError) as caught, held(path):
        pass
    assert caught.value.holder == name_of(other.pid)
    assert str(caught.value) == f"held by {name_of(other.pid)}"
    assert path.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_vanishes_with_its_holder_however_that_ends(path, other, number):
    other.send_signal(number)
    other.wait(PATIENCE_SECONDS)
    assert last_holder(path) == name_of(other.pid)
    with held(path):
        assert last_holder(path) == name_of(os.getpid())


def test_who_waits_is_told_once_and_comes_next(path, other):
    told: list[str] = []
    threading.Timer(0.5, other.kill).start()
    with held(path, told.append):
        assert last_holder(path) == name_of(os.getpid())
    assert told == [name_of(other.pid)]


def test_never_are_there_two_holders(tmp_path):
    """Threads that come and go: the file of a lock that is given back may not serve somebody as a second lock."""
    inside, most, turns = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(100):
            with held(tmp_path / ".lock", lambda _: None):
                with guard:
                    inside, turns = inside + 1, turns + 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    patience = locks.WAIT_SECONDS
    locks.WAIT_SECONDS = 0.0001
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        locks.WAIT_SECONDS = patience
    assert (most, turns) == (1, 400)
    assert list(tmp_path.iterdir()) == []


def test_where_no_lock_can_be_had_work_goes_on_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    reached = []
    with held(tmp_path / "file" / ".lock"):
        reached.append("beneath a file")
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with held(tmp_path / ".lock"), held(tmp_path / ".lock"):
        reached.append("without flock")
    assert reached == ["beneath a file", "without flock"]
    assert not (tmp_path / ".lock").exists()


def test_a_folder_that_disappears_under_a_lock_is_no_trouble(path):
    with held(path):
        path.unlink()
        path.parent.rmdir()
    assert not path.parent.exists()


def test_an_error_of_the_block_is_not_mistaken_for_one_of_the_lock(path):
    with pytest.raises(OSError, match="mine"), held(path):
        raise OSError("mine")


def test_sweeping_removes_the_locks_of_the_dead_only(path, other):
    orphan = path.with_name(".lock-orphan")
    orphan.write_text("process 1 on nowhere")
    path.with_name("run").mkdir()
    sweep_locks(path.parent)
    assert sorted(each.name for each in path.parent.iterdir()) == [".lock", "run"]
    other.kill()
    other.wait(PATIENCE_SECONDS)
    wait_until(lambda: sweep_locks(path.parent) or not path.exists(), seconds=5)
    sweep_locks(path.parent / "nowhere")


def test_a_folder_of_tables_is_one_commands_at_a_time(tmp_path):
    runs, tables = tmp_path / "runs", tmp_path / "study" / "data"
    with claimed(runs, tables), claimed(runs, tables.with_name("other")):
        assert len(list(runs.iterdir())) == 2
        message = complaint(claimed(runs, tables).__enter__)
    assert message.startswith(f"{name_of(os.getpid())} is at work on {tables}; wait for its end")
    assert list(runs.iterdir()) == []
