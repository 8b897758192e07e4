"""The settings of one run: what each may be, their one canonical text, and how settings given piecemeal combine.

A :class:`RunConfig` is checked when made and never changes. Settings come as tables, as TOML gives them: nested, or
with dotted keys such as ``optimizer.lr``. Study files are left to ``harness.study``, the meaning of the settings to
``kernels``, whose registries say which names and numbers are allowed. Importing this module is cheap: registries that
need Numba are looked up only when a setting names an entry.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from harness.errors import UserError, show, unknown
from kernels.initializers import INITIALIZERS
from kernels.optimizers import OPTIMIZERS, Setting
from kernels.schedules import SCHEDULES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DATASET_NAMES = ("fashion-mnist", "cifar-10")
SPLITS = ("80/10/10", "official")
ENGINES = ("numba", "numpy")
PRECISIONS = ("float32", "float64")
MAX_WIDTH = 65536  # units of a layer

Place: TypeAlias = str | Callable[[str], str]  # where settings came from: one place, or a function of the dotted key

_BARE_WORD = re.compile(r"""[^\s"'\[\]{},=#]+""")


def _number(value: object, interval: str) -> float:
    """Check for a finite number in the interval; gives a float, and 0.0 for -0.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", f"must be a number in {interval}")
    try:
        number = float(value) + 0.0
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and Setting(0.0, interval).allows(number)):
        raise PydanticCustomError("interval", f"must lie in {interval}")
    return number


def _whole(value: object, interval: str) -> int:
    """Check for a whole number in the interval; 64.0 is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("whole", f"must be a whole number in {interval}")
    if not Setting(0.0, interval).allows(value):
        raise PydanticCustomError("interval", f"must lie in {interval}")
    return value


def _named(what: str, value: object, allowed: Iterable[str]) -> str:
    """Check for one of the allowed names."""
    names = tuple(allowed)
    if not isinstance(value, str) or value not in names:
        raise PydanticCustomError("unknown", "is unknown", {"what": what, "allowed": names})
    return value


def _flag(value: object) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise PydanticCustomError("flag", "must be true or false")
    return value


def _widths(value: object) -> tuple[int, ...]:
    """Check the units of each hidden layer; one number is one layer."""
    layers = value if isinstance(value, list | tuple) else (value,)
    for width in layers:
        if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= MAX_WIDTH:
            raise PydanticCustomError(
                "widths", f"must be a list of whole numbers, one per hidden layer, each in [1, {MAX_WIDTH}]"
            )
    return tuple(layers)


def _number_in(interval: str) -> BeforeValidator:
    return BeforeValidator(lambda value: _number(value, interval))


def _whole_in(interval: str) -> BeforeValidator:
    return BeforeValidator(lambda value: _whole(value, interval))


def _one_of(what: str, names: Iterable[str]) -> BeforeValidator:
    return BeforeValidator(lambda value: _named(what, value, names))


def _registered(what: str, module: str, registry: str) -> BeforeValidator:
    """Check for a name in a registry; its module is imported only when there is a name to check."""
    return BeforeValidator(lambda value: _named(what, value, getattr(importlib.import_module(module), registry)))


# TOML has no null: the word stands for "not set", so that a grid can list it.
_OR_NONE = BeforeValidator(lambda value: None if value == "none" else value)


class _Table(BaseModel):
    """A table of settings: frozen, and every key is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_table(cls, given: Any) -> Any:
        if not isinstance(given, (Mapping, cls)):
            raise PydanticCustomError("table", "must be a table of settings, such as { name = value }")
        return given


class DataSettings(_Table):
    """Which images are used, and how they are split and scaled."""

    split: Annotated[str, _one_of("data.split", SPLITS)] = "80/10/10"
    split_seed: Annotated[int, _whole_in("[0, 4294967296)")] = 0
    limit: Annotated[Annotated[int, _whole_in("[1, 1e9]")] | None, _OR_NONE] = None
    standardise: Annotated[bool, BeforeValidator(_flag)] = False


class _Choice(_Table):
    """A registered thing by name, with its own settings, all of them: defaults fill those not given."""

    model_config = ConfigDict(frozen=True, extra="allow")
    _section: ClassVar[str]
    _registry: ClassVar[Mapping[str, Any]]

    name: str

    @property
    def settings(self) -> dict[str, float]:
        """The named one's own settings."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Check the name and its own settings, and fill in defaults."""
        if not isinstance(given, Mapping):
            return given
        at, value = "name", given.get("name", cls.model_fields["name"].default)
        try:
            name = _named(cls._section, value, cls._registry)
            own: Mapping[str, Setting] = cls._registry[name].settings
            allowed = tuple(f"{cls._section}.{key}" for key in (*cls.model_fields, *own))
            for at, value in given.items():
                if at not in cls.model_fields and at not in own:
                    value = f"{cls._section}.{at}"
                    raise PydanticCustomError("unknown", "", {"what": f"{name} setting", "allowed": allowed})
            complete = {key: given[key] for key in cls.model_fields if key in given}
            for at, setting in own.items():
                value = given.get(at, setting.default)
                complete[at] = _number(value, setting.interval)
        except PydanticCustomError as problem:
            details = InitErrorDetails(type=problem, loc=(at,), input=value)
            raise ValidationError.from_exception_data(cls._section, [details]) from None
        return complete


