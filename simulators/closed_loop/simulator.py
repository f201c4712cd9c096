r"""The closed loop as a simulator of training sets: pressures, volumes and flows by site, quantities and status.

A site is a compartment, by itself for its pressure [mmHg], with `:volume` for its volume [mL] or `:flow` for the flow
into it [mL/s]: `AorticRoot:flow` is that of the aortic valve, `LV:flow` that of the mitral valve. Quantities are those
of `waveforms.quantities`, from one periodic beat; mean pressures are those of the roots, central venous pressure is the
mean of the right atrium.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ...waveforms.quantities import cardiac_output, ejection_fraction, stroke_work, systemic_vascular_resistance
from ..parameters import ParameterSpace
from ..status import DIVERGED, NOT_PERIODIC, OK, UNPHYSIOLOGICAL
from .batches import BeatSimulator
from .circuit import Beat, Circuit
from .parameters import ADULT, SEPTUM, VALVE_DISEASE, heart_circuit
from .periodic import Settled, settle

__all__ = ["SITES", "UNITS", "ClosedLoop", "loop_quantities", "loop_status", "site_signal"]

SITES = {
    "LA": 0, "LV": 1, "AorticRoot": 2, "SystemicVeins": 3, "RA": 4, "RV": 5, "PulmonaryArtery": 6, "PulmonaryVeins": 7,
}  # fmt: skip
"""Where waves are to be had: the compartments by name."""
UNITS = {
    "HR": "1/min", "SV": "mL", "LVET": "ms", "C": "mL/mmHg", "MAP": "mmHg", "CVP": "mmHg", "SBP": "mmHg",
    "DBP": "mmHg", "CO": "L/min", "SVR": "dyn s cm^-5", "EDV": "mL", "ESV": "mL", "EF": "%", "SW": "J",
    "LAP": "mmHg", "PAP": "mmHg",
}  # fmt: skip
"""Quantities and their units."""

_SIGNALS = {"pressure": "mmHg", "volume": "mL", "flow": "mL/s"}


def _site(text: str) -> tuple[int, str]:
    name, _, signal = text.partition(":")
    if name not in SITES or (signal or "pressure") not in _SIGNALS:
        raise ValueError(f"a site must be one of {', '.join(SITES)}, alone or with :volume or :flow, got {text!r}")
    return SITES[name], signal or "pressure"


@dataclasses.dataclass(frozen=True)
class ClosedLoop(BeatSimulator):
    r"""Simulator of the heart and the whole circulation, without dimension in space.

    Arguments:
        valves: `sound`, or `diseased`: areas and leaks of aortic and mitral valve are free too.
        septum: Whether the ventricles feel each other; its elastance is then free.
        beat: `repeated` (windows that repeat a beat, from a random start) or `periodic` (one beat, from the onset of
            ventricular contraction).
        sites: Compartments, with `:volume` or `:flow` for another signal than pressure.
        duration_s: Length of the output window [s]; repeated only.
        fs: Output sampling rate [Hz]; repeated only.
        n_phases: Samples of a beat; periodic only.
        n_steps: Steps of a beat.
        tolerance_mL: Largest change of any volume over a beat that is called periodic [mL].
        max_beats: Most beats before a row is `not periodic`.
        precision: `float32` or `float64` (needs `jax.enable_x64`).

    Raises:
        ValueError: If a value is out of range or a site unknown.

    Example:
        >>> simulator = ClosedLoop(beat="periodic", sites=("AorticRoot", "LV", "LV:volume"), n_steps=128)
        >>> theta = simulator.space.sample(np.random.default_rng(0), 2)
        >>> simulator.simulate(theta, seed=1).waves.shape
        (2, 3, 256)
    """

    valves: str = "sound"
    septum: bool = False
    beat: str = "repeated"
    sites: tuple[str, ...] = ("AorticRoot", "RA", "PulmonaryArtery", "LV", "LV:volume")
    duration_s: float = 8.0
    fs: float = 125.0
    n_phases: int = 256
    n_steps: int = 512
    tolerance_mL: float = 0.02
    max_beats: int = 60
    precision: str = "float32"

    name = "closed-loop"
    version = "1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        for name, choices in (
            ("valves", ("sound", "diseased")),
            ("beat", ("repeated", "periodic")),
            ("precision", ("float32", "float64")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not isinstance(self.septum, bool):
            raise ValueError(f"septum must be true or false, got {self.septum!r}")
        if not self.sites:
            raise ValueError("sites must name at least one site, got none")
        for site in self.sites:
            _site(site)
        for name in ("duration_s", "fs", "tolerance_mL"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not (32 <= self.n_steps <= 65536 and self.n_phases >= 16 and self.max_beats >= 1):
            raise ValueError(
                f"n_steps must lie in 32..65536, n_phases be 16 or more and max_beats 1 or more, got {self.n_steps}, "
                f"{self.n_phases} and {self.max_beats}"
            )

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Its parameters and their prior."""
        more = (*(VALVE_DISEASE.parameters if self.valves == "diseased" else ()),)
        more += SEPTUM.parameters if self.septum else ()
        return ParameterSpace((*ADULT.parameters, *more))

    @property
    def quantity_names(self) -> tuple[str, ...]:
        r"""Symbols of the returned quantities."""
        return tuple(UNITS)

    @property
    def units(self) -> dict[str, str]:
        r"""Unit of every returned variable; `waves` where all sites share one."""
        signals = {_SIGNALS[_site(site)[1]] for site in self.sites}
        return {"waves": signals.pop() if len(signals) == 1 else "see site", **UNITS}

    def solve(self, theta: Float[np.ndarray, "N D"]) -> tuple[Circuit, Settled]:
        r"""Solves a few rows and keeps everything: the circuits, and the beat of every compartment and path.

        Arguments:
            theta: Parameters in the order of `space`.

        Returns:
            Circuits, and their periodic states.

        Raises:
            ValueError: If ``theta`` has another shape.

        Example:
            >>> loop = ClosedLoop(n_steps=128)
            >>> circuit, found = loop.solve(loop.space.sample_quantiles(np.full((1, loop.space.dim), 0.5)))
            >>> found.beat.volume.shape
            (128, 8, 1)
        """
        found: tuple[Circuit, Settled] = self._solved(jnp.asarray(self._rows(theta)))
        return found

    @cached_property
    def _circuit(self) -> Any:
        return jax.jit(partial(heart_circuit, names=self.space.names))

    @cached_property
    def _solved(self) -> Any:
        def solve(theta: Array) -> tuple[Circuit, Settled]:
            circuit = self._circuit(theta)
            found = settle(circuit, n_steps=self.n_steps, tolerance_mL=self.tolerance_mL, max_beats=self.max_beats)
            return circuit, found

        return solve

    def _outputs(self, solved: tuple[Circuit, Settled], keys: Array) -> tuple[Array, Array, Array]:
        circuit, found = solved
        quantities = loop_quantities(circuit, found.beat)
        status = loop_status(quantities, found, self.tolerance_mL)
        signals = [site_signal(circuit, found.beat, site) for site in self.sites]
        waves = jax.vmap(self._sample, (2, 0, 0))(jnp.stack(signals, axis=1), circuit.period, keys)
        return waves.astype(jnp.float32), quantities.astype(jnp.float32), status


