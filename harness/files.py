"""Writing files so that a reader, at any moment and after any kill, sees the whole of one or none."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UserError
from harness.locks import sweep_locks

TEMPORARY_PREFIX = ".tmp-"
STALE_SECONDS = 24 * 3600  # temporary files of killed processes are swept after a day
TRIES = 10  # where another process that begins or ends takes away what is needed
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # Linux


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole: into a temporary one beside it, then renamed into place.

    Raises
    ------
    UserError
        When the folder cannot be written or the disk is full.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # not there: it is in place
            temporary.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends without an error; what was there is replaced.

    Raises
    ------
    UserError
        When the folder cannot be written or the disk is full.
    """
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _put(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_writable(option: str, *folders: Path) -> None:
    """Make sure, before any work, that files can be written into folders that ``option`` names; leaves no trace."""
    made: list[Path] = []
    folder = Path()
    try:
        for folder in folders:
            made += [each for each in (folder, *folder.parents) if not each.exists()]
            _probe(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write into {folder} ({option}): {reason}; name another folder with {option}"
        ) from error
    finally:
        for each in sorted(made, reverse=True):  # inner ones first
            with suppress(OSError):  # not made, or in use by now
                each.rmdir()


def sweep(folder: Path) -> None:
    """Remove what killed processes left behind: temporary files and folders, a day old or older, and locks."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError):  # another process swept it
            if abs(time.time() - path.stat().st_mtime) > STALE_SECONDS:  # of the future: the clock was wrong then
                _remove(path)
    sweep_locks(folder)


def cannot_write(path: Path, error: OSError) -> UserError:
    """One line for a file that cannot be written."""
    return UserError(f"cannot write {path}: {error.strerror or error}")


def _beside(path: Path) -> Path:
    """A temporary name in the same folder, so that renaming moves no data."""
    return path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}")


def _probe(folder: Path) -> None:
    """Write into a folder, which is made, and take that back."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError):  # another command, which asked the same, takes its folder back
            return _write_and_remove(folder)
    return _write_and_remove(folder)


def _write_and_remove(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    probe = _beside(folder / "probe")
    probe.write_bytes(b"")
    probe.unlink()


def _put(folder: Path, path: Path) -> None:
    """Rename a folder into place; what another process or an earlier command put there goes."""
    while True:
        try:
            os.rename(folder, path)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        if _exchange(folder, path):
            _remove(folder)
            return
        old = _beside(path)  # for a moment nothing is in place
        with suppress(FileNotFoundError):  # another process was faster
            os.rename(path, old)
            _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names at once, where system and file system can, so that nobody ever finds one missing."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another C library
        return False
    return int(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)) == 0


def _remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