class OptimizerSettings(_Choice):
    """An optimizer's name, its learning rate and, under their own names, its other settings."""

    _section: ClassVar[str] = "optimizer"
    _registry: ClassVar[Mapping[str, Any]] = OPTIMIZERS

    name: str = "adam"
    lr: Annotated[float, _number_in("(0, inf)")] = 0.001


class ScheduleSettings(_Choice):
    """A learning-rate schedule's name and, under their own names, its settings."""

    _section: ClassVar[str] = "schedule"
    _registry: ClassVar[Mapping[str, Any]] = SCHEDULES

    name: str = "constant"


_CHOICES: dict[str, type[_Choice]] = {"optimizer": OptimizerSettings, "schedule": ScheduleSettings}
_SECTIONS: dict[str, type[_Table]] = {"data": DataSettings, **_CHOICES}


class RunConfig(_Table):
    """The settings of one run.

    Attributes
    ----------
    dataset : str
        One of ``DATASET_NAMES``.
    data : DataSettings
        ``split``, ``split_seed``, ``limit`` (first so many training images, or none), ``standardise``.
    hidden : tuple of int
        Units of each hidden layer; empty for none.
    activation, init, loss : str
        Names from the registries of ``kernels``.
    batch_size, epochs : int
        At least 1.
    l2, dropout : float
        Strength of the L2 penalty, at least 0; probability that a hidden unit is dropped, in [0, 1).
    clip_norm : float or None
        Largest global norm of the gradients.
    optimizer : OptimizerSettings
        ``name``, ``lr`` and the optimizer's own ``settings``.
    schedule : ScheduleSettings
        ``name`` and the schedule's own ``settings``.
    engine, precision : str
        ``numba`` or ``numpy``; ``float32`` or ``float64``.
    seed : int
        Seed of the run's random streams, in [0, 2^32).
    """

    dataset: Annotated[str, _one_of("dataset", DATASET_NAMES)] = "fashion-mnist"
    data: DataSettings = DataSettings()
    hidden: Annotated[tuple[int, ...], BeforeValidator(_widths)] = (128,)
    activation: Annotated[str, _registered("activation", "kernels.activations", "ACTIVATIONS")] = "relu"
    init: Annotated[str, _one_of("init", INITIALIZERS)] = "he"
    loss: Annotated[str, _registered("loss", "kernels.losses", "LOSSES")] = "cross_entropy"
    batch_size: Annotated[int, _whole_in("[1, 1e9]")] = 64
    epochs: Annotated[int, _whole_in("[1, 1e9]")] = 20
    l2: Annotated[float, _number_in("[0, inf)")] = 0.0
    dropout: Annotated[float, _number_in("[0, 1)")] = 0.0
    clip_norm: Annotated[Annotated[float, _number_in("(0, inf)")] | None, _OR_NONE] = None
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    engine: Annotated[str, _one_of("engine", ENGINES)] = "numba"
    precision: Annotated[str, _one_of("precision", PRECISIONS)] = "float32"
    seed: Annotated[int, _whole_in("[0, 4294967296)")] = 0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], where: Place) -> RunConfig:
        """Check settings given as a table, nested or with dotted keys; those not given take their defaults.

        Parameters
        ----------
        settings : mapping
            As from TOML.
        where : str or callable
            Where they came from, for errors; or a function that says it for a dotted key.

        Raises
        ------
        UserError
            For the first setting that is unknown or not allowed.
        """
        nested = nest(settings, where)
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
        raise _user_error(problem, where)

    def with_seed(self, seed: int) -> RunConfig:
        """Give the same cell with another seed."""
        return self.model_copy(update={"seed": _whole(seed, "[0, 4294967296)")})

    def flat(self) -> dict[str, Any]:
        """Every setting under its dotted key, in a fixed order; ``hidden`` is a list."""
        return {".".join(path): value for path, value in _leaves(self.model_dump(mode="json"))}

    def canonical(self) -> str:
        """Write the settings as JSON with sorted keys: equal exactly when the settings are."""
        return _canonical(self.model_dump(mode="json"))

    def run_hash(self, *extra: str) -> str:
        """16 hex digits that name these settings and what else decides a run's result, in this order."""
        return _digest(self.canonical(), *extra)

    def cell_key(self) -> str:
        """16 hex digits that are the same for runs that differ in nothing but the seed."""
        return _digest(_canonical(self.model_dump(mode="json", exclude={"seed"})))


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(*texts: str) -> str:
    """16 hex digits; texts do not run into each other."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def setting_keys() -> list[str]:
    """Dotted keys of all settings but those that only some optimizers and schedules have."""
    keys = ((name, _SECTIONS[name].model_fields if name in _SECTIONS else ()) for name in RunConfig.model_fields)
    return [f"{name}.{inner}" if inner else name for name, section in keys for inner in section or ("",)]


def _user_error(problem: ErrorDetails, where: Place) -> UserError:
    """One line for what pydantic found."""
    key = ".".join(str(part) for part in problem["loc"])
    place = where if isinstance(where, str) else where(key)
    if problem["type"] == "extra_forbidden":
        return unknown("setting", key, setting_keys(), place)
    if problem["type"] == "unknown":
        return unknown(problem["ctx"]["what"], problem["input"], problem["ctx"]["allowed"], place)
    return UserError(f"{place}: {key} = {show(problem['input'])}: {problem['msg']}")


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of every setting; looks no deeper than settings can lie."""
    for key, value in table.items():
        parts = key.split(".")
        path = (*above, *parts) if all(parts) else (*above, key)
        if isinstance(value, Mapping) and value and len(path) < 3:
            yield from _leaves(value, path)
        else:
            yield path, value


