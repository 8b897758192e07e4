"""A network: layers in a row. What one gives forward the next one takes, and gradients go the same way back.

There is little left to say here, which is the point: each layer knows its own part of the chain rule, so the whole
derivative of a deep network is a loop over the layers from the last to the first. Between a hidden layer and the next
stands a `Dropout`, which does nothing unless a training step switches it on. The last layer has no activation and no
dropout: it hands out logits. The penalty on the weights is here, as it belongs to all layers and to no single one.

Shapes: X (m, n_in), logits (m, n_out), W (n_in, n_out) and b (n_out,) of each layer; dQ has the shape of Q.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels.model import Array
from kernels.reference.activations import Identity, get_activation
from kernels.reference.dropout import Dropout, mask_key
from kernels.reference.layer import Layer


class Network:
    """Hidden layers of one activation, and a last layer that gives logits.

    Parameters
    ----------
    weights : sequence of (W, b)
        Of each layer, first to last: W (n_in, n_out), b (n_out,), all of one dtype. Kept, not copied.
    activation : str
        Name of the activation of the hidden layers.
    dropout : float
        Probability that a hidden activation is dropped in a training step.

    Attributes
    ----------
    layers : list of Layer
        First to last.
    dropouts : list of Dropout
        One per hidden layer.

    Raises
    ------
    ValueError
        When the layers do not fit on each other.
    """

    def __init__(self, weights: Sequence[tuple[Array, Array]], activation: str, dropout: float = 0.0) -> None:
        *hidden, last = weights
        self.layers = [Layer(W, b, get_activation(activation)) for W, b in hidden]
        self.layers.append(Layer(*last, Identity()))
        self.dropouts = [Dropout(dropout) for _ in hidden]
        for i in range(len(hidden)):
            given, taken = self.layers[i].W.shape[1], self.layers[i + 1].W.shape[0]
            if given != taken:
                raise ValueError(f"layer {i} gives {given} columns, layer {i + 1} takes {taken}")

    def forward(self, X: Array, draw: tuple[int, int] | None = None) -> Array:
        """Return the logits.

        Parameters
        ----------
        X : ndarray, shape (m, n_in)
            Input of the working dtype.
        draw : (int, int) or None
            Seed of the epoch and index of its mini-batch, which decide what dropout drops; None switches dropout off.

        Returns
        -------
        ndarray, shape (m, n_out)
        """
        A = X  # (m, n_in)
        for i, dropout in enumerate(self.dropouts):
            A = self.layers[i].forward(A)  # (m, width before) -> (m, width of layer i)
            A = dropout.forward(A, None if draw is None else mask_key(*draw, i))
        return self.layers[-1].forward(A)  # (m, width of the last hidden layer) -> (m, n_out)

    def backward(self, dlogits: Array) -> Array:
        """Return dX and leave dW and db in each layer; belongs to the last forward pass.

        Parameters
        ----------
        dlogits : ndarray, shape (m, n_out)
            Gradient of the loss with respect to the logits.

        Returns
        -------
        ndarray, shape (m, n_in)
            Gradient with respect to the input; training has no use for it, but it shows what a network looks at.
        """
        dA = self.layers[-1].backward(dlogits)  # (m, n_out) -> (m, width of the last hidden layer)
        for i in reversed(range(len(self.dropouts))):
            dA = self.dropouts[i].backward(dA)
            dA = self.layers[i].backward(dA)  # (m, width of layer i) -> (m, width before)
        return dA

    def penalty(self, l2: float, rows: int) -> float:
        """Return l2 / (2 m) sum ||W||_F^2 over the weights, not the biases (Krogh and Hertz, 1992); m = rows."""
        squares = sum(float(np.sum(np.square(layer.W, dtype=np.float64))) for layer in self.layers)
        return l2 / (2 * rows) * squares

    def add_penalty_gradient(self, l2: float, rows: int) -> None:
        """In place: dW += l2 / m W in each layer, m = rows of the mini-batch at hand, also of a short last one.

        The division by m makes the penalty weaker in larger batches: it is l2 that counts per sample seen, not per
        step. Changing the batch size therefore changes the strength as well.
        """
        for layer in self.layers:
            layer.dW += l2 / rows * layer.W

    def weights(self) -> list[Array]:
        """Return the parameters themselves, W0, b0, W1, b1, ..., in the order in which optimizers get them."""
        return [parameter for layer in self.layers for parameter in (layer.W, layer.b)]

    def gradients(self) -> list[Array]:
        """Return the gradients of the last backward pass, dW0, db0, dW1, db1, ..."""
        return [gradient for layer in self.layers for gradient in (layer.dW, layer.db)]
