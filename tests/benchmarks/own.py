"""This project's implementations: the compiled engine, its NumPy twin, and the engine's kernels one by one.

A setup takes a problem and returns a call; the call does the work and returns a function that reads its results as
NumPy arrays. What a call does is timed; setting up, compiling and reading are not.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from benchmarks.problems import PIXEL_SCALE, Layer, Problem

from kernels import panels
from kernels.activations import ACTIVATIONS, compile_activation
from kernels.dense import compile_product
from kernels.engine import Engine
from kernels.losses import LOSSES, compile_loss
from kernels.model import Model
from kernels.optimizers import OPTIMIZERS
from kernels.reference import Engine as Twin
from kernels.reference import Layer as TwinLayer
from kernels.reference import get_activation, get_loss, get_optimizer, one_hot
from kernels.update import compile_update

FLOAT = "float32"


def _engine(problem: Problem, kind: Any, dtype: Any) -> Any:
    n_in = problem.sizes[0]
    scale, shift = np.full(n_in, PIXEL_SCALE), np.zeros(n_in)
    weights = [(W.astype(dtype), b.astype(dtype)) for W, b in problem.weights]  # copies: the twin keeps what it gets
    return kind(Model(problem.sizes, **problem.model), weights, dtype, scale, shift)


def train(problem: Problem, kind: Any = Engine, dtype: Any = np.float32) -> Any:
    """An epoch in one call."""
    engine, images, lr = _engine(problem, kind, dtype), problem.images, np.full(problem.steps, problem.lr)

    def call():
        result = engine.train_epoch(images.X, images.y, problem.order, problem.batch_size, lr)
        return lambda: {"loss": result.loss, "weights": [a for pair in engine.weights() for a in pair]}

    return call


def evaluate(problem: Problem, kind: Any = Engine, dtype: Any = np.float32) -> Any:
    """An evaluation in one call."""
    engine, images = _engine(problem, kind, dtype), problem.images

    def call():
        result = engine.evaluate(images.X, images.y, problem.rows)
        return lambda: {"loss": result.loss, "predictions": result.predictions}

    return call


train_twin, evaluate_twin = functools.partial(train, kind=Twin), functools.partial(evaluate, kind=Twin)
train_exactly = functools.partial(train, kind=Twin, dtype=np.float64)
evaluate_exactly = functools.partial(evaluate, kind=Twin, dtype=np.float64)


# ------------------------------------------------------------------------------------------------ the twin's parts


def forward_twin(layer: Layer) -> Any:
    """A = relu(H W + b)."""
    twin = TwinLayer(layer.W, layer.b, get_activation("relu"))

    def call():
        A = twin.forward(layer.H)
        return lambda: {"A": A}

    return call


def backward_twin(layer: Layer) -> Any:
    """dX = dZ W^T, as the twin's layer writes it; its method would compute dW as well."""

    def call():
        dX = layer.G @ layer.W.T
        return lambda: {"dX": dX}

    return call


def update_twin(layer: Layer) -> Any:
    """dW = H^T dZ, and a step of Adam on W."""
    W, optimizer = layer.W.copy(), get_optimizer("adam", {})

    def call():
        optimizer.step([W], [layer.H.T @ layer.G], layer.lr)
        return lambda: {"W": W}

    return call


def cross_entropy_twin(layer: Layer) -> Any:
    """Mean loss and its gradient with respect to the logits."""
    loss, targets = get_loss("cross_entropy"), one_hot(layer.labels, 10, layer.logits.dtype)

    def call():
        total, gradient = loss.total(layer.logits, targets), loss.gradient(layer.logits, targets)
        return lambda: {"loss": total / len(layer.labels), "gradient": gradient}

    return call


# ---------------------------------------------------------------------------------------------- the engine's kernels
# C functions that the compiled epoch calls; here Python does. They know addresses only, so a call keeps the arrays.


