"""What tests of the harness share: a small data set that the product itself finds, tasks on it, and commands."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from processes import Command

from harness import cache as data_cache
from harness import data
from harness.cache import Dataset
from harness.config import RunConfig
from harness.data import Split
from harness.idx import IDX_FILES
from harness.version import code_version
from harness.worker import Task
from kernels.activations import ACTIVATIONS
from kernels.losses import LOSSES
from kernels.optimizers import OPTIMIZERS

for name in [name for name in os.environ if name.startswith("WANDB_")]:
    del os.environ[name]
os.environ["WANDB_MODE"] = "disabled"  # but in tests of tracking: a run of W&B costs half a second of starting it

N_TRAIN, N_TEST, SHAPE, CLASSES = 251, 59, (5, 4), ("ant", "bee", "cod")


def write_idx(folder: Path, seed: int = 0) -> str:
    """Write four files like Fashion-MNIST's; gives their hash. Brightness tells the class, with much noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(CLASSES), N_TRAIN + N_TEST, dtype=np.uint8)
    X = (rng.integers(0, 100, (len(y), *SHAPE)) + 70 * y[:, None, None]).astype(np.uint8)
    parts = zip((X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]), IDX_FILES, strict=True)
    for part, name in parts:
        header = struct.pack(f">{1 + part.ndim}I", 0x800 + part.ndim, *part.shape)
        (folder / name).write_bytes(header + part.tobytes())
    return hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest()


@pytest.fixture(autouse=True)
def _registries_as_they_were() -> Iterator[None]:
    """What a test registers, itself or by an extension file, is gone after it."""
    registries = (ACTIVATIONS, LOSSES, OPTIMIZERS)
    before = [dict(registry) for registry in registries]
    yield
    for registry, items in zip(registries, before, strict=True):
        registry.clear()
        registry.update(items)
    for name in [name for name in sys.modules if name.startswith("ablation_extension_")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """Files of the small data set, their hash, and a cache: its own for data, the usual one for compiled code."""
    cache = tmp_path_factory.mktemp("cache")
    kernels = data_cache.cache_folder() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    (cache / "kernels").symlink_to(kernels)
    folder = tmp_path_factory.mktemp("small") / "files"
    return folder, write_idx(folder), cache


@pytest.fixture
def small_data(small_files: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small data set goes by the name of Fashion-MNIST during this test, and is found without being asked for."""
    folder, sha256, cache = small_files
    spec = dataclasses.replace(
        data.DATASETS["fashion-mnist"],
        class_names=CLASSES,
        image_shape=SHAPE,
        n_train=N_TRAIN,
        n_test=N_TEST,
        sha256=sha256,
    )
    monkeypatch.setitem(data.DATASETS, "fashion-mnist", spec)
    monkeypatch.setenv(data_cache.CACHE_VARIABLE, str(cache))
    monkeypatch.setenv("ABLATION_BENCH_DATA", str(folder))
    return folder


@pytest.fixture
def small(small_data: Path) -> Dataset:
    """The small data set."""
    return data.find("fashion-mnist")


@pytest.fixture
def split(small: Dataset) -> Split:
    """Its usual split."""
    return data.make_split(small)


@pytest.fixture
def make_task(small: Dataset, tmp_path: Path) -> Callable[..., Task]:
    """Give a task of the small data set from settings: a second's work at most, in NumPy, without compiling."""

    def make(name: str = "run", extensions: Sequence[Path] = (), **settings: object) -> Task:
        given = {"hidden": [7], "epochs": 2, "engine": "numpy", **settings}
        return Task(
            run_id=name,
            variant=f"variant of {name}",
            config=RunConfig.from_settings(given, "a test"),
            data_folder=small.folder,
            runs_folder=tmp_path / "runs",
            extensions=tuple(extensions),
            circumstances={"jobs": 1, "data_fingerprint": small.fingerprint, "code_version": code_version()},
            news=None,
        )

    return make


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Commands in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Command(folder)


@pytest.fixture(scope="session")
def fashion() -> Dataset:
    """Fashion-MNIST, as the product finds it."""
    return data.find("fashion-mnist")


@pytest.fixture(scope="session")
def idx_folder(fashion: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fashion-MNIST as files of its own, which tests copy before they change them."""
    folder, n = tmp_path_factory.mktemp("idx"), fashion.n_official_train
    images = fashion.X.reshape(-1, *fashion.image_shape)
    for part, name in zip((images[:n], fashion.y[:n], images[n:], fashion.y[n:]), IDX_FILES, strict=True):
        header = struct.pack(f">{1 + part.ndim}I", 0x800 + part.ndim, *part.shape)
        (folder / name).write_bytes(header + part.tobytes())
    return folder
