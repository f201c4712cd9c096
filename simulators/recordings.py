r"""Recordings of one patient: hours of windows in which some parameters stay, some drift and some move, with events.

Every parameter of a population follows a Gaussian process in its own prior's normal scores,

$$
\theta_d(t) = F_d^{-1}\!\left(\Phi\!\left(\frac{a_d(t)}{\sqrt{1 + v_d}}\right)\right), \qquad
a_d(t) = \sqrt{1-\rho_d}\,b_d + \sqrt{\rho_d}\,w_d(t) + e_d(t),
$$

with $b_d$ the patient, $w_d$ an Ornstein-Uhlenbeck process of unit variance, $\rho_d$ the share of the prior's variance
that lies within a recording, and $e_d$ the pulses of clinical events of mean variance $v_d$: each window alone is
distributed nearly as the prior, so what a recording tells more than a window comes from what its windows share.
Geometry and the law of the wall stay ($\rho = 0$), beds and arm drift slowly, rate, stroke volume and pressures move.
As wave speed and compliance follow mean pressure by the population's law, compliance falls as pressure rises.

Solving the network and recording its waves ([`recorded`][pulsebayes.simulators.recorded]) are two steps, so that the
same waves can be recorded by other sensors.

References:
    Uhlenbeck G.E., Ornstein L.S. (1930), Phys Rev 36:823. Directions of events are textbook physiology (induction
    lowers resistance and pressure, bleeding lowers stroke volume and raises rate, ...); their sizes are this project's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .network.linear import LinearNetwork, make_tubes, total_compliance
from .network.nonlinear import NonlinearNetwork
from .network.outlets import make_outlets
from .recorded import RARE_CHANGES, SensorChanges, SimulatedRecordings, SolvedRecordings, record
from .sensors import SensorModel
from .status import usable

__all__ = [
    "EVENTS",
    "Course",
    "draw_courses",
    "simulate_recordings",
    "solve_courses",
    "spread_times",
]

REFERENCE_PRESSURE = 90.0  # [mmHg] at which a patient's compliance and wave speed are stated
_FIXED = frozenset(
    (
        "age",
        "height",
        "wave_speed_deviation",
        "diameter_deviation",
        "size_deviation",
        "terminal_impedance",
        "small_vessel_stiffness",
        "wall_viscosity",
        "blood_viscosity",
    )
)
_DRIFTING = frozenset(
    (
        "bed_compliance",
        "arm_resistance",
        "arm_compliance",
        "peak_time_fraction",
        "reverse_fraction",
        "deceleration_exponent",
    )
)
EVENTS: Mapping[str, Mapping[str, float]] = {
    "induction": {"mean_pressure": -1.2, "heart_rate": -0.5, "stroke_volume_deviation": -0.4, "closing_fraction": -0.3},
    "bleeding": {"mean_pressure": -0.8, "heart_rate": 0.9, "stroke_volume_deviation": -1.2, "venous_pressure": -0.8},
    "vasopressor": {"mean_pressure": 1.2, "heart_rate": -0.4, "stroke_volume_deviation": -0.2, "closing_fraction": 0.4},
    "fluid": {"mean_pressure": 0.4, "heart_rate": -0.3, "stroke_volume_deviation": 0.8, "venous_pressure": 0.7},
    "posture": {"mean_pressure": -0.5, "heart_rate": 0.4, "stroke_volume_deviation": -0.6, "venous_pressure": -0.6},
    "clamping": {"mean_pressure": 1.5, "stroke_volume_deviation": -0.6, "venous_pressure": 0.3},
}
"""Direction of each clinical event in the normal scores of the clinical population's parameters."""

_EVENTS_AN_HOUR = 1.0
_EVENT_VARIANCE = 0.12  # mean share that events add to the parameters they move


@dataclass(frozen=True)
class Course:
    r"""Parameters of recordings over time.

    Arguments:
        theta: Parameters of every window, each in its unit.
        time_s: Start of every window [s].

    Example:
        >>> course = draw_courses(LinearNetwork(), np.random.default_rng(0), np.arange(5)[None] * 8.0)
        >>> course.theta.shape, float(np.ptp(course.theta[0, :, 0]))  # the age stays
        ((1, 5, 27), 0.0)
    """

    theta: Float[np.ndarray, "R W D"]
    time_s: Float[np.ndarray, "R W"]


