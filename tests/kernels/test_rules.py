"""Rules run on arrays and leave programs."""

import numpy as np
import pytest

from kernels import rules
from kernels.optimizers import OPTIMIZERS


def test_a_traced_rule_is_a_program_of_one_instruction_per_line():
    program = rules.trace(lambda x, y: 2 * x - y / 4, ("x", "y"))
    assert program.text.split("\n") == ["input x", "input y", "mul 2.0 %0", "div %1 4.0", "sub %2 %3"]
    assert program.outputs == (4,)


def test_equal_formulas_have_equal_keys_and_an_edit_changes_the_key():
    first, again = (rules.trace(lambda x: x * 0.5, ("x",)).key for _ in range(2))
    assert first == again
    assert first != rules.trace(lambda x: x * 0.25, ("x",)).key


def test_an_edit_of_a_helper_changes_the_key():
    def make(factor):
        def helper(x):
            return factor * x

        return lambda x: helper(x) + 1

    assert rules.trace(make(2.0), ("x",)).key != rules.trace(make(3.0), ("x",)).key


def test_a_program_knows_which_inputs_its_results_need():
    program = rules.trace(lambda z, a: a * (1 - a) + 0 * 1.0, ("z", "a"))
    assert program.uses("a")
    assert not program.uses("z")


def test_a_rule_that_returns_a_number_becomes_a_constant():
    program = rules.trace(lambda z, a: 1.0, ("z", "a"))
    assert not program.uses("z")
    assert program.text.split("\n")[program.outputs[0]] == "add 1.0 0.0"


def test_branching_on_a_value_says_what_to_use_instead():
    with pytest.raises(TypeError, match="where"):
        rules.trace(lambda x: x if x > 0 else -x, ("x",))


@pytest.mark.parametrize("name", ["sqrt", "exp", "tanh", "erf", "absolute"])
def test_functions_of_rules_compute_on_arrays(name):
    from scipy import special

    expected = {"sqrt": np.sqrt, "exp": np.exp, "tanh": np.tanh, "erf": special.erf, "absolute": np.abs}[name]
    x = np.linspace(0, 3, 7)
    np.testing.assert_array_equal(getattr(rules, name)(x), expected(x))


def test_whole_powers_are_products():
    program = rules.trace(lambda x: x**3, ("x",))
    assert program.text.split("\n") == ["input x", "mul %0 %0", "mul %0 %1"]
    with pytest.raises(TypeError, match="whole power"):
        rules.trace(lambda x: x**0.5, ("x",))


def test_numpy_scalars_take_part_in_rules():
    program = rules.trace(lambda x: np.float64(2.0) * x + np.float32(1.0), ("x",))
    assert program.text.split("\n") == ["input x", "mul 2.0 %0", "add %1 1.0"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_traces_to_a_weight_and_its_slots(name):
    optimizer = OPTIMIZERS[name]
    program = optimizer.program
    assert len(program.outputs) == 1 + optimizer.n_slots
    assert program.inputs[:2] == ("w", "g")
    assert program.inputs[2 + optimizer.n_slots :] == optimizer.scalar_names
