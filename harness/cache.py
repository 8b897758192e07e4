"""The cache of decoded data sets: arrays that any process opens in milliseconds and shares with all others.

The cache is a folder that holds one folder per set of pixels ("entry": ``X.npy``, ``y.npy``, ``meta.json``), named by
its contents, and ``sources/``, which remembers what each source file held. An entry is renamed into place whole; two
processes that make the same entry make the same bytes, so it does not matter whose are kept. Which sources are tried
is left to ``harness.data``, reading files to ``harness.formats``. (Compiled kernels have a cache of their own.)

Shapes: n images (the published training set first, then the published test set), d pixels per image.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import memory
from harness.errors import UserError
from harness.formats import Bytes, DatasetSpec, Decoded, decode, digest

CACHE_VARIABLE = "ABLATION_BENCH_CACHE"
CACHE_FORMAT = 1  # of entries and source records; another number makes old ones void
ARRAYS = ("X.npy", "y.npy")
STALE_SECONDS = 24 * 3600  # after which a killed process's workspace is swept away


@dataclass(frozen=True, eq=False)
class Dataset:
    """A verified data set as memory maps; it pickles as the path of its cache entry.

    Attributes
    ----------
    name : str
        A key of ``harness.data.DATASETS``.
    X : ndarray, (n, d) uint8
        Pixels 0..255, one image per row, read-only; the published training set first, then the published test set.
    y : ndarray, (n,) uint8
        Labels, read-only.
    n_official_train : int
        So many first rows are the published training set.
    class_names : tuple of str
        Names by label.
    image_shape : tuple of int
        (28, 28) or (3, 32, 32).
    fingerprint : str
        The first 16 hex digits of the SHA-256 of the bytes of `X` and `y`.
    source : str
        One line for the screen: which source was used.
    warning : str or None
        One line where these may not be the official pixels.
    folder : Path
        The cache entry.
    stamps : list
        What :func:`stamps` says of it.
    """

    name: str
    X: Bytes
    y: Bytes
    n_official_train: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    fingerprint: str
    source: str
    warning: str | None
    folder: Path
    stamps: list[list[int]] = field(default_factory=list)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_from, (self.folder, self.source)


def cache_folder() -> Path:
    """Return the cache: ``ABLATION_BENCH_CACHE``, or else ``ablation-bench`` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    import platformdirs

    return Path(platformdirs.user_cache_dir("ablation-bench", appauthor=False))


def open_cached(folder: Path) -> Dataset:
    """Open a cache entry as memory maps, in milliseconds: what worker processes call.

    Raises
    ------
    UserError
        Where the entry is gone or damaged.
    """
    try:
        return _open(Path(folder))
    except Exception as error:  # bytes that are no array make NumPy raise nearly anything
        if memory.ran_out(error):
            raise
        raise UserError(f"the cache entry {folder} is missing or damaged; start again to have it rebuilt") from error


def official_entry(name: str) -> Path:
    """Return where the cache keeps a data set whose contents are known to be the official ones."""
    return cache_folder() / f"{name}-official"


def from_files(spec: DatasetSpec, files: Sequence[Path]) -> Dataset:
    """Take a data set from files in a folder: from the cache if it has seen them unchanged, else decode them.

    Raises
    ------
    DamageError
        Where a file is not what it should be.
    UserError
        Where the cache cannot be written to.
    """
    source = f"folder {files[0].parent}"
    seen = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    key = hashlib.sha256("\n".join([spec.name, *(str(path) for path in files)]).encode()).hexdigest()[:16]
    record = cache_folder() / "sources" / f"{spec.name}-{key}.json"
    with suppress(Exception):  # whatever the record holds
        known = json.loads(record.read_text())
        if known["format"] == CACHE_FORMAT and known["files"] == seen:
            cached = intact(cache_folder() / known["entry"])
            if cached is not None:
                return replace(cached, source=source)
    dataset = store(spec, decode(spec, files), source)
    with suppress(OSError):  # a cache that cannot be written to still serves what it has
        record.parent.mkdir(exist_ok=True)
        _write_json(record, {"format": CACHE_FORMAT, "files": seen, "entry": dataset.folder.name})
    return dataset


