r"""Synthetic pressures with known beats, and the real recordings, for the tests of `waveforms`.

A train of ejections $q(t)$ drives a three-element windkessel (resistance $R$, compliance $C$, characteristic impedance
$Z$), a resonance that stands for the arm's reflections, and a catheter line: second-order systems
$\omega^2 / (s^2 + 2 \zeta \omega s + \omega^2)$.  Each ejection starts at a known time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import bilinear, lfilter

SIMULATION_FS = 1000.0


@dataclass(frozen=True)
class Train:
    """A wave [mmHg], its rate [Hz] and the true starts of ejection [s]."""

    wave: np.ndarray
    fs: float
    onsets_s: np.ndarray


def _second_order(wave: np.ndarray, frequency: float, damping: float) -> np.ndarray:
    omega = 2 * np.pi * frequency
    b, a = bilinear([omega**2], [1, 2 * damping * omega, omega**2], SIMULATION_FS)
    return lfilter(b, a, wave)


def _starts(rng: np.random.Generator, rate: float, spread: float, ectopy: float, duration_s: float) -> np.ndarray:
    times, now = [], 0.0
    while now < duration_s:
        interval = max(60 / rate * (1 + spread * rng.standard_normal()), 0.33, 0.5 * 60 / rate)
        if rng.random() < ectopy:  # a premature beat and its pause
            early = max(0.6 * interval, 0.36)
            times += [now + early]
            now += 2 * interval
        else:
            now += interval
        times += [now]
    return np.array(times)


def make_train(
    seed: int,
    *,
    rate: float = 75.0,
    spread: float = 0.02,
    ectopy: float = 0.0,
    alternans: float = 0.0,
    breathing: float = 0.05,
    resonance: tuple[float, float] = (4.0, 0.5),
    catheter: tuple[float, float] = (15.0, 0.5),
    mean: float = 90.0,
    pulse: float = 45.0,
    noise: float = 0.2,
    step: float = 0.1,
    duration_s: float = 30.0,
    fs: float = 125.0,
) -> Train:
    """A train with beats of `rate` [1/min]; `mean` and `pulse` [mmHg] are of the result."""
    rng = np.random.default_rng(seed)
    starts = _starts(rng, rate, spread, ectopy, duration_s + 8)
    t = np.arange(0, duration_s + 8, 1 / SIMULATION_FS)
    flow = np.zeros_like(t)
    filling = np.clip(np.diff(starts, prepend=starts[0] - 60 / rate) * rate / 60, 0.3, 1.3)
    for k, (start, fill) in enumerate(zip(starts, filling, strict=True)):
        volume = fill**0.7 * (1 + breathing * np.sin(2 * np.pi * start / 4.0)) * (1 - alternans * (k % 2))
        ejection = np.clip(0.4 * np.sqrt(60 / rate), 0.16, 0.40) * min(fill, 1.0) ** 0.25
        first = int(np.ceil(start * SIMULATION_FS))
        u = (t[first : first + int(1.2 * ejection * SIMULATION_FS)] - start) / ejection
        pulse_flow = np.where(u < 1, np.sin(np.pi * np.clip(u, 0, 1) ** 0.8), -0.12 * (u < 1.12))  # the valve closes
        flow[first : first + len(u)] += volume * pulse_flow / ejection
    decay = np.exp(-1 / SIMULATION_FS / 1.3)
    stored = lfilter([1 - decay], [1, -decay], flow)
    wave = _second_order(stored + 0.06 * flow, *resonance)
    wave = _second_order(wave, *catheter)
    keep = t >= 8
    wave, time = wave[keep], t[keep] - 8
    ac = wave - wave.mean()
    low, high = np.quantile(ac, [0.02, 0.98])
    wave = mean + ac * pulse / (high - low)
    out = np.interp(np.arange(0, duration_s, 1 / fs), time, wave) + noise * rng.standard_normal(int(duration_s * fs))
    true = starts[(starts > 8) & (starts < 8 + duration_s)] - 8
    return Train(np.round(out / step) * step if step else out, fs, true)


@pytest.fixture(scope="session")
def pulse_train() -> Callable[..., Train]:
    """Maker of synthetic trains."""
    return make_train


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings; skips where it is absent."""
    root = Path(os.environ.get("PULSEBAYES_DATA", Path(__file__).parents[3] / "shared" / "data")) / "real"
    if not root.is_dir():
        pytest.skip(f"no real recordings at {root}; set PULSEBAYES_DATA to the folder that holds real/")
    return root
