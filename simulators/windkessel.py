r"""Two-element windkessel: a compliance that a half-sine ejection fills and a resistance empties.

$$
C \frac{dP}{dt} + \frac{P - P_v}{R} = Q(t), \qquad
Q(t) = \frac{\pi V}{2 T_e} \sin \frac{\pi t}{T_e} \; [0 \le t < T_e], \quad Q(t) = 0 \; [T_e \le t < T]
$$

With $\tau = RC$, $a = 1/\tau$, $b = \pi / T_e$ and $q = \pi V / (2 T_e C)$ the periodic solution is, during ejection,

$$
P(t) - P_v = (P_0 - P_v) e^{-a t} + q \, \frac{a \sin bt - b \cos bt + b e^{-a t}}{a^2 + b^2}
$$

and exponential decay after it, with $P_0$ such that a beat ends where it began. Frank's model of 1899; pure JAX, any
batch. Units: mmHg, mL, s, 1/min; resistance mmHg s/mL, compliance mL/mmHg.

References:
    | Westerhof, Lankhaar & Westerhof (2009), The arterial Windkessel, https://doi.org/10.1007/s11517-008-0359-2
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..waveforms.quantities import cardiac_output, systemic_vascular_resistance
from .parameters import Parameter, ParameterSpace
from .priors import LogUniform
from .registry import Simulated
from .status import DIVERGED, OK

__all__ = ["Windkessel", "half_sine_inflow", "windkessel_pressure"]


def half_sine_inflow(
    time: Float[Array, "*batch time"],
    *,
    stroke_volume: Float[Array, "*batch"] | float,
    period: Float[Array, "*batch"] | float,
    ejection: Float[Array, "*batch"] | float,
) -> Float[Array, "*batch time"]:
    r"""Aortic flow of a half-sine ejection.

    Arguments:
        time: Time [s].
        stroke_volume: Volume of a beat [mL].
        period: Length of a beat [s].
        ejection: Ejection time [s].

    Returns:
        Flow [mL/s].

    Example:
        >>> t = jnp.linspace(0.0, 0.8, 801)
        >>> round(float(jnp.trapezoid(half_sine_inflow(t, stroke_volume=70.0, period=0.8, ejection=0.3), t)))
        70
    """
    volume, length, systole = (jnp.asarray(v)[..., None] for v in (stroke_volume, period, ejection))
    phase = jnp.mod(time, length)
    flow = 0.5 * jnp.pi * volume / systole * jnp.sin(jnp.pi * phase / systole)
    return jnp.where(phase < systole, flow, 0.0)


def windkessel_pressure(
    time: Float[Array, "*batch time"],
    *,
    resistance: Float[Array, "*batch"] | float,
    compliance: Float[Array, "*batch"] | float,
    stroke_volume: Float[Array, "*batch"] | float,
    period: Float[Array, "*batch"] | float,
    ejection: Float[Array, "*batch"] | float,
    venous_pressure: Float[Array, "*batch"] | float = 0.0,
) -> Float[Array, "*batch time"]:
    r"""Periodic pressure of the windkessel, in closed form.

    Arguments:
        time: Time since the start of an ejection [s].
        resistance: Peripheral resistance [mmHg s/mL].
        compliance: Arterial compliance [mL/mmHg].
        stroke_volume: Volume of a beat [mL].
        period: Length of a beat [s].
        ejection: Ejection time, shorter than the beat [s].
        venous_pressure: Pressure behind the resistance [mmHg].

    Returns:
        Pressure [mmHg].

    Example:
        >>> p = windkessel_pressure(jnp.linspace(0.0, 0.8, 801)[:-1], resistance=1.0, compliance=1.5,
        ...                         stroke_volume=70.0, period=0.8, ejection=0.3)
        >>> round(float(p.mean()), 1)
        87.5
    """
    r, c, volume, length, systole, venous = (
        jnp.asarray(v)[..., None] for v in (resistance, compliance, stroke_volume, period, ejection, venous_pressure)
    )
    a, b = 1.0 / (r * c), jnp.pi / systole
    q = 0.5 * jnp.pi * volume / (systole * c)

    def forced(t: Float[Array, "*batch time"]) -> Float[Array, "*batch time"]:
        return q * (a * jnp.sin(b * t) - b * jnp.cos(b * t) + b * jnp.exp(-a * t)) / (a**2 + b**2)

    end = forced(systole)
    start = end * jnp.exp(-a * (length - systole)) / -jnp.expm1(-a * length)
    phase = jnp.mod(time, length)
    during = start * jnp.exp(-a * phase) + forced(jnp.minimum(phase, systole))
    after = (start * jnp.exp(-a * systole) + end) * jnp.exp(-a * (phase - systole))
    return venous + jnp.where(phase < systole, during, after)


@dataclass(frozen=True)
class Windkessel:
    r"""Windkessel with free resistance and compliance, as a simulator of training sets.

    Arguments:
        fs: Sampling rate [Hz].
        duration_s: Length of a waveform [s].
        heart_rate: Heart rate [1/min].
        stroke_volume: Volume of a beat [mL].
        ejection: Ejection time [s].
        venous_pressure: Pressure behind the resistance [mmHg].

    Raises:
        ValueError: If a value is not positive or the ejection does not fit into the beat.

    Example:
        >>> windkessel = Windkessel(duration_s=2.0)
        >>> theta = windkessel.space.sample(np.random.default_rng(0), 3)
        >>> windkessel.simulate(theta, 0).waves.shape
        (3, 1, 250)
    """

    fs: float = 125.0
    duration_s: float = 10.0
    heart_rate: float = 75.0
    stroke_volume: float = 70.0
    ejection: float = 0.3
    venous_pressure: float = 5.0

    name = "windkessel"
    version = "1"
    sites = ("aortic-root",)
    quantity_names = ("HR", "SV", "LVET", "C", "MAP", "CVP", "SBP", "DBP", "CO", "SVR")
    units = ("1/min", "mL", "ms", "mL/mmHg", "mmHg", "mmHg", "mmHg", "mmHg", "L/min", "dyn s cm^-5")

    def __post_init__(self) -> None:
        for name in ("fs", "duration_s", "heart_rate", "stroke_volume", "ejection"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.ejection >= self.period:
            raise ValueError(f"ejection must be shorter than the beat of {self.period:.3f} s, got {self.ejection} s")

    @property
    def period(self) -> float:
        r"""Length of a beat [s]."""
        return 60.0 / self.heart_rate

    @property
    def config(self) -> dict[str, object]:
        r"""Its whole configuration."""
        names = ("fs", "duration_s", "heart_rate", "stroke_volume", "ejection", "venous_pressure")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Resistance and compliance, log-uniform about an adult's."""
        return ParameterSpace(
            (
                Parameter("R", "mmHg s/mL", 0.4, 2.5, LogUniform(), "log", "Peripheral resistance."),
                Parameter("C", "mL/mmHg", 0.5, 3.0, LogUniform(), "log", "Arterial compliance."),
            )
        )

    def pressure(self, theta: Float[Array, "*batch 2"], time: Float[Array, " time"]) -> Float[Array, "*batch time"]:
        r"""Pressure at given times.

        Arguments:
            theta: Resistance [mmHg s/mL] and compliance [mL/mmHg].
            time: Time since the start of an ejection [s].

        Returns:
            Pressure [mmHg].
        """
        theta = jnp.asarray(theta)
        return windkessel_pressure(
            time,
            resistance=theta[..., 0],
            compliance=theta[..., 1],
            stroke_volume=self.stroke_volume,
            period=self.period,
            ejection=self.ejection,
            venous_pressure=self.venous_pressure,
        )

    def simulate(self, theta: Float[np.ndarray, "N 2"], seed: int) -> Simulated:
        r"""Simulates a batch of rows.

        Arguments:
            theta: Parameters.
            seed: Not used: the model has no randomness.

        Returns:
            Waveforms [mmHg], quantities and status of each row.

        Raises:
            ValueError: If ``theta`` has another shape.
        """
        theta = np.asarray(theta, dtype=np.float32)
        if theta.ndim != 2 or theta.shape[1] != 2:
            raise ValueError(f"theta must have shape (N, 2), got {theta.shape}")
        time = jnp.arange(round(self.duration_s * self.fs), dtype=jnp.float32) / self.fs
        beat = jnp.linspace(0.0, self.period, 1025, dtype=jnp.float32)[:-1]
        waves, one = jax.jit(lambda p: (self.pressure(p, time), self.pressure(p, beat)))(theta)
        return self._rows(theta, np.asarray(waves)[:, None], np.asarray(one))

    def _rows(
        self, theta: Float[np.ndarray, "N 2"], waves: Float[np.ndarray, "N 1 T"], beat: Float[np.ndarray, "N K"]
    ) -> Simulated:
        mean = beat.mean(-1)
        flow = cardiac_output(self.heart_rate, self.stroke_volume)
        values = {
            "HR": self.heart_rate,
            "SV": self.stroke_volume,
            "LVET": 1e3 * self.ejection,
            "C": theta[:, 1],
            "MAP": mean,
            "CVP": self.venous_pressure,
            "SBP": beat.max(-1),
            "DBP": beat.min(-1),
            "CO": flow,
            "SVR": systemic_vascular_resistance(mean, self.venous_pressure, flow),
        }
        columns = [np.broadcast_to(np.asarray(values[n], np.float32), (len(theta),)) for n in self.quantity_names]
        status = np.where(np.isfinite(waves).all((1, 2)), OK, DIVERGED).astype(np.uint8)
        return Simulated(waves.astype(np.float32), np.stack(columns, axis=-1), status)
