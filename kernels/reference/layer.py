"""One fully connected layer: the place where back-propagation happens.

Forward, a layer maps the rows it is given by Z = X W + b and bends them by A = f(Z). It keeps X, Z and A, because the
way back needs them. Backward, it receives dA (short for dL/dA: how the loss L would change with each entry of A) and
answers three questions by the chain rule (Rumelhart, Hinton and Williams, 1986).

How would L change with Z?      dZ = dA times the Jacobian of f        the activation knows it
How with my own parameters?     dW = X^T dZ,   db = column sums of dZ
How with what I was given?      dX = dZ W^T                            the dA of the layer before

The two products are worth deriving once. Entry by entry Z_rj = sum_i X_ri W_ij + b_j, where r counts samples. W_ij
touches column j of every row, with weight X_ri, so dL/dW_ij = sum_r X_ri dZ_rj, which is X^T dZ. b_j touches the same
entries with weight 1. X_ri touches the whole row r with weights W_ij, so dL/dX_ri = sum_j dZ_rj W_ij, which is dZ W^T.
Note that nothing divides by m here: the loss is a mean, its gradient brings the 1/m along.

Shapes: X (m, n_in), W (n_in, n_out), b (n_out,), Z and A (m, n_out); the derivative dQ has the shape of Q.
"""

from __future__ import annotations

import numpy as np

from kernels.model import Array
from kernels.reference.activations import Activation


class Layer:
    """Parameters of one layer, what it saw last, and the gradients that came back.

    Parameters
    ----------
    W : ndarray of float32 or float64, shape (n_in, n_out)
        Weights: column j belongs to output j. Kept, not copied: an optimizer changes it in place.
    b : ndarray of the same dtype, shape (n_out,)
        Biases, kept likewise.
    activation : Activation
        The function f.

    Attributes
    ----------
    X, Z, A : ndarray
        Input, pre-activation and activation of the last forward pass.
    dZ, dW, db : ndarray
        Gradients of the last backward pass.

    Raises
    ------
    ValueError
        When the shapes of W and b do not fit together.
    """

    def __init__(self, W: Array, b: Array, activation: Activation) -> None:
        if W.ndim != 2 or b.shape != W.shape[1:]:
            raise ValueError(f"W {W.shape} and b {b.shape}: need (n_in, n_out) and (n_out,)")
        self.W, self.b, self.activation = W, b, activation
        self.X = self.Z = self.A = np.empty((0, 0), W.dtype)  # known after a forward pass
        self.dZ, self.dW, self.db = self.Z, np.zeros_like(W), np.zeros_like(b)  # known after a backward pass

    def forward(self, X: Array) -> Array:
        """Return A = f(X W + b), (m, n_in) -> (m, n_out), and remember X, Z and A."""
        self.X = X
        self.Z = X @ self.W + self.b  # (m, n_in) @ (n_in, n_out) + (n_out,) -> (m, n_out)
        self.A = self.activation.forward(self.Z)
        return self.A

    def backward(self, dA: Array) -> Array:
        """Return dX, (m, n_out) -> (m, n_in), and remember dZ, dW and db; belongs to the last forward pass."""
        self.dZ = self.activation.backward(self.Z, self.A, dA)
        self.dW = self.X.T @ self.dZ  # (n_in, m) @ (m, n_out) -> (n_in, n_out)
        self.db = self.dZ.sum(axis=0)  # (m, n_out) -> (n_out,)
        dX: Array = self.dZ @ self.W.T  # (m, n_out) @ (n_out, n_in) -> (m, n_in)
        return dX
