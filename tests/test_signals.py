"""Ctrl-C strikes at once, waits, or is ignored, as the moment demands; and it cannot get lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from processes import PATIENCE_SECONDS, ROOT

from harness import signals


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_in_a_deferring_block_strikes_at_its_end():
    reached = []

    def act() -> None:
        with signals.deferred():
            press()
            press()
            reached.append("end of block")
        reached.append("behind the block")

    with pytest.raises(KeyboardInterrupt):
        act()
    assert reached == ["end of block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_deferring_block_without_ctrl_c_is_not_noticed():
    with signals.deferred():
        pass
    with pytest.raises(KeyboardInterrupt):
        press()


def test_an_error_in_a_deferring_block_comes_out():
    with pytest.raises(ZeroDivisionError), signals.deferred():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_nothing_in_an_ignoring_block():
    with signals.ignored():
        press()
    with signals.ignored(), signals.deferred():
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_child_of_a_deferring_block_is_deaf_from_its_beginning():
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    command = [sys.executable, "-c", code]
    with signals.deferred():
        deaf = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    hearing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (deaf.strip(), hearing.strip()) == ("True", "False")


def test_other_threads_than_the_main_one_may_use_both():
    done = []

    def act() -> None:
        with signals.ignored(), signals.deferred():
            done.append(True)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert done


def python(code: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of a program in a process of its own, since it sets handlers for good."""
    program = "import os, signal\nfrom harness import signals\n" + code
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_request_to_end_that_a_library_swallows_is_raised_again(name):
    code = f"""
signals.install()
signals.checkpoint()
try:
    signal.raise_signal(signal.{name})
except BaseException:
    print("swallowed")
try:
    signals.checkpoint()
except KeyboardInterrupt:
    print("raised again")
"""
    assert python(code) == (0, "swallowed\nraised again\n", "")


def test_an_error_that_a_library_makes_of_ctrl_c_is_ctrl_c_again():
    code = """
signals.install()
try:
    with signals.restored():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("a library could not be loaded") from error
except KeyboardInterrupt:
    print("restored")
"""
    assert python(code) == (0, "restored\n", "")


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), signals.restored():
        raise ZeroDivisionError


def test_ctrl_c_in_the_middle_of_a_deletion_prints_nothing_and_is_raised_again():
    code = """
signals.install()
class Thing:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
thing = Thing()
del thing
try:
    signals.checkpoint()
except KeyboardInterrupt:
    print("raised again")
"""
    assert python(code) == (0, "raised again\n", "")


def test_errors_in_deletions_are_still_reported_without_ctrl_c():
    code = """
signals.install()
class Thing:
    def __del__(self):
        1 / 0
Thing()
"""
    status, out, err = python(code)
    assert (status, out) == (0, "")
    assert "ZeroDivisionError" in err


def test_what_nohup_ignores_stays_ignored():
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN); signals.install(); signal.raise_signal(signal.SIGHUP)"
    assert python(code) == (0, "", "")


def test_a_library_that_prints_what_broke_off_its_import_prints_nothing():
    """As C extensions do: PyErr_Print, which calls sys.excepthook, and an error of their own."""
    code = """
import sys
signals.install()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt as stop:
    sys.excepthook(KeyboardInterrupt, stop, stop.__traceback__)
sys.excepthook(ValueError, ValueError("still shown"), None)
"""
    assert python(code) == (0, "", "ValueError: still shown\n")


def test_a_thread_that_fails_when_all_is_stopped_prints_nothing_and_before_that_its_error():
    code = """
import threading
def fail():
    raise KeyError(number)
def start():
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
signals.install()
number = 5
start()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    number = 6
    start()
"""
    status, out, err = python(code)
    assert (status, out, err.splitlines()[-1], "KeyError: 6" in err) == (0, "", "KeyError: 5", False)