def store(spec: DatasetSpec, decoded: Decoded, source: str) -> Dataset:
    """Put decoded arrays into the cache, unless they are there, and open them from it.

    Raises
    ------
    UserError
        Where the cache cannot be written to.
    """
    fingerprint = decoded.sha256[:16]
    names = hashlib.sha256("\n".join(decoded.class_names).encode()).hexdigest()[:8]
    other = cache_folder() / f"{spec.name}-{fingerprint}-{names}"
    entry = official_entry(spec.name) if decoded.doubt is None else other
    cached = intact(entry, decoded.sha256)
    if cached is not None:
        return replace(cached, source=source)
    with workspace() as space:
        fresh = space / entry.name
        fresh.mkdir()
        np.save(fresh / "X.npy", decoded.X)
        np.save(fresh / "y.npy", decoded.y)
        meta = {
            "format": CACHE_FORMAT,
            "name": spec.name,
            "n_official_train": spec.n_train,
            "class_names": decoded.class_names,
            "image_shape": spec.image_shape,
            "sha256": decoded.sha256,
            "source": source,
            "warning": f"{spec.name}: {decoded.doubt} (fingerprint {fingerprint})" if decoded.doubt else None,
            "stamps": stamps(fresh),
        }
        _write_json(fresh / "meta.json", meta)
        try:
            fresh.rename(entry)
        except OSError:  # there already, by another process, which may be at work on it; or damaged
            if not entry.is_dir():
                raise
            if intact(entry, decoded.sha256) is None:  # put the right bytes in its place, file by file
                for file in (*ARRAYS, "meta.json"):
                    os.replace(fresh / file, entry / file)
    return replace(open_cached(entry), source=source)


def intact(entry: Path, sha256: str | None = None) -> Dataset | None:
    """Open a cache entry, or return None where it is missing, damaged or not of the given hash.

    Its bytes are hashed only if their files were touched since they were written.
    """
    try:
        dataset, meta = _open(entry), _meta(entry)
        if sha256 not in (None, meta["sha256"]):
            return None
        touched = dataset.stamps != meta["stamps"]
    except Exception as error:  # as in open_cached
        if memory.ran_out(error):
            raise
        return None
    if touched:
        if digest(dataset.X, dataset.y) != meta["sha256"]:
            return None
        with suppress(OSError):
            _write_json(entry / "meta.json", {**meta, "stamps": dataset.stamps})
    return dataset


def require_unchanged(dataset: Dataset) -> None:
    """Make sure that what was read from a data set was what its fingerprint says.

    Raises
    ------
    UserError
        Where somebody changed the cache entry since it was written.
    """
    try:
        same = stamps(dataset.folder) == dataset.stamps
    except OSError:
        same = False
    if not same or intact(dataset.folder) is None:
        raise UserError(f"the cache entry {dataset.folder} was changed under way; start again to have it rebuilt")


def stamps(entry: Path) -> list[list[int]]:
    """Size in bytes and time of change of the arrays of an entry: as long as these stay, so do the arrays."""
    return [[status.st_size, status.st_mtime_ns] for status in ((entry / file).stat() for file in ARRAYS)]


@contextmanager
def workspace() -> Iterator[Path]:
    """Make a folder of one's own in the cache, gone afterwards; errors of the disk become one line."""
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob("tmp-*"):  # of processes that were killed
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache, ignore_cleanup_errors=True) as space:
            yield Path(space)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write to the cache folder {cache} ({reason}); set {CACHE_VARIABLE} to a folder that can be written"
        ) from error


def _open(entry: Path) -> Dataset:
    """Memory-map a cache entry; raises whatever is wrong with it."""
    meta, as_of_now = _meta(entry), stamps(entry)
    X, y = (np.load(entry / file, mmap_mode="r", allow_pickle=False) for file in ARRAYS)
    shape = tuple(meta["image_shape"])
    if X.dtype != np.uint8 or y.dtype != np.uint8 or X.shape != (len(y), int(np.prod(shape))):
        raise ValueError(f"{entry}: arrays of unexpected type or shape")
    return Dataset(
        name=meta["name"],
        X=X,
        y=y,
        n_official_train=meta["n_official_train"],
        class_names=tuple(meta["class_names"]),
        image_shape=shape,
        fingerprint=meta["sha256"][:16],
        source=meta["source"],
        warning=meta["warning"],
        folder=entry,
        stamps=as_of_now,
    )


def _open_from(folder: Path, source: str) -> Dataset:
    """Unpickle a data set: open its entry, and keep the source that its first opener reported."""
    return replace(open_cached(folder), source=source)


def _meta(entry: Path) -> dict[str, Any]:
    """Read ``meta.json`` of a cache entry."""
    meta: dict[str, Any] = json.loads((entry / "meta.json").read_text())
    if meta["format"] != CACHE_FORMAT:
        raise ValueError(f"{entry}: of another version")
    return meta


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small file whole or not at all."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    draft.write_text(json.dumps(content, indent=1))
    os.replace(draft, path)
