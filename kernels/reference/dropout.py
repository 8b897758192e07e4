"""Dropout: hide a random part of the hidden activations in every training step, so that none relies on another.

Each activation is dropped with probability p and the others are divided by 1 - p, which keeps the expected value: at
test time nothing needs to be rescaled and dropout is simply off ("inverted" dropout; Srivastava et al., 2014). Going
back, a dropped activation had no part in the loss and gets no gradient; a kept one gets its gradient divided alike.

Which ones are dropped is not drawn from a stream but computed: a hash of where the activation stands (seed, step,
layer, row, column). Any engine in any order, on any number of threads, thus finds the same mask. A first hash mixes
seed, step and layer into a 32-bit key (the finisher of SplitMix64: Steele, Lea and Flood, 2014, with Stafford's
constants); a second one mixes the key with the position in the activation matrix (Wellons' 32-bit finisher, 2018).

Shapes: A, dA and the mask are (m, n), one row per sample.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.model import Array

_WORD = 2**64 - 1  # & _WORD keeps a Python integer in 64 bits


def mask_key(seed: int, step: int, layer: int) -> int:
    """Return the 32-bit key of one mask.

    Parameters
    ----------
    seed : int
        Seed of the epoch.
    step : int
        Index of the mini-batch inside the epoch, from 0.
    layer : int
        Index of the hidden layer, from 0. Beyond 63 the keys of deep layers meet those of the next step.

    Returns
    -------
    int
        0 <= key < 2^32.
    """
    z = (seed + 0x9E3779B97F4A7C15 * (64 * step + layer + 1)) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    z ^= z >> 31
    return z & 0xFFFFFFFF


def keep_mask(key: int, shape: tuple[int, ...], probability: float) -> np.ndarray:
    """Return which activations stay: True where hash(position, key) >= floor(p 2^32).

    Parameters
    ----------
    key : int
        From `mask_key`.
    shape : (int, int)
        (m, n) of the activations; the position of (row, col) is row * n + col.
    probability : float
        p, the share to drop, in [0, 1).

    Returns
    -------
    ndarray of bool, shape (m, n)
    """
    m, n = shape
    x = np.arange(m * n, dtype=np.uint32) ^ key
    x ^= x >> 16
    x *= 0x7FEB352D  # arrays of uint32 wrap around at 2^32, as intended
    x ^= x >> 15
    x *= 0x846CA68B
    x ^= x >> 16
    return (x >= math.floor(probability * 2**32)).reshape(m, n)  # (m * n,) -> (m, n)


class Dropout:
    """Drops activations forward and their gradients backward, by the same mask.

    Parameters
    ----------
    probability : float
        p, the share to drop, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.mask: np.ndarray | None = None

    def forward(self, A: Array, key: int | None = None) -> Array:
        """Return A with a part dropped and the rest divided by 1 - p; without a key, dropout is off."""
        self.mask = None
        if key is not None and self.probability > 0:
            self.mask = keep_mask(key, A.shape, self.probability)
        return self._apply(A)

    def backward(self, dA: Array) -> Array:
        """Return the gradient for the activations before dropout, by the mask of the last forward pass."""
        return self._apply(dA)

    def _apply(self, values: Array) -> Array:
        """0 where the mask drops, values / (1 - p) where it keeps; the map is linear, so it is its own backward."""
        return values if self.mask is None else np.where(self.mask, values / (1 - self.probability), 0)
