"""One run: what is recorded, what repeats to the last bit, where both engines agree, and how a run diverges."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from harness.config import RunConfig, nest
from harness.data import make_split
from harness.measure import SUREST_ERRORS
from harness.metrics import confusion_matrix, macro
from harness.result import Progress
from harness.settings import merge
from harness.trainer import input_scaling, make_engine, train

OF_THE_MACHINE = {"train_seconds", "eval_seconds", "compile_seconds", "seconds_per_epoch"}
OF_THE_MACHINE |= {"peak_memory_bytes", "resumed"}


def configure(**settings) -> RunConfig:
    usual = {"hidden": [7], "epochs": 3, "engine": "numpy", "batch_size": 32, "optimizer": {"lr": 0.01}}
    return RunConfig.from_settings(merge(usual, nest(settings, "a test")), "a test")


@pytest.fixture
def run(small, split):
    """Train on the small data set with some settings."""
    return lambda **settings: train(configure(**settings), small, split)


def without_times(record):
    return {key: value for key, value in record.items() if key not in OF_THE_MACHINE}


def same_bits(a, b) -> bool:
    parts = [[*arrays_of(result.last), *arrays_of(result.best), *vars(result.statistics).values()] for result in (a, b)]
    arrays = all(np.array_equal(x, y, equal_nan=True) for x, y in zip(*parts, strict=True))
    # repr: NaN equals nothing, not even itself
    pairs = ((a.history, b.history), ([a.totals], [b.totals]), ([a.last.metrics], [b.last.metrics]))
    return arrays and all(
        repr(list(map(without_times, x))) == repr(list(map(without_times, y)))
        for x, y in (*pairs, ([a.best.metrics], [b.best.metrics]))
    )


def arrays_of(measured):
    weights = [part for pair in measured.weights for part in pair]
    return [*weights, measured.confusion, measured.val_confusion, measured.surest_errors]


# ------------------------------------------------------------------------------------------------------ what is told


def test_a_run_learns_and_tells_every_epoch_as_it_ends(small, split):
    told = []
    result = train(configure(epochs=5), small, split, lambda record: told.append(dict(record)))
    assert result.status == "done"
    assert result.reason == ""
    assert told == result.history
    assert [record["epoch"] for record in told] == [1, 2, 3, 4, 5]
    assert told[-1]["train_loss"] < told[0]["train_loss"]
    assert result.metrics["test_accuracy"] > 0.6
    seconds = [record["train_seconds"] for record in told]
    assert seconds == sorted(seconds)
    assert result.metrics["train_seconds"] == seconds[-1] > 0


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("hidden", [[], [7], [7, 5, 4, 3]], ids=str)
def test_a_record_holds_losses_accuracies_rate_and_numbers_of_every_layer(run, engine, hidden):
    (record,) = run(epochs=1, hidden=hidden, engine=engine).history
    scores = {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    kinds = ("grad_mean", "grad_variance", "grad_max", "grad_norm", "weight_norm")
    layers = {f"{kind}_{layer}" for kind in kinds for layer in range(1, len(hidden) + 2)}
    kinds = ("activation_mean", "activation_variance", "dead_share")
    layers |= {f"{kind}_{layer}" for kind in kinds for layer in range(1, len(hidden) + 1)}
    assert set(record) == {"epoch", "lr", "penalty", "train_seconds"} | scores | layers
    assert all(type(value) in (int, float) and math.isfinite(value) for value in record.values())
    assert all(value >= 0 for key, value in record.items() if "grad_mean" not in key)
    assert 0 <= record["train_accuracy"] <= 1


def test_norms_are_those_of_the_final_weights(run):
    result = run(l2=0.5)
    last, squares = result.history[-1], [np.sum(W**2) for W, _ in result.last.weights]
    assert [last["weight_norm_1"], last["weight_norm_2"]] == pytest.approx(np.sqrt(squares))
    assert last["penalty"] == pytest.approx(0.5 / (2 * 32) * sum(squares))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_layers_are_inspected_as_they_are_after_each_epoch_without_dropout(small, split, run, engine):
    result = run(engine=engine, epochs=2, hidden=[7, 5], activation="tanh", dropout=0.5, precision="float64")
    pixels = small.X[split.train[:1024]] / 255
    (W, b), (V, c), _ = result.last.weights
    A = [np.tanh(pixels @ W + b)]
    A.append(np.tanh(A[0] @ V + c))
    for i, values in enumerate(A):
        assert result.history[-1][f"activation_mean_{i + 1}"] == pytest.approx(values.mean(), rel=1e-9)
        assert result.history[-1][f"activation_variance_{i + 1}"] == pytest.approx(values.var(), rel=1e-9)
    for name, arrays in {"weight": [W for W, _ in result.last.weights], "activation": A}.items():
        counts = getattr(result.statistics, f"{name}_histogram")
        for i, values in enumerate(arrays):
            expected = np.histogram(values, result.statistics.histogram_edges)[0]
            np.testing.assert_array_equal(counts[-1, i], expected)
            assert counts[0, i].sum() == values.size


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_only_the_loss_that_training_reports_is_that_of_smoothed_labels(small, split, run, engine):
    settings = {"engine": engine, "epochs": 1, "precision": "float64", "optimizer.lr": 1e-300, "label_smoothing": 0.3}
    result = run(**settings)  # a rate too small to change a weight
    plain = run(**{**settings, "label_smoothing": 0.0})
    trained = make_engine(configure(**settings), small, split)
    logits = trained.evaluate(small.X, small.y.astype(np.int64), split.train).logits
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = 0.7 * np.eye(3)[small.y[split.train]] + 0.1
    assert result.history[0]["train_loss"] == pytest.approx(-np.mean((targets * log_p).sum(axis=1)))
    assert result.history[0]["train_loss"] != pytest.approx(plain.history[0]["train_loss"], rel=1e-3)
    assert result.history[0]["val_loss"] == plain.history[0]["val_loss"]
    assert [result.metrics[f"{part}_loss"] for part in ("train", "test")] == pytest.approx(
        [plain.metrics[f"{part}_loss"] for part in ("train", "test")]
    )


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_network_that_begins_with_zeros_is_dead_and_stays_so(run, engine):
    result = run(engine=engine, init="zeros", hidden=[7, 5])
    for record in result.history:
        assert record["dead_share_1"] == record["dead_share_2"] == 1
        assert record["activation_mean_1"] == record["grad_norm_1"] == record["grad_max_2"] == 0
    middle = result.statistics.activation_histogram.shape[-1] // 2
    assert (result.statistics.activation_histogram[:, :, middle] > 0).all()


def test_peak_memory_is_that_of_a_process(run):
    assert 10e6 < run(epochs=1).metrics["peak_memory_bytes"] < 100e9


def test_metrics_follow_from_the_confusion_matrix_and_the_history(small, split, run):
    result = run(epochs=4, seed=3)
    metrics, confusion = result.metrics, result.last.confusion
    assert confusion.sum() == len(split.test)
    assert np.array_equal(confusion.sum(axis=1), np.bincount(small.y[split.test], minlength=3))
    assert metrics["test_accuracy"] == np.trace(confusion) / confusion.sum()
    names = ("test_precision_macro", "test_recall_macro", "test_f1_macro")
    assert tuple(metrics[name] for name in names) == macro(confusion)
    accuracies = [record["val_accuracy"] for record in result.history]
    assert metrics["val_accuracy"] == accuracies[-1]
    assert metrics["best_val_accuracy"] == max(accuracies)
    assert metrics["best_val_epoch"] == 1 + accuracies.index(max(accuracies))
    assert metrics["epochs_done"] == 4
    assert metrics["seconds_per_epoch"] == metrics["train_seconds"] / 4


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_matrix_of_the_validation_images_is_that_after_the_last_epoch(small, split, run, engine):
    settings = {"engine": engine, "epochs": 2}
    result = run(**settings)
    trained = make_engine(configure(**settings), small, split)
    assert np.trace(result.last.val_confusion) / len(split.val) == result.history[-1]["val_accuracy"]
    trained = type(trained)(trained.model, result.last.weights, np.float32, *input_scaling(small, split, False))
    predictions = trained.evaluate(small.X, small.y.astype(np.int64), split.val).predictions
    np.testing.assert_array_equal(result.last.val_confusion, confusion_matrix(small.y[split.val], predictions, 3))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_best_epoch_is_the_earliest_with_the_highest_validation_accuracy(small, split, run, engine):
    settings = {"engine": engine, "epochs": 9, "optimizer.lr": 0.05, "dropout": 0.3}
    result = run(**settings)
    accuracies = [record["val_accuracy"] for record in result.history]
    best = result.best
    assert best.epoch == 1 + accuracies.index(max(accuracies)) == result.totals["best_val_epoch"] < 9
    assert result.last.epoch == 9
    shorter = run(**{**settings, "epochs": best.epoch}).last  # with a constant rate, the same run cut short
    assert all(map(np.array_equal, arrays_of(best), arrays_of(shorter)))
    for name in ("test_accuracy", "test_loss", "test_f1_macro", "val_accuracy", "val_loss"):
        assert best.metrics[name] == shorter.metrics[name]
    assert math.isnan(best.metrics["train_accuracy"])
    assert np.trace(best.val_confusion) / len(split.val) == max(accuracies)


def test_where_the_last_epoch_is_the_best_it_is_measured_once(run):
    result = run(epochs=1)
    assert result.best is result.last


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_diverged_run_is_best_before_it_diverged(run, engine):
    result = run(engine=engine, hidden=[], loss="mse_on_logits", epochs=30, optimizer={"name": "sgd", "lr": 0.5})
    assert result.status == "diverged"
    assert result.best.epoch < result.last.epoch == len(result.history)
    assert all(np.isfinite(part).all() for pair in result.best.weights for part in pair)
    for measured in (result.last, result.best):
        assert all(math.isnan(value) for value in measured.metrics.values())


def test_surest_errors_are_wrong_test_images_the_surest_first(small, split, run):
    result = run(epochs=1, **{"optimizer.lr": 1e-4})
    rows, truth, predicted, probability = result.last.surest_errors.T
    wrong = result.last.confusion.sum() - np.trace(result.last.confusion)
    assert len(rows) == min(wrong, SUREST_ERRORS) > 0
    assert set(rows.astype(int)) <= set(split.test)
    assert np.array_equal(truth, small.y[rows.astype(int)])
    assert (truth != predicted).all()
    assert (np.diff(probability) <= 0).all()
    assert probability.max() <= 1
    assert probability.min() >= 1 / 3


# -------------------------------------------------------------------------------------------------------- repetition


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_same_run_gives_the_same_bits(run, engine):
    settings = {"engine": engine, "dropout": 0.2, "seed": 4}
    assert same_bits(run(**settings), run(**settings))


RESUMED = [
    {"dropout": 0.3, "l2": 0.1, "schedule": {"name": "one_cycle"}, "optimizer": {"name": "adam", "lr": 0.02}},
    {"dropout": 0.3, "clip_norm": 0.5, "optimizer": {"name": "adamw", "lr": 0.02}, "precision": "float64"},
    {"hidden": [], "optimizer": {"name": "momentum", "lr": 0.05}},
    {"hidden": [5, 3], "optimizer": {"name": "sgd", "lr": 0.1}, "schedule": {"name": "step", "every": 2}},
]


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("settings", RESUMED, ids=lambda each: each["optimizer"]["name"])
def test_a_run_that_goes_on_from_any_epoch_gives_the_same_bits(small, split, engine, settings):
    config = configure(**settings, engine=engine, epochs=6)
    kept: dict[int, Progress] = {}
    whole = train(config, small, split, on_progress=lambda epoch, take: kept.update({epoch: take()}))
    assert list(kept) == [1, 2, 3, 4, 5]
    assert same_bits(train(config, small, split), whole)
    for epoch, progress in kept.items():
        told: list[dict] = []
        counts: list[dict] = []
        again = train(config, small, split, told.append, counts.append, progress)
        assert same_bits(again, whole), epoch
        assert [without_times(record) for record in told] == [without_times(record) for record in whole.history]
        assert [len(each["weight"][0]) for each in counts] == [len(whole.statistics.histogram_edges) - 1] * 6
        assert counts[0]["gradient"] == whole.statistics.gradient_histogram[0].tolist()


def test_a_run_can_go_on_again_and_again_and_its_times_add_up(small, split):
    config, progress = configure(epochs=6), None
    for pieces in range(3):
        kept: list[Progress] = []
        result = train(config, small, split, None, None, progress, lambda _, take, kept=kept: kept.append(take()))
        seconds = [record["train_seconds"] for record in result.history]
        assert result.totals["resumed"] == pieces
        assert (np.diff(seconds) > 0).all()
        assert seconds[-1] == result.totals["train_seconds"]
        if progress is not None:
            assert [record["train_seconds"] for record in progress.history] == seconds[: len(progress.history)]
            for name in ("eval_seconds", "compile_seconds"):
                assert result.totals[name] > progress.totals[name] > 0
            assert result.totals["peak_memory_bytes"] >= progress.totals["peak_memory_bytes"] > 0
        progress = kept[len(kept) // 2] if kept else None


def test_progress_is_a_copy_that_further_training_leaves_alone(small, split):
    kept: list[Progress] = []
    train(configure(epochs=4), small, split, on_progress=lambda _, take: kept.append(take()))
    first, ended = kept[0], train(configure(epochs=1), small, split).last.weights
    assert len(first.history) == len(first.statistics.weight_histogram) == 1
    for (W, b), (V, c) in zip(first.state.weights, ended, strict=True):
        assert np.array_equal(W, V)
        assert np.array_equal(b, c)


def test_another_seed_gives_other_weights(run):
    assert not same_bits(run(seed=1), run(seed=2))


def test_a_longer_run_begins_like_a_shorter_one(run):
    short, long = run(epochs=2), run(epochs=4)
    assert [without_times(record) for record in long.history[:2]] == [without_times(record) for record in short.history]


def test_variants_see_the_same_batches_and_start_from_the_same_weights(run):
    """With a rate too small to change a weight, what is left of a run is its start and its order."""
    tiny = {"optimizer.lr": 1e-300, "precision": "float64", "epochs": 1}
    runs = [run(**{**tiny, "optimizer.name": name}) for name in ("sgd", "momentum", "rmsprop", "adamw")]
    for other in runs[1:]:
        assert without_times(other.history[0]) == without_times(runs[0].history[0])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("hidden", [[], [7], [5, 3]], ids=str)
def test_both_engines_agree_in_double_precision(run, optimizer, hidden):
    settings = {"precision": "float64", "hidden": hidden, "optimizer": {"name": optimizer, "lr": 0.02}, "l2": 0.1}
    compiled, reference = (run(**settings, engine=engine) for engine in ("numba", "numpy"))
    for (W, b), (V, c) in zip(compiled.last.weights, reference.last.weights, strict=True):
        np.testing.assert_allclose(W, V, rtol=0, atol=1e-9)
        np.testing.assert_allclose(b, c, rtol=0, atol=1e-9)
    for one, other in zip(compiled.history, reference.history, strict=True):
        assert without_times(one) == pytest.approx(without_times(other), rel=1e-9, abs=1e-9)
    assert np.array_equal(compiled.last.confusion, reference.last.confusion)


# ----------------------------------------------------------------------------------------------------------- extremes


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": []},
        {"hidden": [1, 1]},
        {"epochs": 1},
        {"batch_size": 1, "epochs": 1},
        {"batch_size": 10**9},
        {"data.limit": 1},
        {"data.limit": 5, "batch_size": 64},
        {"clip_norm": 1e-3},
    ],
    ids=str,
)
def test_extreme_settings_run_to_the_end(small, engine, settings):
    config = configure(**{"epochs": 2, "optimizer.name": "sgd", "engine": engine, **settings})
    result = train(config, small, make_split(small, limit=config.data.limit))
    assert result.status == "done"
    assert len(result.history) == config.epochs
    assert all(math.isfinite(value) for value in result.metrics.values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_run_whose_loss_overflows_ends_early_as_diverged(run, engine, precision):
    settings = {"optimizer": {"name": "sgd", "lr": 1e300 if precision == "float64" else 1e38}, "l2": 1e30}
    result = run(engine=engine, precision=precision, epochs=30, **settings)
    assert result.status == "diverged"
    assert result.reason == f"the training loss was not finite in epoch {len(result.history)}"
    assert len(result.history) < 30
    assert not math.isfinite(result.history[-1]["train_loss"])
    figures = {key: value for key, value in result.metrics.items() if key not in OF_THE_MACHINE | {"epochs_done"}}
    assert all(math.isnan(value) for value in figures.values())
    assert result.metrics["epochs_done"] == len(result.history)
    assert result.metrics["train_seconds"] > 0
    assert len(result.statistics.weight_histogram) == len(result.history)


# ------------------------------------------------------------------------------------------------------ input scaling


def test_pixels_are_divided_by_255(small, split):
    scale, shift = input_scaling(small, split, standardise=False)
    assert np.array_equal(small.X[0] * scale + shift, small.X[0] * (1 / 255))


def test_standardised_pixels_have_mean_zero_and_variance_one_on_the_training_images(small, split):
    scale, shift = input_scaling(small, split, standardise=True)
    scaled = small.X[split.train] * scale + shift
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.var(axis=0), 1, rtol=1e-12)


def test_a_pixel_that_never_changes_is_left_at_zero(small, split):
    X = small.X.copy()
    X[:, 3] = 200
    scale, shift = input_scaling(dataclasses.replace(small, X=X), split, standardise=True)
    assert scale[3] == shift[3] == 0


def test_standardising_looks_at_training_images_only(small, split):
    X = small.X.copy()
    X[split.test] = 255
    changed = dataclasses.replace(small, X=X)
    for a, b in zip(input_scaling(small, split, True), input_scaling(changed, split, True), strict=True):
        assert np.array_equal(a, b)
