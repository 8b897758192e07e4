"""Command line: train a study's whole grid and write its tables (``python -m harness.ablate exp3``, or ``all``)."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import command, memory
from harness.errors import UserError, show, unknown

if TYPE_CHECKING:
    from harness.session import Request
    from harness.study import Overrides

MAX_WORKERS = 100_000  # of a cluster
MAX_EPOCHS = 10**9
BACKENDS = ("loky", "dask")
ALL = "all"  # in place of a study's name: every shipped one, on every data set


def study_options() -> command.Parser:
    """Options that say which runs are meant, and where everything is: those of all commands about a study."""
    p = command.Parser(add_help=False, allow_abbrev=False)
    p.add_argument(
        "study", nargs="?", metavar="STUDY", help="a shipped study, such as exp3, or the path of a .toml file"
    )
    p.add_argument("--dataset", help="fashion-mnist or cifar-10")
    p.add_argument("--epochs", type=command.number, metavar="N", help="train each run for N epochs")
    p.add_argument("--seeds", type=command.number, metavar="N", help="use seeds 0 to N-1")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
                   help="change a setting of every variant, for example optimizer.lr=0.01")  # fmt: skip
    p.add_argument("--only", nargs="+", action="extend", default=[], metavar="NAME", help="keep only these variants")
    p.add_argument("--limit", type=command.number, metavar="N", help="keep the first N training images")
    p.add_argument("--engine", help="numba (compiled) or numpy (the readable reference)")
    p.add_argument("--precision", help="float32 or float64")
    p.add_argument("--select", metavar="EPOCH",
                   help="report the weights of the last epoch (last) or of the best by validation (best)")  # fmt: skip
    p.add_argument("--out", type=command.folder, default=Path("results"), metavar="DIR", help="folder of results")
    p.add_argument("--data-dir", type=command.folder, metavar="DIR", help="folder that holds the data sets")
    p.add_argument("--wandb", metavar="MODE", help="tracking in Weights & Biases: offline, online or disabled")
    return p


def parser() -> command.Parser:
    """All options of the command."""
    p = command.Parser(
        prog="harness.ablate",
        usage="python -m harness.ablate STUDY [options]",
        description="Train every run of a study on all cores and write tables of accuracy and wall time. "
        "The study all stands for every shipped one, on both data sets.",
        allow_abbrev=False,
        parents=[study_options()],
    )
    p.add_argument("--list", action="store_true", help="list the shipped studies and stop")
    p.add_argument("--jobs", type=command.number, metavar="N",
                   help="runs at a time (default: the cores this process may use, or all workers)")  # fmt: skip
    p.add_argument("--backend", metavar="NAME",
                   help="loky (processes of this machine, the default) or dask (a cluster)")  # fmt: skip
    p.add_argument("--scheduler", metavar="ADDRESS",
                   help="of a Dask cluster, such as tcp://10.0.0.1:8786; none: one is started here")  # fmt: skip
    p.add_argument("--fresh", action="store_true", help="make every run again, also those already stored")
    p.add_argument("--checkpoint-every", type=command.number, metavar="N",
                   help="keep a checkpoint of every N-th epoch of the runs that are made")  # fmt: skip
    p.add_argument("--from-epoch", type=command.number, metavar="N",
                   help="roll every run back to its kept checkpoint of epoch N and go on from there")  # fmt: skip
    p.add_argument("--timing", action="store_true",
                   help="afterwards time one seed of each variant again, alone, to compare speed")  # fmt: skip
    p.add_argument("--dry-run", action="store_true", help="say what would be run and how long it takes, and stop")
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
    most_jobs = MAX_WORKERS if options.dry_run or options.scheduler else command.MAX_JOBS
    command.require_number("--jobs", options.jobs, most_jobs)
    command.require_number("--checkpoint-every", options.checkpoint_every, MAX_EPOCHS)
    command.require_number("--from-epoch", options.from_epoch, MAX_EPOCHS)
    if options.fresh and options.from_epoch is not None:
        raise UserError("--fresh and --from-epoch exclude each other: one begins anew, the other goes on")
    memory.require_address_space()
    if options.study == ALL:
        from harness import everything

        wanted = everything.requests(options.dataset, functools.partial(_request, options, arguments))
        return everything.dry_run(wanted) if options.dry_run else everything.run(wanted)
    from harness import session

    request = _request(options, arguments, options.study, options.dataset)
    return session.dry_run(request) if options.dry_run else session.run(request).status


def _request(options: argparse.Namespace, arguments: Sequence[str], name: str, dataset: str | None) -> Request:
    """What the options ask for, of one study on one data set; its words make the same request again."""
    from dataclasses import replace

    from harness import session, study
    from harness.checkpoint import Wishes

    words = list(arguments)
    if options.study == ALL:
        words[words.index(ALL)] = name
        words += [] if options.dataset else ["--dataset", str(dataset)]
    return session.Request(
        study=study.load(name, replace(overrides(options), dataset=dataset)),
        command=("python", "-m", "harness.ablate", *words),
        out=options.out,
        data_dir=options.data_dir,
        jobs=options.jobs,
        backend=_backend(options),
        scheduler=options.scheduler,
        fresh=options.fresh,
        wishes=Wishes(options.checkpoint_every, options.from_epoch),
        timing=options.timing,
        wandb=options.wandb,
    )


def _backend(options: argparse.Namespace) -> str:
    """Where runs are to be made."""
    backend = options.backend or ("dask" if options.scheduler is not None else "loky")
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS, "--backend")
    if options.scheduler is None:
        return str(backend)
    if backend != "dask":
        raise UserError(f"--scheduler = {show(options.scheduler)} needs --backend dask, not {backend}")
    if "://" not in options.scheduler:
        raise UserError(f"--scheduler = {show(options.scheduler)}: must be an address such as tcp://10.0.0.1:8786")
    if options.timing:
        raise UserError("--timing takes times on this machine: leave out --scheduler, or time another command's runs")
    return "dask"


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
        select=options.select,
        only=tuple(options.only),
        settings=tuple(options.settings),
    )


def _list() -> int:
    """Print the shipped studies with their questions."""
    from harness.studyfile import available, headline

    for name, path in available().items():
        title, question = headline(path)
        print(f"{name:8}{title}: {question}")
    print(f"{ALL:8}Every study above, one after the other, on both data sets")
    return command.DONE


if __name__ == "__main__":
    command.main(_ablate)