def site_signal(circuit: Circuit, beat: Beat, site: str) -> Float[Array, "n B"]:
    r"""What is measured at a site over a beat.

    Arguments:
        circuit: The circuits.
        beat: Their beat.
        site: A compartment of `SITES`, alone for its pressure or with `:volume` or `:flow`.

    Returns:
        Pressure [mmHg], volume [mL] or flow into the compartment [mL/s].

    Raises:
        ValueError: If the site is unknown.

    Example:
        >>> loop = ClosedLoop(n_steps=128)
        >>> circuit, found = loop.solve(loop.space.sample_quantiles(np.full((1, loop.space.dim), 0.5)))
        >>> 100 < float(site_signal(circuit, found.beat, "AorticRoot").max()) < 130
        True
    """
    number, signal = _site(site)
    flow: Array = beat.flow[:, number - 1]
    if signal == "flow":
        return flow
    if signal == "volume":
        volume: Array = beat.volume[:, number]
        return volume
    root = {2: 0, 6: 1}.get(number)
    pressure: Array = beat.pressure[:, number] + (0.0 if root is None else circuit.root[root] * flow)
    return pressure


def loop_quantities(circuit: Circuit, beat: Beat, root: Float[Array, "n B"] | None = None) -> Float[Array, "B Q"]:
    r"""Quantities of one periodic beat, in the order of `UNITS`.

    Arguments:
        circuit: The circuits.
        beat: Their beat.
        root: Pressure at the aortic root, where it is not that of the circuit's own arteries [mmHg].

    Returns:
        Quantities, each in its unit.

    Example:
        >>> loop = ClosedLoop(n_steps=128)
        >>> circuit, found = loop.solve(loop.space.sample_quantiles(np.full((1, loop.space.dim), 0.5)))
        >>> 65 < float(loop_quantities(circuit, found.beat)[0, 1]) < 80
        True
    """
    root = site_signal(circuit, beat, "AorticRoot") if root is None else root
    ventricle = beat.volume[:, 1]
    rate = 60.0 / circuit.period
    volume = beat.flow[:, 1].mean(0) * circuit.period
    output = cardiac_output(rate, volume)
    mean, venous = root.mean(0), beat.pressure[:, 4].mean(0)
    largest, least = ventricle.max(0), ventricle.min(0)
    work = stroke_work(beat.pressure[:, 1].T, (beat.flow[:, 1] - beat.flow[:, 0]).T, circuit.period)
    values = (
        rate, volume, 1e3 * (beat.flow[:, 1] > 0).mean(0) * circuit.period, 1 / circuit.passive[0, 1], mean, venous,
        root.max(0), root.min(0), output, systemic_vascular_resistance(mean, venous, output), largest, least,
        ejection_fraction(largest, least), work, beat.pressure[:, 0].mean(0),
        site_signal(circuit, beat, "PulmonaryArtery").mean(0),
    )  # fmt: skip
    return jnp.stack(values, axis=-1)


