r"""Heart rate as computed from a window, and the coordinate that measures an estimate's heart rate from it.

The beat rate of a steady pulse can be read to a tenth of a per cent, a thousandth of its prior: far sharper than a
network locates anything. So it is computed, and the flow only learns how far off it is. With $u$ the standardised
unconstrained heart rate and $c(x)$ the same of the computed rate, the flow's first step is

$$
w = a \operatorname{asinh}\frac{u - c(x)}{s},
$$

linear within a per mille of the computed rate and logarithmic beyond, so that steady, irregular and doubtful rhythm
(half or twice the rate) all spread over a few units.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Transform
from torch.nn import functional as F

from .centring import Centring, ColumnStep

__all__ = [
    "RateCentring",
    "beat_rate",
    "coordinate_of",
    "counted_rate",
    "rate_and_repetition",
    "rate_coordinate",
    "repetition",
]

_SHORTEST_S, _LONGEST_S = 0.27, 2.2  # beats of 222 and 27 /min
_NEAR_BEST = 0.7  # the first peak within this of the best is the beat, later ones its multiples
_STEADY = 0.6  # likeness at which a multiple of the beat still counts
_SMALL, _SLOPE = 0.002, 0.5  # s and a
_TYPICAL, _SPREAD = 75.0, 0.35  # centre [1/min] and spread of the logarithm
_RISE_S = 0.1  # over which an upstroke rises
_REACHES_S = (0.064, 0.088, 0.128, 0.176, 0.248, 0.352, 0.496, 0.704, 0.992)  # either side of an upstroke
_REACH = 0.4  # of the beat interval, the nearest of those is taken
_UPSTROKE = 0.5  # least rise of an upstroke, of the typical one
_UNEVEN = 0.08  # relative spread of intervals from which half the reach is tried, and by which it must be less
_AGREE = 0.004  # relative difference below which the repetition, which is sharper, is believed


def beat_rate(x: Float[Tensor, "N T"], fs: float) -> Float[Tensor, " N"]:
    r"""Computes the rate of the beats of windows from how alike they are to themselves when shifted.

    Likeness at a lag is one less half the mean squared difference, in variances: unlike the autocorrelation it peaks
    at the period wherever the window begins and ends. The first high peak gives the beat interval $\tau$; the peaks
    near $2\tau, 4\tau, 8\tau, \ldots$ sharpen it for as long as the pulse is steady enough to repeat.

    Arguments:
        x: Windows.
        fs: Sampling rate [Hz].

    Returns:
        Rate [1/min], between 27 and 222; arbitrary there where nothing is periodic.

    Raises:
        ValueError: If the windows are shorter than two of the shortest beats.

    Example:
        >>> t = torch.arange(1000) / 125.0
        >>> wave = torch.exp(torch.cos(2 * math.pi * t * 71.3 / 60))[None]
        >>> round(float(beat_rate(wave, 125.0)[0]), 1)
        71.3
    """
    return _found(x, fs)[0]


def counted_rate(
    x: Float[Tensor, "N T"], fs: float, repeated: Float[Tensor, " N"] | None = None
) -> Float[Tensor, " N"]:
    r"""Computes the mean rate of the beats of windows, steady or not, by counting upstrokes.

    A repetition is the rate of the steady beats; where beats come irregularly the mean rate, which the heart rate is
    defined by, is another. An upstroke is the steepest rise within $.4\tau$, of at least half the typical size, with
    $\tau$ the interval of `beat_rate`; $n$ of them from $t_1$ to $t_n$ give $60 (n - 1) / (t_n - t_1)$. Where both
    agree within .4 % the repetition is taken, which is sharper, and so it is where fewer than three upstrokes are seen.
    Uneven intervals are counted again within $.2\tau$, as irregular beats may repeat themselves best two by two.

    Arguments:
        x: Windows.
        fs: Sampling rate [Hz].
        repeated: What `beat_rate` gives of them, where that is known already [1/min].

    Returns:
        Rate [1/min], between 27 and 222; arbitrary there where nothing is periodic.

    Raises:
        ValueError: If the windows are shorter than two of the shortest beats.

    Example:
        >>> onsets = torch.tensor([0.3, 1.1, 2.2, 2.9, 4.1, 4.8, 6.0, 6.9])
        >>> t = torch.arange(1000) / 125.0
        >>> since = t[:, None] - onsets
        >>> wave = (torch.sigmoid(since * 60) - torch.sigmoid(since * 20 - 6)).sum(1)
        >>> round(float(counted_rate(wave[None], 125.0)[0]), 1)
        63.6
    """
    interval = 60.0 * fs / (beat_rate(x, fs) if repeated is None else repeated)
    with torch.no_grad():
        k = max(1, round(0.5 * _RISE_S * fs))
        rise = torch.zeros_like(x)
        rise[:, k:-k] = (x[:, 2 * k :] - x[:, : -2 * k]).clamp_min(0.0)
        order = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype)
        rise = rise + (rise > 0) * rise.amax(1, keepdim=True) * 1e-5 * order  # of equal rises the last one counts
        mean, spread = _counted(rise, interval, fs, k)
        rows = (spread > _UNEVEN).nonzero()[:, 0]
        if len(rows):  # or is the repetition that of two beats?
            half, even = _counted(rise[rows], 0.5 * interval[rows], fs, k)
            mean[rows] = torch.where(even < spread[rows] - _UNEVEN, half, mean[rows])
        off = (mean / interval - 1).abs()
        counted = torch.where((mean > _SHORTEST_S * fs) & (mean < _LONGEST_S * fs) & (off >= _AGREE), mean, interval)
    return 60.0 * fs / counted


def _counted(
    rise: Float[Tensor, "N T"], interval: Float[Tensor, " N"], fs: float, edge: int
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Mean interval between upstrokes [samples], 0 for fewer than three, and its relative spread."""
    reaches = torch.tensor([max(2.0, r * fs) for r in _REACHES_S], device=rise.device)
    which = (torch.log(_REACH * interval)[:, None] - reaches.log()).abs().argmin(1)
    mean, spread = torch.zeros_like(interval), torch.full_like(interval, 9.0)
    for w in set(which.tolist()):
        rows = which == w
        mean[rows], spread[rows] = _upstrokes(rise[rows], round(float(reaches[w])), edge)
    return mean, spread


