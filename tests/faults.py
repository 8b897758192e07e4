"""What tests of faults share: what a study left behind but for its times, who is at work on what, and small disks."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import children

from harness.locks import LOCK_PREFIX, name_of
from harness.store import load_run

OF_THE_MACHINE = re.compile("seconds|memory|^jobs$")
SMALL = ("--limit", "500", "--set", "hidden=[16]", "--jobs", "2")


def timeless(path: Path) -> Any:
    """What a file of a study says, but for times."""
    if path.suffix != ".csv":
        return path.read_bytes()
    with open(path, encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if not OF_THE_MACHINE.search(k)} for row in csv.DictReader(file)]


def tables(results: Path, study: str = "exp3") -> dict[str, Any]:
    """Those files of a study's one folder of tables that are there, by name, without times."""
    files = [path for path in results.glob(f"{study}/*/**/*") if path.is_file() and not path.name.startswith(".")]
    assert len({path.name for path in files}) == len(files)
    # The environment tells the command, and the Markdown has times among the rest.
    return {path.name: timeless(path) for path in files if path.name not in ("environment.json", "summary.md")}


def at_work(process: Any, runs: Path) -> dict[int, str]:
    """Workers of a command that are in the middle of a run, and the names of these runs."""
    names = {name_of(pid): pid for pid in children(process.pid)}
    found = {}
    for path in runs.glob(f"{LOCK_PREFIX}-[!s]*"):  # but not that of the study
        try:
            holder = path.read_text()
        except OSError:  # it has just ended
            continue
        if holder in names:
            found[names[holder]] = path.name.removeprefix(f"{LOCK_PREFIX}-")
    return found


def workers(process: Any) -> list[int]:
    """Workers of a command."""
    return sorted(pid for pid in children(process.pid) if "LokyProcess" in _command_line(pid))


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has just ended
        return ""


@dataclasses.dataclass
class Watch:
    """Sees that a finished run stays as it is: not lost, not torn, not made again."""

    runs: Path
    seen: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def look(self) -> int:
        """Look now; gives how many runs are finished."""
        now = {path.name: _identity(path) for path in finished(self.runs)}
        assert {name: now.get(name) for name in self.seen} == self.seen, "a finished run was lost or made again"
        for name in now.keys() - self.seen.keys():
            assert load_run(self.runs, name) is not None, "a run that is there is not whole"
        self.seen = now
        return len(now)


def finished(runs: Path) -> list[Path]:
    """Folders of finished runs."""
    try:
        return [path for path in runs.glob("*") if "." not in path.name]
    except FileNotFoundError:  # a command that begins makes the folder to see that it can, and removes it again
        return []


def _identity(path: Path) -> tuple[int, int]:
    status = (path / "result.json").stat()
    return status.st_ino, status.st_mtime_ns


def remains(results: Path) -> list[Path]:
    """Temporary files and locks."""
    return [path for path in results.rglob(".*") if path.name.startswith((".tmp", ".lock"))]


def left_by_killed(results: Path) -> list[Path]:
    """What not even a process that is killed while it writes leaves behind: anything but temporary files."""
    return [path for path in remains(results) if not path.name.startswith(".tmp")]


def age(results: Path) -> int:
    """Make all temporary files look two days old; gives their number."""
    paths = [path for path in remains(results) if path.name.startswith(".tmp")]
    for path in paths:
        moment = path.lstat().st_mtime - 2 * 24 * 3600
        os.utime(path, (moment, moment))
    return len(paths)


@dataclasses.dataclass
class Disk:
    """A file system in memory that one process alone has mounted, and its path as everybody can reach it."""

    process: subprocess.Popen[str]
    path: Path

    def freeze(self) -> None:
        """Make it read-only."""
        print("freeze", file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "frozen\n"

    def free_bytes(self) -> int:
        """Room for more."""
        return shutil.disk_usage(self.path).free


MOUNT = """
mount -t tmpfs -o "$1" none "$0" && echo mounted && read line && mount -o remount,ro "$0" && echo frozen && read line
"""


@contextmanager
def disk(mount_options: str) -> Iterator[Disk]:
    """A disk of the test's own, such as ``size=1m``; needs a superuser, or a system that gives users namespaces."""
    place = "/mnt"
    for options in ("-m", "-rm"):
        process = subprocess.Popen(
            ["unshare", options, "sh", "-c", MOUNT, place, mount_options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            if process.stdout.readline() == "mounted\n":
                yield Disk(process, Path(f"/proc/{process.pid}/root{place}"))
                return
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
    raise OSError("no file system can be mounted here, not even in a namespace")


def can_mount() -> bool:
    """Whether `disk` works here."""
    try:
        with disk("size=64k"):
            return True
    except OSError:
        return False


def complaint_of(out: str, err: str) -> str:
    """All that was said, in which nothing may look like an error of ours."""
    for sign in ("Traceback", "Exception ignored", "Error:"):
        assert sign not in err, err
    assert err == "" or (err.startswith("error: ") and len(err.splitlines()) == 1), err
    assert "Traceback" not in out
    return out + err


def later(*values: Any) -> list[Any]:
    """Cases for the long tests."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]
