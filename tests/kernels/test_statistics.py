"""Statistics of the compiled engine against its NumPy twin: single arrays, and all layers of a network."""

import math

import numpy as np
import pytest
from engines import make_data, make_engines

from kernels.activations import ACTIVATIONS
from kernels.model import histogram_edges
from kernels.reference import dead_share
from kernels.reference import describe as twin
from kernels.statistics import describe

SIZES = [(37, 10), (37, 1), (37, 70, 10), (1, 65, 3), (37, 70, 33, 5), (37, 19, 7, 131, 3, 10)]


def compiled(values, padding=0):
    """Statistics of a matrix that lies in a wider one, whose other columns must not matter."""
    m, n = values.shape
    wide = np.full((m, n + padding), 12345.0, values.dtype)
    wide[:, :n] = values
    return describe(wide.ctypes.data, n + padding, m, n, values.dtype)


def assert_alike(got, want, rel=1e-12):
    for name in ("mean", "variance", "largest", "norm"):
        tolerance = rel * (want.norm if math.isfinite(want.norm) else 1)
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=rel, abs=tolerance, nan_ok=True), name
    assert got.histogram.dtype == want.histogram.dtype == np.int64
    np.testing.assert_array_equal(got.histogram, want.histogram)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "padding"), [((1, 1), 0), ((1, 7), 9), ((203, 131), 0), ((17, 64), 16), ((97, 1), 3)]
)
def test_an_array_has_the_twins_statistics(dtype, shape, padding):
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(shape) * 10.0 ** rng.uniform(-14, 5, shape)).astype(dtype)
    values[:, rng.random(shape[1]) < 0.3] = 0
    got, dead = compiled(values, padding)
    assert_alike(got, twin(values))
    assert dead == dead_share(values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_at_the_edges_of_bins_fall_where_the_twins_do(dtype):
    edges = histogram_edges().astype(dtype)
    values = np.concatenate([edges, np.nextafter(edges, dtype(0)), np.nextafter(edges, dtype(np.inf) * edges)])
    assert len(np.unique(values)) == 3 * len(edges)
    assert_alike(compiled(values[None])[0], twin(values))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("special", [math.nan, -math.nan, math.inf, -math.inf, 5e-324, -0.0, 1e-40], ids=str)
@pytest.mark.filterwarnings("error")
def test_special_numbers_are_counted_and_shown_as_the_twin_does(dtype, special):
    values = np.random.default_rng(1).standard_normal((13, 5)).astype(dtype)
    values[3, 2] = values[12, 4] = special
    got, dead = compiled(values, 3)
    assert_alike(got, twin(values))
    assert got.histogram.sum() == values.size - 2 * math.isnan(special)
    assert dead == 0


def test_moments_of_large_numbers_that_hardly_differ_are_right():
    values = (1000 + np.random.default_rng(2).standard_normal((50, 40)) / 100).astype(np.float32)
    got, _ = compiled(values)
    assert got.variance == pytest.approx(np.var(values.astype(np.float64)), rel=1e-12)


def test_minus_zero_and_zero_are_dead_and_nan_is_not():
    values = np.zeros((6, 4))
    values[2, 0], values[5, 1], values[1, 3] = -0.0, np.nan, 5e-324
    assert compiled(values)[1] == dead_share(values) == 0.5


# ---------------------------------------------------------------------------------------------------- whole networks


def assert_layers_alike(got, want, dtype):
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert (one.activation is None) == (other.activation is None)
        assert one.dead_share == other.dead_share
        for part in ("weight", "gradient", "activation"):
            a, b = getattr(one, part), getattr(other, part)
            if a is None:
                continue
            if dtype == np.float64 or part == "weight":
                assert_alike(a, b, 1e-9)
            else:  # a number near an edge may round to its other side
                assert a.norm == pytest.approx(b.norm, rel=1e-4)
                assert a.histogram.sum() == b.histogram.sum()
                assert np.abs(np.cumsum(a.histogram - b.histogram)).max() <= 2 + a.histogram.sum() // 100


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_layers_of_any_shape_have_the_twins_statistics(sizes, dtype):
    X, y = make_data(sizes[0], sizes[-1])
    rows = np.arange(101)
    pair = make_engines(sizes, dtype, l2=0.1, dropout=0.5)
    got, want = (engine.inspect(X, y, rows) for engine in pair)
    assert_layers_alike(got, want, dtype)
    assert [layer.activation is None for layer in got] == [*[False] * (len(sizes) - 2), True]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_activation_has_the_twins_statistics(activation, dtype):
    X, y = make_data(37, 5)
    got, want = (
        engine.inspect(X, y, np.arange(61)) for engine in make_engines((37, 70, 33, 5), dtype, activation=activation)
    )
    assert_layers_alike(got, want, dtype)


@pytest.mark.parametrize("engine", [0, 1], ids=["compiled", "twin"])
def test_statistics_are_those_of_the_weights_and_gradients_that_the_engine_gives(engine):
    X, y = make_data(37, 5)
    chosen = make_engines((37, 19, 5), np.float32, l2=0.3)[engine]
    layers = chosen.inspect(X, y, np.arange(50))
    for layer, (W, _), (dW, _) in zip(layers, chosen.weights(), chosen.gradients(X, y, np.arange(50)), strict=True):
        assert_alike(layer.weight, twin(W))
        assert_alike(layer.gradient, twin(dW))


@pytest.mark.parametrize("engine", [0, 1], ids=["compiled", "twin"])
def test_inspecting_changes_nothing_of_the_training(engine):
    X, y = make_data(37, 5)
    results = []
    for look in (False, True):
        chosen = make_engines((37, 19, 5), optimizer="adam", dropout=0.3)[engine]
        for epoch in range(2):
            loss = chosen.train_epoch(X, y, np.arange(len(X)), 32, np.full(7, 0.01), epoch).loss
            if look:
                chosen.inspect(X, y, np.arange(100))
        results.append((loss, chosen.weights()))
    assert results[0][0] == results[1][0]
    assert all(
        np.array_equal(a, b)
        for p, q in zip(results[0][1], results[1][1], strict=True)
        for a, b in zip(p, q, strict=True)
    )


@pytest.mark.parametrize("engine", [0, 1], ids=["compiled", "twin"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_a_diverged_network_can_be_inspected(engine, dtype):
    X, y = make_data(37, 5)
    chosen = make_engines((37, 19, 5), dtype, optimizer="sgd")[engine]
    lr = np.finfo(dtype).max / 10
    for _ in range(3):
        chosen.train_epoch(X, y, np.arange(len(X)), 32, np.full(7, lr))
    hidden, last = chosen.inspect(X, y, np.arange(100))
    assert not math.isfinite(last.gradient.norm)
    assert hidden.weight.histogram.sum() <= 37 * 19
    assert 0 <= hidden.dead_share <= 1
