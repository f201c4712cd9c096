r"""Reference waves of other solvers, read from the data folder; tests skip where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.simulators.network.nonlinear import NetworkSolution

ROOT = Path(__file__).resolve().parents[4]
PA_PER_MMHG = 133.322


def data_folder() -> Path:
    r"""The folder of published networks; skips the test where there is none."""
    folder = Path(os.environ.get("PULSEBAYES_DATA", ROOT.parent / "shared" / "data")) / "networks"
    if not folder.is_dir():
        pytest.skip("no reference data: set PULSEBAYES_DATA")
    return folder


def openbf_waves(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Phases, pressure [mmHg] and flow [mL/s] of openBF at inlet, quarters and outlet, (5, T)."""
    with np.load(data_folder() / "reference" / f"openbf_{name}.npz") as found:
        vessel = next(key[:-2] for key in found.files if key.endswith("/P"))
        pressure, flow = found[f"{vessel}/P"], found[f"{vessel}/Q"]
    return pressure[:, 0], pressure[:, 1:].T / PA_PER_MMHG, 1e6 * flow[:, 1:].T


def svoned_waves(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Phases as shares of the period, pressure [mmHg] and flow [mL/s] of svOneDSolver, (5, T)."""
    with np.load(data_folder() / "reference" / f"svoned_{name}.npz") as found:
        phase, pressure, flow = found["phase"], found["seg0/pressure"], found["seg0/flow"]
    nodes = np.linspace(0, 1, len(pressure))
    at = [np.array([np.interp(s, nodes, column) for column in wave.T]) for s in (0, 0.25, 0.5, 0.75, 1)
          for wave in (pressure, flow)]  # fmt: skip
    return phase, np.array(at[::2]) / PA_PER_MMHG, 1e6 * np.array(at[1::2])


def errors(solution: NetworkSolution, time: np.ndarray, pressure: np.ndarray, flow: np.ndarray) -> tuple[float, float]:
    r"""Largest RMS error of pressure over its mean and of flow over its peak, over the five positions."""
    period = solution.time[-1]
    worst = [0.0, 0.0]
    for i in range(5):
        ours = (np.interp(time % period, solution.time, wave[0, i]) for wave in (solution.pressure, solution.flow))
        for k, (mine, theirs) in enumerate(zip(ours, (pressure[i], flow[i]), strict=True)):
            scale = theirs.mean() if k == 0 else np.abs(theirs).max()
            worst[k] = max(worst[k], float(np.sqrt(np.mean((mine - theirs) ** 2)) / scale))
    return worst[0], worst[1]
