r"""The windkessel law recovered from pressure and flow, and what it says about resistance and compliance.

$$\frac{dP}{dt} = \frac{Q}{C} - \frac{P - P_v}{R C} \qquad \text{(two)}$$

At the root of real arteries the aorta's characteristic impedance $Z$ stands before it, $P = Z Q + P_w$ with $P_w$ as
above, and that is again one equation, with the flow and its derivative as inputs:

$$
\frac{dP}{dt} = Z \frac{dQ}{dt} + \frac{Q}{C} \Big(1 + \frac{Z}{R}\Big) - \frac{P - P_v}{R C} \qquad \text{(three)}
$$

The equations are searched for as for any other system, with pressure as the state. Where a law above is among the
candidates, its weight says how much of the posterior it holds; R, C, Z and the pressure behind the resistance are those
of the law fitted to the samples, whether it is the best explanation or not. Units: mmHg, mL/s, s; R and Z [mmHg s/mL],
C [mL/mmHg].

References:
    Westerhof N., Lankhaar J.-W., Westerhof B.E. (2009), Med Biol Eng Comput 47:131 (the arterial windkessel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._sindy import local_cubic
from ._smooth import smooth_path
from .check import Trajectory
from .equations import Structure
from .posterior import EquationPosterior
from .recover import RecoverConfig, recover_equations
from .refit import Fit, Ladder, refit_constants

__all__ = ["WindkesselLaw", "windkessel_law"]

_LAWS = {2: {"u0", "x0", "1"}, 3: {"u0", "u1", "x0", "1"}}
_GUESS = {"u0": 0.7, "u1": 0.05, "x0": -0.7, "1": 0.0}


@dataclass(frozen=True)
class WindkesselLaw:
    r"""What the recovered equation says about the circulation.

    Arguments:
        resistance: Peripheral resistance [mmHg s/mL].
        resistance_error: Its standard error [mmHg s/mL].
        compliance: Arterial compliance [mL/mmHg].
        compliance_error: Its standard error [mL/mmHg].
        impedance: Characteristic impedance of the aorta [mmHg s/mL]; 0 with two elements.
        venous_pressure: Pressure behind the resistance [mmHg]; 0 where the law has no constant.
        misfit: Root mean square of what the law leaves of the pressure's beat [mmHg].
        weight: Share of the posterior over equations that is this law.
        posterior: All candidates.

    Example:
        >>> WindkesselLaw.__name__
        'WindkesselLaw'
    """

    resistance: float
    resistance_error: float
    compliance: float
    compliance_error: float
    impedance: float
    venous_pressure: float
    misfit: float
    weight: float
    posterior: EquationPosterior


def windkessel_law(
    time: Float[np.ndarray, " time"],
    pressure: Float[np.ndarray, " time"],
    flow: Float[np.ndarray, " time"],
    *,
    elements: int = 2,
    outflow: float | None = None,
    seed: int = 0,
) -> WindkesselLaw:
    r"""Recover the law of a pressure driven by a flow.

    Arguments:
        time: Time [s].
        pressure: Aortic pressure [mmHg].
        flow: Aortic flow [mL/s].
        elements: 2, or 3 with a characteristic impedance.
        outflow: Pressure behind the resistance [mmHg] where it is known; otherwise it is fitted, and a few beats hardly
            tell it from the resistance. The posterior's P is then the pressure above it.
        seed: Seed.

    Returns:
        Resistance, compliance and the posterior over equations.

    Raises:
        ValueError: If the samples cannot be used, or pressure does not follow flow like a windkessel at all.

    Example:
        >>> t = np.linspace(0.0, 4.0, 400)
        >>> q = 150.0 * np.maximum(np.sin(2.0 * np.pi * t / 0.8), 0.0)
        >>> p = np.empty_like(t)
        >>> p[0] = 80.0
        >>> for i in range(399):
        ...     p[i + 1] = p[i] + (t[i + 1] - t[i]) * ((q[i] + q[i + 1]) / 2.0 / 1.5 - p[i] / (1.0 * 1.5))
        >>> law = windkessel_law(t, p, q)
        >>> round(law.resistance, 1), round(law.compliance, 1)
        (1.0, 1.5)
    """
    if elements not in _LAWS:
        raise ValueError(f"elements must be 2 or 3, got {elements}")
    behind = 0.0 if outflow is None else outflow
    allowed = _LAWS[elements] - (set() if outflow is None else {"1"})
    t, p = np.asarray(time, dtype=float), np.asarray(pressure, dtype=float)[:, None] - behind
    u = np.asarray(flow, dtype=float)[:, None]
    u = u if elements == 2 else np.column_stack([u, local_cubic(t, u, 2)[1]])
    posterior = recover_equations(
        [Trajectory(t, p, u)],
        names=("P",),
        inputs=("Q", "dQ")[: elements - 1],
        config=RecoverConfig(proposers=("weak",)),
        seed=seed,
    )
    weights: dict[tuple[str, ...], float] = {}
    for candidate in posterior.candidates:
        terms = candidate.equations.structure.terms[0]
        if {"u0", "x0"} <= set(terms) <= allowed:
            weights[tuple(sorted(terms))] = candidate.weight
    terms = max(weights, key=lambda t: weights[t]) if weights else tuple(sorted(allowed))
    path = smooth_path(t - t[0], p, u)
    fit = refit_constants(Structure((terms,)), np.array([_GUESS[t] for t in terms]), Ladder([path]).rung(384))
    if fit is None:
        raise ValueError(
            "pressure does not follow flow like a windkessel; are they of the same beats, in mmHg and mL/s?"
        )
    return _read_law(terms, fit, float(sum(weights.values())), posterior, behind)


def _read_law(
    terms: tuple[str, ...], fit: Fit, weight: float, posterior: EquationPosterior, behind: float
) -> WindkesselLaw:
    r"""Resistance, compliance and impedance from the coefficients."""
    value = dict(zip(terms, fit.equations.constants, strict=True))
    error = dict(zip(terms, fit.spread.tolist(), strict=True))
    if not (value["u0"] > 0.0 > value["x0"]):
        raise ValueError(f"expected dP/dt to rise with Q and fall with P, got coefficients {value}; check the signs")
    impedance = value.get("u1", 0.0)
    resistance = -value["u0"] / value["x0"] - impedance
    if not resistance > 0.0:
        raise ValueError(f"expected a positive resistance, got {resistance:.3g} mmHg s/mL; check signs and units")
    fall = error["x0"] / value["x0"]
    return WindkesselLaw(
        resistance=float(resistance),
        resistance_error=float(
            np.hypot(np.hypot(error["u0"] / value["u0"], fall) * (resistance + impedance), error.get("u1", 0.0))
        ),
        compliance=float(-1.0 / value["x0"] / resistance),
        compliance_error=float(error["u0"] / value["u0"] ** 2),
        impedance=float(impedance),
        venous_pressure=float(behind - value.get("1", 0.0) / value["x0"]),
        misfit=float(np.sqrt(np.mean(fit.misses**2))),
        weight=weight,
        posterior=posterior,
    )
