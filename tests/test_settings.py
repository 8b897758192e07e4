"""Settings given piecemeal: how tables lie over one another, and what ``key=value`` may hold."""

import json

import pytest
from complaints import complaint

from harness.errors import show
from harness.settings import assign, merge, parse_assignment


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"l2": 1, "epochs": 2}, {"l2": 3}, {"l2": 3, "epochs": 2}),
        ({"data": {"limit": 1}}, {"data": {"split": "official"}}, {"data": {"limit": 1, "split": "official"}}),
        (
            {"optimizer": {"name": "momentum", "lr": 0.1, "mu": 0.5}},
            {"optimizer": {"name": "sgd"}},
            {"optimizer": {"name": "sgd", "lr": 0.1}},
        ),
        (
            {"optimizer": {"name": "momentum", "lr": 0.1, "mu": 0.5}},
            {"optimizer": {"name": "adam", "lr": 0.2}},
            {"optimizer": {"name": "adam", "lr": 0.2}},
        ),
        (
            {"optimizer": {"name": "momentum", "lr": 0.1, "mu": 0.5}},
            {"optimizer": {"name": "momentum", "lr": 0.2}},
            {"optimizer": {"name": "momentum", "lr": 0.2, "mu": 0.5}},
        ),
        ({"optimizer": {"beta1": 0.5}}, {"optimizer": {"name": "adam"}}, {"optimizer": {"beta1": 0.5, "name": "adam"}}),
        ({"optimizer": {"beta1": 0.5}}, {"optimizer": {"name": "sgd"}}, {"optimizer": {"name": "sgd"}}),
        (
            {"schedule": {"name": "step", "every": 2}},
            {"schedule": {"name": "cosine"}},
            {"schedule": {"name": "cosine"}},
        ),
        ({"optimizer": 3}, {"optimizer": {"lr": 1}}, {"optimizer": {"lr": 1}}),
        ({"optimizer": {"lr": 1}}, {"optimizer": 3}, {"optimizer": 3}),
    ],
)
def test_merging_lets_the_upper_win_and_drops_what_belonged_to_another_name(below, above, merged):
    kept = json.dumps([below, above])
    assert merge(below, above) == merged
    assert json.dumps([below, above]) == kept


def test_assign_sets_in_place_and_makes_tables_on_the_way():
    settings = {"optimizer": {"name": "sgd"}}
    assign(settings, "optimizer.lr", 0.1)
    assign(settings, "data.limit", 5)
    assign(settings, "epochs", 3)
    assert settings == {"optimizer": {"name": "sgd", "lr": 0.1}, "data": {"limit": 5}, "epochs": 3}
    assert complaint(assign, settings, "epochs.x", 1) == "epochs.x = 1: epochs = 3 is not a table"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optimizer.lr=0.01", "optimizer.lr", 0.01),
        ("epochs = 5", "epochs", 5),
        ("l2=1e-3", "l2", 0.001),
        ("data.standardise=true", "data.standardise", True),
        ("hidden=[64, 32]", "hidden", [64, 32]),
        ("activation=tanh", "activation", "tanh"),
        ('activation="tanh"', "activation", "tanh"),
        ("data.split=80/10/10", "data.split", "80/10/10"),
        ("dataset=cifar-10", "dataset", "cifar-10"),
        ("optimizer={name='sgd', lr=1}", "optimizer", {"name": "sgd", "lr": 1}),
        ("clip_norm=none", "clip_norm", "none"),
    ],
)
def test_assignment_value_is_toml_or_a_bare_word(text, key, value):
    assert parse_assignment(text) == (key, value)
    assert type(parse_assignment(text)[1]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "=", "epochs", "epochs=", "=5", ".lr=1", "optimizer.=1"),
        *("hidden=64,32", 'a="x', "a=[1", "a=1\nb=2", "a=1\n[b]", "a=two words", "a=#"),
        *("a=" + "[" * 10_000, "a=" + "9" * 5000 + ","),
    ],
)
def test_malformed_assignment_is_quoted_with_what_is_expected(text):
    message = complaint(parse_assignment, text)
    assert message.startswith(f"--set {show(text)}: ")
    assert "key=value" in message or "neither a TOML value" in message


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ([8, 8], {"layers": 3}, {"layers": 3, "units": 8}),
        ([8, 8], {"units": 3}, {"layers": 2, "units": 3}),
        (8, {"layers": 3}, {"layers": 3, "units": 8}),
        ({"units": 8}, {"layers": 3}, {"layers": 3, "units": 8}),
        ([8, 4], {"layers": 3}, {"layers": 3}),
        ([], {"layers": 3}, {"layers": 3}),
        ({"layers": 2, "units": 8}, [4], [4]),
    ],
)
def test_a_number_of_layers_lies_over_their_width_and_the_other_way_round(below, above, merged):
    assert merge({"hidden": below}, {"hidden": above}) == {"hidden": merged}
    assert merge({}, {"hidden": above}) == {"hidden": above}
