"""Names of runs: they change with all that decides a result, and with nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from processes import ROOT

from harness.config import RunConfig
from harness.version import COMPUTING_MODULES, code_version, run_id
from kernels import activations, losses, optimizers

CONFIG = {"hidden": [4], "optimizer": {"name": "momentum", "lr": 0.1}}


def name(settings=None, data="pixels") -> str:
    return run_id(RunConfig.from_settings({**CONFIG, **(settings or {})}, "a test"), data)


def test_a_version_and_a_name_are_short_words():
    assert re.fullmatch("[0-9a-f]{12}", code_version())
    assert re.fullmatch("[0-9a-f]{16}", name())


def test_the_same_run_has_the_same_name_however_it_is_written():
    assert name({"l2": 0}) == name({"l2": 0.0}) == name({"activation": "relu", "data.limit": "none"}) == name()


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": [5]},
        {"hidden": []},
        {"activation": "tanh"},
        {"init": "xavier"},
        {"loss": "mse"},
        {"batch_size": 65},
        {"epochs": 21},
        {"l2": 1e-300},
        {"label_smoothing": 0.1},
        {"dropout": 0.1},
        {"clip_norm": 1.0},
        {"optimizer": {"name": "momentum", "lr": 0.2}},
        {"optimizer": {"name": "nesterov", "lr": 0.1}},
        {"optimizer": {"name": "momentum", "lr": 0.1, "mu": 0.8}},
        {"schedule": {"name": "cosine"}},
        {"data": {"split": "official"}},
        {"data": {"split_seed": 1}},
        {"data": {"limit": 100}},
        {"data": {"standardise": True}},
        {"engine": "numpy"},
        {"precision": "float64"},
        {"seed": 1},
        {"dataset": "cifar-10"},
    ],
    ids=str,
)
def test_every_setting_changes_the_name(change):
    assert name(change) != name()


def test_other_pixels_change_the_name():
    assert name(data="other") != name()


@pytest.mark.parametrize("what", ["activation", "loss", "optimizer"])
def test_another_formula_under_the_same_name_changes_the_name(what, monkeypatch):
    def define(factor):
        if what == "activation":
            own = activations.Activation("own", lambda z: z * factor, lambda z, a: 0 * a + factor)
            monkeypatch.setitem(activations.ACTIVATIONS, "own", own)
        elif what == "loss":
            monkeypatch.setitem(losses.LOSSES, "own", losses.Loss("own", lambda logits, labels, dlogits: factor))
        else:
            own = optimizers.Optimizer("own", lambda w, g, slots, h: (w - factor * g, ()), lambda lr, t, s: {"lr": lr})
            monkeypatch.setitem(optimizers.OPTIMIZERS, "own", own)
        return name({what: {"name": "own"} if what == "optimizer" else "own"})

    assert define(2.0) == define(2.0) != define(3.0)


@pytest.fixture
def version_after(tmp_path):
    """Edit a copy of the code; gives the version that it then has."""
    for package in ("kernels", "harness"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))

    def edit(path: str = "", text: str = "# a comment\n") -> str:
        if path:
            (tmp_path / path).parent.mkdir(exist_ok=True)
            with open(tmp_path / path, "a") as file:
                file.write(text)
        code = "from harness.version import code_version; print(code_version())"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    return edit


def test_an_edit_where_results_are_computed_changes_the_version_and_no_other_does(version_after):
    edited = (
        "kernels/losses.py",
        "kernels/reference/layer.py",
        "kernels/new/module.py",
        "harness/trainer.py",
        "harness/diagnostics.py",
    )
    versions = [version_after(path) for path in ("", *edited)]
    assert versions[0].strip() == code_version()
    assert len(set(versions)) == len(versions)
    for path in ("harness/progress.py", "harness/runner.py", "harness/tables.py", "harness/details.py", "notes.py"):
        assert version_after(path) == versions[-1]


def test_what_is_named_as_computing_exists():
    assert all(list(ROOT.glob(pattern)) for pattern in COMPUTING_MODULES)
