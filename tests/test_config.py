"""Settings of one run: what is allowed, what errors say, dotted keys, and the canonical text."""

import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from complaints import complaint

from harness.config import DATASET_NAMES, RunConfig, nest, setting_keys
from harness.errors import UserError, nearest, show, unknown
from kernels.activations import ACTIVATIONS
from kernels.initializers import INITIALIZERS
from kernels.losses import LOSSES, Loss
from kernels.optimizers import OPTIMIZERS
from kernels.schedules import SCHEDULES

PLACE = "my.toml, base"
ROOT = Path(__file__).parents[1]


def make(settings=None, **more):
    return RunConfig.from_settings({**(settings or {}), **more}, PLACE)


def test_no_settings_give_the_documented_defaults():
    assert make().flat() == {
        "dataset": "fashion-mnist",
        "data.split": "80/10/10",
        "data.split_seed": 0,
        "data.limit": None,
        "data.standardise": False,
        "hidden": [128],
        "activation": "relu",
        "init": "he",
        "loss": "cross_entropy",
        "label_smoothing": 0.0,
        "batch_size": 64,
        "epochs": 20,
        "l2": 0.0,
        "dropout": 0.0,
        "clip_norm": None,
        "optimizer.name": "adam",
        "optimizer.lr": 0.001,
        "optimizer.beta1": 0.9,
        "optimizer.beta2": 0.999,
        "optimizer.eps": 1e-8,
        "schedule.name": "constant",
        "schedule.warmup_epochs": 0.0,
        "engine": "numba",
        "precision": "float32",
        "seed": 0,
    }


def test_defaults_are_what_checking_them_gives():
    assert make(make().flat()) == RunConfig() == make()


def test_data_sets_are_those_that_the_data_module_knows():
    data = pytest.importorskip("harness.data")
    assert set(data.DATASETS) == set(DATASET_NAMES)


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("activation", ACTIVATIONS),
        ("init", INITIALIZERS),
        ("loss", LOSSES),
        ("optimizer.name", OPTIMIZERS),
        ("schedule.name", SCHEDULES),
    ],
)
def test_every_registered_name_is_allowed(key, registry):
    for name in registry:
        assert make({key: name}).flat()[key] == name


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ({"hidden": 64}, "hidden", [64]),
        ({"hidden": []}, "hidden", []),
        ({"hidden": [1, 65536]}, "hidden", [1, 65536]),
        ({"hidden": {"layers": 3, "units": 8}}, "hidden", [8, 8, 8]),
        ({"hidden.layers": 2}, "hidden", [128, 128]),
        ({"hidden.units": 8}, "hidden", [8]),
        ({"hidden.layers": 0}, "hidden", []),
        ({"l2": 1}, "l2", 1.0),
        ({"l2": -0.0}, "l2", 0.0),
        ({"dropout": 0.5}, "dropout", 0.5),
        ({"label_smoothing": 0.1}, "label_smoothing", 0.1),
        ({"label_smoothing": 0, "loss": "mse"}, "label_smoothing", 0.0),
        ({"clip_norm": 3}, "clip_norm", 3.0),
        ({"clip_norm": "none"}, "clip_norm", None),
        ({"data": {"limit": 1}}, "data.limit", 1),
        ({"data.limit": "none"}, "data.limit", None),
        ({"seed": 2**32 - 1}, "seed", 2**32 - 1),
        ({"optimizer": {"name": "adamw", "weight_decay": 0}}, "optimizer.weight_decay", 0.0),
        ({"optimizer": {"name": "momentum"}}, "optimizer.mu", 0.9),
        ({"schedule": {"name": "cosine"}}, "schedule.final", 0.0),
        ({"schedule": {"name": "step", "every": 2}}, "schedule.every", 2.0),
    ],
)
def test_allowed_values_are_taken_as_they_are_meant(settings, key, value):
    taken = make(settings).flat()[key]
    assert taken == value
    assert type(taken) is type(value)
    assert str(taken) == str(value)  # tells 0.0 from -0.0


@pytest.mark.parametrize("value", [0, 0.0, -1, -1.0, float("inf"), float("nan"), 10**400])
def test_learning_rate_outside_its_interval_is_named_with_place_and_interval(value):
    message = complaint(make, optimizer={"lr": value})
    assert message == f"my.toml, base: optimizer.lr = {show(value)}: must lie in (0, inf)"


