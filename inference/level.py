r"""Mean pressure as computed from a window, and the coordinate that measures an estimate's mean pressure from it.

A window shows its mean to a tenth of a millimetre of mercury; what it does not show is how far the transducer's zero
and gain are off. A network that has to carry that mean through all its layers adds errors of its own on waves unlike
those it was trained on. So it is computed, and the flow only learns how far the mean pressure is from it: with $u$ the
standardised unconstrained mean pressure and $c(x)$ the same of the computed mean, the flow's first step is
$w = (u - c(x)) / s$. A window of several channels that holds no pressure has no mean: there $w = u$.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Transform

from .centring import Centring, ColumnStep

__all__ = ["UNKNOWN", "LevelCentring", "level_coordinate", "whole_beats_mean"]

_TYPICAL, _SPREAD = 90.0, 25.0  # centre and spread of a context's coordinate [mmHg]
_SMALL = 0.25  # s
UNKNOWN = -4.0
"""Coordinate of a window without a pressure; exactly this, and no pressure's, which would be -10 mmHg."""


def whole_beats_mean(x: Float[Tensor, "N T"], rate: Float[Tensor, " N"], fs: float) -> Float[Tensor, " N"]:
    r"""Computes the mean of windows over as many whole beats as they hold, averaged over where to begin.

    Arguments:
        x: Windows.
        rate: Beat rate [1/min].
        fs: Sampling rate [Hz].

    Returns:
        Mean, in the unit of the windows.

    Example:
        >>> t = torch.arange(1000) / 125.0
        >>> wave = 90 + 20 * torch.cos(2 * torch.pi * t * 50 / 60)[None]
        >>> round(float(whole_beats_mean(wave, torch.tensor([50.0]), 125.0)[0]), 2), round(float(wave.mean()), 2)
        (90.0, 89.6)
    """
    samples = x.shape[-1]
    interval = (60.0 * fs / rate).clamp(1.0, samples)
    length = ((samples / interval).floor() * interval).round().long().clamp(1, samples)
    total = torch.cat((torch.zeros_like(x[:, :1]), x.cumsum(-1)), -1).double()
    begin = torch.arange(samples + 1, device=x.device)
    end = (begin + length[:, None]).clamp_max(samples)
    inside = begin + length[:, None] <= samples
    sums = torch.where(inside, total.gather(1, end) - total, 0.0).sum(1)
    return (sums / (inside.sum(1) * length)).to(x.dtype)


def level_coordinate(x: Float[Tensor, "N T"], rate: Float[Tensor, " N"], fs: float) -> Float[Tensor, "N 1"]:
    r"""Computes the coordinate of a context that carries the mean pressure.

    Arguments:
        x: Windows [mmHg].
        rate: Beat rate [1/min].
        fs: Sampling rate [Hz].

    Returns:
        $(\mathrm{mean} - 90) / 25$.

    Example:
        >>> float(level_coordinate(torch.full((1, 1000), 90.0), torch.tensor([60.0]), 125.0))
        0.0
    """
    return ((whole_beats_mean(x, rate, fs) - _TYPICAL) / _SPREAD)[:, None]


class LevelCentring(Centring):
    r"""Step of a flow: mean pressure measured from the computed mean, which is a coordinate of the context.

    Arguments:
        index: Position of the mean pressure among the outputs.
        low: Least mean pressure [mmHg].
        high: Greatest mean pressure [mmHg].
        at: Position of the computed mean in the context.

    Example:
        >>> centring = LevelCentring(0, 15.0, 220.0, -2)
        >>> step = centring(torch.zeros(3))
        >>> u = torch.tensor([0.3, 0.1])
        >>> torch.allclose(step.inv(step(u)), u, atol=1e-6)
        True
    """

    def __init__(self, index: int, low: float, high: float, at: int) -> None:
        super().__init__(index, low, high)
        self.at = at

    def forward(self, context: Float[Tensor, "*batch context"]) -> Transform:
        r"""Gives the step of a context.

        Arguments:
            context: Contexts; one coordinate is that of `level_coordinate`, or `UNKNOWN`.
        """
        width = self.high - self.low
        coordinate = context[..., self.at]
        level = _TYPICAL + _SPREAD * coordinate
        level = level.clamp(self.low + 1e-3 * width, self.high - 1e-3 * width)
        z = torch.log((level - self.low) / (self.high - level))
        known = coordinate != UNKNOWN
        small = torch.where(known, _SMALL, 1.0).to(z.dtype)
        return _Shifted(torch.where(known, self.standardised(z), 0.0), self.index, small)


class _Shifted(ColumnStep):
    """The step of one batch of contexts; all other coordinates stay as they are."""

    def __init__(self, centre: Tensor, index: int, small: Tensor) -> None:
        super().__init__(centre, index)
        self.small = small

    def _call(self, x: Tensor) -> Tensor:
        return self.replaced(x, (x[..., self.index] - self.centre) / self.small)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.replaced(y, self.centre + self.small * y[..., self.index])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -torch.log(self.small).expand_as(x[..., self.index])
