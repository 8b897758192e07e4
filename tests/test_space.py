"""Search spaces: what is accepted becomes settings, what is not is one line."""

from __future__ import annotations

import textwrap

import optuna
import pytest
from complaints import complaint

from harness.settings import parse_toml
from harness.space import Space, read_space


def read(text: str, base: dict | None = None) -> Space:
    return read_space(parse_toml(textwrap.dedent(text)), base or {}, "my.toml")


def only(text: str):
    (parameter,) = read(text).parameters
    return parameter


def test_dotted_quoted_and_nested_keys_mean_the_same():
    forms = [
        'optimizer.lr = { min = 0.1, max = 1.0 }\noptimizer.name = ["sgd"]',
        '"optimizer.lr" = { min = 0.1, max = 1.0 }\n"optimizer.name" = ["sgd"]',
        '[optimizer]\nname = ["sgd"]\n[optimizer.lr]\nmin = 0.1\nmax = 1.0',
    ]
    spaces = [{p.key: p for p in read(form).parameters} for form in forms]
    assert spaces[0] == spaces[1] == spaces[2]


def test_values_are_those_of_settings():
    assert [type(value) for value in only("l2 = [0, 1]").values] == [float, float]
    assert only("hidden = [7, [8, 9]]").values == ([7], [8, 9])
    assert only('clip_norm = ["none", 1]').values == (None, 1.0)


def test_a_range_is_whole_where_the_setting_is():
    assert only("batch_size = { min = 16, max = 64, log = true }").whole
    lr = only("optimizer.lr = { min = 1, max = 2 }")
    assert (lr.whole, lr.low, lr.high, lr.log) == (False, 1.0, 2.0, False)


def test_units_and_layers_become_widths():
    space = read("hidden.units = [7, 9]\nhidden.layers = { min = 0, max = 3 }")
    assert space.config({"hidden.units": 9, "hidden.layers": 3}).hidden == (9, 9, 9)
    assert space.config({"hidden.units": 9, "hidden.layers": 0}).hidden == ()


def test_chosen_settings_lie_over_those_of_the_base():
    space = read("batch_size = [16, 32]", {"epochs": 3, "optimizer": {"name": "sgd", "lr": 0.5}})
    config = space.config({"batch_size": 32})
    assert (config.epochs, config.optimizer.name, config.optimizer.lr, config.batch_size) == (3, "sgd", 0.5, 32)


def test_corners_hold_every_value_with_every_name():
    space = read('optimizer.name = ["sgd", "adam"]\nbatch_size = [16, 32]\noptimizer.lr = { min = 0.1, max = 1.0 }')
    seen = {(c.optimizer.name, c.batch_size) for c in space.corners()}
    assert seen == {(name, size) for name in ("sgd", "adam") for size in (16, 32)}
    assert {c.optimizer.lr for c in space.corners()} == {0.1, 1.0}


