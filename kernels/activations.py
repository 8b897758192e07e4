"""Activation functions of hidden layers, by name.

An element-wise activation is two rules (see :mod:`kernels.rules`): f(z) and its derivative from z and a = f(z). One
that mixes a row (softmax) brings a function per direction instead. Adding one: write the rule, call :func:`register`.
Shapes: Z, A, G (m, n), rows are samples; G is dL/dA on the way in and dL/dZ on the way out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels import registry, softmax, target
from kernels.fingerprint import fingerprint
from kernels.jit import callback
from kernels.rules import Program, erf, exp, maximum, tanh, trace, where
from kernels.tile import make_map_vector

_ROOT_HALF, _ROOT_2PI = math.sqrt(0.5), math.sqrt(2 * math.pi)
_NAMES = ("z", "a", "g")


@dataclass(frozen=True)
class Activation:
    """An activation function.

    Attributes
    ----------
    name : str
        What settings call it.
    rule : callable
        ``rule(z) -> a``, element-wise, on arrays or in registers.
    derivative : callable
        ``derivative(z, a) -> da/dz``; one that needs only ``a`` saves the memory of z.
    rowwise : callable, optional
        For activations that mix a row: ``rowwise(dtype) -> (forward, backward)``, see :mod:`kernels.softmax`.
    """

    name: str
    rule: Callable[..., Any]
    derivative: Callable[..., Any]
    rowwise: Callable[[Any], tuple[Any, Any]] | None = None

    @functools.cached_property
    def programs(self) -> tuple[Program, Program]:
        """The traced rules of forward and backward."""
        forward = trace(lambda z, a, g: self.rule(z), _NAMES)
        return forward, trace(lambda z, a, g: g * self.derivative(z, a), _NAMES)

    @property
    def needs_z(self) -> bool:
        """Whether the backward pass reads pre-activations, so that they must be kept beside A."""
        return self.rowwise is None and self.programs[1].uses("z")

    @property
    def key(self) -> str:
        """Names the formulas: changes whenever they do."""
        return fingerprint(self.rowwise) if self.rowwise else f"{self.programs[0].key} {self.programs[1].key}"


ACTIVATIONS: dict[str, Activation] = {}


def register(activation: Activation) -> Activation:
    """Make an activation known by its name; both engines and every setting then accept it.

    Raises
    ------
    ValueError
        When another activation has the name.
    TypeError
        When its rules cannot be traced.
    """
    return registry.add(ACTIVATIONS, "activation", activation)


def compile_activation(activation: Activation, dtype: Any) -> tuple[Any, Any]:
    """Callbacks ``forward(Z, A, m, n, stride)`` and ``backward(G, Z, A, m, n, stride)``, G in place."""
    key = f"{dtype} {activation.key}"
    if activation.rowwise is not None:
        forward_rows, backward_rows = activation.rowwise(dtype)
    else:
        forward_rows, backward_rows = _elementwise(activation, dtype)
    return (
        callback("float64(int64, int64, int64, int64, int64)", key)(forward_rows),
        callback("float64(int64, int64, int64, int64, int64, int64)", key)(backward_rows),
    )


def _elementwise(activation: Activation, dtype: Any) -> tuple[Any, Any]:
    """Loops over rows and vectors around the activation's two rules."""
    size, lanes = np.dtype(dtype).itemsize, target.current().lanes(dtype)
    f, df = (make_map_vector(dtype, program) for program in activation.programs)

    def forward(Z, A, m, n, stride):
        for i in range(m):
            for j in range(0, n, lanes):
                at = (i * stride + j) * size
                f(Z + at, 0, 0, A + at, n - j)
        return 0.0

    def backward(G, Z, A, m, n, stride):
        for i in range(m):
            for j in range(0, n, lanes):
                at = (i * stride + j) * size
                df(Z + at, A + at, G + at, G + at, n - j)
        return 0.0

    return forward, backward


def _gelu_derivative(z: Any, a: Any) -> Any:
    return 0.5 * (1.0 + erf(z * _ROOT_HALF)) + z * exp(z * z * -0.5) / _ROOT_2PI


for _activation in (
    Activation("identity", lambda z: z, lambda z, a: 1.0 + 0.0 * a),
    Activation("relu", lambda z: maximum(z, 0.0), lambda z, a: where(a > 0.0, 1.0, 0.0)),
    Activation("leaky_relu", lambda z: where(z > 0.0, z, 0.01 * z), lambda z, a: where(a > 0.0, 1.0, 0.01)),
    Activation("sigmoid", lambda z: 1.0 / (1.0 + exp(-z)), lambda z, a: a * (1.0 - a)),
    Activation("tanh", tanh, lambda z, a: 1.0 - a * a),
    # Hendrycks & Gimpel 2016, the exact form: z times the normal distribution function.
    Activation("gelu", lambda z: 0.5 * z * (1.0 + erf(z * _ROOT_HALF)), _gelu_derivative),
    Activation("softmax", softmax.on_arrays, softmax.no_derivative, rowwise=softmax.make_hidden),
):
    register(_activation)
