"""Activation functions: what turns a stack of linear maps into something that can bend.

A layer computes Z = X W + b and hands Z to its activation f, which gives A = f(Z). On the way back the layer receives
dA, the derivative of the loss with respect to A, and asks its activation for dZ. By the chain rule that is the product
of dA with the Jacobian of f. For all but one of the functions below each output depends on one input only, the
Jacobian is diagonal and the product is elementwise: dZ = dA * f'(Z). The softmax ties a whole row together, so it
needs the full product. An activation keeps no state; the layer caches Z and A for it. Every function returns the
dtype that it was given.

Shapes: Z, A, dA, dZ are (m, n), one row per sample.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.special import erf

from kernels.model import Array


class Activation(ABC):
    """A function of the pre-activations and the product with its Jacobian."""

    @abstractmethod
    def forward(self, Z: Array) -> Array:
        """Return A = f(Z), (m, n) -> (m, n)."""

    @abstractmethod
    def backward(self, Z: Array, A: Array, dA: Array) -> Array:
        """Return dL/dZ from dL/dA, all (m, n); A must be f(Z)."""


class Elementwise(Activation):
    """An activation whose Jacobian is diagonal: it needs only the derivative of a scalar function."""

    @abstractmethod
    def derivative(self, Z: Array, A: Array) -> Array:
        """Return f'(Z), (m, n); A = f(Z) is at hand because it often makes f' cheaper."""

    def backward(self, Z: Array, A: Array, dA: Array) -> Array:
        """Return dZ = dA * f'(Z), elementwise."""
        return dA * self.derivative(Z, A)


class Identity(Elementwise):
    """f(z) = z: the last layer, which hands out logits, and networks that are meant to stay linear."""

    def forward(self, Z: Array) -> Array:
        """Return Z itself."""
        return Z

    def derivative(self, Z: Array, A: Array) -> Array:
        """f'(z) = 1."""
        return np.ones_like(Z)


class ReLU(Elementwise):
    """f(z) = max(z, 0) (Nair and Hinton, 2010). It passes on a NaN, so that a diverged run is seen."""

    def forward(self, Z: Array) -> Array:
        """Return max(Z, 0)."""
        return np.maximum(Z, 0)

    def derivative(self, Z: Array, A: Array) -> Array:
        """f'(z) = 1 for z > 0, else 0; at the kink we choose f'(0) = 0."""
        return (Z > 0).astype(Z.dtype)


class LeakyReLU(Elementwise):
    """f(z) = z for z > 0, else 0.01 z (Maas, Hannun and Ng, 2013)."""

    slope = 0.01

    def forward(self, Z: Array) -> Array:
        """Return Z where it is positive, 0.01 Z elsewhere."""
        return np.where(Z > 0, Z, self.slope * Z)

    def derivative(self, Z: Array, A: Array) -> Array:
        """f'(z) = 1 for z > 0, else 0.01; at the kink we choose f'(0) = 0.01."""
        return np.where(Z > 0, 1, self.slope).astype(Z.dtype)


class Sigmoid(Elementwise):
    """f(z) = 1 / (1 + exp(-z)) (Rumelhart, Hinton and Williams, 1986)."""

    def forward(self, Z: Array) -> Array:
        """Return 1 / (1 + e^-z) for z >= 0 and the equal e^z / (1 + e^z) for z < 0, so that e never overflows."""
        e: Array = np.exp(-np.abs(Z))
        numerator: Array = np.where(Z >= 0, 1, e)
        return numerator / (1 + e)

    def derivative(self, Z: Array, A: Array) -> Array:
        """f'(z) = f(z) (1 - f(z))."""
        return A * (1 - A)


class Tanh(Elementwise):
    """f(z) = tanh(z) = 2 sigmoid(2 z) - 1 (LeCun, Bottou, Orr and Müller, 1998, section 4.4)."""

    def forward(self, Z: Array) -> Array:
        """Return tanh(Z)."""
        return np.tanh(Z)

    def derivative(self, Z: Array, A: Array) -> Array:
        """f'(z) = 1 - f(z)^2."""
        return 1 - A * A


class GELU(Elementwise):
    """f(z) = z Phi(z), Phi the standard normal distribution function, exact by erf (Hendrycks and Gimpel, 2016)."""

    def forward(self, Z: Array) -> Array:
        """Return Z Phi(Z)."""
        return Z * self._normal_cdf(Z)

    def derivative(self, Z: Array, A: Array) -> Array:
        """f'(z) = Phi(z) + z phi(z), with the normal density phi(z) = exp(-z^2 / 2) / sqrt(2 pi)."""
        density = np.exp(-0.5 * Z * Z) / math.sqrt(2 * math.pi)
        return self._normal_cdf(Z) + Z * density

    @staticmethod
    def _normal_cdf(Z: Array) -> Array:
        """Phi(z) = (1 + erf(z / sqrt 2)) / 2."""
        cdf: Array = 0.5 * (1 + erf(Z / math.sqrt(2)))
        return cdf


class Softmax(Activation):
    """f(z)_i = exp(z_i) / sum_j exp(z_j), row by row (Bridle, 1990).

    A row of the result is positive and sums to 1. Adding a constant to a row of Z changes nothing, and the row maximum
    is the constant to take away: the largest exponent is then 0 and nothing overflows.
    """

    def forward(self, Z: Array) -> Array:
        """Return the softmax of each row."""
        e: Array = np.exp(Z - Z.max(axis=1, keepdims=True))  # (m, n) - (m, 1) -> (m, n)
        total: Array = e.sum(axis=1, keepdims=True)  # (m, n) -> (m, 1)
        return e / total  # (m, n) / (m, 1) -> (m, n)

    def backward(self, Z: Array, A: Array, dA: Array) -> Array:
        """Return dZ = A * (dA - sum_i dA_i A_i), the sum over each row.

        The Jacobian of a row is da_i/dz_j = a_i (delta_ij - a_j). It is symmetric, so its product with dA is
        dz_j = a_j dA_j - a_j sum_i a_i dA_i, and no n by n matrix has to be built.
        """
        weighted: Array = np.sum(dA * A, axis=1, keepdims=True)  # (m, n) -> (m, 1)
        return A * (dA - weighted)  # (m, n) - (m, 1) -> (m, n)


class RegisteredActivation(Elementwise):
    """An elementwise rule that somebody added to `kernels.activations.ACTIVATIONS`.

    Parameters
    ----------
    entry : object
        Has ``rule(z) -> a`` and ``derivative(z, a) -> da/dz``, both working elementwise on arrays.
    """

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def forward(self, Z: Array) -> Array:
        """Return rule(Z) in the dtype of Z."""
        return np.asarray(self.entry.rule(Z), dtype=Z.dtype)

    def derivative(self, Z: Array, A: Array) -> Array:
        """Return derivative(Z, A) in the dtype of Z."""
        return np.asarray(self.entry.derivative(Z, A), dtype=Z.dtype)


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": GELU,
    "softmax": Softmax,
}


def get_activation(name: str) -> Activation:
    """Return the activation of that name: one of this module, else one that was registered.

    Raises
    ------
    ValueError
        For an unknown name; the message lists the known ones.
    """
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]()
    from kernels.activations import ACTIVATIONS as REGISTERED  # the compiled side, needed for added names only

    if name in REGISTERED:
        return RegisteredActivation(REGISTERED[name])
    raise ValueError(f"unknown activation {name!r}; allowed: {', '.join(sorted({*ACTIVATIONS, *REGISTERED}))}")
