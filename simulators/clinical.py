r"""Adults in anaesthesia and intensive care: a wide, continuous population around the healthy recipe.

Twenty-seven free parameters, each in its own interval; what physiology ties together is tied in the map to a subject:
stroke volume falls with heart rate, ejection time follows rate and stroke volume and stays a fraction of the beat,
wave speed follows age and mean pressure, the closing pressure of the beds lies between venous and mean pressure,
lengths and radii follow height, diameter and compliance follow age.

Bounded quantities use a logistic map, $q = l + (h-l)\,\sigma(\mathrm{logit}(m) + s z)$ with $z$ standard normal, so no
draw ever leaves $[l, h]$ and none sits on an edge.

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062 (baseline, age trends); Weissler A.M. et al.
    (1968), Circulation 37:149 (ejection time = 413 ms - 1.7 HR); Mattace-Raso F. et al. (2010), Eur Heart J 31:2338
    (wave speed); Maas J.J. et al. (2012), Crit Care Med 40:2 (closing pressures between venous and arterial);
    Michard F. (2005), Anesthesiology 103:419 (variation under ventilation). Where the literature gives no
    distribution the width is ours, chosen to hold the published ranges and then some. Units: mmHg, mL, ms, 1/min.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from jax import nn
from jaxtyping import Array, Float

from .network.rhythm import Variability
from .parameters import Parameter, ParameterSpace
from .population import (
    K1,
    Scalar,
    Subject,
    age_compliance_factor,
    age_diameter_factor,
    age_length_factor,
    expected_pulse_wave_velocity,
    solve_k3,
)
from .priors import Beta, LogUniform, TruncatedLogNormal, TruncatedNormal, Uniform

_WIDER = {"wall_viscosity": 1.0, "terminal_impedance": 0.6}
"""Standard deviations of the logarithm in the wide population."""
STROKE_VOLUME = (15.0, 150.0)  # [mL]
EJECTION_TIME = (150.0, 420.0)  # [ms]
LONGEST_EJECTION = 0.58  # of the beat
PULSE_WAVE_VELOCITY = (3.5, 22.0)  # [m/s]
CLOSING_GAP = 12.0  # [mmHg]: closing pressure stays this far below mean pressure
_VOLUME_SD, _EJECTION_SD, _SPEED_SD = 0.9, 0.7, 0.35  # of the deviations, on logistic scales


def _z(name: str, description: str, source: str = "width: this project") -> Parameter:
    return Parameter(name, "1", -3.0, 3.0, TruncatedNormal(0.0, 1.0), description=description, source=source)


def _factor(name: str, sigma: float, description: str, source: str = "width: this project") -> Parameter:
    low, high = float(jnp.exp(-3 * sigma)), float(jnp.exp(3 * sigma))
    return Parameter(name, "1", low, high, TruncatedLogNormal(1.0, sigma), "log", description, source)


CLINICAL = ParameterSpace(
    (
        Parameter("age", "years", 18.0, 90.0, Uniform(), description="Age."),
        Parameter("height", "m", 1.4, 2.05, TruncatedNormal(1.70, 0.10), description="Height."),
        Parameter("heart_rate", "1/min", 35.0, 160.0, LogUniform(), "log", "Heart rate of the steady beat."),
        _z("stroke_volume_deviation", "Stroke volume about its value at the heart rate (logistic scale)."),
        _z("ejection_time_deviation", "Ejection time about Weissler's line (logistic scale)."),
        Parameter("mean_pressure", "mmHg", 40.0, 140.0, TruncatedNormal(85.0, 20.0), description="Mean pressure."),
        _z("wave_speed_deviation", "Carotid-femoral wave speed about age and pressure (logistic scale)."),
        _z("diameter_deviation", "Diameter of large arteries about age and height."),
        Parameter(
            "venous_pressure", "mmHg", 0.0, 25.0, TruncatedNormal(8.0, 5.0), description="Right-atrial pressure."
        ),
        Parameter(
            "closing_fraction",
            "1",
            0.0,
            0.9,
            Beta(2.0, 3.0),
            description="Closing pressure of the beds, between venous pressure (0) and mean pressure less 12 mmHg (1).",
        ),
        _factor("bed_compliance", 0.4, "Compliance of the beds, multiple of the value at the age."),
        _factor("arm_resistance", 0.4, "Resistance of the arm beds against the others."),
        _factor("arm_compliance", 0.4, "Compliance of the arm beds against the others."),
        _factor("terminal_impedance", 0.3, "Characteristic resistance of the outlets over that of their artery."),
        _factor("small_vessel_stiffness", 0.3, "Stiffness constant k1."),
        _factor("wall_viscosity", 0.5, "Wall viscosity."),
        Parameter("blood_viscosity", "mPa s", 1.5, 5.0, TruncatedLogNormal(2.8, 0.2), "log", "Blood viscosity."),
        Parameter(
            "peak_time_fraction",
            "1",
            0.12,
            0.45,
            TruncatedNormal(0.28, 0.06),
            description="Time to peak flow over ejection time (PWDB: 79 of 282 ms, SD 11).",
        ),
        Parameter(
            "reverse_fraction",
            "1",
            0.0,
            0.06,
            TruncatedNormal(0.011, 0.012),
            description="Reverse volume over stroke volume (PWDB: .73 of 66 mL, SD .63).",
        ),
        _factor("deceleration_exponent", 0.25, "Exponent on the shape of decelerating flow."),
        Parameter("respiration_rate", "1/min", 7.0, 35.0, LogUniform(), "log", "Breaths."),
        Parameter("rate_swing", "1", 0.0, 0.2, TruncatedNormal(0.0, 0.04), description="Respiratory arrhythmia."),
        Parameter("stroke_swing", "1", 0.0, 0.25, TruncatedNormal(0.0, 0.06), description="Stroke volume variation."),
        Parameter("venous_swing", "mmHg", 0.0, 8.0, TruncatedNormal(0.0, 2.5), description="Venous swing (amplitude)."),
        Parameter("irregularity", "1", 0.0, 0.3, Beta(0.5, 5.0), description="Log SD of beat intervals."),
        Parameter("ectopy", "1", 0.0, 0.4, Beta(0.4, 8.0), description="Share of premature beats."),
        _z("size_deviation", "Radii about their value at the height."),
    )
)

CLINICAL_WIDE = ParameterSpace(
    _factor(p.name, _WIDER[p.name], p.description, p.source) if p.name in _WIDER else p for p in CLINICAL.parameters
)
"""The clinical population with twice the freedom of wall viscosity and terminal impedance (on the logarithm): nearer to
real upstrokes, see docs/benchmarks/world.md."""


def _logistic(median: Scalar, low: Scalar | float, high: Scalar | float, shift: Scalar) -> Scalar:
    """Logistic map of a normal deviation about a median into (low, high)."""
    return low + (high - low) * nn.sigmoid(_log_odds(median, low, high) + shift)


def _log_odds(median: Scalar, low: Scalar | float, high: Scalar | float) -> Scalar:
    """A median between (low, high) on the logistic scale, kept off both ends."""
    share = jnp.clip((median - low) / (high - low), 0.05, 0.95)
    return jnp.log(share / (1 - share))


def _expected_ejection(p: Mapping[str, Scalar], stature: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Stroke volume [mL], and median and upper end of ejection time [ms], from rate and stature."""
    rate = p["heart_rate"]
    expected_volume = 65.0 * stature**1.5 * (rate / 75.0) ** -0.4
    volume = _logistic(expected_volume, *STROKE_VOLUME, _VOLUME_SD * p["stroke_volume_deviation"])
    beat = 60000.0 / rate
    longest = jnp.minimum(EJECTION_TIME[1], jnp.maximum(LONGEST_EJECTION * beat, 1.25 * EJECTION_TIME[0]))
    expected_time = 413.0 - 1.7 * rate + 0.5 * (volume - expected_volume)
    return volume, expected_time, longest