@pytest.mark.parametrize(
    ("key", "values", "allowed"),
    [
        ("epochs", [0, -3, 10**400], "must lie in [1, 1e9]"),
        ("epochs", ["10", 64.0, True, None, [], {}], "must be a whole number in [1, 1e9]"),
        ("batch_size", [0], "must lie in [1, 1e9]"),
        ("batch_size", [64.0, "64", False], "must be a whole number in [1, 1e9]"),
        ("l2", [-1e-9, float("nan"), float("inf"), 10**400], "must lie in [0, inf)"),
        ("l2", ["0.1", True, [0.1]], "must be a number in [0, inf)"),
        ("dropout", [1, -0.1, float("nan")], "must lie in [0, 1)"),
        ("label_smoothing", [1, -0.1, float("nan")], "must lie in [0, 1)"),
        ("label_smoothing", ["0.1", True, None], "must be a number in [0, 1)"),
        ("clip_norm", [0, -1.0, float("inf")], "must lie in (0, inf)"),
        ("clip_norm", ["1", True], "must be a number in (0, inf)"),
        ("data.limit", [0, -1], "must lie in [1, 1e9]"),
        ("data.limit", [True, "5", 5.0], "must be a whole number in [1, 1e9]"),
        ("data.split_seed", [-1, 2**32], "must lie in [0, 4294967296)"),
        ("data.standardise", [1, 0, "true", None], "must be true or false"),
        ("hidden", [0, [0], [65537], [64.0], ["64"], [True], [[64]], "64", 1.5, None, {}], "each in [1, 65536]"),
        ("hidden", [{"layers": 65}, {"layers": True}, {"layers": 1.0}], "a table of layers, in [0, 64], and units"),
        ("hidden", [{"units": 0}, {"layers": 0, "units": 0}, {"depth": 3}, {"units": [3]}], "a table of layers"),
        ("seed", [-1, 2**32], "must lie in [0, 4294967296)"),
        ("seed", [0.0, "0", True], "must be a whole number"),
        ("optimizer.beta1", [1, -0.1, float("nan")], "must lie in [0, 1)"),
        ("optimizer.beta1", ["0.9", True, None], "must be a number in [0, 1)"),
        ("optimizer.eps", [0, float("inf")], "must lie in (0, inf)"),
        ("schedule.warmup_epochs", [-1], "must lie in [0, inf)"),
        ("data", [3, "x", [1], None], "must be a table"),
        ("optimizer", [3, "adam", ["adam"], None], "must be a table"),
        ("schedule", [3, "cosine"], "must be a table"),
    ],
)
def test_value_that_is_not_allowed_is_named_with_key_place_and_rule(key, values, allowed):
    for value in values:
        message = complaint(make, nest({key: value}, PLACE))
        assert message.startswith(f"my.toml, base: {key} = {show(value)}: must ")
        assert allowed in message


@pytest.mark.parametrize(
    ("key", "value", "guess", "allowed"),
    [
        ("activation", "rellu", "relu", "gelu, identity, leaky_relu, relu, sigmoid, softmax, tanh"),
        ("activation", "ReLU", "relu", "gelu, "),
        ("init", "hee", "he", "he, random, xavier, zeros"),
        ("loss", "crossentropy", "cross_entropy", "cross_entropy, mse, mse_on_logits"),
        ("dataset", "fashion_mnist", "fashion-mnist", "cifar-10, fashion-mnist"),
        ("data.split", "oficial", "official", "80/10/10, official"),
        ("engine", "numby", "numpy", "numba, numpy"),
        ("precision", "float63", "float64", "float32, float64"),
        ("optimizer.name", "adaw", "adam", "adam, adamw, momentum, nesterov, rmsprop, sgd"),
        ("schedule.name", "cosin", "cosine", "constant, cosine, exponential, one_cycle, step, warmup"),
    ],
)
def test_unknown_name_is_answered_with_the_nearest_and_the_allowed(key, value, guess, allowed):
    message = complaint(make, {key: value})
    what = key.removesuffix(".name")
    assert message.startswith(f"unknown {what} {value!r} in my.toml, base (did you mean '{guess}")
    assert f"; allowed: {allowed}" in message


@pytest.mark.parametrize("key", ["activation", "init", "loss", "dataset", "engine", "optimizer.name", "schedule.name"])
@pytest.mark.parametrize("value", [3, True, None, [], ["relu"], {}, 1.5])
def test_name_that_is_no_text_is_an_error_with_the_allowed(key, value):
    message = complaint(make, {key: value})
    assert message.startswith(f"unknown {key.removesuffix('.name')} {value!r} in my.toml, base; allowed: ")


