"""Writing files so that a reader, at any moment and after any kill, sees the whole of one or none."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UserError

TEMPORARY_PREFIX = ".tmp-"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole: into a temporary one beside it, then renamed into place.

    Raises
    ------
    UserError
        When the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None
        raise cannot_write(path, error) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends without an error; an existing one is replaced.

    Raises
    ------
    UserError
        When the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex[:12]}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_writable(folder: Path, option: str) -> None:
    """Make sure, before any work, that files can be written into a folder that ``option`` names."""
    probe = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write into {folder} ({option}): {reason}; name another folder with {option}") from error


def cannot_write(path: Path, error: OSError) -> UserError:
    """One line for a file that cannot be written."""
    return UserError(f"cannot write {path}: {error.strerror or error}")
