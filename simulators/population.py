r"""Virtual adults: from standardised deviations to the physiology that drives the arterial network.

The formulas are those of the healthy population of the Pulse Wave Database (PWDB): age-dependent heart rate, stroke
volume, ejection time, mean pressure, wave speed, diameter, length and peripheral compliance, here on a continuum of
ages and deviations where PWDB took a grid. `simulators/clinical.py` widens it to anaesthesia and intensive care.

Wave speed and stiffness: $c_0^2 = \tfrac{2}{3} \frac{Eh/R}{\rho}$, $Eh/R = k_1 e^{k_2 R} + k_3$, with $k_3$ the root
at which the theoretical carotid-femoral pulse wave velocity equals its target.

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062; Mattace-Raso F. et al. (2010), Eur Heart J
    31:2338 (wave speed); Weissler A.M. et al. (1961), Am Heart J 62:367 (ejection time). Units: mmHg, mL, ms, mm,
    1/min, m/s; stiffness in g/s^2/cm as published.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..waveforms.units import PA_PER_MMHG
from .network.geometry import adult_network, scaled_radii
from .parameters import Parameter, ParameterSpace
from .priors import TruncatedNormal, Uniform

DENSITY = 1060.0  # blood [kg/m3], PWDB
K1 = 3.0e6  # [g/s2/cm], PWDB
K2 = -13.5  # [1/cm], PWDB
WALL_VISCOSITY = (600.0, 150.0)  # b0 [g/s] and b1 [g cm/s], PWDB
HEALTHY_OUTFLOW_PRESSURE = 33.2  # [mmHg], PWDB
AGES = np.array([25.0, 35.0, 45.0, 55.0, 65.0, 75.0])

Scalar = Float[Array, "*batch"]


class Subject(NamedTuple):
    r"""What the arterial network needs to know of one adult; every field has shape (*batch).

    Pressures [mmHg], volumes [mL], times [ms], rates [1/min], `resistance` of all beds together [mmHg s/mL],
    `k1` and `k3` [g/s2/cm], `blood_viscosity` [Pa s]; fields that end in `_factor` multiply the baseline adult.

    Example:
        >>> "heart_rate" in Subject._fields
        True
    """

    age: Scalar
    heart_rate: Scalar
    stroke_volume: Scalar
    ejection_time: Scalar
    mean_pressure: Scalar
    venous_pressure: Scalar
    outflow_pressure: Scalar
    resistance: Scalar
    k1: Scalar
    k3: Scalar
    pulse_wave_velocity: Scalar
    blood_viscosity: Scalar
    wall_viscosity_factor: Scalar
    diameter_factor: Scalar
    radius_factor: Scalar
    length_factor: Scalar
    aortic_length_factor: Scalar
    compliance_factor: Scalar
    arm_resistance_factor: Scalar
    arm_compliance_factor: Scalar
    terminal_impedance_factor: Scalar
    time_to_peak: Scalar
    reverse_volume: Scalar
    deceleration_exponent: Scalar


@cache
def _pchip(knots: tuple[float, ...], values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(np.array(knots), np.array(values))
    return curve.x, curve.c


def _evaluate_pchip(x: Scalar, knots: tuple[float, ...], values: tuple[float, ...]) -> Scalar:
    breaks, coefficients = _pchip(knots, values)
    piece = jnp.clip(jnp.searchsorted(jnp.asarray(breaks), x, side="right") - 1, 0, len(breaks) - 2)
    c = jnp.asarray(coefficients, dtype=x.dtype)[:, piece]
    t = x - jnp.asarray(breaks, dtype=x.dtype)[piece]
    return ((c[0] * t + c[1]) * t + c[2]) * t + c[3]


_HEART_RATE = (80.0, 95.0, 97.5, 96.0, 94.0, 93.0, 90.0, 84.0, 76.0, 66.0, 57.0, 51.0, 51.0)
_HEART_RATE_AGES = tuple(32.5 + 5.0 * i for i in range(13))
_PRESSURE_AGES = tuple(15.5 + 10.0 * i for i in range(8))
_MEAN_PRESSURE = (88.0, 89.0, 92.0, 95.0, 95.0, 94.0, 93.0, 92.0)
_DIASTOLIC_PRESSURE = (73.0, 75.0, 77.0, 79.0, 79.0, 78.0, 76.0, 75.0)


def mean_heart_rate(age: Scalar) -> Scalar:
    """Mean resting heart rate of healthy adults of an age.

    Arguments:
        age: Age [years].

    Returns:
        Heart rate [1/min].

    Example:
        >>> round(float(mean_heart_rate(jnp.asarray(25.0))), 1)
        72.9
    """
    return _evaluate_pchip(age, _HEART_RATE_AGES, tuple(66.0 + 12.0 * (y - 5.0) / 94.0 for y in _HEART_RATE))


def mean_arterial_pressure(age: Scalar, deviation: Scalar) -> Scalar:
    """Mean arterial pressure of healthy adults of an age.

    Arguments:
        age: Age [years].
        deviation: Distance from the mean in standard deviations.

    Returns:
        Pressure [mmHg].

    Example:
        >>> round(float(mean_arterial_pressure(jnp.asarray(25.0), jnp.asarray(0.0))), 1)
        88.9
    """
    return _evaluate_pchip(age, _PRESSURE_AGES, _MEAN_PRESSURE) + deviation * (7.98095 - 0.00952381 * age)


def diastolic_pressure(age: Scalar) -> Scalar:
    """Mean diastolic pressure of healthy adults, the pressure at which the network has its tabulated radii.

    Arguments:
        age: Age [years].

    Returns:
        Pressure [mmHg].

    Example:
        >>> round(float(diastolic_pressure(jnp.asarray(25.0))), 1)
        74.9
    """
    return _evaluate_pchip(age, _PRESSURE_AGES, _DIASTOLIC_PRESSURE)


def healthy_stroke_volume(age: Scalar, deviation: Scalar) -> Scalar:
    """Stroke volume of healthy adults of an age.

    Arguments:
        age: Age [years].
        deviation: Distance from the mean in standard deviations.

    Returns:
        Stroke volume [mL].

    Example:
        >>> round(float(healthy_stroke_volume(jnp.asarray(25.0), jnp.asarray(0.0))), 2)
        66.33
    """
    upper, lower = 102.35 - 0.3856 * age, 42.94 - 0.1193 * age
    return 0.5 * (upper + lower) + deviation * (upper - lower) / 3.28971


_LVET_COVARIANCE = np.array(
    [
        [14.717722, -0.10620811, -0.084873357],
        [-0.10620811, 8.1116845e-4, 5.7674003e-4],
        [-0.084873357, 5.7674003e-4, 5.2439190e-4],
    ]
)
_LVET_MEAN = np.array([248.681, 242.349, 238.746, 236.418, 234.411, 233.600])
_LVET_SD = np.array([17.705, 17.019, 16.515, 16.136, 15.850, 15.788])


def healthy_ejection_time(age: Scalar, heart_rate: Scalar, stroke_volume: Scalar, deviation: Scalar) -> Scalar:
    """Left ventricular ejection time from rate and stroke volume, standardised per age as PWDB does.

    Arguments:
        age: Age [years].
        heart_rate: Heart rate [1/min].
        stroke_volume: Stroke volume [mL].
        deviation: Distance from the regression in its standard errors.

    Returns:
        Ejection time [ms].

    Example:
        >>> age = jnp.asarray(25.0)
        >>> round(float(healthy_ejection_time(age, mean_heart_rate(age), jnp.asarray(66.33), jnp.asarray(0.0))))
        282
    """
    q = jnp.stack(jnp.broadcast_arrays(jnp.ones_like(heart_rate), heart_rate, stroke_volume), -1)
    spread = jnp.sqrt(175.394 * jnp.einsum("...i,ij,...j->...", q, jnp.asarray(_LVET_COVARIANCE, q.dtype), q))
    raw = 244.2946 - 0.92549 * heart_rate + 1.08346 * stroke_volume + deviation * 1.02704 * spread
    mean, sd = jnp.interp(age, AGES, _LVET_MEAN), jnp.interp(age, AGES, _LVET_SD)
    return 282.0 + 23.3305 * (raw - mean) / sd


_PWV_PRESSURES = np.array([57.5, 64.5, 71.5, 78.5, 85.5, 92.5, 99.5, 106.5, 117.0, 131.0, 145.0, 159.0, 173.0])
_PWV_A = np.array([0.0] * 9 + [0.044, 0.088, 0.132, 0.176])
_PWV_B = 1e-3 * np.array([0.03, 0.19, 0.35, 0.51, 0.67, 0.83, 0.99, 1.05, 1.18, 0.85, 0.52, 0.19, -0.14])
_PWV_C = np.array([4.85, 4.99, 5.13, 5.27, 5.41, 5.55, 5.69, 5.91, 6.17, 5.73, 5.29, 4.85, 4.41])
_PWV_COLUMNS = np.array([92.5, 99.5, 106.5, 117.0, 131.0])
_PWV_MEDIAN = np.array(
    [
        [6.0, 6.4, 6.7, 7.2, 7.6],
        [6.5, 6.7, 7.0, 7.2, 7.6],
        [6.8, 7.4, 7.7, 8.1, 9.2],
        [7.5, 8.1, 8.4, 9.2, 9.7],
        [8.7, 9.3, 9.8, 10.7, 12.0],
        [10.1, 11.1, 11.2, 12.7, 13.5],
    ]
)
_PWV_P10 = np.array(
    [
        [5.2, 5.7, 5.8, 5.7, 5.9],
        [5.4, 5.3, 5.5, 5.5, 5.8],
        [5.8, 6.2, 6.5, 6.8, 7.1],
        [6.2, 6.7, 7.0, 7.2, 7.4],
        [7.0, 7.6, 7.9, 8.4, 8.5],
        [7.6, 8.6, 8.6, 9.3, 10.3],
    ]
)
_PWV_P90 = np.array(
    [
        [7.0, 7.5, 7.9, 9.3, 9.9],
        [7.9, 8.2, 8.8, 9.3, 11.2],
        [8.5, 9.0, 9.5, 10.8, 13.2],
        [9.2, 10.4, 11.3, 12.5, 14.9],
        [11.4, 12.2, 13.2, 14.1, 16.5],
        [13.8, 15.5, 15.8, 16.7, 18.2],
    ]
)


def _bilinear(age: Scalar, pressure: Scalar, table: np.ndarray) -> Scalar:
    row = jnp.clip((age - AGES[0]) / 10.0, 0.0, len(AGES) - 1.0)
    column = jnp.interp(pressure, _PWV_COLUMNS, np.arange(len(_PWV_COLUMNS), dtype=float))
    r = jnp.clip(jnp.floor(row).astype(int), 0, len(AGES) - 2)
    c = jnp.clip(jnp.floor(column).astype(int), 0, len(_PWV_COLUMNS) - 2)
    fr, fc = row - r, column - c
    t = jnp.asarray(table, dtype=row.dtype)
    return (1 - fr) * ((1 - fc) * t[r, c] + fc * t[r, c + 1]) + fr * ((1 - fc) * t[r + 1, c] + fc * t[r + 1, c + 1])


def expected_pulse_wave_velocity(age: Scalar, mean_pressure: Scalar) -> Scalar:
    """Carotid-femoral pulse wave velocity expected at an age and mean pressure (Mattace-Raso 2010).

    Arguments:
        age: Age [years].
        mean_pressure: Mean arterial pressure [mmHg].

    Returns:
        Velocity [m/s].

    Example:
        >>> round(float(expected_pulse_wave_velocity(jnp.asarray(25.0), jnp.asarray(88.93))), 2)
        5.95
    """
    a, b, c = (jnp.interp(mean_pressure, _PWV_PRESSURES, table) for table in (_PWV_A, _PWV_B, _PWV_C))
    return a * age + b * age**2 + c


def healthy_pulse_wave_velocity(age: Scalar, mean_pressure: Scalar, deviation: Scalar) -> Scalar:
    """Pulse wave velocity target of a healthy adult, with the published skewed spread.

    Arguments:
        age: Age [years].
        mean_pressure: Mean arterial pressure [mmHg].
        deviation: Distance from the mean in standard deviations, each side its own.

    Returns:
        Velocity [m/s].

    Example:
        >>> value = healthy_pulse_wave_velocity(jnp.asarray(25.0), jnp.asarray(88.93), jnp.asarray(1.0))
        >>> round(float(value), 2)
        6.72
    """
    median = _bilinear(age, mean_pressure, _PWV_MEDIAN)
    below = (median - _bilinear(age, mean_pressure, _PWV_P10)) / median / 1.28155
    above = (_bilinear(age, mean_pressure, _PWV_P90) - median) / median / 1.28155
    spread = jnp.where(deviation < 0, below, above)
    return expected_pulse_wave_velocity(age, mean_pressure) * (1.0 + deviation * spread)


_TO_FEMORAL = (1, 2, 14, 18, 27, 28, 35, 37, 39, 41, 42, 44, 46)
_TO_CAROTID = (1, 2, 15)


@cache
def _pulse_path() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments of the carotid-femoral path, their signed share of it and where along their taper the radius is read."""
    share = np.zeros(len(adult_network().names))
    place = np.full(len(share), 0.5)
    for path, sign in ((_TO_FEMORAL, 1.0), (_TO_CAROTID, -1.0)):
        share[np.array(path[:-1]) - 1] += sign
        share[path[-1] - 1] += 0.5 * sign
        place[path[-1] - 1] = 0.25
    used = np.flatnonzero(share)
    return used, share[used], place[used]


