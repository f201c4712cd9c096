r"""Reference models: simulators with a known likelihood, on which a sampler and an estimator must agree.

A reference model is one steady beat, given by its Fourier coefficients $c_k(\theta)$, repeated over the window, and
seen through a transducer with Gaussian noise whose spectrum is known (white, of standard deviation $\sigma$):

$$
x_i = g \Big( c_0 + 2 \operatorname{Re} \sum_{k=1}^{K} c_k e^{2 \pi \mathrm{i} k (t_i - s)/T} \Big) + o + \sigma
\varepsilon_i
$$

with gain $g$, offset $o$ and start $s$. Two are here: a windkessel under a half-sine ejection, six parameters, and the
linear network of 116 arteries, seven free parameters of the clinical population with all others at the prior's median;
with gain, offset and start at most ten unknowns. What a real recording has and a reference model leaves out (line,
digitisation, unknown noise, beats that differ) is named by ``left_out``. Units: mmHg, mL, s, ms, 1/min.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..waveforms.quantities import cardiac_output, systemic_vascular_resistance
from .parameters import Parameter, ParameterSpace
from .priors import LogUniform, TruncatedLogNormal, TruncatedNormal
from .registry import Simulated
from .status import DIVERGED, OK

__all__ = ["NETWORK_FREE", "PeriodicModel", "ReferenceNetwork", "ReferenceWindkessel", "periodic_wave"]

NETWORK_FREE = (
    "heart_rate", "stroke_volume_deviation", "ejection_time_deviation", "mean_pressure", "wave_speed_deviation",
    "diameter_deviation", "bed_compliance",
)  # fmt: skip
"""Parameters of the clinical population that the reference network leaves free."""
_RATES = (40.0, 150.0)  # [1/min]


class PeriodicModel(Protocol):
    r"""A simulator of one steady beat by its Fourier coefficients.

    Example:
        >>> model: PeriodicModel = ReferenceWindkessel()
        >>> model.rate_name
        'HR'
    """

    rate_name: str
    costly: bool

    @property
    def space(self) -> ParameterSpace:
        r"""Its parameters and their prior."""

    def coefficients(self, theta: Float[Array, " D"]) -> tuple[Float[Array, ""], Complex[Array, " K1"]]:
        r"""Period [s] and coefficients [mmHg] of one row."""

    def middles(self, theta: Float[Array, " D"]) -> Float[Array, " D"]:
        r"""What a parameter is counted from, as others move it, in normal scores; the beat is smooth in the sum."""


def periodic_wave(coefficients: Complex[Array, " K1"], phase: Float[Array, " T"]) -> Float[Array, " T"]:
    r"""Sums a Fourier series by Horner's rule.

    Arguments:
        coefficients: Mean and coefficients of the harmonics.
        phase: Times in beats.

    Returns:
        The wave.

    Example:
        >>> periodic_wave(jnp.array([90.0, 10.0 + 0j]), jnp.array([0.0, 0.5])).tolist()
        [110.0, 70.0]
    """
    turn = jnp.exp(2j * jnp.pi * phase)

    def add(total: Array, c: Array) -> tuple[Array, None]:
        return (total + c) * turn, None

    nothing = jnp.zeros(phase.shape, jnp.result_type(turn, coefficients))
    total, _ = jax.lax.scan(add, nothing, coefficients[:0:-1])
    return coefficients[0].real + 2 * total.real


@dataclass(frozen=True)
class ReferenceWindkessel:
    r"""Windkessel under a half-sine ejection as a reference model; mean pressure and time constant are parameters.

    With $T = 60/\mathrm{HR}$ and ejection time $T_e$, flow has the coefficients $Q_k$ of a half sine of volume SV, and
    $c_k = R\,Q_k/(1 + 2\pi\mathrm{i} k \tau/T)$, $R = (\mathrm{MAP} - P_{out})\,T/\mathrm{SV}$, $c_0 = \mathrm{MAP}$.
    Pressure alone does not tell stroke volume: its posterior is its prior.

    Arguments:
        fs: Sampling rate [Hz].
        duration_s: Length of a waveform [s].
        harmonics: Harmonics of the beat.

    Raises:
        ValueError: If a value is not positive.

    Example:
        >>> model = ReferenceWindkessel(duration_s=2.0)
        >>> model.simulate(model.space.sample(np.random.default_rng(0), 3), 0).waves.shape
        (3, 1, 250)
    """

    fs: float = 125.0
    duration_s: float = 10.0
    harmonics: int = 24

    name = "reference-windkessel"
    version = "1"
    sites = ("aortic-root",)
    rate_name = "HR"
    costly = False
    quantity_names = ("C", "CO", "SVR")
    units = ("mL/mmHg", "L/min", "dyn s cm^-5")

    def __post_init__(self) -> None:
        _check(self.fs, self.duration_s, self.harmonics)

    @property
    def config(self) -> dict[str, object]:
        r"""Its whole configuration."""
        return {"fs": self.fs, "duration_s": self.duration_s, "harmonics": self.harmonics}

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Rate, stroke volume, ejection time, mean pressure, time constant and outflow pressure."""
        return ParameterSpace((
            Parameter("HR", "1/min", 45.0, 130.0, LogUniform(), "log", "Heart rate."),
            Parameter("SV", "mL", 30.0, 150.0, TruncatedLogNormal(70.0, 0.25), "log", "Stroke volume."),
            Parameter("LVET", "ms", 170.0, 400.0, TruncatedNormal(290.0, 40.0), description="Ejection time."),
            Parameter("MAP", "mmHg", 45.0, 140.0, TruncatedNormal(88.0, 16.0), description="Mean pressure."),
            Parameter("tau", "s", 0.7, 2.8, LogUniform(), "log", "Time constant R C."),
            Parameter("Pout", "mmHg", 0.0, 40.0, TruncatedNormal(15.0, 8.0), description="Outflow pressure."),
        ))  # fmt: skip

    def coefficients(self, theta: Float[Array, " D"]) -> tuple[Float[Array, ""], Complex[Array, " K1"]]:
        r"""Period and coefficients of one row.

        Arguments:
            theta: Parameters in the order of ``space``.
        """
        period, ejection = 60.0 / theta[0], 1e-3 * theta[2]
        k = jnp.arange(1, self.harmonics + 1)
        turns = 2 * jnp.pi * k * ejection / period
        gap = jnp.pi**2 - turns**2
        safe = jnp.where(jnp.abs(gap) < 1e-4, 1e-4, gap)
        shape = 0.5 * jnp.pi**2 * (1 + jnp.exp(-1j * turns)) / safe  # of a half sine of unit volume
        drop = theta[3] - theta[5]
        wave = drop * shape / (1 + 2j * jnp.pi * k * theta[4] / period)
        return period, jnp.concatenate([theta[3][None] + 0j, wave])

    def middles(self, theta: Float[Array, " D"]) -> Float[Array, " D"]:
        r"""Zeros: each parameter is counted from a value of its own.

        Arguments:
            theta: Parameters in the order of ``space``.
        """
        return jnp.zeros_like(theta)

    @cached_property
    def _compiled(self) -> Any:
        return _sampler(self, round(self.duration_s * self.fs), self.fs)

    def simulate(self, theta: Float[np.ndarray, "N D"], seed: int) -> Simulated:
        r"""Simulates a batch of rows, each from a random start of the beat.

        Arguments:
            theta: Parameters.
            seed: Seed of the starts.

        Returns:
            Waveforms without noise [mmHg], quantities and status of each row.

        Raises:
            ValueError: If ``theta`` has another shape.
        """
        theta = _rows(theta, self.space.dim)
        waves = np.asarray(self._compiled(theta, jax.random.key(seed)))
        rate, volume, mean, tau, out = (theta[:, d].astype(np.float64) for d in (0, 1, 3, 4, 5))
        flow = cardiac_output(rate, volume)
        resistance = (mean - out) * 60.0 / (rate * volume)
        columns = [tau / resistance, flow, systemic_vascular_resistance(mean, out, flow)]
        return Simulated(waves[:, None], np.stack(columns, axis=-1).astype(np.float32), _status(waves))


