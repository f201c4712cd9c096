r"""The closed loop drives the arterial network: stroke volume, ejection time and load find each other.

The systemic arteries of the loop are the network of 116 segments. Pressure at its root is that of a windkessel with the
network's own resistance $R$, compliance $C$ and characteristic impedance $Z_c$, and what the network adds to it:

$$
P(t) = P_{wk}(t) + \delta(t), \qquad
\delta(t) = 2\,\mathrm{Re} \sum_{k=1}^{K} \Big( Z_k - Z_c - \frac{R}{1 + i\omega_k R C} \Big)\,
\hat Q_k\, e^{i\omega_k t}
$$

The windkessel is integrated with the heart, beat after beat; $\delta$ follows from the flow of the last beat, and
volumes and $\delta$ are found together, each beat a step of one accelerated iteration. The two agree with the network
when it has ended, whatever the windkessel was. Beds drain at the subject's closing pressure, or at that of the systemic
veins where it is higher; arterial properties, beds and closing pressure are those of the clinical population for the
rate, the stature and a nominal mean pressure, which fixes the resistance as if stroke volume were that of the rate.

References:
    | Westerhof, Elzinga & Sipkema (1971), J Appl Physiol 31:776 (the heart's load as an impedance)
    | Mynard & Smolich (2015), Ann Biomed Eng 43:1443 (a heart and a one-dimensional network). Units: mmHg, mL, s.
"""

from __future__ import annotations

import dataclasses
from functools import cache, cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..clinical import CLINICAL, clinical_subject
from ..network.elimination import Plan, plan_elimination
from ..network.geometry import adult_network
from ..network.linear import make_tubes, solve_network, total_compliance
from ..network.outlets import make_outlets
from ..network.sites import SITES as ARTERIES
from ..network.sites import place_sites
from ..network.transmission import Pieces, cut_segments, line_constants
from ..parameters import ParameterSpace
from ..population import Subject
from ..status import NOT_PERIODIC, OK
from .batches import BeatSimulator
from .circuit import Circuit
from .parameters import ADULT, make_circuit
from .periodic import Settled, settle
from .simulator import SITES, UNITS, loop_quantities, loop_status, site_signal

__all__ = [
    "ARTERIAL", "HEART", "ArterialHeart", "Driven", "HeartNetwork", "check_site", "nominal_subject", "root_impedance",
    "transfer_impedance",
]  # fmt: skip

_WITHOUT = (
    "stroke_volume_deviation", "ejection_time_deviation", "venous_pressure", "peak_time_fraction", "reverse_fraction",
    "deceleration_exponent", "respiration_rate", "rate_swing", "stroke_swing", "venous_swing", "irregularity", "ectopy",
)  # fmt: skip
ARTERIAL = ParameterSpace(p for p in CLINICAL.parameters if p.name not in _WITHOUT)
"""What is free of the arteries: the clinical population without what the heart now decides."""
HEART = ParameterSpace(
    p for p in ADULT.parameters
    if p.name not in ("heart_rate", "systemic_resistance", "arterial_compliance", "aortic_impedance")
)  # fmt: skip
"""What is free of the heart, the veins and the lungs."""


@dataclasses.dataclass(frozen=True)
class Driven:
    r"""A batch of hearts and networks that have found each other.

    Arguments:
        circuit: The loops; their arteries are the windkessels that stand for the networks.
        found: Their periodic states.
        impedance: Input impedance, then the transfer impedance of every site [mmHg s/mL].
        compliance: Total arterial compliance [mL/mmHg].
        subject: The adults.

    Example:
        >>> [field.name for field in dataclasses.fields(Driven)][:2]
        ['circuit', 'found']
    """

    circuit: Circuit
    found: Settled
    impedance: Complex[Any, "B K F"]
    compliance: Float[Any, " B"]
    subject: Subject

    def pressure(self) -> Float[Array, "n K B"]:
        r"""Pressure at the aortic root, then at every site, at the middle of the steps [mmHg].

        At the root it is that which the valve felt: beyond the harmonics of the network, characteristic impedance.
        """
        flow, n = self.found.beat.flow[:, 1], self.found.beat.flow.shape[0]
        lines = self.impedance * _coefficients(flow, self.impedance.shape[-1])[:, None]
        drain = jnp.maximum(self.found.beat.pressure[:, 3], self.circuit.closing).mean(0)
        waves: Float[Array, "n K B"] = jnp.moveaxis(_wave(lines, n), -1, 0).swapaxes(1, 2) + drain
        felt = self.found.beat.pressure[:, 2] + self.circuit.root[0] * flow + self.found.added
        return waves.at[:, 0].set(felt)

    def disagreement(self) -> Float[Array, " B"]:
        r"""Largest difference between root pressure as the valve felt it and as the network answers its flow [mmHg].

        Both in the harmonics of the network.
        """
        flow, n = self.found.beat.flow[:, 1], self.impedance.shape[-1]
        drain = jnp.maximum(self.found.beat.pressure[:, 3], self.circuit.closing).mean(0)
        answer = self.impedance[:, 0] * _coefficients(flow, n)
        felt = _coefficients(self.pressure()[:, 0] - drain, n)
        return jnp.abs(_wave(answer - felt, flow.shape[0])).max(-1)


