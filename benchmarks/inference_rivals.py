r"""Simpler ways to follow a patient than the pooled posterior, on the same windows.

Pulse-pressure rules: Liljestrand and Zander (1928), SV = k PP/(SBP + DBP); systolic area with an impedance that
follows rate and pressure (Wesseling et al. 1983), SV = k A_s (163 + HR - .48 MAP); and the windkessel's time constant
(Mukkamala et al. 2006 in its beat form), SV = k (PP + MAP T/tau). Each is right up to one factor for the patient, so
only trends count. Pooled: the product of the windows' posteriors of log compliance at 90 mmHg over the prior, as
importance weights on every window's draws (compliance taken to fall as pressure to the power -.7), and a random-walk
smoother. Importance re-weighting: every window's draws weighted by the densities that the other windows give to their
compliance and wave speed at 90 mmHg, over the prior, all normal.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

PRESSURE_POWER = 0.7  # log compliance falls by this times log(pressure/90), roughly; log wave speed rises by half


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


def pooled(alone: np.ndarray, prior: np.ndarray, names: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    """Windows' own draws (W, n, D) pooled by each of the simpler ways."""
    volume = names.index("SV")
    shared, before = _at_90_mmhg(alone, names), _at_90_mmhg(prior, names)
    target = product(shared[..., 0], float(before[:, 0].mean()), float(before[:, 0].std()))
    rng = np.random.default_rng(seed)
    weighted = np.stack([reweighted(rng, d, r[:, 0], target) for d, r in zip(alone, shared, strict=True)])
    log_v = np.log(alone[..., volume])
    mean, sd = smoothed(log_v.mean(1), log_v.std(1))
    drawn = alone.copy()
    drawn[..., volume] = np.exp(mean[:, None] + sd[:, None] * rng.standard_normal(log_v.shape))
    resampled = importance(np.random.default_rng([seed, 1]), alone, shared, before)
    return {"product over the prior": weighted, "importance re-weighting": resampled, "random-walk smoother": drawn}


def _at_90_mmhg(theta: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Logarithms of compliance and wave speed at 90 mmHg, as far as a power law of pressure tells them."""
    c, speed, p = (names.index(name) for name in ("C", "PWV", "MAP"))
    higher = PRESSURE_POWER * np.log(np.maximum(theta[..., p], 20.0) / 90.0)
    return np.stack((np.log(theta[..., c]) + higher, np.log(theta[..., speed]) - 0.5 * higher), -1)


def product(reference: np.ndarray, prior_mean: float, prior_sd: float) -> tuple[float, float]:
    """Mean and standard deviation of log compliance at 90 mmHg: windows (W, n) multiplied, the prior counted once."""
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


def importance(rng: np.random.Generator, draws: np.ndarray, shared: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Draws of windows (W, n, D) resampled by what the other windows say of what all share, (W, n, S).

    Weights are the product over the other windows of the densities of what is shared over its prior (N, S).
    """
    density = np.stack([_log_normal(shared, one.mean(0), np.cov(one.T)) for one in shared])  # (of window, W, n)
    density -= _log_normal(shared, prior.mean(0), np.cov(prior.T))
    own = np.stack([density[i, i] for i in range(len(density))])
    log = density.sum(0) - own
    weights = np.exp(log - log.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return np.stack([d[rng.choice(len(d), len(d), p=w)] for d, w in zip(draws, weights, strict=True)])


def _log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    apart = x - mean
    far = np.einsum("...i,ij,...j->...", apart, np.linalg.inv(covariance), apart)
    return np.asarray(-0.5 * (far + np.linalg.slogdet(2 * np.pi * covariance)[1]))


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
