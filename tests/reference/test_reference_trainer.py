"""The engine: an epoch is what its parts do in turn; dtypes, counters, stopping, evaluation, errors."""

import itertools
import math

import numpy as np
import pytest

from kernels.reference import (
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    Dropout,
    Engine,
    Layer,
    Model,
    clip_by_global_norm,
    get_activation,
    get_loss,
    get_optimizer,
    mask_key,
    one_hot,
    predict,
)
from kernels.reference import trainer as trainer_module

SIZES = (7, 5, 3)
ROWS = 23


def draw_data(rng, rows=ROWS, dtype=np.uint8):
    return rng.integers(0, 256, (rows, SIZES[0])).astype(dtype), rng.integers(0, SIZES[-1], rows)


def draw_weights(rng, sizes=SIZES):
    return [(rng.normal(size=(i, o)), rng.normal(size=o)) for i, o in itertools.pairwise(sizes)]


def make_engine(rng, dtype=np.float64, weights=None, scale=1 / 255, shift=-0.5, **model):
    model = Model(sizes=SIZES, **model)
    weights = draw_weights(rng) if weights is None else weights
    return Engine(model, weights, dtype, np.full(SIZES[0], scale), np.full(SIZES[0], shift))


def rates(steps, lr=0.1):
    return np.full(steps, lr)


def test_an_epoch_is_what_its_parts_do_in_turn(rng):
    X, y = draw_data(rng)
    order, lr = rng.permutation(ROWS)[:20], np.array([0.1, 0.2, 0.3])
    engine = make_engine(
        rng, optimizer="adamw", settings={"beta1": 0.8}, l2=0.7, dropout=0.3, clip_norm=0.5, activation="gelu"
    )
    hidden, last = (
        Layer(W, b, get_activation(name)) for (W, b), name in zip(engine.weights(), ("gelu", "identity"), strict=True)
    )
    loss, optimizer, dropout = get_loss("cross_entropy"), get_optimizer("adamw", {"beta1": 0.8}), Dropout(0.3)
    total, correct, norms = 0.0, 0, []
    for step, rows in enumerate((order[:8], order[8:16], order[16:])):
        targets = one_hot(y[rows], 3)
        logits = last.forward(dropout.forward(hidden.forward(X[rows] / 255 - 0.5), mask_key(41, step, 0)))
        total += loss.total(logits, targets)
        correct += np.sum(predict(logits) == y[rows])
        hidden.backward(dropout.backward(last.backward(loss.gradient(logits, targets))))
        for layer in (hidden, last):
            layer.dW += 0.7 / len(rows) * layer.W
        gradients = [hidden.dW, hidden.db, last.dW, last.db]
        norms.append(clip_by_global_norm(gradients, 0.5))
        optimizer.step([hidden.W, hidden.b, last.W, last.b], gradients, lr[step])

    result = engine.train_epoch(X, y, order, 8, lr, dropout_seed=41)
    assert max(norms) > 0.5
    assert (result.steps, result.finite) == (3, True)
    assert result.loss == pytest.approx(total / 20, rel=1e-12)
    assert result.accuracy == correct / 20
    for (W, b), layer in zip(engine.weights(), (hidden, last), strict=True):
        np.testing.assert_allclose(W, layer.W, rtol=1e-10)
        np.testing.assert_allclose(b, layer.b, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("activation", "loss", "optimizer"),
    [
        *((name, "cross_entropy", "sgd") for name in ACTIVATIONS),
        *(("relu", name, "sgd") for name in LOSSES),
        *(("relu", "cross_entropy", name) for name in OPTIMIZERS),
    ],
)
def test_every_array_of_an_epoch_has_the_working_dtype(activation, loss, optimizer, dtype, rng):
    X, y = draw_data(rng, dtype=np.float64)
    engine = make_engine(
        rng, dtype, activation=activation, loss=loss, optimizer=optimizer, l2=0.1, dropout=0.2, clip_norm=1e-3
    )
    assert engine.train_epoch(X, y, np.arange(ROWS), 8, rates(3)).finite
    seen = [a for layer in engine.network.layers for a in (layer.X, layer.Z, layer.A, layer.dZ)]
    seen += (
        engine.network.weights() + engine.network.gradients() + [a for slots in engine.optimizer.state for a in slots]
    )
    assert {a.dtype for a in seen} == {np.dtype(dtype)}


