"""The strongest plain NumPy that we can write: every product a BLAS call into a buffer, nothing allocated per step.

Parameters, gradients and moments lie in four flat arrays, so that Adam runs over blocks that stay in the second-level
cache whatever the layers' shapes. Setups and calls as in ``benchmarks.own``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from benchmarks.problems import PIXEL_SCALE, Layer, Problem

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
BLOCK = 65_536  # parameters: smaller ones cost more calls, larger ones leave the second-level cache
EVALUATION_ROWS = 512
FLOAT = np.float32


class Adam:
    """Adam in ten passes: m and v are kept without their factors 1 - beta, which go into the step and eps."""

    def __init__(self, parameters: np.ndarray, gradients: np.ndarray, lr: float) -> None:
        self.t, self.lr = 0, lr
        n = len(parameters)
        m, v, scratch = np.zeros(n, FLOAT), np.zeros(n, FLOAT), np.empty(min(n, BLOCK), FLOAT)
        self.blocks = [
            (*(a[i : i + BLOCK] for a in (parameters, gradients, m, v)), scratch[: min(BLOCK, n - i)])
            for i in range(0, n, BLOCK)
        ]

    def step(self) -> None:
        self.t += 1
        # lr m' / (sqrt(v') + eps) with m' = (1 - b1) m / (1 - b1^t) and v' = (1 - b2) v / (1 - b2^t)
        root = math.sqrt((1 - BETA2) / (1 - BETA2**self.t))
        rate = FLOAT(self.lr * (1 - BETA1) / (1 - BETA1**self.t) / root)
        beta1, beta2, eps = FLOAT(BETA1), FLOAT(BETA2), FLOAT(EPS / root)
        for w, g, m, v, s in self.blocks:
            np.multiply(m, beta1, out=m)
            np.add(m, g, out=m)
            np.multiply(v, beta2, out=v)
            np.multiply(g, g, out=g)
            np.add(v, g, out=v)
            np.sqrt(v, out=s)
            np.add(s, eps, out=s)
            np.divide(m, s, out=s)
            np.multiply(s, rate, out=s)
            np.subtract(w, s, out=w)


class CrossEntropy:
    """Mean softmax cross-entropy of m rows; its gradient goes to ``out``, which may be the logits."""

    def __init__(self, m: int) -> None:
        self.row, self.column, self.one_over_m = np.arange(m), np.empty((m, 1), FLOAT), FLOAT(1 / m)

    def __call__(self, Z: np.ndarray, labels: np.ndarray, out: np.ndarray) -> float:
        column, row = self.column, self.row
        np.maximum.reduce(Z, axis=1, keepdims=True, out=column)
        np.subtract(Z, column, out=out)
        total = -float(np.add.reduce(out[row, labels]))
        np.exp(out, out=out)
        np.add.reduce(out, axis=1, keepdims=True, out=column)
        np.multiply(out, self.one_over_m / column, out=out)
        out[row, labels] -= self.one_over_m
        np.log(column, out=column)
        return (total + float(np.add.reduce(column, axis=None))) * float(self.one_over_m)


class Network:
    """Views of the flat parameters, and buffers for mini-batches of up to ``rows`` rows."""

    def __init__(self, problem: Problem, rows: int) -> None:
        n = sum(W.size + b.size for W, b in problem.weights)
        self.parameters, self.gradients = np.empty(n, FLOAT), np.empty(n, FLOAT)
        self.layers, end = [], 0
        for W, b in problem.weights:
            parts = slice(end, end + W.size), slice(end + W.size, end + W.size + b.size)
            end += W.size + b.size
            self.parameters[parts[0]], self.parameters[parts[1]] = W.ravel(), b
            shaped = [(a[parts[0]].reshape(W.shape), a[parts[1]]) for a in (self.parameters, self.gradients)]
            self.layers.append((*shaped[0], *shaped[1]))
        self.pixels = np.empty((rows, problem.sizes[0]), np.uint8)
        self.A = [np.empty((rows, size), FLOAT) for size in problem.sizes]
        self.G = [np.empty((rows, size), FLOAT) for size in problem.sizes]
        self.by_rows: dict[int, Any] = {}

    def views(self, m: int) -> Any:
        """Buffers cut to m rows: pixels, activations (the last: logits), gradients, loss."""
        if m not in self.by_rows:
            cut = [[a[:m] for a in buffers] for buffers in (self.A, self.G)]
            self.by_rows[m] = (self.pixels[:m], *cut, CrossEntropy(m))
        return self.by_rows[m]

    def forward(self, X: np.ndarray, rows: np.ndarray) -> Any:
        """Gather, scale, and run all layers."""
        pixels, A, G, loss = self.views(len(rows))
        np.take(X, rows, axis=0, out=pixels, mode="clip")  # 'raise' would copy through a buffer
        np.multiply(pixels, PIXEL_SCALE, out=A[0])
        for i, (W, b, _, _) in enumerate(self.layers):
            np.matmul(A[i], W, out=A[i + 1])
            np.add(A[i + 1], b, out=A[i + 1])
            if i < len(self.layers) - 1:
                np.maximum(A[i + 1], 0, out=A[i + 1])
        return A, G, loss

    def backward(self, A: Any, G: Any) -> None:
        """Gradients of all layers from that of the logits, which lies in the last of A."""
        dZ = A[-1]
        for i in range(len(self.layers) - 1, -1, -1):
            W, _, dW, db = self.layers[i]
            np.matmul(A[i].T, dZ, out=dW)
            np.add.reduce(dZ, axis=0, out=db)
            if i:
                np.matmul(dZ, W.T, out=G[i])
                dZ = np.multiply(G[i], np.sign(A[i], out=A[i]), out=G[i])  # the sign of relu(z) is its derivative


def train(problem: Problem) -> Any:
    """A loop over the mini-batches of an epoch."""
    X, y, m, order = problem.images.X, problem.images.y, problem.batch_size, problem.order
    network = Network(problem, min(m, len(order)))
    adam = Adam(network.parameters, network.gradients, problem.lr)

    def call():
        total = 0.0
        for start in range(0, len(order), m):
            rows = order[start : start + m]
            A, G, loss = network.forward(X, rows)
            total += loss(A[-1], y[rows], A[-1]) * len(rows)
            network.backward(A, G)
            adam.step()
        mean = total / len(order)
        return lambda: {"loss": mean, "weights": [a.copy() for layer in network.layers for a in layer[:2]]}

    return call


def evaluate(problem: Problem) -> Any:
    """A loop over large mini-batches."""
    X, y, all_rows, m = problem.images.X, problem.images.y, problem.rows, EVALUATION_ROWS
    network, predictions = Network(problem, min(m, len(all_rows))), np.empty(len(all_rows), np.int64)

    def call():
        total = 0.0
        for start in range(0, len(all_rows), m):
            rows = all_rows[start : start + m]
            A, _, loss = network.forward(X, rows)
            np.argmax(A[-1], axis=1, out=predictions[start : start + m])
            total += loss(A[-1], y[rows], A[-1]) * len(rows)
        mean = total / len(all_rows)
        return lambda: {"loss": mean, "predictions": predictions}

    return call


def forward(layer: Layer) -> Any:
    """A = relu(H W + b)."""
    H, W, b, A = layer.H, layer.W, layer.b, np.empty_like(layer.G)

    def call():
        np.matmul(H, W, out=A)
        np.add(A, b, out=A)
        np.maximum(A, 0, out=A)
        return lambda: {"A": A}

    return call


def backward(layer: Layer) -> Any:
    """dX = dZ W^T."""
    dZ, W_transposed, dX = layer.G, layer.W.T, np.empty_like(layer.H)

    def call():
        np.matmul(dZ, W_transposed, out=dX)
        return lambda: {"dX": dX}

    return call


def update(layer: Layer) -> Any:
    """dW = H^T dZ, and a step of Adam on W."""
    W, H_transposed, dZ = layer.W.copy(), layer.H.T, layer.G
    dW = np.empty_like(W)
    adam = Adam(W.reshape(-1), dW.reshape(-1), layer.lr)

    def call():
        np.matmul(H_transposed, dZ, out=dW)
        adam.step()
        return lambda: {"W": W}

    return call


def cross_entropy(layer: Layer) -> Any:
    """Mean loss and its gradient with respect to the logits."""
    gradient, loss = np.empty_like(layer.logits), CrossEntropy(len(layer.logits))

    def call():
        mean = loss(layer.logits, layer.labels, gradient)
        return lambda: {"loss": mean, "gradient": gradient}

    return call
