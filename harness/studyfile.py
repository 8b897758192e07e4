"""A study's file: where it lies, what it must look like, and the variants that it spells out.

A variant is a list of layers of settings: those of the base, its own, and those of its point in the grid; a data set
may add layers to the first two. Laying them over one another, and what a request changes, are left to
``harness.study``; what a single setting may be, to ``harness.config``; what a claim may be, to ``harness.claims``.

    title = "..."                                   # question, expectation, finding: texts
    baseline = "adam"                               # the variant that the others are compared with
    seeds = 10                                      # seeds 0 to 9
    target_accuracy = 0.9                           # validation accuracy whose time is taken
    select = "best"                                 # epoch whose weights the tables report
    extensions = ["swish.py"]                       # Python files that register more activations, losses, optimizers
    [base]                                          # settings of every variant
    [variants.adam]                                 # what makes the variant "adam"
    [grid]                                          # lists of values; every combination, for every variant
    [[claims]]                                      # what is expected, so that the tables can tell whether it is so
    [datasets.cifar-10]                             # seeds, target_accuracy, finding, base, variants, claims of its own
    [search]                                        # settings to be chosen for each variant first (harness.tuning)
"""

from __future__ import annotations

import importlib.resources
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from harness.config import DATASET_NAMES, nest
from harness.errors import UserError, show, show_path, unknown
from harness.settings import parse_toml

DEFAULT_SEEDS = 5
MAX_SEEDS = 100_000
# By data set: what a tuned network with one hidden layer of 128 units reaches in some five epochs, a poor one never.
DEFAULT_TARGETS = {"fashion-mnist": 0.88, "cifar-10": 0.45}
MAX_CELLS = 100_000
MAX_VARIANT_NAME = 100
ONLY_VARIANT = "baseline"  # name of the variant of a study that lists none
SELECTIONS = ("last", "best")  # epochs whose weights a table can report
RESERVED_NAMES = ("runs",)  # folders under results/ that are no study's
SEARCHES = ("sweep",)  # shipped files that harness.sweep reads

TEXTS = ("title", "question", "expectation", "finding")
KEYS = (
    *(*TEXTS, "baseline", "seeds", "target_accuracy", "select", "extensions"),
    *("base", "variants", "grid", "claims", "datasets", "search"),
)
DATASET_KEYS = ("finding", "seeds", "target_accuracy", "base", "variants", "claims")  # of a table in [datasets]

Layer: TypeAlias = tuple[str, dict[str, Any]]  # where settings come from, and the settings, nested

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOML_ERROR = re.compile(r"(?s)(.*) \(at (line \d+, column \d+|end of document)\)")


