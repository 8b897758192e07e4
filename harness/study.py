"""A study: an experiment file with its question, its variants and its seeds, as one request asks for it.

:func:`load` reads the TOML file, expands variants and grid into one :class:`RunConfig` each, and lays the request's
overrides over all of them. What a single setting may be is left to ``harness.config``; running, to ``harness.runner``.

    title = "..."                                   # question, expectation, finding: texts
    baseline = "adam"                               # the variant that the others are compared with
    seeds = 10                                      # seeds 0 to 9
    extensions = ["swish.py"]                       # Python files that register more activations, losses, optimizers
    [base]                                          # settings of every variant
    [variants.adam]                                 # what makes the variant "adam"
    [grid]                                          # lists of values; every combination, for every variant
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import itertools
import math
import os
import re
import sys
import traceback
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from harness.config import RunConfig, merge, nest, parse_assignment, parse_toml
from harness.errors import UserError, show, unknown

DEFAULT_SEEDS = 5
MAX_SEEDS = 100_000
MAX_CELLS = 100_000
MAX_VARIANT_NAME = 100
MAX_FOLDER_NAME = 100
MAX_EXCEPTION = 300  # characters of an extension's exception
ONLY_VARIANT = "baseline"  # name of the variant of a study that lists none
RESERVED_NAMES = ("runs",)  # folders under results/ that are no study's

TEXTS = ("title", "question", "expectation", "finding")
KEYS = (*TEXTS, "baseline", "seeds", "extensions", "base", "variants", "grid")

Layer: TypeAlias = tuple[str, dict[str, Any]]  # where settings come from, and the settings, nested

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]")  # in one value; several are joined by commas
_UNSAFE_JOINED = re.compile(r"[^A-Za-z0-9._=+,~-]")
_TOML_ERROR = re.compile(r"(?s)(.*) \(at (line \d+, column \d+|end of document)\)")


@dataclass(frozen=True)
class Overrides:
    """How a request departs from the study as written; ``settings`` holds the texts of ``--set``."""

    dataset: str | None = None
    epochs: int | None = None
    seeds: int | None = None
    limit: int | None = None
    engine: str | None = None
    precision: str | None = None
    only: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


AS_WRITTEN = Overrides()


@dataclass(frozen=True)
class Run:
    """A variant with a seed (``config.seed``)."""

    variant: str
    config: RunConfig


@dataclass(frozen=True)
class Study:
    """An experiment file as one request asks for it.

    Attributes
    ----------
    name : str
        The file's name without its ending; safe as a folder's name.
    title, question, expectation, finding : str
        Texts from the file.
    baseline : str or None
        The variant that the others are compared with.
    variants : dict of str to RunConfig
        In the order of the file, with seed 0.
    seeds : int
        Every variant runs with the seeds 0 to ``seeds - 1``.
    extensions : tuple of Path
        Python files that register what the settings name; absolute.
    path : Path
        The file; absolute.
    changes : tuple of str
        What the request changed, such as ``epochs=5``; safe in a file's name, in an order that does not depend on
        the request's.
    """

    name: str
    title: str
    question: str
    expectation: str
    baseline: str | None
    variants: dict[str, RunConfig]
    seeds: int
    extensions: tuple[Path, ...]
    path: Path
    changes: tuple[str, ...]
    finding: str = ""

    def runs(self) -> list[Run]:
        """All runs, variant by variant within a seed, so that a machine's mood hits all variants alike."""
        return [
            Run(name, config.with_seed(seed)) for seed in range(self.seeds) for name, config in self.variants.items()
        ]

    @functools.cached_property
    def factor_keys(self) -> list[str]:
        """Dotted keys in which variants differ, in the order of the settings.

        A setting that only some optimizers have counts when those that have it differ.
        """
        values: dict[str, set[str]] = {}
        for config in self.variants.values():
            for key, value in config.flat().items():
                values.setdefault(key, set()).add(repr(value))
        order = list(RunConfig.model_fields)
        differing = [key for key, seen in values.items() if len(seen) > 1]
        return sorted(differing, key=lambda key: order.index(key.partition(".")[0]))

    def folder_name(self) -> str:
        """Folder of this request's tables: the data set, and what was changed, such as ``cifar-10+epochs=5``."""
        dataset = next(iter(self.variants.values())).dataset
        return _safe(f"{dataset}+{','.join(self.changes)}" if self.changes else dataset, _UNSAFE_JOINED)