@dataclass(frozen=True)
class ReferenceNetwork:
    r"""The linear network with steady beats as a reference model: seven parameters, the others at the prior's median.

    Arguments:
        fs: Sampling rate [Hz].
        duration_s: Length of a waveform [s].
        harmonics: Harmonics of the beat.
        site: Where pressure is read.

    Raises:
        ValueError: If a value is not positive or the site unknown.

    Example:
        >>> ReferenceNetwork(harmonics=8).space.dim
        7
    """

    fs: float = 125.0
    duration_s: float = 10.0
    harmonics: int = 24
    site: str = "Radial"

    name = "reference-network"
    version = "1"
    rate_name = "heart_rate"
    costly = True
    quantity_names = ("SV", "LVET", "PWV")
    units = ("mL", "ms", "m/s")

    def __post_init__(self) -> None:
        _check(self.fs, self.duration_s, self.harmonics)
        _ = self._network

    @property
    def sites(self) -> tuple[str, ...]:
        r"""The site."""
        return (self.site,)

    @property
    def config(self) -> dict[str, object]:
        r"""Its whole configuration."""
        return {"fs": self.fs, "duration_s": self.duration_s, "harmonics": self.harmonics, "site": self.site}

    @cached_property
    def space(self) -> ParameterSpace:
        r"""The free parameters of the clinical population; rates as far as a window shows them beyond doubt."""
        from .clinical import CLINICAL

        free = CLINICAL.subset(NETWORK_FREE).parameters
        low, high = _RATES
        return ParameterSpace(replace(p, low=low, high=high) if p.name == self.rate_name else p for p in free)

    @cached_property
    def _network(self) -> Any:
        from .network.linear import LinearNetwork

        return LinearNetwork(beat="periodic", sites=(self.site,), n_frequencies=self.harmonics + 1)

    @cached_property
    def _fixed(self) -> tuple[np.ndarray, np.ndarray]:
        from .clinical import CLINICAL
        from .patient import typical_parameters

        # Of float32 at any width: outlets are matched where their factor is exactly 1, and .9999999999 is not.
        medians = typical_parameters()[0].astype(np.float32)
        return medians, np.array([CLINICAL.index(name) for name in NETWORK_FREE])

    def coefficients(self, theta: Float[Array, " D"]) -> tuple[Float[Array, ""], Complex[Array, " K1"]]:
        r"""Period and coefficients of one row.

        Arguments:
            theta: Parameters in the order of ``space``.
        """
        from .network.linear import make_tubes
        from .network.outlets import make_outlets
        from .network.rhythm import steady_beat

        whole = self._completed(theta)[None]
        subject, variability = self._network.subjects(whole)
        train = jax.vmap(steady_beat)(subject)
        tubes = make_tubes(subject)
        pressure = self._network._pressure(subject, variability, train, tubes, make_outlets(subject, tubes))
        return train.period[0], pressure[0, 1]

    def _completed(self, theta: Float[Array, " D"]) -> Float[Array, " P"]:
        medians, free = self._fixed
        return jnp.asarray(medians, theta.dtype).at[free].set(theta)

    def middles(self, theta: Float[Array, " D"]) -> Float[Array, " D"]:
        r"""What ejection time and wave speed are counted from; it moves with rate, stroke volume and mean pressure.

        Arguments:
            theta: Parameters in the order of ``space``.
        """
        from .clinical import deviation_middles

        found = deviation_middles(self._completed(theta))
        return jnp.stack([jnp.asarray(found.get(name, 0.0), theta.dtype) for name in self.space.names])

    @cached_property
    def _compiled(self) -> Any:
        return _sampler(self, round(self.duration_s * self.fs), self.fs)

    def simulate(self, theta: Float[np.ndarray, "N D"], seed: int) -> Simulated:
        r"""Simulates a batch of rows, each from a random start of the beat.

        Arguments:
            theta: Parameters.
            seed: Seed of the starts.

        Returns:
            Waveforms without noise [mmHg], quantities and status of each row.

        Raises:
            ValueError: If ``theta`` has another shape.
        """
        from .clinical import clinical_subject

        theta = _rows(theta, self.space.dim)
        waves = np.asarray(self._compiled(theta, jax.random.key(seed)))
        subject, _ = clinical_subject(jnp.asarray(self._whole(theta), jnp.float32))
        columns = [subject.stroke_volume, subject.ejection_time, subject.pulse_wave_velocity]
        quantities = np.stack([np.asarray(c) for c in columns], axis=-1).astype(np.float32)
        return Simulated(waves[:, None], quantities, _status(waves))

    def quantities(self, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N Q"]:
        r"""All quantities of the linear network, in its order.

        Arguments:
            theta: Parameters in the order of ``space``.
        """
        return np.asarray(self._network.simulate(self._whole(_rows(theta, self.space.dim)), 0).quantities)

    def _whole(self, theta: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N P"]:
        medians, free = self._fixed
        whole = np.repeat(medians[None], len(theta), axis=0)
        whole[:, free] = theta
        return whole


def _sampler(model: Any, samples: int, fs: float) -> Any:
    def one(theta: Array, key: Array) -> Array:
        period, c = model.coefficients(theta)
        start = jax.random.uniform(key, (), theta.dtype)
        return periodic_wave(c, jnp.arange(samples) / (fs * period) + start)

    def batch(theta: Array, key: Array) -> Array:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(theta)))
        waves: Array = jax.lax.map(lambda row: one(*row), (theta, keys), batch_size=16)
        return waves.astype(jnp.float32)

    return jax.jit(batch)


def _rows(theta: Float[np.ndarray, "N D"], dim: int) -> Float[np.ndarray, "N D"]:
    theta = np.asarray(theta, dtype=np.float32)
    if theta.ndim != 2 or theta.shape[1] != dim:
        raise ValueError(f"theta must have shape (N, {dim}), got {theta.shape}")
    return theta


def _status(waves: Float[np.ndarray, "N T"]) -> np.ndarray:
    return np.where(np.isfinite(waves).all(1), OK, DIVERGED).astype(np.uint8)


def _check(fs: float, duration_s: float, harmonics: int) -> None:
    if not (fs > 0 and duration_s > 0 and harmonics >= 1):
        raise ValueError(
            f"fs, duration_s and harmonics must be positive, got {fs:g} Hz, {duration_s:g} s and {harmonics}"
        )
