"""The layout of CIFAR-10's binary version: a tar.gz of six batches, or its unpacked folder.

A batch is a row of records: one byte of label, then the pixels. Archives are read as streams, so that no member is ever
written anywhere. What all layouts share is left to ``harness.formats``.

Shapes: n images (the published training set first, then the published test set), d pixels per image.
"""

from __future__ import annotations

import gzip
import math
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from harness.formats import Bytes, DamageError, DatasetSpec, Layout, check_labels, damage_named, first_file

CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR_FOLDER = "cifar-10-batches-bin"
CIFAR_BATCHES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
CIFAR_NAMES = "batches.meta.txt"


def _locate(base: Path) -> tuple[tuple[Path, ...], list[str]]:
    """Look for the archive, or else for the unpacked files: those found, and the names of the batches missing."""
    archive = first_file(base / CIFAR_ARCHIVE)
    if archive:
        return (archive,), []
    found: tuple[Path, ...] = ()
    missing = list(CIFAR_BATCHES)
    for place in (base / CIFAR_FOLDER, base):
        batches = {name: first_file(place / name) for name in CIFAR_BATCHES}
        absent = [name for name, path in batches.items() if not path]
        if len(absent) < len(missing):
            found = tuple(path for path in (*batches.values(), first_file(place / CIFAR_NAMES)) if path)
            missing = absent
    return found, missing


def _read(spec: DatasetSpec, files: Sequence[Path]) -> tuple[Bytes, Bytes, tuple[str, ...]]:
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
        check_labels(path, records[:, 0], spec, name)
        y[start : start + count] = records[:, 0]
        X[start : start + count] = records[:, 1:]
    missing = [name for name in CIFAR_BATCHES if name not in seen]
    if missing:
        raise DamageError(f"{files[0]}: without {', '.join(missing)}")
    return X, y, class_names


def _unpacked(files: Sequence[Path], sizes: dict[str, int]) -> Iterator[tuple[Path, str, bytes]]:
    """Yield path, name and contents of each unpacked file, read no further than one byte past its proper size."""
    for path in files:
        with damage_named(path), path.open("rb") as file:
            raw = file.read(sizes.get(path.name, 4096) + 1)
        yield path, path.name, raw


def _members(archive: Path, sizes: dict[str, int]) -> Iterator[tuple[Path, str, bytes]]:
    """Yield the same of each member of the archive that counts, in one pass."""
    with damage_named(archive), gzip.open(archive) as stream:
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


LAYOUT = Layout((CIFAR_ARCHIVE,), _locate, _read)
