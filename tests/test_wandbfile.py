"""Sweep files of Weights & Biases: they hold the space, their schema accepts them, and we understand what they make."""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import subprocess
import sys

import pytest
import yaml
from searches import SPACE
from studyfiles import writer

from harness import sweep
from harness.onetrial import configuration
from harness.pruning import RULES
from harness.sweepfile import METHODS, Overrides, load
from harness.wandbfile import sweep_config

# A Python that has W&B's package `sweeps`, which needs an older NumPy than we do: an environment of its own.
SWEEPS_PYTHON = os.environ.get("SWEEPS_PYTHON") or (sys.executable if importlib.util.find_spec("sweeps") else None)
CHECK = """
import sys, yaml
from sweeps import next_run
from sweeps.config import SweepConfig, schema_violations_from_proposed_config
for path in sys.argv[1:]:
    config = yaml.safe_load(open(path))
    assert schema_violations_from_proposed_config(config) == [], schema_violations_from_proposed_config(config)
    assert set(next_run(SweepConfig({**config, "method": "random"}), []).config) == set(config["parameters"])
"""
RANGES = '\nbatch_size = { min = 8, max = 64, log = true }\nhidden = [[3], [4, 5]]\nclip_norm = ["none", 1.0]\n'
SPACES = {
    "shipped": None,
    "small": SPACE,
    "ranges": SPACE.split("[space]")[0] + "[space]" + RANGES + "dropout = { min = 0, max = 0.5 }",
}


@pytest.fixture(params=SPACES)
def space(request, tmp_path):
    return "sweep" if SPACES[request.param] is None else writer(tmp_path)(SPACES[request.param])


def test_the_file_holds_the_space_and_reads_back_as_it_was(space, tmp_path, capsys):
    assert sweep.main([space, "--export-wandb", str(tmp_path / "w.yaml"), "--limit", "300"]) == 0
    assert "wandb sweep" in capsys.readouterr().out
    config = yaml.safe_load((tmp_path / "w.yaml").read_text())
    search = load(space, Overrides(limit=300))
    assert config == sweep_config(search, space)
    assert {p.key for p in search.space.parameters} <= set(config["parameters"])
    assert config["parameters"]["data.limit"] == {"value": 300}
    assert config["metric"] == {"name": "val_accuracy", "goal": "maximize"}


@pytest.mark.skipif(SWEEPS_PYTHON is None, reason="W&B's package sweeps is not installed; SWEEPS_PYTHON may name where")
def test_the_schema_of_wandb_accepts_it(tmp_path):
    write, files = writer(tmp_path), []
    for name, method, pruning in itertools.product(SPACES, METHODS, RULES):
        space = "sweep" if SPACES[name] is None else write(SPACES[name])
        files.append(tmp_path / f"{name}-{method}-{pruning}.yaml")
        assert sweep.main([space, "--export-wandb", str(files[-1]), "--method", method, "--pruning", pruning]) == 0
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([str(SWEEPS_PYTHON), "-c", CHECK, *files], check=True, env=environment, timeout=60)


def sampled(parameter, rng: random.Random):
    """A value as W&B's server draws it."""
    if "value" in parameter or "values" in parameter:
        return parameter["value"] if "value" in parameter else rng.choice(parameter["values"])
    value = rng.uniform(parameter["min"], parameter["max"])
    return (
        value
        if parameter["distribution"] == "uniform"
        else round(value)
        if "q" in parameter or isinstance(parameter["min"], int)
        else value
    )


def agents_command(config, seed: int) -> list[str]:
    """The command line that an agent makes of a sweep."""
    values = {key: sampled(parameter, random.Random(seed)) for key, parameter in config["parameters"].items()}
    arguments = [f"--{key}={value}" for key, value in values.items()]
    macros = {"${interpreter}": ["python"], "${program}": [config["program"]], "${args}": arguments}
    macros["${env}"] = ["/usr/bin/env"]
    return [word for part in config["command"] for word in macros.get(part, [part])]


def test_what_an_agent_calls_is_understood_whatever_is_drawn(space):
    search = load(space)
    config = sweep_config(search, space)
    for seed in range(30):
        words = agents_command(config, seed)
        assert words[:4] == ["/usr/bin/env", "python", "-m", "harness.sweep"]
        settings = [word for word in words if sweep._is_setting(word)]
        run = configuration(search, [*settings, f"--epochs={search.shared.epochs}"])
        drawn = dict(word[2:].split("=", 1) for word in settings)
        if "hidden.units" in drawn:
            assert run.hidden == (int(drawn["hidden.units"]),) * int(drawn["hidden.layers"])
        assert str(run.flat().get("batch_size")) == drawn["batch_size"]
