r"""What the clinical population ties together, for an emulator: a beat is smooth in what deviations stand for.

Outputs of the reference network are deviations from what rate, stroke volume and mean pressure lead one to expect
(`simulators/clinical.py`). Mean wave speed is a table of mean pressure, level below 57.5 mmHg: in the deviation alone
a beat has a kink at every knot of the table, and an emulator follows no kink. Here the deviations are mapped to log
stroke volume, log ejection time and log wave speed by the same law, without JAX, other parameters at the median.

Places are shares of each output's interval. A *straight* place counts the wave speed from nothing: its deviation plus
what mean pressure adds to it, so that the beat is smooth in all straight places; the shift keeps volumes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["LAW_OUTPUTS", "ClinicalLaw"]

LAW_OUTPUTS = (
    "stroke_volume_deviation", "ejection_time_deviation", "mean_pressure", "wave_speed_deviation",
    "diameter_deviation", "bed_compliance",
)  # fmt: skip
"""Outputs of the law, in their order."""
VOLUME, EJECTION, PRESSURE, SPEED = range(4)
_KNOTS = (57.5, 64.5, 71.5, 78.5, 85.5, 92.5, 99.5, 106.5, 117.0, 131.0, 145.0, 159.0, 173.0)  # [mmHg]
_VOLUMES, _TIMES, _SPEEDS, _PRESSURES = (15.0, 150.0), (150.0, 420.0), (3.5, 22.0), (40.0, 140.0)
_VOLUME_SD, _TIME_SD, _SPEED_SD, _WIDTH = 0.9, 0.7, 0.35, 6.0  # of deviations, and of their interval
_ENDS = (0.05, 0.95)  # between which expected values are kept


def _log_odds(value: Tensor, low: Tensor | float, high: Tensor | float) -> tuple[Tensor, Tensor]:
    """A value on the logistic scale, and its slope."""
    share = (value - low) / (high - low)
    near = share.clamp(*_ENDS)
    return torch.logit(near), (share == near) / ((high - low) * near * (1 - near))


def _logistic(place: Tensor, low: Tensor | float, high: Tensor | float) -> tuple[Tensor, Tensor]:
    """A value from the logistic scale, and its slope."""
    share = torch.sigmoid(place)
    return low + (high - low) * share, (high - low) * share * (1 - share)


class ClinicalLaw(nn.Module):
    r"""Inputs of an emulator from places of the outputs.

    Example:
        >>> law = ClinicalLaw()
        >>> law.inputs(torch.tensor([75.0]).double(), torch.full((1, 6), 0.5).double())[0].shape
        torch.Size([1, 6])
    """

    pressures: Tensor
    speeds: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pressures", torch.tensor(_KNOTS).double())
        self.register_buffer("speeds", torch.linspace(5.0, 15.0, len(_KNOTS)).double())

    def fit(self) -> None:
        r"""Takes over the table of wave speed at the median age from the simulator, which needs JAX."""
        import jax.numpy as jnp

        from ..simulators.clinical import CLINICAL
        from ..simulators.patient import typical_parameters
        from ..simulators.population import expected_pulse_wave_velocity

        age = float(typical_parameters()[0][CLINICAL.index("age")])
        speeds = expected_pulse_wave_velocity(jnp.asarray(age), jnp.asarray(_KNOTS))
        self.speeds.copy_(torch.tensor(speeds.tolist()))

    def shift(self, pressure: Float[Tensor, "*batch"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        r"""What mean pressure adds to the share of the wave speed, and its slope.

        Arguments:
            pressure: Share of its interval that lies below mean pressure.

        Example:
            >>> float(ClinicalLaw().shift(torch.zeros(1).double())[1])  # level below the first knot
            0.0
        """
        low, high = _PRESSURES
        mean = low + (high - low) * pressure
        at = torch.searchsorted(self.pressures, mean.contiguous(), right=True).clamp(1, len(_KNOTS) - 1) - 1
        rise = (self.speeds[at + 1] - self.speeds[at]) / (self.pressures[at + 1] - self.pressures[at])
        kept = mean.clamp(self.pressures[0], self.pressures[-1])
        odds, slope = _log_odds(self.speeds[at] + rise * (kept - self.pressures[at]), *_SPEEDS)
        per = 1 / (_SPEED_SD * _WIDTH)
        return odds * per, (kept == mean) * slope * rise * (high - low) * per

    def inputs(
        self, rate: Float[Tensor, " N"], straight: Float[Tensor, "N 6"]
    ) -> tuple[Float[Tensor, "N 6"], Float[Tensor, "N 6 6"]]:
        r"""Log stroke volume [mL], log ejection time [ms], mean pressure, log wave speed [m/s] and the last two places.

        Arguments:
            rate: Heart rate [1/min].
            straight: Straight places.

        Returns:
            The inputs; their slopes with respect to straight places.
        """
        deviation = _WIDTH * (straight - 0.5)
        usual = 65.0 * (rate / 75.0) ** -0.4
        volume, d_volume = _logistic(_log_odds(usual, *_VOLUMES)[0] + _VOLUME_SD * deviation[:, VOLUME], *_VOLUMES)
        longest = (0.58 * 60000.0 / rate).clamp(1.25 * _TIMES[0], _TIMES[1])
        odds, d_odds = _log_odds(413.0 - 1.7 * rate + 0.5 * (volume - usual), _TIMES[0], longest)
        time, d_time = _logistic(odds + _TIME_SD * deviation[:, EJECTION], _TIMES[0], longest)
        speed, d_speed = _logistic(_SPEED_SD * _WIDTH * (straight[:, SPEED] - 0.5), *_SPEEDS)
        found, slopes = straight.clone(), torch.eye(6, dtype=straight.dtype, device=straight.device)
        found[:, VOLUME], found[:, EJECTION], found[:, SPEED] = volume.log(), time.log(), speed.log()
        slopes = slopes.repeat(len(straight), 1, 1)
        d_volume = d_volume * _VOLUME_SD * _WIDTH
        slopes[:, VOLUME, VOLUME] = d_volume / volume
        slopes[:, EJECTION, VOLUME] = d_time * d_odds * 0.5 * d_volume / time
        slopes[:, EJECTION, EJECTION] = d_time * _TIME_SD * _WIDTH / time
        slopes[:, SPEED, SPEED] = d_speed * _SPEED_SD * _WIDTH / speed
        return found, slopes
