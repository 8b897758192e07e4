"""What the tests of the reference share: numerical derivatives."""

from collections.abc import Callable

import numpy as np
import pytest

STEP = 1e-4


def four_point_gradient(f: Callable[[], float], x: np.ndarray) -> np.ndarray:
    """df/dx by (-f(x+2h) + 8 f(x+h) - 8 f(x-h) + f(x-2h)) / 12h, changing x entry by entry and back."""
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        kept, values = x[at], {}
        for k in (2, 1, -1, -2):
            x[at] = kept + k * STEP
            values[k] = f()
        x[at] = kept
        gradient[at] = (-values[2] + 8 * values[1] - 8 * values[-1] + values[-2]) / (12 * STEP)
    return gradient


@pytest.fixture
def numerical() -> Callable[[Callable[[], float], np.ndarray], np.ndarray]:
    return four_point_gradient


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
