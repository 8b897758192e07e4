"""Command line: train a study's whole grid and write its tables (``python -m harness.ablate exp3``)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import command
from harness.errors import UserError, show

if TYPE_CHECKING:
    from harness.study import Overrides

MAX_JOBS = 1024


def study_options() -> command.Parser:
    """Options that say which runs are meant, and where everything is: those of all commands about a study."""
    p = command.Parser(add_help=False, allow_abbrev=False)
    p.add_argument("study", nargs="?", metavar="STUDY", help="a shipped study (see --list) or the path of a .toml file")
    p.add_argument("--dataset", help="fashion-mnist or cifar-10")
    p.add_argument("--epochs", type=command.number, metavar="N", help="train each run for N epochs")
    p.add_argument("--seeds", type=command.number, metavar="N", help="use seeds 0 to N-1")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
                   help="change a setting of every variant, for example optimizer.lr=0.01")  # fmt: skip
    p.add_argument("--only", nargs="+", action="extend", default=[], metavar="NAME", help="keep only these variants")
    p.add_argument("--limit", type=command.number, metavar="N", help="keep the first N training images")
    p.add_argument("--engine", help="numba (compiled) or numpy (the readable reference)")
    p.add_argument("--precision", help="float32 or float64")
    p.add_argument("--out", type=command.folder, default=Path("results"), metavar="DIR", help="folder of results")
    p.add_argument("--data-dir", type=command.folder, metavar="DIR", help="folder that holds the data sets")
    p.add_argument("--wandb", metavar="MODE", help="tracking in Weights & Biases: offline, online or disabled")
    return p


def parser() -> command.Parser:
    """All options of the command."""
    p = command.Parser(
        prog="harness.ablate",
        usage="python -m harness.ablate STUDY [options]",
        description="Train every run of a study on all cores and write tables of accuracy and wall time.",
        allow_abbrev=False,
        parents=[study_options()],
    )
    p.add_argument("--list", action="store_true", help="list the shipped studies and stop")
    p.add_argument("--jobs", type=command.number, metavar="N",
                   help="runs at a time (default: the cores this process may use)")  # fmt: skip
    p.add_argument("--fresh", action="store_true", help="make every run again, also those already stored")
    p.add_argument("--timing", action="store_true",
                   help="afterwards time one seed of each variant again, alone, to compare speed")  # fmt: skip
    p.add_argument("--dry-run", action="store_true", help="say what would be run, and stop")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 all done, 1 some run failed, 2 the request was wrong, 130 stopped."""
    return command.run(_ablate, sys.argv[1:] if arguments is None else arguments)


def _ablate(arguments: Sequence[str]) -> int:
    options = parser().parse(arguments)
    if options.list:
        return _list()
    if options.study is None:
        raise UserError("name a study first (see --list), or the path of a .toml file")
    if options.jobs is not None and not (isinstance(options.jobs, int) and 1 <= options.jobs <= MAX_JOBS):
        raise UserError(f"--jobs = {show(options.jobs)}: must be a whole number in [1, {MAX_JOBS}]")
    from harness import session, study

    request = session.Request(
        study=study.load(options.study, overrides(options)),
        command=("python", "-m", "harness.ablate", *arguments),
        out=options.out,
        data_dir=options.data_dir,
        jobs=options.jobs,
        fresh=options.fresh,
        timing=options.timing,
        wandb=options.wandb,
    )
    return session.dry_run(request) if options.dry_run else session.run(request)


def overrides(options: argparse.Namespace) -> Overrides:
    """How a request departs from the study as written."""
    from harness.study import Overrides

    return Overrides(
        dataset=options.dataset,
        epochs=options.epochs,
        seeds=options.seeds,
        limit=options.limit,
        engine=options.engine,
        precision=options.precision,
        only=tuple(options.only),
        settings=tuple(options.settings),
    )


def _list() -> int:
    """Print the shipped studies with their questions."""
    from harness.studyfile import available, headline

    for name, path in available().items():
        title, question = headline(path)
        print(f"{name:8}{title}: {question}")
    return command.DONE


if __name__ == "__main__":
    command.main(_ablate)
