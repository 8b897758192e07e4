"""JAX: a whole epoch in one compiled call, a scan over its mini-batches. Setups and calls as in ``benchmarks.own``.

Data, parameters and moments stay on JAX's side between calls; buffers are donated, so updates happen in place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from benchmarks.problems import PIXEL_SCALE, Layer, Problem

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
LOG_BETA1, LOG_BETA2 = math.log(BETA1), math.log(BETA2)
EVALUATION_ROWS = 500


def _data(problem: Problem) -> tuple[Any, Any]:
    """Pixels in uint8, which a scan reads faster than float32, and labels."""
    import jax.numpy as jnp

    return jnp.asarray(np.ascontiguousarray(problem.images.X)), jnp.asarray(problem.images.y.astype(np.int32))


def _parameters(problem: Problem) -> list[Any]:
    import jax.numpy as jnp

    return [(jnp.array(W), jnp.array(b)) for W, b in problem.weights]


def _logits(parameters: Any, x: Any) -> Any:
    import jax

    *hidden, (W_last, b_last) = parameters
    for W, b in hidden:
        x = jax.nn.relu(x @ W + b)
    return x @ W_last + b_last


def _cross_entropy(logits: Any, labels: Any) -> Any:
    import jax
    import jax.numpy as jnp

    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def _adam(parameters: Any, gradients: Any, m: Any, v: Any, t: Any, lr: float) -> tuple[Any, Any, Any]:
    import jax
    import jax.numpy as jnp

    rate, unbias = lr / -jnp.expm1(t * LOG_BETA1), 1 / -jnp.expm1(t * LOG_BETA2)  # 1 - beta^t, without cancellation
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, gradients)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, gradients)
    new = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v * unbias) + EPS), parameters, m, v)
    return new, m, v


def _batches(rows: np.ndarray, size: int) -> list[Any]:
    """Rows as (steps, size), and a short last mini-batch by itself."""
    import jax.numpy as jnp

    whole = len(rows) // size * size
    parts = [rows[:whole].reshape(-1, size), rows[whole:].reshape(1, -1)]
    return [jnp.asarray(part.astype(np.int32)) for part in parts if part.size]


def train(problem: Problem) -> Any:
    """An epoch in one call."""
    import jax
    import jax.numpy as jnp

    X, y = _data(problem)
    parameters = _parameters(problem)
    zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
    state = [(parameters, *zeros, jnp.float32(0))]
    batches = _batches(problem.order, problem.batch_size)

    def epoch(state, X, y, batches):
        def step(state, rows):
            parameters, m, v, t = state
            x, labels = X[rows].astype(jnp.float32) * PIXEL_SCALE, y[rows]
            loss, gradients = jax.value_and_grad(lambda p: _cross_entropy(_logits(p, x), labels))(parameters)
            return (*_adam(parameters, gradients, m, v, t + 1, problem.lr), t + 1), loss * len(rows)

        total = jnp.float32(0)
        for part in batches:
            state, losses = jax.lax.scan(step, state, part)
            total += losses.sum()
        return state, total

    compiled = jax.jit(epoch, donate_argnums=0)

    def call():
        state[0], total = compiled(state[0], X, y, batches)
        jax.block_until_ready(state[0])
        weights = jax.tree.leaves(state[0][0])
        return lambda: {"loss": float(total) / len(problem.order), "weights": [np.array(w) for w in weights]}

    return call


def evaluate(problem: Problem) -> Any:
    """An evaluation in one call."""
    import jax
    import jax.numpy as jnp

    X, y = _data(problem)
    parameters, batches = _parameters(problem), _batches(problem.rows, EVALUATION_ROWS)

    @jax.jit
    def compiled(parameters, X, y, batches):
        def measure(total, rows):
            logits = _logits(parameters, X[rows].astype(jnp.float32) * PIXEL_SCALE)
            return total + _cross_entropy(logits, y[rows]) * len(rows), logits.argmax(axis=1)

        total, predictions = jnp.float32(0), []
        for part in batches:
            total, found = jax.lax.scan(measure, total, part)
            predictions.append(found.reshape(-1))
        return total, jnp.concatenate(predictions)

    def call():
        total, predictions = jax.block_until_ready(compiled(parameters, X, y, batches))
        return lambda: {"loss": float(total) / len(problem.rows), "predictions": np.array(predictions)}

    return call


def _one(function: Any, names: tuple[str, ...], *arrays: np.ndarray) -> Any:
    """A call of a compiled function without a state."""
    import jax

    compiled, inputs = jax.jit(function), [jax.numpy.array(a) for a in arrays]

    def call():
        results = jax.block_until_ready(compiled(*inputs))
        return lambda: dict(zip(names, (np.array(r) for r in results), strict=True))

    return call


def forward(layer: Layer) -> Any:
    """A = relu(H W + b)."""
    import jax

    return _one(lambda H, W, b: (jax.nn.relu(H @ W + b),), ("A",), layer.H, layer.W, layer.b)


def backward(layer: Layer) -> Any:
    """dX = dZ W^T."""
    return _one(lambda dZ, W: (dZ @ W.T,), ("dX",), layer.G, layer.W)


def cross_entropy(layer: Layer) -> Any:
    """Mean loss and its gradient with respect to the logits."""
    import jax

    both = jax.value_and_grad(_cross_entropy)
    return _one(both, ("loss", "gradient"), layer.logits, layer.labels.astype(np.int32))


def update(layer: Layer) -> Any:
    """dW = H^T dZ, and a step of Adam on W."""
    import jax
    import jax.numpy as jnp

    H, dZ, W = (jnp.array(a) for a in (layer.H, layer.G, layer.W))
    state = [(W, jnp.zeros_like(W), jnp.zeros_like(W), jnp.float32(0))]

    def step(state, H, dZ):
        W, m, v, t = state
        return (*_adam(W, H.T @ dZ, m, v, t + 1, layer.lr), t + 1)

    compiled = jax.jit(step, donate_argnums=0)

    def call():
        state[0] = jax.block_until_ready(compiled(state[0], H, dZ))
        W = state[0][0]
        return lambda: {"W": np.array(W)}

    return call