def available() -> dict[str, Path]:
    """Shipped studies by name, sorted."""
    folder = Path(str(importlib.resources.files("ablations")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def headline(path: Path) -> tuple[str, str]:
    """Title and question of a study file; nothing else in it is checked."""
    document = _read(path)
    return _text(document, "title", path).strip() or path.stem, _text(document, "question", path).strip()


def load(name_or_path: str, overrides: Overrides = AS_WRITTEN) -> Study:
    """Read a study and apply a request's overrides; they win over the file, in every variant.

    Parameters
    ----------
    name_or_path : str
        A shipped study's name, or the path of a TOML file.
    overrides : Overrides
        What the request changes. The data set is no change: it has a folder of its own.

    Raises
    ------
    UserError
        For whatever is wrong with the file or the request, in one line.
    """
    path = _locate(name_or_path)
    document, file = _read(path), path.name
    if stray := [key for key in document if key not in KEYS]:
        raise unknown("key", stray[0], KEYS, file)
    texts = {key: _text(document, key, path).strip() for key in TEXTS}
    extensions = _extensions(document, path)
    load_extensions(extensions)

    requested = list(_requested(overrides))
    moved = [layer for layer in requested if "dataset" in layer[1]]
    cells = _cells(document, file)
    written = _configs(cells, moved, file)
    baseline = _text(document, "baseline", path) or None
    if baseline is not None and baseline not in written:
        raise unknown("variant", baseline, written, f"{file}, baseline")
    seeds = _seeds(document.get("seeds", DEFAULT_SEEDS), f"{file}: seeds")

    for name in overrides.only:
        if name not in written:
            raise unknown("variant", name, written, "--only")
    kept = [name for name in written if not overrides.only or name in overrides.only]
    variants = {name: written[name] for name in kept}
    if len(requested) > len(moved):
        variants = _configs({name: cells[name] for name in kept}, requested, f"{file} with {_flags(requested)}")
    wanted_seeds = seeds if overrides.seeds is None else _seeds(overrides.seeds, "--seeds")

    changes = list(_changed_settings(requested, written, variants))
    changes += [f"seeds={wanted_seeds}"] if wanted_seeds != seeds else []
    # Names of variants may look like changes ("l2=0.1"): they come last, so that no two requests read alike.
    only = [_safe(f"only={','.join(map(_safe, kept))}", _UNSAFE_JOINED)] if len(kept) < len(written) else []
    return Study(
        name=path.stem,
        title=texts["title"] or path.stem,
        question=texts["question"],
        expectation=texts["expectation"],
        baseline=baseline if baseline in variants else None,
        variants=variants,
        seeds=wanted_seeds,
        extensions=extensions,
        path=path,
        changes=(*sorted(changes), *only),
        finding=texts["finding"],
    )


def load_extensions(paths: Iterable[Path]) -> None:
    """Execute Python files that register activations, losses or optimizers, each once per process.

    Raises
    ------
    UserError
        When one fails: its path, the line and the exception.
    """
    for path in paths:
        name = f"ablation_extension_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
        if name in sys.modules:
            continue
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # dataclasses and pickle look a class's module up
        try:
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
            if isinstance(error, SyntaxError):
                places.append((str(error.filename), error.lineno))
            lines = [f", line {line}" for file, line in places if file == str(path) and line]
            what = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_EXCEPTION]
            raise UserError(f"extension {_plain(path)}{lines[-1] if lines else ''}: {what}") from None


def _plain(path: object) -> str:
    """Write a path on one line."""
    return str(path) if str(path).isprintable() else show(str(path))


def _locate(name_or_path: str) -> Path:
    """Find the file of a study; its stem is a safe folder name."""
    shipped = available()
    if name_or_path in shipped:
        return shipped[name_or_path]
    if not ("/" in name_or_path or os.sep in name_or_path or name_or_path.endswith(".toml")):
        error = unknown("study", name_or_path, shipped)
        raise UserError(f"{error}; or the path of a .toml file")
    stem, file = Path(name_or_path).stem, Path(name_or_path).name
    if not _STUDY_NAME.fullmatch(file):
        rule = "letters, digits, '.', '_' and '-', a letter or a digit first"
        raise UserError(f"{_plain(name_or_path)}: {show(file)} cannot name a study; allowed: {rule}")
    if stem.lower() in RESERVED_NAMES:
        raise UserError(f"{_plain(name_or_path)}: {show(stem)} cannot name a study: results/{stem} has another use")
    return Path(os.path.abspath(name_or_path))


def _read(path: Path) -> dict[str, Any]:
    """Read and parse a study file."""
    try:
        if path.is_dir():
            raise UserError(f"{_plain(path)}: is a folder; a study is a .toml file")
        if path.exists() and not path.is_file():
            raise UserError(f"{_plain(path)}: is not a regular file; a study is a .toml file")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{_plain(path)}: there is no such file; shipped studies: {', '.join(available())}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}: is not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{_plain(path)}: cannot be read: {reason}") from None
    try:
        return parse_toml(text)
    except ValueError as error:
        found = _TOML_ERROR.fullmatch(str(error))
        reason = f"{found[2]}: {found[1]}" if found else str(error)
        raise UserError(f"{path.name}: {' '.join(reason.split())}") from None


