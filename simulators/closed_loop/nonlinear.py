r"""The closed loop drives the non-linear network: valve, ventricle and root are solved together at every step.

The systemic arteries of the loop are the non-linear network of 116 segments; its beds drain into the systemic veins of
the loop, or at the subject's closing pressure where that is higher. There is no impedance and no iteration over
waves: [`heart`][pulsebayes.simulators.network.nonlinear.heart] advances ring and root by one step, and
[`driving`][pulsebayes.simulators.closed_loop.driving] finds the periodic state. Parameters are those of
[`HeartNetwork`][pulsebayes.simulators.closed_loop.network.HeartNetwork]. Arteries hold blood as their walls say: their
stressed volume is what they hold beyond what would fill them without pressure.

References:
    Mynard & Smolich (2015), Ann Biomed Eng 43:1443 (a heart and a one-dimensional network). Units: mmHg, mL, s.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...waveforms.units import PA_PER_MMHG, convert
from ..network.linear import total_compliance
from ..network.nonlinear.compartments import make_compartments
from ..network.nonlinear.grid import Grid, Physics, Probe
from ..network.nonlinear.heart import ACTIVE, PASSIVE, REST, VOLUME, Ring
from ..network.nonlinear.periodic import PeriodicSettings, finite_rows, needed_steps, state_at_rest
from ..network.nonlinear.subjects import Adults, adult_grid, adult_physics, prepare_adults
from ..network.rhythm import Variability, steady_beat
from ..network.sites import SITES as ARTERIES
from ..status import DIVERGED, NOT_PERIODIC
from .activation import ATRIUM, VENTRICLE
from .batches import sample_beat
from .circuit import Beat, Circuit
from .driving import Beaten, arterial_volume, drive_network
from .network import ARTERIAL, HEART, ArterialHeart, check_site, nominal_subject, root_impedance
from .parameters import make_circuit
from .periodic import Settled, settle
from .simulator import loop_quantities, loop_status, site_signal

__all__ = ["Coupled", "NonlinearHeartNetwork", "make_ring"]

_FINE = 1024  # samples of the activation
_START = 512  # steps of a beat of the circuit that gives the start
_MMHG_ML = PA_PER_MMHG * 1e6  # Pa/m3 of a mmHg/mL, and Pa s/m3 of a mmHg s/mL


class Coupled(NamedTuple):
    r"""A batch of hearts and non-linear networks in their periodic state.

    `circuit`: the loops; `beat`: volumes, pressures and flows of the ring at even phases, the arteries' pressure that
    of the root; `pressure`: at the root, then at every artery asked for [mmHg], (n, K, B); `found`: how it came about.

    Example:
        >>> Coupled._fields
        ('circuit', 'beat', 'pressure', 'found', 'adults')
    """

    circuit: Circuit
    beat: Beat
    pressure: Float[np.ndarray, "n K B"]
    found: Beaten
    adults: Adults


def make_ring(circuit: Circuit, physics: Physics, volume: Float[np.ndarray, "2 4 B"], flow: Any) -> Ring:
    r"""The ring of a batch, in SI.

    Arguments:
        circuit: The circuits; their systemic arteries are left out, and what of the aortic valve's resistance lies
            behind it.
        physics: Numbers of the networks.
        volume: Volumes to start from [mL].
        flow: Flows to start from [mL/s].

    Returns:
        The rings.

    Example:
        >>> make_ring.__name__
        'make_ring'
    """
    c: Any = jax.tree.map(lambda x: np.asarray(x, np.float64), circuit)
    resistance = np.array(c.resistance)
    resistance[1, 0] -= c.root[0]
    units = {
        "passive": _MMHG_ML, "active": _MMHG_ML, "rest": 1e-6, "resistance": _MMHG_ML, "quadratic": _MMHG_ML * 1e6,
        "leak": 1 / _MMHG_ML, "leak_quadratic": _MMHG_ML * 1e6, "inertance": _MMHG_ML,
    }  # fmt: skip
    values = {name: getattr(c, name) for name in units} | {"resistance": resistance}
    numbers = np.stack([_in_ring(values[name]) * factor for name, factor in units.items()])
    moving = _in_ring(np.asarray(flow, np.float64)) * 1e-6
    state = np.stack([_in_ring(np.asarray(volume, np.float64)) * 1e-6, moving, moving])
    has = physics.compliance > 0
    beds = np.where(has, 1 / np.where(has, physics.r2, 1), 0.0)
    return Ring(numbers, state, beds, _activation(circuit))


def _activation(circuit: Circuit) -> Float[np.ndarray, "2 T B"]:
    """Activation of ventricles and atria at phases 0, 1/T, ..."""
    time = np.arange(_FINE)[:, None] / _FINE * np.asarray(circuit.period)
    atrial = np.mod(time + np.asarray(circuit.lead), np.asarray(circuit.period))
    pair = VENTRICLE.at(time, circuit.duration), ATRIUM.at(atrial, circuit.duration)
    return np.stack([np.asarray(x, np.float64) for x in pair])


def _in_ring(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, 0, 1).reshape(8, -1)


@dataclasses.dataclass(frozen=True)
class NonlinearHeartNetwork(ArterialHeart):
    r"""Simulator of the non-linear arterial network with the closed loop as its heart.

    Arguments:
        beat: `repeated` (windows that repeat a beat, from a random start) or `periodic` (one beat, from the onset of
            ventricular contraction).
        sites: Arteries of the network, for pressure; and compartments of the loop, with `:volume` or `:flow`
            (`AorticRoot:flow` is the flow through the aortic valve).
        duration_s: Length of the output window [s]; repeated only.
        fs: Output sampling rate [Hz]; repeated only.
        n_phases: Samples of a beat; periodic only.
        n_samples_beat: Samples of the beat that waves and quantities come from, a part of 1,024.
        dx_mm: Longest cell of the baseline [mm].
        tolerance_mL: Largest change of any volume over a beat that is called periodic [mL].
        tolerance_mmHg: The same for windkessels and mean arterial pressure [mmHg].
        max_beats: Most beats before a row is `not periodic`.
        precision: `float64`, or `float32` in half the time, where rounding loses a part in 100,000 of the blood a beat;
            that of the network, the heart is always in double precision.

    Raises:
        ValueError: If a value is out of range or a site unknown.

    Example:
        >>> simulator = NonlinearHeartNetwork(beat="periodic", sites=("AorticRoot", "Radial", "LV"))
        >>> simulator.space.dim, simulator.n_samples
        (35, 256)
    """

    beat: str = "repeated"
    sites: tuple[str, ...] = ("AorticRoot", "Radial")
    duration_s: float = 8.0
    fs: float = 125.0
    n_phases: int = 256
    n_samples_beat: int = 512
    dx_mm: float = 20.0
    tolerance_mL: float = 0.05
    tolerance_mmHg: float = 0.05
    max_beats: int = 40
    precision: str = "float64"

    name = "nonlinear-heart-network"
    version = "1"
    _together = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        for name, choices in (("beat", ("repeated", "periodic")), ("precision", ("float32", "float64"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not self.sites:
            raise ValueError("sites must name at least one site, got none")
        for site in self.sites:
            check_site(site)
        for name in ("duration_s", "fs", "dx_mm", "tolerance_mL", "tolerance_mmHg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.n_samples_beat not in (64, 128, 256, 512, 1024):
            raise ValueError(f"n_samples_beat must be 64, 128, 256, 512 or 1024, got {self.n_samples_beat}")
        if not (self.n_phases >= 16 and self.max_beats >= 1):
            raise ValueError(
                f"n_phases must be 16 or more and max_beats 1 or more, got {self.n_phases}, {self.max_beats}"
            )

    @property
    def _grid(self) -> Grid:
        return adult_grid(self.dx_mm)

    def solve(self, theta: Float[np.ndarray, "N D"]) -> Coupled:
        r"""Solves a few rows and keeps everything.

        Arguments:
            theta: Parameters in the order of `space`.

        Returns:
            Hearts and networks.

        Raises:
            ValueError: If ``theta`` has another shape.
        """
        found: Coupled = self._solved(jnp.asarray(self._rows(theta)))
        return found

    @cached_property
    def _prepared(self) -> Any:
        def prepare(theta: Array) -> tuple[Adults, Circuit]:
            subject = nominal_subject(theta)
            zero = jnp.zeros(theta.shape[:1], theta.dtype)
            variability = Variability(15.0 + zero, zero, zero, zero, zero, zero)
            adults = prepare_adults(subject, variability, jax.vmap(steady_beat)(subject), samples=_FINE)
            return adults, _loop_circuit(theta, adults)

        return jax.jit(prepare)

    @cached_property
    def _solved(self) -> Any:
        def solve(theta: Array) -> Coupled:
            adults, circuit = self._prepared(theta)
            start = settle(circuit, n_steps=_START, tolerance_mL=self.tolerance_mL, max_beats=30)
            return self._coupled(adults, circuit, start)

        return solve

    def _coupled(self, adults: Adults, circuit: Circuit, start: Settled) -> Coupled:
        whole, _ = adult_physics(self._grid, jax.tree.map(np.asarray, adults), healthy=False)
        physics, _ = finite_rows(whole)
        begun = _with_start(physics, circuit, start)
        slow = make_compartments(self._grid, begun)
        begun, physics = (Physics(*(np.asarray(a, self.precision) for a in x)) for x in (begun, physics))
        state = state_at_rest(self._grid, begun, slow)
        ring = make_ring(circuit, physics, start.state.volume, start.state.middle)
        ring = _with_total(ring, circuit, arterial_volume(self._grid, physics, state))
        n = self.n_samples_beat
        need = needed_steps(self._grid, physics, slow, PeriodicSettings()).max()
        probes = [Probe(0, 0.0), *(Probe(ARTERIES[s].segment - 1, ARTERIES[s].fraction) for s in self._arteries)]
        found = drive_network(
            self._grid, physics, state, ring, self._grid.interpolation(probes), n_steps=int(np.ceil(need / n)) * n,
            n_samples=n, tolerance_mL=self.tolerance_mL, tolerance_mmHg=self.tolerance_mmHg, max_beats=self.max_beats,
        )  # fmt: skip
        pressure = convert((found.waves.pressure + found.waves.viscous)[:-1].astype(np.float64), "Pa", "mmHg")
        return Coupled(circuit, _beat(ring, found, pressure[:, 0]), pressure, found, adults)

    def _block(self, theta: Float[Array, "B D"], keys: Array) -> tuple[Any, Any, Any]:
        found: Coupled = self._solved(theta)
        waves, quantities, status = self._shown(found, keys)
        status = np.where(found.found.swing > 1.5 * PA_PER_MMHG * self.tolerance_mmHg, NOT_PERIODIC, status)
        return waves, quantities, np.where(found.found.failed, DIVERGED, status).astype(np.uint8)

    def _outputs(self, solved: Coupled, keys: Array) -> tuple[Array, Array, Array]:
        circuit, beat, pressure = solved.circuit, Beat(*map(jnp.asarray, solved.beat)), jnp.asarray(solved.pressure)
        quantities = loop_quantities(circuit, beat, pressure[:, 0])
        none = jnp.zeros_like(circuit.total)
        change = jnp.asarray(1e6 * solved.found.change)
        settled = Settled(None, beat, none, none, change, none)  # type: ignore[arg-type]
        status = loop_status(quantities, settled, self.tolerance_mL)
        place = {"AorticRoot": 0, **{name: k + 1 for k, name in enumerate(self._arteries)}}
        signals = [pressure[:, place[s]] if s in place else site_signal(circuit, beat, s) for s in self.sites]
        waves = jax.vmap(self._sample, (2, 0, 0))(jnp.stack(signals, axis=1), circuit.period, keys)
        quantities = jnp.concatenate([quantities, solved.adults.subject.pulse_wave_velocity[:, None]], axis=-1)
        return waves.astype(jnp.float32), quantities.astype(jnp.float32), status

    def _sample(self, signals: Float[Array, "n K"], period: Array, key: Array) -> Float[Array, "K T"]:
        """As every simulator of a beat, but these signals stand at the beginning of their steps."""
        late = 0.5 / signals.shape[0]
        if self.beat == "periodic":
            return sample_beat(signals, jnp.arange(self.n_phases) / self.n_phases + late)
        start = jax.random.uniform(key, (), jnp.float32) + late
        return sample_beat(signals, start + jnp.arange(self.n_samples) / (self.fs * period))


def _loop_circuit(theta: Float[Array, "B D"], adults: Adults) -> Circuit:
    """The loop whose systemic arteries are a windkessel with the network's resistance, compliance and impedance."""
    subject, outlets = adults.subject, adults.outlets
    values = dict(zip(HEART.names, jnp.moveaxis(theta, -1, 0)[ARTERIAL.dim :], strict=True))
    root = root_impedance(subject)
    values |= {
        "heart_rate": subject.heart_rate, "systemic_resistance": 1 / (1 / (outlets.r1 + outlets.r2)).sum(0) - root,
        "arterial_compliance": total_compliance(adults.tubes, outlets), "aortic_impedance": root,
    }  # fmt: skip
    return make_circuit(values, closing=subject.outflow_pressure)


