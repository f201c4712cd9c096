r"""What disturbs a photoplethysmogram between the finger and the file: breathing, motion, noise and the recorder.

Sizes are shares of the pulse, taken as three standard deviations of the row: a photoplethysmogram has no unit.

References:
    Meredith D.J. et al. (2012), J Med Eng Technol 36:1, https://doi.org/10.3109/03091902.2011.638965 (breathing moves
    the baseline, the height and the rate of the pulse). Allen J. (2007), Physiol Meas 28:R1,
    https://doi.org/10.1088/0967-3334/28/3/R01 (slow baseline, motion, ambient noise). Steps of recorders: headers of
    PhysioNet records (8 to 12 bits). Where the literature gives no distribution the width is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from .catheter import check_range, check_share, check_spread, log_uniform

__all__ = ["Breathing", "Motion", "OpticalNoise", "Recorder", "pulse_height"]

Waves = Float32[np.ndarray, "N T"]
PerRow = Float32[np.ndarray, " N"]


def pulse_height(waves: Waves) -> PerRow:
    r"""Height of the pulse of each row, as three standard deviations [unit of the wave].

    Arguments:
        waves: Photoplethysmograms.

    Example:
        >>> pulse_height(np.array([[0.0, 1.0, 0.0, 1.0]], np.float32)).tolist()
        [1.5]
    """
    height: PerRow = np.maximum(3 * waves.std(axis=-1), np.float32(1e-6))
    return height


@dataclass(frozen=True)
class Breathing:
    r"""Prior of what breathing does: it moves the baseline and changes the height of the pulse.

    Arguments:
        rate_low: Slowest breathing [1/min].
        rate_high: Fastest breathing [1/min].
        baseline_low: Least swing of the baseline, as a share of the pulse [1].
        baseline_high: Greatest swing [1].
        height_sd: Standard deviation of the (half-normal) share by which the height swings [1].

    Raises:
        ValueError: If a range is not positive and in order, or the spread is negative.

    Example:
        >>> flat = np.zeros((1, 1000), np.float32)
        >>> still = Breathing(baseline_low=1e-9, baseline_high=1e-9, height_sd=0.0)
        >>> bool(abs(still.disturb(flat, np.random.default_rng(0), np.ones(1, np.float32), fs=125.0)).max() < 1e-6)
        True
    """

    rate_low: float = 7.0
    rate_high: float = 35.0
    baseline_low: float = 0.005
    baseline_high: float = 0.4
    height_sd: float = 0.05

    def __post_init__(self) -> None:
        check_range("Breathing rate", self.rate_low, self.rate_high, "1/min")
        check_range("Breathing baseline", self.baseline_low, self.baseline_high, "1")
        check_spread("Breathing height_sd", self.height_sd, "1")

    def disturb(
        self, waves: Waves, rng: np.random.Generator, height: PerRow, *, fs: float, width: float = 1.0
    ) -> Waves:
        r"""Lets the patients of N rows breathe.

        Arguments:
            waves: Photoplethysmograms with mean zero.
            rng: Source of randomness.
            height: Height of their pulses.
            fs: Sampling rate [Hz].
            width: Factor on the width of every prior.
        """
        n, samples = waves.shape
        rate = log_uniform(rng, n, self.rate_low, self.rate_high, width=1.0)
        baseline = log_uniform(rng, n, self.baseline_low, self.baseline_high, width=width)
        swing = np.minimum(np.float32(self.height_sd * width) * np.abs(rng.standard_normal(n, np.float32)), 0.6)
        phase = 2 * np.pi * rng.random((n, 2), np.float32)
        angle = (2 * np.pi / 60 / fs) * rate[:, None] * np.arange(samples, dtype=np.float32)
        moved = waves * (1 + swing[:, None] * np.sin(angle + phase[:, :1]))
        moved += (baseline * height * 0.5)[:, None] * np.sin(angle + phase[:, 1:])
        return np.asarray(moved, np.float32)


@dataclass(frozen=True)
class Motion:
    r"""Prior of motion: a burst of slow, large disturbance in some windows.

    Arguments:
        share: Share of rows with a burst [1].
        length_low: Shortest burst [s].
        length_high: Longest burst [s].
        size_low: Least size, as a share of the pulse [1].
        size_high: Greatest size [1].
        band_hz: The burst holds frequencies up to this one [Hz].

    Raises:
        ValueError: If a range is not positive and in order, or the share is not in [0, 1].

    Example:
        >>> flat = np.zeros((4, 1000), np.float32)
        >>> moved = Motion(share=1.0).disturb(flat, np.random.default_rng(0), np.ones(4, np.float32), fs=125.0)
        >>> bool((abs(moved).max(axis=1) > 0).all())
        True
    """

    share: float = 0.15
    length_low: float = 0.3
    length_high: float = 4.0
    size_low: float = 0.05
    size_high: float = 1.0
    band_hz: float = 5.0

    def __post_init__(self) -> None:
        check_share("Motion share", self.share)
        check_range("Motion length", self.length_low, self.length_high, "s")
        check_range("Motion size", self.size_low, self.size_high, "1")
        check_range("Motion band_hz", self.band_hz, self.band_hz, "Hz")

    def disturb(
        self, waves: Waves, rng: np.random.Generator, height: PerRow, *, fs: float, width: float = 1.0
    ) -> Waves:
        r"""Moves the fingers of some rows; ``width`` multiplies the width of the logarithm of length and size."""
        n, samples = waves.shape
        rows = np.flatnonzero(rng.random(n) < self.share)
        length = log_uniform(rng, n, self.length_low, self.length_high, width=width)[rows, None] * np.float32(fs)
        size = log_uniform(rng, n, self.size_low, self.size_high, width=width)[rows]
        centre = (rng.random(n, np.float32) * samples)[rows, None]
        place = np.clip((np.arange(samples, dtype=np.float32) - centre) / length, -0.5, 0.5)
        shape = coloured_noise(rng, len(rows), samples, fs=fs, exponent=0.0, band_hz=(0.2, self.band_hz))
        moved = waves.copy()
        moved[rows] += (size * height[rows])[:, None] * np.square(np.cos(np.pi * place)) * shape
        return moved


@dataclass(frozen=True)
class OpticalNoise:
    r"""Prior of the noise: white, from light and electronics, and 1/f, from the skin and the contact.

    Arguments:
        white_low: Least standard deviation of white noise, as a share of the pulse [1].
        white_high: Greatest [1].
        drift_low: Least standard deviation of 1/f noise [1].
        drift_high: Greatest [1].

    Raises:
        ValueError: If a range is not positive and in order.

    Example:
        >>> flat = np.zeros((2, 1000), np.float32)
        >>> OpticalNoise().disturb(flat, np.random.default_rng(0), np.ones(2, np.float32), fs=125.0).shape
        (2, 1000)
    """

    white_low: float = 0.0005
    white_high: float = 0.03
    drift_low: float = 0.001
    drift_high: float = 0.08

    def __post_init__(self) -> None:
        check_range("OpticalNoise white", self.white_low, self.white_high, "1")
        check_range("OpticalNoise drift", self.drift_low, self.drift_high, "1")

    def disturb(
        self, waves: Waves, rng: np.random.Generator, height: PerRow, *, fs: float, width: float = 1.0
    ) -> Waves:
        r"""Adds both to N rows; ``width`` multiplies the width of their logarithm."""
        n, samples = waves.shape
        white = log_uniform(rng, n, self.white_low, self.white_high, width=width) * height
        drift = log_uniform(rng, n, self.drift_low, self.drift_high, width=width) * height
        noisy = coloured_noise(rng, n, samples, fs=fs, exponent=0.5, band_hz=(0.05, 0.5 * fs))
        noisy *= drift[:, None]
        noisy += white[:, None] * rng.standard_normal(waves.shape, np.float32)
        noisy += waves
        return noisy


@dataclass(frozen=True)
class Recorder:
    r"""Prior of monitor and file: unknown unit, sign and zero, a gain that is set anew, clipping, steps, lost samples.

    Arguments:
        scale_low: Least height of the pulse in the file [unit of the file].
        scale_high: Greatest [unit of the file].
        inverted_share: Share of rows written upside down, as light that is lost and not blood that is there [1].
        rescaled_share: Share of rows in which the monitor changes its gain within the window [1].
        rescaled_sd: Standard deviation of the logarithm of that change [1].
        clipped_share: Share of rows cut off at the top, the bottom or both [1].
        clipped_most: Greatest share of samples beyond each end of a clipped row [1].
        steps_low: Fewest digital steps to a pulse [1].
        steps_high: Most [1].
        analogue_share: Share of rows without steps worth the name [1].
        lost_share: Share of rows with a short stretch of lost samples, bridged by a straight line [1].
        lost_longest: Longest such stretch [s]; the quality gate refuses longer ones.

    Raises:
        ValueError: If a range is not positive and in order, or a share is not in [0, 1].

    Example:
        >>> wave = np.sin(np.arange(1000, dtype=np.float32) / 15)[None]
        >>> Recorder.plain().record(wave, np.random.default_rng(0), fs=125.0).max().round(3)
        np.float32(1.0)
    """

    scale_low: float = 0.05
    scale_high: float = 2000.0
    inverted_share: float = 0.02
    rescaled_share: float = 0.04
    rescaled_sd: float = 0.3
    clipped_share: float = 0.06
    clipped_most: float = 0.03
    steps_low: float = 30.0
    steps_high: float = 2000.0
    analogue_share: float = 0.3
    lost_share: float = 0.05
    lost_longest: float = 0.2

    def __post_init__(self) -> None:
        check_range("Recorder scale", self.scale_low, self.scale_high, "1")
        check_range("Recorder steps", self.steps_low, self.steps_high, "1")
        check_spread("Recorder rescaled_sd", self.rescaled_sd, "1")
        check_spread("Recorder lost_longest", self.lost_longest, "s")
        for name in ("inverted", "rescaled", "clipped", "analogue", "lost"):
            check_share(f"Recorder {name}_share", getattr(self, f"{name}_share"))
        check_share("Recorder clipped_most", 2 * self.clipped_most)

    @classmethod
    def plain(cls) -> Recorder:
        r"""Returns a recorder that writes the wave as it is."""
        return cls(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, analogue_share=1.0, lost_share=0.0)

    def record(self, waves: Waves, rng: np.random.Generator, *, fs: float, width: float = 1.0) -> Waves:
        r"""Writes N rows to a file.

        Arguments:
            waves: Photoplethysmograms.
            rng: Source of randomness.
            fs: Sampling rate [Hz].
            width: Factor on the width of the logarithms of scale, change of gain and steps; shares stay.
        """
        waves = self._rescaled(waves, rng, fs, width)
        waves = self._clipped(waves, rng)
        waves = self._digitised(waves, rng, width)
        waves = self._bridged(waves, rng, fs)
        n = len(waves)
        scale = log_uniform(rng, n, self.scale_low, self.scale_high, width=width)
        sign = np.where(rng.random(n) < self.inverted_share, np.float32(-1), np.float32(1))
        if self.scale_low < self.scale_high:
            waves = waves + (2 * rng.random(n, np.float32) * pulse_height(waves))[:, None]
        return np.asarray(waves * (scale * sign)[:, None], np.float32)

    def _rescaled(self, waves: Waves, rng: np.random.Generator, fs: float, width: float) -> Waves:
        n, samples = waves.shape
        change = np.asarray(np.float32(self.rescaled_sd * width) * rng.standard_normal(n, np.float32))
        change[rng.random(n) >= self.rescaled_share] = 0
        at = rng.random(n, np.float32) * samples
        rows = np.flatnonzero(change)
        late = np.clip((np.arange(samples, dtype=np.float32) - at[rows, None]) / np.float32(fs), -0.5, 0.5) + 0.5
        found = waves.copy()
        found[rows] *= np.exp(change[rows, None] * late)
        return found

    def _clipped(self, waves: Waves, rng: np.random.Generator) -> Waves:
        rows = np.flatnonzero(rng.random(len(waves)) < self.clipped_share)
        beyond = self.clipped_most * rng.random((2, len(waves)))[:, rows] * (rng.random((2, len(waves))) < 0.6)[:, rows]
        ranked, samples = np.sort(waves[rows], axis=-1), waves.shape[-1]
        low, high = (beyond[0] * samples).astype(int), samples - 1 - (beyond[1] * samples).astype(int)
        each = np.arange(len(rows))
        waves[rows] = np.clip(waves[rows], ranked[each, low][:, None], ranked[each, high][:, None])
        return waves

    def _digitised(self, waves: Waves, rng: np.random.Generator, width: float) -> Waves:
        steps = log_uniform(rng, len(waves), self.steps_low, self.steps_high, width=width)
        rows = np.flatnonzero(rng.random(len(waves)) >= self.analogue_share)
        step = (pulse_height(waves[rows]) / steps[rows])[:, None]
        waves[rows] = np.rint(waves[rows] / step) * step
        return waves

    def _bridged(self, waves: Waves, rng: np.random.Generator, fs: float) -> Waves:
        samples = waves.shape[-1]
        longest = min(math.floor(self.lost_longest * fs), samples - 3)
        for row in np.flatnonzero(rng.random(len(waves)) < self.lost_share) if longest >= 2 else ():
            length = int(rng.integers(2, longest, endpoint=True))
            start = int(rng.integers(0, samples - length - 1))
            ends = waves[row, [start, start + length]]
            waves[row, start : start + length + 1] = np.linspace(ends[0], ends[1], length + 1)
        return waves


def coloured_noise(
    rng: np.random.Generator, n: int, samples: int, *, fs: float, exponent: float, band_hz: tuple[float, float]
) -> Waves:
    r"""Noise of amplitude $f^{-a}$ within a band, with standard deviation 1.

    Arguments:
        rng: Source of randomness.
        n: Number of rows N.
        samples: Samples of each.
        fs: Sampling rate [Hz].
        exponent: Exponent $a$ of the amplitude: 0 for white, 0.5 for 1/f power.
        band_hz: Lowest and highest frequency [Hz].

    Example:
        >>> noise = coloured_noise(np.random.default_rng(0), 2, 1000, fs=125.0, exponent=0.5, band_hz=(0.1, 60.0))
        >>> noise.shape, bool(np.allclose(noise.std(axis=1), 1.0, atol=1e-3))
        ((2, 1000), True)
    """
    from scipy.fft import irfft, rfftfreq

    frequency = rfftfreq(samples, 1 / fs)
    inside = (frequency >= band_hz[0]) & (frequency <= band_hz[1]) & (frequency > 0)
    size = np.where(inside, np.where(inside, frequency, 1.0) ** -exponent, 0.0).astype(np.float32)
    lines = np.zeros((n, len(frequency)), np.complex64)
    last = int(np.flatnonzero(inside)[-1]) + 1
    parts = rng.standard_normal((2, n, last), np.float32)
    lines[:, :last] = (parts[0] + 1j * parts[1]) * size[:last]
    noise = irfft(lines, samples, axis=-1, overwrite_x=True)
    return np.asarray(noise / np.maximum(noise.std(axis=-1, keepdims=True), 1e-12), np.float32)
