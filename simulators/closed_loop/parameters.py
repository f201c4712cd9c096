r"""Parameters of the closed loop, their prior, and the circuit that they make.

Medians are those of a resting adult: elastances and volumes at rest of the chambers near Regazzoni et al. (2022),
vessels such that the pressures and volumes that follow are near the textbook's (stroke volume 70 mL, ejection fraction
60 %, 120 over 75 mmHg, central venous pressure 4 mmHg, pulmonary artery 15 mmHg). Where the literature gives no
distribution the width is ours, chosen to hold anaesthesia, intensive care and heart failure.

References:
    | Regazzoni et al. (2022), J Comput Phys 457:111083, table of the circulation's parameters
    | Mynard et al. (2012), Int J Numer Method Biomed Eng 28:626 (valves with inertance and Bernoulli's loss)
    | Chen et al. (2001), J Am Coll Cardiol 38:2028 (end-systolic elastance of adults)
    | Magder & De Varennes (1998), Crit Care Med 26:1061 (stressed volume, 30 % of all). Units: mmHg, mL, s, 1/min.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...waveforms.units import PA_PER_MMHG
from ..parameters import Parameter, ParameterSpace
from ..priors import LogUniform, Prior, TruncatedLogNormal, TruncatedNormal
from .activation import contraction_time
from .circuit import Circuit

__all__ = ["ADULT", "OPEN_AREA", "SEPTUM", "VALVE_DISEASE", "heart_circuit", "make_circuit", "orifice"]

OPEN_AREA = {"mitral": 5.0, "aortic": 4.0, "tricuspid": 6.0, "pulmonic": 4.5}
"""Effective orifice area of healthy valves, open [cm2]: this project's round numbers."""

_DENSITY = 1060.0  # of blood [kg/m3]
_LENGTH = 0.01  # of the blood that a valve accelerates [m], this project's
_SOURCE = "Regazzoni 2022, Mynard 2012, Chen 2001, Magder 1998; width: this project"
_VALVE_RESISTANCE = 0.003  # [mmHg s/mL]


def _log(name: str, unit: str, low: float, high: float, median: float, sigma: float, text: str) -> Parameter:
    return Parameter(
        name,
        unit,
        low,
        high,
        TruncatedLogNormal(median, sigma),
        "log",
        text,
        _SOURCE,
    )


def _at(name: str, unit: str, low: float, high: float, prior: Prior, text: str) -> Parameter:
    return Parameter(name, unit, low, high, prior, "linear", text, _SOURCE)


