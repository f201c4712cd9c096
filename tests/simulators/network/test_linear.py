r"""The simulator: published pressures, age trends, plausible subjects, batches, seeds and statuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.network import linear
from pulsebayes.simulators.network.linear import LinearNetwork, Simulated
from pulsebayes.simulators.status import OK, STATUS, TERMINAL_MISMATCH, UNPHYSIOLOGICAL, usable

AGES = np.array([25.0, 35.0, 45.0, 55.0, 65.0, 75.0])
# Mean and SD by age of healthy adults: McEniery 2005, as the facts of the virtual population quote it.
PLAUSIBLE = {
    "brachial systolic": ((120.7, 119.2, 121.2, 123.4, 126.0, 127.0), (10.9, 11.3, 10.7, 10.2, 9.6, 9.5)),
    "brachial diastolic": ((74.3, 75.6, 76.9, 76.9, 75.8, 74.0), (9.4, 9.1, 8.7, 8.2, 8.2, 8.7)),
    "brachial pulse": ((46.8, 44.2, 44.4, 46.0, 50.1, 52.5), (8.8, 9.0, 8.3, 8.6, 8.1, 8.7)),
    "brachial mean": ((87.9, 90.1, 92.3, 93.9, 93.5, 92.5), (8.1, 8.7, 8.5, 7.6, 7.6, 7.5)),
    "aortic systolic": ((103.6, 107.1, 110.9, 115.0, 117.5, 118.5), (8.6, 10.2, 10.3, 10.1, 9.6, 9.0)),
    "aortic pulse": ((28.9, 30.5, 33.5, 36.6, 41.2, 49.1), (6.5, 7.0, 7.2, 7.7, 7.8, 10.3)),
    "amplification": ((1.66, 1.46, 1.34, 1.27, 1.23, 1.21), (0.17, 0.19, 0.16, 0.15, 0.12, 0.11)),
}


@pytest.fixture(scope="module")
def healthy() -> LinearNetwork:
    return LinearNetwork(
        population="healthy", beat="periodic", n_frequencies=81, sites=("AorticRoot", "Brachial", "Radial")
    )


@pytest.fixture(scope="module")
def clinical() -> LinearNetwork:
    return LinearNetwork(sites=("AorticRoot", "Radial"))


@pytest.fixture(scope="module")
def ageing(healthy: LinearNetwork) -> Simulated:
    r"""The mean adult of six ages."""
    return healthy.simulate(np.column_stack([AGES, np.zeros((6, 6))]), seed=1)


def in_blocks(simulator: LinearNetwork, theta: np.ndarray, rows: int) -> Simulated:
    r"""Many rows, always as many at once: every other number of rows would be compiled anew."""
    parts = [simulator.simulate(theta[i : i + rows], seed=1) for i in range(0, len(theta), rows)]
    return Simulated(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def test_baseline_has_the_published_aortic_and_brachial_pressure(ageing: Simulated) -> None:
    aortic, brachial, _ = ageing.waves[0]
    assert aortic.max() == pytest.approx(101.9, abs=0.5)
    assert aortic.min() == pytest.approx(76.4, abs=0.5)
    assert brachial.max() == pytest.approx(112.3, abs=0.5)
    assert brachial.min() == pytest.approx(74.2, abs=0.5)


def test_pulse_pressure_grows_and_amplification_falls_with_age(ageing: Simulated) -> None:
    aortic, brachial, radial = np.ptp(ageing.waves, axis=-1).T
    # Measured here 25.47 -> 44.90, 47.79 -> 57.48, 1.511 -> 1.140. The page's figures are a prototype's, with uniform
    # elements of 20 mm: pulse pressures agree to .4 %, the ratio of two of them to .9 %.
    assert aortic[[0, 5]] == pytest.approx([25.4, 44.9], rel=0.01)
    assert radial[[0, 5]] == pytest.approx([47.7, 57.4], rel=0.01)
    assert (brachial / aortic)[[0, 5]] == pytest.approx([1.50, 1.13], rel=0.02)
    assert (np.diff(aortic) > 0).all()
    assert (np.diff(radial) > 0).all()
    assert (np.diff(brachial / aortic) < 0).all()


def test_quantities_of_the_mean_adult_are_the_published_inputs(ageing: Simulated, healthy: LinearNetwork) -> None:
    q = dict(zip(healthy.quantity_names, ageing.quantities.T, strict=True))
    np.testing.assert_allclose(q["HR"], [72.916, 76.803, 77.740, 77.301, 76.514, 74.435], atol=2e-3)
    np.testing.assert_allclose(q["SV"], [66.33, 63.81, 61.29, 58.76, 56.24, 53.71], atol=0.01)
    np.testing.assert_allclose(q["LVET"], 282.0, atol=0.05)
    np.testing.assert_allclose(q["PWV"], [5.95, 6.54, 7.40, 8.28, 9.24, 10.30], atol=0.01)
    np.testing.assert_allclose(q["CO"], q["HR"] * q["SV"] / 1000, rtol=1e-5)
    np.testing.assert_allclose(q["SVR"], 80 * (q["MAP"] - q["CVP"]) / q["CO"], rtol=1e-3)
    np.testing.assert_allclose(q["MAP"], ageing.waves[:, 0].mean(-1), rtol=1e-5)
    np.testing.assert_allclose(q["SBP"], ageing.waves[:, 0].max(-1), atol=0.05)
    np.testing.assert_allclose(q["DBP"], ageing.waves[:, 0].min(-1), atol=0.05)
    assert (np.diff(q["C"]) < 0).all()


def test_svr_uses_venous_pressure_and_not_the_outflow_pressure(ageing: Simulated) -> None:
    # 1,388 with CVP 5 mmHg and the mean pressure of the recipe, 922 had it used 33.2 mmHg; arteries add 2 mmHg of mean.
    assert ageing.quantities[0, 10] == pytest.approx(1388, rel=0.03)


def implausible(theta: np.ndarray, simulated: Simulated) -> np.ndarray:
    aortic, brachial = simulated.waves[:, 0], simulated.waves[:, 1]
    pulse = np.ptp(aortic, axis=1), np.ptp(brachial, axis=1)
    values = (
        brachial.max(1), brachial.min(1), pulse[1], brachial.mean(1), aortic.max(1), pulse[0], pulse[1] / pulse[0]
    )  # fmt: skip
    out = np.zeros(len(theta), bool)
    for value, (mean, sd) in zip(values, PLAUSIBLE.values(), strict=True):
        out |= np.abs(value - np.interp(theta[:, 0], AGES, mean)) > 2.575 * np.interp(theta[:, 0], AGES, sd)
    return out


def test_an_eighth_of_the_factorial_population_is_implausible(healthy: LinearNetwork) -> None:
    rng = np.random.default_rng(5)
    n = 480
    theta = np.column_stack([rng.choice(AGES, n), rng.integers(-1, 2, (n, 6))]).astype(float)
    share = implausible(theta, in_blocks(healthy, theta, 24)).mean()
    # PWDB: 537 of 4,374 = 12.3 %; a prototype 13.3 % of 120. Three binomial standard errors: false alarm .3 %.
    assert abs(share - 537 / 4374) < 3 * np.sqrt(0.123 * 0.877 / n), share


def test_gaussian_deviations_leave_more_subjects_implausible_than_the_factorial(healthy: LinearNetwork) -> None:
    theta = healthy.space.sample(np.random.default_rng(0), 480)
    share = implausible(theta, in_blocks(healthy, theta, 24)).mean()
    assert abs(share - 0.18) < 3 * np.sqrt(0.18 * 0.82 / 480), share  # measured .19 and .175 of 1,000


@pytest.mark.parametrize("size", [1, 7, 16, 17])
def test_a_row_is_the_same_in_any_batch(healthy: LinearNetwork, size: int) -> None:
    theta = healthy.space.sample(np.random.default_rng(2), 17)
    whole, part = healthy.simulate(theta, seed=1), healthy.simulate(theta[:size], seed=1)
    assert part.waves.shape[0] == size
    # Another number of blocks is another XLA program: equal to rounding, and in bytes for the same number.
    np.testing.assert_allclose(part.waves, whole.waves[:size], rtol=2e-6)
    np.testing.assert_allclose(part.quantities, whole.quantities[:size], rtol=2e-6)
    np.testing.assert_array_equal(part.status, whole.status[:size])


def test_same_seed_same_bytes_and_another_seed_other_beats(clinical: LinearNetwork) -> None:
    theta = clinical.space.sample(np.random.default_rng(0), 8)
    one, two, other = (clinical.simulate(theta, seed=seed) for seed in (3, 3, 4))
    assert one.waves.tobytes() == two.waves.tobytes()
    assert one.quantities.tobytes() == two.quantities.tobytes()
    assert (one.waves != other.waves).any(axis=(1, 2)).all()


def steady(simulator: LinearNetwork, rates: Any) -> np.ndarray:
    r"""Adults at the median of everything, without variability, at some heart rates."""
    space = simulator.space
    theta = space.sample_quantiles(np.full((len(rates), space.dim), 0.5))
    theta[:, space.index("heart_rate")] = rates
    for name in ("rate_swing", "stroke_swing", "venous_swing", "irregularity", "ectopy"):
        theta[:, space.index(name)] = 0.0
    return theta


def test_without_variability_a_window_is_the_periodic_beat_repeated(clinical: LinearNetwork) -> None:
    rates = [60.0, 75.0, 150.0]  # whole numbers of beats in 8 s, of samples in a beat: 125, 100, 50
    theta = steady(clinical, rates)
    window = clinical.simulate(theta, seed=0)
    periodic = dataclasses.replace(clinical, beat="periodic", n_frequencies=33, n_phases=250)
    beat = periodic.simulate(theta, seed=0)
    # Extremes are read off 1,024 samples of the window and of the beat: .13 mmHg apart at the foot of the upstroke.
    np.testing.assert_allclose(window.quantities, beat.quantities, rtol=3e-3)
    exact = [i for i, name in enumerate(clinical.quantity_names) if name not in {"SBP", "DBP"}]
    np.testing.assert_allclose(window.quantities[:, exact], beat.quantities[:, exact], rtol=1e-5)
    for row, rate in enumerate(rates):
        n = round(60 / rate * 125)
        for site in range(2):
            wave = window.waves[row, site]
            np.testing.assert_allclose(wave[n:], wave[:-n], atol=0.02)  # every beat the same, to rounding
            # The window keeps all lines below 32 Hz and starts anywhere in the beat: compare line by line.
            lines = round(31 * 60 / rate)
            found = np.abs(np.fft.rfft(wave[:n]))[:lines] / n
            exact = np.abs(np.fft.rfft(beat.waves[row, site]))[:lines] / 250
            np.testing.assert_allclose(found, exact, atol=5e-3)


def test_clinical_windows_hold_what_their_quantities_say(clinical: LinearNetwork) -> None:
    theta = clinical.space.sample(np.random.default_rng(7), 96)
    rows = in_blocks(clinical, theta, 8)
    q = dict(zip(clinical.quantity_names, rows.quantities.T, strict=True))
    good = usable(rows.status)
    assert rows.waves.shape == (96, 2, 1000)
    assert rows.waves.dtype == rows.quantities.dtype == np.float32
    assert rows.status.dtype == np.uint8
    assert good.mean() > 0.95
    # The window is a crop of 8 s of a period of 8 to 10 s: its mean may differ by the beat that is cut.
    assert np.abs(rows.waves[good, 0].mean(-1) - q["MAP"][good]).max() < 6
    assert (q["DBP"] < q["MAP"])[good].all()
    assert (q["MAP"] < q["SBP"])[good].all()
    np.testing.assert_allclose(q["CO"], q["HR"] * q["SV"] / 1000, rtol=1e-5)
    assert set(rows.status.tolist()) <= set(STATUS)


def status_of(waves: np.ndarray, quantities: np.ndarray, mismatch: list[bool]) -> list[int]:
    outlets = linear.Outlets(*(jnp.zeros((1, len(waves))),) * 3, jnp.array(mismatch))
    return linear._status(jnp.asarray(waves), jnp.asarray(quantities), outlets).tolist()


def test_failed_rows_have_a_status_and_never_hide_as_ok() -> None:
    n = 8
    waves = np.full((n, 1, 4), 90.0, "f4")
    #                      HR  SV   LVET  PWV C  MAP  CVP SBP   DBP  CO  SVR
    quantities = np.array([[70, 70, 280, 7, 1.5, 90, 5, 120.0, 70, 4.9, 1388]] * n, "f4")
    waves[1, 0, 2] = np.nan
    quantities[2, 10] = np.inf
    quantities[3, 7] = 350.0
    waves[4, 0, 0] = -3.0
    quantities[5, 10] = -10.0
    waves[7, 0, 1] = np.nan
    found = status_of(waves, quantities, [False] * 6 + [True, True])
    bad = UNPHYSIOLOGICAL
    assert found == [OK, 1, 1, bad, bad, bad, TERMINAL_MISMATCH, 1]
    assert STATUS[1] == "diverged"


def test_nan_parameters_give_a_failed_row_and_leave_its_neighbours_alone(healthy: LinearNetwork) -> None:
    theta = np.column_stack([AGES, np.zeros((6, 6))])
    before = healthy.simulate(theta, seed=1)
    theta[2, 1] = np.nan
    after = healthy.simulate(theta, seed=1)
    assert after.status[2] == 1
    others = np.arange(6) != 2
    np.testing.assert_array_equal(after.waves[others], before.waves[others])


def test_configuration_round_trips() -> None:
    simulator = LinearNetwork(beat="periodic", sites=("Radial",), duration_s=4.0)
    assert LinearNetwork(**simulator.config) == simulator
    assert simulator.n_samples == simulator.n_phases
    assert LinearNetwork().n_samples == 1000
    assert set(simulator.units) == {"waves", *simulator.quantity_names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population": "mice"}, "population must be one of clinical, clinical-wide, healthy, .*, got 'mice'"),
        ({"beat": "odd"}, "beat must be one of aperiodic, periodic, got 'odd'"),
        ({"precision": "float16"}, "precision must be one of float32, float64, got 'float16'"),
        ({"sites": ()}, "sites must name at least one site, got none"),
        ({"sites": ("Nose",)}, "site must be one of .*, got 'Nose'"),
        ({"window_s": 9.0}, r"window_s must lie in 2\.\.8 s, got 9.0"),
        ({"duration_s": 0.0}, "duration_s must be positive, got 0.0"),
        ({"fs": -1.0}, "fs must be positive, got -1.0"),
        ({"fs": 1e9}, "duration_s .* fs must be at most 100000 samples, got 8 s at 1e.09 Hz"),
        ({"duration_s": 1e9}, "at most 100000 samples"),
        ({"n_frequencies": 5000}, r"n_frequencies must lie in 2\.\.1024, got 5000"),
    ],
)
def test_a_bad_configuration_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearNetwork(**change)


def test_theta_of_the_wrong_shape_is_refused(healthy: LinearNetwork) -> None:
    with pytest.raises(ValueError, match=r"theta must have shape \(N, 7\), got \(7,\)"):
        healthy.simulate(np.zeros(7), seed=0)
    with pytest.raises(ValueError, match="theta must hold at least one row, got none"):
        healthy.simulate(np.zeros((0, 7)), seed=0)
    with pytest.raises(TypeError, match="sex"):
        LinearNetwork(sex="female")  # type: ignore[call-arg]
