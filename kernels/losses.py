"""Loss functions by name: the sum of a mini-batch's losses, and the gradient with respect to the logits.

Shapes: logits (m, n), labels (m,) int64 class numbers, dlogits (m, n). The gradient written is that of each row's own
loss; the division by m happens outside. Smoothing the labels is a correction that runs after a loss, in training only,
so that without it nothing is computed. Adding a loss: write its kernel on arrays (plain loops, compiled by Numba), then
call :func:`register`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from kernels import registry
from kernels.fingerprint import fingerprint
from kernels.jit import OPTIONS, callback, inline
from kernels.memory import matrix, vector
from kernels.softmax import make_jacobian, make_softmax, make_softmax_row

SIGNATURE = "float64(int64, int64, int64, int64, int64, int64)"
SMOOTHING_SIGNATURE = "float64(int64, int64, int64, int64, int64, int64, float64)"


@dataclass(frozen=True)
class Loss:
    """A loss function; one of ``kernel`` and ``make_block`` is given.

    Attributes
    ----------
    name : str
        What settings call it.
    kernel : callable, optional
        ``kernel(logits, labels, dlogits) -> float``: writes the gradient of each row's loss into ``dlogits`` and
        returns the sum of the losses; plain Python that Numba can compile.
    make_block : callable, optional
        ``make_block(dtype)`` gives ``block(logits, labels, dlogits, m, n, stride)`` on addresses, for built-in losses.
    make_smoothing : callable, optional
        ``make_smoothing(dtype)`` gives ``block(logits, labels, dlogits, m, n, stride, share)``: what changes when the
        share of every label is spread over all classes. Returns what the sum of the losses gains, and adds to
        ``dlogits``, in place. A loss without it takes no smoothed labels.
    """

    name: str
    kernel: Callable[..., float] | None = None
    make_block: Callable[[Any], Any] | None = None
    make_smoothing: Callable[[Any], Any] | None = None

    @property
    def key(self) -> str:
        """Names the code: changes whenever it does."""
        smoothing = f" {fingerprint(self.make_smoothing)}" if self.make_smoothing is not None else ""
        return f"{self.name} {fingerprint(self.kernel or self.make_block)}{smoothing}"


LOSSES: dict[str, Loss] = {}


def register(loss: Loss) -> Loss:
    """Make a loss known by its name; both engines and every setting then accept it.

    Raises
    ------
    ValueError
        When another loss has the name.
    """
    return registry.add(LOSSES, "loss", loss)


def compile_loss(loss: Loss, dtype: Any) -> Any:
    """Callback ``(logits, labels, dlogits, m, n, stride)`` that returns the sum of the losses."""
    block = loss.make_block(dtype) if loss.make_block is not None else _block_on_arrays(loss.kernel, dtype)
    return callback(SIGNATURE, f"{dtype} {loss.key}")(block)


def compile_smoothing(loss: Loss, dtype: Any) -> Any:
    """Callback ``(logits, labels, dlogits, m, n, stride, share)`` that returns what the sum of the losses gains."""
    assert loss.make_smoothing is not None
    return callback(SMOOTHING_SIGNATURE, f"smoothing {dtype} {loss.key}")(loss.make_smoothing(dtype))


def _block_on_arrays(kernel: Any, dtype: Any) -> Any:
    """Give a kernel on arrays the interface of a block."""
    compiled = kernel if hasattr(kernel, "py_func") else numba.njit(**OPTIONS)(kernel)
    zero = np.dtype(dtype).type(0)

    def block(logits, labels, dlogits, m, n, stride):
        rows, gradients = matrix(logits, m, stride, zero), matrix(dlogits, m, stride, zero)
        return compiled(rows[:, :n], vector(labels, m, np.int64(0)), gradients[:, :n])

    return block


def _make_cross_entropy(dtype: Any) -> Any:
    """L = log sum_j exp(z_j) - z_y with the row maximum subtracted; dL/dz = softmax(z) - onehot(y)."""
    size, softmax_row = np.dtype(dtype).itemsize, make_softmax_row(dtype)
    zero, one = np.dtype(dtype).type(0), np.dtype(dtype).type(1)

    def block(logits, labels, dlogits, m, n, stride):
        Z, dZ, y = matrix(logits, m, stride, zero), matrix(dlogits, m, stride, zero), vector(labels, m, np.int64(0))
        total, product = 0.0, 1.0
        for i in range(m):
            at = i * stride * size
            top, sum_of_exp = softmax_row(logits + at, dlogits + at, n)
            total += float(top) - float(Z[i, y[i]])
            dZ[i, y[i]] -= one
            # One logarithm of a product serves many rows; every factor lies between 1 and n.
            product *= float(sum_of_exp)
            if product > 1e200:
                total += math.log(product)
                product = 1.0
        return total + math.log(product)

    return block


def _make_cross_entropy_smoothing(dtype: Any) -> Any:
    """L = -sum_j q_j log p_j gains s (z_y - mean z), dL/dz = p - q gains s (onehot(y) - 1/n).

    The smoothed label is q = (1 - s) onehot(y) + s / n (Szegedy et al., 2016, section 7). log p is z but for what the
    row's classes have in common, which goes out, since the q of a row add up to 1 as a label does.
    """
    real, zero = np.dtype(dtype).type, np.dtype(dtype).type(0)

    def block(logits, labels, dlogits, m, n, stride, share):
        Z, dZ, y = matrix(logits, m, stride, zero), matrix(dlogits, m, stride, zero), vector(labels, m, np.int64(0))
        total, of_each, of_label = 0.0, real(share / n), real(share)
        for i in range(m):
            row_sum = 0.0
            for j in range(n):
                row_sum += float(Z[i, j])
                dZ[i, j] -= of_each
            dZ[i, y[i]] += of_label
            total += float(Z[i, y[i]]) - row_sum / n
        return share * total

    return block


def _make_squared_error(on_softmax: bool) -> Callable[[Any], Any]:
    """L = 1/2 sum_j (p_j - onehot(y)_j)^2 with p = softmax(z), or p = z."""

    def make_block(dtype: Any) -> Any:
        softmax, jacobian, zero = make_softmax(dtype), make_jacobian(dtype), np.dtype(dtype).type(0)

        @inline
        def errors(outputs, labels, dlogits, m, n, stride):
            P, dZ, y = (
                matrix(outputs, m, stride, zero),
                matrix(dlogits, m, stride, zero),
                vector(labels, m, np.int64(0)),
            )
            total = 0.0
            for i in range(m):
                for j in range(n):
                    dZ[i, j] = P[i, j] - (1 if j == y[i] else 0)
                    total += 0.5 * float(dZ[i, j]) ** 2
            return total

        def on_logits(logits, labels, dlogits, m, n, stride):
            return errors(logits, labels, dlogits, m, n, stride)

        def on_probabilities(logits, labels, dlogits, m, n, stride):
            softmax(logits, logits, m, n, stride)  # nobody reads the logits after the loss
            total = errors(logits, labels, dlogits, m, n, stride)
            jacobian(dlogits, logits, m, n, stride)
            return total

        return on_probabilities if on_softmax else on_logits

    return make_block


for _loss in (
    Loss("cross_entropy", make_block=_make_cross_entropy, make_smoothing=_make_cross_entropy_smoothing),
    Loss("mse", make_block=_make_squared_error(on_softmax=True)),
    Loss("mse_on_logits", make_block=_make_squared_error(on_softmax=False)),
):
    register(_loss)
