"""What is timed: networks with their data, single layers, and how many floating-point operations each must do.

Everything is made here once, from fixed seeds, so that all implementations start from equal numbers. Shapes: X (N, d)
uint8, y (N,) int64, order (n,) rows of X; W (n_in, n_out), b (n_out,); m rows in a mini-batch. Arithmetic is float32.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness import sources
from harness.data import DATASETS, find, make_split
from harness.formats import locate
from harness.network import initial_weights

QUICK = bool(os.environ.get("ABLATION_BENCH_QUICK"))  # a look at whether everything works: times mean nothing
PIXEL_SCALE = np.float32(1 / 255)
LEARNING_RATES = {"sgd": 0.05, "momentum": 0.01, "nesterov": 0.01}  # all others 0.001
FASHION_MNIST, CIFAR_SHAPE = "fashion-mnist", "cifar-10 shape"


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels, labels, and which rows serve for training and evaluation."""

    source: str
    X: np.ndarray
    y: np.ndarray
    train: np.ndarray
    val: np.ndarray

    @functools.cached_property
    def floats(self) -> np.ndarray:
        """Pixels / 255 in float32 (N, d): what peers may read, since most of them want it so."""
        return np.multiply(self.X, PIXEL_SCALE, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Problem:
    """A network to be trained on some rows in mini-batches, and evaluated on others."""

    name: str
    images: Images
    sizes: tuple[int, ...]
    batch_size: int
    order: np.ndarray
    rows: np.ndarray
    model: dict[str, Any]

    @property
    def steps(self) -> int:
        return -(-len(self.order) // self.batch_size)

    @property
    def lr(self) -> float:
        return LEARNING_RATES.get(self.model["optimizer"], 0.001)

    @functools.cached_property
    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """He weights and zero biases, (W, b) per layer; whoever changes them copies them."""
        return initial_weights(self.sizes, "he", 0, np.float32)

    def said(self, trains: bool) -> str:
        """The data of a whole epoch, or of an evaluation."""
        rows, how = (self.order, f", batch {self.batch_size}") if trains else (self.rows, "")
        return f"{len(rows):,} images of {self.images.source}{how}"

    def first(self, steps: int) -> Problem:
        """The same problem, cut to the first mini-batches of its epoch."""
        return replace(self, order=self.order[: steps * self.batch_size])

    @property
    def n_weights(self) -> int:
        return sum(n_in * n_out for n_in, n_out in zip(self.sizes[:-1], self.sizes[1:], strict=True))

    @property
    def training_flops(self) -> int:
        """Three products per weight and row, but the gradient of the input, which nobody needs."""
        return len(self.order) * (6 * self.n_weights - 2 * self.sizes[0] * self.sizes[1])

    @property
    def evaluation_flops(self) -> int:
        return len(self.rows) * 2 * self.n_weights


@dataclass(frozen=True, eq=False)
class Layer:
    """What goes into a layer (H), its parameters, what comes back (G = dL/dZ); and logits with labels."""

    H: np.ndarray
    W: np.ndarray
    b: np.ndarray
    G: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    lr: float = 0.001

    @property
    def product_flops(self) -> int:
        return 2 * len(self.H) * self.W.size


# Name: sizes, rows in a mini-batch, data.
NETWORKS: dict[str, tuple[tuple[int, ...], int, str]] = {
    "784-128-10": ((784, 128, 10), 64, FASHION_MNIST),
    "784-64-10": ((784, 64, 10), 32, FASHION_MNIST),
    "784-512-512-512-10": ((784, 512, 512, 512, 10), 128, FASHION_MNIST),
    "3072-512-256-10": ((3072, 512, 256, 10), 128, CIFAR_SHAPE),
}
LAYERS = {"784 x 128, batch 64": (64, 784, 128), "512 x 512, batch 128": (128, 512, 512)}


@functools.lru_cache(maxsize=1)  # the larger one takes 1 GB with its floats
def images(name: str) -> Images:
    """Fashion-MNIST; or CIFAR-10 where the named data folder holds it, else Fashion-MNIST tiled to its size."""
    source, tiled = FASHION_MNIST, False
    if name == CIFAR_SHAPE:
        folder = sources.named_folder(None)
        found = folder is not None and locate(DATASETS["cifar-10"], folder) is not None
        source, tiled = ("cifar-10", False) if found else (FASHION_MNIST, True)
    dataset = find(source)
    split = make_split(dataset)
    X = np.array(dataset.X)  # in memory for all: peers hold theirs there, and a mapped file is 1% slower
    if tiled:
        X = np.ascontiguousarray(np.tile(X, 4)[:, :3072])
    said = "Fashion-MNIST" if source == FASHION_MNIST else "CIFAR-10"
    return Images(said + " tiled to 3072" * tiled, X, dataset.y.astype(np.int64), split.train, split.val)


@functools.cache
def order(name: str) -> np.ndarray:
    """The order in which all implementations see the training images, in every epoch."""
    return np.random.default_rng(0).permutation(images(name).train)


def problem(network: str, **model: Any) -> Problem:
    """A network of the table with its data, trained by Adam unless the model says otherwise."""
    sizes, batch_size, name = NETWORKS[network]
    data = images(name)
    return Problem(network, data, sizes, batch_size, order(name), data.val, {"optimizer": "adam", **model})


def small_problem(**model: Any) -> Problem:
    """A problem of milliseconds, of odd sizes and with a short last mini-batch."""
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 256, (120, 37), dtype=np.uint8), rng.integers(0, 10, 120)
    data = Images("random", X, y, np.arange(90), np.arange(90, 120))
    model = {"optimizer": "adam", **model}
    return Problem("small", data, (37, 23, 19, 10), 16, rng.permutation(90), data.val, model)


def layer(m: int, n_in: int, n_out: int) -> Layer:
    """A layer's numbers, of the size that they have in training."""
    rng = np.random.default_rng(2)
    H = np.maximum(rng.standard_normal((m, n_in)), 0)
    W = rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in)
    G = rng.standard_normal((m, n_out)) / m
    arrays = (H, W, rng.standard_normal(n_out), G, rng.standard_normal((m, 10)))
    return Layer(*(a.astype(np.float32) for a in arrays), rng.integers(0, 10, m))
