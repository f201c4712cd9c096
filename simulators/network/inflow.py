r"""Aortic root flow of a train of beats, and its Fourier coefficients.

Each beat has three phases joined from published knots: acceleration over the time to peak, deceleration to the end of
ejection (its shape raised to an exponent), reverse flow over 9.57 % of the ejection time. The positive part carries
stroke volume plus reverse volume, the negative part the reverse volume, so the net volume of a beat is its stroke
volume.

References:
    Mynard J.P., Smolich J.J. (2015), Ann Biomed Eng 43:1443; Charlton P.H. et al. (2019), Am J Physiol Heart Circ
    Physiol 317:H1062. Units: s, mL, mL/s.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..population import Subject
from .geometry import inflow_knots
from .rhythm import BeatTrain

REVERSE_SHARE = 0.0957  # duration of reverse flow over ejection time (PWDB)
_TABLE = 128  # intervals a phase in the shape table


@cache
def _shape_table() -> np.ndarray:
    """Flow over peak flow on an even grid of each phase, with shape (3, _TABLE + 1)."""
    from scipy.interpolate import PchipInterpolator

    grid = np.linspace(0.0, 1.0, _TABLE + 1)
    knots = inflow_knots()
    return np.stack([PchipInterpolator(*knots[name])(grid) for name in ("acceleration", "deceleration", "reverse")])


def _mean(values: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.trapezoid(values, dx=1.0 / _TABLE)


def aortic_flow(subject: Subject, train: BeatTrain, time: Float[Array, " T"]) -> Float[Array, " T"]:
    r"""Flow through the aortic root at given times of the window.

    Arguments:
        subject: One adult, scalar fields.
        train: Its beats.
        time: Times in [0, period) [s].

    Returns:
        Flow [mL/s].

    Example:
        >>> from pulsebayes.simulators.network.rhythm import steady_beat
        >>> from pulsebayes.simulators.population import healthy_subject
        >>> adult = healthy_subject(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))
        >>> round(float(aortic_flow(adult, steady_beat(adult), jnp.array([0.079]))[0]))
        422
    """
    shape = jnp.asarray(_shape_table(), time.dtype)
    fall = jnp.maximum(shape[1], 0.0) ** subject.deceleration_exponent
    rise_share = 1e-3 * subject.time_to_peak / (1e-3 * subject.ejection_time)
    reverse_share = subject.reverse_volume / subject.stroke_volume
    positive = rise_share * _mean(shape[0]) + (1 - rise_share) * _mean(fall)
    peak = train.stroke_volume * (1 + reverse_share) / (train.ejection_time * positive)
    trough = train.stroke_volume * reverse_share / (train.ejection_time * REVERSE_SHARE)
    table = jnp.concatenate([shape[0], fall, shape[2] / -_mean(shape[2])])

    beat = jnp.searchsorted(train.onset, time, side="right") - 1
    scaled = (time - train.onset[beat]) / train.ejection_time[beat]
    phases: tuple[tuple[Array, Any, Any], ...] = (
        (scaled, 0.0, rise_share),
        (scaled, rise_share, 1.0),
        (scaled, 1.0, 1.0 + REVERSE_SHARE),
    )
    flow = jnp.zeros_like(time)
    for row, (x, start, end) in enumerate(phases):
        place = jnp.clip((x - start) / (end - start), 0.0, 1.0) * _TABLE
        left = jnp.minimum(place.astype(int), _TABLE - 1)
        value = table[row * (_TABLE + 1) + left]
        value = value + (place - left) * (table[row * (_TABLE + 1) + left + 1] - value)
        inside = (x >= start) & (x < end)
        flow = flow + jnp.where(inside, value, 0.0) * (trough if row == 2 else peak)[beat]
    return flow


def flow_coefficients(
    subject: Subject, train: BeatTrain, n_frequencies: int, *, n_samples: int
) -> Complex[Array, " F"]:
    r"""Fourier coefficients $\hat q_k$ of the train, $q(t) = \hat q_0 + 2\,\mathrm{Re}\sum_k \hat q_k e^{2\pi ikt/T}$.

    The mean is set to the beats' net volume over the period, so the sampling grid costs no flow.

    Arguments:
        subject: One adult, scalar fields.
        train: Its beats.
        n_frequencies: Number of coefficients, the mean included.
        n_samples: Samples of the period.

    Returns:
        Coefficients [mL/s].

    Example:
        >>> from pulsebayes.simulators.network.rhythm import steady_beat
        >>> from pulsebayes.simulators.population import healthy_subject
        >>> adult = healthy_subject(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))
        >>> q = flow_coefficients(adult, steady_beat(adult), 81, n_samples=1024)
        >>> round(float(q[0].real * 60 / 1000), 2)
        4.84
    """
    time = train.period * jnp.arange(n_samples, dtype=train.period.dtype) / n_samples
    spectrum = jnp.fft.rfft(aortic_flow(subject, train, time))[:n_frequencies] / n_samples
    real = jnp.arange(train.onset.shape[0]) < train.n_beats
    volume = jnp.where(real, train.stroke_volume, 0.0).sum()
    return spectrum.at[0].set((volume / train.period).astype(spectrum.dtype))


def venous_coefficients(
    mean: Float[Array, ""], swing: Float[Array, ""], train: BeatTrain, n_frequencies: int
) -> Complex[Array, " F"]:
    """Fourier coefficients of a pressure that swings once a breath about its mean.

    Arguments:
        mean: Mean pressure [mmHg].
        swing: Amplitude [mmHg].
        train: The beats, whose period holds a whole number of breaths.
        n_frequencies: Number of coefficients, the mean included.

    Returns:
        Coefficients [mmHg].

    Example:
        >>> from pulsebayes.simulators.network.rhythm import BeatTrain
        >>> train = BeatTrain(*(jnp.asarray(v) for v in ([0.0], [70.0], [0.3], 1.0, 0.8, 1.0, 0.0)))
        >>> venous_coefficients(jnp.asarray(8.0), jnp.asarray(2.0), train, 3).real.tolist()
        [8.0, 1.0, 0.0]
    """
    line = jnp.arange(n_frequencies)
    wave = 0.5 * swing * jnp.exp(1j * train.phase) * (line == train.cycles)
    return jnp.where(line == 0, mean + 0j, wave)


def window_samples(
    coefficients: Complex[Array, "K F"], period: Float[Array, ""], time: Float[Array, " T"], *, oversampling: int
) -> Float[Array, "K T"]:
    r"""A periodic signal at any times, by zero-padded FFT and cubic interpolation.

    Arguments:
        coefficients: Fourier coefficients, with shape (K, F).
        period: Period [s].
        time: Times [s], with shape (T,), wrapped into the period.
        oversampling: Samples of the period on the fine grid; the error of the highest line $k$ is about
            $.023\,(2\pi k/n)^4$ of its amplitude.

    Returns:
        Samples, with shape (K, T).

    Example:
        >>> c = jnp.array([[1.0, 0.5]]) + 0j
        >>> window_samples(c, jnp.asarray(2.0), jnp.array([0.0, 1.0]), oversampling=64).tolist()
        [[2.0, 0.0]]
    """
    spectrum = coefficients.at[:, 0].set(coefficients[:, 0].real)
    fine = jnp.fft.irfft(spectrum, oversampling, axis=-1) * oversampling
    place = jnp.mod(time / period, 1.0) * oversampling
    left = jnp.floor(place)
    t = (place - left).astype(time.dtype)
    index = left.astype(int)
    before, here, after, beyond = (fine[:, jnp.mod(index + shift, oversampling)] for shift in (-1, 0, 1, 2))
    return (
        -t * (t - 1) * (t - 2) / 6 * before
        + (t + 1) * (t - 1) * (t - 2) / 2 * here
        - (t + 1) * t * (t - 2) / 2 * after
        + (t + 1) * t * (t - 1) / 6 * beyond
    )
