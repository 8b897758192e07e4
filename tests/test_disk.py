"""Disks that are full, cannot be written or lose files under a study: a clear line, and nothing lost."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import time
from pathlib import Path

import pytest
from faults import SMALL, Watch, at_work, can_mount, complaint_of, disk, finished, later, remains, tables
from processes import Command, wait_until

from harness.cache import CACHE_VARIABLE, cache_folder
from harness.store import SEALED, load_run

STUDY = ("exp3", *SMALL, "--epochs", "4", "--seeds", "2")
COMPILED = ("exp3", *SMALL, "--epochs", "2", "--seeds", "1", "--only", "sgd")
N_RUNS = 10
FULL = "No space left on device"

needs_mount = pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here, not even in a namespace")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    """Tables of the study when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Command(folder)(*STUDY)[0] == 0
    found = tables(folder / "results")
    assert len(found["runs.csv"]) == N_RUNS
    return found


def fill(folder: Path, room: int, free_bytes: int) -> Path:
    """Leave so much room on a disk; gives the file that takes the rest."""
    path = folder / "filler"
    path.write_bytes(b"x" * max(free_bytes - room, 0))
    return path


# -------------------------------------------------------------------------------------------------------- a full disk


@needs_mount
@pytest.mark.parametrize("room", [300_000, *later(0, 20_000, 700_000, 1_000_000, 1_200_000, 1_400_000)])
def test_a_disk_that_fills_up_loses_no_run_and_the_same_command_goes_on(command, undisturbed, room):
    """A small disk of the test's own, with room for nothing, for some runs, or for all of them but not the tables."""
    with disk("size=8m") as small:
        results = small.path / "results"
        filler, watch = fill(small.path, room, small.free_bytes()), Watch(results / "runs")
        status, out, err = command(*STUDY, "--out", results)
        said, kept = complaint_of(out, err), watch.look()
        assert status == 0 or (status in (1, 2) and FULL in said)
        assert kept < N_RUNS or err or not status
        assert [path for path in remains(results) if path.name.startswith(".tmp")] == []
        filler.unlink()
        status, out, err = command(*STUDY, "--out", results)
        assert (status, err) == (0, "")
        assert f"{kept} already stored" in out
        assert watch.look() == N_RUNS
        assert tables(results) == undisturbed
        assert remains(results) == []


@pytest.mark.long
@needs_mount
def test_a_full_disk_under_the_cache_is_one_line_for_data_and_nothing_for_compiled_code(command, idx_folder):
    with disk("size=1m") as small:
        environment = {CACHE_VARIABLE: str(small.path)}
        status, out, err = command(*COMPILED, "--data-dir", idx_folder, environment=environment)
        assert (status, out) == (2, "")
        said = rf"error: cannot write to the cache folder {small.path} \((.*)\); set {CACHE_VARIABLE} to a folder .*\n"
        reason = re.fullmatch(said, complaint_of(out, err))[1]
        assert FULL in reason or "Not enough free space" in reason  # as NumPy puts it
        assert list(small.path.iterdir()) == []
        (small.path / "fashion-mnist-official").symlink_to(cache_folder() / "fashion-mnist-official")
        fill(small.path, 8192, small.free_bytes())
        status, out, err = command(*COMPILED, environment=environment)
        assert (status, err) == (0, "")
        assert not [path for path in small.path.rglob("*.nbc") if path.stat().st_size > 8192]