def carotid_femoral_velocity(
    k1: Scalar, k3: Scalar, diameter_factor: Scalar | float = 1.0, radius_factor: Scalar | float = 1.0
) -> Scalar:
    r"""Theoretical carotid-femoral pulse wave velocity of the network's wall law.

    $$\mathrm{PWV} = \frac{\sum_s w_s L_s}{\sum_s w_s L_s / c_s}$$ over the two paths, $w = \pm 1$ (half of the last).

    Arguments:
        k1: Stiffness of small vessels [g/s2/cm].
        k3: Stiffness of large vessels [g/s2/cm].
        diameter_factor: Widening of the large arteries.
        radius_factor: All radii as multiples of the baseline.

    Returns:
        Velocity [m/s].

    Example:
        >>> round(float(carotid_femoral_velocity(jnp.asarray(3.0e6), jnp.asarray(5.3849e5))), 2)
        5.95
    """
    used, share, place = _pulse_path()
    inlet, outlet = scaled_radii(adult_network(), jnp.asarray(diameter_factor), jnp.asarray(radius_factor))
    radius = 0.1 * (inlet[..., used] * (1.0 - place) + outlet[..., used] * place)  # mm to cm
    stiffness = 0.1 * (k1[..., None] * jnp.exp(K2 * radius) + k3[..., None])  # g/s2/cm = 0.1 Pa
    speed = jnp.sqrt(2.0 / 3.0 * stiffness / DENSITY)
    path = jnp.asarray(share * adult_network().length[used])
    return path.sum() / (path / speed).sum(-1)


