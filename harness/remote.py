"""What a Dask worker does for a study: say what it is, take in data, compile kernels, make runs and give them back.

Nothing here needs a file system that is shared with the command: data are found on the worker or come over the network
and are checked by their fingerprint, extensions come with each call, and a finished run goes back as the bytes of its
files. Who does what, and when, is left to ``harness.cluster``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cache, checkpoint, events, store, worker
from harness.errors import UserError
from harness.extensions import load_extensions
from harness.files import STALE_SECONDS, write_atomic
from harness.worker import Kind, Outcome, Task

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Extensions = tuple[tuple[str, bytes], ...]  # name and content of each file


@dataclass(frozen=True)
class Facts:
    """What a worker is.

    Attributes
    ----------
    versions : dict of str to str
        Of Python, the libraries that compute, and this project's code: equal to the command's, or results may differ.
    host : str
        Name of its machine.
    cpu : str
        Name of its processor, and the width of its vectors.
    site : str
        Workers with the same site share a cache folder and a kind of processor: what one put there all find.
    cores : int
        That it may use.
    available_bytes : float
        Memory that is free on its machine.
    threads : dict of str to str
        What its environment says of the threads of libraries; empty where it says nothing.
    """

    versions: dict[str, str]
    host: str
    cpu: str
    site: str
    cores: int
    available_bytes: float
    threads: dict[str, str]


def facts() -> Facts:
    """Say what this process is; quick, for it is asked before anything else."""
    from harness.memory import available_bytes
    from harness.outputs import cpu_name
    from kernels import target

    cpu = f"{cpu_name()}, {8 * target.current().vector_bytes}-bit vectors"
    return Facts(
        versions=versions(),
        host=platform.node(),
        cpu=cpu,
        site=f"{_cache_name()} {cpu}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        available_bytes=available_bytes(),
        threads={name: os.environ.get(name, "") for name in THREADS},
    )


def versions() -> dict[str, str]:
    """Of all that a result depends on."""
    import distributed
    import llvmlite
    import numba
    import numpy as np

    from harness.version import code_version

    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "numpy": np.__version__,
        "distributed": distributed.__version__,
        "ablation-bench": f"code {code_version()} {_digest()}",
    }


@functools.cache
def _digest() -> str:
    """6 hex digits of the digest of all modules that a worker and the command must agree on."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:6]


def _cache_name() -> str:
    """What the cache folder is called by all processes that share it: a random word kept in it."""
    path = cache.cache_folder() / "name"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            draft = path.with_name(f"name.{secrets.token_hex(8)}")
            draft.write_text(secrets.token_hex(8))
            os.link(draft, path)  # unlike renaming, this keeps what another process put there
        draft.unlink(missing_ok=True)
    try:
        return path.read_text()
    except OSError:
        return f"{platform.node()} {os.getpid()}"


def find_data(name: str, fingerprint: str) -> bool:
    """Whether a data set is here, with the right pixels; it is in the cache then, where runs open it."""
    return _entry(name, fingerprint) is not None


@functools.lru_cache(maxsize=1)
def _opened(name: str, fingerprint: str) -> Path:
    entry = _entry(name, fingerprint)
    if entry is None:
        raise UserError(f"{name} with the fingerprint {fingerprint} is not on {platform.node()}")
    return entry


def _entry(name: str, fingerprint: str) -> Path | None:
    """The cache entry of a data set: as another command or worker left it, or made from files on this machine."""
    for entry in cache.cache_folder().glob(f"{name}-*"):
        found = cache.intact(entry)
        if found is not None and found.fingerprint == fingerprint:
            return entry
    for dataset in _local_files(name):
        if dataset.fingerprint == fingerprint:
            return dataset.folder
    return None


def _local_files(name: str) -> Iterator[cache.Dataset]:
    """What the folders that this machine names for data hold; damaged files are as good as none."""
    from harness.data import DATASETS
    from harness.formats import locate
    from harness.sources import named_folder

    spec = DATASETS[name]
    folders: list[Path | None] = [Path(folder) for folder in spec.system_folders]
    with contextlib.suppress(UserError):
        folders.insert(0, named_folder(None))
    for folder in folders:
        with contextlib.suppress(UserError):
            files = locate(spec, folder) if folder is not None else None
            if files is not None:
                yield cache.from_files(spec, files)


def keep_data(name: str, fingerprint: str, entry: str, pieces: Sequence[tuple[str, bytes]]) -> bool:
    """Put a data set that was sent, as pieces of files, into the cache, and say whether it has the right pixels."""
    with cache.workspace() as space:
        fresh = space / Path(entry).name
        fresh.mkdir()
        for file, content in pieces:
            if file not in (*cache.ARRAYS, "meta.json"):
                raise UserError(f"{file} is no file of a data set")
            with open(fresh / file, "ab") as out:
                out.write(content)
        found = cache.intact(fresh)  # reads all bytes: the time stamps are not those of where they come from
        if found is None or found.fingerprint != fingerprint:
            raise UserError(f"{name} did not arrive as it was sent")
        place = cache.cache_folder() / fresh.name
        try:
            fresh.rename(place)
        except OSError:  # there already, by another worker or damaged: put the same bytes in its place, file by file
            if not place.is_dir():
                raise
            for path in fresh.iterdir():
                os.replace(path, place / path.name)
    return find_data(name, fingerprint)


