"""The cache of compiled code: never stale, never in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import jit

ROOT = Path(jit.__file__).parent.parent

# A helper that lies in one file, is closed over in a second, and is called from a third.
FILES = {
    "kernels/probe_helper.py": "from kernels.jit import inline\n\n@inline\ndef helper(x):\n    return x * {factor}\n",
    "kernels/probe_closure.py": (
        "from kernels.jit import kernel\nfrom kernels.probe_helper import helper\n\n"
        "def make(n):\n    @kernel(key=f'probe {{n}}')\n    def probe(x):\n        return helper(x) + n\n\n"
        "    return probe\n"
    ),
}
PROGRAM = (
    "from kernels.probe_closure import make\nten, twenty = make(10), make(20)\n"
    "hits, misses = ten.stats.cache_hits, ten.stats.cache_misses\n"
    "print(ten(1.0), twenty(1.0), sum(hits.values()), sum(misses.values()))\n"
)


@pytest.fixture
def copy_of_the_package(tmp_path):
    """A copy of the kernels with the probe in it, and a way to run a program on it with a cache of its own."""
    import shutil

    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))

    def run(factor, program=PROGRAM):
        for name, text in FILES.items():
            (tmp_path / name).write_text(text.format(factor=factor))
        environment = {**os.environ, "ABLATION_BENCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    run.folder = tmp_path
    return run


def test_an_edit_of_a_helper_in_another_file_is_noticed(copy_of_the_package):
    assert copy_of_the_package(2.0) == ["12.0", "22.0", "0", "1"]
    assert copy_of_the_package(2.0) == ["12.0", "22.0", "1", "0"]
    assert copy_of_the_package(3.0) == ["13.0", "23.0", "0", "1"]


# A closure too large to disappear in its caller, so that it has a symbol of its own.
LARGE_CLOSURE = """
import numpy as np
from kernels.jit import inline, kernel

def make(n):
    @inline
    def step(x, k):
        total = 0.0
        for i in range(k):
            for j in range(k):
                total += n * np.sin(x + i) * np.cos(x * j)
                if total > 1e9:
                    total = np.sqrt(total)
        return total

    @kernel(key=f"large {n}")
    def large(x):
        return step(x, 1) + step(x + 1, 3) + step(x + 2, 5) + step(x + 3, 7)

    return large
"""


def test_what_two_processes_compiled_alike_is_told_apart_by_a_third(copy_of_the_package, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # both compilers then take the same way through their work
    (copy_of_the_package.folder / "kernels" / "large_closure.py").write_text(LARGE_CLOSURE)
    program = "from kernels.large_closure import make\nprint(*[make(n)(1.0) for n in {}])"
    alone = [copy_of_the_package(2.0, program.format([n]))[0] for n in (10, 20)]
    assert copy_of_the_package(2.0, program.format([10, 20])) == alone


def test_torn_cache_files_are_compiled_anew(copy_of_the_package):
    copy_of_the_package(2.0)
    files = sorted((copy_of_the_package.folder / "cache").rglob("*.nb?"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:20])
    assert copy_of_the_package(2.0) == ["12.0", "22.0", "0", "1"]


def test_a_cache_folder_that_cannot_be_made_costs_only_time(copy_of_the_package):
    (copy_of_the_package.folder / "cache").write_text("a file where the folder should be")
    assert copy_of_the_package(2.0)[:2] == ["12.0", "22.0"]