def _ejection(p: Mapping[str, Scalar], stature: Scalar) -> tuple[Scalar, Scalar]:
    """Stroke volume [mL] and ejection time [ms] from rate and stature."""
    volume, time, longest = _expected_ejection(p, stature)
    return volume, _logistic(time, EJECTION_TIME[0], longest, _EJECTION_SD * p["ejection_time_deviation"])


def deviation_middles(theta: Float[Array, "*batch D"]) -> dict[str, Scalar]:
    r"""What ejection time and wave speed are expected to be, in units of the deviations from it.

    A beat is smooth in expectation plus deviation, that is in ejection time and wave speed themselves. In a deviation
    alone it has a kink wherever the expectation has one: mean wave speed is a table of mean pressure, level below 57.5
    mmHg.

    Arguments:
        theta: Parameters in the order of `CLINICAL`, with shape (*, D).

    Returns:
        Expectations by the name of the deviation, on its logistic scale, with shape (*); neither depends on these two.

    Example:
        >>> import numpy as np
        >>> theta = CLINICAL.sample_quantiles(np.full((1, CLINICAL.dim), 0.5))
        >>> sorted(deviation_middles(jnp.asarray(theta)))
        ['ejection_time_deviation', 'wave_speed_deviation']
    """
    p = dict(zip(CLINICAL.names, jnp.moveaxis(theta, -1, 0), strict=True))
    _, time, longest = _expected_ejection(p, p["height"] / 1.70)
    speed = expected_pulse_wave_velocity(p["age"], p["mean_pressure"])
    return {
        "ejection_time_deviation": _log_odds(time, EJECTION_TIME[0], longest) / _EJECTION_SD,
        "wave_speed_deviation": _log_odds(speed, *PULSE_WAVE_VELOCITY) / _SPEED_SD,
    }


