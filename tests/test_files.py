"""Files and folders that are whole or not there, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from processes import ROOT, wait_until

from harness.errors import UserError
from harness.files import STALE_SECONDS, TEMPORARY_PREFIX, new_folder, require_writable, sweep, write_atomic


def names(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def fill(folder, text: str) -> None:
    (folder / "file").write_text(text)


@pytest.fixture
def blocked(tmp_path):
    """A path beneath a regular file: not even the superuser can write there."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "folder"


# ------------------------------------------------------------------------------------------------------------- files


def test_a_file_is_written_with_the_folders_above_it(tmp_path):
    write_atomic(tmp_path / "a" / "b c" / "file", b"data")
    assert names(tmp_path) == ["a", "a/b c", "a/b c/file"]
    assert (tmp_path / "a" / "b c" / "file").read_bytes() == b"data"


def test_a_file_is_replaced_whole(tmp_path):
    for data in (b"a long text" * 1000, b"short", b""):
        write_atomic(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
    assert names(tmp_path) == ["file"]


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, blocked):
    with pytest.raises(UserError, match=r"^cannot write .*file/folder/x: Not a directory$"):
        write_atomic(blocked / "x", b"data")
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match=r"^cannot write .*there: Is a directory$"):
        write_atomic(tmp_path / "there", b"data")
    assert names(tmp_path) == ["file", "there"]


def test_a_write_that_is_broken_off_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_atomic(tmp_path / "file", b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", b"new")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


WRITER = """
import pathlib, sys
from harness.files import new_folder, write_atomic
folder = pathlib.Path(sys.argv[1])
for letter in "abcdefghij" * 1000:
    write_atomic(folder / "file", letter.encode() * 4_000_000)
    with new_folder(folder / "folder") as fresh:
        for name in "12":
            (fresh / name).write_text(letter * 1_000_000)
"""


def test_a_reader_never_sees_half_a_file_even_after_a_kill(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT)
    try:
        wait_until((tmp_path / "folder" / "1").exists)
        time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    content = (tmp_path / "file").read_bytes()
    assert content == content[:1] * 4_000_000
    if (tmp_path / "folder").exists():  # unless it was killed between taking the old one away and putting the new one
        texts = [(tmp_path / "folder" / name).read_text() for name in "12"]
        assert texts == [texts[0][:1] * 1_000_000] * 2


# ----------------------------------------------------------------------------------------------------------- folders


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with new_folder(tmp_path / "runs" / "run") as folder:
        fill(folder, "new")
        assert not (tmp_path / "runs" / "run").exists()
    assert names(tmp_path) == ["runs", "runs/run", "runs/run/file"]


def test_a_folder_whose_making_failed_never_appears(tmp_path):
    def make() -> None:
        with new_folder(tmp_path / "run") as folder:
            fill(folder, "half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make()
    assert names(tmp_path) == []


def test_a_failure_leaves_the_old_folder(tmp_path):
    with new_folder(tmp_path / "run") as folder:
        fill(folder, "old")
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "run") as folder:
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "file").read_text() == "old"
    assert names(tmp_path) == ["run", "run/file"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_whatever_was_there_is_replaced(tmp_path, kind):
    path = tmp_path / "run"
    if kind == "folder":
        (path / "inner").mkdir(parents=True)
        fill(path / "inner", "old")
    elif kind == "file":
        path.write_text("old")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with new_folder(path) as folder:
        fill(folder, "new")
    assert names(tmp_path) == ["run", "run/file"]
    assert (path / "file").read_text() == "new"


def test_two_that_make_the_same_folder_at_once_both_succeed(tmp_path):
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        try:
            for _ in range(50):
                with new_folder(tmp_path / "run") as folder:
                    fill(folder, "same")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert names(tmp_path) == ["run", "run/file"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, blocked):
    with pytest.raises(UserError, match=r"^cannot write .*folder: Not a directory$"), new_folder(blocked):
        pass
    assert names(tmp_path) == ["file"]


# ------------------------------------------------------------------------------------------------------ before, after


def test_asking_whether_a_folder_can_be_written_leaves_no_trace(tmp_path):
    (tmp_path / "old").mkdir()
    require_writable("--out", tmp_path / "a" / "b", tmp_path / "a" / "c", tmp_path / "old", tmp_path / "old" / "d")
    assert names(tmp_path) == ["old"]


def test_a_folder_that_cannot_be_written_is_one_line_that_names_the_option(tmp_path, blocked):
    with pytest.raises(UserError) as caught:
        require_writable("--out", tmp_path / "fine" / "deep", blocked)
    reason = "Not a directory; name another folder with --out"
    assert str(caught.value) == f"cannot write into {blocked} (--out): {reason}"
    assert names(tmp_path) == ["file"]


def test_a_name_too_long_for_a_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="File name too long"):
        require_writable("--out", tmp_path / ("x" * 300))
    assert names(tmp_path) == []


def test_sweeping_removes_old_remains_only(tmp_path):
    for name in (f"{TEMPORARY_PREFIX}old", f"{TEMPORARY_PREFIX}new", "run"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, name)
        (tmp_path / f"{name}-file").write_text(name)
    long_ago = time.time() - STALE_SECONDS - 60
    for name in (f"{TEMPORARY_PREFIX}old", f"{TEMPORARY_PREFIX}old-file", "run", "run-file"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    sweep(tmp_path)
    new = f"{TEMPORARY_PREFIX}new"
    assert names(tmp_path) == [new, f"{new}-file", f"{new}/file", "run", "run-file", "run/file"]
    sweep(tmp_path / "not there")
