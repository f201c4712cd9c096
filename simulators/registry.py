r"""Simulators by name, and what every simulator offers.

A training set names its simulator by a [`SimulatorSpec`][pulsebayes.simulators.registry.SimulatorSpec], a name and its
configuration, which travels to worker processes and into files; ``build`` turns it into the object. A simulator of your
own is named by its import path, ``"package.module:Class"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple, Protocol, cast

import numpy as np
from jaxtyping import Float, Float32, UInt8

from .parameters import ParameterSpace

__all__ = ["HOMES", "Simulated", "SimulatedRows", "Simulator", "SimulatorSpec", "build"]

HOMES: dict[str, str] = {
    "closed-loop": ".closed_loop:ClosedLoop",
    "heart-network": ".closed_loop:HeartNetwork",
    "linear-network": ".network:LinearNetwork",
    "network": ".network.nonlinear:NonlinearNetwork",
    "nonlinear-heart-network": ".closed_loop:NonlinearHeartNetwork",
    "reference-network": ".reference:ReferenceNetwork",
    "reference-windkessel": ".reference:ReferenceWindkessel",
    "windkessel": ".windkessel:Windkessel",
    "windkessel2": ".windkessels:windkessel2",
    "windkessel3": ".windkessels:windkessel3",
    "windkessel4": ".windkessels:windkessel4",
}
"""Where each named simulator lives: module and class."""


class SimulatedRows(Protocol):
    r"""What ``simulate`` returns: any object with these three arrays.

    Example:
        >>> rows: SimulatedRows = Simulated(np.zeros((2, 1, 8), "f4"), np.zeros((2, 3), "f4"), np.zeros(2, "u1"))
        >>> rows.waves.shape
        (2, 1, 8)
    """

    @property
    def waves(self) -> Float32[np.ndarray, "N site T"]:
        r"""Waveforms."""

    @property
    def quantities(self) -> Float32[np.ndarray, "N Q"]:
        r"""Quantities, in the order of ``quantity_names``."""

    @property
    def status(self) -> UInt8[np.ndarray, " N"]:
        r"""Status codes ([`status`][pulsebayes.simulators.status])."""


class Simulated(NamedTuple):
    r"""Simulated rows: waveforms, quantities and a status each.

    Arguments:
        waves: Waveforms, in the simulator's unit.
        quantities: Quantities, each in its unit.
        status: Status codes.

    Example:
        >>> Simulated(np.zeros((2, 1, 8), "f4"), np.zeros((2, 3), "f4"), np.zeros(2, "u1")).status.tolist()
        [0, 0]
    """

    waves: Float32[np.ndarray, "N site T"]
    quantities: Float32[np.ndarray, "N Q"]
    status: UInt8[np.ndarray, " N"]


class Simulator(Protocol):
    r"""What every simulator offers.

    The same ``theta``, in batches of the same size, and the same seed give the same bytes on the same machine.

    Example:
        >>> def n_parameters(simulator: Simulator) -> int:
        ...     return simulator.space.dim
    """

    @property
    def name(self) -> str:
        r"""Name under which it is built."""

    @property
    def version(self) -> str:
        r"""Version of its equations and tables: raised whenever its output changes."""

    @property
    def config(self) -> Mapping[str, object]:
        r"""Its whole configuration, defaults included, as JSON keeps it."""

    @property
    def space(self) -> ParameterSpace:
        r"""Its parameters and their prior."""

    @property
    def sites(self) -> tuple[str, ...]:
        r"""Names of the sites, in the order of the axis ``site``."""

    @property
    def quantity_names(self) -> tuple[str, ...]:
        r"""Symbols of the quantities."""

    @property
    def units(self) -> Mapping[str, str] | tuple[str, ...]:
        r"""Unit of each quantity, by symbol or in the order of ``quantity_names``."""

    def simulate(self, theta: Float[np.ndarray, "N D"], seed: int) -> SimulatedRows:
        r"""Simulates a batch of rows; a row that fails has a status, never an exception."""


class SimulatorSpec(NamedTuple):
    r"""Names a simulator and its configuration, so that any process can build it.

    Arguments:
        name: Registered name, or import path ``"package.module:Class"``.
        config: Keyword arguments of its constructor, JSON-able.

    Example:
        >>> SimulatorSpec("linear-network", {"beat": "periodic"}).name
        'linear-network'
    """

    name: str
    config: Mapping[str, object] = {}


def build(name: str, **config: object) -> Simulator:
    r"""Builds a simulator.

    Arguments:
        name: Registered name, or import path ``"package.module:Class"``.
        config: Keyword arguments of its constructor; a list, as JSON has it, becomes a tuple.

    Returns:
        The simulator.

    Raises:
        ValueError: If the name is not registered and not an import path, or the configuration is out of range.
        TypeError: If the configuration has an unknown key.
        ImportError: If the import path leads nowhere.

    Example:
        >>> build("no-such-model")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: simulator must be one of ['closed-loop', ...] or 'module:Class', got 'no-such-model'
    """
    home = HOMES.get(name, name)
    module, _, attribute = home.partition(":")
    if not attribute:
        raise ValueError(f"simulator must be one of {sorted(HOMES)} or 'module:Class', got {name!r}")
    found = getattr(import_module(module, __package__), attribute, None)
    if not callable(found):
        raise ImportError(f"simulator {name!r} must name a class, but {module} has no {attribute}")
    return cast("Simulator", found(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}))
