"""The compiled engine against its twin, finite differences and the edges of its input."""

import numpy as np
import pytest
from engines import four_point_gradient, largest_error, make_data, make_engines, make_weights

from kernels import units
from kernels.activations import ACTIVATIONS
from kernels.engine import Engine, kernel_parts
from kernels.epoch import make_epoch
from kernels.losses import LOSSES, Loss
from kernels.model import Model
from kernels.optimizers import OPTIMIZERS

# Widths of 1, primes, just under and over a panel; depths 0 to 4; batches of 1, primes and larger than the data.
SHAPES = [
    ((37, 7), 10),
    ((37, 128, 1), 1),
    ((37, 19, 7), 13),
    ((1, 65, 3), 64),
    ((37, 70, 33, 5), 203),
    ((37, 1, 17, 131, 3), 31),
    ((64, 64, 63, 64, 66, 10), 999),
]
ONE_CALL = {np.float64: 1e-12, np.float32: 1e-5}


def run(engine, sizes, batch_size, epochs=1, lr=0.01):
    X, y = make_data(sizes[0], sizes[-1])
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(X))
        result = engine.train_epoch(
            X, y, order, batch_size, np.full(-(-len(X) // batch_size), lr), dropout_seed=epoch + 5
        )
    return result


@pytest.mark.parametrize(("sizes", "batch_size"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_batch_gives_the_twins_gradients_and_logits(sizes, batch_size, dtype):
    X, y = make_data(sizes[0], sizes[-1])
    rows = np.arange(min(batch_size, len(X)))
    compiled, twin = make_engines(sizes, dtype, l2=0.1)
    assert largest_error(compiled.gradients(X, y, rows), twin.gradients(X, y, rows)) < ONE_CALL[dtype]
    got, want = compiled.evaluate(X, y, rows), twin.evaluate(X, y, rows)
    assert largest_error(got.logits, want.logits) < ONE_CALL[dtype]
    assert got.loss == pytest.approx(want.loss, rel=ONE_CALL[dtype], abs=ONE_CALL[dtype])
    np.testing.assert_array_equal(got.predictions, want.predictions)


@pytest.mark.parametrize("engine", [0, 1], ids=["compiled", "twin"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("sizes", [(37, 7), (37, 19, 7), (37, 70, 33, 5)])
def test_an_engine_that_restores_a_state_goes_on_to_the_same_bits(engine, optimizer, sizes):
    given = {"optimizer": optimizer, "dropout": 0.3, "l2": 0.1, "activation": "tanh"}
    first, second, other = (make_engines(sizes, np.float32, **given)[engine] for _ in range(3))
    fresh = first.state()
    run(first, sizes, 13, epochs=2)
    state, weights = first.state(), first.weights()
    assert state.steps == 2 * 16
    assert len(state.slots) == OPTIMIZERS[optimizer].n_slots
    run(second, sizes, 31)  # something else
    second.restore(state)
    for each in (first, second):
        run(each, sizes, 13)
    assert same_bits(first.state(), second.state())
    assert all(np.array_equal(W, V) for (W, _), (V, _) in zip(state.weights, weights, strict=True))  # a copy
    first.restore(fresh)
    for each in (first, other):
        run(each, sizes, 13)
    assert same_bits(first.state(), other.state())


def same_bits(*states) -> bool:
    flat = [
        [state.steps, *(part for layers in (state.weights, *state.slots) for layer in layers for part in layer)]
        for state in states
    ]
    return all(np.array_equal(a, b) for a, b in zip(*flat, strict=True))


@pytest.mark.parametrize("engine", [0, 1], ids=["compiled", "twin"])
def test_weights_that_are_put_in_are_those_that_are_evaluated(engine):
    sizes = (37, 70, 33, 5)
    X, y = make_data(sizes[0], sizes[-1])
    trained, other = (make_engines(sizes, np.float32)[engine] for _ in range(2))
    run(trained, sizes, 13)
    other.set_weights(trained.weights())
    got, want = (each.evaluate(X, y, np.arange(len(X))) for each in (other, trained))
    np.testing.assert_array_equal(got.logits, want.logits)
    assert got.loss == want.loss


@pytest.mark.parametrize("engine", [0, 1], ids=["compiled", "twin"])
@pytest.mark.parametrize(
    ("sizes", "optimizer"), [((37, 18, 7), "momentum"), ((37, 7), "momentum"), ((37, 19, 7), "adam")]
)
def test_the_state_of_another_network_is_refused(engine, sizes, optimizer):
    mine = make_engines((37, 19, 7), optimizer="momentum")[engine]
    before = mine.state()
    with pytest.raises(ValueError, match=r"shape|slots|argument"):
        mine.restore(make_engines(sizes, optimizer=optimizer)[engine].state())
    assert same_bits(before, mine.state())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_activation_and_loss_gives_the_twins_gradients(activation, loss, dtype):
    sizes = (37, 70, 33, 5)
    X, y = make_data(sizes[0], sizes[-1])
    compiled, twin = make_engines(sizes, dtype, activation=activation, loss=loss)
    rows = np.arange(61)
    assert largest_error(compiled.gradients(X, y, rows), twin.gradients(X, y, rows)) < ONE_CALL[dtype]
    assert compiled.evaluate(X, y, rows).loss == pytest.approx(twin.evaluate(X, y, rows).loss, rel=ONE_CALL[dtype])


@pytest.mark.parametrize(("sizes", "batch_size"), SHAPES)
def test_training_any_shape_and_batch_size_follows_the_twin(sizes, batch_size):
    compiled, twin = make_engines(sizes, optimizer="momentum", l2=0.01)
    results = [run(engine, sizes, batch_size, epochs=2) for engine in (compiled, twin)]
    assert largest_error(compiled.weights(), twin.weights()) < 1e-10
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-10, abs=1e-12)
    assert (results[0].accuracy, results[0].steps) == (results[1].accuracy, results[1].steps)


@pytest.mark.parametrize("settings", [
    *({"optimizer": name} for name in OPTIMIZERS),
    {"optimizer": "momentum", "settings": {"mu": 0.5}},
    {"optimizer": "rmsprop", "settings": {"rho": 0.5, "eps": 1e-3}},
    {"optimizer": "adamw", "settings": {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.3}},
    {"l2": 0.1},
    {"label_smoothing": 0.1},
    {"dropout": 0.3, "activation": "tanh"},
    {"dropout": 0.5, "activation": "gelu", "l2": 0.01},
    {"clip_norm": 0.1},
    {"clip_norm": 1e9, "optimizer": "nesterov"},
    {"clip_norm": 0.1, "l2": 0.1, "optimizer": "adamw", "dropout": 0.2},
    {"clip_norm": 0.1, "l2": 0.1, "optimizer": "rmsprop", "dropout": 0.2, "label_smoothing": 0.4},
], ids=str)  # fmt: skip
def test_every_optimizer_and_regulariser_follows_the_twin(settings):
    sizes = (37, 70, 33, 5)
    compiled, twin = make_engines(sizes, **settings)
    for engine in (compiled, twin):
        run(engine, sizes, 64, epochs=2)
    assert largest_error(compiled.weights(), twin.weights()) < 1e-9


def test_clipping_that_never_bites_changes_nothing_beyond_rounding():
    sizes, weights = (37, 70, 5), []
    for clip_norm in (None, 1e9):
        engine, _ = make_engines(sizes, clip_norm=clip_norm, optimizer="adam", l2=0.01)
        run(engine, sizes, 64)
        weights.append(engine.weights())
    assert largest_error(*weights) < 1e-12


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_float64_gradients_agree_with_finite_differences(activation, loss, l2, depth):
    sizes = (5, *(7, 3, 6, 5)[:depth], 3)
    rng = np.random.default_rng(depth)
    X, y = rng.standard_normal((9, 5)), rng.integers(0, 3, 9)
    rows = np.arange(9)
    model, one, zero = Model(sizes, activation=activation, loss=loss, l2=l2), np.ones(5), np.zeros(5)
    weights = next(w for w in (make_weights(sizes, seed) for seed in range(100)) if far_from_kinks(X, w, activation))

    def objective():
        penalty = l2 / (2 * len(rows)) * sum(float(np.sum(W**2)) for W, _ in weights)
        return Engine(model, weights, np.float64, one, zero).evaluate(X, y, rows).loss + penalty

    analytic = Engine(model, weights, np.float64, one, zero).gradients(X, y, rows)
    for pair, gradients in zip(weights, analytic, strict=True):
        for array, gradient in zip(pair, gradients, strict=True):
            numeric = four_point_gradient(objective, array)
            size = np.linalg.norm(gradient) + np.linalg.norm(numeric)
            assert size > 1e-8, "a vanishing gradient checks nothing"
            assert np.linalg.norm(gradient - numeric) / size <= 1e-7


@pytest.mark.parametrize(("sizes", "batch_size"), [shape for shape in SHAPES if shape[0][-1] > 1])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("share", [1e-3, 0.1, 0.9])
def test_smoothed_labels_give_the_twins_gradients_and_loss(sizes, batch_size, dtype, share):
    X, y = make_data(sizes[0], sizes[-1])
    rows = np.arange(min(batch_size, len(X)))
    pair = make_engines(sizes, dtype, label_smoothing=share)
    assert largest_error(*(engine.gradients(X, y, rows) for engine in pair)) < ONE_CALL[dtype]
    got, want = (engine.train_epoch(X, y, rows, batch_size, np.array([0.01])).loss for engine in pair)
    assert got == pytest.approx(want, rel=ONE_CALL[dtype], abs=ONE_CALL[dtype])


@pytest.mark.parametrize("sizes", [(5, 2), (5, 7, 3), (5, 4, 6, 13)])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_float64_gradients_of_smoothed_labels_agree_with_finite_differences(sizes, share):
    rng = np.random.default_rng(3)
    X, y, rows = rng.standard_normal((9, 5)), rng.integers(0, sizes[-1], 9), np.arange(9)
    model, weights = Model(sizes, activation="tanh", label_smoothing=share), make_weights(sizes)
    targets = (1 - share) * np.eye(sizes[-1])[y] + share / sizes[-1]

    def engine():
        return Engine(model, weights, np.float64, np.ones(5), np.zeros(5))

    def objective():
        logits = engine().evaluate(X, y, rows).logits
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - (targets * logits).sum(axis=1)))

    for pair, gradients in zip(weights, engine().gradients(X, y, rows), strict=True):
        for array, gradient in zip(pair, gradients, strict=True):
            numeric = four_point_gradient(objective, array)
            assert np.linalg.norm(gradient - numeric) / np.linalg.norm(gradient) <= 1e-7
    assert engine().train_epoch(X, y, rows, 9, np.array([0.1])).loss == pytest.approx(objective(), rel=1e-12)


def test_an_evaluation_takes_labels_as_they_are():
    sizes = (37, 19, 7)
    X, y = make_data(sizes[0], sizes[-1])
    losses = [make_engines(sizes, label_smoothing=s)[0].evaluate(X, y, np.arange(203)).loss for s in (0.0, 0.5)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("loss", ["mse", "mse_on_logits", "own"])
def test_a_loss_that_takes_no_smoothed_labels_says_so(loss, monkeypatch):
    monkeypatch.setitem(LOSSES, "own", Loss("own", kernel=lambda logits, labels, dlogits: 0.0))
    with pytest.raises(ValueError, match=f"label_smoothing 0.1: the loss '{loss}' takes none"):
        make_engines((3, 2), loss=loss, label_smoothing=0.1)


def far_from_kinks(X, weights, activation, distance=2e-3):
    """Whether no pre-activation of a kinked activation lies where a finite difference would cross its kink."""
    if activation not in ("relu", "leaky_relu"):
        return True
    slope, A, alive = (0.01 if activation == "leaky_relu" else 0.0), X, True
    for W, b in weights[:-1]:
        Z = A @ W + b
        if np.abs(Z).min() < distance:
            return False
        alive &= bool((Z > 0).any())
        A = np.where(Z > 0, Z, slope * Z)
    return alive


def test_padding_stays_zero_through_training_for_every_activation():
    for activation in ACTIVATIONS:
        engine, _ = make_engines(
            (37, 70, 33, 5), activation=activation, optimizer="adam", dropout=0.2, label_smoothing=0.1
        )
        run(engine, (37, 70, 33, 5), 13)
        total = sum(np.abs(W).sum() + np.abs(b).sum() for W, b in engine.weights())
        np.testing.assert_allclose(np.abs(engine._params[0]).sum(), total, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_loss_that_is_not_finite_ends_the_epoch_before_the_update(bad, activation):
    sizes = (37, 19, 7)
    X, y = make_data(sizes[0], sizes[-1])
    X = X.astype(np.float64)
    X[64] = bad
    engine, twin = make_engines(sizes, activation=activation)
    results = [e.train_epoch(X, y, np.arange(203), 32, np.full(7, 0.01)) for e in (engine, twin)]
    if np.isnan(bad):
        assert not results[0].finite
        assert results[0].steps == 2
    assert (results[0].finite, results[0].steps) == (results[1].finite, results[1].steps)


def test_predictions_prefer_the_first_of_equals_and_never_nan():
    weights = [(np.zeros((1, 4)), np.array([np.nan, 1.0, 1.0, 0.0]))]
    X, y, rows = np.zeros((3, 1), np.uint8), np.zeros(3, np.int64), np.arange(3)
    for b, expected in (
        ([np.nan, 1, 1, 0], 1),
        ([2, np.nan, 2, 1], 0),
        ([np.nan, -np.inf, np.nan, np.nan], 1),
        ([np.nan] * 4, 0),
    ):
        engine = Engine(Model((1, 4)), [(weights[0][0], np.array(b))], np.float64, np.ones(1), np.zeros(1))
        assert (engine.evaluate(X, y, rows).predictions == expected).all()


def test_the_same_calls_give_the_same_bits_whatever_was_trained_before():
    def weights_of(batch_sizes):
        engine, _ = make_engines((37, 70, 33, 5), np.float32, optimizer="adam", dropout=0.3)
        for batch_size in batch_sizes:
            engine.evaluate(*make_data(37, 5), np.arange(203))
            run(engine, (37, 70, 33, 5), batch_size)
        return b"".join(W.tobytes() + b.tobytes() for W, b in engine.weights())

    first = weights_of([13, 64])
    weights_of([203])
    assert weights_of([13, 64]) == first


def test_input_may_be_read_only_memory_mapped_strided_or_of_other_types(tmp_path):
    sizes = (37, 19, 7)
    X, y = make_data(sizes[0], sizes[-1])
    np.save(tmp_path / "X.npy", X)
    wide = np.zeros((203, 74), np.uint8)
    wide[:, ::2] = X
    expected, _ = make_engines(sizes)
    run_on(expected, X, y)
    for variant, labels in (
        (np.load(tmp_path / "X.npy", mmap_mode="r"), y.astype(np.uint8)),
        (wide[:, ::2], y.astype(np.int32)),
        (np.asfortranarray(X), y[::-1][::-1]),
        (X.astype(np.float32), y),
        (X.astype(np.int64), y),
    ):
        engine, _ = make_engines(sizes)
        run_on(engine, variant, labels)
        assert largest_error(engine.weights(), expected.weights()) == 0


def run_on(engine, X, y):
    return engine.train_epoch(X, y, np.arange(203), 20, np.full(11, 0.01))


@pytest.mark.parametrize("change", [
    {"X": np.zeros((203, 36), np.uint8)}, {"X": np.zeros(37, np.uint8)}, {"y": np.zeros(5, np.int64)},
    {"y": np.full(203, 7)}, {"y": np.full(203, -1)}, {"order": np.array([203])}, {"order": np.array([-1])},
    {"batch_size": 0}, {"lr": np.zeros(3)},
], ids=lambda change: "-".join(change))  # fmt: skip
def test_input_that_does_not_fit_is_an_error_not_a_crash(change):
    X, y = make_data(37, 7)
    given = {"X": X, "y": y, "order": np.arange(203), "batch_size": 64, "lr": np.zeros(4), **change}
    engine, _ = make_engines((37, 19, 7))
    with pytest.raises(ValueError, match=r"\S"):
        engine.train_epoch(**given)


def test_nothing_to_train_or_evaluate_on_is_no_result():
    engine, _ = make_engines((37, 19, 7))
    X, y = make_data(37, 7)
    before, none = engine.weights(), np.zeros(0, np.int64)
    result, evaluation = engine.train_epoch(X, y, none, 64, np.zeros(0)), engine.evaluate(X, y, none)
    assert (result.steps, result.finite) == (0, True)
    assert np.isnan([result.loss, result.accuracy, evaluation.loss]).all()
    assert largest_error(engine.weights(), before) == 0


@pytest.mark.parametrize(
    "model", [{"activation": "rely"}, {"loss": "mae"}, {"optimizer": "adan"}, {"settings": {"mu": 0.9}}]
)
def test_unknown_names_are_errors(model):
    with pytest.raises(ValueError, match=r"unknown|has no setting"):
        make_engines((3, 2), **model)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_after_its_parts_a_run_has_nothing_left_to_compile(dtype, monkeypatch):
    monkeypatch.setattr(units, "_compiled", {})
    parts = kernel_parts("tanh", "mse", "adam", dtype)
    for compile_part in parts.values():
        compile_part()
    ready = dict(units._compiled)
    sizes = (5, 4, 3)
    X, y = make_data(sizes[0], sizes[-1])
    engine = make_engines(sizes, dtype, activation="tanh", loss="mse", optimizer="adam", dropout=0.5)[0]
    run(engine, sizes, 32)
    engine.evaluate(X, y, np.arange(9))
    engine.gradients(X, y, np.arange(9))
    assert units._compiled == ready
    assert [len(kernel.signatures) for kernel in make_epoch(dtype)] == [1, 1, 1]
    elsewhere = ("train", "evaluate", "gradients", "statistics")
    assert parts.keys() == ready.keys() | {(name, dtype) for name in elsewhere}


def test_kinds_of_run_share_all_parts_but_their_own():
    one, other = (kernel_parts(activation, "mse", "adam", "float64").keys() for activation in ("tanh", "relu"))
    assert {key[0] for key in one ^ other} == {"activation"}
    assert len(one ^ other) == 2


@pytest.mark.parametrize("kind", [("rely", "mse", "adam"), ("relu", "msa", "adam"), ("relu", "mse", "adan")])
def test_parts_of_an_unknown_kind_are_refused(kind):
    with pytest.raises(ValueError, match="unknown"):
        kernel_parts(*kind, "float64")
