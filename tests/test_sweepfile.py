"""Files of searches, and what a request changes in them."""

from __future__ import annotations

import pytest
from complaints import complaint
from searches import SPACE
from studyfiles import writer

from harness.pruning import RULES
from harness.sweepfile import METHODS, Overrides, load


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


def test_the_shipped_space_is_the_one_that_was_asked_for():
    search = load()
    space = {p.key: p for p in search.space.parameters}
    lr, layers = space["optimizer.lr"], space["hidden.layers"]
    assert (lr.low, lr.high, lr.log) == (1e-5, 1e-1, True)
    assert (layers.low, layers.high, layers.whole) == (1, 4, True)
    assert space["batch_size"].values == (32, 64, 128, 256)
    assert space["hidden.units"].values == (64, 128, 256, 512)
    assert set(space["l2"].values) == {0.0, 0.1, 0.01, 0.001}
    assert space["init"].values == ("xavier", "he")
    assert {"relu", "softmax"} <= set(space["activation"].values)
    assert {"sgd", "adam", "rmsprop"} <= set(space["optimizer.name"].values)
    assert search.shared.epochs == 30
    assert search.changes == ()


def test_a_request_wins_over_the_file_and_names_its_folder(write):
    path = write(SPACE)
    search = load(path, Overrides(epochs=5, limit=100, method="bayes", pruning="halving", seed=3, deterministic=True))
    assert (search.shared.epochs, search.shared.data.limit) == (5, 100)
    assert (search.method, search.pruning, search.seed, search.deterministic) == ("bayes", "halving", 3, True)
    name = "fashion-mnist+deterministic,epochs=5,limit=100,method=bayes,pruning=halving,seed=3"
    assert search.folder_name() == name


def test_what_the_file_says_anyway_is_no_change_and_neither_is_the_number_of_trials(write):
    search = load(write(SPACE), Overrides(epochs=2, method="random", seed=0, trials=99, dataset="cifar-10"))
    assert search.folder_name() == "cifar-10"
    assert search.trials == 99


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("trials = 6", "trials = 0"), ["my.toml: trials = 0", "[1, 100000]"]),
        (("trials = 6", "trials = 2.0"), ["trials = 2.0"]),
        (("trials = 6", "trails = 6"), ["unknown key 'trails'", "did you mean 'trials'?"]),
        (('"random"', '"bayse"'), ["unknown method 'bayse'", "did you mean 'bayes'?", "my.toml"]),
        (('"none"', "3"), ["unknown pruning 3", "halving, median, none"]),
        (("epochs = 2", "epochs = 0"), ["my.toml, base", "epochs = 0"]),
        (("epochs = 2", "seed = 2"), ["base: seed = 2", "top of the file"]),
        (("[base]", "[bass]"), ["unknown key 'bass'", "did you mean 'base'?"]),
        (("[space]", "[[space]]"), ["space", "table"]),
        (("[16, 32]", "[16, 32"), ["my.toml: line"]),
        (('"Tiny"', "3"), ["title = 3", "text"]),
    ],
)
def test_a_wrong_file_is_one_line(write, change, parts):
    message = complaint(load, write(SPACE.replace(*change)))
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ({"trials": -3}, ["--trials = -3"]),
        ({"seed": "x"}, ["--seed = 'x'"]),
        ({"seed": 2**32}, ["--seed"]),
        ({"epochs": 0}, ["--epochs", "0"]),
        ({"limit": "many"}, ["--limit", "'many'"]),
        ({"method": "grid"}, ["unknown method 'grid' in --method", "bayes, random"]),
        ({"pruning": "medain"}, ["--pruning", "did you mean 'median'?"]),
        ({"dataset": "mnist"}, ["--dataset", "did you mean 'fashion-mnist'?"]),
    ],
)
def test_a_wrong_request_is_one_line(write, overrides, parts):
    message = complaint(load, write(SPACE), Overrides(**overrides))
    assert [part for part in parts if part not in message] == []


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    assert "did you mean 'sweep'?" in complaint(load, "sweeps")
    assert "no such file" in complaint(load, str(tmp_path / "gone.toml"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pruning", RULES)
def test_every_method_goes_with_every_rule(write, method, pruning):
    search = load(write(SPACE), Overrides(method=method, pruning=pruning))
    assert (search.method, search.pruning) == (method, pruning)
