r"""The healthy population: the published table, ranges, wave speeds and the stiffness solved for them."""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.parameters import ParameterSpace
from pulsebayes.simulators.population import (
    HEALTHY,
    K1,
    Subject,
    age_compliance_factor,
    age_diameter_factor,
    age_length_factor,
    carotid_femoral_velocity,
    diastolic_pressure,
    healthy_ejection_time,
    healthy_subject,
    mean_arterial_pressure,
    pascal_resistance,
    solve_k3,
)

AGES = np.array([25.0, 35.0, 45.0, 55.0, 65.0, 75.0])
# Charlton 2019: mean (and SD) by age; the last digit given is the tolerance.
TABLE = {
    "heart_rate": ([72.916, 76.803, 77.740, 77.301, 76.514, 74.435], 6e-4),
    "stroke_volume": ([66.33, 63.81, 61.29, 58.76, 56.24, 53.71], 6e-3),
    "mean_pressure": ([88.93, 91.85, 94.99, 95.00, 94.05, 93.05], 6e-3),
    "compliance_factor": ([1.0, 0.8864, 0.7727, 0.6591, 0.5455, 0.4318], 6e-5),
    "ejection_time": ([282.0] * 6, 6e-3),
    "pulse_wave_velocity": ([5.95, 6.54, 7.40, 8.28, 9.24, 10.30], 6e-3),
    "k3": ([5.3849e5, 6.5575e5, 8.4655e5, 1.0683e6, 1.3343e6, 1.6648e6], 60.0),
}
SPREADS = {
    "heart_rate": ([11.1957] * 6, 1e-6),
    "stroke_volume": ([16.04, 15.23, 14.42, 13.61, 12.80, 11.99], 6e-3),
    "mean_pressure": ([7.74, 7.65, 7.55, 7.46, 7.36, 7.27], 6e-3),
}


@pytest.fixture(scope="module")
def adults() -> Any:
    r"""Adults of any parameters in double precision."""
    jax.clear_caches()  # JAX mixes the index types of both precisions otherwise
    with jax.enable_x64(True):
        compiled = jax.jit(healthy_subject)

        def make(theta: np.ndarray) -> Subject:
            with jax.enable_x64(True):
                return jax.tree.map(np.asarray, compiled(jnp.asarray(theta, "float64")))

        yield make
    jax.clear_caches()


@pytest.fixture(scope="module")
def mean_adults(adults: Any) -> Subject:
    return adults(mean_theta())


def mean_theta(**deviations: float) -> np.ndarray:
    theta = np.zeros((6, HEALTHY.dim))
    theta[:, 0] = AGES
    for name, value in deviations.items():
        theta[:, HEALTHY.index(f"{name}_deviation")] = value
    return theta


