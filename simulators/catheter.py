r"""Fluid-filled catheter line and its transducer: a second-order system between the artery and the monitor.

With natural frequency $f_n$ [Hz] and damping $\zeta$ [1],

$$
H(f) = \frac{1}{1 - (f/f_n)^2 + 2 i \zeta f/f_n}.
$$

*Edges.* The line is applied by a Fourier transform over the wave and a short smooth bridge from its end back to its
beginning. The system is causal and forgets at the rate $\sigma = 2 \pi f_n (\zeta - \sqrt{\max(\zeta^2 - 1, 0)})$
[1/s], so whatever stands before the first sample weighs at most as $e^{-\sigma t}$ at time $t$. The window starts at
$t_0 \ge \ln(1/\epsilon) / \sigma$ with $\epsilon = 10^{-3}$: what is left of the wrap-around is under $\epsilon$ times
the line's ringing at the first sample, below .05 mmHg for a pulse of up to 25 Hz (a test compares with
`scipy.signal.lsim`). A line too slow to forget within the time at hand has its natural frequency raised until it does;
with 2 s at hand this never happens at the default prior width.

References:
    Gardner RM. Direct blood pressure measurement: dynamic response requirements. Anesthesiology 1981; 54: 227-236,
    https://doi.org/10.1097/00000542-198103000-00010 (the second-order model and what it must be able to follow).
    Schwid HA. Frequency response evaluation of radial artery catheter-manometer systems: sinusoidal frequency analysis
    versus flush method. J Clin Monit 1988; 4: 181-185 (30 lines in use, nearly all underdamped).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Float32

__all__ = ["CatheterLine"]

FORGOTTEN = 1e-3
r"""Share $\epsilon$ of the line's first transient that may be left where a window starts."""

BRIDGE_S = 0.8
"""Length of the bridge from the end of a wave back to its beginning [s]."""

Waves = Float32[np.ndarray, "N T"]
PerRow = Float32[np.ndarray, " N"]


@dataclass(frozen=True)
class CatheterLine:
    r"""Prior of the fluid-filled line: log-uniform natural frequency and damping; some lines are ideal.

    Arguments:
        frequency_low: Least natural frequency [Hz]: Gardner (1981) calls lines under 7 Hz unacceptable.
        frequency_high: Greatest natural frequency [Hz]; a stiffer line passes the pulse unchanged.
        damping_low: Least damping [1]; lines in use are mostly underdamped (Schwid 1988).
        damping_high: Greatest damping [1], a line with a bubble, a clot or a kink.
        ideal_share: Share of rows whose line changes nothing [1].

    Raises:
        ValueError: If a range is not positive and in order, or the share is not in [0, 1].

    Example:
        >>> line = CatheterLine()
        >>> frequency, damping = line.draw(np.random.default_rng(0), 4)
        >>> frequency.shape, bool(np.all((damping >= 0.15) & (damping <= 1.2)))
        ((4,), True)
    """

    frequency_low: float = 8.0
    frequency_high: float = 40.0
    damping_low: float = 0.15
    damping_high: float = 1.2
    ideal_share: float = 0.25

    def __post_init__(self) -> None:
        check_range("CatheterLine frequency", self.frequency_low, self.frequency_high, "Hz")
        check_range("CatheterLine damping", self.damping_low, self.damping_high, "1")
        check_share("CatheterLine ideal_share", self.ideal_share)

    def draw(self, rng: np.random.Generator, n: int, *, width: float = 1.0) -> tuple[PerRow, PerRow]:
        r"""Draws the lines of N rows.

        Arguments:
            rng: Source of randomness.
            n: Number of rows N.
            width: Factor on the width of both log-uniform priors about their centres.

        Returns:
            Natural frequency [Hz], infinite for an ideal line, and damping [1].
        """
        frequency = log_uniform(rng, n, self.frequency_low, self.frequency_high, width=width)
        damping = log_uniform(rng, n, self.damping_low, self.damping_high, width=width)
        frequency[rng.random(n) < self.ideal_share] = np.inf
        return frequency, damping

    @staticmethod
    def response(
        frequencies: Float[np.ndarray, " F"], natural_frequency: PerRow, damping: PerRow
    ) -> Complex[np.ndarray, "N F"]:
        r"""Transfer function $H(f)$ of each row.

        Arguments:
            frequencies: Frequencies [Hz].
            natural_frequency: Natural frequency [Hz]; infinite for an ideal line.
            damping: Damping [1].

        Returns:
            $H(f)$ [1], complex64.

        Example:
            >>> line = CatheterLine.response(np.array([10.0]), np.array([10.0]), np.array([0.5]))
            >>> bool(np.allclose(line, -1j))  # at the natural frequency: 1 / (2 i zeta)
            True
        """
        ratio = np.asarray(frequencies, np.float32) / np.asarray(natural_frequency, np.float32)[:, None]
        denominator = np.empty(ratio.shape, np.complex64)
        denominator.real = 1 - np.square(ratio)
        denominator.imag = np.asarray(2 * damping, np.float32)[:, None] * ratio
        return np.reciprocal(denominator, out=denominator)

    @staticmethod
    def decay_rate(natural_frequency: PerRow, damping: PerRow) -> PerRow:
        r"""Rate $\sigma$ at which a line forgets its past, that of its slower pole [1/s].

        Arguments:
            natural_frequency: Natural frequency [Hz].
            damping: Damping [1].

        Example:
            >>> rate = CatheterLine.decay_rate(np.array([10.0, 10.0]), np.array([0.2, 2.0]))
            >>> np.round(rate / (2 * np.pi * 10), 3).tolist()
            [0.2, 0.268]
        """
        over = np.maximum(damping, 1.0)  # for over-critical lines z - sqrt(z^2 - 1) = 1 / (z + sqrt(z^2 - 1))
        slower = np.where(damping < 1, damping, 1 / (over + np.sqrt(np.square(over) - 1)))
        return np.asarray(2 * math.pi * natural_frequency * slower)

    @classmethod
    def settled(cls, natural_frequency: PerRow, damping: PerRow, *, margin_s: float) -> tuple[PerRow, PerRow]:
        r"""Makes every line fast enough to settle in the time at hand, and says how long each takes.

        Arguments:
            natural_frequency: Natural frequency [Hz].
            damping: Damping [1].
            margin_s: Time at hand before the latest start of a window [s].

        Returns:
            Natural frequency, raised where the line would take longer than ``margin_s`` [Hz], and the time after which
            no more than one thousandth of the first transient is left [s].
        """
        settling_s = math.log(1 / FORGOTTEN) / cls.decay_rate(natural_frequency, damping)
        return natural_frequency * np.maximum(settling_s / margin_s, 1), np.minimum(settling_s, margin_s)

    @classmethod
    def transmit(cls, waves: Waves, natural_frequency: PerRow, damping: PerRow, *, fs: float) -> Waves:
        r"""Sends waves through the line; the first moments still hold the transient (see ``settled``).

        Arguments:
            waves: Pressure at the artery [mmHg].
            natural_frequency: Natural frequency [Hz].
            damping: Damping [1].
            fs: Sampling rate [Hz].

        Returns:
            Pressure at the transducer [mmHg], same shape.

        Example:
            >>> steady = np.full((1, 1250), 90.0, np.float32)  # a constant pressure passes unchanged
            >>> out = CatheterLine.transmit(steady, np.array([12.0]), np.array([0.2]), fs=125.0)
            >>> bool(np.allclose(out, 90.0, atol=1e-3))
            True
        """
        from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

        n_samples = waves.shape[-1]
        total = next_fast_len(n_samples + math.ceil(BRIDGE_S * fs), real=True)
        closed = np.concatenate([waves, bridge(waves, total - n_samples)], axis=-1)
        spectrum = rfft(closed, axis=-1, overwrite_x=True)
        spectrum *= cls.response(rfftfreq(total, 1 / fs), natural_frequency, damping)
        return np.asarray(irfft(spectrum, total, axis=-1, overwrite_x=True)[:, :n_samples])


