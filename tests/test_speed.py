"""Speeds of kinds of runs: what they depend on, and what is measured, kept and worked out."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from harness import runner, speed
from harness.config import RunConfig
from harness.errors import UserError
from harness.speed import Speed


def config(**settings: object) -> RunConfig:
    return RunConfig.from_settings({"engine": "numpy", "hidden": [7], **settings}, "a test")


@pytest.mark.parametrize("settings", [{"seed": 3}, {"optimizer.lr": 0.5}, {"epochs": 9}, {"data.limit": 10},
                                      {"l2": 0.1}, {"init": "xavier"}])  # fmt: skip
def test_a_kind_does_not_depend_on_what_costs_no_time(settings):
    assert speed.kind_of(config(**settings)) == speed.kind_of(config())


@pytest.mark.parametrize("settings", [{"hidden": [7, 7]}, {"batch_size": 5}, {"engine": "numba"}, {"dropout": 0.1},
                                      {"precision": "float64"}, {"optimizer.name": "sgd"}, {"activation": "tanh"},
                                      {"loss": "mse"}, {"clip_norm": 1.0}, {"data.standardise": True}])  # fmt: skip
def test_a_kind_depends_on_what_costs_time(settings):
    assert speed.kind_of(config(**settings)) != speed.kind_of(config())


@pytest.mark.parametrize("bigger", [{"hidden": [70]}, {"hidden": [7, 7]}, {"batch_size": 100}])
def test_more_arithmetic_is_more_work(small, bigger):
    assert speed.work(config(**{"batch_size": 10, **bigger}), small) > speed.work(config(batch_size=10), small)


def test_a_measured_speed_has_all_parts(make_task):
    measured = speed.measure(make_task())
    assert 0 < measured.step_seconds < 0.1
    assert 0 < measured.row_seconds < measured.step_seconds
    assert 0 < measured.epoch_seconds < 1
    assert 0 < measured.run_seconds < 1


def test_kinds_that_were_not_measured_follow_the_most_similar_one(small):
    one, two, other = config(hidden=[100]), config(hidden=[200]), config(hidden=[200], activation="tanh")
    configs = {speed.kind_of(each): each for each in (one, two, other)}
    measured = {speed.kind_of(one): Speed(1.0, 1.0, 1.0, 1.0), speed.kind_of(other): Speed(5.0, 5.0, 5.0, 5.0)}
    found = speed.complete(measured, configs, small)
    factor = speed.work(two, small) / speed.work(one, small)
    assert 1.5 < factor < 2.1
    assert found[speed.kind_of(two)] == Speed(factor, factor, factor, 1.0)
    assert found.items() >= measured.items()


def test_of_very_many_kinds_some_are_measured_from_the_smallest_to_the_largest(small):
    configs = {speed.kind_of(each): each for each in (config(hidden=[n]) for n in range(1, 200))}
    chosen = speed.chosen(configs, small)
    assert len(set(chosen)) == speed.MAX_KINDS
    assert (chosen[0][0], chosen[-1][0]) == ((1,), (199,))


def test_what_is_known_is_not_measured_again_for_a_day(small, make_task, monkeypatch):
    asked: list[list[str]] = []

    def measure(tasks):
        asked.append([task.run_id for task in tasks])
        return [Speed(1.0, 2.0, 3.0, 4.0) for _ in tasks]

    a, b = make_task("a", hidden=[17]), make_task("b", hidden=[18])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    assert speed.of_tasks([a, make_task("a again", hidden=[17], seed=2)], small, 3, measure)
    found = speed.of_tasks([a, b], small, 3, measure)
    assert asked == [["a again"], ["b"]]
    assert set(found.values()) == {Speed(1.0, 2.0, 3.0, 4.0)}
    speed.of_tasks([a], small, 2, measure)  # beside another number of runs
    now += speed.KEPT_SECONDS + 1
    speed.of_tasks([a], small, 3, measure)
    assert asked[2:] == [["a"], ["a"]]


def test_a_damaged_file_of_speeds_counts_as_none(small, make_task):
    task = make_task(hidden=[19])
    speed.of_tasks([task], small, 1, lambda tasks: [Speed(1.0, 1.0, 1.0, 1.0)])
    path = speed._file(small, 1)
    for text in ("", "[]", json.dumps({repr(speed.kind_of(task.config)): {"time": "x"}})):
        path.write_text(text)
        assert set(speed.of_tasks([task], small, 1, lambda tasks: [Speed(2.0, 1.0, 1.0, 1.0)]).values()) == {
            Speed(2.0, 1.0, 1.0, 1.0)
        }


def test_all_workers_measure_and_a_kind_that_cannot_be_run_is_one_line(make_task, tmp_path):
    pool = runner.Pool(2)
    pool.open()
    try:
        polls: list[tuple[int, int]] = []
        (found,) = speed.measure_all([make_task()], pool, lambda *how_far: polls.append(how_far))
        assert found.step_seconds > 0
        assert polls[-1] == (4, 4)
        broken = dataclasses.replace(make_task(), data_folder=tmp_path)
        with pytest.raises(UserError, match=r"variant 'variant of run' cannot be run: the cache entry"):
            speed.measure_all([broken], pool, lambda *_: None)
    finally:
        pool.kill()