def _text(document: Mapping[str, Any], key: str, path: Path) -> str:
    """Take a text at the top of the file; an empty one where there is none."""
    value = document.get(key, "")
    if not isinstance(value, str):
        raise UserError(f"{path.name}: {key} = {show(value)}: must be a text")
    return value


def _seeds(value: object, place: str) -> int:
    """Check a number of seeds."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SEEDS:
        raise UserError(f"{place} = {show(value)}: must be a whole number in [1, {MAX_SEEDS}]")
    return value


def _extensions(document: Mapping[str, Any], path: Path) -> tuple[Path, ...]:
    """Absolute paths of the extensions."""
    names = document.get("extensions", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{path.name}: extensions = {show(names)}: must be a list of paths of Python files")
    return tuple(Path(os.path.abspath(path.parent / name)) for name in names)


def _table(document: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    """Take a table; an empty one where there is none."""
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{place} = {show(value)}: must be a table of settings, such as {{ name = value }}")
    return value


def _cells(document: Mapping[str, Any], file: str) -> dict[str, list[Layer]]:
    """Layers of settings, lowest first, of every variant by name, in order."""
    base = nest(_table(document, "base", f"{file}: base"), f"{file}, base")
    variants = _table(document, "variants", f"{file}: variants")
    grid = dict(_lists(nest(_table(document, "grid", f"{file}: grid"), f"{file}, grid"), f"{file}, grid"))
    if (count := math.prod(map(len, grid.values())) * max(1, len(variants))) > MAX_CELLS:
        raise UserError(f"{file}, grid: {show(count)} cells; at most {MAX_CELLS} are allowed")

    named: dict[str, list[Layer]] = {}
    for variant in variants:
        _check_name(variant, f"{file}, variants")
        place = f"{file}, variants.{variant}"
        named[variant] = [(place, nest(_table(variants, variant, f"{file}: variants.{variant}"), place))]
    cells: dict[str, list[Layer]] = {}
    for variant, layers in named.items() or [("", [])]:
        for values in itertools.product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            parts = [variant, *(f"{key}={_word(value)}" for key, value in point.items())]
            name = ", ".join(filter(None, parts)) or ONLY_VARIANT
            _check_name(name, f"{file}, grid")
            if name in cells:
                raise UserError(f"{file}, grid: variant {show(name)} is listed twice")
            cell = nest(point, f"{file}, grid")
            cells[name] = [(f"{file}, base", base), *layers, (f"{file}, grid", cell)]
    return cells


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


def _word(value: object) -> str:
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


def _requested(overrides: Overrides) -> Iterator[Layer]:
    """List what a request sets, one layer per setting; ``--set`` wins."""
    for flag in ("dataset", "epochs", "limit", "engine", "precision"):
        value = getattr(overrides, flag)
        if value is not None:
            yield f"--{flag}", {"data": {"limit": value}} if flag == "limit" else {flag: value}
    for text in overrides.settings:
        key, value = parse_assignment(text)
        yield "--set", nest({key: value}, "--set")


def _flags(requested: Iterable[Layer]) -> str:
    return ", ".join(dict.fromkeys(flag for flag, _ in requested))


def _source(layers: list[Layer], file: str, key: str) -> str:
    """Name the topmost layer that sets a key."""
    section, _, inner = key.partition(".")
    for place, settings in reversed(layers):
        if section in settings:
            table = settings[section]
            if not inner or not isinstance(table, dict) or inner in table:
                return place
    return file


def _combined(requested: Iterable[Layer]) -> dict[str, Any]:
    """All that a request sets, as one table: the order of its settings matters only where it sets one twice."""
    combined: dict[str, Any] = {}
    for _, settings in requested:
        for key, value in settings.items():
            old = combined.get(key)
            combined[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return combined


def _configs(cells: Mapping[str, list[Layer]], requested: list[Layer], file: str) -> dict[str, RunConfig]:
    """Make the settings of every variant; no two alike, one data set."""
    variants: dict[str, RunConfig] = {}
    seen: dict[str, str] = {}
    top = _combined(requested)
    for name, layers in cells.items():
        settings: dict[str, Any] = functools.reduce(merge, [*(layer for _, layer in layers), top], {})
        source = functools.partial(_source, [*layers, *requested], file)
        for key in ("seed", "seeds"):
            if key in settings:
                advice = "a study runs seeds 0 to N-1: write seeds = N at the top of its file, or --seeds N"
                raise UserError(f"{source(key)}: {key} = {show(settings[key])}: {advice}")
        config = RunConfig.from_settings(settings, source)
        twin = seen.setdefault(config.canonical(), name)
        if twin != name:
            raise UserError(f"{file}: variants {show(twin)} and {show(name)} have the same settings")
        variants[name] = config
    if len(datasets := {config.dataset for config in variants.values()}) > 1:
        raise UserError(f"{file}: dataset differs among variants ({', '.join(sorted(datasets))}): a study has one")
    return variants


def _changed_settings(
    requested: Iterable[Layer], written: Mapping[str, RunConfig], variants: Mapping[str, RunConfig]
) -> Iterator[str]:
    """``key=value`` of every requested setting, but the data set, that is not what the study says already."""
    pairs = [(written[name].flat(), config.flat()) for name, config in variants.items()]
    for section, value in _combined(requested).items():
        for key in [f"{section}.{inner}" for inner in value] if isinstance(value, dict) else [section]:
            if key != "dataset" and any(key not in before or before[key] != after[key] for before, after in pairs):
                yield _safe(f"{'limit' if key == 'data.limit' else key}={_word(pairs[0][1][key])}")


def _safe(text: str, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    """Make a text fit a folder's name; one that had to be changed or cut ends in ``~`` and a hash of the original."""
    clean = unsafe.sub("_", text)
    if clean == text and len(text) <= MAX_FOLDER_NAME:
        return text
    return f"{clean[: MAX_FOLDER_NAME - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
