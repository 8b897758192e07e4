"""A search space: which settings a search may choose, from which values, and the run that a choice makes.

A :class:`Parameter` is a list of values or a range. It has the dotted key of a setting; ``hidden.units`` and
``hidden.layers`` stand for equally wide hidden layers. Reading the file around a space is left to
``harness.sweepfile``, choosing to ``harness.journal``, what a single setting may be to ``harness.config``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.checks import MAX_WIDTH
from harness.config import RunConfig, nest, setting_keys
from harness.errors import UserError, show, unknown
from harness.settings import merge
from harness.studyfile import word

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

UNITS, LAYERS = "hidden.units", "hidden.layers"
MAX_LAYERS = 64
SHAPE_LIMITS = {UNITS: (1, MAX_WIDTH), LAYERS: (0, MAX_LAYERS)}
RANGE_KEYS = ("min", "max", "log")
FIXED = {  # settings without which two trials could not be compared, and what gives them instead
    "dataset": "--dataset or [base]",
    "data.split": "[base]",
    "data.split_seed": "[base]",
    "data.limit": "--limit or [base]",
    "epochs": "--epochs or [base]",
    "seed": "nothing: all trials train with seed 0",
}


@dataclass(frozen=True)
class Parameter:
    """What a search chooses for one key.

    Attributes
    ----------
    key : str
        Dotted key of a setting, or ``hidden.units``, ``hidden.layers``.
    values : tuple
        Those to choose from, as settings have them; empty for a range.
    low, high : float or int
        Ends of a range, both included.
    log : bool
        Whether equal ratios of a range are equally likely, rather than equal differences.
    whole : bool
        Whether a range holds whole numbers only.
    """

    key: str
    values: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    whole: bool = False

    @property
    def names(self) -> dict[Any, Any]:
        """Values of a list under the names that tables and the journal know them by."""
        return {name_of(value): value for value in self.values}

    def suggest(self, trial: Trial) -> Any:
        """Have a trial of Optuna choose; gives the value as settings have it."""
        if self.values:
            return self.names[trial.suggest_categorical(self.key, list(self.names))]
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def distribution(self) -> BaseDistribution:
        """What `suggest` chooses from, as Optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values:
            return CategoricalDistribution(list(self.names))
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def describe(self) -> str:
        """One line for people: ``32, 64`` or ``1e-05 to 0.1 (log)``."""
        if self.values:
            return ", ".join(map(word, self.values))
        return f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "")


def name_of(value: Any) -> Any:
    """A value as tables and the journal have it: widths and None are words."""
    return word(value) if value is None or isinstance(value, list) else value


@dataclass(frozen=True)
class Space:
    """Parameters, and the settings that all runs share."""

    base: dict[str, Any]
    parameters: tuple[Parameter, ...]
    file: str

    def config(self, chosen: Mapping[str, Any]) -> RunConfig:
        """Settings of the run that a choice for every key makes."""
        return make_config(self.base, chosen, self._place)

    def corners(self) -> Iterator[RunConfig]:
        """Runs in which every value of every list and both ends of every range appear, with every choice of names.

        Names, such as the optimizer's or the loss, decide what the other settings may be.

        Raises
        ------
        UserError
            For the first value that is not allowed.
        """
        first = {p.key: _ends(p)[0] for p in self.parameters}
        named = [p for p in self.parameters if p.key.endswith(".name") or p.key == "loss"]
        for names in itertools.product(*(p.values for p in named)):
            context = {**first, **dict(zip((p.key for p in named), names, strict=True))}
            yield self.config(context)
            for p in self.parameters:
                if p not in named:
                    for value in _ends(p):
                        yield self.config({**context, p.key: value})

    def _place(self, key: str) -> str:
        chosen = any(p.key == key or p.key.startswith(f"{key}.") for p in self.parameters)
        return f"{self.file}, {'space' if chosen else 'base'}"


def make_config(base: Mapping[str, Any], chosen: Mapping[str, Any], where: Any) -> RunConfig:
    """Lay chosen settings over a base; ``hidden.units`` and ``hidden.layers`` become ``hidden``.

    Raises
    ------
    UserError
        For a setting that is unknown or not allowed.
    """
    above = {key: value for key, value in chosen.items() if key not in SHAPE_LIMITS}
    if UNITS in chosen and LAYERS in chosen:
        above["hidden"] = [chosen[UNITS]] * chosen[LAYERS]
    return RunConfig.from_settings(merge(base, nest(above, where)), where)


