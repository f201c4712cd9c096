r"""The non-linear population: contract, quantities beside the linear network's, signals, status."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.simulators.network import LinearNetwork
from pulsebayes.simulators.network.nonlinear import NonlinearNetwork
from pulsebayes.simulators.status import DIVERGED, NOT_PERIODIC, usable

COARSE = {"dx_mm": 60.0, "n_phases": 128}


@pytest.fixture(scope="module")
def clinical() -> tuple[NonlinearNetwork, np.ndarray]:
    simulator = NonlinearNetwork(
        beat="periodic", sites=("AorticRoot", "Radial", "Digital:ppg", "Carotid:flow"), **COARSE
    )  # type: ignore[arg-type]
    return simulator, simulator.space.sample(np.random.default_rng(2), 32)


def test_nearly_every_plausible_row_becomes_periodic(clinical: tuple[NonlinearNetwork, np.ndarray]) -> None:
    simulator, theta = clinical
    rows, details = simulator.simulate_in_detail(theta, 0)
    assert usable(rows.status).mean() >= 0.97
    assert (details.bound[usable(rows.status)] <= simulator.tolerance_mmHg).all()
    assert (details.failed_vessel == -1).all()


def test_waves_and_quantities_agree(clinical: tuple[NonlinearNetwork, np.ndarray]) -> None:
    simulator, theta = clinical
    rows = simulator.simulate(theta, 0)
    q = dict(zip(simulator.quantity_names, rows.quantities.T, strict=True))
    root = rows.waves[:, 0]
    np.testing.assert_allclose(root.mean(-1), q["MAP"], rtol=1e-4)
    np.testing.assert_allclose(root.max(-1), q["SBP"], rtol=1e-4)
    np.testing.assert_allclose(q["CO"], q["HR"] * q["SV"] / 1000, rtol=1e-4)
    ppg = rows.waves[:, 2]
    assert (ppg[:, 0] == 0).all()
    assert (ppg.max(-1) == 1).all()
    assert (rows.waves[:, 3].mean(-1) > 0).all()  # blood goes up to the head


def test_the_same_adults_as_in_the_linear_network(clinical: tuple[NonlinearNetwork, np.ndarray]) -> None:
    simulator, theta = clinical
    ours = dict(zip(simulator.quantity_names, simulator.simulate(theta, 0).quantities.T, strict=True))
    linear = LinearNetwork(beat="periodic", n_frequencies=64, sites=("Radial",))
    theirs = dict(zip(linear.quantity_names, linear.simulate(theta, 0).quantities.T, strict=True))
    for name in ("HR", "SV", "LVET", "PWV", "C", "CVP", "CO"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-4, err_msg=name)
    assert np.median(np.abs(ours["MAP"] - theirs["MAP"])) < 2.0
    stiffer = np.corrcoef(ours["SBP"] - ours["DBP"], theirs["SBP"] - theirs["DBP"])[0, 1]
    assert stiffer > 0.9


def test_the_wide_population_is_that_of_the_linear_network() -> None:
    sites = ("Radial", "Digital:ppg")
    wide = NonlinearNetwork("clinical-wide", "periodic", sites, diameters=("AorticRoot", "Femoral"), **COARSE)  # type: ignore[arg-type]
    linear = LinearNetwork("clinical-wide", "periodic", sites, n_frequencies=64, diameters=("AorticRoot", "Femoral"))
    assert wide.space == linear.space != NonlinearNetwork().space
    theta = wide.space.sample(np.random.default_rng(3), 16)
    plain = NonlinearNetwork("clinical", "periodic", sites, **COARSE).simulate(theta, 0)  # type: ignore[arg-type]
    ours, theirs = wide.simulate(theta, 0), linear.simulate(theta, 0)
    good = usable(ours.status)
    assert good.mean() > 0.8
    assert wide.quantity_names == linear.quantity_names and set(wide.units) == {"waves", *wide.quantity_names}
    np.testing.assert_allclose(ours.quantities[:, -2:], theirs.quantities[:, -2:], rtol=2e-4)
    np.testing.assert_array_equal(ours.waves, plain.waves, "parameters alone make the adult, the prior only draws them")
    pulse = [np.ptp(rows.waves[good, 0], axis=-1) for rows in (ours, theirs)]
    assert np.corrcoef(*pulse)[0, 1] > 0.9


def test_rows_repeat_with_their_seed_and_batch() -> None:
    simulator = NonlinearNetwork(population="clinical", duration_s=2.0, window_s=2.0, sites=("Radial",), dx_mm=60.0)
    theta = simulator.space.sample(np.random.default_rng(5), 3)
    one, again, other = (simulator.simulate(theta, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.waves, again.waves)
    assert one.waves.shape == (3, 1, 250)
    assert np.abs(one.waves - other.waves).max() > 1.0
    assert (one.waves.std(-1) > 2.0).all()


def test_a_row_that_cannot_settle_says_so(clinical: tuple[NonlinearNetwork, np.ndarray]) -> None:
    _, theta = clinical
    hasty = NonlinearNetwork(beat="periodic", sites=("Radial",), max_cycles=2, tolerance_mmHg=1e-3, **COARSE)  # type: ignore[arg-type]
    assert (hasty.simulate(theta[:2], 0).status == NOT_PERIODIC).all()


def test_a_row_that_is_not_finite_says_so(clinical: tuple[NonlinearNetwork, np.ndarray]) -> None:
    simulator, theta = clinical
    broken = theta[:3].copy()
    broken[1, 0] = np.nan
    status = simulator.simulate(broken, 0).status
    assert status[1] == DIVERGED
    assert usable(status[[0, 2]]).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"population": "cats"}, "population must be one of clinical, clinical-wide, healthy, got 'cats'"),
        ({"sites": ("Nose",)}, "site must be one of"),
        ({"sites": ("Radial:colour",)}, "alone or with :flow or :ppg, got 'Radial:colour'"),
        ({"sites": ()}, "sites must name at least one site"),
        ({"dx_mm": 0.0}, "dx_mm must be positive, got 0"),
        ({"viscous": "no"}, "viscous must be true or false, got 'no'"),
        ({"engine": "c"}, "engine must be one of kernel, jax, got 'c'"),
        ({"window_s": 20.0}, "window_s must lie in 2..8 s, got 20"),
    ],
)
def test_configuration_is_checked(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NonlinearNetwork(**config)  # type: ignore[arg-type]


@pytest.mark.slow
def test_clinical_population_becomes_periodic() -> None:
    simulator = NonlinearNetwork(beat="periodic", sites=("Radial",))
    theta = simulator.space.sample(np.random.default_rng(7), 1024)
    status = simulator.simulate(theta, 0).status
    assert usable(status).mean() >= 0.97
