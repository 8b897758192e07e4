"""Data that are cut off, changed or replaced while a study runs on them: never a wrong table."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from faults import SMALL, Watch, at_work, complaint_of, later, tables
from processes import Command, wait_until

from harness.cache import CACHE_VARIABLE, cache_folder
from harness.idx import IDX_FILES

STUDY = ("exp3", *SMALL, "--epochs", "15", "--seeds", "2")
N_RUNS = 10


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    """Tables of the study when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Command(folder)(*STUDY)[0] == 0
    return tables(folder / "results")


@pytest.fixture
def files(idx_folder, tmp_path) -> Path:
    """A data folder of the test's own."""
    return Path(shutil.copytree(idx_folder, tmp_path / "files"))


@pytest.fixture
def own_cache(tmp_path) -> dict[str, str]:
    """Environment with a cache of the test's own, in which compiled code is the usual one."""
    (tmp_path / "cache").mkdir()
    (cache_folder() / "kernels").mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache" / "kernels").symlink_to(cache_folder() / "kernels")
    return {CACHE_VARIABLE: str(tmp_path / "cache")}


def flip(path: Path, place: int) -> None:
    """Turn the bits of one byte, in place."""
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0xFF]))


def begin(command: Command, files: Path, environment: dict[str, str]) -> tuple:
    """A study that has finished a run and is at work on others; and who watches over its runs."""
    process = command.start(*STUDY, "--data-dir", files, environment=environment)
    watch = Watch(command.folder / "results" / "runs")
    wait_until(lambda: watch.look() and at_work(process, watch.runs))
    return process, watch


@pytest.mark.long
@pytest.mark.parametrize("change", ["cut off", "changed", "removed"])
def test_files_that_change_under_a_study_change_nothing_of_it(command, files, own_cache, undisturbed, change):
    process, _ = begin(command, files, own_cache)
    path = files / IDX_FILES[0]
    if change == "cut off":
        os.truncate(path, 10_000_000)
    elif change == "changed":
        flip(path, 1_000_000)
    else:
        path.unlink()
    status, _, err = command.finish(process)
    assert (status, err) == (0, "")
    assert tables(command.folder / "results") == undisturbed
    status, out, err = command(*STUDY, "--data-dir", files, environment=own_cache)
    if change == "changed":  # other images, so other runs, of which a warning tells
        assert (status, err) == (0, "")
        assert "warning: fashion-mnist: not the official pixels" in out
        assert "0 already stored" in out
    elif change == "cut off":
        assert (status, f"{path}: truncated" in complaint_of(out, err)) == (2, True)
    else:
        assert (status, f"is incomplete, without {path.name}" in complaint_of(out, err)) == (2, True)


@pytest.mark.parametrize("change", ["changed", *later("cut off", "removed")])
def test_a_cache_that_changes_under_a_study_is_said_and_no_run_of_it_is_kept(
    command, files, own_cache, undisturbed, change
):
    process, watch = begin(command, files, own_cache)
    entry = Path(own_cache[CACHE_VARIABLE]) / "fashion-mnist-official"
    if change == "cut off":
        os.truncate(entry / "X.npy", 10_000_000)
    elif change == "changed":
        flip(entry / "X.npy", 1_000_000)
    else:
        shutil.rmtree(entry)
    kept = watch.look()
    status, out, err = command.finish(process)
    assert (status, err) == (1, "")
    assert f"the cache entry {entry} " in complaint_of(out, err)
    assert "start again to have it rebuilt" in out
    assert watch.look() <= kept + 2  # those that were being stored in that very moment
    status, _, err = command(*STUDY, "--data-dir", files, environment=own_cache)
    assert (status, err) == (0, "")
    assert watch.look() == N_RUNS
    assert tables(command.folder / "results") == undisturbed