@pytest.mark.parametrize("most_bytes", [100, *later(3_000, 30_000, 52_000)])
def test_files_that_may_not_grow_are_as_a_full_disk(command, undisturbed, most_bytes):
    """The system refuses the byte after so many of any one file: some are written, others break off."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    status, out, err = command(*STUDY, preexec_fn=limit)
    assert status in (1, 2)
    assert "File too large" in complaint_of(out, err)
    watch = Watch(command.folder / "results" / "runs")
    kept = watch.look()
    status, out, err = command(*STUDY)
    assert (status, err) == (0, "")
    assert f"{kept} already stored" in out
    assert watch.look() == N_RUNS
    assert tables(command.folder / "results") == undisturbed


# ------------------------------------------------------------------------------------------- what cannot be written


@needs_mount
def test_a_read_only_disk_is_one_line_before_anything_is_run(command):
    with disk("ro") as frozen:
        status, out, err = command(*STUDY, "--out", frozen.path / "results")
    assert (status, out) == (2, "")
    reason = "(--out): Read-only file system; name another folder with --out"
    assert err == f"error: cannot write into {frozen.path}/results/runs {reason}\n"


@pytest.mark.long
@needs_mount
def test_a_read_only_cache_serves_what_it_has(command):
    assert command(*COMPILED)[0] == 0
    with disk("size=700m") as place:
        cache = place.path / "cache"
        shutil.copytree(cache_folder(), cache, copy_function=shutil.copy2)
        place.freeze()
        status, out, err = command(*COMPILED, "--out", "again", environment={CACHE_VARIABLE: str(cache)})
    assert (status, err) == (0, "")
    assert "Compiling kernels" not in out
    assert tables(command.folder / "again") == tables(command.folder / "results")


def test_a_path_beneath_a_file_is_one_line_for_everybody(command):
    (command.folder / "file").write_text("in the way")
    status, out, err = command(*STUDY, "--out", "file/results")
    assert (status, out) == (2, "")
    assert "cannot write into file/results/runs (--out): Not a directory" in complaint_of(out, err)
    assert [path.name for path in command.folder.iterdir()] == ["file"]


@pytest.mark.long
def test_a_folder_of_runs_that_becomes_a_file_under_a_study_is_said_for_each_run(command, undisturbed):
    process = command.start(*STUDY)
    runs = command.folder / "results" / "runs"
    wait_until(lambda: at_work(process, runs))
    runs.rename(command.folder / "taken")
    runs.write_text("in the way")
    status, out, err = command.finish(process)
    assert status == 1
    assert "Not a directory" in complaint_of(out, err)
    assert f"{N_RUNS} of {N_RUNS} runs failed; the same command tries them again." in out
    runs.unlink()
    assert command(*STUDY)[0] == 0
    assert tables(command.folder / "results") == undisturbed


# ------------------------------------------------------------------------------------- folders that somebody edits


def test_runs_that_are_deleted_or_edited_under_a_study_are_said_and_made_again(command, undisturbed):
    """While the study is at work somebody removes, cuts off and edits what is finished; nothing of it is believed."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed of the damage: {seed}")
    rng, runs = random.Random(seed), command.folder / "results" / "runs"
    process, damaged = command.start(*STUDY), set[str]()
    while process.poll() is None and len(damaged) < 6:
        fresh = {path.name for path in finished(runs)} - damaged
        for name in sorted(fresh)[: 6 - len(damaged)]:
            damage(runs / name, rng)
            damaged.add(name)
        time.sleep(0.01)
    assert process.poll() is None
    status, out, err = command.finish(process)
    assert (status, err) == (1, "")
    assert f"6 of {N_RUNS} runs failed; the same command tries them again." in complaint_of(out, err)
    status, out, err = command(*STUDY)
    assert (status, err) == (0, "")
    assert "4 already stored" in out
    assert tables(command.folder / "results") == undisturbed


def damage(folder: Path, rng: random.Random) -> None:
    """Do to a run what people do."""
    kind = rng.choice(["remove", "remove a file", "truncate", "edit", "swap"])
    path = folder / rng.choice(["result.json", *SEALED])
    if kind == "remove":
        shutil.rmtree(folder)
    elif kind == "remove a file":
        path.unlink()
    elif kind == "truncate":
        os.truncate(path, path.stat().st_size // 2)
    elif kind == "edit":
        record = json.loads((folder / "result.json").read_text())
        record["metrics"]["test_accuracy"] = 0.99
        (folder / "result.json").write_text(json.dumps(record))
    else:
        path.write_bytes(rng.randbytes(100))
    assert load_run(folder.parent, folder.name) is None
