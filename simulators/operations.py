r"""Operations: an hour or so of one patient under anaesthesia, with the events of surgery and drifting haemodynamics.

As in [`recordings`][pulsebayes.simulators.recordings], every parameter of the clinical population moves in the normal
scores of its own prior, $a_d(t) = b_d + s\,m_d(t)$ with the patient $b_d$ and the movement $m_d$: an Ornstein-Uhlenbeck
process and the pulses of events that follow each other as in an operation, induction first. The size $s$ of all
movement is found by halving such that cardiac output varies within the case by what is asked for (standard deviation
over mean, 13 to 19 % in VitalDB).

References:
    H.-C. Lee et al. (2022), Sci Data 9:279 (VitalDB). Directions of events are those of `recordings.EVENTS`; their
    times and sizes are this project's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from ..waveforms.quantities import cardiac_output
from .clinical import CLINICAL, clinical_subject
from .recordings import EVENTS

__all__ = ["PHYSICS", "Operation", "draw_operation", "shift_physics"]

VARIATION = (0.13, 0.19)
"""Standard deviation of cardiac output over its mean, within a case."""
PHYSICS = ("training", "shifted", "nonlinear")
"""Whose physics an operation has: the training simulator's, the same with other constants, or non-linear walls."""

_MOVING = {"heart_rate": 0.5, "stroke_volume_deviation": 0.5, "ejection_time_deviation": 0.3, "mean_pressure": 0.5,
           "closing_fraction": 0.3, "venous_pressure": 0.3, "bed_compliance": 0.15, "arm_resistance": 0.15}  # fmt: skip
"""Parameters that wander, and how far, before all is scaled together."""
OUTPUT = (2.5, 9.0)
"""Cardiac output of a patient before anything happens [L/min]."""
PRESSURE = (55.0, 115.0)
"""Mean pressure of a patient before anything happens [mmHg]."""
_LOOKED_AT = 64
_CALM = ("irregularity", "ectopy")
_SHIFTS = {"small_vessel_stiffness": 1.5, "wall_viscosity": 2.0, "peak_time_fraction": 1.2,
           "deceleration_exponent": 1.3, "terminal_impedance": 1.4}  # fmt: skip
_STIFFENING = 0.5
"""Scores of wave speed that the shifted wall law adds for every 20 mmHg of mean pressure above 85."""


@dataclass(frozen=True)
class Operation:
    r"""Parameters of one operation over time.

    Arguments:
        theta: Parameters of every window, each in its unit.
        time_s: Start of every window [s].
        events: (onset [s], event), in order of time.
        variation: Standard deviation of cardiac output over its mean.

    Example:
        >>> made = draw_operation(np.random.default_rng(0), np.arange(75) * 8.0)
        >>> made.theta.shape, 0.12 < made.variation < 0.20, made.events[0][1]
        ((75, 27), True, 'induction')
    """

    theta: Float[np.ndarray, "W D"]
    time_s: Float[np.ndarray, " W"]
    events: tuple[tuple[float, str], ...]
    variation: float


