r"""Trains of pressure pulses with known starts of ejection, independent of the package's simulators.

Flow pulses that start at known times drive a three-element windkessel, a resonance for the arm's reflections and a
catheter line; the truth is the list of starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import bilinear, lfilter

HZ = 1000.0


@dataclass(frozen=True)
class Train:
    """A wave [mmHg], its rate [Hz] and the true starts of ejection [s]."""

    wave: np.ndarray
    fs: float
    onsets_s: np.ndarray


def trains(n: int) -> dict[str, list[Train]]:
    """Clean, noisy, with ectopic beats, with both, irregular, and behind damped and ringing lines."""
    rng = np.random.default_rng(11)
    kinds: dict[str, dict[str, float]] = {
        "clean": {},
        "noise of 5 % of the pulse": {"noise": 0.05},
        "premature beats, 10 %": {"ectopy": 0.1},
        "noise of 4 % and premature beats, 8 %": {"noise": 0.04, "ectopy": 0.08},
        "irregular, 18 %": {"spread": 0.18},
        "damped line": {"line": 3.0, "damping": 1.2},
        "ringing line": {"line": 12.0, "damping": 0.15},
    }
    return {kind: [_train(rng, **options) for _ in range(n)] for kind, options in kinds.items()}


def _train(
    rng: np.random.Generator,
    *,
    noise: float = 0.004,
    ectopy: float = 0.0,
    spread: float = 0.03,
    line: float = 20.0,
    damping: float = 0.5,
    seconds: float = 30.0,
) -> Train:
    rate = rng.uniform(50, 120)
    starts = _starts(rng, rate, spread, ectopy, seconds + 8)
    flow = np.zeros(round((seconds + 8) * HZ))
    filling = np.clip(np.diff(starts, prepend=starts[0] - 60 / rate) * rate / 60, 0.4, 1.3)
    for start, fill in zip(starts, filling, strict=True):
        length = np.clip(0.4 * np.sqrt(60 / rate), 0.18, 0.4) * min(fill, 1.0) ** 0.25
        first = int(np.ceil(start * HZ))
        share = (np.arange(first, min(first + int(1.1 * length * HZ), len(flow))) / HZ - start) / length
        pulse = np.where(share < 1, np.sin(np.pi * np.clip(share, 0, 1) ** 0.75), -0.12)
        volume = fill**0.6 * (1 + 0.05 * np.sin(2 * np.pi * start / 4.2))
        flow[first : first + len(share)] += volume * pulse / length
    decay = np.exp(-1 / HZ / rng.uniform(0.9, 1.8))
    wave = lfilter([1 - decay], [1, -decay], flow) + rng.uniform(0.04, 0.08) * flow
    wave = _second_order(_second_order(wave, rng.uniform(3.5, 6.0), 0.5), line, damping)[round(8 * HZ) :]
    low, high = np.quantile(wave, [0.02, 0.98])
    wave = rng.uniform(65, 105) + (wave - wave.mean()) * rng.uniform(30, 70) / (high - low)
    wave = wave[:: round(HZ / 125)]
    wave = wave + noise * np.ptp(wave) * rng.standard_normal(len(wave))
    true = starts[(starts > 8) & (starts < 8 + seconds)] - 8
    return Train(np.round(wave * 8) / 8, 125.0, true)


def _starts(rng: np.random.Generator, rate: float, spread: float, ectopy: float, seconds: float) -> np.ndarray:
    times, now, usual = [0.5], 0.5, 60 / rate
    while now < seconds:
        if rng.random() < ectopy:
            times.append(now + max(0.66 * usual, 0.4))
            now += 2 * usual
        else:
            now += max(usual * (1 + spread * rng.standard_normal()), 0.4, 0.55 * usual)
        times.append(now)
    return np.array(times)


def _second_order(wave: np.ndarray, frequency: float, damping: float) -> np.ndarray:
    omega = 2 * np.pi * frequency
    b, a = bilinear([omega**2], [1, 2 * damping * omega, omega**2], HZ)
    made: np.ndarray = lfilter(b, a, wave)
    return made