def loop_status(quantities: Float[Array, "B Q"], found: Settled, tolerance_mL: float) -> UInt8[Array, " B"]:
    r"""Status of each row.

    Arguments:
        quantities: Its quantities, in the order of `UNITS`.
        found: Its periodic state.
        tolerance_mL: Largest change of a volume over a beat that is called periodic [mL].

    Returns:
        Codes of `simulators.status`.

    Example:
        >>> loop = ClosedLoop(n_steps=128)
        >>> circuit, found = loop.solve(loop.space.sample_quantiles(np.full((1, loop.space.dim), 0.5)))
        >>> loop_status(loop_quantities(circuit, found.beat), found, 0.02).tolist()
        [0]
    """
    q = dict(zip(UNITS, quantities.T, strict=True))
    alive = (q["MAP"] > 25.0) & (q["SBP"] < 300.0) & (q["SBP"] - q["DBP"] > 2.0) & (q["SV"] > 5.0)
    alive &= (q["CVP"] < 40.0) & (q["LAP"] < 60.0) & (q["PAP"] < 100.0) & (found.beat.volume > 0).all((0, 1))
    finite = jnp.isfinite(quantities).all(-1) & jnp.isfinite(found.beat.volume).all((0, 1))
    status = jnp.where(alive, OK, UNPHYSIOLOGICAL)
    status = jnp.where(found.volume_change <= 1.5 * tolerance_mL, status, NOT_PERIODIC)
    return jnp.where(finite, status, DIVERGED).astype(jnp.uint8)
