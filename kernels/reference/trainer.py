"""The training loop: mini-batch after mini-batch, forward, loss, backward, step.

All parts come together here, and one epoch reads as the recipe of every course on the matter. For each mini-batch:
fetch its rows, compute the logits, measure the loss, send its gradient back through the layers, add the penalty on
the weights, bound the gradients, let the optimizer move the parameters. `Engine` has the same interface as the
compiled engine, so a study can run on either. It leaves to its callers what is no arithmetic: the order of the rows,
the learning rate of each step, initial weights, clocks and records.

Shapes: X (N, n_in) and y (N,) hold all data; a mini-batch has m rows; k = n_out classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.model import Array, EpochResult, Evaluation, LayerStatistics, Model, State
from kernels.reference.losses import get_loss, one_hot, predict, smooth
from kernels.reference.network import Network
from kernels.reference.optimizers import clip_by_global_norm, get_optimizer
from kernels.reference.statistics import dead_share, describe

CHUNK_ROWS = 1024  # an evaluation of many rows goes in chunks, so that its activations fit in memory


class Engine:
    """A network under training, with its loss and its optimizer.

    Parameters
    ----------
    model : Model
        What is trained and how.
    weights : sequence of (W, b)
        Initial W (n_in, n_out) and b (n_out,) of each layer; copied.
    dtype : dtype
        The working dtype, float32 or float64. All arithmetic runs in it; only sums of losses and of squared gradient
        entries run in float64.
    scale, shift : array-like, shape (n_in,)
        A row x of X enters the network as x * scale + shift.

    Raises
    ------
    ValueError
        For another dtype, weights that do not have the sizes of the model, an unknown name in the model, or a loss that
        takes no smoothed labels where the model smooths them.
    """

    def __init__(
        self,
        model: Model,
        weights: Sequence[tuple[Array, Array]],
        dtype: Any,
        scale: Array,
        shift: Array,
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype {self.dtype}: need float32 or float64")
        own = [(np.array(W, self.dtype), np.array(b, self.dtype)) for W, b in weights]
        shapes = [W.shape for W, _ in own]
        if shapes != list(zip(model.sizes, model.sizes[1:], strict=False)):
            raise ValueError(f"weights of shapes {shapes} do not fit sizes {model.sizes}")
        self.model = model
        self.scale = np.asarray(scale, self.dtype)
        self.shift = np.asarray(shift, self.dtype)
        self.network = Network(own, model.activation, model.dropout)
        self.loss = get_loss(model.loss)
        if model.label_smoothing > 0 and not self.loss.smooths:
            raise ValueError(f"label_smoothing {model.label_smoothing}: the loss {model.loss!r} takes none")
        self.optimizer = get_optimizer(model.optimizer, model.settings)

    def train_epoch(
        self,
        X: np.ndarray,
        y: np.ndarray,
        order: np.ndarray,
        batch_size: int,
        lr: np.ndarray,
        dropout_seed: int = 0,
    ) -> EpochResult:
        """In place: train on the rows of X in the given order, once each.

        Parameters
        ----------
        X : ndarray of uint8 or float, shape (N, n_in)
            Data.
        y : ndarray of int, shape (N,)
            Labels.
        order : ndarray of int64, shape (rows,)
            Which rows, in which order. Every batch_size of them make a mini-batch; the last may be short.
        batch_size : int
            At least 1.
        lr : ndarray of float64, shape (steps,)
            Learning rate of each step of this epoch.
        dropout_seed : int
            Seed of this epoch's dropout masks.

        Returns
        -------
        EpochResult
            Means over the rows seen, each measured before the update by its own mini-batch. Where the loss of a
            mini-batch is not finite the epoch ends, without that update.

        Raises
        ------
        ValueError
            For a batch size below 1, too few learning rates, or a label out of range.
        """
        starts = _batch_starts(len(order), batch_size)
        if len(lr) < len(starts):
            raise ValueError(f"{len(lr)} learning rates for {len(starts)} steps")
        total, correct, seen, steps, finite = 0.0, 0, 0, 0, True

        # A run that diverges is a result, told by `finite`; it needs no warnings of overflow on top.
        with np.errstate(all="ignore"):
            for step, start in enumerate(starts):
                rows = order[start : start + batch_size]
                inputs, targets = self._batch(X, y, rows)  # (m, n_in), (m, k)
                targets = smooth(targets, self.model.label_smoothing)  # (m, k)

                logits = self.network.forward(inputs, (dropout_seed, step))  # (m, n_in) -> (m, k)
                batch_total = self.loss.total(logits, targets)
                total += batch_total
                correct += int(np.sum(predict(logits) == y[rows]))
                seen += len(rows)
                finite = math.isfinite(batch_total)
                if not finite:
                    break

                self._backward(logits, targets)
                gradients = self.network.gradients()
                if self.model.clip_norm is not None:
                    clip_by_global_norm(gradients, self.model.clip_norm)
                self.optimizer.step(self.network.weights(), gradients, lr[step])
                steps += 1
        return EpochResult(_mean(total, seen), _mean(correct, seen), steps, finite)

    def evaluate(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> Evaluation:
        """Return mean loss and predictions for the rows of X that the indices name; nothing changes.

        Dropout is off and the labels are taken as they are, so that losses of networks trained in different ways can
        be compared.
        """
        total, predictions = 0.0, np.empty(len(indices), np.int64)
        all_logits = np.empty((len(indices), self.model.sizes[-1]), self.dtype)
        with np.errstate(all="ignore"):
            for start in _batch_starts(len(indices), CHUNK_ROWS):
                rows = indices[start : start + CHUNK_ROWS]
                inputs, targets = self._batch(X, y, rows)  # (m, n_in), (m, k)
                logits = self.network.forward(inputs)  # (m, n_in) -> (m, k)
                total += self.loss.total(logits, targets)
                predictions[start : start + CHUNK_ROWS] = predict(logits)  # (m, k) -> (m,)
                all_logits[start : start + CHUNK_ROWS] = logits
        return Evaluation(_mean(total, len(indices)), predictions, all_logits)

    def gradients(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> list[tuple[Array, Array]]:
        """Return (dW, db) per layer for these rows as one batch: smoothed labels and L2, no dropout, no clipping."""
        with np.errstate(all="ignore"):
            inputs, targets = self._batch(X, y, indices)  # (m, n_in), (m, k)
            self._backward(self.network.forward(inputs), smooth(targets, self.model.label_smoothing))
        return [(layer.dW, layer.db) for layer in self.network.layers]

    def inspect(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> list[LayerStatistics]:
        """Return statistics of weights, gradients and activations of each layer for these rows as one batch.

        Dropout is off and nothing is clipped, so this shows the network itself, the same way after every epoch.
        """
        self.gradients(X, y, indices)
        *hidden, last = self.network.layers
        statistics = [
            LayerStatistics(describe(layer.W), describe(layer.dW), describe(layer.A), dead_share(layer.A))
            for layer in hidden
        ]
        return [*statistics, LayerStatistics(describe(last.W), describe(last.dW), None, None)]

    def weights(self) -> list[tuple[Array, Array]]:
        """Return copies of W (n_in, n_out) and b (n_out,) of each layer."""
        return [(layer.W.copy(), layer.b.copy()) for layer in self.network.layers]

    def set_weights(self, weights: Sequence[tuple[Array, Array]]) -> None:
        """In place: put W and b into every layer; steps and the optimizer's memory stay as they are."""
        for layer, (W, b) in zip(self.network.layers, weights, strict=True):
            if (W.shape, b.shape) != (layer.W.shape, layer.b.shape):
                raise ValueError(f"weights of shape {W.shape} for a layer of shape {layer.W.shape}")
            layer.W[...] = W
            layer.b[...] = b

    def state(self) -> State:
        """Return a copy of all that training changes: steps, weights, and the optimizer's slots."""
        parameters, n_slots = self.network.weights(), self.optimizer.n_slots
        memory = self.optimizer.state or [tuple(np.zeros_like(w) for _ in range(n_slots)) for w in parameters]
        slots = [[np.copy(own[i]) for own in memory] for i in range(n_slots)]  # per slot: of W0, b0, W1, b1, ...
        return State(self.optimizer.t, self.weights(), [list(zip(s[::2], s[1::2], strict=True)) for s in slots])

    def restore(self, state: State) -> None:
        """In place: go back, or forward, to a state of an engine of the same model."""
        if len(state.slots) != self.optimizer.n_slots:
            raise ValueError(f"{len(state.slots)} slots for an optimizer that has {self.optimizer.n_slots}")
        self.set_weights(state.weights)
        slots = [[part for layer in slot for part in layer] for slot in state.slots]  # per slot: of W0, b0, W1, b1, ...
        self.optimizer.state = [tuple(map(np.copy, own)) for own in zip(*slots, strict=True)]
        self.optimizer.t = state.steps

    def _batch(self, X: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[Array, Array]:
        """Input in the working dtype and one-hot targets of some rows."""
        inputs = X[rows].astype(self.dtype) * self.scale + self.shift  # (N, n_in)[(m,)] -> (m, n_in)
        return inputs, one_hot(y[rows], self.model.sizes[-1], self.dtype)  # (N,)[(m,)] -> (m, k)

    def _backward(self, logits: Array, targets: Array) -> None:
        """Leave the gradients of mean loss and penalty in the layers."""
        self.network.backward(self.loss.gradient(logits, targets))
        self.network.add_penalty_gradient(self.model.l2, len(logits))


def _batch_starts(rows: int, batch_size: int) -> range:
    """Where each batch begins."""
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}: need at least 1")
    return range(0, rows, batch_size)


def _mean(total: float, count: int) -> float:
    """Total over count, NaN of nothing."""
    return total / count if count else math.nan
