"""Turn the published files of a data set into arrays, and refuse files that are not what they should be.

Two layouts are read: IDX (four files, gzipped or plain) and the CIFAR-10 binary version (a tar.gz, or its unpacked
folder). Every file is checked in full: gzip checksum, magic number, size, count, range of the labels. Where files come
from is the business of ``harness.sources``; caching and splitting that of ``harness.data``. Nothing is ever unpickled,
and nothing is ever written to a path that an archive names.

Shapes: n images (the published training set first, then the published test set), d pixels per image.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from harness.errors import UserError

Bytes = npt.NDArray[np.uint8]

GZIP_MAGIC = b"\x1f\x8b"
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR_FOLDER = "cifar-10-batches-bin"
CIFAR_BATCHES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
CIFAR_NAMES = "batches.meta.txt"


class DamageError(UserError):
    """A data file that is not what it should be; the message names the file and the fault."""


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set is, how to know it, and where it is published.

    Attributes
    ----------
    name : str
        The name on the command line, and of a subfolder that is looked into.
    layout : str
        A key of `LAYOUTS`.
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
    layout: str
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
        return LAYOUTS[self.layout].published


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
    X, y, class_names = LAYOUTS[spec.layout].read(spec, files)
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
        found, missing = LAYOUTS[spec.layout].locate(base)
        if found and not missing:
            return found
        if found and incomplete is None:
            incomplete = found[0].parent, missing
    if incomplete:
        place, missing = incomplete
        raise DamageError(f"{place}: {spec.name} is incomplete, without {', '.join(missing)}")
    return None


def _locate_idx(base: Path) -> tuple[tuple[Path, ...], list[str]]:
    """Look for the IDX files in a folder, gzipped or plain: those found, and the names of those missing."""
    choices = {name: _first_file(base / f"{name}.gz", base / name) for name in IDX_FILES}
    return tuple(path for path in choices.values() if path), [name for name, path in choices.items() if not path]


def _locate_cifar(base: Path) -> tuple[tuple[Path, ...], list[str]]:
    """Look for the CIFAR-10 archive, or else for the unpacked batches and class names, in the same way."""
    archive = _first_file(base / CIFAR_ARCHIVE)
    if archive:
        return (archive,), []
    found: tuple[Path, ...] = ()
    missing = list(CIFAR_BATCHES)
    for place in (base / CIFAR_FOLDER, base):
        batches = {name: _first_file(place / name) for name in CIFAR_BATCHES}
        absent = [name for name, path in batches.items() if not path]
        if len(absent) < len(missing):
            found = tuple(path for path in (*batches.values(), _first_file(place / CIFAR_NAMES)) if path)
            missing = absent
    return found, missing


def _first_file(*paths: Path) -> Path | None:
    """Pick the first path that is a file."""
    return next((path for path in paths if os.path.isfile(path)), None)


def _read_idx_set(spec: DatasetSpec, files: Sequence[Path]) -> tuple[Bytes, Bytes, tuple[str, ...]]:
    """Pool the images and labels of the four IDX files."""
    train_images, train_labels, test_images, test_labels = files
    X = [
        _read_idx(train_images, (spec.n_train, *spec.image_shape)),
        _read_idx(test_images, (spec.n_test, *spec.image_shape)),
    ]
    y = [_read_idx(train_labels, (spec.n_train,)), _read_idx(test_labels, (spec.n_test,))]
    for path, labels in zip((train_labels, test_labels), y, strict=True):
        _check_labels(path, labels, spec)
    return np.concatenate(X).reshape(-1, math.prod(spec.image_shape)), np.concatenate(y), spec.class_names


def _read_idx(path: Path, shape: tuple[int, ...]) -> Bytes:
    """Read one IDX file of unsigned bytes, which must have the given shape."""
    header_bytes = 4 + 4 * len(shape)
    expected_bytes = header_bytes + math.prod(shape)
    with _damage_named(path):
        with path.open("rb") as file:
            zipped = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if zipped else path.open("rb") as file:
            raw = file.read(expected_bytes + 1)  # one byte more: reaching the end makes gzip compare its checksum
    header = np.frombuffer(raw[: min(len(raw), header_bytes) // 4 * 4], dtype=">u4")
    magic = 0x800 + len(shape)
    if header.size == 0 or header[0] != magic:
        kind = "neither gzip nor IDX" if path.suffix == ".gz" and not zipped else "not IDX"
        seen = f"0x{header[0]:08x}" if header.size else "missing"
        raise DamageError(f"{path}: {kind} of {len(shape)} dimensions (magic number {seen}, expected 0x{magic:08x})")
    if header.size == 1 + len(shape) and tuple(header[1:]) != shape:
        raise DamageError(f"{path}: wrong count or size (holds {_times(header[1:])}, expected {_times(shape)})")
    if len(raw) < expected_bytes:
        raise DamageError(f"{path}: truncated ({len(raw):,} of {expected_bytes:,} bytes)")
    if len(raw) > expected_bytes:
        raise DamageError(f"{path}: longer than the {expected_bytes:,} bytes that its header says")
    return np.frombuffer(raw, dtype=np.uint8, offset=header_bytes).reshape(shape)


def _times(shape: Iterable[int]) -> str:
    """Write a shape for the eye."""
    return " x ".join(str(size) for size in shape)


def _read_cifar(spec: DatasetSpec, files: Sequence[Path]) -> tuple[Bytes, Bytes, tuple[str, ...]]:
    """Pool the images and labels of the six CIFAR batches; take the class names from their file where there is one."""
    d = math.prod(spec.image_shape)
    m = spec.n_train // 5
    rows = {name: (k * m, m) for k, name in enumerate(CIFAR_BATCHES[:5])}
    rows[CIFAR_BATCHES[5]] = (spec.n_train, spec.n_test)
    sizes = {name: count * (1 + d) for name, (_, count) in rows.items()}
    X = np.empty((spec.n_train + spec.n_test, d), dtype=np.uint8)
    y = np.empty(spec.n_train + spec.n_test, dtype=np.uint8)
    class_names = spec.class_names
    seen: set[str] = set()
    for path, name, raw in _unpacked(files, sizes) if len(files) > 1 else _members(files[0], sizes):
        if name in seen:
            raise DamageError(f"{path}: holds {name} twice")
        seen.add(name)
        if name == CIFAR_NAMES:
            class_names = _class_names(path, raw, len(spec.class_names))
            continue
        if len(raw) != sizes[name]:
            raise DamageError(f"{path}: {name} has {len(raw):,} bytes, expected {sizes[name]:,}")
        start, count = rows[name]
        records = np.frombuffer(raw, dtype=np.uint8).reshape(count, 1 + d)
        _check_labels(path, records[:, 0], spec, name)
        y[start : start + count] = records[:, 0]
        X[start : start + count] = records[:, 1:]
    missing = [name for name in CIFAR_BATCHES if name not in seen]
    if missing:
        raise DamageError(f"{files[0]}: without {', '.join(missing)}")
    return X, y, class_names


def _unpacked(files: Sequence[Path], sizes: dict[str, int]) -> Iterator[tuple[Path, str, bytes]]:
    """Yield path, name and contents of each unpacked file, read no further than one byte past its proper size."""
    for path in files:
        with _damage_named(path), path.open("rb") as file:
            raw = file.read(sizes.get(path.name, 4096) + 1)
        yield path, path.name, raw


def _members(archive: Path, sizes: dict[str, int]) -> Iterator[tuple[Path, str, bytes]]:
    """Yield the same of each member of the archive that counts, in one pass."""
    with _damage_named(archive), gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                content = tar.extractfile(member) if member.isreg() and (name in sizes or name == CIFAR_NAMES) else None
                if content is not None:
                    yield archive, name, content.read(sizes.get(name, 4096) + 1)
        while stream.read(1 << 20):  # on to the end, where gzip compares its checksum
            pass


def _class_names(path: Path, raw: bytes, n_classes: int) -> tuple[str, ...]:
    """Read a file of class names, one per line."""
    lines = raw.decode("utf-8", errors="replace").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != n_classes or len(set(names)) != n_classes or not "".join(names).isprintable():
        raise DamageError(f"{path}: {CIFAR_NAMES} does not list {n_classes} different class names")
    return names


def _check_labels(path: Path, labels: Bytes, spec: DatasetSpec, member: str = "") -> None:
    """Refuse labels beyond the last class."""
    highest = len(spec.class_names) - 1
    if labels.size and labels.max() > highest:
        place = f" in {member}" if member and member != path.name else ""
        raise DamageError(f"{path}: label {labels.max()}{place} is out of range 0..{highest}")


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
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
    with _damage_named(path), path.open("rb") as file:
        total = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


@dataclass(frozen=True)
class Layout:
    """How the files of a data set are called, found in a folder, and read."""

    published: tuple[str, ...]
    locate: Callable[[Path], tuple[tuple[Path, ...], list[str]]]
    read: Callable[[DatasetSpec, Sequence[Path]], tuple[Bytes, Bytes, tuple[str, ...]]]


LAYOUTS: dict[str, Layout] = {
    "idx": Layout(tuple(f"{name}.gz" for name in IDX_FILES), _locate_idx, _read_idx_set),
    "cifar": Layout((CIFAR_ARCHIVE,), _locate_cifar, _read_cifar),
}
