r"""Quantities and status of simulated adults, the same for the linear and the non-linear network.

Units: as in `waveforms.quantities`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from ...waveforms.quantities import cardiac_output, systemic_vascular_resistance
from ..population import Subject
from ..status import DIVERGED, OK, TERMINAL_MISMATCH, UNPHYSIOLOGICAL
from .rhythm import BeatTrain

__all__ = ["QUANTITY_UNITS", "judge_rows", "network_quantities"]

QUANTITY_UNITS = {
    "HR": "1/min", "SV": "mL", "LVET": "ms", "PWV": "m/s", "C": "mL/mmHg", "MAP": "mmHg", "CVP": "mmHg",
    "SBP": "mmHg", "DBP": "mmHg", "CO": "L/min", "SVR": "dyn s cm^-5",
}  # fmt: skip


def network_quantities(
    subject: Subject,
    train: BeatTrain,
    compliance: Float[Any, " B"],
    mean: Float[Any, " B"],
    extremes: tuple[Float[Any, " B"], Float[Any, " B"]],
) -> Float[Array, "B Q"]:
    """Quantities of a batch of adults, in the order of `QUANTITY_UNITS`.

    Arguments:
        subject: The adults.
        train: Their beats.
        compliance: Total arterial compliance [mL/mmHg].
        mean: Mean aortic root pressure [mmHg].
        extremes: Systolic and diastolic aortic root pressure [mmHg].

    Returns:
        Quantities.

    Example:
        >>> network_quantities.__name__
        'network_quantities'
    """
    real = jnp.arange(train.onset.shape[-1]) < train.n_beats[:, None]

    def over_beats(values: Array) -> Array:
        return jnp.where(real, values, 0.0).sum(-1) / train.n_beats

    heart_rate = 60.0 * train.n_beats / train.period
    volume = over_beats(train.stroke_volume)
    output = cardiac_output(heart_rate, volume)
    resistance = systemic_vascular_resistance(mean, subject.venous_pressure, output)
    return jnp.stack(
        [
            heart_rate, volume, 1e3 * over_beats(train.ejection_time), subject.pulse_wave_velocity, compliance, mean,
            subject.venous_pressure, *extremes, output, resistance,
        ],
        axis=-1,
    )  # fmt: skip


def judge_rows(
    quantities: Float[Any, "B Q"],
    lowest: Float[Any, " B"],
    highest: Float[Any, " B"],
    mismatch: Bool[Any, " B"],
) -> UInt8[Array, " B"]:
    """Status of each row: not finite, not of a living adult, a terminal that reflects negatively, or ok.

    Arguments:
        quantities: Quantities, in the order of `QUANTITY_UNITS`.
        lowest: Lowest pressure anywhere in the row's waves [mmHg].
        highest: Highest pressure [mmHg].
        mismatch: Whether a terminal's characteristic impedance exceeds its resistance.

    Returns:
        Codes of `simulators.status`.

    Example:
        >>> row = jnp.array([[70, 70, 300, 7, 1.5, 90, 5, 120, 75, 4.9, 1300.0]])
        >>> judge_rows(row, jnp.array([70.0]), jnp.array([120.0]), jnp.array([False])).tolist()
        [0]
    """
    systolic, diastolic, mean, resistance = (quantities[:, i] for i in (7, 8, 5, 10))
    alive = (diastolic > 5.0) & (systolic < 300.0) & (systolic - diastolic > 2.0) & (mean > 25.0) & (resistance > 0)
    alive &= (lowest > 0.0) & (highest < 350.0)
    finite = jnp.isfinite(lowest) & jnp.isfinite(highest) & jnp.isfinite(quantities).all(-1)
    status = jnp.where(mismatch, TERMINAL_MISMATCH, OK)
    status = jnp.where(alive, status, UNPHYSIOLOGICAL)
    return jnp.where(finite, status, DIVERGED).astype(jnp.uint8)
