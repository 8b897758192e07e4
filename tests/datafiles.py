"""What tests of data share: a tiny data set in both layouts, as bytes, as files and as a data set to be found."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import pathlib
import struct
import tarfile

import numpy as np
import pytest

from harness import cifar, idx
from harness.cache import CACHE_VARIABLE
from harness.cifar import CIFAR_BATCHES
from harness.data import DATASETS
from harness.formats import DatasetSpec, locate
from harness.idx import IDX_FILES
from harness.sources import DATA_VARIABLE

CLASSES = ("ant", "bee", "cod")
IDX = DatasetSpec("tiny", idx.LAYOUT, CLASSES, image_shape=(5, 3), n_train=31, n_test=7)
CIFAR = DatasetSpec(
    "tiny", cifar.LAYOUT, CLASSES, image_shape=(3, 2, 3), n_train=35, n_test=9, archive_md5="0" * 32
)  # 7 images in a batch


def pixels_and_labels(spec: DatasetSpec = IDX, seed: int = 0):
    rng = np.random.default_rng(seed)
    n = spec.n_train + spec.n_test
    X = rng.integers(0, 256, size=(n, int(np.prod(spec.image_shape))), dtype=np.uint8)
    y = rng.integers(0, len(spec.class_names), size=n, dtype=np.uint8)
    return X, y


def fingerprint(seed: int = 0) -> str:
    """SHA-256 of the pixels and labels in `idx_files`."""
    X, y = pixels_and_labels(IDX, seed)
    return hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest()


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def idx_files(spec: DatasetSpec = IDX, seed: int = 0, zipped: bool = True, level: int = 9) -> dict[str, bytes]:
    """The four files by name."""
    X, y = pixels_and_labels(spec, seed)
    images, m = X.reshape(-1, *spec.image_shape), spec.n_train
    raw = [idx_bytes(values) for values in (images[:m], y[:m], images[m:], y[m:])]
    if not zipped:
        return dict(zip(IDX_FILES, raw, strict=True))
    return {f"{name}.gz": gzip.compress(content, level, mtime=0) for name, content in zip(IDX_FILES, raw, strict=True)}


def write_idx(folder: pathlib.Path, **how) -> pathlib.Path:
    """Write the files of `idx_files` into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in idx_files(**how).items():
        (folder / name).write_bytes(content)
    return folder


def cifar_members(spec: DatasetSpec = CIFAR, seed: int = 0) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    X, y = pixels_and_labels(spec, seed)
    parts = np.split(np.column_stack([y, X]), [7, 14, 21, 28, 35])
    members = {name: part.tobytes() for name, part in zip(CIFAR_BATCHES, parts, strict=True)}
    members["batches.meta.txt"] = "\n".join([*CLASSES, "", ""]).encode()
    return members, X, y


def tar_bytes(members: dict[str, bytes], prefix: str = "cifar-10-batches-bin/") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_archive(folder: pathlib.Path, content: bytes) -> tuple[pathlib.Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cifar-10-binary.tar.gz").write_bytes(content)
    found = locate(CIFAR, folder)
    assert found is not None
    return found


def flip(raw: bytes, position: int) -> bytes:
    """Turn all bits of one byte."""
    changed = bytearray(raw)
    changed[position] ^= 0xFF
    return bytes(changed)


TINY = dataclasses.replace(IDX, sha256=fingerprint())


def empty_cache(folder: pathlib.Path, patch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty cache, no data folder, no proxy, and a data set "tiny" that is published nowhere."""
    patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
    patch.delenv(DATA_VARIABLE, raising=False)
    patch.setenv("no_proxy", "*")
    patch.setitem(DATASETS, "tiny", TINY)
    return folder / "cache"


def leftovers(cache: pathlib.Path) -> list[str]:
    """Workspaces that were not cleared away."""
    return [path.name for path in cache.rglob("*") if path.name.startswith("tmp-")]
