r"""Single vessels against openBF (finite volumes) and svOneDSolver (space-time finite elements)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pulsebayes.simulators.network.files import load_network
from pulsebayes.simulators.network.nonlinear import NetworkSolution, solve_model

sys.path.insert(0, str(Path(__file__).parent))
from references import errors, openbf_waves, svoned_waves

NETWORKS = {"cca": "common-carotid", "uta": "thoracic-aorta"}


@pytest.fixture(scope="module", params=NETWORKS)
def solved(request: pytest.FixtureRequest) -> tuple[str, NetworkSolution]:
    return request.param, solve_model(load_network(NETWORKS[request.param]), dx_mm=5.0, tolerance_mmHg=0.01)


def test_waves_are_those_of_openbf(solved: tuple[str, NetworkSolution]) -> None:
    name, solution = solved
    pressure, flow = errors(solution, *openbf_waves(name))
    assert pressure < 0.008
    assert flow < 0.01


def test_waves_are_those_of_svonedsolver(solved: tuple[str, NetworkSolution]) -> None:
    name, solution = solved
    phase, *waves = svoned_waves(name)
    pressure, flow = errors(solution, phase * solution.time[-1], *waves)
    assert pressure < 0.008
    assert flow < 0.01


def test_ten_millimetre_cells_suffice(solved: tuple[str, NetworkSolution]) -> None:
    name, fine = solved
    coarse = solve_model(load_network(NETWORKS[name]), dx_mm=10.0, tolerance_mmHg=0.01)
    pressure, flow = errors(coarse, fine.time, fine.pressure[0], fine.flow[0])
    assert pressure < 0.002
    assert flow < 0.005


def test_what_flows_in_flows_out(solved: tuple[str, NetworkSolution]) -> None:
    assert abs(solved[1].mass_balance) < 1e-3