def clinical_subject(theta: Float[Array, "*batch D"]) -> tuple[Subject, Variability]:
    r"""Parameters of the clinical population to an adult and the variability of its heart.

    Arguments:
        theta: Parameters in the order of `CLINICAL`, with shape (*, D).

    Returns:
        The adult and its variability, fields of shape (*).

    Example:
        >>> import numpy as np
        >>> theta = CLINICAL.sample_quantiles(np.full((1, CLINICAL.dim), 0.5))
        >>> adult, _ = clinical_subject(jnp.asarray(theta))
        >>> 55 < float(adult.stroke_volume[0]) < 75
        True
    """
    p = dict(zip(CLINICAL.names, jnp.moveaxis(theta, -1, 0), strict=True))
    age, rate, pressure = p["age"], p["heart_rate"], p["mean_pressure"]
    stature = p["height"] / 1.70
    volume, ejection = _ejection(p, stature)
    speed = _logistic(
        expected_pulse_wave_velocity(age, pressure), *PULSE_WAVE_VELOCITY, _SPEED_SD * p["wave_speed_deviation"]
    )
    closing = p["venous_pressure"] + p["closing_fraction"] * (pressure - CLOSING_GAP - p["venous_pressure"])
    diameter = age_diameter_factor(age) * jnp.exp(0.1 * p["diameter_deviation"])
    radius = stature**0.5 * jnp.exp(0.06 * p["size_deviation"])
    k1 = K1 * p["small_vessel_stiffness"]
    one = jnp.ones_like(age)
    subject = Subject(
        age=age,
        heart_rate=rate,
        stroke_volume=volume,
        ejection_time=ejection,
        mean_pressure=pressure,
        venous_pressure=p["venous_pressure"],
        outflow_pressure=closing,
        resistance=(pressure - closing) * 60.0 / (rate * volume),
        k1=k1,
        k3=solve_k3(speed, k1, diameter, radius),
        pulse_wave_velocity=speed,
        blood_viscosity=1e-3 * p["blood_viscosity"],
        wall_viscosity_factor=p["wall_viscosity"],
        diameter_factor=diameter,
        radius_factor=radius,
        length_factor=stature * one,
        aortic_length_factor=age_length_factor(age),
        compliance_factor=p["bed_compliance"] * jnp.maximum(age_compliance_factor(age), 0.3),
        arm_resistance_factor=p["arm_resistance"],
        arm_compliance_factor=p["arm_compliance"],
        terminal_impedance_factor=p["terminal_impedance"],
        time_to_peak=p["peak_time_fraction"] * ejection,
        reverse_volume=p["reverse_fraction"] * volume,
        deceleration_exponent=p["deceleration_exponent"],
    )
    names = ("respiration_rate", "rate_swing", "stroke_swing", "venous_swing", "irregularity", "ectopy")
    return subject, Variability(*(p[name] for name in names))


def closing_share(subject: Subject) -> Scalar:
    """How much of a swing of venous pressure reaches the outflow of the beds: 1 less the closing fraction.

    Arguments:
        subject: Adults.

    Returns:
        Share, 1 where the beds drain at venous pressure.

    Example:
        >>> import numpy as np
        >>> theta = CLINICAL.sample_quantiles(np.full((1, CLINICAL.dim), 0.5))
        >>> 0 < float(closing_share(clinical_subject(jnp.asarray(theta))[0])[0]) < 1
        True
    """
    gap = subject.mean_pressure - CLOSING_GAP - subject.venous_pressure
    return jnp.clip(1 - (subject.outflow_pressure - subject.venous_pressure) / gap, 0.0, 1.0)
