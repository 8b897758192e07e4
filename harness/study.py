"""A study: a question, its variants and its seeds, as one request asks for it.

:func:`load` lays the settings that a study file spells out over one another, and the request's overrides over all of
them: one :class:`RunConfig` for each variant. Reading the file is left to ``harness.studyfile``, what a single setting
may be to ``harness.config``, running to ``harness.runner``.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import factors, studyfile
from harness.claims import Claim, read_claims
from harness.config import DATASET_NAMES, RunConfig, nest
from harness.errors import UserError, show, unknown
from harness.extensions import load_extensions
from harness.settings import merge, parse_assignment
from harness.studyfile import Layer, number_of_seeds, selection, word
from harness.tuning import Tuning, read_tuning

MAX_FOLDER_NAME = 100

_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]")  # in one value; several are joined by commas
_UNSAFE_JOINED = re.compile(r"[^A-Za-z0-9._=+,~-]")


@dataclass(frozen=True)
class Overrides:
    """How a request departs from the study as written; ``settings`` holds the texts of ``--set``."""

    dataset: str | None = None
    epochs: int | None = None
    seeds: int | None = None
    limit: int | None = None
    engine: str | None = None
    precision: str | None = None
    select: str | None = None
    only: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The options of ``python -m harness.ablate`` that say the same."""
        flags = ("dataset", "epochs", "seeds", "limit", "engine", "precision", "select")
        given = {flag: getattr(self, flag) for flag in flags if getattr(self, flag) is not None}
        words = [word for flag, value in given.items() for word in (f"--{flag}", str(value))]
        words += [word for text in self.settings for word in ("--set", text)]
        return [*words, "--only", *self.only] if self.only else words


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
    target_accuracy : float
        Validation accuracy whose epoch and time the tables tell, in (0, 1]; no run depends on it.
    select : str
        Epoch whose weights the tables report, ``last`` or ``best`` by validation accuracy; no run depends on it.
    changes : tuple of str
        What the request changed, such as ``epochs=5``; safe in a file's name, in an order that does not depend on
        the request's.
    by_shape : bool
        Whether the file speaks of ``hidden.layers`` and ``hidden.units`` rather than of ``hidden``.
    claims : tuple of Claim
        What is expected of the variants that the request kept.
    tuning : Tuning or None
        What is to be chosen for each variant first; None where nothing is, or all has been.
    overrides : Overrides
        The request.
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
    target_accuracy: float
    finding: str = ""
    select: str = "last"
    by_shape: bool = False
    claims: tuple[Claim, ...] = ()
    tuning: Tuning | None = None
    overrides: Overrides = field(default=AS_WRITTEN, compare=False)

    def runs(self) -> list[Run]:
        """All runs, variant by variant within a seed, so that a machine's mood hits all variants alike."""
        return [
            Run(name, config.with_seed(seed)) for seed in range(self.seeds) for name, config in self.variants.items()
        ]

    @property
    def dataset(self) -> str:
        """The data set that all runs share."""
        return next(iter(self.variants.values())).dataset

    @property
    def texts(self) -> dict[str, str]:
        """Its sentences by their heading; the finding only where nothing was changed, since it speaks of those runs."""
        finding = "" if self.changes else self.finding
        return {"Question": self.question, "Expectation": self.expectation, "Finding": finding}

    @property
    def metrics(self) -> set[str]:
        """What its claims are about."""
        return {comparison.metric for claim in self.claims for comparison in claim.comparisons}

    @functools.cached_property
    def factor_keys(self) -> list[str]:
        """Dotted keys in which variants differ, in the order of the settings, as `factors.factor_keys` gives them."""
        return factors.factor_keys(self.variants.values(), self.by_shape)

    def factor_values(self, config: RunConfig) -> dict[str, Any]:
        """What sets a variant apart: its settings under the `factor_keys` that it has."""
        settings = factors.all_labels(config)
        return {key: settings[key] for key in self.factor_keys if key in settings}

    def folder_name(self) -> str:
        """Folder of this request's tables: the data set, and what was changed, such as ``cifar-10+epochs=5``."""
        return safe_name(f"{self.dataset}+{','.join(self.changes)}" if self.changes else self.dataset)


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
    path = studyfile.locate(name_or_path)
    document, file = studyfile.read(path), path.name
    document.check_keys()
    texts = {key: document.text(key).strip() for key in studyfile.TEXTS}
    extensions = document.extensions()
    load_extensions(extensions)

    requested = list(_requested(overrides))
    moved = [layer for layer in requested if "dataset" in layer[1]]
    cells = document.cells()
    dataset = _dataset(cells, moved)
    if document.own(dataset):
        cells = document.cells(dataset)
    written = _configs(cells, moved, file)
    baseline = document.text("baseline") or None
    if baseline is not None and baseline not in written:
        raise unknown("variant", baseline, written, f"{file}, baseline")
    seeds, written_select = document.seeds(dataset), document.select()
    by_shape = factors.speaks_of_shape(layer for layers in cells.values() for _, layer in layers)
    claims = read_claims(*document.claims(dataset), written, by_shape)

    for name in overrides.only:
        if name not in written:
            raise unknown("variant", name, written, "--only")
    kept = [name for name in written if not overrides.only or name in overrides.only]
    variants = {name: written[name] for name in kept}
    if len(requested) > len(moved):
        variants = _configs({name: cells[name] for name in kept}, requested, f"{file} with {_flags(requested)}")
    tuning = None
    if "search" in document.document:

        def source(variant: str, key: str) -> str:
            return _source([*cells[variant], *requested], "", key)

        tuning = read_tuning(document.document["search"], variants, source, file)
    wanted_seeds = seeds if overrides.seeds is None else number_of_seeds(overrides.seeds, "--seeds")

    changes = list(_changed_settings(requested, written, variants))
    changes += [f"seeds={wanted_seeds}"] if wanted_seeds != seeds else []
    select = written_select if overrides.select is None else selection(overrides.select, "--select")
    changes += [f"select={select}"] if select != written_select else []
    # Names of variants may look like changes ("l2=0.1"): they come last, so that no two requests read alike.
    only = [safe_name(f"only={','.join(map(_safe, kept))}")] if len(kept) < len(written) else []
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
        target_accuracy=document.target_accuracy(dataset),
        finding=document.text("finding", dataset).strip(),
        select=select,
        by_shape=by_shape,
        claims=tuple(claim for claim in claims if claim.variants <= variants.keys()),
        tuning=tuning,
        overrides=overrides,
    )


