r"""Beat detection: onset, systolic peak and dicrotic notch of arterial pressure and pulse oximetry.

The wave $p(t)$ is smoothed with a Gaussian of standard deviation $\sigma$ and cut into its *rises*, the stretches with
$\dot p > 0$.  A rise of height $h$ and steepest slope $g$ has the strength $\sqrt{h g}$; it is compared with the
strongest rises of its neighbourhood, so that a slow wander (large $h$, small $g$) and a small spike (large $g$, small
$h$) both count little.  What is left is sorted from strong to weak, and a rise is a beat unless a stronger one forbids
it: within the refractory time, or as the dicrotic wave of the beat before, which begins above that beat's foot while
the ventricle has just closed its valve.

The **onset** of a beat is defined by intersecting tangents: the tangent at the steepest point $t_g$ of the upstroke
meets the level of the lowest point before it,

$$ t_\text{on} = t_g - \frac{p(t_g) - p_\text{min}}{\dot p(t_g)} . $$

The **peak** is the highest point of the systole, the **notch** the deepest local minimum on the way down, or, where
the line is too damped to show one, the point of largest curvature between two falls; NaN where there is neither.

References:
    Zong, Heldt, Moody & Mark (2003), An open-source algorithm to detect onset of arterial blood pressure pulses,
    Computers in Cardiology 30, 259-262 (slopes summed over the upstroke, thresholds that follow the signal).
    Kazanavicius, Gircys, Vrubliauskas & Lugin (2005), Mathematical methods for determining the foot point of the
    arterial pulse wave, Information Technology and Control 34 (intersecting tangents).

Units: seconds and the unit of the wave.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d, median_filter

__all__ = ["Beats", "detect_beats"]

Array = np.ndarray

SMOOTHING_S = {"ART": 0.016, "PLETH": 0.028}
r"""Standard deviation of the Gaussian that cuts the wave into rises [s]: 10 and 6 Hz at -3 dB."""
REFRACTORY_S = 0.27
r"""No two beats closer than this [s]: 222 /min."""
NOTCH_LATEST_S = 0.55
r"""Dicrotic waves rise within this time of the upstroke [s]: ejection of 420 ms and the rise of the wave itself."""
LOWEST = 0.16
r"""A beat rises at least this far compared with a typical one: lower rises are noise."""
WEAKEST = 0.22
r"""A beat is at least this strong compared with a typical one; the strength of dicrotic waves seldom reaches it."""
STRONG = 0.6
r"""A rise this strong compared with the beat before it is no dicrotic wave."""
SAME_DELAY_S = 0.06
r"""Dicrotic waves follow their beats equally late, within this time [s]."""
BLOCK_S = 2.0
r"""Longer than one beat at 35 /min [s]; the strongest rise of each block sets the scale."""


@dataclass(frozen=True)
class Beats:
    r"""Beats of one wave, in order of time.

    Arguments:
        onsets_s: Feet of the upstrokes by intersecting tangents [s].
        peaks_s: Systolic peaks [s]; NaN where the wave ends before the peak.
        notches_s: Dicrotic notches [s]; NaN where there is none.
        feet: Level of the wave at the foot, the diastolic pressure of the beat [unit of the wave].
        peaks: Level at the peak, the systolic pressure [unit of the wave]; NaN as `peaks_s`.

    Example:
        >>> import numpy as np
        >>> beats = Beats(*(np.array([0.5, 1.3, 2.1]) for _ in range(5)))
        >>> beats.n, round(beats.mean_interval_s, 3)
        (3, 0.8)
    """

    onsets_s: Float[Array, " beats"]
    peaks_s: Float[Array, " beats"]
    notches_s: Float[Array, " beats"]
    feet: Float[Array, " beats"]
    peaks: Float[Array, " beats"]

    @property
    def n(self) -> int:
        r"""Number of beats.

        Example:
            >>> detect_beats(np.zeros(1000), 125.0).n
            0
        """
        return len(self.onsets_s)

    @property
    def intervals_s(self) -> Float[Array, " intervals"]:
        r"""Time from onset to onset [s].

        Example:
            >>> Beats(*(np.array([0.5, 1.0, 2.0]) for _ in range(5))).intervals_s.tolist()
            [0.5, 1.0]
        """
        return np.diff(self.onsets_s)

    @property
    def mean_interval_s(self) -> float:
        r"""Mean beat interval, from the first onset to the last [s]; NaN with fewer than two beats.

        Example:
            >>> Beats(*(np.array([0.5, 1.0, 2.0]) for _ in range(5))).mean_interval_s
            0.75
        """
        return float((self.onsets_s[-1] - self.onsets_s[0]) / (self.n - 1)) if self.n > 1 else float("nan")


class _Rises(NamedTuple):
    start: Int[Array, " rises"]
    stop: Int[Array, " rises"]
    steepest: Int[Array, " rises"]
    height: Float[Array, " rises"]
    strength: Float[Array, " rises"]


def detect_beats(wave: Float[Array, " time"], fs: float, *, role: str = "ART") -> Beats:
    r"""Find the beats of an arterial pressure or pulse oximetry wave.

    Works on a window or on a whole recording, in any unit and with any offset: only differences are compared.
    Missing samples are bridged by straight lines, which hold no beats.

    Arguments:
        wave: The signal, rising in systole [any unit].
        fs: Sampling rate [Hz].
        role: `"ART"` for pressures, `"PLETH"` for pulse oximetry (stronger smoothing).

    Returns:
        Onsets, peaks and notches in seconds from the first sample.

    Raises:
        ValueError: If `wave` is not one-dimensional, `fs` is not positive, or `role` is unknown.

    Example:
        >>> import numpy as np
        >>> t = np.arange(0, 8, 1 / 125)
        >>> phase = (t - 0.3) % 0.75
        >>> wave = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> round(60 / detect_beats(wave, 125.0).mean_interval_s, 1)
        80.0
    """
    wave = np.asarray(wave, dtype=np.float64)
    if wave.ndim != 1:
        raise ValueError(f"wave must have shape (time,), got {wave.shape}; pass one channel at a time")
    if not fs > 0:
        raise ValueError(f"fs must be positive [Hz], got {fs}; pass the sampling rate of the wave")
    if role not in SMOOTHING_S:
        raise ValueError(f"role must be one of {sorted(SMOOTHING_S)}, got {role!r}; use 'ART' for any pressure")
    wave = _bridge(wave)
    width = SMOOTHING_S[role] * fs
    if len(wave) < 0.5 * fs or np.ptp(wave) == 0:
        return _empty()
    smooth = gaussian_filter1d(wave, width, mode="nearest")
    slope = np.gradient(smooth) * fs
    rises = _rises(smooth, slope)
    seconds = len(wave) / fs
    low = _relative(rises.height, rises, seconds, fs) < LOWEST
    relative = np.where(low, 0.0, _relative(rises.strength, rises, seconds, fs))
    kept = _select(rises, relative, smooth, fs)
    return _landmarks(wave, smooth, slope, rises, kept, fs)


def _empty() -> Beats:
    none = np.zeros(0)
    return Beats(none, none, none, none, none)


def _bridge(wave: Float[Array, " time"]) -> Float[Array, " time"]:
    r"""The wave with straight lines over missing samples."""
    missing = ~np.isfinite(wave)
    if not missing.any():
        return wave
    if missing.all():
        return np.zeros_like(wave)
    index = np.arange(len(wave))
    bridged: Float[Array, " time"] = np.interp(index, index[~missing], wave[~missing])
    return bridged


def _rises(smooth: Float[Array, " time"], slope: Float[Array, " time"]) -> _Rises:
    r"""Stretches of positive slope: first and last sample, steepest sample, strength."""
    up = np.concatenate([[False], slope > 0, [False]])
    start, stop = np.flatnonzero(up[1:] & ~up[:-1]), np.flatnonzero(~up[1:] & up[:-1]) - 1
    if len(start) == 0:
        return _Rises(start, stop, start, np.zeros(0), np.zeros(0))
    bounds = np.column_stack([start, stop + 1]).ravel()
    steepness = np.maximum.reduceat(np.append(slope, -np.inf), bounds)[::2]
    steepest = np.array([a + int(slope[a : b + 1].argmax()) for a, b in zip(start, stop, strict=True)])
    height = np.maximum(smooth[stop] - smooth[start], 0.0)
    return _Rises(start, stop, steepest, height, np.sqrt(height * steepness))


def _relative(size: Float[Array, " rises"], rises: _Rises, duration_s: float, fs: float) -> Float[Array, " rises"]:
    r"""Height or strength over that of a typical beat nearby: the median over seven blocks of their largest rises."""
    if len(rises.start) == 0:
        return size
    n_blocks = max(1, round(duration_s / BLOCK_S))
    block = np.minimum((rises.steepest / fs / duration_s * n_blocks).astype(int), n_blocks - 1)
    strongest = np.zeros(n_blocks)
    np.maximum.at(strongest, block, size)
    typical = np.full(n_blocks, np.median(strongest)) if n_blocks < 8 else median_filter(strongest, 7, mode="nearest")
    scale: Float[Array, " rises"] = typical[block]
    return size / np.where(scale > 0, scale, np.inf)


def _select(
    rises: _Rises, relative: Float[Array, " rises"], smooth: Float[Array, " time"], fs: float
) -> Int[Array, " beats"]:
    r"""Indices of the rises that are beats, from strong to weak, each checked against the accepted ones around it."""
    order = np.flatnonzero(relative >= WEAKEST)
    order = order[np.argsort(-relative[order], kind="stable")]
    times = rises.steepest / fs
    accepted: list[int] = []
    for i in order.tolist():
        place = bisect(accepted, i)
        if place < len(accepted) and times[accepted[place]] - times[i] < REFRACTORY_S:
            continue
        if place == 0:  # the window may begin between a beat and its dicrotic wave
            if times[i] < NOTCH_LATEST_S and relative[i] < STRONG:
                continue
        elif _forbidden(i, accepted[place - 1], accepted[max(place - 7, 0) : place + 6], rises, relative, smooth, fs):
            continue
        accepted.insert(place, i)
    return np.array(accepted, dtype=int)


def _forbidden(
    i: int,
    before: int,
    around: list[int],
    rises: _Rises,
    relative: Float[Array, " rises"],
    smooth: Float[Array, " time"],
    fs: float,
) -> bool:
    r"""Whether rise `i` belongs to the beat `before`: too soon after it, or its dicrotic wave.

    A dicrotic wave starts above the foot of its beat, stays below its peak, and the other beats have one as late.
    """
    delay = (rises.steepest[i] - rises.steepest[before]) / fs
    if delay < REFRACTORY_S:
        return True
    if delay > NOTCH_LATEST_S or relative[i] > STRONG * min(relative[before], 1.0):
        return False
    foot = smooth[rises.start[before]]
    pulse = smooth[rises.start[before] : rises.start[i]].max() - foot
    elevation, height = (smooth[rises.start[i]] - foot) / pulse, (smooth[rises.stop[i]] - foot) / pulse
    if relative[i] < 0.35 or (elevation > 0.12 and height < 0.85):
        return True
    others = rises.steepest[[j for j in around if j != before and relative[j] >= STRONG]]
    if len(others) < 2:
        return False
    later = (rises.steepest[relative > 0.05] - others[:, None]) / fs
    return bool(np.mean(np.any(np.abs(later - delay) < SAME_DELAY_S, axis=1)) >= 0.5)


def _landmarks(
    wave: Float[Array, " time"],
    smooth: Float[Array, " time"],
    slope: Float[Array, " time"],
    rises: _Rises,
    kept: Int[Array, " beats"],
    fs: float,
) -> Beats:
    r"""Onset, peak and notch of each kept rise; rises cut off by the start of the wave are left out."""
    kept = np.array([k for k in kept if rises.start[k] > 0 or slope[0] < 0.1 * slope[rises.steepest[k]]], dtype=int)
    if len(kept) == 0:
        return _empty()
    limits = np.append(rises.start[kept[1:]], len(wave) - 1)
    rows = [_landmark(wave, smooth, slope, rises, k, int(limit), fs) for k, limit in zip(kept, limits, strict=True)]
    columns = np.array(rows).T
    return Beats(*columns)


def _landmark(
    wave: Float[Array, " time"],
    smooth: Float[Array, " time"],
    slope: Float[Array, " time"],
    rises: _Rises,
    k: int,
    limit: int,
    fs: float,
) -> tuple[float, float, float, float, float]:
    r"""(onset, peak, notch, foot level, peak level) of one beat that ends before sample `limit`."""
    start, steepest = int(rises.start[k]), int(rises.steepest[k])
    onset = steepest - float(smooth[steepest] - smooth[start]) / float(slope[steepest]) * fs
    onset = min(max(onset, float(start)), float(steepest))
    systole_end = min(limit, steepest + int(0.4 * fs))
    near = max(
        1, round(0.008 * fs)
    )  # the smooth wave lies above a sharp foot, the wave itself right before it does not
    foot = float(wave[max(start - near, 0) : start + near + 1].mean())
    if rises.stop[k] >= len(wave) - 1 or systole_end <= steepest:
        return onset / fs, np.nan, np.nan, foot, np.nan
    peak = steepest + int(smooth[steepest : systole_end + 1].argmax())
    reach = max(1, round(0.02 * fs))
    low = max(peak - reach, steepest)
    top = low + int(wave[low : peak + reach + 1].argmax())
    notch = _notch(smooth, slope, start, peak, limit, fs)
    return onset / fs, top / fs, notch / fs, foot, float(wave[top])


def _notch(
    smooth: Float[Array, " time"], slope: Float[Array, " time"], start: int, peak: int, limit: int, fs: float
) -> float:
    r"""Sample of the dicrotic notch between the peak and the next beat, NaN if there is none."""
    first = max(peak + int(0.04 * fs), start + int(0.14 * fs))
    last = min(start + int(0.6 * fs), limit - int(0.08 * fs))
    if last - first < 4:
        return np.nan
    piece = slope[first : last + 1]
    turns = np.flatnonzero((piece[:-1] <= 0) & (piece[1:] > 0))
    if len(turns):
        depth = [smooth[first + i : first + i + int(0.2 * fs)].max() - smooth[first + i] for i in turns]
        if max(depth) > 0.005 * (smooth[peak] - smooth[start]):
            return float(first + turns[int(np.argmax(depth))])
    return _shoulder(piece, first)


def _shoulder(piece: Float[Array, " time"], first: int) -> float:
    r"""Sample of largest curvature between two falls: the slope eases to less than half of both and falls again."""
    crest = int(piece.argmax())
    falls_before, falls_after = piece[: crest + 1].min(), piece[crest:].min()
    if piece[crest] < 0.5 * falls_before or piece[crest] < 0.6 * falls_after:
        return np.nan
    fall = int(piece[: crest + 1].argmin())
    if crest - fall < 2:
        return np.nan
    return float(first + fall + int(np.diff(piece[fall : crest + 1]).argmax()))
