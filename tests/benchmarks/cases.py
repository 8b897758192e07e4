"""The one table of what is compared: operation or network -> implementation -> setup.

It drives both the checks that all results are equal and the timing. A setup takes a problem or a layer and returns a
call; the call does the work and returns a function that reads its results. Libraries of peers are imported by their
setups, so the table stands whether they are installed or not.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import blas, jax_scan, own, pytorch, sklearn_mlp
from benchmarks.problems import LAYERS, NETWORKS, QUICK, Layer, Problem, layer, problem

from kernels.activations import ACTIVATIONS
from kernels.optimizers import OPTIMIZERS

Read = Callable[[], dict[str, Any]]
Call = Callable[[], Read]
Setup = Callable[[Any], Call]

OURS, TWIN, BLAS = "this project", "its NumPy twin", "NumPy + BLAS"
SKLEARN, JAX = "scikit-learn", "JAX, jit + scan"
EAGER, FUSED, COMPILED = "PyTorch eager", "PyTorch fused Adam", "PyTorch compiled"
LIBRARIES = {SKLEARN: "sklearn", EAGER: "torch", FUSED: "torch", COMPILED: "torch", JAX: "jax"}
MODES = {EAGER: "eager", FUSED: "fused", COMPILED: "compiled"}


def _modes(setup: Any, *implementations: str) -> dict[str, Setup]:
    """The modes of PyTorch that differ in this operation."""
    return {name: functools.partial(setup, mode=MODES[name]) for name in implementations}


TRAINING: dict[str, Setup] = {
    OURS: own.train,
    TWIN: own.train_twin,
    BLAS: blas.train,
    SKLEARN: sklearn_mlp.train,
    **_modes(pytorch.train, EAGER, FUSED, COMPILED),
    JAX: jax_scan.train,
}
EVALUATION: dict[str, Setup] = {
    OURS: own.evaluate,
    TWIN: own.evaluate_twin,
    BLAS: blas.evaluate,
    SKLEARN: sklearn_mlp.evaluate,
    **_modes(pytorch.evaluate, EAGER, COMPILED),
    JAX: jax_scan.evaluate,
}
OPERATIONS: dict[str, dict[str, Setup]] = {
    "forward": {
        OURS: own.forward,
        TWIN: own.forward_twin,
        BLAS: blas.forward,
        **_modes(pytorch.forward, EAGER, COMPILED),
        JAX: jax_scan.forward,
    },
    "backward": {
        OURS: own.backward,
        TWIN: own.backward_twin,
        BLAS: blas.backward,
        **_modes(pytorch.backward, EAGER, COMPILED),
        JAX: jax_scan.backward,
    },
    "update": {
        OURS: own.update,
        TWIN: own.update_twin,
        BLAS: blas.update,
        **_modes(pytorch.update, EAGER, FUSED, COMPILED),
        JAX: jax_scan.update,
    },
    "softmax cross-entropy": {
        OURS: own.cross_entropy,
        TWIN: own.cross_entropy_twin,
        BLAS: blas.cross_entropy,
        **_modes(pytorch.cross_entropy, EAGER, COMPILED),
        JAX: jax_scan.cross_entropy,
    },
}
TABLE: dict[str, dict[str, Setup]] = {
    **OPERATIONS,
    **{f"epoch {network}": TRAINING for network in NETWORKS},
    **{f"evaluation {network}": EVALUATION for network in NETWORKS},
}

# What else the engine offers, against the same network with Adam and ReLU; the first of each is what is compared with.
CHOICES_NETWORK = "784-512-512-512-10"
CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "optimizers": {name: {"optimizer": name} for name in ("adam", *(name for name in OPTIMIZERS if name != "adam"))},
    "settings": {
        "relu": {},
        "dropout 0.5": {"dropout": 0.5},
        "l2 0.0001": {"l2": 0.0001},
        "label_smoothing 0.1": {"label_smoothing": 0.1},
        "clip_norm 1": {"clip_norm": 1.0},
        **{name: {"activation": name} for name in ACTIVATIONS if name not in ("relu", "identity")},
    },
}

# Mini-batches that the slow ones are timed on where an epoch of theirs takes many seconds; scaled to the epoch.
LARGE = ("784-512-512-512-10", "3072-512-256-10")
SLOW = (TWIN, SKLEARN)
SLOW_STEPS, CHOICES_STEPS, QUICK_STEPS = 100, 150, 10


@dataclass(frozen=True, eq=False)
class Case:
    """One line of a table of results.

    Attributes
    ----------
    group, implementation : str
        Table and line.
    setup : callable
        From what ``subject`` returns to the call that is timed.
    subject : callable
        Makes the problem or the layer.
    flops : callable
        Counts, of what ``subject`` returns, the operations of the matrix products in one call.
    rounds, iterations : int
        Times that are taken in a turn, and calls in each.
    steps : int or None
        So many first mini-batches of an epoch are timed; None is all.
    """

    group: str
    implementation: str
    setup: Setup
    subject: Callable[[], Problem | Layer]
    flops: Callable[[Any], int]
    rounds: int = 1
    iterations: int = 1
    steps: int | None = None

    @property
    def kind(self) -> str:
        """The first word: epoch, evaluation, an operation, optimizers or settings."""
        return self.group.partition(" ")[0]

    @property
    def missing(self) -> str | None:
        """Why it cannot run here, if so."""
        library = LIBRARIES.get(self.implementation)
        return None if library is None or importlib.util.find_spec(library) else f"{library} is not installed"

    def imports(self) -> None:
        """Import its library, so that this is not taken for compiling."""
        library = LIBRARIES.get(self.implementation)
        if library is not None:
            importlib.import_module(library)


def _epochs(network: str) -> Iterator[Case]:
    small = network not in LARGE
    for name, setup in TABLE[f"epoch {network}"].items():
        steps = QUICK_STEPS if QUICK else SLOW_STEPS if name in SLOW and not small else None
        yield Case(f"epoch {network}", name, setup, functools.partial(problem, network), _training_flops,
                   rounds=2 if small and not QUICK else 1, steps=steps)  # fmt: skip


def _evaluations(network: str) -> Iterator[Case]:
    for name, setup in TABLE[f"evaluation {network}"].items():
        yield Case(f"evaluation {network}", name, setup, functools.partial(problem, network), _evaluation_flops,
                   rounds=1 if QUICK else 3)  # fmt: skip


def _operations(shape: str) -> Iterator[Case]:
    for operation, implementations in OPERATIONS.items():
        of_logits = operation == "softmax cross-entropy"
        group = f"{operation} {shape}" if not of_logits else f"{operation}, 10 classes,{shape.partition(',')[2]}"
        flops = _no_flops if of_logits else _product_flops
        for name, setup in implementations.items():
            yield Case(group, name, setup, functools.partial(layer, *LAYERS[shape]), flops,
                       rounds=1 if QUICK else 10, iterations=2 if QUICK else 30)  # fmt: skip


def _choices(group: str) -> Iterator[Case]:
    for name, model in CHOICES[group].items():
        yield Case(group, name, own.train, functools.partial(problem, CHOICES_NETWORK, **model), _training_flops,
                   steps=QUICK_STEPS if QUICK else CHOICES_STEPS)  # fmt: skip


def _training_flops(subject: Problem) -> int:
    return subject.training_flops


def _evaluation_flops(subject: Problem) -> int:
    return subject.evaluation_flops


def _product_flops(subject: Layer) -> int:
    return subject.product_flops


def _no_flops(subject: Layer) -> int:
    return 0


def groups() -> dict[str, list[Case]]:
    """All cases by group, those that share data next to each other."""
    cases = [case for shape in LAYERS for case in _operations(shape)]
    for network in NETWORKS:
        cases += [*_epochs(network), *_evaluations(network)]
        if network == CHOICES_NETWORK:
            cases += [case for group in CHOICES for case in _choices(group)]
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.group, []).append(case)
    return found
