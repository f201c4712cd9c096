r"""Windkessels of two, three and four elements under a half-sine ejection, integrated with Diffrax.

$$
C \frac{dP_c}{dt} = Q - \frac{P_c - P_v}{R}, \qquad
P = P_c \;[2], \quad P = P_c + R_1 Q \;[3], \quad P = P_c + R_1 (Q - I), \; L \frac{dI}{dt} = R_1 (Q - I) \;[4]
$$

with $L$ beside $R_1$, so that the mean flow meets no $R_1$. Both states decay on their own over a beat, by
$e^{-T/RC}$ and $e^{-TR_1/L}$, so one beat from zero gives the periodic starting state exactly. Pure JAX, any batch.
Units: mmHg, mL, s, 1/min; resistance mmHg s/mL, compliance mL/mmHg, inertance mmHg s^2/mL.

References:
    | Westerhof, Lankhaar & Westerhof (2009), The arterial Windkessel, https://doi.org/10.1007/s11517-008-0359-2
    | Stergiopulos, Westerhof & Westerhof (1999), Am J Physiol 276:H81 (four elements, inertance beside $R_1$)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..waveforms.quantities import cardiac_output, systemic_vascular_resistance
from .parameters import Parameter, ParameterSpace
from .priors import LogUniform
from .registry import Simulated
from .status import DIVERGED, OK
from .windkessel import half_sine_inflow

__all__ = ["ElementWindkessel", "windkessel2", "windkessel3", "windkessel4", "windkessel_beat"]

_PARAMETERS = (
    Parameter("R", "mmHg s/mL", 0.4, 2.5, LogUniform(), "log", "Peripheral resistance."),
    Parameter("C", "mL/mmHg", 0.5, 3.0, LogUniform(), "log", "Arterial compliance."),
    Parameter("R1", "mmHg s/mL", 0.01, 0.2, LogUniform(), "log", "Characteristic resistance."),
    Parameter("L", "mmHg s^2/mL", 0.001, 0.05, LogUniform(), "log", "Inertance beside the characteristic resistance."),
)


def windkessel_beat(
    theta: Float[Array, " D"],
    phase: Float[Array, " time"],
    *,
    stroke_volume: float,
    period: float,
    ejection: float,
    venous_pressure: float,
) -> Float[Array, " time"]:
    r"""Periodic pressure of one windkessel (use `jax.vmap` for many); its number of parameters is that of its elements.

    Arguments:
        theta: R, C, then R1 for three elements, then L for four.
        phase: Times in [0, period] [s].
        stroke_volume: Volume of a beat [mL].
        period: Length of a beat [s].
        ejection: Ejection time [s].
        venous_pressure: Pressure behind the resistance [mmHg].

    Returns:
        Pressure [mmHg].

    Example:
        >>> p = windkessel_beat(jnp.array([1.0, 1.5, 0.05]), jnp.linspace(0.0, 0.8, 81), stroke_volume=70.0, period=0.8,
        ...                     ejection=0.3, venous_pressure=5.0)
        >>> round(float(p[:-1].mean()))
        97
    """
    import diffrax

    n = theta.shape[0]
    resistance, compliance = theta[0], theta[1]
    r1 = theta[2] if n > 2 else jnp.zeros_like(resistance)
    inertance = theta[3] if n > 3 else jnp.ones_like(resistance)
    rates = jnp.stack([1 / (resistance * compliance), r1 / inertance])

    def inflow(t: Array) -> Array:
        return half_sine_inflow(t[None], stroke_volume=stroke_volume, period=2 * period, ejection=ejection)[0]

    def slope(t: Any, x: Any, _: Any) -> Array:
        q = inflow(jnp.asarray(t))
        rise: Array = jnp.stack([q / compliance, rates[1] * q]) - rates * x
        return rise

    kinks = jnp.array([ejection])
    controller = diffrax.ClipStepSizeController(diffrax.PIDController(rtol=1e-6, atol=1e-6), jump_ts=kinks)

    def beat(start: Array) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(slope), diffrax.Tsit5(), 0.0, period, None, start,
            saveat=diffrax.SaveAt(t1=True, dense=True), max_steps=1024, throw=False, adjoint=diffrax.DirectAdjoint(),
            stepsize_controller=controller,
        )  # fmt: skip

    gained = beat(jnp.zeros(2, theta.dtype)).ys[0]
    kept = -jnp.expm1(-rates * period)
    start = jnp.where(kept > 0, gained / jnp.where(kept > 0, kept, 1), 0.0)
    state = jax.vmap(beat(start).evaluate)(phase)
    flow = jax.vmap(inflow)(phase)
    beside = state[:, 1] if n > 3 else jnp.zeros_like(flow)
    pressure: Float[Array, " time"] = venous_pressure + state[:, 0] + r1 * (flow - beside)
    return pressure


@dataclass(frozen=True)
class ElementWindkessel:
    r"""Windkessel of two, three or four elements as a simulator of training sets.

    Arguments:
        elements: Number of elements: 2, 3 or 4.
        fs: Sampling rate [Hz].
        duration_s: Length of a waveform [s].
        heart_rate: Heart rate [1/min].
        stroke_volume: Volume of a beat [mL].
        ejection: Ejection time [s].
        venous_pressure: Pressure behind the resistance [mmHg].

    Raises:
        ValueError: If a value is out of range or the ejection does not fit into the beat.

    Example:
        >>> windkessel = ElementWindkessel(elements=3, duration_s=2.0)
        >>> theta = windkessel.space.sample(np.random.default_rng(0), 3)
        >>> windkessel.simulate(theta, 0).waves.shape
        (3, 1, 250)
    """

    elements: int = 3
    fs: float = 125.0
    duration_s: float = 10.0
    heart_rate: float = 75.0
    stroke_volume: float = 70.0
    ejection: float = 0.3
    venous_pressure: float = 5.0

    version = "1"
    sites = ("aortic-root",)
    quantity_names = ("HR", "SV", "LVET", "C", "MAP", "CVP", "SBP", "DBP", "CO", "SVR")
    units = ("1/min", "mL", "ms", "mL/mmHg", "mmHg", "mmHg", "mmHg", "mmHg", "L/min", "dyn s cm^-5")

    def __post_init__(self) -> None:
        if self.elements not in (2, 3, 4):
            raise ValueError(f"elements must be 2, 3 or 4, got {self.elements}")
        for name in ("fs", "duration_s", "heart_rate", "stroke_volume", "ejection"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.ejection >= self.period:
            raise ValueError(f"ejection must be shorter than the beat of {self.period:.3f} s, got {self.ejection} s")

    @property
    def name(self) -> str:
        r"""Name under which it is built."""
        return f"windkessel{self.elements}"

    @property
    def period(self) -> float:
        r"""Length of a beat [s]."""
        return 60.0 / self.heart_rate

    @property
    def config(self) -> dict[str, object]:
        r"""Its whole configuration."""
        return {name: value for name, value in asdict(self).items() if name != "elements"}

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Its elements, log-uniform about an adult's."""
        return ParameterSpace(_PARAMETERS[: self.elements])

    @cached_property
    def _compiled(self) -> Any:
        phases = jnp.mod(jnp.arange(round(self.duration_s * self.fs)) / self.fs, self.period)
        beat = jnp.linspace(0.0, self.period, 257)[:-1]

        def waves(theta: Array) -> tuple[Array, Array]:
            pressure = windkessel_beat(
                theta, jnp.concatenate([phases, beat]), stroke_volume=self.stroke_volume, period=self.period,
                ejection=self.ejection, venous_pressure=self.venous_pressure,
            )  # fmt: skip
            return pressure[: len(phases)], pressure[len(phases) :]

        return jax.jit(jax.vmap(waves))

    def simulate(self, theta: Float[np.ndarray, "N D"], seed: int) -> Simulated:
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
        if theta.ndim != 2 or theta.shape[1] != self.elements:
            raise ValueError(f"theta must have shape (N, {self.elements}), got {theta.shape}")
        waves, beat = (np.asarray(part) for part in self._compiled(theta))
        mean, flow = beat.mean(-1), cardiac_output(self.heart_rate, self.stroke_volume)
        values = (
            self.heart_rate, self.stroke_volume, 1e3 * self.ejection, theta[:, 1], mean, self.venous_pressure,
            beat.max(-1), beat.min(-1), flow, systemic_vascular_resistance(mean, self.venous_pressure, flow),
        )  # fmt: skip
        columns = [np.broadcast_to(np.asarray(value, np.float32), (len(theta),)) for value in values]
        status = np.where(np.isfinite(waves).all(-1), OK, DIVERGED).astype(np.uint8)
        return Simulated(waves[:, None].astype(np.float32), np.stack(columns, axis=-1), status)


def windkessel2(**config: Any) -> ElementWindkessel:
    r"""The two-element windkessel, integrated.

    Arguments:
        config: Fields of `ElementWindkessel`.

    Returns:
        The simulator.

    Example:
        >>> windkessel2().space.names
        ('R', 'C')
    """
    return ElementWindkessel(2, **config)


def windkessel3(**config: Any) -> ElementWindkessel:
    r"""The three-element windkessel.

    Arguments:
        config: Fields of `ElementWindkessel`.

    Returns:
        The simulator.

    Example:
        >>> windkessel3().space.names
        ('R', 'C', 'R1')
    """
    return ElementWindkessel(3, **config)


def windkessel4(**config: Any) -> ElementWindkessel:
    r"""The four-element windkessel.

    Arguments:
        config: Fields of `ElementWindkessel`.

    Returns:
        The simulator.

    Example:
        >>> windkessel4().space.names
        ('R', 'C', 'R1', 'L')
    """
    return ElementWindkessel(4, **config)
