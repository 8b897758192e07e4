"""All shipped studies on all data sets, one after the other, and an overview of them.

A study that fails does not keep the others from running; Ctrl-C stops all. Each study writes the same files as on its
own. The overview is the business of ``harness.overview``, one request that of ``harness.session``.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rich.text import Text

from harness import overview, session, signals, studyfile
from harness.command import DONE, INTERRUPTED, SOME_FAILED
from harness.config import DATASET_NAMES
from harness.errors import UserError
from harness.files import require_writable
from harness.overview import Part
from harness.progress import standard_output
from harness.session import Ending, Request
from harness.tracking import chosen_mode


def requests(dataset: str | None, make: Callable[[str, str], Request]) -> list[Request]:
    """Requests for every shipped study on one data set or on all, each once: data set by data set, in order.

    Parameters
    ----------
    dataset : str or None
        The data set asked for.
    make : callable
        Makes the request of a study's name and a data set.

    Raises
    ------
    UserError
        For the first study that the request's changes do not fit; nothing has been run then.
    """
    made = [make(name, each) for each in ([dataset] if dataset else DATASET_NAMES) for name in studyfile.available()]
    return list({request.folder: request for request in made}.values())


def dry_run(wanted: Sequence[Request]) -> int:
    """Say what all requests would do."""
    refused = _refused(wanted)
    for i, request in enumerate(wanted):
        if i in refused:
            _tell(f"{_name(request)} cannot be run: {refused[i]}")
        else:
            session.dry_run(request)
    n_runs = sum(len(request.study.runs()) for request in wanted)
    searched = [study.tuning for request in wanted if (study := request.study).tuning is not None]
    n_trials = sum(tuning.trials * len(tuning.spaces) for tuning in searched if tuning is not None)
    trials = f" and {n_trials} trials" if n_trials else ""
    _tell(f"All: {len(wanted)} tables of {n_runs} runs{trials}, of which those that studies share are made once.")
    return SOME_FAILED if refused else DONE


def run(wanted: Sequence[Request]) -> int:
    """Carry all requests out and write the overview; returns the exit status.

    Raises
    ------
    UserError
        When not one of them can be carried out.
    """
    start = time.perf_counter()
    chosen_mode(wanted[0].wandb)
    require_writable("--out", wanted[0].out, *(request.folder for request in wanted))
    refused = _refused(wanted)
    parts: list[Part] = []
    try:
        for i, request in enumerate(wanted):
            _tell(f"\n[{i + 1}/{len(wanted)}] {_name(request)}")
            made = frozenset(name for part in parts for name in part.ending.made)
            compiled = any(part.ending.made and not part.request.study.extensions for part in parts)
            began = time.perf_counter()
            if i in refused:
                ending, error = Ending(SOME_FAILED), str(refused[i])
            else:
                ending, error = _carry_out(replace(request, spared=made, **_compiling(wanted, i, compiled)))
            if ending.status == INTERRUPTED:
                raise KeyboardInterrupt
            if error:
                _tell(f"{_name(request)} failed: {error}")
            parts.append(Part(request, ending, time.perf_counter() - began, error))
        return _conclude(parts, time.perf_counter() - start)
    except KeyboardInterrupt:
        _tell(f"Stopped after {len(parts)} of {len(wanted)} studies; the same command goes on from there.")
        return INTERRUPTED


def _compiling(wanted: Sequence[Request], i: int, compiled: bool) -> dict[str, Any]:
    """What a request is to know of compiling: the first one that makes a run sees to all kernels that others need.

    Extensions are known to their own study only, which sees to its own.
    """
    if wanted[i].study.extensions:
        return {}
    plain = [request.study for request in wanted[i:] if not request.study.extensions]
    return {"compiled": compiled, "ahead": tuple(config for study in plain for config in study.variants.values())}


def _carry_out(request: Request) -> tuple[Ending, str]:
    """Carry one request out; its error, if it has one, is told and does not stop the others."""
    try:
        with signals.restored():
            return session.run(request), ""
    except UserError as error:
        return Ending(SOME_FAILED), str(error)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Ending(SOME_FAILED), f"{type(error).__name__}: {error}"


def _conclude(parts: Sequence[Part], seconds: float) -> int:
    """Write and show the overview; returns the exit status."""
    path = overview.write(parts[0].request.out, parts, seconds)
    standard_output().print(overview.terminal_table(parts))
    for line in overview.time_lines(parts, seconds):
        _tell(line)
    _tell(f"Overview: {path}")
    return max(part.ending.status for part in parts)


def _refused(wanted: Sequence[Request]) -> dict[int, UserError]:
    """Requests whose data cannot be found, by place; UserError when there are no others."""
    refused = {i: error for i, request in enumerate(wanted) if (error := _fault(request)) is not None}
    if len(refused) == len(wanted):
        raise refused[0]
    return refused


def _fault(request: Request) -> UserError | None:
    """Why a request's data cannot be had."""
    try:
        session.find_data(request)
    except UserError as error:
        return error
    return None


def _name(request: Request) -> str:
    return f"{request.study.name} on {request.study.folder_name()}"


def _tell(text: str) -> None:
    standard_output().print(Text(text), soft_wrap=True)
