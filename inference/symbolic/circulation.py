r"""The windkessel law recovered from pressure and flow, and what it says about resistance and compliance.

$$\frac{dP}{dt} = \frac{Q}{C} - \frac{P - P_v}{R C}$$

The equations are searched for as for any other system, with pressure as the state and flow as the input. Where the law
above is among the candidates its coefficients are R, C and the pressure behind the resistance; its weight says how much
of the posterior is a two-element windkessel. Units: mmHg, mL/s, s; R [mmHg s/mL], C [mL/mmHg].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._smooth import smooth_path
from .check import Trajectory
from .equations import Structure
from .posterior import EquationPosterior
from .recover import RecoverConfig, recover_equations
from .refit import Ladder, refit_constants

__all__ = ["WindkesselLaw", "windkessel_law"]

_LAW = {"u0", "x0", "1"}


@dataclass(frozen=True)
class WindkesselLaw:
    r"""What the recovered equation says about the circulation.

    Arguments:
        resistance: Peripheral resistance [mmHg s/mL].
        resistance_error: Its standard error [mmHg s/mL].
        compliance: Arterial compliance [mL/mmHg].
        compliance_error: Its standard error [mL/mmHg].
        venous_pressure: Pressure behind the resistance [mmHg]; 0 where the law has no constant.
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
    venous_pressure: float
    weight: float
    posterior: EquationPosterior


def windkessel_law(
    time: Float[np.ndarray, " time"],
    pressure: Float[np.ndarray, " time"],
    flow: Float[np.ndarray, " time"],
    *,
    seed: int = 0,
) -> WindkesselLaw:
    r"""Recover the law of a pressure driven by a flow.

    Arguments:
        time: Time [s].
        pressure: Aortic pressure [mmHg].
        flow: Aortic flow [mL/s].
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
    given = Trajectory(time, np.asarray(pressure)[:, None], np.asarray(flow)[:, None])
    posterior = recover_equations(
        [given], names=("P",), inputs=("Q",), config=RecoverConfig(proposers=("weak",)), seed=seed
    )
    weights: dict[tuple[str, ...], float] = {}
    for candidate in posterior.candidates:
        terms = candidate.equations.structure.terms[0]
        if {"u0", "x0"} <= set(terms) <= _LAW:
            weights[tuple(sorted(terms))] = candidate.weight
    terms = max(weights, key=lambda t: weights[t]) if weights else ("u0", "x0")
    t = np.asarray(time, dtype=float)
    path = smooth_path(t - t[0], np.asarray(pressure, dtype=float)[:, None], np.asarray(flow, dtype=float)[:, None])
    structure = Structure((terms,))
    fit = refit_constants(
        structure, np.array([{"u0": 0.7, "x0": -0.7, "1": 0.0}[t] for t in terms]), Ladder([path]).rung(384)
    )
    if fit is None:
        raise ValueError(
            "pressure does not follow flow like a windkessel; are they of the same beats, in mmHg and mL/s?"
        )
    value = dict(zip(terms, fit.equations.constants, strict=True))
    error = dict(zip(terms, fit.spread.tolist(), strict=True))
    if not (value["u0"] > 0.0 > value["x0"]):
        raise ValueError(f"expected dP/dt to rise with Q and fall with P, got coefficients {value}; check the signs")
    resistance = -value["u0"] / value["x0"]
    relative = np.hypot(error["u0"] / value["u0"], error["x0"] / value["x0"])
    return WindkesselLaw(
        resistance=float(resistance),
        resistance_error=float(resistance * relative),
        compliance=float(1.0 / value["u0"]),
        compliance_error=float(error["u0"] / value["u0"] ** 2),
        venous_pressure=float(-value.get("1", 0.0) / value["x0"]),
        weight=float(sum(weights.values())),
        posterior=posterior,
    )