def _with_start(physics: Physics, circuit: Circuit, start: Settled) -> Physics:
    """The numbers with the inflow and the veins' pressure that the circuit alone has."""
    veins = np.maximum(start.beat.pressure[:, 3].mean(0), circuit.closing)
    flow = convert(np.asarray(start.beat.flow[:, 1], np.float64), "mL/s", "m^3/s")
    drain = convert(np.broadcast_to(np.asarray(veins, np.float64), physics.drain.shape), "mmHg", "Pa")
    return physics._replace(inflow=flow, swing=0 * flow, drain=drain)


def _with_total(ring: Ring, circuit: Circuit, arteries: Float[np.ndarray, " B"]) -> Ring:
    """The ring with what its circuit holds beside the network: what is missing spreads as compliance does."""
    state = ring.state.copy()
    state[VOLUME, 2] = arteries
    missing = 1e-6 * np.asarray(circuit.total, np.float64) - state[VOLUME].sum(0)
    share = 1 / ring.numbers[PASSIVE]
    share[2] = 0
    state[VOLUME] += missing * share / share.sum(0)
    return ring._replace(state=state)


def _beat(ring: Ring, found: Beaten, root: Float[np.ndarray, "n B"]) -> Beat:
    """The ring over the last beat, in mmHg and mL."""
    volume, flow = found.trace.volume[:-1], found.trace.flow[:-1]
    phi = ring.phi[:, np.arange(len(volume)) * ring.phi.shape[1] // len(volume)]  # ventricles, atria
    elastance = ring.numbers[PASSIVE] + ring.numbers[ACTIVE] * phi[0][:, None]
    elastance[:, ::4] = ring.numbers[PASSIVE, ::4] + ring.numbers[ACTIVE, ::4] * phi[1][:, None]
    pressure = convert(elastance * (volume - ring.numbers[REST]), "Pa", "mmHg")
    pressure[:, 2] = root
    return Beat(1e6 * volume, pressure, 1e6 * flow)