def draw_courses(
    simulator: LinearNetwork | NonlinearNetwork,
    rng: np.random.Generator,
    time_s: Float[np.ndarray, "R W"],
    *,
    liveliness: float | Float[np.ndarray, " R"] = 1.0,
) -> Course:
    r"""Draws how the parameters of recordings go on in time.

    Arguments:
        simulator: The simulator, for its parameters' priors.
        rng: Source of randomness.
        time_s: Start of every window [s], rising along each row.
        liveliness: Factor on the share of variance within a recording and on the rate of events, one or one for each
            recording; 0 holds all still.

    Raises:
        ValueError: If times do not rise, or liveliness is not in [0, 2].

    Example:
        >>> still = draw_courses(LinearNetwork(), np.random.default_rng(0), np.array([[0.0, 8.0]]), liveliness=0.0)
        >>> bool(np.allclose(still.theta[:, 0], still.theta[:, 1]))
        True
    """
    from scipy.special import ndtr

    time_s = np.asarray(time_s, dtype=np.float64)
    if time_s.ndim != 2 or not bool(np.all(np.diff(time_s, axis=1) > 0)):
        raise ValueError(f"time_s must have shape (R, W) and rise along each row, got shape {time_s.shape}")
    lively = np.broadcast_to(np.asarray(liveliness, float), len(time_s))
    if not bool(np.all((lively >= 0) & (lively <= 2))):
        raise ValueError(f"liveliness must lie in [0, 2], got {liveliness}")
    space = simulator.space
    events, variance = _events(rng, time_s, space.names, lively)
    scores = np.empty((*time_s.shape, space.dim))
    for d, name in enumerate(space.names):
        share, half_life = _movement(rng, name, lively)
        walk = _ornstein_uhlenbeck(rng, time_s, half_life)
        base = rng.standard_normal((len(time_s), 1))
        scores[..., d] = np.sqrt(1 - share) * base + np.sqrt(share) * walk + events[..., d]
        scores[..., d] /= np.sqrt(1 + variance[:, d, None])
    return Course(space.sample_quantiles(ndtr(scores)), time_s)


def simulate_recordings(
    simulator: LinearNetwork,
    course: Course,
    *,
    site: str,
    sensor: SensorModel,
    seed: int,
    out_samples: int = 1000,
    changes: SensorChanges = RARE_CHANGES,
) -> SimulatedRecordings:
    r"""Simulates the windows of recordings and records them, each recording with a sensor of its own.

    Arguments:
        simulator: The simulator; its waves must be longer than the window by at least 1 s.
        course: Parameters over time.
        site: The site that is recorded.
        sensor: Prior of the sensors.
        seed: Seed of beats, phases and sensors.
        out_samples: Samples of a window.
        changes: How often and how much sensors change.

    Raises:
        ValueError: If the simulator does not have the site.

    Example:
        >>> simulator = LinearNetwork(duration_s=9.0, n_frequencies=40, sites=("Radial",))
        >>> course = draw_courses(simulator, np.random.default_rng(0), np.array([[0.0, 8.0]]))
        >>> made = simulate_recordings(simulator, course, site="Radial", sensor=SensorModel.radial_line(), seed=1)
        >>> made.waves.shape
        (1, 2, 1000)
    """
    solved = solve_courses(simulator, course, site=site, seed=seed)
    rng = np.random.default_rng([seed, 1])
    return record(solved, sensor, rng, fs=simulator.fs, out_samples=out_samples, changes=changes)


def solve_courses(
    simulator: LinearNetwork | NonlinearNetwork, course: Course, *, site: str | Sequence[str], seed: int
) -> SolvedRecordings:
    r"""Solves the network for every window of recordings.

    Arguments:
        simulator: The simulator.
        course: Parameters over time.
        site: The site that is recorded, or several, each a channel of the waves.
        seed: Seed of beats and phases.

    Raises:
        ValueError: If the simulator does not have the site.

    Example:
        >>> simulator = LinearNetwork(duration_s=9.0, n_frequencies=40, sites=("Radial",))
        >>> course = draw_courses(simulator, np.random.default_rng(0), np.array([[0.0, 8.0]]))
        >>> solve_courses(simulator, course, site="Radial", seed=1).waves.shape
        (1, 2, 1125)
    """
    unknown = [one for one in ((site,) if isinstance(site, str) else site) if one not in simulator.sites]
    if unknown:
        raise ValueError(f"site must be one of {list(simulator.sites)}, got {unknown[0]!r}")
    at = simulator.sites.index(site) if isinstance(site, str) else [simulator.sites.index(one) for one in site]
    r, w, d = course.theta.shape
    made = simulator.simulate(course.theta.reshape(-1, d), seed)
    compliance, speed = _at_reference(simulator, course.theta)
    return SolvedRecordings(
        made.waves[:, at].reshape(r, w, *([] if isinstance(site, str) else [len(site)]), -1),
        made.quantities.reshape(r, w, -1),
        compliance,
        speed,
        np.asarray(usable(made.status), np.uint8).reshape(r, w),
        course.time_s,
    )


