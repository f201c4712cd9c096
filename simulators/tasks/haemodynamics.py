r"""Stroke volume and ejection time from eight seconds of radial pressure, by a simulator whose arms never grow.

The simulator is the linear network of the clinical population with every artery as long as at 1.70 m, seen through
white noise. In reality lengths follow height, walls are stiffer in small arteries and more viscous, and the pressure
comes through a catheter line that rings or damps, a transducer and a digitiser; on request reality is the non-linear
network, whose walls stiffen with pressure and whose blood carries momentum. An observation is the window less its
mean, over its standard deviation: what is left is shape and time. All other parameters are nuisance.

Stroke volume and ejection time are what the population implies, not free coordinates: instead of simulating a given
pair, the task draws patients, and ``twins`` simulates what the simulator makes of the same patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from ..network.linear import LinearNetwork
from ..parameters import ParameterSpace
from ..sensors import SensorModel
from ..status import usable

if TYPE_CHECKING:
    from ..network.nonlinear import NonlinearNetwork

__all__ = ["HaemodynamicsTask", "Patients"]

_BLOCK = 64
_NONLINEAR_BLOCK = 16
"""Rows solved together: padding a block costs half a second a row there."""


class Patients(NamedTuple):
    r"""Simulated patients.

    Arguments:
        parameters: Parameters of the clinical population.
        theta: Stroke volume [mL] and ejection time [ms].
        x: Normalised radial pressure.

    Example:
        >>> Patients(np.zeros((2, 27)), np.zeros((2, 2)), np.zeros((2, 1000))).x.shape
        (2, 1000)
    """

    parameters: Float[np.ndarray, "N P"]
    theta: Float[np.ndarray, "N 2"]
    x: Float[np.ndarray, "N T"]


@dataclass(frozen=True)
class HaemodynamicsTask:
    r"""Stroke volume and ejection time from normalised radial pressure.

    Arguments:
        noise: Standard deviation of the simulator's white noise [mmHg].
        stiffness: Factor of reality on the stiffness of small arteries [1].
        viscosity: Factor of reality on the wall viscosity [1].
        n_frequencies: Fourier lines of the linear network.
        reality: Network of reality, ``linear`` or ``nonlinear`` (about .4 s of a core a patient).

    Raises:
        ValueError: If a number is not positive or the reality unknown.

    Example:
        >>> HaemodynamicsTask().samples
        1000
    """

    noise: float = 0.5
    stiffness: float = 1.4
    viscosity: float = 2.0
    n_frequencies: int = 160
    reality: str = "linear"

    def __post_init__(self) -> None:
        if not (self.noise > 0 and self.stiffness > 0 and self.viscosity > 0):
            raise ValueError(
                f"noise, stiffness and viscosity must be positive, got {self.noise}, {self.stiffness}, {self.viscosity}"
            )

        if self.reality not in ("linear", "nonlinear"):
            raise ValueError(f"reality must be linear or nonlinear, got {self.reality!r}")

    @property
    def name(self) -> str:
        r"""Short name."""
        return "haemodynamics"

    @property
    def samples(self) -> int:
        r"""Samples of a window."""
        return 1000

    @cached_property
    def population(self) -> ParameterSpace:
        r"""Parameters of the patients, with their prior."""
        return self._simulator.space

    def draw(self, rng: np.random.Generator, n: int) -> Patients:
        r"""Patients as the simulator makes them.

        Arguments:
            rng: Source of randomness.
            n: Number of patients.
        """
        return self._patients(rng, n, real=False)

    def draw_real(self, rng: np.random.Generator, n: int) -> Patients:
        r"""Patients as reality makes them.

        Arguments:
            rng: Source of randomness.
            n: Number of patients.
        """
        return self._patients(rng, n, real=True)

    def twins(self, parameters: Float[np.ndarray, "N P"], rng: np.random.Generator) -> Float[np.ndarray, "N T"]:
        r"""What the simulator makes of given patients.

        Arguments:
            parameters: Parameters of the clinical population.
            rng: Source of randomness.

        Returns:
            Normalised pressure; NaN in rows that failed.
        """
        return self._windows(parameters, rng, real=False)[1]

    def _patients(self, rng: np.random.Generator, n: int, *, real: bool) -> Patients:
        parts: list[Patients] = []
        while (missing := n - sum(len(p.x) for p in parts)) > 0:
            parameters = self.population.sample(rng, missing)
            theta, x = self._windows(parameters, rng, real=real)
            good = np.isfinite(x).all(1) & np.isfinite(theta).all(1)
            parts.append(Patients(parameters[good], theta[good], x[good]))
        return Patients(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _windows(
        self, parameters: Float[np.ndarray, "N P"], rng: np.random.Generator, *, real: bool
    ) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N T"]]:
        simulator = self._reality if real else self._simulator
        waves, theta = self._solved(simulator, self._hardened(parameters) if real else parameters, rng)
        good = np.isfinite(waves).all(1)
        x = np.full((len(waves), self.samples), np.nan)
        sensor = SensorModel() if real else SensorModel.ideal()
        if good.any():
            x[good] = sensor.apply(waves[good], rng, fs=simulator.fs, out_samples=self.samples)
        if not real:
            x += self.noise * rng.standard_normal(x.shape)
        return theta, (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)

    @staticmethod
    def _solved(
        simulator: LinearNetwork | NonlinearNetwork, parameters: Float[np.ndarray, "N P"], rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "N T"], Float[np.ndarray, "N 2"]]:
        """Waves (NaN where the solver failed) and quantities, in blocks of one size: compiled once."""
        n, block = len(parameters), _BLOCK if isinstance(simulator, LinearNetwork) else _NONLINEAR_BLOCK
        padded = np.concatenate([parameters, np.repeat(parameters[-1:], -n % block, axis=0)])
        names = list(simulator.quantity_names)
        waves, theta = [], []
        for start in range(0, len(padded), block):
            rows = simulator.simulate(padded[start : start + block], int(rng.integers(2**31)))
            waves.append(np.where(usable(rows.status)[:, None], rows.waves[:, 0], np.nan))
            theta.append(rows.quantities[:, [names.index("SV"), names.index("LVET")]].astype(np.float64))
        return np.concatenate(waves)[:n], np.concatenate(theta)[:n]

    def _hardened(self, parameters: Float[np.ndarray, "N P"]) -> Float[np.ndarray, "N P"]:
        """Reality's walls."""
        changed = np.array(parameters)
        for name, factor in (("small_vessel_stiffness", self.stiffness), ("wall_viscosity", self.viscosity)):
            changed[:, self.population.index(name)] *= factor
        return changed

    @cached_property
    def _simulator(self) -> LinearNetwork:
        return self._network("clinical-fixed-lengths")

    @cached_property
    def _reality(self) -> LinearNetwork | NonlinearNetwork:
        if self.reality == "nonlinear":
            from ..network.nonlinear import NonlinearNetwork

            return NonlinearNetwork(population="clinical", sites=("Radial",), duration_s=10.0)
        return self._network("clinical")

    def _network(self, population: str) -> LinearNetwork:
        return LinearNetwork(
            population=population, sites=("Radial",), duration_s=10.0, n_frequencies=self.n_frequencies
        )