def bridge(waves: Waves, n_samples: int) -> Waves:
    r"""Cubic from the last sample back to the first that meets both with their slopes, so that the circle is smooth.

    Arguments:
        waves: Waves.
        n_samples: Length of the bridge in samples.

    Example:
        >>> bridge(np.array([[0.0, 1.0, 1.0, 0.0]], np.float32), 3).shape
        (1, 3)
    """
    t = np.arange(1, n_samples + 1, dtype=np.float32) / (n_samples + 1)
    basis = np.stack([(1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2, t**2 * (3 - 2 * t), t**2 * (t - 1)])
    slope_end, slope_start = waves[:, -1] - waves[:, -2], waves[:, 1] - waves[:, 0]
    steps = np.float32(n_samples + 1)
    ends = np.stack([waves[:, -1], slope_end * steps, waves[:, 0], slope_start * steps], axis=-1)
    return np.asarray(ends @ basis)


def log_uniform(rng: np.random.Generator, n: int, low: float, high: float, *, width: float) -> PerRow:
    r"""Draws N values, uniform in their logarithm, with the range widened about its geometric centre.

    Arguments:
        rng: Source of randomness.
        n: Number of values N.
        low: Least value at ``width=1``.
        high: Greatest value at ``width=1``.
        width: Factor on the width of the logarithm's range.

    Example:
        >>> np.round(log_uniform(np.random.default_rng(0), 2, 1.0, 100.0, width=0.0), 4).tolist()
        [10.0, 10.0]
    """
    centre, half = 0.5 * (math.log(high) + math.log(low)), 0.5 * math.log(high / low) * width
    return np.asarray(np.exp(centre + half * (2 * rng.random(n, np.float32) - 1), dtype=np.float32))


def check_range(name: str, low: float, high: float, unit: str) -> None:
    r"""Raises ValueError unless ``0 < low <= high``."""
    if not (math.isfinite(high) and 0 < low <= high):
        raise ValueError(f"{name} must have 0 < low <= high, got [{low}, {high}] {unit}")


def check_share(name: str, share: float) -> None:
    r"""Raises ValueError unless ``share`` is in [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must be a share in [0, 1], got {share}")


def check_spread(name: str, value: float, unit: str) -> None:
    r"""Raises ValueError unless ``value`` is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value} {unit}")
