r"""From quantities to parameters: an adult of the clinical population with a given rate, stroke volume, stiffness, ...

Estimators give quantities (HR, SV, LVET, PWV, C, MAP, CVP); the simulator takes 27 parameters. Rate and venous pressure
are parameters themselves. Stroke volume, ejection time and wave speed rise with one deviation each, which is found by
halving its interval; total compliance is that of the walls plus a multiple of that of the beds, which is solved for.
Mean pressure at the root is a parameter up to the small pressure lost along the arteries. All other parameters are
taken from a base: the prior's medians for one typical adult, or draws of the prior.

What cannot be had (a compliance below that of the walls alone) ends at the bound; the simulator's own quantities say
what was reached. Units: those of the quantities (1/min, mL, ms, m/s, mL/mmHg, mmHg).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .clinical import CLINICAL, clinical_subject
from .network.linear import QUANTITY_UNITS, LinearNetwork, Simulated, make_tubes, total_compliance
from .network.outlets import make_outlets

__all__ = ["SETTABLE", "parameters_for", "simulate_adults", "typical_parameters"]

_DIRECT = {"HR": "heart_rate", "MAP": "mean_pressure", "CVP": "venous_pressure"}
_HALVED = {
    "SV": ("stroke_volume_deviation", "stroke_volume"),
    "LVET": ("ejection_time_deviation", "ejection_time"),
    "PWV": ("wave_speed_deviation", "pulse_wave_velocity"),
}
SETTABLE = (*_DIRECT, *_HALVED, "C")
r"""Quantities that can be asked for, in the order in which they are met."""
_HALVINGS = 20


def typical_parameters(n: int = 1) -> Float[np.ndarray, "n D"]:
    r"""The prior's medians.

    Arguments:
        n: How many rows.

    Returns:
        Parameters in the order of `CLINICAL`.

    Example:
        >>> typical_parameters(2).shape
        (2, 27)
    """
    return np.repeat(CLINICAL.sample_quantiles(np.full((1, CLINICAL.dim), 0.5)), n, axis=0)


def parameters_for(
    quantities: Mapping[str, Float[np.ndarray, " N"]], base: Float[np.ndarray, "N D"]
) -> Float[np.ndarray, "N D"]:
    r"""Parameters of adults with given quantities.

    Arguments:
        quantities: Some of `SETTABLE`, one value a row, each in its unit.
        base: Parameters of everything else.

    Returns:
        Parameters within their bounds; a value that cannot be had ends at the bound.

    Raises:
        ValueError: If a quantity cannot be set, or is not finite, or the shapes do not fit.

    Example:
        >>> theta = parameters_for({"HR": np.array([90.0]), "SV": np.array([55.0])}, typical_parameters())
        >>> adult, _ = clinical_subject(jnp.asarray(theta))
        >>> round(float(adult.heart_rate[0])), round(float(adult.stroke_volume[0]))
        (90, 55)
    """
    unknown = sorted(set(quantities) - set(SETTABLE))
    if unknown:
        raise ValueError(f"quantities must be among {', '.join(SETTABLE)}, got {', '.join(unknown)}")
    base = np.asarray(base, dtype=np.float64)
    if base.ndim != 2 or base.shape[1] != CLINICAL.dim:
        raise ValueError(f"base must have shape (N, {CLINICAL.dim}), got {base.shape}")
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in quantities.items()}
    wrong = [name for name, values in columns.items() if values.shape != (len(base),) or not np.isfinite(values).all()]
    if wrong:
        raise ValueError(f"quantities must hold {len(base)} finite values each, got something else for {wrong}")
    names = tuple(name for name in SETTABLE if name in columns)
    targets = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((len(base), 0))
    theta = _solver(names)(jnp.asarray(base, jnp.float32), jnp.asarray(targets, jnp.float32))
    inner = np.array([p.inner for p in CLINICAL.parameters])
    return np.clip(np.asarray(theta, dtype=np.float64), inner[:, 0], inner[:, 1])


def simulate_adults(
    network: LinearNetwork,
    quantities: Mapping[str, Float[np.ndarray, " N"]],
    base: Float[np.ndarray, "N D"],
    *,
    seed: int,
) -> Simulated:
    r"""Simulate adults with given quantities, mean pressure corrected by what is lost along the arteries.

    Arguments:
        network: A simulator of a clinical population, wide or not.
        quantities: Some of `SETTABLE`, one value a row, each in its unit.
        base: Parameters of everything else.
        seed: Seed of the simulator.

    Returns:
        Waves, the quantities that were reached, and the status of each row.

    Raises:
        ValueError: If the simulator is of another population, or as `parameters_for`.

    Example:
        >>> network = LinearNetwork(beat="periodic", sites=("Radial",), n_frequencies=20)
        >>> found = simulate_adults(network, {"MAP": np.array([80.0])}, typical_parameters(), seed=0)
        >>> abs(float(found.quantities[0, list(QUANTITY_UNITS).index("MAP")]) - 80.0) < 0.5
        True
    """
    if network.population not in ("clinical", "clinical-wide"):  # the same parameters, other priors
        raise ValueError(f"network must be of a clinical population, got {network.population!r}")
    theta = parameters_for(quantities, base)
    found = network.simulate(theta, seed)
    if "MAP" not in quantities:
        return found
    i = CLINICAL.index("mean_pressure")
    lost = found.quantities[:, list(QUANTITY_UNITS).index("MAP")] - theta[:, i]
    asked = np.asarray(quantities["MAP"], dtype=np.float64) - np.where(np.isfinite(lost), lost, 0.0)
    return network.simulate(parameters_for({**quantities, "MAP": asked}, base), seed)


@cache
def _solver(names: tuple[str, ...]) -> Any:
    def solve(theta: Float[Array, "N D"], targets: Float[Array, "N Q"]) -> Float[Array, "N D"]:
        for i, name in enumerate(names):
            if name in _DIRECT:
                theta = _set(theta, _DIRECT[name], targets[:, i])
            elif name in _HALVED:
                theta = _halve(theta, *_HALVED[name], targets[:, i])
            else:
                theta = _comply(theta, targets[:, i])
        return theta

    return jax.jit(solve)


def _set(theta: Float[Array, "N D"], name: str, values: Float[Array, " N"]) -> Float[Array, "N D"]:
    i = CLINICAL.index(name)
    return theta.at[:, i].set(jnp.clip(values, CLINICAL.low[i], CLINICAL.high[i]).astype(theta.dtype))


def _halve(theta: Float[Array, "N D"], name: str, field: str, target: Float[Array, " N"]) -> Float[Array, "N D"]:
    r"""The deviation at which a quantity that rises with it meets its target."""
    i = CLINICAL.index(name)
    low = jnp.full(len(theta), CLINICAL.low[i], theta.dtype)
    high = jnp.full(len(theta), CLINICAL.high[i], theta.dtype)

    def step(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        below = getattr(clinical_subject(theta.at[:, i].set(middle))[0], field) < target
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    low, high = jax.lax.fori_loop(0, _HALVINGS, step, (low, high))
    return theta.at[:, i].set(0.5 * (low + high))


def _comply(theta: Float[Array, "N D"], target: Float[Array, " N"]) -> Float[Array, "N D"]:
    r"""The multiple of the beds' compliance at which total compliance meets its target: it is linear in it."""

    def compliance(factor: float) -> Float[Array, " N"]:
        subject = clinical_subject(_set(theta, "bed_compliance", jnp.full(len(theta), factor, theta.dtype)))[0]
        tubes = make_tubes(subject)
        return total_compliance(tubes, make_outlets(subject, tubes))

    at_half, at_one = compliance(0.5), compliance(1.0)
    beds = 2.0 * (at_one - at_half)
    return _set(theta, "bed_compliance", (target - (at_one - beds)) / beds)