@pytest.mark.parametrize(
    "text",
    ["optimizer.lr = { min = 1e-5, max = 0.1, log = true }", "l2 = { min = 0, max = 1 }", "batch_size = [16, 32]",
     "batch_size = { min = 16, max = 64 }", "hidden = [[3], [4, 5]]", 'clip_norm = ["none", 2.0]',
     "data.standardise = [true, false]"],
)  # fmt: skip
def test_what_optuna_suggests_is_a_run_and_comes_from_the_same_distribution(text):
    space = read(text)
    (parameter,) = space.parameters
    trial = optuna.create_study().ask()
    space.config({parameter.key: parameter.suggest(trial)})
    assert trial.distributions == {parameter.key: parameter.distribution()}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["space", "empty"]),
        ("batch_sizes = [1]", ["unknown setting 'batch_sizes'", "did you mean 'batch_size'?", "my.toml, space"]),
        ("optimizer.rl = [1.0]", ["'optimizer.rl'", "did you mean 'optimizer.lr'?"]),
        ("optimzer.lr = [1.0]", ["'optimzer.lr'"]),
        ("a.b.c = [1]", ["a.b"]),
        ('activation = ["relu", "rellu"]', ["'rellu'", "did you mean 'relu'?", "my.toml, space", "allowed"]),
        ('init = ["xavier", 3]', ["3", "init"]),
        ("batch_size = 64", ["batch_size = 64", "list", "range"]),
        ("batch_size = []", ["batch_size = []", "list"]),
        ("batch_size = {}", ["batch_size = {}", "min is missing"]),
        ("batch_size = [64, 64]", ["batch_size", "64", "twice"]),
        ("l2 = [0, 0.0]", ["l2", "twice"]),
        ("batch_size = [64, -1]", ["batch_size = -1", "[1, 1e9]"]),
        ("batch_size = [true]", ["batch_size = True", "whole number"]),
        ("batch_size = { min = 1 }", ["max is missing"]),
        ("batch_size = { mim = 1, max = 2 }", ["unknown key 'mim'", "did you mean 'min'?"]),
        ("batch_size = { min = 2, max = 2 }", ["min = 2", "below max = 2"]),
        ("batch_size = { min = 1.5, max = 2 }", ["batch_size = 1.5", "whole"]),
        ("batch_size = { min = 1, max = 1e99 }", ["batch_size = 1e+99"]),
        ("optimizer.lr = { min = 0, max = 1 }", ["optimizer.lr = 0", "(0, inf)"]),
        ("optimizer.lr = { min = 1, max = inf }", ["optimizer.lr.max = inf", "finite"]),
        ("optimizer.lr = { min = nan, max = 1 }", ["optimizer.lr.min = nan", "finite"]),
        ("optimizer.lr = { min = true, max = 1 }", ["optimizer.lr.min = True"]),
        ('optimizer.lr = { min = "a", max = 1 }', ["optimizer.lr.min = 'a'"]),
        ("optimizer.lr = { min = 0.1, max = 1, log = 1 }", ["optimizer.lr.log = 1", "true or false"]),
        ("l2 = { min = 0, max = 1, log = true }", ["l2", "above 0"]),
        ("dropout = { min = 0, max = 1 }", ["dropout = 1", "[0, 1)"]),
        ('activation = { min = 1, max = 2 }', ["activation"]),
        ("hidden.units = [64]", ["hidden.units needs hidden.layers"]),
        ("hidden.layers = [1]", ["hidden.layers needs hidden.units"]),
        ("hidden.units = [0]\nhidden.layers = [1]", ["hidden.units = 0", "[1, 65536]"]),
        ("hidden.units = [9]\nhidden.layers = [65]", ["hidden.layers = 65", "[0, 64]"]),
        ("hidden.units = { min = 1.0, max = 3 }\nhidden.layers = [1]", ["hidden.units = 1.0"]),
        ("seed = [0, 1]", ["seed cannot be searched"]),
        ("epochs = [1, 2]", ["epochs cannot be searched", "--epochs"]),
        ("data.limit = [1, 2]", ["data.limit cannot be searched"]),
        ('dataset = ["cifar-10"]', ["dataset cannot be searched"]),
        ("optimizer.mu = [0.9]", ["optimizer.mu", "adam"]),
        ('optimizer.name = ["momentum", "sgd"]\noptimizer.mu = [0.9]', ["optimizer.mu", "sgd"]),
        ('loss = ["cross_entropy", "mse"]\nlabel_smoothing = [0.0, 0.1]', ["label_smoothing = 0.1", "'mse'"]),
        ('optimizer = ["sgd"]', ["optimizer"]),
        ("optimizer.lr = [" + "9" * 400 + "]", ["optimizer.lr"]),
        ("optimizer.lr = { min = 1, max = " + "9" * 400 + " }", ["finite"]),
        ('"" = [1]', ["''"]),
        ('"[bold]" = [1]', ["'[bold]'"]),
    ],
)  # fmt: skip
def test_a_wrong_space_is_one_line_that_says_what_is_wrong(text, parts):
    message = complaint(read, text)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize("text", ["batch_size = [16]", "hidden.units = [1]\nhidden.layers = [1]"])
def test_a_setting_is_either_shared_or_chosen(text):
    assert "[base] too" in complaint(read, text, {"batch_size": 3, "hidden": [5]})
