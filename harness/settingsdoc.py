"""``docs/settings.md``: every setting of a run, from the model of settings (``python -m harness.settingsdoc``).

Names, defaults and meanings are read from ``harness.config`` and the registries; what is allowed is what the model
answers to a value that it refuses. Keys of a study's file and options of commands are left to other documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.config import RunConfig, setting_keys
from kernels.optimizers import OPTIMIZERS, Setting
from kernels.schedules import SCHEDULES

NOT_IN_A_FILE = ("seed",)  # a study says how many seeds, not which
REFUSED = {"": None}  # a value that no setting has

# What only some optimizers and schedules have; a name stands before the key where they mean different things.
MEANINGS = {
    "mu": "share of the last step that the next one keeps",
    "rho": "decay of the mean of squared gradients",
    "eps": "added to the root that the step is divided by",
    "beta1": "decay of the mean of gradients",
    "beta2": "decay of the mean of squared gradients",
    "weight_decay": "share of the weights, times the learning rate, that a step takes off",
    "warmup_epochs": "length of the warm-up in epochs",
    "step.gamma": "factor per stage",
    "every": "epochs per stage",
    "exponential.gamma": "factor per epoch",
    "final": "factor at the end",
    "start": "factor at the beginning",
    "peak": "part of the run at which the factor is 1",
}

HEAD = """# Settings

Every setting of a run, under the key that study files, `--set` and `harness.train` take. This page is made from the
model of settings: `python -m harness.settingsdoc > docs/settings.md`. Formulas are in [conventions.md](conventions.md),
keys of a study's file in [studies.md](studies.md#the-file), those of a search in [sweep.md](sweep.md#the-file).

"""
OWN = """
## {title}

Beside its name{more}, {article} has these settings, such as `{example}`:

"""


def text() -> str:
    """The document, ending with a newline."""
    keys = [key for key in setting_keys() if key not in NOT_IN_A_FILE]
    defaults = RunConfig().flat()
    lines = [(f"`{key}`", _value(defaults[key]), _allowed(key), _meaning(key)) for key in keys]
    optimizers = {name: entry.settings for name, entry in OPTIMIZERS.items()}
    schedules = {name: entry.settings for name, entry in SCHEDULES.items()}
    return "".join(
        [
            HEAD,
            _table(("Setting", "Default", "Allowed", "Meaning"), lines),
            OWN.format(
                title="Optimizers", more=" and the learning rate", article="an optimizer", example="optimizer.mu"
            ),
            _table(("Optimizer", "Setting", "Default", "Allowed", "Meaning"), _own(optimizers)),
            OWN.format(title="Schedules", more="", article="a schedule", example="schedule.gamma"),
            _table(("Schedule", "Setting", "Default", "Allowed", "Meaning"), _own(schedules)),
        ]
    )


def _own(registry: Mapping[str, Mapping[str, Setting]]) -> list[tuple[str, ...]]:
    """Lines for the settings that entries of a registry have."""
    return [
        (
            f"`{name}`",
            f"`{key}`",
            _value(own.default),
            own.interval,
            MEANINGS.get(f"{name}.{key}", MEANINGS.get(key, "")),
        )
        for name, settings in registry.items()
        for key, own in settings.items()
    ]


def _allowed(key: str) -> str:
    """What a setting may be, in the words of the model's own refusal."""
    try:
        RunConfig.model_validate(_at(key, REFUSED))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    if problem["type"] == "unknown":
        return ", ".join(f"`{name}`" for name in problem["ctx"]["allowed"])
    words = problem["msg"].removeprefix("must be ").removeprefix("a ")
    return f"{words}, or `none`" if _takes_none(key) else words


def _takes_none(key: str) -> bool:
    try:
        RunConfig.model_validate(_at(key, "none"))
    except ValidationError:
        return False
    return True


def _at(key: str, value: object) -> dict[str, Any]:
    """Settings with one value, under its dotted key."""
    section, _, inner = key.partition(".")
    return {section: {inner: value} if inner else value}


def _meaning(key: str) -> str:
    """What stands below a field."""
    section, _, inner = key.partition(".")
    field = RunConfig.model_fields[section]
    if inner and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        field = field.annotation.model_fields[inner]
    said = (field.description or "").strip().removesuffix(".")
    return said[:1].lower() + said[1:] if said[1:2].islower() else said


def _value(value: object) -> str:
    """A default as TOML has it; ``none`` stands for what is not set."""
    return f"`{json.dumps('none' if value is None else value)}`"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lines of a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(text(), end="")
