"""Who gets which task: all are done once, in order, whoever comes and goes, and only the guilty are charged."""

from __future__ import annotations

import random

import pytest

from harness.dispatch import TRIES, Dispatcher


def desk(n: int, *workers: str, limit: int | None = None) -> Dispatcher[int]:
    made = Dispatcher(range(n), limit)
    for worker in workers:
        made.join(worker)
    return made


def test_every_worker_gets_one_and_while_plenty_wait_one_ahead_in_order():
    made = desk(10, "a", "b")
    assert list(made.give()) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    assert list(made.give()) == []


def test_near_the_end_nothing_goes_ahead():
    assert list(desk(6, "a", "b").give()) == [("a", 0), ("b", 1)]
    assert list(desk(7, "a", "b").give()) == [("a", 0), ("b", 1), ("a", 2)]


def test_a_worker_that_ends_a_task_gets_the_next_one():
    made = desk(3, "a", "b")
    list(made.give())
    assert not made.end("a", 1)
    assert made.end("b", 1)
    assert list(made.give()) == [("b", 2)]
    for worker, task in (("a", 0), ("b", 2)):
        assert not made.done
        assert made.end(worker, task)
    assert made.done
    assert not made.end("b", 2)


def test_no_more_workers_than_the_limit_have_tasks():
    made = desk(2, "a", "b", "c", limit=1)
    assert list(made.give()) == [("a", 0)]
    made.leave("a")
    assert list(made.give()) == [("b", 0)]


def test_no_more_workers_of_a_site_than_its_memory_is_enough_for_have_tasks():
    made = Dispatcher(range(9))
    for i in range(4):
        made.join(f"small{i}", "small", 2.5)
    made.join("tiny", "tiny", 0.2)
    assert [worker for worker, _ in made.give() if worker == "tiny"]  # one may always work
    assert len({worker for worker in made._given if made._given[worker]}) == 3


def test_a_death_is_charged_to_the_task_that_had_begun_alone():
    made = desk(9, "a", "b")
    assert list(made.give())[:3] == [("a", 0), ("b", 1), ("a", 2)]
    assert made.leave("a") == []
    made.join("c")
    assert list(made.give())[:1] == [("c", 0)]  # it comes first, and alone: nothing goes ahead behind it
    assert len(made._given["c"]) == 1
    made.end("b", 1)
    assert ("b", 2) in list(made.give())


def test_a_worker_that_leaves_as_asked_charges_nobody():
    made = desk(9, "a", "b")
    assert list(made.give())[:3] == [("a", 0), ("b", 1), ("a", 2)]
    for i in range(2 * TRIES):
        assert made.leave("a" if i == 0 else f"w{i}", expected=True) == []
        made.join(f"w{i + 1}")
        assert list(made.give())[:2] == [(f"w{i + 1}", 0), (f"w{i + 1}", 2)]  # still with one ahead


def test_a_task_that_kills_its_worker_each_time_is_given_up_and_all_others_are_done():
    made, done, lost, n = desk(6), [], [], 0
    while not made.done:
        if made.workers < 2:
            made.join(f"w{n}")
            n += 1
        assert not {task for _, task in made.give()} & {*done}
        for worker, given in list(made._given.items()):
            if given and given[0][0] == 3:
                lost += made.leave(worker)
            elif given:
                task = given[0][0]
                assert made.end(worker, task)
                done.append(task)
    assert lost == [3]
    assert sorted(done) == [0, 1, 2, 4, 5]
    assert n == 2 + TRIES - 1 or n == 2 + TRIES


@pytest.mark.parametrize("seed", range(20))
def test_whoever_comes_and_goes_every_task_is_done_once_or_given_up(seed):
    rng = random.Random(seed)
    made, done, lost, workers, n = Dispatcher(range(50), rng.choice([None, 3])), [], [], [], 0
    for _ in range(10_000):
        if made.done:
            break
        act = rng.random()
        if act < 0.1 or not workers:
            workers.append(f"w{n}")
            made.join(workers[-1], f"site {n % 3}", rng.choice([1, 2, 9]))
            n += 1
        elif act < 0.2:
            lost += made.leave(workers.pop(rng.randrange(len(workers))))
        else:
            list(made.give())
            busy = [worker for worker in workers if made._given[worker]]
            if busy:
                worker = rng.choice(busy)
                task = rng.choice(made._given[worker])[0]
                assert made.end(worker, task)
                done.append(task)
    assert made.done
    assert sorted([*done, *lost]) == list(range(50))
