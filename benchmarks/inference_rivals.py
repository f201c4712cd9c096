r"""Simpler ways to follow a patient than the pooled posterior, on the same windows.

Pulse-pressure rules: Liljestrand and Zander (1928), SV = k PP/(SBP + DBP); systolic area with an impedance that
follows rate and pressure (Wesseling et al. 1983), SV = k A_s (163 + HR - .48 MAP); and the windkessel's time constant
(Mukkamala et al. 2006 in its beat form), SV = k (PP + MAP T/tau). Each is right up to one factor for the patient, so
only trends count. Pooled: the product of the windows' posteriors of log compliance at 90 mmHg over the prior, as
importance weights on every window's draws (compliance taken to fall as pressure to the power -.7), and a random-walk
smoother.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

PRESSURE_POWER = 0.7  # log compliance falls by this times log(pressure/90), roughly


def beats(wave: np.ndarray, fs: float) -> dict[str, float] | None:
    """Rate, pressures, systolic area and diastolic time constant of a window: medians over its beats."""
    from pulsebayes.waveforms.beats import detect_beats

    found = detect_beats(wave, fs)
    onsets = np.asarray(found.onsets_s) * fs
    rows = []
    for begin, end in pairwise(onsets):
        p = wave[int(begin) : int(end)]
        if len(p) < 0.25 * fs:
            continue
        top, low = int(np.argmax(p)), float(p[0])
        closed = min(int(0.16 * fs + 0.2 * len(p)), len(p) - 3)  # a rough end of ejection
        fall = p[max(closed, top + 1) :]
        if len(fall) < 3:  # the peak is at the end: a flush, no beat
            continue
        slope = np.polyfit(np.arange(len(fall)) / fs, np.log(np.maximum(fall - 0.5 * low, 1.0)), 1)[0]
        rows.append((60 * fs / len(p), p.max(), low, p.mean(), np.sum(p[:closed] - low) / fs, -1 / min(slope, -0.1)))
    if not rows:
        return None
    names = ("rate", "systolic", "diastolic", "mean", "area", "tau")
    return dict(zip(names, np.median(np.array(rows), axis=0), strict=True))


def rules(found: dict[str, float]) -> dict[str, float]:
    """Stroke volume by each rule, up to a factor."""
    pulse = found["systolic"] - found["diastolic"]
    period = 60 / found["rate"]
    return {
        "Liljestrand-Zander": pulse / (found["systolic"] + found["diastolic"]),
        "systolic area, impedance": found["area"] * (163 + found["rate"] - 0.48 * found["mean"]),
        "windkessel time constant": pulse + found["mean"] * period / found["tau"],
    }


def product(log_c: np.ndarray, pressure: np.ndarray, prior_mean: float, prior_sd: float) -> tuple[float, float]:
    """Mean and standard deviation of log compliance at 90 mmHg: windows (W, n) multiplied, the prior counted once."""
    reference = log_c + PRESSURE_POWER * np.log(pressure / 90.0)
    mean, precision = reference.mean(1), 1 / reference.var(1)
    prior = 1 / prior_sd**2
    total = prior + np.maximum(precision - prior, 0.0).sum()
    weighted = prior * prior_mean + (np.maximum(precision * mean - prior * prior_mean, -np.inf)).sum()
    return float(weighted / total), float(total**-0.5)


def reweighted(
    rng: np.random.Generator, draws: np.ndarray, log_c: np.ndarray, target: tuple[float, float]
) -> np.ndarray:
    """A window's draws (n, D) with log compliance at 90 mmHg (n,) weighted from its own to the pooled distribution."""
    own_mean, own_sd = log_c.mean(), log_c.std()
    log = -0.5 * ((log_c - target[0]) / max(target[1], 0.02)) ** 2 + 0.5 * ((log_c - own_mean) / own_sd) ** 2
    weights = np.exp(log - log.max())
    return draws[rng.choice(len(draws), len(draws), p=weights / weights.sum())]


def smoothed(mean: np.ndarray, sd: np.ndarray, walk: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Random-walk smoother (Rauch, Tung and Striebel 1965) over means and standard deviations of windows."""
    forward, variance = np.empty_like(mean), np.empty_like(mean)
    m, v = mean[0], sd[0] ** 2
    for i in range(len(mean)):
        if i:
            v += walk**2
            gain = v / (v + sd[i] ** 2)
            m, v = m + gain * (mean[i] - m), v * (1 - gain)
        forward[i], variance[i] = m, v
    back, spread = forward.copy(), variance.copy()
    for i in range(len(mean) - 2, -1, -1):
        gain = variance[i] / (variance[i] + walk**2)
        back[i] = forward[i] + gain * (back[i + 1] - forward[i])
        spread[i] = variance[i] + gain**2 * (spread[i + 1] - variance[i] - walk**2)
    return back, np.sqrt(spread)
