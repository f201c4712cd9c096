"""Faults to plant into good windows of 8 s at 125 Hz, each at three sizes: mild, moderate, severe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SEVERITIES = ("mild", "moderate", "severe")
N, FS = 1000, 125.0


@dataclass(frozen=True)
class Fault:
    """How a fault of a size is planted, its sizes, their unit, and the findings that tell it without a refusal."""

    make: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    sizes: tuple[float, float, float]
    unit: str
    told: tuple[str, ...] = ()

    def spelled(self, size: float) -> str:
        return f"{size:g} {self.unit}"


def _stretch(seconds: float, rng: np.random.Generator) -> slice:
    width = round(seconds * FS)
    first = int(rng.integers(60, max(N - width - 60, 61)))
    return slice(first, min(first + width, N))


def _held(level: float | None) -> Callable[[np.ndarray, float, np.random.Generator], np.ndarray]:
    def make(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
        made, where = wave.copy(), _stretch(seconds, rng)
        made[where] = made[where.start] if level is None else level
        return made

    return make


def _flush(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    made, where = wave.copy(), _stretch(seconds, rng)
    made[where] = 260.0 + 4.0 * rng.standard_normal(where.stop - where.start)
    return made


def _opened(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    made, where = wave.copy(), _stretch(seconds, rng)
    made[where] = rng.standard_normal(where.stop - where.start)
    return made


def _gap(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    made = wave.copy()
    made[_stretch(seconds, rng)] = np.nan
    return made


def _clipped(wave: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.minimum(wave, np.quantile(wave, 1.0 - share))


def _noisy(wave: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    made: np.ndarray = wave + share * np.ptp(wave) * rng.standard_normal(N)
    return made


def _moved(wave: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Movement: swings of 1 to 4 Hz that come and go."""
    spectrum = np.fft.rfft(rng.standard_normal(N))
    hertz = np.fft.rfftfreq(N, 1 / FS)
    swings = np.fft.irfft(spectrum * ((hertz > 1) & (hertz < 4)), N)
    made: np.ndarray = wave + share * np.ptp(wave) * swings / swings.std() * np.hanning(N)
    return made


def _spikes(wave: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    made = wave.copy()
    made[rng.integers(0, N, int(count))] += 1.5 * np.ptp(wave)
    return made


def _coarse(wave: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    step = share * np.ptp(wave)
    made: np.ndarray = np.round(wave / step) * step
    return made


def _spliced(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Samples lost within the window, the rest moved up; the window is filled with what follows its start."""
    where = _stretch(seconds, rng)
    return np.concatenate([wave[: where.start], wave[where.stop :], wave[: where.stop - where.start]])


def _scaled(wave: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    return wave * factor


def _moved_zero(wave: np.ndarray, mmhg: float, rng: np.random.Generator) -> np.ndarray:
    return wave + mmhg


def _weak(wave: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    made: np.ndarray = wave.mean() + factor * (wave - wave.mean())
    return made


def _inverted(wave: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Upside down from some time on."""
    made = wave.copy()
    first = round(N * (1 - share))
    made[first:] = 2 * wave.mean() - wave[first:]
    return made


FAULTS: dict[str, Fault] = {
    "dead line": Fault(_held(None), (1.0, 2.5, 4.0), "s"),
    "railed high": Fault(_held(300.0), (0.2, 0.5, 1.5), "s", ("clipped",)),
    "opened to air": Fault(_opened, (0.5, 1.0, 3.0), "s"),
    "flush": Fault(_flush, (0.4, 1.0, 3.0), "s"),
    "gap": Fault(_gap, (0.1, 0.3, 2.0), "s", ("interpolated",)),
    "clipped peaks": Fault(_clipped, (0.03, 0.1, 0.25), "of the samples", ("clipped",)),
    "noise": Fault(_noisy, (0.05, 0.2, 0.5), "of the pulse", ("noisy",)),
    "movement": Fault(_moved, (0.15, 0.5, 1.0), "of the pulse", ("irregular",)),
    "spikes": Fault(_spikes, (1, 5, 20), "spikes", ("splice", "noisy")),
    "coarse steps": Fault(_coarse, (0.03, 0.08, 0.25), "of the pulse", ("coarse",)),
    "samples lost": Fault(_spliced, (0.05, 0.3, 1.0), "s", ("splice", "irregular", "premature")),
    "not zeroed": Fault(_moved_zero, (-30, -70, -110), "mmHg", ("low-level",)),
    "in kPa": Fault(_scaled, (0.13332, 0.13332, 0.13332), "x"),
    "in 0.1 mmHg": Fault(_scaled, (10, 10, 10), "x"),
    "damped to nothing": Fault(_weak, (0.3, 0.1, 0.03), "of the pulse", ("weak",)),
    "upside down": Fault(_inverted, (0.3, 1.0, 1.0), "of the window"),
}
