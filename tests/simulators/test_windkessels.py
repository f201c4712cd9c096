r"""Windkessels of two, three and four elements: closed form, limits, balance, another program."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.registry import build
from pulsebayes.simulators.status import OK
from pulsebayes.simulators.windkessel import half_sine_inflow, windkessel_pressure
from pulsebayes.simulators.windkessels import ElementWindkessel

BEAT = {"stroke_volume": 70.0, "period": 0.8, "ejection": 0.3}


def waves(elements: int, theta: np.ndarray) -> np.ndarray:
    simulator = ElementWindkessel(elements, fs=500.0, duration_s=0.8)
    found = simulator.simulate(theta, 0)
    assert (found.status == OK).all()
    return found.waves[:, 0]


@pytest.fixture
def theta() -> np.ndarray:
    return ElementWindkessel(4).space.sample(np.random.default_rng(0), 16)


def test_two_elements_are_the_closed_form(theta: np.ndarray) -> None:
    time = jnp.arange(400) / 500.0
    expected = windkessel_pressure(
        time, resistance=theta[:, 0], compliance=theta[:, 1], venous_pressure=5.0, **BEAT
    )  # fmt: skip
    np.testing.assert_allclose(waves(2, theta[:, :2]), expected, rtol=2e-4)


def test_the_third_element_adds_its_resistance_times_flow(theta: np.ndarray) -> None:
    flow = np.asarray(half_sine_inflow(jnp.arange(400) / 500.0, **BEAT))
    expected = waves(2, theta[:, :2]) + theta[:, 2:3] * flow
    np.testing.assert_allclose(waves(3, theta[:, :3]), expected, rtol=2e-4)


def test_a_huge_inertance_carries_the_mean_flow_and_no_more(theta: np.ndarray) -> None:
    large = theta.copy()
    large[:, 3] = 50.0
    expected = waves(3, theta[:, :3]) - 70.0 / 0.8 * theta[:, 2:3]
    np.testing.assert_allclose(waves(4, large), expected, atol=0.15)


@pytest.mark.parametrize("elements", [2, 3, 4])
def test_mean_pressure_is_mean_flow_times_resistance(elements: int, theta: np.ndarray) -> None:
    mean = waves(elements, theta[:, :elements]).mean(-1)
    total = theta[:, 0] + (theta[:, 2] if elements == 3 else 0)
    np.testing.assert_allclose(mean, 5.0 + total * 70.0 / 0.8, rtol=2e-3)


@pytest.mark.parametrize("elements", [2, 3, 4])
def test_it_is_built_by_name(elements: int) -> None:
    simulator = build(f"windkessel{elements}", heart_rate=60.0)
    assert simulator.name == f"windkessel{elements}"
    again = build(simulator.name, **dict(simulator.config))
    assert again == simulator
    assert simulator.space.dim == elements


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="elements must be 2, 3 or 4, got 5"):
        ElementWindkessel(5)
    with pytest.raises(ValueError, match="ejection must be shorter than the beat"):
        ElementWindkessel(3, ejection=0.9)
    with pytest.raises(ValueError, match=r"theta must have shape \(N, 3\), got \(2, 2\)"):
        ElementWindkessel(3).simulate(np.ones((2, 2)), 0)


def test_three_elements_are_those_of_svzerod(theta: np.ndarray) -> None:
    svzerod = pytest.importorskip("svzerod", reason="svzerod is not installed: pip install 'pulsebayes[bench]'")
    ours = waves(3, theta[:4, :3])
    time = np.linspace(0, 0.8, 401)
    flow = np.asarray(half_sine_inflow(jnp.asarray(time), **BEAT))
    for row, wave in zip(theta[:4], ours, strict=True):
        found = svzerod.simulate(rcr_model(row, time, flow))
        pressure = found["pressure_in"].to_numpy()
        assert np.sqrt(np.mean((pressure[-401:-1] - wave) ** 2)) < 0.003 * wave.mean()


def rcr_model(theta: np.ndarray, time: np.ndarray, flow: np.ndarray) -> dict[str, object]:
    r"""One short stiff vessel before an R1-C-R2 outlet, as svzerod describes it."""
    return {
        "simulation_parameters": {
            "number_of_cardiac_cycles": 120,
            "number_of_time_pts_per_cardiac_cycle": len(time),
            "output_all_cycles": False,
            "steady_initial": False,
        },
        "boundary_conditions": [
            {"bc_name": "IN", "bc_type": "FLOW", "bc_values": {"Q": flow.tolist(), "t": time.tolist()}},
            {
                "bc_name": "OUT",
                "bc_type": "RCR",
                "bc_values": {"Rp": float(theta[2]), "C": float(theta[1]), "Rd": float(theta[0]), "Pd": 5.0},
            },
        ],
        "junctions": [],
        "vessels": [
            {
                "boundary_conditions": {"inlet": "IN", "outlet": "OUT"},
                "vessel_id": 0,
                "vessel_length": 1.0,
                "vessel_name": "branch0_seg0",
                "zero_d_element_type": "BloodVessel",
                "zero_d_element_values": {"R_poiseuille": 0.0},
            }
        ],
    }
