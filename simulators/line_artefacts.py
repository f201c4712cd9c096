r"""What happens to a pressure between artery and file now and then: flushes, drift, breathing, dropouts, clipping.

References:
    Li Q. & Clifford G.D. (2012), Physiol Meas 33:1491, https://doi.org/10.1088/0967-3334/33/9/1491 (flush, clipping and
    movement among the artefacts of arterial lines). Shares and sizes without a distribution in the literature are ours:
    what the quality gate lets pass must be in, what it refuses may be rare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from .catheter import check_range, check_share, check_spread, log_uniform

__all__ = ["Clipping", "Drift", "Dropouts", "Flush", "Respiration"]

Waves = Float32[np.ndarray, "N T"]
FLUSH_BAG = (200.0, 300.0)
"""Pressure that a transducer sees while the line is open to the flush bag [mmHg]."""


@dataclass(frozen=True)
class Drift:
    r"""Prior of 1/f noise: its standard deviation is log-uniform.

    Arguments:
        sd_low: Least standard deviation [mmHg].
        sd_high: Greatest standard deviation [mmHg].
        none_share: Share of rows without drift [1].

    Raises:
        ValueError: If the range is not positive and in order, or the share is not in [0, 1].

    Example:
        >>> still = Drift(none_share=1.0).add(np.ones((1, 8), np.float32), np.random.default_rng(0))
        >>> float(still.std())
        0.0
    """

    sd_low: float = 0.02
    sd_high: float = 0.7
    none_share: float = 0.0

    def __post_init__(self) -> None:
        check_range("Drift sd", self.sd_low, self.sd_high, "mmHg")
        check_share("Drift none_share", self.none_share)

    def add(self, waves: Waves, rng: np.random.Generator, *, width: float = 1.0) -> Waves:
        r"""Adds noise whose power falls as 1/f to every row; ``width`` multiplies the width of its logarithm."""
        n, samples = waves.shape
        sd = log_uniform(rng, n, self.sd_low, self.sd_high, width=width)
        sd[rng.random(n) < self.none_share] = 0
        size = np.arange(samples // 2 + 1, dtype=np.float32)
        size[1:] **= -0.5
        phase = rng.random((n, len(size)), np.float32) * np.float32(2 * np.pi)
        pink = np.fft.irfft(size * np.exp(1j * phase), n=samples, axis=-1)
        pink *= (sd / np.maximum(pink.std(axis=-1), 1e-9))[:, None]
        return np.asarray(waves + pink, np.float32)


@dataclass(frozen=True)
class Respiration:
    r"""Prior of what breathing does to the reading itself: the arm and the transducer move.

    Arguments:
        rate_low: Slowest breathing [1/min].
        rate_high: Fastest breathing [1/min].
        sd: Standard deviation of the (half-normal) amplitude [mmHg]: 1 cm of height is .78 mmHg.

    Raises:
        ValueError: If the range is not positive and in order, or the spread is negative.

    Example:
        >>> Respiration(sd=0.0).add(np.ones((1, 2), np.float32), np.random.default_rng(0), fs=125.0).tolist()
        [[1.0, 1.0]]
    """

    rate_low: float = 7.0
    rate_high: float = 35.0
    sd: float = 0.4

    def __post_init__(self) -> None:
        check_range("Respiration rate", self.rate_low, self.rate_high, "1/min")
        check_spread("Respiration sd", self.sd, "mmHg")

    def add(self, waves: Waves, rng: np.random.Generator, *, fs: float, width: float = 1.0) -> Waves:
        r"""Adds a slow sine to every row; ``width`` multiplies its amplitude."""
        n, samples = waves.shape
        rate = log_uniform(rng, n, self.rate_low, self.rate_high, width=1.0)
        amplitude = np.asarray(self.sd * width * np.abs(rng.standard_normal(n, np.float32)), np.float32)
        phase = np.asarray(2 * np.pi * rng.random(n, np.float32), np.float32)
        angle = np.outer(rate * (2 * np.pi / 60 / fs), np.arange(samples)).astype(np.float32)
        return np.asarray(waves + amplitude[:, None] * np.sin(angle + phase[:, None]), np.float32)


@dataclass(frozen=True)
class Dropouts:
    r"""Prior of short losses of samples, bridged by straight lines as the quality gate bridges them.

    Arguments:
        share: Share of rows that lose samples [1].
        length_low: Shortest loss [s].
        length_high: Longest loss [s]; longer ones are refused by the gate.
        most: Most losses in a window.

    Raises:
        ValueError: If the range is not positive and in order, the share not in [0, 1] or ``most`` less than 1.

    Example:
        >>> wave = np.array([[0.0, 1.0, 0.0, 1.0, 0.0]], np.float32)
        >>> Dropouts(share=0.0).bridge(wave, np.random.default_rng(0), fs=125.0).tolist()
        [[0.0, 1.0, 0.0, 1.0, 0.0]]
    """

    share: float = 0.03
    length_low: float = 0.016
    length_high: float = 0.2
    most: int = 3

    def __post_init__(self) -> None:
        check_share("Dropouts share", self.share)
        check_range("Dropouts length", self.length_low, self.length_high, "s")
        if self.most < 1:
            raise ValueError(f"Dropouts most must be at least 1, got {self.most}")

    def bridge(self, waves: Waves, rng: np.random.Generator, *, fs: float) -> Waves:
        r"""Bridges lost samples in some rows."""
        lossy = waves.copy()
        samples = waves.shape[-1]
        for row in np.flatnonzero(rng.random(len(waves)) < self.share):
            for _ in range(int(rng.integers(1, self.most, endpoint=True))):
                length = max(1, round(float(log_uniform(rng, 1, self.length_low, self.length_high, width=1.0)[0]) * fs))
                if length + 2 > samples:
                    continue
                at = int(rng.integers(1, samples - length))
                ends = lossy[row, at - 1], lossy[row, at + length]
                lossy[row, at - 1 : at + length + 1] = np.linspace(*ends, length + 2)
        return lossy


@dataclass(frozen=True)
class Clipping:
    r"""Prior of peaks cut off at the end of the recorder's range.

    Arguments:
        share: Share of rows that are cut [1].
        most: Greatest share of samples that are cut [1]; the gate refuses more than 5 %.

    Raises:
        ValueError: If a share is not in [0, 1].

    Example:
        >>> wave = np.arange(100, dtype=np.float32)[None]
        >>> float(Clipping(share=1.0, most=0.04).cut(wave, np.random.default_rng(0)).max()) > 90
        True
    """

    share: float = 0.02
    most: float = 0.04

    def __post_init__(self) -> None:
        check_share("Clipping share", self.share)
        check_share("Clipping most", self.most)

    def cut(self, waves: Waves, rng: np.random.Generator) -> Waves:
        r"""Cuts the peaks of some rows."""
        limited = waves.copy()
        for row in np.flatnonzero(rng.random(len(waves)) < self.share):
            limited[row] = np.minimum(limited[row], np.quantile(limited[row], 1 - self.most * rng.random()))
        return limited


@dataclass(frozen=True)
class Flush:
    r"""Prior of fast flushes: the line is opened to the bag for a moment, and rings when it is closed.

    Arguments:
        share: Share of simulated waves with a flush [1].
        length_low: Shortest flush [s].
        length_high: Longest flush [s].

    Raises:
        ValueError: If the range is not positive and in order, or the share is not in [0, 1].

    Example:
        >>> wave = np.full((1, 1000), 90.0, np.float32)
        >>> bool(Flush(share=1.0).open(wave, np.random.default_rng(0), fs=125.0).max() >= 200)
        True
    """

    share: float = 0.004
    length_low: float = 0.3
    length_high: float = 1.5

    def __post_init__(self) -> None:
        check_share("Flush share", self.share)
        check_range("Flush length", self.length_low, self.length_high, "s")

    def open(self, waves: Waves, rng: np.random.Generator, *, fs: float) -> Waves:
        r"""Opens the line of some rows to the bag, before the line transmits."""
        flushed = waves.copy()
        for row in np.flatnonzero(rng.random(len(waves)) < self.share):
            length = round(float(log_uniform(rng, 1, self.length_low, self.length_high, width=1.0)[0]) * fs)
            at = int(rng.integers(0, max(1, waves.shape[-1] - length)))
            flushed[row, at : at + length] = rng.uniform(*FLUSH_BAG)
        return flushed
