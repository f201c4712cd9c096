r"""The clinical population: ranges, medians, and what physiology ties together."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.clinical import (
    CLINICAL,
    CLINICAL_WIDE,
    CLOSING_GAP,
    EJECTION_TIME,
    LONGEST_EJECTION,
    PULSE_WAVE_VELOCITY,
    STROKE_VOLUME,
    clinical_subject,
    closing_share,
    deviation_middles,
)
from pulsebayes.simulators.network.linear import LinearNetwork
from pulsebayes.simulators.network.rhythm import Variability
from pulsebayes.simulators.population import Subject, carotid_femoral_velocity

N = 4096


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, Subject, Variability, np.ndarray]:
    r"""Parameters, adults, their variability, and the share of venous swing that reaches the beds."""
    theta = CLINICAL.sample(np.random.default_rng(0), N)

    @jax.jit
    def make(theta: Any) -> Any:
        subject, variability = clinical_subject(theta)
        return subject, variability, closing_share(subject)

    return theta, *jax.tree.map(np.asarray, make(jnp.asarray(theta, "float32")))


def rank(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    r"""Rank correlation; |r| > .06 is four standard errors from none at n = 4,096."""
    return float(np.corrcoef(rank(a), rank(b))[0, 1])


def test_theta_stays_in_its_bounds_and_has_twenty_seven_parameters(drawn: Any) -> None:
    assert CLINICAL.dim == 27
    assert CLINICAL.contains(drawn[0]).all()
    assert len(set(CLINICAL.names)) == 27


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("heart_rate", 35.0, 160.0),
        ("stroke_volume", *STROKE_VOLUME),
        ("mean_pressure", 40.0, 140.0),
        ("ejection_time", *EJECTION_TIME),
        ("pulse_wave_velocity", *PULSE_WAVE_VELOCITY),
        ("venous_pressure", 0.0, 25.0),
        ("age", 18.0, 90.0),
    ],
)
def test_every_adult_lies_in_the_stated_ranges_and_the_population_fills_them(
    drawn: Any, field: str, low: float, high: float
) -> None:
    values = getattr(drawn[1], field)
    assert values.min() >= low
    assert values.max() <= high
    # One in fifty beyond a tenth of the range from either end, but for the tail of a skewed one.
    spread = np.quantile(values, 0.99) - np.quantile(values, 0.01)
    assert spread > 0.5 * (high - low)


def test_the_issue_s_ranges_are_reached_to_within_a_few_per_cent(drawn: Any) -> None:
    subject = drawn[1]
    reached = {
        "heart_rate": (38, 150), "stroke_volume": (22, 130), "mean_pressure": (48, 128), "ejection_time": (165, 390),
    }  # fmt: skip
    for field, (low, high) in reached.items():
        values = getattr(subject, field)
        assert np.quantile(values, 0.005) < low, field
        assert np.quantile(values, 0.995) > high, field


def test_pressures_are_ordered_venous_closing_mean(drawn: Any) -> None:
    subject = drawn[1]
    assert (subject.outflow_pressure >= subject.venous_pressure - 1e-4).all()
    assert (subject.outflow_pressure <= subject.mean_pressure - CLOSING_GAP + 1e-3).all()
    assert (subject.resistance > 0).all()
    flow = subject.heart_rate * subject.stroke_volume / 60
    np.testing.assert_allclose(subject.resistance * flow, subject.mean_pressure - subject.outflow_pressure, rtol=1e-4)


def test_ejection_leaves_room_in_every_beat(drawn: Any) -> None:
    subject = drawn[1]
    beat = 60000 / subject.heart_rate
    assert (subject.ejection_time < np.maximum(LONGEST_EJECTION * beat, 1.25 * EJECTION_TIME[0])).all()
    assert (subject.time_to_peak < 0.5 * subject.ejection_time).all()
    assert (subject.reverse_volume < 0.1 * subject.stroke_volume).all()


def test_stiffness_gives_the_wave_speed_of_nearly_every_adult(drawn: Any) -> None:
    subject = drawn[1]
    fields = (subject.k1, subject.k3, subject.diameter_factor, subject.radius_factor)
    found = np.asarray(carotid_femoral_velocity(*(jnp.asarray(field) for field in fields)))
    assert (np.abs(found / subject.pulse_wave_velocity - 1) < 1e-3).mean() > 0.995
    assert np.isfinite(subject.k3).all()


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        ("heart_rate", "stroke_volume", -1),
        ("heart_rate", "ejection_time", -1),
        ("stroke_volume", "ejection_time", 1),
        ("age", "pulse_wave_velocity", 1),
        ("mean_pressure", "pulse_wave_velocity", 1),
        ("age", "diameter_factor", 1),
        ("age", "compliance_factor", -1),
        ("mean_pressure", "outflow_pressure", 1),
        ("venous_pressure", "outflow_pressure", 1),
        ("length_factor", "radius_factor", 1),
        ("length_factor", "stroke_volume", 1),
        ("mean_pressure", "resistance", 1),
    ],
)
def test_quantities_go_together_as_physiology_has_them(drawn: Any, one: str, other: str, sign: int) -> None:
    subject = drawn[1]
    assert sign * correlation(getattr(subject, one), getattr(subject, other)) > 0.06


@pytest.mark.parametrize(
    ("one", "other"), [("heart_rate", "mean_pressure"), ("age", "heart_rate"), ("venous_pressure", "stroke_volume")]
)
def test_what_is_not_tied_is_independent(drawn: Any, one: str, other: str) -> None:
    subject = drawn[1]
    assert abs(correlation(getattr(subject, one), getattr(subject, other))) < 0.06


def test_the_median_adult_is_an_ordinary_one() -> None:
    theta = CLINICAL.sample_quantiles(np.full((1, CLINICAL.dim), 0.5))
    subject, variability = jax.jit(clinical_subject)(jnp.asarray(theta))
    usual = {
        "age": (50, 58), "heart_rate": (70, 80), "stroke_volume": (58, 75), "ejection_time": (270, 330),
        "mean_pressure": (80, 95), "venous_pressure": (5, 11), "outflow_pressure": (15, 45), "resistance": (0.5, 1.0),
        "pulse_wave_velocity": (6, 10), "time_to_peak": (70, 110), "blood_viscosity": (2.4e-3, 3.2e-3),
        "radius_factor": (0.98, 1.02), "length_factor": (0.98, 1.02), "reverse_volume": (0, 2),
    }  # fmt: skip
    for field, (low, high) in usual.items():
        assert low <= float(getattr(subject, field)[0]) <= high, field
    assert 10 < float(variability.respiration_rate[0]) < 20
    assert float(variability.irregularity[0]) < 0.06


def test_variability_reaches_down_to_a_steady_heart(drawn: Any) -> None:
    variability = drawn[2]
    assert np.quantile(variability.irregularity, 0.25) < 0.02
    assert np.quantile(variability.ectopy, 0.5) < 0.03
    assert np.quantile(variability.rate_swing, 0.1) < 0.01
    assert np.quantile(variability.stroke_swing, 0.1) < 0.012
    for field in variability:
        assert (field >= 0).all()


def test_venous_swings_reach_the_beds_in_the_share_left_by_closing(drawn: Any) -> None:
    theta, _, _, share = drawn
    closing = theta[:, CLINICAL.index("closing_fraction")]
    np.testing.assert_allclose(share, 1 - closing, atol=1e-3)


def test_ejection_time_and_wave_speed_stay_where_middle_plus_deviation_does() -> None:
    theta = np.repeat(CLINICAL.sample_quantiles(np.full((1, CLINICAL.dim), 0.5)), 3, axis=0)
    theta[:, CLINICAL.index("mean_pressure")] = (50.0, 75.0, 125.0)  # below, between and above the knees of the table
    theta[:, CLINICAL.index("stroke_volume_deviation")] = (-0.5, 0.0, 0.5)
    for name, middle in deviation_middles(jnp.asarray(theta)).items():
        theta[:, CLINICAL.index(name)] += float(middle[1]) - np.asarray(middle)
    adult, _ = clinical_subject(jnp.asarray(theta))
    np.testing.assert_allclose(adult.pulse_wave_velocity, adult.pulse_wave_velocity[1], rtol=1e-4)
    np.testing.assert_allclose(adult.ejection_time, adult.ejection_time[1], rtol=1e-4)
    assert np.ptp(np.abs(theta[:, CLINICAL.index("wave_speed_deviation")])) > 1.0


def test_the_wide_population_differs_in_two_freedoms_only() -> None:
    assert CLINICAL_WIDE.names == CLINICAL.names
    changed = {a.name for a, b in zip(CLINICAL.parameters, CLINICAL_WIDE.parameters, strict=True) if a != b}
    assert changed == {"wall_viscosity", "terminal_impedance"}
    quantile = np.full((1, CLINICAL.dim), 0.8)
    narrow, wide = (np.log(space.sample_quantiles(quantile)[0]) for space in (CLINICAL, CLINICAL_WIDE))
    i = [CLINICAL.index(name) for name in sorted(changed)]
    np.testing.assert_allclose(wide[i], 2 * narrow[i], rtol=1e-5)
    waves = LinearNetwork(population="clinical-wide", beat="periodic", n_frequencies=20).simulate(
        CLINICAL_WIDE.sample(np.random.default_rng(0), 4), seed=1
    )
    assert np.isfinite(waves.waves).all()
