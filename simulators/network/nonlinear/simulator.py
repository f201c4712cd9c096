r"""The non-linear adult network as a simulator of training sets: windows or beats at sites, with quantities and status.

Subjects, beats, outlets and inflow are those of
[`LinearNetwork`][pulsebayes.simulators.network.linear.LinearNetwork], so that the same parameters give the same adult
in both; walls stiffen with pressure, blood carries momentum. A site is a name of `SITES`, by itself for pressure
[mmHg], with `:flow` for flow [mL/s] or `:ppg` for a photoplethysmogram scaled to 0..1. Units: quantities as in
`waveforms.quantities`.

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062 (network, PPG).
"""

from __future__ import annotations

import dataclasses
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ....waveforms.units import convert
from ...clinical import CLINICAL, CLINICAL_WIDE, clinical_subject
from ...parameters import ParameterSpace
from ...population import HEALTHY, healthy_subject
from ...registry import Simulated
from ...status import DIVERGED, NOT_PERIODIC
from ..geometry import adult_network
from ..linear import site_diameters
from ..ppg import scaled_ppg
from ..quantities import QUANTITY_UNITS, judge_rows, network_quantities
from ..rhythm import BeatTrain, Variability, draw_beats, steady_beat
from ..sites import SITES, Site, parse_site, place_sites, terminal_of
from .grid import Grid, Physics, Probe
from .periodic import PeriodicSettings, PeriodicSolution, solve_periodic
from .subjects import Adults, adult_grid, adult_physics, prepare_adults

__all__ = ["Details", "NonlinearNetwork", "scaled_ppg"]


class Details(NamedTuple):
    """What a batch leaves beside its rows.

    `external`: pressure at which a subject has its radii [mmHg]; `bound`: error left [mmHg]; `steps`, `cycles`; where
    and when a row failed: `failed_vessel` (-1: nowhere), `failed_time` [s].

    Example:
        >>> Details._fields[1]
        'bound'
    """

    external: Float[np.ndarray, " N"]
    bound: Float[np.ndarray, " N"]
    steps: np.ndarray
    cycles: np.ndarray
    failed_vessel: np.ndarray
    failed_time: Float[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True)
