r"""The prior's median adult and draws, solved once: one number of rows and of steps, so that little is compiled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pulsebayes.simulators.closed_loop.circuit import Circuit
from pulsebayes.simulators.closed_loop.periodic import Settled, settle
from pulsebayes.simulators.closed_loop.simulator import ClosedLoop

sys.path.insert(0, str(Path(__file__).parent))
from rivals import N_ROWS


@pytest.fixture(scope="session")
def loop() -> ClosedLoop:
    return ClosedLoop(beat="periodic")


@pytest.fixture(scope="session")
def rows(loop: ClosedLoop) -> np.ndarray:
    r"""The median adult and draws."""
    q = np.random.default_rng(5).random((N_ROWS, loop.space.dim))
    q[0] = 0.5
    return np.asarray(loop.space.sample_quantiles(q))


@pytest.fixture(scope="session")
def solved(loop: ClosedLoop, rows: np.ndarray) -> tuple[Circuit, Settled]:
    found: Any = loop.solve(rows)
    return found


@pytest.fixture(scope="session")
def hundred(loop: ClosedLoop, solved: tuple[Circuit, Settled]) -> Settled:
    r"""The same circulations after a hundred plain beats."""
    return settle(solved[0], n_steps=loop.n_steps, tolerance_mL=0.0, max_beats=100, accelerate=False)