@pytest.mark.parametrize(
    ("settings", "key", "guess"),
    [
        ({"activatoin": "relu"}, "activatoin", "activation"),
        ({"lr": 0.1}, "lr", "optimizer.lr"),
        ({"data": {"splt": "official"}}, "data.splt", "data.split"),
        ({"Epochs": 3}, "Epochs", "epochs"),
        ({"optimizer": {"lr": {"a": 1}}}, "optimizer.lr.a", None),
        ({"": 1}, "", None),
        ({"a\nb": 1}, "a\nb", None),
    ],
)
def test_unknown_setting_is_answered_with_the_nearest_and_the_allowed(settings, key, guess):
    message = complaint(make, settings)
    assert message.startswith(f"unknown setting {key!r} in my.toml, base")
    assert "; allowed: activation, batch_size, " in message
    assert guess is None or f"(did you mean {guess!r}?)" in message


def test_setting_of_another_optimizer_is_answered_with_those_of_this_one():
    message = complaint(make, optimizer={"name": "sgd", "mu": 0.9})
    assert message == "unknown sgd setting 'optimizer.mu' in my.toml, base; allowed: optimizer.lr, optimizer.name"
    message = complaint(make, optimizer={"beta_1": 0.9})
    assert message.startswith(
        "unknown adam setting 'optimizer.beta_1' in my.toml, base (did you mean 'optimizer.beta1'?)"
    )


@pytest.mark.parametrize("loss", ["mse", "mse_on_logits", "own"])
@pytest.mark.parametrize("reverse", [False, True])
def test_smoothed_labels_are_refused_with_a_loss_that_takes_none(loss, reverse, monkeypatch):
    monkeypatch.setitem(LOSSES, "own", Loss("own", kernel=lambda logits, labels, dlogits: 0.0))
    settings = {"loss": loss, "label_smoothing": 0.1}
    message = complaint(make, dict(reversed(settings.items())) if reverse else settings)
    assert message == (
        f"my.toml, base: label_smoothing = 0.1: must be 0 with the loss '{loss}'; smoothed labels suit: cross_entropy"
    )


def test_place_may_depend_on_the_key():
    settings = {"epochs": 5, "optimizer": {"lr": -1}}
    message = complaint(RunConfig.from_settings, settings, lambda key: f"<{key}>")
    assert message == "<optimizer.lr>: optimizer.lr = -1: must lie in (0, inf)"


def test_huge_and_deep_values_make_a_short_line():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (int("f" * 5000, 16), "x" * 10_000, list(range(10_000)), deep):
        for key in ("epochs", "l2", "hidden", "activation", "optimizer", "optimizer.lr", "data.split", "nonsense"):
            assert len(complaint(make, {key: value})) < 1000
    assert len(complaint(make, {"x" * 10_000: 1})) < 1000
    assert len(complaint(make, {"a." * 5000 + "a": 1})) < 1000


def test_config_never_changes():
    config = make()
    for holder, name in (
        (config, "epochs"),
        (config.optimizer, "lr"),
        (config.optimizer, "beta1"),
        (config.data, "limit"),
    ):
        with pytest.raises(ValueError, match="frozen"):
            setattr(holder, name, 3)
    config.optimizer.settings["beta1"] = 0.5
    assert config.optimizer.settings["beta1"] == 0.9


def test_config_survives_pickle_json_and_tables():
    config = make(
        hidden=[64, 32],
        optimizer={"name": "adamw", "beta2": 0.99},
        schedule={"name": "step"},
        data={"limit": 7},
        seed=3,
    )
    assert pickle.loads(pickle.dumps(config)) == config
    assert make(json.loads(config.canonical())) == config
    assert make(config.flat()) == config
    assert hash(make(config.flat())) == hash(config)
    assert config.optimizer.settings == {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.01}


def test_canonical_text_is_sorted_json_with_floats_in_full():
    text = make(l2=1, optimizer={"lr": 0.1}).canonical()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert '"l2":1.0,' in text
    assert '"eps":1e-08,"lr":0.1,' in text


def test_hash_is_the_same_for_the_same_settings_however_written():
    one = make({"optimizer.lr": 1, "hidden": 128, "l2": 0})
    two = make({"l2": -0.0, "hidden": (128,), "optimizer": {"eps": 1e-8, "lr": 1.0, "name": "adam"}})
    assert one.run_hash() == two.run_hash()
    assert len(one.run_hash()) == 16
    assert set(one.run_hash("data", "code")) <= set("0123456789abcdef")