def solve_k3(
    velocity: Scalar, k1: Scalar, diameter_factor: Scalar | float = 1.0, radius_factor: Scalar | float = 1.0
) -> Scalar:
    """The stiffness k3 at which the theoretical velocity equals a target, by Newton's method on log k3.

    Arguments:
        velocity: Target carotid-femoral velocity [m/s]; a target slower than k3 = 0 allows gives a k3 near zero.
        k1: Stiffness of small vessels [g/s2/cm].
        diameter_factor: Widening of the large arteries.
        radius_factor: All radii as multiples of the baseline.

    Returns:
        k3 [g/s2/cm].

    Example:
        >>> round(float(solve_k3(jnp.asarray(5.95), jnp.asarray(3.0e6))) / 1e5, 1)
        5.4
    """

    def error(log_k3: Scalar) -> Scalar:
        return jnp.log(carotid_femoral_velocity(k1, jnp.exp(log_k3), diameter_factor, radius_factor) / velocity)

    def step(_: int, log_k3: Scalar) -> Scalar:
        value, slope = jax.jvp(error, (log_k3,), (jnp.ones_like(log_k3),))
        return jnp.clip(log_k3 - jnp.clip(value / slope, -1.0, 1.0), jnp.log(1e3), jnp.log(1e8))

    start = jnp.log(15.0 * DENSITY * velocity**2)  # without the small-vessel term k3 = 10 * 1.5 rho c^2
    return jnp.exp(jax.lax.fori_loop(0, 12, step, start + jnp.zeros_like(k1)))