def draw_operation(
    rng: np.random.Generator, time_s: Float[np.ndarray, " W"], *, variation: tuple[float, float] = VARIATION
) -> Operation:
    r"""Draws one operation.

    Arguments:
        rng: Source of randomness.
        time_s: Start of every window [s], rising.
        variation: Range of the variation of cardiac output within a case.

    Raises:
        ValueError: If times do not rise or the range is not within 0 to 0.5.

    Example:
        >>> draw_operation(np.random.default_rng(1), np.arange(10) * 8.0).theta.shape
        (10, 27)
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    if time_s.ndim != 1 or len(time_s) < 2 or not bool(np.all(np.diff(time_s) > 0)):
        raise ValueError(f"time_s must hold two or more rising times, got shape {time_s.shape}")
    if not 0 <= variation[0] <= variation[1] <= 0.5:
        raise ValueError(f"variation must be a range within 0 to 0.5, got {variation}")
    base = _patient(rng)
    events = _schedule(rng, float(time_s[0]), float(time_s[-1] - time_s[0]))
    movement = _wander(rng, time_s) + _pulses(rng, time_s, events)
    wanted = rng.uniform(*variation)
    some = np.unique(np.linspace(0, len(time_s) - 1, _LOOKED_AT).astype(int))
    low, high = 0.0, 4.0
    for _ in range(12):
        size = 0.5 * (low + high)
        varies = _variation(_theta(base, size * movement[some]))
        low, high = (size, high) if varies < wanted else (low, size)
    theta = _theta(base, low * movement)
    return Operation(theta, time_s, tuple(events), _variation(theta))


def shift_physics(theta: Float[np.ndarray, "W D"]) -> Float[np.ndarray, "W D"]:
    r"""Other walls, beds and inflow than in training, and a wall that stiffens more with pressure.

    Arguments:
        theta: Parameters of the clinical population.

    Returns:
        Parameters within their bounds; rate, stroke volume and pressures are as they were.

    Example:
        >>> from pulsebayes.simulators.patient import typical_parameters
        >>> typical = typical_parameters()
        >>> shifted = shift_physics(typical)
        >>> i = CLINICAL.index("wall_viscosity")
        >>> round(float(shifted[0, i] / typical[0, i]), 6)
        2.0
    """
    theta = np.array(theta, dtype=np.float64)
    for name, factor in _SHIFTS.items():
        theta[..., CLINICAL.index(name)] *= factor
    above = (theta[..., CLINICAL.index("mean_pressure")] - 85.0) / 20.0
    theta[..., CLINICAL.index("wave_speed_deviation")] += _STIFFENING * above
    inner = np.array([p.inner for p in CLINICAL.parameters])
    return np.asarray(np.clip(theta, inner[:, 0], inner[:, 1]))


def _patient(rng: np.random.Generator) -> Float[np.ndarray, " D"]:
    """Normal scores of a patient whose output and pressure are those of an anaesthetised adult."""
    for _ in range(200):
        base = np.clip(rng.standard_normal(CLINICAL.dim), -2.0, 2.0)
        for name in _CALM:  # most surgical patients are in sinus rhythm
            base[CLINICAL.index(name)] = rng.uniform(-2.0, 0.0)
        theta = _theta(base, np.zeros((1, CLINICAL.dim)))
        pressure = float(theta[0, CLINICAL.index("mean_pressure")])
        if OUTPUT[0] < float(_outputs(theta)[0]) < OUTPUT[1] and PRESSURE[0] < pressure < PRESSURE[1]:
            return base
    raise RuntimeError("no patient with a usual output was drawn")


def _schedule(rng: np.random.Generator, start_s: float, length_s: float) -> list[tuple[float, str]]:
    """Events in the order of an operation, at shares of its length."""
    at = {
        "induction": rng.uniform(0.04, 0.12),
        "vasopressor": rng.uniform(0.17, 0.26),
        "bleeding": rng.uniform(0.36, 0.5),
    }
    at["fluid"] = at["bleeding"] + rng.uniform(0.08, 0.15)
    order = sorted((start_s + share * length_s, name) for name, share in at.items())
    late = ("vasopressor", "posture", "clamping", "fluid")[int(rng.integers(4))]
    return [*order, (start_s + rng.uniform(0.72, 0.88) * length_s, late)]


def _wander(rng: np.random.Generator, time_s: Float[np.ndarray, " W"]) -> Float[np.ndarray, "W D"]:
    """Independent Ornstein-Uhlenbeck processes of the parameters that move, exact for any steps."""
    found = np.zeros((len(time_s), CLINICAL.dim))
    for name, spread in _MOVING.items():
        tau = math.exp(rng.uniform(math.log(600.0), math.log(2400.0)))
        noise = rng.standard_normal(len(time_s))
        keep = np.exp(-np.diff(time_s) / tau)
        walk = noise.copy()
        for i in range(1, len(walk)):
            walk[i] = keep[i - 1] * walk[i - 1] + math.sqrt(1 - keep[i - 1] ** 2) * noise[i]
        found[:, CLINICAL.index(name)] = spread * walk
    return found


def _pulses(
    rng: np.random.Generator, time_s: Float[np.ndarray, " W"], events: Sequence[tuple[float, str]]
) -> Float[np.ndarray, "W D"]:
    """Each event rises within a minute or two and wears off over a part of the operation."""
    found = np.zeros((len(time_s), CLINICAL.dim))
    length_s = float(time_s[-1] - time_s[0])
    for onset, name in events:
        rise = min(rng.uniform(20.0, 120.0), length_s / 20)
        lasts = rng.uniform(0.15, 0.5) * length_s
        since = np.maximum(time_s - onset, 0.0)
        pulse = rng.uniform(0.5, 1.2) * (1 - np.exp(-since / rise)) * np.exp(-since / lasts)
        for parameter, size in EVENTS[name].items():
            found[:, CLINICAL.index(parameter)] += size * pulse
    return found


def _theta(base: Float[np.ndarray, " D"], movement: Float[np.ndarray, "W D"]) -> Float[np.ndarray, "W D"]:
    from scipy.special import ndtr

    return CLINICAL.sample_quantiles(ndtr(np.clip(base + movement, -3.5, 3.5)))


def _outputs(theta: Float[np.ndarray, "W D"]) -> Float[np.ndarray, " W"]:
    """Cardiac output of the steady heart [L/min]."""
    rows = np.concatenate([theta, np.repeat(theta[-1:], -len(theta) % _LOOKED_AT, axis=0)])
    parts = [np.asarray(_compiled()(rows[k : k + _LOOKED_AT])) for k in range(0, len(rows), _LOOKED_AT)]
    return np.concatenate(parts)[: len(theta)].astype(np.float64)


@cache
def _compiled() -> Any:
    import jax

    def outputs(theta: Any) -> Any:
        adult, _ = clinical_subject(theta)
        return cardiac_output(adult.heart_rate, adult.stroke_volume)

    return jax.jit(outputs)


def _variation(theta: Float[np.ndarray, "W D"]) -> float:
    """Standard deviation of cardiac output over its mean."""
    output = _outputs(theta)
    return float(output.std() / output.mean())
