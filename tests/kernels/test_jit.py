"""The cache of compiled code: never stale, never in the way."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults import can_mount, disk

from kernels import jit

ROOT = Path(jit.__file__).parent.parent

# A helper that lies in one file and is closed over in a second; a factory in the second, called from a third.
FILES = {
    "kernels/probe_helper.py": "from kernels.jit import inline\n\n@inline\ndef helper(x):\n    return x * {factor}\n",
    "kernels/probe_closure.py": (
        "from kernels.jit import kernel\nfrom kernels.probe_helper import helper\n\n"
        "def make(n):\n    @kernel(key=f'probe {{n}}')\n    def probe(x):\n        return helper(x) + {offset} + n\n\n"
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
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))

    def run(factor, program=PROGRAM, environment=(), offset=0.0):
        for name, text in FILES.items():
            (tmp_path / name).write_text(text.format(factor=factor, offset=offset))
        own = {"ABLATION_BENCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
        environment = {**os.environ, **own, **dict(environment)}
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


def test_an_edit_of_a_closure_is_noticed(copy_of_the_package):
    assert copy_of_the_package(2.0) == ["12.0", "22.0", "0", "1"]
    assert copy_of_the_package(2.0, offset=100.0) == ["112.0", "122.0", "0", "1"]
    assert copy_of_the_package(2.0) == ["12.0", "22.0", "1", "0"]


def test_an_edit_of_any_file_of_the_kernels_compiles_all_anew(copy_of_the_package):
    copy_of_the_package(2.0)
    for path in sorted((copy_of_the_package.folder / "kernels").glob("*.py")):
        if not path.name.startswith("probe_"):
            path.write_text(path.read_text() + "\n# edited\n")
            assert copy_of_the_package(2.0)[2:] == ["0", "1"], path.name


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
    files = sorted((copy_of_the_package.folder / "cache").rglob("*.nbc"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:20])
    assert copy_of_the_package(2.0) == ["12.0", "22.0", "0", "1"]


@pytest.mark.parametrize("damage", ["flipped", "longer", "empty", "another kernel's", "a pickle", "a folder"])
def test_cache_files_that_hold_something_else_are_compiled_anew(copy_of_the_package, damage):
    copy_of_the_package(2.0)
    one, other = (copy_of_the_package.folder / "cache").rglob("*.nbc")
    content, pickled = one.read_bytes(), pickle.dumps({"no": "code"})
    for place in range(0, len(content), len(content) // 3) if damage == "flipped" else [0]:
        forms = {
            "flipped": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
            "longer": content + b"x",
            "empty": b"",
            "another kernel's": other.read_bytes(),
            "a pickle": hashlib.sha256(one.name.encode() + b"\0" + pickled).digest() + pickled,
        }
        one.unlink()
        if damage == "a folder":
            one.mkdir()
        else:
            one.write_bytes(forms[damage])
        assert copy_of_the_package(2.0)[:2] == ["12.0", "22.0"]
        assert one.is_dir() or one.read_bytes() != forms[damage]


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here, not even in a namespace")
def test_a_read_only_cache_serves_what_it_has_and_no_more(copy_of_the_package):
    copy_of_the_package(2.0)
    with disk("size=8m") as small:
        shutil.copytree(copy_of_the_package.folder / "cache", small.path / "cache")
        small.freeze()
        environment = {"ABLATION_BENCH_CACHE": str(small.path / "cache")}
        assert copy_of_the_package(2.0, environment=environment) == ["12.0", "22.0", "1", "0"]
        assert copy_of_the_package(3.0, environment=environment)[:2] == ["13.0", "23.0"]


@pytest.mark.long
def test_eight_processes_that_share_a_cold_cache_leave_it_whole(copy_of_the_package):
    """Two signatures of one function, from both ends: an index that they shared would lose or mix them up."""
    numbers = ["1.0", "np.float32(1)", "1", "np.int8(1)", "1j", "True"]
    program = (
        "import sys, numpy as np\nfrom kernels.probe_closure import make\nten = make(10)\n"
        "values = [{}]\n"
        "values = values[::-1] if sys.argv[1:] == ['back'] else values\n"
        "found = [str(ten(value)) for value in values]\n"
        "print(*(found[::-1] if sys.argv[1:] == ['back'] else found), sum(ten.stats.cache_misses.values()))\n"
    ).format(", ".join(numbers))
    for name, text in FILES.items():
        (copy_of_the_package.folder / name).write_text(text.format(factor=2.0, offset=0.0))
    environment = {"ABLATION_BENCH_CACHE": str(copy_of_the_package.folder / "cache")}
    environment = {**os.environ, **environment, "PYTHONPATH": str(copy_of_the_package.folder)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, ("forth", "back")[i % 2]],
            env=environment, cwd=copy_of_the_package.folder, stdout=subprocess.PIPE, text=True,
        )
        for i in range(8)
    ]  # fmt: skip
    answers = [process.communicate()[0].split()[: len(numbers)] for process in started]
    assert answers == [["12.0", "12.0", "12.0", "12.0", "(10+2j)", "12.0"]] * 8
    assert len(list((copy_of_the_package.folder / "cache").rglob("*"))) == len(numbers) + 2  # and two folders
    last = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=copy_of_the_package.folder,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert last.stdout.split() == [*answers[0], "0"]


def test_a_cache_folder_that_cannot_be_made_costs_only_time(copy_of_the_package):
    (copy_of_the_package.folder / "cache").write_text("a file where the folder should be")
    assert copy_of_the_package(2.0)[:2] == ["12.0", "22.0"]