class NonlinearNetwork:
    r"""Simulator of windows (or single beats) at sites of the adult network, non-linear.

    Arguments:
        population: `clinical` (27 parameters), `clinical-wide` (the same with more viscous walls and other terminals)
            or `healthy` (the PWDB recipe, 7 parameters).
        beat: `aperiodic` (windows with beat-to-beat variability) or `periodic` (one steady beat).
        sites: Names of measurement sites, with `:flow` or `:ppg` for another signal than pressure.
        duration_s: Length of the output window [s]; aperiodic only.
        window_s: Shortest total time of the drawn beats [s]; the window repeats after them.
        fs: Output sampling rate [Hz]; aperiodic only.
        n_phases: Samples of a beat; periodic only.
        dx_mm: Longest cell of the baseline [mm].
        tolerance_mmHg: Bound of the error left by not being periodic yet [mmHg].
        max_cycles: Most periods before a row is `not periodic`.
        viscous: Whether walls are viscous.
        engine: `kernel` (compiled, CPU) or `jax`.
        precision: `float32` or `float64`.
        diameters: Sites whose lumen diameter at the pressure in which the adult has its radii [mm] is a quantity too,
            named `D_` and the site.

    Raises:
        ValueError: If a value is out of range or a site unknown.

    Example:
        >>> simulator = NonlinearNetwork(beat="periodic", sites=("Radial", "Digital:ppg"), n_phases=64)
        >>> theta = simulator.space.sample(np.random.default_rng(0), 2)
        >>> simulator.simulate(theta, seed=1).waves.shape
        (2, 2, 64)
    """

    population: str = "clinical"
    beat: str = "aperiodic"
    sites: tuple[str, ...] = ("AorticRoot", "Radial")
    duration_s: float = 8.0
    window_s: float = 8.0
    fs: float = 125.0
    n_phases: int = 256
    dx_mm: float = 20.0
    tolerance_mmHg: float = 0.2
    max_cycles: int = 12
    viscous: bool = True
    engine: str = "kernel"
    precision: str = "float32"
    diameters: tuple[str, ...] = ()

    name = "network"
    version = "1"

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("sites", "diameters"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, choices in (
            ("population", ("clinical", "clinical-wide", "healthy")),
            ("beat", ("aperiodic", "periodic")),
            ("precision", ("float32", "float64")),
            ("engine", ("kernel", "jax")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not isinstance(self.viscous, bool):
            raise ValueError(f"viscous must be true or false, got {self.viscous!r}")
        if not self.sites:
            raise ValueError("sites must name at least one site, got none")
        for site in self.sites:
            parse_site(site)
        place_sites(adult_network(), self.diameters)
        if not 2.0 <= self.window_s <= 8.0:
            raise ValueError(f"window_s must lie in 2..8 s, got {self.window_s}")
        for name in ("duration_s", "fs", "dx_mm", "tolerance_mmHg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.n_phases < 16 or self.max_cycles < 2:
            raise ValueError(
                f"n_phases must be 16 or more and max_cycles 2 or more, got {self.n_phases}, {self.max_cycles}"
            )

    @property
    def space(self) -> ParameterSpace:
        """Prior of the population's parameters."""
        return {"healthy": HEALTHY, "clinical-wide": CLINICAL_WIDE}.get(self.population, CLINICAL)

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Symbols of the returned quantities."""
        return (*QUANTITY_UNITS, *(f"D_{site}" for site in self.diameters))

    @property
    def units(self) -> dict[str, str]:
        """Unit of every returned variable; `waves` of pressure sites."""
        return {"waves": "mmHg", **QUANTITY_UNITS, **{f"D_{site}": "mm" for site in self.diameters}}

    @property
    def config(self) -> dict[str, Any]:
        """All fields, JSON-able; diameters only where some are asked for, so that older sets keep their name."""
        fields = {**dataclasses.asdict(self), "sites": list(self.sites), "diameters": list(self.diameters)}
        return {name: value for name, value in fields.items() if name != "diameters" or value}

    @property
    def n_samples(self) -> int:
        """Samples of a returned wave."""
        return self.n_phases if self.beat == "periodic" else round(self.duration_s * self.fs)

    @property
    def _fine(self) -> int:
        """Samples of the period behind the output."""
        return self.n_phases if self.beat == "periodic" else 2048

    @cached_property
    def _grid(self) -> Grid:
        grid = adult_grid(self.dx_mm)
        return grid if self.viscous else dataclasses.replace(grid, viscous=np.zeros(len(grid.cells), bool))

    @cached_property
    def _prepare(self) -> Any:
        def prepare(theta: Any, keys: Any) -> Adults:
            if self.population != "healthy":
                subject, variability = clinical_subject(theta)
            else:
                zero = jnp.zeros(theta.shape[:-1], theta.dtype)
                subject = healthy_subject(theta)
                variability = Variability(15.0 + zero, zero, zero, zero, zero, zero)
            if self.beat == "periodic":
                train = jax.vmap(steady_beat)(subject)
                variability = variability._replace(venous_swing=0 * variability.venous_swing)
            else:
                train = jax.vmap(partial(draw_beats, window_s=self.window_s))(subject, variability, keys)
            return prepare_adults(subject, variability, train, samples=1024 if self.beat == "periodic" else 8192)

        return jax.jit(prepare)

    def simulate(self, theta: Float[np.ndarray, "N D"], seed: int) -> Simulated:
        """Simulate a batch; the same row gives the same wave only at the same place of the same seed and batch.

        Arguments:
            theta: Parameters in the order of `space`, with shape (N, D).
            seed: Seed of beats and start phases.

        Returns:
            Waves, quantities and the status of each row.

        Raises:
            ValueError: The parameters have the wrong shape.
        """
        return self.simulate_in_detail(theta, seed)[0]

    def simulate_in_detail(self, theta: Float[np.ndarray, "N D"], seed: int) -> tuple[Simulated, Details]:
        """Simulate a batch, and tell of each row how it came about.

        Arguments:
            theta: Parameters in the order of `space`, with shape (N, D).
            seed: Seed of beats and start phases.

        Returns:
            The rows, and their details.

        Raises:
            ValueError: The parameters have the wrong shape.
        """
        theta = np.asarray(theta, np.float32)
        if theta.ndim != 2 or theta.shape[1] != self.space.dim:
            raise ValueError(f"theta must have shape (N, {self.space.dim}), got {theta.shape}")
        if len(theta) == 0:
            raise ValueError("theta must hold at least one row, got none")
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(len(theta)))
        adults: Adults = jax.tree.map(np.asarray, self._prepare(jnp.asarray(theta), keys))
        physics, external = adult_physics(self._grid, adults, healthy=self.population == "healthy")
        physics = Physics(*(np.asarray(a, self.precision) for a in physics))
        probes = [Probe(0, 0.0), *(Probe(s.segment - 1, s.fraction) for s in map(_site, self.sites))]
        settings = PeriodicSettings(
            self.tolerance_mmHg,
            max_cycles=self.max_cycles,
            n_samples=self._fine,
            engine=self.engine,
            block=16 if self.engine == "kernel" else 512,
        )
        found = solve_periodic(self._grid, physics, self._grid.interpolation(probes), settings)
        rows = self._rows(adults, physics, found, keys)
        return rows, Details(external, found.bound, found.steps, found.cycles, found.failed_vessel, found.failed_time)

    def _rows(self, adults: Adults, physics: Physics, found: PeriodicSolution, keys: Any) -> Simulated:
        total = (found.waves.pressure + found.waves.viscous)[:-1].astype(np.float64)
        pressure = convert(np.moveaxis(total, -1, 0), "Pa", "mmHg")
        flow = convert(np.moveaxis(found.waves.flow[:-1].astype(np.float64), -1, 0), "m^3/s", "mL/s")
        signals = np.stack(
            [self._signal(site, k + 1, pressure, flow, adults, physics, found) for k, site in enumerate(self.sites)], 1
        )
        waves = self._sampled(signals, np.asarray(adults.train.period, np.float64), keys)
        root = pressure[:, :, 0]
        extremes = _beat_extremes(root, adults.train)
        quantities = np.asarray(
            network_quantities(adults.subject, adults.train, adults.compliance, root.mean(-1), extremes)
        ).astype(np.float32)
        shown = [root, *(waves[:, k] for k, site in enumerate(self.sites) if parse_site(site)[1] == "pressure")]
        lowest = np.min([wave.min(-1) for wave in shown], axis=0)
        highest = np.max([wave.max(-1) for wave in shown], axis=0)
        status = np.array(judge_rows(quantities, lowest, highest, adults.outlets.mismatch))
        status[found.status == NOT_PERIODIC] = NOT_PERIODIC
        status[found.status == DIVERGED] = DIVERGED
        if self.diameters:
            lumen = np.asarray(site_diameters(adults.tubes, self.diameters), np.float32)
            quantities = np.concatenate([quantities, lumen.T], axis=-1)
        return Simulated(waves.astype(np.float32), quantities, status.astype(np.uint8))

    def _signal(
        self,
        site: str,
        k: int,
        pressure: Float[np.ndarray, "N T K"],
        flow: Float[np.ndarray, "N T K"],
        adults: Adults,
        physics: Physics,
        found: PeriodicSolution,
    ) -> Float[np.ndarray, "N T"]:
        """A site's signal over the period."""
        _, kind = parse_site(site)
        if kind == "pressure":
            return pressure[:, :, k]
        if kind == "flow":
            return flow[:, :, k]
        outlet = terminal_of(adult_network(), parse_site(site)[0])
        if outlet is not None:
            volume = np.asarray(found.waves.capacitor[:-1, outlet].T, np.float64)
        else:
            head = pressure[:, :, k] - adults.subject.outflow_pressure[:, None]
            q = flow[:, :, k]
            volume = np.cumsum(q - head * (q.sum(-1) / head.sum(-1))[:, None], axis=-1)
        return scaled_ppg(volume, rotate=self.beat == "periodic")

    def _sampled(
        self, signals: Float[np.ndarray, "N K T"], period: np.ndarray, keys: Any
    ) -> Float[np.ndarray, "N K T"]:
        """The output samples: a beat's phases, or a window that starts anywhere in the period."""
        if self.beat == "periodic":
            return signals
        start = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 7), ()))(keys)
        time = np.asarray(start, np.float64)[:, None] * period[:, None] + np.arange(self.n_samples) / self.fs
        waves = _interpolated(signals, time / period[:, None])
        for k, site in enumerate(self.sites):
            if parse_site(site)[1] == "ppg":
                waves[:, k] = scaled_ppg(waves[:, k], rotate=False)
        return waves


def _site(text: str) -> Site:
    return SITES[parse_site(text)[0]]


def _interpolated(signals: Float[np.ndarray, "N K T"], phase: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N K S"]:
    """Periodic signals at any phases, by cubic interpolation."""
    n = signals.shape[-1]
    place = np.mod(phase, 1.0) * n
    left = np.floor(place).astype(np.int64)
    t = (place - left)[:, None]
    before, here, after, beyond = (
        np.take_along_axis(signals, ((left + shift) % n)[:, None], axis=-1) for shift in (-1, 0, 1, 2)
    )
    found: Float[np.ndarray, "N K S"] = (
        -t * (t - 1) * (t - 2) / 6 * before
        + (t + 1) * (t - 1) * (t - 2) / 2 * here
        - (t + 1) * t * (t - 2) / 2 * after
        + (t + 1) * t * (t - 1) / 6 * beyond
    )
    return found


def _beat_extremes(root: Float[np.ndarray, "N T"], train: BeatTrain) -> tuple[np.ndarray, np.ndarray]:
    """Mean over beats of each beat's highest and lowest pressure."""
    n = root.shape[-1]
    high, low = np.zeros(len(root)), np.zeros(len(root))
    for i, wave in enumerate(root):
        beats = int(train.n_beats[i])
        starts = np.minimum(np.ceil(train.onset[i, :beats] / train.period[i] * n).astype(np.int64), n - 1)
        high[i] = np.maximum.reduceat(wave, starts).mean()
        low[i] = np.minimum.reduceat(wave, starts).mean()
    return high, low
