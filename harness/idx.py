"""The IDX layout: four files, images and labels for training and test, gzipped or plain.

A file is a magic number that says how many dimensions it has, their sizes as big-endian 32-bit numbers, and unsigned
bytes. What all layouts share is left to ``harness.formats``.

Shapes: n images (the published training set first, then the published test set), d pixels per image.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from harness.formats import Bytes, DamageError, DatasetSpec, Layout, check_labels, damage_named, first_file

GZIP_MAGIC = b"\x1f\x8b"
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _locate(base: Path) -> tuple[tuple[Path, ...], list[str]]:
    """Look for the IDX files in a folder, gzipped or plain: those found, and the names of those missing."""
    choices = {name: first_file(base / f"{name}.gz", base / name) for name in IDX_FILES}
    return tuple(path for path in choices.values() if path), [name for name, path in choices.items() if not path]


def _read(spec: DatasetSpec, files: Sequence[Path]) -> tuple[Bytes, Bytes, tuple[str, ...]]:
    """Pool the images and labels of the four IDX files."""
    train_images, train_labels, test_images, test_labels = files
    X = [
        _read_file(train_images, (spec.n_train, *spec.image_shape)),
        _read_file(test_images, (spec.n_test, *spec.image_shape)),
    ]
    y = [_read_file(train_labels, (spec.n_train,)), _read_file(test_labels, (spec.n_test,))]
    for path, labels in zip((train_labels, test_labels), y, strict=True):
        check_labels(path, labels, spec)
    return np.concatenate(X).reshape(-1, math.prod(spec.image_shape)), np.concatenate(y), spec.class_names


def _read_file(path: Path, shape: tuple[int, ...]) -> Bytes:
    """Read one IDX file of unsigned bytes, which must have the given shape."""
    header_bytes = 4 + 4 * len(shape)
    expected_bytes = header_bytes + math.prod(shape)
    with damage_named(path):
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


LAYOUT = Layout(tuple(f"{name}.gz" for name in IDX_FILES), _locate, _read)