def nest(table: Mapping[str, Any], where: Place) -> dict[str, Any]:
    """Nest a table's dotted keys; ``UserError`` for a key that is given twice or too deep to be a setting."""
    nested: dict[str, Any] = {}
    for path, value in _leaves(table):
        key = ".".join(path)
        place = where if isinstance(where, str) else where(key)
        if len(path) > 2:
            raise unknown("setting", key, setting_keys(), place)
        inner = nested if len(path) == 1 else nested.setdefault(path[0], {})
        if not isinstance(inner, dict) or path[-1] in inner:
            raise UserError(f"{place}: {show(key)} is given twice")
        inner[path[-1]] = dict(value) if isinstance(value, Mapping) else value
    return nested


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings ``below`` overlaid with those of ``above``, as a new table.

    Tables merge key by key. An optimizer or a schedule with another name than the one below brings its own settings:
    of those below only the learning rate stays.
    """
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if key in _CHOICES and "name" in value:
                default = _CHOICES[key].model_fields["name"].default
                if value["name"] != old.get("name", default):
                    old = {"lr": old["lr"]} if "lr" in old else {}
            value = {**old, **value}
        merged[key] = value
    return merged


def assign(settings: dict[str, Any], dotted_key: str, value: object) -> None:
    """Set one setting in place, with the tables on its way; ``UserError`` where a value lies on the way."""
    *sections, last = dotted_key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise UserError(f"{dotted_key} = {show(value)}: {section} = {show(settings)} is not a table")
    settings[last] = value


def parse_toml(text: str) -> dict[str, Any]:
    """TOML text as a table; ``ValueError`` for anything else."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("arrays or tables are nested too deep") from None


def parse_assignment(text: str) -> tuple[str, Any]:
    """Key and value of ``key=value``; the value is TOML, or a bare word, which is a string.

    Raises
    ------
    UserError
        When there is no key, no value, or the value is neither.
    """
    key, equals, given = (part.strip() for part in text.partition("="))
    if not (equals and key and given and all(key.split("."))):
        raise UserError(f"--set {show(text)}: must read key=value, such as optimizer.lr=0.01")
    try:
        parsed = parse_toml(f"value = {given}")
    except ValueError:
        parsed = {"value": given} if _BARE_WORD.fullmatch(given) else {}
    if set(parsed) != {"value"}:
        raise UserError(
            f'--set {show(text)}: {show(given)} is neither a TOML value (0.01, true, [128, 64], "text") nor one word'
        )
    return key, parsed["value"]
