"""Implementations that are compared with each other compute the same. Nothing is timed here."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from benchmarks import agreement
from benchmarks.cases import CHOICES, COMPILED, EAGER, OURS, TABLE, Case, groups
from benchmarks.problems import LAYERS, NETWORKS, layer, small_problem

SLOW = {COMPILED: pytest.mark.long}  # a C++ compiler runs for seconds on each


def subject(group: str, **model):
    return small_problem(**model) if group.startswith(("epoch", "evaluation", *CHOICES)) else layer(37, 45, 23)


@pytest.mark.filterwarnings("default")  # peers warn of their own affairs
@pytest.mark.parametrize(
    ("group", "name"),
    [
        pytest.param(group, name, marks=SLOW.get(name, ()))
        for group, implementations in TABLE.items()
        if group.partition(" ")[2] in ("", "784-128-10", "cross-entropy")  # networks differ in size only
        for name in implementations
    ],
)
def test_results_are_equal(group, name):
    case = Case(group, name, TABLE[group][name], functools.partial(subject, group), lambda _: 0)
    if case.missing:
        pytest.skip(case.missing)
    agreement.check(case, case.subject(), case.setup(case.subject())()())


@pytest.mark.parametrize(("group", "choice"), [(group, choice) for group in CHOICES for choice in CHOICES[group]])
def test_results_are_equal_for_every_choice(group, choice):
    case = Case(group, choice, TABLE["epoch 784-128-10"][OURS], lambda: subject(group, **CHOICES[group][choice]), len)
    agreement.check(case, case.subject(), case.setup(case.subject())()())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_smoothed_labels_are_those_of_pytorch(share):
    case = Case("epoch", EAGER, TABLE["epoch 784-128-10"][EAGER], lambda: small_problem(label_smoothing=share), len)
    if case.missing:
        pytest.skip(case.missing)
    agreement.check(case, case.subject(), case.setup(case.subject())()())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"settings": {"beta1": 0.9}}, {"settings": {"beta1": 0.91}}),
        ({"label_smoothing": 0.1}, {"label_smoothing": 0.11}),
    ],
    ids=["beta1", "label_smoothing"],
)
def test_a_constant_that_is_wrong_by_a_hundredth_is_seen(right, wrong):
    case = Case("epoch", OURS, TABLE["epoch 784-128-10"][OURS], small_problem, len)
    agreement.check(case, small_problem(**right), case.setup(small_problem(**right))()())
    with pytest.raises(AssertionError, match="differ by"):
        agreement.check(case, small_problem(**right), case.setup(small_problem(**wrong))()())


@pytest.mark.parametrize(
    ("result", "want", "wrong", "origin"),
    [
        ("A", np.ones(10), np.full(10, 1.1), 0.0),
        ("loss", 1.0, 1.1, 0.0),
        ("predictions", np.arange(10), np.arange(10)[::-1], 0.0),
        ("weights", [np.ones(200), np.ones(3)], [np.ones(200), np.array([1, 1, 1.1])], [np.zeros(200), np.zeros(3)]),
    ],
)
def test_another_result_is_far_away(result, want, wrong, origin):
    assert agreement.distance(want, want, origin) == 0
    assert agreement.distance(wrong, want, origin) > agreement.LIMITS[result]


def test_every_operation_and_network_has_a_group():
    names = set(groups())
    assert {f"{kind} {network}" for kind in ("epoch", "evaluation") for network in NETWORKS} < names
    for operation in ("forward", "backward", "update", "softmax cross-entropy"):
        assert len([name for name in names if name.startswith(operation)]) == len(LAYERS)
    assert set(CHOICES) < names


def test_flops_are_those_of_the_products():
    problem = small_problem()  # 37-23-19-10
    weights = 37 * 23 + 23 * 19 + 19 * 10
    assert problem.training_flops == 90 * (6 * weights - 2 * 37 * 23)
    assert problem.evaluation_flops == 30 * 2 * weights
    assert problem.first(2).training_flops == 32 * (6 * weights - 2 * 37 * 23)
    assert layer(3, 5, 7).product_flops == 2 * 3 * 5 * 7