def _deviation(name: str, description: str) -> Parameter:
    return Parameter(
        name, "1", -2.5, 2.5, TruncatedNormal(0.0, 1.0), description=description, source="PWDB (Charlton 2019)"
    )


HEALTHY = ParameterSpace(
    (
        Parameter("age", "years", 25.0, 75.0, Uniform(), description="Age.", source="PWDB (Charlton 2019)"),
        _deviation("heart_rate_deviation", "Heart rate, in SD of healthy adults."),
        _deviation("stroke_volume_deviation", "Stroke volume, in SD at the age."),
        _deviation("ejection_time_deviation", "Ejection time, in SD of the regression on rate and stroke volume."),
        _deviation("mean_pressure_deviation", "Mean pressure, in SD at the age."),
        _deviation("wave_speed_deviation", "Carotid-femoral wave speed, in SD at the age and pressure."),
        _deviation("diameter_deviation", "Diameter of large arteries, in SD."),
    )
)


def healthy_subject(theta: Float[Array, "*batch 7"]) -> Subject:
    r"""The PWDB recipe: age and six standardised deviations to an adult.

    Arguments:
        theta: Parameters in the order of `HEALTHY`, with shape (*, 7).

    Returns:
        The adult, every field of shape (*).

    Example:
        >>> adult = healthy_subject(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))
        >>> round(float(adult.heart_rate), 1), round(float(adult.stroke_volume), 1)
        (72.9, 66.3)
    """
    age, z_rate, z_volume, z_time, z_pressure, z_speed, z_diameter = jnp.moveaxis(theta, -1, 0)
    heart_rate = mean_heart_rate(age) + 11.1957 * z_rate
    stroke_volume = healthy_stroke_volume(age, z_volume)
    pressure = mean_arterial_pressure(age, z_pressure)
    velocity = healthy_pulse_wave_velocity(age, pressure, z_speed)
    diameter = age_diameter_factor(age) * (1.0 + 0.0899977 * z_diameter)
    one = jnp.ones_like(age)
    return Subject(
        age=age,
        heart_rate=heart_rate,
        stroke_volume=stroke_volume,
        ejection_time=healthy_ejection_time(age, heart_rate, stroke_volume, z_time),
        mean_pressure=pressure,
        venous_pressure=5.0 * one,
        outflow_pressure=HEALTHY_OUTFLOW_PRESSURE * one,
        resistance=(pressure - HEALTHY_OUTFLOW_PRESSURE) * 60.0 / (heart_rate * stroke_volume),
        k1=K1 * one,
        k3=solve_k3(velocity, K1 * one, diameter),
        pulse_wave_velocity=velocity,
        blood_viscosity=2.5e-3 * one,
        wall_viscosity_factor=one,
        diameter_factor=diameter,
        radius_factor=one,
        length_factor=one,
        aortic_length_factor=age_length_factor(age),
        compliance_factor=age_compliance_factor(age),
        arm_resistance_factor=one,
        arm_compliance_factor=one,
        terminal_impedance_factor=one,
        time_to_peak=79.0 * one,
        reverse_volume=0.73 * one,
        deceleration_exponent=one,
    )