ADULT = ParameterSpace((
    Parameter("heart_rate", "1/min", 40.0, 150.0, LogUniform(), "log", "Heart rate.", _SOURCE),
    _at("stressed_volume", "mL", 500.0, 2200.0, TruncatedNormal(1100.0, 250.0),
        "Blood beyond what fills vessels without pressure, all of the chambers' among it."),
    _log("lv_elastance", "mmHg/mL", 0.4, 8.0, 2.4, 0.4, "End-systolic elastance of the left ventricle."),
    _log("lv_stiffness", "mmHg/mL", 0.03, 0.3, 0.08, 0.3, "Diastolic elastance of the left ventricle."),
    _at("lv_rest_volume", "mL", 0.0, 60.0, TruncatedNormal(10.0, 8.0), "Left-ventricular volume without pressure."),
    _log("rv_elastance", "mmHg/mL", 0.15, 2.5, 0.65, 0.35, "End-systolic elastance of the right ventricle."),
    _log("rv_stiffness", "mmHg/mL", 0.015, 0.15, 0.04, 0.3, "Diastolic elastance of the right ventricle."),
    _at("rv_rest_volume", "mL", 0.0, 60.0, TruncatedNormal(20.0, 8.0), "Right-ventricular volume without pressure."),
    _log("la_elastance", "mmHg/mL", 0.1, 1.0, 0.3, 0.3, "Largest elastance of the left atrium."),
    _log("la_stiffness", "mmHg/mL", 0.06, 0.5, 0.16, 0.25, "Least elastance of the left atrium."),
    _log("ra_elastance", "mmHg/mL", 0.06, 0.6, 0.18, 0.3, "Largest elastance of the right atrium."),
    _log("ra_stiffness", "mmHg/mL", 0.03, 0.3, 0.09, 0.25, "Least elastance of the right atrium."),
    _log("systole", "1", 0.7, 1.4, 1.0, 0.1, "Time to the largest elastance, multiple of .2 s + .15 of the beat."),
    _at("atrial_lead", "s", 0.08, 0.26, TruncatedNormal(0.16, 0.03), "Time from atrial to ventricular contraction."),
    _log("systemic_resistance", "mmHg s/mL", 0.3, 3.0, 0.9, 0.35, "Resistance from systemic arteries to veins."),
    _log("arterial_compliance", "mL/mmHg", 0.4, 3.5, 1.3, 0.3, "Compliance of systemic arteries."),
    _log("aortic_impedance", "mmHg s/mL", 0.01, 0.15, 0.045, 0.3, "Characteristic impedance of the aorta."),
    _log("venous_compliance", "mL/mmHg", 25.0, 150.0, 65.0, 0.25, "Compliance of systemic veins."),
    _log("venous_resistance", "mmHg s/mL", 0.01, 0.12, 0.04, 0.3, "Resistance from systemic veins to the atrium."),
    _log("pulmonary_resistance", "mmHg s/mL", 0.02, 0.5, 0.07, 0.45, "Resistance from pulmonary arteries to veins."),
    _log("pulmonary_compliance", "mL/mmHg", 1.0, 12.0, 4.0, 0.3, "Compliance of pulmonary arteries."),
    _log("pulmonary_impedance", "mmHg s/mL", 0.005, 0.06, 0.02, 0.3, "Characteristic impedance, pulmonary artery."),
    _log("pulmonary_venous_compliance", "mL/mmHg", 4.0, 40.0, 13.0, 0.3, "Compliance of pulmonary veins."),
    _log("pulmonary_venous_resistance", "mmHg s/mL", 0.003, 0.04, 0.01, 0.3, "From pulmonary veins to the atrium."),
))  # fmt: skip
"""Resting and sick adults with sound valves and a rigid septum."""

VALVE_DISEASE = ParameterSpace((
    _log("aortic_area", "cm2", 0.5, 5.0, 2.0, 0.6, "Effective orifice area of the open aortic valve."),
    _log("mitral_area", "cm2", 0.8, 6.0, 3.5, 0.4, "Effective orifice area of the open mitral valve."),
    _log("aortic_leak", "cm2", 0.001, 0.6, 0.02, 1.5, "Effective orifice through which the aortic valve leaks."),
    _log("mitral_leak", "cm2", 0.001, 0.8, 0.02, 1.5, "Effective orifice through which the mitral valve leaks."),
))  # fmt: skip
"""What is free besides, where valves may be sick."""

SEPTUM = ParameterSpace((
    _log("septal_elastance", "mmHg/mL", 4.0, 400.0, 40.0, 0.7, "Elastance of the septum between the ventricles."),
))  # fmt: skip
"""What is free besides, where the ventricles feel each other."""


def orifice(area: Float[Array, "*batch"] | float) -> Float[Array, "*batch"]:
    r"""Pressure that an orifice costs, over the square of the flow: $\rho/2A^2$.

    Arguments:
        area: Effective orifice area [cm2].

    Returns:
        Coefficient [mmHg s2/mL2].

    Example:
        >>> round(float(orifice(1.0)) * 400.0**2)  # at 4 m/s
        64
    """
    area_m2 = 1e-4 * jnp.asarray(area)
    return 0.5 * _DENSITY / area_m2**2 * 1e-12 / PA_PER_MMHG


