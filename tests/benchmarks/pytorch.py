"""PyTorch: eager with the optimizer as it comes, eager with the fused optimizer, and the whole step compiled.

Setups and calls as in ``benchmarks.own``. Weights lie as ``torch.nn.Linear`` keeps them, (n_out, n_in).
"""

from __future__ import annotations

import functools
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from benchmarks.problems import Layer, Problem

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
LOG_BETA1, LOG_BETA2 = math.log(BETA1), math.log(BETA2)
EVALUATION_ROWS = 512


class UnavailableError(Exception):
    """Something that an implementation needs is not on this machine; the message says what."""


def _torch() -> Any:
    import torch

    torch.set_num_threads(1)
    return torch


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Let numbers too small to be normal count as zero, as in JAX and in this project."""
    torch = _torch()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _compile(function: Any) -> Any:
    """``torch.compile`` with all shapes fixed; each kind of mini-batch is compiled by itself."""
    if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        raise UnavailableError("torch.compile needs a C++ compiler, and there is none")
    torch = _torch()
    torch._dynamo.reset()  # each problem begins with nothing compiled
    return torch.compile(function, dynamic=False)


def _parameters(problem: Problem) -> list[Any]:
    """W (n_out, n_in) and b of each layer, in turn."""
    torch = _torch()
    arrays = [np.ascontiguousarray(array) for W, b in problem.weights for array in (W.T, b)]
    return [torch.from_numpy(array.copy()) for array in arrays]


def _forward(parameters: list[Any], x: Any) -> Any:
    from torch.nn.functional import linear

    for i in range(0, len(parameters), 2):
        x = linear(x, parameters[i], parameters[i + 1])
        if i < len(parameters) - 2:
            x = x.relu()
    return x


def _loss(parameters: list[Any], x: Any, labels: Any, smoothing: float = 0.0) -> Any:
    from torch.nn.functional import cross_entropy

    return cross_entropy(_forward(parameters, x), labels, label_smoothing=smoothing)


def _arrays(parameters: list[Any]) -> list[np.ndarray]:
    """Weights (n_in, n_out) and biases as NumPy arrays."""
    return [(p.detach().T if p.ndim == 2 else p.detach()).numpy().copy() for p in parameters]


def _adam(parameters: list[Any], gradients: Any, moments: list[Any], t: Any, lr: float) -> None:
    """A step of Adam in place, written out so that a compiled graph may hold it."""
    from torch import expm1

    t.add_(1)
    rate, unbias = lr / -expm1(t * LOG_BETA1), 1 / -expm1(t * LOG_BETA2)  # 1 - beta^t, without cancellation
    for p, g, (m, v) in zip(parameters, gradients, moments, strict=True):
        m.mul_(BETA1).add_((1 - BETA1) * g)
        v.mul_(BETA2).add_((1 - BETA2) * g * g)
        p.sub_(rate * m / ((v * unbias).sqrt() + EPS))


def _eager_step(problem: Problem, parameters: list[Any], fused: bool) -> Any:
    torch = _torch()
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(parameters, lr=problem.lr, **({"fused": True} if fused else {}))
    X, y = torch.from_numpy(problem.images.floats), torch.from_numpy(problem.images.y)
    smoothing = problem.model.get("label_smoothing", 0.0)

    def step(rows):
        loss = _loss(parameters, X.index_select(0, rows), y.index_select(0, rows), smoothing)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _compiled_step(problem: Problem, parameters: list[Any]) -> Any:
    """Gather, loss, gradients and Adam in one graph: faster than a compiled loss beside the fused optimizer."""
    torch = _torch()
    X, y = torch.from_numpy(problem.images.floats), torch.from_numpy(problem.images.y)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    gradients_and_loss, t = torch.func.grad_and_value(_loss), torch.zeros(())

    @_compile
    def step(parameters, moments, t, rows):
        gradients, loss = gradients_and_loss(parameters, X.index_select(0, rows), y.index_select(0, rows))
        _adam(parameters, gradients, moments, t, problem.lr)
        return loss

    return functools.partial(step, parameters, moments, t)


def train(problem: Problem, mode: str) -> Any:
    """A loop over mini-batches; ``mode`` is eager, fused or compiled."""
    torch = _torch()
    parameters = _parameters(problem)
    if mode == "compiled":
        step = _compiled_step(problem, parameters)
    else:
        step = _eager_step(problem, parameters, mode == "fused")
    batches = torch.from_numpy(problem.order).split(problem.batch_size)

    def call():
        total = torch.zeros(())
        with _no_denormals():
            for rows in batches:
                total += step(rows) * len(rows)
        return lambda: {"loss": float(total) / len(problem.order), "weights": _arrays(parameters)}

    return call


def evaluate(problem: Problem, mode: str) -> Any:
    """A loop over large mini-batches; ``mode`` is eager or compiled."""
    torch = _torch()
    parameters = _parameters(problem)
    X, y = torch.from_numpy(problem.images.floats), torch.from_numpy(problem.images.y)
    batches = torch.from_numpy(problem.rows).split(EVALUATION_ROWS)

    def measure(parameters, rows):
        logits = _forward(parameters, X.index_select(0, rows))
        loss = torch.nn.functional.cross_entropy(logits, y.index_select(0, rows), reduction="sum")
        return loss, logits.argmax(dim=1)

    if mode == "compiled":
        measure = _compile(measure)

    def call():
        with torch.inference_mode():
            parts = [measure(parameters, rows) for rows in batches]
            total, predictions = sum(loss for loss, _ in parts), torch.cat([p for _, p in parts])
        return lambda: {"loss": float(total) / len(problem.rows), "predictions": predictions.numpy()}

    return call


def forward(layer: Layer, mode: str) -> Any:
    """A = relu(H W + b)."""
    torch = _torch()
    H, W, b, A = (torch.from_numpy(a) for a in (layer.H, layer.W.T.copy(), layer.b, np.empty_like(layer.G)))

    def eager():
        torch.addmm(b, H, W.T, out=A).relu_()
        return lambda: {"A": A.numpy()}

    if mode == "eager":
        return eager
    compiled = _compile(lambda H, W, b: torch.nn.functional.linear(H, W, b).relu())

    def call():
        A = compiled(H, W, b)
        return lambda: {"A": A.numpy()}

    return call


def backward(layer: Layer, mode: str) -> Any:
    """dX = dZ W^T."""
    torch = _torch()
    dZ, W, dX = (torch.from_numpy(a) for a in (layer.G, layer.W.T.copy(), np.empty_like(layer.H)))

    def eager():
        torch.mm(dZ, W, out=dX)
        return lambda: {"dX": dX.numpy()}

    if mode == "eager":
        return eager
    compiled = _compile(torch.mm)

    def call():
        dX = compiled(dZ, W)
        return lambda: {"dX": dX.numpy()}

    return call


def update(layer: Layer, mode: str) -> Any:
    """dW = H^T dZ, and a step of Adam on W."""
    torch = _torch()
    H, dZ, W = (torch.from_numpy(a) for a in (layer.H, layer.G, layer.W.T.copy()))

    def read():
        return {"W": W.detach().T.numpy().copy()}

    if mode == "compiled":
        moments, t = [(torch.zeros_like(W), torch.zeros_like(W))], torch.zeros(())
        step = _compile(lambda W, moments, t: _adam([W], [dZ.T @ H], moments, t, layer.lr))

        def compiled():
            step(W, moments, t)
            return read

        return compiled

    W.requires_grad_()
    W.grad = torch.empty_like(W)
    optimizer = torch.optim.Adam([W], lr=layer.lr, **({"fused": True} if mode == "fused" else {}))

    def call():
        torch.mm(dZ.T, H, out=W.grad)
        optimizer.step()
        return read

    return call


def cross_entropy(layer: Layer, mode: str) -> Any:
    """Mean loss and its gradient with respect to the logits."""
    torch = _torch()
    logits, labels = torch.from_numpy(layer.logits), torch.from_numpy(layer.labels)
    if mode == "compiled":
        both = _compile(torch.func.grad_and_value(torch.nn.functional.cross_entropy))

        def compiled():
            gradient, loss = both(logits, labels)
            return lambda: {"loss": float(loss), "gradient": gradient.numpy()}

        return compiled

    logits.requires_grad_()

    def call():
        loss = torch.nn.functional.cross_entropy(logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        return lambda: {"loss": float(loss.detach()), "gradient": gradient.numpy()}

    return call
