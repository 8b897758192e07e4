"""Turn the published files of a data set into arrays, and refuse files that are not what they should be.

A data set's specification has a layout; ``harness.idx`` and ``harness.cifar`` each know one. Every file is checked in
full: gzip checksum, magic number, size, count, range of the labels. Where files come from is the business of
``harness.data``, keeping what was read that of ``harness.cache``. Nothing is ever unpickled, and nothing is ever
written to a path that an archive names.

Shapes: n images (the published training set first, then the published test set), d pixels per image.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import UserError

Bytes = npt.NDArray[np.uint8]


class DamageError(UserError):
    """A data file that is not what it should be; the message names the file and the fault."""


@dataclass(frozen=True)
class Layout:
    """How the files of a data set are called, found in a folder, and read.

    Attributes
    ----------
    published : tuple of str
        Names of the files as they are published.
    locate : callable
        Looks in a folder: the files found, in the order that ``read`` takes, and the names of those missing.
    read : callable
        Reads the files that a specification describes: `X` (n, d) uint8, `y` (n,) uint8, and the names of the classes.
    """

    published: tuple[str, ...]
    locate: Callable[[Path], tuple[tuple[Path, ...], list[str]]]
    read: Callable[[DatasetSpec, Sequence[Path]], tuple[Bytes, Bytes, tuple[str, ...]]]


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set is, how to know it, and where it is published.

    Attributes
    ----------
    name : str
        The name on the command line, and of a subfolder that is looked into.
    layout : Layout
        How its files are called, found and read.
    class_names : tuple of str
        Names by label; the number of classes is their number.
    image_shape : tuple of int
        Shape of one image; d is its product.
    n_train, n_test : int
        Published numbers of images.
    sha256 : str or None
        SHA-256 of the official decoded bytes (all images, then all labels).
    archive_md5 : str or None
        MD5 of the official archive, for a layout that is published as one.
    addresses : tuple of str
        Web folders that hold `files`, best first.
    system_folders : tuple of str
        Where distributions install the files.
    debian_package : str or None
        The package that installs the files into `system_folders`.
    """

    name: str
    layout: Layout
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    n_train: int
    n_test: int
    sha256: str | None = None
    archive_md5: str | None = None
    addresses: tuple[str, ...] = ()
    system_folders: tuple[str, ...] = ()
    debian_package: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files as they are published."""
        return self.layout.published


@dataclass(frozen=True)
class Decoded:
    """Verified contents: `X` (n, d) uint8, `y` (n,) uint8, their SHA-256, and why they may not be the official ones."""

    X: Bytes
    y: Bytes
    class_names: tuple[str, ...]
    sha256: str
    doubt: str | None


def decode(spec: DatasetSpec, files: Sequence[Path]) -> Decoded:
    """Read and verify the files of one data set.

    Parameters
    ----------
    spec : DatasetSpec
        What the files should hold.
    files : sequence of Path
        As `locate` returns them.

    Returns
    -------
    Decoded
        ``doubt`` is None where the contents are known to be the official ones: by the SHA-256 of the decoded bytes
        or by the MD5 of the archive.

    Raises
    ------
    DamageError
        One line that names the file and what is wrong with it.
    """
    X, y, class_names = spec.layout.read(spec, files)
    sha256 = digest(X, y)
    doubt: str | None = None
    if sha256 != spec.sha256:
        if spec.archive_md5 is None:
            doubt = "not the official pixels"
        elif len(files) > 1:
            doubt = "not the official archive but an unpacked folder, which no published checksum covers"
        elif _md5(files[0]) != spec.archive_md5:
            doubt = "not the official archive, so perhaps not the official pixels"
    return Decoded(X, y, class_names, sha256, doubt)


def digest(X: Bytes, y: Bytes) -> str:
    """SHA-256 (hex) of the bytes of `X` (n, d) followed by those of `y` (n,)."""
    total = hashlib.sha256(np.ascontiguousarray(X).data)
    total.update(np.ascontiguousarray(y).data)
    return total.hexdigest()


def locate(spec: DatasetSpec, folder: Path) -> tuple[Path, ...] | None:
    """Find the files of a data set in a folder or in its subfolder named after the data set.

    Returns
    -------
    tuple of Path or None
        The files in the order that `decode` takes; None where the folder has none of them.

    Raises
    ------
    DamageError
        Where only some of the files are there.
    """
    incomplete: tuple[Path, list[str]] | None = None
    for base in (folder, folder / spec.name):
        found, missing = spec.layout.locate(base)
        if found and not missing:
            return found
        if found and incomplete is None:
            incomplete = found[0].parent, missing
    if incomplete:
        place, missing = incomplete
        raise DamageError(f"{place}: {spec.name} is incomplete, without {', '.join(missing)}")
    return None


def first_file(*paths: Path) -> Path | None:
    """Pick the first path that is a file."""
    return next((path for path in paths if os.path.isfile(path)), None)


def check_labels(path: Path, labels: Bytes, spec: DatasetSpec, member: str = "") -> None:
    """Refuse labels beyond the last class."""
    highest = len(spec.class_names) - 1
    if labels.size and labels.max() > highest:
        place = f" in {member}" if member and member != path.name else ""
        raise DamageError(f"{path}: label {labels.max()}{place} is out of range 0..{highest}")


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn whatever reading a broken file raises into one line that names the file."""
    try:
        yield
    except EOFError as error:
        raise DamageError(f"{path}: truncated (its gzip data end too early)") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DamageError(f"{path}: not a gzip file, or a damaged one ({error})") from error
    except tarfile.TarError as error:
        raise DamageError(f"{path}: not a tar archive, or a damaged one ({error})") from error
    except OSError as error:
        raise DamageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _md5(path: Path) -> str:
    """Compute the MD5 (hex) of a file: the checksum that the publisher gives."""
    with damage_named(path), path.open("rb") as file:
        total = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
