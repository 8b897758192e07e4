"""Rules that stop trials, on lists of accuracies, and the judge that keeps the lists."""

from __future__ import annotations

import threading

import pytest

from harness.pruning import RULES, Judge, halving, median, never


def rivals(*last: float, epochs: int = 4) -> list[list[float]]:
    return [[value / 2] * (epochs - 1) + [value] for value in last]


def test_no_pruning_stops_nothing():
    assert not never([0.0], rivals(0.9, 0.9, 0.9, 0.9, 0.9, 0.9), 4)


def test_the_median_rule_stops_what_is_below_the_median_of_finished_trials_at_that_epoch():
    others = [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5], [0.4, 0.5, 0.6], [0.5, 0.6, 0.7]]
    assert median([0.29], others, 3)
    assert not median([0.3], others, 3)
    assert median([0.29, 0.39], others, 3)
    assert not median([0.29, 0.41], others, 3)


def test_the_median_rule_counts_a_trials_best_epoch():
    others = [[0.5, 0.5]] * 5
    assert not median([0.6, 0.1], [[0.5, 0.5, 0.5]] * 5, 3)
    assert median([0.4], others, 2)


def test_the_median_rule_waits_for_five_finished_trials():
    assert not median([0.0], [[0.9, 0.9]] * 4 + [[0.9]] * 9, 2)
    assert median([0.0], [[0.9, 0.9]] * 5, 2)


def test_the_median_rule_spares_the_first_tenth():
    others = [[0.9] * 30] * 5
    assert not median([0.0] * 3, others, 30)
    assert median([0.0] * 4, others, 30)


@pytest.mark.parametrize("epoch", [1, 3, 9, 27])
def test_halving_keeps_the_best_third_at_its_rungs(epoch):
    others = [[0.0] * (epoch - 1) + [value] for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert not halving([0.0] * (epoch - 1) + [0.4], others, 30)
    assert halving([0.0] * (epoch - 1) + [0.39], others, 30)


@pytest.mark.parametrize("epoch", [2, 4, 8, 10, 26, 28])
def test_halving_stops_nothing_between_rungs(epoch):
    assert not halving([0.0] * epoch, [[0.9] * 30] * 9, 30)


def test_halving_lets_the_first_two_pass():
    assert not halving([0.0], [[0.9]], 9)
    assert halving([0.0], [[0.9], [0.9]], 9)


@pytest.mark.parametrize("rule", RULES)
def test_the_last_epoch_is_never_judged(rule):
    judge = Judge(RULES[rule], 3)
    for number in range(9):
        judge.know(number, [0.9, 0.9, 0.9])
    assert not judge.stops(9, 3, 0.0)


def test_a_trial_is_no_rival_of_its_own():
    judge = Judge(halving, 9)
    assert [judge.stops(0, 1, 0.5), judge.stops(0, 1, 0.4), judge.stops(0, 1, 0.3)] == [False] * 3


def test_a_trial_that_begins_anew_forgets_its_first_attempt():
    judge = Judge(never, 9)
    for epoch, value in ((1, 0.1), (2, 0.2), (3, 0.3), (1, 0.15)):
        judge.stops(7, epoch, value)
    assert judge.accuracies(7) == [0.15]


def test_with_a_lag_only_trials_so_far_behind_are_rivals():
    judge = Judge(halving, 9, lag=3)
    for number in range(5):
        judge.know(number, [0.9])
    assert not judge.stops(3, 1, 0.1)  # one rival: too few
    assert judge.stops(4, 1, 0.1)


def test_many_threads_may_ask_at_once():
    judge = Judge(median, 40)

    def trial(number: int) -> None:
        for epoch in range(1, 41):
            judge.stops(number, epoch, epoch / 100)

    threads = [threading.Thread(target=trial, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(judge.accuracies(number) == [epoch / 100 for epoch in range(1, 41)] for number in range(8))
