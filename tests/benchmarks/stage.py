"""Makes cases ready to be timed: checked, compiled, warm. Keeps those of one group, and frees them for the next."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Any

import pytest
from benchmarks import agreement, blas
from benchmarks.cases import Call, Case
from benchmarks.problems import Problem

UNAVAILABLE = pytest.StashKey[dict[str, dict[str, str]]]()  # group -> implementation -> why it was not timed


@dataclass
class Ready:
    """A call to be timed, and what is known of it."""

    call: Call
    flops: int
    share: float  # of an epoch
    said: str  # of the data
    note: str  # where only a part of it is timed
    first_seconds: float  # from nothing to the results of a first small call: what compiling costs


class Stage:
    """Holds what is ready for the group at hand."""

    def __init__(self) -> None:
        self.group = ""
        self.ready: dict[str, Ready | Exception] = {}
        self.losses: dict[tuple[str, int], float] = {}

    def get(self, case: Case) -> Ready:
        """Make a case ready on its first turn; a case that failed then fails again at once."""
        if case.group != self.group:
            self.group, self.ready = case.group, {}
            gc.collect()
        if case.implementation not in self.ready:
            try:
                self.ready[case.implementation] = self._prepare(case)
            except Exception as error:
                self.ready[case.implementation] = error
        ready = self.ready[case.implementation]
        if isinstance(ready, Exception):
            raise ready
        return ready

    def _prepare(self, case: Case) -> Ready:
        subject: Any = case.subject()
        trains = isinstance(subject, Problem) and case.kind != "evaluation"
        small = subject.first(agreement.STEPS) if trains else subject
        if isinstance(subject, Problem):
            _ = subject.images.floats, subject.weights  # made here once, not while the clock runs
        case.imports()
        start = time.perf_counter()
        read = case.setup(small)()
        first_seconds = time.perf_counter() - start
        agreement.check(case, small, read(), on_images=trains)

        said = subject.said(trains) if isinstance(subject, Problem) else ""
        share, note = 1.0, ""
        if trains and case.steps is not None:
            part = subject.first(case.steps)
            share = len(part.order) / len(subject.order)
            note, subject = f"first {part.steps} of {subject.steps} mini-batches, scaled", part
        call = case.setup(subject)
        results = call()()  # warm from here on
        if trains and case.kind == "epoch":
            agreement.check_loss(case, results["loss"], self._loss(subject))
        return Ready(call, case.flops(subject), share, said, note, first_seconds)

    def _loss(self, subject: Problem) -> float:
        """Loss of the same epoch, or part of one, by NumPy + BLAS."""
        key = subject.name, subject.steps
        if key not in self.losses:
            self.losses[key] = blas.train(subject)()()["loss"]
        return self.losses[key]
