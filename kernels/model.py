"""The three records that every engine shares: what is trained, what an epoch gave, what an evaluation gave.

`kernels.reference.Engine` (plain NumPy) and the compiled engine take the same `Model` and answer with the same
`EpochResult` and `Evaluation`, so either can stand in for the other. This module leaves to others what the names mean:
activations, losses and optimizers are looked up by the engine that is built, and an unknown name fails there.

Shapes: N rows of data, m rows in a mini-batch, n_in features, n_out classes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 or float64


@dataclass(frozen=True)
class Model:
    """What is trained, and by which rule.

    Parameters
    ----------
    sizes : tuple of int
        ``(n_in, hidden ..., n_out)``; each at least 1. ``(n_in, n_out)`` is a network without a hidden layer.
    activation : str
        The activation of every hidden layer. The last layer gives logits and has none.
    loss : str
        ``cross_entropy``, ``mse``, ``mse_on_logits`` or a registered name.
    optimizer : str
        ``sgd``, ``momentum``, ``nesterov``, ``rmsprop``, ``adam``, ``adamw`` or a registered name.
    settings : mapping of str to float
        The optimizer's own settings, for example ``{"mu": 0.9}``; those that are missing take its defaults.
    l2 : float
        Strength of the penalty ``l2 / (2 m) * sum ||W||_F^2``; 0 is none.
    dropout : float
        Probability that a hidden activation is dropped while training, in [0, 1).
    clip_norm : float or None
        Largest global norm of the gradients; None does not clip.

    Raises
    ------
    ValueError
        For fewer than two sizes, a size below 1, or a number outside the range named above.
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    settings: Mapping[str, float] = field(default_factory=dict, hash=False)
    l2: float = 0.0
    dropout: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        # The class is frozen, so the normalised copies go in by the back door.
        object.__setattr__(self, "sizes", tuple(operator.index(size) for size in self.sizes))
        object.__setattr__(self, "settings", dict(self.settings))
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"sizes {self.sizes}: need (n_in, hidden ..., n_out), each at least 1")
        if not 0 <= self.l2 < math.inf:
            raise ValueError(f"l2 {self.l2}: need a finite number, at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout}: need a probability in [0, 1)")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm {self.clip_norm}: need a number above 0, or None")
        for name, value in self.settings.items():
            if not math.isfinite(value):
                raise ValueError(f"{self.optimizer} setting {name} {value}: need a finite number")


@dataclass(frozen=True)
class EpochResult:
    """What one pass over the training rows gave, each mini-batch measured just before its update, dropout on.

    Attributes
    ----------
    loss : float
        Mean loss of the rows seen, without the L2 penalty; NaN when there were none.
    accuracy : float
        Share of the rows seen that were classified correctly, in [0, 1]; NaN when there were none.
    steps : int
        Updates done. The mini-batch at which an epoch stopped is not among them.
    finite : bool
        False when the loss of a mini-batch was NaN or infinite: the epoch stopped there, before the update.
        ``loss`` is then not finite either.
    """

    loss: float
    accuracy: float
    steps: int
    finite: bool


@dataclass(frozen=True, eq=False)  # a generated == would ask an array for its truth
class Evaluation:
    """What the network says about given rows, dropout off.

    Attributes
    ----------
    loss : float
        Mean loss of the rows, without the L2 penalty; NaN when there are none.
    predictions : ndarray of int64, shape (rows,)
        The class with the largest logit: the first one on a tie, never a NaN where there is a number, 0 where all
        are NaN.
    """

    loss: float
    predictions: np.ndarray
    logits: np.ndarray
