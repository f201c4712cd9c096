r"""The linear one-dimensional arterial network in the frequency domain, batched, periodic or aperiodic.

Tubes are transmission lines, outlets windkessels; for each line $\omega_k = 2\pi k/T$ the network is eliminated down to
the aortic root, $P_0 = I_0/s_0$ with the aortic flow injected there and the outflow pressure at the outlets. With
`beat="aperiodic"`, $T$ is the total time of the drawn beats of a window, with `"periodic"` one beat. Pressure-dependent
stiffness and convection are left out: they are what a linear network cannot have.

References:
    Avolio A.P. (1980), Med Biol Eng Comput 18:709 (multi-branched transmission-line model); Charlton P.H. et al.
    (2019), Am J Physiol Heart Circ Physiol 317:H1062 (network). Units: mmHg, mL, s; quantities as in
    `waveforms.quantities`.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, UInt8

from ...waveforms.units import MM_PER_M
from ..clinical import CLINICAL, CLINICAL_WIDE, clinical_subject, closing_share
from ..parameters import ParameterSpace
from ..population import HEALTHY, WALL_VISCOSITY, Subject, healthy_subject
from .elimination import Plan, assemble, plan_elimination, solve_nodes
from .flow import Gauges, gauge_flow, place_gauges, tissue_volume
from .geometry import adult_network, scaled_radii
from .inflow import flow_coefficients, venous_coefficients, window_samples
from .outlets import Outlets, make_outlets, outlet_admittance
from .ppg import bed_pressure, scaled_ppg
from .quantities import QUANTITY_UNITS, judge_rows, network_quantities
from .rhythm import BeatTrain, Variability, draw_beats, steady_beat
from .sites import SITES, parse_site, place_sites, terminal_of
from .transmission import Pieces, Tubes, chain_pieces, cut_segments, element_series, line_constants

__all__ = [
    "BLOCK",
    "QUANTITY_UNITS",
    "LinearNetwork",
    "Simulated",
    "beat_extremes",
    "make_tubes",
    "site_diameters",
    "solve_network",
    "total_compliance",
]

BLOCK = 8  # subjects solved together on a processor: larger blocks fall out of the caches
ROW_BYTES, SITE_BYTES = 15_100, 290  # of a subject and frequency in flight: XLA's own account of 32 and 128 subjects
_VISCOUS_LENGTH = 11.0  # [mm]: shorter segments have no wall viscosity (PWDB)
_MOST_SAMPLES = 100_000  # of a wave: more does not fit the memory of a batch
_FINE = 4096  # samples of the period behind inflow and output


class Simulated(NamedTuple):
    """What a simulator returns: waves (N, site, time) [mmHg], quantities (N, Q), status (N,).

    Example:
        >>> Simulated._fields
        ('waves', 'quantities', 'status')
    """

    waves: Float[np.ndarray, "N site time"]
    quantities: Float[np.ndarray, "N Q"]
    status: UInt8[np.ndarray, " N"]


def make_tubes(subject: Subject) -> Tubes:
    """Segments of a batch of adults.

    Arguments:
        subject: Adults, fields of shape (B,).

    Returns:
        Tubes with fields of shape (S, B), SI units.

    Example:
        >>> make_tubes(healthy_subject(jnp.zeros((2, 7)).at[:, 0].set(25.0))).length.shape
        (116, 2)
    """
    network = adult_network()
    inlet, outlet = scaled_radii(network, subject.diameter_factor, subject.radius_factor)
    n = len(network.names)
    aortic = (np.arange(n) < 2)[:, None]
    viscous = (network.length > _VISCOUS_LENGTH)[:, None]
    one = jnp.ones((n, 1), inlet.dtype)
    factor = subject.length_factor * (1 + aortic * (subject.aortic_length_factor - 1))
    return Tubes(
        length=factor * jnp.asarray(1e-3 * network.length[:, None], inlet.dtype),
        inlet_radius=1e-3 * inlet.T,
        outlet_radius=1e-3 * outlet.T,
        k1=0.1 * subject.k1 * one,
        k3=0.1 * subject.k3 * one,
        viscosity=subject.blood_viscosity * one,
        b0=subject.wall_viscosity_factor * (1e-3 * WALL_VISCOSITY[0] * viscous) * one,
        b1=subject.wall_viscosity_factor * (1e-5 * WALL_VISCOSITY[1] * viscous) * one,
    )


def total_compliance(tubes: Tubes, outlets: Outlets) -> Float[Array, " B"]:
    r"""Total arterial compliance, $\sum_s \int A_0/(\rho c_0^2)\,dx + \sum_d C_d$.

    Arguments:
        tubes: Segments, fields of shape (S, B).
        outlets: Windkessels, fields of shape (K, B).

    Returns:
        Compliance [mL/mmHg].

    Example:
        >>> adult = healthy_subject(jnp.zeros((1, 7)).at[:, 0].set(25.0))
        >>> tubes = make_tubes(adult)
        >>> 1.0 < float(total_compliance(tubes, make_outlets(adult, tubes))[0]) < 2.5
        True
    """
    segments = np.arange(tubes.length.shape[0])
    nodes, weights = np.polynomial.legendre.leggauss(4)
    walls = sum(
        0.5 * w * line_constants(tubes, segments, np.full(len(segments), 0.5 * (1 + x)))[2]
        for x, w in zip(nodes, weights, strict=True)
    )
    return (tubes.length * walls).sum(0) + outlets.compliance.sum(0)


def solve_network(
    plan: Plan,
    pieces: Pieces,
    tubes: Tubes,
    outlets: Outlets,
    omega: Float[Array, "B F"],
    inflow: Complex[Array, "B F"],
    outflow_pressure: Complex[Array, "B F"],
    nodes: tuple[int, ...],
) -> Complex[Array, "B K F"]:
    """Fourier coefficients of pressure at some nodes for given aortic flow and outflow pressure.

    Arguments:
        plan: The elimination plan of the pieces.
        pieces: How segments are cut.
        tubes: Segments, fields of shape (S, B).
        outlets: Windkessels, fields of shape (K, B).
        omega: Angular frequencies [rad/s], with shape (B, F).
        inflow: Aortic flow coefficients [mL/s], with shape (B, F).
        outflow_pressure: Outflow pressure coefficients [mmHg], with shape (B, F).
        nodes: Nodes wanted.

    Returns:
        Pressure coefficients [mmHg], with shape (B, K, F).

    Example:
        >>> adult = healthy_subject(jnp.zeros((1, 7)).at[:, 0].set(25.0))
        >>> pieces = cut_segments(adult_network(), {})
        >>> plan = plan_elimination(pieces.inlet, pieces.outlet, (0,))
        >>> tubes = make_tubes(adult)
        >>> zero = jnp.zeros((1, 1))
        >>> outlets = make_outlets(adult, tubes)
        >>> steady = solve_network(plan, pieces, tubes, outlets, zero, zero + 80.6, zero + 33.2, (0,))
        >>> 88 < float(steady[0, 0, 0].real) < 91
        True
    """
    # A loop over subjects of its own: fused with the series, XLA would compute them anew for every chain.
    edges, shunts = jax.lax.map(
        lambda elements: assemble(plan, chain_pieces(elements, pieces), pieces.inlet, pieces.outlet),
        element_series(tubes, pieces, omega),
    )
    admittance, current = outlet_admittance(outlets, omega, outflow_pressure)
    ends = adult_network().outlet[adult_network().terminals]
    shunts = shunts.at[:, ends].add(jnp.moveaxis(admittance, 0, 1))
    currents = jnp.zeros_like(shunts).at[:, ends].add(jnp.moveaxis(current, 0, 1)).at[:, 0].add(inflow)
    return solve_nodes(plan, edges, shunts, currents, nodes)


_POPULATIONS = ("clinical", "clinical-wide", "healthy", "clinical-fixed-lengths")


@dataclasses.dataclass(frozen=True)
class LinearNetwork:
    r"""Simulator of windows (or single beats) at sites of the adult network.

    Arguments:
        population: `clinical` (27 parameters), `clinical-wide` (the same with more viscous walls and other terminals),
            `healthy` (the PWDB recipe, 7 parameters), or `clinical-fixed-lengths` (clinical, but arteries as long as
            at 1.70 m whatever the height: a simulator that is wrong on purpose).
        beat: `aperiodic` (windows with beat-to-beat variability) or `periodic` (one steady beat).
        sites: Names of measurement sites, by themselves for pressure [mmHg], with `:flow` for flow [mL/s] or `:ppg`
            for a photoplethysmogram scaled to 0..1.
        duration_s: Length of the output window [s]; aperiodic only.
        window_s: Shortest total time of the drawn beats [s]; the window repeats after them.
        fs: Output sampling rate [Hz]; aperiodic only.
        n_frequencies: Fourier lines, the mean included: 256 of a window of 8 s reach 32 Hz.
        n_phases: Samples of a beat; periodic only.
        element_mm: Longest transmission-line element [mm].
        precision: `float32` or `float64` (needs `jax.enable_x64`).
        diameters: Sites whose lumen diameter at diastolic pressure [mm] is a quantity too, named `D_` and the site.

    Example:
        >>> simulator = LinearNetwork(beat="periodic", n_frequencies=20)
        >>> theta = simulator.space.sample(np.random.default_rng(0), 2)
        >>> simulator.simulate(theta, seed=1).waves.shape
        (2, 2, 256)
    """

    population: str = "clinical"
    beat: str = "aperiodic"
    sites: tuple[str, ...] = ("AorticRoot", "Radial")
    duration_s: float = 8.0
    window_s: float = 8.0
    fs: float = 125.0
    n_frequencies: int = 256
    n_phases: int = 256
    element_mm: float = 50.0
    precision: str = "float32"
    diameters: tuple[str, ...] = ()

    name = "linear-network"
    version = "1"

    def __post_init__(self) -> None:
        """Check every field."""
        _one_of("population", self.population, _POPULATIONS)
        _one_of("beat", self.beat, ("aperiodic", "periodic"))
        _one_of("precision", self.precision, ("float32", "float64"))
        for field in ("sites", "diameters"):
            given = getattr(self, field)
            object.__setattr__(self, field, (given,) if isinstance(given, str) else tuple(given))
        for site in self.sites:
            parse_site(site)
        place_sites(adult_network(), self.diameters)
        if not self.sites:
            raise ValueError("sites must name at least one site, got none")
        if not 2.0 <= self.window_s <= 8.0:
            raise ValueError(f"window_s must lie in 2..8 s, got {self.window_s}")
        for name in ("duration_s", "fs", "element_mm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.beat == "aperiodic" and not self.duration_s * self.fs <= _MOST_SAMPLES:
            raise ValueError(
                f"duration_s * fs must be at most {_MOST_SAMPLES} samples, got {self.duration_s:g} s at {self.fs:g} Hz"
            )
        if not 2 <= self.n_frequencies <= _FINE // 4:
            raise ValueError(f"n_frequencies must lie in 2..{_FINE // 4}, got {self.n_frequencies}")

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
        """Unit of every returned variable; `waves` of the pressure sites where there are any, else of the first."""
        first = "pressure" if "pressure" in self._signals else self._signals[0]
        waves = {"pressure": "mmHg", "flow": "mL/s", "ppg": "1"}[first]
        return {"waves": waves, **QUANTITY_UNITS, **{f"D_{site}": "mm" for site in self.diameters}}

    @property
    def n_samples(self) -> int:
        """Samples of a returned wave."""
        return self.n_phases if self.beat == "periodic" else round(self.duration_s * self.fs)

    @property
    def row_bytes(self) -> int:
        """Memory that a subject takes while it is solved [B]; what a device's batch is chosen by."""
        single = self.n_frequencies * (ROW_BYTES + SITE_BYTES * len(self.sites))
        return single * (2 if self.precision == "float64" else 1)

    @property
    def config(self) -> dict[str, Any]:
        """All fields, JSON-able; diameters only where some are asked for, so that older sets keep their name."""
        fields = {**dataclasses.asdict(self), "sites": list(self.sites), "diameters": list(self.diameters)}
        return {name: value for name, value in fields.items() if name != "diameters" or value}

    @cached_property
    def _signals(self) -> tuple[str, ...]:
        """What each site is asked for."""
        return tuple(parse_site(site)[1] for site in self.sites)

    @cached_property
    def _gauged(self) -> tuple[int, ...]:
        """Sites where flow must be known: that which is asked for, and behind it the volume where an artery goes on."""
        ends = [terminal_of(adult_network(), parse_site(site)[0]) is not None for site in self.sites]
        needs = zip(self._signals, ends, strict=True)
        return tuple(k for k, (signal, end) in enumerate(needs) if signal == "flow" or (signal == "ppg" and not end))

    @cached_property
    def _structure(self) -> tuple[Plan, Pieces, tuple[int, ...], Gauges]:
        """Plan, pieces, nodes of the root, of the sites and of the ends of the gauges' pieces, and the gauges."""
        names = [parse_site(site)[0] for site in self.sites]
        nodes, splits = place_sites(adult_network(), names)
        pieces = cut_segments(adult_network(), splits, element_mm=self.element_mm)
        gauges = place_gauges(pieces, [names[k] for k in self._gauged])
        wanted = (0, *nodes, *(node for ends in gauges.nodes for node in ends))
        return plan_elimination(pieces.inlet, pieces.outlet, wanted), pieces, wanted, gauges

    def subjects(self, theta: Float[Array, "N D"]) -> tuple[Subject, Variability]:
        """The adults of a batch of parameters, and how their beats vary.

        Arguments:
            theta: Parameters, with shape (N, D).

        Returns:
            Adults and variability, fields of shape (N,); the healthy population does not vary.
        """
        if self.population in ("clinical", "clinical-wide"):
            return clinical_subject(theta)
        if self.population == "clinical-fixed-lengths":
            subject, variability = clinical_subject(theta)
            return subject._replace(length_factor=jnp.ones_like(subject.length_factor)), variability
        zero = jnp.zeros(theta.shape[:-1], theta.dtype)
        return healthy_subject(theta), Variability(15.0 + zero, zero, zero, zero, zero, zero)

    def simulate(self, theta: Float[np.ndarray, "N D"], seed: int) -> Simulated:
        """Simulate a batch; the same row gives the same wave only at the same place of the same seed.

        Arguments:
            theta: Parameters in the order of `space`, with shape (N, D).
            seed: Seed of beats and start phases.

        Returns:
            Waves, quantities and the status of each row.

        Raises:
            ValueError: The parameters have the wrong shape.
        """
        theta = np.asarray(theta)
        if theta.ndim != 2 or theta.shape[1] != self.space.dim:
            raise ValueError(f"theta must have shape (N, {self.space.dim}), got {theta.shape}")
        n = len(theta)
        if n == 0:
            raise ValueError("theta must hold at least one row, got none")
        block = BLOCK if jax.default_backend() == "cpu" else n
        rows = -(-n // block) * block
        padded = jnp.asarray(np.concatenate([theta, np.repeat(theta[-1:], rows - n, axis=0)]), self.precision)
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(rows))
        waves, quantities, status = self._compiled(padded, keys, block)
        return Simulated(np.asarray(waves)[:n], np.asarray(quantities)[:n], np.asarray(status)[:n])

    @cached_property
    def _compiled(self) -> Any:
        def blocks(theta: Array, keys: Array, block: int) -> Any:
            split = theta.reshape(-1, block, theta.shape[-1]), keys.reshape(-1, block)
            out = jax.lax.map(lambda part: self._block(*part), split)
            return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), out)

        return jax.jit(blocks, static_argnums=2)

    def _block(self, theta: Float[Array, "B D"], keys: Array) -> tuple[Array, Array, Array]:
        subject, variability = self.subjects(theta)
        if self.beat == "periodic":
            train = jax.vmap(steady_beat)(subject)
        else:
            train = jax.vmap(partial(draw_beats, window_s=self.window_s))(subject, variability, keys)
        tubes = make_tubes(subject)
        outlets = make_outlets(subject, tubes)
        pressure = self._pressure(subject, variability, train, tubes, outlets)
        waves = jax.vmap(self._sample)(pressure[:, 1 : 1 + len(self.sites)], train.period, keys)
        extremes = jax.vmap(beat_extremes)(pressure[:, 0], train)
        quantities = network_quantities(
            subject, train, total_compliance(tubes, outlets), pressure[:, 0, 0].real, extremes
        )
        status = _status(waves, quantities, outlets)
        if set(self._signals) != {"pressure"}:
            lines = self._lines(subject, variability, train)
            waves = self._with_others(waves, pressure, tubes, outlets, lines, train, keys)
        if self.diameters:
            quantities = jnp.concatenate([quantities, site_diameters(tubes, self.diameters).T], axis=-1)
        return waves.astype(jnp.float32), quantities.astype(jnp.float32), status

    def _pressure(
        self, subject: Subject, variability: Variability, train: BeatTrain, tubes: Tubes, outlets: Outlets
    ) -> Complex[Array, "B K F"]:
        """Coefficients at the aortic root, at every site and at both ends of every gauge's piece."""
        plan, pieces, nodes, _ = self._structure
        omega, drain = self._lines(subject, variability, train)
        flow = jax.vmap(partial(flow_coefficients, n_frequencies=self.n_frequencies, n_samples=_FINE))(subject, train)
        return solve_network(plan, pieces, tubes, outlets, omega, flow, drain, nodes)

    def _lines(
        self, subject: Subject, variability: Variability, train: BeatTrain
    ) -> tuple[Float[Array, "B F"], Complex[Array, "B F"]]:
        """Angular frequencies, and coefficients of the pressure to which the beds drain."""
        omega = 2 * jnp.pi * jnp.arange(self.n_frequencies) / train.period[:, None]
        swing = closing_share(subject) * variability.venous_swing
        drain = jax.vmap(partial(venous_coefficients, n_frequencies=self.n_frequencies))(
            subject.outflow_pressure, swing, train
        )
        return omega, drain

    def _with_others(
        self,
        waves: Float[Array, "B K T"],
        pressure: Complex[Array, "B N F"],
        tubes: Tubes,
        outlets: Outlets,
        lines: tuple[Float[Array, "B F"], Complex[Array, "B F"]],
        train: BeatTrain,
        keys: Array,
    ) -> Float[Array, "B K T"]:
        """The waves, with flows and photoplethysmograms where they are asked for."""
        omega, drain = lines
        ends = pressure[:, 1 + len(self.sites) :]
        gauges = self._structure[3]
        flows = gauge_flow(gauges, tubes, omega, ends[:, ::2], ends[:, 1::2]) if self._gauged else ends
        for k, signal in enumerate(self._signals):
            if signal == "pressure":
                continue
            flow = flows[:, self._gauged.index(k)] if k in self._gauged else None
            if signal == "flow":
                wave = flow
            elif flow is not None:
                wave = tissue_volume(flow, pressure[:, k + 1], drain, omega)
            else:
                terminal = terminal_of(adult_network(), parse_site(self.sites[k])[0])
                wave = bed_pressure(outlets, cast("int", terminal), omega, pressure[:, k + 1], drain)
            sampled = jax.vmap(self._sample)(cast("Array", wave)[:, None], train.period, keys)[:, 0]
            scaled = scaled_ppg(sampled, rotate=self.beat == "periodic") if signal == "ppg" else sampled
            waves = waves.at[:, k].set(scaled)
        return waves

    def _sample(self, pressure: Complex[Array, "K F"], period: Array, key: Array) -> Float[Array, "K T"]:
        if self.beat == "periodic":
            time = period * jnp.arange(self.n_phases) / self.n_phases
        else:
            start = jax.random.uniform(jax.random.fold_in(key, 7), (), period.dtype)
            time = start * period + jnp.arange(self.n_samples) / self.fs
        return window_samples(pressure, period, time.astype(period.dtype), oversampling=_FINE)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def site_diameters(tubes: Tubes, names: tuple[str, ...]) -> Float[Array, "K B"]:
    """Lumen diameter at sites, at diastolic pressure [mm].

    Arguments:
        tubes: Segments, fields of shape (S, B).
        names: Names of sites.

    Returns:
        Diameters.

    Example:
        >>> tubes = make_tubes(healthy_subject(jnp.zeros((1, 7)).at[:, 0].set(25.0)))
        >>> 30 < float(site_diameters(tubes, ("AorticRoot",))[0, 0]) < 40
        True
    """
    places = [(SITES[name].segment - 1, SITES[name].fraction) for name in names]
    radii = [tubes.inlet_radius[s] * (1 - x) + tubes.outlet_radius[s] * x for s, x in places]
    return 2.0 * MM_PER_M * jnp.stack(radii)