def _movement(
    rng: np.random.Generator, name: str, liveliness: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n 1"], Float[np.ndarray, "n 1"]]:
    """Share of variance within a recording, and time constant [s], of one parameter in every recording."""
    n = len(liveliness)
    if name in _FIXED:
        return np.zeros((n, 1)), np.full((n, 1), np.inf)
    greatest, (fastest, slowest) = (0.15, (1200.0, 7200.0)) if name in _DRIFTING else (0.35, (60.0, 3600.0))
    share = np.minimum(liveliness[:, None] * rng.uniform(0.0, greatest, (n, 1)), 1.0)
    return share, np.exp(rng.uniform(math.log(fastest), math.log(slowest), (n, 1)))


def _ornstein_uhlenbeck(
    rng: np.random.Generator, time_s: Float[np.ndarray, "R W"], tau_s: Float[np.ndarray, "R 1"]
) -> Float[np.ndarray, "R W"]:
    """Stationary process of unit variance at given times, exact for any steps."""
    noise = rng.standard_normal(time_s.shape)
    keep = np.exp(-np.diff(time_s, axis=1) / tau_s)
    walk = np.empty_like(noise)
    walk[:, 0] = noise[:, 0]
    for i in range(1, time_s.shape[1]):
        walk[:, i] = keep[:, i - 1] * walk[:, i - 1] + np.sqrt(1 - keep[:, i - 1] ** 2) * noise[:, i]
    return walk


def _events(
    rng: np.random.Generator,
    time_s: Float[np.ndarray, "R W"],
    names: tuple[str, ...],
    liveliness: Float[np.ndarray, " R"],
) -> tuple[Float[np.ndarray, "R W D"], Float[np.ndarray, "R D"]]:
    """Pulses of clinical events in the scores, and the mean variance they add to each parameter."""
    found = np.zeros((*time_s.shape, len(names)))
    column = {name: d for d, name in enumerate(names)}
    kinds = list(EVENTS)
    for r, time in enumerate(time_s):
        hours = (time[-1] - time[0]) / 3600.0
        for _ in range(min(rng.poisson(liveliness[r] * _EVENTS_AN_HOUR * hours), 30)):
            directions = EVENTS[kinds[rng.integers(len(kinds))]]
            onset, rise = rng.uniform(time[0], time[-1]), math.exp(rng.uniform(math.log(15.0), math.log(300.0)))
            lasts = math.exp(rng.uniform(math.log(300.0), math.log(5400.0)))
            since = np.maximum(time - onset, 0.0)
            pulse = rng.uniform(0.3, 1.2) * (1 - np.exp(-since / rise)) * np.exp(-since / lasts)
            for name, size in directions.items():
                if name in column:
                    found[r, :, column[name]] += size * pulse
    moved = {name for directions in EVENTS.values() for name in directions}
    share = _EVENT_VARIANCE * np.minimum(liveliness, 1.0)
    return found, share[:, None] * np.array([float(name in moved) for name in names])


def _at_reference(
    simulator: LinearNetwork | NonlinearNetwork, theta: Float[np.ndarray, "R W D"]
) -> tuple[Float[np.ndarray, "R W"], Float[np.ndarray, " R"]]:
    """Compliance of every window and wave speed of every recording, were mean pressure 90 mmHg."""
    import jax.numpy as jnp

    r, w, d = theta.shape
    adults = LinearNetwork(population=simulator.population)  # the population's law is that of both networks
    rows = theta.reshape(-1, d).copy()
    rows[:, simulator.space.index("mean_pressure")] = REFERENCE_PRESSURE
    compliance, speed = [], []
    for start in range(0, len(rows), 4096):
        subject, _ = adults.subjects(jnp.asarray(rows[start : start + 4096], jnp.float32))
        tubes = make_tubes(subject)
        compliance.append(np.asarray(total_compliance(tubes, make_outlets(subject, tubes))))
        speed.append(np.asarray(subject.pulse_wave_velocity))
    return np.concatenate(compliance).reshape(r, w), np.concatenate(speed).reshape(r, w)[:, 0]


def spread_times(
    rng: np.random.Generator, n: int, windows: int, *, shortest_s: float = 8.0, longest_s: float = 86400.0
) -> Float[np.ndarray, "n W"]:
    r"""Starts of evenly spaced windows of recordings of different length, from back to back to a day.

    Arguments:
        rng: Source of randomness.
        n: Number of recordings.
        windows: Windows of each.
        shortest_s: Least time between starts [s].
        longest_s: Longest recording [s].

    Example:
        >>> spread_times(np.random.default_rng(0), 2, 10).shape
        (2, 10)
    """
    least, most = shortest_s * (windows - 1), longest_s
    total = np.exp(rng.uniform(math.log(least), math.log(max(most, least)), (n, 1)))
    slot: Int[np.ndarray, " W"] = np.arange(windows)
    return np.asarray(total * slot / (windows - 1))
