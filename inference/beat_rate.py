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
from torch import Tensor, nn
from torch.distributions import Transform, constraints

__all__ = ["RateCentring", "beat_rate", "coordinate_of", "rate_and_repetition", "rate_coordinate", "repetition"]

_SHORTEST_S, _LONGEST_S = 0.27, 2.2  # beats of 222 and 27 /min
_NEAR_BEST = 0.7  # the first peak within this of the best is the beat, later ones its multiples
_STEADY = 0.6  # likeness at which a multiple of the beat still counts
_SMALL, _SLOPE = 0.002, 0.5  # s and a
_TYPICAL, _SPREAD = 75.0, 0.35  # centre [1/min] and spread of the logarithm


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


class RateCentring(nn.Module):
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

    mean: Tensor
    sd: Tensor

    def __init__(self, index: int, low: float, high: float) -> None:
        super().__init__()
        self.index, self.low, self.high = index, low, high
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("sd", torch.ones(()))

    def fit(self, mean: Float[Tensor, ""], sd: Float[Tensor, ""]) -> None:
        r"""Takes over how the heart rate's unconstrained coordinate is standardised.

        Arguments:
            mean: Its mean.
            sd: Its standard deviation.
        """
        self.mean.copy_(mean)
        self.sd.copy_(sd)

    def forward(self, context: Float[Tensor, "*batch context"]) -> Transform:
        r"""Gives the step of a context.

        Arguments:
            context: Contexts; the last coordinate is that of `rate_coordinate`.
        """
        rate = _TYPICAL * torch.exp(_SPREAD * context[..., -1])
        rate = rate.clamp(1.001 * self.low, 0.999 * self.high)
        z = torch.log(torch.log(rate / self.low) / torch.log(self.high / rate))
        return _Centred((z - self.mean) / self.sd, self.index)


class _Centred(Transform):
    """The step of one batch of contexts; all other coordinates stay as they are."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, centre: Tensor, index: int) -> None:
        super().__init__()
        self.centre, self.index = centre, index

    def _replaced(self, values: Tensor, column: Tensor) -> Tensor:
        at = torch.arange(values.shape[-1], device=values.device) == self.index
        return torch.where(at, column[..., None], values)

    def _call(self, x: Tensor) -> Tensor:
        return self._replaced(x, _SLOPE * torch.asinh((x[..., self.index] - self.centre) / _SMALL))

    def _inverse(self, y: Tensor) -> Tensor:
        off = torch.sinh((y[..., self.index] / _SLOPE).clamp(-12.0, 12.0))
        return self._replaced(y, self.centre + _SMALL * off)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        off = (x[..., self.index] - self.centre) / _SMALL
        return math.log(_SLOPE / _SMALL) - 0.5 * torch.log1p(off.square())