def beat_extremes(coefficients: Complex[Array, " F"], train: BeatTrain) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Systolic and diastolic pressure at the root: mean over beats of each beat's highest and lowest pressure.

    Arguments:
        coefficients: Fourier coefficients of aortic root pressure [mmHg].
        train: The beats.

    Returns:
        Systolic and diastolic pressure [mmHg].

    Example:
        >>> beat = BeatTrain(*(jnp.asarray(v) for v in ([0.0], [70.0], [0.3], 1.0, 0.8, 1.0, 0.0)))
        >>> [round(float(p)) for p in beat_extremes(jnp.array([90.0, 10.0]) + 0j, beat)]
        [110, 70]
    """
    samples = _FINE // 4
    wave = jnp.fft.irfft(coefficients, samples) * samples
    time = train.period * jnp.arange(samples) / samples
    number = jnp.arange(train.onset.shape[0])
    end = jnp.append(train.onset[1:], jnp.inf)
    inside = (time >= train.onset[:, None]) & (time < end[:, None]) & (number < train.n_beats)[:, None]
    high = jnp.where(inside, wave, -jnp.inf).max(-1)
    low = jnp.where(inside, wave, jnp.inf).min(-1)
    real = number < train.n_beats
    return jnp.where(real, high, 0.0).sum() / train.n_beats, jnp.where(real, low, 0.0).sum() / train.n_beats


def _status(waves: Float[Array, "B K T"], quantities: Array, outlets: Outlets) -> UInt8[Array, " B"]:
    return judge_rows(quantities, waves.min((1, 2)), waves.max((1, 2)), outlets.mismatch)