def _dataset(cells: Mapping[str, list[Layer]], moved: Iterable[Layer]) -> str:
    """Name of the data set; an empty text where it is none that we know, of which `_configs` will complain."""
    layers = [settings for _, settings in (*next(iter(cells.values())), *moved)]
    name = next((settings["dataset"] for settings in reversed(layers) if "dataset" in settings), RunConfig().dataset)
    return name if name in DATASET_NAMES else ""


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
    pairs = [(factors.all_labels(written[name]), factors.all_labels(config)) for name, config in variants.items()]
    for section, value in _combined(requested).items():
        for key in [f"{section}.{inner}" for inner in value] if isinstance(value, dict) else [section]:
            if key != "dataset" and any(key not in before or before[key] != after[key] for before, after in pairs):
                yield _safe(f"{'limit' if key == 'data.limit' else key}={word(pairs[0][1][key])}")


def safe_name(text: str) -> str:
    """Make several values, joined by commas, fit a name of a folder or a file."""
    return _safe(text, _UNSAFE_JOINED)


def _safe(text: str, unsafe: re.Pattern[str] = _UNSAFE) -> str:
    """Make a text fit a folder's name; one that had to be changed or cut ends in ``~`` and a hash of the original."""
    clean = unsafe.sub("_", text)
    if clean == text and len(text) <= MAX_FOLDER_NAME:
        return text
    return f"{clean[: MAX_FOLDER_NAME - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
