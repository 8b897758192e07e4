"""Data sets: which there are, where they are looked for, and how their images are split.

`find` tries the sources in order and says which it used. Fetching is left to ``harness.sources`` and ``harness.apt``,
reading files to ``harness.formats``, keeping and opening what was read to ``harness.cache``.

Shapes: n images (the published training set first, then the published test set).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness import apt, cache, cifar, idx, sources
from harness.cache import Dataset
from harness.errors import UserError, unknown
from harness.formats import Bytes, DamageError, DatasetSpec, decode, locate

SPLIT_KINDS = ("80/10/10", "official")

DATASETS: dict[str, DatasetSpec] = {
    "fashion-mnist": DatasetSpec(
        name="fashion-mnist",
        layout=idx.LAYOUT,
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
        layout=cifar.LAYOUT,
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


def find(name: str, data_dir: Path | None = None, fetch: bool = True) -> Dataset:
    """Locate, verify, decode and cache a data set.

    The sources, in order: the folder `data_dir` or else ``ABLATION_BENCH_DATA``; the cache; system folders; download
    from the official addresses; ``apt-get download``. Where the cache knows the files already, nothing is read again.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    data_dir : Path, optional
        A folder that holds the published files, directly or in a subfolder called `name`.
    fetch : bool
        Whether it may come from elsewhere; if not, the first three sources are all.

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
        return cache.from_files(spec, files)
    else:
        tried.append(f"{folder}: not there")

    entry = cache.official_entry(name)
    cached = cache.intact(entry, spec.sha256)
    if cached is not None:
        return replace(cached, source=f"cache {entry} ({cached.source})")
    tried.append(f"cache {cache.cache_folder()}: {'damaged' if entry.exists() else 'not there'}")

    ways = [(place, partial(_from_system, spec, Path(place))) for place in spec.system_folders]
    if fetch:
        ways += [(way, partial(_from_remote, spec, way, get)) for way, get in remote(spec)]
    for way, get in ways:
        dataset = _attempt(way, get, tried)
        if dataset is not None:
            return dataset
    remedy = f"put {', '.join(spec.files)} into a folder and name it with --data-dir or {sources.DATA_VARIABLE}"
    if spec.debian_package:
        remedy += f", or install the Debian package {spec.debian_package}"
    raise UserError(" ".join(f"{name} was not found: {'; '.join(tried)}. What to do: {remedy}".split()))


def remote(spec: DatasetSpec) -> list[tuple[str, sources.Fetch]]:
    """List the ways to fetch a data set from elsewhere, best first.

    Returns
    -------
    list of (str, Fetch)
        What to call the source, and a function that puts its files below a given folder and returns them; it raises
        `sources.SourceError`. The addresses share `sources.CONNECT_SECONDS` evenly, so that one that hangs leaves the
        others a chance.
    """
    seconds = sources.CONNECT_SECONDS / max(1, len(spec.addresses))
    ways: list[tuple[str, sources.Fetch]] = [
        (address, partial(sources.download, spec.files, address, connect_seconds=seconds)) for address in spec.addresses
    ]
    if spec.debian_package:
        ways.append((f"apt-get download {spec.debian_package}", partial(apt.debian, spec)))
    return ways


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
    return cache.from_files(spec, files)


def _from_remote(spec: DatasetSpec, way: str, fetch: sources.Fetch) -> Dataset:
    """Fetch the data set; anything but the official contents is discarded."""
    with cache.workspace() as space:
        try:
            decoded = decode(spec, fetch(space))
        except DamageError as error:
            raise sources.SourceError(f"discarded, {str(error).replace(f'{space}{os.sep}', '')}") from error
    if decoded.doubt is not None:
        raise sources.SourceError(f"discarded, {decoded.doubt}")
    return cache.store(spec, decoded, f"fetched from {way}")