def test_hash_differs_for_every_setting_and_every_extra():
    changes = [
        {},
        {"dataset": "cifar-10"},
        {"data.split": "official"},
        {"data.split_seed": 1},
        {"data.limit": 10},
        {"data.standardise": True},
        {"hidden": []},
        {"activation": "tanh"},
        {"init": "xavier"},
        {"loss": "mse"},
        {"batch_size": 65},
        {"epochs": 21},
        {"l2": 1e-300},
        {"dropout": 0.1},
        {"label_smoothing": 0.1},
        {"clip_norm": 1.0},
        {"optimizer.name": "sgd"},
        {"optimizer.lr": 0.0010000000000000002},
        {"optimizer.beta1": 0.8},
        {"schedule.name": "warmup"},
        {"engine": "numpy"},
        {"precision": "float64"},
        {"seed": 1},
    ]
    assert {key for change in changes for key in change} >= set(setting_keys())
    extras = [(), ("a",), ("a", "b"), ("b", "a"), ("ab",), ("",)]
    hashes = [make(change).run_hash() for change in changes] + [make().run_hash(*extra) for extra in extras[1:]]
    assert len(set(hashes)) == len(hashes)


def test_cell_key_ignores_the_seed_and_nothing_else():
    assert make(seed=1).cell_key() == make(seed=2).cell_key() == make().with_seed(7).cell_key()
    assert make(l2=0.1).cell_key() != make().cell_key()
    assert make().with_seed(7) == make(seed=7)


def test_hash_is_the_same_in_another_process():
    code = "from harness.config import RunConfig; print(RunConfig().run_hash('x'))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == RunConfig().run_hash("x")


def test_import_brings_in_nothing_slow():
    code = "import sys, harness.study; print([m for m in ('numba', 'pandas', 'joblib', 'scipy') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_dotted_and_nested_keys_are_one():
    dotted = {"optimizer.name": "sgd", "optimizer": {"lr": 0.1}, "epochs": 3, "data.limit": 5}
    assert nest(dotted, PLACE) == {"optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 3, "data": {"limit": 5}}


@pytest.mark.parametrize(
    "table",
    [
        {"optimizer.lr": 1, "optimizer": {"lr": 2}},
        {"optimizer": 3, "optimizer.lr": 1},
        {"optimizer.lr": 1, "optimizer": 3},
    ],
)
def test_key_given_twice_is_an_error(table):
    assert complaint(nest, table, PLACE).startswith("my.toml, base: 'optimizer")
    assert complaint(nest, table, PLACE).endswith("is given twice")


def test_nearest_ignores_case_and_finds_by_the_last_part():
    assert nearest("RELU", ["relu", "gelu"]) == " (did you mean 'relu'?)"
    assert nearest("lr", ["optimizer.lr", "l2"]) == " (did you mean 'optimizer.lr'?)"
    assert nearest("optimizer.mu", ["optimizer.name", "optimizer.lr"]) == ""
    assert nearest("zzz", ["relu"]) == ""


def test_long_list_of_allowed_names_is_cut():
    message = str(unknown("variant", "v1000000", (f"v{i}" for i in range(10_000))))
    assert message.endswith("... (10000 in all)")
    assert len(message) < 1000


def junk(rng: random.Random, depth: int = 0) -> object:
    """Any value that TOML can give."""
    leaves = [0, 1, -1, 64, 2**40, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), True, False]
    leaves += ["", "adam", "none", "relu", "x\ny", "\x00", "é", "a" * 200, None]
    kind = rng.random()
    if depth > 3 or kind < 0.6:
        return rng.choice(leaves)
    if kind < 0.8:
        return [junk(rng, depth + 1) for _ in range(rng.randrange(3))]
    keys = [*setting_keys(), "optimizer", "data", "schedule", "name", "lr", "mu", "", ".", "a.b.c", "x\n"]
    return {rng.choice(keys): junk(rng, depth + 1) for _ in range(rng.randrange(4))}


def test_junk_gives_a_config_or_one_line():
    rng = random.Random(7)
    taken = 0
    for _ in range(3000):
        keys = rng.choices([*setting_keys(), "optimizer", "data", "schedule", "optimizer.mu"], k=rng.randrange(1, 4))
        settings = {key: junk(rng) for key in keys}
        try:
            config = make(settings)
        except UserError:
            assert len(complaint(make, settings)) < 2000
            continue
        taken += 1
        assert make(config.flat()) == config
    assert 50 < taken < 2900