@cache
def _structure(sites: tuple[str, ...]) -> tuple[Plan, Pieces, tuple[int, ...]]:
    nodes, splits = place_sites(adult_network(), sites)
    pieces = cut_segments(adult_network(), splits)
    return plan_elimination(pieces.inlet, pieces.outlet, (0, *nodes)), pieces, (0, *nodes)


def transfer_impedance(
    sites: tuple[str, ...], subject: Subject, omega: Float[Array, "B F"]
) -> tuple[Complex[Array, "B K F"], Float[Array, " B"]]:
    r"""Pressure at the aortic root and at every site of the network for a unit of aortic flow, and total compliance.

    Arguments:
        sites: Names of arteries.
        subject: Adults, fields of shape (B,).
        omega: Angular frequencies [rad/s].

    Returns:
        Input impedance, then the transfer impedance of every site [mmHg s/mL], and compliance [mL/mmHg].

    Example:
        >>> from pulsebayes.simulators.population import healthy_subject
        >>> adult = healthy_subject(jnp.zeros((1, 7)).at[:, 0].set(25.0))
        >>> found, _ = transfer_impedance(("Radial",), adult, jnp.array([[0.0, 50.0]]))
        >>> bool(abs(found[0, 0, 1]) < 0.3 * abs(found[0, 0, 0]))  # a beat meets less than the mean
        True
    """
    plan, pieces, nodes = _structure(sites)
    tubes = make_tubes(subject)
    outlets = make_outlets(subject, tubes)
    one = jnp.ones(omega.shape, jnp.result_type(omega, 1j))
    found = solve_network(plan, pieces, tubes, outlets, omega, one, 0 * one, nodes)
    return found, total_compliance(tubes, outlets)


def _coefficients(wave: Float[Array, "n B"], n_frequencies: int) -> Complex[Array, "B F"]:
    return jnp.fft.rfft(wave.T, axis=-1)[:, :n_frequencies] / wave.shape[0]


def _wave(coefficients: Complex[Array, "*batch F"], n: int) -> Float[Array, "*batch n"]:
    real = coefficients.at[..., 0].set(coefficients[..., 0].real)
    found: Float[Array, "*batch n"] = jnp.fft.irfft(real, n, axis=-1) * n
    return found


