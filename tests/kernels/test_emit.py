"""Vector functions against the C library, on ordinary numbers and on the edges."""

import math

import numba
import numpy as np
import pytest

from kernels import rules, target
from kernels.tile import make_map_vector

FUNCTIONS = {
    "exp": (rules.exp, np.exp),
    "tanh": (rules.tanh, np.tanh),
    "erf": (rules.erf, np.vectorize(math.erf, otypes=[float])),
    "sqrt": (lambda z: rules.sqrt(rules.absolute(z)), lambda x: np.sqrt(np.abs(x))),
    "maximum": (lambda z: rules.maximum(z, 0.0), lambda x: np.maximum(x, 0)),
    "where": (lambda z: rules.where(z > 0.0, z, 0.01 * z), lambda x: np.where(x > 0, x, 0.01 * x)),
    "arithmetic": (
        lambda z: (1.0 - z) * (z + 2.0) / (3.0 + z * z) - (-z),
        lambda x: (1 - x) * (x + 2) / (3 + x * x) + x,
    ),
}


def apply(function, x):
    """Run a rule of one input in vector registers."""
    lanes, size = target.current().lanes(x.dtype), x.itemsize
    one_vector = make_map_vector(x.dtype.name, rules.trace(lambda z, a, g: function(z), ("z", "a", "g")))

    @numba.njit
    def loop(source, sink):
        for i in range(0, len(source), lanes):
            at = i * size
            one_vector(source.ctypes.data + at, 0, 0, sink.ctypes.data + at, len(source) - i)

    out = np.zeros_like(x)
    loop(x, out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vector_functions_agree_with_the_c_library(name, dtype):
    ours, theirs = FUNCTIONS[name]
    x = np.concatenate([np.linspace(-20, 20, 4000), np.linspace(-0.6, 0.6, 95), [0.0]]).astype(dtype)
    got, want = apply(ours, x).astype(float), theirs(x.astype(float))
    absolute = {"erf": 5e-7, "arithmetic": 2e-6}.get(name, 0) if dtype == np.float32 else 1e-15
    relative = 3e-7 if dtype == np.float32 else 2e-15
    np.testing.assert_allclose(got, want, rtol=relative, atol=absolute + np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges_of_the_exponential(dtype):
    x = np.zeros(16, dtype)
    x[:6] = [np.nan, np.inf, -np.inf, 1000, -1000, 0]
    got = apply(rules.exp, x)
    assert np.isnan(got[0])
    np.testing.assert_array_equal(got[1:6], [np.inf, 0, np.inf, 0, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["tanh", "erf", "maximum"])
def test_nan_stays_nan_and_infinities_reach_the_limits(name, dtype):
    x = np.zeros(16, dtype)
    x[:3] = [np.nan, np.inf, -np.inf]
    got = apply(FUNCTIONS[name][0], x)
    assert np.isnan(got[0])
    np.testing.assert_array_equal(got[1:3], FUNCTIONS[name][1](np.array([np.inf, -np.inf])))
