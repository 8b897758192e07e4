"""Timing alone: what is counted, that turns alternate, and that a variant without times costs the others nothing."""

from __future__ import annotations

import math

import pytest
from studyfiles import writer
from test_worker import failing

from harness import runner, study, timing
from harness.timing import ROUNDS, TIMED_EPOCHS, Times, measure, time_run, timing_frame
from kernels import reference

__all__ = ["failing"]  # a fixture


@pytest.fixture
def pool():
    pool = runner.Pool(1)
    pool.open()
    yield pool
    pool.kill()


@pytest.fixture
def example(tmp_path):
    """Make a study file into a study."""

    write = writer(tmp_path)
    return lambda text: study.load(write(text, "example.toml"))


def test_a_turn_leaves_out_the_first_epoch_and_evaluation(make_task, split):
    times = time_run(make_task(epochs=1))
    assert (len(times.epochs), len(times.evaluations), times.images) == (TIMED_EPOCHS, TIMED_EPOCHS, len(split.train))
    assert min(*times.epochs, *times.evaluations) > 0
    assert times.reason == ""


def test_times_are_of_training_steps_only(make_task, monkeypatch):
    """A clock that stands still but while an engine trains."""
    now = [0.0]
    train_epoch = reference.Engine.train_epoch

    def slow(engine, X, y, order, *rest):
        now[0] += 8.0 * (len(order) > 0)
        return train_epoch(engine, X, y, order, *rest)

    monkeypatch.setattr(reference.Engine, "train_epoch", slow)
    monkeypatch.setattr("harness.trainer.time.perf_counter", lambda: now[0])
    assert time_run(make_task()).epochs == (8.0,) * TIMED_EPOCHS


def test_variants_take_turns_and_nothing_is_stored(make_task, pool):
    tasks, polls = [make_task(name, seed=0) for name in ("a", "b")], []
    times = measure(tasks, pool, polls.append)
    assert [len(each.epochs) for each in times] == [ROUNDS * TIMED_EPOCHS] * 2
    assert polls == sorted(polls)
    assert set(polls) == set(range(ROUNDS * len(tasks)))
    assert not tasks[0].runs_folder.exists()


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", "its worker process died; out of memory?"),
    ],
)
def test_a_variant_that_cannot_be_timed_says_why_and_leaves_the_others_their_times(
    make_task, failing, pool, act, reason
):
    broken, sound = measure([failing(act), make_task()], pool, lambda turn: None)
    assert broken == Times(reason=reason)
    assert len(sound.epochs) == ROUNDS * TIMED_EPOCHS


def test_a_run_that_diverges_has_no_times(make_task):
    task = make_task(optimizer={"name": "sgd", "lr": 1e38}, l2=1e30)
    assert time_run(task) == Times(reason="the training loss was not finite in epoch 1")


def test_a_line_has_the_median_the_extremes_and_the_ratio_to_the_baseline(example):
    made = example('baseline = "one"\n[variants]\none = { hidden = [3, 2] }\ntwo = { hidden = [] }\n')
    times = {"one": Times((1.0, 4.0, 2.0), (0.5, 0.1, 0.2), 100), "two": Times((3.0, 3.0, 3.0), (1.0,) * 3, 100)}
    frame = timing_frame(made, times, {"code_version": "x"}).set_index("variant")
    assert list(frame["hidden"]) == ["3x2", "none"]
    assert list(frame["seconds_per_epoch"]) == [2.0, 3.0]
    assert list(frame["fastest_epoch_seconds"]) == [1.0, 3.0]
    assert list(frame["slowest_epoch_seconds"]) == [4.0, 3.0]
    assert list(frame["ratio"]) == [1.0, 1.5]
    assert list(frame["images_per_second"]) == [50.0, pytest.approx(100 / 3)]
    assert list(frame["eval_seconds"]) == [0.2, 1.0]
    assert set(frame["code_version"]) == {"x"}


def test_without_a_baseline_there_is_no_ratio(example, tmp_path):
    made = example("[variants]\none = { hidden = [3] }\ntwo = { hidden = [4] }\n")
    assert made.baseline is None
    times = {"one": Times((1.0,), (0.5,), 100), "two": Times()}
    assert all(map(math.isnan, timing_frame(made, times, {})["ratio"]))
    timing.write(tmp_path, made, times, {})
    assert "Ratio" not in (tmp_path / "timing.md").read_text().splitlines()[2]


def test_the_texts_show_every_variant_whatever_its_name(example, tmp_path):
    variants = '"x|y" = { hidden = [3] }\n"[red]" = { hidden = [4] }\n'
    made = example(f'title = "A | b"\nbaseline = "x|y"\n[variants]\n{variants}')
    times = {"x|y": Times((0.25,), (0.5,), 1000), "[red]": Times()}
    table = timing.write(tmp_path, made, times, {})
    lines = (tmp_path / "timing.md").read_text().splitlines()
    assert lines[0] == "# A \\| b: speed"
    assert lines[4] == "| x\\|y | 0.250 | 0.250 to 0.250 | 1.000 | 4,000 | 0.500 |"
    assert lines[5] == "| \\[red\\] | – | – | – | – | – |"
    assert table.row_count == 2
