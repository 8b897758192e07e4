"""The compiled engine: owns a network's memory and hands it to the compiled epoch.

It has the interface of :class:`kernels.reference.Engine`, the same mathematics in plain NumPy, and gives the same
results within rounding. Shapes: X (N, n_in), y (N,), indices (k,); W (n_in, n_out) and b (n_out,) per layer, in plain
layout on the way in and out, in panels inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from kernels import epoch, panels, registry, statistics, units
from kernels.activations import ACTIVATIONS
from kernels.losses import LOSSES
from kernels.model import EpochResult, Evaluation, LayerStatistics, Model, State
from kernels.optimizers import OPTIMIZERS

Weights = Sequence[tuple[np.ndarray, np.ndarray]]

# Rows of one step of an evaluation: enough to reuse a panel of weights often, few enough for the cache.
EVALUATION_ROWS = 64


class Engine:
    """A network being trained by compiled code.

    Parameters
    ----------
    model : Model
        What is trained and how.
    weights : sequence of (W, b)
        Initial weights per layer, W (n_in, n_out), b (n_out,).
    dtype : dtype
        float32 or float64: the type of all arithmetic.
    scale, shift : ndarray (n_in,)
        A row of X enters the network as ``x * scale + shift``.

    Raises
    ------
    ValueError
        For a name that is not registered, a loss that takes no smoothed labels where the model smooths them, or weights
        of other shapes than the model's.
    """

    def __init__(self, model: Model, weights: Weights, dtype: Any, scale: np.ndarray, shift: np.ndarray) -> None:
        self.model = model
        self.dtype = np.dtype(dtype)
        self._scale, self._shift = (np.ascontiguousarray(a, self.dtype) for a in (scale, shift))
        self._optimizer = registry.get(OPTIMIZERS, "optimizer", model.optimizer)
        self._activation = registry.get(ACTIVATIONS, "activation", model.activation)
        self._loss = registry.get(LOSSES, "loss", model.loss)
        if model.label_smoothing > 0 and self._loss.make_smoothing is None:
            raise ValueError(f"label_smoothing {model.label_smoothing}: the loss {model.loss!r} takes none")
        unknown = set(model.settings) - set(self._optimizer.settings)
        if unknown:
            raise ValueError(f"{model.optimizer} has no setting {sorted(unknown)}")
        if self._scale.shape != (model.sizes[0],) or self._shift.shape != (model.sizes[0],):
            raise ValueError(f"scale and shift must have shape ({model.sizes[0]},)")
        self._steps = 0
        self._shapes = list(zip(model.sizes[:-1], model.sizes[1:], strict=True))
        self._allocate_parameters(self._shapes)
        self.set_weights(weights)
        self._units = np.zeros(epoch.UNITS, np.int64)
        units.addresses(units.parts(self._activation, self._loss, self._optimizer, self.dtype.name), self._units)
        self._train, self._evaluate, self._gradients = epoch.make_epoch(self.dtype.name)
        self._batch = np.zeros(epoch.ENTRIES, np.int64)
        self._rows = 0

    def _allocate_parameters(self, shapes: list[tuple[int, int]]) -> None:
        """Lay out weights and biases of all layers in one row; a row per slot, and a last one for gradients."""
        self._w_parts, self._b_parts, end = [], [], 0
        for n_in, n_out in shapes:
            for parts, n in (
                (self._w_parts, panels.packed_size(n_in, n_out, self.dtype)),
                (self._b_parts, panels.padded_width(n_out, self.dtype)),
            ):
                parts.append(slice(end, end + n))
                end += panels.round_up(n, panels.ALIGNMENT_BYTES // self.dtype.itemsize)
        rows = 2 + self._optimizer.n_slots
        self._params = panels.zeros(rows * end, self.dtype).reshape(rows, end)
        sizes = [panels.packed_size(n_out, n_in, self.dtype) for n_in, n_out in shapes]
        self._transposed = [panels.zeros(n if i else 0, self.dtype) for i, n in enumerate(sizes)]
        widest = max(panels.row_stride(n, self.dtype) for n in self.model.sizes)
        self._zeros = panels.zeros(widest, self.dtype)

    def _reserve(self, rows: int) -> None:
        """Make room for mini-batches of ``rows`` rows, and describe all memory in the table."""
        if rows <= self._rows:
            return
        self._rows, sizes, dtype = rows, self.model.sizes, self.dtype
        padded = panels.padded_rows(rows)
        strides = [panels.row_stride(n, dtype) for n in sizes]

        def new(i: int) -> np.ndarray:
            return panels.zeros(padded * strides[i], dtype)

        n_layers = len(sizes) - 1
        H = [new(0)]
        buffers: list[np.ndarray] = []
        self._table = np.zeros((n_layers, epoch.COLUMNS), np.int64)
        for i, t in enumerate(self._table):
            hidden = i < n_layers - 1
            Z = new(i + 1)
            A = new(i + 1) if hidden and self._activation.needs_z else Z
            D = new(i + 1) if hidden and self.model.dropout > 0 else A
            G = new(i + 1)
            buffers += [Z, A, D, G]
            w, b = self._params[:, self._w_parts[i]], self._params[:, self._b_parts[i]]
            t[:] = (
                sizes[i], sizes[i + 1], w[0].ctypes.data, b[0].ctypes.data, self._transposed[i].ctypes.data,
                H[i].ctypes.data, strides[i], Z.ctypes.data, A.ctypes.data, D.ctypes.data, strides[i + 1],
                G.ctypes.data, w[-1].ctypes.data, b[-1].ctypes.data, w.shape[1], b.shape[1],
            )  # fmt: skip
            H.append(D)
        self._buffers = [*H, *buffers]
        self._labels = np.zeros(rows, np.int64)
        self._predictions = np.zeros(rows, np.int64)

    def _describe(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray, rows: int) -> tuple[np.ndarray, ...]:
        """Make ready for mini-batches of ``rows`` rows of X; returns arrays that must stay alive during the call.

        The compiled code gets addresses and checks nothing, so all is checked here.
        """
        if X.ndim != 2 or X.shape[1] != self.model.sizes[0] or y.shape != (len(X),):
            raise ValueError(f"X {X.shape}, y {y.shape}: expected (N, {self.model.sizes[0]}) and (N,)")
        if X.dtype.kind not in "buif" or y.dtype.kind not in "bui" or indices.dtype.kind not in "bui":
            raise ValueError(f"X {X.dtype}, y {y.dtype}, indices {indices.dtype}: expected numbers and whole numbers")
        indices = np.ascontiguousarray(indices, np.int64)
        if indices.ndim != 1 or not _below(indices, len(X)):
            raise ValueError(f"indices {indices.shape} must be one row in [0, {len(X)})")
        X = np.ascontiguousarray(X if X.dtype == np.uint8 else np.asarray(X, self.dtype))
        y = np.ascontiguousarray(y, np.int64)
        if not _below(y, self.model.sizes[-1]):
            raise ValueError(f"labels must lie in [0, {self.model.sizes[-1]})")
        self._reserve(rows)
        units.addresses([units.gather_part(self.dtype.name, X.dtype.name)], self._units)
        row_bytes = self._params.strides[0]
        self._batch[:] = (
            X.ctypes.data, y.ctypes.data, indices.ctypes.data, len(indices), self._scale.ctypes.data,
            self._shift.ctypes.data, self._labels.ctypes.data, self._predictions.ctypes.data, self._zeros.ctypes.data,
            row_bytes, (len(self._params) - 1) * row_bytes,
        )  # fmt: skip
        return X, y, indices

    def train_epoch(
        self, X: np.ndarray, y: np.ndarray, order: np.ndarray, batch_size: int, lr: np.ndarray, dropout_seed: int = 0
    ) -> EpochResult:
        """Train on the rows ``order`` of X in mini-batches, in that order; the last one may be short.

        Parameters
        ----------
        X, y : ndarray
            Data: (N, n_in) uint8 or float, and (N,) class numbers.
        order : ndarray of int64
            Rows to train on.
        batch_size : int
            Rows per mini-batch.
        lr : ndarray (steps,)
            Learning rate of each step.
        dropout_seed : int
            Seed of this epoch's dropout masks.

        Returns
        -------
        EpochResult
            Running mean loss and accuracy; ``finite`` is false when a loss was not finite, where the epoch stopped.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size}: must be at least 1")
        n_steps = -(-len(order) // batch_size)
        if len(lr) != n_steps:
            raise ValueError(f"{len(lr)} learning rates for {n_steps} steps")
        alive = self._describe(X, y, order, min(batch_size, max(len(order), 1)))
        t = np.arange(self._steps + 1, self._steps + n_steps + 1)
        tables = self._optimizer.tables(lr, t, self.model.settings, self.dtype)
        total, correct, steps, seen = self._train(
            self._batch, self._table, self._units, batch_size, tables[0].ctypes.data, tables[1].ctypes.data,
            tables[0].shape[1], float(self.model.l2), float(self.model.label_smoothing), float(self.model.dropout),
            np.uint64(dropout_seed), float(self.model.clip_norm or 0.0),
        )  # fmt: skip
        del alive
        self._steps += steps
        if not seen:
            return EpochResult(float("nan"), float("nan"), 0, True)
        return EpochResult(total / seen, correct / seen, steps, bool(np.isfinite(total)))

    def evaluate(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> Evaluation:
        """Mean loss (no penalty, labels as they are) and likeliest class of the rows ``indices``; dropout off."""
        alive = self._describe(X, y, indices, EVALUATION_ROWS)
        predictions = np.zeros(len(indices), np.int64)
        logits = np.zeros((len(indices), self.model.sizes[-1]), self.dtype)
        total = self._evaluate(self._batch, self._table_without_dropout(), self._units, EVALUATION_ROWS,
                               predictions.ctypes.data, logits.ctypes.data)  # fmt: skip
        del alive
        return Evaluation(total / len(indices) if len(indices) else float("nan"), predictions, logits)

    def gradients(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(dW, db) per layer of what training minimises on one batch: mean loss, smoothed labels, L2; no dropout."""
        if len(indices) == 0:
            raise ValueError("gradients need at least one row")
        alive = self._describe(X, y, indices, len(indices))
        self._gradients(self._batch, self._table_without_dropout(), self._units, float(self.model.l2),
                        float(self.model.label_smoothing))  # fmt: skip
        del alive
        return self._unpacked(len(self._params) - 1)

    def inspect(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> list[LayerStatistics]:
        """Statistics of weights, gradients and activations of every layer on one batch; dropout off, no clipping."""
        gradients, layers = self.gradients(X, y, indices), []
        for (W, _), (dW, _), t in zip(self.weights(), gradients, self._table, strict=True):
            (n_in, n_out), activation, dead_share = W.shape, None, None
            weight, gradient = (statistics.describe(a.ctypes.data, n_out, n_in, n_out, self.dtype)[0] for a in (W, dW))
            if len(layers) < len(self._table) - 1:
                place = int(t[epoch.A]), int(t[epoch.STRIDE])
                activation, dead_share = statistics.describe(*place, len(indices), n_out, self.dtype)
            layers.append(LayerStatistics(weight, gradient, activation, dead_share))
        return layers

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Copies of (W, b) per layer in plain layout."""
        return self._unpacked(0)

    def set_weights(self, weights: Weights) -> None:
        """In place: put W and b into every layer; steps and the optimizer's memory stay as they are.

        Raises
        ------
        ValueError
            For weights of other shapes than the model's.
        """
        self._pack(0, weights)
        for (W, _), transposed in zip(weights[1:], self._transposed[1:], strict=True):
            panels.pack(np.asarray(W, self.dtype).T, transposed)

    def state(self) -> State:
        """A copy of all that training changes."""
        return State(self._steps, self.weights(), [self._unpacked(1 + i) for i in range(self._optimizer.n_slots)])

    def restore(self, state: State) -> None:
        """In place: go back, or forward, to a state of an engine of the same model.

        Raises
        ------
        ValueError
            For a state of another model.
        """
        if len(state.slots) != self._optimizer.n_slots:
            raise ValueError(
                f"{len(state.slots)} slots for {self.model.optimizer}, which has {self._optimizer.n_slots}"
            )
        self.set_weights(state.weights)
        for i, slot in enumerate(state.slots):
            self._pack(1 + i, slot)
        self._steps = state.steps

    def _pack(self, row: int, weights: Weights) -> None:
        """Put what belongs to W and b of every layer into a row of the parameters."""
        shapes = [w.shape for w, _ in weights]
        if shapes != self._shapes or [b.shape for _, b in weights] != [(n,) for _, n in self._shapes]:
            raise ValueError(f"weights of shapes {shapes} for a network of sizes {self.model.sizes}")
        for (W, b), w_part, b_part in zip(weights, self._w_parts, self._b_parts, strict=True):
            panels.pack(np.asarray(W, self.dtype), self._params[row, w_part])
            self._params[row, b_part][: len(b)] = b

    def _unpacked(self, row: int) -> list[tuple[np.ndarray, np.ndarray]]:
        sizes = self.model.sizes
        return [
            (panels.unpack(self._params[row, w], n_in, n_out), self._params[row, b][:n_out].copy())
            for w, b, n_in, n_out in zip(self._w_parts, self._b_parts, sizes[:-1], sizes[1:], strict=True)
        ]

    def _table_without_dropout(self) -> np.ndarray:
        """The table with every layer reading the activations themselves."""
        table = self._table.copy()
        table[1:, epoch.H] = table[:-1, epoch.A]
        return table


def _below(values: np.ndarray, end: int) -> bool:
    """Whether all int64 values lie in [0, end): read as unsigned, a negative one is huge, so one pass tells."""
    return len(values) == 0 or bool(values.view(np.uint64).max() < end)


def kernel_parts(activation: str, loss: str, optimizer: str, dtype: str) -> dict[units.Key, Callable[[], Any]]:
    """What a kind of run on images is made of: by its key, a function that compiles a part or loads it from the cache.

    Kinds share parts. A part is compiled into this process once, and into the cache, where other processes find it;
    the parts that take longest come first.
    """
    train, evaluate, gradients = epoch.make_epoch(dtype)
    row, table = np.zeros(1, np.int64), np.zeros((1, 1), np.int64)
    found: dict[units.Key, Callable[[], Any]] = {
        ("train", dtype): _compiler(train, row, table, row, 1, 1, 1, 1, 1.0, 1.0, 1.0, np.uint64(1), 1.0),
        ("evaluate", dtype): _compiler(evaluate, row, table, row, 1, 1, 1),
        ("gradients", dtype): _compiler(gradients, row, table, row, 1.0, 1.0),
    }
    chosen = (
        registry.get(ACTIVATIONS, "activation", activation),
        registry.get(LOSSES, "loss", loss),
        registry.get(OPTIMIZERS, "optimizer", optimizer),
    )
    for key, _, compile_part in [*units.parts(*chosen, dtype), units.gather_part(dtype, "uint8")]:
        found[key] = functools.partial(units.once, key, compile_part)
    found["statistics", dtype] = functools.partial(statistics.compile_statistics, dtype)
    return found


def _compiler(kernel: Any, *arguments: Any) -> Callable[[], Any]:
    """What compiles a kernel for arguments like these."""
    return lambda: kernel.compile(tuple(map(numba.typeof, arguments)))