def test_float32_follows_float64(rng):
    X, y = draw_data(rng)
    weights = draw_weights(rng)
    single, double = (
        make_engine(rng, dtype, weights, optimizer="momentum", dropout=0.2) for dtype in (np.float32, np.float64)
    )
    for engine in (single, double):
        engine.train_epoch(X, y, np.arange(ROWS), 4, rates(6))
    for a, b in zip(single.network.weights(), double.network.weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_training_lowers_the_loss_of_the_rows_it_sees(rng):
    X, y = draw_data(rng)
    engine = make_engine(rng, optimizer="adam", activation="tanh")
    before = engine.evaluate(X, y, np.arange(ROWS)).loss
    for _ in range(60):
        result = engine.train_epoch(X, y, np.arange(ROWS), 5, rates(5, 0.03))
    after = engine.evaluate(X, y, np.arange(ROWS))
    assert after.loss < 0.5 * before
    assert result.accuracy > 0.8
    assert np.mean(after.predictions == y) > 0.8


def test_step_counter_of_adam_runs_on_over_epochs(rng):
    X, y = draw_data(rng)
    weights = draw_weights(rng)
    once, twice = (make_engine(rng, weights=weights, optimizer="adam") for _ in range(2))
    order = rng.permutation(20)
    once.train_epoch(X, y, order, 5, rates(4))
    twice.train_epoch(X, y, order[:10], 5, rates(2))
    twice.train_epoch(X, y, order[10:], 5, rates(2))
    for a, b in zip(once.network.weights(), twice.network.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_epochs_with_one_dropout_seed_are_alike_and_with_another_differ(rng):
    X, y = draw_data(rng)
    weights = draw_weights(rng)

    def train(seed):
        engine = make_engine(rng, weights=weights, dropout=0.5)
        return engine.train_epoch(X, y, np.arange(ROWS), 8, rates(3), dropout_seed=seed).loss

    assert train(1) == train(1) != train(2)


def test_penalty_uses_the_rows_of_a_short_last_batch(rng):
    X, y = draw_data(rng)
    with_l2, without = (make_engine(np.random.default_rng(1), l2=l2) for l2 in (0.6, 0.0))
    (W, _), *_ = with_l2.weights()
    difference = with_l2.gradients(X, y, np.arange(3))[0][0] - without.gradients(X, y, np.arange(3))[0][0]
    np.testing.assert_allclose(difference, 0.6 / 3 * W, rtol=1e-9, atol=1e-12)
    loss = with_l2.train_epoch(X, y, np.arange(3), 8, rates(1)).loss
    assert loss == without.evaluate(X, y, np.arange(3)).loss  # the penalty is not in it


def test_training_smooths_the_labels_and_an_evaluation_takes_them_as_they_are(rng):
    X, y = draw_data(rng)
    rows, weights = np.arange(5), draw_weights(rng)
    plain, smoothing = (make_engine(rng, weights=weights, label_smoothing=share) for share in (0.0, 0.3))
    evaluation = smoothing.evaluate(X, y, rows)
    assert evaluation.loss == plain.evaluate(X, y, rows).loss
    targets = 0.7 * one_hot(y[rows], 3) + 0.1
    expected = get_loss("cross_entropy").total(evaluation.logits, targets) / 5
    np.testing.assert_allclose(
        smoothing.gradients(X, y, rows)[-1][1],
        get_loss("cross_entropy").gradient(evaluation.logits, targets).sum(axis=0),
        rtol=1e-12,
    )
    assert smoothing.train_epoch(X, y, rows, 5, rates(1)).loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", ["mse", "mse_on_logits"])
def test_a_loss_that_takes_no_smoothed_labels_says_so(loss, rng):
    with pytest.raises(ValueError, match=f"label_smoothing 0.1: the loss '{loss}' takes none"):
        make_engine(rng, loss=loss, label_smoothing=0.1)


def test_gradients_know_no_dropout_and_no_clipping_and_change_nothing(rng):
    X, y = draw_data(rng)
    weights = draw_weights(rng)
    plain = make_engine(rng, weights=weights)
    other = make_engine(rng, weights=weights, dropout=0.5, clip_norm=1e-3)
    rows = np.array([4, 4, 0, 22])
    for (dW, db), (same_dW, same_db) in zip(plain.gradients(X, y, rows), other.gradients(X, y, rows), strict=True):
        np.testing.assert_array_equal(dW, same_dW)
        np.testing.assert_array_equal(db, same_db)
    for (W, b), (same_W, same_b) in zip(weights, other.weights(), strict=True):
        np.testing.assert_array_equal(W, same_W)
        np.testing.assert_array_equal(b, same_b)


def test_weights_are_copies_on_the_way_in_and_out(rng):
    X, y = draw_data(rng)
    weights = draw_weights(rng)
    kept = [W.copy() for W, _ in weights]
    engine = make_engine(rng, weights=weights)
    engine.weights()[0][0][...] = 0
    engine.train_epoch(X, y, np.arange(ROWS), 8, rates(3))
    np.testing.assert_array_equal(weights[0][0], kept[0])
    assert np.abs(engine.weights()[0][0]).min() > 0


def test_diverged_epoch_stops_before_the_update_without_a_warning(rng):
    X, y = draw_data(rng)
    engine = make_engine(rng, np.float32)
    result = engine.train_epoch(X, y, np.arange(ROWS), 8, np.array([1e38, 1.0, 1.0]))
    assert (result.steps, result.finite) == (1, False)
    assert not math.isfinite(result.loss)
    assert (16 * result.accuracy).is_integer()  # a share of the two mini-batches seen
    assert result.accuracy > 0
    again = engine.weights()
    assert engine.train_epoch(X, y, np.arange(ROWS), 8, rates(3)).steps == 0
    for (W, b), (same_W, same_b) in zip(again, engine.weights(), strict=True):
        np.testing.assert_array_equal(W, same_W)
        np.testing.assert_array_equal(b, same_b)
    assert not math.isfinite(engine.evaluate(X, y, np.arange(ROWS)).loss)


def test_evaluation_in_chunks_is_the_evaluation_of_all_rows(rng, monkeypatch):
    X, y = draw_data(rng)
    engine = make_engine(rng, dropout=0.5)
    indices = rng.integers(0, ROWS, 31)
    whole = engine.evaluate(X, y, indices)
    monkeypatch.setattr(trainer_module, "CHUNK_ROWS", 7)
    parts = engine.evaluate(X, y, indices)
    logits = engine.network.forward(X[indices] / 255 - 0.5)
    assert whole.loss == pytest.approx(get_loss("cross_entropy").total(logits, one_hot(y[indices], 3)) / 31, rel=1e-13)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-13)
    np.testing.assert_array_equal(whole.predictions, logits.argmax(axis=1))
    np.testing.assert_array_equal(parts.predictions, whole.predictions)
    assert whole.predictions.dtype == np.int64


def test_no_rows_give_nan_and_no_steps(rng):
    X, y = draw_data(rng)
    engine, none = make_engine(rng), np.array([], np.int64)
    result, evaluation = engine.train_epoch(X, y, none, 8, rates(0)), engine.evaluate(X, y, none)
    assert (result.steps, result.finite) == (0, True)
    assert math.isnan(result.loss)
    assert math.isnan(result.accuracy)
    assert math.isnan(evaluation.loss)
    assert evaluation.predictions.shape == (0,)


@pytest.mark.parametrize(
    ("batch_size", "lr", "message"),
    [(0, rates(3), "batch size 0: need at least 1"), (8, rates(2), "2 learning rates for 3 steps")],
)
def test_an_epoch_that_cannot_run_says_why(batch_size, lr, message, rng):
    X, y = draw_data(rng)
    with pytest.raises(ValueError, match=message):
        make_engine(rng).train_epoch(X, y, np.arange(ROWS), batch_size, lr)


def test_an_engine_that_cannot_be_built_says_why(rng):
    with pytest.raises(ValueError, match="dtype int64: need float32 or float64"):
        make_engine(rng, np.int64)
    with pytest.raises(ValueError, match=r"weights of shapes .* do not fit sizes \(7, 5, 3\)"):
        make_engine(rng, weights=draw_weights(rng, (7, 3)))
