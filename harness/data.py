"""Data sets: find one, keep it decoded in a cache, open it in any process, split it.

`find` tries the sources in order and says which it used; the arrays that it returns are memory maps of files in the
cache, shared by all processes. Reading formats is left to ``harness.formats``, fetching to ``harness.sources``.

The cache is a folder that holds one folder per set of pixels ("entry": ``X.npy``, ``y.npy``, ``meta.json``), named by
its contents, and ``sources/``, which remembers what each source file held. An entry is renamed into place whole; two
processes that make the same entry make the same bytes, so it does not matter whose are kept.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import sources
from harness.errors import UserError, unknown
from harness.formats import Bytes, DamageError, DatasetSpec, Decoded, decode, digest, locate

CACHE_VARIABLE = "ABLATION_BENCH_CACHE"
CACHE_FORMAT = 1  # of entries and source records; another number makes old ones void
ARRAYS = ("X.npy", "y.npy")
SPLIT_KINDS = ("80/10/10", "official")
STALE_SECONDS = 24 * 3600  # after which a killed process's workspace is swept away

DATASETS: dict[str, DatasetSpec] = {
    "fashion-mnist": DatasetSpec(
        name="fashion-mnist",
        layout="idx",
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        image_shape=(28, 28),
        n_train=60_000,
        n_test=10_000,
        sha256="2cbc59191665e1ba3f2494648f17edac5974f748ab89fb2ae05597d658161f54",
        addresses=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        ),
        system_folders=("/usr/share/datasets/fashion-mnist",),
        debian_package="dataset-fashion-mnist",
    ),
    "cifar-10": DatasetSpec(
        name="cifar-10",
        layout="cifar",
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        image_shape=(3, 32, 32),
        n_train=50_000,
        n_test=10_000,
        archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
        addresses=("https://www.cs.toronto.edu/~kriz",),
    ),
}


@dataclass(frozen=True, eq=False)
class Split:
    """Which images serve for what: three int64 index arrays into the pooled images, each in a fixed shuffled order."""

    train: npt.NDArray[np.int64]
    val: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A verified data set as memory maps; it pickles as the path of its cache entry.

    Attributes
    ----------
    name : str
        A key of `DATASETS`.
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

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_from, (self.folder, self.source)


def find(name: str, data_dir: Path | None = None) -> Dataset:
    """Locate, verify, decode and cache a data set.

    The sources, in order: the folder `data_dir` or else ``ABLATION_BENCH_DATA``; the cache; system folders; download
    from the official addresses; ``apt-get download``. Where the cache knows the files already, nothing is read again.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    data_dir : Path, optional
        A folder that holds the published files, directly or in a subfolder called `name`.

    Returns
    -------
    Dataset
        With ``source`` (which source it was) and ``warning`` set.

    Raises
    ------
    UserError
        An unknown name, a folder that does not exist, damaged files in a folder that the user named, a cache that
        cannot be written to, or no source at all: one line that lists what was tried.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    spec = DATASETS[name]
    tried: list[str] = []

    folder = sources.named_folder(data_dir)
    if folder is None:
        tried.append(f"no data folder was named (--data-dir or {sources.DATA_VARIABLE})")
    elif (files := locate(spec, folder)) is not None:
        return _from_files(spec, files)
    else:
        tried.append(f"{folder}: not there")

    entry = cache_folder() / f"{name}-official"
    cached = _intact(entry, spec.sha256)
    if cached is not None:
        return replace(cached, source=f"cache {entry} ({cached.source})")
    tried.append(f"cache {cache_folder()}: {'damaged' if entry.exists() else 'not there'}")

    ways = [(place, partial(_from_system, spec, Path(place))) for place in spec.system_folders]
    ways += [(way, partial(_from_remote, spec, way, fetch)) for way, fetch in sources.remote(spec)]
    for way, get in ways:
        dataset = _attempt(way, get, tried)
        if dataset is not None:
            return dataset
    remedy = f"put {', '.join(spec.files)} into a folder and name it with --data-dir or {sources.DATA_VARIABLE}"
    if spec.debian_package:
        remedy += f", or install the Debian package {spec.debian_package}"
    raise UserError(" ".join(f"{name} was not found: {'; '.join(tried)}. What to do: {remedy}".split()))


def open_cached(folder: Path) -> Dataset:
    """Open a cache entry as memory maps, in milliseconds: what worker processes call.

    Raises
    ------
    UserError
        Where the entry is gone or damaged.
    """
    try:
        return _open(Path(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the cache entry {folder} is missing or damaged; start again to have it rebuilt") from error


def make_split(dataset: Dataset, kind: str = "80/10/10", seed: int = 0, limit: int | None = None) -> Split:
    """Split a data set into training, validation and test images.

    Parameters
    ----------
    dataset : Dataset
        Its labels and its published training set matter, not its pixels.
    kind : {"80/10/10", "official"}
        "80/10/10": of each class, 10% of the pooled images for the test, 10% for validation. "official": the published
        test set, and 10% of each class of the published training set for validation.
    seed : int
        Alone decides on the shuffling, through the stream ``(seed, "split")``.
    limit : int, optional
        Keep so many first images of the shuffled training part; validation and test stay whole.

    Returns
    -------
    Split

    Raises
    ------
    UserError
        An unknown kind, a negative seed, or a limit that is not between 1 and the number of training images.
    """
    if kind not in SPLIT_KINDS:
        raise unknown("split", kind, SPLIT_KINDS)
    if seed < 0:
        raise UserError(f"split seed {seed} is not allowed: it must be 0 or more")
    rng = np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(b"split", "big")]))
    n_train = dataset.n_official_train
    if kind == "official":
        train, val = _stratified(dataset.y[:n_train], 1, rng)
        test = n_train + rng.permutation(len(dataset.y) - n_train)
    else:
        train, val, test = _stratified(dataset.y, 2, rng)
    if limit is not None and not 1 <= limit <= len(train):
        raise UserError(f"limit {limit} is not allowed: the training part has {len(train)} images, so 1..{len(train)}")
    return Split(train[:limit], val, test)