def _buffer(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Rows in a padded buffer as kernels read them, and the elements from row to row."""
    m, n = values.shape
    stride = panels.row_stride(n, FLOAT)
    buffer = panels.zeros(panels.padded_rows(m) * stride, FLOAT).reshape(-1, stride)
    buffer[:m, :n] = values
    return buffer, stride


def _packed(W: np.ndarray, slots: int = 0) -> np.ndarray:
    """Weights in panels, and a row of zeros for each of the optimizer's slots."""
    n = panels.packed_size(*W.shape, FLOAT)
    rows = panels.zeros((1 + slots) * n, FLOAT).reshape(1 + slots, n)
    panels.pack(W, rows[0])
    return rows


def _addresses(*arrays: np.ndarray) -> list[int]:
    return [array.ctypes.data for array in arrays]


def forward(layer: Layer) -> Any:
    """A = relu(H W + b)."""
    (m, n_in), n_out = layer.H.shape, layer.W.shape[1]
    product, relu = compile_product(FLOAT).ctypes, compile_activation(ACTIVATIONS["relu"], FLOAT)[0].ctypes
    (H, h_stride), (A, a_stride) = _buffer(layer.H), _buffer(np.zeros_like(layer.G))
    W, bias = _packed(layer.W), panels.zeros(panels.padded_width(n_out, FLOAT), FLOAT)
    bias[:n_out] = layer.b
    at_H, at_W, at_bias, at_A = _addresses(H, W, bias, A)

    def call():
        product(at_H, h_stride, m, n_in, at_W, n_out, at_bias, at_A, a_stride)
        relu(at_A, at_A, m, n_out, a_stride)
        return lambda: {"A": A[:m, :n_out]}

    call.keeps = (H, W, bias)
    return call


def backward(layer: Layer) -> Any:
    """dX = dZ W^T."""
    (m, n_in), n_out = layer.H.shape, layer.W.shape[1]
    product = compile_product(FLOAT).ctypes
    (dZ, z_stride), (dX, x_stride) = _buffer(layer.G), _buffer(np.zeros_like(layer.H))
    W_transposed, zeros = _packed(layer.W.T), panels.zeros(x_stride, FLOAT)
    at_dZ, at_W, at_zeros, at_dX = _addresses(dZ, W_transposed, zeros, dX)

    def call():
        product(at_dZ, z_stride, m, n_out, at_W, n_in, at_zeros, at_dX, x_stride)
        return lambda: {"dX": dX[:m, :n_in]}

    call.keeps = (dZ, W_transposed, zeros)
    return call


def update(layer: Layer) -> Any:
    """dW = H^T dZ, and a step of Adam on W, fused."""
    (m, n_in), n_out = layer.H.shape, layer.W.shape[1]
    adam = OPTIMIZERS["adam"]
    fused = compile_update(adam.program, FLOAT)[0].ctypes
    (H, h_stride), (dZ, z_stride) = _buffer(layer.H), _buffer(layer.G)
    W, hyper = _packed(layer.W, adam.n_slots), adam.tables(np.array([layer.lr]), np.ones(1), {}, FLOAT)[0]
    at_H, at_dZ, at_W, at_hyper = _addresses(H, dZ, W, hyper)
    slot_bytes = W.strides[0]

    def call():
        fused(at_H, h_stride, m, n_in, at_dZ, z_stride, n_out, at_W, slot_bytes, at_hyper, 0.0, 0)
        return lambda: {"W": panels.unpack(W[0], n_in, n_out)}

    call.keeps = (H, dZ, hyper)
    return call


def cross_entropy(layer: Layer) -> Any:
    """Mean loss and its gradient with respect to the logits."""
    m, n = layer.logits.shape
    loss = compile_loss(LOSSES["cross_entropy"], FLOAT).ctypes
    (Z, stride), (dZ, _) = _buffer(layer.logits), _buffer(np.zeros_like(layer.logits))
    labels = layer.labels.astype(np.int64)
    at_Z, at_labels, at_dZ = _addresses(Z, labels, dZ)
    gradient, one_over_m = dZ[:m, :n], np.float32(1 / m)

    def call():
        total = loss(at_Z, at_labels, at_dZ, m, n, stride)
        np.multiply(gradient, one_over_m, out=gradient)
        return lambda: {"loss": total / m, "gradient": gradient}

    call.keeps = (Z, labels, dZ)
    return call
