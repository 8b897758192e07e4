"""The only place with Numba options: how kernels are compiled, and where compiled code is kept between processes.

Numba's own cache looks at the one file that holds a function. Our kernels are put together from several files,
closures and generated code, so that rule would serve stale code. Here compiled code lies in a folder named after a
digest of every source file of this package and of the versions of numba, llvmlite and numpy; any edit opens a new
folder. What a factory closes over is named by the caller (``key``) and becomes part of the file's name.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import pickle
import platform
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import llvmlite
import numba
import numpy as np
import platformdirs
from numba.core import caching, serialize
from numba.core.bytecode import FunctionIdentity
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher

# No nnan and no ninf: a diverging run must be seen. No reassoc: Numba puts these flags on every instruction of a
# kernel, and the rounding trick in the exponential (kernels.emit) would be simplified away. error_model 'python' would
# put a zero-division branch into every loop that divides and keep it from being vectorised (233 us against 25 us for
# Adam on 100,000 weights).
FASTMATH = {"nsz", "contract"}
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": FASTMATH, "nogil": True, "boundscheck": False}

# Numba tells functions of one name and signature, such as ours for both precisions, apart by numbers counted up from 1
# in each process. Code that two processes compiled can thus bear the same symbols, and a third one that loads both from
# the cache would link one in place of the other. Counting from a number drawn by each process keeps them apart.
FunctionIdentity._unique_ids = itertools.count(secrets.randbits(62))


@functools.cache
def source_digest() -> str:
    """Digest of all that decides what a kernel compiles to, but for the target CPU (Numba keys that itself)."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
    digest.update(repr(versions).encode())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Folder of compiled code: under ``ABLATION_BENCH_CACHE``, else under the user's cache folder."""
    root = os.environ.get("ABLATION_BENCH_CACHE") or platformdirs.user_cache_dir("ablation-bench", appauthor=False)
    return Path(root) / "kernels" / source_digest()


class _Locator(caching._CacheLocator):
    """Puts a kernel's compiled code into :func:`cache_folder`, in a file named after its key."""

    def __init__(self, py_func: Callable[..., Any]) -> None:
        self._key = hashlib.sha256(getattr(py_func, "kernel_key", "").encode()).hexdigest()[:16]

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return source_digest()

    def get_disambiguator(self) -> str:
        return self._key

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], _: str) -> _Locator | None:
        locator = cls(py_func)
        try:
            locator.ensure_cache_path()
        except OSError:  # a read-only folder: use what it has; none at all: compile anew in each process
            return locator if cache_folder().is_dir() else None
        return locator


class _CacheImpl(caching.CompileResultCacheImpl):
    _locator_classes: ClassVar[list[Any]] = [_Locator]


class _File:
    """Compiled code on disk: a file per kernel and signature, whole or not there, under a seal over all of it.

    Numba's own has an index beside the code: processes that compile at once overwrite it for each other, up to one
    signature's name for another one's code. And it runs whatever a file holds; here a flipped bit means compiling.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._folder, self._name = Path(folder), name

    def save(self, key: tuple[Any, ...], data: Any) -> None:
        code, path = serialize.dumps(data), self._path(key)
        draft = self._folder / f".tmp-{secrets.token_hex(6)}"
        try:
            draft.write_bytes(self._seal(path, code) + code)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def load(self, key: tuple[Any, ...]) -> Any:
        path = self._path(key)
        content = path.read_bytes()
        seal, code = content[:32], content[32:]
        return pickle.loads(code) if seal == self._seal(path, code) else None

    @staticmethod
    def _seal(path: Path, code: bytes) -> bytes:
        """32 bytes over the code and its name: what serves one kernel serves no other one."""
        return hashlib.sha256(path.name.encode() + b"\0" + code).digest()

    def _path(self, key: tuple[Any, ...]) -> Path:
        return self._folder / f"{self._name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


class _Cache(caching.FunctionCache):
    """Numba's function cache with our locator and files; closures are told apart by ``kernel_key``, not by pickling."""

    _impl_class = _CacheImpl

    def __init__(self, py_func: Callable[..., Any]) -> None:
        super().__init__(py_func)
        self._cache_file = _File(self._cache_path, self._impl.filename_base)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return sig, codegen.magic_tuple(), "kernel"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # no such file, or none that this process can use: compile
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):  # a full disk, a folder that became read-only: go without
            super().save_overload(sig, data)


def _with_cache(compiled: Any, py_func: Callable[..., Any], key: str) -> Any:
    """Give a dispatcher or a callback our on-disk cache; without a writable folder it goes without."""
    py_func.kernel_key = key  # type: ignore[attr-defined]
    with contextlib.suppress(RuntimeError):  # Numba: "no locator available"
        compiled._cache = _Cache(py_func)
    return compiled


def kernel(key: str = "") -> Callable[[Callable[..., Any]], Dispatcher]:
    """Decorate a function compiled on its first call per argument types; ``key`` names what it closes over."""
    return lambda py_func: _with_cache(numba.njit(**OPTIONS)(py_func), py_func, key)


def inline(py_func: Callable[..., Any]) -> Dispatcher:
    """Decorate a small function that is compiled into its callers."""
    return numba.njit(**OPTIONS)(py_func)


def callback(signature: Any, key: str) -> Callable[[Callable[..., Any]], CFunc]:
    """Compile a function with a C interface whose address other kernels call through :func:`kernels.memory.invoke`."""

    def compile_now(py_func: Callable[..., Any]) -> CFunc:
        options = {name: OPTIONS[name] for name in ("error_model", "fastmath")}
        function = CFunc(py_func, numba.core.sigutils.normalize_signature(signature), locals={}, options=options)
        _with_cache(function, py_func, key).compile()
        return function

    return compile_now