def _stratified(y: Bytes, n_tenths: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Shuffle and part the indices: the rest first, then `n_tenths` parts with a tenth of every class each."""
    parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(1 + n_tenths)]
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        tenth = (len(members) + 5) // 10
        parts[0].append(members[n_tenths * tenth :])
        for k in range(n_tenths):
            parts[1 + k].append(members[k * tenth : (k + 1) * tenth])
    return [rng.permutation(np.concatenate(part)) for part in parts]


def cache_folder() -> Path:
    """Return the cache: ``ABLATION_BENCH_CACHE``, or else ``ablation-bench`` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    import platformdirs

    return Path(platformdirs.user_cache_dir("ablation-bench", appauthor=False))


def _attempt(way: str, get: Callable[[], Dataset], tried: list[str]) -> Dataset | None:
    """Try one source; where it fails, note why."""
    try:
        return get()
    except (sources.SourceError, DamageError) as error:
        tried.append(f"{way}: {error}")
    return None


def _from_system(spec: DatasetSpec, folder: Path) -> Dataset:
    """Take the data set from a folder that a distribution may have filled."""
    files = locate(spec, folder)
    if files is None:
        raise sources.SourceError("not there")
    return _from_files(spec, files)


def _from_remote(spec: DatasetSpec, way: str, fetch: sources.Fetch) -> Dataset:
    """Fetch the data set; anything but the official contents is discarded."""
    with _workspace() as space:
        try:
            decoded = decode(spec, fetch(space))
        except DamageError as error:
            raise sources.SourceError(f"discarded, {str(error).replace(f'{space}{os.sep}', '')}") from error
    if decoded.doubt is not None:
        raise sources.SourceError(f"discarded, {decoded.doubt}")
    return _store(spec, decoded, f"fetched from {way}")


def _from_files(spec: DatasetSpec, files: Sequence[Path]) -> Dataset:
    """Take the data set from files in a folder: from the cache if it has seen them unchanged, else decode them."""
    source = f"folder {files[0].parent}"
    seen = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    key = hashlib.sha256("\n".join([spec.name, *(str(path) for path in files)]).encode()).hexdigest()[:16]
    record = cache_folder() / "sources" / f"{spec.name}-{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(record.read_text())
        if known["format"] == CACHE_FORMAT and known["files"] == seen:
            cached = _intact(cache_folder() / known["entry"])
            if cached is not None:
                return replace(cached, source=source)
    dataset = _store(spec, decode(spec, files), source)
    with suppress(OSError):  # a cache that cannot be written to still serves what it has
        record.parent.mkdir(exist_ok=True)
        _write_json(record, {"format": CACHE_FORMAT, "files": seen, "entry": dataset.folder.name})
    return dataset


def _store(spec: DatasetSpec, decoded: Decoded, source: str) -> Dataset:
    """Put decoded arrays into the cache, unless they are there, and open them from it."""
    fingerprint = decoded.sha256[:16]
    names = hashlib.sha256("\n".join(decoded.class_names).encode()).hexdigest()[:8]
    entry = cache_folder() / f"{spec.name}-{'official' if decoded.doubt is None else f'{fingerprint}-{names}'}"
    cached = _intact(entry, decoded.sha256)
    if cached is not None:
        return replace(cached, source=source)
    with _workspace() as space:
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
            "stamps": _stamps(fresh),
        }
        _write_json(fresh / "meta.json", meta)
        try:
            fresh.rename(entry)
        except OSError:  # there already, by another process or damaged: put the same bytes in its place, file by file
            if not entry.is_dir():
                raise
            for file in (*ARRAYS, "meta.json"):
                os.replace(fresh / file, entry / file)
    return replace(open_cached(entry), source=source)


def _intact(entry: Path, sha256: str | None = None) -> Dataset | None:
    """Open a cache entry, or return None where it is missing, damaged or not of the given hash.

    Its bytes are hashed only if their files were touched since they were written.
    """
    try:
        dataset, meta, stamps = _open(entry), _meta(entry), _stamps(entry)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if sha256 not in (None, meta["sha256"]):
        return None
    if stamps != meta["stamps"]:
        if digest(dataset.X, dataset.y) != meta["sha256"]:
            return None
        with suppress(OSError):
            _write_json(entry / "meta.json", {**meta, "stamps": stamps})
    return dataset


def _open(entry: Path) -> Dataset:
    """Memory-map a cache entry; raises whatever is wrong with it."""
    meta = _meta(entry)
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


def _stamps(entry: Path) -> list[list[int]]:
    """Look up size in bytes and time of change of the arrays of an entry."""
    return [[status.st_size, status.st_mtime_ns] for status in ((entry / file).stat() for file in ARRAYS)]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small file whole or not at all."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    draft.write_text(json.dumps(content, indent=1))
    os.replace(draft, path)


@contextmanager
def _workspace() -> Iterator[Path]:
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
