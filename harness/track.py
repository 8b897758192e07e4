"""Command line: send the finished runs of a study to W&B afterwards (``python -m harness.track exp3``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness import ablate, command
from harness.errors import UserError


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
    from harness import session, study
    from harness.progress import standard_output
    from harness.tracking import chosen_mode

    mode = chosen_mode(options.wandb)
    if mode == "disabled":
        raise UserError("tracking is disabled; --wandb offline or --wandb online says where to send the runs")
    request = session.Request(
        study=study.load(options.study, ablate.overrides(options)),
        command=("python", "-m", "harness.track", *arguments),
        out=options.out,
        data_dir=options.data_dir,
        wandb=options.wandb,
    )
    plan = session.make_plan(request)
    if not plan.stored:
        raise UserError(f"no run of {request.study.name} is stored in {request.runs_folder}; harness.ablate makes them")
    with session.make_tracker(request, plan, mode, standard_output()) as tracker:
        return command.DONE if tracker.close() else command.SOME_FAILED


if __name__ == "__main__":
    command.main(_track)
