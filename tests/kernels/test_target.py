"""Tile shapes for any CPU that LLVM targets."""

import os
import subprocess
import sys

import numpy as np
import pytest

from kernels import target
from kernels.target import Target

CHECK = """
import json
import numpy as np
from engines import largest_error, make_data, make_engines
from kernels import target
errors = {}
for dtype in (np.float64, np.float32):
    for sizes in ((37, 70, 33, 5), (5, 3)):
        X, y = make_data(sizes[0], sizes[-1])
        pair = make_engines(sizes, dtype, optimizer="adam", dropout=0.2, activation="tanh")
        gradients = [e.gradients(X, y, np.arange(203)) for e in pair]
        for e in pair:
            e.train_epoch(X, y, np.arange(203), 64, np.full(4, 0.01))
        errors[f"{np.dtype(dtype).name} {len(sizes)}"] = largest_error(*gradients)
cpu = target.current()
print(json.dumps([errors, cpu.vector_bytes, cpu.registers, cpu.fma]))
"""


@pytest.mark.parametrize(
    "cpu", [Target(64, 32, True), Target(32, 16, True), Target(16, 16, False), Target(16, 32, True)]
)
def test_a_tile_fits_the_registers_and_keeps_the_units_busy(cpu):
    for vectors, rows in enumerate(cpu.tile_rows):
        assert rows == 0 or rows * vectors + vectors + 1 + (not cpu.fma) <= cpu.registers
        assert cpu.row_multiple % max(rows, 1) == 0
    assert cpu.tile_rows[-1] * cpu.panel_vectors >= 8


def test_lanes_fill_a_vector():
    assert [Target(64, 32, True).lanes(np.dtype(d)) for d in (np.float32, np.float64)] == [16, 8]


def test_the_cpu_here_is_recognised():
    cpu = target.current()
    assert cpu.vector_bytes in (16, 32, 64)
    assert cpu.registers in (16, 32)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [
        ("haswell", "", (32, 16, True)),
        ("x86-64", "", (16, 16, False)),
        ("haswell", None, None),  # Numba then keeps the features of the host: whatever they are, it must work
        ("x86-64", None, None),
    ],
)
@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="these CPUs are of x86-64")
def test_other_cpus_get_right_results(name, features, expected, tmp_path):
    environment = {**os.environ, "NUMBA_CPU_NAME": name, "ABLATION_BENCH_CACHE": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    if features is not None:
        environment["NUMBA_CPU_FEATURES"] = features
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import json

    errors, *cpu = json.loads(done.stdout)
    assert all(error < (1e-12 if "64" in kind else 1e-5) for kind, error in errors.items()), errors
    if expected is not None:
        assert tuple(cpu) == expected
