"""The folder in which W&B keeps the runs of a study: names of runs, which of them are whole, and what is left over.

W&B makes a folder per run, ``[offline-]run-TIME-ID``. A run that has been written to its end gets our mark in there:
what it was made from, and where it was to be sent. A folder without a mark belongs to a run that goes on or that was
broken off; one whose mark no longer fits is outdated. W&B itself is not needed here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from harness.trackerrors import UnwantedError

MARK = "tracked.json"
PROJECT = "ablation-bench"
LOCK_SECONDS = 30.0  # how long an earlier command may take to close what it left open, and be gone
_FOLDER = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(?P<id>[0-9a-f]{16}-[0-9a-f]{8})(?:-\d+)?")


def digest(*parts: bytes) -> str:
    """16 hex digits of the SHA-256 of byte strings."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def wandb_id(name: str, group: str) -> str:
    """W&B's id of a run of a group, always the same: 16 hex digits of the run, 8 of the group."""
    first = name if re.fullmatch("[0-9a-f]{16}", name) else digest(name.encode())
    return f"{first}-{_suffix(group)}"


def staging(root: Path, group: str) -> Path:
    """Beside the folders of runs: where W&B keeps what belongs to none of them, while a command is tracking a group."""
    return root / f".{_suffix(group)}"


def run_stamp(folder: Path) -> str | None:
    """What names the content of a stored run; None when there is none."""
    return _stamp([folder / "result.json"])  # which holds a seal over the files beside it


def tables_stamp(folder: Path) -> str | None:
    """What names the content of a study's tables; None when there are none."""
    return _stamp(path for name in ("summary", "runs", "trials") if (path := folder / f"{name}.csv").exists())


def target(environ: Mapping[str, str]) -> str:
    """What names where runs are to be sent: server, entity and project, as far as the environment tells.

    Not the names themselves: an address can hold a password.
    """
    names = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT")
    return digest(*(environ.get(name, "").encode() for name in names))


def write_mark(folder: Path, stamp: str, mode: str) -> None:
    """Mark a run's folder as whole."""
    facts = {"stamp": stamp, "mode": mode, "target": target(os.environ), "bytes": _size(folder)}
    (folder / MARK).write_text(json.dumps(facts))


def folders(root: Path, group: str) -> dict[str, list[Path]]:
    """By W&B id, the folders of a group's runs, the oldest first."""
    found: dict[str, list[Path]] = {}
    for folder in sorted(root.glob("*run-*"), key=lambda path: path.name.removeprefix("offline-")):
        match = _FOLDER.fullmatch(folder.name)
        if match and match["id"].endswith(_suffix(group)):
            found.setdefault(match["id"], []).append(folder)
    return found


def marks(root: Path, group: str) -> dict[str, dict[str, Any]]:
    """By W&B id, the marks of a group's runs that are whole; ``sent`` says whether W&B's server has the run."""
    found: dict[str, dict[str, Any]] = {}
    for identity, places in folders(root, group).items():
        for folder in places:
            with suppress(OSError, ValueError, LookupError, TypeError):  # unfinished, or not as it was written
                mark = json.loads((folder / MARK).read_text())
                mark["sent"] = mark["mode"] == "online" or any(folder.glob("*.wandb.synced"))
                if mark["sent"] or mark.get("bytes", _size(folder)) == _size(folder):  # else somebody was at it
                    found[identity] = mark
    return found


def is_current(mark: Mapping[str, Any] | None, stamp: str | None, mode: str | None) -> bool:
    """Whether a run need not be written again: same content, same target and, for an online request, sent."""
    if mark is None or mark.get("stamp") != stamp or mark.get("target") != target(os.environ):
        return False
    return bool(mark["sent"]) or mode != "online"


def sweep(root: Path, group: str) -> None:
    """Remove what runs of this group left behind that were broken off; no other command may be tracking it now."""
    for places in folders(root, group).values():
        for folder in places:
            if not (folder / MARK).exists():
                shutil.rmtree(folder, ignore_errors=True)


def lock(path: Path) -> TextIO | None:
    """The right to write here, which ends with this process; two commands would sweep each other's runs away.

    Raises
    ------
    UnwantedError
        When another command keeps it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = open(path, "w")  # noqa: SIM115

    def try_once() -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    end = time.monotonic() + LOCK_SECONDS
    while not (locked := try_once()) and time.monotonic() < end:
        time.sleep(0.1)
    if locked:
        return file
    raise UnwantedError("another command is tracking this study now")


def _size(folder: Path) -> int:
    """Bytes of W&B's own file in a run's folder."""
    return sum(path.stat().st_size for path in folder.glob("*.wandb"))


def _suffix(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()[:8]


def _stamp(files: Iterable[Path]) -> str | None:
    try:
        contents = [path.read_bytes() for path in files]
    except OSError:
        return None
    return digest(*contents) if contents else None
