r"""Trains of heart beats: respiratory arrhythmia, ventilated stroke volume, ectopic beats, irregular rhythm.

Beat $i$ starts after the intervals before it,
$D_i = \bar D\,(1 + a\sin\phi_i)\,e^{\sigma\xi_i}\,\epsilon_i$, with respiration phase $\phi_i$, irregularity $\sigma$
and, around a premature beat, $\epsilon_{i-1} = p$, $\epsilon_i = 2 - p$ (a full compensatory pause). Its stroke volume
follows the filling time, $V_i = \bar V\,(1 + b\sin(\phi_i+\psi))\,(D_{i-1}/\bar D)^{\kappa}$, and its ejection time the
stroke volume. Beats are drawn until they fill the window; the window repeats after them, so the periodic solution on
the harmonics of their total time is the exact response, and every start phase a shift.

References:
    Hirsch J.A., Bishop B. (1981), Am J Physiol 241:H620 (respiratory arrhythmia); Michard F. (2005), Anesthesiology
    103:419 (stroke volume variation under ventilation); Hardman S.M.C. et al. (1994), Am J Physiol 266:H2143 (stroke
    volume and filling time in irregular rhythm). Units: s, mL.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..population import Subject

N_BEATS = 32  # most beats in a window: 8 s at the shortest interval, .28 s, need 29
SHORTEST_INTERVAL = 0.28  # [s]


class Variability(NamedTuple):
    """What makes beats differ; each field of shape (*batch): amplitudes are relative, zero means a steady heart.

    `respiration_rate` [1/min], `venous_swing` [mmHg], `irregularity` (log SD of intervals), `ectopy` (share of beats).

    Example:
        >>> Variability._fields[0]
        'respiration_rate'
    """

    respiration_rate: Float[Array, "*batch"]
    rate_swing: Float[Array, "*batch"]
    stroke_swing: Float[Array, "*batch"]
    venous_swing: Float[Array, "*batch"]
    irregularity: Float[Array, "*batch"]
    ectopy: Float[Array, "*batch"]


class BeatTrain(NamedTuple):
    """Beats of one window: onset [s], stroke volume [mL], ejection time [s], (N,) each; `period` [s], `n_beats`.

    Beats after `n_beats` are padding: they start at or after the period.

    Example:
        >>> BeatTrain._fields
        ('onset', 'stroke_volume', 'ejection_time', 'n_beats', 'period', 'cycles', 'phase')
    """

    onset: Float[Array, " N"]
    stroke_volume: Float[Array, " N"]
    ejection_time: Float[Array, " N"]
    n_beats: Float[Array, ""]
    period: Float[Array, ""]
    cycles: Float[Array, ""]
    phase: Float[Array, ""]


def draw_beats(subject: Subject, variability: Variability, key: Array, *, window_s: float) -> BeatTrain:
    """Draw the beats of one window of one subject (use `jax.vmap` for many).

    Arguments:
        subject: One adult, scalar fields.
        variability: Its variability, scalar fields.
        key: JAX random key.
        window_s: Shortest total time of the beats [s].

    Returns:
        The train; `cycles` breaths fill the period exactly.

    Example:
        >>> from pulsebayes.simulators.population import healthy_subject
        >>> adult = healthy_subject(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))
        >>> train = draw_beats(adult, Variability(*[jnp.asarray(v) for v in (15.0, 0, 0, 0, 0, 0)]), jax.random.key(0),
        ...     window_s=8.0)
        >>> int(train.n_beats)
        10
    """
    dtype = subject.heart_rate.dtype
    keys = jax.random.split(key, 4)
    noise = jnp.clip(jax.random.normal(keys[0], (N_BEATS,), dtype), -2.5, 2.5)
    uniform = jax.random.uniform(keys[1], (2, N_BEATS), dtype)
    phase, lag = 2 * jnp.pi * jax.random.uniform(keys[2], (2,), dtype)
    mean = 60.0 / subject.heart_rate
    breath = 2 * jnp.pi * variability.respiration_rate / 60.0 * mean * jnp.arange(N_BEATS, dtype=dtype) + phase
    interval = mean * (1 + variability.rate_swing * jnp.sin(breath)) * jnp.exp(variability.irregularity * noise)
    interval = interval * _ectopic_factor(uniform, variability.ectopy)
    interval = jnp.maximum(interval, SHORTEST_INTERVAL)
    end = jnp.cumsum(interval)
    n_beats = jnp.argmax(end >= window_s * (1 - 1e-6)) + 1
    period = end[n_beats - 1]
    before = jnp.roll(interval, 1).at[0].set(interval[n_beats - 1]) / mean
    volume = subject.stroke_volume * (1 + variability.stroke_swing * jnp.sin(breath + lag)) * _filling(before)
    ejection = 1e-3 * subject.ejection_time * (volume / subject.stroke_volume) ** 0.3
    return BeatTrain(
        onset=end - interval,
        stroke_volume=volume,
        ejection_time=jnp.minimum(ejection, 0.8 * interval),
        n_beats=n_beats.astype(dtype),
        period=period,
        cycles=jnp.maximum(1.0, jnp.round(variability.respiration_rate / 60.0 * period)),
        phase=phase,
    )


def _filling(ratio: Float[Array, " N"]) -> Float[Array, " N"]:
    """Stroke volume against the filling interval: half power when shorter, quarter power when longer."""
    return jnp.where(ratio < 1, jnp.sqrt(ratio), ratio**0.25)


def _ectopic_factor(uniform: Float[Array, "2 N"], ectopy: Float[Array, ""]) -> Float[Array, " N"]:
    """Factors on the intervals: a premature beat shortens the one before it and lengthens its own."""
    premature = uniform[0] < ectopy
    premature = premature & ~jnp.roll(premature, 1) & (jnp.arange(N_BEATS) > 0)
    share = 0.55 + 0.3 * uniform[1]
    early = jnp.where(premature, share, 1.0)
    return jnp.roll(early, -1).at[-1].set(1.0) * jnp.where(premature, 2.0 - share, 1.0)


def steady_beat(subject: Subject) -> BeatTrain:
    """One beat that repeats: the periodic case.

    Arguments:
        subject: One adult, scalar fields.

    Returns:
        A train of one beat.

    Example:
        >>> from pulsebayes.simulators.population import healthy_subject
        >>> float(steady_beat(healthy_subject(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))).n_beats)
        1.0
    """
    period = 60.0 / subject.heart_rate
    one = jnp.ones_like(period)
    return BeatTrain(
        onset=0 * period[None],
        stroke_volume=subject.stroke_volume[None],
        ejection_time=jnp.minimum(1e-3 * subject.ejection_time, 0.8 * period)[None],
        n_beats=one,
        period=period,
        cycles=one,
        phase=0 * one,
    )