def make_circuit(values: dict[str, Float[Array, " B"]], *, closing: Float[Array, " B"] | float = -1e3) -> Circuit:
    r"""Circuit of named parameters; valves are sound and the septum is rigid unless theirs are among the names.

    Arguments:
        values: Parameters of `ADULT`, and any of `VALVE_DISEASE` and `SEPTUM`, by name.
        closing: Pressure at which the systemic veins close [mmHg].

    Returns:
        The circuits.

    Example:
        >>> middle = {p.name: jnp.asarray([p.prior.ppf(0.5, p.low, p.high)]) for p in ADULT.parameters}
        >>> make_circuit(middle).passive.shape
        (2, 4, 1)
    """
    v = values
    rate = v["heart_rate"]
    one, none = jnp.ones_like(rate), jnp.zeros_like(rate)
    area = {name: v.get(f"{name}_area", OPEN_AREA[name] * one) for name in OPEN_AREA}
    leaks = {name: v.get(f"{name}_leak") for name in ("mitral", "aortic")}
    period = 60.0 / rate
    passive = _grid(
        (v["la_stiffness"], 1 / v["arterial_compliance"], v["ra_stiffness"], 1 / v["pulmonary_compliance"]),
        (v["lv_stiffness"], 1 / v["venous_compliance"], v["rv_stiffness"], 1 / v["pulmonary_venous_compliance"]),
    )
    full = _grid((v["la_elastance"], none, v["ra_elastance"], none), (v["lv_elastance"], none, v["rv_elastance"], none))
    resistance = _grid(
        (_VALVE_RESISTANCE * one, v["systemic_resistance"], _VALVE_RESISTANCE * one, v["pulmonary_resistance"]),
        (_VALVE_RESISTANCE + v["aortic_impedance"], v["venous_resistance"],
         _VALVE_RESISTANCE + v["pulmonary_impedance"], v["pulmonary_venous_resistance"]),
    )  # fmt: skip
    valve = jnp.asarray([[1, 0, 1, 0]] * 2, resistance.dtype)[..., None]
    areas = _grid((area["mitral"], one, area["tricuspid"], one), (area["aortic"], one, area["pulmonic"], one))
    leak = _grid(*(tuple(none if leaks[n] is None else one if k == 0 else none for k in range(4)) for n in leaks))
    holes = _grid(*(tuple(one if leaks[n] is None or k else leaks[n] for k in range(4)) for n in leaks))  # type: ignore[arg-type]
    septum = v.get("septal_elastance")
    return Circuit(
        passive=passive,
        active=jnp.maximum(full - passive, 0.0) * (full > 0),
        rest=_grid((4.0 * one, none, 4.0 * one, none), (v["lv_rest_volume"], none, v["rv_rest_volume"], none)),
        resistance=resistance,
        quadratic=valve * orifice(areas),
        leak=jnp.where(valve > 0, leak, 1.0) / resistance,
        leak_quadratic=leak * orifice(holes),
        inertance=valve * (_DENSITY * _LENGTH / (1e-4 * areas) * 1e-6 / PA_PER_MMHG),
        root=jnp.stack([v["aortic_impedance"], v["pulmonary_impedance"]]),
        septum=none if septum is None else 1 / septum,
        closing=closing * one,
        total=v["stressed_volume"],
        period=period,
        duration=contraction_time(period, v["systole"]),
        lead=jnp.minimum(v["atrial_lead"], 0.45 * period),
    )


def heart_circuit(theta: Float[Array, "B D"], names: tuple[str, ...]) -> Circuit:
    r"""Circuit of rows of parameters.

    Arguments:
        theta: Parameters.
        names: Their names.

    Returns:
        The circuits.

    Example:
        >>> import numpy as np
        >>> rows = ADULT.sample_quantiles(np.full((2, ADULT.dim), 0.5))
        >>> heart_circuit(jnp.asarray(rows), ADULT.names).total.shape
        (2,)
    """
    return make_circuit(dict(zip(names, jnp.moveaxis(theta, -1, 0), strict=True)))


def _grid(even: tuple[Array, ...], odd: tuple[Array, ...]) -> Float[Array, "2 4 B"]:
    return jnp.stack([jnp.stack(jnp.broadcast_arrays(*even)), jnp.stack(jnp.broadcast_arrays(*odd))])