@dataclass(frozen=True)
class StudyFile:
    """What a study file says; each part is checked when it is asked for.

    Attributes
    ----------
    path : Path
        The file.
    document : dict
        Its keys and tables, as TOML gives them.
    """

    path: Path
    document: dict[str, Any]

    def check_keys(self) -> None:
        """Raise ``UserError`` for a key that no study has."""
        file = self.path.name
        if stray := [key for key in self.document if key not in KEYS]:
            raise unknown("key", stray[0], KEYS, file)
        for dataset, own in _table(self.document, "datasets", f"{file}: datasets").items():
            if dataset not in DATASET_NAMES:
                raise unknown("data set", dataset, DATASET_NAMES, f"{file}, datasets")
            _table({dataset: own}, dataset, f"{file}: datasets.{dataset}")
            if stray := [key for key in own if key not in DATASET_KEYS]:
                raise unknown("key", stray[0], DATASET_KEYS, f"{file}, datasets.{dataset}")

    def text(self, key: str, dataset: str = "") -> str:
        """Text of the file, or of a data set in it; an empty one where there is none."""
        value, place = self._get(key, dataset, "")
        if not isinstance(value, str):
            raise UserError(f"{place} = {show(value)}: must be a text")
        return value

    def seeds(self, dataset: str = "") -> int:
        """Give the number of seeds."""
        return number_of_seeds(*self._get("seeds", dataset, DEFAULT_SEEDS))

    def target_accuracy(self, dataset: str) -> float:
        """Validation accuracy whose time is taken; where the file says nothing, the data set decides."""
        value, place = self._get("target_accuracy", dataset, DEFAULT_TARGETS[dataset])
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
            raise UserError(f"{place} = {show(value)}: must be a number in (0, 1]")
        return float(value)

    def select(self) -> str:
        """Give the epoch whose weights the tables report."""
        return selection(self.document.get("select", SELECTIONS[0]), f"{self.path.name}: select")

    def claims(self, dataset: str) -> tuple[list[dict[str, Any]], str]:
        """Tables of the claims, those of the data set instead of the file's where it has any, and their place."""
        value, place = self._get("claims", dataset, [])
        if not isinstance(value, list) or not all(isinstance(claim, dict) for claim in value):
            raise UserError(f"{place} = {show(value)}: must be a list of tables, each headed [[claims]]")
        return value, place.replace(": ", ", ", 1)

    def own(self, dataset: str) -> dict[str, Any]:
        """What the file says for one data set."""
        tables: dict[str, dict[str, Any]] = self.document.get("datasets", {})
        return tables.get(dataset, {})

    def _get(self, key: str, dataset: str, default: Any) -> tuple[Any, str]:
        """A value with its place; that of the data set wins."""
        own = self.own(dataset)
        place = f"{self.path.name}: {f'datasets.{dataset}.' if key in own else ''}{key}"
        return own.get(key, self.document.get(key, default)), place

    def extensions(self) -> tuple[Path, ...]:
        """Absolute paths of the extensions."""
        names = self.document.get("extensions", [])
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise UserError(f"{self.path.name}: extensions = {show(names)}: must be a list of paths of Python files")
        return tuple(Path(os.path.abspath(self.path.parent / name)) for name in names)

    def cells(self, dataset: str = "") -> dict[str, list[Layer]]:
        """Layers of settings, lowest first, of every variant by name, in order; with those of a data set."""
        document, file = self.document, self.path.name
        grid = dict(_lists(nest(_table(document, "grid", f"{file}: grid"), f"{file}, grid"), f"{file}, grid"))
        variants = _table(document, "variants", f"{file}: variants")
        if (count := math.prod(map(len, grid.values())) * max(1, len(variants))) > MAX_CELLS:
            raise UserError(f"{file}, grid: {show(count)} cells; at most {MAX_CELLS} are allowed")

        bases = [_layer(document, "base", file)]
        named: dict[str, list[Layer]] = {}
        for variant in variants:
            _check_name(variant, f"{file}, variants")
            named[variant] = [_layer(variants, variant, file, "variants.")]
        if own := self.own(dataset):
            section = f"datasets.{dataset}."
            bases.append(_layer(own, "base", file, section))
            more = _table(own, "variants", f"{file}: {section}variants")
            for variant in more:
                if variant not in variants:
                    raise unknown("variant", variant, variants, f"{file}, {section}variants")
                named[variant].append(_layer(more, variant, file, f"{section}variants."))
        for place, layer in [*bases[1:], *(layer for layers in named.values() for layer in layers[1:])]:
            if "dataset" in layer:
                raise UserError(f"{place}: dataset = {show(layer['dataset'])}: these settings are for {dataset} alone")

        cells: dict[str, list[Layer]] = {}
        for variant, layers in named.items() or [("", [])]:
            for values in itertools.product(*grid.values()):
                point = dict(zip(grid, values, strict=True))
                parts = [variant, *(f"{key}={word(value)}" for key, value in point.items())]
                name = ", ".join(filter(None, parts)) or ONLY_VARIANT
                _check_name(name, f"{file}, grid")
                if name in cells:
                    raise UserError(f"{file}, grid: variant {show(name)} is listed twice")
                cells[name] = [*bases, *layers, (f"{file}, grid", nest(point, f"{file}, grid"))]
        return cells


def available() -> dict[str, Path]:
    """Shipped studies by name, sorted."""
    return {name: path for name, path in shipped().items() if name not in SEARCHES}


