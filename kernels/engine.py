"""The compiled engine: owns a network's memory and hands it to the compiled epoch.

It has the interface of :class:`kernels.reference.Engine`, the same mathematics in plain NumPy, and gives the same
results within rounding. Shapes: X (N, n_in), y (N,), indices (k,); W (n_in, n_out) and b (n_out,) per layer, in plain
layout on the way in and out, in panels inside.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels import epoch, panels
from kernels.activations import ACTIVATIONS, compile_activation
from kernels.dense import compile_update
from kernels.losses import LOSSES, compile_loss
from kernels.model import EpochResult, Evaluation, Model
from kernels.optimizers import KEEP_GRADIENT, OPTIMIZERS

Weights = Sequence[tuple[np.ndarray, np.ndarray]]

# Rows of one step of an evaluation: enough to reuse a panel of weights often, few enough for the cache.
EVALUATION_ROWS = 256
SLOW_SECONDS = 0.5  # longer than any loading from the cache: it was compiled


class _Units:
    """Compiled callbacks by what names them, so each is compiled or loaded once per process."""

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[Any, ...]] = {}

    def get(self, item: Any, dtype: str, compile_item: Any) -> tuple[Any, ...]:
        key = f"{type(item).__name__} {dtype} {item.key}"
        if key not in self._compiled:
            compiled = compile_item(item, dtype)
            self._compiled[key] = compiled if isinstance(compiled, tuple) else (compiled,)
        return self._compiled[key]


_UNITS = _Units()


@functools.cache
def _keep(dtype: str) -> Any:
    return compile_update(KEEP_GRADIENT.program, dtype)[0]


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
        For a name that is not registered, or weights of other shapes than the model's.
    """

    def __init__(self, model: Model, weights: Weights, dtype: Any, scale: np.ndarray, shift: np.ndarray) -> None:
        self.model = model
        self.dtype = np.dtype(dtype)
        self._scale, self._shift = (np.ascontiguousarray(a, self.dtype) for a in (scale, shift))
        self._optimizer = _lookup("optimizer", model.optimizer, OPTIMIZERS)
        self._activation = _lookup("activation", model.activation, ACTIVATIONS)
        self._loss = _lookup("loss", model.loss, LOSSES)
        unknown = set(model.settings) - set(self._optimizer.settings)
        if unknown:
            raise ValueError(f"{model.optimizer} has no setting {sorted(unknown)}")
        shapes = list(zip(model.sizes[:-1], model.sizes[1:], strict=True))
        if [w.shape for w, _ in weights] != shapes or [b.shape for _, b in weights] != [(n,) for _, n in shapes]:
            raise ValueError(f"weights of shapes {[w.shape for w, _ in weights]} for a network of sizes {model.sizes}")
        if self._scale.shape != (model.sizes[0],) or self._shift.shape != (model.sizes[0],):
            raise ValueError(f"scale and shift must have shape ({model.sizes[0]},)")
        self._steps = 0
        self._allocate_parameters(shapes)
        for (W, b), w_part, b_part in zip(weights, self._w_parts, self._b_parts, strict=True):
            panels.pack(np.asarray(W, self.dtype), self._params[0, w_part])
            self._params[0, b_part][: len(b)] = b
        self._units = self._callbacks()
        self._train, self._evaluate, self._gradients = epoch.make_epoch(self.dtype.name)
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

    def _callbacks(self) -> np.ndarray:
        """Addresses of the compiled activation, loss and optimizer."""
        name = self.dtype.name
        self._functions = (
            *_UNITS.get(self._activation, name, compile_activation),
            *_UNITS.get(self._loss, name, compile_loss),
            *_UNITS.get(self._optimizer, name, lambda optimizer, dtype: compile_update(optimizer.program, dtype)),
            _keep(name),
        )
        return np.array([function.address for function in self._functions], np.int64)

    def _reserve(self, rows: int) -> None:
        """Make room for mini-batches of ``rows`` rows, and describe all memory in the table."""
        if rows <= self._rows:
            return
        self._rows, sizes, dtype = rows, self.model.sizes, self.dtype
        padded = panels.padded_rows(rows)
        strides = [panels.row_stride(n, dtype) for n in sizes]
        new = lambda i: panels.zeros(padded * strides[i], dtype)  # noqa: E731
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

    def _refresh_transposed(self) -> None:
        """Bring the transposed copies in line with the weights."""
        for i, (W, _) in enumerate(self.weights()):
            if i:
                panels.pack(W.T, self._transposed[i])

    @property
    def _row_bytes(self) -> int:
        return self._params.strides[0]

    def _inputs(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Arrays as the compiled code reads them, checked: it does not check again."""
        if X.ndim != 2 or X.shape[1] != self.model.sizes[0] or y.shape != (len(X),):
            raise ValueError(f"X {X.shape}, y {y.shape}: expected (N, {self.model.sizes[0]}) and (N,)")
        indices = np.ascontiguousarray(indices, np.int64)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(X)):
            raise ValueError(f"indices must lie in [0, {len(X)})")
        X = X if X.dtype == np.uint8 else np.asarray(X, self.dtype)
        y = np.asarray(y, np.int64)
        if len(y) and (y.min() < 0 or y.max() >= self.model.sizes[-1]):
            raise ValueError(f"labels must lie in [0, {self.model.sizes[-1]})")
        return _read_only(X), _read_only(y), indices

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
        X, y, order = self._inputs(X, y, order)
        n_steps = -(-len(order) // batch_size)
        if len(lr) != n_steps:
            raise ValueError(f"{len(lr)} learning rates for {n_steps} steps")
        self._reserve(min(batch_size, max(len(order), 1)))
        self._refresh_transposed()
        t = np.arange(self._steps + 1, self._steps + n_steps + 1)
        tables = [self._optimizer.table(lr, t, self.model.settings, self.dtype, biases) for biases in (False, True)]
        total, correct, steps, seen = self._train(
            X, y, order, batch_size, self._scale, self._shift, self._table, self._units, self._labels,
            self._predictions, tables[0].ctypes.data, tables[1].ctypes.data, tables[0].shape[1], float(self.model.l2),
            float(self.model.dropout), np.uint64(dropout_seed), float(self.model.clip_norm or 0.0),
            self._zeros.ctypes.data, self._row_bytes, (self._params.shape[0] - 1) * self._row_bytes,
        )  # fmt: skip
        self._steps += steps
        if not seen:
            return EpochResult(float("nan"), float("nan"), 0, True)
        return EpochResult(total / seen, correct / seen, steps, bool(np.isfinite(total)))

    def evaluate(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> Evaluation:
        """Mean loss (without penalty) and the most likely class of the rows ``indices``; dropout off."""
        X, y, indices = self._inputs(X, y, indices)
        self._reserve(EVALUATION_ROWS)
        predictions = np.zeros(len(indices), np.int64)
        logits = np.zeros((len(indices), self.model.sizes[-1]), self.dtype)
        total = self._evaluate(X, y, indices, EVALUATION_ROWS, self._scale, self._shift, self._table_without_dropout(),
                               self._units, self._labels, predictions, logits)  # fmt: skip
        return Evaluation(total / len(indices) if len(indices) else float("nan"), predictions, logits)

    def gradients(self, X: np.ndarray, y: np.ndarray, indices: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """(dW, db) per layer of the mean loss of one batch plus its L2 term; dropout off, no clipping."""
        X, y, indices = self._inputs(X, y, indices)
        self._reserve(len(indices))
        self._refresh_transposed()
        row = self._params.shape[0] - 1
        self._gradients(X, y, indices, self._scale, self._shift, self._table_without_dropout(), self._units,
                        self._labels, float(self.model.l2), self._zeros.ctypes.data, row * self._row_bytes)  # fmt: skip
        return self._unpacked(row)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Copies of (W, b) per layer in plain layout."""
        return self._unpacked(0)

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


def _read_only(array: np.ndarray) -> np.ndarray:
    """A contiguous read-only view: Numba compiles for each kind of array, and memory maps of data are read-only."""
    view = np.ascontiguousarray(array).view(np.ndarray)[:]
    view.flags.writeable = False
    return view


def compile_all(needs: Sequence[tuple[str, str, str, str]], announce: Callable[[int, int], None]) -> None:
    """Compile the kernels of many runs, or load them from the cache, so that other processes find them there.

    Parameters
    ----------
    needs : sequence of (activation, loss, optimizer, dtype)
        Names, one tuple per kind of run.
    announce : callable
        Called with (done, in all) after each that had to be compiled.
    """
    for done, (activation, loss, optimizer, dtype) in enumerate(needs):
        start = time.perf_counter()
        model = Model((1, 1, 1), activation=activation, loss=loss, optimizer=optimizer)
        one = np.ones(1)
        engine = Engine(model, [(np.ones((1, 1)), one), (np.ones((1, 1)), one)], dtype, one, one)
        X, y, rows = np.zeros((1, 1), np.uint8), np.zeros(1, np.int64), np.zeros(0, np.int64)
        engine.train_epoch(X, y, rows, 1, np.zeros(0))
        engine.evaluate(X, y, rows)
        engine.gradients(X, y, np.zeros(1, np.int64))
        if time.perf_counter() - start > SLOW_SECONDS:
            announce(done + 1, len(needs))


def _lookup(what: str, name: str, registry: dict[str, Any]) -> Any:
    """Registered item, or an error that lists the names."""
    if name not in registry:
        raise ValueError(f"unknown {what} {name!r}; known: {', '.join(sorted(registry))}")
    return registry[name]