def kernel_parts(kinds: Sequence[Kind], extensions: Extensions) -> list[tuple[Kind, tuple[str, ...]]]:
    """Name the parts of compiled code that kinds of run need, each once, with a kind that needs it."""
    return worker.kernel_parts(kinds, _written(extensions))


def compile_part(kind: Kind, key: tuple[str, ...], extensions: Extensions) -> None:
    """Compile one part, or load it from the cache on disk."""
    worker.compile_part(kind, key, _written(extensions))


@dataclass(frozen=True)
class Parcel:
    """A run on its way back: how it ended, its files, and the checkpoints that were asked for, by their names."""

    outcome: Outcome
    files: dict[str, bytes]
    checkpoints: dict[str, bytes]


def execute(
    task: Task, dataset: tuple[str, str], extensions: Extensions, topic: str, neighbours: int, begun: dict[str, bytes]
) -> Parcel:
    """Make a run; where a worker of this site died in the middle of it, go on from there.

    Parameters
    ----------
    task
        What is to be done; its folders are those of another machine.
    dataset
        Name and fingerprint of the data.
    extensions
        Files that register what the settings name.
    topic
        Where news of epochs goes.
    neighbours
        Workers on this machine.
    begun
        A checkpoint to go on from, by its name; may be empty.
    """
    from harness.pinning import pin
    from harness.version import run_id

    pin(neighbours)
    try:
        folder, paths = _opened(*dataset), _written(extensions)
        load_extensions(paths)
        if run_id(task.config, dataset[1]) != task.run_id:
            raise UserError(f"the code or an extension differs on {platform.node()}")
    except (Exception, SystemExit) as error:
        return Parcel(Outcome(task.run_id, "failed", worker.one_line(error)), {}, {})
    space = _workspace(topic)
    space.mkdir(exist_ok=True)
    if task.run_id not in checkpoint.begun(space):
        checkpoint.put(space, task.run_id, begun)
    outcome = worker.execute(
        dataclasses.replace(task, data_folder=folder, runs_folder=space, extensions=paths), _News(topic)
    )
    files = store.read_files(space, task.run_id) if outcome.status != "failed" else {}
    parcel = Parcel(outcome, files, checkpoint.kept(space, task.run_id))
    shutil.rmtree(space / task.run_id, ignore_errors=True)
    checkpoint.forget(space, task.run_id)
    with contextlib.suppress(OSError):  # in use by another worker
        space.rmdir()
    return parcel


@functools.lru_cache(maxsize=1)
def _workspace(topic: str) -> Path:
    """Where the runs of a command are written, by all workers of this site; those of commands long gone are swept."""
    parent = cache.cache_folder() / "running"
    for old in parent.glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    parent.mkdir(parents=True, exist_ok=True)
    return parent / topic


class _News:
    """Sends events through the worker to whoever listens to a topic."""

    def __init__(self, topic: str) -> None:
        from distributed import get_worker

        self._worker, self._topic = get_worker(), topic
        self._key = self._worker.get_current_task()

    def send(self, event: events.Event) -> None:
        """Send one event, if anybody listens; break the run off if nobody wants it any more."""
        with contextlib.suppress(Exception):  # news is for the eye
            self._worker.log_event(self._topic, events.finite(event))
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled":
            raise SystemExit("called off")

    def ask(self, event: events.Event) -> bool:
        """Send one event; nobody answers, as trials of a search are made on one machine."""
        self.send(event)
        return False


_loaded: list[str] = []  # digest of the extensions that are registered in this process


def _written(extensions: Extensions) -> tuple[Path, ...]:
    """Extensions as files of this machine, named after their contents; those of another study are forgotten first."""
    digest = hashlib.sha256(repr(extensions).encode()).hexdigest()[:16]
    if _loaded[-1:] != [digest]:
        _forget()
        _loaded.append(digest)
    folder = cache.cache_folder() / "extensions" / digest
    paths = tuple(folder / f"{i}-{Path(name).name}" for i, (name, _) in enumerate(extensions))
    for path, (_, content) in zip(paths, extensions, strict=True):
        if not path.exists() or path.read_bytes() != content:
            write_atomic(path, content)
    return paths


@functools.cache
def _built_in() -> list[dict[str, Any]]:
    """The registries as they are without extensions; called before the first one is loaded."""
    return [dict(registry) for registry in _registries()]


def _registries() -> list[dict[str, Any]]:
    from kernels.activations import ACTIVATIONS
    from kernels.losses import LOSSES
    from kernels.optimizers import OPTIMIZERS

    return [ACTIVATIONS, LOSSES, OPTIMIZERS]


def _forget() -> None:
    """Take what extensions of another study registered out of the registries: theirs may bear the same names."""
    for registry, items in zip(_registries(), _built_in(), strict=True):
        registry.clear()
        registry.update(items)
    for name in [name for name in sys.modules if name.startswith("ablation_extension_")]:
        del sys.modules[name]


def packed(extensions: Iterable[Path]) -> Extensions:
    """Extension files as they are sent."""
    return tuple((path.name, path.read_bytes()) for path in extensions)
