"""Errors for users: one line of bounded length, whatever the value, and a helpful guess."""

import pytest

from harness.errors import MAX_NAMES, MAX_WIDTH, UserError, nearest, show, unknown


@pytest.mark.parametrize(
    "value",
    ["", "a" * 10_000, "two\nlines", 10**5000, [[1] * 1000], {"a": "b\r\n"}, None, b"\xff", float("nan")],
    ids=range(9),
)
def test_any_value_is_shown_on_one_short_line(value):
    text = show(value)
    assert 0 < len(text) <= MAX_WIDTH
    assert len(text.splitlines()) == 1


def test_a_value_nested_without_end_is_shown():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    assert len(show(nested)) <= MAX_WIDTH
    while nested:  # taken apart by hand: Python's own way is recursive
        nested = nested[0]


def test_texts_are_quoted_and_numbers_are_not():
    assert (show("3"), show(3)) == ("'3'", "3")


@pytest.mark.parametrize(
    ("typed", "allowed", "meant"),
    [
        ("rellu", ["relu", "tanh"], "relu"),
        ("RELU", ["relu", "tanh"], "relu"),
        ("lr", ["optimizer.lr", "optimizer.name"], "optimizer.lr"),
        ("optimizer.beta", ["optimizer.beta1", "optimizer.lr", "batch_size"], "optimizer.beta1"),
        ("optimizer.nam", ["optimizer.lr", "optimizer.name"], "optimizer.name"),
        ("batchsize", ["batch_size", "epochs"], "batch_size"),
    ],
)
def test_the_nearest_name_is_guessed(typed, allowed, meant):
    assert nearest(typed, allowed) == f" (did you mean {meant!r}?)"


def test_nothing_is_guessed_where_nothing_is_near():
    assert nearest("qqqqqqqq", ["relu", "tanh"]) == ""
    assert nearest("x", []) == ""


def test_an_unknown_name_is_told_with_its_place_and_all_that_is_allowed():
    error = unknown("activation", "rellu", ["tanh", "relu"], "my.toml, base")
    assert isinstance(error, UserError)
    assert str(error) == "unknown activation 'rellu' in my.toml, base (did you mean 'relu'?); allowed: relu, tanh"


def test_a_value_that_is_no_text_gets_no_guess():
    assert str(unknown("loss", 3, ["mse"])) == "unknown loss 3; allowed: mse"


def test_a_long_list_of_names_is_cut():
    message = str(unknown("variant", "x", [f"v{i}" for i in range(1000)]))
    assert message.endswith("... (1000 in all)")
    assert message.count(",") == MAX_NAMES