def shipped() -> dict[str, Path]:
    """Shipped files, of studies and of searches, by name, sorted."""
    folder = Path(str(importlib.resources.files("ablations")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def headline(path: Path) -> tuple[str, str]:
    """Title and question of a study file; nothing else in it is checked."""
    file = read(path)
    return file.text("title").strip() or path.stem, file.text("question").strip()


def locate(name_or_path: str) -> Path:
    """Find the file of a study by a shipped study's name or by its path; its stem is a safe folder name.

    Raises
    ------
    UserError
        Where no study is called so, or the file's name could not name a folder.
    """
    shipped = available()
    if name_or_path in shipped:
        return shipped[name_or_path]
    if not ("/" in name_or_path or os.sep in name_or_path or name_or_path.endswith(".toml")):
        error = unknown("study", name_or_path, shipped)
        raise UserError(f"{error}; or the path of a .toml file")
    stem, file = Path(name_or_path).stem, Path(name_or_path).name
    if not _STUDY_NAME.fullmatch(file):
        rule = "letters, digits, '.', '_' and '-', a letter or a digit first"
        raise UserError(f"{show_path(name_or_path)}: {show(file)} cannot name a study; allowed: {rule}")
    if stem.lower() in RESERVED_NAMES:
        raise UserError(f"{show_path(name_or_path)}: {show(stem)} cannot name a study: results/{stem} has another use")
    return Path(os.path.abspath(name_or_path))


def read(path: Path) -> StudyFile:
    """Read and parse a study file.

    Raises
    ------
    UserError
        Where it cannot be read, or is no TOML: the place in it and the reason.
    """
    try:
        if path.is_dir():
            raise UserError(f"{show_path(path)}: is a folder; a study is a .toml file")
        if path.exists() and not path.is_file():
            raise UserError(f"{show_path(path)}: is not a regular file; a study is a .toml file")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        shipped = ", ".join(available())
        raise UserError(f"{show_path(path)}: there is no such file; shipped studies: {shipped}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}: is not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{show_path(path)}: cannot be read: {reason}") from None
    try:
        return StudyFile(path, parse_toml(text))
    except ValueError as error:
        found = _TOML_ERROR.fullmatch(str(error))
        reason = f"{found[2]}: {found[1]}" if found else str(error)
        raise UserError(f"{path.name}: {' '.join(reason.split())}") from None


def number_of_seeds(value: object, place: str) -> int:
    """Check a number of seeds; ``UserError`` for one that is not allowed."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SEEDS:
        raise UserError(f"{place} = {show(value)}: must be a whole number in [1, {MAX_SEEDS}]")
    return value


def selection(value: object, place: str) -> str:
    """Check which epoch's weights are to be reported; ``UserError`` for one that is not allowed."""
    if not isinstance(value, str) or value not in SELECTIONS:
        raise unknown("epoch", value, SELECTIONS, place)
    return value


def word(value: object) -> str:
    """Write a value as names of variants and folders show it: texts bare, widths of layers as 128x64."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return "x".join(show(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={item if isinstance(item, str) else show(item)}" for key, item in value.items())
    return show(value)


def _table(document: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    """Take a table; an empty one where there is none."""
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{place} = {show(value)}: must be a table of settings, such as {{ name = value }}")
    return value


def _layer(tables: Mapping[str, Any], key: str, file: str, section: str = "") -> Layer:
    """Settings that a table holds under a key, nested, and their place."""
    place = f"{file}, {section}{key}"
    return place, nest(_table(tables, key, f"{file}: {section}{key}"), place)


def _lists(grid: Mapping[str, Any], place: str, section: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Dotted keys of a nested grid and their lists of values."""
    for key, value in grid.items():
        if isinstance(value, dict) and value and not section:
            yield from _lists(value, place, f"{key}.")
        elif not isinstance(value, list) or not value:
            raise UserError(f"{place}: {section}{key} = {show(value)}: must be a list of one or more values")
        else:
            yield section + key, value


def _check_name(name: str, place: str) -> None:
    """Check that a text can name a variant."""
    if not name.strip() or len(name) > MAX_VARIANT_NAME or not name.isprintable():
        rule = f"1 to {MAX_VARIANT_NAME} printable characters, not all blank"
        raise UserError(f"{place}: {show(name)} cannot name a variant; allowed: {rule}")