def read_space(table: Mapping[str, Any], base: dict[str, Any], file: str) -> Space:
    """Check the ``[space]`` of a file, over the settings of its ``[base]``.

    Raises
    ------
    UserError
        For the first key or value that is not allowed.
    """
    place = f"{file}, space"
    shared = {".".join(path) for path in _base_keys(base)}
    parameters: dict[str, Parameter] = {}
    for key, given in entries(table, place):
        if key in parameters:
            raise UserError(f"{place}: {show(key)} is given twice")
        if key in shared or (key in SHAPE_LIMITS and "hidden" in shared):
            raise UserError(f"{place}: {show(key)} is in [base] too: a setting is either chosen or the same for all")
        parameters[key] = _parameter(key, given, place)
    if not parameters:
        raise UserError(f"{place}: is empty; list at least one setting, such as batch_size = [32, 64]")
    for key, other in ((UNITS, LAYERS), (LAYERS, UNITS)):
        if key in parameters and other not in parameters:
            raise UserError(f"{place}: {key} needs {other} beside it; a list of one value will do")
    if UNITS in parameters and "hidden" in parameters:
        raise UserError(f"{place}: {UNITS} and hidden both say how wide the layers are; keep one")
    space = Space(base, tuple(parameters.values()), file)
    for _ in space.corners():
        pass
    return Space(base, tuple(_plain(p, space) for p in space.parameters), file)


def _base_keys(base: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in base.items():
        yield from ((key, inner) for inner in value) if isinstance(value, Mapping) else ((key,),)


def entries(table: Mapping[str, Any], place: str, section: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of a space with what is written there: a list, or a range."""
    leaves = {*setting_keys(), *SHAPE_LIMITS} - {"hidden"}
    for name, value in table.items():
        key = section + name
        range_like = isinstance(value, dict) and (key in leaves or not value or set(value) & set(RANGE_KEYS))
        if isinstance(value, dict) and not range_like and key.count(".") == 0:
            yield from entries(value, place, f"{key}.")
        else:
            yield key, value


def _parameter(key: str, given: Any, place: str) -> Parameter:
    if key in FIXED:
        raise UserError(f"{place}: {key} cannot be searched: trials must be comparable; given by {FIXED[key]}")
    known = [name for name in (*setting_keys(), *SHAPE_LIMITS) if name not in FIXED]
    if key not in known and key.partition(".")[0] not in ("optimizer", "schedule"):
        raise unknown("setting", key, known, place)
    if isinstance(given, list) and given:
        return Parameter(key, values=tuple(_shape(key, value, place) for value in given))
    if not isinstance(given, dict):
        forms = "a list of one or more values, or a range such as { min = 1e-5, max = 0.1, log = true }"
        raise UserError(f"{place}: {key} = {show(given)}: must be {forms}")
    if stray := [name for name in given if name not in RANGE_KEYS]:
        raise unknown("key", stray[0], RANGE_KEYS, f"{place}, {key}")
    ends = []
    for name in ("min", "max"):
        if name not in given:
            raise UserError(f"{place}: {key} = {show(given)}: {name} is missing; a range has min and max")
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_float(value)):
            raise UserError(f"{place}: {key}.{name} = {show(value)}: must be a finite number")
        ends.append(_shape(key, value, place))
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{place}: {key}.log = {show(log)}: must be true or false")
    if not ends[0] < ends[1]:
        raise UserError(f"{place}: {key}: min = {show(ends[0])} must be below max = {show(ends[1])}")
    if log and not ends[0] > 0:
        raise UserError(f"{place}: {key}: min = {show(ends[0])} must be above 0 where log = true")
    return Parameter(key, low=ends[0], high=ends[1], log=log, whole=all(isinstance(end, int) for end in ends))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shape(key: str, value: Any, place: str) -> Any:
    """Check a value of ``hidden.units`` or ``hidden.layers``; others are checked as settings later."""
    if key in SHAPE_LIMITS:
        low, high = SHAPE_LIMITS[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UserError(f"{place}: {key} = {show(value)}: must be a whole number in [{low}, {high}]")
    return value


def _ends(parameter: Parameter) -> Sequence[Any]:
    return parameter.values or (parameter.low, parameter.high)


def _plain(parameter: Parameter, space: Space) -> Parameter:
    """The parameter with its values as settings have them: 0.0 for 0 where the setting is a fraction; none twice."""
    key, place = parameter.key, f"{space.file}, space"
    if key in SHAPE_LIMITS:
        plain = list(_ends(parameter))
    else:
        first = {p.key: _ends(p)[0] for p in space.parameters}
        configs = [space.config({**first, key: value}) for value in _ends(parameter)]
        plain = [config.flat()[key] for config in configs]
    if not parameter.values:
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in plain):
            raise UserError(f"{place}: {key}: only numbers have a range; write a list of values")
        whole = all(isinstance(end, int) for end in plain)
        return Parameter(key, low=plain[0], high=plain[1], log=parameter.log, whole=whole)
    for i, value in enumerate(plain):
        if value in plain[:i]:
            raise UserError(f"{place}: {key}: {show(parameter.values[i])} is listed twice")
    return Parameter(key, values=tuple(plain))