@pytest.mark.parametrize("field", list(TABLE))
def test_means_by_age_are_the_published_ones(mean_adults: Subject, field: str) -> None:
    expected, tolerance = TABLE[field]
    np.testing.assert_allclose(getattr(mean_adults, field), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("field", list(SPREADS))
def test_one_deviation_is_the_published_spread(adults: Any, mean_adults: Subject, field: str) -> None:
    expected, tolerance = SPREADS[field]
    for sign in (-1.0, 1.0):
        moved = getattr(adults(mean_theta(**{field: sign})), field)
        np.testing.assert_allclose(sign * (moved - getattr(mean_adults, field)), expected, atol=tolerance)


@pytest.mark.parametrize(
    ("deviation", "expected"),
    [(-1.0, (5.33, 5.67, 6.52, 7.16, 7.85, 8.33)), (1.0, (6.72, 7.63, 8.77, 9.88, 11.48, 13.26))],
)
def test_wave_speed_spreads_to_each_side_as_published(adults: Any, deviation: float, expected: Any) -> None:
    speed = adults(mean_theta(wave_speed=deviation)).pulse_wave_velocity
    # The percentiles have two digits; the page's 9.88 at 55 years reads 9.8876 from its own formulas.
    np.testing.assert_allclose(speed, expected, atol=8e-3)


def test_diastolic_pressure_by_age_is_the_published_one() -> None:
    found = diastolic_pressure(jnp.asarray(AGES))
    np.testing.assert_allclose(found, [74.90, 76.90, 78.99, 79.00, 78.07, 76.07], atol=6e-3)


def test_size_and_compliance_follow_age() -> None:
    age = jnp.asarray(AGES)
    np.testing.assert_allclose(age_diameter_factor(age), [1, 1.03653, 1.07306, 1.10959, 1.14612, 1.18265], atol=6e-6)
    np.testing.assert_allclose(age_compliance_factor(age), [1, 0.8864, 0.7727, 0.6591, 0.5455, 0.4318], atol=6e-5)
    length = age_length_factor(age)
    np.testing.assert_allclose(np.diff(length), 7.19044 / (71.8605 + 0.719044 * 25), rtol=1e-5)


def test_ranges_over_the_factorial_population_are_the_published_ones(adults: Any) -> None:
    grid = np.array(list(product(AGES, *[(-1.0, 0.0, 1.0)] * 6)))
    assert len(grid) == 4374
    population = adults(grid)
    resistance = np.asarray(population.resistance) * 133.33e6
    published = {
        "heart_rate": (61.7, 88.9, 0.06), "stroke_volume": (41.7, 82.4, 0.06), "ejection_time": (234, 330, 0.6),
        "mean_pressure": (81.2, 102.5, 0.06), "k3": (3.87e5, 3.48e6, 6e3),
    }  # fmt: skip
    for field, (low, high, tolerance) in published.items():
        values = getattr(population, field)
        assert [values.min(), values.max()] == pytest.approx([low, high], abs=tolerance), field
    assert [resistance.min(), resistance.max()] == pytest.approx([5.54e7, 2.035e8], rel=1e-3)


def test_resistance_converts_to_pascal_as_named() -> None:
    assert float(pascal_resistance(jnp.asarray(0.69))) == pytest.approx(0.69 * 133.322e6, rel=1e-6)


def test_stiffness_reproduces_the_target_wave_speed(adults: Any) -> None:
    theta = HEALTHY.sample(np.random.default_rng(0), 256)
    population = adults(theta)
    with jax.enable_x64(True):
        fields = (population.k1, population.k3, population.diameter_factor)
        found = np.asarray(carotid_femoral_velocity(*(jnp.asarray(field) for field in fields)))
    np.testing.assert_allclose(found, population.pulse_wave_velocity, rtol=1e-9)


def test_a_speed_below_what_small_vessels_allow_gives_a_stiffness_near_zero() -> None:
    k3 = float(solve_k3(jnp.asarray(0.5), jnp.asarray(K1)))
    assert 0 < k3 < 2e3


def test_speed_grows_with_stiffness_and_falls_with_radius() -> None:
    k1 = jnp.full(3, K1)
    speed = carotid_femoral_velocity(k1, jnp.array([3e5, 6e5, 12e5]))
    assert (np.diff(speed) > 0).all()
    wide = carotid_femoral_velocity(k1, jnp.full(3, 6e5), radius_factor=jnp.array([0.8, 1.0, 1.2]))
    assert (np.diff(wide) < 0).all()


def test_ejection_time_falls_with_rate_and_grows_with_volume() -> None:
    age = jnp.full(3, 40.0)
    rate, volume, zero = jnp.array([60.0, 75.0, 90.0]), jnp.full(3, 65.0), jnp.zeros(3)
    assert (np.diff(healthy_ejection_time(age, rate, volume, zero)) < 0).all()
    assert (np.diff(healthy_ejection_time(age, volume, rate, zero)) > 0).all()
    assert (np.diff(healthy_ejection_time(age, volume, volume, jnp.array([-1.0, 0.0, 1.0]))) > 0).all()


def test_ages_between_the_table_are_between_its_values(mean_adults: Subject) -> None:
    age = jnp.asarray(AGES[:-1] + 5)
    pressure = mean_arterial_pressure(age, jnp.zeros(5))
    low, high = np.sort([mean_adults.mean_pressure[:-1], mean_adults.mean_pressure[1:]], axis=0)
    assert ((pressure >= low - 0.02) & (pressure <= high + 0.02)).all()


def test_prior_is_age_and_six_deviations_within_bounds() -> None:
    assert isinstance(HEALTHY, ParameterSpace)
    assert HEALTHY.dim == 7
    theta = HEALTHY.sample(np.random.default_rng(0), 2000)
    assert HEALTHY.contains(theta).all()
    assert theta[:, 0].mean() == pytest.approx(50, abs=1.5)
    assert (np.abs(theta[:, 1:]) <= 2.5).all()
    np.testing.assert_allclose(theta[:, 1:].std(0), 0.955, atol=0.06)  # a normal cut at 2.5 SD
