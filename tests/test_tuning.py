"""The ``[search]`` of a study: what it may hold, and the space that each variant gets."""

from __future__ import annotations

import pytest
from complaints import complaint
from studyfiles import writer

from harness import study
from harness.study import Overrides
from harness.studyfile import MAX_SEEDS
from harness.tuning import DEFAULTS, TRIAL_SEED

STUDY = """
baseline = "sgd"
{top}
[base]
hidden = [3]
[variants]
sgd = {{ optimizer.name = "sgd" }}
momentum = {{ optimizer = {{ name = "momentum", mu = 0.5 }} }}
{search}
"""
RATES = "[search.space]\noptimizer.lr = { min = 1e-5, max = 0.1, log = true }\n"


@pytest.fixture
def load(tmp_path):
    """Load a study with some lines more, tables at the end and other keys at the beginning."""

    def load(lines: str, *changes: str, **overrides) -> study.Study:
        text = STUDY.format(top="", search=lines) if "[" in lines else STUDY.format(top=lines, search="")
        return study.load(writer(tmp_path)(text), Overrides(settings=tuple(changes), **overrides))

    return load


def test_every_variant_is_searched_with_its_own_settings(load):
    tuning = load(RATES, "batch_size=16").tuning
    assert {"trials": tuning.trials, "method": tuning.method} == DEFAULTS
    assert [p.key for p in tuning.parameters] == ["optimizer.lr"]
    config = tuning.spaces["momentum"].config({"optimizer.lr": 0.03})
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.settings) == ("momentum", 0.03, {"mu": 0.5})
    assert (config.hidden, config.batch_size, config.seed) == ((3,), 16, TRIAL_SEED)
    assert tuning.spaces["sgd"].config({"optimizer.lr": 0.03}).optimizer.name == "sgd"
    assert set(load(RATES, only=("sgd",)).tuning.spaces) == {"sgd"}
    assert load("").tuning is None


def test_no_seed_of_a_study_is_that_of_the_trials(load):
    assert [run.config.seed for run in load(RATES, seeds=3, only=("sgd",)).runs()] == [0, 1, 2]
    assert load(RATES, seeds=MAX_SEEDS).seeds <= TRIAL_SEED


def test_whatever_a_study_sets_may_be_searched(load):
    names = '[search]\ntrials = 3\nmethod = "random"\n[search.space]\nbatch_size = [8, 16]\nl2 = { min = 0, max = 1 }\n'
    tuning = load(names).tuning
    assert (tuning.trials, tuning.method) == (3, "random")
    assert [p.values or (p.low, p.high) for p in tuning.parameters] == [(8, 16), (0.0, 1.0)]
    schedules = load('[search.space]\nschedule.name = ["constant", "cosine"]\n').tuning
    assert schedules.spaces["sgd"].config({"schedule.name": "cosine"}).schedule.settings["final"] == 0.0
    own = load("[search.space]\noptimizer.weight_decay = [0.1]\n[variants.w]\noptimizer.name = 'adamw'\n", only=("w",))
    assert own.tuning.spaces["w"].config({"optimizer.weight_decay": 0.1}).optimizer.settings["weight_decay"] == 0.1


@pytest.mark.parametrize(
    ("search", "changes", "parts"),
    [
        ("search = 3", [], ["search = 3", "trials, method and space"]),
        ("[search]\ntrials = 0\n" + RATES, [], ["trials = 0", "[1, 100000]"]),
        ("[search]\nmethod = 'bayesian'\n" + RATES, [], ["'bayesian'", "did you mean 'bayes'?"]),
        ("[search]\npruning = 'none'\n" + RATES, [], ["'pruning'", "method, space, trials"]),
        ("[search]\ntrials = 3", [], ["search, space", "is empty"]),
        ("[search]\nspace = 3", [], ["space = 3"]),
        ("[search.space]\noptimizer.rl = [0.1]", [], ["optimizer.rl"]),
        ("[search.space]\noptimizer.mu = [0.1]", [], ["optimizer.mu"]),
        ("[search.space]\nnothing.lr = [0.1]", [], ["nothing.lr"]),
        ("[search.space]\nhidden.lr = [0.1]", [], ["hidden.lr"]),
        ("[search.space]\noptimizer.lr = [-0.1]", [], ["optimizer.lr = -0.1"]),
        ("[search.space]\nepochs = [5, 10]", [], ["epochs", "cannot be searched"]),
        ("[search.space]\nseed = [5, 10]", [], ["seed", "cannot be searched"]),
        ("[search.space]\noptimizer.name = ['adam']", [], ["variants.sgd", "optimizer.name is given", "[search]"]),
        ("[search.space]\nhidden.units = [5]\nhidden.layers = [1]", [], ["my.toml, base", "hidden is given"]),
        (RATES, ["optimizer.lr=0.1"], ["--set", "optimizer.lr is given"]),
    ],
)
def test_a_search_that_cannot_be_is_one_line(load, search, changes, parts):
    message = complaint(load, search, *changes)
    assert [part for part in parts if part not in message] == []