def age_diameter_factor(age: Scalar) -> Scalar:
    """Widening of the large arteries with age, 1 at 25 years, linear as in PWDB's table.

    Arguments:
        age: Age [years].

    Returns:
        Factor on the radius.

    Example:
        >>> round(float(age_diameter_factor(jnp.asarray(75.0))), 5)
        1.18265
    """
    return 1.0 + 0.003653 * (age - 25.0)


def age_length_factor(age: Scalar) -> Scalar:
    """Lengthening of the ascending aorta and first arch segment with age, 1 at 25 years.

    Arguments:
        age: Age [years].

    Returns:
        Factor on the length.

    Example:
        >>> round(float(age_length_factor(jnp.asarray(25.0))), 5)
        1.0
    """
    return (71.8605 + 0.719044 * age) / (71.8605 + 0.719044 * 25.0)


def age_compliance_factor(age: Scalar) -> Scalar:
    """Fall of the compliance of the vascular beds with age, 1 at 25 years.

    Arguments:
        age: Age [years].

    Returns:
        Factor on the compliance of every bed.

    Example:
        >>> round(float(age_compliance_factor(jnp.asarray(75.0))), 4)
        0.4318
    """
    return (0.113 - 0.001 * age) / 0.088


def pascal_resistance(resistance: Scalar) -> Scalar:
    """Resistance from clinical units to SI.

    Arguments:
        resistance: Resistance [mmHg s/mL].

    Returns:
        Resistance [Pa s/m3].

    Example:
        >>> round(float(pascal_resistance(jnp.asarray(1.0))) / 1e6)
        133
    """
    return resistance * PA_PER_MMHG * 1e6
