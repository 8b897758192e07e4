"""The settings of one run: which there are, their dotted keys, and their one canonical text.

A :class:`RunConfig` is checked when made and never changes. Settings come as tables, as TOML gives them: nested, or
with dotted keys such as ``optimizer.lr``. What a value may be is left to ``harness.checks``, combining tables to
``harness.settings``, study files to ``harness.studyfile``, the meaning of the settings to ``kernels``, whose registries
say which names and numbers are allowed. Importing this module is cheap: registries that need Numba are looked up only
when a setting names an entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from harness import checks
from harness.checks import OR_NONE, number_in, one_of, registered, whole_in
from harness.errors import UserError, show, unknown
from kernels.initializers import INITIALIZERS
from kernels.optimizers import OPTIMIZERS, Setting
from kernels.schedules import SCHEDULES

DATASET_NAMES = ("fashion-mnist", "cifar-10")
SPLITS = ("80/10/10", "official")
ENGINES = ("numba", "numpy")
PRECISIONS = ("float32", "float64")

Place: TypeAlias = str | Callable[[str], str]  # where settings came from: one place, or a function of the dotted key


class _Table(BaseModel):
    """A table of settings: frozen, and every key is known."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _is_table(cls, given: Any) -> Any:
        if not isinstance(given, (Mapping, cls)):
            raise PydanticCustomError("table", "must be a table of settings, such as { name = value }")
        return given


class DataSettings(_Table):
    """Which images are used, and how they are split and scaled."""

    split: Annotated[str, one_of("data.split", SPLITS)] = "80/10/10"
    """Training, validation and test parts: of all images, or the published test set and 10% of the rest to validate."""
    split_seed: Annotated[int, whole_in("[0, 4294967296)")] = 0
    """Which split is drawn."""
    limit: Annotated[Annotated[int, whole_in("[1, 1e9]")] | None, OR_NONE] = None
    """Keep so many first images of the shuffled training part."""
    standardise: Annotated[bool, BeforeValidator(checks.flag)] = False
    """Mean 0 and variance 1 per pixel instead of division by 255."""


class _Choice(_Table):
    """A registered thing by name, with its own settings, all of them: defaults fill those not given."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)
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
            name = checks.named(cls._section, value, cls._registry)
            own: Mapping[str, Setting] = cls._registry[name].settings
            allowed = tuple(f"{cls._section}.{key}" for key in (*cls.model_fields, *own))
            for at, value in given.items():
                if at not in cls.model_fields and at not in own:
                    value = f"{cls._section}.{at}"
                    raise PydanticCustomError("unknown", "", {"what": f"{name} setting", "allowed": allowed})
            complete = {key: given[key] for key in cls.model_fields if key in given}
            for at, setting in own.items():
                value = given.get(at, setting.default)
                complete[at] = checks.number(value, setting.interval)
        except PydanticCustomError as problem:
            details = InitErrorDetails(type=problem, loc=(at,), input=value)
            raise ValidationError.from_exception_data(cls._section, [details]) from None
        return complete


class OptimizerSettings(_Choice):
    """An optimizer's name, its learning rate and, under their own names, its other settings."""

    _section: ClassVar[str] = "optimizer"
    _registry: ClassVar[Mapping[str, Any]] = OPTIMIZERS

    name: str = "adam"
    """Optimizer."""
    lr: Annotated[float, number_in("(0, inf)")] = 0.001
    """Learning rate."""


class ScheduleSettings(_Choice):
    """A learning-rate schedule's name and, under their own names, its settings."""

    _section: ClassVar[str] = "schedule"
    _registry: ClassVar[Mapping[str, Any]] = SCHEDULES

    name: str = "constant"
    """Learning-rate schedule: what the learning rate is multiplied by in the course of a run."""


CHOICES: dict[str, type[_Choice]] = {"optimizer": OptimizerSettings, "schedule": ScheduleSettings}
_SECTIONS: dict[str, type[_Table]] = {"data": DataSettings, **CHOICES}


def _smoothable(share: float, info: ValidationInfo) -> float:
    """Check that the loss, if it is a known one, takes smoothed labels."""
    loss = info.data.get("loss")
    if share > 0 and loss is not None:
        from kernels.losses import LOSSES

        if LOSSES[loss].make_smoothing is None:
            takers = ", ".join(name for name in LOSSES if LOSSES[name].make_smoothing is not None)
            raise PydanticCustomError("smoothing", f"must be 0 with the loss '{loss}'; smoothed labels suit: {takers}")
    return share


class RunConfig(_Table):
    """The settings of one run; what each of them means stands below it, and in docs/settings.md."""

    dataset: Annotated[str, one_of("dataset", DATASET_NAMES)] = "fashion-mnist"
    """Data set."""
    data: DataSettings = DataSettings()
    hidden: Annotated[tuple[int, ...], BeforeValidator(checks.widths)] = (128,)
    """Units of each hidden layer, `[]` for none; one number is one layer; layers of equal width may be counted."""
    activation: Annotated[str, registered("activation", "kernels.activations", "ACTIVATIONS")] = "relu"
    """Activation of the hidden layers."""
    init: Annotated[str, one_of("init", INITIALIZERS)] = "he"
    """Initial weights."""
    loss: Annotated[str, registered("loss", "kernels.losses", "LOSSES")] = "cross_entropy"
    """Loss."""
    label_smoothing: Annotated[float, number_in("[0, 1)"), AfterValidator(_smoothable)] = 0.0
    """Share of every label that training spreads over all classes; above 0 only with `cross_entropy`."""
    batch_size: Annotated[int, whole_in("[1, 1e9]")] = 64
    """Images per mini-batch; the last one of an epoch may be short."""
    epochs: Annotated[int, whole_in("[1, 1e9]")] = 20
    """Passes over the training images."""
    l2: Annotated[float, number_in("[0, inf)")] = 0.0
    """Strength of the L2 penalty; the same strength acts more in smaller batches."""
    dropout: Annotated[float, number_in("[0, 1)")] = 0.0
    """Probability that a hidden activation is dropped."""
    clip_norm: Annotated[Annotated[float, number_in("(0, inf)")] | None, OR_NONE] = None
    """Largest norm of all gradients together."""
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    engine: Annotated[str, one_of("engine", ENGINES)] = "numba"
    """Compiled kernels, or the readable reference."""
    precision: Annotated[str, one_of("precision", PRECISIONS)] = "float32"
    """Type of all arithmetic."""
    seed: Annotated[int, whole_in("[0, 4294967296)")] = 0
    """Seed of the run's random streams."""

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
        return self.model_copy(update={"seed": checks.whole(seed, "[0, 4294967296)")})

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
