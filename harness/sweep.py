"""Command line: search for the settings with the highest validation accuracy (``python -m harness.sweep``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import command

if TYPE_CHECKING:
    import argparse

    from harness.sweepfile import Overrides


def parser() -> command.Parser:
    """All options of the command."""
    p = command.Parser(
        prog="harness.sweep",
        usage="python -m harness.sweep [SPACE] [options]",
        description="Search for the settings with the highest validation accuracy, with trials on all cores.",
        allow_abbrev=False,
    )
    p.add_argument("space", nargs="?", metavar="SPACE", default="sweep",
                   help="the shipped space (sweep, the default) or the path of a .toml file")  # fmt: skip
    p.add_argument("--trials", type=command.number, metavar="N", help="how many trials there are to be in the end")
    p.add_argument("--method", help="random or bayes")
    p.add_argument("--pruning", help="stop poor trials early: none, median or halving")
    p.add_argument("--seed", type=command.number, metavar="N", help="seed of the choices")
    p.add_argument("--deterministic", action="store_true", help="the same trials whatever the timing")
    p.add_argument("--dataset", help="fashion-mnist or cifar-10")
    p.add_argument("--epochs", type=command.number, metavar="N", help="train each trial for N epochs at most")
    p.add_argument("--limit", type=command.number, metavar="N", help="keep the first N training images")
    p.add_argument("--jobs", type=command.number, metavar="N",
                   help="trials at a time (default: the cores this process may use)")  # fmt: skip
    p.add_argument("--out", type=command.folder, default=Path("results"), metavar="DIR", help="folder of results")
    p.add_argument("--data-dir", type=command.folder, metavar="DIR", help="folder that holds the data sets")
    p.add_argument("--wandb", metavar="MODE", help="tracking in Weights & Biases: offline, online or disabled")
    p.add_argument("--dry-run", action="store_true", help="say what would be searched, and stop")
    p.add_argument("--export-wandb", type=Path, metavar="FILE", help="write the space as a sweep of W&B, and stop")
    p.add_argument("--one", action="store_true", help="train one trial, with settings such as --optimizer.lr=0.01")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 some trial failed, 2 the request was wrong, 130 stopped."""
    return command.run(_sweep, sys.argv[1:] if arguments is None else arguments)


def _sweep(arguments: Sequence[str]) -> int:
    settings = [text for text in arguments if _is_setting(text)] if "--one" in arguments else []
    options = parser().parse([text for text in arguments if text not in settings])
    command.require_number("--jobs", options.jobs, command.MAX_JOBS)
    from harness import sweepfile

    search = sweepfile.load(options.space, _overrides(options))
    if options.export_wandb is not None:
        from harness import wandbfile

        return wandbfile.export(search, options.space, options.export_wandb)
    if options.one:
        from harness import onetrial

        return onetrial.run(search, settings, options.seed, options.out, options.data_dir, options.wandb)
    from harness import search as searching

    words = ("python", "-m", "harness.sweep", *arguments)
    request = searching.Request(search, words, options.out, options.data_dir, options.jobs, options.wandb)
    return searching.dry_run(request) if options.dry_run else searching.run(request)


def _is_setting(text: str) -> bool:
    """Whether an argument reads ``--KEY=VALUE`` and is none of the options."""
    key, equals, _ = text.partition("=")
    return key.startswith("--") and bool(equals) and key not in parser()._option_string_actions


def _overrides(options: argparse.Namespace) -> Overrides:
    from harness.sweepfile import Overrides

    return Overrides(
        dataset=options.dataset,
        epochs=options.epochs,
        limit=options.limit,
        trials=options.trials,
        method=options.method,
        pruning=options.pruning,
        seed=options.seed,
        deterministic=options.deterministic,
    )


if __name__ == "__main__":
    command.main(_sweep)