class ArterialHeart(BeatSimulator):
    r"""What a heart that drives a network of arteries has, linear or not: parameters, quantities, arteries asked for.

    Example:
        >>> issubclass(HeartNetwork, ArterialHeart), "PWV" in HeartNetwork().quantity_names
        (True, True)
    """

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Its parameters and their prior."""
        return ParameterSpace((*ARTERIAL.parameters, *HEART.parameters))

    @property
    def quantity_names(self) -> tuple[str, ...]:
        r"""Symbols of the returned quantities."""
        return (*UNITS, "PWV")

    @property
    def units(self) -> dict[str, str]:
        r"""Unit of every returned variable; `waves` of pressure sites."""
        return {"waves": "mmHg", **UNITS, "PWV": "m/s"}

    @property
    def _arteries(self) -> tuple[str, ...]:
        return tuple(s for s in self.sites if s in ARTERIES and s != "AorticRoot")


@dataclasses.dataclass(frozen=True)
class HeartNetwork(ArterialHeart):
    r"""Simulator of the arterial network with the closed loop as its heart.

    Arguments:
        beat: `repeated` (windows that repeat a beat, from a random start) or `periodic` (one beat, from the onset of
            ventricular contraction).
        sites: Arteries of the network, for pressure; and compartments of the loop, with `:volume` or `:flow`
            (`AorticRoot:flow` is the flow through the aortic valve).
        duration_s: Length of the output window [s]; repeated only.
        fs: Output sampling rate [Hz]; repeated only.
        n_phases: Samples of a beat; periodic only.
        n_steps: Steps of a beat.
        n_harmonics: Harmonics of the beat in which the network answers.
        tolerance_mL: Largest change of any volume over a beat that is called periodic [mL].
        tolerance_mmHg: Largest change of what the network adds to pressure from beat to beat [mmHg].
        max_beats: Most beats before a row is `not periodic`.

    Raises:
        ValueError: If a value is out of range or a site unknown.

    Example:
        >>> simulator = HeartNetwork(beat="periodic", sites=("AorticRoot", "Radial", "LV"), n_steps=128, n_harmonics=16)
        >>> theta = simulator.space.sample(np.random.default_rng(0), 2)
        >>> simulator.simulate(theta, seed=1).waves.shape
        (2, 3, 256)
    """

    beat: str = "repeated"
    sites: tuple[str, ...] = ("AorticRoot", "Radial")
    duration_s: float = 8.0
    fs: float = 125.0
    n_phases: int = 256
    n_steps: int = 512
    n_harmonics: int = 48
    tolerance_mL: float = 0.02
    tolerance_mmHg: float = 0.05
    max_beats: int = 60

    name = "heart-network"
    version = "1"
    _together = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        if self.beat not in ("repeated", "periodic"):
            raise ValueError(f"beat must be one of repeated, periodic, got {self.beat!r}")
        if not self.sites:
            raise ValueError("sites must name at least one site, got none")
        for site in self.sites:
            check_site(site)
        for name in ("duration_s", "fs", "tolerance_mL", "tolerance_mmHg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not (self.n_steps >= 32 and self.n_phases >= 16 and self.max_beats >= 1):
            raise ValueError("n_steps must be 32 or more, n_phases 16 or more and max_beats 1 or more")
        if not 2 <= self.n_harmonics < self.n_steps // 2:
            raise ValueError(f"n_harmonics must lie in 2..{self.n_steps // 2 - 1}, got {self.n_harmonics}")

    def solve(self, theta: Float[np.ndarray, "N D"]) -> Driven:
        r"""Solves a few rows and keeps everything.

        Arguments:
            theta: Parameters in the order of `space`.

        Returns:
            Hearts and networks.

        Raises:
            ValueError: If ``theta`` has another shape.

        Example:
            >>> simulator = HeartNetwork(n_steps=128, n_harmonics=16)
            >>> driven = simulator.solve(simulator.space.sample_quantiles(np.full((1, simulator.space.dim), 0.5)))
            >>> driven.pressure().shape
            (128, 2, 1)
        """
        return Driven(*self._solved(jnp.asarray(self._rows(theta))))

    def _drive(self, theta: Float[Array, "B D"]) -> Driven:
        subject = nominal_subject(theta)
        period = 60.0 / subject.heart_rate
        omega = 2 * jnp.pi * jnp.arange(self.n_harmonics + 1) / period[:, None]
        impedance, compliance = transfer_impedance(self._arteries, subject, omega)
        total, root = impedance[:, 0, 0].real, root_impedance(subject)
        values = dict(zip(HEART.names, jnp.moveaxis(theta, -1, 0)[ARTERIAL.dim :], strict=True))
        values |= {
            "heart_rate": subject.heart_rate, "systemic_resistance": total - root, "arterial_compliance": compliance,
            "aortic_impedance": root,
        }  # fmt: skip
        circuit = make_circuit(values, closing=subject.outflow_pressure)
        drop = (total - root)[:, None]
        rest = impedance[:, 0] - root[:, None] - drop / (1 + 1j * omega * drop * compliance[:, None])
        rest = rest.at[:, 0].set(0)

        def respond(flow: Float[Array, "n B"]) -> Float[Array, "n B"]:
            return _wave(rest * _coefficients(flow, self.n_harmonics + 1), self.n_steps).T

        found = settle(
            circuit, n_steps=self.n_steps, tolerance_mL=self.tolerance_mL, tolerance_mmHg=self.tolerance_mmHg,
            max_beats=self.max_beats, respond=respond,
        )  # fmt: skip
        return Driven(circuit, found, impedance, compliance, subject)

    @cached_property
    def _solved(self) -> Any:
        def parts(theta: Array) -> tuple[Any, ...]:
            driven = self._drive(theta)
            return driven.circuit, driven.found, driven.impedance, driven.compliance, driven.subject

        return jax.jit(parts)

    def _outputs(self, solved: tuple[Any, ...], keys: Array) -> tuple[Array, Array, Array]:
        driven = Driven(*solved)
        circuit, found, pressure = driven.circuit, driven.found, driven.pressure()
        quantities = loop_quantities(circuit, found.beat, pressure[:, 0])
        status = loop_status(quantities, found, self.tolerance_mL)
        lost = (status == OK) & ~(found.pressure_change <= 2 * self.tolerance_mmHg)
        status = jnp.where(lost, NOT_PERIODIC, status)
        place = {"AorticRoot": 0, **{name: k + 1 for k, name in enumerate(self._arteries)}}
        signals = [
            pressure[:, place[site]] if site in place else site_signal(circuit, found.beat, site) for site in self.sites
        ]
        waves = jax.vmap(self._sample, (2, 0, 0))(jnp.stack(signals, axis=1), circuit.period, keys)
        quantities = jnp.concatenate([quantities, driven.subject.pulse_wave_velocity[:, None]], axis=-1)
        return waves.astype(jnp.float32), quantities.astype(jnp.float32), status.astype(jnp.uint8)


def nominal_subject(theta: Float[Array, "B D"]) -> Subject:
    r"""The clinical adult with the prior's medians for what the heart decides.

    Arguments:
        theta: Parameters that begin with those of `ARTERIAL`.

    Returns:
        The adults.

    Example:
        >>> float(nominal_subject(jnp.asarray(ARTERIAL.sample_quantiles(np.full((1, ARTERIAL.dim), 0.5)))).age[0]) > 18
        True
    """
    medians = CLINICAL.sample_quantiles(np.full(CLINICAL.dim, 0.5)).astype(np.float32)
    own = [CLINICAL.index(name) for name in ARTERIAL.names]
    whole = jnp.broadcast_to(jnp.asarray(medians), (theta.shape[0], CLINICAL.dim))
    return clinical_subject(whole.at[:, np.array(own)].set(theta[:, : ARTERIAL.dim]))[0]


def root_impedance(subject: Subject) -> Float[Array, " B"]:
    r"""Characteristic impedance of the aortic root.

    Arguments:
        subject: The adults.

    Returns:
        Impedances [mmHg s/mL].

    Example:
        >>> adult = nominal_subject(jnp.asarray(ARTERIAL.sample_quantiles(np.full((1, ARTERIAL.dim), 0.5))))
        >>> 0.02 < float(root_impedance(adult)[0]) < 0.08
        True
    """
    _, inertance, compliance, _ = line_constants(make_tubes(subject), np.array([0]), np.array([0.0]))
    root: Float[Array, " B"] = jnp.sqrt(inertance[0] / compliance[0])
    return root


def check_site(text: str) -> None:
    r"""Refuses what is neither an artery nor a compartment.

    Arguments:
        text: A site.

    Raises:
        ValueError: If it is unknown.

    Example:
        >>> check_site("AorticRoot:flow")
    """
    name, _, signal = text.partition(":")
    if text in ARTERIES or text == "AorticRoot:flow":
        return
    if name in SITES and name != "AorticRoot" and signal in ("", "volume", "flow"):
        return
    chambers = ", ".join(site for site in SITES if site != "AorticRoot")
    raise ValueError(
        f"a site must be an artery ({', '.join(ARTERIES)}), AorticRoot:flow, or one of {chambers}, alone or with "
        f":volume or :flow, got {text!r}"
    )
