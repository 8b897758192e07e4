"""Command line: send the finished runs of a study to W&B afterwards (``python -m harness.track exp3``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness import ablate, command
from harness.errors import UserError

DISABLED = "tracking is disabled; --wandb offline or --wandb online says where to send the runs"


def parser() -> command.Parser:
    """All options of the command: those of ``harness.ablate`` that say which runs are meant."""
    return command.Parser(
        prog="harness.track",
        usage="python -m harness.track STUDY [options]",
        description="Send the stored runs and the tables of a study to Weights & Biases; what is there already stays.",
        allow_abbrev=False,
        parents=[ablate.study_options()],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 all is tracked, 1 something is not, 2 the request was wrong."""
    return command.run(_track, sys.argv[1:] if arguments is None else arguments)


def _track(arguments: Sequence[str]) -> int:
    options = parser().parse(arguments)
    if options.study is None:
        raise UserError("name a study first, or the path of a .toml file")
    from dataclasses import replace

    from harness import session, study
    from harness.progress import standard_output
    from harness.tracking import chosen_mode

    mode = chosen_mode(options.wandb)
    if mode == "disabled":
        raise UserError(DISABLED)
    request = session.Request(
        study=study.load(options.study, ablate.overrides(options)),
        command=("python", "-m", "harness.track", *arguments),
        out=options.out,
        data_dir=options.data_dir,
        wandb=options.wandb,
    )
    if request.study.tuning is not None:
        from harness import tuner

        request = replace(request, study=tuner.settled(request))
    plan = session.make_plan(request)
    if not plan.stored:
        raise UserError(f"no run of {request.study.name} is stored in {request.runs_folder}; harness.ablate makes them")
    console = standard_output()
    if plan.missing:  # or damaged
        n = f"{len(plan.missing)} of {len(plan.runs)}"
        console.print(f"{n} runs are not stored whole and cannot be sent; harness.ablate makes them.", soft_wrap=True)
    damaged = any((request.runs_folder / name).exists() for name, _ in plan.missing)
    known = replace(plan, runs=[(name, run) for name, run in plan.runs if name in plan.stored])
    with session.make_tracker(request, known, mode, console) as tracker:
        complete = tracker.close() and not damaged
    if tracker.disabled:
        raise UserError(DISABLED)
    return command.DONE if complete else command.SOME_FAILED


if __name__ == "__main__":
    command.main(_track)
