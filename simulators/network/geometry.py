r"""Arterial networks as data: segments between nodes, linear taper, vascular beds at the ends.

The shipped network is the adult of 116 segments and 109 nodes used by the Pulse Wave Database, with 46 terminal
segments and eight loops (circle of Willis, both palmar arches, the two vertebrals that join the basilar).

References:
    Charlton P.H. et al. (2019), Am J Physiol Heart Circ Physiol 317:H1062,
    https://doi.org/10.1152/ajpheart.00218.2019; Mynard J.P., Smolich J.J. (2015), Ann Biomed Eng 43:1443,
    https://doi.org/10.1007/s10439-015-1313-8. Units: mm for lengths and radii as stored.
"""

from __future__ import annotations

import csv
import dataclasses
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
from jaxtyping import Array, Float, Int

LARGE_RADIUS = 4.240  # [mm]: mean radius from which a segment widens with age (PWDB)


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    r"""A network of tapering elastic tubes, its nodes numbered from zero, the root first.

    Arguments:
        names: One name a segment.
        inlet: Node at the inlet of each segment, shape (S,).
        outlet: Node at the outlet of each segment, shape (S,).
        length: Segment lengths [mm], shape (S,).
        inlet_radius: Lumen radius at the inlet [mm], shape (S,).
        outlet_radius: Lumen radius at the outlet [mm], shape (S,).
        bed: Vascular bed fed by each segment, empty where the segment is not terminal.

    Example:
        >>> network = adult_network()
        >>> len(network.names), network.n_nodes, len(network.terminals)
        (116, 109, 46)
    """

    names: tuple[str, ...]
    inlet: Int[np.ndarray, " S"]
    outlet: Int[np.ndarray, " S"]
    length: Float[np.ndarray, " S"]
    inlet_radius: Float[np.ndarray, " S"]
    outlet_radius: Float[np.ndarray, " S"]
    bed: tuple[str, ...]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(max(self.inlet.max(), self.outlet.max())) + 1

    @cached_property
    def terminals(self) -> Int[np.ndarray, " K"]:
        """Index of the segments that end in a vascular bed, in order."""
        return np.array([i for i, bed in enumerate(self.bed) if bed], dtype=np.int64)

    @property
    def mean_radius(self) -> Float[np.ndarray, " S"]:
        """Mean of the inlet and outlet radius [mm]."""
        radius: Float[np.ndarray, " S"] = 0.5 * (self.inlet_radius + self.outlet_radius)
        return radius


def scaled_radii(
    network: Network, diameter_factor: Float[Array, "*batch"], radius_factor: Float[Array, "*batch"]
) -> tuple[Float[Array, "*batch S"], Float[Array, "*batch S"]]:
    """Radii of a subject: large arteries widen, and with them the inlets of the branches that leave them.

    Arguments:
        network: The network at the baseline.
        diameter_factor: Factor on both ends of the segments of mean radius 4.24 mm and more, and on the inlet of
            every segment that leaves one of their outlet nodes, with shape (*).
        radius_factor: Factor on every radius, with shape (*).

    Returns:
        Inlet and outlet radii [mm], each with shape (*, S).

    Example:
        >>> inlet, outlet = scaled_radii(adult_network(), np.asarray(2.0), np.asarray(1.0))
        >>> float(inlet[0] / adult_network().inlet_radius[0])
        2.0
    """
    large = network.mean_radius >= LARGE_RADIUS
    fed = large | np.isin(network.inlet, network.outlet[large])
    d, r = diameter_factor[..., None], radius_factor[..., None]
    inlet = r * network.inlet_radius * (1.0 + fed * (d - 1.0))
    outlet = r * network.outlet_radius * (1.0 + large * (d - 1.0))
    return inlet, outlet


@dataclasses.dataclass(frozen=True)
class VascularBed:
    """Resistance [mmHg s/mL] and compliance [mL/mmHg] of a bed of the healthy adult.

    Example:
        >>> vascular_beds()["brain"].resistance
        6.904
    """

    resistance: float
    compliance: float


def _rows(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def adult_network() -> Network:
    """The adult network of 116 segments, at the size of the 25-year-old baseline.

    Returns:
        The network; nodes are numbered from zero, node 0 is the aortic root.

    Example:
        >>> round(float(adult_network().length.sum()) / 1000, 2)
        9.08
    """
    rows = _rows("adult116.csv")
    return Network(
        names=tuple(row["name"] for row in rows),
        inlet=np.array([int(row["inlet_node"]) - 1 for row in rows]),
        outlet=np.array([int(row["outlet_node"]) - 1 for row in rows]),
        length=np.array([float(row["length_mm"]) for row in rows]),
        inlet_radius=np.array([float(row["inlet_radius_mm"]) for row in rows]),
        outlet_radius=np.array([float(row["outlet_radius_mm"]) for row in rows]),
        bed=tuple(row["bed"] for row in rows),
    )


@cache
def vascular_beds() -> dict[str, VascularBed]:
    """The sixteen vascular beds of the adult network by name.

    Returns:
        Resistance [mmHg s/mL] and compliance [mL/mmHg] of each bed.

    Example:
        >>> len(vascular_beds())
        16
    """
    return {
        row["bed"]: VascularBed(float(row["resistance_mmHg_s_per_mL"]), float(row["compliance_mL_per_mmHg"]))
        for row in _rows("vascular_beds.csv")
    }


@cache
def inflow_knots() -> dict[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]:
    """Knots of the aortic inflow shape: phase name to (share of the phase, share of peak flow).

    Returns:
        The three phases `acceleration`, `deceleration` and `reverse`.

    Example:
        >>> sorted(inflow_knots())
        ['acceleration', 'deceleration', 'reverse']
    """
    phases: dict[str, list[tuple[float, float]]] = {}
    for row in _rows("aortic_inflow.csv"):
        phases.setdefault(row["phase"], []).append((float(row["time"]), float(row["flow"])))
    return {name: (np.array(knots)[:, 0], np.array(knots)[:, 1]) for name, knots in phases.items()}
