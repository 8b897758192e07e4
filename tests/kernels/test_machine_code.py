"""What the kernels do below Python: instructions of the hot loops, compilations and allocations of a call."""

import re

import numpy as np
import pytest
from engines import make_engines
from numba.core.ccallback import CFunc
from numba.core.event import install_recorder
from numba.core.runtime import _nrt_python, rtsys

from kernels import dense, epoch, target
from kernels.activations import ACTIVATIONS, compile_activation
from kernels.dropout import compile_dropout
from kernels.optimizers import OPTIMIZERS
from kernels.update import compile_update

DTYPES = ["float64", "float32"]
KIND = {"float64": "pd", "float32": "ps"}
SIZES = (17, 9, 5)


@pytest.fixture
def cold(tmp_path, monkeypatch):
    """Code from the cache cannot be inspected."""
    monkeypatch.setenv("ABLATION_BENCH_CACHE", str(tmp_path))


def loops(assembly):
    """Instructions of each innermost loop: from a label to a jump back to it, with no other label between."""
    found, start = [], 0
    lines = [line.strip().replace("\t", " ") for line in assembly.splitlines()]
    for i, line in enumerate(lines):
        if re.match(r"\.?L[\w$]*:", line):
            start = i
        elif re.match(r"j\w+ ", line) and line.split()[-1] == lines[start].split(":")[0]:
            found.append(lines[start + 1 : i])
    return found


def multiply_adds(loop, dtype):
    """Multiply-adds of one loop that fill the widest registers."""
    register = {64: "%zmm", 32: "%ymm"}[target.current().vector_bytes]
    return [line for line in loop if re.match(rf"vfmadd\d+{KIND[dtype]} ", line) and register in line]


def scalar_divisions(assembly):
    """Divisions and roots of one element at a time, in AVX and in SSE."""
    return re.findall(r"\bv?(?:div|sqrt)s[sd]\b", assembly)


def hot_loops(function, dtype, n_multiply_adds):
    """Loops with at least so many multiply-adds."""
    return [
        loop for loop in loops(function._library.get_asm_str()) if len(multiply_adds(loop, dtype)) >= n_multiply_adds
    ]


def touches_the_stack(line):
    return re.search(r"[xyz]mm", line) and "(%rsp" in line and not re.search(r"\(%rsp,%r", line)


needs_wide_registers = pytest.mark.skipif(
    not target.current().fma or target.current().vector_bytes == 16 or not target.current().is_x86,
    reason="this CPU has no fused multiply-add on wide registers to look for",
)


@pytest.mark.usefixtures("cold")
@needs_wide_registers
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_product_of_a_full_tile_is_packed_multiply_adds_from_registers(dtype):
    rows, vectors = target.current().tile_rows[-1], target.current().panel_vectors
    found = hot_loops(dense.compile_product(dtype), dtype, rows * vectors)
    assert found
    for loop in found:
        assert not [line for line in loop if touches_the_stack(line)]


@pytest.mark.usefixtures("cold")
@needs_wide_registers
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_of_a_full_tile_is_packed_multiply_adds_from_registers(name, dtype):
    rows, vectors = target.current().tile_rows[-1], target.current().panel_vectors
    fused, flat = compile_update(OPTIMIZERS[name].program, dtype)
    found = hot_loops(fused, dtype, rows * vectors)
    assert len(found) >= 4  # a rule between every step and between every two, each with and without L2
    if target.current().registers >= 32:
        for loop in found:
            assert not [line for line in loop if touches_the_stack(line)]
    for function in (fused, flat):
        assert not scalar_divisions(function._library.get_asm_str())


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, activation in ACTIVATIONS.items() if activation.rowwise is None])
def test_activations_divide_whole_vectors(name, dtype):
    for function in compile_activation(ACTIVATIONS[name], dtype):
        assert not scalar_divisions(function._library.get_asm_str())


@pytest.mark.usefixtures("cold")
@needs_wide_registers
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_draws_whole_vectors(dtype):
    assembly = compile_dropout(dtype)._library.get_asm_str()
    assert "vpmulld" in assembly
    assert not re.search(r"\bimull\b", assembly)


def work(engine):
    """All that a run calls."""
    rng = np.random.default_rng(0)
    X, y, rows = rng.random((20, SIZES[0])), rng.integers(0, SIZES[-1], 20), np.arange(20)
    engine.train_epoch(X, y, rows, 8, np.full(3, 0.01), 1)
    engine.evaluate(X, y, rows)
    engine.gradients(X, y, rows)
    engine.inspect(X, y, rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_second_call_compiles_nothing(dtype, monkeypatch):
    work(make_engines(SIZES, dtype)[0])
    callbacks = []  # of which Numba records nothing
    monkeypatch.setattr(CFunc, "compile", lambda self: callbacks.append(self.__name__))
    with install_recorder("numba:compile") as recorder:
        work(make_engines(SIZES, dtype, l2=0.1, label_smoothing=0.1, dropout=0.5, clip_norm=1.0)[0])
    assert (recorder.buffer, callbacks) == ([], [])


@pytest.fixture
def allocation_statistics():
    was_on = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    yield
    if not was_on:
        _nrt_python.memsys_disable_stats()


@pytest.mark.usefixtures("allocation_statistics")
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_epoch_allocates_nothing_but_the_handles_of_its_three_arrays(dtype):
    engine = make_engines(SIZES, dtype, label_smoothing=0.1, dropout=0.5, clip_norm=1.0)[0]
    X, y = np.zeros((400, SIZES[0])), np.zeros(400, np.int64)
    for steps in (50, 1, 50):
        before = rtsys.get_allocation_stats()
        engine.train_epoch(X, y, np.arange(8 * steps), 8, np.full(steps, 0.01), 1)
        after = rtsys.get_allocation_stats()
        assert (after.alloc - before.alloc, after.free - before.free) == (3, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_epochs_hold_no_call_to_the_allocator(dtype, monkeypatch, tmp_path):
    work(make_engines(SIZES, dtype)[0])
    monkeypatch.setenv("ABLATION_BENCH_CACHE", str(tmp_path))  # code from the cache cannot be inspected
    for used, fresh in zip(epoch.make_epoch(dtype), epoch.make_epoch.__wrapped__(dtype), strict=True):
        for signature in used.signatures:
            fresh.compile(signature)
            code = fresh.inspect_llvm(signature)
            assert "define" in code
            assert not re.findall(r"call[^\n]*@(?:NRT_\w*[Aa]lloc\w*|malloc|calloc)\b", code)