def _upstrokes(rise: Float[Tensor, "N T"], reach: int, edge: int) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Mean interval between the steepest points within a reach, and its relative spread."""

    def highest(within: int) -> Tensor:
        return F.max_pool1d(rise[:, None], 2 * within + 1, 1, within)[:, 0]

    typical = highest(2 * reach).median(1, keepdim=True).values
    upstroke = (rise == highest(reach)) & (rise >= _UPSTROKE * typical) & (rise > 0)
    upstroke[:, : edge + 1] = False  # the steepest point of a beat that is cut off may lie outside
    upstroke[:, -edge - 1 :] = False
    order = torch.arange(rise.shape[1], device=rise.device)
    before = torch.where(upstroke, order, -1).cummax(1).values.roll(1, 1)
    between = upstroke & (before >= 0) & (order > 0)
    n = between.sum(1)
    first, last = upstroke.to(torch.uint8).argmax(1), rise.shape[1] - 1 - upstroke.flip(1).to(torch.uint8).argmax(1)
    mean = (_refine(rise, last) - _refine(rise, first)) / n.clamp_min(1)
    squares = torch.where(between, (order - before - mean[:, None]).square(), 0.0).sum(1) / n.clamp_min(1)
    few = n < 2
    return torch.where(few, 0.0, mean), torch.where(few, 9.0, squares.sqrt() / mean.clamp_min(1.0))


def repetition(x: Float[Tensor, "N T"], fs: float) -> Float[Tensor, " N"]:
    r"""Likeness of windows to themselves shifted by the beat interval that `beat_rate` finds.

    Arguments:
        x: Windows.
        fs: Sampling rate [Hz].

    Returns:
        Likeness, 1 where every beat is as the one before.

    Example:
        >>> t = torch.arange(1000) / 125.0
        >>> wave = torch.exp(torch.cos(2 * math.pi * t * 75 / 60))[None]
        >>> round(float(repetition(wave, 125.0)[0]), 2)
        1.0
    """
    return rate_and_repetition(x, fs)[1]


def rate_and_repetition(x: Float[Tensor, "N T"], fs: float) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    r"""Computes what `beat_rate` and `repetition` give, at the cost of one of them.

    Arguments:
        x: Windows.
        fs: Sampling rate [Hz].

    Returns:
        Rate [1/min] and likeness.

    Example:
        >>> t = torch.arange(1000) / 125.0
        >>> [round(float(v[0])) for v in rate_and_repetition(torch.cos(2 * math.pi * t * 75 / 60)[None], 125.0)]
        [75, 1]
    """
    with torch.no_grad():
        rate, r = _found(x, fs)
        return rate, r.gather(1, (60.0 * fs / rate).round().long()[:, None])[:, 0]


def _found(x: Float[Tensor, "N T"], fs: float) -> tuple[Float[Tensor, " N"], Float[Tensor, "N lags"]]:
    """Rate of the beats [1/min] and the likeness at every lag."""
    first, last = math.ceil(_SHORTEST_S * fs), min(int(_LONGEST_S * fs), int(0.5 * x.shape[-1]))
    if last <= first + 2:
        raise ValueError(f"x must last at least {2.1 * _SHORTEST_S:.1f} s, got {x.shape[-1] / fs:.2f} s")
    with torch.no_grad():
        r = _likeness(x, int(0.8 * x.shape[-1]))
        part = r[:, first : last + 1]
        peak = torch.zeros_like(part, dtype=torch.bool)
        peak[:, 1:-1] = (part[:, 1:-1] > part[:, :-2]) & (part[:, 1:-1] >= part[:, 2:])
        height = torch.where(peak, part, -1.0)
        best = height.max(1, keepdim=True).values
        beat = first + (peak & (height >= _NEAR_BEST * best)).to(torch.uint8).argmax(1)
        beat = torch.where(peak.any(1), beat, first + part.argmax(1))
        interval = beat.to(r.dtype)
        for multiple in (1, 2, 4, 8, 16):
            interval = _sharpen(r, interval, multiple)
    return 60.0 * fs / interval.clamp(first, last), r


def _likeness(x: Float[Tensor, "N T"], lags: int) -> Float[Tensor, "N lags"]:
    """One less half the mean squared difference to the shifted window, in variances: 1 where the wave repeats."""
    length = x.shape[-1]
    x = x - x.mean(-1, keepdim=True)
    x = x / x.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
    product = torch.fft.irfft(torch.fft.rfft(x, n=2 * length).abs().square())[:, :lags]
    energy = x.square()
    head = energy.cumsum(-1).flip(-1)[:, :lags]  # of all samples but the last k
    tail = energy.flip(-1).cumsum(-1).flip(-1)[:, :lags]  # of all but the first k
    likeness: Tensor = 1 - (head + tail - 2 * product) / (2 * (length - torch.arange(lags, device=x.device)))
    return likeness


def _refine(r: Float[Tensor, "N lags"], at: Tensor) -> Float[Tensor, " N"]:
    """Vertex of the parabola through a peak and its neighbours [samples]."""
    at = at.clamp(1, r.shape[-1] - 2)
    left, here, right = (r.gather(1, (at + k)[:, None])[:, 0] for k in (-1, 0, 1))
    bend = left - 2 * here + right
    shift = torch.where(bend < -1e-9, 0.5 * (left - right) / bend, 0.0)
    return at + shift.clamp(-0.5, 0.5)


def _sharpen(r: Float[Tensor, "N lags"], interval: Float[Tensor, " N"], multiple: int) -> Float[Tensor, " N"]:
    """Interval from the peak near one of its multiples, where there is a high one within the lags at hand."""
    reach = 0.1 * interval
    steps = torch.arange(-int(reach.max()) - 1, int(reach.max()) + 2, device=r.device)
    lag = (multiple * interval).round().long()[:, None] + steps
    inside = steps.abs() <= reach[:, None]
    values = torch.where(inside, r.gather(1, lag.clamp(1, r.shape[-1] - 2)), -1.0)
    high, where = values.max(1)
    at = lag.gather(1, where[:, None])[:, 0]
    known = multiple * interval + reach < r.shape[-1] - 2
    good = known & ((high >= _STEADY) | (multiple == 1))
    return torch.where(good, _refine(r, at) / multiple, interval)


def rate_coordinate(x: Float[Tensor, "N T"], fs: float) -> Float[Tensor, "N 1"]:
    r"""Computes the last coordinate of a context that carries the beat rate.

    Arguments:
        x: Windows.
        fs: Sampling rate [Hz].

    Returns:
        $\ln(\mathrm{rate} / 75) / .35$.

    Example:
        >>> t = torch.arange(1000) / 125.0
        >>> abs(float(rate_coordinate(torch.cos(2 * math.pi * t * 75 / 60)[None], 125.0))) < 0.01
        True
    """
    return coordinate_of(beat_rate(x, fs)[:, None])


def coordinate_of(rate: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    r"""Coordinate of a beat rate in a context.

    Arguments:
        rate: Beat rate [1/min].

    Example:
        >>> float(coordinate_of(torch.tensor(75.0)))
        0.0
    """
    return torch.log(rate / _TYPICAL) / _SPREAD


class RateCentring(Centring):
    r"""First step of a flow: heart rate measured from the computed rate, which is the context's last coordinate.

    Arguments:
        index: Position of the heart rate among the outputs.
        low: Least heart rate [1/min].
        high: Greatest heart rate [1/min].

    Example:
        >>> centring = RateCentring(0, 20.0, 240.0)
        >>> step = centring(torch.zeros(3))
        >>> u = torch.tensor([0.3, 0.1])
        >>> torch.allclose(step.inv(step(u)), u, atol=1e-5)
        True
    """

    def forward(self, context: Float[Tensor, "*batch context"]) -> Transform:
        r"""Gives the step of a context.

        Arguments:
            context: Contexts; the last coordinate is that of `rate_coordinate`.
        """
        rate = _TYPICAL * torch.exp(_SPREAD * context[..., -1])
        rate = rate.clamp(1.001 * self.low, 0.999 * self.high)
        z = torch.log(torch.log(rate / self.low) / torch.log(self.high / rate))
        return _Centred(self.standardised(z), self.index)


class _Centred(ColumnStep):
    """The step of one batch of contexts; all other coordinates stay as they are."""

    def _call(self, x: Tensor) -> Tensor:
        return self.replaced(x, _SLOPE * torch.asinh((x[..., self.index] - self.centre) / _SMALL))

    def _inverse(self, y: Tensor) -> Tensor:
        off = torch.sinh((y[..., self.index] / _SLOPE).clamp(-12.0, 12.0))
        return self.replaced(y, self.centre + _SMALL * off)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        off = (x[..., self.index] - self.centre) / _SMALL
        return math.log(_SLOPE / _SMALL) - 0.5 * torch.log1p(off.square())
