"""Writing files so that a reader, at any moment and after any kill, sees the whole of one or none."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import UserError

TEMPORARY_PREFIX = ".tmp-"
STALE_SECONDS = 24 * 3600  # temporary files of killed processes are swept after a day


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
            folder.mkdir(parents=True, exist_ok=True)
            probe = _beside(folder / "probe")
            probe.write_bytes(b"")
            probe.unlink()
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
    """Remove temporary files and folders that killed processes left behind, a day old or older."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError):  # another process swept it
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                _remove(path)


def cannot_write(path: Path, error: OSError) -> UserError:
    """One line for a file that cannot be written."""
    return UserError(f"cannot write {path}: {error.strerror or error}")


def _beside(path: Path) -> Path:
    """A temporary name in the same folder, so that renaming moves no data."""
    return path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}")


def _put(folder: Path, path: Path) -> None:
    """Rename a folder into place; what another process or an earlier command put there goes first."""
    while True:
        try:
            os.rename(folder, path)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        old = _beside(path)
        with suppress(FileNotFoundError):  # another process was faster
            os.rename(path, old)
            _remove(old)


def _remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
