"""What the tests of the reference share: numerical derivatives."""

from collections.abc import Callable

import numpy as np
import pytest
from engines import four_point_gradient


@pytest.fixture
def numerical() -> Callable[[Callable[[], float], np.ndarray], np.ndarray]:
    return four_point_gradient


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
