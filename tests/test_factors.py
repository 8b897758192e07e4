"""What variants differ in, in the words of a study for its hidden layers."""

import pytest
from studyfiles import writer

from harness.config import RunConfig
from harness.factors import factor_keys, labels, shape
from harness.study import load

GRID = "[grid]\nhidden.layers = [1, 2]\nhidden.units = [8, 16]\n"


@pytest.mark.parametrize(
    ("hidden", "layers", "units"), [((8,), 1, 8), ((8, 8, 8), 3, 8), ((), 0, None), ((8, 4), None, None)]
)
def test_a_shape_is_known_where_layers_are_equally_wide(hidden, layers, units):
    assert shape(RunConfig(hidden=hidden)) == {"hidden.layers": layers, "hidden.units": units}


def test_layers_are_listed_or_counted():
    config = RunConfig(hidden=(8, 8))
    assert labels(config, by_shape=False) == config.flat()
    counted = labels(config, by_shape=True)
    assert (counted["hidden.layers"], counted["hidden.units"]) == (2, 8)
    assert counted.keys() - {"hidden.layers", "hidden.units"} == config.flat().keys() - {"hidden"}


def test_networks_that_no_count_describes_are_told_apart_by_their_widths():
    configs = [RunConfig(hidden=hidden) for hidden in ((8, 4), (8, 16))]
    assert factor_keys(configs, by_shape=True) == ["hidden"]
    assert factor_keys(configs[:1], by_shape=True) == []


@pytest.fixture
def write(tmp_path):
    return writer(tmp_path)


def test_a_study_that_counts_layers_has_depth_and_width_as_factors(write):
    study = load(write(GRID))
    assert study.by_shape
    assert study.factor_keys == ["hidden.layers", "hidden.units"]
    assert list(study.variants) == [f"hidden.layers={n}, hidden.units={u}" for n in (1, 2) for u in (8, 16)]
    assert [config.hidden for config in study.variants.values()] == [(8,), (16,), (8, 8), (16, 16)]
    assert [study.factor_values(config) for config in study.variants.values()] == [
        {"hidden.layers": n, "hidden.units": u} for n in (1, 2) for u in (8, 16)
    ]


def test_counted_and_listed_layers_are_the_same_run(write):
    (counted,) = load(write("[base]\nhidden = { layers = 2, units = 8 }")).variants.values()
    (listed,) = load(write("[base]\nhidden = [8, 8]")).variants.values()
    assert counted == listed
    assert counted.run_hash() == listed.run_hash()


def test_a_study_that_lists_widths_has_them_as_its_factor(write):
    study = load(write("[grid]\nhidden = [8, [8, 8]]"))
    assert not study.by_shape
    assert study.factor_keys == ["hidden"]
    assert [study.factor_values(config) for config in study.variants.values()] == [{"hidden": [8]}, {"hidden": [8, 8]}]
