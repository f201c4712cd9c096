r"""The prior's median adult, solved once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pulsebayes.simulators.closed_loop.circuit import Circuit
from pulsebayes.simulators.closed_loop.periodic import Settled
from pulsebayes.simulators.closed_loop.simulator import ClosedLoop


@pytest.fixture(scope="session")
def loop() -> ClosedLoop:
    return ClosedLoop(beat="periodic", n_steps=256)


@pytest.fixture(scope="session")
def rows(loop: ClosedLoop) -> np.ndarray:
    r"""The median adult and 31 draws."""
    q = np.random.default_rng(5).random((32, loop.space.dim))
    q[0] = 0.5
    return np.asarray(loop.space.sample_quantiles(q))


@pytest.fixture(scope="session")
def solved(loop: ClosedLoop, rows: np.ndarray) -> tuple[Circuit, Settled]:
    found: Any = loop.solve(rows)
    return found
