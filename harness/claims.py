"""What a study claims beforehand, in a form that its tables can be held against.

A claim compares cells of the study: ``better`` with ``than``, each a variant's name, or a table of settings that
chooses cells. Cells chosen by settings are compared with the cells that differ from them in these settings alone. Here
claims are read and their cells found; what came out is the business of ``harness.findings``.

    [[claims]]
    text = "Adam gets there first"
    better = "adam"                 # or a list; each of them, or with some = true one of them, must do better than
    than = ["sgd", "momentum"]      # all of these
    metric = "epochs_to_target"     # or a list: in all of them
    no_worse = { test_accuracy = 0.002 }    # and be no worse in these, by more than so much
    at = { batch_size = 64 }        # only where cells have these settings
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config import RunConfig, nest
from harness.errors import UserError, show, unknown
from harness.factors import factor_keys, labels
from harness.studyfile import word

METRICS = {  # columns of runs.csv that a claim can be about, and whether more (1) or less (-1) is better
    "test_accuracy": 1,
    "test_f1_macro": 1,
    "val_accuracy": 1,
    "best_val_accuracy": 1,
    "train_accuracy": 1,
    "gap": -1,
    "epochs_to_target": -1,
    "seconds_to_target": -1,
    "train_seconds": -1,
}
CLAIM_KEYS = ("text", "better", "than", "metric", "no_worse", "at", "some")


@dataclass(frozen=True)
class Comparison:
    """One thing that must be so for a claim to hold.

    Attributes
    ----------
    metric : str
        One of `METRICS`.
    better, than, at : str
        What is compared, and where, in words.
    cells : tuple of (str, str or None)
        Variants of ``better``, each with its partner among those of ``than``; None where ``value`` takes its place.
    value : float or None
        A number that the metric is compared with.
    margin : float or None
        By how much ``better`` may be worse; None where it must be better.
    """

    metric: str
    better: str
    than: str
    at: str
    cells: tuple[tuple[str, str | None], ...]
    value: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence, and groups of comparisons: it holds when all comparisons of one group do."""

    text: str
    groups: tuple[tuple[Comparison, ...], ...]

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons of all groups."""
        return tuple(comparison for group in self.groups for comparison in group)

    @property
    def variants(self) -> set[str]:
        """Names of all variants that it speaks of."""
        return {name for each in self.comparisons for cells in each.cells for name in cells if name is not None}


def read_claims(
    tables: list[dict[str, Any]], place: str, variants: Mapping[str, RunConfig], by_shape: bool
) -> tuple[Claim, ...]:
    """Read the claims of a study and find the cells that they speak of.

    Parameters
    ----------
    tables
        As the file has them.
    place : str
        Where they come from, for errors.
    variants : mapping of str to RunConfig
        All variants of the study as written.
    by_shape : bool
        Whether the study speaks of ``hidden.layers`` and ``hidden.units``.

    Raises
    ------
    UserError
        For the first thing in them that is not allowed.
    """
    if not tables:
        return ()
    keys = factor_keys(variants.values(), by_shape)
    settings = {name: labels(config, by_shape) for name, config in variants.items()}
    cells = {name: {key: own.get(key) for key in keys} for name, own in settings.items()}
    return tuple(_Reader(table, f"{place} {i}", cells).claim() for i, table in enumerate(tables, 1))


class _Reader:
    """Reads one claim. ``cells`` has the factors of every variant."""

    def __init__(self, table: dict[str, Any], place: str, cells: dict[str, dict[str, Any]]) -> None:
        self._table, self._place, self._cells = table, place, cells

    def claim(self) -> Claim:
        """Give the claim that the table makes."""
        if stray := [key for key in self._table if key not in CLAIM_KEYS]:
            raise unknown("key", stray[0], CLAIM_KEYS, self._place)
        text = self._table.get("text", "")
        if not isinstance(text, str) or not text.strip():
            raise self._wrong("text", "must be a sentence")
        some = self._table.get("some", False)
        if not isinstance(some, bool):
            raise self._wrong("some", "must be true or false")
        at = self._settings("at", self._table.get("at", {}))
        aims = list(self._aims())
        groups = []
        for better in self._list("better"):
            sides = [self._sides(better, than, at) for than in self._list("than")]
            groups.append(
                tuple(
                    Comparison(metric, _label(better), _label(than), _label(at), cells, value, margin)
                    for than, (cells, value) in zip(self._list("than"), sides, strict=True)
                    for metric, margin in aims
                )
            )
        return Claim(text.strip(), tuple(groups) if some else (tuple(itertools.chain(*groups)),))

    def _aims(self) -> Iterator[tuple[str, float | None]]:
        """Metrics in which to be better, and those with a margin in which to be no worse."""
        no_worse = self._table.get("no_worse", {})
        if not isinstance(no_worse, dict):
            raise self._wrong("no_worse", "must be a table of margins, such as { test_accuracy = 0.002 }")
        metrics = self._table.get("metric", [] if no_worse else "test_accuracy")
        for metric in metrics if isinstance(metrics, list) else [metrics]:
            yield self._metric(metric), None
        for metric, margin in no_worse.items():
            if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < math.inf:
                raise UserError(f"{self._place}, no_worse: {metric} = {show(margin)}: must be a number in [0, inf)")
            yield self._metric(metric), float(margin)
        if not metrics and not no_worse:
            raise self._wrong("metric", "name at least one")

    def _metric(self, name: object) -> str:
        if not isinstance(name, str) or name not in METRICS:
            raise unknown("metric", name, METRICS, self._place)
        return name

    def _list(self, key: str) -> list[Any]:
        """What is compared: names, tables of settings or numbers, each checked."""
        given = self._table.get(key)
        items = given if isinstance(given, list) and given else [given]
        numbers = key == "than"
        return [self._side(key, item, numbers) for item in items]

    def _side(self, key: str, item: object, numbers: bool) -> Any:
        if isinstance(item, str):
            if item not in self._cells:
                raise unknown("variant", item, self._cells, f"{self._place}, {key}")
            return item
        if isinstance(item, dict) and item:
            return self._settings(key, item)
        if numbers and isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item):
            return float(item)
        also = ", or a number" if numbers else ""
        raise self._wrong(key, f"must be a variant's name or a table of settings{also}, or a list of these", item)

    def _settings(self, key: str, given: object) -> dict[str, Any]:
        """Dotted keys and values of a table that chooses cells."""
        place = f"{self._place}, {key}"
        if not isinstance(given, dict):
            raise self._wrong(key, "must be a table of settings, such as { batch_size = 64 }")
        chosen: dict[str, Any] = {}
        for section, value in nest(given, place).items():
            inner = value.items() if isinstance(value, dict) else [("", value)]
            chosen |= {f"{section}.{name}" if name else section: None if v == "none" else v for name, v in inner}
        for name, value in chosen.items():
            factors = next(iter(self._cells.values()))
            if name not in factors:
                raise unknown("setting", name, factors, place)
            levels = list({word(own[name]): own[name] for own in self._cells.values()}.values())
            if value not in levels:
                allowed = ", ".join(map(word, levels))
                raise UserError(f"{place}: {name} = {show(value)}: no variant has it; there are {allowed}")
        return chosen

    def _sides(self, better: Any, than: Any, at: dict[str, Any]) -> tuple[tuple[tuple[str, str | None], ...], Any]:
        """Cells of ``better`` with their partners, and the number that stands for these."""
        if isinstance(better, str):
            if at:
                raise self._wrong("at", "is for cells that are chosen by settings, not by name")
            chosen = [better]
        else:
            wanted = {**at, **better}
            chosen = [name for name, own in self._cells.items() if _has(own, wanted)]
            if not chosen:
                raise self._wrong("better", f"no variant has {_label(wanted)}")
        if isinstance(than, float):
            return tuple((name, None) for name in chosen), than
        if isinstance(better, str) != isinstance(than, str):
            raise self._wrong("than", "better and than must both be names of variants, or both settings")
        if isinstance(than, str):
            partners = [than]
        elif better.keys() != than.keys():
            raise self._wrong("than", "better and than must give the same settings other values")
        else:
            partners = [self._partner(name, than) for name in chosen]
        if set(partners) & set(chosen):
            raise self._wrong("than", "is the same as better")
        return tuple(zip(chosen, partners, strict=True)), None

    def _partner(self, name: str, than: dict[str, Any]) -> str:
        """The cell that differs from another one in some settings alone."""
        wanted = {**self._cells[name], **than}
        for partner, own in self._cells.items():
            if own == wanted:
                return partner
        raise self._wrong("than", f"no variant is like {show(name)} but for {_label(than)}")

    def _wrong(self, key: str, rule: str, value: object = None) -> UserError:
        given = self._table.get(key) if value is None else value
        stated = f"{key} is missing" if given is None else f"{key} = {show(given)}"
        return UserError(f"{self._place}: {stated}: {rule}")


def _has(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(own[key] == value for key, value in wanted.items())


def _label(side: Any) -> str:
    """Words for what is compared."""
    if isinstance(side, dict):
        return ", ".join(f"{key}={word(value)}" for key, value in side.items())
    return side if isinstance(side, str) else f"{side:g}"
