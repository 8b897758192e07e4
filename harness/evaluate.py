"""Command line: measure a model file again, and say whether it does what was reported of it.

``python -m harness.evaluate MODEL`` finds the data, splits and scales them as the model's settings say, and compares
its figures with those in the file, to the last bit. Reading the file is left to ``harness.modelfile``, measuring to
``harness.measure``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import command
from harness.errors import UserError, show_path, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from harness.cache import Dataset
    from harness.metrics import Confusion
    from harness.modelfile import StoredModel

PARTS = {"test": "test", "validation": "val"}  # of a split, and what figures of it are called


def parser() -> command.Parser:
    """All options of the command."""
    p = command.Parser(
        prog="harness.evaluate",
        usage="python -m harness.evaluate MODEL [options]",
        description="Measure a model file and say whether its figures are those that its run reported.",
        allow_abbrev=False,
    )
    p.add_argument("model", nargs="?", metavar="MODEL", help="a model.safetensors, such as results/runs/ID/best/…")
    p.add_argument("--split", default="test", metavar="PART", help="test (default) or validation")
    p.add_argument("--data-dir", type=command.folder, metavar="DIR", help="folder that holds the data sets")
    p.add_argument("--extension", action="append", default=[], metavar="FILE", type=Path,
                   help="Python file that registers what the model's settings name; may be repeated")  # fmt: skip
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 the figures are those reported, 1 they are not, 2 a wrong request."""
    return command.run(_evaluate, sys.argv[1:] if arguments is None else arguments)


def _evaluate(arguments: Sequence[str]) -> int:
    options = parser().parse(arguments)
    if options.model is None:
        raise UserError("name a model file, such as results/runs/ID/last/model.safetensors")
    if options.split not in PARTS:
        raise unknown("part", options.split, PARTS, "--split")
    import numpy as np

    from harness import data, measure
    from harness.extensions import load_extensions
    from harness.modelfile import load_model
    from harness.progress import standard_output
    from harness.trainer import make_engine

    load_extensions([path.absolute() for path in options.extension])
    model = load_model(Path(options.model))
    config = model.config
    dataset = data.find(config.dataset, options.data_dir)
    _require_fit(model, dataset, options.model)
    split = data.make_split(dataset, config.data.split, config.data.split_seed, config.data.limit)
    rows, y = {"test": split.test, "validation": split.val}[options.split], dataset.y.astype(np.int64)

    console = standard_output()

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    sizes = "-".join(map(str, (len(model.weights[0][0]), *config.hidden, len(model.weights[-1][1]))))
    say(f"run {model.run_id}, epoch {model.epoch} of {config.epochs}: {sizes}, {config.activation}, seed {config.seed}")
    say(f"{dataset.name}: {dataset.source}")
    if dataset.warning:
        say(f"warning: {dataset.warning}")
    engine = make_engine(config, dataset, split)
    engine.set_weights(model.weights)
    evaluation = engine.evaluate(dataset.X, y, rows)
    confusion = measure.confusion_of(evaluation, y[rows])
    found = measure.figures(PARTS[options.split], evaluation, confusion)
    console.print(_table(confusion, dataset.class_names))
    for name, value in found.items():
        say(f"{name:22}{value:.6f}")
    verdict, same = _verdict(found, model.metrics)
    say(verdict)
    if not same:
        for reason in _reasons(model, dataset):
            say(reason)
    return command.DONE if same else command.SOME_FAILED


def _require_fit(model: StoredModel, dataset: Dataset, path: str) -> None:
    """Make sure that a network takes these images and tells these classes apart."""
    takes, gives = len(model.weights[0][0]), len(model.weights[-1][1])
    has, classes = dataset.X.shape[1], len(dataset.class_names)
    if (takes, gives) != (has, classes):
        raise UserError(
            f"{show_path(path)}: takes {takes} inputs and tells {gives} classes apart; "
            f"{dataset.name} has {has} pixels and {classes} classes"
        )


def _verdict(found: dict[str, float], reported: dict[str, float]) -> tuple[str, bool]:
    """Whether figures are those reported, to the last bit, in words."""
    known = {name: reported[name] for name in found if name in reported and reported[name] == reported[name]}
    if not known:
        return "The file reports no such figures: there is nothing to compare with.", False
    other = [name for name, value in known.items() if found[name] != value]
    if other:
        name = other[0]
        return f"Not as reported: {name} was {known[name]!r}, is {found[name]!r}.", False
    return f"As reported, to the last digit: {', '.join(known)}.", True


def _reasons(model: StoredModel, dataset: Dataset) -> list[str]:
    """What may have made the difference."""
    from harness.version import code_version

    reasons = []
    if model.data_fingerprint != dataset.fingerprint:
        reasons.append(
            f"It was made with other pixels: fingerprint {model.data_fingerprint}, not {dataset.fingerprint}."
        )
    if model.code_version != code_version():
        reasons.append(f"It was made by another version of the code: {model.code_version}, not {code_version()}.")
    return reasons


def _table(confusion: Confusion, class_names: Sequence[str]) -> Table:
    """Precision, recall and F1 of each class."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from harness.metrics import precision_recall_f1

    table = Table(box=box.SIMPLE_HEAD)
    for header in ("Class", "Images", "Precision", "Recall", "F1"):
        table.add_column(header, justify="left" if header == "Class" else "right", no_wrap=True)
    for name, images, *scores in zip(class_names, confusion.sum(axis=1), *precision_recall_f1(confusion), strict=True):
        table.add_row(Text(name), f"{images:,}", *(f"{score:.4f}" for score in scores))
    return table


if __name__ == "__main__":
    command.main(_evaluate)
